//! The suites that run Python.

use std::io::Write;
use std::process::{Command, Stdio};

/// Python, unless it is absent: then a test is skipped, loudly, or fails where nothing may be skipped.
pub fn found() -> Option<&'static str> {
    let wanted = "import sys; sys.exit(sys.version_info < (3, 9))";
    let found = ["python3", "python"].into_iter().find(|name| {
        let run = Command::new(name).args(["-c", wanted]).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        let required = std::env::var_os("ENDCAP_REQUIRE_SERVICES").is_some_and(|v| v == "1");
        assert!(!required, "there is no Python 3.9 or newer, and ENDCAP_REQUIRE_SERVICES is set");
        // Not `eprintln!`: what that prints is kept back in a test that passes.
        let skipped = b"\n==== SKIPPED: there is no Python 3.9 or newer on this machine ====\n\n";
        let _ = std::io::stderr().write_all(skipped);
    }
    found
}
