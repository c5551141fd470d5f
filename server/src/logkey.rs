//! The keys that sign the checkpoints of organisations' logs: each in a file of its own, beside the database and in no
//! backup. Who has only a backup cannot sign for the log that it was of.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sync_core::evidence::Keypair;
use sync_core::id::{LogHash, OrgId};

use crate::blobs::sync_dir;
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

    /// An organisation's, made if it has none. It is on the disk before anybody hears of it.
    pub fn of(&self, org: OrgId) -> Result<Keypair, StoreError> {
        let path = self.0.join(org.to_string());
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make(&path)?,
            text => text?,
        };
        let seed: Option<LogHash> = text.trim_end().parse().ok();
        let seed = seed.ok_or_else(|| StoreError::Damaged(format!("{}", path.display())))?;
        Ok(Keypair::from_seed(&seed.0))
    }

    fn make(&self, path: &Path) -> Result<String, StoreError> {
        fs::create_dir_all(&self.0)?;
        self.0.parent().map_or(Ok(()), sync_dir)?;
        let mut seed = [0; 32];
        random(&mut seed);
        let text = format!("{}\n", LogHash(seed));
        // Whole under its name or not there.
        let half = path.with_extension("new");
        let mut file = create(&half)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&half, path)?;
        sync_dir(&self.0)?;
        Ok(text)
    }
}

/// A file that only its owner reads.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
