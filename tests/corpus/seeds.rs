//! Where the fuzzers begin: golden messages and documents, and each known hazard.

use std::path::Path;
use std::sync::Once;

use image::{ImageFormat, RgbImage};
use serde_json::Value as Json;
use sync_core::cbor::to_cbor;
use sync_core::document::Entry;
use sync_core::evidence::Keypair;
use sync_core::id::UserId;
use sync_core::model::capture::Moment;
use sync_core::model::visit::Submission;
use sync_core::tlog::{NoteKey, Signs};
use sync_core::wire::{Group, from_wire};
use sync_core::witness;
use tests::brand::ORG;
use tests::fuzz::admission::{NAMELESS, Step, wrong};
use tests::fuzz::http::{Ask, ask, fault, flaw};
use tests::fuzz::{codec, evidence, http};

/// A seed's name and its bytes.
type Seed = (String, Vec<u8>);

const RITA: usize = 0;
const SAM: usize = 1;
const SVEN: usize = 2;
const SUE: usize = 3;
/// The planned call that Rita and Sam share, Sven's, and the outlet of the first.
const SHARED: usize = 0;
const SVENS: usize = 1;
const OUTLET: usize = 3;

/// Entries, by the numbers of a story.
mod entry {
    pub(super) const START: u8 = 0;
    pub(super) const OBSERVE: u8 = 2;
    pub(super) const CORRECT: u8 = 3;
    pub(super) const NOT_POSSIBLE: u8 = 4;
    pub(super) const WITHDRAW: u8 = 5;
    pub(super) const ABANDON: u8 = 6;
    pub(super) const SUBMIT: u8 = 7;
    pub(super) const REVIEW: u8 = 8;
    pub(super) const ANSWER: u8 = 11;
    pub(super) const REPORT: u8 = 12;
    pub(super) const SETTLE: u8 = 15;
}

/// Writes every seed anew, once, if that is asked for.
pub(crate) fn bless() {
    static BLESSED: Once = Once::new();
    BLESSED.call_once(|| {
        if std::env::var_os("ENDCAP_BLESS").is_none_or(|v| v != "1") {
            return;
        }
        for target in ["codec", "admission", "http", "evidence"] {
            let folder = super::fuzz().join("corpus").join(target);
            std::fs::create_dir_all(&folder).unwrap();
            for (path, _) in super::kept("corpus", target) {
                if path.file_name().unwrap().to_str().unwrap().starts_with("seed-") {
                    std::fs::remove_file(path).unwrap();
                }
            }
            for (name, data) in of(target) {
                std::fs::write(folder.join(format!("seed-{name}")), data).unwrap();
            }
        }
    });
}

/// A target's seeds.
pub(crate) fn of(target: &str) -> Vec<Seed> {
    match target {
        "codec" => codec_seeds(),
        "evidence" => evidence_seeds(),
        "admission" => {
            let hazards = hazards().into_iter().map(|(name, story, _)| (name.to_owned(), story));
            hazards.chain([("a-day".to_owned(), a_day())]).collect()
        }
        _ => http_seeds(),
    }
}

fn golden(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn unhex(json: &Json) -> Vec<u8> {
    let text = json.as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn each(json: &Json) -> impl Iterator<Item = (usize, &Json)> {
    json.as_array().unwrap().iter().enumerate()
}

fn codec_seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |name: String, shape: &str, bytes: &[u8]| {
        seeds.push((name, codec::input(shape, bytes)));
    };
    let shape = |path: &Json, request: bool| match (path.as_str(), request) {
        (Some("/api/v1/push"), true) => "push request",
        (Some("/api/v1/push"), false) => "push reply",
        (_, true) => "pull request",
        (_, false) => "pull reply",
    };
    for file in ["messages", "later"] {
        for (place, case) in each(&golden(&format!("wire/{file}.json"))) {
            let shape = shape(&case["path"], case["request"] == true);
            add(format!("{file}-{place}"), shape, &unhex(&case["message"]));
        }
    }
    for (place, step) in each(&golden("wire/exchange.json")["steps"]) {
        add(format!("asked-{place}"), shape(&step["path"], true), &unhex(&step["request"]));
        add(format!("answered-{place}"), shape(&step["path"], false), &unhex(&step["response"]));
    }
    for (place, case) in each(&golden("wire/records.json")) {
        add(format!("record-{place}"), "record", &unhex(&case["record"]));
    }
    for (place, case) in each(&golden("wire/log.json")["leaves"]).take(3) {
        add(format!("leaf-{place}"), "leaf", &unhex(&case["leaf"]));
    }
    for (number, document) in each(&golden("documents/documents.json")) {
        for (place, change) in each(&document["changes"]) {
            let shape = change["parts"]["section"].as_str().unwrap();
            add(format!("entry-{number}-{place}"), shape, &unhex(&change["parts"]["value"]));
        }
    }
    let when = Moment { wall_ms: -1, boot: 1, boot_ms: 2, anchor: 3, skew_ms: Some(4), life: None };
    add("moment".into(), "moment", &to_cbor(&when));
    add("group".into(), "group", &plain());
    let relay = golden("wire/relay.json");
    add("cargo-request".into(), "cargo request", &unhex(&relay["request"]));
    let nothings = [&b"\xa2\x00\x01\x01\x99\x0f\xa0"[..], &[0x40; 4_000]].concat();
    add("cargo-of-nothings".into(), "cargo request", &nothings);
    add("cargo-reply".into(), "cargo reply", &unhex(&relay["reply"]));
    for (name, parcel) in [("", &relay["parcels"][0]), ("-of-a-photo", &relay["parcels"][1])] {
        add(format!("cargo{name}"), "cargo", &unhex(&parcel["cargo"]));
        add(format!("parcel{name}"), "parcel", &unhex(&parcel["parcel"]));
    }
    for piece in [0, 40, 255] {
        let words = [vec![piece], codec::words_of_a_meeting()].concat();
        add(format!("meeting-{piece}"), "meeting", &words);
    }
    for (place, message) in codec::messages_of_a_meeting().into_iter().enumerate() {
        add(format!("said-{place}"), "said", &message);
    }
    // A whole meeting, one that is altered at each word, and one of a phone's own words.
    add("parley".into(), "parley", &[0, 3, 0].repeat(12));
    for place in 0..8 {
        let words = [[0, 0, 0].repeat(place), vec![5, 1, 1], [0, 3, 0].repeat(6)].concat();
        add(format!("parley-altered-{place}"), "parley", &words);
    }
    for what in 6..16 {
        let words = [&[0, 0, 0, 0, 0, 0, what, 1, 0][..], &[0, 3, 0].repeat(6)].concat();
        add(format!("parley-says-{what}"), "parley", &words);
    }
    add("part".into(), "part", &[0x82, 2, 0x18, 0x21]);
    add("content-items".into(), "content", &[0x80]);
    add("content-parts".into(), "content", &[&[0x58, 0x80][..], &[3; 128]].concat());
    let held: Vec<u8> = (0..200_u8).flat_map(|n| [n, n / 3, n, 9, n]).collect();
    add("inventory".into(), "inventory", &held);
    for (name, bytes) in unreadable() {
        add(format!("hazard-{name}"), "group", &bytes);
    }
    seeds
}

fn evidence_seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, shape: &str, bytes: &[u8]| {
        seeds.push((name.to_owned(), evidence::input(shape, bytes)));
    };
    let drawn = RgbImage::from_fn(24, 16, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, 99]));
    for (name, format) in
        [("jpeg", ImageFormat::Jpeg), ("png", ImageFormat::Png), ("webp", ImageFormat::WebP)]
    {
        let mut file = std::io::Cursor::new(Vec::new());
        drawn.write_to(&mut file, format).unwrap();
        add(&format!("picture-{name}"), "picture", &file.into_inner());
    }
    // One directory that leads to two others, one of which leads to itself, and one that leads to many.
    let field = |tag: u16, kind: u16, count: u32, value: u32| {
        let head = [tag.to_le_bytes(), kind.to_le_bytes()].concat();
        [head, count.to_le_bytes().to_vec(), value.to_le_bytes().to_vec()].concat()
    };
    let head = b"II*\0\x08\0\0\0";
    let place = [head, &[1, 0][..], &field(0x8825, 4, 1, 26), &[0; 4], &[4, 0]].concat();
    let place = [
        place,
        field(1, 2, 2, u32::from(b'N')),
        field(2, 5, 3, 80),
        field(3, 2, 2, u32::from(b'W')),
        field(4, 5, 3, 80),
        vec![0; 4],
        [53, 1, 20, 1, 3_000, 100_u32].iter().flat_map(|n| n.to_le_bytes()).collect(),
    ];
    add("camera-place", "camera", &place.concat());
    let taken = [head, &[1, 0][..], &field(0x8769, 4, 1, 26), &[0; 4], &[2, 0]].concat();
    let taken = [
        taken,
        field(0x9003, 2, 20, 56),
        field(0x8769, 4, 1, 8),
        vec![0; 4],
        b"2026:03:01 12:00:00\0".to_vec(),
    ];
    add("camera-taken", "camera", &taken.concat());
    let many: Vec<u8> = (0..40).flat_map(|n| field(0x8769, 4, 1, 494 + n)).collect();
    let many = [head, &[40, 0][..], &many, &[0; 4], &[0x0a; 42], &[0; 600]].concat();
    add("camera-over-each-other", "camera", &many);
    let honest = evidence::honest();
    add("bundle", "bundle", &honest.bundle);
    for what in 0..16_u8 {
        for (a, b) in [(1, 0), (2, 1), (3, 9)] {
            add(&format!("edits-{what}-{a}"), "edits", &[what, a, b, 5, 0, 1, 2, 3, 4, 5]);
        }
    }
    add("edits-none", "edits", &[]);
    // Each line in its place, and nothing of what it says.
    for place in 0..honest.proof.lines.len() as u8 {
        add(&format!("edits-empties-{place}"), "edits", &[10, place, 0, 5]);
    }
    add("note", "note", honest.note.to_string().as_bytes());
    let stranger = Keypair::from_seed(&[9; 32]);
    let key = NoteKey::new("stranger.example", Signs::Cosignature, stranger.public()).unwrap();
    let line = honest.note.cosign(&key, &stranger, 5);
    let cosigned = honest.note.with(&line, &key).unwrap();
    add("note-of-a-witness", "note", cosigned.to_string().as_bytes());
    add("note-key", "note", key.to_string().as_bytes());
    let (old, proof, note) = (0, Vec::new(), honest.note.clone());
    let asked = witness::Submission { old, proof, note };
    add("submission", "submission", asked.to_string().as_bytes());
    let again = witness::Submission { old: honest.checkpoint.size, ..asked };
    add("submission-again", "submission", again.to_string().as_bytes());
    for (place, path) in
        ["tile/0/x001/234", "tile/entries/000.p/12", "tile/8/000", "checkpoint"].iter().enumerate()
    {
        add(&format!("piece-{place}"), "piece", path.as_bytes());
    }
    add("piece-entries", "piece", &[0, 3, 1, 2, 3, 0, 0, 0, 1, 9]);
    let tree = [9_u64, 3, 5].iter().flat_map(|n| n.to_le_bytes()).chain(0..5).collect::<Vec<u8>>();
    add("piece-tree", "piece", &tree);
    add("receipt", "receipt", &evidence::words_of_a_receipt());
    seeds
}

/// A group of one change, byte by byte: `[[visit, id], [actor], [[0, 1, 9, [0], 1, entry]], []]`.
pub(crate) fn plain() -> Vec<u8> {
    let by = UserId::from_bytes([1; 16]);
    let when = Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
    let entry = Entry::Submission(Submission { by, when, place: None }).encode();
    let mut bytes = vec![0x84, 0x82, 0x00, 0x50];
    bytes.extend([2; 16]);
    bytes.extend([0x81, 0x50]);
    bytes.extend([3; 16]);
    bytes.extend([0x81, 0x86, 0x00, 0x01, 0x09, 0x81, 0x00, 0x01]);
    bytes.extend(to_cbor(&minicbor::bytes::ByteVec::from(entry)));
    bytes.push(0x80);
    bytes
}

/// What could be said in an Automerge chunk and cannot be said in six parts.
pub(crate) fn unreadable() -> Vec<(&'static str, Vec<u8>)> {
    let good = plain();
    let edited = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    let change = [0x86, 0x00, 0x01, 0x09, 0x81, 0x00, 0x01];
    let pieces = |actor: &[u8], seq: &[u8], op: &[u8], deps: &[u8], section: &[u8]| {
        edited(&change, &[&[0x86], actor, seq, op, deps, section].concat())
    };
    let huge = [0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let near = [0x1a, 0xff, 0xff, 0xff, 0xff];
    let (zero, one, nine, genesis) = ([0x00], [0x01], [0x09], [0x81, 0x00]);
    let bomb = {
        // A compressed chunk in the place of an entry is an entry that does not read; in the place of a change
        // it is no change.
        let chunk = [0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 0x02, 0x04, 0x73, 0x05, 0x00, 0x00];
        edited(&change, &[&[0x4e][..], &chunk, &change].concat())
    };
    vec![
        ("actor-out-of-range", pieces(&one, &one, &nine, &genesis, &one)),
        ("actor-far-out-of-range", pieces(&huge, &one, &nine, &genesis, &one)),
        ("no-parents", pieces(&zero, &one, &nine, &[0x80], &one)),
        ("parent-that-comes-later", pieces(&zero, &one, &nine, &[0x81, 0x01], &one)),
        ("the-genesis-twice", pieces(&zero, &one, &nine, &[0x82, 0x00, 0x00], &one)),
        ("unknown-object", pieces(&zero, &one, &nine, &genesis, &[0x05])),
        ("object-of-another-kind", pieces(&zero, &one, &nine, &genesis, &[0x04])),
        ("seq-zero", pieces(&zero, &zero, &nine, &genesis, &one)),
        ("seq-huge", pieces(&zero, &huge, &nine, &genesis, &one)),
        ("start-op-zero", pieces(&zero, &one, &zero, &genesis, &one)),
        ("start-op-near-the-end", pieces(&zero, &one, &near, &genesis, &one)),
        ("start-op-huge", pieces(&zero, &one, &huge, &genesis, &one)),
        ("author-footer", edited(&[0x86, 0x00, 0x01], &[0x87, 0x00, 0x01])),
        ("extra-bytes", [&good[..], b"extra"].concat()),
        ("five-parts", edited(&[0x86, 0x00, 0x01], &[0x85, 0x00, 0x01])),
        ("compressed-chunk", bomb),
        ("endless-changes", edited(&[0x81, 0x86], &[0x9f, 0x86])),
        ("more-changes-than-bytes", edited(&[0x81, 0x86], &[0x9a, 0xff, 0xff, 0xff, 0xff, 0x86])),
    ]
}

/// Whether a group reads.
pub(crate) fn reads(bytes: &[u8]) -> bool {
    from_wire::<Group>(ORG, bytes).is_ok()
}

/// The work of a day: two people apart in one visit, a third elsewhere, a review, an answer.
fn a_day() -> Vec<u8> {
    use Step::{Pull, Push, Write};
    let did = |who: usize, document: usize, entries: &[(u8, u8)]| {
        let writes = entries.iter().map(|(a, b)| Write.write(who, document, *a, *b));
        let round = [Push.write(who, document, 0, 0), Pull.write(who, document, 0, 0)];
        writes.chain(round).flatten().collect::<Vec<u8>>()
    };
    [
        did(RITA, SHARED, &[(entry::START, 0), (entry::OBSERVE, 1), (entry::OBSERVE, 10)]),
        did(SAM, SHARED, &[(entry::START, 0), (entry::OBSERVE, 33), (entry::SUBMIT, 0)]),
        did(RITA, SHARED, &[(entry::SUBMIT, 0)]),
        did(SVEN, SVENS, &[(entry::START, 0), (entry::NOT_POSSIBLE, 0), (entry::ABANDON, 0)]),
        did(SUE, SHARED, &[]),
        did(SUE, SHARED, &[(entry::REVIEW, 1), (entry::ANSWER, 4), (entry::SETTLE, 1)]),
        did(RITA, SHARED, &[(entry::CORRECT, 1), (entry::WITHDRAW, 2), (entry::SUBMIT, 0)]),
        did(RITA, OUTLET, &[(entry::REPORT, 7)]),
    ]
    .concat()
}

/// Rita has begun a visit and recorded; Sven has one of his own.
fn begun() -> Vec<u8> {
    use Step::{Push, Write};
    [
        Write.write(RITA, SHARED, entry::START, 0),
        Write.write(RITA, SHARED, entry::OBSERVE, 1),
        Push.write(RITA, SHARED, 0, 0),
        Write.write(SVEN, SVENS, entry::START, 0),
        Push.write(SVEN, SVENS, 0, 0),
    ]
    .concat()
}

/// Rita's next observation, with these things wrong.
fn forged(edits: &[(u8, u8)]) -> Vec<u8> {
    let edits = edits.iter().map(|(a, b)| Step::Edit.write(RITA, SHARED, *a, *b));
    let forge = Step::Forge.write(RITA, SHARED, entry::OBSERVE, 9);
    edits.chain([forge]).flatten().collect()
}

/// Each known hazard, as a story, with what becomes of its last proposal.
pub(crate) fn hazards() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    use Step::{Again, Elsewhere, Pull, Push, Swap, Write};
    let wrong = |edits: &[(u8, u8)]| [begun(), forged(edits)].concat();
    let then = |steps: &[[u8; 4]]| [begun(), steps.concat()].concat();
    let minus = |n: i8| n.cast_unsigned();
    vec![
        ("nothing-wrong", wrong(&[]), "accepted"),
        ("seq-gap", wrong(&[(wrong::SEQ_OFF, 1)]), "malformed"),
        ("seq-repeated", wrong(&[(wrong::SEQ_OFF, minus(-1))]), "forked"),
        ("seq-zero", wrong(&[(wrong::SEQ, 0)]), NAMELESS),
        ("seq-greatest", wrong(&[(wrong::SEQ, 15)]), NAMELESS),
        ("unknown-object", wrong(&[(wrong::SECTION, 4)]), NAMELESS),
        ("wrong-section", wrong(&[(wrong::SECTION, 2)]), "unreadable"),
        ("start-op-near-u32-max", wrong(&[(wrong::START_OP, 10)]), NAMELESS),
        ("start-op-u32-max", wrong(&[(wrong::START_OP, 11)]), NAMELESS),
        ("start-op-beyond-u32", wrong(&[(wrong::START_OP, 12)]), NAMELESS),
        ("start-op-greatest", wrong(&[(wrong::START_OP, 15)]), NAMELESS),
        ("start-op-greatest-allowed", wrong(&[(wrong::START_OP, 8)]), "malformed"),
        ("start-op-too-low", wrong(&[(wrong::START_OP_OFF, minus(-1))]), "malformed"),
        ("start-op-one", wrong(&[(wrong::START_OP, 1)]), "malformed"),
        ("start-op-inflated", wrong(&[(wrong::START_OP_OFF, 100)]), "malformed"),
        ("no-parents", wrong(&[(wrong::NO_DEPS, 0)]), NAMELESS),
        ("parents-twice", wrong(&[(wrong::DOUBLE_DEPS, 0)]), NAMELESS),
        ("too-many-parents", wrong(&[(wrong::MANY_DEPS, 200)]), NAMELESS),
        ("missing-parent", wrong(&[(wrong::ABSENT_DEP, 9)]), "missing_parent"),
        ("parents-of-another-document", wrong(&[(wrong::FOREIGN_HEADS, 1)]), "missing_parent"),
        (
            "not-on-own-newest",
            wrong(&[(wrong::GENESIS_ONLY, 0), (wrong::START_OP_MENDED, 0)]),
            "malformed",
        ),
        ("the-genesis-as-well", wrong(&[(wrong::GENESIS_TOO, 0)]), "accepted"),
        ("actor-of-the-genesis", wrong(&[(wrong::ACTOR_OF_GENESIS, 0)]), NAMELESS),
        ("actor-of-another", wrong(&[(wrong::ACTOR_OF, 1), (wrong::SEQ, 1)]), "foreign_actor"),
        ("actor-of-nobody", wrong(&[(wrong::ACTOR_BYTES, 0), (wrong::SEQ, 1)]), "foreign_actor"),
        (
            "actor-of-another-store",
            wrong(&[(wrong::ACTOR_INSTANCE, 7), (wrong::SEQ, 1)]),
            "accepted",
        ),
        ("entry-cut", wrong(&[(wrong::CUT, 1)]), "unreadable"),
        ("entry-longer", wrong(&[(wrong::LONGER, 0)]), "unreadable"),
        ("entry-too-long", wrong(&[(wrong::HUGE_VALUE, 1)]), NAMELESS),
        ("entry-as-long-as-can-be", wrong(&[(wrong::HUGE_VALUE, 0)]), "unreadable"),
        ("entry-nested", wrong(&[(wrong::NESTED_VALUE, 0x9f)]), "unreadable"),
        ("entry-tagged-for-ever", wrong(&[(wrong::NESTED_VALUE, 0xd8)]), "unreadable"),
        ("the-same-again", then(&[Again.write(RITA, SHARED, 1, 0)]), "accepted"),
        (
            "of-another-document",
            then(&[Elsewhere.write(SVEN, SVENS, 0, SHARED as u8)]),
            "missing_parent",
        ),
        (
            "one-actor-on-two-copies",
            [
                begun(),
                Write.write(RITA, SHARED, entry::OBSERVE, 3).to_vec(),
                forged(&[]),
                Push.write(RITA, SHARED, 0, 0).to_vec(),
            ]
            .concat(),
            "forked",
        ),
        (
            "two-begin-apart",
            then(&[Write.write(SAM, SHARED, entry::START, 0), Push.write(SAM, SHARED, 0, 0)]),
            "accepted",
        ),
        (
            "out-of-order",
            then(&[
                Write.write(RITA, SHARED, entry::OBSERVE, 4),
                Write.write(RITA, SHARED, entry::OBSERVE, 5),
                Swap.write(RITA, SHARED, 0, 1),
                Push.write(RITA, SHARED, 0, 0),
            ]),
            "missing_parent",
        ),
        (
            "out-of-scope",
            then(&[
                Pull.write(SVEN, SHARED, 0, 0),
                Step::Forge.write(SVEN, SHARED, entry::OBSERVE, 1),
            ]),
            "out_of_scope",
        ),
        (
            "withdrawn-after-submission",
            [
                begun(),
                Write.write(RITA, SHARED, entry::SUBMIT, 0).to_vec(),
                Write.write(RITA, SHARED, entry::ABANDON, 0).to_vec(),
                Push.write(RITA, SHARED, 0, 0).to_vec(),
            ]
            .concat(),
            "no_right",
        ),
    ]
}

/// What is sent to the server that is no story.
pub(crate) fn http_hazards() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    const PUSH: u8 = 0;
    const PULL: u8 = 1;
    const ENROL: u8 = 2;
    const MISSING: u8 = 3;
    const UPLOADS: u8 = 4;
    const CARGO: u8 = 6;
    let raw =
        |how: u8, flags: u8, bytes: &[u8]| http::input(&[], &[ask(Ask::Raw, how, flags, bytes)]);
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    let file = include_bytes!("../../fixtures/documents/visit.automerge.bin");
    let packed = zstd::bulk::compress(file, 3).unwrap();
    let photo = picture();
    let many_parcels = [&b"\xa2\x00\x01\x01\x98\x41"[..], &[0x40; 65]].concat();
    let upload = |how: u8, flags: u8| ask(Ask::Upload, how, flags, &photo);
    let push = |flags: u8| vec![Ask::Push as u8, 0, flags];
    let cargo = |wrong: u8, flags: u8| {
        http::input(&begun(), &[ask(Ask::Cargo, wrong, flaw::OTHERS_TOKEN | flags, &[])])
    };
    let keys = |asks: &[(u8, u8)]| {
        let asks: Vec<Vec<u8>> =
            asks.iter().map(|(how, flags)| vec![Ask::Key as u8, *how, *flags]).collect();
        http::input(&[], &asks)
    };
    vec![
        ("cargo", cargo(fault::NONE, flaw::TWICE), "taken"),
        ("cargo-to-another-server", cargo(fault::TO_ANOTHER_SERVER, 0), "not_opened"),
        ("cargo-from-nobody", cargo(fault::FROM_NOBODY, 0), "taken"),
        ("cargo-in-anothers-name", cargo(fault::IN_ANOTHERS_NAME, 0), "bad_seal"),
        ("cargo-of-another-version", cargo(fault::ANOTHER_PROTOCOL, 0), "later"),
        ("cargo-of-nothing", cargo(fault::NO_CHANGE, 0), "unreadable"),
        ("cargo-changed", cargo(fault::FLIPPED + 120, 0), "bad_seal"),
        ("cargo-cut-short", cargo(fault::CUT, 0), "malformed"),
        ("cargo-cut", cargo(fault::CUT + 200, 0), "bad_seal"),
        ("cargo-longer", cargo(fault::LONGER, 0), "bad_seal"),
        ("cargo-of-another-organisation", cargo(fault::OF_ANOTHER_ORGANISATION, 0), "bad_seal"),
        ("cargo-without-seal", cargo(fault::NONE, flaw::NO_SEAL), "taken"),
        ("cargo-with-a-bad-seal", cargo(fault::NONE, flaw::BAD_SEAL), "taken"),
        (
            "cargo-that-came-too-early",
            http::input(
                &[begun(), forged(&[(wrong::ABSENT_DEP, 9)])].concat(),
                &[push(0), push(0), ask(Ask::Cargo, fault::NONE, 0, &[])],
            ),
            "later",
        ),
        ("another-key", keys(&[(1, 0)]), "renewed"),
        ("another-key-again", keys(&[(1, 0), (1, 2)]), "renewed"),
        ("another-key-of-a-thief", keys(&[(1, 3)]), "malformed"),
        ("another-key-not-proved", keys(&[(1, 4)]), "malformed"),
        ("another-key-not-handed-over", keys(&[(1, 16)]), "malformed"),
        ("another-key-of-another-organisation", keys(&[(1, 8)]), "malformed"),
        ("another-key-the-wrong-way-round", keys(&[(1, 0x30)]), "malformed"),
        ("another-key-that-is-taken", keys(&[(2, 64)]), "key_taken"),
        ("the-same-key", keys(&[(0, 0)]), "key_taken"),
        ("another-key-by-the-one-before", keys(&[(1, 0), (2, 0), (3, 1)]), "revoked"),
        ("another-key-that-is-short", keys(&[(1, 128)]), "malformed"),
        (
            "rebuilt",
            http::input(&begun(), &[push(0), push(0), vec![Ask::Rebuild as u8, 0, 3]]),
            "rebuilt",
        ),
        ("compression-bomb", raw(PUSH, 1 << 2, &bomb), "too_large"),
        ("compression-bomb-pulled", raw(PULL, 1 << 2, &bomb), "too_large"),
        ("damaged-compression", raw(PUSH, 1 << 2, &packed[..packed.len() / 2]), "malformed"),
        ("an-automerge-file", raw(PUSH, 0, file), "malformed"),
        ("cargo-without-bytes", raw(CARGO, 0, b"\xa2\x00\x01\x01\x81\x01"), "malformed"),
        ("cargo-of-another-protocol", raw(CARGO, 0, b"\xa1\x00\x02"), "protocol_unsupported"),
        ("too-many-parcels", raw(CARGO, 0, &many_parcels), "too_large"),
        ("another-protocol", raw(PUSH, 0, b"\xa1\x00\x02"), "protocol_unsupported"),
        ("no-token", raw(PUSH, 3, b"\xa1\x00\x01"), "unauthorized"),
        ("enrol", http::input(&[], &[ask(Ask::Enrol, 9, 0, b"a phone")]), "enrolled"),
        ("enrol-wrong-proof", http::input(&[], &[ask(Ask::Enrol, 9, 2, b"a phone")]), "malformed"),
        (
            "enrol-wrong-code",
            http::input(&[], &[ask(Ask::Enrol, 9, 1, b"ABCDE-12345")]),
            "code_invalid",
        ),
        ("enrol-no-json", raw(ENROL, 0, b"{\"code\":"), "malformed"),
        ("missing-no-hashes", raw(MISSING, 0, b"{\"hashes\":[\"00\"]}"), "malformed"),
        ("upload-without-length", raw(UPLOADS, 0, b"bytes"), "malformed"),
        ("upload", http::input(&[], &[upload(1, 128)]), "201"),
        (
            "upload-in-halves",
            http::input(&[], &[upload(1, 16), upload(3, 0), upload(2, 32)]),
            "204",
        ),
        (
            "upload-no-photo",
            http::input(&[], &[ask(Ask::Upload, 1, 0, b"no photo")]),
            "not_an_image",
        ),
        ("upload-of-nobody", http::input(&[], &[upload(131, 0)]), "not_referenced"),
        ("upload-something-else", http::input(&[], &[upload(1, 1)]), "checksum_mismatch"),
        ("bad-seal", http::input(&begun(), &[push(flaw::BAD_SEAL)]), "bad_seal"),
        ("no-seal", http::input(&begun(), &[push(flaw::NO_SEAL)]), "bad_seal"),
        ("carried-by-another", http::input(&begun(), &[push(flaw::OTHERS_TOKEN)]), "accepted"),
        ("too-many-groups", http::input(&begun(), &[push(flaw::TOO_MANY)]), "too_large"),
        ("repair", http::input(&begun(), &[push(0), ask(Ask::Repair, 0, 0, &[0; 18])]), "repaired"),
        (
            "repair-of-no-part",
            http::input(&begun(), &[push(0), ask(Ask::Repair, 1, 0, &[17; 9])]),
            "malformed",
        ),
        ("sent-twice", http::input(&begun(), &[push(flaw::TWICE | flaw::COMPRESSED)]), "accepted"),
        (
            "words-that-did-not-come",
            http::input(
                &[
                    begun(),
                    Step::Write.write(RITA, SHARED, entry::NOT_POSSIBLE, 0).to_vec(),
                    Step::Push.write(RITA, SHARED, 0, 0).to_vec(),
                ]
                .concat(),
                &[push(0), push(0), push(flaw::NO_NOTES)],
            ),
            "missing_note",
        ),
    ]
}

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 99]));
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

fn http_seeds() -> Vec<Seed> {
    let owned = |(name, data, _): (&str, Vec<u8>, _)| (name.to_owned(), data);
    let mut seeds: Vec<Seed> = http_hazards().into_iter().map(owned).collect();
    for (name, story, _) in hazards() {
        seeds.push((format!("story-{name}"), http::input(&story, &[])));
    }
    let pull = |how: u8, flags: u8| vec![Ask::Pull as u8, how, flags];
    seeds.push((
        "a-day-with-pulls".into(),
        http::input(&a_day(), &[pull(0, 0), vec![Ask::Push as u8, 0, 0], pull(0, 17), pull(3, 5)]),
    ));
    for (place, case) in each(&golden("wire/messages.json")).filter(|(_, c)| c["request"] == true) {
        let path = case["path"].as_str().and_then(|path| path.strip_prefix("/api/v1/")).unwrap();
        let how = http::PATHS.iter().position(|known| *known == path).unwrap() as u8;
        let bytes = unhex(&case["message"]);
        seeds
            .push((format!("message-{place}"), http::input(&[], &[ask(Ask::Raw, how, 0, &bytes)])));
    }
    seeds
}
