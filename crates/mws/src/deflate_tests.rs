use super::*;
use crate::dress::{Dressed, Format};

/// Text that becomes smaller, and bytes that do not.
fn chatter(length: usize) -> Vec<u8> {
    let words =
        b"{\"object\":{\"score\":17,\"player\":\"p1\"},\"meta\":{\"eventName\":\"update\"}}";
    words.iter().copied().cycle().take(length).collect()
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn payload(kind: Kind, bytes: Vec<u8>) -> Payload {
    let bytes = bytes.into();
    Payload { kind, bytes }
}

/// What is left of a frame without its head, as a client may send it back.
fn arrived(frame: &Bytes) -> Arrived {
    Arrived {
        kind: frame::kind_of(frame),
        compressed: frame[0] & 0x40 != 0,
        bytes: frame::payload_of(frame),
    }
}

fn compressed(bytes: &'static [u8]) -> Arrived {
    Arrived {
        kind: Kind::Binary,
        compressed: true,
        bytes: Bytes::from_static(bytes),
    }
}

const BOUND: usize = 1 << 20;

/// Whatever is sent can be read again, whether it was compressed or left as it is.
fn survives(bytes: &[u8]) {
    for window in [Window::Whole, Window::Narrow] {
        for kind in [Kind::Text, Kind::Binary] {
            if kind == Kind::Text && std::str::from_utf8(bytes).is_err() {
                continue;
            }
            let said = payload(kind, bytes.to_vec());
            let Some(frame) = frame(&said, window) else {
                continue;
            };
            assert!(frame.len() < said.frame().len());
            assert_eq!(arrived(&frame).open(BOUND), Ok(said), "{window:?}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn everything_that_is_compressed_comes_back(
        words in proptest::collection::vec("[a-f]{0,12}|\\PC{0,8}", 0..200),
        noise in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
        repeated in 1_usize..300,
    ) {
        survives(words.concat().as_bytes());
        survives(&noise.repeat(repeated));
    }
}

#[test]
fn sizes_around_every_bound_come_back() {
    for length in [
        0, 1, 63, 64, 65, 125, 126, 127, 511, 512, 513, 32_767, 32_769, 65_535, 65_536, BOUND,
    ] {
        survives(&chatter(length));
        survives(&noise(length, 7));
    }
}

#[test]
fn only_what_becomes_smaller_is_compressed() {
    let frame_of = |bytes| frame(&payload(Kind::Binary, bytes), Window::Whole);
    assert_eq!(frame_of(chatter(WORTHWHILE_BYTES - 1)), None);
    assert!(frame_of(vec![b'a'; WORTHWHILE_BYTES]).is_some());
    assert_eq!(frame_of(noise(10_000, 3)), None);
    let small = frame_of(chatter(10_000)).unwrap();
    assert!(small.len() < 200, "{}", small.len());
    assert_eq!(small[0], 0xC2);
    assert_ne!(small[small.len() - 4..], TAIL);
}

#[test]
fn a_narrow_window_is_kept_to() {
    // It repeats itself only after more than the window.
    let block = noise(600, 5);
    let said = payload(Kind::Binary, block.repeat(4));
    assert!(frame(&said, Window::Whole).unwrap().len() < 1_000);
    assert!(frame(&said, Window::Narrow).is_none_or(|frame| frame.len() > 2_300));
    let said = payload(Kind::Binary, chatter(5_000));
    let narrow = arrived(&frame(&said, Window::Narrow).unwrap());
    let mut reader = Decompress::new_with_window_bits(false, 9);
    let mut output = Vec::with_capacity(10_000);
    let input = [&narrow.bytes[..], &TAIL].concat();
    let read = reader.decompress_vec(&input, &mut output, FlushDecompress::None);
    read.unwrap();
    assert_eq!(output, said.bytes);
}

#[test]
fn a_message_is_compressed_once_for_all() {
    let text = payload(Kind::Text, chatter(1_000));
    let message = Dressed::framed(text.frame());
    let first = message.in_format(Format::Deflated).as_ptr();
    assert_eq!(message.in_format(Format::Deflated).as_ptr(), first);
    assert_eq!(message.payload(), text);
    // What stays as it is, is not even copied.
    let short = Dressed::framed(frame::text("short"));
    assert_eq!(
        short.in_format(Format::Narrow).as_ptr(),
        short.plain().as_ptr()
    );
}

/// The thread that sends has many sockets, also of others. The first who takes a format may come at any moment.
#[test]
fn a_large_message_is_compressed_in_time_or_not_at_all() {
    let text = payload(Kind::Text, chatter(1 << 20));
    let late = Dressed::framed(text.frame());
    for format in Format::COMPRESSED {
        assert_eq!(late.in_format(format).as_ptr(), late.plain().as_ptr());
    }
    let ready = Dressed::framed(text.frame()).prepared(&[Format::Deflated]);
    assert!(ready.in_format(Format::Deflated).len() < ready.plain().len());
    assert_eq!(
        ready.in_format(Format::Narrow).as_ptr(),
        ready.plain().as_ptr()
    );
    let stream = late.in_format(Format::EventStream);
    assert!(stream.starts_with(b"data: "));
}

#[test]
fn a_large_message_is_compressed_before_it_is_handed_out_or_not_at_all() {
    let text = payload(Kind::Text, chatter(100_000));
    let late = Dressed::framed(text.frame());
    assert_eq!(
        late.in_format(Format::Deflated).as_ptr(),
        late.plain().as_ptr()
    );
    let in_time = Dressed::framed(text.frame()).prepared(&[Format::Deflated]);
    let frame = in_time.in_format(Format::Deflated);
    assert_eq!(arrived(frame).open(BOUND), Ok(text));
    assert!(frame.len() < 2_000);
    assert_eq!(
        in_time.in_format(Format::Narrow).as_ptr(),
        in_time.plain().as_ptr()
    );
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    for (what, bytes) in [
        ("§7.2.3.1", &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..]),
        (
            "§7.2.3.3",
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
        ),
        (
            "§7.2.3.4",
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        ),
        (
            "§7.2.3.5",
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ),
    ] {
        let read = compressed(bytes).open(BOUND).map(|read| read.bytes);
        assert_eq!(read, Ok(Bytes::from_static(b"Hello")), "{what}");
    }
    // §7.2.3.6
    let empty = compressed(&[0x00]).open(BOUND).map(|read| read.bytes);
    assert_eq!(empty, Ok(Bytes::new()));
}

#[test]
fn what_is_not_compressed_as_it_claims_is_refused() {
    let whole = Deflater::new(Window::Whole)
        .deflate(&chatter(1_000))
        .unwrap()
        .to_vec();
    for broken in [
        Vec::new(),
        vec![0x07],
        vec![0xFF; 20],
        b"plain text that was never compressed".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..], &[0x01]].concat(),
        // A distance that lies before the beginning.
        vec![0x4B, 0x04, 0x11, 0x00],
        // Endless ends.
        [0x03, 0x00].repeat(ENDS_MAX + 1),
    ] {
        let message = Arrived {
            kind: Kind::Binary,
            compressed: true,
            bytes: broken.clone().into(),
        };
        assert_eq!(message.open(BOUND), Err(BROKEN), "{broken:02x?}");
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let zeros = payload(Kind::Binary, vec![0; BOUND + 1]);
    let bomb = arrived(&frame(&zeros, Window::Whole).unwrap());
    assert!(bomb.bytes.len() < 2_000);
    assert_eq!(bomb.clone().open(BOUND), Err(frame::TOO_BIG));
    assert_eq!(bomb.clone().open(100), Err(frame::TOO_BIG));
    assert_eq!(bomb.open(BOUND + 1), Ok(zeros));
}

#[test]
fn compressed_text_must_be_text() {
    let not_text = payload(Kind::Binary, [&chatter(200)[..], &[0xC3]].concat());
    let arrived = Arrived {
        kind: Kind::Text,
        ..arrived(&frame(&not_text, Window::Whole).unwrap())
    };
    assert_eq!(arrived.open(BOUND), Err(frame::NOT_TEXT));
}

#[test]
fn what_cannot_be_made_smaller_still_fits_when_it_comes_compressed() {
    let most = 1_000_000;
    let mut output = Vec::with_capacity(2 * most);
    let mut stream = Compress::new(Compression::none(), false);
    let done = stream.compress_vec(&noise(most, 11), &mut output, FlushCompress::Sync);
    done.unwrap();
    let bound = compressed_bytes_max(u32::try_from(most).unwrap());
    assert!(output.len() > most && output.len() <= bound as usize);
}

#[test]
fn few_are_kept_however_many_were_in_use() {
    let pool = Pool::new();
    (0..2 * KEPT_MAX).for_each(|number| pool.give_back(number));
    let kept = std::iter::from_fn(|| pool.take());
    assert_eq!(kept.count(), KEPT_MAX);
}
