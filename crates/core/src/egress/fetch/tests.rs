//! Calls over real sockets, against targets that behave badly.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::{Place, Policy};
use super::*;

/// Answers one connection with these bytes, then with `filler` until nobody listens.
async fn target(head: &'static str, filler: Option<&'static [u8]>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test itself waits for it")]
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = [0; 4096];
        let _ = stream.read(&mut heard).await;
        let _ = stream.write_all(head.as_bytes()).await;
        while let Some(filler) = filler {
            if stream.write_all(filler).await.is_err() {
                return;
            }
        }
    });
    (address, answering)
}

fn trusting(address: SocketAddr) -> Egress {
    let place = Place::of(&format!("http://{address}/").parse().unwrap());
    Egress::outward(Policy {
        trusted: place.into_iter().collect(),
        ..Policy::default()
    })
}

fn get(url: &str) -> Call<'_> {
    Call {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        answer_max_bytes: 1000,
    }
}

#[tokio::test]
async fn an_answer_comes_whole() {
    let (address, _) = target(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
        None,
    )
    .await;
    let url = format!("http://{address}/x");
    let fetched = trusting(address).fetch(get(&url)).await.unwrap();
    assert_eq!(fetched.status, 200);
    assert_eq!(fetched.headers["x-a"], "b");
    assert_eq!(fetched.body, "hello");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let (address, answering) = target("HTTP/1.1 200 OK\r\n\r\n", Some(&[b'x'; 512])).await;
    let url = format!("http://{address}/");
    let outcome = trusting(address).fetch(get(&url)).await;
    assert!(matches!(outcome, Err(EgressError::TooLong(1000))));
    // The connection is given up, not read to its end.
    answering.await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let head = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let (address, _) = target(head, None).await;
    let url = format!("http://{address}/");
    let fetched = trusting(address).fetch(get(&url)).await.unwrap();
    assert_eq!(fetched.status, 302);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}/");
    let outcome = trusting(address).fetch(get(&url)).await;
    assert!(matches!(outcome, Err(EgressError::Timeout)));
}

#[tokio::test]
async fn only_the_trusted_place_may_be_an_inner_one() {
    let (address, _) = target("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", None).await;
    let egress = trusting(address);
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = format!("http://{}/", other.local_addr().unwrap());
    assert!(matches!(
        egress.fetch(get(&other)).await,
        Err(EgressError::Refused(_))
    ));
    let named = other.replace("127.0.0.1", "localhost");
    assert!(matches!(
        egress.fetch(get(&named)).await,
        Err(EgressError::Connect(why)) if why.contains("loopback")
    ));
    assert!(matches!(
        egress.fetch(get("file:///etc/passwd")).await,
        Err(EgressError::Refused(_))
    ));
}
