//! What a service does when an instance of it is made or removed.

use std::pin::Pin;

use pilvi_model::{Error, Instance, Provider, Result};
use serde_json::{Map, Value};

/// What the methods of [`Provisioner`] return, so that different services fit in one list.
pub type Provisioning<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

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
