//! The server signs with another key: what was signed before holds, and what the key before signs now does not.

use endcap_mobile::Client;
use rusqlite::Connection;
use server::app::App;
use server::store::log;
use sync_core::document::Entry;
use sync_core::id::VisitId;
use sync_core::model::visit::{Note, Review, Verdict};
use sync_core::proof::verify;
use tests::brand::{RITA, SAM, SUE};
use tests::host::{Host, SHARED, begin, meet, record, well};

use crate::{endcap, prove};

/// Sue says in the console what she thinks of a visit, while nobody serves.
fn review(host: &Host, visit: &str, said: &'static str) {
    let visit: VisitId = visit.parse().expect("a visit");
    host.runtime.block_on(async {
        let app = App::open(host.data()).await.expect("the folder opens");
        let tenant = app.tenants().remove(0);
        let (org, id) = (tenant.org, tenant.id);
        let held = app.store.read(move |db| log::document(db, org, id, visit.into()));
        let heads = held.await.expect("it reads").document.heads().to_vec();
        let note = Note::new(said, [said.len() as u8; 16]).expect("a note");
        let (digest, verdict) = (note.digest(), Verdict::SentBack);
        let entry = move |when| {
            Entry::Review(Review { by: SUE, when, verdict, heads, comment: Some(digest) })
        };
        app.act(&tenant, visit.into(), Some(note), entry).await.expect("it is said");
        app.store.close();
    });
}

fn change_key(host: &Host) {
    let said = well(endcap(["server-key", "--data", host.data().to_str().expect("UTF-8")]));
    assert!(said.contains("with another key from now on"), "{said}");
}

fn reviews(client: &Client, visit: &str) -> Vec<String> {
    let visit = client.visit(visit.to_owned()).expect("it is here");
    visit.reviews.into_iter().map(|review| review.comment).collect()
}

fn count(host: &Host, sql: &str) -> u64 {
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    db.query_row(sql, [], |row| row.get(0)).expect("a number")
}

#[test]
fn what_was_signed_and_sealed_before_holds() {
    let mut host = Host::new(crate::ENDCAP);
    let (rita, sam) = (host.phone(RITA), host.phone(SAM));
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, Vec::new());
    rita.submit(visit.clone()).expect("it is submitted");
    host.sync(&rita);
    host.sync(&sam);
    host.end("-TERM");
    review(&host, &visit, "Look again");

    // Rita's phone does not come back: Sam's carries what it had sealed to the key of before.
    let other = begin(&rita, 1);
    record(&rita, &other, true, Vec::new());
    assert!(meet([&rita, &sam]).iter().all(|report| report.complete));
    change_key(&host);
    change_key(&host);
    well(host.check("data"));
    review(&host, &visit, "And again");
    well(host.check("data"));
    host.start();
    let sql = "SELECT count(*) FROM log WHERE document IS NOT NULL";
    let before = count(&host, sql);
    host.sync(&sam);
    assert_eq!(count(&host, sql), before + 2, "a start and a recording");
    host.sync(&rita);
    assert_eq!(count(&host, sql), before + 2, "they are there already");
    for phone in [&rita, &sam] {
        assert_eq!(reviews(phone, &visit), ["Look again", "And again"]);
    }
    // What is sealed from now on is sealed to the new one.
    record(&rita, &other, false, Vec::new());
    assert!(meet([&rita, &sam]).iter().all(|report| report.complete));
    host.sync(&sam);
    assert_eq!(count(&host, sql), before + 3);

    let proved = verify(&std::fs::read(prove(&host, &visit, "v.zip", false)).expect("it reads"));
    let summary = proved.expect("sound").summary;
    assert_eq!(summary.matches("in the console: signed by the server").count(), 2, "{summary}");
    if let Some(output) = crate::python(&[host.folder.join("v.zip").as_os_str()]) {
        well(output);
    }
    let backup = well(host.backup("backup"));
    assert!(backup.contains("read back"), "{backup}");
}

#[test]
fn what_the_key_before_signs_is_for_a_supervisor_to_decide() {
    let mut host = Host::new(crate::ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, Vec::new());
    rita.submit(visit.clone()).expect("it is submitted");
    host.sync(&rita);
    well(host.backup("stolen"));
    host.end("-TERM");
    review(&host, &visit, "Look again");
    host.start();
    host.sync(&rita);
    host.end("-TERM");

    // The server is lost, and comes back from a backup that somebody else may have too.
    std::fs::remove_dir_all(host.data()).expect("the folder is lost");
    well(host.restore("stolen", "data"));
    change_key(&host);
    host.start();
    host.sync(&rita);
    let waits =
        "SELECT count(*) FROM quarantine WHERE code = 'revoked_device' AND state = 'waiting'";
    assert_eq!(count(&host, waits), 1, "Sue's words, as the phone had them");
    well(host.check("data"));
}
