//! The helper process, from the server's side.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use tokio::sync::Mutex;

use crate::Failure;
use crate::channel::{AsyncChannel, Channel};
use crate::protocol::{Birth, decode_born};
use crate::wire::garbled;

/// Starts the helper, and starts it again should it ever end.
#[derive(Debug)]
pub(super) struct Helper {
    argv: Vec<OsString>,
    /// One birth at a time: they take a millisecond each. Empty while one is under way, so that a birth that is given
    /// up halfway leaves no answer behind that the next would take for its own.
    line: Mutex<Option<Line>>,
}

#[derive(Debug)]
struct Line {
    channel: AsyncChannel,
    process: Child,
}

impl Helper {
    pub(super) fn start(argv: Vec<OsString>) -> Result<Self, Failure> {
        let line = Line::open(&argv).map_err(|error| Failure::new("start the helper", error))?;
        Ok(Self {
            argv,
            line: Mutex::new(Some(line)),
        })
    }

    /// A new process in new namespaces, which waits for orders at the other end of `its`. Returns its pid and a handle.
    pub(super) async fn bear(
        &self,
        birth: Birth,
        its: Channel,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<(u32, OwnedFd), Failure> {
        let files: Vec<BorrowedFd<'_>> = [its.as_fd()].into_iter().chain(cgroup).collect();
        let mut place = self.line.lock().await;
        let mut outcome = Err(garbled());
        if let Some(line) = place.take() {
            outcome = line.bear(birth, &files).await.map(|born| (born, line));
        }
        if outcome.is_err() {
            let start = |error| Failure::new("start the helper", error);
            let line = Line::open(&self.argv).map_err(start)?;
            outcome = line.bear(birth, &files).await.map(|born| (born, line));
        }
        let (born, line) = outcome.map_err(|error| Failure::new("reach the helper", error))?;
        *place = Some(line);
        born
    }
}

impl Line {
    fn open(argv: &[OsString]) -> io::Result<Self> {
        let (program, arguments) = argv.split_first().ok_or_else(garbled)?;
        let (ours, its) = Channel::pair()?;
        let process = Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::from(its.into_fd()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            channel: AsyncChannel::new(ours)?,
            process,
        })
    }

    /// The outer failure is one of the line, which is of no use any more; the inner one is of this birth.
    async fn bear(
        &self,
        birth: Birth,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<Result<(u32, OwnedFd), Failure>> {
        self.channel.send(&birth.encode(), files).await?;
        let message = self
            .channel
            .receive()
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        match decode_born(&message.bytes)? {
            Ok(pid) => {
                let handle = message.files.into_iter().next().ok_or_else(garbled)?;
                Ok(Ok((pid, handle)))
            }
            Err(refusal) => Ok(Err(refusal.into())),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It owns nothing that would need an orderly end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
