//! The reactors hold sockets for other services, too: a circle is to them what a gateway is, without an address of its
//! own, so nobody can find it, post to it or list it.

use bytes::{Bytes, BytesMut};
use pilvi_model::{AccountId, Error};
use pilvi_web::circles::{Circle, Circles, Farewell, Pushing};
use pilvi_web::{Refusal, Upgrade};

use crate::frame;
use crate::hub::Share;
use crate::mws::Mws;
use crate::reactor::socket::{Newcomer, Ticket};
use crate::reactor::transport::Transport;
use crate::roster::{Connected, Receivers};
use crate::session;
use crate::socket_id::SocketId;

impl Circles for Mws {
    fn frame(&self, text: &str) -> Bytes {
        frame::text(text)
    }

    fn sockets_max(&self, account: AccountId) -> Pushing<'_, usize> {
        Box::pin(self.sockets_max_of(account))
    }

    fn join(
        &self,
        upgrade: Upgrade,
        circle: Circle,
        sockets_max: usize,
        first: &[Bytes],
    ) -> Result<(), Box<(Upgrade, Refusal)>> {
        let refused = |upgrade, error: Error| {
            self.counters.refused.add(1);
            Err(Box::new((upgrade, Refusal::from(error))))
        };
        let Some(berth) = self.hub.berth() else {
            let full = Error::unavailable("there are too many web sockets; try again soon");
            return refused(upgrade, full);
        };
        let share = Share {
            account: circle.account,
            most: sockets_max,
        };
        let Ok(seat) = berth.seat(circle.id, share) else {
            let full = Error::over_limit(
                "the account has as many web sockets as its quota gives it; close some first",
            );
            return refused(upgrade, full);
        };
        let ticket = Ticket {
            gateway: circle.id,
            connected: Connected {
                id: SocketId::random(),
                tags: Vec::new(),
                connected_at: self.clock.now().into(),
            },
            claim: None,
            inbound: None,
        };
        let socket = upgrade.accept();
        let mut head = BytesMut::with_capacity(
            socket.head.len() + first.iter().map(Bytes::len).sum::<usize>(),
        );
        head.extend_from_slice(&socket.head);
        first.iter().for_each(|frame| head.extend_from_slice(frame));
        match socket.stream.into_parts() {
            Ok((stream, tls)) => self.hub.join(Newcomer {
                transport: Transport::new(stream, tls),
                head: head.freeze(),
                read_ahead: socket.read_ahead,
                seat,
                ticket: Ok(ticket),
                permit: Some(socket.permit),
            }),
            Err(error) => tracing::error!(%error, "a connection could not be handed over"),
        }
        Ok(())
    }

    fn push(&self, circle: Circle, frame: Bytes) -> Pushing<'_, ()> {
        Box::pin(async move {
            let everyone = Receivers {
                everyone: true,
                ..Receivers::default()
            };
            self.hub.publish(circle.id, everyone, frame).await?;
            Ok(())
        })
    }

    fn end(&self, circle: Circle, Farewell { code, reason }: Farewell) {
        self.hub
            .end_all(circle.id, &session::Farewell::new(code, reason));
    }

    fn len(&self, circle: Circle) -> usize {
        self.hub.sockets_of(circle.id)
    }
}
