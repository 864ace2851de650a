//! Apps and services behind one door: each connection may ask for both, in any order.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use common::{House, Wire, services_at};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pilvi_base::{Clock, TaskGroup};
use pilvi_edge::{Absence, BoxFuture, Edge, Journal, Route, RouterEvent, Settings, Upstream};
use pilvi_web::ca::LocalCa;
use pilvi_web::{Door, Hosts, Limits, Scope};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct Silent;

impl Journal for Silent {
    fn note(&self, _: &str, _: RouterEvent<'_>) {}
}

struct App(SocketAddr);

impl Upstream for App {
    fn id(&self) -> &str {
        "web.1"
    }

    fn dial(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(self.0))
    }
}

/// An app that says what it was asked, and turns into an echo when asked to upgrade.
async fn app(tasks: &TaskGroup) -> Arc<App> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = Arc::new(App(listener.local_addr().unwrap()));
    let group = tasks.clone();
    tasks.spawn("app", async move {
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted.unwrap(),
                () = group.stopping() => return,
            };
            let stopping = group.clone();
            group.spawn("app connection", async move {
                tokio::select! {
                    () = answer(Wire(stream)) => {}
                    () = stopping.stopping() => {}
                }
            });
        }
    });
    app
}

async fn answer(mut wire: Wire<TcpStream>) {
    let mut head = Vec::new();
    while let Ok(byte) = tokio::io::AsyncReadExt::read_u8(&mut wire.0).await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        if text.contains("Upgrade: websocket") {
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .await;
            let (mut read, mut write) = wire.0.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            return;
        }
        let length = text.len();
        wire.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}"
        ))
        .await;
    }
}

/// A door with an app at `app.localhost` and `www.example.org`.
struct World {
    house: House,
    ca: Arc<LocalCa>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn open(secure: bool) -> Self {
        let (door, tls, tasks, ca, folder) = Self::prepare(secure, Hosts::shared()).await;
        Self {
            house: House::behind(door, tls, tasks).await,
            ca,
            _folder: folder,
        }
    }

    /// As a program in a sandbox finds it: Pilvi's services have names of their own, and only they answer.
    async fn inside(secure: bool) -> Self {
        let hosts = Hosts::of_domain("localhost", "eu-1");
        let (door, tls, tasks, ca, folder) = Self::prepare(secure, hosts).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let group = tasks.clone();
        tasks.spawn("listener", async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = group.stopping() => return,
                };
                door.take(stream, tls.clone(), 8080, Scope::OwnNames, &group)
                    .await;
            }
        });
        Self {
            house: House { address, tasks },
            ca,
            _folder: folder,
        }
    }

    async fn prepare(
        secure: bool,
        hosts: Hosts,
    ) -> (
        Arc<Door>,
        Option<Arc<rustls::ServerConfig>>,
        TaskGroup,
        Arc<LocalCa>,
        tempfile::TempDir,
    ) {
        let tasks = TaskGroup::new();
        let settings = Settings {
            reserved: hosts.names(),
            ..Settings::default()
        };
        let edge = Edge::new(settings, Arc::new(Silent), tasks.clone());
        edge.publish(Route {
            app: "app".to_owned(),
            hosts: vec!["app.localhost".to_owned(), "www.example.org".to_owned()],
            upstreams: vec![app(&tasks).await],
            absence: Absence::Crashed,
            certificate: Some(uploaded()),
        });
        let folder = tempfile::tempdir().unwrap();
        let ca = Arc::new(LocalCa::open_or_make(folder.path(), &Clock::system()).unwrap());
        let tls = secure.then(|| ca.server_config_for(&[], &[], Some(edge.clone())).unwrap());
        let door = Arc::new(services_at(hosts, Limits::default()).apps(edge));
        (door, tls, tasks, ca, folder)
    }

    async fn connect(
        &self,
        name: &str,
        alpn: &[&str],
        root: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.house.address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

/// What an owner uploads: a certificate for a domain of their own.
fn uploaded() -> Arc<CertifiedKey> {
    let made = rcgen::generate_simple_self_signed(["www.example.org".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider).unwrap())
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[tokio::test]
async fn one_connection_may_ask_apps_and_services_in_turn() {
    let world = World::open(false).await;
    let mut wire = world.house.connect().await;
    for _ in 0..3 {
        wire.send(get("app.localhost:8080", "/v1/user//x")).await;
        let reply = wire.reply().await;
        assert!(
            reply
                .body
                .starts_with("GET /v1/user//x HTTP/1.1\r\nHost: app.localhost:8080\r\n"),
            "{reply:?}"
        );
        wire.send(get("localhost:8080", "/v1/user")).await;
        assert_eq!(wire.reply().await.json()["base"], "http://localhost:8080");
    }
    // All at once, too.
    let both = [
        get("www.example.org", "/a"),
        get("h", "/v1/user"),
        get("app.localhost", "/b"),
    ]
    .concat();
    wire.send(both).await;
    assert!(wire.reply().await.body.starts_with("GET /a "));
    assert_eq!(wire.reply().await.json()["base"], "http://h");
    assert!(wire.reply().await.body.starts_with("GET /b "));
}

/// Hosts that are not answered from inside a sandbox, however they are spelled.
const OTHERS: [&str; 6] = [
    "app.localhost",
    "APP.localhost.:80",
    "www.example.org",
    "nobody.localhost",
    "elsewhere.example.org",
    "10.0.0.1",
];

#[tokio::test]
async fn inside_a_sandbox_only_our_own_names_answer() {
    let world = World::inside(false).await;
    let mut wire = world.house.connect().await;
    let literal = world.house.address.to_string();
    for host in ["api.localhost", "API.localhost:80", "127.0.0.1", &literal] {
        wire.send(get(host, "/v1/user")).await;
        assert_eq!(wire.reply().await.status, 200, "{host}");
    }
    for host in OTHERS {
        wire.send(get(host, "/v1/user")).await;
        let reply = wire.reply().await;
        assert_eq!(reply.status, 404, "{host}");
        let told = &reply.body;
        assert!(told.contains("only under its own names"), "{told}");
    }
    // A whole address as target says it as well, whatever `Host` says.
    for (target, host, status) in [
        ("http://app.localhost/v1/user", "api.localhost", 404),
        ("http://api.localhost/v1/user", "app.localhost", 200),
    ] {
        wire.send(get(host, target)).await;
        assert_eq!(wire.reply().await.status, status, "{target}");
    }
    let reply = world.house.ask("GET /v1/user HTTP/1.0\r\n\r\n").await;
    assert!(
        reply.starts_with("HTTP/1.1 200 ") || reply.starts_with("HTTP/1.0 200 "),
        "{reply}"
    );
}

#[tokio::test]
async fn inside_a_sandbox_only_our_own_names_take_sockets() {
    let world = World::inside(false).await;
    for host in OTHERS {
        let reply = world.house.ask(upgrade(host)).await;
        assert!(reply.starts_with("HTTP/1.1 404 "), "{host}: {reply}");
        assert!(reply.contains("only under its own names"), "{reply}");
    }
    let mut wire = world.house.connect().await;
    wire.send(upgrade("mws-eu-1.localhost") + "ahead").await;
    wire.until("/?token=x|ahead|").await;
}

#[tokio::test]
async fn inside_a_sandbox_only_our_own_names_answer_over_http_2() {
    let world = World::inside(true).await;
    let ca = world.ca.certificate_pem();
    let stream = world.connect("api.localhost", &["h2"], ca).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let client = TaskGroup::new();
    client.spawn("client", async move { drop(connection.await) });
    let mut ask = async |host: &str| {
        let request = Request::get(format!("https://{host}/v1/user"));
        let request = request.body(Body::empty()).unwrap();
        send.send_request(request).await.unwrap().status()
    };
    assert_eq!(ask("api.localhost").await, StatusCode::OK);
    for host in OTHERS {
        assert_eq!(ask(host).await, StatusCode::NOT_FOUND, "{host}");
    }
    assert_eq!(ask("api.localhost").await, StatusCode::OK);
}

#[tokio::test]
async fn inside_a_sandbox_only_our_own_names_have_event_streams() {
    let world = World::inside(true).await;
    let ca = world.ca.certificate_pem();
    for host in OTHERS {
        let mut wire = Wire(world.connect("api.localhost", &[], ca).await.unwrap());
        wire.send(listening(host)).await;
        assert_eq!(wire.reply().await.status, 404, "{host}");
    }
    let stream = world.connect("api.localhost", &["h2"], ca).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let client = TaskGroup::new();
    client.spawn("client", async move { drop(connection.await) });
    for (host, status) in OTHERS
        .map(|host| (host, StatusCode::NOT_FOUND))
        .into_iter()
        .chain([("mws-eu-1.localhost", StatusCode::OK)])
    {
        let request = Request::get(format!("https://{host}/?token=x"));
        let request = request.header("accept", "text/event-stream");
        let request = request.body(Body::empty()).unwrap();
        let reply = send.send_request(request).await.unwrap();
        assert_eq!(reply.status(), status, "{host}");
    }
}

#[tokio::test]
async fn an_apps_own_event_streams_are_the_apps() {
    let world = World::open(true).await;
    let ca = world.ca.certificate_pem();
    let mut wire = Wire(world.connect("app.localhost", &[], ca).await.unwrap());
    wire.send(listening("app.localhost")).await;
    let reply = wire.reply().await;
    assert!(reply.body.contains("GET /?token=x HTTP/1.1"), "{reply:?}");
    // The next one on the same connection is ours.
    wire.send(listening("h").replace("token=x", "token=full"))
        .await;
    assert_eq!(wire.reply().await.status, 503);

    let stream = world.connect("app.localhost", &["h2"], ca).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let client = TaskGroup::new();
    client.spawn("client", async move { drop(connection.await) });
    let request = Request::get("https://app.localhost/?token=x");
    let request = request.header("accept", "text/event-stream");
    let reply = send
        .send_request(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body);
    assert!(body.contains("GET /?token=x HTTP/1.1"), "{body}");
}

fn listening(host: &str) -> String {
    get(host, "/?token=x").replace("\r\n\r\n", "\r\nAccept: text/event-stream\r\n\r\n")
}

fn upgrade(host: &str) -> String {
    get(host, "/?token=x").replace(
        "\r\n\r\n",
        "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )
}

#[tokio::test]
async fn an_upgrade_goes_where_its_host_is() {
    let world = World::open(false).await;
    let mut wire = world.house.connect().await;
    wire.send(get("h", "/v1/user")).await;
    wire.reply().await;
    wire.send(upgrade("app.localhost") + "hello").await;
    wire.until("\r\n\r\nhello").await;
    wire.send("ping").await;
    wire.until("ping").await;

    let mut wire = world.house.connect().await;
    wire.send(get("app.localhost", "/")).await;
    wire.reply().await;
    wire.send(upgrade("h") + "ahead").await;
    wire.until("/?token=x|ahead|").await;
}

#[tokio::test]
async fn a_refused_head_is_told_so_in_the_words_of_its_host() {
    let world = World::open(false).await;
    for host in ["app.localhost", "nobody.localhost"] {
        let request = get(host, "/").replace(
            "\r\n\r\n",
            "\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        );
        let reply = world.house.ask(request).await;
        assert!(
            reply.starts_with("HTTP/1.1 400 ") && reply.contains("\"requestId\""),
            "{reply}"
        );
    }
    let mut wire = world.house.connect().await;
    wire.send(get("nobody.localhost", "/")).await;
    let reply = wire.reply().await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"]["reason"], "NotFound");
}

#[tokio::test]
async fn an_app_has_a_certificate_for_each_of_its_names() {
    let world = World::open(true).await;
    let ca = world.ca.certificate_pem();
    for alpn in [&["http/1.1"][..], &[]] {
        let mut wire = Wire(world.connect("app.localhost", alpn, ca).await.unwrap());
        wire.send(get("app.localhost", "/")).await;
        let seen = wire.reply().await.body;
        assert!(seen.contains("X-Forwarded-Proto: https\r\n"), "{seen}");
    }
    // The uploaded one is nobody's but its owner's, and for this name alone.
    let stream = world.connect("www.example.org", &[], ca).await;
    assert!(stream.is_err(), "our authority has not signed it");
    assert!(world.connect("nobody.localhost", &[], ca).await.is_err());
    assert!(world.connect("localhost", &[], ca).await.is_ok());
}

#[tokio::test]
async fn http_2_reaches_apps_and_services() {
    let world = World::open(true).await;
    let ca = world.ca.certificate_pem();
    let stream = world.connect("app.localhost", &["h2"], ca).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let client = TaskGroup::new();
    client.spawn("client", async move { drop(connection.await) });
    let mut ask = async |method: &str, uri: &str| {
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(Body::from("body")).unwrap();
        let reply = send.send_request(request).await.unwrap();
        let status = reply.status();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, seen) = ask("POST", "https://app.localhost:8443//a//b/?c").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        seen.starts_with("POST //a//b/?c HTTP/1.1\r\nHost: app.localhost:8443\r\n"),
        "{seen}"
    );
    let (status, _) = ask("GET", "https://localhost:8443/v1/user").await;
    assert_eq!(status, StatusCode::OK);
    let (status, told) = ask("GET", "https://nobody.localhost:8443/").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(told.contains("There is no app at this address."), "{told}");
}
