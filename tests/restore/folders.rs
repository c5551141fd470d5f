//! Which folders are taken, and what is left when something goes wrong.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use endcap_mobile::Client;
use rusqlite::Connection;
use server::check::Stage;
use tests::brand::{RITA, SAM};
use tests::host::{Folder, Host, SHARED, badly, begin, photo, record, run, well, work};

use crate::{ENDCAP, endcap};

/// A server that has some work, Rita's phone, and a backup.
fn backed_up() -> (Host, Arc<Client>) {
    let host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, vec![photo(&rita, 1), photo(&rita, 2)]);
    host.sync(&rita);
    well(host.backup("backup"));
    (host, rita)
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder reads") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let inode = path.metadata().expect("it is there").ino();
                files.push((path.to_str().expect("UTF-8").to_owned(), inode));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn nobody_else_reads_a_folder_or_a_backup() {
    let (host, _) = backed_up();
    let mode = |name: &str| host.folder.join(name).metadata().expect("it is there").mode() & 0o777;
    let live = ["data/endcap.db", "data/endcap.db-wal"].map(mode);
    well(host.restore("backup", "restored"));
    assert_eq!(["data", "backup", "restored"].map(mode), [0o700; 3]);
    assert_eq!(live, [0o600; 2]);
    assert_eq!(["backup/backup.db", "restored/endcap.db"].map(mode), [0o600; 2]);
}

#[test]
fn only_new_photos_are_copied_and_rotten_ones_anew() {
    let (mut host, _) = backed_up();
    let photos = || files(&host.folder.join("backup/blobs"));
    let before = photos();
    assert_eq!(before.len(), 6, "two photos with their previews and thumbnails");
    let sam = host.phone(SAM);
    let visit = begin(&sam, SHARED);
    record(&sam, &visit, true, vec![photo(&sam, 3)]);
    host.sync(&sam);
    let original = before.iter().find(|(name, _)| !name.ends_with("jpg")).expect("an original");
    let bytes = std::fs::read(&original.0).expect("it reads");
    std::fs::write(&original.0, b"rotten").expect("it rots");
    let said = well(host.backup("backup"));
    assert!(said.contains("3 photos"), "{said}");
    let after = photos();
    assert_eq!(after.len(), 9);
    let again = after.iter().filter(|file| before.contains(file)).count();
    assert_eq!(
        again, 3,
        "the rotten photo and its small pictures are new, the others were left alone"
    );
    assert_eq!(std::fs::read(&original.0).expect("it reads"), bytes);
    well(host.check("backup"));
    host.end("-TERM");
}

#[test]
fn a_photo_that_the_folder_has_lost_is_named_and_awaited_again() {
    let (mut host, rita) = backed_up();
    host.end("-TERM");
    let before = work(&host.data()).photos;
    let blobs = files(&host.data().join("blobs"));
    let (lost, _) = blobs.iter().find(|(name, _)| !name.ends_with("jpg")).expect("an original");
    let hash = Path::new(lost).file_name().expect("a name").to_str().expect("UTF-8");
    std::fs::remove_file(lost).expect("it is lost");
    well(host.backup("backup")); // which has it from before
    let said = badly(host.backup("other"));
    assert!(said.contains(hash) && said.contains("the backup is made"), "{said}");
    let said = well(host.restore("other", "new"));
    let again = format!("endcap erase --again REPORT --data {}", host.folder.join("new").display());
    assert!(said.find(&again).expect("it is said") < said.find("endcap serve").expect("then"));
    assert!(said.contains("awaited from phones again"), "{said}");
    std::fs::rename(host.data(), host.folder.join("old")).expect("it goes");
    std::fs::rename(host.folder.join("new"), host.data()).expect("it takes its place");
    host.start();
    host.sync(&rita);
    host.end("-TERM");
    assert_eq!(work(&host.data()).photos, before);
    well(host.check("data"));
}

#[test]
fn a_photo_that_is_erased_while_a_backup_is_written_is_no_damage() {
    let (mut host, _) = backed_up();
    host.end("-TERM");
    let blobs = files(&host.data().join("blobs"));
    let (erased, _) = blobs.iter().find(|(name, _)| !name.ends_with("jpg")).expect("an original");
    let hash = Path::new(erased).file_name().expect("a name").to_str().expect("UTF-8");
    erased_meanwhile(&host, Stage::Copying, ["--photo", hash]);
}

#[test]
fn words_that_are_erased_while_a_backup_is_written_are_not_in_it() {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    for words in ["Ola was not there", "Ola came later"] {
        rita.comment(visit.clone(), words.into(), None).expect("it is said");
    }
    host.sync(&rita);
    host.end("-TERM");
    let notes = |database: &str| -> Vec<String> {
        let db = Connection::open(host.folder.join(database)).expect("a database");
        let mut query = db.prepare("SELECT lower(hex(digest)) FROM note").expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("notes");
        rows.collect::<Result<_, _>>().expect("digests")
    };
    let before = notes("data/endcap.db");
    erased_meanwhile(&host, Stage::Copying, ["--note", &before[0]]);
    assert_eq!(notes("other/backup.db").len(), before.len() - 1);
    // Everything is read back for long before the backup has its name.
    erased_meanwhile(&host, Stage::Lines, ["--note", &before[1]]);
    assert_eq!(notes("other/backup.db").len(), before.len() - 2);
}

/// What is erased while a backup is first at this stage: it copies once more.
fn erased_meanwhile(host: &Host, at: Stage, what: [&str; 2]) {
    let data = host.data();
    let folder = data.to_str().expect("UTF-8");
    let flags = ["erase", "--data", folder, what[0], what[1], "--why", "request 17", "--yes"];
    let (mut copies, mut erased) = (0, false);
    let mut meanwhile = |stage, done, _| {
        copies += u32::from((stage, done) == (Stage::Copying, 1));
        if (stage, done, erased) == (at, 1, false) {
            erased = true;
            well(endcap(flags));
        }
    };
    let to = host.folder.join("other");
    let report = server::backup::backup(&data, &to, &mut meanwhile).expect("it is written");
    assert!(report.is_clean(), "{:?}", report.damage);
    well(host.check("other"));
    assert_eq!(copies, 2);
}

#[test]
fn a_folder_with_something_else_in_it_is_refused() {
    let (mut host, _) = backed_up();
    let before = files(&host.folder.join("backup"));
    let occupied = host.folder.join("occupied");
    std::fs::create_dir(&occupied).expect("a folder is made");
    std::fs::write(occupied.join("letter.txt"), "dear").expect("a file is written");
    let said = badly(host.backup("occupied"));
    assert!(said.contains("`letter.txt`, which is of no backup"), "{said}");
    let said = badly(host.backup("data"));
    assert!(said.contains("which is of no backup"), "{said}");
    let said = badly(host.restore("backup", "occupied"));
    assert!(said.contains("is not empty"), "{said}");
    let said = badly(host.restore("backup", "data"));
    assert!(said.contains("is not empty"), "{said}");
    let said = badly(host.restore("data", "new"));
    assert!(said.contains("is no backup"), "{said}");
    let said = badly(host.restore("absent", "new"));
    assert!(said.contains("is no backup"), "{said}");
    let said = badly(host.check("occupied"));
    assert!(said.contains("neither a data folder nor a backup"), "{said}");
    assert!(!host.folder.join("new").exists() && !host.folder.join("absent").exists());
    assert_eq!(files(&occupied).len(), 1);
    host.end("-TERM");
    // The folder was lost and a server made a new one: its backup must not take the place of the good one.
    let empty = Folder::new();
    let init = ["init", "--organisation", "Other", "--admin-email", "a@example.com", "--data"];
    let data = empty.join("data");
    well(endcap(init.iter().map(|arg| arg.as_ref()).chain([data.as_os_str()])));
    let to = host.folder.join("backup");
    let backup = |data: &Path| {
        let args = ["backup".as_ref(), "--to".as_ref(), to.as_os_str(), "--data".as_ref()];
        endcap(args.into_iter().chain([data.as_os_str()]))
    };
    let said = badly(backup(&data));
    assert!(said.contains("holds a backup of Nordic Oats"), "{said}");
    let said = badly(backup(&empty.join("absent")));
    assert!(said.contains("is no data folder"), "{said}");
    assert_eq!(files(&host.folder.join("backup")), before);
    well(host.check("backup"));
}

#[test]
fn nothing_is_made_in_a_folder_that_is_another_ones() {
    let folder = Folder::new();
    let docs = folder.join("docs");
    std::fs::create_dir(&docs).expect("a folder is made");
    std::fs::write(docs.join("letter.txt"), "dear").expect("a file is written");
    let file = docs.join("letter.txt");
    let of = ["--organisation", "Other", "--admin-email", "a@example.com"];
    let init = |data: &Path| {
        let args = ["init".as_ref(), "--data".as_ref(), data.as_os_str()];
        badly(endcap(args.into_iter().chain(of.map(|arg| arg.as_ref()))))
    };
    let mirror = ["mirror".as_ref(), "http://127.0.0.1:1/log/x".as_ref(), docs.as_os_str()];
    let said = [
        init(&docs),
        badly(endcap([
            "serve".as_ref(),
            "--listen=127.0.0.1:0".as_ref(),
            "--data".as_ref(),
            docs.as_os_str(),
        ])),
        badly(endcap([
            "demo".as_ref(),
            "--listen=127.0.0.1:0".as_ref(),
            "--data".as_ref(),
            docs.as_os_str(),
        ])),
        badly(endcap(mirror)),
    ];
    for said in said {
        let named = format!("{}", docs.display());
        assert!(said.contains(&named) && said.contains("holds `letter.txt`"), "{said}");
    }
    assert_eq!(files(&docs).len(), 1);
    let said = [
        init(&file),
        badly(endcap([
            "demo".as_ref(),
            "--listen=127.0.0.1:0".as_ref(),
            "--data".as_ref(),
            file.as_os_str(),
        ])),
    ];
    for said in said {
        let named = format!("cannot use the data folder {}: ", file.display());
        assert!(said.contains(&named), "{said}");
    }
    // What a file system has at its root is nobody's.
    let disk = folder.join("disk");
    std::fs::create_dir_all(disk.join("lost+found")).expect("a folder is made");
    let args = ["init".as_ref(), "--data".as_ref(), disk.as_os_str()];
    well(endcap(args.into_iter().chain(of.map(|arg| arg.as_ref()))));
}

#[test]
fn a_folder_in_use_or_absent_is_named() {
    let host = Host::new(ENDCAP);
    let data = host.data();
    let other = ["--organisation", "Other", "--admin-email", "a@example.com"];
    let init = ["init".as_ref(), "--data".as_ref(), data.as_os_str()];
    let said = badly(endcap(init.into_iter().chain(other.map(|arg| arg.as_ref()))));
    let used = format!("cannot use the data folder {}: another endcap process", data.display());
    assert!(said.contains(&used), "{said}");
    let absent = host.folder.join("absent");
    let visit = begin(&host.phone(RITA), SHARED);
    for command in [vec!["log-key"], vec!["prove", &visit]] {
        let ask = |data: &Path| {
            let data = ["--data".as_ref(), data.as_os_str()];
            badly(endcap(command.iter().map(|arg| arg.as_ref()).chain(data)))
        };
        let said = ask(&absent);
        assert!(said.contains(&format!("{} is no data folder", absent.display())), "{said}");
        well(host.backup("backup"));
        let said = ask(&host.folder.join("backup"));
        assert!(said.contains("is not in a backup"), "{said}");
    }
    assert!(!absent.exists());
}

#[test]
fn neither_a_backup_nor_half_a_restore_is_served() {
    let (mut host, _) = backed_up();
    host.end("-TERM");
    let serve = |folder: &str| {
        let folder = host.folder.join(folder);
        let args = ["serve", "--listen", "127.0.0.1:0", "--data"].map(|arg| arg.as_ref());
        badly(endcap(args.into_iter().chain([folder.as_os_str()])))
    };
    assert!(serve("backup").contains("it is a backup: run `endcap restore`"));
    well(host.restore("backup", "new"));
    let new = host.folder.join("new");
    std::fs::rename(new.join("endcap.db"), new.join("endcap.db.restoring")).expect("half-done");
    assert!(serve("new").contains("a restore into it did not end"));
    let said = badly(host.restore("backup", "new"));
    assert!(said.contains("holds a restore that did not end"), "{said}");
}

#[test]
fn a_restored_folder_asks_everybody_to_sign_in_anew() {
    let (mut host, _) = backed_up();
    host.end("-TERM");
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    db.execute("INSERT INTO session VALUES (x'01', 1, x'02', 'x', 0, 9e15)", [])
        .expect("a session");
    db.execute("INSERT INTO mirror VALUES (x'01', 1, 'Grossist', x'02', 0, NULL)", [])
        .expect("a copy");
    drop(db);
    well(host.backup("backup"));
    well(host.restore("backup", "new"));
    let db = Connection::open(host.folder.join("new/endcap.db")).expect("it opens");
    for table in ["session", "enrolment", "mirror"] {
        let count = format!("SELECT count(*) FROM {table}");
        assert_eq!(db.query_row(&count, [], |row| row.get(0)), Ok(0), "{table}");
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_the_older_backup() {
    let (mut host, _) = backed_up();
    let shim = host.folder.join("full.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/restore/full.c");
    let built = run(Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&shim, &source])
        .arg("-ldl"));
    well(built);
    let sam = host.phone(SAM);
    let visit = begin(&sam, SHARED);
    record(&sam, &visit, true, vec![photo(&sam, 3)]);
    host.sync(&sam);
    host.end("-TERM");
    let older = std::fs::read(host.folder.join("backup/backup.db")).expect("it reads");
    // How long it is when it is compact.
    well(host.backup("whole"));
    let size = host.folder.join("whole/backup.db").metadata().expect("it is there").len();
    let full = |command: &str, ways: [(&str, &str); 2], folder: &str, room: u64| {
        let mut endcap = Command::new(env!("CARGO_BIN_EXE_endcap"));
        endcap.arg(command);
        for (flag, folder) in ways {
            endcap.arg(flag).arg(host.folder.join(folder));
        }
        endcap.env("LD_PRELOAD", &shim).env("ENDCAP_FULL_BYTES", room.to_string());
        run(endcap.env("ENDCAP_FULL_ROOT", host.folder.join(folder)))
    };
    for room in [0, 5_000, size / 2, size - 1, size + 100] {
        let said = badly(full("backup", [("--data", "data"), ("--to", "backup")], "backup", room));
        assert!(said.contains("cannot write to") && said.contains("the disk is full"), "{said}");
        assert_eq!(std::fs::read(host.folder.join("backup/backup.db")).expect("it reads"), older);
        well(host.check("backup"));
        let said = badly(full("restore", [("--from", "backup"), ("--data", "new")], "new", room));
        assert!(said.contains("cannot write to") && said.contains("the disk is full"), "{said}");
        assert!(!host.folder.join("new/endcap.db").exists());
        std::fs::remove_dir_all(host.folder.join("new")).expect("it goes");
    }
    well(full("backup", [("--data", "data"), ("--to", "backup")], "backup", 1 << 30));
    well(host.check("backup"));
}

#[test]
fn a_backup_of_another_schema_is_replaced_and_not_restored() {
    let (mut host, _) = backed_up();
    for (version, what) in [(0, "restore it with the program that wrote it"), (99, "knows")] {
        let db = Connection::open(host.folder.join("backup/backup.db")).expect("it opens");
        db.pragma_update(None, "user_version", version).expect("it is set");
        drop(db);
        let said = badly(host.restore("backup", "new"));
        assert!(said.contains(&format!("schema {version}")) && said.contains(what), "{said}");
        assert!(!host.folder.join("new").exists());
        well(host.backup("backup"));
        well(host.check("backup"));
    }
    host.end("-TERM");
}
