//! A server that asks for time or has no room: what the library makes of that, and that all the rest goes on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::{HeaderValue, header};
use endcap_mobile::{Client, ClientError, PhotoLook, SyncReport, WhyLeft};
use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::json;
use server::now_ms;
use server::store::{StoreError, accounts, uploads};
use sync_core::id::BlobHash;
use sync_core::model::people::Scope;
use sync_core::wire::{PullReply, from_wire, to_wire};
use tests::brand::{self, RITA, SAM};
use tests::chance::Chance;

use crate::keeping::problem;
use crate::office::{Folder, Office, RUNTIME, begin, copy, enrol, phone, sync};

const UPLOADS: &str = "/api/v1/uploads";

/// A picture of this side that looks like no other.
fn noise(side: u32, chance: &mut Chance) -> Vec<u8> {
    let image = RgbImage::from_fn(side, side, |_, _| image::Rgb(chance.bytes()));
    let mut file = std::io::Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

fn start(client: &Client, call: u8) -> String {
    client.start_call(brand::call(call).to_string()).unwrap()
}

/// Says something that only a long note holds.
fn say(client: &Client, visit: &str) {
    client.comment(visit.to_owned(), "It is wet here. ".repeat(120), None).unwrap();
}

/// Shows a photo as a screen of its own; how it looks.
fn show(client: &Client, visit: &str, image: Vec<u8>) -> PhotoLook {
    let photo = client.add_photo(image, None).unwrap();
    let look = photo.look.clone().unwrap();
    client.record(visit.to_owned(), Vec::new(), vec![photo]).unwrap();
    look
}

impl Office {
    fn sql(&self, statement: &'static str) {
        let run = self
            .app
            .store
            .write(move |tx| -> Result<(), StoreError> { Ok(tx.execute_batch(statement)?) });
        RUNTIME.block_on(run).unwrap();
    }

    /// How many bytes its photos may take.
    fn room(&self, quota: Option<u64>) {
        let org = self.tenant.org;
        let set = self.app.store.write(move |tx| uploads::set_room(tx, org, None, quota));
        RUNTIME.block_on(set).unwrap();
    }

    /// Every phone has pushed as much as it may for now.
    fn has_enough(&self) {
        let org = self.tenant.org;
        let read = self.app.store.read(move |db| accounts::devices(db, org));
        for row in RUNTIME.block_on(read).unwrap() {
            let in_an_hour = now_ms() + 3_600_000;
            self.app.limits.work.check_of(row.device, usize::MAX, in_an_hour).unwrap();
        }
    }

    fn photos(&self) -> u64 {
        self.count("SELECT count(*) FROM blob WHERE org = ?1")
    }
}

#[test]
fn a_server_that_asks_for_time_says_how_much_and_is_not_out_of_reach() {
    let (_folder, office, gate, [rita]) = begin("asks-for-time", [RITA]);
    start(&rita, 0);
    let waits = rita.outstanding().unwrap();

    for (status, said, expected) in [
        (429, Some("7"), Some(7)),
        (503, Some("0"), Some(0)),
        (507, Some("3600"), Some(3_600)),
        (503, Some("31536000"), Some(3_600)),
        (503, Some("18446744073709551616"), None),
        (503, Some("-1"), None),
        (503, Some("Fri, 31 Dec 1999 23:59:59 GMT"), None),
        (429, None, None),
    ] {
        gate.edit(move |passing| {
            if passing.request {
                return;
            }
            let problem = json!({ "type": "urn:endcap:problem:later", "title": "Not now" });
            (passing.status, passing.body) = (status, problem.to_string().into_bytes());
            if let Some(said) = said {
                passing.headers.insert(header::RETRY_AFTER, HeaderValue::from_static(said));
            }
        });
        match sync(&rita) {
            Err(ClientError::Busy { code, detail, retry_after_s }) => {
                assert_eq!((code.as_str(), detail.as_str()), ("later", "Not now"));
                assert_eq!(retry_after_s, expected, "{said:?}");
            }
            other => panic!("{status}: {other:?}"),
        }
        assert_eq!(rita.outstanding().unwrap(), waits);
    }
    // A proxy has words of its own.
    gate.edit(|passing| {
        if !passing.request {
            (passing.status, passing.body) = (503, b"<h1>Down for maintenance</h1>".to_vec());
        }
    });
    match sync(&rita) {
        Err(ClientError::Busy { code, retry_after_s: None, .. }) => assert_eq!(code, ""),
        other => panic!("{other:?}"),
    }
    for status in [408, 500, 502, 504] {
        gate.edit(move |passing| {
            if !passing.request {
                passing.status = status;
            }
        });
        let cut_off = sync(&rita);
        assert!(matches!(cut_off, Err(ClientError::Unreachable { .. })), "{status}: {cut_off:?}");
    }
    gate.leave();

    // The real server, while others take all of it.
    let requests = Arc::clone(&office.app.limits.requests);
    let all = u32::try_from(requests.available_permits()).unwrap();
    let taken = RUNTIME.block_on(requests.acquire_many_owned(all)).unwrap();
    match sync(&rita) {
        Err(error @ ClientError::Busy { .. }) => {
            assert!(error.sentence().starts_with("the server asks for time: "), "{error}");
            let ClientError::Busy { code, retry_after_s, .. } = error else { unreachable!() };
            assert_eq!((code.as_str(), retry_after_s), ("busy", Some(2)));
        }
        other => panic!("{other:?}"),
    }
    drop(taken);
    assert_eq!(sync(&rita).unwrap().pushed, 1);
    assert!(rita.outstanding().unwrap().documents.is_empty());
    drop(gate);
    office.close();
}

#[test]
fn photos_without_room_wait_and_nothing_else_does() {
    let (_folder, office, gate, [rita, sam]) = begin("no-room", [RITA, SAM]);

    // A large one is the first, and there is room for the small one alone.
    let mut chance = Chance::new(11);
    let visit = start(&rita, 0);
    let large = show(&rita, &visit, noise(300, &mut chance));
    let larger = show(&rita, &visit, noise(310, &mut chance));
    let small = show(&rita, &visit, noise(60, &mut chance));
    assert!(small.bytes < large.bytes && large.bytes < larger.bytes);
    office.room(Some(u64::from(small.bytes)));
    start(&sam, 0);
    sync(&sam).unwrap();
    let announced = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&announced);
    gate.edit(move |passing| {
        let begins = passing.request && passing.path == UPLOADS;
        count.fetch_add(u32::from(begins), Ordering::Relaxed);
    });
    let report = sync(&rita).unwrap();
    assert_eq!((report.pushed, report.photos, report.photos_without_room), (4, 1, 2));
    assert!(report.pulled > 0, "what others have written came");
    assert_eq!(announced.load(Ordering::Relaxed), 2, "what cannot fit is not asked for");
    let waits = rita.outstanding().unwrap();
    assert!(waits.documents.is_empty());
    assert_eq!((waits.photos, waits.photo_bytes), (2, u64::from(large.bytes + larger.bytes)));
    assert_eq!(office.photos(), 1);

    // It stays so: work goes on, and so does what needs a whole sync.
    say(&rita, &visit);
    let report = sync(&rita).unwrap();
    assert_eq!((report.pushed, report.photos, report.photos_without_room), (1, 0, 2));
    RUNTIME.block_on(Arc::clone(&rita).change_key()).unwrap();

    // Room for one of them, then for all.
    office.room(Some(u64::from(small.bytes + large.bytes)));
    let report = sync(&rita).unwrap();
    assert_eq!((report.photos, report.photos_without_room), (1, 1));
    office.room(None);
    let report = sync(&rita).unwrap();
    assert_eq!((report.photos, report.photos_without_room), (1, 0));
    assert_eq!((rita.outstanding().unwrap().photos, office.photos()), (0, 3));
    drop(gate);
    office.close();
}

#[test]
fn a_full_disk_of_the_server_is_said_and_what_others_wrote_comes() {
    let (_folder, office, gate, [rita, sam]) = begin("server-full", [RITA, SAM]);
    let visit = start(&sam, 0);
    say(&sam, &visit);
    sync(&sam).unwrap();

    start(&rita, 0);
    for _ in 0..20 {
        say(&rita, &visit); // more than free pages hold
    }
    let waits = rita.outstanding().unwrap();
    assert_eq!(rita.visit(visit.clone()).unwrap().thread.len(), 20);
    office.sql("PRAGMA max_page_count = 1"); // SQLite takes the size that it has
    match sync(&rita) {
        Err(ClientError::Busy { code, retry_after_s, .. }) => {
            assert_eq!((code.as_str(), retry_after_s), ("disk_full", Some(60)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rita.outstanding().unwrap(), waits);
    assert_eq!(rita.visit(visit.clone()).unwrap().thread.len(), 21, "his words came");
    office.sql("PRAGMA max_page_count = 1073741823");
    assert_eq!(sync(&rita).unwrap().pushed, 21);
    assert!(rita.outstanding().unwrap().documents.is_empty());
    drop(gate);
    office.close();
}

#[test]
fn a_phone_that_has_pushed_enough_for_now_hears_what_others_wrote() {
    let (_folder, office, gate, [rita, sam]) = begin("enough", [RITA, SAM]);
    let visit = start(&sam, 0);
    say(&sam, &visit);
    sync(&sam).unwrap();

    start(&rita, 0);
    for _ in 0..40 {
        say(&rita, &visit); // more than it may say in many seconds
    }
    let waits = rita.outstanding().unwrap();
    office.has_enough();
    match sync(&rita) {
        Err(ClientError::Busy { code, retry_after_s: Some(1..), .. }) => {
            assert_eq!(code, "rate_limited");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rita.outstanding().unwrap(), waits);
    assert_eq!(rita.visit(visit.clone()).unwrap().thread.len(), 41, "his words came");
    office.app.limits.work.forget();
    assert_eq!(sync(&rita).unwrap().pushed, 41);
    assert!(rita.outstanding().unwrap().documents.is_empty());

    // Nor when too much of others' waits to be written.
    say(&sam, &visit);
    sync(&sam).unwrap();
    say(&rita, &visit);
    gate.edit(|passing| {
        if (passing.path, passing.request) == ("/api/v1/push", false) {
            problem(passing, 503, "busy");
        }
    });
    match sync(&rita) {
        Err(ClientError::Busy { code, .. }) => assert_eq!(code, "busy"),
        other => panic!("{other:?}"),
    }
    assert_eq!(rita.visit(visit.clone()).unwrap().thread.len(), 43, "his words came");
    gate.leave();
    sync(&rita).unwrap();
    assert!(rita.outstanding().unwrap().documents.is_empty());
    drop(gate);
    office.close();
}

#[test]
fn a_sync_says_that_not_all_is_here_yet() {
    let (_folder, office, gate, [rita, sam]) = begin("incomplete", [RITA, SAM]);
    sync(&rita).unwrap();
    let visit = start(&sam, 0);
    sync(&sam).unwrap();
    // A page lacks what it should have, and the server has no time to look for what that is.
    gate.edit(|passing| match (passing.path, passing.request) {
        ("/api/v1/pull", false) => {
            let mut page: PullReply = from_wire(brand::ORG, &passing.body).unwrap();
            page.groups.clear();
            passing.body = to_wire(brand::ORG, &page);
        }
        ("/api/v1/repair", false) => problem(passing, 503, "busy"),
        _ => {}
    });
    let report = sync(&rita).unwrap();
    assert!(report.incomplete && rita.visit(visit.clone()).is_err(), "{report:?}");
    gate.leave();
    let report = sync(&rita).unwrap();
    assert_eq!((report.incomplete, report.mended), (false, 1));
    assert_eq!(rita.visit(visit).unwrap().thread.len(), 0);
    drop(gate);
    office.close();
}

#[test]
fn a_sync_names_the_outlets_that_went_out_of_sight_and_why() {
    let (_folder, office, gate, [rita, sam]) = begin("left", [RITA, SAM]);
    let left = |client| {
        let report = sync(client).unwrap();
        report.left.into_iter().map(|outlet| (outlet.id, outlet.why)).collect::<Vec<_>>()
    };
    assert_eq!((left(&rita), left(&sam)), (vec![], vec![]));
    let visit = start(&rita, 0);
    office.writes(brand::outlet_record(1, 2, 2));
    let first = brand::outlet(1).to_string();
    assert_eq!(left(&rita), [(first.clone(), WhyLeft::Moved)]);
    assert_eq!(left(&sam), [(first, WhyLeft::Moved)]);
    assert!(rita.outstanding().unwrap().documents.is_empty(), "her visit there was sent");
    assert!(rita.visit(visit).is_ok(), "a visit keeps its audience");
    let elsewhere = Scope::Territory(brand::territory(2));
    office.writes(brand::person_record(RITA, elsewhere, true));
    let others = left(&rita);
    assert!(!others.is_empty() && others.iter().all(|(_, why)| *why == WhyLeft::Scope));
    drop(gate);
    office.close();
}

#[test]
fn a_copied_folder_is_told_so() {
    let folder = Folder::new("copied");
    let office = Office::found(&folder.0.join("server"), &[]);
    let (original, copied) = (folder.0.join("rita"), folder.0.join("copy"));
    let rita = phone(&original);
    enrol(&rita, &office.url, &office.code(RITA)).unwrap();
    sync(&rita).unwrap();
    drop(rita);
    copy(&original, &copied);
    let [rita, other] = [&original, &copied].map(|folder| phone(folder));
    let visit = start(&rita, 0);
    assert!(!sync(&rita).unwrap().copied);
    let another = start(&other, 4);
    // The first push of a copy looks like one whose reply was lost.
    assert!(!sync(&other).unwrap().copied);
    say(&rita, &visit);
    assert!(!sync(&rita).unwrap().copied);
    // That of both which pushes again after the other is told, and then each.
    for (client, visit) in [(&other, &another), (&rita, &visit), (&other, &another)] {
        say(client, visit);
        assert!(sync(client).unwrap().copied);
    }
    office.close();
}

#[test]
fn what_is_captured_while_photos_go_does_not_wait_for_them() {
    let (_folder, office, gate, [rita]) = begin("photos-go", [RITA]);
    let mut chance = Chance::new(13);
    let visit = start(&rita, 0);
    for side in [40, 50, 60] {
        show(&rita, &visit, noise(side, &mut chance));
    }
    let asked = Arc::new(Mutex::new(Vec::<String>::new()));
    let (phone, paths, more) = (Arc::clone(&rita), Arc::clone(&asked), noise(70, &mut chance));
    gate.edit(move |passing| {
        if !passing.request {
            return;
        }
        let mut paths = paths.lock().unwrap();
        // The person goes on as the first photo goes: says something, and shows one more.
        if passing.path == UPLOADS && !paths.iter().any(|path| path == UPLOADS) {
            say(&phone, &visit);
            show(&phone, &visit, more.clone());
        }
        paths.push(passing.path.to_string());
    });
    let report = sync(&rita).unwrap();
    assert_eq!((report.pushed, report.photos), (6, 4), "all of it in one sync");
    assert!(rita.outstanding().unwrap().documents.is_empty());
    let asked = asked.lock().unwrap();
    let kinds = asked.iter().filter_map(|path| match &path[..] {
        "/api/v1/push" => Some("push"),
        UPLOADS => Some("photo"),
        _ => None,
    });
    let order = ["push", "photo", "push", "photo", "photo", "photo"];
    assert_eq!(kinds.collect::<Vec<_>>(), order);
    drop(gate);
    office.close();
}

#[test]
fn a_photo_that_is_refused_is_told_and_not_sent_again() {
    let (_folder, office, gate, [rita]) = begin("refused-photo", [RITA]);
    let mut chance = Chance::new(14);
    let visit = start(&rita, 0);
    let photo = rita.add_photo(noise(40, &mut chance), None).unwrap();
    let hash: BlobHash = photo.hash.parse().unwrap();
    rita.record(visit.clone(), Vec::new(), vec![photo]).unwrap();
    show(&rita, &visit, noise(50, &mut chance));
    // The server has died of it twice.
    let org = office.tenant.org;
    for _ in 0..uploads::DEATHS_MAX {
        let store = &office.app.store;
        RUNTIME
            .block_on(store.write(move |tx| uploads::decoding(tx, org, hash, now_ms())))
            .unwrap();
        RUNTIME.block_on(store.write(uploads::died)).unwrap();
    }
    let begun = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&begun);
    gate.edit(move |passing| {
        let begins = passing.request && passing.path == UPLOADS;
        count.fetch_add(u32::from(begins), Ordering::Relaxed);
    });
    let report = sync(&rita).unwrap();
    assert_eq!(report.photos, 1, "the other one is sent");
    let told = |report: &SyncReport| {
        let [refused] = &report.refused_photos[..] else { panic!("{report:?}") };
        assert_eq!(refused.hash, hash.to_string());
        assert!(refused.why.contains("the server stopped twice"), "{}", refused.why);
    };
    told(&report);
    assert_eq!(begun.swap(0, Ordering::Relaxed), 2);
    say(&rita, &visit);
    let report = sync(&rita).unwrap();
    assert_eq!(report.pushed, 1, "everything else goes on");
    told(&report);
    assert_eq!(begun.load(Ordering::Relaxed), 0, "it is not sent again");
    assert_eq!(rita.outstanding().unwrap().photos, 1);
    drop(gate);
    office.close();
}

#[test]
fn photos_are_made_as_set_also_after_a_restart() {
    let folder = Folder::new("photo-setting");
    let office = Office::found(&folder.0.join("server"), &[]);
    let rita = phone(&folder.0.join("rita"));
    let mut chance = Chance::new(12);
    let image = noise(700, &mut chance);
    let made = |client: &Client, image: &[u8]| {
        let look = client.add_photo(image.to_vec(), None).unwrap().look.unwrap();
        (look.width, look.height, look.bytes)
    };
    for (side_pixels, quality, field) in [
        (319, 80, "side_pixels"),
        (4_097, 80, "side_pixels"),
        (1_600, 29, "quality"),
        (1_600, 101, "quality"),
    ] {
        match rita.photo_setting(side_pixels, quality) {
            Err(ClientError::Invalid { field: wrong, .. }) => assert_eq!(wrong, field),
            other => panic!("{other:?}"),
        }
    }
    let plain = made(&rita, &image);
    assert_eq!((plain.0, plain.1), (700, 700), "1,600 pixels until something is set");
    rita.photo_setting(4_096, 100).unwrap();
    let fine = made(&rita, &image);
    rita.photo_setting(400, 30).unwrap();
    let coarse = made(&rita, &image);
    assert_eq!((coarse.0, coarse.1), (400, 400));
    rita.photo_setting(400, 90).unwrap();
    let better = made(&rita, &image);
    assert!(coarse.2 < better.2 && better.2 < plain.2 && plain.2 < fine.2);

    // The app is started anew, the folder is enrolled, and what is sent is as it was set.
    drop(rita);
    let rita = phone(&folder.0.join("rita"));
    assert_eq!(made(&rita, &image), better);
    enrol(&rita, &office.url, &office.code(RITA)).unwrap();
    sync(&rita).unwrap();
    let sent = show(&rita, &start(&rita, 0), noise(900, &mut chance));
    assert_eq!((sent.width, sent.height), (400, 400));
    assert_eq!(sync(&rita).unwrap().photos, 1);
    assert_eq!(office.count("SELECT width FROM blob WHERE org = ?1"), 400);
    assert_eq!(office.count("SELECT bytes FROM blob WHERE org = ?1"), u64::from(sent.bytes));
    office.close();
}
