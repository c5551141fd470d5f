//! A line that is cut, and a server that is killed, in the middle of a photo.

use std::sync::Arc;

use endcap_mobile::Phase;
use tests::brand::RITA;
use tests::host::{Host, begin, kill, record};
use tests::link::{End, Link, Point, Way, What};

use crate::{ENDCAP, here, large, sync_until};

/// What a cut may cost, and what the heads of the requests after it may.
const CUT_BYTES: u64 = 256 * 1024;
const HEADS_BYTES: u64 = 8 * 1024;

#[test]
fn a_cut_costs_no_more_than_a_piece() {
    let mut host = Host::new(ENDCAP);
    let link = Link::start(host.address(), 1);
    let phone = host.phone_by("rita", RITA, link.address());
    let visit = begin(&phone, 0);
    let photo = large(&phone, 1);
    let bytes =
        phone.photo(photo.hash.clone()).expect("it reads").expect("it is here").len() as u64;
    assert!(bytes > 6 * CUT_BYTES, "{bytes} bytes are too few for pieces");
    record(&phone, &visit, true, vec![photo.clone()]);
    // The documents are there; what passes from now on is the photo.
    sync_until(&host, &phone, Phase::Pull, 0);
    let before = link.carried().1;

    let sync = |host: &Host| host.runtime.block_on(Arc::clone(&phone).sync(None, None));
    let mut cuts = 0;
    for (permille, kills) in
        [(1, false), (300, false), (990, false), (500, true), (999, true), (700, false)]
    {
        let point = Point { what: What::Photo, way: Way::Up, after: u32::from(cuts > 0), permille };
        match kills {
            false => link.trap(point, End::Cut, || {}),
            true => {
                let server = host.process().expect("it runs");
                link.trap(point, End::Cut, move || kill(&server));
            }
        }
        assert!(sync(&host).is_err());
        assert!(link.untrap(), "the photo was there before the cut");
        cuts += 1;
        if kills {
            host.bury();
            host.start();
        }
    }
    let report = sync(&host).expect("it syncs");
    assert_eq!((report.photos, link.resumed() > 0), (1, true));
    let carried = link.carried().1 - before;
    // The sync before and after a photo, each time, is a pull and heads.
    let most = bytes + cuts * (CUT_BYTES + HEADS_BYTES) + HEADS_BYTES;
    assert!(carried <= most, "{carried} bytes passed for {bytes}, with {cuts} cuts");
    host.end("-TERM");
    assert_eq!(here(&host.data()), [photo.hash]);
}

#[test]
fn a_photo_that_a_phone_cannot_read_keeps_no_other_back() {
    let mut host = Host::new(ENDCAP);
    let phone = host.phone_by("rita", RITA, host.address());
    let submitted = begin(&phone, 0);
    let lost = large(&phone, 1);
    record(&phone, &submitted, true, vec![lost.clone()]);
    phone.submit(submitted).expect("it is submitted");
    let draft = begin(&phone, 1);
    let sound = tests::host::photo(&phone, 2);
    record(&phone, &draft, true, vec![sound.clone()]);
    // The first that is to be sent.
    let files = std::fs::read_dir(host.folder.join("rita/photos")).expect("the folder reads");
    let files = files.map(|file| file.expect("it reads").path());
    let length = |path: &std::path::PathBuf| path.metadata().expect("it is there").len();
    let largest = files.max_by_key(length).expect("there are two");
    let mut bytes = std::fs::read(&largest).expect("it reads");
    bytes[100] ^= 1;
    std::fs::write(&largest, bytes).expect("it is written");
    let report = host.sync(&phone);
    assert_eq!((report.photos, report.unreadable), (1, 1));
    let told = phone.outstanding().expect("it reads");
    assert_eq!((told.photos, told.unreadable.len(), largest.exists()), (0, 1, false));
    let again = host.sync(&phone);
    assert_eq!((again.photos, again.unreadable), (0, 1), "until somebody dismisses it");
    phone.forget_unreadable().expect("it is dismissed");
    assert_eq!(host.sync(&phone).unreadable, 0);
    host.end("-TERM");
    assert_eq!(here(&host.data()), [sound.hash]);
}

#[test]
fn documents_go_first_and_photos_in_the_order_in_which_they_are_needed() {
    let mut host = Host::new(ENDCAP);
    let phone = host.phone(RITA);
    let draft = begin(&phone, 0);
    let first = tests::host::photo(&phone, 1);
    record(&phone, &draft, true, vec![first.clone()]);
    let submitted = begin(&phone, 1);
    let second = tests::host::photo(&phone, 2);
    record(&phone, &submitted, true, vec![second.clone()]);
    phone.submit(submitted).expect("it is submitted");
    // Both visits are there before a byte of a photo; then the one that somebody waits for.
    sync_until(&host, &phone, Phase::Photos, 1);
    host.end("-TERM");
    assert_eq!(here(&host.data()), std::slice::from_ref(&second.hash));
    assert_eq!(tests::host::work(&host.data()).visits.len(), 2);
    host.start();
    assert_eq!(host.sync(&phone).photos, 1);
    host.end("-TERM");
    let mut both = [first.hash, second.hash];
    both.sort();
    assert_eq!(here(&host.data()), both);
}
