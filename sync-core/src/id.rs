//! Names of things: identifiers that are never mistaken for one another.
//!
//! Most are 16 bytes shown as a UUID. None is made here from chance: a caller that needs a fresh one
//! passes the entropy in, so that the same inputs always give the same document.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use uuid::Uuid;

/// A name that does not read as the identifier that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not {1}")]
pub struct InvalidId(pub String, pub &'static str);

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] #[cbor(with = "minicbor::bytes")] [u8; 16]);

        impl $name {
            /// The identifier with exactly these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// A time-ordered (version 7) identifier from a clock reading and entropy, both the caller's.
            pub fn fresh(unix_ms: u64, entropy: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &entropy).into_uuid().into_bytes())
            }

            /// A stable (version 5) identifier for `name` within `space`.
            pub fn derived(space: &[u8; 16], name: &[u8]) -> Self {
                Self(Uuid::new_v5(&Uuid::from_bytes(*space), name).into_bytes())
            }

            /// Whether it has the form that [`Self::derived`] gives.
            pub const fn is_derived(&self) -> bool {
                self.0[6] >> 4 == 5
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Uuid::from_bytes(self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(s)
                    .map(|u| Self(u.into_bytes()))
                    .map_err(|_| InvalidId(s.to_owned(), "a UUID"))
            }
        }
    )*};
}

uuid_ids! {
    /// The brand: one tenant of a server.
    OrgId
    /// A person, as a pseudonym; the name behind it is an erasable record.
    UserId
    /// A phone's enrolment for one person; has one signing key.
    DeviceId
    /// A partner that sells the brand's goods to outlets.
    DistributorId
    /// A node of the territory tree.
    TerritoryId
    /// A store.
    OutletId
    /// A planned call of a journey plan; opaque and stable while its people and day move.
    CallId
    /// One call at one outlet, planned or not.
    VisitId
    /// One life of an organisation's log; a restored server starts a new one.
    LogOrigin
}

impl LogOrigin {
    /// Enough of it to tell the lives of one organisation's log apart: the first four bytes, big-endian.
    pub fn life(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Most devices that stand for the server of one organisation, one after the other.
pub const SERVER_KEYS_MAX: usize = 16;

impl DeviceId {
    /// The device that stands for the server of an organisation at first.
    pub fn of_server(org: OrgId) -> Self {
        Self::derived(org.as_bytes(), b"server")
    }

    /// All that may ever stand for it, in their order: another key is another device.
    pub fn of_servers(org: OrgId) -> impl Iterator<Item = Self> {
        let next = |before: &Self| Some(Self::derived(before.as_bytes(), b"server"));
        std::iter::successors(Some(Self::of_server(org)), next).take(SERVER_KEYS_MAX)
    }
}

impl UserId {
    /// Whose device the server's is.
    pub const NOBODY: Self = Self::from_bytes([0; 16]);
}

impl VisitId {
    /// The visit of a planned call: a function of the call alone, so that two people who start it
    /// offline write into the same document.
    pub fn of_call(org: OrgId, call: CallId) -> Self {
        Self::derived(org.as_bytes(), call.as_bytes())
    }
}

macro_rules! hashes {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] #[cbor(with = "minicbor::bytes")] pub [u8; 32]);

        impl $name {
            /// SHA-256 of `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                use sha2::Digest;
                Self(sha2::Sha256::digest(bytes).into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &self.to_string()[..12])
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                let bad = || InvalidId(s.to_owned(), "64 hexadecimal digits");
                if s.len() != 64 || !s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(bad());
                }
                let mut out = [0; 32];
                for (i, byte) in out.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&s[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
                }
                Ok(Self(out))
            }
        }
    )*};
}

hashes! {
    /// An Automerge change's hash: the identity of the one entry that it adds.
    ChangeHash
    /// SHA-256 of a photo's bytes or of a note's salted text.
    BlobHash
    /// A node or the root of an organisation's log.
    LogHash
    /// SHA-256 of a parcel: its name.
    ParcelHash
}

/// What a document is about; fixes its sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum DocKind {
    /// One call at one outlet and everything that was seen, said and decided there.
    #[n(0)]
    Visit,
    /// What the field reports about a store itself, known or newly found.
    #[n(1)]
    Outlet,
}

impl DocKind {
    /// The name inside documents and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Visit => "visit",
            Self::Outlet => "outlet",
        }
    }
}

/// A document's full name within its organisation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct DocId {
    /// What it is about.
    #[n(0)]
    pub kind: DocKind,
    /// Which one: a [`VisitId`]'s or an [`OutletId`]'s bytes, or what [`DocId::volume`] gives.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub id: [u8; 16],
}

impl DocId {
    /// The 17 bytes that name it in keys and signatures: kind, then id.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut out = [0; 17];
        out[0] = self.kind as u8;
        out[1..].copy_from_slice(&self.id);
        out
    }

    /// The reverse of [`DocId::to_bytes`]; `None` for an unknown kind or another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&kind, id) = bytes.split_first()?;
        let kind = match kind {
            0 => DocKind::Visit,
            1 => DocKind::Outlet,
            _ => return None,
        };
        Some(Self { kind, id: id.try_into().ok()? })
    }

    /// A volume of an outlet's history. The first, number 0, has the outlet's own id; the id of a later one follows
    /// from outlet and number, so that two people who go on offline write into the same.
    pub fn volume(outlet: OutletId, number: u32) -> Self {
        let Some(number) = NonZeroU32::new(number) else { return outlet.into() };
        let place = [&outlet.0[..], &number.get().to_be_bytes()].concat();
        let digest = BlobHash::of(&[&b"endcap volume v1\0"[..], &place].concat()).0;
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        let id = uuid::Builder::from_custom_bytes(id).into_uuid().into_bytes();
        Self { kind: DocKind::Outlet, id }
    }

    /// Whether it is a volume after an outlet's first: no outlet's own id has this form.
    pub fn is_later_volume(self) -> bool {
        self.kind == DocKind::Outlet && self.id[6] >> 4 == 8 && self.id[8] >> 6 == 0b10
    }

    /// The visit it is, if it is one.
    pub fn visit(self) -> Option<VisitId> {
        (self.kind == DocKind::Visit).then_some(VisitId(self.id))
    }
}

impl From<VisitId> for DocId {
    fn from(id: VisitId) -> Self {
        Self { kind: DocKind::Visit, id: id.0 }
    }
}

impl From<OutletId> for DocId {
    fn from(id: OutletId) -> Self {
        Self { kind: DocKind::Outlet, id: id.0 }
    }
}

impl fmt::Display for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), Uuid::from_bytes(self.id))
    }
}

impl FromStr for DocId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        match s.split_once('/') {
            Some(("visit", id)) => Ok(id.parse::<VisitId>()?.into()),
            Some(("outlet", id)) => Ok(id.parse::<OutletId>()?.into()),
            _ => Err(InvalidId(s.to_owned(), "a document's name, such as visit/<UUID>")),
        }
    }
}

impl fmt::Debug for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who writes inside a document: the first half names the device's key, the second the store instance
/// that writes with it, so that a copied store is told from its original.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Actor(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    [u8; 16],
);

impl Actor {
    /// The actor of a store instance on the device with this public key.
    pub fn new(public_key: &[u8; 32], instance: [u8; 8]) -> Self {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&Self::fingerprint(public_key));
        out[8..].copy_from_slice(&instance);
        Self(out)
    }

    /// The actor with exactly these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The first eight bytes of SHA-256 of a public key. Within an organisation they are unique: the
    /// server refuses to enrol a second key that has them.
    pub fn fingerprint(public_key: &[u8; 32]) -> [u8; 8] {
        let mut out = [0; 8];
        out.copy_from_slice(&BlobHash::of(public_key).0[..8]);
        out
    }

    /// Whether this actor belongs to the device with this public key.
    pub fn belongs_to(&self, public_key: &[u8; 32]) -> bool {
        self.device() == Self::fingerprint(public_key)
    }

    /// Names the device's key: what [`Actor::fingerprint`] makes of it.
    pub fn device(&self) -> [u8; 8] {
        let mut out = [0; 8];
        out.copy_from_slice(&self.0[..8]);
        out
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Actor({})", Uuid::from_bytes(self.0).simple())
    }
}

/// A trade item number, GTIN-8/12/13/14, compared as 14 digits.
///
/// Source: GS1 General Specifications, check digit from the right with weights 3, 1, 3, 1 …, mod 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Gtin(#[n(0)] u64);

impl Gtin {
    /// The number behind the digits; below 10^14.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Accepts a number whose check digit is right.
    pub fn from_u64(n: u64) -> Result<Self, InvalidId> {
        let (mut rest, mut sum, mut weight) = (n / 10, 0, 3);
        while rest > 0 {
            sum += rest % 10 * weight;
            weight = 4 - weight;
            rest /= 10;
        }
        if n == 0 || n >= 100_000_000_000_000 || (10 - sum % 10) % 10 != n % 10 {
            return Err(InvalidId(n.to_string(), "a GTIN with the right check digit"));
        }
        Ok(Self(n))
    }
}

impl fmt::Display for Gtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:014}", self.0)
    }
}

impl FromStr for Gtin {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let bad = || InvalidId(s.to_owned(), "a GTIN of 8, 12, 13 or 14 digits");
        if !matches!(s.len(), 8 | 12 | 13 | 14) || !s.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        Self::from_u64(s.parse().map_err(|_| bad())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gtin_check_digit() {
        assert_eq!("8904000210037".parse::<Gtin>().unwrap().to_string(), "08904000210037");
        assert!("8904000210038".parse::<Gtin>().is_err());
        assert!("890400021003".parse::<Gtin>().is_err());
        assert!("+904000210037".parse::<Gtin>().is_err());
        assert!(Gtin::from_u64(0).is_err());
        assert!(Gtin::from_u64(u64::MAX).is_err());
    }

    #[test]
    fn the_visit_of_a_call_is_a_function_of_the_call() {
        let (org, call) = (OrgId::from_bytes([1; 16]), CallId::from_bytes([2; 16]));
        assert_eq!(VisitId::of_call(org, call), VisitId::of_call(org, call));
        assert_ne!(VisitId::of_call(org, call), VisitId::of_call(OrgId::from_bytes([3; 16]), call));
    }

    #[test]
    fn a_volume_follows_from_its_outlet_and_number() {
        let outlet = OutletId::from_bytes([7; 16]);
        assert_eq!(DocId::volume(outlet, 0), outlet.into());
        assert!(!DocId::volume(outlet, 0).is_later_volume());
        let volumes = [(outlet, 1), (outlet, 2), (OutletId::from_bytes([8; 16]), 1)];
        let volumes = volumes.map(|(outlet, number)| DocId::volume(outlet, number));
        assert!(volumes.iter().all(|volume| volume.is_later_volume()));
        assert!(volumes[0] != volumes[1] && volumes[0] != volumes[2]);
        let visit = DocId { kind: DocKind::Visit, ..volumes[0] };
        assert!(!visit.is_later_volume());
    }

    #[test]
    fn hex_is_strict() {
        let h = BlobHash::of(b"x");
        assert_eq!(h.to_string().parse::<BlobHash>().unwrap(), h);
        assert!(h.to_string().to_uppercase().parse::<BlobHash>().is_err());
        assert!("../../etc/passwd".parse::<BlobHash>().is_err());
        assert!("é".repeat(32).parse::<BlobHash>().is_err());
    }
}
