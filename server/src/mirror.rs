//! `endcap mirror`: somebody's own copy of an organisation's log, such as a distributor's, brought up to date.
//!
//! All of the newest life is checked at every run: that entries give their hashes, that hashes give the signed root, and
//! that the log still has what it had. A checkpoint is kept last, when all that it covers is on the disk. What does not
//! fit is the log's fault only if the copy still gives the checkpoint that it has kept ([`LogCopy`]).

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use sync_core::cbor::from_cbor;
use sync_core::evidence::{Leaf, fingerprint_text};
use sync_core::id::{LogHash, LogOrigin};
use sync_core::tlog::{
    Checkpoint, NOTE_BYTES_MAX, NoteKey, Piece, SignedNote, Tile, log_name, unpack_entries,
};

use crate::files::{Read, parent, present, write};
use crate::logcopy::{CHECKPOINT, CopyError, Line, Lines, LogCopy, REFUSED, hashes};
use crate::network;
use crate::now_ms;
use crate::store::witnesses::SAYS_NOW_S;

const WITNESSED: &str = "witnessed";
const HASH_BYTES: usize = 32;
/// Longest entry, with its length before it.
const ENTRY_BYTES_MAX: usize = 2 + 65_535;
const NO_LOG: &str = ". There is no log at this address: it has the form https://…/log/ORGANISATION, and stands in \
    the console under \"The log\"";
const NOT_WITNESSED: &str =
    ". No witness has signed this log yet, or there is no log at this address";
const NO_TOKEN: &str = ". The token is not good, or not any more: a restore of the server ends all of them. The console gives \
    out another under \"The log\"";
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Half of 64 kbit/s: what comes more slowly than this is not waited for.
const SLOWEST_BYTES_S: usize = 4_000;
/// How much of what came is shown where it is not what was asked for.
const SHOWN_CHARS: usize = 40;

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
            let said = match self.entries {
                true => {
                    "THE SERVER WAS RESTORED FROM A BACKUP, and its log says so: it goes on as another life."
                }
                false => {
                    "THE LOG GOES ON AS ANOTHER LIFE, as after a restore from a backup. Whether it says so is not known: its \
                     lines are read with a token."
                }
            };
            writeln!(f, "{said}")?;
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
    /// The copy itself is not what it was, or its folder does not read or take more.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The server cannot be reached, or refuses.
    #[error("{0}: {1}")]
    Server(String, String),
    /// The log at the address is not the one that was copied here.
    #[error(
        "this copy is of another organisation's log, {0}: copy the log at this address into a folder of its own"
    )]
    OtherLog(String),
    /// The log has begun another life, and nothing is left here of those before.
    #[error(
        "the log goes on as another life, and {}, which it is to be compared with, is gone: keep this folder, and copy the \
         log into another", .0.display()
    )]
    NothingKept(PathBuf),
    /// What no checkpoint of this copy covers does not fit the log.
    #[error(
        "what was left here without a checkpoint, such as by a run that broke off, does not fit the log; it is under {} now: \
         run this again to fetch it anew", .0.display()
    )]
    Unconfirmed(PathBuf),
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
        .map_err(|error| MirrorError::Server(url.clone(), network::cause(&error)))?;
    let run = Run { wanted, copy: LogCopy::at(&wanted.folder), url, http };
    run.run().await
}

struct Run<'a> {
    wanted: &'a Mirror,
    copy: LogCopy,
    url: String,
    http: reqwest::Client,
}

/// Pieces that the checkpoint kept here does not cover.
#[derive(Default)]
struct Unproved {
    /// Which have come in this run.
    fetched: BTreeSet<Piece>,
    /// Which were here.
    left: BTreeSet<Piece>,
}

/// What the lines say.
#[derive(Default)]
struct Told {
    /// The lines with which lives begin, and the root that the lines before each have.
    begins: Vec<(u64, Leaf, LogHash)>,
    acts: Vec<String>,
}

impl Run<'_> {
    async fn run(&self) -> Result<Copied, MirrorError> {
        let folder = &self.wanted.folder;
        self.copy.fits()?;
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let _lock = self.copy.lock()?;
        // What witnesses have signed is older than the newest checkpoint, so it is asked for first.
        let witnessed = match self.wanted.witnesses.is_empty() {
            true => None,
            false => Some(self.checkpoint(WITNESSED).await?),
        };
        let (note, claimed) = self.checkpoint(CHECKPOINT).await?;
        let keys = self.copy.keys()?;
        let other =
            |(life, key): &&(LogOrigin, NoteKey)| key.name() != log_name(claimed.org, *life);
        if let Some((_, other)) = keys.iter().find(other) {
            return Err(MirrorError::OtherLog(other.name().to_owned()));
        }
        if let Some(given) = &self.wanted.key
            && keys.iter().any(|(_, kept)| kept.name() == given.name() && kept != given)
        {
            return contradicts("the key that was given: this copy is of a log with another");
        }
        let kept = keys.iter().find(|(life, _)| *life == claimed.life).map(|(_, key)| key);
        let older = self.copy.kept(claimed.life, kept.or(self.wanted.key.as_ref()))?;
        let witnessed = witnessed.as_ref();
        let done = self.copy(&note, &claimed, &keys, older.as_ref(), witnessed).await;
        if let Err(MirrorError::Contradiction(_)) = &done {
            for (name, note) in [(CHECKPOINT, Some(&note)), (WITNESSED, witnessed.map(|w| &w.0))] {
                let refused = self.refused(&claimed).join(name);
                let Some(text) = note.map(SignedNote::to_string) else { continue };
                write(&refused, text.as_bytes(), Read::Anybody).map_err(failed(&refused))?;
            }
        }
        done
    }

    /// What stands under this name, which is not yet believed.
    async fn checkpoint(&self, name: &str) -> Result<(SignedNote, Checkpoint), MirrorError> {
        let bytes = self.fetch(name, NOTE_BYTES_MAX, false).await?;
        let note = str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        let read = note.and_then(|note: SignedNote| Some((note.text().parse().ok()?, note)));
        match read {
            Some((checkpoint, note)) => Ok((note, checkpoint)),
            None => Err(self.other_form(name, "checkpoint of a log", &bytes)),
        }
    }

    /// Something else answers than a log, such as a page to sign in to a network: nobody has signed that.
    fn other_form(&self, path: &str, wanted: &str, came: &[u8]) -> MirrorError {
        let shown = came.iter().take(SHOWN_CHARS).map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        let (shown, length): (String, usize) = (shown.collect(), came.len());
        let why = format!(
            "no {wanted} came, but {length} bytes that begin with `{shown}`: something else answers there"
        );
        MirrorError::Server(format!("{}/{path}", self.url), why)
    }

    async fn copy(
        &self,
        note: &SignedNote,
        claimed: &Checkpoint,
        keys: &[(LogOrigin, NoteKey)],
        older: Option<&Checkpoint>,
        witnessed: Option<&(SignedNote, Checkpoint)>,
    ) -> Result<Copied, MirrorError> {
        let pinned = keys.last();
        let same_life = pinned.is_some_and(|(_, key)| key.name() == claimed.log_name());
        if pinned.is_some() && !same_life && older.is_some() {
            return contradicts("this copy: it goes back to a life that another has followed here");
        }
        if let Some(older) = older
            && (claimed.size < older.size
                || claimed.size == older.size && claimed.root != older.root)
        {
            let (had, has) = (older.size, claimed.size);
            return contradicts(format!(
                "this copy: it had {had} lines, and says now that it has {has}, not all of them those"
            ));
        }
        if let Some((_, key)) = pinned.filter(|_| same_life) {
            self.signed(note, key.key())?;
        }
        // Nothing is fetched for whoever has not the key that was given.
        if let Some(key) = self
            .wanted
            .key
            .as_ref()
            .filter(|key| pinned.is_none() || key.name() == claimed.log_name())
        {
            self.signed(note, key.key())?;
        }
        let had = older.map_or(0, |older| older.size);
        let home = self.copy.home(claimed.life);
        let unproved = self.fetch_missing(&home, claimed, had).await?;
        let (marks, mut told) = ([had, witnessed.map_or(0, |(_, is)| is.size)], Told::default());
        let lines = Lines::read(&home, claimed.size, &marks, &mut |line| told.hear(&line, had))?;
        let wrong = match (older, lines.unlike.first()) {
            (Some(older), _) if lines.roots.get(&had) != Some(&older.root) => {
                Some(format!("this copy: its first {had} lines are not those that were here"))
            }
            _ if lines.frontier.root() != claimed.root => {
                Some("its own checkpoint: the lines that it gives have another root".into())
            }
            (_, Some(piece)) => Some(format!("itself: {piece} is not what its hashes are of")),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(self.blame(claimed, older.is_some(), &unproved, wrong)?);
        }
        // The key of a life is kept before its checkpoint: a run that broke off between them has compared what it did not keep.
        let restored = match older {
            Some(_) => None,
            None => self.restored(keys, claimed, &told.begins)?,
        };
        let key = match pinned {
            Some((_, key)) if same_life => key.key(),
            Some((_, key)) => match told.key_of(claimed.life) {
                Some(next) => next,
                None => self.wanted.key.as_ref().map_or(key.key(), NoteKey::key),
            },
            None => match (&self.wanted.key, told.key_of(claimed.life)) {
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
        // The key first: a checkpoint that nothing says whose it is would be taken for damage.
        self.copy.keep_key(&NoteKey::of_log(claimed.org, claimed.life, key))?;
        let path = home.join(CHECKPOINT);
        write(&path, note.to_string().as_bytes(), Read::Anybody).map_err(failed(&path))?;
        self.drop_covered(&home, had, claimed.size)?;
        let entries = self.wanted.token.is_some();
        let (checkpoint, new) = (claimed.clone(), claimed.size - had);
        Ok(Copied { checkpoint, new, entries, restored, witnessed, acts: told.acts })
    }

    /// Whose fault it is that the lines do not give what they should: the copy's, if it does not give what it has kept by
    /// anything but what has come in this run.
    fn blame(
        &self,
        claimed: &Checkpoint,
        kept: bool,
        unproved: &Unproved,
        wrong: String,
    ) -> Result<MirrorError, MirrorError> {
        let home = self.copy.home(claimed.life);
        let keys = self.copy.keys()?;
        let key = keys.iter().find(|(life, _)| *life == claimed.life).map(|(_, key)| key);
        if let Some(key) = key.or(self.wanted.key.as_ref()).filter(|_| kept) {
            match self.copy.check(claimed.life, key, &[], &mut |_| ()) {
                Ok(_) => {}
                Err(CopyError::Rotten(mut files)) => {
                    let come = unproved.fetched.iter().map(|piece| home.join(piece.to_string()));
                    let come: BTreeSet<PathBuf> = come.collect();
                    files.retain(|file| !come.contains(file));
                    if !files.is_empty() {
                        return Err(CopyError::Rotten(files).into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.set_aside(&home, claimed, &unproved.fetched)?;
        if !unproved.left.is_empty() {
            self.set_aside(&home, claimed, &unproved.left)?;
            return Ok(MirrorError::Unconfirmed(self.refused(claimed)));
        }
        Ok(MirrorError::Contradiction(wrong))
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
            if age_s > SAYS_NOW_S {
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

    /// Fetches what is not here of what this checkpoint covers, and of what the one that is kept does.
    async fn fetch_missing(
        &self,
        home: &Path,
        claimed: &Checkpoint,
        had: u64,
    ) -> Result<Unproved, MirrorError> {
        let tiles = Tile::all(claimed.size).chain(Tile::all(had).filter(|tile| !tile.is_full()));
        let hashes = tiles.map(Piece::Hashes);
        let bundles = Tile::of_level(0, claimed.size).map(Piece::Entries);
        let bundles = bundles.filter(|_| self.wanted.token.is_some());
        let mut unproved = Unproved::default();
        for piece in hashes.chain(bundles) {
            let (Piece::Hashes(tile) | Piece::Entries(tile)) = piece;
            let path = home.join(piece.to_string());
            if path.try_exists().map_err(failed(&path))? {
                if !tile.is_in(had) && !unproved.fetched.contains(&piece) {
                    unproved.left.insert(piece);
                }
                continue;
            }
            let secret = matches!(piece, Piece::Entries(_));
            let (address, width) = (format!("{}/{piece}", claimed.life), usize::from(tile.width));
            let each = if secret { ENTRY_BYTES_MAX } else { HASH_BYTES };
            let bytes = self.fetch(&address, each * width, secret).await?;
            let (count, what) = match secret {
                true => (unpack_entries(&bytes).map(|entries| entries.len()), "entries"),
                false => (Some(bytes.len()).filter(|n| n % each == 0).map(|n| n / each), "hashes"),
            };
            if count != Some(width) {
                return Err(self.other_form(&address, &format!("{width} {what}"), &bytes));
            }
            write(&path, &bytes, Read::Anybody).map_err(failed(&path))?;
            unproved.fetched.insert(piece);
        }
        Ok(unproved)
    }

    /// Takes away the pieces of a checkpoint of before that others cover, which were found to go on from them.
    fn drop_covered(&self, home: &Path, had: u64, size: u64) -> Result<(), MirrorError> {
        let now: BTreeSet<Tile> = Tile::all(size).collect();
        let covered = |tile: &Tile| !tile.is_full() && !now.contains(tile);
        for tile in Tile::all(had).filter(covered) {
            let entries = Some(Piece::Entries(tile)).filter(|_| self.wanted.token.is_some());
            for piece in entries.into_iter().chain([Piece::Hashes(tile)]) {
                let path = home.join(piece.to_string());
                present(fs::remove_file(&path)).map_err(failed(&path))?;
            }
        }
        Ok(())
    }

    async fn fetch(&self, path: &str, max: usize, secret: bool) -> Result<Vec<u8>, MirrorError> {
        let address = format!("{}/{path}", self.url);
        let failed = |why: String| MirrorError::Server(address.clone(), why);
        let mut request = self.http.get(&address).timeout(longest(max));
        if let Some(token) = self.wanted.token.as_ref().filter(|_| secret) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let plain = |error: reqwest::Error| failed(network::cause(&error));
        let mut response = request.send().await.map_err(plain)?;
        let status = response.status();
        if !status.is_success() {
            let lost = status == StatusCode::NOT_FOUND || status.is_redirection();
            let why = match path {
                _ if secret && status == StatusCode::UNAUTHORIZED => NO_TOKEN,
                WITNESSED if lost => NOT_WITNESSED,
                CHECKPOINT if lost => NO_LOG,
                _ => "",
            };
            return Err(failed(format!("the server answers {status}{why}")));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(plain)? {
            if body.len() + chunk.len() > max {
                let why = format!("something else answers there: more came than {max} bytes");
                return Err(failed(why));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What became of the newest life before that was copied to its end, if there is one.
    fn restored(
        &self,
        keys: &[(LogOrigin, NoteKey)],
        claimed: &Checkpoint,
        begins: &[(u64, Leaf, LogHash)],
    ) -> Result<Option<(u64, u64)>, MirrorError> {
        for (life, key) in keys.iter().rev().filter(|(life, _)| *life != claimed.life) {
            if self.copy.kept(*life, Some(key))?.is_some() {
                return self.continued(*life, key, claimed, begins).map(Some);
            }
        }
        match keys.last().filter(|(life, _)| *life != claimed.life) {
            Some((life, _)) => {
                Err(MirrorError::NothingKept(self.copy.home(*life).join(CHECKPOINT)))
            }
            None => Ok(None),
        }
    }

    /// How many lines of the life before the log still has, and how many not. Where it left them, and at each life that
    /// has begun since, a line says so.
    fn continued(
        &self,
        before: LogOrigin,
        key: &NoteKey,
        claimed: &Checkpoint,
        begins: &[(u64, Leaf, LogHash)],
    ) -> Result<(u64, u64), MirrorError> {
        // Lines that have rotted here are not those that the log left.
        let (old, _) = self.copy.check(before, key, &[], &mut |_| ())?;
        let read = |life: LogOrigin, size: u64| -> Result<Vec<LogHash>, MirrorError> {
            let home = self.copy.home(life);
            let mut all = Vec::new();
            for tile in Tile::of_level(0, size) {
                all.extend(hashes(&home, tile)?);
            }
            Ok(all)
        };
        let (had, has) = (read(before, old.size)?, read(claimed.life, claimed.size)?);
        let same = had.iter().zip(&has).take_while(|(had, has)| had == has).count() as u64;
        let continues = |(at, leaf, over): &(u64, Leaf, LogHash)| match leaf {
            Leaf::Origin { after, .. } => match after {
                Some((size, root)) => size == at && root == over,
                None => *at == 0,
            },
            _ => false,
        };
        let newest = matches!(
            begins.last(),
            Some((_, Leaf::Origin { origin, after: Some(_), .. }, _)) if *origin == claimed.life
        );
        let said = match self.wanted.token {
            None => same > 0, // its lines cannot be read
            // Lines of the life before that came after this copy was made are no contradiction.
            Some(_) => {
                let left = same == old.size || begins.iter().any(|(at, ..)| *at == same);
                same > 0 && newest && left && begins.iter().all(continues)
            }
        };
        match said {
            true => Ok((same, old.size - same)),
            false => contradicts(format!(
                "this copy: it says that it is restored, and does not continue the first {same} lines"
            )),
        }
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
        pieces: &BTreeSet<Piece>,
    ) -> Result<(), MirrorError> {
        for piece in pieces {
            let from = home.join(piece.to_string());
            let to = self.refused(claimed).join(piece.to_string());
            let folder = parent(&to);
            fs::create_dir_all(folder).map_err(failed(folder))?;
            present(fs::rename(&from, &to)).map_err(failed(&from))?;
        }
        Ok(())
    }
}

/// How long is waited for an answer that may have so many bytes.
fn longest(bytes: usize) -> Duration {
    SILENCE_TIMEOUT + Duration::from_secs((bytes / SLOWEST_BYTES_S) as u64)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> MirrorError {
    let path = path.to_owned();
    move |error| CopyError::Folder(path.clone(), error).into()
}

impl Told {
    /// The key that a life's first line names.
    fn key_of(&self, life: LogOrigin) -> Option<[u8; 32]> {
        self.begins.iter().find_map(|(_, leaf, _)| match leaf {
            Leaf::Origin { origin, key, .. } if *origin == life => Some(key.0),
            _ => None,
        })
    }

    fn hear(&mut self, line: &Line<'_>, had: u64) {
        let leaf = line.entry.and_then(|entry| from_cbor::<Leaf>(entry).ok());
        let Some(leaf) = leaf else { return }; // of a later version
        let (place, new) = (line.place, line.place >= had);
        match &leaf {
            Leaf::Origin { .. } => self.begins.push((place, leaf, line.before.root())),
            Leaf::Confirmation { device, key, by, distributor, .. } if new => self.acts.push(format!(
                "line {place}: {by} confirmed for distributor {distributor} that device {device} has the key {}",
                fingerprint_text(&key.0)
            )),
            Leaf::Decision { document, by, approved, .. } if new => self.acts.push(format!(
                "line {place}: {by} {} refused work on {document}",
                if *approved { "approved" } else { "discarded" }
            )),
            _ => {}
        }
    }
}
