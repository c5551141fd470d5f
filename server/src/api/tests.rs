//! What the requests of one organisation leave to the others.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use sync_core::id::{BlobHash, DeviceId, DocId, OrgId, TerritoryId, UserId, VisitId};
use sync_core::model::capture::{CaptureTime, ClaimBasis};
use sync_core::model::catalogue::{Device, Person, Record};
use sync_core::model::people::{Role, Scope};
use sync_core::print::Part;
use sync_core::wire::{MEDIA_TYPE, PROTOCOL, PullRequest, RepairRequest, to_wire};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tower::ServiceExt;

use crate::app::{App, Tenant};
use crate::config::ServeConfig;
use crate::limits::{REQUESTS_OF_DEVICE_MAX, REQUESTS_OF_ONE_MAX, UPLOAD_WAIT, UPLOADS_OF_ONE_MAX};
use crate::store::StoreError;
use crate::store::accounts::{self, DeviceRow};
use crate::store::uploads::{self, UploadId};
use crate::store::visits::PhotoRow;
use crate::{auth, now_ms, scratch, serve};

/// Devices of each organisation: enough for all of its requests within their rates.
const DEVICES: usize = 10;

/// A server with two organisations.
struct Bench {
    app: Arc<App>,
    tenants: Vec<Arc<Tenant>>,
    routes: Router,
}

fn token(org: usize, device: usize) -> String {
    format!("token {org} {device}")
}

impl Bench {
    async fn new() -> Self {
        let folder = scratch("room");
        let app = App::open(folder.clone()).await.unwrap();
        let mut tenants = Vec::new();
        for org in 0..2 {
            let id = OrgId::from_bytes([org as u8 + 1; 16]);
            let tenant = app.create(id, "Nordic Oats").await.unwrap();
            let (user, name) = (UserId::from_bytes([7; 16]), "Ada".to_owned());
            let scope = Scope::Territory(TerritoryId::from_bytes([2; 16]));
            let person = Person { id: user, name, role: Role::Admin, scope, active: true };
            let mut records = vec![Record::Person(person)];
            let mut rows = Vec::new();
            for n in 0..DEVICES {
                let device = DeviceId::from_bytes([n as u8 + 1; 16]);
                let key = [n as u8 + 1; 32];
                records.push(Record::Device(Device {
                    id: device,
                    user,
                    key,
                    revoked: false,
                    lost_ms: None,
                }));
                let row = DeviceRow {
                    device,
                    user,
                    key,
                    label: String::new(),
                    enrolled_ms: 0,
                    synced_ms: None,
                    revoked_ms: None,
                    forked: 0,
                };
                rows.push((row, auth::secret_hash(&token(org, n))));
            }
            let number = tenant.org;
            let written = app.write_records_with(&tenant, records, move |ledger, _| {
                for (row, token) in &rows {
                    assert!(accounts::put_device(ledger.tx, number, row, *token)?);
                }
                Ok::<_, StoreError>(())
            });
            written.await.unwrap();
            tenants.push(tenant);
        }
        let routes = serve::router(Arc::clone(&app), ServeConfig::local(folder), Router::new());
        Self { app, tenants, routes }
    }

    fn close(self) {
        self.app.store.close();
        std::fs::remove_dir_all(&self.app.folder).unwrap();
    }

    /// A request of a device of an organisation; its answer once it is polled.
    fn asks(
        &self,
        (org, device): (usize, usize),
        (method, path): (Method, &str),
        headers: &[(&str, &str)],
        body: Body,
    ) -> BoxFuture<'static, Response> {
        let mut request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        request = request.header("authorization", format!("Bearer {}", token(org, device)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let from = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5)));
        let request = request.extension(from).body(body).unwrap();
        let routes = self.routes.clone();
        Box::pin(async move { routes.oneshot(request).await.unwrap() })
    }

    fn syncs(
        &self,
        (org, device): (usize, usize),
        path: &str,
        body: Body,
    ) -> BoxFuture<'static, Response> {
        let kind = [("content-type", MEDIA_TYPE)];
        self.asks((org, device), (Method::POST, path), &kind, body)
    }

    fn pull(&self, org: usize) -> Body {
        let (cursor, pushed, filled, known) = (None, None, None, None);
        let pull = PullRequest { protocol: PROTOCOL, cursor, pushed, filled, known, waits: None };
        Body::from(to_wire(self.tenants[org].id, &pull))
    }

    /// Begins an upload of a photo of so many bytes, which an entry names.
    async fn uploads(
        &self,
        org: usize,
        hash: BlobHash,
        bytes: usize,
        body: Body,
    ) -> BoxFuture<'static, Response> {
        let document = DocId::from(VisitId::from_bytes([9; 16]));
        let (by, size) = (UserId::from_bytes([7; 16]), bytes as u32);
        let basis = ClaimBasis::WallClock;
        let times =
            CaptureTime { earliest_ms: 0, latest_ms: 0, claimed_ms: 0, basis, clamped: false };
        let photo = PhotoRow { hash, document, by, times, bytes: size };
        let named =
            self.app.write_records_with(&self.tenants[org], Vec::new(), move |ledger, _| {
                ledger.put_photo(&photo, -1, |_| false)
            });
        named.await.unwrap();
        let metadata = format!("sha256 {}", STANDARD.encode(hash.to_string()));
        let headers = [
            ("tus-resumable", "1.0.0"),
            ("upload-length", &*bytes.to_string()),
            ("upload-metadata", &metadata),
            ("content-type", "application/offset+octet-stream"),
            ("transfer-encoding", "chunked"),
        ];
        self.asks((org, 0), (Method::POST, "uploads"), &headers, body)
    }
}

/// A body of which nothing comes; it says once that somebody waits for it.
fn slow(begun: &mpsc::UnboundedSender<()>) -> Body {
    let begun = begun.clone();
    Body::from_stream(futures_util::stream::once(async move {
        begun.send(()).unwrap();
        std::future::pending::<Result<Bytes, Infallible>>().await
    }))
}

#[track_caller]
fn busy(answer: &Response) {
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn slow_bodies_of_one_organisation_leave_the_others_room() {
    let bench = Bench::new().await;
    let (begun, mut begins) = mpsc::unbounded_channel();
    let mut slow_ones = JoinSet::new();
    let slow_bodies = (DEVICES - 1) * REQUESTS_OF_DEVICE_MAX;
    let held: Vec<_> =
        (slow_bodies..REQUESTS_OF_ONE_MAX).map(|_| bench.tenants[0].room().unwrap()).collect();
    for n in 0..slow_bodies {
        let path = ["push", "pull", "repair", "cargo"][n % 4];
        slow_ones.spawn(bench.syncs((0, n % (DEVICES - 1)), path, slow(&begun)));
    }
    for _ in 0..slow_bodies {
        begins.recv().await.unwrap();
    }
    for path in ["push", "pull", "repair", "cargo", "photos/missing"] {
        tokio::select! {
            answer = bench.syncs((0, DEVICES - 1), path, slow(&begun)) => busy(&answer),
            _ = begins.recv() => panic!("a body of {path} is read"),
        }
    }
    let other = bench.syncs((1, 0), "pull", bench.pull(1)).await;
    assert_eq!(other.status(), StatusCode::OK);
    drop(held);
    // A phone that has so many open gets no further one, and its colleagues do.
    for path in ["push", "photos/missing", "key"] {
        tokio::select! {
            answer = bench.syncs((0, 0), path, slow(&begun)) => busy(&answer),
            _ = begins.recv() => panic!("its body is read"),
        }
    }
    let colleague = bench.syncs((0, DEVICES - 1), "pull", bench.pull(0)).await;
    assert_eq!(colleague.status(), StatusCode::OK);
    slow_ones.shutdown().await;
    let own = bench.syncs((0, 0), "pull", bench.pull(0)).await;
    assert_eq!(own.status(), StatusCode::OK);
    bench.close();
}

#[tokio::test]
async fn who_has_left_reads_the_log_no_more() {
    let bench = Bench::new().await;
    let tenant = &bench.tenants[0];
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", token(0, 0)).parse().unwrap());
    let reads = || crate::auth::reads_log(&bench.app, tenant, &headers);
    assert!(reads().await.is_ok());
    let (id, name) = (UserId::from_bytes([7; 16]), "Ada".to_owned());
    let scope = Scope::Territory(TerritoryId::from_bytes([2; 16]));
    let ada = Person { id, name, role: Role::Admin, scope, active: false };
    bench.app.write_records(tenant, vec![Record::Person(ada)]).await.unwrap();
    assert_eq!(reads().await.err().map(|problem| problem.code().to_owned()).unwrap(), "inactive");
    let poke = bench.asks((0, 0), (Method::GET, "poke"), &[], Body::empty()).await;
    assert_eq!(poke.status(), StatusCode::FORBIDDEN);
    bench.close();
}

#[tokio::test]
async fn who_is_not_known_yet_has_room_among_those_of_their_address() {
    let bench = Bench::new().await;
    let (begun, mut begins) = mpsc::unbounded_channel();
    let held = || bench.app.limits.strangers.begin([127, 0, 0, 1].into());
    let mut held: Vec<_> = std::iter::from_fn(held).collect();
    for path in ["/api/v1/enrol", "/sign-in"] {
        let asks = |body| {
            let from = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5)));
            let request = Request::post(path).extension(from);
            let kind = "application/x-www-form-urlencoded";
            let request = request.header("host", "localhost").header("content-type", kind);
            let routes = serve::router(
                Arc::clone(&bench.app),
                ServeConfig::local(bench.app.folder.clone()),
                crate::console::router(),
            );
            routes.oneshot(request.body(body).unwrap())
        };
        tokio::select! {
            answer = asks(slow(&begun)) => busy(&answer.unwrap()),
            _ = begins.recv() => panic!("a body of {path} is read"),
        }
        held.pop();
        assert_ne!(asks(Body::empty()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        held.push(bench.app.limits.strangers.begin([127, 0, 0, 1].into()).unwrap());
    }
    // Who is known has other places.
    let pulled = bench.syncs((0, 0), "pull", bench.pull(0)).await;
    assert_eq!(pulled.status(), StatusCode::OK);
    drop(held);
    bench.close();
}

#[tokio::test]
async fn one_phone_leaves_the_uploads_and_repairs_of_others_room() {
    let bench = Bench::new().await;
    let tenant = &bench.tenants[0];
    let device = |n: u8| DeviceId::from_bytes([n + 1; 16]);
    let sends = || bench.app.limits.sending.begin((tenant.org, device(0)));
    let held: Vec<_> = std::iter::from_fn(sends).collect();
    let tus = [("tus-resumable", "1.0.0")];
    let asks = |n| bench.asks((0, n), (Method::HEAD, "uploads/00"), &tus, Body::empty());
    busy(&asks(0).await);
    assert_eq!(asks(1).await.status(), StatusCode::NOT_FOUND);
    drop(held);
    assert!(bench.app.limits.repaired.check_of(device(0), usize::MAX, now_ms()).is_ok());
    let asked = RepairRequest { protocol: PROTOCOL, parts: vec![Part::WHOLE], wanted: vec![] };
    let asked = to_wire(tenant.id, &asked);
    let asks = |n| bench.syncs((0, n), "repair", Body::from(asked.clone()));
    assert_eq!(asks(0).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(asks(1).await.status(), StatusCode::OK);
    bench.close();
}

#[tokio::test]
async fn whatever_of_the_log_an_address_asks_counts() {
    let bench = Bench::new().await;
    let (tenant, ip) = (&bench.tenants[0], [127, 0, 0, 1].into());
    let (log, life) = (format!("/log/{}", tenant.id), bench.app.head(tenant).await.unwrap().origin);
    let newest = [format!("{log}/checkpoint"), format!("{log}/{life}/checkpoint")];
    let others = ["witnessed".to_owned(), "none/checkpoint".into(), format!("{life}/tile/0/000")];
    let others = others.map(|path| format!("{log}/{path}"));
    let status = async |path: &String| {
        let from = ConnectInfo(SocketAddr::new(ip, 5));
        let request = Request::builder().uri(path).extension(from).body(Body::empty());
        bench.routes.clone().oneshot(request.unwrap()).await.unwrap().status()
    };
    let all = newest.iter().chain(&others);
    // One more than there is time for, however slow this is.
    let used = || bench.app.limits.log.check_of(ip, usize::MAX, now_ms() + 3_600_000);
    for path in all {
        bench.app.limits.log.forget();
        let before = status(path).await;
        assert_eq!(before == StatusCode::OK, newest.contains(path), "{path}: {before}");
        assert!(used().is_ok(), "an hour later");
        assert_eq!(status(path).await, StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
    bench.close();
}

#[tokio::test]
async fn slow_uploads_of_one_organisation_leave_the_others_room() {
    let bench = Bench::new().await;
    let (begun, mut begins) = mpsc::unbounded_channel();
    let room = || bench.tenants[0].room_for_upload();
    let held: Vec<_> = (1..UPLOADS_OF_ONE_MAX).map(|_| room().unwrap()).collect();
    let last = bench.uploads(0, BlobHash([1; 32]), 100, slow(&begun)).await;
    let last = tokio::spawn(last);
    begins.recv().await.unwrap();
    tokio::select! {
        answer = bench.uploads(0, BlobHash([2; 32]), 100, slow(&begun)).await => busy(&answer),
        _ = begins.recv() => panic!("its body is read"),
    }
    let other = bench.uploads(1, BlobHash([1; 32]), 100, Body::from("piece")).await.await;
    assert_eq!(other.status(), StatusCode::CREATED);
    drop(held);
    let own = bench.uploads(0, BlobHash([2; 32]), 100, Body::from("piece")).await.await;
    assert_eq!(own.status(), StatusCode::CREATED);
    last.abort();
    bench.app.stop(); // what was taken in for it ends too
    bench.close();
}

#[tokio::test]
async fn an_upload_that_trickles_is_given_up_and_what_came_is_kept() {
    let bench = Bench::new().await;
    let (pieces, body) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let hash = BlobHash([1; 32]);
    let body = Body::from_stream(ReceiverStream::new(body));
    let upload = tokio::spawn(bench.uploads(0, hash, 100, body).await);
    let piece = async |bytes: &'static [u8]| {
        pieces.send(Ok(Bytes::from_static(bytes))).await.unwrap();
        drop(pieces.reserve().await.unwrap()); // it was taken
    };
    piece(b"a good beginning").await;
    tokio::time::pause();
    tokio::time::advance(UPLOAD_WAIT / 3).await;
    piece(b".").await;
    // Nothing more comes: no other limit is in the way of this one.
    let answer = upload.await.unwrap();
    tokio::time::resume();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    let body = axum::body::to_bytes(answer.into_body(), 1_000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("urn:endcap:problem:too_slow"));
    let path = format!("uploads/{hash}");
    let tus = [("tus-resumable", "1.0.0")];
    let stands = bench.asks((0, 0), (Method::HEAD, &path), &tus, Body::empty()).await;
    assert_eq!(stands.headers()["upload-offset"], "17");
    bench.close();
}

#[tokio::test]
async fn what_was_on_its_way_when_it_was_erased_is_removed_when_it_is_asked_for() {
    let bench = Bench::new().await;
    let (org, hash) = (bench.tenants[0].org, BlobHash([1; 32]));
    let begun = bench.uploads(0, hash, 100, Body::from("piece")).await.await;
    assert_eq!(begun.status(), StatusCode::CREATED);
    let erase = bench.app.store.write(move |tx| uploads::let_go(tx, org, hash, true, now_ms()));
    erase.await.unwrap();
    let file = async || {
        let id = UploadId { org, device: DeviceId::from_bytes([1; 16]), hash };
        bench.app.arrivals.claim(id).await
    };
    assert_eq!(file().await.length().await.unwrap(), 5);
    let again = bench.uploads(0, hash, 100, Body::from("piece")).await.await;
    assert_eq!(again.status(), StatusCode::GONE);
    assert_eq!(file().await.length().await.unwrap(), 0);
    file().await.append(b"piece".to_vec()).await.unwrap();
    let path = format!("uploads/{hash}");
    let headers = [
        ("tus-resumable", "1.0.0"),
        ("upload-offset", "5"),
        ("content-type", "application/offset+octet-stream"),
    ];
    let more = bench.asks((0, 0), (Method::PATCH, &path), &headers, Body::from("more")).await;
    assert_eq!(more.status(), StatusCode::GONE);
    assert_eq!(file().await.length().await.unwrap(), 0);
    bench.close();
}

#[test]
fn what_came_is_not_decoded_where_others_wait() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(1).build().unwrap().block_on(async {
        let bench = Bench::new().await;
        for path in ["push", "pull", "repair", "cargo"] {
            let (pieces, body) = mpsc::channel::<Result<Bytes, Infallible>>(1);
            let body = Body::from_stream(ReceiverStream::new(body));
            let asked = tokio::spawn(bench.syncs((0, 0), path, body));
            pieces.send(Ok(Bytes::from_static(b"no message"))).await.unwrap();
            drop(pieces.reserve().await.unwrap()); // the device is known, and its body is read
            let (go_on, waits) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || waits.recv());
            drop(pieces);
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
            assert!(!asked.is_finished(), "{path}: decoded on the thread of all requests");
            drop(go_on);
            let _ = busy.await.unwrap();
            assert_eq!(asked.await.unwrap().status(), StatusCode::BAD_REQUEST);
        }
        bench.close();
    });
}
