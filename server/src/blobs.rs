//! Photos' bytes on the disk: whole ones under their content's name, and those that are still arriving.
//!
//! Every path is built from typed names; none comes from outside.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use sync_core::id::{BlobHash, OrgId};
use tokio::sync::{OwnedMutexGuard, watch};

use crate::files::{self, Read, parent, present, sync_dir};
use crate::random;
use crate::store::StoreError;
use crate::store::uploads::UploadId;

/// The whole photos: `<organisation>/<2 hex>/<64 hex>`, with `.preview.jpg` and `.thumb.jpg` beside it. Clones share it.
#[derive(Clone)]
pub struct Blobs {
    root: Arc<Root>,
}

struct Root {
    folder: PathBuf,
    /// Held while folders are made, so that nobody takes one for durable before it is.
    making: Mutex<()>,
}

/// Which of a photo's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendition {
    /// The file as it was sent.
    Original,
    /// A JPEG for a screen, without metadata.
    Preview,
    /// A small JPEG without metadata.
    Thumbnail,
}

impl Rendition {
    /// All, the original last: where it is, the others are.
    pub const ALL: [Self; 3] = [Self::Thumbnail, Self::Preview, Self::Original];
}

const UNFINISHED: &str = "unfinished";
const PREVIEW: &str = ".preview.jpg";
const THUMBNAIL: &str = ".thumb.jpg";

impl Blobs {
    /// Opens the folder, made if it is absent, and clears what a crash left half-written in it. Only one
    /// process at a time may; the store's lock sees to that.
    pub fn open(folder: PathBuf) -> Result<Self, StoreError> {
        let unfinished = folder.join(UNFINISHED);
        make_dir(&folder)?;
        present(fs::remove_dir_all(&unfinished))?;
        make_dir(&unfinished)?;
        Ok(Self { root: Arc::new(Root { folder, making: Mutex::new(()) }) })
    }

    /// Keeps bytes under a name. When this returns they survive a loss of power; when it fails, what was
    /// there before still is.
    pub async fn put(
        &self,
        org: OrgId,
        hash: BlobHash,
        rendition: Rendition,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        let name = format!("{:016x}", u64::from_be_bytes(random()));
        let unfinished = self.root.folder.join(UNFINISHED).join(name);
        let path = self.path(org, hash, rendition);
        let root = Arc::clone(&self.root);
        blocking(move || {
            let written = File::create_new(&unfinished)
                .and_then(|mut file| {
                    file.write_all(&bytes)?;
                    file.sync_all()
                })
                .and_then(|()| root.make_parent(&path))
                .and_then(|dir| {
                    fs::rename(&unfinished, &path)?;
                    sync_dir(dir)
                });
            if written.is_err() {
                let _ = fs::remove_file(&unfinished); // it is swept at the next start
            }
            Ok(written?)
        })
        .await
    }

    /// A photo's bytes, if they are here.
    pub async fn get(
        &self,
        org: OrgId,
        hash: BlobHash,
        rendition: Rendition,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(org, hash, rendition);
        blocking(move || Ok(present(fs::read(path))?)).await
    }

    /// A photo's file to be read from where one likes, if it is here, and its length.
    pub async fn open_file(
        &self,
        org: OrgId,
        hash: BlobHash,
        rendition: Rendition,
    ) -> Result<Option<(File, u64)>, StoreError> {
        let path = self.path(org, hash, rendition);
        blocking(move || {
            let Some(file) = present(File::open(path))? else { return Ok(None) };
            let length = file.metadata()?.len();
            Ok(Some((file, length)))
        })
        .await
    }

    /// Whether a photo is here.
    pub async fn exists(&self, org: OrgId, hash: BlobHash) -> Result<bool, StoreError> {
        let path = self.path(org, hash, Rendition::Original);
        blocking(move || Ok(path.try_exists()?)).await
    }

    /// Removes a photo and its small pictures; it is well if they were not here.
    pub async fn remove(&self, org: OrgId, hash: BlobHash) -> Result<(), StoreError> {
        let blobs = self.clone();
        blocking(move || blobs.remove_in_writing(org, hash)).await
    }

    /// The same on this thread: within a write, during which nobody begins to bring the photo.
    pub fn remove_in_writing(&self, org: OrgId, hash: BlobHash) -> Result<(), StoreError> {
        Ok(remove(&Rendition::ALL.map(|rendition| self.path(org, hash, rendition)))?)
    }

    /// The photos of an organisation that have files, none of them younger than `before_ms` (milliseconds since 1970
    /// UTC), in which the disk and the database may not agree yet. Other files are passed over.
    pub async fn list(&self, org: OrgId, before_ms: i64) -> Result<Vec<Found>, StoreError> {
        let folder = self.root.folder.join(org.to_string());
        blocking(move || list(&folder, before_ms)).await
    }

    fn path(&self, org: OrgId, hash: BlobHash, rendition: Rendition) -> PathBuf {
        path(&self.root.folder, org, hash, rendition)
    }
}

fn path(folder: &Path, org: OrgId, hash: BlobHash, rendition: Rendition) -> PathBuf {
    let hex = hash.to_string();
    let dir = folder.join(org.to_string()).join(&hex[..2]);
    match rendition {
        Rendition::Original => dir.join(hex),
        Rendition::Preview => dir.join(hex + PREVIEW),
        Rendition::Thumbnail => dir.join(hex + THUMBNAIL),
    }
}

fn remove(paths: &[PathBuf]) -> io::Result<()> {
    for path in paths {
        present(fs::remove_file(path))?;
        present(sync_dir(parent(path)))?;
    }
    Ok(())
}

/// A photo that has files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub hash: BlobHash,
    /// How many of its files there are.
    pub files: usize,
}

fn list(folder: &Path, before_ms: i64) -> Result<Vec<Found>, StoreError> {
    let mut found: BTreeMap<BlobHash, (usize, bool)> = BTreeMap::new();
    let Some(dirs) = present(fs::read_dir(folder))? else { return Ok(Vec::new()) };
    for dir in dirs {
        let dir = dir?;
        if !dir.file_type()?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(dir.path())? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let hex = name.strip_suffix(PREVIEW).or_else(|| name.strip_suffix(THUMBNAIL));
            let Ok(hash) = hex.unwrap_or(name).parse::<BlobHash>() else { continue };
            let Some(metadata) = present(entry.metadata())? else { continue };
            let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let old = i64::try_from(since.as_millis()).unwrap_or(i64::MAX) < before_ms;
            let (files, all_old) = found.entry(hash).or_insert((0, true));
            *files += 1;
            *all_old &= old;
        }
    }
    let old = found.into_iter().filter(|(_, (_, old))| *old);
    Ok(old.map(|(hash, (files, _))| Found { hash, files }).collect())
}

impl Root {
    fn make_parent<'a>(&self, path: &'a Path) -> io::Result<&'a Path> {
        let dir = parent(path);
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if !dir.is_dir() {
            fs::create_dir_all(dir)?;
            dir.ancestors().skip(1).take(2).try_for_each(sync_dir)?;
        }
        Ok(dir)
    }
}

/// The whole photos of a folder for who is not its server: a backup's, or those that a server is adding to.
pub struct Album {
    folder: PathBuf,
    /// Folders that are to be brought to the disk.
    touched: BTreeSet<PathBuf>,
}

/// What is wrong with a photo that should be here, or should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is no file.
    #[error("its file is missing")]
    Missing,
    /// The file is not the photo.
    #[error("its file has other content")]
    OtherContent,
    /// The photo is here, and its thumbnail is not what was drawn.
    #[error("its thumbnail is missing or another")]
    Thumbnail,
    /// The photo is here, and its preview is not what was drawn.
    #[error("its preview is missing or another")]
    Preview,
    /// It was erased on request, and a file of it is here.
    #[error("it was erased, and a file of it is still here")]
    Remains,
}

/// A photo that should be here.
#[derive(Debug, Clone, Copy)]
pub struct Shelved {
    /// Which.
    pub hash: BlobHash,
    /// How many bytes it has.
    pub bytes: u64,
    /// SHA-256 of its thumbnail and preview, as far as they were drawn.
    pub drawn: [Option<BlobHash>; 2],
}

impl Album {
    /// The photos in a folder, which may be absent.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, touched: BTreeSet::new() }
    }

    /// What is wrong with a photo, if anything is.
    pub fn flaw(&self, org: OrgId, photo: &Shelved) -> Result<Option<Flaw>, StoreError> {
        let read = |rendition| present(fs::read(path(&self.folder, org, photo.hash, rendition)));
        let Some(bytes) = read(Rendition::Original)? else { return Ok(Some(Flaw::Missing)) };
        if BlobHash::of(&bytes) != photo.hash {
            return Ok(Some(Flaw::OtherContent));
        }
        let small = [(Rendition::Thumbnail, Flaw::Thumbnail), (Rendition::Preview, Flaw::Preview)];
        for ((rendition, flaw), drawn) in small.into_iter().zip(photo.drawn) {
            if let Some(drawn) = drawn
                && read(rendition)?.is_none_or(|bytes| BlobHash::of(&bytes) != drawn)
            {
                return Ok(Some(flaw));
            }
        }
        Ok(None)
    }

    /// Whether there is a file of a photo, a small picture of it among them.
    pub fn holds(&self, org: OrgId, hash: BlobHash) -> Result<bool, StoreError> {
        for rendition in Rendition::ALL {
            if path(&self.folder, org, hash, rendition).try_exists()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the files of an organisation's photos that are not among these.
    pub fn keep(&self, org: OrgId, these: &HashSet<BlobHash>) -> Result<(), StoreError> {
        let found = list(&self.folder.join(org.to_string()), i64::MAX)?;
        for Found { hash, .. } in found.into_iter().filter(|found| !these.contains(&found.hash)) {
            remove(&Rendition::ALL.map(|rendition| path(&self.folder, org, hash, rendition)))?;
        }
        Ok(())
    }

    /// A photo's bytes, if it is here and whole.
    pub fn read(&self, org: OrgId, hash: BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = present(fs::read(path(&self.folder, org, hash, Rendition::Original)))?;
        Ok(bytes.filter(|bytes| BlobHash::of(bytes) == hash))
    }

    /// How many bytes a photo's file has; 0 if there is none.
    pub fn length(&self, org: OrgId, hash: BlobHash) -> Result<u64, StoreError> {
        let file = present(fs::metadata(path(&self.folder, org, hash, Rendition::Original)))?;
        Ok(file.map_or(0, |file| file.len()))
    }

    /// Clears what a copy that did not end left half-written.
    pub fn tidy(&self) -> Result<(), StoreError> {
        present(fs::remove_dir_all(self.folder.join(UNFINISHED)))?;
        Ok(fs::create_dir_all(self.folder.join(UNFINISHED))?)
    }

    /// Takes a photo over from another album, unless it is here or is not whole there. With `anew` what is here
    /// is replaced. It is safe after [`Album::settle`].
    pub fn take(
        &mut self,
        from: &Self,
        org: OrgId,
        hash: BlobHash,
        anew: bool,
    ) -> Result<(), StoreError> {
        for rendition in Rendition::ALL {
            let to = path(&self.folder, org, hash, rendition);
            self.touched.insert(parent(&to).to_owned());
            if !anew && to.try_exists()? {
                continue;
            }
            let read = present(fs::read(path(&from.folder, org, hash, rendition)))?;
            let whole =
                |bytes: &Vec<u8>| rendition != Rendition::Original || BlobHash::of(bytes) == hash;
            let Some(bytes) = read.filter(whole) else { continue };
            let unfinished = self.folder.join(UNFINISHED).join(hash.to_string());
            let mut file = File::create(&unfinished)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::create_dir_all(parent(&to))?;
            fs::rename(&unfinished, &to)?;
        }
        Ok(())
    }

    /// Brings to the disk that what was taken, now or before, is here.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        let mut dirs = BTreeSet::from([self.folder.clone(), parent(&self.folder).to_owned()]);
        for dir in std::mem::take(&mut self.touched) {
            dirs.insert(parent(&dir).to_owned());
            dirs.insert(dir);
        }
        dirs.iter().try_for_each(|dir| present(sync_dir(dir)).map(drop))?;
        Ok(())
    }
}

/// The files of uploads that are not whole yet. A file's length is how much of it has come.
pub struct Arrivals {
    folder: PathBuf,
    turns: Mutex<HashMap<UploadId, Arc<Turn>>>,
}

struct Turn {
    seat: Arc<tokio::sync::Mutex<()>>,
    newest: watch::Sender<u64>,
}

/// The sole right to read and write an upload's file, until it is dropped.
pub struct Claim<'a> {
    arrivals: &'a Arrivals,
    id: UploadId,
    turn: Arc<Turn>,
    ticket: u64,
    seat: Option<OwnedMutexGuard<()>>,
}

impl Arrivals {
    /// Opens the folder, made if it is absent.
    pub fn open(folder: PathBuf) -> Result<Self, StoreError> {
        make_dir(&folder)?;
        Ok(Self { folder, turns: Mutex::default() })
    }

    /// Takes an upload over. Whoever holds it hears of that in [`Claim::superseded`], and is waited for: a
    /// phone that comes back on another network need not wait until its dead connection is noticed.
    pub async fn claim(&self, id: UploadId) -> Claim<'_> {
        let mut claim = self.queue(id);
        claim.seat = Some(Arc::clone(&claim.turn.seat).lock_owned().await);
        claim
    }

    /// Takes an upload that nobody holds.
    pub fn claim_idle(&self, id: UploadId) -> Option<Claim<'_>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.contains_key(&id) {
            return None;
        }
        let turn = Arc::new(Turn::default());
        let seat = Some(Arc::clone(&turn.seat).try_lock_owned().ok()?);
        turns.insert(id, Arc::clone(&turn));
        Some(Claim { arrivals: self, id, turn, ticket: 0, seat })
    }

    fn queue(&self, id: UploadId) -> Claim<'_> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(turns.entry(id).or_default());
        let mut ticket = 0;
        turn.newest.send_modify(|newest| {
            *newest += 1;
            ticket = *newest;
        });
        Claim { arrivals: self, id, turn, ticket, seat: None }
    }

    /// Which uploads have a file.
    pub async fn list(&self) -> Result<Vec<UploadId>, StoreError> {
        let folder = self.folder.clone();
        blocking(move || {
            let mut found = Vec::new();
            for entry in fs::read_dir(folder)? {
                let name = entry?.file_name();
                found.extend(name.to_str().and_then(|name| name.parse::<UploadId>().ok()));
            }
            Ok(found)
        })
        .await
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self { seat: Arc::default(), newest: watch::Sender::new(0) }
    }
}

impl Claim<'_> {
    /// Which upload it is.
    pub fn id(&self) -> UploadId {
        self.id
    }

    /// Waits until another wants the upload.
    pub async fn superseded(&self) {
        let mut newest = self.turn.newest.subscribe();
        let _ = newest.wait_for(|newest| *newest > self.ticket).await; // the sender is held here
    }

    /// How many bytes have come.
    pub async fn length(&self) -> Result<u64, StoreError> {
        let path = self.path();
        blocking(move || Ok(present(fs::metadata(path))?.map_or(0, |metadata| metadata.len())))
            .await
    }

    /// Adds bytes and brings them to the disk; or fails, and nothing was added.
    pub async fn append(&self, bytes: Vec<u8>) -> Result<(), StoreError> {
        let path = self.path();
        blocking(move || {
            let fresh = !path.try_exists()?;
            let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
            let before = file.metadata()?.len();
            let written = file.write_all(&bytes).and_then(|()| file.sync_data());
            if written.is_err() {
                let _ = file.set_len(before); // what is left of them is a part of the upload all the same
            }
            written?;
            if fresh {
                sync_dir(parent(&path))?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets what has come after the first `length` bytes.
    pub async fn truncate(&self, length: u64) -> Result<(), StoreError> {
        let path = self.path();
        blocking(move || {
            let Some(file) = present(OpenOptions::new().write(true).open(path))? else {
                return Ok(());
            };
            file.set_len(length)?;
            Ok(file.sync_all()?)
        })
        .await
    }

    /// All that has come.
    pub async fn bytes(&self) -> Result<Vec<u8>, StoreError> {
        let path = self.path();
        blocking(move || Ok(present(fs::read(path))?.unwrap_or_default())).await
    }

    /// Removes the file.
    pub async fn remove(&self) -> Result<(), StoreError> {
        let path = self.path();
        blocking(move || {
            present(fs::remove_file(path))?;
            Ok(())
        })
        .await
    }

    fn path(&self) -> PathBuf {
        self.arrivals.folder.join(self.id.to_string())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut turns = self.arrivals.turns.lock().unwrap_or_else(PoisonError::into_inner);
        self.seat.take();
        // The map's and this one: nobody else holds or waits.
        if Arc::strong_count(&self.turn) == 2 {
            turns.remove(&self.id);
        }
    }
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let run = tokio::task::spawn_blocking(run);
    run.await.unwrap_or_else(|_| Err(StoreError::Failed("file work was cut short".into())))
}

fn make_dir(dir: &Path) -> io::Result<()> {
    files::make_dir(dir, Read::Anybody)?;
    // Also of one that is there: whoever made it may have died before that.
    sync_dir(parent(dir))
}
