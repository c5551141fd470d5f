//! The SQLite store: one writer, several readers, and a commit that is on the disk before anyone hears of it.
//!
//! Writes run on one thread. It takes what has queued up, runs each job in a savepoint of its own, commits
//! them together with one fsync, and only then lets the callers go on: many small pushes share the price of
//! one commit, and a job that fails undoes itself alone. Organisations take turns: one that floods the queue
//! waits for itself.

pub mod accounts;
pub mod archive;
pub mod bundle;
pub mod erasure;
pub mod field;
pub mod figures;
pub mod log;
pub mod pages;
pub mod quarantine;
pub mod signals;
pub mod tree;
pub mod uploads;
pub mod visits;
pub mod witnesses;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::log::Org;
use crate::clock;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room: nothing was written.
    #[error("the disk is full")]
    Full,
    /// Another process has the folder open.
    #[error("another endcap process uses this folder")]
    InUse,
    /// A newer program wrote this folder.
    #[error("the data folder has schema {found}; this program knows {known}")]
    TooNew {
        /// In the folder.
        found: i64,
        /// Of this program.
        known: i64,
    },
    /// An older program wrote this folder.
    #[error(
        "the folder has schema {found}; this program knows {known}. If it is a data folder, run \
         `endcap serve` of this program on it; if it is a backup, restore it with the program that wrote \
         it, and upgrade then"
    )]
    TooOld {
        /// In the folder.
        found: i64,
        /// Of this program.
        known: i64,
    },
    /// What is in the folder is not what may be served.
    #[error("{0}")]
    NotForServing(&'static str),
    /// What is stored does not read as what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Anything else that SQLite or the disk says.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The program is stopping.
    #[error("the store is closed")]
    Closed,
    /// So much of one organisation waits to be written that no more is taken.
    #[error("too much waits to be written")]
    Busy,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
        };
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
        match (&error, error.sqlite_error_code()) {
            (_, Some(DiskFull)) => Self::Full,
            (_, Some(DatabaseCorrupt | NotADatabase))
            | (
                FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..),
                _,
            ) => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<minicbor::decode::Error> for StoreError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull => Self::Full,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// What SQL cannot say of a step from one schema to the next.
type Afterwards = fn(&Connection) -> Result<(), StoreError>;

/// Each step takes the schema from its place in this list to the next.
const MIGRATIONS: [(&str, Afterwards); 18] = [
    (include_str!("../../migrations/0001_first.sql"), |_| Ok(())),
    (include_str!("../../migrations/0002_prints.sql"), log::count_prints),
    (include_str!("../../migrations/0003_courier.sql"), |_| Ok(())),
    (include_str!("../../migrations/0004_keep.sql"), |_| Ok(())),
    (include_str!("../../migrations/0005_tree.sql"), |_| Ok(())),
    (include_str!("../../migrations/0006_signals.sql"), |_| Ok(())),
    (include_str!("../../migrations/0007_erasure.sql"), |_| Ok(())),
    (include_str!("../../migrations/0008_contests.sql"), |_| Ok(())),
    (include_str!("../../migrations/0009_field.sql"), signals::index_anew),
    (include_str!("../../migrations/0010_witness.sql"), |_| Ok(())),
    (include_str!("../../migrations/0011_server_key.sql"), |_| Ok(())),
    (include_str!("../../migrations/0012_mirror.sql"), |_| Ok(())),
    (include_str!("../../migrations/0013_dispute.sql"), signals::prove_times),
    (include_str!("../../migrations/0014_decoding.sql"), |_| Ok(())),
    (include_str!("../../migrations/0015_limits.sql"), |db| {
        log::count_notes(db)?;
        quarantine::index_anew(db)
    }),
    (include_str!("../../migrations/0016_decided.sql"), |_| Ok(())),
    (include_str!("../../migrations/0017_deaths.sql"), |_| Ok(())),
    (include_str!("../../migrations/0018_checked.sql"), |db| {
        log::count_ages(db)?;
        quarantine::digest_anew(db)
    }),
];
/// The database of a data folder.
pub const DATABASE: &str = "endcap.db";
/// The database of a backup: so named that nobody serves it as it is.
pub const BACKUP: &str = "backup.db";
/// The database of a data folder that is being restored.
pub const RESTORING: &str = "endcap.db.restoring";
const READERS: usize = 4;
/// Readers that the devices of one organisation have at most: the others find one.
pub(crate) const READERS_OF_ONE: usize = READERS - 1;
/// Most jobs that share one commit.
const BATCH_MAX: usize = 256;
/// A batch that has taken this long is committed: who waits for it has waited enough.
const BATCH_TIME: Duration = Duration::from_millis(50);
/// Most jobs of one organisation that wait: half of the requests that are worked on, so that another one's are too.
const WAITING_MAX: usize = 512;

/// Whose jobs belong to no organisation.
const NOBODY: Org = 0;

type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(&Transaction<'_>) -> Result<Finish, StoreError> + Send>;

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<Queue>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
    write_seconds: Histogram,
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens `endcap.db` in a folder, made if it is absent, and brings its schema up to date.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder)?;
        let lock = lock(folder)?;
        may_be_served(folder)?;
        let path = folder.join(DATABASE);
        let mut writer = Connection::open(&path)?;
        configure(&writer)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        // What is deleted is overwritten in the database's file.
        writer.pragma_update(None, "secure_delete", "ON")?;
        migrate(&mut writer)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let reader = Connection::open_with_flags(&path, flags)?;
            configure(&reader)?;
            readers.push(reader);
        }
        let queue = Arc::new(Queue::default());
        let (thread, jobs) = (std::thread::Builder::new().name("store".into()), Arc::clone(&queue));
        let writer = thread.spawn(move || write_loop(writer, &jobs))?;
        Ok(Self {
            inner: Arc::new(Inner {
                queue,
                writer: Mutex::new(Some(writer)),
                readers: Mutex::new(readers),
                free: Arc::new(Semaphore::new(READERS)),
                write_seconds: crate::metrics::seconds(),
                path,
                _lock: lock,
            }),
        })
    }

    /// Runs a job of no organisation in a transaction; see [`Store::write_for`].
    pub async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.write_for(NOBODY, job).await
    }

    /// Runs an organisation's job in a transaction. When this returns `Ok`, what it wrote is on the disk; when it
    /// returns an error, nothing of it was written.
    pub async fn write_for<T, E, F>(&self, org: Org, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.write_then(org, move |tx| Ok((job(tx)?, || ()))).await
    }

    /// As [`Store::write_for`], for a job that also says what is done once it is on the disk: on the writer's thread,
    /// before anybody hears of it, and also when nobody waits for it any more. When what it wrote does not reach the
    /// disk, that is dropped.
    pub async fn write_then<T, E, F, A>(&self, org: Org, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        A: FnOnce() + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<(T, A), E> + Send + 'static,
    {
        let started = clock();
        let (reply, done) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |tx| {
            tx.execute_batch("SAVEPOINT job")?;
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(tx)));
            let panicked = |_| Err(StoreError::Failed("a write panicked".into()).into());
            let result = result.unwrap_or_else(panicked);
            let undo = if result.is_ok() { "" } else { "ROLLBACK TO job;" };
            if !tx.is_autocommit() {
                tx.execute_batch(&format!("{undo} RELEASE job"))?;
            }
            Ok(Box::new(move |committed: Result<(), StoreError>| {
                let finished = result.and_then(|(value, afterwards)| {
                    committed?;
                    afterwards();
                    Ok(value)
                });
                let _ = reply.send(finished);
            }))
        });
        self.inner.queue.push(org, job)?;
        let result = done.await.unwrap_or_else(|_| Err(StoreError::Closed.into()));
        self.inner.write_seconds.observe(started.elapsed().as_secs_f64());
        result
    }

    /// How long writes take, from asking for one until it is on the disk.
    pub fn write_seconds(&self) -> Histogram {
        self.inner.write_seconds.clone()
    }

    /// Folds the write-ahead log into the database and cuts it: what was erased is in it until then. Who reads may
    /// keep it from that for now.
    pub async fn fold(&self) -> Result<(), StoreError> {
        let path = self.inner.path.clone();
        let run = tokio::task::spawn_blocking(move || {
            let connection = Connection::open(path)?;
            configure(&connection)?;
            Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
        });
        run.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Whether the disk takes more: tries it.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.write(|tx| {
            Ok(tx.execute_batch("INSERT INTO probe VALUES (zeroblob(65536)); DELETE FROM probe")?)
        })
        .await
    }

    /// Runs a query on one of the readers; it sees the newest commit.
    pub async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (inner, free) = (Arc::clone(&self.inner), Arc::clone(&self.inner.free));
        let permit = free.acquire_owned().await.map_err(|_| StoreError::Closed)?;
        // The query goes on when nobody waits for it any more: the permit goes with it.
        let run = tokio::task::spawn_blocking(move || {
            let lent = Lent::new(inner, permit);
            query(lent.reader.as_ref().ok_or(StoreError::Closed)?)
        });
        match run.await {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => Err(StoreError::Failed("a query panicked".into())),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Lets queued writes finish, folds the write-ahead log into the database and stops the writer.
    pub fn close(&self) {
        self.inner.queue.close();
        let writer = self.inner.writer.lock().ok().and_then(|mut w| w.take());
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

/// A reader while a query runs. It goes back whatever becomes of the query, and the permit only after it: who has a
/// permit finds a reader.
struct Lent {
    reader: Option<Connection>,
    inner: Arc<Inner>,
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    fn new(inner: Arc<Inner>, permit: OwnedSemaphorePermit) -> Self {
        let reader = inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { reader, inner, _permit: permit }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut readers = self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.extend(self.reader.take());
    }
}

/// Keeps other processes out of a folder for as long as the file is open.
pub fn lock(folder: &Path) -> Result<File, StoreError> {
    let lock = File::create(folder.join("lock"))?;
    lock.try_lock().map_err(|_| StoreError::InUse)?;
    Ok(lock)
}

fn may_be_served(folder: &Path) -> Result<(), StoreError> {
    if folder.join(RESTORING).try_exists()? {
        let why = "a restore into it did not end: remove the folder and run `endcap restore` again";
        return Err(StoreError::NotForServing(why));
    }
    if folder.join(BACKUP).try_exists()? {
        let why = "it is a backup: run `endcap restore` and serve the folder that this makes";
        return Err(StoreError::NotForServing(why));
    }
    Ok(())
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(128);
    // Without it a statement whose plan might depend on a bound value is prepared anew whenever that changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Brings a database's schema up to date.
pub fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for (version, (script, afterwards)) in (1..).zip(MIGRATIONS) {
        if version > found {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
            tx.execute_batch(script)?;
            afterwards(&tx)?;
            tx.pragma_update(None, "user_version", version)?;
            tx.commit()?;
        }
    }
    Ok(())
}

/// What waits to be written, by organisation.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: HashMap<Org, VecDeque<Job>>,
    /// The organisations that have jobs, in the order of their turns.
    turns: VecDeque<Org>,
    closed: bool,
}

impl Queue {
    fn push(&self, org: Org, job: Job) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        let jobs = waiting.jobs.entry(org).or_default();
        if jobs.len() >= WAITING_MAX {
            return Err(StoreError::Busy);
        }
        jobs.push_back(job);
        if jobs.len() == 1 {
            waiting.turns.push_back(org);
        }
        self.news.notify_one();
        Ok(())
    }

    /// Waits for a job; `None` once the queue is closed and empty.
    fn wait(&self) -> Option<Job> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |waiting: &mut Waiting| waiting.turns.is_empty() && !waiting.closed;
        let waiting = self.news.wait_while(waiting, idle);
        waiting.unwrap_or_else(PoisonError::into_inner).next()
    }

    /// The next job, if one waits.
    fn next(&self) -> Option<Job> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.news.notify_one();
    }
}

impl Waiting {
    fn next(&mut self) -> Option<Job> {
        let org = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&org)?;
        let job = jobs.pop_front();
        match jobs.is_empty() {
            true => drop(self.jobs.remove(&org)),
            false => self.turns.push_back(org),
        }
        job
    }
}

fn write_loop(mut connection: Connection, queue: &Queue) {
    while let Some(first) = queue.wait() {
        run_batch(&mut connection, first, queue);
    }
    // The log would be folded in by the next start too; doing it now keeps a copied folder small.
    let _ = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE");
}

fn run_batch(connection: &mut Connection, first: Job, queue: &Queue) {
    let started = clock();
    let mut finishes = Vec::new();
    let committed = (|| {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut next = Some(first);
        while let Some(job) = next {
            // A job whose savepoint itself fails has dropped its reply: its caller hears `Closed`.
            finishes.push(job(&tx)?);
            // On a full disk SQLite gives up the whole transaction, not the statement alone.
            if tx.is_autocommit() {
                return Err(StoreError::Full);
            }
            let more = finishes.len() < BATCH_MAX && started.elapsed() < BATCH_TIME;
            next = if more { queue.next() } else { None };
        }
        tx.commit().map_err(StoreError::from)
    })();
    for finish in finishes {
        finish(match &committed {
            Ok(()) => Ok(()),
            Err(StoreError::Full) => Err(StoreError::Full),
            Err(error) => Err(StoreError::Failed(error.to_string())),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_the_first_schema_is_brought_up_to_date() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(MIGRATIONS[0].0).unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        db.execute_batch(
            "INSERT INTO quarantine
                 (org, item, device, document, head, code, detail, received_ms, audience, body)
             VALUES (1, 1, x'01', x'02', x'03', 'late', '', 5, 0, x'04')",
        )
        .unwrap();
        migrate(&mut db).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let kept: (i64, Option<Vec<u8>>) =
            db.query_row("SELECT received_ms, courier FROM quarantine", [], row).unwrap();
        assert_eq!(kept, (5, None));
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, i64::try_from(MIGRATIONS.len()).unwrap());
        migrate(&mut db).unwrap();
    }

    #[tokio::test]
    async fn a_failed_job_undoes_itself_alone() {
        let folder = tempfile();
        let store = Store::open(&folder).unwrap();
        let insert = |n: i64, fail: bool| {
            store.write(move |tx| {
                tx.execute(
                    "INSERT INTO kpi_day VALUES (1, ?1, x'00', x'00', 'k', 1, 1, 0, 0)",
                    [n],
                )?;
                assert!(n < 4, "asked to panic");
                if fail { Err(StoreError::Failed("asked to".into())) } else { Ok(()) }
            })
        };
        let (a, b, c, d) =
            tokio::join!(insert(1, false), insert(2, true), insert(3, false), insert(4, false));
        assert!(a.is_ok() && b.is_err() && c.is_ok());
        assert!(matches!(d, Err(StoreError::Failed(why)) if why.contains("panicked")));
        let days = store.read(|c| {
            let mut query = c.prepare("SELECT day FROM kpi_day ORDER BY day")?;
            let days = query.query_map([], |row| row.get::<_, i64>(0))?;
            Ok(days.collect::<Result<Vec<_>, _>>()?)
        });
        assert_eq!(days.await.unwrap(), [1, 3]);
        assert!(matches!(Store::open(&folder), Err(StoreError::InUse)));
        store.close();
        assert!(matches!(insert(3, false).await, Err(StoreError::Closed)));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_query_that_panics_gives_its_reader_back() {
        let folder = tempfile();
        let store = Store::open(&folder).unwrap();
        for _ in 0..2 * READERS {
            let panicked = store.read(|connection| -> Result<(), StoreError> {
                let _state = connection.unchecked_transaction()?;
                panic!("asked to")
            });
            let panicked = panicked.await;
            assert!(matches!(panicked, Err(StoreError::Failed(why)) if why.contains("panicked")));
        }
        let all = (0..READERS).map(|_| store.read(|connection| Ok(connection.is_autocommit())));
        for ended in futures_util::future::join_all(all).await {
            assert!(ended.unwrap(), "nothing that it has begun is left");
        }
        store.close();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_query_that_nobody_waits_for_keeps_its_reader_until_it_ends() {
        let folder = tempfile();
        let store = Store::open(&folder).unwrap();
        for _ in 0..8 {
            let mut held_up = Vec::new();
            for _ in 0..READERS {
                let (started, has_started) = oneshot::channel();
                let (go_on, waits) = std::sync::mpsc::channel::<()>();
                held_up.push(go_on);
                let query = store.read(move |_| {
                    let _ = started.send(());
                    waits.recv().map_err(|_| StoreError::Closed)
                });
                tokio::select! {
                    done = query => panic!("{done:?}"),
                    started = has_started => started.unwrap(),
                }
            }
            let mut next = std::pin::pin!(store.read(|_| Ok(())));
            tokio::select! {
                biased;
                done = &mut next => panic!("{done:?}"),
                () = std::future::ready(()) => {}
            }
            drop(held_up);
            next.await.unwrap();
        }
        store.close();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn an_organisation_that_floods_waits_for_itself() {
        let folder = tempfile();
        let store = Store::open(&folder).unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let job = |org: Org| {
            let order = Arc::clone(&order);
            store.write_for(org, move |_| -> Result<(), StoreError> {
                order.lock().unwrap().push(org);
                Ok(())
            })
        };
        // The writer is held up until all have queued.
        let (go_on, held_up) = std::sync::mpsc::channel();
        let first = store.write(move |_| -> Result<(), StoreError> {
            held_up.recv().map_err(|_| StoreError::Closed)
        });
        let flood = futures_util::future::join_all((0..WAITING_MAX + 1).map(|_| job(1)));
        let others = futures_util::future::join_all([job(2), job(3), job(2)]);
        let queued = async { go_on.send(()).unwrap() };
        let (first, flood, others, ()) = tokio::join!(first, flood, others, queued);
        first.unwrap();
        assert!(others.into_iter().all(|other| other.is_ok()));
        let refused = flood.iter().filter(|done| matches!(done, Err(StoreError::Busy))).count();
        assert_eq!(refused, 1, "one more than may wait");
        assert_eq!(order.lock().unwrap()[..5], [1, 2, 3, 1, 2]);
        store.close();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_named_to_everyone_in_the_batch() {
        let folder = tempfile();
        let store = Store::open(&folder).unwrap();
        let insert = |bytes: i64| {
            store.write(move |tx| -> Result<(), StoreError> {
                tx.execute("INSERT INTO probe VALUES (zeroblob(?1))", [bytes])?;
                Ok(())
            })
        };
        store.probe().await.unwrap();
        let limit = |pages: i64| {
            store.write(move |tx| -> Result<(), StoreError> {
                Ok(tx.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?)
            })
        };
        limit(1).await.unwrap(); // SQLite takes the size that it has
        assert!(matches!(store.probe().await, Ok(()) | Err(StoreError::Full)));
        let (small, large, after) = tokio::join!(insert(1), insert(1 << 20), insert(1));
        assert!(matches!(large, Err(StoreError::Full)), "{large:?}");
        for other in [small, after] {
            assert!(!matches!(other, Err(StoreError::Failed(_))), "{other:?}");
        }
        limit(1 << 20).await.unwrap();
        insert(1 << 20).await.unwrap();
        store.close();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_of_the_first_schema_is_counted() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(MIGRATIONS[0].0).unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        // An outlet's document at one audience, a record in two versions, and the log's beginning.
        db.execute_batch(
            "INSERT INTO organisation VALUES (1, x'01', 'Oats', x'', x'', x'', x'', 0);
             INSERT INTO log VALUES
                 (1, 0, x'00', NULL, 0, -1, NULL, NULL, NULL, NULL, x'', NULL),
                 (1, 1, x'00', NULL, 0, -1, NULL, NULL, NULL, NULL, zeroblob(17), NULL),
                 (1, 2, x'00', NULL, 0, 0, NULL, NULL, NULL, NULL, zeroblob(17), NULL),
                 (1, 3, x'00', NULL, 0, 4, CAST(x'01' || zeroblob(16) AS BLOB), zeroblob(32), NULL, NULL, x'', x'');
             INSERT INTO record VALUES (1, zeroblob(17), 1, x'', x'aa'), (1, zeroblob(17), 2, x'', x'bb');
             UPDATE organisation SET id = zeroblob(16), seed = zeroblob(32), instance = zeroblob(8);",
        )
        .unwrap();
        migrate(&mut db).unwrap();
        let key = sync_core::model::catalogue::RecordKey::from_bytes(&[0; 17]);
        let record = sync_core::print::Print::of_record(key, &[0xbb]);
        let change = sync_core::print::Print::of_change(sync_core::id::ChangeHash([0; 32]));
        let kept = log::kept_prints(&db, 1).unwrap();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [(0, record), (4, change)]);
    }

    #[test]
    fn photos_of_the_first_schema_are_counted_and_wait_to_be_drawn() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(MIGRATIONS[0].0).unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        for org in [1, 2] {
            db.execute(
                "INSERT INTO organisation VALUES (?1, ?2, '', zeroblob(32), zeroblob(8), zeroblob(16), x'', 0)",
                (org, [org as u8; 16]),
            )
            .unwrap();
        }
        for (hash, bytes) in [(1_u8, 700), (2, 77)] {
            db.execute("INSERT INTO blob VALUES (1, ?1, ?2, 4, 3, 0)", (vec![hash; 32], bytes))
                .unwrap();
        }
        migrate(&mut db).unwrap();
        let bytes = [1, 2].map(|org| uploads::room(&db, org).unwrap().bytes);
        assert_eq!(bytes, [777, 0]);
        let photo = |byte| sync_core::id::BlobHash([byte; 32]);
        let undrawn = uploads::undrawn(&db, 1, photo(0)).unwrap();
        assert_eq!(undrawn, [photo(1), photo(2)]);
        let kept = uploads::kept(&db, 1, photo(1)).unwrap();
        assert!(matches!(kept, Some(uploads::Kept::Here(_))));
    }

    #[test]
    fn signals_of_the_eighth_schema_stay_and_what_was_erased_before_goes() {
        let mut db = Connection::open_in_memory().unwrap();
        for (script, _) in &MIGRATIONS[..8] {
            db.execute_batch(script).unwrap();
        }
        db.pragma_update(None, "user_version", 8).unwrap();
        // Three photos: one is here, one was erased, the time of one is over. Each is like the first in some visit.
        for (hash, gone_ms, erased) in [(1_u8, None, 0), (2, Some(5), 1), (3, Some(5), 0)] {
            db.execute(
                "INSERT INTO blob (org, hash, bytes, width, height, arrived_ms, gone_ms, erased)
                 VALUES (1, ?1, 1, 1, 1, 0, ?2, ?3)",
                (vec![hash; 32], gone_ms, erased),
            )
            .unwrap();
            db.execute("INSERT INTO look VALUES (1, ?1, ?2, x'', 0)", (hash, vec![hash; 32]))
                .unwrap();
            for band in 0..4 {
                db.execute("INSERT INTO likeness VALUES (1, ?1, 7, ?2)", [band, hash]).unwrap();
            }
            db.execute(
                "INSERT INTO signal VALUES (1, x'aa', 1, zeroblob(32), ?1, x'bb', 4, 9, x'cc', 10)",
                [vec![hash; 32]],
            )
            .unwrap();
        }
        migrate(&mut db).unwrap();
        let all = |query: &str| -> Vec<(Vec<u8>, i64)> {
            let mut query = db.prepare(query).unwrap();
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let left = [(vec![1; 32], 4), (vec![3; 32], 4)];
        assert_eq!(all("SELECT other, figure FROM signal WHERE seen_ms = 10 AND by = x''"), left);
        assert_eq!(all("SELECT hash, photo FROM look"), [(vec![1; 32], 1), (vec![3; 32], 3)]);
        let near = signals::near(&db, 1, &[picture::Hash(7 ^ 0x8001_0401_0040_1008)]).unwrap();
        assert_eq!(near.into_iter().collect::<Vec<_>>(), [(1, (7, 0)), (3, (7, 0))]);
        assert_eq!(all("SELECT hash, looked FROM blob WHERE looked = 0"), [(vec![1; 32], 0)]);
    }

    #[test]
    fn photos_of_the_ninth_schema_are_judged_anew_by_what_their_log_proves() {
        use sync_core::cbor::to_cbor;
        use sync_core::document::{Document, Entry, Parts};
        use sync_core::id::{Actor, BlobHash, ChangeHash, OrgId, UserId, VisitId};
        use sync_core::model::capture::{CaptureTime, Moment};
        use sync_core::model::contest::{Objection, Word};
        use sync_core::model::visit::{PhotoRef, Post};

        let mut db = Connection::open_in_memory().unwrap();
        for (script, _) in &MIGRATIONS[..9] {
            db.execute_batch(script).unwrap();
        }
        db.pragma_update(None, "user_version", 9).unwrap();
        let when = Moment { wall_ms: 7, boot: 1, boot_ms: 1, anchor: 1, skew_ms: None, life: None };
        let visit = VisitId::from_bytes([4; 16]);
        let mut document = Document::new(OrgId::from_bytes([1; 16]), visit.into());
        let name = document.id().to_bytes();
        let photo =
            |n| PhotoRef { hash: BlobHash([n; 32]), bytes: 9, phash: 0, check: None, origin: None };
        // One photo twice, of which the first counts; one of a line that does not read.
        for (line, of, anchor, receipt) in
            [(1, 1, Some(5), 40), (2, 1, Some(50), 60), (3, 2, None, 70)]
        {
            let (by, seen) = (UserId::from_bytes([5; 16]), vec![ChangeHash([8; 32])]);
            let objection = Objection { about: None, seen, claim: None, photos: vec![photo(of)] };
            let (text, word) = (BlobHash([6; 32]), Some(Word::Contest(objection)));
            let entry = Entry::Post(Post { by, when, text, answers: None, volume: None, word });
            let change = document.next(Actor::new(&[7; 32], [9; 8]), &entry).unwrap();
            let times = CaptureTime::estimate(&when, None, anchor, receipt);
            let body = if line == 3 { vec![0] } else { to_cbor::<Parts>(&change) };
            db.execute(
                "INSERT INTO log (org, sequence, leaf, at_ms, audience, document, hash, device, body, times)
                 VALUES (1, ?1, zeroblob(32), 0, 1, ?2, ?3, zeroblob(16), ?4, ?5)",
                (line, name, change.hash().0, body, to_cbor(&times)),
            )
            .unwrap();
            db.execute(
                "INSERT OR IGNORE INTO photo (org, hash, document, by, referenced_ms, bytes, here, judged)
                 VALUES (1, ?1, ?2, zeroblob(16), 7, 9, 1, 1)",
                (vec![of; 32], name),
            )
            .unwrap();
            document.insert(change).unwrap();
        }
        migrate(&mut db).unwrap();
        let mut query =
            db.prepare("SELECT earliest_ms, received_ms, judged FROM photo ORDER BY hash").unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let rows: Vec<(Option<i64>, Option<i64>, bool)> =
            rows.unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, [(Some(5), Some(40), false), (None, None, false)]);
    }

    #[test]
    fn what_times_follow_from_is_found_in_those_of_the_seventeenth_schema() {
        use sync_core::cbor::to_cbor;
        use sync_core::id::BlobHash;
        use sync_core::model::capture::{CaptureTime, Moment};

        let mut db = Connection::open_in_memory().unwrap();
        for (script, _) in &MIGRATIONS[..17] {
            db.execute_batch(script).unwrap();
        }
        db.pragma_update(None, "user_version", 17).unwrap();
        db.execute_batch(
            "INSERT INTO quarantine
                 (org, item, device, document, head, code, detail, received_ms, audience, body)
             VALUES (1, 1, x'01', x'02', x'03', 'late', '', 5, 0, x'04')",
        )
        .unwrap();
        let when = Moment { wall_ms: 7, boot: 1, boot_ms: 1, anchor: 1, skew_ms: None, life: None };
        let ages = [None, Some(0), Some(10), Some(50), Some(i64::MAX)];
        let cases: Vec<_> =
            ages.into_iter().flat_map(|age| [(age, None), (age, Some(60))]).collect();
        for (line, (age, anchor)) in (0..).zip(&cases) {
            let times = CaptureTime::estimate(&when, *age, *anchor, 100);
            let insert = "INSERT INTO log (org, sequence, leaf, at_ms, audience, body, times)
                          VALUES (1, ?1, zeroblob(32), 100, 1, x'', ?2)";
            db.execute(insert, (line, to_cbor(&times))).unwrap();
        }
        migrate(&mut db).unwrap();
        let mut query = db.prepare("SELECT age_ms FROM log ORDER BY sequence").unwrap();
        let found: Vec<Option<i64>> =
            query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for (found, (age, anchor)) in found.into_iter().zip(cases) {
            let times = |age| CaptureTime::estimate(&when, age, anchor, 100);
            assert_eq!(times(found), times(age), "{age:?} after {anchor:?}");
        }
        let digest = db.query_row("SELECT digest FROM quarantine", [], |row| row.get(0));
        assert_eq!(digest, Ok(BlobHash::of(&[4]).0));
    }

    #[test]
    fn a_newer_folder_is_refused() {
        let folder = tempfile();
        drop(Store::open(&folder).map(|s| s.close()));
        let db = Connection::open(folder.join("endcap.db")).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        drop(db);
        assert!(matches!(Store::open(&folder), Err(StoreError::TooNew { found: 99, .. })));
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn tempfile() -> std::path::PathBuf {
        let mut name = [0; 8];
        crate::random(&mut name);
        std::env::temp_dir().join(format!("endcap-store-{}", u64::from_be_bytes(name)))
    }
}
