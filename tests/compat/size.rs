//! What the standard audits weigh on the wire: a change of the format that makes them heavier than promised shows here, and
//! not only in a benchmark that nobody has run.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn three_hundred_audits_weigh_what_is_promised() {
    let beside = Path::new(env!("CARGO_BIN_EXE_endcap-bench")).with_file_name("endcap");
    if !beside.is_file() {
        assert!(std::env::var_os("ENDCAP_REQUIRE_SERVICES").is_none(), "there is no {beside:?}");
        eprintln!("skipped: build endcap beside endcap-bench, as `cargo test --workspace` does");
        return;
    }
    let bench = Command::new(env!("CARGO_BIN_EXE_endcap-bench"))
        .args(["sync", "--audits", "300"])
        .output()
        .expect("it runs");
    let said = String::from_utf8(bench.stdout).expect("words");
    assert!(bench.status.success(), "{said}{}", String::from_utf8_lossy(&bench.stderr));
    let figures: Value = serde_json::from_str(said.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        (&figures["entries_pushed"], &figures["entries_pulled"]),
        (&1_800.into(), &1_800.into())
    );
    for (what, most) in [
        ("push_bytes", 270_000),
        ("pull_bytes", 235_000),
        ("noop_bytes", 500),
        ("one_change_bytes", 1_000),
    ] {
        let bytes = figures[what].as_u64().expect("a number");
        assert!(bytes <= most, "{what}: {bytes} of {most} at most");
    }
}
