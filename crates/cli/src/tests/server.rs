//! A server of a few fixed answers. It remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::APP;

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// `GET /v1/user`.
    pub(super) what: String,
    pub(super) authorization: Option<String>,
    pub(super) body: String,
}

struct Answer {
    what: String,
    status: u16,
    /// What `Retry-After` says.
    wait: Option<u32>,
    body: String,
    /// Whether it is given to one request only.
    once: bool,
}

pub(super) struct Server {
    address: SocketAddr,
    answers: Arc<Mutex<Vec<Answer>>>,
    /// What was asked, in order. Locked for a push or a copy only.
    asked: Arc<Mutex<Vec<Asked>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server with one account, in whose datacenter apps run.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let (answers, asked) = (answers.clone(), asked.clone());
            move || serve(&listener, &answers, &asked)
        });
        let server = Self {
            address,
            answers,
            asked,
            thread: Some(thread),
        };
        let services = json!([{"id": "mar", "url": format!("http://{address}")}]);
        let datacenters = json!([{"id": "eu-1", "description": "Here", "services": services}]);
        let account = json!({"id": "46738209", "name": "My Cloud"});
        server
            .on(
                "GET /v1/datacenters",
                200,
                json!({ "results": datacenters }),
            )
            .on("GET /v1/user/accounts", 200, json!({"results": [account]}))
    }

    /// Answers so from now on.
    pub(super) fn on(self, what: &str, status: u16, body: impl Into<Value>) -> Self {
        self.add(what, status, None, &body.into(), false)
    }

    /// Answers so from now on, and says how many seconds to wait.
    pub(super) fn on_busy(
        self,
        what: &str,
        status: u16,
        wait: u32,
        body: impl Into<Value>,
    ) -> Self {
        self.add(what, status, Some(wait), &body.into(), false)
    }

    /// Answers so once, before anything else that it was told to answer to this; the one that was told last comes
    /// first.
    pub(super) fn once(self, what: &str, status: u16, body: impl Into<Value>) -> Self {
        self.add(what, status, None, &body.into(), true)
    }

    fn add(self, what: &str, status: u16, wait: Option<u32>, body: &Value, once: bool) -> Self {
        // A text is sent as it is.
        let body = body
            .as_str()
            .map_or_else(|| body.to_string(), str::to_owned);
        self.answers.lock().unwrap().insert(
            0,
            Answer {
                what: what.into(),
                status,
                wait,
                body,
                once,
            },
        );
        self
    }

    /// Answers so to a request about the app.
    pub(super) fn on_app(
        self,
        method: &str,
        below: &str,
        status: u16,
        body: impl Into<Value>,
    ) -> Self {
        self.on(&format!("{method} /v1/apps/{APP}{below}"), status, body)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked beside where things are.
    pub(super) fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap().clone();
        let is_about_something = |asked: &Asked| {
            !asked.what.ends_with("/datacenters") && !asked.what.ends_with("/user/accounts")
        };
        asked.into_iter().filter(is_about_something).collect()
    }

    /// The one thing it was asked, and with which body.
    #[track_caller]
    pub(super) fn only(&self, method: &str) -> (String, Value) {
        let asked = self.asked();
        let mut found = asked.iter().filter(|asked| asked.what.starts_with(method));
        let (first, second) = (found.next().unwrap(), found.next());
        assert_eq!(second, None, "there was a second request");
        (
            first.what.clone(),
            serde_json::from_str(&first.body).unwrap_or(Value::Null),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A connection without a request ends the thread.
        drop(TcpStream::connect(self.address));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(listener: &TcpListener, answers: &Mutex<Vec<Answer>>, asked: &Mutex<Vec<Asked>>) {
    for stream in listener.incoming() {
        let Some((stream, request)) = stream.ok().and_then(read) else {
            return;
        };
        let what = request.what.clone();
        asked.lock().unwrap().push(request);
        answer(stream, &what, &mut answers.lock().unwrap());
    }
}

fn read(stream: TcpStream) -> Option<(TcpStream, Asked)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let what = line.strip_suffix(" HTTP/1.1\r\n")?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match &*name.to_ascii_lowercase() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let asked = Asked {
        what,
        authorization,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    Some((reader.into_inner(), asked))
}

fn answer(mut stream: TcpStream, what: &str, answers: &mut Vec<Answer>) {
    let known = answers.iter().position(|answer| answer.what == what);
    let missing = || {
        let message = format!("nothing answers to {what}");
        json!({"error": {"reason": "NotFound", "message": message}}).to_string()
    };
    let (status, wait, body) = known.map_or_else(
        || (404, None, missing()),
        |at| {
            let Answer {
                status, wait, body, ..
            } = &answers[at];
            (*status, *wait, body.clone())
        },
    );
    let wait = wait.map_or_else(String::new, |wait| format!("Retry-After: {wait}\r\n"));
    if known.is_some_and(|at| answers[at].once) {
        known.map(|at| answers.remove(at));
    }
    // The body ends with the connection, as that of a log that is followed does.
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n{wait}Connection: close\r\n\r\n"
    );
    // A client that went away has seen enough.
    let _ = stream.write_all((head + &body).as_bytes());
}
