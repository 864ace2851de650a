//! Where an app is found and how it is pushed to.

use std::path::Path;

use serde_json::Value;

use crate::session::text;

/// The addresses in an app object, those that there are.
pub(super) struct Addresses {
    pub(super) web: Vec<String>,
    /// Work as they are.
    pub(super) ssh: Option<String>,
    pub(super) https: Option<String>,
    /// The scp form of old, which knows no port.
    pub(super) classic: Option<String>,
}

impl Addresses {
    /// `instance` is what the platform says of the app, where that is known: it has the classic address.
    pub(super) fn of(app: &Value, instance: Option<&Value>) -> Self {
        let field = |name| Some(text(app, name)).filter(|address| !address.is_empty());
        let ssh = field("gitSshUrl").or_else(|| field("gitUrl"));
        let classic = instance
            .and_then(|instance| instance["config"]["MAR_GIT_ADDRESS"].as_str())
            .map(str::to_owned)
            .or_else(|| field("gitUrl"))
            .filter(|classic| Some(classic) != ssh.as_ref());
        Self {
            web: ["url", "httpsUrl"].into_iter().filter_map(field).collect(),
            ssh,
            https: field("gitHttpsUrl"),
            classic,
        }
    }

    /// What to type in a repository, line by line, to push from there.
    pub(super) fn recipe(&self, ca: Option<&Path>) -> Vec<String> {
        let mut lines = Vec::new();
        let add = |address: &str| format!("  git remote add qtc {address}");
        if let Some(address) = &self.ssh {
            lines.push("Push over SSH, once your key is known (pilvi keys add):".into());
            lines.push(add(address));
        }
        if let Some(address) = &self.https {
            lines.push("Or push over HTTPS, with any user name and your token as password:".into());
            lines.push(add(address));
            if let Some(ca) = ca {
                lines.push(trust(address, ca));
            }
        }
        if let Some(address) = &self.classic {
            lines.push("Or by the classic address, where git reaches its host on port 22:".into());
            lines.push(add(address));
        }
        lines.push("Then, and after every change:".into());
        lines.push("  git push qtc HEAD:master".into());
        lines
    }
}

/// Git trusts what the system trusts, and for this server what we were told to trust.
fn trust(address: &str, ca: &Path) -> String {
    let after_scheme = address.find("://").map_or(0, |at| at + 3);
    let end = address[after_scheme..]
        .find('/')
        .map_or(address.len(), |at| after_scheme + at);
    let ca = std::path::absolute(ca).unwrap_or_else(|_| ca.to_owned());
    format!(
        "  git config http.{}/.sslCAInfo {}",
        &address[..end],
        quoted(&ca.to_string_lossy())
    )
}

/// As a shell reads it back.
fn quoted(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&b);
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_classic_address_is_told_once() {
        let app = json!({"gitUrl": "git@git-mar-eu-1.qtc.io:a", "gitSshUrl": "git@git-mar-eu-1.qtc.io:a"});
        assert_eq!(Addresses::of(&app, None).classic, None);
        let app = json!({"gitUrl": "ssh://git@h:2222/a", "gitSshUrl": "ssh://git@h:2222/a"});
        let instance = json!({"config": {"MAR_GIT_ADDRESS": "git@git-mar-eu-1.h:a"}});
        let addresses = Addresses::of(&app, Some(&instance));
        assert_eq!(addresses.classic.as_deref(), Some("git@git-mar-eu-1.h:a"));
    }

    #[test]
    fn git_is_told_whom_to_trust_as_a_shell_reads_it() {
        assert_eq!(
            trust(
                "https://localhost:8443/git/a",
                Path::new("/srv/it's here/ca.pem")
            ),
            r"  git config http.https://localhost:8443/.sslCAInfo '/srv/it'\''s here/ca.pem'"
        );
    }
}
