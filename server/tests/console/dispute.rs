//! What must not be lost, or said wrongly, when two sides disagree: signals, photos whose time is over, findings.

use std::sync::Arc;

use axum::http::StatusCode;
use rusqlite::{Connection, Transaction};
use server::blobs::Rendition;
use server::config::ServeConfig;
use server::store::reader::Reader;
use server::store::signals::Found;
use server::store::uploads::{self, UploadId};
use server::store::{DATABASE, StoreError, pages, signals};
use server::{looks, now_ms, serve, signals::Kind};
use sync_core::document::{Document, Entry};
use sync_core::id::{BlobHash, CallId, DeviceId, OrgId, UserId, VisitId};
use sync_core::model::Geo;
use sync_core::model::catalogue::{Outlet, Record};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{Act, OutletReport, PhotoOrigin, PhotoRef};
use sync_core::visit::Visit;
use sync_core::wire::Outcome;

use crate::evidence::{Multipart, arrives, brings, posts, two_alike};
use crate::{
    ANNA, Bench, CALL, CLOSED_CALL, DORA, GROSSIST, JOHAN, MARIA, NORTH, OTHER, OUTLET, PRICE,
    Phone, SARA, SHELF, SOUTH, audited, person, photo, price,
};

const SAME: &str = "Byte for byte the same file";
const LIKE: &str = "of 64 bits of its outline differ";
const DOUBT: &str = "Nothing settles which of the two was recorded first.";
const UNLOOKED: &str = "SELECT count(*) FROM blob WHERE looked = 0";
const DAY_MS: i64 = 86_400_000;

/// A visit for a call, with one photo.
async fn goes(bench: &Bench, phone: &mut Phone, call: CallId, photo: PhotoRef) -> String {
    goes_with(bench, phone, call, vec![photo]).await
}

async fn goes_with(
    bench: &Bench,
    phone: &mut Phone,
    call: CallId,
    photos: Vec<PhotoRef>,
) -> String {
    let visit = VisitId::of_call(bench.tenant.id, call);
    let mut document = Document::new(bench.tenant.id, visit.into());
    phone.start(&mut document, call);
    phone.observe(&mut document, vec![price(1, 1_490)], photos, Vec::new());
    phone.push(bench, &document, Vec::new()).await;
    format!("/visits/{visit}")
}

fn of(jpeg: &[u8]) -> PhotoRef {
    PhotoRef { hash: BlobHash::of(jpeg), ..photo("", SHELF) }
}

/// Where the log stands: a phone that knows of it is from after all that is there.
async fn heard(bench: &Bench) -> u64 {
    let org = bench.tenant.org;
    let head = bench.app.store.read(move |c| Ok(Reader::open(c, org)?.head()?.sequence));
    head.await.unwrap()
}

pub(crate) async fn write(bench: &Bench, sql: String) {
    let write =
        move |tx: &Transaction<'_>| -> Result<(), StoreError> { Ok(tx.execute_batch(&sql)?) };
    bench.app.store.write(write).await.unwrap();
}

async fn count(bench: &Bench, query: &'static str) -> u64 {
    let read = move |c: &Connection| Ok(c.query_row(query, [], |row| row.get(0))?);
    bench.app.store.read(read).await.unwrap()
}

/// What came `days` ago goes, if it is older than the organisation keeps photos.
async fn retire(bench: &Bench, before_ms: i64) -> u64 {
    let org = bench.tenant.org;
    let write = move |tx: &Transaction<'_>| uploads::retire(tx, org, before_ms, now_ms());
    bench.app.store.write(write).await.unwrap()
}

#[tokio::test]
async fn a_photo_that_comes_while_others_are_judged_is_not_judged_before_it_was_looked_at() {
    let bench = Bench::new().await;
    let (used, again) = two_alike();
    let (org, id) = (bench.tenant.org, bench.tenant.id);
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    goes(&bench, &mut anna, CALL, of(&used)).await;
    brings(&bench, &used).await;
    let second = goes(&bench, &mut anna, CLOSED_CALL, of(&again)).await;
    // All that was here has been looked at; it comes now, and what is next is judging.
    let hash = BlobHash::of(&again);
    for rendition in server::blobs::Rendition::ALL {
        bench.app.blobs.put(id, hash, rendition, again.clone()).await.unwrap();
    }
    let upload = UploadId { org, device: DeviceId::from_bytes([1; 16]), hash };
    let photo = uploads::Photo { bytes: 9, width: 348, height: 348, arrived_ms: now_ms() };
    let drawn = uploads::Drawn { thumbnail: hash, preview: hash };
    let arrive = move |tx: &Transaction<'_>| {
        uploads::arrived(tx, upload, Some(ANNA), |_| false, &photo, &drawn)
    };
    bench.app.store.write(arrive).await.unwrap();
    let next = bench.app.store.read(move |c| signals::unjudged(c, org, now_ms())).await.unwrap();
    assert_eq!(next, None);
    looks::catch_up(&bench.app).await.unwrap();
    bench.get(MARIA, &second).await.shows(&[LIKE]);
    bench.close().await;
}

#[tokio::test]
async fn a_photo_that_is_named_again_while_it_is_judged_is_judged_again() {
    let bench = Bench::new().await;
    let (used, _) = two_alike();
    let org = bench.tenant.org;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    goes(&bench, &mut anna, CALL, of(&used)).await;
    brings(&bench, &used).await;
    write(&bench, "UPDATE photo SET judged = 0".into()).await;
    let unjudged =
        async || bench.app.store.read(move |c| signals::unjudged(c, org, now_ms())).await.unwrap();
    let reference = unjudged().await.unwrap();
    let as_of = bench.app.store.read(move |c| signals::newest(c, &reference)).await.unwrap();
    let mut document = bench.document(VisitId::of_call(bench.tenant.id, CALL)).await;
    anna.observe(&mut document, Vec::new(), vec![of(&used)], Vec::new());
    anna.push(&bench, &document, Vec::new()).await;
    let judge = async |as_of| {
        let judge = move |tx: &Transaction<'_>| -> Result<(), StoreError> {
            signals::judged(tx, &reference, as_of, Some(&Found::default()), 5)
        };
        bench.app.store.write(judge).await.unwrap();
    };
    judge(as_of).await;
    assert!(unjudged().await.is_some(), "what came meanwhile was not read");
    judge(bench.app.store.read(move |c| signals::newest(c, &reference)).await.unwrap()).await;
    assert_eq!(unjudged().await, None);
    bench.close().await;
}

#[tokio::test]
async fn the_very_file_is_noticed_when_it_is_used_again_after_its_time() {
    let (used, _) = two_alike();
    for looked in [true, false] {
        let bench = Bench::new().await;
        let mut anna = bench.phone(ANNA, "Anna's phone").await;
        let first = goes(&bench, &mut anna, CALL, of(&used)).await;
        brings(&bench, &used).await;
        if !looked {
            // As if its time was over before anybody looked at it.
            write(&bench, "UPDATE blob SET looked = 0; DELETE FROM look".into()).await;
        }
        assert_eq!(retire(&bench, now_ms() + 1).await, 1);
        let second = goes(&bench, &mut anna, CLOSED_CALL, of(&used)).await;
        looks::catch_up(&bench.app).await.unwrap();
        let page = bench.get(MARIA, &second).await;
        page.shows(&[SAME, "that photo is no longer kept"]);
        bench.get(MARIA, &first).await.hides(&[SAME]);
        // Of an erased one nothing is said, and nothing is judged again and again.
        let target = server::erase::Target::Photo(BlobHash::of(&used));
        server::erase::erase(&bench.app, &bench.tenant, target, None, "asked", false)
            .await
            .unwrap();
        write(&bench, "UPDATE photo SET judged = 0".into()).await;
        looks::catch_up(&bench.app).await.unwrap();
        bench.get(MARIA, &second).await.hides(&[SAME]);
        assert_eq!(count(&bench, "SELECT count(*) FROM photo WHERE judged = 0").await, 0);
        bench.close().await;
    }
}

#[tokio::test]
async fn what_is_damaged_keeps_neither_other_visits_nor_other_organisations_from_being_read() {
    let bench = Bench::new().await;
    let (used, again) = two_alike();
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let (one, two) = (of(&used), of(&again));
    // The reference that is judged first is the damaged one.
    let (damaged, whole) = if one.hash < two.hash { (one, two) } else { (two, one) };
    let taken = PhotoOrigin {
        file: BlobHash([4; 32]),
        shown_ms: None,
        offset_min: None,
        place: None,
        editor: None,
        written_ms: None,
    };
    let whole = PhotoRef { origin: Some(taken), ..whole };
    let first = goes(&bench, &mut anna, CALL, damaged).await;
    let second = goes(&bench, &mut anna, CLOSED_CALL, whole).await;
    let id = &first["/visits/".len()..].replace('-', "");
    write(&bench, format!("UPDATE log SET body = x'00' WHERE document = x'00{id}'")).await;
    let other = bench.app.create(OrgId::from_bytes([8; 16]), "Another").await.unwrap();
    let visit = format!(
        "INSERT INTO visit (org, visit, outlet, audience, territory, distributor, day, status,
             people, conflicts, news, photos, started_ms, changed_ms, changed, counted, facts)
         VALUES ({}, zeroblob(16), zeroblob(16), 1, x'', x'', 0, '', x'', 0, 0, 0, 0, 0, 5, 1, x'')",
        other.org
    );
    write(&bench, visit.clone()).await;
    brings(&bench, &used).await;
    brings(&bench, &again).await;
    bench.get(MARIA, &second).await.shows(&["Nothing says when the photo was taken"]);
    for unread in ["SELECT count(*) FROM photo WHERE judged = 0", UNREAD] {
        assert_eq!(count(&bench, unread).await, 0, "{unread}");
    }
    // Nor does a row that does not even name its document.
    let astray =
        "UPDATE photo SET judged = 0, document = x'77' WHERE hash = (SELECT min(hash) FROM photo);
         UPDATE visit SET judged = 0";
    write(&bench, astray.into()).await;
    let said = looks::catch_up(&bench.app).await;
    assert!(matches!(said, Err(StoreError::Damaged(_))), "{said:?}");
    assert_eq!(count(&bench, UNREAD).await, 0);
    bench.close().await;
}

const UNREAD: &str = "SELECT count(*) FROM visit WHERE judged = 0";

#[tokio::test]
async fn a_claim_puts_no_signal_on_somebody_else_alone() {
    let (hers, his) = two_alike();
    for (known, his_first) in [(false, false), (false, true), (true, false), (true, true)] {
        let bench = Bench::new().await;
        let mut anna = bench.phone(ANNA, "Anna's phone").await;
        let mut johan = bench.phone(JOHAN, "Johan's phone").await;
        anna.minutes = 40;
        let honest = goes(&bench, &mut anna, CALL, of(&hers)).await;
        // Johan has her picture, and his phone says that it has never heard of the log, an hour ago.
        johan.anchor = if known { heard(&bench).await } else { 0 };
        let copied = goes(&bench, &mut johan, CLOSED_CALL, of(&his)).await;
        let files = if his_first { [&his, &hers] } else { [&hers, &his] };
        for file in files {
            brings(&bench, file).await;
        }
        let (honest, copied) = (bench.get(MARIA, &honest).await, bench.get(MARIA, &copied).await);
        copied.shows(&[LIKE, "another photo"]);
        if known {
            copied.hides(&[DOUBT]);
            honest.hides(&[LIKE]);
        } else {
            copied.shows(&[DOUBT, "it was this one"]);
            honest.shows(&[LIKE, DOUBT, "it was the other"]);
        }
        bench.close().await;
    }
}

#[tokio::test]
async fn one_photo_does_not_pass_for_two_within_a_visit() {
    let (used, again) = two_alike();
    for (check, other, signals) in [(SHELF, PRICE, 1), (SHELF, SHELF, 0)] {
        let bench = Bench::new().await;
        let mut anna = bench.phone(ANNA, "Anna's phone").await;
        let photos = vec![
            PhotoRef { check: Some(check), ..of(&used) },
            PhotoRef { check: Some(other), ..of(&again) },
        ];
        let path = goes_with(&bench, &mut anna, CALL, photos).await;
        brings(&bench, &used).await;
        brings(&bench, &again).await;
        assert_eq!(count(&bench, ALIKE).await, signals, "{check} and {other}");
        let page = bench.get(MARIA, &path).await;
        assert_eq!(page.body.matches(LIKE).count() as u64, signals);
        bench.close().await;
    }
    // What a contest shows of what was recorded is no other photo.
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let path = goes(&bench, &mut anna, CALL, of(&used)).await;
    brings(&bench, &used).await;
    let seen = bench.get(DORA, &format!("{path}/contest")).await.field("seen");
    let body = Multipart::new(&bench.cookies[&DORA].1).field("seen", &seen);
    let body = body.field("comment", "This corner").file("a.jpg", &again).end();
    assert_eq!(posts(&bench, Some(DORA), &format!("{path}/contests"), body).await.0, 303);
    looks::catch_up(&bench.app).await.unwrap();
    assert_eq!(count(&bench, "SELECT count(*) FROM look").await, 2);
    assert_eq!(count(&bench, ALIKE).await, 0);
    bench.close().await;
}

const ALIKE: &str = "SELECT count(*) FROM signal WHERE kind = 1";

#[tokio::test]
async fn photos_of_a_contested_visit_stay_until_the_contest_is_over() {
    let bench = Bench::new().await;
    let (used, again) = two_alike();
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let contested = goes(&bench, &mut anna, CALL, of(&used)).await;
    goes(&bench, &mut anna, CLOSED_CALL, of(&again)).await;
    brings(&bench, &used).await;
    brings(&bench, &again).await;
    let page = bench.get(DORA, &format!("{contested}/contest")).await;
    let fields = [("seen", page.field("seen")), ("comment", "Nobody was here".to_owned())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let reply = bench.post(DORA, &format!("{contested}/contests"), &fields).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    let thumb = format!("/photos/{}?size=thumb", BlobHash::of(&used));
    let visit = VisitId::of_call(bench.tenant.id, CALL);
    let contest = Visit::read(&bench.document(visit).await).contests[0].hash;
    let say = async |user, step| bench.answer(user, (visit, contest), step, "so").await;
    assert_eq!(retire(&bench, now_ms() + 1).await, 1, "the other one's");
    bench.get(DORA, &contested).await.shows(&[&thumb]);
    assert_eq!(say(MARIA, "ask").await, StatusCode::SEE_OTHER);
    assert_eq!(retire(&bench, now_ms() + 1).await, 0, "it waits for an answer");
    bench.get(DORA, &contested).await.shows(&[&thumb]);
    assert_eq!(say(DORA, "close").await, StatusCode::SEE_OTHER);
    assert_eq!(retire(&bench, now_ms() + 1).await, 1, "it is over");
    bench.get(DORA, &contested).await.hides(&[&thumb]);
    bench.close().await;
}

#[tokio::test]
async fn a_photo_whose_time_is_over_is_not_called_erased() {
    let bench = Bench::new().await;
    let (used, again) = two_alike();
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let path = goes(&bench, &mut anna, CALL, of(&used)).await;
    goes(&bench, &mut anna, CLOSED_CALL, of(&again)).await;
    brings(&bench, &used).await;
    brings(&bench, &again).await;
    let ago = now_ms() - 400 * DAY_MS;
    write(&bench, format!("UPDATE blob SET arrived_ms = {ago}")).await;
    assert_eq!(retire(&bench, now_ms()).await, 2);
    let target = server::erase::Target::Photo(BlobHash::of(&again));
    server::erase::erase(&bench.app, &bench.tenant, target, None, "asked", false).await.unwrap();

    let over = "kept for 400 days, over since";
    let page = bench.get(MARIA, &path).await;
    page.shows(&[&format!("Photo {over}"), "0 here, 1 whose time is over"]);
    page.hides(&["rased on", "on its way", " erased"]);
    let photo = format!("/photos/{}", BlobHash::of(&used));
    let gone = bench.get(MARIA, &photo).await;
    assert_eq!(gone.status, StatusCode::GONE);
    assert!(
        gone.body.contains("Kept for 400 days, over since") && !gone.body.contains("erased"),
        "{}",
        gone.body
    );
    let erased = bench.get(MARIA, &format!("/photos/{}", BlobHash::of(&again))).await;
    assert!(erased.status == StatusCode::GONE && erased.body.contains("erased"));

    // As counter-evidence it is refused for what it is, too; when it was here is told to whoever sees where.
    let (file, named) = prepared(&bench).await;
    let hash = named.hash;
    let form = bench.get(DORA, &format!("{path}/contest")).await;
    let csrf = &bench.cookies[&DORA].1;
    let body = Multipart::new(csrf).field("seen", &form.field("seen")).field("comment", "Look");
    let body = body.file("a.jpg", &file).end();
    let path = format!("{path}/contests");
    let (status, page) = posts(&bench, Some(DORA), &path, body.clone()).await;
    assert_eq!(status, 410, "{page}");
    assert!(page.contains("is not taken again") && !page.contains("kept for"), "{page}");
    let mut visit = bench.document(VisitId::of_call(bench.tenant.id, CALL)).await;
    anna.observe(&mut visit, vec![], vec![named], vec![]);
    anna.push(&bench, &visit, vec![]).await;
    let borne = "INSERT INTO bearer SELECT org, hash, by FROM photo WHERE hash =";
    let shown = "UPDATE photo SET here = 2 WHERE hash =";
    write(&bench, format!("{borne} x'{hash}'; {shown} x'{hash}'")).await;
    let (status, page) = posts(&bench, Some(DORA), &path, body).await;
    assert_eq!(status, 410, "{page}");
    assert!(page.contains("kept for 9 days, over since") && !page.contains("erased"), "{page}");
    bench.close().await;
}

/// A file that becomes, once it is prepared, a photo whose time is over after nine days.
async fn prepared(bench: &Bench) -> (Vec<u8>, PhotoRef) {
    let (used, _) = two_alike();
    let prepared = server::photo::prepare(&bench.app, &bench.tenant, used.clone()).await.unwrap();
    let (_, reference) = prepared.unwrap();
    let (from, until) = (now_ms() - 10 * DAY_MS, now_ms() - DAY_MS);
    let hash = reference.hash;
    write(
        bench,
        format!(
            "INSERT INTO blob (org, hash, bytes, width, height, arrived_ms, gone_ms, looked)
             VALUES ({}, x'{hash}', 9, 1, 1, {from}, {until}, 2)",
            bench.tenant.org
        ),
    )
    .await;
    (used, reference)
}

#[tokio::test]
async fn a_photo_that_is_erased_while_it_comes_with_a_contest_leaves_no_file() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    let (first, second) = two_alike();
    let prepared = server::photo::prepare(&bench.app, &bench.tenant, first.clone()).await.unwrap();
    let hash = prepared.unwrap().1.hash;
    let seen = bench.get(DORA, &format!("{path}/contest")).await.field("seen");
    let body = Multipart::new(&bench.cookies[&DORA].1).field("seen", &seen);
    let body = body.field("comment", "Look").file("a.jpg", &first).file("b.jpg", &second).end();
    // Once it has room, and before it has a row.
    let org = bench.tenant.org;
    let erased = format!(
        "CREATE TRIGGER meanwhile AFTER INSERT ON upload WHEN NEW.hash = x'{hash}' BEGIN
         INSERT INTO blob (org, hash, bytes, width, height, arrived_ms, gone_ms, erased, looked)
         VALUES ({org}, x'{hash}', 0, 0, 0, 1, 1, 1, 2); END"
    );
    write(&bench, erased).await;
    let (status, page) = posts(&bench, Some(DORA), &format!("{path}/contests"), body).await;
    assert_eq!(status, 410, "{page}");
    assert_eq!(count(&bench, "SELECT count(*) FROM blob WHERE erased = 1").await, 1);
    assert!(!bench.app.blobs.exists(bench.tenant.id, hash).await.unwrap());
    bench.close().await;
}

#[tokio::test]
async fn of_a_contest_that_is_refused_nothing_stays_but_what_is_somebody_elses() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    let (first, second) = two_alike();
    let (org, id) = (bench.tenant.org, bench.tenant.id);
    let mut hashes = Vec::new();
    for file in [&first, &second] {
        let made = server::photo::prepare(&bench.app, &bench.tenant, file.clone()).await.unwrap();
        hashes.push(made.unwrap().1.hash);
    }
    let seen = bench.get(DORA, &format!("{path}/contest")).await.field("seen");
    let contest = async || {
        let body = Multipart::new(&bench.cookies[&DORA].1).field("seen", &seen);
        let body = body.field("comment", "Look").file("a.jpg", &first).file("b.jpg", &second);
        posts(&bench, Some(DORA), &format!("{path}/contests"), body.end()).await
    };
    let here = async || {
        let mut here = Vec::new();
        for hash in &hashes {
            here.push(bench.app.blobs.exists(id, *hash).await.unwrap());
        }
        (here, count(&bench, "SELECT count(*) FROM upload").await)
    };
    // There is no room for both.
    write(&bench, "UPDATE organisation SET photo_quota = 1000".into()).await;
    let (status, page) = contest().await;
    assert!(status == 507 && page.contains("used up"), "{status} {page}");
    assert_eq!(here().await, (vec![false, false], 0));
    // They have room and files by the time at which their word is refused. A phone sends one of them meanwhile.
    write(&bench, "UPDATE organisation SET photo_quota = NULL".into()).await;
    let sends = format!(
        "CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'full'); END;
         INSERT INTO upload VALUES ({org}, x'{}', x'{}', 9, {})",
        "09".repeat(16),
        hashes[1],
        i64::MAX
    );
    write(&bench, sends).await;
    assert_eq!(contest().await.0, 500);
    assert_eq!(here().await, (vec![false, true], 1), "the phone's upload, and its file");
    write(&bench, "DROP TRIGGER full; DELETE FROM upload".into()).await;
    assert_eq!(contest().await.0, 303);
    assert_eq!(here().await, (vec![true, true], 0));
    assert_eq!(count(&bench, "SELECT count(*) FROM blob WHERE gone_ms IS NULL").await, 2);
    // What is here stays when it is shown once more in vain.
    write(
        &bench,
        "CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'full'); END".into(),
    )
    .await;
    assert_eq!(contest().await.0, 500);
    assert_eq!(here().await, (vec![true, true], 0));
    bench.close().await;
}

#[tokio::test]
async fn accepting_an_objection_is_written_whole_or_not_at_all() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    let subject = sync_core::model::visit::Subject::Product(crate::gtin(2));
    let hex: String =
        sync_core::cbor::to_cbor(&subject).iter().map(|byte| format!("{byte:02x}")).collect();
    let check = crate::PRICE.to_string();
    let form = bench.get(DORA, &format!("{path}/contest?check={check}&subject={hex}")).await;
    let seen = form.field("seen");
    let fields = [
        ("check", check.as_str()),
        ("subject", &hex),
        ("seen", &seen),
        ("claim", "27.90"),
        ("comment", "Our label"),
    ];
    let reply = bench.post(DORA, &format!("{path}/contests"), &fields).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    let before = bench.document(visit).await;
    let contest = Visit::read(&before).contests[0].hash;
    let size = heard(&bench).await;
    let accept = async || bench.answer(MARIA, (visit, contest), "accept", "I see").await;
    // The disk has room for one more line.
    let full = format!(
        "CREATE TRIGGER full BEFORE INSERT ON log WHEN NEW.sequence > {size}
         BEGIN SELECT RAISE(ABORT, 'full'); END"
    );
    write(&bench, full).await;
    assert!(accept().await.is_server_error());
    let after = bench.document(visit).await;
    assert_eq!(after.heads(), before.heads(), "the value was put right without a finding");
    write(&bench, "DROP TRIGGER full".into()).await;
    assert_eq!(accept().await, StatusCode::SEE_OTHER);
    let read = Visit::read(&bench.document(visit).await);
    assert_eq!(read.contests[0].standing, sync_core::contest::Standing::Accepted);
    assert_eq!(heard(&bench).await, size + 2);
    bench.close().await;
}

#[tokio::test]
async fn where_a_camera_was_is_shown_and_counts_as_a_claim() {
    let mut bench = Bench::new().await;
    const BOSS: UserId = UserId::from_bytes([0x31; 16]);
    let boss = person(BOSS, "Bo Boss", Role::Admin, Scope::Territory(NORTH));
    bench.app.write_records(&bench.tenant, vec![boss]).await.unwrap();
    let (tenant, email) = (&bench.tenant, "bo@a.example");
    server::people::open_account(&bench.app, tenant, BOSS, email, crate::PASSWORD).await.unwrap();
    bench.sign_in(BOSS, email).await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    // The phone says that it is in the outlet; the camera was 1,112 m north of it, or so it wrote.
    let place = Some(Geo::from_degrees(18.0565, 59.354, None).unwrap());
    let shown_ms = Some("2026-11-23T10:02:00Z".parse::<jiff::Timestamp>().unwrap());
    let origin = PhotoOrigin {
        file: BlobHash([4; 32]),
        shown_ms: shown_ms.map(jiff::Timestamp::as_millisecond),
        offset_min: Some(60),
        place,
        editor: None,
        written_ms: None,
    };
    let taken = |name| PhotoRef { origin: Some(origin.clone()), ..photo(name, SHELF) };
    // One alone may be from where the phone was a while ago.
    let one = goes(&bench, &mut anna, CLOSED_CALL, taken("one")).await;
    let path = goes_with(&bench, &mut anna, CALL, vec![taken("far"), taken("away")]).await;
    looks::catch_up(&bench.app).await.unwrap();
    let page = bench.get(BOSS, &one).await;
    page.shows(&["1.1 km from the outlet"]).hides(&["Photos taken away from the outlet"]);
    // The camera's hundred metres times 1.7 are taken off.
    let away = "most of the photos are from 942 m from the outlet";
    let page = bench.get(BOSS, &path).await;
    page.shows(&["Its camera claims 23 Nov 2026 10:02, UTC+1:00; 1.1 km from the outlet"]);
    page.shows(&["Photos taken away from the outlet", away, "By its camera at 59.35400, 18.05650"]);
    page.hides(&["Captured away from the outlet"]);

    // How far an outlet reaches is the organisation's to say.
    let set = async |user, metres: &str, seconds: &str| {
        let fields = [("metres", metres), ("seconds", seconds)];
        bench.post(user, "/look/settings", &fields).await.status
    };
    bench.get(BOSS, "/look").await.shows(&["name=\"metres\"", "value=\"150\""]);
    assert_eq!(set(SARA, "1000", "1").await, StatusCode::FORBIDDEN);
    for (metres, seconds) in
        [("9", "1"), ("5001", "1"), ("150", "0.05"), ("150", "60.1"), ("150", "-1"), ("150", "NaN")]
    {
        let refused = set(BOSS, metres, seconds).await;
        assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY, "{metres} {seconds}");
    }
    let mut its_own = None;
    for (of, metres, told) in [
        ("all", 1_000, false),
        ("all", 941, true),
        ("all", 942, false),
        ("the outlet", 941, true),
        ("the outlet", 943, false),
        ("all", 10, false),
    ] {
        if of == "all" {
            let status = set(BOSS, &metres.to_string(), "1").await;
            assert_eq!(status, StatusCode::SEE_OTHER);
        } else {
            its_own = Some(metres);
            let outlet = bench.tenant.world().outlets[&OUTLET].clone();
            let outlet = Record::Outlet(Outlet { radius_m: its_own, ..outlet });
            bench.app.write_records(&bench.tenant, vec![outlet]).await.unwrap();
        }
        looks::catch_up(&bench.app).await.unwrap();
        let page = bench.get(BOSS, &path).await;
        assert_eq!(page.body.contains(away), told, "{metres}");
        let org = bench.tenant.org;
        let signals = bench.app.store.read(move |c| {
            let kind = Kind::Camera as u8;
            let query = "SELECT count(*) FROM signal WHERE org = ?1 AND kind = ?2";
            Ok(c.query_row(query, rusqlite::params![org, kind], |row| row.get::<_, u64>(0))?)
        });
        assert_eq!(signals.await.unwrap(), u64::from(told));
    }
    bench.get(MARIA, "/look").await.shows(&["<b>10</b>"]);
    let page = bench.get(BOSS, &format!("/outlets/{}", OUTLET)).await;
    page.shows(&[&format!(", and {} m around it", its_own.unwrap())]);
    bench.close().await;
}

#[tokio::test]
async fn what_people_write_turns_nothing_around_on_a_page() {
    let bench = Bench::new().await;
    let path = format!("/visits/{}", audited(&bench).await);
    let comment = "at 14:00\u{2028}Approved \u{202e}yesterday\u{2066}";
    let said = bench.post(MARIA, &format!("{path}/comments"), &[("comment", comment)]).await;
    assert_eq!(said.status, StatusCode::SEE_OTHER, "{}", said.body);
    let page = bench.get(MARIA, &path).await;
    page.shows(&["at 14:00 Approved \u{fffd}yesterday\u{fffd}"]);
    page.hides(&["\u{2028}", "\u{202e}", "\u{2066}"]);
    bench.close().await;
}

/// Signals of photos in a visit, as far as no clock is in them.
async fn photo_signals(bench: &Bench, visit: &str) -> Vec<Vec<rusqlite::types::Value>> {
    let visit: VisitId = visit["/visits/".len()..].parse().unwrap();
    let read = move |connection: &Connection| -> Result<Vec<Vec<_>>, StoreError> {
        let mut query = connection.prepare(
            "SELECT kind, photo, by, other, other_document, other_by, evidence FROM signal
             WHERE visit = ?1 AND photo <> x''",
        )?;
        let rows = query.query_map([visit.as_bytes()], |row| (0..7).map(|n| row.get(n)).collect());
        Ok(rows?.collect::<Result<_, _>>()?)
    };
    bench.app.store.read(read).await.unwrap()
}

#[tokio::test]
async fn whoever_names_a_photo_in_a_contest_takes_no_weight_from_who_records_with_it() {
    let (jpeg, _) = two_alike();
    let mut seen = Vec::new();
    for contest_first in [true, false] {
        let bench = Bench::new().await;
        // What the console makes of the file is what Anna has used in one visit, and uses in the next.
        let made = server::photo::prepare(&bench.app, &bench.tenant, jpeg.clone()).await;
        let (file, used) = made.unwrap().unwrap();
        let used = PhotoRef { origin: None, check: Some(SHELF), ..used };
        let mut anna = bench.phone(ANNA, "Anna's phone").await;
        anna.anchor = 0; // what it did, it did before the log began
        goes(&bench, &mut anna, CALL, used.clone()).await;
        brings(&bench, &file.bytes).await;
        let path = goes_with(&bench, &mut anna, CLOSED_CALL, Vec::new()).await;
        let visit = VisitId::of_call(bench.tenant.id, CLOSED_CALL);
        let contest = async || {
            let form = bench.get(DORA, &format!("{path}/contest")).await.field("seen");
            let body = Multipart::new(&bench.cookies[&DORA].1).field("seen", &form);
            let body = body.field("comment", "Look here").file("a.jpg", &jpeg).end();
            assert_eq!(posts(&bench, Some(DORA), &format!("{path}/contests"), body).await.0, 303);
            looks::catch_up(&bench.app).await.unwrap();
        };
        if contest_first {
            contest().await;
            let page = bench.get(MARIA, "/look").await;
            page.shows(&["contest photos weigh 65<", "shown this photo in a contest"]);
        }
        let mut document = bench.document(visit).await;
        anna.observe(&mut document, Vec::new(), vec![used.clone()], Vec::new());
        let mut group = anna.group(&document);
        group.changes.drain(..group.changes.len() - 1);
        assert_eq!(anna.bring(&bench, group, Vec::new()).await, Outcome::Accepted {});
        looks::catch_up(&bench.app).await.unwrap();
        if !contest_first {
            contest().await;
        }
        let page = bench.get(MARIA, "/look").await;
        page.shows(&["weighs 65<", "contest photos weigh 65<", "shown this photo in a contest"]);
        bench.get(MARIA, &path).await.shows(&[SAME]);
        seen.push(photo_signals(&bench, &path).await);
        bench.close().await;
    }
    assert_eq!(seen[0].len(), 4, "{seen:?}");
    assert_eq!(seen[0], seen[1], "whichever came first");
}

#[tokio::test]
async fn a_photo_that_is_named_again_is_judged_again() {
    const ASIDE: &str = "SELECT count(*) FROM signal WHERE kind = 5";
    let (used, again) = two_alike();
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    anna.anchor = 0;
    let origin = PhotoOrigin {
        file: BlobHash([3; 32]),
        shown_ms: Some(anna.moment().wall_ms),
        offset_min: Some(0),
        place: None,
        editor: None,
        written_ms: None,
    };
    let taken = PhotoRef { origin: Some(origin), ..of(&used) };
    let path = goes(&bench, &mut anna, CALL, taken.clone()).await;
    brings(&bench, &used).await;
    anna.minutes = 20;
    goes(&bench, &mut anna, CLOSED_CALL, of(&again)).await;
    brings(&bench, &again).await;
    assert_eq!(count(&bench, ASIDE).await, 0);
    assert_eq!(count(&bench, ALIKE).await, 1);
    let (look, item) = (path.replace("visits", "look"), path.replace("/visits/", "id=\"look-"));
    bench.get(MARIA, "/look").await.hides(&[&item]);
    // For another check, when it is old.
    let mut document = bench.document(VisitId::of_call(bench.tenant.id, CALL)).await;
    anna.minutes = 50;
    let named = PhotoRef { check: Some(PRICE), ..taken.clone() };
    anna.observe(&mut document, Vec::new(), vec![named], Vec::new());
    anna.push(&bench, &document, Vec::new()).await;
    looks::catch_up(&bench.app).await.unwrap();
    assert_eq!(count(&bench, ASIDE).await, 1);
    bench.get(MARIA, "/look").await.shows(&[
        &item,
        "By the camera’s clock it was taken",
        "<li>Taken by the camera’s clock: ",
    ]);
    // It was here first all the same.
    assert_eq!(count(&bench, ALIKE).await, 1);
    bench.get(MARIA, &path).await.hides(&[LIKE]);
    // What somebody has looked at they have looked at as long as it says the same, and no longer.
    let found = bench.get(MARIA, &path).await.field("found");
    let looked = bench.post(MARIA, &look, &[("found", &found)]).await;
    assert_eq!(looked.status, StatusCode::SEE_OTHER);
    for (minutes, waits) in [(40, false), (58, true)] {
        anna.minutes = minutes;
        anna.observe(&mut document, Vec::new(), vec![taken.clone()], Vec::new());
        anna.push(&bench, &document, Vec::new()).await;
        looks::catch_up(&bench.app).await.unwrap();
        let page = bench.get(MARIA, "/look").await;
        assert_eq!(page.body.contains(&item), waits, "{minutes}");
    }
    bench.close().await;
}

#[tokio::test]
async fn a_photo_that_was_taken_back_accuses_nobody() {
    let bench = Bench::new().await;
    let (file, _) = two_alike();
    let (org, wrong) = (bench.tenant.org, VisitId::of_call(bench.tenant.id, CALL));
    let wrong_path = format!("/visits/{wrong}");
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document = Document::new(bench.tenant.id, wrong.into());
    let sends = async |anna: &mut Phone, document: &Document| {
        anna.push(&bench, document, Vec::new()).await;
        looks::catch_up(&bench.app).await.unwrap();
    };
    // In the wrong visit first, then in the right one.
    anna.start(&mut document, CALL);
    anna.observe(&mut document, Vec::new(), vec![of(&file)], Vec::new());
    sends(&mut anna, &document).await;
    brings(&bench, &file).await;
    let right = goes(&bench, &mut anna, CLOSED_CALL, of(&file)).await;
    looks::catch_up(&bench.app).await.unwrap();
    bench.get(MARIA, &right).await.shows(&[SAME]);
    anna.record(&mut document, Act::Abandon {});
    sends(&mut anna, &document).await;
    bench.get(MARIA, &right).await.hides(&[SAME]);
    bench.get(MARIA, "/look").await.hides(&["in a contest", "contest photos"]);
    assert!(photo_signals(&bench, &wrong_path).await.is_empty());
    // Nor does it when the other is judged again. What she records there anew is another matter.
    write(&bench, "UPDATE photo SET judged = 0 WHERE judged = 1".into()).await;
    looks::catch_up(&bench.app).await.unwrap();
    bench.get(MARIA, &right).await.hides(&[SAME]);
    anna.start(&mut document, CALL);
    let again = anna.observe(&mut document, Vec::new(), vec![of(&file)], Vec::new());
    sends(&mut anna, &document).await;
    bench.get(MARIA, &right).await.shows(&[SAME]);
    // So that nothing hides behind what is taken back, whatever had a signal for it is compared with the others again.
    anna.record(&mut document, Act::Withdraw { recordings: vec![again] });
    anna.push(&bench, &document, Vec::new()).await;
    let next = async || {
        let next = bench.app.store.read(move |c| signals::unjudged(c, org, now_ms())).await;
        next.unwrap()
    };
    let taken = next().await.filter(|taken| taken.document == wrong.into()).unwrap();
    let as_of = bench.app.store.read(move |c| signals::newest(c, &taken)).await.unwrap();
    let judge = move |tx: &Transaction<'_>| signals::judged(tx, &taken, as_of, None, now_ms());
    bench.app.store.write(judge).await.unwrap();
    let next = next().await.map(|next| format!("/visits/{}", next.document.visit().unwrap()));
    assert_eq!(next.as_ref(), Some(&right));
    looks::catch_up(&bench.app).await.unwrap();
    bench.get(MARIA, &right).await.hides(&[SAME]);
    assert!(photo_signals(&bench, &wrong_path).await.is_empty());
    bench.close().await;
}

#[tokio::test]
async fn only_photos_that_are_taken_back_are_judged_again() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document =
        Document::new(bench.tenant.id, VisitId::of_call(bench.tenant.id, CALL).into());
    anna.start(&mut document, CALL);
    let [first, second] = ["first", "second"]
        .map(|name| anna.observe(&mut document, vec![], vec![photo(name, SHELF)], vec![]));
    anna.push(&bench, &document, vec![]).await;
    write(&bench, "UPDATE photo SET judged = 1".into()).await;
    let mut again = async |act, photos: u64| {
        anna.record(&mut document, act);
        anna.push(&bench, &document, vec![]).await;
        assert_eq!(count(&bench, "SELECT count(*) FROM photo WHERE judged = 0").await, photos);
        write(&bench, "UPDATE photo SET judged = 1".into()).await;
    };
    again(Act::Withdraw { recordings: vec![first] }, 1).await;
    again(Act::Withdraw { recordings: vec![first, second] }, 2).await;
    again(Act::Abandon {}, 2).await;
    again(Act::Abandon {}, 0).await;
    bench.close().await;
}

#[tokio::test]
async fn of_a_photo_that_was_recorded_again_counts_what_stands() {
    const ASIDE: &str = "SELECT count(*) FROM signal WHERE kind = 5";
    let bench = Bench::new().await;
    let (used, again) = two_alike();
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let origin = PhotoOrigin {
        file: BlobHash([3; 32]),
        shown_ms: Some(anna.moment().wall_ms - DAY_MS),
        offset_min: Some(0),
        place: None,
        editor: None,
        written_ms: None,
    };
    let mut document =
        Document::new(bench.tenant.id, VisitId::of_call(bench.tenant.id, CALL).into());
    anna.start(&mut document, CALL);
    anna.observe(&mut document, Vec::new(), vec![of(&used)], Vec::new());
    let old = PhotoRef { origin: Some(origin), check: Some(PRICE), ..of(&again) };
    let other = anna.observe(&mut document, Vec::new(), vec![old], Vec::new());
    anna.push(&bench, &document, Vec::new()).await;
    brings(&bench, &used).await;
    brings(&bench, &again).await;
    assert_eq!((count(&bench, ALIKE).await, count(&bench, ASIDE).await), (1, 1));
    // It was for the same check, and she had the wrong one of her camera's.
    anna.record(&mut document, Act::Withdraw { recordings: vec![other] });
    anna.observe(&mut document, Vec::new(), vec![of(&again)], Vec::new());
    anna.push(&bench, &document, Vec::new()).await;
    looks::catch_up(&bench.app).await.unwrap();
    assert_eq!((count(&bench, ALIKE).await, count(&bench, ASIDE).await), (0, 0));
    bench.close().await;
}

#[tokio::test]
async fn organisations_take_turns() {
    let bench = Bench::new().await;
    let other = bench.app.create(OrgId::from_bytes([8; 16]), "Another").await.unwrap().org;
    assert!(bench.tenant.org < other, "the one with much to do comes first");
    write(
        &bench,
        "CREATE TABLE told (n INTEGER PRIMARY KEY, what TEXT, org INTEGER) STRICT;
         CREATE TRIGGER tell_visit AFTER UPDATE OF judged ON visit
         BEGIN INSERT INTO told (what, org) VALUES ('visit', new.org); END;
         CREATE TRIGGER tell_photo AFTER UPDATE OF judged ON photo
         BEGIN INSERT INTO told (what, org) VALUES ('photo', new.org); END;"
            .into(),
    )
    .await;
    for (org, count) in [(bench.tenant.org, 40), (other, 1)] {
        let work = format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             INSERT INTO visit (org, visit, outlet, audience, territory, distributor, day, status,
                 people, conflicts, news, photos, started_ms, changed_ms, changed, counted, facts)
             SELECT {org}, randomblob(16), zeroblob(16), 1, x'', x'', 0, '', x'', 0, 0, 0, 0, 0, 5,
                 1, x'' FROM n;
             INSERT INTO photo (org, hash, document, by, audience, referenced_ms, bytes, here)
             SELECT {org}, zeroblob(32), CAST(x'00' || visit AS BLOB), zeroblob(16), 1, 0, 9, 1
             FROM visit WHERE org = {org};
             INSERT INTO blob (org, hash, bytes, width, height, arrived_ms, looked)
             VALUES ({org}, zeroblob(32), 9, 9, 9, 0, 1)"
        );
        write(&bench, work).await;
    }
    looks::catch_up(&bench.app).await.unwrap();
    for (what, all) in [("visit", 41), ("photo", 41)] {
        let read = move |c: &Connection| -> Result<(i64, i64), StoreError> {
            let query = "SELECT count(*), (SELECT count(*) FROM told t WHERE t.what = ?1 AND t.n <
                             (SELECT n FROM told WHERE what = ?1 AND org = ?2)) FROM told WHERE what = ?1";
            Ok(c.query_row(query, rusqlite::params![what, other], |r| Ok((r.get(0)?, r.get(1)?)))?)
        };
        let (told, before) = bench.app.store.read(read).await.unwrap();
        assert_eq!(told, all, "{what}");
        assert!(before <= 16, "{before} of the other organisation's: {what}");
    }
    bench.close().await;
}

#[tokio::test]
async fn a_photo_of_which_the_process_died_is_judged_by_its_file_and_looked_at_later() {
    let (used, again) = two_alike();
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    anna.anchor = 0;
    goes(&bench, &mut anna, CALL, of(&used)).await;
    brings(&bench, &used).await;
    let hash = BlobHash::of(&again);
    let died = format!(
        "INSERT INTO decoding (org, hash, deaths, tried_ms) VALUES ({}, x'{hash}', 2, {})",
        bench.tenant.org,
        now_ms()
    );
    write(&bench, died).await;
    let path = goes(&bench, &mut anna, CLOSED_CALL, of(&again)).await;
    brings(&bench, &again).await;
    const UNJUDGED: &str = "SELECT count(*) FROM photo WHERE judged = 0";
    assert_eq!((count(&bench, UNLOOKED).await, count(&bench, UNJUDGED).await), (1, 0));
    bench.get(MARIA, &path).await.shows(&["Nothing was said of"]).hides(&[LIKE]);
    // After a week somebody begins again.
    write(&bench, "UPDATE decoding SET tried_ms = tried_ms - 7 * 86400000 - 1".into()).await;
    looks::catch_up(&bench.app).await.unwrap();
    assert_eq!((count(&bench, UNLOOKED).await, count(&bench, UNJUDGED).await), (0, 0));
    bench.get(MARIA, &path).await.shows(&[LIKE]);
    bench.close().await;
}

#[tokio::test]
async fn a_photo_whose_file_is_away_is_looked_at_when_it_is_back() {
    let (used, again) = two_alike();
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    anna.anchor = 0;
    goes(&bench, &mut anna, CALL, of(&used)).await;
    brings(&bench, &used).await;
    let path = goes(&bench, &mut anna, CLOSED_CALL, of(&again)).await;
    arrives(&bench, ANNA, &again).await;
    const UNREAD: &str = "SELECT count(*) FROM blob WHERE looked = 2";
    assert_eq!((count(&bench, UNLOOKED).await, count(&bench, UNREAD).await), (1, 0));
    // It is back, and damaged.
    let (id, hash) = (bench.tenant.id, BlobHash::of(&again));
    bench.app.blobs.put(id, hash, Rendition::Original, b"no picture".to_vec()).await.unwrap();
    looks::catch_up(&bench.app).await.unwrap();
    assert_eq!((count(&bench, UNLOOKED).await, count(&bench, UNREAD).await), (0, 1));
    bench.get(MARIA, &path).await.hides(&[LIKE]);
    // It comes anew.
    brings(&bench, &again).await;
    assert_eq!((count(&bench, UNLOOKED).await, count(&bench, UNREAD).await), (0, 0));
    bench.get(MARIA, &path).await.shows(&[LIKE]);
    bench.close().await;
}

#[tokio::test]
async fn whoever_names_a_photo_everywhere_gives_its_visit_little_to_explain() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let org = bench.tenant.org;
    let named = move |n: u8, by| signals::Reference {
        org,
        hash: BlobHash([1; 32]),
        document: if n == 0 { visit.into() } else { VisitId::from_bytes([n; 16]).into() },
        audience: 0,
        by,
        at_ms: i64::from(n),
        earliest_ms: None,
        received_ms: None,
    };
    let same = server::signals::Signal { kind: Kind::SameFile, figure: 0 };
    let judge = move |tx: &Transaction<'_>| -> Result<(), StoreError> {
        for n in 1..=9 {
            let found = Found { others: vec![(named(0, ANNA), same)], ..Found::default() };
            signals::judged(tx, &named(n, JOHAN), None, Some(&found), 5)?;
        }
        Ok(())
    };
    bench.app.store.write(judge).await.unwrap();
    let visit_hex = visit.to_string().replace('-', "");
    let of_hers = format!("FROM signal WHERE visit = x'{visit_hex}' AND kind = 0");
    let count_hers = async || {
        let query = format!("SELECT count(*) {of_hers}");
        let read = move |c: &Connection| Ok(c.query_row(&query, [], |row| row.get::<_, u64>(0))?);
        bench.app.store.read(read).await.unwrap()
    };
    assert_eq!(count_hers().await, 5);
    // What many photos say of one visit is told as far as anybody reads, and does not hide what its captures say.
    let many = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO signal SELECT org, visit, 2, randomblob(32), x'', x'', by, x'', x'', 0, x'', 5,
             NULL, NULL FROM n, (SELECT * {of_hers} LIMIT 1);
         INSERT INTO signal SELECT org, visit, 12, x'', x'', x'', by, x'', randomblob(32), 0, x'', 5,
             NULL, NULL {of_hers} LIMIT 1"
    );
    write(&bench, many).await;
    let see = pages::Sight::new(org, |_| true);
    let told =
        bench.app.store.read(move |c| signals::of_visit(c, &see, visit, false)).await.unwrap();
    let of_camera = told.iter().filter(|shown| shown.signal.kind == Kind::Camera).count();
    assert_eq!((told.iter().filter(|shown| shown.photo.is_some()).count(), of_camera), (200, 1));
    bench.close().await;
}

#[tokio::test]
async fn stopping_lets_what_is_decoded_end_and_is_no_death_of_it() {
    let Bench { app, tenant, folder, .. } = Bench::new().await;
    let (org, hash, now) = (tenant.org, BlobHash::of(b"photo"), now_ms());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let config = ServeConfig::local(folder.clone());
    let stopped = async move { drop(stopped.await) };
    let running = tokio::spawn(serve::serve(Arc::clone(&app), config, listener, stopped));
    let half = Arc::clone(&app.limits.decoding).acquire_many_owned(32).await.unwrap();
    app.store.write(move |tx| uploads::decoding(tx, org, hash, now)).await.unwrap();
    stop.send(()).unwrap();
    // Whoever waits for all of the room has what is left of it.
    while app.limits.decoding.available_permits() > 0 {
        assert!(!running.is_finished(), "it has not waited");
        tokio::task::yield_now().await;
    }
    app.store.write(move |tx| uploads::decoded(tx, org, hash)).await.unwrap();
    drop(half);
    running.await.unwrap().unwrap();
    let left = Connection::open(folder.join(DATABASE)).unwrap();
    let left = left.query_row("SELECT count(*) FROM decoding", [], |row| row.get(0));
    assert_eq!(left, Ok(0), "the next start counts no death");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn who_sees_the_photos_of_an_outlet_moves_with_it() {
    let bench = Bench::new().await;
    let (jpeg, _) = two_alike();
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let report = OutletReport {
        by: ANNA,
        when: anna.moment(),
        place: None,
        name: "Kiosk".into(),
        address: "Hamngatan 1".into(),
        territory: NORTH,
        distributor: GROSSIST,
        note: None,
        photos: vec![PhotoRef { check: None, ..of(&jpeg) }],
        volume: None,
    };
    let mut history = Document::new(bench.tenant.id, OUTLET.into());
    anna.write(&mut history, Entry::Report(report));
    anna.push(&bench, &history, Vec::new()).await;
    brings(&bench, &jpeg).await;
    let path = format!("/photos/{}", BlobHash::of(&jpeg));
    let statuses = async || [bench.get(MARIA, &path).await, bench.get(SARA, &path).await];
    assert_eq!(statuses().await.map(|reply| reply.status.as_u16()), [200, 404]);
    let outlet = bench.tenant.world().outlets[&OUTLET].clone();
    let outlet = Record::Outlet(Outlet { territory: SOUTH, distributor: OTHER, ..outlet });
    bench.app.write_records(&bench.tenant, vec![outlet]).await.unwrap();
    assert_eq!(statuses().await.map(|reply| reply.status.as_u16()), [404, 200]);
    bench.close().await;
}
