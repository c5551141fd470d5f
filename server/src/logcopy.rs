//! A copy of an organisation's log on the disk, checked without its server.
//!
//! `key` names the keys that have signed the log, a vkey for each life of it, the newest last. Each life has a folder of
//! its own in the form of <https://c2sp.org/tlog-tiles>, with the newest checkpoint that all of it has been found to
//! give. That one is signed: so a copy that has rotted is told from a log that was rewritten, and which file it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sync_core::cbor::from_cbor;
use sync_core::document::{Change, Parts};
use sync_core::evidence::{Frontier, Leaf};
use sync_core::id::{BlobHash, DeviceId, DocId, LogHash, LogOrigin};
use sync_core::model::catalogue::{RecordKey, RecordKind};
use sync_core::proof::{self, Proof, Proved};
use sync_core::tlog::{
    Checkpoint, Hashes, NoteKey, Piece, SignedNote, TILE_WIDTH, Tile, Tree, fold, leaf_hash,
    unpack_entries,
};
use sync_core::zip;

use crate::files::{self, Read, present, write};

/// The keys that have signed the log, as vkeys.
const KEY: &str = "key";
/// The folder of what contradicted: a folder for each life and size.
pub(crate) const REFUSED: &str = "refused";
/// Locked by whoever works in the folder.
const LOCK: &str = "lock";
/// The newest checkpoint of a life.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Most lines that are named.
const LINES_SHOWN_MAX: usize = 20;

/// Why a copy does not say what the log is.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The folder does not read or take more.
    #[error("{}: {}", .0.display(), .1)]
    Folder(PathBuf, io::Error),
    /// There is no copy there.
    #[error("{} is no copy of a log", .0.display())]
    NoCopy(PathBuf),
    /// Something else is where the copy is to be.
    #[error(
        "{} holds `{}`, which is of no copy of a log: choose an empty folder, or one with a copy",
        .0.display(), .1
    )]
    Occupied(PathBuf, String),
    /// Somebody works in the folder.
    #[error("another `endcap mirror` is at work in {}: run this again when it has ended", .0.display())]
    InUse(PathBuf),
    /// The checkpoint of a life whose key is kept is not there. A run that broke off leaves the same as who takes it away.
    #[error(
        "DAMAGED in this copy, or not finished: {} is not there. A run of `endcap mirror` broke off, or the file was taken \
         away: run `endcap mirror` again", .0.display()
    )]
    NoCheckpoint(PathBuf),
    /// The file with the keys is gone, or is not what it was.
    #[error(
        "{} in this copy is damaged or gone; move it elsewhere, and run `endcap mirror` again with --key", .0.display()
    )]
    Key(PathBuf),
    /// Files are not what they were when the checkpoint was kept.
    #[error(
        "DAMAGED in this copy: {}. Move it elsewhere, and run `endcap mirror` again to fetch it anew", listed(.0)
    )]
    Rotten(Vec<PathBuf>),
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CopyError {
    let path = path.to_owned();
    move |error| CopyError::Folder(path.clone(), error)
}

/// The folder of a copy.
#[derive(Debug, Clone)]
pub struct LogCopy {
    folder: PathBuf,
}

/// A line as it is read.
pub(crate) struct Line<'a> {
    pub(crate) place: u64,
    pub(crate) hash: &'a LogHash,
    /// If it is here, and is what the hash is of.
    pub(crate) entry: Option<&'a [u8]>,
    /// All that comes before it.
    pub(crate) before: &'a Frontier,
}

/// The lines of a life, as they were read through.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) frontier: Frontier,
    /// The roots over the first so many lines, as far as they were asked for.
    pub(crate) roots: BTreeMap<u64, LogHash>,
    /// Of how many of the first lines the entries are here too.
    pub(crate) entries: u64,
    /// Pieces that are not what the hashes of the leaves say.
    pub(crate) unlike: Vec<Piece>,
    /// Roots of full tiles, a level above the leaves.
    rows: Vec<Vec<LogHash>>,
}

impl LogCopy {
    /// The copy in this folder, which need not be there.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Whether the folder is absent, empty, or holds a copy and nothing else.
    pub(crate) fn fits(&self) -> Result<(), CopyError> {
        let found = files::entries(&self.folder).map_err(failed(&self.folder))?;
        let own = |name: &str| {
            name.trim_end_matches(".half") == KEY
                || [REFUSED, LOCK].contains(&name)
                || name.parse::<LogOrigin>().is_ok()
        };
        match found.into_iter().find(|name| !own(name)) {
            Some(strange) => Err(CopyError::Occupied(self.folder.clone(), strange)),
            None => Ok(()),
        }
    }

    /// Keeps others from working in the folder until what is returned is dropped. Who only reads may do so meanwhile.
    pub(crate) fn lock(&self) -> Result<files::Lock, CopyError> {
        let path = self.folder.join(LOCK);
        let lock = files::lock(&path).map_err(failed(&path))?;
        lock.ok_or_else(|| CopyError::InUse(self.folder.clone()))
    }

    /// Where a life is kept.
    pub(crate) fn home(&self, life: LogOrigin) -> PathBuf {
        self.folder.join(life.to_string())
    }

    /// The key of each life that is here, the newest last.
    pub fn keys(&self) -> Result<Vec<(LogOrigin, NoteKey)>, CopyError> {
        let path = self.folder.join(KEY);
        let bytes = present(fs::read(&path)).map_err(failed(&path))?.unwrap_or_default();
        let read = |line: &str| {
            let key: NoteKey = line.parse().ok().filter(NoteKey::is_of_log)?;
            let life = key.name().rsplit('/').next()?.parse().ok()?;
            Some((life, key))
        };
        let text = std::str::from_utf8(&bytes).ok();
        let keys = text.and_then(|text| text.lines().map(read).collect());
        keys.ok_or(CopyError::Key(path))
    }

    /// Keeps the key of a life, which is the newest.
    pub(crate) fn keep_key(&self, key: &NoteKey) -> Result<(), CopyError> {
        let mut keys: Vec<NoteKey> = self.keys()?.into_iter().map(|(_, key)| key).collect();
        keys.retain(|kept| kept.name() != key.name());
        keys.push(key.clone());
        let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        let path = self.folder.join(KEY);
        write(&path, text.as_bytes(), Read::Anybody).map_err(failed(&path))
    }

    /// The checkpoint of a life up to which it is here, signed by its key.
    pub(crate) fn kept(
        &self,
        life: LogOrigin,
        key: Option<&NoteKey>,
    ) -> Result<Option<Checkpoint>, CopyError> {
        let path = self.home(life).join(CHECKPOINT);
        let Some(bytes) = present(fs::read(&path)).map_err(failed(&path))? else {
            return Ok(None);
        };
        let key = key.ok_or_else(|| CopyError::Key(self.folder.join(KEY)))?;
        let note = String::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        let opened = note.and_then(|note: SignedNote| Checkpoint::open(&note, key.key()).ok());
        match opened.filter(|checkpoint| checkpoint.life == life) {
            Some(checkpoint) => Ok(Some(checkpoint)),
            None => Err(CopyError::Rotten(vec![path])),
        }
    }

    /// Checks all that is here of a life, up to the checkpoint that is kept.
    pub(crate) fn check(
        &self,
        life: LogOrigin,
        key: &NoteKey,
        marks: &[u64],
        look: &mut dyn FnMut(Line<'_>),
    ) -> Result<(Checkpoint, Lines), CopyError> {
        let home = self.home(life);
        let Some(checkpoint) = self.kept(life, Some(key))? else {
            return Err(CopyError::NoCheckpoint(home.join(CHECKPOINT)));
        };
        let lines = Lines::read(&home, checkpoint.size, marks, look)?;
        if lines.frontier.root() != checkpoint.root {
            return Err(CopyError::Rotten(lines.suspects(&home, &checkpoint)));
        }
        if !lines.unlike.is_empty() {
            let unlike = lines.unlike.iter().map(|piece| home.join(piece.to_string()));
            return Err(CopyError::Rotten(unlike.collect()));
        }
        Ok((checkpoint, lines))
    }

    /// Checks all of it, without a server. `given` is the log's key, if its reader has one.
    pub fn verify(&self, given: Option<&NoteKey>) -> Result<Vec<Kept>, Differs> {
        let keys = self.keys()?;
        if keys.is_empty() {
            return Err(CopyError::NoCopy(self.folder.clone()).into());
        }
        if let Some(given) = given
            && keys.iter().all(|(_, key)| key != given)
        {
            return Err(Differs::Key(keys.into_iter().map(|(_, key)| key).collect()));
        }
        let check = |(life, key)| {
            let (checkpoint, lines) = self.check(life, &key, &[], &mut |_| ())?;
            Ok(Kept { checkpoint, key, entries: lines.entries })
        };
        keys.into_iter().map(check).collect()
    }

    /// Compares a proof bundle that holds with the log as it is here: whether it is of this log, whether it has all that
    /// the log has of its visit, and what else the log says that bears on it.
    pub fn compare(&self, bundle: &[u8], proved: &Proved) -> Result<Compared, Differs> {
        let Checkpoint { size, root, life, .. } = &proved.checkpoint;
        let files = zip::read(bundle).map_err(Differs::Bundle)?;
        let proof = files.get(2).and_then(|(_, bytes)| from_cbor::<Proof>(bytes).ok());
        let proof = proof.ok_or_else(|| Differs::Bundle("it holds no proof".into()))?;
        let visit = DocId::from(proof.visit);
        let told: BTreeMap<u64, LogHash> =
            proof.lines.iter().map(|line| (line.sequence, leaf_hash(&line.leaf.0))).collect();
        let shown: BTreeSet<u64> =
            proof.lines.iter().filter(|line| shows(line)).map(|line| line.sequence).collect();
        let about = About::of(&proof);

        let keys = self.keys()?;
        if keys.is_empty() {
            return Err(CopyError::NoCopy(self.folder.clone()).into());
        }
        let same: Vec<_> = keys.iter().filter(|(kept, _)| kept == life).cloned().collect();
        let is_same = !same.is_empty();
        if let Some((_, key)) = same.iter().find(|(_, key)| *key != proved.key) {
            return Err(Differs::Key(vec![key.clone()]));
        }
        // Lines of a life that is not here are in those that continue it, unless they were lost in a restore.
        for (life, key) in if is_same { same } else { keys.into_iter().rev().collect() } {
            let (mut changes, mut otherwise) = (BTreeSet::new(), None);
            let (mut silent, mut beside) = (Vec::new(), Vec::new());
            let mut look = |line: Line<'_>| {
                if told.get(&line.place).is_some_and(|hash| hash != line.hash) {
                    otherwise.get_or_insert(line.place);
                }
                let leaf = line.entry.and_then(|entry| from_cbor::<Leaf>(entry).ok());
                if matches!(leaf, Some(Leaf::Change { document, .. }) if document == visit) {
                    changes.insert(line.place);
                }
                let says = leaf.filter(|_| !shown.contains(&line.place));
                match says.and_then(|leaf| about.says(&leaf)) {
                    Some((says, true)) if line.place < *size => silent.push((line.place, says)),
                    Some((says, _)) => beside.push((line.place, says)),
                    None => {}
                }
            };
            let (checkpoint, lines) = self.check(life, &key, &[*size], &mut look)?;
            let rewritten = match lines.roots.get(size) {
                Some(here) => here != root,
                None => !is_same || otherwise.is_some(),
            };
            if rewritten && !is_same {
                continue;
            }
            if rewritten {
                return Err(Differs::Log { line: otherwise, bundle: *size, copy: checkpoint.size });
            }
            let later = changes.split_off(size);
            changes.retain(|place| !shown.contains(place));
            if !changes.is_empty() {
                return Err(Differs::Cut(changes.into_iter().collect()));
            }
            if !silent.is_empty() {
                return Err(Differs::Silent(silent));
            }
            return Ok(Compared {
                bundle: *size,
                copy: checkpoint.size,
                entries: lines.entries,
                later: later.len(),
                beside,
            });
        }
        Err(Differs::Life(*life))
    }
}

/// Whether a bundle tells what a line says: the leaf of a change or a record is no more than a hash of that.
fn shows(line: &proof::Line) -> bool {
    let leaf = from_cbor(&line.leaf.0);
    line.body.is_some() || !matches!(leaf, Ok(Leaf::Change { .. } | Leaf::Record { .. }))
}

/// What a line must be about to bear on a bundle that does not show it.
struct About {
    visit: DocId,
    devices: BTreeSet<DeviceId>,
    /// What would say that something it names was erased, each with what that is called.
    erased: BTreeMap<[u8; 16], String>,
}

impl About {
    fn of(proof: &Proof) -> Self {
        let visit = DocId::from(proof.visit);
        let mut about = Self { visit, devices: BTreeSet::new(), erased: BTreeMap::new() };
        for line in &proof.lines {
            let (Ok(Leaf::Change { device, .. }), Some(body)) =
                (from_cbor(&line.leaf.0), &line.body)
            else {
                continue;
            };
            about.devices.insert(device);
            let parts = from_cbor::<Parts>(&body.0).ok();
            let change = parts.and_then(|parts| Change::new(visit.kind, parts).ok());
            let Some(entry) = change.and_then(|change| change.entry().ok()) else { continue };
            let mut erased = |what: &str, digest: BlobHash| {
                about.erased.insert(RecordKey::erased(digest).id, format!("the {what} {digest}"));
            };
            entry.photos().iter().for_each(|photo| erased("photo", photo.hash));
            entry.notes().into_iter().for_each(|note| erased("words with the digest", note));
            let person = format!("the name of person {}", entry.by());
            about.erased.insert(RecordKey::erased_person(entry.by()).id, person);
        }
        about
    }

    /// What a line says about it, and whether a bundle that was made later has it always.
    fn says(&self, leaf: &Leaf) -> Option<(String, bool)> {
        match leaf {
            Leaf::Record { kind, id, .. } => {
                let erased = self.erased.get(id);
                if let Some(what) = erased.filter(|_| *kind == RecordKind::Erased as u8) {
                    return Some((format!("{what} was erased on request"), true));
                }
                let key = RecordKey { kind: *kind, id: *id };
                let device =
                    self.devices.iter().find(|device| RecordKey::device(**device) == key)?;
                let says = "as when access is withdrawn; a copy has not got its words";
                Some((format!("another record of device {device}, {says}"), true))
            }
            Leaf::Origin { .. } => {
                let says = "it bounds what devices say to have known";
                Some((format!("a life of the log begins here, and {says}"), true))
            }
            Leaf::Decision { document, device, by, approved, .. } if *document == self.visit => {
                let what = if *approved { "approved" } else { "discarded" };
                Some((format!("person {by} {what} refused work of device {device}"), true))
            }
            Leaf::Confirmation { device, by, .. } if self.devices.contains(device) => {
                Some((format!("person {by} confirmed the key of device {device}"), false))
            }
            _ => None,
        }
    }
}

impl Lines {
    /// Reads through the first so many lines of a life.
    pub(crate) fn read(
        home: &Path,
        size: u64,
        marks: &[u64],
        look: &mut dyn FnMut(Line<'_>),
    ) -> Result<Self, CopyError> {
        let mut lines = Self::default();
        for tile in Tile::of_level(0, size) {
            let hashes = hashes(home, tile)?;
            let bundle = entries(home, tile)?;
            let given = bundle.as_ref().and_then(|(_, bytes)| unpack_entries(bytes));
            let mut given = given.unwrap_or_default();
            if let Some((piece @ Piece::Entries(held), _)) = &bundle {
                let same = given.len() == usize::from(held.width)
                    && given.iter().zip(&hashes).all(|(entry, hash)| leaf_hash(entry) == *hash);
                if !same {
                    lines.unlike.push(*piece);
                    given.clear();
                }
            }
            if lines.entries == tile.first() {
                lines.entries += given.len() as u64;
            }
            let mut given = given.into_iter();
            for (place, hash) in (tile.first()..).zip(&hashes) {
                if marks.contains(&place) {
                    lines.roots.insert(place, lines.frontier.root());
                }
                look(Line { place, hash, entry: given.next(), before: &lines.frontier });
                lines.frontier.push(*hash);
            }
            if tile.is_full() {
                lines.rise(0, fold(hashes));
            }
        }
        lines.roots.insert(size, lines.frontier.root());
        for tile in Tile::all(size).filter(|tile| tile.level > 0) {
            let first = usize::try_from(tile.first()).unwrap_or(usize::MAX);
            let row = &lines.rows[usize::from(tile.level) - 1];
            let follows = &row[first..first + usize::from(tile.width)];
            let piece = Piece::Hashes(tile);
            let path = home.join(piece.to_string());
            let there = present(fs::read(&path)).map_err(failed(&path))?;
            if there.is_some_and(|there| there != bytes_of(follows)) {
                lines.unlike.push(piece);
            }
        }
        Ok(lines)
    }

    fn rise(&mut self, level: usize, hash: LogHash) {
        if self.rows.len() == level {
            self.rows.push(Vec::new());
        }
        self.rows[level].push(hash);
        let row = &self.rows[level];
        if row.len().is_multiple_of(TILE_WIDTH as usize) {
            let above = fold(row[row.len() - TILE_WIDTH as usize..].to_vec());
            self.rise(level + 1, above);
        }
    }

    /// Which hashes of leaves cannot be right, when all together have another root than the checkpoint. All that are wrong
    /// are among them, and no other if that is one file.
    fn suspects(&self, home: &Path, checkpoint: &Checkpoint) -> Vec<PathBuf> {
        let mut suspects = Vec::new();
        for above in Tile::of_level(1, checkpoint.size) {
            let Ok(kept) = hashes(home, above) else { continue };
            let follows = self.rows.first().map_or(&[][..], Vec::as_slice);
            for (index, hash) in (above.first()..).zip(kept) {
                if usize::try_from(index).ok().and_then(|i| follows.get(i)) != Some(&hash) {
                    suspects.push(Tile { level: 0, index, width: TILE_WIDTH as u16 });
                }
            }
        }
        // A tile that is not full is in none above it.
        let last = Tile::of_level(0, checkpoint.size).last().filter(|tile| !tile.is_full());
        let above = Tree::new(&mut OnDisk(home), checkpoint.size).root();
        if suspects.is_empty() || above.ok() != Some(checkpoint.root) {
            suspects.extend(last);
        }
        if suspects.is_empty() {
            return vec![home.join("tile")];
        }
        suspects.iter().map(|tile| home.join(Piece::Hashes(*tile).to_string())).collect()
    }
}

/// The tree as the tiles of all levels have it.
struct OnDisk<'a>(&'a Path);

impl Hashes for OnDisk<'_> {
    type Error = CopyError;

    fn hashes(&mut self, tile: Tile, first: u64, count: u64) -> Result<Vec<LogHash>, CopyError> {
        let row = hashes(self.0, tile)?.into_iter();
        let skip = usize::try_from(first - tile.first()).unwrap_or(usize::MAX);
        Ok(row.skip(skip).take(usize::try_from(count).unwrap_or(usize::MAX)).collect())
    }
}

fn bytes_of(hashes: &[LogHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile, which must be here.
pub(crate) fn hashes(home: &Path, tile: Tile) -> Result<Vec<LogHash>, CopyError> {
    let path = home.join(Piece::Hashes(tile).to_string());
    let bytes = present(fs::read(&path)).map_err(failed(&path))?.unwrap_or_default();
    if bytes.len() != 32 * usize::from(tile.width) {
        return Err(CopyError::Rotten(vec![path]));
    }
    let hash = |chunk: &[u8]| LogHash(chunk.try_into().unwrap_or_default());
    Ok(bytes.chunks(32).map(hash).collect())
}

/// The entries of a tile as far as they are here: who has no token any more has fewer than hashes.
fn entries(home: &Path, tile: Tile) -> Result<Option<(Piece, Vec<u8>)>, CopyError> {
    for width in (1..=tile.width).rev() {
        let piece = Piece::Entries(Tile { width, ..tile });
        let path = home.join(piece.to_string());
        if let Some(bytes) = present(fs::read(&path)).map_err(failed(&path))? {
            return Ok(Some((piece, bytes)));
        }
    }
    Ok(None)
}

/// A life of the log that is here whole, as it was when its checkpoint was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Up to where.
    pub checkpoint: Checkpoint,
    /// What has signed that.
    pub key: NoteKey,
    /// Of how many of the first lines the entries are here too.
    pub entries: u64,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checkpoint { size, root, life, .. } = &self.checkpoint;
        writeln!(f, "The copy has {size} lines of life {life} of the log, whose root is {root}.")?;
        let entries = match self.entries {
            0 => "no entries, only hashes".to_owned(),
            entries if entries == *size => "every entry".to_owned(),
            entries => format!("the entries of the first {entries} lines"),
        };
        writeln!(f, "Checked: {entries}, every hash, and the signature of {}", self.key)
    }
}

/// What a copy says of a bundle that is of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Over how many lines the bundle's checkpoint is.
    pub bundle: u64,
    /// Over how many the copy's is.
    pub copy: u64,
    /// Of how many of the first lines the copy has the entries.
    pub entries: u64,
    /// Changes of the visit that the copy has from later than the bundle.
    pub later: usize,
    /// Other lines that bear on it and are not in the bundle, with what they say.
    pub beside: Vec<(u64, String)>,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bundle, copy, entries, later, beside } = self;
        if bundle <= copy {
            writeln!(f, "The copy has the {bundle} lines that the bundle's checkpoint is of.")?;
        } else {
            writeln!(
                f,
                "THE COPY IS OLDER THAN THE BUNDLE: it has the first {copy} of {bundle} lines. Those that the bundle shows of \
                 them are the same; of the others, and of what came between, it says nothing."
            )?;
        }
        let known = *entries.min(bundle.min(copy));
        match known {
            0 => writeln!(
                f,
                "It has no entries: whether the bundle lacks a change of the visit cannot be told."
            )?,
            known => writeln!(
                f,
                "The bundle has every change of the visit that is among the first {known} lines."
            )?,
        }
        if known > 0 && known < *bundle {
            writeln!(
                f,
                "Whether it has those that came after, up to line {bundle}, cannot be told."
            )?;
        }
        match later {
            _ if entries <= bundle => {}
            0 => writeln!(f, "No change of it came after, up to line {entries}.")?,
            1 => writeln!(
                f,
                "1 change of it came after, up to line {entries}: it is not in the bundle."
            )?,
            later => writeln!(
                f,
                "{later} changes of it came after, up to line {entries}: they are not in the bundle."
            )?,
        }
        match beside.is_empty() {
            true if *entries > 0 => writeln!(
                f,
                "Nothing else up to line {entries} says that what it names was erased, or bears on its devices or on \
                 refused work for it."
            ),
            true => Ok(()),
            false => writeln!(f, "The copy also has what the bundle lacks:{}", said(beside)),
        }
    }
}

/// Why a bundle, or a key, does not go with a copy.
#[derive(Debug, thiserror::Error)]
pub enum Differs {
    /// The copy does not say what the log is.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The bundle does not read.
    #[error("the bundle: {0}")]
    Bundle(String),
    /// Another key has signed the copy.
    #[error("the copy is of a log that is signed by {}", .0.iter().map(NoteKey::to_string).collect::<Vec<_>>().join(", "))]
    Key(Vec<NoteKey>),
    /// The copy has nothing of the life of the log that the bundle is of.
    #[error(
        "the copy has nothing of life {0} of the log, and no life that continues it as the bundle has it: nothing can be told"
    )]
    Life(LogOrigin),
    /// The bundle is of a log that says otherwise.
    #[error(
        "THE LOG CONTRADICTS ITSELF: {}. The log's key has signed both, over {bundle} lines and over {copy}: keep both, they are evidence",
        .line.map_or("the bundle is of other lines than this copy".into(), |line| format!("line {line} of the bundle is another in this copy"))
    )]
    Log {
        /// A line of the bundle that is another here.
        line: Option<u64>,
        /// Lines that the bundle's checkpoint is of.
        bundle: u64,
        /// Lines that the copy's is of.
        copy: u64,
    },
    /// The bundle lacks changes of its visit.
    #[error(
        "THE BUNDLE IS NOT ALL OF THE VISIT: the log has changes of it in {}, which the bundle lacks although the log's key has \
         signed it as whole. Keep both, they are evidence",
        numbered(.0)
    )]
    Cut(Vec<u64>),
    /// The bundle lacks what the log said before about what it names, or about its devices.
    #[error(
        "THE BUNDLE IS SILENT ON WHAT THE LOG SAID BEFORE, although the log's key has signed it as whole:{}\nKeep both, they are \
         evidence",
        said(.0)
    )]
    Silent(Vec<(u64, String)>),
}

fn said(lines: &[(u64, String)]) -> String {
    let shown = lines.iter().take(LINES_SHOWN_MAX);
    let mut text: String = shown.map(|(line, says)| format!("\n  line {line}: {says}")).collect();
    if let Some(more @ 1..) = lines.len().checked_sub(LINES_SHOWN_MAX) {
        text.push_str(&format!("\n  and {more} more lines"));
    }
    text
}

fn numbered(lines: &[u64]) -> String {
    let shown: Vec<String> = lines.iter().take(LINES_SHOWN_MAX).map(u64::to_string).collect();
    let more = match lines.len().saturating_sub(LINES_SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("line{} {}{more}", if lines.len() == 1 { "" } else { "s" }, shown.join(", "))
}
