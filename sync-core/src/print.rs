//! Whether two sides hold the same, in a few bytes; and if not, where they differ.
//!
//! A [`Print`] is a sum over what is held, so it is kept up to date by adding what comes and subtracting what
//! goes. It finds bugs and damaged disks: against somebody who makes items for it, it proves nothing, and need
//! not, for what comes is signed. An [`Inventory`] has the print of every part of what is held: two of them find
//! what they differ in by asking ever smaller parts.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Range, Sub, SubAssign};

use minicbor::decode::Error;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use sha2::{Digest, Sha256};

use crate::id::{ChangeHash, DocId};
use crate::model::catalogue::RecordKey;

const RECORD_CONTEXT: &[u8] = b"endcap record print v1\0";
const PLACE_CONTEXT: &[u8] = b"endcap place v1\0";
const NAME_CONTEXT: &[u8] = b"endcap print v1\0";

/// Into how many parts a part falls.
pub const PARTS: usize = 16;
/// A part with no more items than this is listed.
pub const LISTED_MAX: usize = 16;
/// Four bits of a place at each step.
const DEPTH_MAX: u8 = 16;

/// How many things are held, and the sum of their digests in four lanes modulo 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Print {
    count: u64,
    lanes: [u64; 4],
}

impl Print {
    /// Of a change: its name is its digest.
    pub fn of_change(hash: ChangeHash) -> Self {
        Self::of_digest(&hash.0)
    }

    /// Of a record, as the bytes in which it travels.
    pub fn of_record(key: RecordKey, body: &[u8]) -> Self {
        let digest = Sha256::new_with_prefix(RECORD_CONTEXT).chain_update(key.to_bytes());
        Self::of_digest(&digest.chain_update(body).finalize().into())
    }

    /// Of what has this digest.
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        let (chunks, _) = digest.as_chunks::<8>();
        Self { count: 1, lanes: std::array::from_fn(|lane| u64::from_be_bytes(chunks[lane])) }
    }

    /// Count and lanes, big-endian.
    pub fn to_bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.count.to_be_bytes());
        for (chunk, lane) in bytes[8..].chunks_exact_mut(8).zip(self.lanes) {
            chunk.copy_from_slice(&lane.to_be_bytes());
        }
        bytes
    }

    /// The reverse of [`Print::to_bytes`].
    pub fn from_bytes(bytes: &[u8; 40]) -> Self {
        let (chunks, _) = bytes.as_chunks::<8>();
        let lane = |n: usize| u64::from_be_bytes(chunks[n]);
        Self { count: lane(0), lanes: std::array::from_fn(|n| lane(n + 1)) }
    }

    /// What travels of it.
    pub fn name(&self) -> PrintName {
        let digest = Sha256::new_with_prefix(NAME_CONTEXT).chain_update(self.to_bytes()).finalize();
        let (chunks, _) = digest.as_chunks::<8>();
        PrintName(chunks[0])
    }
}

impl AddAssign for Print {
    fn add_assign(&mut self, other: Self) {
        self.count = self.count.wrapping_add(other.count);
        for (lane, other) in self.lanes.iter_mut().zip(other.lanes) {
            *lane = lane.wrapping_add(other);
        }
    }
}

impl SubAssign for Print {
    fn sub_assign(&mut self, other: Self) {
        self.count = self.count.wrapping_sub(other.count);
        for (lane, other) in self.lanes.iter_mut().zip(other.lanes) {
            *lane = lane.wrapping_sub(other);
        }
    }
}

impl Add for Print {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Sub for Print {
    type Output = Self;
    fn sub(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

impl Sum for Print {
    fn sum<I: Iterator<Item = Self>>(prints: I) -> Self {
        prints.fold(Self::default(), Add::add)
    }
}

impl<C> Encode<C> for Print {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.to_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Print {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        let bytes = d.bytes()?.try_into().map_err(|_| Error::message("a print has 40 bytes"))?;
        Ok(Self::from_bytes(bytes))
    }
}

/// The first 8 bytes of the digest of a print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct PrintName(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 8],
);

/// Something that both sides should hold in the same state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A record. Records come first: the keys that documents are checked with are among them.
    Record(RecordKey),
    /// A document.
    Document(DocId),
}

impl Item {
    /// 0 and the record's key, or 1 and the document's name.
    pub fn to_bytes(self) -> [u8; 18] {
        let (tag, name) = match self {
            Self::Record(key) => (0, key.to_bytes()),
            Self::Document(id) => (1, id.to_bytes()),
        };
        let mut bytes = [tag; 18];
        bytes[1..].copy_from_slice(&name);
        bytes
    }

    /// The reverse of [`Item::to_bytes`]; `None` for what names nothing.
    pub fn from_bytes(bytes: &[u8; 18]) -> Option<Self> {
        let [tag, name @ ..] = bytes;
        match tag {
            0 => Some(Self::Record(RecordKey::from_bytes(name))),
            1 => DocId::from_bytes(name).map(Self::Document),
            _ => None,
        }
    }

    fn place(self) -> u64 {
        let digest =
            Sha256::new_with_prefix(PLACE_CONTEXT).chain_update(self.to_bytes()).finalize();
        let (chunks, _) = digest.as_chunks::<8>();
        u64::from_be_bytes(chunks[0])
    }
}

impl<C> Encode<C> for Item {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.to_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Item {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        let bytes = d.bytes()?.try_into().ok().and_then(Self::from_bytes);
        bytes.ok_or_else(|| Error::message("no record and no document has this name"))
    }
}

/// The items whose places begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode)]
#[cbor(array)]
pub struct Part {
    /// How many times four bits: 0 to 16.
    #[n(0)]
    depth: u8,
    /// Those bits, as a number.
    #[n(1)]
    prefix: u64,
}

impl Part {
    /// All items.
    pub const WHOLE: Self = Self { depth: 0, prefix: 0 };

    /// The parts that it falls into; none if it is one place.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        let depth = self.depth + 1;
        let parts = if self.depth < DEPTH_MAX { PARTS as u64 } else { 0 };
        (0..parts).map(move |nibble| Self { depth, prefix: self.prefix << 4 | nibble })
    }

    /// Its first and last place.
    fn places(self) -> (u64, u64) {
        let free = 64 - 4 * u32::from(self.depth);
        let first = self.prefix.checked_shl(free).unwrap_or(0);
        (first, first | u64::MAX.checked_shr(64 - free).unwrap_or(0))
    }
}

impl<'b, C> Decode<'b, C> for Part {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        let length = d.array()?;
        let (depth, prefix) = (d.u8()?, d.u64()?);
        let fits = depth <= DEPTH_MAX && prefix.checked_shr(4 * u32::from(depth)).unwrap_or(0) == 0;
        match length {
            Some(2) if fits => Ok(Self { depth, prefix }),
            _ => Err(Error::message("no part is called so")),
        }
    }
}

/// What one side says of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The prints of the parts that it falls into.
    Parts([PrintName; PARTS]),
    /// All that is in it.
    Items(Vec<(Item, PrintName)>),
}

impl<C> Encode<C> for Content {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::Parts(parts) => e.bytes(&parts.map(|name| name.0).concat())?.ok(),
            Self::Items(items) => {
                e.array(2 * items.len() as u64)?;
                items
                    .iter()
                    .try_for_each(|(item, name)| e.encode_with(item, c)?.encode_with(name, c)?.ok())
            }
        }
    }
}

impl<'b, C> Decode<'b, C> for Content {
    fn decode(d: &mut Decoder<'b>, c: &mut C) -> Result<Self, Error> {
        if d.datatype()? == minicbor::data::Type::Bytes {
            let (chunks, rest) = d.bytes()?.as_chunks::<8>();
            let parts = <[[u8; 8]; PARTS]>::try_from(chunks).ok().filter(|_| rest.is_empty());
            let parts = parts.ok_or_else(|| Error::message("a part has 16 parts"))?;
            return Ok(Self::Parts(parts.map(PrintName)));
        }
        let fits = |length: &u64| length.is_multiple_of(2) && *length <= 2 * LISTED_MAX as u64;
        let length = d.array()?.filter(fits);
        let length =
            length.ok_or_else(|| Error::message("a part lists 16 items, each with its print"))?;
        let mut items = Vec::new();
        for _ in 0..length / 2 {
            items.push((d.decode_with(c)?, d.decode_with(c)?));
        }
        Ok(Self::Items(items))
    }
}

/// All that one side holds, in the order of places.
#[derive(Debug)]
pub struct Inventory {
    rows: Vec<(u64, Item, Print)>,
    /// The sum over all rows before each, and over all.
    sums: Vec<Print>,
}

impl Inventory {
    /// Of these. An item that comes again is added to what there is of it.
    pub fn new(items: impl IntoIterator<Item = (Item, Print)>) -> Self {
        let mut rows: Vec<_> =
            items.into_iter().map(|(item, print)| (item.place(), item, print)).collect();
        rows.sort_unstable_by_key(|(place, item, _)| (*place, *item));
        rows.dedup_by(|again, first| {
            let same = again.1 == first.1;
            if same {
                first.2 += again.2;
            }
            same
        });
        rows.retain(|(_, _, print)| *print != Print::default());
        let mut sums = Vec::with_capacity(rows.len() + 1);
        let mut sum = Print::default();
        sums.push(sum);
        for (_, _, print) in &rows {
            sum += *print;
            sums.push(sum);
        }
        Self { rows, sums }
    }

    /// The print of everything.
    pub fn print(&self) -> Print {
        self.sums.last().copied().unwrap_or_default()
    }

    fn range(&self, part: Part) -> Range<usize> {
        let (first, last) = part.places();
        self.rows.partition_point(|row| row.0 < first)
            ..self.rows.partition_point(|row| row.0 <= last)
    }

    /// The print of a part.
    pub fn print_of(&self, part: Part) -> Print {
        let Range { start, end } = self.range(part);
        self.sums[end] - self.sums[start]
    }

    /// What is in a part.
    pub fn items(&self, part: Part) -> impl Iterator<Item = (Item, Print)> + '_ {
        self.rows[self.range(part)].iter().map(|(_, item, print)| (*item, *print))
    }

    /// What this side says of a part.
    pub fn content(&self, part: Part) -> Content {
        let names: Vec<PrintName> = match self.range(part).len() {
            0..=LISTED_MAX => Vec::new(),
            _ => part.parts().map(|part| self.print_of(part).name()).collect(),
        };
        match names.try_into() {
            Ok(parts) => Content::Parts(parts),
            Err(_) => Content::Items(self.items(part).map(|(i, p)| (i, p.name())).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cbor::{from_cbor, to_cbor};
    use crate::id::DocKind;

    fn item(n: u64) -> Item {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        match n % 3 {
            0 => Item::Record(RecordKey { kind: (n % 12) as u8, id }),
            1 => Item::Document(DocId { kind: DocKind::Visit, id }),
            _ => Item::Document(DocId { kind: DocKind::Outlet, id }),
        }
    }

    fn change(n: u64) -> Print {
        Print::of_change(ChangeHash(Sha256::digest(n.to_be_bytes()).into()))
    }

    #[test]
    fn what_comes_and_goes_leaves_what_was_there() {
        let key = RecordKey { kind: 1, id: [7; 16] };
        let (one, other) = (Print::of_record(key, b"one"), Print::of_record(key, b"other"));
        assert_ne!(one, other);
        assert_ne!(one, Print::of_record(RecordKey { kind: 2, ..key }, b"one"));
        assert_eq!(change(1) + one - change(1) - one, Print::default());
        assert_eq!(change(1) + one, one + change(1));
        assert_ne!(one.name(), (one + Print::default() + change(2)).name());
        assert_eq!(Print::from_bytes(&one.to_bytes()), one);
        // Twice the same is not nothing: it is a sum, no exclusive or.
        assert_ne!(one + one, Print::default());
        let most = Print::of_change(ChangeHash([0xff; 32]));
        assert_eq!(most + most - most, most);
    }

    #[test]
    fn parts_cover_every_place_once() {
        let mut part = Part::WHOLE;
        assert_eq!(part.places(), (0, u64::MAX));
        while part.depth < DEPTH_MAX {
            let places: Vec<_> = part.parts().map(Part::places).collect();
            assert_eq!(places.len(), PARTS);
            assert_eq!((places[0].0, places[15].1), part.places());
            assert!(places.windows(2).all(|two| two[0].1 + 1 == two[1].0));
            part = part.parts().nth(usize::from(part.depth) % PARTS).unwrap();
        }
        assert_eq!(part.places().0, part.places().1);
        assert_eq!(part.parts().count(), 0);
    }

    #[test]
    fn what_names_no_part_and_no_item_is_an_error() {
        let part = |depth: u8, prefix: u64| from_cbor::<Part>(&to_cbor(&(depth, prefix)));
        assert_eq!(part(0, 0).unwrap(), Part::WHOLE);
        assert!(part(0, 1).is_err() && part(17, 0).is_err() && part(255, 0).is_err());
        assert!(part(1, 15).is_ok() && part(1, 16).is_err() && part(16, u64::MAX).is_ok());
        assert!(from_cbor::<Part>(&to_cbor(&(1, 2, 3))).is_err());
        for n in 0..6 {
            assert_eq!(from_cbor::<Item>(&to_cbor(&item(n))).unwrap(), item(n));
        }
        assert!(Item::from_bytes(&[2; 18]).is_none(), "no such tag");
        assert!(Item::from_bytes(&[1; 18]).is_some());
        let mut later = [1; 18];
        later[1] = 9;
        assert!(Item::from_bytes(&later).is_none(), "no such kind of document");
        for content in [&[0x83, 0, 0, 0][..], &[0x41, 0], &[0x9f, 0xff], &[0x58, 129]] {
            assert!(from_cbor::<Content>(content).is_err());
        }
    }

    #[test]
    fn an_empty_hand_holds_nothing() {
        let nothing = Inventory::new([]);
        assert_eq!(nothing.print(), Print::default());
        assert_eq!(nothing.content(Part::WHOLE), Content::Items(Vec::new()));
        // What does not count is not there.
        assert_eq!(Inventory::new([(item(1), Print::default())]).items(Part::WHOLE).count(), 0);
    }

    proptest! {
        /// Asking ever smaller parts finds exactly what differs.
        #[test]
        fn two_hands_find_what_they_differ_in(
            held in 0..3_000_u64,
            changed in proptest::collection::btree_map(0..4_000_u64, 0..3_u8, 0..40),
        ) {
            let ours: Vec<_> = (0..held).map(|n| (item(n), change(n))).collect();
            let mut theirs: std::collections::BTreeMap<Item, Print> = ours.iter().copied().collect();
            for (n, how) in &changed {
                match how {
                    0 => drop(theirs.remove(&item(*n))),
                    1 => drop(theirs.insert(item(*n), change(*n + 1))),
                    _ => *theirs.entry(item(*n)).or_default() += change(*n + 9_999),
                }
            }
            let ours: std::collections::BTreeMap<Item, Print> = ours.into_iter().collect();
            let all = ours.keys().chain(theirs.keys());
            let differ: std::collections::BTreeSet<Item> =
                all.filter(|item| ours.get(item) != theirs.get(item)).copied().collect();
            let (ours, theirs) = (Inventory::new(ours), Inventory::new(theirs));
            prop_assert_eq!(ours.print() == theirs.print(), differ.is_empty());
            let mut found = std::collections::BTreeSet::new();
            let mut parts = vec![Part::WHOLE];
            while let Some(part) = parts.pop() {
                let said = to_cbor(&theirs.content(part));
                match from_cbor::<Content>(&said).unwrap() {
                    Content::Parts(names) => parts.extend(
                        part.parts().zip(names).filter(|(p, n)| ours.print_of(*p).name() != *n).map(|(p, _)| p),
                    ),
                    Content::Items(items) => {
                        prop_assert!(items.len() <= LISTED_MAX);
                        let mine: Vec<_> = ours.items(part).map(|(i, p)| (i, p.name())).collect();
                        found.extend(items.iter().filter(|i| !mine.contains(i)).map(|(i, _)| *i));
                        found.extend(mine.iter().filter(|i| !items.contains(i)).map(|(i, _)| *i));
                    }
                }
            }
            prop_assert_eq!(found, differ);
        }
    }
}
