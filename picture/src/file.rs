//! Formats and limits: which bytes are a picture, and what it looks like.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, Limits, RgbImage};
use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::camera::Camera;
use crate::exif::Exif;

/// Most pixels of any picture that is decoded here; callers may ask for fewer.
pub const PIXELS_MAX: u64 = 60_000_000;

/// What one decoded picture may take, in bytes.
const DECODED_BYTES_MAX: u64 = 256 << 20;
/// What a PNG may take beside its pixels: a row of it, and what is said about it.
const BESIDE_BYTES_MAX: u64 = 32 << 20;
/// Longest data of a WebP that is packed without loss. Ten bytes of it can ask for tables of four thousand, which then
/// are some 200 MB.
const LOSSLESS_BYTES_MAX: usize = 512 << 10;
/// Longest side, in pixels.
const SIDE_PIXELS_MAX: u32 = 65_535;
/// Scans of a progressive JPEG: each goes over the whole picture, and cameras write about ten.
const SCANS_MAX: usize = 64;

/// The formats that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the format of its name")]
pub enum Format {
    Jpeg,
    Png,
    WebP,
}

/// Why a file is not taken for a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Neither JPEG nor PNG nor WebP by its first bytes, whatever it is called.
    #[error("it is no JPEG, PNG or WebP picture")]
    OtherFormat,
    /// More pixels than are accepted, or more memory than they may take.
    #[error("it is too large: {width} by {height} pixels")]
    TooLarge {
        /// Pixels from left to right, as its header says.
        width: u32,
        /// Pixels from top to bottom, as its header says.
        height: u32,
    },
    /// It has no pixels.
    #[error("it has no pixels")]
    Empty,
    /// It is an animation.
    #[error("it is an animation")]
    Animated,
    /// It is a WebP packed without loss, and too long for one.
    #[error("it is a WebP without loss of more than {} KiB", LOSSLESS_BYTES_MAX >> 10)]
    Lossless,
    /// Its data ends before the picture does.
    #[error("it is cut short")]
    CutShort,
    /// It begins like a picture and cannot be read as one.
    #[error("it cannot be read: {0}")]
    Damaged(String),
}

/// A decoded file, not yet turned upright.
pub struct Picture {
    rgb: Vec<u8>,
    width: u32,
    height: u32,
    orientation: Orientation,
    /// What the camera wrote beside it.
    pub camera: Camera,
}

/// A picture that stands upright: rows of red, green and blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upright {
    /// Three bytes for each pixel, row by row.
    pub rgb: Vec<u8>,
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

/// The format that the first bytes announce.
pub fn format(bytes: &[u8]) -> Option<Format> {
    match image::guess_format(bytes).ok()? {
        ImageFormat::Jpeg => Some(Format::Jpeg),
        ImageFormat::Png => Some(Format::Png),
        ImageFormat::WebP => Some(Format::WebP),
        _ => None,
    }
}

/// How many of the bytes are the picture, from its first to its last marker or chunk; `None` if its end is
/// missing. What follows is something else: a phone's film, or a file that hides behind a picture.
pub fn extent(bytes: &[u8]) -> Option<usize> {
    match format(bytes)? {
        Format::Jpeg => jpeg_extent(bytes),
        Format::Png => {
            let mut at = 8;
            loop {
                let length = bytes.get(at..at + 4)?.try_into().map(u32::from_be_bytes).ok()?;
                let kind = bytes.get(at + 4..at + 8)?;
                at = at.checked_add(12)?.checked_add(length as usize)?;
                bytes.get(at - 1)?;
                if kind == b"IEND" {
                    return Some(at);
                }
            }
        }
        Format::WebP => {
            let length = bytes.get(4..8)?.try_into().map(u32::from_le_bytes).ok()? as usize;
            let padded = length.checked_add(8)?.checked_add(length % 2)?;
            Some(padded).filter(|end| *end <= bytes.len())
        }
    }
}

/// What else than a picture the bytes are to a reader that looks for it anywhere: a ZIP archive, which is read from its
/// end (APPNOTE 4.3.16), in a comment or a chunk that picture readers skip, or a PDF, whose readers take a header within the
/// first 1,024 bytes (ISO 32000-1, annex H.3.4.1).
pub fn also(bytes: &[u8]) -> Option<&'static str> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let is_end_of_zip = |at: usize| {
        let directory = u32_at(at + 12)?;
        let first = at.checked_sub(usize::try_from(directory).ok()?);
        // Of an archive of the long format the length is elsewhere.
        let holds = first.is_some_and(|first| bytes[first..].starts_with(b"PK\x01\x02"));
        (holds || directory == u32::MAX).then_some(())
    };
    let mut records = bytes.windows(4).enumerate().filter(|(_, four)| *four == b"PK\x05\x06");
    if records.any(|(at, _)| is_end_of_zip(at).is_some()) {
        return Some("a ZIP archive");
    }
    let head = &bytes[..bytes.len().min(1_024)];
    head.windows(5).any(|five| five == b"%PDF-").then_some("a PDF")
}

fn jpeg_extent(jpeg: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        // Between segments there is one marker; in a scan's data FF 00 is a byte and FF D0..D7 go on with it.
        let marker = loop {
            at += jpeg.get(at..)?.iter().position(|byte| *byte == 0xff)?;
            match *jpeg.get(at + 1)? {
                0x00 | 0xd0..=0xd7 => at += 2,
                0xff => at += 1,
                marker => break marker,
            }
        };
        at += 2;
        if marker == 0xd9 {
            return Some(at);
        }
        if !matches!(marker, 0x01 | 0xd8) {
            at += usize::from(u16::from_be_bytes(jpeg.get(at..at + 2)?.try_into().ok()?));
        }
    }
}

/// How many pixels a file's header promises, if those are `pixels_max` at most. It takes no more memory than the file.
/// A JPEG of four colours, as for print, counts for 11 pixels where it has 9: so much more memory its decoding takes.
pub fn pixels(bytes: &[u8], pixels_max: u64) -> Result<u64, Flaw> {
    guarded(|| match format(bytes).ok_or(Flaw::OtherFormat)? {
        Format::Jpeg => {
            let mut decoder = jpeg_decoder(bytes)?;
            let (width, height) = jpeg_size(&mut decoder)?;
            let pixels = fits(width, height, pixels_max)?;
            let colours = decoder.info().map_or(0, |info| info.components);
            Ok(if colours > 3 { (pixels * 11).div_ceil(9) } else { pixels })
        }
        Format::Png => png_pixels(bytes, pixels_max),
        Format::WebP => webp(bytes, pixels_max).map(|(_, pixels)| pixels),
    })
}

/// Decodes a file of `pixels_max` pixels at most.
///
/// # Errors
/// Whatever is wrong with it; a decoder that fails in an unforeseen way makes it [`Flaw::Damaged`].
pub fn decode(bytes: &[u8], pixels_max: u64) -> Result<Picture, Flaw> {
    guarded(|| {
        let format = format(bytes).ok_or(Flaw::OtherFormat)?;
        if format != Format::WebP && extent(bytes).is_none() {
            return Err(Flaw::CutShort);
        }
        match format {
            Format::Jpeg => decode_jpeg(bytes, pixels_max),
            Format::Png => finish(png(bytes, pixels_max)?),
            Format::WebP => finish(webp(bytes, pixels_max)?.0),
        }
    })
}

fn guarded<T>(work: impl FnOnce() -> Result<T, Flaw>) -> Result<T, Flaw> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(Flaw::Damaged("the decoder failed".into())))
}

fn fits(width: u32, height: u32, pixels_max: u64) -> Result<u64, Flaw> {
    match u64::from(width) * u64::from(height) {
        0 => Err(Flaw::Empty),
        pixels if pixels <= pixels_max.min(PIXELS_MAX) => Ok(pixels),
        _ => Err(Flaw::TooLarge { width, height }),
    }
}

type Jpeg<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

fn jpeg_decoder(bytes: &[u8]) -> Result<Jpeg<'_>, Flaw> {
    let side = SIDE_PIXELS_MAX as usize;
    let options = DecoderOptions::new_fast()
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_max_scans(SCANS_MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| Flaw::Damaged(format!("{error:?}")))?;
    Ok(decoder)
}

fn jpeg_size(decoder: &mut Jpeg<'_>) -> Result<(u32, u32), Flaw> {
    let info = decoder.info().ok_or(Flaw::Empty)?;
    Ok((u32::from(info.width), u32::from(info.height)))
}

fn decode_jpeg(bytes: &[u8], pixels_max: u64) -> Result<Picture, Flaw> {
    let mut decoder = jpeg_decoder(bytes)?;
    let (width, height) = jpeg_size(&mut decoder)?;
    fits(width, height, pixels_max)?;
    let rgb = decoder.decode().map_err(|error| Flaw::Damaged(format!("{error:?}")))?;
    if rgb.len() as u64 != u64::from(width) * u64::from(height) * 3 {
        return Err(Flaw::Damaged("its colours cannot be read".into()));
    }
    let (orientation, camera) = told(decoder.exif().map(Vec::as_slice));
    Ok(Picture { rgb, width, height, orientation, camera })
}

fn limits(bytes_max: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(bytes_max);
    limits
}

/// By its first chunk alone: what else stands before the pixels may be packed a thousandfold.
fn png_pixels(bytes: &[u8], pixels_max: u64) -> Result<u64, Flaw> {
    let header: &[u8; 12] = bytes.get(12..).and_then(<[u8]>::first_chunk).ok_or(Flaw::CutShort)?;
    let [b'I', b'H', b'D', b'R', a, b, c, d, e, f, g, h] = *header else {
        return Err(Flaw::Damaged("it does not begin with its header".into()));
    };
    fits(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]), pixels_max)
}

fn png(bytes: &[u8], pixels_max: u64) -> Result<PngDecoder<Cursor<&[u8]>>, Flaw> {
    png_pixels(bytes, pixels_max)?;
    let limits = limits(BESIDE_BYTES_MAX);
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(damaged)?;
    if decoder.is_apng().map_err(damaged)? {
        return Err(Flaw::Animated);
    }
    Ok(decoder)
}

/// A decoder that has read the header, and how many pixels that promises.
type Begun<D> = Result<(D, u64), Flaw>;

fn webp(bytes: &[u8], pixels_max: u64) -> Begun<WebPDecoder<Cursor<&[u8]>>> {
    for (kind, data) in webp_chunks(bytes) {
        match (kind, data) {
            // The decoder would look into it, whether it moves or not.
            (b"ANMF", _) => return Err(Flaw::Animated),
            // It makes room for what this says before it compares it with what the file's header says.
            (b"VP8 ", [_, _, _, _, _, _, a, b, c, d, ..]) => {
                let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
                fits(side(*a, *b), side(*c, *d), pixels_max)?;
            }
            (b"VP8L" | b"ALPH", data) if data.len() > LOSSLESS_BYTES_MAX => {
                return Err(Flaw::Lossless);
            }
            _ => {}
        }
    }
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    decoder.set_limits(limits(DECODED_BYTES_MAX)).map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    let pixels = fits(width, height, pixels_max)?;
    Ok((decoder, pixels))
}

/// The chunks of a WebP with their names; of one that is cut short, what there is.
fn webp_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes.get(12..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (kind, after) = rest.split_first_chunk()?;
        let (length, data) = after.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        rest = data.get(length.checked_add(length % 2)?..).unwrap_or_default();
        Some((kind, data.get(..length).unwrap_or(data)))
    })
}

fn finish(mut decoder: impl ImageDecoder) -> Result<Picture, Flaw> {
    let (width, height) = decoder.dimensions();
    if limits(DECODED_BYTES_MAX).reserve(decoder.total_bytes()).is_err() {
        return Err(Flaw::TooLarge { width, height });
    }
    // Unreadable EXIF is no reason to lose the picture.
    let exif = decoder.exif_metadata().ok().flatten();
    let (orientation, camera) = told(exif.as_deref());
    let rgb = DynamicImage::from_decoder(decoder).map_err(damaged)?.into_rgb8().into_raw();
    Ok(Picture { rgb, width, height, orientation, camera })
}

/// How a picture lies and what its camera wrote, by its EXIF.
fn told(exif: Option<&[u8]>) -> (Orientation, Camera) {
    let exif = exif.and_then(Exif::of);
    let orientation = exif.and_then(|exif| Orientation::from_exif(exif.orientation()?));
    let camera = exif.map(Camera::of).unwrap_or_default();
    (orientation.unwrap_or(Orientation::NoTransforms), camera)
}

fn damaged(error: ImageError) -> Flaw {
    Flaw::Damaged(error.to_string())
}

impl Picture {
    /// How large it is when it stands upright: pixels from left to right, and from top to bottom.
    pub fn size(&self) -> (u32, u32) {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        match self.orientation {
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (self.height, self.width),
            _ => (self.width, self.height),
        }
    }

    /// The picture, upright, with no side longer than `side` pixels. It is never made larger.
    pub fn upright(self, side: u32) -> Upright {
        let Self { rgb, width, height, orientation, .. } = self;
        let small = Upright { rgb, width, height }.within(side);
        if orientation == Orientation::NoTransforms {
            return small;
        }
        let Upright { rgb, width, height } = small;
        let picture = RgbImage::from_raw(width, height, rgb).unwrap_or_default();
        let mut picture = DynamicImage::from(picture);
        picture.apply_orientation(orientation);
        let (width, height) = (picture.width(), picture.height());
        Upright { rgb: picture.into_rgb8().into_raw(), width, height }
    }
}

impl Upright {
    /// The same with no side longer than `side` pixels. It is never made larger.
    pub fn within(self, side: u32) -> Self {
        let long = self.width.max(self.height);
        if long <= side {
            return self;
        }
        let scaled = |length: u32| {
            let exact = u64::from(length) * u64::from(side) + u64::from(long / 2);
            ((exact / u64::from(long)) as u32).max(1)
        };
        self.resized(scaled(self.width), scaled(self.height))
    }

    /// The same in another size.
    pub fn resized(&self, width: u32, height: u32) -> Self {
        Self { rgb: resize(self, width, height, FilterType::CatmullRom), width, height }
    }

    /// As a JPEG file that tells nothing but the picture. `quality` goes from 1 to 100.
    ///
    /// # Errors
    /// A side is longer than a JPEG can have.
    pub fn jpeg(&self, quality: u8) -> Result<Vec<u8>, Flaw> {
        let (width, height) = (self.width, self.height);
        let too_large = |_| Flaw::TooLarge { width, height };
        let mut jpeg = Vec::new();
        let mut encoder = Encoder::new(&mut jpeg, quality);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        let sides = (width.try_into().map_err(too_large)?, height.try_into().map_err(too_large)?);
        let written = encoder.encode(&self.rgb, sides.0, sides.1, ColorType::Rgb);
        written.map_err(|error: EncodingError| Flaw::Damaged(error.to_string()))?;
        Ok(jpeg)
    }

    /// How bright each pixel is, row by row.
    pub fn grey(&self) -> Vec<u8> {
        let grey = |pixel: &[u8; 3]| {
            let [r, g, b] = pixel.map(u32::from);
            ((r * 77 + g * 150 + b * 29 + 128) >> 8) as u8
        };
        self.rgb.as_chunks().0.iter().map(grey).collect()
    }

    /// How bright it is, averaged to `width` by `height` pixels.
    pub fn grey_in(&self, width: u32, height: u32) -> Vec<u8> {
        Self { rgb: resize(self, width, height, FilterType::Box), width, height }.grey()
    }
}

fn resize(from: &Upright, width: u32, height: u32, filter: FilterType) -> Vec<u8> {
    let mut made = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    if let Ok(from) = ImageRef::new(from.width, from.height, &from.rgb, PixelType::U8x3) {
        let _ = Resizer::new().resize(&from, &mut made, &options); // both are of one kind of pixel
    }
    made.into_vec()
}
