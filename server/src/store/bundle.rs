//! What a proof bundle of a visit is made of, read in one state of the log.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::document::Entry;
use sync_core::evidence::{Keypair, LogKey};
use sync_core::id::{BlobHash, DocId, OrgId, UserId, VisitId};
use sync_core::model::catalogue::{Record, RecordKey};
use sync_core::model::visit::{Act, Subject};
use sync_core::proof::{Bytes, Line, Proof, VERSION, known_at};
use sync_core::tlog::{NoteKey, SignedNote, Tree};

use super::StoreError;
use super::log::{Held, Org, document, note};
use super::tree::{Nodes, leaves, lives};
use super::witnesses::{Signed, witnessed};

/// What a bundle holds, but for the photos.
#[derive(Debug)]
pub struct Collected {
    /// The lines and the notes.
    pub proof: Proof,
    /// The checkpoint that they are proved against.
    pub checkpoint: SignedNote,
    /// The photos that the visit refers to.
    pub photos: BTreeSet<BlobHash>,
}

/// The lines that go into a bundle, each with what its leaf is the hash of.
type Picked = BTreeMap<u64, (Option<Bytes>, Option<Bytes>, Option<Bytes>)>;

/// Collects what proves a visit; `None` if there is no such visit. Read it within one transaction.
pub fn collect(
    connection: &Connection,
    org: Org,
    id: OrgId,
    visit: VisitId,
    pair: &Keypair,
) -> Result<Option<Collected>, StoreError> {
    let name = DocId::from(visit);
    let held = document(connection, org, id, name)?;
    if held.document.changes().is_empty() {
        return Ok(None);
    }
    let mut picked = Picked::new();
    let lives = lives(connection, org)?;
    picked.extend(lives.iter().map(|(begins, ..)| (*begins, (None, None, None))));
    let names: Vec<(u32, u64)> = lives.iter().map(|(at, life, _)| (life.life(), *at)).collect();

    let mut query = connection.prepare_cached(
        "SELECT sequence, body, seal FROM log INDEXED BY log_document
         WHERE org = ?1 AND document = ?2 ORDER BY sequence",
    )?;
    let mut rows = query.query(params![org, name.to_bytes()])?;
    let mut sequences = Vec::new();
    while let Some(row) = rows.next()? {
        let (sequence, seal): (u64, Option<Vec<u8>>) = (row.get(0)?, row.get(2)?);
        picked.insert(sequence, (Some(Bytes(row.get(1)?)), None, seal.map(Bytes)));
        sequences.push(sequence);
    }
    let (mut notes, mut photos) = (BTreeMap::new(), BTreeSet::new());
    for (change, sequence) in held.document.changes().iter().zip(&sequences) {
        let Ok(entry) = change.entry() else { continue };
        for digest in entry.notes() {
            notes.extend(note(connection, org, digest)?.map(|note| (digest, note)));
        }
        photos.extend(entry.photos().iter().map(|photo| photo.hash));
        if let Some(anchor) = known_at(&names, *sequence, entry.when()).checked_sub(1) {
            picked.entry(anchor).or_insert((None, None, None));
        }
    }
    records(connection, org, &held, sequences.first().copied().unwrap_or(0), &mut picked)?;
    acts(connection, org, name, &held, &mut picked)?;

    // What is proved is as old as its newest line, or a little older than the log if somebody else has signed that.
    let needed = picked.keys().next_back().map_or(0, |last| last + 1);
    let signed = match witnessed(connection, org, id, needed, pair)? {
        Some(witnessed) => witnessed,
        None => Signed::newest(connection, org, id, pair)?,
    };
    let mut nodes = Nodes { connection, org };
    let mut lines = Vec::new();
    for (sequence, (body, salt, seal)) in picked {
        let leaf = leaves(connection, org, (sequence, sequence + 1))?;
        let leaf = Bytes(leaf.first().map(to_cbor).unwrap_or_default());
        let path = Tree::new(&mut nodes, signed.size).inclusion(sequence)?;
        lines.push(Line { sequence, leaf, path, body, salt, seal });
    }
    let proof = Proof {
        version: VERSION,
        org: id,
        visit,
        key: LogKey(pair.public()),
        lines,
        notes: notes.into_values().collect(),
        witnesses: signed.witnesses.iter().map(NoteKey::to_string).collect(),
    };
    Ok(Some(Collected { proof, checkpoint: signed.note, photos }))
}

/// The records that say who and what the visit is about: every version of its devices, and of everything else the
/// one in force when it began.
fn records(
    connection: &Connection,
    org: Org,
    held: &Held,
    began: u64,
    picked: &mut Picked,
) -> Result<(), StoreError> {
    let devices: BTreeSet<RecordKey> =
        held.devices.values().map(|d| RecordKey::device(*d)).collect();
    let mut wanted: BTreeSet<RecordKey> = BTreeSet::new();
    let mut people: BTreeSet<UserId> = BTreeSet::new();
    for entry in held.document.changes().iter().filter_map(|change| change.entry().ok()) {
        people.insert(entry.by());
        let Entry::Recording(recording) = entry else { continue };
        match recording.act {
            Act::Start { outlet, distributor, template, .. } => {
                wanted.insert(RecordKey::outlet(outlet));
                wanted.insert(RecordKey::distributor(distributor));
                wanted.insert(RecordKey::template(template.number));
            }
            Act::Observe(observed) => {
                let subjects = observed.observations.0.iter().map(|o| &o.subject);
                wanted.extend(subjects.filter_map(|subject| match subject {
                    Subject::Product(gtin) => Some(RecordKey::product(*gtin)),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    wanted.extend(people.into_iter().map(RecordKey::person));
    let mut query = connection.prepare_cached(
        "SELECT sequence, salt, body, digest IS NOT NULL FROM record
         WHERE org = ?1 AND key = ?2 ORDER BY sequence",
    )?;
    for key in devices.iter().chain(&wanted) {
        let rows = query.query_map(params![org, key.to_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        let versions: Vec<(u64, Vec<u8>, Vec<u8>, bool)> = rows.collect::<Result<_, _>>()?;
        let older = versions.iter().rposition(|(sequence, ..)| *sequence < began).unwrap_or(0);
        for (place, (sequence, salt, body, erased)) in versions.into_iter().enumerate() {
            let wanted = place == older || devices.contains(key);
            if wanted && erased {
                picked.insert(sequence, (None, None, None));
            // What does not read here would not read there.
            } else if wanted && from_cbor::<Record>(&body).is_ok() {
                picked.insert(sequence, (Some(Bytes(body)), Some(Bytes(salt)), None));
            }
        }
    }
    Ok(())
}

/// What was decided on work for the visit, and who has confirmed the keys of its devices.
fn acts(
    connection: &Connection,
    org: Org,
    name: DocId,
    held: &Held,
    picked: &mut Picked,
) -> Result<(), StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT decided FROM quarantine
         WHERE org = ?1 AND document = ?2 AND state IN ('accepted', 'discarded')",
    )?;
    for decided in query.query_map(params![org, name.to_bytes()], |row| row.get::<_, u64>(0))? {
        picked.entry(decided?).or_insert((None, None, None));
    }
    let mut query = connection
        .prepare_cached("SELECT sequence FROM confirmation WHERE org = ?1 AND device = ?2")?;
    for device in held.devices.values().collect::<BTreeSet<_>>() {
        for sequence in query.query_map(params![org, device.as_bytes()], |row| row.get(0))? {
            picked.entry(sequence?).or_insert((None, None, None));
        }
    }
    Ok(())
}
