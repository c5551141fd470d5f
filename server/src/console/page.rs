//! The frame around every page: header, navigation by role, who is signed in.

use std::sync::Arc;

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sync_core::id::UserId;
use sync_core::model::people::Role;
use sync_core::model::shown;
use sync_core::visit::Status;

use super::assets;
use super::view;
use crate::app::App;
use crate::auth::Viewer;
use crate::error::Problem;
use crate::store::StoreError;
use crate::store::pages::{self, Sight};
use crate::store::quarantine::{self, Pile};
use crate::store::signals;

/// The part of the console that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the part of its name")]
pub enum Section {
    Overview,
    Visits,
    Outlets,
    Scorecard,
    People,
    Signals,
    Refused,
    Data,
    Account,
}

impl Section {
    const NAV: [(Self, &'static str, &'static str); 8] = [
        (Self::Overview, "/", "Overview"),
        (Self::Visits, "/visits", "Visits"),
        (Self::Outlets, "/outlets", "Outlets"),
        (Self::Scorecard, "/scorecard", "Scorecard"),
        (Self::People, "/people", "People"),
        (Self::Signals, "/look", "Worth a look"),
        (Self::Refused, "/refused", "Refused"),
        (Self::Data, "/data", "Photos and erasure"),
    ];
}

/// A link of the navigation.
pub struct Link {
    /// Where.
    pub url: &'static str,
    /// In words.
    pub name: &'static str,
    /// The page is in it.
    pub here: bool,
    /// How much waits there, in words.
    pub waiting: Option<String>,
}

/// So many things wait: `3 visits`, and whether it is one.
pub struct Waits {
    /// How many of what.
    pub what: String,
    /// Whether the verb is in the singular.
    pub one: bool,
}

fn waits(n: u64, one: &str, many: &str) -> Option<Waits> {
    let noun = if n == 1 { one } else { many };
    (n > 0).then(|| Waits { what: format!("{} {noun}", capped(n)), one: n == 1 })
}

/// What `base.html` needs; a page's template has it as `page`.
pub struct Page {
    /// Of the window.
    pub title: String,
    /// The organisation's name.
    pub org: String,
    /// Who is signed in.
    pub user: UserId,
    /// What that person is called.
    pub name: String,
    /// As what and where.
    pub role: String,
    /// Says what is kept here.
    pub admin: bool,
    /// For forms.
    pub csrf: String,
    /// The navigation.
    pub nav: Vec<Link>,
    /// How much refused work waits for this person's decision.
    pub refused: Option<Waits>,
    /// How many visits are worth a look of this person.
    pub signals: Option<Waits>,
    /// Follows along while the page is open.
    pub live: bool,
}

impl Page {
    /// The frame of a page for this person.
    pub async fn new(
        app: &Arc<App>,
        viewer: &Viewer,
        section: Section,
        title: impl Into<String>,
    ) -> Result<Self, Problem> {
        let reviews = viewer.rights.role.reviews();
        let Waiting { visits, refused, signals } =
            if reviews { waiting(app, viewer).await? } else { Waiting::default() };
        let link = |(part, url, name): (Section, &'static str, &'static str)| {
            let waiting = match part {
                Section::Visits => visits,
                Section::Refused => refused,
                Section::Signals => signals,
                _ => 0,
            };
            let waiting = Some(waiting).filter(|n| *n > 0).map(capped);
            Link { url, name, here: part == section, waiting }
        };
        // Refused work and signals are rare, and a page about nothing only takes room.
        let rare = |link: &Link| ["/refused", "/look", "/data"].contains(&link.url);
        // Signals are not a distributor's to put away, so its manager always finds them; what they weigh is for an
        // admin to set, also while nothing waits.
        let role = viewer.rights.role;
        let finds = (!reviews && role.oversees()) || role == Role::Admin;
        let shown = |link: &Link| {
            !rare(link) || link.here || link.waiting.is_some() || (finds && link.url == "/look")
        };
        let scope = view::scope_name(&viewer.tenant.world(), viewer.rights.scope);
        Ok(Self {
            title: title.into(),
            org: viewer.tenant.name.clone(),
            user: viewer.rights.user,
            name: viewer.name.clone(),
            role: format!("{}, {scope}", view::role_name(viewer.rights.role)),
            admin: role == Role::Admin,
            csrf: viewer.csrf.clone(),
            refused: waits(refused, "refused piece of work", "refused pieces of work"),
            signals: waits(signals, "visit", "visits"),
            nav: Section::NAV.into_iter().map(link).filter(shown).collect(),
            live: true,
        })
    }

    /// The style sheet's address.
    pub fn css(&self) -> String {
        assets::CSS.url()
    }

    /// The script's address.
    pub fn js(&self) -> String {
        assets::JS.url()
    }
}

/// What waits for somebody.
#[derive(Default)]
struct Waiting {
    /// Visits for a review.
    visits: u64,
    /// Refused work for a decision.
    refused: u64,
    /// Visits with signals for a look.
    signals: u64,
}

async fn waiting(app: &App, viewer: &Viewer) -> Result<Waiting, StoreError> {
    let see = sight(viewer);
    let read = app.look(&viewer.tenant, move |c| {
        let visits = pages::count_status(c, &see, Status::Submitted)?;
        let refused = quarantine::count(c, &see, Pile::Waiting)?;
        Ok(Waiting { visits, refused, signals: signals::waiting(c, &see, pages::COUNT_MAX + 1)? })
    });
    read.await
}

/// A count in words; past [`pages::COUNT_MAX`] that it is more.
pub fn capped(count: u64) -> String {
    if count > pages::COUNT_MAX {
        format!("{}+", view::number(pages::COUNT_MAX))
    } else {
        view::number(count)
    }
}

/// Whose eyes a query has.
pub fn sight(viewer: &Viewer) -> Sight {
    let (tenant, rights) = (Arc::clone(&viewer.tenant), viewer.rights);
    Sight::new(viewer.tenant.org, move |audience| rights.sees(&tenant.world().tree, audience))
}

/// A page as an answer.
pub fn html(page: &impl Template) -> Result<Response, Problem> {
    html_as(StatusCode::OK, page)
}

/// A page as an answer of this status.
pub fn html_as(status: StatusCode, page: &impl Template) -> Result<Response, Problem> {
    let body = page.render().map_err(|error| {
        tracing::error!(%error, "a page could not be drawn");
        Problem::internal()
    })?;
    // Whatever people have written, it turns no words around that stand beside it.
    let body: String = body.chars().map(shown).collect();
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    Ok((status, [(header::CONTENT_TYPE, kind)], body).into_response())
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    css: String,
    status: u16,
    title: &'a str,
    detail: String,
    reference: &'a str,
    sign_in: bool,
    /// Whether every other page says the same.
    unreachable: bool,
}

/// A problem as a page, for whoever asked for one.
pub fn error_page(problem: &Problem, reference: &str) -> Option<Response> {
    let page = ErrorPage {
        css: assets::CSS.url(),
        status: problem.status().as_u16(),
        title: problem.title(),
        detail: view::capitalised(problem.explanation()),
        reference,
        sign_in: problem.status() == StatusCode::UNAUTHORIZED,
        unreachable: problem.code() == "tls_required",
    };
    html_as(problem.status(), &page).ok()
}
