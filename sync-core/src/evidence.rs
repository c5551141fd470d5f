//! Signatures, and the log that the server cannot quietly rewrite.
//!
//! A [`Seal`] is a device's Ed25519 signature over a change of its own; through the hashes of parents it
//! covers everything before it. The [`Frontier`] grows the organisation's Merkle tree (RFC 9162 section
//! 2.1, SHA-256) leaf by leaf; a position in it with the root there is a device's cursor.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cbor::to_cbor;
use crate::id::{
    BlobHash, ChangeHash, DeviceId, DistributorId, DocId, LogHash, LogOrigin, OrgId, UserId,
};
use crate::model::catalogue::RecordKey;

const SEAL_CONTEXT: &[u8] = b"endcap seal v1\0";
const ENROL_CONTEXT: &[u8] = b"endcap enrol v1\0";
const KEY_CONTEXT: &[u8] = b"endcap key v1\0";

/// A device's signature over one of its own changes and so over all of that change's past.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Seal {
    /// The device's change that is signed.
    #[n(0)]
    pub head: ChangeHash,
    /// The Ed25519 signature (RFC 8032) of context, organisation, document and head.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// A device's or the server's secret key.
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key of a 32-byte seed, which the caller keeps secret.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Seals a change of this device.
    pub fn seal(&self, org: OrgId, document: DocId, head: ChangeHash) -> Seal {
        let signature = self.sign(&seal_message(org, document, head));
        Seal { head, signature }
    }

    /// Proves possession of the key to whoever gave out an enrolment code.
    pub fn prove(&self, code: &str) -> [u8; 64] {
        self.sign(&[ENROL_CONTEXT, code.as_bytes()].concat())
    }

    /// Agrees, as one of the two, that a device's next key follows the one before.
    pub fn agree(&self, org: OrgId, before: &[u8; 32], next: &[u8; 32]) -> [u8; 64] {
        self.sign(&key_message(org, before, next))
    }

    /// Signs a message, which begins with what it is.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// What only the holder of the key can compute, for this purpose and of this.
    pub(crate) fn derive(&self, purpose: &[u8], of: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut derived = Zeroizing::new([0; 32]);
        let hkdf = Hkdf::<Sha256>::new(Some(purpose), self.0.as_bytes());
        hkdf.expand(of, &mut *derived).expect("32 bytes are not too many");
        derived
    }

    /// The X25519 secret whose public half is [`agreement_key`] of this key's.
    pub(crate) fn agreement_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_scalar_bytes())
    }
}

/// The X25519 key of an Ed25519 one (RFC 7748, section 4.1); `None` for bytes that are no good key.
pub(crate) fn agreement_key(key: &[u8; 32]) -> Option<[u8; 32]> {
    let key = VerifyingKey::from_bytes(key).ok().filter(|key| !key.is_weak())?;
    Some(key.to_montgomery().to_bytes())
}

impl std::fmt::Debug for Keypair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keypair(..)")
    }
}

fn seal_message(org: OrgId, document: DocId, head: ChangeHash) -> Vec<u8> {
    [SEAL_CONTEXT, org.as_bytes(), &document.to_bytes(), &head.0].concat()
}

/// Whether the holder of a key signed a message, checked strictly.
pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}

impl Seal {
    /// Whether the device with this key signed this head of this document.
    pub fn verify(&self, key: &[u8; 32], org: OrgId, document: DocId) -> bool {
        verify(key, &seal_message(org, document, self.head), &self.signature)
    }
}

/// A device's public key as people compare it: the first ten bytes of its SHA-256, in groups of four digits.
pub fn fingerprint_text(key: &[u8; 32]) -> String {
    let groups = BlobHash::of(key).0;
    let groups = groups[..10].chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1]));
    groups.collect::<Vec<_>>().join(" ")
}

/// Whether the holder of `key` signed this enrolment code.
pub fn proves(key: &[u8; 32], code: &str, signature: &[u8; 64]) -> bool {
    verify(key, &[ENROL_CONTEXT, code.as_bytes()].concat(), signature)
}

/// Whether the holder of `key`, one of the two, agreed that the next key follows the one before.
pub fn agrees(
    key: &[u8; 32],
    org: OrgId,
    before: &[u8; 32],
    next: &[u8; 32],
    signature: &[u8; 64],
) -> bool {
    verify(key, &key_message(org, before, next), signature)
}

fn key_message(org: OrgId, before: &[u8; 32], next: &[u8; 32]) -> Vec<u8> {
    [KEY_CONTEXT, org.as_bytes(), before, next].concat()
}

/// What one line of the organisation's log commits to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Leaf {
    /// The log begins.
    #[n(0)]
    Origin {
        /// This life of the log.
        #[n(0)]
        origin: LogOrigin,
        /// When, in milliseconds since 1970 UTC.
        #[n(1)]
        at_ms: i64,
        /// The size and root of the log that it continues after a restore.
        #[n(2)]
        after: Option<(u64, LogHash)>,
        /// The public key that signs its checkpoints.
        #[n(3)]
        key: LogKey,
    },
    /// A change was accepted.
    #[n(1)]
    Change {
        /// Into which document.
        #[n(0)]
        document: DocId,
        /// Which.
        #[n(1)]
        change: ChangeHash,
        /// From which device.
        #[n(2)]
        device: DeviceId,
        /// When it was received.
        #[n(3)]
        received_ms: i64,
    },
    /// A catalogue record was written: a version of an item, a person's rights, a device's key.
    #[n(2)]
    Record {
        /// Its kind.
        #[n(0)]
        kind: u8,
        /// Its id within the kind.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        id: [u8; 16],
        /// SHA-256 of a salt and its CBOR. The salt is kept beside the record, so that an erased name
        /// cannot be guessed from the log.
        #[n(2)]
        body: LogHash,
        /// When.
        #[n(3)]
        at_ms: i64,
    },
    /// Somebody decided on work that had been refused.
    #[n(3)]
    Decision {
        /// Into which document it was to go.
        #[n(0)]
        document: DocId,
        /// Its newest change.
        #[n(1)]
        head: ChangeHash,
        /// Whose work it is.
        #[n(2)]
        device: DeviceId,
        /// Who decided.
        #[n(3)]
        by: UserId,
        /// It goes into the log after all; otherwise it was discarded.
        #[n(4)]
        approved: bool,
        /// When.
        #[n(5)]
        at_ms: i64,
    },
    /// A manager of a distributor said that a key is that of one of their own people.
    #[n(4)]
    Confirmation {
        /// The device.
        #[n(0)]
        device: DeviceId,
        /// Its key.
        #[n(1)]
        key: LogKey,
        /// Who said so.
        #[n(2)]
        by: UserId,
        /// For which distributor.
        #[n(3)]
        distributor: DistributorId,
        /// When.
        #[n(4)]
        at_ms: i64,
    },
}

/// A public key as leaves hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct LogKey(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

impl Leaf {
    /// The leaf of a record with its salt and encoded body.
    pub fn record(key: RecordKey, salt: &[u8; 16], body: &[u8], at_ms: i64) -> Self {
        let body = LogHash::of(&[&salt[..], body].concat());
        Self::Record { kind: key.kind, id: key.id, body, at_ms }
    }

    /// When it was written.
    pub fn at_ms(&self) -> i64 {
        match self {
            Self::Origin { at_ms, .. }
            | Self::Change { received_ms: at_ms, .. }
            | Self::Record { at_ms, .. }
            | Self::Decision { at_ms, .. }
            | Self::Confirmation { at_ms, .. } => *at_ms,
        }
    }

    /// SHA-256 of 0x00 and the leaf's CBOR.
    pub fn hash(&self) -> LogHash {
        LogHash::of(&[&[0][..], &to_cbor(self)].concat())
    }
}

/// The right edge of the Merkle tree: all that is needed to add leaves and to know the root.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(array)]
pub struct Frontier {
    #[n(0)]
    size: u64,
    #[n(1)]
    peaks: Vec<LogHash>,
}

impl Frontier {
    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf's hash; its index is the size before.
    pub fn push(&mut self, leaf: LogHash) {
        let mut node = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            if let Some(left) = self.peaks.pop() {
                node = interior(&left, &node);
            }
            size >>= 1;
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root over all leaves; SHA-256 of nothing when there is none.
    pub fn root(&self) -> LogHash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return LogHash::of(b"") };
        peaks.fold(*last, |right, left| interior(left, &right))
    }
}

pub(crate) fn interior(left: &LogHash, right: &LogHash) -> LogHash {
    LogHash(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// A place in an organisation's log: everything before `sequence` is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Cursor {
    /// In which life of the log.
    #[n(0)]
    pub origin: LogOrigin,
    /// How many leaves come before.
    #[n(1)]
    pub sequence: u64,
    /// The root over them.
    #[n(2)]
    pub root: LogHash,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DocKind;

    /// RFC 9162 section 2.1.1, word for word.
    fn tree_head(leaves: &[LogHash]) -> LogHash {
        match leaves {
            [] => LogHash::of(b""),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                interior(&tree_head(&leaves[..split]), &tree_head(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_frontier_agrees_with_the_definition() {
        let leaves: Vec<_> = (0..70_u8).map(|n| LogHash::of(&[n])).collect();
        let mut frontier = Frontier::default();
        for (n, leaf) in leaves.iter().enumerate() {
            assert_eq!(frontier.root(), tree_head(&leaves[..n]));
            frontier.push(*leaf);
        }
        assert_eq!((frontier.size(), frontier.root()), (70, tree_head(&leaves)));
    }

    #[test]
    fn people_compare_a_key_by_twenty_digits_that_begin_as_its_actors_do() {
        let key = Keypair::from_seed(&[5; 32]).public();
        let text = fingerprint_text(&key);
        assert_eq!(text, "7599 776c 3085 e3f9 da0d");
        let actor = crate::id::Actor::fingerprint(&key).map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(text.replace(' ', "")[..16], actor);
        assert_ne!(text, fingerprint_text(&Keypair::from_seed(&[6; 32]).public()));
    }

    #[test]
    fn a_seal_holds_for_one_head_of_one_document_of_one_organisation() {
        let pair = Keypair::from_seed(&[5; 32]);
        let (org, head) = (OrgId::from_bytes([1; 16]), ChangeHash([2; 32]));
        let document = DocId { kind: DocKind::Visit, id: [3; 16] };
        let seal = pair.seal(org, document, head);
        assert!(seal.verify(&pair.public(), org, document));
        assert!(!seal.verify(&Keypair::from_seed(&[6; 32]).public(), org, document));
        assert!(!seal.verify(&pair.public(), OrgId::from_bytes([9; 16]), document));
        assert!(!seal.verify(&pair.public(), org, DocId { id: [4; 16], ..document }));
        let other = Seal { head: ChangeHash([7; 32]), ..seal.clone() };
        assert!(!other.verify(&pair.public(), org, document));
        assert!(!seal.verify(&[0; 32], org, document));
        assert!(proves(&pair.public(), "ABCD", &pair.prove("ABCD")));
        assert!(!proves(&pair.public(), "ABCE", &pair.prove("ABCD")));
    }
}
