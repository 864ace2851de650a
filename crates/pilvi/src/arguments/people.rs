//! Options of how people come in.

use clap::{Args, ValueEnum};
use pilvi_platform::Registration;

use crate::listeners::Addresses;

/// How people become persons of this server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "People")]
pub(crate) struct PeopleOptions {
    /// Who may sign up [default: invited; demo: open]
    #[arg(long, value_name = "WHO", env = "PILVI_REGISTRATION")]
    pub registration: Option<SignUps>,
    /// People find this server here, such as `https://cloud.example.org`; links in mails begin with it [default: the
    /// first own name, or the address listened on]
    #[arg(
        long,
        value_name = "URL",
        env = "PILVI_PUBLIC_URL",
        value_parser = parse_public_url
    )]
    pub public_url: Option<String>,
}

/// Who may sign up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignUps {
    /// Nobody: operators make persons
    Closed,
    /// Who is invited to an account
    Invited,
    /// Everybody with an e-mail address
    Open,
}

impl From<SignUps> for Registration {
    fn from(who: SignUps) -> Self {
        match who {
            SignUps::Closed => Self::Closed,
            SignUps::Invited => Self::Invited,
            SignUps::Open => Self::Open,
        }
    }
}

impl PeopleOptions {
    pub(crate) fn registration(&self) -> Registration {
        self.registration
            .map_or_else(Registration::default, Registration::from)
    }

    /// The host of the public address, if one is given.
    pub(crate) fn public_host(&self) -> Option<String> {
        let url: http::Uri = self.public_url.as_ref()?.parse().ok()?;
        url.host().map(str::to_owned)
    }

    /// Where people find the server, without a slash at the end.
    pub(crate) fn public_url(&self, own_names: &[String], addresses: &Addresses) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let with_port = |host: &str, scheme: &str, port: u16, usual: u16| match port == usual {
            true => format!("{scheme}://{host}"),
            false => format!("{scheme}://{host}:{port}"),
        };
        if let Some(name) = own_names.first() {
            return with_port(name, "https", addresses.https.port(), 443);
        }
        let (http, https) = (addresses.http, addresses.https);
        match (http.ip(), https.ip()) {
            (ip, _) if ip.is_loopback() => with_port(&host(http), "http", http.port(), 80),
            // Who listens everywhere is reached from this machine at least.
            (_, ip) if ip.is_unspecified() => with_port("localhost", "https", https.port(), 443),
            _ => with_port(&host(https), "https", https.port(), 443),
        }
    }
}

/// The address as it stands in a URL.
fn host(address: std::net::SocketAddr) -> String {
    match address {
        std::net::SocketAddr::V4(address) => address.ip().to_string(),
        std::net::SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

fn parse_public_url(text: &str) -> Result<String, String> {
    let wrong = || "must be an origin such as https://cloud.example.org, without a path".to_owned();
    let text = text.trim().trim_end_matches('/');
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let is_origin = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.path() == "/"
        && uri.query().is_none();
    match is_origin {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(public_url: Option<&str>) -> PeopleOptions {
        PeopleOptions {
            registration: None,
            public_url: public_url.map(|url| parse_public_url(url).unwrap()),
        }
    }

    fn addresses(http: &str, https: &str) -> Addresses {
        Addresses {
            http: http.parse().unwrap(),
            https: https.parse().unwrap(),
            ssh: "127.0.0.1:2222".parse().unwrap(),
            health: None,
        }
    }

    #[test]
    fn links_in_mails_lead_to_where_people_find_the_server() {
        let local = addresses("127.0.0.1:8080", "127.0.0.1:8443");
        let public = addresses("0.0.0.0:80", "0.0.0.0:443");
        let named = ["cloud.example.org".to_owned()];
        let rows = [
            (
                options(None).public_url(&[], &local),
                "http://127.0.0.1:8080",
            ),
            (options(None).public_url(&[], &public), "https://localhost"),
            (
                options(None).public_url(&named, &public),
                "https://cloud.example.org",
            ),
            (
                options(None).public_url(&named, &local),
                "https://cloud.example.org:8443",
            ),
            (
                options(Some("https://Pilvi.example.org/")).public_url(&named, &local),
                "https://pilvi.example.org",
            ),
            (
                options(None).public_url(&[], &addresses("[::]:80", "[2001:db8::1]:443")),
                "https://[2001:db8::1]",
            ),
        ];
        for (found, expected) in rows {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn only_an_origin_is_a_public_url() {
        for wrong in [
            "",
            "cloud.example.org",
            "ftp://a.b",
            "https://a.b/c",
            "https://u@a.b",
            "https://a.b/?c",
        ] {
            assert!(parse_public_url(wrong).is_err(), "{wrong}");
        }
    }
}
