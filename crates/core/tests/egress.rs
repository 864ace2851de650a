//! Calls to the outside, against real sockets on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use pilvi_core::egress::{Egress, EgressError, LocalDoor, Policy};

/// A door at one made-up address that remembers what came in.
#[derive(Clone, Default)]
struct Door(Arc<Mutex<Vec<String>>>);

impl LocalDoor for Door {
    fn covers(&self, target: &Uri) -> bool {
        target.host() == Some("pilvi.test")
    }

    fn call(
        &self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> {
        self.0
            .lock()
            .unwrap()
            .push(format!("{} {}", request.method(), request.uri()));
        Box::pin(async {
            Response::builder()
                .status(201)
                .body(Bytes::from_static(b"made"))
                .unwrap()
        })
    }
}

fn egress(loopback: bool) -> Egress {
    Egress::new(
        Policy {
            loopback,
            allowed: Vec::new(),
            trusted: Vec::new(),
        },
        Arc::new(Door::default()),
    )
}

/// A target that gives the same answer to every request and remembers each head.
fn target(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).unwrap_or(0);
            log.lock()
                .unwrap()
                .push(String::from_utf8_lossy(&buffer[..read]).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, seen)
}

fn url(address: SocketAddr, path: &str) -> Uri {
    format!("http://{address}{path}").parse().unwrap()
}

#[tokio::test]
async fn a_target_is_posted_to_and_its_answer_kept_short() {
    let (address, seen) =
        target("HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfine\n");
    let headers = HeaderMap::from_iter([("x-mine".parse().unwrap(), "1".parse().unwrap())]);
    let answer = egress(true)
        .post(
            &url(address, "/hook?x=1"),
            headers,
            Bytes::from_static(b"{}"),
        )
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.excerpt.as_str()),
        (202, "fine")
    );
    let head = seen.lock().unwrap()[0].clone();
    assert!(head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("x-mine: 1\r\n") && head.contains("content-length: 2\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (elsewhere, seen) = target("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n");
    let (address, _) = target(answer.leak());
    let answer = egress(true)
        .post(&url(address, "/"), HeaderMap::new(), Bytes::new())
        .await
        .unwrap();
    assert_eq!(answer.status.as_u16(), 302);
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn inner_addresses_are_not_connected_to_by_number_or_by_name() {
    let (address, seen) = target("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"] {
        let target = format!("http://{host}:{}/", address.port())
            .parse()
            .unwrap();
        let error = egress(false)
            .post(&target, HeaderMap::new(), Bytes::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("loopback"), "{host}: {error}");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_target_that_is_down_is_an_error_that_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = egress(true)
        .post(&url(address, "/"), HeaderMap::new(), Bytes::new())
        .await
        .unwrap_err();
    assert!(matches!(error, EgressError::Connect(_)), "{error}");

    let (address, _) = target("");
    let error = egress(true)
        .post(&url(address, "/"), HeaderMap::new(), Bytes::new())
        .await
        .unwrap_err();
    assert!(matches!(error, EgressError::Broken(_)), "{error}");
}

#[tokio::test]
async fn an_address_of_our_own_is_answered_in_process() {
    let door = Door::default();
    let egress = Egress::new(Policy::default(), Arc::new(door.clone()));
    let target = "http://pilvi.test/v1/x".parse().unwrap();
    let answer = egress
        .post(&target, HeaderMap::new(), Bytes::new())
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.excerpt.as_str()),
        (201, "made")
    );
    assert_eq!(*door.0.lock().unwrap(), ["POST http://pilvi.test/v1/x"]);
}
