//! Event streams: the body of a reply that goes on, as browsers' `EventSource` reads it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

/// What may wait for one stream; who reads more slowly is disconnected and comes back with the last id.
const WAITING_MAX: usize = 1024;
const WAITING_BYTES_MAX: usize = 4 << 20;

/// After so long without a message a comment is sent, so that a connection that is gone is noticed, and that what
/// stands between does not cut it.
const HEARTBEAT: Duration = Duration::from_secs(20);
const COMMENT: &[u8] = b": still here\n\n";

/// The writing end of a stream.
#[derive(Debug)]
pub(super) struct EventSender {
    queue: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl EventSender {
    /// Adds an event. False: the reader is gone, or reads too slowly and is given up.
    pub(super) fn send(&self, event: Bytes) -> bool {
        let bytes = event.len();
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        waiting <= WAITING_BYTES_MAX.max(bytes) && self.queue.try_send(event).is_ok()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct EventBody {
    first: VecDeque<Bytes>,
    queue: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
}

/// A stream that begins with these events.
pub(super) fn channel(first: impl IntoIterator<Item = Bytes>) -> (EventSender, EventBody) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let body = EventBody {
        first: first.into_iter().collect(),
        queue: receiver,
        waiting: Arc::clone(&waiting),
    };
    let sender = EventSender {
        queue: sender,
        waiting,
    };
    (sender, body)
}

impl EventBody {
    /// The next piece; `None`: the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.next_within(HEARTBEAT).await
    }

    async fn next_within(&mut self, heartbeat: Duration) -> Option<Bytes> {
        if let Some(event) = self.first.pop_front() {
            return Some(event);
        }
        match tokio::time::timeout(heartbeat, self.queue.recv()).await {
            Ok(event) => event.inspect(|event| {
                self.waiting.fetch_sub(event.len(), Ordering::Relaxed);
            }),
            Err(_) => Some(Bytes::from_static(COMMENT)),
        }
    }

    /// As the body of a reply.
    pub(crate) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, async |mut body| {
            let piece = body.next().await?;
            Some((Ok::<_, Infallible>(piece), body))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_begins_with_what_it_is_given_and_ends_with_its_sender() {
        let (sender, mut body) = channel([Bytes::from_static(b"first")]);
        assert!(sender.send(Bytes::from_static(b"second")));
        drop(sender);
        let mut pieces = Vec::new();
        while let Some(piece) = body.next().await {
            pieces.push(piece);
        }
        assert_eq!(pieces, [&b"first"[..], b"second"]);
    }

    #[tokio::test]
    async fn who_reads_too_slowly_is_given_up_by_number_and_by_bytes() {
        let (sender, _body) = channel([]);
        let sent = (0..).take_while(|_| sender.send(Bytes::from_static(b"x")));
        assert_eq!(sent.count(), WAITING_MAX);

        let (sender, mut body) = channel([]);
        let large = Bytes::from(vec![b'x'; WAITING_BYTES_MAX / 2]);
        assert!(sender.send(large.clone()) && sender.send(large.clone()));
        assert!(!sender.send(large.clone()));
        let (sender, _) = (channel([]).0, body.next().await);
        assert!(!sender.send(large), "nobody reads it");
    }

    #[tokio::test]
    async fn a_quiet_stream_says_that_it_is_there() {
        let (_sender, mut body) = channel([]);
        assert_eq!(body.next_within(Duration::ZERO).await.unwrap(), COMMENT);
    }
}
