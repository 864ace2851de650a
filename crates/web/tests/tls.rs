//! HTTPS under the local authority, with clients of ours and with curl and Node.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use common::{House, PATIENCE, Wire, door};
use http::{Request, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pilvi_base::{Clock, TaskGroup};
use pilvi_web::Limits;
use pilvi_web::ca::LocalCa;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A door with HTTPS at `address`, and the authority in a folder of its own.
struct SecureHouse {
    house: House,
    ca: Arc<LocalCa>,
    _folder: tempfile::TempDir,
}

impl SecureHouse {
    async fn at(address: IpAddr) -> Self {
        Self::with(address, Limits::default()).await
    }

    async fn with(address: IpAddr, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Arc::new(LocalCa::open_or_make(folder.path(), &Clock::system()).unwrap());
        let tls = ca.server_config(&[address]).unwrap();
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = TaskGroup::new();
        let door = door(limits);
        tasks.spawn("listener", door.serve(listener, Some(tls), tasks.clone()));
        Self {
            house: House { address, tasks },
            ca,
            _folder: folder,
        }
    }

    fn address(&self) -> SocketAddr {
        self.house.address
    }

    async fn connect(&self, name: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        let pem = self.ca.certificate_pem().as_bytes();
        roots
            .add(CertificateDer::from_pem_slice(pem).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address()).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

#[tokio::test]
async fn a_client_without_alpn_speaks_http_1() {
    let house = SecureHouse::at(loopback(1)).await;
    for name in ["localhost", "127.0.0.1", "eds.localhost"] {
        let mut wire = Wire(house.connect(name, &[]).await.unwrap());
        for _ in 0..2 {
            wire.send("GET /v1/user HTTP/1.1\r\nHost: h:1\r\n\r\n")
                .await;
            let reply = wire.reply().await;
            assert_eq!(reply.json()["base"], "https://h:1", "{name}");
            assert_eq!(reply.json()["socket"], "wss://h:1", "{name}");
        }
    }
}

#[tokio::test]
async fn a_connection_beyond_the_bound_is_told_so_under_tls_also_when_it_offers_http_2() {
    for limits in [
        Limits {
            connections_max: 0,
            ..Limits::default()
        },
        Limits {
            files_max: 0,
            ..Limits::default()
        },
    ] {
        let house = SecureHouse::with(loopback(1), limits).await;
        // More than are told at the same time.
        for _ in 0..40 {
            let stream = house.connect("localhost", &["h2", "http/1.1"]).await;
            let reply = Wire(stream.unwrap()).reply().await;
            assert_eq!(
                (reply.status, reply.header("Retry-After")),
                (503, Some("1"))
            );
            assert!(reply.json()["error"]["message"].is_string());
        }
    }
}

#[tokio::test]
async fn an_upgrade_works_under_tls() {
    let house = SecureHouse::at(loopback(1)).await;
    let mut wire = Wire(house.connect("localhost", &["http/1.1"]).await.unwrap());
    wire.send(
        "GET /?token=x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nahead",
    )
    .await;
    assert!(
        wire.until("\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 101 Switching Protocols\r\n")
    );
    wire.until("/?token=x|ahead|").await;
}

#[tokio::test]
async fn a_client_that_offers_http_2_gets_it() {
    let house = SecureHouse::at(loopback(1)).await;
    let stream = house
        .connect("localhost", &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let io = TokioIo::new(stream);
    let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let client = TaskGroup::new();
    client.spawn("client", async move {
        let _ = connection.await;
    });

    let request = |method: &str, path: &str, body: &'static str| {
        Request::builder()
            .method(method)
            .uri(format!("https://name.localhost:8443{path}"))
            .header("x-request-id", "abc")
            .header("x-pilvi-fault", "418 teapot")
            .body(Body::from(body))
            .unwrap()
    };
    let reply = send
        .send_request(request("GET", "/v1/user/", ""))
        .await
        .unwrap();
    assert_eq!(
        (reply.version(), reply.status().as_u16()),
        (Version::HTTP_2, 200)
    );
    assert_eq!(reply.headers()["x-request-id"], "abc");
    assert!(reply.headers().contains_key("content-length"));
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["base"], "https://name.localhost:8443");

    let long = "x".repeat(1001);
    for (method, path, body, status) in [
        ("POST", "/v1/objects/x", "{\"n\":1}", 201),
        ("POST", "/v1/objects/x", "{", 400),
        (
            "POST",
            "/v1/objects/x",
            Box::leak(long.into_boxed_str()),
            413,
        ),
        ("PUT", "/v1/objects/x", "", 405),
        ("GET", "/v1/panic", "", 500),
        ("OPTIONS", "/v1/objects/x", "", 204),
    ] {
        let reply = send
            .send_request(request(method, path, body))
            .await
            .unwrap();
        assert_eq!(reply.status().as_u16(), status, "{method} {path}");
    }

    // Stopping ends the connection although the client would keep it.
    house.house.tasks.stop();
    assert!(house.house.tasks.drain(PATIENCE).await);
    assert!(client.drain(PATIENCE).await);
}

/// An HTTP/2 connection, and a request for an event stream on it.
async fn http2(house: &SecureHouse, client: &TaskGroup) -> SendRequest<Body> {
    let stream = house.connect("localhost", &["h2"]).await.unwrap();
    let io = TokioIo::new(stream);
    let (send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    client.spawn("client", async move {
        let _ = connection.await;
    });
    send
}

fn asking(target: &str) -> Request<Body> {
    Request::builder()
        .uri(format!("https://name.localhost:8443{target}"))
        .header("accept", "text/event-stream")
        .header("origin", "https://a.example")
        .body(Body::empty())
        .unwrap()
}

async fn next_piece(body: &mut Incoming) -> Option<Bytes> {
    let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
    let frame = frame.expect("something comes in time")?;
    frame.unwrap().into_data().ok()
}

#[tokio::test]
async fn event_streams_share_an_http_2_connection() {
    let house = SecureHouse::at(loopback(1)).await;
    let client = TaskGroup::new();
    let mut send = http2(&house, &client).await;
    let mut streams = Vec::new();
    for number in 0..3 {
        let target = format!("/any/path?token={number}");
        let reply = send.send_request(asking(&target)).await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["content-type"], "text/event-stream");
        assert_eq!(reply.headers()["cache-control"], "no-store");
        assert_eq!(
            reply.headers()["access-control-allow-origin"],
            "https://a.example"
        );
        assert!(reply.headers().contains_key("x-request-id"));
        assert!(!reply.headers().contains_key("content-length"));
        streams.push((target, reply.into_body()));
    }
    for (target, body) in &mut streams {
        let said = next_piece(body).await.unwrap();
        assert_eq!(said, format!("data: {target}\n\n"));
    }
    let refused = send.send_request(asking("/?token=full")).await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["message"], "no room for another socket");
    // One that nobody answers takes the others nowhere with it.
    assert!(send.send_request(asking("/?token=lost")).await.is_err());
    let other = send.send_request(asking("/v1/user")).await.unwrap();
    assert_eq!(other.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn a_listener_that_reads_nothing_delays_nobody_on_its_connection() {
    let house = SecureHouse::at(loopback(1)).await;
    let client = TaskGroup::new();
    let mut send = http2(&house, &client).await;
    let reply = send.send_request(asking("/?token=long")).await.unwrap();
    let mut body = reply.into_body();
    // The rest of the connection goes on.
    let other = send.send_request(asking("/v1/user")).await.unwrap();
    assert_eq!(other.status(), 200);
    let mut read = 0;
    while read < 100 << 10 {
        read += next_piece(&mut body).await.unwrap().len();
    }
}

#[tokio::test]
async fn a_connection_with_an_event_stream_is_not_idle() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(400),
        ..Limits::default()
    };
    let house = SecureHouse::with(loopback(1), limits).await;
    let client = TaskGroup::new();
    let mut send = http2(&house, &client).await;
    let reply = send.send_request(asking("/?token=x")).await.unwrap();
    let mut body = reply.into_body();
    next_piece(&mut body).await.unwrap();
    // A connection of another client comes to its end meanwhile, several times.
    for _ in 0..2 {
        let idle = TaskGroup::new();
        let mut other = http2(&house, &idle).await;
        let reply = other.send_request(asking("/v1/user")).await.unwrap();
        reply.into_body().collect().await.unwrap();
        assert!(idle.drain(PATIENCE).await);
    }
    let again = send.send_request(asking("/v1/user")).await.unwrap();
    assert_eq!(again.status(), 200);
    drop((body, again));
    assert!(client.drain(PATIENCE).await, "now it is");
}

#[tokio::test]
async fn a_stream_over_http_2_takes_a_place_for_each_of_its_descriptors() {
    let limits = Limits {
        connections_max: 4,
        ..Limits::default()
    };
    let house = SecureHouse::with(loopback(1), limits).await;
    let client = TaskGroup::new();
    let mut send = http2(&house, &client).await;
    let first = send.send_request(asking("/?token=x")).await.unwrap();
    assert_eq!(first.status(), 200);
    let second = send.send_request(asking("/?token=y")).await.unwrap();
    assert_eq!(second.status(), 503);
    drop(first);
    let again = async {
        while send
            .send_request(asking("/?token=z"))
            .await
            .unwrap()
            .status()
            != 200
        {}
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn what_a_listener_does_not_take_keeps_its_place() {
    let limits = Limits {
        connections_max: 3,
        ..Limits::default()
    };
    let house = SecureHouse::with(loopback(1), limits).await;
    let client = TaskGroup::new();
    let stream = house.connect("localhost", &["h2"]).await.unwrap();
    let (mut send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    client.spawn("client", async move {
        let _ = connection.await;
    });
    let reply = send.send_request(asking("/?token=brief")).await.unwrap();
    assert_eq!(reply.status(), 200);
    // The near end has gone, and with it one place.
    let one_place = async {
        loop {
            let mut other = Wire(house.connect("localhost", &[]).await.unwrap());
            let get = "GET /v1/user HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            other.send(get).await;
            if other.reply().await.status == 200 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, one_place).await.unwrap();
    let crowded = send.send_request(asking("/?token=x")).await.unwrap();
    assert_eq!(crowded.status(), 503);
    drop(reply);
    let both_places = async {
        loop {
            let reply = send.send_request(asking("/?token=x")).await.unwrap();
            if reply.status() == 200 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, both_places).await.unwrap();
}

#[tokio::test]
async fn the_authority_is_not_trusted_for_other_names() {
    let house = SecureHouse::at(loopback(1)).await;
    for name in ["example.org", "notlocalhost", "10.0.0.1"] {
        assert!(house.connect(name, &[]).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_plain_request_to_the_secure_port_ends_soon() {
    let house = SecureHouse::at(loopback(1)).await;
    let mut wire = house.house.connect().await;
    wire.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut ignored = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut wire.0, &mut ignored);
    let _ = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the connection ends");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_given_up() {
    let limits = Limits {
        handshake_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let house = SecureHouse::with(loopback(1), limits).await;
    assert_eq!(house.house.connect().await.rest().await, "");
}

/// Runs a client that may be missing on this machine; says loudly when it is.
#[expect(clippy::print_stdout, reason = "a skipped test must be seen")]
async fn run(program: &str, set_up: impl FnOnce(&mut Command)) -> Option<Output> {
    let mut command = Command::new(program);
    set_up(&mut command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => Some(output),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: {program} is not installed");
            None
        }
        Ok(Err(error)) => panic!("{program} could not be run: {error}"),
        Err(_) => panic!("{program} took too long"),
    }
}

async fn curl(ca: &Path, arguments: &[&str]) -> Option<String> {
    let output = run("curl", |command| {
        command.args(["--silent", "--show-error", "--noproxy", "*", "--cacert"]);
        command.arg(ca).args(arguments);
    })
    .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn curl_trusts_the_authority() {
    let house = SecureHouse::at(loopback(77)).await;
    let ca = house.ca.certificate_path();
    let port = house.address().port();
    for (host, version) in [("127.0.0.77", "--http1.1"), ("127.0.0.77", "--http2")] {
        let url = format!("https://{host}:{port}/v1/user");
        let Some(body) = curl(ca, &[version, &url]).await else {
            return;
        };
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["base"], format!("https://{host}:{port}"));
    }
    for host in ["localhost", "eds.localhost"] {
        let url = format!("https://{host}:{port}/v1/user");
        let resolved = format!("{host}:{port}:127.0.0.77");
        curl(ca, &["--resolve", &resolved, &url]).await;
    }
}

#[tokio::test]
async fn git_is_asked_to_speak_http_1() {
    let house = SecureHouse::at(loopback(78)).await;
    let ca = house.ca.certificate_path();
    let url = format!("https://127.0.0.78:{}/v1/user", house.address().port());
    for (agent, version) in [("curl/7.88.1", "2"), ("git/2.47.3", "1.1")] {
        let written = ["--http2", "-A", agent, "-w", "\n%{http_version}", &url];
        let Some(said) = curl(ca, &written).await else {
            return;
        };
        let (body, spoken) = said.rsplit_once('\n').unwrap();
        assert!(body.contains("base"), "{said}");
        assert_eq!(spoken, version, "{agent}");
    }
}

#[tokio::test]
async fn node_trusts_the_authority() {
    let house = SecureHouse::at(loopback(77)).await;
    let script = "
        const https = require('https');
        const [host, servername, port] = process.argv.slice(1);
        https.get({ host, port, path: '/v1/user', servername }, (reply) => {
            reply.on('data', (data) => process.stdout.write(data));
        }).on('error', (error) => { console.error(error); process.exit(1); });
    ";
    for name in ["", "localhost", "eds.localhost"] {
        let port = house.address().port().to_string();
        let output = run("node", |command| {
            command.env("NODE_EXTRA_CA_CERTS", house.ca.certificate_path());
            command.args(["-e", script, "--", "127.0.0.77", name, &port]);
        })
        .await;
        let Some(output) = output else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("https://127.0.0.77"),
            "{name}"
        );
    }
}
