//! A story of valid and of mutated changes, admitted as the server does it.
//!
//! An input is a script of steps of four bytes, `[what, who and where, a, b]`. Phones write into documents of
//! their own and push; thieves of their keys send the change that the phone would make next, with any number
//! of things wrong with it. Whatever was accepted must be sound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ReadDoc, ScalarValue};
use server::world::World;
use sync_core::admit::{Author, Refusal, admit, read};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::document::{
    Change, DEPS_MAX, Document, Entry, Parts, Room, Section, VALUE_BYTES_MAX,
};
use sync_core::evidence::Keypair;
use sync_core::id::{Actor, BlobHash, ChangeHash, DocId, DocKind, OutletId, UserId, VisitId};
use sync_core::kpi::per_visit;
use sync_core::model::Day;
use sync_core::model::capture::Moment;
use sync_core::model::visit::{
    Act, NotPossible, Note, Observation, Observations, Observed, OutletReport, PhotoRef, Place,
    Post, Recording, Review, Subject, Submission, Value, Verdict, Versioned,
};
use sync_core::projection::{Facts, project};
use sync_core::visit::Visit;
use sync_core::wire::{Group, from_wire, to_wire};

use super::{Script, reading};
use crate::brand::{self, ORG, RITA, SAM, SUE, SVEN, checks};
use crate::chance::Chance;

/// Whose phones there are.
pub const PEOPLE: [UserId; 4] = [RITA, SAM, SVEN, SUE];
/// Most steps of a story.
const STEPS_MAX: usize = 96;
/// What a change that has no name is refused with: it cannot even be read.
pub const NAMELESS: &str = "(has no name)";

const NOW: Moment =
    Moment { wall_ms: brand::BEGIN_MS, boot: 1, boot_ms: 1, anchor: 1, skew_ms: None, life: None };

/// Numbers on whose other side something else begins.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    8,
    9,
    10,
    1 << 16,
    (1 << 24) - 1,
    1 << 24,
    (1 << 24) + 1,
    u32::MAX as u64 - 1,
    u32::MAX as u64,
    u32::MAX as u64 + 1,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// One thing wrong with a mutant: what, of [`wrong`], and by how much.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    pub(crate) what: u8,
    pub(crate) by: u8,
}

/// What a step does, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// A phone writes entry `a` of shape `b` on top of all that it has.
    Write,
    /// It sends what it has not sent.
    Push,
    /// It hears of everything.
    Pull,
    /// From the next mutant on, until it is sent: edit `a` by `b`.
    Edit,
    /// The change that the phone would make next on top of what the server has, edited and signed by it.
    Forge,
    /// Change `a` of the document, edited and signed again.
    Again,
    /// Change `a` of document `b`, sent as one of this document.
    Elsewhere,
    /// What waits to be sent changes places.
    Swap,
    /// The next mutant's entry is `a` bytes that follow.
    Bytes,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Write,
        Self::Push,
        Self::Pull,
        Self::Edit,
        Self::Forge,
        Self::Again,
        Self::Elsewhere,
        Self::Swap,
        Self::Bytes,
    ];

    /// The step as a script has it.
    pub fn write(self, who: usize, document: usize, a: u8, b: u8) -> [u8; 4] {
        [self as u8, (who + PEOPLE.len() * document) as u8, a, b]
    }
}

/// Changes that someone wants to get into a document.
#[derive(Debug)]
pub struct Proposal {
    /// Whose phone signs, as a place in [`PEOPLE`].
    pub who: usize,
    /// Into which.
    pub document: DocId,
    /// What, in order.
    pub parts: Vec<Parts>,
    place: usize,
    honest: bool,
}

impl Proposal {
    /// Whether every change can be named; one that cannot is not even read.
    pub fn has_names(&self) -> bool {
        let kind = self.document.kind;
        self.parts.iter().all(|parts| Change::new(kind, parts.clone()).is_ok())
    }

    /// The group that is sent, without seals.
    pub fn group(&self) -> Group {
        let named = |parts: &Parts| {
            let nameless = |_| Change::kept(ChangeHash([7; 32]), parts.clone());
            Change::new(self.document.kind, parts.clone()).unwrap_or_else(nameless)
        };
        let changes = self.parts.iter().map(named).collect();
        Group { document: self.document, changes, seals: Vec::new() }
    }
}

/// The key of a person's phone.
pub fn keypair(who: usize) -> Keypair {
    Keypair::from_seed(&[who as u8 + 1; 32])
}

fn public(who: usize) -> [u8; 32] {
    static KEYS: OnceLock<Vec<[u8; 32]>> = OnceLock::new();
    KEYS.get_or_init(|| (0..PEOPLE.len()).map(|who| keypair(who).public()).collect())[who]
}

/// The words that an entry's digest stands for.
pub fn words(number: u8) -> Note {
    Note::new(&format!("words {number}"), [number; 16]).expect("a note")
}

fn actor(who: usize) -> Actor {
    Actor::new(&public(who), [who as u8; 8])
}

fn documents() -> [DocId; 5] {
    [
        VisitId::of_call(ORG, brand::call(0)).into(),
        VisitId::of_call(ORG, brand::call(3)).into(),
        VisitId::from_bytes([0x99; 16]).into(),
        brand::outlet(1).into(),
        OutletId::from_bytes([0x98; 16]).into(),
    ]
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut world = World::default();
        (1..).zip(brand::records()).for_each(|(sequence, record)| world.insert(record, sequence));
        world
    })
}

/// A phone's copy of a document, and what it has not sent.
#[derive(Debug, Clone)]
struct Copy {
    document: Document,
    pending: Vec<Change>,
}

/// Phones and thieves, and what the server has accepted of theirs.
pub struct Story<'a> {
    script: Script<'a>,
    steps: usize,
    server: Vec<Document>,
    copies: Vec<[Copy; PEOPLE.len()]>,
    edits: Vec<Edit>,
    value: Option<&'a [u8]>,
}

impl<'a> Story<'a> {
    /// From its first step.
    pub fn new(script: Script<'a>) -> Self {
        let server: Vec<_> = documents().into_iter().map(|id| Document::new(ORG, id)).collect();
        let copy = |document: &Document| Copy { document: document.clone(), pending: Vec::new() };
        let copies = server.iter().map(|document| [(); PEOPLE.len()].map(|()| copy(document)));
        let copies = copies.collect();
        Self { script, steps: 0, server, copies, edits: Vec::new(), value: None }
    }

    /// What the server has accepted.
    pub fn documents(&self) -> &[Document] {
        &self.server
    }

    /// The next changes that somebody sends.
    pub fn proposal(&mut self) -> Option<Proposal> {
        while !self.script.is_over() && self.steps < STEPS_MAX {
            self.steps += 1;
            let step = Step::ALL[usize::from(self.script.byte()) % Step::ALL.len()];
            let whose = usize::from(self.script.byte());
            let (who, place) = (whose % PEOPLE.len(), whose / PEOPLE.len() % self.server.len());
            let (a, b) = (self.script.byte(), self.script.byte());
            match step {
                Step::Write => self.write(who, place, a, b),
                Step::Push => {
                    let pending = &self.copies[place][who].pending;
                    let parts: Vec<_> = pending.iter().map(|c| Parts::clone(c)).collect();
                    if !parts.is_empty() {
                        return Some(self.propose(who, place, parts, true));
                    }
                }
                Step::Pull => self.pull(who, place),
                Step::Edit => self.edits.push(Edit { what: a, by: b }),
                Step::Forge => {
                    let entry = self.entry(who, place, &self.server[place], a, b);
                    if let Ok(change) = self.server[place].next(actor(who), &entry) {
                        return Some(self.mutant(who, place, Parts::clone(&change)));
                    }
                }
                Step::Again => {
                    if let Some(change) = nth(&self.server[place], a) {
                        return Some(self.mutant(who, place, Parts::clone(change)));
                    }
                }
                Step::Elsewhere => {
                    let from = &self.server[usize::from(b) % self.server.len()];
                    if let Some(change) = nth(from, a) {
                        return Some(self.mutant(who, place, Parts::clone(change)));
                    }
                }
                Step::Swap => {
                    let pending = &mut self.copies[place][who].pending;
                    let length = pending.len().max(1);
                    if !pending.is_empty() {
                        pending.swap(usize::from(a) % length, usize::from(b) % length);
                    }
                }
                Step::Bytes => self.value = Some(self.script.bytes(a.into())),
            }
        }
        None
    }

    fn write(&mut self, who: usize, place: usize, a: u8, b: u8) {
        let entry = self.entry(who, place, &self.copies[place][who].document, a, b);
        let copy = &mut self.copies[place][who];
        let Ok(change) = copy.document.next(actor(who), &entry) else { return };
        if copy.document.insert(change.clone()).is_ok() {
            copy.pending.push(change);
        }
    }

    fn pull(&mut self, who: usize, place: usize) {
        let copy = &mut self.copies[place][who];
        for change in self.server[place].changes() {
            if copy.document.insert(change.clone()).is_err() {
                // Somebody wrote in this phone's name: it begins anew from what was accepted.
                *copy = Copy { document: self.server[place].clone(), pending: Vec::new() };
                return;
            }
        }
    }

    fn propose(&self, who: usize, place: usize, parts: Vec<Parts>, honest: bool) -> Proposal {
        Proposal { who, document: self.server[place].id(), parts, place, honest }
    }

    fn mutant(&mut self, who: usize, place: usize, mut parts: Parts) -> Proposal {
        if let Some(value) = self.value.take() {
            parts.value = value.to_vec();
        }
        for edit in std::mem::take(&mut self.edits) {
            edit.apply(&mut parts, place, &self.server);
        }
        parts.deps.sort_unstable(); // as whoever reads it from the wire does
        self.propose(who, place, vec![parts], false)
    }

    /// What became of a proposal.
    pub fn decided(&mut self, proposal: &Proposal, accepted: bool) {
        let Proposal { who, place, honest, .. } = *proposal;
        if accepted {
            for parts in &proposal.parts {
                let change = Change::new(proposal.document.kind, parts.clone());
                let change = change.expect("what was accepted has a name");
                self.server[place].insert(change).expect("what was accepted fits");
            }
        }
        let copy = &mut self.copies[place][who];
        match accepted {
            true if honest => copy.pending.clear(),
            true => {}
            false if honest => {
                *copy = Copy { document: self.server[place].clone(), pending: Vec::new() };
            }
            false => {}
        }
    }

    /// Entry `a` of shape `b`, as this person would write it on top of `document`.
    fn entry(&self, who: usize, place: usize, document: &Document, a: u8, b: u8) -> Entry {
        let by = PEOPLE[if a >= 0x80 { usize::from(b) % PEOPLE.len() } else { who }];
        let when = NOW;
        let geo = |lon_e6| sync_core::model::Geo {
            lon_e6,
            lat_e6: 60_000_000,
            accuracy_m: None,
            mock: None,
        };
        let picked = |count: usize| -> Vec<ChangeHash> {
            let mut chance = Chance::new(b.into());
            (0..count).filter_map(|_| chance.pick(document.changes()).map(Change::hash)).collect()
        };
        let recording = |act| {
            Entry::Recording(Recording { by, when, place: (b % 16 == 15).then(|| geo(1)), act })
        };
        let observe = |observed| recording(Act::Observe(observed));
        let note = words(b).digest();
        let outlet = if place == 1 { 4 } else { 1 };
        let start = |outlet: u8, call: Option<u8>, region: u8, partner: u8, version| {
            recording(Act::Start {
                outlet: brand::outlet(outlet),
                call: call.map(brand::call),
                territory: brand::territory(region),
                distributor: brand::distributor(partner),
                template: Versioned { number: 1, version },
            })
        };
        let (region, partner) = if outlet == 4 { (2, 2) } else { (1, 1) };
        let call = [Some(0), Some(3), None].get(place).copied().flatten();
        match a & 0x7f {
            0 => start(outlet, call, region, partner, 1),
            1 => match b % 6 {
                0 => start(outlet, None, region, partner, 1),
                1 => start(outlet, Some(b / 6 % brand::CALLS), region, partner, 1),
                2 => start(b / 6 % 6, call, region, partner, 1),
                3 => start(outlet, call, b / 6 % 4, partner, 1),
                4 => start(outlet, call, region, b / 6 % 4, 1),
                _ => start(outlet, call, region, partner, u32::MAX),
            },
            3 => observe(observed(facts(b), picked(1 + usize::from(b) % 3))),
            4 => recording(Act::NotPossible {
                reason: NotPossible::ALL[usize::from(b) % NotPossible::ALL.len()],
                note: (b & 8 == 0).then_some(note),
                photos: Vec::new(),
            }),
            5 => recording(Act::Withdraw { recordings: picked(1 + usize::from(b) % 3) }),
            6 => recording(Act::Abandon {}),
            7 => Entry::Submission(Submission { by, when, place: None }),
            8 | 9 => {
                let verdict = if b & 1 == 0 { Verdict::Approved } else { Verdict::SentBack };
                let all = document.heads().to_vec();
                let heads = if a & 1 == 0 { all } else { picked(usize::from(b) % 4) };
                Entry::Review(Review { by, when, verdict, heads, comment: None })
            }
            10 => Entry::Post(Post::new(by, when, note)),
            11 => Entry::Post(Post { answers: picked(1).pop(), ..Post::new(by, when, note) }),
            12 => Entry::Report(OutletReport {
                by,
                when,
                place: (b & 1 == 1).then(|| geo(i32::from(b) * 1_000_000)),
                name: "Kiosk".into(),
                address: "a".repeat(usize::from(b)),
                territory: brand::territory(1 + b % 3),
                distributor: brand::distributor(1 + b % 2),
                note: None,
                photos: Vec::new(),
                volume: None,
            }),
            13 => observe(Observed {
                photos: (0..b).map(|n| photo(n, b)).collect(),
                ..observed(Vec::new(), Vec::new())
            }),
            14 => observe(Observed {
                template: Versioned { number: u32::from(b % 3), version: u32::from(b / 3) },
                planograms: (0..b % 4)
                    .map(|n| Versioned { number: n.into(), version: 1 })
                    .collect(),
                price_list: None,
                ..observed(facts(b), Vec::new())
            }),
            15 => {
                // Everything that is there, replaced: as one who settles what others said.
                let older = document.changes().iter().filter(|c| c.section == Section::Recordings);
                observe(observed(facts(b), older.map(Change::hash).take(256).collect()))
            }
            _ => observe(observed(facts(b), Vec::new())),
        }
    }
}

fn photo(number: u8, of: u8) -> PhotoRef {
    PhotoRef { hash: BlobHash::of(&[number, of]), bytes: 1, phash: 0, check: None, origin: None }
}

fn observed(facts: Vec<Observation>, supersedes: Vec<ChangeHash>) -> Observed {
    Observed {
        template: Versioned { number: 1, version: 1 },
        planograms: vec![Versioned { number: 1, version: 1 }],
        price_list: Some(Versioned { number: 1, version: 1 }),
        observations: Observations(facts),
        photos: Vec::new(),
        supersedes,
    }
}

/// One to four facts, of kinds and values as the bits say.
fn facts(bits: u8) -> Vec<Observation> {
    let mut chance = Chance::new((bits >> 3).into());
    let eur = "EUR".parse().expect("a currency");
    let fact = |_| {
        let one = chance.below(4);
        let edge = EDGES[chance.index(EDGES.len())];
        let number = u32::try_from(edge).unwrap_or(2);
        let (check, subject, value) = match bits % 8 {
            0 | 1 => (
                checks::PLANOGRAM,
                Subject::Position { planogram: 1, position: one as u32 },
                Value::Shelf { facings: 1 + one as u32, in_stock: true, place: Place::AsPlanned },
            ),
            2 => (
                checks::PRICE,
                Subject::Product(brand::product(one as usize)),
                Value::Price(sync_core::model::Money { minor: edge as i64, currency: eur }),
            ),
            3 => (
                checks::STOCK,
                Subject::Product(brand::product(one as usize)),
                Value::Stock { on_shelf: one == 0, units: Some(number) },
            ),
            4 => (checks::DISPLAY, Subject::Display(1), Value::Met(one == 0)),
            5 => (number, Subject::Outlet, Value::Number(edge as i64)),
            6 => (
                checks::WORDS,
                Subject::Unknown(to_cbor(&(99_u32, edge))),
                Value::Unknown(to_cbor(&(77_u32, one))),
            ),
            _ => (
                checks::PLANOGRAM,
                Subject::Position { planogram: number, position: number },
                match one {
                    0 => Value::Withdrawn,
                    1 => {
                        Value::Shelf { facings: number, in_stock: false, place: Place::MovedAlong }
                    }
                    _ => Value::Shelf {
                        facings: 1,
                        in_stock: false,
                        place: Place::OtherShelf(number),
                    },
                },
            ),
        };
        Observation { check, subject, value }
    };
    let mut facts: Vec<Observation> = (0..=bits % 4).map(fact).collect();
    let mut seen = BTreeSet::new();
    facts.retain(|fact| seen.insert((fact.check, fact.subject.clone())));
    facts
}

fn nth(document: &Document, place: u8) -> Option<&Change> {
    let length = document.changes().len().max(1);
    document.changes().get(usize::from(place) % length)
}

/// What is wrong with a mutant; the numbers are those of a script.
#[expect(missing_docs, reason = "each says in its name what it does")]
pub mod wrong {
    pub const SEQ_OFF: u8 = 0;
    pub const SEQ: u8 = 1;
    pub const START_OP_OFF: u8 = 2;
    pub const START_OP: u8 = 3;
    pub const NO_DEPS: u8 = 4;
    pub const DOUBLE_DEPS: u8 = 5;
    pub const GENESIS_TOO: u8 = 6;
    pub const GENESIS_ONLY: u8 = 7;
    pub const ABSENT_DEP: u8 = 8;
    pub const FOREIGN_HEADS: u8 = 9;
    pub const MANY_DEPS: u8 = 10;
    pub const ONE_DEP_LESS: u8 = 11;
    pub const ALL_DEPS: u8 = 12;
    pub const OTHER_DEP: u8 = 13;
    pub const SECTION: u8 = 14;
    pub const ACTOR_OF: u8 = 15;
    pub const ACTOR_OF_GENESIS: u8 = 16;
    pub const ACTOR_INSTANCE: u8 = 17;
    pub const ACTOR_BYTES: u8 = 18;
    pub const CUT: u8 = 19;
    pub const LONGER: u8 = 20;
    pub const FLIPPED: u8 = 21;
    pub const OTHER_VALUE: u8 = 22;
    pub const HUGE_VALUE: u8 = 23;
    pub const NESTED_VALUE: u8 = 24;
    pub const START_OP_MENDED: u8 = 25;
    pub const SEQ_MENDED: u8 = 26;
    pub(super) const COUNT: u8 = 27;
}

impl Edit {
    pub(crate) fn apply(self, parts: &mut Parts, place: usize, server: &[Document]) {
        let (document, by) = (&server[place], self.by);
        let edge = EDGES[usize::from(by) % EDGES.len()];
        match self.what % wrong::COUNT {
            wrong::SEQ_OFF => parts.seq = parts.seq.wrapping_add_signed((by as i8).into()),
            wrong::SEQ => parts.seq = edge,
            wrong::START_OP_OFF => {
                parts.start_op = parts.start_op.wrapping_add_signed((by as i8).into());
            }
            wrong::START_OP => parts.start_op = edge,
            wrong::NO_DEPS => parts.deps.clear(),
            wrong::DOUBLE_DEPS => {
                parts.deps = parts.deps.iter().flat_map(|dep| [*dep; 2]).collect();
            }
            wrong::GENESIS_TOO => depend(parts, document.genesis()),
            wrong::GENESIS_ONLY => parts.deps = vec![document.genesis()],
            wrong::ABSENT_DEP => depend(parts, ChangeHash([by; 32])),
            wrong::FOREIGN_HEADS => {
                parts.deps = server[usize::from(by) % server.len()].heads().to_vec();
            }
            wrong::MANY_DEPS => {
                (0..=by).for_each(|n| depend(parts, ChangeHash([n; 32])));
            }
            wrong::ONE_DEP_LESS => {
                let length = parts.deps.len().max(1);
                if !parts.deps.is_empty() {
                    parts.deps.remove(usize::from(by) % length);
                }
            }
            wrong::ALL_DEPS => {
                let some = document.changes().iter().take(DEPS_MAX.min(by.into()));
                some.for_each(|change| depend(parts, change.hash()));
            }
            wrong::OTHER_DEP => {
                if let Some(change) = nth(document, by) {
                    parts.deps = vec![change.hash()];
                }
            }
            wrong::SECTION => {
                let all = [
                    Section::Recordings,
                    Section::Submissions,
                    Section::Reviews,
                    Section::Thread,
                    Section::Reports,
                ];
                parts.section = all[usize::from(by) % all.len()];
            }
            wrong::ACTOR_OF => parts.actor = actor(usize::from(by) % PEOPLE.len()),
            wrong::ACTOR_OF_GENESIS => {
                parts.actor = Actor::from_bytes(*b"endcap\0\0\0\0\0\0\0\0\0\0");
            }
            wrong::ACTOR_INSTANCE => {
                let mut bytes = *parts.actor.as_bytes();
                bytes[15] = by;
                parts.actor = Actor::from_bytes(bytes);
            }
            wrong::ACTOR_BYTES => parts.actor = Actor::from_bytes([by; 16]),
            wrong::CUT => {
                let length = parts.value.len().saturating_sub(by.into());
                parts.value.truncate(length);
            }
            wrong::LONGER => parts.value.push(by),
            wrong::FLIPPED => {
                let at = parts.value.len() * usize::from(by) / 256;
                if let Some(byte) = parts.value.get_mut(at) {
                    *byte ^= 1 << (by % 8);
                }
            }
            wrong::OTHER_VALUE => {
                if let Some(change) = nth(document, by) {
                    parts.value.clone_from(&change.value);
                }
            }
            wrong::HUGE_VALUE => {
                let length = VALUE_BYTES_MAX.wrapping_add_signed((by as i8).into());
                parts.value.resize(length, 0);
            }
            wrong::NESTED_VALUE => parts.value = vec![by; 4_000],
            wrong::START_OP_MENDED => {
                let ops = parts.deps.iter().filter_map(|dep| document.change(*dep));
                let genesis = 4 + Section::of(document.id().kind).len() as u64;
                parts.start_op = 1 + ops.map(|c| c.start_op).max().unwrap_or(0).max(genesis);
            }
            _ => parts.seq = document.newest_of(parts.actor).map_or(1, |change| change.seq + 1),
        }
    }
}

fn depend(parts: &mut Parts, on: ChangeHash) {
    if let Err(place) = parts.deps.binary_search(&on) {
        parts.deps.insert(place, on);
    }
}

/// Tells the whole story; panics if the rules let something through that they should not. Returns what
/// became of each proposal.
pub fn run(data: &[u8]) -> Vec<&'static str> {
    let mut story = Story::new(Script::new(data));
    let mut outcomes = Vec::new();
    while let Some(proposal) = story.proposal() {
        let outcome = decide(&story.server[proposal.place], &proposal);
        assert!(outcome.is_ok() || !proposal.honest || may_be_refused(&outcome), "{outcome:?}");
        story.decided(&proposal, outcome.is_ok());
        outcomes.push(outcome.map_or_else(|code| code, |()| "accepted"));
    }
    let order = data.iter().fold(0, |sum: u64, byte| sum.rotate_left(5) ^ u64::from(*byte));
    story.server.iter().for_each(|document| is_sound(document, order));
    outcomes
}

/// A phone's own work is continuous whatever happens, unless somebody else has its key.
fn may_be_refused(outcome: &Result<(), &'static str>) -> bool {
    !matches!(outcome, Err(NAMELESS | "unreadable" | "foreign_actor"))
}

/// All of a group or nothing, as the server's ingest does it.
fn decide(document: &Document, proposal: &Proposal) -> Result<(), &'static str> {
    if !proposal.has_names() {
        return Err(NAMELESS);
    }
    let group = proposal.group();
    let received: Group = from_wire(ORG, &to_wire(ORG, &group)).expect("a group reads");
    assert_eq!(received, group, "a group comes back as it was sent");
    let rights = world().rights(PEOPLE[proposal.who]).expect("they work here");
    let author = Author { rights, key: public(proposal.who) };
    let mut document = document.clone();
    for change in &received.changes {
        if document.contains(change.hash()) {
            continue;
        }
        let fits = document.check(change);
        let entry = match read(&document, change, Room::Device) {
            Ok(entry) => entry,
            Err(refusal) => {
                assert!(fits.is_ok() || matches!(refusal, Refusal::Misfit(_)));
                return Err(refusal.code());
            }
        };
        assert_eq!(fits, Ok(()));
        assert_eq!(Entry::decode(change.section, &entry.encode()).ok().as_ref(), Some(&entry));
        admit(&author, world(), &document, None, change, &entry)
            .map_err(|refusal| refusal.code())?;
        assert_eq!(entry.by(), author.rights.user);
        document.insert(change.clone()).expect("what is admitted can be inserted");
    }
    Ok(())
}

/// Other Automerge programs open it and go on with it, and everyone reads it alike.
fn is_sound(document: &Document, order: u64) {
    if document.changes().is_empty() {
        return;
    }
    opens_in_automerge(document);
    let other = in_another_order(document, order);
    assert_eq!(other.heads(), document.heads());
    let saved = other.to_automerge().expect("it is saved in any order");
    assert_eq!(hashes(&Automerge::load(&saved).expect("and loaded")), document.heads());
    if document.id().kind == DocKind::Visit {
        let (here, there) = (Visit::read(document), Visit::read(&other));
        assert_eq!(here, there, "a view is a function of the set of changes");
        reading::agrees(document, &here);
        let facts = [&here, &there].map(|visit| {
            let must_stock = &world().outlets[&brand::outlet(1)].must_stock;
            project(visit, must_stock, Day::at(NOW.wall_ms, "UTC"), &world().catalogue)
        });
        assert_eq!(facts[0], facts[1]);
        assert_eq!(from_cbor::<Facts>(&to_cbor(&facts[0])).ok(), Some(facts[0].clone()));
        let _ = per_visit(&facts[0]);
    }
}

fn hashes(file: &Automerge) -> Vec<ChangeHash> {
    file.get_heads().iter().map(|head| ChangeHash(head.0)).collect()
}

fn opens_in_automerge(document: &Document) {
    let saved = document.to_automerge().expect("it is saved");
    let mut file = Automerge::load(&saved).expect("what is saved can be loaded");
    assert_eq!(hashes(&file), document.heads());
    assert_eq!(file.get_changes(&[]).len(), 1 + document.changes().len());
    for change in document.changes() {
        let known = file.get_change_by_hash(&automerge::ChangeHash(change.hash().0));
        let chunk = change.chunk(document.id().kind).expect("a chunk");
        assert_eq!(known.expect("it goes by its name").raw_bytes(), chunk);
    }
    let mut by_section: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    for change in document.changes() {
        by_section.entry(change.section.as_str()).or_default().push(change.value.clone());
    }
    for section in Section::of(document.id().kind) {
        let (_, list) = file.get(automerge::ROOT, section.as_str()).ok().flatten().expect("a list");
        let values = file.values(&list).map(|(v, _)| v.into_owned().into_bytes().expect("bytes"));
        let mut values: Vec<Vec<u8>> = values.collect();
        let mut ours = by_section.remove(section.as_str()).unwrap_or_default();
        values.sort();
        ours.sort();
        assert_eq!(values, ours);
    }
    assert!(by_section.is_empty(), "an entry is in no list of the file");
    file.set_actor(ActorId::from(&[9; 16]));
    let mut edit = file.transaction();
    edit.put(automerge::ROOT, "note", ScalarValue::Uint(1)).expect("it can be edited");
    edit.commit();
    let again = Automerge::load(&file.save()).expect("and saved and loaded again");
    assert_eq!(hashes(&again), hashes(&file));
}

/// The same changes, each as late or as early as its parents allow.
fn in_another_order(document: &Document, order: u64) -> Document {
    let mut chance = Chance::new(order);
    let mut left: Vec<&Change> = document.changes().iter().collect();
    let mut other = Document::new(document.org(), document.id());
    while !left.is_empty() {
        let fits = |change: &Change| change.deps.iter().all(|dep| other.contains(*dep));
        let ready: Vec<usize> = (0..left.len()).filter(|place| fits(left[*place])).collect();
        let place = *chance.pick(&ready).expect("every change has its parents here");
        let change = left.remove(place);
        other.insert(change.clone()).expect("it fits in any order that has parents first");
    }
    other
}
