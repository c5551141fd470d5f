//! Old and new together: the next version of `next.rs`, which nobody ships, beside today's library and server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use endcap_mobile::{
    CheckKind, Client, ClientError, MeetingReport, Observation, Outstanding, Subject, Value,
};
use minicbor::{Encode, Encoder, encode};
use serde_json::{Value as Json, json};
use sync_core::cargo::{Cargo, Load, NOT_REFERENCED, Parcel};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::Write;
use sync_core::document::{Change, Document, Entry, Parts};
use sync_core::id::{Actor, ChangeHash, DocId, VisitId};
use sync_core::model::Money;
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{self, Check, Record, RecordKind};
use sync_core::model::visit::{
    self, Act, Note, Observations, Observed, Post, Recording, Submission, Versioned,
};
use sync_core::relay::{Message, frame};
use sync_core::session::Step;
use sync_core::wire::{
    CargoReply, Delivery, Group, MEDIA_TYPE, Outcome, PROTOCOL, PullReply, PushReply, PushRequest,
    RecordBytes, from_wire, protocol_of, to_wire,
};
use tests::brand::{self, BEGIN_MS, ORG, RITA, SAM, checks};
use tests::chance::Chance;
use tests::device::{Crash, Device};
use tests::host::meet;
use tests::live;

use crate::next::{self, grown, grown_json};
use crate::office::{
    Office, Passing, RUNTIME, begin, copy, enrol, enrolled, found, phone, picture, sync,
};

/// A check that today's template does not have, of a subject that today's library does not know.
const LATER_CHECK: u32 = 900;

/// Rita's phone with the next version: it writes and says everything as that would.
struct Newer {
    phone: Device,
    actor: Actor,
    document: Document,
    notes: Vec<Note>,
}

impl Newer {
    fn new(visit: VisitId) -> Self {
        let phone = Device::new(RITA, BEGIN_MS, &mut Chance::new(7));
        let actor = Actor::new(&phone.keypair.public(), [1; 8]);
        Self { phone, actor, document: Document::new(ORG, visit.into()), notes: Vec::new() }
    }

    fn write(&mut self, entry: &Entry) {
        self.write_as(entry, |plain| grown(&next::entry(entry.section()), plain));
    }

    fn write_as(&mut self, entry: &Entry, value: impl FnOnce(&[u8]) -> Vec<u8>) {
        let plain = self.document.next(self.actor, entry).unwrap();
        let parts = Parts { value: value(&plain.value), ..Parts::clone(&plain) };
        self.document.insert(Change::new(self.document.id().kind, parts).unwrap()).unwrap();
    }

    /// A planned call from its start to its submission, with a remark.
    fn visits(&mut self, call: u8) {
        let (by, when, place) = (RITA, now(), None);
        let one = Versioned { number: 1, version: 1 };
        let act = |act| Entry::Recording(Recording { by, when, place, act });
        self.write(&act(Act::Start {
            outlet: brand::outlet(1),
            call: Some(brand::call(call)),
            territory: brand::territory(1),
            distributor: brand::distributor(1),
            template: one,
        }));
        let fact = |check, subject, value| visit::Observation { check, subject, value };
        let euros = Money { minor: 249, currency: "EUR".parse().unwrap() };
        let later = |kind: u32| to_cbor(&(kind, (1_u8, "later")));
        let facts = vec![
            fact(
                checks::PRICE,
                visit::Subject::Product(brand::product(0)),
                visit::Value::Price(euros),
            ),
            fact(checks::CHOICE, visit::Subject::Outlet, visit::Value::Unknown(later(77))),
            fact(LATER_CHECK, visit::Subject::Unknown(later(99)), visit::Value::YesNo(true)),
        ];
        self.write(&act(Act::Observe(Observed {
            template: one,
            planograms: vec![one],
            price_list: Some(one),
            observations: Observations(facts),
            photos: Vec::new(),
            supersedes: Vec::new(),
        })));
        self.write(&Entry::Submission(Submission { by, when, place }));
        let note = Note::new("Ask for Aoife", [3; 16]).unwrap();
        self.write(&Entry::Post(Post::new(by, when, note.digest())));
        self.notes.push(note);
    }

    fn group(&self) -> Group {
        let (document, changes) = (self.document.id(), self.document.changes().to_vec());
        let head = changes.last().unwrap().hash();
        Group { document, changes, seals: vec![self.phone.keypair.seal(ORG, document, head)] }
    }

    /// Hands everything over.
    fn push(&self, url: &str) -> PushReply {
        let (groups, notes) = (vec![self.group()], self.notes.clone());
        let push = PushRequest { protocol: PROTOCOL, now: now(), previous: None, groups, notes };
        let path = "/api/v1/push";
        let push = grown(&next::message(path, true), &to_wire(ORG, &push));
        from_wire(ORG, &self.ask(url, path, push).1).unwrap()
    }

    /// The status and the answer.
    fn ask(&self, url: &str, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        RUNTIME.block_on(async {
            let request = live::http()
                .post(format!("{url}{path}"))
                .header("Authorization", format!("Bearer {}", live::token(&self.phone)))
                .header("Content-Type", MEDIA_TYPE);
            let answer = request.body(body).send().await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
        })
    }

    fn sync(&mut self, url: &str) {
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let http = live::http();
        let sync = live::sync(&http, address, &mut self.phone, |_, _| {});
        assert_eq!(RUNTIME.block_on(sync), Step::Done);
    }

    /// All its work, as it seals it.
    fn cargo(&self) -> Vec<u8> {
        let load = Load::Work(self.group(), self.notes.clone());
        to_wire(ORG, &Cargo { protocol: PROTOCOL, load })
    }

    /// Has this to hand over in a meeting.
    fn seals(&mut self, office: &Office, text: Vec<u8>) {
        let (server, own) = (office.tenant.console.keypair.public(), &self.phone.keypair);
        let parcel = Parcel::seal(ORG, self.phone.id, own, &server, &Written(text)).unwrap();
        self.phone.disk.commit(vec![Write::Carry(parcel, BEGIN_MS)]);
    }

    /// How it went for today's phone.
    fn meets(&mut self, todays: &Arc<Client>) -> MeetingReport {
        let (mut meeting, mut hers) = self.phone.meet();
        let side = Arc::clone(todays).meet().unwrap();
        let mut his = side.begin();
        while !side.done() || meeting.end().is_none() {
            let answer = side.hear(next::grown_talk(&hers)).unwrap();
            let heard = self.phone.hear_phone(&mut meeting, &his, BEGIN_MS, Crash::Never);
            (hers, his) = (heard.unwrap(), answer);
        }
        side.report().unwrap()
    }
}

/// CBOR as it was written.
struct Written(Vec<u8>);

impl<C> Encode<C> for Written {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.writer_mut().write_all(&self.0).map_err(encode::Error::write)
    }
}

fn now() -> Moment {
    let wall_ms = server::now_ms();
    Moment { wall_ms, boot: 1, boot_ms: 90_000, anchor: 0, skew_ms: None, life: None }
}

/// The changes of a document by name.
fn parts(document: &Document) -> BTreeMap<ChangeHash, Parts> {
    document.changes().iter().map(|c| (c.hash(), Parts::clone(c))).collect()
}

fn choice(option: u32) -> Observation {
    let (subject, value) = (Subject::Outlet, Value::Choice { option });
    Observation { check: checks::CHOICE, subject, value }
}

/// What is said of a check, and whether people disagree on it.
fn said(client: &Client, visit: VisitId, check: u32) -> (Subject, Vec<Value>, bool) {
    let shown = client.visit(visit.to_string()).unwrap();
    let held = shown.values.into_iter().find(|held| held.check == check).unwrap();
    (held.subject, held.said.into_iter().map(|said| said.value).collect(), held.conflict)
}

#[test]
fn what_a_newer_phone_writes_outlives_old_phones_and_servers() {
    let visit = VisitId::of_call(ORG, brand::call(0));
    let mut rita = Newer::new(visit);
    let (folder, office, gate) = found("newer-phone", &[&rita.phone]);
    let [sam] = enrolled(&folder, &office, &gate, [SAM]);
    let (data, backup) = (folder.0.join("server"), folder.0.join("backup"));
    office.close();
    copy(&data, &backup);

    // Today's server takes in all of it, as it came, and reads what it knows.
    let office = Office::open(&data);
    gate.lead_to(&office);
    rita.visits(0);
    assert_eq!(rita.push(&office.url).outcomes, [Outcome::Accepted {}]);
    let hers = parts(&rita.document);
    assert_eq!(parts(&office.document(visit)), hers);
    let counted = "SELECT count(*) FROM visit WHERE org = ?1 AND status = 'submitted'";
    assert_eq!(office.count(counted), 1);

    // So does today's phone. It shows what it does not know as unknown, and the rest.
    sync(&sam).unwrap();
    let shown = sam.visit(visit.to_string()).unwrap();
    assert_eq!((shown.status.as_str(), shown.recordings.len()), ("submitted", 2));
    assert_eq!(shown.thread[0].text, "Ask for Aoife");
    let price = Value::Price { minor: 249, currency: "EUR".into() };
    assert_eq!(said(&sam, visit, checks::PRICE).1, [price]);
    assert_eq!(said(&sam, visit, checks::CHOICE).1, [Value::Other]);
    let known = said(&sam, visit, LATER_CHECK);
    assert_eq!(known, (Subject::Other, vec![Value::YesNo { yes: true }], false));

    // An unknown value and a known one differ.
    let mine = sam.start_call(brand::call(0).to_string()).unwrap();
    sam.record(mine.clone(), vec![choice(1)], Vec::new()).unwrap();
    sam.submit(mine.clone()).unwrap();
    sync(&sam).unwrap();
    let (_, values, conflict) = said(&sam, visit, checks::CHOICE);
    assert!(conflict && values.contains(&Value::Other), "{values:?}");
    assert!(values.contains(&Value::Choice { option: 1 }), "{values:?}");
    assert_eq!(office.count("SELECT conflicts FROM visit WHERE org = ?1"), 1);

    // The server comes back from a backup without any of it, and has it again from him.
    let all = parts(&office.document(visit));
    assert_eq!(all.len(), hers.len() + 3);
    office.close();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    let office = Office::open(&data);
    gate.lead_to(&office);
    assert!(office.document(visit).changes().is_empty());
    sync(&sam).unwrap();
    assert_eq!(parts(&office.document(visit)), all);
    assert!(sam.outstanding().unwrap().documents.is_empty());

    // He settles it with what he knows.
    sam.resolve(mine, checks::CHOICE, Subject::Outlet, Value::Choice { option: 2 }).unwrap();
    sync(&sam).unwrap();
    let settled = said(&sam, visit, checks::CHOICE);
    assert_eq!(settled, (Subject::Outlet, vec![Value::Choice { option: 2 }], false));
    office.close();
}

/// An act is for another version of the protocol: today's server refuses it, and where one has it nevertheless,
/// today's phone passes it over.
#[test]
fn an_act_of_another_version_is_refused_and_passed_over() {
    let visit = VisitId::of_call(ORG, brand::call(0));
    let mut rita = Newer::new(visit);
    let (folder, office, gate) = found("later-act", &[&rita.phone]);
    let [sam] = enrolled(&folder, &office, &gate, [SAM]);

    rita.visits(0);
    let (by, when, place, act) = (RITA, now(), None, Act::Abandon {});
    let abandon = Entry::Recording(Recording { by, when, place, act });
    rita.write_as(&abandon, |plain| {
        let (last, before) = plain.split_last().unwrap();
        assert_eq!(*last, 4, "the act's kind");
        [before, &[9]].concat()
    });
    match &rita.push(&office.url).outcomes[..] {
        [Outcome::Quarantined { code, .. }] => assert_eq!(code, "unreadable"),
        other => panic!("{other:?}"),
    }
    assert!(office.document(visit).changes().is_empty());

    let group = rita.group();
    gate.edit(move |passing| {
        if (passing.path, passing.request) == ("/api/v1/pull", false) {
            let mut page: PullReply = from_wire(ORG, &passing.body).unwrap();
            page.groups.push(group.clone());
            passing.body = to_wire(ORG, &page);
        }
    });
    sync(&sam).unwrap();
    let shown = sam.visit(visit.to_string()).unwrap();
    assert_eq!((shown.status.as_str(), shown.recordings.len()), ("submitted", 2));
    assert_eq!(shown.values.len(), 3);
    drop(gate);
    office.close();
}

/// Says what passes as the next version would; `false` if that has nothing to add.
fn later(passing: &mut Passing<'_>) -> bool {
    let Passing { path, request, status, body, .. } = passing;
    *body = match *path {
        _ if !*request && *status != 200 => return false,
        "/api/v1/push" | "/api/v1/pull" | "/api/v1/repair" | "/api/v1/cargo" => {
            grown(&next::message(path, *request), body)
        }
        "/api/v1/enrol" if *request => {
            grown_json(&[&br#"{"protocol":2,"#[..], &body[1..]].concat())
        }
        "/api/v1/enrol" | "/api/v1/key" | "/api/v1/photos/missing" => grown_json(body),
        _ => return false,
    };
    true
}

/// A page with its records as the next version would write them, and with such as today has none of.
fn later_records(page: &[u8]) -> Vec<u8> {
    let mut page: PullReply = from_wire(ORG, page).unwrap();
    let first = page.records.len() > 1;
    for record in &mut page.records {
        let mut known: Record = from_cbor(&record.0).unwrap();
        if let Record::Template(template) = &mut known {
            let (title, help) = ("Smell".into(), String::new());
            let kind = catalogue::CheckKind::Unknown(to_cbor(&(9_u32, "later", 1_u8)));
            template.checks.insert(0, Check { id: LATER_CHECK, title, help, kind });
        }
        record.0 = grown(&next::RECORD, &to_cbor(&known));
    }
    if first {
        // Kinds that nobody knows, one of them beyond what a phone has room for.
        for record in [&b"\x82\x0d\xa2\x00\x07\x01\x81\x61x"[..], b"\x82\x18\xfa\xa1\x00\x07"] {
            page.records.push(RecordBytes(record.to_vec()));
        }
    }
    page.print = None; // such a server would count what it sends
    to_wire(ORG, &page)
}

#[test]
fn todays_phone_works_with_a_newer_server() {
    let (folder, office, gate) = found("newer-server", &[]);
    gate.edit(|passing| {
        if (passing.path, passing.request) == ("/api/v1/pull", false) {
            passing.body = later_records(&passing.body);
        }
        if !passing.request {
            later(passing);
        }
    });
    let [rita] = enrolled(&folder, &office, &gate, [RITA]);

    // A check of a later kind is shown as unknown; the others are asked as ever.
    let template = rita.template(1).unwrap();
    assert_eq!((template.checks[0].id, &template.checks[0].kind), (LATER_CHECK, &CheckKind::Other));
    assert_eq!(template.checks[1].kind, CheckKind::Planogram);
    assert_eq!(rita.planogram(1).unwrap().positions.len(), 6);
    assert_eq!(rita.find_outlets("corner".into(), 9).unwrap().len(), 2);

    let visit = rita.start_call(brand::call(0).to_string()).unwrap();
    let photo = rita.add_photo(picture(), None).unwrap();
    rita.record(visit.clone(), vec![choice(1)], vec![photo]).unwrap();
    rita.submit(visit.clone()).unwrap();
    let report = sync(&rita).unwrap();
    assert_eq!((report.pushed, report.refused, report.photos), (3, 0, 1));
    let quiet = sync(&rita).unwrap();
    assert_eq!((quiet.pushed, quiet.pulled), (0, 0), "its place in the log came through");
    assert!(rita.outstanding().unwrap().documents.is_empty());
    let written = office.document(visit.parse().unwrap());
    assert_eq!(written.changes().len(), 3);
    drop(gate);
    office.close();
}

/// Two phones ask a server for all that there is to ask: the phones are newer, or the server is.
fn all_is_asked(name: &str, phones: bool) {
    let (folder, office, gate) = found(name, &[]);
    let grew = Arc::new(Mutex::new(BTreeSet::new()));
    let grows = Arc::clone(&grew);
    gate.edit(move |passing| {
        if (passing.path, passing.request) == ("/api/v1/pull", false) {
            // Something gets lost, to be missed and mended.
            let mut page: PullReply = from_wire(ORG, &passing.body).unwrap();
            page.records.retain(|record| record.0[1] != RecordKind::Planogram as u8);
            passing.body = to_wire(ORG, &page);
        }
        if passing.request == phones && later(passing) {
            grows.lock().unwrap().insert(passing.path.to_owned());
        }
    });
    let [rita, sam] = enrolled(&folder, &office, &gate, [RITA, SAM]);
    assert_eq!(rita.planogram(1).unwrap().positions.len(), 6);

    let visit = rita.start_call(brand::call(0).to_string()).unwrap();
    let photo = rita.add_photo(picture(), None).unwrap();
    rita.record(visit.clone(), vec![choice(1)], vec![photo]).unwrap();
    rita.submit(visit.clone()).unwrap();
    // The work, and its photo.
    assert_eq!(meet([&rita, &sam]).map(|report| (report.given, report.taken)), [(2, 0), (0, 2)]);
    assert_eq!(sync(&sam).unwrap().delivered, 2);
    assert_eq!(office.document(visit.parse().unwrap()).changes().len(), 3);
    let report = sync(&rita).unwrap();
    assert_eq!((report.pushed, report.refused, report.photos), (3, 0, 1));

    RUNTIME.block_on(Arc::clone(&rita).change_key()).unwrap();
    let next = work(&rita, 1);
    let report = sync(&rita).unwrap();
    assert_eq!((report.pushed, report.refused), (3, 0));
    assert!(waiting(&rita).documents.is_empty());
    assert_eq!(office.document(next.visit().unwrap()).changes().len(), 3);
    let again = enrol(&rita, &gate.url, "");
    assert!(matches!(again, Err(ClientError::AlreadyEnrolled)), "{again:?}");

    let all = ["cargo", "enrol", "key", "photos/missing", "pull", "push", "repair"];
    let all = all.map(|path| format!("/api/v1/{path}"));
    assert_eq!(*grew.lock().unwrap(), all.into());
    drop(gate);
    office.close();
}

#[test]
fn todays_server_answers_a_newer_phone_whatever_it_asks() {
    all_is_asked("newer-asks", true);
}

#[test]
fn todays_phone_hears_a_newer_server_whatever_it_answers() {
    all_is_asked("newer-answers", false);
}

#[test]
fn a_newer_phone_and_todays_carry_for_each_other() {
    let visit = VisitId::of_call(ORG, brand::call(0));
    let mut rita = Newer::new(visit);
    let (folder, office, gate) = found("newer-parcel", &[&rita.phone]);
    let [sam] = enrolled(&folder, &office, &gate, [SAM]);
    rita.sync(&gate.url);
    rita.visits(0);
    rita.seals(&office, grown(&next::CARGO, &rita.cargo()));
    let his = work(&sam, 2);
    let report = rita.meets(&sam);
    assert_eq!((report.complete, report.given, report.taken), (true, 1, 1), "{report:?}");

    gate.edit(|passing| {
        if passing.request {
            later(passing);
        }
    });
    rita.sync(&gate.url);
    assert_eq!(office.document(his.visit().unwrap()).changes().len(), 3);
    gate.leave();
    assert_eq!(sync(&sam).unwrap().delivered, 1);
    assert_eq!(parts(&office.document(visit)), parts(&rita.document));
    assert_eq!(sam.visit(visit.to_string()).unwrap().thread[0].text, "Ask for Aoife");
    assert!(waiting(&sam).documents.is_empty());
    drop(gate);
    office.close();
}

/// A message of a version that has nothing in common with today's but that it says so.
const UNLIKE: &[u8] = b"\xa2\x00\x02\x01\x66unlike";

#[test]
fn a_parcel_of_another_version_stays_with_who_carries_it() {
    let mut rita = Newer::new(VisitId::of_call(ORG, brand::call(0)));
    let (folder, office, gate) = found("later-parcel", &[&rita.phone]);
    let [sam] = enrolled(&folder, &office, &gate, [SAM]);
    rita.sync(&gate.url);
    rita.visits(0);
    let mut cargo = rita.cargo();
    speak(2, &mut cargo);
    rita.seals(&office, cargo);
    rita.seals(&office, UNLIKE.to_vec());
    assert_eq!(rita.meets(&sam).taken, 2);
    let (carries, logged) = (waiting(&sam), office.logged());
    assert_eq!(carries.cargo, 2);
    let stays = || {
        assert_eq!((waiting(&sam), office.logged()), (carries.clone(), logged));
        assert_eq!(office.count("SELECT count(*) FROM quarantine WHERE org = ?1"), 0);
    };
    for _ in 0..2 {
        let report = sync(&sam).unwrap();
        assert_eq!((report.delivered, report.undeliverable), (0, 0));
        stays();
    }
    // The same when it is his phone that the server does not understand.
    gate.edit(|passing| {
        if (passing.path, passing.request) == ("/api/v1/cargo", true) {
            speak(2, &mut passing.body);
        }
    });
    let refused = sync(&sam);
    assert!(matches!(refused, Err(ClientError::Incompatible { .. })), "{refused:?}");
    stays();
    // What nothing names yet stays beside what is put off, and is not said to be undeliverable.
    gate.edit(|passing| {
        if (passing.path, passing.request) == ("/api/v1/cargo", false) {
            let mut reply: CargoReply = from_wire(ORG, &passing.body).unwrap();
            let (code, detail) = (NOT_REFERENCED.into(), String::new());
            reply.outcomes = vec![Delivery::Later {}, Delivery::Refused { code, detail }];
            passing.body = to_wire(ORG, &reply);
        }
    });
    let report = sync(&sam).unwrap();
    assert_eq!((report.delivered, report.undeliverable), (0, 0));
    stays();
    // For whatever reason it is refused, it goes, and its author has the work.
    gate.edit(|passing| {
        if (passing.path, passing.request) == ("/api/v1/cargo", false) {
            let mut reply: CargoReply = from_wire(ORG, &passing.body).unwrap();
            let (code, detail) = ("later".into(), "in words".into());
            reply.outcomes.fill(Delivery::Refused { code, detail });
            passing.body = to_wire(ORG, &reply);
        }
    });
    assert_eq!(sync(&sam).unwrap().undeliverable, 2);
    assert_eq!(waiting(&sam).cargo, 0);
    assert_eq!(rita.push(&office.url).outcomes, [Outcome::Accepted {}]);
    drop(gate);
    office.close();
}

#[test]
fn phones_of_two_versions_part_and_keep_their_work() {
    let (_folder, office, gate, [rita, sam]) = begin("two-versions", [RITA, SAM]);
    let visit = work(&rita, 0);
    let waits = waiting(&rita);
    let mut hello = Arc::clone(&sam).meet().unwrap().begin();
    assert_eq!(hello[4..7], [0x85, 0, 1]);
    hello[6] = 2;
    let unlike = to_cbor(&(0_u8, 2_u8, "unlike"));
    let unlike = [&(unlike.len() as u32).to_be_bytes()[..], &unlike].concat();
    for hello in [hello, unlike] {
        let side = Arc::clone(&rita).meet().unwrap();
        let said = side.hear(hello).unwrap();
        let bye = Message::Bye { code: "protocol_unsupported".into() };
        assert_eq!(said, frame(&bye));
        let report = side.report().unwrap();
        assert_eq!((side.done(), report.broken.as_deref()), (true, Some("protocol_unsupported")));
        assert!(report.detail.contains("version 2: update"), "{}", report.detail);
        assert_eq!(waiting(&rita), waits);
    }
    // Once they agree, it goes over.
    assert!(meet([&rita, &sam]).iter().all(|report| report.complete));
    assert_eq!(sync(&sam).unwrap().delivered, 1);
    assert_eq!(office.document(visit.visit().unwrap()).changes().len(), 3);
    drop(gate);
    office.close();
}

/// Another version in place of today's, in a message.
fn speak(version: u8, message: &mut [u8]) {
    assert_eq!((protocol_of(message), message[1]), (Some(PROTOCOL), 0));
    message[2] = version;
}

const UNSUPPORTED: &str = "urn:endcap:problem:protocol_unsupported";

fn work(client: &Client, call: u8) -> DocId {
    let visit = client.start_call(brand::call(call).to_string()).unwrap();
    client.record(visit.clone(), vec![choice(1)], Vec::new()).unwrap();
    client.submit(visit.clone()).unwrap();
    visit.parse::<VisitId>().unwrap().into()
}

fn waiting(client: &Client) -> Outstanding {
    client.outstanding().unwrap()
}

#[test]
fn a_version_that_is_not_spoken_is_refused_and_the_work_kept() {
    let newer = Newer::new(VisitId::of_call(ORG, brand::call(2)));
    let (folder, office, gate) = found("unspoken", &[&newer.phone]);
    let rita = phone(&folder.0.join("rita"));
    let code = office.code(RITA);

    // Whoever enrols, or takes another key, at a server of another version does not go on, and can once they agree.
    let another = |passing: &mut Passing<'_>| {
        if !passing.request && matches!(passing.path, "/api/v1/enrol" | "/api/v1/key") {
            passing.body = br#"{"protocol":2,"unlike":{}}"#.to_vec();
        }
    };
    gate.edit(another);
    let refused = enrol(&rita, &gate.url, &code);
    assert!(matches!(refused, Err(ClientError::Incompatible { .. })), "{refused:?}");
    assert!(rita.enrolment().unwrap().is_none());
    gate.leave();
    enrol(&rita, &gate.url, &code).unwrap();
    gate.edit(another);
    let refused = RUNTIME.block_on(Arc::clone(&rita).change_key());
    assert!(matches!(refused, Err(ClientError::Incompatible { .. })), "{refused:?}");
    gate.leave();
    sync(&rita).unwrap();

    // Today's server judges a message by its version before it reads on.
    for path in ["push", "pull", "repair", "cargo"].map(|path| format!("/api/v1/{path}")) {
        let (status, problem) = newer.ask(&office.url, &path, UNLIKE.to_vec());
        let problem: Json = serde_json::from_slice(&problem).unwrap();
        assert_eq!((status, &problem["type"]), (400, &json!(UNSUPPORTED)), "{path}");
    }

    // A phone that it is too old for, or too new.
    let first = work(&rita, 0);
    let logged = office.logged();
    let waits = waiting(&rita);
    for version in [2, 0] {
        gate.edit(move |passing| {
            if passing.request {
                speak(version, &mut passing.body);
            } else {
                let problem: Json = serde_json::from_slice(&passing.body).unwrap();
                assert_eq!(problem["type"], UNSUPPORTED);
                assert_eq!(passing.status, 400);
            }
        });
        match sync(&rita) {
            Err(ClientError::Incompatible { detail }) => {
                assert!(detail.contains(&format!("says {version}")), "{detail}");
                assert!(detail.contains("update"), "{detail}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((waiting(&rita), office.logged()), (waits.clone(), logged));
    }
    // A server that answers in another version is believed no more.
    gate.edit(|passing| {
        if !passing.request {
            speak(2, &mut passing.body);
        }
    });
    let refused = sync(&rita);
    assert!(matches!(refused, Err(ClientError::Incompatible { .. })), "{refused:?}");
    assert_eq!(waiting(&rita), waits);

    // Work goes on meanwhile, and all of it arrives when both speak the same again.
    let second = work(&rita, 1);
    gate.leave();
    assert_eq!(sync(&rita).unwrap().refused, 0);
    assert!(waiting(&rita).documents.is_empty());
    for visit in [first, second] {
        assert_eq!(office.document(visit.visit().unwrap()).changes().len(), 3);
    }
    drop(gate);
    office.close();
}

#[test]
fn codes_of_a_later_version_are_read_by_their_status() {
    let (_folder, office, gate, [rita]) = begin("codes", [RITA]);
    let visit = work(&rita, 0);
    let waits = waiting(&rita);

    for status in [429, 503, 409, 418] {
        gate.edit(move |passing| {
            if !passing.request {
                let problem = json!({ "type": "urn:endcap:problem:later", "title": "Later" });
                let problem = grown_json(problem.to_string().as_bytes());
                (passing.status, passing.body) = (status, problem);
            }
        });
        let later = matches!(status, 429 | 503);
        match sync(&rita) {
            Err(ClientError::Busy { code, .. }) if later => assert_eq!(code, "later"),
            Err(ClientError::BadAnswer { .. }) if !later => {}
            other => panic!("{status}: {other:?}"),
        }
        assert_eq!(waiting(&rita), waits);
    }
    let side = Arc::clone(&rita).meet().unwrap();
    side.hear(frame(&Message::Bye { code: "later".into() })).unwrap();
    let report = side.report().unwrap();
    assert_eq!((report.broken.as_deref(), waiting(&rita)), (Some("left"), waits));

    // Why work was refused is shown as it was said, and the work is still here.
    gate.edit(|passing| {
        if (passing.path, passing.request) == ("/api/v1/push", false) {
            let mut reply: PushReply = from_wire(ORG, &passing.body).unwrap();
            reply.outcomes.fill(Outcome::quarantined("later", "in words".to_owned()));
            passing.body = to_wire(ORG, &reply);
            later(passing);
        } else if (passing.path, passing.request) == ("/api/v1/pull", false) {
            // Nothing new: what is refused stays so.
            let mut page: PullReply = from_wire(ORG, &passing.body).unwrap();
            page.groups.clear();
            page.print = None;
            passing.body = to_wire(ORG, &page);
        }
    });
    assert_eq!(sync(&rita).unwrap().refused, 3);
    let refused = waiting(&rita);
    assert_eq!(refused.documents[0].refused.as_deref(), Some("later"));
    assert_eq!(refused.documents[0].detail, "in words");
    assert_eq!(refused.documents[0].entries, 3);
    let shown = rita.visit(visit.visit().unwrap().to_string()).unwrap();
    assert_eq!(shown.recordings.len(), 2);
    drop(gate);
    office.close();
}
