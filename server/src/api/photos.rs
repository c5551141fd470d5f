//! Photos for phones: those of documents that their person sees.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use sync_core::id::BlobHash;

use crate::app::App;
use crate::auth::{InRoom, Phone};
use crate::blobs::Rendition;
use crate::error::Problem;
use crate::photo;
use crate::store::pages::{self, Sight};
use crate::store::uploads::{self, Kept};

/// Which of a photo's pictures is asked for.
#[derive(Deserialize)]
pub struct Size {
    size: Option<String>,
}

/// `GET /api/v1/photos/{hash}`, with `?size=preview` one for a screen, with `?size=thumb` the small picture.
pub async fn photo(
    State(app): State<Arc<App>>,
    InRoom(Phone { tenant, sender }, _room): InRoom,
    Path(hash): Path<String>,
    Query(Size { size }): Query<Size>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let hash: BlobHash = hash.parse().map_err(|_| Problem::not_found())?;
    let asked = match size.as_deref() {
        None => Rendition::Original,
        Some("preview") => Rendition::Preview,
        Some("thumb") => Rendition::Thumbnail,
        Some(_) => return Err(Problem::invalid("a size is preview or thumb")),
    };
    let (world, org) = (tenant.world(), tenant.org);
    let rights = world.rights(sender.user).ok_or_else(Problem::not_found)?;
    let see = Sight::new(org, move |audience| rights.sees(&world.tree, audience));
    let _turn = tenant.turn().await?;
    let read = app.store.read(move |connection| {
        let sees = pages::sees_photo(connection, &see, hash)?;
        Ok(if sees { uploads::kept(connection, org, hash)? } else { None })
    });
    let gone = |code, title| Err(Problem::new(StatusCode::GONE, code, title));
    match read.await? {
        Some(Kept::Here(_)) => Ok(photo::serve(&app, &tenant, hash, asked, &headers).await),
        Some(Kept::Retired(_)) => gone("retired", "The time for which this photo was kept is over"),
        Some(Kept::Erased(_)) => gone("erased", "This photo was erased"),
        None => Err(Problem::not_found()),
    }
}
