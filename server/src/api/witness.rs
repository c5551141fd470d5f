//! A witness over HTTP: `POST /add-checkpoint` of <https://c2sp.org/tlog-witness>. Nobody signs in: what is asked is
//! signed by a log.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sync_core::witness::{Refusal, SUBMISSION_BYTES_MAX, Submission};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};

use crate::limits::{BODY_TIMEOUT, REQUEST_TIMEOUT};
use crate::now_ms;
use crate::store::StoreError;
use crate::witness::{NotSigned, Witness};

/// How much of the name of a log that is not signed stands in the server's log.
const NAME_CHARS_SHOWN: usize = 200;

/// What a witness answers to. `GET /` says its key.
pub fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/", get(key))
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(SUBMISSION_BYTES_MAX))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .layer(CatchPanicLayer::new())
        .with_state(witness)
}

async fn key(State(witness): State<Arc<Witness>>) -> String {
    format!("{}\n", witness.key())
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: String) -> Response {
    let signed = tokio::task::spawn_blocking(move || sign(&witness, &body));
    let cut = |_| Err(NotSigned::Store(StoreError::Failed("the work was cut short".into())));
    match signed.await.unwrap_or_else(cut) {
        Ok(line) => line.into_response(),
        Err(NotSigned::Refused(Refusal::Conflict(size))) => {
            let kind = [(header::CONTENT_TYPE, "text/x.tlog.size")];
            (StatusCode::CONFLICT, kind, format!("{size}\n")).into_response()
        }
        Err(NotSigned::Refused(why)) => {
            let status = match why {
                Refusal::UnknownLog => StatusCode::NOT_FOUND,
                Refusal::NotSigned => StatusCode::FORBIDDEN,
                Refusal::Inconsistent => StatusCode::UNPROCESSABLE_ENTITY,
                Refusal::Malformed(_) | Refusal::Older | Refusal::Conflict(_) => {
                    StatusCode::BAD_REQUEST
                }
            };
            (status, format!("{why}\n")).into_response()
        }
        Err(NotSigned::Store(error)) => {
            tracing::error!(%error, "the witness cannot keep what it signs");
            (StatusCode::INTERNAL_SERVER_ERROR, "this witness cannot sign now\n").into_response()
        }
    }
}

fn sign(witness: &Witness, body: &str) -> Result<String, NotSigned> {
    let asked: Submission = body.parse().map_err(NotSigned::Refused)?;
    let seconds = u64::try_from(now_ms() / 1_000).unwrap_or(0);
    let line = witness.sign(&asked, seconds);
    if let Err(why) = &line {
        // Anybody may ask, for whatever they like.
        let name = asked.note.text().lines().next().unwrap_or_default();
        let name: String = name.chars().take(NAME_CHARS_SHOWN).collect();
        tracing::warn!(old = asked.old, log = name, %why, "not signed");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Mutex, PoisonError};

    use sync_core::tlog::SignedNote;

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn little_is_written_of_what_anybody_sends() {
        let name = format!("endcap-asked-{:016x}", crate::now_ms());
        let folder = std::env::temp_dir().join(name);
        let witness = Witness::open(folder.clone(), "w.example/1", Vec::new()).unwrap();
        let text = format!("{}\n7\n{}\n", "long".repeat(5_000), "more\n".repeat(5_000));
        let note = SignedNote::unsigned(text).to_string();
        let body = format!("old 0\n\n{note}\u{2014} w.example/2 {}\n", "A".repeat(88));
        let said = Said::default();
        let writer = said.clone();
        let heard = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let signed = tracing::subscriber::with_default(heard, || sign(&witness, &body));
        std::fs::remove_dir_all(folder).unwrap();
        assert!(matches!(signed, Err(NotSigned::Refused(Refusal::UnknownLog))), "{signed:?}");
        let said = said.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("longlong") && said.len() < 600, "{} bytes", said.len());
    }
}
