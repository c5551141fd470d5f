//! Place, way and time: what is noticed, who sees it, and that it is the same in whatever order work comes.

use axum::http::StatusCode;
use rusqlite::Connection;
use rusqlite::types::Value;
use server::app::App;
use server::blobs::Album;
use server::check::{Report, check};
use server::store::archive::Archive;
use server::store::{DATABASE, StoreError};
use server::{looks, people};
use sync_core::document::{Document, Entry};
use sync_core::id::{OutletId, TerritoryId, UserId, VisitId};
use sync_core::model::Geo;
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::Record;
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{Act, Observation, Recording, Versioned};

use crate::{
    ANNA, Bench, DORA, GROSSIST, MARIA, NORTH, OTHER, OUTLET, PASSWORD, Phone, SARA, SOUTH, person,
    price,
};

const ROY: UserId = UserId::from_bytes([0x30; 16]);
const BOSS: UserId = UserId::from_bytes([0x31; 16]);
const SOUTHERN: OutletId = OutletId::from_bytes([2; 16]);

/// Sets what signals weigh, and leaves what else the form has.
pub(crate) async fn weighs(bench: &Bench, user: UserId, weights: &[(&str, &str)]) -> StatusCode {
    let others = [("metres", "150"), ("seconds", "1")];
    bench.post(user, "/look/settings", &[&others, weights].concat()).await.status
}

/// Someone who works in the north and in the south, and an admin who sees both.
async fn both_parts(bench: &mut Bench) -> Phone {
    let everywhere = Scope::Territory(TerritoryId::from_bytes([1; 16]));
    let records = vec![
        person(ROY, "Roy Ask", Role::Rep, everywhere),
        person(BOSS, "Bo Boss", Role::Admin, everywhere),
    ];
    bench.app.write_records(&bench.tenant, records).await.unwrap();
    people::open_account(&bench.app, &bench.tenant, BOSS, "bo@a.example", PASSWORD).await.unwrap();
    bench.sign_in(BOSS, "bo@a.example").await;
    // What it did, it did before the log began.
    Phone { anchor: 0, ..bench.phone(ROY, "Roy's phone").await }
}

fn visit(n: u8) -> VisitId {
    VisitId::from_bytes([n; 16])
}

/// At the outlets' place, or so many thousandths of a degree of latitude north of it, 111 m each.
fn place(north: i32) -> Geo {
    let place = Geo::from_degrees(18.0565, 59.344, Some(10)).unwrap();
    Geo { lat_e6: place.lat_e6 + north * 1_000, ..place }
}

/// A visit from one minute to another, with so many prices, captured at this place; it is pushed.
async fn goes(
    bench: &Bench,
    phone: &mut Phone,
    (id, outlet): (VisitId, OutletId),
    minutes: (u64, u64),
    place: Geo,
    prices: u64,
) {
    let mut document = Document::new(bench.tenant.id, id.into());
    let (territory, distributor) =
        if outlet == OUTLET { (NORTH, GROSSIST) } else { (SOUTH, OTHER) };
    let template = Versioned { number: 1, version: 1 };
    let start = Act::Start { outlet, call: None, territory, distributor, template };
    let facts: Vec<Observation> = (1..=prices).map(|n| price(n, 1_490)).collect();
    record(phone, &mut document, minutes.0, place, start);
    let observed = sync_core::model::visit::Observed {
        template,
        planograms: Vec::new(),
        price_list: None,
        observations: sync_core::model::visit::Observations(facts),
        photos: Vec::new(),
        supersedes: Vec::new(),
    };
    record(phone, &mut document, minutes.1, place, Act::Observe(observed));
    phone.minutes = minutes.1;
    phone.submit(&mut document);
    phone.push(bench, &document, Vec::new()).await;
}

fn record(phone: &mut Phone, document: &mut Document, minute: u64, place: Geo, act: Act) {
    phone.minutes = minute;
    let recording = Recording { by: ROY, when: phone.moment(), place: Some(place), act };
    phone.write(document, Entry::Recording(recording));
}

/// The rows of the field, but for when they were found.
async fn rows(app: &App) -> Vec<Vec<Value>> {
    let read = |connection: &Connection| -> Result<Vec<Vec<_>>, StoreError> {
        let mut rows = Vec::new();
        for (table, columns) in [
            ("stay", "visit, person, entry, began_ms, length_ms, fixes"),
            ("signal", "visit, kind, other, other_document, by, entry, figure, evidence"),
        ] {
            let mut query =
                connection.prepare(&format!("SELECT {columns} FROM {table} ORDER BY 1, 2, 3"))?;
            let width = query.column_count();
            let found = query.query_map([], |row| (0..width).map(|at| row.get(at)).collect())?;
            rows.extend(found.collect::<Result<Vec<Vec<_>>, _>>()?);
        }
        Ok(rows)
    };
    app.store.read(read).await.unwrap()
}

async fn write(bench: &Bench, sql: &'static str) {
    let write = move |tx: &rusqlite::Transaction<'_>| -> Result<(), StoreError> {
        Ok(tx.execute_batch(sql)?)
    };
    bench.app.store.write(write).await.unwrap();
}

pub(crate) fn checked(bench: &Bench) -> Report {
    let archive = Archive::open(&bench.folder.join(DATABASE)).unwrap();
    check(&archive, &Album::at(bench.folder.join("blobs")), &mut |_, _, _| {}).unwrap()
}

#[tokio::test]
async fn who_is_too_far_away_too_soon_is_shown_to_who_sees_both_places() {
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    goes(&bench, &mut roy, (visit(0x71), OUTLET), (1, 8), place(0), 3).await;
    goes(&bench, &mut roy, (visit(0x72), SOUTHERN), (18, 24), place(1_000), 3).await;
    looks::catch_up(&bench.app).await.unwrap();
    let (first, second) = (format!("/visits/{}", visit(0x71)), format!("/visits/{}", visit(0x72)));
    // 111 km in ten minutes.
    let both = ["At least 667 km/h", "111.1 km within 10 min at most", "Roy Ask", &first];
    bench.get(BOSS, &second).await.shows(&both).shows(&[
        "More than half of the captures are",
        "111.1 km from the outlet",
        "60.34400, 18.05650 (±10\u{a0}m)",
        "I have looked",
    ]);
    bench.get(BOSS, &first).await.hides(&["#captures"]);
    bench.get(BOSS, "/look").await.shows(&both).shows(&["weighs 70<", "1 visit<"]);
    // Sara sees the second alone, and nothing of the first.
    for page in ["/look", &second] {
        let page = bench.get(SARA, page).await;
        page.shows(&["At least 667 km/h", "The other visit is outside your part of the field."]);
        page.hides(&[&first, "10 min at most", "59.34400"]);
    }
    bench.get(MARIA, "/look").await.shows(&["Nothing to look at"]);

    // An organisation thinks what it thinks of it.
    let set = weighs(&bench, BOSS, &[("weight-8", "3"), ("weight-6", "0")]).await;
    assert_eq!(set, StatusCode::SEE_OTHER);
    for page in ["/look", &second] {
        bench.get(SARA, page).await.shows(&["km/h"]).hides(&["More than half"]);
    }
    bench.get(SARA, "/look").await.shows(&["weighs 3<"]);
    // Looked at once, it is not asked for again when somebody writes in the visit; when more is captured, it may be.
    let found = bench.get(SARA, &second).await.field("found");
    let look = format!("/look/{}", visit(0x72));
    let looked = bench.post(SARA, &look, &[("found", &found)]).await;
    assert_eq!(looked.status, StatusCode::SEE_OTHER);
    bench.post(SARA, &format!("{second}/comments"), &[("comment", "why?")]).await;
    looks::catch_up(&bench.app).await.unwrap();
    bench.get(SARA, &second).await.shows(&["Looked at by Sara Ekdahl"]).hides(&["I have looked"]);
    assert!(checked(&bench).is_clean(), "{:?}", checked(&bench).damage);
    bench.close().await;
}

#[tokio::test]
async fn a_distributor_sees_what_stands_out_at_its_outlets_and_nothing_of_others() {
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    // The brand's rep, first where another distributor serves, then at an outlet of Dora's.
    goes(&bench, &mut roy, (visit(0x71), SOUTHERN), (1, 8), place(0), 3).await;
    goes(&bench, &mut roy, (visit(0x72), OUTLET), (18, 24), place(1_000), 3).await;
    looks::catch_up(&bench.app).await.unwrap();
    let (first, second) = (format!("/visits/{}", visit(0x71)), format!("/visits/{}", visit(0x72)));
    let seen = format!("/look/{}", visit(0x72));
    for page in ["/look", &second] {
        bench.get(BOSS, page).await.shows(&["10 min at most", &first, "I have looked"]);
        let page = bench.get(DORA, page).await;
        page.shows(&["At least 667 km/h", "The other visit is outside your part of the field."]);
        page.shows(&["More than half of the captures are", "111.1 km from the outlet"]);
        page.hides(&[&first, "10 min at most", "59.34400", "I have looked"]);
    }
    // What it all weighs is known to both sides, and the brand sets it.
    let page = bench.get(DORA, "/look").await;
    page.shows(&["An admin of", "sets this", "How far an outlet reaches"]);
    page.hides(&["/look/settings", "name=\"metres\""]);
    bench.get(DORA, "/").await.shows(&["href=\"/look\""]);
    let refused = bench.post(DORA, &seen, &[("found", "0")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    // That the brand has looked takes nothing from the other side.
    let found = bench.get(BOSS, &second).await.field("found");
    let looked = bench.post(BOSS, &seen, &[("found", &found)]).await;
    assert_eq!(looked.status, StatusCode::SEE_OTHER);
    bench.get(BOSS, "/look").await.shows(&["Nothing to look at"]);
    for page in ["/look", &second] {
        bench.get(DORA, page).await.shows(&["At least 667 km/h", "Looked at by Bo Boss"]);
    }
    write(&bench, "UPDATE visit SET day = day - 28").await;
    bench.get(DORA, "/look").await.shows(&["Nothing to look at"]);
    // Fifty more of the same: the queue goes on, and says so.
    let of = format!("WHERE visit = x'{}'", "72".repeat(16));
    let tables = format!(
        "UPDATE signal SET seen_ms = NULL, seen_by = NULL; CREATE TABLE v AS SELECT * FROM visit {of};
         CREATE TABLE s AS SELECT * FROM signal {of};"
    );
    let copies = (1..=50).map(|n| {
        let id = format!("SET visit = x'{n:032x}'");
        format!(
            "UPDATE v {id}; UPDATE s {id}; INSERT INTO visit SELECT * FROM v;
             INSERT INTO signal SELECT * FROM s;"
        )
    });
    let copies: String = copies.collect();
    crate::dispute::write(&bench, tables + &copies + "DROP TABLE v; DROP TABLE s;").await;
    let page = bench.get(BOSS, "/look").await;
    page.shows(&["Visits 1 to 50<", "href=\"/look?from=50\""]).hides(&[&second]);
    let page = bench.get(BOSS, "/look?from=50").await;
    page.shows(&["Visit 51, the last", "The heaviest", &second]).hides(&["from=100"]);
    bench.close().await;
}

#[tokio::test]
async fn the_rows_are_the_same_in_whatever_order_work_comes_and_made_anew() {
    let mut orders = Vec::new();
    for order in [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [3, 6, 0, 5, 1, 4, 2]] {
        let mut bench = Bench::new().await;
        let mut roy = both_parts(&mut bench).await;
        for (n, at) in order.into_iter().enumerate() {
            let begin = 8 * at;
            // The last of seven visits of five minutes is far from the one before.
            let north = if at == 6 { 1_000 } else { 0 };
            let id = visit(0x70 + at as u8);
            goes(&bench, &mut roy, (id, OUTLET), (begin, begin + 5), place(north), 12).await;
            if n % 2 == 0 {
                looks::catch_up(&bench.app).await.unwrap();
            }
        }
        looks::catch_up(&bench.app).await.unwrap();
        let page = bench.get(BOSS, &format!("/visits/{}", visit(0x75))).await;
        page.shows(&["by 0.0 % of their mean", "5 min 0 s", &format!("/visits/{}", visit(0x70))]);
        page.hides(&["km/h", "faster than one can look"]);
        let last = bench.get(BOSS, &format!("/visits/{}", visit(0x76))).await;
        last.shows(&["km/h", &format!("/visits/{}", visit(0x75)), "by 0.0 % of their mean"]);
        last.hides(&[&format!("signal-other\" href=\"/visits/{}", visit(0x70))]);
        bench.get(BOSS, &format!("/visits/{}", visit(0x74))).await.hides(&["#captures"]);

        let kept = rows(&bench.app).await;
        assert!(checked(&bench).is_clean(), "{:?}", checked(&bench).damage);
        write(&bench, "UPDATE signal SET figure = 1 WHERE kind = 8").await;
        assert_eq!(checked(&bench).damage.len(), 1);
        write(&bench, "DELETE FROM signal; DELETE FROM stay; UPDATE visit SET judged = 0").await;
        assert!(checked(&bench).is_clean(), "what is yet to be read is no damage");
        looks::catch_up(&bench.app).await.unwrap();
        assert_eq!(rows(&bench.app).await, kept);
        // Each world has phones of its own, and times of its own: what can be compared is what was noticed.
        let signals = kept.iter().filter(|row| row.len() == 8);
        orders.push(
            signals.map(|row| (row[0].clone(), row[1].clone(), row[3].clone())).collect::<Vec<_>>(),
        );
        bench.close().await;
    }
    assert!(orders[0].len() >= 4 && orders.iter().all(|order| *order == orders[0]), "{orders:?}");
}

#[tokio::test]
async fn what_came_from_a_phone_since_it_was_lost_is_worth_a_look() {
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    let page = format!("/visits/{}", visit(0x70));
    goes(&bench, &mut roy, (visit(0x70), OUTLET), (1, 8), place(0), 3).await;
    looks::catch_up(&bench.app).await.unwrap();
    bench.get(BOSS, &page).await.hides(&["#captures"]);
    let revoke = format!("/devices/{}/revoke", roy.sender.device);
    for wrong in ["yesterday", "2999-01-01T00:00"] {
        let refused = bench.post(BOSS, &revoke, &[("lost", wrong)]).await;
        assert!(refused.status.is_client_error(), "{wrong}: {}", refused.status);
    }
    let revoked = bench.post(BOSS, &revoke, &[("lost", "2026-01-01T12:00")]).await;
    assert_eq!(revoked.status, StatusCode::SEE_OTHER);
    looks::catch_up(&bench.app).await.unwrap();
    let document = bench.document(visit(0x70)).await;
    let entry = document.changes().iter().find(|c| matches!(c.entry(), Ok(Entry::Recording(_))));
    let line = format!("h-{}", &entry.unwrap().hash().to_string()[..16]);
    let told = [
        "From a phone that was out of its person’s hands",
        "It came when",
        // What shows it, and where the history tells of it.
        "Out of its person’s hands since 1 Jan 2026 12:00:00",
        "Here since",
        "Nothing says how early it was; proved: not after",
        &format!("href=\"{page}#{line}\">in the history"),
    ];
    bench.get(BOSS, &page).await.shows(&told).shows(&[&format!("id=\"{line}\"")]);
    bench.get(BOSS, "/look").await.shows(&told).shows(&["weighs 50<"]);
    bench.get(BOSS, &format!("/people/{ROY}")).await.shows(&["Lost since", "1 Jan"]);
    assert!(checked(&bench).is_clean(), "{:?}", checked(&bench).damage);
    bench.close().await;
}

#[tokio::test]
async fn a_change_of_its_key_since_a_phone_was_lost_hides_nothing() {
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    goes(&bench, &mut roy, (visit(0x70), OUTLET), (1, 8), place(0), 3).await;
    looks::catch_up(&bench.app).await.unwrap();
    let next = bench.phone(ROY, "The same phone").await.sender.device;
    // As a change of its key in September 2026 leaves both.
    let (before, of) = (roy.sender.device, next);
    let changed = move |tx: &rusqlite::Transaction<'_>| -> Result<usize, StoreError> {
        Ok(tx.execute(
            "UPDATE device SET label = 'The same phone', revoked_ms = iif(device = ?1, ?3, NULL),
                 enrolled_ms = iif(device = ?1, 0, ?3) WHERE device IN (?1, ?2)",
            rusqlite::params![before.as_bytes(), of.as_bytes(), 1_790_000_000_000_i64],
        )?)
    };
    assert_eq!(bench.app.store.write(changed).await.unwrap(), 2);
    let revoke = format!("/devices/{before}/revoke");
    let revoked = bench.post(BOSS, &revoke, &[("lost", "2026-01-01T12:00")]).await;
    assert_eq!(revoked.status, StatusCode::SEE_OTHER);
    looks::catch_up(&bench.app).await.unwrap();
    let page = bench.get(BOSS, &format!("/visits/{}", visit(0x70))).await;
    page.shows(&["From a phone that was out of its person’s hands"]);
    let world = bench.tenant.world();
    assert!([before, next].iter().all(|device| world.devices[device].revoked));
    let lost = world.lost_phones();
    assert_eq!(lost.len(), 2);
    // Nobody makes it later, and so nothing less doubtful.
    let later = bench.post(BOSS, &revoke, &[("lost", "2026-06-01T12:00")]).await;
    assert_eq!(later.status, StatusCode::SEE_OTHER);
    looks::catch_up(&bench.app).await.unwrap();
    assert_eq!(bench.tenant.world().lost_phones(), lost);
    bench.close().await;
}

#[tokio::test]
async fn a_clock_in_doubt_is_shown_with_what_it_said_and_its_bounds() {
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    for (n, wall_ms, skew_ms, said) in [
        (0x70, 0, None, "Its wall clock said 1 Jan 1970 01:00:00"),
        (0x71, 60_000, Some(60_000), "from this server: 1 Jan 1970 01:02:00"),
        (0x72, i64::MAX, None, "Its wall clock said what is no date"),
    ] {
        let mut document = Document::new(bench.tenant.id, visit(n).into());
        let template = Versioned { number: 1, version: 1 };
        let (territory, distributor) = (NORTH, GROSSIST);
        let act = Act::Start { outlet: OUTLET, call: None, territory, distributor, template };
        let when = Moment { wall_ms, skew_ms, ..roy.moment() };
        let recording = Recording { by: ROY, when, place: Some(place(0)), act };
        roy.write(&mut document, Entry::Recording(recording));
        roy.push(&bench, &document, Vec::new()).await;
        looks::catch_up(&bench.app).await.unwrap();
        let page = bench.get(BOSS, &format!("/visits/{}", visit(n))).await;
        page.shows(&["The phone’s clock is in doubt", "away from its other clocks", said]);
        page.shows(&["Claimed by the phone", "in the history"]);
    }
    assert!(checked(&bench).is_clean(), "{:?}", checked(&bench).damage);
    bench.close().await;
}

#[tokio::test]
async fn how_long_looking_takes_is_for_the_organisation_to_say() {
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    let (few, many, alone, shown) = (visit(0x70), visit(0x71), visit(0x72), visit(0x73));
    goes(&bench, &mut roy, (few, OUTLET), (1, 2), place(0), 2).await;
    goes(&bench, &mut roy, (many, OUTLET), (3, 4), place(0), 3).await;
    let start = || Act::Start {
        outlet: OUTLET,
        call: None,
        territory: NORTH,
        distributor: GROSSIST,
        template: Versioned { number: 1, version: 1 },
    };
    // A photo is one more thing that was looked at.
    let mut document = Document::new(bench.tenant.id, shown.into());
    record(&mut roy, &mut document, 5, place(0), start());
    roy.minutes = 6;
    let prices = (1..=2).map(|n| price(n, 1_490)).collect();
    roy.observe(&mut document, prices, vec![crate::photo("a shelf", 1)], vec![]);
    roy.submit(&mut document);
    roy.push(&bench, &document, Vec::new()).await;
    // Of a single screen nobody knows how long it took: a colleague began the visit.
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document = Document::new(bench.tenant.id, alone.into());
    roy.record(&mut document, start());
    roy.push(&bench, &document, Vec::new()).await;
    anna.observe(&mut document, (1..=9).map(|n| price(n, 1_490)).collect(), vec![], vec![]);
    anna.submit(&mut document);
    anna.push(&bench, &document, Vec::new()).await;
    let short = "Recorded faster than one can look";
    for (seconds, told) in [("1", false), ("20", false), ("20.1", true), ("60", true)] {
        let fields = [("metres", "150"), ("seconds", seconds)];
        let set = bench.post(BOSS, "/look/settings", &fields).await;
        assert_eq!(set.status, StatusCode::SEE_OTHER, "{}", set.body);
        looks::catch_up(&bench.app).await.unwrap();
        let noticed =
            async |id| bench.get(BOSS, &format!("/visits/{id}")).await.body.contains(short);
        assert_eq!(noticed(many).await, told, "three in a minute, {seconds} s each");
        assert_eq!(noticed(shown).await, told, "two and a photo, {seconds} s each");
        assert!(!noticed(few).await && !noticed(alone).await, "{seconds}");
        bench.get(BOSS, "/look").await.shows(&[&format!("value=\"{seconds}\"")]);
    }
    bench
        .get(BOSS, &format!("/visits/{many}"))
        .await
        .shows(&["3 observations and photos", "within 60 seconds"]);
    assert!(checked(&bench).is_clean(), "{:?}", checked(&bench).damage);
    bench.close().await;
}

#[tokio::test]
async fn an_early_submission_hides_nothing_of_what_follows() {
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    // What is recorded in which minute, and submitted at once; all of them begin in the first.
    let mut goes = async |n, submitted: &[(u64, std::ops::Range<u64>)]| {
        let mut document = Document::new(bench.tenant.id, visit(n).into());
        let (territory, distributor, call) = (NORTH, GROSSIST, None);
        let template = Versioned { number: 1, version: 1 };
        let start = Act::Start { outlet: OUTLET, call, territory, distributor, template };
        record(&mut roy, &mut document, 1, place(0), start);
        for (minute, prices) in submitted {
            roy.minutes = *minute;
            let prices: Vec<_> = prices.clone().map(|n| price(n, 1_490)).collect();
            if !prices.is_empty() {
                roy.observe(&mut document, prices, vec![], vec![]);
            }
            roy.minutes = *minute;
            roy.submit(&mut document);
        }
        roy.push(&bench, &document, Vec::new()).await;
    };
    goes(0x70, &[(1, 0..0), (2, 1..4)]).await;
    goes(0x71, &[(31, 1..4), (32, 4..7)]).await;
    goes(0x72, &[(1, 1..3), (2, 3..4)]).await;
    goes(0x73, &[(31, 1..4), (32, 4..6)]).await;
    let short = "Recorded faster than one can look";
    for (seconds, told) in [("20", [false; 4]), ("20.1", [true, true, true, false])] {
        let fields = [("metres", "150"), ("seconds", seconds)];
        let set = bench.post(BOSS, "/look/settings", &fields).await;
        assert_eq!(set.status, StatusCode::SEE_OTHER, "{}", set.body);
        looks::catch_up(&bench.app).await.unwrap();
        for (n, told) in (0x70..).zip(told) {
            let page = bench.get(BOSS, &format!("/visits/{}", visit(n))).await;
            assert_eq!(page.body.contains(short), told, "{n:x}, {seconds} s each");
            let shown = ["3 observations and photos", "within 60 seconds"];
            page.shows(&shown[..if told { 2 } else { 0 }]);
        }
    }
    // Nor does it say how long the visit took, and what is put right later does not either.
    let minutes = rows(&bench.app).await.into_iter().filter_map(|row| match row[..] {
        [.., Value::Integer(ms), _] if row.len() == 6 => Some(ms / 60_000),
        _ => None,
    });
    assert_eq!(minutes.collect::<Vec<_>>(), [1, 30, 30]);
    assert!(checked(&bench).is_clean(), "{:?}", checked(&bench).damage);
    bench.close().await;
}

#[tokio::test]
async fn an_outlet_that_moves_accuses_nobody_of_before_and_says_that_it_moved() {
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    goes(&bench, &mut roy, (visit(0x70), OUTLET), (1, 8), place(0), 3).await;
    goes(&bench, &mut roy, (visit(0x71), OUTLET), (300, 308), place(2_000), 3).await;
    let outlet = bench.tenant.world().outlets[&OUTLET].clone();
    let moved = sync_core::model::catalogue::Outlet { place: Some(place(1_000)), ..outlet };
    bench.app.write_records(&bench.tenant, vec![Record::Outlet(moved)]).await.unwrap();
    looks::catch_up(&bench.app).await.unwrap();
    bench.get(BOSS, &format!("/visits/{}", visit(0x70))).await.hides(&["#captures"]);
    // This one was at neither, and the nearer of both is what counts.
    let page = bench.get(BOSS, &format!("/visits/{}", visit(0x71))).await;
    page.shows(&["111.1 km from the outlet", "The outlet’s position was changed later, on "]);
    assert!(checked(&bench).is_clean(), "{:?}", checked(&bench).damage);
    bench.close().await;
}

#[tokio::test]
async fn work_that_came_before_a_restart_is_read_after_it_and_again_when_the_outlet_was_elsewhere()
{
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    goes(&bench, &mut roy, (visit(0x70), OUTLET), (1, 8), place(5), 3).await;
    bench.app.store.close();
    let Bench { folder, app, tenant, routes, .. } = bench;
    drop((app, tenant, routes));
    let app = App::open(folder.clone()).await.unwrap();
    looks::catch_up(&app).await.unwrap();
    let noticed = |rows: Vec<Vec<rusqlite::types::Value>>| {
        let signals = rows.into_iter().filter(|row| row.len() == 8);
        signals.map(|row| (row[1].clone(), row[6].clone())).collect::<Vec<_>>()
    };
    let integer = rusqlite::types::Value::Integer;
    // 556 m from where the outlet is said to be, less what ten metres of accuracy explain.
    assert_eq!(noticed(rows(&app).await), [(integer(6), integer(539))]);
    let tenant = app.tenants().into_iter().next().unwrap();
    let outlet = tenant.world().outlets[&OUTLET].clone();
    let moved = sync_core::model::catalogue::Outlet { place: Some(place(5)), ..outlet };
    app.write_records(&tenant, vec![Record::Outlet(moved)]).await.unwrap();
    looks::catch_up(&app).await.unwrap();
    assert_eq!(noticed(rows(&app).await), []);
    // It moves to other premises, in the next town: who was at either before is accused of nothing.
    let outlet = tenant.world().outlets[&OUTLET].clone();
    let moved = sync_core::model::catalogue::Outlet { place: Some(place(500)), ..outlet };
    app.write_records(&tenant, vec![Record::Outlet(moved)]).await.unwrap();
    looks::catch_up(&app).await.unwrap();
    assert_eq!(noticed(rows(&app).await), []);
    app.store.close();
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_damaged_outlet_keeps_no_other_from_being_judged() {
    let mut bench = Bench::new().await;
    let mut roy = both_parts(&mut bench).await;
    goes(&bench, &mut roy, (visit(0x70), OUTLET), (1, 8), place(5), 3).await;
    goes(&bench, &mut roy, (visit(0x71), SOUTHERN), (300, 308), place(5), 3).await;
    looks::catch_up(&bench.app).await.unwrap();
    let of = |rows: &[Vec<rusqlite::types::Value>], n: u8| {
        let visit = rusqlite::types::Value::Blob(vec![n; 16]);
        rows.iter().filter(|row| row[0] == visit).cloned().collect::<Vec<_>>()
    };
    let before = rows(&bench.app).await;
    assert!(of(&before, 0x70).len() > 1 && of(&before, 0x71).len() > 1, "{before:?}");
    let damage =
        "UPDATE record SET body = x'00' WHERE substr(key, 2) = x'01010101010101010101010101010101';
        UPDATE visit SET judged = 0";
    write(&bench, damage).await;
    looks::catch_up(&bench.app).await.unwrap();
    let after = rows(&bench.app).await;
    assert_eq!((of(&after, 0x70), of(&after, 0x71)), (Vec::new(), of(&before, 0x71)));
    let waiting = |c: &Connection| -> Result<u32, StoreError> {
        Ok(c.query_row("SELECT count(*) FROM visit WHERE judged = 0", [], |row| row.get(0))?)
    };
    assert_eq!(bench.app.store.read(waiting).await.unwrap(), 0);
    bench.close().await;
}
