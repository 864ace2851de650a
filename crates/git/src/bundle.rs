//! A repository as one file: all its branches and tags with their history, from one moment.

use std::io;
use std::path::Path;
use std::time::Duration;

use pilvi_model::{Error, Result};

use crate::Repositories;
use crate::command::{ask, ask_within, git};

/// How long packing or unpacking a large repository may take.
const WORK_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What is checked in a bundle, as in a push: see `command::SETTINGS`.
const CHECKED: &[(&str, &str)] = &[
    ("fetch.fsckObjects", "true"),
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("gc.auto", "0"),
];

impl Repositories {
    /// Writes the app's repository into a file that git makes. Pushes go on meanwhile. `false`: there is nothing in the
    /// repository, and no file.
    pub async fn bundle(&self, app: &str, file: &Path) -> Result<bool> {
        self.write_bundle(app, file).await.map_err(Error::internal)
    }

    async fn write_bundle(&self, app: &str, file: &Path) -> io::Result<bool> {
        let repository = self.path(app)?;
        if !repository.join("HEAD").is_file() {
            return Ok(false);
        }
        let any = ["for-each-ref", "--count=1", "--format=%(refname)"];
        if ask(git(&repository, &[]), &any).await?.text()?.is_empty() {
            return Ok(false);
        }
        let file = file.as_os_str();
        let words = ["bundle", "create", "--quiet"].map(std::ffi::OsStr::new);
        let arguments = [&words[..], &[file, "--all".as_ref()]].concat();
        ask_within(WORK_TIMEOUT, git(&repository, &[]), &arguments)
            .await?
            .text()?;
        Ok(true)
    }

    /// Takes all branches and tags of a bundle into the app's repository, which is there and empty. Every object is
    /// checked like one that is pushed.
    pub async fn unbundle(&self, app: &str, file: &Path) -> Result<()> {
        let repository = self.path(app).map_err(Error::internal)?;
        let mut command = git(&repository, CHECKED);
        command.env("GIT_ALLOW_PROTOCOL", "file");
        let words = ["fetch", "--quiet", "--no-write-fetch-head", "--no-tags"];
        let mut arguments: Vec<&std::ffi::OsStr> = words.iter().map(AsRef::as_ref).collect();
        arguments.extend([file.as_os_str(), "+refs/*:refs/*".as_ref()]);
        let fetched = ask_within(WORK_TIMEOUT, command, &arguments).await;
        let fetched = fetched.map_err(Error::internal)?.text();
        fetched.map(drop).map_err(|error| {
            Error::bad_request(format!("the repository in the archive is damaged: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask_in(folder: &Path, arguments: &[&str]) -> String {
        let mut command = git(folder, &[("user.name", "a"), ("user.email", "a@b")]);
        command.env_remove("GIT_DIR");
        ask(command, arguments).await.unwrap().text().unwrap()
    }

    #[tokio::test]
    async fn a_repository_comes_back_with_its_branches_and_tags() {
        let folder = tempfile::tempdir().unwrap();
        let repositories = Repositories::open(&folder.path().join("apps")).unwrap();
        let (app, copy) = ("mar-eu-1-aaaaaaaa", "mar-eu-1-bbbbbbbb");
        let bundle = folder.path().join("repository.bundle");
        assert!(!repositories.bundle(app, &bundle).await.unwrap());
        repositories.create(app).await.unwrap();
        assert!(!repositories.bundle(app, &bundle).await.unwrap());
        assert!(!bundle.exists());

        let work = folder.path().join("work");
        std::fs::create_dir(&work).unwrap();
        ask_in(&work, &["init", "--quiet"]).await;
        ask_in(&work, &["commit", "--quiet", "--allow-empty", "-m", "one"]).await;
        ask_in(&work, &["tag", "v1"]).await;
        ask_in(&work, &["branch", "other"]).await;
        let to = repositories.path(app).unwrap();
        let into = to.to_str().unwrap();
        let mut push = git(&work, &[]);
        push.env_remove("GIT_DIR").env("GIT_ALLOW_PROTOCOL", "file");
        ask(push, &["push", "--quiet", "--mirror", into])
            .await
            .unwrap()
            .text()
            .unwrap();

        assert!(repositories.bundle(app, &bundle).await.unwrap());
        repositories.create(copy).await.unwrap();
        repositories.unbundle(copy, &bundle).await.unwrap();
        let refs = ["for-each-ref", "--format=%(objectname) %(refname)"];
        let before = ask(git(&to, &[]), &refs).await.unwrap().text().unwrap();
        let after = repositories.path(copy).unwrap();
        let after = ask(git(&after, &[]), &refs).await.unwrap().text().unwrap();
        assert_eq!(before.lines().count(), 3, "{before}");
        assert_eq!(before, after);

        let bytes = std::fs::read(&bundle).unwrap();
        std::fs::write(&bundle, &bytes[..bytes.len() - 20]).unwrap();
        let third = "mar-eu-1-cccccccc";
        repositories.create(third).await.unwrap();
        let refused = repositories.unbundle(third, &bundle).await.unwrap_err();
        assert!(refused.message.contains("damaged"), "{refused:?}");
    }
}
