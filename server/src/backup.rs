//! Backups: a data folder as it was at one moment, in another folder, and a data folder made from one.
//!
//! A backup is `backup.db` and `blobs`. Photos only come to it; the database takes its name when all that it speaks of is
//! on the disk, and what it does not speak of goes last. So the older backup is whole until the newer one is.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sync_core::id::BlobHash;

use crate::blobs::{Album, Flaw};
use crate::check::{self, Progress, Report, Stage};
use crate::files::{self, Read, make_dir, present, sync_dir};
use crate::logkey::{LOG_KEYS, LogKeys};
use crate::store::archive::{self, Archive};
use crate::store::log::Org;
use crate::store::{self, BACKUP, DATABASE, RESTORING, StoreError};
use crate::{now_ms, random};

const BLOBS: &str = "blobs";
const LOCK: &str = "lock";
/// A backup's database until all that it speaks of is on the disk.
const NEWER: &str = "backup.db.new";
/// All that a backup's folder may hold; the journal is SQLite's.
const OF_A_BACKUP: [&str; 5] = [BACKUP, BLOBS, LOCK, NEWER, "backup.db.new-journal"];

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What is to be read does not.
    #[error("cannot read {}: {}", .0.display(), .1)]
    Reading(PathBuf, StoreError),
    /// What is to be written cannot be.
    #[error("cannot write to {}: {}", .0.display(), .1)]
    Writing(PathBuf, StoreError),
    /// There is no data to back up.
    #[error("{} is no data folder: there is no endcap.db in it", .0.display())]
    NotData(PathBuf),
    /// There is nothing to restore from.
    #[error("{} is no backup: there is no backup.db in it", .0.display())]
    NotBackup(PathBuf),
    /// It can be neither.
    #[error("{} is neither a data folder nor a backup", .0.display())]
    Neither(PathBuf),
    /// Something else is where the backup is to go.
    #[error(
        "{} holds `{}`, which is of no backup: choose an empty folder, or one with an older backup",
        .0.display(), .1
    )]
    Occupied(PathBuf, String),
    /// The older backup has what would be lost.
    #[error(
        "{} holds a backup of {}, which is not in the data folder: choose another folder",
        .0.display(), .1
    )]
    Another(PathBuf, String),
    /// Something is where the data folder is to be.
    #[error("{} is not empty: restore into a folder that is empty or absent", .0.display())]
    NotEmpty(PathBuf),
    /// An earlier restore was cut short.
    #[error("{} holds a restore that did not end: remove it, and run this again", .0.display())]
    HalfRestored(PathBuf),
    /// What was read or written is not what it should be. An older backup is untouched.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf, Box<Report>),
}

fn reading(folder: &Path) -> impl Fn(StoreError) -> BackupError {
    move |error| BackupError::Reading(folder.to_owned(), error)
}

fn writing<E: Into<StoreError>>(folder: &Path) -> impl Fn(E) -> BackupError {
    move |error| BackupError::Writing(folder.to_owned(), error.into())
}

/// Checks a data folder, whether a server works on it or not, or a backup.
pub fn check(folder: &Path, progress: Progress<'_>) -> Result<Report, BackupError> {
    let file = [DATABASE, BACKUP].map(|name| folder.join(name)).into_iter().find(|f| f.is_file());
    let file = file.ok_or_else(|| BackupError::Neither(folder.to_owned()))?;
    let archive = Archive::open(&file).map_err(reading(folder))?;
    check::check(&archive, &Album::at(folder.join(BLOBS)), progress).map_err(reading(folder))
}

/// Writes a backup of a data folder, whether a server works on it or not. What is damaged in the report it gives
/// are photos that are damaged in the data folder too.
pub fn backup(data: &Path, to: &Path, progress: Progress<'_>) -> Result<Report, BackupError> {
    if !data.join(DATABASE).is_file() {
        return Err(BackupError::NotData(data.to_owned()));
    }
    if let Some(strange) = entries(to)?.into_iter().find(|e| !OF_A_BACKUP.contains(&e.as_str())) {
        return Err(BackupError::Occupied(to.to_owned(), strange));
    }
    make_folder(to).map_err(writing(to))?;
    let _lock = store::lock(to).map_err(writing(to))?;
    let newer = to.join(NEWER);
    for name in &OF_A_BACKUP[3..] {
        present(fs::remove_file(to.join(name))).map_err(writing(to))?;
    }
    let written = write(data, to, &newer, progress);
    if written.is_err() {
        let _ = fs::remove_file(&newer); // it goes at the next backup
    }
    written
}

fn write(
    data: &Path,
    to: &Path,
    newer: &Path,
    progress: Progress<'_>,
) -> Result<Report, BackupError> {
    let (from, mut album) = (Album::at(data.join(BLOBS)), Album::at(to.join(BLOBS)));
    album.tidy().map_err(writing(to))?;
    let (archive, report) = loop {
        // The database first: a photo's file is there before the database says so.
        copy(&data.join(DATABASE), newer, progress)?;
        of_the_same(newer, to)?;
        let archive = Archive::open(newer).map_err(reading(to))?;
        copy_photos(&archive, &from, &mut album, progress).map_err(writing(to))?;
        // What was erased or forgotten, or whose time was over, meanwhile: the next copy knows of it.
        if !has_let_go(data, &archive).map_err(reading(data))? {
            let report = checked(&archive, &from, &mut album, (data, to), progress)?;
            // Reading all photos back takes long enough to be asked to erase something.
            if !has_erased(data, &archive).map_err(reading(data))? {
                break (archive, report);
            }
        }
        drop(archive);
        fs::remove_file(newer).map_err(writing(to))?;
    };
    album.settle().map_err(writing(to))?;
    let named = fs::rename(newer, to.join(BACKUP)).and_then(|()| sync_dir(to));
    named.map_err(writing(to))?;
    // The older backup, which spoke of others, is no more.
    drop_others(&archive, &album).map_err(writing(to))?;
    Ok(report)
}

/// Checks what was copied, and copies anew what has rotted in the older backup; what is damaged in the data folder stays
/// named.
fn checked(
    archive: &Archive,
    from: &Album,
    album: &mut Album,
    (data, to): (&Path, &Path),
    progress: Progress<'_>,
) -> Result<Report, BackupError> {
    let report = check_kept(archive, album, progress).map_err(reading(to))?;
    if report.torn() {
        return Err(BackupError::Damaged(data.to_owned(), Box::new(report)));
    }
    if report.is_clean() {
        return Ok(report);
    }
    for damage in &report.damage {
        if let check::Damage::Photo { id, hash, .. } = damage {
            album.take(from, *id, *hash, true).map_err(writing(to))?;
        }
    }
    check_kept(archive, album, progress).map_err(reading(to))
}

/// Whether the data folder has let go of something that a copy of its database has: of a photo, or of what was erased.
fn has_let_go(data: &Path, copied: &Archive) -> Result<bool, StoreError> {
    let live = Archive::open(&data.join(DATABASE))?;
    for made in copied.organisations()? {
        if !here(copied, made.org)?.is_subset(&here(&live, made.org)?) {
            return Ok(true);
        }
    }
    has_erased(data, copied)
}

/// Whether something was erased in the data folder that was not when its database was copied.
fn has_erased(data: &Path, copied: &Archive) -> Result<bool, StoreError> {
    let live = Archive::open(&data.join(DATABASE))?;
    let erased = |archive: &Archive, org| {
        let erasures = archive.erasures(org)?.into_iter();
        Ok::<_, StoreError>(erasures.map(|erasure| erasure.id).collect::<HashSet<_>>())
    };
    for made in copied.organisations()? {
        if !erased(&live, made.org)?.is_subset(&erased(copied, made.org)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks a database and its photos, but for files of what was erased: they are copied nowhere, and those of an older
/// backup go when it is replaced.
fn check_kept(
    archive: &Archive,
    album: &Album,
    progress: Progress<'_>,
) -> Result<Report, StoreError> {
    let mut report = check::check(archive, album, progress)?;
    report
        .damage
        .retain(|damage| !matches!(damage, check::Damage::Photo { flaw: Flaw::Remains, .. }));
    Ok(report)
}

/// Makes a data folder from a backup and begins a new life of every log. What is damaged in the report it gives
/// are photos that are lost in the backup: they are awaited again.
pub fn restore(from: &Path, data: &Path, progress: Progress<'_>) -> Result<Report, BackupError> {
    let database = from.join(BACKUP);
    if !database.is_file() {
        return Err(BackupError::NotBackup(from.to_owned()));
    }
    let found = entries(data)?;
    if found.iter().any(|name| name == RESTORING) {
        return Err(BackupError::HalfRestored(data.to_owned()));
    }
    if found.iter().any(|name| name != LOCK && name != LOG_KEYS) {
        return Err(BackupError::NotEmpty(data.to_owned()));
    }
    let _backup = not_while_written(from).map_err(reading(from))?;
    let archive = Archive::open(&database).map_err(reading(from))?;
    let backed_up = Album::at(from.join(BLOBS));
    let report = check_kept(&archive, &backed_up, progress).map_err(reading(from))?;
    if report.torn() {
        return Err(BackupError::Damaged(from.to_owned(), Box::new(report)));
    }
    make_folder(data).map_err(writing(data))?;
    let _lock = store::lock(data).map_err(writing(data))?;
    // Under this name nobody serves it.
    let restoring = data.join(RESTORING);
    copy(&database, &restoring, progress)?;
    sync_dir(data).map_err(writing(data))?;
    let mut album = Album::at(data.join(BLOBS));
    album.tidy().map_err(writing(data))?;
    copy_photos(&archive, &backed_up, &mut album, progress).map_err(writing(data))?;
    album.settle().map_err(writing(data))?;
    let lost: Vec<_> = report.lost_photos().iter().map(|(org, _, hash)| (*org, *hash)).collect();
    let drawn = random::<24>;
    // A key that was put there before goes on; otherwise there is a new one.
    let keys = LogKeys::at(data);
    let key = |org| keys.of(org).map(|pair| pair.public());
    archive::bring_back(&restoring, now_ms(), &lost, drawn, key).map_err(writing(data))?;
    let restored = Archive::open(&restoring).map_err(reading(data))?;
    let written = check::check(&restored, &album, progress).map_err(reading(data))?;
    drop(restored);
    if written.torn() || !written.lost_photos().is_empty() {
        return Err(BackupError::Damaged(data.to_owned(), Box::new(written)));
    }
    let named = fs::rename(&restoring, data.join(DATABASE)).and_then(|()| sync_dir(data));
    named.map_err(writing(data))?;
    Ok(Report { damage: report.damage, ..written })
}

fn copy(from: &Path, to: &Path, progress: Progress<'_>) -> Result<(), BackupError> {
    progress(Stage::Copying, 0, 1);
    archive::copy(from, to).map_err(|error| match error {
        StoreError::Full | StoreError::Failed(_) => writing(to)(error),
        error => reading(from)(error),
    })?;
    progress(Stage::Copying, 1, 1);
    Ok(())
}

fn copy_photos(
    archive: &Archive,
    from: &Album,
    to: &mut Album,
    progress: Progress<'_>,
) -> Result<(), StoreError> {
    let mut photos = Vec::new();
    for made in archive.organisations()? {
        photos.extend(archive.photos(made.org)?.into_iter().map(|photo| (made.id, photo.hash)));
    }
    for (done, (id, hash)) in (1..).zip(&photos) {
        to.take(from, *id, *hash, false)?;
        progress(Stage::Photos, done, photos.len() as u64);
    }
    Ok(())
}

/// Removes what a database does not say is here: no row speaks of what was forgotten.
fn drop_others(archive: &Archive, album: &Album) -> Result<(), StoreError> {
    for made in archive.organisations()? {
        album.keep(made.id, &here(archive, made.org)?)?;
    }
    Ok(())
}

/// The photos that a database says are here.
fn here(archive: &Archive, org: Org) -> Result<HashSet<BlobHash>, StoreError> {
    Ok(archive.photos(org)?.into_iter().map(|photo| photo.hash).collect())
}

/// Refuses to replace a backup of what is not in the newer one: an empty folder is backed up as quickly as a full
/// one.
fn of_the_same(newer: &Path, folder: &Path) -> Result<(), BackupError> {
    let older = folder.join(BACKUP);
    if !older.is_file() {
        return Ok(());
    }
    let names = |file: &Path| archive::names(file).map_err(reading(folder));
    let (here, known) = (names(newer)?, names(&older)?);
    match known.into_iter().find(|(id, _)| here.iter().all(|(other, _)| other != id)) {
        Some((_, name)) => Err(BackupError::Another(folder.to_owned(), name)),
        None => Ok(()),
    }
}

fn entries(folder: &Path) -> Result<Vec<String>, BackupError> {
    files::entries(folder).map_err(|error| reading(folder)(error.into()))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    make_dir(folder, Read::Owner)?;
    let whole = fs::canonicalize(folder)?;
    whole.parent().map_or(Ok(()), sync_dir)
}

/// Nobody writes to a backup for as long as the file is open. A copy on other media may come without the file.
fn not_while_written(folder: &Path) -> Result<Option<File>, StoreError> {
    let Some(lock) = present(File::open(folder.join(LOCK)))? else { return Ok(None) };
    lock.try_lock_shared().map_err(|_| StoreError::InUse)?;
    Ok(Some(lock))
}
