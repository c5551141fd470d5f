//! What people write in the field: the entries of a document's sections.
//!
//! Each entry is one immutable CBOR value, added by one Automerge change; the change's hash is the entry's
//! name. Text that people type freely is never here: it travels as a salted [`Note`] named by its digest,
//! so that it can be erased while every hash and signature stays true.

use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use super::capture::Moment;
use super::contest::Word;
use super::people::Audience;
use super::{Geo, Invalid, Money};
use crate::document::DEPS_MAX;
use crate::id::{
    BlobHash, CallId, ChangeHash, DistributorId, DocId, Gtin, OutletId, TerritoryId, UserId,
};

/// Most observations in one recording.
pub const OBSERVATIONS_MAX: usize = 1_000;
/// Most characters of the name of a program that changes pictures.
const EDITOR_MAX: usize = 40;
/// Most photos in one recording.
pub const PHOTOS_MAX: usize = 20;
/// Most entries that one entry may name (supersede, withdraw or judge).
pub const NAMED_MAX: usize = 256;
/// Most facings or units of one thing that a person can have counted.
pub const COUNT_MAX: u32 = 100_000;
/// Longest note, in bytes of UTF-8.
pub const NOTE_BYTES_MAX: usize = 4_000;
/// Greatest number of a volume of an outlet's history.
pub const VOLUMES_MAX: u32 = 1_000;

/// A number of the organisation's check dictionary: the same check has it in every template and version.
pub type CheckId = u32;

/// One screen's worth, or a step of the visit, by one person at one time and place.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Recording {
    /// Who wrote it.
    #[n(0)]
    pub by: UserId,
    /// When, by the device's clocks.
    #[n(1)]
    pub when: Moment,
    /// Where, if the device knew.
    #[n(2)]
    pub place: Option<Geo>,
    /// What was done.
    #[n(3)]
    pub act: Act,
}

/// What a recording does.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Act {
    /// Work at the outlet begins.
    #[n(0)]
    Start {
        /// Where.
        #[n(0)]
        outlet: OutletId,
        /// The planned call that it answers; `None` for an unplanned visit.
        #[n(1)]
        call: Option<CallId>,
        /// The outlet's territory as the starter knew it: fixes who sees the visit.
        #[n(2)]
        territory: TerritoryId,
        /// The outlet's distributor as the starter knew it: fixes who sees the visit.
        #[n(3)]
        distributor: DistributorId,
        /// Number and version of the visit template.
        #[n(4)]
        template: Versioned,
    },
    /// Something was looked at.
    #[n(1)]
    Observe(#[n(0)] Observed),
    /// The call could not be made.
    #[n(2)]
    NotPossible {
        /// Why, by kind.
        #[n(0)]
        reason: NotPossible,
        /// Why, in words.
        #[n(1)]
        note: Option<BlobHash>,
        /// A photo of the closed door.
        #[n(2)]
        photos: Vec<PhotoRef>,
    },
    /// Earlier recordings of the same person do not count.
    #[n(3)]
    Withdraw {
        /// Which.
        #[n(0)]
        recordings: Vec<ChangeHash>,
    },
    /// This person's whole visit does not count (wrong outlet).
    #[n(4)]
    Abandon {},
}

/// A catalogue item and the version of it that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Versioned {
    /// Which item.
    #[n(0)]
    pub number: u32,
    /// Its version.
    #[n(1)]
    pub version: u32,
}

/// One screen's observations, with what they were judged against.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Observed {
    /// The visit template that asked.
    #[n(0)]
    pub template: Versioned,
    /// The planograms on the device, one version of each.
    #[n(1)]
    pub planograms: Vec<Versioned>,
    /// The price list on the device.
    #[n(2)]
    pub price_list: Option<Versioned>,
    /// The facts.
    #[n(3)]
    pub observations: Observations,
    /// The evidence.
    #[n(4)]
    pub photos: Vec<PhotoRef>,
    /// Earlier recordings whose values for these same subjects this one replaces.
    #[n(5)]
    pub supersedes: Vec<ChangeHash>,
}

/// One fact: the answer to a check for a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Which check it answers.
    pub check: CheckId,
    /// What was looked at.
    pub subject: Subject,
    /// What was seen.
    pub value: Value,
}

/// The facts of one screen, each (check, subject) at most once.
///
/// Encoded as three columns, `[[check, count, …], [subject …], [value …]]`: subjects repeat from visit to
/// visit and values resemble each other, so columns compress far better than rows (docs/adr/0003).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observations(pub Vec<Observation>);

/// What an observation is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A position of a planogram; its number is stable across the planogram's versions.
    Position {
        /// The planogram's number.
        planogram: u32,
        /// The position's number in it.
        position: u32,
    },
    /// A product with a GTIN: own, a competitor's, or one that no catalogue has.
    Product(Gtin),
    /// A product without a readable code, named by a note.
    Unlisted(BlobHash),
    /// A secondary display, by its number.
    Display(u32),
    /// The outlet as a whole.
    Outlet,
    /// A kind that this version does not know, kept as it came.
    Unknown(Vec<u8>),
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// At a planogram position.
    Shelf {
        /// Visible fronts; zero when it is missing.
        facings: u32,
        /// More of it is in the back room.
        in_stock: bool,
        /// Where it was found.
        place: Place,
    },
    /// The price on the shelf.
    Price(Money),
    /// Whether a product can be bought right now, and how many there are if they were counted.
    Stock {
        /// A shopper can take one.
        on_shelf: bool,
        /// Units counted, shelf and back room.
        units: Option<u32>,
    },
    /// A display or a promotion was as agreed, or not.
    Met(bool),
    /// The chosen option of a question, from 0.
    Choice(u32),
    /// The answer to a yes or no question.
    YesNo(bool),
    /// The answer to a question for a number.
    Number(i64),
    /// The answer to a question for words.
    Text(BlobHash),
    /// The person takes the value back and puts none in its place.
    Withdrawn,
    /// A kind that this version does not know, kept as it came.
    Unknown(Vec<u8>),
}

/// Where a planned product was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In its planned place, or nowhere.
    AsPlanned,
    /// On its planned shelf, but elsewhere along it.
    MovedAlong,
    /// On another shelf of the same planogram.
    OtherShelf(u32),
}

/// A photo, by content. Its bytes travel beside the documents.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PhotoRef {
    /// SHA-256 of the JPEG file.
    #[n(0)]
    pub hash: BlobHash,
    /// Its size.
    #[n(1)]
    pub bytes: u32,
    /// 64-bit difference hash of its picture (docs/data-model.md).
    #[n(2)]
    #[cbor(with = "phash")]
    pub phash: u64,
    /// The check that it is evidence for; `None` for the outlet as a whole.
    #[n(3)]
    pub check: Option<CheckId>,
    /// The file that it was made from, if the device says so.
    #[n(4)]
    pub origin: Option<PhotoOrigin>,
}

/// The file that a photo was made from, which stays on the device, and what its camera wrote in it: claims, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PhotoOrigin {
    /// SHA-256 of the file.
    #[n(0)]
    pub file: BlobHash,
    /// What the camera's clock showed, in milliseconds since 1970 on that clock.
    #[n(1)]
    pub shown_ms: Option<i64>,
    /// How far that clock was ahead of UTC, in minutes, if it said so.
    #[n(2)]
    pub offset_min: Option<i16>,
    /// Where the camera says that it was.
    #[n(3)]
    pub place: Option<Geo>,
    /// The program that changes pictures whose name the file has.
    #[n(4)]
    pub editor: Option<String>,
    /// What the camera's clock showed when the file was written, if that was later than it was taken.
    #[n(5)]
    pub written_ms: Option<i64>,
}

/// A perceptual hash is eight random-looking bytes; as a CBOR integer it would be nine.
mod phash {
    use super::*;
    pub(super) fn encode<C, W: encode::Write>(
        v: &u64,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&v.to_be_bytes())?.ok()
    }
    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<u64, decode::Error> {
        let bytes = d.bytes()?.try_into().map_err(|_| decode::Error::message("not 8 bytes"))?;
        Ok(u64::from_be_bytes(bytes))
    }
}

/// Why a call could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum NotPossible {
    /// The outlet was shut.
    #[n(0)]
    Closed,
    /// The outlet said no.
    #[n(1)]
    Refused,
    /// The shelf could not be reached.
    #[n(2)]
    NoAccess,
    /// The outlet is no longer there.
    #[n(3)]
    Moved,
    /// Something else; the note says what.
    #[n(4)]
    Other,
}

impl NotPossible {
    /// Every reason, for forms and tests.
    pub const ALL: [Self; 5] =
        [Self::Closed, Self::Refused, Self::NoAccess, Self::Moved, Self::Other];

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::NoAccess => "no_access",
            Self::Moved => "moved",
            Self::Other => "other",
        }
    }
}

/// "My part is done": submits every recording of the same person in this change's causal past.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Submission {
    /// Who.
    #[n(0)]
    pub by: UserId,
    /// When.
    #[n(1)]
    pub when: Moment,
    /// Where.
    #[n(2)]
    pub place: Option<Geo>,
}

/// A judgement of what a visit held when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Review {
    /// Who.
    #[n(0)]
    pub by: UserId,
    /// When, by the clock of the machine it was written on.
    #[n(1)]
    pub when: Moment,
    /// The judgement.
    #[n(2)]
    pub verdict: Verdict,
    /// The heads of what the reviewer saw: the judgement covers them and their past, and no more.
    #[n(3)]
    pub heads: Vec<ChangeHash>,
    /// Why, in words.
    #[n(4)]
    pub comment: Option<BlobHash>,
}

/// A reviewer's judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Verdict {
    /// The work is good.
    #[n(0)]
    Approved,
    /// The work goes back to the people who did it.
    #[n(1)]
    SentBack,
}

/// A remark in the thread of a visit or an outlet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Post {
    /// Who.
    #[n(0)]
    pub by: UserId,
    /// When.
    #[n(1)]
    pub when: Moment,
    /// The words.
    #[n(2)]
    pub text: BlobHash,
    /// The entry that it answers.
    #[n(3)]
    pub answers: Option<ChangeHash>,
    /// The volume of an outlet's history that its author begins with it.
    #[n(4)]
    pub volume: Option<Volume>,
    /// What it does in a contest of the visit; `None` for a mere remark.
    #[n(5)]
    pub word: Option<Word>,
}

impl Post {
    /// A mere remark, which answers nothing.
    pub fn new(by: UserId, when: Moment, text: BlobHash) -> Self {
        Self { by, when, text, answers: None, volume: None, word: None }
    }
}

/// Which volume of which outlet's history an author begins to write in, and what of the one before that author has
/// seen: the author's seals cover that too.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Volume {
    /// The outlet.
    #[n(0)]
    pub outlet: OutletId,
    /// Which volume, from 1.
    #[n(1)]
    pub number: u32,
    /// Heads of the volume before, ascending.
    #[n(2)]
    pub before: Vec<ChangeHash>,
}

impl Volume {
    /// The document that it is.
    pub fn document(&self) -> DocId {
        DocId::volume(self.outlet, self.number)
    }

    /// The document before it.
    pub fn predecessor(&self) -> DocId {
        DocId::volume(self.outlet, self.number.saturating_sub(1))
    }

    fn validate(&self) -> Result<(), Invalid> {
        let ok = (1..=VOLUMES_MAX).contains(&self.number)
            && (1..=DEPS_MAX).contains(&self.before.len())
            && self.before.is_sorted_by(|a, b| a < b);
        Invalid::unless(ok, "volume", "needs a number from 1 to 1,000 and 1 to 64 ascending heads")
    }
}

impl Post {
    /// The entries that it names.
    pub fn names(&self) -> Vec<ChangeHash> {
        let seen = match &self.word {
            Some(Word::Contest(objection)) => objection.seen.as_slice(),
            _ => &[],
        };
        self.answers.iter().chain(seen).copied().collect()
    }

    /// Checks everything that can be checked without a document.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.volume.as_ref().map_or(Ok(()), Volume::validate)?;
        self.word.as_ref().map_or(Ok(()), |word| word.validate(self.answers.is_some()))
    }
}

/// What the field says of a store itself: a new one found, or better knowledge of a known one.
///
/// Names and addresses of businesses are not personal data and stay inline; anything else goes in a note.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OutletReport {
    /// Who.
    #[n(0)]
    pub by: UserId,
    /// When.
    #[n(1)]
    pub when: Moment,
    /// Where the store is.
    #[n(2)]
    pub place: Option<Geo>,
    /// The name over the door.
    #[n(3)]
    pub name: String,
    /// Street and town, in one line.
    #[n(4)]
    pub address: String,
    /// The territory that it lies in, as the reporter sees it.
    #[n(5)]
    pub territory: TerritoryId,
    /// The distributor that would serve it.
    #[n(6)]
    pub distributor: DistributorId,
    /// Anything else.
    #[n(7)]
    pub note: Option<BlobHash>,
    /// What it looks like.
    #[n(8)]
    pub photos: Vec<PhotoRef>,
    /// The volume of the outlet's history that its author begins with it.
    #[n(9)]
    pub volume: Option<Volume>,
}

/// Free text with its salt. The document holds only its digest: SHA-256 of salt, then text.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Note {
    /// Sixteen random bytes, so that a guessed text cannot be confirmed once it is erased.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The words.
    #[n(1)]
    pub text: String,
}

impl Note {
    /// A note of 1 to [`NOTE_BYTES_MAX`] bytes of text without control characters but line breaks.
    pub fn new(text: &str, salt: [u8; 16]) -> Result<Self, Invalid> {
        let note = Self { salt, text: text.trim().to_owned() };
        note.validate()?;
        Ok(note)
    }

    /// Checks the rule of [`Note::new`].
    pub fn validate(&self) -> Result<(), Invalid> {
        let ok = !self.text.is_empty()
            && self.text.len() <= NOTE_BYTES_MAX
            && !self.text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
        Invalid::unless(ok, "text", "needs 1 to 4,000 bytes and no control characters")
    }

    /// Its name in documents.
    pub fn digest(&self) -> BlobHash {
        BlobHash::of(&[&self.salt[..], self.text.as_bytes()].concat())
    }
}

impl Recording {
    /// Checks everything that can be checked without a catalogue or a document.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.place.as_ref().map_or(Ok(()), Geo::validate)?;
        match &self.act {
            Act::Start { .. } | Act::Abandon {} => Ok(()),
            Act::Observe(observed) => observed.validate(),
            Act::NotPossible { reason, note, photos } => {
                let said = *reason != NotPossible::Other || note.is_some();
                Invalid::unless(said, "note", "is needed when the reason is `other`")?;
                validate_photos(photos)
            }
            Act::Withdraw { recordings } => {
                let some = !recordings.is_empty();
                Invalid::unless(some, "recordings", "needs 1 to 256 recordings")?;
                validate_names(recordings, "recordings")
            }
        }
    }

    /// The photos that it refers to.
    pub fn photos(&self) -> &[PhotoRef] {
        match &self.act {
            Act::Observe(observed) => &observed.photos,
            Act::NotPossible { photos, .. } => photos,
            _ => &[],
        }
    }

    /// Drops the words that are `lost`, and what was observed in them; whether anything is left.
    pub fn forget_words(&mut self, lost: &impl Fn(&BlobHash) -> bool) -> bool {
        match &mut self.act {
            Act::Observe(observed) => {
                observed.observations.0.retain(|o| !o.words().any(|note| lost(&note)));
                !observed.observations.0.is_empty() || !observed.photos.is_empty()
            }
            // A reason that is nothing without its words goes with them.
            Act::NotPossible { reason, note, .. } => {
                let is_lost = note.take_if(|note| lost(note)).is_some();
                !is_lost || *reason != NotPossible::Other
            }
            _ => true,
        }
    }

    /// The notes that it refers to.
    pub fn notes(&self) -> Vec<BlobHash> {
        match &self.act {
            Act::Observe(observed) => observed.notes(),
            Act::NotPossible { note, .. } => note.iter().copied().collect(),
            _ => Vec::new(),
        }
    }
}

/// Entries that an entry names: each costs whoever reads it.
pub(crate) fn validate_names(names: &[ChangeHash], what: &'static str) -> Result<(), Invalid> {
    Invalid::unless(names.len() <= NAMED_MAX, what, "can be 256 at most")?;
    let named: std::collections::BTreeSet<&ChangeHash> = names.iter().collect();
    Invalid::unless(named.len() == names.len(), what, "can name each only once")
}

pub(super) fn validate_photos(photos: &[PhotoRef]) -> Result<(), Invalid> {
    Invalid::unless(photos.len() <= PHOTOS_MAX, "photos", "can be 20 at most")?;
    photos.iter().filter_map(|photo| photo.origin.as_ref()).try_for_each(|origin| {
        if let Some(editor) = &origin.editor {
            Invalid::unless_text(editor, EDITOR_MAX, "editor")?;
        }
        origin.place.map_or(Ok(()), |place| place.validate())
    })
}

impl Observed {
    fn validate(&self) -> Result<(), Invalid> {
        let facts = &self.observations.0;
        let some = !facts.is_empty() || !self.photos.is_empty();
        Invalid::unless(some, "observations", "needs at least one observation or photo")?;
        let few = facts.len() <= OBSERVATIONS_MAX;
        Invalid::unless(few, "observations", "can be 1,000 at most")?;
        Invalid::unless(self.planograms.len() <= NAMED_MAX, "planograms", "can be 256 at most")?;
        validate_names(&self.supersedes, "supersedes")?;
        validate_photos(&self.photos)?;
        let mut seen = std::collections::BTreeSet::new();
        for fact in facts {
            let once = seen.insert((fact.check, &fact.subject));
            Invalid::unless(once, "observations", "can answer a check for a subject only once")?;
            fact.validate()?;
        }
        Ok(())
    }

    fn notes(&self) -> Vec<BlobHash> {
        let named = self.observations.0.iter().flat_map(Observation::words);
        let named: std::collections::BTreeSet<BlobHash> = named.collect();
        named.into_iter().collect()
    }
}

impl Observation {
    /// The notes that it refers to.
    fn words(&self) -> impl Iterator<Item = BlobHash> {
        let subject = match self.subject {
            Subject::Unlisted(note) => Some(note),
            _ => None,
        };
        let value = match self.value {
            Value::Text(note) => Some(note),
            _ => None,
        };
        subject.into_iter().chain(value)
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        match &self.value {
            Value::Shelf { facings, place, .. } => {
                Invalid::unless(*facings <= COUNT_MAX, "facings", "can be 100,000 at most")?;
                let placed = *facings > 0 || *place == Place::AsPlanned;
                Invalid::unless(placed, "place", "needs a facing: what is missing is nowhere")
            }
            Value::Price(price) => Invalid::unless(
                (1..=100_000_000_000).contains(&price.minor),
                "price",
                "needs 1 to 100,000,000,000 minor units",
            ),
            Value::Stock { on_shelf, units } => {
                let few = units.is_none_or(|n| n <= COUNT_MAX);
                Invalid::unless(few, "units", "can be 100,000 at most")?;
                let sound = !(*on_shelf && *units == Some(0));
                Invalid::unless(sound, "units", "cannot be 0 for what is on the shelf")
            }
            _ => Ok(()),
        }
    }
}

impl OutletReport {
    /// Who would see the outlet.
    pub fn audience(&self) -> Audience {
        Audience::Outlet { territory: self.territory, distributor: self.distributor }
    }

    /// Checks everything that can be checked without a catalogue.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.place.as_ref().map_or(Ok(()), Geo::validate)?;
        Invalid::unless_text(&self.name, 120, "name")?;
        Invalid::unless_text(&self.address, 240, "address")?;
        self.volume.as_ref().map_or(Ok(()), Volume::validate)?;
        validate_photos(&self.photos)
    }
}

impl<'b, C> Decode<'b, C> for Note {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let error = decode::Error::message;
        // What follows would not be covered by its name.
        if d.array()? != Some(2) {
            return Err(error("a note has exactly two parts"));
        }
        let salt = d.bytes()?.try_into().map_err(|_| error("a salt has 16 bytes"))?;
        Ok(Self { salt, text: d.str()?.to_owned() })
    }
}

// ---- CBOR of the columns -------------------------------------------------------------------------

impl<C> Encode<C> for Observations {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let mut runs: Vec<(CheckId, u64)> = Vec::new();
        for fact in &self.0 {
            match runs.last_mut() {
                Some((check, count)) if *check == fact.check => *count += 1,
                _ => runs.push((fact.check, 1)),
            }
        }
        e.array(3)?.array(2 * runs.len() as u64)?;
        for (check, count) in runs {
            e.u32(check)?.u64(count)?;
        }
        e.array(self.0.len() as u64)?;
        for fact in &self.0 {
            fact.subject.encode(e, ctx)?;
        }
        e.array(self.0.len() as u64)?;
        for fact in &self.0 {
            fact.value.encode(e, ctx)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Observations {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let shape = || decode::Error::message("observations are three columns of one length");
        if d.array()? != Some(3) {
            return Err(shape());
        }
        let mut checks = Vec::new();
        let runs = d.array()?.ok_or_else(shape)?;
        for _ in 0..runs / 2 {
            let (check, count) = (d.u32()?, d.u64()?);
            let count = usize::try_from(count).map_err(|_| shape())?;
            if count == 0 || checks.len().saturating_add(count) > OBSERVATIONS_MAX {
                return Err(shape());
            }
            checks.resize(checks.len() + count, check);
        }
        let length = checks.len() as u64;
        if runs % 2 != 0 || d.array()? != Some(length) {
            return Err(shape());
        }
        let subjects: Vec<Subject> =
            checks.iter().map(|_| Subject::decode(d, ctx)).collect::<Result<_, _>>()?;
        if d.array()? != Some(length) {
            return Err(shape());
        }
        let facts = checks.into_iter().zip(subjects).map(|(check, subject)| {
            Ok(Observation { check, subject, value: Value::decode(d, ctx)? })
        });
        facts.collect::<Result<_, _>>().map(Self)
    }
}

/// Reads `[kind, …]`: `known` gets the kind and decodes the rest, or returns `None` for a kind that it
/// does not know, whose bytes are then kept whole.
pub(super) fn lenient<'b, T>(
    d: &mut Decoder<'b>,
    known: impl FnOnce(&mut Decoder<'b>, u32, u64) -> Result<Option<T>, decode::Error>,
    unknown: impl FnOnce(Vec<u8>) -> T,
) -> Result<T, decode::Error> {
    let start = d.position();
    let length = d.array()?.ok_or_else(|| decode::Error::message("needs a definite length"))?;
    let kind = d.u32()?;
    if let Some(value) = known(d, kind, length)? {
        return Ok(value);
    }
    d.set_position(start);
    d.skip()?;
    Ok(unknown(d.input()[start..d.position()].to_vec()))
}

pub(super) fn raw<W: encode::Write>(
    e: &mut Encoder<W>,
    bytes: &[u8],
) -> Result<(), encode::Error<W::Error>> {
    e.writer_mut().write_all(bytes).map_err(encode::Error::write)
}

impl<C> Encode<C> for Subject {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Position { planogram, position } => {
                e.array(3)?.u32(0)?.u32(*planogram)?.u32(*position)?.ok()
            }
            Self::Product(gtin) => e.array(2)?.u32(1)?.u64(gtin.as_u64())?.ok(),
            Self::Unlisted(note) => note.encode(e.array(2)?.u32(2)?, ctx),
            Self::Display(number) => e.array(2)?.u32(3)?.u32(*number)?.ok(),
            Self::Outlet => e.array(1)?.u32(4)?.ok(),
            Self::Unknown(bytes) => raw(e, bytes),
        }
    }
}

impl<'b, C> Decode<'b, C> for Subject {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let known = |d: &mut Decoder<'b>, kind, length| {
            Ok(Some(match (kind, length) {
                (0, 3) => Self::Position { planogram: d.u32()?, position: d.u32()? },
                (1, 2) => Self::Product(
                    Gtin::from_u64(d.u64()?).map_err(|_| decode::Error::message("not a GTIN"))?,
                ),
                (2, 2) => Self::Unlisted(BlobHash::decode(d, ctx)?),
                (3, 2) => Self::Display(d.u32()?),
                (4, 1) => Self::Outlet,
                _ => return Ok(None),
            }))
        };
        lenient(d, known, Self::Unknown)
    }
}

impl<C> Encode<C> for Value {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Shelf { facings, in_stock, place } => {
                let place_length = match place {
                    Place::AsPlanned => 0,
                    Place::MovedAlong | Place::OtherShelf(_) => 1,
                };
                e.array(3 + place_length)?.u32(0)?.u32(*facings)?.bool(*in_stock)?;
                match place {
                    Place::AsPlanned => Ok(()),
                    Place::MovedAlong => e.null()?.ok(),
                    Place::OtherShelf(shelf) => e.u32(*shelf)?.ok(),
                }
            }
            Self::Price(price) => {
                e.array(3)?.u32(1)?.i64(price.minor)?;
                price.currency.encode(e, ctx)
            }
            Self::Stock { on_shelf, units: None } => e.array(2)?.u32(2)?.bool(*on_shelf)?.ok(),
            Self::Stock { on_shelf, units: Some(units) } => {
                e.array(3)?.u32(2)?.bool(*on_shelf)?.u32(*units)?.ok()
            }
            Self::Met(met) => e.array(2)?.u32(3)?.bool(*met)?.ok(),
            Self::Choice(option) => e.array(2)?.u32(4)?.u32(*option)?.ok(),
            Self::YesNo(yes) => e.array(2)?.u32(5)?.bool(*yes)?.ok(),
            Self::Number(n) => e.array(2)?.u32(6)?.i64(*n)?.ok(),
            Self::Text(note) => note.encode(e.array(2)?.u32(7)?, ctx),
            Self::Withdrawn => e.array(1)?.u32(8)?.ok(),
            Self::Unknown(bytes) => raw(e, bytes),
        }
    }
}

impl<'b, C> Decode<'b, C> for Value {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let known = |d: &mut Decoder<'b>, kind, length| {
            Ok(Some(match (kind, length) {
                (0, 3 | 4) => {
                    let (facings, in_stock) = (d.u32()?, d.bool()?);
                    let place = match length {
                        3 => Place::AsPlanned,
                        _ if d.datatype()? == Type::Null => {
                            d.null()?;
                            Place::MovedAlong
                        }
                        _ => Place::OtherShelf(d.u32()?),
                    };
                    Self::Shelf { facings, in_stock, place }
                }
                (1, 3) => Self::Price(Money {
                    minor: d.i64()?,
                    currency: super::Currency::decode(d, ctx)?,
                }),
                (2, 2) => Self::Stock { on_shelf: d.bool()?, units: None },
                (2, 3) => Self::Stock { on_shelf: d.bool()?, units: Some(d.u32()?) },
                (3, 2) => Self::Met(d.bool()?),
                (4, 2) => Self::Choice(d.u32()?),
                (5, 2) => Self::YesNo(d.bool()?),
                (6, 2) => Self::Number(d.i64()?),
                (7, 2) => Self::Text(BlobHash::decode(d, ctx)?),
                (8, 1) => Self::Withdrawn,
                _ => return Ok(None),
            }))
        };
        lenient(d, known, Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(facts: Vec<Observation>) {
        let facts = Observations(facts);
        let bytes = minicbor::to_vec(&facts).unwrap();
        assert_eq!(minicbor::decode::<Observations>(&bytes).unwrap(), facts);
    }

    #[test]
    fn what_is_nothing_without_lost_words_goes_with_them() {
        let [lost, here] = [&b"a"[..], b"b"].map(BlobHash::of);
        let when = Moment { wall_ms: 0, boot: 1, boot_ms: 1, anchor: 0, skew_ms: None, life: None };
        let left = |act| {
            let mut recording =
                Recording { by: UserId::from_bytes([1; 16]), when, place: None, act };
            recording.forget_words(&|note| *note == lost).then_some(recording)
        };
        let gone = |reason, note| Act::NotPossible { reason, note: Some(note), photos: Vec::new() };
        let stays = left(gone(NotPossible::Closed, lost)).unwrap();
        assert!(stays.notes().is_empty() && stays.validate().is_ok());
        assert_eq!(left(gone(NotPossible::Other, here)).unwrap().notes(), [here]);
        assert_eq!(left(gone(NotPossible::Other, lost)), None, "it would break its own rule");
    }

    #[test]
    fn columns_keep_every_kind_known_or_not() {
        let gtin = Gtin::from_u64(8904000210037).unwrap();
        let subjects = [
            Subject::Position { planogram: 1, position: 300 },
            Subject::Product(gtin),
            Subject::Unlisted(BlobHash::of(b"a")),
            Subject::Display(4),
            Subject::Outlet,
            Subject::Unknown(minicbor::to_vec((99_u32, "later", [1_u8, 2])).unwrap()),
        ];
        let eur = "EUR".parse().unwrap();
        let values = [
            Value::Shelf { facings: 3, in_stock: true, place: Place::AsPlanned },
            Value::Shelf { facings: 3, in_stock: false, place: Place::MovedAlong },
            Value::Shelf { facings: 300, in_stock: false, place: Place::OtherShelf(2) },
            Value::Price(Money { minor: 199, currency: eur }),
            Value::Stock { on_shelf: true, units: None },
            Value::Stock { on_shelf: false, units: Some(0) },
            Value::Met(true),
            Value::Choice(3),
            Value::YesNo(false),
            Value::Number(-4),
            Value::Text(BlobHash::of(b"b")),
            Value::Withdrawn,
            Value::Unknown(minicbor::to_vec((77_u32, (1_u8, "x"))).unwrap()),
        ];
        for value in &values {
            let each = subjects.iter().enumerate().map(|(i, subject)| Observation {
                check: i as u32 / 2,
                subject: subject.clone(),
                value: value.clone(),
            });
            round_trip(each.collect());
        }
        round_trip(Vec::new());
    }

    #[test]
    fn columns_of_unequal_length_or_huge_counts_are_refused() {
        let bad = |bytes: Vec<u8>| assert!(minicbor::decode::<Observations>(&bytes).is_err());
        let none: [(u32,); 0] = [];
        bad(minicbor::to_vec(([1_u64, 2], [(4_u32,)], [(8_u32,)])).unwrap());
        bad(minicbor::to_vec(([1_u64, u64::MAX], none, none)).unwrap());
        bad(minicbor::to_vec(([1_u64, 2, 3], none, none)).unwrap());
        bad(minicbor::to_vec(([1_u64, 0], none, none)).unwrap());
        bad(minicbor::to_vec((none, none)).unwrap());
    }

    #[test]
    fn a_note_is_named_by_salt_and_text() {
        let note = Note::new(" Door shut \n", [7; 16]).unwrap();
        assert_eq!(note.text, "Door shut");
        assert_ne!(note.digest(), Note::new("Door shut", [8; 16]).unwrap().digest());
        assert!(Note::new("  ", [0; 16]).is_err());
        assert!(Note::new("a\u{0}b", [0; 16]).is_err());
        assert!(Note::new(&"a".repeat(4_001), [0; 16]).is_err());
    }
}
