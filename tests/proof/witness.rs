//! Somebody else's signature under the log, and what it keeps a server from.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use server::app::App;
use server::cosign::Witnesses;
use server::witness::WitnessError;
use sync_core::evidence::Keypair;
use sync_core::id::LogHash;
use sync_core::model::catalogue::{Display, Record};
use sync_core::proof::verify;
use sync_core::tlog::{NoteKey, SignedNote};
use tests::brand::{ORG, RITA};
use tests::host::{Folder, Host, SHARED, badly, begin, kill, listening, record, well};

use crate::{endcap, prove};

const NAME: &str = "witness.example/w1";

/// A real `endcap witness`.
struct Witness {
    process: Arc<Mutex<Child>>,
    folder: PathBuf,
    /// Its line in a server's list.
    line: String,
    key: NoteKey,
}

impl Witness {
    fn start(folder: &Path, log: &str) -> Self {
        let mut command = Command::new(crate::ENDCAP);
        command.arg("witness").arg(folder).args(["--name", NAME, "--log", log]);
        let (child, said) =
            listening(command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "off"));
        let said = said.expect("it listens");
        let line = said.lines().nth(1).expect("its key").trim().to_owned();
        let key = line.split(' ').next().expect("a key").parse().expect("it reads");
        Self { process: Arc::new(Mutex::new(child)), folder: folder.to_owned(), line, key }
    }

    fn pair(&self) -> Keypair {
        let seed = std::fs::read_to_string(self.folder.join("key")).expect("its key");
        let seed: LogHash = seed.trim().parse().expect("32 bytes");
        Keypair::from_seed(&seed.0)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        kill(&self.process);
    }
}

fn log_key(host: &Host) -> String {
    let keys = well(endcap(["log-key", "--data", host.data().to_str().expect("UTF-8")]));
    keys.trim().split_once(": ").expect("name and key").1.to_owned()
}

/// Asks the witness once while nobody serves; why it did not sign, if it did not.
fn ask(host: &Host, witness: &Witness, wait_ms: i64) -> Option<String> {
    host.runtime.block_on(async {
        let app = App::open(host.data()).await.expect("the folder opens");
        let witnesses: Witnesses = witness.line.parse().expect("a list");
        witnesses.ask(&app, server::now_ms() + wait_ms).await;
        app.store.close();
    });
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    db.query_row("SELECT refused FROM cosignature", [], |row| row.get(0)).expect("it was asked")
}

fn grow(host: &Host, numbers: std::ops::Range<u32>) {
    let display = |number| {
        let (name, description) = (format!("Display {number}"), String::new());
        Record::Display(Display { number, name, description })
    };
    host.write(numbers.map(display).collect());
}

fn database(host: &Host) -> PathBuf {
    host.data().join("endcap.db")
}

fn mirror(host: &Host, dir: &str, log: &str, witness: &NoteKey) -> std::process::Output {
    let (url, dir) = (format!("http://{}/log/{ORG}", host.address()), host.folder.join(dir));
    let (dir, witness) = (dir.to_str().expect("UTF-8"), witness.to_string());
    endcap(["mirror", &url, dir, "--key", log, "--witness", &witness])
}

#[test]
fn a_witness_signs_what_grows_and_a_copy_and_a_proof_show_it() {
    let mut host = Host::new(crate::ENDCAP);
    let rita = host.phone(RITA);
    let visit = begin(&rita, SHARED);
    record(&rita, &visit, true, Vec::new());
    host.sync(&rita);
    let log = log_key(&host);
    let witness = Witness::start(&host.folder.join("witness"), &log);
    // Nobody has signed yet.
    let said = badly(mirror(&host, "early", &log, &witness.key));
    assert!(said.contains("No witness has signed this log yet"), "{said}");
    host.end("-TERM");

    assert_eq!(ask(&host, &witness, 0), None, "it signs");
    well(host.check("data"));
    let stranger = NoteKey::new(NAME, witness.key.signs(), [9; 32]).expect("a key");
    let bundle = prove(&host, &visit, "signed.zip", false);
    let bundle = bundle.to_str().expect("UTF-8");
    let said =
        well(endcap(["verify", bundle, "--key", &log, "--witness", &witness.key.to_string()]));
    assert!(
        said.contains("- witness.example/w1, by its key below, saw this checkpoint at"),
        "{said}"
    );
    let not = said.split_once("WHAT IS NOT PROVED").expect("it says so").1;
    assert!(not.contains("- That this is the key of the witness of this name;"), "{said}");
    assert!(not.contains(&format!("\n  {}\n", witness.key)), "{said}");
    assert!(not.contains("You gave the key of the witness witness.example/w1, and it is this"));
    let said = well(endcap(["verify", bundle]));
    assert!(said.contains("Compare the key of the witness witness.example/w1"), "{said}");
    badly(endcap(["verify", bundle, "--witness", &stranger.to_string()]));
    if let Some(output) = crate::python(&[bundle.as_ref(), log.as_ref()]) {
        well(output);
    }
    let bytes = std::fs::read(bundle).expect("it reads");
    let before = verify(&bytes).expect("sound").checkpoint.size;

    // What came since is in no bundle of before; a bundle of the same visit stays at what was witnessed.
    grow(&host, 1_000..1_040);
    let bytes = std::fs::read(prove(&host, &visit, "same.zip", false)).expect("it reads");
    let proved = verify(&bytes).expect("sound");
    assert_eq!((proved.checkpoint.size, proved.witnesses.len()), (before, 1));
    host.start();
    // Whoever has not the key that was given brings nothing onto the disk.
    let known: NoteKey = log.parse().expect("a key");
    let other = NoteKey::new(known.name(), known.signs(), [9; 32]).expect("a key").to_string();
    badly(mirror(&host, "liar", &other, &witness.key));
    let brought = std::fs::read_dir(host.folder.join("liar")).into_iter().flatten().flatten();
    let brought = brought.map(|entry| entry.file_name()).filter(|name| name != "lock");
    assert_eq!(brought.collect::<Vec<_>>(), ["refused"]);
    let said = well(mirror(&host, "copy", &log, &witness.key));
    assert!(
        said.contains(&format!("has signed its first {before} lines, as they are here")),
        "{said}"
    );
    record(&rita, &visit, true, Vec::new());
    host.sync(&rita);
    host.end("-TERM");
    let bytes = std::fs::read(prove(&host, &visit, "newer.zip", false)).expect("it reads");
    let proved = verify(&bytes).expect("sound");
    assert!(proved.checkpoint.size > before + 40 && proved.witnesses.is_empty());
    assert_eq!(ask(&host, &witness, 0), None);
    let bytes = std::fs::read(prove(&host, &visit, "newest.zip", false)).expect("it reads");
    assert_eq!(verify(&bytes).expect("sound").witnesses.len(), 1);
    // An answer that was lost, or a stranger who has asked first, is no server that went back.
    let db = Connection::open(database(&host)).expect("it opens");
    db.execute("DELETE FROM cosignature", []).expect("the answer is lost");
    drop(db);
    assert_eq!(ask(&host, &witness, 0), None, "it signs once more");

    // A witness that is restarted goes on where it was; under another name it does not start.
    let folder = witness.folder.clone();
    kill(&witness.process);
    grow(&host, 1_040..1_050);
    let refused = ask(&host, &witness, 0).expect("it is away");
    assert!(refused.contains("it cannot be reached: Connection refused"), "{refused}");
    drop(witness);
    let renamed =
        endcap(["witness", folder.to_str().expect("UTF-8"), "--name", "w.example", "--log", &log]);
    assert!(badly(renamed).contains("witness.example/w1"));
    let witness = Witness::start(&folder, &log);
    grow(&host, 2_000..2_010);
    assert_eq!(ask(&host, &witness, 120_000), None);
    // Any byte of what is kept of it that rots is named.
    let db = Connection::open(database(&host)).expect("it opens");
    db.execute("UPDATE cosignature SET line = replace(line, substr(line, -9, 4), 'AAAA')", [])
        .expect("it rots");
    let said = badly(host.check("data"));
    assert!(said.contains("the witness witness.example/w1"), "{said}");
}

#[test]
fn a_server_that_shows_another_log_gets_no_signature() {
    let mut host = Host::new(crate::ENDCAP);
    let log = log_key(&host);
    host.end("-TERM");
    let witness = Witness::start(&host.folder.join("witness"), &log);
    grow(&host, 1_000..1_010);
    assert_eq!(ask(&host, &witness, 0), None);
    let (then, now) = (host.folder.join("then.db"), host.folder.join("now.db"));
    std::fs::copy(database(&host), &then).expect("a copy");
    grow(&host, 1_010..1_020);
    assert_eq!(ask(&host, &witness, 0), None);
    std::fs::copy(database(&host), &now).expect("a copy");

    // Back to before, and shorter, as long and longer than what the witness has signed.
    std::fs::copy(&then, database(&host)).expect("rolled back");
    for numbers in [2_000..2_005, 2_005..2_010, 2_010..2_020] {
        grow(&host, numbers);
        let refused = ask(&host, &witness, 120_000).expect("it does not sign");
        assert!(refused.contains("THIS SERVER WENT BACK"), "{refused}");
    }
    // The signature of before is in it: as long as it is fresh it says what it says, and no more.
    host.start();
    let said = well(mirror(&host, "fresh", &log, &witness.key));
    assert!(said.contains("has signed its first"), "{said}");
    host.end("-TERM");
    let db = Connection::open(database(&host)).expect("it opens");
    host.start();
    let note = witnessed(&host);
    let note: SignedNote = note.parse().expect("a note");
    let old = server::now_ms() as u64 / 1_000 - 2 * 86_400;
    let line = note.cosign(&witness.key, &witness.pair(), old);
    db.execute("UPDATE cosignature SET line = ?1, signed_s = ?2", (line.trim_end(), old))
        .expect("old");
    let said = badly(mirror(&host, "stale", &log, &witness.key));
    assert!(said.contains("has signed nothing for 48 hours"), "{said}");
    // Who had seen the log as it was has the contradiction in hand.
    host.end("-TERM");
    drop(db);
    std::fs::copy(&now, database(&host)).expect("as it was");
    assert_eq!(ask(&host, &witness, 7_200_000), None, "an hour later it is signed anew");
    host.start();
    well(mirror(&host, "copy", &log, &witness.key));

    // A list that does not read is named with its line, and the server does not start.
    host.end("-TERM");
    let list = host.folder.join("witnesses");
    std::fs::write(&list, format!("# ours\n{}\nnonsense\n", witness.line)).expect("a list");
    let data = host.data();
    let serve = ["serve", "--data", data.to_str().expect("UTF-8"), "--witnesses"];
    let output = endcap(serve.into_iter().chain([list.to_str().expect("UTF-8")]));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 3"));
    // With one that reads it asks by itself.
    std::fs::write(&list, format!("{}\n", witness.line)).expect("a list");
    grow(&host, 3_000..3_003);
    let newest = host.runtime.block_on(async {
        let app = App::open(host.data()).await.expect("the folder opens");
        let head = app.head(&app.tenants()[0]).await.expect("a head");
        app.store.close();
        head
    });
    host.serve = vec!["--witnesses".into(), list.to_str().expect("UTF-8").into()];
    host.start();
    let signed = (0..1_000).any(|_| witnessed(&host).contains(&format!("\n{}\n", newest.sequence)));
    assert!(signed, "it was not asked");
}

#[test]
fn a_witness_that_finds_its_folder_in_use_makes_no_key() {
    let folder = Folder::new();
    let folder = folder.join("witness");
    std::fs::create_dir(&folder).expect("a folder");
    let _works = server::store::lock(&folder).expect("nobody is there");
    let opened = server::witness::Witness::open(folder.clone(), NAME, Vec::new());
    assert!(matches!(opened, Err(WitnessError::InUse)));
    assert!(!folder.join("key").exists());
}

/// What witnesses have signed.
pub(crate) fn witnessed(host: &Host) -> String {
    let note = crate::get(host, "witnessed", None).unwrap_or_default();
    String::from_utf8(note).expect("text")
}
