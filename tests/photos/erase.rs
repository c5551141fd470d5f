//! What is erased on request: by the command, with phones that hold it, backups that were made before, and a check that
//! finds nothing wrong.

use std::path::{Path, PathBuf};

use endcap_mobile::{Client, Observation, Subject, Value};
use rusqlite::Connection;
use serde_json::Value as Json;
use sync_core::model::people::Scope;
use tests::brand::{self, RITA, SAM, SVEN, checks};
use tests::host::{Host, badly, begin, photo, record, well};

use crate::{ENDCAP, endcap, here};

const SECRET: &str = "the manager, Ms Quillfeather, was ill";
const OPEN: &str = "the freezer hums";

fn remark(client: &Client, visit: &str, text: &str) {
    let words = Observation {
        check: checks::WORDS,
        subject: Subject::Outlet,
        value: Value::Text { text: text.to_owned() },
    };
    client.record(visit.to_owned(), vec![words], Vec::new()).expect("it is saved");
}

/// Everything that a visit says on a phone.
fn told(client: &Client, visit: &str) -> String {
    format!("{:?}", client.visit(visit.to_owned()).expect("it is here"))
}

fn digest(data: &Path, text: &str) -> String {
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let query = "SELECT lower(hex(digest)) FROM note WHERE text = ?1";
    db.query_row(query, [text], |row| row.get(0)).expect("the note is here")
}

/// Whether any file below a folder has these bytes.
fn anywhere(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(anywhere(&path, bytes));
        } else if std::fs::read(&path).is_ok_and(|all| all.windows(bytes.len()).any(|w| w == bytes))
        {
            found.push(path);
        }
    }
    found
}

fn erase(data: &Path, what: &str, name: &str) -> Json {
    let data = data.to_str().expect("UTF-8");
    let said = well(endcap(["erase", "--data", data, what, name, "--why", "request 17", "--yes"]));
    serde_json::from_str(&said).expect("a report")
}

#[test]
fn what_is_erased_goes_from_server_and_phones_and_leaves_its_proof() {
    let mut host = Host::new(ENDCAP);
    let (rita, sam) = (host.phone(RITA), host.phone(SAM));
    let visit = begin(&rita, 0);
    let taken = [photo(&rita, 1), photo(&rita, 2)];
    record(&rita, &visit, true, taken.to_vec());
    remark(&rita, &visit, SECRET);
    rita.comment(visit.clone(), OPEN.to_owned(), None).expect("it is saved");
    rita.submit(visit.clone()).expect("it is submitted");
    for phone in [&rita, &sam, &rita] {
        host.sync(phone);
    }
    for phone in [&rita, &sam] {
        assert!(told(phone, &visit).contains(SECRET));
    }
    well(host.backup("before"));
    well(host.backup("nightly"));
    host.end("-TERM");
    let data = host.data();
    let note = digest(&data, SECRET);
    let [bad, good] = taken.map(|photo| photo.hash);

    let reports = [erase(&data, "--photo", &bad), erase(&data, "--note", &note)];
    assert_eq!(reports[0]["what"], "photo");
    assert_eq!(reports[0]["name"], bad.as_str());
    assert_eq!(reports[1]["name"], note.as_str());
    for report in &reports {
        assert_eq!(report["why"], "request 17");
        assert_eq!(report["named_in"].as_array().map(Vec::len), Some(1), "{report}");
        assert_eq!(report["removed"].as_array().map(Vec::len), Some(1), "{report}");
        assert!(report["not_covered"].to_string().contains("backups"));
    }
    assert_eq!(erase(&data, "--photo", &bad), reports[0], "it is one erasure");
    assert_eq!(here(&data), std::slice::from_ref(&good));
    assert_eq!(anywhere(&data, SECRET.as_bytes()), Vec::<PathBuf>::new());
    let said = well(host.check("data"));
    assert_eq!(said.matches("erased at").count(), 2, "{said}");

    // Phones hear of it, those that wrote it too, and new ones; nobody brings it back.
    host.start();
    for phone in [&rita, &sam, &rita] {
        host.sync(phone);
        let told = told(phone, &visit);
        assert!(!told.contains(SECRET) && told.contains("erased on"), "{told}");
        assert!(told.contains(OPEN));
    }
    assert_eq!(rita.photo(bad.clone()).expect("it reads"), None);
    assert!(rita.photo(good.clone()).expect("it reads").is_some());
    host.end("-TERM");
    well(host.check("data"));

    // The next backup into a folder drops the photo; an older one still has it, and brings it back with a restore.
    well(host.backup("nightly"));
    let file = |folder: &str, hash: &str| {
        let blobs = host.folder.join(folder).join("blobs").join(brand::ORG.to_string());
        blobs.join(&hash[..2]).join(hash)
    };
    assert!(!file("nightly", &bad).exists() && file("nightly", &good).exists());
    well(host.check("nightly"));
    well(host.restore("before", "again"));
    let again = host.folder.join("again");
    assert_eq!(here(&again).len(), 2);
    let list = host.folder.join("reports.json");
    std::fs::write(&list, Json::from(reports.to_vec()).to_string()).expect("a file");
    let flags = [list.to_str(), again.to_str()].map(|path| path.expect("UTF-8"));
    let said = well(endcap(["erase", "--again", flags[0], "--data", flags[1]]));
    assert!(said.contains("2 of 2"), "{said}");
    assert_eq!(here(&again), [good]);
    assert_eq!(anywhere(&again, SECRET.as_bytes()), Vec::<PathBuf>::new());
    well(host.check("again"));
}

#[test]
fn a_person_leaves_no_name_behind() {
    let mut host = Host::new(ENDCAP);
    let sven = host.phone(SVEN);
    let visit = begin(&sven, 2);
    record(&sven, &visit, true, Vec::new());
    host.sync(&sven);
    host.end("-TERM");
    let data = host.data();
    let scope = Scope::Territory(brand::territory(2));
    let named = |name: &str| anywhere(&data, name.as_bytes());
    assert!(!named("Sven").is_empty());
    let (folder, id) = (data.to_str().expect("UTF-8"), SVEN.to_string());
    let flags = ["erase", "--data", folder, "--person", &id, "--why", "request 18", "--yes"];
    assert!(badly(endcap(flags)).contains("works here"));
    for (what, name, named) in [
        ("--photo", "ab".repeat(32), "photo of this digest"),
        ("--note", "ab".repeat(32), "note of this digest"),
        ("--person", brand::ORG.to_string(), "person of this id"),
    ] {
        let flags = ["erase", "--data", folder, what, &name, "--why", "request 18", "--yes"];
        let said = badly(endcap(flags));
        assert!(said.contains(&format!("there is no {named} in {folder}")), "{said}");
    }
    well(host.backup("before"));
    host.write(vec![brand::person_record(SVEN, scope, false)]);
    let report = erase(&data, "--person", &id);
    assert_eq!(report["name"], id.as_str());
    assert_eq!(named("Sven"), Vec::<PathBuf>::new());
    well(host.check("data"));
    // In a folder from before they left they leave again, whatever becomes of another report.
    well(host.restore("before", "again"));
    let again = host.folder.join("again");
    let mut unread = report.clone();
    (unread["what"], unread["name"]) = ("photo".into(), "no digest".into());
    let list = host.folder.join("reports.json");
    std::fs::write(&list, Json::from(vec![unread, report]).to_string()).expect("a file");
    let flags = [list.to_str(), again.to_str()].map(|path| path.expect("UTF-8"));
    let said = badly(endcap(["erase", "--again", flags[0], "--data", flags[1]]));
    assert!(said.contains("1 were erased, and not: photo no digest"), "{said}");
    assert_eq!(anywhere(&again, b"Sven"), Vec::<PathBuf>::new());
    well(host.check("again"));
    // What the log says of the person is still what it was: another name in its place is noticed.
    let db = Connection::open(data.join("endcap.db")).expect("it opens");
    let forged = "UPDATE record SET body = CAST(replace(CAST(body AS TEXT), 'Erased person', 'Forged person') AS BLOB)
                  WHERE digest IS NOT NULL";
    assert!(db.execute(forged, []).expect("it is written") > 0);
    drop(db);
    assert!(badly(host.check("data")).contains("of the log"));
}

#[test]
fn a_flipped_byte_of_a_photo_is_named() {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, 0);
    let taken = photo(&rita, 1);
    record(&rita, &visit, true, vec![taken.clone()]);
    host.sync(&rita);
    host.end("-TERM");
    well(host.check("data"));
    let hash = &taken.hash;
    let blobs = host.data().join("blobs").join(brand::ORG.to_string()).join(&hash[..2]);
    for (file, what) in [
        (hash.clone(), "other content"),
        (format!("{hash}.thumb.jpg"), "thumbnail"),
        (format!("{hash}.preview.jpg"), "preview"),
    ] {
        let path = blobs.join(file);
        let bytes = std::fs::read(&path).expect("it is here");
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, flipped).expect("it is written");
            let said = badly(host.check("data"));
            assert!(said.contains(hash) && said.contains(what), "{said}");
        }
        std::fs::write(&path, bytes).expect("it is written");
    }
    well(host.check("data"));
}
