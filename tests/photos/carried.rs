//! Photos of a phone that never comes back, brought by colleagues.

use std::path::Path;
use std::sync::Arc;

use endcap_mobile::{Client, MeetingReport};
use rusqlite::Connection;
use server::blobs::Rendition;
use sync_core::id::DeviceId;
use sync_core::model::catalogue::{Device, Record};
use tests::brand::{self, RITA, SAM, SVEN};
use tests::host::{Host, begin, photo, record, well};

use crate::{ENDCAP, here, large};

/// Two phones meet on a line that takes so many bytes at a time.
fn meet(a: &Arc<Client>, b: &Arc<Client>, piece: usize) -> [MeetingReport; 2] {
    let sides = [a, b].map(|client| Arc::clone(client).meet().expect("it meets"));
    let mut lines = [sides[1].begin(), sides[0].begin()];
    while lines.iter().any(|line| !line.is_empty()) {
        for to in [0, 1] {
            let most = lines[to].len().min(piece);
            let bytes: Vec<u8> = lines[to].drain(..most).collect();
            lines[1 - to].extend(sides[to].hear(bytes).expect("it is stored"));
        }
    }
    sides.map(|side| side.report().expect("it reads"))
}

/// Every file of a photo that the server has.
fn files(data: &Path, hash: &str) -> [Option<Vec<u8>>; 3] {
    let folder = data.join("blobs").join(brand::ORG.to_string()).join(&hash[..2]);
    Rendition::ALL.map(|rendition| {
        std::fs::read(folder.join(match rendition {
            Rendition::Original => hash.to_owned(),
            Rendition::Preview => format!("{hash}.preview.jpg"),
            Rendition::Thumbnail => format!("{hash}.thumb.jpg"),
        }))
        .ok()
    })
}

#[test]
fn photos_of_a_phone_that_dies_come_with_a_colleague() {
    let mut host = Host::new(ENDCAP);
    let (rita, sam, sven) = (host.phone(RITA), host.phone(SAM), host.phone(SVEN));
    for phone in [&rita, &sam] {
        host.sync(phone); // each knows the others
    }
    let visit = begin(&rita, 0);
    let taken = [photo(&rita, 1), photo(&rita, 2)];
    for photo in taken.iter().chain([&large(&rita, 3)]) {
        record(&rita, &visit, true, vec![photo.clone()]);
    }
    let taken = taken.map(|photo| photo.hash);
    rita.submit(visit.clone()).expect("it is submitted");
    let file = |hash: &String| rita.photo(hash.clone()).expect("it reads").expect("it is here");
    let bytes = taken.each_ref().map(file);

    let [gave, took] = meet(&rita, &sven, 1_000);
    assert_eq!((gave.given, gave.complete, gave.declined.len()), (3, true, 0));
    assert_eq!((took.taken, took.complete), (3, true));
    let told = rita.outstanding().expect("it reads");
    assert_eq!((told.photos, told.photos_carried, told.documents[0].carried), (3, 2, 5));
    assert_eq!(meet(&rita, &sven, usize::MAX).map(|report| report.taken), [0, 0]);
    // One hands on what it carries, and so two bring it.
    assert_eq!(meet(&sven, &sam, 100).map(|report| report.taken), [0, 3]);
    drop(rita);

    assert_eq!(host.sync(&sven).delivered, 3);
    assert_eq!(host.sync(&sam).delivered, 3, "it is here already");
    for phone in [&sam, &sven] {
        assert_eq!(phone.outstanding().expect("it reads").cargo, 0);
    }
    let shown = sam.visit(visit).expect("he sees it");
    let photos: Vec<&String> = shown.recordings.iter().flat_map(|r| &r.photos).collect();
    assert_eq!((photos.len(), shown.status.as_str()), (3, "submitted"));
    host.end("-TERM");
    let mut both = taken.to_vec();
    both.sort();
    assert_eq!(here(&host.data()), both);
    for (hash, bytes) in taken.iter().zip(bytes) {
        let [thumbnail, preview, original] = files(&host.data(), hash);
        assert_eq!(original, Some(bytes));
        for drawn in [thumbnail, preview] {
            image::load_from_memory(&drawn.expect("it is drawn")).expect("a picture");
        }
    }
    well(host.check("data"));
}

#[test]
fn photos_of_refused_work_wait_with_the_courier_until_somebody_decides() {
    let mut host = Host::new(ENDCAP);
    let (rita, sven) = (host.phone(RITA), host.phone(SVEN));
    host.sync(&rita);
    let visit = begin(&rita, 0);
    let taken = photo(&rita, 1);
    record(&rita, &visit, true, vec![taken.clone()]);
    meet(&rita, &sven, usize::MAX);
    drop(rita);
    host.end("-TERM");
    let db = Connection::open(host.data().join("endcap.db")).expect("it opens");
    let of_rita = "SELECT device, key FROM device WHERE user = ?1";
    let (id, key) = db
        .query_row(of_rita, [RITA.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("her phone");
    drop(db);
    let id = DeviceId::from_bytes(id);
    host.write(vec![Record::Device(Device { id, user: RITA, key, revoked: true, lost_ms: None })]);
    host.start();
    for _ in 0..2 {
        host.sync(&sven);
        assert_eq!(sven.outstanding().expect("it reads").cargo, 1, "the photo");
    }
    host.end("-TERM");
    assert_eq!(here(&host.data()), [""; 0]);
    host.decide(1, true);
    host.start();
    assert_eq!(host.sync(&sven).delivered, 1);
    assert_eq!(sven.outstanding().expect("it reads").cargo, 0);
    host.end("-TERM");
    assert_eq!(here(&host.data()), [taken.hash]);
}
