//! What commands that go on until they are stopped have in common.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Code, Failure, Result};
use crate::session::Session;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Resolves when somebody presses Ctrl-C or asks the process to end. From the first poll on these no longer kill.
pub(crate) async fn interrupted() -> Result<()> {
    let failed = |error: std::io::Error| {
        Failure::failed(
            format!("the command could not listen for Ctrl-C: {error}"),
            "see whether this machine has run out of memory",
        )
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Waits, and says whether the command goes on afterwards.
pub(crate) async fn pause_or_stop(
    pause: Duration,
    stop: &mut (impl Future<Output = Result<()>> + Unpin),
) -> Result<bool> {
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(true),
        stopped = stop => stopped.map(|()| false),
    }
}

/// How long to wait before the next attempt, longer each time.
#[derive(Debug)]
pub(crate) struct Patience {
    next: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    /// The pause after a failure that may pass by itself, which is told; every other failure is final.
    pub(crate) fn after(
        &mut self,
        session: &mut Session<'_, '_>,
        failure: Failure,
    ) -> Result<Duration> {
        if !matches!(failure.code, Code::Unreachable | Code::Failed) {
            return Err(failure);
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        let note = format!("{}; trying again in {} s", failure.what, pause.as_secs());
        session.screen.note(&crate::screen::readable(&note))?;
        Ok(pause)
    }
}
