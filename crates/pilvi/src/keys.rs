//! The key file of a data folder, and the exchange of its keys.
//!
//! First the new keys are written beside the old ones, then everything sealed is sealed anew, then the old keys are
//! forgotten. Wherever that stops, everything opens with the keys that are in the file, and doing it again goes on.

use std::path::{Path, PathBuf};

use anyhow::Context;
use pilvi_base::Keyring;
use pilvi_base::secret::{Exchange, remove_drafts};
use pilvi_core::portable::Unopened;
use pilvi_eds::portable::Resealing as EdsResealing;
use pilvi_mar::portable::Resealing as MarResealing;
use pilvi_model::{GatewayId, Provider};
use pilvi_store::Store;

pub(crate) fn key_file(data: &Path) -> PathBuf {
    data.join("secret.key")
}

/// Makes the key file of a folder that holds no data yet. To be called before the first database is made: a folder with
/// data and without a key has lost it, and a new one would open nothing.
pub(crate) fn make_first(data: &Path) -> anyhow::Result<()> {
    let database = data.join("pilvi.db");
    let has_data = std::fs::metadata(&database).is_ok_and(|metadata| metadata.len() > 0);
    if has_data {
        return Ok(());
    }
    Keyring::open_or_make(&key_file(data)).context("could not make the keys of the server")?;
    Ok(())
}

/// The keys of a folder that is locked for us. What an interrupted exchange left of them elsewhere is removed.
pub(crate) fn open(data: &Path) -> anyhow::Result<Keyring> {
    if let Err(error) = remove_drafts(data) {
        tracing::warn!(%error, "what was left of an interrupted exchange of keys could not be removed");
    }
    Ok(Keyring::open(&key_file(data))?)
}

/// Finishes an exchange that was interrupted, for a server that starts. One that cannot be finished does no harm: the
/// old keys stay, and open what they sealed. But tokens must be those of the newest key.
pub(crate) async fn finish_exchange(
    store: &Store,
    keyring: Keyring,
    data: &Path,
) -> anyhow::Result<Keyring> {
    if !keyring.is_rotating() {
        return Ok(keyring);
    }
    tracing::warn!("an exchange of keys was interrupted; it goes on now");
    pilvi_platform::renew_derived_tokens(store, &keyring)
        .await
        .context("could not renew the tokens")?;
    match finish(store, &keyring, data).await {
        Ok((finished, _)) => Ok(finished),
        Err(error) => {
            tracing::error!(
                "the exchange of keys could not be finished and is tried again at the next start: {error:#}"
            );
            Ok(keyring)
        }
    }
}

/// What an exchange did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exchanged {
    pub(crate) tokens: u64,
    /// Values that no key opens, neither an old nor a new one. They are as they were.
    pub(crate) unopened: usize,
}

/// Exchanges the keys of a folder that no server uses.
pub(crate) async fn exchange(
    store: &Store,
    data: &Path,
    exchange: Exchange,
) -> anyhow::Result<Exchanged> {
    let mut keyring = open(data)?;
    if keyring.is_rotating() {
        // One that was interrupted, and may have been about less than this one.
        (keyring, _) = finish(store, &keyring, data).await?;
    }
    let begun = keyring.begin_rotation(&key_file(data), exchange)?;
    let (_, exchanged) = finish(store, &begun, data).await?;
    Ok(exchanged)
}

async fn finish(
    store: &Store,
    keyring: &Keyring,
    data: &Path,
) -> anyhow::Result<(Keyring, Exchanged)> {
    let mut exchanged = Exchanged::default();
    if keyring.exchanges_tokens() {
        exchanged.tokens = pilvi_platform::renew_derived_tokens(store, keyring)
            .await
            .context("could not renew the tokens")?;
    }
    for backend in store.backends_with_webhooks().await? {
        let unopened = pilvi_eds::portable::reseal(
            store,
            keyring,
            backend,
            EdsResealing::at_home(backend, Unopened::Keep),
        )
        .await;
        let unopened =
            unopened.with_context(|| format!("could not seal backend {backend} anew"))?;
        exchanged.unopened += unopened.len();
    }
    for app in store.list_app_ids().await? {
        let unopened = pilvi_mar::portable::reseal(
            store,
            keyring,
            &app,
            MarResealing::at_home(&app, Unopened::Keep),
        )
        .await;
        let unopened = unopened.with_context(|| format!("could not seal app {app} anew"))?;
        exchanged.unopened += unopened.len();
    }
    exchanged.unopened += reseal_gateways(store, keyring, Unopened::Keep).await?.len();
    let finished = keyring.finish_rotation(&key_file(data))?;
    Ok((finished, exchanged))
}

/// Seals anew what gateways keep sealed. Returns those whose secret no key opens.
pub(crate) async fn reseal_gateways(
    store: &Store,
    keyring: &Keyring,
    unopened: Unopened,
) -> anyhow::Result<Vec<GatewayId>> {
    use pilvi_mws::portable::{EVENTS_SECRET, Resealed, reseal};

    let mut lost = Vec::new();
    for (id, mut config) in store
        .list_configs_with(Provider::Mws, EVENTS_SECRET)
        .await?
    {
        let gateway = id.parse()?;
        let before = config.clone();
        if reseal(keyring, gateway, &mut config, unopened) == Resealed::Unopened {
            lost.push(gateway);
        }
        if config != before {
            let stored = store.replace_config(&id, config).await;
            stored.with_context(|| format!("could not seal gateway {id} anew"))?;
        }
    }
    Ok(lost)
}
