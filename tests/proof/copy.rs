//! A bundle beside a copy of the log, when there is no server to ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use endcap_mobile::Client;
use server::logcopy::{Differs, LogCopy};
use server::logkey::LogKeys;
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::evidence::Leaf;
use sync_core::model::catalogue::{Record, RecordKind};
use sync_core::proof::{Proof, build, verify};
use sync_core::tlog::{NoteKey, SignedNote};
use tests::brand::{ORG, RITA, SAM};
use tests::host::{Host, SHARED, badly, begin, photo, record, well};

use crate::mirror::{TOKEN, give_token};
use crate::{endcap, prove};

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

/// The bundle without the two changes that were written last, signed as whole.
fn cut(host: &Host, bundle: &Path) -> (PathBuf, [u64; 2]) {
    let (mut proof, note) = opened(bundle);
    let is_change = |leaf: &[u8]| matches!(from_cbor(leaf), Ok(Leaf::Change { .. }));
    let changes = proof.lines.iter().filter(|l| l.body.is_some() && is_change(&l.leaf.0));
    // A beginning and a recording have one signature.
    let gone: Vec<u64> = changes.rev().take(2).map(|line| line.sequence).collect();
    proof.lines.retain(|line| !gone.contains(&line.sequence));
    (signed(host, "cut.zip", &proof, &note), [gone[1], gone[0]])
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

fn opened(bundle: &Path) -> (Proof, SignedNote) {
    let bytes = std::fs::read(bundle).expect("it reads");
    let files = sync_core::zip::read(&bytes).expect("files");
    let note = std::str::from_utf8(files[1].1).expect("a text").parse().expect("a note");
    (from_cbor(files[2].1).expect("it reads"), note)
}

/// Which lines of the log a bundle has of those.
pub(crate) fn lines(bundle: &Path, which: impl Fn(&Leaf) -> bool) -> Vec<u64> {
    let lines = opened(bundle).0.lines.into_iter();
    let which = lines.filter(|line| from_cbor(&line.leaf.0).is_ok_and(|leaf| which(&leaf)));
    which.map(|line| line.sequence).collect()
}

/// A bundle as whoever has the log's key may sign it.
fn signed(host: &Host, name: &str, proof: &Proof, note: &SignedNote) -> PathBuf {
    let keys = LogKeys::at(&host.data());
    let pair = keys.kept(ORG).expect("it reads").expect("a key");
    let built = build(proof, note, &BTreeMap::new(), &pair).expect("what is left holds");
    verify(&built).expect("by itself nobody can tell");
    let to = host.folder.join(name);
    std::fs::write(&to, built).expect("written");
    to
}

/// The bundle without its one line of this kind, signed as whole.
pub(crate) fn silent(host: &Host, bundle: &Path, goes: impl Fn(u64, &Leaf) -> bool) -> PathBuf {
    let (mut proof, note) = opened(bundle);
    let before = proof.lines.len();
    proof
        .lines
        .retain(|line| from_cbor(&line.leaf.0).map_or(true, |leaf| !goes(line.sequence, &leaf)));
    assert_eq!(proof.lines.len() + 1, before);
    signed(host, "silent.zip", &proof, &note)
}

/// Whether a line says that something was erased.
fn erases(_: u64, leaf: &Leaf) -> bool {
    matches!(leaf, Leaf::Record { kind, .. } if *kind == RecordKind::Erased as u8)
}

#[test]
fn a_copy_shows_without_a_server_what_a_bundle_lacks() {
    let mut host = Host::new(crate::ENDCAP);
    give_token(&host);
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
    let hidden = silent(&host, &told, erases);
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

/// A bundle as its proof has it.
fn read(bundle: &Path) -> Proof {
    let bytes = std::fs::read(bundle).expect("it reads");
    let files = sync_core::zip::read(&bytes).expect("files");
    from_cbor(files[2].1).expect("it reads")
}

/// The places of the lines of a kind of record.
fn records(proof: &Proof, of: RecordKind) -> Vec<usize> {
    let is =
        |leaf: &[u8]| matches!(from_cbor(leaf), Ok(Leaf::Record { kind, .. }) if kind == of as u8);
    (0..proof.lines.len()).filter(|place| is(&proof.lines[*place].leaf.0)).collect()
}

/// A line can be there, proved to be in the log, and be empty of what it says: then it hides that.
#[test]
fn a_bundle_cannot_hide_what_it_has_a_line_of() {
    let mut host = Host::new(crate::ENDCAP);
    give_token(&host);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    let taken = photo(&rita, 9);
    let erased = taken.hash.clone();
    record(&rita, &visit, true, vec![taken]);
    host.sync(&rita);
    host.sync(&rita);
    rita.comment(visit.clone(), "So it was".into(), None).expect("it is said");
    host.sync(&rita);
    let proof = read(&prove(&host, &visit, "before.zip", false));
    host.end("-TERM");
    erase(&host, &erased);
    let device = proof.lines[records(&proof, RecordKind::Device)[0]].body.clone();
    let device: Record = from_cbor(&device.expect("a record").0).expect("it reads");
    host.write(vec![device]);
    let whole = prove(&host, &visit, "whole.zip", false);
    host.start();
    let copy = copy(&host, "copy", None);
    host.end("-TERM");
    fits(&whole, &copy);

    let (bytes, proof) = (std::fs::read(&whole).expect("it reads"), read(&whole));
    let proved = verify(&bytes).expect("it is sound");
    let files = sync_core::zip::read(&bytes).expect("files");
    let note: SignedNote =
        std::str::from_utf8(files[1].1).expect("a text").parse().expect("a note");
    let pair = LogKeys::at(&host.data()).kept(ORG).expect("it reads").expect("a key");
    let said_last = proof.lines.iter().rposition(|line| line.seal.is_some()).expect("a change");
    let devices = records(&proof, RecordKind::Device);
    let erased = records(&proof, RecordKind::Erased);
    assert_eq!((devices.len(), erased.len()), (2, 1));
    for (place, first, second) in [
        (said_last, "is of this visit, and its change is missing", "lacks its change"),
        (devices[1], "bears on this visit, and its record is missing", "lacks its record"),
        (erased[0], "bears on this visit, and its record is missing", "lacks its record"),
    ] {
        let mut empty = proof.clone();
        let line = &mut empty.lines[place];
        (line.body, line.salt, line.seal) = (None, None, None);
        let at = line.sequence;
        let (first, second) = (format!("line {at}: {first}"), format!("line {at} {second}"));
        // Whoever has the log's key cannot make it.
        let built = build(&empty, &note, &BTreeMap::new(), &pair).expect_err("it is made");
        assert_eq!(built.0, first);
        let (mut files, empty) = (files.clone(), to_cbor(&empty));
        files[2].1 = &empty;
        let packed = sync_core::zip::write(&files).expect("packed");
        let file = host.folder.join("empty.zip");
        std::fs::write(&file, &packed).expect("written");
        let said = badly(beside(&file, &copy));
        assert!(said.contains(&first), "{said}");
        if let Some(output) = crate::python(&[file.as_os_str()]) {
            let said = badly(output);
            assert!(said.contains(&second), "{said}");
        }
        // Nor does such a line count where a copy is asked for what is missing.
        match LogCopy::at(&copy).compare(&packed, &proved) {
            Err(Differs::Cut(lines)) => assert_eq!((place, lines), (said_last, vec![at])),
            Err(Differs::Silent(lines)) => assert_eq!((lines.len(), lines[0].0), (1, at)),
            other => panic!("line {at}: {other:?}"),
        }
    }
}
