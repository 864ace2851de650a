//! A request that has already been taken apart, such as one over HTTP/2: it goes to the app as HTTP/1.1, and the
//! response comes back in parts.

mod draft;
mod passage;
mod upload;

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pilvi_base::secret::random_hex;

use crate::edge::{Edge, Ends};
use crate::trouble::Trouble;
use draft::Draft;
use passage::Passage;

/// Why a body broke off.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a response that was forwarded, or of an answer of the router's own.
pub struct ResponseBody(Kind);

enum Kind {
    Own(Option<Bytes>),
    Forwarded(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl Edge {
    /// Has a request answered by the app whose host it names. Answers itself when there is none.
    pub async fn forward<B>(&self, request: Request<B>, ends: Ends) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let html = wants_html(&parts.headers);
        let draft = match Draft::of(&parts, &body, ends) {
            Ok(draft) => draft,
            Err(trouble) => return own_answer(trouble, html, false, &random_hex::<16>()),
        };
        let (is_head, request_id) = (draft.asked.is_head, draft.note.request_id().to_owned());
        let shared = Arc::clone(self.shared());
        let passage = Passage::new(shared, draft, body, ends);
        match Box::pin(passage.begin()).await {
            Ok((head, passage)) => {
                Response::from_parts(head, ResponseBody(Kind::Forwarded(Box::pin(passage))))
            }
            Err(trouble) => own_answer(trouble, html, is_head, &request_id),
        }
    }

    /// The router's answer to a request for an app that was refused before it came here.
    pub fn refuse(
        &self,
        status: StatusCode,
        sentence: &str,
        headers: &HeaderMap,
        request_id: &str,
    ) -> Response<ResponseBody> {
        let trouble = Trouble {
            status: status.as_u16(),
            code: None,
            sentence: "",
        };
        let html = wants_html(headers);
        let (kind, body) = trouble.body_saying(sentence, html, request_id);
        assemble(trouble, kind, body, html, false, request_id)
    }
}

fn wants_html(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter();
    accepted.any(|value| memchr::memmem::find(value.as_bytes(), b"text/html").is_some())
}

fn own_answer(
    trouble: Trouble,
    html: bool,
    is_head: bool,
    request_id: &str,
) -> Response<ResponseBody> {
    let (kind, body) = trouble.body(html, request_id);
    assemble(trouble, kind, body, html, is_head, request_id)
}

fn assemble(
    trouble: Trouble,
    kind: &'static str,
    body: String,
    html: bool,
    is_head: bool,
    request_id: &str,
) -> Response<ResponseBody> {
    let length = body.len();
    let body = (!is_head).then(|| Bytes::from(body));
    let mut response = Response::new(ResponseBody(Kind::Own(body)));
    *response.status_mut() =
        StatusCode::from_u16(trouble.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    for (name, value) in trouble.extras(html) {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Own(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Kind::Forwarded(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(body) => body.is_none(),
            Kind::Forwarded(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Kind::Forwarded(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResponseBody")
    }
}
