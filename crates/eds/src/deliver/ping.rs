//! Requests that tell of nothing: whoever set a webhook up wants to know whether it is heard.
//!
//! A ping waits for its answer while the caller waits, so there are few at a time, and one for each backend.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use pilvi_core::egress;
use pilvi_model::{BackendId, Error, RequestId, Result, WebhookId};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{Deliverer, lock};
use crate::webhooks::Attempt;

/// Pings under way at the same time, over all backends.
const AT_ONCE: usize = 16;
/// A ping that waits longer than its request may take waits for nothing.
const PATIENCE: Duration = Duration::from_secs(egress::TIME_MAX.as_secs() + 5);

/// Where pings are asked for. Whoever delivers takes the other end.
#[derive(Debug)]
pub(crate) struct Pings {
    asked: mpsc::Sender<Ping>,
    /// Until the deliverer takes it. A plain mutex: held to take it.
    taker: Mutex<Option<mpsc::Receiver<Ping>>>,
    /// The backends that have one under way. A plain mutex: held for a look-up.
    busy: Mutex<HashSet<BackendId>>,
}

#[derive(Debug)]
pub(super) struct Ping {
    backend: BackendId,
    webhook: WebhookId,
    request: RequestId,
    answer: oneshot::Sender<Result<Attempt>>,
}

impl Default for Pings {
    fn default() -> Self {
        let (asked, taker) = mpsc::channel(AT_ONCE);
        Self {
            asked,
            taker: Mutex::new(Some(taker)),
            busy: Mutex::default(),
        }
    }
}

impl Pings {
    /// Has a webhook pinged, and waits for how it went.
    pub(crate) async fn send(
        &self,
        backend: BackendId,
        webhook: WebhookId,
        request: RequestId,
    ) -> Result<Attempt> {
        if !lock(&self.busy).insert(backend) {
            return Err(Error::conflict(
                "another webhook of this backend is being tested; try again when that is done",
            ));
        }
        let _busy = Busy {
            pings: self,
            backend,
        };
        let (answer, answered) = oneshot::channel();
        let ping = Ping {
            backend,
            webhook,
            request,
            answer,
        };
        let not_now =
            || Error::unavailable("the server tests many webhooks at the moment; try again soon");
        self.asked.try_send(ping).map_err(|_| not_now())?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(_)) | Err(_) => Err(not_now()),
        }
    }

    pub(super) fn take(&self) -> Option<mpsc::Receiver<Ping>> {
        lock(&self.taker).take()
    }
}

/// A backend that has a ping under way, until this is dropped.
struct Busy<'a> {
    pings: &'a Pings,
    backend: BackendId,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(&self.pings.busy).remove(&self.backend);
    }
}

impl Deliverer {
    /// Carries out pings as they are asked for.
    pub(super) async fn ping(&self, mut asked: mpsc::Receiver<Ping>) {
        loop {
            let ping = tokio::select! {
                () = self.0.tasks.stopping() => return,
                ping = asked.recv() => ping,
            };
            let Some(ping) = ping else { return };
            let deliverer = self.clone();
            self.0.tasks.spawn("ping a webhook", async move {
                let attempt = deliverer
                    .ping_one(ping.backend, ping.webhook, &ping.request)
                    .await;
                // Whoever asked may have gone.
                let _ = ping.answer.send(attempt);
            });
        }
    }

    async fn ping_one(
        &self,
        backend: BackendId,
        webhook: WebhookId,
        request: &RequestId,
    ) -> Result<Attempt> {
        let store = self.0.eds.store.backend(backend);
        let Some(target) = self.target(&store, webhook).await? else {
            return Err(Error::not_found("the webhook was removed meanwhile"));
        };
        let _permit = self.0.in_flight.acquire().await.map_err(Error::internal)?;
        // Nobody is to hear of it but the target: a gateway takes it and tells no socket.
        let payload = json!({
            "object": {"id": webhook.to_string(), "objectType": "webhooks"},
            "meta": {
                "backendId": backend.to_string(),
                "eventName": "ping",
                "requestId": request.as_str(),
                "userId": null,
            },
        });
        let payload = target.payload(payload.to_string());
        let body = format!("{{\"payload\":{payload},\"receivers\":[]}}");
        let id = format!("{webhook}-ping-{}", request.as_str());
        Ok(self.send(&target, &id, request.as_str(), body).await)
    }
}
