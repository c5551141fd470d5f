//! Photos, for whoever may see a document that refers to them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use sync_core::id::BlobHash;

use super::page::sight;
use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::photo;
use crate::store::pages;

#[derive(Deserialize)]
pub(super) struct Size {
    size: Option<String>,
}

/// `GET /photos/{hash}`, with `?size=thumb` the small picture.
pub(super) async fn photo(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(hash): Path<String>,
    Query(Size { size }): Query<Size>,
) -> Result<Response, Problem> {
    let hash: BlobHash = hash.parse().map_err(|_| Problem::not_found())?;
    let see = sight(&viewer);
    if !app.store.read(move |c| pages::sees_photo(c, &see, hash)).await? {
        return Err(Problem::not_found());
    }
    Ok(photo::serve(&app, &viewer.tenant, hash, size.as_deref() == Some("thumb")).await)
}
