//! A meeting: two devices of one organisation hand each other what the other can carry to the server.
//!
//! The shell owns the line, which may be any ordered stream of bytes, and may break at any of them. It sends what
//! [`Meeting::begin`] gives, passes on what it hears, commits the [`Turn::writes`] that come of it and **only then**
//! sends [`Turn::say`]: so a parcel is acknowledged once it is on the disk. Both sides do the same:
//!
//! 1. say who they are, and prove it over both sides' nonces: an enrolled device that is not revoked, as far as is
//!    known here;
//! 2. offer the names of their own unconfirmed work and its photos, and of what they carry for others;
//! 3. ask for what they lack and have room for, a little at a time, and answer every parcel with a signed `stored`
//!    or with why not;
//! 4. say that they are done.
//!
//! Nothing is merged: what is taken is carried, and only the server opens it.

use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map};

use minicbor::{Decode, Decoder, Encode};

use crate::cargo::{
    CARGO_BYTES_MAX, CARGO_PARCELS_MAX, Carried, PARCEL_BYTES_MAX, Parcel, SHARE_BYTES_MAX,
    SHARE_PARCELS_MAX, pack, pack_photo,
};
use crate::cbor::{from_cbor, to_cbor};
use crate::client::{Clocks, Profile, Replica, Write};
use crate::evidence::{Keypair, verify};
use crate::id::{BlobHash, ChangeHash, DeviceId, DocId, OrgId, ParcelHash, UserId};
use crate::model::catalogue::{Device, Record, RecordKey};
use crate::wire::{PROTOCOL, ParcelBytes};

/// Longest message between two devices.
pub const FRAME_BYTES_MAX: usize = PARCEL_BYTES_MAX + 64;
/// Longest message of a device that has not proved who it is.
pub const STRANGER_BYTES_MAX: usize = 256;
/// Most parcels that are offered in a meeting.
pub const OFFERS_MAX: usize = 2_000;
/// Bytes of parcels that one may ask for at once, unless it is one parcel.
pub const ASK_BYTES_MAX: usize = PARCEL_BYTES_MAX;
/// Longest name of a reason.
const CODE_BYTES_MAX: usize = 64;

const MEET_CONTEXT: &[u8] = b"endcap meet v1\0";
const STORED_CONTEXT: &[u8] = b"endcap stored v1\0";

/// What devices say to each other: a length (4 bytes, big-endian) and this in CBOR.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Message {
    /// Who speaks.
    #[n(0)]
    Hello {
        /// [`PROTOCOL`].
        #[n(0)]
        protocol: u32,
        /// Of which organisation.
        #[n(1)]
        org: OrgId,
        /// Which device.
        #[n(2)]
        device: DeviceId,
        /// Drawn by chance for this meeting.
        #[n(3)]
        #[cbor(with = "minicbor::bytes")]
        nonce: [u8; 32],
    },
    /// That it is so.
    #[n(1)]
    Proof {
        /// Over both sides' hello and keys.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        signature: [u8; 64],
    },
    /// What could be handed over.
    #[n(2)]
    Offer {
        /// [`OFFERS_MAX`] at most.
        #[n(0)]
        parcels: Vec<Offered>,
    },
    /// What is wanted of it.
    #[n(3)]
    Ask {
        /// Of parcels that were offered, each once; only after all that was asked for before was answered.
        #[n(0)]
        names: Vec<ParcelHash>,
    },
    /// What was asked for.
    #[n(4)]
    Parcel {
        /// The parcel.
        #[n(0)]
        parcel: ParcelBytes,
    },
    /// It was asked for, and is not here any more.
    #[n(5)]
    Gone {
        /// Which.
        #[n(0)]
        name: ParcelHash,
    },
    /// A parcel that was offered is on the disk of who says this.
    #[n(6)]
    Stored {
        /// Which.
        #[n(0)]
        name: ParcelHash,
        /// Of this device, over the other's nonce and the name.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        signature: [u8; 64],
    },
    /// A parcel that was offered is not taken.
    #[n(7)]
    Refused {
        /// Which.
        #[n(0)]
        name: ParcelHash,
        /// A stable name of the reason.
        #[n(1)]
        code: String,
    },
    /// Nothing more is wanted.
    #[n(8)]
    Done {},
    /// The meeting is over before its end.
    #[n(9)]
    Bye {
        /// [`Broken::code`] of who says this.
        #[n(0)]
        code: String,
    },
}

/// A parcel that could be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Offered {
    /// Its name.
    #[n(0)]
    pub name: ParcelHash,
    /// Whose work it is.
    #[n(1)]
    pub origin: DeviceId,
    /// Its length.
    #[n(2)]
    pub bytes: u32,
}

/// Why a meeting ended before its end. What was stored until then stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A message does not read.
    #[error("the other device says something that cannot be read")]
    Malformed,
    /// A message, or a list in it, is longer than its limit.
    #[error("the other device says too much at once")]
    TooLong,
    /// The other device speaks another version of the protocol.
    #[error("the other device speaks version {0}: update both apps")]
    Protocol(u32),
    /// The other device is of another organisation.
    #[error("the other device belongs to another organisation")]
    OtherOrganisation,
    /// The other device is this one.
    #[error("a device cannot meet itself")]
    Itself,
    /// The other device is not known here.
    #[error("the other device is not known here yet: sync first")]
    Stranger,
    /// The other device's access was withdrawn.
    #[error("the other device's access has been withdrawn")]
    Revoked,
    /// A signature is false.
    #[error("the other device is not who it says it is")]
    Forged,
    /// A message comes out of turn, or a parcel that nobody asked for.
    #[error("the other device does not keep to the order of a meeting")]
    Unexpected,
    /// The other device ended the meeting, for this reason of its own.
    #[error("the other device ended the meeting: {0}")]
    Left(String),
}

impl Broken {
    /// A stable name.
    pub fn code(&self) -> &str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Protocol(_) => "protocol_unsupported",
            Self::OtherOrganisation => "other_organisation",
            Self::Itself => "itself",
            Self::Stranger => "stranger",
            Self::Revoked => "revoked",
            Self::Forged => "forged",
            Self::Unexpected => "unexpected",
            Self::Left(_) => "left",
        }
    }
}

/// What comes of what was heard.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be stored, all together.
    pub writes: Vec<Write>,
    /// To be sent once that is on the disk.
    pub say: Vec<u8>,
}

/// How a meeting went so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The other device, once it has proved to be it.
    pub with: Option<DeviceId>,
    /// Parcels that the other device carries now, its disk's word for it.
    pub given: u32,
    /// Parcels that were offered to the other device and that it has not answered for.
    pub open: u32,
    /// Parcels that this device carries since this meeting.
    pub taken: u32,
    /// Parcels that this device has still to be sent.
    pub wanted: u32,
    /// Why the other device has not taken parcels: the name of each reason, and of how many.
    pub declined: BTreeMap<String, u32>,
    /// Why this device has not taken parcels: the name of each reason, and of how many.
    pub refused: BTreeMap<String, u32>,
}

/// The other side, as its hello says.
#[derive(Clone)]
struct Peer {
    device: Device,
    nonce: [u8; 32],
    proved: bool,
}

/// Where a parcel comes from that this device offers.
#[derive(Clone)]
enum Source {
    Own { document: DocId, changes: Vec<ChangeHash> },
    Photo(BlobHash),
    Carried,
}

#[derive(Clone)]
struct Offer {
    source: Source,
    bytes: usize,
    asked: bool,
}

/// One meeting, seen from one side.
#[derive(Clone)]
pub struct Meeting {
    nonce: [u8; 32],
    heard: Vec<u8>,
    peer: Option<Peer>,
    /// What was offered and not answered for.
    offers: BTreeMap<ParcelHash, Offer>,
    offered: bool,
    /// What is still to be asked for.
    wanted: VecDeque<Offered>,
    /// What was asked for and has not come.
    asked: BTreeMap<ParcelHash, Offered>,
    /// This side, and the other, wants nothing more.
    done: (bool, bool),
    report: Report,
    end: Option<Result<(), Broken>>,
}

impl std::fmt::Debug for Meeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Meeting({:?}, {:?})", self.report, self.end)
    }
}

/// Begins each message with its length.
pub fn frame(message: &Message) -> Vec<u8> {
    let body = to_cbor(message);
    let length = u32::try_from(body.len()).expect("a message is short").to_be_bytes();
    [&length[..], &body].concat()
}

fn meet_message(
    org: OrgId,
    signer: (DeviceId, &[u8; 32], &[u8; 32]),
    other: (DeviceId, &[u8; 32], &[u8; 32]),
) -> Vec<u8> {
    let mut message = [MEET_CONTEXT, org.as_bytes()].concat();
    for (device, nonce, key) in [signer, other] {
        message.extend([&device.as_bytes()[..], nonce, key].concat());
    }
    message
}

fn stored_message(org: OrgId, holder: DeviceId, nonce: &[u8; 32], name: ParcelHash) -> Vec<u8> {
    [STORED_CONTEXT, org.as_bytes(), holder.as_bytes(), nonce, &name.0].concat()
}

/// Reads only a hello's protocol version, which stands there in every version for ever.
fn hello_protocol(body: &[u8]) -> Option<u32> {
    let mut d = Decoder::new(body);
    match (d.array().ok()??, d.u32().ok()?) {
        (2.., 0) => d.u32().ok(),
        _ => None,
    }
}

/// What one call of [`Meeting::hear`] works with.
struct Here<'a, R> {
    replica: &'a R,
    keypair: &'a Keypair,
    now_ms: i64,
    turn: Turn,
}

impl<R: Replica> Here<'_, R> {
    fn profile(&self) -> &Profile {
        self.replica.profile()
    }

    fn say(&mut self, message: &Message) {
        self.turn.say.extend(frame(message));
    }

    fn device(&self, id: DeviceId) -> Result<Option<Device>, R::Error> {
        Ok(match self.replica.record(RecordKey::device(id))? {
            Some(Record::Device(device)) => Some(device),
            _ => None,
        })
    }

    /// What is carried, with what this turn adds.
    fn carried(&self) -> Result<Vec<Carried>, R::Error> {
        let mut carried = self.replica.cargo()?;
        carried.extend(self.turn.writes.iter().filter_map(|write| match write {
            Write::Carry(parcel, since_ms) => Some(Carried::of(parcel, *since_ms)),
            _ => None,
        }));
        Ok(carried)
    }

    fn hold(&self, carried: &[Carried]) -> Result<Hold, R::Error> {
        let (mut hold, mut people) = (Hold::default(), BTreeMap::new());
        for carried in carried {
            let person = match people.entry(carried.origin) {
                btree_map::Entry::Occupied(known) => *known.get(),
                btree_map::Entry::Vacant(unknown) => {
                    *unknown.insert(self.device(carried.origin)?.map(|device| device.user))
                }
            };
            hold.add(person, carried.bytes);
        }
        Ok(hold)
    }
}

/// What a device carries, in all and of each person whose devices it knows: parcels and bytes.
#[derive(Default)]
struct Hold {
    all: (usize, u64),
    of: BTreeMap<Option<UserId>, (usize, u64)>,
}

impl Hold {
    fn add(&mut self, of: Option<UserId>, bytes: u32) {
        for (parcels, held) in [&mut self.all, self.of.entry(of).or_default()] {
            *parcels += 1;
            *held += u64::from(bytes);
        }
    }

    /// Takes one more on, if there is room: in all, and for this person, so that nobody's work is all that a courier
    /// can carry.
    fn takes(&mut self, of: Option<UserId>, bytes: u32) -> bool {
        let fits = |held: (usize, u64), parcels, most| {
            held.0 < parcels && held.1 + u64::from(bytes) <= most
        };
        let theirs = self.of.get(&of).copied().unwrap_or_default();
        let fits = fits(self.all, CARGO_PARCELS_MAX, CARGO_BYTES_MAX)
            && fits(theirs, SHARE_PARCELS_MAX, SHARE_BYTES_MAX);
        if fits {
            self.add(of, bytes);
        }
        fits
    }
}

impl Meeting {
    /// Begins a meeting with 32 bytes drawn by chance; returns what is to be sent first.
    pub fn begin(profile: &Profile, nonce: [u8; 32]) -> (Self, Vec<u8>) {
        let Profile { org, device, .. } = *profile;
        let hello = frame(&Message::Hello { protocol: PROTOCOL, org, device, nonce });
        let meeting = Self {
            nonce,
            heard: Vec::new(),
            peer: None,
            offers: BTreeMap::new(),
            offered: false,
            wanted: VecDeque::new(),
            asked: BTreeMap::new(),
            done: (false, false),
            report: Report::default(),
            end: None,
        };
        (meeting, hello)
    }

    /// How it went so far.
    pub fn report(&self) -> Report {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (open, wanted) = (self.offers.len(), self.wanted.len() + self.asked.len());
        Report { open: count(open), wanted: count(wanted), ..self.report.clone() }
    }

    /// `Some` once nothing more is to be said: it is complete, or it broke off.
    pub fn end(&self) -> Option<&Result<(), Broken>> {
        self.end.as_ref()
    }

    /// Takes in what the line brought, cut anywhere. After an error of the store the meeting must not be used again.
    pub fn hear<R: Replica>(
        &mut self,
        replica: &R,
        keypair: &Keypair,
        clocks: &Clocks,
        bytes: &[u8],
    ) -> Result<Turn, R::Error> {
        let now_ms = replica.profile().server_ms(clocks);
        let mut here = Here { replica, keypair, now_ms, turn: Turn::default() };
        self.heard.extend_from_slice(bytes);
        let mut read = 0;
        while self.end.is_none() {
            let handled = match self.next(&mut read) {
                Ok(Some(message)) => self.handle(&mut here, message)?,
                Ok(None) => break,
                Err(broken) => Err(broken),
            };
            if let Err(broken) = handled {
                if !matches!(broken, Broken::Left(_)) {
                    here.say(&Message::Bye { code: broken.code().to_owned() });
                }
                self.end = Some(Err(broken));
            } else if self.done == (true, true) {
                self.end = Some(Ok(()));
            }
        }
        match self.end {
            Some(_) => self.heard = Vec::new(),
            None => drop(self.heard.drain(..read)),
        }
        Ok(here.turn)
    }

    /// The next whole message of what was heard.
    fn next(&self, read: &mut usize) -> Result<Option<Message>, Broken> {
        let rest = &self.heard[*read..];
        let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        let proved = self.peer.as_ref().is_some_and(|peer| peer.proved);
        if length > if proved { FRAME_BYTES_MAX } else { STRANGER_BYTES_MAX } {
            return Err(Broken::TooLong);
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        *read += 4 + length;
        match hello_protocol(body) {
            Some(other) if other != PROTOCOL => Err(Broken::Protocol(other)),
            _ => from_cbor(body).map(Some).map_err(|_| Broken::Malformed),
        }
    }

    fn handle<R: Replica>(
        &mut self,
        here: &mut Here<'_, R>,
        message: Message,
    ) -> Result<Result<(), Broken>, R::Error> {
        let proved = self.peer.as_ref().is_some_and(|peer| peer.proved);
        match message {
            Message::Bye { code } if code.len() > CODE_BYTES_MAX => Ok(Err(Broken::TooLong)),
            Message::Bye { code } => Ok(Err(Broken::Left(code))),
            Message::Hello { org, device, nonce, .. } if self.peer.is_none() => {
                self.hello(here, org, device, nonce)
            }
            Message::Proof { signature } if !proved => self.proof(here, &signature),
            Message::Offer { parcels } if proved && !self.offered => self.offer(here, parcels),
            Message::Ask { names } if proved && !self.done.1 => self.ask(here, &names),
            Message::Parcel { parcel } if proved => self.parcel(here, parcel),
            Message::Gone { name } if self.asked.remove(&name).is_some() => {
                self.ask_on(here);
                Ok(Ok(()))
            }
            Message::Stored { name, signature } if proved => self.stored(here, name, &signature),
            Message::Refused { code, .. } if code.len() > CODE_BYTES_MAX => {
                Ok(Err(Broken::TooLong))
            }
            Message::Refused { name, code } if self.offers.remove(&name).is_some() => {
                *self.report.declined.entry(code).or_default() += 1;
                Ok(Ok(()))
            }
            Message::Done {} if proved && !self.done.1 => {
                self.done.1 = true;
                Ok(Ok(()))
            }
            _ => Ok(Err(Broken::Unexpected)),
        }
    }

    fn hello<R: Replica>(
        &mut self,
        here: &mut Here<'_, R>,
        org: OrgId,
        device: DeviceId,
        nonce: [u8; 32],
    ) -> Result<Result<(), Broken>, R::Error> {
        let me = here.profile().clone();
        if org != me.org {
            return Ok(Err(Broken::OtherOrganisation));
        }
        if device == me.device {
            return Ok(Err(Broken::Itself));
        }
        let device = match here.device(device)? {
            None => return Ok(Err(Broken::Stranger)),
            Some(device) if device.revoked => return Ok(Err(Broken::Revoked)),
            Some(device) => device,
        };
        let mine = (me.device, &self.nonce, &me.key);
        let message = meet_message(org, mine, (device.id, &nonce, &device.key));
        here.say(&Message::Proof { signature: here.keypair.sign(&message) });
        self.peer = Some(Peer { device, nonce, proved: false });
        Ok(Ok(()))
    }

    fn proof<R: Replica>(
        &mut self,
        here: &mut Here<'_, R>,
        signature: &[u8; 64],
    ) -> Result<Result<(), Broken>, R::Error> {
        let (org, device, key) = (here.profile().org, here.profile().device, here.profile().key);
        let Some(peer) = &mut self.peer else { return Ok(Err(Broken::Unexpected)) };
        let other = (peer.device.id, &peer.nonce, &peer.device.key);
        let message = meet_message(org, other, (device, &self.nonce, &key));
        if !verify(&peer.device.key, &message, signature) {
            return Ok(Err(Broken::Forged));
        }
        peer.proved = true;
        self.report.with = Some(peer.device.id);
        let peer = peer.device.id;

        let (mut parcels, mut bytes) = (Vec::new(), 0);
        for document in here.replica.outbox()? {
            if parcels.len() == OFFERS_MAX {
                break;
            }
            let Some((parcel, changes)) = pack(here.replica, here.keypair, document)? else {
                continue;
            };
            let carried = Carried::of(&parcel, 0);
            bytes += u64::from(carried.bytes);
            parcels.push(self.offers(carried, Source::Own { document, changes }));
        }
        for (photo, length) in here.replica.photos()? {
            if length as usize > PARCEL_BYTES_MAX {
                continue;
            }
            // Each is sealed to be named: no more of them than anybody has room for.
            bytes += u64::from(length);
            if parcels.len() == OFFERS_MAX || bytes > SHARE_BYTES_MAX {
                break;
            }
            if let Some(parcel) = pack_photo(here.replica, here.keypair, photo)? {
                parcels.push(self.offers(Carried::of(&parcel, 0), Source::Photo(photo)));
            }
        }
        let mut carried = here.replica.cargo()?;
        carried.retain(|carried| carried.origin != peer);
        carried.sort_unstable_by_key(|carried| (carried.since_ms, carried.name));
        for carried in carried.into_iter().take(OFFERS_MAX - parcels.len()) {
            parcels.push(self.offers(carried, Source::Carried));
        }
        here.say(&Message::Offer { parcels });
        Ok(Ok(()))
    }

    fn offers(&mut self, carried: Carried, source: Source) -> Offered {
        let Carried { name, origin, bytes, .. } = carried;
        self.offers.insert(name, Offer { source, bytes: bytes as usize, asked: false });
        Offered { name, origin, bytes }
    }

    fn offer<R: Replica>(
        &mut self,
        here: &mut Here<'_, R>,
        parcels: Vec<Offered>,
    ) -> Result<Result<(), Broken>, R::Error> {
        if parcels.len() > OFFERS_MAX {
            return Ok(Err(Broken::TooLong));
        }
        self.offered = true;
        let carried = here.carried()?;
        let held: BTreeSet<ParcelHash> = carried.iter().map(|carried| carried.name).collect();
        let (mut seen, mut hold) = (BTreeSet::new(), here.hold(&carried)?);
        for offered in parcels {
            if !seen.insert(offered.name) {
                return Ok(Err(Broken::Unexpected));
            }
            let origin = here.device(offered.origin)?.map(|device| device.user);
            // The server has it, or will have it, from this device itself.
            if offered.origin == here.profile().device {
                self.refuse(here, offered.name, "own");
            } else if held.contains(&offered.name) {
                self.acknowledge(here, offered.name);
            } else if offered.bytes as usize > PARCEL_BYTES_MAX {
                self.refuse(here, offered.name, "too_large");
            } else if origin.is_none() {
                self.refuse(here, offered.name, "stranger");
            } else if !hold.takes(origin, offered.bytes) {
                self.refuse(here, offered.name, "full");
            } else {
                self.wanted.push_back(offered);
            }
        }
        self.ask_on(here);
        Ok(Ok(()))
    }

    /// Asks for more once all that was asked for has come.
    fn ask_on<R: Replica>(&mut self, here: &mut Here<'_, R>) {
        if !self.asked.is_empty() || self.done.0 {
            return;
        }
        // In the order of the offer: what is cut off was the least needed, and no photo comes before its document.
        let (mut names, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.wanted.front().copied() {
            bytes += next.bytes as usize;
            if bytes > ASK_BYTES_MAX && !names.is_empty() {
                break;
            }
            self.wanted.pop_front();
            self.asked.insert(next.name, next);
            names.push(next.name);
        }
        match names.is_empty() {
            true => {
                self.done.0 = true;
                here.say(&Message::Done {});
            }
            false => here.say(&Message::Ask { names }),
        }
    }

    fn ask<R: Replica>(
        &mut self,
        here: &mut Here<'_, R>,
        names: &[ParcelHash],
    ) -> Result<Result<(), Broken>, R::Error> {
        if self.offers.values().any(|offer| offer.asked) {
            return Ok(Err(Broken::Unexpected));
        }
        let bytes = names.iter().filter_map(|name| self.offers.get(name)).map(|o| o.bytes);
        if names.len() > 1 && bytes.sum::<usize>() > ASK_BYTES_MAX {
            return Ok(Err(Broken::TooLong));
        }
        for name in names {
            let Some(offer) = self.offers.get_mut(name).filter(|offer| !offer.asked) else {
                return Ok(Err(Broken::Unexpected));
            };
            let parcel = match &offer.source {
                Source::Own { document, .. } => {
                    pack(here.replica, here.keypair, *document)?.map(|(parcel, _)| parcel)
                }
                Source::Photo(photo) => pack_photo(here.replica, here.keypair, *photo)?,
                Source::Carried => here.replica.parcel(*name)?,
            };
            match parcel.filter(|parcel| parcel.name() == *name) {
                Some(parcel) => {
                    offer.asked = true;
                    let parcel = ParcelBytes(parcel.as_bytes().to_vec());
                    here.say(&Message::Parcel { parcel });
                }
                None => {
                    self.offers.remove(name);
                    here.say(&Message::Gone { name: *name });
                }
            }
        }
        Ok(Ok(()))
    }

    fn parcel<R: Replica>(
        &mut self,
        here: &mut Here<'_, R>,
        parcel: ParcelBytes,
    ) -> Result<Result<(), Broken>, R::Error> {
        let Some(parcel) = Parcel::from_bytes(parcel.0) else { return Ok(Err(Broken::Malformed)) };
        let name = parcel.name();
        let offered = self.asked.remove(&name);
        if offered.is_none_or(|offered| offered.origin != parcel.origin()) {
            return Ok(Err(Broken::Unexpected));
        }
        let origin = here.device(parcel.origin())?;
        let signed = |origin: &Device| parcel.is_signed(here.profile().org, &origin.key);
        let origin = origin.filter(signed).map(|origin| origin.user);
        let carried = here.carried()?;
        if origin.is_none() {
            self.refuse(here, name, "bad_seal");
        } else if carried.iter().any(|carried| carried.name == name) {
            self.acknowledge(here, name);
        } else if !here.hold(&carried)?.takes(origin, parcel.as_bytes().len() as u32) {
            self.refuse(here, name, "full");
        } else {
            // Each a little after the one before, whatever the clock does: so what came first goes first.
            let newest = carried.iter().map(|carried| carried.since_ms).max();
            let since_ms =
                newest.map_or(here.now_ms, |newest| here.now_ms.max(newest.saturating_add(1)));
            here.turn.writes.push(Write::Carry(parcel, since_ms));
            self.report.taken += 1;
            self.acknowledge(here, name);
        }
        self.ask_on(here);
        Ok(Ok(()))
    }

    fn acknowledge<R: Replica>(&self, here: &mut Here<'_, R>, name: ParcelHash) {
        let Some(peer) = &self.peer else { return };
        let (org, me) = (here.profile().org, here.profile().device);
        let signature = here.keypair.sign(&stored_message(org, me, &peer.nonce, name));
        here.say(&Message::Stored { name, signature });
    }

    fn refuse<R: Replica>(&mut self, here: &mut Here<'_, R>, name: ParcelHash, code: &str) {
        *self.report.refused.entry(code.to_owned()).or_default() += 1;
        here.say(&Message::Refused { name, code: code.to_owned() });
    }

    fn stored<R: Replica>(
        &mut self,
        here: &mut Here<'_, R>,
        name: ParcelHash,
        signature: &[u8; 64],
    ) -> Result<Result<(), Broken>, R::Error> {
        let (Some(peer), Some(offer)) = (&self.peer, self.offers.remove(&name)) else {
            return Ok(Err(Broken::Unexpected));
        };
        let message = stored_message(here.profile().org, peer.device.id, &self.nonce, name);
        if !verify(&peer.device.key, &message, signature) {
            return Ok(Err(Broken::Forged));
        }
        self.report.given += 1;
        match offer.source {
            Source::Own { document, changes } => {
                if let Some(mut kept) = here.replica.document(document)? {
                    kept.give(peer.device.id, changes);
                    here.turn.writes.push(Write::Document(Box::new(kept)));
                }
            }
            Source::Photo(photo) => here.turn.writes.push(Write::PhotoGiven(photo)),
            Source::Carried => {}
        }
        Ok(Ok(()))
    }
}
