//! What was saved or acknowledged is there after `kill -9`, and after the power failed.
//!
//! For the power, a process works under `shim.c`, which writes down every change to its files and every
//! sync; [`disk`] plays that back and makes of any point of it what a disk would have kept. Then the real
//! code opens what is left. Nothing here waits for a time to pass.
#![cfg(target_os = "linux")]

mod backup;
mod device;
mod disk;
mod service;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use disk::{Disk, Folder, Line};
use tests::chance::Chance;

/// Where a child works.
const FOLDER: &str = "ENDCAP_POWER_FOLDER";
const ROOT: &str = "ENDCAP_POWER_ROOT";
const JOURNAL: &str = "ENDCAP_POWER_JOURNAL";
/// Points at which the power fails with luck: some of what was not synced is there.
const LUCKY_POINTS: usize = 60;
/// Points at which it fails without any.
const STRICT_POINTS: usize = 90;

#[expect(clippy::disallowed_methods, reason = "a child process is told by its parent what to do")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The folder that this process shall work in, if it is a child.
fn child_folder() -> Option<std::path::PathBuf> {
    told(FOLDER).map(Into::into)
}

/// What a child says, after it has done it.
fn say(line: &str) {
    if let Some(root) = told(ROOT) {
        let marks = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(format!("{root}/test.marks"));
        marks.expect("the marks open").write_all(line.as_bytes()).expect("a mark");
    }
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\n@{line}").and_then(|()| out.flush()); // the parent may have gone
}

/// This program again, as a process of its own that runs one of the ignored tests.
fn child(test: &str, folder: &Folder) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--ignored", "--exact", "--nocapture", test]).env(FOLDER, &folder.0);
    command
        .env("RUST_LOG", "off")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // SIGKILL: nothing of it goes on
        let _ = self.0.wait();
    }
}

/// Runs a child to its end under the shim; what it did to its folder.
fn recorded(test: &str, folder: &Folder) -> Vec<Line> {
    let tools = Folder::new("shim");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power/shim.c");
    let shim = tools.0.join("shim.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&shim, &source])
        .args(["-ldl", "-lpthread"])
        .status()
        .expect("there is a C compiler: Rust links with it");
    assert!(built.success());
    let journal = tools.0.join("journal");
    let ended = child(test, folder)
        .env("LD_PRELOAD", &shim)
        .env(ROOT, &folder.0)
        .env(JOURNAL, &journal)
        .stdout(Stdio::null())
        .status()
        .expect("the child runs");
    assert!(ended.success(), "{test} failed under the shim: {ended}");
    disk::journal(&journal)
}

/// Lets the power fail at many points of a journal. `check` gets what is left and what had been said.
fn fail_everywhere(
    before: Disk,
    journal: &[Line],
    seed: u64,
    mut check: impl FnMut(&Folder, &[&str]),
) {
    let marks = journal.iter().filter(|line| matches!(line, Line::Mark(_))).count();
    let syncs = journal.iter().filter(|line| matches!(line, Line::Sync(_))).count();
    assert!(marks > 0 && syncs >= 10 && syncs >= marks / 4, "the child did too little: {syncs}");
    let mut chance = Chance::new(seed);
    let strict: Vec<usize> = (0..STRICT_POINTS).map(|_| chance.index(journal.len())).collect();
    let lucky: Vec<usize> = (0..LUCKY_POINTS).map(|_| chance.index(journal.len())).collect();
    let (mut disk, mut said) = (before, Vec::new());
    let mut points = 0;
    for (at, line) in journal.iter().enumerate() {
        disk.take(line);
        if let Line::Mark(mark) = line {
            said.push(mark.as_str());
        }
        // Right after something was said is the hardest moment: half of the points are moved there.
        let hard = matches!(line, Line::Mark(_)) && chance.below(marks as u64) < 40;
        if hard || strict.contains(&at) {
            let folder = Folder::new("dark");
            disk.fail(&folder.0, None);
            check(&folder, &said);
            points += 1;
        }
        if lucky.contains(&at) {
            let folder = Folder::new("dusk");
            disk.fail(&folder.0, Some(&mut chance));
            check(&folder, &said);
            points += 1;
        }
    }
    assert!(points > STRICT_POINTS / 2);
}
