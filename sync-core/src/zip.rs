//! A zip file in exactly one form: stored, in a given order, with nothing that could be otherwise.
//!
//! Every zip program opens it. [`read`] takes nothing but what [`write()`] makes of the same files, so a file cannot be
//! changed, hidden, doubled or padded.

/// Longest file that is read.
pub const BYTES_MAX: usize = 1 << 30;
const FILES_MAX: usize = 4_000;
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
/// Needed to read it: 1.0. No flags, stored, at midnight of 1 January 1980.
const SAME: [u16; 5] = [10, 0, 0, 0, 0x21];

/// A file: its name, ASCII, and what is in it.
pub type File<'a> = (String, &'a [u8]);

/// Packs files in this order. `None` if there is more than a reader takes.
pub fn write(files: &[File<'_>]) -> Option<Vec<u8>> {
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let offset = u32::try_from(out.len()).ok()?;
        let header = header(name, bytes)?;
        put32(&mut out, LOCAL);
        out.extend_from_slice(&header);
        put16(&mut out, &[u16::try_from(name.len()).ok()?, 0]);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(bytes);
        put32(&mut central, CENTRAL);
        put16(&mut central, &[10]);
        central.extend_from_slice(&header);
        put16(&mut central, &[u16::try_from(name.len()).ok()?, 0, 0, 0, 0, 0, 0]);
        put32(&mut central, offset);
        central.extend_from_slice(name.as_bytes());
        if out.len() > BYTES_MAX {
            return None;
        }
    }
    let (begins, length) = (u32::try_from(out.len()).ok()?, u32::try_from(central.len()).ok()?);
    let count = u16::try_from(files.len()).ok().filter(|_| files.len() <= FILES_MAX)?;
    out.extend_from_slice(&central);
    put32(&mut out, END);
    put16(&mut out, &[0, 0, count, count]);
    put32(&mut out, length);
    put32(&mut out, begins);
    put16(&mut out, &[0]);
    (out.len() <= BYTES_MAX).then_some(out)
}

/// Version, flags, method, time, date, CRC-32 and both sizes, as both headers have them.
fn header(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| name.is_ascii())?;
    let mut header = Vec::new();
    put16(&mut header, &SAME);
    for number in [crc32(bytes), length, length] {
        put32(&mut header, number);
    }
    Some(header)
}

fn put16(out: &mut Vec<u8>, numbers: &[u16]) {
    numbers.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
}

fn put32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// The files of what [`write()`] has packed; otherwise what is wrong, in words.
pub fn read(bytes: &[u8]) -> Result<Vec<File<'_>>, String> {
    let other = || "the container is not in its one form".to_owned();
    if bytes.len() > BYTES_MAX {
        return Err("it is longer than 1 GiB".into());
    }
    let (mut files, mut rest) = (Vec::new(), bytes);
    while rest.starts_with(&LOCAL.to_le_bytes()) && files.len() <= FILES_MAX {
        let number = |at: usize| -> Option<usize> {
            let bytes = rest.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        let (crc, length) = (number(14), number(18));
        let name_length = number(26).map(|both| both & 0xffff); // nothing extra, or it is another form
        let (Some(crc), Some(length), Some(name_length)) = (crc, length, name_length) else {
            return Err(other());
        };
        let after = rest.get(30..).and_then(|rest| rest.split_at_checked(name_length));
        let Some((name, after)) = after else { return Err(other()) };
        let Some((body, after)) = after.split_at_checked(length) else { return Err(other()) };
        let name = std::str::from_utf8(name).map_err(|_| other())?;
        if crc32(body) as usize != crc {
            return Err(format!(
                "{}: its bytes are not those that were packed",
                name.escape_debug()
            ));
        }
        files.push((name.to_owned(), body));
        rest = after;
    }
    match write(&files) {
        Some(again) if again == bytes => Ok(files),
        _ => Err(other()),
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let (mut c, mut k) = (n as u32, 0);
            while k < 8 {
                c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
                k += 1;
            }
            table[n] = c;
            n += 1;
        }
        table
    };
    !bytes
        .iter()
        .fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_and_no_other() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let files = [("a.txt".to_owned(), &b"words"[..]), ("b/c".to_owned(), &b""[..])];
        let packed = write(&files).unwrap();
        assert_eq!(read(&packed).unwrap(), files);
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut bent = packed.clone();
                bent[at] ^= 1 << bit;
                // A name may be another one: who reads it knows which there are.
                let same = read(&bent).is_ok_and(|read| read == files);
                assert!(!same, "byte {at}");
            }
            assert!(read(&packed[..at]).is_err());
        }
        assert!(read(&[&packed[..], b"\0"].concat()).is_err());
        assert!(read(&[b"PK", &packed[..]].concat()).is_err());
        assert_eq!(read(&write(&[]).unwrap()).unwrap(), []);
        assert_eq!(write(&[("\u{e9}".to_owned(), &b""[..])]), None);
    }
}
