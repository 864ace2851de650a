//! Images for uploads, written without any library: nothing of them is packed.

/// A PNG in true colour of this size. Another `shade` makes another file.
pub fn png(width: u32, height: u32, shade: u8) -> Vec<u8> {
    let level = |part: u32, of: u32| u8::try_from(part * 255 / of).expect("it is a part of it");
    let mut lines = Vec::new();
    for y in 0..height {
        // No filter.
        lines.push(0);
        lines.extend((0..width).flat_map(|x| [level(x, width), level(y, height), shade]));
    }
    png_of(width, height, &stored(&lines))
}

/// The header of a PNG of this size, and these bytes where its pixels should be.
pub fn png_of(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    for (name, data) in [(b"IHDR", &*header), (b"IDAT", pixels), (b"IEND", &[])] {
        bytes.extend(length(data));
        let checked = [&name[..], data].concat();
        bytes.extend(&checked);
        bytes.extend(crc32(&checked).to_be_bytes());
    }
    bytes
}

/// The width and the height that the header of a PNG names; none: it is no PNG.
pub fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(8..16)?;
    let (width, height) = header.split_first_chunk::<4>()?;
    let height = height.first_chunk::<4>()?;
    Some((u32::from_be_bytes(*width), u32::from_be_bytes(*height)))
}

fn length(data: &[u8]) -> [u8; 4] {
    u32::try_from(data.len())
        .expect("images of tests are small")
        .to_be_bytes()
}

/// A zlib stream that repeats these bytes.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 1];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        stream.push(u8::from(blocks.peek().is_none()));
        let length = u16::try_from(block.len()).expect("it is a chunk of so many");
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
        assert!(stored(b"Wikipedia").ends_with(&0x11e6_0398_u32.to_be_bytes()));
    }

    #[test]
    fn the_size_is_in_the_header() {
        assert_eq!(png_size(&png(181, 54, 0)), Some((181, 54)));
        assert_eq!(png_size(b"GIF89a"), None);
    }
}
