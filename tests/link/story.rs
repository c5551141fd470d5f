//! The rounds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use endcap_mobile::Client;
use tests::brand::{self, RITA, SAM};
use tests::chance::Chance;
use tests::host::{Host, kill, open, record, start, well};
use tests::link::{End, Line, Link, Point, Way, What};

use crate::audit::{Books, Said, after_a_kill, at_rest};
use crate::phone::Errand;
use crate::{ENDCAP, told};

/// Enough for each kind of message to be hit in each way by each kind of end, most likely.
const ROUNDS: u64 = 24;
const SEED: u64 = 1;
/// Rounds after which Sam begins another visit: one document would grow too long.
const VISIT_ROUNDS: u64 = 6;
/// Rounds of which the line falls silent in one.
const SILENT_ROUNDS: u64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Phone,
    Server,
    Connection,
    /// The line falls silent, and nobody hears that it has.
    Line,
}

struct World {
    host: Host,
    link: Link,
    chance: Chance,
    said: Said,
    sam: Arc<Client>,
    shared: String,
    version: u32,
    photo_px: u32,
    hits: BTreeMap<(What, Way, Victim), u32>,
}

fn number(name: &str, otherwise: u64) -> u64 {
    told(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

impl World {
    fn new(seed: u64, photo_px: u32) -> Self {
        let host = Host::new(ENDCAP);
        let link = Link::start(host.address(), seed);
        drop(host.phone_by("rita", RITA, link.address()));
        let sam = host.phone(SAM);
        let shared = sam.start_visit(brand::outlet(1).to_string(), 1).expect("a visit begins");
        let (chance, said) = (Chance::new(seed), Said::default());
        let (version, hits) = (1, BTreeMap::new());
        let mut world = Self { host, link, chance, said, sam, shared, version, photo_px, hits };
        world.colleague(0);
        world
    }

    /// Sam works on the shared visit, over a good line.
    fn colleague(&mut self, round: u64) {
        if round % VISIT_ROUNDS == VISIT_ROUNDS - 1 {
            let outlet = brand::outlet(1).to_string();
            self.shared = self.sam.start_visit(outlet, 1).expect("a visit begins");
        }
        for _ in 0..1 + self.chance.index(4) {
            let recording = record(&self.sam, &self.shared, self.chance.percent(50), Vec::new());
            self.said.others.insert(recording, self.shared.clone());
        }
        self.host.sync(&self.sam);
    }

    /// The phone's process works and syncs; it ends by itself or not.
    fn phone(&mut self, errand: &Errand, trap: Option<(Point, Victim)>) {
        let folder = self.host.folder.join("rita");
        let mut process = start(errand.command(&folder).stdout(Stdio::piped()));
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let process = Arc::new(Mutex::new(process));
        if let Some((point, victim)) = trap {
            let killed = match victim {
                Victim::Phone => Some(Arc::clone(&process)),
                Victim::Server => self.host.process(),
                Victim::Connection | Victim::Line => None,
            };
            let end = if victim == Victim::Line { End::Silence } else { End::Cut };
            self.link.trap(point, end, move || {
                if let Some(killed) = &killed {
                    kill(killed);
                }
            });
        }
        let mut over = None;
        for line in lines {
            let line = line.expect("UTF-8");
            if let Some(line) = line.strip_prefix('@') {
                self.said.hear(line);
                over = (line.starts_with("synced") || line.starts_with("cut"))
                    .then(|| line.to_owned());
            }
        }
        let sprung = self.link.untrap();
        let ended = process.lock().expect("no panic").wait().expect("it ends");
        let killed = trap.filter(|_| sprung).map(|(_, victim)| victim);
        match (killed, over) {
            (None, Some(over)) => assert!(over.starts_with("synced"), "{over}"),
            (Some(Victim::Phone), None) => assert!(!ended.success()),
            (Some(Victim::Server | Victim::Connection), Some(_)) => assert!(ended.success()),
            (Some(Victim::Line), Some(over)) => {
                assert!(ended.success() && over.starts_with("cut"), "{over}");
            }
            (killed, over) => panic!("{killed:?} was killed, and the phone said {over:?}"),
        }
        if let Some((point, victim)) = trap.filter(|_| sprung) {
            *self.hits.entry((point.what, point.way, victim)).or_default() += 1;
        }
        if killed == Some(Victim::Server) {
            self.host.bury();
        }
    }

    fn audit(&self) {
        well(self.host.check("data"));
        let phone = open(&self.host.folder.join("rita"));
        after_a_kill(&Books::open(&self.host.data()), &phone, &self.said);
    }

    /// The server comes back; the brand may have done something meanwhile.
    fn recover(&mut self) {
        if self.host.process().is_some() {
            return;
        }
        if self.chance.percent(70) {
            self.version += 1;
            self.host.write(vec![brand::planogram(self.version)]);
            let length = Books::open(&self.host.data()).length();
            self.said.planograms.insert(length, self.version);
        }
        self.host.start();
    }

    fn round(&mut self, round: u64) {
        self.colleague(round);
        let what = [What::Push, What::Pull, What::Photo][self.chance.index(3)];
        let way = [Way::Up, Way::Down][self.chance.index(2)];
        let victim = [Victim::Phone, Victim::Server, Victim::Connection][self.chance.index(3)];
        // A phone gives up a silent line after a minute, so it is done once in a while.
        let victim = if round % SILENT_ROUNDS == SILENT_ROUNDS / 2 { Victim::Line } else { victim };
        // The ends matter most: nothing of it has arrived, and all of it.
        let permille = [0, 1_000, self.chance.below(1_001), self.chance.below(1_001)];
        let permille = permille[self.chance.index(4)];
        let after = u32::from(self.chance.percent(20));
        let knows = open(&self.host.folder.join("rita")).visit(self.shared.clone()).is_ok();
        let errand = Errand {
            seed: self.chance.bits(),
            screens: 1 + self.chance.index(4),
            photo_px: if what == What::Photo || self.chance.percent(20) {
                self.photo_px
            } else {
                0
            },
            visit: (knows && self.chance.percent(50)).then(|| self.shared.clone()),
        };
        self.phone(&errand, Some((Point { what, way, after, permille }, victim)));
        self.audit();
        self.recover();
    }

    /// Nobody is killed any more.
    fn rest(mut self) {
        self.link.set(Line::CLEAR);
        let nothing = Errand { seed: 0, screens: 0, photo_px: 0, visit: Some(self.shared.clone()) };
        self.phone(&nothing, None);
        self.host.sync(&self.sam);
        self.host.end("-TERM");
        self.host.renew_code(RITA);
        self.host.start();
        let fresh = self.host.phone_by("fresh", RITA, self.host.address());
        well(self.host.check("data"));
        let phone = open(&self.host.folder.join("rita"));
        let books = Books::open(&self.host.data());
        at_rest(&books, &phone, &self.sam, &fresh, &self.said);
    }
}

#[test]
fn nothing_is_lost_or_halved_however_a_message_ends() {
    let (rounds, seed) = (number("ENDCAP_LINK_ROUNDS", ROUNDS), number("ENDCAP_LINK_SEED", SEED));
    let village = told("ENDCAP_LINK_LINE").is_some_and(|line| line == "village");
    // The photo lasts for seconds either way.
    let (line, photo_px) = if village { (Line::VILLAGE, 160) } else { (Line::QUICK, 400) };
    println!("SEED={seed} ENDCAP_LINK_ROUNDS={rounds}");
    let mut world = World::new(seed, photo_px);
    for round in 0..rounds {
        world.link.set(line);
        world.round(round);
        if told("ENDCAP_LINK_ROUNDS").is_some() {
            println!("round {round}: {:?}", world.hits);
        }
    }
    let (lost, bytes) = world.link.carried();
    let hits =
        |what| world.hits.iter().filter(|((w, ..), _)| *w == what).map(|(_, n)| n).sum::<u32>();
    let (push, pull, photo) = (hits(What::Push), hits(What::Pull), hits(What::Photo));
    let resumed = world.link.resumed();
    println!(
        "{rounds} rounds: {push} ends in pushes, {pull} in pulls, {photo} in photos, {resumed} photos \
         resumed, {} screens, {bytes} bytes, {lost} segments lost, {:?}",
        world.said.saved.len(),
        world.hits
    );
    assert!(push > 0 && pull > 0 && photo > 0 && resumed > 0 && lost > 0);
    assert!(world.hits.keys().any(|(.., victim)| *victim == Victim::Line), "no line fell silent");
    world.rest();
}
