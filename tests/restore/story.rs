//! What was written after the backup comes back from phones.

use std::process::Command;
use std::sync::Arc;

use endcap_mobile::{Client, ClientError};
use rusqlite::Connection;
use sync_core::id::UserId;
use tests::brand::{self, RITA, SAM, SVEN};
use tests::host::{Host, SHARED, Work, begin, open, photo, record, run, well, work};

use crate::ENDCAP;

/// Screens of each phone while the backup is made. Each is synced; more would be too often for the server.
const SCREENS: usize = 12;

/// Works and syncs until it has done its screens.
async fn works(client: Arc<Client>, visit: String) {
    for screen in 0..SCREENS {
        let photos = if screen % 4 == 0 { vec![photo(&client, screen as u8)] } else { Vec::new() };
        record(&client, &visit, screen % 2 == 0, photos);
        Arc::clone(&client).sync(None, None).await.expect("it syncs");
    }
}

fn of(work: &Work, person: UserId) -> usize {
    let name = person.to_string().replace('-', "").to_uppercase();
    work.changes.iter().filter(|change| change.ends_with(&name)).count()
}

#[test]
fn what_a_restored_server_has_lost_comes_back_from_phones() {
    let mut host = Host::new(ENDCAP);
    let (rita, sam, sven) = (host.phone(RITA), host.phone(SAM), host.phone(SVEN));
    let visit = begin(&rita, SHARED);
    begin(&sam, SHARED);
    let south = begin(&sven, 3);
    record(&rita, &visit, true, vec![photo(&rita, 12)]);
    host.sync(&rita);
    well(host.backup("backup"));

    // A backup after the other while all of them work.
    let at_work = [(&rita, &visit), (&sam, &visit), (&sven, &south)]
        .map(|(client, visit)| host.runtime.spawn(works(Arc::clone(client), visit.clone())));
    let mut backups = 0;
    while at_work.iter().any(|work| !work.is_finished()) {
        let said = well(host.backup("backup"));
        assert!(said.contains("Nordic Oats: ") && said.contains(" lines of log"), "{said}");
        backups += 1;
    }
    for work in at_work {
        host.runtime.block_on(work).expect("all of their screens are synced");
    }
    assert!(backups > 0);
    well(host.check("backup"));
    well(host.check("data"));

    // What the backup does not have: they build on one another, talk, take photos and submit.
    for (client, number) in [(&rita, 5), (&sam, 6), (&rita, 7), (&sam, 9)] {
        host.sync(client);
        record(client, &visit, true, vec![photo(client, number)]);
        client.comment(visit.clone(), "The end cap is blocked".into(), None).expect("it is said");
        host.sync(client);
    }
    rita.submit(visit.clone()).expect("it is submitted");
    record(&sven, &south, true, vec![photo(&sven, 11)]);
    for client in [&rita, &sam, &sven] {
        host.sync(client);
    }

    host.end("-KILL");
    let before = work(&host.data());
    assert!(before.changes.len() > 3 * SCREENS && before.photos.len() >= 5);
    std::fs::remove_dir_all(host.data()).expect("the folder is lost");
    let said = well(host.restore("backup", "data"));
    assert!(said.contains("Phones notice") && said.contains("endcap serve"), "{said}");
    well(host.check("data"));
    let restored = work(&host.data());
    assert!(restored.changes.len() < before.changes.len());
    host.start();

    // Sam brings what is Rita's too.
    let report = host.sync(&sam);
    assert!(report.pushed > 0 && report.refused == 0, "{report:?}");
    host.sync(&sven);
    host.end("-TERM");
    let without_rita = work(&host.data());
    assert!(of(&restored, RITA) < of(&before, RITA));
    assert_eq!(without_rita.changes, before.changes, "Sam had seen all of hers");
    assert!(without_rita.photos.len() < before.photos.len(), "her photos only she has");
    well(host.check("data"));

    host.start();
    for client in [&rita, &sam, &sven] {
        host.sync(client);
    }
    for client in [&rita, &sam, &sven] {
        let report = host.sync(client);
        assert_eq!((report.pushed, report.refused, report.photos), (0, 0, 0), "nothing is left");
        let outstanding = client.outstanding().expect("it reads");
        assert!(outstanding.documents.is_empty() && outstanding.photos == 0);
    }
    let seen = |client: &Arc<Client>| {
        let seen = client.visit(visit.clone()).expect("it is here");
        let recordings: Vec<String> = seen.recordings.into_iter().map(|r| r.id).collect();
        (seen.status, recordings)
    };
    assert_eq!(seen(&rita), seen(&sam));
    host.end("-TERM");
    assert_eq!(work(&host.data()), before, "all of it is back, once");
    well(host.check("data"));
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, u64>(0)).expect("a count");
    assert_eq!(count("SELECT count(*) FROM origin"), 2);
    assert_eq!(count("SELECT count(*) FROM quarantine"), 0);
    assert_eq!(count("SELECT sum(forked) FROM device"), 0, "nobody is taken for a copy");
}

#[test]
fn of_photos_whose_files_were_freed_those_wait_that_nobody_has() {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, vec![photo(&rita, 5)]);
    host.sync(&rita);
    well(host.backup("backup"));
    record(&rita, &visit, true, vec![photo(&rita, 6)]);
    host.sync(&rita);
    assert!(rita.free_space().expect("there is room") > 0);
    host.end("-KILL");
    std::fs::remove_dir_all(host.data()).expect("the folder is lost");
    well(host.restore("backup", "data"));
    host.start();
    // The server says of one that it has it. The other is lost, and its person is told so until they know.
    let report = host.sync(&rita);
    assert_eq!((report.refused, report.photos, report.unreadable), (0, 1, 1), "{report:?}");
    let outstanding = rita.outstanding().expect("it reads");
    assert_eq!((outstanding.photos, outstanding.unreadable.len()), (0, 1));
    rita.forget_unreadable().expect("she knows");
    let report = host.sync(&rita);
    assert_eq!((report.photos, report.unreadable), (0, 0));
    assert_eq!(work(&host.data()).photos.len(), 1);
    host.end("-TERM");
}

/// Whether her own push is the first that the restored server hears of, or a colleague brings her lost work before it.
#[test]
fn a_phone_with_unsent_work_is_not_taken_for_a_copy_after_a_restore() {
    for colleague_first in [false, true] {
        let mut host = Host::new(ENDCAP);
        let (rita, sam) = (host.phone(RITA), host.phone(SAM));
        let visit = begin(&rita, SHARED);
        host.sync(&rita);
        well(host.backup("backup"));
        record(&rita, &visit, true, Vec::new());
        host.sync(&rita);
        host.sync(&sam);
        record(&rita, &visit, false, Vec::new());
        host.end("-KILL");
        std::fs::remove_dir_all(host.data()).expect("the folder is lost");
        well(host.restore("backup", "data"));
        host.start();
        if colleague_first {
            assert!(host.sync(&sam).pushed > 0, "he brings what is hers");
        }
        for _ in 0..2 {
            let report = host.sync(&rita);
            assert!(!report.copied, "{colleague_first} {report:?}");
            record(&rita, &visit, true, Vec::new());
        }
        assert!(!host.sync(&rita).copied);
        assert!(rita.outstanding().expect("it reads").documents.is_empty(), "all of it is back");
        host.end("-TERM");
        let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
        let forked = db.query_row("SELECT sum(forked) FROM device", [], |row| row.get::<_, u64>(0));
        assert_eq!(forked, Ok(0), "{colleague_first}");
        well(host.check("data"));
    }
}

#[test]
fn a_copied_phone_stands_on_the_page_of_its_person() {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    host.sync(&rita);
    drop(rita);
    let [own, copy] = [format!("phone-{RITA}"), "copy".to_owned()].map(|n| host.folder.join(&n));
    well(run(Command::new("cp").arg("-r").args([&own, &copy])));
    let sue = host.sign_in();
    let page = |host: &Host| host.page(&sue, &format!("/people/{RITA}"));
    let told = "Another copy of this phone’s store has pushed, once.";
    let both = [own, copy].map(|folder| open(&folder));
    // What two write in the same place cannot both stand there.
    let elsewhere = |client: &Client| {
        for work in client.outstanding().expect("it reads").documents {
            assert_eq!(work.refused.as_deref(), Some("forked"));
            client.propose_again(work.document).expect("it is proposed");
        }
    };
    let mut pushes = 0;
    while pushes == 0 || !page(&host).contains(told) {
        assert!(pushes < 6, "it does not show");
        let client = &both[pushes % 2];
        elsewhere(client);
        record(client, &visit, pushes.is_multiple_of(3), Vec::new());
        let copied = host.sync(client).copied;
        assert_eq!(copied, page(&host).contains(told), "whose push shows it hears of it");
        pushes += 1;
    }
    assert!(pushes > 2, "one that has pushed alone is none");
    for client in &both {
        elsewhere(client);
        host.sync(client);
        let unsent = client.outstanding().expect("it reads").documents;
        assert!(unsent.is_empty(), "nothing of either is lost: {unsent:?}");
    }
    host.end("-TERM");
    assert_eq!(of(&work(&host.data()), RITA), 1 + pushes);
}

/// When a key has signed what it brings from before its enrolment nobody can tell: where rights have changed since, a
/// supervisor decides.
#[test]
fn what_a_forgotten_phone_wrote_before_a_move_is_late_and_can_be_let_in() {
    let mut host = Host::new(ENDCAP);
    well(host.backup("backup"));
    let sven = host.phone(SVEN);
    let visit = begin(&sven, 3);
    record(&sven, &visit, true, Vec::new());
    host.end("-KILL");
    std::fs::remove_dir_all(host.data()).expect("the folder is lost");
    well(host.restore("backup", "data"));
    host.renew_code(SVEN);
    let outlet = sven.visit(visit.clone()).expect("it is here").outlet;
    let number = (1..=4).find(|n| brand::outlet(*n).to_string() == outlet).expect("an outlet");
    host.write(vec![brand::outlet_record(number, 1, 2)]);
    host.start();
    let server = format!("http://{}", host.address());
    let enrolled = Arc::clone(&sven).enrol(server, host.code(SVEN).into(), "phone".into());
    host.runtime.block_on(enrolled).expect("he is enrolled again");
    host.sync(&sven);
    let [waits] = &sven.outstanding().expect("it reads").documents[..] else { panic!("one waits") };
    assert_eq!((waits.refused.as_deref(), waits.entries), (Some("late"), 2));
    host.end("-TERM");
    host.decide(1, true);
    host.start();
    host.sync(&sven);
    assert!(sven.outstanding().expect("it reads").documents.is_empty(), "nothing of it is lost");
    host.end("-TERM");
    assert_eq!(of(&work(&host.data()), SVEN), 2);
}

#[test]
fn a_phone_that_was_enrolled_after_the_backup_is_not_known() {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    host.sync(&rita);
    well(host.backup("backup"));
    let sam = host.phone(SAM);
    begin(&sam, SHARED);
    record(&sam, &visit, true, Vec::new());
    host.sync(&sam);
    host.sync(&rita);
    record(&rita, &visit, false, Vec::new());
    host.sync(&rita);
    host.end("-KILL");
    std::fs::remove_dir_all(host.data()).expect("the folder is lost");
    well(host.restore("backup", "data"));
    host.renew_code(SAM);
    host.start();
    let told = host.runtime.block_on(Arc::clone(&sam).sync(None, None));
    assert!(matches!(told, Err(ClientError::Forgotten)), "{told:?}");
    assert!(sam.visit(visit.clone()).is_ok(), "what it holds stays on it");
    let report = host.sync(&rita);
    assert!(report.refused > 0, "{report:?}");
    let apart = |host: &Host| {
        let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
        let mut query = db
            .prepare("SELECT code || ' ' || state FROM quarantine ORDER BY code")
            .expect("a query");
        let rows = query.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        rows.collect::<Result<Vec<_>, _>>().expect("they read")
    };
    assert_eq!(apart(&host), ["foreign_actor waiting", "missing_parent waiting"]);

    // She goes on without his work, which waits for him.
    rita.propose_again(format!("visit/{visit}")).expect("hers stands without his");
    let report = host.sync(&rita);
    assert_eq!((report.pushed, report.refused), (1, 0));
    assert!(rita.outstanding().expect("it reads").documents.is_empty());
    assert_eq!(apart(&host), ["foreign_actor waiting", "missing_parent proposed_again"]);
    let server = format!("http://{}", host.address());
    let enrolled = Arc::clone(&sam).enrol(server, host.code(SAM).into(), "phone".into());
    host.runtime.block_on(enrolled).expect("he is enrolled again");
    host.sync(&sam);
    host.sync(&rita);
    assert!(sam.outstanding().expect("it reads").documents.is_empty());
    let recordings = |client: &Arc<Client>| {
        let visit = client.visit(visit.clone()).expect("it is here");
        visit.recordings.into_iter().map(|r| r.id).collect::<Vec<_>>()
    };
    assert_eq!(recordings(&rita), recordings(&sam));
    host.end("-TERM");
    well(host.check("data"));
    let work = work(&host.data());
    assert_eq!((of(&work, RITA), of(&work, SAM)), (2, 2), "all of both, once");
}
