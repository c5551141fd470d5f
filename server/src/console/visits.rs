//! `/visits`: every visit, searched and filtered, newest change first.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use sync_core::id::{DistributorId, TerritoryId};
use sync_core::kpi::{Kpi, Ratio, per_visit};
use sync_core::model::Day;
use sync_core::model::people::{Audience, Rights, Scope};
use sync_core::visit::Status;

use super::page::{Page, Section, capped, html, sight};
use super::view::{self, Markup};
use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::now_ms;
use crate::store::pages::{self, Found, Kind, Listed, PAGE_ROWS, Search, VisitLine};
use crate::world::World;

/// Most outlets that one search for words goes by.
const FOUND_MAX: usize = 1_000;
/// People whom a search for words finds, at most: each is a condition of its own, of which SQLite takes less than a thousand.
const FOUND_PEOPLE_MAX: usize = 500;

/// What the address asks for. Anything that does not read is as if it were not there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
    state: String,
    kind: String,
    territory: String,
    distributor: String,
    day: String,
    from: String,
    to: String,
    page: String,
}

#[derive(Template)]
#[template(path = "visits.html")]
struct VisitsPage {
    page: Page,
    asked: Asked,
    tabs: Vec<Tab>,
    states: Vec<Choice>,
    territories: Vec<Choice>,
    distributors: Vec<Choice>,
    rows: Vec<VisitRow>,
    range: String,
    previous: Option<String>,
    next: Option<String>,
    filtered: bool,
    cut: bool,
}

struct Tab {
    url: String,
    name: &'static str,
    count: String,
    here: bool,
}

struct Choice {
    value: String,
    name: String,
    selected: bool,
}

struct VisitRow {
    key: String,
    url: String,
    outlet: String,
    place: String,
    badges: Vec<Markup>,
    day: String,
    changed: Markup,
    people: String,
    distributor: String,
    planogram: Option<Ratio>,
    prices: Option<Ratio>,
    photos: String,
    unseen: bool,
    draft: bool,
}

/// `GET /visits`
pub(super) async fn visits(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(mut asked): Query<Asked>,
) -> Result<Response, Problem> {
    let zone = view::zone_of(&viewer.tenant.world(), &viewer.rights);
    let today = Day::at(now_ms(), &zone);
    asked.read_day(today);
    let (territory, distributor) = (asked.territory(), asked.distributor());
    let (world, rights, searched) = (viewer.tenant.world(), viewer.rights, asked.clone());
    let tree = Arc::clone(&world);
    let see = sight(&viewer).narrowed(move |audience| {
        let Audience::Outlet { territory: of, distributor: by } = audience else {
            return false;
        };
        territory.is_none_or(|root| tree.tree.within(*of, root))
            && distributor.is_none_or(|one| one == *by)
    });
    let kinds = TABS.map(|(kind, _)| kind);
    let listed = app.look(&viewer.tenant, move |c| {
        let (search, cut) = searched.search(&world, &rights);
        Ok((pages::visits(c, &see, &search, &kinds)?, cut))
    });
    let (listed, cut) = listed.await?;
    let page = Page::new(&app, &viewer, Section::Visits, "Visits").await?;
    let world = viewer.tenant.world();
    let drawn = draw(page, asked, cut, &listed, &world, &viewer.rights, today);
    drop(world);
    html(&drawn)
}

const TABS: [(Kind, &str); 6] = [
    (Kind::All, "All"),
    (Kind::Status(Status::Submitted), "To review"),
    (Kind::News, "New since review"),
    (Kind::Conflicts, "With conflicts"),
    (Kind::Contested, "Contested"),
    (Kind::Status(Status::SentBack), "Sent back"),
];

impl Asked {
    fn kind(&self) -> Kind {
        match (self.kind.as_str(), Status::from_name(&self.state)) {
            ("conflicts", _) => Kind::Conflicts,
            ("news", _) => Kind::News,
            ("contested", _) => Kind::Contested,
            (_, Some(status)) => Kind::Status(status),
            _ => Kind::All,
        }
    }

    fn territory(&self) -> Option<TerritoryId> {
        self.territory.parse().ok()
    }

    fn distributor(&self) -> Option<DistributorId> {
        self.distributor.parse().ok()
    }

    /// A single `day`, of which `today` is one, stands for a range of days.
    fn read_day(&mut self, today: Day) {
        let day = match std::mem::take(&mut self.day).as_str() {
            "today" => Some(today),
            day => day.parse::<Day>().ok(),
        };
        if let Some(day) = day {
            (self.from, self.to) = (day.to_string(), day.to_string());
        }
    }

    fn number(&self) -> u64 {
        self.page.parse::<u64>().unwrap_or(1).clamp(1, 200) - 1
    }

    /// What is searched for, and whether its words find more than are gone by.
    fn search(&self, world: &World, rights: &Rights) -> (Search, bool) {
        let words = self.q.trim().to_lowercase();
        let (found, cut) = (!words.is_empty()).then(|| find(world, rights, &words)).unzip();
        let (from, to) = (self.from.parse().ok(), self.to.parse().ok());
        let search = Search { kind: self.kind(), found, from, to, page: self.number() };
        (search, cut.unwrap_or_default())
    }

    /// The address of the same search but for what `change` does; from its first page.
    fn url(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut asked = Self { page: String::new(), ..self.clone() };
        change(&mut asked);
        let pairs = [
            ("q", &asked.q),
            ("state", &asked.state),
            ("kind", &asked.kind),
            ("territory", &asked.territory),
            ("distributor", &asked.distributor),
            ("from", &asked.from),
            ("to", &asked.to),
            ("page", &asked.page),
        ];
        let said = pairs.iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> =
            said.map(|(name, value)| format!("{name}={}", view::query(value))).collect();
        if query.is_empty() { "/visits".to_owned() } else { format!("/visits?{}", query.join("&")) }
    }
}

/// Outlets and people that are called like this, of those whom the person sees, and whether there are more.
fn find(world: &World, rights: &Rights, words: &str) -> (Found, bool) {
    let has = |text: &str| text.to_lowercase().contains(words);
    let mut outlets = world.outlets.values().filter(|outlet| {
        (has(&outlet.name) || has(&outlet.code) || has(&outlet.street) || has(&outlet.town))
            && rights.sees(&world.tree, &outlet.audience())
    });
    let mut people = world.people.values().filter(|person| has(&person.name));
    let found = Found {
        outlets: outlets.by_ref().map(|outlet| outlet.id).take(FOUND_MAX).collect(),
        people: people.by_ref().map(|person| person.id).take(FOUND_PEOPLE_MAX).collect(),
    };
    (found, outlets.next().is_some() || people.next().is_some())
}

fn draw(
    page: Page,
    asked: Asked,
    cut: bool,
    listed: &Listed,
    world: &World,
    rights: &Rights,
    today: Day,
) -> VisitsPage {
    let kind = asked.kind();
    let tabs = TABS.iter().zip(&listed.kinds).map(|((of, name), (_, count))| Tab {
        url: asked.url(|a| {
            (a.state, a.kind) = match of {
                Kind::All => (String::new(), String::new()),
                Kind::Status(status) => (status.as_str().to_owned(), String::new()),
                Kind::Conflicts => (String::new(), "conflicts".to_owned()),
                Kind::News => (String::new(), "news".to_owned()),
                Kind::Contested => (String::new(), "contested".to_owned()),
            };
        }),
        name,
        count: capped(*count),
        here: *of == kind,
    });
    let states = Status::ALL.into_iter().map(|status| Choice {
        value: status.as_str().to_owned(),
        name: view::status_name(status).to_owned(),
        selected: kind == Kind::Status(status),
    });
    let number = asked.number();
    let first = number * PAGE_ROWS;
    let last = first + listed.rows.len() as u64;
    let turn = |to: u64| asked.url(|a| a.page = to.to_string());
    let range = match listed.rows.len() {
        0 => String::new(),
        _ => format!(
            "{} to {} of {}",
            view::number(first + 1),
            view::number(last),
            capped(listed.total)
        ),
    };
    VisitsPage {
        tabs: tabs.collect(),
        states: states.collect(),
        territories: territories(world, rights, asked.territory()),
        distributors: distributors(world, rights, asked.distributor()),
        rows: listed.rows.iter().map(|visit| VisitRow::new(visit, world, today)).collect(),
        range,
        previous: (number > 0).then(|| turn(number)),
        next: (last < listed.total && number + 1 < 200).then(|| turn(number + 2)),
        filtered: number > 0 || asked.url(|_| ()) != "/visits",
        cut,
        page,
        asked,
    }
}

/// The territories that a person sees, each under its parent.
fn territories(world: &World, rights: &Rights, chosen: Option<TerritoryId>) -> Vec<Choice> {
    let Scope::Territory(root) = rights.scope else { return Vec::new() };
    let mut choices = Vec::new();
    let mut open = vec![(root, 0_usize)];
    while let Some((id, depth)) = open.pop() {
        let Some(territory) = world.territories.get(&id) else { continue };
        let indent = "\u{2003}".repeat(depth);
        choices.push(Choice {
            value: id.to_string(),
            name: format!("{indent}{}", territory.name),
            selected: chosen == Some(id),
        });
        if depth < sync_core::model::people::Territories::DEPTH_MAX {
            let mut below: Vec<_> =
                world.territories.values().filter(|t| t.parent == Some(id)).collect();
            below.sort_by_key(|t| std::cmp::Reverse(view::by_name(&t.name)));
            open.extend(below.into_iter().map(|t| (t.id, depth + 1)));
        }
    }
    choices
}

fn distributors(world: &World, rights: &Rights, chosen: Option<DistributorId>) -> Vec<Choice> {
    let mut all: Vec<_> = world
        .distributors
        .values()
        .filter(|d| match rights.scope {
            Scope::Territory(_) => true,
            Scope::Distributor(own) => d.id == own,
        })
        .collect();
    all.sort_by_key(|d| view::by_name(&d.name));
    let choice = |d: &sync_core::model::catalogue::Distributor| Choice {
        value: d.id.to_string(),
        name: d.name.clone(),
        selected: chosen == Some(d.id),
    };
    all.into_iter().map(choice).collect()
}

impl VisitRow {
    fn new(visit: &VisitLine, world: &World, today: Day) -> Self {
        let outlet = world.outlets.get(&visit.outlet);
        let zone = outlet.map_or("UTC", |o| o.zone.as_str());
        let people = view::worker_names(world, &visit.people);
        let street = outlet.map(|o| o.street.as_str()).filter(|street| !street.is_empty());
        let territory = view::territory_name(world, visit.territory);
        let counts = visit.facts.as_ref().map(per_visit).unwrap_or_default();
        let some = |kpi| Some(counts.get(kpi)).filter(|ratio| ratio.denominator > 0);
        let badges = [
            view::status_badge(visit.status),
            view::conflict_badge(visit.conflicts),
            view::contest_badge(visit.contest),
            view::news_badge(visit.news),
            view::uncounted_badge(visit.status, visit.counted),
        ];
        Self {
            key: visit.visit.to_string(),
            url: format!("/visits/{}", visit.visit),
            outlet: outlet.map_or_else(|| "unknown outlet".to_owned(), |o| o.name.clone()),
            place: street
                .map_or_else(|| territory.clone(), |street| format!("{street}, {territory}")),
            badges: badges.into_iter().filter(|badge| !badge.is_empty()).collect(),
            day: view::day_short(visit.day, today),
            changed: view::ago(visit.changed_ms, zone),
            people: people.join(", "),
            distributor: view::distributor_name(world, visit.distributor),
            planogram: some(Kpi::PlanogramCompliance),
            prices: some(Kpi::PriceCompliance),
            photos: match visit.photos {
                0 => String::new(),
                all => format!("{}/{all}", all - visit.awaited),
            },
            unseen: visit.news > 0,
            draft: matches!(visit.status, Status::InProgress | Status::Abandoned),
        }
    }
}
