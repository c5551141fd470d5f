//! The scorecard by territory and by distributor.
//!
//! What adds up comes from the daily sums. Coverage and journey plan come from the outlets and calls of
//! today's catalogue and the visits of the period, so that both companies see the same figure whoever made
//! a visit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use sync_core::id::{CallId, DistributorId, OrgId, OutletId, TerritoryId, VisitId};
use sync_core::kpi::{Kpi, Ratio, journey_plan_adherence, median_deviation, outlet_coverage};
use sync_core::model::Day;
use sync_core::model::people::{Scope, Territories};

use super::page::{Page, Section, html};
use super::view::{self, Markup};
use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::now_ms;
use crate::store::StoreError;
use crate::store::figures::{self, Contested, Period, Place, Visited};
use crate::world::World;

/// Longest period that is added up.
const PERIOD_DAYS_MAX: i32 = 92;
/// Most visits that are opened for the medians, which do not add up: an open page asks again and again.
const VISITS_OPENED_MAX: usize = 2_000;
const PRESETS: [(&str, i32, &str); 3] =
    [("7d", 7, "7 days"), ("14d", 14, "14 days"), ("28d", 28, "28 days")];
const PRESET_DAYS: i32 = 14;

/// The columns of the scorecard; the grades of the planogram are a table of their own.
pub(super) const COLUMNS: [Kpi; 6] = [
    Kpi::OutletCoverage,
    Kpi::JourneyPlanAdherence,
    Kpi::PlanogramCompliance,
    Kpi::OnShelfAvailability,
    Kpi::DisplayCompliance,
    Kpi::PriceCompliance,
];
pub(super) const GRADES: [Kpi; 4] =
    [Kpi::PlanogramPresent, Kpi::PlanogramShelf, Kpi::PlanogramPlace, Kpi::PlanogramFacings];

/// A KPI in a word or two.
pub(super) const fn short_name(kpi: Kpi) -> &'static str {
    match kpi {
        Kpi::OutletCoverage => "Coverage",
        Kpi::JourneyPlanAdherence => "Journey plan",
        Kpi::PlanogramCompliance => "Planogram",
        Kpi::PlanogramPresent => "Present",
        Kpi::PlanogramShelf => "Right shelf",
        Kpi::PlanogramPlace => "Right place",
        Kpi::PlanogramFacings => "Right facings",
        Kpi::OnShelfAvailability => "On shelf",
        Kpi::DisplayCompliance => "Displays",
        Kpi::PriceCompliance => "Prices",
    }
}

// ---- what is asked for

/// The query of the scorecard and of the pages behind its figures.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    period: String,
    from: String,
    to: String,
    contested: String,
    pub(super) by: String,
    pub(super) territory: String,
    pub(super) distributor: String,
    pub(super) page: String,
}

/// Which days, as somebody asked for them.
pub(super) struct Span {
    /// The days.
    pub(super) period: Period,
    /// With contested visits, or without them.
    pub(super) contested: Contested,
    preset: Option<&'static str>,
    /// More days were asked for than are added up.
    pub(super) cut: bool,
}

impl Span {
    /// Reads it from a query; refuses a day that is none with `invalid` (422).
    pub(super) fn read(asked: &Asked, today: Day) -> Result<Self, Problem> {
        let contested = match asked.contested.as_str() {
            "without" => Contested::Without,
            _ => Contested::With,
        };
        let dated = !asked.from.is_empty() || !asked.to.is_empty();
        let last = |days: i32| Period { first: today.plus(1 - days), last: today };
        if asked.period == "custom" || (asked.period.is_empty() && dated) {
            let read = |text: &str, or: Day| match text {
                "" => Ok(or),
                text => text.parse::<Day>().map_err(|error| Problem::invalid(error.to_string())),
            };
            let preset = last(PRESET_DAYS);
            let (from, to) = (read(&asked.from, preset.first)?, read(&asked.to, preset.last)?);
            let last = from.max(to).min(today);
            let first = from.min(to).min(last);
            let earliest = last.plus(1 - PERIOD_DAYS_MAX);
            let period = Period { first: first.max(earliest), last };
            return Ok(Self { period, contested, preset: None, cut: first < earliest });
        }
        let known = PRESETS.into_iter().find(|(name, ..)| *name == asked.period);
        let (name, days, _) = known.unwrap_or(PRESETS[1]);
        Ok(Self { period: last(days), contested, preset: Some(name), cut: false })
    }

    /// As a query again.
    pub(super) fn query(&self) -> String {
        let days = match self.preset {
            Some(preset) => format!("period={preset}"),
            None => format!("period=custom&from={}&to={}", self.period.first, self.period.last),
        };
        days + self.switch()
    }

    /// What of the query says that contested visits are left out.
    pub(super) const fn switch(&self) -> &'static str {
        match self.contested {
            Contested::With => "",
            Contested::Without => "&contested=without",
        }
    }

    /// The same days with contested visits or without them, as choices whose values end in `more`.
    pub(super) fn contested_choices(&self, more: &str) -> Vec<Choice> {
        let choices =
            [(Contested::With, "With contested visits"), (Contested::Without, "Without them")];
        let choice = |(contested, name): (Contested, &str)| Choice {
            value: format!("{}{more}", Self { contested, ..*self }.query()),
            name: name.to_owned(),
            chosen: contested == self.contested,
        };
        choices.into_iter().map(choice).collect()
    }

    /// In words: `10 Nov to 23 Nov`.
    pub(super) fn words(&self, today: Day) -> String {
        let day = |day| view::day_short(day, today);
        match self.period.days() {
            1 => day(self.period.first),
            _ => format!("{} to {}", day(self.period.first), day(self.period.last)),
        }
    }
}

/// A choice of a form or a row of links.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) name: String,
    pub(super) chosen: bool,
}

// ---- whose figures

/// A part of the field: all of it, some territories, a distributor, or both at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    territories: Option<HashSet<TerritoryId>>,
    distributor: Option<DistributorId>,
}

impl Reach {
    /// What a person with this scope sees.
    pub(super) fn of(world: &World, scope: Scope) -> Self {
        match scope {
            Scope::Territory(root) => {
                Self { territories: Some(subtree(world, root)), distributor: None }
            }
            Scope::Distributor(own) => Self { territories: None, distributor: Some(own) },
        }
    }

    /// Narrows it to what a query names. A name that is none or that the person does not see is not
    /// found.
    pub(super) fn narrow(
        mut self,
        world: &World,
        (territory, distributor): (&str, &str),
    ) -> Result<Narrowed, Problem> {
        let territory = match territory {
            "" => None,
            id => Some(id.parse::<TerritoryId>().map_err(|_| Problem::not_found())?),
        };
        let distributor = match distributor {
            "" => None,
            id => Some(id.parse::<DistributorId>().map_err(|_| Problem::not_found())?),
        };
        if let Some(id) = territory {
            let seen = self.territories.as_ref().is_none_or(|all| all.contains(&id));
            if !seen || !world.territories.contains_key(&id) {
                return Err(Problem::not_found());
            }
            self.territories = Some(subtree(world, id));
        }
        if let Some(id) = distributor {
            let seen = self.distributor.is_none_or(|own| own == id);
            if !seen || !world.distributors.contains_key(&id) {
                return Err(Problem::not_found());
            }
            self.distributor = Some(id);
        }
        Ok(Narrowed { reach: self, territory, distributor })
    }

    /// Whether a place is part of it.
    pub(super) fn holds(&self, (territory, distributor): Place) -> bool {
        self.territories.as_ref().is_none_or(|all| all.contains(&territory))
            && self.distributor.is_none_or(|own| own == distributor)
    }
}

/// A [`Reach`] with the names that narrowed it.
pub(super) struct Narrowed {
    pub(super) reach: Reach,
    pub(super) territory: Option<TerritoryId>,
    pub(super) distributor: Option<DistributorId>,
}

fn subtree(world: &World, root: TerritoryId) -> HashSet<TerritoryId> {
    let all = world.territories.keys().copied();
    all.filter(|id| world.tree.within(*id, root)).chain([root]).collect()
}

/// A territory and all that it is part of, from the inside out.
pub(super) fn upwards(world: &World, territory: TerritoryId) -> Vec<TerritoryId> {
    let mut path: Vec<TerritoryId> = Vec::new();
    let mut next = Some(territory);
    while let Some(id) = next.filter(|id| !path.contains(id) && path.len() < Territories::DEPTH_MAX)
    {
        path.push(id);
        next = world.territories.get(&id).and_then(|t| t.parent);
    }
    path
}

/// The territories among `shown` in the order of the tree, each with its depth from 1.
pub(super) fn tree(world: &World, shown: &HashSet<TerritoryId>) -> Vec<(TerritoryId, usize)> {
    let mut children: HashMap<Option<TerritoryId>, Vec<&sync_core::model::catalogue::Territory>> =
        HashMap::new();
    for territory in shown.iter().filter_map(|id| world.territories.get(id)) {
        let parent = territory.parent.filter(|id| shown.contains(id));
        children.entry(parent).or_default().push(territory);
    }
    for siblings in children.values_mut() {
        siblings.sort_by_key(|t| std::cmp::Reverse((view::by_name(&t.name), t.id)));
    }
    let top = children.get(&None).into_iter().flatten();
    let mut open: Vec<(TerritoryId, usize)> = top.map(|t| (t.id, 1)).collect();
    let mut rows = Vec::new();
    while let Some((id, depth)) = open.pop() {
        rows.push((id, depth));
        if depth < Territories::DEPTH_MAX {
            let below = children.get(&Some(id)).into_iter().flatten();
            open.extend(below.map(|t| (t.id, depth + 1)));
        }
    }
    rows
}

/// The territories that a person chooses from: those of the scope, or those where the distributor has
/// outlets, with all above them.
pub(super) fn territories_seen(world: &World, scope: Scope) -> HashSet<TerritoryId> {
    match scope {
        Scope::Territory(root) => subtree(world, root),
        Scope::Distributor(own) => {
            let outlets = world.outlets.values().filter(|o| o.distributor == own);
            let homes: HashSet<TerritoryId> = outlets.map(|o| o.territory).collect();
            homes.into_iter().flat_map(|id| upwards(world, id)).collect()
        }
    }
}

// ---- the figures

/// One ratio for each KPI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Figures([Ratio; Kpi::ALL.len()]);

impl Figures {
    /// One of them.
    pub(super) fn get(&self, kpi: Kpi) -> Ratio {
        self.0[kpi as usize]
    }

    fn add(&mut self, kpi: Kpi, ratio: Ratio) {
        let sum = &mut self.0[kpi as usize];
        *sum = sum.checked_add(ratio).unwrap_or(*sum);
    }

    fn add_all(&mut self, other: &Self) {
        for kpi in Kpi::ALL {
            self.add(kpi, other.get(kpi));
        }
    }
}

/// A planned call that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) call: CallId,
    pub(super) outlet: OutletId,
    pub(super) day: Day,
    pub(super) place: Place,
}

/// What the catalogue says today of a part of the field: who should be visited, and when.
#[derive(Debug, Default)]
pub(super) struct Ground {
    pub(super) outlets: BTreeMap<Place, Vec<OutletId>>,
    pub(super) calls: Vec<Due>,
}

impl Ground {
    /// Of the calls those whose day lies in `days` and has begun in the outlet's zone.
    pub(super) fn of(world: &World, reach: &Reach, days: Period, now_ms: i64) -> Self {
        let mut ground = Self::default();
        let place = |outlet: OutletId| {
            let outlet = world.outlets.get(&outlet)?;
            let place = (outlet.territory, outlet.distributor);
            reach.holds(place).then_some((outlet, place))
        };
        for outlet in world.outlets.values().filter(|outlet| outlet.active) {
            if let Some((_, place)) = place(outlet.id) {
                ground.outlets.entry(place).or_default().push(outlet.id);
            }
        }
        let mut today: HashMap<&str, Day> = HashMap::new();
        for call in world.calls.values() {
            if call.cancelled || !days.contains(call.day) {
                continue;
            }
            let Some((outlet, place)) = place(call.outlet) else { continue };
            let today = *today.entry(&outlet.zone).or_insert_with(|| Day::at(now_ms, &outlet.zone));
            if call.day <= today {
                let (call, day) = (call.id, call.day);
                ground.calls.push(Due { call, outlet: outlet.id, day, place });
            }
        }
        ground
    }

    /// Whether a call was made on its day.
    pub(super) fn made(org: OrgId, due: &Due, visited: &Visited) -> bool {
        visited.days.get(&VisitId::of_call(org, due.call)) == Some(&due.day)
    }
}

/// A period's figures, by place, from what the store has of it.
pub(super) fn figures_of(
    org: OrgId,
    period: Period,
    sums: &[(Place, Kpi, Ratio)],
    visited: &Visited,
    ground: &Ground,
    reach: &Reach,
) -> HashMap<Place, Figures> {
    let mut by_place: HashMap<Place, Figures> = HashMap::new();
    for (place, kpi, ratio) in sums.iter().filter(|(place, ..)| reach.holds(*place)) {
        by_place.entry(*place).or_default().add(*kpi, *ratio);
    }
    for (place, outlets) in &ground.outlets {
        let ratio = outlet_coverage(outlets.iter().copied(), &visited.outlets);
        by_place.entry(*place).or_default().add(Kpi::OutletCoverage, ratio);
    }
    let mut calls: BTreeMap<Place, Vec<(CallId, Day)>> = BTreeMap::new();
    for due in ground.calls.iter().filter(|due| period.contains(due.day)) {
        calls.entry(due.place).or_default().push((due.call, due.day));
    }
    for (place, calls) in calls {
        let visited_on = |call: CallId| visited.days.get(&VisitId::of_call(org, call)).copied();
        let ratio = journey_plan_adherence(calls.into_iter(), visited_on);
        by_place.entry(place).or_default().add(Kpi::JourneyPlanAdherence, ratio);
    }
    by_place
}

/// Everything that is added up, of any places.
pub(super) fn total<'a>(all: impl IntoIterator<Item = &'a Figures>) -> Figures {
    let mut sum = Figures::default();
    all.into_iter().for_each(|figures| sum.add_all(figures));
    sum
}

// ---- the page

/// A figure as a cell.
pub(super) struct Cell {
    url: Option<String>,
    value: String,
    frac: String,
    delta: Markup,
    more: String,
}

struct RowView {
    name: String,
    level: &'static str,
    cells: Vec<Cell>,
    grades: Vec<Cell>,
}

/// A KPI as a heading.
pub(super) struct Heading {
    pub(super) id: &'static str,
    pub(super) version: u32,
    pub(super) short: &'static str,
    name: &'static str,
    pub(super) definition: &'static str,
}

impl Heading {
    pub(super) fn of(kpi: Kpi) -> Self {
        Self {
            id: kpi.id(),
            version: kpi.version(),
            short: short_name(kpi),
            name: kpi.title(),
            definition: kpi.definition(),
        }
    }
}

#[derive(Template)]
#[template(path = "scorecard.html")]
struct ScorecardPage {
    page: Page,
    words: String,
    days: i32,
    cut: bool,
    days_max: i32,
    of: Option<(String, String)>,
    presets: Vec<Choice>,
    contested: Vec<Choice>,
    without: bool,
    by: Vec<Choice>,
    by_now: &'static str,
    from: Day,
    to: Day,
    today: Day,
    heading: &'static str,
    note: &'static str,
    columns: Vec<Heading>,
    grades: Vec<Heading>,
    rows: Vec<RowView>,
    total: RowView,
    opened_max: Option<String>,
}

/// A share with one digit.
pub(super) fn share(ratio: Ratio) -> String {
    ratio.value().map_or_else(|| "\u{2013}".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

/// `numerator / denominator`.
pub(super) fn fraction(ratio: Ratio) -> String {
    format!("{} / {}", view::number(ratio.numerator), view::number(ratio.denominator))
}

/// How a share has moved, in percentage points.
pub(super) fn delta(now: Ratio, before: Ratio) -> Markup {
    let (Some(now), Some(before)) = (now.value(), before.value()) else {
        return Markup::default();
    };
    let tenths = ((now - before) * 1_000.0).round() as i64;
    let (kind, mark, word) = match tenths {
        0 => ("", "=", "unchanged"),
        1.. => (" is-up", "\u{25b2}", "up"),
        _ => (" is-down", "\u{25bc}", "down"),
    };
    let size = tenths.unsigned_abs();
    Markup(format!(
        "<span class=\"delta{kind}\"><span aria-hidden=\"true\">{mark}</span>\
         <span class=\"vh\">{word}</span> {}.{}</span>",
        size / 10,
        size % 10
    ))
}

/// What the two periods say, by place.
struct Reading {
    now: HashMap<Place, Figures>,
    before: HashMap<Place, Figures>,
    deviations: HashMap<Place, Vec<i64>>,
    more: bool,
}

/// A row's sums.
#[derive(Default)]
struct Sum {
    now: Figures,
    before: Figures,
    deviations: Vec<i64>,
}

impl Sum {
    fn add(&mut self, reading: &Reading, place: &Place) {
        self.now.add_all(reading.now.get(place).unwrap_or(&Figures::default()));
        self.before.add_all(reading.before.get(place).unwrap_or(&Figures::default()));
        self.deviations.extend(reading.deviations.get(place).into_iter().flatten());
    }

    fn row(&self, name: String, depth: usize, query: &str) -> RowView {
        let cell = |kpi: Kpi| {
            let (now, before) = (self.now.get(kpi), self.before.get(kpi));
            let median = median_deviation(&self.deviations).filter(|_| kpi == Kpi::PriceCompliance);
            Cell {
                url: now.value().map(|_| format!("/scorecard/{}?{query}", kpi.id())),
                value: share(now),
                frac: fraction(now),
                delta: delta(now, before),
                more: median.map(|m| format!("median {}", view::deviation(m))).unwrap_or_default(),
            }
        };
        let grades = [Kpi::PlanogramCompliance].into_iter().chain(GRADES);
        RowView {
            name,
            level: ["lvl-1", "lvl-2", "lvl-3"][depth.clamp(1, 3) - 1],
            cells: COLUMNS.into_iter().map(cell).collect(),
            grades: grades.map(cell).collect(),
        }
    }
}

/// `GET /scorecard`
pub(super) async fn scorecard(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let now = now_ms();
    let tenant = Arc::clone(&viewer.tenant);
    let world = tenant.world();
    let today = Day::at(now, &view::zone_of(&world, &viewer.rights));
    let span = Span::read(&asked, today)?;
    let reach = Reach::of(&world, viewer.rights.scope);
    let (period, contested) = (span.period, span.contested);
    let (org, id) = (tenant.org, tenant.id);
    let reading = app
        .look(&viewer.tenant, move |connection| {
            let both = Period { first: period.before().first, last: period.last };
            let ground = Ground::of(&world, &reach, both, now);
            let mut deviations: HashMap<Place, Vec<i64>> = HashMap::new();
            let within = |place| reach.holds(place);
            let max = VISITS_OPENED_MAX;
            let more =
                figures::each_counted(connection, org, (period, contested), max, within, |line| {
                    let facts = line.facts()?;
                    let judged = facts.prices.iter().filter_map(|price| price.recommended);
                    let of_place = deviations.entry(line.place).or_default();
                    of_place.extend(judged.map(|recommended| recommended.deviation_ppm));
                    Ok(())
                })?;
            let figures = |period| -> Result<_, StoreError> {
                let sums = figures::sums(connection, org, period, contested)?;
                let visited = figures::visited(connection, org, period, contested)?;
                Ok(figures_of(id, period, &sums, &visited, &ground, &reach))
            };
            let (now, before) = (figures(period)?, figures(period.before())?);
            Ok(Reading { now, before, deviations, more })
        })
        .await?;
    let page = Page::new(&app, &viewer, Section::Scorecard, "Scorecard").await?;
    let by_distributor = asked.by == "distributor";
    let by_now = if by_distributor { "distributor" } else { "territory" };
    let query = format!("{}&by={by_now}", span.query());
    let world = tenant.world();
    let mut all = Sum::default();
    let places: BTreeSet<&Place> = reading.now.keys().chain(reading.before.keys()).collect();
    places.iter().for_each(|place| all.add(&reading, place));
    let rows = if by_distributor {
        by_distributors(&world, &reading, &places, &query)
    } else {
        by_territories(&world, viewer.rights.scope, &reading, &places, &query)
    };
    let of = match viewer.rights.scope {
        Scope::Distributor(own) => {
            let outlets = world.outlets.values().filter(|o| o.active && o.distributor == own);
            let outlets = view::count(outlets.count() as u64, "outlet", "outlets");
            Some((outlets, view::distributor_name(&world, own)))
        }
        Scope::Territory(_) => None,
    };
    let presets = PRESETS.into_iter().map(|(value, _, name)| Choice {
        value: format!("{value}{}", span.switch()),
        name: name.to_owned(),
        chosen: span.preset == Some(value),
    });
    let by = [("territory", "By territory"), ("distributor", "By distributor")];
    let by = by.into_iter().map(|(value, name)| Choice {
        value: format!("{}&by={value}", span.query()),
        name: name.to_owned(),
        chosen: value == by_now,
    });
    html(&ScorecardPage {
        page,
        words: span.words(today),
        days: period.days(),
        cut: span.cut,
        days_max: PERIOD_DAYS_MAX,
        of,
        presets: presets.collect(),
        contested: span.contested_choices(&format!("&by={by_now}")),
        without: contested == Contested::Without,
        by: by.collect(),
        by_now,
        from: period.first,
        to: period.last,
        today,
        heading: if by_distributor { "Distributor" } else { "Territory" },
        note: if by_distributor {
            "Each distributor sees its own row, in the same figures"
        } else {
            "A visit counts where the outlet belonged on that day"
        },
        columns: COLUMNS.into_iter().map(Heading::of).collect(),
        grades: [Kpi::PlanogramCompliance].into_iter().chain(GRADES).map(Heading::of).collect(),
        rows,
        total: all.row("All".to_owned(), 1, &query),
        opened_max: reading.more.then(|| view::number(VISITS_OPENED_MAX as u64)),
    })
}

fn by_territories(
    world: &World,
    scope: Scope,
    reading: &Reading,
    places: &BTreeSet<&Place>,
    query: &str,
) -> Vec<RowView> {
    let mut sums: HashMap<TerritoryId, Sum> = HashMap::new();
    for place in places {
        for territory in upwards(world, place.0) {
            sums.entry(territory).or_default().add(reading, place);
        }
    }
    let mut shown = territories_seen(world, scope);
    if let Scope::Distributor(_) = scope {
        shown.extend(sums.keys());
    }
    let rows = tree(world, &shown).into_iter().map(|(id, depth)| {
        let name = view::territory_name(world, id);
        let query = format!("{query}&territory={id}");
        sums.entry(id).or_default().row(name, depth, &query)
    });
    rows.collect()
}

fn by_distributors(
    world: &World,
    reading: &Reading,
    places: &BTreeSet<&Place>,
    query: &str,
) -> Vec<RowView> {
    let mut sums: BTreeMap<DistributorId, Sum> = BTreeMap::new();
    for place in places {
        sums.entry(place.1).or_default().add(reading, place);
    }
    let mut rows: Vec<RowView> = sums
        .into_iter()
        .map(|(id, sum)| {
            sum.row(view::distributor_name(world, id), 1, &format!("{query}&distributor={id}"))
        })
        .collect();
    rows.sort_by_key(|row| view::by_name(&row.name));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(period: &str, from: &str, to: &str) -> Asked {
        let (period, from, to) = (period.to_owned(), from.to_owned(), to.to_owned());
        Asked { period, from, to, ..Asked::default() }
    }

    #[test]
    fn a_period_is_read_from_a_query() {
        let today: Day = "2026-11-23".parse().unwrap();
        let read = |period, from, to| {
            let span = Span::read(&asked(period, from, to), today).unwrap();
            (span.query(), span.period.days(), span.cut)
        };
        assert_eq!(read("", "", ""), ("period=14d".to_owned(), 14, false));
        assert_eq!(read("7d", "2026-01-01", ""), ("period=7d".to_owned(), 7, false));
        assert_eq!(read("nonsense", "", "").0, "period=14d");
        let custom = "period=custom&from=2026-11-01&to=2026-11-03".to_owned();
        assert_eq!(read("custom", "2026-11-03", "2026-11-01"), (custom.clone(), 3, false));
        assert_eq!(read("", "2026-11-01", "2026-11-03"), (custom, 3, false));
        assert_eq!(read("custom", "2026-11-20", "2030-01-01").1, 4);
        assert_eq!(read("custom", "2031-01-01", "2030-01-01").1, 1);
        assert_eq!(read("custom", "2020-01-01", "").1, PERIOD_DAYS_MAX);
        assert!(read("custom", "2020-01-01", "").2);
        assert!(Span::read(&asked("custom", "yesterday", ""), today).is_err());
        let week = Span::read(&asked("7d", "", ""), today).unwrap();
        assert_eq!(week.words(today), "17 Nov to 23 Nov");
        let before = week.period.before();
        assert_eq!((before.days(), before.last.plus(1)), (7, week.period.first));
    }

    #[test]
    fn a_change_is_in_percentage_points() {
        let ratio = |numerator, denominator| Ratio { numerator, denominator };
        assert!(delta(ratio(3, 4), ratio(1, 2)).to_string().contains("up</span> 25.0"));
        assert!(delta(ratio(1, 2), ratio(3, 4)).to_string().contains("is-down"));
        assert!(delta(ratio(1, 2), ratio(2, 4)).to_string().contains("unchanged"));
        assert!(delta(ratio(1, 2), ratio(0, 0)).is_empty());
        assert_eq!(share(ratio(0, 0)), "\u{2013}");
        assert_eq!(share(ratio(2, 3)), "66.7 %");
    }
}
