//! The Endcap server, as a library so that tests and the demo can run it in their own process.
//!
//! [`ingest`] decides, [`store`] writes, [`api`] speaks with devices and [`console`] with people.

pub mod api;
pub mod app;
pub mod auth;
pub mod backup;
pub mod blobs;
pub mod check;
pub mod config;
pub mod console;
pub mod cosign;
pub mod demo;
pub mod erase;
pub mod error;
pub mod feed;
mod files;
pub mod ingest;
pub mod init;
pub mod jobs;
pub mod limits;
pub mod lines;
pub mod logcopy;
pub mod logkey;
pub mod looks;
pub mod metrics;
pub mod mirror;
mod network;
pub mod people;
pub mod photo;
pub mod prove;
pub mod sending;
pub mod serve;
pub mod signals;
pub mod store;
pub mod witness;
pub mod world;

/// The wall clock, in milliseconds since 1970 UTC. The only place where the server reads it.
#[expect(clippy::disallowed_methods, reason = "the shell reads the clock; the core gets it passed")]
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The clock that never jumps, for durations. The only place where the server reads it.
#[expect(clippy::disallowed_methods, reason = "the shell reads the clock; the core gets it passed")]
pub fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

/// Bytes of the operating system's generator. The only place where the server asks for chance.
#[expect(
    clippy::disallowed_methods,
    reason = "the shell asks for entropy; the core gets it passed"
)]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has a random generator");
    bytes
}

/// A path in the system's folder for temporary files at which nothing is: for tests and benchmarks.
pub fn scratch(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("endcap-{name}-{:016x}", u64::from_be_bytes(random())))
}
