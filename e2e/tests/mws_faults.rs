//! Clients and publishers that are up to no good, or just unlucky: others are not delayed by them, memory stays
//! bounded, and what they held is given back.
//!
//! In each test somebody stands by (`Bystander`), on a gateway of their own, and measures how long a message takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pilvi_e2e::api::{Gateway, text};
use pilvi_e2e::echo::Echo;
use pilvi_e2e::http::{Connection, Request};
use pilvi_e2e::lost::Lost;
use pilvi_e2e::receiver::Receiver;
use pilvi_e2e::server::Server;
use pilvi_e2e::socket::{FIN, Heard, PING, Socket, TEXT, client_frame};
use pilvi_e2e::{shape, wait};
use serde_json::json;

/// The longest that a bystander's message may take: two cores run a test suite beside it, without optimisation.
const LATENCY_MAX: Duration = Duration::from_secs(5);
/// What a server may grow by while somebody does their worst, in KiB: the bound of one socket's queue many times over,
/// and far below what is thrown at it.
const GROWTH_KIB_MAX: u64 = 160 << 10;
/// How long until something bounded must have happened.
const WITHIN: Duration = Duration::from_secs(60);

const KIB: usize = 1 << 10;

#[track_caller]
fn publish(gateway: &Gateway, data: &str) {
    let body = json!({"data": data, "receivers": {"sockets": ["*"]}});
    let request = Request::post(gateway.path("messages")).json(&body);
    gateway.send_as_admin(request).must_be(201);
}

#[track_caller]
fn connected(gateway: &Gateway) -> usize {
    let list = Request::get(gateway.path("sockets?limit=1000"));
    shape::results(&gateway.send_as_admin(list).must_be(200)).len()
}

#[track_caller]
fn wait_for_sockets(gateway: &Gateway, count: usize) {
    let what = format!("{count} sockets to be left");
    wait::until(&what, WITHIN, || {
        (connected(gateway) == count).then_some(())
    });
}

/// Somebody on a gateway of their own who says and hears something, over and over.
struct Bystander {
    over: SyncSender<()>,
    rounds: JoinHandle<(u32, Duration)>,
}

impl Bystander {
    #[track_caller]
    fn start(server: &Server) -> Self {
        let gateway = server.cloud().create_gateway("bystander");
        let mut socket = gateway.connect();
        let (over, told) = sync_channel(1);
        let rounds = thread::spawn(move || {
            let (mut rounds, mut longest) = (0, Duration::ZERO);
            // A few times in a second: enough to meet whatever lasts, and no load.
            while told.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                let began = Instant::now();
                let data = format!("round {rounds}");
                publish(&gateway, &data);
                assert_eq!(socket.hear(), Heard::Text(data));
                longest = longest.max(began.elapsed());
                rounds += 1;
            }
            socket.close();
            (rounds, longest)
        });
        Self { over, rounds }
    }

    /// Expects that every message came, and in time.
    #[track_caller]
    fn was_not_disturbed(self) {
        drop(self.over);
        let (rounds, longest) = self.rounds.join().expect("the bystander hears everything");
        assert!(rounds > 0, "nothing was tried");
        assert!(longest < LATENCY_MAX, "a message took {longest:?}");
    }
}

/// How much a server has grown since.
struct Growth<'a> {
    server: &'a Server,
    before: u64,
}

impl<'a> Growth<'a> {
    fn of(server: &'a Server) -> Self {
        Self {
            server,
            before: server.resident_kib(),
        }
    }

    #[track_caller]
    fn must_be_bounded(&self) {
        let now = self.server.resident_kib();
        let grown = now.saturating_sub(self.before);
        assert!(grown < GROWTH_KIB_MAX, "from {} to {now} KiB", self.before);
    }
}

#[test]
fn a_reader_that_stalls_is_let_go_and_the_others_hear_everything() {
    const MESSAGES: usize = 60;
    let server = Server::demo();
    let gateway = server.gateway();
    let mut stalled: Vec<_> = (0..5).map(|_| gateway.connect()).collect();
    let mut readers: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    let (bystander, growth) = (Bystander::start(&server), Growth::of(&server));
    let padding = "x".repeat(512 * KIB);
    for number in 0..MESSAGES {
        let data = format!("{number} {padding}");
        publish(&gateway, &data);
        for reader in &mut readers {
            assert_eq!(reader.hear(), Heard::Text(data.clone()));
        }
        growth.must_be_bounded();
    }
    wait_for_sockets(&gateway, readers.len());
    bystander.was_not_disturbed();
    // What had begun to leave is whole; then the goodbye, unless even that could not leave in time.
    let mut last = stalled.pop().expect("there are some");
    let mut expected = 0;
    while let Some(data) = heard_or_cut(&mut last) {
        let number = data
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok());
        assert_eq!(number, Some(expected), "a message is missing in between");
        expected += 1;
    }
    assert!(expected < MESSAGES);
    server.stop();
}

/// The next text; none at the end, whatever it looks like.
fn heard_or_cut(socket: &mut Socket) -> Option<String> {
    let heard = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| socket.hear()));
    match heard {
        Ok(Heard::Text(text)) => Some(text),
        Ok(Heard::Closed(code)) => {
            assert_eq!(code, 1013);
            None
        }
        // The connection ended in the middle of a frame.
        Err(_) => None,
    }
}

#[test]
fn a_peer_that_is_gone_without_a_word_is_let_go() {
    let server = Server::demo();
    let gateway = server.gateway();
    let (gone, mut reader) = (gateway.connect(), gateway.connect());
    let Some(lost) = Lost::peer(gone.local_address()) else {
        return;
    };
    let (bystander, growth) = (Bystander::start(&server), Growth::of(&server));
    let padding = "x".repeat(512 * KIB);
    // Nobody acknowledges anything: what the kernel takes is little, and what waits has a bound.
    let mut published = 0;
    wait::until("the peer to be let go", WITHIN, || {
        let data = format!("{published} {padding}");
        publish(&gateway, &data);
        assert_eq!(reader.hear(), Heard::Text(data));
        published += 1;
        (connected(&gateway) == 1).then_some(())
    });
    growth.must_be_bounded();
    bystander.was_not_disturbed();
    drop((lost, gone));
    reader.close();
    server.stop();
}

/// A silent peer is found out by two pings without an answer, which takes more than two minutes.
#[test]
fn a_silent_peer_that_is_gone_is_found_out() {
    if !asked_for("PILVI_SILENT_PEER") {
        return;
    }
    let server = Server::demo();
    let gateway = server.gateway();
    let gone = gateway.connect();
    let Some(lost) = Lost::peer(gone.local_address()) else {
        return;
    };
    assert_eq!(connected(&gateway), 1);
    let three_pings = Duration::from_secs(3 * 45 + 15);
    wait::until("the peer to be found out", three_pings, || {
        (connected(&gateway) == 0).then_some(())
    });
    drop((lost, gone));
    server.stop();
}

#[test]
fn whoever_sends_one_byte_in_a_second_disturbs_nobody() {
    const SLOW: usize = 50;
    let server = Server::demo();
    let gateway = server.gateway();
    let bystander = Bystander::start(&server);
    // Slow in their handshakes: longer than the time that a head may take.
    let asking: Vec<_> = (0..SLOW)
        .map(|_| TcpStream::connect(server.http).expect("the server listens"))
        .collect();
    let head = format!(
        "GET /?token={} HTTP/1.1\r\nHost: {}\r\n",
        "0".repeat(64),
        server.http
    );
    let asking = drip(asking, head.into_bytes(), Duration::from_secs(1));
    // Slow in their frames: they are clients like others.
    let mut open: Vec<_> = (0..SLOW).map(|_| gateway.connect()).collect();
    let ping = client_frame(FIN | PING, b"slow");
    let (last, most) = ping.split_last().expect("a frame has bytes");
    for byte in most {
        let next = Instant::now() + Duration::from_secs(1);
        for socket in &mut open {
            socket.write(&[*byte]);
        }
        // Meanwhile everybody hears what there is to hear.
        publish(&gateway, "meanwhile");
        for socket in &mut open {
            assert_eq!(socket.hear(), Heard::Text("meanwhile".into()));
        }
        wait::until("the next second", WITHIN, || {
            (Instant::now() >= next).then_some(())
        });
    }
    for socket in &mut open {
        socket.write(&[*last]);
        assert_eq!(socket.frame().1, b"slow");
    }
    let answers = asking.join().expect("the slow ones only write and read");
    assert_eq!(answers.len(), SLOW);
    for answer in answers {
        // Told, and then left: a head has a time in which it must be there.
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    }
    bystander.was_not_disturbed();
    server.stop();
}

/// Sends a byte of `bytes` on each connection in each `pause` until the other side has had enough, and collects what
/// it said.
fn drip(
    mut connections: Vec<TcpStream>,
    bytes: Vec<u8>,
    pause: Duration,
) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let (_running, never) = sync_channel::<()>(1);
        for byte in bytes {
            for connection in &mut connections {
                // It may have been closed.
                let _ = connection.write_all(&[byte]);
            }
            let is_over = |connection: &TcpStream| {
                connection.set_nonblocking(true).is_ok()
                    && connection.peek(&mut [0]).is_ok()
                    && connection.set_nonblocking(false).is_ok()
            };
            if connections.iter().all(is_over) {
                break;
            }
            // Paces the drops; nothing is waited for.
            let _ = never.recv_timeout(pause);
        }
        let answer = |mut connection: TcpStream| {
            let mut answer = Vec::new();
            // A reset after the answer is no loss.
            let _ = connection.set_nonblocking(false);
            let _ = connection.set_read_timeout(Some(WITHIN));
            let _ = connection.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        };
        connections.into_iter().map(answer).collect()
    })
}

/// Ten thousand in a full run.
#[test]
fn handshakes_that_come_all_at_once_are_all_answered() {
    let count = number("PILVI_HANDSHAKES").unwrap_or(1_000);
    let server = Server::demo();
    let gateway = server.gateway();
    let uris = reserve(&server, &gateway, count);
    let (bystander, growth) = (Bystander::start(&server), Growth::of(&server));
    // Nobody waits for anybody's answer.
    let knock = |uri: &String| {
        let mut connection = Connection::open(server.http);
        connection.write(handshake(server.http, uri).as_bytes());
        connection
    };
    let mut waiting: Vec<_> = uris.iter().map(knock).collect();
    for connection in &mut waiting {
        let head = connection.head().expect("everybody is answered");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }
    publish(&gateway, "to all");
    for connection in &mut waiting {
        assert_eq!(connection.exactly(8), b"\x81\x06to all");
    }
    bystander.was_not_disturbed();
    growth.must_be_bounded();
    drop(waiting);
    wait_for_sockets(&gateway, 0);
    server.stop();
}

/// So many addresses of sockets, asked for on one connection.
#[track_caller]
fn reserve(server: &Server, gateway: &Gateway, count: usize) -> Vec<String> {
    let mut connection = Connection::open(server.http);
    let ask = Request::get(gateway.path("websocket_uri")).bytes(&server.http.to_string());
    let reserve = || {
        connection.write(&ask);
        text(&connection.reply().must_be(200), "/uri")
    };
    std::iter::repeat_with(reserve).take(count).collect()
}

fn handshake(server: SocketAddr, uri: &str) -> String {
    let target = uri.find("/?").map_or("/", |slash| &uri[slash..]);
    format!(
        "GET {target} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

#[test]
fn publishers_that_never_stop_delay_nobody_else_and_lose_nothing() {
    const PUBLISHERS: usize = 8;
    const ROUNDS: u32 = 40;
    let server = Server::demo();
    let gateway = server.gateway();
    let mut listener = gateway.connect();
    let growth = Growth::of(&server);
    let bystander = Bystander::start(&server);
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let padding = "x".repeat(16 * KIB);
    let heard = thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let (gateway, over, sent, padding) = (&gateway, &over, &sent, &padding);
            scope.spawn(move || {
                let mut connection = Connection::open(gateway.server());
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let data = format!("{publisher} {number} {padding}");
                    let body = json!({"data": data, "receivers": {"sockets": ["*"]}});
                    let request = Request::post(gateway.path("messages")).json(&body);
                    connection.write(&request.bytes("gateway"));
                    connection.reply().must_be(201);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // A listener that keeps up hears all of them, those of each publisher in their order.
        let mut next = [0_u64; PUBLISHERS];
        let mut heard = 0;
        while heard < u64::from(ROUNDS) * PUBLISHERS as u64 || !over.load(Ordering::Relaxed) {
            take_one(&mut listener, &mut next);
            heard += 1;
            if heard == u64::from(ROUNDS) * PUBLISHERS as u64 {
                growth.must_be_bounded();
                over.store(true, Ordering::Relaxed);
            }
        }
        (heard, next)
    });
    let (mut heard, mut next) = heard;
    while heard < sent.load(Ordering::Relaxed) {
        take_one(&mut listener, &mut next);
        heard += 1;
    }
    bystander.was_not_disturbed();
    listener.close();
    server.stop();
}

/// Hears the next message of some publisher.
#[track_caller]
fn take_one(listener: &mut Socket, next: &mut [u64]) {
    let Heard::Text(text) = listener.hear() else {
        panic!("the listener was let go");
    };
    let mut words = text.split(' ').map(str::parse::<u64>);
    let (Some(Ok(publisher)), Some(Ok(number))) = (words.next(), words.next()) else {
        panic!("{text:.40} is none of ours");
    };
    let publisher = usize::try_from(publisher).expect("a small number");
    assert_eq!(number, next[publisher], "of publisher {publisher}");
    next[publisher] += 1;
}

/// A client that says more and more to an app that never answers is stopped by TCP, and nobody else is.
#[test]
fn a_client_that_never_stops_meets_an_app_that_never_answers() {
    let server = Server::demo();
    let cloud = server.cloud();
    let [loud, quiet] = ["loud", "quiet"].map(|name| cloud.create_gateway(name));
    let silent = Silent::start();
    let echo = Echo::start();
    for (gateway, url, kinds) in [
        (&loud, silent.url(), json!(["message"])),
        (
            &quiet,
            echo.url(),
            json!(["connect", "message", "disconnect"]),
        ),
    ] {
        let settings = json!({"events": {"url": url, "events": kinds}});
        let put = Request::put(gateway.path("configuration")).json(&settings);
        gateway.send_as_admin(put).must_be(200);
    }
    let (bystander, growth) = (Bystander::start(&server), Growth::of(&server));
    let talking: Vec<_> = (0..4).map(|_| loud.connect()).collect();
    let frame = client_frame(FIN | TEXT, &[b'x'; 32 * KIB]);
    thread::scope(|scope| {
        for mut socket in talking {
            let frame = &frame;
            // Until the server takes no more, and in the end lets go.
            scope.spawn(move || while socket.try_write(frame) {});
        }
        let mut other = quiet.connect();
        for number in 0..30 {
            let data = format!("number {number}");
            other.say(&data);
            assert_eq!(other.hear(), Heard::Text(data));
            growth.must_be_bounded();
        }
        other.close();
        assert_eq!(connected(&loud), 4, "they wait, and that is all");
        // An app that says no is not asked again.
        let _receiver = silent.give_way();
        wait_for_sockets(&loud, 0);
    });
    growth.must_be_bounded();
    bystander.was_not_disturbed();
    echo.must_be_orderly();
    server.stop();
}

/// An app that takes requests and never says a word.
struct Silent {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    acceptor: JoinHandle<()>,
}

impl Silent {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("a listening socket has one");
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let acceptor = thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                held.push(stream);
            }
        });
        Self {
            address,
            over,
            acceptor,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// From here on everybody hears that there is no such thing.
    #[track_caller]
    fn give_way(self) -> Receiver {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it should go.
        let _ = TcpStream::connect(self.address);
        self.acceptor.join().expect("it only accepts");
        let receiver = Receiver::start_at(self.address);
        receiver.answer_always(404);
        receiver
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test is a door: whoever runs it may ask for more"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<usize> {
    let text = variable(name)?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")),
    )
}

fn asked_for(name: &str) -> bool {
    variable(name).is_some()
}
