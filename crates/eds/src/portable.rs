//! A backend on its way into a backup and out of one, and its secrets when keys are exchanged.

use std::collections::BTreeMap;
use std::path::Path;

use pilvi_base::Keyring;
use pilvi_core::portable::{Incoming, Secrets, Unopened};
use pilvi_model::{BackendId, Error, Instance, Result};
use pilvi_store::Store;
use pilvi_store::backend::ResealedHeaders;
use pilvi_store::snapshot::Facts;

use crate::Eds;
use crate::webhooks::{context, is_empty};

/// The name of a backend's database in a backup.
pub const DATABASE: &str = "backend.db";

impl Eds {
    pub(crate) async fn lay_out(
        &self,
        instance: &Instance,
        folder: &Path,
    ) -> Result<BTreeMap<String, Facts>> {
        let backend: BackendId = instance.id.parse()?;
        let copy = folder.join(DATABASE);
        let facts = self.0.store.copy_backend(backend, copy).await?;
        Ok(BTreeMap::from([(DATABASE.to_owned(), facts)]))
    }

    pub(crate) async fn take_in(&self, incoming: Incoming<'_>) -> Result<Vec<String>> {
        let (store, id) = (&self.0.store, incoming.instance.id.parse::<BackendId>()?);
        let origin = incoming.origin.parse().map_err(|_| {
            Error::bad_request("the archive names no backend that its files could be from")
        })?;
        let known_as = incoming.known_as().parse()?;
        store
            .adopt_backend(id, incoming.folder.join(DATABASE))
            .await?;
        let backend = store.backend(id);
        if origin != known_as {
            backend.give_up_deliveries().await?;
        }
        let keys = Resealing {
            from: origin,
            to: known_as,
            secrets: incoming.secrets,
            unopened: Unopened::Remove,
        };
        let lost = reseal(store, &self.0.keyring, id, keys).await?;
        if !backend.list_sealed_headers().await?.is_empty() {
            store.note_webhooks_of(known_as).await?;
        }
        let lost = lost.iter().map(|url| lost_in_words(url, incoming.secrets));
        Ok(lost.collect())
    }

    pub(crate) async fn take_the_place(&self, incoming: Incoming<'_>) -> Result<()> {
        let (with, id) = (incoming.instance.id.parse()?, incoming.known_as().parse()?);
        self.0.store.replace_backend(id, with).await
    }
}

/// For whom what is sealed is sealed anew.
#[derive(Clone, Copy, Debug)]
pub struct Resealing {
    /// The backend that it was sealed for.
    pub from: BackendId,
    /// The backend that will open it.
    pub to: BackendId,
    pub secrets: Secrets,
    pub unopened: Unopened,
}

impl Resealing {
    /// With the newest key, for the same backend.
    pub fn at_home(id: BackendId, unopened: Unopened) -> Self {
        Self {
            from: id,
            to: id,
            secrets: Secrets::Open,
            unopened,
        }
    }
}

/// Seals anew what a backend keeps sealed. Returns where those webhooks send whose headers are not opened.
pub async fn reseal(
    store: &Store,
    keyring: &Keyring,
    id: BackendId,
    keys: Resealing,
) -> Result<Vec<String>> {
    let Resealing {
        from, to, secrets, ..
    } = keys;
    let backend = store.backend(id);
    let (mut changes, mut lost) = (Vec::new(), Vec::new());
    for (webhook, url, old) in backend.list_sealed_headers().await? {
        let (from, to) = (context(from, webhook), context(to, webhook));
        // Headers that say nothing are no secret.
        let may_open = secrets == Secrets::Open || is_empty(keyring, &from, &old);
        let new = match may_open.then(|| keyring.reseal(&from, &to, &old)) {
            Some(Ok(None)) => continue,
            Some(Ok(Some(new))) => Some(new),
            Some(Err(_)) | None => {
                lost.push(url);
                match keys.unopened {
                    Unopened::Keep => continue,
                    Unopened::Remove => None,
                }
            }
        };
        changes.push(ResealedHeaders { webhook, old, new });
    }
    if !changes.is_empty() {
        backend.replace_sealed_headers(changes).await?;
    }
    Ok(lost)
}

/// What somebody hears of a webhook that is gone with its headers.
pub fn lost_in_words(url: &str, secrets: Secrets) -> String {
    format!(
        "The webhook to {url} was left out: its headers are {}. Make it again.",
        secrets.why_lost()
    )
}
