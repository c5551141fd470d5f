//! As much as may be: of words, of bytes, of values, of refused work. Whatever one phone sends, the others' answers stay
//! short, the disk is not filled, and what is said by honest people still has room.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::params;
use server::ingest::{ActError, Ingest, open};
use server::store::log::{self, Ledger};
use server::store::reader::Reader;
use server::store::signals::{self, Reference};
use server::store::uploads::Named;
use server::store::visits::PhotoRow;
use server::store::{quarantine, uploads};
use sync_core::admit::{Author, admit, read};
use sync_core::cargo::{Cargo, Load, Parcel};
use sync_core::client::{Replica, next_pull};
use sync_core::command::{Command, CommandError};
use sync_core::document::{
    Change, DOCUMENT_BYTES_MAX, Document, Entry, Parts, Room, VALUE_BYTES_MAX, VOLUME_CHANGES,
};
use sync_core::id::{
    BlobHash, ChangeHash, DeviceId, DistributorId, DocId, OutletId, TerritoryId, UserId, VisitId,
};
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::catalogue::{Distributor, Record, RecordKey};
use sync_core::model::contest::{About, Objection, Word};
use sync_core::model::people::{Rights, Role, Scope};
use sync_core::model::visit::{
    Act, Note, Observation, Observations, Observed, OutletReport, PhotoRef, Post, Recording,
    Subject, Value, Versioned, Volume,
};
use sync_core::print::Item;
use sync_core::session::Step;
use sync_core::wire::{Delivery, Group, Outcome, PROTOCOL, ParcelBytes, PullReply, PushRequest};
use tests::backend::{Crash, code, encode};
use tests::brand::{self, ORG};
use tests::device::Crash as PhoneCrash;
use tests::world::World;

const RITA: usize = 0;
const SAM: usize = 1;
const SVEN: usize = 2;
/// Longest answer that any of this may lead to: a page, a document that came on top of a full one, and a commit that did
/// not fit the page's end.
const ANSWER_BYTES_MAX: usize = 16 << 20;

fn now(world: &World) -> Moment {
    Moment { wall_ms: world.now_ms, boot: 1, boot_ms: 1, anchor: 0, skew_ms: None, life: None }
}

fn post(world: &World, by: UserId, note: &Note) -> Entry {
    let (when, text) = (now(world), note.digest());
    Entry::Post(Post::new(by, when, text))
}

fn long_note(number: u32) -> Note {
    Note::new(&format!("{number:04} {}", "x".repeat(3_990)), [7; 16]).expect("a note")
}

fn start(world: &World, outlet: u8, by: UserId) -> Entry {
    let (at, from) = (1 + (outlet - 1) / 2, 1 + (outlet - 1) % 2);
    let act = Act::Start {
        outlet: brand::outlet(outlet),
        call: None,
        territory: brand::territory(at),
        distributor: brand::distributor(from),
        template: Versioned { number: 1, version: 1 },
    };
    Entry::Recording(Recording { by, when: now(world), place: None, act })
}

/// What Rita says to so many questions.
fn answers(world: &World, first: u32, values: impl Iterator<Item = Value>) -> Entry {
    answers_of(world, brand::RITA, first, values)
}

fn answers_of(world: &World, by: UserId, first: u32, values: impl Iterator<Item = Value>) -> Entry {
    let facts = values.zip(first..).map(|(value, check)| {
        let subject = Subject::Outlet;
        Observation { check, subject, value }
    });
    let act = Act::Observe(Observed {
        template: Versioned { number: 1, version: 1 },
        planograms: Vec::new(),
        price_list: None,
        observations: Observations(facts.collect()),
        photos: Vec::new(),
        supersedes: Vec::new(),
    });
    Entry::Recording(Recording { by, when: now(world), place: None, act })
}

/// An entry with so many bytes under a key that nobody knows, as a later version may have.
fn padded(mut parts: Parts, bytes: u16) -> Parts {
    parts.value[0] += 1;
    parts.value.extend([0x18, 0x63, 0x59]);
    parts.value.extend(bytes.to_be_bytes());
    parts.value.resize(parts.value.len() + usize::from(bytes), 0);
    parts
}

/// The next changes of a device in a document, on top of what `document` holds.
fn write(
    world: &World,
    device: usize,
    document: &mut Document,
    entries: &[Entry],
    padding: u16,
) -> Vec<Change> {
    let actor = world.devices[device].disk.profile().actor;
    let changes = entries.iter().map(|entry| {
        let change = document.next(actor, entry).expect("a change");
        let change = match padding {
            0 => change,
            padding => Change::new(document.id().kind, padded(Parts::clone(&change), padding))
                .expect("a change"),
        };
        document.insert(change.clone()).expect("it fits");
        change
    });
    changes.collect()
}

fn sealed(world: &World, device: usize, document: DocId, changes: Vec<Change>) -> Group {
    let head = changes.last().expect("a change").hash();
    let seals = vec![world.devices[device].keypair.seal(ORG, document, head)];
    Group { document, changes, seals }
}

fn send(world: &mut World, groups: Vec<Group>, notes: Vec<Note>) -> Vec<String> {
    send_from(world, RITA, groups, notes)
}

fn send_from(
    world: &mut World,
    device: usize,
    groups: Vec<Group>,
    notes: Vec<Note>,
) -> Vec<String> {
    let (id, now_ms) = (world.devices[device].id, world.now_ms);
    let push = PushRequest { protocol: PROTOCOL, now: now(world), previous: None, groups, notes };
    let reply = world.server.push(id, &encode(&push), now_ms, Crash::Never).expect("a reply");
    reply.outcomes.iter().map(|outcome| code(outcome).to_owned()).collect()
}

fn visit(number: u32) -> DocId {
    let mut id = [0x77; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    (id[6], id[8]) = (0x70, 0x80);
    VisitId::from_bytes(id).into()
}

/// What a phone is answered until there is no more, without taking any of it in.
fn pages(world: &mut World, device: usize) -> Vec<PullReply> {
    let (id, now_ms) = (world.devices[device].id, world.now_ms);
    let Ok(mut ask) = next_pull(&world.devices[device].disk);
    let mut pages: Vec<PullReply> = Vec::new();
    while pages.last().is_none_or(|page| page.more) {
        let page = world.server.pull(id, &encode(&ask), now_ms).expect("a page");
        assert!(encode(&page).len() < ANSWER_BYTES_MAX, "{} bytes", encode(&page).len());
        (ask.cursor, ask.filled) = (Some(page.cursor), page.filled);
        pages.push(page);
    }
    pages
}

#[test]
fn words_that_a_thousand_answers_name_travel_once() {
    let mut world = World::new(7);
    let (id, note) = (visit(1), long_note(1));
    let mut document = Document::new(ORG, id);
    let mut entries = vec![start(&world, 1, brand::RITA)];
    for round in 0..37 {
        let said = std::iter::repeat_n(Value::Text(note.digest()), 1_000);
        entries.push(answers(&world, 1_000 * round, said));
    }
    let changes = write(&world, RITA, &mut document, &entries, 0);
    let group = sealed(&world, RITA, id, changes);
    assert_eq!(send(&mut world, vec![group], vec![note.clone()]), ["accepted"]);
    let pages = pages(&mut world, SAM);
    let notes: Vec<&Note> = pages.iter().flat_map(|page| &page.notes).collect();
    assert_eq!(notes, [&note]);
    assert_eq!(world.sync_now(SAM), Step::Done);
    assert!(world.devices[SAM].document(id).is_some());
}

#[test]
fn words_count_in_a_page_wherever_they_came_from() {
    let mut world = World::new(7);
    let said = |notes: &[Note]| {
        let digests: Vec<_> = notes.iter().map(|note| Value::Text(note.digest())).collect();
        digests.into_iter()
    };
    let mut all = Vec::new();
    for number in 0..8 {
        let notes: Vec<Note> = (1_000 * number..1_000 * number + 770).map(long_note).collect();
        let id = visit(number);
        let entries = [start(&world, 1, brand::RITA), answers(&world, 0, said(&notes))];
        let changes = write(&world, RITA, &mut Document::new(ORG, id), &entries, 0);
        let group = sealed(&world, RITA, id, changes);
        assert_eq!(send(&mut world, vec![group], notes.clone()), ["accepted"]);
        all.push(notes);
    }
    // What is here already is only named: a small push that nobody could take in at once.
    let groups: Vec<Group> = (0..8)
        .map(|number| {
            let id = visit(100 + number);
            let notes = &all[number as usize];
            let entries = [start(&world, 1, brand::RITA), answers(&world, 0, said(notes))];
            sealed(&world, RITA, id, write(&world, RITA, &mut Document::new(ORG, id), &entries, 0))
        })
        .collect();
    assert_eq!(send(&mut world, groups, Vec::new()), ["accepted"; 8]);
    assert!(pages(&mut world, SAM).len() > 7);
    assert_eq!(world.sync_now(SAM), Step::Done);
    for number in (0..8).chain(100..108) {
        assert!(world.devices[SAM].document(visit(number)).is_some(), "{number}");
    }
    // And one document cannot name more of them than an answer holds.
    let notes: Vec<Note> = (0..8_000).step_by(7).map(long_note).collect();
    let mut document = Document::new(ORG, visit(200));
    let entries = [
        start(&world, 1, brand::RITA),
        answers(&world, 0, said(&notes[..600])),
        answers(&world, 1_000, said(&notes[600..])),
    ];
    let changes = write(&world, RITA, &mut document, &entries, 0);
    let group = sealed(&world, RITA, visit(200), changes);
    assert_eq!(send(&mut world, vec![group], notes), ["full"]);
}

/// Writes in a volume of an outlet's history until the server says that it is full; returns it.
fn fill(world: &mut World, device: usize, outlet: u8, number: u32) -> Document {
    let outlet = brand::outlet(outlet);
    let by = [brand::RITA, brand::SAM][device];
    let id = DocId::volume(outlet, number);
    let actor = world.devices[device].disk.profile().actor;
    let longest = u16::try_from(VALUE_BYTES_MAX - 400).expect("two bytes");
    let mut document = world.server.held(id).document;
    for (count, padding) in [(8, longest), (1, longest), (32, 0), (1, 0)] {
        // The same would be said already, by another key, or be the beginning of what was refused.
        let note = Note::new(&format!("{actor:?} {count} {padding}"), [7; 16]).expect("a note");
        loop {
            let mut longer = document.clone();
            let mut entries = vec![post(world, by, &note); count];
            if number > 0 && longer.newest_of(actor).is_none() {
                let before = world.server.held(DocId::volume(outlet, number - 1)).document;
                let volume = Volume { outlet, number, before: before.heads().to_vec() };
                entries[0] = entries[0].clone().in_volume(Some(volume));
            }
            let changes = write(world, device, &mut longer, &entries, padding);
            let group = sealed(world, device, id, changes);
            match send_from(world, device, vec![group], vec![note.clone()])[0].as_str() {
                "accepted" => document = longer,
                code => break assert_eq!(code, "full"),
            }
        }
    }
    document
}

#[test]
fn a_document_that_one_has_filled_has_room_for_others_and_two_leave_some_for_the_console() {
    let mut world = World::new(7);
    world.come_to_rest();
    let just_below = |most: usize| most - 8_192..=most;
    let bytes = fill(&mut world, RITA, 1, 0).size().bytes();
    assert!(just_below(DOCUMENT_BYTES_MAX / 4 * 3).contains(&bytes), "{bytes}");
    // Another phone of hers has none of the room that is left.
    let next = DeviceId::from_bytes([0x99; 16]);
    world.devices[RITA].renew(next);
    let (key, now_ms) = (world.devices[RITA].keypair.public(), world.now_ms);
    world.server.enrol(next, brand::RITA, key, now_ms);
    assert_eq!(fill(&mut world, RITA, 1, 0).size().bytes(), bytes);
    let document = fill(&mut world, SAM, 1, 0);
    let bytes = document.size().bytes();
    assert!(just_below(DOCUMENT_BYTES_MAX - (1 << 18)).contains(&bytes), "{bytes}");
    // The server's own people still say something there.
    let (note, now_ms) = (Note::new("stop that", [3; 16]).expect("a note"), world.now_ms);
    let text = note.digest();
    let say = |when| {
        let by = brand::SUE;
        Entry::Post(Post::new(by, when, text))
    };
    world.server.act(document.id(), Some(&note), now_ms, say).expect("there is room");
    // Whoever is judged has none of that.
    let (more, text) = (Note::new("and more", [9; 16]).expect("a note"), note.digest());
    let say = |when| Entry::Post(Post::new(brand::SAM, when, text));
    let refused =
        world.server.act(document.id(), Some(&more), now_ms, say).expect_err("it is full");
    assert!(
        matches!(&refused, ActError::Refused(refusal) if refusal.code() == "full"),
        "{refused}"
    );
    // With another key too.
    world.server.change_key(now_ms);
    let (note, now_ms) = (Note::new("once more", [5; 16]).expect("a note"), world.now_ms);
    let text = note.digest();
    let say = |when| {
        let by = brand::SUE;
        Entry::Post(Post::new(by, when, text))
    };
    world.server.act(document.id(), Some(&note), now_ms, say).expect("there is still room");
    // Everybody gets it, and goes on.
    assert_eq!(world.sync_now(SAM), Step::Done);
    let text = Note::new("what is going on here", [4; 16]).expect("a note");
    let command = Command::CommentOutlet { outlet: brand::outlet(1), text };
    let said = world.act(SAM, PhoneCrash::Never, command).expect("it is said");
    assert_eq!(world.sync_now(SAM), Step::Done);
    let volume = world.server.held(DocId::volume(brand::outlet(1), 1));
    assert!(volume.document.contains(said));
}

#[test]
fn a_document_holds_so_many_values() {
    let mut world = World::new(7);
    let id = visit(3);
    let mut document = Document::new(ORG, id);
    let entries = [start(&world, 1, brand::RITA)];
    let changes = write(&world, RITA, &mut document, &entries, 0);
    let group = sealed(&world, RITA, id, changes);
    assert_eq!(send(&mut world, vec![group], Vec::new()), ["accepted"]);
    let mut taken = 0;
    // One has three quarters, with what is left for submissions; two have what is not the console's.
    for (device, by, most) in [(RITA, brand::RITA, 37_000), (SAM, brand::SAM, 49_000)] {
        loop {
            let said = std::iter::repeat_n(Value::YesNo(true), 1_000);
            let entry = answers_of(&world, by, taken, said);
            let changes = write(&world, device, &mut document.clone(), &[entry], 0);
            let group = sealed(&world, device, id, changes.clone());
            match send_from(&mut world, device, vec![group], Vec::new())[0].as_str() {
                "accepted" => taken += 1_000,
                code => break assert_eq!(code, "full"),
            }
            let written = changes.into_iter().next().expect("a change");
            document.insert(written).expect("it fits");
        }
        assert_eq!(taken, most);
    }
    // A phone says so before it writes, and somebody may still say what is wrong.
    assert_eq!(world.sync_now(SAM), Step::Done);
    let fact = Observation { check: 1, subject: Subject::Display(1), value: Value::Met(true) };
    let visit = id.visit().expect("a visit");
    let record =
        Command::Record { visit, observations: vec![fact], photos: Vec::new(), notes: Vec::new() };
    let now_ms = world.now_ms;
    match world.devices[SAM].act(now_ms, PhoneCrash::Never, record) {
        Err(CommandError::Refused(refusal)) => assert_eq!(refusal.code(), "full"),
        other => panic!("{other:?}"),
    }
    let text = Note::new("this was never a visit", [4; 16]).expect("a note");
    let comment = Command::Comment { visit, text, answers: None };
    world.act(SAM, PhoneCrash::Never, comment).expect("it is said");
    assert_eq!(world.sync_now(SAM), Step::Done);
}

#[test]
fn long_documents_that_come_to_others_come_in_answers_that_they_can_take() {
    let mut world = World::new(7);
    world.come_to_rest();
    let volumes = [(1, 0), (1, 1), (1, 2), (2, 0)];
    let documents = volumes.map(|(outlet, number)| {
        let document = fill(&mut world, RITA, outlet, number);
        // The other is not his.
        if outlet == 1 { fill(&mut world, SAM, outlet, number) } else { document }
    });
    let now_ms = world.now_ms;
    let moved = [1, 2].map(|outlet| brand::outlet_record(outlet, 2, 1 + (outlet - 1) % 2));
    world.server.write(moved.into(), now_ms);
    assert!(pages(&mut world, SVEN).iter().any(|page| !page.groups.is_empty()));
    assert_eq!(world.sync_now(SVEN), Step::Done);
    for document in &documents {
        let kept = world.devices[SVEN].document(document.id()).expect("it came");
        assert_eq!(kept.document.changes().len(), document.changes().len());
    }
}

#[test]
fn refused_work_is_kept_up_to_a_limit_whatever_becomes_of_it() {
    let mut world = World::new(7);
    let note = Note::new("hello", [1; 16]).expect("a note");
    let kept = |world: &World| {
        let sql = "SELECT coalesce(sum(length(body)), 0), coalesce(sum(bytes), 0) FROM quarantine";
        let sums = world.server.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let (bodies, counted): (u64, u64) = sums.expect("a sum");
        assert!(bodies <= counted && counted <= 64 << 20, "{bodies} of {counted}");
        counted
    };
    // The same newest change again and again, each time with more before it.
    let mut full = false;
    for number in 0..14 {
        let id = visit(number);
        let mut document = Document::new(ORG, id);
        let entry = post(&world, brand::RITA, &note);
        let junk = write(&world, RITA, &mut document, &vec![entry; 100], 60_000);
        let head = junk.last().expect("a change").clone();
        let few = Group { document: id, changes: vec![head], seals: Vec::new() };
        let many = Group { document: id, changes: junk, seals: Vec::new() };
        assert_eq!(send(&mut world, vec![few], Vec::new()), ["bad_seal"]);
        full |= send(&mut world, vec![many], Vec::new()) == ["quarantine_full"];
        kept(&world);
    }
    assert!(full);
    // What is refused for want of room is no reason not to take what is good beside it.
    let (good, bad) = (visit(100), visit(101));
    let begin = start(&world, 1, brand::RITA);
    let good =
        sealed(&world, RITA, good, write(&world, RITA, &mut Document::new(ORG, good), &[begin], 0));
    let entry = post(&world, brand::RITA, &note);
    let mut junk = write(&world, RITA, &mut Document::new(ORG, bad), &vec![entry; 100], 60_000);
    let junk = Group { document: bad, changes: junk.split_off(1), seals: Vec::new() };
    let outcomes = send(&mut world, vec![junk, good], vec![note.clone()]);
    assert_eq!(outcomes, ["quarantine_full", "accepted"]);
    // Another key of the same person has no room of its own.
    let next = DeviceId::from_bytes([0x99; 16]);
    world.devices[RITA].renew(next);
    let (key, before) = (world.devices[RITA].keypair.public(), world.now_ms);
    world.server.enrol(next, brand::RITA, key, before);
    let entry = post(&world, brand::RITA, &note);
    let mut junk = write(&world, RITA, &mut Document::new(ORG, bad), &vec![entry; 100], 60_000);
    let junk = Group { document: bad, changes: junk.split_off(1), seals: Vec::new() };
    assert_eq!(send(&mut world, vec![junk], Vec::new()), ["quarantine_full"]);
}

#[test]
fn what_was_proposed_again_is_kept_and_counts() {
    let mut world = World::new(7);
    let note = Note::new("hello", [1; 16]).expect("a note");
    let mut outcomes = BTreeSet::new();
    for number in 0..24 {
        let id = visit(number);
        let mut document = Document::new(ORG, id);
        let begin = [start(&world, 1, brand::RITA)];
        let group = sealed(&world, RITA, id, write(&world, RITA, &mut document, &begin, 0));
        assert_eq!(send(&mut world, vec![group], Vec::new()), ["accepted"]);
        // Refused for its last change; then something good lets it go.
        let mut other = document.clone();
        let mut entries = vec![post(&world, brand::RITA, &note); 50];
        entries.push(post(&world, brand::SAM, &note));
        let group = sealed(&world, RITA, id, write(&world, RITA, &mut other, &entries, 60_000));
        outcomes.extend(send(&mut world, vec![group], vec![note.clone()]));
        let entry = [post(&world, brand::RITA, &note)];
        let group = sealed(&world, RITA, id, write(&world, RITA, &mut document, &entry, 0));
        assert_eq!(send(&mut world, vec![group], vec![note.clone()]), ["accepted"]);
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["foreign_person", "quarantine_full"]);
    let sql = "SELECT sum(length(body)) FROM quarantine WHERE state = 'proposed_again'";
    let bodies: u64 = world.server.db.query_row(sql, [], |row| row.get(0)).expect("a sum");
    assert!((32 << 20..64 << 20).contains(&bodies), "{bodies}");
}

fn audiences(world: &World) -> u64 {
    let sql = "SELECT count(*) FROM audience";
    world.server.db.query_row(sql, [], |row| row.get(0)).expect("a count")
}

/// Rita reports an outlet that nobody has listed.
fn report(
    world: &mut World,
    outlet: u8,
    territory: TerritoryId,
    distributor: DistributorId,
) -> Vec<String> {
    let report = Entry::Report(OutletReport {
        by: brand::RITA,
        when: now(world),
        place: None,
        name: "Kiosk".into(),
        address: "Harbour 1".into(),
        territory,
        distributor,
        note: None,
        photos: Vec::new(),
        volume: None,
    });
    let id = DocId::from(OutletId::from_bytes([0x90 + outlet; 16]));
    let changes = write(world, RITA, &mut Document::new(ORG, id), &[report], 0);
    let group = sealed(world, RITA, id, changes);
    send(world, vec![group], Vec::new())
}

#[test]
fn refused_work_of_a_pair_that_is_nowhere_is_kept_under_its_territory() {
    let mut world = World::new(7);
    let (before, now_ms) = (audiences(&world), world.now_ms);
    let distributors = (10..30_u8).map(|n| {
        let (id, name) = (brand::distributor(n), format!("Distributor {n}"));
        Record::Distributor(Distributor { id, name, gln: None })
    });
    world.server.write(distributors.collect(), now_ms);
    for n in 10..30 {
        let code = report(&mut world, n, brand::territory(2), brand::distributor(n));
        assert_eq!(code, ["out_of_scope"]);
    }
    assert_eq!(audiences(&world), before, "no pull looks at more than before");
    let sql = "SELECT count(*) FROM quarantine JOIN audience USING (org, audience)
         WHERE territory = ?1 AND state = 'waiting'";
    let there = [*brand::territory(2).as_bytes()];
    assert_eq!(world.server.db.query_row(sql, there, |row| row.get(0)), Ok(20));
    // What may be makes its own.
    assert_eq!(report(&mut world, 30, brand::territory(1), brand::distributor(10)), ["accepted"]);
    assert_eq!(audiences(&world), before + 1);
}

#[test]
fn what_names_a_distributor_that_is_not_there_makes_nothing() {
    let mut world = World::new(7);
    let before = audiences(&world);
    for number in 0..20_u8 {
        let (none, nowhere) =
            (DistributorId::from_bytes([number; 16]), TerritoryId::from_bytes([number; 16]));
        for (territory, distributor) in
            [(brand::territory(1), none), (nowhere, brand::distributor(1)), (nowhere, none)]
        {
            assert_eq!(report(&mut world, number, territory, distributor), ["unknown"]);
        }
    }
    assert_eq!(audiences(&world), before);
}

#[test]
fn approving_lets_no_start_into_a_visit_that_began_elsewhere() {
    let mut world = World::new(7);
    world.come_to_rest();
    let id = visit(1);
    // Outlet 3 is not Rita's: a supervisor may say that it was all right.
    let begin = [start(&world, 3, brand::RITA)];
    let group =
        sealed(&world, RITA, id, write(&world, RITA, &mut Document::new(ORG, id), &begin, 0));
    assert_eq!(send(&mut world, vec![group], Vec::new()), ["out_of_scope"]);
    // But meanwhile it is Sven's visit, of another outlet.
    let (sven, now_ms) = (&world.devices[SVEN], world.now_ms);
    let actor = sven.disk.profile().actor;
    let change = Document::new(ORG, id).next(actor, &start(&world, 4, brand::SVEN));
    let changes = vec![change.expect("a change")];
    let seals = vec![sven.keypair.seal(ORG, id, changes[0].hash())];
    let groups = vec![Group { document: id, changes, seals }];
    let (previous, notes) = (None, Vec::new());
    let push = PushRequest { protocol: PROTOCOL, now: now(&world), previous, groups, notes };
    let sven = sven.id;
    let reply = world.server.push(sven, &encode(&push), now_ms, Crash::Never).expect("a reply");
    assert_eq!(reply.outcomes, [Outcome::Accepted {}]);
    assert!(world.server.decide(true, now_ms).is_err());
    let held = world.server.held(id).document;
    assert_eq!(held.changes().len(), 1);
    // Nor does the rule yield to a supervisor when it is told at once.
    let begin = [start(&world, 1, brand::RITA)];
    let group = sealed(&world, RITA, id, write(&world, RITA, &mut held.clone(), &begin, 0));
    assert_eq!(send(&mut world, vec![group], Vec::new()), ["invalid"]);
}

/// Reading a thousand values takes a quarter of a megabyte: as often as they are named, that would be a gigabyte.
#[test]
fn however_often_entries_are_named_each_is_read_once() {
    let world = World::new(7);
    let (role, scope) = (Role::DistributorStaff, Scope::Distributor(brand::distributor(1)));
    let rights = Rights { user: brand::RITA, role, scope };
    let author = Author { rights, key: world.devices[RITA].disk.profile().key };
    let actor = world.devices[RITA].disk.profile().actor;
    let field = &world.server.world;
    let mut document = Document::new(ORG, visit(1));
    let mut held = 0;
    let mut write = |entry: &Entry| {
        let change = document.next(actor, entry).expect("a change");
        let used = allocation_counter::measure(|| {
            let entry = read(&document, &change, Room::Device).expect("it reads");
            admit(&author, field, &document, None, &change, &entry).expect("it may be");
        });
        held += used.bytes_total;
        let hash = change.hash();
        document.insert(change).expect("it fits");
        hash
    };
    write(&start(&world, 1, brand::RITA));
    let says = |first| answers(&world, first, std::iter::repeat_n(Value::YesNo(true), 1_000));
    let named: Vec<ChangeHash> = (0..37).map(|_| write(&says(0))).collect();
    for _ in 0..50 {
        let act = Act::Withdraw { recordings: named.clone() };
        let (by, when) = (brand::RITA, now(&world));
        write(&Entry::Recording(Recording { by, when, place: None, act }));
        let about = Some(About { check: 999, subject: Subject::Outlet });
        let (seen, claim, photos) = (named.clone(), None, Vec::new());
        let word = Some(Word::Contest(Objection { about, seen, claim, photos }));
        let text = long_note(1).digest();
        write(&Entry::Post(Post { word, ..Post::new(by, when, text) }));
    }
    assert!(held < 64 << 20, "{held} bytes");
}

/// About how much SQLite does for something: tens of steps of its machine.
fn steps<T>(world: &mut World, run: impl FnOnce(&mut World) -> T) -> (u64, T) {
    let (count, counted) = (Arc::new(AtomicU64::new(0)), Ordering::Relaxed);
    let counts = Arc::clone(&count);
    let count_one = move || {
        counts.fetch_add(1, counted);
        false
    };
    world.server.db.progress_handler(10, Some(count_one)).expect("it is set");
    let result = run(world);
    world.server.db.progress_handler(0, None::<fn() -> bool>).expect("it is unset");
    (count.load(counted), result)
}

/// A visit of Rita's with some answers, pushed.
fn audit(world: &mut World, number: u32) {
    let mut document = Document::new(ORG, visit(number));
    let mut entries = vec![start(world, 1, brand::RITA)];
    entries.extend((0..5).map(|n| answers(world, 100 * n, (0..30).map(|_| Value::Met(true)))));
    let changes = write(world, RITA, &mut document, &entries, 0);
    let group = sealed(world, RITA, visit(number), changes);
    assert_eq!(send(world, vec![group], Vec::new()), ["accepted"]);
}

/// Sven brings what nobody has signed: one change each, of documents that nobody knows, or of this one.
fn refused(world: &mut World, from: u32, groups: u32, of: Option<DocId>) {
    let mut pushed = Vec::new();
    for number in from..from + groups {
        let id = of.unwrap_or_else(|| visit(number));
        let mut document = Document::new(ORG, id);
        let entry = answers(world, number, std::iter::once(Value::Met(true)));
        let changes = write(world, RITA, &mut document, &[entry], 0);
        pushed.push(Group { document: id, changes, seals: Vec::new() });
    }
    let codes = send_from(world, SVEN, pushed, Vec::new());
    assert!(codes.iter().all(|code| code == "bad_seal"), "{codes:?}");
}

#[test]
fn what_was_refused_before_costs_nobody_else_anything() {
    let mut world = World::new(1);
    let known = |world: &World| next_pull(&world.devices[SAM].disk).expect("a question");
    let pull = |world: &mut World| {
        let (id, question, now_ms) = (world.devices[SAM].id, encode(&known(world)), world.now_ms);
        world.server.pull(id, &question, now_ms).expect("a page");
    };
    assert_eq!(world.sync_now(SAM), Step::Done);
    audit(&mut world, 1);
    let (before, ()) = steps(&mut world, |world| audit(world, 2));
    assert_eq!(world.sync_now(SAM), Step::Done);
    let (asked_before, ()) = steps(&mut world, pull);
    for (round, state) in [(1, "discarded"), (2, "accepted"), (3, "waiting")] {
        refused(&mut world, 10_000 * round, 1_800, None);
        refused(&mut world, 500_000 + 10_000 * round, 90, Some(visit(3)));
        let decide = "UPDATE quarantine SET state = ?1, decided = 1 WHERE state = 'waiting'";
        world.server.db.execute(decide, [state]).expect("they are decided on");
        if state == "accepted" {
            let reset = "UPDATE quarantine SET bytes = 0";
            world.server.db.execute(reset, []).expect("there is room");
        }
    }
    let (after, ()) = steps(&mut world, |world| audit(world, 4));
    let (beside, ()) = steps(&mut world, |world| audit(world, 3));
    assert_eq!(world.sync_now(SAM), Step::Done);
    let (asked_after, ()) = steps(&mut world, pull);
    assert!(after * 10 <= before * 12, "{after} instead of {before}");
    // Of what is kept of the same document the names of the newest changes are looked at, and no more.
    assert!(beside <= before * 4, "{beside} instead of {before}");
    assert!(asked_after * 10 <= asked_before * 12, "{asked_after} instead of {asked_before}");
}

#[test]
fn refused_work_that_names_accepted_work_is_not_read_whenever_somebody_writes() {
    let mut world = World::new(1);
    (1..=2).for_each(|number| audit(&mut world, number));
    let writes = |world: &mut World, number: u32| {
        let mut document = world.server.held(visit(number)).document;
        let more = answers(world, 9_000_000, std::iter::once(Value::Met(true)));
        let changes = write(world, RITA, &mut document, &[more], 0);
        let group = sealed(world, RITA, visit(number), changes);
        let written = allocation_counter::measure(|| {
            assert_eq!(send(world, vec![group], Vec::new()), ["accepted"]);
        });
        written.bytes_total
    };
    // Each ends with what is accepted, and has hundreds before that never will be.
    let here = world.server.held(visit(1)).document;
    let behind = here.changes().iter().zip(1..).map(|(head, group)| {
        let entries =
            (0..500).map(|n| answers(&world, 10_000 * group + n, [Value::Met(true)].into_iter()));
        let entries: Vec<Entry> = entries.collect();
        let mut changes = write(&world, RITA, &mut Document::new(ORG, visit(1)), &entries, 0);
        changes.push(head.clone());
        Group { document: visit(1), changes, seals: Vec::new() }
    });
    let behind: Vec<Group> = behind.collect();
    let groups = behind.len();
    assert_eq!(send_from(&mut world, SVEN, behind, Vec::new()), vec!["bad_seal"; groups]);
    let (alone, beside) = (writes(&mut world, 2), writes(&mut world, 1));
    assert!(beside < 2 * alone, "{beside} bytes instead of {alone}");
}

#[test]
fn a_word_of_long_refused_work_does_not_read_all_of_it_again() {
    let mut world = World::new(1);
    audit(&mut world, 1);
    let mut ahead = Document::new(ORG, visit(2));
    let first = [start(&world, 1, brand::RITA)];
    write(&world, RITA, &mut ahead, &first, 0);
    let entries = (0..2_000).map(|n| answers(&world, 10_000 + n, [Value::Met(true)].into_iter()));
    let entries: Vec<Entry> = entries.collect();
    let long = write(&world, RITA, &mut ahead, &entries, 0);
    let newest = vec![long.last().expect("a change").clone()];
    let (long, newest) =
        (sealed(&world, RITA, visit(2), long), sealed(&world, RITA, visit(2), newest));
    assert_eq!(send(&mut world, vec![long.clone()], Vec::new()), ["missing_parent"]);
    let costs = |world: &mut World, group: &Group, code: &str| {
        let group = group.clone();
        allocation_counter::measure(|| assert_eq!(send(world, vec![group], Vec::new()), [code]))
            .bytes_total
    };
    let whole = costs(&mut world, &long, "missing_parent");
    let word = costs(&mut world, &newest, "missing_parent");
    assert!(word * 20 < whole, "{word} bytes, and {whole} for all of it");
    // Nor when it was discarded.
    let discard = "UPDATE quarantine SET state = 'discarded', code = 'no_right', decided = 1";
    world.server.db.execute(discard, []).expect("it is decided on");
    let mut beside = Document::new(ORG, visit(2));
    write(&world, RITA, &mut beside, &first, 0);
    let again = long.changes[0].clone();
    beside.insert(again.clone()).expect("it fits");
    let more =
        write(&world, RITA, &mut beside, &[answers(&world, 7, [Value::Met(true)].into_iter())], 0);
    let again = sealed(&world, RITA, visit(2), [vec![again], more].concat());
    let again = costs(&mut world, &again, "no_right");
    assert!(again * 20 < whole, "{again} bytes, and {whole} for all of it");
}

#[test]
fn what_waits_of_an_outlet_is_decided_on_where_the_outlet_is() {
    let mut world = World::new(1);
    let (id, note) = (DocId::from(brand::outlet(1)), long_note(1));
    let entry = post(&world, brand::RITA, &note);
    let changes = write(&world, RITA, &mut Document::new(ORG, id), &[entry], 0);
    let group = Group { document: id, changes, seals: Vec::new() };
    assert_eq!(send_from(&mut world, SVEN, vec![group], vec![note]), ["bad_seal"]);
    let sees = |world: &World| {
        let audience = "SELECT audience FROM quarantine WHERE document = ?1";
        let db = &world.server.db;
        let audience = db.query_row(audience, [id.to_bytes()], |row| row.get(0)).expect("it waits");
        log::audience_of(db, world.server.org, audience).expect("it reads").expect("an audience")
    };
    assert!(world.server.sees(brand::RITA, &sees(&world)));
    let now_ms = world.now_ms;
    world.server.write(vec![brand::outlet_record(1, 2, 2)], now_ms);
    assert!(!world.server.sees(brand::RITA, &sees(&world)), "it went with its outlet");
    assert!(world.server.sees(brand::SVEN, &sees(&world)));
}

#[test]
fn what_was_let_go_of_is_counted_once_for_a_page_and_named_to_who_had_it() {
    let mut world = World::new(1);
    assert_eq!(world.sync_now(SAM), Step::Done);
    let question = encode(&next_pull(&world.devices[SAM].disk).expect("a question"));
    let pull = |world: &mut World| {
        let (id, now_ms) = (world.devices[SAM].id, world.now_ms);
        world.server.pull(id, &question, now_ms).expect("a page")
    };
    (1..=40).for_each(|number| audit(&mut world, number));
    let (before, _) = steps(&mut world, pull);
    let let_go = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
         INSERT INTO moved SELECT l.org, l.sequence, CAST(substr(l.document, 1, 1) || randomblob(16) AS BLOB), 1,
             l.audience, 0
         FROM n, (SELECT * FROM log WHERE document = ?1 ORDER BY sequence DESC LIMIT 1) l";
    let visits = world.server.db.execute(let_go, [visit(40).to_bytes()]).expect("they are let go");
    let (after, reply) = steps(&mut world, pull);
    assert_eq!((visits, reply.let_go), (4_000, None), "Sam had none of them");
    assert!(after <= before + 10 * visits as u64, "{after} instead of {before}");
}

#[test]
fn what_one_record_or_refused_piece_costs_is_not_the_length_of_the_log() {
    let mut world = World::new(1);
    refused(&mut world, 10_000, 90, None);
    let whole = |world: &mut World| {
        let reader = Reader::open(&world.server.db, world.server.org).expect("the log opens");
        let audiences = reader.audiences(|_| true).expect("audiences");
        let wanted = [Item::Record(RecordKey::person(brand::RITA))];
        reader.whole(&audiences, &wanted).expect("a record").records.len()
    };
    let kept = |world: &mut World| {
        let mut count = 0;
        quarantine::kept(&world.server.db, world.server.org, |_| count += 1).expect("it reads");
        count
    };
    (1..=3).for_each(|number| audit(&mut world, number));
    let before = [steps(&mut world, whole), steps(&mut world, kept)];
    (4..=90).for_each(|number| audit(&mut world, number));
    let after = [steps(&mut world, whole), steps(&mut world, kept)];
    for ((before, count), (after, still)) in before.into_iter().zip(after) {
        assert_eq!(count, still);
        assert!(after * 10 <= before * 15 + 100, "{after} instead of {before}");
    }
}

#[test]
fn what_was_refused_waits_a_hundred_times_in_one_document_at_most() {
    let mut world = World::new(1);
    refused(&mut world, 1, 100, Some(visit(3)));
    let entry = [answers(&world, 7_000, std::iter::once(Value::Met(true)))];
    let changes = write(&world, RITA, &mut Document::new(ORG, visit(3)), &entry, 0);
    let one_more = Group { document: visit(3), changes, seals: Vec::new() };
    let changes = write(&world, RITA, &mut Document::new(ORG, visit(4)), &entry, 0);
    let elsewhere = Group { document: visit(4), changes, seals: Vec::new() };
    let codes = send_from(&mut world, SVEN, vec![one_more.clone(), elsewhere], Vec::new());
    assert_eq!(codes, ["quarantine_full", "bad_seal"]);
    // Another phone of the same person has no hundred of its own.
    let (next, before) = (DeviceId::from_bytes([0x98; 16]), world.now_ms);
    world.devices[SVEN].renew(next);
    let key = world.devices[SVEN].keypair.public();
    world.server.enrol(next, brand::SVEN, key, before);
    assert_eq!(send_from(&mut world, SVEN, vec![one_more], Vec::new()), ["quarantine_full"]);
}

#[test]
fn a_document_is_read_once_however_many_groups_of_it_come() {
    let mut world = World::new(1);
    let id = visit(1);
    let mut document = Document::new(ORG, id);
    let entries = |world: &World, first: u32, count: u32| {
        let values = || std::iter::once(Value::Met(true));
        (first..first + count).map(|n| answers(world, n, values())).collect::<Vec<_>>()
    };
    let mut all = vec![start(&world, 1, brand::RITA)];
    all.extend(entries(&world, 1, 600));
    let group = write(&world, RITA, &mut document, &all, 0);
    let group = sealed(&world, RITA, id, group);
    assert_eq!(send(&mut world, vec![group], Vec::new()), ["accepted"]);
    let more = entries(&world, 2_000, 200);
    let more = write(&world, RITA, &mut document, &more, 0);
    let (one, two) = more.split_at(100);
    let whole = vec![sealed(&world, RITA, id, one.to_vec())];
    let (whole, outcomes) = steps(&mut world, |world| send(world, whole, Vec::new()));
    assert_eq!(outcomes, ["accepted"]);
    let single: Vec<Group> =
        two.iter().map(|c| sealed(&world, RITA, id, vec![c.clone()])).collect();
    let (single, outcomes) = steps(&mut world, |world| send(world, single, Vec::new()));
    assert_eq!(outcomes, ["accepted"; 100]);
    assert!(single <= whole * 3, "{single} instead of {whole}");
}

#[test]
fn what_must_be_read_for_work_counts_in_a_transaction() {
    let mut world = World::new(1);
    (1..=12).for_each(|number| audit(&mut world, number));
    let groups: Vec<Group> = (1..=12)
        .map(|number| {
            let mut document = world.server.held(visit(number)).document;
            let more = answers(&world, 2_000, std::iter::once(Value::Met(true)));
            let changes = write(&world, RITA, &mut document, &[more], 0);
            sealed(&world, RITA, visit(number), changes)
        })
        .collect();
    // Six changes are read for each of one change, of which eight are taken at once when nothing is read.
    assert_eq!(send(&mut world, groups.clone(), Vec::new()), ["accepted"; 12]);
    assert_eq!(world.server.taken, 6);
    // So also for what is there, and for what a courier brings.
    assert_eq!(send(&mut world, groups.clone(), Vec::new()), ["accepted"; 12]);
    assert_eq!(world.server.taken, 12);
    let (rita, to) = (&world.devices[RITA], world.server.console.keypair.public());
    let parcels = groups.into_iter().map(|group| {
        let cargo = Cargo { protocol: PROTOCOL, load: Load::Work(group, Vec::new()) };
        let parcel = Parcel::seal(ORG, rita.id, &rita.keypair, &to, &cargo).expect("it is short");
        let parcel = ParcelBytes(parcel.as_bytes().to_vec());
        open(ORG, &world.server.console, &world.server.world, &parcel)
    });
    let (parcels, courier) = (parcels.collect::<Vec<_>>(), world.devices[SAM].id);
    let (field, now_ms) = (world.server.world.clone(), world.now_ms);
    let tx = world.server.db.transaction().expect("a transaction");
    let mut ledger = Ledger::open(&tx, world.server.org).expect("the ledger opens");
    let mut ingest = Ingest { ledger: &mut ledger, org: ORG, world: &field, now_ms };
    let taken = ingest.cargo(courier, &parcels, 16).expect("it is taken");
    assert_eq!(taken, [Delivery::Taken {}, Delivery::Taken {}]);
    let taken = ingest.cargo(courier, &parcels[2..], usize::MAX).expect("it is taken");
    assert_eq!(taken.len(), 10);
}

#[test]
fn what_a_volume_follows_counts_in_a_transaction() {
    let mut world = World::new(1);
    let note = long_note(1);
    let mut groups = Vec::new();
    for outlet in 1..=2 {
        let outlet = brand::outlet(outlet);
        let mut document = Document::new(ORG, outlet.into());
        let entries = vec![post(&world, brand::RITA, &note); VOLUME_CHANGES];
        let changes = write(&world, RITA, &mut document, &entries, 0);
        let group = sealed(&world, RITA, outlet.into(), changes);
        assert_eq!(send(&mut world, vec![group], vec![note.clone()]), ["accepted"]);
        let volume = Volume { outlet, number: 1, before: document.heads().to_vec() };
        let begins = post(&world, brand::RITA, &note).in_volume(Some(volume));
        let id = DocId::volume(outlet, 1);
        let changes = write(&world, RITA, &mut Document::new(ORG, id), &[begins], 0);
        groups.push(sealed(&world, RITA, id, changes));
    }
    assert_eq!(send(&mut world, groups, vec![note]), ["accepted"; 2]);
    assert_eq!(world.server.taken, 2, "each by itself, for the long one that it follows");
}

#[test]
fn a_file_that_is_named_everywhere_costs_nobody_more() {
    let mut world = World::new(1);
    audit(&mut world, 1);
    let (org, hash, id) = (world.server.org, BlobHash([1; 32]), visit(1));
    let name = |world: &mut World, from: u32, to: u32| {
        let name = "WITH RECURSIVE n (i) AS (SELECT ?5 UNION ALL SELECT i + 1 FROM n WHERE i < ?6)
             INSERT INTO photo (org, hash, document, by, audience, referenced_ms, bytes, here, judged)
             SELECT ?1, ?2, CAST(x'00' || randomblob(16) AS BLOB), ?3, audience, i, 9, 1, 1
             FROM n, (SELECT audience FROM log WHERE org = ?1 AND document = ?4 LIMIT 1)";
        let (by, document) = (brand::SVEN.as_bytes(), id.to_bytes());
        let named = params![org, hash.0, by, document, from, to];
        world.server.db.execute(name, named).expect("they name it");
    };
    let by = brand::RITA;
    let times = CaptureTime::estimate(&now(&world), None, None, world.now_ms);
    let costs = |world: &mut World| {
        let look = steps(world, |world| {
            let seen = uploads::is_in_sight(&world.server.db, org, hash, |_| false);
            assert!(!seen.expect("it reads"));
            let named = uploads::naming(&world.server.db, org, Some(by), hash, |_| true);
            assert_eq!(named.expect("it reads"), [brand::SVEN]);
        });
        let judge = steps(world, |world| {
            let (earliest_ms, received_ms) = (None, Some(5));
            let (document, audience, at_ms) = (id, 0, 5);
            let of =
                Reference { org, hash, document, audience, by, at_ms, earliest_ms, received_ms };
            let seen = signals::seen_in(&world.server.db, &of).expect("it reads");
            assert_eq!(seen.others.len(), 50);
        });
        let refer = steps(world, |world| {
            let tx = world.server.db.transaction().expect("a transaction");
            let row = PhotoRow { hash, document: id, by, times, bytes: 9 };
            let audience = log::document_audience(&tx, org, id).expect("it reads");
            uploads::refer(&tx, org, &row, audience, |_| false).expect("it is taken in");
            assert!(!uploads::gives_sight(&tx, org, hash, id).expect("it reads"));
        });
        [look.0, judge.0, refer.0]
    };
    let here = "INSERT INTO blob (org, hash, bytes, width, height, arrived_ms)
         VALUES (?1, ?2, 9, 9, 9, 5)";
    world.server.db.execute(here, params![org, hash.0]).expect("it is here");
    name(&mut world, 1, 60);
    let before = costs(&mut world);
    name(&mut world, 61, 6_000);
    let after = costs(&mut world);
    for (before, after) in before.into_iter().zip(after) {
        assert!(after <= before * 2 + 20, "{after} instead of {before}");
    }
}

#[test]
fn photos_of_refused_work_are_known_whether_it_reads_or_not() {
    let mut world = World::new(7);
    let id = visit(1);
    let [known, later] = [1, 2].map(|number| BlobHash::of(&[number]));
    let shows = |hash| {
        let photo = PhotoRef { hash, bytes: 1, phash: 0, check: None, origin: None };
        let mut entry = answers(&world, 0, std::iter::once(Value::Met(true)));
        if let Entry::Recording(Recording { act: Act::Observe(observed), .. }) = &mut entry {
            observed.photos.push(photo);
        }
        entry
    };
    let entries = [start(&world, 1, brand::RITA), shows(known), shows(later)];
    let mut changes = write(&world, RITA, &mut Document::new(ORG, id), &entries, 0);
    // As a later version may say it.
    let last = changes.pop().expect("a change");
    let mut parts = Parts::clone(&last);
    let act = parts.value.windows(3).position(|bytes| bytes == [3, 0x82, 1]).expect("an act");
    parts.value[act + 2] = 9;
    changes.push(Change::new(id.kind, parts).expect("a change"));
    let group = sealed(&world, RITA, id, changes);
    assert_eq!(send(&mut world, vec![group], Vec::new()), ["unreadable"]);

    let named = |world: &World, user, hash| {
        let named = uploads::named(&world.server.db, world.server.org, user, hash, |_| true);
        named.expect("it reads")
    };
    for hash in [known, later] {
        assert_eq!(named(&world, brand::RITA, hash), Named::Refused);
        assert_eq!(named(&world, brand::SAM, hash), Named::Nowhere, "it is not of his work");
    }
    assert_eq!(named(&world, brand::RITA, BlobHash::of(&[3])), Named::Nowhere);
    world.server.decide(false, world.now_ms).expect("it is discarded");
    assert_eq!(named(&world, brand::RITA, known), Named::Nowhere);
}
