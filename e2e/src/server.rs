//! `pilvi serve` and `pilvi demo`, started as a script starts them: with `--json`, on free ports, in a folder of
//! their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::api::{Backend, Cloud, Gateway};
use crate::process::Process;
use crate::{skip, wait};

/// How long a start may take: two cores run a whole test suite in the profile without optimisation.
const START_WITHIN: Duration = Duration::from_secs(60);

/// What to start.
pub struct Options {
    /// The subcommand.
    pub mode: Mode,
    /// `--http`.
    pub http: SocketAddr,
    /// `--https`.
    pub https: SocketAddr,
    /// `--ssh`.
    pub ssh: SocketAddr,
    /// `--data`; none means a folder that goes with the server.
    pub data: Option<PathBuf>,
    /// `--log`; none means the server's own choice.
    pub log: Option<&'static str>,
    /// `--smtp-url`; none means that mails become files.
    pub smtp_url: Option<String>,
    /// How many files it may hold open; none means as many as we may.
    pub files: Option<u32>,
    /// More arguments, word by word.
    pub more: Vec<String>,
}

/// A subcommand that answers requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With demo data.
    Demo,
    /// For use.
    Serve,
}

impl Options {
    /// `pilvi demo` on free ports.
    pub fn demo() -> Self {
        Self::new(Mode::Demo)
    }

    /// `pilvi serve` on free ports.
    pub fn serve() -> Self {
        Self::new(Mode::Serve)
    }

    fn new(mode: Mode) -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            mode,
            http: any_port,
            https: any_port,
            ssh: any_port,
            data: None,
            log: None,
            smtp_url: None,
            files: None,
            more: Vec::new(),
        }
    }

    fn arguments(&self, data: &Path) -> Vec<String> {
        let verb = match self.mode {
            Mode::Demo => "demo",
            Mode::Serve => "serve",
        };
        let data = data.to_str().expect("a temporary folder has a plain name");
        let [http, https, ssh] =
            [self.http, self.https, self.ssh].map(|address| address.to_string());
        let mut arguments = vec![
            verb, "--json", "--http", &http, "--https", &https, "--ssh", &ssh, "--data", data,
        ];
        arguments.extend(self.log.iter().flat_map(|filter| ["--log", filter]));
        let smtp = self.smtp_url.iter();
        arguments.extend(smtp.flat_map(|url| ["--smtp-url", url]));
        let network = own_network();
        arguments.extend(["--apps-network", &network]);
        let more = self.more.iter().map(String::as_str);
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect()
    }
}

/// A range of addresses for the apps of one server, since servers on one machine do not know of one another.
fn own_network() -> String {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let started = STARTED.fetch_add(1, Ordering::Relaxed);
    let block = std::process::id().wrapping_mul(16).wrapping_add(started) % 1024;
    let [.., high, low] = (block << 4).to_be_bytes();
    // One of 1,024 networks with 4,096 addresses each, from 10.64.0.0 on.
    format!("10.{}.{low}.0/20", 64 + high)
}

/// A server that answers, and what it said about itself.
pub struct Server {
    process: Process,
    /// The line of JSON that the server printed.
    pub ready: Value,
    /// Where plain HTTP is answered.
    pub http: SocketAddr,
    /// Kept only when the server made its own.
    _data: Option<TempDir>,
}

impl Server {
    /// Starts `pilvi` and waits until it says that everything answers.
    #[track_caller]
    pub fn start(options: &Options) -> Self {
        let own = options
            .data
            .is_none()
            .then(|| TempDir::new().expect("a temporary folder can be made"));
        let data = own.as_ref().map(TempDir::path).or(options.data.as_deref());
        let data = data.expect("there is a folder of our own where none was given");
        let arguments = options.arguments(data);
        let mut process = match options.files {
            None => Process::start(&arguments),
            Some(files) => Process::start_with_files(files, &arguments),
        };
        let line = process.next_line(START_WITHIN);
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("the first line on standard output is not JSON ({error}): {line}")
        });
        let http = address(&ready, "http");
        Self {
            process,
            ready,
            http,
            _data: own,
        }
    }

    /// Starts `pilvi` on a folder that is given, and ends it with `kill -9` as soon as its log says this.
    #[track_caller]
    pub fn start_and_kill(options: &Options, sign: &str) {
        let data = options.data.as_deref();
        let data = data.expect("what is left is looked at, so there is a folder");
        let process = Process::start(&options.arguments(data));
        let what = format!("{sign:?} in the log");
        wait::until(&what, START_WITHIN, || {
            process.log().contains(sign).then_some(())
        });
    }

    /// `pilvi demo` on free ports.
    #[track_caller]
    pub fn demo() -> Self {
        Self::start(&Options::demo())
    }

    /// `pilvi serve` on free ports.
    #[track_caller]
    pub fn serve() -> Self {
        Self::start(&Options::serve())
    }

    /// All that the server has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// How much memory the server has, in KiB.
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        self.process.resident_kib()
    }

    /// Where HTTPS is answered.
    #[track_caller]
    pub fn https(&self) -> SocketAddr {
        address(&self.ready, "https")
    }

    /// The file with the certificate of the local CA.
    #[track_caller]
    pub fn ca(&self) -> &str {
        text(&self.ready, "/ca")
    }

    /// The operator's account, with the token of the first start.
    #[track_caller]
    pub fn cloud(&self) -> Cloud {
        Cloud::new(
            self.http,
            text(&self.ready, "/accountId"),
            text(&self.ready, "/token"),
        )
    }

    /// The data backend that `demo` made.
    #[track_caller]
    pub fn backend(&self) -> Backend {
        Backend::new(
            self.http,
            text(&self.ready, "/eds/backendId"),
            text(&self.ready, "/eds/token"),
        )
    }

    /// The gateway that `demo` made.
    #[track_caller]
    pub fn gateway(&self) -> Gateway {
        Gateway::new(
            self.http,
            text(&self.ready, "/mws/gatewayId"),
            text(&self.ready, "/mws/token"),
        )
    }

    /// Ends the process as a cut of the power would, with `kill -9`: nothing is said and nothing finished.
    pub fn kill(self) {
        drop(self.process);
    }

    /// Stops as Ctrl-C does; expects a clean end and nothing more on standard output than the one line.
    #[track_caller]
    pub fn stop(self) {
        self.stop_by("INT");
    }

    /// The same, told by another signal, such as `TERM`.
    #[track_caller]
    pub fn stop_by(self, signal: &str) {
        let more = self.process.stop_by(signal);
        assert!(
            more.is_empty(),
            "with --json standard output holds one line; there was more: {more:?}"
        );
    }
}

#[track_caller]
fn text<'a>(ready: &'a Value, pointer: &str) -> &'a str {
    let text = ready.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("the ready line has no text at {pointer}: {ready}"))
}

#[track_caller]
fn address(ready: &Value, scheme: &str) -> SocketAddr {
    let base = text(ready, &format!("/{scheme}"));
    let address = base
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"));
    // Port 443 may be left out.
    let address = address.and_then(|address| {
        address
            .parse()
            .ok()
            .or_else(|| format!("{address}:443").parse().ok())
    });
    address.unwrap_or_else(|| panic!("{base:?} is not {scheme}://ADDRESS:PORT"))
}

/// A loopback address on which port 443 is free: the old Node client knows no other port.
///
/// Where the system keeps that port to root, the running test is reported as skipped and there is none.
///
/// # Panics
/// When no address can be had although the port is allowed.
#[track_caller]
pub fn loopback_with_port_443() -> Option<SocketAddr> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    for _ in 0..64 {
        // Tests run as many processes at once; the process id keeps them apart, the counter the tests of one.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed) % 200;
        let own = u8::try_from(10 + count).expect("a number below 210 fits");
        let address = SocketAddr::from(([127, own, high, low.clamp(1, 254)], 443));
        match std::net::TcpListener::bind(address) {
            Ok(_) => return Some(address),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                skip::report("port 443 is kept to root here (net.ipv4.ip_unprivileged_port_start)");
                return None;
            }
            // Somebody has it: take the next.
            Err(_) => {}
        }
    }
    panic!("no loopback address has port 443 free");
}
