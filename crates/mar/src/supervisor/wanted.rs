//! What the store says about an app, read when something is said to have changed.

use std::path::PathBuf;
use std::sync::Arc;

use pilvi_model::app::Size;
use pilvi_model::{AppId, Error, Result};
use pilvi_store::platform::{self, App};
use rustls::sign::CertifiedKey;

use super::Parts;
use super::formation::Formation;
use super::launcher::Place;
use super::recipe::Recipe;
use crate::folders::host_uid;
use crate::{archive, certificates, domains, env_vars, upload};

/// What is wanted of an app.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) runs: bool,
    /// The current release.
    pub(super) release: Option<u32>,
    pub(super) size: Size,
    pub(super) formation: Formation,
    pub(super) hosts: Vec<String>,
    pub(super) certificate: Option<Arc<CertifiedKey>>,
}

impl Wanted {
    /// `None`: there is no such app any more, or it was deleted and may be restored later.
    pub(super) async fn read(parts: &Parts, app: &AppId) -> Result<Option<Self>> {
        let Some(found) = parts.store.find_app_that_may_run(app).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            runs: found.wanted == platform::Wanted::Running,
            release: found.release,
            size: found.size,
            formation: parts.store.formation(app).await?,
            hosts: domains::hosts(&parts.store, &parts.addresses, app).await?,
            certificate: certificates::certified_key(&parts.store, &parts.keyring, app).await?,
        }))
    }
}

/// Makes everything ready that a release needs to run. Its slug is unpacked when it is not yet.
pub(super) async fn prepare(parts: &Parts, app: &AppId, release: u32) -> Result<Recipe> {
    let gone = || Error::not_found(format!("release v{release} is not there any more"));
    let found = parts.store.find_app_that_may_run(app).await?;
    let found = found.ok_or_else(gone)?;
    let release = parts
        .store
        .find_release(app, release)
        .await?
        .ok_or_else(gone)?;
    let slug = release.slug.ok_or_else(|| {
        Error::conflict(format!(
            "the slug of release v{} was removed; deploy another one",
            release.number
        ))
    })?;
    Ok(Recipe {
        app: app.clone(),
        release: release.number,
        place: Place {
            uid: host_uid(&found),
            stack: release.stack.clone(),
            slug: unpacked(parts, &found, slug).await?,
            memory_bytes: found.size.memory_bytes(),
        },
        vars: env_vars::environment(&parts.store, &parts.keyring, &release).await?,
        types: release.process_types,
    })
}

/// The files of a slug, unpacked from its tarball when they are not there.
async fn unpacked(parts: &Parts, app: &App, slug: i64) -> Result<PathBuf> {
    let (tarball, tree) = (
        parts.folders.tarball(&app.id, slug),
        parts.folders.tree(&app.id, slug),
    );
    let (uid, bounds) = (host_uid(app), archive::Bounds::from(&parts.limits));
    upload::on_a_thread(move || {
        if !tree.is_dir() {
            archive::unpack(&tarball, &tree, uid, bounds)?;
        }
        Ok(tree)
    })
    .await
}
