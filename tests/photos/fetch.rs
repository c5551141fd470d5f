//! What others took is shown to whoever sees the document, and to nobody else.

use std::sync::Arc;

use endcap_mobile::{Client, ClientError, PhotoSize};
use tests::brand::{self, RITA, SAM, SUE, SVEN};
use tests::host::{Host, SHARED, begin, photo, record, well};

use crate::{ENDCAP, endcap};

fn fetch(
    host: &Host,
    client: &Arc<Client>,
    hash: &str,
    size: PhotoSize,
) -> Result<Vec<u8>, ClientError> {
    host.runtime.block_on(Arc::clone(client).fetch_photo(hash.to_owned(), size))
}

#[test]
fn a_photo_is_fetched_by_whoever_sees_what_names_it() {
    let mut host = Host::new(ENDCAP);
    let (rita, sam, sue, sven) =
        (host.phone(RITA), host.phone(SAM), host.phone(SUE), host.phone(SVEN));
    let visit = begin(&rita, SHARED);
    let taken = photo(&rita, 1);
    record(&rita, &visit, true, vec![taken.clone()]);
    let here = rita.photo(taken.hash.clone()).expect("it reads").expect("it is here");
    let whole = |client| fetch(&host, client, &taken.hash, PhotoSize::Whole);
    assert_eq!(whole(&rita).expect("it is on this phone"), here);
    assert!(matches!(whole(&sam), Err(ClientError::NotHere { .. })), "it was not sent yet");
    for phone in [&rita, &sam, &sue, &sven] {
        host.sync(phone);
    }
    for phone in [&sam, &sue] {
        assert_eq!(phone.photo(taken.hash.clone()).expect("it reads"), None);
        assert_eq!(whole(phone).expect("they see the visit"), here);
        for (size, most) in [(PhotoSize::Screen, 1_024), (PhotoSize::Small, 480)] {
            let shown = fetch(&host, phone, &taken.hash, size).expect("they see the visit");
            let shown = image::load_from_memory(&shown).expect("a picture");
            assert!(shown.width().max(shown.height()) <= most);
        }
        assert_eq!(phone.photo(taken.hash.clone()).expect("it reads"), None, "nothing is kept");
    }
    assert!(matches!(whole(&sven), Err(ClientError::NotHere { .. })), "that is not his territory");
    let stranger = fetch(&host, &sue, &"0".repeat(64), PhotoSize::Small);
    assert!(matches!(stranger, Err(ClientError::NotHere { .. })), "{stranger:?}");
    let no_hash = fetch(&host, &sue, "a photo", PhotoSize::Small);
    assert!(matches!(no_hash, Err(ClientError::Invalid { .. })), "{no_hash:?}");

    // What the server's disk has changed is not what was asked for.
    let blobs = host.data().join("blobs").join(brand::ORG.to_string());
    let file = blobs.join(&taken.hash[..2]).join(&taken.hash);
    let mut bytes = std::fs::read(&file).expect("its file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).expect("it is written");
    assert!(matches!(whole(&sam), Err(ClientError::BadAnswer { .. })));
    host.end("-TERM");

    let data = host.data();
    let data = data.to_str().expect("UTF-8");
    well(endcap(["erase", "--photo", &taken.hash, "--why", "request 17", "--data", data, "--yes"]));
    host.start();
    let gone = fetch(&host, &sam, &taken.hash, PhotoSize::Screen);
    assert!(
        matches!(gone, Err(ClientError::Refused { ref code, .. }) if code == "erased"),
        "{gone:?}"
    );
}
