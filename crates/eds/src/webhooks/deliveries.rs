//! What was delivered, what was not, and having it sent again.

use std::time::Duration;

use pilvi_model::query::Page;
use pilvi_model::{Error, RequestId, Result, WebhookId};
use pilvi_store::backend::{Delivery, DeliveryState, Letter, Replay, Replayed};
use serde_json::Value;

use super::signing::{Fresh, Signing, context, overlap_hours};
use crate::Eds;
use crate::caller::Caller;

/// Failed deliveries that one call has sent again; whoever wants more calls again.
pub(crate) const REPLAYS_MAX: u32 = 1000;

/// How one request to a webhook's target went.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub status: Option<u16>,
    /// The beginning of the answer's body.
    pub answer: Option<String>,
    /// `None`: it was taken.
    pub error: Option<String>,
    pub took: Duration,
}

impl Eds {
    /// The log of a webhook, newest first.
    pub(crate) async fn list_deliveries(
        &self,
        caller: &Caller,
        id: WebhookId,
        state: Option<&str>,
        page: Page,
    ) -> Result<Vec<Delivery>> {
        self.get_webhook(caller, id).await?;
        let state = state.map(|name| {
            DeliveryState::from_name(name)
                .ok_or_else(|| Error::invalid("state", "must be pending, delivered or failed"))
        });
        let state = state.transpose()?;
        caller.backend.list_deliveries(id, state, page).await
    }

    /// One delivery, with what it says while that is kept.
    pub(crate) async fn get_delivery(
        &self,
        caller: &Caller,
        id: WebhookId,
        delivery: &str,
    ) -> Result<(Delivery, Option<Letter>)> {
        self.get_webhook(caller, id).await?;
        let found = match place(id, delivery) {
            Some(place) => caller.backend.find_delivery(id, place).await?,
            None => None,
        };
        found.ok_or_else(|| missing(delivery))
    }

    /// Sends a delivery again, whatever became of it.
    pub(crate) async fn replay_delivery(
        &self,
        caller: &Caller,
        id: WebhookId,
        delivery: &str,
    ) -> Result<Delivery> {
        self.check_replays(caller, id).await?;
        let place = place(id, delivery).ok_or_else(|| missing(delivery))?;
        let now = self.now();
        match caller.backend.replay_delivery(id, place, now).await? {
            Replay::Queued => {}
            Replay::Forgotten => {
                return Err(Error::conflict(
                    "what this delivery had to say is kept no longer; read the object, and tell the receiver otherwise",
                ));
            }
            Replay::Missing => return Err(missing(delivery)),
        }
        self.0.wakes.wake(caller.backend.id, id);
        let found = caller.backend.find_delivery(id, place).await?;
        found
            .map(|(delivery, _)| delivery)
            .ok_or_else(|| missing(delivery))
    }

    /// Sends those again that failed, the oldest first.
    pub(crate) async fn replay_failed(&self, caller: &Caller, id: WebhookId) -> Result<Replayed> {
        self.check_replays(caller, id).await?;
        let now = self.now();
        let replayed = caller.backend.replay_failed(id, now, REPLAYS_MAX).await?;
        self.0.wakes.wake(caller.backend.id, id);
        Ok(replayed)
    }

    async fn check_replays(&self, caller: &Caller, id: WebhookId) -> Result<()> {
        match self.get_webhook(caller, id).await?.enabled {
            true => Ok(()),
            false => Err(Error::conflict(
                "the webhook is switched off; enable it, and then send things again",
            )),
        }
    }

    /// Sends the target a request that tells of nothing, and says how it went.
    pub(crate) async fn ping_webhook(
        &self,
        caller: &Caller,
        id: WebhookId,
        request: RequestId,
    ) -> Result<Attempt> {
        self.get_webhook(caller, id).await?;
        self.0.pings.send(caller.backend.id, id, request).await
    }

    /// Makes a new secret to sign with. The old one signs along for a while.
    pub(crate) async fn rotate_signing(
        &self,
        caller: &Caller,
        id: WebhookId,
        body: &Value,
    ) -> Result<Fresh> {
        caller.require_admin()?;
        let overlap = overlap_hours(body)?;
        let missing = || super::missing(id);
        let stored = caller.backend.find_webhook(id).await?.ok_or_else(missing)?;
        let (keyring, context) = (&self.0.keyring, context(caller.backend.id, id));
        let old = stored.sealed_signing;
        let mut signing = Signing::unseal(keyring, &context, old.as_deref())?;
        let now = self.now();
        let fresh = signing.rotate(now, overlap);
        let new = signing.seal(keyring, &context);
        match caller.backend.replace_signing(id, old, new, now).await? {
            true => Ok(fresh),
            false => Err(Error::conflict(
                "somebody else made a new secret or removed the webhook at the same moment; look at it, and try again",
            )),
        }
    }
}

/// The place in the outbox that the id of a delivery names, if it is one of this webhook.
fn place(webhook: WebhookId, delivery: &str) -> Option<u64> {
    let place = delivery
        .strip_prefix(&webhook.to_string())?
        .strip_prefix('-')?;
    place
        .parse()
        .ok()
        .filter(|number: &u64| i64::try_from(*number).is_ok())
}

fn missing(delivery: &str) -> Error {
    let shown: String = delivery.chars().take(64).collect();
    Error::not_found(format!("the webhook has no delivery {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_delivery_is_that_of_its_webhook_and_a_number() {
        let webhook: WebhookId = "51cdbc08989e975ec300772a".parse().unwrap();
        assert_eq!(place(webhook, "51cdbc08989e975ec300772a-17"), Some(17));
        for wrong in [
            "51cdbc08989e975ec300772b-17",
            "51cdbc08989e975ec300772a",
            "51cdbc08989e975ec300772a-",
            "51cdbc08989e975ec300772a--1",
            "51cdbc08989e975ec300772a-99999999999999999999",
            "51cdbc08989e975ec300772a-9999999999999999999",
            "17",
            "",
        ] {
            assert_eq!(place(webhook, wrong), None, "{wrong}");
        }
    }
}
