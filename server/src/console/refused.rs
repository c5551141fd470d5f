//! Work that was refused: what it is, why, and what becomes of it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{Redirect, Response};
use serde::Deserialize;
use sync_core::admit::about_rights;
use sync_core::document::Entry;
use sync_core::id::DocKind;
use sync_core::model::capture::CaptureTime;
use sync_core::model::contest::Word;
use sync_core::model::people::Role;
use sync_core::model::visit::{Act, Post};

use super::page::{Page, Section, html, sight};
use super::view::{self, Markup};
use crate::app::App;
use crate::auth::{Posted, Viewer};
use crate::error::Problem;
use crate::store::StoreError;
use crate::store::log::Reader;
use crate::store::quarantine::{self, Item};
use crate::world::World;

/// Pieces of refused work that the page shows.
const ITEMS_MAX: u32 = 100;

struct Refused {
    item: u64,
    where_: String,
    link: Option<String>,
    by: String,
    phone: String,
    /// Who carried it here for the phone.
    courier: Option<String>,
    at: Markup,
    why: String,
    says: String,
    doubt: Option<Markup>,
    /// What is known of when it was made.
    made: Option<Markup>,
    /// Somebody may still decide.
    open: bool,
    /// It may be approved.
    approvable: bool,
    badge: Markup,
    decided: Option<Markup>,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage {
    page: Page,
    items: Vec<Refused>,
    waiting: usize,
}

/// `GET /refused`
pub(super) async fn refused(
    State(app): State<Arc<App>>,
    viewer: Viewer,
) -> Result<Response, Problem> {
    viewer.require(Role::reviews, "decide on refused work")?;
    let (see, tenant) = (sight(&viewer), Arc::clone(&viewer.tenant));
    let found = app.look(&viewer.tenant, move |c| {
        let log = Reader::open(c, tenant.org)?;
        let world = tenant.world_of(&log)?;
        let items = quarantine::items(c, &see, tenant.id, ITEMS_MAX)?;
        let told = items.iter().map(|item| {
            Ok::<_, StoreError>((Withdrawal::of(&log, &world, item)?, made(&log, item)?))
        });
        let told = told.collect::<Result<Vec<_>, _>>()?;
        Ok(items.into_iter().zip(told).collect::<Vec<_>>())
    });
    let found = found.await?;
    let page = Page::new(&app, &viewer, Section::Refused, "Refused work").await?;
    let world = viewer.tenant.world();
    let zone = view::zone_of(&world, &viewer.rights);
    let mut items = Vec::new();
    for (item, (withdrawal, made)) in &found {
        let doubt = withdrawal.as_ref().map(|withdrawal| withdrawal.told(&zone));
        let made = made.as_ref().map(|times| told(times, &zone));
        items.push(Refused { doubt, made, ..shown(&world, item, &zone) });
    }
    let waiting = items.iter().filter(|item| item.open).count();
    drop(world);
    html(&RefusedPage { page, items, waiting })
}

#[derive(Deserialize)]
pub(super) struct Decision {
    decision: String,
}

/// `POST /refused/{item}`: approves it, or discards it.
pub(super) async fn decide(
    State(app): State<Arc<App>>,
    Path(item): Path<u32>,
    Posted(viewer, form): Posted<Decision>,
) -> Result<Redirect, Problem> {
    viewer.require(Role::reviews, "decide on refused work")?;
    let approved = match form.decision.as_str() {
        "approve" => true,
        "discard" => false,
        _ => return Err(Problem::malformed("decision: needs approve or discard")),
    };
    let (see, item) = (sight(&viewer), u64::from(item));
    if !app.look(&viewer.tenant, move |c| quarantine::sees(c, &see, item)).await? {
        return Err(Problem::not_found());
    }
    app.decide(&viewer.tenant, item, approved, viewer.rights.user).await?;
    Ok(Redirect::to("/refused"))
}

fn shown(world: &World, item: &Item, zone: &str) -> Refused {
    let entries: Vec<Entry> = item.group.changes.iter().filter_map(|c| c.entry().ok()).collect();
    let document = item.group.document;
    let outlet = match document.kind {
        DocKind::Outlet => item.group.outlet(),
        DocKind::Visit => entries.iter().find_map(|entry| match entry {
            Entry::Recording(recording) => match recording.act {
                Act::Start { outlet, .. } => Some(outlet),
                _ => None,
            },
            _ => None,
        }),
    };
    let outlet = outlet.and_then(|id| world.outlets.get(&id));
    let by = entries.first().map(|entry| world.name(entry.by()));
    let device = world.devices.get(&item.device);
    let open = item.state == "waiting";
    let badge = match item.state.as_str() {
        "accepted" => view::badge("is-approved", "check", "Approved"),
        "discarded" => view::badge("is-not-possible", "cross", "Discarded"),
        "proposed_again" => view::badge("is-new", "new", "Replaced by its author"),
        _ => view::badge("is-submitted", "clock", "Waits"),
    };
    let decided = item.decided.map(|(by, at_ms)| {
        Markup(format!("by {}, {}", view::escape(&world.name(by)), view::ago(at_ms, zone)))
    });
    Refused {
        item: item.item,
        where_: outlet
            .map_or_else(|| "An outlet that is not known here".into(), |o| o.name.clone()),
        link: outlet.map(|o| format!("/outlets/{}", o.id)),
        by: by.unwrap_or_else(|| "Nobody that can be read".into()),
        courier: item
            .courier
            .and_then(|courier| world.devices.get(&courier))
            .map(|d| world.name(d.user)),
        phone: device.map_or_else(|| "a phone that is not known".into(), |d| world.name(d.user)),
        at: view::ago(item.received_ms, zone),
        why: match reason(&item.code) {
            Some(why) => why.into(),
            None => item.detail.clone(),
        },
        says: says(&entries),
        doubt: None,
        made: None,
        open,
        approvable: open && about_rights(&item.code),
        badge,
        decided,
    }
}

/// When the newest of it was made, as well as that is known; nothing is known of the clocks with which it was sent.
fn made(log: &Reader<'_>, item: &Item) -> Result<Option<CaptureTime>, StoreError> {
    let newest = item.group.changes.iter().rev().find_map(|change| change.entry().ok());
    let Some(newest) = newest else { return Ok(None) };
    log.captured(newest.when(), item.received_ms).map(Some)
}

/// The claim, with what is proved of it to be opened.
fn told(times: &CaptureTime, zone: &str) -> Markup {
    Markup(format!(
        "<details class=\"claim\"><summary>made {}, as the phone claims</summary>{}</details>",
        view::when(times.claimed_ms, zone),
        view::escape(&view::bounds(times, zone))
    ))
}

/// What is known of when work of a phone was made whose access was withdrawn.
struct Withdrawal {
    withdrawn_ms: i64,
    /// Its author's phone already knew of the withdrawal.
    knew: bool,
    /// When the newest of it was made, as well as that is known.
    made: CaptureTime,
    /// The bound below rests on something.
    bounded: bool,
}

impl Withdrawal {
    fn of(log: &Reader<'_>, world: &World, item: &Item) -> Result<Option<Self>, StoreError> {
        let mut newest: Option<Self> = None;
        for change in &item.group.changes {
            let withdrawn = world.device_of(change.actor).and_then(|d| world.withdrawn(d.id));
            let (Some(withdrawn), Ok(entry)) = (withdrawn, change.entry()) else { continue };
            let Some(withdrawn_ms) = log.time_of(withdrawn)? else { continue };
            let known = log.known_at(entry.when())?;
            let made = log.captured(entry.when(), item.received_ms)?;
            let knew = known > withdrawn || newest.as_ref().is_some_and(|newest| newest.knew);
            if newest.as_ref().is_none_or(|newest| newest.made.claimed_ms <= made.claimed_ms) {
                newest = Some(Self {
                    withdrawn_ms,
                    knew,
                    made,
                    bounded: made.proved_from_ms().is_some(),
                });
            } else if let Some(newest) = &mut newest {
                newest.knew = knew;
            }
        }
        Ok(newest)
    }

    /// Before or after, as well as it can be known.
    fn told(&self, zone: &str) -> Markup {
        let at = |ms| view::when(ms, zone);
        let Self { withdrawn_ms, made, .. } = self;
        let withdrawn = at(*withdrawn_ms);
        if self.knew {
            let after = "Made after the phone’s access was withdrawn on";
            return Markup(format!("{after} {withdrawn}: the phone had heard of it."));
        }
        let claimed = at(made.claimed_ms);
        if made.claimed_ms >= *withdrawn_ms {
            let says = "By the phone’s own clock made on";
            return Markup(format!(
                "{says} {claimed}, after its access was withdrawn on {withdrawn}."
            ));
        }
        let doubt = match self.bounded {
            true => format!("it can be from any time since {}", at(made.earliest_ms)),
            false => "it can be from any time".to_owned(),
        };
        Markup(format!(
            "By the phone’s own clock made on {claimed}, before its access was withdrawn on {withdrawn}. \
             Nothing proves that: {doubt}."
        ))
    }
}

/// Why, for supervisors; `None` where only the words of the refusal tell.
fn reason(code: &str) -> Option<&'static str> {
    Some(match code {
        "late" => "Made before the rights changed, it says, but sent long after",
        "no_right" => "The person had no right to do this",
        "out_of_scope" => "The outlet was outside the person’s part of the field",
        "revoked_device" => "From a phone whose access was withdrawn",
        "unknown" => "The outlet or call was not on the list any more",
        "wrong_start" => "The outlet had moved, or the call was for another one",
        "forked" => "Another copy of the phone wrote in its place",
        "missing_parent" => "What it builds on has not come yet",
        "missing_note" => "Its words have not come yet",
        "bad_seal" => "Its signature is not right",
        _ => return None,
    })
}

/// What is in it, as a sentence.
fn says(entries: &[Entry]) -> String {
    let (mut observations, mut photos, mut says) = (0_u64, 0_u64, Vec::new());
    for entry in entries {
        photos += entry.photos().len() as u64;
        match entry {
            Entry::Recording(recording) => match &recording.act {
                Act::Start { .. } => says.push("begins a visit".to_owned()),
                Act::Observe(observed) => observations += observed.observations.0.len() as u64,
                Act::NotPossible { .. } => says.push("says why a call was not possible".into()),
                Act::Withdraw { .. } | Act::Abandon {} => says.push("takes work back".into()),
            },
            Entry::Submission(_) => says.push("submits it".into()),
            Entry::Review(_) => says.push("reviews it".into()),
            Entry::Post(Post { word: Some(Word::Contest(_)), .. }) => {
                says.push("contests it".into())
            }
            Entry::Post(_) => says.push("comments".into()),
            Entry::Report(report) => says.push(format!("reports “{}”", report.name)),
        }
    }
    if observations > 0 {
        says.push(format!("holds {}", view::count(observations, "observation", "observations")));
    }
    if photos > 0 {
        says.push(format!("has {}", view::count(photos, "photo", "photos")));
    }
    if says.is_empty() {
        return "Nothing that can be read.".into();
    }
    format!("It {}.", view::and(&says))
}
