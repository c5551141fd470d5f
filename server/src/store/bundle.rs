//! What a proof bundle of a visit is made of, read in one state of the log.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::document::Entry;
use sync_core::evidence::{Keypair, LogKey};
use sync_core::id::{BlobHash, DocId, OrgId, UserId, VisitId};
use sync_core::model::catalogue::{Record, RecordKey};
use sync_core::model::contest::Word;
use sync_core::model::visit::{Act, Post, Recording, Subject, Versioned};
use sync_core::proof::{Bytes, Line, Proof, VERSION, known_at};
use sync_core::tlog::{NoteKey, SignedNote, Tree};

use super::StoreError;
use super::log::{Held, Org, document, note};
use super::tree::{Nodes, leaves, lives};
use super::uploads::gives_sight;
use super::witnesses::{Counting, Signed, witnessed};

/// What a bundle holds, but for the photos.
#[derive(Debug)]
pub struct Collected {
    /// The lines and the notes.
    pub proof: Proof,
    /// The checkpoint that they are proved against.
    pub checkpoint: SignedNote,
    /// The photos that the visit gives sight of, but for those that were erased.
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
    counting: &Counting,
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
    let (mut notes, mut photos, mut digests) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for (change, sequence) in held.document.changes().iter().zip(&sequences) {
        let Ok(entry) = change.entry() else { continue };
        for digest in entry.notes() {
            digests.insert(digest);
            notes.extend(note(connection, org, digest)?.map(|note| (digest, note)));
        }
        photos.extend(entry.photos().iter().map(|photo| photo.hash));
        if let Some(anchor) = known_at(&names, *sequence, entry.when()).checked_sub(1) {
            picked.entry(anchor).or_insert((None, None, None));
        }
    }
    let (actors, began) = (acts(connection, org, name, &held, &mut picked)?, sequences.first());
    let mut about = About::of(&held, actors);
    about.every.extend(photos.iter().chain(&digests).map(|digest| RecordKey::erased(*digest)));
    for erased in about.pick(connection, org, began.copied().unwrap_or(0), &mut picked)? {
        photos.remove(&erased);
    }
    let mut packed = BTreeSet::new();
    for hash in photos {
        if gives_sight(connection, org, hash, name)? {
            packed.insert(hash);
        }
    }

    // What is proved is as old as its newest line, or a little older than the log if somebody else has signed that.
    let needed = picked.keys().next_back().map_or(0, |last| last + 1);
    let signed = match witnessed(connection, org, id, needed, pair, counting)? {
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
    Ok(Some(Collected { proof, checkpoint: signed.note, photos: packed }))
}

/// The records that say who and what a visit is about.
#[derive(Default)]
struct About {
    /// Those of which every version counts: its devices, and what says that something was erased.
    every: BTreeSet<RecordKey>,
    /// Those that its entries name by their version: templates and planograms.
    versions: BTreeMap<RecordKey, BTreeSet<u32>>,
    /// Those of which the version in force when it began counts.
    began: BTreeSet<RecordKey>,
    /// The planned places that were looked at.
    positions: BTreeSet<(u32, u32)>,
}

impl About {
    fn of(held: &Held, actors: BTreeSet<UserId>) -> Self {
        let (mut about, mut people) = (Self::default(), actors);
        about.every.extend(held.devices.values().map(|device| RecordKey::device(*device)));
        for entry in held.document.changes().iter().filter_map(|change| change.entry().ok()) {
            people.insert(entry.by());
            match entry {
                Entry::Recording(Recording { act, .. }) => about.act(&act),
                Entry::Post(Post { word: Some(Word::Contest(objection)), .. }) => {
                    objection.about.iter().for_each(|of| about.subject(&of.subject));
                }
                _ => {}
            }
        }
        for user in people {
            about.began.insert(RecordKey::person(user));
            about.every.insert(RecordKey::erased_person(user));
        }
        about
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Start { outlet, distributor, template, .. } => {
                self.began.insert(RecordKey::outlet(*outlet));
                self.began.insert(RecordKey::distributor(*distributor));
                self.version(RecordKey::template(template.number), template);
            }
            Act::Observe(observed) => {
                self.version(RecordKey::template(observed.template.number), &observed.template);
                let facts = &observed.observations.0;
                facts.iter().for_each(|fact| self.subject(&fact.subject));
                for named in &observed.planograms {
                    let places = (named.number, 0)..=(named.number, u32::MAX);
                    if self.positions.range(places).next().is_some() {
                        self.version(RecordKey::planogram(named.number), named);
                    }
                }
            }
            _ => {}
        }
    }

    fn version(&mut self, key: RecordKey, named: &Versioned) {
        self.versions.entry(key).or_default().insert(named.version);
    }

    fn subject(&mut self, subject: &Subject) {
        match subject {
            Subject::Position { planogram, position } => {
                self.positions.insert((*planogram, *position));
            }
            Subject::Product(gtin) => drop(self.began.insert(RecordKey::product(*gtin))),
            Subject::Display(number) => drop(self.began.insert(RecordKey::display(*number))),
            _ => {}
        }
    }

    /// Picks their lines; which photos and notes were erased.
    fn pick(
        &mut self,
        connection: &Connection,
        org: Org,
        began: u64,
        picked: &mut Picked,
    ) -> Result<Vec<BlobHash>, StoreError> {
        for (key, versions) in &self.versions {
            let named = |record: &Record, _| match record {
                Record::Template(template) => versions.contains(&template.version),
                Record::Planogram(planogram) => versions.contains(&planogram.version),
                _ => false,
            };
            for record in pick(connection, org, *key, began, picked, named)? {
                let Record::Planogram(planogram) = record else { continue };
                let looked_at = planogram
                    .positions
                    .iter()
                    .filter(|at| self.positions.contains(&(planogram.number, at.number)));
                self.began.extend(looked_at.map(|at| RecordKey::product(at.gtin)));
            }
        }
        for key in &self.began {
            pick(connection, org, *key, began, picked, |_, in_force| in_force)?;
        }
        let mut erased = Vec::new();
        for key in &self.every {
            for record in pick(connection, org, *key, began, picked, |_, _| true)? {
                erased.extend(match record {
                    Record::Erased(erased) => erased.digest,
                    _ => None,
                });
            }
        }
        Ok(erased)
    }
}

/// Picks the lines of those versions of a record that are wanted, each known with whether it was in force at a line.
fn pick(
    connection: &Connection,
    org: Org,
    key: RecordKey,
    at: u64,
    picked: &mut Picked,
    wanted: impl Fn(&Record, bool) -> bool,
) -> Result<Vec<Record>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT sequence, salt, body, digest IS NOT NULL FROM record
         WHERE org = ?1 AND key = ?2 ORDER BY sequence",
    )?;
    let rows = query.query_map(params![org, key.to_bytes()], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let versions: Vec<(u64, Vec<u8>, Vec<u8>, bool)> = rows.collect::<Result<_, _>>()?;
    let in_force = versions.iter().rposition(|(sequence, ..)| *sequence < at).unwrap_or(0);
    let mut found = Vec::new();
    for (place, (sequence, salt, body, erased)) in versions.into_iter().enumerate() {
        // What does not read here would not read there.
        let read = from_cbor::<Record>(&body).ok();
        let Some(record) = read.filter(|record| wanted(record, place == in_force)) else {
            continue;
        };
        let held =
            if erased { (None, None, None) } else { (Some(Bytes(body)), Some(Bytes(salt)), None) };
        picked.insert(sequence, held);
        found.push(record);
    }
    Ok(found)
}

/// What was decided on work for the visit, and who has confirmed the keys of its devices; by whom.
fn acts(
    connection: &Connection,
    org: Org,
    name: DocId,
    held: &Held,
    picked: &mut Picked,
) -> Result<BTreeSet<UserId>, StoreError> {
    let mut actors = BTreeSet::new();
    let mut pick = |acted: rusqlite::Result<(u64, [u8; 16])>| {
        let (sequence, by) = acted?;
        picked.entry(sequence).or_insert((None, None, None));
        actors.insert(UserId::from_bytes(by));
        Ok::<_, StoreError>(())
    };
    let mut query = connection
        .prepare_cached("SELECT sequence, by FROM decision WHERE org = ?1 AND document = ?2")?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    query.query_map(params![org, name.to_bytes()], read)?.try_for_each(&mut pick)?;
    let mut query = connection
        .prepare_cached("SELECT sequence, by FROM confirmation WHERE org = ?1 AND device = ?2")?;
    for device in held.devices.values().collect::<BTreeSet<_>>() {
        query.query_map(params![org, device.as_bytes()], read)?.try_for_each(&mut pick)?;
    }
    Ok(actors)
}
