//! What happens when a gateway is made or removed.

use std::future::ready;

use pilvi_core::provisioner::Measuring;
use pilvi_core::{Provisioner, Provisioning, Usage};
use pilvi_model::{Instance, Provider, Result};
use serde_json::{Map, Value};

use crate::mws::Mws;
use crate::session::Farewell;
use crate::settings::Change;
use crate::settings::events::EVENTS_SECRET;

impl Provisioner for Mws {
    fn provider(&self) -> Provider {
        Provider::Mws
    }

    fn initial_config(&self, asked: Map<String, Value>) -> Result<Map<String, Value>> {
        Change::initial(asked)
    }

    /// The secret of events is for nobody to see, sealed or not.
    fn shown_config(&self, instance: &Instance) -> Map<String, Value> {
        let mut shown = instance.config.clone();
        shown.remove(EVENTS_SECRET);
        shown
    }

    /// A gateway is nothing but its instance.
    fn create<'a>(&'a self, _: &'a Instance) -> Provisioning<'a> {
        Box::pin(ready(Ok(())))
    }

    /// A gateway that can be restored keeps nothing but its configuration, as one that is open does.
    fn suspend<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        self.let_go(instance);
        Box::pin(ready(Ok(())))
    }

    fn usage<'a>(&'a self, instance: &'a Instance) -> Measuring<'a> {
        let sockets = instance
            .id
            .parse()
            .map(|gateway| self.hub.sockets_of(gateway));
        Box::pin(ready(sockets.map(|sockets| Usage {
            sockets: Some(sockets as u64),
            ..Usage::default()
        })))
    }

    fn remove<'a>(&'a self, instance: &'a Instance) -> Provisioning<'a> {
        self.let_go(instance);
        Box::pin(ready(Ok(())))
    }
}

impl Mws {
    /// Lets go of a gateway's sockets, open and reserved.
    fn let_go(&self, instance: &Instance) {
        if let Ok(gateway) = instance.id.parse() {
            self.reservations.cancel_all(gateway);
            self.hub.end_all(gateway, &Farewell::GOING_AWAY);
            self.hub.forget(gateway);
        }
    }
}
