//! The standard audit of every benchmark (40 positions, 40 prices, 20 answers, 5 photos, on four screens),
//! and the small brand that it is made in.

use std::sync::Arc;

use server::app::{App, Tenant};
use server::people;
use sync_core::id::{BlobHash, CallId, DistributorId, Gtin, OrgId, OutletId, TerritoryId, UserId};
use sync_core::model::catalogue::{
    AnswerKind, Call, Check, CheckKind, Distributor, ListPrice, Outlet, Person, Planogram,
    Position, PriceList, Product, Record, Shelf, Template, Territory,
};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{Observation, PhotoRef, Place, Subject, Value};
use sync_core::model::{Day, Geo, Money};

/// Positions, and prices, of one audit.
pub(crate) const ITEMS: u32 = 40;
/// Questions of one audit.
pub(crate) const QUESTIONS: u32 = 20;
const PHOTOS: usize = 5;

/// Chance that depends on its seed alone (xorshift64*).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// From a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.bits() >> 11) % n
    }

    /// `N` bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.bits().to_be_bytes()[0])
    }
}

/// The `n`-th product.
pub(crate) fn gtin(n: u32) -> Gtin {
    let body = 540_000_000_000 + u64::from(n);
    let number = (0..10).find_map(|digit| Gtin::from_u64(body * 10 + digit).ok());
    number.expect("one of ten digits checks")
}

/// The observations of each of an audit's four screens, with the photos of each.
pub(crate) fn screens(dice: &mut Dice) -> Vec<(Vec<Observation>, Vec<PhotoRef>)> {
    let eur = "EUR".parse().expect("a currency");
    let shelf = (1..=ITEMS).map(|position| Observation {
        check: 1,
        subject: Subject::Position { planogram: 1, position },
        value: Value::Shelf {
            facings: dice.below(9) as u32,
            in_stock: dice.below(2) == 1,
            place: Place::AsPlanned,
        },
    });
    let shelf: Vec<Observation> = shelf.collect();
    let prices = (1..=ITEMS).map(|n| Observation {
        check: 2,
        subject: Subject::Product(gtin(n)),
        value: Value::Price(Money { minor: 100 + dice.below(9_799) as i64, currency: eur }),
    });
    let prices: Vec<Observation> = prices.collect();
    let answers = (0..QUESTIONS).map(|n| Observation {
        check: 10 + n,
        subject: Subject::Outlet,
        value: Value::Choice(dice.below(4) as u32),
    });
    let answers: Vec<Observation> = answers.collect();
    let photos = (0..PHOTOS).map(|_| PhotoRef {
        hash: BlobHash(dice.bytes()),
        bytes: 100_000 + dice.below(200_000) as u32,
        phash: dice.bits(),
        check: Some(1),
        origin: None,
    });
    let photos: Vec<PhotoRef> = photos.collect();
    vec![(shelf, Vec::new()), (prices, Vec::new()), (answers, Vec::new()), (Vec::new(), photos)]
}

/// A place within a small town.
pub(crate) fn place(dice: &mut Dice) -> Geo {
    let (lon_e6, lat_e6) =
        (-6_260_000 + dice.below(20_000) as i32, 53_340_000 + dice.below(20_000) as i32);
    Geo { lon_e6, lat_e6, accuracy_m: Some(5 + dice.below(20) as u32), mock: None }
}

/// The organisation of the benchmarks.
pub(crate) fn org() -> OrgId {
    OrgId::derived(&[0; 16], b"bench")
}

/// The `n`-th outlet.
pub(crate) fn outlet(n: u32) -> OutletId {
    OutletId::derived(org().as_bytes(), format!("outlet {n}").as_bytes())
}

/// The planned call of the `n`-th outlet.
pub(crate) fn call(n: u32) -> CallId {
    CallId::derived(org().as_bytes(), format!("call {n}").as_bytes())
}

/// The `n`-th rep.
pub(crate) fn rep(n: u32) -> UserId {
    UserId::derived(org().as_bytes(), format!("rep {n}").as_bytes())
}

/// The whole territory.
pub(crate) fn territory() -> TerritoryId {
    TerritoryId::derived(org().as_bytes(), b"territory")
}

/// The one distributor.
pub(crate) fn distributor() -> DistributorId {
    DistributorId::derived(org().as_bytes(), b"distributor")
}

/// Another organisation, whose people, outlets and calls have the same ids.
pub(crate) fn neighbour() -> OrgId {
    OrgId::derived(&[0; 16], b"neighbour")
}

/// Makes a brand: `outlets` outlets, each with a planned call today of every one of `reps` reps; returns
/// the reps' enrolment codes.
pub(crate) async fn brand(
    app: &Arc<App>,
    org: OrgId,
    outlets: u32,
    reps: u32,
) -> Result<(Arc<Tenant>, Vec<String>), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let tenant = app.create(org, "Bench").await.map_err(|e| words(&e))?;
    let mut records = vec![
        Record::Territory(Territory { id: territory(), parent: None, name: "All".into() }),
        Record::Distributor(Distributor { id: distributor(), name: "D".into(), gln: None }),
        Record::Planogram(Planogram {
            number: 1,
            version: 1,
            name: "Shelf".into(),
            category: "Milk".into(),
            width_mm: 4_000,
            height_mm: 2_000,
            shelves: vec![Shelf { number: 1, y_mm: 0, height_mm: 400, name: "1".into() }],
            positions: (1..=ITEMS)
                .map(|n| Position {
                    number: n,
                    shelf: 1,
                    x_mm: (n - 1) * 100,
                    width_mm: 100,
                    gtin: gtin(n),
                    facings: 4,
                })
                .collect(),
        }),
        Record::PriceList(PriceList {
            number: 1,
            version: 1,
            name: "Prices".into(),
            currency: "EUR".parse().map_err(|e| words(&e))?,
            tolerance_permille: 50,
            channels: vec!["supermarket".into()],
            prices: (1..=ITEMS)
                .map(|n| ListPrice { gtin: gtin(n), minor: 500, from: Day(0) })
                .collect(),
        }),
    ];
    records.extend((1..=ITEMS).map(|n| {
        Record::Product(Product {
            gtin: gtin(n),
            name: format!("Product {n}"),
            brand: "Bench".into(),
            category: "Milk".into(),
            own: true,
            width_mm: 70,
            height_mm: 200,
            colour: 0xff_ff_ff,
        })
    }));
    let check =
        |id, title: &str, kind| Check { id, title: title.into(), help: String::new(), kind };
    let mut checks = vec![
        check(1, "Planogram", CheckKind::Planogram),
        check(2, "Prices", CheckKind::Price { gtins: Vec::new() }),
    ];
    checks.extend((0..QUESTIONS).map(|n| {
        let options = ["a", "b", "c", "d"].map(String::from).to_vec();
        check(10 + n, "Question", CheckKind::Question { answer: AnswerKind::Choice, options })
    }));
    let (name, channels) = ("Visit".into(), vec!["supermarket".into()]);
    records.push(Record::Template(Template { number: 1, version: 1, name, channels, checks }));
    records.extend((0..reps).map(|n| {
        let scope = Scope::Territory(territory());
        let name = format!("Rep {n}");
        Record::Person(Person { id: rep(n), name, role: Role::Rep, scope, active: true })
    }));
    app.write_records(&tenant, records).await.map_err(|e| words(&e))?;
    let today = Day::at(server::now_ms(), "UTC");
    let mut towns = Dice::new(7);
    for chunk in (0..outlets).collect::<Vec<_>>().chunks(5_000) {
        let mut records: Vec<Record> = chunk
            .iter()
            .map(|n| {
                let street = STREETS[towns.below(STREETS.len() as u64) as usize];
                let town = TOWNS[towns.below(TOWNS.len() as u64) as usize];
                Record::Outlet(Outlet {
                    id: outlet(*n),
                    name: format!("{} {town}", SHOPS[towns.below(SHOPS.len() as u64) as usize]),
                    code: format!("{:06}", 100_000 + n),
                    territory: territory(),
                    distributor: distributor(),
                    channel: "supermarket".into(),
                    street: format!("{} {street}", 1 + towns.below(200)),
                    town: town.into(),
                    place: Some(place(&mut towns)),
                    zone: "UTC".into(),
                    planograms: vec![1],
                    must_stock: (1..=8).map(gtin).collect(),
                    active: true,
                    radius_m: None,
                })
            })
            .collect();
        // A planned call for each of the first thousand: more than a phone's day, enough for a benchmark.
        records.extend(chunk.iter().filter(|n| **n < 1_000 && reps > 0).map(|n| {
            Record::Call(Call {
                id: call(*n),
                outlet: outlet(*n),
                day: today,
                people: vec![rep(n % reps)],
                template: 1,
                cancelled: false,
            })
        }));
        app.write_records(&tenant, records).await.map_err(|e| words(&e))?;
    }
    let mut codes = Vec::new();
    for n in 0..reps {
        let code = people::code_for(app, &tenant, rep(n)).await.map_err(|p| p.sentence())?;
        codes.push(code.code);
    }
    Ok((tenant, codes))
}

const SHOPS: [&str; 8] =
    ["Corner Store", "Fresh & Fair", "Minimart", "Superfoods", "Daily", "Valu", "Grocer", "Market"];
const STREETS: [&str; 8] = [
    "Main Street",
    "Church Road",
    "Mill Lane",
    "Station Road",
    "High Street",
    "Park Avenue",
    "The Quay",
    "Bridge Street",
];
const TOWNS: [&str; 8] =
    ["Ashford", "Ballymore", "Carrick", "Dunmore", "Elphin", "Fethard", "Gorey", "Howth"];
