//! A WebSocket server of the crate `fastwebsockets`: a tokio task for every socket, fed by a broadcast channel, as one
//! would write it first. Sockets open at `/` or, with the tag, at `/tag`; what is posted to `/publish/all` or
//! `/publish/tag` goes to all or to the tagged.

use std::convert::Infallible;
use std::sync::Arc;

use fastwebsockets::{Frame, OpCode, Payload, WebSocketError, upgrade};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};

/// Messages that a slow task may be behind.
const CAPACITY: usize = 1024;

struct Topics {
    all: Sender<Bytes>,
    tag: Sender<Bytes>,
}

fn main() {
    let address = std::env::args().nth(1).expect("the address to listen on");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    runtime.block_on(serve(&address));
}

async fn serve(address: &str) {
    let topics = Arc::new(Topics {
        all: broadcast::channel(CAPACITY).0,
        tag: broadcast::channel(CAPACITY).0,
    });
    let listener = TcpListener::bind(address).await.expect("an address");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket of TCP");
        let topics = Arc::clone(&topics);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&topics)));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away is nothing to talk about.
            let _ = connection.with_upgrades().await;
        });
    }
}

async fn answer(
    mut request: Request<Incoming>,
    topics: Arc<Topics>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let tagged = request.uri().path().ends_with("/tag");
    if request.method() == Method::POST {
        let topic = if tagged { &topics.tag } else { &topics.all };
        let Ok(message) = request.into_body().collect().await else {
            return Ok(status(StatusCode::BAD_REQUEST));
        };
        // Nobody may be listening.
        let _ = topic.send(message.to_bytes());
        return Ok(status(StatusCode::NO_CONTENT));
    }
    if !upgrade::is_upgrade_request(&request) {
        return Ok(status(StatusCode::OK));
    }
    let Ok((response, socket)) = upgrade::upgrade(&mut request) else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    // Subscribed before the answer leaves, so that nothing is missed after it.
    let all = topics.all.subscribe();
    let tag = if tagged {
        topics.tag.subscribe()
    } else {
        broadcast::channel(1).1
    };
    tokio::spawn(async move {
        let _ = push(socket, all, tag).await;
    });
    Ok(response)
}

fn status(status: StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}

async fn push(
    socket: upgrade::UpgradeFut,
    mut all: Receiver<Bytes>,
    mut tag: Receiver<Bytes>,
) -> Result<(), WebSocketError> {
    let mut socket = socket.await?;
    loop {
        let message = tokio::select! {
            message = all.recv() => message,
            Ok(message) = tag.recv() => Ok(message),
            frame = socket.read_frame() => match frame?.opcode {
                OpCode::Close => return Ok(()),
                _ => continue,
            },
        };
        match message {
            Ok(message) => {
                socket
                    .write_frame(Frame::text(Payload::Borrowed(&message)))
                    .await?
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}
