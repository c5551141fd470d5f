//! The log as others read it: tiles and proofs over the Merkle tree (RFC 9162; <https://c2sp.org/tlog-tiles>), and
//! signed checkpoints (<https://c2sp.org/signed-note>, <https://c2sp.org/tlog-checkpoint>,
//! <https://c2sp.org/tlog-cosignature>).
//!
//! What is here was signed or written by others: everything is parsed strictly, so that one text has one meaning.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::evidence::{Keypair, interior, verify};
use crate::id::{LogHash, LogOrigin, OrgId};

/// Hashes of a full tile, and entries of a full bundle.
pub const TILE_WIDTH: u64 = 256;
const TILE_HEIGHT: u32 = 8;
/// Levels of tiles that 64-bit sequences have.
const LEVELS: u8 = 8;
/// Longest signed note that is read.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Most signatures of a note that are read.
const SIGNATURES_MAX: usize = 64;

/// A piece of the tree: up to 256 hashes in a row, of subtrees of 256^level leaves each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// 0: leaves.
    pub level: u8,
    /// Which in its level.
    pub index: u64,
    /// How many hashes, 1 to 256.
    pub width: u16,
}

/// What is fetched of a log by its path under `tile/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// Hashes.
    Hashes(Tile),
    /// What the leaves of a tile of level 0 are hashes of.
    Entries(Tile),
}

impl Tile {
    /// The first of its hashes, counted in its level.
    pub fn first(&self) -> u64 {
        self.index.saturating_mul(TILE_WIDTH)
    }

    /// All tiles of a level that a tree of this size has, the partial one last.
    pub fn of_level(level: u8, size: u64) -> impl Iterator<Item = Self> {
        let hashes = count(level, size);
        let tile = move |index| Self {
            level,
            index,
            width: TILE_WIDTH.min(hashes - index * TILE_WIDTH) as u16,
        };
        (0..hashes.div_ceil(TILE_WIDTH)).map(tile)
    }

    /// All tiles that a tree of this size has.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..LEVELS).flat_map(move |level| Self::of_level(level, size))
    }

    /// The one that holds a hash, in a tree of this size.
    fn holding(level: u8, hash: u64, size: u64) -> Self {
        let index = hash / TILE_WIDTH;
        let width = TILE_WIDTH.min(count(level, size) - index * TILE_WIDTH) as u16;
        Self { level, index, width }
    }

    /// Whether a tree of this size has all of it.
    pub fn is_in(&self, size: u64) -> bool {
        self.index < u64::MAX / TILE_WIDTH
            && self.first() + u64::from(self.width) <= count(self.level, size)
    }

    /// Whether it will never grow.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    fn path(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = Vec::new();
        let mut rest = self.index;
        loop {
            groups.push(rest % 1_000);
            rest /= 1_000;
            if rest == 0 {
                break;
            }
        }
        while let Some(group) = groups.pop() {
            let (begin, end) = if groups.is_empty() { ("", "") } else { ("x", "/") };
            write!(f, "{begin}{group:03}{end}")?;
        }
        match self.is_full() {
            true => Ok(()),
            false => write!(f, ".p/{}", self.width),
        }
    }

    fn parse(level: u8, path: &str) -> Option<Self> {
        let (number, width) = match path.split_once(".p/") {
            None => (path, TILE_WIDTH as u16),
            Some((number, width)) => (number, width.parse().ok().filter(|w| (1..256).contains(w))?),
        };
        let mut index = 0_u64;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
        }
        Some(Self { level, index, width })
    }
}

/// The path under the log's address, such as `tile/0/x001/234` or `tile/entries/000.p/12`.
impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashes(tile) => write!(f, "tile/{}/", tile.level).and_then(|()| tile.path(f)),
            Self::Entries(tile) => f.write_str("tile/entries/").and_then(|()| tile.path(f)),
        }
    }
}

/// The reverse; one piece has one path.
impl FromStr for Piece {
    type Err = ();

    fn from_str(path: &str) -> Result<Self, ()> {
        let (level, rest) = path.strip_prefix("tile/").and_then(|p| p.split_once('/')).ok_or(())?;
        let piece = match level {
            "entries" => Tile::parse(0, rest).map(Self::Entries),
            _ => {
                let level = level.parse().ok().filter(|level| *level < LEVELS).ok_or(())?;
                Tile::parse(level, rest).map(Self::Hashes)
            }
        };
        piece.filter(|piece| piece.to_string() == path).ok_or(())
    }
}

/// How many subtrees of 256^level leaves a tree of this size has.
fn count(level: u8, size: u64) -> u64 {
    size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0)
}

/// The entries of a bundle, each behind its length as two bytes, big-endian. `None` if one is too long for that.
pub fn pack_entries<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bundle = Vec::new();
    for entry in entries {
        bundle.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Some(bundle)
}

/// The reverse of [`pack_entries`].
pub fn unpack_entries(mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bundle = rest;
    }
    bundle.is_empty().then_some(entries)
}

/// SHA-256 of 0x00 and an entry: its leaf.
pub fn leaf_hash(entry: &[u8]) -> LogHash {
    LogHash::of(&[&[0][..], entry].concat())
}

/// The hashes of a log, wherever they are kept.
pub trait Hashes {
    /// Why they cannot be read.
    type Error;

    /// `count` hashes from `first` on of a level of tiles. They never cross a tile. `tile` is the one that they are
    /// in, as a tree of the size that is asked about has it.
    fn hashes(&mut self, tile: Tile, first: u64, count: u64) -> Result<Vec<LogHash>, Self::Error>;
}

/// The tree over the first `size` leaves.
#[derive(Debug)]
pub struct Tree<'h, H> {
    hashes: &'h mut H,
    size: u64,
}

impl<'h, H: Hashes> Tree<'h, H> {
    /// The tree over the first `size` leaves of what is here.
    pub fn new(hashes: &'h mut H, size: u64) -> Self {
        Self { hashes, size }
    }

    /// The root over all.
    pub fn root(&mut self) -> Result<LogHash, H::Error> {
        match self.size {
            0 => Ok(LogHash::of(b"")),
            size => self.range(0, size),
        }
    }

    /// The proof that a leaf is in it (RFC 9162, 2.1.3.1).
    pub fn inclusion(&mut self, leaf: u64) -> Result<Vec<LogHash>, H::Error> {
        let (mut low, mut high, mut proof) = (0, self.size, Vec::new());
        while high - low > 1 {
            let middle = low + split(high - low);
            let other = if leaf < middle { (middle, high) } else { (low, middle) };
            proof.push(self.range(other.0, other.1)?);
            (low, high) = if leaf < middle { (low, middle) } else { (middle, high) };
        }
        proof.reverse();
        Ok(proof)
    }

    /// The proof that it continues the tree over the first `older` leaves (RFC 9162, 2.1.4.1).
    pub fn consistency(&mut self, older: u64) -> Result<Vec<LogHash>, H::Error> {
        let mut proof = Vec::new();
        if older == 0 || older >= self.size {
            return Ok(proof);
        }
        let (mut low, mut high) = (0, self.size);
        while older != high {
            let middle = low + split(high - low);
            let other = if older <= middle { (middle, high) } else { (low, middle) };
            proof.push(self.range(other.0, other.1)?);
            (low, high) = if older <= middle { (low, middle) } else { (middle, high) };
        }
        if low > 0 {
            proof.push(self.range(low, high)?);
        }
        proof.reverse();
        Ok(proof)
    }

    fn range(&mut self, low: u64, high: u64) -> Result<LogHash, H::Error> {
        let leaves = high - low;
        if leaves.is_power_of_two() && low.is_multiple_of(leaves) {
            let height = leaves.trailing_zeros();
            let (level, count) = ((height / TILE_HEIGHT) as u8, 1 << (height % TILE_HEIGHT));
            let first = low >> (TILE_HEIGHT * u32::from(level));
            let tile = Tile::holding(level, first, self.size);
            return Ok(fold(self.hashes.hashes(tile, first, count)?));
        }
        let middle = low + split(leaves);
        Ok(interior(&self.range(low, middle)?, &self.range(middle, high)?))
    }
}

/// The root over hashes whose number is a power of two.
pub fn fold(mut row: Vec<LogHash>) -> LogHash {
    while row.len() > 1 {
        row =
            row.chunks(2).map(|pair| interior(&pair[0], pair.last().unwrap_or(&pair[0]))).collect();
    }
    row.pop().unwrap_or_else(|| LogHash::of(b""))
}

/// The largest power of two below `leaves`, which are two or more.
fn split(leaves: u64) -> u64 {
    1 << (63 - (leaves - 1).leading_zeros())
}

/// Whether a leaf is at this place of the tree with this root (RFC 9162, 2.1.3.2).
pub fn includes(size: u64, root: &LogHash, index: u64, leaf: &LogHash, proof: &[LogHash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut node) = (index, size - 1, *leaf);
    for other in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            node = interior(other, &node);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            node = interior(&node, other);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && node == *root
}

/// Whether the newer of two trees, each size and root, continues the older one (RFC 9162, 2.1.4.2).
pub fn continues(older: (u64, &LogHash), newer: (u64, &LogHash), proof: &[LogHash]) -> bool {
    let ((size, root), (newer_size, newer_root)) = (older, newer);
    if size == 0 || size == newer_size {
        let same = size != newer_size || root == newer_root;
        return proof.is_empty() && same && (size > 0 || *root == LogHash::of(b""));
    }
    if size > newer_size {
        return false;
    }
    let mut proof = proof.iter();
    let begin = if size.is_power_of_two() { Some(root) } else { proof.next() };
    let Some(begin) = begin else { return false };
    let (mut place, mut last) = (size - 1, newer_size - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let (mut old, mut new) = (*begin, *begin);
    for other in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            (old, new) = (interior(other, &old), interior(other, &new));
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            new = interior(&new, other);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && old == *root && new == *newer_root
}

// ---- signed notes

/// What a key of a signed note signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// Notes: a log's key.
    Note = 1,
    /// Notes and the time at which it saw them: a witness's key.
    Cosignature = 4,
}

/// A public key with the name under which it signs, written as a "vkey".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    signs: Signs,
    key: [u8; 32],
}

impl NoteKey {
    /// `None` if the name has blanks or a `+`, or is empty.
    pub fn new(name: impl Into<String>, signs: Signs, key: [u8; 32]) -> Option<Self> {
        let name = name.into();
        is_name(&name).then_some(Self { name, signs, key })
    }

    /// The key of one life of an organisation's log.
    pub fn of_log(org: OrgId, life: LogOrigin, key: [u8; 32]) -> Self {
        Self { name: log_name(org, life), signs: Signs::Note, key }
    }

    /// Under which name it signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn signs(&self) -> Signs {
        self.signs
    }

    /// Whether it is the key of a life of some organisation's log.
    pub fn is_of_log(&self) -> bool {
        self.signs == Signs::Note && parse_log_name(&self.name).is_some()
    }

    /// The 32 bytes.
    pub fn key(&self) -> [u8; 32] {
        self.key
    }

    fn id(&self) -> [u8; 4] {
        let named = [self.name.as_bytes(), b"\n", &[self.signs as u8], &self.key].concat();
        let mut id = [0; 4];
        id.copy_from_slice(&LogHash::of(&named).0[..4]);
        id
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64_STANDARD.encode([&[self.signs as u8][..], &self.key].concat());
        write!(f, "{}+{:08x}+{key}", self.name, u32::from_be_bytes(self.id()))
    }
}

impl FromStr for NoteKey {
    type Err = BadNote;

    fn from_str(vkey: &str) -> Result<Self, BadNote> {
        let bad = BadNote("it is no key of a signed note: name+id+key");
        let mut parts = vkey.splitn(3, '+');
        let (name, _, key) = (parts.next(), parts.next(), parts.next());
        let (Some(name), Some(key)) = (name, key) else { return Err(bad) };
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| bad)?;
        let (signs, key) = match bytes.split_first() {
            Some((1, key)) => (Signs::Note, key),
            Some((4, key)) => (Signs::Cosignature, key),
            _ => return Err(bad),
        };
        let key = Self::new(name, signs, key.try_into().map_err(|_| bad)?).ok_or(bad)?;
        if key.to_string() == vkey { Ok(key) } else { Err(bad) }
    }
}

/// Why a text is no signed note, or not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadNote(&'static str);

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// A text with signatures below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<(String, Vec<u8>)>,
}

impl SignedNote {
    /// A text signed by a log's key.
    pub fn sign(text: String, key: &NoteKey, pair: &Keypair) -> Self {
        let signature = [&key.id()[..], &pair.sign(text.as_bytes())].concat();
        Self { signatures: vec![(key.name.clone(), signature)], text }
    }

    /// A text that nobody has signed yet.
    pub fn unsigned(text: String) -> Self {
        Self { text, signatures: Vec::new() }
    }

    /// The text that is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A witness's signature over this note, as a line to add to it. The key is that of the pair.
    pub fn cosign(&self, key: &NoteKey, pair: &Keypair, seconds: u64) -> String {
        let signature = pair.sign(&cosigned(&self.text, seconds));
        let bytes = [&key.id()[..], &seconds.to_be_bytes(), &signature].concat();
        line(&key.name, &bytes)
    }

    /// The same with the signature of this line, if it is one of this key; one of it that was there goes.
    pub fn with(&self, added: &str, key: &NoteKey) -> Option<Self> {
        let (name, bytes) = parse_line(added.strip_suffix('\n').unwrap_or(added)).ok()?;
        let mut note = self.clone();
        note.signatures.retain(|(n, b)| *n != key.name || b[..4] != key.id());
        note.signatures.push((name, bytes));
        (note.signatures.len() <= SIGNATURES_MAX && note.signed_by(key).is_some()).then_some(note)
    }

    /// The same with only the signatures of these keys, in the order of the keys.
    pub fn only(&self, keys: &[NoteKey]) -> Self {
        let of = |key: &NoteKey| {
            self.signatures.iter().find(|(name, b)| *name == key.name && b[..4] == key.id())
        };
        let signatures = keys.iter().filter_map(|key| of(key).cloned()).collect();
        Self { text: self.text.clone(), signatures }
    }

    /// How many signatures there are.
    pub fn signatures(&self) -> usize {
        self.signatures.len()
    }

    /// Whether a key has signed it, and all that says so verifies; a witness's says at which second it did, a log's
    /// says 0.
    pub fn signed_by(&self, key: &NoteKey) -> Option<u64> {
        let mut seconds = None;
        for (name, bytes) in &self.signatures {
            let (id, rest) = bytes.split_first_chunk()?;
            if *name != key.name || *id != key.id() {
                continue;
            }
            let (at, signature) = match key.signs {
                Signs::Note => (0, rest),
                Signs::Cosignature => {
                    let (at, signature) = rest.split_first_chunk()?;
                    (u64::from_be_bytes(*at), signature)
                }
            };
            let message = match key.signs {
                Signs::Note => self.text.as_bytes().to_vec(),
                Signs::Cosignature => cosigned(&self.text, at),
            };
            if !verify(&key.key, &message, signature.try_into().ok()?) {
                return None;
            }
            seconds = Some(at);
        }
        seconds
    }
}

fn cosigned(text: &str, seconds: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes()
}

fn line(name: &str, bytes: &[u8]) -> String {
    format!("\u{2014} {name} {}\n", BASE64_STANDARD.encode(bytes))
}

fn parse_line(line: &str) -> Result<(String, Vec<u8>), BadNote> {
    let bad = BadNote("a line below its text is no signature");
    let (name, bytes) =
        line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or(bad)?;
    let bytes = BASE64_STANDARD.decode(bytes).map_err(|_| bad)?;
    if !is_name(name) || bytes.len() <= 4 {
        return Err(bad);
    }
    Ok((name.to_owned(), bytes))
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|(name, bytes)| f.write_str(&line(name, bytes)))
    }
}

impl FromStr for SignedNote {
    type Err = BadNote;

    fn from_str(note: &str) -> Result<Self, BadNote> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(BadNote("it is too long"));
        }
        if note.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return Err(BadNote("it has control characters"));
        }
        let at = note.rfind("\n\n").ok_or(BadNote("it has no signatures"))?;
        let (text, signatures) = (&note[..at + 1], &note[at + 2..]);
        let signatures = signatures.strip_suffix('\n').ok_or(BadNote("it ends in a line"))?;
        let signatures = signatures.split('\n').map(parse_line).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(BadNote("it has too many signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }
}

/// The name of one life of an organisation's log: what its checkpoints begin with, and what signs them.
pub fn log_name(org: OrgId, life: LogOrigin) -> String {
    format!("endcap.log/{org}/{life}")
}

/// The reverse; one log has one name.
fn parse_log_name(name: &str) -> Option<(OrgId, LogOrigin)> {
    let (org, life) = name.strip_prefix("endcap.log/")?.split_once('/')?;
    let (org, life) = (org.parse().ok()?, life.parse().ok()?);
    (log_name(org, life) == name).then_some((org, life))
}

/// Size and root of a log, under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of which organisation.
    pub org: OrgId,
    /// Of which life of its log.
    pub life: LogOrigin,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: LogHash,
}

impl Checkpoint {
    /// The name of the life of the log that it is of.
    pub fn log_name(&self) -> String {
        log_name(self.org, self.life)
    }

    /// Signed by the log's key.
    pub fn sign(&self, pair: &Keypair) -> SignedNote {
        self.signed(pair.public(), &self.signature(pair))
    }

    /// The log's signature alone.
    pub fn signature(&self, pair: &Keypair) -> [u8; 64] {
        pair.sign(self.to_string().as_bytes())
    }

    /// With a signature that the log's key is said to have made of it: [`Checkpoint::open`] says whether it has.
    pub fn signed(&self, key: [u8; 32], signature: &[u8; 64]) -> SignedNote {
        let key = NoteKey::of_log(self.org, self.life, key);
        let signature = [&key.id()[..], signature].concat();
        SignedNote { signatures: vec![(key.name, signature)], text: self.to_string() }
    }

    /// At which second a witness has signed it, if this line of a note is its signature.
    pub fn cosigned_by(&self, witness: &NoteKey, line: &str) -> Option<u64> {
        SignedNote::unsigned(self.to_string()).with(line, witness)?.signed_by(witness)
    }

    /// What a note says that a log's key has signed.
    pub fn open(note: &SignedNote, key: [u8; 32]) -> Result<Self, BadNote> {
        let checkpoint: Self = note.text.parse()?;
        let key = NoteKey::of_log(checkpoint.org, checkpoint.life, key);
        match note.signed_by(&key) {
            Some(_) => Ok(checkpoint),
            None => Err(BadNote("the log's key has not signed it")),
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = BASE64_STANDARD.encode(self.root.0);
        write!(f, "{}\n{}\n{root}\n", self.log_name(), self.size)
    }
}

impl FromStr for Checkpoint {
    type Err = BadNote;

    fn from_str(text: &str) -> Result<Self, BadNote> {
        let bad = BadNote("it is no checkpoint of an organisation's log");
        let mut lines = text.split('\n');
        let (name, size, root) = (lines.next(), lines.next(), lines.next());
        let (org, life) = name.and_then(parse_log_name).ok_or(bad)?;
        let size = size.and_then(|size| size.parse().ok()).ok_or(bad)?;
        let root = BASE64_STANDARD.decode(root.ok_or(bad)?).map_err(|_| bad)?;
        let root = LogHash(root.try_into().map_err(|_| bad)?);
        let checkpoint = Self { org, life, size, root };
        // One checkpoint has one text, and there are no extensions.
        if checkpoint.to_string() == text { Ok(checkpoint) } else { Err(bad) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Frontier;

    struct Leaves(Vec<LogHash>);

    impl Hashes for Leaves {
        type Error = std::convert::Infallible;

        fn hashes(
            &mut self,
            tile: Tile,
            first: u64,
            count: u64,
        ) -> Result<Vec<LogHash>, Self::Error> {
            assert!((tile.first()..tile.first() + u64::from(tile.width)).contains(&first));
            assert!(
                first + count <= tile.first() + u64::from(tile.width),
                "{tile:?} {first} {count}"
            );
            let of = 1 << (8 * u64::from(tile.level));
            let leaves = &self.0[(first * of) as usize..((first + count) * of) as usize];
            Ok(leaves.chunks(of as usize).map(|chunk| fold(chunk.to_vec())).collect())
        }
    }

    fn leaves(count: u64) -> Leaves {
        Leaves((0..count).map(|n| LogHash::of(&n.to_be_bytes())).collect())
    }

    fn root(leaves: &Leaves, size: u64) -> LogHash {
        let mut frontier = Frontier::default();
        leaves.0[..size as usize].iter().for_each(|leaf| frontier.push(*leaf));
        frontier.root()
    }

    #[test]
    fn trees_agree_with_the_frontier_and_proofs_hold_for_nothing_else() {
        let mut all = leaves(1_100);
        for size in (1..40).chain([255, 256, 257, 300, 511, 512, 513, 1_023, 1_024, 1_100]) {
            let whole = root(&all, size);
            assert_eq!(Tree::new(&mut all, size).root(), Ok(whole), "{size}");
            for index in (0..size).filter(|n| size < 40 || n % 37 == 0 || *n == size - 1) {
                let Ok(proof) = Tree::new(&mut all, size).inclusion(index);
                let leaf = all.0[index as usize];
                assert!(includes(size, &whole, index, &leaf, &proof), "{index} of {size}");
                assert!(!includes(size, &whole, index ^ 1, &leaf, &proof));
                assert!(!includes(size, &whole, index, &LogHash::of(b"another"), &proof));
                let longer = [&proof[..], &[leaf]].concat();
                assert!(!includes(size, &whole, index, &leaf, &longer));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!includes(size, &whole, index, &leaf, shorter));
                }
            }
            for older in (0..=size).filter(|n| size < 40 || n % 29 == 0 || *n == 256) {
                let before = root(&all, older);
                let Ok(proof) = Tree::new(&mut all, size).consistency(older);
                assert!(continues((older, &before), (size, &whole), &proof), "{older} of {size}");
                let other = LogHash::of(b"another");
                assert!(!continues((older, &other), (size, &whole), &proof));
                if older > 0 {
                    assert!(!continues((older, &before), (size, &other), &proof));
                    assert!(!continues((older + 1, &before), (size, &whole), &proof));
                }
                for place in 0..proof.len() {
                    let mut bent = proof.clone();
                    bent[place] = other;
                    assert!(!continues((older, &before), (size, &whole), &bent));
                }
            }
        }
    }

    #[test]
    fn pieces_have_one_path() {
        let tile = |level, index, width| Tile { level, index, width };
        for (piece, path) in [
            (Piece::Hashes(tile(0, 0, 256)), "tile/0/000"),
            (Piece::Hashes(tile(1, 1_234_067, 256)), "tile/1/x001/x234/067"),
            (Piece::Hashes(tile(0, 273, 112)), "tile/0/273.p/112"),
            (Piece::Entries(tile(0, 1_000, 1)), "tile/entries/x001/000.p/1"),
        ] {
            assert_eq!(piece.to_string(), path);
            assert_eq!(path.parse(), Ok(piece));
        }
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/00/000",
            "tile/8/000",
            "tile/0/x000/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/+01",
            "tile/-1/000",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/0/000.p/",
            "tile/entries/../000",
            "tile/0/000/",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(bad.parse::<Piece>(), Err(()), "{bad}");
        }
        let tiles: Vec<_> = Tile::all(70_000).collect();
        assert_eq!(tiles.len(), 274 + 2 + 1);
        assert_eq!(tiles.last(), Some(&tile(2, 0, 1)));
        assert!(tiles.iter().all(|t| t.is_in(70_000)) && !tile(0, 273, 113).is_in(70_000));
        assert!(!tile(0, u64::MAX / 256, 256).is_in(u64::MAX));
    }

    #[test]
    fn entries_are_packed_and_unpacked() {
        let entries = [&b"one"[..], b"", b"three"];
        let bundle = pack_entries(entries).unwrap();
        assert_eq!(bundle, b"\0\x03one\0\0\0\x05three");
        assert_eq!(unpack_entries(&bundle).unwrap(), entries);
        assert!((1..bundle.len()).filter_map(|n| unpack_entries(&bundle[..n])).count() < 3);
        assert_eq!(pack_entries([&[0; 65_536][..]]), None);
    }

    #[test]
    fn a_note_of_the_specification() {
        // The example of golang.org/x/mod/sumdb/note.
        let key: NoteKey =
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let note: SignedNote = "If you think cryptography is the answer to your problem,\n\
             then you don't know what your problem is.\n\n\
             \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngot\
             pRZb6KE6RyyBwJnAM=\n"
            .parse()
            .unwrap();
        assert_eq!((key.name(), note.signed_by(&key)), ("PeterNeumann", Some(0)));
        let pair = Keypair::from_seed(&[7; 32]);
        let key = NoteKey::new("example.com/log", Signs::Note, pair.public()).unwrap();
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        let note = SignedNote::sign("words\n\nand more\n".into(), &key, &pair);
        let read: SignedNote = note.to_string().parse().unwrap();
        assert_eq!((&read, read.signed_by(&key)), (&note, Some(0)));
        let stranger = NoteKey::new("example.com/log", Signs::Note, [9; 32]).unwrap();
        assert_eq!(read.signed_by(&stranger), None);
    }

    #[test]
    fn a_checkpoint_holds_for_one_log_and_one_key() {
        let (pair, witness) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let checkpoint = Checkpoint {
            org: OrgId::from_bytes([3; 16]),
            life: LogOrigin::from_bytes([4; 16]),
            size: 70,
            root: LogHash([5; 32]),
        };
        let note = checkpoint.sign(&pair);
        assert_eq!(Checkpoint::open(&note, pair.public()), Ok(checkpoint.clone()));
        assert!(Checkpoint::open(&note, witness.public()).is_err());
        let key = NoteKey::new("witness.example/w", Signs::Cosignature, witness.public()).unwrap();
        let line = note.cosign(&key, &witness, 1_700_000_000);
        let cosigned = note.with(&line, &key).unwrap();
        assert_eq!(cosigned.signed_by(&key), Some(1_700_000_000));
        assert_eq!(cosigned.to_string().parse(), Ok(cosigned.clone()));
        assert_eq!(Checkpoint::open(&cosigned, pair.public()), Ok(checkpoint.clone()));
        assert_eq!(
            cosigned.only(&[NoteKey::of_log(checkpoint.org, checkpoint.life, pair.public())]),
            note
        );
        let other = Checkpoint { size: 71, ..checkpoint.clone() }.sign(&pair);
        assert_eq!(other.with(&line, &key), None, "another checkpoint");
        let text = note.to_string();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let opened = String::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
            let opened = opened.map(|note| Checkpoint::open(&note, pair.public()));
            assert!(opened.is_none_or(|opened| opened.is_err()), "byte {at}");
        }
        for bad in
            ["a\nb\n", "a\n\n", "a\n\n\u{2014} n AAAAAA==", "a\n\n\u{2014}  AAAAAAA=\n", "a\n\nb\n"]
        {
            assert!(bad.parse::<SignedNote>().is_err(), "{bad:?}");
        }
    }
}
