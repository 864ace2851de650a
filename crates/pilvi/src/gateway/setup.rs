//! What the environment says about the gateway.

use anyhow::{Context, bail};
use http::Uri;
use pilvi_core::egress::check_target;
use pilvi_core::signing::Signing;
use pilvi_model::{BackendId, Timestamp};
use pilvi_mws::SingleGateway;
use serde_json::{Map, Value, json};

use super::users::HttpUsers;
use crate::arguments::{GatewayOptions, given};

/// The keys of a configuration that have variables of their own.
const OF_VARIABLES: [(&str, &str); 3] = [
    ("accessControl", "ACCESS_CONTROL"),
    ("identityProvider", "EDS_BACKEND_ID"),
    ("permissions", "EDS_PERMISSIONS"),
];

/// A gateway that can be started.
pub(super) struct Setup {
    pub(super) gateway: SingleGateway,
    /// Who knows its users, where it has some.
    pub(super) users: Option<HttpUsers>,
    /// Where its events go, if it tells any.
    pub(super) events: Option<Uri>,
    /// What whoever starts it should know.
    pub(super) warnings: Vec<String>,
    /// There is a message bus that nobody will use.
    pub(super) names_a_bus: bool,
}

impl Setup {
    /// # Errors
    /// When a variable has a value that it cannot have. An unknown access control is none, as it always was.
    pub(super) fn read(options: &GatewayOptions, started_at: Timestamp) -> anyhow::Result<Self> {
        let mut warnings = Vec::new();
        let mut configuration = read_configuration(options)?;
        let mode = read_mode(options, &mut warnings);
        configuration.insert("accessControl".to_owned(), mode.into());
        let mut users = None;
        if mode == "eds" {
            let backend = read_backend(options)?;
            let provider = json!({"type": "eds", "backendId": backend.to_string()});
            configuration.insert("identityProvider".to_owned(), provider);
            configuration.insert("permissions".to_owned(), read_permissions(options)?);
            users = Some(HttpUsers::new(&read_eds_uri(options)?));
        }
        let events = read_events_url(&configuration);
        let mut gateway = SingleGateway::new(configuration, started_at)
            .map_err(|error| anyhow::anyhow!(in_words(&error)))?;
        match &options.security_token {
            Some(token) if !token.expose().is_empty() => {
                gateway = gateway.with_security_token(token.clone());
            }
            _ => warnings.push(
                "SECURITY_TOKEN is not set: nobody can make sockets with tags, list or delete them"
                    .to_owned(),
            ),
        }
        match read_signing(options)? {
            Some(signing) => gateway = gateway.with_signing(signing),
            None if events.is_some() => warnings.push(
                "MWS_EVENTS_SECRET is not set: the app cannot tell who events are from".to_owned(),
            ),
            None => {}
        }
        if let Some(domain) = given(options.app_domain.as_ref()) {
            gateway = gateway.with_public_base(public_base(domain)?);
        }
        Ok(Self {
            gateway,
            users,
            events,
            warnings,
            names_a_bus: given(options.redis_host.as_ref()).is_some(),
        })
    }
}

/// All faults with the variables they are in.
fn in_words(error: &pilvi_model::Error) -> String {
    let faults = error.fields.iter().map(|fault| {
        let key = fault.property.split('.').next().unwrap_or_default();
        let variable = OF_VARIABLES.iter().find(|(name, _)| *name == key);
        match variable {
            Some((_, variable)) => format!("{variable}: {}", fault.message),
            None => format!("MWS_CONFIGURATION: `{}`: {}", fault.property, fault.message),
        }
    });
    faults.collect::<Vec<_>>().join("; ")
}

fn read_configuration(options: &GatewayOptions) -> anyhow::Result<Map<String, Value>> {
    let Some(text) = given(options.configuration.as_ref()) else {
        return Ok(Map::new());
    };
    let configuration: Map<String, Value> = serde_json::from_str(text)
        .context("MWS_CONFIGURATION must be a JSON object, such as {\"compression\":true}")?;
    for (key, variable) in OF_VARIABLES {
        if configuration.contains_key(key) {
            bail!("MWS_CONFIGURATION must not have the key `{key}`; say it with {variable}");
        }
    }
    Ok(configuration)
}

/// What is no address is refused with the rest of the configuration.
fn read_events_url(configuration: &Map<String, Value>) -> Option<Uri> {
    let url = configuration.get("events")?.get("url")?.as_str()?;
    check_target(url).ok()
}

fn read_signing(options: &GatewayOptions) -> anyhow::Result<Option<Signing>> {
    let secret = options.events_secret.clone();
    let Some(secret) = secret.filter(|secret| !secret.expose().is_empty()) else {
        return Ok(None);
    };
    let signing = Signing::given(secret)
        .context("MWS_EVENTS_SECRET must be whsec_ and at least 24 bytes in base64 behind it")?;
    Ok(Some(signing))
}

/// What is not understood opens the gateway, as it did in the original, and whoever starts it is told.
fn read_mode(options: &GatewayOptions, warnings: &mut Vec<String>) -> &'static str {
    match given(options.access_control.as_ref()) {
        None | Some("none") => "none",
        Some("eds") => "eds",
        Some("custom") => "custom",
        Some(other) => {
            warnings.push(format!(
                "ACCESS_CONTROL is `{other}`, which is not none, eds or custom: \
                 ANYBODY CAN LISTEN AND SEND, as with none"
            ));
            "none"
        }
    }
}

fn read_backend(options: &GatewayOptions) -> anyhow::Result<BackendId> {
    let id = given(options.eds_backend_id.as_ref()).context(
        "ACCESS_CONTROL is eds, so EDS_BACKEND_ID must name the data backend whose users may come",
    )?;
    id.parse()
        .ok()
        .with_context(|| format!("EDS_BACKEND_ID is `{id}`; it must have 24 hex characters"))
}

/// Without any every user may do both.
fn read_permissions(options: &GatewayOptions) -> anyhow::Result<Value> {
    let Some(text) = given(options.eds_permissions.as_ref()) else {
        return Ok(Value::Null);
    };
    serde_json::from_str(text).context(
        "EDS_PERMISSIONS must be JSON such as {\"read\":[\"*\"],\"write\":[\"usergroups.<id>\"]}",
    )
}

/// The address of the call that says who a user is. Some say only the server.
fn read_eds_uri(options: &GatewayOptions) -> anyhow::Result<Uri> {
    let text = options.eds_uri();
    let target = check_target(text).map_err(|fault| anyhow::anyhow!("EDS_URI {fault}"))?;
    if target.path() != "/" || target.query().is_some() {
        return Ok(target);
    }
    format!("{}/v1/user", text.trim_end_matches('/'))
        .parse()
        .context("EDS_URI cannot be read")
}

/// `mws.example.org` is reached by TLS, as the routers of the original always were.
fn public_base(domain: &str) -> anyhow::Result<String> {
    let (scheme, host) = match domain.split_once("://") {
        None => ("wss", domain),
        Some((scheme @ ("ws" | "wss"), host)) => (scheme, host),
        Some((scheme, _)) => bail!(
            "APP_DOMAIN begins with {scheme}://; write the host alone, such as mws.example.org"
        ),
    };
    let host = host.trim_end_matches('/');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.is_empty() || host.len() > 255 || !host.bytes().all(allowed) {
        bail!(
            "APP_DOMAIN is `{domain}`; it must be a host, such as mws.example.org or 10.0.0.7:8080"
        );
    }
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Arguments, Command};
    use clap::Parser;

    const BACKEND: &str = "5417e5485a3d8b418a01adb7";

    fn read(line: &[&str]) -> anyhow::Result<Setup> {
        let line = [&["pilvi", "gateway"], line].concat();
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Gateway(options) => Setup::read(&options, Timestamp::from_millis(0)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn faults_name_the_variable_and_what_it_may_be() {
        let eds = ["--access-control", "eds", "--eds-backend-id", BACKEND];
        let with = |more: &[&'static str]| [&eds[..], more].concat();
        let rows = [
            (vec!["--access-control", "eds"], "EDS_BACKEND_ID must name"),
            (
                vec!["--access-control", "eds", "--eds-backend-id", "mine"],
                "24 hex characters",
            ),
            (
                with(&["--eds-permissions", "all"]),
                "EDS_PERMISSIONS must be JSON",
            ),
            (
                with(&["--eds-permissions", r#"{"read":["all"]}"#]),
                "EDS_PERMISSIONS: a subject is *",
            ),
            (
                with(&["--eds-uri", "api.engin.io"]),
                "EDS_URI must begin with http",
            ),
            (
                vec!["--app-domain", "https://a.example"],
                "write the host alone",
            ),
            (
                vec!["--events-secret", "sesame"],
                "MWS_EVENTS_SECRET must be whsec_",
            ),
            (vec!["--app-domain", "a b"], "APP_DOMAIN is `a b`"),
            (
                vec!["--configuration", "[]"],
                "MWS_CONFIGURATION must be a JSON object",
            ),
            (
                vec!["--configuration", r#"{"compress":true}"#],
                "`compress`: is not a key",
            ),
            (
                vec!["--configuration", r#"{"accessControl":"none"}"#],
                "say it with ACCESS_CONTROL",
            ),
        ];
        for (line, expected) in rows {
            let error = read(&line).err().map(|error| format!("{error:#}"));
            let error = error.unwrap_or_else(|| panic!("{line:?} was accepted"));
            assert!(error.contains(expected), "{line:?}: {error}");
        }
    }

    #[test]
    fn an_access_control_that_is_unknown_is_loudly_none() {
        let setup = read(&["--access-control", "EDS", "--security-token", "t"]).unwrap();
        assert!(setup.users.is_none());
        let [warning] = &setup.warnings[..] else {
            panic!("{:?}", setup.warnings)
        };
        assert!(
            warning.contains("`EDS`") && warning.contains("ANYBODY"),
            "{warning}"
        );
        let quiet = read(&["--access-control", "custom", "--security-token", "t"]).unwrap();
        assert!(quiet.warnings.is_empty());
        let empty = read(&["--security-token", "", "--access-control", ""]).unwrap();
        assert!(empty.warnings[0].contains("SECURITY_TOKEN"));
    }

    #[test]
    fn the_bases_of_sockets() {
        for (domain, base) in [
            ("mws.example.org", "wss://mws.example.org"),
            ("mws.example.org/", "wss://mws.example.org"),
            ("wss://mws.example.org:8443", "wss://mws.example.org:8443"),
            ("ws://127.0.0.1:5000", "ws://127.0.0.1:5000"),
        ] {
            assert_eq!(public_base(domain).unwrap(), base);
        }
    }

    #[test]
    fn the_address_of_users_may_lack_its_path() {
        let uri = |text: &str| {
            let line = ["--eds-uri", text];
            let line = [&["pilvi", "gateway"], &line[..]].concat();
            match Arguments::try_parse_from(line).unwrap().command {
                Command::Gateway(options) => read_eds_uri(&options).unwrap().to_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(uri(""), "https://api.engin.io/v1/user");
        assert_eq!(uri("http://10.0.0.7:8080"), "http://10.0.0.7:8080/v1/user");
        assert_eq!(uri("http://10.0.0.7:8080/"), "http://10.0.0.7:8080/v1/user");
        assert_eq!(uri("https://eds.example/who"), "https://eds.example/who");
    }
}
