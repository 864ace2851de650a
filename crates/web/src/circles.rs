//! Circles: sockets that somebody holds for a service which only wants to say something to all of them at once.
//!
//! The gateway knows how to hold very many sockets at little cost, and services never use one another. So who has
//! sockets to push to asks for this, and whoever builds the server hands in who provides it.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use pilvi_model::{AccountId, GatewayId, Result};

use crate::{Refusal, Upgrade};

/// What a call resolves to.
pub type Pushing<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Which sockets are meant, and whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circle {
    /// Chosen at random by who pushes; nobody else knows it.
    pub id: GatewayId,
    pub account: AccountId,
}

/// Why the service ends its sockets, as the close frame says it (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    pub code: u16,
    pub reason: &'static str,
}

/// Who holds sockets for others. What clients send on them means nothing and is dropped; pings are answered and sent, a
/// peer that is gone is noticed, and one that reads too slowly is closed with 1013.
pub trait Circles: Send + Sync + 'static {
    /// A text as it goes over the wire, for any number of sockets.
    fn frame(&self, text: &str) -> Bytes;

    /// How many sockets the account may have, as [`Circles::join`] is to be told.
    fn sockets_max(&self, account: AccountId) -> Pushing<'_, usize>;

    /// Answers the handshake and takes the socket in. It is sent `first`, which are frames, and from then on everything
    /// that is pushed after this call.
    ///
    /// # Errors
    /// When there is no room, together with the upgrade that is to be refused.
    fn join(
        &self,
        upgrade: Upgrade,
        circle: Circle,
        sockets_max: usize,
        first: &[Bytes],
    ) -> std::result::Result<(), Box<(Upgrade, Refusal)>>;

    /// Sends a frame to all sockets of the circle. It waits while too many are on the way to them.
    fn push(&self, circle: Circle, frame: Bytes) -> Pushing<'_, ()>;

    /// Closes all sockets of the circle once what waits for them has been sent.
    fn end(&self, circle: Circle, farewell: Farewell);

    /// How many sockets the circle has.
    fn len(&self, circle: Circle) -> usize;

    /// Whether the circle has no sockets.
    fn is_empty(&self, circle: Circle) -> bool {
        self.len(circle) == 0
    }
}
