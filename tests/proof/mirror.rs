//! A copy of the log, and what it notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use endcap_mobile::{Client, LogWrong};
use rusqlite::Connection;
use server::app::App;
use server::mirror::{Mirror, mirror};
use sync_core::evidence::{Frontier, Leaf};
use sync_core::id::{LogHash, LogOrigin, OrgId};
use sync_core::model::catalogue::{Display, Record};
use sync_core::tlog::NoteKey;
use tests::brand::{ORG, RITA, SAM};
use tests::host::{Folder, Host, SHARED, badly, begin, record, well};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::copy::{lines, silent};
use crate::{endcap, prove};

pub(crate) const TOKEN: &str = "a token for a copy of the log";

/// A server with more lines than two tiles hold.
fn grown() -> (Host, Arc<Client>) {
    let mut host = Host::new(crate::ENDCAP);
    let rita = host.phone(RITA);
    begin(&rita, SHARED);
    host.sync(&rita);
    more(&mut host, 600);
    give_token(&host);
    (host, rita)
}

/// The console has given out a copy.
pub(crate) fn give_token(host: &Host) {
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    db.busy_timeout(Duration::from_secs(10)).expect("a timeout");
    let token = LogHash::of(TOKEN.as_bytes()).0;
    db.execute("INSERT INTO mirror (token, org, label, by, created_ms) VALUES (?1, 1, 'Partner', zeroblob(16), 0)", [token])
        .expect("a token");
}

pub(crate) fn more(host: &mut Host, count: u32) {
    host.end("-TERM");
    let display = |number| {
        let (name, description) = (format!("Display {number}"), String::new());
        Record::Display(Display { number: number + 1_000, name, description })
    };
    host.write((0..count).map(display).collect());
    host.start();
}

fn args(host: &Host, dir: &Path, entries: bool) -> Vec<String> {
    let url = format!("http://{}/log/{ORG}", host.address());
    let mut args = vec!["mirror".into(), url, dir.to_str().expect("UTF-8").to_owned()];
    if entries {
        args.extend(["--token".to_owned(), TOKEN.to_owned()]);
    }
    args
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder reads") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    // It holds nothing.
    files.retain(|path| !path.ends_with("lock"));
    files.sort();
    files
}

#[test]
fn a_copy_gives_the_root_of_the_log_and_any_flipped_byte_is_named() {
    let (mut host, _) = grown();
    let dir = host.folder.join("copy");
    let said = well(endcap(args(&host, &dir, true)));
    assert!(said.contains("Every entry, every hash and the signature were checked"), "{said}");
    let life = life_in(&dir);
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    let frontier: Vec<u8> = db
        .query_row("SELECT frontier FROM organisation", [], |row| row.get(0))
        .expect("a frontier");
    let expected: Frontier = sync_core::cbor::from_cbor(&frontier).expect("it reads");
    let mut rebuilt = Frontier::default();
    let mut level: Vec<PathBuf> = files(&life.join("tile/0"));
    level.sort_by_key(|path| path.to_str().map(|name| name.replace(".p/", "")));
    for path in level {
        let bytes = std::fs::read(path).expect("it reads");
        for hash in bytes.chunks(32) {
            rebuilt.push(LogHash(hash.try_into().expect("32 bytes")));
        }
    }
    assert_eq!(rebuilt, expected);
    assert!(expected.size() > 600 && life.join("tile/1/000.p/2").is_file());

    // Again: nothing new. More: what has come.
    let said = well(endcap(args(&host, &dir, true)));
    assert!(said.contains(" 0 are new"), "{said}");
    more(&mut host, 40);
    let said = well(endcap(args(&host, &dir, true)));
    assert!(said.contains(" 40 are new"), "{said}");
    // Without a token hashes alone, and only with the key.
    let bare = host.folder.join("bare");
    let said = badly(endcap(args(&host, &bare, false)));
    assert!(said.contains("--key"), "{said}");
    let key = std::fs::read_to_string(dir.join("key")).expect("a key");
    let mut with_key = args(&host, &bare, false);
    with_key.extend(["--key".to_owned(), key.trim().to_owned()]);
    let said = well(endcap(with_key));
    assert!(said.contains("Entries need a token"), "{said}");

    for (dir, token) in [(&dir, true), (&bare, false)] {
        for path in files(dir) {
            let bytes = std::fs::read(&path).expect("it reads");
            let relative = path.strip_prefix(dir).expect("below").to_str().expect("UTF-8");
            for at in (0..bytes.len()).step_by(bytes.len() / 7 + 1) {
                let mut bent = bytes.clone();
                bent[at] ^= 1 << (at % 8);
                std::fs::write(&path, &bent).expect("it rots");
                let said = badly(endcap(args(&host, dir, token)));
                assert!(named(&said, dir) == [relative], "{relative}, byte {at}: {said}");
            }
            let said = badly(endcap(["verify", "--copy", dir.to_str().expect("UTF-8")]));
            assert!(named(&said, dir) == [relative], "without the server, {relative}: {said}");
            // What is said helps.
            std::fs::rename(&path, host.folder.join("elsewhere")).expect("it moves");
            let mut again = args(&host, dir, token);
            if relative == "key" {
                let said = badly(endcap(again.clone()));
                assert!(said.contains("--key"), "{said}");
                again.extend(["--key".to_owned(), key.trim().to_owned()]);
            }
            well(endcap(again));
            assert_eq!(std::fs::read(&path).expect("it reads"), bytes, "{relative}");
        }
    }
    let kept = files(&dir);
    let expected = ["checkpoint", "key", "000", "001", "000", "001"];
    let partial = kept.iter().filter(|path| path.to_str().is_some_and(|p| p.contains(".p/")));
    assert_eq!(partial.count(), kept.len() - expected.len(), "{kept:?}");
    assert_eq!(kept.len(), expected.len() + 3, "what others cover is gone: {kept:?}");

    // Several at once: a tile of leaves, what is above another of them, and the one that nothing is above.
    for piece in ["tile/0/000", "tile/1/000.p/2", &partial_tile(&life)] {
        let path = life.join(piece);
        let mut bytes = std::fs::read(&path).expect("it reads");
        bytes[32 * usize::from(piece.starts_with("tile/1"))] ^= 1;
        std::fs::write(&path, bytes).expect("it rots");
    }
    let mut runs = 0;
    while let Some(said) = Some(endcap(args(&host, &dir, true))).filter(|o| !o.status.success()) {
        let said = badly(said);
        assert!(runs < 3 && !said.contains("CONTRADICTS"), "{said}");
        for file in named(&said, &dir) {
            std::fs::remove_file(dir.join(file)).expect("it goes");
        }
        runs += 1;
    }
    assert!(runs > 0);

    // What no checkpoint covers is nobody's word.
    std::fs::remove_file(life.join("checkpoint")).expect("it goes");
    let mut bytes = std::fs::read(life.join("tile/0/001")).expect("it reads");
    bytes[9] ^= 1;
    std::fs::write(life.join("tile/0/001"), bytes).expect("it rots");
    let said = badly(endcap(args(&host, &dir, true)));
    assert!(said.contains("refused") && !said.contains("CONTRADICTS"), "{said}");
    well(endcap(args(&host, &dir, true)));
}

/// The folder of the only life that a copy has.
fn life_in(dir: &Path) -> PathBuf {
    let checkpoint = files(dir)
        .into_iter()
        .find(|path| path.ends_with("checkpoint") && !path.starts_with(dir.join("refused")));
    checkpoint.expect("a checkpoint").parent().expect("its folder").to_owned()
}

fn partial_tile(life: &Path) -> String {
    let tiles = files(&life.join("tile/0/002.p"));
    let [tile] = tiles.as_slice() else { panic!("one: {tiles:?}") };
    tile.strip_prefix(life).expect("below").to_str().expect("UTF-8").to_owned()
}

/// The files that are said to be damaged, below the copy's folder.
fn named(said: &str, dir: &Path) -> Vec<String> {
    let folder = format!("{}/", dir.display());
    let files = said.split([' ', ',']).filter_map(|word| word.strip_prefix(&folder));
    files.map(|file| file.trim_end_matches(['.', ';']).to_owned()).collect()
}

#[test]
fn an_address_or_a_token_that_is_not_good_is_named() {
    let host = Host::new(crate::ENDCAP);
    let dir = host.folder.join("copy");
    let dir = dir.to_str().expect("UTF-8");
    let server = host.address();
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for (url, why) in [
        (format!("http://{server}"), "the form https://…/log/ORGANISATION"),
        (format!("http://{server}/log"), "the form https://…/log/ORGANISATION"),
        (format!("http://{server}/log/{RITA}"), "the form https://…/log/ORGANISATION"),
        (format!("http://{gone}/log/{ORG}"), "Connection refused"),
        (format!("https://{server}/log/{ORG}"), "does not speak TLS: is it http://?"),
        (format!("{server}/log/{ORG}"), "no http:// or https:// address"),
    ] {
        let said = badly(endcap(["mirror", &url, dir]));
        assert!(said.contains(&format!("{url}/checkpoint: ")) && said.contains(why), "{said}");
    }
    let said =
        badly(endcap(["mirror", &format!("http://{server}/log/{ORG}"), dir, "--token", "bad"]));
    assert!(said.contains("The token is not good") && said.contains("\"The log\""), "{said}");
}

#[test]
fn an_empty_folder_takes_nothing_of_who_has_not_the_key() {
    let (host, _) = grown();
    let lives = [LogOrigin::from_bytes([9; 16]), life_of(&host)];
    for (dir, life) in ["other", "same"].into_iter().zip(lives) {
        let dir = host.folder.join(dir);
        let key = NoteKey::of_log(ORG, life, [9; 32]).to_string();
        let mut args = args(&host, &dir, true);
        args.extend(["--key".to_owned(), key]);
        let said = badly(endcap(args));
        assert!(said.contains("THE LOG CONTRADICTS its key"), "{said}");
        let taken = files(&dir).into_iter().filter(|file| !file.ends_with("checkpoint"));
        assert_eq!(taken.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "the evidence alone");
    }
}

pub(crate) fn life_of(host: &Host) -> LogOrigin {
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    let query = "SELECT origin FROM organisation";
    LogOrigin::from_bytes(db.query_row(query, [], |row| row.get(0)).expect("a life"))
}

#[test]
fn a_log_that_went_back_is_a_contradiction_and_a_restored_one_says_so() {
    let (mut host, rita) = grown();
    let first = begin(&rita, SHARED);
    record(&rita, &first, true, Vec::new());
    host.sync(&rita);
    let early = prove(&host, &first, "early.zip", false);
    well(host.backup("backup"));
    let visit = begin(&rita, 1);
    record(&rita, &visit, true, Vec::new());
    host.sync(&rita);
    more(&mut host, 5);
    let sam = host.phone(SAM);
    let dir = host.folder.join("copy");
    well(endcap(args(&host, &dir, true)));
    let late = prove(&host, &visit, "late.zip", false);
    host.end("-TERM");

    // The backup's database under the name of the other, without `endcap restore`.
    let (now, database) = (host.folder.join("now.db"), host.data().join("endcap.db"));
    std::fs::copy(&database, &now).expect("a copy");
    std::fs::copy(host.folder.join("backup/backup.db"), &database).expect("rolled back");
    host.start();
    let said = badly(endcap(args(&host, &dir, true)));
    assert!(said.contains("THE LOG CONTRADICTS this copy"), "{said}");
    let refused = files(&dir.join("refused"));
    let kept = |name: &str| refused.iter().filter(|path| path.ends_with(name)).count();
    assert_eq!(kept("checkpoint"), 1, "the evidence is kept: {refused:?}");
    // A phone that keeps a receipt notices too. It brings back what it has, and says so until somebody looks.
    let report = host.sync(&rita);
    let alarm = rita.log_status().expect("a status").alarm.expect("an alarm");
    assert!(report.log_alarm && alarm.wrong == LogWrong::Rewritten, "{report:?}");
    let (kept, told) = (alarm.kept.expect("what it had"), alarm.told.expect("what it was told"));
    assert!(kept != told && kept.starts_with("endcap.log/") && told.starts_with("endcap.log/"));
    assert!(report.pushed > 0, "{report:?}");
    assert!(host.sync(&rita).log_alarm, "nobody has looked into it");
    rita.alarm_seen().expect("it is saved");
    let report = host.sync(&rita);
    let status = rita.log_status().expect("a status");
    assert!(!report.log_alarm && status.alarm.is_none(), "{status:?}");
    let [seen] = status.seen.as_slice() else { panic!("the evidence stays: {status:?}") };
    assert_eq!((&seen.kept, &seen.told), (&Some(kept), &Some(told)));
    assert_eq!(seen.key, std::fs::read_to_string(dir.join("key")).expect("a key").trim());
    // It grows past where it was: other lines under the same numbers.
    more(&mut host, 300);
    let report = host.sync(&rita);
    assert!(!report.log_alarm && rita.log_status().expect("a status").lines >= status.lines + 300);
    let said = badly(endcap(args(&host, &dir, true)));
    assert!(said.contains("THE LOG CONTRADICTS"), "{said}");
    // The lines that contradict are evidence too: what the log says now can be shown beside what was here.
    let refused = files(&dir.join("refused"));
    let entries =
        |path: &&PathBuf| path.to_str().is_some_and(|path| path.contains("/tile/entries/"));
    assert!(refused.iter().any(|path| entries(&path)), "{refused:?}");
    let again = badly(endcap(args(&host, &dir, true)));
    assert!(again.contains("THE LOG CONTRADICTS"), "{again}");
    // What comes in the place of a file that is gone is no damage of the copy.
    let home = life_in(&dir);
    std::fs::remove_file(home.join(partial_tile(&home))).expect("it goes");
    let again = badly(endcap(args(&host, &dir, true)));
    assert!(again.contains("THE LOG CONTRADICTS this copy"), "{again}");
    host.end("-TERM");

    std::fs::copy(&now, &database).expect("as it was");
    host.start();
    well(endcap(args(&host, &dir, true)));
    host.end("-TERM");
    let before = host.folder.join("before");
    std::fs::rename(host.data(), &before).expect("the folder is lost");
    well(host.restore("backup", "data"));
    host.start();
    let said = badly(endcap(args(&host, &dir, true)));
    assert!(
        said.contains("a restore of the server ends all"),
        "a restore ends what was given out: {said}"
    );
    give_token(&host);
    // Sam's phone was enrolled after the backup, and enrols again with what it holds.
    host.end("-TERM");
    host.renew_code(SAM);
    host.start();
    let server = format!("http://{}", host.address());
    let (code, phone) = (host.codes[&SAM].clone(), Arc::clone(&sam));
    let enrolled = host.runtime.block_on(phone.enrol(server, code, "phone".into()));
    enrolled.expect("enrolled again");
    host.sync(&sam);
    let status = sam.log_status().expect("a status");
    let restored = status.restored.expect("it was restored");
    assert!(restored.lost.is_some_and(|lost| lost > 5) && restored.another_key, "{restored:?}");
    assert_eq!(status.alarm, None);
    let said = well(endcap(args(&host, &dir, true)));
    assert!(
        said.contains("RESTORED FROM A BACKUP") && said.contains("are not in the log any more"),
        "{said}"
    );
    let said = well(endcap(args(&host, &dir, true)));
    assert!(!said.contains("RESTORED") && said.contains(" 0 are new"), "{said}");
    // A bundle of the life before is of the log that goes on, unless what it is of was lost: then the old life tells.
    let only = host.folder.join("only");
    well(endcap(args(&host, &only, true)));
    let verify = |bundle: &Path, copy: &Path| {
        let (bundle, copy) = (bundle.to_str().expect("UTF-8"), copy.to_str().expect("UTF-8"));
        endcap(["verify", bundle, "--copy", copy])
    };
    for (bundle, copy) in [(&early, &dir), (&late, &dir), (&early, &only)] {
        let said = well(verify(bundle, copy));
        assert!(said.contains("The bundle has every change of the visit"), "{said}");
    }
    let said = badly(verify(&late, &only));
    assert!(said.contains("the copy has nothing of life"), "{said}");
    let said = well(endcap(["verify", "--copy", dir.to_str().expect("UTF-8")]));
    assert_eq!(said.matches("Checked: every entry, every hash").count(), 2, "{said}");
    let old = files(&dir).into_iter().filter(|path| path.ends_with("checkpoint"));
    for checkpoint in old.filter(|path| !path.starts_with(dir.join("refused"))) {
        let bytes = std::fs::read(&checkpoint).expect("it reads");
        std::fs::write(&checkpoint, &bytes[1..]).expect("it rots");
        let said = badly(endcap(["verify", "--copy", dir.to_str().expect("UTF-8")]));
        assert!(said.contains(checkpoint.to_str().expect("UTF-8")), "{said}");
        std::fs::write(&checkpoint, bytes).expect("it is mended");
    }

    // The folder of before, taken up again as if nobody had restored it, is no log that goes on.
    host.end("-TERM");
    std::fs::rename(host.data(), host.folder.join("restored")).expect("it moves");
    std::fs::rename(&before, host.data()).expect("it moves");
    host.start();
    let said = badly(endcap(args(&host, &dir, true)));
    assert!(said.contains("it goes back to a life that another has followed here"), "{said}");
    well(endcap(["verify", "--copy", dir.to_str().expect("UTF-8")]));
}

#[test]
fn a_bundle_says_each_time_that_its_log_was_restored() {
    let mut host = Host::new(crate::ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    host.sync(&rita);
    for name in ["first", "second"] {
        well(host.backup(name));
        host.end("-TERM");
        let before = host.folder.join(&format!("before the {name}"));
        std::fs::rename(host.data(), before).expect("the folder is lost");
        well(host.restore(name, "data"));
        host.start();
    }
    give_token(&host);
    let dir = host.folder.join("copy");
    well(endcap(args(&host, &dir, true)));
    let bundle = prove(&host, &visit, "bundle.zip", false);
    let verify = |bundle: &Path| {
        let (bundle, copy) = (bundle.to_str().expect("UTF-8"), dir.to_str().expect("UTF-8"));
        endcap(["verify", bundle, "--copy", copy])
    };
    well(verify(&bundle));
    // Without the beginning of its own life none is built; the one between is in no other part of it.
    let lives = lines(&bundle, |leaf| matches!(leaf, Leaf::Origin { .. }));
    let [0, between, _] = lives[..] else { panic!("{lives:?}") };
    let said = badly(verify(&silent(&host, &bundle, |line, _| line == between)));
    assert!(said.contains("SILENT ON WHAT THE LOG SAID BEFORE"), "{said}");
    assert!(said.contains(&format!("line {between}: ")), "{said}");
}

/// Answers every call with what `say` has for the path, and 404 where it has nothing.
fn answers(say: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut call in listener.incoming().flatten() {
            let mut asked = Vec::new();
            let mut some = [0; 1_024];
            while !asked.ends_with(b"\r\n\r\n") {
                match call.read(&mut some) {
                    Ok(n @ 1..) => asked.extend_from_slice(&some[..n]),
                    _ => break,
                }
            }
            let asked = String::from_utf8_lossy(&asked).into_owned();
            let said = say(asked.split(' ').nth(1).unwrap_or_default());
            let status = if said.is_some() { "200 OK" } else { "404 Not Found" };
            let (body, close) = (said.unwrap_or_default(), "Connection: close");
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{close}\r\n\r\n");
            let _ = call.write_all(&[head.as_bytes(), &body].concat()); // it may be gone again
        }
    });
    address
}

/// The log of a server, but for what `instead` has for a path under the log's address.
fn behind(host: &Host, instead: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let server = host.address();
    answers(move |path| {
        let under = path.split_once(&format!("/log/{ORG}/"))?.1;
        if let Some(instead) = instead(under) {
            return Some(instead);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let request = reqwest::Client::new().get(format!("http://{server}{path}"));
            let answer = request.bearer_auth(TOKEN).send().await.ok()?;
            let found = answer.status().is_success();
            Some(answer.bytes().await.ok()?.to_vec()).filter(|_| found)
        })
    })
}

fn mirror_of(address: SocketAddr, dir: &Path, token: &str) -> Output {
    let url = format!("http://{address}/log/{ORG}");
    endcap(["mirror", &url, dir.to_str().expect("UTF-8"), "--token", token])
}

#[test]
fn a_page_that_nobody_has_signed_is_no_contradiction() {
    let (host, _) = grown();
    let dir = host.folder.join("copy");
    let page = b"<!DOCTYPE html>\n<title>Sign in to the network</title>".to_vec();
    let long = page.repeat(400);
    for (of, page, why) in [
        ("checkpoint", page.clone(), "no checkpoint of a log came, but "),
        (
            "checkpoint",
            b"Soon\n\n\xe2\x80\x94 a AAAAAAAA\n".to_vec(),
            "no checkpoint of a log came",
        ),
        ("tile/0/000", page.clone(), "no 256 hashes came, but "),
        ("tile/0/000", page[..32].to_vec(), "no 256 hashes came, but 32 bytes"),
        ("tile/0/000", long, "more came than 8192 bytes"),
        ("tile/entries/000", page.clone(), "no 256 entries came, but "),
    ] {
        let portal = behind(&host, move |path| path.ends_with(of).then(|| page.clone()));
        let said = badly(mirror_of(portal, &dir, TOKEN));
        assert!(!said.contains("CONTRADICTS") && said.contains(why), "{of}: {said}");
        assert!(said.contains(&format!("{of}: ")) && said.contains("something else"), "{said}");
    }
    let page = page.clone();
    let said = badly(mirror_of(answers(move |_| Some(page.clone())), &dir, TOKEN));
    assert!(said.contains("bytes that begin with `<!DOCTYPE html>.<title>Sign"), "{said}");
    assert!(!dir.join("refused").exists());
    // What had come is there, and good.
    well(endcap(args(&host, &dir, true)));
}

/// A byte a minute is no silence, and no answer that ends.
#[tokio::test(start_paused = true)]
async fn what_comes_too_slowly_is_not_waited_for() {
    let folder = Folder::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut call, _)) = listener.accept().await {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
            let _ = call.read(&mut [0; 4_096]).await; // what is asked
            let mut turns = tokio::time::interval(Duration::from_secs(55));
            let mut sent = call.write_all(head).await;
            while sent.is_ok() {
                turns.tick().await;
                sent = call.write_all(b"e").await;
            }
        }
    });
    let began = tokio::time::Instant::now();
    let wanted = Mirror {
        url: format!("http://{address}/log/{ORG}"),
        folder: folder.join("copy"),
        token: None,
        key: None,
        witnesses: Vec::new(),
    };
    let said = mirror(&wanted).await.expect_err("nothing came").to_string();
    assert!(said.contains("it does not answer in time"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(600), "{:?}", began.elapsed());
}

#[test]
fn a_log_of_others_is_none_that_goes_on() {
    let (mut host, _) = grown();
    let dir = host.folder.join("copy");
    well(endcap(args(&host, &dir, true)));
    let keys = std::fs::read_to_string(dir.join("key")).expect("keys");
    // Another life that says nothing of this one.
    let stranger = Host::new(crate::ENDCAP);
    give_token(&stranger);
    let said = badly(endcap(args(&stranger, &dir, true)));
    assert!(said.contains("THE LOG CONTRADICTS this copy"), "{said}");
    assert!(said.contains("does not continue the first 0 lines"), "{said}");
    assert_eq!(std::fs::read_to_string(dir.join("key")).expect("keys"), keys);

    // The address of another organisation, with a token for its log.
    host.end("-TERM");
    let other = OrgId::from_bytes([5; 16]);
    host.runtime.block_on(async {
        let app = App::open(host.data()).await.expect("the folder opens");
        app.create(other, "Others").await.expect("an organisation");
        app.store.close();
    });
    host.start();
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    let token = LogHash::of(b"theirs").0;
    db.execute("INSERT INTO mirror (token, org, label, by, created_ms) VALUES (?1, 2, 'Partner', zeroblob(16), 0)", [token])
        .expect("a token");
    let url = format!("http://{}/log/{other}", host.address());
    let before = files(&dir);
    let said = badly(endcap(["mirror", &url, dir.to_str().expect("UTF-8"), "--token", "theirs"]));
    assert!(said.contains("this copy is of another organisation's log, endcap.log/"), "{said}");
    assert!(said.contains("into a folder of its own") && !said.contains("CONTRADICTS"), "{said}");
    assert_eq!(files(&dir), before);
    well(endcap(args(&host, &dir, true)));
}

#[test]
fn what_has_rotted_or_broke_off_at_a_restore_is_no_fault_of_the_log() {
    let (mut host, _) = grown();
    well(host.backup("backup"));
    more(&mut host, 5);
    let dir = host.folder.join("copy");
    let copy = dir.to_str().expect("UTF-8").to_owned();
    well(endcap(args(&host, &dir, true)));
    let old = life_in(&dir);
    host.end("-TERM");
    std::fs::rename(host.data(), host.folder.join("lost")).expect("the folder is lost");
    well(host.restore("backup", "data"));
    host.start();
    give_token(&host);

    // The copy of the life before has rotted: it is not compared.
    let tile = old.join("tile/0/000");
    let whole = std::fs::read(&tile).expect("it reads");
    let mut bent = whole.clone();
    bent[40] ^= 1;
    std::fs::write(&tile, bent).expect("it rots");
    let said = badly(endcap(args(&host, &dir, true)));
    assert!(said.contains("DAMAGED") && !said.contains("CONTRADICTS"), "{said}");
    assert_eq!(
        named(&said, &dir),
        [tile.strip_prefix(&dir).expect("below").to_str().expect("UTF-8")]
    );
    std::fs::write(&tile, whole).expect("it is mended");

    let said = well(endcap(args(&host, &dir, true)));
    assert!(said.contains("RESTORED FROM A BACKUP"), "{said}");
    // A run that broke off has kept the key of the new life, and no checkpoint of it: what it has found is found again.
    let new = life_of(&host).to_string();
    let checkpoint = dir.join(&new).join("checkpoint");
    std::fs::remove_file(&checkpoint).expect("it goes");
    let said = badly(endcap(["verify", "--copy", &copy]));
    assert!(said.contains("DAMAGED in this copy, or not finished: "), "{said}");
    assert!(said.contains(checkpoint.to_str().expect("UTF-8")), "{said}");
    let said = well(endcap(args(&host, &dir, true)));
    assert!(
        said.contains("RESTORED FROM A BACKUP") && said.contains(" that it had are not"),
        "{said}"
    );
    well(endcap(["verify", "--copy", &copy]));
    // What it is compared with has rotted too.
    std::fs::remove_file(&checkpoint).expect("it goes");
    let first = old.join("checkpoint");
    let kept = std::fs::read(&first).expect("it reads");
    std::fs::write(&first, &kept[1..]).expect("it rots");
    let said = badly(endcap(args(&host, &dir, true)));
    assert!(said.contains("DAMAGED") && said.contains(first.to_str().expect("UTF-8")), "{said}");

    // Of what there was before nothing is left.
    std::fs::remove_file(&first).expect("it goes");
    let keys = std::fs::read_to_string(dir.join("key")).expect("keys");
    let only = keys.lines().next().expect("the first");
    std::fs::write(dir.join("key"), format!("{only}\n")).expect("one key");
    let said = badly(endcap(args(&host, &dir, true)));
    assert!(said.contains("is gone: keep this folder") && !said.contains("CONTRADICTS"), "{said}");
    std::fs::write(&first, kept).expect("it is mended");
    std::fs::write(dir.join("key"), keys).expect("both keys");
    well(endcap(args(&host, &dir, true)));
}

#[test]
fn two_do_not_work_in_one_copy() {
    let host = Host::new(crate::ENDCAP);
    give_token(&host);
    let dir = host.folder.join("copy");
    well(endcap(args(&host, &dir, true)));
    let lock = std::fs::File::options().write(true).open(dir.join("lock")).expect("a lock");
    lock.try_lock().expect("nobody works there");
    let said = badly(endcap(args(&host, &dir, true)));
    assert!(said.contains("another `endcap mirror` is at work in "), "{said}");
    well(endcap(["verify", "--copy", dir.to_str().expect("UTF-8")]));
}
