//! What the proof of a visit says in words.

use std::sync::Arc;

use axum::http::StatusCode;
use server::blobs::Rendition;
use server::erase::{Target, erase};
use server::store::{bundle, log};
use sync_core::document::{Document, Entry};
use sync_core::id::{BlobHash, UserId, VisitId};
use sync_core::model::Geo;
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{CheckKind, Record, Template};
use sync_core::model::visit::{
    Act, NotPossible, Note, Observation, PhotoOrigin, PhotoRef, Place, Recording, Subject, Value,
    Versioned,
};
use sync_core::proof::verify;
use sync_core::visit::Visit;
use sync_core::wire::Outcome;
use sync_core::zip;

use crate::erasing::{ADA, comes_ada};
use crate::evidence::{brings, fetch, two_alike};
use crate::{
    ANNA, Bench, CALL, CLOSED_CALL, DORA, GROSSIST, JOHAN, MARIA, NORTH, OTHER, OUTLET, SCRIPT,
    SHELF, TOWER, audited, check, gtin, photo, price, shelf,
};

async fn bundle_of(bench: &Bench, user: UserId, visit: VisitId) -> Vec<u8> {
    let (status, _, bundle) = fetch(bench, user, &format!("/visits/{visit}/proof"), &[]).await;
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&bundle));
    bundle
}

async fn summary(bench: &Bench, visit: VisitId) -> String {
    verify(&bundle_of(bench, MARIA, visit).await).unwrap().summary
}

#[track_caller]
fn says(summary: &str, parts: &[&str]) {
    for part in parts {
        assert!(summary.contains(part), "{part}: {summary}");
    }
}

/// What stands under a heading.
fn under<'a>(summary: &'a str, heading: &str) -> &'a str {
    let (_, rest) = summary.split_once(&format!("{heading}\n\n")).expect(heading);
    rest.split_once("\n\n").map_or(rest, |(part, _)| part)
}

const SERVER_SAYS: &str = "WHAT THE SERVER SAYS, AND NOBODY ELSE HAS SIGNED";
const CAVEAT: &str = "- That a person did what the server has signed for them, or says of them:";

#[tokio::test]
async fn that_a_key_was_confirmed_is_what_the_server_says() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let spare = bench.phone(JOHAN, "Johan's spare phone").await.sender.device;
    let (org, id) = (bench.tenant.org, bench.tenant.id);
    let held = bench.app.store.read(move |c| log::document(c, org, id, visit.into()));
    let held = held.await.unwrap();
    let mut changes = held.document.changes().iter();
    let his = changes.find(|c| c.entry().is_ok_and(|entry| entry.by() == JOHAN));
    let device = held.devices[&his.unwrap().hash()];
    let before = summary(&bench, visit).await;
    assert!(!before.contains(SERVER_SAYS) && !before.contains(CAVEAT), "{before}");
    for confirmed in [spare, device] {
        let reply = bench.post(DORA, &format!("/devices/{confirmed}/confirm"), &[]).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    }
    // Nobody has written in the visit's console, and nothing else would bring her name or the caveat.
    let summary = summary(&bench, visit).await;
    assert!(!summary.contains("in the console"), "{summary}");
    let said = under(&summary, SERVER_SAYS);
    let line = format!(": the server says that Dora Lund ({DORA}) confirmed at ");
    let key = format!(" that the key of device {device} is that of one of their people.");
    assert!(said.starts_with("Line ") && said.contains(&line) && said.ends_with(&key), "{said}");
    assert_eq!(said.lines().count(), 1, "a key that signed nothing here is of no account: {said}");
    assert!(!under(&summary, "WHAT IS PROVED").contains("confirm"), "{summary}");
    assert!(under(&summary, "WHAT IS NOT PROVED").contains(CAVEAT), "{summary}");
    bench.close().await;
}

#[tokio::test]
async fn what_was_decided_on_refused_work_is_what_the_server_says() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let mut refused = Vec::new();
    for label in ["Anna's second phone", "Anna's third phone"] {
        // She says that the outlet is another distributor's.
        let mut anna = bench.phone(ANNA, label).await;
        let mut document = bench.document(visit).await;
        let (call, template) = (Some(CALL), Versioned { number: 1, version: 1 });
        let (territory, distributor) = (NORTH, OTHER);
        let start = Act::Start { outlet: OUTLET, call, territory, distributor, template };
        let head = anna.record(&mut document, start);
        let outcome = anna.outcome(&bench, &document, Vec::new()).await;
        assert!(matches!(&outcome, Outcome::Quarantined { code, .. } if code == "wrong_start"));
        refused.push((anna.sender.device, head));
    }
    for (item, decision) in [(1, "approve"), (2, "discard")] {
        let form = [("decision", decision)];
        let reply = bench.post(MARIA, &format!("/refused/{item}"), &form).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    }
    let summary = summary(&bench, visit).await;
    assert!(!summary.contains("in the console"), "{summary}");
    let [(let_in, head), (kept_out, gone)] = refused[..] else { panic!("{refused:?}") };
    let line = line_of(&summary, head);
    let said = under(&summary, SERVER_SAYS).lines().collect::<Vec<_>>();
    let [approved, discarded] = said[..] else { panic!("{summary}") };
    let maria = format!(": the server says that Maria Ståhl ({MARIA}) ");
    let of = format!(" work of device {let_in}, up to line {line}, that had been refused.");
    assert!(approved.contains(&format!("{maria}approved at ")), "{approved}");
    assert!(approved.ends_with(&of), "{approved}");
    let of = format!(" work of device {kept_out}, up to entry {gone}, that had been refused.");
    assert!(discarded.contains(&format!("{maria}discarded at ")), "{discarded}");
    assert!(discarded.ends_with(&of), "{discarded}");
    assert!(under(&summary, "WHAT IS NOT PROVED").contains(CAVEAT), "{summary}");

    // What came too early and was discarded comes after all: that it was discarded stays on record.
    let mut anna = bench.phone(ANNA, "Anna's fourth phone").await;
    let mut document = bench.document(visit).await;
    anna.observe(&mut document, vec![price(1, 1_500)], Vec::new(), Vec::new());
    anna.observe(&mut document, vec![price(2, 1_600)], Vec::new(), Vec::new());
    let whole = anna.group(&document);
    let mut early = whole.clone();
    early.changes.drain(..early.changes.len() - 1);
    let outcome = anna.bring(&bench, early, Vec::new()).await;
    assert!(matches!(&outcome, Outcome::Quarantined { code, .. } if code == "missing_parent"));
    let reply = bench.post(MARIA, "/refused/3", &[("decision", "discard")]).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    assert_eq!(anna.bring(&bench, whole, Vec::new()).await, Outcome::Accepted {});
    let summary = self::summary(&bench, visit).await;
    let said = under(&summary, SERVER_SAYS);
    let device = format!(" work of device {}, ", anna.sender.device);
    let told = |line: &str| line.contains("discarded at ") && line.contains(&device);
    assert!(said.lines().any(told), "{summary}");
    bench.close().await;
}

#[tokio::test]
async fn what_is_done_in_the_console_is_signed_by_the_server() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let (path, heads) = (format!("/visits/{visit}"), bench.document(visit).await.heads().to_vec());
    let form = [
        ("decision", "approve"),
        ("heads", &*bench.get(MARIA, &path).await.field("heads")),
        ("comment", "Well done"),
    ];
    let reply = bench.post(MARIA, &format!("{path}/review"), &form).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    let summary = summary(&bench, visit).await;
    let seen: Vec<String> =
        heads.iter().map(|h| format!("line {}", line_of(&summary, h))).collect();
    let maria = format!("  by Maria Ståhl ({MARIA}), in the console: signed by the server");
    let said =
        format!(": approved the visit, seen up to {}: \"Well done\"\n{maria}", seen.join(", "));
    says(&summary, &[&said, "\nStatus approved\n"]);
    let proved = under(&summary, "WHAT IS PROVED");
    assert!(proved.starts_with("- Each entry above is what its device, or the server for the"));
    assert!(under(&summary, "WHAT IS NOT PROVED").contains(CAVEAT), "{summary}");
    assert!(!summary.contains(SERVER_SAYS), "{summary}");
    bench.close().await;
}

#[tokio::test]
async fn facts_and_photos_stand_where_they_were_recorded() {
    let bench = Bench::new().await;
    // What phones went by is another version than the catalogue's.
    let checks = vec![check(SHELF, "Another shelf", CheckKind::Planogram)];
    let (name, channels) = ("Next".to_owned(), vec!["supermarket".to_owned()]);
    let next = Template { number: 1, version: 2, name, channels, checks };
    bench.app.write_records(&bench.tenant, vec![Record::Template(next)]).await.unwrap();
    let visit = audited(&bench).await;
    let mut document = bench.document(visit).await;
    let mut anna = bench.phone(ANNA, "Anna's other phone").await;
    let missing = (SHELF, Subject::Position { planogram: 1, position: 2 });
    let older = Visit::read(&document).values[&missing][0].recording;
    let origin = PhotoOrigin {
        file: BlobHash([4; 32]),
        shown_ms: Some(1_795_474_200_000),
        offset_min: Some(-90),
        place: Some(Geo::from_degrees(18.0565, 59.344, Some(8)).unwrap()),
        editor: Some("Snapseed".into()),
        written_ms: Some(1_795_477_800_000),
    };
    let found = PhotoRef { origin: Some(origin), ..photo("found", SHELF) };
    let of_all = PhotoRef { check: None, ..photo("all", 0) };
    let hash = found.hash;
    let facts = vec![shelf(2, 3, Place::MovedAlong)];
    let photos = vec![found, of_all.clone()];
    let corrected = anna.observe(&mut document, facts, photos, vec![older]);
    let again =
        vec![Observation { check: TOWER, subject: Subject::Display(1), value: Value::Met(true) }];
    let taken_back = anna.observe(&mut document, again, Vec::new(), Vec::new());
    anna.record(&mut document, Act::Withdraw { recordings: vec![taken_back] });
    anna.push(&bench, &document, Vec::new()).await;
    let summary = summary(&bench, visit).await;
    let line = |hash| format!("line {}", line_of(&summary, hash));
    let oats = format!("Oat drink vanilla 1 L ({})", gtin(2));
    let yoghurt = format!("Natural yoghurt 1 kg ({})", gtin(3));
    let corrects = [
        ": recorded 1 fact and 2 photos",
        "  Shelf",
        &format!(
            "    {oats}, position 2 of Chilled dairy: 3 facings, elsewhere on its shelf, in place of missing ({})",
            line(older)
        ),
        &format!("  with the photo {hash}, of Shelf"),
        "    its camera's clock said 2026-11-23 22:50:00, which was set to UTC-01:30 (a claim)",
        "    its camera was at 59.344000, 18.056500, within 8 m (a claim)",
        &format!("    its device made it from the file {} (a claim)", BlobHash([4; 32])),
        "    that file names a program that changes pictures: Snapseed (a claim)",
        "    that file was written later, at 2026-11-23 23:50:00 on that clock (a claim)",
        &format!("  with the photo {}", of_all.hash),
        &format!("  by Anna Lindqvist ({ANNA}), signed by device {}", anna.sender.device),
    ];
    let last = [
        "  Stock",
        &format!("    {oats}: not on the shelf, 6 units"),
        "  End cap",
        "    Breakfast end cap (display 1): not as agreed",
    ];
    let withdrawn = [
        ": recorded 1 fact",
        "  End cap",
        "    Breakfast end cap (display 1): as agreed",
        "  it counts no more: its author has taken it back since",
    ];
    says(
        &summary,
        &[
            "\nDistributor Mälardal Grossist\nStatus submitted\n",
            &corrects.join("\n"),
            &last.join("\n"),
            &withdrawn.join("\n"),
            &format!(": took back {}\n", line(taken_back)),
            "  its device was at 59.344000, 18.056600, within 6 m (a claim)\n",
        ],
    );
    let holds = under(&summary, "WHAT HOLDS");
    assert!(holds.starts_with("  Shelf\n    Standard milk"), "{holds}");
    says(
        holds,
        &[
            &format!(
                "\n    {oats}, position 2 of Chilled dairy: 3 facings, elsewhere on its shelf ({}, Anna Lindqvist)\n",
                line(corrected)
            ),
            &format!("\n    {yoghurt}, position 3 of Chilled dairy: 2 facings (line "),
            ", Johan Berg) or 4 facings (line ",
            ", Anna Lindqvist): a conflict\n",
        ],
    );
    let kept = format!(
        "{hash} ({}, Anna Lindqvist): by its digest alone, said to have 9 bytes\n",
        line(corrected)
    );
    assert!(under(&summary, "PHOTOS").contains(&kept), "{summary}");
    says(&summary, &["No line in this bundle says that it was erased"]);
    // The page says so too, until the photo is erased: then neither does.
    let claims =
        ["Its camera claims 23 Nov 2026 22:50, UTC\u{2212}1:30; ", "its file names Snapseed"];
    let path = format!("/visits/{visit}");
    bench.get(MARIA, &path).await.shows(&claims);
    erase(&bench.app, &bench.tenant, Target::Photo(hash), None, "asked", false).await.unwrap();
    bench.get(MARIA, &path).await.shows(&["Photo erased on"]).hides(&claims);
    bench.close().await;
}

#[tokio::test]
async fn a_photo_that_has_rotted_keeps_nobody_from_the_proof_of_the_rest() {
    let (bench, (picture, _)) = (Bench::new().await, two_alike());
    let visit = audited(&bench).await;
    let mut document = bench.document(visit).await;
    let mut anna = bench.phone(ANNA, "Anna's other phone").await;
    let (hash, bytes) = (BlobHash::of(&picture), picture.len() as u32);
    let taken = PhotoRef { hash, bytes, ..photo("taken", SHELF) };
    anna.observe(&mut document, Vec::new(), vec![taken], Vec::new());
    anna.push(&bench, &document, Vec::new()).await;
    brings(&bench, &picture).await;
    let alone = async || {
        let summary = summary(&bench, visit).await;
        let mut photos = under(&summary, "PHOTOS").lines();
        photos
            .find(|line| line.contains(&hash.to_string()))
            .unwrap()
            .contains("by its digest alone")
    };
    assert!(!alone().await);
    let rotten = b"rotten".to_vec();
    bench.app.blobs.put(bench.tenant.id, hash, Rendition::Original, rotten).await.unwrap();
    assert!(alone().await);
    bench.close().await;
}

/// Where in the log an entry is, as a summary has it.
fn line_of(summary: &str, hash: impl std::fmt::Display) -> &str {
    let before = summary.split(&format!("  entry {hash}\n")).next().unwrap();
    before.rsplit("\nLine ").next().unwrap().split(':').next().unwrap()
}

#[tokio::test]
async fn two_proofs_are_on_their_way_to_one_person_and_no_third() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let held = [(); 2].map(|()| bench.app.limits.downloads.begin(MARIA).unwrap());
    let reply = bench.get(MARIA, &format!("/visits/{visit}/proof")).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{}", reply.body);
    assert!(reply.body.contains("Two proofs are on their way to you"), "{}", reply.body);
    drop(held);
    bundle_of(&bench, MARIA, visit).await;
    bench.close().await;
}

#[tokio::test]
async fn a_call_that_was_not_possible_says_why() {
    let bench = Bench::new().await;
    let visit = VisitId::of_call(bench.tenant.id, CLOSED_CALL);
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document = Document::new(bench.tenant.id, visit.into());
    anna.start(&mut document, CLOSED_CALL);
    let why = Note::new("Stocktaking", [5; 16]).unwrap();
    let (note, photos) = (Some(why.digest()), vec![photo("door", SHELF)]);
    anna.record(&mut document, Act::NotPossible { reason: NotPossible::NoAccess, note, photos });
    anna.push(&bench, &document, vec![why]).await;
    let hash = photo("door", SHELF).hash;
    let said = format!(
        ": could not make the call, the shelf could not be reached: \"Stocktaking\"\n  with the photo {hash}, of Shelf\n"
    );
    says(&summary(&bench, visit).await, &[&said, "\nStatus not possible\n"]);
    bench.close().await;
}

#[tokio::test]
async fn what_was_known_of_a_part_of_the_log_that_was_lost_is_not_told_as_no_sync() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let (lost, new) = (
        "  its device says that it knew lines that are not in this log, as after a restore\n",
        "  its device says that it had not synced before\n",
    );
    for (n, anchor, life, said) in
        [(0x70, 9, Some(7), lost), (0x71, 0, Some(7), new), (0x72, 0, None, new)]
    {
        let visit = VisitId::from_bytes([n; 16]);
        let mut document = Document::new(bench.tenant.id, visit.into());
        let template = Versioned { number: 1, version: 1 };
        let (territory, distributor) = (NORTH, GROSSIST);
        let act = Act::Start { outlet: OUTLET, call: None, territory, distributor, template };
        let when = Moment { anchor, life, ..anna.moment() };
        let recording = Recording { by: ANNA, when, place: None, act };
        anna.write(&mut document, Entry::Recording(recording));
        anna.push(&bench, &document, Vec::new()).await;
        let told = summary(&bench, visit).await;
        assert_eq!((told.contains(said), told.contains(lost)), (true, said == lost), "{told}");
    }
    bench.close().await;
}

#[tokio::test]
async fn a_bundle_says_what_was_erased() {
    let mut bench = Bench::new().await;
    comes_ada(&mut bench).await;
    let visit = audited(&bench).await;
    let (one, other) = two_alike();
    let hashes = [&one, &other].map(|jpeg| BlobHash::of(jpeg));
    let mut anna = bench.phone(ANNA, "Anna's other phone").await;
    let mut document = bench.document(visit).await;
    let taken = hashes.map(|hash| PhotoRef { hash, ..photo("", SHELF) });
    anna.observe(&mut document, Vec::new(), taken.to_vec(), Vec::new());
    anna.push(&bench, &document, Vec::new()).await;
    brings(&bench, &one).await;
    brings(&bench, &other).await;
    let whole = verify(&bundle_of(&bench, DORA, visit).await).unwrap().summary;
    assert_eq!(whole.matches("): in this bundle, ").count(), 2, "{whole}");
    assert!(!whole.contains("erased on request") && !whole.contains("Who had"), "{whole}");

    let leaves = format!("/people/{JOHAN}/active");
    assert_eq!(bench.post(ADA, &leaves, &[("active", "no")]).await.status, StatusCode::SEE_OTHER);
    let words = Note::new(SCRIPT, [1; 16]).unwrap().digest();
    for target in [Target::Photo(hashes[0]), Target::Note(words), Target::Person(JOHAN)] {
        erase(&bench.app, &bench.tenant, target, None, "request 9", false).await.unwrap();
    }
    let bundle = bundle_of(&bench, DORA, visit).await;
    let names: Vec<String> = zip::read(&bundle).unwrap().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names[4..], [format!("photos/{}.jpg", hashes[1])]);
    let summary = verify(&bundle).unwrap().summary;
    let (photos, holds) = (under(&summary, "PHOTOS"), under(&summary, "WHAT HOLDS"));
    let line = |what: &str| photos.lines().find(|line| line.starts_with(what)).unwrap().to_owned();
    let gone = line(&hashes[0].to_string());
    assert!(gone.contains(": erased on request at ") && gone.contains(", as line "), "{gone}");
    let length = format!("): in this bundle, {} bytes", other.len());
    assert!(line(&hashes[1].to_string()).ends_with(&length), "{photos}");
    let never = line(&photo("shelf", SHELF).hash.to_string());
    assert!(never.contains("): by its digest alone, said to have "), "{photos}");
    says(holds, &[&format!("words with the digest {words}, erased on request at ")]);
    says(
        &summary,
        &[
            &format!("  by person {JOHAN}, whose name was erased, signed by device "),
            "- Who had something erased, and why:",
        ],
    );
    assert!(!summary.contains("Johan") && !summary.contains(SCRIPT), "{summary}");

    // Nor is a file packed that is still to be removed.
    let (org, id, key) = (bench.tenant.org, bench.tenant.id, bench.tenant.clone());
    let counting = bench.app.counting();
    let read = bench.app.store.read(move |connection| {
        bundle::collect(connection, org, id, visit, &key.log_key, &counting)
    });
    let collected = read.await.unwrap().unwrap();
    assert!(!collected.photos.contains(&hashes[0]) && collected.photos.contains(&hashes[1]));
    bench.close().await;
}

#[tokio::test]
async fn a_proof_that_nobody_waits_for_any_more_keeps_its_place_until_it_is_made() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let places = Arc::clone(&bench.app.limits.proofs);
    let all = places.available_permits();
    {
        let mut made = std::pin::pin!(bench.app.prove(&bench.tenant, visit, true));
        tokio::select! {
            biased;
            _ = &mut made => panic!("it is made at once"),
            () = std::future::ready(()) => assert_eq!(places.available_permits(), all - 1),
        }
    }
    assert_eq!(places.available_permits(), all - 1, "who hangs up frees none");
    let every = u32::try_from(all).unwrap();
    drop(places.acquire_many(every).await.unwrap());
    assert!(verify(&bundle_of(&bench, MARIA, visit).await).is_ok());
    bench.close().await;
}
