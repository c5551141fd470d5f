//! Contesting a visit and answering that: the distributor's people on one side, supervisors on the other.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Redirect, Response};
use serde::Deserialize;
use sync_core::cbor::from_cbor;
use sync_core::document::{Document, Entry};
use sync_core::id::{BlobHash, ChangeHash, VisitId};
use sync_core::model::Money;
use sync_core::model::contest::{About, Objection, Step, Word};
use sync_core::model::people::Role;
use sync_core::model::visit::{Act, Place, Post, Recording, Value};
use sync_core::visit::{Live, Visit};

use super::page::{Page, Section, html};
use super::settle::{hashes, note, read, unhex};
use super::shown::Shown;
use super::view;
use super::visit::{ClaimField, ContestForm, ContestSubject, contest_form, hex_list};
use crate::app::App;
use crate::auth::{PostedFiles, Viewer};
use crate::error::Problem;

/// What is contested, in an address.
#[derive(Deserialize)]
pub(super) struct Asked {
    check: Option<u32>,
    /// The subject's CBOR in hexadecimal.
    #[serde(default)]
    subject: String,
}

impl Asked {
    fn about(&self) -> Result<Option<About>, Problem> {
        let Some(check) = self.check else { return Ok(None) };
        let subject = unhex(&self.subject).and_then(|bytes| from_cbor(&bytes).ok());
        let subject = subject.ok_or_else(|| Problem::malformed("subject: cannot be read"))?;
        Ok(Some(About { check, subject }))
    }
}

#[derive(Template)]
#[template(path = "contest.html")]
struct ContestPage {
    page: Page,
    key: String,
    outlet: String,
    day: String,
    subject: ContestSubject,
    check: Option<u32>,
    subject_hex: String,
    seen: String,
}

/// `GET /visits/{visit}/contest`: the form in which a value, or the whole visit, is contested.
pub(super) async fn form(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(visit): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    viewer.require(Role::of_distributor, "contest a visit")?;
    let read = read(&app, &viewer, &visit).await?;
    let page = Page::new(&app, &viewer, Section::Visits, "Contest").await?;
    let about = asked.about()?;
    let tenant = Arc::clone(&viewer.tenant);
    let drawn = app.draw(&tenant, move || {
        let world = viewer.tenant.world();
        let drawn = contest_form(&read, &world, &viewer.tenant, about.as_ref());
        let ContestForm { outlet, day, subject, seen } = drawn.ok_or_else(Problem::not_found)?;
        html(&ContestPage {
            page,
            key: read.line.visit.to_string(),
            outlet,
            day,
            subject,
            check: asked.check,
            subject_hex: asked.subject,
            seen: hex_list(&seen),
        })
    });
    drawn.await?
}

#[derive(Deserialize)]
pub(super) struct Objecting {
    check: Option<u32>,
    #[serde(default)]
    subject: String,
    /// The recordings that the form showed, or the visit's heads.
    seen: String,
    comment: String,
    /// What was there instead, as the kind of the contested value has it; empty for nothing.
    #[serde(default)]
    claim: String,
}

/// `POST /visits/{visit}/contests`: contests what the form showed.
pub(super) async fn contest(
    State(app): State<Arc<App>>,
    Path(visit): Path<String>,
    PostedFiles { viewer, form, files, room: _room }: PostedFiles<Objecting>,
) -> Result<Redirect, Problem> {
    viewer.require(Role::of_distributor, "contest a visit")?;
    let read = read(&app, &viewer, &visit).await?;
    let about = Asked { check: form.check, subject: form.subject }.about()?;
    let seen = hashes(&form.seen)?;
    // What would be refused is so before any photo is kept.
    if !seen.iter().all(|hash| read.held.document.contains(*hash)) {
        return Err(Problem::invalid("what was seen is not of this visit; reload the page"));
    }
    let view = Visit::read(&read.held.document);
    let claim = match &about {
        Some(about) => {
            let claim = claimed(view.live(about), form.claim.trim())?;
            if claim.as_ref().is_some_and(|claim| view.says(about, claim)) {
                return Err(Problem::invalid("what was there instead: that is what was recorded"));
            }
            claim
        }
        None => None,
    };
    let note = note(&form.comment)?.ok_or_else(|| Problem::invalid("say why you contest it"))?;
    let (by, text, visit) = (viewer.rights.user, note.digest(), read.line.visit);
    let shown = Shown::read(&app, &viewer, form.check, files, "nothing was contested").await?;
    let objection = Objection { about, seen, claim, photos: shown.references() };
    let entry = move |_: &Document, when| {
        let word = Some(Word::Contest(objection));
        Ok((None, Entry::Post(Post { word, ..Post::new(by, when, text) })))
    };
    let hash = shown.with(&app, &viewer, visit, note, entry).await?;
    Ok(back_to(visit, hash))
}

/// A claim as the form's one field has it, of the kind of the contested values: the one of them that it means, if it is one.
fn claimed(live: &[Live], said: &str) -> Result<Option<Value>, Problem> {
    let gone = || Problem::invalid("this value is no longer here; reload the page");
    let value = &live.first().ok_or_else(gone)?.value;
    if said.is_empty() {
        return Ok(None);
    }
    if said == "none" {
        return Ok(Some(Value::Withdrawn));
    }
    let bad = || Problem::invalid("what was there instead: cannot be read");
    let yes = || match said {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(bad()),
    };
    let claim = match value {
        // Whoever says how many there were has not said where.
        Value::Shelf { in_stock, place, .. } => {
            let (facings, in_stock) = (said.parse().map_err(|_| bad())?, *in_stock);
            let place = if facings > 0 { *place } else { Place::AsPlanned };
            Value::Shelf { facings, in_stock, place }
        }
        Value::Price(Money { currency, .. }) => Value::Price(Money {
            minor: minor(said, currency.exponent()).ok_or_else(bad)?,
            currency: *currency,
        }),
        Value::Stock { .. } => Value::Stock { on_shelf: yes()?, units: None },
        Value::Met(_) => Value::Met(yes()?),
        Value::YesNo(_) => Value::YesNo(yes()?),
        Value::Choice(_) => Value::Choice(said.parse().map_err(|_| bad())?),
        Value::Number(_) => Value::Number(said.parse().map_err(|_| bad())?),
        Value::Text(_) | Value::Withdrawn | Value::Unknown(_) => return Err(bad()),
    };
    let meant = |live: &&Live| match (&live.value, &claim) {
        (Value::Shelf { facings, .. }, Value::Shelf { facings: claimed, .. }) => facings == claimed,
        (Value::Stock { on_shelf, .. }, Value::Stock { on_shelf: claimed, .. }) => {
            on_shelf == claimed
        }
        (value, claim) => value == claim,
    };
    let meant = live.iter().find(meant).map(|live| live.value.clone());
    Ok(Some(meant.unwrap_or(claim)))
}

/// An amount like `1.5` or `1,50` in minor units.
fn minor(said: &str, exponent: u32) -> Option<i64> {
    let (whole, part) = said.split_once(['.', ',']).unwrap_or((said, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let places = usize::try_from(exponent).ok()?;
    if whole.is_empty() || part.len() > places || !digits(whole) || !digits(part) {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

#[derive(Deserialize)]
pub(super) struct Answer {
    step: String,
    comment: String,
    /// The state of the contest that the form showed.
    seen: String,
}

/// `POST /visits/{visit}/contests/{contest}`: a further word. An objection to a value that is accepted is put right
/// with it: what its author saw counts from then on, or nothing does. Refuses with `answered` (409) what was said or
/// recorded since the form was shown: whoever answers goes by what they saw.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Path((visit, contest)): Path<(String, String)>,
    PostedFiles { viewer, form, files, room: _room }: PostedFiles<Answer>,
) -> Result<Redirect, Problem> {
    let step = Step::from_name(&form.step);
    let step = step.ok_or_else(|| Problem::malformed("step: is none"))?;
    match step.finds() {
        true => viewer.require(Role::reviews, "answer what is contested")?,
        false => {
            let may = |role: Role| role.reviews() || role.of_distributor();
            viewer.require(may, "go on with a contest")?;
        }
    }
    let read = read(&app, &viewer, &visit).await?;
    let contest: ChangeHash = contest.parse().map_err(|_| Problem::not_found())?;
    let view = Visit::read(&read.held.document);
    let found = view.contests.iter().find(|found| found.hash == contest);
    let found = found.ok_or_else(Problem::not_found)?;
    let seen: BlobHash =
        form.seen.parse().map_err(|_| Problem::malformed("seen: cannot be read"))?;
    // Before any photo is kept, and once more when it is written.
    if found.state(&view) != seen {
        return Err(answered(&form.comment));
    }
    found.takes(step).map_err(|broken| Problem::invalid(broken.to_string()))?;
    let note = note(&form.comment)?.ok_or_else(|| Problem::invalid("say why in a comment"))?;
    let (by, text, visit) = (viewer.rights.user, note.digest(), read.line.visit);
    let check = found.objection.about.as_ref().map(|about| about.check);
    let shown = Shown::read(&app, &viewer, check, files, "nothing was written").await?;
    let photos = shown.references();
    // What puts the value right and the finding are written together, or neither is.
    let entries = move |document: &Document, when| {
        let view = Visit::read(document);
        let found = view.contests.iter().find(|found| found.hash == contest);
        let found = found.filter(|found| found.state(&view) == seen);
        let found = found.ok_or_else(|| answered(&form.comment))?;
        let right = (step == Step::Accept).then(|| found.put_right(&view)).flatten();
        let right = right.map(|observed| {
            let act = Act::Observe(observed);
            Entry::Recording(Recording { by, when, place: None, act })
        });
        let word = Some(Word::Step(step, photos));
        let post = Post { answers: Some(contest), word, ..Post::new(by, when, text) };
        Ok((right, Entry::Post(post)))
    };
    shown.with(&app, &viewer, visit, note, entries).await?;
    Ok(back_to(visit, contest))
}

/// What they wrote is handed back: the form may be empty when they go back to it.
fn answered(comment: &str) -> Problem {
    let title = "Something was said or recorded meanwhile";
    Problem::new(StatusCode::CONFLICT, "answered", title).detail(format!(
        "go back, reload the page, and answer what it shows then: nothing was written. You wrote: “{}”",
        comment.trim()
    ))
}

fn back_to(visit: VisitId, contest: ChangeHash) -> Redirect {
    Redirect::to(&format!("/visits/{visit}#contest-{}", &contest.to_string()[..16]))
}

#[cfg(test)]
mod tests {
    use sync_core::id::UserId;

    use super::*;

    #[test]
    fn a_claim_is_of_the_kind_of_what_it_contests() {
        let eur = "EUR".parse().unwrap();
        let live = |values: &[Value]| -> Vec<Live> {
            let by = (ChangeHash([0; 32]), UserId::from_bytes([0; 16]));
            let live = |value: &Value| Live {
                recording: by.0,
                by: by.1,
                value: value.clone(),
                submitted: true,
            };
            values.iter().map(live).collect()
        };
        let claim = |value: Value, said: &str| claimed(&live(&[value]), said).map_err(drop);
        let price = Value::Price(Money { minor: 1, currency: eur });
        let read = |said: &str| claim(price.clone(), said);
        let minor = |minor| Ok(Some(Value::Price(Money { minor, currency: eur })));
        assert_eq!(read("1.5"), minor(150));
        assert_eq!(read("1,05"), minor(105));
        assert_eq!(read("12"), minor(1_200));
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("none"), Ok(Some(Value::Withdrawn)));
        let shelf = |facings, place| Value::Shelf { facings, in_stock: true, place };
        let (there, planned) = (Place::OtherShelf(3), Place::AsPlanned);
        let read = |said| claim(shelf(2, there), said);
        assert_eq!(read("4"), Ok(Some(shelf(4, there))), "nobody has said that it was elsewhere");
        assert_eq!(read("0"), Ok(Some(shelf(0, planned))));
        // One of two that differ is right.
        let both = live(&[shelf(2, there), shelf(3, planned)]);
        assert_eq!(claimed(&both, "3").map_err(drop), Ok(Some(shelf(3, planned))));
        let stock = |on_shelf, units| Value::Stock { on_shelf, units };
        assert_eq!(claim(stock(true, Some(12)), "yes"), Ok(Some(stock(true, Some(12)))));
        assert_eq!(claim(stock(true, Some(12)), "no"), Ok(Some(stock(false, None))));
        for bad in ["1.005", "-1", ".5", "1.5.", "x", "99999999999999999999"] {
            assert_eq!(read(bad), Err(()), "{bad}");
        }
        assert_eq!(claimed(&[], "1").map_err(drop), Err(()));
        assert_eq!(claim(Value::Met(true), "no"), Ok(Some(Value::Met(false))));
        assert_eq!(claim(Value::Met(true), "maybe"), Err(()));
        assert_eq!(claim(Value::Number(1), "-7"), Ok(Some(Value::Number(-7))));
        assert!(claim(Value::Unknown(vec![]), "1").is_err());
    }
}
