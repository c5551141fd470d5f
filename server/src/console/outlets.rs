//! Outlets: the list, what the field has found that is not on it, and all that is known of one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sync_core::document::Entry;
use sync_core::id::{Gtin, OutletId, VisitId};
use sync_core::kpi::{Counts, Kpi, Ratio, per_visit};
use sync_core::model::Day;
use sync_core::model::capture::CaptureTime;
use sync_core::model::catalogue::{Outlet, Record};
use sync_core::model::people::{Audience, Role, Scope};

use super::drill::{Pager, people, product_name};
use super::page::{Page, Section, html};
use super::scorecard::{Choice, Reach, territories_seen, tree, upwards};
use super::view::{self, Markup, Said};
use crate::app::App;
use crate::auth::{Posted, Viewer};
use crate::error::Problem;
use crate::now_ms;
use crate::store::StoreError;
use crate::store::figures::{self, Line, Report};
use crate::store::log;
use crate::store::pages::{self, Words};
use crate::world::World;

/// Visits of an outlet that its page looks at.
const VISITS_MAX: u32 = 50;
/// Visits of an outlet that the list looks at.
const NEWEST_MAX: u32 = 20;
/// Planned calls are shown this far back and ahead.
const CALL_DAYS: i32 = 14;
/// What was said of an outlet that its page shows.
const SAID_MAX: usize = 100;
/// Reported outlets that one page shows.
const REPORTS_MAX: usize = 20;

// ---- the list

/// What the address asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
    territory: String,
    distributor: String,
    channel: String,
    show: String,
    page: String,
}

impl Asked {
    fn query(&self) -> String {
        let pairs = [
            ("q", &self.q),
            ("territory", &self.territory),
            ("distributor", &self.distributor),
            ("channel", &self.channel),
            ("show", &self.show),
        ];
        let said = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        said.map(|(name, value)| format!("{name}={}&", view::query(value))).collect()
    }
}

struct OutletRow {
    id: OutletId,
    name: String,
    sub: String,
    code: String,
    territory: String,
    distributor: String,
    channel: String,
    closed: bool,
    last: Option<String>,
    state: Markup,
    planogram: Option<Ratio>,
    stock: Option<Ratio>,
}

struct ReportView {
    id: OutletId,
    name: String,
    street: String,
    town: String,
    place: String,
    by: String,
    at: Markup,
    note: Option<String>,
    /// Where an admin erases the note; empty for anybody else.
    erase: String,
}

#[derive(Template)]
#[template(path = "outlets.html")]
struct OutletsPage {
    page: Page,
    lede: String,
    asked: Asked,
    territories: Vec<Choice>,
    distributors: Vec<Choice>,
    channels: Vec<Choice>,
    shows: Vec<Choice>,
    filtered: bool,
    reports: Vec<ReportView>,
    reports_total: usize,
    adds: bool,
    zones: Vec<Choice>,
    listed: bool,
    rows: Vec<OutletRow>,
    pager: Pager,
}

const SHOWS: [(&str, &str); 4] = [
    ("", "All outlets"),
    ("never", "Never visited"),
    ("reported", "Reported new"),
    ("closed", "No longer served"),
];

/// `GET /outlets`
pub(super) async fn outlets(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let now = now_ms();
    let tenant = Arc::clone(&viewer.tenant);
    let (org, adds) = (tenant.org, viewer.rights.role.reviews());
    let world = tenant.world();
    let zone = view::zone_of(&world, &viewer.rights);
    let seen = Reach::of(&world, viewer.rights.scope);
    let named = (asked.territory.as_str(), asked.distributor.as_str());
    let reach = seen.clone().narrow(&world, named)?.reach;
    let (searched, within) = (asked.clone(), reach.clone());
    let read = app.look(&viewer.tenant, move |connection| {
        let Asked { q, show, channel, .. } = searched;
        let visited = match show.as_str() {
            "never" => Some(figures::ever_visited(connection, org)?),
            _ => None,
        };
        let words = q.trim().to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&words);
        let fits = |outlet: &&Outlet| {
            within.holds((outlet.territory, outlet.distributor))
                && (words.is_empty() || has(&outlet.name) || has(&outlet.code) || has(&outlet.town))
                && (channel.is_empty() || outlet.channel == channel)
                && outlet.active == (show != "closed")
                && visited.as_ref().is_none_or(|visited| !visited.contains(&outlet.id))
        };
        let outlets = world.outlets.values().filter(|_| show != "reported").filter(fits);
        let mut found: Vec<_> = outlets.map(|o| (view::by_name(&o.name), o.id)).collect();
        found.sort();
        Ok((found, figures::reports(connection, org)?))
    });
    let (found, reports) = read.await?;
    let today = Day::at(now, &zone);
    let query = asked.query();
    let (pager, rows) = Pager::new(&asked.page, found.len(), &format!("/outlets?{query}page="));
    let first_page = rows.start == 0;
    let ids: Vec<OutletId> = found[rows].iter().map(|(_, id)| *id).collect();
    let (wanted, sees) = (ids.clone(), seen.clone());
    let shown = asked.show == "reported" || (asked.show.is_empty() && first_page);
    let words = asked.q.trim().to_lowercase();
    let mut reports: Vec<Report> = {
        let world = tenant.world();
        let fits = |report: &Report| {
            let has = |text: &str| text.to_lowercase().contains(&words);
            shown
                && (adds || asked.show == "reported")
                && asked.channel.is_empty()
                && reach.holds(report.place)
                && (words.is_empty() || has(&report.name) || has(&report.address))
                && !world.outlets.contains_key(&report.outlet)
        };
        reports.into_iter().filter(fits).collect()
    };
    let reports_total = reports.len();
    reports.truncate(REPORTS_MAX);
    let (name, reported) = (tenant.id, reports.iter().map(|r| r.outlet).collect::<Vec<_>>());
    let newest = app.look(&viewer.tenant, move |connection| {
        let newest = |outlet: &OutletId| {
            let until = Day(i32::MAX);
            let mut lines = figures::of_outlet(connection, org, *outlet, until, NEWEST_MAX)?;
            lines.retain(|line| sees.holds(line.place));
            let counted = lines.iter().find(|line| line.counted);
            let counts = counted.map(|line| Ok::<_, StoreError>(per_visit(&line.facts()?)));
            let last = lines.first().map(|line| (line.day, line.status));
            Ok((*outlet, last, counts.transpose()?.unwrap_or_default()))
        };
        let newest = wanted.iter().map(newest).collect::<Result<Vec<_>, StoreError>>()?;
        let told = reported.iter().map(|id| pages::reported(connection, (org, name), *id));
        Ok((newest, told.collect::<Result<Vec<_>, StoreError>>()?))
    });
    let (newest, told) = newest.await?;
    let page = Page::new(&app, &viewer, Section::Outlets, "Outlets").await?;
    let world = tenant.world();
    let rows = newest.into_iter().filter_map(|(outlet, last, counts)| {
        let outlet = world.outlets.get(&outlet)?;
        Some(outlet_row(&world, outlet, last, &counts, today))
    });
    let all = world.outlets.values().filter(|o| seen.holds((o.territory, o.distributor)));
    let all: Vec<&Outlet> = all.filter(|o| o.active).collect();
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for outlet in &all {
        *zones.entry(&outlet.zone).or_default() += 1;
    }
    zones.entry(&zone).or_default();
    let (territories, distributors) = places(&world, viewer.rights.scope, &asked);
    let shows = SHOWS.into_iter().map(|(value, name)| choice(value, name, &asked.show));
    let erases = viewer.rights.role == Role::Admin;
    let drawn = OutletsPage {
        page,
        lede: format!("{}.", view::count(all.len() as u64, "active outlet", "active outlets")),
        territories,
        distributors,
        channels: channels(&world, &asked.channel),
        shows: shows.collect(),
        filtered: !query.is_empty(),
        reports: reports
            .iter()
            .zip(told)
            .map(|(report, told)| report_view(&world, report, told, &zone, erases))
            .collect(),
        reports_total,
        adds,
        zones: zones.keys().map(|name| choice(name, name, &zone)).collect(),
        listed: asked.show != "reported",
        rows: rows.collect(),
        pager,
        asked,
    };
    drop(world);
    html(&drawn)
}

fn choice(value: &str, name: &str, chosen: &str) -> Choice {
    Choice { value: value.to_owned(), name: name.to_owned(), chosen: value == chosen }
}

fn places(world: &World, scope: Scope, asked: &Asked) -> (Vec<Choice>, Vec<Choice>) {
    let territories =
        tree(world, &territories_seen(world, scope)).into_iter().map(|(id, depth)| {
            let indent = "\u{2003}".repeat(depth - 1);
            let name = format!("{indent}{}", view::territory_name(world, id));
            choice(&id.to_string(), &name, &asked.territory)
        });
    let distributors = world.distributors.values().filter(|distributor| match scope {
        Scope::Territory(_) => true,
        Scope::Distributor(own) => distributor.id == own,
    });
    let mut distributors: Vec<Choice> = distributors
        .map(|distributor| {
            choice(&distributor.id.to_string(), &distributor.name, &asked.distributor)
        })
        .collect();
    distributors.sort_by_key(|choice| view::by_name(&choice.name));
    (territories.collect(), distributors)
}

/// The channels that outlets have, and that a new outlet can have.
fn channels(world: &World, chosen: &str) -> Vec<Choice> {
    let all: BTreeSet<&str> = world.outlets.values().map(|o| o.channel.as_str()).collect();
    let all = all.into_iter().filter(|channel| !channel.is_empty());
    all.map(|channel| choice(channel, &channel_name(channel), chosen)).collect()
}

/// A channel in words: `convenience_store` as `Convenience store`.
fn channel_name(channel: &str) -> String {
    view::capitalised(&channel.replace('_', " "))
}

fn some(counts: &Counts, kpi: Kpi) -> Option<Ratio> {
    Some(counts.get(kpi)).filter(|ratio| ratio.denominator > 0)
}

fn outlet_row(
    world: &World,
    outlet: &Outlet,
    last: Option<(Day, sync_core::visit::Status)>,
    counts: &Counts,
    today: Day,
) -> OutletRow {
    OutletRow {
        id: outlet.id,
        name: outlet.name.clone(),
        sub: address(outlet),
        code: outlet.code.clone(),
        territory: view::territory_name(world, outlet.territory),
        distributor: view::distributor_name(world, outlet.distributor),
        channel: channel_name(&outlet.channel),
        closed: !outlet.active,
        last: last.map(|(day, _)| view::day_short(day, today)),
        state: last.map(|(_, status)| view::status_badge(status)).unwrap_or_default(),
        planogram: some(counts, Kpi::PlanogramCompliance),
        stock: some(counts, Kpi::OnShelfAvailability),
    }
}

fn address(outlet: &Outlet) -> String {
    let lines = [outlet.street.as_str(), outlet.town.as_str()];
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    lines.join(", ")
}

/// Street and town of an address in one line.
fn split_address(address: &str) -> (&str, &str) {
    let (street, town) = address.rsplit_once(',').unwrap_or((address, ""));
    (street.trim(), town.trim())
}

fn report_view(
    world: &World,
    report: &Report,
    (times, note): (Option<CaptureTime>, Option<Words>),
    zone: &str,
    erases: bool,
) -> ReportView {
    let (street, town) = split_address(&report.address);
    let (territory, distributor) = report.place;
    let (note, erase) = note.map(|note| told(note, zone, erases)).unzip();
    ReportView {
        id: report.outlet,
        name: report.name.clone(),
        street: street.to_owned(),
        town: town.to_owned(),
        place: format!(
            "{}, {}",
            view::territory_name(world, territory),
            view::distributor_name(world, distributor)
        ),
        by: world.name(report.by),
        at: times.map_or_else(Markup::default, |times| view::claimed_ago(&times, zone)),
        note,
        erase: erase.unwrap_or_default(),
    }
}

/// What a note says, and where an admin erases it.
fn told(Words { digest, text, erased_ms }: Words, zone: &str, erases: bool) -> (String, String) {
    let erase = (erases && text.is_some()).then(|| format!("/erase?what=note&name={digest}"));
    (text.unwrap_or_else(|| view::erased(erased_ms, zone)), erase.unwrap_or_default())
}

// ---- a new outlet

/// What the form says of an outlet that the field has found.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Added {
    outlet: String,
    name: String,
    code: String,
    street: String,
    town: String,
    channel: String,
    zone: String,
    /// Empty: as the organisation says.
    metres: String,
}

/// `POST /outlets`: puts a reported outlet on the list, with the planograms and the must-stock list that
/// most outlets of its channel have.
pub(super) async fn add(
    State(app): State<Arc<App>>,
    Posted(viewer, form): Posted<Added>,
) -> Result<Response, Problem> {
    viewer.require(Role::reviews, "add outlets")?;
    let id: OutletId = form.outlet.parse().map_err(|_| Problem::not_found())?;
    let tenant = Arc::clone(&viewer.tenant);
    let (org, name) = (tenant.org, tenant.id);
    let read = app.look(&viewer.tenant, move |connection| {
        let reported = figures::reports(connection, org)?.into_iter().find(|r| r.outlet == id);
        let mut place = None;
        for volume in log::volumes(connection, org, id)? {
            let document = log::document(connection, org, name, volume)?.document;
            let newest = document.changes().iter().rev().find_map(|change| match change.entry() {
                Ok(Entry::Report(report)) => report.place,
                _ => None,
            });
            place = newest.or(place);
        }
        Ok((reported, place))
    });
    let (reported, place) = read.await?;
    let (territory, distributor) = reported.ok_or_else(Problem::not_found)?.place;
    if !viewer.sees(&Audience::Outlet { territory, distributor }) {
        return Err(Problem::not_found());
    }
    let url = format!("/outlets/{id}");
    let radius_m = match form.metres.trim() {
        "" => None,
        metres => Some(metres.parse().map_err(|_| Problem::invalid("metres: need a number"))?),
    };
    let outlet = {
        let world = tenant.world();
        if world.outlets.contains_key(&id) {
            return Ok(Redirect::to(&url).into_response());
        }
        let known = world.territories.contains_key(&territory)
            && world.distributors.contains_key(&distributor);
        if !known {
            return Err(Problem::invalid("its territory or distributor is no longer there"));
        }
        let channel = form.channel.trim().to_owned();
        let like = || world.outlets.values().filter(|o| o.active && o.channel == channel);
        let planograms = most_common(like().map(|outlet| &outlet.planograms));
        let must_stock = most_common(like().map(|outlet| &outlet.must_stock));
        let text = |text: &str| text.trim().to_owned();
        Outlet {
            id,
            name: text(&form.name),
            code: text(&form.code),
            territory,
            distributor,
            channel,
            street: text(&form.street),
            town: text(&form.town),
            place,
            zone: text(&form.zone),
            planograms,
            must_stock,
            active: true,
            radius_m,
        }
    };
    let short = [&outlet.code, &outlet.channel, &outlet.street, &outlet.town];
    let plain = |text: &&String| text.chars().count() <= 120 && !text.chars().any(char::is_control);
    if outlet.channel.is_empty() || !short.iter().all(plain) {
        return Err(Problem::invalid(
            "choose a channel; no line can have more than 120 characters",
        ));
    }
    let record = Record::Outlet(outlet);
    record.validate().map_err(|invalid| Problem::invalid(invalid.to_string()))?;
    let still = viewer.still();
    let added = move |now: &World| {
        still(now)?;
        // Somebody else may have put it on the list meanwhile, and has changed it since perhaps.
        Ok(if now.outlets.contains_key(&id) { Vec::new() } else { vec![record] })
    };
    app.change_records(&tenant, added, |_, _| Ok::<_, Problem>(())).await?;
    Ok(Redirect::to(&url).into_response())
}

fn most_common<'a, T: Ord + Clone + 'a>(lists: impl Iterator<Item = &'a Vec<T>>) -> Vec<T> {
    let mut counts: BTreeMap<&Vec<T>, usize> = BTreeMap::new();
    for list in lists {
        *counts.entry(list).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, outlets)| *outlets);
    most.map(|(list, _)| list.clone()).unwrap_or_default()
}

// ---- an outlet

struct Stat {
    label: &'static str,
    value: String,
    note: String,
    bar: Markup,
    url: String,
}

struct VisitView {
    url: String,
    day: String,
    state: Markup,
    by: String,
    planogram: Option<Ratio>,
    stock: Option<Ratio>,
    prices: Option<Ratio>,
}

struct CallView {
    url: Option<String>,
    day: String,
    by: String,
    state: Markup,
}

struct StockView {
    name: String,
    gtin: String,
    state: Markup,
    seen: String,
    units: String,
}

#[derive(Template)]
#[template(path = "outlet.html")]
struct OutletPage {
    page: Page,
    name: String,
    address: String,
    closed: bool,
    stats: Vec<Stat>,
    stats_day: String,
    facts: Vec<(&'static str, String)>,
    planograms: Vec<(String, u32)>,
    stock: Vec<StockView>,
    stock_note: String,
    visits: Vec<VisitView>,
    visits_note: String,
    search: String,
    ahead: Vec<CallView>,
    past: Vec<CallView>,
    said: Vec<Said>,
    said_note: &'static str,
}

/// `GET /outlets/{id}`
pub(super) async fn outlet(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: OutletId = id.parse().map_err(|_| Problem::not_found())?;
    let tenant = Arc::clone(&viewer.tenant);
    let (outlet, today, calls, seen) = {
        let world = tenant.world();
        let outlet = world.outlets.get(&id).filter(|o| viewer.sees(&o.audience())).cloned();
        let outlet = outlet.ok_or_else(Problem::not_found)?;
        let today = Day::at(now_ms(), &outlet.zone);
        let near = today.plus(-CALL_DAYS)..=today.plus(CALL_DAYS);
        let calls = world.calls.values().filter(|call| call.outlet == id && !call.cancelled);
        let mut calls: Vec<_> = calls.filter(|call| near.contains(&call.day)).cloned().collect();
        calls.sort_by_key(|call| (call.day, call.id));
        (outlet, today, calls, Reach::of(&world, viewer.rights.scope))
    };
    let org = tenant.org;
    let wanted: Vec<VisitId> =
        calls.iter().map(|call| VisitId::of_call(tenant.id, call.id)).collect();
    let (asked, sees) = (wanted.clone(), seen.clone());
    let tenant_id = tenant.id;
    let (lines, of_calls, report, reported, mut thread) = app
        .look(&viewer.tenant, move |connection| {
            let until = Day(i32::MAX);
            let mut lines = figures::of_outlet(connection, org, id, until, VISITS_MAX + 1)?;
            lines.retain(|line| sees.holds(line.place));
            let mut read = Vec::with_capacity(lines.len());
            for line in lines {
                let facts = line.facts()?;
                read.push((line, facts));
            }
            let of_calls = figures::lines(connection, org, &asked)?;
            let report = figures::reports(connection, org)?.into_iter().find(|r| r.outlet == id);
            Ok((
                read,
                of_calls,
                report,
                pages::reported(connection, (org, tenant_id), id)?.0,
                pages::said(connection, (org, tenant_id), id, SAID_MAX + 1)?,
            ))
        })
        .await?;
    let page = Page::new(&app, &viewer, Section::Outlets, outlet.name.clone()).await?;
    let world = tenant.world();
    let mut stats = Vec::new();
    let mut stats_day = String::new();
    if let Some((line, facts)) = lines.iter().find(|(line, _)| line.counted) {
        let counts = per_visit(facts);
        stats_day = view::day_short(line.day, today);
        let kinds = [
            (Kpi::PlanogramCompliance, "Planogram", "positions right"),
            (Kpi::OnShelfAvailability, "On shelf", "must-stock products"),
            (Kpi::PriceCompliance, "Prices", "within tolerance"),
            (Kpi::DisplayCompliance, "Displays", "as agreed"),
        ];
        stats = kinds
            .into_iter()
            .filter_map(|(kpi, label, what)| {
                let ratio = some(&counts, kpi)?;
                let (numerator, denominator) = (ratio.numerator, ratio.denominator);
                Some(Stat {
                    label,
                    value: view::percent(ratio),
                    note: format!("{numerator} of {denominator} {what}, {stats_day}"),
                    bar: view::bar(ratio),
                    url: format!("/visits/{}", line.visit),
                })
            })
            .collect();
    }
    let more = lines.len() > VISITS_MAX as usize;
    let visits: Vec<VisitView> = lines
        .iter()
        .take(VISITS_MAX as usize)
        .map(|(line, facts)| {
            let counts = if line.counted { per_visit(facts) } else { Counts::default() };
            VisitView {
                url: format!("/visits/{}", line.visit),
                day: view::day_short(line.day, today),
                state: view::status_badge(line.status),
                by: people(&world, &line.people),
                planogram: some(&counts, Kpi::PlanogramCompliance),
                stock: some(&counts, Kpi::OnShelfAvailability),
                prices: some(&counts, Kpi::PriceCompliance),
            }
        })
        .collect();
    let call_view = |call: &sync_core::model::catalogue::Call| {
        let visit = VisitId::of_call(tenant.id, call.id);
        let line = of_calls.get(&visit).filter(|line| seen.holds(line.place));
        CallView {
            url: line.map(|line| format!("/visits/{}", line.visit)),
            day: view::day(call.day, today),
            by: people(&world, &call.people),
            state: match line {
                Some(line) => view::status_badge(line.status),
                None if call.day < today => view::badge("bad", "cross", "Not visited"),
                None => view::badge("idle", "clock", "Planned"),
            },
        }
    };
    let ahead = calls.iter().filter(|call| call.day >= today).map(call_view);
    let past = calls.iter().rev().filter(|call| call.day < today).map(call_view);
    let planograms = outlet.planograms.iter().map(|number| {
        let drawing = world.catalogue.newest_planogram(*number);
        drawing.map_or_else(|| (format!("Planogram {number}"), 0), |p| (p.name.clone(), p.version))
    });
    let stock = stock(&world, &outlet, &lines, today);
    let missing = stock.iter().filter(|(state, _)| *state == Shelf::Missing).count();
    let stock_note = match (missing, stock.len()) {
        (_, 0) => String::new(),
        (0, all) => format!("{all} products, none known to be missing"),
        (missing, all) => format!("{missing} of {all} missing when last looked at"),
    };
    let shown = visits.len() as u64;
    let said_note = match thread.len() > SAID_MAX {
        true => "The newest 100",
        false => "Also on the phones of those who see the outlet",
    };
    thread.truncate(SAID_MAX);
    let erases = viewer.rights.role == Role::Admin;
    let said = thread.into_iter().map(|said| {
        let zone = outlet.zone.as_str();
        let claim =
            said.times.filter(|_| said.device.is_none_or(|device| !world.is_server(device)));
        let (text, erase) = told(said.words, zone, erases);
        Said {
            key: format!("said-{}", &said.hash.to_string()[..16]),
            name: world.name(said.by),
            company: view::company(&world, &tenant.name, said.by),
            verb: if said.reports { "reported it" } else { "wrote" },
            at: match (claim, said.times) {
                (Some(times), _) => view::claimed(&times, zone),
                (None, Some(times)) => view::when(times.claimed_ms, zone),
                (None, None) => Markup::default(),
            },
            bounds: claim.map(|times| view::bounds(&times, zone)).unwrap_or_default(),
            text,
            photos: Vec::new(),
            erase,
            brand: view::of_brand(&world, said.by),
        }
    });
    html(&OutletPage {
        page,
        address: address(&outlet),
        closed: !outlet.active,
        stats,
        stats_day,
        facts: facts(&world, &outlet, report.as_ref().zip(reported.as_ref()), today),
        planograms: planograms.collect(),
        stock: stock.into_iter().map(|(_, view)| view).collect(),
        stock_note,
        visits_note: match more {
            true => format!("The newest {shown}"),
            false => view::count(shown, "visit", "visits"),
        },
        visits,
        search: view::query(&outlet.name),
        ahead: ahead.collect(),
        past: past.collect(),
        said: said.collect(),
        said_note,
        name: outlet.name,
    })
}

fn facts(
    world: &World,
    outlet: &Outlet,
    report: Option<(&Report, &CaptureTime)>,
    today: Day,
) -> Vec<(&'static str, String)> {
    let mut path: Vec<String> = upwards(world, outlet.territory)
        .iter()
        .map(|id| view::territory_name(world, *id))
        .collect();
    path.reverse();
    let mut facts = vec![
        ("Code", outlet.code.clone()),
        ("Territory", path.join(" / ")),
        ("Distributor", view::distributor_name(world, outlet.distributor)),
        ("Channel", channel_name(&outlet.channel)),
        ("Time zone", outlet.zone.clone()),
    ];
    if let Some(place) = &outlet.place {
        let (lon, lat) = place.degrees();
        let reach = outlet.radius_m.map(|metres| format!(", and {metres} m around it"));
        facts.push(("Position", format!("{lat:.5}, {lon:.5}{}", reach.unwrap_or_default())));
    }
    if let Some((report, times)) = report {
        let day = view::day_short(Day::at(times.claimed_ms, &outlet.zone), today);
        let name = world.name(report.by);
        let sure = match times.bounds_day(&outlet.zone) {
            true => String::new(),
            false => format!(". {}", view::day_claimed(times, &outlet.zone)),
        };
        let said = format!("{day} by {name}: {}, {}{sure}", report.name, report.address);
        facts.push(("Reported", said));
    }
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shelf {
    Missing,
    Unknown,
    There,
}

/// What is last known of each product that must be there, missing ones first.
fn stock(
    world: &World,
    outlet: &Outlet,
    lines: &[(Line, sync_core::projection::Facts)],
    today: Day,
) -> Vec<(Shelf, StockView)> {
    struct Known {
        on_shelf: bool,
        units: Option<u32>,
        day: Day,
        since: Day,
        over: bool,
    }
    let mut known: HashMap<Gtin, Known> = HashMap::new();
    for (line, facts) in lines.iter().filter(|(line, _)| line.counted) {
        for fact in &facts.stock {
            let (on_shelf, units, day) = (fact.on_shelf, fact.units, line.day);
            let first = || Known { on_shelf, units, day, since: day, over: false };
            let product = known.entry(fact.gtin).or_insert_with(first);
            product.over |= product.on_shelf != fact.on_shelf;
            if !product.over {
                product.since = line.day;
            }
        }
    }
    let mut rows: Vec<(Shelf, StockView)> = outlet
        .must_stock
        .iter()
        .map(|gtin| {
            let product = known.get(gtin);
            let shelf = match product {
                None => Shelf::Unknown,
                Some(product) if product.on_shelf => Shelf::There,
                Some(_) => Shelf::Missing,
            };
            let state = match (shelf, product) {
                (Shelf::Missing, Some(product)) if product.since < product.day => {
                    let since = view::day_short(product.since, today);
                    view::badge("missing", "cross", &format!("Missing since {since}"))
                }
                (Shelf::Missing, _) => view::badge("missing", "cross", "Missing"),
                (Shelf::There, _) => view::badge("ok", "check", "On shelf"),
                (Shelf::Unknown, _) => view::badge("idle", "unaudited", "Not looked at"),
            };
            let seen = product.map(|product| view::day_short(product.day, today));
            let units = product.and_then(|product| product.units).map(|units| units.to_string());
            let view = StockView {
                name: product_name(world, *gtin),
                gtin: gtin.to_string(),
                state,
                seen: seen.unwrap_or_default(),
                units: units.unwrap_or_default(),
            };
            (shelf, view)
        })
        .collect();
    rows.sort_by(|(a, x), (b, y)| (a, &x.name).cmp(&(b, &y.name)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_street_and_a_town() {
        assert_eq!(split_address("5 Weir Road, Suite 2, Cork"), ("5 Weir Road, Suite 2", "Cork"));
        assert_eq!(split_address("Cork"), ("Cork", ""));
    }

    #[test]
    fn a_new_outlet_is_like_most_of_its_channel() {
        let lists = [vec![1, 2], vec![3], vec![1, 2]];
        assert_eq!(most_common(lists.iter()), [1, 2]);
        assert_eq!(most_common::<u32>([].into_iter()), Vec::<u32>::new());
        assert_eq!(channel_name("convenience_store"), "Convenience store");
    }
}
