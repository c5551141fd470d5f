//! Who may see a photo: who sees a document in which somebody names it who has brought it or saw it.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use server::blobs::Rendition;
use server::erase::{Target, erase};
use server::store::StoreError;
use server::store::uploads::{self, Room};
use server::{jobs, looks, now_ms};
use sync_core::cargo::{Cargo, Load, Parcel};
use sync_core::document::Document;
use sync_core::evidence::Keypair;
use sync_core::id::{BlobHash, CallId, DeviceId, OutletId, UserId, VisitId};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{Act, PhotoRef, Versioned};
use sync_core::wire::{
    CargoReply, CargoRequest, Delivery, MEDIA_TYPE, Outcome, PROTOCOL, ParcelBytes, from_wire,
    to_wire,
};
use sync_core::zip;
use tower::ServiceExt;

use crate::dispute::write;
use crate::evidence::{fetch, two_alike};
use crate::{
    ANNA, Bench, CALL, CLOSED_CALL, GROSSIST, JOHAN, MARIA, NORTH, OTHER, OUTLET, Phone, SARA,
    SHELF, SOUTH, person, photo, price,
};

const OLLE: UserId = UserId::from_bytes([6; 16]);
const EVA: UserId = UserId::from_bytes([7; 16]);
const ELSEWHERE: VisitId = VisitId::from_bytes([8; 16]);
const SAME: &str = "Byte for byte the same file";
const ON_ITS_WAY: &str = "1 on their way";

/// The bench, and Anna's visit in the north with a photo that she has yet to send. Olle works in the south.
async fn named() -> (Bench, Phone, Phone, Vec<u8>) {
    let bench = Bench::new().await;
    let olle = person(OLLE, "Olle Ek", Role::Rep, Scope::Territory(SOUTH));
    let eva = person(EVA, "Eva Holm", Role::Rep, Scope::Territory(NORTH));
    bench.app.write_records(&bench.tenant, vec![olle, eva]).await.unwrap();
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let olle = bench.phone(OLLE, "Olle's phone").await;
    let (used, _) = two_alike();
    calls(&bench, &mut anna, CALL, &used).await;
    (bench, anna, olle, used)
}

fn of(jpeg: &[u8]) -> PhotoRef {
    PhotoRef { hash: BlobHash::of(jpeg), ..photo("", SHELF) }
}

/// A visit for a call, that names a photo. Its page.
async fn calls(bench: &Bench, phone: &mut Phone, call: CallId, jpeg: &[u8]) -> String {
    let visit = VisitId::of_call(bench.tenant.id, call);
    let mut document = bench.document(visit).await;
    phone.start(&mut document, call);
    phone.observe(&mut document, vec![price(1, 1_490)], vec![of(jpeg)], Vec::new());
    phone.push(bench, &document, Vec::new()).await;
    format!("/visits/{visit}")
}

/// A visit in the south that names a photo, to an outlet that `distributor` is said to serve.
async fn goes_south(
    bench: &Bench,
    phone: &mut Phone,
    distributor: sync_core::id::DistributorId,
    jpeg: &[u8],
) -> Outcome {
    let mut document = Document::new(bench.tenant.id, ELSEWHERE.into());
    phone.record(
        &mut document,
        Act::Start {
            outlet: OutletId::from_bytes([2; 16]),
            call: None,
            territory: SOUTH,
            distributor,
            template: Versioned { number: 1, version: 1 },
        },
    );
    phone.observe(&mut document, vec![price(1, 1_490)], vec![of(jpeg)], Vec::new());
    phone.outcome(bench, &document, Vec::new()).await
}

/// A request of a phone's.
async fn asks(
    bench: &Bench,
    phone: &Phone,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", phone.sender.device))
        .header("tus-resumable", "1.0.0")
        .header("content-length", body.len())
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5))));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response =
        bench.routes.clone().oneshot(request.body(Body::from(body.to_vec())).unwrap()).await;
    let (head, body) = response.unwrap().into_parts();
    (head.status.as_u16(), head.headers, to_bytes(body, 16 << 20).await.unwrap().to_vec())
}

fn offset(headers: &HeaderMap) -> Option<usize> {
    headers.get("upload-offset")?.to_str().ok()?.parse().ok()
}

/// Announces a photo and sends this much of it: the answer, and where the upload stands.
async fn begins(bench: &Bench, phone: &Phone, jpeg: &[u8], bytes: usize) -> (u16, Option<usize>) {
    let digest = STANDARD.encode(BlobHash::of(jpeg).to_string());
    let (length, named) = (jpeg.len().to_string(), format!("sha256 {digest}"));
    let stream = ("content-type", "application/offset+octet-stream");
    let headers = [("upload-length", &*length), ("upload-metadata", &*named), stream];
    let headers = if bytes == 0 { &headers[..2] } else { &headers };
    let asked = ("POST", "/api/v1/uploads");
    let (status, headers, _) = asks(bench, phone, asked, headers, &jpeg[..bytes]).await;
    (status, offset(&headers))
}

async fn goes_on(bench: &Bench, phone: &Phone, hash: BlobHash, at: usize, bytes: &[u8]) -> u16 {
    let at = at.to_string();
    let headers = [("upload-offset", &*at), ("content-type", "application/offset+octet-stream")];
    asks(bench, phone, ("PATCH", &format!("/api/v1/uploads/{hash}")), &headers, bytes).await.0
}

async fn stands(bench: &Bench, phone: &Phone, hash: BlobHash) -> (u16, Option<usize>) {
    let path = format!("/api/v1/uploads/{hash}");
    let (status, headers, _) = asks(bench, phone, ("HEAD", &path), &[], &[]).await;
    (status, offset(&headers))
}

async fn is_missing(bench: &Bench, phone: &Phone, hash: BlobHash) -> bool {
    let body = serde_json::json!({ "hashes": [hash.to_string()] }).to_string();
    let asked = ("POST", "/api/v1/photos/missing");
    let (status, _, body) = asks(bench, phone, asked, &[], body.as_bytes()).await;
    assert_eq!(status, 200);
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    !answer["missing"].as_array().unwrap().is_empty()
}

/// What a phone is told that asks for a photo.
async fn reads(bench: &Bench, phone: &Phone, hash: BlobHash) -> u16 {
    asks(bench, phone, ("GET", &format!("/api/v1/photos/{hash}")), &[], &[]).await.0
}

async fn shows(bench: &Bench, user: UserId, hash: BlobHash) -> StatusCode {
    bench.get(user, &format!("/photos/{hash}?size=thumb")).await.status
}

/// The photos in the proof of a visit.
async fn packed(bench: &Bench, user: UserId, page: &str) -> Vec<Vec<u8>> {
    let (status, _, bundle) = fetch(bench, user, &format!("{page}/proof"), &[]).await;
    assert_eq!(status, StatusCode::OK);
    let files = zip::read(&bundle).unwrap().into_iter();
    let photos = files.filter(|(name, _)| name.starts_with("photos/"));
    photos.map(|(_, bytes)| bytes.to_vec()).collect()
}

async fn room(bench: &Bench) -> Room {
    let org = bench.tenant.org;
    bench.app.store.read(move |c| uploads::room(c, org)).await.unwrap()
}

#[tokio::test]
async fn who_knows_a_digest_alone_learns_and_sees_nothing() {
    let (bench, anna, mut olle, used) = named().await;
    let (hash, whole) = (BlobHash::of(&used), Some(used.len()));
    let hers = format!("/visits/{}", VisitId::of_call(bench.tenant.id, CALL));
    assert!(is_missing(&bench, &anna, hash).await);
    assert_eq!(begins(&bench, &anna, &used, used.len()).await, (201, whole));
    assert!(!is_missing(&bench, &anna, hash).await);
    assert_eq!(stands(&bench, &anna, hash).await, (200, whole));
    assert_eq!(reads(&bench, &anna, hash).await, 200);
    assert_eq!(shows(&bench, MARIA, hash).await, StatusCode::OK);
    assert_eq!(packed(&bench, MARIA, &hers).await, std::slice::from_ref(&used));
    looks::catch_up(&bench.app).await.unwrap();
    let bytes = room(&bench).await.bytes;

    assert_eq!(begins(&bench, &olle, &used, 0).await.0, 403);
    assert_eq!(goes_south(&bench, &mut olle, OTHER, &used).await, Outcome::Accepted {});
    let his = format!("/visits/{ELSEWHERE}");
    let nothing = async || {
        looks::catch_up(&bench.app).await.unwrap();
        assert!(is_missing(&bench, &olle, hash).await);
        assert_eq!(reads(&bench, &olle, hash).await, 404);
        assert_eq!(shows(&bench, SARA, hash).await, StatusCode::NOT_FOUND);
        let page = bench.get(SARA, &his).await;
        page.shows(&[ON_ITS_WAY]).hides(&[&format!("/photos/{hash}"), SAME]);
        bench.get(SARA, "/look").await.hides(&[SAME]);
        bench.get(SARA, "/visits").await.shows(&["0/1"]);
        assert!(packed(&bench, SARA, &his).await.is_empty());
        // Nor does it say anything of hers that somebody names her photo.
        bench.get(MARIA, &hers).await.hides(&[SAME]).shows(&[&format!("/photos/{hash}")]);
    };
    nothing().await;
    assert_eq!(stands(&bench, &olle, hash).await.0, 404);
    // What the server says is what it says of a photo that it has never had.
    assert_eq!(begins(&bench, &olle, &used, 0).await, (201, Some(0)));
    assert_eq!(stands(&bench, &olle, hash).await, (200, Some(0)));
    nothing().await;
    let other = vec![7; used.len()];
    assert_eq!(goes_on(&bench, &olle, hash, 0, &other).await, 460);
    nothing().await;

    // Who has the bytes has nothing to learn. There is one photo as before, with small pictures as they are drawn now.
    write(&bench, "UPDATE blob SET preview = zeroblob(32)".into()).await;
    assert_eq!(begins(&bench, &olle, &used, 100).await, (201, Some(100)));
    assert_eq!(goes_on(&bench, &olle, hash, 100, &used[100..]).await, 204);
    assert_eq!(stands(&bench, &olle, hash).await, (200, whole));
    assert!(!is_missing(&bench, &olle, hash).await);
    assert_eq!(reads(&bench, &olle, hash).await, 200);
    assert_eq!(shows(&bench, SARA, hash).await, StatusCode::OK);
    bench.get(SARA, &his).await.hides(&[ON_ITS_WAY]).shows(&[&format!("/photos/{hash}")]);
    assert_eq!(packed(&bench, SARA, &his).await, [used]);
    assert_eq!(room(&bench).await.bytes, bytes);
    let drawn = |c: &Connection| Ok(c.query_row("SELECT preview FROM blob", [], |row| row.get(0))?);
    let drawn = bench.app.store.read(drawn).await.unwrap();
    let preview = bench.app.blobs.get(bench.tenant.id, hash, Rendition::Preview).await.unwrap();
    assert_eq!(BlobHash::of(&preview.unwrap()), BlobHash(drawn));
    looks::catch_up(&bench.app).await.unwrap();
    let both = [bench.get(SARA, &his).await.body, bench.get(MARIA, &hers).await.body];
    assert!(both.iter().any(|page| page.contains(SAME)));
    bench.close().await;
}

#[tokio::test]
async fn who_has_brought_a_photo_or_sees_it_need_not_bring_it() {
    let (bench, mut anna, _, used) = named().await;
    let (hash, whole) = (BlobHash::of(&used), Some(used.len()));
    assert_eq!(begins(&bench, &anna, &used, used.len()).await, (201, whole));
    // Her own second visit, from the same phone or another.
    let second = calls(&bench, &mut anna, CLOSED_CALL, &used).await;
    bench.get(MARIA, &second).await.hides(&[ON_ITS_WAY]).shows(&[&format!("/photos/{hash}")]);
    let another = bench.phone(ANNA, "Anna's other phone").await;
    assert!(!is_missing(&bench, &another, hash).await);
    assert_eq!(begins(&bench, &another, &used, 0).await, (200, whole));

    // A colleague sees both. He has not brought it, and need not.
    let mut johan = bench.phone(JOHAN, "Johan's phone").await;
    assert_eq!(reads(&bench, &johan, hash).await, 200);
    let visit = VisitId::from_bytes([9; 16]);
    let mut his = Document::new(bench.tenant.id, visit.into());
    let template = Versioned { number: 1, version: 1 };
    let (outlet, territory, distributor) = (OUTLET, NORTH, GROSSIST);
    johan.record(&mut his, Act::Start { outlet, call: None, territory, distributor, template });
    johan.observe(&mut his, Vec::new(), vec![of(&used)], Vec::new());
    johan.push(&bench, &his, Vec::new()).await;
    let page = bench.get(MARIA, &format!("/visits/{visit}")).await;
    page.hides(&[ON_ITS_WAY]).shows(&[&format!("/photos/{hash}")]);
    assert!(!is_missing(&bench, &johan, hash).await);

    // One who names nothing and sees it is told so as soon as he begins.
    let eva = bench.phone(EVA, "Eva's phone").await;
    assert!(is_missing(&bench, &eva, hash).await);
    assert_eq!(begins(&bench, &eva, &used, 0).await, (200, whole));
    assert!(!is_missing(&bench, &eva, hash).await);
    bench.close().await;
}

#[tokio::test]
async fn who_comes_to_see_a_photo_that_they_named_need_not_bring_it_any_more() {
    let (bench, anna, mut olle, used) = named().await;
    let (hash, whole) = (BlobHash::of(&used), Some(used.len()));
    goes_south(&bench, &mut olle, OTHER, &used).await;
    begins(&bench, &anna, &used, used.len()).await;
    assert_eq!(shows(&bench, SARA, hash).await, StatusCode::NOT_FOUND);
    // That somebody names her photo says nothing of hers.
    looks::catch_up(&bench.app).await.unwrap();
    let hers = format!("/visits/{}", VisitId::of_call(bench.tenant.id, CALL));
    bench.get(MARIA, &hers).await.hides(&[SAME]);
    let all = sync_core::id::TerritoryId::from_bytes([1; 16]);
    let moved = person(OLLE, "Olle Ek", Role::Rep, Scope::Territory(all));
    bench.app.write_records(&bench.tenant, vec![moved]).await.unwrap();
    assert_eq!(begins(&bench, &olle, &used, 0).await, (200, whole));
    assert_eq!(shows(&bench, SARA, hash).await, StatusCode::OK);
    bench.close().await;
}

#[tokio::test]
async fn what_is_on_its_way_is_borne_out_for_each_who_could_have_brought_it() {
    let (bench, anna, mut olle, used) = named().await;
    let (hash, half) = (BlobHash::of(&used), used.len() / 2);
    assert_eq!(begins(&bench, &anna, &used, half).await, (201, Some(half)));
    // Meanwhile Johan names it where Anna sees it, in her visit too, and Olle where she does not.
    let mut johan = bench.phone(JOHAN, "Johan's phone").await;
    let his = calls(&bench, &mut johan, CLOSED_CALL, &used).await;
    goes_south(&bench, &mut olle, OTHER, &used).await;
    assert_eq!(begins(&bench, &olle, &used, half).await, (201, Some(half)));
    assert_eq!(goes_on(&bench, &anna, hash, half, &used[half..]).await, 204);
    bench.get(MARIA, &his).await.hides(&[ON_ITS_WAY]);
    assert!(!is_missing(&bench, &johan, hash).await);
    assert_eq!(shows(&bench, SARA, hash).await, StatusCode::NOT_FOUND);
    // His own upload goes on where it was, whatever is here.
    jobs::run(&bench.app, now_ms()).await.unwrap();
    assert_eq!(stands(&bench, &olle, hash).await, (200, Some(half)));
    assert_eq!(goes_on(&bench, &olle, hash, half, &used[half..]).await, 204);
    assert_eq!(shows(&bench, SARA, hash).await, StatusCode::OK);
    bench.close().await;
}

#[tokio::test]
async fn one_document_is_one_reference_whoever_names_the_photo_first() {
    let (bench, anna, mut olle, used) = named().await;
    let hash = BlobHash::of(&used);
    begins(&bench, &anna, &used, used.len()).await;
    goes_south(&bench, &mut olle, OTHER, &used).await;
    let south = person(EVA, "Eva Holm", Role::Rep, Scope::Territory(SOUTH));
    let mut eva = bench.phone(EVA, "Eva's phone").await;
    begins(&bench, &eva, &used, 0).await; // she sees it in the north
    bench.app.write_records(&bench.tenant, vec![south]).await.unwrap();
    eva.anchor = u64::MAX;
    let mut document = bench.document(ELSEWHERE).await;
    eva.observe(&mut document, Vec::new(), vec![of(&used)], Vec::new());
    eva.push(&bench, &document, Vec::new()).await;
    bench.get(SARA, &format!("/visits/{ELSEWHERE}")).await.hides(&[ON_ITS_WAY]);
    assert_eq!(reads(&bench, &olle, hash).await, 200);
    bench.close().await;
}

#[tokio::test]
async fn refused_work_shows_what_its_author_has_brought() {
    let (bench, anna, mut olle, used) = named().await;
    let hash = BlobHash::of(&used);
    begins(&bench, &anna, &used, used.len()).await;
    let outcome = goes_south(&bench, &mut olle, GROSSIST, &used).await;
    assert!(matches!(outcome, Outcome::Quarantined { .. }), "{outcome:?}");
    let path = format!("/refused/1/photos/{hash}");
    bench.get(SARA, "/refused/1").await.shows(&["Photo not here"]).hides(&[&path]);
    assert_eq!(bench.get(SARA, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(begins(&bench, &olle, &used, 0).await, (201, Some(0)));
    assert_eq!(bench.get(SARA, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(goes_on(&bench, &olle, hash, 0, &used).await, 204);
    bench.get(SARA, "/refused/1").await.shows(&[&path]);
    assert_eq!(bench.get(SARA, &path).await.status, StatusCode::OK);
    assert!(!is_missing(&bench, &olle, hash).await);
    // His phone sends no photo twice.
    let approved = bench.post(SARA, "/refused/1", &[("decision", "approve")]).await;
    assert_eq!(approved.status, StatusCode::SEE_OTHER, "{}", approved.body);
    let page = bench.get(SARA, &format!("/visits/{ELSEWHERE}")).await;
    page.hides(&[ON_ITS_WAY]).shows(&[&format!("/photos/{hash}")]);
    bench.close().await;
}

#[tokio::test]
async fn what_is_gone_is_gone_for_who_has_brought_it_and_erased_for_all() {
    let (bench, anna, mut olle, used) = named().await;
    let (hash, whole, org) = (BlobHash::of(&used), Some(used.len()), bench.tenant.org);
    begins(&bench, &anna, &used, used.len()).await;
    goes_south(&bench, &mut olle, OTHER, &used).await;
    let over = now_ms() + 1;
    bench.app.store.write(move |tx| uploads::retire(tx, org, over, over)).await.unwrap();
    assert!(!is_missing(&bench, &anna, hash).await);
    assert_eq!(begins(&bench, &anna, &used, 0).await, (200, whole));
    // That it was here is not told either.
    assert!(is_missing(&bench, &olle, hash).await);
    assert_eq!((reads(&bench, &anna, hash).await, reads(&bench, &olle, hash).await), (410, 404));
    bench.get(SARA, &format!("/visits/{ELSEWHERE}")).await.shows(&[ON_ITS_WAY]);
    assert_eq!(begins(&bench, &olle, &used, used.len()).await, (201, whole));
    assert!(!is_missing(&bench, &olle, hash).await);
    assert_eq!(reads(&bench, &olle, hash).await, 410);
    bench.get(SARA, &format!("/visits/{ELSEWHERE}")).await.hides(&[ON_ITS_WAY]);
    let gone = bench.app.blobs.exists(bench.tenant.id, hash).await.unwrap();
    assert!(!gone, "it is not taken again");
    bench.close().await;

    let (bench, anna, mut olle, used) = named().await;
    begins(&bench, &anna, &used, used.len()).await;
    goes_south(&bench, &mut olle, OTHER, &used).await;
    erase(&bench.app, &bench.tenant, Target::Photo(hash), None, "request 9", false).await.unwrap();
    for phone in [&anna, &olle] {
        assert!(!is_missing(&bench, phone, hash).await);
        assert_eq!(begins(&bench, phone, &used, used.len()).await.0, 410);
        assert_eq!(
            (stands(&bench, phone, hash).await.0, reads(&bench, phone, hash).await),
            (410, 410)
        );
    }
    bench.get(SARA, &format!("/visits/{ELSEWHERE}")).await.hides(&[ON_ITS_WAY]);
    bench.close().await;
}

#[tokio::test]
async fn what_was_borne_out_before_a_photo_was_lost_is_so_when_it_comes_back() {
    let (bench, anna, mut olle, used) = named().await;
    let hash = BlobHash::of(&used);
    goes_south(&bench, &mut olle, OTHER, &used).await;
    for phone in [&anna, &olle] {
        assert_eq!(begins(&bench, phone, &used, used.len()).await.0, 201);
    }
    // As a restore says of a photo that the backup had lost.
    let lost =
        "DELETE FROM blob; UPDATE photo SET here = 0; UPDATE organisation SET photo_bytes = 0";
    write(&bench, lost.into()).await;
    assert!(is_missing(&bench, &anna, hash).await);
    assert_eq!(shows(&bench, SARA, hash).await, StatusCode::NOT_FOUND);
    // Their authors are gone: somebody who saw one of the visits has it still, and does not see the other.
    let eva = bench.phone(EVA, "Eva's phone").await;
    assert_eq!(begins(&bench, &eva, &used, used.len()).await.0, 201);
    for user in [MARIA, SARA] {
        assert_eq!(shows(&bench, user, hash).await, StatusCode::OK);
    }
    bench.close().await;
}

#[tokio::test]
async fn a_colleague_bears_out_what_an_author_who_is_gone_named() {
    let (bench, _, _, used) = named().await;
    let eva = bench.phone(EVA, "Eva's phone").await;
    assert_eq!(begins(&bench, &eva, &used, used.len()).await.0, 201);
    assert_eq!(shows(&bench, MARIA, BlobHash::of(&used)).await, StatusCode::OK);
    bench.close().await;
}

#[tokio::test]
async fn a_courier_bears_nothing_out_for_itself() {
    let (bench, anna, mut olle, used) = named().await;
    let (hash, id) = (BlobHash::of(&used), bench.tenant.id);
    let carries = async |origin: DeviceId, keypair: &Keypair| {
        let cargo = Cargo { protocol: PROTOCOL, load: Load::Photo(used.clone()) };
        let server = bench.tenant.console.keypair.public();
        let parcel = Parcel::seal(id, origin, keypair, &server, &cargo).unwrap();
        let parcels = vec![ParcelBytes(parcel.as_bytes().to_vec())];
        let body = to_wire(id, &CargoRequest { protocol: PROTOCOL, parcels });
        let kind = [("content-type", MEDIA_TYPE)];
        let (status, _, body) = asks(&bench, &olle, ("POST", "/api/v1/cargo"), &kind, &body).await;
        assert_eq!(status, 200);
        let reply: CargoReply = from_wire(id, &body).unwrap();
        assert_eq!(reply.outcomes, [Delivery::Taken {}]);
    };
    // Anna's own phone has sealed it, and then one that a restore has made the server forget.
    for (origin, keypair) in [
        (anna.sender.device, &anna.keypair),
        (DeviceId::from_bytes([0x77; 16]), &Keypair::from_seed(&[0x77; 32])),
    ] {
        carries(origin, keypair).await;
        assert_eq!(shows(&bench, MARIA, hash).await, StatusCode::OK);
        assert!(is_missing(&bench, &olle, hash).await);
        assert_eq!(reads(&bench, &olle, hash).await, 404);
        let forget = "DELETE FROM blob; DELETE FROM bearer; UPDATE photo SET here = 0;
                      UPDATE organisation SET photo_bytes = 0";
        write(&bench, forget.into()).await;
    }
    // It names it later, and has not brought it.
    carries(anna.sender.device, &anna.keypair).await;
    goes_south(&bench, &mut olle, OTHER, &used).await;
    assert!(is_missing(&bench, &olle, hash).await);
    assert_eq!(shows(&bench, SARA, hash).await, StatusCode::NOT_FOUND);
    bench.close().await;
}

#[tokio::test]
async fn a_photo_that_was_forgotten_is_nobodys_any_more() {
    let (bench, anna, _, used) = named().await;
    begins(&bench, &anna, &used, used.len()).await;
    write(&bench, "DELETE FROM photo".into()).await;
    let done = jobs::run(&bench.app, now_ms() + 31 * 86_400_000).await.unwrap();
    assert_eq!(done.forgotten, 1);
    let count = |c: &Connection| -> Result<u64, StoreError> {
        Ok(c.query_row("SELECT count(*) FROM bearer", [], |row| row.get(0))?)
    };
    assert_eq!(bench.app.store.read(count).await.unwrap(), 0);
    bench.close().await;
}

#[tokio::test]
async fn of_a_visit_that_no_page_can_show_the_first_rows_are_drawn_and_the_page_says_so() {
    let bench = Bench::new().await;
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let visit = VisitId::of_call(bench.tenant.id, CALL);
    let mut document = Document::new(bench.tenant.id, visit.into());
    anna.start(&mut document, CALL);
    let priced = |part: u64, minor| (0..1_000).map(|n| price(part * 1_000 + n, minor)).collect();
    let mut written = Vec::new();
    for part in 0..3 {
        written.push(anna.observe(&mut document, priced(part, 1_490), Vec::new(), Vec::new()));
    }
    anna.observe(&mut document, priced(2, 1_590), Vec::new(), written);
    anna.submit(&mut document);
    anna.push(&bench, &document, Vec::new()).await;
    let page = bench.get(MARIA, &format!("/visits/{visit}")).await;
    page.shows(&["2\u{202f}000 of each kind are drawn, 998 are not", "and 996 more"]);
    page.shows(&["Your review covers all of the visit, and the page shows a part"]);
    assert_eq!(page.body.matches("<tr id=\"price-").count(), 2_002, "two have a recommended price");
    bench.close().await;
}
