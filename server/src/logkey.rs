//! The keys that sign the checkpoints of organisations' logs: each in a file of its own, beside the database and in no
//! backup. Who has only a backup cannot sign for the log that it was of.

use std::fs;
use std::path::{Path, PathBuf};

use sync_core::evidence::Keypair;
use sync_core::id::{LogHash, OrgId};

use crate::files::{Read, present, write};
use crate::random;
use crate::store::StoreError;

/// The folder in a data folder that they lie in.
pub const LOG_KEYS: &str = "log-keys";

/// The log keys of a data folder.
pub struct LogKeys(PathBuf);

impl LogKeys {
    /// Those of this data folder.
    pub fn at(data: &Path) -> Self {
        Self(data.join(LOG_KEYS))
    }

    /// An organisation's, if it has one.
    pub fn kept(&self, org: OrgId) -> Result<Option<Keypair>, StoreError> {
        let path = self.0.join(org.to_string());
        present(fs::read_to_string(&path))?.map(|text| read(&path, &text)).transpose()
    }

    /// An organisation's, made if it has none. It is on the disk before anybody hears of it.
    pub fn of(&self, org: OrgId) -> Result<Keypair, StoreError> {
        keypair(&self.0.join(org.to_string()))
    }
}

/// The key in a file, made if there is none. It is on the disk before anybody hears of it.
pub fn keypair(path: &Path) -> Result<Keypair, StoreError> {
    let text = match present(fs::read_to_string(path))? {
        Some(text) => text,
        None => make(path)?,
    };
    read(path, &text)
}

fn read(path: &Path, text: &str) -> Result<Keypair, StoreError> {
    let seed: Option<LogHash> = text.trim_end().parse().ok();
    let seed = seed.ok_or_else(|| StoreError::Damaged(format!("{}", path.display())))?;
    Ok(Keypair::from_seed(&seed.0))
}

fn make(path: &Path) -> Result<String, StoreError> {
    let text = format!("{}\n", LogHash(random()));
    write(path, text.as_bytes(), Read::Owner)?;
    Ok(text)
}
