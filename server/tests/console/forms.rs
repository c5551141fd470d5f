//! What forms take, and what an open page does with them.

use axum::http::StatusCode;
use rusqlite::params;
use server::now_ms;
use server::store::{StoreError, accounts};
use sync_core::id::BlobHash;
use sync_core::model::catalogue::Record;

use crate::erasing::{ADA, comes_ada};
use crate::{ANNA, Bench, DORA, JOHAN, MARIA, audited, form};

const FOLLOWS: &str = "data-live=";

/// A form as it is, sent as another one.
async fn sends(bench: &Bench, path: &str, bytes: usize) -> StatusCode {
    let csrf = bench.cookies[&MARIA].1.clone();
    let words = "x".repeat(bytes);
    let body = form(&[("csrf", csrf.as_str()), ("comment", words.as_str())]);
    bench.send(Some(MARIA), "POST", path, &body).await.status
}

#[tokio::test]
async fn words_have_no_room_among_files() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let contests = format!("/visits/{visit}/contests");
    for path in [format!("/visits/{visit}/comments"), contests.clone(), format!("{contests}/x")] {
        assert_eq!(sends(&bench, &path, 64 << 10).await, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
    bench.close().await;
}

#[tokio::test]
async fn nobody_locks_themselves_out() {
    let mut bench = Bench::new().await;
    comes_ada(&mut bench).await;
    let path = format!("/people/{ADA}");
    let form = "action=\"/people/{who}/password\"";
    let of = |who: String| form.replace("{who}", &who);
    bench.get(ADA, &path).await.shows(&["Change the password"]).hides(&[&of(ADA.to_string())]);
    let refused = bench.post(ADA, &format!("{path}/password"), &[]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.body.contains("your own password under"), "{}", refused.body);
    bench.get(ADA, &path).await.shows(&["Change the password"]);
    bench.close().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_form_stays_until_it_was_read() {
    let mut bench = Bench::new().await;
    comes_ada(&mut bench).await;
    bench.get(ADA, "/people").await.shows(&[FOLLOWS]);
    for (path, fields) in [
        ("/people".to_owned(), [("name", "Eva"), ("role", "rep"), ("scope", "nowhere")]),
        (format!("/people/{ANNA}"), [("name", ""), ("role", "rep"), ("scope", "nowhere")]),
        ("/data".to_owned(), [("days", "1"), ("quota", ""), ("x", "")]),
    ] {
        let refused = bench.post(ADA, &path, &fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(refused.body.contains("role=\"alert\""), "{path}: {}", refused.body);
        assert!(!refused.body.contains(FOLLOWS), "{path}: it would be swapped away");
    }
    bench.close().await;
}

#[tokio::test]
async fn what_reads_the_whole_log_is_asked_once_and_of_what_there_is() {
    let mut bench = Bench::new().await;
    comes_ada(&mut bench).await;
    let nothing = BlobHash::of(b"nobody wrote it");
    let asked = bench.get(ADA, &format!("/erase?what=note&name={nothing}")).await;
    assert_eq!(asked.status, StatusCode::NOT_FOUND);
    bench.post(ADA, &format!("/people/{ANNA}/active"), &[("active", "no")]).await;
    bench.get(ADA, &format!("/erase?what=person&name={ANNA}")).await.hides(&[FOLLOWS]);
    bench.close().await;
}

#[tokio::test]
async fn a_phone_was_not_lost_before_it_was_enrolled() {
    let bench = Bench::new().await;
    let phone = bench.phone(JOHAN, "Johan's phone").await;
    let (org, device) = (bench.tenant.org, phone.sender.device);
    let enrolled_ms = 1_700_000_000_000_i64;
    let since = bench.app.store.write(move |tx| -> Result<(), StoreError> {
        tx.execute(
            "UPDATE device SET enrolled_ms = ?3 WHERE org = ?1 AND device = ?2",
            params![org, device.as_bytes(), enrolled_ms],
        )?;
        Ok(())
    });
    since.await.unwrap();
    let revoke = format!("/devices/{device}/revoke");
    for lost in ["0202-11-29T14:30", "0001-01-01T00:00"] {
        let done = bench.post(MARIA, &revoke, &[("lost", lost)]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
        let known = bench.app.device(&bench.tenant, device).unwrap();
        assert_eq!((known.revoked, known.lost_ms), (true, Some(enrolled_ms)));
        assert!(Record::Device(known).validate().is_ok());
    }
    bench.close().await;
}

#[tokio::test]
async fn what_one_person_writes_begins_and_gives_out_has_a_limit() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let comments = async |user| {
        let path = format!("/visits/{visit}/comments");
        bench.post(user, &path, &[("comment", "So it is")]).await.status
    };
    // What is written stays, so nobody writes faster than by hand.
    assert_eq!(comments(DORA).await, StatusCode::SEE_OTHER);
    assert!(bench.app.limits.forms.check_of(DORA, usize::MAX, now_ms() + 3_600_000).is_ok());
    assert_eq!(comments(DORA).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(comments(MARIA).await, StatusCode::SEE_OTHER);
    bench.get(DORA, "/").await.shows(&["Dora"]);
    bench.app.limits.forms.forget();

    let org = bench.tenant.org;
    let write = async |from: u8, to: u8| {
        let write = move |tx: &rusqlite::Transaction<'_>| -> Result<Vec<bool>, StoreError> {
            let session = |n: u8| accounts::Session {
                org,
                user: DORA,
                csrf: String::new(),
                created_ms: now_ms() + i64::from(n),
                expires_ms: i64::MAX,
            };
            (from..to).try_for_each(|n| accounts::open_session(tx, [n; 32], &session(n)))?;
            (from..to).map(|n| accounts::put_mirror(tx, org, [n; 32], "Copy", DORA, 0)).collect()
        };
        bench.app.store.write(write).await.unwrap()
    };
    // A session more ends the oldest; a copy more is not given out.
    assert_eq!(write(0, 15).await, [true; 15]);
    bench.get(DORA, "/").await.shows(&["Dora"]);
    let given = write(15, 40).await;
    assert_eq!(given.iter().filter(|given| **given).count() + 15, 32);
    assert_eq!(bench.get(DORA, "/").await.status, StatusCode::SEE_OTHER, "she signs in again");
    bench.get(MARIA, "/").await.shows(&["Maria"]);
    bench.close().await;
}
