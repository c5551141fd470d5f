//! `endcap witness`: keeps watch over logs, such as those of a brand that one is a distributor of, and signs what
//! continues what it has signed. <https://c2sp.org/tlog-witness>; the rules are in [`sync_core::witness`].
//!
//! All that it must never lose is the newest checkpoint that it has signed of each log: a file each, on the disk before
//! the signature leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sync_core::evidence::Keypair;
use sync_core::tlog::{Checkpoint, NoteKey, SignedNote, Signs};
use sync_core::witness::{Refusal, Submission};

use crate::files::{Lock, Read, make_dir, present, write};
use crate::logkey::keypair;
use crate::store::{StoreError, lock};

const KEY: &str = "key";
const SEEN: &str = "seen";

/// A witness, whose folder nobody else works in.
pub struct Witness {
    folder: PathBuf,
    key: NoteKey,
    pair: Keypair,
    logs: Vec<NoteKey>,
    /// One checkpoint is compared and kept at a time.
    turn: Mutex<()>,
    /// Held while it works: no second one signs in its name.
    _lock: Lock,
}

/// Why a witness does not start.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// It cannot sign under this name.
    #[error(
        "a witness's name is like a URL without https://, such as witness.example/w1: no blanks and no `+`; not `{0}`"
    )]
    Name(String),
    /// It has signed under another one.
    #[error(
        "this folder is that of {0}, which witnesses know by its name: go on with it, or take another folder"
    )]
    Renamed(String),
    /// Only keys of Endcap's logs are watched.
    #[error(
        "`{0}` is not the key of an organisation's log: `endcap log-key` and the console's page on the log show it"
    )]
    Log(String),
    /// Somebody works in the folder.
    #[error("another endcap witness uses this folder")]
    InUse,
    /// The folder does not read or take more.
    #[error("the folder: {0}")]
    Folder(StoreError),
}

impl<E: Into<StoreError>> From<E> for WitnessError {
    fn from(error: E) -> Self {
        Self::Folder(error.into())
    }
}

/// Why a checkpoint is not signed.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// It is not to be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What is known of the log cannot be read or kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Witness {
    /// Opens a folder, made if it is absent, of the witness with this name, which watches the logs with these keys.
    pub fn open(folder: PathBuf, name: &str, logs: Vec<NoteKey>) -> Result<Self, WitnessError> {
        if let Some(stranger) = logs.iter().find(|log| !log.is_of_log()) {
            return Err(WitnessError::Log(stranger.to_string()));
        }
        make_dir(&folder, Read::Owner).map_err(StoreError::from)?;
        // Before the key is made: of two that start at once one makes it.
        let lock = lock(&folder).map_err(|error| match error {
            StoreError::InUse => WitnessError::InUse,
            error => WitnessError::Folder(error),
        })?;
        let pair = keypair(&folder.join(KEY))?;
        let key = NoteKey::new(name, Signs::Cosignature, pair.public())
            .ok_or_else(|| WitnessError::Name(name.to_owned()))?;
        let vkey = folder.join("vkey");
        match present(fs::read_to_string(&vkey)).map_err(StoreError::from)? {
            Some(before) if before.trim_end() != key.to_string() => {
                return Err(WitnessError::Renamed(before.trim_end().to_owned()));
            }
            Some(_) => {}
            None => write(&vkey, format!("{key}\n").as_bytes(), Read::Anybody)
                .map_err(StoreError::from)?,
        }
        let witness = Self { folder, key, pair, logs, turn: Mutex::new(()), _lock: lock };
        for log in &witness.logs {
            witness.newest(log)?;
        }
        Ok(witness)
    }

    /// What it signs with.
    pub fn key(&self) -> &NoteKey {
        &self.key
    }

    /// Signs a checkpoint, if it continues the one that was signed last: the line to add to it.
    pub fn sign(&self, asked: &Submission, seconds: u64) -> Result<String, NotSigned> {
        let (log, is) = asked.of(&self.logs)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.newest(log)?;
        asked.judge(&is, newest.as_ref().map(|(checkpoint, _)| checkpoint))?;
        // Time does not go back either, whatever the clock says.
        let seconds = newest.map_or(seconds, |(_, before)| seconds.max(before));
        let line = asked.note.cosign(&self.key, &self.pair, seconds);
        let whole = asked.note.only(std::slice::from_ref(log)).with(&line, &self.key);
        let whole =
            whole.ok_or_else(|| StoreError::Failed("the signature does not verify".into()))?;
        write(&self.path(log), whole.to_string().as_bytes(), Read::Anybody)
            .map_err(StoreError::from)?;
        Ok(line)
    }

    /// What it has signed last of a log, and at which second. A file that does not read is no reason to begin anew.
    fn newest(&self, log: &NoteKey) -> Result<Option<(Checkpoint, u64)>, StoreError> {
        let path = self.path(log);
        let Some(text) = present(fs::read_to_string(&path))? else { return Ok(None) };
        let note: Option<SignedNote> = text.parse().ok();
        let read = note.and_then(|note| {
            Some((note.text().parse::<Checkpoint>().ok()?, note.signed_by(&self.key)?))
        });
        let read = read.filter(|(checkpoint, _)| checkpoint.log_name() == log.name());
        read.map(Some).ok_or_else(|| StoreError::Damaged(path.display().to_string()))
    }

    fn path(&self, log: &NoteKey) -> PathBuf {
        // The names of Endcap's logs are paths without surprises.
        self.folder.join(SEEN).join(Path::new(log.name()))
    }
}
