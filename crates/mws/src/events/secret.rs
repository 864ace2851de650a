//! The secret with which a gateway signs its events, and trying out where they go.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pilvi_core::signing::{Fresh, Signing};
use pilvi_model::{Error, GatewayId, Result};
use serde_json::Value;

use super::body;
use super::post::{Letter, Told, excerpt};
use crate::gateway::Gateway;
use crate::mws::Mws;
use crate::settings::events::EVENTS_SECRET;

/// How trying out went.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) status: Option<u16>,
    /// The beginning of the answer.
    pub(crate) answer: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) signed: bool,
    pub(crate) took: Duration,
}

/// For whom the secrets of a gateway are sealed.
pub(crate) fn context(gateway: GatewayId) -> String {
    format!("signing of events of gateway {gateway}")
}

impl Mws {
    /// Makes a new secret. The one before signs along for so many hours.
    pub(crate) async fn renew_events_secret(
        &self,
        gateway: &Gateway,
        overlap_hours: u64,
    ) -> Result<Fresh> {
        let Some(keyring) = self.events.shared.keyring.get() else {
            return Err(Error::forbidden(
                "this server keeps no secrets; give it the one for events when it is started",
            ));
        };
        let _alone = self.configuring.lock().await;
        let gateway = Gateway::find(&self.register, &gateway.instance().id).await?;
        let mut config = gateway.instance().config.clone();
        let context = context(gateway.id);
        let sealed = config.get(EVENTS_SECRET).and_then(unarmoured);
        let mut signing = match &sealed {
            // What does not open any more does not sign either.
            Some(sealed) => Signing::unseal(keyring, &context, Some(sealed)).unwrap_or_default(),
            None => Signing::default(),
        };
        let fresh = signing.rotate(self.clock.now().into(), overlap_hours);
        let sealed = STANDARD.encode(signing.seal(keyring, &context));
        config.insert(EVENTS_SECRET.to_owned(), sealed.into());
        let id = &gateway.instance().id;
        self.register.configure(id, None, config).await?;
        Ok(fresh)
    }

    /// Posts an event that tells of nothing, once, and says how it went.
    pub(crate) async fn test_events(&self, gateway: &Gateway) -> Result<Attempt> {
        let plan = self.events.plan(gateway.id).await?;
        let plan = plan.ok_or_else(|| {
            Error::conflict("this gateway tells no events; set events in its configuration first")
        })?;
        let letter = Letter::new(body::test(gateway.id, self.events.now()));
        let desk = self.events.desk(gateway.id);
        let begun = Instant::now();
        let told = self
            .events
            .tell_once(&desk, gateway.id, |_| true, &letter)
            .await;
        let took = begun.elapsed();
        let signed = self.events.signing(gateway.id, &plan).newest().is_some();
        let (status, answer, error) = match told {
            Told::Answered(answer) => (Some(answer.status), Some(excerpt(&answer.body)), None),
            Told::Failed(failure) => {
                let answer = failure.status.map(|_| excerpt(&failure.body));
                (failure.status, answer, Some(failure.text))
            }
            Told::NotAsked => return Err(Error::conflict("the events were just turned off")),
        };
        Ok(Attempt {
            status: status.map(|status| status.as_u16()),
            answer,
            error,
            signed,
            took,
        })
    }
}

/// The sealed secret as an instance's configuration keeps it.
pub(crate) fn unarmoured(kept: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(kept.as_str()?).ok()
}
