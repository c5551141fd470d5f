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
pub mod reader;
pub mod signals;
pub mod tree;
pub mod uploads;
pub mod visits;
pub mod witnesses;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::log::Org;
pub use crate::files::Lock;
use crate::logkey::LOG_KEYS;
use crate::{clock, files};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room: nothing was written.
    #[error("the disk is full")]
    Full,
    /// Another process has the folder open.
    #[error("another endcap process uses this folder: stop it first")]
    InUse,
    /// A newer program wrote this folder.
    #[error(
        "the folder has schema {found}; this program knows {known}: run the newer endcap that wrote it"
    )]
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
    /// A program of before the first release wrote this folder.
    #[error(
        "the folder has schema {found}, of before the first release, which was {FIRST_SCHEMA}: only the program \
         that wrote it reads it"
    )]
    Unreleased {
        /// In the folder.
        found: i64,
    },
    /// What is in the folder is not what may be served.
    #[error("{0}")]
    NotForServing(&'static str),
    /// Something else is where a data folder is to be.
    #[error("it holds `{0}`, and no {DATABASE}: choose a folder that is empty or absent")]
    Occupied(String),
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
    #[error("too much is in progress at once")]
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

/// The schema that the first step makes: those before it were never released.
const FIRST_SCHEMA: i64 = 18;
/// The first makes an empty database one of [`FIRST_SCHEMA`], each that follows takes it to the next.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0018_first.sql")];
/// The schema that this program knows.
pub const SCHEMA: i64 = FIRST_SCHEMA + MIGRATIONS.len() as i64 - 1;
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

/// So long a connection waits for another one that holds a lock.
const BUSY_TIME: Duration = Duration::from_secs(5);
/// Up to this long the database is written anew after an erasure: that takes a second or two, in which nobody writes.
const REBUILT_BYTES_MAX: u64 = 256 << 20;
/// So long a fold waits for who reads an older state. Nobody writes meanwhile.
const FOLD_TIME: Duration = Duration::from_secs(1);

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
    /// The write-ahead log may have what was erased.
    unfolded: AtomicBool,
    path: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Opens `endcap.db` in a folder, made if it is absent, and brings its schema up to date. The write-ahead log is
    /// folded in first: a process that was killed may have left it with what was erased. If it was killed before the
    /// database was written anew after an erasure, the first [`Store::fold`] does that.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        if let Some(strange) = strange(folder)? {
            return Err(StoreError::Occupied(strange));
        }
        files::make_dir(folder, files::Read::Owner)?;
        let lock = lock(folder)?;
        may_be_served(folder)?;
        let path = folder.join(DATABASE);
        files::make_private(&path)?; // what SQLite puts beside it is as private as it is
        let mut writer = Connection::open(&path)?;
        configure(&writer)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        // What is deleted is overwritten in the database's file.
        writer.pragma_update(None, "secure_delete", "ON")?;
        migrate(&mut writer)?;
        let unfolded = !fold(&writer)? || !erasure::unsettled(&writer)?.is_empty();
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
                unfolded: AtomicBool::new(unfolded),
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

    /// Folds the write-ahead log into the database and cuts it: what was erased is in it until then. Whether it could:
    /// who reads an older state keeps it from that, a backup or a check for as long as it runs.
    pub async fn fold(&self) -> Result<bool, StoreError> {
        let inner = Arc::clone(&self.inner);
        let run = tokio::task::spawn_blocking(move || {
            // Taken before, so that the mark of what is erased meanwhile stays.
            let marked = inner.unfolded.swap(false, Ordering::SeqCst);
            let folded = (|| {
                let connection = Connection::open(&inner.path)?;
                configure(&connection)?;
                if !marked {
                    return fold(&connection);
                }
                let erasures = erasure::unsettled(&connection)?;
                rebuild(&connection)?;
                let folded = fold(&connection)?;
                if folded {
                    erasure::settle(&connection, &erasures)?;
                }
                Ok(folded)
            })();
            if marked && !matches!(folded, Ok(true)) {
                inner.unfolded.store(true, Ordering::SeqCst);
            }
            folded
        });
        run.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Marks that something is being erased, which the write-ahead log has until [`Store::fold`] has worked.
    pub fn erases(&self) {
        self.inner.unfolded.store(true, Ordering::SeqCst);
    }

    /// Whether the write-ahead log may have what was erased.
    pub fn is_unfolded(&self) -> bool {
        self.inner.unfolded.load(Ordering::SeqCst)
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

/// Keeps other processes out of a folder until it is dropped.
pub fn lock(folder: &Path) -> Result<Lock, StoreError> {
    files::lock(&folder.join("lock"))?.ok_or(StoreError::InUse)
}

/// What is in a folder that is not a data folder, and not one that is begun.
fn strange(folder: &Path) -> Result<Option<String>, StoreError> {
    let known = [DATABASE, RESTORING, BACKUP];
    let found = files::entries(folder)?;
    if found.iter().any(|name| known.contains(&name.as_str())) {
        return Ok(None);
    }
    // The last is on a disk that is mounted there.
    let begun = ["lock", LOG_KEYS, "blobs", "uploads", "lost+found"];
    let strange = |name: &String| !name.starts_with(DATABASE) && !begun.contains(&name.as_str());
    Ok(found.into_iter().find(strange))
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
    connection.busy_timeout(BUSY_TIME)?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(128);
    // Without it a statement whose plan might depend on a bound value is prepared anew whenever that changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Writes the database anew, unless it is large. A page that was split keeps copies of rows in its unused part, and what
/// is erased later is erased from where it went.
fn rebuild(connection: &Connection) -> Result<(), StoreError> {
    let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    if connection.query_row(size, [], |row| row.get::<_, u64>(0))? <= REBUILT_BYTES_MAX {
        connection.busy_timeout(FOLD_TIME)?;
        connection.execute_batch("VACUUM")?;
    }
    Ok(())
}

/// Folds the write-ahead log in and cuts it. Whether it could: SQLite says in a row, and not by an error, that somebody
/// reads an older state.
fn fold(connection: &Connection) -> Result<bool, StoreError> {
    connection.busy_timeout(FOLD_TIME)?;
    let kept: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))?;
    connection.busy_timeout(BUSY_TIME)?;
    Ok(!kept)
}

/// Brings a database's schema up to date.
pub fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = SCHEMA;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        _ if found > known => return Err(StoreError::TooNew { found, known }),
        1..FIRST_SCHEMA => return Err(StoreError::Unreleased { found }),
        _ => {}
    }
    for (version, script) in (FIRST_SCHEMA..).zip(MIGRATIONS) {
        if version > found {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
            tx.execute_batch(script)?;
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
    let _ = fold(&connection);
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
    fn what_is_alike_is_found_in_every_row_of_the_index_and_what_was_forgotten_in_none() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        let (many, mut tx) = (700_u32, db.transaction().unwrap());
        let drawn = |n: u32| {
            let grey = |at: u32| (at * at / 61 % 251) as u8;
            let mut points: Vec<u8> = (0..1_024).map(grey).collect();
            // A point of another brightness: another picture with the same hash, or nearly.
            points[n as usize] ^= 1;
            picture::Sketch::from_bytes(&points).unwrap()
        };
        let photo = |n: u32| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.to_be_bytes());
            sync_core::id::BlobHash(hash)
        };
        for org in [1, 2] {
            for n in 0..many {
                signals::add(&tx, org, photo(n), &drawn(n), 0).unwrap();
            }
        }
        let rows = |tx: &Connection| -> (usize, usize) {
            tx.query_row("SELECT count(*), sum(length(entries)) / 12 FROM likeness", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap()
        };
        assert!(rows(&tx).0 >= 2 * 6 * 3, "so many do not fit into two rows");
        assert_eq!(rows(&tx).1, 2 * 6 * 700);
        let near = |tx: &Connection, org, hash| -> Vec<i64> {
            signals::near(tx, org, &[hash]).unwrap().into_keys().collect()
        };
        let all: Vec<i64> = (1..=700).collect();
        let asked = picture::Hash(drawn(0).hash().0 ^ 0x8001_0401_0040_1008);
        assert_eq!((near(&tx, 1, asked), near(&tx, 3, asked).len()), (all.clone(), 0));
        for n in (0..many).step_by(7) {
            signals::forget(&tx, 1, photo(n)).unwrap();
        }
        let left: Vec<i64> = all.iter().copied().filter(|n| (n - 1) % 7 != 0).collect();
        assert_eq!((near(&tx, 1, asked), near(&tx, 2, asked)), (left, all));
        assert_eq!(rows(&tx).1, 6 * (600 + 700));
        tx.set_drop_behavior(rusqlite::DropBehavior::Commit);
    }

    #[tokio::test]
    async fn what_was_deleted_leaves_the_log_of_writes_once_nobody_reads_it() {
        const WORDS: &str = "Ms Quillfeather was ill";
        let (folder, killed) = (tempfile(), tempfile());
        let store = Store::open(&folder).unwrap();
        let has = |folder: &Path| {
            let files = [DATABASE, "endcap.db-wal"].map(|name| std::fs::read(folder.join(name)));
            let all = files.map(Result::unwrap_or_default).concat();
            all.windows(WORDS.len()).any(|part| part == WORDS.as_bytes())
        };
        let written = store.write(|tx| -> Result<(), StoreError> {
            tx.execute("INSERT INTO note VALUES (1, x'01', x'02', ?1)", [WORDS])?;
            Ok(())
        });
        written.await.unwrap();
        let reader = Connection::open(folder.join(DATABASE)).unwrap();
        let reading = reader.unchecked_transaction().unwrap();
        let count = |c: &Connection| c.query_row("SELECT count(*) FROM note", [], |r| r.get(0));
        assert_eq!(count(&reading), Ok(1));
        store.erases();
        let deleted = store.write(|tx| -> Result<(), StoreError> {
            tx.execute("DELETE FROM note", [])?;
            Ok(())
        });
        deleted.await.unwrap();
        assert!(!store.fold().await.unwrap() && store.is_unfolded() && has(&folder));
        // What a kill leaves: the next start has no mark, and folds.
        std::fs::create_dir(&killed).unwrap();
        for name in [DATABASE, "endcap.db-wal"] {
            std::fs::copy(folder.join(name), killed.join(name)).unwrap();
        }
        assert!(has(&killed));
        let next = Store::open(&killed).unwrap();
        assert!(!next.is_unfolded() && !has(&killed));
        assert_eq!(next.read(move |c| Ok(count(c)?)).await.unwrap(), 0);
        // One that was killed before the database was written anew.
        let erased = next.write(|tx| -> Result<(), StoreError> {
            let row = "INSERT INTO erasure VALUES (1, zeroblob(16), 'note', NULL, 0, NULL, 'w', 1, '[]', 0)";
            tx.execute(row, [])?;
            Ok(())
        });
        erased.await.unwrap();
        next.close();
        drop(next);
        let next = Store::open(&killed).unwrap();
        assert!(next.is_unfolded() && next.fold().await.unwrap() && !next.is_unfolded());
        next.close();
        drop(next);
        let next = Store::open(&killed).unwrap();
        assert!(!next.is_unfolded(), "it was written anew");
        next.close();
        reading.commit().unwrap();
        assert!(store.is_unfolded(), "nobody has tried again");
        assert!(store.fold().await.unwrap() && !store.is_unfolded() && !has(&folder));
        store.close();
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::remove_dir_all(killed).unwrap();
    }

    #[test]
    fn a_folder_of_before_the_first_release_is_refused() {
        let folder = tempfile();
        drop(Store::open(&folder).map(|s| s.close()));
        let db = Connection::open(folder.join(DATABASE)).unwrap();
        for found in [1, FIRST_SCHEMA - 1] {
            db.pragma_update(None, "user_version", found).unwrap();
            let opened = Store::open(&folder);
            assert!(matches!(opened, Err(StoreError::Unreleased { found: f }) if f == found));
        }
        db.pragma_update(None, "user_version", SCHEMA).unwrap();
        drop(db);
        Store::open(&folder).unwrap().close();
        std::fs::remove_dir_all(folder).unwrap();
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
        crate::scratch("store")
    }
}
