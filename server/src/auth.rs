//! Who asks: where a request comes from, which device's token or which person's session it carries.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use axum::Form;
use axum::body::{Body, Bytes};
use axum::extract::multipart::MultipartError;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Multipart, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sync_core::id::{DeviceId, LogHash, UserId};
use sync_core::model::people::{Audience, Rights, Role};
use tokio::sync::OwnedSemaphorePermit;

use crate::app::{App, Tenant, inactive};
use crate::config::{ServeConfig, is_authority};
use crate::error::Problem;
use crate::ingest::Sender;
use crate::limits::{AtOnce, FORM_BYTES_MAX, FORM_FILES_MAX, Open, address_key};
use crate::lines::Holder;
use crate::store::StoreError;
use crate::store::accounts::{self, SecretHash, Session};
use crate::store::log::Org;
use crate::world::World;
use crate::{now_ms, random};

/// Name of the console's cookie.
pub const COOKIE: &str = "endcap_session";
/// A session ends after this long without a request.
const SESSION_IDLE_MS: i64 = 12 * 3_600_000;
/// A session ends after this long whatever happens.
const SESSION_MS_MAX: i64 = 7 * 24 * 3_600_000;
/// A session's end is moved when it would move by this much, so that not every page is a write.
const SESSION_STEP_MS: i64 = 10 * 60_000;
/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// Longest e-mail address, in bytes.
const EMAIL_BYTES_MAX: usize = 254;

/// A secret of 32 bytes for its holder, in base64url.
pub(crate) fn secret() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random::<32>())
}

/// What is kept of a secret.
pub(crate) fn secret_hash(secret: &str) -> SecretHash {
    LogHash::of(secret.as_bytes()).0
}

// ---- where a request comes from

/// Where a request comes from, as far as the proxies in between are believed.
#[derive(Debug, Clone)]
pub struct Client {
    /// The sender's address.
    pub ip: IpAddr,
    /// Links and cookies may rely on TLS.
    pub secure: bool,
    /// How the sender reaches this server, such as `https://endcap.example`.
    pub base_url: String,
    /// The request itself came over TLS.
    tls: bool,
    /// From this machine, and not through a proxy.
    local: bool,
}

impl Client {
    /// Reads it off a request that `peer` has sent.
    pub fn new(config: &ServeConfig, peer: SocketAddr, headers: &HeaderMap) -> Self {
        let peer = peer.ip().to_canonical();
        let forwarded_for = HeaderName::from_static("x-forwarded-for");
        let forwarded_proto = HeaderName::from_static("x-forwarded-proto");
        let trusted = config.trusts(peer);
        let mut ip = peer;
        if trusted {
            let lines = headers.get_all(&forwarded_for).iter();
            let entries: Vec<&str> =
                lines.filter_map(|l| l.to_str().ok()).flat_map(|l| l.split(',')).collect();
            for entry in entries.iter().rev() {
                let Some(hop) = forwarded_ip(entry.trim()) else { break };
                ip = hop;
                if !config.trusts(hop) {
                    break;
                }
            }
        }
        let public_https = config.public_url.as_ref().is_some_and(|u| u.starts_with("https://"));
        let proto = headers.get(&forwarded_proto).and_then(|v| v.to_str().ok());
        let tls = trusted && proto.map_or(public_https, |p| p.trim() == "https");
        let secure = tls || public_https;
        let base_url = config.public_url.clone().unwrap_or_else(|| {
            let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
            let host = host.filter(|h| is_authority(h)).map(str::to_owned);
            let scheme = if secure { "https" } else { "http" };
            format!("{scheme}://{}", host.unwrap_or_else(|| config.listen.to_string()))
        });
        let passed_on = headers.contains_key(&forwarded_for)
            || headers.contains_key(&forwarded_proto)
            || headers.contains_key(header::FORWARDED);
        Self { ip, secure, base_url, tls, local: peer.is_loopback() && !passed_on }
    }

    /// From this machine, and not through a proxy.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Whether others on the network could read along.
    pub fn is_exposed(&self) -> bool {
        !self.tls && !self.ip.is_loopback()
    }
}

/// An entry of `X-Forwarded-For`: an address, maybe with a port.
fn forwarded_ip(entry: &str) -> Option<IpAddr> {
    let ip = entry.parse().ok().or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()));
    ip.map(|ip| ip.to_canonical())
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(Problem::internal)
    }
}

/// Refuses what another site's page makes a browser send.
pub fn refuse_cross_site(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let same = match text(HeaderName::from_static("sec-fetch-site")) {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => match text(header::ORIGIN) {
            Some(origin) => origin.split_once("://").map(|(_, host)| host) == text(header::HOST),
            None => true,
        },
    };
    if same { Ok(()) } else { Err(Problem::forbidden("the request comes from another site")) }
}

// ---- devices

/// The device whose bearer token a request carries.
pub async fn device(app: &App, headers: &HeaderMap) -> Result<(Arc<Tenant>, Sender), Problem> {
    match bearer(app, headers).await? {
        (_, _, true) => Err(Problem::revoked()),
        (tenant, sender, false) => Ok((tenant, sender)),
    }
}

/// The device whose bearer token a request carries; the flag says that its access was withdrawn.
pub async fn bearer(
    app: &App,
    headers: &HeaderMap,
) -> Result<(Arc<Tenant>, Sender, bool), Problem> {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .ok_or_else(Problem::unauthorized)?;
    let token = secret_hash(token);
    let found = app.store.read(move |connection| accounts::device_by_token(connection, token));
    let (org, sender, revoked) = found.await?.ok_or_else(Problem::unauthorized)?;
    let tenant = app.tenant(org).ok_or_else(Problem::unauthorized)?;
    Ok((tenant, sender, revoked))
}

/// Refuses whoever may not read the entries of an organisation's log: devices may, with room among their requests, and
/// those whom a token was given out to for a copy of it.
pub async fn reads_log(
    app: &App,
    tenant: &Tenant,
    headers: &HeaderMap,
) -> Result<Option<Room>, Problem> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let (org, token) = (tenant.org, secret_hash(token.ok_or_else(Problem::unauthorized)?));
    let mirror = app.store.read(move |connection| accounts::mirror(connection, org, token)).await?;
    if let Some(mirror) = mirror {
        let now = now_ms();
        if mirror.used_ms.is_none_or(|used| now - used >= accounts::USED_STEP_MS) {
            let noted = app.store.write_for(org, move |tx| accounts::mirrored(tx, token, now));
            if let Err(error) = noted.await {
                tracing::warn!(%error, "the use of a token for a copy could not be noted");
            }
        }
        return Ok(None);
    }
    let (of, sender) = device(app, headers).await?;
    if of.org != org {
        return Err(Problem::unauthorized());
    }
    // Whoever has left reads it no more, with what device ever.
    match tenant.world().rights(sender.user) {
        Some(_) => Room::of(app, tenant, sender.device).map(Some),
        None => Err(inactive()),
    }
}

/// A device that syncs, within its rate.
pub struct Phone {
    /// Its organisation.
    pub tenant: Arc<Tenant>,
    /// Which.
    pub sender: Sender,
}

impl FromRequestParts<Arc<App>> for Phone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let (tenant, sender) = device(app, &parts.headers).await?;
        app.limits.sync.check(sender.device, now_ms())?;
        Ok(Self { tenant, sender })
    }
}

/// A device whose access may have been withdrawn, within its rate and with room among its requests.
pub struct Bearer {
    /// Its organisation.
    pub tenant: Arc<Tenant>,
    /// Which.
    pub sender: Sender,
    /// Its access was withdrawn.
    pub revoked: bool,
    /// To be held.
    pub room: Room,
}

impl FromRequestParts<Arc<App>> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let (tenant, sender, revoked) = bearer(app, &parts.headers).await?;
        app.limits.sync.check(sender.device, now_ms())?;
        let room = Room::of(app, &tenant, sender.device)?;
        Ok(Self { tenant, sender, revoked, room })
    }
}

/// Somebody who is not known yet, with room among those of their address: to be taken before the body is read.
pub struct Stranger(pub Client, pub Open<IpAddr>);

impl FromRequestParts<Arc<App>> for Stranger {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let client = Client::from_request_parts(parts, app).await?;
        let room = app.limits.strangers.begin(address_key(client.ip));
        let too_much = "too much is asked at once from your address: try again";
        Ok(Self(client, room.ok_or_else(|| Problem::busy(too_much))?))
    }
}

/// A device that syncs, with room among its requests and among those of its organisation. To be taken before the body is
/// read: slow bodies of one phone leave room for its colleagues, and those of one organisation for the others.
pub struct InRoom(pub Phone, pub Room);

/// Held while a request is worked on.
pub struct Room<K: Copy + Eq + Hash = DeviceId> {
    _of_asker: Open<(Org, K)>,
    _of_organisation: OwnedSemaphorePermit,
}

impl FromRequestParts<Arc<App>> for InRoom {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let phone = Phone::from_request_parts(parts, app).await?;
        let room = Room::of(app, &phone.tenant, phone.sender.device)?;
        Ok(Self(phone, room))
    }
}

impl Room {
    /// Room among a device's requests and those of its organisation.
    pub fn of(app: &App, tenant: &Tenant, device: DeviceId) -> Result<Self, Problem> {
        let too_much = "this phone asks too much at once: let some of it be answered first";
        Self::among(&app.limits.asked, tenant, device, too_much)
    }
}

impl<K: Copy + Eq + Hash> Room<K> {
    fn among(
        asked: &AtOnce<(Org, K)>,
        tenant: &Tenant,
        who: K,
        too_much: &'static str,
    ) -> Result<Self, Problem> {
        let of_asker = asked.begin((tenant.org, who)).ok_or_else(|| Problem::busy(too_much))?;
        Ok(Self { _of_asker: of_asker, _of_organisation: tenant.room()? })
    }
}

// ---- people

/// A person who is signed in to the console.
///
/// As an extractor it sends a browser that asks for a page without a session to sign in, and answers other
/// requests `unauthorized`. On a method that changes something it wants the session's CSRF token in
/// `X-CSRF-Token`; for forms, which carry it as `csrf`, there is [`Posted`].
pub struct Viewer {
    /// The organisation.
    pub tenant: Arc<Tenant>,
    /// What the person may do, as of this request.
    pub rights: Rights,
    /// What the person is called.
    pub name: String,
    /// What every form must carry in its hidden field `csrf`.
    pub csrf: String,
    session: SecretHash,
    /// Room among the requests of the person and of the organisation: slow or many pages of one leave room for the others.
    room: Option<Room<UserId>>,
}

/// A form that a signed-in person has sent, its CSRF token checked.
///
/// `T` does not name the field `csrf` and must not deny unknown fields.
pub struct Posted<T>(pub Viewer, pub T);

/// Whether this role works in the console at all.
pub fn signs_in(role: Role) -> bool {
    matches!(role, Role::Admin | Role::Supervisor | Role::DistributorManager)
}

/// Whether this role gives out copies of the log.
pub fn gives_out_copies(role: Role) -> bool {
    matches!(role, Role::Admin | Role::DistributorManager)
}

impl Viewer {
    /// Whether the person's scope includes `audience`.
    pub fn sees(&self, audience: &Audience) -> bool {
        self.rights.sees(&self.tenant.world().tree, audience)
    }

    /// Refuses a person whose role may not do this: `viewer.require(Role::reviews, "review visits")?`.
    pub fn require(&self, may: impl FnOnce(Role) -> bool, what: &str) -> Result<(), Problem> {
        if may(self.rights.role) {
            return Ok(());
        }
        let role = self.rights.role.as_str().replace('_', " ");
        Err(Problem::forbidden(format!("your role is {role}, which may not {what}")))
    }

    /// For within a write: refuses with `rights_changed` (409) who has other rights by then than when they asked.
    pub(crate) fn still(&self) -> impl Fn(&World) -> Result<(), Problem> + Send + 'static {
        let asked = self.rights;
        move |world| match world.rights(asked.user) == Some(asked) {
            true => Ok(()),
            false => {
                let title = "What you may do here has just changed";
                let problem = Problem::new(StatusCode::CONFLICT, "rights_changed", title);
                Err(problem.detail("nothing was done: reload the page"))
            }
        }
    }

    /// Writes what the person asks for, given the world as it is by then; see [`Viewer::still`].
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        app: &App,
        job: impl FnOnce(&rusqlite::Transaction<'_>, &World) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (of, still) = (Arc::clone(&self.tenant), self.still());
        let write = move |tx: &rusqlite::Transaction<'_>| {
            let world = of.world_in_writing();
            still(&world)?;
            job(tx, &world)
        };
        app.store.write_for(self.tenant.org, write).await
    }

    async fn find(app: &App, headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(cookie) = cookie(headers) else { return Ok(None) };
        let (token, now) = (secret_hash(cookie), now_ms());
        let found = app.store.read(move |connection| accounts::session(connection, token, now));
        let Some(session) = found.await? else { return Ok(None) };
        let Some(tenant) = app.tenant(session.org) else { return Ok(None) };
        let person = tenant.world().people.get(&session.user).cloned();
        let Some((person, rights)) = person.and_then(|p| p.rights().map(|rights| (p, rights)))
        else {
            return Ok(None);
        };
        if !signs_in(rights.role) {
            return Ok(None);
        }
        let end = (now + SESSION_IDLE_MS).min(session.created_ms + SESSION_MS_MAX);
        if end - session.expires_ms >= SESSION_STEP_MS {
            let moved: Result<(), StoreError> =
                app.store.write(move |tx| accounts::extend_session(tx, token, end)).await;
            if let Err(error) = moved {
                tracing::warn!(%error, "a session could not be extended");
            }
        }
        let too_much = "your pages ask too much at once: let some of it be answered first";
        let room = Room::among(&app.limits.pages, &tenant, session.user, too_much)?;
        let (name, csrf, room) = (person.name, session.csrf, Some(room));
        Ok(Some(Self { tenant, rights, name, csrf, session: token, room }))
    }

    /// Whose live line it is that this person's page opens.
    pub fn line(&self) -> Holder {
        Holder::Session(self.session)
    }

    /// Is no request any more, but goes on.
    pub fn leave_room(&mut self) {
        self.room = None;
    }

    /// Whether the person is still signed in and may still do anything here. Moves no session's end.
    pub async fn lasts(&self, app: &App) -> bool {
        let (token, now) = (self.session, now_ms());
        let found = app.store.read(move |connection| accounts::session(connection, token, now));
        matches!(found.await, Ok(Some(_)))
            && self.tenant.world().rights(self.rights.user) == Some(self.rights)
    }

    /// What is written stays: so nobody writes more often than by hand.
    fn check_rate(&self, app: &App) -> Result<(), Problem> {
        app.limits.forms.check(self.rights.user, now_ms())
    }

    fn check_csrf(&self, token: Option<&str>) -> Result<(), Problem> {
        // Hashed so that the time of comparing says nothing about the token.
        if token.is_some_and(|token| secret_hash(token) == secret_hash(&self.csrf)) {
            return Ok(());
        }
        let title = "This page was open for too long or did not come from here";
        let problem = Problem::new(StatusCode::FORBIDDEN, "csrf", title);
        Err(problem.detail("go back, reload the page and try again"))
    }
}

impl FromRequestParts<Arc<App>> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let viewer = Self::find(app, &parts.headers).await.map_err(Problem::into_response)?;
        let viewer = viewer.ok_or_else(|| sign_in_first(parts))?;
        if !parts.method.is_safe() {
            let token = parts.headers.get("x-csrf-token").and_then(|v| v.to_str().ok());
            viewer.check_csrf(token).map_err(Problem::into_response)?;
            viewer.check_rate(app).map_err(Problem::into_response)?;
        }
        Ok(viewer)
    }
}

#[derive(Deserialize)]
struct Csrf {
    csrf: Option<String>,
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Posted<T> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let viewer = Viewer::find(app, &parts.headers).await.map_err(Problem::into_response)?;
        let viewer = viewer.ok_or_else(|| sign_in_first(&parts))?;
        let mut request = Request::from_parts(parts.clone(), body);
        // Also where the route takes files: words have no room among those.
        DefaultBodyLimit::max(FORM_BYTES_MAX).apply(&mut request);
        let bytes = Bytes::from_request(request, app).await.map_err(IntoResponse::into_response)?;
        let again = || Request::from_parts(parts.clone(), Body::from(bytes.clone()));
        let malformed = |error: axum::extract::rejection::FormRejection| {
            Problem::malformed(error.body_text()).into_response()
        };
        let Form(Csrf { csrf }) = Form::from_request(again(), app).await.map_err(malformed)?;
        viewer.check_csrf(csrf.as_deref()).map_err(Problem::into_response)?;
        viewer.check_rate(app).map_err(Problem::into_response)?;
        let Form(form) = Form::from_request(again(), app).await.map_err(malformed)?;
        Ok(Self(viewer, form))
    }
}

/// A form that a signed-in person has sent, its CSRF token checked, with the files that came with it: as
/// `multipart/form-data`, or without files like any form. The token must come before the files. There are
/// [`FORM_FILES_MAX`] files at most; how many bytes, the route's body limit says.
pub struct PostedFiles<T> {
    /// Who.
    pub viewer: Viewer,
    /// The form, without its files.
    pub form: T,
    /// The files that are not empty, in the order in which they came.
    pub files: Vec<Vec<u8>>,
    /// The room that the files take, to be held as long as they are.
    pub room: Vec<OwnedSemaphorePermit>,
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for PostedFiles<T> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
            let Posted(viewer, form) = Posted::from_request(request, app).await?;
            return Ok(Self { viewer, form, files: Vec::new(), room: Vec::new() });
        }
        let (parts, body) = request.into_parts();
        let viewer = Viewer::find(app, &parts.headers).await.map_err(Problem::into_response)?;
        let viewer = viewer.ok_or_else(|| sign_in_first(&parts))?;
        let mut room = Vec::new();
        for forms in [&viewer.tenant.forms_with_files, &app.limits.forms_with_files] {
            let permit = Arc::clone(forms).acquire_owned().await;
            room.push(permit.map_err(|_| Problem::internal().into_response())?);
        }
        let request = Request::from_parts(parts, body);
        let multipart =
            Multipart::from_request(request, app).await.map_err(IntoResponse::into_response)?;
        let read = read_files(&viewer, multipart).await;
        let (fields, files) = read.map_err(Problem::into_response)?;
        viewer.check_rate(app).map_err(Problem::into_response)?;
        let pairs = fields
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)));
        let text = pairs.collect::<Vec<_>>().join("&");
        let kind = "application/x-www-form-urlencoded";
        let plain = Request::post("/").header(header::CONTENT_TYPE, kind).body(Body::from(text));
        let plain = plain.map_err(|_| Problem::internal().into_response())?;
        let malformed = |error: axum::extract::rejection::FormRejection| {
            Problem::malformed(error.body_text()).into_response()
        };
        let Form(form) = Form::from_request(plain, app).await.map_err(malformed)?;
        Ok(Self { viewer, form, files, room })
    }
}

/// The words and the files of a form.
type Fields = (Vec<(String, String)>, Vec<Vec<u8>>);

async fn read_files(viewer: &Viewer, mut multipart: Multipart) -> Result<Fields, Problem> {
    let (mut fields, mut files, mut room) = (Vec::new(), Vec::new(), FORM_BYTES_MAX);
    let mut checked = false;
    let cut = |error: MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large("the files are too large together"),
        _ => Problem::malformed(error.body_text()),
    };
    while let Some(mut field) = multipart.next_field().await.map_err(cut)? {
        let name = field.name().unwrap_or_default().to_owned();
        let left = room.checked_sub(name.len());
        room = left.ok_or_else(|| Problem::too_large("the form is too large"))?;
        let is_file = field.file_name().is_some();
        if is_file && !checked {
            viewer.check_csrf(None)?;
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(cut)? {
            if !is_file {
                let left = room.checked_sub(chunk.len());
                room = left.ok_or_else(|| Problem::too_large("the form is too large"))?;
            }
            bytes.extend_from_slice(&chunk);
        }
        if is_file {
            if !bytes.is_empty() {
                files.push(bytes);
            }
            if files.len() > FORM_FILES_MAX {
                let most = format!("a form takes {FORM_FILES_MAX} files");
                return Err(Problem::too_large(most));
            }
            continue;
        }
        let value = String::from_utf8(bytes);
        let value = value.map_err(|_| Problem::malformed(format!("{name}: is not UTF-8")))?;
        if name == "csrf" {
            viewer.check_csrf(Some(&value))?;
            checked = true;
        } else {
            fields.push((name, value));
        }
    }
    if !checked {
        viewer.check_csrf(None)?;
    }
    Ok((fields, files))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn sign_in_first(parts: &Parts) -> Response {
    let accept = parts.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    if !parts.method.is_safe() || !accept.is_some_and(|accept| accept.contains("text/html")) {
        return Problem::unauthorized().into_response();
    }
    let here = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    Redirect::to(&format!("/sign-in?next={}", percent_encode(here))).into_response()
}

/// The path to go to after signing in: `next` if it is a path of this server.
pub fn local_path(next: Option<&str>) -> &str {
    let local = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    next.filter(local).unwrap_or("/")
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// An e-mail address as accounts are looked up by it.
pub fn normal_email(email: &str) -> Option<String> {
    let email = email.trim().to_lowercase();
    let (name, host) = email.rsplit_once('@')?;
    let plain = |c: char| !c.is_control() && !c.is_whitespace();
    let fine = !name.is_empty()
        && !host.is_empty()
        && email.len() <= EMAIL_BYTES_MAX
        && email.chars().all(plain);
    fine.then_some(email)
}

/// Signs a person in; returns the `Set-Cookie` header's value.
///
/// Refuses with `sign_in_failed` (401) without saying whether the address exists, with `phone_only` (403)
/// a person whose role works on the phone, with `rate_limited` (429) too many tries.
pub async fn sign_in(
    app: &App,
    client: &Client,
    email: &str,
    password: &str,
) -> Result<HeaderValue, Problem> {
    let now = now_ms();
    app.limits.sign_in_ip.check(address_key(client.ip), now)?;
    let failed = || {
        let title = "The e-mail address or the password is not right";
        Problem::new(StatusCode::UNAUTHORIZED, "sign_in_failed", title)
    };
    let email = normal_email(email).ok_or_else(failed)?;
    app.limits.sign_in_account.check(secret_hash(&email), now)?;
    let account = app.store.read(move |connection| accounts::account(connection, &email)).await?;
    let hash = account.as_ref().and_then(|account| account.password.clone());
    let right = is_password(app, password, hash.clone()).await?;
    let account = account.filter(|_| right).ok_or_else(failed)?;
    let tenant = app.tenant(account.org).ok_or_else(failed)?;
    let rights = tenant.world().rights(account.user);
    let rights = rights.ok_or_else(|| Problem::forbidden("this person's access was closed"))?;
    if !signs_in(rights.role) {
        let problem = Problem::new(StatusCode::FORBIDDEN, "phone_only", "You work on the phone");
        return Err(problem.detail("ask your supervisor for a code to enrol it"));
    }
    let cookie = secret();
    let token = secret_hash(&cookie);
    let session = Session {
        org: account.org,
        user: account.user,
        csrf: secret(),
        created_ms: now,
        expires_ms: now + SESSION_IDLE_MS,
    };
    // Hashing takes its time: the password may be another one by now, or the person gone.
    let of = Arc::clone(&tenant);
    let write = move |tx: &rusqlite::Transaction<'_>| -> Result<bool, StoreError> {
        let stands = accounts::password(tx, session.org, session.user)? == hash
            && of.world_in_writing().rights(session.user).is_some();
        if stands {
            accounts::open_session(tx, token, &session)?;
        }
        Ok(stands)
    };
    if !app.store.write_for(account.org, write).await? {
        return Err(failed());
    }
    set_cookie(client, &cookie, SESSION_MS_MAX / 1_000)
}

/// Signs a person out; returns the `Set-Cookie` header's value.
pub async fn sign_out(app: &App, client: &Client, viewer: &Viewer) -> Result<HeaderValue, Problem> {
    let token = viewer.session;
    let write = move |tx: &rusqlite::Transaction<'_>| -> Result<(), StoreError> {
        accounts::close_session(tx, token)
    };
    app.store.write(write).await?;
    set_cookie(client, "", 0)
}

fn set_cookie(client: &Client, value: &str, age_s: i64) -> Result<HeaderValue, Problem> {
    let secure = if client.secure { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age_s}{secure}");
    cookie.parse().map_err(|_| Problem::internal())
}

/// Changes the viewer's own password and ends all other sessions.
///
/// Refuses with `wrong_password` (422) and, for a new password that is too short, `invalid` (422).
pub async fn change_password(
    app: &App,
    viewer: &Viewer,
    current: &str,
    new: &str,
) -> Result<(), Problem> {
    check_password(new)?;
    let (org, user, session) = (viewer.tenant.org, viewer.rights.user, viewer.session);
    app.limits.sign_in_account.check(LogHash::of(user.as_bytes()).0, now_ms())?;
    let hash = app.store.read(move |connection| accounts::password(connection, org, user)).await?;
    let wrong = || {
        let title = "The current password is not right";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_password", title)
    };
    if !is_password(app, current, hash.clone()).await? {
        return Err(wrong());
    }
    let next = hash_password(app, new).await?;
    let write = move |tx: &rusqlite::Transaction<'_>| -> Result<(), Problem> {
        // Hashing takes its time: somebody may have given them another one.
        if accounts::password(tx, org, user)? != hash {
            return Err(wrong());
        }
        accounts::set_password(tx, org, user, &next)?;
        Ok(accounts::close_sessions(tx, org, user, Some(session))?)
    };
    app.store.write(write).await
}

/// Whether a new password is long enough.
pub fn check_password(password: &str) -> Result<(), Problem> {
    if password.chars().count() >= PASSWORD_CHARS_MIN && password.len() <= PASSWORD_BYTES_MAX {
        return Ok(());
    }
    Err(Problem::invalid(format!("a password needs {PASSWORD_CHARS_MIN} characters or more")))
}

fn argon2id() -> Argon2<'static> {
    let params = argon2::Params::new(19_456, 2, 1, None).expect("the parameters are in range");
    Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
}

/// The argon2id hash of a password, as a PHC string.
pub async fn hash_password(app: &App, password: &str) -> Result<String, Problem> {
    let password = password.to_owned();
    hashing(app, move || hash(&password)).await?
}

fn hash(password: &str) -> Result<String, Problem> {
    let salt: [u8; 16] = random();
    let hash: Result<PasswordHash, _> =
        argon2id().hash_password_with_salt(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|_| Problem::internal())
}

/// Whether this is the password of `hash`. Takes as long when there is no hash.
async fn is_password(app: &App, password: &str, kept: Option<String>) -> Result<bool, Problem> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Ok(false);
    }
    let password = password.to_owned();
    let run = move || match kept {
        None => hash(&password).map(|_| false),
        Some(kept) => {
            let kept = PasswordHash::new(&kept)
                .map_err(|_| Problem::from(StoreError::Damaged("a password".into())))?;
            Ok(argon2id().verify_password(password.as_bytes(), &kept).is_ok())
        }
    };
    hashing(app, run).await?
}

async fn hashing<T: Send + 'static>(
    app: &App,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let room = Arc::clone(&app.limits.hashing).acquire_owned().await;
    let room = room.map_err(|_| Problem::internal())?;
    let run = move || {
        let _room = room; // also when nobody waits any more
        run()
    };
    tokio::task::spawn_blocking(run).await.map_err(|_| Problem::internal())
}

/// The QR code by which a phone enrols: `endcap://enrol?server=...&code=...`, as an SVG picture of black
/// modules, one unit each, with the quiet zone of four.
pub fn enrol_qr_svg(url: &str, code: &str) -> String {
    let text =
        format!("endcap://enrol?server={}&code={}", percent_encode(url), percent_encode(code));
    // Only a text of more than 2,000 bytes has no QR code; a server's address and a code stay far below.
    let Ok(qr) = qrcodegen::QrCode::encode_text(&text, qrcodegen::QrCodeEcc::Medium) else {
        return String::new();
    };
    let mut path = String::new();
    for y in 0..qr.size() {
        let mut x = 0;
        while x < qr.size() {
            let run = (x..qr.size()).take_while(|x| qr.get_module(*x, y)).count();
            let run = i32::try_from(run).unwrap_or(0);
            if run > 0 {
                path.push_str(&format!("M{} {}h{run}v1h-{run}z", x + 4, y + 4));
            }
            x += run + 1;
        }
    }
    let side = qr.size() + 8;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
         shape-rendering=\"crispEdges\" role=\"img\" aria-label=\"QR code to enrol a phone\">\
         <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/>\
         <path d=\"{path}\" fill=\"#000\"/></svg>"
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::pin::Pin;

    use sync_core::id::UserId;
    use sync_core::model::catalogue::{Person, Record};

    use super::*;
    use crate::limits::HASHING_MAX;
    use crate::people;

    const FIRST: &str = "the first password";

    fn client(
        proxies: &[&str],
        public: Option<&str>,
        peer: &str,
        lines: &[(&str, &str)],
    ) -> Client {
        let config = ServeConfig {
            trusted_proxies: proxies.iter().map(|p| p.parse().unwrap()).collect(),
            public_url: public.map(str::to_owned),
            ..ServeConfig::local("data".into())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        Client::new(&config, SocketAddr::new(peer.parse().unwrap(), 5), &headers)
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let forged = [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "https")];
        let direct = client(&[], None, "10.0.0.5", &forged);
        assert_eq!(direct.ip.to_string(), "10.0.0.5");
        assert!(!direct.secure && direct.is_exposed() && !direct.is_local());

        let lines = [
            ("x-forwarded-for", "9.9.9.9, 8.8.8.8"),
            ("x-forwarded-for", "10.0.0.9:1234"),
            ("x-forwarded-proto", "https"),
            ("host", "endcap.example"),
        ];
        let proxied = client(&["10.0.0.0/8"], None, "10.0.0.5", &lines);
        assert_eq!(proxied.ip.to_string(), "8.8.8.8");
        assert!(proxied.secure && !proxied.is_exposed());
        assert_eq!(proxied.base_url, "https://endcap.example");

        let plain = client(&["10.0.0.0/8"], None, "10.0.0.5", &[("x-forwarded-for", "8.8.8.8")]);
        assert!(!plain.secure && plain.is_exposed());
        let garbled = [("x-forwarded-for", "8.8.8.8, <script>")];
        assert_eq!(client(&["10.0.0.5"], None, "10.0.0.5", &garbled).ip.to_string(), "10.0.0.5");
        let public = client(&["10.0.0.5"], Some("https://e.example"), "10.0.0.5", &[]);
        assert!(public.secure && !public.is_exposed());
        assert_eq!(public.base_url, "https://e.example");
        let beside = client(&["10.0.0.5"], Some("https://e.example"), "10.0.0.6", &[]);
        assert!(beside.is_exposed(), "past the proxy");
    }

    #[test]
    fn this_machine_is_local_unless_it_passes_something_on() {
        let local = client(&[], None, "127.0.0.1", &[("host", "localhost:8080")]);
        assert!(local.is_local() && !local.is_exposed() && !local.secure);
        assert_eq!(local.base_url, "http://localhost:8080");
        let odd = client(&[], None, "127.0.0.1", &[("host", "x\"><b>")]);
        assert_eq!(odd.base_url, "http://127.0.0.1:8080");
        let passed = [("x-forwarded-for", "8.8.8.8")];
        assert!(!client(&[], None, "127.0.0.1", &passed).is_local());
    }

    #[test]
    fn other_sites_cannot_post() {
        let check = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(*name, value.parse().unwrap());
            }
            refuse_cross_site(&Method::POST, &headers).is_ok()
        };
        assert!(check(&[]));
        assert!(check(&[("sec-fetch-site", "same-origin")]));
        assert!(check(&[("sec-fetch-site", "none")]));
        assert!(!check(&[("sec-fetch-site", "cross-site")]));
        assert!(!check(&[("sec-fetch-site", "same-site")]));
        assert!(check(&[("origin", "https://e.example"), ("host", "e.example")]));
        assert!(!check(&[("origin", "https://f.example"), ("host", "e.example")]));
        assert!(!check(&[("origin", "null"), ("host", "e.example")]));
        assert!(refuse_cross_site(&Method::GET, &HeaderMap::new()).is_ok());
    }

    #[test]
    fn one_goes_on_to_this_server_alone() {
        assert_eq!(local_path(Some("/visits?day=2&x=%20")), "/visits?day=2&x=%20");
        for bad in ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\nb", "x"] {
            assert_eq!(local_path(Some(bad)), "/", "{bad}");
        }
        assert_eq!(local_path(None), "/");
        assert_eq!(percent_encode("/a?b=c d&é"), "%2Fa%3Fb%3Dc%20d%26%C3%A9");
    }

    #[test]
    fn addresses() {
        assert_eq!(normal_email("  Ann@Example.COM "), Some("ann@example.com".into()));
        for bad in ["", "ann", "@x", "ann@", "a b@x", "a\n@x"] {
            assert_eq!(normal_email(bad), None, "{bad}");
        }
    }

    /// An organisation with an admin who signs in as `a@example.com`.
    pub(crate) async fn founded() -> (Arc<App>, Arc<Tenant>, Person) {
        let folder = std::env::temp_dir().join(format!("endcap-auth-{}", secret()));
        let app = App::open(folder).await.unwrap();
        let tenant = people::found(&app, "Nordic Oats", "Ada", "a@example.com", FIRST).await;
        let tenant = tenant.map_err(|problem| problem.sentence()).unwrap();
        let admin = tenant.world().people.values().next().unwrap().clone();
        (app, tenant, admin)
    }

    pub(crate) fn end(app: &App) {
        app.store.close();
        std::fs::remove_dir_all(&app.folder).unwrap();
    }

    pub(crate) fn local() -> Client {
        client(&[], None, "127.0.0.1", &[])
    }

    pub(crate) async fn signed_in(app: &App) -> Viewer {
        let cookie = sign_in(app, &local(), "a@example.com", FIRST).await;
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.map_err(|problem| problem.sentence()).unwrap());
        let viewer = Viewer::find(app, &headers).await.map_err(|problem| problem.sentence());
        viewer.unwrap().unwrap()
    }

    async fn password_is_now(app: &App, tenant: &Tenant, user: UserId, password: &str) {
        let (org, next) = (tenant.org, hash(password).unwrap());
        let set = app.store.write(move |tx| accounts::set_password(tx, org, user, &next));
        assert!(set.await.unwrap());
    }

    /// Goes on with this until it waits for room to hash a password, which it does with what it has read, and gives it
    /// that room, which it does not know yet.
    async fn until_it_hashes<F: Future>(app: &App, mut going: Pin<&mut F>) {
        let hashing = Arc::clone(&app.limits.hashing);
        let all = u32::try_from(HASHING_MAX).unwrap();
        let mut room = Arc::clone(&hashing).acquire_many_owned(all).await.unwrap();
        loop {
            tokio::select! {
                biased;
                _ = &mut going => panic!("it has not waited"),
                () = tokio::task::yield_now() => {}
            }
            drop(room.split(1)); // goes to who waits for it
            match Arc::clone(&hashing).try_acquire_owned() {
                Ok(back) => room.merge(back),
                Err(_) => return,
            }
        }
    }

    #[tokio::test]
    async fn who_signs_in_does_so_with_the_password_of_then() {
        let (app, tenant, admin) = founded().await;
        let from = local();
        let signs_in = |password| sign_in(&app, &from, "a@example.com", password);
        {
            let mut signing = std::pin::pin!(signs_in(FIRST));
            until_it_hashes(&app, signing.as_mut()).await;
            password_is_now(&app, &tenant, admin.id, "the second password").await;
            assert_eq!(signing.await.unwrap_err().code(), "sign_in_failed");
        }
        {
            let mut signing = std::pin::pin!(signs_in("the second password"));
            until_it_hashes(&app, signing.as_mut()).await;
            let gone = Person { active: false, ..admin.clone() };
            app.write_records(&tenant, vec![Record::Person(gone)]).await.unwrap();
            assert_eq!(signing.await.unwrap_err().code(), "forbidden");
        }
        app.write_records(&tenant, vec![Record::Person(admin)]).await.unwrap();
        let sessions = app.store.read(|c| {
            Ok(c.query_row("SELECT count(*) FROM session", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(sessions.await.unwrap(), 0);
        assert!(signs_in("the second password").await.is_ok());
        end(&app);
    }

    #[tokio::test]
    async fn who_changes_a_password_does_not_undo_the_one_that_was_given_meanwhile() {
        let (app, tenant, admin) = founded().await;
        let viewer = signed_in(&app).await;
        {
            let mut changing =
                std::pin::pin!(change_password(&app, &viewer, FIRST, "a password of mine"));
            until_it_hashes(&app, changing.as_mut()).await;
            password_is_now(&app, &tenant, admin.id, "the second password").await;
            assert_eq!(changing.await.unwrap_err().code(), "wrong_password");
        }
        let second =
            change_password(&app, &viewer, "the second password", "a password of mine").await;
        assert!(second.is_ok());
        end(&app);
    }

    #[tokio::test]
    async fn who_may_do_something_when_they_ask_may_when_it_is_done_or_nothing_is() {
        let (app, tenant, admin) = founded().await;
        let viewer = signed_in(&app).await;
        let (role, scope) = (Role::Supervisor, admin.scope);
        let new = |name: &str, role, email: Option<&str>| {
            let email = email.map(str::to_owned);
            people::NewPerson { name: name.to_owned(), role, scope, email }
        };
        let sue = people::create(&app, &viewer, new("Sue", role, Some("s@example.com"))).await;
        let sue = sue.map_err(|problem| problem.sentence()).unwrap().user;
        let less = Person { role, ..admin };
        app.write_records(&tenant, vec![Record::Person(less)]).await.unwrap();
        let before = app.head(&tenant).await.unwrap();
        let changed = |done: Result<(), Problem>| {
            assert_eq!(done.unwrap_err().code(), "rights_changed");
        };
        let done = people::create(&app, &viewer, new("Eve", Role::Rep, None)).await;
        changed(done.map(drop));
        let done = people::create(&app, &viewer, new("Eve", role, Some("e@example.com"))).await;
        changed(done.map(drop));
        changed(people::set_active(&app, &viewer, sue, false).await);
        changed(people::reset_password(&app, &viewer, sue, None).await.map(drop));
        changed(people::issue_code(&app, &viewer, sue).await.map(drop));
        changed(people::keep_on_phones(&app, &viewer, Some(30)).await);
        changed(viewer.write(&app, |_, _| Ok(())).await);
        assert_eq!(app.head(&tenant).await.unwrap(), before);
        end(&app);
    }

    #[test]
    fn a_password_is_kept_as_owasp_asks() {
        let kept = hash("correct horse").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, hash("correct horse").unwrap());
        let kept = PasswordHash::new(&kept).unwrap();
        assert!(argon2id().verify_password(b"correct horse", &kept).is_ok());
        assert!(argon2id().verify_password(b"correct house", &kept).is_err());
    }

    #[test]
    fn the_qr_code_is_a_path() {
        let svg = enrol_qr_svg("https://endcap.example", "ABCDE-FGHJK");
        assert!(svg.starts_with("<svg ") && svg.contains("<path d=\"M4 4h7v1h-7z"), "{svg}");
        assert!(!svg.contains("style"));
    }
}
