//! A gateway's app that answers when and what a test says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use pilvi_core::Egress;
use pilvi_core::egress::{LocalDoor, Policy};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::world::{World, within};

/// Where the app is.
pub(crate) const URL: &str = "https://app.test/events";

/// How many posts may wait for the test to look at them.
const CALLS_MAX: usize = 1000;

/// The app's end.
pub(crate) struct App {
    calls: Mutex<mpsc::Receiver<Call>>,
}

/// A post that waits for its answer. Dropping it is the app's breaking down.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The same as JSON.
    pub(crate) event: Value,
    answer: oneshot::Sender<Response<Bytes>>,
}

struct Posts(mpsc::Sender<Call>);

impl LocalDoor for Posts {
    fn covers(&self, target: &Uri) -> bool {
        *target == URL
    }

    fn call(
        &self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> {
        let calls = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let (answer, answered) = oneshot::channel();
            let event = serde_json::from_slice(&body).unwrap();
            let call = Call {
                headers: head.headers,
                body,
                event,
                answer,
            };
            let _ = calls.send(call).await;
            answered.await.unwrap_or_else(|_| response(502, ""))
        })
    }
}

impl App {
    /// The app of a world, which is told everything that happens at `gateway`.
    pub(crate) async fn of(world: &World, gateway: &str) -> Self {
        let app = Self::beside(world);
        app.told(world, gateway, json!({"url": URL})).await;
        app
    }

    /// An app that no gateway knows yet.
    pub(crate) fn beside(world: &World) -> Self {
        let (sender, calls) = mpsc::channel(CALLS_MAX);
        let egress = Egress::new(Policy::default(), Arc::new(Posts(sender)));
        world.mws.tell_events(egress);
        Self {
            calls: Mutex::new(calls),
        }
    }

    /// Changes what a gateway tells.
    pub(crate) async fn told(&self, world: &World, gateway: &str, events: Value) {
        let body = json!({ "events": events });
        let reply = world.admin("PUT", gateway, "/configuration", &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// The next post.
    pub(crate) async fn next(&self) -> Call {
        let call = within(async { self.calls.lock().await.recv().await }).await;
        call.expect("the world is there")
    }

    /// The next post, which must be this kind of event.
    pub(crate) async fn next_of(&self, kind: &str) -> Call {
        let call = self.next().await;
        assert_eq!(call.event["type"], kind, "{}", call.event);
        call
    }

    /// Lets the next socket in.
    pub(crate) async fn let_in(&self) {
        self.next_of("connect").await.answer(200, "");
    }

    /// Whether nothing is posted at the moment.
    pub(crate) async fn is_idle(&self) -> bool {
        self.calls.lock().await.is_empty()
    }
}

impl Call {
    pub(crate) fn answer(self, status: u16, body: &str) {
        let _ = self.answer.send(response(status, body));
    }

    /// What was posted, when the post itself has been answered.
    pub(crate) fn copy(call: &Self) -> Self {
        Self {
            headers: call.headers.clone(),
            body: call.body.clone(),
            event: call.event.clone(),
            answer: oneshot::channel().0,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// What a message says.
    pub(crate) fn said(&self) -> &str {
        self.event["data"]["data"].as_str().unwrap()
    }
}

fn response(status: u16, body: &str) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Bytes::copy_from_slice(body.as_bytes()))
        .unwrap()
}
