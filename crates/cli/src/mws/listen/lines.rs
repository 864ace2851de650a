//! Standard input, line by line, beside everything else.

use tokio::sync::mpsc::{Receiver, channel};

use super::super::send::next_line;
use crate::failure::{Failure, Result};
use crate::session::Session;

/// Lines that may wait to be sent; reading stops until there is room.
const WAITING_MAX: usize = 16;

/// What is to be sent.
pub(super) struct Lines {
    lines: Option<Receiver<Result<String>>>,
}

impl Lines {
    pub(super) fn none() -> Self {
        Self { lines: None }
    }

    /// Reads standard input on a thread of its own, because nobody can call off a read that waits for a person. It ends
    /// with the input, or with the process.
    pub(super) fn of(session: &mut Session<'_, '_>) -> Result<Self> {
        let (sender, lines) = channel(WAITING_MAX);
        let mut input = std::mem::replace(&mut session.place.input, Box::new(std::io::empty()));
        let reader = std::thread::Builder::new().name("standard input".into());
        let started = reader.spawn(move || {
            while let Some(line) = next_line(&mut *input).transpose() {
                let is_last = line.is_err();
                if sender.blocking_send(line).is_err() || is_last {
                    return;
                }
            }
        });
        started.map_err(|error| {
            Failure::failed(
                format!("standard input could not be read beside the socket: {error}"),
                "see whether this machine has run out of memory",
            )
        })?;
        Ok(Self { lines: Some(lines) })
    }

    /// The next one that is not empty.
    pub(super) async fn next(&mut self) -> Option<Result<String>> {
        loop {
            match self.lines.as_mut()?.recv().await? {
                Ok(line) if line.is_empty() => {}
                line => return Some(line),
            }
        }
    }
}
