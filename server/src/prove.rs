//! `endcap prove` and `endcap verify`: a visit's proof bundle, made from a data folder, and checked without one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sync_core::evidence::Keypair;
use sync_core::id::{BlobHash, VisitId};
use sync_core::proof::{self, Wrong};
use sync_core::tlog::NoteKey;
use sync_core::zip;

use crate::blobs::Album;
use crate::logkey::LogKeys;
use crate::now_ms;
use crate::store::archive::Archive;
use crate::store::bundle::Collected;
use crate::store::log::Organisation;
use crate::store::witnesses::Counting;
use crate::store::{BACKUP, DATABASE, StoreError};

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The folder does not read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to prove from.
    #[error("{} is no data folder: there is no endcap.db in it", .0.display())]
    NotData(PathBuf),
    /// A backup has not got the log's key.
    #[error("the log's key is not in a backup: name the data folder")]
    Backup,
    /// The file with the key is gone, or is another one's.
    #[error(
        "the key that signs the log of {0} is not here: serve the folder, and its log goes on under another key"
    )]
    NoKey(String),
    /// Nobody has this visit.
    #[error("there is no visit {0} here")]
    NoVisit(VisitId),
    /// It has more photos than a bundle holds.
    #[error("there are {1} photos of {0} MiB, more than a bundle holds: prove it without --photos")]
    TooLarge(u64, usize),
    /// What is stored does not prove anything.
    #[error("what is stored does not hold: {0}; run `endcap check`")]
    Damaged(Wrong),
}

/// Bytes of the photos in a bundle, and how many: the rest is small beside a bundle's limits.
const PHOTO_BYTES_MAX: u64 = (zip::BYTES_MAX - (64 << 20)) as u64;
const PHOTOS_MAX: usize = 3_900;

/// Makes the bundle of a visit from a data folder, whether a server works on it or not.
pub fn prove(data: &Path, visit: VisitId, with_photos: bool) -> Result<Vec<u8>, ProveError> {
    let archive = archive(data)?;
    let (keys, album) = (LogKeys::at(data), Album::at(data.join("blobs")));
    let counting = Counting::everybody(now_ms());
    for made in archive.organisations()? {
        // The others' keys may be missing: nothing is signed with them.
        if !archive.has(made.org, visit.into())? {
            continue;
        }
        let Some(key) = key_of(&archive, &keys, &made)? else {
            return Err(ProveError::NoKey(made.name));
        };
        let Some(collected) = archive.bundle(&made, visit, &key, &counting)? else { continue };
        if with_photos {
            let bytes = collected.photos.iter().map(|hash| album.length(made.id, *hash));
            let bytes = bytes.sum::<Result<u64, _>>()?;
            if bytes > PHOTO_BYTES_MAX || collected.photos.len() > PHOTOS_MAX {
                return Err(ProveError::TooLarge(bytes >> 20, collected.photos.len()));
            }
        }
        let mut here = BTreeMap::new();
        for hash in collected.photos.iter().filter(|_| with_photos) {
            here.extend(album.read(made.id, *hash)?.map(|bytes| (*hash, bytes)));
        }
        return pack(&collected, &here, &key);
    }
    Err(ProveError::NoVisit(visit))
}

/// Packs what was collected, with these photos, and signs it with the log's key.
pub fn pack(
    collected: &Collected,
    photos: &BTreeMap<BlobHash, Vec<u8>>,
    pair: &Keypair,
) -> Result<Vec<u8>, ProveError> {
    let Collected { proof, checkpoint, .. } = collected;
    proof::build(proof, checkpoint, photos, pair).map_err(ProveError::Damaged)
}

fn archive(data: &Path) -> Result<Archive, ProveError> {
    let database = data.join(DATABASE);
    match database.is_file() {
        true => Ok(Archive::open(&database)?),
        false if data.join(BACKUP).is_file() => Err(ProveError::Backup),
        false => Err(ProveError::NotData(data.to_owned())),
    }
}

/// The key that signs an organisation's log, unless its newest life names another or the file is gone.
fn key_of(
    archive: &Archive,
    keys: &LogKeys,
    made: &Organisation,
) -> Result<Option<Keypair>, StoreError> {
    let named = archive.life(made.org)?.1;
    let kept = keys.kept(made.id)?;
    Ok(kept.filter(|kept| named == kept.public()))
}

/// The organisations of a data folder, and the public key of each one's log.
pub fn log_keys(data: &Path) -> Result<Vec<(String, NoteKey)>, ProveError> {
    let archive = archive(data)?;
    let keys = LogKeys::at(data);
    let mut all = Vec::new();
    for made in archive.organisations()? {
        let (life, _) = archive.life(made.org)?;
        let Some(key) = key_of(&archive, &keys, &made)? else {
            return Err(ProveError::NoKey(made.name));
        };
        all.push((made.name, NoteKey::of_log(made.id, life, key.public())));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use sync_core::id::OrgId;

    use super::*;
    use crate::app::App;
    use crate::logkey::LOG_KEYS;

    #[tokio::test]
    async fn a_key_that_is_missing_is_asked_for_where_the_visit_is_alone() {
        let folder = crate::scratch("prove");
        let app = App::open(folder.clone()).await.unwrap();
        app.create(OrgId::from_bytes([1; 16]), "Nordic Oats").await.unwrap();
        app.store.close();
        std::fs::remove_dir_all(folder.join(LOG_KEYS)).unwrap();
        let proved = prove(&folder, VisitId::from_bytes([7; 16]), false);
        assert!(matches!(proved, Err(ProveError::NoVisit(_))), "{proved:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
