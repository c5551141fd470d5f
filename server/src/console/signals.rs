//! What is worth a look: the queue, and what each kind of signal weighs.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{Redirect, Response};
use serde::Deserialize;
use sync_core::id::{DocKind, VisitId};
use sync_core::model::Geo;
use sync_core::model::catalogue::RADIUS_M;
use sync_core::model::people::Role;

use super::page::{Page, Section, html, sight};
use super::view::{self, Markup};
use super::visit::history_key;
use crate::app::App;
use crate::auth::{Posted, Viewer};
use crate::error::Problem;
use crate::now_ms;
use crate::signals::field::{Evidence, OBSERVATION_MS, Settings};
use crate::signals::{Kind, Signal, WEIGHT_MAX};
use crate::store::signals::{self as rows, Other, Shown, Which};
use crate::store::{StoreError, field, pages};
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
pub(super) struct OtherPage {
    pub(super) url: String,
    /// Where its picture is.
    pub(super) photo: Option<String>,
    pub(super) said: Markup,
}

/// Puts a signal of a visit into words.
pub(super) fn told(shown: &Shown, visit: VisitId, world: &World, zone: &str) -> Told {
    let (mut others, mut hidden) = (Vec::new(), String::new());
    let Signal { kind, figure } = shown.signal;
    let of_photo = shown.photo.is_some();
    match shown.other {
        None => {}
        Some(Other::OutOfSight) => {
            let what = if of_photo { "photo" } else { "visit" };
            hidden = format!("The other {what} is outside your part of the field.");
        }
        Some(Other::InSight { photo, document, at_ms }) => {
            let url = match document.kind {
                DocKind::Visit => format!("/visits/{}", VisitId::from_bytes(document.id)),
                DocKind::Outlet => "/outlets".to_owned(),
            };
            let photo = photo.map(|photo| format!("/photos/{photo}"));
            let when = view::when(at_ms, zone);
            let said = match (of_photo, &photo) {
                (true, Some(_)) => format!("recorded {when}"),
                (true, None) => format!("recorded {when}; that photo is no longer kept"),
                (false, _) => format!("The other visit, begun {when}"),
            };
            others.push(OtherPage { url, photo, said: Markup(said) });
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
            shows.push(view::count(*count, "observation", "observations"));
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

/// What a clock showed, which may be a time that no calendar has.
fn dated(ms: i64, zone: &str) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(_) => view::zoned(ms, zone).strftime("%-d %b %Y %H:%M:%S").to_string(),
        Err(_) => "what is no date".to_owned(),
    }
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
    let accuracy = place.accuracy_m.map(|m| format!(" (±{m} m)")).unwrap_or_default();
    format!("{lat:.5}, {lon:.5}{accuracy}")
}

struct Item {
    visit: String,
    outlet: String,
    day: String,
    people: String,
    weight: u32,
    photos: Vec<Photo>,
}

/// The signals of one photo, or of the captures.
struct Photo {
    url: Option<String>,
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
    weights: Vec<Weight>,
    /// What the organisation says of its field, and what it may say.
    metres: u32,
    metres_min: u32,
    metres_max: u32,
    seconds: f64,
    seconds_min: f64,
    seconds_max: f64,
    /// May set the weights and that.
    sets: bool,
    /// Says that somebody has looked, and is shown what things weigh. A distributor's manager is shown what there is.
    reviews: bool,
    days: i32,
}

/// `GET /look`
pub(super) async fn queue(
    State(app): State<Arc<App>>,
    viewer: Viewer,
) -> Result<Response, Problem> {
    viewer.require(Role::oversees, "look at signals")?;
    let see = sight(&viewer);
    let zone = view::zone_of(&viewer.tenant.world(), &viewer.rights);
    let today = sync_core::model::Day::at(now_ms(), &zone);
    let reviews = viewer.rights.role.reviews();
    let which = if reviews { Which::Waiting } else { Which::Since(today.plus(1 - DAYS)) };
    let read = app.look(&viewer.tenant, move |c| {
        let waiting = rows::queue(c, &see, which, VISITS_MAX)?;
        let weights = rows::weights(c, see.org)?;
        Ok((waiting, weights, field::settings(c, see.org)?))
    });
    let (waiting, weights, settings) = read.await?;
    let page = Page::new(&app, &viewer, Section::Signals, "To look at").await?;
    let world = viewer.tenant.world();
    let items = waiting.into_iter().map(|waiting| {
        let outlet = world.outlets.get(&waiting.outlet);
        let zone = outlet.map_or("UTC", |outlet| outlet.zone.as_str());
        let mut photos: Vec<(Option<_>, Photo)> = Vec::new();
        for shown in &waiting.signals {
            let told = told(shown, waiting.visit, &world, zone);
            match photos.iter_mut().find(|(photo, _)| *photo == shown.photo) {
                Some((_, photo)) => photo.signals.push(told),
                None => {
                    let url = shown.photo.map(|photo| format!("/photos/{photo}"));
                    photos.push((shown.photo, Photo { url, signals: vec![told] }));
                }
            }
        }
        Item {
            visit: waiting.visit.to_string(),
            outlet: outlet.map_or_else(|| "An outlet that is not known".into(), |o| o.name.clone()),
            day: view::day_short(waiting.day, today),
            people: view::and(&view::worker_names(&world, &waiting.people)),
            weight: waiting.weight,
            photos: photos.into_iter().map(|(_, photo)| photo).collect(),
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
        weights: weights.collect(),
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
}

/// `POST /look/{visit}`: somebody has looked at it.
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
    let write = app.store.write_for(org, move |tx| rows::seen(tx, org, visit, by, now));
    write.await?;
    Ok(Redirect::to(&if form.visit { format!("/visits/{visit}") } else { "/look".to_owned() }))
}

#[derive(Deserialize)]
pub(super) struct Set {
    metres: u32,
    seconds: f64,
}

/// `POST /look/settings`: how far outlets reach, and how long looking takes, from now on. Every visit is read again.
pub(super) async fn set(
    State(app): State<Arc<App>>,
    Posted(viewer, form): Posted<Set>,
) -> Result<Redirect, Problem> {
    viewer.require(
        |role| role == Role::Admin,
        "say how far outlets reach and how long looking takes",
    )?;
    let observation_ms = (form.seconds * 1_000.0).round() as u32;
    if !RADIUS_M.contains(&form.metres) {
        let (least, most) = (RADIUS_M.start(), RADIUS_M.end());
        return Err(Problem::invalid(format!("an outlet reaches {least} to {most} m")));
    }
    if !OBSERVATION_MS.contains(&observation_ms) {
        return Err(Problem::invalid("an observation takes 0.1 to 60 seconds"));
    }
    let (org, settings) = (viewer.tenant.org, Settings { radius_m: form.metres, observation_ms });
    let write = app.store.write_for(org, move |tx| field::set(tx, org, settings));
    write.await?;
    app.poke(&viewer.tenant);
    Ok(Redirect::to("/look#weights"))
}

#[derive(Deserialize)]
pub(super) struct Weighed {
    kind: u8,
    weight: u32,
}

/// `POST /look/weights`: what one kind of signal weighs from now on.
pub(super) async fn weigh(
    State(app): State<Arc<App>>,
    Posted(viewer, form): Posted<Weighed>,
) -> Result<Redirect, Problem> {
    viewer.require(|role| role == Role::Admin, "set what signals weigh")?;
    let kind =
        Kind::of(form.kind).ok_or_else(|| Problem::invalid("there is no such kind of signal"))?;
    if form.weight > WEIGHT_MAX {
        return Err(Problem::invalid("a weight is from 0 to 100"));
    }
    let (org, weight) = (viewer.tenant.org, [(kind, form.weight)].into());
    let write = app.store.write_for(org, move |tx| -> Result<(), StoreError> {
        rows::set_weights(tx, org, &weight)
    });
    write.await?;
    Ok(Redirect::to("/look#weights"))
}
