//! The proof bundle: all that shows to anybody, without a network, what a visit says, who signed it and when the log
//! took it in. docs/proof-bundle.md is the norm.
//!
//! A bundle is made by checking it: [`build`] packs what was found sound, and the summary that people read
//! is what the check says of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use minicbor::{Decode, Encode};

use crate::cbor::{from_cbor, to_cbor};
use crate::contest::Standing;
use crate::document::{Change, Document, Entry, Parts};
use crate::evidence::{Keypair, Leaf, LogKey, Seal};
use crate::id::{BlobHash, ChangeHash, DeviceId, DocId, LogHash, OrgId, UserId, VisitId};
use crate::model::capture::Moment;
use crate::model::catalogue::{CheckKind, Device, Record, RecordKey, Template};
use crate::model::contest::{About, Objection, Step, Word};
use crate::model::shown;
use crate::model::visit::{Act, CheckId, Note, Place, Post, Subject, Value, Verdict};
use crate::tlog::{Checkpoint, NoteKey, SignedNote, includes, leaf_hash};
use crate::visit::Visit;
use crate::wire::{Group, Keys};
use crate::zip;

/// The version of the format.
pub const VERSION: u32 = 3;
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
        say(&mut text, format_args!("{}  {}", BlobHash::of(bytes), name.as_ref()));
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
            return wrong("the photos are not in their order");
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

fn photo_name(hash: BlobHash, bytes: &[u8]) -> String {
    let kind = match bytes {
        [0xff, 0xd8, ..] => "jpg",
        [0x89, b'P', b'N', b'G', ..] => "png",
        [b'R', b'I', b'F', b'F', ..] => "webp",
        _ => "bin",
    };
    format!("photos/{hash}.{kind}")
}

/// How many lines of the log a device knew at a moment, at a time when there were `size`. `lives` names the lives of the
/// log and where each begins. Lines that were lost in a restore count as far as the log is still the same.
pub fn known_at(lives: &[(u32, u64)], size: u64, when: &Moment) -> u64 {
    let Some(life) = when.life else { return when.anchor.min(size) };
    let Some(place) = lives.iter().rposition(|(name, _)| *name == life) else { return 0 };
    let end = lives.get(place + 1).map_or(size, |(_, begins)| *begins);
    when.anchor.min(end)
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
}

/// What the lines say, each of them proved to be in the log.
#[derive(Default)]
struct Lines {
    lives: Vec<(u32, u64)>,
    /// The key that the newest life names.
    named: Option<LogKey>,
    times: BTreeMap<u64, i64>,
    records: BTreeMap<RecordKey, Vec<(u64, Record)>>,
    confirmed: Vec<(DeviceId, LogKey, UserId, i64)>,
    decided: Vec<(u64, UserId, bool, i64)>,
}

impl Lines {
    /// The newest version of a record before a line, or else the first.
    fn record(&self, key: RecordKey, before: u64) -> Option<&Record> {
        let versions = self.records.get(&key)?;
        let older = versions.iter().rev().find(|(sequence, _)| *sequence < before);
        older.or(versions.first()).map(|(_, record)| record)
    }

    fn person(&self, user: UserId) -> String {
        match self.record(RecordKey::person(user), u64::MAX) {
            Some(Record::Person(person)) => format!("{} ({user})", person.name),
            _ => format!("person {user}"),
        }
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
        return wrong(format!("it is of version {}; this program knows {VERSION}", proof.version));
    }
    let open = Checkpoint::open(note, proof.key.0);
    let checkpoint = open.map_err(|bad| Wrong(format!("{CHECKPOINT}: {bad}")))?;
    if checkpoint.org != proof.org {
        return wrong(format!("{CHECKPOINT}: is of another organisation"));
    }
    let mut witnesses = Vec::new();
    for vkey in &proof.witnesses {
        let key: NoteKey = vkey.parse().map_err(|bad| Wrong(format!("a witness's key: {bad}")))?;
        let Some(seconds) = note.signed_by(&key) else {
            return wrong(format!("{CHECKPOINT}: {} has not signed it", key.name()));
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
            return wrong("the lines are not in their order");
        }
        before = Some(line.sequence);
        read_line(line, &checkpoint, document, &mut lines, &mut changes)?;
    }
    let begins = lines.lives.last().is_some_and(|(name, _)| *name == checkpoint.life.life());
    if !begins {
        return wrong("the line with which this life of the log begins is missing");
    }
    if lines.named.is_none_or(|named| named != proof.key) {
        return wrong("the log names another key than the one that has signed the checkpoint");
    }
    let written = replay(proof, document, &lines, changes)?;
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
            return wrong(format!("a note with the digest {digest} is not of this visit"));
        }
        last = Some(digest);
        words.insert(digest, note.text.as_str());
    }
    let pictured: BTreeMap<BlobHash, u32> =
        entries().flat_map(Entry::photos).map(|photo| (photo.hash, photo.bytes)).collect();
    for (hash, _) in photos {
        if !pictured.contains_key(hash) {
            return wrong(format!("the photo {hash} is not of this visit"));
        }
    }
    let here: BTreeSet<BlobHash> = photos.iter().map(|(hash, _)| *hash).collect();
    let story = Story {
        proof,
        checkpoint: &checkpoint,
        witnesses: &witnesses,
        lines: &lines,
        written: &written,
        visit: &Visit::read(&replayed),
        words: &words,
        named: &named,
        pictured: &pictured,
        here: &here,
    };
    let summary = story.tell(&key);
    Ok(Proved { summary, checkpoint, key, witnesses })
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
        (Leaf::Origin { origin, key, .. }, None) => {
            lines.lives.push((origin.life(), at));
            lines.named = Some(*key);
        }
        (Leaf::Decision { document: of, by, approved, at_ms, .. }, None) if *of == document => {
            lines.decided.push((at, *by, *approved, *at_ms));
        }
        (Leaf::Confirmation { device, key, by, at_ms, .. }, None) => {
            lines.confirmed.push((*device, *key, *by, *at_ms));
        }
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
        return wrong("it holds no entry of the visit");
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
        written.push(Written { sequence, change, entry, device, received_ms, earliest_ms });
    }
    let changes = written.iter().map(|w| w.change.clone()).collect();
    let group = Group { document, changes, seals };
    group.check_seals(proof.org, &keys).map_err(|unsealed| Wrong(unsealed.to_string()))?;
    Ok(written)
}

/// All that a summary is told from.
struct Story<'a> {
    proof: &'a Proof,
    checkpoint: &'a Checkpoint,
    witnesses: &'a [(NoteKey, u64)],
    lines: &'a Lines,
    written: &'a [Written],
    visit: &'a Visit,
    words: &'a BTreeMap<BlobHash, &'a str>,
    named: &'a BTreeSet<BlobHash>,
    pictured: &'a BTreeMap<BlobHash, u32>,
    here: &'a BTreeSet<BlobHash>,
}

impl Story<'_> {
    fn tell(&self, key: &NoteKey) -> String {
        let mut out = String::new();
        self.about(&mut out);
        self.entries(&mut out);
        self.facts(&mut out);
        self.contests(&mut out);
        self.attached(&mut out);
        self.proved(&mut out, key);
        out
    }

    fn about(&self, out: &mut String) {
        let Proof { org, visit, .. } = self.proof;
        say(out, format_args!("PROOF OF A VISIT\n"));
        say(out, format_args!("Visit {visit}\nOrganisation {org}"));
        if let Some(start) = &self.visit.start {
            let first = self.written.first().map_or(0, |written| written.sequence);
            match self.lines.record(RecordKey::outlet(start.outlet), first) {
                Some(Record::Outlet(outlet)) => {
                    let (name, code) = (plain(&outlet.name), plain(&outlet.code));
                    let (street, town) = (plain(&outlet.street), plain(&outlet.town));
                    say(out, format_args!("Outlet {name} ({code}), {street}, {town}"));
                }
                _ => say(out, format_args!("Outlet {}", start.outlet)),
            }
        }
        say(out, format_args!("Status {}\n", self.visit.status.as_str()));
    }

    fn entries(&self, out: &mut String) {
        say(out, format_args!("WHAT WAS WRITTEN, IN THE ORDER OF THE LOG\n"));
        for written in self.written {
            let Written { sequence, entry, device, received_ms, earliest_ms, change } = written;
            say(out, format_args!("Line {sequence}: {}", self.act(entry.as_ref())));
            if let Some(Entry::Post(Post { word: Some(word), .. })) = entry {
                if let Word::Contest(objection) = word {
                    self.objection(out, objection);
                }
                for photo in word.photos() {
                    say(out, format_args!("  and shows the photo {}", photo.hash));
                }
            }
            let by = entry.as_ref().map(|entry| self.lines.person(entry.by())).unwrap_or_default();
            let by = plain(&by);
            match device.is_server() {
                true => say(
                    out,
                    format_args!(
                        "  by {by}, in the console: signed by the server, not by a device of theirs"
                    ),
                ),
                false => say(out, format_args!("  by {by}, signed by device {}", device.id)),
            }
            if device.revoked {
                say(out, format_args!("  the device's access was withdrawn since, or before"));
            }
            if let Some(lost_ms) = device.lost_ms {
                let when = if *received_ms < lost_ms { "after this came" } else { "by then" };
                say(
                    out,
                    format_args!(
                        "  it was out of its person's hands {when}, since {}, as whoever withdrew it says",
                        utc(lost_ms)
                    ),
                );
            }
            say(out, format_args!("  entry {}", change.hash()));
            say(out, format_args!("  received {} (in the log)", utc(*received_ms)));
            if !device.is_server() {
                match earliest_ms {
                    Some(ms) => say(
                        out,
                        format_args!(
                            "  its device says not before {} (the newest line that it knew)",
                            utc(*ms)
                        ),
                    ),
                    None => say(out, format_args!("  its device had not synced before")),
                }
                if let Some(entry) = entry {
                    let when = entry.when();
                    say(
                        out,
                        format_args!(
                            "  its device's wall clock said {} (a claim)",
                            utc(when.wall_ms)
                        ),
                    );
                    if let Some(skew) = when.skew_ms {
                        let ms = when.wall_ms.saturating_add(skew);
                        say(
                            out,
                            format_args!(
                                "  that is {} by the server's clock as the device had heard it (a claim)",
                                utc(ms)
                            ),
                        );
                    }
                }
            }
            if let Some(Entry::Recording(recording)) = entry
                && let Some(place) = &recording.place
            {
                let (lon, lat) = (f64::from(place.lon_e6) / 1e6, f64::from(place.lat_e6) / 1e6);
                say(out, format_args!("  at {lat:.6}, {lon:.6} (a claim of the device)"));
            }
        }
        for (sequence, by, approved, at_ms) in &self.lines.decided {
            let (what, by) =
                (if *approved { "approved" } else { "discarded" }, plain(&self.lines.person(*by)));
            say(
                out,
                format_args!(
                    "Line {sequence}: {by} {what} work that had been refused, at {} (in the log)",
                    utc(*at_ms)
                ),
            );
        }
        out.push('\n');
    }

    fn act(&self, entry: Option<&Entry>) -> String {
        let words = |digest: &BlobHash| self.note(*digest);
        match entry {
            None => "an entry of a later version".into(),
            Some(Entry::Recording(recording)) => match &recording.act {
                Act::Start { .. } => "began the visit".into(),
                Act::Observe(observed) => format!(
                    "recorded {} and {}",
                    count(observed.observations.0.len(), "fact"),
                    count(observed.photos.len(), "photo")
                ),
                Act::NotPossible { reason, note, .. } => {
                    let note = note.as_ref().map(words).unwrap_or_default();
                    format!("could not make the call: {reason:?} {note}").trim_end().to_owned()
                }
                Act::Withdraw { recordings } => {
                    format!("withdrew {}", count(recordings.len(), "recording"))
                }
                Act::Abandon {} => "abandoned the visit".into(),
            },
            Some(Entry::Submission(_)) => "submitted the visit".into(),
            Some(Entry::Review(review)) => {
                let verdict = match review.verdict {
                    Verdict::Approved => "approved the visit",
                    Verdict::SentBack => "sent the visit back",
                };
                let comment = review.comment.as_ref().map(words).unwrap_or_default();
                format!("{verdict} {comment}").trim_end().to_owned()
            }
            Some(Entry::Post(post)) => self.said(post),
            Some(Entry::Report(_)) => "reported the outlet".into(),
        }
    }

    fn said(&self, post: &Post) -> String {
        let words = self.note(post.text);
        let of = post.answers.map(|hash| self.line(hash)).unwrap_or_default();
        match &post.word {
            None => format!("said {words}"),
            Some(Word::Contest(objection)) => {
                format!("contested {}: {words}", self.contested(objection))
            }
            Some(Word::Step(step, _)) => match step {
                Step::Say => format!("said more on the objection of {of}: {words}"),
                Step::Ask => format!("asked about the objection of {of}: {words}"),
                Step::Uphold => format!(
                    "found that what was recorded stands, against the objection of {of}: {words}"
                ),
                Step::Accept => format!("found that the objection of {of} is right: {words}"),
                Step::Close => {
                    format!("closed the contest of {of} without a finding: {words}")
                }
            },
        }
    }

    /// Where in the log an entry is.
    fn line(&self, hash: ChangeHash) -> String {
        let written = self.written.iter().find(|written| written.change.hash() == hash);
        written.map_or(format!("entry {hash}"), |written| format!("line {}", written.sequence))
    }

    fn contested(&self, objection: &Objection) -> String {
        match &objection.about {
            None => "the whole visit".into(),
            Some(About { check, subject }) => {
                format!("a value, {}, {}", self.check(*check), self.subject(subject))
            }
        }
    }

    /// What an objection is against, what it claims, and what is to show that.
    fn objection(&self, out: &mut String, objection: &Objection) {
        let lines: Vec<String> = objection.seen.iter().map(|hash| self.line(*hash)).collect();
        let lines = lines.join(", ");
        match &objection.about {
            None => say(out, format_args!("  its author had seen it up to {lines}")),
            Some(About { check, subject }) => {
                let seen = objection.seen.iter().filter_map(|hash| self.visit.recording(*hash));
                let observed = seen.filter_map(|seen| seen.entry.observed());
                let facts = observed.flat_map(|observed| &observed.observations.0);
                let facts = facts.filter(|fact| fact.check == *check && fact.subject == *subject);
                let values: BTreeSet<String> =
                    facts.map(|fact| self.value(*check, &fact.value)).collect();
                let values = values.into_iter().collect::<Vec<_>>().join(" or ");
                say(out, format_args!("  against {values}, recorded in {lines}"));
            }
        }
        match (&objection.claim, &objection.about) {
            (Some(Value::Withdrawn), _) => {
                say(out, format_args!("  claims that there was nothing instead"));
            }
            (Some(claim), Some(About { check, .. })) => {
                let claim = self.value(*check, claim);
                say(out, format_args!("  claims that it was {claim} instead"));
            }
            _ => {}
        }
    }

    /// How each contest stands, by what is in this bundle.
    fn contests(&self, out: &mut String) {
        if self.visit.contests.is_empty() {
            return;
        }
        say(out, format_args!("WHAT IS CONTESTED\n"));
        for contest in &self.visit.contests {
            let standing = match contest.standing {
                Standing::Open => "it waits for a finding",
                Standing::Asked => "a question about it waits for an answer",
                Standing::Accepted => "the objection was found right",
                Standing::Upheld => "it was found that what was recorded stands",
                Standing::Closed => "it was closed without a finding",
            };
            let holds = match (contest.objection.about.is_some(), contest.holds) {
                (false, _) => "",
                (true, true) => "; what it is against still holds",
                (true, false) => "; what it is against holds no more",
            };
            let what = self.contested(&contest.objection);
            let (line, by) = (self.line(contest.hash), plain(&self.lines.person(contest.by)));
            say(out, format_args!("By {by} in {line}, {what}: {standing}{holds}."));
        }
        out.push('\n');
    }

    fn note(&self, digest: BlobHash) -> String {
        match self.words.get(&digest) {
            Some(text) => format!("\"{}\"", plain(text)),
            None => format!("words that are not here any more (digest {digest})"),
        }
    }

    fn facts(&self, out: &mut String) {
        say(out, format_args!("WHAT HOLDS\n"));
        if self.visit.values.is_empty() {
            say(out, format_args!("No values."));
        }
        for ((check, subject), values) in &self.visit.values {
            let values: BTreeSet<String> =
                values.iter().map(|live| self.value(*check, &live.value)).collect();
            let (check, subject) = (self.check(*check), self.subject(subject));
            let conflict = if values.len() > 1 { " (a conflict)" } else { "" };
            let values = values.into_iter().collect::<Vec<_>>().join(" or ");
            say(out, format_args!("{check}, {subject}: {values}{conflict}"));
        }
        out.push('\n');
    }

    fn template(&self) -> Option<&Template> {
        let number = self.visit.start.as_ref()?.template.number;
        match self.lines.record(RecordKey::template(number), u64::MAX)? {
            Record::Template(template) => Some(template),
            _ => None,
        }
    }

    fn check(&self, id: CheckId) -> String {
        let check = self.template().and_then(|template| template.check(id));
        check.map_or(format!("check {id}"), |check| plain(&check.title))
    }

    /// What an option says, where all of the visit went by the version of the template that is here.
    fn option(&self, check: CheckId, option: u32) -> String {
        let mut observed = self.written.iter().filter_map(|written| match &written.entry {
            Some(Entry::Recording(recording)) => recording.observed(),
            _ => None,
        });
        let template =
            self.template().filter(|t| observed.all(|o| o.template.version == t.version));
        let text = match template.and_then(|template| template.check(check)).map(|c| &c.kind) {
            Some(CheckKind::Question { options, .. }) => options.get(option as usize),
            _ => None,
        };
        text.map_or(format!("option {option}"), |text| format!("\"{}\"", plain(text)))
    }

    fn subject(&self, subject: &Subject) -> String {
        match subject {
            Subject::Position { planogram, position } => {
                format!("position {position} of planogram {planogram}")
            }
            Subject::Product(gtin) => {
                match self.lines.record(RecordKey::product(*gtin), u64::MAX) {
                    Some(Record::Product(product)) => format!("{} ({gtin})", plain(&product.name)),
                    _ => format!("product {gtin}"),
                }
            }
            Subject::Unlisted(digest) => {
                format!("a product without a code: {}", self.note(*digest))
            }
            Subject::Display(number) => format!("display {number}"),
            Subject::Outlet => "the outlet".into(),
            Subject::Unknown(_) => "something of a later version".into(),
        }
    }

    fn value(&self, check: CheckId, value: &Value) -> String {
        match value {
            Value::Shelf { facings, in_stock, place } => {
                let stock = if *in_stock { ", more in the back room" } else { "" };
                let place = match place {
                    Place::AsPlanned => String::new(),
                    Place::MovedAlong => ", elsewhere on its shelf".into(),
                    Place::OtherShelf(shelf) => format!(", on shelf {shelf}"),
                };
                format!("{}{place}{stock}", count(*facings as usize, "facing"))
            }
            Value::Price(money) => money.to_string(),
            Value::Stock { on_shelf, units } => {
                let units = units.map(|units| format!(", {}", count(units as usize, "unit")));
                let units = units.unwrap_or_default();
                format!("{}{units}", if *on_shelf { "on the shelf" } else { "not on the shelf" })
            }
            Value::Met(met) => if *met { "as agreed" } else { "not as agreed" }.into(),
            Value::Choice(option) => self.option(check, *option),
            Value::YesNo(yes) => if *yes { "yes" } else { "no" }.into(),
            Value::Number(number) => number.to_string(),
            Value::Text(digest) => self.note(*digest),
            Value::Withdrawn => "taken back".into(),
            Value::Unknown(_) => "a value of a later version".into(),
        }
    }

    fn attached(&self, out: &mut String) {
        say(out, format_args!("PHOTOS\n"));
        if self.pictured.is_empty() {
            say(out, format_args!("None."));
        }
        for (hash, bytes) in self.pictured {
            let here =
                if self.here.contains(hash) { "in this bundle" } else { "by its digest alone" };
            say(out, format_args!("{hash}, {bytes} bytes: {here}"));
        }
        let gone = self.named.iter().filter(|digest| !self.words.contains_key(*digest)).count();
        if gone > 0 {
            let (are, their, digests) = match gone {
                1 => ("comment or answer is", "its", "digest"),
                _ => ("comments or answers are", "their", "digests"),
            };
            say(
                out,
                format_args!(
                    "{gone} {are} here by {their} {digests} alone: {their} words were erased, or never came."
                ),
            );
        }
        out.push('\n');
    }

    fn proved(&self, out: &mut String, key: &NoteKey) {
        let Checkpoint { size, life, .. } = self.checkpoint;
        say(out, format_args!("WHAT IS PROVED\n"));
        say(
            out,
            format_args!(
                "- Each entry above is what its device signed, whole and unchanged, and so is all that it builds on."
            ),
        );
        say(
            out,
            format_args!(
                "- Each is a line of the organisation's log, life {life}, among its first {size} lines: neither it nor its time of receipt can be changed without breaking the log's signed checkpoint."
            ),
        );
        say(
            out,
            format_args!(
                "- The keys of the devices, and the records that are named, are lines of that log too."
            ),
        );
        if !self.here.is_empty() {
            say(out, format_args!("- The photos in this bundle are those that the entries name."));
        }
        say(
            out,
            format_args!(
                "- Nothing was taken out of this bundle, put in or changed since it was made: the log's key has signed its contents."
            ),
        );
        let devices: BTreeSet<DeviceId> = self.written.iter().map(|w| w.device.id).collect();
        for (device, confirmed, by, at_ms) in &self.lines.confirmed {
            let same = self.lines.device(*device).is_some_and(|d| d.key == confirmed.0);
            if same && devices.contains(device) {
                let by = plain(&self.lines.person(*by));
                say(
                    out,
                    format_args!(
                        "- {by} confirmed at {} that the key of device {device} is that of one of their people.",
                        utc(*at_ms)
                    ),
                );
            }
        }
        for (witness, seconds) in self.witnesses {
            let ms = i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
            say(
                out,
                format_args!(
                    "- {} saw this checkpoint at {}: all of it was there by then.",
                    witness.name(),
                    utc(ms)
                ),
            );
        }
        say(out, format_args!("\nWHAT IS NOT PROVED\n"));
        say(
            out,
            format_args!(
                "- That this is the log's key; compare it with the one that you were given:\n  {key}"
            ),
        );
        say(
            out,
            format_args!(
                "- That the server had the right time when it received something{}.",
                if self.witnesses.is_empty() {
                    "; no witness has signed the checkpoint"
                } else {
                    ""
                }
            ),
        );
        say(
            out,
            format_args!(
                "- What a device says of its clocks, of what it knew, and of its place; who held it in their hand; what a photo shows."
            ),
        );
        say(
            out,
            format_args!(
                "- That the server has put in every entry of the visit among these lines, and what came after them: whoever keeps a copy of the log can tell."
            ),
        );
        if self.written.iter().any(|w| w.device.is_server()) {
            say(
                out,
                format_args!(
                    "- That a person did what is signed by the server: the server says so."
                ),
            );
        }
    }
}

fn say(out: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{line}"); // writing to memory cannot fail
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Text of people on one line, which turns nothing around that stands beside it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { shown(c) }).collect()
}

fn utc(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{ms} ms since 1970"),
    }
}
