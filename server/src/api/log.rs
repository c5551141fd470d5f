//! The organisation's log for anybody who keeps watch over it: signed checkpoints, and tiles
//! (<https://c2sp.org/tlog-tiles>).
//!
//! Checkpoints and hashes are open: they say how many lines there are, and nothing of what is in them. Entries name
//! documents, devices and people by their ids: they are for devices, and for whom a token was given out to.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sync_core::cbor::to_cbor;
use sync_core::evidence::Cursor;
use sync_core::id::{LogOrigin, OrgId};
use sync_core::tlog::{Checkpoint, Piece, pack_entries};

use crate::app::{App, Tenant};
use crate::auth::{self, Client};
use crate::error::Problem;
use crate::limits::address_key;
use crate::now_ms;
use crate::store::{StoreError, tree, witnesses};

/// A tile of a life of the log never changes. After a restore there is another life, with another address.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const NOTE: &str = "text/plain; charset=utf-8";
const FOR_EVER_PRIVATE: &str = "private, max-age=31536000, immutable";

fn tenant(app: &App, org: &str) -> Result<Arc<Tenant>, Problem> {
    let org: OrgId = org.parse().map_err(|_| Problem::not_found())?;
    app.tenants().into_iter().find(|tenant| tenant.id == org).ok_or_else(Problem::not_found)
}

/// `GET /log/{organisation}/checkpoint`: the newest checkpoint of the newest life.
pub async fn newest(
    State(app): State<Arc<App>>,
    client: Client,
    Path(org): Path<String>,
) -> Result<Response, Problem> {
    app.limits.log.check(address_key(client.ip), now_ms())?;
    let tenant = tenant(&app, &org)?;
    Ok(signed(&tenant, app.head(&tenant).await?))
}

/// `GET /log/{organisation}/{life}/checkpoint`: of this life, while it is the newest.
pub async fn checkpoint(
    State(app): State<Arc<App>>,
    client: Client,
    Path((org, life)): Path<(String, String)>,
) -> Result<Response, Problem> {
    app.limits.log.check(address_key(client.ip), now_ms())?;
    let tenant = tenant(&app, &org)?;
    let at = app.head(&tenant).await?;
    if at.origin.to_string() != life {
        return Err(Problem::not_found());
    }
    Ok(signed(&tenant, at))
}

fn signed(tenant: &Tenant, at: Cursor) -> Response {
    let (org, life, size, root) = (tenant.id, at.origin, at.sequence, at.root);
    let note = Checkpoint { org, life, size, root }.sign(&tenant.log_key).to_string();
    ([(header::CONTENT_TYPE, NOTE)], note).into_response()
}

/// `GET /log/{organisation}/witnessed`: the newest checkpoint of the newest life that witnesses have signed too.
pub async fn witnessed(
    State(app): State<Arc<App>>,
    client: Client,
    Path(org): Path<String>,
) -> Result<Response, Problem> {
    app.limits.log.check(address_key(client.ip), now_ms())?;
    let tenant = tenant(&app, &org)?;
    let _turn = tenant.turn().await?;
    let (reading, counting) = (Arc::clone(&tenant), app.counting());
    let read = app.store.read(move |connection| {
        let (org, id) = (reading.org, reading.id);
        witnesses::witnessed(connection, org, id, 0, &reading.log_key, &counting)
    });
    let signed = read.await?.ok_or_else(Problem::not_found)?;
    Ok(([(header::CONTENT_TYPE, NOTE)], signed.note.to_string()).into_response())
}

/// `GET /log/{organisation}/{life}/tile/…`: hashes or entries of this life, while it is the newest.
pub async fn tile(
    State(app): State<Arc<App>>,
    client: Client,
    Path((org, life, path)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.limits.log.check(address_key(client.ip), now_ms())?;
    let tenant = tenant(&app, &org)?;
    let life: LogOrigin = life.parse().map_err(|_| Problem::not_found())?;
    let piece: Piece = format!("tile/{path}").parse().map_err(|()| Problem::not_found())?;
    let (tile, entries) = match piece {
        Piece::Hashes(tile) => (tile, false),
        Piece::Entries(tile) => (tile, true),
    };
    let _room = match entries {
        true => auth::reads_log(&app, &tenant, &headers).await?,
        false => None,
    };
    let (org, turn) = (tenant.org, tenant.turn().await?);
    let body = app.store.read(move |connection| {
        let _turn = turn;
        let at = crate::store::log::head(connection, org)?;
        if at.origin != life || !tile.is_in(at.sequence) {
            return Ok(None);
        }
        if !entries {
            let hashes = tree::tile(connection, org, tile)?;
            return Ok(Some(hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>()));
        }
        let range = (tile.first(), tile.first() + u64::from(tile.width));
        let leaves = tree::leaves(connection, org, range)?;
        let leaves: Vec<Vec<u8>> = leaves.iter().map(to_cbor).collect();
        let bundle = pack_entries(leaves.iter().map(Vec::as_slice));
        bundle.map(Some).ok_or_else(|| StoreError::Damaged("a leaf is too long".into()))
    });
    let body = body.await?.ok_or_else(Problem::not_found)?;
    let cached = HeaderValue::from_static(if entries { FOR_EVER_PRIVATE } else { FOR_EVER });
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cached)], body).into_response())
}
