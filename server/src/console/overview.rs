//! `/`: what happens in the field, as it happens.

use std::collections::HashSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use sync_core::document::Entry;
use sync_core::id::{CallId, UserId};
use sync_core::kpi::{Kpi, Ratio, per_visit};
use sync_core::model::Day;
use sync_core::model::contest::Word;
use sync_core::model::people::Rights;
use sync_core::model::visit::{Act, Post, Recording, Value, Verdict};
use sync_core::visit::Status;

use super::page::{Page, Section, capped, html, sight};
use super::view::{self, Markup};
use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::now_ms;
use crate::store::pages::{self, Overview, VisitLine};
use crate::world::World;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    page: Page,
    today: String,
    lede: String,
    reviews: bool,
    stats: Vec<Stat>,
    queue: Vec<Item>,
    queued: String,
    new_since: Vec<Item>,
    contested: Vec<Item>,
    contests: String,
    out: Vec<Item>,
    feed: Vec<Item>,
    reports: Vec<ReportItem>,
    empty: bool,
}

/// A figure that opens into what is behind it.
struct Stat {
    url: String,
    label: &'static str,
    value: String,
    of: String,
    note: String,
    bar: Markup,
}

/// A visit in a list.
struct Item {
    key: String,
    url: String,
    outlet: String,
    badges: Vec<Markup>,
    at: Markup,
    text: String,
    metrics: Vec<(&'static str, String)>,
}

struct ReportItem {
    key: String,
    name: String,
    address: String,
    by: String,
    at: Markup,
}

/// `GET /`
pub(super) async fn overview(
    State(app): State<Arc<App>>,
    viewer: Viewer,
) -> Result<Response, Problem> {
    let now = now_ms();
    let zone = view::zone_of(&viewer.tenant.world(), &viewer.rights);
    let today = Day::at(now, &zone);
    let see = sight(&viewer);
    let found = app.look(&viewer.tenant, move |c| pages::overview(c, &see, today)).await?;
    let title = view::day(today, today);
    let page = Page::new(&app, &viewer, Section::Overview, title.clone()).await?;
    let world = viewer.tenant.world();
    let due = due(&world, &viewer.rights, today);
    let drawn = draw(page, title, &found, &due, &world, &zone, &viewer.rights);
    drop(world);
    html(&drawn)
}

/// The planned calls of a day that this person sees.
fn due(world: &World, rights: &Rights, day: Day) -> HashSet<CallId> {
    let calls = world.calls.values().filter(|call| call.day == day && !call.cancelled);
    let seen = calls.filter(|call| {
        let outlet = world.outlets.get(&call.outlet);
        outlet.is_some_and(|o| rights.sees(&world.tree, &o.audience()))
    });
    seen.map(|call| call.id).collect()
}

fn draw(
    page: Page,
    today: String,
    found: &Overview,
    due: &HashSet<CallId>,
    world: &World,
    zone: &str,
    rights: &Rights,
) -> OverviewPage {
    let item = |visit: &VisitLine| Item::new(visit, world);
    let reviews = rights.role.reviews();
    let reports = found.reports.iter().filter(|r| !world.outlets.contains_key(&r.outlet));
    OverviewPage {
        page,
        today,
        lede: lede(found, due),
        reviews,
        stats: stats(found, due),
        queue: found.queue.iter().map(item).collect(),
        queued: capped(found.to_review),
        new_since: found.new_since.iter().map(item).collect(),
        contested: found.contested.iter().map(item).collect(),
        contests: capped(found.contests),
        out: found.out.iter().map(|visit| Item::out(visit, world)).collect(),
        feed: found
            .feed
            .iter()
            .map(|f| Item { text: happened(world, f.entry.as_ref()), ..Item::new(&f.visit, world) })
            .collect(),
        reports: reports
            .map(|report| ReportItem {
                key: format!("report-{}", report.outlet),
                name: report.name.clone(),
                address: report.address.clone(),
                by: world.name(report.by),
                at: view::ago(report.at_ms, zone),
            })
            .collect(),
        empty: found.feed.is_empty(),
    }
}

fn done(found: &Overview, due: &HashSet<CallId>) -> usize {
    found.calls.iter().filter(|call| due.contains(call)).count()
}

fn lede(found: &Overview, due: &HashSet<CallId>) -> String {
    if found.feed.is_empty() {
        return "Nothing has been recorded yet.".to_owned();
    }
    let done = done(found, due);
    let calls = match due.len() {
        0 => "No calls are planned today.".to_owned(),
        due => {
            let due = view::count(due as u64, "call", "calls");
            let verb = if done == 1 { "is" } else { "are" };
            format!("{done} of {due} planned today {verb} done.")
        }
    };
    let waiting = match found.to_review {
        0 => "Nothing waits for a review.".to_owned(),
        1 => "One visit waits for a review.".to_owned(),
        n => format!("{} visits wait for a review.", capped(n)),
    };
    format!("{calls} {waiting}")
}

fn stats(found: &Overview, due: &HashSet<CallId>) -> Vec<Stat> {
    let today = |status| found.today.get(&status).copied().unwrap_or(0);
    let done = done(found, due);
    let stat = |url: &str, label, value: String, note: String| Stat {
        url: url.to_owned(),
        label,
        value,
        of: String::new(),
        note,
        bar: Markup::default(),
    };
    let working: HashSet<&UserId> = found.out.iter().flat_map(|visit| &visit.people).collect();
    let unplanned = match found.unplanned {
        0 => "all of them planned".to_owned(),
        n => format!("plus {n} unplanned"),
    };
    vec![
        Stat {
            of: format!("of {}", due.len()),
            bar: view::bar(view::ratio(done, due.len())),
            ..stat("/visits?day=today", "Calls done today", view::number(done as u64), unplanned)
        },
        stat(
            "/visits?state=submitted",
            "To review",
            capped(found.to_review),
            format!("{} approved today", today(Status::Approved)),
        ),
        stat(
            "/visits?state=in_progress",
            "In progress",
            view::number(today(Status::InProgress)),
            match working.len() as u64 {
                0 => "as far as phones have synced".to_owned(),
                people => format!("by {}", view::count(people, "person", "people")),
            },
        ),
        stat(
            "/visits?kind=conflicts",
            "With conflicts",
            capped(found.conflicts),
            "values that differ".to_owned(),
        ),
        stat(
            "/visits?kind=news",
            "New since review",
            capped(found.news),
            format!("{} sent back", capped(found.sent_back)),
        ),
        stat(
            "/visits?state=not_possible",
            "Not possible today",
            view::number(today(Status::NotPossible)),
            "closed, refused, no way in".to_owned(),
        ),
        stat(
            "/visits",
            "Photos on their way",
            view::number(found.awaited),
            match found.awaited_people {
                0 => "all are here".to_owned(),
                n => format!("of {}", view::count(n, "person", "people")),
            },
        ),
    ]
}

impl Item {
    fn new(visit: &VisitLine, world: &World) -> Self {
        let outlet = world.outlets.get(&visit.outlet);
        let zone = outlet.map_or("UTC", |o| o.zone.as_str());
        let people = view::worker_names(world, &visit.people);
        let mut badges = vec![
            view::contest_badge(visit.contest),
            view::conflict_badge(visit.conflicts),
            view::news_badge(visit.news),
            view::uncounted_badge(visit.status, visit.counted),
        ];
        if visit.status != Status::Submitted {
            badges.insert(0, view::status_badge(visit.status));
        }
        badges.retain(|badge| !badge.is_empty());
        Self {
            key: visit.visit.to_string(),
            url: format!("/visits/{}", visit.visit),
            outlet: outlet.map_or_else(|| "unknown outlet".to_owned(), |o| o.name.clone()),
            badges,
            at: view::ago(visit.changed_ms, zone),
            text: format!(
                "{} · {}",
                people.join(", "),
                view::distributor_name(world, visit.distributor)
            ),
            metrics: metrics(visit),
        }
    }

    /// Who is at work where, and since when.
    fn out(visit: &VisitLine, world: &World) -> Self {
        let item = Self::new(visit, world);
        let outlet = world.outlets.get(&visit.outlet);
        let zone = outlet.map_or("UTC", |o| o.zone.as_str());
        let people = view::worker_names(world, &visit.people);
        let began = view::zoned(visit.started_ms, zone).strftime("%-d %b %H:%M").to_string();
        let text = format!("{}, since {began}, as claimed", view::and(&people));
        Self { text, badges: Vec::new(), metrics: Vec::new(), ..item }
    }
}

/// The few figures that say how a visit went.
fn metrics(visit: &VisitLine) -> Vec<(&'static str, String)> {
    let mut metrics = Vec::new();
    let counts = visit.facts.as_ref().map(per_visit).unwrap_or_default();
    let some = |kpi| Some(counts.get(kpi)).filter(|ratio| ratio.denominator > 0);
    if let Some(ratio) = some(Kpi::PlanogramCompliance) {
        metrics.push(("Planogram", view::percent(ratio)));
    }
    if let Some(Ratio { numerator, denominator }) = some(Kpi::PriceCompliance) {
        metrics.push(("Prices", format!("{numerator} of {denominator}")));
    }
    if let Some(Ratio { numerator, denominator }) = some(Kpi::OnShelfAvailability) {
        metrics.push(("On shelf", format!("{numerator} of {denominator}")));
    }
    if visit.photos > 0 {
        let here = visit.photos - visit.awaited;
        metrics.push(("Photos", format!("{here} of {}", visit.photos)));
    }
    metrics
}

/// An entry as a sentence.
fn happened(world: &World, entry: Option<&Entry>) -> String {
    let Some(entry) = entry else { return "Something was written".to_owned() };
    let who = world.name(entry.by());
    let what = match entry {
        Entry::Recording(recording) => recorded(recording),
        Entry::Submission(_) => "submitted".to_owned(),
        Entry::Review(review) if review.verdict == Verdict::Approved => "approved".to_owned(),
        Entry::Review(_) => "sent it back".to_owned(),
        Entry::Post(Post { word: None, .. }) => "wrote a comment".to_owned(),
        Entry::Post(Post { word: Some(Word::Contest(_)), .. }) => "contested it".to_owned(),
        Entry::Post(_) => "wrote in a contest".to_owned(),
        Entry::Report(_) => "reported an outlet".to_owned(),
    };
    format!("{who} {what}")
}

/// What a recording did, as the end of a sentence.
pub(super) fn recorded(recording: &Recording) -> String {
    match &recording.act {
        Act::Start { .. } => "started the visit".to_owned(),
        Act::NotPossible { .. } => "could not make the call".to_owned(),
        Act::Withdraw { recordings } => {
            format!("took back {}", view::count(recordings.len() as u64, "recording", "recordings"))
        }
        Act::Abandon {} => "abandoned the visit".to_owned(),
        Act::Observe(observed) => {
            let verb = if observed.supersedes.is_empty() { "recorded" } else { "corrected" };
            let of = |which: fn(&Value) -> bool, one, many| {
                let n = observed.observations.0.iter().filter(|o| which(&o.value)).count() as u64;
                (n > 0).then(|| view::count(n, one, many))
            };
            let parts = [
                of(|v| matches!(v, Value::Shelf { .. }), "position", "positions"),
                of(|v| matches!(v, Value::Price(_)), "price", "prices"),
                of(|v| matches!(v, Value::Stock { .. }), "stock value", "stock values"),
                of(|v| matches!(v, Value::Met(_)), "display", "displays"),
                of(
                    |v| {
                        use Value::{Choice, Number, Text, YesNo};
                        matches!(v, Choice(_) | YesNo(_) | Number(_) | Text(_))
                    },
                    "answer",
                    "answers",
                ),
                of(|v| matches!(v, Value::Withdrawn), "value to nothing", "values to nothing"),
                of(|v| matches!(v, Value::Unknown(_)), "other value", "other values"),
            ];
            let mut parts: Vec<String> = parts.into_iter().flatten().collect();
            if !observed.photos.is_empty() {
                parts.push(view::count(observed.photos.len() as u64, "photo", "photos"));
            }
            format!("{verb} {}", view::and(&parts))
        }
    }
}
