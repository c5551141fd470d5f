//! The organisation's log: appending to it, and what it holds of a document, a record, an audience.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::document::{Change, Document, Parts};
use sync_core::evidence::{Cursor, Frontier, Leaf, LogKey, Seal};
use sync_core::id::{
    BlobHash, ChangeHash, DeviceId, DistributorId, DocId, DocKind, LogHash, LogOrigin, OrgId,
    OutletId, TerritoryId,
};
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::catalogue::{Record, RecordKey};
use sync_core::model::people::Audience;
use sync_core::model::visit::{Note, VOLUMES_MAX};
use sync_core::print::{Item, Print};
use sync_core::proof::known_at;

use super::StoreError;
use super::accounts;
use super::erasure::note_erased;

/// Local number of an organisation in this store.
pub type Org = i64;

/// Local number of an audience: 0 is everyone.
pub type AudienceId = i64;
/// Prints by audience; those of nothing are left out.
pub type Prints = BTreeMap<AudienceId, Print>;
const EVERYONE: AudienceId = 0;
const NOBODY: AudienceId = -1;

/// The audience of lines of this one that phones do not keep any more, and back. It is in nobody's list.
fn other_side(audience: AudienceId) -> AudienceId {
    -1 - audience
}

fn is_let_go(audience: AudienceId) -> bool {
    audience < NOBODY
}

/// The audience that sees a line of this one, and whether phones do not keep it any more.
pub fn seen_by(audience: AudienceId) -> (AudienceId, bool) {
    match is_let_go(audience) {
        true => (other_side(audience), true),
        false => (audience, false),
    }
}

/// Visits that one write lets go of at most: more than it brings, and not enough to be felt.
const LET_GO_AT_ONCE: u32 = 8;
const DAY_MS: i64 = 86_400_000;

/// A commit of many records or documents has a root after each so many leaves, so that it does not become one page.
const ROOT_INTERVAL: u64 = 500;
/// And after documents of so many bytes.
const ROOT_BYTES: u64 = 1 << 20;
/// What a line takes in an answer besides its body and its notes.
pub(super) const LINE_BYTES: u64 = 64;
/// What a note takes in an answer besides its words.
pub(super) const NOTE_BYTES: u64 = 32;

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

/// Seeds of the keys that the server has had in an organisation before, the newest first.
pub fn former_keys(connection: &Connection, org: Org) -> Result<Vec<[u8; 32]>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT seed FROM former_key WHERE org = ?1 ORDER BY number DESC")?;
    let seeds = query.query_map([org], |row| row.get(0))?;
    Ok(seeds.collect::<Result<_, _>>()?)
}

/// Keeps another key and actor of the server; their device is written beside.
pub fn change_server_key(
    tx: &Transaction<'_>,
    org: Org,
    seed: [u8; 32],
    instance: [u8; 8],
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO former_key SELECT org, 1 + (SELECT count(*) FROM former_key f WHERE f.org = o.org), seed
         FROM organisation o WHERE org = ?1",
        [org],
    )?;
    let change = "UPDATE organisation SET seed = ?2, instance = ?3 WHERE org = ?1";
    tx.execute(change, params![org, seed, instance])?;
    Ok(())
}

/// How many days phones keep a visit after its newest change; `None`: for ever.
pub fn keep_days(connection: &Connection, org: Org) -> Result<Option<u32>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT keep_days FROM organisation WHERE org = ?1")?;
    Ok(query.query_row([org], |row| row.get(0))?)
}

/// Says how many days phones keep a visit after its newest change.
pub fn set_keep_days(tx: &Transaction<'_>, org: Org, days: Option<u32>) -> Result<(), StoreError> {
    tx.execute("UPDATE organisation SET keep_days = ?2 WHERE org = ?1", params![org, days])?;
    Ok(())
}

/// The local number of the next organisation.
pub fn next_org(tx: &Transaction<'_>) -> Result<Org, StoreError> {
    let next = "SELECT coalesce(max(org), 0) + 1 FROM organisation";
    Ok(tx.query_row(next, [], |row| row.get(0))?)
}

/// Makes an organisation and the first leaf of its log, whose checkpoints `key` will sign.
pub fn create(
    tx: &Transaction<'_>,
    made: &Organisation,
    origin: LogOrigin,
    key: [u8; 32],
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
    begin_life(tx, made.org, origin, None, key, at_ms)
}

/// Goes on with the log of an organisation under a new origin: its store comes from a backup, and what was
/// written after that is lost here, though not on devices. `instance` becomes the second half of the server's
/// actor: the numbers that the old one has given to what was lost are taken. `key` signs the checkpoints from here on.
pub fn go_on_after_restore(
    tx: &Transaction<'_>,
    org: Org,
    origin: LogOrigin,
    instance: [u8; 8],
    key: [u8; 32],
    at_ms: i64,
) -> Result<(), StoreError> {
    let Cursor { sequence, root, .. } = head(tx, org)?;
    begin_life(tx, org, origin, Some((sequence, root)), key, at_ms)?;
    tx.execute("UPDATE organisation SET instance = ?2 WHERE org = ?1", params![org, instance])?;
    // The pushes that devices would name next are not known here; and until one begins anew each is given all that it wrote.
    let forget = "UPDATE device SET pushes = NULL, own_since = ?2 WHERE org = ?1";
    tx.execute(forget, params![org, i64::MAX])?;
    Ok(())
}

fn begin_life(
    tx: &Transaction<'_>,
    org: Org,
    origin: LogOrigin,
    after: Option<(u64, LogHash)>,
    key: [u8; 32],
    at_ms: i64,
) -> Result<(), StoreError> {
    let mut ledger = Ledger::open(tx, org)?;
    let leaf = Leaf::Origin { origin, at_ms, after, key: LogKey(key) };
    let sequence = ledger.append(&leaf, at_ms, NOBODY, Line::Origin)?;
    let origin = origin.as_bytes();
    tx.execute("INSERT INTO origin VALUES (?1, ?2, ?3, ?4)", params![org, sequence, origin, key])?;
    tx.execute("UPDATE organisation SET origin = ?2 WHERE org = ?1", params![org, origin])?;
    ledger.close()
}

/// A document as it is in the log, with what the server knows of each change.
#[derive(Debug)]
pub struct Held {
    /// The document.
    pub document: Document,
    /// Who sees it; `None` while nobody has written to it.
    pub audience: Option<Audience>,
    /// When each change was captured, as well as that is known.
    pub times: HashMap<ChangeHash, CaptureTime>,
    /// The device that pushed each change.
    pub devices: HashMap<ChangeHash, DeviceId>,
    /// Phones do not keep it any more.
    pub let_go: bool,
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
        audience: None,
        times: HashMap::new(),
        devices: HashMap::new(),
        let_go: false,
    };
    let mut query = connection.prepare_cached(
        "SELECT hash, body, times, device, audience FROM log INDEXED BY log_document
         WHERE org = ?1 AND document = ?2 ORDER BY sequence",
    )?;
    let mut audience = None;
    let mut rows = query.query(params![org, document.to_bytes()])?;
    while let Some(row) = rows.next()? {
        let hash = ChangeHash(row.get(0)?);
        let parts: Parts = from_cbor(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
        let times = from_cbor(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        held.times.insert(hash, times);
        held.devices.insert(hash, DeviceId::from_bytes(row.get(3)?));
        audience = Some(row.get(4)?);
        held.document
            .insert(Change::kept(hash, parts))
            .map_err(|misfit| StoreError::Damaged(format!("{document}: {misfit}")))?;
    }
    held.let_go = audience.is_some_and(is_let_go);
    if let Some(audience) = audience {
        let unknown = || StoreError::Damaged(format!("{document}: an audience that is none"));
        held.audience = Some(audience_of(connection, org, audience)?.ok_or_else(unknown)?);
    }
    Ok(held)
}

/// The volumes of an outlet's history, oldest first.
pub fn volumes(
    connection: &Connection,
    org: Org,
    outlet: OutletId,
) -> Result<Vec<DocId>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT 1 FROM log INDEXED BY log_document WHERE org = ?1 AND document = ?2 LIMIT 1",
    )?;
    let mut here = Vec::new();
    for document in (0..=VOLUMES_MAX).map(|number| DocId::volume(outlet, number)) {
        if !query.exists(params![org, document.to_bytes()])? {
            break;
        }
        here.push(document);
    }
    Ok(here)
}

/// Who is behind an audience's number, if it is one.
pub fn audience_of(
    connection: &Connection,
    org: Org,
    audience: AudienceId,
) -> Result<Option<Audience>, StoreError> {
    let (audience, _) = seen_by(audience);
    let mut query = connection.prepare_cached(
        "SELECT territory, distributor FROM audience WHERE org = ?1 AND audience = ?2",
    )?;
    let found = query.query_row(params![org, audience], |row| {
        Ok(Audience::Outlet {
            territory: TerritoryId::from_bytes(row.get(0)?),
            distributor: DistributorId::from_bytes(row.get(1)?),
        })
    });
    Ok(found.optional()?)
}

/// The audiences that somebody sees.
pub fn audiences(
    connection: &Connection,
    org: Org,
    sees: impl Fn(&Audience) -> bool,
) -> Result<Vec<AudienceId>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT audience, territory, distributor FROM audience WHERE org = ?1")?;
    let mut rows = query.query([org])?;
    let mut seen = Vec::new();
    if sees(&Audience::Everyone) {
        seen.push(EVERYONE);
    }
    while let Some(row) = rows.next()? {
        let audience = Audience::Outlet {
            territory: TerritoryId::from_bytes(row.get(1)?),
            distributor: DistributorId::from_bytes(row.get(2)?),
        };
        if sees(&audience) {
            seen.push(row.get(0)?);
        }
    }
    Ok(seen)
}

/// The audience of a document, of phones that keep it and of those that do not any more; nobody's if it is not here.
pub fn document_audience(
    connection: &Connection,
    org: Org,
    document: DocId,
) -> Result<AudienceId, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT audience FROM log INDEXED BY log_document WHERE org = ?1 AND document = ?2 LIMIT 1",
    )?;
    let audience = query.query_row(params![org, document.to_bytes()], |row| row.get(0));
    Ok(audience.optional()?.map_or(NOBODY, |audience| seen_by(audience).0))
}

/// The same in SQL, of what these columns name.
pub(super) fn audience_in(org: &str, document: &str) -> String {
    format!(
        "(SELECT iif(l.audience < {NOBODY}, {NOBODY} - l.audience, l.audience)
          FROM log l INDEXED BY log_document
          WHERE l.org = {org} AND l.document = {document} LIMIT 1)"
    )
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
        /// How old it was when its device sent it, if a clock has counted that.
        age_ms: Option<i64>,
        /// Bytes of the notes that it names ([`Ledger::note_bytes`]).
        notes: u64,
    },
    /// A record.
    Record(RecordKey),
    /// An act that is nothing but its leaf. Phones do not hear of it.
    Act,
}

/// Appends to one organisation's log within a transaction.
pub struct Ledger<'a> {
    /// The transaction, for what must be written together with the log.
    pub tx: &'a Transaction<'a>,
    /// Which organisation.
    pub org: Org,
    frontier: Frontier,
    audiences: HashMap<Audience, AudienceId>,
    /// What to add to the prints of audiences.
    prints: Prints,
    /// The lives of the log and where each begins.
    lives: Vec<(u32, u64)>,
    /// Leaves since the last one after which a page may end, and about how much they take in it.
    since_root: (u64, u64),
    /// What is kept apart of devices: how many groups wait, and the bytes of all.
    pub(super) apart: HashMap<DeviceId, (u64, u64)>,
}

impl<'a> Ledger<'a> {
    /// Takes up the log where it stands.
    pub fn open(tx: &'a Transaction<'a>, org: Org) -> Result<Self, StoreError> {
        let frontier: Vec<u8> = tx
            .prepare_cached("SELECT frontier FROM organisation WHERE org = ?1")?
            .query_row([org], |row| row.get(0))?;
        let lives = lives(tx, org)?;
        Ok(Self {
            tx,
            org,
            frontier: from_cbor(&frontier)?,
            audiences: HashMap::new(),
            prints: Prints::new(),
            lives,
            since_root: (0, 0),
            apart: HashMap::new(),
        })
    }

    /// How many of the lines that are here now the device knew at a moment. Lines that were lost in a restore
    /// count as far as the log is still the same.
    pub fn known_at(&self, when: &Moment) -> u64 {
        known_at(&self.lives, self.size(), when)
    }

    /// How many lines a device is known to have known.
    pub fn acked(&self, device: DeviceId) -> Result<u64, StoreError> {
        let acked = self
            .tx
            .prepare_cached("SELECT acked FROM device WHERE org = ?1 AND device = ?2")?
            .query_row(params![self.org, device.as_bytes()], |row| row.get(0));
        Ok(acked.optional()?.unwrap_or(0))
    }

    /// Another device has brought what is this one's: it may not have all that its name is on up to here.
    pub fn brought(&self, device: DeviceId) -> Result<(), StoreError> {
        accounts::brought(self.tx, self.org, device, self.size())
    }

    /// The newest life of the log.
    pub fn life(&self) -> Option<u32> {
        self.lives.last().map(|(name, _)| *name)
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
        let act = if matches!(line, Line::Act) { to_cbor(leaf) } else { Vec::new() };
        let leaf = leaf.hash();
        self.frontier.push(leaf);
        let mut insert = self.tx.prepare_cached(
            "INSERT INTO log
                 (org, sequence, leaf, at_ms, audience, document, hash, device, seal, body, times,
                  age_ms, notes)
             VALUES (:org, :sequence, :leaf, :at_ms, :audience, :document, :hash, :device, :seal, :body,
                     :times, :age_ms, :notes)",
        )?;
        if let Line::Change { change, .. } = &line {
            *self.prints.entry(audience).or_default() += Print::of_change(change.hash());
        }
        let (document, hash, device, seal, body, times, age_ms, notes) = match line {
            Line::Origin => (None, None, None, None, Vec::new(), None, None, 0),
            Line::Record(key) => (None, None, None, None, key.to_bytes().to_vec(), None, None, 0),
            Line::Act => (None, None, None, None, act, None, None, 0),
            Line::Change { document, change, device, seal, times, age_ms, notes } => (
                Some(document.to_bytes()),
                Some(change.hash().0),
                Some(*device.as_bytes()),
                seal.map(|s| s.signature),
                to_cbor::<Parts>(change),
                Some(to_cbor(times)),
                age_ms,
                notes,
            ),
        };
        self.since_root.0 += 1;
        self.since_root.1 += body.len() as u64 + LINE_BYTES + notes;
        insert.execute(named_params! {
            ":org": self.org, ":sequence": sequence, ":leaf": leaf.0, ":at_ms": at_ms,
            ":audience": audience, ":document": document, ":hash": hash, ":device": device,
            ":seal": seal, ":body": body, ":times": times, ":age_ms": age_ms, ":notes": notes,
        })?;
        Ok(sequence)
    }

    /// What the words of these notes take in an answer, as far as they are here.
    pub fn note_bytes(&self, digests: &[BlobHash]) -> Result<u64, StoreError> {
        note_bytes(self.tx, self.org, digests)
    }

    /// All lines of a document are written: if they are many, a page may end here.
    pub fn rest(&mut self) -> Result<(), StoreError> {
        let (leaves, bytes) = self.since_root;
        match self.frontier.size().checked_sub(1) {
            Some(last) if leaves >= ROOT_INTERVAL || bytes >= ROOT_BYTES => self.put_root(last),
            _ => Ok(()),
        }
    }

    /// Adds an act that is nothing but its leaf.
    pub fn append_act(&mut self, leaf: &Leaf) -> Result<u64, StoreError> {
        self.append(leaf, leaf.at_ms(), NOBODY, Line::Act)
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
        let audience = self.audience(audience)?;
        let older = self
            .tx
            .prepare_cached(
                "SELECT l.sequence, l.audience, r.body FROM record r JOIN log l USING (org, sequence)
                 WHERE r.org = ?1 AND r.key = ?2 ORDER BY r.sequence DESC LIMIT 1",
            )?
            .query_row(params![self.org, key.to_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?))
            });
        *self.prints.entry(audience).or_default() += Print::of_record(key, &body);
        if let Some((older, left, replaced)) = older.optional()? {
            self.set_audience(older, NOBODY)?;
            *self.prints.entry(left).or_default() -= Print::of_record(key, &replaced);
            if left != audience {
                self.put_moved(self.size(), &key.to_bytes(), false, left, audience)?;
            }
        }
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

    fn set_audience(&self, sequence: u64, audience: AudienceId) -> Result<(), StoreError> {
        self.tx
            .prepare_cached("UPDATE log SET audience = ?3 WHERE org = ?1 AND sequence = ?2")?
            .execute(params![self.org, sequence, audience])?;
        Ok(())
    }

    fn put_moved(
        &self,
        sequence: u64,
        item: &[u8],
        document: bool,
        left: AudienceId,
        entered: AudienceId,
    ) -> Result<(), StoreError> {
        self.tx
            .prepare_cached("INSERT OR REPLACE INTO moved VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![self.org, sequence, item, document, left, entered])?;
        Ok(())
    }

    /// Takes an outlet's history along to another audience. A line must follow in the same transaction.
    pub fn move_history(
        &mut self,
        outlet: OutletId,
        audience: &Audience,
    ) -> Result<(), StoreError> {
        let audience = self.audience(audience)?;
        let here = volumes(self.tx, self.org, outlet)?;
        let next = DocId::volume(outlet, here.len() as u32);
        for document in here.iter().copied().chain([next]) {
            self.refused_moves(document, audience)?;
        }
        for document in here {
            self.move_lines(document, self.size(), |_| audience)?;
            self.tx
                .prepare_cached(
                    "UPDATE photo INDEXED BY photo_moves SET audience = ?3
                     WHERE org = ?1 AND document = ?2 AND document >= x'01'",
                )?
                .execute(params![self.org, document.to_bytes(), audience])?;
        }
        self.tx
            .prepare_cached("UPDATE report SET audience = ?3 WHERE org = ?1 AND outlet = ?2")?
            .execute(params![self.org, outlet.as_bytes(), audience])?;
        Ok(())
    }

    /// Takes a document's lines to other audiences, at a line that is in the log when the transaction ends.
    fn move_lines(
        &mut self,
        document: DocId,
        at: u64,
        to: impl Fn(AudienceId) -> AudienceId,
    ) -> Result<(), StoreError> {
        let document = document.to_bytes();
        let lines: Vec<(u64, AudienceId, [u8; 32])> = self
            .tx
            .prepare_cached(
                "SELECT sequence, audience, hash FROM log INDEXED BY log_document
                 WHERE org = ?1 AND document = ?2",
            )?
            .query_map(params![self.org, document], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        for (sequence, left, hash) in lines {
            let entered = to(left);
            if left != entered {
                self.set_audience(sequence, entered)?;
                let print = Print::of_change(ChangeHash(hash));
                *self.prints.entry(left).or_default() -= print;
                *self.prints.entry(entered).or_default() += print;
                self.put_moved(at, &document, true, left, entered)?;
            }
        }
        Ok(())
    }

    /// Lets phones go of a few of the visits that have not changed for as long as the organisation wants them kept,
    /// unless they wait for somebody in the field. What is read of them here stays as it is. To be called after
    /// something was appended.
    pub fn let_go(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let keep = keep_days(self.tx, self.org)?;
        let (Some(days), Some(at)) = (keep, self.size().checked_sub(1)) else { return Ok(()) };
        let before = now_ms.saturating_sub(i64::from(days) * DAY_MS);
        let visits: Vec<[u8; 16]> = self
            .tx
            .prepare_cached(&format!(
                "SELECT visit FROM visit INDEXED BY visit_kept
                 WHERE org = ?1 AND let_go = 0 AND status NOT IN ('in_progress', 'sent_back')
                   AND changed_ms < ?2 ORDER BY changed_ms LIMIT {LET_GO_AT_ONCE}"
            ))?
            .query_map(params![self.org, before], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for visit in visits {
            let document = DocId { kind: DocKind::Visit, id: visit };
            self.move_lines(document, at, |a| if is_let_go(a) { a } else { other_side(a) })?;
            self.tx
                .prepare_cached("UPDATE visit SET let_go = 1 WHERE org = ?1 AND visit = ?2")?
                .execute(params![self.org, visit])?;
        }
        Ok(())
    }

    /// Brings a document that phones have let go of back to them. A line of it must follow in the same transaction.
    pub fn take_back(&mut self, document: DocId) -> Result<(), StoreError> {
        self.move_lines(document, self.size(), |a| if is_let_go(a) { other_side(a) } else { a })
    }

    fn put_root(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.since_root = (0, 0);
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

    /// The number of an audience that refused work is kept under. Who decides on it has a territory, whichever the
    /// distributor: of a territory that has an audience none is made, or whoever is refused could make as many as every
    /// pull has to look at.
    pub fn audience_apart(&mut self, audience: &Audience) -> Result<AudienceId, StoreError> {
        let Audience::Outlet { territory, distributor } = audience else { return Ok(EVERYONE) };
        let known = self
            .tx
            .prepare_cached(
                "SELECT audience FROM audience WHERE org = ?1 AND territory = ?2
                 ORDER BY distributor <> ?3, audience LIMIT 1",
            )?
            .query_row(params![self.org, territory.as_bytes(), distributor.as_bytes()], |row| {
                row.get(0)
            });
        match known.optional()? {
            Some(id) => Ok(id),
            None => self.audience(audience),
        }
    }

    /// When the change was captured that is the next line, if that is written at `now_ms`.
    pub fn captured(
        &self,
        when: &Moment,
        age_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<CaptureTime, StoreError> {
        captured(self.tx, self.org, &self.lives, (self.size(), now_ms), (when, age_ms))
    }

    /// Keeps notes. One that is here already stays; one that was erased is not kept again.
    pub fn put_notes<'n>(
        &self,
        notes: impl IntoIterator<Item = &'n Note>,
    ) -> Result<(), StoreError> {
        let mut insert = self.tx.prepare_cached(
            "INSERT OR IGNORE INTO note (org, digest, salt, text) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for note in notes {
            let digest = note.digest();
            if note_erased(self.tx, self.org, digest)?.is_some() {
                continue;
            }
            insert.execute(params![self.org, digest.0, note.salt, note.text])?;
        }
        Ok(())
    }

    /// Writes down the root, where the log stands, and what its audiences see. Nothing can be appended after.
    pub fn close(mut self) -> Result<(), StoreError> {
        let Some(last) = self.frontier.size().checked_sub(1) else { return Ok(()) };
        self.put_root(last)?;
        self.tx
            .prepare_cached("UPDATE organisation SET frontier = ?2 WHERE org = ?1")?
            .execute(params![self.org, to_cbor(&self.frontier)])?;
        for (audience, more) in &self.prints {
            let print = print_of(self.tx, self.org, *audience)? + *more;
            put_print(self.tx, self.org, *audience, &print)?;
        }
        Ok(())
    }
}

/// The lives of a log and where each begins.
pub fn lives(connection: &Connection, org: Org) -> Result<Vec<(u32, u64)>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT origin, sequence FROM origin WHERE org = ?1 ORDER BY sequence")?;
    let lives = query
        .query_map([org], |row| Ok((LogOrigin::from_bytes(row.get(0)?).life(), row.get(1)?)))?;
    Ok(lives.collect::<Result<_, _>>()?)
}

/// When a change was captured that came as the line of a log, and when, that `received` says: as well as it and the lines
/// before that show.
pub fn captured(
    connection: &Connection,
    org: Org,
    lives: &[(u32, u64)],
    (sequence, received_ms): (u64, i64),
    (when, age_ms): (&Moment, Option<i64>),
) -> Result<CaptureTime, StoreError> {
    // What began later was not known then.
    let lives = &lives[..lives.partition_point(|(_, begins)| *begins < sequence)];
    let anchor_ms = match known_at(lives, sequence, when).checked_sub(1) {
        Some(anchor) => time_of(connection, org, anchor)?,
        None => None,
    };
    Ok(CaptureTime::estimate(when, age_ms, anchor_ms, received_ms))
}

pub(super) fn time_of(
    connection: &Connection,
    org: Org,
    sequence: u64,
) -> Result<Option<i64>, StoreError> {
    let Ok(sequence) = i64::try_from(sequence) else { return Ok(None) };
    let time = connection
        .prepare_cached("SELECT at_ms FROM log WHERE org = ?1 AND sequence = ?2")?
        .query_row(params![org, sequence], |row| row.get(0));
    Ok(time.optional()?)
}

pub(super) fn print_of(
    connection: &Connection,
    org: Org,
    audience: AudienceId,
) -> Result<Print, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT print FROM print WHERE org = ?1 AND audience = ?2")?;
    let print = query.query_row(params![org, audience], |row| row.get(0)).optional()?;
    Ok(print.map_or_else(Print::default, |bytes| Print::from_bytes(&bytes)))
}

fn put_print(
    connection: &Connection,
    org: Org,
    audience: AudienceId,
    print: &Print,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO print (org, audience, print) VALUES (?1, ?2, ?3)")?
        .execute(params![org, audience, print.to_bytes()])?;
    Ok(())
}

fn note_bytes(connection: &Connection, org: Org, digests: &[BlobHash]) -> Result<u64, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT octet_length(text) FROM note WHERE org = ?1 AND digest = ?2")?;
    let mut bytes = 0;
    for digest in digests {
        let words = query.query_row(params![org, digest.0], |row| row.get::<_, u64>(0));
        bytes += words.optional()?.map_or(0, |words| words + NOTE_BYTES);
    }
    Ok(bytes)
}

/// The prints of an organisation's audiences as they are kept.
pub fn kept_prints(connection: &Connection, org: Org) -> Result<Prints, StoreError> {
    let mut query = connection.prepare("SELECT audience, print FROM print WHERE org = ?1")?;
    let prints = query.query_map([org], |row| {
        Ok((row.get(0)?, Print::from_bytes(&row.get::<_, [u8; 40]>(1)?)))
    })?;
    let mut prints: Prints = prints.collect::<Result<_, _>>()?;
    prints.retain(|_, print| *print != Print::default());
    Ok(prints)
}

/// The prints of an organisation's audiences, counted from its log.
pub fn counted_prints(connection: &Connection, org: Org) -> Result<Prints, StoreError> {
    let mut prints = Prints::new();
    each_item(connection, org, &format!("audience <> {NOBODY}"), |audience, _, print| {
        *prints.entry(audience).or_default() += print;
    })?;
    Ok(prints)
}

/// Passes every change, and every record's newest version, of some audiences to `each`.
pub(super) fn each_item(
    connection: &Connection,
    org: Org,
    whose: &str,
    mut each: impl FnMut(AudienceId, Item, Print),
) -> Result<(), StoreError> {
    let damaged = || StoreError::Damaged("a document's name".into());
    let mut query = connection.prepare(&format!(
        "SELECT audience, document, hash FROM log
         WHERE org = ?1 AND document IS NOT NULL AND {whose}"
    ))?;
    let mut rows = query.query([org])?;
    while let Some(row) = rows.next()? {
        let document: [u8; 17] = row.get(1)?;
        let document = DocId::from_bytes(&document).ok_or_else(damaged)?;
        let print = Print::of_change(ChangeHash(row.get(2)?));
        each(row.get(0)?, Item::Document(document), print);
    }
    let mut query = connection.prepare(&format!(
        "SELECT l.audience, r.key, r.body FROM log l
         JOIN record r ON r.org = l.org AND r.key = l.body AND r.sequence = l.sequence
         WHERE l.org = ?1 AND l.document IS NULL AND l.{whose}"
    ))?;
    let mut rows = query.query([org])?;
    while let Some(row) = rows.next()? {
        let key = RecordKey::from_bytes(&row.get(1)?);
        let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        each(row.get(0)?, Item::Record(key), Print::of_record(key, body));
    }
    Ok(())
}

/// The newest cursor: everything is known.
pub fn head(connection: &Connection, org: Org) -> Result<Cursor, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT o.origin, l.sequence + 1, l.root FROM organisation o JOIN log l USING (org)
         WHERE o.org = ?1 AND l.root IS NOT NULL ORDER BY l.sequence DESC LIMIT 1",
    )?;
    Ok(query.query_row([org], cursor)?)
}

pub(super) fn cursor(row: &rusqlite::Row<'_>) -> rusqlite::Result<Cursor> {
    Ok(Cursor {
        origin: LogOrigin::from_bytes(row.get(0)?),
        sequence: row.get(1)?,
        root: LogHash(row.get(2)?),
    })
}

/// A note's words, unless they were erased or never came.
pub fn note(
    connection: &Connection,
    org: Org,
    digest: BlobHash,
) -> Result<Option<Note>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT salt, text FROM note WHERE org = ?1 AND digest = ?2")?;
    let note = query
        .query_row(params![org, digest.0], |row| Ok(Note { salt: row.get(0)?, text: row.get(1)? }));
    Ok(note.optional()?)
}

/// Every version of every record with its sequence, oldest first.
pub fn records(
    connection: &Connection,
    org: Org,
    mut each: impl FnMut(Record, u64),
) -> Result<(), StoreError> {
    let mut query =
        connection.prepare("SELECT body, sequence FROM record WHERE org = ?1 ORDER BY sequence")?;
    let mut rows = query.query([org])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        each(from_cbor(body)?, row.get(1)?);
    }
    Ok(())
}

/// The versions of records that are lines from `first` to before `end`, oldest first.
pub fn records_between(
    connection: &Connection,
    org: Org,
    (first, end): (u64, u64),
    mut each: impl FnMut(Record, u64),
) -> Result<(), StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT r.body, l.sequence FROM log l CROSS JOIN record r
             ON r.org = l.org AND r.key = l.body AND r.sequence = l.sequence
         WHERE l.org = ?1 AND l.sequence >= ?2 AND l.sequence < ?3 AND l.document IS NULL
         ORDER BY l.sequence",
    )?;
    let mut rows = query.query(params![org, first, end])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        each(from_cbor(body)?, row.get(1)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
