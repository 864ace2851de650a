//! Requests that come in parts, as those over HTTP/2 do: the same router behind hyper's server.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pilvi_base::TaskGroup;
use pilvi_edge::Ends;

use crate::apps::App;
use crate::world::{HOST, PATIENCE, World, eventually};

type Payload = BoxBody<Bytes, Infallible>;

#[derive(Clone)]
struct Spawner(TaskGroup);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.spawn("http2", future);
    }
}

/// A client of HTTP/2 whose requests reach the router's `forward`.
async fn client(world: &World) -> SendRequest<Payload> {
    let (near, far) = tokio::io::duplex(256 << 10);
    let spawner = Spawner(world.tasks.clone());
    let edge = world.edge.clone();
    let ends = Ends {
        peer: "10.1.2.3:4".parse().unwrap(),
        local: "10.0.0.1:8443".parse().unwrap(),
        secure: true,
    };
    let service = service_fn(move |request| {
        let edge = edge.clone();
        async move { Ok::<_, Infallible>(edge.forward(request, ends).await) }
    });
    let serving = http2::Builder::new(spawner.clone()).serve_connection(TokioIo::new(far), service);
    world
        .tasks
        .spawn("server", async move { drop(serving.await) });
    let (sender, connection) = handshake(spawner, TokioIo::new(near)).await.unwrap();
    world
        .tasks
        .spawn("client", async move { drop(connection.await) });
    sender
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .version(Version::HTTP_2)
        .uri(format!("https://{HOST}{path}"))
}

fn none() -> Payload {
    Empty::new().boxed()
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_request_becomes_http_1_1() {
    let world = World::default().await;
    let app = App::echoing(&world).await;
    let mut client = client(&world).await;
    for _ in 0..2 {
        let asked = request("GET", "/a?b")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("forwarded", "for=6.6.6.6")
            .header("x-forwarded-host", "evil")
            .header("x-real-ip", "6.6.6.6")
            .header("x-request-id", "id-1");
        let response = client
            .send_request(asked.body(none()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            text(response).await,
            "GET /a?b HTTP/1.1\r\nHost: app.localhost\r\ncookie: a=1; b=2\r\nX-Forwarded-For: 10.1.2.3\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Port: 8443\r\nX-Request-Id: id-1\r\n\r\n"
        );
    }
    assert_eq!(app.dials.load(Ordering::SeqCst), 1);
    let post = request("POST", "/")
        .header("content-length", 2)
        .body(Full::from("hi").boxed())
        .unwrap();
    let seen = text(client.send_request(post).await.unwrap()).await;
    assert!(
        seen.contains("Content-Length: 2\r\n") && seen.ends_with("\r\n\r\nhi"),
        "{seen}"
    );
}

#[tokio::test]
async fn what_an_app_leaves_of_a_body_is_nobodys_request() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        while let Some(head) = wire.head().await {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", head.len());
            wire.send(answer + &head).await;
        }
    })
    .await;
    world.run(&app);
    let stolen = "GET /stolen HTTP/1.1\r\nX-Ignored: x";
    for length in [Some(stolen.len()), None] {
        let mut asked = request("POST", "/");
        if let Some(length) = length {
            asked = asked.header("content-length", length);
        }
        let post = asked.body(Full::from(stolen).boxed()).unwrap();
        let get = request("GET", "/mine").body(none()).unwrap();
        for (request, line) in [(post, "POST / "), (get, "GET /mine ")] {
            let response = client(&world).await.send_request(request).await.unwrap();
            let seen = text(response).await;
            assert!(seen.starts_with(line), "{seen}");
        }
    }
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        let (_, body) = wire.request().await.unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), "2\r\nhi\r\n0\r\nx-sum: 2\r\n\r\n");
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n").await;
    })
    .await;
    world.publish(&[app]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "2".parse().unwrap());
    let frames = [Frame::data(Bytes::from("hi")), Frame::trailers(trailers)];
    let body = Frames(frames.into_iter().collect());
    let response = client(&world)
        .await
        .send_request(request("POST", "/").body(body.boxed()).unwrap())
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "3");
    assert_eq!(body.to_bytes(), "abc");
}

#[tokio::test]
async fn a_large_body_comes_out_whole_in_both_directions() {
    const SIZE: usize = 4 << 20;
    let world = World::default().await;
    App::echoing(&world).await;
    let body = Bytes::from((0..SIZE).map(|at| (at / 7) as u8).collect::<Vec<_>>());
    let asked = request("PUT", "/")
        .header("content-length", SIZE)
        .body(Full::from(body.clone()).boxed())
        .unwrap();
    let response = client(&world).await.send_request(asked).await.unwrap();
    let back = response.into_body().collect().await.unwrap().to_bytes();
    assert!(back.ends_with(&body), "{} bytes came back", back.len());
}

#[tokio::test]
async fn errors_and_refusals_have_their_pages() {
    let world = World::default().await;
    let mut client = client(&world).await;
    let response = client
        .send_request(request("GET", "/").body(none()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(
        text(response)
            .await
            .contains("There is no app at this address.")
    );

    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
    })
    .await;
    world.publish(&[app]);
    let asked = request("GET", "/")
        .header("accept", "text/html")
        .body(none())
        .unwrap();
    let response = client.send_request(asked).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert!(text(response).await.contains("<h1>Bad Gateway</h1>"));
    world.journal.with(&["code=H13", "protocol=https"]).await;

    let connect = Request::builder()
        .method("CONNECT")
        .uri(HOST)
        .body(none())
        .unwrap();
    let refused = client.send_request(connect).await;
    assert!(refused.is_err() || refused.is_ok_and(|response| response.status() == 405));
    let response = client
        .send_request(request("GET", "/").body(none()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        response.status(),
        StatusCode::BAD_GATEWAY,
        "the connection goes on"
    );
}

/// The stream is reset (RFC 9113 §8.1.1), by h2 and before the router knows; the others go on.
#[tokio::test]
async fn a_body_of_another_length_than_announced_ends_its_stream_alone() {
    let world = World::default().await;
    App::echoing(&world).await;
    let mut client = client(&world).await;
    for announced in [1, 5] {
        let asked = request("POST", "/").header("content-length", announced);
        let asked = asked.body(Frames([Frame::data(Bytes::from("two"))].into()).boxed());
        let answer = client.send_request(asked.unwrap());
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
        let reset = format!("{:?}", answer.unwrap_err());
        assert!(reset.contains("PROTOCOL_ERROR, Remote"), "{reset}");
        let get = request("GET", "/").body(none()).unwrap();
        let response = client.send_request(get).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_the_request_along() {
    let world = World::default().await;
    let app = App::start(&world.tasks, "web.1", |mut wire| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin")
            .await;
        wire.gone().await;
    })
    .await;
    world.run(&app);
    let response = client(&world)
        .await
        .send_request(request("GET", "/").body(none()).unwrap())
        .await
        .unwrap();
    assert_eq!(app.open.load(Ordering::SeqCst), 1);
    drop(response);
    eventually("the app is told", || app.open.load(Ordering::SeqCst) == 0).await;
    world.journal.with(&["code=H27", "status=200"]).await;
}

/// A body of exactly these frames.
struct Frames(std::collections::VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
