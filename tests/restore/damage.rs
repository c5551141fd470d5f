//! Whatever is flipped, `check` says where.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use endcap_mobile::ClientError;
use rusqlite::{Connection, Row, params};
use server::app::App;
use server::check::Report;
use server::looks;
use server::store::log::Ledger;
use server::store::quarantine::Reason;
use server::store::tree;
use sync_core::evidence::Seal;
use sync_core::id::{BlobHash, DeviceId, DocId, VisitId};
use sync_core::model::catalogue::{Display, Outlet, Record, RecordKey};
use sync_core::model::people::{Audience, Scope};
use sync_core::wire::Group;
use tests::brand::{self, ORG, RITA, SAM, SVEN};
use tests::host::{Host, SHARED, badly, begin, meet, photo, record, run, well};

use crate::ENDCAP;

fn check(data: &Path) -> Report {
    server::backup::check(data, &mut |_, _, _| {}).expect("it can be read")
}

#[track_caller]
fn names(data: &Path, what: &str) {
    let damage = check(data).damage;
    let named = damage.iter().any(|damage| damage.to_string().contains(what));
    assert!(named, "`{what}` is not among {damage:?}");
}

/// A server that has worked and was stopped.
fn worked() -> Host {
    let mut host = Host::new(ENDCAP);
    let (rita, sam) = (host.phone(RITA), host.phone(SAM));
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, vec![photo(&rita, 1)]);
    rita.comment(visit.clone(), "Ask the manager".into(), None).expect("it is said");
    rita.submit(visit.clone()).expect("it is submitted");
    host.sync(&rita);
    host.sync(&sam);
    begin(&sam, SHARED);
    record(&sam, &visit, false, Vec::new());
    host.sync(&sam);
    host.end("-TERM");
    well(host.check("data"));
    host
}

/// Each byte of one value, flipped alone; after each, `then`.
fn flips(db: &Connection, table: &str, column: &str, of: &str, then: impl FnMut(usize)) {
    some_flips(db, table, column, of, 1, then);
}

/// One byte in so many of a value.
fn some_flips(
    db: &Connection,
    table: &str,
    column: &str,
    of: &str,
    in_so_many: usize,
    mut then: impl FnMut(usize),
) {
    let select = format!("SELECT {column} FROM {table} WHERE {of}");
    let update = format!("UPDATE {table} SET {column} = ?1 WHERE {of}");
    let bytes: Vec<u8> = db.query_row(&select, [], |row| row.get(0)).expect("a value");
    assert!(!bytes.is_empty());
    for at in (0..bytes.len()).step_by(in_so_many) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_eq!(db.execute(&update, [&flipped]), Ok(1));
        then(at);
    }
    assert_eq!(db.execute(&update, [&bytes]), Ok(1));
}

#[test]
fn what_cannot_be_read_keeps_no_phone_from_what_is_new() {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, Vec::new());
    host.sync(&rita);
    host.end("-TERM");
    let Record::Outlet(outlet) = brand::outlet_record(99, 1, 1) else { unreachable!() };
    host.write(vec![Record::Outlet(Outlet { name: "Newcomer".into(), ..outlet })]);
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    let document = DocId::from(visit.parse::<VisitId>().expect("its id")).to_bytes();
    let rot = "UPDATE log SET body = x'00' WHERE document = ?1";
    assert!(db.execute(rot, [document]).expect("it rots") > 0);
    drop(db);
    host.start();
    let [first, last] = [4, 8].map(|call| begin(&rita, call));
    record(&rita, &first, true, Vec::new());
    record(&rita, &visit, false, Vec::new());
    record(&rita, &last, true, Vec::new());
    let met = host.runtime.block_on(Arc::clone(&rita).sync(None, None));
    let met = met.expect_err("its visit does not read");
    assert!(matches!(&met, ClientError::Busy { code, .. } if code == "internal"), "{met}");
    let found = rita.find_outlets("Newcomer".into(), 1).expect("they read");
    assert_eq!(found.len(), 1, "it has come all the same");
    let waits = rita.outstanding().expect("it is known").documents;
    assert_eq!(waits.len(), 1, "it alone waits");
    assert_eq!(waits[0].document, format!("visit/{visit}"));
}

#[test]
fn what_cannot_be_read_keeps_nothing_else_of_what_a_colleague_brings() {
    let mut host = Host::new(ENDCAP);
    let (rita, sam) = (host.phone(RITA), host.phone(SAM));
    let visit = begin(&rita, SHARED);
    for phone in [&rita, &sam] {
        host.sync(phone); // each knows the other
    }
    host.end("-TERM");
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    let document = DocId::from(visit.parse::<VisitId>().expect("its id")).to_bytes();
    let whole: Vec<u8> = db
        .query_row("SELECT body FROM log WHERE document = ?1", [document], |row| row.get(0))
        .expect("one line");
    let body = "UPDATE log SET body = ?2 WHERE document = ?1";
    assert_eq!(db.execute(body, params![document, [0_u8]]), Ok(1));
    host.start();
    record(&rita, &visit, true, Vec::new());
    for call in [4, 8] {
        let visit = begin(&rita, call);
        record(&rita, &visit, true, Vec::new());
    }
    assert_eq!(meet([&rita, &sam])[1].taken, 3);
    let sync = || host.runtime.block_on(Arc::clone(&sam).sync(None, None));
    for _ in 0..2 {
        let met = sync().expect_err("one parcel does not go");
        assert!(matches!(&met, ClientError::Busy { code, .. } if code == "internal"), "{met}");
        let of_others = "SELECT count(*) FROM log WHERE document IS NOT NULL AND document <> ?1";
        let brought: u64 = db.query_row(of_others, [document], |row| row.get(0)).expect("a count");
        assert_eq!(brought, 4, "the others went");
    }
    assert_eq!(db.execute(body, params![document, whole]), Ok(1));
    assert_eq!(sync().expect("it reads again").delivered, 1);
}

#[test]
fn a_flipped_byte_of_a_line_is_named() {
    let host = worked();
    let data = host.data();
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let line = |of: &str| -> (u64, String) {
        let found = format!("SELECT max(sequence) FROM log WHERE {of}");
        let sequence = db.query_row(&found, [], |row| row.get(0)).expect("a line");
        (sequence, format!("sequence = {sequence}"))
    };
    let (change, of) = line("seal IS NOT NULL");
    for column in ["body", "leaf", "hash", "document", "device", "seal", "times"] {
        flips(&db, "log", column, &of, |_| names(&data, &format!("line {change} of the log: ")));
    }
    let (root, of) = line("root IS NOT NULL");
    flips(&db, "log", "root", &of, |_| names(&data, &format!("line {root} of the log: ")));
    let (record, of) = line("document IS NULL AND length(body) = 17");
    for (table, column) in
        [("log", "body"), ("log", "leaf"), ("record", "salt"), ("record", "body")]
    {
        flips(&db, table, column, &of, |_| names(&data, &format!("line {record} of the log: ")));
    }
    flips(&db, "origin", "origin", "sequence = 0", |_| names(&data, "line 0 of the log: "));
    assert!(check(&data).is_clean(), "all was put back");
    drop(db);
    well(host.check("data"));
}

#[test]
fn what_else_is_not_as_it_was_is_named() {
    let host = worked();
    let data = host.data();
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let line: u64 = db
        .query_row("SELECT max(sequence) FROM log WHERE document IS NOT NULL", [], |row| row.get(0))
        .expect("a line");
    let line = format!("line {line} of the log: ");
    for (change, what) in [
        ("UPDATE log SET at_ms = at_ms + 1 WHERE sequence = 3", "line 3 of the log: "),
        (
            "UPDATE log SET root = NULL WHERE sequence = (SELECT max(sequence) FROM log)",
            "as a whole",
        ),
        ("UPDATE log SET seal = NULL", "no signature of its device reaches"),
        ("UPDATE log SET times = x'00' WHERE document IS NOT NULL", &line),
        ("UPDATE log SET age_ms = age_ms + 1", &line),
        ("UPDATE log SET age_ms = NULL", &line),
        ("DELETE FROM log WHERE sequence = (SELECT max(sequence) FROM log)", "frontier"),
        ("DELETE FROM log WHERE sequence = 5", "line 6 of the log: a line before it is missing"),
        ("DELETE FROM record WHERE sequence = 5", "line 5 of the log: "),
        ("UPDATE organisation SET seed = randomblob(32)", "the server's key"),
        ("UPDATE organisation SET origin = randomblob(16)", "newest life"),
        ("UPDATE organisation SET frontier = x'82008180'", "frontier"),
        ("UPDATE note SET text = text || '!'", ": its words are others"),
        ("UPDATE visit SET status = 'approved'", "its row among the visits is not what it says"),
        ("UPDATE visit SET facts = x'00'", "its row among the visits is not what it says"),
        ("DELETE FROM visit", "it has no row among the visits"),
        ("UPDATE kpi_day SET numerator = numerator + 1", "the daily figures"),
        ("UPDATE photo SET here = 0", "photos are noted"),
        ("UPDATE photo SET audience = audience + 1", "photos are noted"),
        ("DELETE FROM blob", "photos are noted"),
        ("DELETE FROM bearer", "photos are noted"),
    ] {
        let other = host.folder.join("other");
        std::fs::create_dir(&other).expect("a folder is made");
        let file = other.join("endcap.db");
        db.execute("VACUUM INTO ?1", [file.to_str()]).expect("a copy");
        std::os::unix::fs::symlink(data.join("blobs"), other.join("blobs")).expect("a link");
        assert!(check(&other).is_clean());
        let copy = Connection::open(file).expect("it opens");
        copy.execute_batch(change).expect("it is changed");
        names(&other, what);
        drop(copy);
        std::fs::remove_dir_all(&other).expect("it goes");
    }
}

#[test]
fn a_photo_that_is_not_what_it_was_is_named() {
    let host = worked();
    let data = host.data();
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let hash: [u8; 32] = db.query_row("SELECT hash FROM blob", [], |row| row.get(0)).expect("one");
    let hash = BlobHash(hash).to_string();
    let file = data.join("blobs").join(ORG.to_string()).join(&hash[..2]).join(&hash);
    let bytes = std::fs::read(&file).expect("it is there");
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&file, flipped).expect("it is written");
        names(&data, &format!("photo {hash}: its file has other content"));
    }
    std::fs::write(&file, &bytes[..bytes.len() - 1]).expect("it is written");
    names(&data, &format!("photo {hash}: its file has other content"));
    std::fs::remove_file(&file).expect("it goes");
    let said = badly(host.check("data"));
    assert!(said.contains(&format!("photo {hash}: its file is missing")), "{said}");
    std::fs::write(&file, bytes).expect("it is back");
    let thumbnail = file.with_extension("thumb.jpg");
    std::fs::remove_file(&thumbnail).expect("it goes");
    names(&data, &format!("photo {hash}: its thumbnail is missing"));
}

#[test]
fn a_flipped_byte_of_the_tree_is_named() {
    let host = worked();
    let data = host.data();
    // More lines than a tile has.
    let displays = (100..400).map(|number| {
        let (name, description) = (format!("Display {number}"), String::new());
        Record::Display(Display { number, name, description })
    });
    host.write(displays.collect());
    let mut db = Connection::open(data.join("endcap.db")).expect("it opens");
    let tx = db.transaction().expect("a transaction");
    let nodes = tree::missing(&tx, 1).expect("nodes");
    tree::put(&tx, 1, &nodes).expect("they are kept");
    tx.commit().expect("it is written");
    assert!(check(&data).is_clean());
    let (level, place): (u8, u64) = db
        .query_row("SELECT level, place FROM node", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a node");
    let of = format!("level = {level} AND place = {place}");
    flips(&db, "node", "hash", &of, |_| {
        names(&data, &format!("node {place} of level {level} of the tree is another"));
    });
    assert!(check(&data).is_clean(), "all was put back");
}

#[test]
fn a_file_of_what_was_erased_is_named() {
    let host = worked();
    let data = host.data();
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let hash: [u8; 32] = db.query_row("SELECT hash FROM blob", [], |row| row.get(0)).expect("one");
    let hash = BlobHash(hash).to_string();
    let file = data.join("blobs").join(ORG.to_string()).join(&hash[..2]).join(&hash);
    well(host.backup("backup"));
    let folder = data.to_str().expect("UTF-8");
    let flags = ["erase", "--data", folder, "--photo", &hash, "--why", "request 17", "--yes"];
    well(run(Command::new(ENDCAP).args(flags)));
    assert!(!file.exists());
    well(host.check("data"));
    let what = format!("photo {hash}: it was erased, and a file of it is still here");
    for left in [file.clone(), file.with_extension("thumb.jpg"), file.with_extension("preview.jpg")]
    {
        std::fs::write(&left, b"a picture").expect("it is written");
        let said = badly(host.check("data"));
        assert!(said.contains(&what), "{said}");
        // Files that are noted as still to be removed are none of that.
        let noted = "INSERT INTO unlink SELECT org, hash FROM blob";
        db.execute(noted, []).expect("it is noted");
        well(host.check("data"));
        db.execute("DELETE FROM unlink", []).expect("it is forgotten");
        // The older backup has it, and the next one drops it.
        well(host.backup("backup"));
        well(host.check("backup"));
        std::fs::remove_file(&left).expect("it goes");
    }
}

#[test]
fn what_is_left_of_an_erased_person_is_named() {
    let mut host = Host::new(ENDCAP);
    let sven = host.phone(SVEN);
    host.sync(&sven);
    host.end("-TERM");
    let data = host.data();
    let scope = Scope::Territory(brand::territory(2));
    host.write(vec![brand::person_record(SVEN, scope, false)]);
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let (key, person) = (RecordKey::person(SVEN).to_bytes(), SVEN.to_string());
    let version = "SELECT sequence, salt, body FROM record WHERE key = ?1 ORDER BY sequence";
    let named: (u64, [u8; 16], Vec<u8>) = db
        .query_row(version, [&key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .expect("a version");
    let folder = data.to_str().expect("UTF-8");
    let flags = ["erase", "--data", folder, "--person", &person, "--why", "request 17", "--yes"];
    well(run(Command::new(ENDCAP).args(flags)));
    well(host.check("data"));
    let user = SVEN.as_bytes();
    for (left, again) in [
        (
            "UPDATE device SET label = 'Phone' WHERE user = ?1",
            "UPDATE device SET label = 'Erased' WHERE user = ?1",
        ),
        (
            "INSERT INTO account (org, user, email) VALUES (1, ?1, 'a@a.example')",
            "DELETE FROM account WHERE user = ?1",
        ),
        (
            "INSERT INTO session VALUES (x'00', 1, ?1, '', 0, 0)",
            "DELETE FROM session WHERE user = ?1",
        ),
        (
            "INSERT INTO enrolment VALUES (x'00', 1, ?1, 0, NULL)",
            "DELETE FROM enrolment WHERE user = ?1",
        ),
    ] {
        assert!(db.execute(left, [user]).expect("it is written") > 0);
        names(&data, "what it says was erased is here");
        db.execute(again, [user]).expect("it goes");
        assert!(check(&data).is_clean(), "{left}");
    }
    // A version as it was: its leaf says nothing against it.
    let (sequence, salt, body) = named;
    let back = "UPDATE record SET salt = ?2, body = ?3, digest = NULL WHERE sequence = ?1";
    assert_eq!(db.execute(back, params![sequence, salt, body]), Ok(1));
    let damage = check(&data).damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    names(&data, "what it says was erased is here");
}

#[test]
fn what_is_kept_of_a_photo_is_held_against_what_it_is_made_of() {
    let host = worked();
    let data = host.data();
    host.runtime.block_on(async {
        let app = App::open(data.clone()).await.expect("the folder opens");
        looks::catch_up(&app).await.expect("it is looked at");
        app.store.close();
    });
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    assert!(check(&data).is_clean());
    for column in ["hash", "document", "by"] {
        some_flips(&db, "photo", column, "org = 1", 5, |_| {
            names(&data, "the rows of photos are not those that its documents name");
        });
    }
    for column in ["referenced_ms", "bytes", "earliest_ms", "received_ms"] {
        let count = |by: i64| format!("UPDATE photo SET {column} = coalesce({column}, 0) + {by}");
        let before: Option<i64> = db
            .query_row(&format!("SELECT {column} FROM photo"), [], |row| row.get(0))
            .expect("a number");
        db.execute(&count(1), []).expect("it is changed");
        names(&data, "the rows of photos are not those that its documents name");
        db.execute(&format!("UPDATE photo SET {column} = ?1"), [before]).expect("as it was");
    }
    let index = "the index of what photos look like is not made of their sketches";
    let band = "place = (SELECT min(place) FROM likeness)";
    flips(&db, "likeness", "entries", band, |_| names(&data, index));
    let sketch: Vec<u8> =
        db.query_row("SELECT sketch FROM look", [], |row| row.get(0)).expect("a sketch");
    let turned: Vec<u8> = sketch.iter().rev().copied().collect();
    for other in [turned, Vec::new()] {
        db.execute("UPDATE look SET sketch = ?1", [other]).expect("it rots");
        names(&data, index);
    }
    db.execute("UPDATE look SET sketch = ?1", [sketch]).expect("as it was");
    for gone in ["DELETE FROM likeness", "DELETE FROM look"] {
        assert!(db.execute(gone, []).expect("it goes") > 0);
        names(&data, index);
    }
}

#[test]
fn a_torn_database_is_named_and_not_backed_up() {
    let host = worked();
    well(host.backup("backup"));
    let file = host.data().join("endcap.db");
    let db = Connection::open(&file).expect("it opens");
    let root = |table: &str| -> usize {
        let sql = "SELECT rootpage FROM sqlite_master WHERE name = ?1";
        db.query_row(sql, [table], |row| row.get(0)).expect("a table")
    };
    let pages = ["log", "record", "visit", "log_document"].map(root);
    drop(db);
    let whole = std::fs::read(&file).expect("it reads");
    for page in pages {
        let (mut bytes, from) = (whole.clone(), (page - 1) * 4_096);
        bytes[from..from + 4_096].fill(0xa5);
        std::fs::write(&file, bytes).expect("it is written");
        let said = badly(host.check("data"));
        assert!(said.contains("the database: ") && said.contains("is damaged"), "{said}");
        badly(host.backup("backup"));
        well(host.check("backup"));
    }
    // What the schema is read from cannot be opened at all.
    let mut bytes = whole;
    bytes[100..4_096].fill(0xa5);
    std::fs::write(&file, bytes).expect("it is written");
    let said = badly(host.check("data"));
    assert!(said.contains("cannot read") && said.contains("the store is damaged"), "{said}");
    badly(host.backup("backup"));
    well(host.check("backup"));
    let file = host.folder.join("backup/backup.db");
    std::fs::write(&file, &std::fs::read(&file).expect("it reads")[..8192]).expect("it is cut");
    let said = badly(host.restore("backup", "new"));
    assert!(said.contains("the database: ") || said.contains("cannot read"), "{said}");
    assert!(!host.folder.join("new").exists());
}

/// All that is derived from a visit is in its row, and nothing else is.
#[test]
fn a_flipped_byte_of_a_visits_row_is_named() {
    let host = worked();
    let data = host.data();
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let what = "its row among the visits is not what it says";
    for column in ["outlet", "territory", "distributor", "call", "people", "facts"] {
        flips(&db, "visit", column, "org = 1", |_| names(&data, what));
    }
    flips(&db, "visit", "visit", "org = 1", |_| names(&data, "it has no row among the visits"));
    for column in [
        "audience",
        "day",
        "conflicts",
        "news",
        "photos",
        "started_ms",
        "submitted_ms",
        "changed_ms",
        "changed",
    ] {
        for bit in [0, 7, 13, 40] {
            let flip = format!(
                "UPDATE visit SET {column} = ({column} | (1 << {bit})) - ({column} & (1 << {bit}))"
            );
            db.execute(&flip, []).expect("it is flipped");
            names(&data, what);
            db.execute(&flip, []).expect("it is flipped back");
        }
    }
    for column in ["counted", "let_go"] {
        let flip = format!("UPDATE visit SET {column} = 1 - {column}");
        db.execute(&flip, []).expect("it is flipped");
        names(&data, what);
        db.execute(&flip, []).expect("it is flipped back");
    }
    assert!(check(&data).is_clean(), "all was put back");
}

/// What the catalogue is now changes nothing of what a visit was judged by.
#[test]
fn a_visit_is_held_against_the_catalogue_of_its_day() {
    let host = worked();
    let moved = |zone: &str| match brand::outlet_record(1, 1, 1) {
        Record::Outlet(outlet) => Record::Outlet(Outlet { zone: zone.into(), ..outlet }),
        _ => panic!("it is an outlet"),
    };
    host.write(vec![moved("Pacific/Kiritimati"), brand::planogram(2), brand::price_list(2)]);
    well(host.check("data"));
    host.write(vec![moved("Pacific/Pago_Pago")]);
    well(host.check("data"));
}

/// A server that keeps refused work in every state.
fn refused() -> Host {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let calls = [0, 1, 4, 5];
    let visits = calls.map(|call| {
        let visit = begin(&rita, call);
        record(&rita, &visit, true, vec![photo(&rita, call)]);
        visit
    });
    host.end("-TERM");
    let plan = |cancelled| calls.map(|call| brand::call_record(call, cancelled)).to_vec();
    host.write(plan(true));
    // As if her phone had said that it knows that.
    let mut db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    db.execute("UPDATE device SET acked = (SELECT count(*) FROM log)", []).expect("it is noted");
    host.start();
    host.sync(&rita);
    host.end("-TERM");
    let item = |db: &Connection, visit: &str| -> u64 {
        let document = DocId::from(visit.parse::<VisitId>().expect("a visit")).to_bytes();
        let found = "SELECT item FROM quarantine WHERE document = ?1";
        db.query_row(found, [document], |row| row.get(0)).expect("it was refused")
    };
    let items = visits.each_ref().map(|visit| item(&db, visit));
    host.decide(items[1], false);
    host.decide(items[2], true);
    host.write(plan(false));
    host.start();
    host.sync(&rita);
    rita.propose_again(format!("visit/{}", visits[3])).expect("it is proposed");
    host.sync(&rita);
    host.end("-TERM");

    // Somebody else has brought what was let in, and somebody what nobody has signed.
    let tx = db.transaction().expect("a transaction");
    let mut ledger = Ledger::open(&tx, 1).expect("the log opens");
    let group = |item| ledger.quarantined(ORG, item).expect("it reads").expect("it is there").group;
    let (waits, group) = (group(items[0]), group(items[2]));
    let forged = Seal { head: waits.seals[0].head, signature: [5; 64] };
    let unsigned = Group { seals: vec![forged], ..waits };
    let document = group.document;
    for (device, code, group) in [(1, "late", group), (2, "bad_seal", unsigned)] {
        let (detail, audience, words) = ("", Audience::Everyone, Vec::new());
        let (lacks, others) = (group.changes.len(), group.changes.len());
        let (courier, author) = (None, None);
        let reason = Reason { code, detail, audience, courier, lacks, others, author, words };
        let device = DeviceId::from_bytes([device; 16]);
        let kept = ledger.quarantine(ORG, device, &group, &reason, 0).expect("it is written");
        assert!(kept);
        if code == "late" {
            let here = ledger.document(ORG, document).expect("it reads").document;
            // As if it had come before that was let in.
            let before = "UPDATE quarantine_left SET lacks = lacks + ?2 WHERE item = ?1";
            tx.execute(before, params![items[2], lacks]).expect("it lacks all");
            let came = group.hashes().map(|hash| (hash, device));
            ledger.arrive(&here, came, |_, _| false, 1).expect("it has arrived");
        }
    }
    ledger.close().expect("it is written");
    tx.commit().expect("it is written");
    host
}

#[test]
fn what_is_listed_of_decisions_is_what_was_decided() {
    let host = refused();
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    assert!(check(&host.data()).is_clean());
    for change in [
        "DELETE FROM decision WHERE sequence = (SELECT max(sequence) FROM decision)",
        "UPDATE decision SET by = randomblob(16)",
        "UPDATE decision SET sequence = sequence + 1",
        "INSERT INTO confirmation SELECT 1, randomblob(16), 0, by FROM decision LIMIT 1",
    ] {
        let other = host.folder.join("other");
        std::fs::create_dir(&other).expect("a folder is made");
        let file = other.join("endcap.db");
        db.execute("VACUUM INTO ?1", [file.to_str()]).expect("a copy");
        let copy = Connection::open(file).expect("it opens");
        copy.execute_batch(change).expect("it is changed");
        names(&other, "what was decided or confirmed there is not what is listed");
        drop(copy);
        std::fs::remove_dir_all(&other).expect("it goes");
    }
}

#[test]
fn a_flipped_byte_of_refused_work_is_named_whatever_became_of_it() {
    let host = refused();
    well(host.check("data"));
    let data = host.data();
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let mut query = db
        .prepare("SELECT item, state, code, document FROM quarantine ORDER BY state, item")
        .expect("a query");
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let rows: Vec<(u64, String, String, Vec<u8>)> =
        query.query_map([], row).expect("rows").collect::<Result<_, _>>().expect("rows");
    drop(query);
    let kept: Vec<_> = rows.iter().map(|(_, state, code, _)| (&state[..], &code[..])).collect();
    let late = |state| (state, "late");
    assert_eq!(
        kept,
        [
            late("accepted"),
            late("arrived"),
            late("discarded"),
            late("proposed_again"),
            late("waiting"),
            ("waiting", "bad_seal"),
        ]
    );
    for (item, state, code, document) in &rows {
        let document = DocId::from_bytes(document).expect("a document");
        let (of, item) = (format!("item = {item}"), format!("refused work {item}"));
        let what = format!("{item} on {document}: ");
        let flip = |table, column, in_so_many, what: &str| {
            some_flips(&db, table, column, &of, in_so_many, |_| names(&data, what));
        };
        if state == "arrived" {
            db.execute(&format!("UPDATE quarantine SET body = x'01' WHERE {of}"), [])
                .expect("it is");
            names(&data, &what);
            db.execute(&format!("UPDATE quarantine SET body = x'' WHERE {of}"), []).expect("it is");
            continue;
        }
        flip("quarantine", "body", if code == "bad_seal" { 1 } else { 7 }, &what);
        flip("quarantine", "head", 5, &what);
        flip("quarantine", "digest", 5, &what);
        flip("quarantine", "device", 5, &what);
        flip("quarantine", "document", 5, &item);
        flip("quarantine_photo", "hash", 5, &what);
        if state == "accepted" {
            let put = |state| format!("UPDATE quarantine SET state = '{state}' WHERE {of}");
            db.execute(&put("waiting"), []).expect("it waits again");
            names(&data, &format!("{what}it waits for a decision, and is in the log"));
            db.execute(&put("accepted"), []).expect("it is put back");
        }
        // Who knows to take the digest of what is forged cannot sign it.
        if code == "late" {
            let body: Vec<u8> = db
                .query_row(&format!("SELECT body FROM quarantine WHERE {of}"), [], |row| row.get(0))
                .expect("it is there");
            for at in (0..body.len()).step_by(5) {
                let mut forged = body.clone();
                forged[at] ^= 1 << (at % 8);
                let digest = BlobHash::of(&forged).0;
                let put = format!("UPDATE quarantine SET body = ?1, digest = ?2 WHERE {of}");
                db.execute(&put, params![forged, digest]).expect("it is forged");
                names(&data, &what);
            }
            let put = format!("UPDATE quarantine SET body = ?1, digest = ?2 WHERE {of}");
            db.execute(&put, params![body, BlobHash::of(&body).0]).expect("it is put back");
        }
    }
    well(host.check("data"));
    well(host.backup("backup"));
    well(host.restore("backup", "new"));
    well(host.check("new"));
}

#[test]
fn a_history_is_proven_back_to_its_beginning() {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let outlet = brand::outlet(1);
    let says = |text: String| rita.comment_outlet(outlet.to_string(), text).expect("it is said");
    (0..500).for_each(|number| says(format!("remark {number}")));
    host.sync(&rita);
    says("the first of the next volume".into());
    host.sync(&rita);
    host.end("-TERM");
    well(host.check("data"));
    let data = host.data();
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let newest = |volume| -> u64 {
        let newest = "SELECT max(sequence) FROM log WHERE document = ?1";
        let name = DocId::volume(outlet, volume).to_bytes();
        db.query_row(newest, [name], |row| row.get(0)).expect("it is here")
    };
    let (last, first) = (newest(0), newest(1));
    let of = format!("sequence = {first}");
    some_flips(&db, "log", "body", &of, 9, |_| names(&data, &format!("line {first} of the log: ")));
    // What it follows is gone.
    let gone = format!("DELETE FROM log WHERE sequence = {last}");
    db.execute(&gone, []).expect("it goes");
    names(&data, &format!("line {first} of the log: it begins a volume that follows none"));
}
