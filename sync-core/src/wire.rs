//! The messages of the sync protocol, version 1. docs/protocol.md is the norm.
//!
//! Every message is one CBOR map with small integer keys; unknown keys are skipped. Sizes are limited here,
//! by name, before anything is built from them. HTTP compresses; this module does not.

use std::collections::{HashMap, HashSet};

use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::document::{Change, DEPS_MAX, Document, Parts, Section};
use crate::evidence::{Cursor, Seal};
use crate::id::{Actor, ChangeHash, DocId, DocKind, LogHash, OrgId, OutletId};
use crate::model::capture::Moment;
use crate::model::catalogue::RecordKey;
use crate::model::visit::Note;
use crate::print::{Content, Item, Part, PrintName};
use crate::receipt::{Known, Receipt};

/// The protocol version that this crate speaks.
pub const PROTOCOL: u32 = 1;
/// The media type of every sync message.
pub const MEDIA_TYPE: &str = "application/vnd.endcap.sync+cbor";
/// Longest message once its HTTP compression is undone.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest answer once its HTTP compression is undone: a page ends where a commit ended, and a commit may
/// hold what the longest push held.
pub const REPLY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most groups in one message.
pub const GROUPS_MAX: usize = 2_000;
/// Most changes in one message.
pub const CHANGES_MAX: usize = 10_000;
/// Most notes in one message.
pub const NOTES_MAX: usize = 10_000;
/// Most parts that one question of a repair asks after.
pub const PARTS_MAX: usize = 2_000;
/// Most records and documents that one question of a repair wants whole.
pub const WANTED_MAX: usize = 2_000;

/// A device's new work.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map, context_bound = "Within")]
pub struct PushRequest {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u32,
    /// The device's clocks as it sends.
    #[n(1)]
    pub now: Moment,
    /// What the reply to the previous push was called; `None` for the first.
    #[n(2)]
    pub previous: Option<LogHash>,
    /// The work, by document, that of one in as many parts as are to be decided on one by one.
    #[n(3)]
    pub groups: Vec<Group>,
    /// The notes that it names.
    #[n(4)]
    #[cbor(decode_with = "few::<_, _, NOTES_MAX>")]
    pub notes: Vec<Note>,
}

impl PushRequest {
    /// The documents that it is about, each once.
    pub fn documents(&self) -> impl Iterator<Item = DocId> + '_ {
        let runs = self.groups.chunk_by(|one, next| one.document == next.document);
        runs.filter_map(|run| Some(run.first()?.document))
    }
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PushReply {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u32,
    /// The server's clock, in milliseconds since 1970 UTC.
    #[n(1)]
    pub server_ms: i64,
    /// The name of this push, for the next one to follow.
    #[n(2)]
    pub push: LogHash,
    /// One for each group, in order.
    #[n(3)]
    pub outcomes: Vec<Outcome>,
    /// The push did not follow the device's newest: its store was copied, or came back from a backup.
    #[n(4)]
    pub copied: Option<bool>,
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Outcome {
    /// All its changes are in the log and on the server's disk, now or from an earlier push.
    #[n(0)]
    Accepted {},
    /// None that is new was accepted; the server keeps them apart, and the device keeps them too.
    #[n(1)]
    Quarantined {
        /// A stable name of the reason ([`crate::admit::Refusal::code`], or `bad_seal`).
        #[n(0)]
        code: String,
        /// The reason in words.
        #[n(1)]
        detail: String,
        /// Of what is in the log already, from before, the newest changes: they and all that they build on are
        /// accepted.
        #[n(2)]
        here: Option<Vec<ChangeHash>>,
    },
    /// All its changes are in the log from before, and phones do not keep the document any more.
    #[n(2)]
    LetGo {},
}

/// What a device carries for others.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CargoRequest {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u32,
    /// Parcels, [`crate::cargo::PARCELS_MAX`] at most.
    #[n(1)]
    #[cbor(decode_with = "few::<_, _, { crate::cargo::PARCELS_MAX }>")]
    pub parcels: Vec<ParcelBytes>,
}

/// A parcel as it travels: [`crate::cargo::Parcel`] reads it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct ParcelBytes(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub Vec<u8>,
);

/// What became of cargo.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CargoReply {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u32,
    /// The server's clock, in milliseconds since 1970 UTC.
    #[n(1)]
    pub server_ms: i64,
    /// One for each parcel, in order.
    #[n(2)]
    pub outcomes: Vec<Delivery>,
}

/// What became of a parcel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Delivery {
    /// What is in it is in the log or in the quarantine, now or from before.
    #[n(0)]
    Taken {},
    /// It is nothing that this server can ever take.
    #[n(1)]
    Refused {
        /// A stable name of the reason.
        #[n(0)]
        code: String,
        /// The reason in words.
        #[n(1)]
        detail: String,
    },
    /// Not yet: it is to be carried further and brought again.
    #[n(2)]
    Later {},
}

/// "What is new for me since?"
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PullRequest {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u32,
    /// Where the device stands; `None` for a fresh one.
    #[n(1)]
    pub cursor: Option<Cursor>,
    /// What the reply to the device's newest push was called. While it is the newest that the server knows,
    /// the reply leaves out what this device itself has pushed.
    #[n(2)]
    pub pushed: Option<LogHash>,
    /// What the last page said under this name.
    #[n(3)]
    pub filled: Option<Filled>,
    /// Which checkpoint of the log the device has kept; `None` if it does not want any.
    #[n(4)]
    pub known: Option<Known>,
    /// How much of the log the device knew when it wrote the oldest of what it could not push yet, if that is less than
    /// the cursor says.
    #[n(5)]
    pub waits: Option<u64>,
}

impl PullRequest {
    /// From the beginning, by a device that has nothing.
    pub const BEGINNING: Self = Self {
        protocol: PROTOCOL,
        cursor: None,
        pushed: None,
        filled: None,
        known: None,
        waits: None,
    };

    /// How much of the log the device has known of everything that it will write or push from now on: that counts
    /// against what it claims to have known.
    pub fn acknowledged(&self) -> u64 {
        let known = self.cursor.map_or(0, |cursor| cursor.sequence);
        self.waits.map_or(known, |waits| waits.min(known))
    }
}

/// How far a device has been given what came into its sight after it had passed by. Only the server reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Filled {
    /// Everything before this sequence that is in sight is on the device.
    #[n(0)]
    pub next: u64,
    /// The record whose coming decided what is in sight.
    #[n(1)]
    pub since: u64,
}

/// A page of what is new. It is applied whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map, context_bound = "Within")]
pub struct PullReply {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u32,
    /// The server's clock, in milliseconds since 1970 UTC.
    #[n(1)]
    pub server_ms: i64,
    /// Where the device stands once it has applied this page.
    #[n(2)]
    pub cursor: Cursor,
    /// There is more to pull right away.
    #[n(3)]
    pub more: bool,
    /// Catalogue records, each a [`crate::model::catalogue::Record`] in CBOR.
    #[n(4)]
    pub records: Vec<RecordBytes>,
    /// Changes, by document.
    #[n(5)]
    pub groups: Vec<Group>,
    /// The notes that they name, as far as they still exist.
    #[n(6)]
    pub notes: Vec<Note>,
    /// The device is being given what has come into its sight: it says this with its next pull.
    #[n(7)]
    pub filled: Option<Filled>,
    /// Records that went out of the device's sight.
    #[n(8)]
    pub gone: Option<Vec<RecordKey>>,
    /// What became of refused work of this device's person.
    #[n(9)]
    pub decided: Option<Vec<Decided>>,
    /// With the last page: the print of what the device holds then.
    #[n(10)]
    pub print: Option<PrintName>,
    /// Visits that have not changed for so long that the device need not keep them.
    #[n(11)]
    pub let_go: Option<Vec<DocId>>,
    /// With the last page, for who wants it: the newest checkpoint, unless it is the one that the device has kept.
    #[n(12)]
    pub receipt: Option<Receipt>,
}

/// "Where do we differ, and what is it?"
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RepairRequest {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u32,
    /// The parts whose content is asked after.
    #[n(1)]
    #[cbor(decode_with = "few::<_, _, PARTS_MAX>")]
    pub parts: Vec<Part>,
    /// What is wanted whole.
    #[n(2)]
    #[cbor(decode_with = "few::<_, _, WANTED_MAX>")]
    pub wanted: Vec<Item>,
}

/// What the server holds for a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map, context_bound = "Within")]
pub struct RepairReply {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u32,
    /// The server's clock, in milliseconds since 1970 UTC.
    #[n(1)]
    pub server_ms: i64,
    /// One for each part, in order.
    #[n(2)]
    pub contents: Vec<Content>,
    /// How many of those that are wanted, from the first on, it has looked up.
    #[n(3)]
    pub given: u64,
    /// The records, and those of the devices whose changes are here.
    #[n(4)]
    pub records: Vec<RecordBytes>,
    /// The documents, each whole. One that is not shown any more is missing.
    #[n(5)]
    pub groups: Vec<Group>,
    /// The notes that they name, as far as they still exist.
    #[n(6)]
    pub notes: Vec<Note>,
}

/// What became of quarantined work, whether or not its author sees the document.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Decided {
    /// In which document.
    #[n(0)]
    pub document: DocId,
    /// The newest change of the group that was quarantined.
    #[n(1)]
    pub head: ChangeHash,
    /// It is in the log after all; or [`Outcome::DISCARDED`], and what it was quarantined for, in words.
    #[n(2)]
    pub outcome: Outcome,
}

impl Outcome {
    /// The code of work that somebody has looked at and discarded.
    pub const DISCARDED: &str = "discarded";
    /// The code of work that does again what its author has done already.
    pub const SAID_ALREADY: &str = "said_already";
    /// The code of work under a number that its actor has given to something else.
    pub const FORKED: &str = "forked";
    /// The code of work for which there is no room: nothing of it is kept at the server.
    pub const FULL: &str = "quarantine_full";

    /// The code of work that no seal of its author's device reaches.
    pub const BAD_SEAL: &str = "bad_seal";
    /// The code of work that builds on what is not here.
    pub const MISSING_PARENT: &str = "missing_parent";
    /// The code of work whose words are not here.
    pub const MISSING_NOTE: &str = "missing_note";
    /// The code of work of a device that is not known.
    pub const FOREIGN_ACTOR: &str = "foreign_actor";

    /// Whether a group that is refused for this may be taken once what it lacks is here: it came too early, without its
    /// notes, or from a device that is not known yet.
    pub fn is_early(code: &str) -> bool {
        matches!(code, Self::FOREIGN_ACTOR | Self::MISSING_PARENT | Self::MISSING_NOTE)
    }

    /// Refused for this, all of it.
    pub fn quarantined(code: &str, detail: String) -> Self {
        Self::Quarantined { code: code.into(), detail, here: None }
    }
}

/// A record's CBOR, kept as bytes so that a kind that the reader does not know passes through whole.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct RecordBytes(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub Vec<u8>,
);

/// Changes of one document, each after those of its parents that are in the group too, and the seals that
/// cover them.
///
/// On the wire a parent is `0` for the genesis, `n` for the n-th change before this one in the group, or a
/// hash; an actor is its place in the group's list; a seal names its head by place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Whose changes.
    pub document: DocId,
    /// The changes.
    pub changes: Vec<Change>,
    /// Over the newest change of each device in it.
    pub seals: Vec<Seal>,
}

impl Group {
    /// The names of the changes.
    pub fn hashes(&self) -> impl Iterator<Item = ChangeHash> + '_ {
        self.changes.iter().map(Change::hash)
    }

    /// The outlet whose history it continues, as far as it says so itself.
    pub fn outlet(&self) -> Option<OutletId> {
        match self.document.kind {
            DocKind::Visit => None,
            DocKind::Outlet if !self.document.is_later_volume() => {
                Some(OutletId::from_bytes(self.document.id))
            }
            DocKind::Outlet => {
                let mut entries = self.changes.iter().filter_map(|change| change.entry().ok());
                entries.find_map(|entry| entry.volume().map(|volume| volume.outlet))
            }
        }
    }

    /// Checks that every change is sealed by the device whose actor it is under.
    pub fn check_seals(&self, org: OrgId, keys: &Keys) -> Result<(), Unsealed> {
        if let Some(change) = self.changes.iter().find(|c| keys.of(c.actor).is_none()) {
            return Err(Unsealed::Stranger(change.hash()));
        }
        let changes: HashMap<ChangeHash, &Change> =
            self.changes.iter().map(|c| (c.hash(), c)).collect();
        let mut sealed: HashSet<ChangeHash> = HashSet::new();
        let mut seen = HashSet::new();
        for seal in &self.seals {
            let head = changes.get(&seal.head);
            let signer = head.and_then(|c| keys.of(c.actor)).ok_or(Unsealed::BadSeal)?;
            if !seal.verify(signer, org, self.document) {
                return Err(Unsealed::BadSeal);
            }
            // A signature counts for its signer's own changes only.
            let mut open = vec![seal.head];
            while let Some(hash) = open.pop() {
                if let Some(change) = changes.get(&hash).filter(|_| seen.insert((signer, hash))) {
                    if change.actor.belongs_to(signer) {
                        sealed.insert(hash);
                    }
                    open.extend(&change.deps);
                }
            }
        }
        let bare = self.hashes().find(|hash| !sealed.contains(hash));
        bare.map_or(Ok(()), |hash| Err(Unsealed::Bare(hash)))
    }
}

/// Why a group's changes are not proved to come from the devices whose actors they are under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// The actor belongs to no key that is known.
    #[error("the actor of {0} belongs to no enrolled device")]
    Stranger(ChangeHash),
    /// A seal names no change of the group, or does not verify.
    #[error("a signature does not verify")]
    BadSeal,
    /// No seal of its device reaches the change.
    #[error("no signature of its device reaches {0}")]
    Bare(ChangeHash),
}

/// Devices' public keys, by the fingerprints that their actors begin with.
#[derive(Debug, Clone, Default)]
pub struct Keys(HashMap<[u8; 8], [u8; 32]>);

impl Keys {
    /// Adds a key.
    pub fn insert(&mut self, key: &[u8; 32]) {
        self.0.insert(Actor::fingerprint(key), *key);
    }

    /// The key that an actor belongs to.
    pub fn of(&self, actor: Actor) -> Option<&[u8; 32]> {
        self.0.get(&actor.as_bytes()[..8])
    }
}

/// The context of every message: reading a group needs its document's genesis, which is a function of the
/// organisation.
pub trait Within {
    /// The organisation that the message is about.
    fn org(&self) -> OrgId;

    /// Whether the message may hold this many changes more. Each costs a hash, so they are counted before
    /// any is built; so does the genesis of a group, and a group without changes counts as one.
    fn may_hold(&mut self, _changes: usize) -> bool {
        true
    }
}

impl Within for OrgId {
    fn org(&self) -> OrgId {
        *self
    }
}

/// What a reader of foreign messages keeps in mind.
#[derive(Debug)]
pub struct Reading {
    org: OrgId,
    changes_left: usize,
}

impl Within for Reading {
    fn org(&self) -> OrgId {
        self.org
    }

    fn may_hold(&mut self, changes: usize) -> bool {
        let left = self.changes_left.checked_sub(changes);
        self.changes_left = left.unwrap_or(0);
        left.is_some()
    }
}

/// The message's CBOR.
pub fn to_wire<T: Encode<OrgId>>(org: OrgId, message: &T) -> Vec<u8> {
    let mut org = org;
    minicbor::to_vec_with(message, &mut org).expect("writing to memory cannot fail")
}

/// Reads a message that fills `bytes` exactly.
pub fn from_wire<'b, T: Decode<'b, Reading>>(
    org: OrgId,
    bytes: &'b [u8],
) -> Result<T, decode::Error> {
    if bytes.len() > REPLY_BYTES_MAX {
        return Err(decode::Error::message("the message is longer than 32 MiB"));
    }
    let mut decoder = Decoder::new(bytes);
    // A page goes on to the end of the commit that it is full in: at most one push more.
    let mut reading = Reading { org, changes_left: 2 * CHANGES_MAX };
    let message = decoder.decode_with(&mut reading)?;
    if decoder.position() != bytes.len() {
        return Err(decode::Error::message("something follows the message"));
    }
    Ok(message)
}

/// Reads only a message's protocol version, which is key 0 of every version for ever.
pub fn protocol_of(bytes: &[u8]) -> Option<u32> {
    let mut d = Decoder::new(bytes);
    match (d.map().ok()??, d.u32().ok()?) {
        (1.., 0) => d.u32().ok(),
        _ => None,
    }
}

impl<C: Within> Encode<C> for Group {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        org: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let genesis = Document::new(org.org(), self.document).genesis();
        let mut actors: Vec<Actor> = self.changes.iter().map(|c| c.actor).collect();
        actors.sort_unstable();
        actors.dedup();
        let places: HashMap<ChangeHash, usize> =
            self.hashes().enumerate().map(|(place, hash)| (hash, place)).collect();
        e.array(4)?.encode_with(self.document, org)?.encode_with(&actors, org)?;
        e.array(self.changes.len() as u64)?;
        for (place, change) in self.changes.iter().enumerate() {
            let actor = actors.partition_point(|a| *a < change.actor);
            e.array(6)?.u64(actor as u64)?.u64(change.seq)?.u64(change.start_op)?;
            e.array(change.deps.len() as u64)?;
            for dep in &change.deps {
                match places.get(dep) {
                    _ if *dep == genesis => e.u64(0)?,
                    Some(earlier) if *earlier < place => e.u64((place - earlier) as u64)?,
                    _ => e.bytes(&dep.0)?,
                };
            }
            e.encode_with(change.section, org)?.bytes(&change.value)?;
        }
        let seals: Vec<_> =
            self.seals.iter().filter_map(|s| Some((places.get(&s.head)?, s))).collect();
        e.array(seals.len() as u64)?;
        for (place, seal) in seals {
            e.array(2)?.u64(*place as u64)?.bytes(&seal.signature)?;
        }
        Ok(())
    }
}

impl<'b, C: Within> Decode<'b, C> for Group {
    fn decode(d: &mut Decoder<'b>, org: &mut C) -> Result<Self, decode::Error> {
        let error = decode::Error::message;
        expect_array(d, 4)?;
        expect_array(&mut d.probe(), 2)?;
        let document: DocId = d.decode_with(org)?;
        let actors = length(d, CHANGES_MAX, "too many actors")?;
        let actors: Vec<Actor> =
            (0..actors).map(|_| d.decode_with(org)).collect::<Result<_, _>>()?;
        if !actors.is_sorted_by(|a, b| a < b) {
            return Err(error("the actors of a group ascend and differ"));
        }
        let count = length(d, CHANGES_MAX, "too many changes")?;
        if count == 0 {
            return Err(error("a group has a change"));
        }
        if !org.may_hold(count) {
            return Err(error("too many changes"));
        }
        let genesis = Document::new(org.org(), document).genesis();
        let mut changes: Vec<Change> = Vec::with_capacity(count.min(256));
        for place in 0..count {
            expect_array(d, 6)?;
            let actor = usize::try_from(d.u64()?).ok().and_then(|n| actors.get(n));
            let actor = *actor.ok_or_else(|| error("no such actor in the group"))?;
            let (seq, start_op) = (d.u64()?, d.u64()?);
            let mut deps = Vec::new();
            for _ in 0..length(d, DEPS_MAX, "too many parents")? {
                deps.push(match d.datatype()? {
                    Type::Bytes => d.decode_with(org)?,
                    _ => match usize::try_from(d.u64()?).ok() {
                        Some(0) => genesis,
                        Some(back) if back <= place => changes[place - back].hash(),
                        _ => return Err(error("no such change in the group")),
                    },
                });
            }
            deps.sort_unstable();
            let section: Section = d.decode_with(org)?;
            let value = d.bytes()?.to_vec();
            let parts = Parts { actor, seq, start_op, deps, section, value };
            changes.push(
                Change::new(document.kind, parts).map_err(|_| error("a change is malformed"))?,
            );
        }
        let names: HashSet<ChangeHash> = changes.iter().map(Change::hash).collect();
        if names.len() < count {
            return Err(error("a change is in the group twice"));
        }
        let mut seals = Vec::new();
        // Each costs a signature's verification, and one for a change is enough.
        for _ in 0..length(d, changes.len(), "too many seals")? {
            expect_array(d, 2)?;
            let head = usize::try_from(d.u64()?).ok().and_then(|n| changes.get(n));
            let head = head.ok_or_else(|| error("a seal names no change of the group"))?.hash();
            let signature = d.bytes()?.try_into().map_err(|_| error("a seal has 64 bytes"))?;
            seals.push(Seal { head, signature });
        }
        Ok(Self { document, changes, seals })
    }
}

/// Reads a list of which `MAX` are allowed, and of more only one: that there are too many is seen, and nothing is built
/// from the rest.
fn few<'b, C, T: Decode<'b, C>, const MAX: usize>(
    d: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Vec<T>, decode::Error> {
    let mut left = d.array()?;
    let mut list = Vec::new();
    loop {
        match &mut left {
            Some(0) => return Ok(list),
            Some(left) => *left -= 1,
            None if d.datatype()? == Type::Break => {
                d.skip()?;
                return Ok(list);
            }
            None => {}
        }
        match list.len() <= MAX {
            true => list.push(d.decode_with(context)?),
            false => d.skip()?,
        }
    }
}

fn expect_array(d: &mut Decoder<'_>, length: u64) -> Result<(), decode::Error> {
    match d.array()? {
        Some(n) if n == length => Ok(()),
        _ => Err(decode::Error::message("an array has an unexpected length")),
    }
}

fn length(d: &mut Decoder<'_>, max: usize, why: &'static str) -> Result<usize, decode::Error> {
    let length = d.array()?.and_then(|n| usize::try_from(n).ok());
    length.filter(|n| *n <= max).ok_or_else(|| decode::Error::message(why))
}

impl PushRequest {
    /// Whether the counts are within the limits.
    pub fn within_limits(&self) -> bool {
        self.groups.len() <= GROUPS_MAX
            && self.notes.len() <= NOTES_MAX
            && self.groups.iter().map(|g| g.changes.len()).sum::<usize>() <= CHANGES_MAX
    }
}

impl RepairRequest {
    /// Whether the counts are within the limits.
    pub fn within_limits(&self) -> bool {
        self.parts.len() <= PARTS_MAX && self.wanted.len() <= WANTED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Entry;
    use crate::evidence::Keypair;
    use crate::id::{LogOrigin, UserId};
    use crate::model::visit::Submission;

    const ORG: OrgId = OrgId::from_bytes([1; 16]);
    const NOW: Moment =
        Moment { wall_ms: -5, boot: 1, boot_ms: 2, anchor: 3, skew_ms: None, life: None };

    fn group() -> Group {
        let id = DocId { kind: DocKind::Visit, id: [2; 16] };
        let pair = Keypair::from_seed(&[3; 32]);
        let mut document = Document::new(ORG, id);
        let entry = |n| {
            let by = UserId::from_bytes([n; 16]);
            Entry::Submission(Submission { by, when: NOW, place: None })
        };
        let a = document.next(Actor::new(&pair.public(), [1; 8]), &entry(1)).unwrap();
        let b = document.next(Actor::new(&pair.public(), [2; 8]), &entry(2)).unwrap();
        document.insert(a).unwrap();
        document.insert(b).unwrap();
        let c = document.next(Actor::new(&pair.public(), [1; 8]), &entry(3)).unwrap();
        document.insert(c).unwrap();
        let changes = document.changes().to_vec();
        let seal = pair.seal(ORG, id, changes[2].hash());
        Group { document: id, changes, seals: vec![seal] }
    }

    #[test]
    fn a_seal_says_nothing_of_what_another_device_wrote_before() {
        let id = DocId { kind: DocKind::Visit, id: [2; 16] };
        let (one, other) = (Keypair::from_seed(&[3; 32]), Keypair::from_seed(&[4; 32]));
        let mut document = Document::new(ORG, id);
        for pair in [&other, &one] {
            let by = UserId::from_bytes([1; 16]);
            let entry = Entry::Submission(Submission { by, when: NOW, place: None });
            let change = document.next(Actor::new(&pair.public(), [1; 8]), &entry).unwrap();
            document.insert(change).unwrap();
        }
        let mut keys = Keys::default();
        [&one, &other].iter().for_each(|pair| keys.insert(&pair.public()));
        let changes = document.changes().to_vec();
        let (before, after) = (changes[0].hash(), changes[1].hash());
        let check =
            |seals| Group { document: id, changes: changes.clone(), seals }.check_seals(ORG, &keys);
        let own = one.seal(ORG, id, after);
        assert_eq!(check(vec![own.clone()]), Err(Unsealed::Bare(before)));
        assert_eq!(check(vec![own, other.seal(ORG, id, before)]), Ok(()));
    }

    #[test]
    fn a_group_comes_back_with_the_same_hashes() {
        let bytes = to_wire(ORG, &group());
        assert_eq!(from_wire::<Group>(ORG, &bytes).unwrap(), group());
        let elsewhere = from_wire::<Group>(OrgId::from_bytes([9; 16]), &bytes).unwrap();
        assert!(elsewhere.hashes().zip(group().hashes()).all(|(a, b)| a != b));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_an_error_or_another_message() {
        let push = PushRequest {
            protocol: PROTOCOL,
            now: NOW,
            previous: None,
            groups: vec![group()],
            notes: vec![Note::new("hello", [0; 16]).unwrap()],
        };
        let bytes = to_wire(ORG, &push);
        for cut in 0..bytes.len() {
            assert!(from_wire::<PushRequest>(ORG, &bytes[..cut]).is_err());
        }
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[place] ^= 1 << bit;
                if let Ok(other) = from_wire::<PushRequest>(ORG, &bytes) {
                    assert_ne!(other, push);
                }
            }
        }
        assert!(from_wire::<PushRequest>(ORG, &[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn what_costs_work_is_counted_before_the_work() {
        let changes = vec![group().changes[0].clone()];
        let short = Group { changes, seals: Vec::new(), ..group() };
        let groups = |count: usize| {
            let head = [&[0x9a][..], &(count as u32).to_be_bytes()].concat();
            from_wire::<Vec<Group>>(ORG, &[head, to_wire(ORG, &short).repeat(count)].concat())
        };
        assert_eq!(groups(2 * CHANGES_MAX).unwrap().len(), 2 * CHANGES_MAX);
        assert!(groups(2 * CHANGES_MAX + 1).is_err());
        let sealed = |seals: usize| {
            let group = Group { seals: vec![group().seals[0].clone(); seals], ..group() };
            from_wire::<Group>(ORG, &to_wire(ORG, &group))
        };
        assert!(sealed(group().changes.len()).is_ok());
        assert!(sealed(group().changes.len() + 1).is_err());
    }

    #[test]
    fn of_a_list_that_is_too_long_nothing_is_built_but_that_it_is() {
        let most = crate::cargo::PARCELS_MAX;
        let cargo = |head: &[u8], count: usize, end: &[u8]| {
            let bytes = [b"\xa2\x00\x01\x01", head, &vec![0x40; count], end].concat();
            from_wire::<CargoRequest>(ORG, &bytes).map(|cargo| cargo.parcels.len()).ok()
        };
        for (count, read) in [(0, 0), (most, most), (most + 1, most + 1), (1 << 20, most + 1)] {
            let head = [&[0x9a][..], &(count as u32).to_be_bytes()].concat();
            assert_eq!(cargo(&head, count, b""), Some(read));
            assert_eq!(cargo(b"\x9f", count, b"\xff"), Some(read));
            assert_eq!(cargo(b"\x9f", count, b""), None);
        }
        assert_eq!(cargo(b"\x9a\xff\xff\xff\xff", 1 << 20, b""), None);
    }

    #[test]
    fn nothing_changed_fits_into_a_few_bytes() {
        let cursor = Cursor {
            origin: LogOrigin::from_bytes([1; 16]),
            sequence: 1 << 40,
            root: LogHash([2; 32]),
        };
        let ask = to_wire(
            ORG,
            &PullRequest {
                protocol: PROTOCOL,
                cursor: Some(cursor),
                pushed: Some(LogHash([3; 32])),
                filled: None,
                known: Some(Known { life: cursor.origin, size: 1 << 40 }),
                waits: None,
            },
        );
        let (server_ms, more) = (1 << 41, false);
        let (records, groups, notes) = (Vec::new(), Vec::new(), Vec::new());
        let (protocol, filled, gone) = (PROTOCOL, None, None);
        let reply = PullReply {
            decided: None,
            let_go: None,
            receipt: None,
            print: Some(PrintName([4; 8])),
            protocol,
            server_ms,
            cursor,
            more,
            records,
            groups,
            notes,
            filled,
            gone,
        };
        assert!(ask.len() + to_wire(ORG, &reply).len() < 250);
        assert_eq!(protocol_of(&ask), Some(PROTOCOL));
        assert_eq!(protocol_of(b"\xa0"), None);
    }
}
