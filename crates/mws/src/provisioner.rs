//! What happens when a gateway is made or removed.

use std::future::ready;

use pilvi_core::{Provisioner, Provisioning};
use pilvi_model::{Instance, Provider, Result};
use serde_json::{Map, Value};

use crate::mws::Mws;
use crate::settings::Change;

impl Provisioner for Mws {
    fn provider(&self) -> Provider {
        Provider::Mws
    }

    fn initial_config(&self, asked: Map<String, Value>) -> Result<Map<String, Value>> {
        Change::initial(asked)
    }

    /// A gateway is nothing but its instance.
    fn create<'a>(&'a self, _: &'a Instance) -> Provisioning<'a> {
        Box::pin(ready(Ok(())))
    }

    /// Lets go of its sockets, open and reserved.
    fn remove<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        if let Ok(gateway) = instance.id.parse() {
            self.reservations.cancel_all(gateway);
            self.hub.end_all(gateway);
        }
        Box::pin(ready(Ok(())))
    }
}
