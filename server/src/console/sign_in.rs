//! Signing in, signing out, changing one's password.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::page::{Page, Section, html, html_as};
use super::{assets, view};
use crate::app::App;
use crate::auth::{self, Client, Posted, Stranger, Viewer, local_path};
use crate::error::Problem;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    css: String,
    org: String,
    next: String,
    email: String,
    problem: Option<Problem>,
}

impl SignIn {
    fn new(app: &App, next: Option<&str>) -> Self {
        let tenants = app.tenants();
        let org = match tenants.as_slice() {
            [one] => one.name.clone(),
            _ => String::new(),
        };
        let next = local_path(next).to_owned();
        Self { css: assets::CSS.url(), org, next, email: String::new(), problem: None }
    }
}

#[derive(Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

/// `GET /sign-in`
pub(super) async fn form(
    State(app): State<Arc<App>>,
    Query(Next { next }): Query<Next>,
) -> Result<Response, Problem> {
    html(&SignIn::new(&app, next.as_deref()))
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    email: String,
    password: String,
    next: Option<String>,
}

/// `POST /sign-in`
pub(super) async fn enter(
    State(app): State<Arc<App>>,
    Stranger(client, _room): Stranger,
    Form(form): Form<Credentials>,
) -> Result<Response, Problem> {
    match auth::sign_in(&app, &client, &form.email, &form.password).await {
        Ok(cookie) => Ok(with_cookie(cookie, local_path(form.next.as_deref()))),
        Err(problem) if problem.status().is_client_error() => {
            let page = SignIn::new(&app, form.next.as_deref());
            let status = problem.status();
            html_as(status, &SignIn { email: form.email, problem: Some(problem), ..page })
        }
        Err(problem) => Err(problem),
    }
}

fn with_cookie(cookie: HeaderValue, to: &str) -> Response {
    ([(header::SET_COOKIE, cookie)], Redirect::to(to)).into_response()
}

#[derive(Deserialize)]
pub(super) struct Nothing {}

/// `POST /sign-out`
pub(super) async fn leave(
    State(app): State<Arc<App>>,
    client: Client,
    Posted(viewer, Nothing {}): Posted<Nothing>,
) -> Result<Response, Problem> {
    let cookie = auth::sign_out(&app, &client, &viewer).await?;
    Ok(with_cookie(cookie, "/sign-in"))
}

#[derive(Template)]
#[template(path = "password.html")]
struct Password {
    page: Page,
    problem: Option<Problem>,
    done: bool,
}

async fn password_page(app: &Arc<App>, viewer: &Viewer) -> Result<Password, Problem> {
    let page = Page::new(app, viewer, Section::Account, "Change the password").await?;
    Ok(Password { page: Page { live: false, ..page }, problem: None, done: false })
}

/// `GET /password`
pub(super) async fn password(
    State(app): State<Arc<App>>,
    viewer: Viewer,
) -> Result<Response, Problem> {
    html(&password_page(&app, &viewer).await?)
}

#[derive(Deserialize)]
pub(super) struct Change {
    current: String,
    new: String,
}

/// `POST /password`
pub(super) async fn change_password(
    State(app): State<Arc<App>>,
    Posted(viewer, form): Posted<Change>,
) -> Result<Response, Problem> {
    let changed = auth::change_password(&app, &viewer, &form.current, &form.new).await;
    let page = password_page(&app, &viewer).await?;
    match changed {
        Ok(()) => html(&Password { done: true, ..page }),
        Err(problem) if problem.status().is_client_error() => {
            html_as(problem.status(), &Password { problem: Some(problem), ..page })
        }
        Err(problem) => Err(problem),
    }
}
