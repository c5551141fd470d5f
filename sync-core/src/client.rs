//! What a device holds, and how it catches up with the server. Reads go through [`Replica`]; everything to
//! write leaves as a list of [`Write`]s, which the shell commits in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use minicbor::{Decode, Encode};

use crate::cbor::from_cbor;
use crate::document::{Change, Document, Entry, Misfit, Parts};
use crate::evidence::{Cursor, Keypair, Seal};
use crate::id::{
    Actor, BlobHash, ChangeHash, DeviceId, DocId, DocKind, LogHash, OrgId, OutletId, UserId,
};
use crate::model::capture::Moment;
use crate::model::catalogue::{Record, RecordKey, RecordKind};
use crate::model::people::{Audience, Territories};
use crate::model::visit::Note;
use crate::print::{Inventory, Item, Print};
use crate::visit::Start;
use crate::wire::{
    Discarded, Filled, Group, Keys, MESSAGE_BYTES_MAX, Outcome, PROTOCOL, PullReply, PullRequest,
    PushReply, PushRequest, RecordBytes,
};

/// Bytes of entries that one push aims at: small enough that a cut connection costs little.
pub const PUSH_BYTES_AIM: usize = 512 * 1024;

/// Who a device is, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Profile {
    /// For which organisation it is enrolled.
    #[n(0)]
    pub org: OrgId,
    /// For which person.
    #[n(1)]
    pub user: UserId,
    /// As which device.
    #[n(2)]
    pub device: DeviceId,
    /// Its public key.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// As which actor this store writes.
    #[n(4)]
    pub actor: Actor,
    /// Where it stands in the organisation's log.
    #[n(5)]
    pub cursor: Option<Cursor>,
    /// The name of its newest push.
    #[n(6)]
    pub pushed: Option<LogHash>,
    /// When it last heard from the server.
    #[n(7)]
    pub witness: Option<Witness>,
    /// How far it has been given what came into its sight.
    #[n(8)]
    pub filled: Option<Filled>,
    /// Something may have gone out of its sight and still be here.
    #[n(9)]
    pub narrowed: Option<bool>,
    /// The print of what it holds; `None` while that is not known and must be counted.
    #[n(10)]
    pub held: Option<Held>,
    /// How many things a repair has mended so far.
    #[n(11)]
    pub mended: Option<u64>,
}

/// The print of what a device holds of what the server shows it, brought along with every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Held {
    /// The sum.
    #[n(0)]
    pub print: Print,
    /// When it was last counted from what is there, by the server's clock as the device knows it, in
    /// milliseconds since 1970 UTC.
    #[n(1)]
    pub counted_ms: i64,
}

/// The server's time, as a device heard it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Witness {
    /// The server's clock, in milliseconds since 1970 UTC.
    #[n(0)]
    pub server_ms: i64,
    /// The boot in which it was heard.
    #[n(1)]
    pub boot: u32,
    /// The boot clock then.
    #[n(2)]
    pub boot_ms: u64,
}

/// A device's clocks as the shell reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The wall clock, in milliseconds since 1970 UTC, however wrong.
    pub wall_ms: i64,
    /// Names the boot.
    pub boot: u32,
    /// Milliseconds since that boot, counted through suspend.
    pub boot_ms: u64,
}

impl Profile {
    /// The server's time now, as well as the device can know it: the wall clock where it knows nothing.
    pub fn server_ms(&self, clocks: &Clocks) -> i64 {
        clocks.wall_ms.saturating_add(self.skew_ms(clocks).unwrap_or(0))
    }

    fn skew_ms(&self, clocks: &Clocks) -> Option<i64> {
        let witness = self.witness.filter(|w| w.boot == clocks.boot)?;
        let since = clocks.boot_ms.checked_sub(witness.boot_ms)?;
        let server_ms = witness.server_ms.saturating_add(i64::try_from(since).ok()?);
        Some(server_ms.saturating_sub(clocks.wall_ms))
    }

    /// The moment of an entry that is written now.
    pub fn moment(&self, clocks: &Clocks) -> Moment {
        Moment {
            wall_ms: clocks.wall_ms,
            boot: clocks.boot,
            boot_ms: clocks.boot_ms,
            anchor: self.cursor.map_or(0, |c| c.sequence),
            skew_ms: self.skew_ms(clocks),
            life: self.cursor.map(|c| c.origin.life()),
        }
    }

    fn heard(&mut self, server_ms: i64, clocks: &Clocks) {
        let Clocks { boot, boot_ms, .. } = *clocks;
        self.witness = Some(Witness { server_ms, boot, boot_ms });
    }
}

/// A document on a device, with what the server has not confirmed yet.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The document.
    pub document: Document,
    /// The seals that came with other people's changes.
    pub seals: Vec<Seal>,
    /// The changes that the server has not confirmed: this device's own and, after a server has lost part of
    /// its log, others'.
    pub pending: Vec<ChangeHash>,
    /// Why the server refused the pending changes, if it did.
    pub refused: Option<Refused>,
    /// Its outlet went out of sight.
    pub gone: bool,
    /// The server has changes of it that had no place here.
    pub behind: bool,
    /// Which, as far as that was written down.
    pub passed: BTreeSet<ChangeHash>,
    /// The server does not show it: nothing of it counts as held.
    pub aside: bool,
    /// What counted of it when it was read from the store.
    counted: Print,
}

/// Why the server refused a document's pending changes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Refused {
    /// A stable name.
    #[n(0)]
    pub code: String,
    /// In words.
    #[n(1)]
    pub detail: String,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct KeptBytes {
    #[n(0)]
    changes: Vec<(ChangeHash, Parts)>,
    #[n(1)]
    seals: Vec<Seal>,
    #[n(2)]
    pending: Vec<ChangeHash>,
    #[n(3)]
    refused: Option<Refused>,
    #[n(4)]
    gone: Option<bool>,
    #[n(5)]
    behind: Option<bool>,
    #[n(6)]
    passed: Option<Vec<ChangeHash>>,
    #[n(7)]
    aside: Option<bool>,
}

fn print(
    here: impl Iterator<Item = ChangeHash>,
    pending: &[ChangeHash],
    passed: impl Iterator<Item = ChangeHash>,
    aside: bool,
) -> Print {
    if aside {
        return Print::default();
    }
    let pending: HashSet<ChangeHash> = pending.iter().copied().collect();
    let here = here.filter(|hash| !pending.contains(hash));
    here.chain(passed).map(Print::of_change).sum()
}

impl Kept {
    /// A document that nobody has written to.
    pub fn new(org: OrgId, id: DocId) -> Self {
        let document = Document::new(org, id);
        Self {
            document,
            seals: Vec::new(),
            pending: Vec::new(),
            refused: None,
            gone: false,
            behind: false,
            passed: BTreeSet::new(),
            aside: false,
            counted: Print::default(),
        }
    }

    /// For the store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let changes = self.document.changes().iter();
        crate::cbor::to_cbor(&KeptBytes {
            changes: changes.map(|c| (c.hash(), Parts::clone(c))).collect(),
            seals: self.seals.clone(),
            pending: self.pending.clone(),
            refused: self.refused.clone(),
            gone: self.gone.then_some(true),
            behind: self.behind.then_some(true),
            passed: (!self.passed.is_empty()).then(|| self.passed.iter().copied().collect()),
            aside: self.aside.then_some(true),
        })
    }

    /// From the store; `None` for bytes that are not a kept document.
    pub fn from_bytes(org: OrgId, id: DocId, bytes: &[u8]) -> Option<Self> {
        let read: KeptBytes = from_cbor(bytes).ok()?;
        let mut document = Document::new(org, id);
        for (hash, parts) in read.changes {
            document.insert(Change::kept(hash, parts)).ok()?;
        }
        let mut kept = Self {
            document,
            seals: read.seals,
            pending: read.pending,
            refused: read.refused,
            gone: read.gone == Some(true),
            behind: read.behind == Some(true),
            passed: read.passed.into_iter().flatten().collect(),
            aside: read.aside == Some(true),
            counted: Print::default(),
        };
        kept.counted = kept.print();
        Some(kept)
    }

    /// The print of what counts of it as held: what the server has confirmed or sent, also what had no place here.
    pub fn print(&self) -> Print {
        let here = self.document.changes().iter().map(Change::hash);
        print(here, &self.pending, self.passed.iter().copied(), self.aside)
    }

    /// The same of a document as it is kept, without reading more than that takes; `None` for other bytes.
    pub fn print_of(bytes: &[u8]) -> Option<Print> {
        let read: KeptBytes = from_cbor(bytes).ok()?;
        let here = read.changes.iter().map(|(hash, _)| *hash);
        let passed = read.passed.into_iter().flatten();
        Some(print(here, &read.pending, passed, read.aside == Some(true)))
    }

    /// Who may see it, as far as the document itself says: more than one audience where its outlet moved while
    /// people began it.
    pub fn audiences(&self) -> Vec<Audience> {
        match self.document.id().kind {
            DocKind::Visit => Start::all(&self.document).map(|start| start.audience()).collect(),
            DocKind::Outlet => {
                let entries = self.document.changes().iter().filter_map(|c| c.entry().ok());
                let mut reports = entries.filter_map(|entry| match entry {
                    Entry::Report(report) => Some(report.audience()),
                    _ => None,
                });
                reports.next().into_iter().collect()
            }
        }
    }

    /// The notes that its entries name.
    pub fn notes(&self) -> Vec<BlobHash> {
        let entries = self.document.changes().iter().filter_map(|c| c.entry().ok());
        entries.flat_map(|entry| entry.notes()).collect()
    }

    /// The photos that its entries name.
    pub fn photos(&self) -> Vec<BlobHash> {
        let entries = self.document.changes().iter().filter_map(|c| c.entry().ok());
        entries.flat_map(|e| e.photos().iter().map(|p| p.hash).collect::<Vec<_>>()).collect()
    }

    /// The document as the server has confirmed it.
    pub fn confirmed(&self) -> Self {
        let mut left = Self::new(self.document.org(), self.document.id());
        let pending: HashSet<ChangeHash> = self.pending.iter().copied().collect();
        (left.gone, left.behind, left.aside) = (self.gone, self.behind, self.aside);
        (left.passed, left.counted) = (self.passed.clone(), self.counted);
        let changes = self.document.changes().iter();
        for change in changes.filter(|change| !pending.contains(&change.hash())) {
            if left.document.insert(change.clone()).is_err() {
                left.pass_over(change.hash());
            }
        }
        left.seals = self.seals.clone();
        left
    }

    /// The server has this, and it has no place here.
    fn pass_over(&mut self, hash: ChangeHash) {
        self.behind = true;
        self.passed.insert(hash);
    }

    /// It is read anew from the beginning: what has no place here will show again.
    pub(crate) fn forget_passed(&mut self) {
        self.behind = false;
        self.passed.clear();
    }

    /// The confirmed change that says what this one says: the same person at the same moment.
    pub fn said_before(&self, change: &Change) -> Option<ChangeHash> {
        let entry = change.entry().ok()?;
        let said = self.document.said_at(&entry).find(|hash| !self.pending.contains(hash));
        said.filter(|hash| *hash != change.hash())
    }

    /// Whether all that waits here was approved meanwhile as it was proposed first.
    fn said_again(&self, key: &[u8; 32]) -> bool {
        let waits = |hash: &ChangeHash| {
            let change = self.document.change(*hash);
            change.is_some_and(|c| c.actor.belongs_to(key) && self.said_before(c).is_some())
        };
        self.refused.as_ref().is_some_and(|refused| refused.code == "approved_meanwhile")
            && self.pending.iter().all(waits)
    }

    /// Whether the server still has to hear of something here.
    pub fn to_push(&self) -> bool {
        !self.pending.is_empty() && self.refused.is_none()
    }
}

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
    /// A document, if anything of it is here.
    fn document(&self, id: DocId) -> Result<Option<Kept>, Self::Error>;
    /// The documents with something to push, oldest first.
    fn outbox(&self) -> Result<Vec<DocId>, Self::Error>;
    /// Every document.
    fn documents(&self) -> Result<Vec<DocId>, Self::Error>;
    /// A note's words.
    fn note(&self, digest: BlobHash) -> Result<Option<Note>, Self::Error>;
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
    /// A document that went out of sight: forget it, with its words and its photos.
    Purge(Box<Kept>),
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
            Write::ForgetRecords => {
                profile.held = None;
                return Ok(());
            }
            Write::Note(_) | Write::Profile(_) => {}
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

/// The next push: as much of the outbox as fits one message. `None` when there is nothing to push.
pub fn next_push<R: Replica>(
    replica: &R,
    keypair: &Keypair,
    clocks: &Clocks,
) -> Result<Option<PushRequest>, R::Error> {
    let profile = replica.profile();
    let (mut groups, mut notes, mut bytes) = (Vec::new(), BTreeMap::new(), 0);
    for id in replica.outbox()? {
        let Some(kept) = replica.document(id)?.filter(Kept::to_push) else { continue };
        let pending: HashSet<ChangeHash> = kept.pending.iter().copied().collect();
        let changes: Vec<Change> = kept
            .document
            .changes()
            .iter()
            .filter(|c| pending.contains(&c.hash()))
            .cloned()
            .collect();
        for digest in changes.iter().filter_map(|c| c.entry().ok()).flat_map(|e| e.notes()) {
            if let Some(note) = replica.note(digest)? {
                bytes += note.text.len() + 32;
                notes.insert(digest, note);
            }
        }
        bytes += changes.iter().map(|c| c.value.len() + 128).sum::<usize>();
        if !groups.is_empty() && bytes > PUSH_BYTES_AIM {
            break;
        }
        if changes.is_empty() {
            continue;
        }
        let mut seals: Vec<Seal> = heads(&changes, &profile.key)
            .into_iter()
            .map(|head| keypair.seal(profile.org, id, head))
            .collect();
        let foreign = changes.iter().filter(|c| !c.actor.belongs_to(&profile.key));
        let foreign: HashSet<ChangeHash> = foreign.map(Change::hash).collect();
        seals.extend(kept.seals.iter().filter(|s| foreign.contains(&s.head)).cloned());
        groups.push(Group { document: id, changes, seals });
        if bytes > MESSAGE_BYTES_MAX / 2 || groups.len() >= crate::wire::GROUPS_MAX {
            break;
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
    let mut writes = Vec::new();
    for (group, outcome) in push.groups.iter().zip(&reply.outcomes) {
        let Some(mut kept) = replica.document(group.document)? else { continue };
        match outcome {
            Outcome::Accepted {} => {
                let sent: HashSet<ChangeHash> = group.hashes().collect();
                kept.pending.retain(|hash| !sent.contains(hash));
                add_seals(&mut kept, group);
            }
            Outcome::Quarantined { code, detail } => {
                kept.refused = Some(Refused { code: code.clone(), detail: detail.clone() });
            }
        }
        writes.push(Write::Document(Box::new(kept)));
    }
    let mut profile = replica.profile().clone();
    count(replica, &mut profile, &writes)?;
    profile.pushed = Some(reply.push);
    profile.heard(reply.server_ms, clocks);
    writes.push(Write::Profile(Box::new(profile)));
    Ok(writes)
}

/// The next pull.
pub fn next_pull(profile: &Profile) -> PullRequest {
    let Profile { cursor, pushed, filled, .. } = *profile;
    PullRequest { protocol: PROTOCOL, cursor, pushed, filled }
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
    let mut writes = Vec::new();
    if replica.profile().cursor.is_none() {
        // After a rewind: what the server no longer knows is not listed any more.
        writes.push(Write::ForgetRecords);
    }
    let mut narrowed = false;
    let mut documents = Documents::new(replica);
    for key in reply.gone.iter().flatten() {
        narrowed = true;
        writes.push(Write::Forget(*key));
        if key.kind == RecordKind::Outlet as u8
            && let Some(kept) = documents.get(OutletId::from_bytes(key.id).into())?
        {
            kept.gone = true;
        }
    }
    for bytes in &reply.records {
        let key = RecordKey::peek(&bytes.0)
            .ok_or_else(|| Fault::Answer(BadAnswer::Unfit("a record has no key".into())))?;
        match from_cbor(&bytes.0) {
            Ok(Record::Person(person)) => narrowed |= person.id == replica.profile().user,
            Ok(Record::Territory(_)) => narrowed = true,
            Ok(Record::Outlet(outlet)) => {
                if let Some(kept) = documents.get(outlet.id.into())? {
                    kept.gone = false;
                }
            }
            _ => {}
        }
        writes.push(Write::Record(key, bytes.clone()));
    }
    let keys = match reply.groups.is_empty() {
        true => Keys::default(),
        false => keys_with(replica, &reply.records)?,
    };
    let (org, own_key) = (replica.profile().org, replica.profile().key);
    for group in &reply.groups {
        check_seals(org, group, &keys)?;
        let kept = documents.get_or_new(group.document)?;
        match merge(kept, group) {
            // What was proposed again is in the record already, as it was proposed first.
            Ok(()) if kept.said_again(&own_key) => *kept = kept.confirmed(),
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
                kept.refused = Some(Refused { code: "forked".into(), detail: misfit.to_string() });
            }
        }
    }
    for Discarded { document, head, detail } in reply.discarded.iter().flatten() {
        if let Some(kept) = documents.get(*document)?
            && kept.pending.contains(head)
        {
            kept.refused = Some(Refused { code: "discarded".into(), detail: detail.clone() });
        }
    }
    writes.extend(documents.into_writes());
    writes.extend(reply.notes.iter().cloned().map(Write::Note));
    let mut profile = replica.profile().clone();
    count(replica, &mut profile, &writes)?;
    profile.cursor = Some(reply.cursor);
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

    pub(crate) fn get_or_new(&mut self, id: DocId) -> Result<&mut Kept, R::Error> {
        self.get(id)?;
        let org = self.replica.profile().org;
        Ok(self.changed.entry(id).or_insert_with(|| Kept::new(org, id)))
    }
}

/// Begins anew after the server forgot where the device stands: it was restored from a backup. Everything here
/// counts as unconfirmed, others' work with its seals too, until a pull from the beginning has shown what the
/// server still has; the rest is then pushed back.
pub fn rewind<R: Replica>(replica: &R) -> Result<Vec<Write>, R::Error> {
    let mut profile = replica.profile().clone();
    (profile.cursor, profile.pushed, profile.filled, profile.held) = (None, None, None, None);
    let mut writes = vec![Write::Profile(Box::new(profile))];
    for id in replica.documents()? {
        let Some(mut kept) = replica.document(id)? else { continue };
        // The server judges all of it again, together with what it has lost.
        if kept.refused.as_ref().is_some_and(|refused| refused.code != "forked") {
            kept.refused = None;
        }
        kept.pending = kept.document.changes().iter().map(Change::hash).collect();
        kept.forget_passed();
        writes.push(Write::Document(Box::new(kept)));
    }
    Ok(writes)
}

/// Drops what has gone out of the person's sight, once all of it is confirmed. To be asked after the last page of
/// a pull. Should some of it ever come back, its place in the author's numbering is forgotten: so the device
/// writes as a new actor from then on, whose second half is `instance`, drawn by chance.
pub fn sweep<R: Replica>(replica: &R, instance: [u8; 8]) -> Result<Vec<Write>, R::Error> {
    let mut profile = replica.profile().clone();
    if profile.narrowed.is_none() {
        return Ok(Vec::new());
    }
    let rights = match replica.record(RecordKey::person(profile.user))? {
        Some(Record::Person(person)) => person.rights(),
        _ => None,
    };
    // Somebody who was let go keeps what there is: unsent work may still be asked for.
    let Some(rights) = rights else { return Ok(Vec::new()) };
    let mut tree = Territories::default();
    for record in replica.records(RecordKind::Territory)? {
        if let Record::Territory(territory) = record {
            tree.insert(territory.id, territory.parent);
        }
    }
    let mut writes = Vec::new();
    let (mut outlets, mut hidden) = (HashMap::new(), HashSet::new());
    for record in replica.records(RecordKind::Outlet)? {
        if let Record::Outlet(outlet) = &record {
            match rights.sees(&tree, &outlet.audience()) {
                true => drop(outlets.insert(outlet.id, outlet.audience())),
                false => {
                    hidden.insert(DocId::from(outlet.id));
                    writes.push(Write::Forget(record.key()));
                }
            }
        }
    }
    for record in replica.records(RecordKind::Call)? {
        if matches!(&record, Record::Call(call) if !outlets.contains_key(&call.outlet)) {
            writes.push(Write::Forget(record.key()));
        }
    }
    let mut waiting = false;
    for id in replica.documents()? {
        let Some(mut kept) = replica.document(id)? else { continue };
        let listed = outlets.get(&OutletId::from_bytes(id.id)).copied();
        let audiences = listed.map_or_else(|| kept.audiences(), |audience| vec![audience]);
        let seen = audiences.iter().any(|audience| rights.sees(&tree, audience));
        if seen && !kept.gone && !hidden.contains(&id) {
            continue;
        }
        match kept.pending.is_empty() {
            true => {
                if kept.document.newest_of(profile.actor).is_some() {
                    profile.actor = Actor::new(&profile.key, instance);
                }
                writes.push(Write::Purge(Box::new(kept)));
            }
            false => {
                waiting |= kept.to_push();
                if !kept.aside {
                    kept.aside = true;
                    writes.push(Write::Document(Box::new(kept)));
                }
            }
        }
    }
    count(replica, &mut profile, &writes)?;
    profile.narrowed = waiting.then_some(true);
    writes.push(Write::Profile(Box::new(profile)));
    Ok(writes)
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
    (kept.gone, kept.aside) = (false, false);
    add_seals(kept, group);
    let arrived: HashSet<ChangeHash> = group.hashes().collect();
    kept.pending.retain(|hash| !arrived.contains(hash));
    if kept.pending.is_empty() && merged.is_ok() {
        kept.refused = None; // it was accepted after all
    }
    merged
}

fn add_seals(kept: &mut Kept, group: &Group) {
    let known: BTreeSet<ChangeHash> = kept.seals.iter().map(|s| s.head).collect();
    kept.seals.extend(group.seals.iter().filter(|s| !known.contains(&s.head)).cloned());
}
