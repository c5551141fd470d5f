//! A backup of a server at work, the loss of its folder, and what phones bring back.
//!
//! The servers are processes of the real `endcap`, and so are the backups, restores and checks.
#![cfg(target_os = "linux")]

mod damage;
mod folders;
mod story;

use std::ffi::OsStr;
use std::process::{Command, Output};

const ENDCAP: &str = env!("CARGO_BIN_EXE_endcap");

/// Runs `endcap` to its end.
fn endcap<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    tests::host::run(Command::new(ENDCAP).args(args))
}
