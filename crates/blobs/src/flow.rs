//! Bytes on their way into a file: another thread writes them while the next ones arrive.

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// So much is gathered before it is written. Twice as much is in memory at most: this, and what is being written.
const BLOCK_BYTES: usize = 512 << 10;
/// Smaller pieces are copied together: a sender of single bytes would otherwise hold a buffer for each.
const SMALL_BYTES: usize = 4 << 10;

/// Where the bytes of a [`Flow`] end up. Called on a thread that may block.
pub(crate) trait Sink: Send + 'static {
    fn take(&mut self, pieces: &[Bytes]) -> Result<()>;
}

pub(crate) struct Flow<S> {
    pieces: Vec<Bytes>,
    small: BytesMut,
    gathered: usize,
    turn: Turn<S>,
}

enum Turn<S> {
    Idle(S),
    Busy(JoinHandle<(S, Result<()>)>),
    /// A write failed, or its thread was stopped.
    Broken,
}

impl<S: Sink> Flow<S> {
    pub(crate) fn into(sink: S) -> Self {
        Self {
            pieces: Vec::new(),
            small: BytesMut::new(),
            gathered: 0,
            turn: Turn::Idle(sink),
        }
    }

    /// Takes the next bytes; waits while the ones before the last are still being written.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.gathered += bytes.len();
        if bytes.len() < SMALL_BYTES {
            self.small.extend_from_slice(&bytes);
        } else {
            self.gather_small();
            self.pieces.push(bytes);
        }
        if self.gathered < BLOCK_BYTES {
            return Ok(());
        }
        self.settle().await?;
        let Turn::Idle(mut sink) = std::mem::replace(&mut self.turn, Turn::Broken) else {
            return Err(Error::Stopped);
        };
        let pieces = self.take_gathered();
        self.turn = Turn::Busy(tokio::task::spawn_blocking(move || {
            let outcome = sink.take(&pieces);
            (sink, outcome)
        }));
        Ok(())
    }

    /// The sink, and what it has not been given yet.
    pub(crate) async fn finish(mut self) -> Result<(S, Vec<Bytes>)> {
        self.settle().await?;
        let rest = self.take_gathered();
        match self.turn {
            Turn::Idle(sink) => Ok((sink, rest)),
            Turn::Busy(_) | Turn::Broken => Err(Error::Stopped),
        }
    }

    /// Waits for the write that is under way. Loses nothing when it is given up in between.
    async fn settle(&mut self) -> Result<()> {
        let Turn::Busy(writing) = &mut self.turn else {
            return Ok(());
        };
        let ended = writing.await;
        self.turn = Turn::Broken;
        let (sink, outcome) = ended.map_err(|_| Error::Stopped)?;
        outcome?;
        self.turn = Turn::Idle(sink);
        Ok(())
    }

    fn gather_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    fn take_gathered(&mut self) -> Vec<Bytes> {
        self.gather_small();
        self.gathered = 0;
        std::mem::take(&mut self.pieces)
    }
}

/// Runs what may block on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Stopped),
        },
    }
}
