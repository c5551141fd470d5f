//! Pictures of the usual bad corpora, made here: each is refused with a reason, or read as what it is.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};
use jpeg_encoder::{ColorType, Encoder};
use picture::{Flaw, PIXELS_MAX, decode, extent, pixels};

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn drawn() -> RgbImage {
    RgbImage::from_fn(90, 60, |x, y| {
        image::Rgb([(x * 2) as u8, (y * 4) as u8, (x * y % 250) as u8])
    })
}

/// A chunk of a PNG with its checksum.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), data].concat();
    let bit = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc));
    let crc = !body.iter().fold(!0, byte);
    [&(data.len() as u32).to_be_bytes(), body.as_slice(), &crc.to_be_bytes()].concat()
}

/// A PNG whose header says this.
fn promising(png: &[u8], width: u32, height: u32, bits: u8, colours: u8) -> Vec<u8> {
    let head =
        [&width.to_be_bytes()[..], &height.to_be_bytes(), &[bits, colours, 0, 0, 0]].concat();
    [&png[..8], &chunk(b"IHDR", &head), &png[33..]].concat()
}

/// Chunks of a RIFF file of kind WEBP.
fn webp(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, data) in chunks {
        body.extend(*kind);
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(*data);
        body.extend(vec![0; data.len() % 2]);
    }
    [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
}

fn sized(jpeg: &[u8], height: u16, width: u16) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    jpeg
}

#[test]
fn bad_pictures_are_refused_with_a_reason() {
    let jpeg = encoded(drawn(), ImageFormat::Jpeg);
    let png = encoded(drawn(), ImageFormat::Png);
    let lossless = encoded(drawn(), ImageFormat::WebP);
    let still = &lossless[20..];
    let size = [&[89, 0, 0][..], &[59, 0, 0]].concat();
    let frame =
        [&[0; 6][..], &size, &[100, 0, 0, 0], b"VP8L", &(still.len() as u32).to_le_bytes(), still]
            .concat();
    let moving = webp(&[
        (b"VP8X", &[&[2, 0, 0, 0][..], &size].concat()),
        (b"ANIM", &[0; 6]),
        (b"ANMF", &frame),
        (b"ANMF", &frame),
    ]);
    let animated = [&png[..33], &chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]), &png[33..]].concat();
    let mut arithmetic = jpeg.clone();
    let sof = arithmetic.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    arithmetic[sof + 1] = 0xc9;
    let mut swapped = png.clone();
    swapped[60] ^= 0x55;

    type Expected = fn(&Flaw) -> bool;
    let other: Expected = |flaw| *flaw == Flaw::OtherFormat;
    let cut: Expected = |flaw| matches!(flaw, Flaw::CutShort | Flaw::Damaged(_));
    let damaged: Expected = |flaw| matches!(flaw, Flaw::Damaged(_));
    let large: Expected = |flaw| matches!(flaw, Flaw::TooLarge { .. });
    let empty: Expected = |flaw| matches!(flaw, Flaw::Empty | Flaw::Damaged(_));
    let moves: Expected = |flaw| *flaw == Flaw::Animated;
    let cases: Vec<(&str, Vec<u8>, Expected)> = vec![
        ("nothing", Vec::new(), other),
        ("one byte", vec![0xff], other),
        ("a GIF called .jpg", b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(), other),
        ("a page called .png", b"<!doctype html><script>alert(1)</script>".to_vec(), other),
        ("a drawing", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), other),
        ("a TIFF", b"II*\0\x08\0\0\0\0\0\0\0\0\0".to_vec(), other),
        ("a JPEG of two bytes", vec![0xff, 0xd8], other),
        ("a JPEG that begins and ends", vec![0xff, 0xd8, 0xff, 0xd9], damaged),
        ("a JPEG, cut", jpeg[..jpeg.len() / 2].to_vec(), cut),
        ("a JPEG without its end", jpeg[..jpeg.len() - 2].to_vec(), cut),
        ("a PNG, cut", png[..png.len() / 2].to_vec(), cut),
        ("a PNG without its end", png[..png.len() - 12].to_vec(), cut),
        ("a WebP, cut", lossless[..lossless.len() / 2].to_vec(), cut),
        ("a PNG with a wrong checksum", swapped, damaged),
        ("a JPEG of 65,535 by 65,535", sized(&jpeg, 0xffff, 0xffff), large),
        ("a JPEG without rows", sized(&jpeg, 0, 90), empty),
        ("a JPEG without columns", sized(&jpeg, 60, 0), empty),
        ("a PNG of 4 billion by 4 billion", promising(&png, 0x7fff_ffff, 0x7fff_ffff, 8, 2), large),
        ("a PNG of 60,000 by 60,000", promising(&png, 60_000, 60_000, 1, 0), large),
        ("a PNG of deep colours, too many", promising(&png, 7_000, 8_000, 16, 6), large),
        ("a PNG without columns", promising(&png, 0, 60, 8, 2), empty),
        ("a PNG that moves", animated, moves),
        ("a WebP that moves", moving, moves),
        ("a JPEG of arithmetic codes", arithmetic, damaged),
    ];
    for (name, bytes, expected) in cases {
        match decode(&bytes, PIXELS_MAX) {
            Ok(_) => panic!("{name} was read"),
            Err(flaw) => assert!(expected(&flaw), "{name}: {flaw:?}"),
        }
        let _ = (pixels(&bytes, PIXELS_MAX), extent(&bytes));
    }
}

#[test]
fn rare_pictures_are_read() {
    let (width, height) = (40_u16, 30_u16);
    let mut cmyk = Vec::new();
    let ink: Vec<u8> = (0..40 * 30).flat_map(|_| [10, 200, 30, 40]).collect();
    Encoder::new(&mut cmyk, 90).encode(&ink, width, height, ColorType::Cmyk).unwrap();
    let mut progressive = Vec::new();
    let mut encoder = Encoder::new(&mut progressive, 90);
    encoder.set_progressive(true);
    encoder.encode(&[90; 40 * 30 * 3], width, height, ColorType::Rgb).unwrap();
    for (name, bytes) in [
        ("a JPEG in four inks", cmyk),
        ("a progressive JPEG", progressive),
        ("a grey JPEG", encoded(DynamicImage::new_luma8(40, 30), ImageFormat::Jpeg)),
        ("a PNG of 16 bits", encoded(DynamicImage::new_rgba16(40, 30), ImageFormat::Png)),
        ("a grey PNG with alpha", encoded(DynamicImage::new_luma_a8(40, 30), ImageFormat::Png)),
    ] {
        let read = decode(&bytes, PIXELS_MAX).unwrap_or_else(|flaw| panic!("{name}: {flaw}"));
        assert_eq!(read.size(), (40, 30), "{name}");
        assert_eq!(read.upright(20).rgb.len(), 20 * 15 * 3, "{name}");
        assert!(
            matches!(decode(&bytes, 1_199), Err(Flaw::TooLarge { width: 40, height: 30 })),
            "{name}"
        );
    }
}

#[test]
fn what_follows_a_picture_is_known() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let mut bytes = encoded(drawn(), format);
        let whole = bytes.len();
        assert_eq!(extent(&bytes), Some(whole), "{format:?}");
        bytes.extend(b"PK\x03\x04 something that hides behind a picture");
        assert_eq!(extent(&bytes), Some(whole), "{format:?}");
        assert!(decode(&bytes, PIXELS_MAX).is_ok(), "{format:?}");
        for cut in 0..whole {
            assert_eq!(extent(&bytes[..cut]), None, "{format:?} {cut}");
        }
    }
}
