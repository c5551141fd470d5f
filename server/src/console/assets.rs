//! The style sheet and the script: part of the program, named by their content, kept for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sync_core::id::BlobHash;

use crate::error::Problem;

/// A file that pages link to.
pub(super) struct Asset {
    name: String,
    kind: &'static str,
    bytes: &'static [u8],
}

/// The style sheet.
pub(super) static CSS: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console", "css", "text/css", include_bytes!("../../assets/console.css"))
});
/// The script that keeps an open page fresh.
pub(super) static JS: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console", "js", "text/javascript", include_bytes!("../../assets/console.js"))
});

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let hash = BlobHash::of(bytes).to_string();
        Self { name: format!("{stem}-{}.{ending}", &hash[..16]), kind, bytes }
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// `GET /assets/{name}`
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let known: [&'static Asset; 2] = [&CSS, &JS];
    let asset = known.into_iter().find(|a| a.name == name).ok_or_else(Problem::not_found)?;
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.bytes).into_response())
}
