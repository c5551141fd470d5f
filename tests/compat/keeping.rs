//! What a client without any Rust keeps, drops and gets back: each sync compares its print with the server's, and a
//! difference that nobody made would show as a repair.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};
use server::backup::{backup, restore};
use server::erase::{Target, erase};
use server::store::accounts;
use sync_core::document::Document;
use sync_core::id::{BlobHash, OutletId, UserId, VisitId};
use sync_core::model::catalogue::{Device, Display, Outlet, Person, Record};
use sync_core::model::people::{Role, Scope};
use sync_core::wire::{PullReply, from_wire, to_wire};
use tests::brand::{self, ORG, RITA, SAM, SUE, SVEN, checks, outlet, territory};

use crate::hex;
use crate::office::{self, Folder, Gate, Office, RUNTIME};
use crate::visits::{Phone, price, said_price, same_document};

fn visit_of(call: u8) -> VisitId {
    VisitId::of_call(ORG, brand::call(call))
}

fn id(visit: VisitId) -> String {
    hex(visit.as_bytes())
}

/// A person's phone of the second implementation that has synced once.
fn enrolled(python: &str, folder: &Folder, name: &str, url: &str, code: &str) -> Phone {
    let mut phone = Phone::start(python, &folder.0.join(name));
    phone.tell(json!({ "do": "enrol", "server": url, "code": code }));
    assert_eq!(phone.sync()["repairs"], 0);
    phone
}

/// Begins a call, says a price, and a word if there is one.
fn works(phone: &mut Phone, call: u8, minor: i64, word: &str) {
    phone.tell(json!({ "do": "start", "call": hex(brand::call(call).as_bytes()) }));
    says(phone, call, minor);
    if !word.is_empty() {
        let (visit, check) = (id(visit_of(call)), checks::WORDS);
        phone.tell(json!({ "do": "words", "visit": visit, "check": check, "text": word }));
    }
}

fn says(phone: &mut Phone, call: u8, minor: i64) {
    let observations = [said_price(0, minor)];
    let visit = id(visit_of(call));
    phone.tell(json!({ "do": "record", "visit": visit, "observations": observations }));
}

fn submits(phone: &mut Phone, call: u8) {
    phone.tell(json!({ "do": "submit", "visit": id(visit_of(call)) }));
}

fn held(phone: &mut Phone) -> Json {
    phone.tell(json!({ "do": "held" }))
}

fn outlets(numbers: &[u8]) -> Json {
    json!(numbers.iter().map(|n| hex(outlet(*n).as_bytes())).collect::<Vec<_>>())
}

fn visits(calls: &[u8]) -> Json {
    let mut names: Vec<String> = calls.iter().map(|c| format!("00{}", id(visit_of(*c)))).collect();
    names.sort();
    json!(names)
}

/// A sync that found both sides alike: what became of what it pushed.
fn quietly(phone: &mut Phone) -> Json {
    let report = phone.sync();
    assert_eq!((&report["repairs"], &report["rewinds"]), (&json!(0), &json!(0)), "{report}");
    report["outcomes"].clone()
}

impl Office {
    pub(crate) fn writes(&self, record: Record) {
        RUNTIME.block_on(self.app.write_records(&self.tenant, vec![record])).unwrap();
    }

    pub(crate) fn moves(&self, person: UserId, to: u8) {
        self.writes(brand::person_record(person, Scope::Territory(territory(to)), true));
    }

    /// Also what nothing at the office names.
    pub(crate) fn erases(&self, target: Target) {
        let erased = erase(&self.app, &self.tenant, target, None, "a request", true);
        RUNTIME.block_on(erased).unwrap();
    }

    fn sets(&self, sql: &'static str) {
        let written = self
            .app
            .store
            .write(move |tx| Ok::<_, server::store::StoreError>(tx.execute(sql, [])?));
        assert!(RUNTIME.block_on(written).unwrap() > 0);
    }

    fn is_as(&self, phone: &mut Phone, call: u8) -> Document {
        let document = self.document(visit_of(call));
        same_document(&document, &phone.visit(visit_of(call)));
        document
    }
}

#[test]
fn what_goes_out_of_sight_is_dropped_and_comes_back_whole() {
    let Some(python) = tests::python::found() else { return };
    let folder = Folder::new("sight");
    let office = Office::found(&folder.0.join("server"), &[]);
    let mut rita = enrolled(python, &folder, "rita", &office.url, &office.code(RITA));
    let sven = office::phone(&folder.0.join("sven"));
    office::enrol(&sven, &office.url, &office.code(SVEN)).unwrap();
    office::sync(&sven).unwrap();
    sven.comment_outlet(outlet(3).to_string(), "Ring twice".into()).unwrap();
    let theirs = sven.start_call(brand::call(3).to_string()).unwrap();
    sven.record(theirs, vec![price(0, 199)], Vec::new()).unwrap();
    office::sync(&sven).unwrap();

    let found = sven.report_outlet(
        "Kiosk".into(),
        "Pier 1".into(),
        outlet(3).to_string(),
        None,
        Vec::new(),
    );
    let found: OutletId = found.unwrap().parse().unwrap();
    office::sync(&sven).unwrap();

    // One visit is confirmed with its photo, another waits to be sent, a third is refused.
    works(&mut rita, 0, 219, "The key is next door");
    let photo = json!({ "do": "record", "visit": id(visit_of(0)), "observations": [], "photo": 5 });
    rita.tell(photo);
    submits(&mut rita, 0);
    quietly(&mut rita);
    works(&mut rita, 4, 219, "");
    quietly(&mut rita);
    says(&mut rita, 4, 229);
    let spoilt = rita.tell(json!({ "do": "sync", "spoil_seals_of": [id(visit_of(4))] }));
    assert_eq!(spoilt["outcomes"], json!(["bad_seal"]));
    works(&mut rita, 1, 239, "Closed on Mondays");
    let before = held(&mut rita);
    assert_eq!(before["outlets"], outlets(&[1, 2]));
    assert_eq!(before["photos"].as_array().unwrap().len(), 1);

    // She works in the south from now on: what was the north's goes, but for what only she has.
    office.moves(RITA, 2);
    assert_eq!(quietly(&mut rita), json!(["accepted"]));
    let south = held(&mut rita);
    assert_eq!(south["outlets"], outlets(&[3, 4]));
    let here: Vec<&str> =
        south["documents"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
    let history = |outlet: OutletId| format!("01{}", hex(outlet.as_bytes()));
    let theirs = [3, 4].map(|call| format!("00{}", id(visit_of(call))));
    let mut expected = [theirs.to_vec(), vec![history(outlet(3)), history(found)]].concat();
    expected.sort();
    assert_eq!(here, expected);
    assert_eq!((&south["notes"], &south["photos"]), (&json!(["Ring twice"]), &json!([])));
    assert_ne!(south["actor"], before["actor"]);
    office.is_as(&mut rita, 3);
    rita.tell(json!({ "do": "give_up", "visit": id(visit_of(4)) }));
    quietly(&mut rita);
    assert!(!held(&mut rita)["documents"].to_string().contains(&id(visit_of(4))));

    // Outlets move, with their calls and their histories, but not the visit that was made at one.
    let Record::Outlet(listed) = brand::outlet_record(3, 2, 1) else { panic!() };
    let listed =
        |at| Record::Outlet(Outlet { id: found, territory: territory(at), ..listed.clone() });
    office.writes(listed(2));
    quietly(&mut rita);
    assert!(held(&mut rita)["outlets"].to_string().contains(&hex(found.as_bytes())));
    office.writes(brand::outlet_record(3, 1, 1));
    office.writes(listed(1));
    quietly(&mut rita);
    let moved = held(&mut rita);
    assert_eq!((&moved["outlets"], &moved["documents"]), (&outlets(&[4]), &visits(&[3])));
    assert_eq!(moved["notes"], json!([]));

    // Back in the north she gets her own work from the server, and goes on in it.
    office.moves(RITA, 1);
    quietly(&mut rita);
    let north = held(&mut rita);
    assert_eq!(north["outlets"].as_array().unwrap().len(), 4);
    assert_eq!(north["notes"], json!(["Closed on Mondays", "Ring twice", "The key is next door"]));
    office.is_as(&mut rita, 0);
    says(&mut rita, 0, 249);
    assert_eq!(quietly(&mut rita), json!(["accepted"]));
    office.is_as(&mut rita, 0);
    drop(rita);
    office.close();
}

#[test]
fn what_is_let_go_of_and_what_is_erased_goes() {
    let Some(python) = tests::python::found() else { return };
    let folder = Folder::new("let-go");
    let office = Office::found(&folder.0.join("server"), &[]);
    let mut rita = enrolled(python, &folder, "rita", &office.url, &office.code(RITA));
    works(&mut rita, 0, 219, "Ms Quillfeather was ill");
    let photo = json!({ "do": "record", "visit": id(visit_of(0)), "observations": [], "photo": 5 });
    let photo = rita.tell(photo)[0][0].as_str().unwrap().to_owned();
    submits(&mut rita, 0);
    works(&mut rita, 1, 229, "The freezer hums");
    quietly(&mut rita);
    assert_eq!(rita.tell(json!({ "do": "fetch", "photo": photo })), json!(photo));

    // Words and a photo are erased; what names them stays.
    let document = office.document(visit_of(0));
    let words = document.changes().iter().flat_map(|c| c.entry().unwrap().notes()).next().unwrap();
    office.erases(Target::Note(words));
    office.erases(Target::Photo(photo.parse::<BlobHash>().unwrap()));
    quietly(&mut rita);
    let left = held(&mut rita);
    assert_eq!((&left["notes"], &left["photos"]), (&json!(["The freezer hums"]), &json!([])));
    let shown = rita.visit(visit_of(0))["values"].to_string();
    assert!(shown.contains("erased at") && !shown.contains("Quillfeather"), "{shown}");
    office.is_as(&mut rita, 0);

    // After a while phones need not keep what is submitted. Who did not hear of it hears when it is sent again.
    let lose = |phone: &mut Phone| drop(phone.tell(json!({ "do": "lose_place" })));
    let mut second = enrolled(python, &folder, "second", &office.url, &office.code(RITA));
    office.sets("UPDATE organisation SET keep_days = 7");
    office.sets("UPDATE visit SET changed_ms = 0");
    says(&mut rita, 1, 239);
    assert_eq!(quietly(&mut rita), json!(["accepted"]));
    assert_eq!(held(&mut rita)["documents"], visits(&[1]));
    assert_eq!(held(&mut second)["documents"], visits(&[0, 1]));
    lose(&mut second);
    let rewound = second.sync();
    assert_eq!((&rewound["outcomes"], &rewound["repairs"]), (&json!(["let go"]), &json!(0)));
    quietly(&mut second);
    assert_eq!(held(&mut second)["documents"], visits(&[1]));
    drop((rita, second));
    office.close();
}

#[test]
fn what_a_disk_has_lost_is_found_and_mended() {
    let Some(python) = tests::python::found() else { return };
    let folder = Folder::new("mended");
    let office = Office::found(&folder.0.join("server"), &[]);
    let mut rita = enrolled(python, &folder, "rita", &office.url, &office.code(RITA));
    let mut sam = enrolled(python, &folder, "sam", &office.url, &office.code(SAM));
    let mended = |phone: &mut Phone, outcomes: Json| {
        let report = phone.sync();
        assert_eq!((&report["repairs"], &report["outcomes"]), (&json!(1), &outcomes), "{report}");
    };
    for (phone, minor) in [(&mut rita, 219), (&mut sam, 229)] {
        works(phone, 0, minor, "");
        quietly(phone);
    }
    quietly(&mut rita);

    // Records are gone, one is there that nobody wrote, a document is cut off, another was never sent.
    works(&mut rita, 4, 239, "");
    for (call, left) in [(0, 3), (4, 2)] {
        rita.tell(json!({ "do": "lose_changes", "visit": id(visit_of(call)), "left": left }));
    }
    rita.tell(json!({ "do": "lose_records", "kind": 3 }));
    mended(&mut rita, json!(["accepted"]));
    assert_eq!(office.is_as(&mut rita, 0).changes().len(), 4);
    assert_eq!(office.is_as(&mut rita, 4).changes().len(), 2);
    mended(&mut rita, json!([])); // what she has sent as astray is told by the server first
    quietly(&mut rita);

    // What Sam writes next has no place here, for what it builds on is gone.
    let (visit, check) = (id(visit_of(0)), checks::WORDS);
    sam.tell(json!({ "do": "words", "visit": visit, "check": check, "text": "Wet floor" }));
    quietly(&mut sam);
    quietly(&mut rita);
    says(&mut sam, 0, 249);
    quietly(&mut sam);
    rita.tell(json!({ "do": "lose_changes", "visit": id(visit_of(0)), "left": 0 }));
    mended(&mut rita, json!([]));
    assert_eq!(office.is_as(&mut rita, 0).changes().len(), 6);
    assert_eq!(held(&mut rita)["notes"], json!(["Wet floor"]));
    quietly(&mut rita);
    drop((rita, sam));
    office.close();
}

fn display() -> Record {
    Record::Display(Display { number: 9, name: "By the door".into(), description: String::new() })
}

#[test]
fn a_restored_server_gets_back_what_phones_have() {
    let Some(python) = tests::python::found() else { return };
    let folder = Folder::new("restored");
    let place = |name: &str| folder.0.join(name);
    let (quiet, data) = (&mut |_, _, _| {}, place("server"));
    let office = Office::found(&data, &[]);
    let gate = Gate::before(&office);
    let mut rita = enrolled(python, &folder, "rita", &gate.url, &office.code(RITA));
    let mut sam = enrolled(python, &folder, "sam", &gate.url, &office.code(SAM));
    works(&mut rita, 0, 219, "");
    quietly(&mut rita);
    office.close();
    backup(&data, &place("backup"), quiet).unwrap();

    // After the backup both go on. What Sam has sent Rita has from the server.
    let office = Office::open(&data);
    gate.lead_to(&office);
    office.writes(display());
    works(&mut sam, 0, 229, "Never so full");
    quietly(&mut sam);
    says(&mut rita, 0, 239);
    quietly(&mut rita);
    let before = office.is_as(&mut rita, 0);
    let known = held(&mut rita)["log"]["cursor"][1].as_u64().unwrap();
    assert_eq!(known, office.logged());
    office.close();
    let again = place("again");
    restore(&place("backup"), &again, quiet).unwrap();

    let office = Office::open(&again);
    gate.lead_to(&office);
    assert!(office.document(visit_of(0)).changes().len() < before.changes().len());
    let lost = known - (office.logged() - 1);
    let report = rita.sync();
    assert_eq!((&report["rewinds"], &report["repairs"]), (&json!(1), &json!(0)));
    assert_eq!(report["outcomes"], json!(["accepted", "accepted"]), "his and hers, apart");
    assert_eq!(office.is_as(&mut rita, 0).heads(), before.heads());
    let log = held(&mut rita)["log"].clone();
    assert_eq!((&log["alarm"], &log["restored"]), (&Json::Null, &json!([lost])));
    quietly(&mut rita);
    assert_eq!(sam.sync()["rewinds"], 1);
    quietly(&mut sam);
    office.is_as(&mut sam, 0);
    assert_eq!(held(&mut sam)["notes"], json!(["Never so full"]));
    drop((rita, sam, gate));
    office.close();
}

/// What a colleague wrote whom a restored server does not know holds up only what was written on top of it.
#[test]
fn a_colleague_whom_a_restored_server_has_forgotten_stops_nobody() {
    let Some(python) = tests::python::found() else { return };
    let folder = Folder::new("forgotten");
    let place = |name: &str| folder.0.join(name);
    let (quiet, data) = (&mut |_, _, _| {}, place("server"));
    let office = Office::found(&data, &[]);
    let gate = Gate::before(&office);
    let mut rita = enrolled(python, &folder, "rita", &gate.url, &office.code(RITA));
    works(&mut rita, 0, 219, "");
    quietly(&mut rita);
    office.close();
    backup(&data, &place("backup"), quiet).unwrap();
    let office = Office::open(&data);
    gate.lead_to(&office);
    let mut sam = enrolled(python, &folder, "sam", &gate.url, &office.code(SAM));
    works(&mut sam, 0, 229, "");
    quietly(&mut sam);
    quietly(&mut rita);
    says(&mut rita, 0, 239);
    quietly(&mut rita);
    office.close();
    let again = place("again");
    restore(&place("backup"), &again, quiet).unwrap();

    let office = Office::open(&again);
    gate.lead_to(&office);
    assert_eq!(rita.sync()["outcomes"], json!(["foreign_actor", "missing_parent"]));
    rita.tell(json!({ "do": "propose", "visit": id(visit_of(0)) }));
    assert_eq!(rita.sync()["outcomes"], json!(["accepted"]));
    office.is_as(&mut rita, 0);
    says(&mut rita, 0, 249);
    assert_eq!(rita.sync()["outcomes"], json!(["accepted"]));
    let waiting = "SELECT count(*) FROM quarantine WHERE org = ?1 AND state = 'waiting'";
    assert_eq!(office.count(waiting), 1, "his waits for him");
    drop((rita, sam, gate));
    office.close();
}

/// A supervisor may not submit. What was refused is decided on, and the phone hears of it.
#[test]
fn what_becomes_of_refused_work_is_heard() {
    let Some(python) = tests::python::found() else { return };
    let folder = Folder::new("decided");
    let office = Office::found(&folder.0.join("server"), &[]);
    let mut rita = enrolled(python, &folder, "rita", &office.url, &office.code(RITA));
    for call in [0, 4] {
        works(&mut rita, call, 219, "");
    }
    quietly(&mut rita);
    let (name, scope) = ("Rita".into(), Scope::Territory(territory(1)));
    let supervises = Person { id: RITA, name, role: Role::Supervisor, scope, active: true };
    office.writes(Record::Person(supervises));
    quietly(&mut rita);
    let decides = |approved| {
        let item = office.count("SELECT max(item) FROM quarantine WHERE org = ?1");
        let decided = office.app.decide(&office.tenant, item, approved, SUE, |_| Ok(()));
        RUNTIME.block_on(decided).unwrap();
    };
    for (call, approved) in [(0, true), (4, false)] {
        submits(&mut rita, call);
        assert_eq!(quietly(&mut rita), json!(["no_right"]));
        decides(approved);
        quietly(&mut rita);
        let shown = rita.visit(visit_of(call));
        let expected = if approved { Json::Null } else { json!("discarded") };
        assert_eq!(shown["refused"].get(0).cloned().unwrap_or_default(), expected);
        assert_eq!(shown["pending"], i32::from(!approved));
    }
    office.is_as(&mut rita, 0);
    rita.tell(json!({ "do": "give_up", "visit": id(visit_of(4)) }));
    assert_eq!(quietly(&mut rita), json!([]));
    office.is_as(&mut rita, 4);

    // Of a visit that she does not see any more she hears too, and need not keep it.
    submits(&mut rita, 4);
    assert_eq!(quietly(&mut rita), json!(["no_right"]));
    office.moves(RITA, 2);
    quietly(&mut rita);
    assert_eq!(held(&mut rita)["documents"], visits(&[4]));
    decides(true);
    quietly(&mut rita);
    assert_eq!(held(&mut rita)["documents"], visits(&[]));
    drop(rita);
    office.close();
}

/// Whose access was withdrawn keeps what they wrote and no more. It comes back under another key, and then all of it; what
/// the one before has signed is for a supervisor.
#[test]
fn a_phone_that_is_enrolled_again_keeps_what_it_holds() {
    let Some(python) = tests::python::found() else { return };
    let folder = Folder::new("enrolled-again");
    let office = Office::found(&folder.0.join("server"), &[]);
    let mut rita = enrolled(python, &folder, "rita", &office.url, &office.code(RITA));
    let mut sam = enrolled(python, &folder, "sam", &office.url, &office.code(SAM));
    works(&mut sam, 8, 209, "Somebody else's");
    quietly(&mut sam);
    works(&mut rita, 0, 219, "");
    quietly(&mut rita);
    assert_eq!(held(&mut rita)["documents"], visits(&[0, 8]));
    works(&mut rita, 4, 229, "");
    says(&mut rita, 4, 239);
    let actor = held(&mut rita)["actor"].clone();
    let world = office.tenant.world();
    let device = world.devices.values().find(|device| device.user == RITA).unwrap();
    let (org, device) = (office.tenant.org, Device { revoked: true, ..device.clone() });
    let revoked = office.app.write_records_with(
        &office.tenant,
        vec![Record::Device(device.clone())],
        move |ledger, _| accounts::revoke(ledger.tx, org, device.id, 1),
    );
    RUNTIME.block_on(revoked).unwrap();
    for _ in 0..2 {
        assert_eq!(rita.sync()["refused"], "Problem: 403 revoked");
        let left = held(&mut rita);
        assert_eq!((&left["documents"], &left["outlets"]), (&visits(&[0, 4]), &outlets(&[1])));
        assert_eq!(left["notes"], json!([]));
    }
    rita.tell(json!({ "do": "enrol", "server": office.url, "code": office.code(RITA) }));
    assert_ne!(held(&mut rita)["actor"].as_str().unwrap()[..16], actor.as_str().unwrap()[..16]);
    assert_eq!(quietly(&mut rita), json!(["revoked_device"]));
    let again = held(&mut rita);
    assert_eq!((&again["documents"], &again["outlets"]), (&visits(&[0, 4, 8]), &outlets(&[1, 2])));
    says(&mut rita, 0, 239);
    assert_eq!(quietly(&mut rita), json!(["accepted"]));
    office.is_as(&mut rita, 0);
    rita.tell(json!({ "do": "propose", "visit": id(visit_of(4)) }));
    assert_eq!(quietly(&mut rita), json!(["accepted"]));
    office.is_as(&mut rita, 4);
    drop(rita);
    office.close();
}

pub(crate) fn problem(passing: &mut office::Passing<'_>, status: u16, code: &str) {
    passing.status = status;
    passing.body = json!({ "type": format!("urn:endcap:problem:{code}") }).to_string().into_bytes();
}

#[test]
fn a_server_that_does_not_do_it_loses_a_phone_nothing() {
    let Some(python) = tests::python::found() else { return };
    let folder = Folder::new("not-done");
    let office = Office::found(&folder.0.join("server"), &[]);
    let gate = Gate::before(&office);
    let mut rita = enrolled(python, &folder, "rita", &gate.url, &office.code(RITA));
    let mut sam = enrolled(python, &folder, "sam", &office.url, &office.code(SAM));
    works(&mut rita, 0, 219, "");
    let replies = |gate: &Gate, path: &'static str, status: u16, code: &'static str| {
        gate.edit(move |passing| {
            if (passing.path, passing.request) == (path, false) {
                problem(passing, status, code);
                passing.headers.insert("retry-after", "7200".parse().unwrap());
            }
        });
    };
    let refused = |phone: &mut Phone, what: &str, after_s: Json| {
        let report = phone.sync();
        assert_eq!((&report["refused"], &report["after_s"]), (&json!(what), &after_s));
    };

    // It is busy for two hours: the phone asks again after one.
    replies(&gate, "/api/v1/push", 503, "busy");
    refused(&mut rita, "Problem: 503 busy", json!(3_600));
    // It keeps forgetting where the phone stands.
    let pulls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&pulls);
    gate.edit(move |passing| {
        if (passing.path, passing.request) == ("/api/v1/pull", false) {
            counted.fetch_add(1, Ordering::Relaxed);
            problem(passing, 409, "cursor_unknown");
        }
    });
    refused(&mut rita, "Problem: 409 cursor_unknown", Json::Null);
    assert_eq!(pulls.load(Ordering::Relaxed), 2);
    // Its disk is full, or it has had enough from Rita for now: what Sam has written comes all the same.
    works(&mut sam, 4, 229, "");
    // Or it is busy with others', or fails at what she has written.
    for (minor, status, code) in [
        (233, 507, "disk_full"),
        (236, 429, "rate_limited"),
        (239, 503, "busy"),
        (242, 500, "internal"),
    ] {
        says(&mut sam, 4, minor);
        quietly(&mut sam);
        says(&mut rita, 0, minor + 1);
        replies(&gate, "/api/v1/push", status, code);
        refused(&mut rita, &format!("Problem: {status} {code}"), json!(3_600));
        office.is_as(&mut rita, 4);
    }

    // A page whose parents are missing is not taken, and neither is what came with it.
    let before = held(&mut rita);
    says(&mut sam, 4, 249);
    quietly(&mut sam);
    says(&mut sam, 4, 259);
    quietly(&mut sam);
    office.writes(display());
    gate.edit(|passing| match (passing.path, passing.request) {
        ("/api/v1/pull", false) => {
            let mut page: PullReply = from_wire(ORG, &passing.body).unwrap();
            page.groups.iter_mut().for_each(|group| drop(group.changes.remove(0)));
            passing.body = to_wire(ORG, &page);
        }
        ("/api/v1/repair", false) => problem(passing, 503, "busy"),
        _ => {}
    });
    let report = rita.sync();
    assert!(report["refused"].as_str().unwrap().starts_with("Lacking"), "{report}");
    let after = held(&mut rita);
    for what in ["cursor", "records", "documents"] {
        assert_eq!(after[what], before[what]);
    }
    gate.leave();
    quietly(&mut rita);
    office.is_as(&mut rita, 0);
    office.is_as(&mut rita, 4);
    assert_eq!(held(&mut rita)["log"]["alarm"], Json::Null);

    // A log that goes on and gives no receipt is noticed, and the phone goes on.
    gate.edit(|passing| {
        if (passing.path, passing.request) == ("/api/v1/pull", false) {
            let page: PullReply = from_wire(ORG, &passing.body).unwrap();
            passing.body = to_wire(ORG, &PullReply { receipt: None, ..page });
        }
    });
    says(&mut sam, 4, 269);
    quietly(&mut sam);
    quietly(&mut rita);
    office.is_as(&mut rita, 4);
    let alarm = held(&mut rita)["log"]["alarm"].clone();
    assert!(alarm[0].as_str().unwrap().contains("without a checkpoint"));

    // It watches no more until somebody has looked into it, and then from the next checkpoint on.
    gate.leave();
    says(&mut sam, 4, 270);
    quietly(&mut sam);
    quietly(&mut rita);
    let before = held(&mut rita)["log"].clone();
    assert_eq!(before["alarm"], alarm);
    rita.tell(json!({ "do": "alarm_seen" }));
    quietly(&mut rita);
    let log = held(&mut rita)["log"].clone();
    assert_eq!((&log["alarm"], &log["seen"]), (&Json::Null, &json!([alarm])));
    assert_eq!(log["cursor"], held(&mut rita)["cursor"]);
    assert_ne!(log["cursor"], before["cursor"]);
    drop((rita, sam, gate));
    office.close();
}
