//! From an upgrade to a connected socket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pilvi_web::{Sockets, Upgrade};

use crate::hub::Seat;
use crate::mws::Mws;
use crate::outbox::Farewell;
use crate::reservation::Claim;
use crate::roster::Connected;
use crate::session::End;
use crate::socket::Connection;
use crate::socket_id::SocketId;

/// A socket that receives already while its handshake is still under way.
///
/// The order of the fields is that of their end: the seat is left before the URI can be opened again, so that
/// the hub never holds two sockets of one id.
struct Seated {
    seat: Seat,
    claim: Claim,
}

impl Sockets for Mws {
    /// Takes an upgrade on any path; only its query's `token` counts (`mws.md` §6).
    fn open(&self, upgrade: Upgrade) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mws = self.clone();
        Box::pin(async move { mws.open_socket(upgrade).await })
    }
}

impl Mws {
    /// The handshake succeeds in any case: old clients crash on a refused one. A token that is no good shows
    /// in the close frame right after it.
    async fn open_socket(&self, upgrade: Upgrade) {
        // Seated before the answer goes out: who has seen the 101 gets every message posted after it.
        let seated = self.take_seat(upgrade.params.get("token"));
        let socket = match upgrade.accept().await {
            Ok(socket) => socket,
            // The claim is dropped with `seated` and the URI can be opened again.
            Err(error) => {
                tracing::debug!(%error, "the peer went away during the handshake");
                return;
            }
        };
        let limits = Arc::clone(&self.limits);
        let connection = match seated {
            Ok(Seated { seat, claim }) => {
                claim.confirm();
                self.counters.opened.add(1);
                Connection::seated(socket.stream, &socket.read_ahead, seat, limits)
            }
            Err(farewell) => {
                self.counters.refused.add(1);
                Connection::turned_away(socket.stream, farewell, limits)
            }
        };
        let counters = Arc::clone(&self.counters);
        self.tasks.spawn("mws socket", async move {
            match connection.run().await {
                End::Silent => counters.silent.add(1),
                End::Broken => counters.violations.add(1),
                End::Closed | End::Expired | End::Lost => {}
            }
        });
    }

    fn take_seat(&self, token: Option<&str>) -> Result<Seated, Farewell> {
        let claim = token
            .and_then(SocketId::parse)
            .and_then(|id| self.reservations.claim(id))
            .ok_or(Farewell::NORMAL)?;
        let reservation = claim.reservation();
        let socket = Connected {
            id: reservation.id,
            tags: reservation.tags.clone(),
            connected_at: self.clock.now().into(),
        };
        let seat = self.hub.join(reservation.gateway, socket);
        seat.map(|seat| Seated { seat, claim })
            .map_err(|_| Farewell::FULL)
    }
}
