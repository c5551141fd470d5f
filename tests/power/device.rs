//! The phone: the real library over its real store.

use std::io::{BufRead, BufReader};
use std::sync::Arc;

use endcap_mobile::{Client, Observation, Subject, Value};
use server::app::{App, Tenant};
use server::config::ServeConfig;
use server::people::code_for;
use server::serve::serve;
use sync_core::id::{ChangeHash, Gtin};
use sync_core::model::catalogue::{Product, Record};
use tests::brand;
use tests::chance::Chance;
use tests::live;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::disk::{Disk, Folder};
use crate::{Running, child, child_folder, fail_everywhere, recorded, say};

const KEY: [u8; 32] = [7; 32];
/// How often the process is killed.
const KILLS: usize = 30;

/// A server in this process, and a phone's folder that is enrolled with it and has synced once.
pub(crate) struct Field {
    runtime: Runtime,
    app: Arc<App>,
    tenant: Arc<Tenant>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    phone: Folder,
    pub(crate) data: Folder,
}

fn open(folder: &Folder) -> Arc<Client> {
    Client::open(folder.text(), KEY.to_vec()).expect("the folder opens")
}

impl Field {
    fn new() -> Self {
        Self::with_phone().0
    }

    /// And the phone, open: a folder that was closed in this process may not open again at once, as a child
    /// that is being started has its parent's locks for an instant.
    pub(crate) fn with_phone() -> (Self, Arc<Client>) {
        let runtime = Runtime::new().expect("a runtime");
        let (data, phone) = (Folder::new("server"), Folder::new("phone"));
        let (app, tenant, stop, serving, client) = runtime.block_on(async {
            let (app, tenant) = live::found(&data.0, &[]).await;
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let (stop, stopped) = oneshot::channel();
            let config = ServeConfig::local(data.0.clone());
            let stopped = async move { drop(stopped.await) };
            let serving = tokio::spawn(serve(Arc::clone(&app), config, listener, stopped));
            let code = code_for(&app, &tenant, brand::RITA).await.expect("a code").code;
            let client = open(&phone);
            let server = format!("http://{address}");
            Arc::clone(&client).enrol(server, code, "phone".into()).await.expect("enrolled");
            Arc::clone(&client).sync(None, None).await.expect("synced");
            (app, tenant, stop, serving, client)
        });
        (Self { runtime, app, tenant, stop, serving, phone, data }, client)
    }

    /// Two pages of them, and a little.
    fn new_products(&self) {
        let product = |n: u64| {
            let mut numbers = 10 * n..10 * n + 10;
            let gtin = numbers.find_map(|n| Gtin::from_u64(n).ok()).expect("a digit fits");
            let (name, brand, category) = (format!("Oats {n}"), String::new(), String::new());
            let (own, width_mm, height_mm, colour) = (true, 90, 200, 0);
            Record::Product(Product {
                gtin,
                name,
                brand,
                category,
                own,
                width_mm,
                height_mm,
                colour,
            })
        };
        for commit in 0..12 {
            let products = (0..700).map(|n| product(10_000 + 700 * commit + n)).collect();
            let written = self.app.write_records(&self.tenant, products);
            self.runtime.block_on(written).expect("they are written");
        }
    }

    /// How often the server has this in its log.
    fn logged(&self, hash: ChangeHash) -> u64 {
        let org = self.tenant.org;
        let count = self.app.store.read(move |db| {
            let count = "SELECT count(*) FROM log WHERE org = ?1 AND hash = ?2";
            Ok(db.query_row(count, rusqlite::params![org, hash.0], |row| row.get(0))?)
        });
        self.runtime.block_on(count).expect("a count")
    }

    /// One screen with a photo, synced.
    pub(crate) fn screen(&self, client: &Arc<Client>, number: usize) {
        let outlet = brand::outlet(1).to_string();
        let visit = client.start_visit(outlet, 1).expect("a visit begins");
        let photo = client.add_photo(picture(number), None).expect("a photo is saved");
        client.record(visit, vec![met(true)], vec![photo]).expect("it is saved");
        self.runtime.block_on(Arc::clone(client).sync(None, None)).expect("it syncs");
    }

    /// Stops the server; its folder.
    pub(crate) fn close(self) -> Folder {
        let _ = self.stop.send(());
        let ended = self.runtime.block_on(self.serving);
        ended.expect("the server ends").expect("and ends well");
        self.data
    }
}

fn met(met: bool) -> Observation {
    let (subject, value) = (Subject::Display { display: 1 }, Value::Met { met });
    Observation { check: brand::checks::DISPLAY, subject, value }
}

/// Works until it has done `screens` screens, and says of each that it is saved. Syncs when `sync` says so.
fn work(screens: usize, sync: impl Fn(usize) -> bool) {
    let Some(folder) = child_folder() else { return };
    let runtime = Runtime::new().expect("a runtime");
    let folder = folder.to_str().expect("UTF-8").to_owned();
    let client = Client::open(folder, KEY.to_vec()).expect("the folder opens");
    let outlet = brand::outlet(1).to_string();
    let visit = client.start_visit(outlet, 1).expect("a visit begins");
    say(&format!("began {visit}"));
    for screen in 0..screens {
        let met = met(screen % 2 == 0);
        let photo = (screen % 6 == 5).then(|| {
            let photo = client.add_photo(picture(screen), None).expect("a photo is saved");
            say(&format!("photo {}", photo.hash));
            photo
        });
        let photos = photo.into_iter().collect();
        let recording = client.record(visit.clone(), vec![met], photos).expect("it is saved");
        say(&format!("saved {visit} {recording}"));
        if sync(screen) {
            // The server may say that this phone, which starts again and again, asks too often.
            let synced = runtime.block_on(Arc::clone(&client).sync(None, None));
            say(if synced.is_ok() { "synced" } else { "not synced" });
        }
    }
}

fn picture(number: usize) -> Vec<u8> {
    let shade = (number * 7 % 256) as u8;
    let image = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([shade, x as u8, y as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}

#[test]
#[ignore = "the others run it as a process of its own"]
fn a_phone_that_works_for_a_while() {
    work(45, |screen| screen % 9 == 8);
}

#[test]
#[ignore = "the others run it as a process of its own"]
fn a_phone_that_works_until_it_is_killed() {
    work(usize::MAX, |screen| screen == 4);
}

/// All that was said is there.
fn check(client: &Client, said: &[impl AsRef<str>]) {
    for line in said {
        let words: Vec<&str> = line.as_ref().split(' ').collect();
        match words[..] {
            ["began", visit] => drop(client.visit(visit.to_owned()).expect("the visit is there")),
            ["saved", visit, recording] => {
                let visit = client.visit(visit.to_owned()).expect("the visit is there");
                let there = visit.recordings.iter().any(|r| r.id == recording);
                assert!(there, "{recording} was saved");
            }
            ["photo", hash] => {
                let photo = client.photo(hash.to_owned()).expect("photos read");
                assert!(photo.is_some(), "the photo {hash} was saved");
            }
            ["synced"] | ["not", "synced"] => {}
            _ => panic!("{}", line.as_ref()),
        }
    }
}

#[test]
fn what_a_phone_saved_survives_the_loss_of_power() {
    let field = Field::new();
    let before = Disk::of(&field.phone.0);
    let journal = recorded("device::a_phone_that_works_for_a_while", &field.phone);
    let mut number = 0;
    fail_everywhere(before, &journal, 1, |folder, said| {
        let client = open(folder);
        check(&client, said);
        // And it goes on: what is waiting is sent, nothing twice.
        number += 1;
        if number % 25 == 0 {
            let synced = field.runtime.block_on(Arc::clone(&client).sync(None, None));
            synced.expect("the phone goes on");
            assert!(client.outstanding().expect("it reads").documents.is_empty());
        }
    });
    field.close();
}

#[test]
#[ignore = "the others run it as a process of its own"]
fn a_phone_that_fetches_what_is_new() {
    let Some(folder) = child_folder() else { return };
    let runtime = Runtime::new().expect("a runtime");
    let folder = folder.to_str().expect("UTF-8").to_owned();
    let client = Client::open(folder, KEY.to_vec()).expect("the folder opens");
    let visit = client.start_visit(brand::outlet(1).to_string(), 1).expect("a visit begins");
    for screen in 0..10 {
        let met = met(screen % 2 == 0);
        client.record(visit.clone(), vec![met], Vec::new()).expect("it is saved");
    }
    let synced = runtime.block_on(Arc::clone(&client).sync(None, None)).expect("it syncs");
    say(&format!("fetched {}", synced.pulled));
}

/// A page without its cursor comes again; a cursor without its page is a loss, though a repair would find it.
#[test]
fn what_a_phone_fetched_is_there_with_its_cursor_or_comes_again() {
    let field = Field::new();
    let before = Disk::of(&field.phone.0);
    field.new_products();
    let journal = recorded("device::a_phone_that_fetches_what_is_new", &field.phone);
    let (mut number, mut fetched) = (0, 0);
    fail_everywhere(before, &journal, 3, |folder, _| {
        number += 1;
        if number % 6 == 0 {
            let client = open(folder);
            let synced = field.runtime.block_on(Arc::clone(&client).sync(None, None));
            let report = synced.expect("the phone goes on");
            assert_eq!(report.mended, 0, "image {number} had lost a page");
            fetched += u32::from(report.pulled > 0);
        }
    });
    assert!(fetched > 0, "the power never failed in the middle of it");
    field.close();
}

#[test]
fn what_a_phone_saved_survives_being_killed() {
    let field = Field::new();
    let mut chance = Chance::new(2);
    let mut said: Vec<String> = Vec::new();
    for _ in 0..KILLS {
        let test = "device::a_phone_that_works_until_it_is_killed";
        let mut running = Running(child(test, &field.phone).spawn().expect("the child runs"));
        let lines = BufReader::new(running.0.stdout.take().expect("its output")).lines();
        let enough = 1 + chance.index(20);
        // It is further on than what was read of it: the pipe holds the rest, which counts too.
        let mut heard = 0;
        for line in lines {
            let line = line.expect("UTF-8");
            if let Some(line) = line.strip_prefix('@') {
                said.push(line.to_owned());
                heard += 1;
                if heard == enough {
                    running.0.kill().expect("it is killed");
                }
            }
        }
        drop(running);
        assert!(heard >= enough, "the child ended by itself");
        check(&open(&field.phone), &said);
    }
    let client = open(&field.phone);
    field.runtime.block_on(Arc::clone(&client).sync(None, None)).expect("the rest is sent");
    assert!(client.outstanding().expect("it reads").documents.is_empty());
    let saved = said.iter().filter_map(|line| line.strip_prefix("saved ")?.split_once(' '));
    for (_, recording) in saved {
        assert_eq!(field.logged(recording.parse().expect("a hash")), 1, "{recording}");
    }
    field.close();
}
