//! Cargo: one person's unconfirmed work that another person's device brings to the server.
//!
//! A [`Parcel`] holds what of one document its origin would push, or one photo that its entries name. It is sealed to
//! the server's key (HPKE, RFC 9180), so that whoever carries it learns only from whom it is, and signed by its origin,
//! so that nobody can put another one in its place. Sealing is a function of the work and the device's key: the same
//! work makes the same parcel, however many colleagues are met, and no randomness is needed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::convert::Infallible;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, single_shot_open};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use zeroize::Zeroizing;

use crate::client::{BadAnswer, Fault, PUSH_BYTES_AIM, Replica, Work, Write};
use crate::evidence::{Keypair, agreement_key, verify};
use crate::id::{BlobHash, ChangeHash, DeviceId, DocId, OrgId, ParcelHash};
use crate::model::catalogue::{Device, Record, RecordKey};
use crate::model::visit::Note;
use crate::wire::{
    CHANGES_MAX, CargoReply, CargoRequest, Delivery, Group, NOTES_MAX, PROTOCOL, ParcelBytes,
    Within, from_wire, protocol_of, to_wire,
};

/// The code of a photo that nothing at the server names.
pub const NOT_REFERENCED: &str = "not_referenced";

/// Longest parcel.
pub const PARCEL_BYTES_MAX: usize = 1024 * 1024;
/// Most parcels in one message to the server.
pub const PARCELS_MAX: usize = 64;
/// Most that a device carries for others.
pub const CARGO_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most parcels that a device carries for others.
pub const CARGO_PARCELS_MAX: usize = 1_000;
/// Most that a device carries of one person's devices.
pub const SHARE_BYTES_MAX: u64 = CARGO_BYTES_MAX / 4 * 3;
/// Most parcels that a device carries of one person's devices.
pub const SHARE_PARCELS_MAX: usize = CARGO_PARCELS_MAX / 4 * 3;

const LABEL_CONTEXT: &[u8] = b"endcap parcel v1\0";
const SEAL_CONTEXT: &[u8] = b"endcap cargo v1\0";

const ORIGIN_BYTES: usize = 16;
const SIGNATURE_BYTES: usize = 64;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const KEY_AT: usize = ORIGIN_BYTES + SIGNATURE_BYTES;
const TEXT_AT: usize = KEY_AT + KEY_BYTES;

/// What a parcel holds once it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cargo {
    /// [`PROTOCOL`] of its origin.
    pub protocol: u32,
    /// What its origin would bring to the server.
    pub load: Load,
}

/// What its origin would push of one document, or one photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// A document's work, and the notes that it names.
    Work(Group, Vec<Note>),
    /// A photo's file.
    Photo(Vec<u8>),
}

impl<C: Within> Encode<C> for Cargo {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match &self.load {
            Load::Work(group, notes) => {
                e.map(3)?.u8(0)?.u32(self.protocol)?;
                e.u8(1)?.encode_with(group, ctx)?.u8(2)?.encode_with(notes, ctx)?.ok()
            }
            Load::Photo(file) => e.map(2)?.u8(0)?.u32(self.protocol)?.u8(3)?.bytes(file)?.ok(),
        }
    }
}

impl<'b, C: Within> Decode<'b, C> for Cargo {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        #[derive(Decode)]
        #[cbor(map, context_bound = "Within")]
        struct Fields {
            #[n(0)]
            protocol: u32,
            #[n(1)]
            group: Option<Group>,
            #[n(2)]
            notes: Option<Vec<Note>>,
            #[n(3)]
            photo: Option<ByteVec>,
        }
        let Fields { protocol, group, notes, photo } = d.decode_with(ctx)?;
        let load = match (group, notes, photo) {
            (Some(group), Some(notes), None) => Load::Work(group, notes),
            (None, None, Some(file)) => Load::Photo(file.into()),
            _ => return Err(decode::Error::message("it is neither a document's work nor a photo")),
        };
        Ok(Self { protocol, load })
    }
}

/// Sealed work: origin (16 bytes), its signature (64), an encapsulated key (32) and the ciphertext.
#[derive(Clone, PartialEq, Eq)]
pub struct Parcel(Vec<u8>);

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parcel({}, {} bytes)", self.name(), self.0.len())
    }
}

/// A parcel that a device carries for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Carried {
    /// Its name.
    #[n(0)]
    pub name: ParcelHash,
    /// Whose work it is.
    #[n(1)]
    pub origin: DeviceId,
    /// Its length.
    #[n(2)]
    pub bytes: u32,
    /// Since when: the server's time as well as the device knew it, in milliseconds since 1970 UTC. No two have the same.
    #[n(3)]
    pub since_ms: i64,
    /// How often the server has put it off.
    #[n(4)]
    pub put_off: Option<u32>,
    /// It is a photo that nothing at the server names yet.
    #[n(5)]
    pub unnamed: Option<bool>,
}

impl Carried {
    /// A parcel that was taken at this time.
    pub fn of(parcel: &Parcel, since_ms: i64) -> Self {
        let bytes = u32::try_from(parcel.0.len()).unwrap_or(u32::MAX);
        let (name, origin) = (parcel.name(), parcel.origin());
        Self { name, origin, bytes, since_ms, put_off: None, unnamed: None }
    }

    /// The server has put it off once more, or named by nothing there (`unnamed`) it waits for what may name it.
    pub fn later(self, unnamed: bool) -> Self {
        let put_off = Some(self.put_off.map_or(1, |times| times.saturating_add(1)));
        Self { put_off, unnamed: unnamed.then_some(true), ..self }
    }
}

/// Why a parcel cannot be read by whom it is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It was sealed to another key, in another organisation or for another origin, or was changed since.
    #[error("the parcel does not open")]
    Closed,
    /// Its origin speaks another version of the protocol.
    #[error("what is in the parcel speaks protocol version {0}")]
    Protocol(u32),
    /// What is in it does not read.
    #[error("what is in the parcel cannot be read: {0}")]
    Unreadable(String),
}

impl Parcel {
    /// Seals work of a device to the server of its organisation. `None` when it is too long for a parcel, or
    /// `server` is not the public key of a server.
    pub fn seal(
        org: OrgId,
        origin: DeviceId,
        keypair: &Keypair,
        server: &[u8; 32],
        cargo: &impl Encode<OrgId>,
    ) -> Option<Self> {
        Self::seal_text(org, origin, keypair, server, to_wire(org, cargo))
    }

    fn seal_text(
        org: OrgId,
        origin: DeviceId,
        keypair: &Keypair,
        server: &[u8; 32],
        text: Vec<u8>,
    ) -> Option<Self> {
        let text = Zeroizing::new(text);
        if TEXT_AT + text.len() + TAG_BYTES > PARCEL_BYTES_MAX {
            return None;
        }
        let to = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&agreement_key(server)?).ok()?;
        let of = [&info(org)[..], origin.as_bytes(), server, &ParcelHash::of(&text).0].concat();
        let mut secret = Secret(keypair.derive(SEAL_CONTEXT, &of));
        let (key, text) = hpke::single_shot_seal_with_rng::<
            ChaCha20Poly1305,
            HkdfSha256,
            X25519HkdfSha256,
        >(
            &OpModeS::Base, &to, &info(org), &text, origin.as_bytes(), &mut secret
        )
        .ok()?;
        let sealed = [&key.to_bytes()[..], &text].concat();
        let signature = keypair.sign(&label(org, origin, &sealed));
        Some(Self([&origin.as_bytes()[..], &signature, &sealed].concat()))
    }

    /// A parcel as it travels; `None` for bytes that are too few or too many.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (TEXT_AT + TAG_BYTES..=PARCEL_BYTES_MAX).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The bytes that travel.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of the bytes.
    pub fn name(&self) -> ParcelHash {
        ParcelHash::of(&self.0)
    }

    /// Whose work it is, as it says.
    pub fn origin(&self) -> DeviceId {
        DeviceId::from_bytes(self.0[..ORIGIN_BYTES].try_into().expect("a parcel is longer"))
    }

    /// Whether the device with this key is its origin and made exactly this.
    pub fn is_signed(&self, org: OrgId, key: &[u8; 32]) -> bool {
        let signature = self.0[ORIGIN_BYTES..KEY_AT].try_into().expect("a parcel is longer");
        verify(key, &label(org, self.origin(), &self.0[KEY_AT..]), &signature)
    }

    /// Opens it with the key of the organisation's server. Who made it is another question: ask
    /// [`Parcel::is_signed`] first.
    pub fn open(&self, org: OrgId, server: &Keypair) -> Result<Cargo, Unopened> {
        let closed = |_| Unopened::Closed;
        let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&*server.agreement_secret());
        let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.0[KEY_AT..TEXT_AT]);
        let text = single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret.map_err(closed)?,
            &key.map_err(closed)?,
            &info(org),
            &self.0[TEXT_AT..],
            self.origin().as_bytes(),
        );
        let text = Zeroizing::new(text.map_err(closed)?);
        let unreadable = |why: &str| Unopened::Unreadable(why.to_owned());
        match protocol_of(&text) {
            Some(PROTOCOL) => {}
            Some(other) => return Err(Unopened::Protocol(other)),
            None => return Err(unreadable("it does not begin with its protocol version")),
        }
        let cargo: Cargo = from_wire(org, &text).map_err(|error| unreadable(&error.to_string()))?;
        let Load::Work(group, notes) = &cargo.load else { return Ok(cargo) };
        if group.changes.len() > CHANGES_MAX || notes.len() > NOTES_MAX {
            return Err(unreadable("it holds too much"));
        }
        match notes.iter().find_map(|note| note.validate().err()) {
            Some(invalid) => Err(unreadable(&invalid.to_string())),
            None => Ok(cargo),
        }
    }
}

fn info(org: OrgId) -> Vec<u8> {
    [SEAL_CONTEXT, org.as_bytes()].concat()
}

fn label(org: OrgId, origin: DeviceId, sealed: &[u8]) -> Vec<u8> {
    [LABEL_CONTEXT, org.as_bytes(), origin.as_bytes(), &ParcelHash::of(sealed).0].concat()
}

/// The entropy of one encapsulation: what it is made of is secret and differs with everything that is sealed.
struct Secret(Zeroizing<[u8; 32]>);

impl TryRng for Secret {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(32) {
            let next = ParcelHash::of(&[b"use".as_slice(), &*self.0].concat());
            chunk.copy_from_slice(&next.0[..chunk.len()]);
            *self.0 = ParcelHash::of(&[b"step".as_slice(), &*self.0].concat()).0;
        }
        Ok(())
    }
}

impl TryCryptoRng for Secret {}

/// A document's unconfirmed work as a parcel, and the changes in it: without what was refused before the server lost part
/// of its log, and what comes after that, for this is in groups of its own and a parcel has one. `None` when there is none,
/// when it is too long for a parcel, and while the device does not know the server's key.
pub fn pack<R: Replica>(
    replica: &R,
    keypair: &Keypair,
    document: DocId,
) -> Result<Option<(Parcel, Vec<ChangeHash>)>, R::Error> {
    let Some(kept) = replica.document(document)?.filter(|kept| kept.to_push()) else {
        return Ok(None);
    };
    let Some(Work { group, notes }) = Work::of(replica, keypair, &kept)? else {
        return Ok(None);
    };
    let changes = group.hashes().collect();
    let parcel = sealed(replica, keypair, Load::Work(group, notes))?;
    Ok(parcel.map(|parcel| (parcel, changes)))
}

/// A photo as a parcel. `None` when its file is not here, when it is too long for a parcel, and while the device does
/// not know the server's key.
pub fn pack_photo<R: Replica>(
    replica: &R,
    keypair: &Keypair,
    photo: BlobHash,
) -> Result<Option<Parcel>, R::Error> {
    match replica.photo(photo)? {
        Some(file) => sealed(replica, keypair, Load::Photo(file)),
        None => Ok(None),
    }
}

fn sealed<R: Replica>(
    replica: &R,
    keypair: &Keypair,
    load: Load,
) -> Result<Option<Parcel>, R::Error> {
    let profile = replica.profile();
    let server = Device::of_server(profile.org, |id| {
        Ok(match replica.record(RecordKey::device(id))? {
            Some(Record::Device(device)) => Some(device),
            _ => None,
        })
    });
    let cargo = Cargo { protocol: PROTOCOL, load };
    Ok(server?
        .and_then(|server| Parcel::seal(profile.org, profile.device, keypair, &server.key, &cargo)))
}

/// The next cargo for the server, oldest first, without what was `brought` in this sync, and one parcel if it failed at
/// several (`alone`). What was put off comes last, and no more of it once some was again. `None` when there is none.
pub fn next_cargo<R: Replica>(
    replica: &R,
    brought: &BTreeSet<ParcelHash>,
    alone: bool,
) -> Result<Option<CargoRequest>, R::Error> {
    let mut waiting = replica.cargo()?;
    let again = |carried: &Carried| brought.contains(&carried.name) && carried.put_off > Some(1);
    let enough = waiting.iter().any(again);
    waiting.retain(|carried| !brought.contains(&carried.name));
    if enough {
        waiting.retain(|carried| carried.put_off.is_none());
    }
    waiting.sort_unstable_by_key(|carried| (carried.put_off, carried.since_ms, carried.name));
    let (mut parcels, mut bytes) = (Vec::new(), 0);
    for carried in waiting.iter().take(if alone { 1 } else { PARCELS_MAX }) {
        let Some(parcel) = replica.parcel(carried.name)? else { continue };
        bytes += parcel.as_bytes().len();
        if !parcels.is_empty() && bytes > PUSH_BYTES_AIM {
            break;
        }
        parcels.push(ParcelBytes(parcel.0));
    }
    Ok((!parcels.is_empty()).then_some(CargoRequest { protocol: PROTOCOL, parcels }))
}

/// What the answer to cargo changes on the device that brought it. A photo that nothing names there stays while other cargo
/// of its origin does, for that may name it.
pub fn apply_cargo<R: Replica>(
    replica: &R,
    request: &CargoRequest,
    reply: &CargoReply,
) -> Result<Vec<Write>, Fault<R::Error>> {
    if reply.protocol != PROTOCOL {
        return Err(Fault::Answer(BadAnswer::Protocol(reply.protocol)));
    }
    if reply.outcomes.len() != request.parcels.len() {
        let why = "it has not one outcome for each parcel".into();
        return Err(Fault::Answer(BadAnswer::Unfit(why)));
    }
    let names = request.parcels.iter().map(|parcel| ParcelHash::of(&parcel.0));
    let outcomes: HashMap<ParcelHash, &Delivery> = names.zip(&reply.outcomes).collect();
    let (mut goes, mut unnamed, mut stays) = (Vec::new(), Vec::new(), HashSet::new());
    let mut writes = Vec::new();
    for carried in replica.cargo()? {
        match outcomes.get(&carried.name) {
            Some(Delivery::Taken {}) => goes.push(carried.name),
            Some(Delivery::Refused { code, .. }) if code == NOT_REFERENCED => unnamed.push(carried),
            Some(Delivery::Refused { .. }) => goes.push(carried.name),
            Some(Delivery::Later {}) => {
                stays.insert(carried.origin);
                writes.push(Write::PutOff { name: carried.name, unnamed: false });
            }
            None if carried.unnamed != Some(true) => drop(stays.insert(carried.origin)),
            None => {}
        }
    }
    for Carried { name, origin, .. } in unnamed {
        match stays.contains(&origin) {
            true => writes.push(Write::PutOff { name, unnamed: true }),
            false => goes.push(name),
        }
    }
    writes.extend(goes.into_iter().map(Write::Unload));
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Entry};
    use crate::evidence::Seal;
    use crate::id::DocKind;
    use crate::id::{Actor, UserId};
    use crate::model::capture::Moment;
    use crate::model::visit::Submission;

    const ORG: OrgId = OrgId::from_bytes([7; 16]);
    const ORIGIN: DeviceId = DeviceId::from_bytes([8; 16]);

    fn sealed(text: Vec<u8>) -> Option<Parcel> {
        let (phone, server) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        Parcel::seal_text(ORG, ORIGIN, &phone, &server.public(), text)
    }

    fn opened(text: Vec<u8>) -> Result<Cargo, Unopened> {
        sealed(text).expect("it is short").open(ORG, &Keypair::from_seed(&[2; 32]))
    }

    fn photo(file: &[u8]) -> Vec<u8> {
        to_wire(ORG, &Cargo { protocol: PROTOCOL, load: Load::Photo(file.to_vec()) })
    }

    #[test]
    fn a_photo_travels_as_it_is_in_the_same_parcel_each_time() {
        for file in [&b""[..], b"a photo", &[9; 100_000]] {
            let cargo = Cargo { protocol: PROTOCOL, load: Load::Photo(file.to_vec()) };
            assert_eq!(opened(photo(file)), Ok(cargo));
            assert_eq!(sealed(photo(file)), sealed(photo(file)));
        }
        let [one, other] = [b"one", b"two"].map(|file| sealed(photo(file)).expect("it is short"));
        assert_ne!(one.0[KEY_AT..TEXT_AT], other.0[KEY_AT..TEXT_AT]);
    }

    #[test]
    fn a_parcel_holds_work_or_a_photo_and_nothing_between() {
        let document = DocId { kind: DocKind::Visit, id: [1; 16] };
        let when = Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
        let by = UserId::from_bytes([3; 16]);
        let entry = Entry::Submission(Submission { by, when, place: None });
        let written = Document::new(ORG, document);
        let changes = vec![written.next(Actor::from_bytes([4; 16]), &entry).expect("it fits")];
        let group = Group { document, changes, seals: Vec::<Seal>::new() };
        let load = Load::Work(group, Vec::new());
        let work = to_wire(ORG, &Cargo { protocol: PROTOCOL, load });
        assert!(opened(work.clone()).is_ok());
        let with = |mut text: Vec<u8>, field: &[u8]| {
            text[0] += 1;
            text.extend(field);
            text
        };
        // A field of a later day is skipped.
        assert!(opened(with(work.clone(), b"\x18\x63\x00")).is_ok());
        assert!(opened(with(photo(b"x"), b"\x18\x63\x00")).is_ok());
        let without_notes = [&b"\xa2"[..], &work[1..work.len() - 2]].concat();
        for text in [
            with(work, b"\x03\x41x"),
            with(photo(b"x"), b"\x02\x80"),
            without_notes,
            b"\xa1\x00\x01".to_vec(),
            b"\xa2\x00\x01\x02\x80".to_vec(),
            b"\xa2\x00\x01\x03\x61x".to_vec(),
        ] {
            assert!(matches!(opened(text), Err(Unopened::Unreadable(_))));
        }
    }

    #[test]
    fn a_photo_that_is_too_long_makes_no_parcel() {
        let around = sealed(photo(&[0; 70_000])).expect("it is short").0.len() - 70_000;
        let longest = PARCEL_BYTES_MAX - around;
        assert_eq!(sealed(photo(&vec![0; longest])).map(|p| p.0.len()), Some(PARCEL_BYTES_MAX));
        assert_eq!(sealed(photo(&vec![0; longest + 1])), None);
    }
}
