//! Options of the gateway that runs alone. Their variables are those of the open-source server, so that its users need
//! change nothing but the program (`mws.md` §10).

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;
use pilvi_base::Secret;

use super::values::parse_secret;

/// Where the users of a data backend are asked for when nothing else is said.
const EDS_URI: &str = "https://api.engin.io/v1/user";
/// Where one listens when nothing is said at all.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// One WebSocket gateway. An empty variable counts as none.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayOptions {
    /// Listen here for HTTP; port 0 takes any free one [default: all addresses of the machine with the port of --port;
    /// without one 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "PILVI_HTTP")]
    pub http: Option<SocketAddr>,
    /// Listen at this port of all addresses of the machine
    #[arg(long, value_name = "NUMBER", env = "PORT")]
    pub port: Option<String>,
    /// Answer `/healthz`, `/readyz` and `/metrics` here, apart from everything else; best an address of loopback
    #[arg(long, value_name = "ADDR", env = "PILVI_HEALTH")]
    pub health: Option<SocketAddr>,
    /// Whoever brings this token may do everything; without one nobody administers the gateway. Prefer the environment:
    /// others can read a command line
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SECURITY_TOKEN",
        hide_env_values = true,
        value_parser = parse_secret
    )]
    pub security_token: Option<Secret>,
    /// Sockets connect to wss at this host, or to ws where the value begins with `ws://` [default: where the caller
    /// connected to]
    #[arg(long, value_name = "HOST", env = "APP_DOMAIN")]
    pub app_domain: Option<String>,
    /// Who may listen and send: `none` stands for everybody, `eds` for users of a data backend, `custom` for those with
    /// the security token [default: none]
    #[arg(long, value_name = "MODE", env = "ACCESS_CONTROL")]
    pub access_control: Option<String>,
    /// The data backend whose users may come
    #[arg(long, value_name = "ID", env = "EDS_BACKEND_ID")]
    pub eds_backend_id: Option<String>,
    /// Which of its users may, as JSON such as `{"read":["*"],"write":["usergroups.ID"]}` [default: all]
    #[arg(long, value_name = "JSON", env = "EDS_PERMISSIONS")]
    pub eds_permissions: Option<String>,
    /// Where one asks who a user is; `/v1/user` is added to an address without a path [default:
    /// `https://api.engin.io/v1/user`]
    #[arg(long, value_name = "URL", env = "EDS_URI")]
    pub eds_uri: Option<String>,
    /// What the gateway does beyond the open-source server, as JSON with the keys `compression`, `events`, `presence`
    /// and `history` of a gateway's configuration
    #[arg(long, value_name = "JSON", env = "MWS_CONFIGURATION")]
    pub configuration: Option<String>,
    /// Sign events with this secret, `whsec_` and at least 24 bytes in base64; without one they are not signed. Prefer
    /// the environment: others can read a command line
    #[arg(
        long,
        value_name = "SECRET",
        env = "MWS_EVENTS_SECRET",
        hide_env_values = true,
        value_parser = parse_secret
    )]
    pub events_secret: Option<Secret>,
    /// Log this and what is worse: `error`, `warn`, `info`, `verbose`, `debug` or `silly`; instead of --log
    #[arg(long, value_name = "LEVEL", env = "LOG_LEVEL")]
    pub log_level: Option<String>,
    /// The message bus of the open-source server, which this one does without
    #[arg(long, env = "REDIS_HOST", hide = true)]
    pub redis_host: Option<String>,
    /// Print one line of JSON once everything answers, and nothing else, to standard output
    #[arg(long)]
    pub json: bool,
}

/// The value of a variable; an empty one counts as none.
pub(crate) fn given(value: Option<&String>) -> Option<&str> {
    value
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

impl GatewayOptions {
    /// Where to listen.
    ///
    /// # Errors
    /// When the port is none.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        match (self.http, given(self.port.as_ref())) {
            (Some(address), _) => Ok(address),
            (None, None) => Ok(HTTP),
            (None, Some(port)) => match port.parse() {
                Ok(port) => Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
                Err(_) => anyhow::bail!("PORT is `{port}`; it must be a number from 0 to 65535"),
            },
        }
    }

    /// Where one asks who a user is.
    pub(crate) fn eds_uri(&self) -> &str {
        given(self.eds_uri.as_ref()).unwrap_or(EDS_URI)
    }

    /// The filter of the log, and the word that could not be read as a level.
    pub(crate) fn log_filter<'a>(&'a self, otherwise: &'a str) -> (&'a str, Option<&'a str>) {
        let Some(level) = given(self.log_level.as_ref()) else {
            return (otherwise, None);
        };
        match level.to_ascii_lowercase().as_str() {
            "error" => ("error", None),
            "warn" | "warning" => ("warn", None),
            "info" => ("info,pilvi::request=warn", None),
            // Where the original said more, it said what it answered.
            "verbose" => ("info", None),
            "debug" => ("debug", None),
            "silly" | "trace" => ("trace", None),
            _ => (otherwise, Some(level)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn options(line: &[&str]) -> GatewayOptions {
        let line = [&["pilvi", "gateway"], line].concat();
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Gateway(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_port_opens_the_gateway_to_the_network() {
        let rows = [
            (&["--port", "5000"][..], "0.0.0.0:5000"),
            (&["--port", ""], "127.0.0.1:8080"),
            (&[], "127.0.0.1:8080"),
            (&["--http", "127.0.0.1:0", "--port", "5000"], "127.0.0.1:0"),
        ];
        for (line, expected) in rows {
            assert_eq!(options(line).address().unwrap().to_string(), expected);
        }
        for wrong in ["web", "-1", "65536", "50 00"] {
            let line = format!("--port={wrong}");
            let error = options(&[&line]).address().unwrap_err();
            assert!(error.to_string().contains("65535"), "{error}");
        }
    }

    #[test]
    fn the_levels_of_the_original_are_ours() {
        let filter = |level| {
            let options = options(&["--log-level", level]);
            let (filter, unknown) = options.log_filter("the usual");
            (filter.to_owned(), unknown.map(str::to_owned))
        };
        assert_eq!(filter("warn"), ("warn".to_owned(), None));
        assert_eq!(filter("DEBUG"), ("debug".to_owned(), None));
        assert_eq!(filter(""), ("the usual".to_owned(), None));
        let unknown = Some("loud".to_owned());
        assert_eq!(filter("loud"), ("the usual".to_owned(), unknown));
    }

    #[test]
    fn the_token_does_not_show() {
        let options = options(&["--security-token", "hunter2"]);
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
