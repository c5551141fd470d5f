//! The phone's process: captures, then syncs while it captures on, and says of each thing that it is saved.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use endcap_mobile::{Client, Observation, Photo, Subject, Value};
use tests::brand::{self, checks};
use tests::chance::Chance;
use tests::host::open;
use tokio::runtime::Runtime;

use crate::told;

const FOLDER: &str = "ENDCAP_LINK_FOLDER";
const ERRAND: &str = "ENDCAP_LINK_ERRAND";
/// More is not captured during one sync, however long it takes.
const SCREENS_DURING: usize = 4;

/// What a phone's process is to do before it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) seed: u64,
    /// Screens before the sync.
    pub(crate) screens: usize,
    /// Width and height of each photo; 0: no photos.
    pub(crate) photo_px: u32,
    /// A visit to go on with; a new one if none is named.
    pub(crate) visit: Option<String>,
}

impl Errand {
    fn read(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let [seed, screens, photo_px, visit] = words[..] else { panic!("{text}") };
        Self {
            seed: seed.parse().expect("a seed"),
            screens: screens.parse().expect("a count"),
            photo_px: photo_px.parse().expect("a size"),
            visit: (visit != "new").then(|| visit.to_owned()),
        }
    }

    /// This program again, as the phone.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let visit = self.visit.as_deref().unwrap_or("new");
        command
            .args(["--ignored", "--exact", "--nocapture", "phone::a_phone_at_work"])
            .env(FOLDER, folder)
            .env(ERRAND, format!("{} {} {} {visit}", self.seed, self.screens, self.photo_px))
            .env("RUST_LOG", "off");
        command
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\n@{line}").and_then(|()| out.flush()); // the parent may have gone
}

/// Noise: a photo that does not compress, so that it takes a while on the link.
fn picture(chance: &mut Chance, px: u32) -> Vec<u8> {
    let image = image::RgbImage::from_fn(px, px, |_, _| image::Rgb(chance.bytes()));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}

fn screen(client: &Client, visit: &str, chance: &mut Chance, photo_px: u32) {
    let photo = (photo_px > 0 && chance.percent(40)).then(|| -> Photo {
        let photo = client.add_photo(picture(chance, photo_px), None).expect("a photo is saved");
        say(&format!("photo {}", photo.hash));
        photo
    });
    let check = checks::DISPLAY;
    let (subject, value) =
        (Subject::Display { display: 1 }, Value::Met { met: chance.percent(50) });
    let met = Observation { check, subject, value };
    let text = Value::Text { text: format!("remark {}", chance.bits()) };
    let words = Observation { check: checks::WORDS, subject: Subject::Outlet, value: text };
    let photos = photo.into_iter().collect();
    let recording = client.record(visit.to_owned(), vec![met, words], photos);
    say(&format!("saved {visit} {}", recording.expect("it is saved")));
}

#[test]
#[ignore = "the story runs it as a process of its own"]
fn a_phone_at_work() {
    let (Some(folder), Some(errand)) = (told(FOLDER), told(ERRAND)) else { return };
    let errand = Errand::read(&errand);
    let mut chance = Chance::new(errand.seed);
    let client = open(Path::new(&folder));
    let visit = errand.visit.unwrap_or_else(|| {
        let outlet = brand::outlet(1 + chance.index(2) as u8).to_string();
        let visit = client.start_visit(outlet, 1).expect("a visit begins");
        say(&format!("began {visit}"));
        visit
    });
    for _ in 0..errand.screens {
        screen(&client, &visit, &mut chance, errand.photo_px);
    }
    let worked = client.visit(visit.clone()).is_ok_and(|visit| visit.unsubmitted);
    if worked && chance.percent(30) {
        client.submit(visit.clone()).expect("it is submitted");
        say(&format!("submitted {visit}"));
    }
    let runtime = Runtime::new().expect("a runtime");
    let syncing = runtime.spawn(Arc::clone(&client).sync(None, None));
    for _ in 0..if errand.screens > 0 { SCREENS_DURING } else { 0 } {
        screen(&client, &visit, &mut chance, 0);
    }
    match runtime.block_on(syncing).expect("it does not panic") {
        Ok(report) => say(&format!("synced {} refused", report.refused)),
        Err(error) => say(&format!("cut {error}")),
    }
}

#[test]
fn an_errand_reads_as_it_was_written() {
    let errand = Errand { seed: 7, screens: 2, photo_px: 64, visit: Some("x".into()) };
    for errand in [Errand { visit: None, ..errand.clone() }, errand] {
        let command = errand.command(Path::new("folder"));
        let said = command.get_envs().find(|(name, _)| *name == ERRAND).and_then(|(_, to)| to);
        let said = said.expect("an errand").to_str().expect("UTF-8");
        assert_eq!(Errand::read(said), errand);
    }
}
