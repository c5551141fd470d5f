//! Whatever is flipped, `check` says where.

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use server::check::Report;
use server::store::tree;
use sync_core::id::BlobHash;
use sync_core::model::catalogue::{Display, Record};
use tests::brand::{ORG, RITA, SAM};
use tests::host::{Host, SHARED, badly, begin, photo, record, run, well};

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
fn flips(db: &Connection, table: &str, column: &str, of: &str, mut then: impl FnMut(usize)) {
    let select = format!("SELECT {column} FROM {table} WHERE {of}");
    let update = format!("UPDATE {table} SET {column} = ?1 WHERE {of}");
    let bytes: Vec<u8> = db.query_row(&select, [], |row| row.get(0)).expect("a value");
    assert!(!bytes.is_empty());
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_eq!(db.execute(&update, [&flipped]), Ok(1));
        then(at);
    }
    assert_eq!(db.execute(&update, [&bytes]), Ok(1));
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
    for column in ["body", "leaf", "hash", "document", "device", "seal"] {
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
        ("DELETE FROM blob", "photos are noted"),
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
fn a_torn_database_is_named_and_not_backed_up() {
    let host = worked();
    well(host.backup("backup"));
    let file = host.data().join("endcap.db");
    let mut bytes = std::fs::read(&file).expect("it reads");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(&file, bytes).expect("it is written");
    let said = badly(host.check("data"));
    assert!(said.contains("the database: ") && said.contains("is damaged"), "{said}");
    badly(host.backup("backup"));
    well(host.check("backup"));
    let file = host.folder.join("backup/backup.db");
    std::fs::write(&file, &std::fs::read(&file).expect("it reads")[..8192]).expect("it is cut");
    let said = badly(host.restore("backup", "new"));
    assert!(said.contains("the database: ") || said.contains("cannot read"), "{said}");
    assert!(!host.folder.join("new").exists());
}
