//! The walls of docs/ARCHITECTURE.md, over the source text: who may name whom.
//!
//! An exception is listed here with its reason; one that is no longer needed fails the test too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest source file.
const LINES_MAX: usize = 1_500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file that git keeps or would keep, with `/` between folders.
fn files() -> Vec<String> {
    let run = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let names = String::from_utf8(run.stdout).expect("names in UTF-8");
    let files: Vec<String> =
        names.lines().map(str::to_owned).filter(|name| root().join(name).is_file()).collect();
    assert!(files.iter().any(|name| name == "sync-core/src/lib.rs"));
    files
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let wanted = files().into_iter().filter(|f| f.starts_with(folder) && f.ends_with(".rs"));
    let read = |name: String| {
        let text = std::fs::read_to_string(root().join(&name)).expect("a source file reads");
        (name, text)
    };
    wanted.map(read).collect()
}

/// The text without comments and without the content of strings, so that prose names no one.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
        } else if next == '"' {
            let mut escaped = false;
            let close = rest.char_indices().skip(1).find(|(_, c)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            });
            close.map_or(rest.len(), |(at, _)| at + 1)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            out.push(next);
            next.len_utf8()
        };
        rest = &rest[end..];
    }
    out
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Whether a path or macro begins with this name.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + name.len()..].chars().next();
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !inside(before) && !inside(after)
    })
}

/// `name` is named in `folder` only in `allowed` (files, or folders with a slash at the end) and in
/// `exceptions`, each of which it really is named in.
#[track_caller]
fn only_in(folder: &str, name: &str, allowed: &[&str], exceptions: &[(&str, &str)]) {
    let using: BTreeSet<String> = sources(folder)
        .into_iter()
        .filter(|(_, text)| names(&code(text), name))
        .map(|(file, _)| file)
        .collect();
    let within = |file: &String| {
        allowed.iter().any(|a| file == a || (a.ends_with('/') && file.starts_with(a)))
    };
    let excepted: BTreeSet<String> =
        exceptions.iter().map(|(file, _)| (*file).to_owned()).collect();
    let found: BTreeSet<String> = using.into_iter().filter(|file| !within(file)).collect();
    assert_eq!(found, excepted, "`{name}` is named in other files than it should be");
}

#[test]
fn sql_stays_in_the_stores() {
    let exceptions = [
        ("server/src/app.rs", "passes a connection from the store to the store"),
        ("server/src/auth.rs", "passes a transaction from the store to the store"),
        ("server/src/people.rs", "passes a transaction from the store to the store"),
    ];
    only_in("server/src/", "rusqlite", &["server/src/store/"], &exceptions);
    only_in("mobile-ffi/src/", "rusqlite", &["mobile-ffi/src/store.rs"], &[]);
    only_in("sync-core/", "rusqlite", &[], &[]);
    for file in ["server/src/app.rs", "server/src/auth.rs", "server/src/people.rs"] {
        let text = std::fs::read_to_string(root().join(file)).expect("a source file reads");
        let text = code(&text);
        let uses = text.matches("rusqlite::").count();
        let types = text.matches("&rusqlite::Transaction<'_>").count()
            + text.matches("&rusqlite::Connection").count();
        assert_eq!(uses, types, "{file} does more with SQL than pass it on");
    }
}

#[test]
fn what_people_ask_for_in_the_console_is_written_as_theirs() {
    // `Viewer::write` asks once more whether they may.
    let own = [(
        "server/src/console/shown.rs",
        "takes room for photos before what names them is written",
    )];
    only_in("server/src/console/", "write_for", &[], &own);
}

#[test]
fn the_write_path_knows_neither_http_nor_sql() {
    for name in ["axum", "rusqlite", "tokio"] {
        let ingest = std::fs::read_to_string(root().join("server/src/ingest.rs"));
        assert!(!names(&code(&ingest.expect("ingest.rs reads")), name), "ingest.rs names {name}");
    }
    only_in("server/src/store/", "axum", &[], &[]);
}

#[test]
fn http_stays_at_the_edge() {
    let allowed = [
        "server/src/api/",
        "server/src/console/",
        "server/src/app.rs",
        "server/src/auth.rs",
        "server/src/error.rs",
        "server/src/sending.rs",
        "server/src/serve.rs",
    ];
    let exceptions = [
        ("server/src/limits.rs", "names the status of a limit that was hit"),
        ("server/src/metrics.rs", "counts requests by method and status"),
        ("server/src/people.rs", "names the status of what people may not do"),
        ("server/src/photo.rs", "answers with a picture's headers"),
    ];
    only_in("server/src/", "axum", &allowed, &exceptions);
    only_in("sync-core/", "axum", &[], &[]);
    only_in("mobile-ffi/", "axum", &[], &[]);
}

#[test]
fn each_foreign_world_has_one_door() {
    only_in("sync-core/", "automerge", &["sync-core/src/document.rs"], &[]);
    for folder in ["server/src/", "mobile-ffi/src/"] {
        only_in(folder, "automerge", &[], &[]);
    }
    for folder in ["sync-core/", "server/", "tests/"] {
        only_in(folder, "uniffi", &[], &[]);
    }
    only_in("server/src/", "endcap_mobile", &["server/src/demo.rs", "server/src/demo/"], &[]);
    only_in("mobile-ffi/", "server::", &[], &[]);
    for (krate, other) in [
        ("sync-core", "server"),
        ("sync-core", "mobile-ffi"),
        ("sync-core", "picture"),
        ("picture", "sync-core"),
        ("picture", "server"),
        ("picture", "mobile-ffi"),
        ("mobile-ffi", "server"),
    ] {
        let manifest = std::fs::read_to_string(root().join(krate).join("Cargo.toml"));
        let manifest = manifest.expect("a manifest reads");
        let depends = manifest.lines().any(|line| line.starts_with(other));
        assert!(!depends, "{krate} depends on {other}");
    }
}

#[test]
fn the_core_does_no_io() {
    for name in [
        "tokio",
        "reqwest",
        "getrandom",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "std::time",
    ] {
        only_in("sync-core/src/", name, &[], &[]);
        only_in("picture/src/", name, &[], &[]);
    }
    for (file, text) in sources("sync-core/src/") {
        let text = code(&text);
        for word in ["async fn", "static mut", "thread_local"] {
            assert!(!text.contains(word), "{file}: {word}");
        }
    }
}

#[test]
fn files_are_small_and_named_for_what_they_hold() {
    for (file, text) in sources("") {
        assert!(text.lines().count() <= LINES_MAX, "{file} wants to be two files");
        for part in Path::new(&file).with_extension("").iter() {
            let part = part.to_str().expect("UTF-8");
            let vague = ["common", "utils", "util", "helpers", "helper", "misc"];
            assert!(!vague.contains(&part), "{file} is named for nothing");
        }
    }
}

#[test]
fn each_module_is_on_the_map() {
    let map = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the map reads");
    let files = files();
    let mut left_out = Vec::new();
    for (folder, begins, ends) in [
        ("sync-core/src/", "\n### sync-core\n", "\n### "),
        ("server/src/", "\n### server\n", "\n### "),
        ("server/src/store/", "\n| `store/` |", "\n"),
        ("mobile-ffi/src/", "\n### mobile-ffi\n", "\n## "),
    ] {
        let (_, part) = map.split_once(begins).expect("the map has this part");
        let (part, _) = part.split_once(ends).expect("the part ends");
        for file in &files {
            let Some(name) = file.strip_prefix(folder) else { continue };
            let is_module = name.ends_with(".rs") && !name.contains('/') && name != "lib.rs";
            if is_module && !part.contains(&format!("`{name}`")) {
                left_out.push(file);
            }
        }
    }
    assert!(left_out.is_empty(), "docs/ARCHITECTURE.md does not name {left_out:#?}");
}

#[test]
fn what_breaks_a_rule_fits_the_text_once() {
    let rules = std::fs::read_to_string(root().join("tests/mutations/rules.txt")).expect("rules");
    let mut misfits = Vec::new();
    let blocks: Vec<&str> = rules.split("\nrule: ").skip(1).collect();
    assert!(blocks.len() > 50, "the rules are read");
    for block in blocks {
        let rule = block.lines().next().unwrap_or_default();
        let file = block.lines().find_map(|line| line.strip_prefix("file: ")).expect("a file");
        let old: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix('-')).collect();
        let text = std::fs::read_to_string(root().join(file)).expect("the file is there");
        let times = text.matches(&old.join("\n")).count();
        if old.is_empty() || times != 1 {
            misfits.push(format!("{rule}: {file} has its text {times} times, not once"));
        }
    }
    assert!(misfits.is_empty(), "{misfits:#?}");
}

#[test]
fn no_machine_is_named() {
    let homes = ["home", "work", "root", "Users"].map(|home| format!("/{home}/"));
    for file in files() {
        let bytes = std::fs::read(root().join(&file)).expect("a file reads");
        if bytes.contains(&0) {
            continue;
        }
        for home in &homes {
            let named = bytes.windows(home.len()).enumerate().find(|(at, window)| {
                // A path on this machine begins there; part of a URL or of a longer path does not.
                let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
                *window == home.as_bytes()
                    && !(before.is_ascii_alphanumeric() || b"./_-}$".contains(&before))
            });
            assert!(named.is_none(), "{file} names {home}");
        }
    }
}

#[test]
fn code_is_told_from_prose() {
    let text =
        "use a::b; // rusqlite\nlet s = \"axum \\\" x\"; /* tokio */ r#\"uniffi \"\"#; c::d('\"');";
    let code = code(text);
    for prose in ["rusqlite", "axum", "tokio", "uniffi"] {
        assert!(!code.contains(prose), "{code}");
    }
    assert!(names(&code, "a") && names(&code, "c") && !names(&code, "se"));
}
