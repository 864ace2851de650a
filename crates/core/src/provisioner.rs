//! What a service does when an instance of it is made, put away, brought back or removed.

use std::collections::BTreeMap;
use std::future::ready;
use std::path::Path;
use std::pin::Pin;

use pilvi_model::{Error, Instance, Provider, Result};
use serde_json::{Map, Value};

use crate::Usage;

use crate::portable::{Exporting, Extent, Importing, Incoming};

/// What the methods of [`Provisioner`] return, so that different services fit in one list.
pub type Provisioning<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// What [`Provisioner::usage`] returns.
pub type Measuring<'a> = Pin<Box<dyn Future<Output = Result<Usage>> + Send + 'a>>;

/// A service that instances can be made of. The platform offers exactly the providers it has one for.
///
/// The platform writes an instance's row before [`Provisioner::create`] and deletes it after
/// [`Provisioner::remove`], so that whatever a service keeps has a row that says so. Whenever a creation was
/// interrupted, it is undone by `remove`: after an error at once, after a crash at the next start. Both methods are
/// therefore harmless when there is nothing left to do.
pub trait Provisioner: Send + Sync + 'static {
    fn provider(&self) -> Provider;

    /// The configuration that a new instance starts with, from what its creator asked for.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::Invalid`] with properties that begin with `config`.
    fn initial_config(&self, asked: Map<String, Value>) -> Result<Map<String, Value>> {
        refuse_unknown(&asked)?;
        Ok(Map::new())
    }

    /// What a new instance is called; `None`: as objects are, by 24 hex characters.
    fn new_id(&self, datacenter: &str) -> Option<String> {
        let _ = datacenter;
        None
    }

    /// The configuration as its owner sees it: what is stored, and what only the running server knows.
    fn shown_config(&self, instance: &Instance) -> Map<String, Value> {
        instance.config.clone()
    }

    /// Makes what the service keeps for the instance. Until it returns nobody can reach the instance.
    fn create<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a>;

    /// Stops whatever runs for an instance that was deleted and can still be brought back, and lets go of its clients,
    /// who already cannot find it. Everything that the service keeps stays. Harmless when nothing runs.
    ///
    /// It is called once for each deletion and not again when the server starts: nothing of an instance that
    /// [`crate::Directory`] does not find may be started there.
    fn suspend<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        let _ = instance;
        Box::pin(ready(Ok(())))
    }

    /// Takes up what [`Provisioner::suspend`] stopped, for an instance that was brought back and can be found again.
    /// Harmless when it runs already.
    fn resume<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        let _ = instance;
        Box::pin(ready(Ok(())))
    }

    /// Keeps the files that instances have at this moment from going away, by giving each a second name in a folder of
    /// `folder` that is called like its instance. It is called before and after the platform's database is copied, so
    /// that no file is missing of which the copy knows; the second call adds what came in between.
    fn hold<'a>(&'a self, folder: &'a Path) -> Provisioning<'a> {
        let _ = folder;
        Box::pin(ready(Ok(())))
    }

    /// Lays out what the service keeps for the instance as files in `folder`, which is empty. The instance goes on.
    fn export<'a>(
        &'a self,
        instance: &'a Instance,
        folder: &'a Path,
        extent: Extent,
    ) -> Exporting<'a> {
        let _ = (instance, folder, extent);
        Box::pin(ready(Ok(BTreeMap::new())))
    }

    /// Makes what the service keeps for a new instance from what [`Provisioner::export`] laid out. As with
    /// [`Provisioner::create`], nobody can reach the instance until it returns. Says in sentences what could not be
    /// brought back.
    fn import<'a>(&'a self, incoming: Incoming<'a>) -> Importing<'a> {
        let _ = incoming;
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Gives what [`Provisioner::import`] made for `incoming.instance` to the instance that it replaces, in the place
    /// of what that one has. When it fails, that one is as it was. [`Provisioner::remove`] clears away what is left of
    /// the other.
    fn replace<'a>(&'a self, incoming: Incoming<'a>) -> Provisioning<'a> {
        let _ = incoming;
        Box::pin(ready(Ok(())))
    }

    /// What an instance takes now. Asked now and then in the background, it may look at the disk, but not for long.
    fn usage<'a>(&'a self, instance: &'a Instance) -> Measuring<'a> {
        let _ = instance;
        Box::pin(ready(Ok(Usage::default())))
    }

    /// Removes all that the service keeps for the instance and lets go of its clients, who already cannot find
    /// it any more.
    fn remove<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a>;
}

/// Refuses what no instance can be asked for. The hosted platform sized its instances; nothing here has a size, and no
/// client reads one back. Any other wish is refused, because dropping it in silence could leave open what was to be
/// closed.
pub fn refuse_unknown(asked: &Map<String, Value>) -> Result<()> {
    let unknown = asked
        .keys()
        .find(|key| !matches!(key.as_str(), "runtimeSize" | "runtimeType"));
    match unknown {
        Some(key) => Err(Error::invalid(
            format!("config.{key}"),
            "cannot be set when the instance is created",
        )),
        None => Ok(()),
    }
}
