//! Images: whatever comes in is refused in one clean sentence, or becomes a variant of the size that was asked for;
//! nothing panics, and nothing is decoded that its header makes too large.

use pilvi_eds::variants::picture::{Header, Limits};
use pilvi_model::variant::{Frame, Recipe};

use crate::Random;

/// Small enough that what a decoder would hold beyond it is noticed.
const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    pixels: 250_000,
    memory: 4 << 20,
};

/// The first bytes of the formats, and of some that are not read.
const STARTS: [&[u8]; 8] = [
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01",
    b"GIF89a",
    b"GIF87a",
    b"RIFF\x24\0\0\0WEBPVP8L",
    b"RIFF\x24\0\0\0WEBPVP8 ",
    b"RIFF\x24\0\0\0WEBPVP8X",
    b"BM",
];

/// The promises about any file.
pub fn check(input: &[u8]) {
    let first = &input[..input.len().min(64)];
    let size = input.len() as u64;
    let header = match Header::read(input, &LIMITS) {
        Ok(header) => header,
        Err(unfit) => return is_a_sentence(&unfit.0),
    };
    // What is looked at before a file is read says the same of it.
    assert!(Header::check(first, size, &LIMITS).is_ok());
    assert!(header.memory() <= LIMITS.memory);
    let picture = match header.decode(input) {
        Ok(picture) => picture,
        Err(unfit) => return is_a_sentence(&unfit.0),
    };
    let frame = |width, height| Frame::new(width, height).expect("these are sizes");
    let cropped = picture.make(Recipe::Crop(frame(7, 5)));
    let cropped = cropped.expect("what was decoded can be made smaller");
    assert_eq!((cropped.width, cropped.height), (7, 5));
    let fitted = picture.make(Recipe::Fit(frame(9, 9)));
    let fitted = fitted.expect("what was decoded can be made smaller");
    assert!((1..=9).contains(&fitted.width) && (1..=9).contains(&fitted.height));
    // What was made is an image that others read.
    let again =
        Header::read(&cropped.bytes, &LIMITS).and_then(|header| header.decode(&cropped.bytes));
    assert!(again.is_ok());
}

fn is_a_sentence(reason: &str) {
    assert!(
        reason.ends_with('.') && reason.chars().count() < 300,
        "{reason}"
    );
    assert!(!reason.contains(char::is_control), "{reason:?}");
}

/// The beginning of an image, and anything behind it.
pub fn make(random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(&STARTS).to_vec();
    for _ in 0..random.below(200) {
        bytes.push(random.number().to_le_bytes()[0]);
    }
    bytes
}
