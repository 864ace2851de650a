//! What waits to be sent to one socket: bounded, shared with whoever publishes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;

use crate::limits::Limits;

/// Why the server ends a socket, as the close frame says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Farewell {
    /// The token was no good, or somebody deleted the socket.
    pub(crate) const NORMAL: Self = Self::new(1000, "");
    pub(crate) const GOING_AWAY: Self = Self::new(1001, "going away");
    /// What waited for the socket outgrew its bound and is lost: connect anew and catch up.
    pub(crate) const SLOW_READER: Self = Self::new(1013, "reading too slowly");
    pub(crate) const FULL: Self = Self::new(1013, "too many sockets");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

/// Whether a socket could take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Queued,
    /// The bound is passed: everything that waited is gone and the socket has its farewell.
    Overflowed,
    /// The socket was told to end before.
    Ended,
}

/// The queue of one socket.
///
/// A plain mutex: it is held for a push or for moving one batch, and by at most two parties.
#[derive(Debug)]
pub(crate) struct Outbox {
    messages_max: usize,
    bytes_max: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    farewell: Option<Farewell>,
    /// The socket's task, while it has nothing to do.
    waker: Option<Waker>,
}

impl Outbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
            queue: Mutex::default(),
        }
    }

    /// Adds a framed message and wakes the socket.
    pub(crate) fn push(&self, frame: Bytes) -> Delivery {
        let mut queue = self.lock();
        if queue.farewell.is_some() {
            return Delivery::Ended;
        }
        let bytes = queue.bytes + frame.len();
        let delivery = if queue.waiting.len() < self.messages_max && bytes <= self.bytes_max {
            queue.bytes = bytes;
            queue.waiting.push_back(frame);
            Delivery::Queued
        } else {
            queue.waiting = VecDeque::new();
            queue.bytes = 0;
            queue.farewell = Some(Farewell::SLOW_READER);
            Delivery::Overflowed
        };
        wake(queue);
        delivery
    }

    /// Tells the socket to end once what waits has been sent. The first farewell holds.
    pub(crate) fn end(&self, farewell: Farewell) {
        let mut queue = self.lock();
        queue.farewell.get_or_insert(farewell);
        wake(queue);
    }

    /// The farewell, if there is one. Otherwise `cx` is woken by the next push or end.
    pub(crate) fn poll_farewell(&self, cx: &Context<'_>) -> Option<Farewell> {
        let mut queue = self.lock();
        if !queue
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            queue.waker = Some(cx.waker().clone());
        }
        queue.farewell
    }

    /// Moves the next messages to the end of `batch`: at least one if any waits, otherwise as many as fit.
    pub(crate) fn take_batch(
        &self,
        batch: &mut VecDeque<Bytes>,
        messages_max: usize,
        bytes_max: usize,
    ) {
        let mut queue = self.lock();
        let mut size = 0;
        for _ in 0..messages_max {
            let Some(next) = queue.waiting.front() else {
                break;
            };
            size += next.len();
            if size > bytes_max && size > next.len() {
                break;
            }
            queue.bytes -= next.len();
            let next = queue.waiting.pop_front().expect("it was just looked at");
            batch.push_back(next);
        }
        if queue.waiting.is_empty() {
            // An idle socket keeps no buffer.
            queue.waiting = VecDeque::new();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes after the lock is released, so that the woken task does not run into it.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(messages_max: usize, bytes_max: usize) -> Outbox {
        Outbox::new(&Limits {
            queue_messages_max: messages_max,
            queue_bytes_max: bytes_max,
            ..Limits::default()
        })
    }

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn take(outbox: &Outbox, messages_max: usize, bytes_max: usize) -> Vec<Bytes> {
        let mut batch = VecDeque::new();
        outbox.take_batch(&mut batch, messages_max, bytes_max);
        batch.into()
    }

    fn farewell(outbox: &Outbox) -> Option<Farewell> {
        outbox.poll_farewell(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn batches_keep_the_order_and_their_bounds() {
        let outbox = outbox(10, 100);
        for text in ["a", "bb", "ccc", "dddd"] {
            assert_eq!(outbox.push(frame(text)), Delivery::Queued);
        }
        assert_eq!(take(&outbox, 2, 100), ["a", "bb"]);
        assert_eq!(take(&outbox, 9, 5), ["ccc"]);
        assert_eq!(
            take(&outbox, 9, 1),
            ["dddd"],
            "one goes however large it is"
        );
        assert!(take(&outbox, 9, 1).is_empty());
    }

    #[test]
    fn too_many_messages_end_the_socket() {
        let outbox = outbox(2, 100);
        assert_eq!(outbox.push(frame("a")), Delivery::Queued);
        assert_eq!(outbox.push(frame("b")), Delivery::Queued);
        assert_eq!(farewell(&outbox), None);
        assert_eq!(outbox.push(frame("c")), Delivery::Overflowed);
        assert_eq!(outbox.push(frame("d")), Delivery::Ended);
        assert_eq!(farewell(&outbox), Some(Farewell::SLOW_READER));
        assert!(take(&outbox, 9, 100).is_empty(), "nothing is held for it");
    }

    #[test]
    fn too_many_bytes_end_the_socket_and_taken_ones_no_longer_count() {
        let outbox = outbox(100, 4);
        assert_eq!(outbox.push(frame("aaa")), Delivery::Queued);
        assert_eq!(take(&outbox, 9, 100).len(), 1);
        assert_eq!(outbox.push(frame("bbbb")), Delivery::Queued);
        assert_eq!(outbox.push(frame("c")), Delivery::Overflowed);
    }

    #[test]
    fn the_first_farewell_holds_and_leaves_what_waits() {
        let outbox = outbox(10, 100);
        outbox.push(frame("a"));
        outbox.end(Farewell::NORMAL);
        outbox.end(Farewell::GOING_AWAY);
        assert_eq!(farewell(&outbox), Some(Farewell::NORMAL));
        assert_eq!(take(&outbox, 9, 100), ["a"]);
    }
}
