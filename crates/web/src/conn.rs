//! One connection, from its first byte to its close.

use std::convert::Infallible;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::BytesMut;
use http::header::{ACCEPT, HOST};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pilvi_base::TaskGroup;
use pilvi_edge::After;
use pilvi_model::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::arrival::{Ends, Scope};
use crate::event_stream::{self, EventStreamRequest};
use crate::filter_io::{FilterIo, Next};
use crate::head::{Fault, UpgradeHead, carries_token, names_event_stream};
use crate::leftover::lend;
use crate::upgrade::Wire;
use crate::{Arrival, Door, Limits, Params, Permit, Refusal, Service, Stream, Upgrade};

/// Serves HTTP/1 until the client leaves, is refused, or becomes a WebSocket, which takes the permit along.
pub(crate) async fn serve_http1(
    door: Arc<Door>,
    permit: Permit,
    stream: Stream,
    ends: Ends,
    tasks: &TaskGroup,
) {
    let apps = match ends.scope {
        Scope::Everybody => door.apps.as_ref(),
        Scope::OwnNames => None,
    };
    // What waits for its first byte is small, so that thousands may come at once: a task is as large as the largest
    // part of it, so each part is boxed, and so is what goes from one to the next.
    let filtered = |stream| FilterIo::new(stream, door.limits.clone()).except(apps.cloned());
    let mut io = Box::new(filtered(stream));
    loop {
        let next = tokio::select! {
            next = io.next() => next,
            () = tasks.stopping() => Next::End,
        };
        match next {
            Next::Request => io = Box::pin(serve_requests(&door, io, ends, tasks)).await,
            Next::Upgrade | Next::EventStream => {
                return Box::pin(hand_over(&door, io, permit, next, ends)).await;
            }
            Next::App => {
                let (stream, read) = io.into_app();
                match Box::pin(serve_app(&door, stream, read, ends)).await {
                    After::Closed => return,
                    After::NotMine(stream, read) => {
                        io = Box::new(filtered(stream).resuming(read));
                    }
                }
                continue;
            }
            Next::End => break,
        }
        if !io.stopped() {
            break;
        }
    }
    let (mut stream, still_sending) = io.into_stream();
    let linger = if still_sending {
        door.limits.linger
    } else {
        Duration::ZERO
    };
    Box::pin(close(&mut stream, linger)).await;
}

/// Gives up the connection to whoever takes upgrades and event streams.
async fn hand_over(
    door: &Arc<Door>,
    io: Box<FilterIo<Stream>>,
    permit: Permit,
    next: Next,
    ends: Ends,
) {
    let Some((stream, head, read_ahead)) = io.into_upgrade() else {
        return;
    };
    let wire = Wire {
        stream,
        read_ahead,
        manners: door.manners(owner_of(&head)),
        write_timeout: door.limits.write_stall_timeout,
        linger: door.limits.linger,
        permit,
    };
    if next != Next::EventStream {
        return give_socket(door, wire, head, ends).await;
    }
    let UpgradeHead { target, headers } = head;
    let arrival = ends.arrival(None, &headers);
    let way = event_stream::Way::Http1(wire);
    let request = event_stream_request(door, target, headers, arrival, way);
    give_stream(door, request, ends).await;
}

/// Lets the router have the connection as long as requests on it are for apps.
async fn serve_app(door: &Door, stream: Stream, read: BytesMut, ends: Ends) -> After<Stream> {
    let ends = pilvi_edge::Ends {
        peer: ends.peer,
        local: ends.local,
        secure: ends.secure,
    };
    match &door.apps {
        Some(apps) => apps.edge.serve(stream, read, ends).await,
        None => After::Closed,
    }
}

/// Runs hyper over the connection until it has answered all requests up to the end or to an upgrade.
async fn serve_requests(
    door: &Arc<Door>,
    io: Box<FilterIo<Stream>>,
    ends: Ends,
    tasks: &TaskGroup,
) -> Box<FilterIo<Stream>> {
    let service = {
        let door = door.clone();
        service_fn(move |request| answer_filtered(door.clone(), request, ends))
    };
    let mut connection = http1::Builder::new()
        .title_case_headers(true)
        // A client that has shut down its sending side still gets its answer.
        .half_close(true)
        // The filter keeps the time.
        .header_read_timeout(None)
        .serve_connection(io, service);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = tasks.stopping() => None,
    };
    log_end(match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    });
    connection.into_parts().io
}

/// Serves HTTP/2 until the client leaves or has been idle for long.
pub(crate) async fn serve_http2(door: Arc<Door>, stream: Stream, ends: Ends, tasks: &TaskGroup) {
    let activity = Arc::new(Activity::default());
    let idle = door.limits.idle_timeout;
    let service = {
        let activity = activity.clone();
        service_fn(move |request| {
            let working = activity.begin();
            let better = better_by_http1(&request);
            let door = door.clone();
            // The answer's body is sent by the same task, which keeps the size of the larger of the two to its end. An
            // event stream has none in sight.
            Box::pin(async move {
                if better {
                    return Err(h2::Error::from(h2::Reason::HTTP_1_1_REQUIRED));
                }
                if is_for_stream(&door, &request) {
                    return stream_over_http2(&door, request, ends, working).await;
                }
                let response = answer(&door, request.map(Body::new), ends).await;
                drop(working);
                Ok(response)
            })
        })
    };
    let connection = http2::Builder::new(Spawner(tasks.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return log_end(ended),
        () = tasks.stopping() => {}
        () = activity.idle_for(idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    log_end(connection.await);
}

/// Whether the client is git. With the libcurl of Debian 12 (7.88), a push of more than a window's bytes over HTTP/2
/// now and then waits for its own next byte for ever. Told to, libcurl comes back with HTTP/1.1 without a word to
/// anybody.
fn better_by_http1(request: &Request<Incoming>) -> bool {
    let agent = request.headers().get(http::header::USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"git/"))
}

/// Answers a request that has passed the head filter, or the one it put in the place of a refused one.
async fn answer_filtered(
    door: Arc<Door>,
    mut request: Request<Incoming>,
    ends: Ends,
) -> Result<Response<Body>, Infallible> {
    if let Some(refusal) = Fault::read(request.headers_mut()) {
        request.extensions_mut().insert(refusal);
    }
    if request.body().is_end_stream() {
        return Ok(answer(&door, request.map(Body::new), ends).await);
    }
    let (head, body) = request.into_parts();
    let (body, leftover) = lend(body, &head.headers);
    let request = Request::from_parts(head, Body::new(body));
    let mut response = answer(&door, request, ends).await;
    leftover.settle(&mut response).await;
    Ok(response)
}

async fn answer(door: &Door, mut request: Request<Body>, ends: Ends) -> Response<Body> {
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let arrival = ends.arrival(authority, request.headers());
    if let Some(refusal) = out_of_scope(door, &arrival, ends)
        && request.extensions().get::<Refusal>().is_none()
    {
        request.extensions_mut().insert(refusal);
    }
    door.call(request, arrival).await
}

/// Why a request may not be asked where it came in, if so.
fn out_of_scope(door: &Door, arrival: &Arrival, ends: Ends) -> Option<Refusal> {
    let refused = ends.scope == Scope::OwnNames && !door.is_own(arrival);
    refused.then(|| {
        Refusal::new(
            http::StatusCode::NOT_FOUND,
            "inside a sandbox Pilvi answers only under its own names, such as that of its API; \
             other apps cannot be reached from here",
        )
    })
}

/// In whose words an upgrade is refused: a ticket is EDS's, everything else the gateway's.
fn owner_of(head: &UpgradeHead) -> Service {
    let query = head.target.split_once('?').map_or("", |(_, query)| query);
    match Params::decode(query, &head.headers).is_ticket() {
        true => Service::Eds,
        false => Service::Mws,
    }
}

/// Gives an upgrade to whoever takes WebSockets, or says why not.
async fn give_socket(door: &Door, wire: Wire, head: UpgradeHead, ends: Ends) {
    let UpgradeHead { target, headers } = head;
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let upgrade = Upgrade {
        params: Params::decode(query, &headers),
        arrival: ends.arrival(None, &headers),
        target,
        headers,
        wire,
    };
    let fault = out_of_scope(door, &upgrade.arrival, ends)
        .or_else(|| upgrade.fault())
        .or_else(|| no_room(&upgrade, &door.limits));
    match (fault, &door.sockets) {
        (Some(refusal), _) => upgrade.refuse(refusal).await,
        (None, Some(sockets)) => sockets.open(upgrade).await,
        (None, None) => upgrade.refuse(no_sockets()).await,
    }
}

fn no_sockets() -> Refusal {
    let message = "there are no web sockets at this address";
    Refusal::new(http::StatusCode::NOT_FOUND, message)
}

fn event_stream_request(
    door: &Door,
    target: String,
    headers: HeaderMap,
    arrival: Arrival,
    way: event_stream::Way,
) -> EventStreamRequest {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    EventStreamRequest {
        params: Params::decode(query, &headers),
        manners: door.manners(Service::Mws),
        target,
        headers,
        arrival,
        way,
    }
}

/// Gives a request for an event stream to whoever takes WebSockets, or says why not.
async fn give_stream(door: &Door, request: EventStreamRequest, ends: Ends) {
    let full = !request.has_room(door.limits.socket_files_max);
    let fault =
        out_of_scope(door, &request.arrival, ends).or_else(|| full.then(too_many_connections));
    match (fault, &door.sockets) {
        (Some(refusal), _) => request.refuse(refusal).await,
        (None, Some(sockets)) => sockets.stream(request).await,
        (None, None) => request.refuse(no_sockets()).await,
    }
}

/// The same question that the head filter asks of HTTP/1.
fn is_for_stream(door: &Door, request: &Request<Incoming>) -> bool {
    let accepted = request.headers().get_all(ACCEPT).iter();
    let mut accepted = accepted.map(|accept| names_event_stream(accept.as_bytes()));
    let target = request.uri().path_and_query();
    request.method() == Method::GET
        && accepted.any(|names| names)
        && target.is_some_and(|target| carries_token(target.as_str()))
        && !is_for_app(door, request)
}

fn is_for_app(door: &Door, request: &Request<Incoming>) -> bool {
    let host = request.uri().authority().map(|host| host.as_str());
    let host = host.or_else(|| request.headers().get(HOST)?.to_str().ok());
    match (&door.apps, host) {
        (Some(apps), Some(host)) => apps.own(host),
        _ => false,
    }
}

/// Answers with a body that whoever takes the stream writes to.
async fn stream_over_http2(
    door: &Door,
    request: Request<Incoming>,
    ends: Ends,
    working: Working,
) -> Result<Response<Body>, h2::Error> {
    let authority = request.uri().authority().map(|host| host.as_str());
    let arrival = ends.arrival(authority, request.headers());
    let target = request.uri().path_and_query();
    let target = target.map_or_else(String::new, ToString::to_string);
    let headers = request.headers().clone();
    let (answer, answered) = oneshot::channel();
    let permits = door.permit().zip(door.permit());
    let way = event_stream::Way::Http2(event_stream::Shared::new(answer, permits, working));
    let request = event_stream_request(door, target, headers, arrival, way);
    give_stream(door, request, ends).await;
    // Whoever took it may have broken down.
    answered
        .await
        .map_err(|_| h2::Reason::INTERNAL_ERROR.into())
}

/// Sockets stay for long, so they do not get the last of the descriptors.
fn no_room(upgrade: &Upgrade, limits: &Limits) -> Option<Refusal> {
    let full = upgrade.wire.stream.as_raw_fd() >= limits.socket_files_max;
    full.then(too_many_connections)
}

fn too_many_connections() -> Refusal {
    Error::unavailable("there are too many connections; try again soon").into()
}

/// Says goodbye. A client that is still sending gets `linger` to read our last words: a socket closed with unread
/// input resets, and the reset overtakes the reply.
pub(crate) async fn close(stream: &mut Stream, linger: Duration) {
    let farewell = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut ignored = [0; 4096];
        while matches!(stream.read(&mut ignored).await, Ok(read) if read > 0) {}
    };
    if linger.is_zero() {
        let _ = stream.shutdown().await;
    } else {
        let _ = tokio::time::timeout(linger, farewell).await;
    }
}

/// A connection that breaks is the client's business and worth a line only to whoever debugs one.
fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "a connection broke off"
        );
    }
}

/// Lets hyper start tasks in our group.
#[derive(Clone)]
struct Spawner(TaskGroup);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.spawn("http2 stream", future);
    }
}

/// Whether anything happens on an HTTP/2 connection.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    finished: AtomicU64,
}

pub(crate) struct Working(Arc<Activity>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, Ordering::Relaxed);
    }
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Working {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }

    /// Resolves when no request has begun for `period`, and none is under way. Late by up to one period, which
    /// costs less than a timer that every request moves.
    async fn idle_for(&self, period: Duration) {
        let mut seen = u64::MAX;
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            if begun == seen && begun == self.finished.load(Ordering::Relaxed) {
                return;
            }
            seen = begun;
            tokio::time::sleep(period).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_request_under_way_is_not_idle() {
        let activity = Arc::new(Activity::default());
        let period = Duration::from_secs(75);
        let working = activity.begin();
        let waited = tokio::time::timeout(10 * period, activity.idle_for(period)).await;
        assert!(waited.is_err());
        drop(working);
        let waited = tokio::time::timeout(2 * period, activity.idle_for(period)).await;
        assert!(waited.is_ok());
    }
}
