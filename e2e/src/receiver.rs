//! A webhook target that does as it is told: answers, refuses, is gone and comes back.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::wait;

/// How long the next delivery may take, retries with their pauses included.
const ARRIVE_WITHIN: Duration = Duration::from_secs(60);
/// How long a caller may take to send its request.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub method: String,
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: Value,
    /// The body as it came.
    pub text: String,
    /// What it was answered.
    pub answered: u16,
}

impl Arrived {
    /// The value of a header, in whatever spelling it came.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// What the published library of Standard Webhooks is to check, as `node/standard_webhooks.cjs` takes it.
    pub fn signed(&self) -> Value {
        let headers: serde_json::Map<String, Value> =
            ["webhook-id", "webhook-timestamp", "webhook-signature"]
                .into_iter()
                .map(|name| (name.to_owned(), self.header(name).into()))
                .collect();
        json!({"body": self.text, "headers": headers})
    }

    /// The `eventName` that a webhook tells of.
    pub fn event(&self) -> &str {
        self.body["payload"]["meta"]["eventName"]
            .as_str()
            .unwrap_or_default()
    }

    /// The id of the object that a webhook tells of.
    pub fn object_id(&self) -> &str {
        self.body["payload"]["object"]["id"]
            .as_str()
            .unwrap_or_default()
    }
}

/// A listening target; it stops listening on drop.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Locked for a push or a copy, by the acceptor and the test.
    state: Mutex<State>,
    stopping: AtomicBool,
}

#[derive(Default)]
struct State {
    arrived: Vec<Arrived>,
    /// Answers for the next requests; when they are used up, 201.
    answers: VecDeque<u16>,
    /// Answer to everything, while set.
    always: Option<u16>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    /// A target on a free port that answers 201.
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// A target at this very address.
    #[track_caller]
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("{address} cannot be bound: {error}"));
        let address = listener
            .local_addr()
            .expect("a listening socket has an address");
        let shared = Arc::new(Shared::default());
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// The URL that a webhook is given.
    pub fn url(&self) -> String {
        url(self.address)
    }

    /// Answers the next requests so, one after the other, and 201 after them.
    pub fn answer_next(&self, answers: &[u16]) {
        self.shared.state().answers.extend(answers);
    }

    /// Answers every request so until told otherwise.
    pub fn answer_always(&self, answer: u16) {
        self.shared.state().always = Some(answer);
    }

    /// Answers 201 again.
    pub fn recover(&self) {
        self.shared.state().always = None;
    }

    /// What arrived so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.shared.state().arrived.clone()
    }

    /// Waits until so many requests arrived, and returns them all.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Arrived> {
        let what = format!("{count} requests at the webhook target");
        wait::until(&what, ARRIVE_WITHIN, || {
            Some(self.arrived()).filter(|arrived| arrived.len() >= count)
        })
    }

    /// Waits until so many requests were answered 201, and returns those.
    #[track_caller]
    pub fn wait_for_taken(&self, count: usize) -> Vec<Arrived> {
        let what = format!("{count} deliveries taken by the webhook target");
        wait::until(&what, ARRIVE_WITHIN, || {
            let mut taken = self.arrived();
            taken.retain(|arrived| arrived.answered == 201);
            (taken.len() >= count).then_some(taken)
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it should go.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            // It panics in no case that a test could not see otherwise.
            let _ = acceptor.join();
        }
    }
}

/// The URL of a target that may or may not be there.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}/hook?tenant=one")
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener
        .local_addr()
        .expect("a listening socket has an address")
}

fn accept(listener: &TcpListener, shared: &Shared) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(stream) = stream {
            // One after the other: deliveries of one object come so, and a test sends few.
            let _ = serve(stream, shared);
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(READ_WITHIN))?;
    let Some(mut arrived) = read_request(&mut stream)? else {
        return Ok(());
    };
    let answer = {
        let mut state = shared.state();
        let answer = state
            .always
            .or_else(|| state.answers.pop_front())
            .unwrap_or(201);
        arrived.answered = answer;
        state.arrived.push(arrived);
        answer
    };
    write!(
        stream,
        "HTTP/1.1 {answer} Told\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntold"
    )
}

/// Reads a request with a stated length; none when the caller goes away first.
fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<Arrived>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(arrived) = parse(&bytes) {
            return Ok(Some(arrived));
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend(&chunk[..count]);
    }
}

/// The request in `bytes`, once it is whole.
fn parse(bytes: &[u8]) -> Option<Arrived> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let mut request_line = lines.next()?.split(' ').map(str::to_owned);
    let (method, target) = (request_line.next()?, request_line.next()?);
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut arrived = Arrived {
        method,
        target,
        headers,
        body: Value::Null,
        text: String::new(),
        answered: 0,
    };
    let length: usize = arrived
        .header("Content-Length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let body = bytes.get(end + 4..end + 4 + length)?;
    arrived.body = serde_json::from_slice(body).unwrap_or_default();
    arrived.text = String::from_utf8_lossy(body).into_owned();
    Some(arrived)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;
    use serde_json::json;

    #[test]
    fn it_answers_as_told_and_remembers_what_came() {
        let receiver = Receiver::start();
        receiver.answer_next(&[500]);
        let request = Request::post("/hook")
            .header("X-One", "1")
            .json(&json!({"a": 1}));
        let statuses = [
            request.send(receiver.address).status,
            request.send(receiver.address).status,
        ];
        assert_eq!(statuses, [500, 201]);
        let arrived = receiver.wait_for(2);
        assert_eq!(arrived[0].body, json!({"a": 1}));
        assert_eq!(arrived[1].header("x-one"), Some("1"));
        assert_eq!(receiver.wait_for_taken(1).len(), 1);
    }
}
