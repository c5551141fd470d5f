//! Everything that comes over a wire, out of a document or off a disk: bytes, read, written and read again.

use std::fmt::Debug;

use minicbor::{Decode, Encode};
use sync_core::cargo::{Cargo, Parcel};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::{Kept, Replica};
use sync_core::command::Command;
use sync_core::document::{Entry, Parts, Section};
use sync_core::evidence::{Cursor, Leaf};
use sync_core::id::{DocId, DocKind};
use sync_core::kpi::per_visit;
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::catalogue::{Record, RecordKey};
use sync_core::model::visit::Note;
use sync_core::print::Inventory;
use sync_core::projection::Facts;
use sync_core::wire::{
    CargoReply, CargoRequest, Group, PullReply, PullRequest, PushReply, PushRequest, Reading,
    RepairReply, RepairRequest, from_wire, protocol_of, to_wire,
};

use crate::brand::{self, ORG};
use crate::device::{Crash, Device};
use crate::world::World;

/// What an input's first byte says that the rest is.
pub const SHAPES: [&str; 26] = [
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
