//! Push, pull, repair, cargo and poke. docs/protocol.md is the norm.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use minicbor::Encode;
use sync_core::cargo::PARCELS_MAX;
use sync_core::id::{LogHash, OrgId};
use sync_core::wire::{
    CargoRequest, MEDIA_TYPE, MESSAGE_BYTES_MAX, PROTOCOL, PullRequest, PushRequest, RepairRequest,
    from_wire, protocol_of, to_wire,
};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::uploads::bring;
use crate::app::{App, Tenant, Turn, inactive};
use crate::auth::{InRoom, Phone};
use crate::error::Problem;
use crate::lines::Holder;
use crate::metrics::Way;
use crate::now_ms;

/// Answers below this are sent as they are.
const COMPRESS_BYTES_MIN: usize = 512;
/// zstd level of answers: bytes on a phone's network are dearer than a core's microseconds.
const COMPRESS_LEVEL: i32 = 9;

/// `POST /api/v1/push`
pub async fn push(
    State(app): State<Arc<App>>,
    InRoom(Phone { tenant, sender }, _room): InRoom,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let decode = |org, bytes: &[u8]| {
        Ok((from_wire::<PushRequest>(org, bytes)?, LogHash::of(bytes), bytes.len()))
    };
    let ((push, name, length), turn) = read(&app, &tenant, &headers, body, decode).await?;
    app.limits.work.check_of(sender.device, length.div_ceil(1_024), now_ms())?;
    if !push.within_limits() {
        return Err(Problem::too_large("a push holds 2,000 groups and 10,000 changes at most"));
    }
    let mut named = HashSet::new();
    if !push.documents().all(|document| named.insert(document)) {
        return Err(Problem::malformed("a push has the groups of a document one after the other"));
    }
    for note in &push.notes {
        note.validate().map_err(|invalid| Problem::malformed(invalid.to_string()))?;
    }
    let checked = app.verify(&tenant, push, turn).await?;
    let reply = app.push(&tenant, sender, checked, name).await?;
    Ok(answer(&app, pack(to_wire(tenant.id, &reply), accepts_zstd(&headers))))
}

/// `POST /api/v1/cargo`
pub async fn cargo(
    State(app): State<Arc<App>>,
    InRoom(Phone { tenant, sender }, _room): InRoom,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let decode = |org, bytes: &[u8]| Ok((from_wire::<CargoRequest>(org, bytes)?, bytes.len()));
    let ((cargo, length), turn) = read(&app, &tenant, &headers, body, decode).await?;
    app.limits.work.check_of(sender.device, length.div_ceil(1_024), now_ms())?;
    if cargo.parcels.len() > PARCELS_MAX {
        return Err(Problem::too_large("cargo holds 64 parcels at most"));
    }
    let (mut reply, photos) = app.cargo(&tenant, sender, cargo, turn).await?;
    let (places, photos): (Vec<_>, Vec<_>) = photos.into_iter().unzip();
    for (place, outcome) in places.into_iter().zip(bring(&app, &tenant, photos).await?) {
        reply.outcomes[place] = outcome;
    }
    app.metrics.cargo(&reply.outcomes);
    Ok(answer(&app, pack(to_wire(tenant.id, &reply), accepts_zstd(&headers))))
}

/// `POST /api/v1/pull`
pub async fn pull(
    State(app): State<Arc<App>>,
    InRoom(Phone { tenant, sender }, _room): InRoom,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let decode = |org, bytes: &[u8]| from_wire::<PullRequest>(org, bytes);
    let (pull, turn) = read(&app, &tenant, &headers, body, decode).await?;
    let (reply, turn) = app.pull(&tenant, sender, pull, turn).await?;
    page(&app, &tenant, &headers, reply, turn).await
}

/// `POST /api/v1/repair`
pub async fn repair(
    State(app): State<Arc<App>>,
    InRoom(Phone { tenant, sender }, _room): InRoom,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let decode = |org, bytes: &[u8]| from_wire::<RepairRequest>(org, bytes);
    let (asked, turn) = read(&app, &tenant, &headers, body, decode).await?;
    if !asked.within_limits() {
        let detail = "a repair asks after 2,000 parts and for 2,000 records and documents at most";
        return Err(Problem::too_large(detail));
    }
    let (reply, turn) = app.repair(&tenant, sender, asked, turn).await?;
    page(&app, &tenant, &headers, reply, turn).await
}

/// `GET /api/v1/poke`: a server-sent event for each time that something was written. It ends when the server stops, at the
/// first commit after the device was revoked or its person let go, and when the device opens more of them than it may.
pub async fn poke(
    State(app): State<Arc<App>>,
    Phone { tenant, sender }: Phone,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    tenant.world().rights(sender.user).ok_or_else(inactive)?;
    let line = app.lines.open(Holder::Device(sender.device), &tenant.lines)?;
    let (ended, stopping) = (line.ended(), Arc::clone(&app));
    let org = tenant.id;
    let trusted = move || {
        let world = tenant.world();
        let device = world.devices.get(&sender.device).filter(|device| !device.revoked);
        device.is_some() && world.rights(sender.user).is_some()
    };
    let stream = BroadcastStream::new(app.pokes())
        .filter(move |poke| !matches!(poke, Ok(poke) if poke.org != org))
        .take_while(move |_| trusted())
        .map(move |_| {
            let _open = &line;
            Ok(Event::default().event("poke").data("new")) // without data a browser drops it
        });
    let stream = futures_util::StreamExt::take_until(stream, async move {
        tokio::select! {
            () = stopping.stopped() => {}
            () = ended => {}
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(20))))
}

/// What a body asks, in a type and a version that are spoken here. Inflating and naming thousands of changes takes a
/// while: in the organisation's turn, and not on a thread that others wait for.
async fn read<T: Send + 'static>(
    app: &App,
    tenant: &Tenant,
    headers: &HeaderMap,
    body: Bytes,
    decode: impl FnOnce(OrgId, &[u8]) -> Result<T, minicbor::decode::Error> + Send + 'static,
) -> Result<(T, Turn), Problem> {
    app.metrics.bytes(Way::In, body.len());
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != MEDIA_TYPE) {
        let title = "The content type is not supported";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "media_type_unsupported", title)
            .detail(format!("send Content-Type: {MEDIA_TYPE}")));
    }
    let packed = is_packed(headers)?;
    let (org, turn) = (tenant.id, tenant.turn().await?);
    let run = tokio::task::spawn_blocking(move || {
        let bytes = if packed { Bytes::from(inflate(&body)?) } else { body };
        check_protocol(&bytes)?;
        let message = decode(org, &bytes).map_err(|error| Problem::malformed(error.to_string()))?;
        Ok((message, turn))
    });
    run.await.map_err(|_| Problem::internal())?
}

/// An answer of a few megabytes: not packed on a thread that others wait for.
async fn page<T: Encode<OrgId> + Send + 'static>(
    app: &App,
    tenant: &Tenant,
    headers: &HeaderMap,
    reply: T,
    turn: Turn,
) -> Result<Response, Problem> {
    let (org, zstd) = (tenant.id, accepts_zstd(headers));
    let packed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        pack(to_wire(org, &reply), zstd)
    });
    Ok(answer(app, packed.await.map_err(|_| Problem::internal())?))
}

fn check_protocol(bytes: &[u8]) -> Result<(), Problem> {
    match protocol_of(bytes) {
        Some(PROTOCOL) => Ok(()),
        Some(other) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "protocol_unsupported",
            "This server does not speak this version of the protocol",
        )
        .detail(format!("the message says {other}, the server speaks {PROTOCOL}; update the app"))),
        None => Err(Problem::malformed("the message does not begin with its protocol version")),
    }
}

/// Whether the body's `Content-Encoding` is zstd.
fn is_packed(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(false),
        Some(b"zstd") => Ok(true),
        Some(_) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "encoding_unsupported",
            "The content encoding is not supported",
        )
        .detail("use zstd or none")),
    }
}

/// Undoes zstd, up to the longest message.
fn inflate(body: &[u8]) -> Result<Vec<u8>, Problem> {
    use std::io::Read;
    let broken = |error: std::io::Error| Problem::malformed(format!("zstd: {error}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(broken)?;
    decoder.window_log_max(24).map_err(broken)?;
    let mut bytes = Vec::new();
    let limit = MESSAGE_BYTES_MAX as u64 + 1;
    decoder.take(limit).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Problem::too_large("the message is longer than 8 MiB once inflated"));
    }
    Ok(bytes)
}

/// The body of an answer, and whether it is compressed.
fn pack(bytes: Vec<u8>, zstd: bool) -> (Vec<u8>, bool) {
    let packed = (zstd && bytes.len() >= COMPRESS_BYTES_MIN)
        .then(|| zstd::bulk::compress(&bytes, COMPRESS_LEVEL).ok())
        .flatten();
    packed.map_or((bytes, false), |packed| (packed, true))
}

fn answer(app: &App, (bytes, packed): (Vec<u8>, bool)) -> Response {
    app.metrics.bytes(Way::Out, bytes.len());
    let mut response = Body::from(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    response
}

/// Whether `Accept-Encoding` names zstd with a weight above zero (RFC 9110, 12.5.3).
fn accepts_zstd(headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("zstd") && weight.is_some_and(|q| q > 0.0)
    })
}
