//! What the router has to say to the owner of an app.

use std::fmt;
use std::time::Duration;

/// Takes what the router has to say about an app, for the app's own log.
///
/// It is called on the way of a request, so it must not wait: whoever keeps the events bounds them and drops what is
/// too much.
pub trait Journal: Send + Sync + 'static {
    fn note(&self, app: &str, event: RouterEvent<'_>);
}

/// One request, or one socket, and how it went. `Display` gives the line of the log.
#[derive(Clone, Copy, Debug)]
pub struct RouterEvent<'a> {
    /// What went wrong; `None` on the line of a request that was answered by the app.
    pub code: Option<Code>,
    pub method: &'a str,
    /// Without the query, which may hold what is nobody's business.
    pub path: &'a str,
    pub host: &'a str,
    /// What the client was told; 0 when it was told nothing.
    pub status: u16,
    /// Bytes of the response that were sent to the client, its head included; of a socket, in this direction.
    pub bytes: u64,
    /// How long it took to have a connection to the process.
    pub connect: Duration,
    /// How long the process took, from there to the end of the response.
    pub service: Duration,
    pub request_id: &'a str,
    /// The process that was asked, if it came to that.
    pub upstream: Option<&'a str>,
    pub secure: bool,
}

/// What can go wrong between a client and an app, in the codes that the owners of apps know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    H10,
    H12,
    H13,
    H14,
    H15,
    H17,
    H18,
    H19,
    H20,
    H21,
    H27,
    H28,
}

impl Code {
    /// `H10` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Self::H10 => "H10",
            Self::H12 => "H12",
            Self::H13 => "H13",
            Self::H14 => "H14",
            Self::H15 => "H15",
            Self::H17 => "H17",
            Self::H18 => "H18",
            Self::H19 => "H19",
            Self::H20 => "H20",
            Self::H21 => "H21",
            Self::H27 => "H27",
            Self::H28 => "H28",
        }
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::H10 => "App crashed",
            Self::H12 => "Request timeout",
            Self::H13 => "Connection closed without response",
            Self::H14 => "No web processes running",
            Self::H15 => "Idle connection",
            Self::H17 => "Poorly formatted HTTP response",
            Self::H18 => "Server request interrupted",
            Self::H19 => "Backend connection timeout",
            Self::H20 => "App boot timeout",
            Self::H21 => "Backend connection refused",
            Self::H27 => "Client request interrupted",
            Self::H28 => "Client connection idle",
        }
    }
}

impl fmt::Display for RouterEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(
                f,
                "at=error code={} desc=\"{}\"",
                code.name(),
                code.meaning()
            )?,
            None => f.write_str("at=info")?,
        }
        write!(
            f,
            " method={} path=\"{}\" host={} request_id={} process={} connect={}ms service={}ms status={} bytes={} \
             protocol={}",
            self.method,
            self.path,
            self.host,
            self.request_id,
            self.upstream.unwrap_or("-"),
            self.connect.as_millis(),
            self.service.as_millis(),
            self.status,
            self.bytes,
            if self.secure { "https" } else { "http" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_code_and_the_request() {
        let event = RouterEvent {
            code: Some(Code::H12),
            method: "GET",
            path: "/slow",
            host: "mar-eu-1-ab12cd34.localhost",
            status: 504,
            bytes: 0,
            connect: Duration::from_millis(1),
            service: Duration::from_secs(60),
            request_id: "a671f67b",
            upstream: Some("web.1"),
            secure: false,
        };
        assert_eq!(
            event.to_string(),
            "at=error code=H12 desc=\"Request timeout\" method=GET path=\"/slow\" host=mar-eu-1-ab12cd34.localhost \
             request_id=a671f67b process=web.1 connect=1ms service=60000ms status=504 bytes=0 protocol=http"
        );
    }
}
