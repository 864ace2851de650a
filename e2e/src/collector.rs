//! A webhook target that takes everything, from many connections at once, and remembers in which order it came.
//!
//! [`crate::receiver`] plays the difficult target; this one plays the busy one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// A caller that says nothing for so long is left.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// One delivery that arrived.
#[derive(Clone, Debug)]
pub struct Told {
    /// The path of the URL, by which a test knows its webhooks apart.
    pub path: String,
    /// The header `Pilvi-Delivery`.
    pub delivery: String,
    /// `eventName`.
    pub event: String,
    pub object: Value,
}

/// A listening target; it stops listening on drop.
pub struct Collector {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Locked for a push or a copy.
    told: Mutex<Vec<Told>>,
    stopping: AtomicBool,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector {
    /// A target on a free port.
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

    /// The URL that a webhook is given.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many deliveries arrived, repeated ones included.
    pub fn count(&self) -> usize {
        self.shared.told().len()
    }

    /// Everything that arrived, in order.
    pub fn told(&self) -> Vec<Told> {
        self.shared.told().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it should go.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    stream.set_read_timeout(Some(IDLE_MAX)).ok()?;
    stream.set_nodelay(true).ok()?;
    let mut bytes = Vec::new();
    loop {
        let (told, length) = loop {
            if let Some(request) = parse(&bytes) {
                break request;
            }
            let mut chunk = [0; 16 * 1024];
            let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
            bytes.extend(&chunk[..count]);
        };
        bytes.drain(..length);
        // Remembered before it is answered: whoever gets the answer can find it here.
        shared.told().push(told);
        let reply =
            "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(reply.as_bytes()).ok()?;
    }
}

/// The first request in `bytes` and its length, once it is whole.
fn parse(bytes: &[u8]) -> Option<(Told, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let header = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let length = header("Content-Length").and_then(|length| length.parse().ok());
    let length = end + 4 + length.unwrap_or(0);
    let body: Value = serde_json::from_slice(bytes.get(end + 4..length)?).unwrap_or_default();
    let payload = &body["payload"];
    let told = Told {
        path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        delivery: header("Pilvi-Delivery").unwrap_or_default(),
        event: payload["meta"]["eventName"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        object: payload["object"].clone(),
    };
    Some((told, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;
    use crate::line::Line;
    use serde_json::json;

    #[test]
    fn what_comes_over_one_connection_is_kept_in_order() {
        let collector = Collector::start();
        let mut line = Line::to(collector.address);
        for event in ["create", "delete"] {
            let body = json!({"payload": {"object": {"id": "x"}, "meta": {"eventName": event}}});
            let request = Request::post("/one")
                .header("pilvi-delivery", "7-1")
                .json(&body);
            assert_eq!(line.ask(&request).map(|reply| reply.status), Some(201));
        }
        let told = collector.told();
        assert_eq!(collector.count(), 2);
        assert_eq!([&*told[0].event, &*told[1].event], ["create", "delete"]);
        assert_eq!([&*told[0].path, &*told[0].delivery], ["/one", "7-1"]);
        assert_eq!(told[0].object, json!({"id": "x"}));
    }
}
