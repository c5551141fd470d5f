//! Documents: what is written, how it is named, and how it becomes Automerge.
//!
//! A document is a genesis and a graph of changes. Each change adds exactly one immutable entry to one
//! append-only section, so a change is a pure function of six parts ([`Parts`]). Those parts are what
//! travels and what is stored; the Automerge change chunk is derived from them, and its hash names the
//! change. So no bytes from outside ever reach Automerge's parser, and what a hostile chunk could say
//! (operations on foreign objects, preds, extra bytes, compressed bombs) cannot be said (docs/adr/0002).
//!
//! This is the only file that names Automerge's types.

use std::collections::{HashMap, HashSet, hash_map};
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Automerge, ExpandedChange, ObjType, ScalarValue};
use minicbor::{Decode, Encode};

use crate::cbor::{from_cbor, to_cbor};
use crate::id::{Actor, BlobHash, ChangeHash, DocId, DocKind, OrgId, OutletId, UserId};
use crate::model::capture::Moment;
use crate::model::contest::Word;
use crate::model::visit::{
    Act, NOTE_BYTES_MAX, OutletReport, PhotoRef, Post, Recording, Review, Submission, Volume,
    validate_names,
};
use crate::model::{Geo, Invalid};

/// Version of the documents' schema, written into every genesis.
pub const SCHEMA: u64 = 1;
/// Longest entry.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Most parents of one change.
pub const DEPS_MAX: usize = 64;
/// Most changes of one document.
pub const CHANGES_MAX: usize = 4_096;
/// Most bytes of one document, its notes among them ([`Size::bytes`]): it fits into one push and into one answer whole.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Most observations of one document: what reads it holds each several times over.
pub const DOCUMENT_VALUES_MAX: usize = 50_000;
/// A volume of an outlet's history that has so many changes is followed by the next one.
pub const VOLUME_CHANGES: usize = 500;
/// So is one of so many bytes: more than 500 remarks of the longest words have.
pub const VOLUME_BYTES: usize = 5 << 19;
/// What a change takes on the wire beside its entry and its parents, with a seal and an actor of its own.
const CHANGE_BYTES: usize = 128;
const PARENT_BYTES: usize = 34;
/// What a note takes on the wire at most.
const NOTE_BYTES: usize = NOTE_BYTES_MAX + 32;
/// Greatest operation number: far above any document's, far below where Automerge overflows.
const OP_MAX: u64 = 1 << 24;

const GENESIS_ACTOR: &[u8] = b"endcap";

/// An append-only list of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Section {
    /// Of a visit: what was seen.
    #[n(0)]
    Recordings,
    /// Of a visit: who has finished.
    #[n(1)]
    Submissions,
    /// Of a visit: what was judged.
    #[n(2)]
    Reviews,
    /// Of either: what was said.
    #[n(3)]
    Thread,
    /// Of an outlet: what the field reports of it.
    #[n(4)]
    Reports,
}

impl Section {
    const VISIT: [Self; 4] = [Self::Recordings, Self::Submissions, Self::Reviews, Self::Thread];
    const OUTLET: [Self; 2] = [Self::Reports, Self::Thread];

    /// The sections of a kind of document, in the order of its genesis.
    pub const fn of(kind: DocKind) -> &'static [Self] {
        match kind {
            DocKind::Visit => &Self::VISIT,
            DocKind::Outlet => &Self::OUTLET,
        }
    }

    /// Its key at the document's root.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recordings => "recordings",
            Self::Submissions => "submissions",
            Self::Reviews => "reviews",
            Self::Thread => "thread",
            Self::Reports => "reports",
        }
    }

    /// Its place among the sections of `kind`; `None` if that kind has no such section.
    pub fn index_in(self, kind: DocKind) -> Option<u8> {
        let place = Self::of(kind).iter().position(|s| *s == self)?;
        u8::try_from(place).ok()
    }
}

/// One entry and its place in the history: everything that determines an Automerge change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Parts {
    /// Who writes.
    #[n(0)]
    pub actor: Actor,
    /// The actor's how-many-th change of this document, from 1.
    #[n(1)]
    pub seq: u64,
    /// The operation's number: one more than the greatest of its parents.
    #[n(2)]
    pub start_op: u64,
    /// The heads that the writer saw, ascending.
    #[n(3)]
    pub deps: Vec<ChangeHash>,
    /// Where the entry goes.
    #[n(4)]
    pub section: Section,
    /// The entry's CBOR.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// A change with its name: the hash of the Automerge change that its parts determine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    hash: ChangeHash,
    parts: Parts,
}

impl Deref for Change {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Change {
    /// Names a change by computing its hash.
    pub fn new(kind: DocKind, parts: Parts) -> Result<Self, Misfit> {
        parts.limits()?;
        let automerge = parts.automerge(kind).ok_or(Misfit::Malformed(
            "this kind of document has no such section or operation number",
        ))?;
        Ok(Self { hash: ChangeHash(automerge.hash().0), parts })
    }

    /// A change that this program named before and kept: the hash is believed.
    pub fn kept(hash: ChangeHash, parts: Parts) -> Self {
        Self { hash, parts }
    }

    /// Its name.
    pub fn hash(&self) -> ChangeHash {
        self.hash
    }

    /// What it says.
    pub fn entry(&self) -> Result<Entry, minicbor::decode::Error> {
        Entry::decode(self.section, &self.value)
    }
}

/// How much of a document's room somebody may fill. Each is left some of which the one after it may fill no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// All of it: what is said in the console, so that nobody fills a document before it is reviewed.
    Console,
    /// Most of it: what devices write.
    Device,
    /// What a device leaves free, so that what is there can be submitted.
    Work,
}

/// Changes, bytes and observations.
type Most = [usize; 3];

impl Room {
    const ALL: Most = [CHANGES_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_VALUES_MAX];
    const SPARED: Most = [32, 256 * 1024, 500];

    /// How much there may be in all.
    fn of_all(self) -> Most {
        let spared = self as usize;
        [0, 1, 2].map(|n| Self::ALL[n] - spared * Self::SPARED[n])
    }

    /// How much of it may be of one person, so that nobody alone takes the room from all others.
    fn of_one(self) -> Option<Most> {
        let spared = (self as usize).checked_sub(Self::Device as usize)?;
        Some([0, 1, 2].map(|n| Self::ALL[n] / 4 * 3 - spared * Self::SPARED[n]))
    }
}

/// What a document, or a part of one, holds of what is limited: a function of its changes alone, whoever counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Size {
    /// The changes.
    pub changes: usize,
    /// The observations.
    pub values: usize,
    bytes: usize,
    /// How many changes name each.
    notes: HashMap<BlobHash, usize>,
}

impl Size {
    /// What the changes, their seals and the notes that they name take on the wire at most: each note counts once, as
    /// the longest, for how long it is and whether it was erased is no part of the document.
    pub fn bytes(&self) -> usize {
        self.bytes + self.notes.len() * NOTE_BYTES
    }

    /// Whether a volume of this size is followed by the next.
    pub fn fills_a_volume(&self) -> bool {
        self.changes >= VOLUME_CHANGES || self.bytes() >= VOLUME_BYTES
    }

    /// Adds a change and what it says, if that reads.
    pub fn add(&mut self, change: &Parts, entry: Option<&Entry>) {
        self.changes += 1;
        self.bytes += change.bytes();
        self.values += entry.map_or(0, Entry::values);
        for note in entry.map(Entry::notes).unwrap_or_default() {
            *self.notes.entry(note).or_default() += 1;
        }
    }

    /// Takes off one that was added.
    fn take_off(&mut self, change: &Parts, entry: Option<&Entry>) {
        self.changes -= 1;
        self.bytes -= change.bytes();
        self.values -= entry.map_or(0, Entry::values);
        for note in entry.map(Entry::notes).unwrap_or_default() {
            if let hash_map::Entry::Occupied(mut naming) = self.notes.entry(note) {
                *naming.get_mut() -= 1;
                if *naming.get() == 0 {
                    naming.remove();
                }
            }
        }
    }
}

impl Parts {
    /// What it takes on the wire at most, with a seal.
    pub fn bytes(&self) -> usize {
        self.value.len() + self.deps.len() * PARENT_BYTES + CHANGE_BYTES
    }

    /// What holds of every change, whatever document it is for.
    fn limits(&self) -> Result<(), Misfit> {
        let malformed = |why| Err(Misfit::Malformed(why));
        if self.value.len() > VALUE_BYTES_MAX {
            return malformed("the entry is longer than 64 KiB");
        }
        if self.deps.is_empty() || self.deps.len() > DEPS_MAX {
            return malformed("a change needs 1 to 64 parents");
        }
        if !self.deps.is_sorted_by(|a, b| a < b) {
            return malformed("the parents must ascend and differ");
        }
        if self.actor.as_bytes().starts_with(GENESIS_ACTOR) {
            return malformed("the actor is reserved");
        }
        Ok(())
    }

    /// The Automerge change of these parts, for a document of `kind`.
    ///
    /// `None` where no document of that kind could hold it: an absent section, a zero or huge number.
    fn automerge(&self, kind: DocKind) -> Option<automerge::Change> {
        let list = OpId::new(section_op(kind, self.section)?, &ActorId::from(GENESIS_ACTOR));
        if self.seq == 0 || self.seq > OP_MAX || self.start_op > OP_MAX {
            return None;
        }
        Some(automerge::Change::from(ExpandedChange {
            operations: vec![Op {
                action: OpType::Put(ScalarValue::Bytes(self.value.clone())),
                obj: ObjectId::Id(list),
                key: Key::Seq(ElementId::Head),
                pred: Vec::new().into(),
                insert: true,
            }],
            actor_id: ActorId::from(&self.actor.as_bytes()[..]),
            hash: None,
            seq: self.seq,
            start_op: NonZeroU64::new(self.start_op)?,
            time: 0,
            message: None,
            deps: self.deps.iter().map(|d| automerge::ChangeHash(d.0)).collect(),
            extra_bytes: Vec::new(),
            author: None,
        }))
    }

    /// The Automerge change chunk, byte for byte as other Automerge programs write it.
    pub fn chunk(&self, kind: DocKind) -> Option<Vec<u8>> {
        self.automerge(kind).map(|change| change.raw_bytes().to_vec())
    }
}

fn section_op(kind: DocKind, section: Section) -> Option<u64> {
    section.index_in(kind).map(|index| 5 + u64::from(index))
}

fn genesis_ops(kind: DocKind) -> u64 {
    4 + Section::of(kind).len() as u64
}

/// The first change of a document: a pure function of organisation, kind and id, frozen by golden bytes
/// in `fixtures/documents`. It holds those three, the schema's version and every section, empty.
fn genesis(org: OrgId, id: DocId) -> automerge::Change {
    let root = |key: &str, action: OpType| Op {
        action,
        obj: ObjectId::Root,
        key: Key::Map(key.into()),
        pred: Vec::new().into(),
        insert: false,
    };
    let put = |key: &str, value: ScalarValue| root(key, OpType::Put(value));
    let mut operations = vec![
        put("organisation", ScalarValue::Bytes(org.as_bytes().to_vec())),
        put("kind", ScalarValue::Str(id.kind.as_str().into())),
        put("id", ScalarValue::Bytes(id.id.to_vec())),
        put("schema", ScalarValue::Uint(SCHEMA)),
    ];
    let sections = Section::of(id.kind).iter();
    operations.extend(sections.map(|s| root(s.as_str(), OpType::Make(ObjType::List))));
    automerge::Change::from(ExpandedChange {
        operations,
        actor_id: ActorId::from(GENESIS_ACTOR),
        hash: None,
        seq: 1,
        start_op: NonZeroU64::MIN,
        time: 0,
        message: None,
        deps: Vec::new(),
        extra_bytes: Vec::new(),
        author: None,
    })
}

/// Why a change cannot be part of a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It may fit once its parent is here.
    #[error("the parent {0} is not here")]
    MissingParent(ChangeHash),
    /// Its actor has already written something else at this place: two copies of one store.
    #[error("the actor has already written its change {0} of this document")]
    Forked(u64),
    /// The document has no room.
    #[error("it holds as much as it can: submit or sync it, and go on in a new one")]
    Full,
    /// It can never fit.
    #[error("{0}")]
    Malformed(&'static str),
}

/// A document: every change has all its parents here, and every change's hash is its name.
#[derive(Debug, Clone)]
pub struct Document {
    org: OrgId,
    id: DocId,
    genesis: ChangeHash,
    changes: Vec<Change>,
    /// Each change's past, itself included. Walking the graph instead would take a hostile one, with the most
    /// parents everywhere, minutes.
    pasts: Vec<Places>,
    places: HashMap<ChangeHash, usize>,
    newest_of: HashMap<Actor, usize>,
    heads: Vec<ChangeHash>,
    /// How many changes each is a parent of.
    children: Vec<u32>,
    /// What each change says, once somebody has asked: `None` if that does not read.
    entries: Vec<OnceLock<Option<Arc<Entry>>>>,
    size: OnceLock<Size>,
}

impl Document {
    /// The document that holds only its genesis.
    pub fn new(org: OrgId, id: DocId) -> Self {
        let genesis = ChangeHash(genesis(org, id).hash().0);
        Self {
            org,
            id,
            genesis,
            changes: Vec::new(),
            pasts: Vec::new(),
            places: HashMap::new(),
            newest_of: HashMap::new(),
            heads: vec![genesis],
            children: Vec::new(),
            entries: Vec::new(),
            size: OnceLock::new(),
        }
    }

    /// Its name.
    pub fn id(&self) -> DocId {
        self.id
    }

    /// Its organisation.
    pub fn org(&self) -> OrgId {
        self.org
    }

    /// Which volume of which outlet's history it is, if it is one. A later volume says so in its first change.
    pub fn volume(&self) -> Option<(OutletId, u32)> {
        match self.id.kind {
            DocKind::Visit => None,
            DocKind::Outlet if !self.id.is_later_volume() => {
                Some((OutletId::from_bytes(self.id.id), 0))
            }
            DocKind::Outlet => {
                let first = self.entry_at(0)?;
                let volume = first.volume().filter(|volume| volume.document() == self.id)?;
                Some((volume.outlet, volume.number))
            }
        }
    }

    /// The name of its first change.
    pub fn genesis(&self) -> ChangeHash {
        self.genesis
    }

    /// The changes that no other builds on, ascending.
    pub fn heads(&self) -> &[ChangeHash] {
        &self.heads
    }

    /// All changes after the genesis, each after its parents.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// A change by its name.
    pub fn change(&self, hash: ChangeHash) -> Option<&Change> {
        self.places.get(&hash).map(|place| &self.changes[*place])
    }

    /// What a change says, if it is here and that reads: read once, however often it is asked.
    pub fn entry(&self, hash: ChangeHash) -> Option<&Entry> {
        self.entry_at(self.place(hash)?)
    }

    /// What the changes of a section say, each with its change.
    pub fn entries(&self, section: Section) -> impl Iterator<Item = (&Change, &Entry)> {
        let changes = self.changes.iter().enumerate().filter(move |(_, c)| c.section == section);
        changes.filter_map(|(place, change)| Some((change, self.entry_at(place)?)))
    }

    fn entry_at(&self, place: usize) -> Option<&Entry> {
        let read = || self.changes[place].entry().ok().map(Arc::new);
        self.entries.get(place)?.get_or_init(read).as_deref()
    }

    /// What is here of what is limited.
    pub fn size(&self) -> &Size {
        self.size.get_or_init(|| self.size_of(|_| true))
    }

    /// The same of the changes that `which` picks by their places.
    pub fn size_of(&self, which: impl Fn(usize) -> bool) -> Size {
        let mut size = Size::default();
        for place in (0..self.changes.len()).filter(|place| which(*place)) {
            size.add(&self.changes[place], self.entry_at(place));
        }
        size
    }

    /// Whether there is room for a change that says this: in the document, and in its author's share of it.
    pub fn holds(&self, change: &Change, entry: &Entry, room: Room) -> Result<(), Misfit> {
        let takes = |size: &Size, [changes, bytes, values]: Most| {
            let is_new = |note: &BlobHash| !size.notes.contains_key(note);
            let new = entry.notes().into_iter().filter(is_new).count();
            size.changes < changes
                && size.bytes() + change.bytes() + new * NOTE_BYTES <= bytes
                && size.values + entry.values() <= values
        };
        let theirs = |place| self.entry_at(place).is_some_and(|said| said.by() == entry.by());
        let all = self.size();
        // What a document holds in all is seldom more than a share, and counted already.
        let fits = takes(all, room.of_all())
            && room
                .of_one()
                .is_none_or(|share| takes(all, share) || takes(&self.size_of(theirs), share));
        if fits { Ok(()) } else { Err(Misfit::Full) }
    }

    /// Where among the changes one is.
    pub fn place(&self, hash: ChangeHash) -> Option<usize> {
        self.places.get(&hash).copied()
    }

    /// Whether a change, or the genesis, is here.
    pub fn contains(&self, hash: ChangeHash) -> bool {
        hash == self.genesis || self.places.contains_key(&hash)
    }

    /// The actor's newest change here.
    pub fn newest_of(&self, actor: Actor) -> Option<&Change> {
        self.newest_of.get(&actor).map(|place| &self.changes[*place])
    }

    /// The change that `actor` would make now, on top of everything here. Does not insert it.
    pub fn next(&self, actor: Actor, entry: &Entry) -> Result<Change, Misfit> {
        let parts = Parts {
            actor,
            seq: self.next_seq(actor),
            start_op: self.next_op(&self.heads),
            deps: self.heads.clone(),
            section: entry.section(),
            value: entry.encode(),
        };
        Change::new(self.id.kind, parts)
    }

    fn next_seq(&self, actor: Actor) -> u64 {
        self.newest_of(actor).map_or(1, |change| change.seq + 1)
    }

    fn next_op(&self, parents: &[ChangeHash]) -> u64 {
        let ops = parents.iter().filter_map(|p| self.change(*p)).map(|c| c.start_op);
        1 + ops.max().unwrap_or(0).max(genesis_ops(self.id.kind))
    }

    /// Checks that a change continues this document, whether or not there is room. A change that is already here fits.
    pub fn check(&self, change: &Change) -> Result<(), Misfit> {
        let malformed = |why| Err(Misfit::Malformed(why));
        if self.places.contains_key(&change.hash) {
            return Ok(());
        }
        if let Some(missing) = change.deps.iter().find(|d| !self.contains(**d)) {
            return Err(Misfit::MissingParent(*missing));
        }
        let next = self.next_seq(change.actor);
        if change.seq < next {
            return Err(Misfit::Forked(change.seq));
        }
        if change.seq > next {
            return malformed("the actor's changes must be counted without a gap");
        }
        if change.start_op != self.next_op(&change.deps) {
            return malformed("the operation's number must be one more than its parents' greatest");
        }
        if let Some(own) = self.newest_of.get(&change.actor)
            && !self.places_of(&change.deps).any(|parent| self.pasts[parent].contains(*own))
        {
            return malformed("an actor must build on its own newest change");
        }
        Ok(())
    }

    /// Adds a change that [`Document::check`] finds fitting; adding it again does nothing.
    pub fn insert(&mut self, change: Change) -> Result<(), Misfit> {
        self.add(change, OnceLock::new())
    }

    /// The same of a change that has been read: what it says need not be read again.
    pub fn insert_read(&mut self, change: Change, entry: Arc<Entry>) -> Result<(), Misfit> {
        self.add(change, Some(entry).into())
    }

    fn add(&mut self, change: Change, entry: OnceLock<Option<Arc<Entry>>>) -> Result<(), Misfit> {
        self.check(&change)?;
        if self.places.contains_key(&change.hash) {
            return Ok(());
        }
        if self.changes.len() >= CHANGES_MAX {
            return Err(Misfit::Full);
        }
        let place = self.changes.len();
        let mut past = self.past(&change.deps).inside;
        past.insert(place);
        self.pasts.push(past);
        self.heads.retain(|head| change.deps.binary_search(head).is_err());
        self.add_head(change.hash);
        for parent in change.deps.iter().filter_map(|hash| self.places.get(hash)) {
            self.children[*parent] += 1;
        }
        self.children.push(0);
        self.newest_of.insert(change.actor, place);
        self.places.insert(change.hash, place);
        self.changes.push(change);
        self.entries.push(entry);
        if let Some(mut size) = self.size.take() {
            size.add(&self.changes[place], self.entry_at(place));
            self.size = size.into();
        }
        Ok(())
    }

    fn add_head(&mut self, hash: ChangeHash) {
        let at = self.heads.partition_point(|head| *head < hash);
        self.heads.insert(at, hash);
    }

    /// Takes out what was added after the first so many changes. It costs what that is, and not what is left.
    pub fn cut(&mut self, changes: usize) {
        while self.changes.len() > changes {
            let Some(change) = self.changes.pop() else { return };
            let entry = self.entries.pop();
            if let Some(mut size) = self.size.take() {
                let read = || change.entry().ok().map(Arc::new);
                let entry = entry.as_ref().and_then(|entry| entry.get_or_init(read).as_deref());
                size.take_off(&change, entry);
                self.size = size.into();
            }
            self.pasts.pop();
            self.children.pop();
            self.places.remove(&change.hash);
            self.heads.retain(|head| *head != change.hash);
            for parent in &change.deps {
                let Some(place) = self.places.get(parent) else { continue };
                self.children[*place] -= 1;
                if self.children[*place] == 0 {
                    self.add_head(*parent);
                }
            }
            if self.changes.is_empty() {
                self.heads = vec![self.genesis];
            }
            let before = || self.changes.iter().rposition(|before| before.actor == change.actor);
            match (change.seq > 1).then(before).flatten() {
                Some(before) => self.newest_of.insert(change.actor, before),
                None => self.newest_of.remove(&change.actor),
            };
        }
    }

    /// The changes of the actors that `who` picks in which the author of an entry has done the same at the same moment.
    pub fn said_at<'a>(
        &'a self,
        entry: &'a Entry,
        who: impl Fn(Actor) -> bool + 'a,
    ) -> impl Iterator<Item = ChangeHash> + 'a {
        // Who says that a call is not possible begins the visit at that moment too.
        let act = |entry: &Entry| match entry {
            Entry::Recording(recording) => Some(std::mem::discriminant(&recording.act)),
            _ => None,
        };
        let what = move |entry: &Entry| (entry.by(), *entry.when(), act(entry));
        let said = self.entries(entry.section());
        // Whose an actor is costs more to ask than what a change says, and honest changes say different things.
        let said =
            said.filter(move |(change, other)| what(other) == what(entry) && who(change.actor));
        said.map(|(change, _)| change.hash())
    }

    /// `of` and everything before it. Hashes that are not here are passed over.
    pub fn past(&self, of: &[ChangeHash]) -> Past<'_> {
        let mut inside = Places::default();
        self.places_of(of).for_each(|place| inside.extend(&self.pasts[place]));
        Past { document: self, inside }
    }

    fn places_of(&self, hashes: &[ChangeHash]) -> impl Iterator<Item = usize> {
        hashes.iter().filter_map(|hash| self.places.get(hash).copied())
    }

    /// The document as an Automerge file, which any Automerge program opens.
    pub fn to_automerge(&self) -> Result<Vec<u8>, automerge::AutomergeError> {
        let changes = self.changes.iter().filter_map(|c| c.automerge(self.id.kind));
        let all: Vec<_> = std::iter::once(genesis(self.org, self.id)).chain(changes).collect();
        let mut document = Automerge::new().with_actor(ActorId::from(GENESIS_ACTOR));
        document.apply_changes(all)?;
        Ok(document.save())
    }
}

/// A set of changes closed under parenthood.
#[derive(Debug)]
pub struct Past<'a> {
    document: &'a Document,
    inside: Places,
}

impl Past<'_> {
    /// Whether nothing but the genesis is in it.
    pub fn is_empty(&self) -> bool {
        self.inside.0.is_empty()
    }

    /// How many changes are in it.
    pub fn len(&self) -> usize {
        self.inside.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether a volume of which its author has seen this is followed by the next.
    pub fn fills_a_volume(&self) -> bool {
        // Few of those that are named would be read for nothing.
        self.len() >= VOLUME_CHANGES
            || self.document.size_of(|place| self.inside.contains(place)).fills_a_volume()
    }

    /// Takes a change in, with everything before it.
    pub fn add(&mut self, hash: ChangeHash) {
        if let Some(place) = self.document.place(hash) {
            self.inside.extend(&self.document.pasts[place]);
        }
    }

    /// Whether a change is in it.
    pub fn contains(&self, hash: ChangeHash) -> bool {
        self.document.places.get(&hash).is_some_and(|place| self.inside.contains(*place))
    }
}

/// A set of places, one bit each; the last word is not zero.
#[derive(Debug, Clone, Default)]
struct Places(Vec<u64>);

impl Places {
    fn contains(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn insert(&mut self, place: usize) {
        self.0.resize(self.0.len().max(place / 64 + 1), 0);
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn extend(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }
}

/// What a change says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// In `recordings`.
    Recording(Recording),
    /// In `submissions`.
    Submission(Submission),
    /// In `reviews`.
    Review(Review),
    /// In `thread`.
    Post(Post),
    /// In `reports`.
    Report(OutletReport),
}

impl Entry {
    /// Reads an entry; it must fill `bytes` exactly.
    pub fn decode(section: Section, bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        Ok(match section {
            Section::Recordings => Self::Recording(from_cbor(bytes)?),
            Section::Submissions => Self::Submission(from_cbor(bytes)?),
            Section::Reviews => Self::Review(from_cbor(bytes)?),
            Section::Thread => Self::Post(from_cbor(bytes)?),
            Section::Reports => Self::Report(from_cbor(bytes)?),
        })
    }

    /// The entry's CBOR.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Recording(entry) => to_cbor(entry),
            Self::Submission(entry) => to_cbor(entry),
            Self::Review(entry) => to_cbor(entry),
            Self::Post(entry) => to_cbor(entry),
            Self::Report(entry) => to_cbor(entry),
        }
    }

    /// Where it goes.
    pub fn section(&self) -> Section {
        match self {
            Self::Recording(_) => Section::Recordings,
            Self::Submission(_) => Section::Submissions,
            Self::Review(_) => Section::Reviews,
            Self::Post(_) => Section::Thread,
            Self::Report(_) => Section::Reports,
        }
    }

    /// Who wrote it.
    pub fn by(&self) -> UserId {
        match self {
            Self::Recording(entry) => entry.by,
            Self::Submission(entry) => entry.by,
            Self::Review(entry) => entry.by,
            Self::Post(entry) => entry.by,
            Self::Report(entry) => entry.by,
        }
    }

    /// When it was written.
    pub fn when(&self) -> &Moment {
        match self {
            Self::Recording(entry) => &entry.when,
            Self::Submission(entry) => &entry.when,
            Self::Review(entry) => &entry.when,
            Self::Post(entry) => &entry.when,
            Self::Report(entry) => &entry.when,
        }
    }

    /// How many observations it holds.
    pub fn values(&self) -> usize {
        match self {
            Self::Recording(entry) => entry.observed().map_or(0, |o| o.observations.0.len()),
            _ => 0,
        }
    }

    /// The notes that it refers to, each once.
    pub fn notes(&self) -> Vec<BlobHash> {
        match self {
            Self::Recording(entry) => entry.notes(),
            Self::Submission(_) => Vec::new(),
            Self::Review(entry) => entry.comment.into_iter().collect(),
            Self::Post(entry) => vec![entry.text],
            Self::Report(entry) => entry.note.into_iter().collect(),
        }
    }

    /// The same without the words that are `lost`, and without what is nothing without them; `None` if nothing is left.
    pub fn without_words(mut self, lost: impl Fn(&BlobHash) -> bool) -> Option<Self> {
        match &mut self {
            Self::Recording(entry) => entry.forget_words(&lost).then_some(self),
            Self::Submission(_) => Some(self),
            Self::Review(entry) => {
                entry.comment.take_if(|comment| lost(comment));
                Some(self)
            }
            Self::Post(entry) => (!lost(&entry.text)).then_some(self),
            Self::Report(entry) => {
                entry.note.take_if(|note| lost(note));
                Some(self)
            }
        }
    }

    /// The volume of an outlet's history that its author begins with it.
    pub fn volume(&self) -> Option<&Volume> {
        match self {
            Self::Post(entry) => entry.volume.as_ref(),
            Self::Report(entry) => entry.volume.as_ref(),
            Self::Recording(_) | Self::Submission(_) | Self::Review(_) => None,
        }
    }

    /// The same, said by an author who begins a volume with it, or none.
    pub fn in_volume(mut self, volume: Option<Volume>) -> Self {
        match &mut self {
            Self::Post(entry) => entry.volume = volume,
            Self::Report(entry) => entry.volume = volume,
            Self::Recording(_) | Self::Submission(_) | Self::Review(_) => {}
        }
        self
    }

    /// The photos that it refers to.
    pub fn photos(&self) -> &[PhotoRef] {
        match self {
            Self::Recording(entry) => entry.photos(),
            Self::Post(entry) => entry.word.as_ref().map_or(&[], Word::photos),
            Self::Report(entry) => &entry.photos,
            _ => &[],
        }
    }

    /// The entry with every name of another entry replaced by what `now` says; what has no name any more is left
    /// out. `None` if nothing is left to say.
    pub fn renamed(mut self, now: impl Fn(ChangeHash) -> Option<ChangeHash>) -> Option<Self> {
        let rename = |names: &mut Vec<ChangeHash>| {
            let mut named = HashSet::new();
            *names =
                names.iter().filter_map(|name| now(*name)).filter(|n| named.insert(*n)).collect();
            !names.is_empty()
        };
        let says = match &mut self {
            Self::Recording(Recording { act: Act::Observe(observed), .. }) => {
                rename(&mut observed.supersedes);
                true
            }
            Self::Recording(Recording { act: Act::Withdraw { recordings }, .. }) => {
                rename(recordings)
            }
            Self::Review(review) => rename(&mut review.heads),
            Self::Post(post) => {
                post.answers = post.answers.and_then(&now);
                match &mut post.word {
                    None => true,
                    Some(Word::Contest(objection)) => rename(&mut objection.seen),
                    Some(Word::Step(..)) => post.answers.is_some(),
                }
            }
            Self::Recording(_) | Self::Submission(_) | Self::Report(_) => true,
        };
        says.then_some(self)
    }

    /// Checks everything that can be checked without a document or a catalogue.
    pub fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::Recording(entry) => entry.validate(),
            Self::Report(entry) => entry.validate(),
            Self::Review(entry) => {
                let some = !entry.heads.is_empty();
                Invalid::unless(some, "heads", "needs 1 to 256 heads")?;
                validate_names(&entry.heads, "heads")
            }
            Self::Post(entry) => entry.validate(),
            Self::Submission(entry) => entry.place.as_ref().map_or(Ok(()), Geo::validate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::ReadDoc;

    const ORG: OrgId = OrgId::from_bytes([1; 16]);
    const VISIT: DocId = DocId { kind: DocKind::Visit, id: [2; 16] };

    fn actor(n: u8) -> Actor {
        Actor::from_bytes([n; 16])
    }

    fn parts(document: &Document, by: u8, value: &[u8]) -> Parts {
        Parts {
            actor: actor(by),
            seq: document.next_seq(actor(by)),
            start_op: document.next_op(document.heads()),
            deps: document.heads().to_vec(),
            section: Section::Recordings,
            value: value.to_vec(),
        }
    }

    fn write(document: &mut Document, by: u8, value: &[u8]) {
        let change = Change::new(DocKind::Visit, parts(document, by, value)).unwrap();
        document.insert(change).unwrap();
    }

    fn post(wall_ms: u8, text: BlobHash) -> Entry {
        let (by, wall_ms) = (UserId::from_bytes([9; 16]), i64::from(wall_ms));
        let when = Moment { wall_ms, boot: 1, boot_ms: 1, anchor: 0, skew_ms: None, life: None };
        Entry::Post(Post::new(by, when, text))
    }

    fn merged() -> Document {
        let (mut a, mut b) = (Document::new(ORG, VISIT), Document::new(ORG, VISIT));
        write(&mut a, 1, b"a1");
        write(&mut b, 2, b"b1");
        write(&mut b, 2, b"b2");
        b.changes().iter().for_each(|c| a.insert(c.clone()).unwrap());
        write(&mut a, 1, b"a2");
        a
    }

    #[test]
    fn two_devices_that_begin_apart_write_one_document() {
        let document = merged();
        assert_eq!((document.changes().len(), document.heads().len()), (4, 1));
        let file = Automerge::load(&document.to_automerge().unwrap()).unwrap();
        let heads: Vec<_> = file.get_heads().iter().map(|h| ChangeHash(h.0)).collect();
        assert_eq!(heads, document.heads());
        let (_, list) = file.get(automerge::ROOT, "recordings").unwrap().unwrap();
        let mut values: Vec<_> =
            file.values(&list).map(|(value, _)| value.into_owned().into_bytes().unwrap()).collect();
        values.sort();
        assert_eq!(values, [b"a1", b"a2", b"b1", b"b2"]);
    }

    #[test]
    fn a_change_is_what_automerge_itself_would_write() {
        use automerge::transaction::Transactable;
        let document = merged();
        let mut file = Automerge::load(&document.to_automerge().unwrap()).unwrap();
        file.set_actor(ActorId::from(&[9; 16]));
        let ours = parts(&document, 9, b"hello");
        let (_, list) = file.get(automerge::ROOT, "recordings").unwrap().unwrap();
        let mut tx = file.transaction();
        tx.insert(&list, 0, ScalarValue::Bytes(b"hello".to_vec())).unwrap();
        tx.commit_with(automerge::transaction::CommitOptions::default().with_time(0));
        let theirs = file.get_last_local_change().unwrap();
        assert_eq!(ours.chunk(DocKind::Visit).unwrap(), theirs.raw_bytes());
    }

    #[test]
    fn what_was_cut_off_leaves_no_trace() {
        let mut document = Document::new(ORG, VISIT);
        let mut wholes = vec![document.clone()];
        for n in 0..40 {
            // Each third change is by somebody who has seen nothing, and each third names words that others name.
            let change = match n % 3 {
                0 => Change::new(DocKind::Visit, parts(&Document::new(ORG, VISIT), 10 + n, &[n])),
                1 => document.next(actor(1), &post(n, BlobHash([n / 12; 32]))),
                by => Change::new(DocKind::Visit, parts(&document, by, &[n])),
            };
            document.insert(change.unwrap()).unwrap();
            document.size();
            wholes.push(document.clone());
        }
        for (changes, whole) in wholes.iter().enumerate().rev() {
            document.cut(changes);
            assert_eq!(document.heads(), whole.heads());
            assert_eq!((document.size(), &document.newest_of), (whole.size(), &whole.newest_of));
            assert_eq!((&document.changes, &document.places), (&whole.changes, &whole.places));
            assert_eq!(
                (&document.children, document.size()),
                (&whole.children, &whole.size_of(|_| true))
            );
            let next = wholes.get(changes + 1).map(|next| next.changes[changes].clone());
            assert_eq!(next.map_or(Ok(()), |next| document.check(&next)), Ok(()));
        }
    }

    #[test]
    fn what_does_not_continue_the_document_is_refused() {
        let document = merged();
        let next = parts(&document, 1, b"x");
        let check = |edit: &dyn Fn(&mut Parts)| {
            let mut parts = next.clone();
            edit(&mut parts);
            document.check(&Change::new(DocKind::Visit, parts)?)
        };
        let foreign = ChangeHash([7; 32]);
        assert!(check(&|_| ()).is_ok());
        assert_eq!(check(&|c| c.deps = vec![foreign]), Err(Misfit::MissingParent(foreign)));
        assert!(matches!(check(&|c| c.seq -= 1), Err(Misfit::Forked(2))));
        for edit in [
            &(|c: &mut Parts| c.deps.clear()) as &dyn Fn(&mut Parts),
            &|c| c.deps = vec![c.deps[0]; 2],
            &|c| c.deps = (0..65_u8).map(|n| ChangeHash([n; 32])).collect(),
            &|c| c.seq += 1,
            &|c| c.seq = 0,
            &|c| c.seq = u64::MAX,
            &|c| c.start_op += 1,
            &|c| c.start_op -= 1,
            &|c| c.start_op = u64::MAX,
            &|c| c.start_op = u64::from(u32::MAX),
            &|c| c.start_op = 0,
            &|c| c.section = Section::Reports,
            &|c| c.value = vec![0; VALUE_BYTES_MAX + 1],
            &|c| (c.deps, c.start_op) = (vec![document.genesis()], 9),
            &|c| c.actor = Actor::from_bytes(*b"endcap\0\0\0\0\0\0\0\0\0\0"),
        ] {
            assert!(matches!(check(edit), Err(Misfit::Malformed(_))));
        }
    }

    /// As many parents and changes as there can be: walking the graph for each change would take minutes.
    #[test]
    fn the_widest_document() {
        let mut document = Document::new(ORG, VISIT);
        while document.changes().len() < CHANGES_MAX {
            let before = document.clone();
            for by in 0..DEPS_MAX as u8 {
                let change = Change::new(DocKind::Visit, parts(&before, by, &[by])).unwrap();
                document.insert(change).unwrap();
            }
        }
        let older = &document.changes()[CHANGES_MAX - 2 * DEPS_MAX];
        let newest = &document.changes()[CHANGES_MAX - 1];
        let beside = &document.changes()[CHANGES_MAX - 2];
        let past = document.past(&[newest.hash()]);
        assert!([older.hash(), newest.hash()].iter().all(|h| past.contains(*h)));
        assert!(!past.contains(beside.hash()));
        assert!(!document.past(&[older.hash()]).contains(newest.hash()));
        assert!(document.past(&[document.genesis()]).is_empty());
        let full = Change::new(DocKind::Visit, parts(&document, 0, b"x")).unwrap();
        assert_eq!(document.check(&full), Ok(()));
        assert_eq!(document.insert(full), Err(Misfit::Full));
    }

    #[test]
    fn whose_an_actor_is_is_asked_of_those_alone_that_say_the_same() {
        let mut document = Document::new(ORG, VISIT);
        let said = |n: u8| post(n, BlobHash([n; 32]));
        let hashes: Vec<ChangeHash> = (0..100)
            .map(|n| {
                let change = document.next(actor(n), &said(n)).unwrap();
                document.insert(change.clone()).unwrap();
                change.hash()
            })
            .collect();
        let asked = std::cell::RefCell::new(Vec::new());
        let who = |actor| {
            asked.borrow_mut().push(actor);
            true
        };
        let entry = said(70);
        assert_eq!(document.said_at(&entry, who).collect::<Vec<_>>(), [hashes[70]]);
        assert_eq!(asked.into_inner(), [actor(70)]);
    }

    #[test]
    fn a_change_of_another_document_never_fits() {
        let other = Document::new(ORG, DocId { id: [3; 16], ..VISIT });
        let change = Change::new(DocKind::Visit, parts(&other, 1, b"x")).unwrap();
        let document = merged();
        assert_eq!(document.check(&change), Err(Misfit::MissingParent(other.genesis())));
    }
}
