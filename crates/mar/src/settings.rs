//! What the operator chooses, and what the running server knows about its own addresses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pilvi_model::AppId;
use pilvi_model::app::{Domain, StackName};

/// How the service is set up.
#[derive(Clone)]
pub struct Settings {
    pub addresses: Addresses,
    pub limits: Limits,
    /// The stacks that a build can be made on now.
    pub stacks: Arc<dyn Fn() -> Vec<StackName> + Send + Sync>,
    /// The layers of the sandbox that this machine lacks, by name, for the owners of apps to see.
    pub layers_missing: Vec<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("addresses", &self.addresses)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Where apps and their repositories are reached from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Apps live one label below it, such as `localhost`.
    pub apps_domain: String,
    pub http_port: u16,
    pub https_port: u16,
    /// `None`: no SSH server listens.
    pub ssh: Option<SshAddress>,
    /// What `/git/<app>` is appended to, such as `https://localhost:8443`.
    pub https_origin: String,
    /// Host names of Pilvi itself, and the domains below which all names are its own. No app may take one.
    pub own_hosts: Vec<String>,
    /// Whether those are all. Where they may not be, an app could take such a name, and no name of the world outside
    /// is given to any.
    pub own_names_are_known: bool,
}

/// Where git finds the SSH server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAddress {
    pub host: String,
    pub port: u16,
}

impl Addresses {
    /// The app's own host name.
    pub fn host(&self, app: &AppId) -> String {
        format!("{app}.{}", self.apps_domain)
    }

    pub fn url(&self, app: &AppId) -> String {
        format!("http://{}{}", self.host(app), port(self.http_port, 80))
    }

    pub fn https_url(&self, app: &AppId) -> String {
        format!("https://{}{}", self.host(app), port(self.https_port, 443))
    }

    /// The address that is told first. The classic form has no place for a port, so it is told where none is needed.
    pub fn git_url(&self, app: &AppId) -> String {
        match &self.ssh {
            Some(ssh) if ssh.port == 22 => format!("git@{}:{app}", ssh.host),
            Some(_) => self.git_ssh_url(app).unwrap_or_default(),
            None => self.git_https_url(app),
        }
    }

    pub fn git_ssh_url(&self, app: &AppId) -> Option<String> {
        let ssh = self.ssh.as_ref()?;
        Some(format!(
            "ssh://git@{}{}/{app}",
            ssh.host,
            port(ssh.port, 22)
        ))
    }

    pub fn git_https_url(&self, app: &AppId) -> String {
        format!("{}/git/{app}", self.https_origin)
    }

    /// Whether a name is Pilvi's own. Names under the apps domain are not, whatever that lies under, unless the
    /// operator named one that lies there itself.
    pub fn is_own(&self, domain: &Domain) -> bool {
        let is_among_apps = domain.is_within(&self.apps_domain);
        let counts = |own: &str| {
            let label = own.strip_suffix(self.apps_domain.as_str());
            !is_among_apps || label.is_some_and(|label| label.ends_with('.'))
        };
        let mut own = self.own_hosts.iter();
        own.any(|own| domain.is_within(own) && counts(own))
    }
}

/// `:8080`, unless it is the one that goes without saying.
fn port(port: u16, usual: u16) -> String {
    match port == usual {
        true => String::new(),
        false => format!(":{port}"),
    }
}

/// How much of everything an app may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub processes_per_type: u32,
    /// Of all types together.
    pub processes: u32,
    pub domains: u32,
    pub vars: u32,
    pub vars_bytes: u32,
    /// Of a packed slug.
    pub slug_bytes: u64,
    /// Of all files in it.
    pub slug_unpacked_bytes: u64,
    pub slug_files: u64,
    /// Builds that stay deployable.
    pub slugs_kept: u32,
    /// How long the address for an upload may be used.
    pub upload_within: Duration,
    /// How long a request waits for a deploy, which goes on by itself. The classic command line gives up after 60 s.
    pub deploy_wait: Duration,
    /// Commands that run in an app's processes at the same time.
    pub commands: usize,
    /// Clients that follow the log of one app.
    pub followers: usize,
    /// How long one of them may.
    pub follow_for: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes_per_type: 10,
            processes: 20,
            domains: 50,
            vars: 250,
            vars_bytes: 256 << 10,
            slug_bytes: 500 << 20,
            slug_unpacked_bytes: 2 << 30,
            slug_files: 200_000,
            slugs_kept: 10,
            upload_within: Duration::from_secs(15 * 60),
            deploy_wait: Duration::from_secs(45),
            commands: 5,
            followers: 20,
            follow_for: Duration::from_secs(60 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(http: u16, ssh: Option<u16>) -> Addresses {
        Addresses {
            apps_domain: "apps.example.org".to_owned(),
            http_port: http,
            https_port: 443,
            ssh: ssh.map(|port| SshAddress {
                host: "git-mar-eu-1.example.org".to_owned(),
                port,
            }),
            https_origin: "https://api.example.org".to_owned(),
            own_hosts: vec![
                "example.org".to_owned(),
                "console.apps.example.org".to_owned(),
            ],
            own_names_are_known: true,
        }
    }

    #[test]
    fn addresses_are_spelled_as_people_type_them() {
        let app: AppId = "mar-eu-1-twwto7g0".parse().unwrap();
        let classic = addresses(80, Some(22));
        assert_eq!(
            classic.url(&app),
            "http://mar-eu-1-twwto7g0.apps.example.org"
        );
        assert_eq!(
            classic.git_url(&app),
            "git@git-mar-eu-1.example.org:mar-eu-1-twwto7g0"
        );
        let local = addresses(8080, Some(2222));
        assert_eq!(
            local.url(&app),
            "http://mar-eu-1-twwto7g0.apps.example.org:8080"
        );
        assert_eq!(
            local.https_url(&app),
            "https://mar-eu-1-twwto7g0.apps.example.org"
        );
        assert_eq!(
            local.git_url(&app),
            "ssh://git@git-mar-eu-1.example.org:2222/mar-eu-1-twwto7g0"
        );
        assert_eq!(
            addresses(80, None).git_url(&app),
            "https://api.example.org/git/mar-eu-1-twwto7g0"
        );
    }

    #[test]
    fn names_of_pilvi_are_its_own() {
        let addresses = addresses(80, None);
        for (name, own) in [
            ("api.example.org", true),
            ("example.org", true),
            ("todo.apps.example.org", false),
            ("console.apps.example.org", true),
            ("a.console.apps.example.org", true),
            ("myconsole.apps.example.org", false),
            ("example.com", false),
        ] {
            assert_eq!(addresses.is_own(&name.parse().unwrap()), own, "{name}");
        }
    }
}
