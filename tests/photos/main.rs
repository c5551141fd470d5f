//! Photos from a phone to the server and out of it again: over lines that are cut, with other people's tus clients,
//! by colleagues, and erased on request. Servers and commands are processes of the real `endcap`.
#![cfg(target_os = "linux")]

mod again;
mod carried;
mod clients;
mod cut;
mod erase;
mod fetch;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use endcap_mobile::{Cancel, Client, Phase, Photo, Progress};
use tests::chance::Chance;
use tests::host::Host;

const ENDCAP: &str = env!("CARGO_BIN_EXE_endcap");

/// Runs `endcap` to its end.
fn endcap<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    tests::host::run(Command::new(ENDCAP).args(args))
}

/// A photo of noise, which does not compress: a megabyte and a half.
fn large(client: &Client, seed: u64) -> Photo {
    let mut chance = Chance::new(seed);
    let image = image::RgbImage::from_fn(1_600, 1_600, |_, _| image::Rgb(chance.bytes()));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Jpeg).expect("a picture");
    client.add_photo(bytes.into_inner(), None).expect("a photo is saved")
}

/// Ends a sync as soon as it comes so far.
struct Until {
    phase: Phase,
    left: u32,
    cancel: Arc<Cancel>,
}

impl Progress for Until {
    fn at(&self, phase: Phase, left: u32) {
        if phase == self.phase && left <= self.left {
            self.cancel.cancel();
        }
    }
}

/// A sync that ends when it comes to this phase with so much left.
fn sync_until(host: &Host, client: &Arc<Client>, phase: Phase, left: u32) {
    let cancel = Cancel::new();
    let until = Arc::new(Until { phase, left, cancel: Arc::clone(&cancel) });
    let synced = Arc::clone(client).sync(Some(until), Some(cancel));
    assert!(host.runtime.block_on(synced).expect("it syncs").cancelled);
}

/// The names of the photos that a server's folder has.
fn here(data: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open(data.join("endcap.db")).expect("it opens");
    let mut query = db
        .prepare("SELECT lower(hex(hash)) FROM blob WHERE gone_ms IS NULL ORDER BY hash")
        .expect("a query");
    let rows = query.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("text")
}
