//! What is behind a figure of the scorecard: each visit, outlet or call with its own share, worst first,
//! and what most often makes the figure smaller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use sync_core::id::{Gtin, OutletId, VisitId};
use sync_core::kpi::{Kpi, Ratio, median_deviation, per_visit};
use sync_core::model::people::Role;
use sync_core::model::{Day, Money};
use sync_core::projection::{Facts, Grade, PositionFact};
use sync_core::visit::Status;

use super::page::{Page, Section, html};
use super::scorecard::{
    Asked, Choice, Due, Figures, GRADES, Ground, Heading, Reach, Span, delta, figures_of, fraction,
    share, short_name, total,
};
use super::view::{self, Markup};
use crate::app::{App, Tenant};
use crate::auth::Viewer;
use crate::error::Problem;
use crate::now_ms;
use crate::store::StoreError;
use crate::store::figures::{self, Contested, Line, Period};
use crate::world::World;

/// Rows of one page.
pub(super) const ROWS: usize = 50;
/// Most visits that are opened and listed.
const VISITS_OPENED_MAX: usize = 5_000;
/// Most rows of "most often".
const WORST: usize = 12;
/// Visits of an outlet that are looked through for the newest that the viewer sees.
const NEWEST_MAX: u32 = 20;

/// What a KPI counts, in words: of its numerator and of its denominator.
const fn counted(kpi: Kpi) -> (&'static str, &'static str) {
    match kpi {
        Kpi::OutletCoverage => ("outlets visited", "active outlets assigned"),
        Kpi::JourneyPlanAdherence => ("planned calls visited on their day", "planned calls due"),
        Kpi::PlanogramCompliance => ("planned positions right in everything", "audited"),
        Kpi::PlanogramPresent => ("planned positions with a facing", "audited"),
        Kpi::PlanogramShelf => ("planned positions on their shelf", "audited"),
        Kpi::PlanogramPlace => ("planned positions in their place", "audited"),
        Kpi::PlanogramFacings => ("planned positions with their facings", "audited"),
        Kpi::OnShelfAvailability => ("must-stock products on the shelf", "audited"),
        Kpi::DisplayCompliance => ("displays as agreed", "audited"),
        Kpi::PriceCompliance => ("prices within the tolerance", "judged"),
    }
}

/// The same as headings of the two columns.
const fn columns(kpi: Kpi) -> (&'static str, &'static str) {
    match kpi {
        Kpi::OnShelfAvailability => ("On shelf", "Audited"),
        Kpi::DisplayCompliance => ("Met", "Audited"),
        Kpi::PriceCompliance => ("Within", "Judged"),
        _ => ("Right", "Audited"),
    }
}

/// A page among several.
pub(super) struct Pager {
    pub(super) first: String,
    pub(super) last: String,
    pub(super) total: String,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
}

impl Pager {
    /// Page `asked`, from 1, of `total` rows; `url` ends where the page's number goes.
    pub(super) fn new(asked: &str, total: usize, url: &str) -> (Self, std::ops::Range<usize>) {
        let pages = total.div_ceil(ROWS).max(1);
        let page = asked.parse::<usize>().unwrap_or(1).clamp(1, pages);
        let rows = (page - 1) * ROWS..(page * ROWS).min(total);
        let words = |n: usize| view::number(n as u64);
        let pager = Self {
            first: words((rows.start + 1).min(total)),
            last: words(rows.end),
            total: words(total),
            previous: (page > 1).then(|| format!("{url}{}", page - 1)),
            next: (page < pages).then(|| format!("{url}{}", page + 1)),
        };
        (pager, rows)
    }
}

/// A share of its own within the figure.
struct Part {
    name: String,
    sub: String,
    bar: Markup,
    value: String,
    frac: String,
}

impl Part {
    fn new(name: String, sub: String, ratio: Ratio) -> Self {
        let (value, frac) = (share(ratio), fraction(ratio));
        Self { name, sub, bar: view::bar(ratio), value, frac }
    }
}

struct Parts {
    title: &'static str,
    note: &'static str,
    rows: Vec<Part>,
}

/// A price that is far from the recommended one.
struct Deviation {
    url: String,
    product: String,
    outlet: String,
    day: String,
    shelf: String,
    recommended: String,
    deviation: String,
    outside: bool,
}

/// A visit, outlet or call behind the figure.
struct Behind {
    url: String,
    title: String,
    sub: String,
    when: String,
    state: Markup,
    by: String,
    distributor: String,
    numerator: u64,
    denominator: u64,
    rate: String,
    bar: Markup,
    outcome: Markup,
}

#[derive(Template)]
#[template(path = "drill.html")]
struct DrillPage {
    page: Page,
    kpi: Heading,
    title: String,
    back: String,
    place: String,
    words: String,
    contested: Vec<Choice>,
    without: bool,
    days: i32,
    cut: bool,
    value: String,
    delta: Markup,
    numerator: String,
    denominator: String,
    counted: (&'static str, &'static str),
    columns: (&'static str, &'static str),
    inside: String,
    median: Option<String>,
    parts: Parts,
    worst: Option<Parts>,
    deviations: Option<Vec<Deviation>>,
    behind_title: &'static str,
    behind_note: &'static str,
    when: &'static str,
    of_visits: bool,
    rows: Vec<Behind>,
    pager: Pager,
    opened_max: Option<String>,
}

/// What the store has of the figure.
struct Reading {
    now: Figures,
    before: Figures,
    seen: bool,
    visits: Vec<(Line, Ratio)>,
    lost: Lost,
    more: bool,
    outlets: Vec<(OutletId, bool)>,
    calls: Vec<(Due, bool)>,
}

/// What makes figures smaller, over the visits that were opened.
#[derive(Default)]
struct Lost {
    products: BTreeMap<Gtin, Ratio>,
    displays: BTreeMap<u32, Ratio>,
    positions: BTreeMap<(u32, u32), Position>,
    prices: Vec<Price>,
}

struct Position {
    gtin: Gtin,
    ratio: Ratio,
    grades: BTreeMap<Grade, u64>,
}

struct Price {
    visit: VisitId,
    outlet: OutletId,
    day: Day,
    gtin: Gtin,
    shelf: Money,
    recommended: sync_core::projection::Recommended,
}

fn tally(ratio: &mut Ratio, right: bool) {
    ratio.numerator += u64::from(right);
    ratio.denominator += 1;
}

fn is_right(kpi: Kpi, fact: &PositionFact) -> bool {
    let Some(marks) = fact.marks() else { return false };
    match kpi {
        Kpi::PlanogramPresent => marks.present,
        Kpi::PlanogramShelf => marks.shelf,
        Kpi::PlanogramPlace => marks.place,
        Kpi::PlanogramFacings => marks.facings,
        _ => fact.grade() == Grade::Right,
    }
}

impl Lost {
    fn take(&mut self, kpi: Kpi, line: &Line, facts: &Facts) {
        match kpi {
            Kpi::OnShelfAvailability => {
                for fact in facts.stock.iter().filter(|fact| fact.judged && fact.must_stock) {
                    tally(self.products.entry(fact.gtin).or_default(), fact.on_shelf);
                }
            }
            Kpi::DisplayCompliance => {
                for fact in facts.displays.iter().filter(|fact| fact.judged) {
                    tally(self.displays.entry(fact.display).or_default(), fact.met);
                }
            }
            Kpi::PriceCompliance => {
                self.prices.extend(facts.prices.iter().filter_map(|fact| {
                    let (visit, outlet, day) = (line.visit, line.outlet, line.day);
                    let (gtin, shelf, recommended) = (fact.gtin, fact.shelf, fact.recommended?);
                    Some(Price { visit, outlet, day, gtin, shelf, recommended })
                }));
            }
            Kpi::OutletCoverage | Kpi::JourneyPlanAdherence => {}
            _ => {
                for fact in &facts.positions {
                    let Some(planned) = fact.planned else { continue };
                    let (gtin, ratio) = (planned.gtin, Ratio::default());
                    let new = || Position { gtin, ratio, grades: BTreeMap::new() };
                    let key = (fact.planogram, fact.position);
                    let position = self.positions.entry(key).or_insert_with(new);
                    tally(&mut position.ratio, is_right(kpi, fact));
                    *position.grades.entry(fact.grade()).or_default() += 1;
                }
            }
        }
    }
}

/// How much is missing, then how small the share is: worst first.
fn by_loss(ratio: Ratio) -> impl Ord {
    let lost = ratio.denominator - ratio.numerator.min(ratio.denominator);
    (std::cmp::Reverse(lost), ratio.denominator)
}

/// `GET /scorecard/{kpi}`
pub(super) async fn drill(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(kpi): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let kpi = Kpi::from_id(&kpi).ok_or_else(Problem::not_found)?;
    let now = now_ms();
    let tenant = Arc::clone(&viewer.tenant);
    let world = tenant.world();
    let today = Day::at(now, &view::zone_of(&world, &viewer.rights));
    let span = Span::read(&asked, today)?;
    let named = (asked.territory.as_str(), asked.distributor.as_str());
    let narrowed = Reach::of(&world, viewer.rights.scope).narrow(&world, named)?;
    let (period, contested, reach) = (span.period, span.contested, narrowed.reach);
    let asking = Arc::clone(&tenant);
    let store = app.look(&viewer.tenant, move |connection| {
        let (org, id) = (asking.org, asking.id);
        let both = Period { first: period.before().first, last: period.last };
        let ground = Ground::of(&world, &reach, both, now);
        let visited = figures::visited(connection, org, period, contested)?;
        let sums = figures::sums(connection, org, period, contested)?;
        let before = figures::sums(connection, org, period.before(), contested)?;
        let then = figures::visited(connection, org, period.before(), contested)?;
        let by_place = figures_of(id, period, &sums, &visited, &ground, &reach);
        let before = figures_of(id, period.before(), &before, &then, &ground, &reach);
        let mut reading = Reading {
            now: total(by_place.values()),
            before: total(before.values()),
            seen: !by_place.is_empty(),
            visits: Vec::new(),
            lost: Lost::default(),
            more: false,
            outlets: Vec::new(),
            calls: Vec::new(),
        };
        match kpi {
            Kpi::OutletCoverage => {
                let outlets = ground.outlets.values().flatten();
                reading.outlets = outlets.map(|o| (*o, visited.outlets.contains(o))).collect();
            }
            Kpi::JourneyPlanAdherence => {
                let due = ground.calls.into_iter().filter(|due| period.contains(due.day));
                let made = |due| (due, Ground::made(id, &due, &visited));
                reading.calls = due.map(made).collect();
            }
            _ => {
                let (visits, lost) = (&mut reading.visits, &mut reading.lost);
                let within = |place| reach.holds(place);
                let max = VISITS_OPENED_MAX;
                let take = |line: Line| {
                    let facts = line.facts()?;
                    let ratio = per_visit(&facts).get(kpi);
                    if ratio.denominator > 0 {
                        lost.take(kpi, &line, &facts);
                        visits.push((line, ratio));
                    }
                    Ok(())
                };
                let which = (period, contested);
                reading.more = figures::each_counted(connection, org, which, max, within, take)?;
            }
        }
        Ok(reading)
    });
    let mut reading = store.await?;
    let named = narrowed.territory.is_some() || narrowed.distributor.is_some();
    if named && !reading.seen && viewer.rights.role != Role::Admin {
        return Err(Problem::not_found());
    }
    let names = {
        let world = tenant.world();
        let territory = narrowed.territory.map(|id| view::territory_name(&world, id));
        let distributor = narrowed.distributor.map(|id| view::distributor_name(&world, id));
        let names: Vec<String> = territory.into_iter().chain(distributor).collect();
        match names.is_empty() {
            true => view::scope_name(&world, viewer.rights.scope),
            false => names.join(", "),
        }
    };
    let by = if asked.by == "distributor" { "distributor" } else { "territory" };
    let back = format!("/scorecard?{}&by={by}", span.query());
    let mut place_query = format!("&by={by}");
    if let Some(id) = narrowed.territory {
        place_query += &format!("&territory={id}");
    }
    if let Some(id) = narrowed.distributor {
        place_query += &format!("&distributor={id}");
    }
    let query = span.query() + &place_query;
    let number = |n: usize| n as u64;
    let inside = match kpi {
        Kpi::OutletCoverage | Kpi::JourneyPlanAdherence => String::new(),
        _ => {
            let outlets: BTreeSet<OutletId> =
                reading.visits.iter().map(|(l, _)| l.outlet).collect();
            format!(
                "in {} to {}",
                view::count(number(reading.visits.len()), "visit", "visits"),
                view::count(number(outlets.len()), "outlet", "outlets")
            )
        }
    };
    let deviations: Vec<i64> =
        reading.lost.prices.iter().map(|price| price.recommended.deviation_ppm).collect();
    let parts = {
        let world = tenant.world();
        parts(&world, kpi, &reading)
    };
    let worst = is_planogram(kpi).then(|| {
        let world = tenant.world();
        worst_positions(&world, &reading.lost)
    });
    let far = (kpi == Kpi::PriceCompliance).then(|| {
        let world = tenant.world();
        largest_deviations(&world, &mut reading.lost.prices, today)
    });
    let page_url = format!("/scorecard/{}?{query}&page=", kpi.id());
    let (rows, pager) =
        behind(&app, &viewer, &mut reading, (period, contested), today, (&asked.page, &page_url))
            .await?;
    let (behind_title, behind_note, when) = match kpi {
        Kpi::OutletCoverage => ("The outlets", "Those not visited first", "Last visit"),
        Kpi::JourneyPlanAdherence => {
            ("The planned calls", "Those not made on their day first", "Planned")
        }
        _ => ("The visits behind it", "What lost most first", "Visit"),
    };
    let title = format!("{}, {names}", kpi.title());
    let page = Page::new(&app, &viewer, Section::Scorecard, title.clone()).await?;
    let (now, before) = (reading.now.get(kpi), reading.before.get(kpi));
    html(&DrillPage {
        page,
        kpi: Heading::of(kpi),
        title,
        back,
        place: names,
        words: span.words(today),
        contested: span.contested_choices(&place_query),
        without: contested == Contested::Without,
        days: period.days(),
        cut: span.cut,
        value: share(now),
        delta: delta(now, before),
        numerator: view::number(now.numerator),
        denominator: view::number(now.denominator),
        counted: counted(kpi),
        columns: columns(kpi),
        inside,
        median: median_deviation(&deviations).map(view::deviation),
        parts,
        worst,
        deviations: far,
        behind_title,
        behind_note,
        when,
        of_visits: !matches!(kpi, Kpi::OutletCoverage | Kpi::JourneyPlanAdherence),
        rows,
        pager,
        opened_max: reading.more.then(|| view::number(number(VISITS_OPENED_MAX))),
    })
}

fn is_planogram(kpi: Kpi) -> bool {
    kpi == Kpi::PlanogramCompliance || GRADES.contains(&kpi)
}

/// What a product is called.
pub(super) fn product_name(world: &World, gtin: Gtin) -> String {
    world.catalogue.product(gtin).map_or_else(|| format!("GTIN {gtin}"), |p| p.name.clone())
}

fn parts(world: &World, kpi: Kpi, reading: &Reading) -> Parts {
    let sorted = |mut rows: Vec<(String, String, Ratio)>| -> Vec<Part> {
        rows.sort_by_cached_key(|(name, _, ratio)| (by_loss(*ratio), name.clone()));
        rows.truncate(WORST);
        rows.into_iter().map(|(name, sub, ratio)| Part::new(name, sub, ratio)).collect()
    };
    match kpi {
        Kpi::OutletCoverage => {
            let mut territories: BTreeMap<String, Ratio> = BTreeMap::new();
            for (outlet, visited) in &reading.outlets {
                let name =
                    world.outlets.get(outlet).map(|o| view::territory_name(world, o.territory));
                tally(territories.entry(name.unwrap_or_default()).or_default(), *visited);
            }
            let rows = territories.into_iter().map(|(name, ratio)| (name, String::new(), ratio));
            let (title, note) = ("By territory", "Most outlets missing first");
            Parts { title, note, rows: sorted(rows.collect()) }
        }
        Kpi::JourneyPlanAdherence => {
            let mut people = BTreeMap::new();
            for (due, made) in &reading.calls {
                let named = world.calls.get(&due.call).map(|call| call.people.clone());
                for person in named.unwrap_or_default() {
                    tally(people.entry(person).or_insert(Ratio::default()), *made);
                }
            }
            let rows = people.into_iter().map(|(id, ratio)| (world.name(id), String::new(), ratio));
            let (title, note) = ("By person", "Calls of several people count for each");
            Parts { title, note, rows: sorted(rows.collect()) }
        }
        Kpi::OnShelfAvailability => {
            let products = reading.lost.products.iter();
            let rows = products
                .map(|(gtin, ratio)| (product_name(world, *gtin), gtin.to_string(), *ratio));
            let (title, note) = ("Most often missing", "Must-stock products");
            Parts { title, note, rows: sorted(rows.collect()) }
        }
        Kpi::DisplayCompliance => {
            let name = |number: &u32| {
                let display = world.displays.get(number).map(|d| d.name.clone());
                display.unwrap_or_else(|| format!("Display {number}"))
            };
            let displays = reading.lost.displays.iter();
            let rows = displays.map(|(number, ratio)| (name(number), String::new(), *ratio));
            let (title, note) = ("Most often not met", "Displays");
            Parts { title, note, rows: sorted(rows.collect()) }
        }
        Kpi::PriceCompliance => {
            let mut products: BTreeMap<Gtin, Ratio> = BTreeMap::new();
            for price in &reading.lost.prices {
                tally(products.entry(price.gtin).or_default(), price.recommended.within);
            }
            let rows = products
                .into_iter()
                .map(|(gtin, ratio)| (product_name(world, gtin), gtin.to_string(), ratio));
            let (title, note) = ("Most often outside the tolerance", "Products");
            Parts { title, note, rows: sorted(rows.collect()) }
        }
        _ => {
            let all = [Kpi::PlanogramCompliance].into_iter().chain(GRADES);
            let rows = all.map(|kpi| {
                let name = match kpi {
                    Kpi::PlanogramCompliance => "Right in all",
                    kpi => short_name(kpi),
                };
                Part::new(name.to_owned(), String::new(), reading.now.get(kpi))
            });
            let (title, note) = ("Where it is lost", "Each grade of the same positions");
            Parts { title, note, rows: rows.collect() }
        }
    }
}

fn worst_positions(world: &World, lost: &Lost) -> Parts {
    let mut positions: Vec<_> = lost.positions.iter().collect();
    positions.retain(|(_, p)| p.ratio.numerator < p.ratio.denominator);
    positions.sort_by_key(|(key, position)| (by_loss(position.ratio), **key));
    let rows = positions.into_iter().take(WORST).map(|((planogram, number), position)| {
        let drawing = world.catalogue.newest_planogram(*planogram);
        let drawing = drawing.map_or_else(|| format!("Planogram {planogram}"), |p| p.name.clone());
        let wrong = position.grades.iter().filter(|(grade, _)| **grade != Grade::Right);
        let wrong: Vec<String> = wrong
            .map(|(grade, n)| {
                format!("{} {}", view::number(*n), view::grade_name(*grade).to_lowercase())
            })
            .collect();
        let sub = format!("{drawing}, position {number}: {}", wrong.join(", "));
        Part::new(product_name(world, position.gtin), sub, position.ratio)
    });
    Parts {
        title: "Positions most often wrong",
        note: "Over all these visits",
        rows: rows.collect(),
    }
}

fn largest_deviations(world: &World, prices: &mut [Price], today: Day) -> Vec<Deviation> {
    prices.sort_by_key(|price| {
        let Price { recommended, day, visit, gtin, .. } = price;
        let size = recommended.deviation_ppm.unsigned_abs();
        (std::cmp::Reverse((size, *day)), *visit, *gtin)
    });
    let off = prices.iter().filter(|price| price.recommended.deviation_ppm != 0);
    off.take(WORST)
        .map(|price| {
            let currency = price.shelf.currency;
            let outlet = world.outlets.get(&price.outlet).map(|o| o.name.clone());
            Deviation {
                url: format!("/visits/{}", price.visit),
                product: product_name(world, price.gtin),
                outlet: outlet.unwrap_or_else(|| "an outlet no longer listed".to_owned()),
                day: view::day_short(price.day, today),
                shelf: price.shelf.to_string(),
                recommended: Money { minor: price.recommended.minor, currency }.to_string(),
                deviation: view::deviation(price.recommended.deviation_ppm),
                outside: !price.recommended.within,
            }
        })
        .collect()
}

/// The rows of one page.
async fn behind(
    app: &App,
    viewer: &Viewer,
    reading: &mut Reading,
    (period, contested): (Period, Contested),
    today: Day,
    (asked, url): (&str, &str),
) -> Result<(Vec<Behind>, Pager), Problem> {
    let tenant = &viewer.tenant;
    if !reading.outlets.is_empty() {
        let which = (period, contested);
        return outlets_behind(app, viewer, reading, which, today, (asked, url)).await;
    }
    if !reading.calls.is_empty() {
        return calls_behind(app, viewer, reading, contested, today, (asked, url)).await;
    }
    reading.visits.sort_by_key(|(line, ratio)| {
        (by_loss(*ratio), std::cmp::Reverse((line.day, line.started_ms)), line.visit)
    });
    let (pager, rows) = Pager::new(asked, reading.visits.len(), url);
    let world = tenant.world();
    let rows = reading.visits[rows].iter().map(|(line, ratio)| Behind {
        url: format!("/visits/{}", line.visit),
        when: view::day_short(line.day, today),
        state: view::status_badge(line.status),
        by: people(&world, &line.people),
        numerator: ratio.numerator,
        denominator: ratio.denominator,
        rate: share(*ratio),
        bar: view::bar(*ratio),
        ..of_visit(&world, line)
    });
    Ok((rows.collect(), pager))
}

/// Names in a row.
pub(super) fn people(world: &World, people: &[sync_core::id::UserId]) -> String {
    people.iter().map(|id| world.name(*id)).collect::<Vec<_>>().join(", ")
}

/// A row about a visit, which stays with whoever supplied the outlet when it began.
fn of_visit(world: &World, line: &Line) -> Behind {
    let (_, distributor) = line.place;
    let distributor = view::distributor_name(world, distributor);
    Behind { distributor, ..at_outlet(world, line.outlet) }
}

/// A row of which only the outlet is known.
fn at_outlet(world: &World, id: OutletId) -> Behind {
    let outlet = world.outlets.get(&id);
    Behind {
        url: format!("/outlets/{id}"),
        title: outlet.map_or_else(|| "An outlet no longer listed".to_owned(), |o| o.name.clone()),
        sub: outlet.map_or_else(String::new, |o| format!("{}, {}", o.street, o.town)),
        distributor: outlet
            .map_or_else(String::new, |o| view::distributor_name(world, o.distributor)),
        when: String::new(),
        state: Markup::default(),
        by: String::new(),
        numerator: 0,
        denominator: 0,
        rate: String::new(),
        bar: Markup::default(),
        outcome: Markup::default(),
    }
}

fn seen(viewer: &Viewer, line: &Line) -> bool {
    let (territory, distributor) = line.place;
    viewer.sees(&sync_core::model::people::Audience::Outlet { territory, distributor })
}

async fn outlets_behind(
    app: &App,
    viewer: &Viewer,
    reading: &mut Reading,
    (period, contested): (Period, Contested),
    today: Day,
    (asked, url): (&str, &str),
) -> Result<(Vec<Behind>, Pager), Problem> {
    let tenant: &Tenant = &viewer.tenant;
    {
        let world = tenant.world();
        reading.outlets.sort_by_cached_key(|(id, visited)| {
            (*visited, world.outlets.get(id).map(|o| o.name.to_lowercase()), *id)
        });
    }
    let (pager, rows) = Pager::new(asked, reading.outlets.len(), url);
    let rows: Vec<(OutletId, bool)> = reading.outlets[rows].to_vec();
    let (org, wanted) = (tenant.org, rows.clone());
    let newest = app.look(&viewer.tenant, move |connection| {
        let lines = wanted.iter().map(|(outlet, _)| {
            figures::of_outlet(connection, org, *outlet, period.last, NEWEST_MAX)
        });
        lines.collect::<Result<Vec<_>, StoreError>>()
    });
    let newest: Vec<Vec<Line>> = newest.await?;
    let newest: Vec<Option<Line>> = newest
        .into_iter()
        .map(|lines| lines.into_iter().find(|line| contested.counts(line) && seen(viewer, line)))
        .collect();
    let world = tenant.world();
    let rows = rows.into_iter().zip(newest).map(|((outlet, visited), line)| {
        let outcome = match visited {
            true => view::badge("ok", "check", "Visited"),
            false => view::badge("bad", "cross", "Not visited"),
        };
        let row = Behind { outcome, ..at_outlet(&world, outlet) };
        let Some(line) = line else {
            return Behind { when: "Never".to_owned(), ..row };
        };
        let (when, state) = (view::day_short(line.day, today), view::status_badge(line.status));
        let by = people(&world, &line.people);
        // What covers the outlet is the visit; what does not is the outlet itself.
        match visited {
            true => {
                let url = format!("/visits/{}", line.visit);
                Behind { when, state, by, url, outcome: row.outcome, ..of_visit(&world, &line) }
            }
            false => Behind { when, state, by, ..row },
        }
    });
    Ok((rows.collect(), pager))
}

async fn calls_behind(
    app: &App,
    viewer: &Viewer,
    reading: &mut Reading,
    contested: Contested,
    today: Day,
    (asked, url): (&str, &str),
) -> Result<(Vec<Behind>, Pager), Problem> {
    let tenant: &Tenant = &viewer.tenant;
    reading.calls.sort_by_key(|(due, made)| (*made, std::cmp::Reverse(due.day), due.call));
    let (pager, rows) = Pager::new(asked, reading.calls.len(), url);
    let rows: Vec<(Due, bool)> = reading.calls[rows].to_vec();
    let visits: Vec<VisitId> =
        rows.iter().map(|(due, _)| VisitId::of_call(tenant.id, due.call)).collect();
    let (org, wanted) = (tenant.org, visits.clone());
    let lines = app
        .look(&viewer.tenant, move |connection| figures::lines(connection, org, &wanted))
        .await?;
    let lines: Vec<Option<&Line>> =
        visits.iter().map(|visit| lines.get(visit).filter(|line| seen(viewer, line))).collect();
    let world = tenant.world();
    let rows = rows.into_iter().zip(lines).map(|((due, made), line)| {
        let planned = world.calls.get(&due.call).map(|call| people(&world, &call.people));
        let row = Behind {
            when: view::day_short(due.day, today),
            by: planned.unwrap_or_default(),
            ..line.map_or_else(|| at_outlet(&world, due.outlet), |line| of_visit(&world, line))
        };
        let outcome = match line {
            _ if made => view::badge("ok", "check", "On its day"),
            Some(line) if line.status == Status::NotPossible => {
                view::badge("not-possible", "closed", "Not possible")
            }
            // Its day may be right: it is left out.
            Some(line) if line.counted && !contested.counts(line) => {
                view::contest_badge(line.contest)
            }
            Some(line) if line.counted => {
                let day = view::day_short(line.day, today);
                view::badge("short", "clock", &format!("On {day}"))
            }
            Some(line) => match view::uncounted_badge(line.status, line.counted) {
                none if none.is_empty() => view::badge("short", "progress", "Not submitted"),
                wrong => wrong,
            },
            None => view::badge("bad", "cross", "Not visited"),
        };
        let state = line.map(|line| view::status_badge(line.status)).unwrap_or_default();
        let url = line.map_or(row.url, |line| format!("/visits/{}", line.visit));
        Behind { outcome, state, url, ..row }
    });
    Ok((rows.collect(), pager))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_cut() {
        let page = |asked: &str, total| {
            let (pager, rows) = Pager::new(asked, total, "?page=");
            (rows, pager.previous, pager.next)
        };
        assert_eq!(page("", 0), (0..0, None, None));
        assert_eq!(page("1", 50), (0..50, None, None));
        assert_eq!(page("2", 51), (50..51, Some("?page=1".to_owned()), None));
        assert_eq!(page("99", 120), (100..120, Some("?page=2".to_owned()), None));
        assert_eq!(page("x", 120), (0..50, None, Some("?page=2".to_owned())));
    }

    #[test]
    fn what_lost_most_comes_first() {
        let ratio = |numerator, denominator| Ratio { numerator, denominator };
        let mut ratios = vec![ratio(9, 10), ratio(0, 3), ratio(7, 10), ratio(4, 4)];
        ratios.sort_by_key(|r| by_loss(*r));
        assert_eq!(ratios, [ratio(0, 3), ratio(7, 10), ratio(9, 10), ratio(4, 4)]);
    }
}
