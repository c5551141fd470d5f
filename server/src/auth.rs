//! Who asks.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use sync_core::id::LogHash;

use crate::app::{App, Tenant};
use crate::error::Problem;
use crate::ingest::Sender;
use crate::store::accounts;

/// The device whose bearer token a request carries.
pub async fn device(app: &App, headers: &HeaderMap) -> Result<(Arc<Tenant>, Sender), Problem> {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .ok_or_else(Problem::unauthorized)?;
    let token = LogHash::of(token.as_bytes()).0;
    let found = app.store.read(move |connection| accounts::device_by_token(connection, token));
    let (org, sender, revoked) = found.await?.ok_or_else(Problem::unauthorized)?;
    if revoked {
        let title = "This device's access was withdrawn";
        return Err(Problem::new(StatusCode::FORBIDDEN, "revoked", title)
            .detail("unsent work stays on the device; ask a supervisor to enrol it again"));
    }
    let tenant = app.tenant(org).ok_or_else(Problem::unauthorized)?;
    Ok((tenant, sender))
}
