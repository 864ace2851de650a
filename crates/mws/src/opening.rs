//! From an upgrade to a connected socket.

use std::future::Future;
use std::pin::Pin;

use pilvi_model::Error;
use pilvi_web::{Sockets, Upgrade};

use crate::hub::{Berth, Seat};
use crate::mws::Mws;
use crate::reactor::socket::{Newcomer, Ticket};
use crate::reactor::transport::Transport;
use crate::reservation::Claim;
use crate::roster::Connected;
use crate::session::Farewell;
use crate::socket_id::SocketId;

impl Sockets for Mws {
    /// Takes an upgrade on any path; only its query's `token` counts (`mws.md` §6).
    fn open(&self, upgrade: Upgrade) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mws = self.clone();
        Box::pin(async move { mws.open_socket(upgrade).await })
    }
}

impl Mws {
    /// The handshake succeeds in nearly any case: old clients crash on a refused one. A token that is no good shows in
    /// the close frame right after it. When descriptors run out, even that one more would be too much, and so it is
    /// for an address that has come with too many of those.
    async fn open_socket(&self, upgrade: Upgrade) {
        let Some(berth) = self.hub.berth() else {
            self.counters.refused.add(1);
            let full = Error::unavailable("there are too many web sockets; try again soon");
            return upgrade.refuse(full.into()).await;
        };
        let token = upgrade.params.get("token").and_then(SocketId::parse);
        let claim = token.and_then(|id| self.reservations.claim(id));
        if claim.is_none()
            && let Some(rates) = &self.rates
            && rates.take_guess(upgrade.arrival.peer.ip()).is_err()
        {
            self.counters.refused.add(1);
            drop(berth);
            let guessed = Error::over_limit(
                "too many web sockets were opened from your address with tokens that are not valid; \
                 try again in a second",
            );
            return upgrade.refuse(guessed.into()).await;
        }
        let (seat, ticket) = self.take_seat(berth, claim);
        let socket = upgrade.accept();
        // If this fails, the ticket is dropped with its claim and the URI can be opened again.
        match socket.stream.into_parts() {
            Ok((stream, tls)) => self.hub.join(Newcomer {
                transport: Transport::new(stream, tls),
                head: socket.head,
                read_ahead: socket.read_ahead,
                seat,
                ticket,
                permit: Some(socket.permit),
            }),
            Err(error) => tracing::error!(%error, "a connection could not be handed over"),
        }
    }

    fn take_seat(&self, berth: Berth, claim: Option<Claim>) -> (Seat, Result<Ticket, Farewell>) {
        let Some(claim) = claim else {
            return self.turn_away(berth, Farewell::NORMAL);
        };
        let reservation = claim.reservation();
        let gateway = reservation.gateway;
        let connected = Connected {
            id: reservation.id,
            tags: reservation.tags.clone(),
            connected_at: self.clock.now().into(),
        };
        match berth.seat(gateway, reservation.share) {
            Ok(seat) => {
                let ticket = Ticket {
                    gateway,
                    connected,
                    claim: Some(claim),
                };
                (seat, Ok(ticket))
            }
            Err(berth) => self.turn_away(berth, Farewell::FULL),
        }
    }

    fn turn_away(&self, berth: Berth, farewell: Farewell) -> (Seat, Result<Ticket, Farewell>) {
        self.counters.refused.add(1);
        (berth.seat_without_gateway(), Err(farewell))
    }
}
