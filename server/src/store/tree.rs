//! The log as a tree: what each line's leaf says, and the hashes above the leaves.
//!
//! Leaves are rows of the log. Above them only the roots of full tiles are kept, in groups after the commits that they
//! cover ([`missing`], [`put`]); whoever reads before that computes what is missing. So appending costs what it did.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::evidence::{Cursor, Keypair, Leaf, LogKey};
use sync_core::id::{ChangeHash, DeviceId, DocId, LogHash, LogOrigin, OrgId, UserId};
use sync_core::model::catalogue::RecordKey;
use sync_core::receipt::{Known, LIVES_MAX, Life, Receipt};
use sync_core::tlog::{Checkpoint, Hashes, TILE_WIDTH, Tile, Tree, fold};

use super::StoreError;
use super::log::{Org, head};

/// Levels of tiles above the leaves that are kept: three hold more leaves than a disk.
const LEVELS_KEPT: u8 = 3;
/// A record's line holds its key; what is longer is an act.
const RECORD_KEY_BYTES: usize = 17;
/// Nodes that one write brings at most.
const NODES_AT_ONCE: usize = 64;

/// A line of the log, as its row has it.
#[derive(Debug)]
pub struct Line {
    /// Its place.
    pub sequence: u64,
    /// The stored leaf hash.
    pub leaf: Vec<u8>,
    /// The stored root, where a commit ended.
    pub root: Option<Vec<u8>>,
    /// When it was written.
    pub at_ms: i64,
    /// What it stands for.
    pub says: Says,
}

/// What a line of the log stands for.
#[derive(Debug)]
pub enum Says {
    /// A life of the log begins.
    Origin {
        /// Which.
        origin: Vec<u8>,
        /// The public key that signs its checkpoints.
        key: Vec<u8>,
    },
    /// A change was accepted.
    Change {
        /// Into which document.
        document: Vec<u8>,
        /// Which.
        hash: Option<Vec<u8>>,
        /// From which device.
        device: Option<Vec<u8>>,
    },
    /// A record was written.
    Record {
        /// Its key.
        key: Vec<u8>,
        /// What its leaf is salted with.
        salt: Vec<u8>,
        /// Its CBOR.
        body: Vec<u8>,
        /// What the leaf commits to, where the name in the body was erased.
        digest: Option<Vec<u8>>,
    },
    /// An act that is nothing but its leaf, whose CBOR this is.
    Act(Vec<u8>),
    /// Nothing that is here.
    Nothing,
}

impl Line {
    /// The leaf of what it stands for, `before` being the root over the lines before; `None` if it stands for nothing.
    pub fn says(&self, before: LogHash) -> Option<Leaf> {
        let at_ms = self.at_ms;
        Some(match &self.says {
            Says::Origin { origin, key } => {
                let origin = LogOrigin::from_bytes(origin.as_slice().try_into().ok()?);
                let after = (self.sequence > 0).then_some((self.sequence, before));
                let key = LogKey(key.as_slice().try_into().ok()?);
                Leaf::Origin { origin, at_ms, after, key }
            }
            Says::Change { document, hash, device } => Leaf::Change {
                document: DocId::from_bytes(document)?,
                change: ChangeHash(hash.as_deref()?.try_into().ok()?),
                device: DeviceId::from_bytes(device.as_deref()?.try_into().ok()?),
                received_ms: at_ms,
            },
            Says::Record { key, salt, body, digest } => {
                let key = RecordKey::from_bytes(key.as_slice().try_into().ok()?);
                match digest {
                    None => Leaf::record(key, salt.as_slice().try_into().ok()?, body, at_ms),
                    Some(digest) => {
                        let body = LogHash(digest.as_slice().try_into().ok()?);
                        Leaf::Record { kind: key.kind, id: key.id, body, at_ms }
                    }
                }
            }
            Says::Act(leaf) => from_cbor(leaf).ok().filter(|leaf: &Leaf| leaf.at_ms() == at_ms)?,
            Says::Nothing => return None,
        })
    }
}

/// Passes lines of a log to `each`, in their order: those from `first` to before `end`.
pub fn lines(
    connection: &Connection,
    org: Org,
    (first, end): (u64, u64),
    mut each: impl FnMut(Line),
) -> Result<(), StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT l.sequence, l.leaf, l.root, l.at_ms, l.document, l.hash, l.device, l.body,
             r.salt, r.body, o.origin, o.key, r.digest
         FROM log l
         LEFT JOIN record r ON l.document IS NULL
             AND r.org = l.org AND r.key = l.body AND r.sequence = l.sequence
         LEFT JOIN origin o ON o.org = l.org AND o.sequence = l.sequence
         WHERE l.org = ?1 AND l.sequence >= ?2 AND l.sequence < ?3 ORDER BY l.sequence",
    )?;
    let mut rows = query.query(params![org, first, end])?;
    while let Some(row) = rows.next()? {
        let (document, salt, origin) = (row.get(4)?, row.get(8)?, row.get(10)?);
        let body: Vec<u8> = row.get(7)?;
        let says = match (document, salt, origin) {
            (Some(document), None, None) => {
                Says::Change { document, hash: row.get(5)?, device: row.get(6)? }
            }
            (None, Some(salt), None) => {
                Says::Record { key: body, salt, body: row.get(9)?, digest: row.get(12)? }
            }
            (None, None, Some(origin)) => Says::Origin { origin, key: row.get(11)? },
            (None, None, None) if body.len() > RECORD_KEY_BYTES => Says::Act(body),
            _ => Says::Nothing,
        };
        let (sequence, leaf, root, at_ms) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        each(Line { sequence, leaf, root, at_ms, says });
    }
    Ok(())
}

/// The leaves of some lines, which are all there.
pub fn leaves(
    connection: &Connection,
    org: Org,
    (first, end): (u64, u64),
) -> Result<Vec<Leaf>, StoreError> {
    let damaged = |at: u64| StoreError::Damaged(format!("line {at} of the log"));
    let before: Option<Option<[u8; 32]>> = connection
        .prepare_cached("SELECT root FROM log WHERE org = ?1 AND sequence = ?2")?
        .query_row(params![org, first.checked_sub(1)], |row| row.get(0))
        .optional()?;
    let mut before = LogHash(before.flatten().unwrap_or_default());
    let mut leaves = Vec::new();
    let mut wrong = None;
    lines(connection, org, (first, end), |line| {
        // A life begins after a commit, so there is a root before it.
        match line.says(before) {
            Some(leaf) if leaf.hash().0[..] == line.leaf => leaves.push(leaf),
            _ => wrong = wrong.or(Some(line.sequence)),
        }
        before = LogHash(line.root.and_then(|root| root.try_into().ok()).unwrap_or_default());
    })?;
    match wrong {
        Some(at) => Err(damaged(at)),
        None if leaves.len() as u64 != end.saturating_sub(first) => Err(damaged(end)),
        None => Ok(leaves),
    }
}

/// The hashes of an organisation's log.
pub struct Nodes<'c> {
    /// Where it is.
    pub connection: &'c Connection,
    /// Whose.
    pub org: Org,
}

impl Hashes for Nodes<'_> {
    type Error = StoreError;

    fn hashes(&mut self, tile: Tile, first: u64, count: u64) -> Result<Vec<LogHash>, StoreError> {
        let end = first.saturating_add(count);
        let found = match tile.level {
            0 => {
                let mut query = self.connection.prepare_cached(
                    "SELECT leaf FROM log WHERE org = ?1 AND sequence >= ?2 AND sequence < ?3
                     ORDER BY sequence",
                )?;
                let leaves = query.query_map(params![self.org, first, end], hash)?;
                leaves.collect::<Result<Vec<_>, _>>()?
            }
            level => {
                let mut query = self.connection.prepare_cached(
                    "SELECT hash FROM node
                     WHERE org = ?1 AND level = ?2 AND place >= ?3 AND place < ?4 ORDER BY place",
                )?;
                let nodes = query.query_map(params![self.org, level, first, end], hash)?;
                let mut nodes = nodes.collect::<Result<Vec<_>, _>>()?;
                // They are made in their order: what is missing are the newest.
                for place in first + nodes.len() as u64..end {
                    nodes.push(self.below(level, place)?);
                }
                nodes
            }
        };
        match found.len() as u64 == count {
            true => Ok(found),
            false => Err(StoreError::Damaged("lines of the log are missing".into())),
        }
    }
}

impl Nodes<'_> {
    /// A node as the root of the full tile below it.
    fn below(&mut self, level: u8, place: u64) -> Result<LogHash, StoreError> {
        let tile = Tile { level: level - 1, index: place, width: TILE_WIDTH as u16 };
        Ok(fold(self.hashes(tile, tile.first(), TILE_WIDTH)?))
    }
}

fn hash(row: &rusqlite::Row<'_>) -> rusqlite::Result<LogHash> {
    Ok(LogHash(row.get(0)?))
}

/// A tile of a log that has all of it.
pub fn tile(connection: &Connection, org: Org, tile: Tile) -> Result<Vec<LogHash>, StoreError> {
    Nodes { connection, org }.hashes(tile, tile.first(), tile.width.into())
}

/// A node that is not kept yet: its level, its place, and what it is.
pub type Node = (u8, u64, LogHash);

/// The oldest nodes that are not kept and could be, a few at a time.
pub fn missing(connection: &Connection, org: Org) -> Result<Vec<Node>, StoreError> {
    let size = head(connection, org)?.sequence;
    let mut query = connection.prepare_cached(
        "SELECT coalesce(max(place) + 1, 0) FROM node WHERE org = ?1 AND level = ?2",
    )?;
    let (mut nodes, mut found) = (Nodes { connection, org }, Vec::new());
    for level in 1..=LEVELS_KEPT {
        let next: u64 = query.query_row(params![org, level], |row| row.get(0))?;
        for place in next..size >> (8 * u32::from(level)) {
            if found.len() == NODES_AT_ONCE {
                return Ok(found);
            }
            found.push((level, place, nodes.below(level, place)?));
        }
    }
    Ok(found)
}

/// Keeps nodes.
pub fn put(tx: &Transaction<'_>, org: Org, nodes: &[Node]) -> Result<(), StoreError> {
    let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO node VALUES (?1, ?2, ?3, ?4)")?;
    for (level, place, hash) in nodes {
        insert.execute(params![org, level, place, hash.0])?;
    }
    Ok(())
}

/// The nodes that are kept, lowest level first, each level in its order.
pub fn kept(connection: &Connection, org: Org) -> Result<Vec<(u8, u64, Vec<u8>)>, StoreError> {
    let mut query = connection
        .prepare("SELECT level, place, hash FROM node WHERE org = ?1 ORDER BY level, place")?;
    let rows = query.query_map([org], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A life of a log: where it begins, which it is, and the key that its leaf names.
pub type Begun = (u64, LogOrigin, [u8; 32]);

/// The lives of a log.
pub fn lives(connection: &Connection, org: Org) -> Result<Vec<Begun>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT sequence, origin, key FROM origin WHERE org = ?1 ORDER BY sequence",
    )?;
    let rows = query.query_map([org], |row| {
        Ok((row.get(0)?, LogOrigin::from_bytes(row.get(1)?), row.get(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest checkpoint, with the proof that it continues what a reader knows.
pub fn receipt(
    connection: &Connection,
    org: Org,
    id: OrgId,
    at: &Cursor,
    known: &Known,
    pair: &Keypair,
) -> Result<Receipt, StoreError> {
    let checkpoint = Checkpoint { org: id, life: at.origin, size: at.sequence, root: at.root };
    let (mut nodes, size) = (Nodes { connection, org }, at.sequence);
    let lives = lives(connection, org)?;
    let place = lives.iter().rposition(|(_, life, _)| *life == known.life);
    // Of a life that is lost itself nothing is here: the newest one says what it continues.
    let after = &lives[place.map_or(lives.len().saturating_sub(1), |place| place + 1)..];
    let end = after.first().map_or(size, |(begins, ..)| *begins);
    let from = if place.is_some() { known.size.min(end) } else { end };
    let proof = Tree::new(&mut nodes, size).consistency(from)?;
    let mut later = Vec::new();
    for (begins, ..) in after.iter().take(LIVES_MAX).filter(|_| *known != Known::NOTHING) {
        let leaf = leaves(connection, org, (*begins, begins + 1))?;
        let leaf = leaf.first().map(to_cbor).unwrap_or_default();
        let proof = Tree::new(&mut nodes, size).inclusion(*begins)?;
        later.push(Life { sequence: *begins, leaf, proof });
    }
    let lives = Some(later).filter(|later| !later.is_empty());
    let key = (*known == Known::NOTHING).then(|| LogKey(pair.public()));
    Ok(Receipt { signature: checkpoint.signature(pair), proof, lives, key })
}

/// Notes which line says that a device's key is confirmed, and by whom.
pub fn put_confirmation(
    tx: &Transaction<'_>,
    org: Org,
    device: DeviceId,
    by: UserId,
    sequence: u64,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO confirmation (org, device, sequence, by) VALUES (?1, ?2, ?3, ?4)",
        params![org, device.as_bytes(), sequence, by.as_bytes()],
    )?;
    Ok(())
}

/// Whether somebody has confirmed a device's key.
pub fn is_confirmed(
    connection: &Connection,
    org: Org,
    device: DeviceId,
) -> Result<bool, StoreError> {
    let mut query =
        connection.prepare("SELECT 1 FROM confirmation WHERE org = ?1 AND device = ?2")?;
    Ok(query.exists(params![org, device.as_bytes()])?)
}

/// Who has confirmed which device's key.
pub fn confirmations(
    connection: &Connection,
    org: Org,
) -> Result<HashMap<DeviceId, UserId>, StoreError> {
    let mut query = connection.prepare("SELECT device, by FROM confirmation WHERE org = ?1")?;
    let rows = query.query_map([org], |row| {
        Ok((DeviceId::from_bytes(row.get(0)?), UserId::from_bytes(row.get(1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
