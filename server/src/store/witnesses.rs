//! What witnesses have signed of an organisation's log, and what they said.

use rusqlite::{Connection, Transaction, params};
use sync_core::evidence::{Cursor, Keypair};
use sync_core::id::{LogOrigin, OrgId};
use sync_core::tlog::{Checkpoint, NoteKey, SignedNote, Tree};
use sync_core::witness::Submission;

use super::StoreError;
use super::log::{Org, head};
use super::tree::Nodes;

/// What a witness has signed last, and what it said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// Its key.
    pub witness: NoteKey,
    /// Of which life of the log.
    pub life: LogOrigin,
    /// Over how many lines; 0 if it has signed nothing of this life.
    pub size: u64,
    /// Its signature as a line of a note, and when it signed by its own clock, in seconds since 1970 UTC.
    pub signed: Option<(String, u64)>,
    /// When it was asked last, in milliseconds since 1970 UTC.
    pub asked_ms: i64,
    /// Why it did not sign then.
    pub refused: Option<String>,
}

/// What all witnesses that were ever asked have said, by their names.
pub fn cosignatures(connection: &Connection, org: Org) -> Result<Vec<Cosignature>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT witness, life, size, line, signed_s, asked_ms, refused FROM cosignature
         WHERE org = ?1 ORDER BY witness",
    )?;
    let mut rows = query.query([org])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let witness: String = row.get(0)?;
        let witness =
            witness.parse().map_err(|bad| StoreError::Damaged(format!("{witness}: {bad}")))?;
        let (line, signed): (Option<String>, Option<u64>) = (row.get(3)?, row.get(4)?);
        all.push(Cosignature {
            witness,
            life: LogOrigin::from_bytes(row.get(1)?),
            size: row.get(2)?,
            signed: line.zip(signed),
            asked_ms: row.get(5)?,
            refused: row.get(6)?,
        });
    }
    Ok(all)
}

/// Keeps what a witness has said.
pub fn put(tx: &Transaction<'_>, org: Org, said: &Cosignature) -> Result<(), StoreError> {
    let (line, signed) = said.signed.as_ref().map(|(line, s)| (line, s)).unzip();
    tx.execute(
        "INSERT OR REPLACE INTO cosignature VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            org,
            said.witness.to_string(),
            said.life.as_bytes(),
            said.size,
            line,
            signed,
            said.asked_ms,
            said.refused
        ],
    )?;
    Ok(())
}

/// Asks for the signature under a checkpoint of the log that has this size, after one of size `old`.
pub fn submission(
    connection: &Connection,
    org: Org,
    id: OrgId,
    at: &Cursor,
    old: u64,
    pair: &Keypair,
) -> Result<Submission, StoreError> {
    let proof = Tree::new(&mut Nodes { connection, org }, at.sequence).consistency(old)?;
    let checkpoint = Checkpoint { org: id, life: at.origin, size: at.sequence, root: at.root };
    Ok(Submission { old, proof, note: checkpoint.sign(pair) })
}

/// A checkpoint that the log has signed, and maybe witnesses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Over how many lines.
    pub size: u64,
    /// With all signatures.
    pub note: SignedNote,
    /// The keys of the witnesses, in the order of their signatures.
    pub witnesses: Vec<NoteKey>,
}

impl Signed {
    /// The newest one, signed by nobody but the log.
    pub fn newest(
        connection: &Connection,
        org: Org,
        id: OrgId,
        pair: &Keypair,
    ) -> Result<Self, StoreError> {
        let at = head(connection, org)?;
        let newest = Checkpoint { org: id, life: at.origin, size: at.sequence, root: at.root };
        Ok(Self { size: newest.size, note: newest.sign(pair), witnesses: Vec::new() })
    }
}

/// What a witness has signed longer ago than this, in seconds, says nothing of now: it is asked every hour.
pub const SAYS_NOW_S: i64 = 86_400;

/// Whose signatures decide which checkpoint is shown: who signs no more must not hide who does.
#[derive(Debug, Clone)]
pub struct Counting {
    /// The witnesses that are asked. None where that is not known, or nobody is: then whoever has signed counts.
    pub asked: Vec<NoteKey>,
    /// When it is asked, in milliseconds since 1970 UTC.
    pub now_ms: i64,
}

impl Counting {
    /// Where it is not known who is asked.
    pub fn everybody(now_ms: i64) -> Self {
        Self { asked: Vec::new(), now_ms }
    }

    fn counts(&self, said: &Cosignature) -> bool {
        let asked = self.asked.is_empty() || self.asked.contains(&said.witness);
        let signed = said.signed.as_ref().and_then(|(_, seconds)| i64::try_from(*seconds).ok());
        let fresh = |at: i64| at.abs_diff(self.now_ms / 1_000) <= SAYS_NOW_S.unsigned_abs();
        asked && signed.is_some_and(fresh)
    }
}

/// The checkpoint over at least so many lines that most witnesses have signed of those that count, or of all if none
/// counts; of several the newest. `None` if nobody has signed one.
pub fn witnessed(
    connection: &Connection,
    org: Org,
    id: OrgId,
    lines: u64,
    pair: &Keypair,
    counting: &Counting,
) -> Result<Option<Signed>, StoreError> {
    let at = head(connection, org)?;
    let signed: Vec<Cosignature> = cosignatures(connection, org)?
        .into_iter()
        .filter(|said| said.life == at.origin && said.signed.is_some())
        .filter(|said| (lines.max(1)..=at.sequence).contains(&said.size))
        .collect();
    let with = |size| signed.iter().filter(move |said| said.size == size);
    let none = !signed.iter().any(|said| counting.counts(said));
    let count = |n| with(n).filter(|said| none || counting.counts(said)).count();
    let Some(size) = signed.iter().map(|said| said.size).max_by_key(|n| (count(*n), *n)) else {
        return Ok(None);
    };
    let root = Tree::new(&mut Nodes { connection, org }, size).root()?;
    let mut note = Checkpoint { org: id, life: at.origin, size, root }.sign(pair);
    let mut witnesses = Vec::new();
    for said in with(size) {
        let line = said.signed.as_ref().map_or("", |(line, _)| line);
        // One that does not verify here would not verify there: `endcap check` names it.
        if let Some(more) = note.with(line, &said.witness) {
            note = more;
            witnesses.push(said.witness.clone());
        }
    }
    Ok(Some(Signed { size, note, witnesses }).filter(|signed| !signed.witnesses.is_empty()))
}

/// What is wrong with what is kept of witnesses, if something is.
pub fn flaw(connection: &Connection, org: Org, id: OrgId) -> Result<Option<String>, StoreError> {
    let at = head(connection, org)?;
    for said in cosignatures(connection, org)? {
        let Some((line, signed_s)) = &said.signed else { continue };
        if said.life != at.origin || said.size > at.sequence {
            continue; // of a life that was lost, which is not here to compare
        }
        let root = Tree::new(&mut Nodes { connection, org }, said.size).root()?;
        let checkpoint = Checkpoint { org: id, life: said.life, size: said.size, root };
        if checkpoint.cosigned_by(&said.witness, line) != Some(*signed_s) {
            let name = said.witness.name();
            return Ok(Some(format!("the signature of the witness {name} does not verify")));
        }
    }
    Ok(None)
}
