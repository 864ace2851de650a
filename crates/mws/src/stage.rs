//! A hub with reactors that a test turns itself, at whatever time it says, and clients on real connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use pilvi_base::Clock;
use pilvi_model::{GatewayId, Timestamp};
use tokio::runtime::Runtime;

use crate::counters::{Counters, Counts};
use crate::frame;
use crate::hub::{Berth, Hub, Share};
use crate::limits::Limits;
use crate::peer::{Frame, Input, client_frame};
use crate::presence::Presence;
use crate::reactor::Reactor;
use crate::reactor::socket::{Newcomer, Ticket};
use crate::reactor::transport::Transport;
use crate::reservation::Reservations;
use crate::roster::{Connected, Receivers};
use crate::session::Farewell;
use crate::socket_id::SocketId;

const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// How long anything here may really take.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Stage {
    pub(crate) hub: Hub,
    pub(crate) reactors: Vec<Reactor>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) reservations: Reservations,
    pub(crate) runtime: Runtime,
    pub(crate) now: Instant,
    counters: Arc<Counters>,
    listener: TcpListener,
}

/// A client's end of a connection.
pub(crate) struct Client {
    pub(crate) id: SocketId,
    pub(crate) stream: TcpStream,
    input: Input,
}

/// Two ends of a connection, and what goes with the server's one.
pub(crate) struct Arriving {
    pub(crate) newcomer: Newcomer,
    pub(crate) client: Client,
}

impl Stage {
    /// One reactor.
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with_reactors(1, limits)
    }

    pub(crate) fn with_reactors(reactors: usize, mut limits: Limits) -> Self {
        limits.reactors = reactors;
        let limits = Arc::new(limits);
        let counters = Arc::new(Counters::default());
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let presence = Presence::default();
        let (hub, reactors) =
            Hub::with_reactors(Arc::clone(&limits), &counters, clock.clone(), &presence).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        Self {
            hub,
            reactors,
            reservations: Reservations::new(clock, Arc::clone(&limits)),
            limits,
            runtime: runtime.unwrap(),
            now: Instant::now(),
            counters,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    /// Has every reactor look once at what there is.
    pub(crate) fn turn(&mut self) {
        for reactor in &mut self.reactors {
            reactor.look(Some(Duration::ZERO)).unwrap();
            reactor.turn(self.now);
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn();
    }

    /// Turns until `done`.
    pub(crate) fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < DEADLINE, "this takes too long");
            self.turn();
            std::thread::yield_now();
        }
    }

    pub(crate) fn join(&mut self, gateway: GatewayId, tags: &[&str]) -> Client {
        let Arriving { newcomer, client } = self.arrive(gateway, tags);
        self.hub.join(newcomer);
        self.opened(client)
    }

    /// Waits until a client has seen its handshake answered.
    pub(crate) fn opened(&mut self, mut client: Client) -> Client {
        let mut head = Vec::new();
        self.until(|_| {
            let mut byte = [0];
            while head.len() < HEAD.len() && client.stream.read(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            head.len() == HEAD.len()
        });
        assert_eq!(head, HEAD);
        client
    }

    /// A connection with a reservation, not yet given to its reactor.
    pub(crate) fn arrive(&self, gateway: GatewayId, tags: &[&str]) -> Arriving {
        let tags: Vec<Arc<str>> = tags.iter().map(|tag| Arc::from(*tag)).collect();
        let made = self
            .reservations
            .reserve(gateway, Share::boundless(), tags.clone())
            .unwrap();
        let ticket = Ticket {
            gateway,
            connected: Connected {
                id: made.id,
                tags,
                connected_at: Timestamp::from_millis(0),
            },
            claim: self.reservations.claim(made.id),
            inbound: None,
        };
        let berth = self.hub.berth().unwrap();
        let seat = berth
            .seat(gateway, Share::boundless())
            .expect("there is room");
        self.arriving(made.id, |transport| Newcomer {
            transport,
            head: Bytes::from_static(HEAD),
            read_ahead: Bytes::new(),
            seat,
            ticket: Ok(ticket),
            permit: None,
        })
    }

    pub(crate) fn turn_away(&mut self, farewell: Farewell) -> Client {
        let seat = self.hub.berth().map(Berth::seat_without_gateway).unwrap();
        let Arriving { newcomer, client } =
            self.arriving(SocketId::random(), |transport| Newcomer {
                transport,
                head: Bytes::from_static(HEAD),
                read_ahead: Bytes::new(),
                seat,
                ticket: Err(farewell),
                permit: None,
            });
        self.hub.join(newcomer);
        self.opened(client)
    }

    fn arriving(&self, id: SocketId, newcomer: impl FnOnce(Transport) -> Newcomer) -> Arriving {
        let stream = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = self.listener.accept().unwrap();
        for end in [&stream, &accepted] {
            end.set_nonblocking(true).unwrap();
            end.set_nodelay(true).unwrap();
        }
        let client = Client {
            id,
            stream,
            input: Input::default(),
        };
        Arriving {
            newcomer: newcomer(Transport::new(accepted, None)),
            client,
        }
    }

    pub(crate) fn publish(&self, gateway: GatewayId, to: &Receivers, text: &str) {
        let accepted = self.hub.publish(gateway, to.clone(), frame::text(text));
        self.runtime.block_on(accepted).unwrap();
    }

    pub(crate) fn broadcast(&self, text: &str) {
        self.publish(ours(), &everyone(), text);
    }

    /// The next frame to a client; `None` when the server ended the connection between two.
    pub(crate) fn receive(&mut self, client: &mut Client) -> Option<Frame> {
        let mut outcome = None;
        self.until(|_| {
            outcome = client.poll();
            outcome.is_some()
        });
        outcome.flatten()
    }

    /// What a question to the reactors is answered.
    pub(crate) fn ask<T: Send + 'static>(
        &mut self,
        question: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let question = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(question)
        });
        self.until(|_| question.is_finished());
        question.join().unwrap()
    }

    pub(crate) fn listed(&mut self, gateway: GatewayId) -> Vec<SocketId> {
        let hub = self.hub.clone();
        let page = self.ask(async move { hub.page(gateway, 0, 1000).await });
        page.unwrap().iter().map(|socket| socket.id).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counters.read(self.hub.sockets())
    }

    pub(crate) fn waiting_bytes(&self) -> u64 {
        let reactors = self.hub.reactors();
        reactors.iter().map(|reactor| reactor.waiting_bytes).sum()
    }
}

impl Client {
    /// The next frame, or the end, if it is here.
    pub(crate) fn poll(&mut self) -> Option<Option<Frame>> {
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(frame) = self.input.next() {
                return Some(Some(frame));
            }
            match self.stream.read(&mut buffer) {
                Ok(count @ 1..) => self.input.add(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Ok(0) | Err(_) => {
                    assert!(self.input.is_empty(), "the connection ended in a frame");
                    return Some(None);
                }
            }
        }
    }

    /// The next frame, or the end, without another turn: it has been sent and needs only to arrive.
    pub(crate) fn hear(&mut self) -> Option<Frame> {
        let start = Instant::now();
        loop {
            if let Some(heard) = self.poll() {
                return heard;
            }
            assert!(start.elapsed() < DEADLINE, "it was not sent in this turn");
            std::thread::yield_now();
        }
    }

    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_raw(&client_frame(opcode, payload));
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }
}

/// The gateway that a test is about when it needs only one.
pub(crate) fn ours() -> GatewayId {
    GatewayId::from_bytes([1; 12])
}

pub(crate) fn everyone() -> Receivers {
    Receivers {
        everyone: true,
        ..Receivers::default()
    }
}

pub(crate) fn to_tags(tags: &[&str]) -> Receivers {
    Receivers {
        tags: tags.iter().map(ToString::to_string).collect(),
        ..Receivers::default()
    }
}

pub(crate) fn to_sockets(sockets: &[SocketId]) -> Receivers {
    Receivers {
        sockets: sockets.to_vec(),
        ..Receivers::default()
    }
}
