//! A brand of four outlets, two distributors and six people.
//!
//! | outlet | region | distributor | seen by |
//! | --- | --- | --- | --- |
//! | Aster | north | 1 | Rita, Rob (reps of the north), Sam (staff of distributor 1) |
//! | Birch | north | 1 | the same |
//! | Cedar | north | 2 | Rita, Rob, Otto (staff of distributor 2) |
//! | Dogwood | south | 1 | Sam |
//!
//! Sue supervises the whole. Each outlet has a call of Rita and Sam, as far as they see it, on each of the
//! days that the brand is made for.

use sync_core::id::{CallId, DistributorId, Gtin, OrgId, OutletId, TerritoryId, UserId};
use sync_core::model::Day;
use sync_core::model::catalogue::{
    AnswerKind, Call, Check, CheckKind, Display, Distributor, ListPrice, Outlet, Person, Planogram,
    Position, PriceList, Product, Record, Shelf, Template, Territory,
};
use sync_core::model::people::{Role, Scope};

pub(crate) const PEOPLE: [(&str, Role); 6] = [
    ("Rita", Role::Rep),
    ("Rob", Role::Rep),
    ("Sam", Role::DistributorStaff),
    ("Otto", Role::DistributorStaff),
    ("Sue", Role::Supervisor),
    ("Ada", Role::Admin),
];

pub(crate) fn org(number: u8) -> OrgId {
    OrgId::from_bytes([0xa0 + number; 16])
}

/// By first name, in any organisation.
pub(crate) fn person(name: &str) -> UserId {
    let place = PEOPLE.iter().position(|(known, _)| *known == name);
    UserId::from_bytes([1 + place.expect("a person of the brand") as u8; 16])
}

fn territory(number: u8) -> TerritoryId {
    TerritoryId::from_bytes([0x70 + number; 16])
}

fn distributor(number: u8) -> DistributorId {
    DistributorId::from_bytes([0xd0 + number; 16])
}

fn outlet(number: u8) -> OutletId {
    OutletId::from_bytes([0x50 + number; 16])
}

fn product(number: u64) -> Gtin {
    let stem = 8_904_000_210_000 + number * 10;
    (stem..stem + 10).find_map(|n| Gtin::from_u64(n).ok()).expect("a check digit that is right")
}

/// What the brand changes every season.
pub(crate) fn season(version: u32) -> Vec<Record> {
    let position = |number: u32| Position {
        number,
        shelf: 1 + number % 2,
        x_mm: 100 * number,
        width_mm: 90,
        gtin: product(u64::from(number)),
        facings: 1 + (number + version) % 3,
    };
    let shelf = |number: u32| Shelf {
        number,
        y_mm: 400 * number,
        height_mm: 350,
        name: format!("Shelf {number}"),
    };
    let check =
        |id, title: &str, kind| Check { id, title: title.into(), help: String::new(), kind };
    let question = |answer, options: &[&str]| CheckKind::Question {
        answer,
        options: options.iter().map(|o| (*o).to_owned()).collect(),
    };
    vec![
        Record::Planogram(Planogram {
            number: 1,
            version,
            name: "Breakfast bay".into(),
            category: "cereal".into(),
            width_mm: 1_000,
            height_mm: 1_800,
            shelves: (1..=2).map(shelf).collect(),
            positions: (1..=6).map(position).collect(),
        }),
        Record::Template(Template {
            number: 1,
            version,
            name: "Standard".into(),
            channels: vec!["supermarket".into()],
            checks: vec![
                check(1, "Shelf", CheckKind::Planogram),
                check(2, "Prices", CheckKind::Price { gtins: Vec::new() }),
                check(3, "Stock", CheckKind::Stock { gtins: Vec::new() }),
                check(4, "Display", CheckKind::Display { display: 1 }),
                check(5, "Floor", question(AnswerKind::Choice, &["dry", "wet", "ice"])),
                check(6, "Anything else", question(AnswerKind::Text, &[])),
            ],
        }),
        Record::PriceList(PriceList {
            number: 1,
            version,
            name: "Recommended".into(),
            currency: "EUR".parse().expect("a currency"),
            tolerance_permille: 50,
            channels: vec!["supermarket".into()],
            prices: (1..=6)
                .map(|n| ListPrice {
                    gtin: product(n),
                    minor: 200 + 10 * n as i64 + i64::from(version),
                    from: Day(0),
                })
                .collect(),
        }),
    ]
}

/// Everything, with planned calls on these days.
pub(crate) fn records(days: &[Day]) -> Vec<Record> {
    let mut records = Vec::new();
    for (number, name) in [(0, "All"), (1, "North"), (2, "South")] {
        let parent = (number > 0).then(|| territory(0));
        records.push(Record::Territory(Territory {
            id: territory(number),
            parent,
            name: name.into(),
        }));
    }
    for number in 1..=2 {
        let name = format!("Distributor {number}");
        records.push(Record::Distributor(Distributor { id: distributor(number), name, gln: None }));
    }
    for (name, role) in PEOPLE {
        let scope = match (name, role) {
            ("Sam", _) => Scope::Distributor(distributor(1)),
            ("Otto", _) => Scope::Distributor(distributor(2)),
            (_, Role::Rep) => Scope::Territory(territory(1)),
            _ => Scope::Territory(territory(0)),
        };
        let (id, name) = (person(name), name.into());
        records.push(Record::Person(Person { id, name, role, scope, active: true }));
    }
    for number in 1..=6 {
        records.push(Record::Product(Product {
            gtin: product(number),
            name: format!("Oats no. {number}"),
            brand: "Nordgard".into(),
            category: "cereal".into(),
            own: number < 6,
            width_mm: 90,
            height_mm: 200,
            colour: 0x00_c0_80,
        }));
    }
    let (name, description) = ("End cap".into(), "Six shelves, ours alone".into());
    records.push(Record::Display(Display { number: 1, name, description }));
    records.extend(season(1));
    for (number, name, region, served) in
        [(1, "Aster", 1, 1), (2, "Birch", 1, 1), (3, "Cedar", 1, 2), (4, "Dogwood", 2, 1)]
    {
        records.push(Record::Outlet(Outlet {
            id: outlet(number),
            name: format!("{name} market"),
            code: format!("{number:04}"),
            territory: territory(region),
            distributor: distributor(served),
            channel: "supermarket".into(),
            street: format!("{name} street 1"),
            town: "12345 Nordgard".into(),
            place: None,
            zone: "UTC".into(),
            planograms: vec![1],
            must_stock: vec![product(1), product(2)],
            active: true,
            radius_m: None,
        }));
        let mut people = Vec::new();
        if region == 1 {
            people.push(person("Rita"));
        }
        if served == 1 {
            people.push(person("Sam"));
        }
        for (place, day) in days.iter().enumerate() {
            records.push(Record::Call(Call {
                id: CallId::from_bytes([0xc0 + number + 8 * place as u8; 16]),
                outlet: outlet(number),
                day: *day,
                people: people.clone(),
                template: 1,
                cancelled: false,
            }));
        }
    }
    records
}
