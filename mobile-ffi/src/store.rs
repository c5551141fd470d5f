//! The device's store: one SQLite file in which everything of meaning is sealed.
//!
//! Names, values and queue entries lie under XChaCha20-Poly1305, with keys that HKDF-SHA256 derives from
//! the host's key and the file's salt. A name is found by its HMAC, so ids do not show either. Without the
//! key one still sees how many rows each [`Space`] has, how long they are and that they change. With it, a
//! row that was changed, moved or swapped is [`StoreError::Damaged`]; one that was removed, or replaced by
//! an older state of the same row, goes unnoticed.
//!
//! Everything that the store writes is the database, its `-wal` and `-shm`, and an empty lock file.

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Row, Transaction,
    TransactionBehavior, ffi,
};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// The database's file name within the store's directory.
pub(crate) const DATABASE: &str = "endcap.db";
const LOCK: &str = "endcap.lock";

/// How rows are sealed and named; a migration that changes it seals them anew.
const FORMAT: u8 = 1;
const BUSY_MS: u64 = 5_000;
const WAL_BYTES_KEPT: i64 = 8 << 20;
/// A page of a first sync lands in thousands of places of the file: names are hashes.
const CACHE_BYTES: i64 = 16 << 20;

const SALT_BYTES: usize = 16;
const NAME_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The store was made with another key. Nothing was written.
    #[error("the key does not open this store")]
    WrongKey,
    /// Another process, or another [`Store`] in this one, holds it.
    #[error("the store is already open elsewhere")]
    InUse,
    /// A newer library has written it. Nothing was written.
    #[error("the store has version {found}, and this library knows up to {known}")]
    TooNew {
        /// The version of the file.
        found: u32,
        /// The newest version that this library knows.
        known: u32,
    },
    /// The device has no room left.
    #[error("the device's storage is full")]
    Full,
    /// What is stored is not what was written; says where.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The system refuses to read or write.
    #[error("the store cannot be read or written: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let code = match &error {
            E::SqliteFailure(e, _) => *e,
            E::SqlInputError { error, .. } => *error,
            // The statements are fixed, so a row of another shape is the file's doing.
            E::QueryReturnedNoRows
            | E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::Utf8Error(..) => return Self::Damaged(error.to_string()),
            _ => return Self::Io(io::Error::other(error)),
        };
        match code.code {
            _ if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Self::Full,
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::DatabaseBusy | ErrorCode::FileLockingProtocolFailed => Self::InUse,
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::Unknown => Self::Damaged(error.to_string()),
            _ => Self::Io(io::Error::other(error)),
        }
    }
}

/// A part of the store. What its number means is the caller's choice, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Space(pub(crate) u8);

/// The folder's lock. It is given back although a child of this process, which has just begun, still has it open.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock(); // else when that closes it
    }
}

/// The open store. Dropping it closes the files and wipes the keys.
pub(crate) struct Store {
    keys: Keys,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    _lock: Lock,
}

impl Store {
    /// Opens the store in `dir`, or makes a new one, and keeps everyone else out until it is dropped.
    pub(crate) fn open(dir: &Path, key: &[u8; 32]) -> Result<Self, StoreError> {
        Self::open_with(dir, key, MIGRATIONS)
    }

    fn open_with(dir: &Path, key: &[u8; 32], migrations: &[Migration]) -> Result<Self, StoreError> {
        make_dir(dir)?;
        let lock = File::options().create(true).write(true).truncate(false).open(dir.join(LOCK))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => StoreError::InUse,
            TryLockError::Error(e) => e.into(),
        })?;

        let path = dir.join(DATABASE);
        let mut writer = connect(&path)?;
        writer.pragma_update(None, "cache_size", -CACHE_BYTES / 1024)?;
        let found = version(&writer)?;
        let known = migrations.len();
        if found > known {
            return Err(StoreError::TooNew { found: found as u32, known: known as u32 });
        }
        if found > 0 {
            unlock(&writer, key)?;
        }
        writer.pragma_update_and_check(None, "journal_mode", "wal", |row| {
            match row.get_ref(0)?.as_str()? {
                "wal" => Ok(()),
                _ => Err(rusqlite::Error::InvalidQuery),
            }
        })?;
        for (number, migration) in (1i64..).zip(migrations).skip(found) {
            let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            migration(&tx, key)?;
            tx.pragma_update(None, "user_version", number)?;
            tx.commit()?;
        }
        if found == 0 {
            sync_dir(dir)?;
        }
        let keys = unlock(&writer, key)?;
        let reader = connect(&path)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(Self { keys, writer: Mutex::new(writer), reader: Mutex::new(reader), _lock: Lock(lock) })
    }

    /// Reads one state of the store, the newest committed one. It waits for no writer; it must not be
    /// called from within another `read`.
    pub(crate) fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Reader<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut db = hold(&self.reader);
        let tx = db.transaction().map_err(StoreError::from)?;
        work(&Reader { db: &tx, keys: &self.keys })
    }

    /// Runs `work` as one transaction. On `Ok` all of it is on the disk, and survives a loss of power; on
    /// `Err` and on a panic none of it has happened. It must not be called from within another `write`.
    pub(crate) fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut db = hold(&self.writer);
        let tx = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::from)?;
        let writer = Writer { reader: Reader { db: &tx, keys: &self.keys } };
        let value = work(&writer)?;
        writer.still_whole()?;
        tx.commit().map_err(StoreError::from)?;
        Ok(value)
    }

    /// A key of the store for something that lies beside it; the same label gives the same key.
    pub(crate) fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        subkey(&self.keys.root, &[b"beside ", label])
    }
}

/// An entry's position in its queue, and the entry if it opens.
pub(crate) type Queued = (u64, Option<Vec<u8>>);

/// One state of the store.
pub(crate) struct Reader<'a> {
    db: &'a Connection,
    keys: &'a Keys,
}

impl Reader<'_> {
    /// The value under `name`.
    pub(crate) fn get(&self, space: Space, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let name = self.keys.name(space, name);
        let mut select =
            self.db.prepare_cached("SELECT sealed FROM item WHERE space = ?1 AND name = ?2")?;
        let mut rows = select.query((space.0, name))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let mut plain = Vec::new();
        let value_at = self.keys.open_item(space, &name, blob(row, 0)?, &mut plain)?.1;
        plain.drain(..value_at);
        Ok(Some(plain))
    }

    /// Whether there is a value under `name`, read or not.
    pub(crate) fn has(&self, space: Space, name: &[u8]) -> Result<bool, StoreError> {
        let name = self.keys.name(space, name);
        let mut select =
            self.db.prepare_cached("SELECT 1 FROM item WHERE space = ?1 AND name = ?2")?;
        Ok(select.exists((space.0, name))?)
    }

    /// Passes every name and value of `space` to `visit`, in no particular order, until it fails. Whether
    /// it meets what is put meanwhile is not said.
    pub(crate) fn scan(
        &self,
        space: Space,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut select =
            self.db.prepare_cached("SELECT name, sealed FROM item WHERE space = ?1")?;
        let mut rows = select.query([space.0])?;
        let mut plain = Vec::new();
        while let Some(row) = rows.next()? {
            let (name_at, value_at) =
                self.keys.open_item(space, blob(row, 0)?, blob(row, 1)?, &mut plain)?;
            visit(&plain[name_at..value_at], &plain[value_at..])?;
        }
        Ok(())
    }

    /// Passes every row of `space` to `visit`: the place that it lies at, and its name and value if it opens.
    pub(crate) fn each_row(
        &self,
        space: Space,
        mut visit: impl FnMut(&[u8], Option<(&[u8], &[u8])>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut select =
            self.db.prepare_cached("SELECT name, sealed FROM item WHERE space = ?1")?;
        let mut rows = select.query([space.0])?;
        let mut plain = Vec::new();
        while let Some(row) = rows.next()? {
            let place = blob(row, 0)?;
            let opened = self.keys.open_item(space, place, blob(row, 1)?, &mut plain).ok();
            let opened = opened.map(|(name, value)| (&plain[name..value], &plain[value..]));
            visit(place, opened)?;
        }
        Ok(())
    }

    /// Where the row of `name` lies, if there is one. Names do not show there.
    pub(crate) fn place(&self, space: Space, name: &[u8]) -> [u8; NAME_BYTES] {
        self.keys.name(space, name)
    }

    /// How many names `space` has.
    pub(crate) fn count(&self, space: Space) -> Result<u64, StoreError> {
        let mut select = self.db.prepare_cached("SELECT count(*) FROM item WHERE space = ?1")?;
        let count: i64 = select.query_one([space.0], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }

    /// The first `limit` entries of a space's queue with their positions, oldest first.
    pub(crate) fn queue(
        &self,
        space: Space,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let damaged =
            |position| StoreError::Damaged(format!("queue {} at position {position}", space.0));
        let rows = self.queue_rows(space, limit)?.into_iter();
        rows.map(|(position, entry)| Ok((position, entry.ok_or_else(|| damaged(position))?)))
            .collect()
    }

    /// The same, with `None` for entries that do not open.
    pub(crate) fn queue_rows(&self, space: Space, limit: usize) -> Result<Vec<Queued>, StoreError> {
        let mut select = self.db.prepare_cached(
            "SELECT position, sealed FROM queue WHERE space = ?1 ORDER BY position LIMIT ?2",
        )?;
        let mut rows = select.query((space.0, i64::try_from(limit).unwrap_or(i64::MAX)))?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let position = row.get::<_, i64>(0)?;
            let (mut plain, aad) = (Vec::new(), queue_aad(space, position));
            let opened = unseal(&self.keys.queue, &aad, blob(row, 1)?, &mut plain);
            entries.push((position.cast_unsigned(), opened.map(|()| plain)));
        }
        Ok(entries)
    }
}

/// A transaction of the store. It reads what it has written itself.
pub(crate) struct Writer<'a> {
    reader: Reader<'a>,
}

impl<'a> Deref for Writer<'a> {
    type Target = Reader<'a>;

    fn deref(&self) -> &Reader<'a> {
        &self.reader
    }
}

impl Writer<'_> {
    /// Sets the value under `name`.
    pub(crate) fn put(&self, space: Space, name: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let length = u32::try_from(name.len()).map_err(|_| too_large())?.to_le_bytes();
        let hidden = self.keys.name(space, name);
        let sealed =
            seal(&self.keys.item, &item_aad(space, &hidden), &[length.as_slice(), name, value])?;
        self.execute(
            "INSERT OR REPLACE INTO item (space, name, sealed) VALUES (?1, ?2, ?3)",
            (space.0, hidden, sealed),
        )?;
        Ok(())
    }

    /// Removes `name`; whether there was one.
    pub(crate) fn delete(&self, space: Space, name: &[u8]) -> Result<bool, StoreError> {
        let name = self.keys.name(space, name);
        let rows =
            self.execute("DELETE FROM item WHERE space = ?1 AND name = ?2", (space.0, name))?;
        Ok(rows > 0)
    }

    /// Takes out the row at a place, as it lies there, opened or not.
    pub(crate) fn take_out(
        &self,
        space: Space,
        place: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut select =
            self.db.prepare_cached("SELECT sealed FROM item WHERE space = ?1 AND name = ?2")?;
        let sealed = select.query_one((space.0, place), |row| row.get(0)).optional()?;
        self.execute("DELETE FROM item WHERE space = ?1 AND name = ?2", (space.0, place))?;
        Ok(sealed)
    }

    /// Appends to a space's queue. Positions rise over all spaces and are never given twice.
    pub(crate) fn push(&self, space: Space, value: &[u8]) -> Result<u64, StoreError> {
        let last: Option<i64> = self
            .db
            .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'queue'")?
            .query_one([], |row| row.get(0))
            .optional()?;
        let position = match last.unwrap_or(0).checked_add(1) {
            Some(position) if position > 0 => position,
            _ => return Err(StoreError::Damaged("the last position of the queues".into())),
        };
        let sealed = seal(&self.keys.queue, &queue_aad(space, position), &[value])?;
        self.execute(
            "INSERT INTO queue (position, space, sealed) VALUES (?1, ?2, ?3)",
            (position, space.0, sealed),
        )?;
        Ok(position.cast_unsigned())
    }

    /// Takes an entry out of its queue; whether it was there.
    pub(crate) fn remove_queued(&self, position: u64) -> Result<bool, StoreError> {
        let rows =
            self.execute("DELETE FROM queue WHERE position = ?1", [position.cast_signed()])?;
        Ok(rows > 0)
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        self.still_whole()?;
        Ok(self.db.prepare_cached(sql)?.execute(params)?)
    }

    /// SQLite may roll back by itself when the disk is full; what came after would then commit alone.
    fn still_whole(&self) -> Result<(), StoreError> {
        if self.db.is_autocommit() {
            return Err(StoreError::Io(io::Error::other("an earlier write has failed")));
        }
        Ok(())
    }
}

/// A step from one version of the file to the next.
type Migration = fn(&Transaction<'_>, &[u8; 32]) -> Result<(), StoreError>;

/// Append only: the file's version is how many of them it has been through.
const MIGRATIONS: &[Migration] = &[create, page];

/// From here on a document's changes lie in pages, which a library from before would not find. Those that are there
/// already are read as they are, and written anew when they change.
fn page(_: &Transaction<'_>, _: &[u8; 32]) -> Result<(), StoreError> {
    Ok(())
}

fn create(tx: &Transaction<'_>, key: &[u8; 32]) -> Result<(), StoreError> {
    tx.execute_batch(
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;
         CREATE TABLE item (
             space INTEGER NOT NULL,
             name BLOB NOT NULL,
             sealed BLOB NOT NULL,
             PRIMARY KEY (space, name)
         ) WITHOUT ROWID, STRICT;
         CREATE TABLE queue (
             position INTEGER PRIMARY KEY AUTOINCREMENT,
             space INTEGER NOT NULL,
             sealed BLOB NOT NULL
         ) STRICT;
         CREATE INDEX queue_by_space ON queue (space);",
    )?;
    let salt = random::<SALT_BYTES>()?;
    let canary = seal(&Keys::new(key, &salt).canary, &[FORMAT], &[])?;
    let mut insert = tx.prepare("INSERT INTO meta (key, value) VALUES (?1, ?2)")?;
    insert.execute(("salt", salt))?;
    insert.execute(("format", [FORMAT]))?;
    insert.execute(("canary", canary))?;
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::from_millis(BUSY_MS))?;
    // On Apple's systems only a full fsync outlasts a loss of power; elsewhere the two mean nothing.
    for (pragma, value) in [
        ("synchronous", "full"),
        ("fullfsync", "on"),
        ("checkpoint_fullfsync", "on"),
        ("secure_delete", "on"),
        ("temp_store", "memory"),
        ("trusted_schema", "off"),
        ("cell_size_check", "on"),
    ] {
        db.pragma_update(None, pragma, value)?;
    }
    db.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    Ok(db)
}

fn version(db: &Connection) -> Result<usize, StoreError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(version).map_err(|_| StoreError::Damaged(format!("version {version}")))
}

/// The keys of a store that has been through the first migration.
fn unlock(db: &Connection, key: &[u8; 32]) -> Result<Keys, StoreError> {
    let mut select = db.prepare("SELECT value FROM meta WHERE key = ?1")?;
    let mut meta = |name: &str| {
        let value: Option<Vec<u8>> = select.query_one([name], |row| row.get(0)).optional()?;
        value.ok_or_else(|| StoreError::Damaged(format!("no {name}")))
    };
    match meta("format")?.as_slice() {
        [FORMAT] => {}
        &[found] if found > FORMAT => {
            return Err(StoreError::TooNew { found: found.into(), known: FORMAT.into() });
        }
        _ => return Err(StoreError::Damaged("the format".into())),
    }
    let keys = Keys::new(key, &meta("salt")?);
    unseal(&keys.canary, &[FORMAT], &meta("canary")?, &mut Vec::new())
        .ok_or(StoreError::WrongKey)?;
    Ok(keys)
}

struct Keys {
    root: Zeroizing<[u8; 32]>,
    canary: Zeroizing<[u8; 32]>,
    name: Zeroizing<[u8; 32]>,
    item: Zeroizing<[u8; 32]>,
    queue: Zeroizing<[u8; 32]>,
}

impl Keys {
    fn new(host: &[u8; 32], salt: &[u8]) -> Self {
        let (mut extracted, _) = Hkdf::<Sha256>::extract(Some(salt), host);
        let root = Zeroizing::new(extracted.into());
        extracted.as_mut_slice().zeroize();
        Self {
            canary: subkey(&root, &[b"canary"]),
            name: subkey(&root, &[b"name"]),
            item: subkey(&root, &[b"item"]),
            queue: subkey(&root, &[b"queue"]),
            root,
        }
    }

    fn name(&self, space: Space, name: &[u8]) -> [u8; NAME_BYTES] {
        mac(&self.name, &[&[space.0], name])
    }

    /// Opens an item into `plain`; where in it the name and the value begin.
    fn open_item(
        &self,
        space: Space,
        name: &[u8],
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(usize, usize), StoreError> {
        let value_at = unseal(&self.item, &item_aad(space, name), sealed, plain).and_then(|()| {
            let length = u32::from_le_bytes(*plain.first_chunk()?);
            4usize.checked_add(length as usize).filter(|at| *at <= plain.len())
        });
        match value_at {
            Some(value_at) => Ok((4, value_at)),
            None => Err(StoreError::Damaged(format!("an item of space {}", space.0))),
        }
    }
}

fn item_aad(space: Space, name: &[u8]) -> Vec<u8> {
    [&[space.0], name].concat()
}

fn queue_aad(space: Space, position: i64) -> Vec<u8> {
    [&[space.0], position.to_be_bytes().as_slice()].concat()
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8], StoreError> {
    row.get_ref(column)?
        .as_blob()
        .map_err(|_| StoreError::Damaged("a row without its bytes".into()))
}

fn hold(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    // A panic has rolled its transaction back on its way out, so the connection is sound.
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_large() -> StoreError {
    StoreError::Io(io::ErrorKind::FileTooLarge.into())
}

/// A key for one purpose out of `key`.
pub(crate) fn subkey(key: &[u8; 32], purpose: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::from_prk(key)
        .expect("32 bytes are a key of HKDF-SHA256")
        .expand_multi_info(purpose, out.as_mut_slice())
        .expect("HKDF-SHA256 gives 32 bytes");
    out
}

/// The first bytes of HMAC-SHA256 over `parts`; `N` is 32 at most.
pub(crate) fn mac<const N: usize>(key: &[u8; 32], parts: &[&[u8]]) -> [u8; N] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    let mut out = [0; N];
    out.copy_from_slice(&mac.finalize().into_bytes()[..N]);
    out
}

/// Random nonce, ciphertext of the joined `parts`, tag.
pub(crate) fn seal(key: &[u8; 32], aad: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, StoreError> {
    let nonce = random::<NONCE_BYTES>()?;
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(NONCE_BYTES + length + TAG_BYTES);
    out.extend_from_slice(&nonce);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(&nonce.into(), aad, (&mut out[NONCE_BYTES..]).into())
        .map_err(|_| too_large())?;
    out.extend_from_slice(&tag);
    Ok(out)
}

/// The reverse of [`seal`], into `plain`, which is emptied first; `None` if `sealed` is not from there.
pub(crate) fn unseal(key: &[u8; 32], aad: &[u8], sealed: &[u8], plain: &mut Vec<u8>) -> Option<()> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    plain.clear();
    plain.extend_from_slice(ciphertext);
    XChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), aad, plain.as_mut_slice().into(), tag.into())
        .ok()
}

/// Bytes of the system's randomness.
#[expect(clippy::disallowed_methods, reason = "the one place of this library that draws entropy")]
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(|e| StoreError::Io(io::Error::other(e)))?;
    Ok(out)
}

/// Makes `dir`, if it is not there, with those that it is in, so that it survives a loss of power.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = dir.ancestors().take_while(|dir| !dir.is_dir()).count();
    fs::create_dir_all(dir)?;
    let parents = dir.ancestors().take(made).filter_map(Path::parent);
    let mut parents = parents.map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    parents.try_for_each(sync_dir)
}

/// Makes the names in `dir` survive a loss of power.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const VISITS: Space = Space(1);
    const OUTBOX: Space = Space(2);

    /// A directory of one test, gone with it.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("endcap-{}-{number}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir(&dir).unwrap();
            Self(dir)
        }

        /// The bytes of every file in it, whatever its name.
        pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
            let (mut dirs, mut files) = (vec![self.0.clone()], Vec::new());
            while let Some(dir) = dirs.pop() {
                for entry in fs::read_dir(dir).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        dirs.push(path);
                    } else {
                        files.push((path.clone(), fs::read(path).unwrap()));
                    }
                }
            }
            files
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn put(store: &Store, space: Space, name: &[u8], value: &[u8]) {
        store.write(|w| w.put(space, name, value)).unwrap();
    }

    fn get(store: &Store, space: Space, name: &[u8]) -> Option<Vec<u8>> {
        store.read(|r| r.get(space, name)).unwrap()
    }

    fn raw(scratch: &Scratch) -> Connection {
        Connection::open(scratch.0.join(DATABASE)).unwrap()
    }

    fn damaged<T>(result: Result<T, StoreError>, what: &str) {
        match result {
            Err(StoreError::Damaged(found)) if found.contains(what) => {}
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("the damage goes unnoticed"),
        }
    }

    #[test]
    fn what_is_written_is_read_again_after_a_restart() {
        let scratch = Scratch::new();
        let dir = scratch.0.join("made/by/the store");
        let store = Store::open(&dir, &KEY).unwrap();
        let beside = store.derive(b"photos");
        let first = store.write(|w| w.push(OUTBOX, b"first")).unwrap();
        let positions = store.write(|w| {
            w.put(VISITS, b"a", b"one")?;
            w.put(VISITS, b"a", b"two")?;
            w.put(VISITS, b"", b"")?;
            w.put(OUTBOX, b"a", &[9; 70_000])?;
            assert_eq!(w.get(VISITS, b"a")?.unwrap(), b"two");
            Ok::<_, StoreError>([
                w.push(OUTBOX, b"")?,
                w.push(VISITS, b"x")?,
                w.push(OUTBOX, b"3")?,
            ])
        });
        let [second, other, third] = positions.unwrap();
        assert!(first < second && second < other && other < third);
        drop(store);

        let store = Store::open(&dir, &KEY).unwrap();
        assert_eq!(store.derive(b"photos"), beside);
        assert_ne!(store.derive(b"photo"), beside);
        store
            .read(|r| {
                assert_eq!(r.get(VISITS, b"a")?.unwrap(), b"two");
                assert_eq!(r.get(VISITS, b"")?.unwrap(), b"");
                assert_eq!(r.get(OUTBOX, b"a")?.unwrap(), [9; 70_000]);
                assert_eq!(r.get(VISITS, b"b")?, None);
                assert_eq!((r.count(VISITS)?, r.count(OUTBOX)?, r.count(Space(0))?), (2, 1, 0));
                let mut found = Vec::new();
                r.scan(VISITS, |name, value| {
                    found.push((name.to_vec(), value.to_vec()));
                    Ok(())
                })?;
                found.sort();
                assert_eq!(found, [(b"".to_vec(), b"".to_vec()), (b"a".into(), b"two".into())]);
                let entries = [(first, b"first".to_vec()), (second, vec![]), (third, b"3".into())];
                assert_eq!(r.queue(OUTBOX, usize::MAX)?, entries);
                assert_eq!(r.queue(OUTBOX, 2)?, entries[..2]);
                Ok::<_, StoreError>(())
            })
            .unwrap();

        store
            .write(|w| {
                assert!(w.delete(VISITS, b"a")? && !w.delete(VISITS, b"a")?);
                assert!(w.remove_queued(third)? && !w.remove_queued(third)?);
                assert!(!w.remove_queued(u64::MAX)?);
                assert!(w.remove_queued(first)? && w.remove_queued(second)?);
                assert!(w.delete(OUTBOX, b"a")?);
                assert!(w.push(OUTBOX, b"4")? > third);
                Ok::<_, StoreError>(())
            })
            .unwrap();
        assert_eq!(get(&store, OUTBOX, b"a"), None);
        store
            .read(|r| {
                assert_eq!(r.queue(OUTBOX, 9)?.len(), 1);
                assert_eq!(r.queue(VISITS, 9)?, [(other, b"x".to_vec())]);
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }

    #[test]
    fn another_key_is_refused_and_writes_nothing() {
        let scratch = Scratch::new();
        put(&Store::open(&scratch.0, &KEY).unwrap(), VISITS, b"a", b"1");
        let before = scratch.files();
        assert!(matches!(Store::open(&scratch.0, &[8; 32]), Err(StoreError::WrongKey)));
        assert_eq!(scratch.files(), before);
        assert_eq!(get(&Store::open(&scratch.0, &KEY).unwrap(), VISITS, b"a").unwrap(), b"1");
    }

    #[test]
    fn both_connections_keep_their_promises() {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        for db in [hold(&store.writer), hold(&store.reader)] {
            for (pragma, value) in [
                ("synchronous", 2),
                ("fullfsync", 1),
                ("checkpoint_fullfsync", 1),
                ("secure_delete", 1),
                ("temp_store", 2),
                ("trusted_schema", 0),
                ("cell_size_check", 1),
                ("journal_size_limit", WAL_BYTES_KEPT),
                ("busy_timeout", BUSY_MS.cast_signed()),
            ] {
                let found: i64 = db.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
                assert_eq!(found, value, "{pragma}");
            }
            let mode: String =
                db.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
        assert!(hold(&store.reader).execute("DELETE FROM item", []).is_err());
    }

    #[test]
    fn one_at_a_time() {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        assert!(matches!(Store::open(&scratch.0, &KEY), Err(StoreError::InUse)));
        drop(store);
        Store::open(&scratch.0, &KEY).unwrap();
    }

    #[test]
    fn an_error_or_a_panic_undoes_everything() {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        put(&store, VISITS, b"a", b"old");
        let half = |w: &Writer<'_>| {
            w.put(VISITS, b"a", b"new")?;
            w.push(OUTBOX, b"new")
        };
        let refused = store.write(|w| {
            half(w)?;
            Err::<(), _>(StoreError::Full)
        });
        assert!(matches!(refused, Err(StoreError::Full)));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            store.write(|w| -> Result<(), StoreError> {
                half(w)?;
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(get(&store, VISITS, b"a").unwrap(), b"old");
        assert!(store.read(|r| r.queue(OUTBOX, 9)).unwrap().is_empty());
        put(&store, VISITS, b"a", b"newer");
        assert_eq!(get(&store, VISITS, b"a").unwrap(), b"newer");
    }

    #[test]
    fn a_full_disk_is_named_and_never_splits_a_transaction() {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        hold(&store.writer).pragma_update(None, "max_page_count", 32).unwrap();
        let full = store.write(|w| w.put(VISITS, b"big", &[0; 1 << 20]));
        assert!(matches!(full, Err(StoreError::Full)));
        let swallowed = store.write(|w| {
            w.put(VISITS, b"before", b"1")?;
            assert!(matches!(w.put(VISITS, b"big", &[0; 1 << 20]), Err(StoreError::Full)));
            let _ = w.put(VISITS, b"after", b"1");
            Ok::<_, StoreError>(())
        });
        assert!(swallowed.is_err());
        assert_eq!(store.read(|r| r.count(VISITS)).unwrap(), 0);
        put(&store, VISITS, b"small", b"1");

        let enospc = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(StoreError::from(enospc), StoreError::Full));
    }

    #[test]
    fn nothing_readable_is_in_the_files() {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        let planted: [&[u8]; 3] = [b"outlet-of-mrs-planted", b"PLANTED-NOTE", b"queued-planted"];
        let clean = |scratch: &Scratch| {
            let files = scratch.files();
            for (path, bytes) in &files {
                for needle in planted {
                    let found = bytes.windows(needle.len()).any(|w| w == needle);
                    assert!(!found, "{} shows {}", path.display(), needle.escape_ascii());
                }
            }
            files.len()
        };
        store
            .write(|w| {
                for n in 0..50u8 {
                    w.put(VISITS, &[planted[0], &[n]].concat(), &planted[1].repeat(40))?;
                    w.push(OUTBOX, planted[2])?;
                }
                w.put(VISITS, planted[0], planted[1])?;
                w.delete(VISITS, planted[0])?;
                Ok::<_, StoreError>(())
            })
            .unwrap();
        store.read(|r| r.scan(VISITS, |_, _| Ok(()))).unwrap();
        assert_eq!(clean(&scratch), 4, "database, wal, shm, lock");
        drop(store);
        assert_eq!(clean(&scratch), 2, "database, lock");
    }

    #[test]
    fn a_version_0_file_is_brought_up_to_date() {
        let scratch = Scratch::new();
        raw(&scratch)
            .execute_batch(
                "PRAGMA journal_mode = delete; CREATE TABLE early (x); PRAGMA user_version = 0;",
            )
            .unwrap();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        put(&store, VISITS, b"a", b"1");
        drop(store);
        assert_eq!(version(&raw(&scratch)).unwrap(), MIGRATIONS.len());
        assert_eq!(get(&Store::open(&scratch.0, &KEY).unwrap(), VISITS, b"a").unwrap(), b"1");
    }

    #[test]
    fn a_version_1_file_is_read_for_ever() {
        let scratch = Scratch::new();
        raw(&scratch)
            .execute_batch(
                "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;
                 CREATE TABLE item (space INTEGER NOT NULL, name BLOB NOT NULL, sealed BLOB NOT NULL,
                     PRIMARY KEY (space, name)) WITHOUT ROWID, STRICT;
                 CREATE TABLE queue (position INTEGER PRIMARY KEY AUTOINCREMENT,
                     space INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
                 CREATE INDEX queue_by_space ON queue (space);
                 INSERT INTO meta VALUES ('format', x'01'),
                     ('salt', x'a107002fa0461ca7d3d695e28580e338'),
                     ('canary', x'14cf6d6ff46c9d2e100a368d3f2e66d7056f683eefc0feb4\
                          d3ac4f2d1e66e3e7f10e54c7f05e5fae');
                 INSERT INTO item VALUES (1, x'6d14f475a66949e528b5939061be65ff',
                     x'f325736c6370a8cea994e15f435317a3463368ef800f69b4\
                          781b7f7948550d83cf3c09b39369618405ffb94ce96bcd5fd5cab5b158');
                 INSERT INTO queue VALUES (1, 2, x'cbb1c319052748f73e4f0d200093037e6306c82cad2096c1\
                          3bb70e602386c32a1730ae678e163de065bc87b8d3');
                 PRAGMA user_version = 1;",
            )
            .unwrap();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        assert_eq!(get(&store, VISITS, b"name").unwrap(), b"value");
        assert_eq!(store.read(|r| r.queue(OUTBOX, 9)).unwrap(), [(1, b"first".to_vec())]);
        assert_eq!(store.derive(b"photos")[..4], [0x0f, 0x6a, 0xf7, 0xd0]);
    }

    #[test]
    fn a_migration_happens_once_and_wholly() {
        fn add(tx: &Transaction<'_>, _: &[u8; 32]) -> Result<(), StoreError> {
            tx.execute_batch("CREATE TABLE added (x)").map_err(StoreError::from)
        }
        fn fail(tx: &Transaction<'_>, _: &[u8; 32]) -> Result<(), StoreError> {
            tx.execute_batch("DROP TABLE added")?;
            Err(StoreError::Full)
        }
        let scratch = Scratch::new();
        put(&Store::open_with(&scratch.0, &KEY, &[create]).unwrap(), VISITS, b"a", b"1");
        assert!(Store::open_with(&scratch.0, &KEY, &[create, add, fail]).is_err());
        assert_eq!(version(&raw(&scratch)).unwrap(), 2);
        let store = Store::open_with(&scratch.0, &KEY, &[create, add, page]).unwrap();
        assert_eq!(get(&store, VISITS, b"a").unwrap(), b"1");
        hold(&store.writer).execute("INSERT INTO added VALUES (1)", []).unwrap();
        drop(store);

        let before = scratch.files();
        let newer = Store::open(&scratch.0, &KEY);
        assert!(matches!(newer, Err(StoreError::TooNew { found: 3, known: 2 })));
        assert_eq!(scratch.files(), before);
    }

    #[test]
    fn touched_rows_are_noticed() {
        let fresh = || {
            let scratch = Scratch::new();
            let store = Store::open(&scratch.0, &KEY).unwrap();
            for (name, value) in [(b"a", b"1"), (b"b", b"2")] {
                put(&store, VISITS, name, value);
                store.write(|w| w.push(OUTBOX, value)).unwrap();
            }
            drop(store);
            scratch
        };
        let swap = |table: &str, key: &str| {
            format!(
                "UPDATE {table} SET sealed = (SELECT o.sealed FROM {table} o \
                 WHERE o.{key} <> {table}.{key} ORDER BY o.{key} LIMIT 1)"
            )
        };
        for (sql, item, queue) in [
            ("UPDATE item SET sealed = CAST(substr(sealed, 2) || x'00' AS BLOB)", true, false),
            ("UPDATE item SET sealed = x''", true, false),
            ("UPDATE item SET space = 3", true, false),
            ("UPDATE item SET name = CAST(substr(name, 2) || x'00' AS BLOB)", true, false),
            ("UPDATE queue SET sealed = zeroblob(64)", false, true),
            ("UPDATE queue SET position = position + 7", false, true),
            ("UPDATE queue SET position = -position", false, true),
            ("UPDATE item SET sealed = (SELECT sealed FROM queue)", true, false),
            (&swap("item", "name"), true, false),
            (&swap("queue", "position"), false, true),
        ] {
            let scratch = fresh();
            raw(&scratch).execute(sql, []).unwrap();
            let store = Store::open(&scratch.0, &KEY).unwrap();
            let scanned = store.read(|r| {
                r.scan(VISITS, |_, _| Ok(()))?;
                r.scan(Space(3), |_, _| Ok(()))
            });
            let queued = store.read(|r| r.queue(OUTBOX, 9));
            if item {
                damaged(scanned, "an item of space")
            } else {
                scanned.unwrap()
            }
            if queue { damaged(queued, "queue 2 at position") } else { drop(queued.unwrap()) }
        }

        for (sql, what) in [
            ("DELETE FROM meta WHERE key = 'salt'", "salt"),
            ("UPDATE meta SET value = x'00' WHERE key = 'format'", "format"),
            ("DROP TABLE meta", "meta"),
            ("PRAGMA user_version = -1", "version -1"),
        ] {
            let scratch = fresh();
            raw(&scratch).execute_batch(sql).unwrap();
            damaged(Store::open(&scratch.0, &KEY), what);
        }

        let scratch = fresh();
        raw(&scratch).execute("UPDATE sqlite_sequence SET seq = 9223372036854775807", []).unwrap();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        damaged(store.write(|w| w.push(OUTBOX, b"3")), "position");
    }

    #[test]
    fn no_file_makes_it_panic() {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        for n in 0..20u8 {
            put(&store, VISITS, &[n], &[n; 700]);
            store.write(|w| w.push(OUTBOX, &[n; 300])).unwrap();
        }
        drop(store);
        let path = scratch.0.join(DATABASE);
        let sound = fs::read(&path).unwrap();
        let visit = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let outcome = Store::open(&scratch.0, &KEY).and_then(|store| {
                store.read(|r| r.scan(VISITS, |_, _| Ok(())))?;
                store.read(|r| r.queue(OUTBOX, 99))?;
                store.write(|w| w.push(OUTBOX, b"x"))
            });
            for extra in ["-wal", "-shm", "-journal"] {
                let _ = fs::remove_file(scratch.0.join(format!("{DATABASE}{extra}")));
            }
            outcome
        };
        visit(&sound).unwrap();
        damaged(visit(&b"This is no database. ".repeat(50)), "database");
        for cut in [513, 4_096, sound.len() / 2, sound.len() - 1] {
            assert!(visit(&sound[..cut]).is_err(), "cut at {cut}");
        }
        for n in 0..60 {
            let mut bytes = sound.clone();
            let at = if n < 30 { 16 + n * 7 } else { n * 977 % sound.len() };
            bytes[at] ^= 0xff;
            bytes[(at + 1) % sound.len()] ^= 0x55;
            let _ = visit(&bytes);
        }
    }

    #[test]
    fn a_reader_does_not_wait_for_the_writer() {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0, &KEY).unwrap();
        put(&store, VISITS, b"a", b"old");
        store
            .write(|w| {
                w.put(VISITS, b"a", b"new")?;
                let (seen, counted) = std::thread::scope(|s| {
                    let other =
                        s.spawn(|| (get(&store, VISITS, b"a"), store.read(|r| r.count(VISITS))));
                    other.join().unwrap()
                });
                assert_eq!(seen.unwrap(), b"old");
                assert_eq!(counted?, 1);
                Ok::<_, StoreError>(())
            })
            .unwrap();
        assert_eq!(get(&store, VISITS, b"a").unwrap(), b"new");

        store
            .read(|r| {
                assert_eq!(r.get(VISITS, b"a")?.unwrap(), b"new");
                put(&store, VISITS, b"a", b"newer");
                assert_eq!(r.get(VISITS, b"a")?.unwrap(), b"new", "one state for the whole read");
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }
}
