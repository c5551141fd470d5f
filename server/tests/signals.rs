//! The field's signals on days that are made up from a seed and labelled: honest ones with the errors of real phones,
//! and faked ones. What it prints is in docs/benchmarks.md: `cargo test -p server --test signals -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{Connection, params};
use server::signals::Kind;
use server::signals::field::{Ground, Known, of_visit};
use server::store::field::{Unjudged, judged};
use server::store::log::Held;
use server::store::migrate;
use sync_core::document::{Document, Entry};
use sync_core::id::{
    Actor, BlobHash, DeviceId, DistributorId, OrgId, OutletId, TerritoryId, UserId, VisitId,
};
use sync_core::model::Geo;
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::visit::{
    Act, Observation, Observations, Observed, PhotoOrigin, PhotoRef, Recording, Subject,
    Submission, Value, Versioned,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A Monday, 2026-11-23, midnight.
const MONDAY: i64 = 1_795_392_000_000;
const DAYS: i64 = 5;
const VISITS_A_DAY: usize = 7;
const HONEST: u64 = 30;
const OF_EACH: u64 = 4;
const TOWNS: u64 = 5;

/// How somebody works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Goes there, looks, types.
    Honest,
    /// Sits in an office while a program says that the phone is at one outlet after the other, and says so.
    Mock,
    /// The same, with a program that hides itself.
    HiddenMock,
    /// Types everything in an office, where the phone says that it is.
    Office,
    /// Types the visits of the day at the first outlet.
    Batch,
    /// Goes there and types without looking.
    Hasty,
    /// A program types, at the outlets, as fast as somebody would, and always the same.
    Clockwork,
    /// Goes there the day after, with the clock turned back.
    BackDated,
    /// The same, and starts the phone again before it sends anything.
    Restarted,
    /// Goes there, and attaches photos that were taken at home.
    Album,
}

impl Way {
    const FAKED: [Self; 9] = [
        Self::Mock,
        Self::HiddenMock,
        Self::Office,
        Self::Batch,
        Self::Hasty,
        Self::Clockwork,
        Self::BackDated,
        Self::Album,
        Self::Restarted,
    ];

    /// The wall clock is a day behind.
    fn turns_back(self) -> bool {
        matches!(self, Self::BackDated | Self::Restarted)
    }

    /// What is to be noticed of it, one of these at least.
    fn told_by(self) -> &'static [Kind] {
        match self {
            Self::Honest => &[],
            Self::Mock => &[Kind::Mocked],
            Self::HiddenMock => &[Kind::Travel],
            Self::Office | Self::Batch => &[Kind::Outside],
            Self::Hasty => &[Kind::Short],
            Self::Clockwork => &[Kind::Regular],
            Self::BackDated => &[Kind::Clock],
            Self::Restarted => &[Kind::Clock, Kind::Wide],
            Self::Album => &[Kind::Camera],
        }
    }
}

/// Numbers that look like chance, the same every time.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, from: f64, to: f64) -> f64 {
        from + self.share() * (to - from)
    }

    fn once_in(&mut self, n: f64) -> bool {
        self.share() * n < 1.0
    }

    /// Normal, with a deviation of one.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }

    fn id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.bits().to_be_bytes());
        id[8..].copy_from_slice(&self.bits().to_be_bytes());
        id
    }

    fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.bits() as usize % (at + 1));
        }
    }
}

/// Metres east and north of the middle of the town.
type Spot = (f64, f64);

fn geo((east, north): Spot, accuracy_m: Option<u32>, mock: Option<bool>) -> Geo {
    let lat = 59.3 + north / 111_195.0;
    let lon = 18.0 + east / (111_195.0 * 59.3_f64.to_radians().cos());
    Geo { mock, ..Geo::from_degrees(lon, lat, accuracy_m).unwrap() }
}

fn metres((a, b): Spot, (c, d): Spot) -> f64 {
    (a - c).hypot(b - d)
}

/// Photos of a screen: none, or one whose camera says where it was. One in five does not; of ten that do, one says where
/// it was a while ago.
fn taken(dice: &mut Dice, (east, north): Spot) -> Vec<PhotoRef> {
    if dice.once_in(4.0) {
        return Vec::new();
    }
    let wrong = if dice.once_in(10.0) { 800.0 } else { dice.between(5.0, 60.0) * 0.66 };
    let spot = (east + dice.normal() * wrong, north + dice.normal() * wrong);
    let origin = PhotoOrigin {
        file: BlobHash([1; 32]),
        shown_ms: None,
        offset_min: None,
        place: (!dice.once_in(5.0)).then(|| geo(spot, None, None)),
        editor: None,
        written_ms: None,
    };
    let (hash, origin) = (BlobHash::of(&dice.bits().to_be_bytes()), Some(origin));
    vec![PhotoRef { hash, bytes: 1, phash: 0, check: None, origin }]
}

struct Outlet {
    id: OutletId,
    /// Where it is.
    spot: Spot,
    /// Where the catalogue has it.
    known: Geo,
}

struct Phone {
    person: UserId,
    device: DeviceId,
    actor: Actor,
    way: Way,
    /// By how much the wall clock is wrong, and whether the phone knows.
    wrong_ms: i64,
    knows: bool,
    office: Spot,
    /// How long this person is in an outlet.
    pace: f64,
}

/// A visit as the server has it.
struct Made {
    id: VisitId,
    way: Way,
    held: Held,
    outlet: usize,
}

struct Town {
    dice: Dice,
    outlets: Vec<Outlet>,
}

impl Town {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let outlets = (0..150).map(|_| {
            let spot = (dice.between(-15_000.0, 15_000.0), dice.between(-15_000.0, 15_000.0));
            // Of a hundred outlets one is somewhere else on the map.
            let off = if dice.once_in(100.0) { dice.between(300.0, 800.0) } else { 25.0 };
            let known =
                (spot.0 + off * dice.normal().clamp(-1.0, 1.0), spot.1 + 20.0 * dice.normal());
            Outlet { id: OutletId::from_bytes(dice.id()), spot, known: geo(known, None, None) }
        });
        let outlets = outlets.collect();
        Self { dice, outlets }
    }

    fn phone(&mut self, way: Way) -> Phone {
        let dice = &mut self.dice;
        // Of twenty-five people one has set the clock wrong; most phones hear the right time in the morning.
        let wrong =
            if dice.once_in(25.0) { dice.between(20.0, 90.0) * MINUTE as f64 } else { 2_000.0 };
        let device = dice.id();
        Phone {
            person: UserId::from_bytes(dice.id()),
            device: DeviceId::from_bytes(device),
            actor: Actor::new(&[device[0]; 32], device[..8].try_into().unwrap()),
            way,
            wrong_ms: wrong as i64,
            knows: !dice.once_in(5.0),
            office: (dice.between(-15_000.0, 15_000.0), dice.between(-15_000.0, 15_000.0)),
            pace: dice.between(12.0, 30.0),
        }
    }

    /// What a receiver says of a spot: 5 to 60 m wrong, and sometimes much more, of which it knows half of the time.
    fn fix(&mut self, spot: Spot) -> Geo {
        let dice = &mut self.dice;
        let radius = dice.between(5.0, 60.0);
        let outlier = dice.once_in(50.0);
        let wrong = if outlier { dice.between(150.0, 1_500.0) } else { radius };
        let says = if outlier && dice.once_in(2.0) { wrong } else { radius };
        // Two thirds lie within the radius: a deviation of 0.66 of it each way.
        let (east, north) = (dice.normal() * wrong * 0.66, dice.normal() * wrong * 0.66);
        geo((spot.0 + east, spot.1 + north), Some(says.round() as u32), Some(false))
    }

    /// A person's week.
    fn week(&mut self, phone: &Phone, made: &mut Vec<Made>) {
        for day in 0..DAYS {
            let midnight = MONDAY + day * DAY;
            let mut at = midnight + 8 * HOUR + (self.dice.share() * HOUR as f64) as i64;
            let mut route: Vec<usize> = (0..self.outlets.len()).collect();
            self.dice.shuffle(&mut route);
            route.truncate(VISITS_A_DAY);
            // As planned routes do: the next is near.
            for n in 1..route.len() {
                let from = self.outlets[route[n - 1]].spot;
                let near = |at: &usize| metres(from, self.outlets[*at].spot) as i64;
                let nearest = (n..route.len()).min_by_key(|m| near(&route[*m])).unwrap();
                route.swap(n, nearest);
            }
            let mut before = self.outlets[route[0]].spot;
            for (n, outlet) in route.iter().copied().enumerate() {
                let spot = self.outlets[outlet].spot;
                let speed = self.dice.between(15.0, 60.0) / 3.6;
                let travelled = match phone.way {
                    Way::Mock | Way::HiddenMock | Way::Office | Way::Batch => 20_000.0,
                    _ => metres(before, spot) * 1.3 / speed * 1_000.0 + 120_000.0,
                };
                at += travelled as i64;
                before = spot;
                let honest = phone.way == Way::Batch && n == 0;
                let way = if honest { Way::Honest } else { phone.way };
                let first = self.outlets[route[0]].spot;
                made.push(self.visit(phone, way, outlet, first, (day, &mut at)));
            }
        }
    }

    fn visit(
        &mut self,
        phone: &Phone,
        way: Way,
        outlet: usize,
        first: Spot,
        (day, at): (i64, &mut i64),
    ) -> Made {
        let minutes = match way {
            Way::Honest | Way::BackDated | Way::Restarted | Way::Album => {
                (phone.pace * (1.0 + 0.3 * self.dice.normal())).max(4.0)
            }
            Way::Mock | Way::HiddenMock | Way::Office | Way::Batch => self.dice.between(1.5, 4.0),
            Way::Hasty => self.dice.between(0.1, 0.35),
            Way::Clockwork => phone.pace,
        };
        let behind = if way.turns_back() { DAY } else { 0 };
        let from = *at + behind;
        let until = from + (minutes * MINUTE as f64) as i64;
        *at = until - behind;
        let reboots = self.dice.once_in(40.0) || way == Way::Restarted;
        let late = self.dice.once_in(3.0);
        let camera_at = if way == Way::Album { phone.office } else { self.outlets[outlet].spot };
        let mut document =
            Document::new(OrgId::from_bytes([9; 16]), VisitId::from_bytes(self.dice.id()).into());
        let (mut times, mut devices) = (HashMap::new(), HashMap::new());
        let midnight = MONDAY + day * DAY + behind;
        // When the phone has heard of the log: mostly in the morning, but whoever turns the clock back takes care.
        let mut heard = Dice(u64::from_be_bytes(phone.device.as_bytes()[..8].try_into().unwrap()));
        let heard = heard.bits().wrapping_add(day as u64) % if way.turns_back() { 4 } else { 10 };
        let days = [0, 1, 2, 5].get(heard as usize).copied().unwrap_or(0);
        let moment = |at: i64, boot: u32| Moment {
            wall_ms: at + phone.wrong_ms - behind,
            boot,
            boot_ms: u64::try_from(at - midnight).unwrap(),
            anchor: 7,
            // It is started every morning.
            skew_ms: (phone.knows && days == 0 && behind == 0).then_some(-phone.wrong_ms),
            life: None,
        };
        let receipt = if late { midnight + 20 * HOUR } else { until + 90_000 };
        let boot = day as u32 + 1;
        let pushed = moment(receipt, boot + if reboots { 100 } else { 0 });
        let mut write = |document: &mut Document, entry: Entry| {
            let change = document.next(phone.actor, &entry).unwrap();
            let anchor = Some(midnight + 6 * HOUR - days * DAY);
            let age = entry.when().age_ms(&pushed);
            let estimate = CaptureTime::estimate(entry.when(), age, anchor, receipt);
            times.insert(change.hash(), estimate);
            devices.insert(change.hash(), phone.device);
            document.insert(change).unwrap();
        };
        let spot = match way {
            Way::Office => phone.office,
            Way::Batch => first,
            _ => self.outlets[outlet].spot,
        };
        let template = Versioned { number: 1, version: 1 };
        let (territory, distributor) =
            (TerritoryId::from_bytes([1; 16]), DistributorId::from_bytes([1; 16]));
        let id = document.id().id;
        // Apart, so that whoever has no camera is who they would be.
        let mut camera = Dice(u64::from_be_bytes(id[..8].try_into().unwrap()));
        let screens = 4;
        for screen in 0..=screens {
            let place = Some(match way {
                Way::Mock => geo(spot, Some(5), Some(true)),
                Way::HiddenMock => geo(spot, Some(5), Some(false)),
                _ => self.fix(spot),
            });
            let when = moment(from + (until - from) * screen / (screens + 1), boot);
            let count = if way == Way::Hasty { 12 } else { 4 + self.dice.bits() % 9 };
            let fact =
                |n| Observation { check: n, subject: Subject::Outlet, value: Value::YesNo(true) };
            let facts = (1..=count as u32).map(|n| fact(screen as u32 * 20 + n)).collect();
            let act = match screen {
                0 => Act::Start {
                    outlet: self.outlets[outlet].id,
                    call: None,
                    territory,
                    distributor,
                    template,
                },
                _ => Act::Observe(Observed {
                    template,
                    planograms: Vec::new(),
                    price_list: None,
                    observations: Observations(facts),
                    photos: taken(&mut camera, camera_at),
                    supersedes: Vec::new(),
                }),
            };
            write(
                &mut document,
                Entry::Recording(Recording { by: phone.person, when, place, act }),
            );
        }
        let submission = Submission { by: phone.person, when: moment(until, boot), place: None };
        write(&mut document, Entry::Submission(submission));
        let id = VisitId::from_bytes(id);
        let held = Held { document, audience: None, times, devices, let_go: false };
        Made { id, way, held, outlet }
    }
}

/// The kinds of signals of each visit, and the rows that they are made of, when the visits come in this order.
fn noticed(
    town: &Town,
    visits: &[&Made],
) -> (BTreeMap<VisitId, BTreeSet<Kind>>, Vec<Vec<rusqlite::types::Value>>) {
    let mut db = Connection::open_in_memory().unwrap();
    migrate(&mut db).unwrap();
    let tx = db.transaction().unwrap();
    for made in visits {
        let outlet = &town.outlets[made.outlet];
        tx.prepare_cached(
            "INSERT INTO visit (org, visit, outlet, audience, territory, distributor, day, status,
                 people, conflicts, news, photos, started_ms, changed_ms, changed, counted, facts)
             VALUES (1, ?1, ?2, 1, x'', x'', 0, '', x'', 0, 0, 0, 0, 0, 5, 1, x'')",
        )
        .unwrap()
        .execute(params![made.id.as_bytes(), outlet.id.as_bytes()])
        .unwrap();
        let grounds = vec![(0, Ground { place: outlet.known, radius_m: 150 })];
        let of = Unjudged { org: 1, visit: made.id, outlet: outlet.id, changed: 5 };
        let known = Known { grounds, lost: BTreeMap::new(), observation_ms: 1_000 };
        judged(&tx, &of, &of_visit(&made.held, &known), 9).unwrap();
    }
    let mut kinds: BTreeMap<VisitId, BTreeSet<Kind>> = BTreeMap::new();
    let mut query = tx.prepare("SELECT visit, kind FROM signal").unwrap();
    let rows = query.query_map([], |row| Ok((VisitId::from_bytes(row.get(0)?), row.get(1)?)));
    for (visit, kind) in rows.unwrap().map(Result::unwrap) {
        kinds.entry(visit).or_default().insert(Kind::of(kind).unwrap());
    }
    let mut all = Vec::new();
    for table in ["stay", "signal"] {
        let mut query = tx.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let width = query.column_count();
        let rows = query.query_map([], |row| (0..width).map(|at| row.get(at)).collect()).unwrap();
        all.extend(rows.map(Result::unwrap));
    }
    (kinds, all)
}

#[test]
fn faked_days_are_noticed_and_honest_ones_seldom() {
    let mut visits: Vec<(Way, BTreeSet<Kind>)> = Vec::new();
    for seed in 1..=TOWNS {
        let mut town = Town::new(seed);
        let mut made = Vec::new();
        for _ in 0..HONEST {
            let phone = town.phone(Way::Honest);
            town.week(&phone, &mut made);
        }
        for way in Way::FAKED {
            for _ in 0..OF_EACH {
                let phone = town.phone(way);
                town.week(&phone, &mut made);
            }
        }
        let mut order: Vec<&Made> = made.iter().collect();
        let (kinds, rows) = noticed(&town, &order);
        visits.extend(made.iter().map(|m| (m.way, kinds.get(&m.id).cloned().unwrap_or_default())));
        // In whatever order they come, the rows are the same.
        town.dice.shuffle(&mut order);
        assert!(noticed(&town, &order).1 == rows, "town {seed}: another order gives other rows");
    }
    let (honest, faked): (Vec<_>, Vec<_>) = visits.iter().partition(|(w, _)| *w == Way::Honest);
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;

    println!("| signal | visits | precision | of {} honest ones |", honest.len());
    // That a phone was lost is said by whoever withdrew it, and no guess.
    for kind in Kind::ALL.into_iter().filter(|kind| kind.of_field() && *kind != Kind::Lost) {
        let with = |visits: &[&(Way, BTreeSet<Kind>)]| {
            visits.iter().filter(|(_, kinds)| kinds.contains(&kind)).count()
        };
        let (wrong, right) = (with(&honest), with(&faked));
        let precision = share(right, wrong + right);
        println!("| {kind:?} | {} | {precision:.3} | {wrong} |", wrong + right);
        // A clock that is wrong is wrong, whoever set it, and an outlet on the map, whoever took the photos.
        let least = match kind {
            Kind::Clock | Kind::Wide => 0.8,
            Kind::Camera => 0.9,
            _ => 0.95,
        };
        assert!(precision >= least, "{kind:?}");
    }
    println!(
        "| faked | visits | noticed by what tells it | by the first of that | noticed at all |"
    );
    let least = [1.0, 0.7, 1.0, 1.0, 1.0, 0.8, 1.0, 0.75, 1.0];
    for (way, least) in Way::FAKED.into_iter().zip(least) {
        let own: Vec<_> = faked.iter().filter(|(of, _)| *of == way).collect();
        let told = own.iter().filter(|(_, k)| way.told_by().iter().any(|kind| k.contains(kind)));
        let (told, any) = (told.count(), own.iter().filter(|(_, k)| !k.is_empty()).count());
        let recall = share(told, own.len());
        let first = own.iter().filter(|(_, k)| k.contains(&way.told_by()[0])).count();
        let first = share(first, own.len());
        println!("| {way:?} | {} | {told} ({recall:.3}) | {first:.3} | {any} |", own.len());
        assert!(recall >= least * 0.95, "{way:?}");
    }
    println!("| weighs at least | precision | recall | of {} honest ones |", honest.len());
    // Whoever restarts the phone is noticed by little that weighs.
    let others: Vec<_> = faked.iter().copied().filter(|(of, _)| *of != Way::Restarted).collect();
    for (least, found) in [(1, 0.9), (25, 0.55), (40, 0.2)] {
        let heavy = |visits: &[&(Way, BTreeSet<Kind>)]| {
            let weight =
                |kinds: &BTreeSet<Kind>| kinds.iter().map(|k| k.usual_weight()).sum::<u32>();
            visits.iter().filter(|(_, kinds)| weight(kinds) >= least).count()
        };
        let (wrong, right) = (heavy(&honest), heavy(&faked));
        let (precision, recall) = (share(right, wrong + right), share(right, faked.len()));
        println!("| {least} | {precision:.3} | {recall:.3} | {wrong} |");
        let of_others = share(heavy(&others), others.len());
        assert!(precision >= 0.95 && of_others >= found, "{least}: {of_others}");
    }
}
