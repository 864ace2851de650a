//! From an upgrade, or a request for an event stream, to a connected socket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use pilvi_model::Error;
use pilvi_web::{Arrival, EventStreamRequest, Params, Refusal, Sockets, Upgrade};

use crate::dress::{Dressed, Format};
use crate::events::{self, Caller};
use crate::extension;
use crate::frame;
use crate::hub::{Berth, Seat};
use crate::inbound::Inbound;
use crate::mws::Mws;
use crate::reactor::socket::{Newcomer, Ticket};
use crate::reactor::transport::Transport;
use crate::reservation::Claim;
use crate::roster::Connected;
use crate::session::Farewell;
use crate::settings::plan::Plan;
use crate::socket_id::SocketId;
use crate::sse;

impl Sockets for Mws {
    /// Takes an upgrade on any path; only its query's `token` counts (`mws.md` §6).
    fn open(&self, upgrade: Upgrade) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mws = self.clone();
        Box::pin(async move { mws.open_socket(upgrade).await })
    }

    /// The same for a request for an event stream.
    fn stream(&self, request: EventStreamRequest) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mws = self.clone();
        Box::pin(async move { mws.open_stream(request).await })
    }
}

impl Mws {
    /// The handshake succeeds in nearly any case: old clients crash on a refused one. A token that is no good shows in
    /// the close frame right after it. When descriptors run out, even that one more would be too much, and so it is
    /// for an address that has come with too many of those.
    async fn open_socket(&self, upgrade: Upgrade) {
        let (berth, claim) = match self.claim(&upgrade.params, &upgrade.arrival) {
            Ok(claimed) => claimed,
            Err(refusal) => return upgrade.refuse(refusal).await,
        };
        let (mut seat, ticket) = self.take_seat(berth, claim);
        let caller = Caller {
            transport: events::Transport::WebSocket,
            params: &upgrade.params,
            headers: &upgrade.headers,
            arrival: &upgrade.arrival,
        };
        let (ticket, greeting) = self.let_in(ticket, caller, Format::Plain).await;
        let (ticket, plan) = self.additions(ticket).await;
        let agreed = extension::agree(&upgrade.headers).filter(|_| plan.compression);
        if let Some(agreed) = &agreed {
            seat = seat.in_format(agreed.format);
        }
        let socket = upgrade.accept_with(agreed.as_ref().map(|agreed| &*agreed.answer));
        // If this fails, the ticket is dropped with its claim and the URI can be opened again.
        match socket.stream.into_parts() {
            Ok((stream, tls)) => {
                let newcomer = Newcomer {
                    transport: Transport::new(stream, tls),
                    head: [socket.head, greeting].concat().into(),
                    read_ahead: socket.read_ahead,
                    seat,
                    ticket,
                    permit: Some(socket.permit),
                };
                self.join(newcomer, &plan).await;
            }
            Err(error) => tracing::error!(%error, "a connection could not be handed over"),
        }
    }

    /// A listener to an event stream shows no close frame to anybody, so it learns at once what is wrong: whatever is
    /// not a stream ends its attempts to come back with the same token.
    async fn open_stream(&self, request: EventStreamRequest) {
        let (berth, claim) = match self.claim(&request.params, &request.arrival) {
            Ok(claimed) => claimed,
            Err(refusal) => return request.refuse(refusal).await,
        };
        let Some(claim) = claim else {
            self.counters.refused.add(1);
            drop(berth);
            return request.refuse(used_up()).await;
        };
        let (seat, ticket) = self.take_seat(berth, Some(claim));
        if ticket.as_ref().is_err_and(|why| *why == Farewell::FULL) {
            drop(seat);
            return request.refuse(too_many_sockets()).await;
        }
        let caller = Caller {
            transport: events::Transport::EventStream,
            params: &request.params,
            headers: &request.headers,
            arrival: &request.arrival,
        };
        let (ticket, greeting) = self.let_in(ticket, caller, Format::EventStream).await;
        // If anything fails from here on, the ticket is dropped with its claim and the URI can be opened again.
        let outlet = match request.accept() {
            Ok(outlet) => outlet,
            Err(error) => return tracing::error!(%error, "a connection could not be handed over"),
        };
        let transport = Transport::new(outlet.connection, outlet.tls);
        if let Err(error) = transport.give_up_after(self.limits.unacknowledged_max) {
            tracing::debug!(%error, "a listener's connection has no bound on its silence");
        }
        let (ticket, plan) = self.additions(ticket).await;
        let newcomer = Newcomer {
            transport,
            // The first line lets whoever passes the stream on, and the listener, see that it has begun.
            head: [outlet.head, sse::comment(), greeting].concat().into(),
            read_ahead: Bytes::new(),
            seat: seat.in_format(Format::EventStream),
            ticket,
            permit: Some(outlet.permit),
        };
        self.join(newcomer, &plan).await;
    }

    /// Gives a socket to its gateway. Whoever deletes it finds its claim until it is there, and then itself.
    async fn join(&self, newcomer: Newcomer, plan: &Plan) {
        let ticket = newcomer.ticket.as_ref().ok();
        let named = ticket.map(|ticket| (ticket.gateway, ticket.connected.id));
        self.hub.join_with(newcomer, plan);
        if let Some((gateway, id)) = named
            && self.reservations.joined(id)
        {
            // When the reactor ends, so does the socket.
            let _ = self.hub.end(gateway, id, Farewell::NORMAL).await;
        }
    }

    /// Room for a socket, and the reservation that its token names, if there is one. Who has come with too many tokens
    /// that are no good is refused.
    fn claim(&self, params: &Params, arrival: &Arrival) -> Result<(Berth, Option<Claim>), Refusal> {
        let Some(berth) = self.hub.berth() else {
            self.counters.refused.add(1);
            return Err(too_many_sockets());
        };
        let token = params.get("token").and_then(SocketId::parse);
        let claim = token.and_then(|id| self.reservations.claim(id));
        if claim.is_none()
            && let Some(rates) = &self.rates
            && rates.take_guess(arrival.peer.ip()).is_err()
        {
            self.counters.refused.add(1);
            let guessed = Error::over_limit(
                "too many web sockets were opened from your address with tokens that are not valid; \
                 try again in a second",
            );
            return Err(guessed.into());
        }
        Ok((berth, claim))
    }

    /// What the gateway of a socket does beyond the plain way of a message. One that cannot be asked does nothing: its
    /// sockets are as good without. One that was removed, which may be while its app was asked, has no sockets, and a
    /// socket that was deleted meanwhile is none.
    async fn additions(
        &self,
        ticket: Result<Ticket, Farewell>,
    ) -> (Result<Ticket, Farewell>, Arc<Plan>) {
        let Ok(mut ticket) = ticket else {
            return (ticket, Arc::default());
        };
        if let Some(claim) = ticket.claim.take_if(|claim| claim.is_deleted()) {
            self.counters.refused.add(1);
            claim.discard();
            return (Err(Farewell::NORMAL), Arc::default());
        }
        let plan = match self.plan_of(ticket.gateway).await {
            Ok(Some(plan)) => plan,
            Ok(None) => {
                self.counters.refused.add(1);
                if let Some(claim) = ticket.claim {
                    claim.discard();
                }
                return (Err(Farewell::GOING_AWAY), Arc::default());
            }
            Err(_) => Arc::default(),
        };
        (Ok(ticket), plan)
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
                    inbound: None,
                };
                (seat, Ok(ticket))
            }
            Err(berth) => self.turn_away(berth, Farewell::FULL),
        }
    }

    /// Asks the gateway's app about a socket that has a seat. Comes to what the socket gets first, too.
    async fn let_in(
        &self,
        ticket: Result<Ticket, Farewell>,
        caller: Caller<'_>,
        format: Format,
    ) -> (Result<Ticket, Farewell>, Bytes) {
        let mut ticket = match ticket {
            Ok(ticket) => ticket,
            Err(farewell) => return (Err(farewell), Bytes::new()),
        };
        let arriving = events::Arriving {
            gateway: ticket.gateway,
            connected: &ticket.connected,
            caller,
        };
        match self.events.admit(&arriving).await {
            Ok(admitted) => {
                ticket.inbound = admitted
                    .line
                    .map(|line| Box::new(Inbound::new(line, admitted.tells_messages)));
                if let Some(tags) = admitted.tags {
                    ticket.connected.tags = tags;
                }
                let greeting = admitted.greeting.map(|greeting| {
                    let frame = frame::message(greeting.kind, &greeting.bytes);
                    Dressed::framed(frame).in_format(format).clone()
                });
                (Ok(ticket), greeting.unwrap_or_default())
            }
            Err(farewell) => {
                self.counters.refused.add(1);
                // Who is refused has had its chance; who could not be asked about has not.
                if let Some(claim) = ticket.claim.filter(|_| farewell.is_refusal()) {
                    claim.discard();
                }
                (Err(farewell), Bytes::new())
            }
        }
    }

    fn turn_away(&self, berth: Berth, farewell: Farewell) -> (Seat, Result<Ticket, Farewell>) {
        self.counters.refused.add(1);
        (berth.seat_without_gateway(), Err(farewell))
    }
}

fn too_many_sockets() -> Refusal {
    Error::unavailable("there are too many web sockets; try again soon").into()
}

fn used_up() -> Refusal {
    let message = "the token in this address is not valid, has expired or has been used: each opens one socket or one \
                   event stream, within five minutes; ask for a new URI";
    Refusal::new(StatusCode::GONE, message).with_reason("Gone")
}
