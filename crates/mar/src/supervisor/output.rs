//! From a program's output to the journal.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pilvi_model::AppId;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::journal::{Journal, LineCutter, Stream, Taken};

/// How much is read at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// How long reading pauses after a chunk that the journal did not take whole. A program that floods is slowed down to
/// a few megabytes a second by it, so that it costs others little; it never stands still.
const PAUSE: Duration = Duration::from_millis(1);

/// How many of the last lines are remembered to explain a failed start, and how long each may be.
const TAIL_LINES: usize = 20;
const TAIL_LINE_BYTES: usize = 500;

/// The last lines that a program wrote. Cloning gives another handle on the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// A plain mutex: it is held for one line.
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    fn push(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(&line[..line.len().min(TAIL_LINE_BYTES)]);
        let text = text
            .chars()
            .filter(|character| !character.is_control())
            .collect();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

/// One output of one program.
pub(super) struct Output {
    pub(super) journal: Journal,
    pub(super) app: AppId,
    pub(super) process: String,
    pub(super) stream: Stream,
    pub(super) tail: Tail,
}

impl Output {
    /// Reads until the program, and whoever else has its output, has closed it.
    pub(super) async fn pump(self, mut pipe: Receiver) {
        let mut cutter = LineCutter::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        // An error means that there is no more to read, just as the end does.
        while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
            let mut taken = Taken::Yes;
            cutter.feed(&chunk[..count], |line| {
                if self.line(line) == Taken::Dropped {
                    taken = Taken::Dropped;
                }
            });
            if taken == Taken::Dropped {
                tokio::time::sleep(PAUSE).await;
            }
        }
        cutter.finish(|line| {
            self.line(line);
        });
    }

    fn line(&self, line: &[u8]) -> Taken {
        self.tail.push(line);
        self.journal
            .append_output(&self.app, self.stream, &self.process, line)
    }
}

/// A pipe whose one end a program gets.
pub(super) fn pipe() -> io::Result<(Receiver, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((Receiver::from_owned_fd(reader.into())?, writer.into()))
}
