//! What devices speak with: sync, live pokes, enrolment, uploads and photos.

pub mod enrol;
pub mod log;
pub mod photos;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod uploads;
pub mod witness;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use sync_core::wire::MESSAGE_BYTES_MAX;
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};

use crate::app::App;
use crate::limits::{BODY_TIMEOUT, JSON_BYTES_MAX, REQUEST_TIMEOUT};

/// Where uploads are, as a route.
pub const UPLOADS: &str = "/api/v1/uploads";

/// Everything under `/log/{organisation}` that is not for people.
pub fn log_router() -> Router<Arc<App>> {
    Router::new()
        .route("/{organisation}/checkpoint", get(log::newest))
        .route("/{organisation}/witnessed", get(log::witnessed))
        .route("/{organisation}/{life}/checkpoint", get(log::checkpoint))
        .route("/{organisation}/{life}/tile/{*path}", get(log::tile))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
}

/// Everything under `/api/v1`.
pub fn router() -> Router<Arc<App>> {
    let sync = Router::new()
        .route("/push", post(sync::push))
        .route("/pull", post(sync::pull))
        .route("/repair", post(sync::repair))
        .route("/cargo", post(sync::cargo))
        .layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX));
    let json = Router::new()
        .route("/enrol", post(enrol::enrol))
        .route("/key", post(enrol::key))
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX));
    let timed = sync
        .merge(json)
        .route("/photos/{hash}", get(photos::photo))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT));
    // Uploads go on for as long as bytes come, and have limits of their own.
    timed.route("/poke", get(sync::poke)).merge(uploads::router())
}
