//! A visit's proof bundle, for whoever may see the visit.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sync_core::id::VisitId;

use super::page::sight;
use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::sending::{Chunk, sent};
use crate::store::pages;

#[derive(Deserialize)]
pub(super) struct Wanted {
    photos: Option<String>,
}

/// `GET /visits/{visit}/proof`, with `?photos=no` their digests alone.
pub(super) async fn proof(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(visit): Path<String>,
    Query(Wanted { photos }): Query<Wanted>,
) -> Result<Response, Problem> {
    let visit: VisitId = visit.parse().map_err(|_| Problem::not_found())?;
    let (see, org) = (sight(&viewer), viewer.tenant.id);
    let read = app.look(&viewer.tenant, move |c| pages::visit(c, &see, org, visit)).await?;
    read.ok_or_else(Problem::not_found)?;
    let room = app.limits.downloads.begin(viewer.rights.user).ok_or_else(|| {
        let title = "Two proofs are on their way to you";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "downloads_open", title);
        problem.detail("let one of them end first").retry_after(60)
    })?;
    let chunks = app.prove(&viewer.tenant, visit, photos.as_deref() != Some("no")).await?;
    let name = format!("attachment; filename=\"visit-{visit}.zip\"");
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_LENGTH, chunks.iter().map(Chunk::length).sum::<u64>().to_string()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, sent(app.blobs.clone(), viewer.tenant.id, chunks, room)).into_response())
}
