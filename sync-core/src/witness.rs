//! Witnesses: somebody else who sees a log only ever grow, and says so below its checkpoints
//! (<https://c2sp.org/tlog-witness>).
//!
//! A witness remembers one checkpoint of each log, the newest that it has signed, and signs another only with the
//! proof that it continues that one. A server that shows two people two logs has no witness's signature for one of them.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::id::LogHash;
use crate::tlog::{BadNote, Checkpoint, NOTE_BYTES_MAX, NoteKey, SignedNote, continues};

/// Most hashes of the proof that a log may send.
const PROOF_LINES_MAX: usize = 63;
/// Longest question: a checkpoint, the proof before it, and the size before that.
pub const SUBMISSION_BYTES_MAX: usize = NOTE_BYTES_MAX + PROOF_LINES_MAX * 45 + 64;

/// What a log asks a witness: to sign a checkpoint that continues the one that it has signed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Over how many lines that one was; 0 if there is none.
    pub old: u64,
    /// The proof (RFC 9162, 2.1.4.1).
    pub proof: Vec<LogHash>,
    /// The checkpoint, signed by the log.
    pub note: SignedNote,
}

/// The body of `add-checkpoint`.
impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        for hash in &self.proof {
            writeln!(f, "{}", BASE64_STANDARD.encode(hash.0))?;
        }
        write!(f, "\n{}", self.note)
    }
}

impl FromStr for Submission {
    type Err = Refusal;

    fn from_str(body: &str) -> Result<Self, Refusal> {
        let (head, note) = body.split_once("\n\n").ok_or(Refusal::Malformed("an empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(|old| old.parse::<u64>().ok().filter(|n| n.to_string() == old));
        let old = old.ok_or(Refusal::Malformed("the old size"))?;
        let hash = |line: &str| {
            let bytes = BASE64_STANDARD.decode(line).ok()?;
            Some(LogHash(bytes.try_into().ok()?))
        };
        let proof: Option<Vec<LogHash>> = lines.map(hash).collect();
        let proof = proof.filter(|proof| proof.len() <= PROOF_LINES_MAX);
        let proof = proof.ok_or(Refusal::Malformed("the proof"))?;
        let note = note.parse().map_err(|_: BadNote| Refusal::Malformed("the checkpoint"))?;
        Ok(Self { old, proof, note })
    }
}

/// Why a witness does not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The question does not read.
    #[error("this is no question to a witness: {0} is missing or wrong")]
    Malformed(&'static str),
    /// The size that the log says was signed is beyond the checkpoint.
    #[error("the checkpoint is older than the one that it is said to continue")]
    Older,
    /// The witness does not watch this log.
    #[error("this log is not watched here")]
    UnknownLog,
    /// The checkpoint is not signed by the key of its log.
    #[error("the log's key has not signed it")]
    NotSigned,
    /// Another checkpoint was signed last: over so many lines.
    #[error("the newest checkpoint that was signed here is over {0} lines")]
    Conflict(u64),
    /// The log does not continue the one that was signed last.
    #[error("it does not continue what was signed here: lines were dropped or rewritten")]
    Inconsistent,
}

impl Submission {
    /// Which log it is of, among those whose keys these are, and what its key has signed.
    pub fn of<'k>(&self, logs: &'k [NoteKey]) -> Result<(&'k NoteKey, Checkpoint), Refusal> {
        let claimed: Checkpoint = self.note.text().parse().map_err(|_| Refusal::UnknownLog)?;
        let name = claimed.log_name();
        let log = logs.iter().find(|log| log.name() == name).ok_or(Refusal::UnknownLog)?;
        match Checkpoint::open(&self.note, log.key()) {
            Ok(checkpoint) => Ok((log, checkpoint)),
            Err(_) => Err(Refusal::NotSigned),
        }
    }

    /// Whether a witness signs this checkpoint after `newest`, the one that it has signed last of this log.
    pub fn judge(&self, is: &Checkpoint, newest: Option<&Checkpoint>) -> Result<(), Refusal> {
        let empty = LogHash::of(b"");
        let (size, root) = newest.map_or((0, &empty), |newest| (newest.size, &newest.root));
        if self.old > is.size {
            return Err(Refusal::Older);
        }
        if self.old != size || size == is.size && size > 0 && *root != is.root {
            return Err(Refusal::Conflict(size));
        }
        match continues((size, root), (is.size, &is.root), &self.proof) {
            true => Ok(()),
            false => Err(Refusal::Inconsistent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Frontier, Keypair};
    use crate::id::{LogOrigin, OrgId};
    use crate::tlog::{Hashes, Tile, Tree, fold};

    const ORG: OrgId = OrgId::from_bytes([3; 16]);
    const LIFE: LogOrigin = LogOrigin::from_bytes([4; 16]);

    struct Leaves(Vec<LogHash>);

    impl Hashes for Leaves {
        type Error = std::convert::Infallible;

        fn hashes(&mut self, tile: Tile, first: u64, n: u64) -> Result<Vec<LogHash>, Self::Error> {
            let of = 1 << (8 * u64::from(tile.level));
            let leaves = &self.0[(first * of) as usize..((first + n) * of) as usize];
            Ok(leaves.chunks(of as usize).map(|chunk| fold(chunk.to_vec())).collect())
        }
    }

    /// A log whose lines say what `word` says.
    fn log(word: &str, size: u64) -> (Leaves, Checkpoint) {
        let leaves: Vec<_> =
            (0..size).map(|n| LogHash::of(format!("{word} {n}").as_bytes())).collect();
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        (Leaves(leaves), Checkpoint { org: ORG, life: LIFE, size, root: frontier.root() })
    }

    fn asks(word: &str, old: u64, size: u64, pair: &Keypair) -> (Submission, Checkpoint) {
        let (mut leaves, checkpoint) = log(word, size);
        let Ok(proof) = Tree::new(&mut leaves, size).consistency(old);
        (Submission { old, proof, note: checkpoint.sign(pair) }, checkpoint)
    }

    #[test]
    fn a_witness_signs_what_continues_and_nothing_else() {
        let pair = Keypair::from_seed(&[1; 32]);
        for (old, size) in
            [(0, 0), (0, 1), (0, 300), (1, 1), (1, 2), (255, 256), (256, 700), (700, 700)]
        {
            let newest = (old > 0).then(|| log("line", old).1);
            let (asked, is) = asks("line", old, size, &pair);
            assert_eq!(asked.judge(&is, newest.as_ref()), Ok(()), "{old} {size}");
            assert_eq!(asked.to_string().parse(), Ok(asked.clone()));
            if old > 0 {
                let (forked, is) = asks("other", old, size, &pair);
                let refused =
                    if old == size { Refusal::Conflict(old) } else { Refusal::Inconsistent };
                assert_eq!(forked.judge(&is, newest.as_ref()), Err(refused), "{old} {size}");
                assert_eq!(asked.judge(&is, None), Err(Refusal::Conflict(0)));
            }
        }
        let newest = log("line", 300).1;
        let (first, is) = asks("line", 0, 400, &pair);
        assert_eq!(first.judge(&is, Some(&newest)), Err(Refusal::Conflict(300)));
        let (back, is) = asks("line", 200, 250, &pair);
        assert_eq!(back.judge(&is, Some(&newest)), Err(Refusal::Conflict(300)));
        let (mut beyond, is) = asks("line", 0, 400, &pair);
        beyond.old = 401;
        assert_eq!(beyond.judge(&is, Some(&newest)), Err(Refusal::Older));
        let (mut proofless, is) = asks("line", 300, 400, &pair);
        proofless.proof.clear();
        assert_eq!(proofless.judge(&is, Some(&newest)), Err(Refusal::Inconsistent));
    }

    #[test]
    fn a_witness_knows_its_logs() {
        let pair = Keypair::from_seed(&[1; 32]);
        let key = NoteKey::of_log(ORG, LIFE, pair.public());
        let (asked, is) = asks("line", 0, 9, &pair);
        assert_eq!(asked.of(std::slice::from_ref(&key)), Ok((&key, is)));
        let life = LogOrigin::from_bytes([5; 16]);
        assert_eq!(
            asked.of(&[NoteKey::of_log(ORG, life, pair.public())]),
            Err(Refusal::UnknownLog)
        );
        assert_eq!(asked.of(&[NoteKey::of_log(ORG, LIFE, [9; 32])]), Err(Refusal::NotSigned));
    }

    #[test]
    fn a_question_has_one_form() {
        let pair = Keypair::from_seed(&[1; 32]);
        let body = asks("line", 200, 300, &pair).0.to_string();
        assert!(body.parse::<Submission>().is_ok());
        for bad in [
            body.replacen("old 200", "old 0200", 1),
            body.replacen("old 200", "old -1", 1),
            body.replacen("old 200", "200", 1),
            body.replacen("old 200\n", "old 200\nAAAA\n", 1),
            body.replacen(
                "old 200\n",
                &format!("old 200\n{}", format!("{:A<43}=\n", "").repeat(64)),
                1,
            ),
            body.replacen("\n\n", "\n", 1),
            body.trim_end().to_owned(),
            "old 0\n\n".to_owned(),
            String::new(),
        ] {
            let read = bad.parse::<Submission>();
            assert!(matches!(read, Err(Refusal::Malformed(_))), "{bad:?}: {read:?}");
        }
    }
}
