//! A phone and a server that are killed in the middle of messages, over a link that is far, narrow and lossy.
//!
//! Both are processes: the phone the real library, the server the real `endcap`. A kill is a SIGKILL after
//! so many bytes of a message. `ENDCAP_LINK_ROUNDS`, `ENDCAP_LINK_SEED` and `ENDCAP_LINK_LINE=village` tell
//! longer stories.
#![cfg(target_os = "linux")]

mod audit;
mod phone;
mod story;

const ENDCAP: &str = env!("CARGO_BIN_EXE_endcap");

#[expect(clippy::disallowed_methods, reason = "a test's settings, and what a child is told")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
