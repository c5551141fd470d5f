//! Photos, for whoever may see a document that refers to them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use sync_core::id::BlobHash;

use super::page::sight;
use super::view;
use crate::app::App;
use crate::auth::Viewer;
use crate::blobs::Rendition;
use crate::error::Problem;
use crate::photo;
use crate::store::pages;
use crate::store::uploads::{self, Kept};

/// Nobody erased it: it was here as long as photos are kept.
pub(super) fn retired() -> Problem {
    Problem::new(StatusCode::GONE, "retired", "The time for which this photo was kept is over")
}

#[derive(Deserialize)]
pub(super) struct Size {
    size: Option<String>,
}

/// `GET /photos/{hash}`, with `?size=preview` one for a screen, with `?size=thumb` the small picture.
pub(super) async fn photo(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(hash): Path<String>,
    Query(size): Query<Size>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let hash: BlobHash = hash.parse().map_err(|_| Problem::not_found())?;
    let see = sight(&viewer);
    let org = viewer.tenant.org;
    let read = app.look(&viewer.tenant, move |c| {
        let sees = pages::sees_photo(c, &see, hash)?;
        Ok(if sees { uploads::kept(c, org, hash)? } else { None })
    });
    let kept = read.await?;
    answer(&app, &viewer, hash, kept, &size, &headers).await
}

/// A photo for somebody who may see it, or why it is not here.
pub(super) async fn answer(
    app: &Arc<App>,
    viewer: &Viewer,
    hash: BlobHash,
    kept: Option<Kept>,
    size: &Size,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let asked = match size.size.as_deref() {
        Some("thumb") => Rendition::Thumbnail,
        Some("preview") => Rendition::Preview,
        _ => Rendition::Original,
    };
    match kept {
        Some(Kept::Here(_)) => Ok(photo::serve(app, &viewer.tenant, hash, asked, headers).await),
        Some(Kept::Retired(stayed)) => {
            let zone = view::zone_of(&viewer.tenant.world(), &viewer.rights);
            Err(retired().detail(view::retired(&stayed, &zone)))
        }
        Some(Kept::Erased(_)) => {
            Err(Problem::new(StatusCode::GONE, "erased", "This photo was erased"))
        }
        None => Err(Problem::not_found()),
    }
}
