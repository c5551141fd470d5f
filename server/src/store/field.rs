//! What the field's signals are made of, and the rows of those. Both are functions of the visits' documents and of where
//! the outlets are and were: in whatever order work comes, and made anew, they are the same.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::id::{ChangeHash, DeviceId, DocId, OutletId, UserId, VisitId};
use sync_core::model::catalogue::{Record, RecordKey};

use super::StoreError;
use super::log::Org;
use crate::jobs::DAY_MS;
use crate::signals::Kind;
use crate::signals::field::{BEFORE_MAX, Fix, Found, Ground, Reading, Settings, Stay, after};

/// A visit whose place, way and time are to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unjudged {
    /// In which organisation.
    pub org: Org,
    /// Which.
    pub visit: VisitId,
    /// Where.
    pub outlet: OutletId,
    /// The newest line of it.
    pub changed: u64,
}

/// A few of the visits that are to be looked at.
pub fn unjudged(
    connection: &Connection,
    org: Org,
    limit: u32,
) -> Result<Vec<Unjudged>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT org, visit, outlet, changed FROM visit INDEXED BY visit_unjudged
         WHERE judged = 0 AND org = ?1 LIMIT ?2",
    )?;
    let rows = query.query_map(params![org, limit], |row| {
        let (visit, outlet) = (VisitId::from_bytes(row.get(1)?), OutletId::from_bytes(row.get(2)?));
        Ok(Unjudged { org: row.get(0)?, visit, outlet, changed: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Where an outlet's record has had it, the oldest first, each with when that was written; empty if the newest does not
/// say.
pub fn grounds(
    connection: &Connection,
    org: Org,
    outlet: OutletId,
    settings: Settings,
) -> Result<Vec<(i64, Ground)>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT log.at_ms, record.body FROM record JOIN log USING (org, sequence)
         WHERE org = ?1 AND key = ?2 ORDER BY sequence",
    )?;
    let rows = query.query_map(params![org, RecordKey::outlet(outlet).to_bytes()], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let versions: Vec<(i64, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
    let (mut grounds, mut known): (Vec<(i64, Ground)>, bool) = (Vec::new(), false);
    for (at_ms, body) in &versions {
        let Record::Outlet(outlet) = from_cbor::<Record>(body)? else {
            return Err(StoreError::Damaged("the record of an outlet".into()));
        };
        known = outlet.place.is_some();
        let Some(place) = outlet.place else { continue };
        let radius_m = outlet.radius_m.unwrap_or(settings.radius_m);
        match grounds.last_mut() {
            // How far it reaches there is for the newest version to say.
            Some((_, last)) if last.place == place => last.radius_m = radius_m,
            _ => grounds.push((*at_ms, Ground { place, radius_m })),
        }
    }
    if !known {
        grounds.clear();
    }
    Ok(grounds)
}

/// The visits of an outlet are to be looked at again: it is known to be elsewhere.
pub fn reconsider(tx: &Transaction<'_>, org: Org, outlet: OutletId) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE visit SET judged = 0 WHERE org = ?1 AND judged <> 0 AND visit IN
             (SELECT visit FROM visit INDEXED BY visit_outlet WHERE org = ?1 AND outlet = ?2)",
    )?
    .execute(params![org, outlet.as_bytes()])?;
    Ok(())
}

/// The documents in which devices have written.
#[derive(Debug, Default)]
pub struct Written {
    documents: BTreeSet<[u8; 17]>,
    /// How many lines of the log were read.
    size: u64,
}

impl Written {
    /// Reads on in the log, the newest line first, down to what was read before and to what came before `since_ms`.
    fn read(
        &mut self,
        connection: &Connection,
        org: Org,
        devices: &BTreeSet<DeviceId>,
        since_ms: i64,
    ) -> Result<(), StoreError> {
        let mut query = connection.prepare_cached(
            "SELECT at_ms, document, device, sequence FROM log
             WHERE org = ?1 AND sequence >= ?2 ORDER BY sequence DESC",
        )?;
        let (mut rows, mut size) = (query.query(params![org, self.size])?, self.size);
        while let Some(row) = rows.next()? {
            size = size.max(row.get::<_, u64>(3)? + 1);
            // A day more: the server's clock may have been set.
            if row.get::<_, i64>(0)? < since_ms.saturating_sub(DAY_MS) {
                break;
            }
            let Some(document) = row.get(1)? else { continue };
            let device = row.get::<_, Option<[u8; 16]>>(2)?.map(DeviceId::from_bytes);
            if device.is_some_and(|device| devices.contains(&device)) {
                self.documents.insert(document);
            }
        }
        self.size = size;
        Ok(())
    }
}

/// The documents in which these devices have written what came since then. It reads all of the log since.
pub fn written_by(
    connection: &Connection,
    org: Org,
    devices: &BTreeSet<DeviceId>,
    since_ms: i64,
) -> Result<Written, StoreError> {
    let mut written = Written::default();
    written.read(connection, org, devices, since_ms)?;
    Ok(written)
}

/// The visits in which these devices have written, until `written` was read or since, are to be looked at again.
pub fn reconsider_of(
    tx: &Transaction<'_>,
    org: Org,
    devices: &BTreeSet<DeviceId>,
    mut written: Written,
) -> Result<(), StoreError> {
    written.read(tx, org, devices, i64::MIN)?;
    let mut again =
        tx.prepare_cached("UPDATE visit SET judged = 0 WHERE org = ?1 AND visit = ?2")?;
    for document in &written.documents {
        again.execute(params![org, &document[1..]])?;
    }
    Ok(())
}

/// What an organisation says of its field.
pub fn settings(connection: &Connection, org: Org) -> Result<Settings, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT radius_m, observation_ms FROM organisation WHERE org = ?1")?;
    let read = query.query_row([org], |row| {
        Ok(Settings { radius_m: row.get(0)?, observation_ms: row.get(1)? })
    });
    Ok(read?)
}

/// Says something else. All visits are to be looked at again.
pub fn set(tx: &Transaction<'_>, org: Org, settings: Settings) -> Result<(), StoreError> {
    let Settings { radius_m, observation_ms } = settings;
    let changed = tx.execute(
        "UPDATE organisation SET radius_m = ?2, observation_ms = ?3
         WHERE org = ?1 AND (radius_m <> ?2 OR observation_ms <> ?3)",
        params![org, radius_m, observation_ms],
    )?;
    if changed > 0 {
        tx.execute("UPDATE visit SET judged = 0 WHERE org = ?1 AND judged <> 0", [org])?;
    }
    Ok(())
}

/// Writes down what a visit says, unless it has changed since it was read, and what it changes for the visits that the
/// same people began after it.
pub fn judged(
    tx: &Transaction<'_>,
    of: &Unjudged,
    reading: &Reading,
    now_ms: i64,
) -> Result<(), StoreError> {
    let current = tx
        .prepare_cached(
            "UPDATE visit SET judged = 1 WHERE org = ?1 AND visit = ?2 AND changed = ?3",
        )?
        .execute(params![of.org, of.visit.as_bytes(), of.changed])?;
    if current == 0 {
        return Ok(());
    }
    let by_person = |stays: &[Stay]| -> BTreeMap<UserId, Stay> {
        stays.iter().map(|stay| (stay.person, stay.clone())).collect()
    };
    let before = by_person(&stays(tx, of.org, of.visit)?);
    let now = by_person(&reading.stays);
    let people: BTreeSet<UserId> = before.keys().chain(now.keys()).copied().collect();
    let mut touched = BTreeSet::new();
    for person in people {
        let (old, new) = (before.get(&person), now.get(&person));
        if old == new {
            continue;
        }
        if let Some(old) = old {
            let later = began_after(tx, of.org, of.visit, old)?;
            touched.extend(later.into_iter().map(|visit| (visit, person)));
            remove(tx, of.org, of.visit, person)?;
        }
        if let Some(new) = new {
            put(tx, of.org, of.visit, new)?;
            let later = began_after(tx, of.org, of.visit, new)?;
            touched.extend(later.into_iter().map(|visit| (visit, person)));
        }
    }
    let mut found = reading.found.clone();
    for person in now.keys() {
        found.extend(over_several(tx, of.org, of.visit, *person)?);
    }
    replace(tx, (of.org, of.visit), &found, |_| true, now_ms)?;
    touched.retain(|(visit, _)| *visit != of.visit);
    for (visit, person) in touched {
        let found = over_several(tx, of.org, visit, person)?;
        let own = |row: &Kept| row.over_several() && row.by == *person.as_bytes();
        replace(tx, (of.org, visit), &found, own, now_ms)?;
    }
    Ok(())
}

/// What is seen over several visits of a person in one of them, as their rows have it.
fn over_several(
    connection: &Connection,
    org: Org,
    visit: VisitId,
    person: UserId,
) -> Result<Vec<Found>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM stay WHERE org = ?1 AND visit = ?2 AND person = ?3"
    ))?;
    let own =
        query.query_row(params![org, visit.as_bytes(), person.as_bytes()], read).optional()?;
    let Some((_, own)) = own.transpose()? else { return Ok(Vec::new()) };
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM stay INDEXED BY stay_person
         WHERE org = ?1 AND person = ?2 AND (began_ms, visit) < (?3, ?4)
         ORDER BY began_ms DESC, visit DESC LIMIT {BEFORE_MAX}"
    ))?;
    let parameters = params![org, person.as_bytes(), own.began_ms, visit.as_bytes()];
    let before = query.query_map(parameters, read)?.map(|row| row?);
    Ok(after(&before.collect::<Result<Vec<_>, StoreError>>()?, (visit, &own)))
}

/// The visits that look back at this one.
fn began_after(
    connection: &Connection,
    org: Org,
    visit: VisitId,
    stay: &Stay,
) -> Result<Vec<VisitId>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT visit FROM stay INDEXED BY stay_person
         WHERE org = ?1 AND person = ?2 AND (began_ms, visit) > (?3, ?4)
         ORDER BY began_ms, visit LIMIT {BEFORE_MAX}"
    ))?;
    let parameters = params![org, stay.person.as_bytes(), stay.began_ms, visit.as_bytes()];
    let rows = query.query_map(parameters, |row| Ok(VisitId::from_bytes(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const COLUMNS: &str = "visit, person, entry, began_ms, length_ms, fixes";

fn read(row: &Row<'_>) -> rusqlite::Result<Result<(VisitId, Stay), StoreError>> {
    let fixes: Vec<u8> = row.get(5)?;
    let visit = VisitId::from_bytes(row.get(0)?);
    let (person, entry) = (UserId::from_bytes(row.get(1)?), ChangeHash(row.get(2)?));
    let (began_ms, length_ms) = (row.get(3)?, row.get(4)?);
    Ok(from_cbor::<Vec<Fix>>(&fixes)
        .map(|fixes| (visit, Stay { person, entry, began_ms, length_ms, fixes }))
        .map_err(StoreError::from))
}

/// What a visit's people did there, by person.
pub fn stays(connection: &Connection, org: Org, visit: VisitId) -> Result<Vec<Stay>, StoreError> {
    let mut query = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM stay WHERE org = ?1 AND visit = ?2"))?;
    let rows = query.query_map(params![org, visit.as_bytes()], read)?;
    rows.map(|row| row?.map(|(_, stay)| stay)).collect()
}

fn put(tx: &Transaction<'_>, org: Org, visit: VisitId, stay: &Stay) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "INSERT INTO stay (org, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    ))?
    .execute(params![
        org,
        visit.as_bytes(),
        stay.person.as_bytes(),
        stay.entry.0,
        stay.began_ms,
        stay.length_ms,
        to_cbor(&stay.fixes),
    ])?;
    Ok(())
}

fn remove(
    tx: &Transaction<'_>,
    org: Org,
    visit: VisitId,
    person: UserId,
) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM stay WHERE org = ?1 AND visit = ?2 AND person = ?3")?
        .execute(params![org, visit.as_bytes(), person.as_bytes()])?;
    Ok(())
}

/// A signal of the field as its row has it, but for when it was found and who has looked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    kind: u8,
    by: [u8; 16],
    other: Vec<u8>,
    other_document: Vec<u8>,
    entry: Vec<u8>,
    figure: i64,
    evidence: Vec<u8>,
}

impl Kept {
    fn of(found: &Found) -> Self {
        let Found { by, entry, signal, evidence, other } = found;
        let (other_document, other) = match other {
            Some((visit, entry)) => (DocId::from(*visit).to_bytes().to_vec(), entry.0.to_vec()),
            None => (Vec::new(), Vec::new()),
        };
        Self {
            kind: signal.kind as u8,
            by: *by.as_bytes(),
            other,
            other_document,
            entry: entry.0.to_vec(),
            figure: signal.figure,
            evidence: to_cbor(evidence),
        }
    }

    /// It depends on other visits.
    fn over_several(&self) -> bool {
        self.kind == Kind::Regular as u8 || !self.other_document.is_empty()
    }
}

fn kept(connection: &Connection, org: Org, visit: VisitId) -> Result<Vec<Kept>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT kind, by, other, other_document, entry, figure, evidence FROM signal
         WHERE org = ?1 AND visit = ?2 AND kind >= ?3",
    )?;
    let rows = query.query_map(params![org, visit.as_bytes(), Kind::Outside as u8], |row| {
        Ok(Kept {
            kind: row.get(0)?,
            by: row.get(1)?,
            other: row.get(2)?,
            other_document: row.get(3)?,
            entry: row.get(4)?,
            figure: row.get(5)?,
            evidence: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Of a visit's signals those that are `ours` become these. One that was there as it is now stays, with who has looked
/// at it.
fn replace(
    tx: &Transaction<'_>,
    (org, visit): (Org, VisitId),
    found: &[Found],
    ours: impl Fn(&Kept) -> bool,
    now_ms: i64,
) -> Result<(), StoreError> {
    let before: BTreeSet<Kept> = kept(tx, org, visit)?.into_iter().filter(ours).collect();
    let now: BTreeSet<Kept> = found.iter().map(Kept::of).collect();
    let mut delete = tx.prepare_cached(
        "DELETE FROM signal WHERE org = ?1 AND visit = ?2 AND kind = ?3 AND photo = x''
         AND other = ?4 AND other_document = ?5 AND by = ?6",
    )?;
    for gone in before.difference(&now) {
        let Kept { kind, by, other, other_document, .. } = gone;
        delete.execute(params![org, visit.as_bytes(), kind, other, other_document, by])?;
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO signal (org, visit, kind, photo, other, other_document, by, other_by, entry,
             figure, evidence, found_ms)
         VALUES (?1, ?2, ?3, x'', ?4, ?5, ?6, x'', ?7, ?8, ?9, ?10)",
    )?;
    for new in now.difference(&before) {
        let Kept { kind, by, other, other_document, entry, figure, evidence } = new;
        let visit = visit.as_bytes();
        insert.execute(params![
            org,
            visit,
            kind,
            other,
            other_document,
            by,
            entry,
            figure,
            evidence,
            now_ms
        ])?;
    }
    Ok(())
}

/// Whether the rows of a visit are what it says, and its signals what these and those of earlier visits give. One that
/// is yet to be looked at is.
pub fn is_as_read(
    connection: &Connection,
    org: Org,
    visit: VisitId,
    reading: &Reading,
) -> Result<bool, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT judged FROM visit WHERE org = ?1 AND visit = ?2")?;
    let judged = query.query_row(params![org, visit.as_bytes()], |row| row.get::<_, bool>(0));
    if judged.optional()? != Some(true) {
        return Ok(true);
    }
    let mut found: Vec<Kept> = reading.found.iter().map(Kept::of).collect();
    let mut stays = reading.stays.clone();
    stays.sort_by_key(|stay| stay.person);
    for stay in &stays {
        found.extend(over_several(connection, org, visit, stay.person)?.iter().map(Kept::of));
    }
    let mut kept = kept(connection, org, visit)?;
    kept.sort();
    found.sort();
    Ok(kept == found && self::stays(connection, org, visit)? == stays)
}
