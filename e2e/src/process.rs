//! A running `pilvi`: started with arguments, heard line by line, stopped as Ctrl-C stops it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::wait;

/// How long an orderly stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How much of the log a failed test shows.
const LOG_SHOWN_BYTES: u64 = 16 * 1024;
/// Lines of standard output that may wait for a reader; the process prints a handful.
const LINES_WAITING_MAX: usize = 256;

/// A running `pilvi`, killed on drop.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
    /// Keeps the log; goes with the process.
    _folder: TempDir,
}

impl Process {
    /// Starts `pilvi` with `arguments`.
    pub fn start(arguments: &[String]) -> Self {
        Self::run(Command::new(binary()).args(arguments))
    }

    /// The same, allowed no more than so many open files.
    pub fn start_with_files(files: u32, arguments: &[String]) -> Self {
        let script = "ulimit -n \"$0\" && exec \"$@\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, &files.to_string()]);
        Self::run(shell.arg(binary()).args(arguments))
    }

    /// Starts a command of its own.
    pub fn start_command(command: &mut Command) -> Self {
        Self::run(command)
    }

    fn run(command: &mut Command) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let log = folder.path().join("pilvi.log");
        let errors = File::create(&log).expect("a file can be made in a new folder");
        let mut child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("the binary that was found can be started");
        let output = child
            .stdout
            .take()
            .expect("the output was asked for as a pipe");
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            log,
            _folder: folder,
        }
    }

    /// The next line of standard output.
    ///
    /// # Panics
    /// When none comes within the time, or the process ends first.
    #[track_caller]
    pub fn next_line(&mut self, within: Duration) -> String {
        match self.lines.recv_timeout(within) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("pilvi printed nothing within {within:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!(
                    "pilvi closed its output; it ended with {:?}",
                    self.child.wait()
                )
            }
        }
    }

    /// Interrupts the process as Ctrl-C does, expects it to end well, and returns the lines not yet read.
    #[track_caller]
    pub fn stop(self) -> Vec<String> {
        self.stop_by("INT")
    }

    /// The same with another signal, such as `TERM`.
    #[track_caller]
    pub fn stop_by(mut self, signal: &str) -> Vec<String> {
        self.send(signal);
        let child = &mut self.child;
        let status: ExitStatus =
            wait::until("pilvi to stop after an interrupt", STOP_WITHIN, || {
                child
                    .try_wait()
                    .expect("a child can be asked for its status")
            });
        assert_eq!(
            status.code(),
            Some(0),
            "pilvi did not stop cleanly: {status}"
        );
        self.remaining_lines()
    }

    fn send(&self, signal: &str) {
        // The shell's own `kill`: the program of that name is not on every machine.
        let id = self.child.id().to_string();
        let status = Command::new("sh")
            .args(["-c", "kill -\"$1\" \"$0\"", &id, signal])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "pilvi had ended before it was interrupted"
        );
    }

    fn remaining_lines(&self) -> Vec<String> {
        // The process is gone, so the channel closes once its last line is read.
        let deadline = Instant::now() + STOP_WITHIN;
        let mut lines = Vec::new();
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            lines.push(line);
        }
        lines
    }

    /// How much memory it has, in KiB.
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the status of a process can be read");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("there is no VmRSS in {status}"))
    }

    /// What the process wrote to standard error.
    pub fn log(&self) -> String {
        let log = std::fs::read(&self.log).expect("the log of a process can be read");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of what the process wrote to standard error.
    pub fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("the log cannot be read: {error}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            show(&format!(
                "--- the log of pilvi ends so ---\n{}",
                self.log_tail()
            ));
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the test runner shows it beside the failure"
)]
fn show(text: &str) {
    eprintln!("{text}");
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_SHOWN_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The binary that was built beside the running test, in the same profile.
///
/// # Panics
/// When it is not there: `cargo test` alone does not build it.
#[track_caller]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // <target>/<profile>/deps/<test>
    let profile = test
        .ancestors()
        .nth(2)
        .expect("cargo puts tests two folders below the profile's");
    let binary = profile.join("pilvi");
    assert!(
        binary.is_file(),
        "{} is missing: run `cargo build -p pilvi` first, or the whole gate, `cargo xtask test`",
        binary.display()
    );
    binary
}
