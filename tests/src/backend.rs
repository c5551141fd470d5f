//! The real ingest over the real SQLite log, in one thread, with crashes on demand.
//!
//! What [`Server::push`] and [`Server::pull`] do around them is what `server::app` does, without threads:
//! one transaction a push, and a reply only once it is committed.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use server::feed;
use server::ingest::{ActError, Console, Ingest, Opened, Sender, open, verify, write_records};
use server::signals::field::{Known, of_visit};
use server::store::erasure::{self, Erasure};
use server::store::log::{Ledger, Org, Organisation};
use server::store::reader::{PageSize, Reader};
use server::store::uploads::{self, Named};
use server::store::{StoreError, accounts, field, log};
use sync_core::cargo::Load;
use sync_core::cbor::from_cbor;
use sync_core::document::{Change, Document, Entry};
use sync_core::evidence::{Cursor, Keypair};
use sync_core::id::{Actor, BlobHash, ChangeHash, DeviceId, DocId, LogHash, LogOrigin, UserId};
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{self, Erased, ErasedKind, Record};
use sync_core::model::people::{Audience, Role};
use sync_core::model::visit::Note;
use sync_core::print::Print;
use sync_core::wire::{
    CargoReply, CargoRequest, Delivery, Group, Outcome, PROTOCOL, PullReply, PullRequest,
    PushReply, PushRequest, RepairReply, RepairRequest, from_wire, protocol_of, to_wire,
};

use crate::brand::{BEGIN_MS, ORG};
use crate::chance::Chance;

/// When the server's process ends during a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// It does not.
    Never,
    /// With the transaction open: nothing was written.
    BeforeCommit,
    /// Everything is on the disk, and nobody hears of it.
    BeforeReply,
}

/// So few that most pushes are written in parts, of which a crash may lose the last.
const CHANGES_AT_ONCE: usize = 8;

/// So small that most pulls, and many repairs, have several pages, between which anything may happen.
const PAGES: PageSize = PageSize { rows: 20, bytes: 6 << 10 };

/// Why a message has no answer of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The device's access was withdrawn.
    Revoked,
    /// The server does not know the device: a restore has lost its enrolment.
    Forgotten,
    /// The person was let go.
    Inactive,
    /// The log does not know the cursor.
    CursorUnknown,
    /// The message does not read.
    Malformed(String),
    /// The process died.
    Crashed,
    /// The server's disk is full. Nothing was written.
    Full,
    /// The store failed. No message may bring that about.
    Failed(String),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::from(StoreError::from(error))
    }
}

/// The server of one organisation.
pub struct Server {
    /// Its database, in memory.
    pub db: Connection,
    /// The organisation's local number.
    pub org: Org,
    /// The catalogue and the people.
    pub world: server::world::World,
    /// The server as an author.
    pub console: Console,
    /// The parts of the newest push that are on its disk.
    pub taken: usize,
    chance: Chance,
}

/// Refused work that the server keeps.
pub struct Apart {
    /// Whose.
    pub device: DeviceId,
    /// What became of it.
    pub state: String,
    /// What it was refused for.
    pub code: String,
    /// What it is.
    pub group: Group,
}

/// The key of its log, which restores do not change.
pub fn log_key() -> Keypair {
    Keypair::from_seed(&[0x10; 32])
}

/// A database in memory with the schema that the server's own migrations make.
fn empty() -> Connection {
    let mut db = Connection::open_in_memory().expect("memory");
    server::store::migrate(&mut db).expect("the migrations run");
    db
}

impl Server {
    /// A server with the brand's records.
    pub fn new(chance: &mut Chance) -> Self {
        let mut db = empty();
        let made = Organisation {
            org: 1,
            id: ORG,
            name: "Nordic Oats".into(),
            seed: chance.bytes(),
            instance: chance.bytes(),
        };
        let tx = db.transaction().expect("a transaction");
        log::create(
            &tx,
            &made,
            LogOrigin::from_bytes(chance.bytes()),
            log_key().public(),
            BEGIN_MS,
        )
        .expect("a log");
        tx.commit().expect("a commit");
        let mut server = Self::open(db, &made, chance);
        let key = server.console.keypair.public();
        let (id, user) = (DeviceId::of_server(ORG), UserId::NOBODY);
        let mut records = vec![Record::Device(catalogue::Device {
            id,
            user,
            key,
            revoked: false,
            lost_ms: None,
        })];
        records.extend(crate::brand::records());
        server.write(records, BEGIN_MS);
        server
    }

    /// A server over a database that another one has written.
    pub fn over(db: Connection) -> Self {
        let made = log::organisations(&db).expect("organisations").remove(0);
        Self::open(db, &made, &mut Chance::new(0))
    }

    fn open(db: Connection, made: &Organisation, chance: &mut Chance) -> Self {
        let keypair = Keypair::from_seed(&made.seed);
        let actor = Actor::new(&keypair.public(), made.instance);
        let mut world = server::world::World::default();
        log::records(&db, made.org, |record, sequence| world.insert(record, sequence))
            .expect("the records read");
        let former = log::former_keys(&db, made.org).expect("keys");
        let former = former.iter().map(Keypair::from_seed).collect();
        let device = world.server(ORG).map_or(DeviceId::of_server(ORG), |device| device.id);
        let console = Console { keypair, former, actor, device };
        let chance = Chance::new(chance.bits());
        Self { db, org: made.org, world, console, taken: 0, chance }
    }

    /// The server as a backup that is made now brings it back later.
    pub fn backup(&mut self) -> Self {
        let name: [u8; 8] = self.chance.bytes();
        // The same seeds may run beside these.
        let (name, process) = (u64::from_be_bytes(name), std::process::id());
        let name = format!("endcap-backup-{process}-{name:016x}.db");
        let path = std::env::temp_dir().join(name);
        let file = path.to_str().expect("a path in UTF-8");
        self.db.execute("VACUUM INTO ?1", [file]).expect("a backup is written");
        let mut db = empty();
        db.execute("ATTACH ?1 AS backup", [file]).expect("the backup opens");
        for table in tables(&db) {
            let copy = format!("INSERT INTO {table} SELECT * FROM backup.{table}");
            db.execute_batch(&copy).expect("a table is copied");
        }
        db.execute_batch("DETACH backup").expect("the backup closes");
        std::fs::remove_file(&path).expect("the backup goes");
        let tx = db.transaction().expect("a transaction");
        let (origin, instance) = (LogOrigin::from_bytes(self.chance.bytes()), self.chance.bytes());
        log::go_on_after_restore(&tx, self.org, origin, instance, log_key().public(), BEGIN_MS)
            .expect("a new life of the log");
        tx.commit().expect("a commit");
        let made = log::organisations(&db).expect("organisations").remove(0);
        let mut chance = self.chance.clone();
        Self::open(db, &made, &mut chance)
    }

    /// Writes catalogue records.
    pub fn write(&mut self, records: Vec<Record>, now_ms: i64) {
        let tx = self.db.transaction().expect("a transaction");
        let mut ledger = Ledger::open(&tx, self.org).expect("the ledger opens");
        for record in &records {
            record.validate().expect("the brand's records are valid");
        }
        let salt = || self.chance.bytes();
        write_records(&mut ledger, &mut self.world, records, now_ms, salt)
            .expect("the records are written");
        ledger.close().expect("the ledger closes");
        tx.commit().expect("a commit");
    }

    /// Gives the server another key, with which it goes on.
    pub fn change_key(&mut self, now_ms: i64) {
        let (seed, instance): ([u8; 32], [u8; 8]) = (self.chance.bytes(), self.chance.bytes());
        let before = self.world.server(ORG).expect("the server writes");
        let mut ids = DeviceId::of_servers(ORG).skip_while(|id| *id != before.id);
        let (id, user) = (ids.nth(1).expect("another key"), UserId::NOBODY);
        let key = Keypair::from_seed(&seed).public();
        let before = catalogue::Device { revoked: true, ..before };
        let now = catalogue::Device { id, user, key, revoked: false, lost_ms: None };
        self.write(vec![Record::Device(before), Record::Device(now)], now_ms);
        let tx = self.db.transaction().expect("a transaction");
        log::change_server_key(&tx, self.org, seed, instance).expect("the key is kept");
        tx.commit().expect("a commit");
        let db = std::mem::replace(&mut self.db, Connection::open_in_memory().expect("memory"));
        let made = log::organisations(&db).expect("organisations").remove(0);
        *self = Self::open(db, &made, &mut self.chance);
    }

    /// Erases the words of a note, and says so in the log.
    pub fn erase(&mut self, digest: BlobHash, now_ms: i64) {
        let (id, what) = (Erased::id_of(digest), ErasedKind::Note);
        let erased = Erased { id, what, digest: Some(digest), at_ms: now_ms };
        let tx = self.db.transaction().expect("a transaction");
        let mut ledger = Ledger::open(&tx, self.org).expect("the ledger opens");
        let (records, salt) = (vec![Record::Erased(erased)], || self.chance.bytes());
        write_records(&mut ledger, &mut self.world, records, now_ms, salt)
            .expect("the record is written");
        let removed = erasure::note(&tx, self.org, digest).expect("the words go");
        let (by, why, sequence) = (Some(crate::brand::SUE), "asked".into(), ledger.size() - 1);
        let digest = Some(digest);
        let erasure = Erasure { id, what, digest, at_ms: now_ms, by, why, sequence, removed };
        erasure::put(&tx, self.org, &erasure).expect("the row is written");
        ledger.close().expect("the ledger closes");
        tx.commit().expect("a commit");
    }

    /// Whether the words of a note are here; `None` if they were erased.
    pub fn has_words(&self, digest: BlobHash) -> Option<bool> {
        let erased = erasure::note_erased(&self.db, self.org, digest).expect("a query");
        let here = log::note(&self.db, self.org, digest).expect("a note reads").is_some();
        assert!(erased.is_none() || !here, "words are here again after they were erased");
        erased.is_none().then_some(here)
    }

    /// Enrols a phone.
    pub fn enrol(&mut self, device: DeviceId, user: UserId, key: [u8; 32], now_ms: i64) {
        let fingerprint = Actor::fingerprint(&key);
        let token: [u8; 32] = self.chance.bytes();
        self.db
            .execute(
                "INSERT INTO device (org, device, user, key, fingerprint, token, label, enrolled_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'phone', ?7)",
                params![
                    self.org,
                    device.as_bytes(),
                    user.as_bytes(),
                    key,
                    fingerprint,
                    token,
                    now_ms
                ],
            )
            .expect("a device is enrolled");
        let record = catalogue::Device { id: device, user, key, revoked: false, lost_ms: None };
        self.write(vec![Record::Device(record)], now_ms);
    }

    /// Phones keep a visit for so many days after its newest change.
    pub fn keep(&mut self, days: u32) {
        let changed = self.db.execute("UPDATE organisation SET keep_days = ?1", [days]);
        assert_eq!(changed, Ok(1));
    }

    /// The disk has room for so many more pages of the database; `None` for enough.
    pub fn room(&mut self, pages: Option<u64>) {
        let now: u64 =
            self.db.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a count");
        let most = pages.map_or(u64::from(u32::MAX) - 1, |pages| now + pages);
        let set: u64 = self
            .db
            .pragma_update_and_check(None, "max_page_count", most, |row| row.get(0))
            .expect("a limit");
        assert_eq!(set, most);
    }

    /// Whether a phone may ask for anything.
    pub fn trusts(&self, device: DeviceId) -> bool {
        self.sender(device).is_ok()
    }

    /// Takes a phone's access, and tells everyone.
    pub fn withdraw(&mut self, id: DeviceId, now_ms: i64) {
        self.revoke(id, now_ms);
        let device = self.world.devices[&id].clone();
        self.write(vec![Record::Device(catalogue::Device { revoked: true, ..device })], now_ms);
    }

    /// Takes a phone's access.
    pub fn revoke(&mut self, device: DeviceId, now_ms: i64) {
        let tx = self.db.transaction().expect("a transaction");
        assert!(accounts::revoke(&tx, self.org, device, now_ms).expect("a device is revoked"));
        tx.commit().expect("a commit");
    }

    /// Who has ever had such a role, as far as is known here.
    pub fn ever(&self, role: fn(Role) -> bool) -> BTreeSet<UserId> {
        let mut query = self.db.prepare_cached("SELECT body FROM record").expect("a query");
        let rows = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("the records");
        let records = rows.map(|body| from_cbor(&body.expect("a row")).expect("a record reads"));
        let people = records.filter_map(|record| match record {
            Record::Person(person) if role(person.role) => Some(person.id),
            _ => None,
        });
        people.collect()
    }

    /// The phones whose access was withdrawn, as far as is known here.
    pub fn withdrawn(&self) -> impl Iterator<Item = DeviceId> {
        self.world.devices.values().filter(|device| device.revoked).map(|device| device.id)
    }

    fn sender(&self, device: DeviceId) -> Result<Sender, Refused> {
        let row = accounts::device(&self.db, self.org, device)?;
        let row = row.ok_or(Refused::Forgotten)?;
        if row.revoked_ms.is_some() {
            return Err(Refused::Revoked);
        }
        Ok(Sender { device, key: row.key, user: row.user })
    }

    /// Takes a push in, as it came over the network.
    pub fn push(
        &mut self,
        from: DeviceId,
        bytes: &[u8],
        now_ms: i64,
        crash: Crash,
    ) -> Result<PushReply, Refused> {
        let sender = self.sender(from)?;
        let push: PushRequest = read(bytes)?;
        let name = LogHash::of(bytes);
        let keys = self.world.keys_of(&push.groups);
        let checked = verify(ORG, &keys, push);
        let (groups, mut outcomes) = (checked.push.groups.len(), Vec::new());
        let mut copied = None;
        self.taken = 0;
        loop {
            let tx = self.db.transaction()?;
            let follows = match self.taken {
                0 => accounts::pushed(&tx, self.org, from, &checked.push, name, now_ms)?,
                _ => accounts::trusts(&tx, self.org, from)?.then_some(true),
            };
            copied = copied.or((!follows.ok_or(Refused::Revoked)?).then_some(true));
            let mut ledger = Ledger::open(&tx, self.org)?;
            let mut ingest = Ingest { ledger: &mut ledger, org: ORG, world: &self.world, now_ms };
            outcomes.extend(ingest.push(&sender, &checked, outcomes.len(), CHANGES_AT_ONCE)?);
            ledger.close()?;
            let last = outcomes.len() == groups;
            if crash == Crash::BeforeCommit && last {
                drop(tx);
                return Err(Refused::Crashed);
            }
            tx.commit()?;
            self.taken += 1;
            if last {
                break;
            }
        }
        if crash == Crash::BeforeReply {
            return Err(Refused::Crashed);
        }
        Ok(PushReply { protocol: PROTOCOL, server_ms: now_ms, push: name, outcomes, copied })
    }

    /// Takes cargo in, as it came over the network.
    pub fn cargo(
        &mut self,
        from: DeviceId,
        bytes: &[u8],
        now_ms: i64,
        crash: Crash,
    ) -> Result<CargoReply, Refused> {
        self.sender(from)?;
        let cargo: CargoRequest = read(bytes)?;
        let parcels = cargo.parcels.iter();
        let opened: Vec<_> = parcels.map(|p| open(ORG, &self.console, &self.world, p)).collect();
        let mut outcomes = Vec::new();
        self.taken = 0;
        while outcomes.len() < opened.len() {
            let tx = self.db.transaction()?;
            accounts::trusts(&tx, self.org, from)?.then_some(()).ok_or(Refused::Revoked)?;
            accounts::synced(&tx, self.org, from, 0, now_ms)?;
            let mut ledger = Ledger::open(&tx, self.org)?;
            let mut ingest = Ingest { ledger: &mut ledger, org: ORG, world: &self.world, now_ms };
            outcomes.extend(ingest.cargo(from, &opened[outcomes.len()..], CHANGES_AT_ONCE)?);
            ledger.close()?;
            if crash == Crash::BeforeCommit && outcomes.len() == opened.len() {
                drop(tx);
                return Err(Refused::Crashed);
            }
            tx.commit()?;
            self.taken += 1;
        }
        for (opened, outcome) in opened.iter().zip(&mut outcomes) {
            if let Ok(Opened { origin, load: Load::Photo(file), .. }) = opened {
                *outcome = self.photo(*origin, from, BlobHash::of(file))?;
            }
        }
        if crash == Crash::BeforeReply {
            return Err(Refused::Crashed);
        }
        Ok(CargoReply { protocol: PROTOCOL, server_ms: now_ms, outcomes })
    }

    /// What becomes of a photo that a courier brings for another device, known here or not. Here are no files.
    fn photo(
        &self,
        origin: Option<DeviceId>,
        courier: DeviceId,
        hash: BlobHash,
    ) -> Result<Delivery, Refused> {
        let user = self.world.devices[&origin.unwrap_or(courier)].user;
        let sees = |audience: &Audience| origin.is_none() || self.sees(user, audience);
        Ok(match uploads::named(&self.db, self.org, user, hash, sees)? {
            Named::Entry => Delivery::Taken {},
            Named::Refused => Delivery::Later {},
            Named::Nowhere => {
                Delivery::Refused { code: "not_referenced".into(), detail: String::new() }
            }
        })
    }

    /// Answers a pull, as it came over the network.
    pub fn pull(
        &mut self,
        from: DeviceId,
        bytes: &[u8],
        now_ms: i64,
    ) -> Result<PullReply, Refused> {
        let sender = self.sender(from)?;
        let pull: PullRequest = read(bytes)?;
        if self.world.rights(sender.user).is_none() {
            let (told, tx) = (self.head().sequence, self.db.transaction()?);
            let told = pull.waits.map_or(told, |waits| waits.min(told));
            accounts::synced(&tx, self.org, from, told, now_ms)?;
            tx.commit()?;
            return Err(Refused::Inactive);
        }
        let log = Reader::open(&self.db, self.org)?.with_pages(PAGES);
        let newest = log.newest_push(from)?;
        let reply =
            feed::pull(&log, &self.world, &sender, &newest, &pull, (ORG, &log_key()), now_ms)?;
        drop(log);
        let reply = reply.ok_or(Refused::CursorUnknown)?;
        let known = pull.acknowledged();
        let tx = self.db.transaction()?;
        accounts::synced(&tx, self.org, from, known, now_ms)?;
        tx.commit()?;
        Ok(reply)
    }

    /// Answers a repair, as it came over the network.
    pub fn repair(
        &mut self,
        from: DeviceId,
        bytes: &[u8],
        now_ms: i64,
    ) -> Result<RepairReply, Refused> {
        let sender = self.sender(from)?;
        let asked: RepairRequest = read(bytes)?;
        if !asked.within_limits() {
            return Err(Refused::Malformed("too much at once".into()));
        }
        if self.world.rights(sender.user).is_none() {
            return Err(Refused::Inactive);
        }
        let log = Reader::open(&self.db, self.org)?.with_pages(PAGES);
        let audiences = feed::sight(&log, &self.world, &sender)?;
        let inventory = log.inventory(&audiences)?;
        Ok(feed::repair(&log, &audiences, &inventory, &asked, now_ms)?)
    }

    /// The print of all that a person sees, as it is kept.
    pub fn print(&self, user: UserId) -> Print {
        let log = Reader::open(&self.db, self.org).expect("a log");
        let audiences = log.audiences(|audience| self.sees(user, audience)).expect("audiences");
        log.print(&audiences).expect("a print")
    }

    /// Whether a person's scope holds an audience now.
    pub fn sees(&self, user: UserId, audience: &Audience) -> bool {
        self.world.rights(user).is_some_and(|rights| rights.sees(&self.world.tree, audience))
    }

    /// Writes what a person does in the console.
    pub fn act(
        &mut self,
        document: DocId,
        note: Option<&Note>,
        now_ms: i64,
        entry: impl FnOnce(Moment) -> Entry,
    ) -> Result<ChangeHash, ActError> {
        let tx = self.db.transaction().map_err(StoreError::from)?;
        let mut ledger = Ledger::open(&tx, self.org)?;
        let mut ingest = Ingest { ledger: &mut ledger, org: ORG, world: &self.world, now_ms };
        let alone = |_: &Document, when| Ok::<_, ActError>((None, entry(when)));
        let hash = ingest.act(&self.console, document, note, alone)?;
        ledger.close()?;
        tx.commit().map_err(StoreError::from)?;
        Ok(hash)
    }

    /// What waits in the quarantine for somebody to decide on it.
    pub fn waiting(&self) -> Vec<u64> {
        let mut query = self
            .db
            .prepare_cached("SELECT item FROM quarantine WHERE state = 'waiting' ORDER BY item")
            .expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("what waits");
        rows.map(|row| row.expect("a row")).collect()
    }

    /// A supervisor decides on everything that waits in the quarantine.
    pub fn decide(&mut self, approved: bool, now_ms: i64) -> Result<(), ActError> {
        self.waiting().into_iter().try_for_each(|item| self.decide_on(item, approved, now_ms))
    }

    /// A supervisor decides on something that waits in the quarantine.
    pub fn decide_on(&mut self, item: u64, approved: bool, now_ms: i64) -> Result<(), ActError> {
        let tx = self.db.transaction().map_err(StoreError::from)?;
        let mut ledger = Ledger::open(&tx, self.org)?;
        // What waits may arrive with what was decided on before it.
        if let Some(item) = ledger.quarantined(ORG, item)? {
            let mut ingest = Ingest { ledger: &mut ledger, org: ORG, world: &self.world, now_ms };
            ingest.decide(&item, approved, crate::brand::SUE)?;
        }
        ledger.close()?;
        tx.commit().map_err(StoreError::from)?;
        Ok(())
    }

    /// Reads a few of the visits that have changed for place, way and time, as the job does that runs beside pushes;
    /// whether there were any. Room may be short.
    pub fn look(&self, limit: u32, now_ms: i64) -> Result<bool, StoreError> {
        let waiting = field::unjudged(&self.db, self.org, limit)?;
        let tx = self.db.unchecked_transaction()?;
        let settings = field::settings(&tx, self.org)?;
        for of in &waiting {
            let held = log::document(&tx, self.org, ORG, of.visit.into())?;
            let grounds = field::grounds(&tx, self.org, of.outlet, settings)?;
            let known = Known::of(&self.world, grounds, settings);
            field::judged(&tx, of, &of_visit(&held, &known), now_ms)?;
        }
        tx.commit()?;
        Ok(!waiting.is_empty())
    }

    /// Where the log stands.
    pub fn head(&self) -> Cursor {
        log::head(&self.db, self.org).expect("a log has a head")
    }

    /// Where each life of the log begins.
    pub fn lives(&self) -> Vec<u64> {
        let mut query = self.db.prepare_cached("SELECT sequence FROM origin").expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("the lives");
        rows.map(|row| row.expect("a row")).collect()
    }

    /// A document with its times.
    pub fn held(&self, document: DocId) -> log::Held {
        log::document(&self.db, self.org, ORG, document).expect("a document reads")
    }

    /// Every document that has gone from one audience to another.
    pub fn moved(&self) -> BTreeSet<DocId> {
        let mut query = self
            .db
            .prepare_cached("SELECT DISTINCT item FROM moved WHERE document = 1")
            .expect("a query");
        let rows = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("what has moved");
        let names = rows.map(|row| DocId::from_bytes(&row.expect("a row")));
        names.map(|name| name.expect("a document's name")).collect()
    }

    /// Every document that has a change.
    pub fn documents(&self) -> Vec<DocId> {
        let mut query = self
            .db
            .prepare_cached(
                "SELECT DISTINCT document FROM log WHERE document IS NOT NULL ORDER BY 1",
            )
            .expect("a query");
        let rows = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("documents");
        rows.map(|row| DocId::from_bytes(&row.expect("a row")).expect("a document's name"))
            .collect()
    }

    /// How often a change is in the log.
    pub fn times_logged(&self, document: DocId, change: ChangeHash) -> u64 {
        self.db
            .prepare_cached("SELECT count(*) FROM log WHERE document = ?1 AND hash = ?2")
            .expect("a query")
            .query_row(params![document.to_bytes(), change.0], |row| row.get(0))
            .expect("a count")
    }

    /// The group that waits in the quarantine, if it still does.
    pub fn refused(&self, item: u64) -> Option<Group> {
        let mut query = self
            .db
            .prepare_cached("SELECT body FROM quarantine WHERE item = ?1 AND state = 'waiting'")
            .expect("a query");
        let body = query.query_row([item], |row| row.get::<_, Vec<u8>>(0)).ok()?;
        Some(from_wire(ORG, &body).expect("a kept group reads"))
    }

    /// The changes of what a device was refused for this with any of these.
    pub fn refused_with(
        &self,
        from: Option<DeviceId>,
        document: DocId,
        changes: &[Change],
        code: &str,
    ) -> Vec<Change> {
        let mut query = self
            .db
            .prepare_cached(
                "SELECT body FROM quarantine
                 WHERE device = ?1 AND document = ?2 AND code = ?3 AND state <> 'arrived'",
            )
            .expect("a query");
        let device = from.map(|device| *device.as_bytes());
        let bodies = query
            .query_map(params![device, document.to_bytes(), code], |row| row.get::<_, Vec<u8>>(0))
            .expect("the quarantine");
        let groups = bodies.map(|body| {
            from_wire::<Group>(ORG, &body.expect("a row")).expect("a kept group reads")
        });
        let named: BTreeSet<ChangeHash> = changes.iter().map(Change::hash).collect();
        let with = groups.filter(|group| group.hashes().any(|hash| named.contains(&hash)));
        with.flat_map(|group| group.changes).collect()
    }

    /// All refused work that is kept, in the order in which it came first.
    pub fn apart(&self) -> Vec<Apart> {
        let mut query = self
            .db
            .prepare_cached(
                "SELECT device, state, code, body FROM quarantine
                 WHERE state <> 'arrived' ORDER BY item",
            )
            .expect("a query");
        let rows = query.query_map([], |row| {
            let group = from_wire(ORG, &row.get::<_, Vec<u8>>(3)?).expect("a kept group reads");
            let device = DeviceId::from_bytes(row.get(0)?);
            Ok(Apart { device, state: row.get(1)?, code: row.get(2)?, group })
        });
        rows.expect("the quarantine").map(|row| row.expect("a row")).collect()
    }

    /// Every refused group's changes, with what its author should hear.
    pub fn quarantined(&self) -> BTreeMap<(DocId, ChangeHash), BTreeMap<DeviceId, Vec<String>>> {
        let mut refused: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
        for Apart { device, state, code, group } in self.apart() {
            let code = if state == Outcome::DISCARDED { state } else { code };
            for hash in group.hashes() {
                let codes = refused.entry((group.document, hash)).or_default();
                codes.entry(device).or_default().push(code.clone());
            }
        }
        refused
    }

    /// Everything that is stored but for `but`, as text.
    pub fn dump(&self, but: &[&str]) -> String {
        dump(&self.db, but)
    }
}

fn read<'b, T: minicbor::Decode<'b, sync_core::wire::Reading>>(
    bytes: &'b [u8],
) -> Result<T, Refused> {
    match protocol_of(bytes) {
        Some(PROTOCOL) => {}
        other => return Err(Refused::Malformed(format!("protocol {other:?}"))),
    }
    from_wire(ORG, bytes).map_err(|error| Refused::Malformed(error.to_string()))
}

/// The tables of a database.
pub fn tables(db: &Connection) -> Vec<String> {
    let mut query = db
        .prepare("SELECT name FROM main.sqlite_master WHERE type = 'table' ORDER BY name")
        .expect("a query");
    let names = query.query_map([], |row| row.get(0)).expect("tables");
    names.map(|name| name.expect("a name")).collect()
}

/// Every row of every table but `but`, as text.
pub fn dump(db: &Connection, but: &[&str]) -> String {
    let mut out = String::new();
    for table in tables(db).into_iter().filter(|table| !but.contains(&table.as_str())) {
        let mut query = db.prepare(&format!("SELECT * FROM {table}")).expect("a query");
        let columns = query.column_count();
        let mut rows = query.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            out += &table;
            for column in 0..columns {
                out += &format!(" {:?}", row.get_ref(column).expect("a column"));
            }
            out.push('\n');
        }
    }
    out
}

/// What a group's outcome is called: `accepted`, or the reason's stable name.
pub fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Accepted {} | Outcome::LetGo {} => "accepted",
        Outcome::Quarantined { code, .. } => code,
    }
}

/// The reply as it goes over the network.
pub fn encode<T: minicbor::Encode<sync_core::id::OrgId>>(message: &T) -> Vec<u8> {
    to_wire(ORG, message)
}
