//! What settles a dispute: contests, erasures, photos that were used before, and the log.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use picture::Sketch;
use server::blobs::Rendition;
use server::erase::{Target, erase};
use server::signals::{Kind, Signal};
use server::store::reader::Reader;
use server::store::signals::{Found, Reference};
use server::store::uploads::{self, UploadId};
use server::store::witnesses::{self, Cosignature};
use server::store::{StoreError, accounts, signals};
use server::witness::{NotSigned, Witness};
use server::{looks, now_ms};
use sync_core::contest::Standing;
use sync_core::document::Document;
use sync_core::evidence::fingerprint_text;
use sync_core::id::{BlobHash, DeviceId, LogHash, OrgId, OutletId, TerritoryId, UserId, VisitId};
use sync_core::model::Money;
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{
    Act, Note, Observation, PhotoOrigin, PhotoRef, Subject, Value, Versioned,
};
use sync_core::tlog::NoteKey;
use sync_core::visit::Visit;
use sync_core::wire::Outcome;
use tower::ServiceExt;

use crate::erasing::{ADA, comes_ada};
use crate::field::weighs;
use crate::{
    ANNA, Bench, CALL, CLOSED_CALL, DORA, GROSSIST, JOHAN, MARIA, OTHER, PRICE, Phone, Reply, SARA,
    SCRIPT, SHELF, SOUTH, STOCK, WORDS, audited, gtin, person, photo, price,
};

/// What the scorecard's address leads to says of a KPI: `numerator / denominator`.
async fn price_figure(bench: &Bench, user: UserId, switch: &str) -> String {
    let page = bench.get(user, &format!("/scorecard/price_compliance?period=7d{switch}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let from = page.body.find("<p class=\"quiet\"><b>").expect("the figure") + 20;
    let words: Vec<&str> = page.body[from..].split("</b>").take(2).collect();
    let number = |text: &str| text.rsplit("<b>").next().unwrap().to_owned();
    format!("{} / {}", number(words[0]), number(words[1]))
}

#[tokio::test]
async fn a_distributor_contests_a_price_and_the_supervisor_puts_it_right() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    // The price of the second product: 30.90 instead of 27.90. The first is in conflict and counts nowhere.
    assert_eq!(price_figure(&bench, DORA, "").await, "0 / 1");
    let page = bench.get(DORA, &path).await;
    let subject = hex(&Subject::Product(gtin(2)));
    let asks = format!("{path}/contest?check={PRICE}&subject={subject}");
    page.shows(&[&asks.replace('&', "&#38;"), "Contest this visit"]).hides(&["id=\"contests\""]);
    bench.get(MARIA, &path).await.hides(&["Contest this visit", "/contest?"]);
    assert_eq!(bench.get(MARIA, &asks).await.status, StatusCode::FORBIDDEN);
    let form_page = bench.get(DORA, &asks).await;
    form_page.shows(&["Shelf prices: Oat drink vanilla 1 L", "30.90 SEK", "price in SEK"]);
    let seen = form_page.field("seen");
    let objection = |claim: &'static str, comment: &'static str| {
        [
            ("check", PRICE.to_string()),
            ("subject", subject.clone()),
            ("seen", seen.clone()),
            ("claim", claim.to_owned()),
            ("comment", comment.to_owned()),
        ]
    };
    let contests = format!("{path}/contests");
    let send = async |user, fields: &[(&str, String)]| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        bench.post(user, &contests, &fields).await
    };
    for (user, claim, comment, status) in [
        (MARIA, "27.90", "no", StatusCode::FORBIDDEN),
        (DORA, "27.90", " ", StatusCode::UNPROCESSABLE_ENTITY),
        (DORA, "cheap", "no", StatusCode::UNPROCESSABLE_ENTITY),
        (DORA, "0", "no", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let reply = send(user, &objection(claim, comment)).await;
        assert_eq!(reply.status, status, "{claim}: {}", reply.body);
    }
    assert!(Visit::read(&bench.document(visit).await).contests.is_empty());
    let reply = send(DORA, &objection("27,90", "Our label says <b>27.90</b>")).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);

    let read = Visit::read(&bench.document(visit).await);
    let [contest] = read.contests.as_slice() else { panic!("{:?}", read.contests) };
    assert_eq!((contest.by, contest.holds), (DORA, true));
    let sek = "SEK".parse().unwrap();
    let claim = Value::Price(Money { minor: 2_790, currency: sek });
    assert_eq!(contest.objection.claim.as_ref(), Some(&claim));
    // Both sides see it, with and without it in the figures; whoever is outside sees nothing.
    assert_eq!(price_figure(&bench, MARIA, "").await, "0 / 1");
    assert_eq!(price_figure(&bench, MARIA, "&contested=without").await, "0 / 0");
    let scorecard = bench.get(DORA, "/scorecard?period=7d&contested=without").await;
    scorecard.shows(&["as if the contested visits had not been made", "contested=without&#38;by="]);
    for user in [MARIA, DORA] {
        let page = bench.get(user, &path).await;
        page.shows(&["id=\"contests\"", "27.90 SEK", "Our label says &#60;b&#62;27.90"]);
        page.shows(&["Contested “Shelf prices: Oat drink vanilla 1 L”", "#contest-"]);
        let queue = bench.get(user, "/visits?kind=contested").await;
        queue.shows(&["Matrummet", "Contested"]);
    }
    bench.get(SARA, "/visits?kind=contested").await.hides(&["Matrummet"]);
    assert_eq!(bench.get(SARA, &asks).await.status, StatusCode::FORBIDDEN);

    // Asked, answered, accepted: the value is put right and the visit is contested no more.
    let contested = (visit, contest.hash);
    let say = async |user, step, comment| bench.answer(user, contested, step, comment).await;
    assert_eq!(say(DORA, "accept", "we are right").await, StatusCode::FORBIDDEN);
    assert_eq!(say(SARA, "uphold", "not mine").await, StatusCode::NOT_FOUND);
    assert_eq!(say(MARIA, "shrug", "who knows").await, StatusCode::BAD_REQUEST);
    assert_eq!(say(MARIA, "ask", "").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(say(MARIA, "ask", "Whose label?").await, StatusCode::SEE_OTHER);
    bench.get(DORA, &path).await.shows(&[
        "Whose label?",
        "Contested, asked back",
        "Take the objection back",
    ]);
    // Whoever answers goes by what the form showed, and not by what was said since.
    let form = [
        ("step", "uphold"),
        ("comment", "No"),
        ("seen", &bench.get(MARIA, &path).await.field("seen")),
    ];
    assert_eq!(say(DORA, "say", "The store's").await, StatusCode::SEE_OTHER);
    let late = bench.post(MARIA, &format!("{contests}/{}", contest.hash), &form).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.body);
    assert!(late.body.contains("Something was said or recorded meanwhile"));
    assert_eq!(Visit::read(&bench.document(visit).await).contests[0].story.len(), 2);
    bench.get(MARIA, &path).await.shows(&["Accept the objection", "What counts then: 27.90 SEK."]);
    assert_eq!(say(MARIA, "accept", "I see").await, StatusCode::SEE_OTHER);
    let read = Visit::read(&bench.document(visit).await);
    let live = &read.values[&(PRICE, Subject::Product(gtin(2)))];
    assert!(matches!(live.as_slice(), [one] if one.value == claim && one.by == MARIA));
    assert_eq!(read.contested(), None);
    for switch in ["", "&contested=without"] {
        assert_eq!(price_figure(&bench, DORA, switch).await, "1 / 1");
    }
    let page = bench.get(DORA, &path).await;
    page.shows(&["Objection accepted", "30.90 SEK; now 27.90 SEK", "Open it again"]);
    page.shows(&["Accepted an objection", "Oat drink vanilla 1 L: settled as 27.90 SEK"]);
    bench.get(MARIA, "/visits?kind=contested").await.hides(&["Matrummet"]);
    // A new word opens it again, and nobody closes what was found on.
    assert_eq!(say(DORA, "close", "Thank you").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(say(DORA, "say", "And the week before?").await, StatusCode::SEE_OTHER);
    assert_eq!(price_figure(&bench, MARIA, "&contested=without").await, "0 / 0");
    assert_eq!(say(DORA, "close", "Never mind").await, StatusCode::UNPROCESSABLE_ENTITY);
    bench.get(DORA, &path).await.hides(&["Take the objection back"]);
    assert_eq!(say(MARIA, "accept", "Another visit").await, StatusCode::SEE_OTHER);
    assert_eq!(price_figure(&bench, MARIA, "&contested=without").await, "1 / 1");

    // The whole visit.
    let page = bench.get(DORA, &format!("{path}/contest")).await;
    let fields = [("seen", page.field("seen")), ("comment", "Nobody was here".to_owned())];
    assert_eq!(send(DORA, &fields).await.status, StatusCode::SEE_OTHER);
    bench.get(MARIA, &path).await.shows(&["The whole visit", "Nobody was here"]);
    let card = async |switch| {
        let url = format!("/scorecard/outlet_coverage?period=7d{switch}");
        bench.get(MARIA, &url).await.body.contains("<p class=\"figure-big\">100.0 %")
    };
    assert_eq!((card("").await, card("&contested=without").await), (true, false));
    // What stands behind the figures does not contradict them.
    let behind = async |kpi: &str, switch| {
        bench.get(MARIA, &format!("/scorecard/{kpi}?period=7d{switch}")).await
    };
    let link = format!("href=\"{path}\"");
    let plan = "journey_plan_adherence";
    behind("outlet_coverage", "").await.shows(&["Visited</span>", &link]);
    behind("outlet_coverage", "&contested=without").await.hides(&["Visited</span>", &link]);
    behind(plan, "").await.shows(&["On its day</span>"]).hides(&["Contested</span>"]);
    let left_out = behind(plan, "&contested=without").await;
    left_out.shows(&["Contested</span>"]).hides(&["On its day</span>", "On today"]);

    // Found wrong by the brand's own supervisor, it counts nowhere, and says so.
    let read = Visit::read(&bench.document(visit).await);
    let whole = (visit, read.contests[1].hash);
    let say = async |user, step| {
        let status = bench.answer(user, whole, step, "so").await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{step}");
    };
    bench.get(MARIA, &path).await.shows(&["Accepting takes the visit out of all figures."]);
    let nowhere = "Counts in no figure";
    bench.get(DORA, &path).await.hides(&["Found wrong as a whole", nowhere]);
    say(MARIA, "accept").await;
    for switch in ["", "&contested=without"] {
        assert!(!card(switch).await, "{switch}");
        assert_eq!(price_figure(&bench, MARIA, switch).await, "0 / 0");
        behind(plan, switch).await.shows(&[nowhere]).hides(&["Not submitted", "On its day</span>"]);
    }
    for user in [MARIA, DORA] {
        bench.get(user, &path).await.shows(&["Found wrong as a whole.", nowhere]);
        bench.get(user, "/visits").await.shows(&[nowhere]);
        bench.get(user, "/visits?kind=contested").await.hides(&["Matrummet"]);
    }
    say(DORA, "say").await;
    assert_eq!((card("").await, card("&contested=without").await), (true, false));
    assert_eq!(price_figure(&bench, MARIA, "").await, "1 / 1");
    bench.get(DORA, &path).await.hides(&["Found wrong as a whole", nowhere]);
    bench.close().await;
}

#[tokio::test]
async fn whoever_records_the_same_again_makes_no_finding_do_nothing() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    let about = (PRICE, Subject::Product(gtin(2)));
    let (check, subject) = (PRICE.to_string(), hex(&about.1));
    let asks = format!("{path}/contest?check={check}&subject={subject}");
    let offer = asks.replace('&', "&#38;");
    let seen = bench.get(DORA, &asks).await.field("seen");
    let form = [
        ("check", check.as_str()),
        ("subject", subject.as_str()),
        ("seen", seen.as_str()),
        ("claim", "27.90"),
        ("comment", "Our label"),
    ];
    let contested = bench.post(DORA, &format!("{path}/contests"), &form).await;
    assert_eq!(contested.status, StatusCode::SEE_OTHER, "{}", contested.body);
    bench.get(DORA, &path).await.hides(&[&offer]);
    let contest = Visit::read(&bench.document(visit).await).contests[0].hash;
    let say = async |user, step| bench.answer(user, (visit, contest), step, "so").await;
    let mut johan = bench.phone(JOHAN, "Johan's other phone").await;
    let records = async |johan: &mut Phone, minor| {
        let mut document = bench.document(visit).await;
        let live = Visit::read(&document).values[&about].clone();
        let older = live.iter().map(|live| live.recording).collect();
        johan.observe(&mut document, vec![price(2, minor)], Vec::new(), older);
        let mut group = johan.group(&document);
        group.changes.drain(..group.changes.len() - 1);
        assert_eq!(johan.bring(&bench, group, Vec::new()).await, Outcome::Accepted {});
    };
    let stands = async |minor| {
        let read = Visit::read(&bench.document(visit).await);
        let live: Vec<&Value> = read.values[&about].iter().map(|live| &live.value).collect();
        let price = Value::Price(Money { minor, currency: "SEK".parse().unwrap() });
        assert_eq!(live, [&price]);
        read.contested()
    };
    // The same again before the finding, and after.
    records(&mut johan, 3_090).await;
    assert_eq!(say(MARIA, "accept").await, StatusCode::SEE_OTHER);
    assert_eq!(stands(2_790).await, None);
    records(&mut johan, 3_090).await;
    assert_eq!(stands(3_090).await, Some(Standing::Accepted));
    let page = bench.get(MARIA, &path).await;
    page.shows(&["Answer it", "Accept the objection", "What counts then: 27.90 SEK."]);
    bench.get(MARIA, "/visits?kind=contested").await.shows(&["Matrummet"]);
    assert_eq!(say(MARIA, "accept").await, StatusCode::SEE_OTHER);
    assert_eq!(stands(2_790).await, None);
    bench.get(MARIA, &path).await.hides(&["Answer it"]);
    // Something else is not what was contested: accepting says that it changes nothing, and it can be contested.
    assert_eq!(say(DORA, "say").await, StatusCode::SEE_OTHER);
    records(&mut johan, 2_990).await;
    let page = bench.get(MARIA, &path).await;
    page.shows(&["30.90 SEK; now 29.90 SEK"]);
    page.shows(&["What counts now: 29.90 SEK. Accepting changes no value."]);
    bench.get(DORA, &path).await.hides(&[&offer]);
    assert_eq!(say(MARIA, "accept").await, StatusCode::SEE_OTHER);
    assert_eq!(stands(2_990).await, None);
    bench.get(DORA, &path).await.shows(&["Objection accepted", &offer]);
    bench.get(MARIA, &path).await.hides(&[&offer]);
    bench.close().await;
}

#[tokio::test]
async fn who_answers_goes_by_what_was_there_when_they_looked() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    let page = bench.get(DORA, &format!("{path}/contest")).await;
    let fields = [("seen", &*page.field("seen")), ("comment", "Nobody was here")];
    let reply = bench.post(DORA, &format!("{path}/contests"), &fields).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    let contest = Visit::read(&bench.document(visit).await).contests[0].hash;
    let answers = format!("{path}/contests/{contest}");
    let mut johan = bench.phone(JOHAN, "Johan's other phone").await;
    let mut submits = async |photos| {
        let mut document = bench.document(visit).await;
        johan.observe(&mut document, vec![price(4, 1_490)], photos, Vec::new());
        johan.submit(&mut document);
        let mut group = johan.group(&document);
        group.changes.drain(..group.changes.len() - 2);
        assert_eq!(johan.bring(&bench, group, Vec::new()).await, Outcome::Accepted {});
    };
    // The whole visit is not what it was by the time at which it is found wrong.
    let form = |seen| [("step", "accept"), ("comment", "So it is"), ("seen", seen)];
    let seen = bench.get(MARIA, &path).await.field("seen");
    submits(vec![photo("proof", PRICE)]).await;
    let late = bench.post(MARIA, &answers, &form(&*seen)).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.body);
    assert!(late.body.contains("You wrote: “So it is”"), "{}", late.body);
    // A remark is no reason to look again.
    let seen = bench.get(MARIA, &path).await.field("seen");
    let said = [("comment", "Who was there?")];
    assert!(bench.post(SARA, &format!("{path}/comments"), &said).await.status.is_client_error());
    assert!(bench.post(DORA, &format!("{path}/comments"), &said).await.status.is_redirection());
    assert_eq!(bench.state(visit, contest).await, seen);

    // Nor is it while the photo that speaks for a finding is decoded.
    let (file, _) = two_alike();
    let body = Multipart::new(&bench.cookies[&MARIA].1).field("seen", &seen);
    let body = body.field("step", "accept").field("comment", "So it is").file("a.jpg", &file);
    let all = u32::try_from(bench.app.limits.decoding.available_permits()).unwrap();
    let held = bench.app.limits.decoding.acquire_many(all).await.unwrap();
    let mut late = Box::pin(posts(&bench, Some(MARIA), &answers, body.end()));
    let turns = bench.tenant.decoding.available_permits();
    let decodes = async {
        while bench.tenant.decoding.available_permits() == turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = &mut late => panic!("it waits for nothing: {answer:?}"),
        () = decodes => {}
    }
    submits(Vec::new()).await;
    drop(held);
    let (status, body) = late.as_mut().await;
    assert_eq!(status, 409, "{body}");
    drop(late);
    let read = Visit::read(&bench.document(visit).await);
    assert_eq!((read.contests[0].story.len(), read.found_wrong()), (0, false));
    let seen = bench.get(MARIA, &path).await.field("seen");
    assert_eq!(bench.post(MARIA, &answers, &form(&*seen)).await.status, StatusCode::SEE_OTHER);
    bench.close().await;
}

#[tokio::test]
async fn of_values_that_differ_one_may_be_right() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let contests = async |check: u32, subject: Subject, claim: &str| {
        let (check, subject) = (check.to_string(), hex(&subject));
        let asks = format!("/visits/{visit}/contest?check={check}&subject={subject}");
        let seen = bench.get(DORA, &asks).await.field("seen");
        let form = [("check", &*check), ("subject", &*subject), ("seen", &*seen)];
        let said = [("claim", claim), ("comment", "Look")];
        let form: Vec<_> = form.into_iter().chain(said).collect();
        bench.post(DORA, &format!("/visits/{visit}/contests"), &form).await.status
    };
    for claim in ["14.90", "15.90", "16.90"] {
        let status = contests(PRICE, Subject::Product(gtin(1)), claim).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{claim}");
    }
    // Whoever says that it was out of stock, as was recorded, objects to nothing, and to no count.
    let stock = async |claim| contests(STOCK, Subject::Product(gtin(2)), claim).await;
    assert_eq!(stock("no").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(stock("yes").await, StatusCode::SEE_OTHER);
    bench.close().await;
}

/// What is contested, as forms carry it.
fn hex(subject: &Subject) -> String {
    sync_core::cbor::to_cbor(subject).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn whatever_was_recorded_can_be_contested() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    // Answers that differ have no row but the conflict's.
    let mut johan = bench.phone(JOHAN, "Johan's other phone").await;
    let mut document = bench.document(visit).await;
    let words = Note::new("All is well", [2; 16]).unwrap();
    let value = Value::Text(words.digest());
    let answer = Observation { check: WORDS, subject: Subject::Outlet, value };
    johan.observe(&mut document, vec![answer], Vec::new(), Vec::new());
    johan.submit(&mut document);
    johan.push(&bench, &document, vec![words]).await;

    let page = bench.get(DORA, &path).await;
    page.shows(&["3 conflicts", "id=\"planogram-1-right\"", "<summary>1 right</summary>"]);
    let read = Visit::read(&document);
    assert_eq!(read.values.len(), 9);
    for (check, subject) in read.values.keys() {
        page.shows(&[&format!("{path}/contest?check={check}&#38;subject={}\"", hex(subject))]);
    }
    let maria = bench.get(MARIA, &path).await;
    maria.shows(&["<summary>1 right</summary>"]).hides(&["/contest?"]);

    // A position that is right, with what is said to have been there instead.
    let subject = hex(&Subject::Position { planogram: 1, position: 1 });
    let asked = format!("{path}/contest?check={SHELF}&subject={subject}");
    let seen = bench.get(DORA, &asked).await.field("seen");
    let check = SHELF.to_string();
    let form = [
        ("check", check.as_str()),
        ("subject", subject.as_str()),
        ("seen", seen.as_str()),
        ("claim", "2"),
        ("comment", "Two were another product"),
    ];
    let mut same = form;
    same[3].1 = "4";
    let reply = bench.post(DORA, &format!("{path}/contests"), &same).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "four is what was recorded");
    let reply = bench.post(DORA, &format!("{path}/contests"), &form).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    let page = bench.get(MARIA, &path).await;
    page.shows(&["Shelf: Standard milk 3 % 1 L, shelf 1", "Two were another product"]);
    page.shows(&["What counts then: 2 facings."]);
    bench.close().await;
}

#[tokio::test]
async fn an_admin_erases_a_photo_an_answer_and_who_has_left() {
    let mut bench = Bench::new().await;
    let visit = audited(&bench).await;
    let page_of_visit = format!("/visits/{visit}");
    comes_ada(&mut bench).await;

    let (shelf, words) = (photo("shelf", SHELF).hash, Note::new(SCRIPT, [1; 16]).unwrap().digest());
    let asks = [format!("what=photo&#38;name={shelf}"), format!("what=note&#38;name={words}")];
    let before = bench.get(ADA, &page_of_visit).await;
    before.shows(&asks.each_ref().map(String::as_str)).shows(&["Photo on its way"]);
    bench.get(MARIA, &page_of_visit).await.hides(&["/erase?"]);
    for (what, name) in [("photo", shelf), ("note", words)] {
        let (named, path) = (name.to_string(), format!("/erase?what={what}&name={name}"));
        for user in [MARIA, SARA, DORA] {
            assert_eq!(bench.get(user, &path).await.status, StatusCode::FORBIDDEN);
            let form = [("what", what), ("name", &*named), ("why", "x"), ("sure", "yes")];
            assert_eq!(bench.post(user, "/erase", &form).await.status, StatusCode::FORBIDDEN);
        }
        bench.get(ADA, &path).await.shows(&["This goes", "Are you sure?", &page_of_visit]);
        let unsure = [("what", what), ("name", &*named), ("why", "request 7")];
        let unsure = bench.post(ADA, "/erase", &unsure).await;
        assert_eq!(unsure.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(unsure.body.contains("cannot be undone") && unsure.body.contains("request 7"));
        let silent = [("what", what), ("name", &*named), ("sure", "yes")];
        let silent = bench.post(ADA, "/erase", &silent).await;
        assert_eq!(silent.status, StatusCode::UNPROCESSABLE_ENTITY);
        let sure = [("what", what), ("name", &*named), ("why", "request 7"), ("sure", "yes")];
        assert_eq!(bench.post(ADA, "/erase", &sure).await.status, StatusCode::SEE_OTHER);
    }
    let after = bench.get(ADA, &page_of_visit).await;
    after.shows(&["Photo erased on", "(erased on", "1 erased", "Photo erased on"]);
    after.hides(&["Photo on its way", "onerror", "/erase?"]);
    let gone = bench.get(ADA, &format!("/photos/{shelf}")).await;
    assert_eq!(gone.status, StatusCode::GONE);
    let data = bench.get(ADA, "/data").await;
    data.shows(&["request 7", "Ada Palm", "Comment, answer or other words", &shelf.to_string()]);
    let refused = bench.get(MARIA, "/data").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.body.contains("Your role is supervisor, which may not "), "{}", refused.body);
    // Whom it is for finds the way there from every page.
    bench.get(ADA, "/visits").await.shows(&["href=\"/data\""]);
    bench.get(MARIA, "/visits").await.hides(&["href=\"/data\""]);

    let id = UserId::from_bytes(shelf.0[..16].try_into().unwrap());
    let report = bench.get(ADA, &format!("/erasures/{id}")).await;
    assert_eq!(report.header(header::CONTENT_TYPE), "application/json");
    assert!(report.header(header::CONTENT_DISPOSITION).starts_with("attachment"));
    let report: serde_json::Value = serde_json::from_str(&report.body).unwrap();
    assert_eq!(
        (&report["name"], &report["by"]),
        (&shelf.to_string().into(), &ADA.to_string().into())
    );
    assert_eq!(report["named_in"].as_array().unwrap().len(), 1);
    assert_eq!(bench.get(SARA, &format!("/erasures/{id}")).await.status, StatusCode::FORBIDDEN);

    // A phone that brings the words again is heard, and they are not kept.
    let mut other = bench.phone(ANNA, "Anna's other phone").await;
    let mut document = bench.document(visit).await;
    let again = Observation { check: WORDS, subject: Subject::Outlet, value: Value::Text(words) };
    other.observe(&mut document, vec![again], Vec::new(), Vec::new());
    let outcome = other.outcome(&bench, &document, Vec::new()).await;
    assert_eq!(outcome, Outcome::Accepted {}, "an erased note need not come along");
    let note = vec![Note::new(SCRIPT, [1; 16]).unwrap()];
    other.observe(
        &mut document,
        vec![Observation { check: WORDS, subject: Subject::Outlet, value: Value::Text(words) }],
        Vec::new(),
        Vec::new(),
    );
    assert_eq!(other.outcome(&bench, &document, note).await, Outcome::Accepted {});
    bench.get(ADA, &page_of_visit).await.hides(&["onerror"]);

    // A person: not while working here, and then everywhere.
    let path = format!("/erase?what=person&name={JOHAN}");
    bench.get(ADA, &path).await.shows(&["Johan Berg"]);
    let name = JOHAN.to_string();
    let form = [("what", "person"), ("name", &*name), ("why", "request 8"), ("sure", "yes")];
    let early = bench.post(ADA, "/erase", &form).await;
    assert_eq!(early.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(early.body.contains("end the access first"));
    let leaves = format!("/people/{JOHAN}/active");
    assert_eq!(bench.post(ADA, &leaves, &[("active", "no")]).await.status, StatusCode::SEE_OTHER);
    bench.get(ADA, &format!("/people/{JOHAN}")).await.shows(&["Erase the name"]);
    assert_eq!(bench.post(ADA, "/erase", &form).await.status, StatusCode::SEE_OTHER);
    let visit_page = bench.get(ADA, &page_of_visit).await;
    visit_page.shows(&["Erased person"]).hides(&["Johan"]);

    // What is not a number is no setting, and says so.
    for (days, quota) in
        [("29", ""), ("x", ""), ("", "0"), ("-1", ""), ("", "99999999999999999999")]
    {
        let form = [("days", days), ("quota", quota)];
        let odd = bench.post(ADA, "/data", &form).await;
        assert_eq!(odd.status, StatusCode::UNPROCESSABLE_ENTITY, "{days} {quota}");
    }
    let form = [("days", "400"), ("quota", "500")];
    assert_eq!(bench.post(MARIA, "/data", &form).await.status, StatusCode::FORBIDDEN);
    assert_eq!(bench.post(ADA, "/data", &form).await.status, StatusCode::SEE_OTHER);
    bench.get(ADA, "/data").await.shows(&["0 of 500 MB", "value=\"400\"", "value=\"500\""]);
    bench.close().await;
}

/// What a phone says of a file whose camera wrote the time at which it is recorded.
fn taken_now(phone: &Phone) -> Option<PhotoOrigin> {
    // What knows of the log is from after it began, which is now.
    let now = if phone.anchor == 0 { phone.moment().wall_ms } else { now_ms() };
    Some(PhotoOrigin {
        file: BlobHash([3; 32]),
        shown_ms: Some(now),
        offset_min: Some(0),
        place: None,
        editor: None,
        written_ms: None,
    })
}

/// A photo's file reaches the server, from each who names it.
pub(crate) async fn brings(bench: &Bench, jpeg: &[u8]) {
    let (org, hash) = (bench.tenant.org, BlobHash::of(jpeg));
    let naming = move |c: &rusqlite::Connection| uploads::naming(c, org, None, hash, |_| true);
    for user in bench.app.store.read(naming).await.unwrap() {
        brings_of(bench, user, jpeg).await;
    }
}

/// A photo's file reaches the server, from a phone of this person.
pub(crate) async fn brings_of(bench: &Bench, user: UserId, jpeg: &[u8]) {
    let hash = BlobHash::of(jpeg);
    for rendition in Rendition::ALL {
        bench.app.blobs.put(bench.tenant.id, hash, rendition, jpeg.to_vec()).await.unwrap();
    }
    arrives(bench, user, jpeg).await;
}

/// It is noted that a photo of this person's is here, and it is looked at.
pub(crate) async fn arrives(bench: &Bench, user: UserId, jpeg: &[u8]) {
    let (org, hash) = (bench.tenant.org, BlobHash::of(jpeg));
    let id = UploadId { org, device: DeviceId::from_bytes([1; 16]), hash };
    let photo = uploads::Photo { bytes: 9, width: 348, height: 348, arrived_ms: now_ms() };
    let drawn = uploads::Drawn { thumbnail: hash, preview: hash };
    let arrive = move |tx: &rusqlite::Transaction<'_>| {
        uploads::arrived(tx, id, Some(user), |_| false, &photo, &drawn)
    };
    bench.app.store.write(arrive).await.unwrap();
    looks::catch_up(&bench.app).await.unwrap();
}

#[tokio::test]
async fn a_photo_that_was_used_before_is_shown_to_who_may_see_it() {
    let bench = Bench::new().await;
    let (used, again) = two_alike();

    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut north = Document::new(bench.tenant.id, VisitId::of_call(bench.tenant.id, CALL).into());
    anna.start(&mut north, CALL);
    let origin = taken_now(&anna);
    let hers = PhotoRef { hash: BlobHash::of(&used), origin, ..photo("", SHELF) };
    anna.observe(&mut north, Vec::new(), vec![hers], Vec::new());
    anna.push(&bench, &north, Vec::new()).await;

    let olle = UserId::from_bytes([6; 16]);
    let rep = person(olle, "Olle Ek", Role::Rep, Scope::Territory(SOUTH));
    bench.app.write_records(&bench.tenant, vec![rep]).await.unwrap();
    let mut phone = bench.phone(olle, "Olle's phone").await;
    phone.minutes = 30;
    let org = bench.tenant.org;
    let heard = bench.app.store.read(move |c| Ok(Reader::open(c, org)?.head()?.sequence));
    phone.anchor = heard.await.unwrap(); // so that it is known to be later
    let visit = VisitId::from_bytes([8; 16]);
    let mut south = Document::new(bench.tenant.id, visit.into());
    phone.record(
        &mut south,
        Act::Start {
            outlet: OutletId::from_bytes([2; 16]),
            call: None,
            territory: SOUTH,
            distributor: OTHER,
            template: Versioned { number: 1, version: 1 },
        },
    );
    let origin = PhotoOrigin {
        file: BlobHash([4; 32]),
        shown_ms: None,
        offset_min: None,
        place: None,
        editor: Some("Snapseed".into()),
        written_ms: Some(i64::MAX),
    };
    let his = PhotoRef { hash: BlobHash::of(&again), origin: Some(origin), ..photo("", SHELF) };
    phone.observe(&mut south, Vec::new(), vec![his], Vec::new());
    phone.push(&bench, &south, Vec::new()).await;

    // The phones' clocks say an hour ago, and the log has just begun: that is not what this is about.
    let clocks = signals::Weights::from([(Kind::Clock, 0)]);
    let write = move |tx: &rusqlite::Transaction<'_>| signals::set_weights(tx, org, &clocks);
    bench.app.store.write(write).await.unwrap();
    let like = "of 64 bits of its outline differ";
    bench.get(SARA, "/look").await.shows(&["Nothing to look at"]);
    // The photo that was taken first comes last.
    brings(&bench, &again).await;
    let by_itself = [
        "says nothing of when",
        "names a program that",
        "It names Snapseed",
        "Written by that clock: what is no date",
        "weighs 20",
        "Olle Ek",
    ];
    bench.get(SARA, "/look").await.shows(&by_itself).hides(&[like]);
    brings(&bench, &used).await;
    let earlier = BlobHash::of(&used).to_string();
    let page = bench.get(SARA, "/look").await;
    page.shows(&[like, "weighs 60", "outside your part of the field"])
        .hides(&[&earlier, "Matrummet"]);
    let at = format!("/visits/{visit}");
    bench.get(SARA, &at).await.shows(&[like, "I have looked"]).hides(&[&earlier]);
    bench.get(MARIA, "/look").await.shows(&["Nothing to look at"]);
    bench.get(SARA, "/").await.shows(&["href=\"/look\""]);
    bench.get(MARIA, "/").await.hides(&["href=\"/look\""]);
    bench.get(DORA, "/look").await.shows(&["Nothing to look at"]).hides(&["name=\"metres\""]);

    assert_eq!(weighs(&bench, SARA, &[("weight-1", "0")]).await, StatusCode::FORBIDDEN);
    let look = format!("/look/{visit}");
    let found = bench.get(SARA, "/look").await.field("found");
    assert_eq!(bench.get(SARA, &at).await.field("found"), found);
    let shown = [("found", found.as_str())];
    assert_eq!(bench.post(MARIA, &look, &shown).await.status, StatusCode::NOT_FOUND);
    // What was found after somebody was shown the page they have not looked at.
    let before = (found.parse::<i64>().unwrap() - 1).to_string();
    let before = bench.post(SARA, &look, &[("found", &before)]).await;
    assert_eq!(before.status, StatusCode::SEE_OTHER);
    bench.get(SARA, "/look").await.shows(&[like]);
    assert_eq!(bench.post(SARA, &look, &shown).await.status, StatusCode::SEE_OTHER);
    bench.get(SARA, "/look").await.shows(&["Nothing to look at"]);
    bench.get(SARA, &at).await.shows(&[like, "Looked at by Sara Ekdahl"]).hides(&["I have looked"]);

    // The very same file, in another visit, and an admin who thinks little of that.
    let boss = person(
        SARA,
        "Sara Ekdahl",
        Role::Admin,
        Scope::Territory(TerritoryId::from_bytes([1; 16])),
    );
    bench.app.write_records(&bench.tenant, vec![boss]).await.unwrap();
    let visit = VisitId::from_bytes([9; 16]);
    let mut third = Document::new(bench.tenant.id, visit.into());
    phone.record(
        &mut third,
        Act::Start {
            outlet: OutletId::from_bytes([2; 16]),
            call: None,
            territory: SOUTH,
            distributor: OTHER,
            template: Versioned { number: 1, version: 1 },
        },
    );
    let same = PhotoRef { hash: BlobHash::of(&used), ..photo("", SHELF) };
    phone.observe(&mut third, Vec::new(), vec![same], Vec::new());
    phone.push(&bench, &third, Vec::new()).await;
    looks::catch_up(&bench.app).await.unwrap();
    bench.get(SARA, "/look").await.hides(&["Byte for byte the same file"]);
    brings(&bench, &used).await;
    let page = bench.get(SARA, "/look").await;
    // And nothing is said of where the file came from, which no phone of ours leaves out.
    page.shows(&[
        "Byte for byte the same file",
        like,
        "weighs 105",
        &earlier,
        "Nothing was said of",
    ]);
    bench.get(SARA, &format!("/visits/{visit}")).await.shows(&["Nothing is said of its file"]);
    let little = [("weight-0", "0"), ("weight-1", "7")];
    assert_eq!(weighs(&bench, SARA, &little).await, StatusCode::SEE_OTHER);
    bench.get(SARA, "/look").await.shows(&["weighs 12<"]);
    for wrong in [("weight-99", "5"), ("weight-1", "101"), ("weight-x", "5"), ("weight-1", "")] {
        assert!(weighs(&bench, SARA, &[wrong]).await.is_client_error(), "{wrong:?}");
    }
    bench.get(SARA, "/look").await.shows(&["weighs 12<"]);
    bench.close().await;
}

/// A photo, and the same with its rim cut off.
pub(crate) fn two_alike() -> (Vec<u8>, Vec<u8>) {
    let used = std::fs::read("../fixtures/photos/Oatly-Oat-Milk_026.jpg").unwrap();
    let cropped = image::load_from_memory(&used).unwrap().crop_imm(6, 5, 336, 336).into_rgb8();
    let mut again = std::io::Cursor::new(Vec::new());
    cropped.write_to(&mut again, image::ImageFormat::Jpeg).unwrap();
    (used, again.into_inner())
}

/// How many rows of what was seen in photos name this one: sketches, bands of the index, signals of it and about it.
async fn seen_of(bench: &Bench, hash: BlobHash) -> [u64; 4] {
    let read = move |c: &rusqlite::Connection| {
        let count = |query: &str| c.query_row(query, [hash.0], |row| row.get(0));
        Ok([
            count("SELECT count(*) FROM look WHERE hash = ?1")?,
            count(
                "SELECT (SELECT coalesce(sum(length(entries)), 0) / 12 FROM likeness)
                     - 6 * (SELECT count(*) FROM look WHERE hash <> ?1)",
            )?,
            count("SELECT count(*) FROM signal WHERE photo = ?1")?,
            count("SELECT count(*) FROM signal WHERE other = ?1")?,
        ])
    };
    bench.app.store.read(read).await.unwrap()
}

#[tokio::test]
async fn of_an_erased_photo_nothing_is_found_and_of_one_whose_time_is_over_its_reuse_is() {
    let (used, again) = two_alike();
    let (first, second) = (BlobHash::of(&used), BlobHash::of(&again));
    for what in ["erased before", "erased after", "retired", "the later erased"] {
        let bench = Bench::new().await;
        let (org, mut anna) = (bench.tenant.org, bench.phone(ANNA, "Anna's phone").await);
        anna.anchor = 0;
        for (call, hash) in [(CALL, first), (CLOSED_CALL, second)] {
            let visit = VisitId::of_call(bench.tenant.id, call);
            let mut document = Document::new(bench.tenant.id, visit.into());
            anna.start(&mut document, call);
            let photos = vec![PhotoRef { hash, origin: taken_now(&anna), ..photo("", SHELF) }];
            anna.observe(&mut document, Vec::new(), photos, Vec::new());
            anna.push(&bench, &document, Vec::new()).await;
        }
        brings(&bench, &used).await;
        let erase = async |hash| {
            let target = Target::Photo(hash);
            erase(&bench.app, &bench.tenant, target, None, "asked", false).await.unwrap();
        };
        let id = bench.tenant.id;
        let reference = move |hash, call| {
            let document = VisitId::of_call(id, call).into();
            let (by, earliest_ms, received_ms) = (ANNA, None, None);
            let (audience, at_ms) = (0, 0);
            Reference { org, hash, document, audience, by, at_ms, earliest_ms, received_ms }
        };
        let path = format!("/visits/{}", VisitId::of_call(bench.tenant.id, CLOSED_CALL));
        match what {
            "erased before" => {
                erase(first).await;
                brings(&bench, &again).await;
                assert_eq!(seen_of(&bench, first).await, [0; 4], "{what}");
                assert_eq!(seen_of(&bench, second).await, [1, 6, 0, 0], "{what}");
                // Whoever was looking at it, or comparing with it, just then comes too late.
                let sketch = Sketch::from_bytes(&[7; 1_024]).unwrap();
                let late = Signal { kind: Kind::SamePicture, figure: 1 };
                let write = move |tx: &rusqlite::Transaction<'_>| -> Result<(), StoreError> {
                    signals::looked(tx, org, first, Some((&sketch, 90)))?;
                    let (his, hers) = (reference(second, CLOSED_CALL), reference(first, CALL));
                    let found = |by_itself, other| Found {
                        by_itself,
                        others: vec![(other, late)],
                        none_with: Vec::new(),
                    };
                    signals::judged(tx, &his, None, Some(&found(None, hers)), 5)?;
                    let by_itself = Some(vec![(late, None)]);
                    signals::judged(tx, &hers, None, Some(&found(by_itself, his)), 5)
                };
                bench.app.store.write(write).await.unwrap();
                assert_eq!(seen_of(&bench, first).await, [0; 4], "{what}");
                bench.get(MARIA, &path).await.hides(&["of 64 bits"]);
            }
            "retired" => {
                let retire = move |tx: &rusqlite::Transaction<'_>| {
                    uploads::let_go(tx, org, first, false, now_ms()).map(drop)
                };
                bench.app.store.write(retire).await.unwrap();
                brings(&bench, &again).await;
                assert_eq!(seen_of(&bench, first).await, [1, 6, 0, 1], "{what}");
                let page = bench.get(MARIA, &path).await;
                page.shows(&["of 64 bits", "that photo is no longer kept"]);
                page.hides(&[&format!("{first}?size=thumb")]);
            }
            _ => {
                brings(&bench, &again).await;
                assert_eq!(seen_of(&bench, first).await, [1, 6, 0, 1], "{what}");
                assert_eq!(seen_of(&bench, second).await, [1, 6, 1, 0], "{what}");
                let (gone, left) =
                    if what == "erased after" { (first, second) } else { (second, first) };
                erase(gone).await;
                assert_eq!(seen_of(&bench, gone).await, [0; 4], "{what}");
                assert_eq!(seen_of(&bench, left).await, [1, 6, 0, 0], "{what}");
            }
        }
        bench.close().await;
    }
}

/// A form with files as a browser sends it.
pub(crate) struct Multipart(Vec<u8>);

impl Multipart {
    const KIND: &str = "multipart/form-data; boundary=xXx";

    pub(crate) fn new(csrf: &str) -> Self {
        Self(Vec::new()).field("csrf", csrf)
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        let head = format!("--xXx\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let head = format!(
            "--xXx\r\nContent-Disposition: form-data; name=\"photos\"; filename=\"{name}\"\r\n\
             Content-Type: image/jpeg\r\n\r\n"
        );
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"--xXx--\r\n");
        self.0
    }
}

/// Posts bytes as whoever, and says how it was answered.
pub(crate) async fn posts(
    bench: &Bench,
    user: Option<UserId>,
    path: &str,
    body: Vec<u8>,
) -> (u16, String) {
    let mut request = Request::builder()
        .method("POST")
        .uri(path)
        .header("host", "localhost")
        .header("accept", "text/html")
        .header("content-type", Multipart::KIND)
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5))));
    if let Some(user) = user {
        request = request.header("cookie", &bench.cookies[&user].0);
    }
    let request = request.body(Body::from(body)).unwrap();
    let response = bench.routes.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn files_take_room_until_they_are_worked_on_and_proofs_have_an_end() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    let seen = bench.get(DORA, &format!("{path}/contest")).await.field("seen");
    let form = Multipart::new(&bench.cookies[&DORA].1).field("seen", &seen);
    let form = form.field("comment", "See for yourself").file("shelf.jpg", &two_alike().0).end();
    let (of_all, of_one) = (&bench.app.limits.forms_with_files, &bench.tenant.forms_with_files);
    let free = || (of_all.available_permits(), of_one.available_permits());
    assert_eq!(free(), (4, 2));
    let held = bench.app.limits.decoding.acquire_many(64).await.unwrap();
    let contests = format!("{path}/contests");
    let mut posting = Box::pin(posts(&bench, Some(DORA), &contests, form));
    let waits = async {
        while bench.tenant.decoding.available_permits() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = &mut posting => panic!("it does not wait: {done:?}"),
        () = waits => {}
    }
    assert_eq!(free(), (3, 1), "its files are in memory");
    drop(held);
    assert_eq!(posting.await.0, 303);
    assert_eq!(free(), (4, 2));

    let proof = format!("{path}/proof");
    assert_eq!(bench.get(DORA, &proof).await.status, 200);
    let grow = bench.app.store.write(|tx| -> Result<(), StoreError> {
        tx.execute("UPDATE blob SET bytes = 129 << 20", [])?;
        Ok(())
    });
    grow.await.unwrap();
    let refused = bench.get(DORA, &proof).await;
    assert_eq!(refused.status, 413);
    assert!(refused.body.contains("129 MiB"), "{}", refused.body);
    assert_eq!(bench.get(DORA, &format!("{proof}?photos=no")).await.status, 200);
    bench.close().await;
}

#[tokio::test]
async fn photos_against_a_value_are_prepared_checked_and_shown_like_those_of_phones() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let (org, path) = (bench.tenant.org, format!("/visits/{visit}"));
    let contests = format!("{path}/contests");
    let page = bench.get(DORA, &format!("{path}/contest")).await;
    page.shows(&["enctype=\"multipart/form-data\"", "type=\"file\"", "multiple"]);
    let seen = page.field("seen");
    let form = |user: UserId| {
        let csrf = &bench.cookies[&user].1;
        Multipart::new(csrf).field("seen", &seen).field("comment", "See for yourself")
    };
    let (used, again) = two_alike();
    let large = image::RgbImage::from_fn(2_400, 300, |x, y| image::Rgb([x as u8, y as u8, 9]));
    let mut png = std::io::Cursor::new(Vec::new());
    large.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let png = png.into_inner();
    // The phone's own marker of place, in a block of EXIF that must not go along.
    let mut marked = used[..2].to_vec();
    marked.extend([0xff, 0xe1, 0, 19]);
    marked.extend(b"Exif\0\0GPS-PLANTED");
    marked.extend(&used[2..]);

    // What is refused leaves nothing behind.
    let nothing = async || {
        assert!(Visit::read(&bench.document(visit).await).contests.is_empty());
        let count = |c: &rusqlite::Connection| {
            Ok(c.query_row("SELECT count(*) FROM blob", [], |row| row.get::<_, u64>(0))?)
        };
        assert_eq!(bench.app.store.read(count).await.unwrap(), 0);
    };
    let mut many = form(DORA);
    for n in 0..9 {
        many = many.file(&format!("{n}.jpg"), &used);
    }
    let stranger = Multipart::new("wrong").field("seen", &seen).file("a.jpg", &used);
    let early = Multipart(Vec::new()).file("a.jpg", &used).field("csrf", &bench.cookies[&DORA].1);
    let cut = form(DORA).file("a.jpg", &used).end();
    let cut = cut[..cut.len() - 90].to_vec();
    let mut bomb = png.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    for (who, body, status, why) in [
        (Some(DORA), many.end(), 413, "8 files"),
        (Some(DORA), form(DORA).file("a.jpg", &vec![0; 33 << 20]).end(), 413, ""),
        (Some(DORA), form(DORA).file("a.jpg", &vec![0; 21 << 20]).end(), 413, "Photo 1"),
        (Some(DORA), form(DORA).field("claim", &"x".repeat(70_000)).end(), 413, "form"),
        (Some(DORA), stranger.end(), 403, "reload"),
        (Some(DORA), early.end(), 403, "reload"),
        (Some(DORA), form(DORA).0.split_off(120), 400, ""),
        (Some(DORA), cut, 400, ""),
        (Some(DORA), b"not a form".to_vec(), 400, ""),
        (Some(DORA), Vec::new(), 400, ""),
        (Some(DORA), form(DORA).file("a.jpg", b"GIF89a\x01\0\x01\0").end(), 422, "Photo 1"),
        (Some(DORA), form(DORA).file("a.jpg", &used).file("b.png", &bomb).end(), 422, "Photo 2"),
        (Some(MARIA), form(MARIA).file("a.jpg", &used).end(), 403, "contest a visit"),
        (Some(SARA), form(SARA).file("a.jpg", &used).end(), 403, ""),
        (None, form(DORA).file("a.jpg", &used).end(), 401, ""),
    ] {
        let (answer, page) = posts(&bench, who, &contests, body).await;
        assert!(answer == status && page.contains(why), "{answer} {why}\n{page}");
        nothing().await;
    }
    let quota =
        move |quota| move |tx: &rusqlite::Transaction<'_>| uploads::set_room(tx, org, None, quota);
    bench.app.store.write(quota(Some(1_000))).await.unwrap();
    let (answer, _) = posts(&bench, Some(DORA), &contests, form(DORA).file("a", &used).end()).await;
    assert_eq!(answer, 507);
    nothing().await;
    bench.app.store.write(quota(None)).await.unwrap();

    // Two photos, one of them chosen twice, and a field that was left empty.
    let whole = form(DORA).file("a.jpg", &marked).file("b.png", &png).file("c.jpg", &marked);
    let (answer, page) = posts(&bench, Some(DORA), &contests, whole.file("", b"").end()).await;
    assert_eq!(answer, 303, "{page}");
    let read = Visit::read(&bench.document(visit).await);
    let [contest] = read.contests.as_slice() else { panic!("{:?}", read.contests) };
    let [first, second] = contest.objection.photos.as_slice() else { panic!("{contest:?}") };
    let origin = first.origin.as_ref().unwrap();
    assert_eq!(origin.file, BlobHash::of(&marked), "what it was made of is named");
    for (photo, size) in [(first, (348, 348)), (second, (1_600, 200))] {
        let file = bench.app.blobs.get(bench.tenant.id, photo.hash, Rendition::Original).await;
        let file = file.unwrap().unwrap();
        assert_eq!((BlobHash::of(&file), file.len()), (photo.hash, photo.bytes as usize));
        assert!(!file.windows(4).any(|part| part == b"Exif" || part == b"GPS-"));
        let picture = image::load_from_memory(&file).unwrap();
        assert_eq!((picture.width(), picture.height()), size);
        let url = format!("/photos/{}", photo.hash);
        for user in [DORA, MARIA] {
            bench.get(user, &path).await.shows(&[&format!("{url}?size=thumb"), "See for yourself"]);
            for size in ["", "?size=thumb", "?size=preview"] {
                let got = bench.get(user, &format!("{url}{size}")).await;
                assert_eq!(
                    (got.status, got.header(header::CONTENT_TYPE)),
                    (StatusCode::OK, "image/jpeg")
                );
            }
        }
        assert_eq!(bench.get(SARA, &url).await.status, StatusCode::NOT_FOUND);
    }
    bench.get(MARIA, &path).await.hides(&["In a contest on its way"]).shows(&["2 photos"]);
    // So are those of a step, on either side.
    let step = async |user: UserId, step| {
        let seen = bench.state(visit, contest.hash).await;
        let form = Multipart::new(&bench.cookies[&user].1).field("step", step);
        form.field("comment", "This one").field("seen", &seen)
    };
    let answers = format!("{contests}/{}", contest.hash);
    let page = bench.get(DORA, &path).await;
    page.shows(&[&format!("action=\"{answers}\" enctype=\"multipart/form-data\"")]);
    let gif = step(MARIA, "uphold").await.file("a.jpg", b"GIF89a\x01\0\x01\0").end();
    let (answer, page) = posts(&bench, Some(MARIA), &answers, gif).await;
    assert!(answer == 422 && page.contains("nothing was written"), "{answer} {page}");
    assert_eq!(Visit::read(&bench.document(visit).await).contests[0].story.len(), 0);
    for (n, (user, name)) in
        [(MARIA, "ask"), (MARIA, "uphold"), (DORA, "say")].into_iter().enumerate()
    {
        let tint = image::RgbImage::from_fn(400, 300, |x, y| {
            image::Rgb([(x * (n as u32 + 1)) as u8, y as u8, 40 * n as u8])
        });
        let mut file = std::io::Cursor::new(Vec::new());
        tint.write_to(&mut file, image::ImageFormat::Png).unwrap();
        let body = step(user, name).await.file("b.png", &file.into_inner()).end();
        let (answer, page) = posts(&bench, Some(user), &answers, body).await;
        assert_eq!(answer, 303, "{name}: {page}");
        let read = Visit::read(&bench.document(visit).await);
        let (_, post, _) = &read.contests[0].story[n];
        let [photo] = post.word.as_ref().unwrap().photos() else { panic!("{post:?}") };
        assert_eq!(photo.check, contest.objection.about.as_ref().map(|about| about.check));
        let url = format!("/photos/{}", photo.hash);
        for user in [DORA, MARIA] {
            assert_eq!(bench.get(user, &url).await.status, StatusCode::OK, "{name}");
            bench.get(user, &path).await.shows(&[&format!("{url}?size=thumb"), "In a contest"]);
        }
        assert_eq!(bench.get(SARA, &url).await.status, StatusCode::NOT_FOUND);
    }
    let row = |c: &rusqlite::Connection| {
        Ok(c.query_row("SELECT photos FROM visit", [], |row| row.get::<_, u64>(0))?)
    };
    let named = Visit::read(&bench.document(visit).await);
    let own: std::collections::BTreeSet<_> = named.photos().map(|(.., p)| p.hash).collect();
    assert_eq!(bench.app.store.read(row).await.unwrap(), own.len() as u64);
    // What is shown in a contest is none of the work, and counts as no photo of it.
    let shown: std::collections::BTreeSet<_> =
        named.contest_photos().map(|(.., p)| p.hash).collect();
    assert!(shown.len() >= 5 && shown.is_disjoint(&own), "{shown:?}");
    bench.get(MARIA, &path).await.shows(&[&format!("{} shown in contests", shown.len())]);
    // It is on the first page of both sides, and of nobody else.
    for user in [DORA, MARIA] {
        bench.get(user, "/").await.shows(&["id=\"contested\"", "/visits?kind=contested"]);
    }
    bench.get(SARA, "/").await.hides(&["id=\"contested\""]);
    // It is looked at as any photo is: one that was taken elsewhere before is found.
    looks::catch_up(&bench.app).await.unwrap();
    assert_eq!(seen_of(&bench, first.hash).await[..2], [1, 6]);
    bench.get(MARIA, &path).await.hides(&["camera’s time is another"]);
    let mut anna = bench.phone(ANNA, "Anna's other phone").await;
    let mut later =
        Document::new(bench.tenant.id, VisitId::of_call(bench.tenant.id, CLOSED_CALL).into());
    (anna.minutes, anna.anchor) = (59, 0);
    let heard = bench.app.store.read(move |c| Ok(Reader::open(c, org)?.head()?.sequence));
    anna.anchor = heard.await.unwrap();
    anna.start(&mut later, CLOSED_CALL);
    let hash = BlobHash::of(&again);
    let hers = PhotoRef { hash, origin: taken_now(&anna), ..photo("", SHELF) };
    anna.observe(&mut later, Vec::new(), vec![hers], Vec::new());
    anna.push(&bench, &later, Vec::new()).await;
    brings(&bench, &again).await;
    assert_eq!(seen_of(&bench, hash).await, [1, 6, 1, 0]);
    // Whose it is, is said of the photo and of the one that it is like, and it weighs nothing for whoever is contested.
    let said = step(DORA, "say").await.file("c.jpg", &again).end();
    assert_eq!(posts(&bench, Some(DORA), &answers, said).await.0, 303);
    looks::catch_up(&bench.app).await.unwrap();
    let page = bench.get(MARIA, "/look").await;
    page.shows(&[
        "has shown this photo in a contest",
        "contest photos weigh 160<",
        "shown in a contest by Dora Lund",
    ]);
    // One that was erased is not taken again, and what it was to show is not contested by it.
    erase(&bench.app, &bench.tenant, Target::Photo(second.hash), None, "asked", false)
        .await
        .unwrap();
    let (answer, page) =
        posts(&bench, Some(DORA), &contests, form(DORA).file("b", &png).end()).await;
    assert!(answer == 410 && page.contains("not taken again"), "{answer} {page}");
    assert_eq!(Visit::read(&bench.document(visit).await).contests.len(), 1);
    bench.close().await;
}

/// Fetches something as a browser does, with what it says of what it has.
pub(crate) async fn fetch(
    bench: &Bench,
    user: UserId,
    path: &str,
    headers: &[(header::HeaderName, &str)],
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request
        .header("cookie", &bench.cookies[&user].0)
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5))))
        .body(Body::empty())
        .unwrap();
    let response = bench.routes.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status, head.headers, to_bytes(body, 16 << 20).await.unwrap().to_vec())
}

#[tokio::test]
async fn a_photo_is_sent_in_part_or_not_again_and_asked_for_each_time() {
    let bench = Bench::new().await;
    let visit = VisitId::of_call(bench.tenant.id, CALL);
    let (jpeg, _) = two_alike();
    let hash = BlobHash::of(&jpeg);
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document = Document::new(bench.tenant.id, visit.into());
    anna.start(&mut document, CALL);
    let taken = PhotoRef { hash, ..photo("", SHELF) };
    anna.observe(&mut document, Vec::new(), vec![taken], Vec::new());
    anna.push(&bench, &document, Vec::new()).await;
    brings(&bench, &jpeg).await;
    let path = format!("/photos/{hash}");
    let tag = format!("\"{hash}\"");
    let (status, headers, all) = fetch(&bench, MARIA, &path, &[]).await;
    assert_eq!((status, &all), (StatusCode::OK, &jpeg));
    assert_eq!(headers[header::ETAG], tag);
    assert_eq!(headers[header::CONTENT_LENGTH], jpeg.len().to_string());
    let check = |headers: &HeaderMap| {
        // Whoever may not see it any more does not get it from a cache.
        assert_eq!(headers[header::CACHE_CONTROL], "private, no-cache");
        assert_eq!(headers[header::ACCEPT_RANGES], "bytes");
        assert_eq!(headers[header::CONTENT_TYPE], "image/jpeg");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    };
    check(&headers);
    let last = jpeg.len() - 1;
    for (range, first, end) in [
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=100-299".to_owned(), 100, 299),
        (format!("bytes={}-", last - 6), last - 6, last),
        ("bytes=-7".to_owned(), last - 6, last),
        ("bytes=5-99999999".to_owned(), 5, last),
    ] {
        let asked = [(header::RANGE, &*range), (header::IF_RANGE, &*tag)];
        let (status, headers, part) = fetch(&bench, MARIA, &path, &asked).await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(part, jpeg[first..=end], "{range}");
        let said = format!("bytes {first}-{end}/{}", jpeg.len());
        assert_eq!(headers[header::CONTENT_RANGE], said);
        check(&headers);
    }
    let beyond = format!("bytes={}-", jpeg.len());
    let (status, headers, none) = fetch(&bench, MARIA, &path, &[(header::RANGE, &beyond)]).await;
    assert_eq!((status, none.len()), (StatusCode::RANGE_NOT_SATISFIABLE, 0));
    assert_eq!(headers[header::CONTENT_RANGE], format!("bytes */{}", jpeg.len()));
    let known = [(header::IF_NONE_MATCH, &*tag)];
    let (status, headers, none) = fetch(&bench, MARIA, &path, &known).await;
    assert_eq!((status, none.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(headers[header::ETAG], tag);
    assert_eq!(headers[header::CACHE_CONTROL], "private, no-cache");
    let other = [(header::IF_NONE_MATCH, "\"other\"")];
    assert_eq!(fetch(&bench, MARIA, &path, &other).await.0, StatusCode::OK);
    // Nobody learns from a tag or a range whether it is here.
    for asked in [known, [(header::RANGE, "bytes=0-0")]] {
        assert_eq!(fetch(&bench, SARA, &path, &asked).await.0, StatusCode::NOT_FOUND);
    }
    bench.close().await;
}

#[tokio::test]
async fn a_distributor_keeps_watch_over_the_log() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let johan = bench.phone(JOHAN, "Johan's phone").await;
    let anna = bench.phone(ANNA, "Anna's phone").await;
    let before = bench.app.head(&bench.tenant).await.unwrap();

    // Only Dora confirms her people's keys, and only those.
    let confirm = |device: DeviceId| format!("/devices/{device}/confirm");
    for (who, device, status) in [
        (MARIA, johan.sender.device, StatusCode::FORBIDDEN),
        (DORA, anna.sender.device, StatusCode::NOT_FOUND),
        (DORA, DeviceId::from_bytes([0x77; 16]), StatusCode::NOT_FOUND),
        (DORA, johan.sender.device, StatusCode::SEE_OTHER),
        // Once more, as by a double click.
        (DORA, johan.sender.device, StatusCode::SEE_OTHER),
    ] {
        assert_eq!(bench.post(who, &confirm(device), &[]).await.status, status);
    }
    let after = bench.app.head(&bench.tenant).await.unwrap();
    assert_eq!(after.sequence, before.sequence + 1, "one line");
    bench.get(DORA, "/log").await.shows(&["Johan Berg", "by Dora Lund", "endcap.log/"]);
    // As his phone shows it, on both pages.
    let fingerprint = fingerprint_text(&johan.sender.key);
    bench.get(DORA, "/log").await.shows(&[&fingerprint]);
    bench.get(MARIA, &format!("/people/{JOHAN}")).await.shows(&[&fingerprint]);
    bench.get(SARA, "/log").await.hides(&["Give out a token"]);

    // A token for a copy: shown once, good for entries alone.
    let refused = bench.post(SARA, "/mirrors", &[("label", "x")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!bench.post(DORA, "/mirrors", &[("label", " ")]).await.status.is_success());
    let page = bench.post(DORA, "/mirrors", &[("label", "Grossist")]).await;
    let token = page.body.split("--token ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    bench.get(DORA, "/log").await.hides(&["--token"]);
    let log = format!("/log/{}/{}", bench.tenant.id, after.origin);
    let get = async |path: String, token: Option<&str>| {
        let mut request = Request::builder().uri(path).header("host", "localhost");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let from = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5)));
        let request = request.extension(from).body(Body::empty()).unwrap();
        let response = bench.routes.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, to_bytes(body, 16 << 20).await.unwrap())
    };
    let width = after.sequence;
    assert!(width < 256);
    let (status, headers, hashes) = get(format!("{log}/tile/0/000.p/{width}"), None).await;
    assert_eq!((status, hashes.len() as u64), (StatusCode::OK, 32 * width));
    assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    let entries = format!("{log}/tile/entries/000.p/{width}");
    for (token, expected) in [(None, 401), (Some("wrong"), 401), (Some(token.as_str()), 200)] {
        assert_eq!(get(entries.clone(), token).await.0.as_u16(), expected);
    }
    let (_, headers, bundle) = get(entries, Some(&token)).await;
    assert_eq!(headers[header::CACHE_CONTROL], "private, max-age=31536000, immutable");
    let given = sync_core::tlog::unpack_entries(&bundle).unwrap();
    let leaves: Vec<_> = given.into_iter().map(sync_core::tlog::leaf_hash).collect();
    assert!(leaves.iter().zip(hashes.chunks(32)).all(|(leaf, hash)| leaf.0 == hash));
    let (_, _, note) = get(format!("{log}/checkpoint"), None).await;
    let note: sync_core::tlog::SignedNote = std::str::from_utf8(&note).unwrap().parse().unwrap();
    let key = bench.tenant.log_key.public();
    let checkpoint = sync_core::tlog::Checkpoint::open(&note, key).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (after.sequence, after.root));
    let other = format!("/log/{}/{}", bench.tenant.id, OrgId::from_bytes([1; 16]));
    for gone in [
        format!("{log}/tile/0/000.p/{}", width + 1),
        format!("{log}/tile/0/000"),
        format!("{log}/tile/1/000.p/1"),
        format!("{log}/tile/9/000"),
        format!("{log}/tile/0/x999/x999/x999/x999/x999/999"),
        format!("{log}/tile/0/..%2f000"),
        format!("{other}/tile/0/000.p/1"),
        format!("{other}/checkpoint"),
        "/log/x/checkpoint".to_owned(),
    ] {
        assert_eq!(get(gone.clone(), None).await.0, StatusCode::NOT_FOUND, "{gone}");
    }

    // What a witness has signed, and why it did not when it was asked last.
    bench.get(DORA, "/log").await.hides(&["Its witnesses"]);
    assert_eq!(get(format!("/log/{}/witnessed", bench.tenant.id), None).await.0, 404);
    let (tenant, org, id) = (Arc::clone(&bench.tenant), bench.tenant.org, bench.tenant.id);
    let log_key = NoteKey::of_log(id, after.origin, key);
    let witness =
        Witness::open(bench.folder.join("witness"), "w.example/1", vec![log_key]).unwrap();
    let read = bench.app.store.read(move |connection| {
        witnesses::submission(connection, org, id, &after, 0, &tenant.log_key)
    });
    let asked = read.await.unwrap();
    let line = witness.sign(&asked, 1_700_000_000).unwrap();
    assert!(matches!(witness.sign(&asked, 1_700_000_000), Err(NotSigned::Refused(_))), "once");
    for refused in [None, Some("it cannot be <reached>".to_owned())] {
        let said = Cosignature {
            witness: witness.key().clone(),
            life: after.origin,
            size: after.sequence,
            signed: Some((line.clone(), 1_700_000_000)),
            asked_ms: now_ms(),
            refused: refused.clone(),
        };
        let put = move |tx: &rusqlite::Transaction<'_>| witnesses::put(tx, org, &said);
        bench.app.store.write_for(org, put).await.unwrap();
        let page = bench.get(DORA, "/log").await;
        let vkey = witness.key().to_string();
        page.shows(&["Its witnesses", "w.example/1", &format!("the first {width} lines"), &vkey]);
        match refused {
            None => page.hides(&["did not sign"]),
            Some(_) => page.shows(&["did not sign", "it cannot be &#60;reached&#62;"]),
        };
    }
    let (_, _, note) = get(format!("/log/{id}/witnessed"), None).await;
    let note: sync_core::tlog::SignedNote = std::str::from_utf8(&note).unwrap().parse().unwrap();
    assert_eq!(sync_core::tlog::Checkpoint::open(&note, key).unwrap(), checkpoint);
    assert_eq!(note.signed_by(witness.key()), Some(1_700_000_000));

    // The visit's proof is for whoever sees the visit.
    let (cookie, _) = &bench.cookies[&DORA];
    let request = Request::builder().uri(format!("/visits/{visit}/proof?photos=no"));
    let request = request.header("host", "localhost").header("cookie", cookie);
    let from = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5)));
    let request = request.extension(from).body(Body::empty()).unwrap();
    let response = bench.routes.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/zip");
    let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    let proved = sync_core::proof::verify(&bytes).unwrap();
    assert!(proved.summary.contains(&visit.to_string()), "{}", proved.summary);
    let unknown = VisitId::from_bytes([0x55; 16]);
    let reply = bench.get(DORA, &format!("/visits/{unknown}/proof")).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);

    // Copies are listed and withdrawn by who gave them out, and by the admin.
    let withdraws = |page: &Reply| {
        let path = page.body.split("/mirrors/").find_map(|rest| rest.split_once("/withdraw"));
        format!("/mirrors/{}/withdraw", path.unwrap().0)
    };
    let page = bench.get(DORA, "/log").await;
    page.shows(&["Grossist", "by Dora Lund"]).hides(&["Never", &token]);
    let withdraw = withdraws(&page);
    bench.get(SARA, "/log").await.hides(&["Grossist", "/withdraw"]);
    assert_eq!(bench.post(SARA, &withdraw, &[]).await.status, StatusCode::FORBIDDEN);
    let boss = person(MARIA, "Maria Ståhl", Role::Admin, Scope::Territory(SOUTH));
    bench.app.write_records(&bench.tenant, vec![boss]).await.unwrap();
    let admins = bench.post(MARIA, "/mirrors", &[("label", "Head office")]).await;
    let own = admins.body.split("--token ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    bench.get(DORA, "/log").await.hides(&["Head office"]);
    let admins = bench.get(MARIA, "/log").await;
    admins.shows(&["Grossist", "Head office", "Never"]);
    let newest = withdraws(&admins);
    assert_ne!(newest, withdraw);
    assert_eq!(bench.post(DORA, &newest, &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.post(DORA, "/mirrors/x/withdraw", &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.post(DORA, &withdraw, &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(bench.post(DORA, &withdraw, &[]).await.status, StatusCode::NOT_FOUND);
    let entries = format!("{log}/tile/entries/000.p/{width}");
    assert_eq!(get(entries.clone(), Some(&token)).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(get(entries.clone(), Some(&own)).await.0, StatusCode::OK);

    // Who gives out no copies any more, or is let go, takes theirs along.
    let staff = ("role", "distributor_staff");
    let scope = format!("d.{GROSSIST}");
    for (path, fields) in [
        (format!("/people/{DORA}"), vec![("name", "Dora Lund"), staff, ("scope", &scope)]),
        (format!("/people/{DORA}/active"), vec![("active", "no")]),
    ] {
        let (org, hash) = (bench.tenant.org, LogHash::of(b"hers").0);
        let put = bench.app.store.write(move |tx| -> Result<(), StoreError> {
            assert!(accounts::put_mirror(tx, org, hash, "Grossist", DORA, 0)?);
            Ok(())
        });
        put.await.unwrap();
        assert_eq!(get(entries.clone(), Some("hers")).await.0, StatusCode::OK);
        assert_eq!(bench.post(MARIA, &path, &fields).await.status, StatusCode::SEE_OTHER);
        assert_eq!(get(entries.clone(), Some("hers")).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(get(entries, Some(&own)).await.0, StatusCode::OK);
    bench.close().await;
}
