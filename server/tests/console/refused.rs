//! Refused work: what is shown of it to whoever decides, and what becomes of it.

use axum::http::StatusCode;
use server::now_ms;
use sync_core::cbor::from_cbor;
use sync_core::document::{Change, Document, Entry};
use sync_core::evidence::Leaf;
use sync_core::id::{BlobHash, ChangeHash, DistributorId, DocId, LogHash, OutletId, VisitId};
use sync_core::model::contest::{About, Objection, Word};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{
    Act, NotPossible, Note, Observation, OutletReport, PhotoRef, Place, Post, Subject, Value,
    Versioned,
};
use sync_core::wire::{Group, Outcome};

use crate::evidence::{brings_of, two_alike};
use crate::{
    ANNA, Bench, CALL, DORA, GROSSIST, JOHAN, MARIA, NORTH, OTHER, OUTLET, PRICE, Phone, SARA,
    SCRIPT, SHELF, SOUTH, STOCK, WORDS, gtin, person, photo, price, shelf,
};

/// A visit to the outlet, begun as if that distributor served it.
fn begun(bench: &Bench, phone: &mut Phone, n: u8, distributor: DistributorId) -> Document {
    let mut document = Document::new(bench.tenant.id, VisitId::fresh(1, [n; 10]).into());
    let template = Versioned { number: 1, version: 1 };
    let start = Act::Start { outlet: OUTLET, call: None, territory: NORTH, distributor, template };
    phone.record(&mut document, start);
    document
}

fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Quarantined { code, .. } => code,
        _ => "taken",
    }
}

fn to_decide(n: u64) -> String {
    format!("To decide <span class=\"count\">{n}</span>")
}

#[tokio::test]
async fn refused_work_is_decided_on_once_by_who_may() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut items = Vec::new();
    for n in [1_u8, 2] {
        // She says that the outlet is another distributor's.
        let visit = VisitId::fresh(1, [n; 10]);
        let mut document = begun(&bench, &mut anna, n, OTHER);
        anna.observe(&mut document, vec![price(2, 2_490)], Vec::new(), Vec::new());
        anna.submit(&mut document);
        let outcome = anna.outcome(&bench, &document, Vec::new()).await;
        assert_eq!(code(&outcome), "wrong_start");
        items.push((visit, document));
    }
    let page = bench.get(MARIA, "/refused").await;
    page.shows(&["Refused work", &to_decide(2), "Anna Lindqvist", "1 observation"]);
    // Nobody approves what they have not looked at.
    page.hides(&["value=\"approve\""]);
    bench.get(MARIA, "/refused/1").await.shows(&[
        "Anna Lindqvist",
        "In Stockholm Norr, served by Kustlinjen; by the list in Stockholm Norr, served by Mälardal Grossist",
        "<dt>The refusal</dt><dd>The outlet has moved to another ",
        "badge is-submitted",
        "Planned call: not planned",
        "Chilled full audit, version 1",
        "Oat drink vanilla 1 L",
        "24.90 SEK",
        "value=\"approve\"",
        "value=\"discard\"",
    ]);
    bench.get(MARIA, "/").await.shows(&["/refused"]);
    // Neither a supervisor of elsewhere nor a distributor's manager has a say.
    bench.get(SARA, "/refused").await.shows(&["Nothing waits"]).hides(&["Anna Lindqvist"]);
    assert_eq!(bench.get(SARA, "/refused/1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.get(DORA, "/refused/1").await.status, StatusCode::FORBIDDEN);
    assert_eq!(bench.get(MARIA, "/refused/3").await.status, StatusCode::NOT_FOUND);
    let approve = [("decision", "approve")];
    assert_eq!(bench.post(SARA, "/refused/1", &approve).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.get(DORA, "/refused").await.status, StatusCode::FORBIDDEN);
    assert_eq!(bench.post(DORA, "/refused/1", &approve).await.status, StatusCode::FORBIDDEN);

    assert_eq!(bench.post(MARIA, "/refused/1", &approve).await.status, StatusCode::SEE_OTHER);
    assert_eq!(bench.document(items[0].0).await.heads(), items[0].1.heads());
    bench.get(MARIA, &format!("/visits/{}", items[0].0)).await.shows(&["Anna Lindqvist"]);
    let discard = [("decision", "discard")];
    assert_eq!(bench.post(MARIA, "/refused/1", &discard).await.status, StatusCode::CONFLICT);
    assert_eq!(bench.post(MARIA, "/refused/2", &discard).await.status, StatusCode::SEE_OTHER);
    assert_eq!(bench.post(MARIA, "/refused/2", &approve).await.status, StatusCode::CONFLICT);
    assert!(bench.document(items[1].0).await.changes().is_empty());
    bench.get(MARIA, "/refused").await.shows(&["Nothing waits", &to_decide(0)]);
    let page = bench.get(MARIA, "/refused?kind=decided").await;
    page.shows(&["Approved", "Discarded", "by Maria Ståhl"]);
    let page = bench.get(MARIA, "/refused/2").await;
    page.shows(&["Discarded", "24.90 SEK", "by Maria Ståhl"]).hides(&["value=\"approve\""]);

    // Each decision is the log's newest line after what it is about, and says who has decided what, and on what.
    let org = bench.tenant.org;
    let said = bench.app.store.read(move |connection| {
        let mut query = connection.prepare(
            "SELECT leaf, body FROM log WHERE org = ?1 AND document IS NULL AND audience = -1
             AND length(body) > 17 ORDER BY sequence",
        )?;
        let lines = query.query_map([org], |row| Ok((LogHash(row.get(0)?), row.get(1)?)))?;
        Ok(lines.collect::<Result<Vec<(LogHash, Vec<u8>)>, _>>()?)
    });
    let said = said.await.unwrap();
    assert_eq!(said.len(), 2);
    let decided = items.iter().zip([true, false]);
    for ((line, body), ((visit, document), approve)) in said.iter().zip(decided) {
        let leaf: Leaf = from_cbor(body).unwrap();
        let Leaf::Decision { document: id, head, device, by, approved, at_ms } = leaf else {
            panic!("{leaf:?}")
        };
        assert_eq!((id, [head].as_slice()), ((*visit).into(), document.heads()));
        assert_eq!((device, by, approved), (anna.sender.device, MARIA, approve));
        assert!((now_ms() - 60_000..=now_ms()).contains(&at_ms));
        assert_eq!(leaf.hash(), *line);
    }

    // Anna is somewhere else by now. She is told what became of her work, and shown nothing of it.
    let move_to = |scope| vec![person(ANNA, "Anna Lindqvist", Role::Rep, scope)];
    bench.app.write_records(&bench.tenant, move_to(Scope::Territory(SOUTH))).await.unwrap();
    let page = anna.pull(&bench, None).await;
    assert!(page.groups.is_empty() && !page.more);
    let discarded = |outcome: &Outcome| matches!(outcome, Outcome::Quarantined { code, .. } if code == Outcome::DISCARDED);
    let told = page.decided.unwrap();
    let about = |n: usize| (DocId::from(items[n].0), items[n].1.heads()[0]);
    assert_eq!(told.iter().map(|d| (d.document, d.head)).collect::<Vec<_>>(), [about(0), about(1)]);
    assert!(told[0].outcome == Outcome::Accepted {} && discarded(&told[1].outcome));
    // Once; and nobody else is.
    assert_eq!(anna.pull(&bench, Some(page.cursor)).await.decided, None);
    let johan = bench.phone(JOHAN, "Johan's phone").await;
    assert_eq!(johan.pull(&bench, None).await.decided, None);
    // Whoever takes another phone holds what the one before was refused.
    let next = bench.phone(ANNA, "Anna's next phone").await;
    assert_eq!(next.pull(&bench, None).await.decided, Some(told));
    bench.close().await;
}

#[tokio::test]
async fn work_of_a_withdrawn_phone_says_how_sure_its_time_is() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's lost phone").await;
    let johan = bench.phone(JOHAN, "Johan's phone").await;
    let path = format!("/devices/{}/revoke", anna.sender.device);
    assert_eq!(bench.post(MARIA, &path, &[]).await.status, StatusCode::SEE_OTHER);
    // An hour before, two hours after, and after by what the phone had heard, whatever its clock says.
    for (n, minutes, anchor) in [(1, 0, 1), (2, 180, 1), (3, 0, u64::MAX)] {
        (anna.minutes, anna.anchor) = (minutes, anchor);
        let document = begun(&bench, &mut anna, n, GROSSIST);
        let outcome = johan.bring(&bench, anna.group(&document), Vec::new()).await;
        assert_eq!(code(&outcome), "revoked_device");
    }
    bench.get(MARIA, "/refused").await.shows(&[&to_decide(3), "brought by Johan"]);
    let claim = ", as the phone claims</summary>Not before ";
    bench.get(MARIA, "/refused/1").await.shows(&[
        "before its access was withdrawn",
        "That is a claim: it can be from any time since",
        "by its own clock alone",
        "on a phone whose access was withdrawn",
        claim,
    ]);
    // A claim beyond the receipt is moved to it, and so lies after the withdrawal.
    bench.get(MARIA, "/refused/2").await.shows(&[
        ", after its access was withdrawn on",
        "what it said lay outside these bounds and was moved to the nearer one",
        claim,
    ]);
    bench.get(MARIA, "/refused/3").await.shows(&["the phone had heard of it", claim]);
    bench.close().await;
}

/// Anna and Johan have each said something of the same shelf; then Anna is moved, and what she writes is not taken.
#[tokio::test]
async fn whoever_decides_sees_each_value_and_what_it_would_replace() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut johan = bench.phone(JOHAN, "Johan's phone").await;
    let visit = VisitId::of_call(bench.tenant.id, CALL);
    let mut hers = Document::new(bench.tenant.id, visit.into());
    let mut his = hers.clone();
    anna.start(&mut hers, CALL);
    let facts = vec![shelf(3, 4, Place::AsPlanned), price(1, 1_490)];
    let first = anna.observe(&mut hers, facts, Vec::new(), Vec::new());
    anna.push(&bench, &hers, Vec::new()).await;
    johan.start(&mut his, CALL);
    johan.observe(&mut his, vec![price(1, 1_590)], Vec::new(), Vec::new());
    johan.push(&bench, &his, Vec::new()).await;

    let moved = person(ANNA, "Anna Lindqvist", Role::Rep, Scope::Territory(SOUTH));
    bench.app.write_records(&bench.tenant, vec![moved]).await.unwrap();
    anna.anchor = u64::MAX; // she has heard of it
    let note = |text: &str, n| Note::new(text, [n; 16]).unwrap();
    let (bar, answer, remark) = (note("Oat bar, no code", 1), note(SCRIPT, 2), note("Ask Eva", 3));
    let lost = note("never sent", 4);
    let (jpeg, _) = two_alike();
    let here = PhotoRef { hash: BlobHash::of(&jpeg), ..photo("", SHELF) };
    let fact = |check, subject, value| Observation { check, subject, value };
    let facts = vec![
        shelf(3, 2, Place::OtherShelf(1)),
        price(1, 1_390),
        fact(
            STOCK,
            Subject::Unlisted(bar.digest()),
            Value::Stock { on_shelf: true, units: Some(7) },
        ),
        fact(WORDS, Subject::Outlet, Value::Text(answer.digest())),
    ];
    anna.observe(&mut hers, facts, vec![here.clone(), photo("lost", PRICE)], vec![first]);
    anna.record(&mut hers, Act::Withdraw { recordings: vec![first] });
    let shut = Act::NotPossible {
        reason: NotPossible::Closed,
        note: Some(lost.digest()),
        photos: Vec::new(),
    };
    anna.record(&mut hers, shut);
    let said = |by, phone: &Phone, text: &Note, word| Post {
        word,
        ..Post::new(by, phone.moment(), text.digest())
    };
    let post = Entry::Post(said(ANNA, &anna, &remark, None));
    anna.write(&mut hers, post);
    let outcome = anna.outcome(&bench, &hers, vec![bar, answer, remark]).await;
    assert_eq!(code(&outcome), "out_of_scope");
    brings_of(&bench, ANNA, &jpeg).await;

    let thumb = format!("/refused/1/photos/{}", here.hash);
    let page = bench.get(MARIA, "/refused/1").await;
    page.shows(&[
        "It takes work back, says why a call was not possible, comments, holds 4 observations and has 2 photos.",
        "The outlet was outside the person’s part of the field",
        "Approved, it enters the record as its author signed it",
        &format!("<a href=\"/visits/{visit}\">as it stands here</a>"),
        // what is in the log already is told from what is not
        "Started the visit</b><span class=\"badge is-ok\">",
        // each value under its subject and check, beside what stands
        "Natural yoghurt 1 kg, shelf 2<span class=\"sub\">Shelf</span>",
        "<b>2 facings, on shelf 1</b>",
        "4 facings by Anna Lindqvist, which this replaces",
        "Standard milk 3 % 1 L<span class=\"sub\">Shelf prices</span>",
        "<b>13.90 SEK</b>",
        "14.90 SEK by Anna Lindqvist, which this replaces",
        "15.90 SEK by Johan Berg, which stays beside this",
        "Oat bar, no code<span class=\"sub\">Stock</span>",
        "<b>on shelf, 7 units</b>",
        "What does the store say?",
        "&#60;img src=x onerror=alert(1)&#62;",
        // what else she wrote
        "Took back 1 recording",
        "<p>Recorded 1 position and 1 price</p>",
        "The outlet was closed",
        "(these words did not come along)",
        "<blockquote>Ask Eva</blockquote>",
        // photos
        "2 photos, 1 here. The phone sends the others after those of all other work.",
        &thumb,
        "Photo not here, taken ",
        "6 m from the outlet (±6\u{a0}m)",
    ]);
    page.hides(&[SCRIPT]);
    assert_eq!(page.body.matches("In the record already").count(), 2);
    // The photo is shown to who decides, and to nobody else.
    assert_eq!(bench.get(MARIA, &thumb).await.status, StatusCode::OK);
    assert_eq!(bench.get(SARA, &thumb).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.get(DORA, &thumb).await.status, StatusCode::FORBIDDEN);
    let other = format!("/refused/1/photos/{}", BlobHash::of(b"another"));
    assert_eq!(bench.get(MARIA, &other).await.status, StatusCode::NOT_FOUND);
    let photo_of_all = format!("/photos/{}", here.hash);
    assert_eq!(bench.get(MARIA, &photo_of_all).await.status, StatusCode::NOT_FOUND);

    // What a distributor's man holds against a value is told with his words and what he says was there.
    let words = note("It was 12.90", 5);
    let subject = Subject::Product(gtin(1));
    let seen: Vec<ChangeHash> = his.heads().to_vec();
    let objection = Objection {
        about: Some(About { check: PRICE, subject }),
        seen,
        claim: Some(price(1, 1_290).value),
        photos: Vec::new(),
    };
    let left = person(JOHAN, "Johan Berg", Role::DistributorStaff, Scope::Distributor(OTHER));
    bench.app.write_records(&bench.tenant, vec![left]).await.unwrap();
    johan.anchor = u64::MAX;
    let contest = Entry::Post(said(JOHAN, &johan, &words, Some(Word::Contest(objection))));
    johan.write(&mut his, contest);
    let mut group = johan.group(&his);
    group.changes.drain(..group.changes.len() - 1);
    let outcome = johan.bring(&bench, group, vec![words]).await;
    assert_eq!(code(&outcome), "out_of_scope");
    bench.get(MARIA, "/refused/2").await.shows(&[
        // where the visit was begun, which this does not say
        &format!("<dt>Outlet</dt><dd><a href=\"/outlets/{OUTLET}\">Matrummet"),
        "Contested “Shelf prices: Standard milk 3 % 1 L”",
        "There was instead: 12.90 SEK",
        "<blockquote>It was 12.90</blockquote>",
        // the other piece of the same visit
        "<dt>Of the same</dt><dd><a href=\"/refused/1\">work of Anna Lindqvist</a>, which waits too",
    ]);

    // An outlet that she has found where she does not work any more.
    let found = OutletId::from_bytes([7; 16]);
    let mut history = Document::new(bench.tenant.id, found.into());
    let corner = note("By the corner", 6);
    let report = OutletReport {
        by: ANNA,
        when: anna.moment(),
        place: None,
        name: "Kiosk".into(),
        address: "Hamngatan 1".into(),
        territory: NORTH,
        distributor: GROSSIST,
        note: Some(corner.digest()),
        photos: Vec::new(),
        volume: None,
    };
    anna.write(&mut history, Entry::Report(report));
    let outcome = anna.outcome(&bench, &history, vec![corner]).await;
    assert_eq!(code(&outcome), "out_of_scope");
    bench.get(MARIA, "/refused/3").await.shows(&[
        "An outlet that is not known here",
        "Reported “Kiosk”",
        "Hamngatan 1",
        "In Stockholm Norr, served by Mälardal Grossist",
        "<blockquote>By the corner</blockquote>",
    ]);
    bench.close().await;
}

#[tokio::test]
async fn all_that_waits_is_counted_and_reached_and_what_was_decided_stands_apart() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    for n in 1..=53 {
        let document = begun(&bench, &mut anna, n, OTHER);
        let outcome = anna.outcome(&bench, &document, Vec::new()).await;
        assert_eq!(code(&outcome), "wrong_start");
    }
    let line = |n: u64| format!("id=\"refused-{n}\"");
    let page = bench.get(MARIA, "/refused").await;
    page.shows(&[
        &to_decide(53),
        "Decided <span class=\"count\">0</span>",
        "1 to 50 of 53",
        "href=\"/refused?page=2\" rel=\"next\"",
        &line(4),
    ]);
    page.hides(&[&line(3), "rel=\"prev\""]);
    assert!(page.body.find(&line(53)) < page.body.find(&line(52)), "newest first");
    let page = bench.get(MARIA, "/refused?page=2").await;
    page.shows(&["51 to 53 of 53", &line(3), &line(1), "href=\"/refused?page=1\" rel=\"prev\""]);
    page.hides(&[&line(4), "rel=\"next\""]);

    // What was decided makes room, whichever it was, and is listed by when that was.
    for n in [50, 20] {
        let decision = [("decision", if n == 50 { "discard" } else { "approve" })];
        let reply = bench.post(MARIA, &format!("/refused/{n}"), &decision).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER);
    }
    let page = bench.get(MARIA, "/refused").await;
    page.shows(&[&to_decide(51), "Decided <span class=\"count\">2</span>", &line(2)]);
    page.hides(&[&line(50), &line(20), &line(1)]);
    let page = bench.get(MARIA, "/refused?kind=decided").await;
    page.shows(&["Discarded", "Approved", "by Maria Ståhl"]).hides(&["Waits", &line(53)]);
    assert!(page.body.find(&line(20)) < page.body.find(&line(50)), "decided last first");
    // Elsewhere nothing of it counts.
    bench.get(SARA, "/refused").await.shows(&[&to_decide(0), "Nothing waits for a decision"]);
    for odd in ["/refused?page=99", "/refused?page=18446744073709551615", "/refused?kind=x&page=-"]
    {
        bench.get(MARIA, odd).await.shows(&[&to_decide(51)]);
    }
    bench.close().await;
}

#[tokio::test]
async fn work_of_several_people_says_whose_each_entry_is_and_what_builds_on_what() {
    let bench = Bench::new().await;
    let mut johan = bench.phone(JOHAN, "Johan's phone").await;
    // Anna's phone was enrolled after the backup; Johan brings what he had of her, and has written on top of it.
    let mut lost = Phone::of(ANNA, &[77; 32]);
    let mut document = begun(&bench, &mut lost, 1, GROSSIST);
    let hers = lost.group(&document);
    johan.observe(&mut document, vec![price(2, 2_490)], Vec::new(), Vec::new());
    let his = johan.group(&document);
    assert_eq!(code(&johan.bring(&bench, hers.clone(), Vec::new()).await), "foreign_actor");
    assert_eq!(code(&johan.bring(&bench, his.clone(), Vec::new()).await), "missing_parent");
    bench.get(MARIA, "/refused").await.shows(&[&to_decide(2), "brought by Johan Berg"]);
    let page = bench.get(MARIA, "/refused/1").await;
    page.shows(&[
        "The phone that wrote it is not known here: it was enrolled after the backup",
        "Its person needs a new code for that phone. Once it is enrolled, this comes in by itself.",
        &format!("<a href=\"/people/{ANNA}\">Anna Lindqvist</a>"),
        "from the phone of Johan Berg",
        "on a phone that is not known here",
        "<dt>On it builds</dt><dd><a href=\"/refused/2\">work of Johan Berg</a>, which waits too",
        "nothing of it is here",
        "Discard",
    ]);
    page.hides(&["value=\"approve\"", "Stands here now", "The refusal", "this device"]);
    let page = bench.get(MARIA, "/refused/2").await;
    page.shows(&[
        "What it builds on has not come yet",
        "It comes in by itself when what it builds on does",
        "<dt>It builds on</dt><dd><a href=\"/refused/1\">work of Anna Lindqvist</a>, which waits too",
        "24.90 SEK",
    ]);
    page.hides(&["value=\"approve\""]);
    assert_eq!(
        bench.post(MARIA, "/refused/2", &[("decision", "approve")]).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );

    // She is enrolled again with the key that the phone has, and both come in by themselves.
    bench.enrol(&lost, "Anna's phone").await;
    assert_eq!(lost.bring(&bench, hers, Vec::new()).await, Outcome::Accepted {});
    assert_eq!(johan.bring(&bench, his, Vec::new()).await, Outcome::Accepted {});
    let page = bench.get(MARIA, "/refused").await;
    page.shows(&[&to_decide(0), "Decided <span class=\"count\">0</span>"]);

    // Two people's work in one group: each entry has its author.
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document = begun(&bench, &mut anna, 2, OTHER);
    johan.observe(&mut document, vec![price(2, 2_590)], Vec::new(), Vec::new());
    anna.observe(&mut document, vec![price(1, 1_490)], Vec::new(), Vec::new());
    let changes: Vec<Change> = document.changes().to_vec();
    let seal = |phone: &Phone, n: usize| {
        phone.keypair.seal(document.org(), document.id(), changes[n].hash())
    };
    let seals = vec![seal(&anna, 2), seal(&johan, 1)];
    let group = Group { document: document.id(), changes, seals };
    assert_eq!(code(&anna.bring(&bench, group, Vec::new()).await), "wrong_start");
    bench.get(MARIA, "/refused").await.shows(&["by <b>Anna Lindqvist and Johan Berg</b>"]);
    let page = bench.get(MARIA, "/refused/3").await;
    let at =
        |text: &str| page.body.find(text).unwrap_or_else(|| panic!("{text} in\n{}", page.body));
    let johans = at("by <b>Johan Berg</b> <span class=\"org\">Mälardal Grossist</span>");
    assert!(johans < at("25.90 SEK") && at("25.90 SEK") < at("14.90 SEK"), "{}", page.body);
    assert!(page.body[johans..].contains("by <b>Anna Lindqvist</b> <span class=\"org\">Ängsholm"));
    bench.close().await;
}

#[tokio::test]
async fn refused_work_of_any_length_is_shown_in_parts() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document = begun(&bench, &mut anna, 1, OTHER);
    for n in 1..=3 {
        let product = |check| Observation { check, ..price(n, 1_000 + n as i64) };
        let facts = (100..1_000).map(product).collect();
        anna.observe(&mut document, facts, Vec::new(), Vec::new());
    }
    let outcome = anna.outcome(&bench, &document, Vec::new()).await;
    assert_eq!(code(&outcome), "wrong_start");
    let page = bench.get(MARIA, "/refused/1").await;
    page.shows(&["holds 2\u{202f}700 observations", "Page 1 of 2", "10.01 SEK", "10.02 SEK"]);
    page.shows(&["Your decision covers all that this says, on every page"]).hides(&["10.03 SEK"]);
    let page = bench.get(MARIA, "/refused/1?page=2").await;
    page.shows(&["Page 2 of 2", "10.03 SEK"]).hides(&["10.01 SEK", "10.02 SEK"]);
    bench.get(MARIA, "/refused/1?page=7").await.shows(&["Page 2 of 2"]);
    bench.close().await;
}

#[tokio::test]
async fn words_of_what_cannot_be_approved_are_not_kept_and_the_page_says_so() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let words = Note::new("The shelf is empty", [1; 16]).unwrap();
    let mut document = begun(&bench, &mut anna, 1, GROSSIST);
    let fact =
        Observation { check: WORDS, subject: Subject::Outlet, value: Value::Text(words.digest()) };
    anna.observe(&mut document, vec![fact], Vec::new(), Vec::new());
    let mut group = anna.group(&document);
    group.changes.remove(0);
    let outcome = anna.bring(&bench, group, vec![words]).await;
    assert_eq!(code(&outcome), "missing_parent");
    let page = bench.get(MARIA, "/refused/1").await;
    page.shows(&["(words are not kept of what nobody can approve)"]).hides(&["The shelf is empty"]);
    bench.close().await;
}
