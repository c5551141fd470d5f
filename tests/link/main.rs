//! A phone and a server that are killed in the middle of messages, over a link that is far, narrow and lossy.
//!
//! Both are processes: the phone the real library, the server the real `endcap`. A kill is a SIGKILL after
//! so many bytes of a message. `ENDCAP_LINK_ROUNDS`, `ENDCAP_LINK_SEED` and `ENDCAP_LINK_LINE=village` tell
//! longer stories.
#![cfg(target_os = "linux")]

mod audit;
mod phone;
mod story;

use std::net::TcpListener;
use std::sync::Arc;

use endcap_mobile::ClientError;
use tests::brand::RITA;
use tests::host::{Host, SHARED, begin};

const ENDCAP: &str = env!("CARGO_BIN_EXE_endcap");

#[expect(clippy::disallowed_methods, reason = "a test's settings, and what a child is told")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[test]
fn a_phone_follows_a_server_that_has_moved() {
    let host = Host::new(ENDCAP);
    let phone = host.phone(RITA);
    begin(&phone, SHARED);
    for nowhere in ["", "endcap.example", "ftp://endcap.example"] {
        let moved = phone.server_moved(nowhere.into());
        assert!(matches!(moved, Err(ClientError::Invalid { .. })), "{nowhere}: {moved:?}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    phone.server_moved(format!("http://{gone}")).expect("it is kept");
    let synced = host.runtime.block_on(Arc::clone(&phone).sync(None, None));
    let Err(ClientError::Unreachable { detail }) = synced else { panic!("{synced:?}") };
    assert!(detail.contains("refused") && !detail.contains(&gone.to_string()), "{detail}");
    phone.server_moved(format!("https://{}", host.address())).expect("it is kept");
    let synced = host.runtime.block_on(Arc::clone(&phone).sync(None, None));
    let Err(ClientError::Unreachable { detail }) = synced else { panic!("{synced:?}") };
    assert_eq!(detail, "what answers does not speak TLS");
    phone.server_moved(format!("http://{}/", host.address())).expect("it is kept");
    assert_eq!(host.sync(&phone).pushed, 1, "the visit that was begun meanwhile");
}
