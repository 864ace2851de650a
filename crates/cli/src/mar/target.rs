//! Which app a command is about: the one that is named, or the one that the repository in the current folder is pushed
//! to.

use std::path::Path;
use std::process::Command;

use clap::Args;
use serde_json::Value;

use crate::failure::{Code, Failure, Result};
use crate::session::Session;
use crate::url::{Base, segment};

#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// The app's id, such as mar-eu-1-twwto7g0 [default: that of the git remote in the current folder]
    #[arg(long, global = true, value_name = "ID", env = "PILVI_APP")]
    app: Option<String>,
    /// Take the app of this git remote
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "app")]
    remote: Option<String>,
}

/// An app, and where it is looked after.
pub(crate) struct App {
    pub(crate) id: String,
    base: Base,
}

impl Target {
    /// The app's id.
    pub(crate) fn id(&self, folder: &Path) -> Result<String> {
        // A remote that is named says more than a variable that was set earlier.
        if let (Some(app), None) = (&self.app, &self.remote) {
            let id = without_git(app.trim());
            return match is_app_id(id) {
                true => Ok(id.to_owned()),
                false => Err(Failure::usage(
                    format!("{app} is not the id of an app"),
                    "see `pilvi mar list` for the ids; they look like mar-eu-1-twwto7g0",
                )),
            };
        }
        let remotes = remotes(folder)?;
        choose(&remotes, self.remote.as_deref())
    }

    pub(crate) async fn find(&self, session: &Session<'_, '_>) -> Result<App> {
        let id = self.id(&session.place.folder)?;
        let base = session.runtime_of(&id).await?;
        Ok(App { id, base })
    }
}

impl App {
    pub(crate) fn new(id: &str, base: Base) -> Self {
        Self {
            id: id.to_owned(),
            base,
        }
    }

    fn resource(&self, below: &str) -> String {
        let id = segment(&self.id);
        match below {
            "" => format!("apps/{id}"),
            below => format!("apps/{id}/{below}"),
        }
    }

    pub(crate) async fn get(&self, session: &Session<'_, '_>, below: &str) -> Result<Value> {
        session.client.get(&self.base, &self.resource(below)).await
    }

    pub(crate) async fn post(
        &self,
        session: &Session<'_, '_>,
        below: &str,
        body: &Value,
    ) -> Result<Value> {
        session
            .client
            .post(&self.base, &self.resource(below), body)
            .await
    }

    pub(crate) async fn put(
        &self,
        session: &Session<'_, '_>,
        below: &str,
        body: &Value,
    ) -> Result<Value> {
        session
            .client
            .put(&self.base, &self.resource(below), body)
            .await
    }

    pub(crate) async fn delete(&self, session: &Session<'_, '_>, below: &str) -> Result<Value> {
        session
            .client
            .delete(&self.base, &self.resource(below))
            .await
    }

    pub(crate) async fn open(
        &self,
        session: &Session<'_, '_>,
        below: &str,
    ) -> Result<hyper::body::Incoming> {
        session.client.open(&self.base, &self.resource(below)).await
    }
}

/// A git remote that leads to an app.
#[derive(Debug, PartialEq, Eq)]
struct Remote {
    name: String,
    app: String,
}

fn remotes(folder: &Path) -> Result<Vec<Remote>> {
    let next = "name the app with --app ID; `pilvi mar list` shows the ids";
    let output = Command::new("git")
        .args(["remote", "-v"])
        .current_dir(folder)
        .output()
        .map_err(|error| {
            let what =
                format!("the app could not be found, because git cannot be started: {error}");
            Failure::usage(what, next)
        })?;
    if !output.status.success() {
        return Err(Failure::usage(
            "no app is named, and the current folder is no git repository",
            next,
        ));
    }
    Ok(read_remotes(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads what `git remote -v` prints. An address may hold a password, so nothing but the id is kept of it.
fn read_remotes(text: &str) -> Vec<Remote> {
    let lines = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let address = rest.trim().strip_suffix("(push)")?.trim();
        Some(Remote {
            name: name.to_owned(),
            app: app_of(address)?.to_owned(),
        })
    });
    lines.collect()
}

fn choose(remotes: &[Remote], named: Option<&str>) -> Result<String> {
    if let Some(name) = named {
        let found = remotes.iter().find(|remote| remote.name == name);
        return found.map(|remote| remote.app.clone()).ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!("the repository has no remote {name} that leads to an app"),
                "see `git remote -v`, or name the app with --app ID",
            )
        });
    }
    let mut apps: Vec<&str> = remotes.iter().map(|remote| &*remote.app).collect();
    apps.sort_unstable();
    apps.dedup();
    match apps.as_slice() {
        [app] => Ok((*app).to_owned()),
        [] => Err(Failure::usage(
            "no app is named, and no git remote of the current folder leads to one",
            "name the app with --app ID; `pilvi mar list` shows the ids",
        )),
        _ => {
            let each = remotes
                .iter()
                .map(|remote| format!("{} ({})", remote.name, remote.app));
            Err(Failure::usage(
                format!(
                    "the git remotes lead to several apps: {}",
                    each.collect::<Vec<_>>().join(", ")
                ),
                "choose one with --remote NAME or --app ID",
            ))
        }
    }
}

/// The app that a remote's address leads to, in any of the forms that `create` prints.
fn app_of(address: &str) -> Option<&str> {
    let path = match address.split_once("://") {
        // ssh://git@host:2222/<id>
        Some(("ssh", rest)) => rest.split_once('/')?.1,
        // https://host/git/<id>
        Some(("https" | "http", rest)) => rest.split_once('/')?.1.strip_prefix("git/")?,
        Some(_) => return None,
        // git@git-mar-eu-1.example.org:<id>
        None => {
            let (host, path) = address.split_once(':')?;
            host.strip_prefix("git@git-mar-")?;
            path
        }
    };
    let id = without_git(path.trim_matches('/'));
    is_app_id(id).then_some(id)
}

fn without_git(id: &str) -> &str {
    id.strip_suffix(".git").unwrap_or(id)
}

/// `mar-<datacenter>-<name>`, where a datacenter has two parts.
fn is_app_id(id: &str) -> bool {
    let parts: Vec<&str> = id.split('-').collect();
    let is_word = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    parts.len() == 4 && parts[0] == "mar" && parts.iter().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "mar-eu-1-twwto7g0";

    #[test]
    fn every_form_of_a_remote_leads_to_its_app() {
        for address in [
            "git@git-mar-eu-1.qtc.io:mar-eu-1-twwto7g0",
            "git@git-mar-eu-1.qtc.io:mar-eu-1-twwto7g0.git",
            "git@git-mar-eu-1.localhost:/mar-eu-1-twwto7g0",
            "ssh://git@127.0.0.1:2222/mar-eu-1-twwto7g0",
            "ssh://git@git-mar-eu-1.qtc.io/mar-eu-1-twwto7g0.git",
            "https://localhost:8443/git/mar-eu-1-twwto7g0",
            "https://x:hunter2@example.org/git/mar-eu-1-twwto7g0/",
            "http://127.0.0.1:8080/git/mar-eu-1-twwto7g0",
        ] {
            assert_eq!(app_of(address), Some(ID), "{address}");
        }
        for address in [
            "git@github.com:someone/mar-eu-1-twwto7g0",
            "https://github.com/someone/project.git",
            "ssh://git@github.com/someone/project.git",
            "https://example.org/mar-eu-1-twwto7g0",
            "git@git-mar-eu-1.qtc.io:../../etc",
            "file:///git/mar-eu-1-twwto7g0",
            "",
        ] {
            assert_eq!(app_of(address), None, "{address}");
        }
    }

    const TWO_APPS: &str = "origin\tgit@github.com:someone/echo.git (fetch)\n\
         origin\tgit@github.com:someone/echo.git (push)\n\
         qtc\tssh://git@127.0.0.1:2222/mar-eu-1-twwto7g0 (fetch)\n\
         qtc\tssh://git@127.0.0.1:2222/mar-eu-1-twwto7g0 (push)\n\
         live\thttps://x:hunter2@h/git/mar-eu-1-1lcyazw4 (push)\n";

    #[test]
    fn one_app_is_found_by_itself_and_several_need_a_choice() {
        let two = read_remotes(TWO_APPS);
        assert_eq!(two.len(), 2);
        assert_eq!(choose(&two[..1], None).unwrap(), ID);
        assert_eq!(choose(&two, Some("live")).unwrap(), "mar-eu-1-1lcyazw4");
        let failure = choose(&two, None).unwrap_err();
        assert_eq!(
            failure.what,
            "the git remotes lead to several apps: qtc (mar-eu-1-twwto7g0), live (mar-eu-1-1lcyazw4)"
        );
        assert_eq!(
            choose(&two, Some("origin")).unwrap_err().code,
            Code::NotFound
        );
        assert_eq!(choose(&[], None).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn two_remotes_of_one_app_are_no_choice() {
        let same = |name: &str| Remote {
            name: name.into(),
            app: ID.into(),
        };
        assert_eq!(choose(&[same("a"), same("b")], None).unwrap(), ID);
    }
}
