//! The world: a server, a few phones, the network between them, and what happens next.

use server::ingest::ActError;
use sync_core::admit::Refusal;
use sync_core::client::Replica;
use sync_core::command::{Command, CommandError};
use sync_core::document::{Document, Entry, VOLUME_CHANGES};
use sync_core::evidence::Keypair;
use sync_core::id::{
    Actor, BlobHash, ChangeHash, DeviceId, DistributorId, DocId, DocKind, OutletId, UserId, VisitId,
};
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{Person, Record, RecordKey};
use sync_core::model::contest::{About, Step as ContestStep, Word};
use sync_core::model::people::Scope;
use sync_core::model::visit::{
    Act, NotPossible, Note, Observation, Observations, Observed, PhotoRef, Place, Post, Recording,
    Review, Subject, Value, Verdict, Volume,
};
use sync_core::relay::{Broken, Meeting};
use sync_core::repair::COUNT_MS;
use sync_core::session::{Step, Stop};
use sync_core::visit::Visit;
use sync_core::wire::{
    CargoRequest, Delivery, Group, Outcome, PROTOCOL, PullReply, PushReply, PushRequest, from_wire,
};

use crate::backend::{self, Refused, Server, encode};
use crate::brand::{self, BEGIN_MS, CALLS, ORG, OUTLETS, RITA, SAM, SUE, SVEN, checks};
use crate::chance::Chance;
use crate::device::{Answer, Crash, Device, Question, Rot, Turn};
use crate::hostile::Hostile;
use crate::network::{Faults, Load, Network, Packet};
use crate::oracle::Oracle;

const DAY_MS: i64 = 86_400_000;
const YEAR_MS: i64 = 365 * DAY_MS;
/// Lines of the story that are told when it ends badly.
const STORY_LINES: usize = 80;

/// Everything there is.
pub struct World {
    /// What happens next.
    pub chance: Chance,
    /// The true time, in milliseconds since 1970.
    pub now_ms: i64,
    /// The server's clock minus that.
    server_off_ms: i64,
    /// The server.
    pub server: Server,
    /// Rita's, Sam's and Sven's phones.
    pub devices: Vec<Device>,
    /// What is on its way.
    pub network: Network,
    /// What the network does to it.
    pub faults: Faults,
    /// What was said.
    pub oracle: Oracle,
    /// What has happened, line by line.
    pub story: Vec<String>,
    backup: Option<Box<Server>>,
    hostile: Option<Hostile>,
    /// A copy of a phone that somebody may switch on later.
    copy: Option<Box<Device>>,
    /// The server's disk may be full.
    tight: bool,
    /// The server's clock may jump.
    clock_jumps: bool,
    planogram: u32,
    price_list: u32,
    server_crash: backend::Crash,
    asked_ms: std::collections::BTreeMap<(usize, u64), i64>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // One that is replayed is told from its beginning.
            let from = match std::env::var_os("SEED") {
                Some(_) => 0,
                None => self.story.len().saturating_sub(STORY_LINES),
            };
            eprintln!("the story so far:\n{}", self.story[from..].join("\n"));
        }
    }
}

impl World {
    /// A world on its first morning: three phones are enrolled and have synced once.
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut server = Server::new(&mut chance);
        let mut devices = Vec::new();
        for user in [RITA, SAM, SVEN] {
            let device = Device::new(user, BEGIN_MS, &mut chance);
            server.enrol(device.id, user, device.keypair.public(), BEGIN_MS);
            devices.push(device);
        }
        let faults =
            Faults { loss: chance.below(25), repeat: chance.below(25), cut: chance.below(10) };
        let mut world = Self {
            chance,
            now_ms: BEGIN_MS + 1_000,
            server_off_ms: 0,
            server,
            devices,
            network: Network::default(),
            faults,
            oracle: Oracle::default(),
            story: Vec::new(),
            backup: None,
            hostile: None,
            copy: None,
            tight: false,
            clock_jumps: seed % 5 == 4,
            planogram: 1,
            price_list: 1,
            server_crash: backend::Crash::Never,
            asked_ms: std::collections::BTreeMap::new(),
        };
        if seed.is_multiple_of(4) {
            world.hostile =
                Some(Hostile::enrol(&mut world.server, world.now_ms, &mut world.chance));
        }
        if !seed.is_multiple_of(2) {
            world.server.keep(2);
        }
        if seed.is_multiple_of(3) {
            for outlet in 1..3 {
                let changes = VOLUME_CHANGES - world.chance.index(8);
                world.remembers(SUE, brand::outlet(outlet).into(), changes);
            }
        }
        for device in 0..world.devices.len() {
            assert_eq!(world.sync_now(device), Step::Done);
        }
        world
    }

    /// Somebody, on a phone that is no longer used, has written so much in a document.
    pub fn remembers(&mut self, by: UserId, id: DocId, changes: usize) {
        let (keypair, device) =
            (Keypair::from_seed(&self.chance.bytes()), DeviceId::from_bytes(self.chance.bytes()));
        self.server.enrol(device, by, keypair.public(), self.now_ms);
        let actor = Actor::new(&keypair.public(), self.chance.bytes());
        let (text, now) = (self.note(), moment(self.now_ms));
        let mut document = self.server.held(id).document;
        let before = document.changes().len();
        let later = document.volume().filter(|(_, number)| *number > 0);
        let mut begins = later.map(|(outlet, number)| {
            let before = self.server.held(DocId::volume(outlet, number - 1)).document;
            Volume { outlet, number, before: before.heads().to_vec() }
        });
        for _ in 0..changes {
            let (when, text, volume) = (now, text.digest(), begins.take());
            let entry = Entry::Post(Post { volume, ..Post::new(by, when, text) });
            let change = document.next(actor, &entry).expect("there is room");
            document.insert(change).expect("it fits");
        }
        let seals = document.heads().iter().map(|head| keypair.seal(ORG, id, *head)).collect();
        let changes = document.changes()[before..].to_vec();
        let (previous, notes) = (None, vec![text]);
        let groups = vec![Group { document: id, changes, seals }];
        let push = encode(&PushRequest { protocol: PROTOCOL, now, previous, groups, notes });
        let reply = self.server.push(device, &push, self.now_ms, backend::Crash::Never);
        assert_eq!(reply.map(|reply| reply.outcomes), Ok(vec![Outcome::Accepted {}]));
    }

    /// Writes a line of the story.
    pub fn tell(&mut self, line: impl Into<String>) {
        self.story.push(format!("{:>9} s  {}", (self.now_ms - BEGIN_MS) / 1_000, line.into()));
    }

    /// What the server's clock shows.
    fn server_ms(&self) -> i64 {
        self.now_ms + self.server_off_ms
    }

    /// One thing happens.
    pub fn step(&mut self) {
        self.now_ms += 1 + self.chance.below(120_000) as i64;
        if self.now_ms % 4 == 0 {
            let looked = self.server.look(2, self.server_ms());
            assert!(matches!(looked, Ok(_) | Err(server::store::StoreError::Full)), "{looked:?}");
        }
        let device = self.chance.index(self.devices.len());
        if self.devices[device].lost {
            return;
        }
        // A full disk enrols nobody.
        if self.chance.percent(20) && !self.tight {
            self.enrol_withdrawn(device);
        }
        match self.chance.below(100) {
            0..3 => self.meet_by_chance(device),
            3..36 => self.work(device),
            36..38 if self.tight || self.devices[device].full => self.make_room(),
            36..38 => match self.chance.below(8) {
                0 => self.withdraw(device),
                1 => self.dismiss_or_take_on(self.devices[device].user),
                2 => self.change_role(self.devices[device].user),
                3 => self.turn_server_clock(),
                _ => self.decide(),
            },
            38..50 => self.begin_sync(device),
            50..80 => self.deliver(),
            80..83 => {
                self.tell(format!("phone {device} gives up waiting"));
                self.devices[device].give_up();
            }
            83..85 => {
                self.tell(format!("phone {device} crashes"));
                self.devices[device].crash();
            }
            85..88 => self.turn_clock(device),
            88..90 => {
                let crashes = [backend::Crash::BeforeCommit, backend::Crash::BeforeReply];
                self.server_crash = crashes[self.chance.index(2)];
            }
            // Whoever works at the server's desk sees that its disk is full.
            90..100 if self.tight || self.devices[device].full => self.make_room(),
            90..94 => self.review(),
            94 => match self.chance.percent(70) {
                true => self.answer_in_console(),
                false => self.erase_words(),
            },
            95..97 => self.settle_in_console(),
            97 => match self.chance.below(4) {
                0 => self.attack(),
                1 => self.fill_up(device),
                _ => self.new_versions(),
            },
            _ => match self.chance.below(23) {
                0..3 => self.cancel_call(),
                3..16 => self.reassign(),
                16 => {
                    self.now_ms += 3 * DAY_MS;
                    self.tell("three days go by");
                }
                17 => self.backup = Some(Box::new(self.server.backup())),
                18 => self.restore(),
                19..22 => self.copy(device),
                _ => match self.chance.percent(50) {
                    true => self.change_key(device),
                    false => self.rot(device),
                },
            },
        }
    }

    /// Somebody who is enrolled means harm, some times in a row.
    fn attack(&mut self) {
        for _ in 0..=self.chance.index(8) {
            let now_ms = self.server_ms();
            let Some(hostile) = &mut self.hostile else { return };
            if hostile.known(&self.server) {
                let (server, chance) = (&mut self.server, &mut self.chance);
                let said = hostile.attack(server, &self.oracle, now_ms, chance);
                self.tell(format!("a hostile phone does harm: {said}"));
            }
        }
    }

    /// The server's disk, or a phone's, is full for a while.
    fn fill_up(&mut self, device: usize) {
        match self.chance.percent(50) {
            true => {
                let pages = self.chance.below(3);
                self.tight = true;
                self.server.room(Some(pages));
                self.tell(format!("the server's disk has room for {pages} pages"));
            }
            false => {
                self.devices[device].full = true;
                self.tell(format!("the storage of phone {device} is full"));
            }
        }
    }

    /// Somebody makes room everywhere.
    fn make_room(&mut self) {
        self.tell("there is room again");
        self.tight = false;
        self.server.room(None);
        self.devices.iter_mut().for_each(|device| device.full = false);
    }

    fn turn_clock(&mut self, device: usize) {
        let off_ms = [0, -self.now_ms, YEAR_MS, -60_000][self.chance.index(4)];
        let reboot = self.chance.percent(50);
        let boot = self.chance.bits() as u32;
        let clock = &mut self.devices[device].clock;
        clock.off_ms = off_ms;
        if reboot {
            (clock.boot, clock.booted_ms) = (boot, self.now_ms);
            self.devices[device].crash();
        }
        let line = format!("phone {device}: the clock is off by {off_ms} ms, rebooted: {reboot}");
        self.tell(line);
    }

    /// The server's clock jumps, or is put right: in every fifth story, for it makes the bounds of times say less.
    fn turn_server_clock(&mut self) {
        if !self.clock_jumps {
            return;
        }
        self.server_off_ms = [0, -DAY_MS, 3 * DAY_MS, YEAR_MS, -YEAR_MS][self.chance.index(5)];
        self.oracle.clock_jumped = true;
        self.tell(format!("the server's clock is off by {} ms", self.server_off_ms));
    }

    /// A phone's access is withdrawn, whatever it holds.
    fn withdraw(&mut self, device: usize) {
        let (id, now_ms) = (self.devices[device].id, self.server_ms());
        if self.server.trusts(id) {
            self.tell(format!("the access of phone {device} is withdrawn"));
            self.server.withdraw(id, now_ms);
        }
    }

    /// A phone whose access was withdrawn is enrolled again, with all that it holds, under another key.
    fn enrol_withdrawn(&mut self, device: usize) {
        let now_ms = self.server_ms();
        let phone = &mut self.devices[device];
        if !self.server.trusts(phone.id) && !phone.full {
            phone.renew(DeviceId::from_bytes(self.chance.bytes()));
            self.server.enrol(phone.id, phone.user, phone.keypair.public(), now_ms);
            self.tell(format!("phone {device} is enrolled again"));
        }
    }

    /// Somebody is let go, or is taken on again.
    fn dismiss_or_take_on(&mut self, user: UserId) {
        let now_ms = self.server_ms();
        let mut person = self.server.world.people[&user].clone();
        person.active = !person.active;
        self.tell(format!("{} works here: {}", person.name, person.active));
        if !person.active {
            self.oracle.dismissed.insert(user);
        }
        self.server.write(vec![Record::Person(person)], now_ms);
    }

    /// Somebody may capture no more, or may again.
    fn change_role(&mut self, user: UserId) {
        let now_ms = self.server_ms();
        let mut person = self.server.world.people[&user].clone();
        let [first, other] = brand::roles_of(user);
        person.role = if person.role == first { other } else { first };
        self.tell(format!("{} is {:?}", person.name, person.role));
        self.server.write(vec![Record::Person(person)], now_ms);
    }

    /// The supervisor decides on refused work.
    fn decide(&mut self) {
        let Some(item) = self.chance.pick(&self.server.waiting()).copied() else { return };
        let group = self.server.refused(item).expect("it waits");
        let (approved, now_ms) = (self.chance.percent(60), self.server_ms());
        let before: Vec<u64> =
            group.hashes().map(|h| self.server.times_logged(group.document, h)).collect();
        let done = self.server.decide_on(item, approved, now_ms);
        self.tell(format!("Sue approves {item} of {}: {approved}: {done:?}", group.document));
        let after = group.hashes().map(|h| self.server.times_logged(group.document, h));
        match (done, approved) {
            (Ok(()), true) => {
                assert!(after.into_iter().all(|times| times == 1), "it was let in");
            }
            (Ok(()), false) => {
                assert_eq!(after.collect::<Vec<_>>(), before);
            }
            (Err(error), _) => {
                // What is wrong with the work itself cannot be overruled.
                assert!(approved && matches!(error, ActError::Refused(_)), "{error}");
                assert_eq!(after.collect::<Vec<_>>(), before);
            }
        }
    }

    /// The brand changes what it wants.
    pub fn new_versions(&mut self) {
        let record = if self.chance.percent(50) {
            self.planogram += 1;
            brand::planogram(self.planogram)
        } else {
            self.price_list += 1;
            brand::price_list(self.price_list)
        };
        self.tell(format!("planogram {} and prices {}", self.planogram, self.price_list));
        self.server.write(vec![record], self.server_ms());
    }

    fn cancel_call(&mut self) {
        let call = self.chance.below(CALLS.into()) as u8;
        if self.oracle.cancelled.insert(VisitId::of_call(ORG, brand::call(call))) {
            self.tell(format!("call {call} is cancelled"));
            self.server.write(vec![brand::call_record(call, true)], self.server_ms());
        }
    }

    /// The server's disk is lost, and its newest backup is put in its place.
    fn restore(&mut self) {
        if let Some(backup) = self.backup.take() {
            self.tell("the server comes back from a backup");
            // What it said last is heard before it is lost, or never.
            self.network = Network::default();
            self.devices.iter_mut().for_each(Device::give_up);
            let before = std::mem::replace(&mut self.server, *backup);
            self.oracle.restored(&before, &self.server, &self.devices);
            self.tight = false;
            for number in 0..self.devices.len() {
                self.enrol_again(number);
            }
        }
    }

    /// A phone that the server has forgotten is enrolled again; copies of one are one to the server.
    fn enrol_again(&mut self, number: usize) {
        let now_ms = self.server_ms();
        let (phones, server) = (&mut self.devices, &mut self.server);
        if server.trusts(phones[number].id) {
            return;
        }
        if server.world.devices.contains_key(&phones[number].id) {
            return; // its access was withdrawn before
        }
        let known = phones.iter().find(|p| p.is_copy_of(&phones[number]) && server.trusts(p.id));
        let id = match known {
            Some(known) => known.id,
            None => {
                let id = DeviceId::from_bytes(self.chance.bytes());
                let (user, key) = (phones[number].user, phones[number].keypair.public());
                server.enrol(id, user, key, now_ms);
                id
            }
        };
        phones[number].is_now(id);
    }

    /// A phone's store is copied, and at once or later the copy goes on beside it or in its place.
    fn copy(&mut self, device: usize) {
        if let Some(copy) = self.copy.take() {
            let first = self.devices.iter().position(|phone| phone.is_copy_of(&copy));
            let Some(first) = first else { return };
            let known = self.devices[first].id;
            let number = match self.chance.percent(50) && !self.devices[first].lost {
                true => first,
                false => self.devices.len(),
            };
            if number == first {
                self.tell(format!("phone {number} is put back to what it was"));
                self.devices[number].put_back(*copy, self.now_ms);
            } else {
                self.tell(format!("phone {number} is a copy from before"));
                self.oracle.copied.insert(copy.user);
                self.devices.push(*copy);
            }
            if self.devices[number].id != known {
                self.devices[number].is_now(known);
            }
            if number == first {
                self.oracle.put_back(&self.server, &self.devices, number);
            }
        } else if self.oracle.copied.is_empty() {
            self.tell(format!("phone {device} is copied"));
            self.copy = Some(Box::new(self.devices[device].copy()));
            if self.chance.percent(50) {
                self.copy(device);
            }
        }
    }

    /// A phone that has handed over everything takes another key.
    fn change_key(&mut self, device: usize) {
        let now_ms = self.server_ms();
        let (phone, server) = (&mut self.devices[device], &mut self.server);
        let Ok(outbox) = phone.disk.outbox();
        // One that was copied would revoke its copy.
        let copied = self.copy.is_some() || !self.oracle.copied.is_empty();
        if !copied && outbox.is_empty() && server.trusts(phone.id) && !phone.full {
            let before = phone.id;
            phone.renew(DeviceId::from_bytes(self.chance.bytes()));
            server.enrol(phone.id, phone.user, phone.keypair.public(), now_ms);
            server.withdraw(before, now_ms);
            self.tell(format!("phone {device} takes another key"));
        }
    }

    /// A phone's disk loses something.
    pub fn rot(&mut self, device: usize) {
        if let Some(Rot { what, head }) = self.devices[device].rot(&mut self.chance) {
            self.tell(format!("on the disk of phone {device} {what}"));
            self.oracle.rotted(&self.server, &self.devices, device, head);
        }
    }

    /// An outlet, a person or a part of the tree goes elsewhere.
    fn reassign(&mut self) {
        let chance = &mut self.chance;
        let record = match chance.below(5) {
            0 => brand::territory_record(2, Some(chance.below(2) as u8)),
            1 | 2 => {
                let (at, by) = (1 + chance.below(2) as u8, 1 + chance.below(2) as u8);
                brand::outlet_record(1 + chance.below(OUTLETS.into()) as u8, at, by)
            }
            3 => {
                let scope = Scope::Distributor(brand::distributor(1 + chance.below(2) as u8));
                Record::Person(Person { scope, ..self.server.world.people[&SAM].clone() })
            }
            _ => {
                let scope = Scope::Territory(brand::territory(chance.below(3) as u8));
                let user = [RITA, SVEN][chance.index(2)];
                Record::Person(Person { scope, ..self.server.world.people[&user].clone() })
            }
        };
        let now_ms = self.server_ms();
        self.tell(format!("reassigned: {record:?}"));
        self.server.write(vec![record], now_ms);
    }

    // ---- people --------------------------------------------------------------------------------------

    fn note(&mut self) -> Note {
        let words = ["door is broken", "owner on holiday", "wants a new end cap", "rain came in"];
        let text = words[self.chance.index(words.len())];
        Note::new(text, self.chance.bytes()).expect("a fine note")
    }

    fn photo(&mut self) -> PhotoRef {
        let (hash, phash) = (self.chance.bytes(), self.chance.bits());
        let hash = sync_core::id::BlobHash(hash);
        PhotoRef { hash, bytes: 100_000, phash, check: Some(checks::PLANOGRAM), origin: None }
    }

    fn observation(&mut self) -> (Observation, Option<Note>) {
        let (chance, mut words) = (&mut self.chance, None);
        let product = brand::product(chance.index(brand::PRODUCTS.len()));
        let (check, subject, value) = match chance.below(8) {
            0..3 => {
                let facings = chance.below(4) as u32;
                let places = [Place::AsPlanned, Place::MovedAlong, Place::OtherShelf(2)];
                let place = if facings == 0 { 0 } else { chance.index(3) };
                let (place, in_stock) = (places[place], chance.percent(50));
                let position = 1 + chance.below(6) as u32;
                let subject = Subject::Position { planogram: 1, position };
                (checks::PLANOGRAM, subject, Value::Shelf { facings, in_stock, place })
            }
            3 => {
                let currency = "EUR".parse().expect("a currency");
                let minor = 100 + 10 * chance.below(20) as i64;
                let price = Value::Price(sync_core::model::Money { minor, currency });
                (checks::PRICE, Subject::Product(product), price)
            }
            4 => {
                let on_shelf = chance.percent(70);
                (checks::STOCK, Subject::Product(product), Value::Stock { on_shelf, units: None })
            }
            5 => (checks::DISPLAY, Subject::Display(1), Value::Met(chance.percent(50))),
            6 => {
                let value = match chance.below(4) {
                    3 => Value::Withdrawn,
                    option => Value::Choice(option as u32),
                };
                (checks::CHOICE, Subject::Outlet, value)
            }
            _ => {
                let note = words.insert(self.note());
                (checks::WORDS, Subject::Outlet, Value::Text(note.digest()))
            }
        };
        (Observation { check, subject, value }, words)
    }

    fn record(&mut self, visit: VisitId) -> Command {
        let (mut notes, mut facts) = (Vec::new(), Vec::<Observation>::new());
        for _ in 0..1 + self.chance.below(6) {
            let (fact, note) = self.observation();
            if !facts.iter().any(|f| f.check == fact.check && f.subject == fact.subject) {
                facts.push(fact);
                notes.extend(note);
            }
        }
        let photos = if self.chance.percent(20) { vec![self.photo()] } else { Vec::new() };
        Command::Record { visit, observations: facts, photos, notes }
    }

    /// What a person may think of doing; the rules decide whether it can be done.
    fn idea(&mut self, device: usize) -> Command {
        let Ok(documents) = self.devices[device].disk.documents();
        let visits: Vec<VisitId> = documents.into_iter().filter_map(DocId::visit).collect();
        let call = brand::call(self.chance.below(CALLS.into()) as u8);
        let Some(visit) = self.chance.pick(&visits).copied() else {
            return Command::StartCall(call);
        };
        let user = self.devices[device].user;
        let kept = self.devices[device].document(visit.into()).expect("a document that is listed");
        if self.chance.percent(10)
            && let Some(document) = self.refused_on(device)
        {
            let instance = self.chance.bytes();
            return match self.chance.percent(60) {
                true => Command::ProposeAgain { document, instance },
                false => Command::GiveUp { document, instance },
            };
        }
        match self.chance.below(100) {
            0..14 => Command::StartCall(call),
            14..18 => Command::StartUnplanned {
                visit: VisitId::fresh(self.now_ms.unsigned_abs(), self.chance.bytes()),
                outlet: brand::outlet(1 + self.chance.below(OUTLETS.into()) as u8),
                template: 1,
            },
            18..54 => self.record(visit),
            54..60 => {
                let outlet = brand::outlet(1 + self.chance.below(OUTLETS.into()) as u8);
                Command::CommentOutlet { outlet, text: self.note() }
            }
            60..66 => {
                let read = Visit::read(&kept.document);
                let own: Vec<ChangeHash> =
                    read.recordings.iter().filter(|r| r.entry.by == user).map(|r| r.hash).collect();
                match self.chance.pick(&own) {
                    Some(recording) => Command::Undo { visit, recording: *recording },
                    None => self.record(visit),
                }
            }
            66..68 => Command::Abandon(visit),
            68..82 => Command::Submit(visit),
            82..86 => self.contest(visit, &kept.document),
            86..87 => {
                let hashes: Vec<_> = kept.document.changes().iter().map(|c| c.hash()).collect();
                let answers = self.chance.pick(&hashes).copied();
                Command::Comment { visit, text: self.note(), answers }
            }
            87..94 => {
                let read = Visit::read(&kept.document);
                let conflicts: Vec<_> = read.conflicts().collect();
                match self.chance.pick(&conflicts) {
                    Some(((check, subject), live)) => {
                        let value = self.chance.pick(live).expect("a conflict has values");
                        let (subject, value) = (subject.clone(), value.value.clone());
                        Command::Resolve { visit, check: *check, subject, value }
                    }
                    None => self.record(visit),
                }
            }
            94..97 => {
                let reason = NotPossible::ALL[self.chance.index(5)];
                let note = Some(self.note());
                Command::NotPossible { call, reason, note, photos: Vec::new() }
            }
            97..99 => {
                let outlets = self.histories(device);
                let outlet = self.chance.pick(&outlets).copied();
                let outlet = outlet.unwrap_or_else(|| brand::outlet(1));
                Command::CommentOutlet { outlet, text: self.note() }
            }
            _ => {
                let number = 1 + self.chance.below(OUTLETS.into()) as u8;
                let (territory, distributor) = place_of(user);
                let known = RecordKey::outlet(brand::outlet(number));
                let Ok(known) = self.devices[device].disk.record(known);
                Command::Report {
                    outlet: match known.filter(|_| self.chance.percent(50)) {
                        None => OutletId::fresh(self.now_ms.unsigned_abs(), self.chance.bytes()),
                        Some(_) => brand::outlet(number),
                    },
                    name: format!("Kiosk {number}"),
                    address: "Harbour 1, 12345 Town".into(),
                    territory,
                    distributor,
                    note: Some(self.note()),
                    photos: Vec::new(),
                }
            }
        }
    }

    /// Somebody contests a value or the whole visit, or goes on with a contest.
    fn contest(&mut self, visit: VisitId, document: &Document) -> Command {
        let read = Visit::read(document);
        let text = self.note();
        if let Some(contest) = self.chance.pick(&read.contests)
            && self.chance.percent(60)
        {
            let (seen, contest) = (contest.state(&read), contest.hash);
            let (step, photos) = (ContestStep::ALL[self.chance.index(5)], Vec::new());
            return Command::Answer { visit, contest, seen, step, text, photos };
        }
        let pairs: Vec<_> = read.values.iter().collect();
        let pair = self.chance.pick(&pairs).filter(|_| self.chance.percent(80));
        let about =
            pair.map(|((check, subject), _)| About { check: *check, subject: subject.clone() });
        let said = pair.and_then(|(_, live)| live.first()).map(|live| live.value.clone());
        let claim =
            said.filter(|value| !matches!(value, Value::Text(_)) && self.chance.percent(50));
        let photos = if self.chance.percent(30) { vec![self.photo()] } else { Vec::new() };
        Command::Contest { visit, about, text, claim, photos }
    }

    /// One of the documents of which the server has refused something.
    fn refused_on(&mut self, device: usize) -> Option<DocId> {
        let phone = &self.devices[device];
        let Ok(mut documents) = phone.disk.documents();
        documents.retain(|id| phone.document(*id).is_some_and(|kept| kept.refused.is_some()));
        self.chance.pick(&documents).copied()
    }

    /// The outlets of whose history a phone has something.
    fn histories(&self, device: usize) -> Vec<OutletId> {
        let Ok(documents) = self.devices[device].disk.documents();
        let first = |id: &DocId| id.kind == DocKind::Outlet && !id.is_later_volume();
        documents.into_iter().filter(first).map(|id| OutletId::from_bytes(id.id)).collect()
    }

    /// A person does something on a phone.
    pub fn work(&mut self, device: usize) {
        let command = self.idea(device);
        let crash = match self.chance.below(40) {
            0 => Crash::BeforeCommit,
            1 => Crash::AfterCommit,
            _ => Crash::Never,
        };
        self.act(device, crash, command);
    }

    /// A person does this on a phone.
    pub fn act(&mut self, device: usize, crash: Crash, command: Command) -> Option<ChangeHash> {
        let what = format!("{command:?}");
        let again = matches!(command, Command::ProposeAgain { .. });
        let refused = match &command {
            Command::ProposeAgain { document, .. } | Command::GiveUp { document, .. } => {
                self.devices[device].document(*document)
            }
            _ => None,
        };
        let claims_what_stands = match &command {
            Command::Contest { visit, about: Some(about), claim: Some(claim), .. } => {
                let kept = self.devices[device].document((*visit).into());
                kept.is_some_and(|kept| Visit::read(&kept.document).says(about, claim))
            }
            _ => false,
        };
        let done = self.devices[device].act(self.now_ms, crash, command);
        self.tell(format!("phone {device} ({crash:?}): {what}\n{:>13}→ {done:?}", ""));
        if let (Ok(Some((document, _))), _) = (&done, &refused) {
            let kept = self.devices[device].document(*document).expect("it was just saved");
            let (server, phone) = (&self.server, &self.devices[device]);
            self.oracle.saved(server, device, phone, &kept, self.now_ms);
        }
        if let (Ok(_), Some(before)) = (&done, &refused) {
            self.oracle.dropped(device, &self.devices[device], before, again);
        }
        match done {
            Ok(Some((_, change))) => Some(change),
            Ok(None) => None,
            Err(error) => {
                let expected = match &error {
                    CommandError::NotHere(_) | CommandError::Nothing => true,
                    // What is over is not closed, and nobody objects with what stands.
                    CommandError::Refused(Refusal::Invalid(broken)) => match broken.field {
                        "step" => true,
                        field => field == "claim" && claims_what_stands,
                    },
                    CommandError::Refused(refusal) => {
                        // Never because of how the change is made: only because of what it would do.
                        matches!(refusal.code(), "no_right" | "unknown" | "out_of_scope")
                    }
                    CommandError::Stuck { .. } => true, // why it was refused is asked elsewhere
                    CommandError::Answered => false,    // whoever answers has just looked
                    CommandError::Store(never) => match *never {},
                };
                assert!(expected, "phone {device}: {what}: {error}");
                None
            }
        }
    }

    /// The supervisor judges a visit, as it is now or as it was on a page that was loaded earlier.
    fn review(&mut self) {
        let documents = self.server.documents();
        let visits: Vec<DocId> = documents.into_iter().filter(|d| d.visit().is_some()).collect();
        let Some(document) = self.chance.pick(&visits).copied() else { return };
        let held = self.server.held(document);
        let heads = match self.chance.pick(held.document.changes()) {
            Some(change) if self.chance.percent(30) => vec![change.hash()],
            _ => held.document.heads().to_vec(),
        };
        let verdict = [Verdict::Approved, Verdict::SentBack][self.chance.index(2)];
        let note = self.chance.percent(60).then(|| self.note());
        let comment = note.as_ref().map(Note::digest);
        self.tell(format!("Sue reviews {document}: {verdict:?} of {heads:?}"));
        let entry = |when| Entry::Review(Review { by: SUE, when, verdict, heads, comment });
        self.server.act(document, note.as_ref(), self.server_ms(), entry).expect("Sue may review");
    }

    /// Somebody has the right that what they wrote is erased.
    fn erase_words(&mut self) {
        let documents = self.server.documents();
        let Some(document) = self.chance.pick(&documents).copied() else { return };
        let held = self.server.held(document).document;
        let entries = held.changes().iter().filter_map(|change| change.entry().ok());
        let notes: Vec<BlobHash> = entries.flat_map(|entry| entry.notes()).collect();
        let Some(digest) = self.chance.pick(&notes).copied() else { return };
        if self.server.has_words(digest) == Some(true) {
            self.tell(format!("the words {digest} in {document} are erased"));
            self.oracle.erased.insert(digest);
            self.server.erase(digest, self.server_ms());
        }
    }

    /// The supervisor says something in a contest, and puts right what she finds wrong.
    fn answer_in_console(&mut self) {
        let documents = self.server.documents();
        let visits = documents.into_iter().filter(|document| document.visit().is_some());
        let mut open = Vec::new();
        for document in visits {
            let visit = Visit::read(&self.server.held(document).document);
            open.extend(visit.contests.clone().into_iter().map(|c| (document, visit.clone(), c)));
        }
        let Some((document, visit, contest)) = self.chance.pick(&open).cloned() else { return };
        let step = ContestStep::ALL[self.chance.index(5)];
        self.tell(format!("Sue in contest {} of {document}: {step:?}", contest.hash));
        if let Some(observed) = contest.put_right(&visit).filter(|_| step == ContestStep::Accept) {
            let act = Act::Observe(observed);
            let entry = |when| Entry::Recording(Recording { by: SUE, when, place: None, act });
            self.server.act(document, None, self.server_ms(), entry).expect("Sue may put it right");
        }
        let (note, answers) = (self.note(), Some(contest.hash));
        let (text, word) = (note.digest(), Some(Word::Step(step, Vec::new())));
        let entry = |when| Entry::Post(Post { answers, word, ..Post::new(SUE, when, text) });
        self.server.act(document, Some(&note), self.server_ms(), entry).expect("Sue may answer");
    }

    fn settle_in_console(&mut self) {
        let documents = self.server.documents();
        let Some(document) = self.chance.pick(&documents).copied() else { return };
        if document.visit().is_none() {
            return;
        }
        let visit = Visit::read(&self.server.held(document).document);
        let conflicts: Vec<_> = visit.conflicts().collect();
        let Some(((check, subject), live)) = self.chance.pick(&conflicts) else { return };
        let mut supersedes: Vec<ChangeHash> = live.iter().map(|l| l.recording).collect();
        supersedes.sort_unstable();
        supersedes.dedup();
        let value = live[0].value.clone();
        let observations =
            Observations(vec![Observation { check: *check, subject: subject.clone(), value }]);
        let template = visit.start.as_ref().expect("a visit has begun").template;
        let act = Act::Observe(Observed {
            template,
            planograms: Vec::new(),
            price_list: None,
            observations,
            photos: Vec::new(),
            supersedes,
        });
        self.tell(format!("Sue settles a conflict in {document}"));
        let entry = |when| Entry::Recording(Recording { by: SUE, when, place: None, act });
        self.server.act(document, None, self.server_ms(), entry).expect("Sue may settle conflicts");
    }

    // ---- meetings ----

    /// A phone meets another one, as well as the line and the phones hold; afterwards it may be lost for ever.
    fn meet_by_chance(&mut self, device: usize) {
        let other = (device + 1 + self.chance.index(self.devices.len() - 1)) % self.devices.len();
        if self.devices[other].lost {
            return;
        }
        let (crash, cut) = match self.chance.below(10) {
            0 => (Crash::BeforeCommit, None),
            1 => (Crash::AfterCommit, None),
            2..5 => (Crash::Never, Some(self.chance.below(6_000))),
            _ => (Crash::Never, None),
        };
        self.meet(device, other, cut, crash);
        let alone = self.devices.iter().all(|device| !device.lost);
        let carried = self.devices[other].carries_all_of(&self.devices[device]);
        if alone && carried && self.chance.percent(10) {
            self.lose(device);
        }
    }

    /// A phone is lost for ever, with all that is on it.
    pub fn lose(&mut self, device: usize) {
        self.tell(format!("phone {device} is lost for ever"));
        self.devices[device].give_up();
        self.devices[device].lost = true;
        self.oracle.went(&self.server, &self.devices, device);
    }

    /// Two phones meet on a line that is cut after so many bytes, in pieces as chance has it; one of them may crash on
    /// the way.
    pub fn meet(
        &mut self,
        a: usize,
        b: usize,
        mut left: Option<u64>,
        crash: Crash,
    ) -> [Meeting; 2] {
        self.tell(format!("phones {a} and {b} meet, cut: {left:?}, {crash:?}"));
        let places = [a, b];
        let crashes_at = match crash {
            Crash::Never => u64::MAX,
            _ => self.chance.below(20),
        };
        let mut sides: Vec<_> = places.iter().map(|place| self.devices[*place].meet()).collect();
        let (mut under_way, mut heard) = ([Vec::new(), Vec::new()], 0);
        for (side, (_, hello)) in sides.iter().enumerate() {
            under_way[1 - side].extend_from_slice(hello);
        }
        while let Some(to) = self.chance.pick(&[0, 1]).copied() {
            let to = if under_way[to].is_empty() { 1 - to } else { to };
            let ended = sides[to].0.end().is_some();
            if under_way[to].is_empty()
                || left == Some(0)
                || (ended && under_way[1 - to].is_empty())
            {
                break;
            }
            let most = left.unwrap_or(u64::MAX).min(under_way[to].len() as u64);
            let piece = 1 + self.chance.below(most.min(2_000)) as usize;
            left = left.map(|left| left - piece as u64);
            let piece: Vec<u8> = under_way[to].drain(..piece).collect();
            let now = if heard == crashes_at { crash } else { Crash::Never };
            heard += 1;
            let meeting = &mut sides[to].0;
            let said = self.devices[places[to]].hear_phone(meeting, &piece, self.now_ms, now);
            let Some(said) = said else { break };
            under_way[1 - to].extend(said);
        }
        for (side, place) in sides.iter().zip(places) {
            self.tell(format!("  phone {place}: {:?}", side.0));
            // One may have another key since the other has synced, or the other's disk has lost the one it had.
            let withdrawn =
                |place: usize| self.oracle.withdrew(&self.server, self.devices[place].id);
            let other = if place == a { b } else { a };
            let fine = match side.0.end() {
                Some(Err(Broken::Left(code))) => {
                    code == Broken::Stranger.code()
                        || code == Broken::Itself.code()
                        || (code == Broken::Revoked.code() && withdrawn(place))
                }
                Some(Err(Broken::Itself)) => self.devices[a].id == self.devices[b].id,
                Some(Err(Broken::Revoked)) => withdrawn(other),
                Some(Err(broken)) => *broken == Broken::Stranger,
                Some(Ok(())) | None => true,
            };
            assert!(fine, "honest phones keep to the order of a meeting");
        }
        let [a, b] = <[_; 2]>::try_from(sides).expect("two");
        [a.0, b.0]
    }

    // ---- sync ----------------------------------------------------------------------------------------

    /// A phone begins to sync, over the network as it is.
    pub fn begin_sync(&mut self, device: usize) {
        if let Some((number, question)) = self.devices[device].sync(self.now_ms) {
            self.tell(format!("phone {device} begins to sync"));
            self.ask(device, number, question);
        }
    }

    fn ask(&mut self, device: usize, number: u64, question: Question) {
        self.asked_ms.insert((device, number), self.now_ms);
        let packet = Packet { device, number, load: Load::Question(question) };
        self.network.send(packet, &self.faults, &mut self.chance);
    }

    /// Something arrives.
    pub fn deliver(&mut self) {
        let phone = match self.chance.below(20) {
            0 => Crash::BeforeCommit,
            1 => Crash::AfterCommit,
            _ => Crash::Never,
        };
        self.deliver_with(phone);
    }

    /// Something arrives; if it is at a phone, that does this.
    pub fn deliver_with(&mut self, phone: Crash) {
        let Some(Packet { device, number, load }) = self.network.deliver(&mut self.chance) else {
            return;
        };
        match load {
            Load::Question(question) => {
                let crash = std::mem::replace(&mut self.server_crash, backend::Crash::Never);
                let answer = self.answer(device, number, &question, crash);
                if let Some(answer) = answer {
                    let packet = Packet { device, number, load: Load::Answer(answer) };
                    self.network.send(packet, &self.faults, &mut self.chance);
                }
            }
            Load::Answer(answer) => {
                self.hear(device, number, &answer, phone);
            }
        }
    }

    /// A question arrives at the server, and its answer at the phone.
    pub fn answer_to(&mut self, device: usize, number: u64, question: &Question) {
        if let Some(answer) = self.answer(device, number, question, backend::Crash::Never) {
            self.hear(device, number, &answer, Crash::Never);
        }
    }

    fn answer(
        &mut self,
        device: usize,
        number: u64,
        question: &Question,
        crash: backend::Crash,
    ) -> Option<Answer> {
        let (id, now_ms) = (self.devices[device].id, self.server_ms());
        let before = self.tight.then(|| self.server.dump(&[]));
        let taken_in = |refused: Option<&Refused>| match refused {
            None => true,
            Some(refused) => *refused == Refused::Crashed && crash != backend::Crash::BeforeCommit,
        };
        let answer = match question {
            Question::Push(bytes) => {
                let reply = self.server.push(id, bytes, now_ms, crash);
                let push = from_wire::<PushRequest>(ORG, bytes);
                let told = push.as_ref().ok().map(|push| {
                    (push.previous, push.documents().map(|id| id.to_string()).collect::<Vec<_>>())
                });
                self.tell(format!(
                    "the server takes a push of phone {device} in, after {told:?}: {reply:?}"
                ));
                if let Ok(push) = push
                    && taken_in(reply.as_ref().err())
                {
                    self.oracle.pushed(&self.server, id, &push, bytes, reply.as_ref().ok());
                }
                reply.map(|reply| Answer::Pushed(encode(&reply)))
            }
            Question::Cargo(bytes) => {
                let reply = self.server.cargo(id, bytes, now_ms, crash);
                self.tell(format!("the server takes cargo of phone {device} in: {reply:?}"));
                if let Ok(cargo) = from_wire::<CargoRequest>(ORG, bytes)
                    && taken_in(reply.as_ref().err())
                {
                    self.oracle.delivered(&self.server, id, &cargo, bytes, reply.as_ref().ok());
                }
                reply.map(|reply| Answer::Delivered(encode(&reply)))
            }
            Question::Pull(bytes) => {
                let reply = self.server.pull(id, bytes, now_ms);
                self.tell(format!("the server answers a pull of phone {device}"));
                if let Ok(PullReply { cursor, more, filled, gone, groups, .. }) = &reply {
                    let documents: Vec<_> = groups
                        .iter()
                        .map(|g| (g.document, g.hashes().collect::<Vec<_>>()))
                        .collect();
                    self.tell(format!(
                        "  up to {}, more: {more}, {filled:?}, gone: {gone:?}, {documents:?}",
                        cursor.sequence
                    ));
                }
                if let Ok(reply) = &reply {
                    self.oracle.pages += u64::from(reply.more);
                    let user = self.devices[device].user;
                    let shown = (&reply.records[..], &reply.groups[..], &reply.notes[..]);
                    self.oracle.shown(&self.server, user, shown);
                    let phone = &self.devices[device];
                    self.oracle.compared(&self.server, (device, number), phone, reply);
                }
                reply.map(|reply| Answer::Pulled(encode(&reply)))
            }
            Question::Repair(bytes) => {
                self.oracle.repaired(&self.devices[device], device, number);
                let reply = self.server.repair(id, bytes, now_ms);
                if let Ok(reply) = &reply {
                    let user = self.devices[device].user;
                    let shown = (&reply.records[..], &reply.groups[..], &reply.notes[..]);
                    self.oracle.shown(&self.server, user, shown);
                }
                self.tell(format!("the server answers a repair of phone {device}: {reply:?}"));
                reply.map(|reply| Answer::Repaired(encode(&reply)))
            }
        };
        if let (Some(before), Err(Refused::Full)) = (before, &answer) {
            let in_parts = matches!(question, Question::Push(_) | Question::Cargo(_));
            let taken = in_parts && self.server.taken > 0;
            assert!(taken || before == self.server.dump(&[]), "a full disk took half of it");
        }
        match answer {
            Ok(answer) => Some(answer),
            Err(Refused::Failed(error)) => panic!("the server failed: {error}"),
            Err(Refused::Crashed) => None,
            Err(refused) => Some(Answer::Refused(refused)),
        }
    }

    fn hear(&mut self, device: usize, number: u64, answer: &Answer, crash: Crash) -> Option<Turn> {
        let before = self.devices[device].disk.profile().cursor;
        let waits = self.devices[device].syncing();
        let hears = self.devices[device].waits_for(number);
        if let (true, Answer::Pushed(reply)) = (hears, answer) {
            self.oracle.told(&self.devices[device], reply);
        }
        let heard = self.devices[device].hear(number, answer, self.now_ms, crash);
        if let Some(asked_ms) = self.asked_ms.get(&(device, number)) {
            self.oracle.slowest_ms = self.oracle.slowest_ms.max(self.now_ms - asked_ms);
        }
        if let Answer::Pulled(page) = answer
            && heard.is_none()
            && crash != Crash::Never
            && waits
            && from_wire(ORG, page).is_ok_and(|page: PullReply| page.more)
        {
            self.oracle.stumbled += 1;
        }
        let after = self.devices[device].disk.profile().cursor;
        if let (Some(before), Some(after)) = (before, after) {
            assert!(before.sequence <= after.sequence, "phone {device}: the cursor went back");
        }
        let (turn, question) = heard?;
        self.tell(format!("phone {device} hears an answer: {turn:?}"));
        if let Some((number, question)) = question {
            self.ask(device, number, question);
        }
        Some(turn)
    }

    /// A phone syncs over a perfect line until it is done, whatever else is on its way.
    pub fn sync_now(&mut self, device: usize) -> Step {
        self.devices[device].give_up();
        let Some((mut number, mut question)) = self.devices[device].sync(self.now_ms) else {
            return Step::Stop(Stop::Unreachable);
        };
        for _ in 0..1_000 {
            self.now_ms += 100;
            self.asked_ms.insert((device, number), self.now_ms);
            let answer = self.answer(device, number, &question, backend::Crash::Never);
            let answer = answer.expect("the server does not crash");
            if let Answer::Pushed(reply) = &answer {
                self.oracle.told(&self.devices[device], reply);
            }
            let heard = self.devices[device].hear(number, &answer, self.now_ms, Crash::Never);
            match heard.expect("the phone waits for it") {
                (Turn::Over(step), _) => return step,
                (Turn::Asks, next) => (number, question) = next.expect("it asks something"),
            }
        }
        panic!("phone {device}: the sync does not end");
    }

    /// The network recovers, everything that is still on its way arrives, everyone syncs.
    pub fn come_to_rest(&mut self) {
        self.tell("the network recovers");
        self.faults = Faults { loss: 0, repeat: 0, cut: 0 };
        self.server_crash = backend::Crash::Never;
        self.make_room();
        self.server_off_ms = 0;
        for user in [RITA, SAM, SVEN] {
            if !self.server.world.people[&user].active {
                self.dismiss_or_take_on(user);
            }
        }
        self.living().into_iter().for_each(|device| self.enrol_withdrawn(device));
        while !self.network.is_empty() {
            self.deliver();
        }
        // Once to hand over what is new, once more to fetch what the others handed over; what was carried before what it
        // builds on was back in a restored server's log, and what a repair found unsent, takes a round of its own. A day
        // later what a disk has lost is noticed.
        let rotten = !self.oracle.rotten.is_empty();
        if rotten {
            // Whatever the server's clock was when they were counted.
            self.now_ms += COUNT_MS + if self.oracle.clock_jumped { 2 * YEAR_MS } else { 0 };
        }
        let rounds = match rotten {
            true => 4,
            false => 2 + u8::from(self.oracle.lost_log || !self.oracle.copied.is_empty()),
        };
        for _ in 0..rounds {
            for device in self.living() {
                self.now_ms += 1_000;
                let step = self.sync_now(device);
                assert_eq!(
                    step,
                    Step::Done,
                    "phone {device}: {:?}",
                    self.devices[device].complaint
                );
            }
        }
    }

    /// Everything that must hold when the world has come to rest.
    pub fn check(&mut self) {
        self.oracle.check(&self.server, &self.devices);
        self.nothing_changes_when_nothing_is_new();
        self.old_pushes_change_nothing();
        self.nothing_changes_when_nothing_is_new();
    }

    fn nothing_changes_when_nothing_is_new(&mut self) {
        for device in self.living() {
            let before = self.devices[device].disk.clone();
            let size = self.server.head().sequence;
            self.devices[device].give_up();
            let (mut number, mut question) =
                self.devices[device].sync(self.now_ms).expect("no sync is under way");
            // What lacks what went with a lost phone and a lost log is carried until somebody discards it.
            while let Question::Cargo(_) = &question {
                assert!(self.oracle.lost_log, "phone {device} has cargo left");
                let answer = self.answer(device, number, &question, backend::Crash::Never);
                let answer = answer.expect("the server does not crash");
                let heard = self.devices[device].hear(number, &answer, self.now_ms, Crash::Never);
                let (_, next) = heard.expect("the phone waits for it");
                (number, question) = next.expect("it pulls");
            }
            let Question::Pull(bytes) = question else { panic!("phone {device} has work left") };
            let id = self.devices[device].id;
            let reply: PullReply = self.server.pull(id, &bytes, self.server_ms()).expect("a reply");
            assert!(!reply.more && reply.groups.is_empty() && reply.records.is_empty());
            let reply = encode(&reply);
            assert!(bytes.len() + reply.len() < 250, "a sync of nothing took too many bytes");
            let answer = Answer::Pulled(reply);
            let heard = self.devices[device].hear(number, &answer, self.now_ms, Crash::Never);
            assert_eq!(heard.map(|(turn, _)| turn), Some(Turn::Over(Step::Done)));
            assert!(before.holds_the_same(&self.devices[device].disk), "phone {device} changed");
            assert_eq!(self.server.head().sequence, size);
        }
    }

    fn living(&self) -> Vec<usize> {
        (0..self.devices.len()).filter(|device| !self.devices[*device].lost).collect()
    }

    fn old_pushes_change_nothing(&mut self) {
        // What lacked its parents for a while is judged again, and may be refused for something else, and then its words
        // are kept for who decides.
        let rotten = !self.oracle.rotten.is_empty();
        let but = if self.oracle.lost_log || rotten {
            &[
                "device",
                "quarantine",
                "quarantine_change",
                "quarantine_photo",
                "quarantine_left",
                "note",
            ][..]
        } else {
            &["device"]
        };
        let before = self.server.dump(but);
        let size = self.server.head().sequence;
        let discarded_early = |apart: &backend::Apart| {
            apart.state == Outcome::DISCARDED && Outcome::is_early(&apart.code)
        };
        let early = self.server.apart().iter().any(discarded_early);
        let mut so_far = size;
        for (id, bytes) in self.oracle.pushes.clone() {
            if !self.server.trusts(id) {
                continue; // it has another key by now
            }
            let push: PushRequest = from_wire(ORG, &bytes).expect("it was read before");
            let reply: PushReply = self
                .server
                .push(id, &bytes, self.server_ms(), backend::Crash::Never)
                .expect("a push that was taken before is taken again");
            let written = self.server.head().sequence;
            if written > so_far {
                let named = |group: &Group| (group.document, group.hashes().collect::<Vec<_>>());
                let groups: Vec<_> = push.groups.iter().map(named).collect();
                self.tell(format!(
                    "an old push of {id} takes the log to {written}: {groups:?} {:?}",
                    reply.outcomes
                ));
                so_far = written;
            }
            for (group, outcome) in push.groups.iter().zip(&reply.outcomes) {
                let logged =
                    group.hashes().all(|h| self.server.times_logged(group.document, h) == 1);
                let accepted = matches!(outcome, Outcome::Accepted {} | Outcome::LetGo {});
                assert_eq!(accepted, logged, "{:?}: {outcome:?}", group.document);
            }
        }
        for (id, bytes) in self.oracle.deliveries.clone() {
            if !self.server.trusts(id) {
                continue;
            }
            let again = self.server.cargo(id, &bytes, self.server_ms(), backend::Crash::Never);
            let outcomes = again.expect("cargo that was taken before is taken again").outcomes;
            let refused = |outcome: &Delivery| matches!(outcome, Delivery::Refused { .. });
            assert!(!outcomes.iter().any(refused), "{outcomes:?}");
        }
        // What came before what it builds on, and is not on its phone any more, for that was put back or has lost it, or was given up or discarded, fits
        // now.
        let oracle = &self.oracle;
        let without_it = !oracle.dropped.is_empty() || !oracle.put_back.is_empty() || early;
        if (rotten || (oracle.lost_log && without_it)) && self.server.head().sequence > size {
            self.come_to_rest();
            return;
        }
        assert_eq!(self.server.head().sequence, size, "an old push was written again");
        assert!(self.server.dump(but) == before, "an old push changed something");
    }
}

fn moment(now_ms: i64) -> Moment {
    Moment { wall_ms: now_ms, boot: 0, boot_ms: 0, anchor: 0, skew_ms: Some(0), life: None }
}

/// Where a person of the field would say that a new store lies.
fn place_of(user: UserId) -> (sync_core::id::TerritoryId, DistributorId) {
    let territory = if user == SVEN { 2 } else { 1 };
    (brand::territory(territory), brand::distributor(1))
}
