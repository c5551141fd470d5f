//! What the standard audits weigh on the wire: a change of the format that makes them heavier than promised shows here, and
//! not only in a benchmark that nobody has run.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What `endcap-bench` has measured; `None` where `endcap` is not built beside it.
fn measured(how: &[&str]) -> Option<Value> {
    let beside = Path::new(env!("CARGO_BIN_EXE_endcap-bench")).with_file_name("endcap");
    if !beside.is_file() {
        assert!(std::env::var_os("ENDCAP_REQUIRE_SERVICES").is_none(), "there is no {beside:?}");
        eprintln!("skipped: build endcap beside endcap-bench, as `cargo test --workspace` does");
        return None;
    }
    let bench =
        Command::new(env!("CARGO_BIN_EXE_endcap-bench")).args(how).output().expect("it runs");
    let said = String::from_utf8(bench.stdout).expect("words");
    assert!(bench.status.success(), "{said}{}", String::from_utf8_lossy(&bench.stderr));
    Some(serde_json::from_str(said.lines().last().expect("a line")).expect("JSON"))
}

#[track_caller]
fn within(figures: &Value, bounds: &[(&str, u64)]) {
    for (what, most) in bounds {
        let figure = figures[what].as_u64().expect("a number");
        assert!(figure <= *most, "{what}: {figure} of {most} at most");
    }
}

#[test]
fn three_hundred_audits_weigh_what_is_promised() {
    let Some(figures) = measured(&["sync", "--audits", "300"]) else { return };
    let entries = (&figures["entries_pushed"], &figures["entries_pulled"]);
    assert_eq!(entries, (&1_800.into(), &1_800.into()));
    let bounds = [
        ("push_bytes", 270_000),
        ("pull_bytes", 235_000),
        ("noop_bytes", 500),
        ("one_change_bytes", 1_000),
    ];
    within(&figures, &bounds);
}

#[test]
fn what_is_repaired_and_what_is_new_weigh_what_is_promised() {
    let how = ["repair", "--documents", "2000", "--differences", "10"];
    let Some(figures) = measured(&how) else { return };
    let (lost, new) = (&figures["differences"], &figures["delta_changes"]);
    assert_eq!((lost, new), (&10.into(), &1_002.into()));
    let bounds =
        [("nothing_bytes", 500), ("delta_bytes", 200_000), ("bytes", 10_000), ("rounds", 6)];
    within(&figures, &bounds);
}

#[test]
fn outlets_weigh_what_is_promised_on_a_fresh_phone() {
    let Some(figures) = measured(&["first-sync", "--outlets", "2000"]) else { return };
    assert_eq!(figures["outlets"], 2_000);
    // 12 MB of a hundred thousand.
    within(&figures, &[("bytes", 2_000 * 120)]);
}
