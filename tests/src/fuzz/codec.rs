//! Everything that comes over a wire, out of a document or off a disk: bytes, read, written and read again.

use std::fmt::Debug;

use minicbor::{Decode, Encode};
use sync_core::cargo::{Cargo, Parcel};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::{Kept, Profile, Replica};
use sync_core::command::Command;
use sync_core::document::{Entry, Parts, Section};
use sync_core::evidence::{Cursor, Leaf};
use sync_core::id::{DeviceId, DocId, DocKind, ParcelHash};
use sync_core::kpi::per_visit;
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::catalogue::{Record, RecordKey};
use sync_core::model::visit::Note;
use sync_core::print::{Content, Inventory, Item, PARTS, Part, Print};
use sync_core::projection::Facts;
use sync_core::relay::{ASK_BYTES_MAX, Message, OFFERS_MAX, Offered, frame};
use sync_core::wire::{
    CargoReply, CargoRequest, Group, ParcelBytes, PullReply, PullRequest, PushReply, PushRequest,
    Reading, RepairReply, RepairRequest, from_wire, protocol_of, to_wire,
};

use super::Script;

use crate::brand::{self, ORG};
use crate::device::{Crash, Device};
use crate::world::World;

/// What an input's first byte says that the rest is.
pub const SHAPES: [&str; 32] = [
    "push request",
    "push reply",
    "pull request",
    "pull reply",
    "group",
    "recordings",
    "submissions",
    "reviews",
    "thread",
    "reports",
    "record",
    "facts",
    "leaf",
    "cursor",
    "note",
    "moment",
    "capture time",
    "parts",
    "kept document",
    "repair request",
    "repair reply",
    "cargo request",
    "cargo reply",
    "cargo",
    "parcel",
    "meeting",
    "said",
    "parley",
    "part",
    "content",
    "inventory",
    "profile",
];

/// An input: bytes that are to be read as this.
pub fn input(shape: &str, bytes: &[u8]) -> Vec<u8> {
    let place = SHAPES.iter().position(|known| *known == shape).expect("a shape");
    [&[place as u8], bytes].concat()
}

/// Most bytes that may be held while an input is read and written. Values are larger than what they are
/// written as, by a factor that nothing in the input can raise.
pub fn held_bytes_max(data: &[u8]) -> u64 {
    (1 << 20) + 256 * data.len() as u64
}

/// Reads and writes; panics if what comes back is another thing.
pub fn run(data: &[u8]) {
    let Some((shape, bytes)) = data.split_first() else { return };
    let _ = protocol_of(bytes);
    match SHAPES[usize::from(*shape) % SHAPES.len()] {
        "push request" => drop(message::<PushRequest>(bytes).inspect(|push| {
            let _ = push.within_limits();
            let _ = push.notes.iter().map(Note::validate).collect::<Vec<_>>();
        })),
        "push reply" => drop(message::<PushReply>(bytes)),
        "pull request" => drop(message::<PullRequest>(bytes)),
        "pull reply" => drop(message::<PullReply>(bytes)),
        "repair request" => drop(message::<RepairRequest>(bytes).inspect(|asked| {
            let (_, nothing) = (asked.within_limits(), Inventory::new([]));
            let _ = asked.parts.iter().map(|part| nothing.content(*part)).collect::<Vec<_>>();
        })),
        "repair reply" => drop(message::<RepairReply>(bytes)),
        "group" => drop(message::<Group>(bytes).inspect(keeps_names)),
        "recordings" => entry(Section::Recordings, bytes),
        "submissions" => entry(Section::Submissions, bytes),
        "reviews" => entry(Section::Reviews, bytes),
        "thread" => entry(Section::Thread, bytes),
        "reports" => entry(Section::Reports, bytes),
        "record" => record(bytes),
        "facts" => drop(value::<Facts>(bytes).inspect(|facts| {
            let _ = per_visit(facts);
        })),
        "leaf" => drop(value::<Leaf>(bytes).inspect(|leaf| {
            let _ = leaf.hash();
        })),
        "cursor" => drop(value::<Cursor>(bytes)),
        "note" => drop(value::<Note>(bytes).inspect(|note| {
            let again = Note::new(&note.text, note.salt);
            assert_eq!(again.is_ok_and(|again| again == *note), is_trimmed_and_valid(note));
        })),
        "moment" => drop(value::<Moment>(bytes)),
        "capture time" => drop(value::<CaptureTime>(bytes)),
        "parts" => drop(value::<Parts>(bytes)),
        "cargo request" => drop(message::<CargoRequest>(bytes)),
        "cargo reply" => drop(message::<CargoReply>(bytes)),
        "cargo" => drop(message::<Cargo>(bytes)),
        "parcel" => parcel(bytes),
        "meeting" => meeting(bytes),
        "said" => drop(value::<Message>(bytes)),
        "parley" => parley(bytes),
        "part" => drop(value::<Part>(bytes).inspect(|part| {
            let (nothing, parts) = (Inventory::new([]), part.parts().collect::<Vec<_>>());
            assert!(parts.len() == PARTS || parts.is_empty());
            assert!(parts.iter().all(|part| value::<Part>(&to_cbor(part)).is_some()));
            assert_eq!(nothing.content(*part), Content::Items(Vec::new()));
        })),
        "content" => drop(value::<Content>(bytes)),
        "inventory" => inventory(bytes),
        "profile" => drop(value::<Profile>(bytes)),
        _ => kept(bytes),
    }
}

fn is_trimmed_and_valid(note: &Note) -> bool {
    note.validate().is_ok() && note.text.trim() == note.text
}

/// What was read is written in one way, and reads as the same.
fn message<T>(bytes: &[u8]) -> Option<T>
where
    T: Encode<sync_core::id::OrgId> + for<'b> Decode<'b, Reading> + PartialEq + Debug,
{
    let read: T = from_wire(ORG, bytes).ok()?;
    let written = to_wire(ORG, &read);
    let again: T = from_wire(ORG, &written).expect("what was written reads");
    assert_eq!(again, read);
    assert_eq!(to_wire(ORG, &again), written, "a message is written in one way");
    Some(read)
}

fn value<T>(bytes: &[u8]) -> Option<T>
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug,
{
    let read: T = from_cbor(bytes).ok()?;
    let written = to_cbor(&read);
    let again: T = from_cbor(&written).expect("what was written reads");
    assert_eq!(again, read);
    assert_eq!(to_cbor(&again), written, "a value is written in one way");
    Some(read)
}

/// A change that is built anew from its parts has the name that the group gave it.
fn keeps_names(group: &Group) {
    for change in &group.changes {
        let parts = Parts::clone(change);
        let again = sync_core::document::Change::new(group.document.kind, parts);
        assert_eq!(again.as_ref(), Ok(change));
        assert!(change.chunk(group.document.kind).is_some());
    }
}

fn entry(section: Section, bytes: &[u8]) {
    let Ok(entry) = Entry::decode(section, bytes) else { return };
    assert_eq!(entry.section(), section);
    let written = entry.encode();
    let again = Entry::decode(section, &written).expect("what was written reads");
    assert_eq!(again, entry);
    assert_eq!(again.encode(), written, "an entry is written in one way");
    assert_eq!(again.validate(), entry.validate());
    let _ = (entry.by(), entry.when(), entry.notes(), entry.photos());
}

/// No two parcels open, and no key but the origin's has signed one.
fn parcel(bytes: &[u8]) {
    let Some(parcel) = Parcel::from_bytes(bytes.to_vec()) else { return };
    assert_eq!(parcel.as_bytes(), bytes);
    let (_, sam) = pair();
    let _ = parcel.open(ORG, &sam.keypair);
    assert!(!parcel.is_signed(ORG, &sam.keypair.public()));
}

/// Makes the phones that meet, once; what an input holds is counted without them.
pub fn prepare() {
    pair();
    both_with_work();
}

/// Two phones that know each other; the first has work.
fn pair() -> &'static (Device, Device) {
    static PAIR: std::sync::OnceLock<(Device, Device)> = std::sync::OnceLock::new();
    PAIR.get_or_init(|| {
        let mut world = World::new(1);
        world.act(0, Crash::Never, Command::StartCall(brand::call(0)));
        let mut devices = world.devices.drain(..);
        let rita = devices.next().expect("Rita's phone");
        (rita, devices.next().expect("Sam's phone"))
    })
}

/// The same, and both have work; the second carries a parcel besides.
fn both_with_work() -> &'static (Device, Device) {
    static PAIR: std::sync::OnceLock<(Device, Device)> = std::sync::OnceLock::new();
    PAIR.get_or_init(|| {
        let mut world = World::new(2);
        world.act(0, Crash::Never, Command::StartCall(brand::call(0)));
        world.act(1, Crash::Never, Command::StartCall(brand::call(0)));
        let mut devices = world.devices.drain(..);
        let (mut rita, mut sam) = (devices.next().expect("Rita"), devices.next().expect("Sam"));
        let mut third = devices.next().expect("another phone");
        let ((mut one, mut said), (mut other, mut heard)) = (third.meet(), sam.meet());
        while !said.is_empty() || !heard.is_empty() {
            let answer = sam.hear_phone(&mut other, &said, brand::BEGIN_MS, Crash::Never);
            heard.extend(answer.expect("it does not crash"));
            let answer = third.hear_phone(&mut one, &heard, brand::BEGIN_MS, Crash::Never);
            said = answer.expect("nor does this");
            heard.clear();
        }
        rita.crash();
        (rita, sam)
    })
}

/// What a phone says to one that proves who it is, and then says what it wants. Steps are `[what, a, b]`: the
/// other phone's true words, a word changed, or words of one's own.
fn parley(bytes: &[u8]) {
    let (rita, sam) = both_with_work();
    let (mut rita, mut sam) = (rita.copy(), sam.copy());
    let Ok(before) = sam.disk.cargo();
    let ((mut theirs, mut said), (mut ours, hello)) = (rita.meet(), sam.meet());
    let mut script = Script::new(bytes);
    let mut heard = hello;
    // Names of parcels that were named on this line, true ones and others.
    let mut names = vec![ParcelHash([7; 32])];
    let mut parcels: Vec<Vec<u8>> = vec![vec![9; 200]];
    for _ in 0..64 {
        if script.is_over() || ours.end().is_some() {
            break;
        }
        // The true phone hears everything, and says what it would say.
        let answer = rita.hear_phone(&mut theirs, &heard, brand::BEGIN_MS, Crash::Never);
        said.extend(answer.expect("it does not crash"));
        heard.clear();
        let (what, a, b) = (script.byte(), usize::from(script.byte()), script.byte());
        let mut words = Vec::new();
        let mut next = || {
            let (length, rest) = said.split_first_chunk::<4>()?;
            let length = u32::from_be_bytes(*length) as usize;
            let message = from_cbor::<Message>(&rest[..length]).expect("a true phone's words");
            said.drain(..4 + length);
            Some(message)
        };
        let name = names[a % names.len()];
        match what % 16 {
            0..=3 => words.extend((0..=a % 4).filter_map(|_| next())),
            4 => drop(next()),
            5 => words.extend(next().map(|message| altered(message, a, b))),
            6 => {
                let origin = match b % 4 {
                    0 => rita.id,
                    1 => sam.id,
                    2 => before.first().map_or(rita.id, |carried| carried.origin),
                    _ => DeviceId::from_bytes([b; 16]),
                };
                let count = if a == 255 { OFFERS_MAX + 1 } else { a % 8 };
                let one = |n: usize| {
                    let mut name = [b; 32];
                    name[..2].copy_from_slice(&(n as u16).to_be_bytes());
                    let bytes = (ASK_BYTES_MAX as u32 >> (b % 16)) + u32::from(b > 250);
                    Offered { name: ParcelHash(name), origin, bytes }
                };
                words.push(Message::Offer { parcels: (0..count).map(one).collect() });
            }
            7 => words.push(Message::Ask { names: vec![name; 1 + usize::from(b % 3)] }),
            8 => words.push(Message::Ask { names: names.clone() }),
            9 => {
                let mut parcel = parcels[a % parcels.len()].clone();
                let at = parcel.len() * usize::from(b) / 256;
                parcel[at] ^= u8::from(b % 2 == 1);
                words.push(Message::Parcel { parcel: ParcelBytes(parcel) });
            }
            10 => words.push(Message::Gone { name }),
            11 => words.push(Message::Stored { name, signature: [b; 64] }),
            12 => words.push(Message::Refused { name, code: "x".repeat(b.into()) }),
            13 => words.push(Message::Done {}),
            14 => words.push(Message::Bye { code: "y".repeat(b.into()) }),
            _ => {}
        }
        let mut line: Vec<u8> = words.iter().flat_map(frame).collect();
        if what % 16 == 15 {
            line = script.bytes(a).to_vec();
        }
        for message in &words {
            match message {
                Message::Offer { parcels } => names.extend(parcels.iter().take(8).map(|p| p.name)),
                Message::Parcel { parcel } => parcels.push(parcel.0.clone()),
                _ => {}
            }
        }
        let now_ms = brand::BEGIN_MS;
        let answer = sam.hear_phone(&mut ours, &line, now_ms, Crash::Never);
        heard = answer.expect("it does not crash");
        let mut rest = &heard[..];
        while let Some((length, body)) = rest.split_first_chunk::<4>() {
            let (body, after) = body.split_at(u32::from_be_bytes(*length) as usize);
            match from_cbor::<Message>(body).expect("what a phone says reads") {
                Message::Offer { parcels } => names.extend(parcels.iter().map(|p| p.name)),
                Message::Parcel { parcel } => parcels.push(parcel.0),
                _ => {}
            }
            rest = after;
        }
        if theirs.end().is_some() {
            said.clear();
        }
    }
    let Ok(after) = sam.disk.cargo();
    assert_eq!(after.len(), before.len() + ours.report().taken as usize);
    for carried in after.iter().filter(|carried| !before.contains(carried)) {
        let Ok(parcel) = sam.disk.parcel(carried.name);
        let parcel = parcel.expect("it is listed");
        assert!(parcel.is_signed(ORG, &rita.keypair.public()), "it carries what nobody made");
    }
    // Nobody but who signs for it makes this phone believe that its work lies elsewhere.
    let Ok(documents) = sam.disk.documents();
    let given = documents.iter().filter_map(|id| sam.document(*id)).flat_map(|kept| kept.given);
    let given = given.filter(|given| given.device == rita.id).count();
    let Ok(theirs) = rita.disk.cargo();
    assert!(given <= theirs.len(), "what it believes to be stored is not");
}

/// A true message with something else in one place.
fn altered(message: Message, a: usize, b: u8) -> Message {
    let bent = |mut bytes: Vec<u8>| {
        let at = a % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= b;
        }
        bytes
    };
    let name = |name: ParcelHash| ParcelHash(bent(name.0.to_vec()).try_into().expect("32 bytes"));
    let sign = |bytes: [u8; 64]| bent(bytes.to_vec()).try_into().expect("64 bytes");
    match message {
        Message::Hello { protocol, org, device, nonce } => match a % 4 {
            0 => Message::Hello { protocol: u32::from(b), org, device, nonce },
            1 => Message::Hello {
                protocol,
                org: sync_core::id::OrgId::from_bytes([b; 16]),
                device,
                nonce,
            },
            2 => Message::Hello { protocol, org, device: DeviceId::from_bytes([b; 16]), nonce },
            _ => Message::Hello { protocol, org, device, nonce: [b; 32] },
        },
        Message::Proof { signature } => Message::Proof { signature: sign(signature) },
        Message::Offer { mut parcels } => {
            match b % 4 {
                0 => parcels.extend_from_within(..),
                1 => parcels.iter_mut().for_each(|offered| offered.bytes = u32::MAX >> (a % 32)),
                2 => parcels.iter_mut().for_each(|offered| offered.name = name(offered.name)),
                _ => parcels.iter_mut().for_each(|o| o.origin = DeviceId::from_bytes([b; 16])),
            }
            Message::Offer { parcels }
        }
        Message::Ask { mut names } => {
            names.extend_from_within(..);
            Message::Ask { names }
        }
        Message::Parcel { parcel } => Message::Parcel { parcel: ParcelBytes(bent(parcel.0)) },
        Message::Stored { name: of, signature } if b.is_multiple_of(2) => {
            Message::Stored { name: of, signature: sign(signature) }
        }
        Message::Stored { name: of, signature } => Message::Stored { name: name(of), signature },
        other => other,
    }
}

/// Two hands that come to hold the same in different orders have the same prints; five bytes are an item and how
/// much of it.
fn inventory(bytes: &[u8]) {
    let (chunks, _) = bytes.as_chunks::<5>();
    let chunks = &chunks[..chunks.len().min(2_000)];
    let one = |[kind, a, b, c, change]: &[u8; 5]| {
        let mut id = [*a; 16];
        (id[0], id[1]) = (*b, *c);
        let item = match kind % 3 {
            0 => Item::Record(sync_core::model::catalogue::RecordKey { kind: *kind, id }),
            1 => Item::Document(DocId { kind: DocKind::Visit, id }),
            _ => Item::Document(DocId { kind: DocKind::Outlet, id }),
        };
        (item, Print::of_change(sync_core::id::ChangeHash([*change; 32])))
    };
    let there = Inventory::new(chunks.iter().map(one));
    let again = Inventory::new(chunks.iter().rev().map(one));
    let sum: Print = chunks.iter().map(|chunk| one(chunk).1).sum();
    assert_eq!((there.print(), again.print()), (sum, sum));
    let (mut parts, mut listed) = (vec![Part::WHOLE], Print::default());
    while let Some(part) = parts.pop() {
        let content = there.content(part);
        assert_eq!(content, again.content(part));
        assert_eq!(from_cbor::<Content>(&to_cbor(&content)).ok().as_ref(), Some(&content));
        assert_eq!(there.print_of(part), there.items(part).map(|(_, print)| print).sum());
        match content {
            Content::Parts(_) => parts.extend(part.parts()),
            Content::Items(_) => listed += there.print_of(part),
        }
    }
    assert_eq!(listed, sum, "every item is in one part");
}

/// What a phone says to one that speaks as these bytes do, with the same nonces each time. The first byte is how much of
/// the bytes comes at once; what of them are the words of a true meeting brings it on.
fn meeting(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let (_, sam) = pair();
    let mut sam = sam.copy();
    let (mut meeting, _) = sam.meet();
    for piece in bytes.chunks(1 + usize::from(*piece)) {
        let said = sam.hear_phone(&mut meeting, piece, brand::BEGIN_MS, Crash::Never);
        assert!(said.is_some());
    }
    let Ok(cargo) = sam.disk.cargo();
    assert_eq!(cargo.len(), meeting.report().taken as usize);
    for carried in cargo {
        let Ok(parcel) = sam.disk.parcel(carried.name);
        let (parcel, (rita, _)) = (parcel.expect("it is listed"), pair());
        assert!(parcel.is_signed(ORG, &rita.keypair.public()), "it carries what nobody made");
    }
}

/// The words of Rita's phone in a meeting with Sam's, as `meeting` hears them.
pub fn words_of_a_meeting() -> Vec<u8> {
    let (rita, sam) = pair();
    let (mut rita, mut sam) = (rita.copy(), sam.copy());
    let ((mut ritas, mut said), (mut sams, mut heard)) = (rita.meet(), sam.meet());
    let mut words = Vec::new();
    while !said.is_empty() || !heard.is_empty() {
        let now_ms = brand::BEGIN_MS;
        words.extend_from_slice(&said);
        let answer = sam.hear_phone(&mut sams, &said, now_ms, Crash::Never);
        heard.extend(answer.expect("it does not crash"));
        said = rita.hear_phone(&mut ritas, &heard, now_ms, Crash::Never).expect("nor does this");
        heard.clear();
    }
    assert_eq!((ritas.report().given, sams.report().taken), (1, 1));
    words
}

/// What both phones of a meeting say, without the lengths.
pub fn messages_of_a_meeting() -> Vec<Vec<u8>> {
    let (rita, sam) = both_with_work();
    let (mut rita, mut sam) = (rita.copy(), sam.copy());
    let ((mut ritas, mut said), (mut sams, mut heard)) = (rita.meet(), sam.meet());
    let mut words = [said.clone(), heard.clone()].concat();
    while !said.is_empty() || !heard.is_empty() {
        let now_ms = brand::BEGIN_MS;
        let answer = sam.hear_phone(&mut sams, &said, now_ms, Crash::Never);
        let answer = answer.expect("it does not crash");
        words.extend_from_slice(&answer);
        heard.extend(answer);
        said = rita.hear_phone(&mut ritas, &heard, now_ms, Crash::Never).expect("nor does this");
        words.extend_from_slice(&said);
        heard.clear();
    }
    let (mut messages, mut rest) = (Vec::new(), &words[..]);
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let (body, after) = body.split_at(u32::from_be_bytes(*length) as usize);
        messages.push(body.to_vec());
        rest = after;
    }
    messages
}

/// Its key is found without knowing its kind, by all who store it.
fn record(bytes: &[u8]) {
    let _ = RecordKey::peek(bytes);
    let Some(record) = value::<Record>(bytes) else { return };
    let _ = record.validate();
    assert_eq!(RecordKey::peek(&to_cbor(&record)), Some(record.key()));
}

/// What lies on a phone's disk.
fn kept(bytes: &[u8]) {
    let id = DocId { kind: DocKind::Visit, id: [2; 16] };
    let Some(kept) = Kept::from_bytes(ORG, id, bytes) else { return };
    let written = kept.to_bytes();
    let again = Kept::from_bytes(ORG, id, &written).expect("what was written reads");
    assert_eq!(again.to_bytes(), written);
    assert_eq!(again.document.heads(), kept.document.heads());
}
