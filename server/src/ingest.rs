//! From a push to the log: verify, admit, append, project. Knows neither HTTP nor SQL.
//!
//! [`verify`] needs no store and runs beside other requests; [`Ingest::push`] runs inside one transaction.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use sync_core::admit::{self, Author, Field, Refusal, admit, outlet_of};
use sync_core::cargo::{Load, Parcel, Unopened};
use sync_core::document::{Change, Document, Entry, Misfit, Room, Section};
use sync_core::evidence::{Keypair, Leaf, Seal};
use sync_core::id::{
    Actor, BlobHash, ChangeHash, DeviceId, DocId, DocKind, OrgId, OutletId, UserId, VisitId,
};
use sync_core::model::Day;
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{Device, Record, RecordKey};
use sync_core::model::people::{Audience, Rights};
use sync_core::model::visit::{Act, Note, Recording};
use sync_core::projection::{Facts, project};
use sync_core::visit::{Recorded, Visit};
use sync_core::wire::{Delivery, Group, Keys, Outcome, ParcelBytes, PushRequest, Unsealed};

use crate::store::StoreError;
use crate::store::log::{AudienceId, Held, Ledger, Line};
use crate::store::quarantine::{Discarded, Fate, Item, Reason};
use crate::store::visits::{PhotoRow, ReportRow, VisitRow};
use crate::world::World;

/// An enrolled device, as its token shows.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// Which device.
    pub device: DeviceId,
    /// Its public key.
    pub key: [u8; 32],
    /// Whose.
    pub user: UserId,
}

/// Changes that one transaction reads and takes of a long message: others' writes come between.
pub const CHANGES_AT_ONCE: usize = 1_000;

/// What one transaction has done of a long message, and may.
struct Share {
    most: usize,
    done: usize,
}

impl Share {
    fn of(most: usize) -> Self {
        Self { most, done: 0 }
    }

    /// Whether there is room for so many changes, or nothing was done yet.
    fn takes(&self, changes: usize) -> bool {
        self.done == 0 || self.done + changes <= self.most
    }

    fn did(&mut self, changes: usize, open: &Open) {
        self.done += changes + open.read;
    }
}

/// A push whose signatures were checked.
#[derive(Debug)]
pub struct Checked {
    /// As it came.
    pub push: PushRequest,
    notes: BTreeMap<BlobHash, Note>,
    /// What is wrong with the signatures of each group, if anything is.
    pub bad: Vec<Option<Outcome>>,
}

/// Checks each group's signatures: every change is sealed by the device that it claims to be from, which need
/// not be the one that brings it.
pub fn verify(org: OrgId, keys: &Keys, push: PushRequest) -> Checked {
    let bad = push.groups.iter().map(|group| unsealed(org, keys, group)).collect();
    Checked { notes: by_digest(&push.notes), bad, push }
}

fn unsealed(org: OrgId, keys: &Keys, group: &Group) -> Option<Outcome> {
    group.check_seals(org, keys).err().map(|unsealed| match unsealed {
        Unsealed::Stranger(_) => quarantined(&Refusal::ForeignActor),
        unsealed => Outcome::quarantined(Outcome::BAD_SEAL, unsealed.to_string()),
    })
}

/// A parcel that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Whose work it is, as its signature shows. `None` if no such device is here: a courier takes along whom it knows
    /// only, so the server has forgotten it with what a restore has lost.
    pub origin: Option<DeviceId>,
    /// What is in it.
    pub load: Load,
    bad: Option<Outcome>,
}

/// Opens a parcel and checks every signature on and in it, or says what becomes of it.
pub fn open(
    org: OrgId,
    console: &Console,
    world: &World,
    parcel: &ParcelBytes,
) -> Result<Opened, Delivery> {
    let refused = |code: &str, detail: String| Delivery::Refused { code: code.into(), detail };
    let parcel = Parcel::from_bytes(parcel.0.clone())
        .ok_or_else(|| refused("malformed", "a parcel has 128 bytes to 1 MiB".into()))?;
    let origin = world.devices.get(&parcel.origin());
    if origin.is_some_and(|device| !parcel.is_signed(org, &device.key)) {
        return Err(refused(Outcome::BAD_SEAL, "its origin has not signed it".into()));
    }
    // A phone seals to the newest key that it knows.
    let mut opened = parcel.open(org, &console.keypair);
    for former in &console.former {
        if let Err(Unopened::Closed) = opened {
            opened = parcel.open(org, former);
        }
    }
    let load = opened.map(|cargo| cargo.load).map_err(|why| match why {
        Unopened::Closed => refused("not_opened", why.to_string()),
        Unopened::Unreadable(_) => refused("unreadable", why.to_string()),
        // Nobody should lose work to a server that is not updated yet.
        Unopened::Protocol(_) => Delivery::Later {},
    })?;
    let bad = match &load {
        Load::Work(group, _) => unsealed(org, &world.keys_of([group]), group),
        Load::Photo(_) => None,
    };
    Ok(Opened { origin: origin.map(|device| device.id), load, bad })
}

fn by_digest(notes: &[Note]) -> BTreeMap<BlobHash, Note> {
    notes.iter().map(|note| (note.digest(), note.clone())).collect()
}

fn quarantined(refusal: &Refusal) -> Outcome {
    Outcome::quarantined(refusal.code(), refusal.to_string())
}

/// The server as an author: it signs what people do in the console.
pub struct Console {
    /// Its signing key.
    pub keypair: Keypair,
    /// Those that it has had before, the newest first: what was sealed to them is opened still.
    pub former: Vec<Keypair>,
    /// The actor that it writes as.
    pub actor: Actor,
    /// The device that stands for it in the log.
    pub device: DeviceId,
}

/// Why a person's act in the console was not written.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which way a group has come.
struct Way<'a> {
    /// The device whose work it is.
    sender: DeviceId,
    /// Its clocks as it sent it; nothing is known of them if another device brought it.
    pushed: Option<&'a Moment>,
    /// The device that brought it, if that was another one.
    courier: Option<DeviceId>,
}

/// A document that is written to.
struct Open {
    held: Held,
    /// How many changes were read for it.
    read: usize,
    /// The volume before it, once somebody has asked for that.
    before: Option<Held>,
    /// Who sees what was written, if anything was.
    appended: Option<(AudienceId, Audience)>,
    /// What of that takes back something of its author's.
    taking_back: Vec<ChangeHash>,
}

/// A change that may be written.
struct Fresh<'c> {
    change: &'c Change,
    entry: Arc<Entry>,
    device: DeviceId,
    audience: Audience,
    /// How old it was when its device sent it, if a clock has counted that.
    age_ms: Option<i64>,
}

/// The photos, and whose, of what these recordings take back. What was taken back before is not gone through again.
fn taken_back(document: &Document, taking_back: &[ChangeHash]) -> BTreeSet<(BlobHash, UserId)> {
    let recording = |hash: ChangeHash| match document.change(hash)?.entry() {
        Ok(Entry::Recording(recording)) => Some((hash, recording)),
        _ => None,
    };
    let named = |hashes: &[ChangeHash]| hashes.iter().copied().filter_map(recording).collect();
    let mut photos = BTreeSet::new();
    for (hash, Recording { by, act, .. }) in taking_back.iter().copied().filter_map(recording) {
        let taken: Vec<(ChangeHash, Recording)> = match act {
            Act::Withdraw { recordings } => named(&recordings),
            Act::Abandon {} => {
                let past = document.past(&[hash]);
                let own = document.entries(Section::Recordings).filter(|(_, e)| e.by() == by);
                let own = own.map(|(change, _)| change.hash());
                let own: Vec<_> = own.filter(|other| past.contains(*other)).collect();
                let abandons = named(&own).into_iter().filter(|(other, recording)| {
                    *other != hash && matches!(recording.act, Act::Abandon {})
                });
                let before = document.past(&abandons.map(|(other, _)| other).collect::<Vec<_>>());
                named(&own).into_iter().filter(|(other, _)| !before.contains(*other)).collect()
            }
            _ => Vec::new(),
        };
        let theirs = taken.iter().filter(|(_, recording)| recording.by == by);
        photos.extend(theirs.flat_map(|(_, r)| r.photos().iter().map(|photo| (photo.hash, by))));
    }
    photos
}

/// Writes catalogue records that have been validated, and takes along what follows an outlet that moves: its
/// calls and its history.
pub fn write_records(
    ledger: &mut Ledger<'_>,
    world: &mut World,
    mut records: Vec<Record>,
    now_ms: i64,
    mut salt: impl FnMut() -> [u8; 16],
) -> Result<(), StoreError> {
    let mut moved = HashSet::new();
    for record in &records {
        if let Record::Outlet(outlet) = record
            && let Some(old) = world.outlets.get(&outlet.id)
        {
            if old.audience() != outlet.audience() {
                moved.insert(outlet.id);
            }
            if (old.place, old.radius_m) != (outlet.place, outlet.radius_m) {
                ledger.reconsider(outlet.id)?;
            }
        }
    }
    if !moved.is_empty() {
        let named: HashSet<RecordKey> = records.iter().map(Record::key).collect();
        let calls = world.calls.values().filter(|call| moved.contains(&call.outlet));
        let mut calls: Vec<Record> = calls.cloned().map(Record::Call).collect();
        calls.retain(|call| !named.contains(&call.key()));
        calls.sort_by_key(Record::key);
        records.extend(calls);
    }
    // A record may need the audience of an outlet that comes after it.
    for (sequence, record) in (ledger.size()..).zip(&records) {
        world.insert(record.clone(), sequence);
    }
    for record in &records {
        if let Record::Outlet(outlet) = record {
            ledger.move_history(outlet.id, &outlet.audience())?;
        }
        ledger.append_record(record, &world.audience(record), salt(), now_ms)?;
    }
    Ok(())
}

/// One write to one organisation: the ledger and what admission must know.
pub struct Ingest<'a, 'tx> {
    /// Where it is written.
    pub ledger: &'a mut Ledger<'tx>,
    /// The organisation's name.
    pub org: OrgId,
    /// The catalogue and the people.
    pub world: &'a World,
    /// The server's clock, in milliseconds since 1970 UTC.
    pub now_ms: i64,
}

impl Ingest<'_, '_> {
    /// Decides on the groups of a push from this one on and writes what is accepted, and apart from it what is not. Ends
    /// before a document with which more than so many changes would be read and taken: the rest is for another transaction.
    pub fn push(
        &mut self,
        sender: &Sender,
        checked: &Checked,
        first: usize,
        at_once: usize,
    ) -> Result<Vec<Outcome>, StoreError> {
        let Checked { push, notes, bad } = checked;
        let (size, mut share) = (self.ledger.size(), Share::of(at_once));
        let mut outcomes = Vec::new();
        let (groups, mut bad) = (&push.groups[first..], bad[first..].iter());
        for groups in groups.chunk_by(|one, next| one.document == next.document) {
            let [first, ..] = groups else { continue };
            let changes = groups.iter().map(|group| group.changes.len()).sum();
            if !share.takes(changes) {
                break;
            }
            let (size, before) = (self.ledger.size(), outcomes.len());
            let mut open = self.open(first.document)?;
            for (group, bad) in groups.iter().zip(&mut bad) {
                let from = Way { sender: sender.device, pushed: Some(&push.now), courier: None };
                outcomes.push(self.take(&mut open, &from, group, notes, bad.clone())?);
                self.ledger.rest()?;
            }
            self.close(&open)?;
            share.did(changes, &open);
            let refused = |outcome: &Outcome| matches!(outcome, Outcome::Quarantined { .. });
            let whole = !outcomes[before..].iter().any(refused);
            if whole && self.ledger.size() > size {
                self.ledger.replace(sender.device, first.document, self.now_ms)?;
            }
        }
        // Only where something was appended phones hear of it at the same line.
        if self.ledger.size() > size {
            self.ledger.let_go(self.now_ms)?;
        }
        Ok(outcomes)
    }

    /// A document to write to, read once however many groups of it come.
    fn open(&self, document: DocId) -> Result<Open, StoreError> {
        let held = self.ledger.document(self.org, document)?;
        let read = held.document.changes().len();
        Ok(Open { held, read, before: None, appended: None, taking_back: Vec::new() })
    }

    /// Brings what is derived from a document up to date with what was written to it.
    fn close(&mut self, open: &Open) -> Result<(), StoreError> {
        let Open { held, appended, taking_back, .. } = open;
        for (photo, by) in taken_back(&held.document, taking_back) {
            self.ledger.reconsider_photo(held.document.id(), photo, by)?;
        }
        match (*appended, held.document.id().kind) {
            (Some(seen_by), DocKind::Visit) => self.project_visit(held, seen_by),
            _ => Ok(()),
        }
    }

    /// Decides on parcels that another device has brought, as if their origins had pushed what is in them, or, of one that
    /// is not here, its courier. Nobody's chain of pushes is touched. Ends like [`Ingest::push`].
    pub fn cargo(
        &mut self,
        courier: DeviceId,
        parcels: &[Result<Opened, Delivery>],
        at_once: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (mut share, mut deliveries) = (Share::of(at_once), Vec::new());
        for opened in parcels {
            let delivery = match opened {
                Ok(Opened { load: Load::Work(group, _), .. })
                    if !share.takes(group.changes.len()) =>
                {
                    break;
                }
                Ok(Opened { origin, load: Load::Work(group, notes), bad }) => {
                    let sender = origin.unwrap_or(courier);
                    let mut open = self.open(group.document)?;
                    let delivery = self.work(&mut open, (sender, courier), group, notes, bad)?;
                    share.did(group.changes.len(), &open);
                    delivery
                }
                // Its file is not the log's.
                Ok(Opened { load: Load::Photo(_), .. }) => Delivery::Later {},
                Err(outcome) => outcome.clone(),
            };
            deliveries.push(delivery);
        }
        Ok(deliveries)
    }

    fn work(
        &mut self,
        open: &mut Open,
        (sender, courier): (DeviceId, DeviceId),
        group: &Group,
        notes: &[Note],
        bad: &Option<Outcome>,
    ) -> Result<Delivery, StoreError> {
        let size = self.ledger.size();
        let from = Way { sender, pushed: None, courier: Some(courier) };
        let outcome = self.take(open, &from, group, &by_digest(notes), bad.clone())?;
        self.close(open)?;
        self.ledger.rest()?;
        let later = match outcome {
            // What it lacks may come with somebody else: it is shown meanwhile, and brought again.
            Outcome::Quarantined { code, .. } if Outcome::is_early(&code) => {
                self.ledger.waits(sender, group)?
            }
            // Nothing of it was kept, and its author's phone may be gone.
            Outcome::Quarantined { code, .. } => code == Outcome::FULL,
            Outcome::Accepted {} | Outcome::LetGo {} => {
                if self.ledger.size() > size {
                    self.ledger.replace(sender, group.document, self.now_ms)?;
                }
                false
            }
        };
        match later {
            true => Ok(Delivery::Later {}),
            false => Ok(Delivery::Taken {}),
        }
    }

    /// Takes a group in, or keeps it apart, as what is not sealed as it should be (`bad`) always is.
    fn take(
        &mut self,
        open: &mut Open,
        from: &Way<'_>,
        group: &Group,
        notes: &BTreeMap<BlobHash, Note>,
        bad: Option<Outcome>,
    ) -> Result<Outcome, StoreError> {
        let has = group.hashes().all(|hash| open.held.document.contains(hash));
        let outcome = match bad {
            // What is here is named by what it is, however it comes.
            Some(_) if has => return Ok(Outcome::Accepted {}),
            Some(outcome) => outcome,
            // Of what a copy of a phone was refused with, some may be in the log: what is there is final.
            None if !has && let Some(refused) = self.ledger.refused(from.sender, group)? => {
                return Ok(with_here(refused, &open.held.document, group));
            }
            None => match self.discarded(&open.held.document, group)? {
                Some(Discarded { code, detail, .. }) => Outcome::quarantined(&code, detail),
                None => self.group(open, from, group, notes)?,
            },
        };
        let outcome = self.keep_apart(&open.held.document, from, group, notes, outcome)?;
        Ok(with_here(outcome, &open.held.document, group))
    }

    /// What was discarded that has some of what is new in a group, whichever way either came: refused work of the same
    /// person, who wrote or sent all of it. Nobody's work is discarded with what somebody else has put it beside.
    fn discarded(
        &self,
        document: &Document,
        group: &Group,
    ) -> Result<Option<Discarded>, StoreError> {
        if !self.ledger.keeps_apart(group.document)? {
            return Ok(None);
        }
        let person = |device: &Device| device.user;
        let author = |change: &Change| self.world.device_of(change.actor).map(person);
        for change in group.changes.iter().filter(|change| !document.contains(change.hash())) {
            let by = author(change);
            for discarded in self.ledger.discarded(group.document, change.hash())? {
                let sender = self.world.devices.get(&discarded.device).map(person);
                if by == sender || (by.is_some() && by == discarded.author) {
                    return Ok(Some(discarded));
                }
            }
        }
        Ok(None)
    }

    fn keep_apart(
        &mut self,
        document: &Document,
        from: &Way<'_>,
        group: &Group,
        notes: &BTreeMap<BlobHash, Note>,
        outcome: Outcome,
    ) -> Result<Outcome, StoreError> {
        let Outcome::Quarantined { code, detail, .. } = &outcome else { return Ok(outcome) };
        // Should it be approved later, its words must be here.
        let mut words: BTreeMap<BlobHash, &Note> = BTreeMap::new();
        if admit::about_rights(code) {
            let entries = group.changes.iter().filter_map(|change| change.entry().ok());
            let named = entries.flat_map(|entry| entry.notes());
            words.extend(named.filter_map(|digest| Some((digest, notes.get(&digest)?))));
        }
        let (audience, words) = (self.claimed_audience(group)?, words.into_values().collect());
        let lacking: BTreeMap<ChangeHash, Actor> = group
            .changes
            .iter()
            .filter(|change| !document.contains(change.hash()))
            .map(|change| (change.hash(), change.actor))
            .collect();
        let own = |actor: &Actor| {
            let author = self.world.device_of(*actor);
            author.is_some_and(|author| is_of_one_person(self.world, from.sender, author.id))
        };
        let (lacks, others) = (lacking.len(), lacking.values().filter(|a| !own(a)).count());
        let courier = from.courier;
        let mut authors =
            group.changes.iter().map(|c| self.world.device_of(c.actor).map(|d| d.user));
        let first = authors.next().flatten();
        let author = first.filter(|_| authors.all(|author| author == first));
        let reason = Reason { code, detail, audience, courier, lacks, others, author, words };
        match self.ledger.quarantine(self.org, from.sender, group, &reason, self.now_ms)? {
            true => Ok(outcome),
            false => {
                let why = format!(
                    "too much refused work of this person's devices is kept already; {detail}"
                );
                Ok(Outcome::quarantined(Outcome::FULL, why))
            }
        }
    }

    /// Writes what is new in a group, all of it or nothing.
    fn group(
        &mut self,
        open: &mut Open,
        from: &Way<'_>,
        group: &Group,
        notes: &BTreeMap<BlobHash, Note>,
    ) -> Result<Outcome, StoreError> {
        let (here, audience) = (open.held.document.changes().len(), open.held.audience);
        let fresh = match self.judged(open, from, group, notes)? {
            Ok(fresh) => fresh,
            Err(refused) => {
                open.held.document.cut(here);
                open.held.audience = audience;
                return Ok(refused);
            }
        };
        let named: BTreeSet<BlobHash> = fresh.iter().flat_map(|f| f.entry.notes()).collect();
        self.ledger.put_notes(named.iter().filter_map(|digest| notes.get(digest)))?;
        let outcome = match open.held.let_go && fresh.is_empty() {
            true => Outcome::LetGo {},
            false => Outcome::Accepted {},
        };
        self.append(open, &fresh, &group.seals)?;
        // Whose work did not come by their own push must be given it by a pull.
        let brought: BTreeSet<DeviceId> = fresh
            .iter()
            .map(|f| f.device)
            .filter(|device| *device != from.sender || from.pushed.is_none())
            .collect();
        for device in brought {
            self.ledger.brought(device)?;
        }
        self.arrive(&open.held.document, &fresh)?;
        Ok(outcome)
    }

    /// What of refused work is in the log by these is found no more.
    fn arrive(&mut self, document: &Document, fresh: &[Fresh<'_>]) -> Result<(), StoreError> {
        if fresh.is_empty() || !self.ledger.keeps_apart(document.id())? {
            return Ok(());
        }
        let (world, now_ms) = (self.world, self.now_ms);
        let came = fresh.iter().map(|fresh| (fresh.change.hash(), fresh.device));
        self.ledger.arrive(document, came, |one, other| is_of_one_person(world, one, other), now_ms)
    }

    /// What is new in a group, once it is all in the document, or why none of it may be.
    fn judged<'c>(
        &self,
        open: &mut Open,
        from: &Way<'_>,
        group: &'c Group,
        notes: &BTreeMap<BlobHash, Note>,
    ) -> Result<Result<Vec<Fresh<'c>>, Outcome>, StoreError> {
        let mut fresh = Vec::new();
        for change in &group.changes {
            if open.held.document.contains(change.hash()) {
                continue;
            }
            let judged = match self.judge(from, open, change)? {
                Ok(judged) => judged,
                Err(refusal) => return Ok(Err(quarantined(&refusal))),
            };
            if self.is_said(&open.held.document, change, &judged.entry) {
                let detail = "the document says this already, as it was sent first".to_owned();
                return Ok(Err(Outcome::quarantined(Outcome::SAID_ALREADY, detail)));
            }
            for digest in judged.entry.notes() {
                if !notes.contains_key(&digest) && self.lacks(digest)? {
                    let detail = format!("the note {digest} did not come along");
                    return Ok(Err(Outcome::quarantined(Outcome::MISSING_NOTE, detail)));
                }
            }
            let entry = Arc::clone(&judged.entry);
            open.held.document.insert_read(change.clone(), entry).map_err(damaged)?;
            open.held.audience = Some(judged.audience);
            fresh.push(judged);
        }
        Ok(Ok(fresh))
    }

    /// Whether the words of a note have still to come.
    fn lacks(&self, digest: BlobHash) -> Result<bool, StoreError> {
        Ok(self.ledger.note(digest)?.is_none() && !self.ledger.note_erased(digest)?)
    }

    /// Whether a document has what an entry does, as its author has written it as another actor: it was sent, and then
    /// proposed again, by somebody who had not heard of that.
    fn is_said(&self, document: &Document, change: &Change, entry: &Entry) -> bool {
        let person = |actor| self.world.device_of(actor).map(|device| device.user);
        let other = |actor| actor != change.actor && person(actor) == person(change.actor);
        document.said_at(entry, other).next().is_some()
    }

    /// An outlet's history is where the outlet is now, wherever its author knew it to be.
    fn outlet_audience(&self, outlet: Option<OutletId>) -> Option<Audience> {
        self.world.outlets.get(&outlet?).map(|outlet| outlet.audience())
    }

    /// What a change says, if it fits. A volume that it begins is seen by whoever sees the one `before`, which is
    /// read once for all changes of a group.
    fn read(
        &self,
        Open { held, before, read: read_so_far, .. }: &mut Open,
        change: &Change,
    ) -> Result<Result<Entry, Refusal>, StoreError> {
        // Nobody fills a document so that what is said of it in the console has no room.
        let room = match self.world.device_of(change.actor) {
            Some(device) if device.is_server() => Room::Console,
            _ => Room::Device,
        };
        let read = admit::read(&held.document, change, room);
        if let Ok(entry) = &read
            && let Some(volume) = entry.volume()
        {
            let before = match before {
                Some(before) => before,
                None => {
                    let loaded = self.ledger.document(self.org, volume.predecessor())?;
                    *read_so_far += loaded.document.changes().len();
                    before.insert(loaded)
                }
            };
            if let Err(refusal) = volume.follows(&before.document) {
                return Ok(Err(refusal));
            }
            held.audience = held.audience.or(before.audience);
        }
        // Else anybody could begin the history of an outlet that is closed, by saying that it is theirs.
        if let Ok(entry) = &read {
            let outlet = self.outlet_audience(outlet_of(&held.document, entry));
            held.audience = held.audience.or(outlet);
        }
        Ok(read)
    }

    /// Who would see what a refused group writes to.
    fn claimed_audience(&self, group: &Group) -> Result<Audience, StoreError> {
        let outlet = group.outlet();
        if let Some(audience) = self.outlet_audience(outlet) {
            return Ok(audience);
        }
        for document in [Some(group.document), outlet.map(DocId::from)].into_iter().flatten() {
            if let Some(audience) = self.ledger.seen_by(document)? {
                return Ok(audience);
            }
        }
        let mut entries = group.changes.iter().filter_map(|change| change.entry().ok());
        let claimed = entries.find_map(|entry| match entry {
            Entry::Recording(Recording {
                act: Act::Start { territory, distributor, .. }, ..
            }) => Some(Audience::Outlet { territory, distributor }),
            Entry::Report(report) => Some(report.audience()),
            _ => None,
        });
        // What nobody has made is nobody's, however it is called.
        let known = claimed.filter(|audience| match audience {
            Audience::Everyone => true,
            Audience::Outlet { territory, distributor } => {
                self.world.tree.contains(*territory) && self.world.has_distributor(*distributor)
            }
        });
        Ok(known.unwrap_or(Audience::Everyone))
    }

    /// Writes down what a supervisor decides on refused work that waits, and a line of the log that says so.
    pub fn decide(&mut self, item: &Item, approved: bool, by: UserId) -> Result<(), ActError> {
        let decision = item.decision(approved, by, self.now_ms);
        if approved {
            self.approve(item, by)?;
        } else {
            self.ledger.decide(item.item, Fate::Discarded, by, self.now_ms)?;
        }
        if let Some(decision) = decision {
            let sequence = self.ledger.append_act(&decision)?;
            self.ledger.put_decision(item.group.document, by, sequence)?;
        }
        Ok(())
    }

    /// Accepts what was refused because of its author's rights: a supervisor answers for it. What is wrong with
    /// the work itself cannot be overruled.
    fn approve(&mut self, item: &Item, by: UserId) -> Result<(), ActError> {
        let group = &item.group;
        if !admit::about_rights(&item.code)
            || group.check_seals(self.org, &self.world.keys_of([group])).is_err()
        {
            return Err(Refusal::NoRight("this was not refused for want of rights").into());
        }
        let mut open = self.open(group.document)?;
        if self.discarded(&open.held.document, group)?.is_some() {
            return Err(Refusal::NoRight("some of this was discarded before").into());
        }
        let mut fresh = Vec::new();
        for change in &group.changes {
            if open.held.document.contains(change.hash()) {
                continue;
            }
            let entry = self.read(&mut open, change)??;
            for digest in entry.notes() {
                if self.lacks(digest)? {
                    return Err(Refusal::NoRight("its words have not come").into());
                }
            }
            let held = &mut open.held;
            let device = self.world.device_of(change.actor).ok_or(Refusal::ForeignActor)?;
            let author = author_of(device, &entry);
            admit::holds(author, &device.key, &held.document, change, &entry)?;
            // Its author may have gone on with another key or phone since.
            if self.is_said(&held.document, change, &entry) {
                return Err(Refusal::NoRight("its author has proposed this again").into());
            }
            match self.rule(held, change, &entry, device) {
                Ok(audience) => {
                    let outlet = outlet_of(&held.document, &entry);
                    held.audience = self.outlet_audience(outlet).or(Some(audience));
                }
                Err(refusal) if refusal.is_about_rights() => {}
                Err(refusal) => return Err(refusal.into()),
            }
            let audience = match held.audience {
                Some(audience) => audience,
                None => self.claimed_audience(group)?,
            };
            if !matches!(audience, Audience::Outlet { .. }) {
                return Err(Refusal::WrongStart("a visit begins with its start").into());
            }
            held.audience = Some(audience);
            let (age_ms, device) = (None, device.id);
            let entry = Arc::new(entry);
            held.document.insert_read(change.clone(), Arc::clone(&entry)).map_err(damaged)?;
            fresh.push(Fresh { change, entry, device, audience, age_ms });
        }
        self.append(&mut open, &fresh, &group.seals)?;
        let authors: BTreeSet<DeviceId> = fresh.iter().map(|f| f.device).collect();
        for device in authors {
            self.ledger.brought(device)?;
        }
        self.close(&open)?;
        self.ledger.decide(item.item, Fate::Accepted, by, self.now_ms)?;
        self.arrive(&open.held.document, &fresh)?;
        Ok(())
    }

    /// Decides on one change by what its author may do, or could when it was made.
    fn judge<'c>(
        &self,
        from: &Way<'_>,
        open: &mut Open,
        change: &'c Change,
    ) -> Result<Result<Fresh<'c>, Refusal>, StoreError> {
        let entry = match self.read(open, change)? {
            Ok(entry) => entry,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let held = &open.held;
        let Some(device) = self.world.device_of(change.actor) else {
            return Ok(Err(Refusal::ForeignActor));
        };
        let mut decided = self.rule(held, change, &entry, device);
        if let Err(refusal) = &decided
            && refusal.is_about_rights()
            && !device.revoked
        {
            let known = self.ledger.known_at(entry.when());
            let acked = self.ledger.acked(device.id)?;
            let then = |known| {
                let then = self.world.at(known);
                let rights = then.rights(author_of(device, &entry));
                rule(rights, device, &then, held, change, &entry)
            };
            decided = match (then(known.max(acked)), then(known)) {
                (Ok(audience), _) => Ok(audience),
                (_, Ok(_)) => Err(Refusal::Late),
                _ => decided,
            };
        }
        let mut audience = match decided {
            Ok(audience) => audience,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let outlet = outlet_of(&held.document, &entry);
        audience = self.outlet_audience(outlet).unwrap_or(audience);
        // The clocks of a push say nothing of what another phone has written.
        let pushed = from.pushed.filter(|_| device.id == from.sender);
        let age_ms = pushed.and_then(|pushed| entry.when().age_ms(pushed));
        Ok(Ok(Fresh { change, entry: entry.into(), device: device.id, audience, age_ms }))
    }

    /// What the rules say now.
    fn rule(
        &self,
        held: &Held,
        change: &Change,
        entry: &Entry,
        device: &Device,
    ) -> Result<Audience, Refusal> {
        if device.revoked {
            return Err(Refusal::RevokedDevice);
        }
        let rights = self.world.rights(author_of(device, entry));
        rule(rights, device, self.world, held, change, entry)
    }

    /// Writes what a person did in the console, signed by the server: the entry that `entries` makes of the document as
    /// it is, after another if one comes with it. Returns the hash of the second.
    pub fn act<E: From<ActError>>(
        &mut self,
        console: &Console,
        document: DocId,
        note: Option<&Note>,
        entries: impl FnOnce(&Document, Moment) -> Result<(Option<Entry>, Entry), E>,
    ) -> Result<ChangeHash, E> {
        let mut open = self.open(document).map_err(ActError::from)?;
        let (first, entry) = entries(&open.held.document, self.moment())?;
        if let Some(first) = first {
            self.sign(&mut open, console, &first, None)?;
        }
        let hash = self.sign(&mut open, console, &entry, note)?;
        self.close(&open).map_err(ActError::from)?;
        Ok(hash)
    }

    fn sign(
        &mut self,
        open: &mut Open,
        console: &Console,
        entry: &Entry,
        note: Option<&Note>,
    ) -> Result<ChangeHash, ActError> {
        let rights = self.world.rights(entry.by()).ok_or(Refusal::NoRight("no such person"))?;
        let author = Author { rights, key: console.keypair.public() };
        let document = open.held.document.id();
        let change = open.held.document.next(console.actor, entry).map_err(Refusal::from)?;
        // The room that is spared for the console is for who judges: else whoever is judged fills it first.
        if !rights.role.reviews() {
            admit::read(&open.held.document, &change, Room::Device)?;
        }
        let entry = self.read(open, &change)??;
        let held = &mut open.held;
        let audience = admit(&author, self.world, &held.document, held.audience, &change, &entry)?;
        let entry = Arc::new(entry);
        held.document.insert_read(change.clone(), Arc::clone(&entry)).map_err(Refusal::from)?;
        self.ledger.put_notes(note)?;
        let seal = console.keypair.seal(self.org, document, change.hash());
        let device = console.device;
        let fresh = Fresh { change: &change, entry, device, audience, age_ms: Some(0) };
        self.append(open, &[fresh], &[seal])?;
        Ok(change.hash())
    }

    /// The server's clocks as a moment of an entry that is written now.
    pub fn moment(&self) -> Moment {
        let (wall_ms, anchor) = (self.now_ms, self.ledger.size());
        let life = self.ledger.life();
        Moment { wall_ms, boot: 0, boot_ms: 0, anchor, skew_ms: Some(0), life }
    }

    /// Writes changes that are in an open document to the log.
    fn append(
        &mut self,
        open: &mut Open,
        fresh: &[Fresh<'_>],
        seals: &[Seal],
    ) -> Result<(), StoreError> {
        let Some(first) = fresh.first() else { return Ok(()) };
        let held = &mut open.held;
        let (document, audience) = (held.document.id(), first.audience);
        if std::mem::take(&mut held.let_go) {
            self.ledger.take_back(document)?;
        }
        let audience_id = self.ledger.audience(&audience)?;
        for Fresh { change, entry, device, age_ms, .. } in fresh {
            let (hash, device, age_ms) = (change.hash(), *device, *age_ms);
            let times = &self.ledger.captured(entry.when(), age_ms, self.now_ms)?;
            let leaf = Leaf::Change { document, change: hash, device, received_ms: self.now_ms };
            let seal = seals.iter().find(|s| s.head == hash);
            let notes = self.ledger.note_bytes(&entry.notes())?;
            let line = Line::Change { document, change, device, seal, times, age_ms, notes };
            self.ledger.append(&leaf, self.now_ms, audience_id, line)?;
            held.times.insert(hash, *times);
            held.devices.insert(hash, device);
            for photo in entry.photos() {
                let (by, hash, bytes) = (entry.by(), photo.hash, photo.bytes);
                let row = PhotoRow { hash, document, by, times: *times, bytes };
                let sees = |audience: &_| self.world.sees(by, audience);
                self.ledger.put_photo(&row, audience_id, sees)?;
            }
        }
        let taking_back = fresh.iter().filter(|fresh| match &*fresh.entry {
            Entry::Recording(Recording { act, .. }) => {
                matches!(act, Act::Withdraw { .. } | Act::Abandon {})
            }
            _ => false,
        });
        open.taking_back.extend(taking_back.map(|fresh| fresh.change.hash()));
        open.appended = Some((audience_id, audience));
        match document.kind {
            DocKind::Visit => Ok(()),
            DocKind::Outlet => self.project_report(held, fresh, audience),
        }
    }

    /// Brings what is derived from a visit's document up to date.
    pub fn project_visit(
        &mut self,
        held: &Held,
        seen_by: (AudienceId, Audience),
    ) -> Result<(), StoreError> {
        let newest = (self.ledger.size().saturating_sub(1), self.now_ms);
        match derived(&Visit::read(&held.document), held, seen_by, newest, self.world) {
            Some((row, facts)) => self.ledger.put_visit(&row, &facts),
            None => Ok(()),
        }
    }

    fn project_report(
        &mut self,
        held: &Held,
        fresh: &[Fresh<'_>],
        audience: Audience,
    ) -> Result<(), StoreError> {
        let mut newest_first = fresh.iter().rev();
        let newest = newest_first.find_map(|fresh| match &*fresh.entry {
            Entry::Report(report) => Some((held.times.get(&fresh.change.hash())?, report)),
            _ => None,
        });
        let Some((times, report)) = newest else { return Ok(()) };
        let Some((outlet, _)) = held.document.volume() else { return Ok(()) };
        let row = ReportRow {
            outlet,
            audience: self.ledger.audience(&audience)?,
            by: report.by,
            at_ms: times.claimed_ms,
            name: report.name.clone(),
            address: report.address.clone(),
            changed: self.ledger.size().saturating_sub(1),
        };
        self.ledger.put_report(&row)
    }
}

/// What is derived from a visit's document, of which `newest` is the newest line and when that was written, by what the
/// world was then. `None` before its start.
pub fn derived(
    visit: &Visit,
    held: &Held,
    (audience, seen_by): (AudienceId, Audience),
    (changed, changed_ms): (u64, i64),
    world: &World,
) -> Option<(VisitRow, Facts)> {
    let (Some(start), Audience::Outlet { territory, distributor }) = (&visit.start, seen_by) else {
        return None;
    };
    let outlet = world.outlets.get(&start.outlet);
    let zone = outlet.map_or("UTC", |o| o.zone.as_str());
    let claimed = |hash: &ChangeHash| held.times.get(hash).map(|t| t.claimed_ms);
    let claimed_of = |recorded: &Recorded| claimed(&recorded.hash).unwrap_or(changed_ms);
    let started_ms = visit.begun(claimed_of).map_or(changed_ms, claimed_of);
    let day = Day::at(started_ms, zone);
    let must_stock = outlet.map_or(&[][..], |o| &o.must_stock);
    let facts = project(visit, must_stock, day, &world.catalogue);
    let photos: BTreeSet<BlobHash> = visit.photos().map(|(.., photo)| photo.hash).collect();
    let row = VisitRow {
        visit: VisitId::from_bytes(held.document.id().id),
        outlet: start.outlet,
        audience,
        territory,
        distributor,
        call: start.call,
        day,
        status: visit.status,
        contest: visit.contested(),
        people: visit.people(),
        conflicts: visit.conflicts().count() as u64,
        news: visit.recordings.iter().filter(|r| r.new && !r.withdrawn).count() as u64,
        photos: photos.len() as u64,
        started_ms,
        submitted_ms: visit.submissions.iter().filter_map(|(hash, _)| claimed(hash)).max(),
        changed_ms,
        changed,
        counted: facts.visited,
    };
    Some((row, facts))
}

/// Whether two devices are of one person, who is known.
fn is_of_one_person(world: &World, one: DeviceId, other: DeviceId) -> bool {
    let [one, other] = [one, other].map(|device| world.devices.get(&device).map(|d| d.user));
    one.is_some() && one == other
}

/// A device writes for its person; the server's own for whoever acts in the console.
fn author_of(device: &Device, entry: &Entry) -> UserId {
    if device.is_server() { entry.by() } else { device.user }
}

fn rule(
    rights: Option<Rights>,
    device: &Device,
    field: &dyn Field,
    held: &Held,
    change: &Change,
    entry: &Entry,
) -> Result<Audience, Refusal> {
    let Some(rights) = rights else {
        // What is wrong with the work itself nobody can overrule, so that is told.
        admit::holds(author_of(device, entry), &device.key, &held.document, change, entry)?;
        return Err(Refusal::NoRight("the person no longer works here"));
    };
    admit(&Author { rights, key: device.key }, field, &held.document, held.audience, change, entry)
}

/// With what of a refused group is in the log, from before.
fn with_here(outcome: Outcome, document: &Document, group: &Group) -> Outcome {
    let Outcome::Quarantined { code, detail, .. } = outcome else { return outcome };
    let known = |change: &&Change| document.contains(change.hash());
    let below: HashSet<ChangeHash> =
        group.changes.iter().filter(known).flat_map(|c| c.deps.iter().copied()).collect();
    let newest = group.changes.iter().filter(known).map(Change::hash);
    let here: Vec<ChangeHash> = newest.filter(|hash| !below.contains(hash)).collect();
    Outcome::Quarantined { code, detail, here: Some(here).filter(|here| !here.is_empty()) }
}

fn damaged(misfit: Misfit) -> StoreError {
    StoreError::Damaged(misfit.to_string())
}
