//! A phone's token goes to its server and to nobody else, whatever the server answers.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::{HeaderValue, header};
use endcap_mobile::{Client, ClientError};
use tests::brand::{self, RITA, SAM};

use crate::office::{Office, begin, enrol, phone, picture, sync};

/// Somebody who listens, and would have to be asked something.
struct Stranger(TcpListener);

impl Stranger {
    fn listening() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    fn was_called(&self) -> bool {
        self.0.accept().is_ok()
    }
}

/// A visit with a photo, as yet on the phone alone.
fn work(client: &Client) -> String {
    let visit = client.start_call(brand::call(0).to_string()).unwrap();
    let photo = client.add_photo(picture(), None).unwrap();
    client.record(visit.clone(), Vec::new(), vec![photo]).unwrap();
    visit
}

fn all_sent(client: &Arc<Client>, office: &Office) {
    sync(client).unwrap();
    let waits = client.outstanding().unwrap();
    assert!(waits.documents.is_empty() && waits.photos == 0, "{waits:?}");
    assert_eq!(office.count("SELECT count(*) FROM blob WHERE org = ?1"), 1);
}

#[test]
fn a_redirect_is_not_followed() {
    let (folder, office, gate, [rita]) = begin("redirects", [RITA]);
    let (stranger, sam) = (Stranger::listening(), phone(&folder.0.join("sam")));
    let visit = work(&rita);
    for path in ["/api/v1/enrol", "/api/v1/uploads", "/api/v1/push", "/api/v1/pull"] {
        for status in [301, 302, 303, 307, 308] {
            let to = format!("http://{}{path}", stranger.address());
            gate.edit(move |passing| {
                if !passing.request && passing.path == path {
                    passing.status = status;
                    let to = HeaderValue::from_str(&to).unwrap();
                    passing.headers.insert(header::LOCATION, to);
                }
            });
            match path {
                "/api/v1/enrol" => {
                    enrol(&sam, &gate.url, &office.code(SAM)).unwrap_err();
                }
                _ => {
                    // What was pushed is confirmed by the pull, whatever the push was answered.
                    rita.comment(visit.clone(), format!("{path} {status}"), None).unwrap();
                    let asked = sync(&rita);
                    assert!(asked.is_err(), "{path} {status}: {asked:?}");
                }
            }
            assert!(!stranger.was_called(), "{path} {status}");
        }
    }
    gate.leave();
    enrol(&sam, &gate.url, &office.code(SAM)).unwrap();
    all_sent(&rita, &office);
    drop(gate);
    office.close();
}

#[test]
fn an_upload_is_not_at_another_server() {
    let (_folder, office, gate, [rita]) = begin("uploads-elsewhere", [RITA]);
    let stranger = Stranger::listening();
    work(&rita);
    for scheme in ["http:", "https:", ""] {
        let to = format!("{scheme}//{}/api/v1/uploads/aa", stranger.address());
        gate.edit(move |passing| {
            if !passing.request && passing.path == "/api/v1/uploads" {
                let to = HeaderValue::from_str(&to).unwrap();
                passing.headers.insert(header::LOCATION, to);
            }
        });
        match sync(&rita) {
            Err(ClientError::BadAnswer { detail }) => assert!(detail.contains("another server")),
            other => panic!("{scheme}: {other:?}"),
        }
        assert!(!stranger.was_called(), "{scheme}");
        assert_eq!(rita.outstanding().unwrap().photos, 1);
    }
    gate.leave();
    all_sent(&rita, &office);
    drop(gate);
    office.close();
}

#[test]
fn an_upload_goes_on_where_the_server_has_moved_to() {
    let (_folder, office, gate, [rita]) = begin("uploads-moved", [RITA]);
    work(&rita);
    gate.edit(|passing| {
        if !passing.request && passing.path.starts_with("/api/v1/uploads/") {
            passing.status = 409;
        }
    });
    let broken_off = sync(&rita);
    assert!(broken_off.is_err(), "{broken_off:?}");
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    gate.edit(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    rita.server_moved(office.url.clone()).unwrap();
    all_sent(&rita, &office);
    assert_eq!(asked.load(Ordering::Relaxed), 0, "where it was nobody is told a token");
    drop(gate);
    office.close();
}
