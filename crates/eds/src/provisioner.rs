//! What happens when a backend is made or removed: its file comes and goes with its instance.

use std::path::Path;

use pilvi_base::secret::random_bytes;
use pilvi_core::provisioner::{Measuring, Provisioning, refuse_unknown};
use pilvi_core::{Exporting, Extent, Importing, Incoming, Provisioner};
use pilvi_model::{Asker, BackendId, Error, Instance, Provider, RequestId, Result};
use pilvi_store::backend::Author;
use serde_json::{Map, Value};

use crate::Eds;
use crate::types::templates::Template;

/// The key of an instance's configuration that says who may use a new backend.
const OPENNESS: &str = "openness";
const OPEN: &str = "open";
const PRIVATE: &str = "private";
/// The key that says with which object types it begins.
const TEMPLATE: &str = "template";

impl Provisioner for Eds {
    fn provider(&self) -> Provider {
        Provider::Eds
    }

    /// `openness` is `open`, as old clients expect and as it is when nothing is said, or `private`. `template` is one
    /// of `Template::ALL`; a backend without one is blank.
    fn initial_config(&self, asked: Map<String, Value>) -> Result<Map<String, Value>> {
        initial_config(asked)
    }

    fn create<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move {
            let backend: BackendId = instance.id.parse()?;
            let (store, now) = (&self.0.store, self.now());
            match is_private(instance) {
                true => store.create_private_backend(backend, now).await?,
                false => store.create_backend(backend).await?,
            }
            let types = template(instance).types(&self.0.ids, now)?;
            if types.is_empty() {
                return Ok(());
            }
            let author = Author {
                asker: Asker::Admin,
                request: RequestId::from_bytes(random_bytes()),
                at: now,
            };
            let backend = store.backend(backend);
            backend.import_collections(types, author).await.map(drop)
        })
    }

    fn suspend<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move {
            self.end_streams(instance.id.parse()?);
            Ok(())
        })
    }

    /// Deliveries stop by themselves, because the deliverer does not find the backend. These are those that waited.
    fn resume<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move {
            let backend = self.0.store.backend(instance.id.parse()?);
            for (backend, webhook) in backend.webhooks_with_pending_deliveries().await? {
                self.0.wakes.wake(backend, webhook);
            }
            Ok(())
        })
    }

    fn export<'a>(&'a self, instance: &'a Instance, folder: &'a Path, _: Extent) -> Exporting<'a> {
        Box::pin(self.lay_out(instance, folder))
    }

    fn import<'a>(&'a self, incoming: Incoming<'a>) -> Importing<'a> {
        Box::pin(self.take_in(incoming))
    }

    fn replace<'a>(&'a self, incoming: Incoming<'a>) -> Provisioning<'a> {
        Box::pin(self.take_the_place(incoming))
    }

    fn usage<'a>(&'a self, instance: &'a Instance) -> Measuring<'a> {
        Box::pin(async move { self.measure(instance.id.parse()?).await })
    }

    fn remove<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        Box::pin(async move {
            let backend: BackendId = instance.id.parse()?;
            self.0.store.delete_backend(backend).await?;
            self.0.blobs.delete_backend(backend).await
        })
    }
}

fn initial_config(mut asked: Map<String, Value>) -> Result<Map<String, Value>> {
    let mut config = Map::new();
    match asked.shift_remove(OPENNESS) {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if text == OPEN || text == PRIVATE => {
            config.insert(OPENNESS.to_owned(), text.into());
        }
        Some(_) => return Err(Error::invalid("config.openness", "must be open or private")),
    }
    match asked.shift_remove(TEMPLATE) {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if Template::parse(&name).is_some() => {
            config.insert(TEMPLATE.to_owned(), name.into());
        }
        Some(_) => {
            let known = Template::ALL.map(Template::as_str).join(", ");
            let message = format!("must be one of {known}");
            return Err(Error::invalid("config.template", message));
        }
    }
    refuse_unknown(&asked)?;
    Ok(config)
}

fn is_private(instance: &Instance) -> bool {
    instance
        .config
        .get(OPENNESS)
        .is_some_and(|text| text == PRIVATE)
}

fn template(instance: &Instance) -> Template {
    let name = instance.config.get(TEMPLATE).and_then(Value::as_str);
    name.and_then(Template::parse).unwrap_or(Template::Blank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: Value) -> Result<Map<String, Value>> {
        let Value::Object(asked) = value else {
            unreachable!("tests write objects");
        };
        initial_config(asked)
    }

    #[test]
    fn a_backend_is_open_or_private() {
        assert!(config(json!({})).unwrap().is_empty());
        assert!(
            config(json!({"openness": null, "runtimeSize": "x"}))
                .unwrap()
                .is_empty()
        );
        for openness in ["open", "private"] {
            assert_eq!(
                config(json!({"openness": openness})).unwrap()["openness"],
                openness
            );
        }
        for template in ["blank", "todos", "image-gallery", "address-book"] {
            assert_eq!(
                config(json!({"template": template})).unwrap()["template"],
                template
            );
        }
        for wrong in [
            json!({"openness": "closed"}),
            json!({"openness": true}),
            json!({"other": 1}),
            json!({"template": "chess"}),
            json!({"template": 1}),
        ] {
            assert!(config(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
