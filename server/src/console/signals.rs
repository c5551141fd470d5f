//! What is worth a look: the queue, and what each kind of signal weighs.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{Redirect, Response};
use serde::Deserialize;
use sync_core::id::{DocId, DocKind, VisitId};
use sync_core::model::catalogue::RADIUS_M;
use sync_core::model::people::Role;
use sync_core::model::{Day, Geo};

use super::page::{Page, Section, html, sight};
use super::view::{self, Markup};
use super::visit::{history_key, photo_key};
use crate::app::App;
use crate::auth::{Posted, Viewer};
use crate::error::Problem;
use crate::now_ms;
use crate::signals::field::{Evidence, OBSERVATION_MS, Settings};
use crate::signals::{Kind, Signal, WEIGHT_MAX};
use crate::store::signals::{self as rows, InSight, Other, Shown, Which};
use crate::store::{field, pages};
use crate::world::World;

/// Visits that the page shows.
const VISITS_MAX: u32 = 50;
/// A distributor's manager is shown those of so many days.
const DAYS: i32 = 28;

/// A signal as it is told.
pub(super) struct Told {
    pub(super) title: &'static str,
    pub(super) why: String,
    /// Whose capture it is.
    pub(super) by: String,
    /// Where the history of its visit tells of it.
    pub(super) entry: Option<String>,
    /// What shows it, in words.
    pub(super) shows: Vec<String>,
    pub(super) others: Vec<OtherPage>,
    /// That some of what shows it is not seen.
    pub(super) hidden: String,
    pub(super) seen: Option<Markup>,
}

/// Another visit, or another photo, that a signal names.
#[derive(PartialEq, Eq)]
pub(super) struct OtherPage {
    pub(super) url: String,
    /// Where its picture is.
    pub(super) photo: Option<String>,
    pub(super) said: Markup,
}

/// Puts signals of one photo, or of the captures of a visit, into words. Those that differ only in what is like it are
/// told as one.
pub(super) fn told(shown: &[&Shown], visit: VisitId, world: &World, zone: &str) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    for shown in shown {
        let told = one(shown, visit, world, zone);
        let same = all.iter_mut().find(|before| {
            let alike = before.title == told.title && before.why == told.why;
            alike && shown.photo.is_some() && before.shows == told.shows && before.seen == told.seen
        });
        match same {
            Some(before) if before.hidden.is_empty() && told.hidden.is_empty() => {
                before.others.extend(told.others);
                before.others.dedup();
            }
            _ => all.push(told),
        }
    }
    all
}

/// Where, by whom and when another photo was recorded, or another visit begun.
fn said_of(other: &InSight, visit: VisitId, of_photo: bool, world: &World) -> Markup {
    let InSight { document, at_ms, place, by, .. } = other;
    let outlet = place.and_then(|(outlet, _)| world.outlets.get(&outlet));
    let zone = outlet.map_or("UTC", |outlet| outlet.zone.as_str());
    let when = view::when(*at_ms, zone);
    let verb = match of_photo {
        true if other.contest => "shown in a contest",
        true => "recorded",
        false => "begun",
    };
    let by = by.map(|by| format!(" by {}", view::escape(&world.name(by)))).unwrap_or_default();
    let own = *document == DocId::from(visit);
    let name = match (own, outlet) {
        (true, _) => "In this visit".to_owned(),
        (false, Some(outlet)) => outlet.name.clone(),
        (false, None) if place.is_some() => "An outlet that is not known".to_owned(),
        (false, None) => "A reported outlet".to_owned(),
    };
    // A visit counts on the day of its start at its outlet, which need not be the day of the photo.
    let day = place.map(|(_, day)| day).filter(|day| of_photo && *day != Day::at(*at_ms, zone));
    let day = day
        .map(|day| view::day_short(day, day))
        .map(|day| format!(", visit of {day}"))
        .unwrap_or_default();
    let kept = match of_photo && other.photo.is_none() {
        true => "; that photo is no longer kept",
        false => "",
    };
    Markup(format!("<b>{}</b>{day}: {verb}{by}, {when}{kept}", view::escape(&name)))
}

fn one(shown: &Shown, visit: VisitId, world: &World, zone: &str) -> Told {
    let (mut others, mut hidden) = (Vec::new(), String::new());
    let Signal { kind, figure } = shown.signal;
    let of_photo = shown.photo.is_some();
    match shown.other {
        None => {}
        Some(Other::OutOfSight) => {
            let what = if of_photo { "photo" } else { "visit" };
            hidden = format!("The other {what} is outside your part of the field.");
        }
        Some(Other::InSight(other)) => {
            let url = match other.document.kind {
                DocKind::Visit => {
                    let photo = other.photo.map(|photo| format!("#{}", photo_key(photo)));
                    let visit = VisitId::from_bytes(other.document.id);
                    format!("/visits/{visit}{}", photo.unwrap_or_default())
                }
                DocKind::Outlet => "/outlets".to_owned(),
            };
            let photo = other.photo.map(|photo| format!("/photos/{photo}"));
            let said = said_of(&other, visit, of_photo, world);
            others.push(OtherPage { url, photo, said });
        }
    }
    let mut shows = Vec::new();
    match &shown.evidence {
        None => {}
        Some(Evidence::Place { place, metres, moved_ms }) => {
            shows.extend(metres.map(|metres| format!("{} from the outlet", distance(metres))));
            let whose = if kind == Kind::Camera { "By its camera" } else { "The fix was" };
            shows.push(format!("{whose} at {}", at(place)));
            shows.extend(moved_ms.map(|ms| {
                let when = dated(ms, zone);
                format!("The outlet’s position was changed later, on {when}: the nearest that it had counts")
            }));
        }
        Some(Evidence::Way { from, to, metres, ms }) => {
            shows.push(format!("{} within {} at most", distance(*metres), view::span(*ms)));
            shows.push(format!("From {} to {}", at(from), at(to)));
        }
        Some(Evidence::Observations(count)) => {
            shows.push(view::count(*count, "observation or photo", "observations and photos"));
        }
        Some(Evidence::Unproved { claims_first }) => shows.push(format!(
            "Nothing settles which of the two was recorded first. By what the phones say it was {}, which is a claim.",
            if *claims_first { "this one" } else { "the other" }
        )),
        Some(Evidence::Clock { wall_ms, skew_ms, times }) => {
            shows.push(format!("Its wall clock said {}", dated(*wall_ms, zone)));
            if let Some(skew_ms) = skew_ms {
                let right = dated(wall_ms.saturating_add(*skew_ms), zone);
                shows.push(format!("Set right by what it had heard from this server: {right}"));
            }
            shows.push(view::bounds(times, zone));
        }
        Some(Evidence::Lost { since_ms, times }) => {
            shows.push(format!("Out of its person’s hands since {}", dated(*since_ms, zone)));
            shows.push(format!("Here since {}", dated(times.latest_ms, zone)));
            shows.push(view::bounds(times, zone));
        }
        Some(Evidence::File { shown_ms, offset_min, written_ms, editor }) => {
            shows.extend(editor.as_ref().map(|editor| format!("It names {editor}")));
            let clock = |ms: &i64| view::camera_clock(*ms, *offset_min);
            shows.extend(shown_ms.as_ref().map(|ms| format!("Taken by the camera’s clock: {}", clock(ms))));
            shows.extend(written_ms.as_ref().map(|ms| format!("Written by that clock: {}", clock(ms))));
        }
        Some(Evidence::Lengths(lengths)) => {
            others.extend(lengths.iter().map(|length| OtherPage {
                url: format!("/visits/{}", length.visit),
                photo: None,
                said: Markup(format!(
                    "{} min {} s, begun {}",
                    length.ms / 60_000,
                    length.ms / 1_000 % 60,
                    view::when(length.began_ms, zone)
                )),
            }));
        }
    }
    if shown.hidden > 0 {
        let visits = view::count(shown.hidden as u64, "visit is", "visits are");
        hidden = format!("{visits} outside your part of the field.");
    }
    let seen = shown.seen.map(|(by, at_ms)| {
        Markup(format!(
            "Looked at by {}, {}",
            view::escape(&world.name(by)),
            view::when(at_ms, zone)
        ))
    });
    let (title, why) = (kind.title(), kind.explanation(figure));
    let by = shown.capture.map(|(by, _)| world.name(by)).unwrap_or_default();
    let entry = shown.capture.map(|(_, entry)| format!("/visits/{visit}#{}", history_key(entry)));
    Told { title, why, by, entry, shows, others, hidden, seen }
}

fn dated(ms: i64, zone: &str) -> String {
    view::shown(ms, zone, "%-d %b %Y %H:%M:%S")
}

fn distance(metres: i64) -> String {
    match metres {
        0..1_000 => format!("{metres} m"),
        _ => format!("{}.{} km", metres / 1_000, metres / 100 % 10),
    }
}

/// Latitude, longitude and how accurate a fix says that it is.
fn at(place: &Geo) -> String {
    let (lon, lat) = place.degrees();
    let accuracy = place.accuracy_m.map(|m| format!(" (±{m}\u{a0}m)")).unwrap_or_default();
    format!("{lat:.5}, {lon:.5}{accuracy}")
}

/// Since when the newest of these is as it is.
pub(super) fn newest(shown: &[Shown]) -> i64 {
    shown.iter().map(|shown| shown.found_ms).max().unwrap_or_default()
}

struct Item {
    visit: String,
    outlet: String,
    day: String,
    people: String,
    weight: u32,
    /// What the signals of photos weigh that others have shown in a contest.
    contests: u32,
    /// Since when the newest of its signals is as it is.
    found_ms: i64,
    photos: Vec<Photo>,
}

/// The signals of one photo, or of the captures.
struct Photo {
    url: Option<String>,
    /// Who showed it in a contest, of one that is no part of the visit's work.
    contested: Option<String>,
    signals: Vec<Told>,
}

struct Weight {
    kind: u8,
    title: &'static str,
    weight: u32,
}

#[derive(Template)]
#[template(path = "signals.html")]
struct SignalsPage {
    page: Page,
    items: Vec<Item>,
    /// The place of the first in the queue, and how many come before the next page's.
    first: usize,
    next: Option<u32>,
    weights: Vec<Weight>,
    weight_max: u32,
    /// What the organisation says of its field, and what it may say.
    metres: u32,
    metres_min: u32,
    metres_max: u32,
    seconds: f64,
    seconds_min: f64,
    seconds_max: f64,
    /// May set the weights and that.
    sets: bool,
    /// Says that somebody has looked. A distributor's manager is shown what there is.
    reviews: bool,
    days: i32,
}

#[derive(Deserialize)]
pub(super) struct Start {
    /// How many heavier visits are left out.
    #[serde(default)]
    from: u32,
}

/// `GET /look`
pub(super) async fn queue(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(Start { from }): Query<Start>,
) -> Result<Response, Problem> {
    viewer.require(Role::oversees, "look at signals")?;
    let see = sight(&viewer);
    let zone = view::zone_of(&viewer.tenant.world(), &viewer.rights);
    let today = Day::at(now_ms(), &zone);
    let reviews = viewer.rights.role.reviews();
    let which = if reviews { Which::Waiting } else { Which::Since(today.plus(1 - DAYS)) };
    let read = app.look(&viewer.tenant, move |c| {
        let waiting = rows::queue(c, &see, which, (from, VISITS_MAX + 1))?;
        let weights = rows::weights(c, see.org)?;
        Ok((waiting, weights, field::settings(c, see.org)?))
    });
    let (mut waiting, weights, settings) = read.await?;
    let more = waiting.len() > VISITS_MAX as usize;
    waiting.truncate(VISITS_MAX as usize);
    let page = Page::new(&app, &viewer, Section::Signals, "Worth a look").await?;
    let world = viewer.tenant.world();
    let items = waiting.into_iter().map(|waiting| {
        let outlet = world.outlets.get(&waiting.outlet);
        let zone = outlet.map_or("UTC", |outlet| outlet.zone.as_str());
        let mut photos: Vec<(_, Vec<&Shown>)> = Vec::new();
        for shown in &waiting.signals {
            let of = (shown.photo, shown.contested);
            match photos.iter_mut().find(|(photo, _)| *photo == of) {
                Some((_, signals)) => signals.push(shown),
                None => photos.push((of, vec![shown])),
            }
        }
        let photos = photos.into_iter().map(|((photo, contested), shown)| Photo {
            url: photo.map(|photo| format!("/photos/{photo}")),
            contested: contested.map(|by| world.name(by)),
            signals: told(&shown, waiting.visit, &world, zone),
        });
        let photos = photos.collect();
        Item {
            visit: waiting.visit.to_string(),
            outlet: outlet.map_or_else(|| "An outlet that is not known".into(), |o| o.name.clone()),
            day: view::day_short(waiting.day, today),
            people: view::and(&view::worker_names(&world, &waiting.people)),
            weight: waiting.weight,
            contests: waiting.contests,
            found_ms: newest(&waiting.signals),
            photos,
        }
    });
    let items = items.collect();
    drop(world);
    let weights = weights.into_iter().map(|(kind, weight)| Weight {
        kind: kind as u8,
        title: kind.title(),
        weight,
    });
    let sets = viewer.rights.role == Role::Admin;
    let seconds = |ms: u32| f64::from(ms) / 1_000.0;
    html(&SignalsPage {
        page,
        items,
        first: (from as usize).saturating_add(1),
        next: more.then_some(from.saturating_add(VISITS_MAX)),
        weights: weights.collect(),
        weight_max: WEIGHT_MAX,
        metres: settings.radius_m,
        metres_min: *RADIUS_M.start(),
        metres_max: *RADIUS_M.end(),
        seconds: seconds(settings.observation_ms),
        seconds_min: seconds(*OBSERVATION_MS.start()),
        seconds_max: seconds(*OBSERVATION_MS.end()),
        sets,
        reviews,
        days: DAYS,
    })
}

#[derive(Deserialize)]
pub(super) struct Back {
    #[serde(default)]
    visit: bool,
    /// Since when the newest signal that was shown is as it was shown.
    found: i64,
}

/// `POST /look/{visit}`: somebody has looked at what was shown of it.
pub(super) async fn seen(
    State(app): State<Arc<App>>,
    Path(visit): Path<String>,
    Posted(viewer, form): Posted<Back>,
) -> Result<Redirect, Problem> {
    viewer.require(Role::reviews, "look at signals")?;
    let visit: VisitId = visit.parse().map_err(|_| Problem::not_found())?;
    let (org, by, now) = (viewer.tenant.org, viewer.rights.user, now_ms());
    let audience =
        app.look(&viewer.tenant, move |c| pages::audience_of(c, org, visit.into())).await?;
    if !audience.is_some_and(|audience| viewer.sees(&audience)) {
        return Err(Problem::not_found());
    }
    let write =
        viewer.write(&app, move |tx, _| Ok(rows::seen(tx, org, visit, by, (form.found, now))?));
    write.await?;
    Ok(Redirect::to(&if form.visit { format!("/visits/{visit}") } else { "/look".to_owned() }))
}

#[derive(Deserialize)]
pub(super) struct Set {
    metres: u32,
    seconds: f64,
    /// `weight-N`, of the kind of that number.
    #[serde(flatten)]
    others: BTreeMap<String, String>,
}

/// `POST /look/settings`: what each kind weighs, how far outlets reach and how long looking takes, from now on. Every
/// visit is read again if one of the last two is another one.
pub(super) async fn set(
    State(app): State<Arc<App>>,
    Posted(viewer, form): Posted<Set>,
) -> Result<Redirect, Problem> {
    viewer.require(
        |role| role == Role::Admin,
        "say what signals weigh, how far outlets reach and how long looking takes",
    )?;
    let observation_ms = (form.seconds * 1_000.0).round() as u32;
    if !RADIUS_M.contains(&form.metres) {
        let (least, most) = (RADIUS_M.start(), RADIUS_M.end());
        return Err(Problem::invalid(format!("an outlet reaches {least} to {most} m")));
    }
    if !OBSERVATION_MS.contains(&observation_ms) {
        return Err(Problem::invalid("an observation takes 0.1 to 60 seconds"));
    }
    let weights = weights_of(&form.others)?;
    let (org, settings) = (viewer.tenant.org, Settings { radius_m: form.metres, observation_ms });
    let write = viewer.write(&app, move |tx, _| {
        rows::set_weights(tx, org, &weights)?;
        Ok(field::set(tx, org, settings)?)
    });
    write.await?;
    app.poke(&viewer.tenant);
    Ok(Redirect::to("/look#weights"))
}

/// The weights of a form.
fn weights_of(fields: &BTreeMap<String, String>) -> Result<rows::Weights, Problem> {
    let named =
        fields.iter().filter_map(|(name, said)| Some((name.strip_prefix("weight-")?, said)));
    let read = named.map(|(number, said)| {
        let kind = number.parse().ok().and_then(Kind::of);
        let kind = kind.ok_or_else(|| Problem::invalid("there is no such kind of signal"))?;
        let weight = said.trim().parse().ok().filter(|weight| *weight <= WEIGHT_MAX);
        let weight = weight.ok_or_else(|| Problem::invalid("a weight is from 0 to 100"))?;
        Ok((kind, weight))
    });
    read.collect()
}
