use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::webp::WebPEncoder;
use image::{Frame as GifFrame, GrayImage, ImageBuffer, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;

const LIMITS: Limits = Limits {
    bytes: 8 << 20,
    pixels: 4_000_000,
    memory: 64 << 20,
};

fn crop(width: u32, height: u32) -> Recipe {
    Recipe::Crop(Frame::new(width, height).unwrap())
}

fn fit(width: u32, height: u32) -> Recipe {
    Recipe::Fit(Frame::new(width, height).unwrap())
}

/// Red on the left, blue on the right, the upper half brighter.
fn sample(width: u32, height: u32) -> RgbImage {
    ImageBuffer::from_fn(width, height, |x, y| {
        let bright = if y < height / 2 { 255 } else { 100 };
        match x < width / 2 {
            true => Rgb([bright, 0, 0]),
            false => Rgb([0, 0, bright]),
        }
    })
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn sample_in(format: ImageFormat) -> Vec<u8> {
    encoded(&sample(181, 54).into(), format)
}

fn made(bytes: &[u8], recipe: Recipe) -> Made {
    let header = Header::read(bytes, &LIMITS).unwrap();
    header.decode(bytes).unwrap().make(recipe).unwrap()
}

fn pixels(made: &Made) -> RgbaImage {
    let image = image::load_from_memory(&made.bytes).unwrap().to_rgba8();
    assert_eq!(image.dimensions(), (made.width, made.height));
    image
}

fn refusal(bytes: &[u8]) -> String {
    match Header::read(bytes, &LIMITS).and_then(|header| header.decode(bytes)) {
        Err(unfit) => unfit.0,
        Ok(_) => panic!("it was decoded"),
    }
}

fn is_about(pixel: Rgba<u8>, colour: [u8; 3]) -> bool {
    pixel.0[..3]
        .iter()
        .zip(colour)
        .all(|(a, b)| a.abs_diff(b) < 40)
}

#[test]
fn each_format_gives_variants_of_its_own_kind() {
    for format in FORMATS {
        let bytes = sample_in(format);
        let thumbnail = made(&bytes, crop(20, 20));
        assert_eq!((thumbnail.width, thumbnail.height), (20, 20));
        assert_eq!(thumbnail.content_type, format.to_mime_type());
        assert_eq!(image::guess_format(&thumbnail.bytes).unwrap(), format);
        let pixels = pixels(&thumbnail);
        assert!(is_about(*pixels.get_pixel(2, 2), [255, 0, 0]), "{format:?}");
        assert!(
            is_about(*pixels.get_pixel(17, 2), [0, 0, 255]),
            "{format:?}"
        );
        assert!(
            is_about(*pixels.get_pixel(17, 17), [0, 0, 100]),
            "{format:?}"
        );
    }
}

#[test]
fn a_crop_covers_its_box_and_keeps_the_centre() {
    // A white square in the middle of a wide black image.
    let image: RgbImage = ImageBuffer::from_fn(300, 100, |x, _| match (100..200).contains(&x) {
        true => Rgb([255; 3]),
        false => Rgb([0; 3]),
    });
    let bytes = encoded(&image.into(), ImageFormat::Png);
    let square = pixels(&made(&bytes, crop(10, 10)));
    assert!(square.pixels().all(|pixel| is_about(*pixel, [255; 3])));
    let wide = pixels(&made(&bytes, crop(600, 10)));
    assert_eq!(wide.dimensions(), (600, 10));
    assert!(is_about(*wide.get_pixel(10, 5), [0; 3]));
    assert!(is_about(*wide.get_pixel(300, 5), [255; 3]));
}

#[test]
fn a_fit_keeps_proportions_and_never_enlarges() {
    let bytes = sample_in(ImageFormat::Png);
    for (recipe, size) in [
        (fit(20, 20), (20, 6)),
        (fit(4096, 27), (91, 27)),
        (fit(181, 54), (181, 54)),
        (fit(1000, 1000), (181, 54)),
        (fit(1, 1), (1, 1)),
    ] {
        let made = made(&bytes, recipe);
        assert_eq!((made.width, made.height), size, "{recipe}");
    }
}

#[test]
fn extreme_proportions_cost_no_more_than_their_pixels() {
    let line = encoded(
        &GrayImage::from_pixel(60_000, 1, image::Luma([9])).into(),
        ImageFormat::Png,
    );
    for recipe in [crop(512, 512), fit(10, 10), crop(1, 512)] {
        let made = made(&line, recipe);
        assert!(pixels(&made).pixels().all(|pixel| is_about(*pixel, [9; 3])));
    }
}

/// The sample as a camera that was held in this way would have written it.
fn turned(orientation: u8) -> Vec<u8> {
    let mut image = DynamicImage::from(sample(120, 40));
    image.apply_orientation(match orientation {
        1 => Orientation::NoTransforms,
        2 => Orientation::FlipHorizontal,
        3 => Orientation::Rotate180,
        4 => Orientation::FlipVertical,
        5 => Orientation::Rotate90FlipH,
        // What undoes a quarter is a quarter the other way.
        6 => Orientation::Rotate270,
        7 => Orientation::Rotate270FlipH,
        _ => Orientation::Rotate90,
    });
    let jpeg = encoded(&image, ImageFormat::Jpeg);
    // A TIFF header, and one entry: tag 0x0112, a short, once.
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn an_image_stands_as_its_camera_was_held() {
    for orientation in 1..=8 {
        let bytes = turned(orientation);
        let cropped = pixels(&made(&bytes, crop(60, 20)));
        let fitted = pixels(&made(&bytes, fit(30, 1000)));
        assert_eq!(fitted.dimensions(), (30, 10), "{orientation}");
        for image in [cropped, fitted] {
            let (right, bottom) = (image.width() - 3, image.height() - 3);
            assert!(
                is_about(*image.get_pixel(2, 2), [255, 0, 0]),
                "{orientation}"
            );
            assert!(
                is_about(*image.get_pixel(right, 2), [0, 0, 255]),
                "{orientation}"
            );
            assert!(
                is_about(*image.get_pixel(2, bottom), [100, 0, 0]),
                "{orientation}"
            );
        }
    }
}

#[test]
fn of_an_animation_the_first_frame_is_taken() {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for colour in [[255, 0, 0, 255], [0, 255, 0, 255]] {
        encoder
            .encode_frame(GifFrame::new(RgbaImage::from_pixel(30, 30, Rgba(colour))))
            .unwrap();
    }
    drop(encoder);
    let image = pixels(&made(&bytes, crop(5, 5)));
    assert!(image.pixels().all(|pixel| is_about(*pixel, [255, 0, 0])));
}

#[test]
fn alpha_and_sixteen_bits_survive() {
    let clear: ImageBuffer<Rgba<u16>, Vec<u16>> =
        ImageBuffer::from_pixel(40, 40, Rgba([0xffff, 0, 0, 0x8080]));
    let bytes = encoded(&DynamicImage::ImageRgba16(clear), ImageFormat::Png);
    let made = made(&bytes, crop(8, 8));
    assert!(
        pixels(&made)
            .pixels()
            .all(|pixel| pixel.0 == [255, 0, 0, 128])
    );
    let gray = encoded(
        &GrayImage::from_pixel(40, 40, image::Luma([77])).into(),
        ImageFormat::WebP,
    );
    assert!(
        pixels(&super::tests::made(&gray, crop(8, 8)))
            .pixels()
            .all(|pixel| pixel.0 == [77, 77, 77, 255])
    );
}

#[test]
fn a_profile_goes_along_where_it_fits() {
    let with_profile = |profile: Vec<u8>| {
        let mut bytes = Vec::new();
        let mut encoder = WebPEncoder::new_lossless(&mut bytes);
        encoder.set_icc_profile(profile).unwrap();
        DynamicImage::from(sample(30, 30))
            .write_with_encoder(encoder)
            .unwrap();
        let made = made(&bytes, crop(5, 5));
        let mut decoder = decoder(&made.bytes, ImageFormat::WebP, None).unwrap();
        decoder.icc_profile().unwrap()
    };
    let mut profile = vec![7; 200];
    profile[16..20].copy_from_slice(b"RGB ");
    assert_eq!(with_profile(profile.clone()), Some(profile.clone()));
    profile[16..20].copy_from_slice(b"CMYK");
    assert_eq!(with_profile(profile.clone()), None);
    profile.resize(PROFILE_BYTES_MAX + 1, 0);
    profile[16..20].copy_from_slice(b"RGB ");
    assert_eq!(with_profile(profile), None);
}

/// A PNG's first bytes: its header, and chunks.
fn png(width: u32, height: u32, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    let header: (&[u8; 4], &[u8]) = (b"IHDR", &header);
    for (name, data) in std::iter::once(&header).chain(chunks) {
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        let checked = [&name[..], data].concat();
        bytes.extend(&checked);
        bytes.extend(crc32(&checked).to_be_bytes());
    }
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn bombs_are_refused_by_their_headers() {
    let idat: &[u8] = &[0x78, 0x9c, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 1];
    let png = png(50_000, 50_000, &[(b"IDAT", idat)]);
    let gif =
        b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;".to_vec();
    let mut jpeg = sample_in(ImageFormat::Jpeg);
    let frame = jpeg
        .windows(2)
        .position(|marker| marker == [0xff, 0xc0])
        .unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    let mut webp = sample_in(ImageFormat::WebP);
    // Fourteen bits for each edge, less one.
    webp[21..25].copy_from_slice(&0x0fff_bffe_u32.to_le_bytes());
    for (bytes, pixels) in [
        (png, "2500000000 pixels"),
        (gif, "4294836225 pixels"),
        (jpeg, "4294836225 pixels"),
        (webp, "268402689 pixels"),
    ] {
        let reason = refusal(&bytes);
        assert!(reason.contains(pixels), "{pixels}: {reason}");
    }
}

#[test]
fn what_decoding_would_hold_is_counted() {
    let deep: ImageBuffer<Rgba<u16>, Vec<u16>> = ImageBuffer::new(400, 400);
    let bytes = encoded(&DynamicImage::ImageRgba16(deep), ImageFormat::Png);
    let needs = Header::read(&bytes, &LIMITS).unwrap().memory();
    assert_eq!(needs, bytes.len() as u64 + 400 * 400 * 8);
    let tight = Limits {
        memory: needs - 1,
        ..LIMITS
    };
    let reason = Header::read(&bytes, &tight).unwrap_err().0;
    assert!(reason.contains("MiB of memory"), "{reason}");
    let short = Limits {
        bytes: bytes.len() as u64 - 1,
        ..LIMITS
    };
    let reason = Header::read(&bytes, &short).unwrap_err().0;
    assert!(reason.contains("bytes"), "{reason}");
}

#[test]
fn a_packed_colour_profile_unpacks_to_a_bound() {
    // 64 MiB of zeros, packed: the deflate stream is a literal and then distances of 1.
    let mut packed = b"x\0\0".to_vec();
    packed.extend(zeros(64 << 20));
    let idat: &[u8] = &[0x78, 0x9c, 3, 0, 0, 0, 0, 1];
    let bytes = png(4, 4, &[(b"iCCP", &packed), (b"IDAT", idat)]);
    assert!(bytes.len() < 1 << 20);
    let reason = refusal(&bytes);
    assert!(
        reason.starts_with("Decoding the image takes more memory"),
        "{reason}"
    );
}

/// A zlib stream of so many zeros.
fn zeros(count: usize) -> Vec<u8> {
    // A block of fixed codes: literal 0, then lengths of 258 (code 285) at distance 1, then the end.
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut code =
        |value: u32, length: u32| bits.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
    code(0x30, 8);
    for _ in 0..count / 258 {
        code(0xc5, 8);
        code(0, 5);
    }
    code(0, 7);
    let packed = bits.chunks(8).map(|byte| {
        let set = byte.iter().enumerate().filter(|(_, bit)| **bit);
        set.fold(0_u8, |byte, (place, _)| byte | 1 << place)
    });
    [0x78, 0x9c]
        .into_iter()
        .chain(packed)
        .chain([0, 0, 0, 0])
        .collect()
}

#[test]
fn other_files_say_that_they_are_none() {
    for bytes in [
        &b""[..],
        b"hello",
        b"%PDF-1.4",
        b"BM\0\0",
        b"<svg/>",
        b"\0\0\x01\0",
    ] {
        assert!(refusal(bytes).contains("PNG, JPEG, GIF and WebP"));
    }
}

#[test]
fn a_fault_is_one_clean_line() {
    let mut bytes = sample_in(ImageFormat::Png);
    bytes.truncate(60);
    let reason = refusal(&bytes);
    assert!(reason.starts_with("The image is damaged: "), "{reason}");
    assert!(reason.ends_with('.') && !reason.ends_with(".."), "{reason}");
    assert!(!reason.contains(char::is_control));
}

/// Numbers that are always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }
}

#[test]
fn damaged_images_are_refused_or_made_and_never_panic() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut kept) = (0, 0);
    for format in FORMATS {
        let whole = encoded(&sample(24, 18).into(), format);
        for _ in 0..300 {
            let mut bytes = whole.clone();
            match dice.below(3) {
                0 => bytes.truncate(dice.below(whole.len())),
                _ => {
                    for _ in 0..=dice.below(4) {
                        let at = dice.below(whole.len());
                        bytes[at] = u8::try_from(dice.below(256)).unwrap();
                    }
                }
            }
            let tried = catch_unwind(AssertUnwindSafe(|| {
                let picture = Header::read(&bytes, &LIMITS)?.decode(&bytes)?;
                picture.make(crop(5, 5))
            }));
            match tried.expect("no decoder panics") {
                Ok(made) => {
                    assert_eq!((made.width, made.height), (5, 5));
                    kept += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(
        refused > 100 && kept > 100,
        "{refused} refused, {kept} made"
    );
}
