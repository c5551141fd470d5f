//! Times that a phone claims, told apart from their bounds.

use axum::http::StatusCode;
use jiff::civil::Date;
use sync_core::document::{Document, Entry};
use sync_core::id::{OutletId, VisitId};
use sync_core::model::capture::Moment;
use sync_core::model::visit::{Act, Note, OutletReport, Post, Recording, Submission, Versioned};

use crate::dispute::write;
use crate::{ANNA, Bench, CALL, GROSSIST, MARIA, NORTH, OUTLET, audited, today};

#[tokio::test]
async fn a_capture_across_midnight_says_that_its_day_is_a_claim_wherever_its_time_stands() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let date: Date = today().to_string().parse().unwrap();
    let midnight = date.in_tz("Europe/Stockholm").unwrap().timestamp().as_millisecond();
    // What the phone knew is from an hour before midnight; it claims five minutes before, and is heard after.
    write(&bench, format!("UPDATE log SET at_ms = {}", midnight - 3_600_000)).await;
    let when = Moment {
        wall_ms: midnight - 300_000,
        boot: 9,
        boot_ms: 5,
        anchor: 1,
        skew_ms: Some(0),
        life: None,
    };
    let notes = ["Is it so?", "They open late", "Ask for Ola"];
    let notes = notes.map(|text| Note::new(text, [8; 16]).unwrap());
    let [said, of_outlet, of_report] = notes.each_ref().map(Note::digest);
    let post = |text| Entry::Post(Post::new(ANNA, when, text));
    let visit = VisitId::of_call(bench.tenant.id, CALL);
    let mut document = Document::new(bench.tenant.id, visit.into());
    let act = Act::Start {
        outlet: OUTLET,
        call: Some(CALL),
        territory: NORTH,
        distributor: GROSSIST,
        template: Versioned { number: 1, version: 1 },
    };
    anna.write(&mut document, Entry::Recording(Recording { by: ANNA, when, place: None, act }));
    anna.write(&mut document, post(said));
    anna.write(&mut document, Entry::Submission(Submission { by: ANNA, when, place: None }));
    anna.push(&bench, &document, notes.to_vec()).await;
    let mut document = Document::new(bench.tenant.id, OUTLET.into());
    anna.write(&mut document, post(of_outlet));
    anna.push(&bench, &document, notes.to_vec()).await;
    let found = OutletId::from_bytes([7; 16]);
    let mut document = Document::new(bench.tenant.id, found.into());
    let report = OutletReport {
        by: ANNA,
        when,
        place: None,
        name: "Hörnet".into(),
        address: "Odengatan 1, Stockholm".into(),
        territory: NORTH,
        distributor: GROSSIST,
        note: Some(of_report),
        photos: Vec::new(),
        volume: None,
    };
    anna.write(&mut document, Entry::Report(report));
    anna.push(&bench, &document, notes.to_vec()).await;

    let yesterday = date.yesterday().unwrap();
    let day = |date: Date| date.strftime("%-d %b").to_string();
    let counts =
        format!("It counts on {0}; these bounds allow {0} to {1}.", day(yesterday), day(date));
    // Each time that the phone claims has its bounds in its tooltip.
    let told = |body: &str| {
        let claim = format!("<time datetime=\"{yesterday}T23:55:00");
        let tags = body.split(&claim).skip(1).map(|rest| rest.split('>').next().unwrap());
        let bare =
            |tag: &&str| !tag.contains("title=\"Claimed. Not before ") || !tag.contains(&counts);
        assert_eq!(tags.clone().find(bare), None, "{body}");
        tags.count()
    };
    let details = format!("<summary>claimed by the device</summary>Not before {}", day(yesterday));
    let item = |body: &str, text: &str| {
        let (_, rest) = body.split_once(&format!("<blockquote>{text}</blockquote>")).unwrap();
        rest.split("</li>").next().unwrap().to_owned()
    };

    let url = format!("/visits/{visit}");
    let page = bench.get(MARIA, &url).await;
    page.shows(&[&format!("<span class=\"small muted\">{counts}</span>")]);
    page.shows(&[
        &format!("submitted <time datetime=\"{yesterday}T23:55:00"),
        ">23:55</time> to <time",
    ]);
    assert!(told(&page.body) >= 6, "{}", page.body);
    let wrote = item(&page.body, "Is it so?");
    assert!(wrote.contains(&details) && wrote.contains(&counts), "{wrote}");
    // What is written here is no claim.
    let comment = bench.post(MARIA, &format!("{url}/comments"), &[("comment", "It is")]).await;
    assert_eq!(comment.status, StatusCode::SEE_OTHER);
    assert!(!item(&bench.get(MARIA, &url).await.body, "It is").contains("claimed"));

    let page = bench.get(MARIA, &format!("/outlets/{OUTLET}")).await;
    assert_eq!(told(&page.body), 1);
    let wrote = item(&page.body, "They open late");
    assert!(wrote.contains(&details) && wrote.contains(&counts), "{wrote}");
    assert_eq!(told(&bench.get(MARIA, "/outlets?show=reported").await.body), 1);
    // The first page says when the server heard of it.
    let page = bench.get(MARIA, "/").await;
    page.shows(&["Hörnet"]);
    assert_eq!(told(&page.body), 0);

    // Once the outlet is on the list, the day of its report is told as a claim too.
    bench.add_outlet(found, "Hörnet").await;
    let page = bench.get(MARIA, &format!("/outlets/{found}")).await;
    page.shows(&[&format!("Odengatan 1, Stockholm. {counts}")]);
    let reported = item(&page.body, "Ask for Ola");
    assert!(reported.contains(&details) && reported.contains(&counts), "{reported}");
    bench.close().await;
}

#[tokio::test]
async fn what_was_written_here_under_a_former_key_is_still_no_claim() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let url = format!("/visits/{visit}");
    let heads = bench.get(MARIA, &url).await.field("heads");
    let said = "Thank you both";
    let form = [("decision", "approve"), ("heads", &*heads), ("comment", said)];
    let approved = bench.post(MARIA, &format!("{url}/review"), &form).await;
    assert_eq!(approved.status, StatusCode::SEE_OTHER, "{}", approved.body);
    let note = Note::new("Ring twice", [9; 16]).unwrap();
    let text = note.digest();
    let post = move |when| Entry::Post(Post::new(MARIA, when, text));
    bench.app.act(&bench.tenant, OUTLET.into(), Some(note), post).await.unwrap();
    let read = async |bench: &Bench| {
        let (visit, outlet) = (bench.get(MARIA, &url).await, format!("/outlets/{OUTLET}"));
        let outlet = bench.get(MARIA, &outlet).await;
        for (page, text) in [(&visit.body, said), (&outlet.body, "Ring twice")] {
            let (_, rest) = page.split_once(&format!("<blockquote>{text}</blockquote>")).unwrap();
            let item = rest.split("</li>").next().unwrap();
            assert!(!item.contains("claimed"), "{item}");
        }
        assert!(visit.body.matches("console").count() > 0);
        // How many times are claims, and how often the page says that it was the console.
        [&visit.body, &outlet.body].map(|body| {
            (
                body.matches("Claimed.").count(),
                body.matches("· console").count(),
                body.matches(">console<").count(),
            )
        })
    };
    let before = read(&bench).await;
    let bench = bench.with_another_key().await;
    assert_eq!(read(&bench).await, before);
    bench.close().await;
}
