//! The HTTP server: what surrounds every request, and how it starts and stops.

use std::any::Any;
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use sync_core::id::OrgId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Mutex, Semaphore};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};
use tracing::Instrument;

use crate::api;
use crate::app::App;
use crate::auth::{Client, refuse_cross_site};
use crate::config::ServeConfig;
use crate::console;
use crate::cosign;
use crate::error::Problem;
use crate::jobs;
use crate::limits::{
    BODY_TIMEOUT, CONNECTIONS_MAX, DECODING_MEGAPIXELS_MAX, FORM_BYTES_MAX, HEADER_TIMEOUT,
    REQUEST_TIMEOUT, SHUTDOWN_TIMEOUT,
};
use crate::looks;
use crate::{clock, now_ms, random};

/// Less room than this and the server says that it is not ready.
const DISK_FREE_BYTES_MIN: u64 = 64 << 20;
/// A good answer to "can you write?" holds this long, so that asking costs nothing.
const READY_MS: i64 = 1_000;
/// How often the tree over the log is brought up to what was written.
const TREE_INTERVAL: Duration = Duration::from_secs(5);

/// Files that are open beside connections: the database's, and photos on their way.
const FILES_BESIDE: u64 = 1_024;

const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; \
     style-src 'self'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
     form-action 'self'";

/// Serves until `shutdown`: then takes no more connections, lets requests and what is being decoded finish, ends live
/// streams and closes the store.
pub async fn serve(
    app: Arc<App>,
    config: ServeConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let sweeping = tokio::spawn(jobs::keep_running(Arc::clone(&app)));
    let growing = tokio::spawn(grow(Arc::clone(&app)));
    let working = tokio::spawn(looks::run(Arc::clone(&app)));
    let _ = app.asked.set(config.witnesses.keys()); // it is served once
    let asking = tokio::spawn(cosign::keep_asking(Arc::clone(&app), config.witnesses.clone()));
    let router = router(Arc::clone(&app), config, console::router());
    answer(listener, &router, shutdown, || app.stop()).await?;
    let _ = sweeping.await;
    let _ = growing.await;
    let _ = working.await;
    let _ = asking.await;
    // Otherwise the next start takes it for what this process has died of. Nothing is decoded after.
    let decoding = app.limits.decoding.acquire_many(DECODING_MEGAPIXELS_MAX);
    let decoded = tokio::time::timeout(SHUTDOWN_TIMEOUT, decoding).await;
    if decoded.is_err() {
        tracing::warn!("a photo was still being decoded");
    }
    let store = app.store.clone();
    tokio::task::spawn_blocking(move || store.close()).await.map_err(io::Error::other)
}

/// Lets this process have each connection and a file that is sent over it open, and those that it needs beside, as far as it
/// may.
pub fn allow_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = 2 * CONNECTIONS_MAX as u64 + FILES_BESIDE;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.map_or(needed, |most| most.min(needed));
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
    if raised.is_err() || allowed < needed {
        tracing::warn!(
            allowed,
            needed,
            "there may be fewer connections than usual: raise the limit of open files"
        );
    }
}

/// Answers requests until `shutdown`; `stop` ends what would go on by itself. Then requests that are worked on finish.
pub async fn answer(
    listener: TcpListener,
    router: &Router,
    shutdown: impl Future<Output = ()>,
    stop: impl FnOnce(),
) -> io::Result<()> {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await, permit))
        };
        let (accepted, permit) = tokio::select! {
            next = next => next?,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let connection = graceful.watch(connection(stream, peer, router));
        tokio::spawn(async move {
            let _ = connection.await; // a client that went away or spoke no HTTP
            drop(permit);
        });
    }
    drop(listener);
    tracing::info!("stopping");
    stop();
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    Ok(())
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: &Router,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    let _ = stream.set_nodelay(true); // an answer that waits a little is still an answer
    let service = TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo(peer))));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
}

#[expect(clippy::disallowed_methods, reason = "nothing says when there will be a free file again")]
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Keeps the tree over each log up with it, in groups after the commits.
async fn grow(app: Arc<App>) {
    let mut pokes = app.pokes();
    let mut turns = tokio::time::interval(TREE_INTERVAL);
    let mut all = true;
    loop {
        let mut grown: HashSet<OrgId> = HashSet::new();
        loop {
            match pokes.try_recv() {
                Ok(poke) => drop(grown.insert(poke.org)),
                Err(TryRecvError::Lagged(_)) => all = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        for tenant in app.tenants() {
            if (all || grown.contains(&tenant.id))
                && let Err(error) = app.grow(&tenant).await
            {
                tracing::error!(%error, "the tree over a log could not be kept up");
            }
        }
        all = false;
        tokio::select! {
            _ = turns.tick() => {}
            () = app.stopped() => break,
        }
    }
}

/// All routes with all that surrounds them. A request must carry its peer's [`ConnectInfo`].
pub fn router(app: Arc<App>, config: ServeConfig, console: Router<Arc<App>>) -> Router {
    let console = console
        .layer(middleware::from_fn(from_this_site))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT));
    let outer = Arc::new(Outer {
        app: Arc::clone(&app),
        config,
        ready_ms: Mutex::new(None),
        untrusted: Once::new(),
    });
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(Extension(Arc::clone(&outer)))
        .nest("/api/v1", api::router())
        .nest("/log", api::log_router())
        .merge(console)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(outer, around))
        .with_state(app)
}

/// What surrounds every request.
struct Outer {
    app: Arc<App>,
    config: ServeConfig,
    /// When the store last took a write for `/readyz`.
    ready_ms: Mutex<Option<i64>>,
    untrusted: Once,
}

/// Routes that are answered whatever else is going on.
const ALWAYS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

async fn around(State(outer): State<Arc<Outer>>, mut request: Request, next: Next) -> Response {
    let started = clock();
    let method = request.method().clone();
    let wants_page = console::wants_page(&request);
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_default();
    let id = format!("{:016x}", u64::from_be_bytes(random()));
    let answered = async {
        let client = outer.client(&request)?;
        let always = ALWAYS.contains(&route.as_str());
        if client.is_exposed() && !outer.config.insecure_lan && !always {
            return Err(tls_required());
        }
        let limits = &outer.app.limits;
        let uploads = route.starts_with(api::UPLOADS);
        let room = if uploads { &limits.uploads } else { &limits.requests };
        let _permit = match room.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) if always => None,
            Err(_) => return Err(busy()),
        };
        request.extensions_mut().insert(client);
        Ok(next.run(request).await)
    };
    let span = tracing::info_span!("request", id);
    let answered = answered.instrument(span.clone()).await;
    let mut response = plain_to_problem(answered.unwrap_or_else(Problem::into_response));
    let problem = response.extensions().get::<Problem>().map(Problem::code).unwrap_or_default();
    let (status, took) = (response.status(), started.elapsed());
    outer.app.metrics.request(&method, &route, status, took);
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(%method, route, status = status.as_u16(), ms, problem));
    if wants_page {
        response = console::drawn(response, &id);
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let no_store = || HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert_with(no_store);
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

impl Outer {
    fn client(&self, request: &Request) -> Result<Client, Problem> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let ConnectInfo(peer) = *peer.ok_or_else(Problem::internal)?;
        let forwarded = request.headers().contains_key("x-forwarded-for");
        if forwarded && !self.config.trusts(peer.ip()) {
            self.untrusted.call_once(|| {
                tracing::warn!(
                    "a request came through a proxy that is not trusted, so all its clients count as \
                     one: is --trust-proxy missing?"
                );
            });
        }
        Ok(Client::new(&self.config, peer, request.headers()))
    }
}

fn tls_required() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "tls_required", "This server is reached over HTTPS").detail(
        "the request came over plain HTTP; a proxy in front must be named with --trust-proxy and send \
         X-Forwarded-Proto",
    )
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy: try again")
        .retry_after(2)
}

/// Gives an error that the framework answered, in plain text or nothing, the form of all others.
fn plain_to_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let plain = kind.is_none_or(|kind| kind.starts_with(b"text/plain"));
    if !plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (code, title) = match status {
        StatusCode::BAD_REQUEST => ("malformed", "The request cannot be read"),
        StatusCode::NOT_FOUND => ("not_found", "There is no such thing here"),
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "This cannot be done here"),
        StatusCode::REQUEST_TIMEOUT => ("timeout", "The request took too long"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "The request is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("media_type_unsupported", "The content type is not supported")
        }
        StatusCode::UNPROCESSABLE_ENTITY => ("invalid", "This cannot be taken"),
        _ if status.is_server_error() => ("internal", "The server failed"),
        _ => ("refused", "The request cannot be answered"),
    };
    let (mut head, _) = response.into_parts();
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    let mut response = Problem::new(status, code, title).into_response();
    response.headers_mut().extend(head.headers);
    response
}

fn panicked(panic: Box<dyn Any + Send>) -> Response<Body> {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    tracing::error!(message, "a request panicked");
    Problem::internal().into_response()
}

async fn from_this_site(request: Request, next: Next) -> Result<Response, Problem> {
    refuse_cross_site(request.method(), request.headers())?;
    Ok(next.run(request).await)
}

async fn ready(Extension(outer): Extension<Arc<Outer>>) -> Result<&'static str, Problem> {
    let title = "The server cannot write";
    let not = |why: String| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", title)
            .detail(why)
            .retry_after(10)
    };
    if disk_free(&outer.app.folder).is_some_and(|bytes| bytes < DISK_FREE_BYTES_MIN) {
        return Err(not("the disk is nearly full".to_owned()));
    }
    let mut ready_ms = outer.ready_ms.lock().await;
    let now = now_ms();
    if ready_ms.is_none_or(|at| !(at..at + READY_MS).contains(&now)) {
        *ready_ms = None;
        outer.app.store.probe().await.map_err(|error| not(error.to_string()))?;
        *ready_ms = Some(now);
    }
    Ok("ready\n")
}

async fn metrics(
    Extension(outer): Extension<Arc<Outer>>,
    client: Client,
) -> Result<Response, Problem> {
    if !client.is_local() && !outer.config.metrics_open {
        return Err(Problem::not_found());
    }
    let app = &outer.app;
    for tenant in app.tenants() {
        app.metrics.log(tenant.id, app.head(&tenant).await?.sequence);
    }
    if let Some(bytes) = disk_free(&app.folder) {
        app.metrics.disk_free(bytes);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response())
}

/// Room that is left for this program where `folder` is, if the file system says.
fn disk_free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
}
