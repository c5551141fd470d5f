//! The SQLite store: one writer, several readers, and a commit that is on the disk before anyone hears of it.
//!
//! Writes run on one thread. It takes what has queued up, runs each job in a savepoint of its own, commits
//! them together with one fsync, and only then lets the callers go on: many small pushes share the price of
//! one commit, and a job that fails undoes itself alone.

pub mod accounts;
pub mod figures;
pub mod log;
pub mod pages;
pub mod quarantine;
pub mod uploads;
pub mod visits;

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use prometheus_client::metrics::histogram::Histogram;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, oneshot};

use crate::clock;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room: nothing was written.
    #[error("the disk is full")]
    Full,
    /// Another process has the folder open.
    #[error("another endcap process uses this data folder")]
    InUse,
    /// A newer program wrote this folder.
    #[error("the data folder has schema {found}; this program knows {known}")]
    TooNew {
        /// In the folder.
        found: i64,
        /// Of this program.
        known: i64,
    },
    /// What is stored does not read as what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Anything else that SQLite or the disk says.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The program is stopping.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
        match error.sqlite_error_code() {
            Some(DiskFull) => Self::Full,
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error.to_string()),
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

/// Each script takes the schema from its place in this list to the next.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001_first.sql")];
const READERS: usize = 4;
/// Most jobs that share one commit.
const BATCH_MAX: usize = 256;

type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(&Transaction<'_>) -> Result<Finish, StoreError> + Send>;

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    free: Semaphore,
    write_seconds: Histogram,
    _lock: File,
}

impl Store {
    /// Opens `endcap.db` in a folder, made if it is absent, and brings its schema up to date.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.try_lock().map_err(|_| StoreError::InUse)?;
        let path = folder.join("endcap.db");
        let mut writer = Connection::open(&path)?;
        configure(&writer)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        migrate(&mut writer)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let reader = Connection::open_with_flags(&path, flags)?;
            configure(&reader)?;
            readers.push(reader);
        }
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new().name("store".into());
        let writer = thread.spawn(move || write_loop(writer, &queue))?;
        Ok(Self {
            inner: Arc::new(Inner {
                jobs: Mutex::new(Some(jobs)),
                writer: Mutex::new(Some(writer)),
                readers: Mutex::new(readers),
                free: Semaphore::new(READERS),
                write_seconds: crate::metrics::seconds(),
                _lock: lock,
            }),
        })
    }

    /// Runs a job in a transaction. When this returns `Ok`, what it wrote is on the disk; when it returns
    /// an error, nothing of it was written.
    pub async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
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
                let _ =
                    reply.send(result.and_then(|value| committed.map(|()| value).map_err(E::from)));
            }))
        });
        let sent = match self.inner.jobs.lock() {
            Ok(jobs) => jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok()),
            Err(_) => false,
        };
        if !sent {
            return Err(StoreError::Closed.into());
        }
        let result = done.await.unwrap_or_else(|_| Err(StoreError::Closed.into()));
        self.inner.write_seconds.observe(started.elapsed().as_secs_f64());
        result
    }

    /// How long writes take, from asking for one until it is on the disk.
    pub fn write_seconds(&self) -> Histogram {
        self.inner.write_seconds.clone()
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
        let inner = Arc::clone(&self.inner);
        let _permit = self.inner.free.acquire().await.map_err(|_| StoreError::Closed)?;
        let run = tokio::task::spawn_blocking(move || {
            let reader = inner.readers.lock().ok().and_then(|mut r| r.pop());
            let reader = reader.ok_or(StoreError::Closed)?;
            let result = query(&reader);
            if let Ok(mut readers) = inner.readers.lock() {
                readers.push(reader);
            }
            result
        });
        run.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Lets queued writes finish, folds the write-ahead log into the database and stops the writer.
    pub fn close(&self) {
        if let Ok(mut jobs) = self.inner.jobs.lock() {
            jobs.take();
        }
        let writer = self.inner.writer.lock().ok().and_then(|mut w| w.take());
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for (version, script) in (1..).zip(MIGRATIONS) {
        if version > found {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
            tx.execute_batch(script)?;
            tx.pragma_update(None, "user_version", version)?;
            tx.commit()?;
        }
    }
    Ok(())
}

fn write_loop(mut connection: Connection, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let batch = std::iter::once(first).chain(queue.try_iter().take(BATCH_MAX - 1));
        run_batch(&mut connection, batch.collect());
    }
    // The log would be folded in by the next start too; doing it now keeps a copied folder small.
    let _ = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE");
}

fn run_batch(connection: &mut Connection, jobs: Vec<Job>) {
    let mut finishes = Vec::with_capacity(jobs.len());
    let committed = (|| {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in jobs {
            // A job whose savepoint itself fails has dropped its reply: its caller hears `Closed`.
            finishes.push(job(&tx)?);
            // On a full disk SQLite gives up the whole transaction, not the statement alone.
            if tx.is_autocommit() {
                return Err(StoreError::Full);
            }
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
                tx.execute("INSERT INTO kpi_day VALUES (1, ?1, x'00', x'00', 'k', 1, 1)", [n])?;
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
