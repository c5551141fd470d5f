//! The Python package, and through it the phone's library, against the real server.
//!
//! Each test stages the package as an app would install it, hosts a server in a folder of its own and runs
//! one script beside this file. A script speaks with its host in lines of JSON: see `world.py`.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod brand;
mod host;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use mobile_ffi_bindgen::{Language, generate};

use crate::host::{Host, starts};

/// Gone when the test is over; kept if it fails, to be looked into.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{process}-{number}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match std::thread::panicking() {
            true => eprintln!("what was there: {}", self.0.display()),
            false => drop(std::fs::remove_dir_all(&self.0)),
        }
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The library that Cargo has built for this test, beside its program.
fn library() -> PathBuf {
    let name = match std::env::consts::OS {
        "macos" => "libendcap.dylib",
        "windows" => "endcap.dll",
        _ => "libendcap.so",
    };
    std::env::current_exe().unwrap().with_file_name(name)
}

fn python() -> Option<&'static str> {
    let _starts = starts();
    tests::python::found()
}

/// Puts the package together in `folder` as the wheel installs it.
fn install(python: &str, folder: &Path) -> PathBuf {
    let bindings = folder.join("bindings");
    generate(&library(), Language::Python, &bindings).unwrap();
    let beside = bindings.join(library().file_name().unwrap());
    if std::fs::hard_link(library(), &beside).is_err() {
        std::fs::copy(library(), &beside).unwrap();
    }
    let site = folder.join("site");
    let build = sources().join("mobile-ffi/python/backend.py");
    let mut command = Command::new(python);
    command.arg("-B").arg(build).arg("--bindings").arg(&bindings).arg("--install").arg(&site);
    let starts = starts();
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    drop(starts);
    assert!(child.wait().unwrap().success(), "the package cannot be built");
    site
}

fn run(script: &str, brands: u8) {
    let Some(python) = python() else { return };
    let scratch = Scratch::new();
    let site = install(python, &scratch.0);
    let mut host = Host::new(&scratch.0.join("server"), brands);
    let here = sources().join("tests/python");
    let path = std::env::join_paths([&site, &here]).unwrap();
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(here.join(script))
        .env("PYTHONPATH", path)
        .env("ENDCAP_SCRATCH", &scratch.0)
        .env("ENDCAP_QUICKSTART", sources().join("mobile-ffi/python/quickstart.py"))
        .env("ENDCAP_MEET", sources().join("mobile-ffi/python/meet.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let starts = starts();
    let mut child = command.spawn().unwrap();
    drop(starts);
    let mut answers = child.stdin.take().unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let answer = host.command(&serde_json::from_str(&line.unwrap()).unwrap());
        // A script that has failed no longer listens; its status says so.
        let _ = writeln!(answers, "{answer}");
    }
    let status = child.wait().unwrap();
    assert!(status.success(), "{script} failed: {status}{}", host.log());
}

#[test]
fn quickstart() {
    run("quickstart_test.py", 2);
}

#[test]
fn quickstart_in_the_demo() {
    run("quickstart_demo_test.py", 0);
}

#[test]
fn two_people_disagree_and_a_third_settles_it() {
    run("two_people_test.py", 1);
}

#[test]
fn two_people_write_about_one_outlet() {
    run("outlet_thread_test.py", 1);
}

#[test]
fn a_revoked_phone_keeps_its_work() {
    run("revoked_test.py", 1);
}

#[test]
fn another_key() {
    run("key_test.py", 1);
}

#[test]
fn a_phone_is_killed() {
    run("phone_killed_test.py", 1);
}

#[test]
fn a_server_asks_for_time() {
    run("busy_test.py", 0);
}

#[test]
fn the_server_is_killed() {
    run("server_killed_test.py", 1);
}

#[test]
fn people_on_one_phone_do_not_mix() {
    run("one_phone_test.py", 2);
}

#[test]
fn capture_goes_on_during_a_sync() {
    run("capture_test.py", 1);
}

#[test]
fn work_that_comes_back() {
    run("send_back_test.py", 1);
}

#[test]
fn a_contested_value() {
    run("contest_test.py", 1);
}

#[test]
fn refused_work() {
    run("refused_test.py", 1);
}

#[test]
fn what_cannot_go_again_is_left_out() {
    run("left_out_test.py", 1);
}

#[test]
fn work_goes_through_a_colleague() {
    run("relay_test.py", 1);
}

#[test]
fn the_rest_of_a_day() {
    run("day_test.py", 1);
}

/// Names that a piece of code calls or reaches into, in any of the languages.
fn names(code: &str) -> Vec<&str> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let code = code.lines().map(|line| line.split(" # ").next().unwrap_or(line));
    code.flat_map(|line| {
        let words = line.split(|c| !word(c)).filter(|name| name.starts_with(char::is_alphabetic));
        words.filter(move |name| {
            let at = name.as_ptr() as usize - line.as_ptr() as usize;
            line[..at].ends_with('.') || line[at + name.len()..].starts_with('(')
        })
    })
    .collect()
}

#[test]
fn kotlin_and_swift_generate_and_the_readme_names_what_there_is() {
    let scratch = Scratch::new();
    let readme = std::fs::read_to_string(sources().join("mobile-ffi/README.md")).unwrap();
    for (language, name, file, has) in [
        (Language::Python, "python", "endcap_mobile.py", &["class Client", "async def sync"][..]),
        (
            Language::Kotlin,
            "kotlin",
            "app/endcap/endcap_mobile.kt",
            &["class Client", "suspend fun `sync`", "sealed class ClientException"],
        ),
        (
            Language::Swift,
            "swift",
            "Endcap.swift",
            &["class Client", "func sync(", "enum ClientError"],
        ),
    ] {
        generate(&library(), language, &scratch.0).unwrap();
        let text = std::fs::read_to_string(scratch.0.join(file)).unwrap();
        for word in has {
            assert!(text.contains(word), "{file} has no `{word}`");
        }
        let (_, shown) = readme.split_once(&format!("```{name}\n")).unwrap();
        let used = names(shown.split("```").next().unwrap());
        assert!(used.len() > 20, "{used:?}");
        for name in used.into_iter().filter(|name| !["listOf", "first"].contains(name)) {
            let found = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|w| w == name);
            assert!(found, "{file} has no `{name}`");
        }
    }
    assert!(
        scratch.0.join("EndcapFFI.h").exists() && scratch.0.join("EndcapFFI.modulemap").exists()
    );
}
