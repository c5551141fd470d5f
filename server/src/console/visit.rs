//! `/visits/{id}`: one visit and everything that was seen, said and decided there.

mod checks;
mod contests;
mod context;
mod story;

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use sync_core::id::{BlobHash, ChangeHash, VisitId};
use sync_core::model::Day;
use sync_core::model::contest::About;
use sync_core::model::people::Role;
use sync_core::visit::Status;

use self::checks::{AnswerItem, ConflictBox, DisplayItem, PlanogramPanel, PriceTable, StockTable};
use self::contests::{ContestBox, contest_url};
use self::context::Reader;
use self::story::{HistoryRow, NotPossibleBox, PhotoTile};
pub(super) use self::story::{history_key, photo_key};
use super::page::{Page, Section, html, sight};
use super::signals::{Told, newest, told};
use super::view::{self, Markup, Said};
use crate::app::{App, Tenant};
use crate::auth::Viewer;
use crate::error::Problem;
use crate::now_ms;
use crate::store::pages::{self, VisitRead};
use crate::store::signals::{self as rows, Shown};
use crate::world::World;

/// Most rows of one kind that a page draws, ten times what a large audit has: a browser would choke on all that a
/// document can hold.
const ROWS_MAX: usize = 2_000;
/// Most planograms.
const PLANOGRAMS_MAX: usize = 20;

#[derive(Template)]
#[template(path = "visit.html")]
struct VisitPage {
    page: Page,
    key: String,
    outlet: String,
    outlet_url: String,
    day: String,
    lede: String,
    badges: Vec<Markup>,
    stand: Markup,
    next: Option<String>,
    facts: Vec<(&'static str, Markup)>,
    tiles: Vec<Tile>,
    notice: Option<Notice>,
    /// That it has more than a page can show.
    cut: Option<String>,
    not_possible: Option<NotPossibleBox>,
    planograms: Vec<PlanogramPanel>,
    conflicts: Vec<ConflictBox>,
    contests: Vec<ContestBox>,
    /// Where the whole visit can be contested, for whoever may.
    contest_url: Option<String>,
    /// May say something in a contest.
    speaks: bool,
    prices: Option<PriceTable>,
    stock: Option<StockTable>,
    displays: Vec<DisplayItem>,
    answers: Vec<AnswerItem>,
    photos: Vec<PhotoTile>,
    /// The signals of captures.
    captures: Vec<Told>,
    /// No supervisor has looked at some of the signals.
    to_look_at: bool,
    /// Since when the newest of these signals is as it is.
    signals_found_ms: i64,
    photos_said: String,
    history: Vec<HistoryRow>,
    thread: Vec<Said>,
    write_to: String,
    review: Option<ReviewBar>,
    /// What the viewer has seen: a review judges this and no more.
    heads: String,
    settles: bool,
    all_draft: bool,
}

/// How one kind of check went.
struct Tile {
    url: &'static str,
    label: &'static str,
    value: String,
    of: String,
    note: String,
    bar: Markup,
}

struct Notice {
    kind: &'static str,
    symbol: &'static str,
    title: String,
    text: String,
}

struct ReviewBar {
    title: Markup,
    text: String,
    approves: bool,
    reads: String,
}

/// `GET /visits/{visit}`
pub(super) async fn visit(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(visit): Path<String>,
) -> Result<Response, Problem> {
    let visit: VisitId = visit.parse().map_err(|_| Problem::not_found())?;
    let (see, org) = (sight(&viewer), viewer.tenant.id);
    let read = app.look(&viewer.tenant, move |c| pages::visit(c, &see, org, visit)).await?;
    let read = read.ok_or_else(Problem::not_found)?;
    let see = sight(&viewer);
    let signals = match viewer.rights.role.oversees() {
        true => app.look(&viewer.tenant, move |c| rows::of_visit(c, &see, visit, false)).await?,
        false => Vec::new(),
    };
    let page = Page::new(&app, &viewer, Section::Visits, "").await?;
    let tenant = Arc::clone(&viewer.tenant);
    let drawn = app.draw(&tenant, move || {
        let world = viewer.tenant.world();
        let mut reader = Reader::new(&read, &world, &viewer.tenant, now_ms());
        reader.contests = viewer.rights.role.of_distributor();
        reader.erases = viewer.rights.role == Role::Admin;
        html(&draw(page, &reader, &viewer, &signals))
    });
    drawn.await?
}

fn draw(page: Page, reader: &Reader<'_>, viewer: &Viewer, signals: &[Shown]) -> VisitPage {
    let line = &reader.read.line;
    let day = view::day_short(line.day, reader.today);
    let outlet = reader.outlet_name();
    let settles = viewer.rights.role.reviews();
    let told = |shown: Vec<&Shown>| told(&shown, line.visit, reader.world, reader.zone);
    let mut photos = reader.photo_tiles();
    let mut of_photos: HashMap<BlobHash, Vec<&Shown>> = HashMap::new();
    for shown in signals {
        if let Some(photo) = shown.photo {
            of_photos.entry(photo).or_default().push(shown);
        }
    }
    for photo in &mut photos {
        photo.signals = of_photos.remove(&photo.hash).map(told).unwrap_or_default();
    }
    let captures = told(signals.iter().filter(|shown| shown.photo.is_none()).collect());
    // What a contest shows is not the visit's own work.
    let own = || photos.iter().filter(|photo| !photo.contest);
    let here = own().filter(|photo| photo.here).count();
    let retired = own().filter(|p| reader.read.attached.retired.contains_key(&p.hash)).count();
    let gone = own().filter(|photo| photo.gone.is_some()).count();
    let all = own().count();
    let (awaited, in_contests) = (all - here - gone, photos.len() - all);
    let (mut planograms, mut conflicts) = (reader.planograms(), reader.conflicts());
    let (mut prices, mut stock) = (reader.prices(), reader.stock());
    let (mut displays, mut answers) = (reader.displays(), reader.answers());
    let differ: usize = planograms.iter().map(|panel| panel.rows.len()).sum();
    let past = planograms.drain(PLANOGRAMS_MAX.min(planograms.len())..);
    let mut more: usize = past.map(|panel| panel.rows.len() + panel.right.len()).sum();
    for panel in &mut planograms {
        more += cut(&mut panel.rows) + cut(&mut panel.right);
    }
    more += prices.as_mut().map_or(0, |table| cut(&mut table.rows) + cut(&mut table.others));
    more += stock.as_mut().map_or(0, |table| cut(&mut table.rows) + cut(&mut table.more));
    more += cut(&mut displays) + cut(&mut answers) + cut(&mut conflicts) + cut(&mut photos);
    let mut badges = vec![
        view::status_badge(line.status),
        leads_to("#contests", view::contest_badge(line.contest)),
        leads_to("#conflicts", view::conflict_badge(line.conflicts)),
        view::uncounted_badge(line.status, line.counted),
    ];
    if line.news > 0 {
        let news = view::count(line.news, "recording", "recordings");
        badges.push(view::badge("new", "new", &format!("{news} new since review")));
    }
    if signals.iter().any(|shown| !settles || shown.seen.is_none()) {
        // Without signals of captures there is a section of them as long as somebody has yet to look.
        let place = if settles || !captures.is_empty() { "#captures" } else { "#photos" };
        badges.push(leads_to(place, view::badge("short", "info", "Worth a look")));
    }
    badges.retain(|badge| !badge.is_empty());
    VisitPage {
        page: Page { title: format!("{outlet}, {day}"), ..page },
        key: line.visit.to_string(),
        outlet_url: format!("/outlets/{}", line.outlet),
        lede: reader.lede(),
        badges,
        stand: reader.stand(),
        next: read_next(reader, viewer),
        facts: reader.facts_row(),
        tiles: tiles(reader, all - gone, here),
        notice: notice(reader),
        cut: (more > 0).then(|| {
            let (most, more) = (view::number(ROWS_MAX as u64), view::number(more as u64));
            format!(
                "This visit has more than a page can show: {most} of each kind are drawn, {more} are not. They count like the \
                 others, and its proof has them all."
            )
        }),
        not_possible: reader.not_possible(),
        planograms,
        conflicts,
        contests: reader.contest_boxes(),
        contest_url: reader.contests.then(|| contest_url(&line.visit.to_string(), None)),
        speaks: settles || reader.contests,
        prices,
        stock,
        displays,
        answers,
        photos_said: [
            (here, " here"),
            (awaited, " on their way"),
            (retired, " whose time is over"),
            (gone - retired, " erased"),
            (in_contests, " shown in contests"),
        ]
        .into_iter()
        .filter(|(count, what)| *count > 0 || *what == " here")
        .map(|(count, what)| format!("{}{what}", view::number(count as u64)))
        .collect::<Vec<_>>()
        .join(", "),
        photos,
        history: reader.history(),
        thread: reader.thread(),
        write_to: reader.write_to(viewer.rights.user),
        review: settles.then(|| review_bar(reader, differ, more > 0)).flatten(),
        heads: hex_list(reader.read.held.document.heads()),
        captures,
        signals_found_ms: newest(signals),
        to_look_at: settles && signals.iter().any(|shown| shown.seen.is_none()),
        settles,
        all_draft: reader.all_draft(),
        outlet,
        day,
    }
}

/// Cuts what is too long to be drawn. How much of it.
fn cut<T>(rows: &mut Vec<T>) -> usize {
    let cut = rows.len().saturating_sub(ROWS_MAX);
    rows.truncate(ROWS_MAX);
    cut
}

/// A badge that leads to what it is about.
fn leads_to(place: &str, badge: Markup) -> Markup {
    match badge.is_empty() {
        true => badge,
        false => Markup(format!("<a class=\"beside\" href=\"{place}\">{badge}</a>")),
    }
}

fn read_next(reader: &Reader<'_>, viewer: &Viewer) -> Option<String> {
    let next = reader.read.next.filter(|_| viewer.rights.role.reviews())?;
    Some(format!("/visits/{next}"))
}

/// Hashes as a hidden field carries them.
pub(super) fn hex_list(hashes: &[ChangeHash]) -> String {
    hashes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn tiles(reader: &Reader<'_>, photos: usize, here: usize) -> Vec<Tile> {
    use sync_core::kpi::{Kpi, per_visit};
    let counts = reader.read.line.facts.as_ref().map(per_visit).unwrap_or_default();
    let mut tiles = Vec::new();
    for (kpi, url, label, what) in [
        (Kpi::PlanogramCompliance, "#planograms", "Planogram", "positions right"),
        (Kpi::PriceCompliance, "#prices", "Prices", "within tolerance"),
        (Kpi::DisplayCompliance, "#displays", "Displays", "as agreed"),
        (Kpi::OnShelfAvailability, "#stock", "On shelf", "must-stock products"),
    ] {
        let ratio = counts.get(kpi);
        if ratio.denominator > 0 {
            tiles.push(Tile {
                url,
                label,
                value: view::percent(ratio),
                of: String::new(),
                note: format!("{} of {} {what}", ratio.numerator, ratio.denominator),
                bar: view::bar(ratio),
            });
        }
    }
    if photos > 0 {
        tiles.push(Tile {
            url: "#photos",
            label: "Photos",
            value: here.to_string(),
            of: format!("of {photos}"),
            note: match photos - here {
                0 => "all are here".to_owned(),
                awaited => format!("{awaited} on their way"),
            },
            bar: view::bar(view::ratio(here, photos)),
        });
    }
    let conflicts = reader.read.line.conflicts;
    if conflicts > 0 {
        tiles.push(Tile {
            url: "#conflicts",
            label: "Conflicts",
            value: conflicts.to_string(),
            of: String::new(),
            note: "values that differ".to_owned(),
            bar: Markup::default(),
        });
    }
    tiles
}

fn notice(reader: &Reader<'_>) -> Option<Notice> {
    let line = &reader.read.line;
    if reader.visit.found_wrong() {
        return Some(Notice {
            kind: "short",
            symbol: "cross",
            title: "Found wrong as a whole.".to_owned(),
            text: "An objection to all of it was accepted, so it counts in no figure. It is below, with the answers. A \
                   further word there opens it again, and the visit counts until there is another finding."
                .to_owned(),
        });
    }
    let news = reader.news();
    if !news.is_empty() {
        return Some(Notice {
            kind: "new",
            symbol: "new",
            title: format!(
                "New since the review: {} by {}.",
                view::count(line.news, "recording", "recordings"),
                view::and(&news)
            ),
            text: "It carries the mark “New” below. The review did not cover it.".to_owned(),
        });
    }
    match line.status {
        Status::InProgress => Some(Notice {
            kind: "idle",
            symbol: "progress",
            title: "Not submitted yet.".to_owned(),
            text: "What is here so far is shown dimmed, can still change, and counts in no figure."
                .to_owned(),
        }),
        Status::Disputed => Some(Notice {
            kind: "short",
            symbol: "conflict",
            title: "Reviewed twice, with different verdicts.".to_owned(),
            text: "Two people judged it without knowing of each other. A new review settles it."
                .to_owned(),
        }),
        Status::Abandoned => Some(Notice {
            kind: "idle",
            symbol: "cross",
            title: "Abandoned.".to_owned(),
            text: "Whoever began it took everything back, as after starting at the wrong outlet."
                .to_owned(),
        }),
        _ => None,
    }
}

fn review_bar(reader: &Reader<'_>, differ: usize, cut: bool) -> Option<ReviewBar> {
    let line = &reader.read.line;
    let open = |n: u64| match n {
        0 => String::new(),
        1 => ", 1 conflict is open".to_owned(),
        n => format!(", {n} conflicts are open"),
    };
    let differ = match differ {
        _ if line.status == Status::NotPossible => "Nothing was audited".to_owned(),
        0 => "No position differs".to_owned(),
        1 => "1 position differs".to_owned(),
        n => format!("{n} positions differ"),
    };
    let reads = view::and(&reader.first_names());
    let reads = if reads.is_empty() { "Whoever worked on it".to_owned() } else { reads };
    let bar = |title: Markup, text: String, approves| ReviewBar { title, text, approves, reads };
    match line.status {
        Status::Submitted | Status::Disputed | Status::NotPossible => Some(bar(
            Markup(match cut {
                false => "Your review covers what this page shows".to_owned(),
                true => "Your review covers all of the visit, and the page shows a part".to_owned(),
            }),
            format!("{differ}{}. Later work will show as new.", open(line.conflicts)),
            true,
        )),
        Status::SentBack => Some(bar(
            reader.judged("Sent back"),
            "Waiting for an answer. It can still be approved as it is.".to_owned(),
            true,
        )),
        Status::Approved => Some(bar(
            reader.judged("Approved"),
            match line.news {
                0 => "Later work will show as new.".to_owned(),
                _ => "It has changed since; a new review covers that too.".to_owned(),
            },
            line.news > 0,
        )),
        Status::InProgress | Status::Abandoned => None,
    }
}

/// What a form of contest shows: what is contested, and how something else is put in its place.
pub(super) struct ContestSubject {
    pub(super) title: String,
    pub(super) said: Vec<SaidValue>,
    pub(super) claim: ClaimField,
}

/// A value that was recorded, and by whom.
pub(super) struct SaidValue {
    pub(super) value: String,
    pub(super) by: String,
    pub(super) at: Markup,
}

/// How what was there instead is put into a form.
pub(super) enum ClaimField {
    Nothing,
    /// Its label, and whether it may have decimals.
    Number(String, bool),
    /// Its label and the options.
    Choice(String, Vec<(String, String)>),
}

/// A visit, and what is contested of it.
pub(super) struct ContestForm {
    pub(super) outlet: String,
    pub(super) day: String,
    pub(super) subject: ContestSubject,
    /// The recordings of the value that are shown, or the visit's heads.
    pub(super) seen: Vec<ChangeHash>,
}

/// How a visit or a value of it is contested; `None`: there is no such value.
pub(super) fn contest_form(
    read: &VisitRead,
    world: &World,
    tenant: &Tenant,
    about: Option<&About>,
) -> Option<ContestForm> {
    let reader = Reader::new(read, world, tenant, now_ms());
    let live = about.map_or(&[][..], |about| reader.live(about.check, &about.subject));
    let seen = match about {
        None => read.held.document.heads().to_vec(),
        Some(_) if live.is_empty() => return None,
        Some(_) => live.iter().map(|live| live.recording).collect(),
    };
    let check = about.map_or(0, |about| about.check);
    let said = live.iter().map(|live| SaidValue {
        value: reader.words.value(check, &live.value),
        by: reader.name(live.by),
        at: reader.at(live.recording),
    });
    let subject = ContestSubject {
        title: reader.words.contested(about),
        said: said.collect(),
        claim: live.first().map_or(ClaimField::Nothing, |l| reader.claim_field(check, &l.value)),
    };
    let day = view::day_short(read.line.day, reader.today);
    Some(ContestForm { outlet: reader.outlet_name(), day, subject, seen })
}

/// The day of an instant in the reader's zone.
fn day_of(at_ms: i64, zone: &str) -> Day {
    Day::at(at_ms, zone)
}
