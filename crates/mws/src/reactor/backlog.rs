//! What a socket could not send yet.
//!
//! A healthy socket has none: what is to be sent leaves in one write. It comes into being when the kernel takes no
//! more, and goes once all of it has left.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::dress::Format;
use crate::limits::Limits;

/// Bytes on their way to one socket, in order. Messages are shared with all other sockets that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// How frames are told apart.
    format: Format,
    entries: VecDeque<Entry>,
    /// How many bytes at the front belong to something that has begun to leave and must leave whole.
    begun: usize,
    messages: usize,
    bytes: usize,
}

/// Whole frames, except that the first entry may lack its beginning.
#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    /// How many of its frames are messages: all, or none.
    messages: usize,
}

impl Backlog {
    /// Waits with nothing.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }

    /// Waits with the head of the handshake, which nothing may overtake.
    pub(crate) fn opening(format: Format, head: Bytes) -> Self {
        let mut backlog = Self {
            begun: head.len(),
            ..Self::new(format)
        };
        backlog.push(head, 0);
        backlog
    }

    /// Waits with `messages` frames of which the first `written` bytes have left.
    pub(crate) fn remainder(
        format: Format,
        frames: Bytes,
        messages: usize,
        written: usize,
    ) -> Self {
        let mut backlog = Self::new(format);
        backlog.push(frames, messages);
        backlog.advance(written);
        backlog
    }

    /// Adds messages at the end. False: they do not fit any more, and the socket counts as a slow reader.
    pub(crate) fn add_messages(&mut self, frames: Bytes, messages: usize, limits: &Limits) -> bool {
        let fits = self.messages + messages <= limits.queue_messages_max
            && self.bytes + frames.len() <= limits.queue_bytes_max;
        if fits {
            self.push(frames, messages);
        }
        fits
    }

    /// Adds a frame that comes after everything that waits.
    pub(crate) fn add_last(&mut self, frame: Bytes) {
        self.push(frame, 0);
    }

    /// Adds a control frame: before all messages, but not within the one that has begun to leave.
    pub(crate) fn add_control(&mut self, frame: Bytes) {
        let place = self.split();
        self.bytes += frame.len();
        let control = Entry {
            bytes: frame,
            messages: 0,
        };
        self.entries.insert(place, control);
    }

    /// Drops everything that has not begun to leave.
    pub(crate) fn keep_begun(&mut self) {
        let place = self.split();
        self.entries.truncate(place);
        self.bytes = self.begun;
        self.messages = self.entries.iter().map(|entry| entry.messages).sum();
    }

    /// The beginning of what waits, as many slices as fit.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = self.entries.iter().zip(slices);
        filled
            .map(|(entry, slice)| *slice = IoSlice::new(&entry.bytes))
            .count()
    }

    /// Takes note that so many bytes have left.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.entries.front_mut() {
            if written < first.bytes.len() {
                let complete;
                (complete, self.begun) = first.split_off_written(self.format, written, self.begun);
                self.messages -= complete;
                return;
            }
            written -= first.bytes.len();
            self.messages -= first.messages;
            self.begun = 0;
            self.entries.pop_front();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, bytes: Bytes, messages: usize) {
        self.bytes += bytes.len();
        self.messages += messages;
        self.entries.push_back(Entry { bytes, messages });
    }

    /// Makes what has begun an entry of its own, and says how many entries that are: one or none.
    fn split(&mut self) -> usize {
        let Some(first) = self.entries.front_mut() else {
            return 0;
        };
        if self.begun == 0 || self.begun == first.bytes.len() {
            return usize::from(self.begun > 0);
        }
        // What has begun is one frame, so one message if these are messages.
        let messages = first.messages.min(1);
        let begun = Entry {
            bytes: first.bytes.split_to(self.begun),
            messages,
        };
        first.messages -= messages;
        self.entries.push_front(begun);
        1
    }
}

impl Entry {
    /// Drops the first `written` bytes, which are not all. Says how many messages that completed, and how many bytes
    /// are left of the frame within which it ended; `begun` is the same from the time before.
    fn split_off_written(
        &mut self,
        format: Format,
        written: usize,
        begun: usize,
    ) -> (usize, usize) {
        let mut end = begun;
        let mut complete = usize::from(begun > 0 && end <= written);
        while end < written {
            end += format.first_length(&self.bytes[end..]);
            complete += usize::from(end <= written);
        }
        let complete = complete.min(self.messages);
        self.messages -= complete;
        self.bytes.advance(written);
        (complete, end - written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame, sse};

    fn message(text: &str) -> Bytes {
        frame::text(text)
    }

    fn joined(texts: &[&str]) -> Bytes {
        let frames: Vec<Bytes> = texts.iter().map(|text| message(text)).collect();
        frames.concat().into()
    }

    fn rest(backlog: &Backlog) -> Vec<u8> {
        let entries = backlog.entries.iter();
        entries
            .flat_map(|entry| entry.bytes.iter().copied())
            .collect()
    }

    /// What leaves when `backlog` is written in pieces of `step` bytes.
    fn write_in_steps(mut backlog: Backlog, step: usize) -> Vec<u8> {
        let mut written = Vec::new();
        while !backlog.is_empty() {
            let all = rest(&backlog);
            let part = &all[..step.min(all.len())];
            written.extend_from_slice(part);
            backlog.advance(part.len());
            assert_eq!(backlog.bytes(), all.len() - part.len());
        }
        assert_eq!((backlog.messages, backlog.begun), (0, 0));
        written
    }

    #[test]
    fn a_write_that_stops_at_any_byte_goes_on_there() {
        let long = "x".repeat(200);
        let texts = ["a", "", &long, "bb"];
        let frames = joined(&texts);
        for written in 0..frames.len() {
            for step in [1, 3, 1000] {
                let mut backlog =
                    Backlog::remainder(Format::Plain, frames.clone(), texts.len(), written);
                assert!(backlog.add_messages(message("next"), 1, &Limits::default()));
                let expected = [&frames[written..], &message("next")].concat();
                assert_eq!(write_in_steps(backlog, step), expected, "{written}, {step}");
            }
        }
    }

    #[test]
    fn a_control_frame_overtakes_messages_but_cuts_none() {
        let frames = joined(&["a", "bcd", "e"]);
        let ends = [0, 3, 8, 11];
        for written in 0..frames.len() {
            let mut backlog = Backlog::remainder(Format::Plain, frames.clone(), 3, written);
            backlog.add_control(frame::ping("1"));
            let place = ends.into_iter().find(|end| *end >= written).unwrap();
            let expected = [&frames[written..place], &frame::ping("1"), &frames[place..]].concat();
            assert_eq!(rest(&backlog), expected, "{written}");
            assert_eq!(write_in_steps(backlog, 2), expected, "{written}");
        }
    }

    #[test]
    fn events_are_cut_as_little_as_frames() {
        let event = |text: &str| Bytes::from(format!("id: 1\ndata: {text}\n\n"));
        let (events, ping) = (
            [event("a"), event("bcd\ndata: e"), event("")],
            sse::comment(),
        );
        let all: Bytes = events.concat().into();
        let ends: Vec<usize> = events
            .iter()
            .scan(0, |end, event| {
                *end += event.len();
                Some(*end)
            })
            .collect();
        for written in 0..all.len() {
            let waiting =
                || Backlog::remainder(Format::EventStream, all.clone(), events.len(), written);
            let begun = ends.iter().copied().find(|end| *end >= written);
            let place = if written == 0 { 0 } else { begun.unwrap() };
            let expected = [&all[written..place], &ping, &all[place..]].concat();
            for step in [1, 7, 1000] {
                let mut backlog = waiting();
                backlog.add_control(ping.clone());
                assert_eq!(write_in_steps(backlog, step), expected, "{written}, {step}");
            }
            let mut backlog = waiting();
            backlog.keep_begun();
            assert_eq!(rest(&backlog), all[written..place], "{written}");
        }
    }

    #[test]
    fn what_has_begun_to_leave_is_all_that_is_kept() {
        let frames = joined(&["a", "bcd", "e"]);
        for (written, kept, messages) in [
            (0, 0..0, 0),
            (1, 1..3, 1),
            (3, 0..0, 0),
            (4, 4..8, 1),
            (7, 7..8, 1),
            (8, 0..0, 0),
        ] {
            let mut backlog = Backlog::remainder(Format::Plain, frames.clone(), 3, written);
            backlog.add_control(frame::pong(b"p"));
            backlog.keep_begun();
            assert_eq!(rest(&backlog), frames[kept], "{written}");
            assert_eq!(backlog.messages, messages, "{written}");
            assert_eq!(backlog.bytes(), rest(&backlog).len());
        }
    }

    #[test]
    fn nothing_overtakes_the_head_of_the_handshake() {
        let head = Bytes::from_static(b"HTTP/1.1 101\r\n\r\n");
        for written in 0..head.len() {
            let mut backlog = Backlog::opening(Format::Plain, head.clone());
            backlog.advance(written);
            assert!(backlog.add_messages(message("a"), 1, &Limits::default()));
            backlog.add_control(frame::ping("1"));
            let expected = [&head[written..], &frame::ping("1"), &message("a")].concat();
            assert_eq!(rest(&backlog), expected);
            backlog.keep_begun();
            assert_eq!(rest(&backlog), head[written..]);
        }
    }

    #[test]
    fn messages_and_bytes_are_bounded_and_what_has_left_no_longer_counts() {
        let limits = Limits {
            queue_messages_max: 3,
            queue_bytes_max: 12,
            ..Limits::default()
        };
        let mut backlog = Backlog::default();
        assert!(backlog.add_messages(joined(&["a", "b"]), 2, &limits));
        assert!(backlog.add_messages(message("c"), 1, &limits));
        assert!(
            !backlog.add_messages(message("d"), 1, &limits),
            "four messages"
        );
        backlog.advance(3);
        assert!(
            !backlog.add_messages(message("12345"), 1, &limits),
            "13 bytes"
        );
        backlog.advance(1);
        assert!(backlog.add_messages(message("12345"), 1, &limits));
    }
}
