//! Scaling: a rectangle of a decoded image becomes an image of another size.
//!
//! Rows are scaled one after the other and only those are held that the next row of the result needs, so that this
//! costs no memory to speak of beside the image and the result, whatever their sizes. Colours are weighed by their
//! alpha: what cannot be seen does not shine into what can.

use std::collections::VecDeque;

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The samples of a decoded image, row by row. With two or four channels the last is alpha.
#[derive(Debug)]
pub(super) struct Pixels<'a, S> {
    pub(super) samples: &'a [S],
    pub(super) width: u32,
    pub(super) channels: usize,
}

/// A sample of 8 or 16 bits.
pub(super) trait Sample: Copy {
    /// Between 0 and 255.
    fn level(self) -> f32;
}

impl Sample for u8 {
    fn level(self) -> f32 {
        f32::from(self)
    }
}

impl Sample for u16 {
    fn level(self) -> f32 {
        f32::from(self) / 257.0
    }
}

/// The part of an image that `rect` is, scaled to `width` and `height`: samples of 8 bits in the same channels.
/// The rectangle lies within the image, and neither it nor the result is empty.
pub(super) fn scale<S: Sample>(
    pixels: &Pixels<'_, S>,
    rect: Rect,
    (width, height): (u32, u32),
) -> Vec<u8> {
    let across = weights(rect.width, width);
    let down = weights(rect.height, height);
    let mut result = Vec::with_capacity(width as usize * height as usize * pixels.channels);
    // Scaled rows; the first of them is row `first` of the rectangle.
    let mut rows: VecDeque<Vec<f32>> = VecDeque::new();
    let mut first = 0;
    let mut spare = Vec::new();
    let mut line = vec![0.0; width as usize * pixels.channels];
    for weights in &down {
        while first < weights.first {
            spare.extend(rows.pop_front());
            first += 1;
        }
        while first + rows.len() < weights.first + weights.shares.len() {
            let mut row: Vec<f32> = spare.pop().unwrap_or_default();
            let source = row_of(pixels, rect, first + rows.len());
            scale_row(source, pixels.channels, &across, &mut row);
            rows.push_back(row);
        }
        line.fill(0.0);
        for (share, row) in weights.shares.iter().zip(&rows) {
            for (sum, level) in line.iter_mut().zip(row) {
                *sum += share * level;
            }
        }
        finish(&line, pixels.channels, &mut result);
    }
    result
}

fn row_of<'a, S>(pixels: &Pixels<'a, S>, rect: Rect, row: usize) -> &'a [S] {
    let at = (rect.top as usize + row) * pixels.width as usize + rect.left as usize;
    &pixels.samples[at * pixels.channels..][..rect.width as usize * pixels.channels]
}

/// One row scaled, its colours multiplied by their alpha.
fn scale_row<S: Sample>(source: &[S], channels: usize, across: &[Weights], row: &mut Vec<f32>) {
    row.clear();
    for weights in across {
        let mut sums = [0.0_f32; 4];
        let cells = source[weights.first * channels..].chunks_exact(channels);
        for (share, cell) in weights.shares.iter().zip(cells) {
            let alpha = match channels {
                2 | 4 => cell[channels - 1].level(),
                _ => 255.0,
            };
            let shown = share * alpha / 255.0;
            for (sum, sample) in sums.iter_mut().zip(cell) {
                *sum += shown * sample.level();
            }
            if matches!(channels, 2 | 4) {
                // It must not be weighed by itself.
                sums[channels - 1] += (share - shown) * alpha;
            }
        }
        row.extend_from_slice(&sums[..channels]);
    }
}

/// Puts a row of the result into its 8 bits, its colours divided by their alpha again.
fn finish(line: &[f32], channels: usize, result: &mut Vec<u8>) {
    for cell in line.chunks_exact(channels) {
        let (colours, alpha) = match channels {
            2 | 4 => (&cell[..channels - 1], Some(cell[channels - 1])),
            _ => (cell, None),
        };
        let shown = alpha.map_or(1.0, |alpha| alpha.clamp(0.0, 255.0) / 255.0);
        for colour in colours {
            result.push(match shown > 0.0 {
                true => level(colour / shown),
                false => 0,
            });
        }
        result.extend(alpha.map(level));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is rounded and clamped to what fits"
)]
fn level(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// What of a row or column of the source makes one of the result: from `first` on, these shares. They add up to 1.
#[derive(Debug)]
struct Weights {
    first: usize,
    shares: Vec<f32>,
}

/// Catmull and Rom's curve, stretched when the result is smaller, so that every pixel of the source counts.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "edges are far below 2^24, and what is cast back was clamped to them"
)]
fn weights(source: u32, result: u32) -> Vec<Weights> {
    let ratio = f64::from(source) / f64::from(result);
    let stretch = ratio.max(1.0);
    let one = |place: u32| {
        let centre = (f64::from(place) + 0.5) * ratio - 0.5;
        let first = (centre - 2.0 * stretch).ceil().max(0.0) as usize;
        let last = (centre + 2.0 * stretch).floor().min(f64::from(source - 1)) as usize;
        let shares = (first..=last.max(first)).map(|at| curve((at as f64 - centre) / stretch));
        let mut shares: Vec<f32> = shares.map(|share| share as f32).collect();
        let sum: f32 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= sum);
        Weights { first, shares }
    };
    (0..result).map(one).collect()
}

fn curve(distance: f64) -> f64 {
    let x = distance.abs();
    match x {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((2.5 - 0.5 * x) * x - 4.0) * x + 2.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use image::imageops::{self, FilterType};
    use image::{ImageBuffer, RgbImage};

    use super::*;

    fn whole(width: u32, height: u32) -> Rect {
        Rect {
            left: 0,
            top: 0,
            width,
            height,
        }
    }

    fn gradient(width: u32, height: u32) -> RgbImage {
        let level = |part: u32, of: u32| u8::try_from(part * 255 / of).unwrap();
        ImageBuffer::from_fn(width, height, |x, y| {
            let checked = if (x / 5 + y / 3) % 2 == 0 { 40 } else { 220 };
            image::Rgb([level(x, width), level(y, height), checked])
        })
    }

    fn pixels(image: &RgbImage) -> Pixels<'_, u8> {
        Pixels {
            samples: image.as_raw(),
            width: image.width(),
            channels: 3,
        }
    }

    #[test]
    fn it_agrees_with_a_known_implementation() {
        let image = gradient(181, 54);
        for (width, height) in [(20, 20), (1, 1), (181, 54), (300, 200), (400, 7), (180, 53)] {
            let ours = scale(&pixels(&image), whole(181, 54), (width, height));
            let theirs = imageops::resize(&image, width, height, FilterType::CatmullRom);
            let furthest = ours
                .iter()
                .zip(theirs.as_raw())
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            assert_eq!(ours.len(), theirs.as_raw().len());
            assert!(furthest.unwrap() <= 2, "{width}x{height}: {furthest:?}");
        }
    }

    #[test]
    fn a_part_is_scaled_as_if_it_were_cut_out() {
        let image = gradient(50, 40);
        let rect = Rect {
            left: 7,
            top: 11,
            width: 30,
            height: 20,
        };
        let cut = imageops::crop_imm(&image, 7, 11, 30, 20).to_image();
        assert_eq!(
            scale(&pixels(&image), rect, (9, 8)),
            scale(&pixels(&cut), whole(30, 20), (9, 8))
        );
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = gradient(31, 17);
        assert_eq!(
            &scale(&pixels(&image), whole(31, 17), (31, 17)),
            image.as_raw()
        );
    }

    #[test]
    fn what_cannot_be_seen_does_not_shine_through() {
        // White that is seen beside black that is not.
        let samples: Vec<u8> = (0..64)
            .flat_map(|at| {
                if at % 2 == 0 {
                    [255, 255, 255, 255]
                } else {
                    [0, 0, 0, 0]
                }
            })
            .collect();
        let pixels = Pixels {
            samples: &samples,
            width: 8,
            channels: 4,
        };
        for cell in scale(&pixels, whole(8, 8), (3, 3)).chunks_exact(4) {
            assert_eq!(cell[..3], [255, 255, 255]);
            assert!((90..=170).contains(&cell[3]), "{}", cell[3]);
        }
    }

    #[test]
    fn sixteen_bits_become_eight() {
        let samples = [0_u16, 0x8080, 0xffff, 257];
        let pixels = Pixels {
            samples: &samples,
            width: 4,
            channels: 1,
        };
        assert_eq!(scale(&pixels, whole(4, 1), (4, 1)), [0, 128, 255, 1]);
    }
}
