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
    let signed = tokio::task::spawn_blocking(move || {
        let asked: Submission = body.parse().map_err(NotSigned::Refused)?;
        let seconds = u64::try_from(now_ms() / 1_000).unwrap_or(0);
        let size = asked.old;
        let line = witness.sign(&asked, seconds);
        if let Err(why) = &line {
            tracing::warn!(old = size, note = asked.note.text(), %why, "not signed");
        }
        line
    });
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
