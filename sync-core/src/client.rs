//! What a device holds, and how it catches up with the server. Reads go through [`Replica`]; everything to
//! write leaves as a list of [`Write`]s, which the shell commits in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use minicbor::{Decode, Encode};

use crate::cbor::from_cbor;
use crate::document::{Change, Document, Misfit, Parts};
use crate::evidence::{Cursor, Keypair, Seal};
use crate::id::{Actor, BlobHash, ChangeHash, DeviceId, DocId, LogHash, OrgId, UserId};
use crate::model::capture::Moment;
use crate::model::catalogue::{Record, RecordKey, RecordKind};
use crate::model::visit::Note;
use crate::wire::{
    Group, MESSAGE_BYTES_MAX, Outcome, PROTOCOL, PullReply, PullRequest, PushReply, PushRequest,
    RecordBytes,
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
    /// This device's changes that the server has not confirmed, in order.
    pub pending: Vec<ChangeHash>,
    /// Why the server refused the pending changes, if it did.
    pub refused: Option<Refused>,
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
}

impl Kept {
    /// A document that nobody has written to.
    pub fn new(org: OrgId, id: DocId) -> Self {
        let document = Document::new(org, id);
        Self { document, seals: Vec::new(), pending: Vec::new(), refused: None }
    }

    /// For the store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let changes = self.document.changes().iter();
        crate::cbor::to_cbor(&KeptBytes {
            changes: changes.map(|c| (c.hash(), Parts::clone(c))).collect(),
            seals: self.seals.clone(),
            pending: self.pending.clone(),
            refused: self.refused.clone(),
        })
    }

    /// From the store; `None` for bytes that are not a kept document.
    pub fn from_bytes(org: OrgId, id: DocId, bytes: &[u8]) -> Option<Self> {
        let KeptBytes { changes, seals, pending, refused } = from_cbor(bytes).ok()?;
        let mut document = Document::new(org, id);
        for (hash, parts) in changes {
            document.insert(Change::kept(hash, parts)).ok()?;
        }
        Some(Self { document, seals, pending, refused })
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
        let seals = heads(&changes).into_iter().map(|head| keypair.seal(profile.org, id, head));
        let seals = seals.collect();
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

/// The changes from which all of `changes`, each after its parents, are reached without leaving them: one,
/// unless other people's changes lie between a device's own.
fn heads(changes: &[Change]) -> Vec<ChangeHash> {
    let (mut heads, mut reached) = (Vec::new(), HashSet::new());
    for change in changes.iter().rev() {
        if !reached.contains(&change.hash()) {
            heads.push(change.hash());
        }
        reached.extend(change.deps.iter().copied());
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
            Outcome::Accepted => {
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
    profile.pushed = Some(reply.push);
    profile.heard(reply.server_ms, clocks);
    writes.push(Write::Profile(Box::new(profile)));
    Ok(writes)
}

/// The next pull.
pub fn next_pull(profile: &Profile) -> PullRequest {
    PullRequest { protocol: PROTOCOL, cursor: profile.cursor, pushed: profile.pushed }
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
    let mut keys = Keys::default();
    for bytes in &reply.records {
        let key = RecordKey::peek(&bytes.0)
            .ok_or_else(|| Fault::Answer(BadAnswer::Unfit("a record has no key".into())))?;
        if let Ok(Record::Device(device)) = from_cbor(&bytes.0) {
            keys.insert(&device.key);
        }
        writes.push(Write::Record(key, bytes.clone()));
    }
    if !reply.groups.is_empty() {
        for record in replica.records(RecordKind::Device)? {
            if let Record::Device(device) = record {
                keys.insert(&device.key);
            }
        }
    }
    let org = replica.profile().org;
    for group in &reply.groups {
        let mut kept =
            replica.document(group.document)?.unwrap_or_else(|| Kept::new(org, group.document));
        verify(&keys, org, group).map_err(Fault::Answer)?;
        match merge(&mut kept, group) {
            Ok(()) => writes.push(Write::Document(Box::new(kept))),
            // What builds on the record has no place in a copy that went its own way.
            Err(Misfit::MissingParent(_)) if kept.refused.is_some() => {
                writes.push(Write::Document(Box::new(kept)));
            }
            Err(misfit @ Misfit::MissingParent(_)) => {
                let why = format!("{}: {misfit}", group.document);
                return Err(Fault::Answer(BadAnswer::Unfit(why)));
            }
            Err(misfit) => {
                // Two copies of this store wrote under one actor: what the server has is the record; what
                // is only here stays here, marked.
                kept.refused = Some(Refused { code: "forked".into(), detail: misfit.to_string() });
                writes.push(Write::Document(Box::new(kept)));
            }
        }
    }
    writes.extend(reply.notes.iter().cloned().map(Write::Note));
    let mut profile = replica.profile().clone();
    profile.cursor = Some(reply.cursor);
    profile.heard(reply.server_ms, clocks);
    writes.push(Write::Profile(Box::new(profile)));
    Ok(writes)
}

/// Begins anew after the server forgot where the device stands (it was restored from a backup): pull from
/// the start, and push everything of one's own again. What the server still has it takes as a repetition.
pub fn rewind<R: Replica>(replica: &R) -> Result<Vec<Write>, R::Error> {
    let mut profile = replica.profile().clone();
    (profile.cursor, profile.pushed) = (None, None);
    let mut writes = vec![Write::Profile(Box::new(profile))];
    let key = replica.profile().key;
    for id in replica.documents()? {
        let Some(mut kept) = replica.document(id)? else { continue };
        let own = kept.document.changes().iter().filter(|c| c.actor.belongs_to(&key));
        kept.pending = own.map(Change::hash).collect();
        // These said only that the server lacked something then.
        let lacking = |r: &Refused| matches!(r.code.as_str(), "missing_parent" | "missing_note");
        if kept.refused.as_ref().is_some_and(lacking) {
            kept.refused = None;
        }
        if !kept.pending.is_empty() {
            writes.push(Write::Document(Box::new(kept)));
        }
    }
    Ok(writes)
}

fn merge(kept: &mut Kept, group: &Group) -> Result<(), Misfit> {
    for change in &group.changes {
        kept.document.insert(change.clone())?;
    }
    add_seals(kept, group);
    let arrived: HashSet<ChangeHash> = group.hashes().collect();
    kept.pending.retain(|hash| !arrived.contains(hash));
    if kept.pending.is_empty() {
        kept.refused = None; // it was accepted after all
    }
    Ok(())
}

fn add_seals(kept: &mut Kept, group: &Group) {
    let known: BTreeSet<ChangeHash> = kept.seals.iter().map(|s| s.head).collect();
    kept.seals.extend(group.seals.iter().filter(|s| !known.contains(&s.head)).cloned());
}

/// Public keys by their fingerprints.
#[derive(Default)]
struct Keys(HashMap<[u8; 8], [u8; 32]>);

impl Keys {
    fn insert(&mut self, key: &[u8; 32]) {
        self.0.insert(Actor::fingerprint(key), *key);
    }

    fn of(&self, actor: Actor) -> Option<&[u8; 32]> {
        self.0.get(&actor.as_bytes()[..8])
    }
}

fn verify(keys: &Keys, org: OrgId, group: &Group) -> Result<(), BadAnswer> {
    let forged = || BadAnswer::Forged(group.document);
    let changes: HashMap<ChangeHash, &Change> =
        group.changes.iter().map(|c| (c.hash(), c)).collect();
    let mut covered: HashSet<ChangeHash> = HashSet::new();
    for seal in &group.seals {
        let signer = changes.get(&seal.head).and_then(|c| keys.of(c.actor)).ok_or_else(forged)?;
        if !seal.verify(signer, org, group.document) {
            return Err(forged());
        }
        // A signature counts for its signer's own changes only.
        let mut open = vec![seal.head];
        let mut seen = HashSet::new();
        while let Some(hash) = open.pop() {
            if let Some(change) = changes.get(&hash).filter(|_| seen.insert(hash)) {
                if change.actor.belongs_to(signer) {
                    covered.insert(hash);
                }
                open.extend(&change.deps);
            }
        }
    }
    if covered.len() == changes.len() { Ok(()) } else { Err(forged()) }
}
