//! Files that are on the disk whole under their name, or not there.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

/// What was read, or `None` where there is no such file.
pub(crate) fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The folder that a file is in.
pub(crate) fn parent(path: &Path) -> &Path {
    let parent = path.parent().unwrap_or(path);
    if parent.as_os_str().is_empty() { Path::new(".") } else { parent }
}

/// The names of what a folder holds; none if it is absent.
pub(crate) fn entries(dir: &Path) -> io::Result<Vec<String>> {
    let found = present(fs::read_dir(dir))?.into_iter().flatten();
    found.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Brings to the disk which files a folder has.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Who may read a file, or enter a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// Whom the folder lets.
    Anybody,
    /// Its owner alone.
    Owner,
}

/// Makes a folder, with those that it is in, unless it is there; it is on the disk then.
pub(crate) fn make_dir(dir: &Path, read: Read) -> io::Result<()> {
    let made = dir.ancestors().take_while(|dir| !dir.is_dir()).count();
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    if read == Read::Owner {
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    }
    builder.recursive(true).create(dir)?;
    dir.ancestors().take(made).try_for_each(|dir| sync_dir(parent(dir)))
}

/// A file that nobody else has locked until this is dropped: also where a child of this process, which has just begun, has
/// what was open here open still.
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock(); // else with the last of them
    }
}

/// Locks a file, made if it is absent; `None` while somebody else has it locked.
pub(crate) fn lock(path: &Path) -> io::Result<Option<Lock>> {
    let file = File::create(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes an empty file that its owner alone reads, unless it is there.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    made(path, Read::Owner, &mut OpenOptions::new()).map(drop)
}

fn made(path: &Path, read: Read, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    if read == Read::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    }
    options.write(true).create(true).open(path)
}

/// Writes a file whole or not at all, with the folders that it is in; it is on the disk then.
pub(crate) fn write(path: &Path, bytes: &[u8], read: Read) -> io::Result<()> {
    let dir = parent(path);
    if !dir.is_dir() {
        make_dir(dir, read)?;
    }
    let half = path.with_extension("half");
    let mut file = made(&half, read, OpenOptions::new().truncate(true))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&half, path)?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_back_whoever_has_the_file_open_still() {
        let path = crate::scratch("lock");
        let held = lock(&path).unwrap().unwrap();
        assert!(lock(&path).unwrap().is_none());
        let child = held.0.try_clone().unwrap(); // as one has it between its fork and its exec
        drop(held);
        assert!(lock(&path).unwrap().is_some());
        drop(child);
        fs::remove_file(path).unwrap();
    }
}
