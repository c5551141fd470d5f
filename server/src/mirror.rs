//! `endcap mirror`: somebody's own copy of an organisation's log, such as a distributor's.
//!
//! A copy holds each life of the log in a folder of its own, in the form of <https://c2sp.org/tlog-tiles>. Everything
//! in it is checked at every run: that entries give their hashes, that hashes give the signed root, and that the log
//! still has what it had. A checkpoint is kept last, when all that it covers is on the disk; nothing is ever dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
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

use crate::files::{Read, parent, present, write};
use crate::now_ms;

/// The key that signs the log, as a vkey, in the copy's folder.
const KEY: &str = "key";
const CHECKPOINT: &str = "checkpoint";
const WITNESSED: &str = "witnessed";
/// The folder of what contradicted: a folder for each life and size.
const REFUSED: &str = "refused";
/// Longest bundle of entries: 256 of 65,535 bytes with their lengths.
const BODY_BYTES_MAX: usize = 256 * (2 + 65_535);
/// What a witness has signed longer ago than this says nothing of now: a server asks its witnesses every hour.
const WITNESSED_S_MAX: i64 = 86_400;
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
    /// Witnesses that must have signed the log, as it is here.
    pub witnesses: Vec<NoteKey>,
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
    /// The witnesses that were asked for: which has signed how many of its lines, and when by its own clock, in seconds since
    /// 1970 UTC.
    pub witnessed: Vec<(String, u64, u64)>,
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
        for (name, size, seconds) in &self.witnessed {
            let at =
                i64::try_from(*seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
            let at = at.map_or(format!("{seconds} s after 1970"), |at| at.to_string());
            writeln!(
                f,
                "The witness {name} has signed its first {size} lines, as they are here, at {at}."
            )?;
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
    #[error(
        "THE LOG CONTRADICTS {0}. Keep this folder with what is under `refused` in it: it is evidence"
    )]
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
    /// The roots over the first so many lines, as far as they were asked for.
    roots: BTreeMap<u64, LogHash>,
    /// Roots of full tiles, a level above the leaves.
    rows: Vec<Vec<LogHash>>,
    /// The lines with which lives begin, and the root that the lines before each have.
    begins: Vec<(u64, Leaf, LogHash)>,
    acts: Vec<String>,
    /// The pieces that have come.
    fetched: Vec<Piece>,
}

impl Run<'_> {
    async fn run(&self) -> Result<Copied, MirrorError> {
        let folder = &self.wanted.folder;
        fs::create_dir_all(folder).map_err(self.failed(folder))?;
        // What witnesses have signed is older than the newest checkpoint, so it is asked for first.
        let witnessed = match self.wanted.witnesses.is_empty() {
            true => None,
            false => Some(self.checkpoint(WITNESSED).await?),
        };
        let (note, claimed) = self.checkpoint(CHECKPOINT).await?;
        let pinned = self.pinned()?;
        if let (Some(given), Some(pinned)) = (&self.wanted.key, &pinned)
            && given.name() == pinned.name()
            && given != pinned
        {
            return contradicts("the key that was given: this copy is of a log with another");
        }
        let home = folder.join(claimed.life.to_string());
        let older = self.kept(&home)?;
        let witnessed = witnessed.as_ref();
        let done =
            self.copy(&note, &claimed, pinned.as_ref(), &home, older.as_ref(), witnessed).await;
        if let Err(MirrorError::Contradiction(_)) = &done {
            for (name, note) in [(CHECKPOINT, Some(&note)), (WITNESSED, witnessed.map(|w| &w.0))] {
                let refused = self.refused(&claimed).join(name);
                let Some(text) = note.map(SignedNote::to_string) else { continue };
                write(&refused, text.as_bytes(), Read::Anybody).map_err(self.failed(&refused))?;
            }
        }
        done
    }

    /// What stands under this name, which is not yet believed.
    async fn checkpoint(&self, name: &str) -> Result<(SignedNote, Checkpoint), MirrorError> {
        let note = self.fetch(name, NOTE_BYTES_MAX, false).await?;
        let note = String::from_utf8(note).ok().and_then(|text| text.parse().ok());
        let Some(note): Option<SignedNote> = note else {
            return contradicts(format!("itself: its {name} is no signed note"));
        };
        match note.text().parse() {
            Ok(checkpoint) => Ok((note, checkpoint)),
            Err(_) => contradicts(format!("itself: its {name} does not read")),
        }
    }

    async fn copy(
        &self,
        note: &SignedNote,
        claimed: &Checkpoint,
        pinned: Option<&NoteKey>,
        home: &Path,
        older: Option<&Checkpoint>,
        witnessed: Option<&(SignedNote, Checkpoint)>,
    ) -> Result<Copied, MirrorError> {
        let same_life = pinned.is_some_and(|key| key.name() == claimed.log_name());
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
        let marks = [older.map(|is| is.size), witnessed.map(|(_, is)| is.size)];
        let lines = self.lines(home, claimed, older, &marks.map(|mark| mark.unwrap_or(0))).await?;
        if lines.frontier.root() != claimed.root {
            self.set_aside(home, claimed, &lines.fetched)?;
            return contradicts("its own checkpoint: the lines that it gives have another root");
        }
        if let Some(older) = older
            && lines.roots.get(&older.size) != Some(&older.root)
        {
            self.set_aside(home, claimed, &lines.fetched)?;
            return contradicts(format!(
                "this copy: its first {} lines are not those that were here",
                older.size
            ));
        }
        let mut restored = None;
        let key = match pinned {
            Some(key) if same_life => key.key(),
            Some(key) => {
                let life = self.life_of(key)?;
                restored = Some(self.continued(life, claimed, home, &lines.begins)?);
                match lines.key_of(claimed.life) {
                    Some(next) => next,
                    None => self.wanted.key.as_ref().map_or(key.key(), NoteKey::key),
                }
            }
            None => match (&self.wanted.key, lines.key_of(claimed.life)) {
                (Some(key), _) => key.key(),
                (None, Some(key)) => key,
                (None, None) => {
                    let why = "give the log's key with --key: its lines do not name it, or there is no token to read them";
                    return Err(MirrorError::Server(self.url.clone(), why.into()));
                }
            },
        };
        self.signed(note, key)?;
        let witnessed = match witnessed {
            None => Vec::new(),
            Some((note, seen)) => self.witnessed(note, seen, claimed, key, &lines)?,
        };
        self.upper_tiles(home, &lines)?;
        let path = home.join(CHECKPOINT);
        write(&path, note.to_string().as_bytes(), Read::Anybody).map_err(self.failed(&path))?;
        let vkey = NoteKey::of_log(claimed.org, claimed.life, key);
        let path = self.wanted.folder.join(KEY);
        write(&path, format!("{vkey}\n").as_bytes(), Read::Anybody).map_err(self.failed(&path))?;
        let new = claimed.size - older.map_or(0, |older| older.size);
        let entries = self.wanted.token.is_some();
        let checkpoint = claimed.clone();
        Ok(Copied { checkpoint, new, entries, restored, witnessed, acts: lines.acts })
    }

    fn signed(&self, note: &SignedNote, key: [u8; 32]) -> Result<(), MirrorError> {
        match Checkpoint::open(note, key) {
            Ok(_) => Ok(()),
            Err(_) => contradicts("its key: the checkpoint is not signed by it"),
        }
    }

    /// Whether the witnesses have signed the log that is here, and when.
    fn witnessed(
        &self,
        note: &SignedNote,
        seen: &Checkpoint,
        claimed: &Checkpoint,
        key: [u8; 32],
        lines: &Lines,
    ) -> Result<Vec<(String, u64, u64)>, MirrorError> {
        if seen.log_name() != claimed.log_name() {
            let why = "the log has begun another life meanwhile: run this again".to_owned();
            return Err(MirrorError::Server(self.url.clone(), why));
        }
        self.signed(note, key)?;
        let mut witnessed = Vec::new();
        for witness in &self.wanted.witnesses {
            let name = witness.name();
            let Some(seconds) = note.signed_by(witness) else {
                let why =
                    format!("{name} has not signed what the log shows as signed by witnesses");
                return Err(MirrorError::Server(self.url.clone(), why));
            };
            let age_s = (now_ms() / 1_000).saturating_sub_unsigned(seconds);
            if age_s > WITNESSED_S_MAX {
                let hours = age_s / 3_600;
                let why = format!(
                    "{name} has signed nothing for {hours} hours: what came since is shown to you alone"
                );
                return Err(MirrorError::Server(self.url.clone(), why));
            }
            if lines.roots.get(&seen.size) != Some(&seen.root) {
                return contradicts(format!(
                    "what {name} has signed: its first {} lines are others than those here",
                    seen.size
                ));
            }
            witnessed.push((name.to_owned(), seen.size, seconds));
        }
        Ok(witnessed)
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
        if pinned.name() == checkpoint.log_name() {
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
        marks: &[u64],
    ) -> Result<Lines, MirrorError> {
        let mut lines = Lines {
            frontier: Frontier::default(),
            roots: BTreeMap::new(),
            rows: Vec::new(),
            begins: Vec::new(),
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
                    self.set_aside(home, claimed, &lines.fetched)?;
                    return contradicts(format!("itself: {piece} is not what its hashes are of"));
                }
                if !same {
                    let why = "its entries do not give their hashes".into();
                    return Err(MirrorError::Rotten(home.join(piece.to_string()), why));
                }
                entries = Some(given);
            }
            for (place, hash) in (tile.first()..).zip(&hashes) {
                if marks.contains(&place) {
                    lines.roots.insert(place, lines.frontier.root());
                }
                if let Some(entries) = &entries {
                    lines.look(place, had, &entries[(place - tile.first()) as usize]);
                }
                lines.frontier.push(*hash);
            }
            if tile.is_full() {
                lines.rise(0, fold(hashes));
            }
        }
        lines.roots.insert(lines.frontier.size(), lines.frontier.root());
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
        write(&path, &bytes, Read::Anybody).map_err(self.failed(&path))?;
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

    /// How many lines of the life before the log still has, and how many not. Where it left them, and at each life that
    /// has begun since, a line says so.
    fn continued(
        &self,
        before: LogOrigin,
        claimed: &Checkpoint,
        home: &Path,
        begins: &[(u64, Leaf, LogHash)],
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
        let continues = |(at, leaf, over): &(u64, Leaf, LogHash)| match leaf {
            Leaf::Origin { after, .. } => match after {
                Some((size, root)) => size == at && root == over,
                None => *at == 0,
            },
            _ => false,
        };
        let newest = matches!(begins.last(), Some((_, Leaf::Origin { origin, .. }, _)) if *origin == claimed.life);
        let said = match self.wanted.token {
            None => same > 0, // its lines cannot be read
            // Lines of the life before that came after this copy was made are no contradiction.
            Some(_) => {
                let left = same == old.size || begins.iter().any(|(at, ..)| *at == same);
                newest && left && begins.iter().all(continues)
            }
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
                None => write(&path, &bytes, Read::Anybody).map_err(self.failed(&path))?,
            }
        }
        Ok(())
    }

    /// Where what contradicted is kept.
    fn refused(&self, claimed: &Checkpoint) -> PathBuf {
        self.wanted.folder.join(REFUSED).join(format!("{}.{}", claimed.life, claimed.size))
    }

    /// What has come and does not hold is evidence, and must not stand in the way of what comes next.
    fn set_aside(
        &self,
        home: &Path,
        claimed: &Checkpoint,
        fetched: &[Piece],
    ) -> Result<(), MirrorError> {
        for piece in fetched {
            let from = home.join(piece.to_string());
            let to = self.refused(claimed).join(piece.to_string());
            fs::create_dir_all(parent(&to)).map_err(self.failed(&to))?;
            present(fs::rename(&from, &to)).map_err(self.failed(&from))?;
        }
        Ok(())
    }

    fn failed(&self, path: &Path) -> impl Fn(io::Error) -> MirrorError {
        let path = path.to_owned();
        move |error| MirrorError::Folder(path.clone(), error)
    }
}

impl Lines {
    /// The key that a life's first line names.
    fn key_of(&self, life: LogOrigin) -> Option<[u8; 32]> {
        self.begins.iter().find_map(|(_, leaf, _)| match leaf {
            Leaf::Origin { origin, key, .. } if *origin == life => Some(key.0),
            _ => None,
        })
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

    fn look(&mut self, place: u64, had: u64, entry: &[u8]) {
        let Ok(leaf) = from_cbor::<Leaf>(entry) else { return }; // of a later version
        let new = place >= had;
        match &leaf {
            Leaf::Origin { .. } => self.begins.push((place, leaf, self.frontier.root())),
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
