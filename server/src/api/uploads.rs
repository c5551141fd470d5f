//! Photos on their way up: a tus 1.0.0 server, and the question which photos are missing.
//!
//! An upload is named by what it will be: `/api/v1/uploads/<SHA-256 in hex>`, within the device that sends
//! it. So there is one for each photo however often a device begins, a device that has forgotten its uploads
//! finds them again, and nobody sees another's. A photo that is here, and that the device's person has brought
//! by whichever device or sees, is an upload whose offset is its length. For anybody else it is as if it were not
//! here: nobody learns anything of a photo by its digest.
//!
//! Where tus leaves a choice:
//! - A device may bring what an entry names that its person wrote or sees; what was erased nobody brings again.
//! - `POST` needs `Upload-Metadata: sha256 <base64 of the 64 hex digits>`; other keys are skipped. It answers
//!   201 with `Location` and always `Upload-Offset`: what is there already counts, also of the bytes that come
//!   with the request. It answers 200, and reads no bytes, when the photo is here, and brought or seen.
//! - A request for an upload ends an earlier one that still sends to it. What that one brought counts.
//! - Bytes that came before a connection was cut count, also when they belong to a `PATCH` with an
//!   `Upload-Checksum` that could not be checked any more: the whole is checked by its name in the end.
//! - The last byte is answered when the photo is verified and on the disk. If that answer is lost,
//!   `HEAD` tells what became of it.
//! - 460 is `chunk_mismatch` (send the chunk again) or `checksum_mismatch` (the upload is gone).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sync_core::cargo::NOT_REFERENCED;
use sync_core::id::{BlobHash, InvalidId, UserId};
use sync_core::model::people::Audience;
use sync_core::wire::Delivery;
use tokio::time::Instant;
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};
use tracing::Instrument;

use crate::app::{App, Brought, Tenant};
use crate::auth;
use crate::blobs::Claim;
use crate::error::Problem;
use crate::ingest::Sender;
use crate::jobs;
use crate::limits::{BODY_TIMEOUT, REQUEST_TIMEOUT, UPLOAD_WAIT, UPLOAD_WAIT_BYTES_MIN};
use crate::now_ms;
use crate::photo::{self, Place, Unfit};
use crate::store::uploads::{self as rows, Kept, Named, Opened, Photo, Stayed, Upload, UploadId};
use crate::store::{StoreError, accounts};

/// The version of tus that is spoken.
pub const TUS: &str = "1.0.0";
/// Most photos that one question can name.
pub const ASKED_MAX: usize = 1_000;

const EXTENSIONS: &str = "creation,creation-with-upload,checksum,termination,expiration";
const OFFSET_STREAM: &str = "application/offset+octet-stream";
/// What is written and brought to the disk at once: all that a crash can cost.
const CHUNK_BYTES: usize = 256 << 10;
const QUESTION_BYTES_MAX: usize = 128 << 10;

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// `/uploads`, `/uploads/<hash>` and `/photos/missing`, to be nested in `/api/v1`.
pub fn router() -> Router<Arc<App>> {
    let asked = Router::new()
        .route("/photos/missing", post(missing))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT));
    Router::new().route("/uploads", any(uploads)).route("/uploads/{hash}", any(upload)).merge(asked)
}

/// Verifies the uploads that are whole and were not verified, because the process ended or the disk was full; ends
/// those whose time is over, whose photo came another way or of which the process has died twice; removes files that
/// belong to none. To be run at the start and every hour. How many were finished and how many ended; one that fails is in
/// no other's way.
pub async fn sweep(app: &App, now_ms: i64) -> Result<(u64, u64), StoreError> {
    let mut found = app.arrivals.list().await?;
    found.extend(app.store.read(move |connection| rows::stale(connection, now_ms)).await?);
    let (mut finished, mut ended) = (0, 0);
    for id in found {
        match swept(app, id, now_ms).await {
            Ok(Some(true)) => finished += 1,
            Ok(Some(false)) => ended += 1,
            Ok(None) => {}
            Err(error) => tracing::error!(upload = %id.hash, %error, "it is swept in the next run"),
        }
    }
    Ok((finished, ended))
}

/// What became of an upload: whether it was finished, or ended; `None`: neither.
async fn swept(app: &App, id: UploadId, now_ms: i64) -> Result<Option<bool>, StoreError> {
    let Some(claim) = app.arrivals.claim_idle(id) else { return Ok(None) };
    match standing(app, id, now_ms).await? {
        Standing::Open(upload) if claim.length().await? < upload.length => return Ok(None),
        Standing::Open(_) => {
            if let Some(tenant) = app.tenant(id.org) {
                let device = app.store.read(move |c| accounts::device(c, id.org, id.device));
                let user = device.await?.map(|device| device.user);
                let why = match finish(app, &tenant, &claim, user).await {
                    Ok(Ok(_)) => return Ok(Some(true)),
                    Ok(Err(unfit)) => unfit.to_string(),
                    Err(error) => error.to_string(),
                };
                tracing::warn!(upload = %id.hash, why, "an upload could not be finished");
                return Ok(None);
            }
        }
        Standing::Deadly => {
            tracing::error!(upload = %id.hash, device = %id.device, "the server has died of a photo: it is not taken");
        }
        Standing::Here(_) | Standing::Erased | Standing::Absent => {}
    }
    app.store.write_for(id.org, move |tx| rows::close(tx, id)).await?;
    claim.remove().await?;
    Ok(Some(false))
}

#[derive(Deserialize)]
struct Question {
    hashes: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    missing: Vec<String>,
}

/// `POST /api/v1/photos/missing`: of `{"hashes": [...]}`, those that the person has not brought, in the order asked.
async fn missing(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (tenant, sender) = sender(&app, &headers).await?;
    let _room = auth::Room::of(&app, &tenant, sender.device)?;
    let too_large = || Problem::too_large("ask for 1,000 photos at most");
    let body = axum::body::to_bytes(body, QUESTION_BYTES_MAX).await.map_err(|_| too_large())?;
    let question: Question =
        serde_json::from_slice(&body).map_err(|error| Problem::malformed(error.to_string()))?;
    if question.hashes.len() > ASKED_MAX {
        return Err(too_large());
    }
    let hashes: Vec<BlobHash> = question
        .hashes
        .iter()
        .map(|hash| hash.parse())
        .collect::<Result<_, _>>()
        .map_err(|invalid: InvalidId| Problem::malformed(invalid.to_string()))?;
    let org = tenant.org;
    let missing = app.store.read(move |connection| {
        let mut missing = Vec::new();
        for hash in hashes {
            let id = UploadId { org, device: sender.device, hash };
            match rows::kept(connection, org, hash)? {
                Some(Kept::Erased(_)) => {}
                Some(_) if rows::bears(connection, id)? => {}
                _ => missing.push(hash.to_string()),
            }
        }
        Ok(missing)
    });
    Ok(Json(Answer { missing: missing.await? }).into_response())
}

async fn uploads(State(app): State<Arc<App>>, request: Request) -> Response {
    tus(app, None, request).await
}

async fn upload(
    State(app): State<Arc<App>>,
    Path(hash): Path<String>,
    request: Request,
) -> Response {
    tus(app, Some(hash), request).await
}

/// Answers on a task of its own: what came must reach the disk although nobody waits for the answer.
async fn tus(app: Arc<App>, name: Option<String>, request: Request) -> Response {
    let answer = tokio::spawn(dispatch(app, name, request).in_current_span());
    let failed = |_| Err(StoreError::Failed("an upload was cut short".into()).into());
    let mut response = answer.await.unwrap_or_else(failed).into_response();
    let version = HeaderValue::from_static(TUS);
    if response.status() == StatusCode::PRECONDITION_FAILED {
        response.headers_mut().insert(TUS_VERSION, version.clone());
    }
    response.headers_mut().insert(TUS_RESUMABLE, version);
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    response
}

async fn dispatch(
    app: Arc<App>,
    name: Option<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (Parts { method, headers, .. }, body) = request.into_parts();
    let method = match headers.get("x-http-method-override") {
        Some(other) => Method::from_bytes(other.as_bytes())
            .map_err(|_| Problem::malformed("X-HTTP-Method-Override is no method"))?,
        None => method,
    };
    if method == Method::OPTIONS {
        return Ok(capabilities());
    }
    if headers.get(TUS_RESUMABLE).is_none_or(|version| version != TUS) {
        let title = "This server speaks another version of tus";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "tus_unsupported", title)
            .detail("send Tus-Resumable: 1.0.0"));
    }
    let (tenant, sender) = sender(&app, &headers).await?;
    // Before anything of the body is read, and as long as this goes on.
    let own = app.limits.sending.begin((tenant.org, sender.device)).ok_or_else(|| {
        Problem::busy("this phone sends too many photos at once: let some of them end first")
    })?;
    let _room = (own, tenant.room_for_upload()?);
    let hash = match name {
        Some(name) => Some(name.parse().map_err(|_| Problem::not_found())?),
        None => None,
    };
    let exchange = Exchange { app, tenant, sender, headers };
    match (method, hash) {
        (Method::POST, None) => exchange.create(body).await,
        (Method::HEAD, Some(hash)) => exchange.look(hash).await,
        (Method::PATCH, Some(hash)) => exchange.go_on(hash, body).await,
        (Method::DELETE, Some(hash)) => exchange.end(hash).await,
        _ => Err(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This cannot be done here",
        )
        .detail("POST to /uploads; HEAD, PATCH and DELETE an upload")),
    }
}

/// The device that asks, within its rate.
async fn sender(app: &App, headers: &HeaderMap) -> Result<(Arc<Tenant>, Sender), Problem> {
    let (tenant, sender) = auth::device(app, headers).await?;
    app.limits.upload.check(sender.device, now_ms())?;
    Ok((tenant, sender))
}

fn capabilities() -> Response {
    let headers = [
        (TUS_VERSION, HeaderValue::from_static(TUS)),
        (HeaderName::from_static("tus-extension"), HeaderValue::from_static(EXTENSIONS)),
        (HeaderName::from_static("tus-max-size"), HeaderValue::from(photo::BYTES_MAX)),
        (
            HeaderName::from_static("tus-checksum-algorithm"),
            HeaderValue::from_static("sha1,sha256"),
        ),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Where an upload stands.
enum Standing {
    /// All of it came, once, and its device's person has brought it or seen it.
    Here(Photo),
    Open(Upload),
    Erased,
    /// The process has died of it.
    Deadly,
    Absent,
}

async fn standing(app: &App, id: UploadId, now_ms: i64) -> Result<Standing, StoreError> {
    let read = app.store.read(move |connection| {
        Ok(match rows::kept(connection, id.org, id.hash)? {
            Some(Kept::Here(photo) | Kept::Retired(Stayed { photo, .. }))
                if rows::bears(connection, id)? =>
            {
                Standing::Here(photo)
            }
            Some(Kept::Erased(_)) => Standing::Erased,
            _ if rows::deaths(connection, id.org, id.hash, now_ms)? >= rows::DEATHS_MAX => {
                Standing::Deadly
            }
            _ => rows::upload(connection, id, now_ms)?.map_or(Standing::Absent, Standing::Open),
        })
    });
    read.await
}

/// One request of one device.
struct Exchange {
    app: Arc<App>,
    tenant: Arc<Tenant>,
    sender: Sender,
    headers: HeaderMap,
}

impl Exchange {
    fn id(&self, hash: BlobHash) -> UploadId {
        UploadId { org: self.tenant.org, device: self.sender.device, hash }
    }

    async fn create(&self, body: Body) -> Result<Response, Problem> {
        let length = number(&self.headers, &UPLOAD_LENGTH)?
            .ok_or_else(|| Problem::malformed("Upload-Length is missing"))?;
        if length > photo::BYTES_MAX {
            return Err(Problem::too_large("a photo has 20 MiB at most"));
        }
        if length == 0 {
            return Err(Problem::malformed("a photo has at least one byte"));
        }
        let hash = announced(&self.headers)?;
        let checksum = checksum(&self.headers)?;
        let brings = self.brings_bytes()?;
        let id = self.id(hash);
        let claim = self.app.arrivals.claim(id).await;
        let located = |mut response| {
            set(&mut response, header::LOCATION, format!("/api/v1/uploads/{hash}"));
            response
        };
        let named = named(&self.app, &self.tenant, self.sender.user, hash, false).await?;
        if named == Named::Nowhere {
            return Err(not_referenced());
        }
        let upload = match begin(&self.app, &claim, length).await? {
            Begun::Here(photo) => {
                return Ok(located(at(StatusCode::OK, photo.bytes, photo.bytes)));
            }
            Begun::Erased => return Err(erased()),
            Begun::Deadly => return Err(refused(&Unfit::Deadly)),
            Begun::Open(upload) => upload,
            Begun::TooMany => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                return Err(Problem::new(status, "uploads_open", "Too many uploads are open")
                    .detail("finish or end some: a device has 64 of 256 MiB in all at most")
                    .retry_after(60));
            }
            Begun::NoRoom => return Err(Problem::quota_full()),
        };
        if brings {
            self.receive(&claim, 0, &upload, body, checksum).await?;
        }
        self.progress(StatusCode::CREATED, &claim, &upload).await.map(located)
    }

    async fn look(&self, hash: BlobHash) -> Result<Response, Problem> {
        let claim = self.app.arrivals.claim(self.id(hash)).await;
        let mut response = match standing(&self.app, claim.id(), now_ms()).await? {
            Standing::Absent => return Err(Problem::not_found()),
            Standing::Erased => return Err(erased()),
            Standing::Deadly => return Err(refused(&Unfit::Deadly)),
            Standing::Here(photo) => at(StatusCode::OK, photo.bytes, photo.bytes),
            Standing::Open(upload) => self.progress(StatusCode::OK, &claim, &upload).await?,
        };
        let metadata = format!("sha256 {}", STANDARD.encode(hash.to_string()));
        set(&mut response, UPLOAD_METADATA, metadata);
        Ok(response)
    }

    async fn go_on(&self, hash: BlobHash, body: Body) -> Result<Response, Problem> {
        let offset = number(&self.headers, &UPLOAD_OFFSET)?
            .ok_or_else(|| Problem::malformed("Upload-Offset is missing"))?;
        let checksum = checksum(&self.headers)?;
        if !self.sends_offset_stream() {
            return Err(unsupported());
        }
        let claim = self.app.arrivals.claim(self.id(hash)).await;
        let (have, upload) = match standing(&self.app, claim.id(), now_ms()).await? {
            Standing::Absent => return Err(Problem::not_found()),
            Standing::Erased => {
                claim.remove().await?;
                return Err(erased());
            }
            Standing::Deadly => return Err(refused(&Unfit::Deadly)),
            Standing::Here(photo) => (photo.bytes, None),
            Standing::Open(upload) => (claim.length().await?, Some(upload)),
        };
        if offset != have {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "offset_mismatch",
                "The upload stands elsewhere",
            )
            .detail(format!("the offset is {have}")));
        }
        let Some(upload) = upload else {
            return Ok(at(StatusCode::NO_CONTENT, have, have));
        };
        self.receive(&claim, offset, &upload, body, checksum).await?;
        self.progress(StatusCode::NO_CONTENT, &claim, &upload).await
    }

    async fn end(&self, hash: BlobHash) -> Result<Response, Problem> {
        let claim = self.app.arrivals.claim(self.id(hash)).await;
        let id = claim.id();
        if !self.app.store.write_for(id.org, move |tx| rows::close(tx, id)).await? {
            return Err(Problem::not_found());
        }
        claim.remove().await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Takes the body in, which begins at `offset`; what is there already is skipped. Whatever came is on
    /// the disk when this returns, but for a chunk that is refused: of that nothing is.
    async fn receive(
        &self,
        claim: &Claim<'_>,
        offset: u64,
        upload: &Upload,
        body: Body,
        checksum: Option<Checksum>,
    ) -> Result<(), Problem> {
        let too_long = || Problem::too_large("the body goes on past Upload-Length");
        let room = upload.length.saturating_sub(offset);
        if number(&self.headers, &header::CONTENT_LENGTH)?.is_some_and(|bytes| bytes > room) {
            return Err(too_long());
        }
        let before = claim.length().await?;
        let mut at = offset;
        let mut checksum = checksum;
        let mut chunk = Vec::new();
        let (mut body, mut pace) = (body.into_data_stream(), Pace::default());
        let ended = loop {
            let bytes: Bytes = tokio::select! {
                () = claim.superseded() => break Err(superseded()),
                () = self.app.stopped() => break Err(StoreError::Closed.into()),
                next = pace.next(&mut body) => match next {
                    Ok(Some(Ok(bytes))) => bytes,
                    Ok(Some(Err(_))) => break Err(Problem::malformed("the body was cut short")),
                    Ok(None) => break Ok(()),
                    Err(TooSlow) => break Err(too_slow()),
                },
            };
            if let Some(checksum) = &mut checksum {
                checksum.update(&bytes);
            }
            let known = before.saturating_sub(at).min(bytes.len() as u64);
            at += bytes.len() as u64;
            if at > upload.length {
                claim.truncate(before).await?;
                return Err(too_long());
            }
            chunk.extend_from_slice(bytes.get(known as usize..).unwrap_or_default());
            if chunk.len() >= CHUNK_BYTES {
                claim.append(std::mem::take(&mut chunk)).await?;
            }
        };
        if !chunk.is_empty() {
            claim.append(chunk).await?;
        }
        ended?;
        if checksum.is_some_and(|checksum| !checksum.holds()) {
            claim.truncate(before).await?;
            return Err(mismatch("chunk_mismatch", "The chunk was damaged on its way")
                .detail("nothing of it was taken: send it again"));
        }
        Ok(())
    }

    /// Finishes an upload that is whole, and says how far it is.
    async fn progress(
        &self,
        status: StatusCode,
        claim: &Claim<'_>,
        upload: &Upload,
    ) -> Result<Response, Problem> {
        let have = claim.length().await?;
        let mut response = at(status, upload.length, have);
        if have < upload.length {
            set(&mut response, UPLOAD_EXPIRES, http_date(upload.expires_ms));
        } else {
            match finish(&self.app, &self.tenant, claim, Some(self.sender.user)).await? {
                Ok(Kept::Here(_) | Kept::Retired(_)) => {}
                Ok(Kept::Erased(_)) => return Err(erased()),
                Err(unfit) => return Err(refused(&unfit)),
            }
        }
        Ok(response)
    }

    fn sends_offset_stream(&self) -> bool {
        self.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == OFFSET_STREAM)
    }

    /// Whether a creation brings the first bytes with it.
    fn brings_bytes(&self) -> Result<bool, Problem> {
        let length = number(&self.headers, &header::CONTENT_LENGTH)?;
        let empty = length.unwrap_or(0) == 0;
        if empty && !self.headers.contains_key(header::TRANSFER_ENCODING) {
            return Ok(false);
        }
        if self.sends_offset_stream() { Ok(true) } else { Err(unsupported()) }
    }
}

/// How fast a body comes: the time for which it was waited for, which is not all that passed, and what came in it.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

/// Less than [`UPLOAD_WAIT_BYTES_MIN`] came in [`UPLOAD_WAIT`].
#[derive(Debug, PartialEq, Eq)]
struct TooSlow;

impl Pace {
    /// The next piece of a body, if there is one.
    async fn next<E>(
        &mut self,
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Result<Bytes, E>>, TooSlow> {
        loop {
            let began = Instant::now();
            let left = UPLOAD_WAIT.saturating_sub(self.waited);
            if let Ok(next) = tokio::time::timeout(left, body.next()).await {
                self.waited += began.elapsed();
                self.bytes += next.as_ref().map_or(0, |n| n.as_ref().map_or(0, |b| b.len() as u64));
                return Ok(next);
            }
            if self.bytes < UPLOAD_WAIT_BYTES_MIN {
                return Err(TooSlow);
            }
            *self = Self::default();
        }
    }
}

/// Takes in what a courier brings, each photo as if its origin had uploaded it.
pub(super) async fn bring(
    app: &App,
    tenant: &Arc<Tenant>,
    brought: Vec<Brought>,
) -> Result<Vec<Delivery>, StoreError> {
    // All are on the disk before one of them waits for its turn at decoding: memory is for those that have one.
    let mut arrived = Vec::with_capacity(brought.len());
    for photo in brought {
        let (id, user) = (photo.id, (!photo.forgotten).then_some(photo.user));
        arrived.push((id, user, later_if_busy(arrive(app, tenant, photo).await)?));
    }
    let mut outcomes = Vec::with_capacity(arrived.len());
    for (id, user, outcome) in arrived {
        outcomes.push(match outcome {
            Some(outcome) => outcome,
            None => {
                later_if_busy(settle(app, tenant, id, user).await)?.unwrap_or(Delivery::Later {})
            }
        });
    }
    Ok(outcomes)
}

fn later_if_busy(
    done: Result<Option<Delivery>, StoreError>,
) -> Result<Option<Delivery>, StoreError> {
    match done {
        Err(StoreError::Busy) => Ok(Some(Delivery::Later {})),
        done => done,
    }
}

/// Makes a whole upload of a photo that was brought, or says what becomes of it.
async fn arrive(
    app: &App,
    tenant: &Arc<Tenant>,
    brought: Brought,
) -> Result<Option<Delivery>, StoreError> {
    let Brought { id, user, forgotten, file } = brought;
    match named(app, tenant, user, id.hash, forgotten).await? {
        Named::Entry => {}
        Named::Refused => return Ok(Some(Delivery::Later {})),
        Named::Nowhere => return Ok(Some(not_taken(&not_referenced()))),
    }
    if forgotten {
        // Nobody can say whose it was, so it is the photo of all who name it, and not its courier's.
        let write = app.store.write_for(id.org, move |tx| {
            let people = rows::naming(tx, id.org, None, id.hash, |_| true)?;
            rows::bear_out(tx, id.org, id.hash, &people)
        });
        write.await?;
    }
    let claim = app.arrivals.claim(id).await;
    Ok(match begin(app, &claim, file.len() as u64).await? {
        Begun::Open(_) => {
            claim.remove().await?;
            claim.append(file).await?;
            None
        }
        Begun::Here(_) | Begun::Erased => Some(Delivery::Taken {}),
        Begun::Deadly => Some(not_taken(&refused(&Unfit::Deadly))),
        Begun::TooMany | Begun::NoRoom => Some(Delivery::Later {}),
    })
}

/// Finishes the upload of a photo that was brought. `None`: somebody has ended it meanwhile, or begun it anew.
async fn settle(
    app: &App,
    tenant: &Tenant,
    id: UploadId,
    user: Option<UserId>,
) -> Result<Option<Delivery>, StoreError> {
    let claim = app.arrivals.claim(id).await;
    Ok(match standing(app, id, now_ms()).await? {
        Standing::Here(_) => Some(Delivery::Taken {}),
        Standing::Erased => {
            claim.remove().await?; // what was on its way when it was erased
            Some(Delivery::Taken {})
        }
        Standing::Open(upload) if claim.length().await? == upload.length => {
            match finish(app, tenant, &claim, user).await? {
                Ok(_) => Some(Delivery::Taken {}),
                Err(unfit) => Some(not_taken(&refused(&unfit))),
            }
        }
        Standing::Open(_) | Standing::Deadly | Standing::Absent => None,
    })
}

fn not_taken(why: &Problem) -> Delivery {
    Delivery::Refused { code: why.code().to_owned(), detail: why.sentence() }
}

/// What that is here and that a person has to do with names a photo; or anybody has to do with. A person who sees it
/// already need not bring it.
async fn named(
    app: &App,
    tenant: &Arc<Tenant>,
    user: UserId,
    hash: BlobHash,
    by_anybody: bool,
) -> Result<Named, StoreError> {
    // Refused work has no index: others find a reader while it is searched.
    let (turn, tenant, org) = (tenant.turn().await?, Arc::clone(tenant), tenant.org);
    let read = app.store.read(move |connection| {
        let _turn = turn;
        let world = tenant.world();
        let sees = |audience: &Audience| by_anybody || world.sees(user, audience);
        let named = rows::named(connection, tenant.org, user, hash, sees)?;
        Ok((named, !by_anybody && rows::is_in_sight(connection, tenant.org, hash, sees)?))
    });
    let (named, seen) = read.await?;
    if seen {
        app.store.write_for(org, move |tx| rows::bear_out(tx, org, hash, &[user])).await?;
    }
    Ok(named)
}

/// What becomes of an upload that is announced.
enum Begun {
    /// Its photo is here, and need not come.
    Here(Photo),
    Open(Upload),
    Erased,
    Deadly,
    /// The device has too many others open.
    TooMany,
    /// The organisation's photos have no room for it.
    NoRoom,
}

async fn begin(app: &App, claim: &Claim<'_>, length: u64) -> Result<Begun, StoreError> {
    let (id, now) = (claim.id(), now_ms());
    match standing(app, id, now).await? {
        Standing::Here(photo) => return Ok(Begun::Here(photo)),
        Standing::Erased => {
            claim.remove().await?;
            return Ok(Begun::Erased);
        }
        Standing::Deadly => return Ok(Begun::Deadly),
        Standing::Open(_) | Standing::Absent => {}
    }
    let opened = app.store.write_for(id.org, move |tx| rows::open(tx, id, length, now));
    Ok(match opened.await? {
        Opened::Again(upload) => Begun::Open(upload),
        Opened::Afresh(upload) => {
            claim.remove().await?;
            Begun::Open(upload)
        }
        Opened::TooMany => Begun::TooMany,
        Opened::NoRoom => Begun::NoRoom,
    })
}

/// Makes a photo of a whole upload of this person's, or ends it when it is none.
async fn finish(
    app: &App,
    tenant: &Tenant,
    claim: &Claim<'_>,
    user: Option<UserId>,
) -> Result<Result<Kept, Unfit>, StoreError> {
    let (org, id) = (tenant.id, claim.id());
    let verified = match photo::verify(app, tenant, id.hash, Place::Arriving(claim)).await? {
        Ok(verified) => verified,
        Err(unfit) => {
            app.store.write_for(id.org, move |tx| rows::close(tx, id)).await?;
            claim.remove().await?;
            return Ok(Err(unfit));
        }
    };
    let (photo, drawn) = verified.put(&app.blobs, org, id.hash).await?;
    let world = tenant.world();
    let write = app.store.write_for(id.org, move |tx| {
        let sees = |audience: &Audience| user.is_some_and(|user| world.sees(user, audience));
        rows::arrived(tx, id, user, sees, &photo, &drawn)
    });
    let kept = write.await?;
    claim.remove().await?;
    if !matches!(kept, Kept::Here(_)) {
        jobs::unlink(app, tenant).await?;
    }
    app.poke(tenant);
    Ok(Ok(kept))
}

/// The answer for an upload that stands at `offset`.
fn at(status: StatusCode, length: u64, offset: u64) -> Response {
    let headers = [(UPLOAD_LENGTH, length), (UPLOAD_OFFSET, offset)];
    (status, headers.map(|(name, n)| (name, HeaderValue::from(n)))).into_response()
}

fn set(response: &mut Response, name: HeaderName, value: String) {
    let value = HeaderValue::try_from(value).ok();
    response.headers_mut().extend(value.map(|value| (name, value)));
}

fn http_date(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let printed = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
    printed.unwrap_or_default()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .map(Some)
        .ok_or_else(|| Problem::malformed(format!("{name} is no number")))
}

/// The hash in `Upload-Metadata`.
fn announced(headers: &HeaderMap) -> Result<BlobHash, Problem> {
    let bad =
        || Problem::malformed("Upload-Metadata needs sha256 with the base64 of 64 hex digits");
    let metadata = headers.get(UPLOAD_METADATA).and_then(|value| value.to_str().ok());
    let pairs = metadata.ok_or_else(bad)?.split(',');
    let mut found = pairs.filter_map(|pair| pair.trim().strip_prefix("sha256 "));
    let (Some(value), None) = (found.next(), found.next()) else { return Err(bad()) };
    let hex = STANDARD.decode(value).map_err(|_| bad())?;
    std::str::from_utf8(&hex).ok().and_then(|hex| hex.parse().ok()).ok_or_else(bad)
}

/// What a piece has to sum up to: SHA-1 because tus asks every server for it, SHA-256 because that one holds.
enum Checksum {
    Sha1(Sha1, [u8; 20]),
    Sha256(Sha256, [u8; 32]),
}

impl Checksum {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(sum, _) => sum.update(bytes),
            Self::Sha256(sum, _) => sum.update(bytes),
        }
    }

    fn holds(self) -> bool {
        match self {
            Self::Sha1(sum, expected) => sum.finalize()[..] == expected,
            Self::Sha256(sum, expected) => sum.finalize()[..] == expected,
        }
    }
}

/// The sum in `Upload-Checksum`.
fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, Problem> {
    let Some(value) = headers.get(UPLOAD_CHECKSUM) else { return Ok(None) };
    let bad = || Problem::malformed("Upload-Checksum is `sha1` or `sha256` and the base64 of it");
    let (algorithm, sum) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(bad)?;
    let sum = STANDARD.decode(sum).map_err(|_| bad())?;
    let checksum = match algorithm {
        "sha1" => Checksum::Sha1(Sha1::new(), sum.try_into().map_err(|_| bad())?),
        "sha256" => Checksum::Sha256(Sha256::new(), sum.try_into().map_err(|_| bad())?),
        _ => return Err(bad()),
    };
    Ok(Some(checksum))
}

fn not_referenced() -> Problem {
    let title = "No entry that is here and yours names this photo";
    Problem::new(StatusCode::FORBIDDEN, NOT_REFERENCED, title)
        .detail("push the entry that names it first, and begin the upload then")
}

pub(crate) fn erased() -> Problem {
    Problem::new(StatusCode::GONE, "erased", "This photo was erased and is not taken again")
}

fn unsupported() -> Problem {
    let title = "The content type is not supported";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type_unsupported", title)
        .detail(format!("use {OFFSET_STREAM}"))
}

fn superseded() -> Problem {
    let title = "A newer request goes on with this upload";
    Problem::new(StatusCode::CONFLICT, "superseded", title).detail("what came was kept")
}

fn too_slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "The body came too slowly")
        .detail("what came was kept: ask where the upload stands and go on")
}

fn mismatch(code: &str, title: &'static str) -> Problem {
    let status = StatusCode::from_u16(460).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    Problem::new(status, code, title)
}

fn refused(unfit: &Unfit) -> Problem {
    let problem = match unfit {
        Unfit::OtherContent => {
            mismatch("checksum_mismatch", "The upload is not what was announced")
        }
        Unfit::NotAnImage(_) | Unfit::Deadly | Unfit::Missing => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not_an_image",
            "The upload is no photo that can be shown",
        ),
    };
    problem.detail(format!("{unfit}; the upload was removed"))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    /// So many bytes so often, until it is given up or has ended; how long that took, in seconds.
    async fn sends(bytes: usize, every: Duration, times: usize) -> (Result<(), TooSlow>, u64) {
        let mut ticks = tokio::time::interval(every);
        ticks.tick().await;
        let pieces = futures_util::stream::unfold((ticks, times), |(mut ticks, left)| async move {
            let left = left.checked_sub(1)?;
            ticks.tick().await;
            Some((Ok::<_, ()>(Bytes::from(vec![0; bytes])), (ticks, left)))
        });
        let (mut pieces, mut pace, began) = (pin!(pieces), Pace::default(), Instant::now());
        let ended = loop {
            match pace.next(&mut pieces).await {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(slow) => break Err(slow),
            }
        };
        (ended, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up_and_a_villages_line_is_not() {
        let second = Duration::from_secs(1);
        assert_eq!(sends(1, second, 600).await, (Err(TooSlow), 60));
        assert_eq!(sends(0, 29 * second, 600).await, (Err(TooSlow), 60));
        // 64 kbit/s, of which a quarter is left, in the middle of an hour of photos.
        assert_eq!(sends(2_000, second, 3_600).await, (Ok(()), 3_600));
        // A line that is away for 29 s each time, and brings what a window of TCP holds then.
        assert_eq!(sends(48 << 10, 29 * second, 100).await, (Ok(()), 2_900));
        // It was well for a minute, and trickles from then on.
        let mut pace = Pace { waited: Duration::ZERO, bytes: UPLOAD_WAIT_BYTES_MIN };
        let mut never = futures_util::stream::pending::<Result<Bytes, ()>>();
        let began = Instant::now();
        assert_eq!(pace.next(&mut never).await, Err(TooSlow));
        assert_eq!(began.elapsed(), 2 * UPLOAD_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_takes_for_itself_does_not_count() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            let mut body = futures_util::stream::iter([Ok::<_, ()>(Bytes::from_static(b"piece"))]);
            assert!(pace.next(&mut body).await.unwrap().is_some());
            tokio::time::advance(UPLOAD_WAIT).await; // the disk is slow
        }
    }
}
