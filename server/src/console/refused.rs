//! `/refused`: work that was refused, why, and what becomes of it.

mod item;

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{Redirect, Response};
use serde::Deserialize;
use sync_core::admit::about_rights;
use sync_core::document::Entry;
use sync_core::id::{OutletId, UserId};
use sync_core::model::contest::Word;
use sync_core::model::people::Role;
use sync_core::model::visit::{Act, Post};
use sync_core::wire::Group;

pub(super) use self::item::{item, photo};
use super::page::{Page, Section, capped, html, sight};
use super::view::{self, Markup};
use crate::app::App;
use crate::auth::{Posted, Viewer};
use crate::error::Problem;
use crate::store::StoreError;
use crate::store::pages::PAGE_ROWS;
use crate::store::quarantine::{self, Fate, Item, Pile};
use crate::world::World;

/// Nobody leafs farther.
const PAGES_MAX: u64 = 1_000_000;

/// What the address asks for. Anything that does not read is as if it were not there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    kind: String,
    page: String,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage {
    page: Page,
    tabs: [Tab; 2],
    decided: bool,
    lines: Vec<Line>,
    range: String,
    previous: Option<String>,
    next: Option<String>,
}

struct Tab {
    url: &'static str,
    name: &'static str,
    count: String,
    here: bool,
}

struct Line {
    item: u64,
    outlet: String,
    why: String,
    by: String,
    /// Whose phone brought it, if that was somebody else's.
    phone: Option<String>,
    /// Who carried it here for the phone.
    courier: Option<String>,
    at: Markup,
    says: String,
    badge: Markup,
    decided: Option<Markup>,
}

/// `GET /refused`
pub(super) async fn refused(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    viewer.require(Role::reviews, "decide on refused work")?;
    let pile = if asked.kind == "decided" { Pile::Decided } else { Pile::Waiting };
    let number = asked.page.parse::<u64>().unwrap_or(1).clamp(1, PAGES_MAX) - 1;
    let (see, tenant) = (sight(&viewer), Arc::clone(&viewer.tenant));
    let read = app.look(&viewer.tenant, move |c| {
        let waiting = quarantine::count(c, &see, Pile::Waiting)?;
        let decided = quarantine::count(c, &see, Pile::Decided)?;
        let items = quarantine::items(c, &see, tenant.id, pile, number)?.into_iter().map(|item| {
            let outlet = quarantine::outlet(c, tenant.org, &item.group)?;
            Ok::<_, StoreError>((item, outlet))
        });
        Ok((waiting, decided, items.collect::<Result<Vec<_>, _>>()?))
    });
    let (waiting, decided, items) = read.await?;
    let page = Page::new(&app, &viewer, Section::Refused, "Refused work").await?;
    let world = viewer.tenant.world();
    let zone = view::zone_of(&world, &viewer.rights);
    let lines = items.iter().map(|(item, outlet)| Line::new(&world, item, *outlet, &zone));
    let lines: Vec<Line> = lines.collect();
    drop(world);
    let tab = |of, url, name, count| Tab { url, name, count: capped(count), here: of == pile };
    let tabs = [
        tab(Pile::Waiting, "/refused", "To decide", waiting),
        tab(Pile::Decided, "/refused?kind=decided", "Decided", decided),
    ];
    let total = if pile == Pile::Waiting { waiting } else { decided };
    let first = number * PAGE_ROWS;
    let last = first + lines.len() as u64;
    let turn = |to: u64| match pile {
        Pile::Waiting => format!("/refused?page={to}"),
        Pile::Decided => format!("/refused?kind=decided&page={to}"),
    };
    html(&RefusedPage {
        page,
        tabs,
        decided: pile == Pile::Decided,
        range: match lines.len() {
            0 => String::new(),
            _ => format!(
                "{} to {} of {}",
                view::number(first + 1),
                view::number(last),
                view::number(total)
            ),
        },
        lines,
        previous: (number > 0).then(|| turn(number)),
        next: (last < total).then(|| turn(number + 2)),
    })
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
    app.decide(&viewer.tenant, item, approved, viewer.rights.user, viewer.still()).await?;
    Ok(Redirect::to("/refused"))
}

impl Line {
    fn new(world: &World, item: &Item, outlet: Option<OutletId>, zone: &str) -> Self {
        let entries = entries(&item.group);
        let by = written_by(world, &entries);
        let carried = item.courier.and_then(|courier| world.devices.get(&courier));
        Self {
            item: item.item,
            outlet: outlet_name(world, outlet),
            why: why(item),
            phone: Some(phone(world, item)).filter(|phone| *phone != by),
            by,
            courier: carried.map(|device| world.name(device.user)),
            at: view::ago(item.received_ms, zone),
            says: says(&entries),
            badge: badge(item),
            decided: decided(world, item, zone),
        }
    }
}

fn entries(group: &Group) -> Vec<Entry> {
    group.changes.iter().filter_map(|change| change.entry().ok()).collect()
}

fn outlet_name(world: &World, outlet: Option<OutletId>) -> String {
    let outlet = outlet.and_then(|outlet| world.outlets.get(&outlet));
    outlet.map_or_else(|| "An outlet that is not known here".into(), |o| o.name.clone())
}

/// Who wrote these, each once.
fn authors(entries: &[Entry]) -> Vec<UserId> {
    let mut authors = Vec::new();
    for entry in entries {
        if !authors.contains(&entry.by()) {
            authors.push(entry.by());
        }
    }
    authors
}

fn written_by(world: &World, entries: &[Entry]) -> String {
    let names: Vec<String> = authors(entries).into_iter().map(|by| world.name(by)).collect();
    if names.is_empty() { "nobody that can be read".into() } else { view::and(&names) }
}

/// Whose phone handed it over.
fn phone(world: &World, item: &Item) -> String {
    let device = world.devices.get(&item.device);
    device.map_or_else(|| "a phone that is not known".into(), |device| world.name(device.user))
}

fn badge(item: &Item) -> Markup {
    match item.state {
        Fate::Accepted => view::badge("approved", "check", "Approved"),
        Fate::Discarded => view::badge("not-possible", "cross", "Discarded"),
        Fate::ProposedAgain => view::badge("new", "new", "Replaced by its author"),
        Fate::Waiting | Fate::Arrived => view::badge("submitted", "clock", "Waits"),
    }
}

/// Who decided, and when.
fn decided(world: &World, item: &Item, zone: &str) -> Option<Markup> {
    let (by, at_ms) = item.decided?;
    Some(Markup(format!("by {}, {}", view::escape(&world.name(by)), view::ago(at_ms, zone))))
}

fn why(item: &Item) -> String {
    reason(&item.code).map_or_else(|| item.detail.clone(), str::to_owned)
}

/// Why, for supervisors; `None` for a code that no version of this server has given.
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
        "foreign_actor" => {
            "The phone that wrote it is not known here: it was enrolled after the backup from which \
             this server was restored"
        }
        "foreign_person" => "It names somebody else than the person whom the phone is for",
        "full" => "The visit, or the outlet’s history, has no room for more",
        "malformed" => "It does not continue what is here as work of a phone does",
        "unreadable" => {
            "Something in it cannot be read here: the app may be newer than this server"
        }
        "invalid" => "A value in it breaks a rule",
        "not_in_past" => "It names an entry that its author cannot have seen",
        "said_already" => "The record has this from the same person and moment already",
        _ => return None,
    })
}

/// Whether the words of the refusal say more than its code.
fn says_more(code: &str) -> bool {
    const MORE: [&str; 7] =
        ["no_right", "unknown", "wrong_start", "malformed", "unreadable", "invalid", "bad_seal"];
    MORE.contains(&code)
}

/// What can become of work that waits.
fn outlook(code: &str) -> &'static str {
    match code {
        code if about_rights(code) => {
            "Approved, it enters the record as its author signed it, and the log says who approved \
             it. Discarded, it stays on its phone, whose person may propose it again."
        }
        "foreign_actor" => {
            "Its person needs a new code for that phone. Once it is enrolled, this comes in by itself."
        }
        "missing_parent" => {
            "It comes in by itself when what it builds on does, and is judged then. If that is \
             discarded, its person can propose it again on the phone."
        }
        "missing_note" => "It comes in by itself when its words do, and is judged then.",
        _ => "Nobody can approve this. Its person can propose it again on the phone.",
    }
}

/// What is in it, as a sentence.
fn says(entries: &[Entry]) -> String {
    let (mut observations, mut photos, mut says) = (0_u64, 0_u64, Vec::<String>::new());
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
    let mut said = BTreeSet::new();
    says.retain(|words| said.insert(words.clone()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_protocol_has_words() {
        let protocol = include_str!("../../../docs/protocol.md");
        let (_, codes) = protocol.split_once("\nCodes of quarantine: ").unwrap();
        let (codes, _) = codes.split_once("A device treats an unknown code").unwrap();
        let codes = codes.split('`').skip(1).step_by(2);
        // What is discarded was refused for something else before, and of what has no room nothing is here.
        let kept: Vec<&str> =
            codes.filter(|code| !["discarded", "quarantine_full"].contains(code)).collect();
        assert_eq!(kept.len(), 18, "{kept:?}");
        for code in kept {
            assert!(reason(code).is_some(), "{code}");
        }
    }
}
