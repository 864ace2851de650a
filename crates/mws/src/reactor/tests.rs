//! Sockets on real connections, on a reactor that the test turns at the time it says.

use std::time::Duration;

use bytes::Bytes;

use crate::limits::Limits;
use crate::peer::{self, Frame, client_frame};
use crate::session::Farewell;
use crate::stage::{Arriving, Client, Stage, ours, to_tags};

#[test]
fn messages_arrive_in_order_and_a_close_is_answered() {
    let mut stage = Stage::new(Limits::default());
    let mut client = stage.join(ours(), &[]);
    for round in 0..20 {
        for number in 0..10 {
            stage.broadcast(&format!("{round}-{number}"));
        }
        stage.turn();
    }
    for round in 0..20 {
        for number in 0..10 {
            let expected = Frame::text(&format!("{round}-{number}"));
            assert_eq!(stage.receive(&mut client), Some(expected));
        }
    }
    client.send(peer::TEXT, b"nobody reads this");
    client.send(peer::PING, b"Ping.");
    let pong = Frame::new(peer::PONG, b"Ping.");
    assert_eq!(stage.receive(&mut client), Some(pong));
    client.send(peer::CLOSE, b"\x03\xE9");
    assert_eq!(stage.receive(&mut client), Some(Frame::close(1001, "")));
    assert_eq!(stage.receive(&mut client), None);
    assert_eq!(stage.counts().deliveries, 200);
    assert_eq!(stage.hub.sockets(), 0);
}

#[test]
fn what_waits_is_joined_into_one_write_for_each_socket() {
    let mut stage = Stage::new(Limits::default());
    let mut clients: Vec<Client> = (0..10).map(|_| stage.join(ours(), &[])).collect();
    let writes = |stage: &Stage| stage.hub.reactors()[0].writes;
    let before = writes(&stage);
    for number in 0..50 {
        stage.broadcast(&number.to_string());
    }
    stage.turn();
    assert_eq!(writes(&stage) - before, 10);
    for client in &mut clients {
        for number in 0..50 {
            let expected = Frame::text(&number.to_string());
            assert_eq!(stage.receive(client), Some(expected));
        }
    }
}

#[test]
fn a_message_accepted_before_a_socket_joins_is_not_for_it_and_one_after_is() {
    let mut stage = Stage::new(Limits::default());
    let _first = stage.join(ours(), &[]);
    let Arriving { newcomer, client } = stage.arrive(ours(), &[]);
    stage.broadcast("before");
    stage.hub.join(newcomer);
    stage.broadcast("after");
    let mut client = stage.opened(client);
    assert_eq!(stage.receive(&mut client), Some(Frame::text("after")));
}

#[test]
fn pings_come_at_their_interval_and_a_silent_peer_is_dropped() {
    let limits = Limits::default();
    let every = limits.ping_every;
    let mut stage = Stage::new(limits);
    let mut client = stage.join(ours(), &[]);
    // The first ping of the first socket is not moved forward.
    stage.pass(every - Duration::from_secs(1));
    stage.turn();
    assert_eq!(client.poll(), None);
    stage.pass(Duration::from_secs(2));
    let ping = |count: &[u8]| Some(Frame::new(peer::PING, count));
    assert_eq!(stage.receive(&mut client), ping(b"1"));
    client.send(peer::PONG, b"1");
    stage.until(|_| true);
    for count in [&b"2"[..], b"3"] {
        stage.pass(every + Duration::from_secs(1));
        assert_eq!(stage.receive(&mut client), ping(count));
    }
    stage.pass(every + Duration::from_secs(1));
    assert_eq!(stage.receive(&mut client), None);
    assert_eq!((stage.hub.sockets(), stage.counts().silent), (0, 1));
}

#[test]
fn a_slow_reader_gets_whole_frames_and_the_reason_and_the_others_do_not_wait() {
    let mut stage = Stage::new(Limits {
        queue_messages_max: 50,
        ..Limits::default()
    });
    let mut slow = stage.join(ours(), &["t"]);
    let mut quick = stage.join(ours(), &["t"]);
    let padding = "x".repeat(60_000);
    let text = |number: u64| format!("{number} {padding}");
    let mut sent = 0;
    while stage.counts().slow_readers == 0 {
        stage.publish(ours(), &to_tags(&["t"]), &text(sent));
        assert_eq!(stage.receive(&mut quick), Some(Frame::text(&text(sent))));
        sent += 1;
    }
    assert_eq!(stage.listed(ours()), [quick.id]);
    let rest_of_a_frame = text(sent).len() as u64 + 10;
    assert!(
        stage.waiting_bytes() < rest_of_a_frame,
        "what waited is gone"
    );

    let mut received = 0;
    let last = loop {
        let frame = stage.receive(&mut slow).expect("there is a close frame");
        if frame != Frame::text(&text(received)) {
            break frame;
        }
        received += 1;
    };
    assert_eq!(last, Frame::close(1013, "reading too slowly"));
    assert!(received + 50 <= sent);
    assert_eq!(stage.counts().deliveries, 2 * sent - 1);
}

#[test]
fn one_who_does_not_read_delays_nobody_and_takes_little_memory() {
    const OTHERS: usize = 200;
    let limits = Limits::default();
    let mut stage = Stage::new(limits);
    let _stalled = stage.join(ours(), &[]);
    let mut others: Vec<Client> = (0..OTHERS).map(|_| stage.join(ours(), &[])).collect();
    let padding = "x".repeat(20_000);
    let mut waited = 0;
    let mut after = 0;
    for number in 0.. {
        let text = format!("{number} {padding}");
        stage.broadcast(&text);
        // One turn, however much waits for the one that does not read.
        stage.turn();
        for client in &mut others {
            assert_eq!(client.hear(), Some(Frame::text(&text)), "{number}");
        }
        waited = waited.max(stage.waiting_bytes());
        after += stage.counts().slow_readers;
        if after > 10 {
            break;
        }
    }
    assert!(waited > 0, "this is what the test is about");
    assert!(waited <= stage.limits.queue_bytes_max as u64);
    assert_eq!(stage.counts().slow_readers, 1);
    assert!(stage.waiting_bytes() < 30_000, "what waited is gone");
    stage.pass(stage.limits.close_patience + Duration::from_secs(1));
    assert_eq!((stage.hub.sockets(), stage.waiting_bytes()), (OTHERS, 0));
}

#[test]
fn a_stalled_reader_is_cut_when_patience_ends() {
    let mut stage = Stage::new(Limits {
        queue_messages_max: 1,
        ..Limits::default()
    });
    let _stalled = stage.join(ours(), &[]);
    let text = "x".repeat(1 << 20);
    while stage.counts().slow_readers == 0 {
        stage.broadcast(&text);
        stage.turn();
    }
    assert!(stage.listed(ours()).is_empty());
    assert_eq!(stage.hub.sockets(), 1);
    stage.pass(stage.limits.close_patience + Duration::from_secs(1));
    assert_eq!((stage.hub.sockets(), stage.waiting_bytes()), (0, 0));
}

#[test]
fn a_message_larger_than_what_the_kernel_takes_arrives_whole_and_pings_come_between_frames() {
    let limits = Limits {
        queue_bytes_max: 64 << 20,
        ..Limits::default()
    };
    let every = limits.ping_every;
    let mut stage = Stage::new(limits);
    let mut client = stage.join(ours(), &[]);
    let texts: Vec<String> = ('a'..'q')
        .map(|letter| letter.to_string().repeat(1 << 20))
        .collect();
    for text in &texts {
        stage.broadcast(text);
        stage.turn();
    }
    assert!(stage.waiting_bytes() > 0, "this is what the test is about");
    stage.pass(every + Duration::from_secs(1));
    let ping = Frame::new(peer::PING, b"1");
    let mut pings = 0;
    let mut texts = texts.iter();
    while texts.len() > 0 {
        let frame = stage.receive(&mut client).unwrap();
        if frame == ping {
            pings += 1;
            assert!(texts.len() > 0, "it came before messages that waited");
        } else {
            assert!(frame == Frame::text(texts.next().unwrap()));
        }
    }
    assert_eq!((pings, stage.waiting_bytes()), (1, 0));
}

#[test]
fn who_is_turned_away_learns_it_after_the_handshake() {
    let mut stage = Stage::new(Limits::default());
    let mut client = stage.turn_away(Farewell::NORMAL);
    assert_eq!(stage.receive(&mut client), Some(Frame::close(1000, "")));
    client.send(peer::CLOSE, b"\x03\xE8");
    assert_eq!(stage.receive(&mut client), None);
}

#[test]
fn shutting_down_sends_what_waits_and_says_goodbye() {
    let mut stage = Stage::new(Limits::default());
    let mut polite = stage.join(ours(), &[]);
    let mut rude = stage.join(ours(), &[]);
    let Arriving { newcomer, client } = stage.arrive(ours(), &[]);
    stage.broadcast("last");
    stage.hub.close();
    stage.hub.join(newcomer);
    let mut late = stage.opened(client);
    let goodbye = || Some(Frame::close(1001, "going away"));
    for client in [&mut polite, &mut rude] {
        assert_eq!(stage.receive(client), Some(Frame::text("last")));
        assert_eq!(stage.receive(client), goodbye());
    }
    assert_eq!(stage.receive(&mut late), goodbye());
    polite.send(peer::CLOSE, b"\x03\xE9");
    assert_eq!(stage.receive(&mut polite), None);
    assert!(!stage.reactors[0].is_done());
    stage.pass(stage.limits.close_patience + Duration::from_secs(1));
    assert!(stage.reactors[0].is_done());
    assert_eq!(stage.receive(&mut rude), None);
    assert_eq!(stage.hub.sockets(), 0);
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_even_if_it_goes_on_sending() {
    let mut stage = Stage::new(Limits::default());
    let mut client = stage.join(ours(), &[]);
    client.send_raw(&[0x81, 0x01, b'a']);
    client.send_raw(&[0; 50_000]);
    let told = Frame::close(1002, "a client must mask");
    assert_eq!(stage.receive(&mut client), Some(told));
    assert_eq!(stage.receive(&mut client), None);
    assert_eq!((stage.hub.sockets(), stage.counts().violations), (1, 1));
    client.send_raw(&[0; 50_000]);
    drop(client);
    stage.until(|stage| stage.hub.sockets() == 0);
    assert_eq!(stage.counts().violations, 1);
}

#[test]
fn a_connection_that_breaks_off_leaves_its_gateway() {
    let mut stage = Stage::new(Limits::default());
    let client = stage.join(ours(), &["t"]);
    assert_eq!(stage.hub.sockets(), 1);
    drop(client);
    stage.until(|stage| stage.hub.sockets() == 0);
    assert!(stage.listed(ours()).is_empty());
}

#[test]
fn bytes_that_came_with_the_handshake_are_read_first() {
    let mut stage = Stage::new(Limits::default());
    let Arriving {
        mut newcomer,
        client,
    } = stage.arrive(ours(), &[]);
    newcomer.read_ahead = Bytes::from(client_frame(peer::CLOSE, b"\x03\xE8"));
    stage.hub.join(newcomer);
    let mut client = stage.opened(client);
    assert_eq!(stage.receive(&mut client), Some(Frame::close(1000, "")));
    assert_eq!(stage.receive(&mut client), None);
}

#[test]
fn a_close_is_answered_though_nothing_can_follow_it() {
    let mut stage = Stage::new(Limits::default());
    let mut client = stage.join(ours(), &[]);
    client.send(peer::CLOSE, b"\x0F\xA0");
    let sending = std::net::Shutdown::Write;
    client.stream.shutdown(sending).unwrap();
    assert_eq!(stage.receive(&mut client), Some(Frame::close(4000, "")));
    assert_eq!(stage.receive(&mut client), None);
}

/// The peer is gone: our answer meets a connection that is closed in both directions.
fn arrive_broken(stage: &mut Stage) -> Arriving {
    let mut arriving = stage.arrive(ours(), &[]);
    let stream = &arriving.client.stream;
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    arriving.newcomer.transport.shut_down();
    arriving
}

#[test]
fn a_handshake_that_fails_midway_gives_the_uri_back() {
    let mut stage = Stage::new(Limits::default());
    let Arriving { newcomer, client } = arrive_broken(&mut stage);
    let id = client.id;
    let Arriving {
        newcomer: whole,
        client: patient,
    } = stage.arrive(ours(), &[]);
    let redeemed = patient.id;
    stage.hub.join(newcomer);
    stage.hub.join(whole);
    let _patient = stage.opened(patient);
    assert!(stage.reservations.claim(id).is_some());
    assert!(stage.reservations.claim(redeemed).is_none());
    assert_eq!((stage.hub.sockets(), stage.counts().opened), (1, 1));
}

#[test]
fn a_socket_that_was_ended_gives_no_uri_back() {
    let mut stage = Stage::new(Limits::default());
    let Arriving { newcomer, client } = arrive_broken(&mut stage);
    stage.hub.join(newcomer);
    stage.hub.end_all(ours(), &Farewell::NORMAL);
    stage.until(|stage| stage.hub.sockets() == 0);
    assert!(stage.reservations.claim(client.id).is_none());
}

#[test]
fn a_client_that_never_stops_sending_keeps_nobody_from_anything() {
    let mut stage = Stage::new(Limits::default());
    let mut noisy = stage.join(ours(), &[]);
    let mut quiet = stage.join(ours(), &[]);
    let noise: Vec<u8> = std::iter::repeat_n(client_frame(peer::TEXT, &[b'x'; 100]), 100)
        .flatten()
        .collect();
    for number in 0..50 {
        // As much as fits; the rest of the last frame is sent first next time, or the frames would be cut.
        let mut rest = &noise[..];
        while !rest.is_empty() {
            match std::io::Write::write(&mut noisy.stream, rest) {
                Ok(count) => rest = &rest[count..],
                Err(_) => stage.turn(),
            }
        }
        stage.broadcast(&number.to_string());
        let expected = Some(Frame::text(&number.to_string()));
        assert_eq!(stage.receive(&mut quiet), expected);
        assert_eq!(stage.receive(&mut noisy), expected);
    }
    assert_eq!(stage.counts().violations, 0);
}
