//! What a device holds, and how it catches up with the server. Reads go through [`Replica`]; everything to
//! write leaves as a list of [`Write`]s, which the shell commits in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::cargo::{Carried, Parcel};
use crate::cbor::from_cbor;
use crate::document::{Change, Misfit};
use crate::evidence::{Cursor, Keypair, Seal};
use crate::id::{BlobHash, ChangeHash, DocId, OrgId, OutletId, ParcelHash};
use crate::model::catalogue::{Erased, Record, RecordKey, RecordKind};
use crate::model::people::Territories;
use crate::model::visit::{Note, VOLUMES_MAX};
use crate::print::{Inventory, Item, Print};
use crate::receipt::{Known, Watch};
use crate::wire::{
    Decided, GROUPS_MAX, Group, Keys, Outcome, PROTOCOL, PullReply, PullRequest, PushReply,
    PushRequest, RecordBytes,
};

pub use crate::kept::{
    Clocks, FormerKey, GIVEN_MAX, Given, Held, Kept, Profile, Refused, Rows, Witness,
};

/// Bytes of entries that one push aims at: small enough that a cut connection costs little.
pub const PUSH_BYTES_AIM: usize = 512 * 1024;

/// What a device has stored. Within one command or message it must not change.
pub trait Replica {
    /// What the store can fail with.
    type Error;
    /// Who the device is.
    fn profile(&self) -> &Profile;
    /// The newest version of a record.
    fn record(&self, key: RecordKey) -> Result<Option<Record>, Self::Error>;
    /// The newest version of a record, of a kind that is known or not, as it came.
    fn record_bytes(&self, key: RecordKey) -> Result<Option<RecordBytes>, Self::Error>;
    /// What counts of each record, of kinds that are not known too ([`Print::of_record`]), and of each document
    /// ([`Kept::print_of`]).
    fn each_print(&self, each: &mut dyn FnMut(Item, Print)) -> Result<(), Self::Error>;
    /// The newest versions of all records of a kind.
    fn records(&self, kind: RecordKind) -> Result<Vec<Record>, Self::Error>;
    /// Whether anything of a document is here.
    fn holds(&self, id: DocId) -> Result<bool, Self::Error>;
    /// A document, if anything of it is here.
    fn document(&self, id: DocId) -> Result<Option<Kept>, Self::Error>;
    /// The documents with something to push, oldest first.
    fn outbox(&self) -> Result<Vec<DocId>, Self::Error>;
    /// Every document.
    fn documents(&self) -> Result<Vec<DocId>, Self::Error>;
    /// A note's words.
    fn note(&self, digest: BlobHash) -> Result<Option<Note>, Self::Error>;
    /// What is carried for others, in any order.
    fn cargo(&self) -> Result<Vec<Carried>, Self::Error>;
    /// A parcel that is carried for somebody.
    fn parcel(&self, name: ParcelHash) -> Result<Option<Parcel>, Self::Error>;
    /// The photos that entries here name and that the server has not confirmed, in the order in which they are needed,
    /// each with its length.
    fn photos(&self) -> Result<Vec<(BlobHash, u32)>, Self::Error>;
    /// A photo's file, if it is here and reads.
    fn photo(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// The volumes of an outlet's history that are here, oldest first.
pub fn volumes<R: Replica>(replica: &R, outlet: OutletId) -> Result<Vec<DocId>, R::Error> {
    let mut here = Vec::new();
    for id in (0..=VOLUMES_MAX).map(|number| DocId::volume(outlet, number)) {
        if !replica.holds(id)? {
            break;
        }
        here.push(id);
    }
    Ok(here)
}

/// The territories that are here.
pub fn territories<R: Replica>(replica: &R) -> Result<Territories, R::Error> {
    let mut tree = Territories::default();
    for record in replica.records(RecordKind::Territory)? {
        if let Record::Territory(territory) = record {
            tree.insert(territory.id, territory.parent);
        }
    }
    Ok(tree)
}

/// Something to store. All writes of one command or message are stored together or not at all.
#[derive(Debug, Clone)]
pub enum Write {
    /// A document; it is in the outbox exactly while [`Kept::to_push`] says so.
    Document(Box<Kept>),
    /// A record, under the kind and id that its bytes begin with.
    Record(RecordKey, RecordBytes),
    /// A note.
    Note(Note),
    /// Who the device is and where it stands.
    Profile(Box<Profile>),
    /// A record that went out of sight: forget it.
    Forget(RecordKey),
    /// Forget every record, those of unknown kinds too.
    ForgetRecords,
    /// A document that went out of sight: forget it.
    Purge(Box<Kept>),
    /// Words that no document here names any more: forget them.
    ForgetNote(BlobHash),
    /// A photo that no document here names any more: forget it once it is sent.
    ForgetPhoto(BlobHash),
    /// The server may have lost any photo that it had: send all of them anew.
    ResendPhotos,
    /// A document whose rows do not read: keep those beside, and this, if it holds anything, in their place.
    Salvage(Box<Kept>),
    /// A parcel to carry for somebody, taken at this time (server's clock, in milliseconds since 1970 UTC).
    Carry(Parcel, i64),
    /// A parcel that need not be carried any more.
    Unload(ParcelHash),
    /// A parcel that the server has put off ([`Carried::later`]).
    PutOff {
        /// Which.
        name: ParcelHash,
        /// It is a photo that nothing there names yet.
        unnamed: bool,
    },
    /// A colleague carries this photo to the server.
    PhotoGiven(BlobHash),
    /// A photo or a note that was erased: forget it, sent or not.
    Erase(BlobHash),
}

/// Everything that counts as held.
pub fn inventory<R: Replica>(replica: &R) -> Result<Inventory, R::Error> {
    let mut items = Vec::new();
    replica.each_print(&mut |item, print| items.push((item, print)))?;
    Ok(Inventory::new(items))
}

/// Brings the print along with what is about to be written.
pub(crate) fn count<R: Replica>(
    replica: &R,
    profile: &mut Profile,
    writes: &[Write],
) -> Result<(), R::Error> {
    let Some(held) = &mut profile.held else { return Ok(()) };
    let mut records: BTreeMap<RecordKey, Option<&RecordBytes>> = BTreeMap::new();
    for write in writes {
        match write {
            Write::Document(kept) => held.print += kept.print() - kept.counted,
            Write::Purge(kept) => held.print -= kept.counted,
            Write::Record(key, bytes) => drop(records.insert(*key, Some(bytes))),
            Write::Forget(key) => drop(records.insert(*key, None)),
            // What it counted for nobody knows.
            Write::ForgetRecords | Write::Salvage(_) => {
                profile.held = None;
                return Ok(());
            }
            Write::Note(_)
            | Write::Profile(_)
            | Write::Carry(..)
            | Write::Unload(_)
            | Write::PutOff { .. }
            | Write::PhotoGiven(_)
            | Write::ForgetNote(_)
            | Write::ForgetPhoto(_)
            | Write::ResendPhotos
            | Write::Erase(_) => {}
        }
    }
    for (key, now) in records {
        if let Some(before) = replica.record_bytes(key)? {
            held.print -= Print::of_record(key, &before.0);
        }
        if let Some(now) = now {
            held.print += Print::of_record(key, &now.0);
        }
    }
    Ok(())
}

/// Why a server's answer was not applied. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// It speaks another version of the protocol.
    #[error("the server answers in protocol version {0}")]
    Protocol(u32),
    /// It does not answer what was asked.
    #[error("the server's answer does not fit: {0}")]
    Unfit(String),
    /// A signature is missing or false: someone between here and the author has changed something.
    #[error("a change of {0} is not signed by the device that it claims to be from")]
    Forged(DocId),
}

/// A message went wrong, or the store did.
#[derive(Debug)]
pub enum Fault<E> {
    /// The server's answer.
    Answer(BadAnswer),
    /// The store.
    Store(E),
}

impl<E> From<E> for Fault<E> {
    fn from(error: E) -> Self {
        Self::Store(error)
    }
}

/// What of one document the server has not confirmed, as it is sent.
pub(crate) struct Work {
    /// The changes, sealed.
    pub(crate) group: Group,
    /// The notes that they name, as far as they are here.
    pub(crate) notes: Vec<Note>,
}

impl Work {
    /// In one group: what comes before anything that was refused before. `None` when that is nothing.
    pub(crate) fn of<R: Replica>(
        replica: &R,
        keypair: &Keypair,
        kept: &Kept,
    ) -> Result<Option<Self>, R::Error> {
        let mut changes = kept.waiting();
        if let Some(doubt) = changes.iter().position(|c| kept.doubted.contains(&c.hash())) {
            changes.truncate(doubt);
        }
        match changes.is_empty() || !kept.is_sealed(&changes, replica.profile()) {
            true => Ok(None),
            false => Self::made_of(replica, keypair, kept, changes).map(Some),
        }
    }

    /// The same in parts that the server decides on one by one, so that nobody's work waits for what is wrong with
    /// another's that it does not build on, nor for what was refused before: wherever the author changes, or that, as far
    /// as the authors' seals allow.
    fn parts_of<R: Replica>(
        replica: &R,
        keypair: &Keypair,
        kept: &Kept,
    ) -> Result<Vec<Self>, R::Error> {
        let profile = replica.profile();
        let (mut parts, mut part): (Vec<Self>, Vec<Change>) = (Vec::new(), Vec::new());
        let doubted: HashSet<&ChangeHash> = kept.doubted.iter().collect();
        let alike = |change: &Change| {
            let other = (!profile.owns(change.actor)).then(|| change.actor.device());
            (other, doubted.contains(&change.hash()))
        };
        let mut waiting = kept.waiting().into_iter().peekable();
        while let Some(change) = waiting.next() {
            let ends = waiting.peek().is_none_or(|next| alike(next) != alike(&change));
            part.push(change);
            if ends && (waiting.peek().is_none() || kept.is_sealed(&part, profile)) {
                parts.push(Self::made_of(replica, keypair, kept, std::mem::take(&mut part))?);
            }
        }
        Ok(parts)
    }

    /// These changes, sealed, with their notes.
    fn made_of<R: Replica>(
        replica: &R,
        keypair: &Keypair,
        kept: &Kept,
        changes: Vec<Change>,
    ) -> Result<Self, R::Error> {
        let (org, key) = (replica.profile().org, replica.profile().key);
        let document = kept.document.id();
        let named = changes.iter().filter_map(|c| c.entry().ok()).flat_map(|e| e.notes());
        let named: BTreeSet<BlobHash> = named.collect();
        let notes = named.into_iter().filter_map(|digest| replica.note(digest).transpose());
        let notes = notes.collect::<Result<_, _>>()?;
        let mut seals: Vec<Seal> = heads(&changes, &key)
            .into_iter()
            .map(|head| keypair.seal(org, document, head))
            .collect();
        let foreign = changes.iter().filter(|c| !c.actor.belongs_to(&key));
        let foreign: HashSet<ChangeHash> = foreign.map(Change::hash).collect();
        seals.extend(kept.seals.iter().filter(|s| foreign.contains(&s.head)).cloned());
        Ok(Self { group: Group { document, changes, seals }, notes })
    }

    /// How much it is on the wire at most.
    fn bytes(&self) -> usize {
        let changes = self.group.changes.iter().map(|change| change.bytes());
        changes.chain(self.notes.iter().map(|n| n.text.len() + 32)).sum()
    }
}

/// How much one push takes along.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Bytes that it aims at. One document is taken whatever it needs.
    pub bytes_aim: usize,
    /// The documents at which the server failed even alone.
    pub without: BTreeSet<DocId>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes_aim: PUSH_BYTES_AIM, without: BTreeSet::new() }
    }
}

impl Batch {
    /// The server failed at a push, or it is longer than that takes: what is to be sent less.
    pub fn failed(&mut self, push: &PushRequest) {
        match push.documents().collect::<Vec<_>>()[..] {
            [alone] => drop(self.without.insert(alone)),
            _ => self.bytes_aim = 0,
        }
    }

    /// Whether a document is left out, or follows a volume that is.
    fn leaves_out(&self, kept: &Kept) -> bool {
        let follows = |volume: &DocId| {
            let before = |(outlet, number)| (0..number).map(move |n| DocId::volume(outlet, n));
            kept.volume().is_some_and(|own| before(own).any(|id| id == *volume))
        };
        self.without.iter().any(|id| *id == kept.document.id() || follows(id))
    }
}

/// The next push: as much of the outbox as `batch` says. `None` when there is nothing to push.
pub fn next_push<R: Replica>(
    replica: &R,
    keypair: &Keypair,
    clocks: &Clocks,
    batch: &Batch,
) -> Result<Option<PushRequest>, R::Error> {
    let profile = replica.profile();
    let (mut groups, mut notes, mut bytes) = (Vec::new(), BTreeMap::new(), 0);
    for id in in_order(replica)? {
        let Some(kept) = replica.document(id)?.filter(Kept::to_push) else { continue };
        if batch.leaves_out(&kept) {
            continue;
        }
        let parts = Work::parts_of(replica, keypair, &kept)?;
        bytes += parts.iter().map(Work::bytes).sum::<usize>();
        let over = bytes > batch.bytes_aim || groups.len() + parts.len() > GROUPS_MAX;
        if !groups.is_empty() && over {
            break;
        }
        for Work { group, notes: words } in parts.into_iter().take(GROUPS_MAX) {
            groups.push(group);
            notes.extend(words.into_iter().map(|note| (note.digest(), note)));
        }
    }
    if groups.is_empty() {
        return Ok(None);
    }
    Ok(Some(PushRequest {
        protocol: PROTOCOL,
        now: profile.moment(clocks),
        previous: profile.pushed,
        groups,
        notes: notes.into_values().collect(),
    }))
}

/// The outbox, each later volume of an outlet's history after the one that it follows.
fn in_order<R: Replica>(replica: &R) -> Result<Vec<DocId>, R::Error> {
    let outbox = replica.outbox()?;
    let mut ordered = Vec::with_capacity(outbox.len());
    let (queued, mut taken) = (outbox.iter().copied().collect::<HashSet<_>>(), HashSet::new());
    for id in outbox {
        let mut waiting = vec![id];
        if id.is_later_volume()
            && let Some((outlet, number)) = replica.document(id)?.and_then(|kept| kept.volume())
        {
            let before = (0..number).rev().map(|number| DocId::volume(outlet, number));
            waiting.extend(before.filter(|id| queued.contains(id)));
        }
        ordered.extend(waiting.into_iter().rev().filter(|id| taken.insert(*id)));
    }
    Ok(ordered)
}

/// The own changes from which all own ones of `changes`, each after its parents, are reached without leaving
/// `changes`: one, unless changes that are not among them lie between a device's own.
fn heads(changes: &[Change], key: &[u8; 32]) -> Vec<ChangeHash> {
    let (mut heads, mut reached) = (Vec::new(), HashSet::new());
    for change in changes.iter().rev() {
        if reached.contains(&change.hash()) {
            reached.extend(change.deps.iter().copied());
        } else if change.actor.belongs_to(key) {
            heads.push(change.hash());
            reached.extend(change.deps.iter().copied());
        }
    }
    heads
}

/// What a push's reply changes on the device.
pub fn apply_push<R: Replica>(
    replica: &R,
    push: &PushRequest,
    reply: &PushReply,
    clocks: &Clocks,
) -> Result<Vec<Write>, Fault<R::Error>> {
    if reply.protocol != PROTOCOL {
        return Err(Fault::Answer(BadAnswer::Protocol(reply.protocol)));
    }
    if reply.outcomes.len() != push.groups.len() {
        let why = "it has not one outcome for each document".into();
        return Err(Fault::Answer(BadAnswer::Unfit(why)));
    }
    let mut narrowed = false;
    let mut documents = Documents::new(replica);
    let pushed: HashSet<ChangeHash> = push.groups.iter().flat_map(Group::hashes).collect();
    for (group, outcome) in push.groups.iter().zip(&reply.outcomes) {
        let Some(kept) = documents.get(group.document)? else { continue };
        match outcome {
            Outcome::Accepted {} | Outcome::LetGo {} => {
                let sent: HashSet<ChangeHash> = group.hashes().collect();
                kept.pending.retain(|hash| !sent.contains(hash));
                add_seals(kept, &group.seals);
                if *outcome == (Outcome::LetGo {}) {
                    (kept.gone, kept.aside, narrowed) = (true, true, true);
                }
                documents.offer_next(group.document)?;
            }
            Outcome::Quarantined { code, detail, here } => {
                // Of several the first says why, for others may only build on it; but what is kept nowhere else is said.
                if kept.refused.is_none() || code == Outcome::FULL {
                    let (code, detail) = (code.clone(), detail.clone());
                    let all = kept.pending.iter().all(|hash| pushed.contains(hash));
                    let apart = (code != Outcome::FULL && all).then_some(true);
                    kept.refused = Some(Refused { code, detail, apart });
                }
                if let Some(here) = here {
                    here.iter().for_each(|head| kept.confirm(*head));
                    add_seals(kept, &group.seals);
                }
            }
        }
    }
    let mut writes: Vec<Write> = documents.into_writes().collect();
    let mut profile = replica.profile().clone();
    count(replica, &mut profile, &writes)?;
    profile.pushed = Some(reply.push);
    profile.narrowed = (profile.narrowed == Some(true) || narrowed).then_some(true);
    profile.heard(reply.server_ms, clocks);
    writes.push(Write::Profile(Box::new(profile)));
    Ok(writes)
}

/// The next pull.
pub fn next_pull<R: Replica>(replica: &R) -> Result<PullRequest, R::Error> {
    let profile = replica.profile();
    let Profile { cursor, pushed, filled, .. } = *profile;
    let known = Some(profile.watch.as_ref().map_or(Known::NOTHING, Watch::known));
    let waits = match cursor {
        Some(cursor) => known_when_written(replica, &cursor)?,
        None => None,
    };
    Ok(PullRequest { protocol: PROTOCOL, cursor, pushed, filled, known, waits })
}

/// How much of the log this device knew when it wrote the oldest of what is to be pushed, and knows as long as pages are
/// still to come, if that is less than its cursor says: of a log that has been lost since, nothing.
fn known_when_written<R: Replica>(replica: &R, now: &Cursor) -> Result<Option<u64>, R::Error> {
    let profile = replica.profile();
    let mut known = profile.whole.unwrap_or(now.sequence);
    for id in replica.outbox()? {
        let Some(kept) = replica.document(id)? else { continue };
        let waits = kept.pending.iter().filter_map(|hash| kept.document.change(*hash));
        for entry in waits.filter(|c| profile.owns(c.actor)).filter_map(|c| c.entry().ok()) {
            let when = entry.when();
            let here = when.life == Some(now.origin.life());
            known = known.min(if here { when.anchor } else { 0 });
        }
    }
    Ok((known < now.sequence).then_some(known))
}

/// What a page changes on the device. Every change must be signed by the device whose actor it is under.
pub fn apply_pull<R: Replica>(
    replica: &R,
    reply: &PullReply,
    clocks: &Clocks,
) -> Result<Vec<Write>, Fault<R::Error>> {
    if reply.protocol != PROTOCOL {
        return Err(Fault::Answer(BadAnswer::Protocol(reply.protocol)));
    }
    let (mut writes, mut narrowed, mut restored) = (Vec::new(), false, false);
    let mut documents = Documents::new(replica);
    if replica.profile().cursor.is_none() {
        // After a rewind: what the server no longer knows is not listed any more.
        writes.push(Write::ForgetRecords);
        // Who begins anew for another reason has no cursor that the server could miss.
        let before = replica.profile().watch.as_ref().and_then(Watch::kept);
        if before.is_some_and(|before| before.life != reply.cursor.origin) {
            restored = true;
            documents.unconfirm()?;
            writes.push(Write::ResendPhotos);
        }
    }
    for key in reply.gone.iter().flatten() {
        narrowed = true;
        writes.push(Write::Forget(*key));
        if key.kind == RecordKind::Outlet as u8 {
            documents.set_gone(OutletId::from_bytes(key.id), true)?;
        }
    }
    for id in reply.let_go.iter().flatten() {
        if let Some(kept) = documents.get(*id)? {
            (kept.gone, narrowed) = (true, true);
        }
    }
    let mut erased = HashSet::new();
    for bytes in &reply.records {
        let key = RecordKey::peek(&bytes.0)
            .ok_or_else(|| Fault::Answer(BadAnswer::Unfit("a record has no key".into())))?;
        match from_cbor(&bytes.0) {
            Ok(Record::Person(person)) => narrowed |= person.id == replica.profile().user,
            Ok(Record::Territory(_)) => narrowed = true,
            Ok(Record::Outlet(outlet)) => documents.set_gone(outlet.id, false)?,
            Ok(Record::Erased(Erased { digest: Some(digest), .. })) => {
                erased.insert(digest);
                writes.push(Write::Erase(digest));
            }
            _ => {}
        }
        writes.push(Write::Record(key, bytes.clone()));
    }
    documents.need_no_words(&erased)?;
    let keys = match reply.groups.is_empty() {
        true => Keys::default(),
        false => keys_with(replica, &reply.records)?,
    };
    let org = replica.profile().org;
    for group in &reply.groups {
        check_seals(org, group, &keys)?;
        let kept = documents.get_or_new(group.document)?;
        match merge(kept, group) {
            // What was proposed again is in the record already, as it was proposed first.
            Ok(()) if kept.said_again(replica.profile()) => *kept = kept.confirmed(),
            Ok(()) => {}
            // What builds on the record has no place in a copy that went its own way.
            Err(Misfit::MissingParent(_)) if kept.refused.is_some() => {}
            Err(misfit @ Misfit::MissingParent(_)) => {
                let why = format!("{}: {misfit}", group.document);
                return Err(Fault::Answer(BadAnswer::Unfit(why)));
            }
            Err(misfit) => {
                // Two copies of this store wrote under one actor: what the server has is the record; what
                // is only here stays here, marked.
                let (code, detail) = (Outcome::FORKED.into(), misfit.to_string());
                let apart = kept.is_apart().then_some(true);
                kept.refused = Some(Refused { code, detail, apart });
            }
        }
        documents.offer_next(group.document)?;
    }
    for Decided { document, head, outcome } in reply.decided.iter().flatten() {
        let Some(kept) = documents.get(*document)? else { continue };
        match outcome {
            // Its newest is not here any more, or came with the record: what is left hears the same when it comes again.
            outcome if !kept.pending.contains(head) => {
                let refused = matches!(outcome, Outcome::Quarantined { .. });
                let tells = !refused || !kept.document.contains(*head);
                kept.refused.take_if(|refused| tells && refused.code != Outcome::FORKED);
            }
            Outcome::Accepted {} | Outcome::LetGo {} => {
                kept.confirm(*head);
                kept.refused = None; // what was refused with it, or built on it, is offered anew
                narrowed = true; // what did not come with this page is out of sight, and may go
            }
            // What others wrote has still to be brought: what became of this is heard again with that.
            Outcome::Quarantined { .. }
                if kept.refused.is_none() && !kept.theirs(replica.profile()).is_empty() => {}
            Outcome::Quarantined { code, detail, .. } => {
                let (code, detail) = (code.clone(), detail.clone());
                let apart = (kept.refused.is_none() || kept.is_apart()).then_some(true);
                kept.refused = Some(Refused { code, detail, apart });
            }
        }
    }
    writes.extend(documents.into_writes());
    writes.extend(reply.notes.iter().cloned().map(Write::Note));
    let mut profile = replica.profile().clone();
    count(replica, &mut profile, &writes)?;
    profile.whole = reply.more.then(|| match profile.cursor {
        Some(before) => profile.whole.unwrap_or(before.sequence),
        None => {
            let kept = profile.watch.as_ref().and_then(Watch::kept);
            kept.filter(|kept| kept.life == reply.cursor.origin).map_or(0, |kept| kept.size)
        }
    });
    profile.cursor = Some(reply.cursor);
    profile.pushed.take_if(|_| restored); // which the server does not know either
    if !reply.more {
        let watch = profile.watch.get_or_insert_default();
        watch.hear(org, &reply.cursor, reply.receipt.as_ref(), reply.server_ms);
    }
    profile.filled = reply.filled;
    profile.narrowed = (profile.narrowed == Some(true) || narrowed).then_some(true);
    profile.heard(reply.server_ms, clocks);
    writes.push(Write::Profile(Box::new(profile)));
    Ok(writes)
}

/// The keys of the devices that are here or come with an answer.
pub(crate) fn keys_with<R: Replica>(replica: &R, come: &[RecordBytes]) -> Result<Keys, R::Error> {
    let device = |bytes: &&RecordBytes| {
        RecordKey::peek(&bytes.0).is_some_and(|key| key.kind == RecordKind::Device as u8)
    };
    let come = come.iter().filter(device).filter_map(|bytes| from_cbor(&bytes.0).ok());
    let mut keys = Keys::default();
    for record in come.chain(replica.records(RecordKind::Device)?) {
        if let Record::Device(device) = record {
            keys.insert(&device.key);
        }
    }
    Ok(keys)
}

pub(crate) fn check_seals<E>(org: OrgId, group: &Group, keys: &Keys) -> Result<(), Fault<E>> {
    let forged = |_| Fault::Answer(BadAnswer::Forged(group.document));
    group.check_seals(org, keys).map_err(forged)
}

/// The documents that an answer changes, each as it has left them so far.
pub(crate) struct Documents<'a, R> {
    replica: &'a R,
    changed: BTreeMap<DocId, Kept>,
}

impl<'a, R: Replica> Documents<'a, R> {
    pub(crate) fn new(replica: &'a R) -> Self {
        Self { replica, changed: BTreeMap::new() }
    }

    pub(crate) fn into_writes(self) -> impl Iterator<Item = Write> {
        self.changed.into_values().map(|kept| Write::Document(Box::new(kept)))
    }

    pub(crate) fn get(&mut self, id: DocId) -> Result<Option<&mut Kept>, R::Error> {
        if !self.changed.contains_key(&id)
            && let Some(kept) = self.replica.document(id)?
        {
            self.changed.insert(id, kept);
        }
        Ok(self.changed.get_mut(&id))
    }

    /// Something of a document was confirmed. What was refused of the volume after it, since it came too early, may have
    /// been for want of that.
    fn offer_next(&mut self, id: DocId) -> Result<(), R::Error> {
        let volume = self.get(id)?.and_then(|kept| kept.volume());
        let Some((outlet, number)) = volume.filter(|(_, number)| *number < VOLUMES_MAX) else {
            return Ok(());
        };
        let next = DocId::volume(outlet, number + 1);
        self.offer(next, |_, refused| Outcome::is_early(&refused.code))
    }

    /// Words were erased: what was refused for want of them may be taken now.
    pub(crate) fn need_no_words(&mut self, erased: &HashSet<BlobHash>) -> Result<(), R::Error> {
        if erased.is_empty() {
            return Ok(());
        }
        for id in self.replica.documents()? {
            self.offer(id, |kept, refused| {
                refused.code == Outcome::MISSING_NOTE
                    && kept.notes().iter().any(|note| erased.contains(note))
            })?;
        }
        Ok(())
    }

    /// Offers a document anew that was refused so.
    fn offer(&mut self, id: DocId, so: impl Fn(&Kept, &Refused) -> bool) -> Result<(), R::Error> {
        let so = |kept: &Kept| kept.refused.as_ref().is_some_and(|refused| so(kept, refused));
        if !self.changed.contains_key(&id)
            && let Some(kept) = self.replica.document(id)?.filter(so)
        {
            self.changed.insert(id, kept);
        }
        if let Some(kept) = self.changed.get_mut(&id).filter(|kept| so(kept)) {
            kept.refused = None;
        }
        Ok(())
    }

    /// An outlet went out of sight, with its whole history, or is in sight.
    fn set_gone(&mut self, outlet: OutletId, gone: bool) -> Result<(), R::Error> {
        for id in volumes(self.replica, outlet)? {
            if let Some(kept) = self.get(id)? {
                kept.gone = gone;
            }
        }
        Ok(())
    }

    /// The log is not the one that has confirmed what is here.
    fn unconfirm(&mut self) -> Result<(), R::Error> {
        for id in self.replica.documents()? {
            if let Some(kept) = self.get(id)? {
                kept.unconfirm();
            }
        }
        Ok(())
    }

    pub(crate) fn get_or_new(&mut self, id: DocId) -> Result<&mut Kept, R::Error> {
        self.get(id)?;
        let org = self.replica.profile().org;
        Ok(self.changed.entry(id).or_insert_with(|| Kept::new(org, id)))
    }
}

/// Takes in what fits, passes over the rest, and says why something did not fit.
pub(crate) fn merge(kept: &mut Kept, group: &Group) -> Result<(), Misfit> {
    let mut merged = Ok(());
    for change in &group.changes {
        match kept.document.insert(change.clone()) {
            Ok(()) => drop(kept.passed.remove(&change.hash())),
            Err(misfit) => {
                kept.pass_over(change.hash());
                merged = merged.and(Err(misfit));
            }
        }
    }
    (kept.gone, kept.aside, kept.astray) = (false, false, false);
    add_seals(kept, &group.seals);
    let arrived: HashSet<ChangeHash> = group.hashes().collect();
    kept.pending.retain(|hash| !arrived.contains(hash));
    let early = kept.refused.as_ref().is_some_and(|refused| Outcome::is_early(&refused.code));
    if (kept.pending.is_empty() || early) && merged.is_ok() {
        kept.refused = None; // it was accepted after all, or what it lacked may have come
    }
    merged
}

pub(crate) fn add_seals(kept: &mut Kept, seals: &[Seal]) {
    let known: BTreeSet<ChangeHash> = kept.seals.iter().map(|s| s.head).collect();
    kept.seals.extend(seals.iter().filter(|s| !known.contains(&s.head)).cloned());
}
