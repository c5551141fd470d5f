//! What the brand hands to the field: versioned records, authored by the server alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use super::people::{Audience, Rights, Role, Scope};
use super::visit::{CheckId, lenient, raw};
use super::{Currency, Day, Geo, Invalid};
use crate::id::{
    BlobHash, CallId, DeviceId, DistributorId, DocId, Gtin, OrgId, OutletId, TerritoryId, UserId,
};

/// One record of the catalogue: the newest version of its key is the one in force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Record {
    /// A node of the territory tree.
    #[n(0)]
    Territory(#[n(0)] Territory),
    /// A partner company.
    #[n(1)]
    Distributor(#[n(0)] Distributor),
    /// Someone who works with the organisation.
    #[n(2)]
    Person(#[n(0)] Person),
    /// A phone's key, enrolled for one person, or withdrawn.
    #[n(3)]
    Device(#[n(0)] Device),
    /// A trade item.
    #[n(4)]
    Product(#[n(0)] Product),
    /// The drawing of a shelf.
    #[n(5)]
    Planogram(#[n(0)] Planogram),
    /// Recommended selling prices.
    #[n(6)]
    PriceList(#[n(0)] PriceList),
    /// A kind of secondary display.
    #[n(7)]
    Display(#[n(0)] Display),
    /// A trade promotion.
    #[n(8)]
    Promotion(#[n(0)] Promotion),
    /// A list of checks.
    #[n(9)]
    Template(#[n(0)] Template),
    /// A store.
    #[n(10)]
    Outlet(#[n(0)] Outlet),
    /// A planned call.
    #[n(11)]
    Call(#[n(0)] Call),
    /// Something that was erased on request.
    #[n(12)]
    Erased(#[n(0)] Erased),
}

/// The kinds of records; the numbers are those of [`Record`]'s encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is the kind of the record of its name")]
pub enum RecordKind {
    Territory = 0,
    Distributor = 1,
    Person = 2,
    Device = 3,
    Product = 4,
    Planogram = 5,
    PriceList = 6,
    Display = 7,
    Promotion = 8,
    Template = 9,
    Outlet = 10,
    Call = 11,
    Erased = 12,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Territory,
        Self::Distributor,
        Self::Person,
        Self::Device,
        Self::Product,
        Self::Planogram,
        Self::PriceList,
        Self::Display,
        Self::Promotion,
        Self::Template,
        Self::Outlet,
        Self::Call,
        Self::Erased,
    ];
}

/// A record's name: its kind and its id within the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct RecordKey {
    /// The number of the kind, as encoded; newer kinds have numbers that [`RecordKind`] lacks.
    #[n(0)]
    pub kind: u8,
    /// A UUID's bytes, or a number in the last eight bytes.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub id: [u8; 16],
}

impl RecordKey {
    fn uuid(kind: RecordKind, id: &[u8; 16]) -> Self {
        Self { kind: kind as u8, id: *id }
    }

    fn number(kind: RecordKind, number: u64) -> Self {
        Self { kind: kind as u8, id: u128::from(number).to_be_bytes() }
    }

    /// The 17 bytes by which stores order records: kind, then id.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut out = [0; 17];
        out[0] = self.kind;
        out[1..].copy_from_slice(&self.id);
        out
    }

    /// The reverse of [`RecordKey::to_bytes`].
    pub fn from_bytes(bytes: &[u8; 17]) -> Self {
        let [kind, id @ ..] = *bytes;
        Self { kind, id }
    }

    /// The key of an encoded record, of a kind that is known or not: every record is
    /// `[kind, {0: id, …}]`, its id a UUID's bytes or a number, for ever.
    pub fn peek(record: &[u8]) -> Option<Self> {
        let mut d = minicbor::Decoder::new(record);
        d.array().ok()?;
        let kind = d.u8().ok()?;
        d.map().ok()?;
        if d.u8().ok()? != 0 {
            return None;
        }
        let id = match d.datatype().ok()? {
            minicbor::data::Type::Bytes => d.bytes().ok()?.try_into().ok()?,
            _ => u128::from(d.u64().ok()?).to_be_bytes(),
        };
        Some(Self { kind, id })
    }

    /// The key of an outlet.
    pub fn outlet(id: OutletId) -> Self {
        Self::uuid(RecordKind::Outlet, id.as_bytes())
    }
    /// The key of a planned call.
    pub fn call(id: CallId) -> Self {
        Self::uuid(RecordKind::Call, id.as_bytes())
    }
    /// The key of a distributor.
    pub fn distributor(id: DistributorId) -> Self {
        Self::uuid(RecordKind::Distributor, id.as_bytes())
    }
    /// The key of a person.
    pub fn person(id: UserId) -> Self {
        Self::uuid(RecordKind::Person, id.as_bytes())
    }
    /// The key of a device.
    pub fn device(id: DeviceId) -> Self {
        Self::uuid(RecordKind::Device, id.as_bytes())
    }
    /// The key of a product.
    pub fn product(gtin: Gtin) -> Self {
        Self::number(RecordKind::Product, gtin.as_u64())
    }
    /// The key of a planogram.
    pub fn planogram(number: u32) -> Self {
        Self::number(RecordKind::Planogram, number.into())
    }
    /// The key of what says that a photo or a note was erased.
    pub fn erased(digest: BlobHash) -> Self {
        Self::uuid(RecordKind::Erased, &Erased::id_of(digest))
    }
    /// The key of what says that a person's name was erased.
    pub fn erased_person(id: UserId) -> Self {
        Self::uuid(RecordKind::Erased, id.as_bytes())
    }
    /// The key of a kind of display.
    pub fn display(number: u32) -> Self {
        Self::number(RecordKind::Display, number.into())
    }
    /// The key of a template.
    pub fn template(number: u32) -> Self {
        Self::number(RecordKind::Template, number.into())
    }
}

impl Record {
    /// Its name.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Territory(r) => RecordKey::uuid(RecordKind::Territory, r.id.as_bytes()),
            Self::Distributor(r) => RecordKey::distributor(r.id),
            Self::Person(r) => RecordKey::person(r.id),
            Self::Device(r) => RecordKey::device(r.id),
            Self::Product(r) => RecordKey::product(r.gtin),
            Self::Planogram(r) => RecordKey::planogram(r.number),
            Self::PriceList(r) => RecordKey::number(RecordKind::PriceList, r.number.into()),
            Self::Display(r) => RecordKey::display(r.number),
            Self::Promotion(r) => RecordKey::number(RecordKind::Promotion, r.number.into()),
            Self::Template(r) => RecordKey::template(r.number),
            Self::Outlet(r) => RecordKey::outlet(r.id),
            Self::Call(r) => RecordKey::call(r.id),
            Self::Erased(r) => RecordKey::uuid(RecordKind::Erased, &r.id),
        }
    }

    /// Who receives it. A call needs its outlet's audience, which only the caller knows.
    pub fn audience(&self, outlet_of_call: impl FnOnce(OutletId) -> Option<Audience>) -> Audience {
        match self {
            Self::Outlet(outlet) => outlet.audience(),
            Self::Call(call) => outlet_of_call(call.outlet).unwrap_or(Audience::Everyone),
            _ => Audience::Everyone,
        }
    }

    /// Checks the rules that concern this record alone.
    pub fn validate(&self) -> Result<(), Invalid> {
        let name = |name: &str| Invalid::unless_text(name, 120, "name");
        match self {
            Self::Territory(r) => name(&r.name),
            Self::Distributor(r) => name(&r.name),
            Self::Person(r) => name(&r.name).and_then(|()| r.validate()),
            Self::Device(_) | Self::Erased(_) => Ok(()),
            Self::Product(r) => name(&r.name),
            Self::Planogram(r) => name(&r.name).and_then(|()| r.validate()),
            Self::PriceList(r) => name(&r.name).and_then(|()| r.validate()),
            Self::Display(r) => name(&r.name),
            Self::Promotion(r) => name(&r.name),
            Self::Template(r) => name(&r.name).and_then(|()| r.validate()),
            Self::Outlet(r) => name(&r.name).and_then(|()| r.validate()),
            Self::Call(r) => {
                let ok = (1..=20).contains(&r.people.len());
                Invalid::unless(ok, "people", "needs 1 to 20 people")
            }
        }
    }
}

/// What was erased: its bytes or words are gone and are not taken again; its digest stays where it is named.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Erased {
    /// The first 16 bytes of the digest, or the person.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub id: [u8; 16],
    /// What it was.
    #[n(1)]
    pub what: ErasedKind,
    /// Of a photo or a note.
    #[n(2)]
    pub digest: Option<BlobHash>,
    /// When, in milliseconds since 1970 UTC.
    #[n(3)]
    pub at_ms: i64,
}

/// What can be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ErasedKind {
    /// A photo.
    #[n(0)]
    Photo,
    /// A comment or a free-text answer.
    #[n(1)]
    Note,
    /// A person's name and contact data.
    #[n(2)]
    Person,
}

impl Erased {
    /// Under which id the erasure of a photo or a note is kept.
    pub fn id_of(digest: BlobHash) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(&digest.0[..16]);
        id
    }
}

/// A node of the territory tree.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Territory {
    /// Which.
    #[n(0)]
    pub id: TerritoryId,
    /// What it is part of; `None` for the whole.
    #[n(1)]
    pub parent: Option<TerritoryId>,
    /// What people call it.
    #[n(2)]
    pub name: String,
}

/// A partner company.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Distributor {
    /// Which.
    #[n(0)]
    pub id: DistributorId,
    /// What people call it.
    #[n(1)]
    pub name: String,
    /// GS1 global location number, 13 digits.
    #[n(2)]
    pub gln: Option<String>,
}

/// Someone who works with the organisation. The name is erasable: the id stays.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Person {
    /// Which.
    #[n(0)]
    pub id: UserId,
    /// What colleagues call them.
    #[n(1)]
    pub name: String,
    /// As what they work.
    #[n(2)]
    pub role: Role,
    /// Where they work.
    #[n(3)]
    pub scope: Scope,
    /// Still works here.
    #[n(4)]
    pub active: bool,
}

impl Person {
    /// What they may do, if they still may do anything.
    pub fn rights(&self) -> Option<Rights> {
        self.active.then_some(Rights { user: self.id, role: self.role, scope: self.scope })
    }

    fn validate(&self) -> Result<(), Invalid> {
        let fits = matches!(self.scope, Scope::Distributor(_)) == self.role.of_distributor();
        Invalid::unless(fits, "scope", "needs a distributor for its people, a territory for others")
    }
}

/// A phone's key, enrolled for one person.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Device {
    /// Which.
    #[n(0)]
    pub id: DeviceId,
    /// Whose.
    #[n(1)]
    pub user: UserId,
    /// The Ed25519 public key.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// No longer trusted.
    #[n(3)]
    pub revoked: bool,
    /// Since when it was out of its person's hands, as whoever withdrew it says, in milliseconds since 1970 UTC.
    #[n(4)]
    pub lost_ms: Option<i64>,
}

impl Device {
    /// Whether it stands for the server, which writes for whoever acts in the console.
    pub fn is_server(&self) -> bool {
        self.user == UserId::NOBODY
    }

    /// The one that stands for the server now, among those that `look` finds.
    pub fn of_server<E>(
        org: OrgId,
        mut look: impl FnMut(DeviceId) -> Result<Option<Self>, E>,
    ) -> Result<Option<Self>, E> {
        for id in DeviceId::of_servers(org) {
            match look(id)? {
                Some(device) if device.revoked => {}
                found => return Ok(found),
            }
        }
        Ok(None)
    }
}

/// A trade item, own or a competitor's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Product {
    /// Which.
    #[n(0)]
    pub gtin: Gtin,
    /// What the label says.
    #[n(1)]
    pub name: String,
    /// Under which brand.
    #[n(2)]
    pub brand: String,
    /// In which category.
    #[n(3)]
    pub category: String,
    /// The organisation's own.
    #[n(4)]
    pub own: bool,
    /// Width of one facing.
    #[n(5)]
    pub width_mm: u32,
    /// Height of one facing.
    #[n(6)]
    pub height_mm: u32,
    /// The pack's colour for drawings, 0xRRGGBB.
    #[n(7)]
    pub colour: u32,
}

/// The drawing of a shelf.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Planogram {
    /// Which; stable across versions.
    #[n(0)]
    pub number: u32,
    /// Rises with each change.
    #[n(1)]
    pub version: u32,
    /// What people call it.
    #[n(2)]
    pub name: String,
    /// Of which category.
    #[n(3)]
    pub category: String,
    /// Width of the whole.
    #[n(4)]
    pub width_mm: u32,
    /// Height of the whole, from the floor.
    #[n(5)]
    pub height_mm: u32,
    /// Its shelves.
    #[n(6)]
    pub shelves: Vec<Shelf>,
    /// What stands on them.
    #[n(7)]
    pub positions: Vec<Position>,
}

/// A shelf of a planogram.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Shelf {
    /// Which, in its planogram.
    #[n(0)]
    pub number: u32,
    /// Its board's height over the floor.
    #[n(1)]
    pub y_mm: u32,
    /// Room above the board.
    #[n(2)]
    pub height_mm: u32,
    /// What people call it.
    #[n(3)]
    pub name: String,
}

/// A product's planned place.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Position {
    /// Which, in its planogram; stable across versions while it is the same product's place.
    #[n(0)]
    pub number: u32,
    /// On which shelf.
    #[n(1)]
    pub shelf: u32,
    /// Left edge.
    #[n(2)]
    pub x_mm: u32,
    /// Width of all facings.
    #[n(3)]
    pub width_mm: u32,
    /// What.
    #[n(4)]
    pub gtin: Gtin,
    /// How many fronts.
    #[n(5)]
    pub facings: u32,
}

impl Planogram {
    /// A position by its number.
    pub fn position(&self, number: u32) -> Option<&Position> {
        self.positions.iter().find(|p| p.number == number)
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.shelves.len() <= 50, "shelves", "can be 50 at most")?;
        Invalid::unless(self.positions.len() <= 1_000, "positions", "can be 1,000 at most")?;
        let shelves: BTreeSet<u32> = self.shelves.iter().map(|s| s.number).collect();
        let numbers: BTreeSet<u32> = self.positions.iter().map(|p| p.number).collect();
        let unique = shelves.len() == self.shelves.len() && numbers.len() == self.positions.len();
        Invalid::unless(unique, "number", "must be unique among shelves and among positions")?;
        let placed = self.positions.iter().all(|p| {
            shelves.contains(&p.shelf)
                && p.facings >= 1
                && p.x_mm.saturating_add(p.width_mm) <= self.width_mm
        });
        Invalid::unless(
            placed,
            "positions",
            "must stand on a shelf, within the width, with a facing",
        )
    }
}

/// Recommended selling prices for some channels.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PriceList {
    /// Which; stable across versions.
    #[n(0)]
    pub number: u32,
    /// Rises with each change.
    #[n(1)]
    pub version: u32,
    /// What people call it.
    #[n(2)]
    pub name: String,
    /// Of every price in it.
    #[n(3)]
    pub currency: Currency,
    /// A shelf price within this many thousandths of the recommended one is right.
    #[n(4)]
    pub tolerance_permille: u32,
    /// The outlets' channels that it is for.
    #[n(5)]
    pub channels: Vec<String>,
    /// The prices.
    #[n(6)]
    pub prices: Vec<ListPrice>,
}

/// A recommended selling price from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ListPrice {
    /// Of what.
    #[n(0)]
    pub gtin: Gtin,
    /// Minor units of the list's currency.
    #[n(1)]
    pub minor: i64,
    /// From this day on.
    #[n(2)]
    pub from: Day,
}

impl PriceList {
    /// The recommended price in force on a day, in minor units.
    pub fn in_force(&self, gtin: Gtin, day: Day) -> Option<i64> {
        let current = self.prices.iter().filter(|p| p.gtin == gtin && p.from <= day);
        current.max_by_key(|p| p.from).map(|p| p.minor)
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.prices.len() <= 10_000, "prices", "can be 10,000 at most")?;
        Invalid::unless(self.tolerance_permille <= 1_000, "tolerance", "can be 1,000 ‰ at most")?;
        let positive = self.prices.iter().all(|p| p.minor > 0);
        Invalid::unless(positive, "prices", "must be above zero")
    }
}

/// A kind of secondary display.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Display {
    /// Which.
    #[n(0)]
    pub number: u32,
    /// What people call it.
    #[n(1)]
    pub name: String,
    /// How it should look.
    #[n(2)]
    pub description: String,
}

/// A trade promotion.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Promotion {
    /// Which.
    #[n(0)]
    pub number: u32,
    /// What people call it.
    #[n(1)]
    pub name: String,
    /// First day.
    #[n(2)]
    pub starts: Day,
    /// Last day.
    #[n(3)]
    pub ends: Day,
    /// Of what.
    #[n(4)]
    pub gtins: Vec<Gtin>,
    /// Such as `price_off`.
    #[n(5)]
    pub mechanic: String,
    /// The promised price in minor units, if it is about one.
    #[n(6)]
    pub price_minor: Option<i64>,
    /// In outlets of these channels.
    #[n(7)]
    pub channels: Vec<String>,
}

/// A versioned list of checks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Template {
    /// Which; stable across versions.
    #[n(0)]
    pub number: u32,
    /// Rises with each change.
    #[n(1)]
    pub version: u32,
    /// What people call it.
    #[n(2)]
    pub name: String,
    /// For outlets of these channels.
    #[n(3)]
    pub channels: Vec<String>,
    /// What to look at.
    #[n(4)]
    pub checks: Vec<Check>,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Check {
    /// Which, in the organisation's check dictionary.
    #[n(0)]
    pub id: CheckId,
    /// A few words.
    #[n(1)]
    pub title: String,
    /// A sentence or two for who does it.
    #[n(2)]
    pub help: String,
    /// Of which kind.
    #[n(3)]
    pub kind: CheckKind,
}

/// What kind of thing a check looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// Each position of the outlet's planograms.
    Planogram,
    /// A secondary display.
    Display {
        /// Which.
        display: u32,
    },
    /// The shelf prices of these products; of the outlet's must-stock list if none is named.
    Price {
        /// Which.
        gtins: Vec<Gtin>,
    },
    /// The presence of these products; of the outlet's must-stock list if none is named.
    Stock {
        /// Which.
        gtins: Vec<Gtin>,
    },
    /// A question about the outlet.
    Question {
        /// How it is answered.
        answer: AnswerKind,
        /// What to choose from.
        options: Vec<String>,
    },
    /// A kind of check or of answer that this version does not know, kept as it came.
    Unknown(Vec<u8>),
}

impl<C> Encode<C> for CheckKind {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Planogram => e.array(1)?.u32(0)?.ok(),
            Self::Display { display } => e.array(2)?.u32(1)?.u32(*display)?.ok(),
            Self::Price { gtins } => gtins.encode(e.array(2)?.u32(2)?, ctx),
            Self::Stock { gtins } => gtins.encode(e.array(2)?.u32(3)?, ctx),
            Self::Question { answer, options } => {
                answer.encode(e.array(3)?.u32(4)?, ctx)?;
                options.encode(e, ctx)
            }
            Self::Unknown(bytes) => raw(e, bytes),
        }
    }
}

impl<'b, C> Decode<'b, C> for CheckKind {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let known = |d: &mut Decoder<'b>, kind, length| {
            Ok(Some(match (kind, length) {
                (0, 1) => Self::Planogram,
                (1, 2) => Self::Display { display: d.u32()? },
                (2, 2) => Self::Price { gtins: d.decode_with(ctx)? },
                (3, 2) => Self::Stock { gtins: d.decode_with(ctx)? },
                (4, 3) => match d.decode_with(ctx) {
                    Ok(answer) => Self::Question { answer, options: d.decode_with(ctx)? },
                    Err(error) if error.is_unknown_variant() => return Ok(None),
                    Err(error) => return Err(error),
                },
                _ => return Ok(None),
            }))
        };
        lenient(d, known, Self::Unknown)
    }
}

/// How a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum AnswerKind {
    /// One of the options.
    #[n(0)]
    Choice,
    /// Yes or no.
    #[n(1)]
    YesNo,
    /// A whole number.
    #[n(2)]
    Number,
    /// Words, as a note.
    #[n(3)]
    Text,
}

impl Template {
    /// A check by its id.
    pub fn check(&self, id: CheckId) -> Option<&Check> {
        self.checks.iter().find(|c| c.id == id)
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.checks.len() <= 200, "checks", "can be 200 at most")?;
        let ids: BTreeSet<CheckId> = self.checks.iter().map(|c| c.id).collect();
        Invalid::unless(ids.len() == self.checks.len(), "checks", "must have ids of their own")
    }
}

/// A store.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Outlet {
    /// Which.
    #[n(0)]
    pub id: OutletId,
    /// The name over the door.
    #[n(1)]
    pub name: String,
    /// The short customer number.
    #[n(2)]
    pub code: String,
    /// Where in the tree.
    #[n(3)]
    pub territory: TerritoryId,
    /// Who serves it.
    #[n(4)]
    pub distributor: DistributorId,
    /// Such as `supermarket`.
    #[n(5)]
    pub channel: String,
    /// Street and number.
    #[n(6)]
    pub street: String,
    /// Postal code and town.
    #[n(7)]
    pub town: String,
    /// Where on the map.
    #[n(8)]
    pub place: Option<Geo>,
    /// IANA time zone: its KPI days are local.
    #[n(9)]
    pub zone: String,
    /// The planograms of its shelves, by number.
    #[n(10)]
    pub planograms: Vec<u32>,
    /// What it must always have.
    #[n(11)]
    pub must_stock: Vec<Gtin>,
    /// Still served.
    #[n(12)]
    pub active: bool,
    /// How far it reaches around its place, in metres; `None`: as far as the organisation says.
    #[n(13)]
    pub radius_m: Option<u32>,
}

/// An outlet may be said to reach so far around its place, at least and at most, in metres.
pub const RADIUS_M: RangeInclusive<u32> = 10..=5_000;

impl Outlet {
    /// Who sees it and its visits.
    pub fn audience(&self) -> Audience {
        Audience::Outlet { territory: self.territory, distributor: self.distributor }
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.place.as_ref().map_or(Ok(()), Geo::validate)?;
        let zone = jiff::tz::TimeZone::get(&self.zone).is_ok();
        Invalid::unless(zone, "zone", "needs an IANA time zone such as Europe/Helsinki")?;
        let own = !DocId::from(self.id).is_later_volume();
        Invalid::unless(own, "id", "cannot be a UUID of version 8")?;
        Invalid::unless(self.planograms.len() <= 50, "planograms", "can be 50 at most")?;
        let reaches = self.radius_m.is_none_or(|metres| RADIUS_M.contains(&metres));
        Invalid::unless(reaches, "radius_m", "needs 10 to 5,000 metres")?;
        Invalid::unless(self.must_stock.len() <= 1_000, "must_stock", "can be 1,000 at most")
    }
}

/// A planned call: its people and day are attributes that can change, its id never does.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Call {
    /// Which.
    #[n(0)]
    pub id: CallId,
    /// Where.
    #[n(1)]
    pub outlet: OutletId,
    /// On which local day of the outlet.
    #[n(2)]
    pub day: Day,
    /// By whom.
    #[n(3)]
    pub people: Vec<UserId>,
    /// With which template.
    #[n(4)]
    pub template: u32,
    /// No longer wanted.
    #[n(5)]
    pub cancelled: bool,
}

/// Catalogue items by version, as projection needs them. Copies share the items.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    planograms: BTreeMap<(u32, u32), Arc<Planogram>>,
    price_lists: BTreeMap<(u32, u32), Arc<PriceList>>,
    templates: BTreeMap<(u32, u32), Arc<Template>>,
    products: BTreeMap<Gtin, Arc<Product>>,
}

impl Catalogue {
    /// Takes a record in; older versions of versioned items stay.
    pub fn insert(&mut self, record: Record) {
        match record {
            Record::Planogram(r) => drop(self.planograms.insert((r.number, r.version), r.into())),
            Record::PriceList(r) => drop(self.price_lists.insert((r.number, r.version), r.into())),
            Record::Template(r) => drop(self.templates.insert((r.number, r.version), r.into())),
            Record::Product(r) => drop(self.products.insert(r.gtin, r.into())),
            _ => {}
        }
    }

    /// A planogram in one version.
    pub fn planogram(&self, number: u32, version: u32) -> Option<&Planogram> {
        self.planograms.get(&(number, version)).map(Arc::as_ref)
    }

    /// The newest version of a planogram.
    pub fn newest_planogram(&self, number: u32) -> Option<&Planogram> {
        self.planograms.range((number, 0)..=(number, u32::MAX)).next_back().map(|(_, p)| p.as_ref())
    }

    /// A price list in one version.
    pub fn price_list(&self, number: u32, version: u32) -> Option<&PriceList> {
        self.price_lists.get(&(number, version)).map(Arc::as_ref)
    }

    /// The newest version of the price list for a channel.
    pub fn price_list_for(&self, channel: &str) -> Option<&PriceList> {
        let lists = self.price_lists.values().map(Arc::as_ref);
        let fitting = lists.filter(|l| l.channels.iter().any(|c| c == channel));
        fitting.max_by_key(|l| (l.version, std::cmp::Reverse(l.number)))
    }

    /// A template in one version.
    pub fn template(&self, number: u32, version: u32) -> Option<&Template> {
        self.templates.get(&(number, version)).map(Arc::as_ref)
    }

    /// The newest version of a template.
    pub fn newest_template(&self, number: u32) -> Option<&Template> {
        self.templates.range((number, 0)..=(number, u32::MAX)).next_back().map(|(_, t)| t.as_ref())
    }

    /// The newest versions of all templates.
    pub fn newest_templates(&self) -> impl Iterator<Item = &Template> {
        let numbers: BTreeSet<u32> = self.templates.keys().map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| self.newest_template(number))
    }

    /// A product.
    pub fn product(&self, gtin: Gtin) -> Option<&Product> {
        self.products.get(&gtin).map(Arc::as_ref)
    }

    /// All products, by GTIN.
    pub fn products(&self) -> impl Iterator<Item = &Product> {
        self.products.values().map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_record_is_read_without_knowing_its_kind() {
        let display = Record::Display(Display {
            number: 7,
            name: "End cap".into(),
            description: String::new(),
        });
        let device = Record::Device(Device {
            id: DeviceId::from_bytes([3; 16]),
            user: UserId::from_bytes([4; 16]),
            key: [5; 32],
            revoked: false,
            lost_ms: None,
        });
        for record in [display, device] {
            let bytes = minicbor::to_vec(&record).unwrap();
            assert_eq!(RecordKey::peek(&bytes), Some(record.key()));
            assert_eq!(minicbor::decode::<Record>(&bytes).unwrap(), record);
        }
        let later = minicbor::to_vec((99_u8, std::collections::BTreeMap::from([(0, 5_u64)])));
        assert_eq!(RecordKey::peek(&later.unwrap()).map(|k| k.kind), Some(99));
        assert_eq!(RecordKey::peek(b"\x82"), None);
    }
}
