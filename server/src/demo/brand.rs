//! The demo brand: what `fixtures/demo` holds, as catalogue records.

use serde::Deserialize;
use sync_core::id::{CallId, DistributorId, Gtin, InvalidId, OrgId, OutletId, TerritoryId, UserId};
use sync_core::model::catalogue::{
    AnswerKind, Call, Check, CheckKind, Display, Distributor, ListPrice, Outlet, Person, Planogram,
    Position, PriceList, Product, Promotion, Record, Shelf, Template, Territory,
};
use sync_core::model::people::{Role, Scope};
use sync_core::model::{Day, Geo, Invalid};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../fixtures/demo/", $name, ".json"))
    };
}

/// Why the fixtures do not make a brand. They are part of the program: this is a bug in them.
#[derive(Debug, thiserror::Error)]
pub enum BadFixture {
    /// Not the JSON that is expected.
    #[error("a demo fixture cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// An id or number that is none.
    #[error("a demo fixture has a bad id: {0}")]
    Id(#[from] InvalidId),
    /// A record that breaks a rule.
    #[error("a demo fixture breaks a rule: {0}")]
    Rule(#[from] Invalid),
    /// A name that is none.
    #[error("a demo fixture has an unknown {0}")]
    Unknown(&'static str),
}

/// The brand, but for its journey plan.
pub struct Brand {
    /// The organisation's id.
    pub id: OrgId,
    /// What people call it.
    pub name: String,
    /// Everything of the catalogue, in an order in which nothing refers to what comes later.
    pub records: Vec<Record>,
    /// Planograms after a seasonal change, to be published later.
    pub reset: Vec<Record>,
    /// Who works there, with e-mail addresses.
    pub people: Vec<(Person, String)>,
    /// What supervisors and reps say to each other.
    pub comments: Comments,
    journey: Vec<JourneyRow>,
}

/// Believable sentences.
#[derive(Deserialize)]
pub struct Comments {
    /// A supervisor sends work back.
    pub send_back: Vec<String>,
    /// A rep answers, each to the sentence at its place.
    pub thread: Vec<String>,
    /// Why a call was not possible.
    pub not_possible: Vec<Reason>,
    /// Outlets that nobody has listed.
    pub found: Vec<Found>,
}

/// An outlet that nobody has listed.
#[derive(Deserialize)]
pub struct Found {
    /// The name over the door.
    pub name: String,
    /// Where, but for the town.
    pub street: String,
    /// What the finder says.
    pub note: String,
}

/// Why a call was not possible.
#[derive(Deserialize)]
pub struct Reason {
    /// By kind.
    pub code: String,
    /// In words.
    pub text: String,
}

#[derive(Deserialize)]
struct OrganisationRow {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct TerritoryRow {
    id: String,
    parent: Option<String>,
    name: String,
}

#[derive(Deserialize)]
struct DistributorRow {
    id: String,
    name: String,
    gln: String,
}

#[derive(Deserialize)]
struct Address {
    street: String,
    postcode: String,
    town: String,
}

#[derive(Deserialize)]
struct OutletRow {
    id: String,
    name: String,
    code: String,
    territory: String,
    distributor: String,
    channel: String,
    address: Address,
    lon: f64,
    lat: f64,
    zone: String,
    planograms: Vec<u32>,
    msl: Vec<String>,
    radius_m: Option<u32>,
}

#[derive(Deserialize)]
struct ProductRow {
    gtin: String,
    name: String,
    brand: String,
    category: String,
    own: bool,
    width_mm: u32,
    height_mm: u32,
    colour: String,
}

#[derive(Deserialize)]
struct PlanogramRow {
    number: u32,
    version: u32,
    name: String,
    category: String,
    width_mm: u32,
    height_mm: u32,
    shelves: Vec<ShelfRow>,
    positions: Vec<PositionRow>,
}

#[derive(Deserialize)]
struct ShelfRow {
    number: u32,
    y_mm: u32,
    height_mm: u32,
    name: String,
}

#[derive(Deserialize)]
struct PositionRow {
    number: u32,
    shelf: u32,
    x_mm: u32,
    width_mm: u32,
    gtin: String,
    facings: u32,
}

#[derive(Deserialize)]
struct PriceListRow {
    number: u32,
    version: u32,
    name: String,
    currency: String,
    tolerance_permille: u32,
    outlets: String,
    prices: Vec<PriceRow>,
}

#[derive(Deserialize)]
struct PriceRow {
    gtin: String,
    rsp_minor: i64,
    from: String,
}

#[derive(Deserialize)]
struct PromotionRow {
    number: u32,
    name: String,
    starts_in_days: i32,
    ends_in_days: i32,
    gtins: Vec<String>,
    mechanic: String,
    price_minor: Option<i64>,
    channels: Vec<String>,
}

#[derive(Deserialize)]
struct DisplayRow {
    number: u32,
    name: String,
    description: String,
}

#[derive(Deserialize)]
struct TemplateRow {
    number: u32,
    version: u32,
    name: String,
    channels: Vec<String>,
    checks: Vec<CheckRow>,
}

#[derive(Deserialize)]
struct CheckRow {
    id: u32,
    kind: String,
    title: String,
    help: String,
    display: Option<u32>,
    gtins: Option<Gtins>,
    answer: Option<String>,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Gtins {
    /// `"msl"`: the outlet's must-stock list.
    MustStock(#[expect(dead_code, reason = "only its presence counts")] String),
    These(Vec<String>),
}

#[derive(Deserialize)]
struct PersonRow {
    id: String,
    name: String,
    email: String,
    role: String,
    scope: ScopeRow,
}

#[derive(Deserialize)]
struct ScopeRow {
    territory: Option<String>,
    distributor: Option<String>,
}

#[derive(Deserialize)]
struct JourneyRow {
    person: String,
    also: Option<String>,
    day: i32,
    outlet: String,
    template: u32,
    id: String,
}

fn gtins(digits: &[String]) -> Result<Vec<Gtin>, BadFixture> {
    digits.iter().map(|d| Ok(d.parse()?)).collect()
}

fn planograms(json: &str) -> Result<Vec<Record>, BadFixture> {
    let rows: Vec<PlanogramRow> = serde_json::from_str(json)?;
    rows.into_iter()
        .map(|row| {
            let shelves = row.shelves.into_iter().map(|s| Shelf {
                number: s.number,
                y_mm: s.y_mm,
                height_mm: s.height_mm,
                name: s.name,
            });
            let positions = row.positions.into_iter().map(|p| {
                Ok(Position {
                    number: p.number,
                    shelf: p.shelf,
                    x_mm: p.x_mm,
                    width_mm: p.width_mm,
                    gtin: p.gtin.parse()?,
                    facings: p.facings,
                })
            });
            Ok(Record::Planogram(Planogram {
                number: row.number,
                version: row.version,
                name: row.name,
                category: row.category,
                width_mm: row.width_mm,
                height_mm: row.height_mm,
                shelves: shelves.collect(),
                positions: positions.collect::<Result<_, BadFixture>>()?,
            }))
        })
        .collect()
}

fn check(row: CheckRow) -> Result<Check, BadFixture> {
    let named = match &row.gtins {
        Some(Gtins::These(digits)) => gtins(digits)?,
        _ => Vec::new(),
    };
    let kind = match row.kind.as_str() {
        "planogram" => CheckKind::Planogram,
        "display" => {
            CheckKind::Display { display: row.display.ok_or(BadFixture::Unknown("display"))? }
        }
        "price" => CheckKind::Price { gtins: named },
        "stock" => CheckKind::Stock { gtins: named },
        "question" => CheckKind::Question {
            answer: match row.answer.as_deref() {
                Some("choice") => AnswerKind::Choice,
                Some("yes_no") => AnswerKind::YesNo,
                Some("number") => AnswerKind::Number,
                Some("text") => AnswerKind::Text,
                _ => return Err(BadFixture::Unknown("kind of answer")),
            },
            options: row.options,
        },
        _ => return Err(BadFixture::Unknown("kind of check")),
    };
    Ok(Check { id: row.id, title: row.title, help: row.help, kind })
}

impl Brand {
    /// Reads the fixtures; promotions are placed around `today`.
    pub fn read(today: Day) -> Result<Self, BadFixture> {
        let organisation: OrganisationRow = serde_json::from_str(fixture!("organisation"))?;
        let mut records = Vec::new();
        let rows: Vec<TerritoryRow> = serde_json::from_str(fixture!("territories"))?;
        for row in rows {
            let parent = row.parent.map(|p| p.parse()).transpose()?;
            records.push(Record::Territory(Territory {
                id: row.id.parse()?,
                parent,
                name: row.name,
            }));
        }
        let rows: Vec<DistributorRow> = serde_json::from_str(fixture!("distributors"))?;
        for DistributorRow { id, name, gln } in rows {
            records.push(Record::Distributor(Distributor {
                id: id.parse()?,
                name,
                gln: Some(gln),
            }));
        }
        let mut people = Vec::new();
        let rows: Vec<PersonRow> = serde_json::from_str(fixture!("people"))?;
        for row in rows {
            let scope = match (row.scope.territory, row.scope.distributor) {
                (Some(id), None) => Scope::Territory(id.parse::<TerritoryId>()?),
                (None, Some(id)) => Scope::Distributor(id.parse::<DistributorId>()?),
                _ => return Err(BadFixture::Unknown("scope")),
            };
            let role = Role::from_name(&row.role).ok_or(BadFixture::Unknown("role"))?;
            let id = row.id.parse()?;
            people.push((Person { id, name: row.name, role, scope, active: true }, row.email));
        }
        records.extend(people.iter().map(|(person, _)| Record::Person(person.clone())));
        let rows: Vec<ProductRow> = serde_json::from_str(fixture!("products"))?;
        for row in rows {
            let colour = u32::from_str_radix(row.colour.trim_start_matches('#'), 16);
            records.push(Record::Product(Product {
                gtin: row.gtin.parse()?,
                name: row.name,
                brand: row.brand,
                category: row.category,
                own: row.own,
                width_mm: row.width_mm,
                height_mm: row.height_mm,
                colour: colour.map_err(|_| BadFixture::Unknown("colour"))?,
            }));
        }
        records.extend(planograms(fixture!("planograms"))?);
        let rows: Vec<PriceListRow> = serde_json::from_str(fixture!("prices"))?;
        for row in rows {
            let prices = row.prices.into_iter().map(|p| {
                Ok(ListPrice { gtin: p.gtin.parse()?, minor: p.rsp_minor, from: p.from.parse()? })
            });
            records.push(Record::PriceList(PriceList {
                number: row.number,
                version: row.version,
                name: row.name,
                currency: row.currency.parse()?,
                tolerance_permille: row.tolerance_permille,
                channels: row.outlets.split(',').map(str::to_owned).collect(),
                prices: prices.collect::<Result<_, BadFixture>>()?,
            }));
        }
        let rows: Vec<DisplayRow> = serde_json::from_str(fixture!("displays"))?;
        records.extend(rows.into_iter().map(|DisplayRow { number, name, description }| {
            Record::Display(Display { number, name, description })
        }));
        let rows: Vec<PromotionRow> = serde_json::from_str(fixture!("promotions"))?;
        for row in rows {
            records.push(Record::Promotion(Promotion {
                number: row.number,
                name: row.name,
                starts: today.plus(row.starts_in_days),
                ends: today.plus(row.ends_in_days),
                gtins: gtins(&row.gtins)?,
                mechanic: row.mechanic,
                price_minor: row.price_minor,
                channels: row.channels,
            }));
        }
        let rows: Vec<TemplateRow> = serde_json::from_str(fixture!("templates"))?;
        for row in rows {
            records.push(Record::Template(Template {
                number: row.number,
                version: row.version,
                name: row.name,
                channels: row.channels,
                checks: row.checks.into_iter().map(check).collect::<Result<_, _>>()?,
            }));
        }
        let rows: Vec<OutletRow> = serde_json::from_str(fixture!("outlets"))?;
        for row in rows {
            records.push(Record::Outlet(Outlet {
                id: row.id.parse()?,
                name: row.name,
                code: row.code,
                territory: row.territory.parse()?,
                distributor: row.distributor.parse()?,
                channel: row.channel,
                street: row.address.street,
                town: format!("{} {}", row.address.town, row.address.postcode),
                place: Some(Geo::from_degrees(row.lon, row.lat, None)?),
                zone: row.zone,
                planograms: row.planograms,
                must_stock: gtins(&row.msl)?,
                active: true,
                radius_m: row.radius_m,
            }));
        }
        for record in &records {
            record.validate()?;
        }
        Ok(Self {
            id: organisation.id.parse()?,
            name: organisation.name,
            records,
            reset: planograms(fixture!("planograms_next"))?,
            people,
            comments: serde_json::from_str(fixture!("comments"))?,
            journey: serde_json::from_str(fixture!("journey"))?,
        })
    }

    /// The planned calls from `today` on whose day is later than `after`.
    pub fn calls(&self, today: Day, after: Option<Day>) -> Result<Vec<Record>, BadFixture> {
        let mut calls = Vec::new();
        for row in self.journey.iter().filter(|row| row.day >= 0) {
            let day = today.plus(row.day);
            if after.is_some_and(|after| day <= after) {
                continue;
            }
            let mut people: Vec<UserId> = vec![row.person.parse()?];
            people.extend(row.also.as_ref().map(|also| also.parse::<UserId>()).transpose()?);
            let planned: CallId = row.id.parse()?;
            calls.push(Record::Call(Call {
                // The rule table repeats: a call is a row of it on a day.
                id: CallId::derived(planned.as_bytes(), day.to_string().as_bytes()),
                outlet: row.outlet.parse::<OutletId>()?,
                day,
                people,
                template: row.template,
                cancelled: false,
            }));
        }
        Ok(calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixtures_make_a_brand() {
        let today: Day = "2026-03-31".parse().unwrap();
        let brand = Brand::read(today).unwrap();
        assert_eq!(brand.people.len(), 28);
        assert!(brand.records.len() > 650);
        let calls = brand.calls(today, None).unwrap();
        assert!(calls.len() > 300);
        assert!(brand.calls(today, Some(today.plus(6))).unwrap().is_empty());
        let last = |record: &&Record| matches!(record, Record::Call(c) if c.day == today.plus(6));
        let tomorrow = brand.calls(today.plus(1), Some(today.plus(6))).unwrap();
        assert_eq!(tomorrow.len(), calls.iter().filter(last).count());
    }
}
