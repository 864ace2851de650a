//! Tells webhooks what the outbox holds.
//!
//! Deliveries are stored with the change that causes them, so nothing here may be lost: a worker per webhook takes
//! what is due, sends it, writes down how it went, and ends when nothing is pending. Deliveries that concern the
//! same object go one after the other; different objects and different webhooks do not wait for each other.

mod ping;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Uri};
use pilvi_base::TaskGroup;
use pilvi_core::egress::{Answer, Egress, EgressError};
use pilvi_model::{BackendId, Provider, Result, Timestamp, WebhookId};
use pilvi_store::Backend;
use pilvi_store::backend::{DueDelivery, Outcome, PayloadAs};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::Parts;
use crate::webhooks::signing::{Signing, context, seconds};
use crate::webhooks::{Attempt, Headers};
pub(crate) use ping::Pings;

/// How long to wait before each further attempt. After the last the delivery is given up: about two hours in all.
const RETRY_AFTER: [Duration; 8] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(4 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(40 * 60),
    Duration::from_secs(60 * 60),
];
/// Deliveries that a worker takes at a time.
const BATCH: u32 = 64;
/// Objects of one webhook that are told at the same time.
const LANES: usize = 8;
/// Requests in flight over all webhooks, and over those of one backend: targets that do not answer hold up no other
/// backend's.
const IN_FLIGHT_MAX: usize = 64;
const SHARE_MAX: usize = 16;
/// How long to wait when the store does not answer: at first, and at most.
const STORE_RETRY: Duration = Duration::from_millis(500);
const STORE_RETRY_MAX: Duration = Duration::from_secs(8);

type Key = (BackendId, WebhookId);

/// Where writes say that a webhook has something to deliver. Cheap to clone; saying the same twice is saying it once,
/// so it holds at most one entry per webhook.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wakes(Arc<WakesInner>);

#[derive(Debug, Default)]
struct WakesInner {
    /// A plain mutex: held to add or take, never across an await.
    waiting: Mutex<HashSet<Key>>,
    arrived: Notify,
}

impl Wakes {
    pub(crate) fn wake(&self, backend: BackendId, webhook: WebhookId) {
        lock(&self.0.waiting).insert((backend, webhook));
        self.0.arrived.notify_one();
    }

    async fn take(&self) -> HashSet<Key> {
        loop {
            let taken = std::mem::take(&mut *lock(&self.0.waiting));
            if !taken.is_empty() {
                return taken;
            }
            self.0.arrived.notified().await;
        }
    }
}

/// Runs the workers. Cloning gives another handle.
#[derive(Clone)]
pub struct Deliverer(Arc<Inner>);

struct Inner {
    eds: Arc<Parts>,
    egress: Egress,
    tasks: TaskGroup,
    in_flight: Semaphore,
    workers: Workers,
}

/// The workers that run, and how to tell one that there is more. A plain mutex: held for a look-up.
type Workers = Mutex<HashMap<Key, Arc<Worker>>>;

struct Worker {
    more: Notify,
    /// The requests that all workers of its backend may have in flight.
    share: Arc<Semaphore>,
}

impl Worker {
    /// One more beside these.
    fn beside(workers: &HashMap<Key, Arc<Self>>, backend: BackendId) -> Self {
        let mut others = workers.iter().filter(|(key, _)| key.0 == backend);
        let share = others.next().map(|(_, other)| Arc::clone(&other.share));
        Self {
            more: Notify::new(),
            share: share.unwrap_or_else(|| Arc::new(Semaphore::new(SHARE_MAX))),
        }
    }
}

/// A worker on the list, off it however it ends: one that panicked would keep the next from being started.
struct Listed<'a> {
    workers: &'a Workers,
    key: Key,
    worker: &'a Arc<Worker>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut workers = lock(self.workers);
        // One that retired may have been followed by another already.
        let listed = workers.get(&self.key);
        if listed.is_some_and(|listed| Arc::ptr_eq(listed, self.worker)) {
            workers.remove(&self.key);
        }
    }
}

impl Deliverer {
    pub(crate) fn new(eds: Arc<Parts>, egress: Egress, tasks: TaskGroup) -> Self {
        Self(Arc::new(Inner {
            eds,
            egress,
            tasks,
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            workers: Mutex::default(),
        }))
    }

    /// Takes up what a previous run left pending, then follows the writes, until the task group stops.
    pub fn start(&self) {
        let resume = self.clone();
        self.0
            .tasks
            .spawn("webhook resume", async move { resume.resume().await });
        if let Some(asked) = self.0.eds.pings.take() {
            let ping = self.clone();
            self.0
                .tasks
                .spawn("webhook pings", async move { ping.ping(asked).await });
        }
        let follow = self.clone();
        self.0.tasks.spawn("webhook deliverer", async move {
            loop {
                tokio::select! {
                    () = follow.0.tasks.stopping() => return,
                    woken = follow.0.eds.wakes.take() => woken.into_iter().for_each(|key| follow.attend(key)),
                }
            }
        });
    }

    /// Wakes a worker for each webhook that has something pending. Where the data cannot be read, it looks again
    /// later: nobody else would.
    async fn resume(&self) {
        let mut patience = Patience::default();
        let mut backends = loop {
            match self.0.eds.store.backends_with_webhooks().await {
                Ok(backends) => break backends,
                Err(error) if self.wait_after(&error, &mut patience).await => {}
                Err(_) => return,
            }
        };
        loop {
            let mut unread = Vec::new();
            let mut last_error = None;
            for backend in backends {
                if self.0.tasks.is_stopping() {
                    return;
                }
                if let Err(error) = self.resume_backend(backend).await {
                    unread.push(backend);
                    last_error = Some(error);
                }
            }
            backends = unread;
            match last_error {
                Some(error) if self.wait_after(&error, &mut patience).await => {}
                _ => return,
            }
        }
    }

    async fn resume_backend(&self, id: BackendId) -> Result<()> {
        if !self.exists(id).await? {
            return Ok(());
        }
        let backend = self.0.eds.store.backend(id);
        for (backend, webhook) in backend.webhooks_with_pending_deliveries().await? {
            self.0.eds.wakes.wake(backend, webhook);
        }
        Ok(())
    }

    /// Whether there still is such a backend: the file of one that was removed fails as a broken one does.
    async fn exists(&self, backend: BackendId) -> Result<bool> {
        let found = self
            .0
            .eds
            .directory
            .find(Provider::Eds, &backend.to_string())
            .await?;
        Ok(found.is_some())
    }

    /// Waits after a fault of the store. `false`: the server stops.
    async fn wait_after(&self, error: &pilvi_model::Error, patience: &mut Patience) -> bool {
        let wait = patience.after(error);
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.0.tasks.stopping() => false,
        }
    }

    /// Makes sure that a worker looks after this webhook.
    fn attend(&self, key: Key) {
        let mut workers = lock(&self.0.workers);
        if let Some(worker) = workers.get(&key) {
            return worker.more.notify_one();
        }
        let worker = Arc::new(Worker::beside(&workers, key.0));
        workers.insert(key, Arc::clone(&worker));
        let deliverer = self.clone();
        self.0.tasks.spawn("webhook worker", async move {
            let listed = Listed {
                workers: &deliverer.0.workers,
                key,
                worker: &worker,
            };
            deliverer.work(key, &worker).await;
            drop(listed);
        });
    }

    async fn work(&self, key: Key, worker: &Worker) {
        let backend = self.0.eds.store.backend(key.0);
        let mut patience = Patience::default();
        while !self.0.tasks.is_stopping() {
            let progress = match self.deliver_due(&backend, key.1, worker).await {
                Err(_) if matches!(self.exists(key.0).await, Ok(false)) => Ok(Progress::Done),
                progress => progress,
            };
            let wait = match progress {
                Ok(Progress::More) => {
                    patience = Patience::default();
                    continue;
                }
                Ok(Progress::Until(at)) => until(self.now(), at),
                Ok(Progress::Done) => {
                    if self.retire(key, worker) {
                        return;
                    }
                    continue;
                }
                Err(error) => patience.after(&error),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = worker.more.notified() => {}
                () = self.0.tasks.stopping() => return,
            }
        }
    }

    /// Ends the worker, unless a wake came in meanwhile. `attend` holds the same lock, so no wake falls between.
    fn retire(&self, key: Key, worker: &Worker) -> bool {
        let mut workers = lock(&self.0.workers);
        let more = std::pin::pin!(worker.more.notified());
        if futures_util::FutureExt::now_or_never(more).is_some() {
            return false;
        }
        workers.remove(&key);
        true
    }

    async fn deliver_due(
        &self,
        backend: &Backend,
        webhook: WebhookId,
        worker: &Worker,
    ) -> Result<Progress> {
        // What a deleted backend has to tell waits until it is restored.
        if !self.exists(backend.id).await? {
            return Ok(Progress::Done);
        }
        let due = backend.due_deliveries(webhook, self.now(), BATCH).await?;
        if due.is_empty() {
            let next = backend.next_delivery_at(webhook).await?;
            return Ok(next.map_or(Progress::Done, Progress::Until));
        }
        // What waits for one that is switched off waits until it is switched on.
        let found = self.target(backend, webhook).await?;
        let Some(target) = found.filter(|target| target.enabled) else {
            return Ok(Progress::Done);
        };
        let lanes = futures_util::stream::iter(lanes(due));
        let outcomes: Vec<Vec<Outcome>> = lanes
            .map(|lane| self.deliver_lane(&target, &worker.share, lane))
            .buffer_unordered(LANES)
            .collect()
            .await;
        self.settle(backend, outcomes.into_iter().flatten().collect())
            .await
    }

    /// Writes down how attempts ended, however long the store takes to answer: to send again what was delivered,
    /// because that could not be written down, would help nobody.
    async fn settle(&self, backend: &Backend, outcomes: Vec<Outcome>) -> Result<Progress> {
        let mut patience = Patience::default();
        loop {
            let Err(error) = backend.settle_deliveries(outcomes.clone()).await else {
                return Ok(Progress::More);
            };
            if matches!(self.exists(backend.id).await, Ok(false))
                || !self.wait_after(&error, &mut patience).await
            {
                return Err(error);
            }
        }
    }

    /// One object's deliveries, in order, up to the first that fails: the rest has to wait for it.
    async fn deliver_lane(
        &self,
        target: &Target,
        share: &Semaphore,
        lane: Vec<DueDelivery>,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(lane.len());
        for delivery in lane {
            if self.0.tasks.is_stopping() {
                break;
            }
            let outcome = self.deliver(target, share, delivery).await;
            let failed = outcome.retry_in.is_some();
            outcomes.push(outcome);
            if failed {
                break;
            }
        }
        outcomes
    }

    async fn deliver(&self, target: &Target, share: &Semaphore, delivery: DueDelivery) -> Outcome {
        // First of the backend's own: who waits for those holds none of the others.
        let permits = match share.acquire().await {
            Ok(own) => self.0.in_flight.acquire().await.map(|one| (own, one)),
            Err(closed) => Err(closed),
        };
        let attempt = match permits {
            Ok(_permits) => {
                let body = body(target, &delivery);
                self.send(target, &delivery.id(), &delivery.request, body)
                    .await
            }
            Err(_) => Attempt {
                status: None,
                answer: None,
                error: Some("the server is shutting down".to_owned()),
                took: Duration::ZERO,
            },
        };
        let retry_in = attempt.error.as_ref().and_then(|_| {
            RETRY_AFTER
                .get(usize::try_from(delivery.attempts_in_turn).unwrap_or(usize::MAX))
                .copied()
        });
        Outcome {
            delivery,
            at: self.now(),
            took: attempt.took,
            status: attempt.status,
            answer: attempt.answer,
            error: attempt.error,
            retry_in,
        }
    }

    /// One signed request.
    async fn send(&self, target: &Target, id: &str, request: &str, body: String) -> Attempt {
        let began = Instant::now();
        let answer = match target.request(id, request, self.now(), body) {
            Ok((uri, headers, body)) => self.0.egress.post(&uri, headers, body).await,
            Err(fault) => Err(EgressError::Refused(fault)),
        };
        judge(answer, began.elapsed())
    }

    async fn target(&self, backend: &Backend, webhook: WebhookId) -> Result<Option<Target>> {
        let Some(stored) = backend.find_webhook(webhook).await? else {
            return Ok(None);
        };
        let (keyring, signing) = (&self.0.eds.keyring, stored.sealed_signing.as_deref());
        Ok(Some(Target {
            backend: backend.id,
            headers: Headers::unseal(keyring, backend.id, &stored)?,
            signing: Signing::unseal(keyring, &context(backend.id, webhook), signing)?,
            enabled: stored.enabled,
            url: stored.url,
            payload_as: stored.payload_as,
        }))
    }

    fn now(&self) -> Timestamp {
        self.0.eds.clock.now().into()
    }
}

enum Progress {
    /// Something was done; there may be more.
    More,
    /// Nothing is due before this moment.
    Until(Timestamp),
    /// Nothing is pending.
    Done,
}

/// Where and how a webhook wants to be told.
struct Target {
    backend: BackendId,
    url: String,
    headers: Headers,
    payload_as: PayloadAs,
    signing: Signing,
    enabled: bool,
}

impl Target {
    fn request(
        &self,
        id: &str,
        request: &str,
        at: Timestamp,
        body: String,
    ) -> Result<(Uri, HeaderMap, Bytes), String> {
        let uri = self
            .url
            .parse()
            .map_err(|_| "the webhook's URL is not understood".to_owned())?;
        let mut headers = self.headers.to_map();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers
            .entry("user-agent")
            .or_insert(HeaderValue::from_static(concat!(
                "Pilvi/",
                env!("CARGO_PKG_VERSION")
            )));
        let text = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| "an id holds what no header can".to_owned())
        };
        headers.insert("pilvi-delivery", text(id)?);
        headers.insert("x-request-id", text(request)?);
        headers.insert("webhook-id", text(id)?);
        headers.insert("webhook-timestamp", seconds(at).into());
        if let Some(signatures) = self.signing.sign(id, at, body.as_bytes()) {
            headers.insert("webhook-signature", text(&signatures)?);
        }
        Ok((uri, headers, body.into()))
    }

    /// A payload in the form that the receiver wants.
    fn payload(&self, payload: String) -> String {
        match self.payload_as {
            PayloadAs::Object => payload,
            PayloadAs::String => Value::String(payload).to_string(),
        }
    }
}

/// What a webhook receives (`eds.md` §13). The object is stored as JSON text and passed on as it is.
fn body(target: &Target, delivery: &DueDelivery) -> String {
    let meta = json!({
        "backendId": target.backend.to_string(),
        "eventName": delivery.event.as_str(),
        "requestId": delivery.request,
        "userId": delivery.user,
    });
    let payload = target.payload(format!(
        "{{\"object\":{},\"meta\":{meta}}}",
        delivery.document
    ));
    let receivers = delivery.readers.subjects().to_json();
    format!("{{\"payload\":{payload},\"receivers\":{receivers}}}")
}

/// Any 2xx is a delivery; everything else is worth another try.
fn judge(answer: Result<Answer, EgressError>, took: Duration) -> Attempt {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            return Attempt {
                status: None,
                answer: None,
                error: Some(error.to_string()),
                took,
            };
        }
    };
    let error = (!answer.status.is_success()).then(|| {
        let error = format!("the target answered {}: {}", answer.status, answer.excerpt);
        error.trim_end_matches([' ', ':']).to_owned()
    });
    Attempt {
        status: Some(answer.status.as_u16()),
        answer: Some(answer.excerpt),
        error,
        took,
    }
}

/// Splits a batch by object, keeping the order within each.
fn lanes(due: Vec<DueDelivery>) -> Vec<Vec<DueDelivery>> {
    let mut index = HashMap::new();
    let mut lanes: Vec<Vec<DueDelivery>> = Vec::new();
    for delivery in due {
        let key = (delivery.object_type.clone(), delivery.object_id);
        let lane = *index.entry(key).or_insert_with(|| {
            lanes.push(Vec::new());
            lanes.len() - 1
        });
        lanes[lane].push(delivery);
    }
    lanes
}

fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::from_millis(at.as_millis().saturating_sub(now.as_millis()).max(1))
}

/// Waits longer with every fault of the store in a row, and tells the log only of the first: while a disk is full, a
/// line a second for each webhook would not make it emptier.
#[derive(Default)]
struct Patience {
    faults: u32,
}

impl Patience {
    fn after(&mut self, error: &pilvi_model::Error) -> Duration {
        if self.faults == 0 {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "webhook deliveries could not be read or settled; this is tried again until it succeeds"
            );
        }
        let wait = STORE_RETRY.saturating_mul(1 << self.faults.min(8));
        self.faults += 1;
        wait.min(STORE_RETRY_MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use pilvi_model::Readers;
    use pilvi_store::backend::Change;

    fn delivery(object: u8, outbox: u64) -> DueDelivery {
        DueDelivery {
            webhook: "51cdbc08989e975ec300772a".parse().unwrap(),
            outbox,
            event: Change::Update,
            object_type: "objects.todos".to_owned(),
            object_id: pilvi_model::ObjectId::from_bytes([object; 12]),
            attempts: 0,
            attempts_in_turn: 0,
            request: "a671f67b4f41c20b53988a6057b32539".to_owned(),
            user: None,
            document: r#"{"id":"x"}"#.to_owned(),
            readers: Readers::everyone(),
        }
    }

    #[test]
    fn a_worker_that_panics_makes_room_for_the_next_and_for_that_only() {
        let key: Key = (
            "532831a2698b3c6ae8091d6d".parse().unwrap(),
            "51cdbc08989e975ec300772a".parse().unwrap(),
        );
        let workers = Workers::default();
        let begin = || {
            let worker = Arc::new(Worker::beside(&HashMap::new(), key.0));
            lock(&workers).insert(key, Arc::clone(&worker));
            worker
        };
        let end_badly = |worker: &Arc<Worker>| {
            let listed = Listed {
                workers: &workers,
                key,
                worker,
            };
            let work = std::panic::AssertUnwindSafe(|| {
                let _listed = listed;
                panic!("this worker ends badly");
            });
            assert!(std::panic::catch_unwind(work).is_err());
        };
        let first = begin();
        end_badly(&first);
        assert!(lock(&workers).is_empty());
        let _second = begin();
        end_badly(&first);
        assert_eq!(lock(&workers).len(), 1);
    }

    #[test]
    fn the_body_is_what_the_specification_shows() {
        let mut target = Target {
            backend: "532831a2698b3c6ae8091d6d".parse().unwrap(),
            url: String::new(),
            headers: Headers::default(),
            payload_as: PayloadAs::Object,
            signing: Signing::default(),
            enabled: true,
        };
        let object = body(&target, &delivery(1, 7));
        let payload = concat!(
            r#"{"object":{"id":"x"},"meta":{"backendId":"532831a2698b3c6ae8091d6d","eventName":"update","#,
            r#""requestId":"a671f67b4f41c20b53988a6057b32539","userId":null}}"#
        );
        let receivers = r#""receivers":[{"id":"*","objectType":"aclSubject"}]"#;
        assert_eq!(object, format!("{{\"payload\":{payload},{receivers}}}"));
        target.payload_as = PayloadAs::String;
        let string: Value = serde_json::from_str(&body(&target, &delivery(1, 7))).unwrap();
        assert_eq!(string["payload"], payload);
    }

    #[test]
    fn the_webhooks_of_one_backend_share_what_is_theirs() {
        let id = |number: u8| pilvi_model::ObjectId::from_bytes([number; 12]);
        let mut workers = HashMap::new();
        for key in [(id(1), id(10)), (id(2), id(20)), (id(1), id(11))] {
            let worker = Worker::beside(&workers, key.0);
            workers.insert(key, Arc::new(worker));
        }
        let share = |backend, webhook| &workers[&(id(backend), id(webhook))].share;
        assert!(Arc::ptr_eq(share(1, 10), share(1, 11)));
        assert!(!Arc::ptr_eq(share(1, 10), share(2, 20)));
        assert!(share(1, 10).available_permits() < IN_FLIGHT_MAX / 2);
    }

    #[test]
    fn a_lane_holds_one_object_in_order() {
        let lanes = lanes(vec![
            delivery(1, 1),
            delivery(2, 2),
            delivery(1, 3),
            delivery(2, 4),
        ]);
        let order: Vec<Vec<u64>> = lanes
            .iter()
            .map(|lane| lane.iter().map(|due| due.outbox).collect())
            .collect();
        assert_eq!(order, [[1, 3], [2, 4]]);
    }

    #[test]
    fn the_wait_for_a_silent_store_grows_to_its_bound() {
        let mut patience = Patience::default();
        let error = pilvi_model::Error::unavailable("not now");
        let waits: Vec<Duration> = (0..40).map(|_| patience.after(&error)).collect();
        assert_eq!(waits[..3], [500, 1000, 2000].map(Duration::from_millis));
        assert!(waits.is_sorted());
        assert_eq!(waits.last(), Some(&STORE_RETRY_MAX));
    }

    #[test]
    fn only_a_2xx_is_a_delivery() {
        let answer = |status: u16| {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                excerpt: "no".to_owned(),
            };
            let attempt = judge(Ok(answer), Duration::from_millis(3));
            assert_eq!(attempt.answer.as_deref(), Some("no"));
            (attempt.status, attempt.error)
        };
        assert_eq!(answer(201), (Some(201), None));
        let error = "the target answered 500 Internal Server Error: no".to_owned();
        assert_eq!(answer(500), (Some(500), Some(error)));
        assert_eq!(answer(302).0, Some(302));
        assert!(answer(302).1.is_some());
        let silent = judge(Err(EgressError::Timeout), Duration::ZERO);
        assert!(silent.error.is_some() && silent.status.is_none());
    }
}
