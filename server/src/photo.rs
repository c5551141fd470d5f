//! Photos: what a device sent is checked before it counts, and shown only as what it was found to be.

use std::io::{self, SeekFrom};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use picture::{Camera, Flaw, Format, Sketch};
use sync_core::id::{BlobHash, OrgId};
use sync_core::model::Geo;
use sync_core::model::visit::{PhotoOrigin, PhotoRef};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::OwnedSemaphorePermit;

use crate::app::{App, Tenant};
use crate::blobs::{Blobs, Claim, Rendition};
use crate::error::Problem;
use crate::limits::{DECODING_MEGAPIXELS_MAX, DECODING_MEGAPIXELS_MIN};
use crate::now_ms;
use crate::sending::{PIECE_BYTES, sent_from};
use crate::store::StoreError;
use crate::store::uploads::{self as rows, DEATHS_MAX, Drawn, Photo};

/// Largest file that is accepted.
pub const BYTES_MAX: u64 = 20 << 20;
/// Most pixels of a picture that is accepted.
pub const PIXELS_MAX: u64 = picture::PIXELS_MAX;
/// The longer side of a thumbnail, at most.
pub const THUMBNAIL_PIXELS_MAX: u32 = 480;

/// The longer side of a preview, at most.
pub const PREVIEW_PIXELS_MAX: u32 = 1_024;

/// As many bytes as say what kind of file it is.
const MAGIC_BYTES: u64 = 64;
const QUALITY_PERCENT: u8 = 75;
/// As phones send photos: the longer side at most, and the JPEG's quality.
const SENT_PIXELS_MAX: u32 = 1_600;
const SENT_QUALITY_PERCENT: u8 = 80;
/// The longer side of a picture that is looked at.
const LOOKED_PIXELS_MAX: u32 = 1_600;

/// A file that is the photo that it was announced to be.
#[derive(Debug)]
pub struct Verified {
    /// The file.
    pub bytes: Vec<u8>,
    /// Pixels from left to right, upright.
    pub width: u32,
    /// Pixels from top to bottom, upright.
    pub height: u32,
    /// A JPEG that tells nothing but the picture, upright.
    pub thumbnail: Vec<u8>,
    /// The same for a screen.
    pub preview: Vec<u8>,
}

impl Verified {
    /// Puts the files where they belong, and says what their rows are. Until those are written nobody speaks of them,
    /// and they are removed after a while.
    pub async fn put(
        self,
        blobs: &Blobs,
        org: OrgId,
        hash: BlobHash,
    ) -> Result<(Photo, Drawn), StoreError> {
        let Self { bytes, width, height, thumbnail, preview } = self;
        let photo = Photo { bytes: bytes.len() as u64, width, height, arrived_ms: now_ms() };
        let drawn = Drawn { thumbnail: BlobHash::of(&thumbnail), preview: BlobHash::of(&preview) };
        blobs.put(org, hash, Rendition::Thumbnail, thumbnail).await?;
        blobs.put(org, hash, Rendition::Preview, preview).await?;
        blobs.put(org, hash, Rendition::Original, bytes).await?;
        Ok((photo, drawn))
    }
}

/// A turn at decoding a picture of so many million pixels, for as long as it is held: one of the organisation's, and
/// then one among all. Nothing of the picture should be in memory before.
async fn turn(
    app: &App,
    tenant: &Tenant,
    megapixels: u32,
) -> Result<[OwnedSemaphorePermit; 2], StoreError> {
    let closed = |_| StoreError::Closed;
    let (own, all) = (Arc::clone(&tenant.decoding), Arc::clone(&app.limits.decoding));
    let own = own.acquire_owned().await.map_err(closed)?;
    Ok([own, all.acquire_many_owned(megapixels).await.map_err(closed)?])
}

/// How many million pixels a picture counts for. One that counts for more than all there is room for has all of it.
fn megapixels(pixels: u64) -> u32 {
    let megapixels = u32::try_from(pixels.div_ceil(1_000_000)).unwrap_or(u32::MAX);
    megapixels.clamp(DECODING_MEGAPIXELS_MIN, DECODING_MEGAPIXELS_MAX)
}

/// Runs on a thread that may be busy for a while.
async fn busy<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unfit> + Send + 'static,
) -> Result<T, Unfit> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Unfit::NotAnImage("the decoder failed".into())))
}

/// Where a photo's file is.
pub enum Place<'a> {
    /// Among those that arrive.
    Arriving(&'a Claim<'a>),
    /// Among those that are here.
    Kept,
    /// In memory, as a form brought it: what a camera wrote, with whatever that puts behind the picture.
    Form(Vec<u8>),
}

/// Decodes a photo's file, whose SHA-256 is `hash`, as soon as it has a turn. That it begins is written down before, and
/// that it has ended after: what the process has died of [`DEATHS_MAX`] times is not decoded again, and what it has died
/// of once is decoded alone, so that nothing else is blamed for it.
async fn decoded<T: Send + 'static>(
    app: &App,
    tenant: &Tenant,
    hash: BlobHash,
    mut place: Place<'_>,
    mut work: impl FnOnce(Vec<u8>) -> Result<T, Unfit> + Send + 'static,
) -> Result<Result<T, Unfit>, StoreError> {
    let org = tenant.org;
    let deaths = app.store.read(move |c| rows::deaths(c, org, hash, now_ms())).await?;
    if deaths >= DEATHS_MAX {
        tracing::error!(organisation = %tenant.id, photo = %hash, deaths, "the process has died of a photo");
        return Ok(Err(Unfit::Deadly));
    }
    let mut room = if deaths == 0 { DECODING_MEGAPIXELS_MIN } else { DECODING_MEGAPIXELS_MAX };
    loop {
        let turn = turn(app, tenant, room).await?;
        let whole = !matches!(place, Place::Form(_));
        let bytes = match &mut place {
            Place::Form(file) => std::mem::take(file),
            Place::Arriving(claim) => claim.bytes().await?,
            Place::Kept => match app.blobs.get(tenant.id, hash, Rendition::Original).await? {
                Some(bytes) => bytes,
                None => return Ok(Err(Unfit::Missing)),
            },
        };
        let store = app.store.clone();
        // A task of its own: who hangs up meanwhile does not make it look like a death.
        let decoding = tokio::spawn(async move {
            let _turn = turn;
            store.write_for(org, move |tx| rows::decoding(tx, org, hash, now_ms())).await?;
            let done = busy(move || {
                let needed = measured(&bytes, hash, whole)?;
                Ok(if needed > room { Err((needed, work, bytes)) } else { Ok(work(bytes)?) })
            });
            let done = done.await;
            store.write_for(org, move |tx| rows::decoded(tx, org, hash)).await?;
            Ok(done)
        });
        match decoding.await.unwrap_or(Err(StoreError::Closed))? {
            Ok(Ok(made)) => return Ok(Ok(made)),
            // It waits again, with nothing in its hands that can be read once more.
            Ok(Err((needed, again, bytes))) => {
                (room, work) = (needed, again);
                if let Place::Form(file) = &mut place {
                    *file = bytes;
                }
            }
            Err(unfit) => return Ok(Err(unfit)),
        }
    }
}

/// Checks a file against its hash, and says for how many million pixels it counts. A `whole` one is a picture and nothing
/// else.
fn measured(bytes: &[u8], hash: BlobHash, whole: bool) -> Result<u32, Unfit> {
    if BlobHash::of(bytes) != hash {
        return Err(Unfit::OtherContent);
    }
    let pixels = picture::pixels(bytes, PIXELS_MAX)?;
    match picture::extent(bytes) {
        _ if !whole => Ok(megapixels(pixels)),
        Some(end) if end == bytes.len() => match picture::also(bytes) {
            None => Ok(megapixels(pixels)),
            Some(what) => Err(Unfit::NotAnImage(format!("it is {what} too"))),
        },
        Some(_) => Err(Unfit::NotAnImage("something else follows the picture".into())),
        None => Err(Flaw::CutShort.into()),
    }
}

/// Checks a file against its announced hash, decodes it and makes its small pictures.
pub async fn verify(
    app: &App,
    tenant: &Tenant,
    hash: BlobHash,
    place: Place<'_>,
) -> Result<Result<Verified, Unfit>, StoreError> {
    decoded(app, tenant, hash, place, drawn).await
}

fn drawn(bytes: Vec<u8>) -> Result<Verified, Unfit> {
    let picture = picture::decode(&bytes, PIXELS_MAX)?;
    let (width, height) = picture.size();
    let drawn = picture.upright(PREVIEW_PIXELS_MAX);
    let preview = drawn.jpeg(QUALITY_PERCENT)?;
    let thumbnail = drawn.within(THUMBNAIL_PIXELS_MAX).jpeg(QUALITY_PERCENT)?;
    Ok(Verified { thumbnail, preview, bytes, width, height })
}

/// What [`rows`](crate::store::signals) keep of a photo that is here: its sketch, and how much it looks like a screen.
/// It may not be read, although it was taken once.
pub async fn look(
    app: &App,
    tenant: &Tenant,
    hash: BlobHash,
) -> Result<Result<(Sketch, u32), Unfit>, StoreError> {
    let looked = decoded(app, tenant, hash, Place::Kept, |bytes| {
        let picture = picture::decode(&bytes, PIXELS_MAX)?.upright(LOOKED_PIXELS_MAX);
        Ok((Sketch::of(&picture), picture::screen(&picture)))
    });
    looked.await
}

/// Makes of a file that a camera wrote what a phone would have sent, without metadata, and the reference to it.
pub async fn prepare(
    app: &App,
    tenant: &Tenant,
    file: Vec<u8>,
) -> Result<Result<(Verified, PhotoRef), Unfit>, StoreError> {
    let (hash, file) = match busy(move || Ok((BlobHash::of(&file), file))).await {
        Ok(hashed) => hashed,
        Err(unfit) => return Ok(Err(unfit)),
    };
    let made = decoded(app, tenant, hash, Place::Form(file), |file| {
        let decoded = picture::decode(&file, PIXELS_MAX)?;
        let origin = origin_of(&file, &decoded.camera);
        let picture = decoded.upright(SENT_PIXELS_MAX);
        let jpeg = picture.jpeg(SENT_QUALITY_PERCENT)?;
        let reference = PhotoRef {
            hash: BlobHash::of(&jpeg),
            bytes: u32::try_from(jpeg.len()).unwrap_or(u32::MAX),
            phash: picture::difference_hash(&picture),
            check: None,
            origin: Some(origin),
        };
        Ok((drawn(jpeg)?, reference))
    });
    made.await
}

fn origin_of(file: &[u8], camera: &Camera) -> PhotoOrigin {
    PhotoOrigin {
        file: BlobHash::of(file),
        shown_ms: camera.taken.map(|taken| taken.shown_ms),
        offset_min: camera.taken.and_then(|taken| taken.offset_min),
        place: camera.place.map(|at| Geo {
            lon_e6: at.lon_e6,
            lat_e6: at.lat_e6,
            accuracy_m: None,
            mock: None,
        }),
        editor: camera.editor.map(str::to_owned),
        written_ms: camera.written_ms,
    }
}

/// Why a file is not the photo that it was announced to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its content has another SHA-256.
    #[error("the content has another SHA-256 than was announced")]
    OtherContent,
    /// The process ended while it was decoded, and when it tried again.
    #[error("the server stopped twice while it looked at it")]
    Deadly,
    /// It should be here, and its file is not: a disk has lost it, or is away. It may come again.
    #[error("its file is missing")]
    Missing,
    /// It is no JPEG, PNG or WebP picture, or one that is too large or damaged.
    #[error("{0}")]
    NotAnImage(String),
}

impl From<Flaw> for Unfit {
    fn from(flaw: Flaw) -> Self {
        Self::NotAnImage(match flaw {
            Flaw::TooLarge { .. } => {
                format!("{flaw}, and {} million are accepted", PIXELS_MAX / 1_000_000)
            }
            flaw => flaw.to_string(),
        })
    }
}

/// Sends a photo or one of its small pictures, whole or the range that is asked for. That the viewer may see it is for
/// the caller to know; so browsers keep it, and ask every time whether they may still show it.
pub async fn serve(
    app: &App,
    tenant: &Tenant,
    hash: BlobHash,
    rendition: Rendition,
    asked: &HeaderMap,
) -> Response {
    let (file, length) = match app.blobs.open_file(tenant.id, hash, rendition).await {
        Ok(Some((file, length))) => (tokio::fs::File::from_std(file), length),
        Ok(None) => return Problem::not_found().into_response(),
        Err(error) => return Problem::from(error).into_response(),
    };
    let (mut file, mut magic) = (file, Vec::new());
    if let Err(error) = (&mut file).take(MAGIC_BYTES).read_to_end(&mut magic).await {
        return Problem::from(StoreError::from(error)).into_response();
    }
    let Some(format) = picture::format(&magic) else {
        let damaged = StoreError::Damaged(format!("the photo {hash}"));
        return Problem::from(damaged).into_response();
    };
    let tag = match rendition {
        Rendition::Original => format!("\"{hash}\""),
        Rendition::Preview => format!("\"{hash}-preview\""),
        Rendition::Thumbnail => format!("\"{hash}-thumb\""),
    };
    let told = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let known = told(header::IF_NONE_MATCH).is_some_and(|known| {
        known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag || one.trim() == "*")
    });
    let same = told(header::IF_RANGE).is_none_or(|range_of| range_of == tag);
    let (status, part, range) = match told(header::RANGE).filter(|_| same).map(|r| range(r, length))
    {
        _ if known => (StatusCode::NOT_MODIFIED, 0..0, None),
        None | Some(Range::Whole) => (StatusCode::OK, 0..length, None),
        Some(Range::Part(first, last)) => {
            let said = format!("bytes {first}-{last}/{length}");
            (StatusCode::PARTIAL_CONTENT, first..last + 1, Some(said))
        }
        Some(Range::Nothing) => {
            let said = format!("bytes */{length}");
            (StatusCode::RANGE_NOT_SATISFIABLE, 0..0, Some(said))
        }
    };
    let bytes = part.end - part.start;
    let body = match piece_of(file, part).await {
        Ok(body) => body,
        Err(error) => return Problem::from(StoreError::from(error)).into_response(),
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    if !known {
        headers.insert(header::CONTENT_LENGTH, bytes.into());
    }
    for (name, value) in [
        (header::CONTENT_TYPE, media_type(format)),
        (header::ACCEPT_RANGES, "bytes"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "inline"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
    let range = range.and_then(|range| HeaderValue::try_from(range).ok());
    headers.extend(range.map(|range| (header::CONTENT_RANGE, range)));
    response
}

/// These bytes of a file; few are read at once.
async fn piece_of(mut file: tokio::fs::File, part: std::ops::Range<u64>) -> io::Result<Body> {
    let bytes = part.end - part.start;
    if bytes == 0 {
        return Ok(Body::empty());
    }
    file.seek(SeekFrom::Start(part.start)).await?;
    let mut file = file.take(bytes);
    if bytes > PIECE_BYTES as u64 {
        return Ok(sent_from(file));
    }
    let mut all = Vec::new();
    file.read_to_end(&mut all).await?;
    Ok(all.into())
}

fn media_type(format: Format) -> &'static str {
    match format {
        Format::Jpeg => "image/jpeg",
        Format::Png => "image/png",
        Format::WebP => "image/webp",
    }
}

/// What a request for a range comes to.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// All: none is asked for, or several, or nothing that is understood.
    Whole,
    /// From the first of these bytes to the last, both included.
    Part(u64, u64),
    /// None of the bytes that there are.
    Nothing,
}

fn range(asked: &str, length: u64) -> Range {
    let Some((first, last)) = asked.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Range::Whole;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) || (first.is_empty() && last.is_empty()) {
        return Range::Whole;
    }
    // What does not fit a number lies beyond every file.
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let end = length.saturating_sub(1);
    match (first, last) {
        ("", last) if number(last) == 0 || length == 0 => Range::Nothing,
        ("", last) => Range::Part(length.saturating_sub(number(last)), end),
        (first, _) if number(first) >= length => Range::Nothing,
        (first, "") => Range::Part(number(first), end),
        (first, last) if number(last) < number(first) => Range::Whole,
        (first, last) => Range::Part(number(first), number(last).min(end)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io::Cursor;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
    use tokio::task::yield_now;

    use super::*;
    use crate::scratch;

    fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// `jpeg` with an EXIF block that says how it is turned, and where it was taken.
    fn turned_by(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
        exif.extend([1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
        exif.extend(b"\0\0\0\0GPS-PLANTED");
        let mut out = jpeg[..2].to_vec();
        out.extend([0xff, 0xe1]);
        out.extend((exif.len() as u16 + 2).to_be_bytes());
        out.extend(exif);
        out.extend(&jpeg[2..]);
        out
    }

    /// `png` with a header, and its checksum, that promises another size and depth of RGBA.
    fn promising(png: &[u8], width: u32, height: u32, bits: u8) -> Vec<u8> {
        let mut png = png.to_vec();
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        png[24..26].copy_from_slice(&[bits, 6]);
        let bit = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc));
        let crc = !png[12..29].iter().fold(!0, byte);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        png
    }

    fn check(bytes: &[u8]) -> Result<Verified, Unfit> {
        measured(bytes, BlobHash::of(bytes), true)?;
        drawn(bytes.to_vec())
    }

    #[test]
    fn a_photo_gets_an_upright_thumbnail_without_metadata() {
        let half = RgbImage::from_fn(960, 480, |x, _| Rgb([if x < 480 { 250 } else { 5 }; 3]));
        let jpeg = encoded(half, ImageFormat::Jpeg);
        for (orientation, size, bright) in [(1, (960, 480), (9, 9)), (8, (480, 960), (9, 470))] {
            let bytes = turned_by(&jpeg, orientation);
            let made = check(&bytes).unwrap();
            assert_eq!((made.width, made.height), size);
            assert!(!made.thumbnail.windows(3).any(|w| w == b"GPS" || w == b"Exi"));
            let small = image::load_from_memory(&made.thumbnail).unwrap().into_luma8();
            assert_eq!(small.dimensions(), (size.0 / 2, size.1 / 2));
            assert!(small[bright].0[0] > 200);
        }
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            let made = check(&encoded(RgbImage::new(300, 1), format)).unwrap();
            assert_eq!((made.width, made.height), (300, 1));
        }
    }

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        use Range::{Nothing, Part, Whole};
        let far = format!("bytes=5-{}", u128::MAX);
        for (asked, found) in [
            ("bytes=0-0", Part(0, 0)),
            ("bytes=0-", Part(0, 9)),
            ("bytes=4-6", Part(4, 6)),
            ("bytes=4-99", Part(4, 9)),
            (&far, Part(5, 9)),
            ("bytes=-3", Part(7, 9)),
            ("bytes=-99", Part(0, 9)),
            ("bytes=-0", Nothing),
            ("bytes=10-", Nothing),
            ("bytes=10-12", Nothing),
            ("bytes=6-4", Whole),
            ("bytes=-", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=0-1,4-5", Whole),
            ("lines=0-1", Whole),
            ("", Whole),
        ] {
            assert_eq!(range(asked, 10), found, "{asked}");
        }
        assert_eq!([range("bytes=0-", 0), range("bytes=-1", 0)], [Nothing, Nothing]);
    }

    /// An app with two organisations in a folder of its own, which is to be removed.
    async fn two_organisations() -> (Arc<App>, [Arc<Tenant>; 2], PathBuf) {
        let folder = scratch("photo");
        let app = App::open(folder.clone()).await.unwrap();
        let one = app.create(OrgId::from_bytes([1; 16]), "Nordic Oats").await.unwrap();
        let other = app.create(OrgId::from_bytes([2; 16]), "Rathcarrow").await.unwrap();
        (app, [one, other], folder)
    }

    #[tokio::test]
    async fn organisations_take_turns_at_decoding() {
        let (app, [one, other], folder) = two_organisations().await;
        let mut context = Context::from_waker(Waker::noop());
        let mut many: Vec<_> = (0..5).map(|_| Box::pin(turn(&app, &one, 32))).collect();
        let mut single = Box::pin(turn(&app, &other, 32));
        let mut held: Vec<_> =
            many.drain(..2).map(|mut turn| turn.as_mut().poll(&mut context)).collect();
        assert!(held.iter().all(Poll::is_ready), "two small ones at a time");
        assert!(many.iter_mut().all(|turn| turn.as_mut().poll(&mut context).is_pending()));
        assert!(single.as_mut().poll(&mut context).is_pending());
        held.pop();
        assert!(many.iter_mut().all(|turn| turn.as_mut().poll(&mut context).is_pending()));
        assert!(single.as_mut().poll(&mut context).is_ready(), "it does not wait for three more");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn what_waits_for_its_turn_is_not_in_memory() {
        let (app, [one, _], folder) = two_organisations().await;
        let photo = encoded(RgbImage::new(90, 60), ImageFormat::Jpeg);
        let hash = BlobHash::of(&photo);
        let held = app.limits.decoding.acquire_many(DECODING_MEGAPIXELS_MAX).await.unwrap();
        let mut verifying = Box::pin(verify(&app, &one, hash, Place::Kept));
        tokio::select! {
            done = &mut verifying => panic!("it does not wait: {done:?}"),
            () = async { while one.decoding.available_permits() > 1 { yield_now().await } } => {}
        }
        // What was read before would not be this.
        app.blobs.put(one.id, hash, Rendition::Original, photo).await.unwrap();
        drop(held);
        assert_eq!(verifying.await.unwrap().unwrap().width, 90);
        // One that takes more than half of the room waits once more, for more.
        let large = encoded(DynamicImage::new_luma8(6_000, 6_000), ImageFormat::Png);
        let hash = BlobHash::of(&large);
        app.blobs.put(one.id, hash, Rendition::Original, large).await.unwrap();
        let half = app.limits.decoding.acquire_many(DECODING_MEGAPIXELS_MIN).await.unwrap();
        let mut verifying = Box::pin(verify(&app, &one, hash, Place::Kept));
        tokio::select! {
            done = &mut verifying => panic!("it does not wait: {done:?}"),
            // It has the other half first.
            () = async { while app.limits.decoding.available_permits() > 0 { yield_now().await } } => {}
        }
        drop(half);
        assert_eq!(verifying.await.unwrap().unwrap().width, 6_000);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn what_is_decoded_for_others_right_now_kills_nobody() {
        let (app, [one, _], folder) = two_organisations().await;
        let photo = encoded(RgbImage::new(90, 60), ImageFormat::Jpeg);
        let (org, hash) = (one.org, BlobHash::of(&photo));
        app.blobs.put(one.id, hash, Rendition::Original, photo).await.unwrap();
        for _ in 0..DEATHS_MAX {
            app.store.write(move |tx| rows::decoding(tx, org, hash, now_ms())).await.unwrap();
        }
        assert_eq!(verify(&app, &one, hash, Place::Kept).await.unwrap().unwrap().width, 90);
        let running = app.store.read(move |connection| {
            let sum = "SELECT sum(running), sum(deaths) FROM decoding";
            Ok(connection.query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
        });
        assert_eq!(running.await.unwrap(), (DEATHS_MAX, 0), "the others go on");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn what_a_form_brings_is_decoded_under_the_same_guard() {
        let (app, [one, _], folder) = two_organisations().await;
        // Cameras append films; a phone's photo may not have one.
        let photo = encoded(RgbImage::new(90, 60), ImageFormat::Jpeg);
        let filmed = [photo.clone(), b"a film".to_vec()].concat();
        let (made, _) = prepare(&app, &one, filmed).await.unwrap().unwrap();
        assert_eq!(made.width, 90);
        // One that takes more than half of the room waits once more.
        let large = encoded(DynamicImage::new_luma8(6_000, 6_000), ImageFormat::Png);
        assert!(prepare(&app, &one, large).await.unwrap().is_ok());
        // The process has died of it, whoever brings it and however.
        let (org, hash) = (one.org, BlobHash::of(&photo));
        for _ in 0..DEATHS_MAX {
            app.store.write(move |tx| rows::decoding(tx, org, hash, now_ms())).await.unwrap();
            app.store.write(rows::died).await.unwrap();
        }
        assert_eq!(prepare(&app, &one, photo).await.unwrap().unwrap_err(), Unfit::Deadly);
        let left = app.store.read(move |connection| {
            let sum = "SELECT count(*) FROM decoding WHERE running > 0";
            Ok(connection.query_row(sum, [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(left.await.unwrap(), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn other_content_and_other_files_are_unfit() {
        let jpeg = encoded(RgbImage::new(9, 9), ImageFormat::Jpeg);
        let other = measured(&jpeg, BlobHash::of(b"other"), true);
        assert_eq!(other.unwrap_err(), Unfit::OtherContent);
        let mut wide = jpeg.clone();
        let frame = wide.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        wide[frame + 5..frame + 9].fill(0xff);
        let png = encoded(RgbImage::new(90, 90), ImageFormat::Png);
        let bomb = promising(&png, 65_535, 65_535, 8);
        let deep = promising(&png, 7_000, 6_000, 16);
        for bytes in [&b""[..], b"GIF89a\x01\0\x01\0\0\0\0", b"<svg/>", &jpeg[..9], &png[..60]] {
            assert!(matches!(check(bytes), Err(Unfit::NotAnImage(_))), "{}", bytes.len());
        }
        let both = [&jpeg[..2], b"\xff\xfe\0\x0a%PDF-1.7", &jpeg[2..]].concat();
        let hash = BlobHash::of(&both);
        assert_eq!(measured(&both, hash, true).unwrap_err().to_string(), "it is a PDF too");
        for (bytes, why) in [(wide, "too large"), (bomb, "too large"), (deep, "too large")] {
            let unfit = check(&bytes).unwrap_err();
            assert!(unfit.to_string().contains(why), "{unfit}");
        }
    }
}
