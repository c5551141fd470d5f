//! Photos that are like others, and what is worth a look.

use std::collections::BTreeMap;

use picture::{AGREEMENT_MIN, BANDS, Hash, NEAR_BITS, Sketch, TURNS};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::id::{BlobHash, ChangeHash, DocId, DocKind, OutletId, UserId, VisitId};
use sync_core::model::Day;
use sync_core::print::Print;

use super::StoreError;
use super::log::{self, AudienceId, Org};
use super::pages::{self, Sight};
use super::uploads::{self, Kept, TRIED_MS};
use crate::signals::field::Evidence;
use crate::signals::{Kind, Signal};

/// Photos whose hashes are near that are compared with a new one, nearest first.
const COMPARED_MAX: usize = 32;
/// Earlier photos that a signal is given for.
const EVIDENCE_MAX: usize = 5;
/// References to one photo that are read, the first of them: somebody may attach one file everywhere.
const REFERENCES_MAX: u32 = 50;
/// Signals of photos that are told of a visit, and of captures.
const TOLD_MAX: u32 = 200;

/// The next photo after this one at which nobody has looked, if there is one. What the process has died of is left out
/// for as long as nobody decodes it.
pub fn unlooked(
    connection: &Connection,
    org: Org,
    after: BlobHash,
    now_ms: i64,
) -> Result<Option<BlobHash>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT hash FROM blob b INDEXED BY blob_unlooked
         WHERE looked = 0 AND org = ?1 AND hash > ?3 AND NOT {} ORDER BY hash LIMIT 1",
        uploads::deadly()
    ))?;
    let since = now_ms.saturating_sub(TRIED_MS);
    let found = query.query_row(params![org, since, after.0], |row| Ok(BlobHash(row.get(0)?)));
    Ok(found.optional()?)
}

/// Notes what was seen in a photo, its sketch and how much it looks like a screen; `None` if it could not be read.
pub fn looked(
    tx: &Transaction<'_>,
    org: Org,
    hash: BlobHash,
    seen: Option<(&Sketch, u32)>,
) -> Result<(), StoreError> {
    let how = if seen.is_some() { 1 } else { 2 };
    let noted = tx
        .prepare_cached("UPDATE blob SET looked = ?3 WHERE org = ?1 AND hash = ?2 AND looked = 0")?
        .execute(params![org, hash.0, how])?;
    // It may have gone while it was looked at.
    let Some((sketch, screen)) = seen.filter(|_| noted > 0) else { return Ok(()) };
    // What the process had died of, or a restore had lost, may have been judged without it.
    tx.prepare_cached("UPDATE photo SET judged = 0 WHERE org = ?1 AND hash = ?2 AND judged <> 0")?
        .execute(params![org, hash.0])?;
    add(tx, org, hash, sketch, screen)
}

/// Adds a photo to those among which others are looked for.
pub fn add(
    tx: &Transaction<'_>,
    org: Org,
    hash: BlobHash,
    sketch: &Sketch,
    screen: u32,
) -> Result<(), StoreError> {
    let number: i64 = tx
        .prepare_cached("SELECT coalesce(max(photo), 0) + 1 FROM look WHERE org = ?1")?
        .query_row([org], |row| row.get(0))?;
    let added = tx
        .prepare_cached("INSERT OR IGNORE INTO look (org, photo, hash, sketch, screen) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![org, number, hash.0, sketch.as_bytes(), screen])?;
    if added > 0 {
        add_to_index(tx, org, number, sketch.hash())?;
    }
    Ok(())
}

/// A row of the index holds photos that have the same bits in one band: as many as fit into a page of the database, so
/// that it is read at once.
const ROW_BYTES_MAX: usize = 330 * ENTRY_BYTES;
/// A photo in a row of the index: its hash, and its number.
const ENTRY_BYTES: usize = 8 + 4;
/// How many bits of a row's place number those of the same organisation, band and bits. Of the rest a band takes three,
/// its bits eleven, and the organisation what is left.
const ROW_BITS: u32 = 22;

fn entry(number: i64, hash: Hash) -> Result<[u8; ENTRY_BYTES], StoreError> {
    let number = u32::try_from(number)
        .map_err(|_| StoreError::Damaged(format!("the number {number} of a photo")))?;
    let mut entry = [0; ENTRY_BYTES];
    entry[..8].copy_from_slice(&hash.0.to_be_bytes());
    entry[8..].copy_from_slice(&number.to_be_bytes());
    Ok(entry)
}

/// The first place of the rows of a band's bits, and the last that there can be.
fn places(org: Org, band: u8, bits: u16) -> (i64, i64) {
    let first = ((org << 3 | i64::from(band)) << 11 | i64::from(bits)) << ROW_BITS;
    (first, first | ((1 << ROW_BITS) - 1))
}

/// Puts a photo's hash into the index under its number: into the newest row of each band's bits, or the next.
fn add_to_index(tx: &Connection, org: Org, number: i64, hash: Hash) -> Result<(), StoreError> {
    let mut newest = tx.prepare_cached(
        "SELECT place, length(entries) FROM likeness WHERE place BETWEEN ?1 AND ?2
         ORDER BY place DESC LIMIT 1",
    )?;
    let mut add = tx.prepare_cached(
        "INSERT INTO likeness (place, entries) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET entries = CAST(entries || excluded.entries AS BLOB)",
    )?;
    let entry = entry(number, hash)?;
    for band in 0..BANDS {
        let (first, last) = places(org, band, hash.band(band));
        let newest = newest
            .query_row([first, last], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, usize>(1)?)));
        let place = match newest.optional()? {
            None => first,
            Some((place, bytes)) if bytes < ROW_BYTES_MAX => place,
            Some((place, _)) => place + 1,
        };
        add.execute(params![place, entry])?;
    }
    Ok(())
}

fn take_from_index(tx: &Connection, org: Org, number: i64, hash: Hash) -> Result<(), StoreError> {
    let of = entry(number, hash)?;
    let mut read =
        tx.prepare_cached("SELECT place, entries FROM likeness WHERE place BETWEEN ?1 AND ?2")?;
    let mut write = tx.prepare_cached("UPDATE likeness SET entries = ?2 WHERE place = ?1")?;
    for band in 0..BANDS {
        let (first, last) = places(org, band, hash.band(band));
        let rows = read.query_map([first, last], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(i64, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
        for (place, entries) in rows {
            let entries = entries.as_chunks::<ENTRY_BYTES>().0;
            if entries.contains(&of) {
                let left = entries.iter().filter(|entry| **entry != of);
                write.execute(params![place, left.flatten().copied().collect::<Vec<u8>>()])?;
            }
        }
    }
    Ok(())
}

/// Whether the index has the photos that were looked at, each with the hash of its sketch, and no others; and whether each
/// that was looked at has a sketch.
pub fn is_index_right(connection: &Connection, org: Org) -> Result<bool, StoreError> {
    let print = |first: i64, entry: &[u8; ENTRY_BYTES]| {
        Print::of_digest(&BlobHash::of(&[&first.to_be_bytes()[..], entry].concat()).0)
    };
    let (mut expected, mut kept) = (Print::default(), Print::default());
    let mut query = connection.prepare("SELECT photo, sketch FROM look WHERE org = ?1")?;
    let mut rows = query.query([org])?;
    while let Some(row) = rows.next()? {
        let sketch = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let Some(sketch) = Sketch::from_bytes(sketch) else { return Ok(false) };
        let (number, hash) = (row.get(0)?, sketch.hash());
        for band in 0..BANDS {
            expected += print(places(org, band, hash.band(band)).0, &entry(number, hash)?);
        }
    }
    let mut query =
        connection.prepare("SELECT place, entries FROM likeness WHERE place BETWEEN ?1 AND ?2")?;
    let mut rows = query.query([places(org, 0, 0).0, places(org + 1, 0, 0).0 - 1])?;
    while let Some(row) = rows.next()? {
        let first = row.get::<_, i64>(0)? >> ROW_BITS << ROW_BITS;
        let entries = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Ok(false);
        }
        entries.iter().for_each(|entry| kept += print(first, entry));
    }
    let unseen = "SELECT EXISTS (SELECT 1 FROM blob b WHERE org = ?1 AND looked = 1 AND NOT EXISTS
         (SELECT 1 FROM look l WHERE l.org = b.org AND l.hash = b.hash))";
    let unseen: bool = connection.query_row(unseen, [org], |row| row.get(0))?;
    Ok(expected == kept && !unseen)
}

/// Removes what was seen in a photo, and every signal that it is in: nothing shows any more that there was one like it.
/// Of what was like it, and of nothing else, the signals go too.
pub fn forget(tx: &Transaction<'_>, org: Org, hash: BlobHash) -> Result<(), StoreError> {
    let mut look =
        tx.prepare_cached("SELECT photo, sketch FROM look WHERE org = ?1 AND hash = ?2")?;
    let found = look.query_row(params![org, hash.0], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    if let Some((number, sketch)) = found.optional()? {
        let sketch = Sketch::from_bytes(&sketch)
            .ok_or_else(|| StoreError::Damaged(format!("the sketch of the photo {hash}")))?;
        take_from_index(tx, org, number, sketch.hash())?;
    }
    for query in [
        "DELETE FROM look WHERE org = ?1 AND hash = ?2",
        "DELETE FROM signal INDEXED BY signal_photo WHERE org = ?1 AND photo = ?2 AND photo <> x''",
        "DELETE FROM signal INDEXED BY signal_other WHERE org = ?1 AND other = ?2 AND other <> x''",
    ] {
        tx.prepare_cached(query)?.execute(params![org, hash.0])?;
    }
    Ok(())
}

/// The numbers of the photos whose hash differs from one of these in [`NEAR_BITS`] at most: how many bits differ from the
/// nearest of them, and which that is. What several of them ask for is read once.
pub fn near(
    connection: &Connection,
    org: Org,
    hashes: &[Hash],
) -> Result<BTreeMap<i64, (u32, usize)>, StoreError> {
    let mut asked: BTreeMap<(u8, u16), Vec<usize>> = BTreeMap::new();
    for (of, hash) in hashes.iter().enumerate() {
        hash.probes(NEAR_BITS).for_each(|probe| asked.entry(probe).or_default().push(of));
    }
    let mut query = connection.prepare_cached(
        "SELECT entries FROM likeness WHERE place BETWEEN ?1 AND ?2 ORDER BY place",
    )?;
    let mut found: BTreeMap<i64, (u32, usize)> = BTreeMap::new();
    for ((band, bits), by) in asked {
        let (first, last) = places(org, band, bits);
        let mut rows = query.query([first, last])?;
        while let Some(row) = rows.next()? {
            let entries = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            for [h @ .., a, b, c, d] in entries.as_chunks::<ENTRY_BYTES>().0 {
                let other = Hash(u64::from_be_bytes(*h));
                for of in &by {
                    let near = (other.distance(hashes[*of]), *of);
                    if near.0 <= NEAR_BITS {
                        let number = i64::from(u32::from_be_bytes([*a, *b, *c, *d]));
                        let nearest = found.entry(number).or_insert(near);
                        *nearest = near.min(*nearest);
                    }
                }
            }
        }
    }
    Ok(found)
}

/// A photo that is like another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Like {
    /// Which.
    pub hash: BlobHash,
    /// Bits of the hashes that differ, at the turn that fits best.
    pub bits: u32,
    /// How well the sketches agree, of 1,000.
    pub agreement: u32,
}

/// The photos that are of one origin with a picture, however they were cropped, turned or lit.
pub fn like(connection: &Connection, org: Org, sketch: &Sketch) -> Result<Vec<Like>, StoreError> {
    // Hundreds of rows are asked for: with locks taken once.
    let _snapshot = match connection.is_autocommit() {
        true => Some(connection.unchecked_transaction()?),
        false => None,
    };
    let turned = TURNS.map(|turn| sketch.turned(turn));
    let hashes = turned.each_ref().map(Sketch::hash);
    let mut nearest: Vec<_> = near(connection, org, &hashes)?.into_iter().collect();
    nearest.sort_unstable_by_key(|(photo, (bits, _))| (*bits, *photo));
    nearest.truncate(COMPARED_MAX);
    let mut query =
        connection.prepare_cached("SELECT hash, sketch FROM look WHERE org = ?1 AND photo = ?2")?;
    let mut alike = Vec::new();
    for (photo, (bits, turn)) in nearest {
        let read = query.query_row(params![org, photo], |row| {
            Ok((BlobHash(row.get(0)?), row.get::<_, Vec<u8>>(1)?))
        });
        let Some((hash, other)) = read.optional()? else { continue };
        let other = Sketch::from_bytes(&other)
            .ok_or_else(|| StoreError::Damaged(format!("the sketch of the photo {hash}")))?;
        let agreement = turned[turn].agreement(&other);
        if agreement >= AGREEMENT_MIN {
            alike.push(Like { hash, bits, agreement });
        }
    }
    Ok(alike)
}

/// What somebody names a photo in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// In which organisation.
    pub org: Org,
    /// To which photo.
    pub hash: BlobHash,
    /// From which document.
    pub document: DocId,
    /// Who sees that.
    pub audience: AudienceId,
    /// Whose entries name it.
    pub by: UserId,
    /// First when, by claim.
    pub at_ms: i64,
    /// Not before this, by what its device knew; `None`: it says nothing of that.
    pub earliest_ms: Option<i64>,
    /// Not after this: when the server had the first of them.
    pub received_ms: Option<i64>,
}

impl Reference {
    /// Whether it is from before another as the bounds have it: the server had it before the other
    /// says to have been made. Who names a later line than they knew has theirs count as the later one.
    fn bounded_before(&self, other: &Self) -> bool {
        let known = self.received_ms.zip(other.earliest_ms);
        known.is_some_and(|(received, earliest)| received <= earliest)
    }

    /// Whether it is from before another: as the bounds have it, and where they do not say by claim.
    fn is_before(&self, other: &Self) -> bool {
        let claim =
            |r: &Self| (r.at_ms, r.received_ms, r.document.to_bytes(), r.hash.0, *r.by.as_bytes());
        match (self.bounded_before(other), other.bounded_before(self)) {
            (true, false) => true,
            (false, true) => false,
            _ => claim(self) < claim(other),
        }
    }

    /// Whether their order is but two people's words: a claim of one of them must not put a signal on the other alone.
    fn is_in_doubt(&self, other: &Self) -> bool {
        self.by != other.by && !self.bounded_before(other) && !other.bounded_before(self)
    }
}

const REFERENCE: &str =
    "org, hash, document, by, referenced_ms, earliest_ms, received_ms, audience";

fn reference(row: &rusqlite::Row<'_>) -> Result<Reference, StoreError> {
    let document: Vec<u8> = row.get(2)?;
    let document = DocId::from_bytes(&document)
        .ok_or_else(|| StoreError::Damaged("a document's name".into()))?;
    Ok(Reference {
        org: row.get(0)?,
        hash: BlobHash(row.get(1)?),
        document,
        by: UserId::from_bytes(row.get(3)?),
        at_ms: row.get(4)?,
        earliest_ms: row.get(5)?,
        received_ms: row.get(6)?,
        audience: row.get(7)?,
    })
}

/// A reference to a photo that the server has looked at, does not look at, or does not keep any more, and that was not
/// judged yet, if there is one.
pub fn unjudged(
    connection: &Connection,
    org: Org,
    now_ms: i64,
) -> Result<Option<Reference>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {REFERENCE} FROM photo p INDEXED BY photo_unjudged
         WHERE judged = 0 AND here <> 0 AND org = ?1 AND EXISTS
             (SELECT 1 FROM blob b WHERE b.org = p.org AND b.hash = p.hash
                  AND (b.looked <> 0 OR {}))
         LIMIT 1",
        uploads::deadly()
    ))?;
    let mut rows = query.query([org, now_ms.saturating_sub(TRIED_MS)])?;
    rows.next()?.map(reference).transpose()
}

/// What a reference gives reason to look at.
#[derive(Debug, Default)]
pub struct Found {
    /// By itself; `None` where its document cannot be read: what was found before stays then.
    pub by_itself: Option<Vec<(Signal, Option<Evidence>)>>,
    /// The references that are its like.
    pub others: Vec<(Reference, Signal)>,
    /// Those of its own document that are, and of which nothing is to be said.
    pub none_with: Vec<(Reference, Signal)>,
}

/// What the server saw in a photo.
#[derive(Debug, Default)]
pub struct Seen {
    /// How much it looks like a screen.
    pub screen: u32,
    /// The references that are its like, or the same file in other documents, and borne out. Not what was taken back.
    pub others: Vec<(Reference, Signal)>,
}

/// What is known of a photo besides its document. One that could not be looked at, or was gone before, is like its own
/// file alone.
pub fn seen_in(connection: &Connection, of: &Reference) -> Result<Seen, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT sketch, screen FROM look WHERE org = ?1 AND hash = ?2")?;
    let found = query
        .query_row(params![of.org, of.hash.0], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)));
    let (mut alike, mut screen) = (vec![Like { hash: of.hash, bits: 0, agreement: 1_000 }], 0);
    if let Some((sketch, seen)) = found.optional()? {
        let sketch = Sketch::from_bytes(&sketch)
            .ok_or_else(|| StoreError::Damaged(format!("the sketch of the photo {}", of.hash)))?;
        let near = like(connection, of.org, &sketch)?.into_iter();
        alike.extend(near.filter(|like| like.hash != of.hash));
        screen = seen;
    }
    let mut query = connection.prepare_cached(&format!(
        "SELECT {REFERENCE} FROM photo INDEXED BY photo_first
         WHERE org = ?1 AND hash = ?2 AND here <> 0 AND judged <> 2 AND (document <> ?3 OR hash <> ?5)
         ORDER BY referenced_ms LIMIT ?4"
    ))?;
    let mut others = Vec::new();
    for like in alike {
        let kind = if like.hash == of.hash { Kind::SameFile } else { Kind::SamePicture };
        let signal = Signal { kind, figure: like.bits.into() };
        let own = of.document.to_bytes();
        let mut rows = query.query(params![of.org, like.hash.0, own, REFERENCES_MAX, of.hash.0])?;
        while let Some(row) = rows.next()? {
            others.push((reference(row)?, signal));
        }
    }
    Ok(Seen { screen, others })
}

/// The newest line of a reference's document.
pub fn newest(connection: &Connection, of: &Reference) -> Result<Option<u64>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT max(sequence) FROM log INDEXED BY log_document WHERE org = ?1 AND document = ?2",
    )?;
    Ok(query.query_row(params![of.org, of.document.to_bytes()], |row| row.get(0))?)
}

/// Writes down what a reference gives reason to look at, and that it was judged as its document was at a line, its
/// [`newest`] then; with `None`, that nothing which stands names the photo: it has no signals then, and nothing has one for
/// it. Of two photos that are alike the later one has the signal, whichever came to the server first; where two people's
/// claims alone say which that is, both have, and it is said. A signal stays looked at as long as it says the same.
pub fn judged(
    tx: &Transaction<'_>,
    of: &Reference,
    as_of: Option<u64>,
    found: Option<&Found>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let erased = |hash| -> Result<bool, StoreError> {
        Ok(matches!(uploads::kept(tx, of.org, hash)?, Some(Kept::Erased(_))))
    };
    // Whoever has named it again meanwhile, or taken it back, has it judged again.
    let judged = match found {
        _ if newest(tx, of)? != as_of => 0,
        Some(_) => 1,
        None => 2,
    };
    tx.prepare_cached(&format!("UPDATE photo SET judged = ?6 WHERE {}", uploads::ONE))?.execute(
        params![of.org, of.hash.0, of.audience, of.by.as_bytes(), of.document.to_bytes(), judged],
    )?;
    if erased(of.hash)? {
        return Ok(());
    }
    let Some(Found { by_itself, others, none_with }) = found else { return taken_back(tx, of) };
    let mut insert = tx.prepare_cached(
        "INSERT INTO signal (org, visit, kind, photo, by, other, other_document, other_by, entry,
             figure, evidence, found_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, x'', ?9, ?10, ?11)
         ON CONFLICT DO UPDATE SET figure = excluded.figure, evidence = excluded.evidence,
             found_ms = excluded.found_ms, seen_by = NULL, seen_ms = NULL
         WHERE figure <> excluded.figure OR evidence <> excluded.evidence",
    )?;
    let mut delete = tx.prepare_cached(
        "DELETE FROM signal WHERE org = ?1 AND visit = ?2 AND kind = ?3 AND photo = ?4 AND by = ?5
             AND other = ?6 AND other_document = ?7 AND other_by = ?8",
    )?;
    let empty: &[u8] = &[];
    if let Some(by_itself) = by_itself.as_ref().filter(|_| of.document.kind == DocKind::Visit) {
        let (visit, photo, by) = (of.document.id, of.hash.0, of.by.as_bytes());
        for kind in Kind::ALL {
            // The entry that gave it may have been taken back.
            if !by_itself.iter().any(|(signal, _)| signal.kind == kind) {
                let kind = kind as u8;
                delete.execute(params![of.org, visit, kind, photo, by, empty, empty, empty])?;
            }
        }
        for (other, Signal { kind, .. }) in none_with {
            let (document, kind) = (other.document.to_bytes(), *kind as u8);
            let (other, other_by) = (other.hash.0, other.by.as_bytes());
            delete.execute(params![of.org, visit, kind, photo, by, other, document, other_by])?;
            delete.execute(params![of.org, visit, kind, other, other_by, photo, document, by])?;
        }
        for (Signal { kind, figure }, evidence) in by_itself {
            let evidence = evidence.as_ref().map(to_cbor).unwrap_or_default();
            let visit = of.document.id;
            insert.execute(params![
                of.org,
                visit,
                *kind as u8,
                of.hash.0,
                of.by.as_bytes(),
                empty,
                empty,
                empty,
                figure,
                evidence,
                now_ms
            ])?;
        }
    }
    // Whoever names another's photo in ever more visits gives that other no more to explain.
    let mut said = tx.prepare_cached(
        "SELECT count(*) FROM signal
         WHERE org = ?1 AND visit = ?2 AND kind = ?3 AND photo = ?4 AND by = ?5",
    )?;
    let mut own = 0;
    for (other, Signal { kind, figure }) in others {
        if erased(other.hash)? {
            continue;
        }
        let (claims_first, doubt) = (of.is_before(other), of.is_in_doubt(other));
        for (has, names) in [(of, other), (other, of)] {
            let later = (has == of) != claims_first;
            if has.document.kind != DocKind::Visit {
                continue;
            }
            let (visit, kind, photo) = (has.document.id, *kind as u8, has.hash.0);
            let (by, other_by) = (has.by.as_bytes(), names.by.as_bytes());
            let (other, other_document) = (names.hash.0, names.document.to_bytes());
            if !(later || doubt) {
                // It may have been the later one before it was named again.
                delete.execute(params![
                    of.org,
                    visit,
                    kind,
                    photo,
                    by,
                    other,
                    other_document,
                    other_by
                ])?;
                continue;
            }
            own += usize::from(has == of);
            let before = match has == of {
                true => own - 1,
                false => {
                    said.query_row(params![of.org, visit, kind, photo, by], |row| row.get(0))?
                }
            };
            if before >= EVIDENCE_MAX {
                continue;
            }
            let evidence = doubt.then(|| to_cbor(&Evidence::Unproved { claims_first: !later }));
            insert.execute(params![
                of.org,
                visit,
                kind,
                photo,
                by,
                other,
                other_document,
                other_by,
                figure,
                evidence.unwrap_or_default(),
                now_ms,
            ])?;
        }
    }
    Ok(())
}

/// Removes every signal that a reference is in. What had one for it is judged again: it may be like others of which it was
/// not said beside so many.
fn taken_back(tx: &Transaction<'_>, of: &Reference) -> Result<(), StoreError> {
    let (document, by) = (of.document.to_bytes(), of.by.as_bytes());
    tx.prepare_cached(
        "DELETE FROM signal WHERE org = ?1 AND visit = ?2 AND photo = ?3 AND by = ?4",
    )?
    .execute(params![of.org, of.document.id, of.hash.0, by])?;
    let mut delete = tx.prepare_cached(
        "DELETE FROM signal INDEXED BY signal_other WHERE org = ?1 AND other = ?2 AND other <> x''
             AND other_document = ?3 AND other_by = ?4 RETURNING visit, photo, by",
    )?;
    let rows = delete.query_map(params![of.org, of.hash.0, document, by], |row| {
        Ok((VisitId::from_bytes(row.get(0)?), row.get(1)?, UserId::from_bytes(row.get(2)?)))
    })?;
    for (visit, photo, by) in rows.collect::<Result<Vec<_>, _>>()? {
        reconsider(tx, of.org, visit.into(), BlobHash(photo), by)?;
    }
    Ok(())
}

/// A reference to a photo is to be judged again: what names it, or what it is like, was taken back.
pub fn reconsider(
    tx: &Transaction<'_>,
    org: Org,
    document: DocId,
    hash: BlobHash,
    by: UserId,
) -> Result<(), StoreError> {
    let audience = log::document_audience(tx, org, document)?;
    tx.prepare_cached(&format!(
        "UPDATE photo SET judged = 0 WHERE {} AND judged <> 0",
        uploads::ONE
    ))?
    .execute(params![org, hash.0, audience, by.as_bytes(), document.to_bytes()])?;
    Ok(())
}

/// What the organisation thinks of each kind, 0 to 100.
pub type Weights = BTreeMap<Kind, u32>;

/// The weights of an organisation.
pub fn weights(connection: &Connection, org: Org) -> Result<Weights, StoreError> {
    let mut weights: Weights = Kind::ALL.map(|kind| (kind, kind.usual_weight())).into();
    let mut query =
        connection.prepare_cached("SELECT kind, weight FROM signal_weight WHERE org = ?1")?;
    let mut rows = query.query([org])?;
    while let Some(row) = rows.next()? {
        if let Some(kind) = Kind::of(row.get(0)?) {
            weights.insert(kind, row.get(1)?);
        }
    }
    Ok(weights)
}

/// Sets the weights of an organisation.
pub fn set_weights(tx: &Transaction<'_>, org: Org, weights: &Weights) -> Result<(), StoreError> {
    for (kind, weight) in weights {
        tx.prepare_cached("INSERT OR REPLACE INTO signal_weight VALUES (?1, ?2, ?3)")?
            .execute(params![org, *kind as u8, weight])?;
    }
    Ok(())
}

/// A signal as somebody may see it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What, and how much of it.
    pub signal: Signal,
    /// Of which photo of the visit; `None` of a capture.
    pub photo: Option<BlobHash>,
    /// Who has shown the photo, if that is nobody who worked on the visit: in a contest.
    pub contested: Option<UserId>,
    /// Whose capture, and which.
    pub capture: Option<(UserId, ChangeHash)>,
    /// The other photo or capture, and what it is in.
    pub other: Option<Other>,
    /// What shows it, as far as that is seen.
    pub evidence: Option<Evidence>,
    /// So many visits that are part of the evidence are not seen.
    pub hidden: usize,
    /// Since when it is as it is.
    pub found_ms: i64,
    /// Who has looked at it, and when.
    pub seen: Option<(UserId, i64)>,
}

/// The other photo or capture of a signal.
#[derive(Debug, Clone, Copy)]
pub enum Other {
    /// In a document that this person sees.
    InSight(InSight),
    /// In a document that this person does not see.
    OutOfSight,
}

/// Another photo or capture that is seen.
#[derive(Debug, Clone, Copy)]
pub struct InSight {
    /// Which photo, unless it is of a capture or the photo is gone.
    pub photo: Option<BlobHash>,
    /// Of which document.
    pub document: DocId,
    /// The outlet and the day of a visit.
    pub place: Option<(OutletId, Day)>,
    /// By whom it was recorded, or shown.
    pub by: Option<UserId>,
    /// It was shown in a contest.
    pub contest: bool,
    /// Recorded when, by claim.
    pub at_ms: i64,
}

/// The signals of a visit that weigh anything, by kind and photo, as many as anybody reads, with no more of their evidence
/// than `see` shows; those that are `waiting` alone, or those too that somebody has looked at. That the visit is seen is for
/// the caller to know.
pub fn of_visit(
    connection: &Connection,
    see: &Sight,
    visit: VisitId,
    waiting: bool,
) -> Result<Vec<Shown>, StoreError> {
    let weights = weights(connection, see.org)?;
    let mut query = connection.prepare_cached(&format!(
        "SELECT kind, photo, other, other_document, figure, seen_by, seen_ms, by, entry, evidence,
             (SELECT referenced_ms FROM photo p
              WHERE p.org = s.org AND p.hash = s.other AND p.audience = {}
                  AND p.by = s.other_by AND p.document = s.other_document),
             (SELECT began_ms FROM stay t
              WHERE t.org = s.org AND t.visit = substr(s.other_document, 2) AND t.person = s.by),
             EXISTS (SELECT 1 FROM blob b
              WHERE b.org = s.org AND b.hash = s.other AND b.gone_ms IS NULL),
             other_by,
             photo <> x'' AND EXISTS (SELECT 1 FROM visit v
              WHERE v.org = s.org AND v.visit = s.visit AND instr(v.people, s.by) = 0),
             found_ms
         FROM signal s WHERE org = ?1 AND visit = ?2 AND kind BETWEEN ?3 AND ?4
             AND (seen_ms IS NULL OR NOT ?6)
         ORDER BY kind, photo LIMIT ?5",
        log::audience_in("s.org", "s.other_document")
    ))?;
    let mut place = connection
        .prepare_cached("SELECT outlet, day, people FROM visit WHERE org = ?1 AND visit = ?2")?;
    let (of_field, mut shown) = (Kind::Outside as u8, Vec::new());
    for (first, last) in [(0, of_field - 1), (of_field, u8::MAX)] {
        let mut rows =
            query.query(params![see.org, visit.as_bytes(), first, last, TOLD_MAX, waiting])?;
        while let Some(row) = rows.next()? {
            let kind = Kind::of(row.get(0)?).filter(|kind| weights.get(kind) != Some(&0));
            let Some(kind) = kind else { continue };
            let hash = |at: usize| -> Result<Option<[u8; 32]>, StoreError> {
                Ok(row.get::<_, Vec<u8>>(at)?.try_into().ok())
            };
            let evidence: Vec<u8> = row.get(9)?;
            let mut evidence: Option<Evidence> = match evidence.as_slice() {
                [] => None,
                packed => Some(from_cbor(packed)?),
            };
            let mut hidden = 0;
            let sees = |document| -> Result<bool, StoreError> {
                let audience = pages::audience_of(connection, see.org, document)?;
                Ok(audience.is_some_and(|audience| see.sees(&audience)))
            };
            let other = match DocId::from_bytes(&row.get::<_, Vec<u8>>(3)?) {
                Some(document) if sees(document)? => {
                    let at_ms = row.get::<_, Option<i64>>(if kind.of_field() { 11 } else { 10 })?;
                    let here: bool = row.get(12)?;
                    let photo = hash(2)?.filter(|_| here && !kind.of_field()).map(BlobHash);
                    let by = row.get::<_, Vec<u8>>(if kind.of_field() { 7 } else { 13 })?;
                    let by: Option<[u8; 16]> = by.try_into().ok();
                    let found = match document.kind {
                        DocKind::Visit => place
                            .query_row(params![see.org, document.id], |row| {
                                let place = (OutletId::from_bytes(row.get(0)?), Day(row.get(1)?));
                                Ok((place, row.get::<_, Vec<u8>>(2)?))
                            })
                            .optional()?,
                        DocKind::Outlet => None,
                    };
                    let (place, people) = found.unzip();
                    let contest = people
                        .zip(by)
                        .is_some_and(|(people, by)| !people.as_chunks().0.contains(&by));
                    Some(Other::InSight(InSight {
                        photo,
                        document,
                        place,
                        by: by.map(UserId::from_bytes),
                        contest,
                        at_ms: at_ms.unwrap_or_default(),
                    }))
                }
                Some(_) => {
                    let own = |shows: &Evidence| {
                        matches!(shows, Evidence::Unproved { .. } | Evidence::Clock { .. })
                    };
                    evidence = evidence.filter(own);
                    Some(Other::OutOfSight)
                }
                None => None,
            };
            if let Some(Evidence::Lengths(lengths)) = &mut evidence {
                let all = std::mem::take(lengths);
                for length in all {
                    match sees(length.visit.into())? {
                        true => lengths.push(length),
                        false => hidden += 1,
                    }
                }
            }
            let by = UserId::from_bytes(row.get(7)?);
            let (seen, contested): (Option<[u8; 16]>, bool) = (row.get(5)?, row.get(14)?);
            shown.push(Shown {
                signal: Signal { kind, figure: row.get(4)? },
                photo: hash(1)?.map(BlobHash),
                contested: Some(by).filter(|_| contested),
                capture: hash(8)?.map(|entry| (by, ChangeHash(entry))),
                other,
                evidence,
                hidden,
                found_ms: row.get(15)?,
                seen: seen.map(UserId::from_bytes).zip(row.get(6)?),
            });
        }
    }
    Ok(shown)
}

/// A visit that is worth a look.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Which.
    pub visit: VisitId,
    /// Where.
    pub outlet: OutletId,
    /// The outlet's local day of its start.
    pub day: Day,
    /// Who worked on it.
    pub people: Vec<UserId>,
    /// What the signals of what was recorded weigh together.
    pub weight: u32,
    /// What those of photos weigh that others have shown in a contest.
    pub contests: u32,
    /// Its signals.
    pub signals: Vec<Shown>,
}

/// Which visits a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those with signals that nobody has looked at.
    Waiting,
    /// Those with signals, whether somebody has looked at them or not, from this day on.
    Since(Day),
}

/// The visits with signals, heaviest first, from the `from`th on and `limit` at most; those that weigh nothing are left out. What others have shown in a contest
/// weighs nothing for those whose work is contested.
pub fn queue(
    connection: &Connection,
    see: &Sight,
    which: Which,
    (from, limit): (u32, u32),
) -> Result<Vec<Waiting>, StoreError> {
    let weigh: String = weights(connection, see.org)?
        .iter()
        .map(|(kind, weight)| format!(" WHEN {} THEN {weight}", *kind as u8))
        .collect();
    let seen = see.list(connection)?;
    let signals = match which {
        Which::Waiting => {
            "signal INDEXED BY signal_open WHERE org = ?1 AND seen_ms IS NULL".to_owned()
        }
        Which::Since(Day(day)) => format!(
            "signal WHERE org = ?1 AND visit IN
                 (SELECT visit FROM visit WHERE org = ?1 AND day >= {day} AND audience IN ({seen}))"
        ),
    };
    let mut query = connection.prepare(&format!(
        "SELECT w.visit, outlet, day, people,
             sum(iif(contested, 0, weight)) AS own, sum(iif(contested, weight, 0)) AS others
         FROM (
             SELECT v.visit, v.outlet, v.day, v.people, v.changed,
                 CASE kind{weigh} ELSE 0 END AS weight,
                 photo <> x'' AND instr(v.people, s.by) = 0 AS contested
             FROM (SELECT DISTINCT visit, kind, photo, by FROM {signals}) s
             JOIN visit v ON v.org = ?1 AND v.visit = s.visit
             WHERE v.audience IN ({seen})
             GROUP BY v.visit, kind, photo, contested) w
         GROUP BY w.visit HAVING own + others > 0
         ORDER BY own DESC, others DESC, changed DESC, w.visit LIMIT ?2 OFFSET ?3"
    ))?;
    let mut rows = query.query(params![see.org, limit, from])?;
    let mut waiting = Vec::new();
    while let Some(row) = rows.next()? {
        let visit = VisitId::from_bytes(row.get(0)?);
        let people: Vec<u8> = row.get(3)?;
        let signals = of_visit(connection, see, visit, which == Which::Waiting)?;
        waiting.push(Waiting {
            visit,
            outlet: OutletId::from_bytes(row.get(1)?),
            day: Day(row.get(2)?),
            people: people.as_chunks().0.iter().map(|id| UserId::from_bytes(*id)).collect(),
            weight: row.get(4)?,
            contests: row.get(5)?,
            signals,
        });
    }
    Ok(waiting)
}

/// How many visits with signals nobody has looked at; no more than `limit` are counted.
pub fn waiting(connection: &Connection, see: &Sight, limit: u64) -> Result<u64, StoreError> {
    let weights = weights(connection, see.org)?;
    let kinds: Vec<String> = weights
        .iter()
        .filter(|(_, w)| **w > 0)
        .map(|(kind, _)| (*kind as u8).to_string())
        .collect();
    let (kinds, seen) = (kinds.join(","), see.list(connection)?);
    let mut query = connection.prepare(&format!(
        "SELECT count(*) FROM (SELECT DISTINCT s.visit FROM signal s INDEXED BY signal_open
             JOIN visit v ON v.org = s.org AND v.visit = s.visit
             WHERE s.org = ?1 AND s.seen_ms IS NULL AND s.kind IN ({kinds}) AND v.audience IN ({seen})
             LIMIT ?2)"
    ))?;
    Ok(query.query_row(params![see.org, limit], |row| row.get(0))?)
}

/// Notes that somebody has looked at the signals of a visit that were shown: none of those is newer than `shown_ms`, or
/// weighs nothing.
pub fn seen(
    tx: &Transaction<'_>,
    org: Org,
    visit: VisitId,
    by: UserId,
    (shown_ms, now_ms): (i64, i64),
) -> Result<(), StoreError> {
    let weights = weights(tx, org)?;
    let mut seen = tx.prepare_cached(
        "UPDATE signal SET seen_by = ?3, seen_ms = ?5
         WHERE org = ?1 AND visit = ?2 AND kind = ?6 AND seen_ms IS NULL AND found_ms <= ?4",
    )?;
    for (kind, _) in weights.iter().filter(|(_, weight)| **weight > 0) {
        let kind = *kind as u8;
        seen.execute(params![org, visit.as_bytes(), by.as_bytes(), shown_ms, now_ms, kind])?;
    }
    Ok(())
}
