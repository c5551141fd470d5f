//! What a phone's camera makes of a shelf: never the same twice.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, crop_imm, resize};
use image::{ImageEncoder, Rgb, RgbImage};

use super::crew::Dice;

/// A JPEG of part of the shelf, from somewhere before it, in some light, with something in the way; it says when it was
/// taken, in milliseconds since 1970 UTC.
pub(super) fn photograph(shelf: &RgbImage, at_ms: i64, dice: &mut Dice) -> Option<Vec<u8>> {
    let share =
        |dice: &mut Dice, low: usize, high: usize| (low + dice.below(high - low)) as f32 / 1_000.0;
    let zoom = share(dice, 520, 860);
    let wide = (shelf.width() as f32 * zoom) as u32;
    let high = (wide * 3 / 4).min(shelf.height());
    let left = dice.below((shelf.width() - wide) as usize + 1) as u32;
    let top = dice.below((shelf.height() - high) as usize + 1) as u32;
    let part = crop_imm(shelf, left, top, wide, high).to_image();
    let mut photo = resize(&part, 1_280, 1_280 * high / wide.max(1), FilterType::Triangle);

    let (width, height) = (photo.width() as f32, photo.height() as f32);
    let (light, across, down) =
        (share(dice, 700, 1_150), share(dice, 0, 800) - 0.4, share(dice, 0, 700) - 0.35);
    // Somebody's trolley, or the door of the chiller.
    let (x0, y0, reach) = (share(dice, 0, 1_000), share(dice, 0, 1_000), share(dice, 150, 420));
    for (x, y, Rgb(colour)) in photo.enumerate_pixels_mut() {
        let (x, y) = (x as f32 / width, y as f32 / height);
        let apart = (x - x0).hypot(y - y0) / reach;
        let shadow = if apart < 1.0 { 0.35 + 0.3 * apart } else { 1.0 };
        let light = light * (1.0 + across * (x - 0.5) + down * (y - 0.5)) * shadow;
        for value in colour {
            let noise = dice.below(13) as f32 - 6.0;
            *value = (f32::from(*value) * light + noise).clamp(0.0, 255.0) as u8;
        }
    }
    let mut file = Cursor::new(Vec::new());
    let mut encoder = JpegEncoder::new_with_quality(&mut file, 88);
    encoder.set_exif_metadata(exif(at_ms)?).ok()?;
    let (width, height) = photo.dimensions();
    encoder.write_image(&photo, width, height, image::ExtendedColorType::Rgb8).ok()?;
    Some(file.into_inner())
}

/// EXIF with `DateTimeOriginal` and `OffsetTimeOriginal`, as CIPA DC-008 has them.
fn exif(at_ms: i64) -> Option<Vec<u8>> {
    const IFD: [u8; 8] = *b"II\x2a\0\x08\0\0\0";
    let at = jiff::Timestamp::from_millisecond(at_ms).ok()?;
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        let (tag, kind) = (tag.to_le_bytes(), kind.to_le_bytes());
        [&tag[..], &kind, &count.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    let (ascii, long, none) = (2, 4, [0; 4]);
    Some(
        [
            &IFD[..],
            &[1, 0],
            &entry(0x8769, long, 1, 26),
            &none,
            &[2, 0],
            &entry(0x9003, ascii, 20, 56),
            &entry(0x9011, ascii, 7, 76),
            &none,
            at.strftime("%Y:%m:%d %H:%M:%S\0").to_string().as_bytes(),
            b"+00:00\0",
        ]
        .concat(),
    )
}
