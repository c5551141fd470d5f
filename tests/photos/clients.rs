//! Other people's tus clients as they come from their registries: tuspy of PyPI and tus-js-client of npm.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use endcap_mobile::Phase;
use serde_json::{Value, json};
use sync_core::evidence::Keypair;
use tests::brand::RITA;
use tests::host::{Host, begin, record, run, well};

use crate::{ENDCAP, here, large, sync_until};

const TUSPY: &str = "tuspy==1.1.0";
const TUS_JS: &str = "tus-js-client@4.3.1";

/// Says loudly that a test was skipped, or fails where nothing may be.
fn skip(why: &str) {
    let required = std::env::var_os("ENDCAP_REQUIRE_SERVICES").is_some_and(|v| v == "1");
    assert!(!required, "{why}, and ENDCAP_REQUIRE_SERVICES is set");
    // Not `eprintln!`: what that prints is kept back in a test that passes.
    let _ = std::io::stderr().write_all(format!("\n==== SKIPPED: {why} ====\n\n").as_bytes());
}

/// Where clients are installed; they stay from run to run.
fn installed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Whether this can be run and goes well.
fn goes(command: &mut Command) -> bool {
    let output = command.stdin(std::process::Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

/// Uploads a photo that a phone has named with a client that has a token of its own.
fn upload(with: impl FnOnce(&str, &str, &Path, &str) -> Command) {
    let mut host = Host::new(ENDCAP);
    let phone = host.phone(RITA);
    let visit = begin(&phone, 0);
    let photo = large(&phone, 3);
    record(&phone, &visit, true, vec![photo.clone()]);
    sync_until(&host, &phone, Phase::Pull, 0);
    let bytes = phone.photo(photo.hash.clone()).expect("it reads").expect("it is here");
    let file = host.folder.join("photo.jpg");
    std::fs::write(&file, bytes).expect("a file");

    host.end("-TERM");
    host.renew_code(RITA);
    host.start();
    let server = format!("http://{}", host.address());
    let token = host.runtime.block_on(enrol(&server, host.code(RITA)));
    well(run(&mut with(&server, &token, &file, &photo.hash)));
    // The phone finds that it need not send it.
    assert_eq!(host.sync(&phone).photos, 1);
    host.end("-TERM");
    assert_eq!(here(&host.data()), [photo.hash]);
}

async fn enrol(server: &str, code: &str) -> String {
    let keypair = Keypair::from_seed(&[42; 32]);
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (key, proof) = (text(&keypair.public()), text(&keypair.prove(code)));
    let body = json!({ "code": code, "key": key, "proof": proof, "label": "tus" }).to_string();
    let request = tests::live::http().post(format!("{server}/api/v1/enrol"));
    let request = request.header("content-type", "application/json").body(body);
    let answer = request.send().await.expect("an answer").bytes().await.expect("all of it");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    answer["token"].as_str().expect("a token").to_owned()
}

#[test]
fn tuspy() {
    let Some(python) = tests::python::found() else { return };
    let folder = installed("tuspy");
    let interpreter = folder.join("bin/python");
    let has = |interpreter: &Path| goes(Command::new(interpreter).args(["-c", "import tusclient"]));
    if !has(&interpreter) {
        let made = goes(Command::new(python).args(["-m", "venv"]).arg(&folder))
            && goes(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet", TUSPY]));
        if !made || !has(&interpreter) {
            return skip("tuspy cannot be installed");
        }
    }
    upload(|server, token, file, digest| {
        let mut command = Command::new(interpreter);
        command.arg("-c").arg(include_str!("tuspy.py")).args([server, token]);
        command.arg(file).arg(digest);
        command
    });
}

#[test]
fn tus_js_client() {
    if !goes(Command::new("node").arg("--version")) {
        return skip("there is no Node.js");
    }
    let folder = installed("tus-js-client");
    let module = folder.join("node_modules/tus-js-client");
    if !module.join("package.json").is_file() {
        let quiet = ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        let made = std::fs::create_dir_all(&folder).is_ok()
            && goes(Command::new("npm").args(quiet).arg("--prefix").arg(&folder).arg(TUS_JS));
        if !made || !module.is_dir() {
            return skip("tus-js-client cannot be installed");
        }
    }
    upload(|server, token, file, digest| {
        let mut command = Command::new("node");
        command.arg("-e").arg(include_str!("tus.js")).arg(&module).args([server, token]);
        command.arg(file).arg(digest);
        command
    });
}
