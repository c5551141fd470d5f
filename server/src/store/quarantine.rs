//! Work that was refused: kept apart, whole, until somebody decides.
//!
//! A group waits; then it is accepted by a supervisor, discarded by one, or proposed again by its author. Each is
//! final, and one excludes the others. What turns out to be in the log has arrived: all that is kept of it is that its
//! author has to hear so.

use std::collections::BTreeSet;
use std::ops::Range;

use minicbor::data::Token;
use minicbor::decode::Tokenizer;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use sync_core::document::{Change, Document, Entry};
use sync_core::evidence::Leaf;
use sync_core::id::{BlobHash, ChangeHash, DeviceId, DocId, OrgId, OutletId, UserId};
use sync_core::model::people::Audience;
use sync_core::model::visit::{Act, Note, Recording};
use sync_core::wire::{Decided, Group, Outcome, from_wire, to_wire};

use super::StoreError;
use super::log::{self, AudienceId, Held, Ledger, Org};
use super::pages::{Attached, PAGE_ROWS, Sight};
use super::uploads::{self, UploadId};

/// Most refused groups of one person's devices that wait.
const WAITING_MAX: u64 = 2_000;
/// And of one document: honest work waits there once or twice.
const WAITING_THERE_MAX: u64 = 100;
/// Bytes of refused work that are kept of one person's devices, whatever became of it unless it was accepted: weeks of honest
/// work, and no way to fill the disk.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// What a row takes besides the group, and what finding one of its changes, or a photo by it, takes.
const ITEM_BYTES: u64 = 512;
const CHANGE_BYTES: u64 = 128;
const PHOTO_BYTES: u64 = 128;
/// Entries of a group, and observations in them, that a page shows.
const PART_ENTRIES: usize = 200;
const PART_VALUES: usize = 2_000;
/// Groups of the same document that are shown beside one.
const BESIDE_MAX: usize = 10;

/// What became of refused work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It waits for a decision.
    Waiting,
    /// A supervisor has let it in.
    Accepted,
    /// A supervisor does not want it.
    Discarded,
    /// Its author has gone on without it.
    ProposedAgain,
    /// It has come into the log by another way.
    Arrived,
}

impl Fate {
    const ALL: [Self; 5] =
        [Self::Waiting, Self::Accepted, Self::Discarded, Self::ProposedAgain, Self::Arrived];

    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Accepted => "accepted",
            Self::Discarded => Outcome::DISCARDED,
            Self::ProposedAgain => "proposed_again",
            Self::Arrived => "arrived",
        }
    }
}

impl FromSql for Fate {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        let state = Self::ALL.into_iter().find(|state| state.as_str() == name);
        state.ok_or(FromSqlError::InvalidType)
    }
}

/// A group that was refused.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its number.
    pub item: u64,
    /// The device whose work it is.
    pub device: DeviceId,
    /// The device that brought it, if that was another one.
    pub courier: Option<DeviceId>,
    /// Why, as a stable name.
    pub code: String,
    /// Why, in words.
    pub detail: String,
    /// When it came.
    pub received_ms: i64,
    /// What it is.
    pub group: Group,
    /// What became of it. What has arrived is no item any more.
    pub state: Fate,
    /// Who decided, and when.
    pub decided: Option<(UserId, i64)>,
}

/// What is told of a group that was discarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// The device that sent it.
    pub device: DeviceId,
    /// Who wrote all of it, if that is one person.
    pub author: Option<UserId>,
    /// Why it was refused, as a stable name.
    pub code: String,
    /// Why, in words.
    pub detail: String,
}

/// Why a group was refused, and by whom it may be seen.
#[derive(Debug)]
pub struct Reason<'a> {
    /// A stable name.
    pub code: &'a str,
    /// In words.
    pub detail: &'a str,
    /// Who sees the document, as far as it says.
    pub audience: Audience,
    /// The device that brought it for its author's.
    pub courier: Option<DeviceId>,
    /// How many of its changes are not in the log.
    pub lacks: usize,
    /// How many of those the person of its device has not written.
    pub others: usize,
    /// Who wrote all of it, if that is one person.
    pub author: Option<UserId>,
    /// The notes that are kept with it.
    pub words: Vec<&'a Note>,
}

impl Item {
    /// The line of the log that says what somebody decided on it.
    pub fn decision(&self, approved: bool, by: UserId, at_ms: i64) -> Option<Leaf> {
        let (document, device) = (self.group.document, self.device);
        let head = self.group.changes.last()?.hash();
        Some(Leaf::Decision { document, head, device, by, approved, at_ms })
    }
}

/// What is kept of a group whose newest change comes again.
struct Before {
    item: u64,
    state: Fate,
    code: String,
    length: usize,
    bytes: u64,
}

/// That refused work is of this device, which may be unknown, or of its person's others.
const OF_PERSON: &str = "(device = ?2 OR device IN
    (SELECT d.device FROM device d WHERE d.org = ?1 AND d.user =
        (SELECT user FROM device WHERE org = ?1 AND device = ?2)))";

impl Ledger<'_> {
    /// What this group, or one that holds it, was refused for when it came before: it stays so until someone decides
    /// otherwise. What came [early](Outcome::is_early) or badly sealed may be tried again.
    pub fn refused(&self, device: DeviceId, group: &Group) -> Result<Option<Outcome>, StoreError> {
        let Some(head) = group.changes.last().map(Change::hash) else { return Ok(None) };
        // What was made into a parcel before the rest of the group came is refused with the group.
        let mut query = self.tx.prepare_cached(
            "SELECT iif(q.state = 'discarded', q.state, q.code), q.detail
             FROM quarantine_change c JOIN quarantine q USING (org, item)
             WHERE c.org = ?1 AND c.device = ?2 AND c.document = ?3 AND c.hash = ?4
               AND q.state NOT IN ('accepted', 'arrived')
               AND q.code NOT IN ('bad_seal', 'foreign_actor', 'missing_parent', 'missing_note')
             ORDER BY c.item LIMIT 1",
        )?;
        let (device, document) = (device.as_bytes(), group.document.to_bytes());
        let found = query.query_row(params![self.org, device, document, head.0], |row| {
            Ok(Outcome::quarantined(&row.get::<_, String>(0)?, row.get(1)?))
        });
        Ok(found.optional()?)
    }

    /// Whether anything that was refused is kept of a document.
    pub fn keeps_apart(&self, document: DocId) -> Result<bool, StoreError> {
        let mut query = self
            .tx
            .prepare_cached("SELECT 1 FROM quarantine_change WHERE org = ?1 AND document = ?2")?;
        Ok(query.exists(params![self.org, document.to_bytes()])?)
    }

    /// What was discarded that has this change: whose device sent it, who wrote all of it if that is one person, and what it
    /// was refused for. What came [early](Outcome::is_early) or badly sealed may come again.
    pub fn discarded(
        &self,
        document: DocId,
        change: ChangeHash,
    ) -> Result<Vec<Discarded>, StoreError> {
        let mut query = self.tx.prepare_cached(
            "SELECT q.device, l.author, q.code, q.detail
             FROM quarantine q JOIN quarantine_left l USING (org, item)
             WHERE q.org = ?1 AND q.state = 'discarded' AND q.item IN (
                 SELECT item FROM quarantine_change WHERE org = ?1 AND document = ?2 AND hash = ?3)
             AND q.code NOT IN ('bad_seal', 'foreign_actor', 'missing_parent', 'missing_note')",
        )?;
        let rows = query.query_map(params![self.org, document.to_bytes(), change.0], |row| {
            Ok(Discarded {
                device: DeviceId::from_bytes(row.get(0)?),
                author: row.get::<_, Option<[u8; 16]>>(1)?.map(UserId::from_bytes),
                code: row.get(2)?,
                detail: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Who sees a document, if anybody has written to it.
    pub fn seen_by(&self, document: DocId) -> Result<Option<Audience>, StoreError> {
        super::pages::audience_of(self.tx, self.org, document)
    }

    /// Whether nobody has decided yet on a group that was refused.
    pub fn waits(&self, device: DeviceId, group: &Group) -> Result<bool, StoreError> {
        let Some(head) = group.changes.last() else { return Ok(false) };
        let mut query = self.tx.prepare_cached(
            "SELECT 1 FROM quarantine
             WHERE org = ?1 AND device = ?2 AND document = ?3 AND head = ?4 AND state = 'waiting'",
        )?;
        let (device, document) = (device.as_bytes(), group.document.to_bytes());
        Ok(query.exists(params![self.org, device, document, head.hash().0])?)
    }

    /// These changes of a document, each made by this device, are in the log now. What waits and has nothing else, whoever
    /// brought it, has arrived. So has what was discarded because it came [early](Outcome::is_early), and has come again.
    pub fn arrive(
        &mut self,
        document: &Document,
        came: impl Iterator<Item = (ChangeHash, DeviceId)>,
        of_one_person: impl Fn(DeviceId, DeviceId) -> bool,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let (org, name) = (self.org, document.id().to_bytes());
        let mut whole = Vec::new();
        let mut kept = self.tx.prepare_cached(
            "SELECT item, device FROM quarantine_change
             WHERE org = ?1 AND document = ?2 AND hash = ?3",
        )?;
        let mut came_here = self.tx.prepare_cached(
            "UPDATE quarantine_left SET lacks = lacks - 1, others = others - ?3
             WHERE org = ?1 AND item = ?2 RETURNING lacks",
        )?;
        for (hash, author) in came {
            let mut rows = kept.query(params![org, name, hash.0])?;
            while let Some(row) = rows.next()? {
                let (item, device): (u64, _) = (row.get(0)?, DeviceId::from_bytes(row.get(1)?));
                let other = !of_one_person(device, author);
                let left: u64 = came_here.query_row(params![org, item, other], |row| row.get(0))?;
                whole.extend((left == 0).then_some(item));
            }
        }
        for item in whole {
            let Some(item) = self.quarantined(document.org(), item)? else { continue };
            let again = item.state == Fate::Discarded && may_come_again(&item.code);
            if item.state != Fate::Waiting && !again {
                continue;
            }
            self.tx
                .prepare_cached(
                    "UPDATE quarantine
                     SET state = 'arrived', body = x'', digest = NULL, bytes = ?3, decided = ?4, decided_ms = ?5
                     WHERE org = ?1 AND item = ?2",
                )?
                .execute(params![
                    org,
                    item.item,
                    ITEM_BYTES,
                    self.size().saturating_sub(1),
                    now_ms
                ])?;
            self.forget_changes(item.item, item.device, &item.group)?;
            self.apart.remove(&item.device);
        }
        Ok(())
    }

    /// A refused group is not found by its changes and photos any more.
    fn forget_changes(&self, item: u64, device: DeviceId, group: &Group) -> Result<(), StoreError> {
        let mut gone = self.tx.prepare_cached(
            "DELETE FROM quarantine_change
             WHERE org = ?1 AND document = ?2 AND hash = ?3 AND device = ?4 AND item = ?5",
        )?;
        let document = group.document.to_bytes();
        for hash in group.hashes() {
            gone.execute(params![self.org, document, hash.0, device.as_bytes(), item])?;
        }
        for table in ["quarantine_photo", "quarantine_left"] {
            self.tx
                .prepare_cached(&format!("DELETE FROM {table} WHERE org = ?1 AND item = ?2"))?
                .execute(params![self.org, item])?;
        }
        Ok(())
    }

    /// Something new in a document was accepted from this device: what waits of it there is proposed again by that, or
    /// was given up, but for what others have written and only this keeps.
    pub fn replace(
        &mut self,
        device: DeviceId,
        document: DocId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let replaced = self
            .tx
            .prepare_cached(
                "UPDATE quarantine SET state = 'proposed_again', decided = ?4, decided_ms = ?5
                 WHERE org = ?1 AND item IN (
                    SELECT q.item FROM quarantine q INDEXED BY quarantine_document
                    JOIN quarantine_left l USING (org, item)
                    WHERE q.org = ?1 AND q.document = ?3 AND q.state = 'waiting' AND q.device = ?2
                        AND l.others = 0)",
            )?
            .execute(params![
                self.org,
                device.as_bytes(),
                document.to_bytes(),
                self.size(),
                now_ms
            ])?;
        if replaced > 0 {
            self.apart.remove(&device);
        }
        Ok(())
    }

    /// What waits of a document is for whoever sees that now to decide on.
    pub(super) fn refused_moves(&self, document: DocId, to: AudienceId) -> Result<(), StoreError> {
        self.tx
            .prepare_cached(
                "UPDATE quarantine SET audience = ?3
                 WHERE org = ?1 AND document = ?2 AND state = 'waiting'",
            )?
            .execute(params![self.org, document.to_bytes(), to])?;
        Ok(())
    }

    /// Keeps a refused group apart, once. What came too early and comes again, or with more of the document before
    /// the same newest change, is kept as it came last. `false`, and nothing is written, if too much of its device's is
    /// kept already.
    pub fn quarantine(
        &mut self,
        id: OrgId,
        device: DeviceId,
        group: &Group,
        reason: &Reason<'_>,
        received_ms: i64,
    ) -> Result<bool, StoreError> {
        let Some(head) = group.changes.last() else { return Ok(true) };
        let (of, document) = (device.as_bytes(), group.document.to_bytes());
        let (body, photos) = (to_wire(id, group), photos(group));
        let mut bytes = ITEM_BYTES + CHANGE_BYTES * group.changes.len() as u64;
        bytes += PHOTO_BYTES * photos.len() as u64;
        bytes += body.len() as u64;
        bytes += reason.words.iter().map(|note| note.text.len() as u64).sum::<u64>();
        // What is kept is not read for that: it may be ten thousand changes.
        let before = self
            .tx
            .prepare_cached(
                "SELECT item, state, code, length(body), bytes FROM quarantine
                 WHERE org = ?1 AND device = ?2 AND document = ?3 AND head = ?4 AND state <> 'arrived'",
            )?
            .query_row(params![self.org, of, document, head.hash().0], |row| {
                Ok(Before {
                    item: row.get(0)?,
                    state: row.get(1)?,
                    code: row.get(2)?,
                    length: row.get(3)?,
                    bytes: row.get(4)?,
                })
            })
            .optional()?;
        let (mut waiting, mut kept) = self.apart(device)?;
        let mut there = self.waiting_there(device, group.document)?;
        if let Some(before) = &before {
            let waits = before.state == Fate::Waiting;
            let comes_anew = match before.state {
                Fate::Waiting => before.code != reason.code || body.len() > before.length,
                // Nobody is asked the same twice.
                Fate::Discarded => before.code != reason.code,
                Fate::ProposedAgain => true,
                Fate::Accepted | Fate::Arrived => false,
            };
            if !may_come_again(&before.code) || !comes_anew {
                return Ok(true);
            }
            (waiting, there) = (waiting - u64::from(waits), there - u64::from(waits));
            kept = kept.saturating_sub(before.bytes);
        }
        if waiting >= WAITING_MAX || there >= WAITING_THERE_MAX || kept + bytes > KEPT_BYTES_MAX {
            return Ok(false);
        }
        self.apart.insert(device, (waiting + 1, kept + bytes));
        if let Some(before) = &before
            && let Some(before) = self.quarantined(id, before.item)?
        {
            self.forget_changes(before.item, device, &before.group)?;
        }
        let audience = self.audience_apart(&reason.audience)?;
        let item: u64 = self
            .tx
            .prepare_cached(
                "INSERT INTO quarantine
                     (org, item, device, document, head, code, detail, received_ms, body, audience,
                      courier, bytes, digest)
                 SELECT ?1, coalesce(?12, max(item) + 1, 1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
                     ?13
                 FROM quarantine WHERE org = ?1
                 ON CONFLICT DO UPDATE
                 SET code = excluded.code, detail = excluded.detail,
                     received_ms = excluded.received_ms, body = excluded.body,
                     digest = excluded.digest,
                     audience = excluded.audience, courier = excluded.courier,
                     bytes = excluded.bytes, state = 'waiting', decided = NULL, decided_ms = NULL,
                     decided_by = NULL
                 RETURNING item",
            )?
            .query_row(
                params![
                    self.org,
                    of,
                    document,
                    head.hash().0,
                    reason.code,
                    reason.detail,
                    received_ms,
                    body,
                    audience,
                    reason.courier.as_ref().map(DeviceId::as_bytes),
                    bytes,
                    before.as_ref().map(|before| before.item),
                    BlobHash::of(&body).0,
                ],
                |row| row.get(0),
            )?;
        index(self.tx, self.org, item, device, group, &photos)?;
        self.tx
            .prepare_cached(
                "INSERT OR REPLACE INTO quarantine_left (org, item, lacks, others, author)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                self.org,
                item,
                reason.lacks,
                reason.others,
                reason.author.as_ref().map(UserId::as_bytes)
            ])?;
        self.put_notes(reason.words.iter().copied())?;
        Ok(true)
    }

    /// How many groups of a device and of its person's others wait in a document.
    fn waiting_there(&self, device: DeviceId, document: DocId) -> Result<u64, StoreError> {
        let mut query = self.tx.prepare_cached(&format!(
            "SELECT count(*) FROM quarantine INDEXED BY quarantine_document
             WHERE org = ?1 AND document = ?3 AND state = 'waiting' AND {OF_PERSON}"
        ))?;
        let of = params![self.org, device.as_bytes(), document.to_bytes()];
        Ok(query.query_row(of, |row| row.get(0))?)
    }

    /// How many groups of a device and of its person's others, those with a former key among them, wait, and the bytes of
    /// what is kept of them.
    fn apart(&mut self, device: DeviceId) -> Result<(u64, u64), StoreError> {
        if let Some(apart) = self.apart.get(&device) {
            return Ok(*apart);
        }
        let mut query = self.tx.prepare_cached(&format!(
            "SELECT count(*) FILTER (WHERE state = 'waiting'), coalesce(sum(bytes), 0)
             FROM quarantine INDEXED BY quarantine_kept
             WHERE org = ?1 AND state <> 'accepted' AND {OF_PERSON}"
        ))?;
        let apart = query.query_row(params![self.org, device.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        self.apart.insert(device, apart);
        Ok(apart)
    }

    /// Writes down what became of a group that waited.
    pub fn decide(
        &mut self,
        item: u64,
        state: Fate,
        by: UserId,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let changed = self
            .tx
            .prepare_cached(
                "UPDATE quarantine SET state = ?3, decided = ?4, decided_ms = ?5, decided_by = ?6
                 WHERE org = ?1 AND item = ?2 AND state = 'waiting'",
            )?
            .execute(params![self.org, item, state.as_str(), self.size(), now_ms, by.as_bytes()])?;
        self.apart.clear();
        Ok(changed == 1)
    }

    /// Notes which line says what somebody decided on refused work for a document.
    pub fn put_decision(
        &self,
        document: DocId,
        by: UserId,
        sequence: u64,
    ) -> Result<(), StoreError> {
        self.tx
            .prepare_cached(
                "INSERT INTO decision (org, document, sequence, by) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![self.org, document.to_bytes(), sequence, by.as_bytes()])?;
        Ok(())
    }

    /// A group that was refused.
    pub fn quarantined(&self, id: OrgId, item: u64) -> Result<Option<Item>, StoreError> {
        let found = self
            .tx
            .prepare_cached(&format!("{ITEM} AND item = ?2"))?
            .query_row(params![self.org, item], |row| Ok(read(id, row)));
        found.optional()?.transpose()
    }
}

/// Whether what was refused for this may be tried again.
fn may_come_again(code: &str) -> bool {
    code == Outcome::BAD_SEAL || Outcome::is_early(code)
}

fn index(
    connection: &Connection,
    org: Org,
    item: u64,
    device: DeviceId,
    group: &Group,
    photos: &BTreeSet<BlobHash>,
) -> Result<(), StoreError> {
    let mut put = connection.prepare_cached(
        "INSERT OR IGNORE INTO quarantine_change (org, document, hash, device, item)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let document = group.document.to_bytes();
    for hash in group.hashes() {
        put.execute(params![org, document, hash.0, device.as_bytes(), item])?;
    }
    let mut put = connection
        .prepare_cached("INSERT INTO quarantine_photo (org, item, hash) VALUES (?1, ?2, ?3)")?;
    for photo in photos {
        put.execute(params![org, item, photo.0])?;
    }
    Ok(())
}

/// The photos that a group names. What a later version says does not read: any 32 bytes in it may name one.
pub fn photos(group: &Group) -> BTreeSet<BlobHash> {
    let mut named = BTreeSet::new();
    for change in &group.changes {
        match change.entry() {
            Ok(entry) => named.extend(entry.photos().iter().map(|photo| photo.hash)),
            Err(_) => {
                let tokens = Tokenizer::new(&change.value).map_while(Result::ok);
                named.extend(tokens.filter_map(|token| match token {
                    Token::Bytes(bytes) => bytes.try_into().ok().map(BlobHash),
                    _ => None,
                }));
            }
        }
    }
    named
}

/// Refused work as its row has it.
#[derive(Debug)]
pub struct Kept {
    /// Its number.
    pub item: u64,
    /// The stored name of its document.
    pub document: Vec<u8>,
    /// The stored name of its newest change.
    pub head: Vec<u8>,
    /// Why it was refused.
    pub code: String,
    /// It is in the log meanwhile, and not kept here any more.
    pub arrived: bool,
    /// It waits for a decision although all of it is in the log.
    pub logged: bool,
    /// How many of its changes are not in the log is known rightly.
    pub counted: bool,
    /// The group.
    pub body: Vec<u8>,
    /// The stored digest of that.
    pub digest: Option<Vec<u8>>,
    /// The names of its changes by which it is found.
    pub changes: BTreeSet<Vec<u8>>,
    /// And of the photos.
    pub photos: BTreeSet<Vec<u8>>,
}

/// Passes all refused work to `each`.
pub fn kept(
    connection: &Connection,
    org: Org,
    mut each: impl FnMut(Kept),
) -> Result<(), StoreError> {
    let mut query = connection.prepare(
        "SELECT item, device, document, head, code, state, body, digest,
             (SELECT count(*) FROM quarantine_change c
                WHERE c.org = q.org AND c.device = q.device AND c.document = q.document AND c.item = q.item
                  AND NOT EXISTS (SELECT 1 FROM log l INDEXED BY log_document
                      WHERE l.org = c.org AND l.document = c.document AND l.hash = c.hash)),
             (SELECT lacks FROM quarantine_left l WHERE l.org = q.org AND l.item = q.item)
         FROM quarantine q WHERE org = ?1 ORDER BY item",
    )?;
    let mut changes = connection.prepare(
        "SELECT hash FROM quarantine_change
         WHERE org = ?1 AND device = ?2 AND document = ?3 AND item = ?4",
    )?;
    let mut photos =
        connection.prepare("SELECT hash FROM quarantine_photo WHERE org = ?1 AND item = ?2")?;
    let mut rows = query.query([org])?;
    while let Some(row) = rows.next()? {
        let (item, document): (u64, Vec<u8>) = (row.get(0)?, row.get(2)?);
        let of = params![org, row.get::<_, Vec<u8>>(1)?, document, item];
        let changes = changes.query_map(of, |row| row.get(0))?.collect::<Result<_, _>>()?;
        let photos =
            photos.query_map(params![org, item], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let (head, code, body, digest) = (row.get(3)?, row.get(4)?, row.get(6)?, row.get(7)?);
        let state: Fate = row.get(5)?;
        let (lacks, counted): (u64, Option<u64>) = (row.get(8)?, row.get(9)?);
        let (arrived, logged) = (state == Fate::Arrived, state == Fate::Waiting && lacks == 0);
        let counted = counted.unwrap_or(0) == lacks;
        each(Kept {
            item,
            document,
            head,
            code,
            arrived,
            logged,
            counted,
            body,
            digest,
            changes,
            photos,
        });
    }
    Ok(())
}

const ITEM: &str =
    "SELECT item, device, code, detail, received_ms, body, state, decided_by, decided_ms, courier
                    FROM quarantine WHERE org = ?1 AND state <> 'arrived'";

fn read(id: OrgId, row: &Row<'_>) -> Result<Item, StoreError> {
    let body: Vec<u8> = row.get(5)?;
    let (by, at): (Option<[u8; 16]>, Option<i64>) = (row.get(7)?, row.get(8)?);
    Ok(Item {
        item: row.get(0)?,
        device: DeviceId::from_bytes(row.get(1)?),
        courier: row.get::<_, Option<[u8; 16]>>(9)?.map(DeviceId::from_bytes),
        code: row.get(2)?,
        detail: row.get(3)?,
        received_ms: row.get(4)?,
        group: from_wire(id, &body)?,
        state: row.get(6)?,
        decided: by.map(UserId::from_bytes).zip(at),
    })
}

/// Refused work as the console lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pile {
    /// Nobody has decided yet.
    Waiting,
    /// A supervisor has decided, or its author by proposing it again.
    Decided,
}

impl Pile {
    const fn states(self) -> &'static str {
        match self {
            Self::Waiting => "'waiting'",
            Self::Decided => "'accepted', 'discarded', 'proposed_again'",
        }
    }
}

/// A page of the groups that somebody sees: what came last first, or what was decided last.
pub fn items(
    connection: &Connection,
    see: &Sight,
    id: OrgId,
    pile: Pile,
    page: u64,
) -> Result<Vec<Item>, StoreError> {
    let (seen, states) = (see.list(connection)?, pile.states());
    let newest = match pile {
        Pile::Waiting => "received_ms DESC, item DESC",
        Pile::Decided => "decided_ms DESC, item DESC",
    };
    // Sorted without the groups, which are long.
    let mut query = connection.prepare_cached(&format!(
        "{ITEM} AND item IN (
             SELECT item FROM quarantine WHERE org = ?1 AND state IN ({states}) AND audience IN ({seen})
             ORDER BY {newest} LIMIT ?2 OFFSET ?3)
         ORDER BY {newest}"
    ))?;
    let rows =
        query.query_map(params![see.org, PAGE_ROWS, page * PAGE_ROWS], |row| Ok(read(id, row)))?;
    rows.map(|row| row?).collect()
}

/// How many groups of a pile somebody sees.
pub fn count(connection: &Connection, see: &Sight, pile: Pile) -> Result<u64, StoreError> {
    let (seen, states) = (see.list(connection)?, pile.states());
    let mut query = connection.prepare_cached(&format!(
        "SELECT count(*) FROM quarantine WHERE org = ?1 AND state IN ({states}) AND audience IN ({seen})"
    ))?;
    Ok(query.query_row([see.org], |row| row.get(0))?)
}

/// The outlet that a group is about, as far as it says so, or the visit that it continues.
pub fn outlet(
    connection: &Connection,
    org: Org,
    group: &Group,
) -> Result<Option<OutletId>, StoreError> {
    let Some(visit) = group.document.visit() else { return Ok(group.outlet()) };
    let mut entries = group.changes.iter().filter_map(|change| change.entry().ok());
    let started = entries.find_map(|entry| match entry {
        Entry::Recording(Recording { act: Act::Start { outlet, .. }, .. }) => Some(outlet),
        _ => None,
    });
    if started.is_some() {
        return Ok(started);
    }
    let mut query =
        connection.prepare_cached("SELECT outlet FROM visit WHERE org = ?1 AND visit = ?2")?;
    let outlet = query.query_row(params![org, visit.as_bytes()], |row| row.get(0)).optional()?;
    Ok(outlet.map(OutletId::from_bytes))
}

/// All that the page of a group shows.
#[derive(Debug)]
pub struct ItemRead {
    /// The group.
    pub item: Item,
    /// The outlet that it is about.
    pub outlet: Option<OutletId>,
    /// Its changes, in parts that each fit a page.
    pub parts: Vec<Range<usize>>,
    /// Which of these is read.
    pub part: usize,
    /// The document as the log has it; `None` if it is not here, or not seen.
    pub held: Option<Held>,
    /// The notes and photos that the part names, and the document.
    pub attached: Attached,
    /// What else waits of the document, ten groups at most.
    pub beside: Vec<Item>,
}

/// A group that somebody sees, with its part of this number or the last.
pub fn item(
    connection: &Connection,
    see: &Sight,
    id: OrgId,
    item: u64,
    part: usize,
) -> Result<Option<ItemRead>, StoreError> {
    let Some(item) = seen(connection, see, id, item)? else { return Ok(None) };
    let (org, document) = (see.org, item.group.document);
    let audience = super::pages::audience_of(connection, org, document)?;
    let held = match audience.is_some_and(|audience| see.sees(&audience)) {
        true => Some(log::document(connection, org, id, document)?),
        false => None,
    };
    let parts = parts(&item.group.changes);
    let part = part.min(parts.len().saturating_sub(1));
    let own = parts.get(part).map_or(&[][..], |part| &item.group.changes[part.clone()]);
    let there = held.iter().flat_map(|held| held.document.changes());
    let entries: Vec<Entry> = own.iter().chain(there).filter_map(|c| c.entry().ok()).collect();
    let in_sight = |hash| shows(connection, see, &item, hash);
    let attached = Attached::of(connection, org, &entries, in_sight)?;
    let list = see.list(connection)?;
    let mut query = connection.prepare_cached(&format!(
        "{ITEM} AND item IN (
             SELECT item FROM quarantine INDEXED BY quarantine_state
             WHERE org = ?1 AND state = 'waiting' AND audience IN ({list})
               AND document = ?2 AND item <> ?3 LIMIT {BESIDE_MAX})"
    ))?;
    let of = params![org, document.to_bytes(), item.item];
    let beside = query.query_map(of, |row| Ok(read(id, row)))?;
    let beside = beside.map(|row| row?).collect::<Result<_, _>>()?;
    let outlet = outlet(connection, org, &item.group)?;
    Ok(Some(ItemRead { item, outlet, parts, part, held, attached, beside }))
}

/// Changes in parts that a page can show: nobody draws all that a hostile phone can send.
fn parts(changes: &[Change]) -> Vec<Range<usize>> {
    let (mut parts, mut from, mut values) = (Vec::new(), 0, 0);
    for (place, change) in changes.iter().enumerate() {
        let more = change.entry().map_or(0, |entry| entry.values());
        if place - from >= PART_ENTRIES || (place > from && values + more > PART_VALUES) {
            parts.push(from..place);
            (from, values) = (place, 0);
        }
        values += more;
    }
    parts.push(from..changes.len());
    parts
}

/// Whether a group that somebody sees names this photo and gives sight of it.
pub fn names_photo(
    connection: &Connection,
    see: &Sight,
    id: OrgId,
    item: u64,
    photo: BlobHash,
) -> Result<bool, StoreError> {
    let Some(item) = seen(connection, see, id, item)? else { return Ok(false) };
    let mut entries = item.group.changes.iter().filter_map(|change| change.entry().ok());
    let named = entries.any(|entry| entry.photos().iter().any(|named| named.hash == photo));
    Ok(named && shows(connection, see, &item, photo)?)
}

/// Whether a photo that a group names is in sight: its device's person has brought it, or it is seen elsewhere.
fn shows(
    connection: &Connection,
    see: &Sight,
    item: &Item,
    hash: BlobHash,
) -> Result<bool, StoreError> {
    let id = UploadId { org: see.org, device: item.device, hash };
    Ok(uploads::bears(connection, id)? || super::pages::sees_photo(connection, see, hash)?)
}

fn seen(
    connection: &Connection,
    see: &Sight,
    id: OrgId,
    item: u64,
) -> Result<Option<Item>, StoreError> {
    let seen = see.list(connection)?;
    let mut query =
        connection.prepare_cached(&format!("{ITEM} AND item = ?2 AND audience IN ({seen})"))?;
    query.query_row(params![see.org, item], |row| Ok(read(id, row))).optional()?.transpose()
}

/// Whether somebody sees a group.
pub fn sees(connection: &Connection, see: &Sight, item: u64) -> Result<bool, StoreError> {
    let seen = see.list(connection)?;
    let mut query = connection.prepare_cached(&format!(
        "SELECT 1 FROM quarantine WHERE org = ?1 AND item = ?2 AND audience IN ({seen})"
    ))?;
    Ok(query.exists(params![see.org, item])?)
}

/// What became, within these sequences, of the refused work of a person's devices: whoever goes on with another one
/// holds what the one before was refused.
pub fn decided(
    connection: &Connection,
    org: Org,
    user: UserId,
    sequences: Range<u64>,
) -> Result<Vec<Decided>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT document, head, state, detail FROM quarantine INDEXED BY quarantine_decided
         WHERE org = ?1 AND device IN (SELECT device FROM device WHERE org = ?1 AND user = ?2)
           AND state IN ('accepted', 'arrived', 'discarded') AND decided >= ?3 AND decided < ?4
         ORDER BY decided, item",
    )?;
    let Range { start, end } = sequences;
    let rows = query.query_map(params![org, user.as_bytes(), start, end], |row| {
        let (document, head): (Vec<u8>, _) = (row.get(0)?, ChangeHash(row.get(1)?));
        Ok((document, head, row.get::<_, Fate>(2)?, row.get(3)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (document, head, state, detail) = row?;
        let document = DocId::from_bytes(&document)
            .ok_or_else(|| StoreError::Damaged("a document's name".into()))?;
        let outcome = match state {
            Fate::Discarded => Outcome::quarantined(Outcome::DISCARDED, detail),
            _ => Outcome::Accepted {},
        };
        found.push(Decided { document, head, outcome });
    }
    Ok(found)
}
