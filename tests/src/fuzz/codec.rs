//! Everything that comes over a wire, out of a document or off a disk: bytes, read, written and read again.

use std::fmt::Debug;

use minicbor::{Decode, Encode};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::Kept;
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
    Group, PullReply, PullRequest, PushReply, PushRequest, Reading, RepairReply, RepairRequest,
    from_wire, protocol_of, to_wire,
};

use crate::brand::ORG;

/// What an input's first byte says that the rest is.
pub const SHAPES: [&str; 21] = [
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
