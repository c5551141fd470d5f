//! What people use in a browser: pages that are drawn here and work without a script.
//!
//! A handler asks the store once, makes a typed context of the answer and draws it; a form is answered with
//! a redirect back to its page. [`page`] is the frame, [`view`] the small parts.

mod assets;
mod contest;
mod data;
mod drill;
mod live;
mod log;
mod outlets;
mod overview;
pub mod page;
mod people;
mod photos;
mod planogram;
mod proof;
mod refused;
mod scorecard;
mod settle;
mod shown;
mod sign_in;
mod signals;
pub mod view;
mod visit;
mod visits;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::app::App;
use crate::error::Problem;
use crate::limits::{FORM_BYTES_MAX, FORM_FILES_BYTES_MAX};

/// Every page, form and file of the console.
pub fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(overview::overview))
        .route("/visits", get(visits::visits))
        .route("/visits/{visit}", get(visit::visit))
        .route("/visits/{visit}/proof", get(proof::proof))
        .route("/visits/{visit}/review", post(settle::review))
        .route("/visits/{visit}/settle", post(settle::settle))
        .route("/visits/{visit}/comments", post(settle::comment))
        .route("/visits/{visit}/contest", get(contest::form))
        .route(
            "/visits/{visit}/contests",
            post(contest::contest)
                .layer(DefaultBodyLimit::max(FORM_FILES_BYTES_MAX + FORM_BYTES_MAX)),
        )
        .route(
            "/visits/{visit}/contests/{contest}",
            post(contest::answer)
                .layer(DefaultBodyLimit::max(FORM_FILES_BYTES_MAX + FORM_BYTES_MAX)),
        )
        .route("/outlets", get(outlets::outlets).post(outlets::add))
        .route("/outlets/{outlet}", get(outlets::outlet))
        .route("/scorecard", get(scorecard::scorecard))
        .route("/scorecard/{kpi}", get(drill::drill))
        .route("/people", get(people::people).post(people::hire))
        .route("/people/{id}", get(people::person).post(people::edit))
        .route("/people/{id}/active", post(people::set_active))
        .route("/people/{id}/password", post(people::reset))
        .route("/people/{id}/codes", post(people::issue))
        .route("/devices/{id}/revoke", post(people::revoke))
        .route("/log", get(log::log))
        .route("/mirrors", post(log::copy))
        .route("/mirrors/{token}/withdraw", post(log::withdraw))
        .route("/devices/{id}/confirm", post(log::confirm))
        .route("/phones/keep", post(people::keep))
        .route("/refused", get(refused::refused))
        .route("/refused/{item}", get(refused::item).post(refused::decide))
        .route("/refused/{item}/photos/{hash}", get(refused::photo))
        .route("/look", get(signals::queue))
        .route("/look/settings", post(signals::set))
        .route("/look/{visit}", post(signals::seen))
        .route("/photos/{hash}", get(photos::photo))
        .route("/data", get(data::data).post(data::keep))
        .route("/erase", get(data::ask).post(data::erase))
        .route("/erasures/{id}", get(data::report))
        .route("/live", get(live::live))
        .route("/sign-in", get(sign_in::form).post(sign_in::enter))
        .route("/sign-out", post(sign_in::leave))
        .route("/password", get(sign_in::password).post(sign_in::change_password))
        .route("/assets/{name}", get(assets::asset))
}

/// Whether a request was made by a browser that wants a page.
pub fn wants_page(request: &Request) -> bool {
    let api = request.uri().path().starts_with("/api/");
    !api && accepts_html(request.headers())
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Draws a problem as a page; anything else stays as it is. `reference` is the request's id.
pub fn drawn(response: Response, reference: &str) -> Response {
    let Some(problem) = response.extensions().get::<Problem>().cloned() else { return response };
    let Some(mut page) = page::error_page(&problem, reference) else { return response };
    let (head, _) = response.into_parts();
    for (name, value) in &head.headers {
        if *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page.extensions_mut().insert(problem);
    page.into_response()
}
