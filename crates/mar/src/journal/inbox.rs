//! What waits to be written into one journal, and the bound on how much of it there may be.
//!
//! Time is divided into windows. In each of them an app may say so much; what is beyond that is dropped and counted,
//! and one line tells how many lines that were when the window is over. A flood therefore shows as its beginning, a
//! number, and its beginning again, and takes neither memory nor the disk's time.

use std::time::{Duration, Instant};

use pilvi_model::Timestamp;

use super::entry::{Entry, Stream};

/// How much one app may say.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    pub window: Duration,
    pub lines_max: u32,
    pub bytes_max: usize,
}

impl Default for Flood {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(1),
            lines_max: 2000,
            bytes_max: 1 << 20,
        }
    }
}

/// Whether a line was taken into the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Yes,
    /// It was too much. Whoever reads a program's output may slow down.
    Dropped,
}

#[derive(Debug)]
pub(super) struct Inbox {
    flood: Flood,
    waiting: Vec<Entry>,
    waiting_bytes: usize,
    window_ends: Option<Instant>,
    /// What programs said in this window, and what the router did: a flood of one does not silence the other.
    programs: Said,
    router: Said,
    dropped: u64,
    /// Whether the writer has been told to look here.
    pub(super) announced: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    lines: u32,
    bytes: usize,
}

impl Said {
    fn add(&mut self, bytes: usize, flood: &Flood) -> bool {
        let fits = self.lines < flood.lines_max && self.bytes + bytes <= flood.bytes_max;
        if fits {
            self.lines += 1;
            self.bytes += bytes;
        }
        fits
    }
}

/// The inbox holds so many windows' worth before it takes no more, which happens only when the disk does not keep up.
const WINDOWS_MAX: usize = 4;

impl Inbox {
    pub(super) fn new(flood: Flood) -> Self {
        Self {
            flood,
            waiting: Vec::new(),
            waiting_bytes: 0,
            window_ends: None,
            programs: Said::default(),
            router: Said::default(),
            dropped: 0,
            announced: false,
        }
    }

    pub(super) fn put(&mut self, entry: Entry, now: Instant) -> Taken {
        self.turn_window(entry.time, now);
        // A short line costs more than its text.
        let bytes = entry.text.len() + 64;
        let flood = self.flood;
        let within = match entry.stream {
            Stream::Stdout | Stream::Stderr => self.programs.add(bytes, &flood),
            Stream::Router => self.router.add(bytes, &flood),
            // The platform says little, and what it says explains the rest.
            Stream::System => true,
        };
        if !within || self.waiting_bytes + bytes > WINDOWS_MAX * flood.bytes_max {
            self.dropped += 1;
            return Taken::Dropped;
        }
        self.waiting_bytes += bytes;
        self.waiting.push(entry);
        Taken::Yes
    }

    /// Takes what is to be written now. A count of dropped lines is told when its window is over.
    pub(super) fn take(&mut self, time: Timestamp, now: Instant) -> Vec<Entry> {
        self.turn_window(time, now);
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Lines that could not be written after all.
    pub(super) fn lost(&mut self, lines: u64, now: Instant) {
        self.dropped += lines;
        self.window_ends.get_or_insert(now + self.flood.window);
    }

    /// When the writer must come back to tell how many lines were dropped.
    pub(super) fn due(&self) -> Option<Instant> {
        self.window_ends.filter(|_| self.dropped > 0)
    }

    fn turn_window(&mut self, time: Timestamp, now: Instant) {
        if self.window_ends.is_some_and(|ends| now < ends) {
            return;
        }
        self.programs = Said::default();
        self.router = Said::default();
        self.window_ends = Some(now + self.flood.window);
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let entry = dropped_entry(dropped, time);
            self.waiting_bytes += entry.text.len() + 64;
            self.waiting.push(entry);
        }
    }
}

fn dropped_entry(lines: u64, time: Timestamp) -> Entry {
    let noun = if lines == 1 { "line" } else { "lines" };
    Entry {
        time,
        stream: Stream::System,
        process: "journal".into(),
        text: format!("dropped {lines} {noun}: there was more output than the journal takes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOD: Flood = Flood {
        window: Duration::from_secs(1),
        lines_max: 3,
        bytes_max: 10_000,
    };

    fn entry(stream: Stream, text: &str) -> Entry {
        Entry {
            time: Timestamp::from_millis(0),
            stream,
            process: "web.1".into(),
            text: text.into(),
        }
    }

    fn taken(inbox: &mut Inbox, now: Instant) -> Vec<String> {
        let entries = inbox.take(Timestamp::from_millis(0), now);
        entries.into_iter().map(|entry| entry.text).collect()
    }

    #[test]
    fn a_flood_is_told_by_its_beginning_and_one_number_per_window() {
        let start = Instant::now();
        let mut inbox = Inbox::new(FLOOD);
        for number in 0..100 {
            inbox.put(entry(Stream::Stdout, &number.to_string()), start);
        }
        assert_eq!(taken(&mut inbox, start), ["0", "1", "2"]);
        assert_eq!(inbox.due(), Some(start + FLOOD.window));
        assert!(taken(&mut inbox, start).is_empty());

        let later = start + FLOOD.window;
        assert_eq!(inbox.put(entry(Stream::Stdout, "again"), later), Taken::Yes);
        let dropped = "dropped 97 lines: there was more output than the journal takes";
        assert_eq!(taken(&mut inbox, later), [dropped, "again"]);
        assert_eq!(inbox.due(), None);
    }

    #[test]
    fn a_flood_that_has_ended_is_told_without_another_line() {
        let start = Instant::now();
        let mut inbox = Inbox::new(FLOOD);
        for _ in 0..4 {
            inbox.put(entry(Stream::Stdout, "x"), start);
        }
        assert_eq!(taken(&mut inbox, start).len(), 3);
        let due = inbox.due().unwrap();
        let told = taken(&mut inbox, due);
        assert_eq!(
            told,
            ["dropped 1 line: there was more output than the journal takes"]
        );
    }

    #[test]
    fn a_flood_of_the_app_silences_neither_router_nor_platform() {
        let now = Instant::now();
        let mut inbox = Inbox::new(FLOOD);
        for _ in 0..10 {
            inbox.put(entry(Stream::Stderr, "flood"), now);
        }
        assert_eq!(inbox.put(entry(Stream::Router, "r"), now), Taken::Yes);
        assert_eq!(inbox.put(entry(Stream::System, "s"), now), Taken::Yes);
        assert_eq!(
            inbox.put(entry(Stream::Stdout, "flood"), now),
            Taken::Dropped
        );
    }

    #[test]
    fn an_inbox_that_nobody_empties_does_not_grow() {
        let now = Instant::now();
        let mut inbox = Inbox::new(FLOOD);
        let text = "x".repeat(1000);
        for _ in 0..1000 {
            inbox.put(entry(Stream::System, &text), now);
        }
        assert!(inbox.waiting_bytes <= WINDOWS_MAX * FLOOD.bytes_max);
        assert!(inbox.waiting.len() < 50);
    }

    #[test]
    fn lines_that_the_disk_refused_are_counted_too() {
        let start = Instant::now();
        let mut inbox = Inbox::new(FLOOD);
        inbox.lost(5, start);
        let told = taken(&mut inbox, start + FLOOD.window);
        assert!(told[0].starts_with("dropped 5 lines"), "{told:?}");
    }
}
