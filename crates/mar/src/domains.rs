//! Domains: host names beside the app's own (`mar.md` §2.7).

use pilvi_model::app::Domain;
use pilvi_model::{AppId, Error, Result};
use pilvi_store::Store;

use crate::Mar;
use crate::caller::Caller;
use crate::settings::Addresses;

impl Mar {
    /// Gives the app a host name that is nobody's yet. Whoever owns the name must let it lead here.
    pub(crate) async fn add_domain(&self, caller: &Caller, name: &str) -> Result<Domain> {
        let parts = self.parts();
        let domain: Domain = name.trim().parse()?;
        check(&domain, &parts.settings.addresses)?;
        let most = parts.settings.limits.domains;
        parts
            .store
            .insert_domain(&caller.app, domain.clone(), most, self.now())
            .await?;
        self.note(
            caller
                .act("app.domain.create")
                .with("domain", domain.to_string()),
        )
        .await;
        parts.processes.apply(&caller.app).await?;
        Ok(domain)
    }

    pub(crate) async fn remove_domain(&self, caller: &Caller, name: &str) -> Result<()> {
        let no_such = || Error::not_found("the app has no such domain");
        let domain: Domain = name.parse().map_err(|_| no_such())?;
        if !self.store().delete_domain(&caller.app, &domain).await? {
            return Err(no_such());
        }
        self.note(
            caller
                .act("app.domain.remove")
                .with("domain", domain.to_string()),
        )
        .await;
        self.parts().processes.apply(&caller.app).await
    }
}

/// All host names that lead to an app, for its route. A claim to a name that is Pilvi's own by now has no effect.
pub(crate) async fn hosts(
    store: &Store,
    addresses: &Addresses,
    app: &AppId,
) -> Result<Vec<String>> {
    let mut hosts = vec![addresses.host(app)];
    let domains = store.list_domains(app).await?;
    let claimed = domains.iter().filter(|domain| !addresses.is_own(domain));
    hosts.extend(claimed.map(ToString::to_string));
    Ok(hosts)
}

/// Under the apps domain a name may be one label that could not be an app's id; Pilvi's own names are no app's.
fn check(domain: &Domain, addresses: &Addresses) -> Result<()> {
    let refuse = |message: &str| Err(Error::invalid("name", message));
    if addresses.is_own(domain) {
        return refuse("belongs to this server itself");
    }
    let apps_domain = &addresses.apps_domain;
    if !domain.is_within(apps_domain) {
        return match addresses.own_names_are_known {
            true => Ok(()),
            false => refuse(
                "cannot be taken on this server yet: its operator must first say under which names the server itself \
                 is reached, with the option --own-name",
            ),
        };
    }
    match domain.label_under(apps_domain) {
        None => refuse("must be one word in front of the domain that all apps share"),
        Some(label) if label.starts_with("mar-") => refuse("is kept for the app with this id"),
        Some(label) if is_reserved(label) => refuse("is kept for this server itself"),
        Some(_) => Ok(()),
    }
}

/// Pilvi's own services have names such as `api` and `mws-eu-1`, and may have them under the apps domain.
fn is_reserved(label: &str) -> bool {
    const NAMES: [&str; 8] = ["admin", "api", "console", "eds", "git", "mdb", "mws", "www"];
    const BEGINNINGS: [&str; 4] = ["eds-", "git-", "mdb-", "mws-"];
    NAMES.contains(&label)
        || BEGINNINGS
            .iter()
            .any(|beginning| label.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_be_free_to_take() {
        let addresses = Addresses {
            apps_domain: "apps.example.org".to_owned(),
            http_port: 80,
            https_port: 443,
            ssh: None,
            https_origin: "https://api.example.org".to_owned(),
            own_hosts: vec!["example.org".to_owned()],
            own_names_are_known: true,
        };
        for (name, fits) in [
            ("www.example.com", true),
            ("todo.apps.example.org", true),
            ("a.b.apps.example.org", false),
            ("apps.example.org", false),
            ("mar-eu-1-aaaaaaaa.apps.example.org", false),
            ("api.example.org", false),
            ("git-mar-eu-1.example.org", false),
            ("git-mar-eu-1.apps.example.org", false),
            ("api.apps.example.org", false),
            ("mws-eu-1.apps.example.org", false),
            ("api2.apps.example.org", true),
        ] {
            let checked = check(&name.parse().unwrap(), &addresses);
            assert_eq!(checked.is_ok(), fits, "{name}");
        }
        let unknown = Addresses {
            own_names_are_known: false,
            ..addresses
        };
        for (name, fits) in [("todo.apps.example.org", true), ("www.example.com", false)] {
            let checked = check(&name.parse().unwrap(), &unknown);
            assert_eq!(checked.is_ok(), fits, "{name}");
        }
    }
}
