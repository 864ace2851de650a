//! Event streams on real connections, on a reactor that the test turns at the time it says.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::dress::Format;
use crate::limits::Limits;
use crate::peer::Frame;
use crate::reactor::socket::Newcomer;
use crate::reactor::transport::Transport;
use crate::session::Farewell;
use crate::socket_id::SocketId;
use crate::stage::{Arriving, Stage, ours, to_sockets, to_tags};

/// Who reads events: over a connection of their own, or at the far end of a pair, as a stream of HTTP/2 does.
struct Listener<S> {
    id: SocketId,
    stream: S,
    input: Vec<u8>,
}

impl Listener<TcpStream> {
    fn join(stage: &mut Stage, tags: &[&str]) -> Self {
        let Arriving { newcomer, client } = stage.arrive(ours(), tags);
        stage.hub.join(speaking_events(newcomer));
        let client = stage.opened(client);
        Self::new(client.id, client.stream)
    }
}

impl Listener<UnixStream> {
    fn join_by_pair(stage: &mut Stage) -> Self {
        let Arriving { newcomer, client } = stage.arrive(ours(), &[]);
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        stage.hub.join(Newcomer {
            transport: Transport::new(near, None),
            head: ":\n\n".into(),
            ..speaking_events(newcomer)
        });
        let mut listener = Self::new(client.id, far);
        assert_eq!(listener.hear(stage).unwrap(), ":\n\n");
        listener
    }
}

fn speaking_events(newcomer: Newcomer) -> Newcomer {
    Newcomer {
        seat: newcomer.seat.in_format(Format::EventStream),
        ..newcomer
    }
}

impl<S: Read + Write> Listener<S> {
    fn new(id: SocketId, stream: S) -> Self {
        Self {
            id,
            stream,
            input: Vec::new(),
        }
    }

    /// The next block; `None` when the server ended the stream between two.
    fn hear(&mut self, stage: &mut Stage) -> Option<String> {
        let mut heard = None;
        stage.until(|_| {
            heard = self.poll();
            heard.is_some()
        });
        heard.flatten()
    }

    /// The next block, or the end, if it is here.
    fn poll(&mut self) -> Option<Option<String>> {
        let mut buffer = [0; 16 << 10];
        loop {
            let text = str::from_utf8(&self.input).unwrap();
            if let Some(end) = text.find("\n\n") {
                let block = text[..end + 2].to_owned();
                self.input.drain(..end + 2);
                return Some(Some(block));
            }
            match self.stream.read(&mut buffer) {
                Ok(count @ 1..) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Ok(0) | Err(_) => {
                    assert!(self.input.is_empty(), "the stream ended in a block");
                    return Some(None);
                }
            }
        }
    }

    /// The data of the next block, which is a message.
    fn message(&mut self, stage: &mut Stage) -> String {
        self.event(stage).1
    }

    /// The id and the data of the next block, which is a message.
    fn event(&mut self, stage: &mut Stage) -> (String, String) {
        let block = self.hear(stage).expect("the stream goes on");
        let (id, data) = block.split_once('\n').unwrap();
        let id = id.strip_prefix("id: ").unwrap();
        let data = data.strip_prefix("data: ").unwrap();
        (id.to_owned(), data.strip_suffix("\n\n").unwrap().to_owned())
    }

    fn must_end(&mut self, stage: &mut Stage, code: u16, reason: &str) {
        let last = format!("event: close\ndata: {{\"code\":{code},\"reason\":\"{reason}\"}}\n\n");
        assert_eq!(self.hear(stage), Some(last));
        assert_eq!(self.hear(stage), None);
    }
}

#[test]
fn listeners_and_sockets_get_the_same_messages_in_the_same_order() {
    let mut stage = Stage::new(Limits::default());
    let mut socket = stage.join(ours(), &["t"]);
    let mut listeners = [(); 2].map(|()| Listener::join(&mut stage, &["t"]));
    let mut far = Listener::join_by_pair(&mut stage);
    for round in 0..20 {
        for number in 0..10 {
            stage.broadcast(&format!("{round}-{number}"));
        }
        stage.publish(ours(), &to_tags(&["t"]), "tagged");
        stage.publish(ours(), &to_sockets(&[far.id]), "yours");
        stage.turn();
    }
    let mut ids = Vec::new();
    for round in 0..20 {
        for number in 0..10 {
            let text = format!("{round}-{number}");
            assert_eq!(stage.receive(&mut socket), Some(Frame::text(&text)));
            let (id, said) = far.event(&mut stage);
            assert_eq!(said, text);
            for listener in &mut listeners {
                assert_eq!(listener.event(&mut stage), (id.clone(), text.clone()));
            }
            ids.push(id);
        }
        assert_eq!(stage.receive(&mut socket), Some(Frame::text("tagged")));
        for listener in &mut listeners {
            assert_eq!(listener.message(&mut stage), "tagged");
        }
        assert_eq!(far.message(&mut stage), "yours");
    }
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    assert_eq!(stage.counts().deliveries, 20 * (10 * 4 + 3 + 1));
}

#[test]
fn a_listener_is_sent_comments_and_never_taken_for_silent() {
    let limits = Limits::default();
    let every = limits.comment_every;
    let mut stage = Stage::new(limits);
    let mut listener = Listener::join(&mut stage, &[]);
    // The first one of the first listener is not moved forward.
    stage.pass(every - Duration::from_secs(1));
    stage.turn();
    assert_eq!(listener.poll(), None);
    for _ in 0..20 {
        stage.pass(every + Duration::from_secs(1));
        assert_eq!(listener.hear(&mut stage), Some(":\n\n".to_owned()));
    }
    assert_eq!(listener.poll(), None);
    assert_eq!((stage.hub.sockets(), stage.counts().silent), (1, 0));
}

#[test]
fn what_a_listener_sends_is_dropped() {
    let mut stage = Stage::new(Limits::default());
    let mut listener = Listener::join(&mut stage, &[]);
    let noise = b"GET / HTTP/1.1\r\n\r\n\x88\x80".repeat(1000);
    listener.stream.write_all(&noise).unwrap();
    stage.turn();
    stage.broadcast("still here");
    assert_eq!(listener.message(&mut stage), "still here");
    assert_eq!(stage.counts().violations, 0);
}

#[test]
fn the_end_is_told_and_waits_for_nobody() {
    let mut stage = Stage::new(Limits::default());
    let mut deleted = Listener::join(&mut stage, &[]);
    let mut far = Listener::join_by_pair(&mut stage);
    stage.broadcast("last");
    let (hub, id) = (stage.hub.clone(), deleted.id);
    let ended = stage.ask(async move { hub.end(ours(), id, Farewell::NORMAL).await });
    assert!(ended.unwrap());
    assert_eq!(deleted.message(&mut stage), "last");
    deleted.must_end(&mut stage, 1000, "");
    assert_eq!(stage.hub.sockets(), 1, "and its seat is free");
    stage.hub.close();
    assert_eq!(far.message(&mut stage), "last");
    far.must_end(&mut stage, 1001, "going away");
    assert_eq!(stage.hub.sockets(), 0);
}

#[test]
fn who_is_turned_away_after_all_is_told_why() {
    let mut stage = Stage::new(Limits::default());
    let Arriving { newcomer, client } = stage.arrive(ours(), &[]);
    let Ok(ticket) = newcomer.ticket else {
        panic!("it has a ticket");
    };
    drop(ticket);
    stage.hub.join(speaking_events(Newcomer {
        ticket: Err(Farewell::new(1008, "not today")),
        ..newcomer
    }));
    let client = stage.opened(client);
    let mut listener = Listener::new(client.id, client.stream);
    listener.must_end(&mut stage, 1008, "not today");
}

#[test]
fn a_listener_who_leaves_is_out() {
    let mut stage = Stage::new(Limits::default());
    let listener = Listener::join(&mut stage, &[]);
    let far = Listener::join_by_pair(&mut stage);
    let both = [listener.id, far.id];
    assert_eq!(stage.listed(ours()), both);
    drop(listener);
    stage.until(|stage| stage.hub.sockets() == 1);
    assert_eq!(stage.listed(ours()), both[1..]);
    stage.broadcast("unread");
    stage.turn();
    drop(far);
    stage.until(|stage| stage.hub.sockets() == 0);
}

#[test]
fn a_slow_listener_gets_whole_events_and_the_reason_and_the_others_do_not_wait() {
    slow(|stage| Listener::join(stage, &["t"]));
    slow(Listener::join_by_pair);
}

fn slow<S: Read + Write>(join: impl FnOnce(&mut Stage) -> Listener<S>) {
    let mut stage = Stage::new(Limits {
        queue_messages_max: 50,
        ..Limits::default()
    });
    let mut slow = join(&mut stage);
    let mut quick = Listener::join(&mut stage, &[]);
    let padding = "x".repeat(30_000);
    let text = |number: u64| format!("{number} {padding}\n{padding}");
    let shown = |number: u64| format!("{number} {padding}\ndata: {padding}");
    let mut sent = 0;
    while stage.counts().slow_readers == 0 {
        stage.broadcast(&text(sent));
        assert_eq!(quick.message(&mut stage), shown(sent));
        sent += 1;
    }
    assert_eq!(stage.listed(ours()), [quick.id]);
    let rest_of_an_event = shown(sent).len() as u64 + 100;
    assert!(
        stage.waiting_bytes() < rest_of_an_event,
        "what waited is gone"
    );
    let mut received = 0;
    let last = loop {
        let block = slow.hear(&mut stage).expect("the reason comes first");
        if block.starts_with("event: close") {
            break block;
        }
        assert!(block.ends_with(&format!("data: {}\n\n", shown(received))));
        received += 1;
    };
    assert_eq!(
        last,
        "event: close\ndata: {\"code\":1013,\"reason\":\"reading too slowly\"}\n\n"
    );
    assert_eq!(slow.hear(&mut stage), None);
    assert!(received + 50 <= sent);
}

#[test]
fn a_listener_who_reads_nothing_is_not_waited_for_at_the_end() {
    let limits = Limits::default();
    let patience = limits.close_patience;
    let mut stage = Stage::new(limits);
    let _stalled = Listener::join(&mut stage, &[]);
    let padding = "x".repeat(60_000);
    while stage.waiting_bytes() == 0 {
        stage.broadcast(&padding);
        stage.turn();
    }
    stage.hub.close();
    stage.turn();
    assert_eq!(stage.hub.sockets(), 1);
    stage.pass(patience + Duration::from_secs(1));
    assert_eq!(stage.hub.sockets(), 0);
}
