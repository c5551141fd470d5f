//! What two phones may do to each other, and what a courier may not.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::cargo::{
    CARGO_PARCELS_MAX, Cargo, Load, PARCEL_BYTES_MAX, PARCELS_MAX, Parcel, SHARE_BYTES_MAX,
    SHARE_PARCELS_MAX, Unopened, apply_cargo, next_cargo, pack, pack_photo,
};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::{Replica, Write};
use sync_core::command::Command;
use sync_core::evidence::Keypair;
use sync_core::id::{BlobHash, DeviceId, DocId, OrgId, ParcelHash};
use sync_core::model::catalogue::{Device as Enrolled, Record};
use sync_core::model::visit::PhotoRef;
use sync_core::relay::{
    Broken, FRAME_BYTES_MAX, Meeting, Message, OFFERS_MAX, Offered, STRANGER_BYTES_MAX, frame,
};
use sync_core::wire::{CargoReply, CargoRequest, Delivery, PROTOCOL, ParcelBytes};
use tests::backend::{Crash as ServerCrash, Refused, encode};
use tests::brand::{self, ORG};
use tests::chance::Chance;
use tests::device::{Crash, Device};
use tests::world::World;

const RITA: usize = 0;
const SVEN: usize = 2;
/// Calls of Rita's that Sven does not see.
const CALLS: [u8; 2] = [0, 1];

/// Rita has made two visits, and was not in sight of a network.
fn world() -> World {
    let mut world = World::new(1);
    for call in CALLS {
        visits(&mut world, RITA, call);
    }
    world
}

fn visits(world: &mut World, device: usize, call: u8) {
    world.now_ms += 1_000;
    world.act(device, Crash::Never, Command::StartCall(brand::call(call))).expect("it is saved");
}

fn documents(world: &World, device: usize) -> Vec<DocId> {
    let Ok(outbox) = world.devices[device].disk.outbox();
    outbox
}

fn parcel(world: &World, device: usize) -> Parcel {
    let phone = &world.devices[device];
    let Ok(packed) = pack(&phone.disk, &phone.keypair, documents(world, device)[0]);
    packed.expect("there is something to carry").0
}

fn cargo(device: &Device) -> Vec<ParcelHash> {
    let Ok(mut cargo) = device.disk.cargo();
    cargo.sort_unstable_by_key(|carried| carried.name);
    cargo.iter().map(|carried| carried.name).collect()
}

/// What the server says to these parcels of Sven's.
fn brings(world: &mut World, parcels: Vec<Vec<u8>>) -> Vec<Delivery> {
    let parcels = parcels.into_iter().map(ParcelBytes).collect();
    let bytes = encode(&CargoRequest { protocol: PROTOCOL, parcels });
    let (from, now_ms) = (world.devices[SVEN].id, world.now_ms);
    world.server.cargo(from, &bytes, now_ms, ServerCrash::Never).expect("an answer").outcomes
}

fn refused(outcome: &Delivery) -> &str {
    match outcome {
        Delivery::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

// ---- cargo

#[test]
fn the_same_work_makes_the_same_parcel_and_other_work_another() {
    let mut world = world();
    let one = parcel(&world, RITA);
    assert_eq!(one, parcel(&world, RITA));
    assert_eq!(Parcel::from_bytes(one.as_bytes().to_vec()), Some(one.clone()));
    let visit = documents(&world, RITA)[0].visit().expect("a visit");
    world.act(RITA, Crash::Never, Command::Submit(visit)).expect("it is saved");
    let more = parcel(&world, RITA);
    // Neither the encapsulated key nor anything after it is the same: no key is used for two texts.
    assert_eq!(one.as_bytes()[..16], more.as_bytes()[..16]);
    assert_ne!(one.as_bytes()[80..112], more.as_bytes()[80..112]);
}

#[test]
fn only_the_server_opens_a_parcel() {
    let world = world();
    let parcel = parcel(&world, RITA);
    let opened = parcel.open(ORG, &world.server.console.keypair).expect("the server opens it");
    let Load::Work(group, _) = opened.load else { panic!("a document's work") };
    assert_eq!(group.document, documents(&world, RITA)[0]);
    for device in &world.devices {
        assert_eq!(parcel.open(ORG, &device.keypair), Err(Unopened::Closed));
    }
    let elsewhere = OrgId::from_bytes([9; 16]);
    assert_eq!(parcel.open(elsewhere, &world.server.console.keypair), Err(Unopened::Closed));
    // Its words and ids are not to be seen in it.
    let actor = group.changes[0].actor;
    assert!(!parcel.as_bytes().windows(16).any(|bytes| bytes == actor.as_bytes()));
}

#[test]
fn a_parcel_that_was_changed_anywhere_is_refused_and_nothing_is_written() {
    let mut world = world();
    let good = parcel(&world, RITA).as_bytes().to_vec();
    let before = world.server.dump(&["device"]);
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        let outcome = brings(&mut world, vec![bad]).remove(0);
        let expected = if place < 16 { "not_opened" } else { "bad_seal" };
        assert_eq!(refused(&outcome), expected, "at {place}");
    }
    for length in [0, 1, 127, good.len() - 1] {
        let code = if length < 128 { "malformed" } else { "bad_seal" };
        assert_eq!(refused(&brings(&mut world, vec![good[..length].to_vec()])[0]), code);
    }
    let long = vec![0; PARCEL_BYTES_MAX + 1];
    assert_eq!(refused(&brings(&mut world, vec![long])[0]), "malformed");
    assert_eq!(world.server.dump(&["device"]), before);
    // The good one is taken all the same, and again.
    let outcomes = brings(&mut world, vec![good.clone(), good]);
    assert_eq!(outcomes, [Delivery::Taken {}, Delivery::Taken {}]);
}

#[test]
fn a_courier_forges_nothing() {
    let mut world = world();
    let (rita, sven) = (&world.devices[RITA], &world.devices[SVEN]);
    let server = world.server.console.keypair.public();
    let opened = parcel(&world, RITA).open(ORG, &world.server.console.keypair);
    let Ok(Cargo { load: Load::Work(group, _), .. }) = opened else { panic!("{opened:?}") };
    let seal = |origin: DeviceId, keypair: &Keypair, cargo: &Cargo| {
        Parcel::seal(ORG, origin, keypair, &server, cargo).expect("it is short").as_bytes().to_vec()
    };
    let cargo = |group| Cargo { protocol: PROTOCOL, load: Load::Work(group, Vec::new()) };

    // In Rita's name, without her key.
    let named = seal(rita.id, &sven.keypair, &cargo(group.clone()));
    // Rita's work without her seal, and with Sven's, in his name.
    let mut bare = group.clone();
    bare.seals.clear();
    let bare = seal(sven.id, &sven.keypair, &cargo(bare));
    let mut other = group.clone();
    other.seals = vec![sven.keypair.seal(ORG, group.document, group.changes[0].hash())];
    let other = seal(sven.id, &sven.keypair, &cargo(other));
    // Rita's parcel with Sven's label on it: it opens for Rita's alone.
    let mut relabelled = parcel(&world, RITA).as_bytes().to_vec();
    relabelled[..16].copy_from_slice(sven.id.as_bytes());
    let mut unknown = parcel(&world, RITA).as_bytes().to_vec();
    unknown[..16].fill(8);
    // Nothing at all, another version, and no message.
    let empty = sync_core::wire::Group { changes: Vec::new(), seals: Vec::new(), ..group.clone() };
    let empty = seal(sven.id, &sven.keypair, &cargo(empty));
    let later = Cargo { protocol: PROTOCOL + 1, ..cargo(group.clone()) };
    let later = seal(sven.id, &sven.keypair, &later);

    let before = world.server.dump(&["device"]);
    let codes = [
        (named, "bad_seal"),
        (relabelled, "bad_seal"),
        (unknown, "not_opened"),
        (empty, "unreadable"),
    ];
    for (number, (parcel, code)) in codes.into_iter().enumerate() {
        assert_eq!(refused(&brings(&mut world, vec![parcel])[0]), code, "number {number}");
    }
    assert_eq!(brings(&mut world, vec![later]), [Delivery::Later {}]);
    assert_eq!(world.server.dump(&["device"]), before, "a forgery is not even kept apart");

    // What he seals himself is refused as his push would be, and is seen to be his.
    assert_eq!(brings(&mut world, vec![bare, other]), [Delivery::Taken {}, Delivery::Taken {}]);
    let sven = world.devices[SVEN].id;
    let apart = world.server.quarantined();
    let head = group.changes.last().expect("a change").hash();
    assert_eq!(apart[&(group.document, head)], [(sven, vec!["bad_seal".to_owned()])].into());
    assert!(world.server.documents().is_empty());

    // What Sven may truly do is to bring Rita's work as his own push: it is hers all the same.
    let (sven, own) = (&world.devices[SVEN], group.clone());
    let brought = seal(sven.id, &sven.keypair, &cargo(own));
    assert_eq!(brings(&mut world, vec![brought]), [Delivery::Taken {}]);
    let held = world.server.held(group.document);
    assert!(held.devices.values().all(|device| *device == world.devices[RITA].id));
}

#[test]
fn cargo_of_a_revoked_phone_waits_for_a_supervisor_and_a_revoked_courier_brings_nothing() {
    let mut world = world();
    let bytes = parcel(&world, RITA).as_bytes().to_vec();
    revoke(&mut world, RITA);
    assert_eq!(brings(&mut world, vec![bytes.clone()]), [Delivery::Taken {}]);
    let codes: Vec<String> = world
        .server
        .quarantined()
        .into_values()
        .flat_map(BTreeMap::into_values)
        .flatten()
        .collect();
    assert_eq!(codes, ["revoked_device"]);
    revoke(&mut world, SVEN);
    let parcels = vec![ParcelBytes(bytes)];
    let bytes = encode(&CargoRequest { protocol: PROTOCOL, parcels });
    let (from, now_ms) = (world.devices[SVEN].id, world.now_ms);
    let answer = world.server.cargo(from, &bytes, now_ms, ServerCrash::Never);
    assert_eq!(answer, Err(Refused::Revoked));
}

fn revoke(world: &mut World, device: usize) {
    let phone = &world.devices[device];
    let (id, user, key) = (phone.id, phone.user, phone.keypair.public());
    let now_ms = world.now_ms;
    world.server.write(
        vec![Record::Device(Enrolled { id, user, key, revoked: true, lost_ms: None })],
        now_ms,
    );
    world.server.revoke(id, now_ms);
}

#[test]
fn what_was_proposed_again_does_not_come_twice_by_an_old_parcel() {
    let mut world = world();
    let document = documents(&world, RITA)[0];
    let visit = document.visit().expect("a visit");
    let early = parcel(&world, RITA).as_bytes().to_vec();
    world.act(RITA, Crash::Never, Command::Submit(visit)).expect("it is saved");
    // Refused, and proposed again: the start alone lies in a parcel since before.
    let known = world.server.head().sequence + 1;
    let call = CALLS.into_iter().find(|call| visit == visit_of(*call)).expect("a planned call");
    world.server.write(vec![brand::call_record(call, true)], world.now_ms);
    world.server.db.execute("UPDATE device SET acked = ?1", [known]).expect("they know");
    world.oracle.late.insert(visit);
    world.oracle.cancelled.insert(visit);
    world.sync_now(RITA);
    assert!(world.devices[RITA].document(document).expect("it is here").refused.is_some());
    world.server.write(vec![brand::call_record(call, false)], world.now_ms);
    world.sync_now(RITA);
    let again = Command::ProposeAgain { document, instance: [7; 8] };
    world.act(RITA, Crash::Never, again);
    world.sync_now(RITA);
    let held = world.server.held(document).document.changes().len();
    assert_eq!(held, 2);
    assert_eq!(brings(&mut world, vec![early]), [Delivery::Taken {}]);
    assert_eq!(world.server.held(document).document.changes().len(), held);
}

fn visit_of(call: u8) -> sync_core::id::VisitId {
    sync_core::id::VisitId::of_call(ORG, brand::call(call))
}

// ---- photos

/// Files that no test reads as pictures.
fn file(number: u8, bytes: usize) -> Vec<u8> {
    let mut chance = Chance::new(u64::from(number));
    (0..bytes).map(|_| chance.bits() as u8).collect()
}

fn reference(file: &[u8]) -> PhotoRef {
    let (hash, bytes) = (BlobHash::of(file), file.len() as u32);
    PhotoRef { hash, bytes, phash: 0, check: None, origin: None }
}

/// A photo in a phone's oldest visit, which is still to be sent.
fn with_photo(world: &mut World, device: usize, file: &[u8]) {
    let visit = documents(world, device)[0].visit().expect("a visit");
    let (observations, photos, notes) = (Vec::new(), vec![reference(file)], Vec::new());
    let record = Command::Record { visit, observations, photos, notes };
    world.act(device, Crash::Never, record).expect("it is saved");
    world.devices[device].disk.photos.push((reference(file), file.to_vec()));
}

#[test]
fn a_photo_waits_for_what_may_name_it() {
    let mut world = world();
    let disk = &mut world.devices[SVEN].disk;
    let [work, photo, strangers] = [(1, 0), (1, 1), (2, 2)].map(|(origin, text)| {
        Parcel::from_bytes([[origin; 16].repeat(8), vec![text; 16]].concat()).expect("a parcel")
    });
    for (at_ms, parcel) in (1..).zip([&work, &photo, &strangers]) {
        disk.commit(vec![Write::Carry(parcel.clone(), at_ms)]);
    }
    let mut brings = |parcels: &[&Parcel], outcomes: Vec<Delivery>| {
        let parcels = parcels.iter().map(|parcel| ParcelBytes(parcel.as_bytes().to_vec()));
        let request = CargoRequest { protocol: PROTOCOL, parcels: parcels.collect() };
        let reply = CargoReply { protocol: PROTOCOL, server_ms: 1, outcomes };
        let Ok(writes) = apply_cargo(disk, &request, &reply) else { panic!("it fits") };
        disk.commit(writes);
        let Ok(cargo) = disk.cargo();
        cargo.iter().map(|carried| carried.name).collect::<BTreeSet<_>>()
    };
    let unnamed = || {
        let detail = "no entry names it".to_owned();
        Delivery::Refused { code: "not_referenced".into(), detail }
    };
    let both = BTreeSet::from([work.name(), photo.name()]);
    let all = [&work, &photo, &strangers];
    assert_eq!(brings(&all, vec![Delivery::Later {}, unnamed(), unnamed()]), both);
    assert_eq!(brings(&[&photo], vec![unnamed()]), both, "the work has not been brought yet");
    let photo_alone = BTreeSet::from([photo.name()]);
    assert_eq!(brings(&[&work], vec![Delivery::Taken {}]), photo_alone);
    assert!(brings(&[&photo], vec![unnamed()]).is_empty(), "nothing is left that may name it");
}

/// What a phone carries, in the order in which it hands it over: the photos that are among it.
fn photos(world: &World, device: usize) -> Vec<Option<BlobHash>> {
    let mut brought = BTreeSet::new();
    let mut carried = Vec::new();
    loop {
        let Ok(next) = next_cargo(&world.devices[device].disk, &brought, false);
        let Some(request) = next else { return carried };
        for parcel in request.parcels {
            let parcel = Parcel::from_bytes(parcel.0).expect("a parcel");
            brought.insert(parcel.name());
            let opened = parcel.open(ORG, &world.server.console.keypair).expect("it opens");
            carried.push(match opened.load {
                Load::Work(..) => None,
                Load::Photo(file) => Some(BlobHash::of(&file)),
            });
        }
    }
}

#[test]
fn photos_go_after_their_documents_and_in_the_order_in_which_they_are_needed() {
    let mut world = world();
    let files: Vec<Vec<u8>> = (0..12).map(|number| file(number, 8_000)).collect();
    files.iter().for_each(|file| with_photo(&mut world, RITA, file));
    // Too long for a parcel: it waits for a network.
    with_photo(&mut world, RITA, &file(99, PARCEL_BYTES_MAX));
    let order: Vec<Option<BlobHash>> =
        [None, None].into_iter().chain(files.iter().map(|file| Some(BlobHash::of(file)))).collect();
    let before = world.devices.iter().map(Device::copy).collect::<Vec<_>>();
    for cut in (0..).map(|n| n * 7_000) {
        world.devices = before.iter().map(Device::copy).collect();
        let [_, svens] = world.meet(RITA, SVEN, Some(cut), Crash::Never);
        let carried = photos(&world, SVEN);
        assert_eq!(carried, order[..carried.len()], "cut at {cut}");
        if svens.end() == Some(&Ok(())) {
            break;
        }
    }
    assert_eq!(photos(&world, SVEN), order);
    let given = files.iter().map(|file| BlobHash::of(file)).collect();
    assert_eq!(world.devices[RITA].disk.given, given);
    // So they do from hand to hand, though all comes at once.
    world.meet(SVEN, 1, None, Crash::Never);
    assert_eq!(photos(&world, 1), order);
    world.lose(RITA);
    for courier in [SVEN, 1] {
        world.sync_now(courier);
        assert_eq!(photos(&world, courier), []);
    }
}

#[test]
fn no_more_photos_are_offered_than_a_courier_has_room_for() {
    let mut world = world();
    // Of which each is said to have a million bytes.
    let most = SHARE_BYTES_MAX as usize / 1_000_000;
    for number in 0..most as u8 + 3 {
        let photo = PhotoRef { bytes: 1_000_000, ..reference(&[number]) };
        world.devices[RITA].disk.photos.push((photo, vec![number]));
    }
    let (side, _) = met(&mut world, RITA, SVEN);
    let Some(Message::Offer { parcels }) = side.said.last() else { panic!() };
    assert_eq!(parcels.len(), CALLS.len() + most);
}

#[test]
fn a_photo_is_taken_as_its_work_is() {
    let mut world = world();
    let (named, stray) = (file(1, 100), file(2, 100));
    with_photo(&mut world, RITA, &named);
    world.devices[RITA].disk.photos.push((reference(&stray), stray.clone()));
    let sealed = |world: &World, file: &[u8]| {
        let phone = &world.devices[RITA];
        let Ok(parcel) = pack_photo(&phone.disk, &phone.keypair, BlobHash::of(file));
        parcel.expect("it is short").as_bytes().to_vec()
    };
    let (work, photo) = (parcel(&world, RITA).as_bytes().to_vec(), sealed(&world, &named));
    let outcomes = brings(&mut world, vec![photo.clone()]);
    assert_eq!(refused(&outcomes[0]), "not_referenced", "its work has not come");
    revoke(&mut world, RITA);
    let outcomes = brings(&mut world, vec![work, photo.clone()]);
    assert_eq!(outcomes, [Delivery::Taken {}, Delivery::Later {}]);
    let stray = sealed(&world, &stray);
    assert_eq!(refused(&brings(&mut world, vec![stray])[0]), "not_referenced");
    world.server.decide(true, world.now_ms).expect("it is approved");
    assert_eq!(brings(&mut world, vec![photo]), [Delivery::Taken {}]);
}

#[test]
fn what_nobody_has_decided_on_costs_its_courier_one_message_in_a_sync() {
    let mut world = world();
    for number in 0..5 {
        with_photo(&mut world, RITA, &file(number, 300_000));
    }
    world.meet(RITA, SVEN, None, Crash::Never);
    revoke(&mut world, RITA);
    world.lose(RITA);
    let messages = |world: &mut World| {
        let before = world.oracle.deliveries.len();
        world.sync_now(SVEN);
        (world.oracle.deliveries.len() - before, cargo(&world.devices[SVEN]).len())
    };
    assert_eq!(messages(&mut world), (5, 5));
    assert_eq!(messages(&mut world), (1, 5));
    assert_eq!(messages(&mut world), (1, 5));
    world.server.decide(true, world.now_ms).expect("it is approved");
    assert_eq!(messages(&mut world), (5, 0));
}

// ---- meetings

/// One side of a meeting with whoever the test plays.
struct Side {
    meeting: Meeting,
    said: Vec<Message>,
    raw: Vec<u8>,
}

impl Side {
    fn begin(world: &mut World, device: usize) -> Self {
        let (meeting, hello) = world.devices[device].meet();
        let mut side = Self { meeting, said: Vec::new(), raw: Vec::new() };
        side.says(&hello);
        side
    }

    fn says(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.said = messages(&self.raw);
    }

    fn hears(&mut self, world: &mut World, device: usize, bytes: &[u8]) {
        let now_ms = world.now_ms;
        let phone = &mut world.devices[device];
        let said = phone.hear_phone(&mut self.meeting, bytes, now_ms, Crash::Never);
        self.says(&said.expect("it does not crash"));
    }

    fn hear(&mut self, world: &mut World, device: usize, message: &Message) {
        self.hears(world, device, &frame(message));
    }

    fn broken(&self) -> Option<&Broken> {
        self.meeting.end().and_then(|end| end.as_ref().err())
    }
}

fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (body, after) = rest.split_at(u32::from_be_bytes(*length) as usize);
        messages.push(from_cbor(body).expect("a message reads"));
        bytes = after;
    }
    messages
}

/// Everything that each side of a meeting says to the end, in order.
fn tape(world: &mut World, a: usize, b: usize) -> [Vec<u8>; 2] {
    let mut sides = [Side::begin(world, a), Side::begin(world, b)];
    let mut heard = [0, 0];
    loop {
        let before = heard;
        for (to, place) in [a, b].into_iter().enumerate() {
            let new = sides[1 - to].raw[heard[to]..].to_vec();
            heard[to] += new.len();
            sides[to].hears(world, place, &new);
        }
        if heard == before {
            break;
        }
    }
    for side in &sides {
        assert_eq!(side.meeting.end(), Some(&Ok(())));
    }
    sides.map(|side| side.raw)
}

#[test]
fn a_line_that_is_cut_at_any_byte_leaves_whole_parcels_or_none() {
    let mut world = world();
    let before = world.devices.iter().map(Device::copy).collect::<Vec<_>>();
    let again = |world: &mut World| world.devices = before.iter().map(Device::copy).collect();
    let long = tape(&mut world, RITA, SVEN)[0].len() as u64;
    let all = cargo(&world.devices[SVEN]);
    assert_eq!(all.len(), 2);
    let mut counts = std::collections::BTreeSet::new();
    for cut in 0..long + 600 {
        again(&mut world);
        let [ritas, svens] = world.meet(RITA, SVEN, Some(cut), Crash::Never);
        let held = cargo(&world.devices[SVEN]);
        assert!(held.iter().all(|name| all.contains(name)));
        assert_eq!(held.len(), svens.report().taken as usize, "cut at {cut}");
        assert!(ritas.report().given as usize <= held.len(), "nothing is acknowledged too early");
        assert!(world.devices[SVEN].document(documents(&world, RITA)[0]).is_none());
        counts.insert(held.len());
        if cut % 97 == 0 {
            // The next meeting brings the rest.
            world.meet(RITA, SVEN, None, Crash::Never);
            assert_eq!(cargo(&world.devices[SVEN]), all);
            assert!(world.devices[SVEN].carries_all_of(&world.devices[RITA]));
        }
    }
    assert_eq!(counts, [0, 1, 2].into());
}

#[test]
fn cargo_goes_through_many_hands_and_comes_once() {
    let mut world = world();
    world.meet(RITA, 1, None, Crash::Never);
    world.meet(1, SVEN, None, Crash::Never);
    let [_, svens] = world.meet(1, SVEN, None, Crash::Never);
    assert_eq!((svens.report().taken, cargo(&world.devices[SVEN]).len()), (0, 2));
    // It is not carried back to whom it is from.
    let [_, ritas] = world.meet(SVEN, RITA, None, Crash::Never);
    assert_eq!((ritas.report().taken, ritas.report().refused.len()), (0, 0));
    world.lose(RITA);
    world.lose(1);
    world.sync_now(SVEN);
    assert_eq!(cargo(&world.devices[SVEN]), []);
    world.come_to_rest();
    world.check();
    assert_eq!(world.server.documents().len(), 2);
}

#[test]
fn what_builds_on_work_that_went_with_its_phone_and_a_lost_log_is_carried_on() {
    let mut world = world();
    let backup = world.server.backup();
    let [first, second] = documents(&world, RITA)[..] else { panic!("two visits") };
    world.sync_now(RITA);
    // Rita's phone believes that the server has both visits, and gives Sven only what came after them.
    let before = std::mem::replace(&mut world.server, backup);
    world.oracle.restored(&before, &world.server, &world.devices);
    let submit = Command::Submit(first.visit().expect("a visit"));
    let submitted = world.act(RITA, Crash::Never, submit).expect("it is saved");
    world.meet(RITA, SVEN, None, Crash::Never);
    assert!(world.devices[SVEN].carries_all_of(&world.devices[RITA]));
    world.lose(RITA);
    world.come_to_rest();
    world.check();
    assert!(world.server.documents().iter().all(|id| ![first, second].contains(id)));
    let codes = world.server.quarantined()[&(first, submitted)].clone();
    assert_eq!(codes.into_values().flatten().collect::<Vec<_>>(), ["missing_parent"]);
    assert_eq!(cargo(&world.devices[SVEN]).len(), 1);
}

#[test]
fn work_of_a_phone_that_a_restored_server_has_forgotten_is_not_dropped() {
    let mut world = world();
    let backup = world.server.backup();
    let fresh = Device::new(brand::SAM, world.now_ms, &mut Chance::new(5));
    let (id, key) = (fresh.id, fresh.keypair.public());
    world.devices.push(fresh);
    let fresh = world.devices.len() - 1;
    world.server.enrol(id, brand::SAM, key, world.now_ms);
    world.sync_now(fresh);
    world.sync_now(SVEN);
    visits(&mut world, fresh, CALLS[0]);
    let document = documents(&world, fresh)[0];
    let photo = file(1, 100);
    with_photo(&mut world, fresh, &photo);
    world.meet(fresh, SVEN, None, Crash::Never);
    world.lose(fresh);
    world.server = backup;
    world.oracle.lost_log = true;

    // The phone is dead, and its colleague has what it has left.
    world.sync_now(SVEN);
    let apart = world.server.quarantined();
    let (_, codes) = apart.iter().find(|((of, _), _)| *of == document).expect("it is kept");
    let sven = world.devices[SVEN].id;
    assert_eq!(*codes, [(sven, vec!["foreign_actor".to_owned()])].into());
    assert_eq!(cargo(&world.devices[SVEN]).len(), 2, "he keeps it until somebody has decided");

    // Enrolled again with the key that it had, it is known for its own.
    let mut enrolled = world.server.backup();
    enrolled.enrol(DeviceId::from_bytes([9; 16]), brand::SAM, key, world.now_ms);
    let refused = std::mem::replace(&mut world.server, enrolled);
    world.sync_now(SVEN);
    assert_eq!(world.server.documents(), [document]);
    assert!(world.server.waiting().is_empty());
    assert!(cargo(&world.devices[SVEN]).is_empty());

    world.server = refused;
    world.server.decide(false, world.now_ms).expect("it is discarded");
    world.sync_now(SVEN);
    assert!(world.server.documents().is_empty());
    assert!(cargo(&world.devices[SVEN]).is_empty());
}

#[test]
fn a_stranger_a_revoked_phone_another_organisation_and_oneself_are_not_met() {
    let mut world = world();
    let hello = |device, org| Message::Hello { protocol: PROTOCOL, org, device, nonce: [1; 32] };
    let (rita, sven) = (world.devices[RITA].id, world.devices[SVEN].id);
    let unknown = DeviceId::from_bytes([8; 16]);
    let elsewhere = OrgId::from_bytes([9; 16]);
    let newer = Message::Hello { protocol: 2, org: ORG, device: sven, nonce: [1; 32] };
    for (said, broken) in [
        (hello(unknown, ORG), Broken::Stranger),
        (hello(sven, elsewhere), Broken::OtherOrganisation),
        (hello(rita, ORG), Broken::Itself),
        (newer, Broken::Protocol(2)),
        (Message::Bye { code: "stranger".into() }, Broken::Left("stranger".into())),
        (Message::Bye { code: "x".repeat(65) }, Broken::TooLong),
        (Message::Done {}, Broken::Unexpected),
        (Message::Offer { parcels: Vec::new() }, Broken::Unexpected),
        (Message::Proof { signature: [0; 64] }, Broken::Unexpected),
        (Message::Ask { names: Vec::new() }, Broken::Unexpected),
    ] {
        let mut side = Side::begin(&mut world, RITA);
        side.hear(&mut world, RITA, &said);
        assert_eq!(side.broken(), Some(&broken));
        let bye = Message::Bye { code: broken.code().into() };
        let left = matches!(broken, Broken::Left(_));
        assert_eq!(side.said.last() == Some(&bye), !left, "the other side is told why");
        assert_eq!(side.meeting.report().with, None);
        // What comes after the end is not heard.
        let said = side.raw.len();
        side.hear(&mut world, RITA, &hello(sven, ORG));
        assert_eq!(side.raw.len(), said);
    }
    revoke(&mut world, SVEN);
    world.sync_now(RITA);
    let mut side = Side::begin(&mut world, RITA);
    side.hear(&mut world, RITA, &hello(sven, ORG));
    assert_eq!(side.broken(), Some(&Broken::Revoked));
}

#[test]
fn nobody_proves_to_be_another_by_what_was_heard_before() {
    let mut world = world();
    let [_, recorded] = tape(&mut world, RITA, SVEN);
    let before = cargo(&world.devices[SVEN]);
    // Sven's side of yesterday's meeting, word for word: Rita's nonce is another one today.
    let mut side = Side::begin(&mut world, RITA);
    side.hears(&mut world, RITA, &recorded);
    assert_eq!(side.broken(), Some(&Broken::Forged));
    assert_eq!(side.meeting.report().with, None);
    // Rita's own words said back to her.
    let mut side = Side::begin(&mut world, RITA);
    let own = side.raw.clone();
    side.hears(&mut world, RITA, &own);
    assert_eq!(side.broken(), Some(&Broken::Itself));
    // Sven's name with a key of somebody else's.
    let mut side = Side::begin(&mut world, RITA);
    let mut liar = Device::copy(&world.devices[SVEN]);
    liar.keypair = Keypair::from_seed(&[3; 32]);
    let (mut meeting, hello) = liar.meet();
    side.hears(&mut world, RITA, &hello);
    let said = side.raw.clone();
    let now_ms = world.now_ms;
    let proof = liar.hear_phone(&mut meeting, &said, now_ms, Crash::Never).expect("a proof");
    side.hears(&mut world, RITA, &proof);
    assert_eq!(side.broken(), Some(&Broken::Forged));
    assert_eq!(cargo(&world.devices[SVEN]), before);
}

/// Rita's side after Sven, whose key the test has, has proved to be Sven.
fn met(world: &mut World, at: usize, liar: usize) -> (Side, Meeting) {
    let mut side = Side::begin(world, at);
    let now_ms = world.now_ms;
    let (mut meeting, hello) = world.devices[liar].meet();
    let raw = side.raw.clone();
    let phone = &mut world.devices[liar];
    let proof = phone.hear_phone(&mut meeting, &raw, now_ms, Crash::Never).expect("a proof");
    side.hears(world, at, &[hello, proof].concat());
    assert_eq!(side.meeting.report().with, Some(world.devices[liar].id));
    assert!(matches!(side.said.last(), Some(Message::Offer { .. })));
    (side, meeting)
}

fn offers(parcel: &Parcel) -> Message {
    let bytes = parcel.as_bytes().len() as u32;
    Message::Offer {
        parcels: vec![Offered { name: parcel.name(), origin: parcel.origin(), bytes }],
    }
}

fn gives(parcel: &Parcel) -> Message {
    Message::Parcel { parcel: ParcelBytes(parcel.as_bytes().to_vec()) }
}

#[test]
fn an_enrolled_phone_that_lies_gives_nothing_that_it_must_not() {
    let mut world = world();
    let good = parcel(&world, RITA);
    let flipped = |place: usize| {
        let mut bytes = good.as_bytes().to_vec();
        bytes[place] ^= 1;
        Parcel::from_bytes(bytes).expect("long enough")
    };
    // Sven listens, Sam lies.
    let lies = |world: &mut World, said: &[Message]| {
        let (mut side, _) = met(world, SVEN, 1);
        for message in said {
            side.hear(world, SVEN, message);
        }
        side
    };
    // A parcel that its origin has not made: the meeting goes on without it.
    for place in [20, 90, 200] {
        let bad = flipped(place);
        let side = lies(&mut world, &[offers(&bad), gives(&bad)]);
        assert_eq!(side.meeting.report().refused, [("bad_seal".to_owned(), 1)].into());
        assert_eq!(side.broken(), None);
    }
    // Whose origin is not known here, or one that is too long: it is not even asked for.
    let stranger = flipped(0);
    let side = lies(&mut world, &[offers(&stranger)]);
    assert_eq!(side.meeting.report().refused, [("stranger".to_owned(), 1)].into());
    let long = Offered { name: good.name(), origin: good.origin(), bytes: u32::MAX };
    let side = lies(&mut world, &[Message::Offer { parcels: vec![long] }]);
    assert_eq!(side.meeting.report().refused, [("too_large".to_owned(), 1)].into());
    assert_eq!(side.said.last(), Some(&Message::Done {}));
    // What nobody asked for, another one than was offered, and what comes out of turn.
    let many = |numbers: std::ops::Range<usize>, origin| {
        let offered =
            |n: usize| Offered { name: ParcelHash::of(&n.to_be_bytes()), origin, bytes: 200 };
        numbers.map(offered).collect::<Vec<_>>()
    };
    let too_many = Message::Offer { parcels: many(0..OFFERS_MAX + 1, good.origin()) };
    let twice = match offers(&good) {
        Message::Offer { parcels } => Message::Offer { parcels: parcels.repeat(2) },
        _ => unreachable!(),
    };
    let of = |origin| {
        let (name, bytes) = (good.name(), good.as_bytes().len() as u32);
        Message::Offer { parcels: vec![Offered { name, origin, bytes }] }
    };
    let sam = world.devices[1].id;
    let short = ParcelBytes(vec![0; 127]);
    let unasked = |name| Message::Stored { name, signature: [0; 64] };
    for (said, broken) in [
        (vec![gives(&good)], Broken::Unexpected),
        (vec![offers(&good), gives(&flipped(200))], Broken::Unexpected),
        (vec![of(sam), gives(&good)], Broken::Unexpected),
        (vec![offers(&good), gives(&good), gives(&good)], Broken::Unexpected),
        (vec![offers(&good), offers(&good)], Broken::Unexpected),
        (vec![twice], Broken::Unexpected),
        (vec![too_many], Broken::TooLong),
        (vec![offers(&good), Message::Parcel { parcel: short }], Broken::Malformed),
        (vec![Message::Gone { name: good.name() }], Broken::Unexpected),
        (vec![unasked(good.name())], Broken::Unexpected),
        (vec![Message::Refused { name: good.name(), code: "full".into() }], Broken::Unexpected),
        (vec![Message::Refused { name: good.name(), code: "x".repeat(65) }], Broken::TooLong),
        (vec![Message::Ask { names: vec![good.name()] }], Broken::Unexpected),
        (vec![Message::Done {}, Message::Done {}], Broken::Unexpected),
        (vec![Message::Done {}, Message::Ask { names: Vec::new() }], Broken::Unexpected),
    ] {
        world.devices[SVEN].disk.commit(vec![Write::Unload(good.name())]);
        let side = lies(&mut world, &said);
        assert_eq!(side.broken(), Some(&broken), "{said:?}");
    }
    // More of one person than there is room for, then of another: the first are asked for, the others are told so.
    world.devices[SVEN].disk.commit(vec![Write::Unload(good.name())]);
    let half = OFFERS_MAX / 2;
    let mut parcels = many(0..half, good.origin());
    parcels.extend(many(half..OFFERS_MAX, sam));
    let side = lies(&mut world, &[Message::Offer { parcels: parcels[..half].to_vec() }]);
    assert_eq!(side.meeting.report().wanted as usize, SHARE_PARCELS_MAX);
    let side = lies(&mut world, &[Message::Offer { parcels }]);
    assert_eq!(side.meeting.report().wanted as usize, CARGO_PARCELS_MAX);
    let full = (OFFERS_MAX - CARGO_PARCELS_MAX) as u32;
    assert_eq!(side.meeting.report().refused, [("full".to_owned(), full)].into());
    assert_eq!(cargo(&world.devices[SVEN]), []);
}

#[test]
fn a_phone_is_believed_to_carry_only_what_it_signed_for() {
    let mut world = world();
    let document = documents(&world, RITA)[0];
    let (mut side, _) = met(&mut world, RITA, SVEN);
    let name = parcel(&world, RITA).name();
    side.hear(&mut world, RITA, &Message::Stored { name, signature: [1; 64] });
    assert_eq!(side.broken(), Some(&Broken::Forged));
    assert!(world.devices[RITA].document(document).expect("it is here").given.is_empty());
    // It is given once, and not before what was given is answered for.
    let (mut side, _) = met(&mut world, RITA, SVEN);
    side.hear(&mut world, RITA, &Message::Ask { names: vec![name] });
    assert!(matches!(side.said.last(), Some(Message::Parcel { .. })));
    side.hear(&mut world, RITA, &Message::Ask { names: vec![name] });
    assert_eq!(side.broken(), Some(&Broken::Unexpected));
    // What changed since it was offered is gone; the next meeting offers it as it is then.
    let (mut side, _) = met(&mut world, RITA, SVEN);
    let visit = document.visit().expect("a visit");
    world.act(RITA, Crash::Never, Command::Submit(visit)).expect("it is saved");
    side.hear(&mut world, RITA, &Message::Ask { names: vec![name] });
    assert_eq!(side.said.last(), Some(&Message::Gone { name }));
}

#[test]
fn who_has_not_proved_anything_says_little() {
    let mut world = world();
    let length = |length: usize| (length as u32).to_be_bytes();
    let mut side = Side::begin(&mut world, RITA);
    side.hears(&mut world, RITA, &length(STRANGER_BYTES_MAX + 1));
    assert_eq!(side.broken(), Some(&Broken::TooLong));
    for garbage in [&[][..], &[0xff; 9], b"GET / HTTP/1.1\r\n", &[0x81, 0x18, 99]] {
        let mut side = Side::begin(&mut world, RITA);
        side.hears(&mut world, RITA, &[&length(garbage.len())[..], garbage].concat());
        assert_eq!(side.broken(), Some(&Broken::Malformed));
    }
    let (mut side, _) = met(&mut world, RITA, SVEN);
    side.hears(&mut world, RITA, &length(FRAME_BYTES_MAX + 1));
    assert_eq!(side.broken(), Some(&Broken::TooLong));
    // A whole parcel fits.
    let whole = Message::Parcel { parcel: ParcelBytes(vec![0; PARCEL_BYTES_MAX]) };
    assert!(to_cbor(&whole).len() <= FRAME_BYTES_MAX);
    const { assert!(PARCELS_MAX <= CARGO_PARCELS_MAX) };
}

#[test]
fn whatever_byte_is_flipped_on_the_line_nothing_false_is_carried() {
    let mut world = world();
    let sven = world.devices[SVEN].copy();
    // Copies of one phone draw the same nonce.
    world.devices[SVEN] = sven.copy();
    let [recorded, _] = tape(&mut world, RITA, SVEN);
    let good = cargo(&world.devices[SVEN]);
    let mut chance = Chance::new(5);
    let mut hears = |bytes: &[u8]| {
        world.devices[SVEN] = sven.copy();
        let mut side = Side::begin(&mut world, SVEN);
        side.hears(&mut world, SVEN, bytes);
        cargo(&world.devices[SVEN])
    };
    assert_eq!(hears(&recorded), good);
    for place in 0..recorded.len() {
        let mut bytes = recorded.clone();
        bytes[place] ^= 1 << chance.below(8);
        assert!(hears(&bytes).iter().all(|name| good.contains(name)), "at {place}");
    }
}

#[test]
fn what_a_full_quarantine_has_no_room_for_stays_with_its_courier() {
    let mut world = world();
    let now_ms = world.now_ms;
    world.server.write(vec![brand::call_record(CALLS[0], true)], now_ms);
    let (rita, head) = (world.devices[RITA].id, world.server.head().sequence);
    let knows = "UPDATE device SET acked = ?2 WHERE device = ?1";
    world.server.db.execute(knows, (rita.as_bytes(), head)).expect("it is written");
    let parcels = documents(&world, RITA).into_iter().map(|document| {
        let phone = &world.devices[RITA];
        let Ok(packed) = pack(&phone.disk, &phone.keypair, document);
        packed.expect("there is something to carry").0.as_bytes().to_vec()
    });
    let parcels: Vec<_> = parcels.collect();
    // Something else of hers is refused, and takes up all the room there is for that.
    let refused = "INSERT INTO quarantine (org, item, device, document, head, code, detail, received_ms, body,
                       audience, bytes, state)
                   SELECT org, 77, ?1, x'00', x'00', 'late', '', 0, x'', 0, ?2, 'discarded' FROM organisation";
    world.server.db.execute(refused, (rita.as_bytes(), 64_u64 << 20)).expect("it is written");
    assert_eq!(brings(&mut world, parcels.clone()), [Delivery::Later {}, Delivery::Taken {}]);
    let room = "UPDATE quarantine SET bytes = 0 WHERE item = 77";
    world.server.db.execute(room, ()).expect("it is written");
    assert_eq!(brings(&mut world, parcels), [Delivery::Taken {}, Delivery::Taken {}]);
}
