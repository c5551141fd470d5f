//! A phone: the real client over a disk of maps that survives a crash, and memory that does not.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use sync_core::cargo::{Carried, Parcel, apply_cargo, next_cargo};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::{
    Batch, Clocks, Fault, Kept, Profile, Replica, Rows, Write, apply_pull, apply_push, next_pull,
    next_push,
};
use sync_core::command::{Command, CommandError, execute};
use sync_core::document::Document;
use sync_core::evidence::Keypair;
use sync_core::id::{BlobHash, ChangeHash, DeviceId, DistributorId, DocId, ParcelHash, UserId};
use sync_core::model::catalogue::{Distributor, Record, RecordKey, RecordKind};
use sync_core::model::visit::{Note, PhotoRef};
use sync_core::print::{Item, Print, PrintName};
use sync_core::relay::Meeting;
use sync_core::repair::{Repair, begin, compare};
use sync_core::session::{Heard, Session, Step, Stop};
use sync_core::upkeep::{renew, rewind, salvage, sweep, withdraw};
use sync_core::wire::{
    CargoReply, CargoRequest, PullReply, PushReply, PushRequest, RecordBytes, RepairReply,
    from_wire,
};

use crate::backend::{Refused, encode};
use crate::brand::ORG;
use crate::chance::Chance;

/// So few that what has waited for long goes in several pushes.
const PUSH_BYTES_AIM: usize = 3 << 10;

/// What lies on a phone's disk, encoded as a store would keep it.
#[derive(Debug, Clone)]
pub struct Disk {
    profile: Profile,
    records: BTreeMap<[u8; 17], Vec<u8>>,
    documents: BTreeMap<DocId, Vec<u8>>,
    pages: BTreeMap<(DocId, u16), Vec<u8>>,
    outbox: Vec<DocId>,
    notes: BTreeMap<BlobHash, Vec<u8>>,
    cargo: BTreeMap<ParcelHash, (Carried, Vec<u8>)>,
    /// The photos that wait, in the order in which they are needed.
    pub photos: Vec<(PhotoRef, Vec<u8>)>,
    /// Those of them that a colleague carries.
    pub given: BTreeSet<BlobHash>,
    /// What could not be read, by document.
    remains: BTreeMap<DocId, Vec<Vec<u8>>>,
    /// How often all photos were to be sent anew.
    pub resent: u32,
}

impl Replica for Disk {
    type Error = Infallible;

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn record(&self, key: RecordKey) -> Result<Option<Record>, Infallible> {
        let bytes = self.records.get(&key.to_bytes());
        Ok(bytes.map(|bytes| from_cbor(bytes).expect("a record reads")))
    }

    fn record_bytes(&self, key: RecordKey) -> Result<Option<RecordBytes>, Infallible> {
        Ok(self.records.get(&key.to_bytes()).cloned().map(RecordBytes))
    }

    fn each_print(&self, each: &mut dyn FnMut(Item, Print)) -> Result<(), Infallible> {
        for (key, bytes) in &self.records {
            let key = RecordKey::from_bytes(key);
            each(Item::Record(key), Print::of_record(key, bytes));
        }
        for (id, bytes) in &self.documents {
            let page = |number| Ok::<_, Infallible>(self.pages.get(&(*id, number)).cloned());
            let Ok(print) = Kept::print_of(bytes, page);
            each(Item::Document(*id), print.expect("a document reads"));
        }
        Ok(())
    }

    fn records(&self, kind: RecordKind) -> Result<Vec<Record>, Infallible> {
        let of_kind = self.records.iter().filter(|(key, _)| key[0] == kind as u8);
        Ok(of_kind.map(|(_, bytes)| from_cbor(bytes).expect("a record reads")).collect())
    }

    fn holds(&self, id: DocId) -> Result<bool, Infallible> {
        Ok(self.documents.contains_key(&id))
    }

    fn document(&self, id: DocId) -> Result<Option<Kept>, Infallible> {
        let Some(head) = self.documents.get(&id) else { return Ok(None) };
        let kept = Kept::from_rows(ORG, id, head, |number| {
            Ok::<_, Infallible>(self.pages.get(&(id, number)).cloned())
        });
        kept.map(|kept| Some(kept.expect("a document reads")))
    }

    fn outbox(&self) -> Result<Vec<DocId>, Infallible> {
        Ok(self.outbox.clone())
    }

    fn documents(&self) -> Result<Vec<DocId>, Infallible> {
        Ok(self.documents.keys().copied().collect())
    }

    fn note(&self, digest: BlobHash) -> Result<Option<Note>, Infallible> {
        let bytes = self.notes.get(&digest);
        Ok(bytes.map(|bytes| from_cbor(bytes).expect("a note reads")))
    }

    fn cargo(&self) -> Result<Vec<Carried>, Infallible> {
        Ok(self.cargo.values().map(|(carried, _)| *carried).collect())
    }

    fn parcel(&self, name: ParcelHash) -> Result<Option<Parcel>, Infallible> {
        Ok(self.cargo.get(&name).and_then(|(_, bytes)| Parcel::from_bytes(bytes.clone())))
    }

    fn photos(&self) -> Result<Vec<(BlobHash, u32)>, Infallible> {
        Ok(self.photos.iter().map(|(photo, _)| (photo.hash, photo.bytes)).collect())
    }

    fn photo(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, Infallible> {
        let found = self.photos.iter().find(|(photo, _)| photo.hash == hash);
        Ok(found.map(|(_, file)| file.clone()))
    }
}

impl Disk {
    /// Documents, records and notes by name.
    pub(crate) fn content(&self) -> impl PartialEq + '_ {
        (&self.documents, &self.pages, &self.records, &self.notes, &self.outbox)
    }

    /// Loses something, or gets it wrong, behind the library's back; says what. Only what does not read may be unsent.
    pub(crate) fn rot(&mut self, chance: &mut Chance) -> Option<Rot> {
        let Ok(ids) = self.documents();
        let id = chance.pick(&ids).copied();
        let kept = id.and_then(|id| self.document(id).expect("it reads"));
        let settled = kept.filter(|kept| kept.pending.is_empty() && kept.refused.is_none());
        let keys: Vec<[u8; 17]> = self.records.keys().copied().collect();
        let what = match (chance.below(8), settled.map(|kept| kept.document.id()), id) {
            (0, Some(id), _) => {
                self.lose(id);
                format!("{id} is lost")
            }
            (1, Some(id), _) if self.changes_of(id) > 1 => {
                self.lose_newest(id);
                format!("{id} lacks its newest changes")
            }
            (2, ..) => {
                let key = RecordKey::from_bytes(chance.pick(&keys)?);
                self.lose_record(key);
                format!("{key:?} is lost")
            }
            (3, ..) => {
                self.put_record(&crate::brand::planogram(1));
                "a planogram is old".into()
            }
            (4, ..) => {
                let (id, name) = (DistributorId::from_bytes(chance.bytes()), "Oats".into());
                self.put_record(&Record::Distributor(Distributor { id, name, gln: None }));
                "there is a distributor that nobody knows".into()
            }
            (5, ..) => {
                let held = self.profile.held.as_mut()?;
                held.print += held.print;
                "the print is wrong".into()
            }
            (6, _, Some(id)) => {
                garble(self.documents.get_mut(&id)?, chance);
                return Some(Rot {
                    what: format!("the head of {id} does not read"),
                    head: Some(id),
                });
            }
            (7, _, Some(id)) => {
                let pages = self.pages.keys().filter(|(document, _)| *document == id);
                let page = *chance.pick(&pages.copied().collect::<Vec<_>>())?;
                garble(self.pages.get_mut(&page)?, chance);
                format!("page {} of {id} does not read", page.1)
            }
            _ => return None,
        };
        Some(Rot { what, head: None })
    }

    fn changes_of(&self, id: DocId) -> usize {
        let Ok(kept) = self.document(id);
        kept.map_or(0, |kept| kept.document.changes().len())
    }

    /// What is left of the documents that do not read, as a store that meets them goes on without them.
    fn set_aside(&mut self, instance: [u8; 8]) {
        let reads = |id: DocId, head: &[u8]| {
            let page = |number| Ok::<_, Infallible>(self.pages.get(&(id, number)).cloned());
            let Ok(kept) = Kept::from_rows(ORG, id, head, page);
            kept.is_some()
        };
        let bad = self.documents.iter().filter(|(id, head)| !reads(**id, head));
        let left = bad.map(|(id, _)| {
            let pages = self.pages.range((*id, 0)..=(*id, u16::MAX));
            Kept::salvaged(&self.profile, *id, pages.map(|(_, page)| page.clone()))
        });
        let left: Vec<Kept> = left.collect();
        if !left.is_empty() {
            self.commit(salvage(&self.profile, left, instance));
        }
    }

    /// Whether its person is told that something of a document could not be read.
    pub fn tells_of(&self, id: DocId) -> bool {
        self.remains.contains_key(&id)
    }

    /// The notes that are here.
    pub fn words(&self) -> impl Iterator<Item = BlobHash> {
        self.notes.keys().copied()
    }

    /// Loses a document behind the library's back.
    pub fn lose(&mut self, id: DocId) {
        self.documents.remove(&id).expect("it is here");
    }

    /// Loses a document's heads behind the library's back.
    pub fn lose_newest(&mut self, id: DocId) {
        let Ok(kept) = self.document(id);
        let mut kept = kept.expect("it is here");
        let mut stale = Document::new(ORG, id);
        for change in kept.document.changes() {
            if !kept.document.heads().contains(&change.hash()) {
                stale.insert(change.clone()).expect("what it builds on is there");
            }
        }
        kept.document = stale;
        self.documents.insert(id, kept.to_bytes());
    }

    /// Loses a record behind the library's back.
    pub fn lose_record(&mut self, key: RecordKey) {
        self.records.remove(&key.to_bytes()).expect("it is here");
    }

    /// Has a record behind the library's back.
    pub fn put_record(&mut self, record: &Record) {
        self.records.insert(record.key().to_bytes(), to_cbor(record));
    }

    /// Forgets that work in a document was not sent.
    pub fn forget_unsent(&mut self, id: DocId) {
        let Ok(kept) = self.document(id);
        let mut kept = kept.expect("it is here");
        kept.pending.clear();
        self.outbox.retain(|other| *other != id);
        self.documents.insert(id, kept.to_bytes());
    }

    /// Stores all of `writes`. A crash is either before this or after it.
    pub fn commit(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Document(kept) => {
                    let id = kept.document.id();
                    let queued = self.outbox.contains(&id);
                    match kept.to_push() {
                        true if !queued => self.outbox.push(id),
                        false => self.outbox.retain(|other| *other != id),
                        true => {}
                    }
                    let Rows { head, pages, dropped } =
                        kept.rows(self.documents.get(&id).map(Vec::as_slice));
                    self.documents.insert(id, head);
                    for (number, page) in pages {
                        self.pages.insert((id, number), page);
                    }
                    for number in dropped {
                        assert!(self.pages.remove(&(id, number)).is_some());
                    }
                }
                Write::Record(key, bytes) => {
                    self.records.insert(key.to_bytes(), bytes.0);
                }
                Write::Note(note) => {
                    self.notes.insert(note.digest(), to_cbor(&note));
                }
                Write::Forget(key) => drop(self.records.remove(&key.to_bytes())),
                Write::ForgetRecords => self.records.clear(),
                Write::Purge(kept) => {
                    let id = kept.document.id();
                    self.documents.remove(&id);
                    self.pages.retain(|(document, _), _| *document != id);
                    self.outbox.retain(|id| *id != kept.document.id());
                }
                Write::ForgetNote(digest) => drop(self.notes.remove(&digest)),
                Write::ForgetPhoto(_) => {}
                Write::ResendPhotos => self.resent += 1,
                Write::Salvage(kept) => {
                    let id = kept.document.id();
                    let mut rows: Vec<_> = self.documents.remove(&id).into_iter().collect();
                    let numbers = self.pages.keys().filter(|(document, _)| *document == id);
                    for key in numbers.copied().collect::<Vec<_>>() {
                        rows.extend(self.pages.remove(&key));
                    }
                    self.remains.entry(id).or_default().extend(rows);
                    self.outbox.retain(|other| *other != id);
                    if !kept.document.changes().is_empty() {
                        self.commit(vec![Write::Document(kept)]);
                    }
                }
                Write::Carry(parcel, since_ms) => {
                    let carried = Carried::of(&parcel, since_ms);
                    self.cargo.insert(carried.name, (carried, parcel.as_bytes().to_vec()));
                }
                Write::Unload(name) => drop(self.cargo.remove(&name)),
                Write::PutOff { name, unnamed } => {
                    if let Some((carried, _)) = self.cargo.get_mut(&name) {
                        *carried = carried.later(unnamed);
                    }
                }
                Write::PhotoGiven(hash) => drop(self.given.insert(hash)),
                Write::Erase(digest) => drop(self.notes.remove(&digest)),
                Write::Profile(profile) => {
                    // As a store keeps it: through its bytes.
                    self.profile = from_cbor(&to_cbor(&*profile)).expect("a profile reads");
                }
            }
        }
    }
}

/// What a disk has lost or got wrong.
pub(crate) struct Rot {
    pub(crate) what: String,
    /// Only this document's head: nothing of it may be lost.
    pub(crate) head: Option<DocId>,
}

/// Bytes of which only some are left: they read as nothing.
fn garble(row: &mut Vec<u8>, chance: &mut Chance) {
    row.truncate(chance.index(row.len()));
}

/// A phone's clocks over the true time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Wall clock minus true time.
    pub off_ms: i64,
    /// The boot's name.
    pub boot: u32,
    /// When it was booted, in true time.
    pub booted_ms: i64,
}

impl Clock {
    /// What the phone shows at a true time.
    pub fn read(&self, now_ms: i64) -> Clocks {
        Clocks {
            wall_ms: now_ms.saturating_add(self.off_ms),
            boot: self.boot,
            boot_ms: u64::try_from(now_ms - self.booted_ms).expect("time goes on"),
        }
    }
}

/// A sync that waits for an answer.
struct Waiting {
    session: Session,
    /// Which question.
    number: u64,
    /// The question.
    asked: Asked,
    /// What the last page said that the phone holds.
    said: Option<PrintName>,
    repair: Option<Repair>,
    /// The cargo that was handed over in this session.
    brought: BTreeSet<ParcelHash>,
}

impl Waiting {
    fn begin() -> Self {
        Self {
            session: Session::default(),
            number: 0,
            asked: Asked::Pull,
            said: None,
            repair: None,
            brought: BTreeSet::new(),
        }
    }
}

/// A question as the phone remembers it.
enum Asked {
    Push(PushRequest),
    Cargo(CargoRequest),
    Pull,
    Repair,
}

/// A message on its way to the server.
#[derive(Debug, Clone)]
pub enum Question {
    /// New work.
    Push(Vec<u8>),
    /// What is carried for others.
    Cargo(Vec<u8>),
    /// What is new?
    Pull(Vec<u8>),
    /// Where do we differ?
    Repair(Vec<u8>),
}

impl Question {
    /// Where it is asked, under `/api/v1`.
    pub fn path(&self) -> &'static str {
        match self {
            Self::Push(_) => "push",
            Self::Cargo(_) => "cargo",
            Self::Pull(_) => "pull",
            Self::Repair(_) => "repair",
        }
    }

    /// The message.
    pub fn bytes(&self) -> &[u8] {
        let (Self::Push(bytes) | Self::Cargo(bytes) | Self::Pull(bytes) | Self::Repair(bytes)) =
            self;
        bytes
    }

    /// What was asked, answered with this message.
    pub fn answered(&self, reply: Vec<u8>) -> Answer {
        match self {
            Self::Push(_) => Answer::Pushed(reply),
            Self::Cargo(_) => Answer::Delivered(reply),
            Self::Pull(_) => Answer::Pulled(reply),
            Self::Repair(_) => Answer::Repaired(reply),
        }
    }
}

/// An answer on its way to a phone.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To a push.
    Pushed(Vec<u8>),
    /// To cargo.
    Delivered(Vec<u8>),
    /// To a pull.
    Pulled(Vec<u8>),
    /// To a repair.
    Repaired(Vec<u8>),
    /// No.
    Refused(Refused),
}

/// When a phone's process ends while it stores something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// It does not.
    Never,
    /// Nothing of it was stored.
    BeforeCommit,
    /// All of it was stored, and nobody heard of it.
    AfterCommit,
}

/// What came of one turn of a sync.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// A question waits to be sent.
    Asks,
    /// The sync is over.
    Over(Step),
}

/// A phone and its person.
pub struct Device {
    /// Who uses it.
    pub user: UserId,
    /// Which it is.
    pub id: DeviceId,
    seed: [u8; 32],
    /// Its key.
    pub keypair: Keypair,
    /// What survives a crash.
    pub disk: Disk,
    /// Its clocks.
    pub clock: Clock,
    /// Nobody will ever find it.
    pub lost: bool,
    /// Its storage has no room left.
    pub full: bool,
    /// The newest answer that it could not make sense of.
    pub complaint: Option<String>,
    /// What could not be proposed again, the last time that anything was.
    pub left_out: usize,
    waiting: Option<Waiting>,
    asked: u64,
    chance: Chance,
}

impl Device {
    /// A phone as enrolment leaves it.
    pub fn new(user: UserId, now_ms: i64, chance: &mut Chance) -> Self {
        let seed = chance.bytes();
        let device = DeviceId::from_bytes(chance.bytes());
        let key = Keypair::from_seed(&seed).public();
        let profile = Profile::enrolled(ORG, user, device, key, chance.bytes());
        Self::over(seed, profile, Vec::new(), now_ms, chance)
    }

    /// A phone with a disk on which this was written.
    pub fn over(
        seed: [u8; 32],
        profile: Profile,
        writes: Vec<Write>,
        now_ms: i64,
        chance: &mut Chance,
    ) -> Self {
        let (user, id) = (profile.user, profile.device);
        let mut disk = Disk {
            profile,
            records: BTreeMap::new(),
            documents: BTreeMap::new(),
            pages: BTreeMap::new(),
            outbox: Vec::new(),
            notes: BTreeMap::new(),
            cargo: BTreeMap::new(),
            photos: Vec::new(),
            given: BTreeSet::new(),
            remains: BTreeMap::new(),
            resent: 0,
        };
        disk.commit(writes);
        let keypair = Keypair::from_seed(&seed);
        let clock = Clock { off_ms: 0, boot: chance.bits() as u32, booted_ms: now_ms - 60_000 };
        let (complaint, waiting, asked) = (None, None, 0);
        let chance = Chance::new(chance.bits());
        let (lost, full) = (false, false);
        let left_out = 0;
        Self {
            user,
            id,
            seed,
            keypair,
            disk,
            clock,
            lost,
            full,
            complaint,
            left_out,
            waiting,
            asked,
            chance,
        }
    }

    /// A second phone with the same store, as a backup restored elsewhere makes one.
    pub fn copy(&self) -> Self {
        let keypair = Keypair::from_seed(&self.seed);
        let (complaint, waiting, asked) = (None, None, 0);
        let mut chance = self.chance.clone();
        let chance = Chance::new(chance.bits() ^ chance.bits());
        Self { keypair, disk: self.disk.clone(), complaint, waiting, asked, chance, ..*self }
    }

    /// Is what it was when this copy of it was made. Numbers of questions do not come again.
    pub fn put_back(&mut self, copy: Self, now_ms: i64) {
        let (asked, off_ms) = (self.asked, self.clock.off_ms);
        let clock = Clock { off_ms, boot: self.chance.bits() as u32, booted_ms: now_ms };
        *self = Self { asked, clock, ..copy };
    }

    /// Does a command; what it returns was saved. `None`: the phone crashed first, or says that it is full.
    pub fn act(
        &mut self,
        now_ms: i64,
        crash: Crash,
        command: Command,
    ) -> Result<Option<(DocId, ChangeHash)>, CommandError<Infallible>> {
        let done = execute(&self.disk, &self.clock.read(now_ms), None, command)?;
        if self.full {
            return Ok(None);
        }
        if crash == Crash::BeforeCommit {
            self.crash();
            return Ok(None);
        }
        self.disk.commit(done.writes);
        self.left_out = done.left_out.len();
        if crash == Crash::AfterCommit {
            self.crash();
        }
        Ok(done.change.map(|change| (done.document, change)))
    }

    /// Goes on with another key, as another device.
    pub fn renew(&mut self, id: DeviceId) {
        let seed = self.chance.bytes();
        let next = Keypair::from_seed(&seed);
        let Ok(writes) = renew(&self.disk, &self.keypair, &next, self.chance.bytes());
        self.disk.commit(writes);
        (self.seed, self.keypair) = (seed, next);
        self.is_now(id);
    }

    /// Is known to the server by another name from now on.
    pub fn is_now(&mut self, id: DeviceId) {
        self.give_up();
        let profile = Profile { device: id, pushed: None, ..self.disk.profile.clone() };
        self.disk.commit(vec![Write::Profile(Box::new(profile))]);
        self.id = id;
    }

    /// The disk loses something, and whoever meets a row that does not read goes on without it.
    pub(crate) fn rot(&mut self, chance: &mut Chance) -> Option<Rot> {
        let rot = self.disk.rot(chance);
        self.disk.set_aside(self.chance.bytes());
        rot
    }

    /// A document as it is on the disk.
    pub fn document(&self, id: DocId) -> Option<Kept> {
        let Ok(kept) = self.disk.document(id);
        kept
    }

    /// Loses what is in memory.
    pub fn crash(&mut self) {
        self.waiting = None;
    }

    /// Begins to meet another phone; returns what it says first.
    pub fn meet(&mut self) -> (Meeting, Vec<u8>) {
        Meeting::begin(&self.disk.profile, self.chance.bytes())
    }

    /// Hears what another phone says; returns what it says to that. `None` when it crashes.
    pub fn hear_phone(
        &mut self,
        meeting: &mut Meeting,
        bytes: &[u8],
        now_ms: i64,
        crash: Crash,
    ) -> Option<Vec<u8>> {
        let clocks = self.clock.read(now_ms);
        let Ok(turn) = meeting.hear(&self.disk, &self.keypair, &clocks, bytes);
        if self.full && !turn.writes.is_empty() {
            return None; // what it was given is not acknowledged
        }
        if crash == Crash::BeforeCommit {
            self.crash();
            return None;
        }
        self.disk.commit(turn.writes);
        if crash == Crash::AfterCommit {
            self.crash();
            return None;
        }
        Some(turn.say)
    }

    /// Whether the other one has the same store, or had.
    pub fn is_copy_of(&self, other: &Self) -> bool {
        self.keypair.public() == other.keypair.public()
    }

    /// Whether this phone carries all that the other has not handed over to the server.
    pub fn carries_all_of(&self, other: &Self) -> bool {
        let Ok(documents) = other.disk.documents();
        documents.into_iter().filter_map(|id| other.document(id)).all(|kept| {
            let given = kept.given.iter().filter(|given| given.device == self.id);
            let given: BTreeSet<ChangeHash> = given.flat_map(|g| g.changes.clone()).collect();
            kept.pending.iter().all(|change| given.contains(change))
        })
    }

    /// Waits for an answer.
    pub fn syncing(&self) -> bool {
        self.waiting.is_some()
    }

    /// Waits for the answer to this question.
    pub fn waits_for(&self, number: u64) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.number == number)
    }

    /// Begins a sync, if none is under way.
    pub fn sync(&mut self, now_ms: i64) -> Option<(u64, Question)> {
        if self.waiting.is_some() {
            return None;
        }
        let waiting = Waiting::begin();
        let (_, question) = self.go_on(waiting, now_ms);
        question
    }

    /// No answer came in time.
    pub fn give_up(&mut self) {
        if let Some(mut waiting) = self.waiting.take() {
            waiting.session.handle(Heard::Unreachable);
        }
    }

    /// Takes an answer in. One that it no longer waits for does nothing.
    pub fn hear(
        &mut self,
        number: u64,
        answer: &Answer,
        now_ms: i64,
        crash: Crash,
    ) -> Option<(Turn, Option<(u64, Question)>)> {
        let mut waiting = self.waiting.take_if(|waiting| waiting.number == number)?;
        let heard = match self.apply(answer, &mut waiting, now_ms) {
            Ok(_) | Err((Heard::Misfit, _)) if self.full => return None,
            Err((Heard::Misfit, complaint)) => {
                self.complaint = complaint;
                let Ok((needed, writes)) = begin(&self.disk, &self.clock.read(now_ms));
                self.disk.commit(writes);
                waiting.repair = Some(needed);
                Heard::Misfit
            }
            Ok((_, _)) if crash == Crash::BeforeCommit => return None,
            Ok((writes, heard)) => {
                self.disk.commit(writes);
                if crash == Crash::AfterCommit {
                    return None;
                }
                heard
            }
            Err((heard, complaint)) => {
                self.complaint = complaint.or(self.complaint.take());
                heard
            }
        };
        waiting.session.handle(heard);
        Some(self.go_on(waiting, now_ms))
    }

    fn apply(
        &self,
        answer: &Answer,
        waiting: &mut Waiting,
        now_ms: i64,
    ) -> Result<(Vec<Write>, Heard), (Heard, Option<String>)> {
        let clocks = self.clock.read(now_ms);
        let cut_off = |_| (Heard::Unreachable, None);
        let fault = |fault: Fault<Infallible>| match fault {
            Fault::Answer(error) => (Heard::Bad, Some(error.to_string())),
            Fault::Store(never) => match never {},
        };
        match (answer, &waiting.asked) {
            (Answer::Repaired(bytes), Asked::Repair) => {
                let reply: RepairReply = from_wire(ORG, bytes).map_err(cut_off)?;
                let repair = waiting.repair.as_mut().expect("a repair goes on");
                let (writes, _) = repair.apply(&self.disk, &reply).map_err(fault)?;
                Ok((writes, Heard::Repaired(repair.ask().is_some())))
            }
            (Answer::Pushed(bytes), Asked::Push(push)) => {
                let reply: PushReply = from_wire(ORG, bytes).map_err(cut_off)?;
                let writes = apply_push(&self.disk, push, &reply, &clocks).map_err(fault)?;
                let Ok(outbox) = self.disk.outbox();
                Ok((writes, Heard::Pushed(outbox.len() > push.documents().count())))
            }
            (Answer::Delivered(bytes), Asked::Cargo(cargo)) => {
                let reply: CargoReply = from_wire(ORG, bytes).map_err(cut_off)?;
                let writes = apply_cargo(&self.disk, cargo, &reply).map_err(fault)?;
                Ok((writes, Heard::Delivered))
            }
            (Answer::Pulled(bytes), Asked::Pull) => {
                let reply: PullReply = from_wire(ORG, bytes).map_err(cut_off)?;
                let misfit = |error| match fault(error) {
                    (Heard::Bad, complaint) => (Heard::Misfit, complaint),
                    other => other,
                };
                let writes = apply_pull(&self.disk, &reply, &clocks).map_err(misfit)?;
                waiting.said = reply.print;
                let resends = |write: &Write| matches!(write, Write::ResendPhotos);
                let heard = match writes.iter().any(resends) {
                    true => Heard::Restored(reply.more),
                    false => Heard::Pulled(reply.more),
                };
                Ok((writes, heard))
            }
            (Answer::Refused(Refused::Revoked | Refused::Inactive), _) => {
                let Ok(writes) = withdraw(&self.disk);
                Ok((writes, Heard::Revoked))
            }
            (Answer::Refused(Refused::Forgotten), _) => Err((Heard::Revoked, None)),
            (Answer::Refused(Refused::CursorUnknown), _) => Err((Heard::CursorUnknown, None)),
            // It is kept here; what others have written is fetched all the same.
            (Answer::Refused(Refused::Full), Asked::Push(_) | Asked::Cargo(_)) => {
                Err((Heard::Empty, None))
            }
            (Answer::Refused(Refused::Crashed | Refused::Full | Refused::Malformed(_)), _) => {
                Err((Heard::Unreachable, None))
            }
            (answer, _) => Err((Heard::Bad, Some(format!("{answer:?}")))),
        }
    }

    fn go_on(&mut self, mut waiting: Waiting, now_ms: i64) -> (Turn, Option<(u64, Question)>) {
        let clocks = self.clock.read(now_ms);
        let (asked, question) = loop {
            match waiting.session.step() {
                Step::Rewind | Step::Sweep | Step::Compare if self.full => {
                    return (Turn::Over(Step::Stop(Stop::Unreachable)), None);
                }
                Step::Push => {
                    let batch = Batch { bytes_aim: PUSH_BYTES_AIM, ..Batch::default() };
                    let Ok(next) = next_push(&self.disk, &self.keypair, &clocks, &batch);
                    match next {
                        Some(push) => {
                            let question = Question::Push(encode(&push));
                            break (Asked::Push(push), question);
                        }
                        None => waiting.session.handle(Heard::Empty),
                    };
                }
                Step::Cargo => {
                    let Ok(next) = next_cargo(&self.disk, &waiting.brought, false);
                    match next {
                        Some(cargo) => {
                            let names = cargo.parcels.iter().map(|p| ParcelHash::of(&p.0));
                            waiting.brought.extend(names);
                            let question = Question::Cargo(encode(&cargo));
                            break (Asked::Cargo(cargo), question);
                        }
                        None => waiting.session.handle(Heard::Empty),
                    };
                }
                Step::Pull => {
                    let Ok(pull) = next_pull(&self.disk);
                    let question = Question::Pull(encode(&pull));
                    break (Asked::Pull, question);
                }
                Step::Rewind => {
                    let Ok(writes) = rewind(&self.disk);
                    self.disk.commit(writes);
                    waiting.session.handle(Heard::Rewound);
                }
                Step::Sweep => {
                    let Ok(writes) = sweep(&self.disk, self.chance.bytes());
                    self.disk.commit(writes);
                    waiting.session.handle(Heard::Swept);
                }
                Step::Compare => {
                    let said = waiting.said.expect("the last page says it");
                    let Ok((needed, writes)) = compare(&self.disk, said, &clocks);
                    self.disk.commit(writes);
                    waiting.session.handle(Heard::Compared(needed.is_none()));
                    waiting.repair = needed;
                }
                Step::Repair => {
                    let asked = waiting.repair.as_ref().and_then(Repair::ask).expect("it goes on");
                    break (Asked::Repair, Question::Repair(encode(&asked)));
                }
                end => return (Turn::Over(end), None),
            }
        };
        self.asked += 1;
        waiting.number = self.asked;
        waiting.asked = asked;
        self.waiting = Some(waiting);
        (Turn::Asks, Some((self.asked, question)))
    }
}
