//! Bundles of a log that is made here, line by line.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::evidence::Frontier;
use crate::id::{Actor, ChangeHash, DistributorId, UserId};
use crate::model::catalogue::{AnswerKind, Check, CheckKind, Erased, ErasedKind, Person, Template};
use crate::model::people::{Role, Scope};
use crate::model::visit::{
    Act, Observation, Observations, Observed, Post, Recording, Subject, Value, Versioned,
};
use crate::tlog::{Hashes, Tile, Tree, fold};

/// How many checks of templates were looked at, by all tests.
pub(super) static LOOKED: AtomicUsize = AtomicUsize::new(0);

const ORG: OrgId = OrgId::from_bytes([1; 16]);
const VISIT: VisitId = VisitId::from_bytes([2; 16]);
const DEVICE: DeviceId = DeviceId::from_bytes([3; 16]);
const BY: UserId = UserId::from_bytes([4; 16]);
const LIFE: LogOrigin = LogOrigin::from_bytes([5; 16]);
const WITNESS: &str = "witness.example/w1";

fn log_pair() -> Keypair {
    Keypair::from_seed(&[6; 32])
}

fn device_pair() -> Keypair {
    Keypair::from_seed(&[7; 32])
}

/// A log of one visit: its lines, each with the body, the salt and the seal that a bundle has of it.
struct Log {
    lines: Vec<Line>,
    notes: Vec<Note>,
    document: Document,
}

impl Log {
    fn new() -> Self {
        let document = Document::new(ORG, DocId::from(VISIT));
        let mut log = Self { lines: Vec::new(), notes: Vec::new(), document };
        log.begin(LIFE);
        log.record(&device(false));
        log
    }

    fn push(&mut self, leaf: &Leaf, [body, salt, seal]: [Option<Vec<u8>>; 3]) {
        let (sequence, leaf) = (self.lines.len() as u64, Bytes(to_cbor(leaf)));
        let (body, salt, seal) = (body.map(Bytes), salt.map(Bytes), seal.map(Bytes));
        self.lines.push(Line { sequence, leaf, path: Vec::new(), body, salt, seal });
    }

    fn begin(&mut self, origin: LogOrigin) {
        let key = LogKey(log_pair().public());
        self.push(&Leaf::Origin { origin, at_ms: 0, after: None, key }, [None, None, None]);
    }

    fn record(&mut self, record: &Record) {
        let (salt, body) = ([8; 16], to_cbor(record));
        let leaf = Leaf::record(record.key(), &salt, &body, 0);
        self.push(&leaf, [Some(body), Some(salt.to_vec()), None]);
    }

    /// The device writes; the line.
    fn write(&mut self, entry: &Entry) -> usize {
        let pair = device_pair();
        let change = self.document.next(Actor::new(&pair.public(), [0; 8]), entry).unwrap();
        let (document, seal) = (DocId::from(VISIT), |head| pair.seal(ORG, VISIT.into(), head));
        let change_hash = change.hash();
        let leaf = Leaf::Change { document, change: change_hash, device: DEVICE, received_ms: 0 };
        let seal = seal(change_hash).signature.to_vec();
        let parts: &Parts = &change;
        self.push(&leaf, [Some(to_cbor(parts)), None, Some(seal)]);
        self.document.insert(change).unwrap();
        self.lines.len() - 1
    }

    fn say(&mut self, text: &str) -> (usize, BlobHash) {
        let digest = self.note(text);
        let post = Post::new(BY, when(), digest);
        (self.write(&Entry::Post(post)), digest)
    }

    fn note(&mut self, text: &str) -> BlobHash {
        let note = Note::new(text, [self.notes.len() as u8; 16]).unwrap();
        let digest = note.digest();
        self.notes.push(note);
        self.notes.sort_by_key(Note::digest);
        digest
    }

    fn observe(&mut self, template: u32, facts: Vec<Observation>, supersedes: Vec<ChangeHash>) {
        let act = Act::Observe(Observed {
            template: Versioned { number: 1, version: template },
            planograms: Vec::new(),
            price_list: None,
            observations: Observations(facts),
            photos: Vec::new(),
            supersedes,
        });
        self.write(&Entry::Recording(Recording { by: BY, when: when(), place: None, act }));
    }

    fn proof(&self) -> (Proof, SignedNote) {
        self.signed(&[])
    }

    fn signed(&self, witnesses: &[(NoteKey, Keypair)]) -> (Proof, SignedNote) {
        let hashes = self.lines.iter().map(|line| leaf_hash(&line.leaf.0)).collect::<Vec<_>>();
        let (mut frontier, size) = (Frontier::default(), hashes.len() as u64);
        hashes.iter().for_each(|hash| frontier.push(*hash));
        let mut leaves = Leaves(hashes);
        let mut lines = self.lines.clone();
        for line in &mut lines {
            let Ok(path) = Tree::new(&mut leaves, size).inclusion(line.sequence);
            line.path = path;
        }
        let root = frontier.root();
        let mut note = Checkpoint { org: ORG, life: LIFE, size, root }.sign(&log_pair());
        for (key, pair) in witnesses {
            note = match key.signs() {
                Signs::Cosignature => note.with(&note.cosign(key, pair, 9), key).unwrap(),
                Signs::Note => {
                    let signed = SignedNote::sign(note.text().to_owned(), key, pair).to_string();
                    note.with(signed.lines().last().unwrap(), key).unwrap()
                }
            };
        }
        let proof = Proof {
            version: VERSION,
            org: ORG,
            visit: VISIT,
            key: LogKey(log_pair().public()),
            lines,
            notes: self.notes.clone(),
            witnesses: witnesses.iter().map(|(key, _)| key.to_string()).collect(),
        };
        (proof, note)
    }

    fn summary(&self) -> String {
        says(&self.proof()).unwrap()
    }
}

/// What a bundle of it says, or what is wrong with it.
fn says((proof, note): &(Proof, SignedNote)) -> Result<String, String> {
    let built = build(proof, note, &BTreeMap::new(), &log_pair());
    built.and_then(|bundle| verify(&bundle)).map(|p| p.summary).map_err(|wrong| wrong.0)
}

struct Leaves(Vec<LogHash>);

impl Hashes for Leaves {
    type Error = std::convert::Infallible;

    fn hashes(&mut self, tile: Tile, first: u64, count: u64) -> Result<Vec<LogHash>, Self::Error> {
        let of = 1 << (8 * u32::from(tile.level));
        let leaves = &self.0[first as usize * of..(first + count) as usize * of];
        Ok(leaves.chunks(of).map(|chunk| fold(chunk.to_vec())).collect())
    }
}

fn when() -> Moment {
    Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None }
}

fn device(revoked: bool) -> Record {
    let key = device_pair().public();
    Record::Device(Device { id: DEVICE, user: BY, key, revoked, lost_ms: None })
}

fn person(id: UserId) -> Record {
    let (role, scope) = (Role::Admin, Scope::Distributor(DistributorId::from_bytes([9; 16])));
    Record::Person(Person { id, name: "Rita".into(), role, scope, active: true })
}

fn erased(digest: BlobHash) -> Record {
    let (id, what) = (Erased::id_of(digest), ErasedKind::Note);
    Record::Erased(Erased { id, what, digest: Some(digest), at_ms: 0 })
}

fn erased_person(user: UserId) -> Record {
    let (id, what) = (*user.as_bytes(), ErasedKind::Person);
    Record::Erased(Erased { id, what, digest: None, at_ms: 0 })
}

fn template(version: u32, options: &[&str]) -> Record {
    let options = options.iter().map(|text| (*text).to_owned()).collect();
    let kind = CheckKind::Question { answer: AnswerKind::Choice, options };
    let check = Check { id: 1, title: format!("Floor {version}"), help: String::new(), kind };
    let (name, channels) = ("Audit".to_owned(), Vec::new());
    Record::Template(Template { number: 1, version, name, channels, checks: vec![check] })
}

fn text(check: u32, words: BlobHash) -> Observation {
    Observation { check, subject: Subject::Outlet, value: Value::Text(words) }
}

#[test]
fn nobody_knows_a_line_that_there_was_not_yet() {
    // The third life begins later than the line that is looked at.
    let lives = [(7, 0), (8, 10), (9, 40)];
    let known = |life, anchor| known_at(&lives, 20, &Moment { anchor, life, ..when() });
    assert_eq!([known(Some(7), 4), known(Some(7), 15)], [4, 10], "the rest of it was lost");
    assert_eq!([known(Some(8), 15), known(Some(8), 30)], [15, 20]);
    assert_eq!([known(Some(9), 45), known(Some(6), 5)], [20, 0]);
    assert_eq!([known(None, 15), known(None, 30)], [15, 20]);
}

/// Whoever has the log's key could keep the line and leave out what it says.
#[test]
fn no_line_that_bears_on_the_visit_is_there_for_its_time_alone() {
    let mut log = Log::new();
    let (one, gone) = log.say("One");
    let (other, _) = log.say("Other");
    log.notes.retain(|note| note.digest() != gone);
    let stranger = UserId::from_bytes([11; 16]);
    for record in [
        &device(true),
        &erased(gone),
        &erased_person(BY),
        &person(BY),
        &erased_person(stranger),
        &erased(BlobHash([12; 32])),
    ] {
        log.record(record);
    }
    let whole = log.proof();
    let told = says(&whole).unwrap();
    assert!(told.contains("access was withdrawn") && told.contains("erased on request"), "{told}");
    for (line, what) in [
        (1, "its device's key, as it was"),
        (one, "an entry that another builds on"),
        (other, "an entry that nothing builds on"),
        (4, "that access was withdrawn"),
        (5, "that words were erased"),
        (6, "that a name was erased"),
    ] {
        let (mut proof, note) = whole.clone();
        let Line { body, salt, seal, .. } = &mut proof.lines[line];
        (*body, *salt, *seal) = (None, None, None);
        let said = says(&(proof, note)).expect_err(what);
        assert!(said.contains(&format!("line {line}: ")) && said.contains("missing"), "{said}");
    }
    // A name may have been erased from a person's record, and what is of others may be here for its time.
    let (mut proof, note) = whole;
    for line in &mut proof.lines[7..] {
        (line.body, line.salt) = (None, None);
    }
    says(&(proof, note)).unwrap();
}

/// As many facts as there is room for name the same words of the greatest length, each in place of four others.
#[test]
fn long_words_are_told_once() {
    let mut log = Log::new();
    let words = log.note(&"w".repeat(4_000));
    let short = log.note("It was wet");
    let mut older: Vec<ChangeHash> = Vec::new();
    for n in 0..46 {
        let facts = (0..1_000).map(|check| match (n, check) {
            (0, 0) => text(check, short),
            _ => text(check, words),
        });
        let facts = facts.collect();
        log.observe(1, facts, older.clone());
        older = log.document.changes().iter().rev().take(5).map(Change::hash).collect();
    }
    let said = log.summary();
    assert_eq!(said.matches("www\"").count(), 1);
    assert!(said.contains("    the outlet: the words told in line 2, in place of the words told in line 2 (line 46) and "));
    assert_eq!(said.matches("the outlet: \"It was wet\"").count(), 1, "{}", said.len());
    assert!(said.matches("\"It was wet\" (line 2)").count() >= 4, "short words are told again");
    // Told wherever they are named they would take 900 MB.
    assert!(said.len() < 16 << 20, "{} bytes", said.len());
}

#[test]
fn a_witness_is_told_with_its_key() {
    let mut log = Log::new();
    log.say("One");
    let pair = || Keypair::from_seed(&[9; 32]);
    let key = |name: &str, signs| NoteKey::new(name, signs, pair().public()).unwrap();
    let cosigns = key(WITNESS, Signs::Cosignature);
    let said = says(&log.signed(&[(cosigns.clone(), pair())])).unwrap();
    let (proved, not) = said.split_once("WHAT IS NOT PROVED").unwrap();
    assert!(proved.contains(&format!("- {WITNESS}, by its key below, saw this checkpoint at ")));
    assert!(not.contains("- That this is the key of the witness of this name;"), "{not}");
    assert!(not.contains(&format!("\n  {cosigns}\n")), "{not}");
    // What signs as a log does says not when it saw it.
    let said = says(&log.signed(&[(key(WITNESS, Signs::Note), pair())])).unwrap_err();
    assert!(said.contains("is not that of a witness"), "{said}");
    // Its name turns nothing around, in the summary or in what is said to be wrong.
    let turned = key("notary\u{202e}elpmaxe", Signs::Cosignature);
    let mut signed = log.signed(&[(turned, pair())]);
    let said = says(&signed).unwrap();
    assert!(said.contains("notary\u{fffd}elpmaxe") && !said.contains('\u{202e}'), "{said}");
    signed.1 = log.proof().1;
    let said = says(&signed).unwrap_err();
    assert!(said.contains("has not signed it") && !said.contains('\u{202e}'), "{said}");
}

/// A visit that goes by very many versions of a template: they are read once, not at each fact.
#[test]
fn templates_are_read_once() {
    let mut log = Log::new();
    let choose = |check, option| Observation {
        check,
        subject: Subject::Outlet,
        value: Value::Choice(option),
    };
    for version in 1..=300 {
        let last = if version == 7 { "another" } else { "soaked" };
        log.record(&template(version, &["dry", "wet", last]));
    }
    for version in 1..=300 {
        log.observe(version, vec![choose(1, 1), choose(2, 0)], Vec::new());
    }
    log.observe(1, vec![choose(1, 2), choose(1_000, 0)], Vec::new());
    let before = LOOKED.load(Ordering::Relaxed);
    let said = says(&log.proof()).unwrap();
    let looked = LOOKED.load(Ordering::Relaxed) - before;
    assert_eq!(looked, 2 * 300, "once to make the bundle, once to check it");
    for part in ["  Floor 1\n    the outlet: \"wet\"", "  check 2\n    the outlet: option 0"] {
        assert!(said.contains(part), "{part}");
    }
    assert!(said.contains("    the outlet: option 2\n"), "they do not all say the same");
    // One that is not here may say otherwise.
    log.observe(301, vec![choose(1, 1)], Vec::new());
    let said = log.summary();
    assert!(said.contains("    the outlet: option 1\n") && !said.contains("\"wet\""), "{said}");
}

/// Two lives are one only if all of their names is the same.
#[test]
fn the_newest_life_is_that_of_the_checkpoint() {
    let mut log = Log::new();
    log.say("One");
    let mut other = *LIFE.as_bytes();
    other[15] ^= 1;
    let other = LogOrigin::from_bytes(other);
    assert_eq!(other.life(), LIFE.life());
    log.begin(other);
    let said = says(&log.proof()).unwrap_err();
    assert!(said.contains("the line with which this life of the log begins is missing"), "{said}");
    log.begin(LIFE);
    says(&log.proof()).unwrap();
    let (mut proof, note) = log.proof();
    proof.lines.remove(0);
    let said = says(&(proof, note)).unwrap_err();
    assert!(said.contains("line 0, with which the log begins, is missing"), "{said}");
}
