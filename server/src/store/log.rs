//! The organisation's log: appending to it, reading documents from it, paging through it.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::document::{Change, Document, Parts};
use sync_core::evidence::{Cursor, Frontier, Leaf, Seal};
use sync_core::id::{ChangeHash, DeviceId, DocId, LogHash, LogOrigin, OrgId};
use sync_core::model::capture::CaptureTime;
use sync_core::model::catalogue::{Record, RecordKey};
use sync_core::model::people::Audience;
use sync_core::model::visit::Note;
use sync_core::wire::{Group, RecordBytes};

use super::StoreError;

/// Local number of an organisation in this store.
pub type Org = i64;

/// Local number of an audience: 0 is everyone.
pub type AudienceId = i64;
const EVERYONE: AudienceId = 0;
const NOBODY: AudienceId = -1;

/// Rows that one page of the feed aims at. A page always ends where the log has a root.
const PAGE_ROWS: usize = 4_000;
/// Bytes that one page of the feed aims at.
const PAGE_BYTES: u64 = 4 << 20;
/// A commit of many records has a root after each so many leaves, so that it does not become one page.
const ROOT_INTERVAL: u64 = 500;

/// An organisation as the store keeps it.
#[derive(Debug, Clone)]
pub struct Organisation {
    /// Its local number.
    pub org: Org,
    /// Its name in documents and messages.
    pub id: OrgId,
    /// What people call it.
    pub name: String,
    /// Seed of the server's signing key in it.
    pub seed: [u8; 32],
    /// Second half of the server's actor.
    pub instance: [u8; 8],
}

/// All organisations.
pub fn organisations(connection: &Connection) -> Result<Vec<Organisation>, StoreError> {
    let mut query = connection
        .prepare("SELECT org, id, name, seed, instance FROM organisation ORDER BY org")?;
    let rows = query.query_map([], |row| {
        Ok(Organisation {
            org: row.get(0)?,
            id: OrgId::from_bytes(row.get(1)?),
            name: row.get(2)?,
            seed: row.get(3)?,
            instance: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The local number of the next organisation.
pub fn next_org(tx: &Transaction<'_>) -> Result<Org, StoreError> {
    let next = "SELECT coalesce(max(org), 0) + 1 FROM organisation";
    Ok(tx.query_row(next, [], |row| row.get(0))?)
}

/// Makes an organisation and the first leaf of its log.
pub fn create(
    tx: &Transaction<'_>,
    made: &Organisation,
    origin: LogOrigin,
    at_ms: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO organisation (org, id, name, seed, instance, origin, frontier, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            made.org,
            made.id.as_bytes(),
            made.name,
            made.seed,
            made.instance,
            origin.as_bytes(),
            to_cbor(&Frontier::default()),
            at_ms,
        ],
    )?;
    let mut ledger = Ledger::open(tx, made.org)?;
    ledger.append(&Leaf::Origin { origin, at_ms, after: None }, at_ms, NOBODY, Line::Origin)?;
    ledger.close()
}

/// A document as it is in the log, with what the server knows of each change.
#[derive(Debug)]
pub struct Held {
    /// The document.
    pub document: Document,
    /// When each change was captured, as well as that is known.
    pub times: HashMap<ChangeHash, CaptureTime>,
    /// The device that pushed each change.
    pub devices: HashMap<ChangeHash, DeviceId>,
}

/// Reads a document; one that nobody has written to is its genesis.
pub fn document(
    connection: &Connection,
    org: Org,
    id: OrgId,
    document: DocId,
) -> Result<Held, StoreError> {
    let mut held = Held {
        document: Document::new(id, document),
        times: HashMap::new(),
        devices: HashMap::new(),
    };
    let mut query = connection.prepare_cached(
        "SELECT hash, body, times, device FROM log INDEXED BY log_document
         WHERE org = ?1 AND document = ?2 ORDER BY sequence",
    )?;
    let mut rows = query.query(params![org, document.to_bytes()])?;
    while let Some(row) = rows.next()? {
        let hash = ChangeHash(row.get(0)?);
        let parts: Parts = from_cbor(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
        let times = from_cbor(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        held.times.insert(hash, times);
        held.devices.insert(hash, DeviceId::from_bytes(row.get(3)?));
        held.document
            .insert(Change::kept(hash, parts))
            .map_err(|misfit| StoreError::Damaged(format!("{document}: {misfit}")))?;
    }
    Ok(held)
}

/// What one line of the log holds.
pub enum Line<'a> {
    /// The log's beginning.
    Origin,
    /// A change, with the seal that names it as head.
    Change {
        /// In which document.
        document: DocId,
        /// Which.
        change: &'a Change,
        /// From which device.
        device: DeviceId,
        /// Its signature.
        seal: Option<&'a Seal>,
        /// When it was captured.
        times: &'a CaptureTime,
    },
    /// A record.
    Record(RecordKey),
}

/// Appends to one organisation's log within a transaction.
pub struct Ledger<'a> {
    /// The transaction, for what must be written together with the log.
    pub tx: &'a Transaction<'a>,
    /// Which organisation.
    pub org: Org,
    frontier: Frontier,
    audiences: HashMap<Audience, AudienceId>,
}

impl<'a> Ledger<'a> {
    /// Takes up the log where it stands.
    pub fn open(tx: &'a Transaction<'a>, org: Org) -> Result<Self, StoreError> {
        let frontier: Vec<u8> = tx
            .prepare_cached("SELECT frontier FROM organisation WHERE org = ?1")?
            .query_row([org], |row| row.get(0))?;
        Ok(Self { tx, org, frontier: from_cbor(&frontier)?, audiences: HashMap::new() })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Adds a line; returns its sequence.
    pub fn append(
        &mut self,
        leaf: &Leaf,
        at_ms: i64,
        audience: AudienceId,
        line: Line<'_>,
    ) -> Result<u64, StoreError> {
        let sequence = self.frontier.size();
        let leaf = leaf.hash();
        self.frontier.push(leaf);
        let mut insert = self.tx.prepare_cached(
            "INSERT INTO log (org, sequence, leaf, at_ms, audience, document, hash, device, seal, body, times)
             VALUES (:org, :sequence, :leaf, :at_ms, :audience, :document, :hash, :device, :seal, :body, :times)",
        )?;
        let (document, hash, device, seal, body, times) = match line {
            Line::Origin => (None, None, None, None, Vec::new(), None),
            Line::Record(key) => (None, None, None, None, key.to_bytes().to_vec(), None),
            Line::Change { document, change, device, seal, times } => (
                Some(document.to_bytes()),
                Some(change.hash().0),
                Some(*device.as_bytes()),
                seal.map(|s| s.signature),
                to_cbor::<Parts>(change),
                Some(to_cbor(times)),
            ),
        };
        insert.execute(named_params! {
            ":org": self.org, ":sequence": sequence, ":leaf": leaf.0, ":at_ms": at_ms,
            ":audience": audience, ":document": document, ":hash": hash, ":device": device,
            ":seal": seal, ":body": body, ":times": times,
        })?;
        Ok(sequence)
    }

    /// Adds a version of a record; the one before it leaves the feed.
    pub fn append_record(
        &mut self,
        record: &Record,
        audience: &Audience,
        salt: [u8; 16],
        at_ms: i64,
    ) -> Result<u64, StoreError> {
        let (key, body) = (record.key(), to_cbor(record));
        let older: Option<u64> = self
            .tx
            .prepare_cached("SELECT max(sequence) FROM record WHERE org = ?1 AND key = ?2")?
            .query_row(params![self.org, key.to_bytes()], |row| row.get(0))?;
        if let Some(older) = older {
            self.tx
                .prepare_cached("UPDATE log SET audience = ?3 WHERE org = ?1 AND sequence = ?2")?
                .execute(params![self.org, older, NOBODY])?;
        }
        let audience = self.audience(audience)?;
        let leaf = Leaf::record(key, &salt, &body, at_ms);
        let sequence = self.append(&leaf, at_ms, audience, Line::Record(key))?;
        self.tx
            .prepare_cached(
                "INSERT INTO record (org, key, sequence, salt, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![self.org, key.to_bytes(), sequence, salt, body])?;
        if self.frontier.size().is_multiple_of(ROOT_INTERVAL) {
            self.put_root(sequence)?;
        }
        Ok(sequence)
    }

    fn put_root(&self, sequence: u64) -> Result<(), StoreError> {
        self.tx
            .prepare_cached("UPDATE log SET root = ?3 WHERE org = ?1 AND sequence = ?2")?
            .execute(params![self.org, sequence, self.frontier.root().0])?;
        Ok(())
    }

    /// The number of an audience, made if it is new.
    pub fn audience(&mut self, audience: &Audience) -> Result<AudienceId, StoreError> {
        let Audience::Outlet { territory, distributor } = audience else { return Ok(EVERYONE) };
        if let Some(id) = self.audiences.get(audience) {
            return Ok(*id);
        }
        let (territory, distributor) = (territory.as_bytes(), distributor.as_bytes());
        let known = self
            .tx
            .prepare_cached(
                "SELECT audience FROM audience WHERE org = ?1 AND territory = ?2 AND distributor = ?3",
            )?
            .query_row(params![self.org, territory, distributor], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => self.tx.query_row(
                "INSERT INTO audience (org, audience, territory, distributor)
                 SELECT ?1, coalesce(max(audience), 0) + 1, ?2, ?3 FROM audience WHERE org = ?1
                 RETURNING audience",
                params![self.org, territory, distributor],
                |row| row.get(0),
            )?,
        };
        self.audiences.insert(*audience, id);
        Ok(id)
    }

    /// When a sequence was written.
    pub fn time_of(&self, sequence: u64) -> Result<Option<i64>, StoreError> {
        let Ok(sequence) = i64::try_from(sequence) else { return Ok(None) };
        let time = self
            .tx
            .prepare_cached("SELECT at_ms FROM log WHERE org = ?1 AND sequence = ?2")?
            .query_row(params![self.org, sequence], |row| row.get(0));
        Ok(time.optional()?)
    }

    /// Keeps notes. One that is here already stays.
    pub fn put_notes<'n>(
        &self,
        notes: impl IntoIterator<Item = &'n Note>,
    ) -> Result<(), StoreError> {
        let mut insert = self.tx.prepare_cached(
            "INSERT OR IGNORE INTO note (org, digest, salt, text) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for note in notes {
            insert.execute(params![self.org, note.digest().0, note.salt, note.text])?;
        }
        Ok(())
    }

    /// Writes down the root and where the log stands. Nothing can be appended after.
    pub fn close(self) -> Result<(), StoreError> {
        let Some(last) = self.frontier.size().checked_sub(1) else { return Ok(()) };
        self.put_root(last)?;
        self.tx
            .prepare_cached("UPDATE organisation SET frontier = ?2 WHERE org = ?1")?
            .execute(params![self.org, to_cbor(&self.frontier)])?;
        Ok(())
    }
}

/// The newest cursor: everything is known.
pub fn head(connection: &Connection, org: Org) -> Result<Cursor, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT o.origin, l.sequence + 1, l.root FROM organisation o JOIN log l USING (org)
         WHERE o.org = ?1 AND l.root IS NOT NULL ORDER BY l.sequence DESC LIMIT 1",
    )?;
    Ok(query.query_row([org], cursor)?)
}

fn cursor(row: &rusqlite::Row<'_>) -> rusqlite::Result<Cursor> {
    Ok(Cursor {
        origin: LogOrigin::from_bytes(row.get(0)?),
        sequence: row.get(1)?,
        root: LogHash(row.get(2)?),
    })
}

/// The last end of a commit at or before `sequence`, as a cursor.
fn boundary(
    connection: &Connection,
    org: Org,
    sequence: u64,
) -> Result<Option<Cursor>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT o.origin, l.sequence + 1, l.root FROM organisation o JOIN log l USING (org)
         WHERE o.org = ?1 AND l.sequence < ?2 AND l.root IS NOT NULL ORDER BY l.sequence DESC LIMIT 1",
    )?;
    Ok(query.query_row(params![org, sequence], cursor).optional()?)
}

/// Whether the log really was at this cursor once.
pub fn knows(connection: &Connection, org: Org, at: &Cursor) -> Result<bool, StoreError> {
    // A sequence beyond SQLite's integers was never given out.
    Ok(i64::try_from(at.sequence).is_ok()
        && boundary(connection, org, at.sequence)?.as_ref() == Some(at))
}

/// The audiences that a person sees, everyone's among them.
pub fn audiences(
    connection: &Connection,
    org: Org,
    sees: impl Fn(&Audience) -> bool,
) -> Result<Vec<AudienceId>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT audience, territory, distributor FROM audience WHERE org = ?1")?;
    let mut rows = query.query([org])?;
    let mut seen = vec![EVERYONE];
    while let Some(row) = rows.next()? {
        let audience = Audience::Outlet {
            territory: sync_core::id::TerritoryId::from_bytes(row.get(1)?),
            distributor: sync_core::id::DistributorId::from_bytes(row.get(2)?),
        };
        if sees(&audience) {
            seen.push(row.get(0)?);
        }
    }
    Ok(seen)
}

/// A page of the feed.
#[derive(Debug)]
pub struct Page {
    /// Where the reader stands after it.
    pub cursor: Cursor,
    /// There is more.
    pub more: bool,
    /// The records.
    pub records: Vec<RecordBytes>,
    /// The changes.
    pub groups: Vec<Group>,
    /// The notes that they name.
    pub notes: Vec<Note>,
}

/// The first sequence that does not fit the page that begins at `since`; `None` if all fits.
fn full_at(
    connection: &Connection,
    org: Org,
    since: u64,
    wanted: &str,
) -> Result<Option<u64>, StoreError> {
    let mut query = connection.prepare(&format!(
        "SELECT l.sequence, length(l.body) + 64 + coalesce(
             (SELECT length(r.body) FROM record r
              WHERE l.document IS NULL AND r.org = l.org AND r.key = l.body AND r.sequence = l.sequence), 0)
         FROM log l INDEXED BY log_audience
         WHERE l.org = ?1 AND l.audience IN ({wanted}) AND l.sequence >= ?2 ORDER BY l.sequence"
    ))?;
    let (mut count, mut bytes) = (0, 0);
    let mut rows = query.query(params![org, since])?;
    while let Some(row) = rows.next()? {
        bytes += row.get::<_, u64>(1)?;
        if count > 0 && (count >= PAGE_ROWS || bytes > PAGE_BYTES) {
            return Ok(Some(row.get(0)?));
        }
        count += 1;
    }
    Ok(None)
}

/// What these audiences have not seen since `since` leaves, but for what this device itself has pushed from
/// that sequence on.
pub fn page(
    connection: &Connection,
    org: Org,
    since: u64,
    audiences: &[AudienceId],
    own: Option<(DeviceId, u64)>,
) -> Result<Page, StoreError> {
    let tx = connection.unchecked_transaction()?; // one snapshot for all queries
    let wanted = audiences.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(",");
    let mut upto = head(&tx, org)?;
    let full = full_at(&tx, org, since, &wanted)?;
    let mut more = false;
    if let Some(full) = full {
        // What belongs together may go on past the page's last row: end before it, or with it whole.
        let before = boundary(&tx, org, full)?.filter(|cursor| cursor.sequence > since);
        let with: Option<Cursor> = tx
            .query_row(
                "SELECT o.origin, l.sequence + 1, l.root FROM organisation o JOIN log l USING (org)
                 WHERE o.org = ?1 AND l.sequence >= ?2 AND l.root IS NOT NULL ORDER BY l.sequence LIMIT 1",
                params![org, full],
                cursor,
            )
            .optional()?;
        let end = before.or(with).unwrap_or(upto);
        more = end.sequence < upto.sequence;
        upto = end;
    }
    let mut page =
        Page { cursor: upto, more, records: Vec::new(), groups: Vec::new(), notes: Vec::new() };
    let own_since = own.map_or(0, |(_, since)| since);
    let own = own.map_or(Value::Null, |(device, _)| Value::Blob(device.as_bytes().to_vec()));
    let mut query = tx.prepare(&format!(
        "SELECT sequence, document, hash, seal, body FROM log
         WHERE org = ?1 AND sequence IN (
            SELECT sequence FROM log INDEXED BY log_audience
            WHERE org = ?1 AND audience IN ({wanted}) AND sequence >= ?2 AND sequence < ?3)
         AND (?4 IS NULL OR device IS NOT ?4 OR sequence < ?5) ORDER BY sequence"
    ))?;
    let mut body =
        tx.prepare_cached("SELECT body FROM record WHERE org = ?1 AND key = ?2 AND sequence = ?3")?;
    let mut places: HashMap<DocId, usize> = HashMap::new();
    let mut rows = query.query(params![org, since, upto.sequence, own, own_since])?;
    while let Some(row) = rows.next()? {
        let stored: Vec<u8> = row.get(4)?;
        let Some(document) = row.get::<_, Option<Vec<u8>>>(1)? else {
            let sequence: u64 = row.get(0)?;
            let bytes = body.query_row(params![org, stored, sequence], |row| row.get(0))?;
            page.records.push(RecordBytes(bytes));
            continue;
        };
        let document = DocId::from_bytes(&document)
            .ok_or_else(|| StoreError::Damaged("a document's name".into()))?;
        let place = *places.entry(document).or_insert_with(|| {
            page.groups.push(Group { document, changes: Vec::new(), seals: Vec::new() });
            page.groups.len() - 1
        });
        let head = ChangeHash(row.get(2)?);
        let group = &mut page.groups[place];
        group.changes.push(Change::kept(head, from_cbor(&stored)?));
        if let Some(signature) = row.get(3)? {
            group.seals.push(Seal { head, signature });
        }
    }
    drop(rows);
    drop(query);
    page.notes = notes_of(&tx, org, &page.groups)?;
    Ok(page)
}

fn notes_of(connection: &Connection, org: Org, groups: &[Group]) -> Result<Vec<Note>, StoreError> {
    let mut notes = Vec::new();
    for change in groups.iter().flat_map(|g| &g.changes) {
        for digest in change.entry().map(|e| e.notes()).unwrap_or_default() {
            notes.extend(note(connection, org, digest)?);
        }
    }
    Ok(notes)
}

/// A note's words, unless they were erased or never came.
pub fn note(
    connection: &Connection,
    org: Org,
    digest: sync_core::id::BlobHash,
) -> Result<Option<Note>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT salt, text FROM note WHERE org = ?1 AND digest = ?2")?;
    let note = query
        .query_row(params![org, digest.0], |row| Ok(Note { salt: row.get(0)?, text: row.get(1)? }));
    Ok(note.optional()?)
}

/// Every version of every record, oldest first.
pub fn records(
    connection: &Connection,
    org: Org,
    mut each: impl FnMut(Record),
) -> Result<(), StoreError> {
    let mut query =
        connection.prepare("SELECT body FROM record WHERE org = ?1 ORDER BY sequence")?;
    let mut rows = query.query([org])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        each(from_cbor(body)?);
    }
    Ok(())
}
