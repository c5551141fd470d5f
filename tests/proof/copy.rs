//! A bundle beside a copy of the log, when there is no server to ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use endcap_mobile::Client;
use rusqlite::Connection;
use server::logkey::LogKeys;
use sync_core::cbor::from_cbor;
use sync_core::evidence::Leaf;
use sync_core::id::LogHash;
use sync_core::model::catalogue::RecordKind;
use sync_core::proof::{Proof, build, verify};
use sync_core::tlog::{NoteKey, SignedNote};
use tests::brand::{ORG, RITA, SAM};
use tests::host::{Host, SHARED, badly, begin, photo, record, well};

use crate::{endcap, prove};

const TOKEN: &str = "a token for a copy of the log";

fn copy(host: &Host, dir: &str, key: Option<&str>) -> PathBuf {
    let (url, dir) = (format!("http://{}/log/{ORG}", host.address()), host.folder.join(dir));
    let mut args = vec!["mirror", &url, dir.to_str().expect("UTF-8")];
    args.extend(match key {
        Some(key) => ["--key", key],
        None => ["--token", TOKEN],
    });
    well(endcap(args));
    dir
}

fn beside(bundle: &Path, copy: &Path) -> Output {
    let (bundle, copy) = (bundle.to_str().expect("UTF-8"), copy.to_str().expect("UTF-8"));
    endcap(["verify", bundle, "--copy", copy])
}

/// What the copy says, after all that the bundle does.
fn fits(bundle: &Path, copy: &Path) -> String {
    let said = well(beside(bundle, copy));
    said.split_once("The bundle is whole.").expect("it is").1.to_owned()
}

/// The bundle without the two changes that were written last, signed as whole by who has the log's key.
fn cut(host: &Host, bundle: &Path) -> (PathBuf, [u64; 2]) {
    let bytes = std::fs::read(bundle).expect("it reads");
    let files = sync_core::zip::read(&bytes).expect("files");
    let mut proof: Proof = from_cbor(files[2].1).expect("it reads");
    let note: SignedNote =
        std::str::from_utf8(files[1].1).expect("a text").parse().expect("a note");
    let is_change = |leaf: &[u8]| matches!(from_cbor(leaf), Ok(Leaf::Change { .. }));
    let changes = proof.lines.iter().filter(|l| l.body.is_some() && is_change(&l.leaf.0));
    // A beginning and a recording have one signature.
    let gone: Vec<u64> = changes.rev().take(2).map(|line| line.sequence).collect();
    proof.lines.retain(|line| !gone.contains(&line.sequence));
    let keys = LogKeys::at(&host.data());
    let pair = keys.kept(ORG).expect("it reads").expect("a key");
    let built = build(&proof, &note, &BTreeMap::new(), &pair).expect("what is left holds");
    verify(&built).expect("by itself nobody can tell");
    let to = host.folder.join("cut.zip");
    std::fs::write(&to, built).expect("written");
    (to, [gone[1], gone[0]])
}

/// A photo that Rita takes in the visit; its digest.
fn record_photo(host: &mut Host, rita: &Arc<Client>, visit: &str) -> String {
    host.start();
    let taken = photo(rita, 9);
    let hash = taken.hash.clone();
    record(rita, visit, true, vec![taken]);
    host.sync(rita);
    host.sync(rita);
    hash
}

fn erase(host: &Host, photo: &str) {
    let data = host.data();
    let data = data.to_str().expect("UTF-8");
    well(endcap(["erase", "--data", data, "--photo", photo, "--why", "request 17", "--yes"]));
}

/// What people read of a bundle.
fn summary(bundle: &Path) -> String {
    let bytes = std::fs::read(bundle).expect("it reads");
    let files = sync_core::zip::read(&bytes).expect("files");
    String::from_utf8(files[0].1.to_vec()).expect("a text")
}

/// The bundle without its line that says that something was erased, signed as whole by who has the log's key.
fn silent(host: &Host, bundle: &Path) -> PathBuf {
    let bytes = std::fs::read(bundle).expect("it reads");
    let files = sync_core::zip::read(&bytes).expect("files");
    let mut proof: Proof = from_cbor(files[2].1).expect("it reads");
    let note: SignedNote =
        std::str::from_utf8(files[1].1).expect("a text").parse().expect("a note");
    let before = proof.lines.len();
    let erased = RecordKind::Erased as u8;
    proof.lines.retain(
        |line| !matches!(from_cbor(&line.leaf.0), Ok(Leaf::Record { kind, .. }) if kind == erased),
    );
    assert_eq!(proof.lines.len() + 1, before);
    let keys = LogKeys::at(&host.data());
    let pair = keys.kept(ORG).expect("it reads").expect("a key");
    let built = build(&proof, &note, &BTreeMap::new(), &pair).expect("what is left holds");
    let to = host.folder.join("silent.zip");
    std::fs::write(&to, built).expect("written");
    to
}

#[test]
fn a_copy_shows_without_a_server_what_a_bundle_lacks() {
    let mut host = Host::new(crate::ENDCAP);
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    let token = LogHash::of(TOKEN.as_bytes()).0;
    db.execute("INSERT INTO mirror (token, org, label, by, created_ms) VALUES (?1, 1, 'Partner', zeroblob(16), 0)", [token])
        .expect("a token");
    drop(db);
    let (rita, sam) = (host.phone(RITA), host.phone(SAM));
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, Vec::new());
    host.sync(&rita);
    copy(&host, "older", None);
    let first = prove(&host, &visit, "first.zip", false);
    host.sync(&sam);
    begin(&sam, SHARED);
    record(&sam, &visit, false, Vec::new());
    host.sync(&sam);
    let newer = copy(&host, "newer", None);
    let second = prove(&host, &visit, "second.zip", false);
    let key = std::fs::read_to_string(newer.join("key")).expect("a key").trim().to_owned();
    let bare = copy(&host, "bare", Some(&key));
    // Who has no token any more goes on with hashes.
    let partly = copy(&host, "older", Some(&key));
    host.end("-TERM");

    let said = well(endcap(["verify", "--copy", newer.to_str().expect("UTF-8"), "--key", &key]));
    assert!(said.contains("Checked: every entry, every hash, and the signature of"), "{said}");
    let said = well(endcap(["verify", "--copy", bare.to_str().expect("UTF-8")]));
    assert!(said.contains("Checked: no entries, only hashes, every hash"), "{said}");
    let said = badly(endcap(["verify", "--copy", host.data().to_str().expect("UTF-8")]));
    assert!(said.contains("no copy of a log"), "{said}");

    let said = fits(&second, &newer);
    assert!(said.contains("The bundle has every change of the visit"), "{said}");
    assert!(said.contains("The copy has the ") && !said.contains("came after"), "{said}");
    let said = fits(&first, &newer);
    assert!(said.contains(" changes of it came after, up to line "), "{said}");
    let said = fits(&second, &bare);
    assert!(
        said.contains("whether the bundle lacks a change of the visit cannot be told"),
        "{said}"
    );
    let said = fits(&second, &partly);
    assert!(said.contains("every change of the visit that is among the first"), "{said}");
    assert!(said.contains("Whether it has those that came after, up to line"), "{said}");

    let (short, [one, other]) = cut(&host, &second);
    let said = badly(beside(&short, &newer));
    assert!(said.contains("THE BUNDLE IS NOT ALL OF THE VISIT"), "{said}");
    assert!(said.contains(&format!("in lines {one}, {other}, which")), "{said}");

    // What is erased and who is withdrawn after it, and a bundle that keeps silent on what was before it.
    let photo = record_photo(&mut host, &rita, &visit);
    let unsaid = prove(&host, &visit, "unsaid.zip", false);
    host.end("-TERM");
    erase(&host, &photo);
    let told = prove(&host, &visit, "told.zip", false);
    // What its device and its camera wrote of it is told of no photo that was erased.
    let from = "its device made it from the file";
    assert!(summary(&unsaid).contains(from) && !summary(&told).contains(from));
    host.start();
    let later = copy(&host, "later", None);
    host.end("-TERM");
    let erased = format!("the photo {photo} was erased on request");
    let said = fits(&unsaid, &later);
    assert!(said.contains("The copy also has what the bundle lacks:\n  line "), "{said}");
    assert!(said.contains(&erased), "{said}");
    let said = fits(&told, &later);
    assert!(!said.contains(&erased) && said.contains("Nothing else up to line"), "{said}");
    let hidden = silent(&host, &told);
    let said = badly(beside(&hidden, &later));
    assert!(said.contains("THE BUNDLE IS SILENT") && said.contains(&erased), "{said}");

    // Another log under the same key, as who runs the server can make it.
    let (database, then) = (host.data().join("endcap.db"), host.folder.join("then.db"));
    std::fs::copy(&database, &then).expect("a copy");
    host.start();
    rita.comment(visit.clone(), "It was full".into(), None).expect("it is said");
    host.sync(&rita);
    let newest = copy(&host, "newest", None);
    let third = prove(&host, &visit, "third.zip", false);
    host.end("-TERM");
    let said = fits(&third, &newer);
    assert!(said.contains("THE COPY IS OLDER THAN THE BUNDLE"), "{said}");
    std::fs::copy(&then, &database).expect("rolled back");
    host.start();
    sam.comment(visit.clone(), "It was empty".into(), None).expect("it is said");
    host.sync(&sam);
    let forked = copy(&host, "forked", None);
    let fork = prove(&host, &visit, "fork.zip", false);
    sam.submit(visit.clone()).expect("it is submitted");
    host.sync(&sam);
    let longer = prove(&host, &visit, "longer.zip", false);
    host.end("-TERM");
    fits(&fork, &forked);
    for bundle in [&fork, &longer] {
        let said = badly(beside(bundle, &newest));
        assert!(said.contains("THE LOG CONTRADICTS ITSELF"), "{said}");
    }
    let said = badly(beside(&third, &forked));
    assert!(said.contains("THE LOG CONTRADICTS ITSELF"), "{said}");

    // A copy that is signed by another key is of another log.
    let theirs: NoteKey = key.parse().expect("a key");
    let stranger = NoteKey::new(theirs.name(), theirs.signs(), [9; 32]).expect("a key").to_string();
    let said =
        badly(endcap(["verify", "--copy", newer.to_str().expect("UTF-8"), "--key", &stranger]));
    assert!(
        said.contains("the copy is of a log that is signed by") && said.contains(&key),
        "{said}"
    );
    std::fs::write(newer.join("key"), format!("{stranger}\n")).expect("another key");
    let said = badly(beside(&second, &newer));
    assert!(said.contains("the copy is of a log that is signed by"), "{said}");
}
