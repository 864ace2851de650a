//! The app behind a bidirectional gateway: answers each message with the message itself, and watches over the order in
//! which a socket's events come.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::wait;

/// A caller that says nothing for so long is left.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// How long an event may take to come.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// A listening app; it stops listening on drop.
pub struct Echo {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Locked for the notes on one event.
    notes: Mutex<Notes>,
    stopping: AtomicBool,
}

/// What is known of the events so far.
#[derive(Default)]
struct Notes {
    sockets: HashMap<String, Life>,
    faults: Vec<String>,
}

/// What a socket's events said.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// The event `connect`, once it came.
    pub connect: Option<Value>,
    /// The messages so far.
    pub messages: u64,
    /// The event `disconnect`, once it came.
    pub disconnect: Option<Value>,
    /// The last event's `webhook-id`: what comes again with it is no news.
    last: String,
}

impl Shared {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Echo {
    /// An app on a free port.
    pub fn start() -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener
            .local_addr()
            .expect("a listening socket has an address");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                // As many as the server opens, which has a bound.
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// Where a gateway sends its events.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// What came of a socket so far.
    pub fn life(&self, socket: &str) -> Life {
        let notes = self.shared.notes();
        notes.sockets.get(socket).cloned().unwrap_or_default()
    }

    /// The `disconnect` of a socket, when it has come.
    #[track_caller]
    pub fn disconnect(&self, socket: &str) -> Value {
        let what = format!("the end of {socket} to be told");
        wait::until(&what, TOLD_WITHIN, || self.life(socket).disconnect)
    }

    /// Expects that the events of each socket came in their order, none was left out, and each was told once.
    #[track_caller]
    pub fn must_be_orderly(&self) {
        let notes = self.shared.notes();
        assert!(!notes.sockets.is_empty(), "nothing was told at all");
        assert!(notes.faults.is_empty(), "{:#?}", notes.faults);
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it should go.
        let _ = TcpStream::connect(self.address);
    }
}

impl Notes {
    /// Takes down an event. What is out of order is kept as a fault.
    fn take(&mut self, id: &str, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        let data = &event["data"];
        let socket = data["socket"]["id"].as_str().unwrap_or_default();
        if kind == "test" {
            return;
        }
        let life = self.sockets.entry(socket.to_owned()).or_default();
        if life.last == id {
            return;
        }
        id.clone_into(&mut life.last);
        let begun = life.connect.is_some() && life.disconnect.is_none();
        let in_order = match kind {
            "connect" => life.connect.replace(data.clone()).is_none() && !socket.is_empty(),
            "message" => {
                life.messages += 1;
                begun && data["sequence"] == life.messages
            }
            "disconnect" => begun && life.disconnect.replace(data.clone()).is_none(),
            _ => false,
        };
        if !in_order {
            let after = format!("{life:?}");
            self.faults.push(format!("{kind} is out of order: {after}"));
        }
    }
}

/// A message goes back as it came. Who asks to be refused, with `?refuse=REASON` in the address, is; everything else is
/// fine.
fn answer(event: &Value) -> Value {
    let data = &event["data"];
    if let Some(reason) = data["request"]["query"]["refuse"].as_str() {
        return json!({"refuse": true, "reason": reason});
    }
    if event["type"] != "message" {
        return json!({});
    }
    let mut answer = json!({"reply": data["data"]});
    if let Some(encoding) = data.get("encoding") {
        answer["encoding"] = encoding.clone();
    }
    answer
}

fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    stream.set_read_timeout(Some(IDLE_MAX)).ok()?;
    stream.set_nodelay(true).ok()?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let (id, event, length) = loop {
            if let Some(request) = parse(&bytes) {
                break request;
            }
            let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
            bytes.extend(&chunk[..count]);
        };
        bytes.drain(..length);
        // Noted before it is answered: whoever hears the answer can ask for it here.
        shared.notes().take(&id, &event);
        let body = answer(&event).to_string();
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(reply.as_bytes()).ok()?;
    }
}

/// The `webhook-id` and the event of the first request in `bytes`, and how long it is, once it is whole.
fn parse(bytes: &[u8]) -> Option<(String, Value, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let header = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let length = header("Content-Length").and_then(|length| length.parse().ok());
    let length = end + 4 + length.unwrap_or(0);
    let event = serde_json::from_slice(bytes.get(end + 4..length)?).unwrap_or_default();
    Some((header("webhook-id").unwrap_or_default(), event, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;

    fn tell(echo: &Echo, id: &str, kind: &str, more: &Value) -> Value {
        let mut data = json!({"socket": {"id": "s"}});
        for (name, value) in more.as_object().expect("members") {
            data[name] = value.clone();
        }
        let request = Request::post("/events")
            .header("Webhook-Id", id)
            .json(&json!({"type": kind, "data": data}));
        request.send(echo.address).must_be(200)
    }

    #[test]
    fn messages_go_back_and_what_is_told_again_is_no_news() {
        let echo = Echo::start();
        assert_eq!(tell(&echo, "1", "connect", &json!({})), json!({}));
        let message = json!({"sequence": 1, "data": "aGk=", "encoding": "base64"});
        let back = json!({"reply": "aGk=", "encoding": "base64"});
        for _ in 0..2 {
            assert_eq!(tell(&echo, "2", "message", &message), back);
        }
        tell(&echo, "3", "disconnect", &json!({"code": 1000}));
        assert_eq!(echo.disconnect("s")["code"], 1000);
        assert_eq!(echo.life("s").messages, 1);
        echo.must_be_orderly();
    }

    #[test]
    fn what_is_left_out_or_comes_after_the_end_is_a_fault() {
        for events in [
            [("1", "message", 1), ("2", "message", 2)],
            [("1", "connect", 0), ("2", "message", 2)],
            [("1", "connect", 0), ("2", "connect", 0)],
        ] {
            let echo = Echo::start();
            for (id, kind, sequence) in events {
                tell(&echo, id, kind, &json!({"sequence": sequence, "data": ""}));
            }
            assert!(std::panic::catch_unwind(|| echo.must_be_orderly()).is_err());
        }
    }
}
