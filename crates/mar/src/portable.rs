//! An app on its way into a backup and out of one, and its secrets when keys are exchanged.
//!
//! A backup of an app holds its rows, the slugs that it can run and its repository. What builds keep for the next build
//! and what its processes wrote is not in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use pilvi_base::Keyring;
use pilvi_core::portable::{Incoming, Secrets, Unopened};
use pilvi_core::{Extent, Resource};
use pilvi_model::{AppId, Error, Instance, Result};
use pilvi_store::Store;
use pilvi_store::platform::{ImportedApp, Resealed, SealedPlace, SealedValue};
use pilvi_store::snapshot::Facts;
use serde_json::Value;

use crate::env_vars::{all_context, one_context};
use crate::folders::remove_tree;
use crate::upload::{of_the_disk, on_a_thread};
use crate::{Folders, Mar, certificates};

/// The names of an app's files in a backup.
const RECORDS: &str = "app.json";
pub const SLUGS: &str = "slugs";
pub const REPOSITORY: &str = "repository.bundle";

/// Larger than the records of any app.
const RECORDS_BYTES_MAX: u64 = 64 << 20;
/// How often it is tried again to find rows and files that belong together.
const ATTEMPTS: usize = 5;

impl Mar {
    pub(crate) async fn hold_slugs(&self, folder: &Path) -> Result<()> {
        let (folders, folder) = (self.parts().folders.clone(), folder.to_owned());
        on_a_thread(move || {
            for app in folders.list().map_err(Error::internal)? {
                link_slugs(&folders, &app, &folder.join(app.as_str())).map_err(of_the_disk)?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn lay_out(
        &self,
        instance: &Instance,
        folder: &Path,
        extent: Extent,
    ) -> Result<BTreeMap<String, Facts>> {
        let app: AppId = instance.id.parse()?;
        if extent == Extent::Alone {
            let records = self.records_with_slugs(&app, folder).await?;
            let (file, text) = (folder.join(RECORDS), records.to_string());
            on_a_thread(move || fs::write(file, text).map_err(of_the_disk)).await?;
        }
        let bundle = folder.join(REPOSITORY);
        self.parts()
            .repositories
            .bundle(app.as_str(), &bundle)
            .await?;
        Ok(BTreeMap::new())
    }

    /// The rows of an app, with the file of each slug that they know. A slug may be removed between two looks.
    async fn records_with_slugs(&self, app: &AppId, folder: &Path) -> Result<Value> {
        for _ in 0..ATTEMPTS {
            self.link_slugs(app, folder).await?;
            let records = self.store().export_app(app).await?;
            // One may just have become ready.
            self.link_slugs(app, folder).await?;
            let slugs = records["slugs"].as_array().map(Vec::as_slice);
            let mut ids = slugs.unwrap_or_default().iter();
            let is_whole = ids.all(|slug| {
                let id = slug["id"].as_i64().unwrap_or_default();
                folder.join(SLUGS).join(tarball_name(id)).is_file()
            });
            if is_whole {
                return Ok(records);
            }
        }
        Err(Error::unavailable(
            "the app's slugs change faster than they can be copied; try again in a moment",
        ))
    }

    async fn link_slugs(&self, app: &AppId, folder: &Path) -> Result<()> {
        let folders = self.parts().folders.clone();
        let (app, folder) = (app.clone(), folder.to_owned());
        on_a_thread(move || link_slugs(&folders, &app, &folder).map_err(of_the_disk)).await
    }

    pub(crate) async fn take_in(&self, incoming: Incoming<'_>) -> Result<Vec<String>> {
        let (parts, app) = (self.parts(), incoming.instance.id.parse::<AppId>()?);
        let known_as: AppId = incoming.known_as().parse()?;
        let origin: AppId = incoming.origin.parse().map_err(|_| {
            Error::bad_request("the archive names no app that its files could be from")
        })?;
        let folder = incoming.folder;
        let records = read_records(folder.join(RECORDS)).await?;
        let replaces = incoming.replaces.map(|_| known_as.clone());
        let ImportedApp {
            slugs,
            domains_taken,
        } = parts.store.import_app(&app, replaces, records).await?;
        if incoming.replaces.is_none() {
            let memory_max = self.memory_max();
            parts.store.check_app_memory(&app, memory_max).await?;
        }
        parts.folders.make(&app)?;
        let moves = slugs.iter().map(|(old, new)| {
            let from = folder.join(SLUGS).join(tarball_name(*old));
            (from, parts.folders.tarball(&app, *new))
        });
        let moves: Vec<_> = moves.collect();
        on_a_thread(move || move_slugs(&moves)).await?;
        parts.repositories.create(app.as_str()).await?;
        let bundle = folder.join(REPOSITORY);
        if bundle.is_file() {
            parts.repositories.unbundle(app.as_str(), &bundle).await?;
        }
        let keys = Resealing {
            from: &origin,
            to: &known_as,
            secrets: incoming.secrets,
            unopened: Unopened::Remove,
        };
        let lost = reseal(&parts.store, &parts.keyring, &app, keys).await?;
        parts.processes.apply(&app).await?;
        let mut missing: Vec<String> = domains_taken
            .into_iter()
            .map(|domain| {
                format!("The domain {domain} was left out: another app of this server has it.")
            })
            .collect();
        missing.extend(
            lost.iter()
                .map(|place| lost_in_words(place, incoming.secrets)),
        );
        Ok(missing)
    }

    /// The rows change hands in one transaction, and every slug that they name has a file by then. The repository
    /// follows: a server that ends in between comes back with the app as it was in the archive, and the branches of
    /// before.
    pub(crate) async fn take_the_place(&self, incoming: Incoming<'_>) -> Result<()> {
        let parts = self.parts();
        let (with, app) = (
            incoming.instance.id.parse::<AppId>()?,
            incoming.known_as().parse::<AppId>()?,
        );
        let records = read_records(incoming.folder.join(RECORDS)).await?;
        let turn = self.stop(&app).await?;
        let replaced = self.exchange(&app, &with, &records).await;
        drop(turn);
        // As it is now, or as it was.
        parts.processes.apply(&app).await?;
        replaced
    }

    async fn exchange(&self, app: &AppId, with: &AppId, records: &Value) -> Result<()> {
        let parts = self.parts();
        let (folders, from, to) = (parts.folders.clone(), with.clone(), app.clone());
        parts.folders.make(app)?;
        on_a_thread(move || {
            let slugs = folders.of(&to).join(SLUGS);
            link_slugs(&folders, &from, &folders.of(&to)).map_err(of_the_disk)?;
            let synced = fs::File::open(slugs).and_then(|folder| folder.sync_all());
            synced.map_err(of_the_disk)
        })
        .await?;
        let domains = names_of_domains(records);
        let new = parts.store.list_slug_ids(with).await?;
        let replaced = parts
            .store
            .replace_app(app, with, domains, self.memory_max());
        let old = match replaced.await {
            Ok(old) => old,
            Err(error) => {
                self.remove_slug_files(app, new).await?;
                return Err(error);
            }
        };
        parts
            .repositories
            .replace(app.as_str(), with.as_str())
            .await?;
        self.remove_slug_files(app, old).await
    }

    async fn remove_slug_files(&self, app: &AppId, slugs: Vec<i64>) -> Result<()> {
        let folders = &self.parts().folders;
        for slug in slugs {
            for file in [folders.tarball(app, slug), folders.tree(app, slug)] {
                remove_tree(file).await?;
            }
        }
        Ok(())
    }

    fn memory_max(&self) -> u64 {
        self.0.quotas.defaults().most(Resource::AppMemoryBytes)
    }
}

fn names_of_domains(records: &Value) -> Vec<String> {
    let domains = records["domains"].as_array().map(Vec::as_slice);
    let domains = domains.unwrap_or_default().iter();
    domains
        .filter_map(|domain| domain["name"].as_str().map(str::to_owned))
        .collect()
}

/// Gives the packed slugs of an app a second name below `folder`, unless they have it already.
fn link_slugs(folders: &Folders, app: &AppId, folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folders.slugs(app)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let target = folder.join(SLUGS);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&target)?;
    for entry in entries {
        let (path, name) = match entry {
            Ok(entry) => (entry.path(), entry.file_name()),
            Err(error) => return Err(error),
        };
        let is_tarball = name
            .to_str()
            .and_then(|name| name.strip_suffix(".tgz"))
            .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_tarball {
            continue;
        }
        match fs::hard_link(&path, target.join(&name)) {
            Err(error)
                // Held already, or removed just now.
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                ) => {}
            linked => linked?,
        }
    }
    Ok(())
}

fn tarball_name(slug: i64) -> String {
    format!("{slug}.tgz")
}

async fn read_records(file: PathBuf) -> Result<Value> {
    on_a_thread(move || {
        let unusable = |why: String| {
            Error::bad_request(format!(
                "the archive's record of the app is of no use: {why}"
            ))
        };
        let length = fs::metadata(&file).map_err(|error| unusable(error.to_string()))?;
        if length.len() > RECORDS_BYTES_MAX {
            return Err(unusable("it is too large".to_owned()));
        }
        let text = fs::read(&file).map_err(Error::internal)?;
        serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))
    })
    .await
}

/// Puts slugs where their app looks for them, on disk before anything runs.
fn move_slugs(moves: &[(PathBuf, PathBuf)]) -> Result<()> {
    for (from, to) in moves {
        let moved = || {
            fs::File::open(from)?.sync_all()?;
            fs::rename(from, to)?;
            match to.parent() {
                Some(folder) => fs::File::open(folder)?.sync_all(),
                None => Ok(()),
            }
        };
        moved().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::bad_request("a slug of the app is missing in the archive")
            }
            _ => of_the_disk(error),
        })?;
    }
    Ok(())
}

/// For whom what is sealed is sealed anew.
#[derive(Clone, Copy, Debug)]
pub struct Resealing<'a> {
    /// The app that it was sealed for.
    pub from: &'a AppId,
    /// The app that will open it.
    pub to: &'a AppId,
    pub secrets: Secrets,
    pub unopened: Unopened,
}

impl<'a> Resealing<'a> {
    /// With the newest key, for the same app.
    pub fn at_home(app: &'a AppId, unopened: Unopened) -> Self {
        Self {
            from: app,
            to: app,
            secrets: Secrets::Open,
            unopened,
        }
    }
}

/// Seals anew what an app keeps sealed. Returns what is not opened. Where it goes, a release of which the vars are gone
/// has none.
pub async fn reseal(
    store: &Store,
    keyring: &Keyring,
    app: &AppId,
    keys: Resealing<'_>,
) -> Result<Vec<SealedPlace>> {
    let (mut changes, mut lost) = (Vec::new(), Vec::new());
    for old in store.list_sealed_values(app).await? {
        let SealedValue { place, value } = &old;
        let [from, to] = [keys.from, keys.to].map(|app| match place {
            SealedPlace::Var(name) => one_context(app, name),
            SealedPlace::Release(_) => all_context(app),
            SealedPlace::Certificate => certificates::context(app),
        });
        let new = match keys.secrets {
            Secrets::Open => keyring.reseal(&from, &to, value).ok(),
            Secrets::LeaveBehind => None,
        };
        let new = match new {
            Some(None) => continue,
            Some(Some(new)) => Some(new),
            None => {
                lost.push(place.clone());
                match place {
                    _ if keys.unopened == Unopened::Keep => continue,
                    SealedPlace::Release(_) => Some(keyring.seal(&to, b"{}")),
                    SealedPlace::Var(_) | SealedPlace::Certificate => None,
                }
            }
        };
        changes.push(Resealed { old, new });
    }
    if !changes.is_empty() {
        store.replace_sealed_values(app, changes).await?;
    }
    Ok(lost)
}

/// What somebody hears of a value that is gone.
pub fn lost_in_words(place: &SealedPlace, secrets: Secrets) -> String {
    let why = secrets.why_lost();
    match place {
        SealedPlace::Var(name) => {
            format!(
                "The config var {} was left out: it is {why}. Set it again.",
                name.as_str()
            )
        }
        SealedPlace::Release(number) => {
            format!("Release v{number} has no config vars any more: they are {why}.")
        }
        SealedPlace::Certificate => {
            format!("The certificate was left out: its key is {why}. Upload it again.")
        }
    }
}
