//! A backend on its way into a backup and out of one, and its secrets when keys are exchanged.

use std::collections::BTreeMap;
use std::path::Path;

use pilvi_base::Keyring;
use pilvi_core::portable::{Incoming, Secrets, Unopened};
use pilvi_model::{BackendId, Error, Instance, Result};
use pilvi_store::Store;
use pilvi_store::backend::{ResealedHeaders, ResealedSigning};
use pilvi_store::snapshot::Facts;

use crate::Eds;
pub use crate::portable_files::{digest_of, remove_unfinished_files, unfinished_in_words};
use crate::webhooks::{context, is_empty, signing};

/// The name of a backend's database in a backup.
pub const DATABASE: &str = "backend.db";
/// A file whose bytes were removed after the copy was made and before they were held calls for another copy.
const ATTEMPTS: usize = 3;

impl Eds {
    pub(crate) async fn lay_out(
        &self,
        instance: &Instance,
        folder: &Path,
    ) -> Result<BTreeMap<String, Facts>> {
        let backend: BackendId = instance.id.parse()?;
        let copy = folder.join(DATABASE);
        let mut attempt = 1;
        loop {
            let facts = self.0.store.copy_backend(backend, copy.clone()).await?;
            let gone = self.lay_out_files(backend, copy.clone(), folder).await?;
            if gone.is_empty() || attempt == ATTEMPTS {
                // Files do not go away that fast, so these were gone before: the copy is as good as what it is of.
                for digest in gone {
                    tracing::error!(
                        %backend, %digest,
                        "the bytes of a file are missing, and so they are in the backup"
                    );
                }
                return Ok(BTreeMap::from([(DATABASE.to_owned(), facts)]));
            }
            attempt += 1;
            let copy = copy.clone();
            let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(copy)).await;
            removed.map_err(Error::internal)?.map_err(Error::internal)?;
        }
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
        store.note_files_of(known_as).await?;
        let lost = lost.iter().map(|lost| lost.in_words(incoming.secrets));
        let mut lost: Vec<String> = lost.collect();
        lost.extend(self.take_in_files(&backend, incoming.folder).await?);
        Ok(lost)
    }

    pub(crate) async fn take_the_place(&self, incoming: Incoming<'_>) -> Result<()> {
        let (with, id) = (incoming.instance.id.parse()?, incoming.known_as().parse()?);
        // Whatever interrupts this, the bytes of the old files are there, and those of the new ones. Those that
        // nobody needs any more are collected.
        self.0.blobs.share(with, id).await?;
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

/// What a webhook lost, because it could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The webhook to this URL, with its headers.
    Webhook(String),
    /// What the webhook to this URL signs with.
    Secret(String),
}

/// Seals anew what a backend keeps sealed. Returns what could not be opened.
pub async fn reseal(
    store: &Store,
    keyring: &Keyring,
    id: BackendId,
    keys: Resealing,
) -> Result<Vec<Lost>> {
    let Resealing {
        from, to, secrets, ..
    } = keys;
    let backend = store.backend(id);
    let (mut changes, mut lost) = (Vec::new(), Vec::new());
    let mut gone = Vec::new();
    for (webhook, url, old) in backend.list_sealed_headers().await? {
        let (from, to) = (context(from, webhook), context(to, webhook));
        // Headers that say nothing are no secret.
        let may_open = secrets == Secrets::Open || is_empty(keyring, &from, &old);
        let new = match may_open.then(|| keyring.reseal(&from, &to, &old)) {
            Some(Ok(None)) => continue,
            Some(Ok(Some(new))) => Some(new),
            Some(Err(_)) | None => {
                lost.push(Lost::Webhook(url));
                match keys.unopened {
                    Unopened::Keep => continue,
                    Unopened::Remove => {
                        gone.push(webhook);
                        None
                    }
                }
            }
        };
        changes.push(ResealedHeaders { webhook, old, new });
    }
    if !changes.is_empty() {
        backend.replace_sealed_headers(changes).await?;
    }
    let mut changes = Vec::new();
    for (webhook, url, old) in backend.list_sealed_signing().await? {
        if gone.contains(&webhook) {
            continue;
        }
        let (from, to) = (
            signing::context(from, webhook),
            signing::context(to, webhook),
        );
        let may_open = secrets == Secrets::Open;
        let new = match may_open.then(|| keyring.reseal(&from, &to, &old)) {
            Some(Ok(None)) => continue,
            Some(Ok(Some(new))) => Some(new),
            Some(Err(_)) | None => {
                lost.push(Lost::Secret(url));
                match keys.unopened {
                    Unopened::Keep => continue,
                    Unopened::Remove => None,
                }
            }
        };
        changes.push(ResealedSigning { webhook, old, new });
    }
    if !changes.is_empty() {
        backend.replace_sealed_signing(changes).await?;
    }
    Ok(lost)
}

impl Lost {
    /// What somebody hears of it.
    pub fn in_words(&self, secrets: Secrets) -> String {
        let why = secrets.why_lost();
        match self {
            Self::Webhook(url) => {
                format!("The webhook to {url} was left out: its headers are {why}. Make it again.")
            }
            Self::Secret(url) => format!(
                "The webhook to {url} signs nothing any more: its secret is {why}. Make a new one with \
                 `pilvi eds webhooks secret`."
            ),
        }
    }
}
