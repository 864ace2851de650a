//! What hyper makes of bytes that the head filter has passed on: the second reader that the filter is there to agree
//! with.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;

/// A request as hyper hands it to a service.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// `None` when it broke off.
    pub(crate) body: Option<Bytes>,
}

/// All requests that hyper finds on a connection that carries these bytes and then ends.
pub(crate) fn read(bytes: Vec<u8>) -> Vec<Seen> {
    // hyper gives way to other tasks now and then; a connection that never ends is a fault of its own.
    let polls_max = 1000 + bytes.len();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .serve_connection(
            Wire { bytes, sent: 0 },
            service_fn({
                let seen = seen.clone();
                move |request| take(request, seen.clone())
            }),
        );
    let mut connection = pin!(connection);
    let mut context = Context::from_waker(Waker::noop());
    let ended = (0..polls_max).any(|_| connection.as_mut().poll(&mut context).is_ready());
    assert!(ended, "hyper came to no end");
    seen.take()
}

async fn take(
    request: Request<Incoming>,
    seen: Rc<RefCell<Vec<Seen>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.ok();
    seen.borrow_mut().push(Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: body.map(|body| body.to_bytes()),
    });
    Ok(Response::new(Empty::new()))
}

/// A connection whose other side has said everything and reads everything.
struct Wire {
    bytes: Vec<u8>,
    sent: usize,
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let here = into.remaining().min(self.bytes.len() - self.sent);
        into.put_slice(&self.bytes[self.sent..self.sent + here]);
        self.sent += here;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyper_is_asked_in_earnest() {
        let stream =
            b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nA: 1\r\n\r\n";
        let seen = read(stream.to_vec());
        assert_eq!(seen.len(), 2);
        assert_eq!(
            (seen[0].method.as_str(), seen[0].target.as_str()),
            ("POST", "/a")
        );
        assert_eq!(seen[0].body.as_deref(), Some(b"hi".as_slice()));
        assert_eq!(seen[1].headers["a"], "1");
        assert!(read(b"GET /{ HTTP/1.1\r\nb@d: 1\r\n\r\n".to_vec()).is_empty());
        assert_eq!(
            read(b"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx".to_vec())[0].body,
            None
        );
    }
}
