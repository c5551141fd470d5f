//! Photos that the server has forgotten, because nothing there named them any more, are sent when something does again.

use std::path::Path;
use std::sync::Arc;

use server::backup::backup;
use server::check::Stage;
use tests::brand::{ORG, RITA};
use tests::host::{Host, begin, photo, record, well};

use crate::{ENDCAP, here};

/// How many files the folders in a folder have.
fn files(folder: &Path) -> usize {
    let entries = |folder: &Path| std::fs::read_dir(folder).expect("it reads");
    entries(folder).map(|dir| entries(&dir.expect("a folder").path()).count()).sum()
}

#[test]
fn a_photo_of_discarded_work_is_sent_again_when_something_names_it_again() {
    let mut host = Host::new(ENDCAP);
    let rita = host.phone(RITA);
    let visits = [0, 4].map(|call| begin(&rita, call));
    let photos = [1, 2].map(|number| photo(&rita, number));
    for (visit, photo) in visits.iter().zip(&photos) {
        record(&rita, visit, true, vec![photo.clone()]);
    }
    host.end("-TERM");
    host.withdraw(RITA);
    host.renew_code(RITA);
    host.start();
    let (server, code) = (format!("http://{}", host.address()), host.code(RITA).to_owned());
    let enrolled = host.runtime.block_on(Arc::clone(&rita).enrol(server, code, "found".into()));
    enrolled.expect("she is enrolled again");
    let report = host.sync(&rita);
    assert_eq!((report.refused, report.photos), (4, 2), "{report:?}");
    assert_eq!(rita.outstanding().expect("it reads").photos, 0);

    host.end("-TERM");
    for item in [1, 2] {
        host.decide(item, false);
    }
    well(host.backup("backup"));
    let blobs = host.folder.join("backup/blobs").join(ORG.to_string());
    assert_eq!(files(&blobs), 6, "two photos with their previews and thumbnails");
    // They are forgotten while the next backup is written.
    let (mut copies, data) = (0, host.data());
    let mut meanwhile = |stage, done, _| {
        if (stage, done) == (Stage::Copying, 1) {
            copies += 1;
            if copies == 1 {
                host.sweep(31);
            }
        }
    };
    let report = backup(&data, &host.folder.join("backup"), &mut meanwhile);
    let report = report.expect("it is written");
    assert_eq!((report.is_clean(), report.photos, copies, files(&blobs)), (true, 0, 2, 0));
    assert_eq!(here(&data), [""; 0], "nothing there names them");
    host.start();
    host.sync(&rita);
    let refused = rita.outstanding().expect("it reads").documents;
    assert!(refused.iter().all(|work| work.refused.as_deref() == Some("discarded")));
    assert_eq!(rita.free_space().expect("it reads"), 0, "hers are the only ones");

    // One is proposed again, and what the other shows is recorded again.
    rita.propose_again(format!("visit/{}", visits[0])).expect("it is proposed");
    let again = photo(&rita, 2);
    assert_eq!(again.hash, photos[1].hash);
    record(&rita, &begin(&rita, 1), true, vec![again]);
    assert_eq!(rita.outstanding().expect("it reads").photos, 2);
    let report = host.sync(&rita);
    assert_eq!((report.refused, report.photos), (0, 2), "{report:?}");
    assert_eq!(rita.outstanding().expect("it reads").photos, 0);
    host.end("-TERM");
    let mut both = photos.map(|photo| photo.hash).to_vec();
    both.sort();
    assert_eq!(here(&host.data()), both);
    well(host.check("data"));
    well(host.backup("backup"));
    assert_eq!(files(&blobs), 6);
}
