//! Changes that no honest device makes, one wrong thing at a time.

use sync_core::cbor::to_cbor;
use sync_core::client::Replica;
use sync_core::command::Command;
use sync_core::contest::Standing;
use sync_core::document::{
    Change, Document, Entry, Parts, Section, VALUE_BYTES_MAX, VOLUME_CHANGES,
};
use sync_core::evidence::{Keypair, Seal};
use sync_core::id::{Actor, BlobHash, ChangeHash, DocId, DocKind, OutletId, UserId, VisitId};
use sync_core::model::capture::Moment;
use sync_core::model::contest::{About, Objection, Step, Word};
use sync_core::model::visit::{
    Act, Note, Observation, Observations, Observed, OutletReport, PHOTOS_MAX, PhotoRef, Place,
    Post, Recording, Review, Subject, Submission, Value, Verdict, Versioned, Volume,
};
use sync_core::visit::Visit;
use sync_core::wire::{Group, PROTOCOL, PushRequest};
use tests::backend::{Crash, Refused, code, encode};
use tests::brand::{self, ORG, checks};
use tests::device::{Crash as PhoneCrash, Device};
use tests::world::World;

const RITA: usize = 0;
const SAM: usize = 1;
const SVEN: usize = 2;
const NOW: Moment =
    Moment { wall_ms: brand::BEGIN_MS, boot: 1, boot_ms: 1, anchor: 1, skew_ms: None, life: None };
/// What the message itself is refused with, before anything of it is looked at.
const UNREAD: &str = "(the message does not read)";

/// A server where Rita and Sam work on one visit and Sven on another, and Sue's own phone.
struct Forge {
    world: World,
    sue: Device,
    rita_recorded: ChangeHash,
    sam_recorded: ChangeHash,
    rita_submitted: ChangeHash,
}

fn shared() -> DocId {
    VisitId::of_call(ORG, brand::call(0)).into()
}

fn svens() -> DocId {
    VisitId::of_call(ORG, brand::call(3)).into()
}

fn met(value: bool) -> Observation {
    Observation { check: checks::DISPLAY, subject: Subject::Display(1), value: Value::Met(value) }
}

fn observed(facts: Vec<Observation>, supersedes: Vec<ChangeHash>) -> Observed {
    Observed {
        template: Versioned { number: 1, version: 1 },
        planograms: Vec::new(),
        price_list: None,
        observations: Observations(facts),
        photos: Vec::new(),
        supersedes,
    }
}

fn recording(by: UserId, act: Act) -> Entry {
    Entry::Recording(Recording { by, when: NOW, place: None, act })
}

fn observe(by: UserId, facts: Vec<Observation>) -> Entry {
    recording(by, Act::Observe(observed(facts, Vec::new())))
}

impl Forge {
    fn new() -> Self {
        let mut world = World::new(7);
        let act = |world: &mut World, device, command| {
            world.now_ms += 1_000;
            world.act(device, PhoneCrash::Never, command).expect("it is done")
        };
        let visit = VisitId::of_call(ORG, brand::call(0));
        let record = |value| Command::Record {
            visit,
            observations: vec![met(value)],
            photos: Vec::new(),
            notes: Vec::new(),
        };
        act(&mut world, RITA, Command::StartCall(brand::call(0)));
        let rita_recorded = act(&mut world, RITA, record(true));
        let rita_submitted = act(&mut world, RITA, Command::Submit(visit));
        act(&mut world, SVEN, Command::StartCall(brand::call(3)));
        world.come_to_rest();
        let sam_recorded = act(&mut world, SAM, record(false));
        world.come_to_rest();
        let mut sue = Device::new(brand::SUE, world.now_ms, &mut world.chance);
        sue.clock.off_ms = 0;
        let now_ms = world.now_ms;
        world.server.enrol(sue.id, brand::SUE, sue.keypair.public(), now_ms);
        Self { world, sue, rita_recorded, sam_recorded, rita_submitted }
    }

    fn device(&self, device: usize) -> &Device {
        self.world.devices.get(device).unwrap_or(&self.sue)
    }

    fn document(&self, id: DocId) -> Document {
        self.world.server.held(id).document
    }

    /// The change that this device would make next, if the rules let it.
    fn parts(&self, device: usize, id: DocId, entry: &Entry) -> Parts {
        let actor = self.device(device).disk.profile().actor;
        let change = self.document(id).next(actor, entry).expect("a change");
        Parts::clone(&change)
    }

    /// Changes with this device's seal over the last.
    fn group(&self, device: usize, id: DocId, parts: Vec<Parts>) -> Group {
        let named = |parts: Parts| match Change::new(id.kind, parts.clone()) {
            Ok(change) => change,
            Err(_) => Change::kept(ChangeHash([7; 32]), parts), // has no name
        };
        let changes: Vec<Change> = parts.into_iter().map(named).collect();
        let head = changes.last().expect("a change").hash();
        let seals = vec![self.device(device).keypair.seal(ORG, id, head)];
        Group { document: id, changes, seals }
    }

    fn push(&self, groups: Vec<Group>) -> PushRequest {
        PushRequest { protocol: PROTOCOL, now: NOW, previous: None, groups, notes: Vec::new() }
    }

    /// What becomes of a push; of what is not accepted nothing is written but that it came.
    fn send(&mut self, device: usize, push: &PushRequest) -> Vec<String> {
        self.send_bytes(device, &encode(push))
    }

    fn send_bytes(&mut self, device: usize, bytes: &[u8]) -> Vec<String> {
        let (id, now_ms) = (self.device(device).id, self.world.now_ms);
        let before = self.world.server.dump(&[
            "quarantine",
            "quarantine_change",
            "quarantine_photo",
            "quarantine_left",
            "device",
        ]);
        let all = self.world.server.dump(&[]);
        let reply = self.world.server.push(id, bytes, now_ms, Crash::Never);
        let outcomes: Vec<String> = match reply {
            Ok(reply) => reply.outcomes.iter().map(|o| code(o).to_owned()).collect(),
            Err(Refused::Malformed(_)) => {
                assert!(self.world.server.dump(&[]) == all, "an unread message left a trace");
                vec![UNREAD.into()]
            }
            Err(refused) => panic!("{refused:?}"),
        };
        if outcomes.iter().all(|outcome| outcome != "accepted") {
            let after = self.world.server.dump(&[
                "quarantine",
                "quarantine_change",
                "quarantine_photo",
                "quarantine_left",
                "device",
            ]);
            assert!(after == before, "{outcomes:?}, and something was written");
        }
        outcomes
    }

    #[track_caller]
    fn expect(&mut self, outcome: &str, device: usize, group: Group) {
        let push = self.push(vec![group]);
        assert_eq!(self.send(device, &push), [outcome]);
    }

    /// One entry by this device in this document.
    #[track_caller]
    fn expect_entry(&mut self, outcome: &str, device: usize, id: DocId, entry: &Entry) {
        let parts = self.parts(device, id, entry);
        let group = self.group(device, id, vec![parts]);
        self.expect(outcome, device, group);
    }

    /// Rita's next observation in the shared visit, with one thing wrong.
    #[track_caller]
    fn expect_edited(&mut self, outcome: &str, edit: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts(RITA, shared(), &observe(brand::RITA, vec![met(true)]));
        edit(&mut parts);
        let group = self.group(RITA, shared(), vec![parts]);
        self.expect(outcome, RITA, group);
    }
}

#[test]
fn a_change_that_does_not_continue_its_document() {
    let mut forge = Forge::new();
    let other = forge.document(svens());
    let genesis = forge.document(shared()).genesis();
    forge.expect_edited("malformed", |p| p.seq += 1);
    forge.expect_edited("forked", |p| p.seq -= 1);
    forge.expect_edited(UNREAD, |p| p.seq = 0);
    forge.expect_edited(UNREAD, |p| p.seq = u64::MAX);
    forge.expect_edited("malformed", |p| p.start_op += 1);
    forge.expect_edited("malformed", |p| p.start_op -= 1);
    forge.expect_edited("malformed", |p| p.start_op = 1);
    forge.expect_edited(UNREAD, |p| p.start_op = 0);
    for near in [u64::from(u32::MAX) - 1, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
        forge.expect_edited(UNREAD, |p| p.start_op = near);
    }
    forge.expect_edited("missing_parent", |p| p.deps = vec![ChangeHash([9; 32])]);
    forge.expect_edited("missing_parent", |p| p.deps = vec![other.genesis()]);
    forge.expect_edited("missing_parent", |p| p.deps = other.heads().to_vec());
    forge.expect_edited("malformed", |p| p.deps = vec![genesis]); // not its own newest
    forge.expect_edited("malformed", |p| (p.deps, p.start_op) = (vec![genesis], 9));
    forge.expect_edited(UNREAD, |p| p.deps.clear());
    forge.expect_edited(UNREAD, |p| p.deps = vec![p.deps[0]; 2]);
    forge.expect_edited(UNREAD, |p| p.deps = (0..65).map(|n| ChangeHash([n; 32])).collect());
    forge.expect_edited("accepted", |_| ()); // and the change itself is fine
}

#[test]
fn an_object_that_is_not_there() {
    let mut forge = Forge::new();
    forge.expect_edited(UNREAD, |p| p.section = Section::Reports); // not of a visit
    // A section that nobody knows: one more than the last, in the byte after the parents.
    let parts = forge.parts(RITA, shared(), &observe(brand::RITA, vec![met(true)]));
    let push = forge.push(vec![forge.group(RITA, shared(), vec![parts.clone()])]);
    let bytes = encode(&push);
    let value = bytes.windows(parts.value.len()).position(|w| w == parts.value).expect("the entry");
    let section = (1..4).map(|back| value - back).find(|at| bytes[*at] == 0).expect("a section");
    for unknown in [5, 9, 0x17] {
        let mut bytes = bytes.clone();
        bytes[section] = unknown;
        assert_eq!(forge.send_bytes(RITA, &bytes), [UNREAD]);
    }
    // A kind of document that nobody knows.
    let kind = bytes.windows(16).position(|w| w == shared().id).expect("the document") - 2;
    assert_eq!(bytes[kind], DocKind::Visit as u8);
    for unknown in [2, 9, 0x17] {
        let mut bytes = bytes.clone();
        bytes[kind] = unknown;
        assert_eq!(forge.send_bytes(RITA, &bytes), [UNREAD]);
    }
    // The same change in another document has other parents, and another seal.
    let mut bytes = bytes.clone();
    bytes[kind] = DocKind::Outlet as u8;
    assert_ne!(forge.send_bytes(RITA, &bytes), ["accepted"]);
}

#[test]
fn an_actor_on_two_copies() {
    let mut forge = Forge::new();
    let copy = forge.parts(RITA, shared(), &observe(brand::RITA, vec![met(false)]));
    forge.expect_edited("accepted", |_| ());
    let group = forge.group(RITA, shared(), vec![copy]);
    forge.expect("forked", RITA, group.clone());
    forge.expect("forked", RITA, group);
}

#[test]
fn somebody_elses_name() {
    let mut forge = Forge::new();
    let sams = forge.device(SAM).disk.profile().actor;
    let servers = forge.world.server.console.actor;
    forge.expect_edited("bad_seal", |p| p.actor = sams);
    forge.expect_edited("bad_seal", |p| p.actor = servers);
    forge.expect_edited("foreign_actor", |p| p.actor = Actor::from_bytes([0; 16]));
    forge.expect_edited(UNREAD, |p| {
        p.actor = Actor::from_bytes(*b"endcap\0\0\0\0\0\0\0\0\0\0"); // the genesis's
    });
    for by in [brand::SAM, brand::SUE, UserId::from_bytes([0; 16])] {
        let entry = observe(by, vec![met(true)]);
        forge.expect_edited("foreign_person", |p| p.value = entry.encode());
    }
    // Sam's own change and seal are Sam's, whoever brings them.
    let parts = forge.parts(SAM, shared(), &observe(brand::SAM, vec![met(true)]));
    let group = forge.group(SAM, shared(), vec![parts]);
    forge.expect("accepted", RITA, group.clone());
    let held = forge.world.server.held(shared());
    assert_eq!(held.devices[&group.changes[0].hash()], forge.device(SAM).id);
}

#[test]
fn seals() {
    let mut forge = Forge::new();
    let parts = forge.parts(RITA, shared(), &observe(brand::RITA, vec![met(true)]));
    let group = forge.group(RITA, shared(), vec![parts]);
    let head = group.changes[0].hash();
    let sealed = |seals: Vec<Seal>| Group { seals, ..group.clone() };
    let key = &forge.device(RITA).keypair;
    let false_one = Seal { head, signature: [1; 64] };
    let zero = Seal { head, signature: [0; 64] };
    let of_other = Seal { head, ..key.seal(ORG, svens(), head) };
    let of_other_org = Seal { head, ..key.seal(brand_of_others(), shared(), head) };
    let of_other_change = Seal { head, ..key.seal(ORG, shared(), ChangeHash([3; 32])) };
    let by_sam = forge.device(SAM).keypair.seal(ORG, shared(), head);
    let by_nobody = Keypair::from_seed(&[0; 32]).seal(ORG, shared(), head);
    let good = group.seals[0].clone();
    for seals in [
        vec![],
        vec![false_one],
        vec![zero],
        vec![of_other],
        vec![of_other_org],
        vec![of_other_change],
        vec![by_sam.clone()],
        vec![by_nobody],
    ] {
        forge.expect("bad_seal", RITA, sealed(seals));
    }
    forge.expect(UNREAD, RITA, sealed(vec![good, by_sam.clone()])); // more seals than changes
    // Two changes, and the seal names the first: it does not reach the second.
    let mut document = forge.document(shared());
    let actor = forge.device(RITA).disk.profile().actor;
    let mut changes = Vec::new();
    for value in [true, false] {
        let change =
            document.next(actor, &observe(brand::RITA, vec![met(value)])).expect("a change");
        document.insert(change.clone()).expect("it fits");
        changes.push(change);
    }
    let seals = vec![forge.device(RITA).keypair.seal(ORG, shared(), changes[0].hash())];
    let two = Group { document: shared(), changes, seals };
    forge.expect("bad_seal", RITA, two.clone());
    // In the wrong order the second has no parent yet.
    let seals = vec![forge.device(RITA).keypair.seal(ORG, shared(), two.changes[1].hash())];
    let changes = vec![two.changes[1].clone(), two.changes[0].clone()];
    let outcome =
        forge.send(RITA, &forge.push(vec![Group { changes, seals: seals.clone(), ..two.clone() }]));
    assert!(matches!(outcome[0].as_str(), "missing_parent" | "bad_seal"), "{outcome:?}");
    forge.expect("accepted", RITA, Group { seals, ..two });
}

fn brand_of_others() -> sync_core::id::OrgId {
    sync_core::id::OrgId::from_bytes([0xee; 16])
}

#[test]
fn entries_that_do_not_read_or_break_a_rule() {
    let mut forge = Forge::new();
    let good = observe(brand::RITA, vec![met(true)]).encode();
    for bytes in [
        Vec::new(),
        b"\xff".to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"\0"].concat(),
        vec![0x9f; 60_000], // arrays in arrays, none of which ends
        vec![0x81; 60_000],
        vec![0xd8; 60_000],
        [&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &good].concat(),
        [&[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &good].concat(),
        to_cbor(&Submission { by: brand::RITA, when: NOW, place: None }),
    ] {
        forge.expect_edited("unreadable", |p| p.value = bytes);
    }
    forge.expect_edited(UNREAD, |p| p.value = vec![0; VALUE_BYTES_MAX + 1]);
    let shelf = |facings, place| Value::Shelf { facings, in_stock: true, place };
    let position = Subject::Position { planogram: 1, position: 1 };
    for (subject, value) in [
        (position.clone(), shelf(100_001, Place::AsPlanned)),
        (position, shelf(0, Place::MovedAlong)),
        (Subject::Product(brand::product(0)), Value::Stock { on_shelf: true, units: Some(0) }),
    ] {
        let fact = Observation { check: 1, subject, value };
        let entry = observe(brand::RITA, vec![fact]);
        forge.expect_edited("invalid", |p| p.value = entry.encode());
    }
    for facts in [vec![], vec![met(true), met(false)]] {
        let entry = observe(brand::RITA, facts);
        forge.expect_edited("invalid", |p| p.value = entry.encode());
    }
    let many = (0..257).map(|n| ChangeHash([n as u8; 32])).collect();
    let entry = recording(brand::RITA, Act::Withdraw { recordings: many });
    forge.expect_edited("invalid", |p| p.value = entry.encode());
    // Each name costs whoever reads it: once is enough.
    let twice = vec![forge.rita_recorded; 2];
    let corrects = Act::Observe(observed(vec![met(true)], twice.clone()));
    for act in [Act::Withdraw { recordings: twice.clone() }, corrects] {
        forge.expect_entry("invalid", RITA, shared(), &recording(brand::RITA, act));
    }
    let (by, when, comment, verdict) = (brand::SUE, NOW, None, Verdict::SentBack);
    let review = Review { by, when, verdict, heads: twice.clone(), comment };
    forge.expect_entry("invalid", 3, shared(), &Entry::Review(review));
    let objection = Objection { about: None, seen: twice, claim: None, photos: Vec::new() };
    let (by, text, word) = (brand::SAM, BlobHash([1; 32]), Some(Word::Contest(objection)));
    let post = Post { word, ..Post::new(by, when, text) };
    forge.expect_entry("invalid", SAM, shared(), &Entry::Post(post));
    let entry =
        recording(brand::RITA, Act::Observe(observed(vec![met(true)], vec![ChangeHash([5; 32])])));
    forge.expect_edited("not_in_past", |p| p.value = entry.encode());
    let text = Note::new("hello", [1; 16]).expect("a note").digest();
    let post = Entry::Post(Post::new(brand::RITA, NOW, text));
    forge.expect_entry("missing_note", RITA, shared(), &post);
    let answers = Some(ChangeHash([8; 32]));
    let post = Entry::Post(Post { answers, ..Post::new(brand::RITA, NOW, text) });
    forge.expect_entry("not_in_past", RITA, shared(), &post);
}

#[test]
fn a_note_that_breaks_its_rule_is_not_read() {
    let mut forge = Forge::new();
    let note = Note { salt: [1; 16], text: "x".repeat(4_001) };
    assert!(note.validate().is_err());
    let post = Post::new(brand::RITA, NOW, note.digest());
    let parts = forge.parts(RITA, shared(), &Entry::Post(post));
    let mut push = forge.push(vec![forge.group(RITA, shared(), vec![parts])]);
    push.notes = vec![note];
    // The route refuses it (`wire` sends it there); beneath it nothing breaks.
    assert_eq!(forge.send(RITA, &push), ["accepted"]);
}

#[test]
fn contests_that_are_not_theirs_or_about_nothing() {
    let mut forge = Forge::new();
    let sue = forge.world.devices.len();
    let note = Note::new("It was not so", [1; 16]).expect("a note");
    let text = note.digest();
    let post = |by, answers, word| {
        Entry::Post(Post { answers, word: Some(word), ..Post::new(by, NOW, text) })
    };
    let about = Some(About { check: checks::DISPLAY, subject: Subject::Display(1) });
    let objection = |seen: Vec<ChangeHash>| Objection {
        about: about.clone(),
        seen,
        claim: Some(Value::Met(false)),
        photos: Vec::new(),
    };
    let contests = |by, objection| post(by, None, Word::Contest(objection));
    let seen = vec![forge.rita_recorded];
    // By people of the brand, though they see it; and by whom the visit is no business of.
    forge.expect_entry("no_right", RITA, shared(), &contests(brand::RITA, objection(seen.clone())));
    forge.expect_entry("no_right", sue, shared(), &contests(brand::SUE, objection(seen.clone())));
    forge.expect_entry(
        "foreign_person",
        RITA,
        shared(),
        &contests(brand::SAM, objection(seen.clone())),
    );
    let whole = |seen| Objection { about: None, seen, claim: None, photos: Vec::new() };
    let heads = forge.document(svens()).heads().to_vec();
    forge.expect_entry("out_of_scope", SAM, svens(), &contests(brand::SAM, whole(heads)));
    // About what is not there, or says something else.
    let sam = |objection| contests(brand::SAM, objection);
    let unseen = objection(vec![ChangeHash([5; 32])]);
    forge.expect_entry("not_in_past", SAM, shared(), &sam(unseen));
    for wrong in [
        objection(vec![forge.rita_submitted]),
        objection(vec![forge.rita_recorded, forge.rita_submitted]),
        objection(Vec::new()),
        objection(vec![forge.rita_recorded; 257]),
        Objection { about: None, ..objection(seen.clone()) },
        Objection { claim: Some(Value::Text(text)), ..objection(seen.clone()) },
        Objection {
            claim: Some(Value::Stock { on_shelf: true, units: Some(0) }),
            ..objection(seen.clone())
        },
        Objection {
            about: Some(About { check: checks::CHOICE, subject: Subject::Outlet }),
            ..objection(seen.clone())
        },
        Objection {
            photos: vec![
                PhotoRef { hash: text, bytes: 1, phash: 0, check: None, origin: None };
                PHOTOS_MAX + 1
            ],
            ..objection(seen.clone())
        },
    ] {
        forge.expect_entry("invalid", SAM, shared(), &sam(wrong));
    }
    // A word that nobody knows, and a remark that calls itself one.
    let read = sam(objection(seen.clone())).encode();
    let at = read.windows(3).position(|w| w == [0x05, 0x82, 0x00]).expect("the word");
    for (place, byte) in [(at + 2, 9), (at + 2, 1), (at + 1, 0x80)] {
        let mut parts = forge.parts(SAM, shared(), &sam(objection(seen.clone())));
        parts.value[place] = byte;
        let group = forge.group(SAM, shared(), vec![parts]);
        forge.expect("unreadable", SAM, group);
    }
    // Of a visit and nothing else.
    let outlet = DocId::from(brand::outlet(1));
    let outlet_post = Entry::Post(Post::new(brand::SAM, NOW, text));
    let parts = forge.parts(SAM, outlet, &outlet_post);
    let mut push = forge.push(vec![forge.group(SAM, outlet, vec![parts])]);
    push.notes = vec![note.clone()];
    assert_eq!(forge.send(SAM, &push), ["accepted"]);
    let heads = forge.document(outlet).heads().to_vec();
    forge.expect_entry("invalid", SAM, outlet, &sam(whole(heads)));
    // Words whose text never came.
    let another = Note::new("Never sent", [9; 16]).expect("a note").digest();
    let Entry::Post(mute) = sam(objection(seen.clone())) else { unreachable!() };
    let mute = Entry::Post(Post { text: another, ..mute });
    forge.expect_entry("missing_note", SAM, shared(), &mute);

    // A contest, and who may say what in it.
    let parts = forge.parts(SAM, shared(), &sam(objection(seen)));
    let group = forge.group(SAM, shared(), vec![parts]);
    let contest = group.changes[0].hash();
    forge.expect("accepted", SAM, group);
    let step = |by, answers, step| post(by, answers, Word::Step(step, Vec::new()));
    for found in [Step::Ask, Step::Uphold, Step::Accept] {
        forge.expect_entry("no_right", SAM, shared(), &step(brand::SAM, Some(contest), found));
    }
    for any in Step::ALL {
        forge.expect_entry("no_right", RITA, shared(), &step(brand::RITA, Some(contest), any));
        forge.expect_entry("invalid", sue, shared(), &step(brand::SUE, None, any));
        let other = Some(forge.rita_recorded);
        forge.expect_entry("invalid", sue, shared(), &step(brand::SUE, other, any));
        let unseen = Some(ChangeHash([8; 32]));
        forge.expect_entry("not_in_past", sue, shared(), &step(brand::SUE, unseen, any));
    }
    // An answer that had not seen the contest.
    let mut parts = forge.parts(sue, shared(), &step(brand::SUE, Some(contest), Step::Accept));
    (parts.deps, parts.start_op) = (
        vec![forge.rita_recorded],
        forge.document(shared()).change(forge.rita_recorded).expect("it is there").start_op + 1,
    );
    let group = forge.group(sue, shared(), vec![parts]);
    forge.expect("not_in_past", sue, group);
    for (device, by, said) in [(SAM, brand::SAM, Step::Say), (sue, brand::SUE, Step::Uphold)] {
        forge.expect_entry("accepted", device, shared(), &step(by, Some(contest), said));
    }
    let visit = Visit::read(&forge.document(shared()));
    assert_eq!(visit.contests[0].standing, Standing::Upheld);
}

#[test]
fn outside_the_scope() {
    let mut forge = Forge::new();
    let start = |outlet: u8, call: Option<u8>, territory: u8, distributor: u8| Act::Start {
        outlet: brand::outlet(outlet),
        call: call.map(brand::call),
        territory: brand::territory(territory),
        distributor: brand::distributor(distributor),
        template: Versioned { number: 1, version: 1 },
    };
    let fresh = |n: u8| DocId::from(VisitId::from_bytes([n; 16]));
    let rita = |act| recording(brand::RITA, act);
    // Of the south, truly and with a lie.
    forge.expect_entry("out_of_scope", RITA, fresh(1), &rita(start(3, None, 2, 1)));
    forge.expect_entry("wrong_start", RITA, fresh(2), &rita(start(3, None, 1, 1)));
    forge.expect_entry("out_of_scope", RITA, svens(), &observe(brand::RITA, vec![met(true)]));
    let text = Note::new("hello", [1; 16]).expect("a note").digest();
    let post = Entry::Post(Post::new(brand::RITA, NOW, text));
    forge.expect_entry("out_of_scope", RITA, svens(), &post);
    let submission = Entry::Submission(Submission { by: brand::RITA, when: NOW, place: None });
    forge.expect_entry("out_of_scope", RITA, svens(), &submission);
    // What there is not.
    forge.expect_entry("unknown", RITA, fresh(3), &rita(start(9, None, 1, 1)));
    let none = DocId::from(VisitId::of_call(ORG, brand::call(40)));
    forge.expect_entry("unknown", RITA, none, &rita(start(1, Some(40), 1, 1)));
    forge.expect_entry("invalid", RITA, fresh(5), &observe(brand::RITA, vec![met(true)]));
    // A planned call under another visit's name, and at another outlet.
    forge.expect_entry("invalid", RITA, fresh(6), &rita(start(1, Some(4), 1, 1)));
    let call = DocId::from(VisitId::of_call(ORG, brand::call(4)));
    forge.expect_entry("wrong_start", RITA, call, &rita(start(2, Some(4), 1, 2)));
    // Without its call, so that nobody else can begin it as planned.
    forge.expect_entry("invalid", RITA, call, &rita(start(1, None, 1, 1)));
    // A visit that has begun elsewhere.
    forge.expect_entry("invalid", RITA, shared(), &rita(start(2, Some(0), 1, 2)));
    // An outlet's report from elsewhere.
    let report = |territory| {
        Entry::Report(OutletReport {
            by: brand::RITA,
            when: NOW,
            place: None,
            name: "Kiosk".into(),
            address: "Harbour 1".into(),
            territory: brand::territory(territory),
            distributor: brand::distributor(1),
            note: None,
            photos: Vec::new(),
            volume: None,
        })
    };
    forge.expect_entry("out_of_scope", RITA, brand::outlet(3).into(), &report(1));
    let kiosk = DocId::from(OutletId::from_bytes([0x99; 16]));
    forge.expect_entry("out_of_scope", RITA, kiosk, &report(2));
}

/// Volumes of an outlet's history that nothing leads to.
#[test]
fn a_volume_that_does_not_follow() {
    let mut forge = Forge::new();
    let outlet = brand::outlet(1);
    let begins = |volume: Option<Volume>| {
        Entry::Report(OutletReport {
            by: brand::RITA,
            when: NOW,
            place: None,
            name: "Kiosk".into(),
            address: "Harbour 1".into(),
            territory: brand::territory(1),
            distributor: brand::distributor(1),
            note: None,
            photos: Vec::new(),
            volume,
        })
    };
    let follows = |number, before: &[ChangeHash]| {
        begins(Some(Volume { outlet, number, before: before.to_vec() }))
    };
    forge.world.remembers(brand::SUE, outlet.into(), VOLUME_CHANGES);
    let document = forge.document(outlet.into());
    let heads = document.heads().to_vec();
    let short = document.changes()[VOLUME_CHANGES - 2].hash();
    let [one, two] = [1, 2].map(|number| DocId::volume(outlet, number));
    let elsewhere = DocId::volume(brand::outlet(2), 1);
    let stranger = ChangeHash([9; 32]);
    let genesis = document.genesis();
    for (code, id, entry) in [
        ("invalid", one, begins(None)),
        ("invalid", one, follows(0, &heads)),
        ("invalid", one, follows(2, &heads)),
        ("invalid", one, follows(1_001, &heads)),
        ("invalid", one, follows(u32::MAX, &heads)),
        ("invalid", elsewhere, follows(1, &heads)),
        ("invalid", outlet.into(), follows(1, &heads)),
        ("invalid", DocId::volume(outlet, 1_001), follows(1_001, &heads)),
        ("invalid", one, follows(1, &[])),
        ("invalid", one, follows(1, &[heads[0], heads[0]])),
        ("invalid", one, follows(1, &vec![heads[0]; 65])),
        ("invalid", one, follows(1, &[short])),
        ("missing_parent", one, follows(1, &[stranger])),
        ("missing_parent", one, follows(1, &[genesis])),
        ("missing_parent", two, follows(2, &heads)),
        // As if it were an outlet of its own that nobody lists.
        ("invalid", DocId::volume(outlet, 7), begins(None)),
        ("accepted", one, follows(1, &heads)),
        ("invalid", one, follows(1, &heads)),
        ("accepted", one, begins(None)),
        ("missing_parent", two, follows(2, &heads)),
    ] {
        forge.expect_entry(code, RITA, id, &entry);
    }
    let heads = forge.document(one).heads().to_vec();
    forge.expect_entry("invalid", RITA, two, &follows(2, &heads)); // too early
    // Who does not see the outlet begins no volume of its history.
    let Entry::Report(report) = follows(1, document.heads()) else { panic!("it is a report") };
    let entry = Entry::Report(OutletReport { by: brand::SVEN, ..report });
    forge.expect_entry("out_of_scope", SVEN, one, &entry);
}

#[test]
fn what_a_role_does_not_allow() {
    let mut forge = Forge::new();
    let heads = forge.document(shared()).heads().to_vec();
    let review = |by, heads: &[ChangeHash]| {
        let (heads, comment) = (heads.to_vec(), None);
        Entry::Review(Review { by, when: NOW, verdict: Verdict::Approved, heads, comment })
    };
    let sue = 3;
    forge.expect_entry("no_right", RITA, shared(), &review(brand::RITA, &heads));
    forge.expect_entry("no_right", SAM, shared(), &review(brand::SAM, &heads));
    forge.expect_entry("not_in_past", sue, shared(), &review(brand::SUE, &[ChangeHash([1; 32])]));
    forge.expect_entry("invalid", sue, shared(), &review(brand::SUE, &[]));
    // A supervisor records nothing, and settles what there is.
    forge.expect_entry("no_right", sue, shared(), &observe(brand::SUE, vec![met(true)]));
    let other = Observation { check: 99, ..met(true) };
    let both = [forge.rita_recorded, forge.sam_recorded].to_vec();
    let settle = |facts| recording(brand::SUE, Act::Observe(observed(facts, both.clone())));
    forge.expect_entry("no_right", sue, shared(), &settle(vec![met(true), other]));
    let start = recording(
        brand::SUE,
        Act::Start {
            outlet: brand::outlet(1),
            call: None,
            territory: brand::territory(1),
            distributor: brand::distributor(1),
            template: Versioned { number: 1, version: 1 },
        },
    );
    forge.expect_entry("no_right", sue, VisitId::from_bytes([1; 16]).into(), &start);
    let submission = Entry::Submission(Submission { by: brand::SUE, when: NOW, place: None });
    forge.expect_entry("no_right", sue, shared(), &submission);
    // Submitted work can be corrected, not taken back; others' work neither.
    let withdraw = |by, recordings| recording(by, Act::Withdraw { recordings });
    let (own, sams) = (vec![forge.rita_recorded], vec![forge.sam_recorded]);
    let submitted = vec![forge.rita_submitted];
    forge.expect_entry("no_right", RITA, shared(), &withdraw(brand::RITA, own));
    forge.expect_entry("no_right", RITA, shared(), &withdraw(brand::RITA, sams));
    forge.expect_entry("no_right", RITA, shared(), &withdraw(brand::RITA, submitted));
    forge.expect_entry("no_right", RITA, shared(), &recording(brand::RITA, Act::Abandon {}));
    forge.expect_entry("accepted", sue, shared(), &settle(vec![met(true)]));
    forge.expect_entry("accepted", sue, shared(), &review(brand::SUE, &heads));
}

#[test]
fn numbers_at_the_end_of_their_range() {
    let mut forge = Forge::new();
    let ends = [i64::MIN, -1, 0, i64::MAX];
    for (wall_ms, skew_ms) in ends.iter().flat_map(|a| ends.iter().map(|b| (*a, Some(*b)))) {
        for anchor in [0, 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            let when =
                Moment { wall_ms, boot: u32::MAX, boot_ms: u64::MAX, anchor, skew_ms, life: None };
            let act = Act::Observe(observed(vec![met(true)], Vec::new()));
            let entry = Entry::Recording(Recording { by: brand::RITA, when, place: None, act });
            let parts = forge.parts(RITA, shared(), &entry);
            let mut push = forge.push(vec![forge.group(RITA, shared(), vec![parts])]);
            push.now = Moment { boot_ms: anchor, ..when };
            assert_eq!(forge.send(RITA, &push), ["accepted"]);
        }
    }
    for held in forge.world.server.documents().into_iter().map(|id| forge.world.server.held(id)) {
        for time in held.times.values() {
            assert!(time.earliest_ms <= time.claimed_ms && time.claimed_ms <= time.latest_ms);
        }
    }
}

#[test]
fn one_bad_document_does_not_spoil_the_others_of_a_push() {
    let mut forge = Forge::new();
    let good = forge.parts(RITA, shared(), &observe(brand::RITA, vec![met(true)]));
    let bad = forge.parts(RITA, svens(), &observe(brand::RITA, vec![met(true)]));
    let good = forge.group(RITA, shared(), vec![good]);
    let bad = forge.group(RITA, svens(), vec![bad]);
    let push = forge.push(vec![bad.clone(), good.clone(), good.clone(), bad]);
    let expected = ["out_of_scope", "accepted", "accepted", "out_of_scope"];
    assert_eq!(forge.send(RITA, &push), expected);
    assert_eq!(forge.world.server.times_logged(shared(), good.changes[0].hash()), 1);
}

#[test]
fn a_group_is_taken_whole_or_not_at_all() {
    let mut forge = Forge::new();
    let actor = forge.device(RITA).disk.profile().actor;
    let mut document = forge.document(shared());
    let first = document.next(actor, &observe(brand::RITA, vec![met(true)])).expect("a change");
    document.insert(first.clone()).expect("it fits");
    let (verdict, heads) = (Verdict::Approved, document.heads().to_vec());
    let review = Review { by: brand::RITA, when: NOW, verdict, heads, comment: None };
    let second = document.next(actor, &Entry::Review(review)).expect("a change");
    let parts = vec![Parts::clone(&first), Parts::clone(&second)];
    let group = forge.group(RITA, shared(), parts);
    forge.expect("no_right", RITA, group);
    assert_eq!(forge.world.server.times_logged(shared(), first.hash()), 0);
    // Nor does its good beginning come in by itself later: somebody has to decide on the whole.
    let beginning = forge.group(RITA, shared(), vec![Parts::clone(&first)]);
    forge.expect("no_right", RITA, beginning);
    assert_eq!(forge.world.server.times_logged(shared(), first.hash()), 0);
}
