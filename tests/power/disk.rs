//! What is on a disk when the power fails: all that was synced, and of the rest whatever the disk liked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tests::chance::Chance;

/// Disks write sectors of this size whole or not at all.
const SECTOR: usize = 512;

/// One line of the shim's journal.
#[derive(Debug, Clone)]
pub(crate) enum Line {
    Create(u64, String),
    Open(u64, String),
    Write(u64, usize, Vec<u8>),
    Cut(u64, usize),
    Sync(u64),
    SyncDir(String),
    Rename(String, String),
    Unlink(String),
    Mkdir(String),
    /// What the program said, after it had done it.
    Mark(String),
}

/// Reads a journal.
pub(crate) fn journal(path: &Path) -> Vec<Line> {
    let bytes = std::fs::read(path).expect("the journal reads");
    let (mut lines, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((head, after)) = rest.split_first_chunk::<29>() {
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let length = u32::from_le_bytes(head[25..29].try_into().expect("4 bytes")) as usize;
        let Some((bytes, after)) = after.split_at_checked(length) else { break };
        rest = after;
        let text = || String::from_utf8(bytes.to_vec()).expect("a name in UTF-8");
        let (file, at) = (number(1), number(9) as usize);
        lines.push(match head[0] {
            1 => Line::Create(file, text()),
            2 => Line::Open(file, text()),
            3 => Line::Write(file, at, bytes.to_vec()),
            4 => Line::Cut(file, at),
            5 => Line::Sync(file),
            6 => Line::SyncDir(text()),
            7 => {
                let both = text();
                let (from, to) = both.split_once('\0').expect("two names");
                Line::Rename(from.to_owned(), to.to_owned())
            }
            8 => Line::Unlink(text()),
            9 => Line::Mkdir(text()),
            10 => Line::Mark(text()),
            kind => panic!("this test proves nothing: {kind} {}", text()),
        });
    }
    lines
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, chance: Option<&mut Chance>) {
        match self {
            Self::Cut(length) => bytes.resize(*length, 0),
            Self::Write(at, new) => {
                let end = at + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                let Some(chance) = chance else {
                    bytes[*at..end].copy_from_slice(new);
                    return;
                };
                // Torn: some of its sectors.
                let mut from = *at;
                while from < end {
                    let to = end.min((from / SECTOR + 1) * SECTOR);
                    if chance.percent(50) {
                        bytes[from..to].copy_from_slice(&new[from - at..to - at]);
                    }
                    from = to;
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Name {
    Made(String, Option<usize>),
    Gone(String),
    /// A name in another folder is safe with that folder, whether the older name ever was or not.
    Moved(String, String, Option<usize>),
}

impl Name {
    fn folder(&self) -> &str {
        let (Self::Made(path, _) | Self::Gone(path) | Self::Moved(_, path, _)) = self;
        path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    fn apply(&self, names: &mut BTreeMap<String, Option<usize>>) {
        match self {
            Self::Made(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Gone(path) => drop(names.remove(path)),
            Self::Moved(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

/// A disk with a cache that forgets.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    inodes: BTreeMap<u64, usize>,
    /// What a program sees.
    names: BTreeMap<String, Option<usize>>,
    /// What survives; a folder has no file.
    synced_names: BTreeMap<String, Option<usize>>,
    pending_names: Vec<Name>,
}

impl Disk {
    /// A disk on which everything in this folder is safe.
    pub(crate) fn of(folder: &Path) -> Self {
        let mut disk = Self::default();
        disk.read(folder, "");
        disk.names = disk.synced_names.clone();
        disk
    }

    fn read(&mut self, folder: &Path, prefix: &str) {
        for entry in std::fs::read_dir(folder).expect("the folder reads") {
            let entry = entry.expect("an entry");
            let name = format!("{prefix}{}", entry.file_name().to_str().expect("UTF-8"));
            if entry.path().is_dir() {
                self.synced_names.insert(name.clone(), None);
                self.read(&entry.path(), &format!("{name}/"));
            } else if !name.ends_with("-shm") && !name.ends_with(".marks") {
                let synced = std::fs::read(entry.path()).expect("a file reads");
                self.files.push(File { synced, pending: Vec::new() });
                self.synced_names.insert(name, Some(self.files.len() - 1));
            }
        }
    }

    fn file(&mut self, inode: u64) -> &mut File {
        &mut self.files[self.inodes[&inode]]
    }

    fn name(&mut self, name: Name) {
        name.apply(&mut self.names);
        self.pending_names.push(name);
    }

    /// The program does this.
    pub(crate) fn take(&mut self, line: &Line) {
        match line {
            Line::Create(inode, path) => {
                self.files.push(File::default());
                let file = self.files.len() - 1;
                self.inodes.insert(*inode, file);
                self.name(Name::Made(path.clone(), Some(file)));
            }
            Line::Open(inode, path) => {
                let file = self.names.get(path).copied().flatten();
                self.inodes.insert(*inode, file.unwrap_or_else(|| panic!("{path} is not there")));
            }
            Line::Write(inode, at, bytes) => {
                let change = Change::Write(*at, bytes.clone());
                self.file(*inode).pending.push(change);
            }
            Line::Cut(inode, length) => self.file(*inode).pending.push(Change::Cut(*length)),
            Line::Sync(inode) => {
                let file = self.file(*inode);
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.synced, None);
                }
            }
            Line::SyncDir(folder) => {
                let pending = std::mem::take(&mut self.pending_names);
                for name in pending {
                    match name.folder() == folder {
                        true => name.apply(&mut self.synced_names),
                        false => self.pending_names.push(name),
                    }
                }
            }
            Line::Rename(from, to) => {
                let file = self.names.get(from).copied().flatten();
                self.name(Name::Moved(from.clone(), to.clone(), file));
            }
            Line::Unlink(path) => self.name(Name::Gone(path.clone())),
            Line::Mkdir(path) => self.name(Name::Made(path.clone(), None)),
            Line::Mark(_) => {}
        }
    }

    /// The power fails now: `folder` becomes what is on the disk. Without chance nothing unsynced got there;
    /// with it, some did, in any order, and some only in part.
    pub(crate) fn fail(&self, folder: &Path, mut chance: Option<&mut Chance>) {
        let mut names = self.synced_names.clone();
        if let Some(chance) = chance.as_deref_mut() {
            for name in self.pending_names.iter().filter(|_| chance.percent(50)) {
                name.apply(&mut names);
            }
        }
        for (name, file) in names {
            let path = folder.join(&name);
            let parent = path.parent().expect("it lies in a folder");
            let Some(file) = file else {
                std::fs::create_dir_all(&path).expect("a folder is made");
                continue;
            };
            if !parent.is_dir() {
                continue; // its folder was lost
            }
            let file = &self.files[file];
            let mut bytes = file.synced.clone();
            if let Some(chance) = chance.as_deref_mut() {
                for change in &file.pending {
                    match chance.below(3) {
                        0 => {}
                        1 => change.apply(&mut bytes, None),
                        _ => change.apply(&mut bytes, Some(chance)),
                    }
                }
            }
            std::fs::write(path, bytes).expect("a file is written");
        }
    }
}

/// A folder of its own that goes when it is dropped.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    pub(crate) fn new(what: &str) -> Self {
        let path = server::scratch(&format!("power-{what}"));
        std::fs::create_dir_all(&path).expect("a folder is made");
        Self(path.canonicalize().expect("it has a real path"))
    }

    pub(crate) fn text(&self) -> String {
        self.0.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // a leftover in the temporary folder does no harm
    }
}

#[test]
fn what_is_not_synced_is_lost() {
    let mut disk = Disk::default();
    for line in [
        Line::Create(1, "a".into()),
        Line::Write(1, 0, b"hello".to_vec()),
        Line::Create(2, "b".into()),
        Line::Sync(1),
        Line::SyncDir(String::new()),
        Line::Write(1, 5, b" world".to_vec()),
        Line::Write(2, 0, b"lost".to_vec()),
        Line::Rename("b".into(), "c".into()),
    ] {
        disk.take(&line);
    }
    let folder = Folder::new("model");
    disk.fail(&folder.0, None);
    assert_eq!(std::fs::read(folder.0.join("a")).unwrap(), b"hello");
    assert_eq!(std::fs::read(folder.0.join("b")).unwrap(), b"");
    assert!(!folder.0.join("c").exists());
    disk.take(&Line::Sync(2));
    disk.take(&Line::SyncDir(String::new()));
    let folder = Folder::new("model");
    disk.fail(&folder.0, None);
    assert_eq!(std::fs::read(folder.0.join("c")).unwrap(), b"lost");
}
