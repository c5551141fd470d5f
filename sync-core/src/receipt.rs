//! Receipts: signed checkpoints that a device keeps, so that a log which drops or rewrites what they cover is noticed.
//!
//! With the last page of a pull comes the newest checkpoint, signed by the log's key, and the proof that it continues
//! the one that the device has kept. A log that was restored from a backup says so by a leaf, and is believed; what
//! goes back without one, or otherwise does not continue, is an [`Alarm`], which stays with both checkpoints until a
//! person has looked into it. Then the next checkpoint is taken as the first was.

use minicbor::{Decode, Encode};

use crate::cbor::from_cbor;
use crate::evidence::{Cursor, Leaf, LogKey};
use crate::id::{LogHash, LogOrigin, OrgId};
use crate::tlog::{Checkpoint, SignedNote, continues, includes, leaf_hash};

/// Lives of a log that one receipt tells of.
pub const LIVES_MAX: usize = 64;

/// Alarms that stay after somebody has looked into them.
const SEEN_MAX: usize = 100;

/// Which checkpoint a device has kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Known {
    /// Of which life of the log.
    #[n(0)]
    pub life: LogOrigin,
    /// Over how many leaves.
    #[n(1)]
    pub size: u64,
}

impl Known {
    /// No checkpoint yet.
    pub const NOTHING: Self = Self { life: LogOrigin::from_bytes([0; 16]), size: 0 };
}

/// The newest checkpoint, as it comes with a page: the page's cursor says all of it but the signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Receipt {
    /// What the log's key says to the checkpoint.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// That it continues the one that the device knows; of another life, as far as that went on.
    #[n(1)]
    pub proof: Vec<LogHash>,
    /// The lives that have begun since that one.
    #[n(2)]
    pub lives: Option<Vec<Life>>,
    /// The log's public key, for who has no receipt yet. A device that knows one already does not look at it.
    #[n(3)]
    pub key: Option<LogKey>,
}

impl Receipt {
    /// The signed note, once it is clear by which key.
    fn note(&self, org: OrgId, at: &Cursor, key: LogKey) -> SignedNote {
        let checkpoint = Checkpoint { org, life: at.origin, size: at.sequence, root: at.root };
        checkpoint.signed(key.0, &self.signature)
    }
}

/// The beginning of a life of the log, and that it is in it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Life {
    /// Where it begins.
    #[n(0)]
    pub sequence: u64,
    /// Its leaf.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub leaf: Vec<u8>,
    /// That it is there.
    #[n(2)]
    pub proof: Vec<LogHash>,
}

/// What a device knows of its organisation's log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Watch {
    /// The key that signs its checkpoints: as it was said at enrolment, or by the first receipt.
    #[n(0)]
    pub key: Option<LogKey>,
    /// The newest checkpoint, a signed note.
    #[n(1)]
    pub note: Option<String>,
    /// When it came, by the server's clock, in milliseconds since 1970 UTC.
    #[n(2)]
    pub heard_ms: i64,
    /// What is wrong. Nothing newer is believed until somebody has looked into it.
    #[n(3)]
    pub alarm: Option<Alarm>,
    /// The log went on after a restore.
    #[n(4)]
    pub restored: Option<Restored>,
    /// The alarms that somebody has looked into, the oldest first.
    #[n(5)]
    pub seen: Option<Vec<Alarm>>,
    /// The next checkpoint need not continue the one that is here.
    #[n(6)]
    pub anew: Option<bool>,
}

/// The server's log is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Alarm {
    /// What is wrong.
    #[n(0)]
    pub what: Wrong,
    /// The checkpoint that the device has: a signed note.
    #[n(1)]
    pub kept: Option<String>,
    /// The one that it was told then.
    #[n(2)]
    pub told: Option<String>,
    /// When, by the server's clock.
    #[n(3)]
    pub at_ms: i64,
    /// The log's key, as the device knew it then.
    #[n(4)]
    pub key: Option<LogKey>,
}

/// What can be wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Wrong {
    /// It does not continue what the device has a receipt for: something was dropped or rewritten.
    #[n(0)]
    Rewritten,
    /// The checkpoint is not signed by the log's key, or is not that of the page with which it came.
    #[n(1)]
    Forged,
    /// The page came without a checkpoint, although the log has gone on.
    #[n(2)]
    Withheld,
}

/// A log that went on after a restore, or under another key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Restored {
    /// When the device heard of it, by the server's clock.
    #[n(0)]
    pub at_ms: i64,
    /// Lines that the device has a receipt for and that the log had lost; `None` if nobody can say how many: the life
    /// that the receipt is of is itself lost.
    #[n(1)]
    pub lost: Option<u64>,
    /// Another key signs from then on.
    #[n(2)]
    pub another_key: bool,
}

impl Watch {
    /// Which checkpoint the next one must continue.
    pub fn known(&self) -> Known {
        self.base().map_or(Known::NOTHING, |kept| Known { life: kept.life, size: kept.size })
    }

    fn base(&self) -> Option<Checkpoint> {
        self.kept().filter(|_| self.anew != Some(true))
    }

    /// Somebody has looked into the alarm: it is kept, and the next checkpoint is taken, with its key, as the first was.
    pub fn alarm_seen(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            let seen = self.seen.get_or_insert_default();
            if seen.len() == SEEN_MAX {
                seen.remove(0);
            }
            seen.push(alarm);
            self.anew = Some(true);
        }
    }

    /// The checkpoint that is kept.
    pub fn kept(&self) -> Option<Checkpoint> {
        let note: SignedNote = self.note.as_ref()?.parse().ok()?;
        note.text().parse().ok()
    }

    /// Takes in what came with the last page of a pull.
    pub fn hear(&mut self, org: OrgId, at: &Cursor, receipt: Option<&Receipt>, server_ms: i64) {
        if self.alarm.is_some() {
            return;
        }
        let kept = self.base();
        let Some(receipt) = receipt else {
            // Only who has the newest one already gets none.
            let wrong = match kept {
                Some(kept) if kept.life == at.origin && kept.size > at.sequence => {
                    Some(Wrong::Rewritten)
                }
                Some(kept) if kept.life == at.origin && kept.size == at.sequence => {
                    (kept.root != at.root).then_some(Wrong::Rewritten)
                }
                _ => Some(Wrong::Withheld),
            };
            if let Some(wrong) = wrong {
                self.raise(wrong, None, server_ms);
            }
            return;
        };
        match self.judge(org, at, kept, receipt, server_ms) {
            Ok((key, restored)) => {
                self.restored = restored.or(self.restored.take());
                self.key = Some(key);
                self.note = Some(receipt.note(org, at, key).to_string());
                self.heard_ms = server_ms;
                self.anew = None;
            }
            Err(what) => {
                let key = self.key.or(receipt.key);
                let told = key.map(|key| receipt.note(org, at, key).to_string());
                self.raise(what, told, server_ms);
            }
        }
    }

    fn raise(&mut self, what: Wrong, told: Option<String>, at_ms: i64) {
        self.alarm = Some(Alarm { what, kept: self.note.clone(), told, at_ms, key: self.key });
    }

    fn judge(
        &self,
        org: OrgId,
        at: &Cursor,
        kept: Option<Checkpoint>,
        receipt: &Receipt,
        at_ms: i64,
    ) -> Result<(LogKey, Option<Restored>), Wrong> {
        let open = |key: LogKey| Checkpoint::open(&receipt.note(org, at, key), key.0).ok();
        let told = receipt.key.filter(|_| self.anew == Some(true));
        let known = told.or(self.key).or(receipt.key).ok_or(Wrong::Forged)?;
        let Some(kept) = kept else {
            let another_key = self.key.is_some_and(|key| key != known);
            let restored = another_key.then_some(Restored { at_ms, lost: None, another_key });
            return open(known).map(|_| (known, restored)).ok_or(Wrong::Forged);
        };
        let older = (kept.size, &kept.root);
        if kept.life == at.origin {
            let told = open(known).ok_or(Wrong::Forged)?;
            return match continues(older, (told.size, &told.root), &receipt.proof) {
                true => Ok((known, None)),
                false => Err(Wrong::Rewritten),
            };
        }
        let lives = receipt.lives.as_deref().unwrap_or_default();
        let mut key = known;
        let mut first = None;
        let mut newest = None;
        for life in lives.iter().take(LIVES_MAX) {
            let leaf = from_cbor(&life.leaf).map_err(|_| Wrong::Rewritten)?;
            let Leaf::Origin { origin, after: Some((size, root)), key: next, .. } = leaf else {
                return Err(Wrong::Rewritten);
            };
            let hash = leaf_hash(&life.leaf);
            if size != life.sequence
                || !includes(at.sequence, &at.root, life.sequence, &hash, &life.proof)
            {
                return Err(Wrong::Rewritten);
            }
            key = next;
            newest = Some(origin);
            first.get_or_insert((size, root));
        }
        // Without a leaf that says so the log has no other life.
        let Some((end, end_root)) = first.filter(|_| newest == Some(at.origin)) else {
            return Err(Wrong::Rewritten);
        };
        let told = open(key).ok_or(Wrong::Forged)?;
        let continued = |older| continues(older, (told.size, &told.root), &receipt.proof);
        let lost = if kept.size <= end && continued(older) {
            Some(0)
        } else if continued((end, &end_root)) {
            kept.size.checked_sub(end).filter(|lost| *lost > 0)
        } else {
            return Err(Wrong::Rewritten);
        };
        Ok((key, Some(Restored { at_ms, lost, another_key: key != known })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Frontier, Keypair};
    use crate::tlog::{Hashes, Tile, Tree};

    const ORG: OrgId = OrgId::from_bytes([1; 16]);

    #[derive(Clone, Default)]
    struct Log {
        leaves: Vec<LogHash>,
        entries: Vec<Vec<u8>>,
        lives: Vec<u64>,
        life: Option<LogOrigin>,
        key: u8,
    }

    impl Hashes for Log {
        type Error = std::convert::Infallible;

        fn hashes(&mut self, _: Tile, first: u64, count: u64) -> Result<Vec<LogHash>, Self::Error> {
            Ok(self.leaves[first as usize..(first + count) as usize].to_vec())
        }
    }

    impl Log {
        fn begin(&mut self, name: u8, key: u8) {
            let size = self.leaves.len() as u64;
            let after = (size > 0).then(|| (size, self.root()));
            let origin = LogOrigin::from_bytes([name; 16]);
            (self.life, self.key) = (Some(origin), key);
            self.lives.push(size);
            let key = LogKey(self.pair().public());
            self.push(&crate::cbor::to_cbor(&Leaf::Origin { origin, at_ms: 0, after, key }));
        }

        fn push(&mut self, entry: &[u8]) {
            self.leaves.push(leaf_hash(entry));
            self.entries.push(entry.to_vec());
        }

        fn grow(&mut self, count: u8, salt: u8) {
            (0..count).for_each(|n| self.push(&[n, salt]));
        }

        fn pair(&self) -> Keypair {
            Keypair::from_seed(&[self.key; 32])
        }

        fn root(&self) -> LogHash {
            let mut frontier = Frontier::default();
            self.leaves.iter().for_each(|leaf| frontier.push(*leaf));
            frontier.root()
        }

        fn at(&self) -> Cursor {
            let sequence = self.leaves.len() as u64;
            Cursor { origin: self.life.unwrap(), sequence, root: self.root() }
        }

        /// The receipt of an honest log for who stands at `from` of the life before these lives.
        fn receipt(&mut self, from: u64, lives: &[u64]) -> Receipt {
            let (at, key) = (self.at(), Some(LogKey(self.pair().public())));
            let (life, size, root) = (at.origin, at.sequence, at.root);
            let signature = Checkpoint { org: ORG, life, size, root }.signature(&self.pair());
            let end = lives.first().copied().unwrap_or(size);
            let Ok(proof) = Tree::new(self, size).consistency(from.min(end));
            let lives = lives.iter().map(|begins| {
                let Ok(proof) = Tree::new(self, size).inclusion(*begins);
                Life { sequence: *begins, leaf: self.entries[*begins as usize].clone(), proof }
            });
            let lives = Some(lives.collect());
            Receipt { signature, proof, lives, key }
        }
    }

    fn watching() -> (Log, Watch) {
        let mut log = Log::default();
        log.begin(1, 1);
        log.grow(20, 0);
        let mut watch = Watch::default();
        watch.hear(ORG, &log.at(), Some(&log.receipt(0, &[])), 5);
        assert_eq!((watch.known().size, &watch.alarm), (21, &None));
        (log, watch)
    }

    fn hear(
        watch: &Watch,
        log: &Log,
        receipt: Option<&Receipt>,
    ) -> (Option<Wrong>, Option<Restored>) {
        let mut watch = watch.clone();
        watch.hear(ORG, &log.at(), receipt, 7);
        if let Some(alarm) = &watch.alarm {
            assert!(alarm.kept.is_some() && alarm.told.is_some() == receipt.is_some());
            assert_eq!(watch.known().size, 21, "the receipt stays as evidence");
        }
        (watch.alarm.map(|alarm| alarm.what), watch.restored)
    }

    #[test]
    fn a_log_that_grows_is_believed_and_one_that_does_not_continue_is_noticed() {
        let (log, watch) = watching();
        let mut grown = log.clone();
        grown.grow(30, 1);
        let receipt = grown.receipt(21, &[]);
        assert_eq!(hear(&watch, &grown, Some(&receipt)), (None, None));
        assert_eq!(hear(&watch, &grown, None), (Some(Wrong::Withheld), None));
        assert_eq!(hear(&watch, &log, None), (None, None));
        // Without a proof, or with another one.
        let bare = Receipt { proof: Vec::new(), ..receipt.clone() };
        assert_eq!(hear(&watch, &grown, Some(&bare)).0, Some(Wrong::Rewritten));
        let other = grown.receipt(20, &[]);
        assert_eq!(hear(&watch, &grown, Some(&other)).0, Some(Wrong::Rewritten));
        // Rolled back, and grown otherwise since.
        let mut back = Log { leaves: log.leaves[..10].to_vec(), ..log.clone() };
        for more in [0, 11, 30] {
            back.grow(more, 9);
            let receipt = back.receipt(10, &[]);
            assert_eq!(hear(&watch, &back, Some(&receipt)).0, Some(Wrong::Rewritten));
            let silent = hear(&watch, &back, None).0;
            let expected = if more < 30 { Wrong::Rewritten } else { Wrong::Withheld };
            assert_eq!(silent, Some(expected), "{more}");
        }
        // Signed by another key, of another page, of another organisation.
        let mut stranger = grown.clone();
        stranger.key = 2;
        assert_eq!(hear(&watch, &grown, Some(&stranger.receipt(21, &[]))).0, Some(Wrong::Forged));
        let mut longer = grown.clone();
        longer.grow(1, 1);
        assert_eq!(hear(&watch, &longer, Some(&receipt)).0, Some(Wrong::Forged));
        let mut other = watch.clone();
        other.hear(OrgId::from_bytes([2; 16]), &grown.at(), Some(&receipt), 7);
        assert_eq!(other.alarm.map(|alarm| alarm.what), Some(Wrong::Forged));
    }

    #[test]
    fn a_restored_log_says_so_and_names_its_key() {
        let (log, watch) = watching();
        for (size, lost) in [(10, 11), (21, 0), (25, 0)] {
            let mut restored = log.clone();
            restored.grow(9, 1);
            restored.leaves.truncate(size);
            restored.entries.truncate(size);
            restored.begin(2, 2);
            restored.grow(40, 2);
            let lives = [size as u64];
            let told = Some(Restored { at_ms: 7, lost: Some(lost), another_key: true });
            let receipt = restored.receipt(21, &lives);
            assert_eq!(hear(&watch, &restored, Some(&receipt)), (None, told), "{size}");
            let silent = Receipt { lives: None, ..receipt.clone() };
            assert_eq!(hear(&watch, &restored, Some(&silent)).0, Some(Wrong::Rewritten));
            let mut thief = restored.clone();
            thief.key = 3;
            let forged = thief.receipt(21, &lives);
            assert_eq!(hear(&watch, &restored, Some(&forged)).0, Some(Wrong::Forged));
            // Restored twice before the device came back.
            restored.begin(3, 2);
            let receipt = restored.receipt(21, &[size as u64, size as u64 + 41]);
            assert_eq!(hear(&watch, &restored, Some(&receipt)).0, None);
        }
        // Restored from a backup of before the life that the device knows.
        let mut older = Log::default();
        older.begin(0, 1);
        older.grow(40, 3);
        older.begin(4, 1);
        let receipt = older.receipt(41, &[41]);
        let told = Some(Restored { at_ms: 7, lost: None, another_key: false });
        assert_eq!(hear(&watch, &older, Some(&receipt)), (None, told));
        // A life that claims to continue what it does not.
        let mut other = Log { leaves: vec![LogHash([9; 32]); 30], ..log };
        other.entries = vec![Vec::new(); 30];
        other.begin(2, 1);
        let receipt = other.receipt(21, &[30]);
        assert_eq!(hear(&watch, &other, Some(&receipt)).0, Some(Wrong::Rewritten));
    }

    #[test]
    fn a_log_is_watched_again_once_somebody_has_looked_into_an_alarm() {
        let (log, mut watch) = watching();
        let mut back = Log { leaves: log.leaves[..10].to_vec(), ..log.clone() };
        back.grow(5, 9);
        watch.hear(ORG, &back.at(), Some(&back.receipt(10, &[])), 7);
        let alarm = watch.alarm.clone().unwrap();
        assert_eq!((alarm.what, alarm.key), (Wrong::Rewritten, watch.key));
        back.grow(5, 9);
        watch.hear(ORG, &back.at(), Some(&back.receipt(15, &[])), 8);
        assert_eq!((watch.known().size, &watch.alarm), (21, &Some(alarm.clone())));

        watch.alarm_seen();
        watch.alarm_seen();
        assert_eq!((watch.known(), watch.kept().unwrap().size), (Known::NOTHING, 21));
        assert_eq!((&watch.alarm, &watch.seen), (&None, &Some(vec![alarm.clone()])));
        // A server that has nothing signed to show is no better than before.
        let mut silent = watch.clone();
        silent.hear(ORG, &back.at(), None, 8);
        assert_eq!(silent.alarm.map(|alarm| alarm.what), Some(Wrong::Withheld));
        watch.hear(ORG, &back.at(), Some(&back.receipt(0, &[])), 9);
        assert_eq!((watch.known().size, &watch.alarm, &watch.restored), (20, &None, &None));

        // It is the base: what goes on from it is believed, and what does not is an alarm again.
        let mut grown = back.clone();
        grown.grow(3, 9);
        let mut on = watch.clone();
        on.hear(ORG, &grown.at(), Some(&grown.receipt(20, &[])), 9);
        assert_eq!((on.known().size, &on.alarm), (23, &None));
        watch.hear(ORG, &log.at(), Some(&log.clone().receipt(20, &[])), 9);
        assert_eq!(watch.alarm.as_ref().map(|alarm| alarm.what), Some(Wrong::Rewritten));
        watch.alarm_seen();
        assert_eq!(watch.seen.as_ref().map(Vec::len), Some(2));

        // Another key is said, also where no line of the log has told of it.
        let mut other = log.clone();
        other.key = 3;
        watch.hear(ORG, &other.at(), Some(&other.receipt(0, &[])), 10);
        let told = Some(Restored { at_ms: 10, lost: None, another_key: true });
        assert_eq!((&watch.alarm, &watch.restored), (&None, &told));
        assert_eq!(watch.key, Some(LogKey(other.pair().public())));
    }
}
