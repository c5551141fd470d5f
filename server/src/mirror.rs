//! `endcap mirror`: somebody's own copy of an organisation's log, such as a distributor's.
//!
//! A copy holds each life of the log in a folder of its own, in the form of <https://c2sp.org/tlog-tiles>. Everything
//! in it is checked at every run: that entries give their hashes, that hashes give the signed root, and that the log
//! still has what it had. A checkpoint is kept last, when all that it covers is on the disk; nothing is ever dropped.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use sync_core::cbor::from_cbor;
use sync_core::evidence::{Frontier, Leaf};
use sync_core::id::{LogHash, LogOrigin};
use sync_core::tlog::{
    Checkpoint, NOTE_BYTES_MAX, NoteKey, Piece, SignedNote, TILE_WIDTH, Tile, fold, leaf_hash,
    unpack_entries,
};

use crate::blobs::sync_dir;

/// The key that signs the log, as a vkey, in the copy's folder.
const KEY: &str = "key";
const CHECKPOINT: &str = "checkpoint";
const CHECKPOINT_REFUSED: &str = "checkpoint.refused";
/// Longest bundle of entries: 256 of 65,535 bytes with their lengths.
const BODY_BYTES_MAX: usize = 256 * (2 + 65_535);
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// What is copied from where.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The log's address: `https://…/log/<organisation>`.
    pub url: String,
    /// The copy's folder, made if it is absent.
    pub folder: PathBuf,
    /// The token for entries; without one only hashes are copied.
    pub token: Option<String>,
    /// The log's key; without it the first one that is seen is kept.
    pub key: Option<NoteKey>,
}

/// What a run has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Where the log stands, and the copy too.
    pub checkpoint: Checkpoint,
    /// Lines that have come.
    pub new: u64,
    /// Whether entries are here, not their hashes alone.
    pub entries: bool,
    /// The log was restored from a backup: how many lines it has kept of those that this copy had, and how many not.
    pub restored: Option<(u64, u64)>,
    /// What has been decided and confirmed in the lines that have come, in words.
    pub acts: Vec<String>,
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checkpoint { size, root, life, .. } = &self.checkpoint;
        if let Some((kept, lost)) = self.restored {
            writeln!(
                f,
                "THE SERVER WAS RESTORED FROM A BACKUP, and its log says so: it goes on as another life."
            )?;
            writeln!(
                f,
                "  The first {kept} lines are those of this copy; {lost} that it had are not in the log any more."
            )?;
            writeln!(f, "  They stay here, in the folder of the life before.")?;
        }
        writeln!(
            f,
            "The log, life {life}, has {size} lines; {} are new. Its root is {root}.",
            self.new
        )?;
        for act in &self.acts {
            writeln!(f, "  {act}")?;
        }
        match self.entries {
            true => write!(
                f,
                "Every entry, every hash and the signature were checked: nothing that was here has changed."
            ),
            false => write!(
                f,
                "Every hash and the signature were checked: nothing that was here has changed. Entries need a token."
            ),
        }
    }
}

/// Why there is no newer copy. What was here still is.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The folder does not read or take more.
    #[error("{}: {}", .0.display(), .1)]
    Folder(PathBuf, io::Error),
    /// The server cannot be reached, or refuses.
    #[error("{0}: {1}")]
    Server(String, String),
    /// A file of the copy is not what it was.
    #[error("{} in this copy is damaged: {}; remove it and run this again to fetch it anew", .0.display(), .1)]
    Rotten(PathBuf, String),
    /// The log contradicts itself, its signature, or what is here.
    #[error("THE LOG CONTRADICTS {0}. Keep this folder: it is evidence")]
    Contradiction(String),
}

fn contradicts<T>(what: impl Into<String>) -> Result<T, MirrorError> {
    Err(MirrorError::Contradiction(what.into()))
}

/// Brings a copy up to the log, and checks all of it.
pub async fn mirror(wanted: &Mirror) -> Result<Copied, MirrorError> {
    let url = wanted.url.trim_end_matches('/').to_owned();
    // Fails only if another provider is installed, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .read_timeout(SILENCE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| MirrorError::Server(url.clone(), error.to_string()))?;
    let run = Run { wanted, url, http };
    run.run().await
}

struct Run<'a> {
    wanted: &'a Mirror,
    url: String,
    http: reqwest::Client,
}

/// The lines of a copy, as they were read through.
struct Lines {
    frontier: Frontier,
    /// The root where the copy stood before.
    before: Option<LogHash>,
    /// Roots of full tiles, a level above the leaves.
    rows: Vec<Vec<LogHash>>,
    /// The leaf with which this life begins, and the root that the lines before it have.
    begins: Option<(u64, Leaf, LogHash)>,
    acts: Vec<String>,
    /// The pieces that have come.
    fetched: Vec<Piece>,
}

impl Run<'_> {
    async fn run(&self) -> Result<Copied, MirrorError> {
        let folder = &self.wanted.folder;
        fs::create_dir_all(folder).map_err(self.failed(folder))?;
        let note = self.fetch("checkpoint", NOTE_BYTES_MAX, false).await?;
        let note = String::from_utf8(note).ok().and_then(|text| text.parse().ok());
        let Some(note): Option<SignedNote> = note else {
            return contradicts("itself: its checkpoint is no signed note");
        };
        let Ok(claimed) = note.text().parse::<Checkpoint>() else {
            return contradicts("itself: its checkpoint does not read");
        };
        let pinned = self.pinned()?;
        if let (Some(given), Some(pinned)) = (&self.wanted.key, &pinned)
            && given.name() == pinned.name()
            && given != pinned
        {
            return contradicts("the key that was given: this copy is of a log with another");
        }
        let home = folder.join(claimed.life.to_string());
        let older = self.kept(&home)?;
        let done = self.copy(&note, &claimed, pinned.as_ref(), &home, older.as_ref()).await;
        if let Err(MirrorError::Contradiction(_)) = &done {
            let refused = folder.join(CHECKPOINT_REFUSED);
            write(&refused, note.to_string().as_bytes()).map_err(self.failed(&refused))?;
        }
        done
    }

    async fn copy(
        &self,
        note: &SignedNote,
        claimed: &Checkpoint,
        pinned: Option<&NoteKey>,
        home: &Path,
        older: Option<&Checkpoint>,
    ) -> Result<Copied, MirrorError> {
        let same_life = pinned.is_some_and(|key| key.name() == log_name(claimed));
        if let Some(older) = older
            && (claimed.size < older.size
                || claimed.size == older.size && claimed.root != older.root)
        {
            let (had, has) = (older.size, claimed.size);
            return contradicts(format!(
                "this copy: it had {had} lines, and says now that it has {has}, not all of them those"
            ));
        }
        if let Some(key) = pinned.filter(|_| same_life) {
            self.signed(note, key.key())?;
        }
        let lines = self.lines(home, claimed, older).await;
        let lines = match lines {
            Ok(lines) => lines,
            Err(error) => return Err(error),
        };
        if lines.frontier.root() != claimed.root {
            self.drop_new(home, &lines.fetched)?;
            return contradicts("its own checkpoint: the lines that it gives have another root");
        }
        if let Some(older) = older
            && lines.before != Some(older.root)
        {
            self.drop_new(home, &lines.fetched)?;
            return contradicts(format!(
                "this copy: its first {} lines are not those that were here",
                older.size
            ));
        }
        let mut restored = None;
        let key = match pinned {
            Some(key) if same_life => key.key(),
            Some(key) => {
                let (life, begins) = (self.life_of(key)?, lines.begins.as_ref());
                restored = Some(self.continued(life, claimed, home, begins)?);
                match begins {
                    Some((_, Leaf::Origin { key: Some(next), .. }, _)) => next.0,
                    _ => self.wanted.key.as_ref().map_or(key.key(), NoteKey::key),
                }
            }
            None => match (&self.wanted.key, &lines.begins) {
                (Some(key), _) => key.key(),
                (None, Some((_, Leaf::Origin { key: Some(key), .. }, _))) => key.0,
                (None, _) => {
                    let why = "give the log's key with --key: its lines do not name it, or there is no token to read them";
                    return Err(MirrorError::Server(self.url.clone(), why.into()));
                }
            },
        };
        self.signed(note, key)?;
        self.upper_tiles(home, &lines)?;
        let path = home.join(CHECKPOINT);
        write(&path, note.to_string().as_bytes()).map_err(self.failed(&path))?;
        let vkey = NoteKey::of_log(claimed.org, claimed.life, key);
        let path = self.wanted.folder.join(KEY);
        write(&path, format!("{vkey}\n").as_bytes()).map_err(self.failed(&path))?;
        let new = claimed.size - older.map_or(0, |older| older.size);
        let entries = self.wanted.token.is_some();
        Ok(Copied { checkpoint: claimed.clone(), new, entries, restored, acts: lines.acts })
    }

    fn signed(&self, note: &SignedNote, key: [u8; 32]) -> Result<(), MirrorError> {
        match Checkpoint::open(note, key) {
            Ok(_) => Ok(()),
            Err(_) => contradicts("its key: the checkpoint is not signed by it"),
        }
    }

    /// The key that is kept here, or that was given.
    fn pinned(&self) -> Result<Option<NoteKey>, MirrorError> {
        let path = self.wanted.folder.join(KEY);
        let kept = present(fs::read_to_string(&path)).map_err(self.failed(&path))?;
        let rotten = || MirrorError::Rotten(path.clone(), "it is no key".into());
        match kept {
            None => Ok(None),
            Some(text) => text.trim_end().parse().map(Some).map_err(|_| rotten()),
        }
    }

    fn life_of(&self, key: &NoteKey) -> Result<LogOrigin, MirrorError> {
        let life = key.name().rsplit('/').next().and_then(|life| life.parse().ok());
        life.ok_or_else(|| {
            MirrorError::Rotten(self.wanted.folder.join(KEY), "it names no life of a log".into())
        })
    }

    fn kept(&self, home: &Path) -> Result<Option<Checkpoint>, MirrorError> {
        let path = home.join(CHECKPOINT);
        let Some(text) = present(fs::read_to_string(&path)).map_err(self.failed(&path))? else {
            return Ok(None);
        };
        let rotten = |why: String| MirrorError::Rotten(path.clone(), why);
        let note: SignedNote = text.parse().map_err(|bad| rotten(format!("{bad}")))?;
        let pinned = self.pinned()?.ok_or_else(|| rotten("the key is missing".into()))?;
        let checkpoint: Checkpoint = note.text().parse().map_err(|bad| rotten(format!("{bad}")))?;
        if pinned.name() == log_name(&checkpoint) {
            Checkpoint::open(&note, pinned.key()).map_err(|bad| rotten(format!("{bad}")))?;
        }
        Ok(Some(checkpoint))
    }

    /// Reads every line through, from here or from the server.
    async fn lines(
        &self,
        home: &Path,
        claimed: &Checkpoint,
        older: Option<&Checkpoint>,
    ) -> Result<Lines, MirrorError> {
        let mut lines = Lines {
            frontier: Frontier::default(),
            before: None,
            rows: Vec::new(),
            begins: None,
            acts: Vec::new(),
            fetched: Vec::new(),
        };
        let had = older.map_or(0, |older| older.size);
        for tile in Tile::of_level(0, claimed.size) {
            let hashes = self.piece(home, claimed, Piece::Hashes(tile), had, &mut lines).await?;
            let hashes = self.hashes(home, tile, &hashes)?;
            let mut entries = None;
            if self.wanted.token.is_some() {
                let piece = Piece::Entries(tile);
                let bundle = self.piece(home, claimed, piece, had, &mut lines).await?;
                let given = unpack_entries(&bundle).unwrap_or_default();
                let given: Vec<Vec<u8>> = given.into_iter().map(<[u8]>::to_vec).collect();
                let same = given.len() == hashes.len()
                    && given.iter().zip(&hashes).all(|(entry, hash)| leaf_hash(entry) == *hash);
                if !same && lines.fetched.contains(&piece) {
                    self.drop_new(home, &lines.fetched)?;
                    return contradicts(format!("itself: {piece} is not what its hashes are of"));
                }
                if !same {
                    let why = "its entries do not give their hashes".into();
                    return Err(MirrorError::Rotten(home.join(piece.to_string()), why));
                }
                entries = Some(given);
            }
            for (place, hash) in (tile.first()..).zip(&hashes) {
                if place == had {
                    lines.before = Some(lines.frontier.root());
                }
                if let Some(entries) = &entries {
                    lines.look(claimed, place, had, &entries[(place - tile.first()) as usize]);
                }
                lines.frontier.push(*hash);
            }
            if lines.frontier.size() == had {
                lines.before = Some(lines.frontier.root());
            }
            if tile.is_full() {
                lines.rise(0, fold(hashes));
            }
        }
        Ok(lines)
    }

    fn hashes(&self, home: &Path, tile: Tile, bytes: &[u8]) -> Result<Vec<LogHash>, MirrorError> {
        if bytes.len() != 32 * usize::from(tile.width) {
            let path = home.join(Piece::Hashes(tile).to_string());
            return Err(MirrorError::Rotten(path, "it has another length".into()));
        }
        let hash = |chunk: &[u8]| LogHash(chunk.try_into().unwrap_or_default());
        Ok(bytes.chunks(32).map(hash).collect())
    }

    /// A piece, from here if it is here whole, otherwise from the server and then on the disk.
    async fn piece(
        &self,
        home: &Path,
        claimed: &Checkpoint,
        piece: Piece,
        had: u64,
        lines: &mut Lines,
    ) -> Result<Vec<u8>, MirrorError> {
        let (Piece::Hashes(tile) | Piece::Entries(tile)) = piece;
        let path = home.join(piece.to_string());
        if let Some(bytes) = present(fs::read(&path)).map_err(self.failed(&path))? {
            if matches!(piece, Piece::Hashes(_)) && bytes.len() != 32 * usize::from(tile.width) {
                return Err(MirrorError::Rotten(path, "it has another length".into()));
            }
            // What a run before has fetched and not confirmed may go again.
            if tile.first() + u64::from(tile.width) > had {
                lines.fetched.push(piece);
            }
            return Ok(bytes);
        }
        let secret = matches!(piece, Piece::Entries(_));
        let bytes =
            self.fetch(&format!("{}/{piece}", claimed.life), BODY_BYTES_MAX, secret).await?;
        if !secret && bytes.len() != 32 * usize::from(tile.width) {
            return contradicts(format!("itself: {piece} has another length than its name says"));
        }
        write(&path, &bytes).map_err(self.failed(&path))?;
        lines.fetched.push(piece);
        Ok(bytes)
    }

    async fn fetch(&self, path: &str, max: usize, secret: bool) -> Result<Vec<u8>, MirrorError> {
        let address = format!("{}/{path}", self.url);
        let failed = |why: String| MirrorError::Server(address.clone(), why);
        let mut request = self.http.get(&address);
        if let Some(token) = self.wanted.token.as_ref().filter(|_| secret) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let plain = |error: reqwest::Error| failed(error.without_url().to_string());
        let mut response = request.send().await.map_err(plain)?;
        if !response.status().is_success() {
            return Err(failed(format!("the server answers {}", response.status())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(plain)? {
            if body.len() + chunk.len() > max {
                return Err(failed("the answer is too long".into()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// How many lines of the life before the log still has, and how many not.
    fn continued(
        &self,
        before: LogOrigin,
        claimed: &Checkpoint,
        home: &Path,
        begins: Option<&(u64, Leaf, LogHash)>,
    ) -> Result<(u64, u64), MirrorError> {
        let old_home = self.wanted.folder.join(before.to_string());
        let Some(old) = self.kept(&old_home)? else {
            return contradicts(
                "this copy: it is of another life, and the copy of the one before is gone",
            );
        };
        let read = |home: &Path, size: u64| -> Result<Vec<LogHash>, MirrorError> {
            let mut all = Vec::new();
            for tile in Tile::of_level(0, size) {
                let path = home.join(Piece::Hashes(tile).to_string());
                let bytes = fs::read(&path).map_err(self.failed(&path))?;
                all.extend(self.hashes(home, tile, &bytes)?);
            }
            Ok(all)
        };
        let (had, has) = (read(&old_home, old.size)?, read(home, claimed.size)?);
        let same = had.iter().zip(&has).take_while(|(had, has)| had == has).count() as u64;
        let said = match begins {
            // Lines of the life before that came after this copy was made are no contradiction.
            Some((at, Leaf::Origin { after: Some((size, root)), .. }, over)) => {
                *at == *size && root == over && (same == *size || same == old.size)
            }
            Some(_) => false,
            None => same > 0,
        };
        match said {
            true => Ok((same, old.size - same)),
            false => contradicts(format!(
                "this copy: it says that it is restored, and does not continue the first {same} lines"
            )),
        }
    }

    /// Writes what follows from the hashes of leaves: the tiles above them.
    fn upper_tiles(&self, home: &Path, lines: &Lines) -> Result<(), MirrorError> {
        for tile in Tile::all(lines.frontier.size()).filter(|tile| tile.level > 0) {
            let first = usize::try_from(tile.first()).unwrap_or(usize::MAX);
            let row = lines.rows.get(usize::from(tile.level) - 1);
            let Some(row) = row.and_then(|row| row.get(first..first + usize::from(tile.width)))
            else {
                continue;
            };
            let bytes: Vec<u8> = row.iter().flat_map(|hash| hash.0).collect();
            let path = home.join(Piece::Hashes(tile).to_string());
            match present(fs::read(&path)).map_err(self.failed(&path))? {
                Some(there) if there == bytes => {}
                Some(_) => {
                    let why = "it is not what follows from the tiles below".into();
                    return Err(MirrorError::Rotten(path, why));
                }
                None => write(&path, &bytes).map_err(self.failed(&path))?,
            }
        }
        Ok(())
    }

    /// What has come and does not hold must not stand in the way of what comes next.
    fn drop_new(&self, home: &Path, fetched: &[Piece]) -> Result<(), MirrorError> {
        for piece in fetched {
            let path = home.join(piece.to_string());
            present(fs::remove_file(&path)).map_err(self.failed(&path))?;
        }
        Ok(())
    }

    fn failed(&self, path: &Path) -> impl Fn(io::Error) -> MirrorError {
        let path = path.to_owned();
        move |error| MirrorError::Folder(path.clone(), error)
    }
}

impl Lines {
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

    fn look(&mut self, claimed: &Checkpoint, place: u64, had: u64, entry: &[u8]) {
        let Ok(leaf) = from_cbor::<Leaf>(entry) else { return }; // of a later version
        let new = place >= had;
        match &leaf {
            Leaf::Origin { origin, .. } if *origin == claimed.life => {
                self.begins = Some((place, leaf, self.frontier.root()));
            }
            Leaf::Confirmation { device, key, by, distributor, .. } if new => self.acts.push(format!(
                "line {place}: {by} confirmed for distributor {distributor} that device {device} has the key {}",
                LogHash(key.0)
            )),
            Leaf::Decision { document, by, approved, .. } if new => self.acts.push(format!(
                "line {place}: {by} {} refused work on {document}",
                if *approved { "approved" } else { "discarded" }
            )),
            _ => {}
        }
    }
}

fn log_name(checkpoint: &Checkpoint) -> String {
    sync_core::tlog::log_name(checkpoint.org, checkpoint.life)
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whole or not at all; it is on the disk then.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    if !dir.is_dir() {
        fs::create_dir_all(dir)?;
        dir.ancestors().take(5).filter(|dir| dir.is_dir()).try_for_each(sync_dir)?;
    }
    let half = path.with_extension("half");
    let mut file = File::create(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&half, path)?;
    sync_dir(dir)
}
