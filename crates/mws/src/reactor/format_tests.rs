//! Sockets that take messages compressed, beside others, on real connections and a reactor that the test turns.

use std::time::Duration;

use crate::deflate::Arrived;
use crate::dress::{Format, Kind};
use crate::limits::Limits;
use crate::peer::{self, Frame};
use crate::stage::{Arriving, Client, Stage, ours, to_tags};

/// With the bit of compression.
const COMPRESSED_TEXT: u8 = 0x40 | peer::TEXT;

fn join(stage: &mut Stage, format: Format, tags: &[&str]) -> Client {
    let Arriving {
        mut newcomer,
        client,
    } = stage.arrive(ours(), tags);
    newcomer.seat = newcomer.seat.in_format(format);
    stage.hub.join(newcomer);
    stage.opened(client)
}

/// What a frame says, and how many bytes of payload it took.
fn opened(frame: Frame) -> (String, usize) {
    let arrived = Arrived {
        kind: Kind::Text,
        compressed: frame.opcode == COMPRESSED_TEXT,
        bytes: frame.payload.into(),
    };
    let bytes = arrived.bytes.len();
    let payload = arrived.open(4 << 20).unwrap();
    (String::from_utf8(payload.bytes.to_vec()).unwrap(), bytes)
}

/// Text in which little repeats itself.
fn noise(length: usize, seed: u64) -> String {
    let mut state = seed;
    let letters = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'0' + (state >> 58) as u8)
    });
    letters.take(length).collect()
}

#[test]
fn all_formats_get_the_same_messages_in_one_write_each() {
    let mut stage = Stage::new(Limits::default());
    let formats = [
        Format::Plain,
        Format::Deflated,
        Format::Narrow,
        Format::Deflated,
        Format::Plain,
    ];
    let mut clients = formats.map(|format| join(&mut stage, format, &["t"]));
    let mut alone = join(&mut stage, Format::Deflated, &["alone"]);
    let writes = |stage: &Stage| stage.hub.reactors()[0].writes;
    let before = writes(&stage);
    let texts: Vec<String> = (0..20)
        .map(|number| format!("{number} {}", "as before ".repeat(number)))
        .collect();
    for text in &texts {
        stage.publish(ours(), &to_tags(&["t"]), text);
        stage.publish(ours(), &to_tags(&["alone"]), text);
    }
    stage.turn();
    assert_eq!(writes(&stage) - before, 6);
    let everybody = clients.iter_mut().chain([&mut alone]);
    for (client, format) in everybody.zip(formats.into_iter().chain([Format::Deflated])) {
        for text in &texts {
            let frame = stage.receive(client).unwrap();
            let compresses = format.is_compressed() && text.len() > 64;
            assert_eq!(frame.opcode == COMPRESSED_TEXT, compresses, "{format:?}");
            let (said, bytes) = opened(frame);
            assert_eq!(&said, text);
            assert!(!compresses || bytes < 40, "{bytes} bytes");
        }
    }
}

#[test]
fn compressed_messages_larger_than_what_the_kernel_takes_arrive_whole_and_pings_come_between_frames()
 {
    let limits = Limits {
        queue_bytes_max: 64 << 20,
        ..Limits::default()
    };
    let every = limits.ping_every;
    let mut stage = Stage::new(limits);
    let mut client = join(&mut stage, Format::Deflated, &[]);
    let texts: Vec<String> = (0..16).map(|seed| noise(1 << 20, seed)).collect();
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
            let (said, bytes) = opened(frame);
            assert!(said == *texts.next().unwrap() && bytes < 900 << 10);
        }
    }
    assert_eq!((pings, stage.waiting_bytes()), (1, 0));
}

#[test]
fn a_slow_reader_of_compressed_messages_gets_whole_frames_and_the_reason() {
    let mut stage = Stage::new(Limits {
        queue_messages_max: 20,
        ..Limits::default()
    });
    let mut slow = join(&mut stage, Format::Deflated, &[]);
    let text = |number: u64| noise(60_000, number);
    let mut sent = 0;
    while stage.counts().slow_readers == 0 {
        stage.broadcast(&text(sent));
        stage.turn();
        sent += 1;
    }
    let mut received = 0;
    let last = loop {
        let frame = stage.receive(&mut slow).expect("there is a close frame");
        if frame.opcode == peer::CLOSE {
            break frame;
        }
        assert!(opened(frame).0 == text(received));
        received += 1;
    };
    assert_eq!(last, Frame::close(1013, "reading too slowly"));
    assert!(received + 20 <= sent);
}

#[test]
fn an_idle_socket_that_compresses_waits_with_nothing() {
    let mut stage = Stage::new(Limits::default());
    let mut client = join(&mut stage, Format::Deflated, &[]);
    for _ in 0..10 {
        stage.broadcast(&"again and again ".repeat(100));
        stage.turn();
        stage.receive(&mut client).unwrap();
    }
    // Compressed messages of its own, which nobody wants to know: neither kept nor opened.
    let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    client.send(COMPRESSED_TEXT, &hello);
    client.send(COMPRESSED_TEXT, b"not compressed at all");
    client.send(peer::PING, b"after");
    let pong = Frame::new(peer::PONG, b"after");
    assert_eq!(stage.receive(&mut client), Some(pong));
    assert_eq!(stage.waiting_bytes(), 0);
    assert_eq!(stage.counts().violations, 0);
}
