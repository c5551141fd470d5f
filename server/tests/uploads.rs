//! Photos on their way up, over real connections to the real routes.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io::Cursor;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat, RgbImage};
use rusqlite::params;
use server::api::sync;
use server::api::uploads::{router, sweep};
use server::app::{App, Tenant};
use server::blobs::Rendition;
use server::erase::{self, Target};
use server::error::Problem;
use server::jobs::{self, Done};
use server::photo;
use server::store::StoreError;
use server::store::erasure::Erasure;
use server::store::uploads::{self, Kept, LIFETIME_MS, OPEN_MAX, UploadId};
use server::store::visits::PhotoRow;
use server::{now_ms, scratch};
use sync_core::cargo::{Cargo, Load, Parcel};
use sync_core::evidence::Keypair;
use sync_core::id::{BlobHash, DeviceId, DocId, LogHash, OrgId, UserId, VisitId};
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::catalogue::{Device, Record};
use sync_core::wire::{
    CargoReply, CargoRequest, Delivery, MEDIA_TYPE, PROTOCOL, ParcelBytes, from_wire, to_wire,
};
use sync_core::zip;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const OFFSET_STREAM: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

/// A server in a folder of its own, with one organisation and the devices `a` and `b`.
struct World {
    folder: PathBuf,
    app: Arc<App>,
    tenant: Arc<Tenant>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

struct Reply {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl World {
    async fn new() -> Self {
        let world = Self::open(scratch("uploads")).await;
        for name in ["a", "b"] {
            let org = world.tenant.org;
            let insert = world.app.store.write(move |tx| -> Result<(), StoreError> {
                tx.execute(
                    "INSERT INTO device (org, device, user, key, fingerprint, token, label, enrolled_ms)
                     VALUES (?1, ?2, ?3, zeroblob(32), ?4, ?5, ?6, 0)",
                    params![
                        org,
                        device(name).as_bytes(),
                        [0_u8; 16],
                        name.as_bytes(),
                        LogHash::of(token(name).as_bytes()).0,
                        name,
                    ],
                )?;
                Ok(())
            });
            insert.await.unwrap();
        }
        world
    }

    async fn open(folder: PathBuf) -> Self {
        let app = App::open(folder.clone()).await.unwrap();
        let known = app.tenants().pop();
        let tenant = match known {
            Some(tenant) => tenant,
            None => app.create(OrgId::from_bytes([7; 16]), "Nordic Oats").await.unwrap(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = router().route("/cargo", post(sync::cargo));
        let routes = Router::new().nest("/api/v1", routes).with_state(Arc::clone(&app));
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async move { drop(stopped.await) };
            axum::serve(listener, routes).with_graceful_shutdown(stopped).await.unwrap();
        });
        Self { folder, app, tenant, address, stop, serving }
    }

    /// Stops the server and starts another one in the same folder.
    async fn restart(self) -> Self {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
        self.app.store.close();
        assert_eq!(Arc::strong_count(&self.app), 1);
        drop((self.app, self.tenant));
        Self::open(self.folder).await
    }

    async fn close(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
        self.app.store.close();
        std::fs::remove_dir_all(self.folder).unwrap();
    }

    /// Sends a request's head and these bytes, which may be fewer than it promises.
    async fn begin(
        &self,
        who: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        bytes: &[u8],
    ) -> TcpStream {
        let mut all = BTreeMap::from([("Tus-Resumable", "1.0.0"), ("Connection", "close")]);
        let (bearer, length) = (format!("Bearer {}", token(who)), bytes.len().to_string());
        all.insert("Authorization", &bearer);
        if !headers.iter().any(|(name, _)| *name == "Transfer-Encoding") {
            all.insert("Content-Length", &length);
        }
        all.extend(headers.iter().copied());
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: endcap\r\n");
        for (name, value) in all {
            if !value.is_empty() {
                head += &format!("{name}: {value}\r\n");
            }
        }
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let _ = stream.write_all(bytes).await; // the answer may come before all is sent
        stream
    }

    async fn send(
        &self,
        who: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        bytes: &[u8],
    ) -> Reply {
        let named = headers.iter().find(|(name, _)| *name == "Upload-Metadata");
        if let Some(hash) = named.and_then(|(_, metadata)| announced(metadata)) {
            self.name(hash, [0; 16]).await;
        }
        Reply::read(self.begin(who, method, path, headers, bytes).await).await
    }

    /// Some entry of this person names a photo.
    async fn name(&self, hash: BlobHash, by: [u8; 16]) {
        let (org, document) = (self.tenant.org, DocId::from(VisitId::from_bytes([9; 16])));
        let insert = self.app.store.write(move |tx| -> Result<(), StoreError> {
            let moment =
                Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
            let times = CaptureTime::estimate(&moment, None, None, 0);
            let row = PhotoRow { hash, document, by: UserId::from_bytes(by), times, bytes: 9 };
            uploads::refer(tx, org, &row, -1, |_| false)
        });
        insert.await.unwrap();
    }

    /// Refused work of a device that waits, and names a photo.
    async fn keep_apart(&self, who: &str, hash: BlobHash) {
        let (org, device) = (self.tenant.org, device(who));
        let insert = self.app.store.write(move |tx| -> Result<(), StoreError> {
            tx.execute(
                "INSERT INTO quarantine (org, item, device, document, head, code, detail,
                     received_ms, audience, body)
                 VALUES (?1, 1, ?2, x'00', x'00', 'late', '', 0, 0, x'')",
                params![org, device.as_bytes()],
            )?;
            let names = "INSERT INTO quarantine_photo (org, item, hash) VALUES (?1, 1, ?2)";
            tx.execute(names, params![org, hash.0])?;
            Ok(())
        });
        insert.await.unwrap();
    }

    async fn room(&self, days: Option<u32>, quota: Option<u64>) {
        let org = self.tenant.org;
        let set = self.app.store.write(move |tx| uploads::set_room(tx, org, days, quota));
        set.await.unwrap();
    }

    async fn kept(&self, photo: &[u8]) -> Option<Kept> {
        let (org, hash) = (self.tenant.org, BlobHash::of(photo));
        self.app.store.read(move |c| uploads::kept(c, org, hash)).await.unwrap()
    }

    async fn bytes(&self) -> u64 {
        let org = self.tenant.org;
        self.app.store.read(move |c| uploads::room(c, org)).await.unwrap().bytes
    }

    async fn erase(&self, target: Target) -> Result<Erasure, Problem> {
        erase::erase(&self.app, &self.tenant, target, None, "request 17", false).await
    }

    async fn create(&self, who: &str, photo: &[u8], first: &[u8]) -> Reply {
        let (length, metadata) = (photo.len().to_string(), metadata(BlobHash::of(photo)));
        let headers = [("Upload-Length", &*length), ("Upload-Metadata", &*metadata), OFFSET_STREAM];
        let headers = if first.is_empty() { &headers[..2] } else { &headers };
        self.send(who, "POST", "/api/v1/uploads", headers, first).await
    }

    async fn patch(&self, who: &str, path: &str, offset: usize, bytes: &[u8]) -> Reply {
        let offset = offset.to_string();
        let headers = [OFFSET_STREAM, ("Upload-Offset", &*offset)];
        self.send(who, "PATCH", path, &headers, bytes).await
    }

    async fn head(&self, who: &str, path: &str) -> Reply {
        self.send(who, "HEAD", path, &[], &[]).await
    }

    async fn get(&self, photo: &[u8], rendition: Rendition) -> Option<Vec<u8>> {
        self.app.blobs.get(self.tenant.id, BlobHash::of(photo), rendition).await.unwrap()
    }

    /// Names of the files of uploads that are not whole.
    fn arriving(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.join("uploads")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn arriving_file(&self, who: &str, hash: BlobHash) -> PathBuf {
        let id = UploadId { org: self.tenant.org, device: device(who), hash };
        self.folder.join("uploads").join(id.to_string())
    }

    /// How many rows there are of uploads that are not whole.
    async fn open_uploads(&self) -> u64 {
        let count = self.app.store.read(|connection| {
            Ok(connection.query_row("SELECT count(*) FROM upload", [], |row| row.get(0))?)
        });
        count.await.unwrap()
    }

    /// What becomes of these photos of a device's that `b` brings.
    async fn brings(&self, origin: &str, photos: &[&[u8]]) -> Vec<String> {
        let (org, server) = (self.tenant.id, self.tenant.console.keypair.public());
        let sealed = |photo: &&[u8]| {
            let cargo = Cargo { protocol: PROTOCOL, load: Load::Photo(photo.to_vec()) };
            let parcel = Parcel::seal(org, device(origin), &key(), &server, &cargo).unwrap();
            ParcelBytes(parcel.as_bytes().to_vec())
        };
        let parcels = photos.iter().map(sealed).collect();
        let body = to_wire(org, &CargoRequest { protocol: PROTOCOL, parcels });
        let kind = [("Content-Type", MEDIA_TYPE)];
        let reply = self.send("b", "POST", "/api/v1/cargo", &kind, &body).await;
        let reply: CargoReply = from_wire(org, &reply.body).unwrap();
        let said = reply.outcomes.into_iter().map(|outcome| match outcome {
            Delivery::Taken {} => "taken".to_owned(),
            Delivery::Later {} => "later".to_owned(),
            Delivery::Refused { code, .. } => code,
        });
        said.collect()
    }

    async fn missing(&self, hashes: &[String]) -> Reply {
        let body = serde_json::json!({ "hashes": hashes }).to_string();
        self.send("a", "POST", "/api/v1/photos/missing", &[], body.as_bytes()).await
    }
}

impl Reply {
    async fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole reply");
        let (head, body) = (std::str::from_utf8(&bytes[..head]).unwrap(), &bytes[head + 4..]);
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        });
        Self { status, headers: headers.collect(), body: body.to_vec() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn offset(&self) -> usize {
        self.header("upload-offset").parse().unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn problem(&self) -> (u16, String) {
        let kind = self.json()["type"].as_str().unwrap().to_owned();
        assert_eq!(self.header("content-type"), "application/problem+json");
        (self.status, kind.strip_prefix("urn:endcap:problem:").unwrap().to_owned())
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.problem(), (status, code.to_owned()));
        assert_eq!(self.header("tus-resumable"), "1.0.0");
    }
}

fn announced(metadata: &str) -> Option<BlobHash> {
    let value = metadata.split(',').find_map(|pair| pair.strip_prefix("sha256 "))?;
    String::from_utf8(STANDARD.decode(value).ok()?).ok()?.parse().ok()
}

fn token(who: &str) -> String {
    format!("token of {who}")
}

fn device(who: &str) -> DeviceId {
    DeviceId::derived(&[1; 16], who.as_bytes())
}

/// What phones whose work is carried sign with.
fn key() -> Keypair {
    Keypair::from_seed(&[5; 32])
}

fn metadata(hash: BlobHash) -> String {
    format!("filename c2hlbGYuanBn,sha256 {}", STANDARD.encode(hash.to_string()))
}

fn location(photo: &[u8]) -> String {
    format!("/api/v1/uploads/{}", BlobHash::of(photo))
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG of this size that does not compress well; each seed gives another.
fn drawn(side: u32, seed: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(side, side, |x, y| {
        let n = (x * 31 + y * 17 + seed).wrapping_mul(2_654_435_761);
        image::Rgb([(n >> 24) as u8, (n >> 16) as u8, (x ^ y) as u8])
    });
    encoded(picture, ImageFormat::Jpeg)
}

/// `png` with a header, and its checksum, that promises four thousand million pixels.
fn bomb(png: &[u8]) -> Vec<u8> {
    let mut png = png.to_vec();
    png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let bit = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc));
    let crc = !png[12..29].iter().fold(!0, byte);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    png
}

/// A shelf photograph.
fn photograph() -> Vec<u8> {
    photographs().pop().unwrap()
}

fn photographs() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/photos");
    let entries = std::fs::read_dir(dir).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "jpg"));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Each test has a world of its own, which is gone afterwards.
async fn within<F: Future<Output = World>>(test: impl FnOnce(World) -> F) {
    test(World::new().await).await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_upload() {
    within(async |world| {
        let photo = photograph();
        let mut pokes = world.app.pokes();
        let created = world.create("a", &photo, &[]).await;
        assert_eq!((created.status, created.offset()), (201, 0));
        let path = created.header("location");
        assert_eq!(path, location(&photo));
        let expires = created.header("upload-expires");
        assert!(expires.len() == 29 && expires.ends_with(" GMT"), "{expires}");

        let asked = world.head("a", path).await;
        assert_eq!((asked.status, asked.offset()), (200, 0));
        assert_eq!(asked.header("upload-length"), photo.len().to_string());
        assert_eq!(asked.header("upload-metadata"), &metadata(BlobHash::of(&photo))[22..]);
        assert_eq!(asked.header("cache-control"), "no-store");
        assert!(world.get(&photo, Rendition::Original).await.is_none());

        let sent = world.patch("a", path, 0, &photo).await;
        assert_eq!((sent.status, sent.offset()), (204, photo.len()));
        assert_eq!(sent.header("tus-resumable"), "1.0.0");
        assert_eq!(pokes.try_recv().unwrap().org, world.tenant.id);
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        let thumb = world.get(&photo, Rendition::Thumbnail).await.unwrap();
        let (thumb, whole) =
            (image::load_from_memory(&thumb).unwrap(), image::load_from_memory(&photo).unwrap());
        assert!(thumb.width() <= 480 && thumb.height() <= 480);
        assert!(world.arriving().is_empty());
        assert_eq!(world.open_uploads().await, 0);

        let (org, hash) = (world.tenant.org, BlobHash::of(&photo));
        let absent = BlobHash::of(b"another");
        let state = world
            .app
            .store
            .read(move |connection| uploads::photo_state(connection, org, &[absent, hash]));
        let state = state.await.unwrap();
        assert_eq!(state.len(), 1);
        assert_eq!((state[&hash].width, state[&hash].height), (whole.width(), whole.height()));
        assert_eq!(state[&hash].bytes, photo.len() as u64);

        let asked = world.head("a", path).await;
        assert_eq!((asked.status, asked.offset()), (200, photo.len()));
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_photograph_at_once() {
    within(async |world| {
        let mut photos = photographs();
        photos.extend((0..4).map(|seed| drawn(1_600, seed)));
        let world = Arc::new(world);
        let mut sending = Vec::new();
        for (n, photo) in photos.iter().cloned().enumerate() {
            let world = Arc::clone(&world);
            let who = ["a", "b"][n % 2];
            sending.push(tokio::spawn(async move {
                let sent = world.create(who, &photo, &photo).await;
                assert_eq!((sent.status, sent.offset()), (201, photo.len()));
            }));
        }
        for sent in sending {
            sent.await.unwrap();
        }
        for photo in &photos {
            assert_eq!(world.get(photo, Rendition::Original).await.as_ref(), Some(photo));
            assert!(world.get(photo, Rendition::Thumbnail).await.is_some());
        }
        Arc::into_inner(world).unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_brings_the_first_bytes() {
    within(async |world| {
        let photo = photograph();
        let created = world.create("a", &photo, &photo[..1_000]).await;
        assert_eq!((created.status, created.offset()), (201, 1_000));
        // The answer was lost and the device begins again: what is there already is skipped.
        let again = world.create("a", &photo, &photo[..1_500]).await;
        assert_eq!((again.status, again.offset()), (201, 1_500));
        let again = world.create("a", &photo, &photo[..1_200]).await;
        assert_eq!((again.status, again.offset()), (201, 1_500));
        let sent = world.patch("a", &location(&photo), 1_500, &photo[1_500..]).await;
        assert_eq!(sent.status, 204);
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);

        let kind = [("Upload-Length", "9"), ("Upload-Metadata", &metadata(BlobHash::of(b"x")))];
        let other = world.send("a", "POST", "/api/v1/uploads", &kind, b"x").await;
        other.refused(415, "media_type_unsupported");
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_loses_nothing_that_came() {
    within(async |world| {
        let photo = drawn(1_600, 1);
        let path = location(&photo);
        assert!(photo.len() > 600_000);
        world.create("a", &photo, &[]).await;
        let checksum = format!("sha256 {}", STANDARD.encode(BlobHash::of(&photo).0));
        let mut offset = 0;
        for upto in [300_001, 600_000] {
            let (from, length) = (offset.to_string(), (photo.len() - offset).to_string());
            let mut headers =
                vec![OFFSET_STREAM, ("Upload-Offset", &*from), ("Content-Length", &*length)];
            if offset == 0 {
                headers.push(("Upload-Checksum", &checksum));
            }
            let mut stream = world.begin("a", "PATCH", &path, &headers, &photo[offset..upto]).await;
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            offset = world.head("a", &path).await.offset();
            assert_eq!(offset, upto);
        }
        let sent = world.patch("a", &path, offset, &photo[offset..]).await;
        assert_eq!((sent.status, sent.offset()), (204, photo.len()));
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_request_takes_over_from_a_dead_connection() {
    within(async |world| {
        let photo = drawn(1_600, 2);
        let path = location(&photo);
        world.create("a", &photo, &[]).await;
        let length = photo.len().to_string();
        let headers = [
            OFFSET_STREAM,
            ("Upload-Offset", "0"),
            ("Content-Length", &*length),
            ("Expect", "100-continue"),
        ];
        let mut dead = world.begin("a", "PATCH", &path, &headers, &[]).await;
        let mut continues = [0; 25];
        dead.read_exact(&mut continues).await.unwrap(); // the server holds the upload now
        assert_eq!(&continues, b"HTTP/1.1 100 Continue\r\n\r\n");
        dead.write_all(&photo[..300_000]).await.unwrap();

        let offset = world.head("a", &path).await.offset();
        assert!(offset <= 300_000);
        Reply::read(dead).await.refused(409, "superseded");
        let sent = world.patch("a", &path, offset, &photo[offset..]).await;
        assert_eq!(sent.status, 204);
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_chunk_is_not_taken() {
    within(async |world| {
        let photo = drawn(1_600, 3);
        let path = location(&photo);
        world.create("a", &photo, &photo[..100]).await;
        let sum = |bytes: &[u8]| format!("sha256 {}", STANDARD.encode(BlobHash::of(bytes).0));
        let right = sum(&photo[100..]);
        let mut damaged = photo[100..].to_vec();
        damaged[400_000] ^= 1;
        let headers = [OFFSET_STREAM, ("Upload-Offset", "100"), ("Upload-Checksum", &*right)];
        let sent = world.send("a", "PATCH", &path, &headers, &damaged).await;
        sent.refused(460, "chunk_mismatch");
        assert_eq!(world.head("a", &path).await.offset(), 100);
        for wrong in ["md5 kAFQmDzST7DWlj99KOF/cg==", "sha256 !", "sha256 AA==", "sha256"] {
            let headers = [OFFSET_STREAM, ("Upload-Offset", "100"), ("Upload-Checksum", wrong)];
            let sent = world.send("a", "PATCH", &path, &headers, &photo[100..]).await;
            sent.refused(400, "malformed");
        }
        let sent = world.send("a", "PATCH", &path, &headers, &photo[100..]).await;
        assert_eq!(sent.status, 204);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_offset_must_be_where_the_upload_stands() {
    within(async |world| {
        let photo = photograph();
        let path = location(&photo);
        world.create("a", &photo, &photo[..100]).await;
        for offset in [0, 99, 101, photo.len()] {
            world.patch("a", &path, offset, &[]).await.refused(409, "offset_mismatch");
        }
        for (name, value) in
            [("Upload-Offset", ""), ("Upload-Offset", "-1"), ("Upload-Offset", "+100")]
        {
            let sent = world.send("a", "PATCH", &path, &[OFFSET_STREAM, (name, value)], b"x").await;
            sent.refused(400, "malformed");
        }
        let sent = world.send("a", "PATCH", &path, &[("Upload-Offset", "100")], b"x").await;
        sent.refused(415, "media_type_unsupported");
        assert_eq!(world.patch("a", &path, 100, &[]).await.offset(), 100);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_not_what_was_announced_is_removed() {
    within(async |world| {
        let photo = photograph();
        let mut other = photo.clone();
        other[500] ^= 1;
        world.create("a", &photo, &[]).await;
        let sent = world.patch("a", &location(&photo), 0, &other).await;
        sent.refused(460, "checksum_mismatch");
        assert_eq!(world.head("a", &location(&photo)).await.status, 404);
        assert!(world.arriving().is_empty());
        for content in [&photo, &other] {
            assert!(world.get(content, Rendition::Original).await.is_none());
        }
        assert_eq!(world.create("a", &photo, &photo).await.status, 201);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_a_picture_and_something_else_as_well_is_refused_with_the_reason() {
    within(async |world| {
        let (jpeg, png) = (drawn(64, 1), encoded(RgbImage::new(16, 16), ImageFormat::Png));
        let hidden = [("a.html".to_owned(), b"<script>".as_slice())];
        let archive = zip::write(&hidden).unwrap();
        for (picture, behind) in
            [(&jpeg, archive.as_slice()), (&png, &archive), (&jpeg, b"<script>"), (&jpeg, &jpeg)]
        {
            let both = [picture, behind].concat();
            // It opens as a picture, and as what is behind it.
            assert!(image::load_from_memory(&both).is_ok());
            let (half, path) = (both.len() / 2, location(&both));
            assert_eq!(world.create("a", &both, &both[..half]).await.status, 201);
            let sent = world.patch("a", &path, half, &both[half..]).await;
            sent.refused(422, "not_an_image");
            let said = sent.json()["detail"].as_str().unwrap().to_owned();
            assert!(said.contains("something else follows the picture"), "{said}");
            assert_eq!(world.head("a", &path).await.status, 404);
            assert!(world.get(&both, Rendition::Original).await.is_none());
        }
        assert!(world.arriving().is_empty());
        for picture in [&jpeg, &png] {
            assert_eq!(world.create("a", picture, picture).await.status, 201);
        }
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_picture_or_a_bomb_is_removed() {
    within(async |world| {
        let small = encoded(RgbImage::new(16, 16), ImageFormat::Png);
        let bomb = bomb(&small);
        for content in [
            b"<html><script>".as_slice(),
            b"GIF89a\x01\0\x01\0\0\0\0",
            b"\xff\xd8\xff\xe0",
            &small[..40],
            &bomb,
        ] {
            world.create("a", content, content).await.refused(422, "not_an_image");
            assert_eq!(world.head("a", &location(content)).await.status, 404);
            assert!(world.get(content, Rendition::Original).await.is_none());
            assert!(world.get(content, Rendition::Thumbnail).await.is_none());
        }
        let sent = world.create("a", &bomb, &bomb).await;
        assert!(sent.json()["detail"].as_str().unwrap().contains("60 million are accepted"));
        assert!(world.arriving().is_empty());
        assert_eq!(world.open_uploads().await, 0);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_before_it_comes() {
    within(async |world| {
        let named = metadata(BlobHash::of(b"x"));
        for (length, status, code) in [
            ("20971521", 413, "too_large"),
            ("18446744073709551615", 413, "too_large"),
            ("18446744073709551616", 400, "malformed"),
            ("0", 400, "malformed"),
            ("-1", 400, "malformed"),
            ("", 400, "malformed"),
        ] {
            let headers = [("Upload-Length", length), ("Upload-Metadata", &*named)];
            let sent = world.send("a", "POST", "/api/v1/uploads", &headers, &[]).await;
            sent.refused(status, code);
        }
        let headers = [("Upload-Length", "20971520"), ("Upload-Metadata", &*named)];
        let sent = world.send("a", "POST", "/api/v1/uploads", &headers, &[]).await;
        assert_eq!(sent.status, 201);

        let photo = photograph();
        let path = location(&photo);
        world.create("a", &photo, &photo[..100]).await;
        let length = (photo.len() - 99).to_string();
        let headers = [OFFSET_STREAM, ("Upload-Offset", "100"), ("Content-Length", &*length)];
        world.send("a", "PATCH", &path, &headers, &[]).await.refused(413, "too_large");
        let headers = [OFFSET_STREAM, ("Upload-Offset", "100"), ("Transfer-Encoding", "chunked")];
        let mut body = format!("{:x}\r\n", photo.len()).into_bytes();
        body.extend(&photo);
        let sent = world.send("a", "PATCH", &path, &headers, &body).await;
        sent.refused(413, "too_large");
        assert_eq!(world.head("a", &path).await.offset(), 100);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_belongs_to_its_device() {
    within(async |world| {
        let photo = photograph();
        let path = location(&photo);
        world.create("a", &photo, &photo[..100]).await;
        assert_eq!(world.head("b", &path).await.status, 404);
        world.patch("b", &path, 100, &photo[100..]).await.refused(404, "not_found");
        world.send("b", "DELETE", &path, &[], &[]).await.refused(404, "not_found");
        // Both can send the same photo; whoever is first is enough.
        assert_eq!(world.create("b", &photo, &photo[..50]).await.offset(), 50);
        assert_eq!(world.patch("b", &path, 50, &photo[50..]).await.status, 204);
        world.patch("a", &path, 100, &photo[100..]).await.refused(409, "offset_mismatch");
        assert_eq!(world.head("a", &path).await.offset(), photo.len());
        assert_eq!(world.arriving().len(), 1);
        sweep(&world.app, now_ms()).await.unwrap();
        assert!(world.arriving().is_empty());
        assert_eq!(world.open_uploads().await, 0);
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_enrolled_device_that_speaks_tus_is_heard() {
    within(async |world| {
        let uploads = "/api/v1/uploads";
        let options = [("Tus-Resumable", ""), ("Authorization", "")];
        let can = world.send("a", "OPTIONS", uploads, &options, &[]).await;
        assert_eq!(can.status, 204);
        for (name, value) in [
            ("tus-version", "1.0.0"),
            ("tus-extension", "creation,creation-with-upload,checksum,termination,expiration"),
            ("tus-max-size", "20971520"),
            ("tus-checksum-algorithm", "sha1,sha256"),
        ] {
            assert_eq!(can.header(name), value);
        }
        for version in ["", "0.2.2"] {
            let sent = world.send("a", "POST", uploads, &[("Tus-Resumable", version)], &[]).await;
            sent.refused(412, "tus_unsupported");
            assert_eq!(sent.header("tus-version"), "1.0.0");
        }
        for bearer in ["", "Bearer x", "Basic x"] {
            let sent = world.send("a", "POST", uploads, &[("Authorization", bearer)], &[]).await;
            sent.refused(401, "unauthorized");
        }
        world.send("nobody", "POST", uploads, &[], &[]).await.refused(401, "unauthorized");
        world.send("a", "GET", uploads, &[], &[]).await.refused(405, "method_not_allowed");

        let photo = photograph();
        let path = location(&photo);
        world.create("a", &photo, &photo[..9]).await;
        let instead = [("X-HTTP-Method-Override", "DELETE")];
        assert_eq!(world.send("a", "POST", &path, &instead, &[]).await.status, 204);
        assert_eq!(world.head("a", &path).await.status, 404);
        assert!(world.arriving().is_empty());

        let org = world.tenant.org;
        let revoke = world.app.store.write(move |tx| -> Result<(), StoreError> {
            tx.execute("UPDATE device SET revoked_ms = 1 WHERE org = ?1", [org])?;
            Ok(())
        });
        revoke.await.unwrap();
        world.create("a", &photo, &photo).await.refused(403, "revoked");
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_comes_from_outside() {
    within(async |world| {
        let real = BlobHash::of(b"x").to_string();
        for name in [
            "../../../../etc/passwd",
            "..",
            "",
            &real[..63],
            &real.to_uppercase(),
            &format!("{real}/../x"),
            &format!("{real}\0"),
            &"é".repeat(32),
        ] {
            let metadata = format!("sha256 {}", STANDARD.encode(name));
            let headers = [("Upload-Length", "9"), ("Upload-Metadata", &*metadata)];
            let sent = world.send("a", "POST", "/api/v1/uploads", &headers, &[]).await;
            sent.refused(400, "malformed");
        }
        let twice = format!("{0},{0}", metadata(BlobHash::of(b"x")));
        for metadata in ["", "sha256", "sha256 !", "name eA==", &twice] {
            let headers = [("Upload-Length", "9"), ("Upload-Metadata", metadata)];
            let sent = world.send("a", "POST", "/api/v1/uploads", &headers, &[]).await;
            sent.refused(400, "malformed");
        }
        for name in ["..", "%2e%2e", "..%2f..%2fendcap.db", "x", &format!("{real}.part")] {
            for method in ["HEAD", "PATCH", "DELETE"] {
                let path = format!("/api/v1/uploads/{name}");
                let headers = [OFFSET_STREAM, ("Upload-Offset", "0")];
                let sent = world.send("a", method, &path, &headers, &[]).await;
                assert_eq!(sent.status, 404, "{method} {path}");
            }
        }
        assert!(world.arriving().is_empty());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_between_two_chunks_changes_nothing() {
    within(async |mut world| {
        let photo = photograph();
        let path = location(&photo);
        world.create("a", &photo, &photo[..5_000]).await;
        std::fs::write(world.folder.join("blobs/unfinished/0"), b"left by a crash").unwrap();
        for (from, upto) in [(5_000, 10_000), (10_000, photo.len())] {
            world = world.restart().await;
            sweep(&world.app, now_ms()).await.unwrap();
            let offset = world.head("a", &path).await.offset();
            assert_eq!(offset, from);
            let sent = world.patch("a", &path, offset, &photo[offset..upto]).await;
            assert_eq!((sent.status, sent.offset()), (204, upto));
        }
        assert_eq!(std::fs::read_dir(world.folder.join("blobs/unfinished")).unwrap().count(), 0);
        world = world.restart().await;
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        assert_eq!(world.head("a", &path).await.offset(), photo.len());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_last_byte_is_made_up_for() {
    within(async |world| {
        let (photo, other) = (photograph(), drawn(64, 1));
        for content in [&photo, &other] {
            world.create("a", content, &content[..9]).await;
        }
        // The bytes reached the disk, and the server died before it looked at them.
        std::fs::write(world.arriving_file("a", BlobHash::of(&photo)), &photo).unwrap();
        std::fs::write(world.arriving_file("a", BlobHash::of(&other)), vec![0; other.len()])
            .unwrap();
        let asked = world.head("a", &location(&photo)).await;
        assert_eq!((asked.status, asked.offset()), (200, photo.len()));
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        assert_eq!(world.head("a", &location(&other)).await.status, 460);
        assert_eq!(world.head("a", &location(&other)).await.status, 404);
        assert!(world.arriving().is_empty());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_the_end_costs_nothing() {
    within(async |world| {
        let photo = photograph();
        let obstacle = world.folder.join("blobs").join(world.tenant.id.to_string());
        std::fs::write(&obstacle, b"no folder").unwrap();
        world.create("a", &photo, &photo).await.refused(500, "internal");
        assert_eq!(std::fs::read_dir(world.folder.join("blobs/unfinished")).unwrap().count(), 0);
        assert_eq!(world.head("a", &location(&photo)).await.status, 500);
        std::fs::remove_file(obstacle).unwrap();
        assert_eq!(world.head("a", &location(&photo)).await.offset(), photo.len());
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        let full = StoreError::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(Problem::from(full).status(), StatusCode::INSUFFICIENT_STORAGE);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_is_here_need_not_be_sent() {
    within(async |world| {
        let photo = photograph();
        world.create("a", &photo, &photo).await;
        for who in ["a", "b"] {
            let again = world.create(who, &photo, &[]).await;
            assert_eq!((again.status, again.offset()), (200, photo.len()));
            assert_eq!(again.header("location"), location(&photo));
            let sent = world.patch(who, &location(&photo), photo.len(), &[]).await;
            assert_eq!((sent.status, sent.offset()), (204, photo.len()));
            world.patch(who, &location(&photo), 0, &[]).await.refused(409, "offset_mismatch");
        }
        assert_eq!(world.open_uploads().await, 0);
        // Ending an upload does not touch a photo.
        let ended = world.send("a", "DELETE", &location(&photo), &[], &[]).await;
        ended.refused(404, "not_found");
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);

        let absent = |n: u16| BlobHash::of(&n.to_be_bytes()).to_string();
        let here = BlobHash::of(&photo).to_string();
        let answer = world.missing(&[absent(2), here, absent(1)]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), serde_json::json!({ "missing": [absent(2), absent(1)] }));
        let many: Vec<String> = (0..1_000).map(absent).collect();
        assert_eq!(world.missing(&many).await.json()["missing"].as_array().unwrap().len(), 1_000);
        let many: Vec<String> = (0..1_001).map(absent).collect();
        assert_eq!(world.missing(&many).await.problem(), (413, "too_large".into()));
        let odd = world.missing(&["../x".into()]).await;
        assert_eq!(odd.problem(), (400, "malformed".into()));
        let odd = world.send("a", "POST", "/api/v1/photos/missing", &[], b"[1]").await;
        assert_eq!(odd.problem(), (400, "malformed".into()));
        let odd = [("Authorization", "")];
        let odd = world.send("a", "POST", "/api/v1/photos/missing", &odd, b"{}").await;
        assert_eq!(odd.problem(), (401, "unauthorized".into()));
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_finishes_is_swept() {
    within(async |world| {
        let photo = photograph();
        let path = location(&photo);
        world.create("a", &photo, &photo[..100]).await;
        let orphan = world.arriving_file("b", BlobHash::of(b"x"));
        std::fs::write(&orphan, b"x").unwrap();
        std::fs::write(world.folder.join("uploads/README"), b"not ours").unwrap();
        sweep(&world.app, now_ms() + LIFETIME_MS - 60_000).await.unwrap();
        assert!(!orphan.exists());
        assert_eq!(world.head("a", &path).await.offset(), 100);
        sweep(&world.app, now_ms() + LIFETIME_MS).await.unwrap();
        assert_eq!(world.head("a", &path).await.status, 404);
        assert_eq!(world.arriving(), ["README"]);
        assert_eq!(world.create("a", &photo, &photo).await.status, 201);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_cannot_open_uploads_without_end() {
    within(async |world| {
        let open = async |who: &str, n: u64, length: &str| {
            let named = metadata(BlobHash::of(&n.to_be_bytes()));
            let headers = [("Upload-Length", length), ("Upload-Metadata", &*named)];
            world.send(who, "POST", "/api/v1/uploads", &headers, &[]).await
        };
        for n in 0..OPEN_MAX {
            assert_eq!(open("a", n, "9").await.status, 201);
        }
        open("a", OPEN_MAX, "9").await.refused(429, "uploads_open");
        assert_eq!(open("a", 0, "10").await.status, 201);
        for n in 0..12 {
            assert_eq!(open("b", n, "20971520").await.status, 201);
        }
        open("b", 12, "20971520").await.refused(429, "uploads_open");
        assert_eq!(open("b", 12, "16777216").await.status, 201);
        let path = format!("/api/v1/uploads/{}", BlobHash::of(&1_u64.to_be_bytes()));
        assert_eq!(world.send("a", "DELETE", &path, &[], &[]).await.status, 204);
        assert_eq!(open("a", OPEN_MAX, "9").await.status, 201);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_length_begins_anew() {
    within(async |world| {
        let photo = photograph();
        let named = metadata(BlobHash::of(&photo));
        let headers = [("Upload-Length", "99999"), ("Upload-Metadata", &*named), OFFSET_STREAM];
        let sent = world.send("a", "POST", "/api/v1/uploads", &headers, b"from another file").await;
        assert_eq!(sent.offset(), 17);
        assert_eq!(world.create("a", &photo, &[]).await.offset(), 0);
        assert_eq!(world.patch("a", &location(&photo), 0, &photo).await.status, 204);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_is_served_as_what_it_is() {
    within(async |world| {
        let (jpeg, png) = (drawn(1_600, 7), encoded(RgbImage::new(1_700, 9), ImageFormat::Png));
        let asked = |pairs: &[(header::HeaderName, &str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
        };
        let whole = asked(&[]);
        for (photo, kind) in [(&jpeg, "image/jpeg"), (&png, "image/png")] {
            world.create("a", photo, photo).await;
            let hash = BlobHash::of(photo);
            for (rendition, kind, tag, side) in [
                (Rendition::Original, kind, format!("\"{hash}\""), 0),
                (Rendition::Preview, "image/jpeg", format!("\"{hash}-preview\""), 1_024),
                (Rendition::Thumbnail, "image/jpeg", format!("\"{hash}-thumb\""), 480),
            ] {
                let serve = async |headers: &HeaderMap| {
                    let served =
                        photo::serve(&world.app, &world.tenant, hash, rendition, headers).await;
                    let (head, body) = served.into_parts();
                    (head, to_bytes(body, usize::MAX).await.unwrap())
                };
                let (head, all) = serve(&whole).await;
                assert_eq!(head.status, StatusCode::OK);
                for (name, value) in [
                    (header::CONTENT_TYPE, kind),
                    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                    (header::CONTENT_DISPOSITION, "inline"),
                    (header::CACHE_CONTROL, "private, no-cache"),
                    (header::ACCEPT_RANGES, "bytes"),
                    (header::ETAG, &tag),
                ] {
                    assert_eq!(head.headers[&name], value, "{name}");
                }
                assert_eq!(all == *photo, rendition == Rendition::Original);
                if side > 0 {
                    let small = image::load_from_memory(&all).unwrap();
                    assert_eq!(small.width().max(small.height()), side);
                }
                let (head, part) = serve(&asked(&[(header::RANGE, "bytes=10-19")])).await;
                assert_eq!((head.status, &part[..]), (StatusCode::PARTIAL_CONTENT, &all[10..20]));
                let said = format!("bytes 10-19/{}", all.len());
                assert_eq!(head.headers[header::CONTENT_RANGE], said);
                let beyond = format!("bytes={}-", all.len());
                let (head, none) = serve(&asked(&[(header::RANGE, &beyond)])).await;
                assert_eq!(head.status, StatusCode::RANGE_NOT_SATISFIABLE);
                assert_eq!(head.headers[header::CONTENT_RANGE], format!("bytes */{}", all.len()));
                assert!(none.is_empty());
                let range = (header::RANGE, "bytes=0-0");
                for (of, status) in
                    [(&*tag, StatusCode::PARTIAL_CONTENT), ("\"other\"", StatusCode::OK)]
                {
                    let (head, _) = serve(&asked(&[range.clone(), (header::IF_RANGE, of)])).await;
                    assert_eq!(head.status, status);
                }
                let (head, none) = serve(&asked(&[(header::IF_NONE_MATCH, &tag)])).await;
                assert_eq!((head.status, none.len()), (StatusCode::NOT_MODIFIED, 0));
                let (head, _) = serve(&asked(&[(header::IF_NONE_MATCH, "\"other\"")])).await;
                assert_eq!(head.status, StatusCode::OK);
            }
        }
        let (hash, rendition) = (BlobHash::of(b"x"), Rendition::Original);
        let absent = photo::serve(&world.app, &world.tenant, hash, rendition, &whole).await;
        assert_eq!(absent.status(), StatusCode::NOT_FOUND);

        let (org, hash) = (world.tenant.org, BlobHash::of(&jpeg));
        let read = world.app.store.read(move |c| {
            let document = DocId::from(VisitId::from_bytes([9; 16]));
            let of_none = uploads::gives_sight(c, org, BlobHash::of(b"x"), document)?;
            Ok((uploads::gives_sight(c, org, hash, document)?, of_none))
        });
        assert_eq!(read.await.unwrap(), (true, false));

        world.app.blobs.remove(world.tenant.id, hash).await.unwrap();
        assert!(!world.app.blobs.exists(world.tenant.id, hash).await.unwrap());
        assert!(world.get(&jpeg, Rendition::Thumbnail).await.is_none());
        assert!(world.get(&jpeg, Rendition::Preview).await.is_none());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_brings_what_no_entry_of_theirs_names() {
    within(async |world| {
        let photo = photograph();
        let (length, named) = (photo.len().to_string(), metadata(BlobHash::of(&photo)));
        let headers = [("Upload-Length", &*length), ("Upload-Metadata", &*named), OFFSET_STREAM];
        let begin = async || {
            let stream = world.begin("a", "POST", "/api/v1/uploads", &headers, &photo[..9]).await;
            Reply::read(stream).await
        };
        begin().await.refused(403, "not_referenced");
        // Somebody else's, in a document that the device's person does not see.
        world.name(BlobHash::of(&photo), [8; 16]).await;
        begin().await.refused(403, "not_referenced");
        assert_eq!((world.open_uploads().await, world.arriving().len()), (0, 0));
        // Refused work of the person names it: whoever decides on it wants to see it.
        world.keep_apart("b", BlobHash::of(&photo)).await;
        let begun = begin().await;
        assert_eq!((begun.status, begun.offset()), (201, 9));
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_courier_brings_is_judged_as_if_its_origin_had_sent_it() {
    within(async |world| {
        let (id, user, key) = (device("a"), UserId::from_bytes([0; 16]), key().public());
        let record = Record::Device(Device { id, user, key, revoked: false, lost_ms: None });
        world.app.write_records(&world.tenant, vec![record]).await.unwrap();
        let (photo, other, third) = (photograph(), drawn(64, 1), drawn(64, 2));
        let name = async |content: &[u8], by| world.name(BlobHash::of(content), by).await;

        assert_eq!(world.brings("a", &[&photo]).await, ["not_referenced"]);
        let others = drawn(64, 3);
        name(&others, [8; 16]).await;
        assert_eq!(world.brings("a", &[&others]).await, ["not_referenced"], "another's");
        world.keep_apart("a", BlobHash::of(&photo)).await;
        assert_eq!(world.brings("a", &[&photo]).await, ["later"], "nobody has decided");
        assert_eq!((world.open_uploads().await, world.arriving().len()), (0, 0));
        name(&photo, [0; 16]).await;
        // Its own phone had begun to send it, and something else came over.
        world.create("a", &photo, b"something").await;
        assert_eq!(world.brings("a", &[&photo, &photo]).await, ["taken", "taken"]);
        assert_eq!(world.brings("a", &[&photo]).await, ["taken"]);
        for rendition in Rendition::ALL {
            assert!(world.get(&photo, rendition).await.is_some());
        }
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);

        let bomb = bomb(&encoded(RgbImage::new(16, 16), ImageFormat::Png));
        let spoiled = [&photo[..photo.len() / 2], &bomb[..], b"", b"words"];
        for content in spoiled {
            name(content, [0; 16]).await;
        }
        assert_eq!(world.brings("a", &spoiled).await, ["not_an_image"; 4]);
        assert_eq!((world.open_uploads().await, world.arriving().len()), (0, 0));

        for content in [&other, &third] {
            name(content, [0; 16]).await;
        }
        world.room(None, Some(world.bytes().await + other.len() as u64)).await;
        assert_eq!(world.brings("a", &[&other, &third]).await, ["taken", "later"]);
        world.room(None, None).await;
        world.erase(Target::Photo(BlobHash::of(&third))).await.unwrap();
        assert_eq!(world.brings("a", &[&third]).await, ["taken"], "nobody need carry it");
        assert!(world.get(&third, Rendition::Original).await.is_none());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_of_discarded_work_goes_and_may_come_again() {
    within(async |world| {
        const DAY_MS: i64 = 86_400_000;
        let (photo, other) = (photograph(), drawn(64, 1));
        for content in [&photo, &other] {
            assert_eq!(world.create("a", content, content).await.status, 201);
        }
        let (org, hash) = (world.tenant.org, BlobHash::of(&photo));
        // The entry that named it is refused work now, as it would be if it had been refused at once.
        let refuse = world.app.store.write(move |tx| -> Result<(), StoreError> {
            tx.execute("DELETE FROM photo WHERE org = ?1 AND hash = ?2", params![org, hash.0])?;
            Ok(())
        });
        refuse.await.unwrap();
        world.keep_apart("a", hash).await;
        let run = async |days: i64| jobs::run(&world.app, now_ms() + days * DAY_MS).await.unwrap();
        assert_eq!(run(90).await, Done::default(), "it waits for a decision");
        let discarded_ms = now_ms() + 90 * DAY_MS;
        let discard = world.app.store.write(move |tx| -> Result<(), StoreError> {
            tx.execute(
                "UPDATE quarantine SET state = 'discarded', decided_ms = ?1",
                [discarded_ms],
            )?;
            Ok(())
        });
        discard.await.unwrap();
        assert_eq!(run(119).await, Done::default(), "it may be proposed again");
        let before = world.bytes().await;
        let done = run(121).await;
        assert_eq!((done.forgotten, done.removed), (1, 1), "{done:?}");
        assert_eq!(world.bytes().await, before - photo.len() as u64);
        assert!(world.kept(&photo).await.is_none() && world.kept(&other).await.is_some());
        assert!(world.get(&photo, Rendition::Original).await.is_none());
        // Proposed again, it is sent again.
        assert_eq!(world.create("a", &photo, &photo).await.status, 201);
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn photos_have_as_much_room_as_the_organisation_says() {
    within(async |world| {
        let (one, two, three) = (drawn(64, 1), drawn(64, 2), drawn(64, 3));
        world.room(None, Some((one.len() + two.len()) as u64)).await;
        assert_eq!(world.create("a", &one, &one).await.status, 201);
        assert_eq!(world.create("b", &two, &two[..9]).await.status, 201);
        // What others have announced counts as if it were here; what is here already needs no room.
        let full = world.create("a", &three, &three).await;
        full.refused(507, "quota_full");
        assert!(!full.header("retry-after").is_empty());
        assert_eq!(world.create("b", &two, &[]).await.status, 201, "the same again");
        assert_eq!(world.create("b", &one, &[]).await.status, 200, "it is here");
        assert_eq!(world.patch("b", &location(&two), 9, &two[9..]).await.status, 204);
        assert_eq!(world.bytes().await, (one.len() + two.len()) as u64);
        world.create("a", &three, &three).await.refused(507, "quota_full");
        // Erasing makes room.
        world.erase(Target::Photo(BlobHash::of(&one))).await.unwrap();
        assert_eq!(world.bytes().await, two.len() as u64);
        world.room(None, Some((two.len() + three.len()) as u64)).await;
        assert_eq!(world.create("a", &three, &three).await.status, 201);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_whose_time_is_over_is_gone_and_not_asked_for_again() {
    within(async |mut world| {
        const DAY_MS: i64 = 86_400_000;
        let (photo, other) = (photograph(), drawn(64, 1));
        world.create("a", &photo, &photo).await;
        world.room(Some(30), None).await;
        let early = jobs::run(&world.app, now_ms() + 29 * DAY_MS).await.unwrap();
        assert_eq!(early, Done::default());
        let done = jobs::run(&world.app, now_ms() + 31 * DAY_MS).await.unwrap();
        assert_eq!((done.retired, done.removed), (1, 1));
        assert!(matches!(world.kept(&photo).await, Some(Kept::Retired(_))));
        for rendition in Rendition::ALL {
            assert!(world.get(&photo, rendition).await.is_none());
        }
        assert_eq!(world.bytes().await, 0);
        world = world.restart().await;
        let asked = [BlobHash::of(&photo).to_string(), BlobHash::of(&other).to_string()];
        let missing = world.missing(&asked).await.json();
        assert_eq!(missing, serde_json::json!({ "missing": [asked[1]] }));
        let again = world.create("b", &photo, &photo).await;
        assert_eq!((again.status, again.offset()), (200, photo.len()));
        assert!(world.get(&photo, Rendition::Original).await.is_none());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_verified_when_the_process_died_is_verified_after() {
    within(async |mut world| {
        let (photo, other) = (photograph(), drawn(64, 1));
        for content in [&photo, &other] {
            world.create("a", content, &content[..9]).await;
        }
        std::fs::write(world.arriving_file("a", BlobHash::of(&photo)), &photo).unwrap();
        std::fs::write(world.arriving_file("a", BlobHash::of(&other)), vec![0; other.len()])
            .unwrap();
        world = world.restart().await;
        let done = jobs::run(&world.app, now_ms()).await.unwrap();
        assert_eq!(done.finished, 1);
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        assert!(world.get(&photo, Rendition::Preview).await.is_some());
        assert!(world.kept(&other).await.is_none(), "it is not what was announced");
        assert_eq!((world.open_uploads().await, world.arriving().len()), (0, 0));
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_process_died_of_twice_is_not_decoded_again() {
    within(async |mut world| {
        let (photo, bomb) = (photograph(), drawn(64, 1));
        let path = location(&bomb);
        // As a process leaves it that ends while it decodes.
        async fn decoding(world: &World, content: &[u8]) {
            let (org, hash) = (world.tenant.org, BlobHash::of(content));
            std::fs::write(world.arriving_file("a", hash), content).unwrap();
            let began = world.app.store.write(move |tx| uploads::decoding(tx, org, hash, now_ms()));
            began.await.unwrap();
        }
        async fn tried(world: &World) -> u64 {
            let count = world.app.store.read(|connection| {
                Ok(connection.query_row("SELECT count(*) FROM decoding", [], |row| row.get(0))?)
            });
            count.await.unwrap()
        }
        for content in [&photo, &bomb] {
            world.create("a", content, &content[..9]).await;
        }
        decoding(&world, &bomb).await;
        world = world.restart().await;
        for content in [&photo, &bomb] {
            decoding(&world, content).await;
        }
        world = world.restart().await;
        let done = jobs::run(&world.app, now_ms()).await.unwrap();
        assert_eq!((done.finished, done.ended), (1, 1), "once may have been by chance");
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        assert!(world.kept(&bomb).await.is_none());
        assert_eq!((world.open_uploads().await, world.arriving().len()), (0, 0));
        assert_eq!(tried(&world).await, 1);
        // Whoever brings it is told, before any byte is taken.
        for who in ["a", "b"] {
            for answer in [
                world.create(who, &bomb, &bomb).await,
                world.head(who, &path).await,
                world.patch(who, &path, 0, &bomb).await,
            ] {
                assert_eq!(answer.status, 422);
            }
            let told = world.create(who, &bomb, &[]).await;
            let detail = told.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("stopped twice"), "{detail}");
            told.refused(422, "not_an_image");
        }
        assert_eq!((world.open_uploads().await, world.arriving().len()), (0, 0));
        // After a while, as by a server that can do better, it is tried anew.
        let past = now_ms() - uploads::TRIED_MS;
        let later = world.app.store.write(move |tx| -> Result<(), StoreError> {
            tx.execute("UPDATE decoding SET tried_ms = ?1", [past])?;
            Ok(())
        });
        later.await.unwrap();
        assert_eq!(world.create("a", &bomb, &bomb).await.status, 201);
        assert_eq!(world.get(&bomb, Rendition::Original).await.unwrap(), bomb);
        // What ends leaves nothing, however it ends.
        let other = b"GIF89a\x01\0\x01\0\0\0\0;".to_vec();
        world.create("a", &other, &other).await.refused(422, "not_an_image");
        let cut = photo[..photo.len() / 2].to_vec();
        world.create("a", &cut, &cut).await.refused(422, "not_an_image");
        assert_eq!(tried(&world).await, 0);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_pictures_of_what_was_erased_meanwhile_do_not_stay() {
    within(async |world| {
        let photo = photograph();
        world.create("a", &photo, &photo).await;
        let (org, id, hash) = (world.tenant.org, world.tenant.id, BlobHash::of(&photo));
        world.app.store.write(move |tx| uploads::drawn(tx, org, hash, None)).await.unwrap();
        let held = world.app.limits.decoding.acquire_many(64).await.unwrap();
        let app = Arc::clone(&world.app);
        let run = tokio::spawn(async move { jobs::run(&app, now_ms()).await.unwrap() });
        while world.tenant.decoding.available_permits() > 1 {
            tokio::task::yield_now().await;
        }
        // It is about to be drawn; its row goes, and its file is read all the same.
        let gone = world.app.store.write(move |tx| -> Result<(), StoreError> {
            uploads::let_go(tx, org, hash, true, now_ms())?;
            uploads::unlinked(tx, org, hash)
        });
        gone.await.unwrap();
        drop(held);
        assert_eq!(run.await.unwrap().drawn, 0);
        for rendition in Rendition::ALL {
            assert!(world.app.blobs.get(id, hash, rendition).await.unwrap().is_none());
        }
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_rows_come_to_agree() {
    within(async |world| {
        const DAY_MS: i64 = 86_400_000;
        let photo = photograph();
        world.create("a", &photo, &photo).await;
        let (org, hash) = (world.tenant.id, BlobHash::of(&photo));
        let preview = world.get(&photo, Rendition::Preview).await.unwrap();
        // A file of which no row speaks, as a crash between the two leaves it; and one that is not ours.
        let orphan = BlobHash::of(b"orphan");
        world.app.blobs.put(org, orphan, Rendition::Original, b"orphan".to_vec()).await.unwrap();
        let folder = world.folder.join("blobs").join(org.to_string());
        std::fs::write(folder.join(&hash.to_string()[..2]).join("README"), b"not ours").unwrap();
        let path = folder.join(&hash.to_string()[..2]).join(format!("{hash}.preview.jpg"));
        std::fs::remove_file(path).unwrap();
        assert_eq!(jobs::run(&world.app, now_ms()).await.unwrap(), Done::default(), "too young");
        let done = jobs::run(&world.app, now_ms() + 2 * DAY_MS).await.unwrap();
        assert_eq!((done.removed, done.drawn), (1, 1));
        assert!(!world.app.blobs.exists(org, orphan).await.unwrap());
        assert_eq!(world.get(&photo, Rendition::Preview).await.unwrap(), preview);
        assert_eq!(world.get(&photo, Rendition::Original).await.unwrap(), photo);
        assert!(folder.join(&hash.to_string()[..2]).join("README").exists());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_gone_and_comes_back_from_nobody() {
    within(async |mut world| {
        let (photo, open) = (drawn(700, 1), drawn(700, 2));
        for content in [&photo, &open] {
            world.create("a", content, &content[..1_000]).await;
        }
        assert_eq!(world.patch("a", &location(&photo), 1_000, &photo[1_000..]).await.status, 204);
        for content in [&photo, &open] {
            let erased = world.erase(Target::Photo(BlobHash::of(content))).await.unwrap();
            assert_eq!(erased.removed.len(), 1, "{:?}", erased.removed);
            let again = world.erase(Target::Photo(BlobHash::of(content))).await.unwrap();
            assert_eq!(again, erased, "it is one erasure");
        }
        for _ in 0..2 {
            for content in [&photo, &open] {
                assert!(matches!(world.kept(content).await, Some(Kept::Erased(_))));
                for rendition in Rendition::ALL {
                    assert!(world.get(content, rendition).await.is_none());
                }
                for who in ["a", "b"] {
                    world.create(who, content, content).await.refused(410, "erased");
                    assert_eq!(world.head(who, &location(content)).await.status, 410);
                    let sent = world.patch(who, &location(content), 1_000, content).await;
                    sent.refused(410, "erased");
                }
            }
            let hashes = [&photo, &open].map(|content| BlobHash::of(content).to_string());
            assert_eq!(world.missing(&hashes).await.json(), serde_json::json!({ "missing": [] }));
            assert_eq!((world.open_uploads().await, world.arriving().len()), (0, 0));
            assert_eq!(world.bytes().await, 0);
            world = world.restart().await;
        }
        // What nobody knows is not erased by mistake.
        let unknown = world.erase(Target::Photo(BlobHash::of(b"x"))).await.unwrap_err();
        assert_eq!(unknown.code(), "not_found");
        let named = Target::Photo(BlobHash::of(&photo));
        for why in ["", " ", "two\nlines", &"x".repeat(501)] {
            let refused = erase::erase(&world.app, &world.tenant, named, None, why, false).await;
            assert_eq!(refused.unwrap_err().code(), "invalid");
        }
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_ends_after_the_erasure_brings_nothing_back() {
    within(async |world| {
        let photo = drawn(700, 1);
        world.create("a", &photo, &photo[..9]).await;
        let (org, id) = (
            world.tenant.org,
            UploadId { org: world.tenant.org, device: device("a"), hash: BlobHash::of(&photo) },
        );
        world.erase(Target::Photo(id.hash)).await.unwrap();
        // As the last step of a verification that began before.
        let (seen, made) = (now_ms(), BlobHash::of(b"small"));
        world
            .app
            .blobs
            .put(world.tenant.id, id.hash, Rendition::Original, photo.clone())
            .await
            .unwrap();
        let arrived = world.app.store.write(move |tx| -> Result<_, StoreError> {
            let photo = uploads::Photo { bytes: 9, width: 1, height: 1, arrived_ms: seen };
            let drawn = uploads::Drawn { thumbnail: made, preview: made };
            let kept = uploads::arrived(tx, id, None, |_| false, &photo, &drawn)?;
            Ok((kept, uploads::to_unlink(tx, org)?))
        });
        let (kept, unlink) = arrived.await.unwrap();
        assert!(matches!(kept, Kept::Erased(_)));
        assert_eq!(unlink, [id.hash]);
        assert_eq!(jobs::run(&world.app, now_ms()).await.unwrap().removed, 1);
        assert!(world.get(&photo, Rendition::Original).await.is_none());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_is_summed_up_as_the_client_likes() {
    within(async |world| {
        let photo = photograph();
        let path = location(&photo);
        world.create("a", &photo, &[]).await;
        // SHA-1 of "abc", FIPS 180.
        let known = "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
        let send = async |sum: &str, bytes: &[u8]| {
            let headers = [OFFSET_STREAM, ("Upload-Offset", "0"), ("Upload-Checksum", sum)];
            world.send("a", "PATCH", &path, &headers, bytes).await
        };
        send(&format!("sha1 {known}"), b"abd").await.refused(460, "chunk_mismatch");
        for bad in ["sha1", "sha1 ", "md5 kAFQmDzST7DWlj99KOF/cg==", "sha1 AAAA", "sha256 AAAA"] {
            send(bad, b"abc").await.refused(400, "malformed");
        }
        assert_eq!(world.head("a", &path).await.offset(), 0);
        let sent = send(&format!("sha1 {known}"), b"abc").await;
        assert_eq!((sent.status, sent.offset()), (204, 3));
        world
    })
    .await;
}
