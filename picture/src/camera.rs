//! What a camera wrote beside the picture: when, where, and whether a program has been at it. All of it is a claim.

use exif::{DateTime, Exif, In, Reader, Tag, Value};

/// Between being taken and being written a camera may take this long.
const WRITING_MS: i64 = 60_000;

/// Programs that change pictures, by parts of the names that they leave.
const EDITORS: [&str; 14] = [
    "photoshop",
    "lightroom",
    "gimp",
    "snapseed",
    "picsart",
    "pixelmator",
    "affinity",
    "facetune",
    "canva",
    "vsco",
    "meitu",
    "imagemagick",
    "paint",
    "pixlr",
];

/// When a camera says that it took a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// What its clock showed, in milliseconds from 1970-01-01 00:00 on that clock.
    pub shown_ms: i64,
    /// How far that clock is ahead of UTC, in minutes, if it says so.
    pub offset_min: Option<i16>,
}

/// Where a camera says that it was: WGS84, millionths of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// East is positive.
    pub lon_e6: i32,
    /// North is positive.
    pub lat_e6: i32,
}

/// What a camera wrote beside a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Camera {
    /// When the picture was taken.
    pub taken: Option<Taken>,
    /// Where.
    pub place: Option<Place>,
    /// A program that changes pictures has left its name, or the file was written anew later than it was taken.
    pub edited: bool,
}

impl Camera {
    /// Reads EXIF. What cannot be read is not there.
    pub(crate) fn read(tiff: &[u8]) -> Self {
        let tiff = tiff.strip_prefix(b"Exif\0\0").unwrap_or(tiff);
        let Ok(exif) = Reader::new().read_raw(tiff.to_vec()) else { return Self::default() };
        let at = |tag, offset| {
            let shown_ms = shown_ms(&DateTime::from_ascii(&ascii(&exif, tag)?).ok()?)?;
            let offset_min = ascii(&exif, offset).and_then(|text| offset_min(&text));
            Some(Taken { shown_ms, offset_min })
        };
        let taken = at(Tag::DateTimeOriginal, Tag::OffsetTimeOriginal);
        let written = at(Tag::DateTime, Tag::OffsetTime);
        let later =
            |taken: Taken| written.is_some_and(|w| w.shown_ms > taken.shown_ms + WRITING_MS);
        let software = ascii(&exif, Tag::Software).unwrap_or_default();
        let software = String::from_utf8_lossy(&software).to_lowercase();
        let edited = EDITORS.iter().any(|name| software.contains(name)) || taken.is_some_and(later);
        let degrees = |tag, side, back: u8, most: f64| {
            let away = match &exif.get_field(tag, In::PRIMARY)?.value {
                Value::Rational(parts) if parts.len() == 3 => {
                    parts[0].to_f64() + parts[1].to_f64() / 60.0 + parts[2].to_f64() / 3_600.0
                }
                _ => return None,
            };
            let sign =
                if ascii(&exif, side)?.first()?.eq_ignore_ascii_case(&back) { -1.0 } else { 1.0 };
            (away <= most).then(|| (sign * away * 1e6).round() as i32)
        };
        let lat_e6 = degrees(Tag::GPSLatitude, Tag::GPSLatitudeRef, b'S', 90.0);
        let lon_e6 = degrees(Tag::GPSLongitude, Tag::GPSLongitudeRef, b'W', 180.0);
        let place = lon_e6.zip(lat_e6).map(|(lon_e6, lat_e6)| Place { lon_e6, lat_e6 });
        Self { taken, place, edited }
    }
}

fn ascii(exif: &Exif, tag: Tag) -> Option<Vec<u8>> {
    match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(lines) => lines.first().cloned(),
        _ => None,
    }
}

/// `+02:00` in minutes.
fn offset_min(text: &[u8]) -> Option<i16> {
    let (sign, rest) = match text.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = std::str::from_utf8(rest).ok()?.trim().split_once(':')?;
    let (hours, minutes): (i16, i16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let known = (0..=14).contains(&hours) && (0..60).contains(&minutes);
    known.then(|| sign * (hours * 60 + minutes))
}

fn shown_ms(at: &DateTime) -> Option<i64> {
    let [year, month, day] = [i64::from(at.year), i64::from(at.month), i64::from(at.day)];
    let [hour, minute, second] = [at.hour, at.minute, at.second].map(i64::from);
    let valid = (1970..=2200).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    // Days since 1970 by years that begin in March, so that the leap day comes last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    valid.then_some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_offsets_read() {
        let at = |text: &str| shown_ms(&DateTime::from_ascii(text.as_bytes()).ok()?);
        assert_eq!(at("1970:01:01 00:00:00"), Some(0));
        assert_eq!(at("2024:02:29 12:34:56"), Some(1_709_210_096_000));
        assert_eq!(at("2026:03:01 00:00:00"), Some(1_772_323_200_000));
        for wrong in [
            "2026:13:01 00:00:00",
            "2026:00:10 00:00:00",
            "0000:00:00 00:00:00",
            "    :  :     :  :  ",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        assert_eq!(offset_min(b"+05:30"), Some(330));
        assert_eq!(offset_min(b"-03:00"), Some(-180));
        for wrong in [&b""[..], b"Z", b"+5", b"+15:00", b"+-1:00", b"\xff\xff"] {
            assert_eq!(offset_min(wrong), None);
        }
    }

    #[test]
    fn what_does_not_read_is_not_there() {
        for bytes in [&b""[..], b"II*\0", b"MM\0\x2a\0\0\0\x08\xff\xff", &[0xff; 64]] {
            assert_eq!(Camera::read(bytes), Camera::default());
        }
    }
}
