//! What a service leaves unread of a request's body.
//!
//! A connection can serve another request only behind the end of this one's body. So a small rest is read and thrown
//! away, and where that does not work the reply says that the connection ends with it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// More than this is not read to keep a connection.
const REST_BYTES_MAX: u64 = 64 << 10;
/// Nor is it waited for longer than this.
const REST_TIME_MAX: Duration = Duration::from_millis(500);

/// Where the rest of one request's body ends up.
pub(crate) struct Leftover<B> {
    rest: Shared<B>,
    /// The client sends nothing before it is told to.
    is_held_back: bool,
}

type Shared<B> = Arc<Mutex<Rest<B>>>;

enum Rest<B> {
    /// The body was read to its end, or is still being read.
    None,
    Unread(B),
    /// The body broke off.
    Broken,
}

/// A body that comes back when whoever reads it stops before its end.
pub(crate) struct Lent<B: Body> {
    body: Option<B>,
    rest: Shared<B>,
}

/// Lends a body to a service.
pub(crate) fn lend<B: Body>(body: B, headers: &HeaderMap) -> (Lent<B>, Leftover<B>) {
    let rest = Arc::new(Mutex::new(Rest::None));
    let lent = Lent {
        body: Some(body),
        rest: rest.clone(),
    };
    let is_held_back = headers.contains_key(EXPECT);
    (lent, Leftover { rest, is_held_back })
}

impl<B: Body<Data = Bytes> + Unpin> Leftover<B> {
    /// Clears the way for the next request, or says in the reply that there is none.
    pub(crate) async fn settle<T>(self, response: &mut Response<T>) {
        if response.headers().contains_key(CONNECTION) {
            return;
        }
        let rest = std::mem::replace(&mut *lock(&self.rest), Rest::None);
        let is_over = match rest {
            Rest::None => true,
            Rest::Unread(body) => !self.is_held_back && drain(body).await,
            Rest::Broken => false,
        };
        if !is_over {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
}

/// Reads the rest, if it is small and comes soon.
async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: B) -> bool {
    if body.size_hint().lower() > REST_BYTES_MAX {
        return false;
    }
    let reading = async {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return false;
            };
            read += frame.data_ref().map_or(0, Buf::remaining) as u64;
            if read > REST_BYTES_MAX {
                return false;
            }
        }
        true
    };
    let read = tokio::time::timeout(REST_TIME_MAX, reading).await;
    read.unwrap_or(false)
}

/// A plain mutex: held for one move.
fn lock<B>(rest: &Shared<B>) -> std::sync::MutexGuard<'_, Rest<B>> {
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                self.body = None;
                *lock(&self.rest) = Rest::Broken;
            }
            None => self.body = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B: Body> Drop for Lent<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *lock(&self.rest) = Rest::Unread(body);
        }
    }
}
