//! The log as it is read: pages of what somebody sees, and answers to a repair.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sync_core::cbor::from_cbor;
use sync_core::document::Change;
use sync_core::evidence::{Cursor, Keypair, Seal};
use sync_core::id::{BlobHash, ChangeHash, DeviceId, DocId, DocKind, OrgId, UserId};
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::catalogue::{RecordKey, RecordKind};
use sync_core::model::people::Audience;
use sync_core::model::visit::Note;
use sync_core::print::{Inventory, Item, Print};
use sync_core::proof::known_at;
use sync_core::receipt::{Known, Receipt};
use sync_core::wire::{Decided, Group, RecordBytes};

use super::accounts::{NewestPush, newest_push};
use super::log::{
    AudienceId, LINE_BYTES, NOTE_BYTES, Org, audiences, captured, cursor, each_item, head, lives,
    note, print_of, time_of,
};
use super::quarantine::decided;
use super::{StoreError, tree};

/// What one page of the feed, or one answer to a repair, aims at. A page always ends where the log has a root.
#[derive(Debug, Clone, Copy)]
pub struct PageSize {
    /// Lines.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Default for PageSize {
    fn default() -> Self {
        Self { rows: 4_000, bytes: 4 << 20 }
    }
}

impl PageSize {
    fn is_full(self, rows: u64, bytes: u64) -> bool {
        rows >= self.rows || bytes > self.bytes
    }
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

/// The log of one organisation in one state, for reading.
#[derive(Debug)]
pub struct Reader<'a> {
    connection: Transaction<'a>,
    org: Org,
    size: PageSize,
}

impl<'a> Reader<'a> {
    /// Reads the newest state, however often it is asked.
    pub fn open(connection: &'a Connection, org: Org) -> Result<Self, StoreError> {
        let size = PageSize::default();
        Ok(Self { connection: connection.unchecked_transaction()?, org, size })
    }

    /// Pages of this size instead.
    pub fn with_pages(self, size: PageSize) -> Self {
        Self { size, ..self }
    }

    /// Whether the log really was at this cursor once.
    pub fn knows(&self, at: &Cursor) -> Result<bool, StoreError> {
        // A sequence beyond SQLite's integers was never given out.
        Ok(i64::try_from(at.sequence).is_ok()
            && boundary(&self.connection, self.org, at.sequence)?.as_ref() == Some(at))
    }

    /// The audiences that somebody sees.
    pub fn audiences(
        &self,
        sees: impl Fn(&Audience) -> bool,
    ) -> Result<Vec<AudienceId>, StoreError> {
        audiences(&self.connection, self.org, sees)
    }

    /// A page of what these audiences see in a range of the log.
    pub fn page(&self, range: &Range<'_>) -> Result<Page, StoreError> {
        page(&self.connection, self.org, range, self.size)
    }

    /// The print of all that these audiences see.
    pub fn print(&self, audiences: &[AudienceId]) -> Result<Print, StoreError> {
        let mut print = Print::default();
        for audience in audiences {
            print += print_of(&self.connection, self.org, *audience)?;
        }
        Ok(print)
    }

    /// All that these audiences see.
    pub fn inventory(&self, audiences: &[AudienceId]) -> Result<Inventory, StoreError> {
        let mut items = Vec::new();
        let whose = format!("audience IN ({})", list(audiences));
        each_item(&self.connection, self.org, &whose, |_, item, print| items.push((item, print)))?;
        Ok(Inventory::new(items))
    }

    /// The first of these as far as these audiences see them, whole, as many as fit a page.
    pub fn whole(&self, audiences: &[AudienceId], wanted: &[Item]) -> Result<Whole, StoreError> {
        whole(&self.connection, self.org, (audiences, wanted), self.size)
    }

    /// Where the log stands.
    pub fn head(&self) -> Result<Cursor, StoreError> {
        head(&self.connection, self.org)
    }

    /// The checkpoint of where the log stands at `at`, with the proof that it continues what a device knows; `None`
    /// if that is the one that it knows.
    pub fn receipt(
        &self,
        id: OrgId,
        at: &Cursor,
        known: &Known,
        pair: &Keypair,
    ) -> Result<Option<Receipt>, StoreError> {
        if *known == (Known { life: at.origin, size: at.sequence }) {
            return Ok(None);
        }
        tree::receipt(&self.connection, self.org, id, at, known, pair).map(Some)
    }

    /// What became of a person's refused work within these sequences.
    pub fn decided(
        &self,
        user: UserId,
        sequences: std::ops::Range<u64>,
    ) -> Result<Vec<Decided>, StoreError> {
        decided(&self.connection, self.org, user, sequences)
    }

    /// How many of the lines that are here now a device knew at a moment.
    pub fn known_at(&self, when: &Moment) -> Result<u64, StoreError> {
        let size = head(&self.connection, self.org)?.sequence;
        Ok(known_at(&lives(&self.connection, self.org)?, size, when))
    }

    /// When a sequence was written.
    pub fn time_of(&self, sequence: u64) -> Result<Option<i64>, StoreError> {
        time_of(&self.connection, self.org, sequence)
    }

    /// When a change was captured that has come at `received_ms` and is in no line.
    pub fn captured(&self, when: &Moment, received_ms: i64) -> Result<CaptureTime, StoreError> {
        let size = head(&self.connection, self.org)?.sequence;
        let lives = lives(&self.connection, self.org)?;
        captured(&self.connection, self.org, &lives, (size, received_ms), (when, None))
    }

    /// A device's newest push.
    pub fn newest_push(&self, device: DeviceId) -> Result<NewestPush, StoreError> {
        newest_push(&self.connection, self.org, device)
    }
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
    /// Records that went from these audiences to others.
    pub gone: Vec<RecordKey>,
    /// Visits that these audiences need not keep any more.
    pub let_go: Vec<DocId>,
}

/// What a page is made from.
#[derive(Debug)]
pub struct Range<'a> {
    /// From which sequence on.
    pub since: u64,
    /// Up to where; to the newest line if `None`.
    pub until: Option<Cursor>,
    /// Who asks.
    pub audiences: &'a [AudienceId],
    /// With which device.
    pub device: DeviceId,
    /// From which sequence on what it pushed is left out.
    pub own: Option<u64>,
}

/// Documents that have gone from one audience to another since: where a line of one has come, those before it must
/// too, also if the move itself lies beyond the page.
const CAME: &str = "SELECT item FROM moved WHERE org = ?1 AND sequence >= ?2 AND document = 1";

/// The first sequence that does not fit the page that begins at `since`; `None` if all fits.
///
/// Lines of many audiences have to be sorted before they can be counted. So that each page does not sort all
/// that is left, it is looked for in a window that doubles.
fn full_at(
    connection: &Connection,
    org: Org,
    (since, until): (u64, u64),
    wanted: &str,
    size: PageSize,
) -> Result<Option<u64>, StoreError> {
    let mut query = connection.prepare(&format!(
        "SELECT l.sequence, length(l.body) + {LINE_BYTES} + l.notes + coalesce(
             (SELECT length(r.body) FROM record r
              WHERE l.document IS NULL AND r.org = l.org AND r.key = l.body AND r.sequence = l.sequence), 0)
         FROM log l
         WHERE l.org = ?1 AND l.sequence IN (
             SELECT sequence FROM log INDEXED BY log_audience
             WHERE org = ?1 AND audience IN ({wanted}) AND sequence >= ?2 AND sequence < ?3
             ORDER BY sequence LIMIT ?4 + 1)
         ORDER BY l.sequence"
    ))?;
    let mut window = 2 * size.rows;
    loop {
        let end = since.saturating_add(window).min(until);
        let (mut count, mut bytes) = (0, 0);
        let mut rows = query.query(params![org, since, end, size.rows])?;
        while let Some(row) = rows.next()? {
            bytes += row.get::<_, u64>(1)?;
            if count > 0 && size.is_full(count, bytes) {
                return Ok(Some(row.get(0)?));
            }
            count += 1;
        }
        if end == until {
            return Ok(None);
        }
        window = window.saturating_mul(2);
    }
}

fn page(
    connection: &Connection,
    org: Org,
    range: &Range<'_>,
    size: PageSize,
) -> Result<Page, StoreError> {
    let Range { since, until, audiences, device, own } = *range;
    let wanted = list(audiences);
    let mut upto = match until {
        Some(until) => until,
        None => head(connection, org)?,
    };
    let full = full_at(connection, org, (since, upto.sequence), &wanted, size)?;
    let mut more = false;
    if let Some(full) = full {
        // What belongs together may go on past the page's last row: end before it, or with it whole.
        let before = boundary(connection, org, full)?.filter(|cursor| cursor.sequence > since);
        let with: Option<Cursor> = connection
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
    let mut draft = Draft::new(connection, org, size);
    let (mut gone, mut let_go) = (Vec::new(), Vec::new());
    if since > 0 {
        draft.documents_that_came((since, upto.sequence), &wanted)?;
    }
    if since > 0 && until.is_none() {
        gone = records_that_went(connection, org, since, upto.sequence, &wanted)?;
        let_go = visits_that_went(connection, org, device, (since, upto.sequence), &wanted)?;
    }
    let own_since = own.unwrap_or(0);
    let own = own.map_or(Value::Null, |_| Value::Blob(device.as_bytes().to_vec()));
    let mut query = connection.prepare(&format!(
        "SELECT sequence, document, hash, seal, body, device, notes FROM log
         WHERE org = ?1 AND sequence IN (
            SELECT sequence FROM log INDEXED BY log_audience
            WHERE org = ?1 AND audience IN ({wanted}) AND sequence >= ?2 AND sequence < ?3)
         AND (?4 IS NULL OR device IS NOT ?4 OR sequence < ?5 OR document IN ({CAME}))
         ORDER BY sequence"
    ))?;
    draft.rows(query.query(params![org, since, upto.sequence, own, own_since])?)?;
    draft.authors(upto.sequence)?;
    let Draft { records, groups, notes, .. } = draft;
    Ok(Page { cursor: upto, more, records, groups, notes, gone, let_go })
}

fn list(audiences: &[AudienceId]) -> String {
    audiences.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(",")
}

/// Records and documents as they are.
#[derive(Debug)]
pub struct Whole {
    /// How many of those that were wanted this is about.
    pub given: usize,
    /// The records, and those of the devices whose changes are here.
    pub records: Vec<RecordBytes>,
    /// The documents.
    pub groups: Vec<Group>,
    /// The notes that they name.
    pub notes: Vec<Note>,
}

fn whole(
    connection: &Connection,
    org: Org,
    (audiences, wanted): (&[AudienceId], &[Item]),
    size: PageSize,
) -> Result<Whole, StoreError> {
    let seen = list(audiences);
    let mut draft = Draft::new(connection, org, size);
    let mut document = connection.prepare(&format!(
        "SELECT sequence, document, hash, seal, body, device, notes
         FROM log INDEXED BY log_document
         WHERE org = ?1 AND document = ?2 AND audience IN ({seen}) ORDER BY sequence"
    ))?;
    let mut record = connection.prepare(&format!(
        "SELECT r.body FROM record r CROSS JOIN log l USING (org, sequence)
         WHERE r.org = ?1 AND r.key = ?2 AND l.audience IN ({seen})
         ORDER BY r.sequence DESC LIMIT 1"
    ))?;
    let mut given = 0;
    for item in wanted {
        if draft.is_full() {
            break;
        }
        match item {
            Item::Record(key) => {
                let body = record.query_row(params![org, key.to_bytes()], |row| row.get(0));
                body.optional()?.into_iter().for_each(|body| draft.record(body));
            }
            Item::Document(id) => draft.rows(document.query(params![org, id.to_bytes()])?)?,
        }
        given += 1;
    }
    draft.authors(0)?;
    let Draft { records, groups, notes, .. } = draft;
    Ok(Whole { given, records, groups, notes })
}

/// Rows of the log on their way into a page.
struct Draft<'a> {
    connection: &'a Connection,
    org: Org,
    size: PageSize,
    records: Vec<RecordBytes>,
    groups: Vec<Group>,
    /// The notes that the groups name, each once.
    notes: Vec<Note>,
    named: HashSet<BlobHash>,
    places: HashMap<DocId, usize>,
    devices: BTreeSet<[u8; 16]>,
    /// Documents that had no room.
    left_out: HashSet<DocId>,
    /// Rows so far, and about how much they take.
    filled: (u64, u64),
}

impl<'a> Draft<'a> {
    fn new(connection: &'a Connection, org: Org, size: PageSize) -> Self {
        Self {
            connection,
            org,
            size,
            records: Vec::new(),
            groups: Vec::new(),
            notes: Vec::new(),
            named: HashSet::new(),
            places: HashMap::new(),
            devices: BTreeSet::new(),
            left_out: HashSet::new(),
            filled: (0, 0),
        }
    }

    /// Whether it holds what a page aims at.
    fn is_full(&self) -> bool {
        let (rows, bytes) = self.filled;
        self.size.is_full(rows, bytes)
    }

    fn fill(&mut self, rows: u64, bytes: usize) {
        self.filled.0 += rows;
        self.filled.1 += bytes as u64;
    }

    fn record(&mut self, body: Vec<u8>) {
        self.fill(1, body.len() + LINE_BYTES as usize);
        self.records.push(RecordBytes(body));
    }

    /// The keys of the page's authors whose newest record, such as the one that revokes them, lies beyond the page.
    fn authors(&mut self, upto: u64) -> Result<(), StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT body FROM record WHERE org = ?1 AND key = ?2 AND sequence = (
                SELECT max(sequence) FROM record WHERE org = ?1 AND key = ?2) AND sequence >= ?3",
        )?;
        for device in &self.devices {
            let key = RecordKey { kind: RecordKind::Device as u8, id: *device }.to_bytes();
            let body = query.query_row(params![self.org, key, upto], |row| row.get(0));
            self.records.extend(body.optional()?.map(RecordBytes));
        }
        Ok(())
    }

    /// Documents that came to these audiences from others, whole from before the page: those that go on in it, without
    /// which it would not fit what is there, and those that came within it; as many as a page holds. The others are left
    /// out of the page, and a device finds them when it compares what it has.
    fn documents_that_came(
        &mut self,
        (since, upto): (u64, u64),
        wanted: &str,
    ) -> Result<(), StoreError> {
        let connection = self.connection;
        let mut came = connection.prepare_cached(&format!(
            "SELECT document, 1 FROM log WHERE org = ?1 AND sequence IN (
                 SELECT sequence FROM log INDEXED BY log_audience
                 WHERE org = ?1 AND audience IN ({wanted}) AND sequence >= ?2 AND sequence < ?3)
             AND +document IN ({CAME})
             UNION
             SELECT item, 0 FROM moved
             WHERE org = ?1 AND sequence >= ?2 AND sequence < ?3 AND document = 1
             ORDER BY 2 DESC, 1"
        ))?;
        let mut lines = connection.prepare_cached(&format!(
            "SELECT sequence, document, hash, seal, body, device, notes
             FROM log INDEXED BY log_document
             WHERE org = ?1 AND sequence < ?2 AND document = ?3 AND audience IN ({wanted})
             ORDER BY sequence"
        ))?;
        let mut came = came.query(params![self.org, since, upto])?;
        while let Some(row) = came.next()? {
            let (name, goes_on): (Vec<u8>, bool) = (row.get(0)?, row.get(1)?);
            let document = name_of(&name)?;
            match (self.is_full(), goes_on) {
                (true, false) => break,
                (true, true) => drop(self.left_out.insert(document)),
                (false, _) if self.places.contains_key(&document) => {}
                (false, _) => self.rows(lines.query(params![self.org, since, name])?)?,
            }
        }
        Ok(())
    }

    fn rows(&mut self, mut rows: rusqlite::Rows<'_>) -> Result<(), StoreError> {
        let mut body = self.connection.prepare_cached(
            "SELECT body FROM record WHERE org = ?1 AND key = ?2 AND sequence = ?3",
        )?;
        while let Some(row) = rows.next()? {
            let stored: Vec<u8> = row.get(4)?;
            let Some(document) = row.get::<_, Option<Vec<u8>>>(1)? else {
                let sequence: u64 = row.get(0)?;
                self.record(body.query_row(params![self.org, stored, sequence], |row| row.get(0))?);
                continue;
            };
            let document = name_of(&document)?;
            if self.left_out.contains(&document) {
                continue;
            }
            self.fill(1, stored.len() + LINE_BYTES as usize);
            let head = ChangeHash(row.get(2)?);
            let change = Change::kept(head, from_cbor(&stored)?);
            if row.get::<_, u64>(6)? > 0 {
                self.notes_of(&change)?;
            }
            self.devices.insert(row.get(5)?);
            let groups = &mut self.groups;
            let place = *self.places.entry(document).or_insert_with(|| {
                groups.push(Group { document, changes: Vec::new(), seals: Vec::new() });
                groups.len() - 1
            });
            let group = &mut groups[place];
            group.changes.push(change);
            if let Some(signature) = row.get(3)? {
                group.seals.push(Seal { head, signature });
            }
        }
        Ok(())
    }

    fn notes_of(&mut self, change: &Change) -> Result<(), StoreError> {
        for digest in change.entry().map(|entry| entry.notes()).unwrap_or_default() {
            if self.named.insert(digest)
                && let Some(note) = note(self.connection, self.org, digest)?
            {
                self.fill(0, note.text.len() + NOTE_BYTES as usize);
                self.notes.push(note);
            }
        }
        Ok(())
    }
}

fn name_of(document: &[u8]) -> Result<DocId, StoreError> {
    DocId::from_bytes(document).ok_or_else(|| StoreError::Damaged("a document's name".into()))
}

fn visits_that_went(
    connection: &Connection,
    org: Org,
    device: DeviceId,
    (since, upto): (u64, u64),
    wanted: &str,
) -> Result<Vec<DocId>, StoreError> {
    let kind = DocKind::Visit as u8;
    let mut query = connection.prepare_cached(&format!(
        "SELECT DISTINCT m.item FROM moved m WHERE m.org = ?1 AND m.sequence >= ?2 AND m.sequence < ?3
         AND m.document = 1 AND substr(m.item, 1, 1) = x'{kind:02x}' AND m.left IN ({wanted})
         AND NOT EXISTS (SELECT 1 FROM log l INDEXED BY log_document
             WHERE l.org = ?1 AND l.document = m.item AND l.audience IN ({wanted}))
         AND EXISTS (SELECT 1 FROM log l INDEXED BY log_document
             WHERE l.org = ?1 AND l.document = m.item AND (l.sequence < ?2 OR l.device = ?4))"
    ))?;
    let items = query
        .query_map(params![org, since, upto, device.as_bytes()], |row| row.get::<_, Vec<u8>>(0))?;
    let damaged = || StoreError::Damaged("a document's name".into());
    items.map(|item| DocId::from_bytes(&item?).ok_or_else(damaged)).collect()
}

fn records_that_went(
    connection: &Connection,
    org: Org,
    since: u64,
    upto: u64,
    wanted: &str,
) -> Result<Vec<RecordKey>, StoreError> {
    // Of an outlet that nobody had listed only the history was in sight.
    let (outlet, history) = (RecordKind::Outlet as u8, DocKind::Outlet as u8);
    let mut query = connection.prepare_cached(&format!(
        "SELECT m.item FROM moved m WHERE m.org = ?1 AND m.sequence >= ?2 AND m.sequence < ?3
         AND m.document = 0 AND m.left IN ({wanted})
         AND NOT EXISTS (SELECT 1 FROM log l WHERE l.org = ?1 AND l.audience IN ({wanted})
             AND l.sequence = (SELECT max(sequence) FROM record WHERE org = ?1 AND key = m.item))
         UNION
         SELECT CAST(x'{outlet:02x}' || substr(m.item, 2) AS BLOB) FROM moved m
         WHERE m.org = ?1 AND m.sequence >= ?2 AND m.sequence < ?3
         AND m.document = 1 AND substr(m.item, 1, 1) = x'{history:02x}' AND m.left IN ({wanted})
         AND NOT EXISTS (SELECT 1 FROM log l INDEXED BY log_document
             WHERE l.org = ?1 AND l.document = m.item AND l.audience IN ({wanted}))"
    ))?;
    let keys = query.query_map(params![org, since, upto], |row| row.get::<_, [u8; 17]>(0))?;
    keys.map(|key| Ok(RecordKey::from_bytes(&key?))).collect()
}
