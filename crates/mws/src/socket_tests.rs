//! One end of a pipe is served, the other is the peer. Time stands still unless everybody waits.

use std::time::Duration;

use pilvi_model::{GatewayId, Timestamp};
use tokio::io::{AsyncReadExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::task::JoinHandle;

use super::*;
use crate::frame;
use crate::hub::Hub;
use crate::peer::{self, Frame, Peer};
use crate::roster::{Connected, Receivers};
use crate::socket_id::SocketId;

const GATEWAY: [u8; 12] = [1; 12];

struct Stage {
    hub: Hub,
    limits: Arc<Limits>,
    tasks: Vec<JoinHandle<End>>,
}

type PipePeer = Peer<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

impl Stage {
    fn new(limits: Limits) -> Self {
        let limits = Arc::new(limits);
        Self {
            hub: Hub::new(limits.clone(), Arc::default()),
            limits,
            tasks: Vec::new(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    fn start(&mut self, connection: Connection<DuplexStream>) {
        self.tasks.push(tokio::spawn(connection.run()));
    }

    /// Connects a peer over a pipe that holds `buffered` bytes.
    fn join(&mut self, buffered: usize) -> PipePeer {
        let (ours, theirs) = duplex(buffered);
        let socket = Connected {
            id: SocketId::random(),
            tags: vec![],
            connected_at: Timestamp::from_millis(0),
        };
        let seat = self
            .hub
            .join(GatewayId::from_bytes(GATEWAY), socket)
            .unwrap();
        self.start(Connection::seated(ours, b"", seat, self.limits.clone()));
        let (read, write) = split(theirs);
        Peer::new(read, write)
    }

    fn publish(&self, text: &str) -> usize {
        let everyone = Receivers {
            everyone: true,
            ..Receivers::default()
        };
        let gateway = GatewayId::from_bytes(GATEWAY);
        self.hub.publish(gateway, &everyone, &frame::text(text))
    }

    async fn ends(self) -> Vec<End> {
        let mut ends = Vec::new();
        for task in self.tasks {
            ends.push(task.await.unwrap());
        }
        ends
    }
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_order_and_a_close_is_answered() {
    let mut stage = Stage::new(Limits::default());
    let mut peer = stage.join(1 << 16);
    for number in 0..200 {
        assert_eq!(stage.publish(&number.to_string()), 1);
    }
    for number in 0..200 {
        assert_eq!(peer.receive().await, Some(Frame::text(&number.to_string())));
    }
    peer.send(peer::TEXT, b"nobody reads this").await;
    peer.send(peer::PING, b"Ping.").await;
    assert_eq!(peer.receive().await, Some(Frame::new(peer::PONG, b"Ping.")));
    peer.send(peer::CLOSE, b"\x03\xE9").await;
    assert_eq!(peer.receive().await, Some(Frame::close(1001, "")));
    assert_eq!(peer.receive().await, None);
    assert_eq!(stage.publish("late"), 0);
    assert_eq!(stage.ends().await, [End::Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_pipe_arrives_whole() {
    let mut stage = Stage::new(Limits::default());
    let mut peer = stage.join(100);
    let large = "x".repeat(1 << 20);
    stage.publish(&large);
    stage.publish("small");
    assert_eq!(peer.receive().await, Some(Frame::text(&large)));
    assert_eq!(peer.receive().await, Some(Frame::text("small")));
}

#[tokio::test(start_paused = true)]
async fn pings_come_every_45_seconds_and_a_silent_peer_is_dropped() {
    let mut stage = Stage::new(Limits::default());
    let mut peer = stage.join(1 << 16);
    let start = Instant::now();
    assert_eq!(peer.receive().await, Some(Frame::new(peer::PING, b"1")));
    assert_eq!(start.elapsed().as_secs(), 45);
    peer.send(peer::PONG, b"1").await;
    for count in [&b"2"[..], b"3"] {
        assert_eq!(peer.receive().await, Some(Frame::new(peer::PING, count)));
    }
    assert_eq!(peer.receive().await, None);
    assert_eq!(start.elapsed().as_secs(), 180);
    assert_eq!(stage.hub.sockets(), 0);
    assert_eq!(stage.ends().await, [End::Silent]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_dropped_and_the_others_do_not_wait() {
    let mut stage = Stage::new(Limits {
        queue_messages_max: 50,
        batch_messages_max: 1,
        ..Limits::default()
    });
    let mut slow = stage.join(64);
    let mut quick = stage.join(64);
    let mut dropped_at = None;
    for number in 0..200 {
        let reached = stage.publish(&number.to_string());
        if reached == 1 {
            dropped_at.get_or_insert(number);
        }
        let received = quick.receive().await;
        assert_eq!(received, Some(Frame::text(&number.to_string())));
    }
    let dropped_at = dropped_at.expect("the slow reader is dropped");
    assert!(
        dropped_at >= 50,
        "not before its queue is full: {dropped_at}"
    );
    assert_eq!(
        stage.hub.page(GatewayId::from_bytes(GATEWAY), 0, 9).len(),
        1
    );

    // It gets what had left already, whole frames only, and then the reason.
    let mut next = 0;
    let last = loop {
        let frame = slow.receive().await.expect("there is a close frame");
        if frame != Frame::text(&next.to_string()) {
            break frame;
        }
        next += 1;
    };
    assert_eq!(last, Frame::close(1013, "reading too slowly"));
    assert!(next < 50, "what waited is gone");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_is_cut_when_patience_ends() {
    let mut stage = Stage::new(Limits {
        queue_messages_max: 1,
        batch_messages_max: 1,
        ..Limits::default()
    });
    let _stalled = stage.join(16);
    let start = Instant::now();
    while stage.publish(&"x".repeat(100)) == 1 {
        tokio::task::yield_now().await;
    }
    let patience = stage.limits.close_patience;
    assert_eq!(stage.ends().await, [End::Expired]);
    assert_eq!(start.elapsed().as_secs(), patience.as_secs());
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_learns_it_after_the_handshake() {
    let mut stage = Stage::new(Limits::default());
    let (ours, theirs) = duplex(1024);
    stage.start(Connection::turned_away(
        ours,
        Farewell::NORMAL,
        stage.limits.clone(),
    ));
    let (read, write) = split(theirs);
    let mut peer = Peer::new(read, write);
    assert_eq!(peer.receive().await, Some(Frame::close(1000, "")));
    peer.send(peer::CLOSE, b"\x03\xE8").await;
    assert_eq!(peer.receive().await, None);
    assert_eq!(stage.ends().await, [End::Closed]);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_sends_what_waits_and_says_goodbye() {
    let mut stage = Stage::new(Limits::default());
    let mut polite = stage.join(1024);
    let mut rude = stage.join(1024);
    stage.publish("last");
    stage.hub.close();
    for peer in [&mut polite, &mut rude] {
        assert_eq!(peer.receive().await, Some(Frame::text("last")));
        assert_eq!(peer.receive().await, Some(Frame::close(1001, "going away")));
    }
    polite.send(peer::CLOSE, b"\x03\xE9").await;
    let start = Instant::now();
    let patience = stage.limits.close_patience;
    assert_eq!(stage.ends().await, [End::Closed, End::Expired]);
    assert!(start.elapsed() <= patience + Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_the_protocol_is_told_even_if_it_goes_on_sending() {
    let mut stage = Stage::new(Limits::default());
    let mut peer = stage.join(1 << 16);
    peer.send_raw(&[0x81, 0x01, b'a']).await;
    peer.send_raw(&[0; 5_000]).await;
    assert_eq!(
        peer.receive().await,
        Some(Frame::close(1002, "a client must mask"))
    );
    assert_eq!(peer.receive().await, None);
    drop(peer);
    assert_eq!(stage.ends().await, [End::Broken]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_off_leaves_the_hub() {
    let mut stage = Stage::new(Limits::default());
    let peer = stage.join(1024);
    assert_eq!(stage.hub.sockets(), 1);
    drop(peer);
    let hub = stage.hub.clone();
    assert_eq!(stage.ends().await, [End::Lost]);
    assert_eq!(hub.sockets(), 0);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_came_with_the_handshake_are_read_first() {
    let stage = Stage::new(Limits::default());
    let (ours, mut theirs) = duplex(1024);
    let socket = Connected {
        id: SocketId::random(),
        tags: vec![],
        connected_at: Timestamp::from_millis(0),
    };
    let seat = stage
        .hub
        .join(GatewayId::from_bytes(GATEWAY), socket)
        .unwrap();
    let ahead = peer::client_frame(peer::CLOSE, b"\x03\xE8");
    let connection = Connection::seated(ours, &ahead, seat, stage.limits.clone());
    assert_eq!(connection.run().await, End::Closed);
    let mut sent = Vec::new();
    theirs.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, frame::close(1000, ""));
}

#[test]
fn the_task_of_an_idle_socket_is_small() {
    fn task_bytes<F>(_: impl FnOnce(Connection<pilvi_web::Stream>) -> F) -> usize {
        size_of::<F>()
    }
    assert!(task_bytes(Connection::run) <= 512);
}
