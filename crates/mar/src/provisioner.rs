//! What happens when an app is made or removed.

use std::path::Path;

use pilvi_base::secret::random_bytes;
use pilvi_core::provisioner::{Measuring, Provisioning, refuse_unknown};
use pilvi_core::{Exporting, Extent, Importing, Incoming, Provisioner, Resource, Usage};
use pilvi_model::app::{Size, StackName};
use pilvi_model::{AppId, Error, Instance, Kind, Provider, Result};
use pilvi_store::platform::Wanted;
use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;

use crate::pipeline::bytes_below;
use crate::{Mar, upload};

const SIZE: &str = "runtimeSize";
const TYPE: &str = "runtimeType";
/// Shown only: the command line of 2014 hides apps without it (`platform.md` §5.2).
const GIT_ADDRESS: &str = "MAR_GIT_ADDRESS";

impl Provisioner for Mar {
    fn provider(&self) -> Provider {
        Provider::Mar
    }

    fn initial_config(&self, asked: Map<String, Value>) -> Result<Map<String, Value>> {
        initial_config(asked)
    }

    fn new_id(&self, datacenter: &str) -> Option<String> {
        let id = AppId::new(datacenter, random_bytes()).ok()?;
        Some(id.to_string())
    }

    fn shown_config(&self, instance: &Instance) -> Map<String, Value> {
        let mut config = Map::new();
        if let Ok(app) = instance.id.parse::<AppId>() {
            let address = self.parts().settings.addresses.git_url(&app);
            config.insert(GIT_ADDRESS.to_owned(), address.into());
        }
        config.extend(instance.config.clone());
        config
    }

    fn create<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move {
            let (app, parts) = (instance.id.parse::<AppId>()?, self.parts());
            let size = instance.config.get(SIZE).and_then(Value::as_i64);
            let size = size.map_or(Ok(Size::MINI), Size::of_units)?;
            parts
                .store
                .insert_app(&app, size, &StackName::default())
                .await?;
            let defaults = self.0.quotas.defaults();
            let memory_max = defaults.most(Resource::AppMemoryBytes);
            parts.store.check_app_memory(&app, memory_max).await?;
            parts.folders.make(&app)?;
            match parts.repositories.create(app.as_str()).await {
                // A push makes it as well, so a server without git offers all else.
                Err(error) if error.kind == Kind::Unavailable => {
                    tracing::warn!(%app, "nobody can push to a new app: {}", error.message);
                }
                made => made?,
            }
            // From here on its address says that nothing was pushed yet.
            parts.processes.apply(&app).await
        })
    }

    /// Everything stops, and the router forgets the app. A build that is under way comes to its end, and its release is
    /// refused.
    fn suspend<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move { self.stop(&instance.id.parse()?).await.map(drop) })
    }

    fn resume<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move { self.parts().processes.apply(&instance.id.parse()?).await })
    }

    fn usage<'a>(&'a self, instance: &'a Instance) -> Measuring<'a> {
        Box::pin(self.measure(instance))
    }

    fn hold<'a>(&'a self, folder: &'a Path) -> Provisioning<'a> {
        Box::pin(self.hold_slugs(folder))
    }

    fn export<'a>(
        &'a self,
        instance: &'a Instance,
        folder: &'a Path,
        extent: Extent,
    ) -> Exporting<'a> {
        Box::pin(self.lay_out(instance, folder, extent))
    }

    fn import<'a>(&'a self, incoming: Incoming<'a>) -> Importing<'a> {
        Box::pin(self.take_in(incoming))
    }

    fn replace<'a>(&'a self, incoming: Incoming<'a>) -> Provisioning<'a> {
        Box::pin(self.take_the_place(incoming))
    }

    fn remove<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move {
            let (app, parts) = (instance.id.parse::<AppId>()?, self.parts());
            let _turn = self.stop(&app).await?;
            parts.repositories.remove(app.as_str()).await?;
            parts.journal.remove(&app).await?;
            parts.folders.remove(&app).await?;
            parts.store.delete_app(&app).await
        })
    }
}

impl Mar {
    async fn measure(&self, instance: &Instance) -> Result<Usage> {
        let (id, parts) = (instance.id.parse::<AppId>()?, self.parts());
        let app = self.app(&id).await?;
        let formation = parts.store.formation(&id).await?;
        let wanted = formation.iter().map(|(_, count)| u64::from(*count)).sum();
        let processes = match app.wanted {
            Wanted::Running => wanted,
            Wanted::Stopped => 0,
        };
        let folder = parts.folders.of(&id);
        let files = upload::on_a_thread(move || Ok(bytes_below(&folder))).await?;
        let repository = parts.repositories.size(id.as_str()).await.unwrap_or(0);
        Ok(Usage {
            memory_bytes: Some(processes.saturating_mul(app.size.memory_bytes())),
            processes: Some(processes),
            disk_bytes: Some(files.saturating_add(repository)),
            ..Usage::default()
        })
    }

    /// Stops everything of an app that nobody finds any more. As long as the turn that is returned is held, nothing
    /// begins; after that, the store refuses new releases.
    pub(crate) async fn stop(&self, app: &AppId) -> Result<OwnedMutexGuard<()>> {
        let processes = &self.parts().processes;
        processes.remove(app).await?;
        // A release that was just beginning comes to its end here, and none begins any more.
        let turn = self.turn(app).await;
        processes.remove(app).await?;
        Ok(turn)
    }
}

/// `runtimeSize` is 1, 2, 4 or 8, also as a text; `runtimeType` is `app` (`platform.md` §6.1).
fn initial_config(mut asked: Map<String, Value>) -> Result<Map<String, Value>> {
    let size = match asked.shift_remove(SIZE) {
        None | Some(Value::Null) => Size::MINI,
        Some(value) => size_of(&value)?,
    };
    match asked.shift_remove(TYPE) {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if text == "app" => {}
        Some(Value::String(text)) if text == "service_container" => {
            return Err(Error::invalid(
                "config.runtimeType",
                "asks for a managed database, which this server does not offer yet; use app for an application",
            ));
        }
        Some(_) => return Err(Error::invalid("config.runtimeType", "must be app")),
    }
    asked.retain(|_, value| !value.is_null());
    refuse_unknown(&asked)?;
    Ok(Map::from_iter([
        (SIZE.to_owned(), size.units().into()),
        (TYPE.to_owned(), "app".into()),
    ]))
}

fn size_of(value: &Value) -> Result<Size> {
    let units = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    };
    // No size has 0 units, so what is no number gets the same words.
    Size::of_units(units.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> Result<Map<String, Value>> {
        let Value::Object(asked) = value else {
            unreachable!("tests write objects");
        };
        initial_config(asked)
    }

    #[test]
    fn every_body_of_the_old_clients_makes_an_app() {
        for (asked, size) in [
            (json!({"runtimeSize": 1, "runtimeType": "app"}), 1),
            (json!({"runtimeType": "app", "runtimeSize": "2"}), 2),
            (json!({"runtimeType": "app", "runtimeSize": 4}), 4),
            (json!({"runtimeSize": 8}), 8),
            (json!({}), 1),
            (
                json!({"runtimeSize": null, "runtimeType": null, "serviceImage": null}),
                1,
            ),
        ] {
            let config = config(asked.clone()).unwrap();
            assert_eq!(
                Value::Object(config),
                json!({"runtimeSize": size, "runtimeType": "app"}),
                "{asked}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for (asked, property) in [
            (json!({"runtimeSize": 3}), "config.runtimeSize"),
            (json!({"runtimeSize": "big"}), "config.runtimeSize"),
            (json!({"runtimeSize": 1.5}), "config.runtimeSize"),
            (json!({"runtimeSize": true}), "config.runtimeSize"),
            (
                json!({"runtimeType": "service_container", "runtimeSize": 1, "serviceImage": "qtcs/redis:2.8"}),
                "config.runtimeType",
            ),
            (json!({"runtimeType": "vm"}), "config.runtimeType"),
            (json!({"runtimeType": 1}), "config.runtimeType"),
            (json!({"serviceImage": "x"}), "config.serviceImage"),
        ] {
            let error = config(asked.clone()).unwrap_err();
            assert_eq!(error.fields[0].property, property, "{asked}");
        }
    }
}
