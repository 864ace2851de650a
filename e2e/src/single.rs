//! `pilvi gateway`, set up by variables as whoever moves there from the open-source server does it.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::http::{Reply, Request};
use crate::process::{Process, binary};
use crate::socket::Socket;

const START_WITHIN: Duration = Duration::from_secs(60);

/// The token of every gateway here that has one.
pub const TOKEN: &str = "5e75-hunter2-c0de";

/// What a machine may have set for another program, and a gateway would take for its own.
const VARIABLES: [&str; 16] = [
    "SECURITY_TOKEN",
    "APP_DOMAIN",
    "ACCESS_CONTROL",
    "EDS_BACKEND_ID",
    "EDS_PERMISSIONS",
    "EDS_URI",
    "MWS_CONFIGURATION",
    "MWS_EVENTS_SECRET",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_PASSWORD",
    "PORT",
    "LOG_LEVEL",
    "PILVI_HTTP",
    "PILVI_HEALTH",
    "PILVI_LOG",
];

/// A running gateway that is all there is.
pub struct Single {
    process: Process,
    pub http: SocketAddr,
    /// What it says of itself once everything answers.
    pub ready: Value,
}

impl Single {
    /// Starts one on a free port, with these variables and the usual token.
    #[track_caller]
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let variables = [&[("SECURITY_TOKEN", TOKEN)], variables].concat();
        Self::start_with(&["--http", "127.0.0.1:0"], &variables)
    }

    /// Starts one with nothing but this.
    #[track_caller]
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = command(arguments, variables);
        let mut process = Process::start_command(command.arg("--json"));
        let line = process.next_line(START_WITHIN);
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the first line is not JSON ({error}): {line}"));
        let address = ready["http"]
            .as_str()
            .and_then(|url| url.strip_prefix("http://"));
        let address: Option<SocketAddr> = address.and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line}"));
        // Whoever listens everywhere is also here.
        let http = match address.ip().is_unspecified() {
            true => SocketAddr::from(([127, 0, 0, 1], address.port())),
            false => address,
        };
        Self {
            process,
            http,
            ready,
        }
    }

    /// Starts one that must not start; gives all that it said.
    pub fn refuse(variables: &[(&str, &str)]) -> Output {
        let output = command(&["--http", "127.0.0.1:0"], variables).output();
        output.expect("the binary that was found can be started")
    }

    /// Sends as anybody.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Reply {
        request.send(self.http)
    }

    /// Sends with the security token.
    #[track_caller]
    pub fn send_as_admin(&self, request: Request) -> Reply {
        request.bearer(TOKEN).send(self.http)
    }

    /// Gets an address, with a user's token if there is one, and opens it.
    #[track_caller]
    pub fn connect(&self, token: Option<&str>) -> Socket {
        let mut request = Request::get("/v1/websocket_uri");
        if let Some(token) = token {
            request = request.bearer(token);
        }
        let reply = self.send(&request).must_be(200);
        let uri = reply["uri"].as_str();
        Socket::open(uri.unwrap_or_else(|| panic!("no uri in {reply}")))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Stops it as a supervisor does, and expects a clean end.
    #[track_caller]
    pub fn stop(self) {
        let more = self.process.stop_by("TERM");
        assert!(more.is_empty(), "more than one line was printed: {more:?}");
    }
}

fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.arg("gateway").args(arguments);
    command.envs(variables.iter().copied());
    command
}
