//! Pictures of the usual bad corpora, made here: each is refused with a reason, or read as what it is.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};
use jpeg_encoder::{ColorType, Encoder};
use picture::{Camera, Flaw, PIXELS_MAX, Picture, Place, Taken, also, decode, extent, pixels};

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

/// A JPEG, a PNG and a WebP that say this beside the picture.
fn saying(exif: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let [jpeg, png, still] =
        [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP].map(|f| encoded(drawn(), f));
    let room = exif.len().min(usize::from(u16::MAX) - 8);
    let length = (room as u16 + 8).to_be_bytes();
    let size = [&[8, 0, 0, 0][..], &[89, 0, 0], &[59, 0, 0]].concat();
    [
        (
            "JPEG",
            [&jpeg[..2], &[0xff, 0xe1], &length, b"Exif\0\0", &exif[..room], &jpeg[2..]].concat(),
        ),
        ("PNG", [&png[..33], &chunk(b"eXIf", exif), &png[33..]].concat()),
        ("WebP", webp(&[(b"VP8X", &size), (b"VP8L", &still[20..]), (b"EXIF", exif)])),
    ]
}

/// What decoding makes of a file, and how many bytes it held at once.
fn held(bytes: &[u8]) -> (Result<Picture, Flaw>, u64) {
    let mut read = Err(Flaw::Empty);
    let held = allocation_counter::measure(|| read = decode(bytes, PIXELS_MAX)).bytes_max;
    (read, held)
}

/// EXIF whose first directory leads to `count` others, which lie over each other and say that they have 2,570 fields.
fn directories(count: usize) -> Vec<u8> {
    let first = 14 + 12 * count;
    let mut exif = [b"II*\0\x08\0\0\0", (count as u16).to_le_bytes().as_slice()].concat();
    for n in 0..count {
        exif.extend([0x69, 0x87, 4, 0, 1, 0, 0, 0]);
        exif.extend(((first + n) as u32).to_le_bytes());
    }
    exif.extend([0; 4]);
    exif.extend(vec![0x0a; count + 2]);
    exif.extend(vec![0; 2_570 * 12 + 4]);
    exif
}

#[test]
fn directories_that_lie_over_each_other_take_no_memory() {
    for count in [500, 2_600, 60_000] {
        let exif = directories(count);
        for (name, bytes) in saying(&exif) {
            let (read, held) = held(&bytes);
            let most = 4 * bytes.len() as u64 + (1 << 20);
            assert!(held < most, "{name} of {count}: {held} bytes were held");
            assert_eq!(read.unwrap().camera, Camera::default(), "{name} of {count}");
        }
    }
    let [jpeg, ..] = saying(&directories(2_600)).map(|(_, bytes)| bytes);
    assert!(jpeg.len() < 80_000, "all of it fits into one segment");
}

/// EXIF of these three directories: of the file, of the taking, of the place.
fn exif(directories: [&[(u16, u16, &[u8])]; 3]) -> Vec<u8> {
    let sizes = directories.map(|fields| 2 + 12 * fields.len() + 4);
    let begins = [8, 8 + sizes[0], 8 + sizes[0] + sizes[1]].map(|at| at as u32);
    let (mut exif, mut far) = (b"II*\0\x08\0\0\0".to_vec(), Vec::new());
    for fields in directories {
        exif.extend((fields.len() as u16).to_le_bytes());
        for (tag, kind, value) in fields {
            let count = value.len() / [1, 1, 1, 2, 4, 8][usize::from(*kind)];
            exif.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            exif.extend((count as u32).to_le_bytes());
            let at = begins[2] + (sizes[2] + far.len()) as u32;
            match (tag, value.len()) {
                (0x8769, _) => exif.extend(begins[1].to_le_bytes()),
                (0x8825, _) => exif.extend(begins[2].to_le_bytes()),
                (_, ..=4) => exif.extend([value, &[0; 4][value.len()..]].concat()),
                _ => {
                    exif.extend(at.to_le_bytes());
                    far.extend_from_slice(value);
                }
            }
        }
        exif.extend([0; 4]);
    }
    [exif, far].concat()
}

#[test]
fn what_a_camera_wrote_is_read_from_each_kind_of_file() {
    let degrees = |whole: [u32; 3]| whole.map(|n| [n.to_le_bytes(), 1_u32.to_le_bytes()].concat());
    let (lat, lon) = (degrees([59, 20, 38]).concat(), degrees([18, 3, 23]).concat());
    let exif = exif([
        &[
            (0x0131, 2, b"Snapseed 2.0\0"),
            (0x0132, 2, b"2026:03:01 13:00:00\0"),
            (0x8769, 4, &[0; 4]),
            (0x8825, 4, &[0; 4]),
        ],
        &[(0x9003, 2, b"2026:03:01 12:00:00\0"), (0x9011, 2, b"+01:00\0")],
        &[(1, 2, b"N\0"), (2, 5, &lat), (3, 2, b"E\0"), (4, 5, &lon)],
    ]);
    let noon_ms = 1_772_366_400_000;
    let camera = Camera {
        taken: Some(Taken { shown_ms: noon_ms, offset_min: Some(60) }),
        place: Some(Place { lon_e6: 18_056_389, lat_e6: 59_343_889 }),
        editor: Some("Snapseed"),
        written_ms: Some(noon_ms + 3_600_000),
    };
    for (name, bytes) in saying(&exif) {
        assert_eq!(decode(&bytes, PIXELS_MAX).unwrap().camera, camera, "{name}");
    }
}

#[test]
fn what_is_said_beside_the_picture_is_bounded() {
    let png = encoded(DynamicImage::new_luma8(9_000, 9_000), ImageFormat::Png);
    let mut profile = b"all black\0\0".to_vec();
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if &png[at + 4..at + 8] == b"IDAT" {
            profile.extend(&png[at + 8..at + 8 + length]);
        }
        at += 12 + length;
    }
    assert!(profile.len() < 1 << 20);
    let small = encoded(drawn(), ImageFormat::Png);
    let bomb = [&small[..33], &chunk(b"iCCP", &profile), &small[33..]].concat();
    let mut count = Err(Flaw::Empty);
    let counting = allocation_counter::measure(|| count = pixels(&bomb, PIXELS_MAX)).bytes_max;
    assert_eq!(count, Ok(90 * 60));
    assert!(counting < 1 << 16, "{counting} bytes were held");
    let (_, held) = held(&bomb);
    assert!(held < 64 << 20, "{held} bytes were held");
}

#[test]
fn a_frame_that_is_larger_than_its_picture_takes_no_memory() {
    let size = [&[0, 0, 0, 0][..], &[89, 0, 0], &[59, 0, 0]].concat();
    let frame = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f];
    let frame = [frame.as_slice(), &[0; 200]].concat();
    for bytes in [
        webp(&[(b"VP8X", &size), (b"VP8 ", &frame)]),
        webp(&[(b"VP8X", &size), (b"ABCD", &[0; 7]), (b"VP8 ", &frame)]),
    ] {
        let (read, held) = held(&bytes);
        assert_eq!(read.err(), Some(Flaw::TooLarge { width: 16_383, height: 16_383 }));
        assert!(held < 1 << 16, "{held} bytes were held");
    }
    let hidden = [&[0; 16][..], b"VP8 ", &(frame.len() as u32).to_le_bytes(), &frame].concat();
    let (read, held) = held(&webp(&[(b"VP8X", &size), (b"ANMF", &hidden)]));
    assert_eq!(read.err(), Some(Flaw::Animated));
    assert!(held < 1 << 16, "{held} bytes were held");
}

/// One pixel, packed without loss by so many groups of five codes, each of which wants a table of 1,024 places.
fn tables(groups: u32) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    let mut put = |value: u32, count: u32| bits.extend((0..count).map(|n| value >> n & 1 == 1));
    put(0x2f, 8);
    put(0, 14 + 14 + 1 + 3);
    put(0, 1); // not transformed
    put(0, 1); // no colour cache
    put(1, 1); // the codes of a block are chosen by a picture, of one pixel here
    put(0, 3);
    put(0, 1);
    let last = groups - 1;
    for colour in [last & 0xff, last >> 8, 0, 0, 0] {
        put(0b101, 3); // one symbol, of eight bits
        put(colour, 8);
    }
    // How long the codes of the lengths 17, 18, 0 to 5, 16 and 6 to 10 are.
    const LENGTHS: [u32; 14] = [0, 0, 0, 3, 3, 3, 3, 3, 0, 3, 4, 4, 4, 4];
    for _ in 0..5 * groups {
        put(0, 1);
        put(14 - 4, 4);
        LENGTHS.iter().for_each(|length| put(*length, 3));
        put(1, 1); // eleven symbols
        put(1, 3);
        put(11 - 2, 4);
        for length in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10] {
            let (code, count) = if length < 7 { (length - 1, 3) } else { (length + 5, 4) };
            put(u32::reverse_bits(code) >> (32 - count), count);
        }
    }
    put(0, 32);
    put(0, 32);
    bits.chunks(8)
        .map(|byte| byte.iter().rev().fold(0, |all, bit| all << 1 | u8::from(*bit)))
        .collect()
}

#[test]
fn a_picture_without_loss_cannot_ask_for_tables_without_end() {
    let (few, many) = (tables(9_000), tables(12_000));
    assert!(few.len() < 512 << 10 && many.len() > 512 << 10);
    let (read, asked) = held(&webp(&[(b"VP8L", &few)]));
    assert!(asked > 150 << 20, "the tables were made: {asked} bytes were held");
    assert!(asked < 240 << 20, "{asked} bytes were held");
    assert_eq!(read.unwrap().size(), (1, 1));
    let size = [&[16, 0, 0, 0][..], &[0; 6]].concat();
    for bytes in [
        webp(&[(b"VP8L", &many)]),
        webp(&[(b"VP8X", &size), (b"ALPH", &many), (b"VP8 ", &[0; 20])]),
    ] {
        let (read, held) = held(&bytes);
        assert_eq!(read.err(), Some(Flaw::Lossless));
        assert!(held < 1 << 16, "{held} bytes were held");
    }
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
    let counted = [&cmyk, &progressive].map(|bytes| pixels(bytes, PIXELS_MAX));
    assert_eq!(counted, [Ok(1_467), Ok(1_200)], "memory for a fourth colour counts");
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

/// A ZIP archive of one stored file, `a`, with these bytes.
fn zip(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    let of_both = [&[0; 8][..], &[0; 4], &length, &length, &[1, 0, 0, 0]].concat();
    let file = [b"PK\x03\x04\x0a\0", &of_both[..], b"a", content].concat();
    let entry = [b"PK\x01\x02\x0a\0\x0a\0", &of_both[..], &[0; 14], b"a"].concat();
    let counts = [0, 0, 0, 0, 1, 0, 1, 0];
    let lengths = [entry.len(), file.len()].map(|n| u32::try_from(n).unwrap().to_le_bytes());
    [&file[..], &entry, b"PK\x05\x06", &counts, &lengths.concat(), &[0, 0]].concat()
}

#[test]
fn what_hides_in_a_picture_is_known() {
    let [jpeg, png, webp] = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP]
        .map(|format| encoded(drawn(), format));
    let in_each = |hidden: &[u8]| {
        let length = u32::try_from(hidden.len()).unwrap();
        let short = u16::try_from(hidden.len() + 2).unwrap().to_be_bytes();
        let comment = [b"\xff\xfe", &short[..], hidden].concat();
        // Readers of pictures skip an own chunk in lower case, whatever its checksum.
        let chunk = [&length.to_be_bytes()[..], b"noTe", hidden, &[0; 4]].concat();
        let odd = &[0][..hidden.len() % 2];
        let riff = [b"noTe", &length.to_le_bytes()[..], hidden, odd].concat();
        let mut webp = [&webp[..], &riff].concat();
        let size = u32::try_from(webp.len() - 8).unwrap().to_le_bytes();
        webp[4..8].copy_from_slice(&size);
        [
            [&jpeg[..2], &comment, &jpeg[2..]].concat(),
            [&png[..33], &chunk, &png[33..]].concat(),
            webp,
        ]
    };
    for (hidden, what) in [
        (zip(b"run me"), Some("a ZIP archive")),
        (b"PK\x05\x06 and no archive".to_vec(), None),
        (b"a comment".to_vec(), None),
    ] {
        for bytes in in_each(&hidden) {
            assert_eq!(extent(&bytes), Some(bytes.len()), "it is one picture");
            assert_eq!(also(&bytes), what);
        }
    }
    let [with_pdf, ..] = in_each(b"%PDF-1.7");
    assert_eq!(also(&with_pdf), Some("a PDF"));
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
