//! The few fields of EXIF (CIPA DC-008) that are asked for, each read where it lies. Nothing is made of the others:
//! a question looks at one of three directories, and no directory leads to a fourth.

/// Fields of a directory, at most: cameras write less than a hundred. One that says it has more is not read.
const FIELDS_MAX: usize = 512;
/// Of a text, that much is read.
const TEXT_BYTES_MAX: usize = 256;
const FIELD_BYTES: usize = 12;

/// Where a field lies.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Directory {
    /// What there is about the file.
    File,
    /// About how the picture was taken.
    Taking,
    /// About where.
    Place,
}

/// Kinds of values, by their numbers in the file.
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;

const TAKING: u16 = 0x8769;
const PLACE: u16 = 0x8825;

/// What a camera wrote, as a TIFF file without a picture. Whatever cannot be read is not there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exif<'a> {
    tiff: &'a [u8],
    little: bool,
}

impl<'a> Exif<'a> {
    /// Of the bytes in which JPEG, PNG and WebP files have it.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        let tiff = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
        let little = match tiff.get(..4)? {
            b"II*\0" => true,
            b"MM\0*" => false,
            _ => return None,
        };
        Some(Self { tiff, little })
    }

    /// A text, up to its first zero.
    pub(crate) fn text(&self, field: (Directory, u16)) -> Option<&'a [u8]> {
        let text = self.value(field, ASCII)?;
        let text = text.get(..TEXT_BYTES_MAX).unwrap_or(text);
        text.split(|byte| *byte == 0).next()
    }

    /// How the picture lies, by its number.
    pub(crate) fn orientation(&self) -> Option<u8> {
        self.short((Directory::File, 0x0112))?.try_into().ok()
    }

    /// One small number.
    fn short(&self, field: (Directory, u16)) -> Option<u16> {
        match self.value(field, SHORT)? {
            short if short.len() == 2 => self.u16(short, 0),
            _ => None,
        }
    }

    /// Three fractions. Those of nothing are no numbers.
    pub(crate) fn fractions(&self, field: (Directory, u16)) -> Option<[f64; 3]> {
        let value = self.value(field, RATIONAL).filter(|value| value.len() == 24)?;
        let number = |at| self.u32(value, at).map(f64::from);
        let fraction = |at| Some(number(at)? / number(at + 4)?);
        Some([fraction(0)?, fraction(8)?, fraction(16)?])
    }

    /// The bytes of a value of this kind.
    fn value(&self, (directory, tag): (Directory, u16), kind: u16) -> Option<&'a [u8]> {
        let begins = self.u32(self.tiff, 4)?;
        match directory {
            Directory::File => self.find(begins, tag, kind),
            Directory::Taking => self.find(self.leads(begins, TAKING)?, tag, kind),
            Directory::Place => self.find(self.leads(begins, PLACE)?, tag, kind),
        }
    }

    /// Where a directory begins that a field of the one at `begins` names.
    fn leads(&self, begins: u32, tag: u16) -> Option<u32> {
        self.u32(self.find(begins, tag, LONG)?, 0)
    }

    fn find(&self, begins: u32, tag: u16, kind: u16) -> Option<&'a [u8]> {
        let directory = self.tiff.get(usize::try_from(begins).ok()?..)?;
        let count = usize::from(self.u16(directory, 0)?);
        if count > FIELDS_MAX {
            return None;
        }
        let fields = directory.get(2..)?.get(..count * FIELD_BYTES)?;
        let named =
            |field: &&[u8]| self.u16(field, 0) == Some(tag) && self.u16(field, 2) == Some(kind);
        let field = fields.chunks_exact(FIELD_BYTES).find(named)?;
        let bytes_each = match kind {
            ASCII => 1,
            SHORT => 2,
            LONG => 4,
            _ => 8,
        };
        let length = usize::try_from(self.u32(field, 4)?).ok()?.checked_mul(bytes_each)?;
        if length <= 4 {
            return field.get(8..8 + length);
        }
        self.tiff.get(usize::try_from(self.u32(field, 8)?).ok()?..)?.get(..length)
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of fields that have their value in them.
    fn directory(fields: &[(u16, u16, u32, [u8; 4])]) -> Vec<u8> {
        let mut bytes = (fields.len() as u16).to_le_bytes().to_vec();
        for (tag, kind, count, value) in fields {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value);
        }
        bytes.extend([0; 4]);
        bytes
    }

    fn tiff(first: &[u8]) -> Vec<u8> {
        [b"II*\0\x08\0\0\0", first].concat()
    }

    #[test]
    fn what_does_not_read_is_not_there() {
        for bytes in [&b""[..], b"II*", b"II+\0\x08\0\0\0", &[0xff; 64]] {
            assert!(Exif::of(bytes).is_none());
        }
        let there = |bytes: &[u8]| Exif::of(bytes).unwrap().orientation();
        let sound = tiff(&directory(&[(0x0112, SHORT, 1, [6, 0, 0, 0])]));
        assert_eq!(there(&sound), Some(6));
        assert_eq!(there(&[b"Exif\0\0", sound.as_slice()].concat()), Some(6));
        for cut in 4..sound.len() - 4 {
            assert_eq!(there(&sound[..cut]), None, "{cut}");
        }
        for (kind, count) in [(SHORT, 0), (SHORT, 2), (SHORT, u32::MAX), (LONG, 1), (99, 1)] {
            let other = tiff(&directory(&[(0x0112, kind, count, [6, 0, 0, 0])]));
            assert_eq!(there(&other), None, "{kind} {count}");
        }
        assert_eq!(there(b"MM\0*\xff\xff\xff\xff\0\0\0\0"), None);
        let many = vec![(0x0112, SHORT, 1, [6, 0, 0, 0]); FIELDS_MAX + 1];
        assert_eq!(there(&tiff(&directory(&many[1..]))), Some(6));
        assert_eq!(there(&tiff(&directory(&many))), None);
    }

    #[test]
    fn a_directory_is_not_looked_for_in_others() {
        let place = [(PLACE, LONG, 1, [8, 0, 0, 0]), (1, ASCII, 2, *b"N\0\0\0")];
        let round = tiff(&directory(&place));
        let exif = Exif::of(&round).unwrap();
        assert_eq!(exif.text((Directory::Place, 1)), Some(b"N".as_slice()), "it leads to itself");
        assert_eq!(exif.text((Directory::Taking, 1)), None);
        assert_eq!(exif.fractions((Directory::Place, 2)), None);
    }
}
