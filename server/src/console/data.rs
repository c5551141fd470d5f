//! What is kept here and for how long, and what is erased on request. For admins of the brand.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sync_core::id::{UserId, VisitId};
use sync_core::model::Day;
use sync_core::model::catalogue::ErasedKind;
use sync_core::model::people::{Audience, Role};

use super::page::{Page, Section, html, html_as};
use super::view::{self, Markup};
use crate::app::App;
use crate::auth::{Posted, Viewer};
use crate::erase::{self, Target, WHY_MAX};
use crate::error::Problem;
use crate::now_ms;
use crate::store::erasure::{self, Erasure, name_of};
use crate::store::figures;
use crate::store::uploads::{self, Kept};

const MB: u64 = 1_000_000;
/// For how many days photos can be kept, and how many megabytes they may be given.
const DAYS: std::ops::RangeInclusive<u32> = 30..=36_500;
const QUOTA_MB: std::ops::RangeInclusive<u64> = 1..=1_000_000_000;

struct ErasureRow {
    what: &'static str,
    name: String,
    at: Markup,
    by: String,
    why: String,
    report: String,
}

#[derive(Template)]
#[template(path = "data.html")]
struct DataPage {
    page: Page,
    used: String,
    share: Option<Markup>,
    days: String,
    quota: String,
    erasures: Vec<ErasureRow>,
    error: Option<String>,
}

/// `GET /data`
pub(super) async fn data(State(app): State<Arc<App>>, viewer: Viewer) -> Result<Response, Problem> {
    html(&data_page(&app, &viewer, None).await?)
}

async fn data_page(
    app: &Arc<App>,
    viewer: &Viewer,
    error: Option<String>,
) -> Result<DataPage, Problem> {
    only_admins(viewer)?;
    let org = viewer.tenant.org;
    let read =
        app.look(&viewer.tenant, move |c| Ok((uploads::room(c, org)?, erasure::list(c, org)?)));
    let (room, erasures) = read.await?;
    let mut page = Page::new(app, viewer, Section::Data, "Photos and erasure").await?;
    page.live = error.is_none();
    let world = viewer.tenant.world();
    let zone = view::zone_of(&world, &viewer.rights);
    let row = |erasure: &Erasure| ErasureRow {
        what: what(erasure.what),
        name: name_of_row(erasure),
        at: view::when(erasure.at_ms, &zone),
        by: erasure.by.map_or_else(|| "the command line".to_owned(), |by| world.name(by)),
        why: erasure.why.clone(),
        report: format!("/erasures/{}", UserId::from_bytes(erasure.id)),
    };
    let megabytes = |bytes: u64| usize::try_from(bytes.div_ceil(MB)).unwrap_or(usize::MAX);
    let used = match room.quota {
        None => format!("{} MB", view::number(room.bytes.div_ceil(MB))),
        Some(quota) => {
            format!("{} of {} MB", view::number(room.bytes.div_ceil(MB)), view::number(quota / MB))
        }
    };
    Ok(DataPage {
        used,
        share: room.quota.map(|all| view::bar(view::ratio(megabytes(room.bytes), megabytes(all)))),
        days: room.days.map(|days| days.to_string()).unwrap_or_default(),
        quota: room.quota.map(|quota| (quota / MB).to_string()).unwrap_or_default(),
        erasures: erasures.iter().map(row).collect(),
        error,
        page,
    })
}

fn only_admins(viewer: &Viewer) -> Result<(), Problem> {
    viewer.require(|role| role == Role::Admin, "erase, or say what is kept")
}

fn what(kind: ErasedKind) -> &'static str {
    match kind {
        ErasedKind::Photo => "Photo",
        ErasedKind::Note => "Comment, answer or other words",
        ErasedKind::Person => "Name and contact data of a person",
    }
}

fn name_of_row(erasure: &Erasure) -> String {
    match erasure.digest {
        Some(digest) => digest.to_string(),
        None => UserId::from_bytes(erasure.id).to_string(),
    }
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    days: String,
    #[serde(default)]
    quota: String,
}

/// `POST /data`: for how long photos stay here, and how much room they have.
pub(super) async fn keep(
    State(app): State<Arc<App>>,
    Posted(viewer, form): Posted<Wanted>,
) -> Result<Response, Problem> {
    only_admins(&viewer)?;
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        text => text.parse::<u64>().ok().map(Some),
    };
    let days = number(&form.days).filter(|days| {
        days.is_none_or(|days| u32::try_from(days).is_ok_and(|days| DAYS.contains(&days)))
    });
    let quota = number(&form.quota).filter(|mb| mb.is_none_or(|mb| QUOTA_MB.contains(&mb)));
    let (Some(days), Some(quota)) = (days, quota) else {
        let why =
            "Photos stay for 30 to 36,500 days or for ever, and have 1 MB or more or all there is.";
        let page = data_page(&app, &viewer, Some(why.to_owned())).await?;
        return html_as(StatusCode::UNPROCESSABLE_ENTITY, &page);
    };
    let (org, days) = (viewer.tenant.org, days.and_then(|days| u32::try_from(days).ok()));
    let quota = quota.map(|mb| mb.saturating_mul(MB));
    viewer.write(&app, move |tx, _| Ok(uploads::set_room(tx, org, days, quota)?)).await?;
    Ok(Redirect::to("/data").into_response())
}

#[derive(Deserialize)]
pub(super) struct Asked {
    what: String,
    name: String,
}

#[derive(Template)]
#[template(path = "erase.html")]
struct ErasePage {
    page: Page,
    what: &'static str,
    kind: &'static str,
    name: String,
    person: Option<String>,
    photo: Option<String>,
    text: Option<String>,
    named_in: Vec<(String, Option<String>)>,
    why: String,
    why_max: usize,
    error: Option<String>,
}

/// `GET /erase`: what would be erased, and what not.
pub(super) async fn ask(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    html(&erase_page(&app, &viewer, &asked, String::new(), None).await?)
}

async fn erase_page(
    app: &Arc<App>,
    viewer: &Viewer,
    asked: &Asked,
    why: String,
    error: Option<String>,
) -> Result<ErasePage, Problem> {
    let target = target(viewer, asked)?;
    let documents = in_sight(app, viewer, target).await?;
    let (org, kind) = (viewer.tenant.org, target.kind());
    let visits: Vec<VisitId> = documents.iter().filter_map(|document| document.visit()).collect();
    let read = app.look(&viewer.tenant, move |c| {
        let Some(digest) = target.digest() else {
            return Ok((None, false, HashMap::new()));
        };
        let text = crate::store::log::note(c, org, digest)?.map(|note| note.text);
        let here = matches!(uploads::kept(c, org, digest)?, Some(Kept::Here(_)));
        Ok((text, here, figures::lines(c, org, &visits)?))
    });
    let (text, here, lines) = read.await?;
    let mut page = Page::new(app, viewer, Section::Data, "Erase").await?;
    page.live = false; // it reads the whole log
    let person = match target {
        Target::Person(user) => {
            let world = viewer.tenant.world();
            Some(world.people.get(&user).ok_or_else(Problem::not_found)?.name.clone())
        }
        _ => None,
    };
    let world = viewer.tenant.world();
    let today = Day::at(now_ms(), &view::zone_of(&world, &viewer.rights));
    let named_in = documents.into_iter().map(|document| {
        let visit = document.visit();
        let line = visit.and_then(|visit| lines.get(&visit)).filter(|line| {
            let (territory, distributor) = line.place;
            viewer.sees(&Audience::Outlet { territory, distributor })
        });
        let outlet = line.and_then(|line| Some((world.outlets.get(&line.outlet)?, line.day)));
        let name = match outlet {
            Some((outlet, day)) => format!("{}, {}", outlet.name, view::day_short(day, today)),
            None => document.to_string(),
        };
        (name, visit.map(|visit| format!("/visits/{visit}")))
    });
    Ok(ErasePage {
        what: what(kind),
        kind: name_of(kind),
        name: asked.name.clone(),
        person,
        photo: (here && matches!(target, Target::Photo(_)))
            .then(|| format!("/photos/{}?size=preview", asked.name)),
        text: text.filter(|_| kind == ErasedKind::Note),
        named_in: named_in.collect(),
        why,
        why_max: WHY_MAX,
        error,
        page,
    })
}

fn target(viewer: &Viewer, asked: &Asked) -> Result<Target, Problem> {
    only_admins(viewer)?;
    Target::read(&asked.what, &asked.name).ok_or_else(Problem::not_found)
}

/// The documents that name it, if the viewer sees one of them.
async fn in_sight(
    app: &Arc<App>,
    viewer: &Viewer,
    target: Target,
) -> Result<Vec<sync_core::id::DocId>, Problem> {
    let (org, kind) = (viewer.tenant.org, target.kind());
    if let Some(digest) = target.digest() {
        let known = app.look(&viewer.tenant, move |c| erasure::is_known(c, org, kind, digest));
        if !known.await? {
            return Err(Problem::not_found());
        }
    }
    let (tenant, rights) = (Arc::clone(&viewer.tenant), viewer.rights);
    let sees = move |audience: &_| rights.sees(&tenant.world().tree, audience);
    let (documents, seen) = erase::named_in(app, &viewer.tenant, target, sees).await?;
    if seen { Ok(documents) } else { Err(Problem::not_found()) }
}

#[derive(Deserialize)]
pub(super) struct Confirmed {
    what: String,
    name: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    sure: String,
}

/// `POST /erase`
pub(super) async fn erase(
    State(app): State<Arc<App>>,
    Posted(viewer, form): Posted<Confirmed>,
) -> Result<Response, Problem> {
    let asked = Asked { what: form.what, name: form.name };
    let target = target(&viewer, &asked)?;
    in_sight(&app, &viewer, target).await?;
    let erased = match form.sure.as_str() {
        "yes" => {
            let by = Some(viewer.rights.user);
            erase::erase(&app, &viewer.tenant, target, by, &form.why, false).await
        }
        _ => Err(Problem::invalid("confirm that it cannot be undone")),
    };
    match erased {
        Ok(_) => Ok(Redirect::to("/data#erasures").into_response()),
        Err(problem) if problem.status() == StatusCode::UNPROCESSABLE_ENTITY => {
            let error = Some(problem.sentence());
            let page = erase_page(&app, &viewer, &asked, form.why, error).await?;
            html_as(problem.status(), &page)
        }
        Err(problem) => Err(problem),
    }
}

/// `GET /erasures/{id}`: the report of one, as a file.
pub(super) async fn report(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    only_admins(&viewer)?;
    let id: UserId = id.parse().map_err(|_| Problem::not_found())?;
    let (org, key) = (viewer.tenant.org, *id.as_bytes());
    let found = app.look(&viewer.tenant, move |c| erasure::find(c, org, &key)).await?;
    let found = found.ok_or_else(Problem::not_found)?;
    let report = erase::report(&app, &viewer.tenant, &found).await?;
    let body = serde_json::to_vec_pretty(&report).map_err(|_| Problem::internal())?;
    let name = format!("attachment; filename=\"erasure-{id}.json\"");
    let name = HeaderValue::try_from(name).map_err(|_| Problem::internal())?;
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], body).into_response())
}
