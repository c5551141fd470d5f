//! A brand that is just large enough for people to disagree: two regions, two distributors, four outlets.
//!
//! | outlet | region | distributor | seen by |
//! | --- | --- | --- | --- |
//! | 1 | north | 1 | Rita (north), Sam (distributor 1) |
//! | 2 | north | 2 | Rita |
//! | 3 | south | 1 | Sam, Sven (south) |
//! | 4 | south | 2 | Sven |

use sync_core::id::{CallId, DistributorId, Gtin, OrgId, OutletId, TerritoryId, UserId};
use sync_core::model::Day;
use sync_core::model::catalogue::{
    AnswerKind, Call, Check, CheckKind, Display, Distributor, ListPrice, Outlet, Person, Planogram,
    Position, PriceList, Product, Record, Shelf, Template, Territory,
};
use sync_core::model::people::{Role, Scope};

/// The organisation.
pub const ORG: OrgId = OrgId::from_bytes([0x0a; 16]);
/// When every story begins: 2026-03-02T06:00:00Z, in milliseconds since 1970.
pub const BEGIN_MS: i64 = 1_772_431_200_000;
/// The rep of the north.
pub const RITA: UserId = UserId::from_bytes([1; 16]);
/// Of distributor 1's staff.
pub const SAM: UserId = UserId::from_bytes([2; 16]);
/// The rep of the south.
pub const SVEN: UserId = UserId::from_bytes([3; 16]);
/// The supervisor of the whole.
pub const SUE: UserId = UserId::from_bytes([4; 16]);
/// How many outlets there are.
pub const OUTLETS: u8 = 4;
/// How many planned calls there are: three for each outlet.
pub const CALLS: u8 = 3 * OUTLETS;
/// The products' numbers without their check digits.
pub const PRODUCTS: [u64; 4] = [890_400_021_001, 890_400_021_002, 890_400_021_003, 890_400_021_004];

/// What each check of the one template asks for.
pub mod checks {
    /// The shelf.
    pub const PLANOGRAM: u32 = 1;
    /// The prices.
    pub const PRICE: u32 = 2;
    /// What is there.
    pub const STOCK: u32 = 3;
    /// The end cap.
    pub const DISPLAY: u32 = 4;
    /// A question with three options.
    pub const CHOICE: u32 = 5;
    /// A question for words.
    pub const WORDS: u32 = 6;
}

/// The whole territory or a region: 0, 1 (north), 2 (south).
pub const fn territory(number: u8) -> TerritoryId {
    TerritoryId::from_bytes([0x70 + number; 16])
}

/// A distributor: 1 or 2.
pub const fn distributor(number: u8) -> DistributorId {
    DistributorId::from_bytes([0xd0 + number; 16])
}

/// An outlet, from 1.
pub const fn outlet(number: u8) -> OutletId {
    OutletId::from_bytes([0x50 + number; 16])
}

/// A planned call, from 0; outlets take turns.
pub const fn call(number: u8) -> CallId {
    CallId::from_bytes([0xc0 + number; 16])
}

/// A product, by its place in [`PRODUCTS`].
pub fn product(place: usize) -> Gtin {
    let stem = PRODUCTS[place] * 10;
    let found = (stem..stem + 10).find_map(|n| Gtin::from_u64(n).ok());
    found.expect("one of ten check digits is right")
}

/// The one planogram in some version: what is planned changes from version to version.
pub fn planogram(version: u32) -> Record {
    let position = |number: u32| Position {
        number,
        shelf: 1 + number % 2,
        x_mm: 100 * number,
        width_mm: 90,
        gtin: product(number as usize % PRODUCTS.len()),
        facings: 1 + (number + version) % 3,
    };
    let shelf = |number: u32| Shelf {
        number,
        y_mm: 400 * number,
        height_mm: 350,
        name: format!("Shelf {number}"),
    };
    Record::Planogram(Planogram {
        number: 1,
        version,
        name: "Breakfast bay".into(),
        category: "cereal".into(),
        width_mm: 1_000,
        height_mm: 1_800,
        shelves: (1..=2).map(shelf).collect(),
        positions: (1..=6).map(position).collect(),
    })
}

/// The one price list in some version.
pub fn price_list(version: u32) -> Record {
    let price = |place: usize| ListPrice {
        gtin: product(place),
        minor: 100 + 50 * place as i64 + 10 * i64::from(version),
        from: Day(0),
    };
    Record::PriceList(PriceList {
        number: 1,
        version,
        name: "Recommended".into(),
        currency: "EUR".parse().expect("a currency"),
        tolerance_permille: 50,
        channels: vec!["supermarket".into()],
        prices: (0..PRODUCTS.len()).map(price).collect(),
    })
}

/// Whose planned call it is: two people's where two see the outlet.
fn people_of(outlet: u8) -> Vec<UserId> {
    match outlet {
        1 => vec![RITA, SAM],
        2 => vec![RITA],
        3 => vec![SAM, SVEN],
        _ => vec![SVEN],
    }
}

/// A planned call as a record.
pub fn call_record(number: u8, cancelled: bool) -> Record {
    let at = 1 + number % OUTLETS;
    Record::Call(Call {
        id: call(number),
        outlet: outlet(at),
        day: Day::at(BEGIN_MS, "UTC"),
        people: people_of(at),
        template: 1,
        cancelled,
    })
}

/// A territory below another.
pub fn territory_record(number: u8, parent: Option<u8>) -> Record {
    let name = ["All", "North", "South"][usize::from(number)].into();
    Record::Territory(Territory { id: territory(number), parent: parent.map(territory), name })
}

/// What one of the four people is, first and, in the field, sometimes for a while: with less right to capture.
pub fn roles_of(id: UserId) -> [Role; 2] {
    match id {
        SAM => [Role::DistributorStaff, Role::DistributorManager],
        RITA | SVEN => [Role::Rep, Role::Supervisor],
        _ => [Role::Supervisor; 2],
    }
}

/// One of the four people, with a scope.
pub fn person_record(id: UserId, scope: Scope, active: bool) -> Record {
    let name = match id {
        RITA => "Rita",
        SAM => "Sam",
        SVEN => "Sven",
        _ => "Sue",
    };
    let [role, _] = roles_of(id);
    Record::Person(Person { id, name: name.into(), role, scope, active })
}

/// An outlet somewhere.
pub fn outlet_record(number: u8, at: u8, by: u8) -> Record {
    Record::Outlet(Outlet {
        id: outlet(number),
        name: format!("Corner shop {number}"),
        code: format!("{number:04}"),
        territory: territory(at),
        distributor: distributor(by),
        channel: "supermarket".into(),
        street: "High Street 1".into(),
        town: "12345 Town".into(),
        place: None,
        zone: "Europe/Helsinki".into(),
        planograms: vec![1],
        must_stock: vec![product(0), product(1)],
        active: true,
        radius_m: None,
    })
}

/// Everything that the brand hands to the field on the first day.
pub fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for number in 0..=2 {
        records.push(territory_record(number, (number > 0).then_some(0)));
    }
    for number in 1..=2 {
        let name = format!("Distributor {number}");
        records.push(Record::Distributor(Distributor { id: distributor(number), name, gln: None }));
    }
    for (id, scope) in [
        (RITA, Scope::Territory(territory(1))),
        (SAM, Scope::Distributor(distributor(1))),
        (SVEN, Scope::Territory(territory(2))),
        (SUE, Scope::Territory(territory(0))),
    ] {
        records.push(person_record(id, scope, true));
    }
    for place in 0..PRODUCTS.len() {
        records.push(Record::Product(Product {
            gtin: product(place),
            name: format!("Oats {place}"),
            brand: "Nordic Oats".into(),
            category: "cereal".into(),
            own: place < 3,
            width_mm: 90,
            height_mm: 200,
            colour: 0x00_c0_80,
        }));
    }
    records.push(planogram(1));
    records.push(price_list(1));
    let (name, description) = ("End cap".into(), String::new());
    records.push(Record::Display(Display { number: 1, name, description }));
    let check =
        |id, title: &str, kind| Check { id, title: title.into(), help: String::new(), kind };
    let question = |answer, options: &[&str]| CheckKind::Question {
        answer,
        options: options.iter().map(|o| (*o).to_owned()).collect(),
    };
    records.push(Record::Template(Template {
        number: 1,
        version: 1,
        name: "Standard".into(),
        channels: vec!["supermarket".into()],
        checks: vec![
            check(checks::PLANOGRAM, "Shelf", CheckKind::Planogram),
            check(checks::PRICE, "Prices", CheckKind::Price { gtins: Vec::new() }),
            check(checks::STOCK, "Stock", CheckKind::Stock { gtins: Vec::new() }),
            check(checks::DISPLAY, "Display", CheckKind::Display { display: 1 }),
            check(checks::CHOICE, "Floor", question(AnswerKind::Choice, &["dry", "wet", "ice"])),
            check(checks::WORDS, "Anything else", question(AnswerKind::Text, &[])),
        ],
    }));
    for number in 1..=OUTLETS {
        records.push(outlet_record(number, 1 + (number - 1) / 2, 1 + (number - 1) % 2));
    }
    records.extend((0..CALLS).map(|number| call_record(number, false)));
    records
}
