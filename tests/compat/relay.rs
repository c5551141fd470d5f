//! A meeting as it was once had, and the parcels that went over in it.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use sync_core::cargo::{Cargo, Load, Parcel, pack, pack_photo};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::{Kept, Profile, Replica, Write};
use sync_core::evidence::Keypair;
use sync_core::id::{BlobHash, DeviceId, DocId, OrgId, UserId};
use sync_core::model::catalogue::{Device as Enrolled, Record};
use sync_core::model::visit::PhotoRef;
use sync_core::relay::{Meeting, Message, frame};
use sync_core::wire::{
    CargoReply, CargoRequest, Delivery, PROTOCOL, ParcelBytes, RecordBytes, from_wire, to_wire,
};
use tests::brand::{BEGIN_MS, ORG};
use tests::chance::Chance;
use tests::device::{Crash, Device};

use crate::next::{self, grown};
use crate::{array, cases, golden, hex, read, unhex};

pub(crate) const SERVER: [u8; 32] = [0x51; 32];
pub(crate) const SEEDS: [[u8; 32]; 2] = [[0x52; 32], [0x53; 32]];
/// Only the server minds whether it is one.
const PHOTO: &[u8] = b"a photo";

fn enrolled(id: DeviceId, user: UserId, seed: &[u8; 32]) -> Write {
    let key = Keypair::from_seed(seed).public();
    let record = Record::Device(Enrolled { id, user, key, revoked: false, lost_ms: None });
    Write::Record(record.key(), RecordBytes(to_cbor(&record)))
}

pub(crate) fn phone(side: usize) -> (DeviceId, UserId) {
    (DeviceId::from_bytes([0x60 + side as u8; 16]), UserId::from_bytes([0x70 + side as u8; 16]))
}

/// A phone that knows the other and the server; the first has work and a photo.
fn made(side: usize) -> Device {
    let seed = SEEDS[side];
    let (device, user) = phone(side);
    let key = Keypair::from_seed(&seed).public();
    let profile = Profile::enrolled(ORG, user, device, key, [0x54; 8]);
    let actor = profile.actor;
    let mut writes: Vec<Write> = (0..2)
        .map(|other| enrolled(phone(other).0, phone(other).1, &SEEDS[other]))
        .chain([enrolled(DeviceId::of_server(ORG), UserId::NOBODY, &SERVER)])
        .collect();
    if side == 0 {
        let id = DocId { kind: sync_core::id::DocKind::Visit, id: [0x55; 16] };
        let mut kept = Kept::new(ORG, id);
        for entry in cases::documents()[0].document.changes().iter().take(2) {
            let entry = entry.entry().unwrap();
            let change = kept.document.next(actor, &entry).unwrap();
            kept.pending.push(change.hash());
            kept.document.insert(change).unwrap();
        }
        writes.push(Write::Document(Box::new(kept)));
    }
    let mut phone = Device::over(seed, profile, writes, BEGIN_MS, &mut Chance::new(side as u64));
    if side == 0 {
        let (hash, bytes) = (BlobHash::of(PHOTO), PHOTO.len() as u32);
        let photo = PhotoRef { hash, bytes, phash: 0, check: None, origin: None };
        phone.disk.photos.push((photo, PHOTO.to_vec()));
    }
    phone
}

/// Both sides' words, to the end.
fn tape() -> ([Vec<u8>; 2], Vec<Parcel>) {
    let mut phones = [made(0), made(1)];
    let (mut meetings, mut said) = (Vec::new(), [Vec::new(), Vec::new()]);
    for (side, phone) in phones.iter_mut().enumerate() {
        let (meeting, hello) = phone.meet();
        meetings.push(meeting);
        said[side].extend(hello);
    }
    let mut heard = [0, 0];
    while meetings.iter().any(|meeting: &Meeting| meeting.end().is_none()) {
        for side in 0..2 {
            let new = said[1 - side][heard[side]..].to_vec();
            heard[side] += new.len();
            let meeting = &mut meetings[side];
            let answer = phones[side].hear_phone(meeting, &new, BEGIN_MS, Crash::Never);
            said[side].extend(answer.unwrap());
        }
    }
    assert!(meetings.iter().all(|meeting| meeting.end() == Some(&Ok(()))));
    assert_eq!(phones[0].disk.given, [BlobHash::of(PHOTO)].into());
    let Ok(mut cargo) = phones[1].disk.cargo();
    cargo.sort_by_key(|carried| carried.since_ms);
    let parcels = cargo.iter().map(|carried| {
        let Ok(parcel) = phones[1].disk.parcel(carried.name);
        parcel.unwrap()
    });
    (said, parcels.collect())
}

/// Her work as he carries it.
pub(crate) fn parcel() -> Parcel {
    tape().1.remove(0)
}

pub(crate) fn relay_now() -> Json {
    let (said, parcels) = tape();
    let server = Keypair::from_seed(&SERVER);
    let parcels = parcels.into_iter().map(|parcel| {
        let cargo = parcel.open(ORG, &server).unwrap();
        let mut case = json!({
            "parcel": hex(parcel.as_bytes()), "name": hex(&parcel.name().0),
            "cargo": hex(&to_wire(ORG, &cargo)),
        });
        match cargo.load {
            Load::Work(group, _) => {
                let hashes = group.hashes().map(|hash| hex(&hash.0));
                case["changes"] = hashes.collect::<Vec<_>>().into();
            }
            Load::Photo(file) => case["photo"] = hex(&file).into(),
        }
        case
    });
    let phones = (0..2).map(|side| {
        let key = Keypair::from_seed(&SEEDS[side]).public();
        json!({
            "device": hex(phone(side).0.as_bytes()), "seed": hex(&SEEDS[side]),
            "public_key": hex(&key), "said": hex(&said[side]),
        })
    });
    let parcels: Vec<Json> = parcels.collect();
    let bytes = unhex(&parcels[0]["parcel"]);
    let request = CargoRequest { protocol: PROTOCOL, parcels: vec![ParcelBytes(bytes)] };
    let refused = Delivery::Refused { code: "bad_seal".into(), detail: "why".into() };
    let outcomes = vec![Delivery::Taken {}, refused, Delivery::Later {}];
    let reply = CargoReply { protocol: PROTOCOL, server_ms: BEGIN_MS, outcomes };
    let others: Vec<String> = [
        Message::Gone { name: sync_core::id::ParcelHash([1; 32]) },
        Message::Refused { name: sync_core::id::ParcelHash([1; 32]), code: "full".into() },
        Message::Bye { code: "stranger".into() },
    ]
    .iter()
    .map(|message| hex(&frame(message)))
    .collect();
    json!({
        "organisation": hex(ORG.as_bytes()), "server_seed": hex(&SERVER),
        "server_key": hex(&server.public()), "phones": phones.collect::<Vec<_>>(),
        "parcels": parcels, "other_messages": others,
        "request": hex(&to_wire(ORG, &request)), "reply": hex(&to_wire(ORG, &reply)),
    })
}

#[test]
fn what_a_later_version_adds_to_a_meeting_or_to_cargo_is_skipped() {
    let then = read("wire/relay.json");
    let org = OrgId::from_bytes(array(&then["organisation"]));
    let phones = then["phones"].as_array().unwrap().iter().map(|phone| &phone["said"]);
    let said = phones.chain(then["other_messages"].as_array().unwrap()).map(unhex);
    let mut kinds = BTreeSet::new();
    for said in said {
        for message in next::messages(&said) {
            let later: Message = from_cbor(&grown(&next::MEETING, message)).unwrap();
            assert_eq!(to_cbor(&later), message);
            kinds.insert(message[1]);
        }
    }
    assert_eq!(kinds, (0..10).collect());

    let cargo = unhex(&then["parcels"][0]["cargo"]);
    let later: Cargo = from_wire(org, &grown(&next::CARGO, &cargo)).unwrap();
    assert_eq!(to_wire(org, &later), cargo);
    let path = "/api/v1/cargo";
    let request = unhex(&then["request"]);
    let later = grown(&next::message(path, true), &request);
    assert_eq!(to_wire(org, &from_wire::<CargoRequest>(org, &later).unwrap()), request);
    let reply = unhex(&then["reply"]);
    let later = grown(&next::message(path, false), &reply);
    assert_eq!(to_wire(org, &from_wire::<CargoReply>(org, &later).unwrap()), reply);
}

#[test]
fn a_meeting_and_its_parcels() {
    golden("wire/relay.json", &relay_now());
    let then = read("wire/relay.json");
    let server = Keypair::from_seed(&array(&then["server_seed"]));
    let org = OrgId::from_bytes(array(&then["organisation"]));
    for case in then["parcels"].as_array().unwrap() {
        let parcel = Parcel::from_bytes(unhex(&case["parcel"])).unwrap();
        assert!(parcel.is_signed(org, &array(&then["phones"][0]["public_key"])));
        let cargo = parcel.open(org, &server).unwrap();
        assert_eq!(to_wire(org, &cargo), unhex(&case["cargo"]));
    }
    let request: CargoRequest = from_wire(org, &unhex(&then["request"])).unwrap();
    assert_eq!(request.parcels.len(), 1);
    let reply: CargoReply = from_wire(org, &unhex(&then["reply"])).unwrap();
    assert_eq!(reply.outcomes.len(), 3);
    // A phone of today hears the words of then, as they were said, and takes the same.
    let mut sam = made(1);
    let (mut meeting, _) = sam.meet();
    let said = unhex(&then["phones"][0]["said"]);
    sam.hear_phone(&mut meeting, &said, BEGIN_MS, Crash::Never).unwrap();
    assert_eq!(meeting.end(), Some(&Ok(())));
    let rita = made(0);
    let Ok(outbox) = rita.disk.outbox();
    let Ok(Some((parcel, _))) = pack(&rita.disk, &rita.keypair, outbox[0]) else { panic!() };
    let Ok(Some(photo)) = pack_photo(&rita.disk, &rita.keypair, BlobHash::of(PHOTO)) else {
        panic!()
    };
    for parcel in [parcel, photo] {
        let Ok(taken) = sam.disk.parcel(parcel.name());
        assert_eq!(taken, Some(parcel));
    }
}
