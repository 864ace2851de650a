//! One command inside a running process, bounded in time and output (`mar.md` §2.5).

use std::time::Duration;

use pilvi_model::app::ProcessName;
use pilvi_model::{Error, Result};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{sleep, timeout};

use super::launcher::{Errand, KILLED, Program};
use super::output::pipe;
use super::recipe::Recipe;
use super::{Parts, command};
use crate::Executed;

/// How long output is read after the command has ended: what it has left running may hold the pipes for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a shell shows for a command that `timeout` has ended.
const OUT_OF_TIME: i32 = 124;

/// Both outputs, which share one bound.
#[derive(Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

enum Outcome {
    Ended(i32),
    TooMuch,
    TooLong,
}

/// Runs a command by the shell in the place of a process and with its environment. When it takes too long or says too
/// much, it is ended, and what it has said so far is returned with a last line that says so.
pub(super) async fn run(
    parts: &Parts,
    program: &dyn Program,
    recipe: &Recipe,
    process: &ProcessName,
    command: &str,
) -> Result<Executed> {
    let (mut from_stdout, stdout) = pipe().map_err(Error::internal)?;
    let (mut from_stderr, stderr) = pipe().map_err(Error::internal)?;
    let errand = Errand {
        argv: command::of_process(command),
        env: command::environment(recipe, &process.to_string(), parts.settings.port),
        stdout,
        stderr,
    };
    let running = program.run(errand).await.map_err(|error| {
        Error::unavailable(format!("the command could not be started in {process}"))
            .caused_by(error)
    })?;
    let settings = &parts.settings;
    let mut said = Said::default();
    let outcome = {
        let reading = said.read(
            &mut from_stdout,
            &mut from_stderr,
            settings.exec_output_max_bytes,
        );
        tokio::pin!(reading);
        tokio::select! {
            within = &mut reading => match within {
                // It has closed its outputs, so it has ended or is about to.
                true => timeout(settings.exec_timeout, running.ended())
                    .await
                    .map_or(Outcome::TooLong, |ended| Outcome::Ended(ended.code)),
                false => Outcome::TooMuch,
            },
            ended = running.ended() => match timeout(LAST_WORDS, reading).await {
                Ok(false) => Outcome::TooMuch,
                Ok(true) | Err(_) => Outcome::Ended(ended.code),
            },
            () = sleep(settings.exec_timeout) => Outcome::TooLong,
        }
    };
    let (exit_code, note) = match outcome {
        Outcome::Ended(KILLED) if timeout(LAST_WORDS, program.ended()).await.is_ok() => (
            KILLED,
            Some(format!(
                "{process} was stopped while the command ran; run it again in what runs now"
            )),
        ),
        Outcome::Ended(code) => (code, None),
        Outcome::TooLong => (
            OUT_OF_TIME,
            Some(format!(
                "the command was ended after {} seconds",
                settings.exec_timeout.as_secs()
            )),
        ),
        Outcome::TooMuch => (
            OUT_OF_TIME,
            Some(format!(
                "the command was ended after {} bytes of output",
                settings.exec_output_max_bytes
            )),
        ),
    };
    if note.is_some() {
        // Harmless when it has ended.
        running.kill().await;
    }
    Ok(said.into_executed(exit_code, note))
}

impl Said {
    /// Reads both outputs to their ends. False: there is more than `max_bytes`.
    async fn read(
        &mut self,
        stdout: &mut Receiver,
        stderr: &mut Receiver,
        max_bytes: usize,
    ) -> bool {
        let (mut stdout_open, mut stderr_open) = (true, true);
        let (mut stdout_chunk, mut stderr_chunk) = ([0; 8 << 10], [0; 8 << 10]);
        let mut room = max_bytes;
        while stdout_open || stderr_open {
            let (into, chunk, count, open) = tokio::select! {
                read = stdout.read(&mut stdout_chunk), if stdout_open =>
                    (&mut self.stdout, &stdout_chunk, read, &mut stdout_open),
                read = stderr.read(&mut stderr_chunk), if stderr_open =>
                    (&mut self.stderr, &stderr_chunk, read, &mut stderr_open),
            };
            // An error means that there is no more to read, just as the end does.
            let count = count.unwrap_or(0);
            *open = count > 0;
            into.extend_from_slice(&chunk[..count.min(room)]);
            if count > room {
                return false;
            }
            room -= count;
        }
        true
    }

    fn into_executed(self, exit_code: i32, note: Option<String>) -> Executed {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut stderr = text(&self.stderr);
        if let Some(note) = note {
            if !stderr.is_empty() && !stderr.ends_with('\n') {
                stderr.push('\n');
            }
            stderr.push_str(&note);
            stderr.push('\n');
        }
        Executed {
            stdout: text(&self.stdout),
            stderr,
            exit_code,
        }
    }
}
