//! A client program: started, talked to line by line where it wants that, and waited for.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::wait;

/// Lines of standard output that may wait for a reader; clients print a handful.
const LINES_WAITING_MAX: usize = 256;

/// A running client, killed on drop.
pub struct Client {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    /// What it printed so far, for messages.
    seen: Vec<String>,
}

/// How a client ended.
pub struct Ended {
    pub status: ExitStatus,
    /// All lines of standard output.
    pub lines: Vec<String>,
    /// All of standard error.
    pub errors: String,
}

impl Client {
    /// Starts a program; `name` is what a failed test calls it.
    #[track_caller]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let output = child.stdout.take().expect("the output was asked for");
        let errors = child.stderr.take().expect("the errors were asked for");
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        // Pipes are read on threads of their own, so that a full one stops nobody.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            name: name.to_owned(),
            input: child.stdin.take(),
            child,
            lines,
            errors: Some(std::thread::spawn(move || read_all(errors))),
            seen: Vec::new(),
        }
    }

    /// Waits for the client's next line and expects it to be `expected`.
    ///
    /// # Panics
    /// When another comes, or none within the time, with all the client said.
    #[track_caller]
    pub fn expect_line(&mut self, expected: &str, within: Duration) {
        match self.lines.recv_timeout(within) {
            Ok(line) => {
                self.seen.push(line);
                let line = self.seen.last().map(String::as_str);
                assert_eq!(line, Some(expected), "{} said something else", self.name);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                // Fails only when it has ended already.
                let _ = self.child.kill();
                self.fail(&format!("did not print {expected:?}"));
            }
        }
    }

    /// Waits for the client's next line, whatever it is.
    ///
    /// # Panics
    /// When none comes within the time, with all the client said.
    #[track_caller]
    pub fn next_line(&mut self, within: Duration) -> String {
        match self.lines.recv_timeout(within) {
            Ok(line) => {
                self.seen.push(line.clone());
                line
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                // Fails only when it has ended already.
                let _ = self.child.kill();
                self.fail("did not print another line");
            }
        }
    }

    /// The client's next line, if one comes within the time.
    pub fn try_line(&mut self, within: Duration) -> Option<String> {
        let line = self.lines.recv_timeout(within).ok()?;
        self.seen.push(line.clone());
        Some(line)
    }

    /// Presses Ctrl-C.
    #[track_caller]
    pub fn interrupt(&self) {
        let id = self.child.id().to_string();
        // The shell's own `kill`: the program of that name is not on every machine.
        let told = Command::new("sh")
            .args(["-c", "kill -INT \"$0\"", &id])
            .status();
        let told = told.expect("a shell can be started");
        assert!(told.success(), "{} is gone already", self.name);
    }

    /// Says a line to the client.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let input = self
            .input
            .as_mut()
            .expect("the input is open until the end");
        let said = writeln!(input, "{line}");
        assert!(said.is_ok(), "{} no longer listens", self.name);
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not come within the time, with all the client said.
    #[track_caller]
    pub fn ended(mut self, within: Duration) -> Ended {
        drop(self.input.take());
        let status = wait::found(within, || {
            self.child
                .try_wait()
                .expect("a child can be asked for its status")
        });
        let Some(status) = status else {
            // Fails only when it has ended since the last look.
            let _ = self.child.kill();
            self.fail(&format!("was still running after {within:?}"));
        };
        Ended {
            status,
            errors: self.errors(),
            lines: self.all_lines(),
        }
    }

    /// Waits for the end, expects it to be a good one, and returns the JSON that was printed last.
    ///
    /// # Panics
    /// When the client fails or takes longer, with all it said.
    #[track_caller]
    pub fn result(self, within: Duration) -> Value {
        let name = self.name.clone();
        let ended = self.ended(within);
        assert!(ended.status.success(), "{name} failed\n{}", ended.report());
        let last = ended.lines.last().map(String::as_str).unwrap_or_default();
        serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("{name} printed no JSON ({error}): {last}"))
    }

    #[track_caller]
    fn fail(&mut self, how: &str) -> ! {
        let status = self.child.wait().expect("a killed child ends");
        let report = Ended {
            status,
            errors: self.errors(),
            lines: self.all_lines(),
        };
        panic!("{} {how}\n{}", self.name, report.report())
    }

    /// The process is gone, so the channel closes once its last line is read.
    fn all_lines(&mut self) -> Vec<String> {
        self.seen.extend(self.lines.iter());
        std::mem::take(&mut self.seen)
    }

    fn errors(&mut self) -> String {
        let reader = self.errors.take();
        reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    }
}

impl Ended {
    /// Everything it said, for a message.
    pub fn report(&self) -> String {
        format!(
            "--- standard output ---\n{}\n--- standard error ---\n{}--- it ended with {} ---",
            self.lines.join("\n"),
            self.errors,
            self.status
        )
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    // What came before a broken pipe is shown all the same.
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WITHIN: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Client {
        Client::start("the script", Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_client_is_talked_to_and_waited_for() {
        let mut client = shell("echo ready; read -r word; echo \"[\\\"$word\\\"]\"");
        client.expect_line("ready", WITHIN);
        client.say("it");
        assert_eq!(client.result(WITHIN), json!(["it"]));
    }

    #[test]
    fn a_failure_is_told_with_all_that_was_said() {
        let ended = shell("echo out; echo err >&2; exit 3").ended(WITHIN);
        assert_eq!(ended.status.code(), Some(3));
        let report = ended.report();
        assert!(report.contains("out") && report.contains("err"), "{report}");
    }

    #[test]
    fn a_client_that_ends_early_fails_the_test() {
        let early = std::panic::catch_unwind(|| shell("exit 0").expect_line("ready", WITHIN));
        assert!(early.is_err());
    }
}
