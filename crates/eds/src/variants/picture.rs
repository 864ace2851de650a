//! Images: bytes that somebody uploaded become smaller images, within bounds.
//!
//! Nothing here reads or writes anything: bytes go in and bytes come out. What an image would cost is found out from
//! its first bytes, before anything is decoded, and one that would cost too much is refused.

mod jpeg;

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ExtendedColorType, ImageBuffer, ImageDecoder, ImageEncoder,
    ImageError, ImageFormat, ImageReader, Pixel,
};
use pilvi_model::variant::{Frame, Recipe};

use super::resample::{self, Pixels, Rect, Sample};

/// The formats that are read, and in which variants are written: each in that of its image.
const FORMATS: [ImageFormat; 4] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::Gif,
    ImageFormat::WebP,
];
const JPEG_QUALITY: u8 = 85;
/// A colour profile goes on into the variants unless it is larger than they should be.
const PROFILE_BYTES_MAX: usize = 64 << 10;
/// How much of what a decoder says about a damaged image is passed on.
const FAULT_CHARS_MAX: usize = 200;

/// What an image may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the file.
    pub bytes: u64,
    /// Of the decoded image.
    pub pixels: u64,
    /// All that is held to decode it: the file, the decoded image, and what decoding needs beside that.
    pub memory: u64,
}

/// Why there are no variants of a file: a sentence for whoever uploaded it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

/// What the first bytes of an image say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    format: ImageFormat,
    width: u32,
    height: u32,
    memory: u64,
}

/// A variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub bytes: Vec<u8>,
    pub content_type: &'static str,
    pub width: u32,
    pub height: u32,
}

/// A decoded image.
pub struct Picture {
    format: ImageFormat,
    image: DynamicImage,
    orientation: Orientation,
    profile: Option<Vec<u8>>,
}

impl Header {
    /// Whether a file that begins with these bytes, and has so many in all, may be an image that is not too large.
    pub fn check(first: &[u8], size: u64, limits: &Limits) -> Result<(), Unfit> {
        format_of(first)?;
        match size > limits.bytes {
            true => Err(too_large("bytes", size, limits.bytes)),
            false => Ok(()),
        }
    }

    /// Reads the header of the image that these bytes are, whatever they are said to be.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Self, Unfit> {
        let size = bytes.len() as u64;
        Self::check(bytes, size, limits)?;
        let format = format_of(bytes)?;
        let decoder = decoder(bytes, format, None)?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(Unfit("The image has no pixels.".to_owned()));
        }
        if pixels > limits.pixels {
            return Err(too_large("pixels", pixels, limits.pixels));
        }
        let memory = size * copies(format) + pixels * cost(format, decoder.color_type(), bytes);
        if memory > limits.memory {
            return Err(Unfit(format!(
                "Decoding the image takes {} MiB of memory, and {} are the most.",
                memory >> 20,
                limits.memory >> 20
            )));
        }
        Ok(Self {
            format,
            width,
            height,
            memory,
        })
    }

    /// How many bytes of memory it takes at most to make variants.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Decodes the image whose header this is; of an animation the first frame.
    pub fn decode(&self, bytes: &[u8]) -> Result<Picture, Unfit> {
        let mut limits = image::Limits::no_limits();
        limits.max_image_width = Some(self.width);
        limits.max_image_height = Some(self.height);
        limits.max_alloc = Some(self.memory);
        let mut decoder = decoder(bytes, self.format, Some(limits))?;
        // Both are decoration: an image whose metadata is damaged is an image still.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let profile = decoder.icc_profile().ok().flatten();
        let image = DynamicImage::from_decoder(decoder).map_err(|error| damaged(&error))?;
        let profile = profile.filter(|profile| fits(profile, image.color()));
        Ok(Picture {
            format: self.format,
            image,
            orientation,
            profile,
        })
    }
}

impl Picture {
    /// Makes one variant.
    pub fn make(&self, recipe: Recipe) -> Result<Made, Unfit> {
        let (rect, size) = plan(recipe, &self.image, self.orientation);
        let mut scaled = self.scale(rect, size)?;
        scaled.apply_orientation(self.orientation);
        let mut bytes = Vec::new();
        self.encode(&scaled, &mut bytes).map_err(|error| {
            Unfit(format!(
                "The variant cannot be written: {}.",
                excerpt(&error)
            ))
        })?;
        Ok(Made {
            bytes,
            content_type: self.format.to_mime_type(),
            width: scaled.width(),
            height: scaled.height(),
        })
    }

    fn scale(&self, rect: Rect, size: (u32, u32)) -> Result<DynamicImage, Unfit> {
        use DynamicImage as Image;
        match &self.image {
            Image::ImageLuma8(image) => Ok(Image::ImageLuma8(scaled(image, rect, size))),
            Image::ImageLumaA8(image) => Ok(Image::ImageLumaA8(scaled(image, rect, size))),
            Image::ImageRgb8(image) => Ok(Image::ImageRgb8(scaled(image, rect, size))),
            Image::ImageRgba8(image) => Ok(Image::ImageRgba8(scaled(image, rect, size))),
            Image::ImageLuma16(image) => Ok(Image::ImageLuma8(scaled(image, rect, size))),
            Image::ImageLumaA16(image) => Ok(Image::ImageLumaA8(scaled(image, rect, size))),
            Image::ImageRgb16(image) => Ok(Image::ImageRgb8(scaled(image, rect, size))),
            Image::ImageRgba16(image) => Ok(Image::ImageRgba8(scaled(image, rect, size))),
            other => Err(Unfit(format!(
                "Variants of images in {:?} cannot be made.",
                other.color()
            ))),
        }
    }

    fn encode(&self, image: &DynamicImage, into: &mut Vec<u8>) -> Result<(), ImageError> {
        match self.format {
            ImageFormat::Jpeg => {
                self.write(image, JpegEncoder::new_with_quality(into, JPEG_QUALITY))
            }
            ImageFormat::Gif => {
                let rgba = image.to_rgba8();
                let (width, height) = rgba.dimensions();
                GifEncoder::new_with_speed(into, 10).encode(
                    rgba.as_raw(),
                    width,
                    height,
                    ExtendedColorType::Rgba8,
                )
            }
            ImageFormat::WebP => self.write(image, WebPEncoder::new_lossless(into)),
            _ => {
                let quality = (CompressionType::Default, FilterType::Adaptive);
                self.write(
                    image,
                    PngEncoder::new_with_quality(into, quality.0, quality.1),
                )
            }
        }
    }

    fn write(
        &self,
        image: &DynamicImage,
        mut encoder: impl ImageEncoder,
    ) -> Result<(), ImageError> {
        if let Some(profile) = &self.profile {
            encoder
                .set_icc_profile(profile.clone())
                .map_err(ImageError::Unsupported)?;
        }
        image.write_with_encoder(encoder)
    }
}

fn scaled<P, S, Q>(
    image: &ImageBuffer<P, Vec<S>>,
    rect: Rect,
    size: (u32, u32),
) -> ImageBuffer<Q, Vec<u8>>
where
    P: Pixel<Subpixel = S>,
    S: Sample,
    Q: Pixel<Subpixel = u8>,
{
    let pixels = Pixels {
        samples: image.as_raw().as_slice(),
        width: image.width(),
        channels: usize::from(P::CHANNEL_COUNT),
    };
    let samples = resample::scale(&pixels, rect, size);
    ImageBuffer::from_raw(size.0, size.1, samples).expect("it was scaled to this size")
}

/// Which part of the image as it is stored makes the variant, and how large that is before it is turned.
fn plan(recipe: Recipe, image: &DynamicImage, orientation: Orientation) -> (Rect, (u32, u32)) {
    let (width, height) = (image.width(), image.height());
    let lies = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let edges = |frame: Frame| match lies {
        true => (frame.height(), frame.width()),
        false => (frame.width(), frame.height()),
    };
    match recipe {
        Recipe::Crop(frame) => {
            let size = edges(frame);
            (centre(width, height, size), size)
        }
        Recipe::Fit(frame) => {
            let whole = Rect {
                left: 0,
                top: 0,
                width,
                height,
            };
            (whole, within(width, height, edges(frame)))
        }
    }
}

/// The largest part around the centre that has the proportions of `size`.
fn centre(width: u32, height: u32, size: (u32, u32)) -> Rect {
    let (part_width, part_height) = match wider((width, height), size) {
        true => (share(height, size.0, size.1).min(width), height),
        false => (width, share(width, size.1, size.0).min(height)),
    };
    Rect {
        left: (width - part_width) / 2,
        top: (height - part_height) / 2,
        width: part_width,
        height: part_height,
    }
}

/// The size with these proportions that fits into the box, and is not larger than the image.
fn within(width: u32, height: u32, size: (u32, u32)) -> (u32, u32) {
    if width <= size.0 && height <= size.1 {
        return (width, height);
    }
    match wider((width, height), size) {
        true => (size.0, share(height, size.0, width)),
        false => (share(width, size.1, height), size.1),
    }
}

/// Whether a size is wider, for its height, than another.
fn wider(a: (u32, u32), b: (u32, u32)) -> bool {
    u64::from(a.0) * u64::from(b.1) > u64::from(b.0) * u64::from(a.1)
}

/// `edge * part / whole`, rounded, at least 1.
fn share(edge: u32, part: u32, whole: u32) -> u32 {
    let whole = u64::from(whole.max(1));
    let share = (u64::from(edge) * u64::from(part) + whole / 2) / whole;
    u32::try_from(share.max(1)).unwrap_or(u32::MAX)
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat, Unfit> {
    let format = image::guess_format(bytes).ok();
    format
        .filter(|format| FORMATS.contains(format))
        .ok_or_else(|| {
            Unfit(
                "Variants are made of PNG, JPEG, GIF and WebP images, and this file is none."
                    .to_owned(),
            )
        })
}

fn decoder<'b>(
    bytes: &'b [u8],
    format: ImageFormat,
    limits: Option<image::Limits>,
) -> Result<impl ImageDecoder + 'b, Unfit> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // Of a header alone no more is read than the file has.
    let of_header = || {
        let mut limits = image::Limits::no_limits();
        limits.max_alloc = Some(HEADER_BYTES_MAX);
        limits
    };
    reader.limits(limits.unwrap_or_else(of_header));
    reader.into_decoder().map_err(|error| damaged(&error))
}

/// What a decoder may hold before a single pixel is decoded: a colour profile that was packed, for one.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// How often the file is held: JPEG's decoder makes a copy.
fn copies(format: ImageFormat) -> u64 {
    match format {
        ImageFormat::Jpeg => 2,
        _ => 1,
    }
}

/// How many bytes it takes per pixel to decode.
fn cost(format: ImageFormat, color: ColorType, bytes: &[u8]) -> u64 {
    let decoded = u64::from(color.bytes_per_pixel());
    decoded
        + match format {
            ImageFormat::Jpeg => jpeg::held_per_pixel(bytes),
            // A frame that is smaller than the image is decoded beside it, and lossy WebP has planes of its own.
            ImageFormat::Gif | ImageFormat::WebP => 4,
            _ => 0,
        }
}

/// Whether a colour profile says something about images of this kind: one for printing, say, does not.
fn fits(profile: &[u8], color: ColorType) -> bool {
    let space: &[u8] = if color.has_color() { b"RGB " } else { b"GRAY" };
    profile.len() <= PROFILE_BYTES_MAX && profile.get(16..20) == Some(space)
}

fn too_large(unit: &str, found: u64, most: u64) -> Unfit {
    Unfit(format!(
        "The image has {found} {unit}, and {most} are the most."
    ))
}

fn damaged(error: &ImageError) -> Unfit {
    match error {
        ImageError::Limits(_) => {
            Unfit("Decoding the image takes more memory than its size allows.".to_owned())
        }
        ImageError::Unsupported(_) => Unfit(format!(
            "This kind of image is not supported: {}.",
            excerpt(error)
        )),
        _ => Unfit(format!("The image is damaged: {}.", excerpt(error))),
    }
}

/// What a decoder says is partly from the file: one line of it, without control characters.
fn excerpt(error: &ImageError) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let shown = line.chars().filter(|letter| !letter.is_control());
    shown
        .take(FAULT_CHARS_MAX)
        .collect::<String>()
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests;
