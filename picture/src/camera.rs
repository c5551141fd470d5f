//! What a camera wrote beside the picture: when, where, and whether a program has been at it. All of it is a claim.

use crate::exif::{Directory, Exif};

/// Between being taken and being written a camera may take this long.
const WRITING_MS: i64 = 60_000;

/// Programs that change pictures, by parts of the names that they leave.
const EDITORS: [&str; 14] = [
    "Photoshop",
    "Lightroom",
    "GIMP",
    "Snapseed",
    "PicsArt",
    "Pixelmator",
    "Affinity",
    "Facetune",
    "Canva",
    "VSCO",
    "Meitu",
    "ImageMagick",
    "Paint",
    "Pixlr",
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
    /// The program that changes pictures whose name is in the file.
    pub editor: Option<&'static str>,
    /// What its clock showed when the file was written, if that was later than it takes to write what was taken.
    pub written_ms: Option<i64>,
}

/// Where EXIF has what is asked for.
type Field = (Directory, u16);

const SOFTWARE: Field = (Directory::File, 0x0131);
const TAKEN: [Field; 2] = [(Directory::Taking, 0x9003), (Directory::Taking, 0x9011)];
const WRITTEN: [Field; 2] = [(Directory::File, 0x0132), (Directory::Taking, 0x9010)];
const LATITUDE: [Field; 2] = [(Directory::Place, 2), (Directory::Place, 1)];
const LONGITUDE: [Field; 2] = [(Directory::Place, 4), (Directory::Place, 3)];
/// `A`: measured; `V`: void, the receiver had nothing.
const STATUS: Field = (Directory::Place, 9);

impl Camera {
    /// What EXIF says. What cannot be read is not there.
    pub(crate) fn of(exif: Exif<'_>) -> Self {
        let at = |[shown, offset]: [Field; 2]| {
            let shown_ms = shown_ms(exif.text(shown)?)?;
            Some(Taken { shown_ms, offset_min: exif.text(offset).and_then(offset_min) })
        };
        let taken = at(TAKEN);
        let written_ms = at(WRITTEN).map(|written| written.shown_ms).filter(|written_ms| {
            taken.is_some_and(|taken| *written_ms > taken.shown_ms + WRITING_MS)
        });
        let software = exif.text(SOFTWARE).unwrap_or_default();
        let names = |name: &&str| {
            software.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()))
        };
        let editor = EDITORS.into_iter().find(names);
        let degrees = |[field, side]: [Field; 2], back: u8, most: f64| {
            let [degrees, minutes, seconds] = exif.fractions(field)?;
            let away = degrees + minutes / 60.0 + seconds / 3_600.0;
            let sign =
                if exif.text(side)?.first()?.eq_ignore_ascii_case(&back) { -1.0 } else { 1.0 };
            (away <= most).then(|| (sign * away * 1e6).round() as i32)
        };
        let lat_e6 = degrees(LATITUDE, b'S', 90.0);
        let lon_e6 = degrees(LONGITUDE, b'W', 180.0);
        // A receiver that had nothing leaves zeroes, or says so. Nobody is at 0, 0: that is the sea.
        let void = exif.text(STATUS).is_some_and(|status| status.eq_ignore_ascii_case(b"V"));
        let place =
            lon_e6.zip(lat_e6).filter(|(lon_e6, lat_e6)| !void && (*lon_e6, *lat_e6) != (0, 0));
        let place = place.map(|(lon_e6, lat_e6)| Place { lon_e6, lat_e6 });
        Self { taken, place, editor, written_ms }
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

/// `2026:03:01 12:34:56` in milliseconds since 1970 on the clock that shows it.
fn shown_ms(text: &[u8]) -> Option<i64> {
    const FORM: &[u8; 19] = b"0000:00:00 00:00:00";
    let text: &[u8; 19] = text.first_chunk()?;
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        mark => byte == mark,
    };
    if !text.iter().zip(FORM).all(fits) {
        return None;
    }
    let digits = |digits: &[u8]| digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
    let year = digits(&text[..4]);
    let [month, day, hour, minute, second] = [5, 8, 11, 14, 17].map(|at| digits(&text[at..at + 2]));
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
        let at = |text: &str| shown_ms(text.as_bytes());
        assert_eq!(at("1970:01:01 00:00:00"), Some(0));
        assert_eq!(at("2024:02:29 12:34:56"), Some(1_709_210_096_000));
        assert_eq!(at("2026:03:01 00:00:00"), Some(1_772_323_200_000));
        for wrong in [
            "2026:13:01 00:00:00",
            "2026:00:10 00:00:00",
            "0000:00:00 00:00:00",
            "    :  :     :  :  ",
            "2026-03-01 00:00:00",
            "2026:03:01 00:00",
            "2026:+3:01 00:00:00",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        assert_eq!(offset_min(b"+05:30"), Some(330));
        assert_eq!(offset_min(b"-03:00"), Some(-180));
        for wrong in [&b""[..], b"Z", b"+5", b"+15:00", b"+-1:00", b"\xff\xff"] {
            assert_eq!(offset_min(wrong), None);
        }
    }

    /// A field: its tag, its kind and its value.
    type Written<'a> = (u16, u16, &'a [u8]);

    fn numbers(little: bool, numbers: &[u32]) -> Vec<u8> {
        let bytes = |n: &u32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        numbers.iter().flat_map(bytes).collect()
    }

    fn exif(little: bool, directories: [&[Written<'_>]; 3]) -> Vec<u8> {
        let short = |n: u16| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let long = |n: usize| numbers(little, &[n as u32]);
        let sizes = directories.map(|fields| 2 + 12 * fields.len() + 4);
        let begins = [8, 8 + sizes[0], 8 + sizes[0] + sizes[1]];
        let leads = [long(begins[1]), long(begins[2])];
        let (mut exif, mut far) =
            ([if little { b"II*\0" } else { b"MM\0*" }, &long(8)[..]].concat(), Vec::new());
        for fields in directories {
            exif.extend(short(fields.len() as u16));
            for (tag, kind, value) in fields {
                let value = match tag {
                    0x8769 => &leads[0],
                    0x8825 => &leads[1],
                    _ => *value,
                };
                let each = if *kind == 2 {
                    1
                } else if *kind == 4 {
                    4
                } else {
                    8
                };
                exif.extend([short(*tag), short(*kind)].concat());
                exif.extend(long(value.len() / each));
                match value.len() {
                    ..=4 => exif.extend([value, &vec![0; 4 - value.len()]].concat()),
                    _ => {
                        exif.extend(long(begins[2] + sizes[2] + far.len()));
                        far.extend(value);
                    }
                }
            }
            exif.extend([0; 4]);
        }
        [exif, far].concat()
    }

    #[test]
    fn what_a_camera_wrote_is_read_in_both_orders_of_bytes() {
        for little in [true, false] {
            let lat = numbers(little, &[53, 1, 20, 1, 3_000, 100]);
            let lon = numbers(little, &[6, 1, 0, 1, 0, 1]);
            let read = |software: &[u8], written: &[u8], lat: &[u8]| {
                let file: [Written<'_>; 4] = [
                    (0x0131, 2, software),
                    (0x0132, 2, written),
                    (0x8769, 4, &[]),
                    (0x8825, 4, &[]),
                ];
                let taking: [Written<'_>; 2] =
                    [(0x9003, 2, b"2026:03:01 12:00:00\0"), (0x9011, 2, b"+02:00\0")];
                let place: [Written<'_>; 4] =
                    [(1, 2, b"N\0"), (2, 5, lat), (3, 2, b"W\0"), (4, 5, &lon)];
                Camera::of(Exif::of(&exif(little, [&file, &taking, &place])).unwrap())
            };
            let camera = read(b"HDR+ 1.0\0", b"2026:03:01 12:00:09\0", &lat);
            let taken = Taken { shown_ms: 1_772_366_400_000, offset_min: Some(120) };
            let place = Place { lon_e6: -6_000_000, lat_e6: 53_341_667 };
            let (taken, place) = (taken, Some(place));
            let expected = Camera { taken: Some(taken), place, editor: None, written_ms: None };
            assert_eq!(camera, expected);
            assert_eq!(read(b"Adobe PHOTOSHOP 27\0", b"\0", &lat).editor, Some("Photoshop"));
            let later = read(b"1.0\0", b"2026:03:01 12:02:00\0", &lat);
            let written_ms = Some(taken.shown_ms + 120_000);
            assert_eq!(later, Camera { written_ms, ..expected });
            for wrong in [[91, 1, 0, 1, 0, 1], [53, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 1]] {
                let camera = read(b"1.0\0", b"\0", &numbers(little, &wrong));
                assert_eq!((camera.taken, camera.place), (Some(taken), None));
            }
        }
    }

    #[test]
    fn a_receiver_that_had_nothing_was_nowhere() {
        for little in [true, false] {
            let none = numbers(little, &[0, 1, 0, 1, 0, 1]);
            let some = numbers(little, &[6, 1, 0, 1, 0, 1]);
            let read = |lat: &[u8], lon: &[u8], status: &[u8]| {
                let place: [Written<'_>; 5] =
                    [(1, 2, b"N\0"), (2, 5, lat), (3, 2, b"E\0"), (4, 5, lon), (9, 2, status)];
                let bytes = exif(little, [&[(0x8825, 4, &[])], &[], &place]);
                Camera::of(Exif::of(&bytes).unwrap()).place
            };
            let at = |lon_e6, lat_e6| Some(Place { lon_e6, lat_e6 });
            assert_eq!(read(&none, &none, b"A\0"), None, "both are exactly nothing");
            assert_eq!(read(&none, &some, b"A\0"), at(6_000_000, 0), "on the equator");
            assert_eq!(read(&some, &none, b"\0"), at(0, 6_000_000), "in Greenwich");
            assert_eq!(read(&some, &some, b"A\0"), at(6_000_000, 6_000_000));
            assert_eq!([read(&some, &some, b"V\0"), read(&some, &some, b"v\0")], [None; 2]);
        }
    }
}
