//! Following a journal as it is written.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Filter;
use super::entry::{Entry, Stream};

/// How many lines wait for one who follows.
const WAITING_MAX: usize = 1024;

/// What [`super::Journal::follow`] gives: the page that was asked for, and what is written after it.
#[derive(Debug)]
pub struct Following {
    pub page: Vec<Entry>,
    /// Ends when the app is removed. When it is not read fast enough, lines are left out and one line says how many.
    pub live: mpsc::Receiver<Entry>,
}

#[derive(Debug)]
pub(super) struct Follower {
    filter: Filter,
    lines: mpsc::Sender<Entry>,
    /// Lines that did not fit since the last one that did.
    left_out: u64,
}

impl Follower {
    pub(super) fn new(filter: Filter) -> (Self, mpsc::Receiver<Entry>) {
        let (lines, live) = mpsc::channel(WAITING_MAX);
        let follower = Self {
            filter,
            lines,
            left_out: 0,
        };
        (follower, live)
    }

    pub(super) fn is_there(&self) -> bool {
        !self.lines.is_closed()
    }

    /// Tells of new lines. False when nobody listens any more.
    pub(super) fn tell(&mut self, entries: &[Entry]) -> bool {
        for entry in entries.iter().filter(|entry| self.filter.takes(entry)) {
            // A gap is told before what comes after it, which takes room for two.
            if self.left_out > 0 && self.lines.capacity() >= 2 {
                let gap = gap(self.left_out, entry);
                self.left_out = 0;
                if self.lines.try_send(gap).is_err() {
                    return false;
                }
            }
            if self.left_out > 0 {
                self.left_out += 1;
                continue;
            }
            match self.lines.try_send(entry.clone()) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => self.left_out += 1,
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        self.is_there()
    }
}

fn gap(lines: u64, next: &Entry) -> Entry {
    let noun = if lines == 1 { "line is" } else { "lines are" };
    Entry {
        time: next.time,
        stream: Stream::System,
        process: "journal".into(),
        text: format!(
            "{lines} {noun} left out here because you read more slowly than the app writes"
        ),
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::Timestamp;

    use super::*;

    fn entry(number: usize) -> Entry {
        Entry {
            time: Timestamp::from_millis(number as u64),
            stream: Stream::Stdout,
            process: "web.1".into(),
            text: number.to_string(),
        }
    }

    #[test]
    fn a_slow_reader_is_told_what_it_misses() {
        let (mut follower, mut live) = Follower::new(Filter::default());
        let entries: Vec<Entry> = (0..WAITING_MAX + 5).map(entry).collect();
        assert!(follower.tell(&entries));
        for number in 0..WAITING_MAX {
            assert_eq!(live.try_recv().unwrap().text, number.to_string());
        }
        assert!(live.try_recv().is_err());
        assert!(follower.tell(&[entry(9999)]));
        assert!(
            live.try_recv()
                .unwrap()
                .text
                .starts_with("5 lines are left out")
        );
        assert_eq!(live.try_recv().unwrap().text, "9999");
    }

    #[test]
    fn nobody_listening_is_noticed() {
        let (mut follower, live) = Follower::new(Filter::default());
        drop(live);
        assert!(!follower.tell(&[entry(1)]));
        assert!(!follower.is_there());
    }
}
