//! A door on port 0 with small services behind it, and a client that speaks bytes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use http::StatusCode;
use pilvi_base::TaskGroup;
use pilvi_model::Error;
use pilvi_web::{
    Arrival, Body, Cors, Door, EventStreamRequest, Hosts, Limits, Manners, Outlet, Params, Refusal,
    Reply, Service, Site, Socket, Sockets, Upgrade,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const EDS_HEADERS: &str = "Enginio-Backend-Id, Authorization, Content-Type";

struct EdsManners;

impl Manners for EdsManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let entry = json!({ "message": refusal.message, "reason": refusal.reason });
        (refusal.status, json!({ "errors": [entry] }))
    }

    fn cors(&self) -> Cors {
        Cors::Any {
            allow_headers: EDS_HEADERS,
        }
    }

    fn body_max_bytes(&self) -> usize {
        1000
    }
}

struct MwsManners;

impl Manners for MwsManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let body = json!({ "error": { "reason": refusal.reason, "message": refusal.message } });
        (refusal.status, body)
    }

    fn cors(&self) -> Cors {
        Cors::Reflect
    }
}

struct PlatformManners;

impl Manners for PlatformManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        MwsManners.dress(refusal)
    }

    fn cors(&self) -> Cors {
        Cors::None
    }
}

/// Greets each socket and echoes what it had sent ahead. Tells event streams what was asked for.
struct Greeter {
    streams: TaskGroup,
}

impl Sockets for Greeter {
    fn open(&self, upgrade: Upgrade) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if upgrade.params.get("token") == Some("full") {
                let refusal = Error::unavailable("no room for another socket").into();
                return upgrade.refuse(refusal).await;
            }
            let target = upgrade.target.clone();
            let Socket {
                mut stream,
                head,
                read_ahead,
                permit: _permit,
            } = upgrade.accept();
            let _ = stream.write_all(&head).await;
            let said = format!("{target}|{}|", String::from_utf8_lossy(&read_ahead));
            let _ = stream.write_all(said.as_bytes()).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let _ = stream.write_all(&rest).await;
        })
    }

    fn stream(&self, request: EventStreamRequest) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let streams = self.streams.clone();
        Box::pin(async move {
            match request.params.get("token") {
                Some("full") => {
                    let refusal = Error::unavailable("no room for another socket").into();
                    request.refuse(refusal).await;
                }
                Some("lost") => drop(request),
                Some("brief") => {
                    let Outlet { connection, .. } = request.accept().unwrap();
                    let stream = std::os::unix::net::UnixStream::from(connection);
                    std::io::Write::write_all(&mut &stream, b"data: bye\n\n").unwrap();
                }
                Some("long") => {
                    let outlet = request.accept().unwrap();
                    let words = vec![b'x'; 1 << 20];
                    streams.spawn("stream", async move { say(outlet, &words).await });
                }
                _ => {
                    let words = format!("data: {}\n\n", request.target);
                    let outlet = request.accept().unwrap();
                    streams.spawn("stream", async move { say(outlet, words.as_bytes()).await });
                }
            }
        })
    }
}

/// Says a word on an event stream, and keeps it open until the client goes. What it cannot say at once is cut.
async fn say(outlet: Outlet, words: &[u8]) {
    let Outlet {
        connection,
        tls: None,
        head,
        permit: _permit,
    } = outlet
    else {
        panic!("these streams are plain, or streams of HTTP/2");
    };
    // Whatever it is, it is a stream of bytes.
    let stream = tokio::net::UnixStream::from_std(connection.into()).unwrap();
    stream.writable().await.unwrap();
    if !head.is_empty() {
        assert_eq!(stream.try_write(&head).unwrap(), head.len());
    }
    let said = stream.try_write(words).unwrap();
    assert!(said > 0);
    let mut end = [0; 1];
    loop {
        stream.readable().await.unwrap();
        match stream.try_read(&mut end) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

fn eds() -> Router {
    Router::new()
        .route(
            "/v1/objects/{kind}",
            get(async |Path(kind): Path<String>, params: Params| {
                Reply::ok(&json!({ "type": kind, "q": params.given("q") }))
            })
            .post(async |body: Body| -> Result<Reply, Refusal> {
                Ok(Reply::created(&body.required()?))
            }),
        )
        .route(
            "/v1/objects/{kind}/{id}",
            get(async || Reply::empty()).delete(async || Reply::empty()),
        )
}

fn mws() -> Router {
    Router::new().route(
        "/v1/gateways/{id}/messages",
        post(async |body: Body| Reply::created(&body.or_empty())),
    )
}

fn platform() -> Router {
    Router::new()
        .route(
            "/v1/user",
            get(async |arrival: Arrival| {
                Reply::ok(&json!({ "base": arrival.base("http"), "socket": arrival.base("ws") }))
            }),
        )
        .route("/v1/panic", get(async || -> Reply { panic!("on purpose") }))
        .route(
            "/v1/fault",
            get(async || -> Result<Reply, Refusal> {
                Err(Error::internal("the disk is on fire").into())
            }),
        )
}

pub(crate) fn door(limits: Limits) -> Arc<Door> {
    Arc::new(services(limits))
}

/// The same, to which more can be added.
pub(crate) fn services(limits: Limits) -> Door {
    services_at(Hosts::shared(), limits)
}

/// The same, where some hosts belong to one service each.
pub(crate) fn services_at(hosts: Hosts, limits: Limits) -> Door {
    let site = |router: Router, manners: Arc<dyn Manners>| Site { router, manners };
    Door::new(hosts, limits)
        .site(Service::Eds, site(eds(), Arc::new(EdsManners)))
        .site(Service::Mws, site(mws(), Arc::new(MwsManners)))
        .site(
            Service::Platform,
            site(platform(), Arc::new(PlatformManners)),
        )
        .sockets(Arc::new(Greeter {
            streams: TaskGroup::new(),
        }))
}

/// A running door. Its tasks stop when it is dropped.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) tasks: TaskGroup,
}

impl Drop for House {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(Limits::default(), None).await
    }

    pub(crate) async fn with(limits: Limits, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self::behind(door(limits), tls, TaskGroup::new()).await
    }

    pub(crate) async fn behind(
        door: Arc<Door>,
        tls: Option<Arc<rustls::ServerConfig>>,
        tasks: TaskGroup,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("listener", door.serve(listener, tls, tasks.clone()));
        Self { address, tasks }
    }

    pub(crate) async fn connect(&self) -> Wire<TcpStream> {
        Wire(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own; everything that comes back.
    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut wire = self.connect().await;
        wire.send(request).await;
        wire.0.shutdown().await.unwrap();
        wire.rest().await
    }
}

/// A client that knows nothing but bytes.
pub(crate) struct Wire<S>(pub(crate) S);

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the connection ends in time")
            .expect("the connection ends cleanly");
        String::from_utf8(bytes).unwrap()
    }

    /// Everything up to and with `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let read = async {
            while !bytes.ends_with(end.as_bytes()) {
                let byte = self.0.read_u8().await;
                let seen = String::from_utf8_lossy(&bytes).into_owned();
                bytes.push(byte.unwrap_or_else(|_| panic!("ended after {seen:?}")));
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .unwrap_or_else(|_| panic!("no {end:?} in time"));
        String::from_utf8(bytes).unwrap()
    }

    /// One reply, by its `Content-Length`.
    pub(crate) async fn reply(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        let answer = Answer::parse(&head);
        let length = answer
            .header("Content-Length")
            .map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        let read = self.0.read_exact(&mut body);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        Answer {
            body: String::from_utf8(body).unwrap(),
            ..answer
        }
    }
}

/// A reply taken apart, with the header names as they were spelled.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no whole head: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// The value of a header in exactly this spelling.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(spelled, _)| *spelled == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}
