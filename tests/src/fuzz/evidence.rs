//! Evidence as strangers bring it: pictures and what a camera wrote beside them, a visit's proof that somebody has been
//! at, notes with signatures, and pieces of the log.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use picture::{
    Look, PIXELS_MAX, Sketch, Upright, also, decode, difference_hash, extent, pixels, screen,
};
use server::prove::pack;
use server::store::bundle;
use server::store::witnesses::Counting;
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::command::Command;
use sync_core::evidence::{Cursor, Keypair, Leaf};
use sync_core::id::{BlobHash, DocId, LogHash, VisitId};
use sync_core::model::catalogue::RecordKind;
use sync_core::model::visit::{Note, Observation, PhotoRef, Subject, Value};
use sync_core::proof::{self, Line, Proof};
use sync_core::receipt::{Known, Receipt, Watch};
use sync_core::tlog::{
    Checkpoint, NoteKey, Piece, SignedNote, Signs, continues, includes, leaf_hash, pack_entries,
    unpack_entries,
};
use sync_core::witness::Submission;
use sync_core::zip;

use super::Script;
use crate::backend::log_key;
use crate::brand::{self, ORG, checks};
use crate::device::Crash;
use crate::world::World;

/// What an input's first byte says that the rest is. New ones go to the end.
pub const SHAPES: [&str; 8] =
    ["picture", "camera", "bundle", "edits", "note", "piece", "receipt", "submission"];
/// Most pixels of a picture: more take time and show nothing.
const FUZZED_PIXELS_MAX: u64 = 1 << 20;
/// Most edits that a script asks for.
const EDITS_MAX: usize = 8;

/// An input: bytes that are to be read as this.
pub fn input(shape: &str, bytes: &[u8]) -> Vec<u8> {
    let place = SHAPES.iter().position(|known| *known == shape).expect("a shape");
    [&[place as u8], bytes].concat()
}

/// Most bytes that may be held: what a picture of so many pixels takes, what a PNG may say beside it, and the tables of
/// a WebP without loss, which are five hundred times what asks for them.
pub fn held_bytes_max(data: &[u8]) -> u64 {
    (80 << 20) + 512 * data.len() as u64
}

/// Makes what is the same for all inputs.
pub fn prepare() {
    honest();
    jpeg();
}

/// Reads, and panics where something is believed that should not be.
pub fn run(data: &[u8]) {
    let Some((shape, bytes)) = data.split_first() else { return };
    match SHAPES[usize::from(*shape) % SHAPES.len()] {
        "picture" => picture(bytes),
        "camera" => camera(bytes),
        "bundle" => bundle(bytes),
        "edits" => edits(Script::new(bytes)),
        "note" => note(bytes),
        "piece" => piece(bytes),
        "submission" => submission(bytes),
        _ => receipt(bytes),
    }
}

/// A witness is asked: it signs the one checkpoint that the log's key has signed, and no other.
fn submission(bytes: &[u8]) {
    let asked = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Submission>().ok());
    let Some(asked) = asked else { return };
    assert_eq!(asked.to_string().parse(), Ok(asked.clone()));
    let honest = &honest().checkpoint;
    let log = NoteKey::of_log(honest.org, honest.life, log_key().public());
    let Ok((_, is)) = asked.of(std::slice::from_ref(&log)) else { return };
    assert_eq!(is, *honest);
    let first = asked.judge(&is, None);
    assert_eq!(first.is_ok(), asked.old == 0 && asked.proof.is_empty());
    let again = asked.judge(&is, Some(honest));
    assert_eq!(again.is_ok(), asked.old == honest.size && asked.proof.is_empty());
}

fn picture(bytes: &[u8]) {
    let _ = (extent(bytes), also(bytes));
    let promised = pixels(bytes, FUZZED_PIXELS_MAX);
    let Ok(read) = decode(bytes, FUZZED_PIXELS_MAX) else { return };
    let (width, height) = read.size();
    assert_eq!(promised, Ok(u64::from(width) * u64::from(height)));
    plausible(&read.camera);
    let small = read.upright(256);
    assert!(small.width.max(small.height) <= 256);
    let _ = (Look::at(&small).doubts(), screen(&small), difference_hash(&small));
    let sketch = Sketch::of(&small);
    assert_eq!(Sketch::from_bytes(sketch.as_bytes()).as_ref(), Some(&sketch));
    let again = small.jpeg(80).and_then(|jpeg| decode(&jpeg, PIXELS_MAX)).expect("our own JPEG");
    assert_eq!(again.size(), (small.width, small.height));
}

fn plausible(camera: &picture::Camera) {
    if let Some(taken) = camera.taken {
        assert!((0..7_290_000_000_000).contains(&taken.shown_ms));
        assert!(taken.offset_min.is_none_or(|offset| offset.abs() < 15 * 60));
    }
    if let Some(place) = camera.place {
        assert!(place.lat_e6.abs() <= 90_000_000 && place.lon_e6.abs() <= 180_000_000);
    }
}

/// A small JPEG.
pub fn jpeg() -> &'static [u8] {
    static JPEG: OnceLock<Vec<u8>> = OnceLock::new();
    JPEG.get_or_init(|| {
        let rgb = (0..16 * 16 * 3).map(|at| (at * 7 % 251) as u8).collect();
        Upright { rgb, width: 16, height: 16 }.jpeg(80).expect("it is small")
    })
}

/// Whatever is said beside a picture, the picture is read.
fn camera(exif: &[u8]) {
    let exif = &exif[..exif.len().min(usize::from(u16::MAX) - 8)];
    let length = (exif.len() as u16 + 8).to_be_bytes();
    let (begins, rest) = jpeg().split_at(2);
    let file = [begins, &[0xff, 0xe1], &length, b"Exif\0\0", exif, rest].concat();
    let read = decode(&file, FUZZED_PIXELS_MAX).expect("the picture is sound");
    assert_eq!(read.size(), (16, 16));
    plausible(&read.camera);
}

/// A visit with its proof, as the server packs it.
pub struct Honest {
    /// The bundle.
    pub bundle: Vec<u8>,
    files: Vec<(String, Vec<u8>)>,
    /// What is proved in it.
    pub proof: Proof,
    /// What that says.
    pub checkpoint: Checkpoint,
    /// The checkpoint as it is signed.
    pub note: SignedNote,
    photos: BTreeMap<BlobHash, Vec<u8>>,
}

/// The same in every process.
pub fn honest() -> &'static Honest {
    static HONEST: OnceLock<Honest> = OnceLock::new();
    HONEST.get_or_init(|| {
        let mut world = World::new(3);
        let visit = VisitId::of_call(ORG, brand::call(0));
        let words = Note::new("Ask the manager", [5; 16]).expect("words");
        let (price, currency) = (Subject::Product(brand::product(0)), "EUR".parse().expect("EUR"));
        let price = Observation {
            check: checks::PRICE,
            subject: price,
            value: Value::Price(sync_core::model::Money { minor: 199, currency }),
        };
        let said = Observation {
            check: checks::WORDS,
            subject: Subject::Outlet,
            value: Value::Text(words.digest()),
        };
        let hash = BlobHash::of(jpeg());
        let photo =
            PhotoRef { hash, bytes: jpeg().len() as u32, phash: 9, check: None, origin: None };
        world.act(0, Crash::Never, Command::StartCall(brand::call(0)));
        let (observations, photos, notes) = (vec![price, said], vec![photo], vec![words]);
        let record = Command::Record { visit, observations, photos, notes };
        assert!(world.act(0, Crash::Never, record).is_some());
        world.act(0, Crash::Never, Command::Submit(visit));
        world.sync_now(0);
        let (db, org) = (&world.server.db, world.server.org);
        let counting = Counting::everybody(0);
        let collected = bundle::collect(db, org, ORG, visit, &log_key(), &counting);
        let collected = collected.expect("it reads").expect("the visit is there");
        let photos = BTreeMap::from([(hash, jpeg().to_vec())]);
        let bundle = pack(&collected, &photos, &log_key()).expect("it is sound");
        let files = zip::read(&bundle).expect("files");
        let files = files.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
        let (proof, note) = (collected.proof, collected.checkpoint);
        let checkpoint = Checkpoint::open(&note, log_key().public()).expect("it is signed");
        Honest { bundle, files, proof, checkpoint, note, photos }
    })
}

/// What is proved by the log's key is what that has signed, to the last byte.
fn bundle(bytes: &[u8]) {
    let Ok(proved) = proof::verify(bytes) else { return };
    if proved.key.key() == log_key().public() {
        assert!(bytes == honest().bundle, "the log's key has not signed it");
    }
}

/// Whether a line says what it is of: one of the visit's changes, or of the records of the devices that wrote.
fn tells(line: &Line) -> bool {
    let visit = DocId::from(honest().proof.visit);
    let told = |line: &&Line| line.body.is_some();
    line.body.is_some()
        || match from_cbor(&line.leaf.0) {
            Ok(Leaf::Change { document, .. }) => document != visit,
            Ok(Leaf::Record { kind, .. }) if kind == RecordKind::Device as u8 => {
                !honest().proof.lines.iter().filter(told).any(|honest| honest.leaf == line.leaf)
            }
            _ => true,
        }
}

/// An honest bundle that somebody has been at, and packed anew so that the container is whole.
fn edits(mut script: Script<'_>) {
    let honest = honest();
    let (mut files, mut edited) = (honest.files.clone(), honest.proof.clone());
    for _ in 0..EDITS_MAX {
        if script.is_over() {
            break;
        }
        let (what, a, b) = (script.byte(), usize::from(script.byte()), script.byte());
        let (count, lines) = (files.len(), edited.lines.len());
        let file = a % count.max(1);
        let (one, other) = (a % lines.max(1), usize::from(b) % lines.max(1));
        match what % 16 {
            _ if count == 0 || lines == 0 => break,
            0 => {
                let bytes = &mut files[file].1;
                let at = usize::from(b) | usize::from(script.byte()) << 8;
                let at = at % bytes.len().max(1);
                let flip = script.byte();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= flip;
                }
            }
            1 => drop(files.remove(file)),
            2 => files.swap(file, usize::from(b) % count),
            3 => files.insert(usize::from(b) % (count + 1), files[file].clone()),
            4 => files[file].1.truncate(usize::from(b)),
            5 => files[file].1.extend_from_slice(script.block()),
            6 => files[file].0 = String::from_utf8_lossy(script.block()).into_owned(),
            7 => drop(edited.lines.remove(one)),
            8 => edited.lines.swap(one, other),
            9 => edited.lines[one].sequence ^= u64::from(b),
            10 => {
                let taken = edited.lines[other].clone();
                let line = &mut edited.lines[one];
                match script.byte() % 6 {
                    0 => line.body = taken.body,
                    1 => line.salt = taken.salt,
                    2 => line.seal = taken.seal,
                    3 => line.leaf = taken.leaf,
                    4 => line.path = taken.path,
                    _ => (line.body, line.salt, line.seal) = (None, None, None),
                }
            }
            11 => {
                let path = &mut edited.lines[one].path;
                match (b % 3, path.first_mut()) {
                    (0, _) => drop(path.pop()),
                    (1, _) => path.push(LogHash([b; 32])),
                    (_, Some(hash)) => hash.0[usize::from(b) % 32] ^= 1 << (b % 8),
                    _ => {}
                }
            }
            12 => edited.notes.extend(edited.notes.first().cloned()),
            13 => drop(edited.notes.pop()),
            14 => match b % 4 {
                0 => edited.version ^= u32::from(script.byte()),
                1 => edited.visit = VisitId::from_bytes([script.byte(); 16]),
                2 => edited.key.0[a % 32] ^= script.byte(),
                _ => edited.witnesses.push(String::from_utf8_lossy(script.block()).into_owned()),
            },
            _ => {
                let stranger = Keypair::from_seed(&[b; 32]);
                let name = "stranger.example";
                let key = NoteKey::new(name, Signs::Cosignature, stranger.public());
                let cosigned = |key: NoteKey| {
                    let added = honest.note.cosign(&key, &stranger, u64::from(b));
                    honest.note.with(&added, &key)
                };
                let note = key.and_then(cosigned);
                if let (Some(note), Some(file)) = (note, files.get_mut(1)) {
                    file.1 = note.to_string().into_bytes();
                }
            }
        }
    }
    if edited != honest.proof {
        if let Some(file) = files.get_mut(2) {
            file.1 = to_cbor(&edited);
        }
        // With a summary that says what is left of it, and with the log's key: then it may hold, and says less by the same
        // checkpoint. Without that key it does not, whatever the summary says.
        if let Ok(less) = proof::build(&edited, &honest.note, &honest.photos, &log_key()) {
            let proved = proof::verify(&less).expect("what was built is sound");
            assert_eq!(proved.checkpoint, honest.checkpoint);
            assert_eq!(proved.key.key(), log_key().public());
            assert!(edited.lines.iter().all(tells), "a line hides what it says");
            files = zip::read(&less)
                .expect("it was verified")
                .into_iter()
                .map(|(name, bytes)| (name, bytes.to_vec()))
                .collect();
            files[3] = honest.files[3].clone();
        }
    }
    let packed: Vec<_> = files.iter().map(|(name, bytes)| (name.clone(), &bytes[..])).collect();
    let Some(packed) = zip::write(&packed) else { return };
    bundle(&packed);
}

/// Texts with signatures, those of witnesses among them.
fn note(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = text.parse::<NoteKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    let Ok(note) = text.parse::<SignedNote>() else { return };
    assert_eq!(note.to_string().parse(), Ok(note.clone()));
    let honest = honest();
    if let Ok(opened) = Checkpoint::open(&note, log_key().public()) {
        assert_eq!(opened, honest.checkpoint, "the log's key has signed nothing else");
    }
    let key = NoteKey::of_log(ORG, honest.checkpoint.life, log_key().public());
    let only = note.only(std::slice::from_ref(&key));
    assert!(only.signatures() <= 1);
    if let Some(line) = text.lines().last() {
        let _ = honest.note.with(line, &key);
    }
}

/// Paths, bundles of entries and proofs of the tree.
fn piece(bytes: &[u8]) {
    if let Ok(path) = std::str::from_utf8(bytes)
        && let Ok(piece) = path.parse::<Piece>()
    {
        assert_eq!(piece.to_string(), path);
    }
    if let Some(entries) = unpack_entries(bytes) {
        assert_eq!(pack_entries(entries).as_deref(), Some(bytes));
    }
    let mut script = Script::new(bytes);
    let mut number = || {
        let bytes = script.bytes(8);
        let mut number = [0; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(number)
    };
    let (size, index, older) = (number(), number(), number());
    let mut hashes: Vec<LogHash> = Vec::new();
    while !script.is_over() && hashes.len() < 80 {
        hashes.push(LogHash([script.byte(); 32]));
    }
    let (leaf, root) = (leaf_hash(b"a leaf"), LogHash([0x77; 32]));
    assert!(!includes(size, &root, index, &leaf, &hashes), "nobody knows such a tree");
    let _ = continues((older, &leaf), (size, &root), &hashes);
}

/// What a phone is told of the log: nothing that its key has not signed is kept.
fn receipt(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let (at, told) = (script.block(), script.block());
    let Ok(at) = from_cbor::<Cursor>(at) else { return };
    let receipt = from_cbor::<Receipt>(told).ok();
    let key = Some(sync_core::evidence::LogKey(log_key().public()));
    let mut watch = Watch { key, ..Watch::default() };
    watch.hear(ORG, &at, receipt.as_ref(), brand::BEGIN_MS);
    let honest = &honest().checkpoint;
    let kept = Known { life: honest.life, size: honest.size };
    assert!([Known::NOTHING, kept].contains(&watch.known()), "the log's key has not signed it");
}

/// The honest checkpoint as a phone hears of it.
pub fn words_of_a_receipt() -> Vec<u8> {
    let of = &honest().checkpoint;
    let at = Cursor { origin: of.life, sequence: of.size, root: of.root };
    let (signature, proof, lives) = (of.signature(&log_key()), Vec::new(), None);
    let receipt = Receipt { signature, proof, lives, key: None };
    let mut words = Vec::new();
    for part in [to_cbor(&at), to_cbor(&receipt)] {
        words.extend((part.len() as u16).to_le_bytes());
        words.extend(part);
    }
    words
}
