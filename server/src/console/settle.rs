//! What people decide on a visit's page: approve, send back, settle a conflict, say something.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Redirect;
use serde::Deserialize;
use sync_core::cbor::from_cbor;
use sync_core::document::Entry;
use sync_core::id::{ChangeHash, VisitId};
use sync_core::model::people::Role;
use sync_core::model::visit::{
    Act, Note, Observation, Observations, Observed, Post, Recording, Review, Subject, Verdict,
};
use sync_core::visit::Visit;

use super::page::sight;
use crate::app::App;
use crate::auth::{Posted, Viewer};
use crate::error::Problem;
use crate::random;
use crate::store::pages::{self, VisitRead};

#[derive(Deserialize)]
pub(super) struct Decision {
    decision: String,
    heads: String,
    #[serde(default)]
    comment: String,
}

/// `POST /visits/{visit}/review`: judges what the page showed, and no more.
pub(super) async fn review(
    State(app): State<Arc<App>>,
    Path(visit): Path<String>,
    Posted(viewer, form): Posted<Decision>,
) -> Result<Redirect, Problem> {
    viewer.require(Role::reviews, "review visits")?;
    let visit = seen(&app, &viewer, &visit).await?;
    let verdict = match form.decision.as_str() {
        "approve" => Verdict::Approved,
        "send_back" => Verdict::SentBack,
        _ => return Err(Problem::malformed("decision: needs approve or send_back")),
    };
    let heads = hashes(&form.heads)?;
    let note = note(&form.comment)?;
    if verdict == Verdict::SentBack && note.is_none() {
        return Err(Problem::invalid("say in a comment what should be looked at again"));
    }
    let (by, comment) = (viewer.rights.user, note.as_ref().map(Note::digest));
    let entry = move |when| Entry::Review(Review { by, when, verdict, heads, comment });
    app.act(&viewer.tenant, visit.into(), note, entry).await?;
    Ok(back_to(visit, ""))
}

#[derive(Deserialize)]
pub(super) struct Said {
    comment: String,
}

/// `POST /visits/{visit}/comments`: says something in the visit's thread.
pub(super) async fn comment(
    State(app): State<Arc<App>>,
    Path(visit): Path<String>,
    Posted(viewer, form): Posted<Said>,
) -> Result<Redirect, Problem> {
    let visit = seen(&app, &viewer, &visit).await?;
    let note = note(&form.comment)?.ok_or_else(|| Problem::invalid("the comment is empty"))?;
    let (by, text) = (viewer.rights.user, note.digest());
    let entry = move |when| Entry::Post(Post::new(by, when, text));
    app.act(&viewer.tenant, visit.into(), Some(note), entry).await?;
    Ok(back_to(visit, "#conversation"))
}

#[derive(Deserialize)]
pub(super) struct Choice {
    check: u32,
    /// The subject's CBOR in hexadecimal.
    subject: String,
    /// The recording whose value holds.
    recording: String,
    /// The recordings whose values the page showed.
    over: String,
}

/// `POST /visits/{visit}/settle`: of values that differ, one holds. It replaces those that the page showed;
/// one that came meanwhile stays in conflict.
pub(super) async fn settle(
    State(app): State<Arc<App>>,
    Path(visit): Path<String>,
    Posted(viewer, form): Posted<Choice>,
) -> Result<Redirect, Problem> {
    viewer.require(Role::reviews, "settle conflicts")?;
    let read = read(&app, &viewer, &visit).await?;
    let visit = read.line.visit;
    let observed = settled(&Visit::read(&read.held.document), &form)?;
    let by = viewer.rights.user;
    let entry = move |when| {
        let act = Act::Observe(observed);
        Entry::Recording(Recording { by, when, place: None, act })
    };
    app.act(&viewer.tenant, visit.into(), None, entry).await?;
    Ok(back_to(visit, "#conflicts"))
}

/// What a recording says that makes the chosen value hold.
fn settled(visit: &Visit, form: &Choice) -> Result<Observed, Problem> {
    let unknown = || Problem::invalid("this conflict is no longer here; reload the page");
    let subject: Option<Subject> = unhex(&form.subject).and_then(|bytes| from_cbor(&bytes).ok());
    let subject = subject.ok_or_else(|| Problem::malformed("subject: cannot be read"))?;
    let chosen = hashes(&form.recording)?;
    let over: BTreeSet<ChangeHash> = hashes(&form.over)?.into_iter().collect();
    let live = visit.values.get(&(form.check, subject.clone())).ok_or_else(unknown)?;
    let shown = || live.iter().filter(|live| over.contains(&live.recording));
    let chosen = shown().find(|live| chosen.contains(&live.recording)).ok_or_else(unknown)?;
    let source = visit.recording(chosen.recording).and_then(|r| r.entry.observed());
    let source = source.ok_or_else(unknown)?;
    let fact = Observation { check: form.check, subject, value: chosen.value.clone() };
    Ok(Observed {
        template: source.template,
        planograms: source.planograms.clone(),
        price_list: source.price_list,
        observations: Observations(vec![fact]),
        photos: Vec::new(),
        supersedes: shown()
            .map(|live| live.recording)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
    })
}

pub(super) async fn read(app: &App, viewer: &Viewer, visit: &str) -> Result<VisitRead, Problem> {
    let visit: VisitId = visit.parse().map_err(|_| Problem::not_found())?;
    let (see, org) = (sight(viewer), viewer.tenant.id);
    let read = app.look(&viewer.tenant, move |c| pages::visit(c, &see, org, visit)).await?;
    read.ok_or_else(Problem::not_found)
}

/// The visit of this name, if it is here and the viewer sees it.
async fn seen(app: &App, viewer: &Viewer, visit: &str) -> Result<VisitId, Problem> {
    let visit: VisitId = visit.parse().map_err(|_| Problem::not_found())?;
    let see = sight(viewer);
    let audience =
        app.look(&viewer.tenant, move |c| pages::audience_of(c, see.org, visit.into())).await?;
    match audience.filter(|audience| viewer.sees(audience)) {
        Some(_) => Ok(visit),
        None => Err(Problem::not_found()),
    }
}

/// A comment with its salt; `None` for an empty one. Forms send line breaks as two characters.
pub(super) fn note(text: &str) -> Result<Option<Note>, Problem> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    if text.trim().is_empty() {
        return Ok(None);
    }
    let note =
        Note::new(&text, random()).map_err(|invalid| Problem::invalid(invalid.to_string()))?;
    Ok(Some(note))
}

pub(super) fn hashes(list: &str) -> Result<Vec<ChangeHash>, Problem> {
    let read = list.split(',').map(str::parse).collect::<Result<Vec<ChangeHash>, _>>();
    read.map_err(|error| Problem::malformed(error.to_string()))
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn back_to(visit: VisitId, part: &str) -> Redirect {
    Redirect::to(&format!("/visits/{visit}{part}"))
}
