//! A visit is proved to somebody who has neither server nor network: by `endcap prove` and `endcap verify`, and by
//! a second verifier that shares no code with them.
#![cfg(target_os = "linux")]

mod c2sp;
mod copy;
mod cosign;
mod key;
mod mirror;
mod witness;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use endcap_mobile::{ContestStep, Found, Observation, Subject, Value};
use server::logkey::LogKeys;
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::evidence::{Keypair, Leaf};
use sync_core::id::{BlobHash, LogOrigin};
use sync_core::model::capture::Moment;
use sync_core::model::visit::Note;
use sync_core::proof::{Proof, VERSION, build, known_at, verify};
use sync_core::tlog::{NoteKey, SignedNote};
use tests::brand::{ORG, RITA, SAM, SUE, SVEN, checks, product};
use tests::host::{Host, SHARED, badly, begin, photo, record, run, start, well};

const ENDCAP: &str = env!("CARGO_BIN_EXE_endcap");

/// What stands at an address of the log.
fn get(host: &Host, path: &str, token: Option<&str>) -> Option<Vec<u8>> {
    let url = format!("http://{}/log/{ORG}/{path}", host.address());
    let mut request = reqwest::Client::new().get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    host.runtime.block_on(async {
        let answer = request.send().await.expect("an answer");
        let found = answer.status().is_success();
        let body = answer.bytes().await.expect("a body");
        found.then(|| body.to_vec())
    })
}

fn endcap<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    run(Command::new(ENDCAP).args(args))
}

fn prove(host: &Host, visit: &str, name: &str, photos: bool) -> PathBuf {
    let (to, data) = (host.folder.join(name), host.data());
    let mut args =
        vec![OsStr::new("prove"), OsStr::new(visit), OsStr::new("--data"), data.as_os_str()];
    args.extend([OsStr::new("--to"), to.as_os_str()]);
    args.extend(photos.then_some(OsStr::new("--photos")));
    well(endcap(args));
    to
}

/// The server has a visit of two people, with a comment, photos and a review to come.
fn worked() -> (Host, String) {
    let host = Host::new(ENDCAP);
    let (rita, sam) = (host.phone(RITA), host.phone(SAM));
    // The newest line that she knows of is nothing to the visit but a time.
    host.phone(SVEN);
    host.sync(&rita);
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, vec![photo(&rita, 1)]);
    host.sync(&rita);
    host.sync(&sam);
    begin(&sam, SHARED);
    record(&sam, &visit, false, vec![photo(&sam, 2)]);
    rita.comment(visit.clone(), "Ask the manager".into(), None).expect("it is said");
    rita.submit(visit.clone()).expect("it is submitted");
    host.sync(&rita);
    host.sync(&sam);
    (host, visit)
}

fn python(args: &[&OsStr]) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/compat/bundle.py");
    let python = tests::python::found()?;
    Some(run(Command::new(python).arg(script).args(args)))
}

#[test]
fn the_document_is_of_the_version_that_is_written() {
    let document = include_str!("../../docs/proof-bundle.md");
    assert!(document.starts_with(&format!("# The proof bundle, version {VERSION}\n")));
    assert!(document.contains(&format!("\nproof = {{0: {VERSION}, ")));
}

#[test]
fn a_visit_whose_photos_no_bundle_holds_is_proved_without_them() {
    let (mut host, visit) = worked();
    host.end("-TERM");
    let data = host.data();
    let connection = rusqlite::Connection::open(data.join("endcap.db")).expect("it opens");
    let hash: [u8; 32] = connection
        .query_row("SELECT hash FROM photo WHERE here = 1 LIMIT 1", [], |row| row.get(0))
        .expect("a photo");
    let name = BlobHash(hash).to_string();
    let file = data.join(format!("blobs/{ORG}/{}/{name}", &name[..2]));
    let file = std::fs::OpenOptions::new().write(true).open(file).expect("its file");
    file.set_len(2 << 30).expect("it is longer, and takes no room");
    let to = host.folder.join("photos.zip");
    let args = [OsStr::new("prove"), OsStr::new(&visit), OsStr::new("--data"), data.as_os_str()];
    let more = [OsStr::new("--to"), to.as_os_str(), OsStr::new("--photos")];
    let said = badly(endcap(args.into_iter().chain(more)));
    assert!(said.contains("2048 MiB") && said.contains("prove it without --photos"), "{said}");
    assert!(!to.exists());
    prove(&host, &visit, "bare.zip", false);
}

#[test]
fn a_visit_is_proved_offline_and_nothing_can_be_changed() {
    let (mut host, visit) = worked();
    let keys = well(endcap([OsStr::new("log-key"), OsStr::new("--data"), host.data().as_os_str()]));
    let key = keys.trim().split_once(": ").expect("name and key").1.to_owned();
    let whole = prove(&host, &visit, "whole.zip", true);
    let page = format!("http://{}/visits/{visit}?from=visits#photos", host.address());
    let bare = prove(&host, &page, "bare.zip", false);
    let data = host.data();
    let said = endcap([
        OsStr::new("prove"),
        OsStr::new("visits/x"),
        OsStr::new("--data"),
        data.as_os_str(),
    ]);
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("last part of the address of its page"));
    host.end("-TERM");
    // Nobody reads on, as after `| head`.
    for args in [
        ["verify".as_ref(), whole.as_os_str()].as_slice(),
        &["log-key".as_ref(), "--data".as_ref(), data.as_os_str()],
    ] {
        let (read, write) = std::io::pipe().expect("a pipe");
        drop(read);
        let ended = start(Command::new(ENDCAP).args(args).stdout(write).stderr(Stdio::piped()));
        let ended = ended.wait_with_output().expect("it ends");
        assert_eq!(
            (ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()),
            (Some(0), "")
        );
    }

    let said = well(endcap(["verify", whole.to_str().expect("UTF-8"), "--key", &key]));
    for part in [
        "Rita",
        "Sam",
        "\"Ask the manager\"",
        "in this bundle",
        "WHAT IS NOT PROVED",
        ": a conflict",
        "You gave the log's key, and it is this one",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = badly(endcap([
        OsStr::new("prove"),
        OsStr::new(&visit),
        OsStr::new("--data"),
        host.data().as_os_str(),
        OsStr::new("--to"),
        whole.as_os_str(),
    ]));
    assert!(said.contains("choose another with --to"), "{said}");
    let said = endcap(["verify", bare.to_str().expect("UTF-8"), "--key", keys.trim()]).stderr;
    assert!(String::from_utf8_lossy(&said).contains("as `endcap log-key` prints it"));
    let said = well(endcap(["verify", bare.to_str().expect("UTF-8")]));
    assert!(said.contains("by its digest alone") && said.contains("give it with --key"), "{said}");
    let stranger = NoteKey::of_log(ORG, LogOrigin::from_bytes([7; 16]), [9; 32]).to_string();
    let said = badly(endcap(["verify", bare.to_str().expect("UTF-8"), "--key", &stranger]));
    assert!(said.contains("as `endcap log-key` prints it"), "{said}");

    let bytes = std::fs::read(&whole).expect("it reads");
    let proved = verify(&bytes).expect("it is sound");
    assert_eq!(proved.key.to_string(), key);
    assert!(proved.checkpoint.size > 20);
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(verify(&bytes[..cut]).is_err());
    }
    let tampered = host.folder.join("tampered.zip");
    let mut bent = bytes.clone();
    bent[40] ^= 1;
    std::fs::write(&tampered, &bent).expect("it is written");
    let said = badly(endcap(["verify", tampered.to_str().expect("UTF-8")]));
    assert!(said.contains("summary.txt") || said.contains("container"), "{said}");

    let Some(output) = python(&[whole.as_os_str(), OsStr::new(&key)]) else { return };
    let said = well(output);
    assert!(said.contains(&format!("holds: visit {visit}, 6 changes, ")), "{said}");
    assert!(said.contains("the log's key is the one that you gave"), "{said}");
    let said = well(python(&[bare.as_os_str()]).expect("Python"));
    assert!(said.contains(&format!("compare the log's key with your own: {key}.")), "{said}");
    let said = badly(python(&[tampered.as_os_str()]).expect("Python"));
    assert!(said.contains("does not hold. What is wrong: the container."), "{said}");
    let said = badly(python(&[whole.as_os_str(), OsStr::new(&stranger)]).expect("Python"));
    assert!(said.contains(&format!("its log's key is {key}.")), "{said}");
}

#[test]
fn the_summary_says_values_as_people_do() {
    let host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    let place = Subject::Position { planogram: 1, position: 2 };
    let facing = Value::Shelf { facings: 1, in_stock: false, found: Found::AsPlanned };
    let facts = [
        (checks::PLANOGRAM, place, facing),
        (checks::CHOICE, Subject::Outlet, Value::Choice { option: 1 }),
    ];
    let mut entries = facts.into_iter().map(|(check, subject, value)| {
        let seen = vec![Observation { check, subject, value }];
        rita.record(visit.clone(), seen, Vec::new()).expect("it is saved")
    });
    let shelf = entries.next().expect("the first");
    assert_eq!(entries.count(), 1);
    rita.comment(visit.clone(), "One".into(), Some(shelf.clone())).expect("it is said");
    host.sync(&rita);
    let bundle = std::fs::read(prove(&host, &visit, "v.zip", false)).expect("it reads");
    let said = verify(&bundle).expect("it is sound").summary;
    let before = said.split(&format!("  entry {shelf}\n")).next().expect("before it");
    let line = before.rsplit("\nLine ").next().expect("a line").split(':').next().expect("it");
    let shelf = format!("Oats 2 ({}), position 2 of Breakfast bay: 1 facing", product(2));
    for part in [
        format!(": recorded 1 fact\n  Shelf\n    {shelf}\n  by Rita ({RITA}), signed by "),
        ": recorded 1 fact\n  Floor\n    the outlet: \"wet\"\n".to_owned(),
        format!("\n  Shelf\n    {shelf} (line {line}, Rita, not submitted)\n"),
        format!(": said to line {line}: \"One\"\n"),
        "\nStatus in progress\n".to_owned(),
        "\nDistributor Distributor 1\n".to_owned(),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
}

#[test]
fn the_proof_of_a_disputed_visit_tells_the_dispute() {
    let mut host = Host::new(ENDCAP);
    let (rita, sam, sue) = (host.phone(RITA), host.phone(SAM), host.phone(SUE));
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, vec![photo(&rita, 1)]);
    rita.submit(visit.clone()).expect("it is submitted");
    host.sync(&rita);
    host.sync(&sam);
    let (check, subject) = (Some(checks::DISPLAY), Some(Subject::Display { display: 1 }));
    let (claim, shows) = (Some(Value::Met { met: false }), vec![photo(&sam, 3)]);
    let shown = shows[0].hash.clone();
    let text = "It was\u{2028}Line 9: empty \u{202e}all day".to_owned();
    let contest = sam.contest(visit.clone(), text, check, subject, claim, shows);
    let contest = contest.expect("it is contested");
    let whole = sam.contest(visit.clone(), "Nobody came".into(), None, None, None, Vec::new());
    let whole = whole.expect("it is contested");
    host.sync(&sam);
    host.sync(&sue);
    let photos = vec![photo(&sue, 4)];
    let found = photos[0].hash.clone();
    for (of, step, text, photos) in [
        (&contest, ContestStep::Ask, "Since when?", Vec::new()),
        (&contest, ContestStep::Uphold, "It was there", photos),
        (&whole, ContestStep::Accept, "So it is", Vec::new()),
    ] {
        let contests = sue.contests().expect("contests");
        let seen = contests.into_iter().find(|found| found.contest.id == *of).expect("it is here");
        let (visit, of, seen) = (visit.clone(), of.clone(), seen.contest.state);
        let answered = sue.answer_contest(visit, of, seen, step, text.into(), photos);
        answered.expect("it is answered");
    }
    host.sync(&sue);
    let disputed = prove(&host, &visit, "disputed.zip", true);
    let said = well(endcap(["verify", disputed.to_str().expect("UTF-8")]));
    let line = |entry: &str| {
        let before = said.split(&format!("entry {entry}")).next().expect("before it");
        let from = before.rfind("\nLine ").expect("its line") + 6;
        before[from..].split(':').next().expect("a number").to_owned()
    };
    let (value, all) = (line(&contest), line(&whole));
    for part in [
        ": contested a value, ".to_owned(),
        ", End cap (display 1): \"It was Line 9: empty \u{fffd}all day\"".to_owned(),
        "  against as agreed, recorded in line ".to_owned(),
        "  claims that it was not as agreed instead".to_owned(),
        format!("  with the photo {shown}\n"),
        ": contested the whole visit: \"Nobody came\"".to_owned(),
        format!(": asked about the objection of line {value}: \"Since when?\""),
        format!(
            ": found that what was recorded stands, against the objection of line {value}: \"It was there\"\n  \
             with the photo {found}"
        ),
        format!(": found that the objection of line {all} is right: \"So it is\""),
        "WHAT IS CONTESTED".to_owned(),
        "(display 1): it was found that what was recorded stands; what it is against still holds."
            .to_owned(),
        format!(" in line {all}, the whole visit: the objection was found right."),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    assert!(!said.contains(['\u{2028}', '\u{202e}']));
    host.end("-TERM");
    if let Some(output) = python(&[disputed.as_os_str()]) {
        well(output);
    }
}

/// What a device knew, as both verifiers count it: of lives that begin at 0, 10 and 40, on line 20.
#[test]
fn nobody_knows_a_line_that_there_was_not_yet() {
    let lives = [(7, 0), (8, 10), (9, 40)];
    let cases = [
        (Some(7), 4, 4),
        (Some(7), 15, 10),
        (Some(8), 15, 15),
        (Some(8), 30, 20),
        (Some(9), 45, 20),
        (Some(6), 5, 0),
        (None, 15, 15),
        (None, 30, 20),
    ];
    for (life, anchor, known) in cases {
        let when = Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor, skew_ms: None, life };
        assert_eq!(known_at(&lives, 20, &when), known, "{life:?} {anchor}");
        let Some(python) = tests::python::found() else { continue };
        let life = life.map_or("None".to_owned(), |life| life.to_string());
        let asks = format!(
            "import bundle; print(bundle.known_at([(7, 0), (8, 10), (9, 40)], 20, [0, 0, 0, {anchor}, None, {life}]))"
        );
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/compat");
        let said = well(run(Command::new(python).current_dir(folder).args(["-B", "-c", &asks])));
        assert_eq!(said.trim(), known.to_string(), "{life} {anchor}");
    }
}

/// What is packed anew, and what each verifier says of it.
#[test]
fn the_second_verifier_refuses_what_the_first_does() {
    let (host, visit) = worked();
    let bytes = std::fs::read(prove(&host, &visit, "whole.zip", true)).expect("it reads");
    let files = sync_core::zip::read(&bytes).expect("files");
    let proof: Proof = from_cbor(files[2].1).expect("a proof");
    let anchor = proof.lines.iter().position(|line| {
        let leaf = from_cbor::<Leaf>(&line.leaf.0).expect("a leaf");
        line.body.is_none() && !matches!(leaf, Leaf::Origin { .. })
    });
    let anchor = anchor.expect("an anchor");
    let with = |edit: &dyn Fn(&mut Proof)| {
        let mut proof = proof.clone();
        edit(&mut proof);
        to_cbor(&proof)
    };
    let other = Note::new("another", [3; 16]).expect("a note");
    let cases: [(&str, &str, Edit<'_>); 5] = [
        ("", "", &|_| ()),
        ("its anchor is missing", "the anchor of line", &|files| {
            files[2].1 = with(&|proof| drop(proof.lines.remove(anchor)));
        }),
        ("not in their order", "the order of the photos", &|files| files.swap(4, 5)),
        ("another picture", "the name of a photo", &|files| {
            files[4].0 = files[4].0.replace(".jpg", ".png");
        }),
        ("is not of this visit", "a note", &|files| {
            files[2].1 = with(&|proof| proof.notes.push(other.clone()));
        }),
    ];
    for (n, (first, second, edit)) in cases.into_iter().enumerate() {
        let mut packed: Packed =
            files.iter().map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect();
        edit(&mut packed);
        let packed: Vec<_> = packed.iter().map(|(n, b)| (n.clone(), b.as_slice())).collect();
        let packed = sync_core::zip::write(&packed).expect("packed");
        let file = host.folder.join(&format!("{n}.zip"));
        std::fs::write(&file, &packed).expect("it is written");
        let said = verify(&packed).map(drop).map_err(|wrong| wrong.0);
        let output = python(&[file.as_os_str()]);
        if first.is_empty() {
            assert_eq!(said, Ok(()));
            output.map(well);
        } else {
            assert!(said.as_ref().is_err_and(|why| why.contains(first)), "{said:?}");
            if let Some(output) = output {
                let said = badly(output);
                assert!(said.contains(second), "{second}: {said}");
            }
        }
    }
}

/// What is left of a bundle would hold without the rest of it, if the log's key signed it: it has signed only the whole.
#[test]
fn nothing_can_be_left_out_of_a_bundle() {
    let (host, visit) = worked();
    let bytes = std::fs::read(prove(&host, &visit, "whole.zip", true)).expect("it reads");
    let files = sync_core::zip::read(&bytes).expect("files");
    let whole: Proof = from_cbor(files[2].1).expect("a proof");
    let note = std::str::from_utf8(files[1].1).expect("a text").parse().expect("a note");
    let photos: BTreeMap<BlobHash, Vec<u8>> =
        files[4..].iter().map(|(_, photo)| (BlobHash::of(photo), photo.to_vec())).collect();
    let pair = LogKeys::at(&host.data()).kept(ORG).expect("it reads").expect("the log's key");
    let stranger = Keypair::from_seed(&[9; 32]);
    assert!(build(&whole, &note, &photos, &stranger).is_err(), "that key is not the log's");

    let without = |edit: &dyn Fn(&mut Proof)| {
        let mut part = whole.clone();
        edit(&mut part);
        part
    };
    let none = BTreeMap::new();
    let parts = [
        // Those of the one that came last: a beginning and a recording have one signature.
        ("entries", without(&|proof| proof.lines.truncate(proof.lines.len() - 2)), &none),
        ("the words", without(&|proof| proof.notes.clear()), &photos),
        ("the photos", whole.clone(), &none),
    ];
    for (what, part, photos) in parts {
        let built = build(&part, &note, photos, &pair).expect("what is left holds");
        assert_ne!(built, bytes, "{what}");
        let proved = verify(&built).expect("the log's key has signed it");
        let left = sync_core::zip::read(&built).expect("files");
        let listed = std::str::from_utf8(left[3].1).expect("a text").split_once("\n\n");
        let listed = format!("{}\n", listed.expect("a note").0);
        let forged = SignedNote::sign(listed, &proved.key, &stranger).to_string();
        for contents in [files[3].1, forged.as_bytes(), b"", b"\n\n"] {
            let mut packed = left.clone();
            packed[3].1 = contents;
            let file = host.folder.join("part.zip");
            std::fs::write(&file, sync_core::zip::write(&packed).expect("packed"))
                .expect("written");
            let said = badly(endcap([OsStr::new("verify"), file.as_os_str()]));
            assert!(said.contains("contents.txt"), "{what}: {said}");
            if let Some(output) = python(&[file.as_os_str()]) {
                let said = badly(output);
                assert!(said.contains("the contents"), "{what}: {said}");
            }
        }
    }
}

type Packed = Vec<(String, Vec<u8>)>;
type Edit<'a> = &'a dyn Fn(&mut Packed);

/// Files are packed anew after a change, so that the container is whole.
#[test]
fn what_is_packed_anew_does_not_hold() {
    let (host, visit) = worked();
    let bytes = std::fs::read(prove(&host, &visit, "whole.zip", true)).expect("it reads");
    let files = sync_core::zip::read(&bytes).expect("files");
    let again = |edit: &dyn Fn(&mut Packed)| {
        let mut owned: Packed =
            files.iter().map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect();
        edit(&mut owned);
        let files: Vec<_> = owned.iter().map(|(n, b)| (n.clone(), b.as_slice())).collect();
        verify(&sync_core::zip::write(&files).expect("packed")).map(drop).map_err(|wrong| wrong.0)
    };
    assert_eq!(again(&|_| ()), Ok(()));
    let summary = again(&|files| files[0].1.extend_from_slice(b"It was all fine.\n"));
    assert!(summary.is_err_and(|why| why.starts_with("summary.txt")));
    assert!(again(&|files| drop(files.remove(0))).is_err());
    assert!(again(&|files| files.swap(0, 1)).is_err());
    assert!(again(&|files| files.push(("photos/more.jpg".into(), vec![0xff, 0xd8]))).is_err());
    assert!(again(&|files| files.swap(4, 5)).is_err_and(|why| why.contains("order")));
    assert!(again(&|files| files[4].1.push(0)).is_err_and(|why| why.contains("another picture")));
}

/// Whether what is said of a bundle names a line of the log or one of these.
fn names(said: &str, files: &[&str]) -> bool {
    let numbered = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    said.split("line ").skip(1).any(numbered) || files.iter().any(|file| said.contains(file))
}

/// Every byte, in the bundle as it is and behind the sums of its container; what is said of it leads to it.
#[test]
fn no_byte_of_a_bundle_can_be_another() {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    host.sync(&rita);
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, vec![photo(&rita, 1)]);
    rita.comment(visit.clone(), "So it is".into(), None).expect("it is said");
    host.sync(&rita);
    let file = prove(&host, &visit, "small.zip", true);
    host.end("-TERM");
    let mut bytes = std::fs::read(&file).expect("it reads");
    let files: Packed = {
        let files = sync_core::zip::read(&bytes).expect("files");
        files.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect()
    };
    let all: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    // What is not in a file is the container's, which may then give a file another name or length.
    let container = vec!["the container", ": its bytes are not those that were packed"];
    let mut led = vec![container; bytes.len()];
    let mut begins = 0;
    for (name, whole) in &files {
        begins += 30 + name.len();
        led[begins..begins + whole.len()].fill(vec![name]);
        begins += whole.len();
    }
    for (at, led) in led.iter().enumerate() {
        bytes[at] ^= 1 << (at % 8);
        let said = verify(&bytes).expect_err("it was taken").0;
        assert!(names(&said, led), "byte {at}: {said}");
        bytes[at] ^= 1 << (at % 8);
    }
    assert!(verify(&bytes).is_ok());
    for (place, (name, whole)) in files.iter().enumerate() {
        // Of the proof it may be the line, or whatever else does not go with it any more.
        let led = if place == 2 { all.clone() } else { vec![name.as_str()] };
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1 << (at % 8);
            let mut packed: Vec<_> = files.iter().map(|(n, b)| (n.clone(), &b[..])).collect();
            packed[place].1 = &bent;
            let packed = sync_core::zip::write(&packed).expect("packed");
            let said = verify(&packed).expect_err("it was taken").0;
            assert!(names(&said, &led), "byte {at} of {name}: {said}");
        }
    }
    if let Some(output) = python(&[OsStr::new("--flips"), file.as_os_str()]) {
        well(output);
    }
}
