//! The HTTP door: git's smart protocol, with a token as password.
//!
//! Two requests make a push or a fetch: what there is (`info/refs`), and then one exchange. Bodies are streamed both
//! ways. Refusals are plain text, which git shows to the person behind it.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use pilvi_base::Secret;
use pilvi_model::{Error, Kind};
use tokio::sync::mpsc;

use crate::conversation::{Conversation, Piece};
use crate::git::{Git, Manner, Service, Wish};
use crate::inflate::Inflate;
use crate::{Pusher, app_of_path};

/// The body of a reply: a text, or what git says while it says it.
pub struct ReplyBody {
    /// Goes out first.
    ready: VecDeque<Bytes>,
    rest: Option<mpsc::Receiver<Piece>>,
}

/// The version of the protocol that the client wants to speak.
const GIT_PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");

/// The longest question of a fetch: what is wanted and what is there already.
const QUESTION_MAX: u64 = 64 << 20;

/// How much of a push is read beyond its bound, so that its client comes to read why it is refused: as many times the
/// bound, and at least this.
const PATIENCE_FACTOR: u64 = 8;
const PATIENCE_MIN: u64 = 64 << 20;

type Reply = Response<ReplyBody>;

/// What a path asks for, behind `/git/`.
struct Target<'a> {
    app: &'a str,
    action: Action,
}

#[derive(Clone, Copy)]
enum Action {
    Advertise(Service),
    Exchange(Service),
}

impl Git {
    /// Answers one request, whose path is `<app>/info/refs`, `<app>/git-upload-pack` or `<app>/git-receive-pack`
    /// behind `prefix`. `peer` is where it came from.
    pub async fn answer<B>(&self, prefix: &str, peer: IpAddr, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.try_answer(prefix, peer, request)
            .await
            .unwrap_or_else(|refusal| *refusal)
    }

    async fn try_answer<B>(
        &self,
        prefix: &str,
        peer: IpAddr,
        request: Request<B>,
    ) -> Result<Reply, Box<Reply>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (parts, body) = request.into_parts();
        let target = read_target(prefix, &parts.method, &parts.uri)?;
        let who = (self.recognise(&parts.headers).await?, peer.to_canonical());
        match target.action {
            Action::Advertise(service) => {
                let wish = wish(&target, service, Manner::Advertisement, who, &parts.headers);
                let conversation = self.begin(wish).await.map_err(|error| refuse(&error))?;
                advertise(service, &parts.headers, conversation).await
            }
            Action::Exchange(service) => {
                let inflate = check_exchange(service, &parts.headers)?;
                let wish = wish(&target, service, Manner::Exchange, who, &parts.headers);
                let conversation = self.begin(wish).await.map_err(|error| refuse(&error))?;
                let bytes_max = match service {
                    Service::Upload => QUESTION_MAX,
                    Service::Receive => {
                        let most = self.shared.limits.push_bytes_max;
                        most.saturating_mul(PATIENCE_FACTOR).max(PATIENCE_MIN)
                    }
                };
                exchange(service, conversation, body, inflate, bytes_max).await
            }
        }
    }

    async fn recognise(&self, headers: &HeaderMap) -> Result<Pusher, Box<Reply>> {
        let Some(token) = token(headers) else {
            return Err(unauthorized(
                "Give a personal access token, or a token of the account or the app, as the password. \
                 Any user name will do.",
            ));
        };
        let holder = self.shared.gatekeeper.token_holder(token);
        match holder.await.map_err(|error| refuse(&error))? {
            Some(pusher) => Ok(pusher),
            None => Err(unauthorized("This token is not valid, or not any more.")),
        }
    }
}

fn read_target<'a>(
    prefix: &str,
    method: &Method,
    uri: &'a http::Uri,
) -> Result<Target<'a>, Box<Reply>> {
    let nothing = || {
        text(
            StatusCode::NOT_FOUND,
            "There is no repository at this address.",
        )
    };
    let path = uri.path().strip_prefix(prefix).ok_or_else(nothing)?;
    let (app, rest) = path
        .trim_start_matches('/')
        .split_once('/')
        .ok_or_else(nothing)?;
    let app = app_of_path(app).ok_or_else(nothing)?;
    let action = match (rest, Service::named(rest)) {
        ("info/refs", _) => Action::Advertise(advertised(uri.query())?),
        (_, Some(service)) => Action::Exchange(service),
        _ => return Err(nothing()),
    };
    let expected = match action {
        Action::Advertise(_) => Method::GET,
        Action::Exchange(_) => Method::POST,
    };
    if *method != expected {
        let message = format!("This address takes only {expected}.");
        return Err(text(StatusCode::METHOD_NOT_ALLOWED, &message));
    }
    Ok(Target { app, action })
}

/// Which service the client asks about.
fn advertised(query: Option<&str>) -> Result<Service, Box<Reply>> {
    let parameters = query.unwrap_or_default().split('&');
    let name = parameters
        .filter_map(|parameter| parameter.strip_prefix("service="))
        .next_back();
    name.and_then(Service::named).ok_or_else(|| {
        text(
            StatusCode::FORBIDDEN,
            "Only git's smart HTTP protocol is spoken here, which git has known since version 1.6.6.",
        )
    })
}

/// The token out of `Authorization`: the password of any user, or the user's name where there is no password.
fn token(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Secret::new(rest.trim()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = STANDARD.decode(rest.trim()).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (user, password) = pair.split_once(':')?;
    let token = if password.is_empty() { user } else { password };
    (!token.is_empty()).then(|| Secret::new(token))
}

fn wish<'a>(
    target: &Target<'a>,
    service: Service,
    manner: Manner,
    (pusher, peer): (Pusher, IpAddr),
    headers: &'a HeaderMap,
) -> Wish<'a> {
    Wish {
        service,
        manner,
        app: target.app,
        pusher,
        peer,
        protocol: protocol(service, headers),
    }
}

/// What the client says of the protocol. Pushes have no second version.
fn protocol(service: Service, headers: &HeaderMap) -> Option<&str> {
    let protocol = headers.get(GIT_PROTOCOL)?.to_str().ok()?;
    (service == Service::Upload).then_some(protocol)
}

/// How the body is to be read.
fn check_exchange(service: Service, headers: &HeaderMap) -> Result<Inflate, Box<Reply>> {
    let expected = format!("application/x-{}-request", service.name());
    if headers
        .get(CONTENT_TYPE)
        .is_none_or(|kind| kind != expected.as_str())
    {
        let message = format!("The body must be of the type {expected}.");
        return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message));
    }
    let encoding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    match encoding {
        None | Some(b"identity") => Ok(Inflate::Plain),
        Some(b"gzip" | b"x-gzip") => Ok(Inflate::gzip()),
        Some(_) => Err(text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body may be compressed with gzip, and with nothing else.",
        )),
    }
}

async fn advertise(
    service: Service,
    headers: &HeaderMap,
    conversation: Conversation,
) -> Result<Reply, Box<Reply>> {
    drop(conversation.input);
    let mut body = ReplyBody {
        ready: VecDeque::new(),
        rest: Some(conversation.output),
    };
    let is_second = protocol(service, headers)
        .is_some_and(|protocol| protocol.split(':').any(|word| word == "version=2"));
    if !is_second {
        let line = format!("# service={}\n", service.name());
        let packet = format!("{:04x}{line}0000", line.len() + 4);
        body.ready.push_back(packet.into());
    }
    body.first().await?;
    Ok(reply(
        &format!("application/x-{}-advertisement", service.name()),
        body,
    ))
}

/// Carries the request to git, and only then begins with the reply: no client need read while it writes. What git
/// says until then is little, and waits.
async fn exchange<B>(
    service: Service,
    conversation: Conversation,
    mut request: B,
    mut inflate: Inflate,
    bytes_max: u64,
) -> Result<Reply, Box<Reply>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Conversation { input, output } = conversation;
    let mut sent = 0;
    let mut is_listening = true;
    while let Some(frame) = request.frame().await {
        let broken = |_| text(StatusCode::BAD_REQUEST, "The request's body broke off.");
        let Ok(piece) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        for part in inflate.parts(&piece) {
            let part = inflate.open(part).map_err(|_| not_gzip())?;
            sent += part.len() as u64;
            if sent > bytes_max {
                let message = "This is more than the server takes at once. Push in smaller parts.";
                return Err(text(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            // Git may have heard enough; the client is read on until it comes to read in its turn.
            is_listening = is_listening && (part.is_empty() || input.send(part).await.is_ok());
        }
    }
    let last = inflate.finish().map_err(|_| not_gzip())?;
    if !last.is_empty() {
        let _ = input.send(last).await;
    }
    drop(input);
    let mut body = ReplyBody {
        ready: VecDeque::new(),
        rest: Some(output),
    };
    body.first().await?;
    Ok(reply(
        &format!("application/x-{}-result", service.name()),
        body,
    ))
}

fn not_gzip() -> Box<Reply> {
    text(
        StatusCode::BAD_REQUEST,
        "The body is not what its Content-Encoding says.",
    )
}

impl ReplyBody {
    /// Waits for git's first words. Git that fails without any is a fault of ours.
    async fn first(&mut self) -> Result<(), Box<Reply>> {
        let Some(rest) = &mut self.rest else {
            return Ok(());
        };
        let mut complaints = Vec::new();
        loop {
            match rest.recv().await {
                Some(Piece::Output(bytes)) => {
                    self.ready.push_back(bytes);
                    return Ok(());
                }
                Some(Piece::Complaint(bytes)) => {
                    let room = 4096_usize.saturating_sub(complaints.len());
                    complaints.extend(&bytes[..bytes.len().min(room)]);
                }
                Some(Piece::Exit(0)) => {
                    self.rest = None;
                    return Ok(());
                }
                Some(Piece::Exit(_)) | None => {
                    let complaint = String::from_utf8_lossy(&complaints).into_owned();
                    let error = Error::internal(format!("git failed: {complaint}"));
                    return Err(refuse(&error));
                }
            }
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(rest) = &mut self.rest else {
                return Poll::Ready(None);
            };
            match ready!(rest.poll_recv(cx)) {
                Some(Piece::Output(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Piece::Complaint(bytes)) => {
                    tracing::debug!(complaint = %String::from_utf8_lossy(&bytes), "git complains");
                }
                // What went wrong, git has said in its own protocol.
                Some(Piece::Exit(_)) | None => self.rest = None,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_none()
    }
}

fn reply(kind: &str, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    let headers = reply.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(CONTENT_TYPE, kind);
    }
    let never = HeaderValue::from_static("no-cache, max-age=0, must-revalidate");
    headers.insert(CACHE_CONTROL, never);
    reply
}

/// A reply in words, which git shows when it is plain text.
fn text(status: StatusCode, message: &str) -> Box<Reply> {
    let body = ReplyBody {
        ready: [Bytes::from(format!("{message}\n"))].into(),
        rest: None,
    };
    let mut reply = reply("text/plain; charset=utf-8", body);
    *reply.status_mut() = status;
    Box::new(reply)
}

fn unauthorized(message: &str) -> Box<Reply> {
    let mut reply = text(StatusCode::UNAUTHORIZED, message);
    let challenge = HeaderValue::from_static("Basic realm=\"Pilvi\", charset=\"UTF-8\"");
    reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    reply
}

fn refuse(error: &Error) -> Box<Reply> {
    let status = match error.kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Unauthenticated => return unauthorized(&error.message),
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::OverLimit => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::BadRequest | Kind::Invalid | Kind::Conflict => StatusCode::BAD_REQUEST,
        Kind::Internal => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(cause, "git over HTTP failed through a fault of ours");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    text(status, &error.message)
}
