//! Words and names that are erased on request.

use axum::http::StatusCode;
use server::erase::{self, Target};
use server::people;
use sync_core::document::{Document, Entry};
use sync_core::id::{BlobHash, OutletId, TerritoryId, UserId, VisitId};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{Act, NotPossible, Note, Observation, OutletReport, Subject, Value};
use sync_core::visit::Visit;

use crate::{
    ANNA, Bench, CLOSED_CALL, DORA, GROSSIST, JOHAN, MARIA, NORTH, PASSWORD, PRICE, SCRIPT, WORDS,
    audited, person,
};

/// The admin.
pub(crate) const ADA: UserId = UserId::from_bytes([6; 16]);

pub(crate) async fn comes_ada(bench: &mut Bench) {
    let all = Scope::Territory(TerritoryId::from_bytes([1; 16]));
    let ada = person(ADA, "Ada Palm", Role::Admin, all);
    bench.app.write_records(&bench.tenant, vec![ada]).await.unwrap();
    people::open_account(&bench.app, &bench.tenant, ADA, "ada@a.example", PASSWORD).await.unwrap();
    bench.sign_in(ADA, "ada@a.example").await;
}

/// Words stand on a page, the admin alone is shown where they are erased there, and then they are gone.
async fn goes(bench: &Bench, page: &str, words: &str, digest: BlobHash) {
    let (name, url) = (digest.to_string(), format!("/erase?what=note&#38;name={digest}"));
    let url_raw = format!("/erase?what=note&name={digest}");
    bench.get(ADA, page).await.shows(&[words, &url]);
    for user in [MARIA, DORA] {
        let seen = bench.get(user, page).await;
        assert!(seen.status != StatusCode::OK || seen.body.contains(words), "{}", seen.body);
        seen.hides(&["/erase?"]);
        let form = [("what", "note"), ("name", &*name), ("why", "x"), ("sure", "yes")];
        assert_eq!(bench.post(user, "/erase", &form).await.status, StatusCode::FORBIDDEN);
    }
    let asked = bench.get(ADA, &url_raw).await;
    asked.shows(&[words, "Are you sure?"]);
    if page.starts_with("/visits/") {
        // By the outlet and the day, not by its number.
        asked.shows(&[&format!("<a href=\"{page}\">")]).hides(&[">visit/"]);
    }
    let form = [("what", "note"), ("name", &*name), ("why", "request 9"), ("sure", "yes")];
    assert_eq!(bench.post(ADA, "/erase", &form).await.status, StatusCode::SEE_OTHER);
    bench.get(ADA, page).await.shows(&["(erased on"]).hides(&[words, &url]);
}

#[tokio::test]
async fn an_admin_erases_any_words_where_they_stand() {
    let mut bench = Bench::new().await;
    let visit = audited(&bench).await;
    comes_ada(&mut bench).await;
    let page = format!("/visits/{visit}");

    // An answer that was corrected stands in the history alone; a product that is not listed among the questions.
    let mut anna = bench.phone(ANNA, "Anna's other phone").await;
    let mut document = bench.document(visit).await;
    let old = Note::new(SCRIPT, [1; 16]).unwrap().digest();
    let said = Visit::read(&document).values[&(WORDS, Subject::Outlet)][0].recording;
    let (new, milk) =
        (Note::new("Much", [2; 16]).unwrap(), Note::new("Ola's milk", [3; 16]).unwrap());
    let answer = Value::Text(new.digest());
    let answer = Observation { check: WORDS, subject: Subject::Outlet, value: answer };
    anna.observe(&mut document, vec![answer], Vec::new(), vec![said]);
    let unlisted = Subject::Unlisted(milk.digest());
    let Observation { value, .. } = crate::price(1, 1_290);
    let price = Observation { check: PRICE, subject: unlisted, value };
    anna.observe(&mut document, vec![price], Vec::new(), Vec::new());
    anna.submit(&mut document);
    let notes = vec![new, milk];
    let (new, milk) = (notes[0].digest(), notes[1].digest());
    anna.push(&bench, &document, notes).await;
    goes(&bench, &page, "&#60;img src=x", old).await;
    goes(&bench, &page, "Ola&#39;s milk", milk).await;
    // Answers of which neither holds.
    let mut johan = bench.phone(JOHAN, "Johan's other phone").await;
    let mut document = bench.document(visit).await;
    let other = Note::new("Ola is ill", [4; 16]).unwrap();
    let (digest, value) = (other.digest(), Value::Text(other.digest()));
    let answer = Observation { check: WORDS, subject: Subject::Outlet, value };
    johan.observe(&mut document, vec![answer], Vec::new(), Vec::new());
    johan.submit(&mut document);
    johan.push(&bench, &document, vec![other]).await;
    let url =
        format!("</div> <a class=\"small muted no-print\" href=\"/erase?what=note&#38;name={new}");
    bench.get(ADA, &page).await.shows(&["id=\"conflict-3\"", &url]);
    goes(&bench, &page, "Ola is ill", digest).await;

    // A contest, and what is said in it.
    let seen = bench.get(DORA, &format!("{page}/contest")).await.field("seen");
    let contest = [("seen", &*seen), ("comment", "Ola was not there")];
    let reply = bench.post(DORA, &format!("{page}/contests"), &contest).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    let contest = Visit::read(&bench.document(visit).await).contests.remove(0);
    let answered = bench.answer(MARIA, (visit, contest.hash), "ask", "Who is Ola?").await;
    assert_eq!(answered, StatusCode::SEE_OTHER);
    let asked = Visit::read(&bench.document(visit).await).contests.remove(0).story.remove(0).1;
    goes(&bench, &page, "Ola was not there", contest.text).await;
    goes(&bench, &page, "Who is Ola?", asked.text).await;

    // Why a call was not possible.
    let closed = VisitId::of_call(bench.tenant.id, CLOSED_CALL);
    let mut document = Document::new(bench.tenant.id, closed.into());
    anna.start(&mut document, CLOSED_CALL);
    let why = Note::new("Ola is on leave", [5; 16]).unwrap();
    let (reason, note, photos) = (NotPossible::Closed, Some(why.digest()), Vec::new());
    let digest = why.digest();
    anna.record(&mut document, Act::NotPossible { reason, note, photos });
    anna.push(&bench, &document, vec![why]).await;
    let closed = format!("/visits/{closed}");
    let link = format!(
        "Ola is on leave <a class=\"small muted no-print\" href=\"/erase?what=note&#38;name={digest}"
    );
    bench.get(ADA, &closed).await.shows(&[&link]);
    goes(&bench, &closed, "Ola is on leave", digest).await;
    bench.close().await;
}

#[tokio::test]
async fn the_note_of_a_reported_outlet_is_shown_and_erased_where_it_stands() {
    let mut bench = Bench::new().await;
    comes_ada(&mut bench).await;
    let found = OutletId::from_bytes([7; 16]);
    let (list, page) = ("/outlets?show=reported", format!("/outlets/{found}"));
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document = Document::new(bench.tenant.id, found.into());
    let notes = ["Ask for Ola", "Ola opens at nine"];
    let notes = notes.map(|text| Note::new(text, [7; 16]).unwrap());
    let digests = notes.each_ref().map(Note::digest);
    for digest in digests {
        let report = OutletReport {
            by: ANNA,
            when: anna.moment(),
            place: None,
            name: "Hörnet".into(),
            address: "Odengatan 1, Stockholm".into(),
            territory: NORTH,
            distributor: GROSSIST,
            note: Some(digest),
            photos: Vec::new(),
            volume: None,
        };
        anna.write(&mut document, Entry::Report(report));
    }
    anna.push(&bench, &document, notes.to_vec()).await;
    bench.get(MARIA, list).await.shows(&["Hörnet", "Ola opens at nine"]);
    goes(&bench, list, "Ola opens at nine", digests[1]).await;
    // Once it is on the list, both are what was said of it.
    bench.add_outlet(found, "Hörnet").await;
    bench.get(MARIA, &page).await.shows(&["reported it", "(erased on"]);
    goes(&bench, &page, "Ask for Ola", digests[0]).await;
    bench.close().await;
}

#[tokio::test]
async fn no_byte_of_an_address_is_left_of_who_was_erased() {
    const EMAIL: &str = "j.quillfeather@g.example";
    let mut bench = Bench::new().await;
    comes_ada(&mut bench).await;
    people::open_account(&bench.app, &bench.tenant, JOHAN, EMAIL, PASSWORD).await.unwrap();
    // The database and its log of writes, as they are while the server runs.
    let left = || {
        let files = ["endcap.db", "endcap.db-wal"].map(|name| bench.folder.join(name));
        let all = files.map(|file| std::fs::read(file).unwrap()).concat();
        all.windows(EMAIL.len()).any(|part| part == EMAIL.as_bytes())
    };
    assert!(left());
    let leaves = format!("/people/{JOHAN}/active");
    assert_eq!(bench.post(ADA, &leaves, &[("active", "no")]).await.status, StatusCode::SEE_OTHER);
    let name = JOHAN.to_string();
    let form = [("what", "person"), ("name", &*name), ("why", "request 8"), ("sure", "yes")];
    let erased = bench.post(ADA, "/erase", &form).await;
    assert_eq!(erased.status, StatusCode::SEE_OTHER, "{}", erased.body);
    assert!(!left());
    bench.close().await;
}

#[tokio::test]
async fn a_report_says_that_the_log_of_writes_could_not_be_cut_until_it_was() {
    const NOT_CUT: &str = "endcap.db-wal";
    let mut bench = Bench::new().await;
    let visit = audited(&bench).await;
    comes_ada(&mut bench).await;
    let said = Visit::read(&bench.document(visit).await).values[&(WORDS, Subject::Outlet)].clone();
    let Value::Text(digest) = said[0].value else { panic!("it is text") };
    let left = |bench: &Bench| {
        let log = std::fs::read(bench.folder.join(NOT_CUT)).unwrap();
        log.windows(SCRIPT.len()).any(|part| part == SCRIPT.as_bytes())
    };
    // Somebody reads: a backup, a check.
    let reader = rusqlite::Connection::open(bench.folder.join("endcap.db")).unwrap();
    let reading = reader.unchecked_transaction().unwrap();
    reading.query_row("SELECT count(*) FROM note", [], |row| row.get::<_, i64>(0)).unwrap();
    let name = digest.to_string();
    let form = [("what", "note"), ("name", &*name), ("why", "request 9"), ("sure", "yes")];
    let erased = bench.post(ADA, "/erase", &form).await;
    assert_eq!(erased.status, StatusCode::SEE_OTHER, "{}", erased.body);
    let report = bench.get(ADA, "/data").await.body;
    let at = report.find("/erasures/").unwrap();
    let report = report[at..].split('"').next().unwrap().to_owned();
    bench.get(ADA, &report).await.shows(&[NOT_CUT]);
    server::jobs::run(&bench.app, server::now_ms()).await.unwrap();
    bench.get(ADA, &report).await.shows(&[NOT_CUT]);
    assert!(left(&bench));
    reading.commit().unwrap();
    server::jobs::run(&bench.app, server::now_ms()).await.unwrap();
    bench.get(ADA, &report).await.shows(&["backups"]).hides(&[NOT_CUT]);
    assert!(!left(&bench));
    bench.close().await;
}

#[tokio::test]
async fn no_form_of_before_brings_back_what_was_erased_of_a_person() {
    let mut bench = Bench::new().await;
    comes_ada(&mut bench).await;
    let page = format!("/people/{MARIA}");
    let shown = bench.get(ADA, &page).await;
    shown.shows(&["New password"]);
    let [was_name, was_role, was_scope] =
        ["was_name", "was_role", "was_scope"].map(|field| shown.field(field));
    assert_eq!(was_name, "Maria Ståhl");
    let name = MARIA.to_string();
    let leaves = bench.post(ADA, &format!("{page}/active"), &[("active", "no")]).await;
    assert_eq!(leaves.status, StatusCode::SEE_OTHER);
    let form = [("what", "person"), ("name", &*name), ("why", "request 8"), ("sure", "yes")];
    assert_eq!(bench.post(ADA, "/erase", &form).await.status, StatusCode::SEE_OTHER);
    // Nothing is kept anew of who has left.
    let reset = bench.post(ADA, &format!("{page}/password"), &[("email", "m@a.example")]).await;
    assert_eq!(reset.status, StatusCode::UNPROCESSABLE_ENTITY);
    bench.get(ADA, &page).await.shows(&["Erased person"]).hides(&["New password"]);
    let code = people::code_for(&bench.app, &bench.tenant, MARIA).await;
    assert_eq!(code.unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
    // Of a page from before only what its reader has changed counts.
    let edited = [
        ("name", &*was_name),
        ("role", "rep"),
        ("scope", &*was_scope),
        ("was_name", &*was_name),
        ("was_role", &*was_role),
        ("was_scope", &*was_scope),
    ];
    assert_eq!(bench.post(ADA, &page, &edited).await.status, StatusCode::SEE_OTHER);
    let maria = bench.tenant.world().people[&MARIA].clone();
    assert_eq!((&*maria.name, maria.role, maria.active), ("Erased person", Role::Rep, false));
    let elsewhere = format!("t.{}", TerritoryId::from_bytes([1; 16]));
    let moved = [
        ("name", &*was_name),
        ("role", &*was_role),
        ("scope", &*elsewhere),
        ("was_name", &*was_name),
        ("was_role", &*was_role),
        ("was_scope", &*was_scope),
    ];
    assert_eq!(bench.post(ADA, &page, &moved).await.status, StatusCode::SEE_OTHER);
    let maria = bench.tenant.world().people[&MARIA].clone();
    assert_eq!((&*maria.name, maria.role), ("Erased person", Role::Rep), "another's change stays");
    assert_eq!(maria.scope, Scope::Territory(TerritoryId::from_bytes([1; 16])));
    assert!(crate::field::checked(&bench).is_clean());
    bench.close().await;
}

#[tokio::test]
async fn an_erasure_is_done_again_in_a_folder_that_does_not_know_who_asked_for_it() {
    let mut bench = Bench::new().await;
    comes_ada(&mut bench).await;
    let target = Target::Photo(BlobHash::of(b"a face"));
    let erased = erase::erase(&bench.app, &bench.tenant, target, Some(ADA), "request 11", true);
    let erased = erased.await.unwrap();
    let report = erase::report(&bench.app, &bench.tenant, &erased).await.unwrap();
    assert_eq!(report.by, Some(ADA.to_string()));
    let before = Bench::new().await;
    let done = erase::again(&before.app, &before.tenant, &[report]).await;
    assert_eq!(done.map_err(|problem| problem.sentence()), Ok(1));
    before.close().await;
    bench.close().await;
}
