//! The gateway's app: hears of every socket, sends back what each of them says, and holds the events against the order
//! in which they must come.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Connections are closed after so many bytes of one request.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// So many faults are told in words; all are counted.
const FAULTS_TOLD: usize = 5;

/// A small HTTP server on threads of its own. It lasts as long as the process.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What it has heard so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Sockets that are connected, and the number of the message that must come next from each.
    open: HashMap<String, u64>,
    pub(crate) connects: u64,
    pub(crate) messages: u64,
    pub(crate) disconnects: u64,
    /// Events that came twice, out of order, or from nowhere.
    pub(crate) faults: u64,
    pub(crate) told: Vec<String>,
}

impl App {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let app = Self {
            address: listener.local_addr()?,
            seen: Arc::default(),
        };
        let seen = Arc::clone(&app.seen);
        std::thread::Builder::new().spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                // If there is no thread for it the server hears no answer, and says so.
                let _ = std::thread::Builder::new().spawn(move || {
                    // The server closes a connection when it likes.
                    let _ = answer_all(stream, &seen);
                });
            }
        })?;
        Ok(app)
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

impl Seen {
    /// Sockets whose end it has not heard of.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Takes an event, and says what is answered.
    fn take(&mut self, event: &Value) -> Value {
        let data = &event["data"];
        let id = data["socket"]["id"].as_str().unwrap_or_default();
        match event["type"].as_str() {
            Some("connect") => {
                self.connects += 1;
                if self.open.insert(id.to_owned(), 1).is_some() {
                    self.fault(format!("{id} connects twice"));
                }
                json!({})
            }
            Some("message") => {
                self.messages += 1;
                let sequence = data["sequence"].as_u64();
                match self.open.get_mut(id) {
                    Some(next) if Some(*next) == sequence => *next += 1,
                    next => {
                        let next = next.copied();
                        self.fault(format!("{id} says {sequence:?} when {next:?} is due"));
                    }
                }
                json!({"reply": data["data"]})
            }
            Some("disconnect") => {
                self.disconnects += 1;
                if self.open.remove(id).is_none() {
                    self.fault(format!("{id} disconnects and was not connected"));
                }
                json!({})
            }
            other => {
                self.fault(format!("there is no event {other:?}"));
                json!({})
            }
        }
    }

    fn fault(&mut self, what: String) {
        self.faults += 1;
        if self.told.len() < FAULTS_TOLD {
            self.told.push(what);
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer_all(mut stream: TcpStream, seen: &Mutex<Seen>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while let Some((head, length)) = first(&input)? {
            let Some(body) = input.get(head..head + length) else {
                break;
            };
            let reply = lock(seen).take(&serde_json::from_slice(body)?).to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{reply}",
                reply.len()
            );
            stream.write_all(answer.as_bytes())?;
            input.drain(..head + length);
        }
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(&piece[..count]);
    }
}

/// The lengths of the first request's head and of its body, once the head is there.
fn first(input: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(input)? else {
        if input.len() > REQUEST_BYTES_MAX {
            bail!("a request is too long");
        }
        return Ok(None);
    };
    let length = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .context("a request does not say its length")?;
    let length = std::str::from_utf8(length.value)?.parse()?;
    if length > REQUEST_BYTES_MAX {
        bail!("a request is too long");
    }
    Ok(Some((head, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, id: &str, sequence: u64) -> Value {
        json!({"type": kind, "data": {"socket": {"id": id}, "sequence": sequence, "data": "hi"}})
    }

    fn faults(events: &[(&str, &str, u64)]) -> (u64, usize) {
        let mut seen = Seen::default();
        for (kind, id, sequence) in events {
            seen.take(&event(kind, id, *sequence));
        }
        (seen.faults, seen.open())
    }

    #[test]
    fn events_of_a_socket_have_an_order() {
        let (connect, message, end) = ("connect", "message", "disconnect");
        for (events, expected) in [
            (
                &[
                    (connect, "a", 0),
                    (message, "a", 1),
                    (message, "a", 2),
                    (end, "a", 0),
                ][..],
                (0, 0),
            ),
            (
                &[
                    (connect, "a", 0),
                    (connect, "b", 0),
                    (message, "b", 1),
                    (message, "a", 1),
                ],
                (0, 2),
            ),
            (&[(message, "a", 1)], (1, 0)),
            (&[(connect, "a", 0), (message, "a", 2)], (1, 1)),
            (
                &[(connect, "a", 0), (message, "a", 1), (message, "a", 1)],
                (1, 1),
            ),
            (&[(connect, "a", 0), (connect, "a", 0)], (1, 1)),
            (&[(end, "a", 0)], (1, 0)),
            (&[("other", "a", 0)], (1, 0)),
        ] {
            assert_eq!(faults(events), expected, "{events:?}");
        }
    }

    #[test]
    fn what_a_socket_says_is_sent_back_over_http() {
        let app = App::start().unwrap();
        let mut client = crate::http::client::Client::connect(app.address).unwrap();
        let mut ask = |kind| {
            let request = crate::http::request::Request::post("/").json(&event(kind, "a", 1));
            client.ask(request).unwrap()
        };
        assert_eq!(ask("connect"), json!({}));
        assert_eq!(ask("message"), json!({"reply": "hi"}));
        let seen = app.seen();
        assert_eq!(
            (seen.connects, seen.messages, seen.faults, seen.open()),
            (1, 1, 0, 1)
        );
    }
}
