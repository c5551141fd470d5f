//! The proof bundle: all that shows to anybody, without a network, what a visit says, who signed it and when the log
//! took it in. docs/proof-bundle.md is the norm.
//!
//! A bundle is made by checking it: [`build`] packs what was found sound, and the summary that people read
//! is what the check says of the rest.

mod summary;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use minicbor::{Decode, Encode};

use crate::cbor::{from_cbor, to_cbor};
use crate::document::{Change, Document, Entry, Parts};
use crate::evidence::{Keypair, Leaf, LogKey, Seal};
use crate::id::{BlobHash, DeviceId, DocId, LogHash, LogOrigin, OrgId, VisitId};
use crate::model::capture::Moment;
use crate::model::catalogue::{Device, Record, RecordKey};
use crate::model::visit::Note;
use crate::tlog::{Checkpoint, NoteKey, SignedNote, Signs, includes, leaf_hash};
use crate::visit::Visit;
use crate::wire::{Group, Keys};
use crate::zip;
use summary::{Index, Story, Told, plain};

/// The version of the format.
pub const VERSION: u32 = 8;
/// The folder of the photos in a bundle.
const PHOTOS: &str = "photos/";
/// The files of every bundle, in their order; photos come after them.
const SUMMARY: &str = "summary.txt";
const CHECKPOINT: &str = "checkpoint.txt";
const PROOF: &str = "proof.cbor";
const CONTENTS: &str = "contents.txt";

/// What is proved, beside the checkpoint and the photos.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proof {
    /// [`VERSION`].
    #[n(0)]
    pub version: u32,
    /// Of which organisation.
    #[n(1)]
    pub org: OrgId,
    /// Which visit.
    #[n(2)]
    pub visit: VisitId,
    /// The key that signs the log's checkpoints.
    #[n(3)]
    pub key: LogKey,
    /// Lines of the log, ascending.
    #[n(4)]
    pub lines: Vec<Line>,
    /// The words of comments and answers, by digest; without those that were erased.
    #[n(5)]
    pub notes: Vec<Note>,
    /// The keys of the witnesses whose signatures the checkpoint has, in their order there.
    #[n(6)]
    pub witnesses: Vec<String>,
}

/// A line of the log with the proof that it is there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Line {
    /// Its place.
    #[n(0)]
    pub sequence: u64,
    /// The leaf's CBOR.
    #[n(1)]
    pub leaf: Bytes,
    /// The proof (RFC 9162, 2.1.3.1).
    #[n(2)]
    pub path: Vec<LogHash>,
    /// What the leaf is the hash of: a change's parts, or a record; absent if only its time matters.
    #[n(3)]
    pub body: Option<Bytes>,
    /// A record's salt.
    #[n(4)]
    pub salt: Option<Bytes>,
    /// The signature that names a change as head, if one does.
    #[n(5)]
    pub seal: Option<Bytes>,
}

/// Bytes as they are.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Bytes(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub Vec<u8>,
);

/// What is wrong with a bundle, in words that name the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub String);

fn wrong<T>(what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(what.into()))
}

/// A bundle that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// What it says, and what is proved of it and what is not, in words.
    pub summary: String,
    /// The checkpoint that all is in.
    pub checkpoint: Checkpoint,
    /// The key that signed it: whether that is the log's only its reader knows.
    pub key: NoteKey,
    /// The witnesses that signed it too, and at which second.
    pub witnesses: Vec<(NoteKey, u64)>,
}

/// Packs a bundle, if it is sound, and signs with the log's key for its being all of it. The photos are given in any
/// order.
pub fn build(
    proof: &Proof,
    checkpoint: &SignedNote,
    photos: &BTreeMap<BlobHash, Vec<u8>>,
    pair: &Keypair,
) -> Result<Vec<u8>, Wrong> {
    let photos: Vec<(BlobHash, &[u8])> = photos.iter().map(|(h, b)| (*h, b.as_slice())).collect();
    if let Some((hash, _)) = photos.iter().find(|(hash, bytes)| BlobHash::of(bytes) != *hash) {
        return wrong(format!("the photo {hash} is another picture"));
    }
    if proof.key.0 != pair.public() {
        return wrong("the log's key is another one");
    }
    let Proved { summary, key, .. } = check(proof, checkpoint, &photos)?;
    let (note, cbor) = (checkpoint.to_string(), to_cbor(proof));
    let mut files = vec![
        (SUMMARY.to_owned(), summary.as_bytes()),
        (CHECKPOINT.to_owned(), note.as_bytes()),
        (PROOF.to_owned(), cbor.as_slice()),
    ];
    files.extend(photos.iter().map(|(hash, bytes)| (photo_name(*hash, bytes), *bytes)));
    let contents = SignedNote::sign(contents(proof, &files), &key, pair).to_string();
    files.insert(3, (CONTENTS.to_owned(), contents.as_bytes()));
    zip::write(&files).ok_or_else(|| Wrong("there is more than a bundle holds".into()))
}

/// What the log's key signs: of which visit a bundle is, and each of its files, as `sha256sum` writes them.
fn contents<N: AsRef<str>>(proof: &Proof, files: &[(N, &[u8])]) -> String {
    let mut text = format!("endcap.proof/{}/{}\n", proof.org, proof.visit);
    for (name, bytes) in files {
        text.push_str(&format!("{}  {}\n", BlobHash::of(bytes), name.as_ref()));
    }
    text
}

/// Whether the log's key has signed that a bundle holds these files and no others.
fn check_contents(signed: &[u8], expected: String, key: &NoteKey) -> Result<(), Wrong> {
    let read = std::str::from_utf8(signed).ok().and_then(|note| note.rsplit_once("\n\n"));
    let Some((listed, signature)) = read else {
        return wrong(format!("{CONTENTS}: is no signed note"));
    };
    let named: BTreeSet<&str> = listed.lines().collect();
    let here: BTreeSet<&str> = expected.lines().collect();
    if let Some(absent) = named.difference(&here).next() {
        let absent: String = absent.chars().take(160).collect();
        return wrong(format!("{CONTENTS}: names what is not here: {}", absent.escape_debug()));
    }
    if let Some(added) = here.difference(&named).next() {
        return wrong(format!("{CONTENTS}: does not name what is here: {added}"));
    }
    let note = SignedNote::unsigned(expected).with(signature, key);
    match note.is_some_and(|note| note.to_string().as_bytes() == signed) {
        true => Ok(()),
        false => wrong(format!("{CONTENTS}: the log's key has not signed it")),
    }
}

/// Checks a bundle, every byte of it.
pub fn verify(bundle: &[u8]) -> Result<Proved, Wrong> {
    let files = zip::read(bundle).map_err(Wrong)?;
    let [summary, checkpoint, proof, signed, photos @ ..] = files.as_slice() else {
        return wrong("it does not hold what a bundle holds");
    };
    for ((name, _), expected) in
        [summary, checkpoint, proof, signed].into_iter().zip([SUMMARY, CHECKPOINT, PROOF, CONTENTS])
    {
        if name != expected {
            return wrong(format!("{expected} is not where it should be"));
        }
    }
    let note = std::str::from_utf8(checkpoint.1).ok().and_then(|text| text.parse().ok());
    let Some(note) = note.filter(|note: &SignedNote| note.to_string().as_bytes() == checkpoint.1)
    else {
        return wrong(format!("{CHECKPOINT}: is no signed note"));
    };
    let read: Proof = from_cbor(proof.1).map_err(|error| Wrong(format!("{PROOF}: {error}")))?;
    if to_cbor(&read) != proof.1 {
        return wrong(format!("{PROOF}: is not in its one form"));
    }
    let mut pictures = Vec::new();
    for (name, bytes) in photos {
        let hash = BlobHash::of(bytes);
        if *name != photo_name(hash, bytes) {
            return wrong(format!("{}: is another picture", name.escape_debug()));
        }
        if pictures.last().is_some_and(|(before, _)| *before >= hash) {
            return wrong(format!("{name}: the photos are not in their order"));
        }
        pictures.push((hash, *bytes));
    }
    let proved = check(&read, &note, &pictures)?;
    if proved.summary.as_bytes() != summary.1 {
        return wrong(format!("{SUMMARY}: does not say what the rest proves"));
    }
    let expected = files.iter().filter(|(name, _)| *name != CONTENTS).cloned();
    check_contents(signed.1, contents(&read, &expected.collect::<Vec<_>>()), &proved.key)?;
    Ok(proved)
}

/// Where the photos are in a bundle that [`build`] has made, in order.
pub fn photos_in(bundle: &[u8]) -> Vec<(BlobHash, Range<usize>)> {
    let files = zip::read(bundle).unwrap_or_default();
    let photos = files.iter().filter_map(|(name, bytes)| {
        let hash = name.strip_prefix(PHOTOS)?.split('.').next()?.parse().ok()?;
        let begins = bytes.as_ptr().addr() - bundle.as_ptr().addr();
        Some((hash, begins..begins + bytes.len()))
    });
    photos.collect()
}

fn photo_name(hash: BlobHash, bytes: &[u8]) -> String {
    let kind = match bytes {
        [0xff, 0xd8, ..] => "jpg",
        [0x89, b'P', b'N', b'G', ..] => "png",
        [b'R', b'I', b'F', b'F', ..] => "webp",
        _ => "bin",
    };
    format!("{PHOTOS}{hash}.{kind}")
}

/// How many lines of the log a device knew at a moment, at a time when there were `size`. `lives` names the lives of the
/// log and where each begins, later ones than that too. Lines that were lost in a restore count as far as the log is
/// still the same; lines that there were not yet never do.
pub fn known_at(lives: &[(u32, u64)], size: u64, when: &Moment) -> u64 {
    let Some(life) = when.life else { return when.anchor.min(size) };
    let Some(place) = lives.iter().rposition(|(name, _)| *name == life) else { return 0 };
    let end = lives.get(place + 1).map_or(size, |(_, begins)| *begins);
    when.anchor.min(end).min(size)
}

/// A change of the visit, as a line of the log has it.
struct Written {
    sequence: u64,
    change: Change,
    entry: Option<Entry>,
    device: Device,
    received_ms: i64,
    /// When the line was written that its device says to have known.
    earliest_ms: Option<i64>,
    /// It knew some lines of a life of which a restore has left none.
    lost: bool,
}

/// What the lines say, each of them proved to be in the log.
#[derive(Default)]
struct Lines {
    lives: Vec<(u32, u64)>,
    /// The newest life, and the key that it names.
    newest: Option<(LogOrigin, LogKey)>,
    times: BTreeMap<u64, i64>,
    records: BTreeMap<RecordKey, Vec<(u64, Record)>>,
    /// The records of which nothing is here but their leaves.
    bare: Vec<(u64, RecordKey)>,
    /// The decisions on work for this visit, and the confirmations of keys.
    acts: Vec<(u64, Leaf)>,
}

impl Lines {
    /// The newest version of a record before a line, or else the first.
    fn record(&self, key: RecordKey, before: u64) -> Option<&Record> {
        let versions = self.records.get(&key)?;
        let older = versions.iter().rev().find(|(sequence, _)| *sequence < before);
        older.or(versions.first()).map(|(_, record)| record)
    }

    fn device(&self, id: DeviceId) -> Option<&Device> {
        match self.record(RecordKey::device(id), u64::MAX)? {
            Record::Device(device) => Some(device),
            _ => None,
        }
    }
}

/// Checks what is in a bundle, and says in words what it proves.
fn check(proof: &Proof, note: &SignedNote, photos: &[(BlobHash, &[u8])]) -> Result<Proved, Wrong> {
    if proof.version != VERSION {
        let version = proof.version;
        return wrong(format!("{PROOF}: is of version {version}; this program knows {VERSION}"));
    }
    let open = Checkpoint::open(note, proof.key.0);
    let checkpoint = open.map_err(|bad| Wrong(format!("{CHECKPOINT}: {bad}")))?;
    if checkpoint.org != proof.org {
        return wrong(format!("{CHECKPOINT}: is of another organisation"));
    }
    let mut witnesses = Vec::new();
    for vkey in &proof.witnesses {
        let key: NoteKey =
            vkey.parse().map_err(|bad| Wrong(format!("{PROOF}: a witness's key: {bad}")))?;
        let name = plain(key.name());
        if key.signs() != Signs::Cosignature {
            return wrong(format!("{PROOF}: the key of {name} is not that of a witness"));
        }
        let Some(seconds) = note.signed_by(&key) else {
            return wrong(format!("{CHECKPOINT}: {name} has not signed it"));
        };
        witnesses.push((key, seconds));
    }
    let key = NoteKey::of_log(checkpoint.org, checkpoint.life, proof.key.0);
    let keys: Vec<NoteKey> =
        [&key].into_iter().chain(witnesses.iter().map(|(k, _)| k)).cloned().collect();
    if note.only(&keys) != *note {
        return wrong(format!("{CHECKPOINT}: has signatures that nobody can check"));
    }

    let document = DocId::from(proof.visit);
    let mut lines = Lines::default();
    let mut changes = Vec::new();
    let mut before = None;
    for line in &proof.lines {
        if before.is_some_and(|before| before >= line.sequence) {
            return wrong(format!("{PROOF}: the lines are not in their order"));
        }
        before = Some(line.sequence);
        read_line(line, &checkpoint, document, &mut lines, &mut changes)?;
    }
    if lines.lives.first().is_none_or(|(_, at)| *at != 0) {
        return wrong(format!("{PROOF}: line 0, with which the log begins, is missing"));
    }
    let Some((_, named)) = lines.newest.filter(|(life, _)| *life == checkpoint.life) else {
        return wrong(format!(
            "{PROOF}: the line with which this life of the log begins is missing"
        ));
    };
    if named != proof.key {
        return wrong(format!(
            "{CHECKPOINT}: the log names another key than the one that signed it"
        ));
    }
    let wrote: Vec<DeviceId> = changes.iter().map(|(_, _, device, ..)| *device).collect();
    let written = replay(proof, document, &lines, changes)?;
    check_bare(&lines, &wrote, &written)?;
    let mut replayed = Document::new(proof.org, document);
    for Written { sequence, change, .. } in &written {
        let fits = replayed.insert(change.clone());
        fits.map_err(|misfit| Wrong(format!("line {sequence}: {misfit}")))?;
    }
    let entries = || written.iter().filter_map(|w| w.entry.as_ref());
    let named: BTreeSet<BlobHash> = entries().flat_map(Entry::notes).collect();
    let mut words = BTreeMap::new();
    let mut last = None;
    for note in &proof.notes {
        let digest = note.digest();
        if !named.contains(&digest) || last.is_some_and(|last| last >= digest) {
            return wrong(format!("{PROOF}: a note with the digest {digest} is not of this visit"));
        }
        last = Some(digest);
        words.insert(digest, note.text.as_str());
    }
    let pictured: BTreeSet<BlobHash> = entries().flat_map(Entry::photos).map(|p| p.hash).collect();
    for (hash, bytes) in photos {
        if !pictured.contains(hash) {
            return wrong(format!("{}: is not of this visit", photo_name(*hash, bytes)));
        }
    }
    let here: BTreeMap<BlobHash, usize> =
        photos.iter().map(|(hash, bytes)| (*hash, bytes.len())).collect();
    let visit = Visit::read(&replayed);
    let story = Story {
        proof,
        checkpoint: &checkpoint,
        witnesses: &witnesses,
        lines: &lines,
        written: &written,
        visit: &visit,
        words: &words,
        here: &here,
        index: Index::of(&written, &lines),
        told: Told::default(),
    };
    let summary = story.tell(&key);
    Ok(Proved { summary, checkpoint, key, witnesses })
}

/// Whether all that was written about the devices that wrote, and that something named here was erased, says so: a bare
/// leaf would hide that a phone was lost. A person's record may be bare, for a name can be erased.
fn check_bare(lines: &Lines, wrote: &[DeviceId], written: &[Written]) -> Result<(), Wrong> {
    let mut told: BTreeSet<RecordKey> = wrote.iter().map(|id| RecordKey::device(*id)).collect();
    for entry in written.iter().filter_map(|written| written.entry.as_ref()) {
        told.insert(RecordKey::erased_person(entry.by()));
        let photos = entry.photos().iter().map(|photo| photo.hash);
        told.extend(entry.notes().into_iter().chain(photos).map(RecordKey::erased));
    }
    match lines.bare.iter().find(|(_, key)| told.contains(key)) {
        Some((at, _)) => {
            wrong(format!("line {at}: bears on this visit, and its record is missing"))
        }
        None => Ok(()),
    }
}

type Sealed = (u64, Change, DeviceId, i64, Option<Vec<u8>>);

fn read_line(
    line: &Line,
    checkpoint: &Checkpoint,
    document: DocId,
    lines: &mut Lines,
    changes: &mut Vec<Sealed>,
) -> Result<(), Wrong> {
    let at = line.sequence;
    let bad = |what: &str| wrong(format!("line {at}: {what}"));
    let leaf = leaf_hash(&line.leaf.0);
    if !includes(checkpoint.size, &checkpoint.root, at, &leaf, &line.path) {
        return bad("is not proved to be in the log");
    }
    let Ok(leaf) = from_cbor::<Leaf>(&line.leaf.0) else { return bad("its leaf does not read") };
    let Line { body, salt, seal, .. } = line;
    lines.times.insert(at, leaf.at_ms());
    match (&leaf, body) {
        (Leaf::Change { document: of, change, device, received_ms }, Some(body)) => {
            let parts = from_cbor::<Parts>(&body.0).ok().filter(|parts| to_cbor(parts) == body.0);
            let read = parts.and_then(|parts| Change::new(document.kind, parts).ok());
            let Some(read) = read.filter(|_| *of == document && salt.is_none()) else {
                return bad("its change does not read, or is of another visit");
            };
            if read.hash() != *change {
                return bad("its change is not the one that the log has");
            }
            changes.push((
                at,
                read,
                *device,
                *received_ms,
                seal.as_ref().map(|seal| seal.0.clone()),
            ));
            return Ok(());
        }
        (Leaf::Record { kind, id, at_ms, .. }, Some(body)) => {
            let key = RecordKey { kind: *kind, id: *id };
            let salt = salt.as_ref().and_then(|salt| salt.0.as_slice().try_into().ok());
            if salt.is_none_or(|salt| Leaf::record(key, salt, &body.0, *at_ms) != leaf) {
                return bad("its record is not the one that the log has");
            }
            let Ok(record) = from_cbor::<Record>(&body.0) else {
                return bad("its record does not read");
            };
            lines.records.entry(key).or_default().push((at, record));
            if seal.is_some() {
                return bad("a record has no seal");
            }
            return Ok(());
        }
        // Of the visit itself no line is there for its time alone: it would hide what it says.
        (Leaf::Change { document: of, .. }, None) if *of == document => {
            return bad("is of this visit, and its change is missing");
        }
        (Leaf::Record { kind, id, .. }, None) => {
            lines.bare.push((at, RecordKey { kind: *kind, id: *id }));
        }
        (Leaf::Origin { origin, key, .. }, None) => {
            lines.lives.push((origin.life(), at));
            lines.newest = Some((*origin, *key));
        }
        (Leaf::Decision { document: of, .. }, None) if *of == document => {
            lines.acts.push((at, leaf));
        }
        (Leaf::Confirmation { .. }, None) => lines.acts.push((at, leaf)),
        (_, None) => {}
        _ => return bad("holds what it should not"),
    }
    if salt.is_some() || seal.is_some() {
        return bad("holds what it should not");
    }
    Ok(())
}

/// The visit's changes, each signed by the device that it is from.
fn replay(
    proof: &Proof,
    document: DocId,
    lines: &Lines,
    changes: Vec<Sealed>,
) -> Result<Vec<Written>, Wrong> {
    if changes.is_empty() {
        return wrong(format!("{PROOF}: holds no entry of the visit"));
    }
    let mut keys = Keys::default();
    let mut written = Vec::new();
    let mut seals = Vec::new();
    for (sequence, change, device, received_ms, seal) in changes {
        let bad = |what: &str| Wrong(format!("line {sequence}: {what}"));
        let device = lines.device(device).ok_or_else(|| bad("its device's key is missing"))?;
        if !change.actor.belongs_to(&device.key) {
            return Err(bad("it was not written by the device that the log names"));
        }
        keys.insert(&device.key);
        if let Some(signature) = seal {
            let signature = signature.try_into().map_err(|_| bad("its signature is too short"))?;
            let seal = Seal { head: change.hash(), signature };
            if !seal.verify(&device.key, proof.org, document) {
                return Err(bad("its signature does not verify"));
            }
            seals.push(seal);
        }
        let entry = change.entry().ok();
        if let Some(entry) = entry.as_ref().filter(|entry| entry.by() != device.user)
            && !device.is_server()
        {
            return Err(bad(&format!("its device is not that of {}", entry.by())));
        }
        let known = entry.as_ref().map_or(0, |e| known_at(&lines.lives, sequence, e.when()));
        let earliest_ms = match known.checked_sub(1) {
            None => None,
            Some(anchor) => Some(
                lines.times.get(&anchor).copied().ok_or_else(|| bad("its anchor is missing"))?,
            ),
        };
        let device = device.clone();
        let when = entry.as_ref().map(Entry::when);
        let lost = known == 0 && when.is_some_and(|when| when.anchor > 0 && when.life.is_some());
        written.push(Written { sequence, change, entry, device, received_ms, earliest_ms, lost });
    }
    let changes = written.iter().map(|w| w.change.clone()).collect();
    let group = Group { document, changes, seals };
    let sealed = group.check_seals(proof.org, &keys);
    sealed.map_err(|unsealed| Wrong(format!("{PROOF}: {unsealed}")))?;
    Ok(written)
}
