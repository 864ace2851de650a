//! What a JPEG's markers say about how it will be decoded.

/// Bytes that are held for each pixel while the image is decoded, beside the result: of images that come in several
/// scans all coefficients, two bytes for each channel, until the last scan is in.
pub(super) fn held_per_pixel(bytes: &[u8]) -> u64 {
    match layout(bytes) {
        Some(Layout {
            channels,
            scan,
            is_progressive: false,
        }) if scan == channels => 0,
        Some(Layout { channels, .. }) => 2 * u64::from(channels),
        None => 2 * u64::from(CHANNELS_MAX),
    }
}

const CHANNELS_MAX: u8 = 4;

#[derive(Debug, PartialEq, Eq)]
struct Layout {
    is_progressive: bool,
    /// Of the image.
    channels: u8,
    /// Of the first scan.
    scan: u8,
}

/// Walks the segments up to the first scan. `None`: there is something else than segments.
fn layout(bytes: &[u8]) -> Option<Layout> {
    let mut rest = bytes.get(2..)?;
    let mut frame = None;
    loop {
        // A marker may follow any number of fill bytes.
        let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
        let marker = *rest.get(fill).filter(|_| fill > 0)?;
        rest = &rest[fill + 1..];
        // Markers that stand alone.
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            continue;
        }
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
        let segment = rest.get(2..length)?;
        match marker {
            // 0xc4, 0xc8 and 0xcc are other things than frames.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let is_progressive = !matches!(marker, 0xc0 | 0xc1);
                frame = Some((is_progressive, *segment.get(5)?));
            }
            0xda => {
                let (is_progressive, channels) = frame?;
                return Some(Layout {
                    is_progressive,
                    channels: channels.min(CHANNELS_MAX),
                    scan: *segment.first()?,
                });
            }
            _ => {}
        }
        rest = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start, a frame with this marker and number of channels, and a scan of so many.
    fn markers(frame: u8, channels: u8, scan: u8) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xff, 0xe0, 0, 4, 1, 2];
        bytes.extend([0xff, frame, 0, 8, 8, 0, 1, 0, 1, channels]);
        bytes.extend([0xff, 0xda, 0, 3, scan]);
        bytes
    }

    #[test]
    fn several_scans_are_held_until_the_last() {
        assert_eq!(held_per_pixel(&markers(0xc0, 3, 3)), 0);
        assert_eq!(held_per_pixel(&markers(0xc1, 1, 1)), 0);
        assert_eq!(held_per_pixel(&markers(0xc0, 3, 1)), 6);
        assert_eq!(held_per_pixel(&markers(0xc2, 3, 3)), 6);
        assert_eq!(held_per_pixel(&markers(0xc2, 1, 1)), 2);
    }

    #[test]
    fn what_cannot_be_read_is_thought_to_cost_the_most() {
        let whole = markers(0xc0, 3, 3);
        for end in 0..whole.len() {
            assert_eq!(held_per_pixel(&whole[..end]), 8, "{end}");
        }
        assert_eq!(held_per_pixel(&[0xff, 0xd8, 0, 0]), 8);
        assert_eq!(held_per_pixel(&[0xff, 0xd8, 0xff, 0xe0, 0, 0, 0xff]), 8);
    }
}
