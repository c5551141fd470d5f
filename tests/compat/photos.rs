//! Photos that the server has and forgets, and those that nothing names any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use endcap_mobile::{Client, ClientError};
use image::{DynamicImage, ImageFormat, RgbImage};
use sync_core::wire::{PullReply, from_wire, to_wire};
use tests::brand::{self, ORG, RITA, SUE};
use tests::live;

use crate::keeping::problem;
use crate::office::{Gate, Office, Passing, RUNTIME, begin, enrol, sync};

const UPLOADS: &str = "/api/v1/uploads";
const DAY_MS: i64 = 24 * 3_600_000;

fn shade(red: u8) -> Vec<u8> {
    let image = RgbImage::from_pixel(64, 48, image::Rgb([red, 90, 10]));
    let mut file = std::io::Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// Shows a photo in a call: the visit and the photo's hash.
fn shows(client: &Client, call: u8) -> (String, String) {
    let visit = client.start_call(brand::call(call).to_string()).unwrap();
    let photo = client.add_photo(shade(call), None).unwrap();
    client.record(visit.clone(), Vec::new(), vec![photo.clone()]).unwrap();
    (visit, photo.hash)
}

fn holds(client: &Client, photo: &str) -> bool {
    client.photo(photo.to_owned()).unwrap().is_some()
}

/// From now on the server has no room for photos.
fn has_no_room(gate: &Gate) {
    gate.edit(|passing| {
        if (passing.path, passing.request) == (UPLOADS, false) {
            problem(passing, 507, "quota_full");
        }
    });
}

/// A server says in a page that its clock is so many days ahead.
fn is_later(passing: &mut Passing<'_>, days: i64) {
    let mut page: PullReply = from_wire(ORG, &passing.body).unwrap();
    page.server_ms += days * DAY_MS;
    passing.body = to_wire(ORG, &page);
}

/// How many uploads a sync begins, at a server whose clock is ahead by so many days.
fn uploads_after(client: &Arc<Client>, gate: &Gate, days: i64) -> u32 {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    gate.edit(move |passing| match (passing.path, passing.request) {
        (UPLOADS, true) => drop(counted.fetch_add(1, Ordering::Relaxed)),
        ("/api/v1/pull", false) => is_later(passing, days),
        _ => {}
    });
    sync(client).unwrap();
    count.load(Ordering::Relaxed)
}

impl Office {
    fn withdraws_rita(&self) {
        RUNTIME.block_on(live::withdraw(&self.app, &self.tenant, RITA));
    }
}

#[test]
fn a_photo_of_what_was_given_up_waits_no_more_and_goes() {
    let (_folder, office, gate, [rita]) = begin("given-up", [RITA]);
    let [(one, sent), (other, unsent)] = [0, 4].map(|call| shows(&rita, call));
    office.withdraws_rita();
    enrol(&rita, &gate.url, &office.code(RITA)).unwrap();
    has_no_room(&gate);
    let report = sync(&rita).unwrap();
    assert_eq!((report.refused, report.photos_without_room), (4, 2), "{report:?}");
    RUNTIME.block_on(office.app.decide(&office.tenant, 2, false, SUE, |_| Ok(()))).unwrap();
    assert_eq!(uploads_after(&rita, &gate, 0), 2, "the one is taken and the other is not");
    assert_eq!(rita.outstanding().unwrap().photos, 1);

    for visit in [one, other] {
        rita.give_up(format!("visit/{visit}")).unwrap();
    }
    assert_eq!(uploads_after(&rita, &gate, 0), 1, "what the server has not is offered once more");
    assert_eq!(rita.outstanding().unwrap().photos, 0);
    assert_eq!([&sent, &unsent].map(|photo| holds(&rita, photo)), [false, true]);
    // A colleague may bring what names it: it is offered once a day, for a month.
    for (days, offered, stays) in [(0, 0, true), (29, 1, true), (29, 0, true), (31, 0, false)] {
        assert_eq!(uploads_after(&rita, &gate, days), offered, "{days} days");
        assert_eq!(holds(&rita, &unsent), stays, "{days} days");
    }
    drop((rita, gate));
    office.close();
}

#[test]
fn a_photo_of_what_went_out_of_sight_is_sent_first_and_goes_then() {
    let (_folder, office, gate, [rita]) = begin("out-of-sight", [RITA]);
    let (visit, photo) = shows(&rita, 0);
    has_no_room(&gate);
    assert_eq!(sync(&rita).unwrap().pushed, 2);
    office.moves(RITA, 2);
    sync(&rita).unwrap();
    assert!(matches!(rita.visit(visit), Err(ClientError::NotHere { .. })));
    assert_eq!((rita.outstanding().unwrap().photos, holds(&rita, &photo)), (1, true));
    assert_eq!(uploads_after(&rita, &gate, 0), 1);
    assert_eq!(rita.outstanding().unwrap().photos, 0);
    assert_eq!(office.count("SELECT count(*) FROM blob WHERE org = ?1"), 1);
    assert_eq!(uploads_after(&rita, &gate, 0), 0);
    assert!(!holds(&rita, &photo));
    drop((rita, gate));
    office.close();
}

#[test]
fn a_photo_that_was_never_sent_waits_however_long_and_before_others() {
    let (_folder, office, gate, [rita]) = begin("never-sent", [RITA]);
    let (visit, photo) = shows(&rita, 0);
    has_no_room(&gate);
    sync(&rita).unwrap();
    office.moves(RITA, 2);
    sync(&rita).unwrap();
    assert!(matches!(rita.visit(visit), Err(ClientError::NotHere { .. })));
    let visit = rita.start_visit(brand::outlet(3).to_string(), 1).unwrap();
    let other = rita.add_photo(shade(9), None).unwrap();
    rita.record(visit.clone(), Vec::new(), vec![other.clone()]).unwrap();
    rita.submit(visit).unwrap();

    // More than a month later there is room for one.
    let taken = AtomicU32::new(0);
    gate.edit(move |passing| match (passing.path, passing.request) {
        ("/api/v1/pull", false) => is_later(passing, 31),
        (UPLOADS, false) if taken.fetch_add(1, Ordering::Relaxed) > 0 => {
            problem(passing, 507, "quota_full");
        }
        _ => {}
    });
    let report = sync(&rita).unwrap();
    assert_eq!((report.photos, report.photos_without_room), (1, 1), "{report:?}");
    has_no_room(&gate);
    assert_eq!(sync(&rita).unwrap().photos_without_room, 1);
    assert_eq!([&photo, &other.hash].map(|photo| holds(&rita, photo)), [false, true]);
    drop((rita, gate));
    office.close();
}

#[test]
fn a_photo_that_the_server_does_not_take_goes_a_month_after_it_said_so_without_its_visit() {
    let (_folder, office, gate, [rita]) = begin("not-taken", [RITA]);
    let (_, photo) = shows(&rita, 0);
    let days = Arc::new(AtomicI64::new(0));
    let later = Arc::clone(&days);
    gate.edit(move |passing| match (passing.path, passing.request) {
        ("/api/v1/pull", false) => is_later(passing, later.load(Ordering::Relaxed)),
        (UPLOADS, false) => problem(passing, 422, "not_an_image"),
        _ => {}
    });
    assert_eq!(sync(&rita).unwrap().refused_photos.len(), 1);
    office.moves(RITA, 2);
    for (day, is_here) in [(1, true), (32, true), (61, true), (63, false)] {
        days.store(day, Ordering::Relaxed);
        sync(&rita).unwrap();
        sync(&rita).unwrap();
        assert_eq!(holds(&rita, &photo), is_here, "{day}");
    }
    drop((rita, gate));
    office.close();
}

#[test]
fn a_photo_that_a_restored_server_does_not_know_of_yet_is_offered_again() {
    let (_folder, office, gate, [rita]) = begin("not-yet", [RITA]);
    let (_, photo) = shows(&rita, 0);
    has_no_room(&gate);
    sync(&rita).unwrap();
    office.moves(RITA, 2);
    sync(&rita).unwrap();
    // A colleague who has the visit has not brought it back yet, more than a month after it left this phone.
    let days = Arc::new(AtomicI64::new(40));
    let (later, offered) = (Arc::clone(&days), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&offered);
    gate.edit(move |passing| match (passing.path, passing.request) {
        ("/api/v1/pull", false) => is_later(passing, later.load(Ordering::Relaxed)),
        (UPLOADS, true) => drop(counted.fetch_add(1, Ordering::Relaxed)),
        (UPLOADS, false) => problem(passing, 403, "not_referenced"),
        _ => {}
    });
    for (day, offers) in [(40, 1), (40, 1), (42, 2), (69, 3)] {
        days.store(day, Ordering::Relaxed);
        let report = sync(&rita).unwrap();
        assert_eq!((report.photos, rita.outstanding().unwrap().photos), (0, 0), "{report:?}");
        assert_eq!(offered.load(Ordering::Relaxed), offers, "{day}");
        assert!(holds(&rita, &photo), "{day}");
    }
    assert_eq!(uploads_after(&rita, &gate, 71), 0, "a month in which nobody brought it");
    assert!(!holds(&rita, &photo));
    drop((rita, gate));
    office.close();
}

#[test]
fn a_begun_photo_at_which_the_server_fails_stands_in_no_others_way() {
    let (_folder, office, gate, [rita]) = begin("fails", [RITA]);
    let (_, failing) = shows(&rita, 0);
    let of_it = format!("{UPLOADS}/{failing}");
    let begun = Arc::new(AtomicU32::new(0));
    let (counted, path) = (Arc::clone(&begun), of_it.clone());
    gate.edit(move |passing| match (passing.path, passing.request) {
        (UPLOADS, true) => drop(counted.fetch_add(1, Ordering::Relaxed)),
        (asked, false) if asked == path => problem(passing, 500, "internal"),
        _ => {}
    });
    let failed = sync(&rita).unwrap_err();
    assert!(matches!(&failed, ClientError::Busy { code, .. } if code == "internal"), "{failed:?}");
    // It goes on where it was: asked how far it is, the server fails once more, and then says so when it is begun.
    let (_, other) = shows(&rita, 4);
    gate.edit(move |passing| match (passing.path, passing.request) {
        (asked, false) if asked == of_it => problem(passing, 500, "internal"),
        (UPLOADS, false) if passing.status == 200 => problem(passing, 500, "internal"),
        _ => {}
    });
    let failed = sync(&rita).unwrap_err();
    assert!(matches!(&failed, ClientError::Busy { code, .. } if code == "internal"), "{failed:?}");
    assert_eq!((begun.load(Ordering::Relaxed), rita.outstanding().unwrap().photos), (1, 1));
    assert_eq!(office.count("SELECT count(*) FROM blob WHERE org = ?1"), 2);
    gate.edit(|_| {});
    assert_eq!(sync(&rita).unwrap().photos, 1);
    assert_eq!([&failing, &other].map(|photo| holds(&rita, photo)), [true, true]);
    drop((rita, gate));
    office.close();
}

#[test]
fn what_is_begun_goes_on_although_no_more_may_begin() {
    let (_folder, office, gate, [rita]) = begin("open", [RITA]);
    shows(&rita, 0);
    gate.edit(|passing| match (passing.path == UPLOADS, passing.request) {
        (false, true) if passing.path.starts_with(UPLOADS) => {
            passing.body.clear();
            passing.headers.remove("upload-checksum");
        }
        (false, false) if passing.path.starts_with(UPLOADS) => problem(passing, 500, "internal"),
        _ => {}
    });
    sync(&rita).unwrap_err();
    shows(&rita, 4);
    gate.edit(|passing| {
        if (passing.path, passing.request) == (UPLOADS, false) {
            problem(passing, 429, "uploads_open");
        }
    });
    let failed = sync(&rita).unwrap_err();
    assert!(matches!(&failed, ClientError::Busy { code, .. } if code == "uploads_open"));
    assert_eq!(rita.outstanding().unwrap().photos, 1, "the one that was begun has gone on");
    drop((rita, gate));
    office.close();
}

#[test]
fn a_folder_is_enrolled_once_at_a_time() {
    let (_folder, office, gate, [rita]) = begin("twice", [RITA]);
    office.withdraws_rita();
    let code = office.code(RITA);
    let enrols = || Arc::clone(&rita).enrol(gate.url.clone(), code.clone(), "phone".into());
    let (one, other) = RUNTIME.block_on(async { tokio::join!(enrols(), enrols()) });
    one.unwrap();
    assert!(matches!(other, Err(ClientError::Syncing)), "{other:?}");
    shows(&rita, 0);
    let report = sync(&rita).unwrap();
    assert_eq!((report.pushed, report.photos), (2, 1), "{report:?}");
    drop((rita, gate));
    office.close();
}

#[test]
fn a_photo_that_is_too_large_for_the_server_stops_nothing() {
    let (_folder, office, gate, [rita]) = begin("too-large", [RITA]);
    let (_, photo) = shows(&rita, 0);
    gate.edit(|passing| {
        if (passing.path, passing.request) == (UPLOADS, false) {
            problem(passing, 413, "too_large");
        }
    });
    let refused = sync(&rita).unwrap().refused_photos;
    assert_eq!(refused.iter().map(|photo| &photo.hash).collect::<Vec<_>>(), [&photo]);
    assert_eq!(uploads_after(&rita, &gate, 6), 0, "it is not sent again for a week");
    assert_eq!(uploads_after(&rita, &gate, 8), 1);
    assert_eq!(rita.outstanding().unwrap().photos, 0);
    drop((rita, gate));
    office.close();
}
