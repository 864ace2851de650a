//! The request of a passage, on its way to the app.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::BoxError;
use crate::framing::{Framing, is_trailer_name};

/// A head and a body that comes in pieces.
pub(super) struct Upload<B> {
    /// For the app, from `sent` on. Begins with the head, and is kept as long as it may be sent again.
    out: BytesMut,
    sent: usize,
    /// All that was sent so far is still in `out`.
    whole: bool,
    body: Pin<Box<B>>,
    /// How much of a body of known length is still to come; `None` for one that goes in chunks.
    left: Option<u64>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Body,
    /// All of it is in `out`.
    Rest,
    Sent,
    /// The app takes no more of it. It may have answered nevertheless.
    Refused,
}

/// The client gave up, or sent another length than it had announced.
pub(super) struct Broken;

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(head: BytesMut, framing: Framing, body: B) -> Self {
        Self {
            out: head,
            sent: 0,
            whole: true,
            left: match framing {
                Framing::Length(length) => Some(length),
                _ => None,
            },
            state: match framing {
                Framing::Length(0) => State::Rest,
                _ => State::Body,
            },
            body: Box::pin(body),
        }
    }

    /// Begins again, on another connection.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        if self.state != State::Body {
            self.state = State::Rest;
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether it is the client that has to go on.
    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Body && self.sent == self.out.len()
    }

    pub(super) fn is_sent(&self) -> bool {
        self.state == State::Sent
    }

    /// Sends as much as goes: how many bytes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, to: &mut TcpStream) -> Result<u64, Broken> {
        let mut moved = 0;
        while matches!(self.state, State::Body | State::Rest) {
            while self.sent < self.out.len() {
                match Pin::new(&mut *to).poll_write(cx, &self.out[self.sent..]) {
                    Poll::Ready(Ok(sent)) if sent > 0 => {
                        self.sent += sent;
                        moved += sent as u64;
                    }
                    Poll::Ready(_) => {
                        self.state = State::Refused;
                        return Ok(moved);
                    }
                    Poll::Pending => return Ok(moved),
                }
            }
            if self.state == State::Rest {
                self.state = State::Sent;
                break;
            }
            match self.body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.out.clear();
                    self.sent = 0;
                    self.whole = false;
                    match frame.into_data() {
                        Ok(data) => self.take_data(&data)?,
                        Err(frame) => self.finish(frame.into_trailers().ok().as_ref())?,
                    }
                }
                Poll::Ready(None) => {
                    self.out.clear();
                    self.sent = 0;
                    self.whole = false;
                    self.finish(None)?;
                }
                Poll::Ready(Some(Err(_))) => return Err(Broken),
                Poll::Pending => return Ok(moved),
            }
        }
        Ok(moved)
    }

    fn take_data(&mut self, data: &Bytes) -> Result<(), Broken> {
        match &mut self.left {
            Some(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Broken)?;
                self.out.extend_from_slice(data);
            }
            // An empty chunk would end the body.
            None if data.is_empty() => {}
            None => {
                self.out
                    .extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                self.out.extend_from_slice(data);
                self.out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Broken> {
        self.state = State::Rest;
        if let Some(left) = self.left {
            return if left == 0 { Ok(()) } else { Err(Broken) };
        }
        self.out.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            if is_trailer_name(name.as_str().as_bytes()) {
                for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    self.out.extend_from_slice(piece);
                }
            }
        }
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }
}
