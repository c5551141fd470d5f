//! What is refused, as bytes: valid values with one thing wrong. Each case says what becomes of it and why, and this
//! program and `check.py` both find so.

use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::data::Type;
use minicbor::{Decoder, Encode, Encoder};
use serde_json::{Value as Json, json};
use server::ingest::{self, Console};
use server::world::World;
use sync_core::admit::Refusal;
use sync_core::cargo::{Cargo, Load, Parcel};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::document::{Change, Document, Entry, Parts, Section};
use sync_core::evidence::{Cursor, Keypair, Leaf, LogKey, Seal};
use sync_core::id::{Actor, ChangeHash, DeviceId, DocId, DocKind, LogHash, LogOrigin, OrgId};
use sync_core::model::catalogue::{Device, Record, RecordKey};
use sync_core::receipt::{Life, Receipt, Watch};
use sync_core::tlog::{Checkpoint, Hashes, NoteKey, SignedNote, Tile, Tree, leaf_hash};
use sync_core::wire::{
    Delivery, Group, Keys, Outcome, ParcelBytes, PullReply, PushReply, PushRequest, RepairReply,
    from_wire, to_wire,
};
use tests::device;

use crate::cases::{self, ORG};
use crate::office::{Folder, Office, RUNTIME};
use crate::{array, golden, hex, read, relay, unhex};

/// CBOR in which anything can be made wrong.
#[derive(Clone)]
enum Item {
    List(Vec<Item>),
    /// A list without a length.
    Endless(Vec<Item>),
    Map(Vec<(u64, Item)>),
    Other(Vec<u8>),
}

impl Item {
    fn of(bytes: &[u8]) -> Self {
        Self::read(&mut Decoder::new(bytes))
    }

    fn value(value: impl Encode<()>) -> Self {
        Self::of(&to_cbor(&value))
    }

    fn read(d: &mut Decoder<'_>) -> Self {
        let start = d.position();
        match d.datatype().unwrap() {
            Type::Array => {
                let length = d.array().unwrap().unwrap();
                Self::List((0..length).map(|_| Self::read(d)).collect())
            }
            Type::Map => {
                let length = d.map().unwrap().unwrap();
                Self::Map((0..length).map(|_| (d.u64().unwrap(), Self::read(d))).collect())
            }
            _ => {
                d.skip().unwrap();
                Self::Other(d.input()[start..d.position()].to_vec())
            }
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let all = |items: &[Self]| items.iter().flat_map(Self::write).collect::<Vec<u8>>();
        match self {
            Self::List(items) => {
                Encoder::new(&mut out).array(items.len() as u64).unwrap();
                out.extend(all(items));
            }
            Self::Endless(items) => out = [&[0x9f][..], &all(items), &[0xff]].concat(),
            Self::Map(members) => {
                Encoder::new(&mut out).map(members.len() as u64).unwrap();
                for (key, item) in members {
                    out.extend(to_cbor(key));
                    out.extend(item.write());
                }
            }
            Self::Other(bytes) => out.clone_from(bytes),
        }
        out
    }

    /// What is at a path of places in lists and keys of maps.
    fn at(&mut self, path: &[u64]) -> &mut Self {
        let Some((step, path)) = path.split_first() else { return self };
        let inside = match self {
            Self::List(items) | Self::Endless(items) => items.get_mut(*step as usize),
            Self::Map(members) => {
                if members.iter().all(|(key, _)| key != step) {
                    members.push((*step, Self::Other(vec![0xf6])));
                    members.sort_by_key(|(key, _)| *key);
                }
                members.iter_mut().find(|(key, _)| key == step).map(|(_, item)| item)
            }
            Self::Other(_) => None,
        };
        inside.expect("the path leads somewhere").at(path)
    }

    fn items(&mut self, path: &[u64]) -> &mut Vec<Self> {
        match self.at(path) {
            Self::List(items) => items,
            _ => panic!("no list is at {path:?}"),
        }
    }

    fn set(&mut self, path: &[u64], value: impl Encode<()>) {
        *self.at(path) = Self::value(value);
    }

    fn drop_key(&mut self, key: u64) {
        if let Self::Map(members) = self {
            members.retain(|(k, _)| *k != key);
        }
    }

    fn endless(&mut self, path: &[u64]) {
        let items = std::mem::take(self.items(path));
        *self.at(path) = Self::Endless(items);
    }

    /// What is at `from` comes once more at the end of the same list.
    fn again(&mut self, list: &[u64], times: usize) {
        let items = self.items(list);
        let last = items.last().unwrap().clone();
        items.extend(std::iter::repeat_n(last, times));
    }
}

type Wrong = fn(&mut Item);

/// A change that is wrong, what becomes of it, and why.
type Row = (&'static str, &'static str, Wrong);

/// Bytes as the fixture has them: what is repeated often is said once.
fn packed(bytes: &[u8]) -> Json {
    let (mut pieces, mut at) = (Vec::<(Vec<u8>, usize)>::new(), 0);
    let repeats = |at: usize| {
        (1..=40).find_map(|length| {
            let piece = bytes.get(at..at + length)?;
            let times = bytes[at..].chunks(length).take_while(|next| *next == piece).count();
            (times * length > 256).then_some((piece.to_vec(), times))
        })
    };
    while at < bytes.len() {
        let (piece, times) = repeats(at).unwrap_or((vec![bytes[at]], 1));
        at += piece.len() * times;
        match pieces.last_mut() {
            Some((before, 1)) if times == 1 => before.extend(piece),
            _ => pieces.push((piece, times)),
        }
    }
    match &pieces[..] {
        [(bytes, 1)] => json!(hex(bytes)),
        _ => pieces.iter().map(|(piece, times)| json!([hex(piece), times])).collect(),
    }
}

fn unpacked(bytes: &Json) -> Vec<u8> {
    let Some(pieces) = bytes.as_array() else { return unhex(bytes) };
    let piece = |piece: &Json| unhex(&piece[0]).repeat(piece[1].as_u64().unwrap() as usize);
    pieces.iter().flat_map(piece).collect()
}

fn case(why: &str, expected: &str, bytes: &[u8]) -> Json {
    json!({ "why": why, "expected": expected, "bytes": packed(bytes) })
}

fn with(mut case: Json, more: Json) -> Json {
    case.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    case
}

// ---- entries

const RUNS: &[u64] = &[3, 1, 3, 0];
const SUBJECTS: &[u64] = &[3, 1, 3, 1];
const VALUES: &[u64] = &[3, 1, 3, 2];
const PHOTOS: &[u64] = &[3, 1, 4];

const OBSERVE: &[Row] = &[
    ("nobody is named", "unreadable", |m| m.drop_key(0)),
    ("the person has 15 bytes", "unreadable", |m| m.set(&[0], ByteVec::from(vec![1; 15]))),
    ("a moment of three", "unreadable", |m| m.items(&[1]).truncate(3)),
    ("a boot beyond 32 bits", "unreadable", |m| m.set(&[1, 1], 1_u64 << 32)),
    ("a later kind of act", "unreadable", |m| m.set(&[3, 0], 5)),
    ("an act without a kind", "unreadable", |m| m.items(&[3]).clear()),
    ("no template", "unreadable", |m| drop(m.items(&[3, 1, 0]).pop())),
    ("the counts are one less than the subjects", "unreadable", |m| m.set(&[3, 1, 3, 0, 1], 3)),
    ("the counts are one more", "unreadable", |m| m.set(&[3, 1, 3, 0, 1], 5)),
    ("a count of none", "unreadable", |m| {
        m.items(RUNS).splice(0..0, [Item::value(1), Item::value(0)]).for_each(drop)
    }),
    ("a check without a count", "unreadable", |m| drop(m.items(RUNS).pop())),
    ("a count that no memory holds", "unreadable", |m| m.set(&[3, 1, 3, 0, 1], u64::MAX)),
    ("1,001 observations", "unreadable", |m| {
        *m.at(&[3, 1, 3]) = Item::value(([1, 1_001], [[4]; 1_001].to_vec(), [[8]; 1_001].to_vec()));
    }),
    ("1,001 observations in two runs", "unreadable", |m| {
        let (subjects, values) = ([[4]; 1_001].to_vec(), [[8]; 1_001].to_vec());
        *m.at(&[3, 1, 3]) = Item::value(([1, 1_000, 2, 1], subjects, values));
    }),
    ("a value less than subjects", "unreadable", |m| drop(m.items(VALUES).pop())),
    ("a fourth column", "unreadable", |m| m.again(&[3, 1, 3], 1)),
    ("columns without a length", "unreadable", |m| m.endless(&[3, 1, 3])),
    ("subjects without a length", "unreadable", |m| m.endless(SUBJECTS)),
    ("a subject without a length", "unreadable", |m| m.endless(&[3, 1, 3, 1, 0])),
    ("a value without a length", "unreadable", |m| m.endless(&[3, 1, 3, 2, 0])),
    ("a subject without a kind", "unreadable", |m| m.items(&[3, 1, 3, 1, 0]).clear()),
    ("a GTIN's check digit", "unreadable", |m| m.set(&[3, 1, 3, 1, 4, 1], 8_904_000_210_038_u64)),
    ("a GTIN of 15 digits", "unreadable", |m| m.set(&[3, 1, 3, 1, 4, 1], 100_000_000_000_007_u64)),
    ("a note's name has 31 bytes", "unreadable", |m| {
        m.set(&[3, 1, 3, 1, 6, 1], ByteVec::from(vec![1; 31]));
    }),
    ("facings below none", "unreadable", |m| m.set(&[3, 1, 3, 2, 0, 1], -1)),
    ("a currency in small letters", "unreadable", |m| m.set(&[3, 1, 3, 2, 4, 2], "eur")),
    ("a currency of four letters", "unreadable", |m| m.set(&[3, 1, 3, 2, 4, 2], "EURO")),
    ("yes or no is a number", "unreadable", |m| m.set(&[3, 1, 3, 2, 9, 1], 1)),
    ("a photo's hash of a picture has 7 bytes", "unreadable", |m| {
        m.set(&[3, 1, 4, 0, 2], ByteVec::from(vec![1; 7]));
    }),
    ("a photo without a length", "unreadable", |m| m.items(&[3, 1, 4, 0]).truncate(1)),
    ("nothing is seen", "invalid", |m| {
        m.items(PHOTOS).clear();
        (0..3).for_each(|column| m.items(&[3, 1, 3, column]).clear());
    }),
    ("a pair twice", "invalid", |m| *m.at(&[3, 1, 3, 1, 1]) = m.at(&[3, 1, 3, 1, 0]).clone()),
    ("21 photos", "invalid", |m| m.again(PHOTOS, 19)),
    ("257 planograms", "invalid", |m| m.again(&[3, 1, 1], 255)),
    ("it supersedes one twice", "invalid", |m| m.set(&[3, 1, 5], [ChangeHash([7; 32]); 2])),
    ("100,001 facings", "invalid", |m| m.set(&[3, 1, 3, 2, 0, 1], 100_001)),
    ("no facing, elsewhere along the shelf", "invalid", |m| m.set(&[3, 1, 3, 2, 1, 1], 0)),
    ("no facing, on another shelf", "invalid", |m| m.set(&[3, 1, 3, 2, 2, 1], 0)),
    ("a price of nothing", "invalid", |m| m.set(&[3, 1, 3, 2, 4, 1], 0)),
    ("a price below nothing", "invalid", |m| m.set(&[3, 1, 3, 2, 4, 1], -1)),
    ("a price above 10^11", "invalid", |m| m.set(&[3, 1, 3, 2, 4, 1], 100_000_000_001_u64)),
    ("100,001 units", "invalid", |m| m.set(&[3, 1, 3, 2, 8, 2], 100_001)),
    ("no unit, and on the shelf", "invalid", |m| m.set(&[3, 1, 3, 2, 8, 1], true)),
    ("east of the map", "invalid", |m| m.set(&[2, 0], 180_000_001)),
    ("south of the map", "invalid", |m| m.set(&[2, 1], -90_000_001)),
    ("a photo's file is from off the map", "invalid", |m| {
        m.items(&[3, 1, 4, 0]).truncate(3);
        let made = (ChangeHash([1; 32]), Option::<u8>::None, Option::<u8>::None, (0, 90_000_001));
        m.items(&[3, 1, 4, 0]).extend([Item::value(1), Item::value(made)]);
    }),
];
const NOT_POSSIBLE: &[Row] = &[
    ("a later reason", "unreadable", |m| m.set(&[3, 1], 5)),
    ("another reason, not said", "invalid", |m| m.set(&[3, 2], Option::<u8>::None)),
    ("a reason's 21 photos", "invalid", |m| {
        m.set(&[3, 3], [(ChangeHash([1; 32]), 1, ByteArray::from([0; 8])); 21])
    }),
];
const WITHDRAW: &[Row] = &[
    ("nothing is withdrawn", "invalid", |m| m.items(&[3, 1]).clear()),
    ("one is withdrawn twice", "invalid", |m| m.again(&[3, 1], 1)),
];
const START: &[Row] = &[
    ("a start without a template", "unreadable", |m| drop(m.items(&[3]).pop())),
    ("a start at no outlet", "unreadable", |m| m.set(&[3, 1], Option::<u8>::None)),
];
const SUBMISSION: &[Row] = &[
    ("submitted off the map", "invalid", |m| m.set(&[2, 0], -180_000_001)),
    ("submitted at no time", "unreadable", |m| m.drop_key(1)),
];
const REVIEW: &[Row] = &[
    ("a later verdict", "unreadable", |m| m.set(&[2], 2)),
    ("nothing was seen", "invalid", |m| m.items(&[3]).clear()),
    ("one head twice", "invalid", |m| m.again(&[3], 1)),
];
const CONTEST: &[Row] = &[
    ("a later word", "unreadable", |m| m.set(&[5, 0], 2)),
    ("a word of nothing", "unreadable", |m| m.items(&[5]).truncate(1)),
    ("a word without a length", "unreadable", |m| m.endless(&[5])),
    ("it has seen nothing", "invalid", |m| m.items(&[5, 1, 1]).clear()),
    ("it has seen one twice", "invalid", |m| m.again(&[5, 1, 1], 1)),
    ("it claims words", "invalid", |m| m.set(&[5, 1, 2], (7, ChangeHash([1; 32])))),
    ("it claims a price of nothing", "invalid", |m| m.set(&[5, 1, 2], (1, 0, "EUR"))),
    ("it claims a value of the whole visit", "invalid", |m| m.at(&[5, 1]).drop_key(0)),
    ("it shows 21 photos", "invalid", |m| m.again(&[5, 1, 3], 20)),
];
const STEP: &[Row] = &[
    ("a later step", "unreadable", |m| m.set(&[5, 1], 5)),
    ("a step that is null", "unreadable", |m| m.set(&[5, 1], Option::<u8>::None)),
    ("a step that answers nothing", "invalid", |m| m.drop_key(3)),
];
const REPORT: &[Row] = &[
    ("no name", "unreadable", |m| m.drop_key(3)),
    ("an empty name", "invalid", |m| m.set(&[3], "")),
    ("a blank name", "invalid", |m| m.set(&[3], " \u{2003}")),
    ("a name of 121 characters", "invalid", |m| m.set(&[3], "x".repeat(121))),
    ("a name of two lines", "invalid", |m| m.set(&[3], "a\nb")),
    ("an address of 241 characters", "invalid", |m| m.set(&[4], "x".repeat(241))),
    ("found off the map", "invalid", |m| m.set(&[2, 0], 180_000_001)),
    ("a report's 21 photos", "invalid", |m| m.again(&[8], 20)),
    ("a photo whose file names a program without a name", "invalid", |m| m.set(&[8, 0, 4, 4], "")),
    ("a program's name of 41 characters", "invalid", |m| {
        m.set(&[8, 0, 4, 4], "x".repeat(41));
    }),
    ("a program's name of two lines", "invalid", |m| m.set(&[8, 0, 4, 4], "a\nb")),
    ("a program that is said to be one", "unreadable", |m| m.set(&[8, 0, 4, 4], true)),
    ("a file written at a time that is text", "unreadable", |m| m.set(&[8, 0, 4, 5], "noon")),
];
const VOLUME: &[Row] = &[
    ("volume 0", "invalid", |m| m.set(&[4, 1], 0)),
    ("volume 1,001", "invalid", |m| m.set(&[4, 1], 1_001)),
    ("no heads of the volume before", "invalid", |m| m.items(&[4, 2]).clear()),
    ("a head of the volume before twice", "invalid", |m| m.again(&[4, 2], 1)),
    ("heads of the volume before that descend", "invalid", |m| {
        m.set(&[4, 2], [ChangeHash([2; 32]), ChangeHash([1; 32])])
    }),
    ("65 heads of the volume before", "invalid", |m| {
        m.set(&[4, 2], (0..65).map(|n| ChangeHash([n; 32])).collect::<Vec<_>>());
    }),
    ("a volume of nothing", "unreadable", |m| drop(m.items(&[4]).pop())),
];

fn entries_now() -> Vec<Json> {
    let documents = cases::documents();
    let rows: [(usize, usize, &[Row]); 12] = [
        (0, 1, OBSERVE),
        (1, 2, NOT_POSSIBLE),
        (0, 5, WITHDRAW),
        (0, 0, START),
        (0, 6, SUBMISSION),
        (0, 7, REVIEW),
        (4, 3, CONTEST),
        (4, 5, STEP),
        (2, 0, REPORT),
        (3, 0, VOLUME),
        (3, 2, &[("a report's volume 0", "invalid", |m| m.set(&[9, 1], 0))]),
        (
            0,
            6,
            &[("something follows", "unreadable", |m| {
                *m = Item::Other([m.write(), vec![0]].concat())
            })],
        ),
    ];
    let cases = rows.into_iter().flat_map(|(document, place, rows)| {
        let change = documents[document].document.changes()[place].clone();
        rows.iter().map(move |(why, expected, wrong)| {
            let mut entry = Item::of(&change.value);
            wrong(&mut entry);
            with(case(why, expected, &entry.write()), json!({ "section": change.section.as_str() }))
        })
    });
    cases.collect()
}

fn section(case: &Json) -> Section {
    let all = [DocKind::Visit, DocKind::Outlet].map(Section::of).concat();
    all.into_iter().find(|section| case["section"] == section.as_str()).unwrap()
}

#[test]
fn entries_that_do_not_read_or_keep_their_rules() {
    let then = read("wire/refused.json");
    for case in then["entries"].as_array().unwrap() {
        let found = match Entry::decode(section(case), &unpacked(&case["bytes"])) {
            Err(_) => "unreadable",
            Ok(entry) => {
                if entry.validate().is_ok() {
                    "taken"
                } else {
                    "invalid"
                }
            }
        };
        assert_eq!(case["expected"], found, "{}", case["why"]);
    }
}

// ---- groups

const GROUP: &[(&str, Wrong)] = &[
    ("a group of five", |m| m.again(&[], 1)),
    ("a later kind of document", |m| m.set(&[0, 0], 2)),
    ("a document's id has 15 bytes", |m| m.set(&[0, 1], bytes(15))),
    ("a document is named by three", |m| m.again(&[0], 1)),
    ("a document without a length", |m| m.endless(&[0])),
    ("actors descend", |m| m.items(&[1]).reverse()),
    ("an actor twice", |m| m.again(&[1], 1)),
    ("actors without a length", |m| m.endless(&[1])),
    ("an actor of 15 bytes", |m| m.set(&[1, 0], bytes(15))),
    ("an actor that begins like the genesis'", |m| {
        m.set(&[1, 0], Actor::from_bytes(*b"endcap and more!"));
        m.items(&[1]).sort_by_key(Item::write);
    }),
    ("no change", |m| (1..4).for_each(|place| m.items(&[place]).clear())),
    ("an actor that is not there", |m| m.set(&[2, 0, 0], 2)),
    ("an actor below the first", |m| m.set(&[2, 0, 0], -1)),
    ("changes without a length", |m| m.endless(&[2])),
    ("a change of seven", |m| m.again(&[2, 0], 1)),
    ("a change of five", |m| drop(m.items(&[2, 0]).pop())),
    ("a change without a length", |m| m.endless(&[2, 0])),
    ("seq 0", |m| m.set(&[2, 0, 1], 0)),
    ("seq above 2^24", |m| m.set(&[2, 0, 1], (1 << 24) + 1)),
    ("start_op 0", |m| m.set(&[2, 0, 2], 0)),
    ("start_op above 2^24", |m| m.set(&[2, 0, 2], (1 << 24) + 1)),
    ("no parents", |m| m.items(&[2, 0, 3]).clear()),
    ("65 parents", |m| m.set(&[2, 0, 3], (0..65).map(|n| ChangeHash([n; 32])).collect::<Vec<_>>())),
    ("a parent twice", |m| m.set(&[2, 1, 3], [1, 1])),
    ("parents without a length", |m| m.endless(&[2, 0, 3])),
    ("a parent before the first change", |m| m.set(&[2, 1, 3], [2])),
    ("a parent after it", |m| m.set(&[2, 1, 3], [-1])),
    ("a parent of 31 bytes", |m| m.set(&[2, 0, 3], [bytes(31)])),
    ("a section of visits", |m| m.set(&[2, 0, 4], 0)),
    ("a later section", |m| m.set(&[2, 0, 4], 5)),
    ("an entry of 64 KiB and a byte", |m| m.set(&[2, 0, 5], bytes((64 << 10) + 1))),
    ("an entry that is text", |m| m.set(&[2, 0, 5], "text")),
    ("a change twice", |m| {
        let first = m.at(&[2, 0]).clone();
        m.items(&[2]).push(first);
    }),
    ("a seal of no change", |m| m.set(&[3, 0, 0], 99)),
    ("a seal of three", |m| m.again(&[3, 0], 1)),
    ("a signature of 63 bytes", |m| m.set(&[3, 0, 1], bytes(63))),
    ("more seals than changes", |m| m.again(&[3], 20)),
    ("seals without a length", |m| m.endless(&[3])),
];

fn bytes(length: usize) -> ByteVec {
    vec![1; length].into()
}

fn groups_now() -> Vec<Json> {
    let base = Item::of(&to_wire(ORG, &cases::documents()[2].group(|_| true)));
    let cases = GROUP.iter().map(|(why, wrong)| {
        let mut group = base.clone();
        wrong(&mut group);
        case(why, "malformed", &group.write())
    });
    cases.collect()
}

#[test]
fn groups_that_break_what_needs_no_document() {
    let then = read("wire/refused.json");
    for case in then["groups"].as_array().unwrap() {
        assert!(from_wire::<Group>(ORG, &unpacked(&case["bytes"])).is_err(), "{}", case["why"]);
    }
}

/// A document whose last change does not fit.
fn misfits_now() -> Vec<Json> {
    let written = &cases::documents()[1].document;
    let entry = written.changes()[1].entry().unwrap();
    type Breaks = fn(&mut Parts, &Document);
    let rows: [(&str, &str, Breaks); 6] = [
        ("its parent is not here", "missing_parent", |p, _| p.deps = vec![ChangeHash([7; 32])]),
        ("its actor has another at this number", "forked", |p, _| p.seq -= 1),
        ("its actor's number before is missing", "malformed", |p, _| p.seq += 1),
        ("its operation's number is one more", "malformed", |p, _| p.start_op += 1),
        ("its operation's number is one less", "malformed", |p, _| p.start_op -= 1),
        ("its actor's newest is not before it", "malformed", |p, d| {
            (p.deps, p.start_op) = (vec![d.genesis()], 9)
        }),
    ];
    let cases = rows.map(|(why, expected, breaks)| {
        let mut parts = (*written.next(written.changes()[0].actor, &entry).unwrap()).clone();
        breaks(&mut parts, written);
        let mut changes = written.changes().to_vec();
        changes.push(Change::new(DocKind::Visit, parts).unwrap());
        case(
            why,
            expected,
            &to_wire(ORG, &Group { document: written.id(), changes, seals: Vec::new() }),
        )
    });
    cases.into()
}

#[test]
fn changes_that_do_not_fit() {
    let then = read("wire/refused.json");
    for case in then["misfits"].as_array().unwrap() {
        let group: Group = from_wire(ORG, &unpacked(&case["bytes"])).unwrap();
        let (last, before) = group.changes.split_last().unwrap();
        let mut document = Document::new(ORG, group.document);
        before.iter().for_each(|change| document.insert(change.clone()).unwrap());
        let refusal = Refusal::from(document.insert(last.clone()).unwrap_err());
        assert_eq!(case["expected"], refusal.code(), "{}", case["why"]);
    }
}

// ---- seals

fn keys(case: &Json) -> Keys {
    let mut keys = Keys::default();
    case["keys"].as_array().unwrap().iter().for_each(|key| keys.insert(&array(key)));
    keys
}

fn sealed_now() -> Vec<Json> {
    let base = cases::documents()[3].group(|_| true);
    let pairs = cases::SEEDS.map(|seed| Keypair::from_seed(&seed));
    let (id, heads) = (base.document, base.seals.iter().map(|seal| seal.head).collect::<Vec<_>>());
    let elsewhere = DocId { id: [1; 16], ..id };
    let by = |head, own: bool| {
        let change = base.changes.iter().find(|change| change.hash() == head).unwrap();
        pairs.iter().find(|pair| change.actor.belongs_to(&pair.public()) == own).unwrap()
    };
    let owner = |head| by(head, true);
    let first_of = |pair: &Keypair| {
        base.changes.iter().find(|c| c.actor.belongs_to(&pair.public())).unwrap().hash()
    };
    let again = |seal: &dyn Fn(ChangeHash) -> Seal| heads.iter().map(|head| seal(*head)).collect();
    let strange = OrgId::from_bytes([1; 16]);
    let rows: Vec<(&str, Vec<Seal>)> = vec![
        ("nothing is sealed", Vec::new()),
        ("the seals of one device are missing", base.seals[1..].to_vec()),
        ("of another head", again(&|head| Seal { head, ..owner(head).seal(ORG, id, heads[0]) })),
        ("of another document", again(&|head| owner(head).seal(ORG, elsewhere, head))),
        ("of another organisation", again(&|head| owner(head).seal(strange, id, head))),
        ("by another device", again(&|head| by(head, false).seal(ORG, id, head))),
        ("what comes after is bare", {
            again(&|head| owner(head).seal(ORG, id, first_of(owner(head))))
        }),
    ];
    let public: Vec<String> = pairs.iter().map(|pair| hex(&pair.public())).collect();
    let mut cases: Vec<Json> = rows
        .into_iter()
        .map(|(why, seals)| {
            let bytes = to_wire(ORG, &Group { seals, ..base.clone() });
            with(case(why, "bad_seal", &bytes), json!({ "keys": public }))
        })
        .collect();
    let stranger = case("nobody here has the key", "foreign_actor", &to_wire(ORG, &base));
    cases.push(with(stranger, json!({ "keys": public[..2] })));
    cases
}

#[test]
fn work_that_is_not_sealed() {
    let then = read("wire/refused.json");
    for case in then["sealed"].as_array().unwrap() {
        let group: Group = from_wire(ORG, &unpacked(&case["bytes"])).unwrap();
        let push = PushRequest {
            protocol: 1,
            now: *group.changes[0].entry().unwrap().when(),
            previous: None,
            groups: vec![group],
            notes: Vec::new(),
        };
        let outcomes = ingest::verify(ORG, &keys(case), push).bad;
        let [Some(Outcome::Quarantined { code, .. })] = &outcomes[..] else {
            panic!("taken: {}", case["why"]);
        };
        assert_eq!(case["expected"], code.as_str(), "{}", case["why"]);
    }
}

/// Half of a signature, or a key, that is of small order: the neutral point.
const NEUTRAL: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 1;
    point
};
/// The order of the base point.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
/// What `ed25519.py` finds for the key and the message of zeros so that the equation holds with R neutral.
const OF_NEUTRAL: &str = "e9fbb9513d40b73990da3b989ec7f4a48b26c0067f5b4eb663c4df059ec03d06";

/// Signatures of seals that a lax check takes, or that are of something else.
fn signatures_now() -> Vec<Json> {
    let (org, head) = (OrgId::from_bytes([0; 16]), ChangeHash([0; 32]));
    let id = DocId { kind: DocKind::Visit, id: [0; 16] };
    let pair = Keypair::from_seed(&[0; 32]);
    let good = pair.seal(org, id, head).signature;
    let joined = |r: &[u8], s: &[u8]| [r, s].concat();
    let mut base_point = [0x66; 32];
    base_point[0] = 0x58;
    let mut carry = 0;
    let order = unhex(&json!(ORDER));
    let beyond: Vec<u8> = good[32..]
        .iter()
        .zip(order)
        .map(|(a, b)| {
            carry += u16::from(*a) + u16::from(b);
            let low = carry as u8;
            carry >>= 8;
            low
        })
        .collect();
    let outlet = DocId { kind: DocKind::Outlet, ..id };
    let rows: [(&str, [u8; 32], Vec<u8>); 9] = [
        ("the key is of small order", NEUTRAL, joined(&base_point, &NEUTRAL)),
        ("R is of small order", pair.public(), joined(&NEUTRAL, &unhex(&json!(OF_NEUTRAL)))),
        ("S is not canonical", pair.public(), joined(&good[..32], &beyond)),
        ("R is no point", pair.public(), joined(&[0xff; 32], &good[32..])),
        ("the key is no point", [0xff; 32], good.to_vec()),
        ("another context: it proves a code", pair.public(), pair.prove("").to_vec()),
        (
            "of the outlet of this id",
            pair.public(),
            pair.seal(org, outlet, head).signature.to_vec(),
        ),
        (
            "of another head",
            pair.public(),
            pair.seal(org, id, ChangeHash([1; 32])).signature.to_vec(),
        ),
        ("by another key", Keypair::from_seed(&[1; 32]).public(), good.to_vec()),
    ];
    let cases = rows.map(|(why, key, signature)| {
        with(case(why, "bad_seal", &signature), json!({ "public_key": hex(&key) }))
    });
    cases.into()
}

#[test]
fn signatures_are_checked_strictly() {
    let then = read("wire/refused.json");
    for case in then["signatures"].as_array().unwrap() {
        let seal = Seal { head: ChangeHash([0; 32]), signature: array(&case["bytes"]) };
        let (key, org) = (array(&case["public_key"]), OrgId::from_bytes([0; 16]));
        let document = DocId { kind: DocKind::Visit, id: [0; 16] };
        assert!(!seal.verify(&key, org, document), "{}", case["why"]);
    }
}

// ---- messages

/// The message of `cases`, and what is wrong with it.
type Said = (&'static str, &'static str, &'static str, Wrong);

const PUSH: &str = "a first push";
const PULL: &str = "a pull of one who has a receipt";
const REPAIR: &str = "a repair that goes on";
const WANT: &str = "what a repair wants whole";

const MESSAGES: &[Said] = &[
    (PUSH, "another version", "protocol_unsupported", |m| m.set(&[0], 2)),
    (PUSH, "another version, and all else is wrong too", "protocol_unsupported", |m| {
        *m = Item::Map(vec![(0, Item::value(2)), (1, Item::value("?"))]);
    }),
    (PUSH, "no version", "malformed", |m| m.drop_key(0)),
    (PUSH, "a message that is a list", "malformed", |m| *m = Item::List(vec![m.clone()])),
    (PUSH, "something follows", "malformed", |m| *m = Item::Other([m.write(), vec![0]].concat())),
    (PUSH, "cut off", "malformed", |m| *m = Item::Other(m.write()[..100].to_vec())),
    (PUSH, "no clocks", "malformed", |m| m.drop_key(1)),
    (PUSH, "no groups", "malformed", |m| m.drop_key(3)),
    (PUSH, "no notes", "malformed", |m| m.drop_key(4)),
    (PUSH, "a previous push of 31 bytes", "malformed", |m| m.set(&[2], bytes(31))),
    (PUSH, "a group that is malformed", "malformed", |m| m.set(&[3, 0, 2, 0, 1], 0)),
    (PUSH, "groups of one document, and another's between", "malformed", |m| {
        let mut other = m.at(&[3, 0]).clone();
        other.set(&[0, 1], bytes(16));
        m.again(&[3], 1);
        m.items(&[3]).insert(1, other);
    }),
    (PUSH, "2,001 groups", "too_large", |m| {
        let short = m.at(&[3, 0]);
        *short = Item::value(((0, bytes(16)), [bytes(16)], [(0, 1, 7, [0], 0, bytes(1))], [0; 0]));
        *m.at(&[3]) = Item::List(vec![short.clone(); 2_001]);
    }),
    (PUSH, "a note of three", "malformed", |m| m.set(&[4], [(bytes(16), "x", 0)])),
    (PUSH, "a note of one", "malformed", |m| m.set(&[4], [[bytes(16)]])),
    (PUSH, "a note without a length", "malformed", |m| {
        m.set(&[4], [(bytes(16), "x")]);
        m.endless(&[4, 0]);
    }),
    (PUSH, "a note's salt has 15 bytes", "malformed", |m| m.set(&[4], [(bytes(15), "x")])),
    (PUSH, "a note of nothing", "malformed", |m| m.set(&[4], [(bytes(16), "")])),
    (PUSH, "a note of 4,001 bytes", "malformed", |m| m.set(&[4], [(bytes(16), "x".repeat(4_001))])),
    (PUSH, "a note with a bell in it", "malformed", |m| m.set(&[4], [(bytes(16), "ding\u{7}")])),
    (PUSH, "10,001 notes", "too_large", |m| m.set(&[4], vec![(bytes(16), "x"); 10_001])),
    (PULL, "a cursor of two", "malformed", |m| drop(m.items(&[1]).pop())),
    (PULL, "a cursor's origin has 15 bytes", "malformed", |m| m.set(&[1, 0], bytes(15))),
    (PULL, "a cursor below the first line", "malformed", |m| m.set(&[1, 1], -1)),
    (PULL, "a cursor's root has 31 bytes", "malformed", |m| m.set(&[1, 2], bytes(31))),
    (PULL, "a cursor that the log was never at", "cursor_unknown", |m| m.set(&[1, 1], 1)),
    (PULL, "pushed has 33 bytes", "malformed", |m| m.set(&[2], bytes(33))),
    (PULL, "what was known is no count", "malformed", |m| m.set(&[5], -1)),
    (PULL, "a checkpoint of one", "malformed", |m| drop(m.items(&[4]).pop())),
    (REPAIR, "a part of three", "malformed", |m| m.again(&[1, 0], 1)),
    (REPAIR, "a part without a length", "malformed", |m| m.endless(&[1, 0])),
    (REPAIR, "a part that is too deep", "malformed", |m| m.set(&[1, 0], (17, 0))),
    (REPAIR, "a prefix of too many bits", "malformed", |m| m.set(&[1, 0], (1, 16))),
    (REPAIR, "2,001 parts", "too_large", |m| m.again(&[1], 1_999)),
    (WANT, "an item of 17 bytes", "malformed", |m| m.set(&[2, 0], bytes(17))),
    (WANT, "an item of a third sort", "malformed", |m| m.set(&[2, 0], ByteVec::from(vec![2; 18]))),
    (WANT, "a later kind of document is wanted", "malformed", |m| {
        m.set(&[2, 1], ByteVec::from([&[1, 2][..], &[0; 16]].concat()));
    }),
];

const REPLIES: &[Said] = &[
    ("its reply", "a later kind of outcome", "malformed", |m| m.set(&[3, 0, 0], 3)),
    ("its reply", "an outcome without a code", "malformed", |m| m.items(&[3, 1]).truncate(1)),
    ("its reply", "it names no push", "malformed", |m| m.drop_key(2)),
    ("nothing new", "a page that goes nowhere", "malformed", |m| m.drop_key(2)),
    ("nothing new", "a page that does not say whether there is more", "malformed", |m| {
        m.drop_key(3)
    }),
    ("nothing new", "a page with a note of three", "malformed", |m| {
        m.set(&[6], [(bytes(16), "x", 0)])
    }),
    ("nothing new", "a print of seven bytes", "malformed", |m| m.set(&[10], bytes(7))),
    ("its page", "a decision without an outcome", "malformed", |m| drop(m.items(&[9, 0]).pop())),
    ("its page", "a record that is gone has no id", "malformed", |m| drop(m.items(&[8, 0]).pop())),
    ("a page with a receipt", "a receipt's signature has 63 bytes", "malformed", |m| {
        m.set(&[12, 0], bytes(63))
    }),
    ("a page with a receipt", "a receipt without a proof", "malformed", |m| {
        m.at(&[12]).drop_key(1)
    }),
    ("what is in two parts", "the prints of 15 parts", "malformed", |m| m.set(&[2, 0], bytes(120))),
    ("what is in two parts", "an item without a print", "malformed", |m| {
        m.set(&[2, 0], [ByteVec::from(vec![0; 18])]);
    }),
    ("what is in two parts", "17 items in a list", "malformed", |m| {
        let pair = [bytes(18), bytes(8)].map(|b| ByteVec::from(vec![0; b.len()]));
        m.set(&[2, 0], std::iter::repeat_n(pair, 17).flatten().collect::<Vec<_>>());
    }),
    ("what all falls into", "it does not say how much it gives", "malformed", |m| m.drop_key(3)),
];

fn said_now(rows: &[Said]) -> Vec<Json> {
    let messages = cases::messages();
    let cases = rows.iter().map(|(what, why, expected, wrong)| {
        let (_, path, _, bytes) = messages.iter().find(|message| message.0 == *what).unwrap();
        let mut message = Item::of(bytes);
        wrong(&mut message);
        with(case(why, expected, &message.write()), json!({ "path": path }))
    });
    cases.collect()
}

/// As the server answers them.
#[test]
fn requests_that_are_refused() {
    let folder = Folder::new("refused");
    let rita = device::Device::new(tests::brand::RITA, 0, &mut tests::chance::Chance::new(1));
    let office = Office::found(&folder.0, &[&rita]);
    let (http, then) = (tests::live::http(), read("wire/refused.json"));
    for case in then["requests"].as_array().unwrap() {
        let asked = http
            .post(format!("{}{}", office.url, case["path"].as_str().unwrap()))
            .bearer_auth(tests::live::token(&rita))
            .header("Content-Type", sync_core::wire::MEDIA_TYPE)
            .body(unpacked(&case["bytes"]));
        let answer = RUNTIME.block_on(async { asked.send().await.unwrap().bytes().await.unwrap() });
        let problem: Json = serde_json::from_slice(&answer).unwrap_or_default();
        let code = format!("urn:endcap:problem:{}", case["expected"].as_str().unwrap());
        assert_eq!(problem["type"], code, "{}: {problem}", case["why"]);
    }
    office.close();
}

#[test]
fn answers_that_are_refused() {
    let then = read("wire/refused.json");
    for case in then["answers"].as_array().unwrap() {
        let bytes = unpacked(&case["bytes"]);
        let reads = match case["path"].as_str().unwrap() {
            "/api/v1/push" => from_wire::<PushReply>(ORG, &bytes).is_ok(),
            "/api/v1/pull" => from_wire::<PullReply>(ORG, &bytes).is_ok(),
            _ => from_wire::<RepairReply>(ORG, &bytes).is_ok(),
        };
        assert!(!reads, "{}", case["why"]);
    }
}

// ---- records

fn records_now() -> Vec<Json> {
    let base = Item::of(&to_cbor(&cases::records()[0]));
    let rows: [(&str, Wrong); 6] = [
        ("a record that is no list", |m| *m = m.at(&[1]).clone()),
        ("a record of a kind alone", |m| m.items(&[]).truncate(1)),
        ("a kind in words", |m| m.set(&[0], "territory")),
        ("a record without an id", |m| m.at(&[1]).drop_key(0)),
        ("an id of 15 bytes", |m| m.set(&[1, 0], bytes(15))),
        ("an id in words", |m| m.set(&[1, 0], "north")),
    ];
    let cases = rows.map(|(why, wrong)| {
        let mut record = base.clone();
        wrong(&mut record);
        case(why, "malformed", &record.write())
    });
    cases.into()
}

#[test]
fn records_without_a_key() {
    let then = read("wire/refused.json");
    for case in then["records"].as_array().unwrap() {
        assert_eq!(RecordKey::peek(&unpacked(&case["bytes"])), None, "{}", case["why"]);
    }
}

// ---- parcels

fn parcels_now() -> Vec<Json> {
    let good = relay::parcel();
    let (server, origin) =
        (Keypair::from_seed(&relay::SERVER), Keypair::from_seed(&relay::SEEDS[0]));
    let cargo = good.open(tests::brand::ORG, &server).unwrap();
    let sealed = |org, device, to: &Keypair, cargo: &Cargo| {
        Parcel::seal(org, device, &origin, &to.public(), cargo).unwrap().as_bytes().to_vec()
    };
    let org = tests::brand::ORG;
    let changed = |at: usize| {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let Load::Work(group, notes) = &cargo.load else { panic!("it is of a document") };
    let empty = Group { changes: Vec::new(), seals: Vec::new(), ..group.clone() };
    let empty = Load::Work(empty, notes.clone());
    let elsewhere = OrgId::from_bytes([1; 16]);
    let rows = [
        ("127 bytes", "malformed", good.as_bytes()[..127].to_vec()),
        ("longer than 1 MiB", "malformed", [good.as_bytes(), &vec![0; 1 << 20]].concat()),
        ("nobody has signed it", "bad_seal", changed(16)),
        ("a byte of the key was changed", "bad_seal", changed(80)),
        ("a byte of what is sealed was changed", "bad_seal", changed(150)),
        (
            "signed for another organisation",
            "bad_seal",
            sealed(elsewhere, good.origin(), &server, &cargo),
        ),
        (
            "signed by another than its origin",
            "bad_seal",
            sealed(org, relay::phone(1).0, &server, &cargo),
        ),
        ("sealed to another server", "not_opened", sealed(org, good.origin(), &origin, &cargo)),
        (
            "no change is in it",
            "unreadable",
            sealed(org, good.origin(), &server, &Cargo { load: empty, ..cargo.clone() }),
        ),
        (
            "a later version",
            "later",
            sealed(org, good.origin(), &server, &Cargo { protocol: 2, ..cargo.clone() }),
        ),
    ];
    rows.map(|(why, expected, bytes)| case(why, expected, &bytes)).into()
}

#[test]
fn parcels_that_are_refused() {
    let (org, mut world) = (tests::brand::ORG, World::default());
    for (side, seed) in relay::SEEDS.iter().enumerate() {
        let ((id, user), key) = (relay::phone(side), Keypair::from_seed(seed).public());
        world.insert(
            Record::Device(Device { id, user, key, revoked: false, lost_ms: None }),
            side as u64,
        );
    }
    let keypair = Keypair::from_seed(&relay::SERVER);
    let actor = Actor::new(&keypair.public(), [0; 8]);
    let console = Console { keypair, former: Vec::new(), actor, device: DeviceId::of_server(org) };
    let then = read("wire/refused.json");
    for case in then["parcels"].as_array().unwrap() {
        let parcel = ParcelBytes(unpacked(&case["bytes"]));
        let found = match ingest::open(org, &console, &world, &parcel) {
            Ok(_) => "taken".into(),
            Err(Delivery::Refused { code, .. }) => code,
            Err(_) => "later".into(),
        };
        assert_eq!(case["expected"], found, "{}", case["why"]);
    }
}

// ---- checkpoints and receipts

/// A log of two lives: the second begins with line 4, and knows of no other line 4.
struct Log {
    lines: Vec<LogHash>,
    begins: Vec<u8>,
}

const LIVES: [LogOrigin; 2] =
    [LogOrigin::from_bytes([0x61; 16]), LogOrigin::from_bytes([0x62; 16])];

impl Hashes for Log {
    type Error = std::convert::Infallible;

    fn hashes(&mut self, _: Tile, first: u64, count: u64) -> Result<Vec<LogHash>, Self::Error> {
        Ok(self.lines[first as usize..(first + count) as usize].to_vec())
    }
}

impl Log {
    fn new(restored: bool) -> Self {
        let mut log = Self { lines: (0..4).map(|n| leaf_hash(&[n])).collect(), begins: Vec::new() };
        if restored {
            let after = Some((4, log.at(0, 4).root));
            let key = LogKey(Keypair::from_seed(&cases::SEEDS[1]).public());
            log.begins = to_cbor(&Leaf::Origin { origin: LIVES[1], at_ms: 7, after, key });
            log.lines.push(leaf_hash(&log.begins));
        }
        log.lines.extend((5..8).map(|n| leaf_hash(&[n])));
        log
    }

    fn at(&mut self, life: usize, size: u64) -> Cursor {
        let Ok(root) = Tree::new(self, size).root();
        Cursor { origin: LIVES[life], sequence: size, root }
    }

    fn receipt(&mut self, at: &Cursor, older: u64) -> Receipt {
        let Ok(proof) = Tree::new(self, at.sequence).consistency(older);
        let life = usize::from(at.origin == LIVES[1]);
        let Ok(place) = Tree::new(self, at.sequence).inclusion(4);
        let lives = (life == 1)
            .then(|| vec![Life { sequence: 4, leaf: self.begins.clone(), proof: place }]);
        let signature = checkpoint(at).signature(&Keypair::from_seed(&cases::SEEDS[life]));
        Receipt { signature, proof, lives, key: None }
    }
}

fn checkpoint(at: &Cursor) -> Checkpoint {
    Checkpoint { org: ORG, life: at.origin, size: at.sequence, root: at.root }
}

type Tells = fn(&mut Cursor, &mut Option<Receipt>);

/// What a device that has kept the checkpoint at line 3 is told at line 6, in the same life and after a restore.
fn receipts_now() -> Vec<Json> {
    let rows: [(&str, &str, bool, Tells); 16] = [
        ("the log goes on", "taken", false, |_, _| {}),
        ("the log was restored", "taken", true, |_, _| {}),
        ("another signature", "alarm", false, |_, r| told(r).signature[0] ^= 1),
        ("a page at another root", "alarm", false, |at, _| at.root = LogHash([1; 32])),
        ("no proof", "alarm", false, |_, r| told(r).proof.clear()),
        ("a proof of less", "alarm", false, |_, r| told(r).proof.truncate(1)),
        ("a proof of more", "alarm", false, |_, r| told(r).proof.push(LogHash([1; 32]))),
        ("a proof of another", "alarm", false, |_, r| told(r).proof[0] = LogHash([1; 32])),
        ("no receipt", "alarm", false, |_, r| *r = None),
        ("back to line 2, well signed", "alarm", false, |at, r| {
            let mut log = Log::new(false);
            *at = log.at(0, 2);
            *r = Some(Receipt { proof: Vec::new(), ..log.receipt(at, 2) });
        }),
        ("another life that no line begins", "alarm", true, |_, r| told(r).lives = None),
        ("a life's line was changed", "alarm", true, |_, r| lives(r).leaf[20] ^= 1),
        ("a life's line is elsewhere", "alarm", true, |_, r| lives(r).sequence = 3),
        ("a life's place is not proved", "alarm", true, |_, r| lives(r).proof.truncate(1)),
        ("restored, and what came before is not proved", "alarm", true, |_, r| {
            told(r).proof.clear()
        }),
        ("signed with the key of the life before", "alarm", true, |at, r| {
            told(r).signature = checkpoint(at).signature(&Keypair::from_seed(&cases::SEEDS[0]));
        }),
    ];
    let cases = rows.map(|(why, expected, restored, tells)| {
        let mut log = Log::new(restored);
        let (kept, mut at) = (log.at(0, 3), log.at(usize::from(restored), 6));
        let mut receipt = Some(log.receipt(&at, 3));
        tells(&mut at, &mut receipt);
        let key = Keypair::from_seed(&cases::SEEDS[0]).public();
        let more = json!({
            "log_key": hex(&key), "kept": hex(&to_cbor(&kept)), "cursor": hex(&to_cbor(&at)),
        });
        with(case(why, expected, &to_cbor(&receipt)), more)
    });
    cases.into()
}

fn told(receipt: &mut Option<Receipt>) -> &mut Receipt {
    receipt.as_mut().unwrap()
}

fn lives(receipt: &mut Option<Receipt>) -> &mut Life {
    &mut told(receipt).lives.as_mut().unwrap()[0]
}

#[test]
fn receipts_that_raise_an_alarm() {
    let then = read("wire/refused.json");
    for case in then["receipts"].as_array().unwrap() {
        let cursor = |name: &str| from_cbor::<Cursor>(&unhex(&case[name])).unwrap();
        let (kept, at, pair) =
            (cursor("kept"), cursor("cursor"), Keypair::from_seed(&cases::SEEDS[0]));
        let key = Some(LogKey(array(&case["log_key"])));
        let note = Some(checkpoint(&kept).sign(&pair).to_string());
        let mut watch = Watch { key, note, ..Watch::default() };
        let receipt: Option<Receipt> = from_cbor(&unpacked(&case["bytes"])).unwrap();
        watch.hear(ORG, &at, receipt.as_ref(), 0);
        let found = if watch.alarm.is_some() { "alarm" } else { "taken" };
        assert_eq!(case["expected"], found, "{}", case["why"]);
    }
}

fn checkpoints_now() -> Vec<Json> {
    let pair = Keypair::from_seed(&cases::SEEDS[0]);
    let note = checkpoint(&Log::new(false).at(0, 6)).sign(&pair).to_string();
    let signed = |text: &dyn Fn(&str) -> String| {
        let text = text(note.split_once("\n\n").unwrap().0) + "\n";
        let key = NoteKey::of_log(ORG, LIVES[0], pair.public());
        SignedNote::sign(text, &key, &pair).to_string()
    };
    let root = note.lines().nth(2).unwrap().to_owned();
    let rows = [
        ("a size with a nought before it", signed(&|text| text.replace("\n6\n", "\n06\n"))),
        ("a size with a sign", signed(&|text| text.replace("\n6\n", "\n+6\n"))),
        ("no size", signed(&|text| text.replace("\n6\n", "\n"))),
        ("an extension", signed(&|text| format!("{text}\nmore"))),
        (
            "a root of 31 bytes",
            signed(&|text| text.replace(&root, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==")),
        ),
        ("another log's name", signed(&|text| text.replace("endcap.log/", "endcap.log/x"))),
        ("a name in capitals", signed(&|text| text.replace("0e0e", "0E0E"))),
        ("signed under another name", note.replace("\u{2014} endcap", "\u{2014} encap")),
        ("no line feed at its end", note.trim_end().to_owned()),
        ("nobody has signed it", note.split_inclusive("\n\n").next().unwrap().to_owned()),
        ("another size than was signed", note.replace("\n6\n", "\n7\n")),
        (
            "another key",
            checkpoint(&Log::new(false).at(0, 6))
                .sign(&Keypair::from_seed(&cases::SEEDS[1]))
                .to_string(),
        ),
    ];
    let key = hex(&pair.public());
    let cases = rows.map(|(why, note)| {
        with(case(why, "malformed", note.as_bytes()), json!({ "log_key": key }))
    });
    cases.into()
}

#[test]
fn checkpoints_that_are_refused() {
    let then = read("wire/refused.json");
    for case in then["checkpoints"].as_array().unwrap() {
        let note = String::from_utf8(unpacked(&case["bytes"])).unwrap();
        let opened = note.parse::<SignedNote>();
        let opened = opened.and_then(|note| Checkpoint::open(&note, array(&case["log_key"])));
        assert!(opened.is_err(), "{}", case["why"]);
    }
}

pub(crate) fn refused_now() -> Json {
    json!({
        "organisation": hex(ORG.as_bytes()),
        "requests": said_now(MESSAGES), "answers": said_now(REPLIES), "groups": groups_now(),
        "misfits": misfits_now(), "sealed": sealed_now(), "signatures": signatures_now(),
        "entries": entries_now(), "records": records_now(), "parcels": parcels_now(),
        "receipts": receipts_now(), "checkpoints": checkpoints_now(),
    })
}

#[test]
fn what_is_refused_is_as_it_was() {
    golden("wire/refused.json", &refused_now());
}
