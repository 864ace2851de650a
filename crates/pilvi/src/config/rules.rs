//! What no single setting can get wrong, but several together.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use pilvi_base::{Clock, TaskGroup};
use pilvi_core::Mailer;
use pilvi_platform::Datacenter;
use pilvi_runtime::LayerName;
use serde::Serialize;

use crate::arguments::{AppOptions, FileOptions, ServeOptions};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Weight {
    /// It cannot be meant.
    Fault,
    /// It may be meant, and is worth a second look.
    Warning,
}

/// Something about the settings that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) weight: Weight,
    /// The setting to change.
    pub(crate) setting: &'static str,
    pub(crate) says: String,
}

fn fault(setting: &'static str, says: String) -> Finding {
    Finding {
        weight: Weight::Fault,
        setting,
        says,
    }
}

fn warning(setting: &'static str, says: String) -> Finding {
    Finding {
        weight: Weight::Warning,
        setting,
        says,
    }
}

/// All that is to be said about settings that are each fine alone.
pub(crate) fn judge(options: &ServeOptions, data: &Path) -> Vec<Finding> {
    let mut findings = addresses(options);
    findings.extend(names(options));
    findings.extend(datacenters(&options.apps));
    findings.extend(layers(&options.apps));
    findings.extend(mail(options, data));
    findings.extend(files(&options.files));
    findings.extend(sign_on(options));
    if data.is_relative() {
        let says = format!(
            "`{}` means another folder in each place that the server is started from; write the whole path, from / on",
            data.display()
        );
        findings.push(warning("data", says));
    }
    findings
}

/// A bucket needs a key, and nothing else does.
fn files(options: &FileOptions) -> Option<Finding> {
    match options.bucket() {
        Err(setting) => {
            let says = "files are to be in a bucket, which opens to nobody without this".to_owned();
            Some(fault(setting, says))
        }
        Ok(Some(_)) => None,
        Ok(None) => {
            let setting = match options {
                FileOptions {
                    s3_endpoint: Some(_),
                    ..
                } => "s3-endpoint",
                FileOptions {
                    s3_access_key_id: Some(_),
                    ..
                } => "s3-access-key-id",
                FileOptions {
                    s3_secret_access_key: Some(_),
                    ..
                } => "s3-secret-access-key",
                _ => return None,
            };
            let says = "says nothing without a bucket; set `files`, such as s3://my-files";
            Some(warning(setting, says.to_owned()))
        }
    }
}

/// Options of single sign-on belong together.
fn sign_on(options: &ServeOptions) -> Option<Finding> {
    let error = options.sign_on.providers().err()?;
    let property = error.fields.first().map(|field| field.property.as_str());
    let settings = ["oidc-client-id", "oidc-client-secret", "oidc-name"];
    let setting = settings
        .into_iter()
        .find(|setting| Some(*setting) == property);
    Some(fault(setting.unwrap_or("oidc-issuer"), error.message))
}

/// Two datacenters cannot be one.
fn datacenters(options: &AppOptions) -> Option<Finding> {
    let ids: Vec<&str> = options.datacenters.iter().map(Datacenter::id).collect();
    let twice = (1..ids.len()).find(|at| ids[..*at].contains(&ids[*at]))?;
    let says = format!("{} is given twice; leave one of them out", ids[twice]);
    Some(fault("datacenter", says))
}

/// Two doors cannot be one.
fn addresses(options: &ServeOptions) -> Vec<Finding> {
    let doors = [
        ("http", options.http),
        ("https", options.https),
        ("ssh", options.ssh),
    ];
    let mut findings = Vec::new();
    for (at, (name, address)) in doors.iter().enumerate() {
        let clash = doors[..at]
            .iter()
            .find(|(_, other)| clashes(*address, *other));
        if let Some((other, theirs)) = clash {
            let says = format!(
                "{address} is taken by `{other}`, which is {theirs}; give one of them another port"
            );
            findings.push(fault(name, says));
        }
    }
    findings
}

/// Whether nobody can listen on both.
fn clashes(one: SocketAddr, other: SocketAddr) -> bool {
    let same_place =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_place
}

/// Whoever may put pages on a name may set cookies for the names above it, as far up as one registrant owns them.
fn names(options: &ServeOptions) -> Vec<Finding> {
    let AppOptions {
        apps_domain,
        own_names,
        ..
    } = &options.apps;
    let mut findings = Vec::new();
    if let Err(error) = apps_domain.parse::<pilvi_model::app::Domain>()
        && apps_domain != "localhost"
    {
        let says = format!("\"{apps_domain}\" cannot be a domain: {}", error.message);
        return vec![fault("apps-domain", says)];
    }
    for own in own_names {
        if is_below(own, apps_domain) {
            let says = format!(
                "{own} is within {apps_domain}, where apps have their names; keep apps under a domain of their own"
            );
            findings.push(fault("own-name", says));
        } else if let Some(shared) = shared_owner(own, apps_domain) {
            let says = format!(
                "apps under {apps_domain} could set cookies for all of {shared}, and so for {own} too; register \
                 another domain for apps"
            );
            findings.push(fault("apps-domain", says));
        }
    }
    let outside = [options.http, options.https]
        .into_iter()
        .find(|address| !address.ip().is_loopback());
    let Some(outside) = outside else {
        return findings;
    };
    if apps_domain == "localhost" {
        let says = format!(
            "others reach this server at {outside}, but apps answer under localhost, which is each visitor's own \
             machine; choose a domain that leads here, with all names below it"
        );
        findings.push(warning("apps-domain", says));
    }
    if own_names.is_empty() {
        let says = format!(
            "others reach this server at {outside}, and it does not know under which names; until it does, no app can \
             have a domain of its own"
        );
        findings.push(warning("own-name", says));
    }
    findings
}

fn is_below(name: &str, domain: &str) -> bool {
    let rest = name.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The domain that whoever registered it owns, when both names are in it.
fn shared_owner<'a>(one: &'a str, other: &str) -> Option<&'a str> {
    if one.parse::<IpAddr>().is_ok() {
        return None;
    }
    let owner = psl::domain_str(one)?;
    // A name that stands for itself, such as `localhost`, belongs to nobody.
    (owner.contains('.') && psl::domain_str(other) == Some(owner)).then_some(owner)
}

fn layers(options: &AppOptions) -> Vec<Finding> {
    let known = |word: &&String| *word == "all" || LayerName::parse(word).is_some();
    let unknown = options.require_layers.iter().filter(|word| !known(word));
    let all = || {
        let words: Vec<_> = LayerName::all().map(|layer| layer.as_str()).collect();
        words.join(", ")
    };
    unknown
        .map(|word| {
            let says = format!(
                "there is no layer \"{word}\"; the layers are {}, and all",
                all()
            );
            fault("require-layer", says)
        })
        .collect()
}

/// What the mailer itself would say when the server starts.
fn mail(options: &ServeOptions, data: &Path) -> Vec<Finding> {
    let post = options.mail.post(data);
    let mailer = Mailer::new(
        post,
        &options.mail.mail_from,
        Clock::system(),
        TaskGroup::new(),
    );
    let setting = match options.mail.smtp_url {
        Some(_) => "smtp-url",
        None => "mail-from",
    };
    let refusal = mailer.err();
    refusal
        .map(|error| fault(setting, error.to_string()))
        .into_iter()
        .collect()
}
