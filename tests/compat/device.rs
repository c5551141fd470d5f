//! What a phone's store once held: it still opens, and work that was begun with it goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use endcap_mobile::{Client, ClientError, Clock, Observation, Position, Subject, Value};
use serde_json::{Value as Json, json};
use server::erase::Target;
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::{Clocks, FormerKey, Held, Kept, Profile, Refused, Replica, Witness, Write};
use sync_core::command::Command;
use sync_core::document::Entry;
use sync_core::evidence::{Cursor, Keypair};
use sync_core::id::{ChangeHash, DeviceId, DocId, DocKind, LogHash, LogOrigin, OrgId, VisitId};
use sync_core::model::visit;
use sync_core::print::Print;
use sync_core::receipt::{Alarm, Restored, Watch, Wrong};
use sync_core::session::Step;
use sync_core::wire::{
    Filled, Group, MESSAGE_BYTES_MAX, PullReply, PushRequest, RecordBytes, from_wire, to_wire,
};
use tests::backend::{Crash, Server, encode};
use tests::brand::{self, BEGIN_MS, ORG, RITA, checks};
use tests::chance::Chance;
use tests::device::{self, Answer, Device, Question, Turn};

use crate::cases;
use crate::office::{Folder, Gate, Office, copy, enrol, phone, picture, sync};
use crate::{array, bless, fixtures, golden, hex, named, read, unhex};

const SEED: [u8; 32] = [0x44; 32];
/// The folder of the library's own store, as a phone with a draft once left it.
const FOLDER: &str = "device/folder";

fn profile() -> Profile {
    let key = Keypair::from_seed(&SEED).public();
    Profile::enrolled(ORG, RITA, DeviceId::from_bytes([0x45; 16]), key, [0x46; 8])
}

/// A profile in which everything is said.
fn full_profile() -> Profile {
    let origin = LogOrigin::from_bytes([0x61; 16]);
    Profile {
        cursor: Some(Cursor { origin, sequence: 300, root: LogHash([0x66; 32]) }),
        pushed: Some(LogHash([0x68; 32])),
        witness: Some(Witness { server_ms: BEGIN_MS, boot: 7, boot_ms: 60_000 }),
        filled: Some(Filled { next: 40, since: 45 }),
        narrowed: Some(true),
        former: Some(vec![FormerKey([0x6b; 32])]),
        held: Some(Held {
            print: Print::of_change(ChangeHash([0x69; 32])),
            counted_ms: BEGIN_MS + 1_000,
        }),
        mended: Some(3),
        watch: Some(Watch {
            key: cases::receipt().key,
            note: Some(cases::checkpoint()),
            heard_ms: BEGIN_MS + 2_000,
            alarm: Some(Alarm {
                what: Wrong::Rewritten,
                kept: Some(cases::checkpoint()),
                told: Some(cases::checkpoint()),
                at_ms: BEGIN_MS + 3_000,
                key: cases::receipt().key,
            }),
            restored: Some(Restored { at_ms: BEGIN_MS + 4_000, lost: Some(5), another_key: true }),
            seen: Some(vec![Alarm {
                what: Wrong::Withheld,
                kept: None,
                told: None,
                at_ms: BEGIN_MS + 1_000,
                key: None,
            }]),
            anew: Some(true),
        }),
        ..profile()
    }
}

/// A document with seals, with unconfirmed work, refused and out of sight.
fn full_document() -> Kept {
    let document = cases::documents().swap_remove(0).document;
    let (org, id, head) = (document.org(), document.id(), document.changes()[0].hash());
    let refused = Refused { code: "out_of_scope".into(), detail: "in words".into(), apart: None };
    let pending = document.changes()[7..].iter().map(|c| c.hash()).collect();
    let seals = vec![Keypair::from_seed(&SEED).seal(org, id, head)];
    let passed = [ChangeHash([0x6a; 32]), ChangeHash([0x6b; 32])].into();
    let mut kept = Kept::new(org, id);
    (kept.document, kept.seals, kept.pending, kept.refused) =
        (document, seals, pending, Some(refused));
    (kept.gone, kept.behind, kept.passed, kept.aside) = (true, true, passed, true);
    kept
}

fn visit() -> VisitId {
    VisitId::of_call(ORG, brand::call(0))
}

/// A whole sync with a server beside it.
fn exchange(server: &mut Server, phone: &mut Device, now_ms: i64) {
    let mut asked = phone.sync(now_ms);
    while let Some((number, question)) = asked {
        let answer = match &question {
            Question::Push(bytes) => server
                .push(phone.id, bytes, now_ms, Crash::Never)
                .map(|reply| Answer::Pushed(encode(&reply))),
            Question::Cargo(bytes) => server
                .cargo(phone.id, bytes, now_ms, Crash::Never)
                .map(|reply| Answer::Delivered(encode(&reply))),
            Question::Pull(bytes) => {
                server.pull(phone.id, bytes, now_ms).map(|page| Answer::Pulled(encode(&page)))
            }
            Question::Repair(bytes) => {
                server.repair(phone.id, bytes, now_ms).map(|reply| Answer::Repaired(encode(&reply)))
            }
        };
        let answer = answer.unwrap_or_else(Answer::Refused);
        match phone.hear(number, &answer, now_ms, device::Crash::Never).unwrap() {
            (Turn::Over(step), _) => return assert_eq!(step, Step::Done, "{:?}", phone.complaint),
            (Turn::Asks, next) => asked = next,
        }
    }
}

/// Rita's phone, beside the brand's server, with the brand's records and this in its store.
fn phone_with(profile: Profile, draft: Option<Kept>) -> (Server, Device) {
    let mut chance = Chance::new(12);
    let mut server = Server::new(&mut chance);
    let records = brand::records();
    let mut writes: Vec<Write> =
        records.iter().map(|r| Write::Record(r.key(), RecordBytes(to_cbor(r)))).collect();
    writes.extend(draft.map(|kept| Write::Document(Box::new(kept))));
    let phone = Device::over(SEED, profile, writes, BEGIN_MS, &mut chance);
    server.enrol(phone.id, RITA, phone.keypair.public(), BEGIN_MS);
    (server, phone)
}

fn draft() -> Device {
    let (mut server, mut phone) = phone_with(profile(), None);
    exchange(&mut server, &mut phone, BEGIN_MS + 1_000);
    let facings =
        visit::Value::Shelf { facings: 2, in_stock: true, place: visit::Place::AsPlanned };
    let subject = visit::Subject::Position { planogram: 1, position: 1 };
    let seen = visit::Observation { check: checks::PLANOGRAM, subject, value: facings };
    let (observations, photos, notes) = (vec![seen], Vec::new(), Vec::new());
    for command in [
        Command::StartCall(brand::call(0)),
        Command::Record { visit: visit(), observations, photos, notes },
    ] {
        phone.act(BEGIN_MS + 60_000, device::Crash::Never, command).unwrap();
    }
    phone
}

fn row(kept: &Kept) -> Json {
    json!({
        "organisation": hex(kept.document.org().as_bytes()),
        "document": named(kept.document.id()),
        "row": hex(&kept.to_bytes()),
    })
}

pub(crate) fn rows_now() -> Json {
    json!([
        { "what": "a fresh profile", "row": hex(&to_cbor(&profile())) },
        { "what": "a profile", "row": hex(&to_cbor(&full_profile())) },
        { "what": "a document", "kept": row(&full_document()) },
    ])
}

/// What a phone holds that has begun a visit.
pub(crate) fn draft_now() -> Json {
    let phone = draft();
    let kept = phone.document(visit().into()).unwrap();
    let profile = to_cbor(phone.disk.profile());
    json!({ "seed": hex(&SEED), "profile": hex(&profile), "visit": row(&kept) })
}

fn kept(row: &Json) -> Kept {
    let kind = match row["document"]["kind"].as_str() {
        Some("outlet") => sync_core::id::DocKind::Outlet,
        _ => sync_core::id::DocKind::Visit,
    };
    let id = DocId { kind, id: array(&row["document"]["id"]) };
    let org = OrgId::from_bytes(array(&row["organisation"]));
    Kept::from_bytes(org, id, &unhex(&row["row"])).unwrap()
}

#[test]
fn rows_of_the_store() {
    golden("device/rows.json", &rows_now());
    for case in read("device/rows.json").as_array().unwrap() {
        let (row, again) = match case.get("kept") {
            Some(document) => (&document["row"], kept(document).to_bytes()),
            None => {
                let profile: Profile = from_cbor(&unhex(&case["row"])).unwrap();
                (&case["row"], to_cbor(&profile))
            }
        };
        assert_eq!(hex(&again), row.as_str().unwrap());
    }
}

#[test]
fn a_draft_begun_before_an_upgrade_is_submitted_after_it() {
    let draft = read("device/draft.json");
    assert_eq!(array(&draft["seed"]), SEED);
    let begun = kept(&draft["visit"]);
    let before = begun.document.changes().to_vec();
    assert_eq!((before.len(), begun.pending.len()), (2, 2));
    let profile = from_cbor(&unhex(&draft["profile"])).unwrap();
    let (mut server, mut phone) = phone_with(profile, Some(begun));
    let submit = Command::Submit(visit());
    phone.act(BEGIN_MS + 180_000, device::Crash::Never, submit).unwrap();
    exchange(&mut server, &mut phone, BEGIN_MS + 240_000);
    let there = server.held(visit().into()).document;
    assert_eq!(there.changes()[..2], before);
    assert_eq!(there.changes().len(), 3);
    let here = phone.document(visit().into()).unwrap();
    assert!(here.pending.is_empty() && here.refused.is_none());
}

fn price(minor: i64) -> Observation {
    let subject = Subject::Product { gtin: brand::product(0).to_string() };
    let value = Value::Price { minor, currency: "EUR".into() };
    Observation { check: checks::PRICE, subject, value }
}

/// Makes the folder, unless it is there: what a phone once wrote is not written anew.
pub(crate) fn leave_folder() {
    let to = fixtures().join(FOLDER);
    if to.exists() {
        return;
    }
    let folder = Folder::new("draft");
    let office = Office::found(&folder.0.join("server"), &[]);
    let place = folder.0.join("rita");
    let rita = phone(&place);
    enrol(&rita, &office.url, &office.code(RITA)).unwrap();
    sync(&rita).unwrap();
    let words = Value::Text { text: "The freezer hums".into() };
    let words = Observation { check: checks::WORDS, subject: Subject::Outlet, value: words };
    let draft = rita.start_call(brand::call(0).to_string()).unwrap();
    let photo = rita.add_photo(picture(), Some(checks::PRICE)).unwrap();
    rita.record(draft, vec![price(249), words], vec![photo]).unwrap();
    drop(rita);
    office.close();
    copy(&place, &to);
    std::fs::remove_file(to.join("endcap.lock")).unwrap();
}

/// Who says what of a visit.
fn said(client: &Client, visit: &str) -> Vec<(u32, Value)> {
    let values = client.visit(visit.to_owned()).unwrap().values;
    values.into_iter().flat_map(|h| h.said.into_iter().map(move |s| (h.check, s.value))).collect()
}

#[test]
fn a_photo_that_no_recording_names_goes_after_a_month() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let folder = Folder::new("unattached");
    let office = Office::found(&folder.0.join("server"), &[]);
    let gate = Gate::before(&office);
    let rita = phone(&folder.0.join("rita"));
    enrol(&rita, &gate.url, &office.code(RITA)).unwrap();
    sync(&rita).unwrap();
    let photo = rita.add_photo(picture(), None).unwrap();
    let synced_after = |days: i64| {
        gate.edit(move |passing| {
            if (passing.path, passing.request) == ("/api/v1/pull", false) {
                let mut page: PullReply = from_wire(ORG, &passing.body).unwrap();
                page.server_ms += days * DAY_MS;
                passing.body = to_wire(ORG, &page);
            }
        });
        sync(&rita).unwrap();
        rita.photo(photo.hash.clone()).unwrap().is_some()
    };
    assert!([0, 29].map(synced_after).iter().all(|kept| *kept));
    assert!(!synced_after(31), "its screen was left a month ago");
    let visit = rita.start_call(brand::call(0).to_string()).unwrap();
    let named = || rita.record(visit.clone(), Vec::new(), vec![photo.clone()]);
    assert!(matches!(named(), Err(ClientError::NotHere { .. })));
    // It is taken again, and one that is named stays.
    rita.add_photo(picture(), None).unwrap();
    named().unwrap();
    assert!(synced_after(31 + 31));
    drop(gate);
    office.close();
}

/// A phone's boot, and the milliseconds that it has counted since.
struct Hands(Arc<Mutex<(u32, u64)>>);

impl Clock for Hands {
    fn read(&self) -> Clocks {
        let (boot, boot_ms) = *self.0.lock().unwrap();
        Clocks { wall_ms: BEGIN_MS, boot, boot_ms }
    }
}

#[test]
fn a_position_of_a_while_ago_goes_with_no_capture() {
    const MINUTE_MS: u64 = 60_000;
    let folder = Folder::new("positions");
    let office = Office::found(&folder.0.join("server"), &[]);
    let time = Arc::new(Mutex::new((1, MINUTE_MS)));
    let place = folder.0.join("rita");
    let hands = Box::new(Hands(Arc::clone(&time)));
    let rita = Arc::new(Client::with_clock(place.to_str().unwrap(), &[7; 32], hands).unwrap());
    enrol(&rita, &office.url, &office.code(RITA)).unwrap();
    sync(&rita).unwrap();
    let visit = rita.start_call(brand::call(0).to_string()).unwrap();
    let here = Position { lon: 24.94, lat: 60.17, accuracy_m: Some(8), mock: None };
    rita.locate(Some(here)).unwrap();
    let mut cents = 200;
    let mut captures = |boot, minutes: u64, ms: u64| {
        *time.lock().unwrap() = (boot, minutes * MINUTE_MS + ms);
        cents += 1;
        rita.record(visit.clone(), vec![price(cents)], Vec::new()).unwrap();
    };
    captures(1, 1, 0);
    captures(1, 6, 0);
    captures(1, 6, 1);
    captures(1, 61, 0);
    rita.locate(Some(here)).unwrap();
    captures(1, 62, 0);
    captures(2, 62, 0);
    rita.locate(Some(here)).unwrap();
    captures(2, 62, 1);
    rita.locate(None).unwrap();
    captures(2, 62, 2);
    sync(&rita).unwrap();
    let document = office.document(visit.parse().unwrap());
    let entries = document.changes().iter().map(|change| change.entry().unwrap());
    let placed: Vec<bool> = entries
        .filter_map(|entry| match entry {
            Entry::Recording(recording) => Some(recording.place.is_some()),
            _ => None,
        })
        .collect();
    // The first is the start, before anything was said.
    assert_eq!(placed, [false, true, true, false, false, true, false, true, false]);
    drop(rita);
    office.close();
}

#[test]
fn a_folder_of_the_first_library_opens() {
    bless();
    let folder = Folder::new("first-library");
    let place: &Path = &folder.0.join("rita");
    copy(&fixtures().join(FOLDER), place);
    let rita = phone(place);
    assert_eq!(rita.enrolment().unwrap().unwrap().user_name, "Rita");
    let visit = visit().to_string();
    let words = Value::Text { text: "The freezer hums".into() };
    let euros = |minor| Value::Price { minor, currency: "EUR".into() };
    let held = said(&rita, &visit);
    assert_eq!(held, [(checks::PRICE, euros(249)), (checks::WORDS, words)]);
    let shown = rita.visit(visit.clone()).unwrap();
    assert_eq!(
        (shown.status.as_str(), shown.outlet_name.as_str()),
        ("in_progress", "Corner shop 1")
    );
    let photo = shown.recordings.iter().flat_map(|r| &r.photos).next().unwrap();
    assert!(rita.photo(photo.clone()).unwrap().unwrap().starts_with(b"\xff\xd8"));
    let waits = rita.outstanding().unwrap();
    assert_eq!((waits.documents[0].entries, waits.photos), (2, 1));

    rita.record(visit.clone(), vec![price(259)], Vec::new()).unwrap();
    rita.submit(visit.clone()).unwrap();
    drop(rita);
    let rita = phone(place);
    assert_eq!(said(&rita, &visit)[0], (checks::PRICE, euros(259)));
    assert_eq!(rita.visit(visit).unwrap().status, "submitted");
    assert_eq!(rita.outstanding().unwrap().documents[0].entries, 4);
}

/// Rows of the library's own store are gone: how many.
fn lose(place: &Path, sql: &str) -> usize {
    rusqlite::Connection::open(place.join("endcap.db")).unwrap().execute(sql, []).unwrap()
}

#[test]
fn a_store_that_has_lost_rows_is_whole_after_one_sync() {
    let folder = Folder::new("lost-rows");
    let office = Office::found(&folder.0.join("server"), &[]);
    let place = folder.0.join("rita");
    let rita = phone(&place);
    enrol(&rita, &office.url, &office.code(RITA)).unwrap();
    assert_eq!(sync(&rita).unwrap().mended, 0);
    let words = Value::Text { text: "The freezer hums".into() };
    let words = Observation { check: checks::WORDS, subject: Subject::Outlet, value: words };
    let mut visits = Vec::new();
    let begin = || rita.start_visit(brand::outlet(1).to_string(), 1).unwrap();
    for cents in 200..204 {
        let visit = begin();
        rita.record(visit.clone(), vec![price(cents), words.clone()], Vec::new()).unwrap();
        visits.push(visit);
    }
    sync(&rita).unwrap();
    let unsent = begin();
    let seen = |rita: &Client| -> Vec<_> {
        visits.iter().map(|visit| rita.visit(visit.clone()).ok()).collect()
    };
    let before = seen(&rita);
    drop(rita);
    // Documents, notes, and the records of kinds 3 (devices), 4 (products) and 5 (planograms).
    let some = "name IN (SELECT name FROM item WHERE space = 1 ORDER BY name LIMIT 2)";
    let documents = lose(&place, &format!("DELETE FROM item WHERE space = 1 AND {some}"));
    let notes = lose(&place, "DELETE FROM item WHERE space = 3");
    let records = lose(&place, "DELETE FROM item WHERE space IN (19, 20, 21)");
    assert!(documents == 2 && notes > 0 && records > 2);

    let rita = phone(&place);
    let unsent_is_here = rita.visit(unsent.clone()).is_ok();
    rita.count_anew().unwrap();
    let report = sync(&rita).unwrap();
    let lost = documents - usize::from(!unsent_is_here) + records;
    assert_eq!(report.mended as usize, lost);
    let after = seen(&rita);
    for (before, after) in before.iter().zip(&after) {
        let (before, after) = (before.as_ref().unwrap(), after.as_ref().unwrap());
        assert_eq!(before.values.len(), after.values.len());
        assert_eq!(before.recordings.len(), after.recordings.len());
    }
    let diagnostics: Json = serde_json::from_str(&rita.diagnostics().unwrap()).unwrap();
    assert_eq!(diagnostics["mended"], lost);
    rita.count_anew().unwrap();
    assert_eq!(sync(&rita).unwrap().mended, 0, "it is whole");
    // Work goes on where it was.
    rita.record(visits[0].clone(), vec![price(999)], Vec::new()).unwrap();
    assert_eq!(sync(&rita).unwrap().refused, 0);
    drop(rita);
    office.close();
}

/// A row of the library's own store: its table, its space and where it lies there.
type Row = (&'static str, u8, Vec<u8>);

fn rows(place: &Path) -> BTreeSet<Row> {
    let db = rusqlite::Connection::open(place.join("endcap.db")).unwrap();
    let mut rows = BTreeSet::new();
    for (table, sql) in [
        ("item", "SELECT space, name FROM item WHERE space <> 0"),
        ("queue", "SELECT space, CAST(position AS BLOB) FROM queue"),
    ] {
        let mut query = db.prepare(sql).unwrap();
        let found = query.query_map([], |row| Ok((table, row.get(0)?, row.get(1)?))).unwrap();
        rows.extend(found.map(Result::unwrap));
    }
    rows
}

/// The disk gets one bit of a row wrong.
fn garble(place: &Path, (table, space, name): &Row) {
    let db = rusqlite::Connection::open(place.join("endcap.db")).unwrap();
    let which = match *table {
        "item" => "item WHERE space = ?1 AND name = ?2",
        _ => "queue WHERE space = ?1 AND CAST(position AS BLOB) = ?2",
    };
    let sealed = format!("SELECT sealed FROM {which}");
    let mut sealed: Vec<u8> = db.query_row(&sealed, (space, name), |row| row.get(0)).unwrap();
    let middle = sealed.len() / 2;
    sealed[middle] ^= 1;
    let which = which.replace("WHERE", "SET sealed = ?3 WHERE");
    assert_eq!(db.execute(&format!("UPDATE {which}"), (space, name, sealed)).unwrap(), 1);
}

#[test]
fn a_row_that_does_not_read_costs_what_was_in_it_and_nothing_else() {
    let folder = Folder::new("garbled-rows");
    let office = Office::found(&folder.0.join("server"), &[]);
    let place = folder.0.join("rita");
    let rita = phone(&place);
    enrol(&rita, &office.url, &office.code(RITA)).unwrap();
    sync(&rita).unwrap();
    let words = |text: &str| {
        let value = Value::Text { text: text.into() };
        Observation { check: checks::WORDS, subject: Subject::Outlet, value }
    };
    let begin = |rita: &Client, cents, text| {
        let visit = rita.start_visit(brand::outlet(1).to_string(), 1).unwrap();
        rita.record(visit.clone(), vec![price(cents), words(text)], Vec::new()).unwrap();
        visit
    };
    let sent = begin(&rita, 201, "The freezer hums");
    rita.comment_outlet(brand::outlet(1).to_string(), "Mind the dog".into()).unwrap();
    sync(&rita).unwrap();
    let before = rows(&place);
    let unsent = begin(&rita, 202, "The door sticks");
    let photo = rita.add_photo(picture(), Some(checks::PRICE)).unwrap();
    rita.record(unsent.clone(), Vec::new(), vec![photo]).unwrap();
    let visits = [&sent, &unsent].map(|visit| rita.visit(visit.clone()).unwrap());
    drop(rita);
    let all = rows(&place);
    let fresh: BTreeSet<Row> = all.difference(&before).cloned().collect();
    let spaces: BTreeSet<u8> = fresh.iter().map(|(_, space, _)| *space).collect();
    assert_eq!(spaces, [1, 2, 3, 4, 8].into(), "head, outbox, words, photo, page");
    // One row of each sort.
    let mut sorts = BTreeSet::new();
    let all: Vec<&Row> =
        all.iter().filter(|row| sorts.insert((row.0, row.1, fresh.contains(*row)))).collect();
    // What nobody else has first: once a copy has handed it over, the server has it.
    let (alone, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|row| fresh.contains(*row) && [3, 8].contains(&row.1));
    for row in alone.into_iter().chain(rest) {
        let copied = folder.0.join("copy");
        let _ = std::fs::remove_dir_all(&copied);
        copy(&place, &copied);
        garble(&copied, row);
        // So many copies together ask more often than one phone may.
        office.app.limits.sync.forget();
        let rita = phone(&copied);
        rita.count_anew().unwrap();
        // Everything works at once, whether it meets the row or not.
        rita.calls(None).unwrap();
        rita.conflicts().unwrap();
        rita.send_backs().unwrap();
        rita.outlet_thread(brand::outlet(1).to_string(), None).unwrap();
        rita.find_outlets(String::new(), 50).unwrap();
        rita.outstanding().unwrap();
        rita.diagnostics().unwrap();
        Arc::clone(&rita).meet().unwrap();
        let lost_page = fresh.contains(row) && row.1 == 8;
        let report = sync(&rita).unwrap_or_else(|error| panic!("{row:?}: {error}"));
        let waits = rita.outstanding().unwrap();
        // The record and the outbox are made anew; what may have been alone here is kept, and told.
        let told: Vec<_> = waits.unreadable.iter().map(|u| u.document.clone()).collect();
        // Nothing asks for words that the server has.
        let kept = matches!(row, ("item", 1 | 4 | 8, _)) || (row.1 == 3 && fresh.contains(row));
        assert_eq!((report.unreadable as usize, told.len()), (kept.into(), kept.into()), "{row:?}");
        if lost_page {
            assert_eq!(told, [Some(format!("visit/{unsent}"))]);
            assert!(matches!(rita.visit(unsent.clone()), Err(ClientError::NotHere { .. })));
        } else if fresh.contains(row) && row.1 == 3 {
            assert_eq!(waits.documents[0].refused.as_deref(), Some("missing_note"));
        } else {
            assert!(waits.documents.is_empty() && waits.photos == 0, "{row:?}: {waits:?}");
            for before in &visits {
                let after = rita.visit(before.id.clone()).unwrap();
                assert_eq!(after.recordings.len(), before.recordings.len(), "{row:?}");
                assert_eq!(after.status, before.status);
                let all = after.recordings.iter().all(|recording| recording.confirmed);
                assert!(all, "{row:?}");
            }
        }
        rita.forget_unreadable().unwrap();
        assert!(rita.outstanding().unwrap().unreadable.is_empty());
        rita.count_anew().unwrap();
        let again = sync(&rita).unwrap();
        assert_eq!((again.mended, again.unreadable), (0, 0), "{row:?}: it is whole");
    }
    // The phone goes on, and nothing of it is refused.
    let copied = folder.0.join("copy");
    let rita = phone(&copied);
    begin(&rita, 203, "The light is out");
    assert_eq!(sync(&rita).unwrap().refused, 0);
    drop(rita);
    office.close();
}

#[test]
fn a_folder_that_the_system_refuses_is_not_called_damaged() {
    let folder = Folder::new("no-folder");
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("file");
    std::fs::write(&file, "no folder").unwrap();
    let place = file.join("rita").to_str().unwrap().to_owned();
    let met = Client::open(place, vec![7; 32]).err().unwrap();
    assert!(matches!(&met, ClientError::Unusable { .. }), "{met}");
    assert!(met.sentence().starts_with("the folder cannot be used now: "), "{met}");
}

#[test]
fn words_that_are_lost_cost_themselves_alone() {
    let folder = Folder::new("lost-words");
    let office = Office::found(&folder.0.join("server"), &[]);
    let place = folder.0.join("rita");
    let rita = phone(&place);
    enrol(&rita, &office.url, &office.code(RITA)).unwrap();
    sync(&rita).unwrap();
    let value = Value::Text { text: "The freezer hums".into() };
    let words = Observation { check: checks::WORDS, subject: Subject::Outlet, value };
    let visits = [1, 2].map(|outlet| {
        let visit = rita.start_visit(brand::outlet(outlet).to_string(), 1).unwrap();
        rita.record(visit.clone(), vec![price(201), words.clone()], Vec::new()).unwrap();
        rita.record(visit.clone(), vec![words.clone()], Vec::new()).unwrap();
        visit
    });
    drop(rita);
    for row in rows(&place).into_iter().filter(|(_, space, _)| *space == 3) {
        garble(&place, &row);
    }
    let rita = phone(&place);
    assert_ne!(sync(&rita).unwrap().unreadable, 0);
    let refused = || -> Vec<_> {
        let waits = rita.outstanding().unwrap().documents;
        waits.into_iter().map(|waits| (waits.document, waits.refused.unwrap())).collect()
    };
    let [first, second] = visits.each_ref().map(|visit| format!("visit/{visit}"));
    let missing = |document: &String| (document.clone(), "missing_note".to_owned());
    assert_eq!(refused(), [missing(&first), missing(&second)]);
    // The one is proposed again: what nobody has any more is left out, and said to be.
    let proposed = rita.propose_again(first.clone()).unwrap();
    assert_eq!(proposed.left_out, ["its words are not on this phone any more"; 2]);
    assert_eq!(sync(&rita).unwrap().refused, 0);
    let visit = rita.visit(visits[0].clone()).unwrap();
    let recorded: Vec<u32> = visit.recordings.iter().map(|r| r.observations).collect();
    assert_eq!(recorded, [0, 1], "the price stays, and a screen without anything goes");
    // The words of the other are erased at the office: nobody needs them any more.
    assert_eq!(refused(), [missing(&second)]);
    let db = rusqlite::Connection::open(folder.0.join("server/endcap.db")).unwrap();
    let body = "SELECT body FROM quarantine WHERE state = 'waiting'";
    let body: Vec<u8> = db.query_row(body, [], |row| row.get(0)).unwrap();
    let group: Group = from_wire(ORG, &body).unwrap();
    let entries = group.changes.iter().map(|change| change.entry().unwrap());
    for digest in entries.flat_map(|entry| entry.notes()) {
        office.erases(Target::Note(digest));
    }
    assert_eq!(sync(&rita).unwrap().refused, 0);
    assert_eq!(refused(), []);
    assert!(rita.visit(visits[1].clone()).unwrap().recordings.iter().all(|r| r.confirmed));
    drop(rita);
    office.close();
}

#[test]
fn a_push_that_is_not_taken_is_cut_smaller_and_stops_no_pull() {
    let folder = Folder::new("push-not-taken");
    let office = Office::found(&folder.0.join("server"), &[]);
    let gate = Gate::before(&office);
    let [rita, sam] = ["rita", "sam"].map(|name| phone(&folder.0.join(name)));
    enrol(&rita, &gate.url, &office.code(RITA)).unwrap();
    enrol(&sam, &office.url, &office.code(brand::SAM)).unwrap();
    assert!([&rita, &sam].into_iter().all(|phone| sync(phone).is_ok()));
    let say = |phone: &Client, text: &str| {
        phone.comment_outlet(brand::outlet(1).to_string(), text.into()).unwrap();
    };
    let heard = |phone: &Client, text: &str| {
        let thread = phone.outlet_thread(brand::outlet(1).to_string(), None).unwrap();
        thread.posts.iter().any(|post| post.text == text)
    };
    // Something on the way takes one document at a time.
    let groups = |body: &[u8]| from_wire::<PushRequest>(ORG, body).map(|push| push.groups.len());
    gate.edit(move |passing| {
        let push = passing.request && passing.path == "/api/v1/push";
        if push && groups(&passing.body).is_ok_and(|groups| groups > 1) {
            passing.body = vec![0; MESSAGE_BYTES_MAX + 1];
        }
    });
    say(&rita, "from Rita");
    let visits =
        [1, 2].map(|outlet| rita.start_visit(brand::outlet(outlet).to_string(), 1).unwrap());
    say(&sam, "from Sam");
    sync(&sam).unwrap();
    assert_eq!(sync(&rita).unwrap().pushed, 3);
    assert!(heard(&rita, "from Sam"));
    // Now it takes nothing of a visit, and nothing at all.
    for whatever in [false, true] {
        gate.edit(move |passing| {
            let push = passing.request && passing.path == "/api/v1/push";
            let read = from_wire::<PushRequest>(ORG, &passing.body);
            let visit = |push: PushRequest| {
                push.groups.iter().any(|group| group.document.kind == DocKind::Visit)
            };
            if push && whatever {
                passing.body.truncate(20);
            } else if push && read.is_ok_and(visit) {
                passing.body = vec![0; MESSAGE_BYTES_MAX + 1];
            }
        });
        let (mine, theirs) = (format!("Rita {whatever}"), format!("Sam {whatever}"));
        rita.comment(visits[0].clone(), "slow today".into(), None).unwrap();
        say(&rita, &mine);
        say(&sam, &theirs);
        sync(&sam).unwrap();
        assert!(matches!(sync(&rita), Err(ClientError::BadAnswer { .. })));
        assert!(heard(&rita, &theirs), "what others wrote is here");
        sync(&sam).unwrap();
        assert_eq!(heard(&sam, &mine), !whatever, "what is behind it went up");
    }
    gate.leave();
    sync(&rita).unwrap();
    assert!(rita.outstanding().unwrap().documents.is_empty());
    drop(gate);
    office.close();
}
