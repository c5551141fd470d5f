//! People and their phones: who there is, who may do what, one-time codes, phones that are lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sync_core::evidence::fingerprint_text;
use sync_core::id::{DeviceId, DistributorId, TerritoryId, UserId, VisitId};
use sync_core::model::Day;
use sync_core::model::catalogue::Person;
use sync_core::model::people::{Audience, Role, Scope};

use super::drill::Pager;
use super::page::{Page, Section, html, html_as};
use super::scorecard::{Choice, tree};
use super::view::{self, Markup};
use crate::app::App;
use crate::auth::{Client, Posted, Viewer, enrol_qr_svg, signs_in};
use crate::error::Problem;
use crate::now_ms;
use crate::people::{self, Member, NewPerson, code_hash};
use crate::store::accounts::{self, DeviceRow};
use crate::store::figures::{self, Line};
use crate::store::log;
use crate::world::World;

/// A phone that has not been heard of for this long is quiet.
const QUIET_MS: i64 = 24 * 3_600_000;
/// A first password stays on its page for this long.
const PASSWORD_SHOWN_S: i64 = 300;
const CODE_COOKIE: &str = "endcap_code";
const PASSWORD_COOKIE: &str = "endcap_password";

// ---- the list

/// What the address asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
    role: String,
    company: String,
    page: String,
}

/// A new person, as the form says it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Hire {
    name: String,
    role: String,
    scope: String,
    email: String,
}

struct PersonRow {
    key: String,
    url: String,
    name: String,
    email: String,
    role: &'static str,
    company: String,
    looks_after: String,
    devices: String,
    last_sync: Option<Markup>,
    console_only: bool,
    badges: Vec<Markup>,
}

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    page: Page,
    lede: String,
    asked: Asked,
    roles: Vec<Choice>,
    companies: Vec<Choice>,
    filtered: bool,
    rows: Vec<PersonRow>,
    pager: Pager,
    admin: bool,
    hire: Hire,
    hire_roles: Vec<Choice>,
    territories: Vec<Choice>,
    distributors: Vec<Choice>,
    keep: Vec<Choice>,
    error: Option<String>,
}

/// How long phones may be told to keep visits for, in days.
const KEEP_CHOICES: [u32; 5] = [30, 60, 90, 180, 365];

/// `GET /people`
pub(super) async fn people(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    html(&list(&app, &viewer, asked, Hire::default(), None).await?)
}

/// `POST /people`: takes a person in. What is wrong with the form is said on its page.
pub(super) async fn hire(
    State(app): State<Arc<App>>,
    client: Client,
    Posted(viewer, form): Posted<Hire>,
) -> Result<Response, Problem> {
    let made = match (Role::from_name(&form.role), read_scope(&form.scope)) {
        (Some(role), Some(scope)) => {
            let (name, email) = (form.name.clone(), Some(form.email.clone()));
            people::create(&app, &viewer, NewPerson { name, role, scope, email }).await
        }
        _ => Err(Problem::invalid("choose a role, and what the person looks after")),
    };
    match made {
        Ok(created) => {
            let url = format!("/people/{}", created.user);
            let password = created.password.map(|p| password_cookie(&client, created.user, &p));
            see_other(&url, password)
        }
        Err(problem) if correctable(&problem) => {
            let error = Some(problem.sentence());
            let page = list(&app, &viewer, Asked::default(), form, error).await?;
            html_as(problem.status(), &page)
        }
        Err(problem) => Err(problem),
    }
}

/// Whether the sender can put it right in the form.
fn correctable(problem: &Problem) -> bool {
    matches!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT)
}

async fn list(
    app: &Arc<App>,
    viewer: &Viewer,
    asked: Asked,
    hire: Hire,
    error: Option<String>,
) -> Result<PeoplePage, Problem> {
    let now = now_ms();
    let members = people::list(app, viewer).await?;
    let org = viewer.tenant.org;
    let waiting = app
        .look(&viewer.tenant, move |connection| accounts::open_enrolments(connection, org, now))
        .await?;
    let kept = app.look(&viewer.tenant, move |connection| log::keep_days(connection, org)).await?;
    let mut days = KEEP_CHOICES.to_vec();
    days.extend(kept.filter(|days| !KEEP_CHOICES.contains(days)));
    days.sort_unstable();
    let for_ever = ("for ever".to_owned(), String::new(), kept.is_none());
    let limited = days.into_iter().map(|days| {
        let name = format!("for {}", view::count(u64::from(days), "day", "days"));
        (name, days.to_string(), kept == Some(days))
    });
    let keep = std::iter::once(for_ever).chain(limited);
    let keep = keep.map(|(name, value, chosen)| Choice { name, value, chosen }).collect();
    let mut page = Page::new(app, viewer, Section::People, "People").await?;
    page.live = error.is_none(); // what was typed and what is wrong with it stay
    let admin = viewer.rights.role == Role::Admin;
    let world = viewer.tenant.world();
    let zone = view::zone_of(&world, &viewer.rights);
    let lede = lede(&members, &waiting, now);
    let words = asked.q.trim().to_lowercase();
    let chosen: Option<DistributorId> = asked.company.parse().ok();
    let of_company = |person: &Person| match (asked.company.as_str(), person.scope) {
        ("", _) => true,
        ("brand", scope) => matches!(scope, Scope::Territory(_)),
        (_, Scope::Distributor(own)) => Some(own) == chosen,
        _ => false,
    };
    let found: Vec<&Member> = members
        .iter()
        .filter(|member| {
            let has = |text: &str| text.to_lowercase().contains(&words);
            let person = &member.person;
            (words.is_empty() || has(&person.name) || member.email.as_deref().is_some_and(has))
                && (asked.role.is_empty() || person.role.as_str() == asked.role)
                && of_company(person)
        })
        .collect();
    let pairs = [("q", &asked.q), ("role", &asked.role), ("company", &asked.company)];
    let said = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    let query: String =
        said.map(|(name, value)| format!("{name}={}&", view::query(value))).collect();
    let (pager, rows) = Pager::new(&asked.page, found.len(), &format!("/people?{query}page="));
    let served = served(&world);
    let row = |member: &&Member| PersonRow {
        company: company(&world, &viewer.tenant.name, member.person.scope),
        looks_after: looks_after(&world, &served, member.person.scope),
        ..person_row(member, &waiting, &zone, now)
    };
    let held = |role: &Role| members.iter().any(|member| member.person.role == *role);
    let roles = Role::ALL.into_iter().filter(held).map(|role| Choice {
        value: role.as_str().to_owned(),
        name: view::role_name(role).to_owned(),
        chosen: asked.role == role.as_str(),
    });
    let mut companies: BTreeMap<String, String> = BTreeMap::new();
    for member in &members {
        if let Scope::Distributor(id) = member.person.scope {
            companies.insert(view::distributor_name(&world, id), id.to_string());
        }
    }
    let brand = (viewer.tenant.name.clone(), "brand".to_owned());
    let brand = Some(brand).filter(|_| !viewer.rights.role.of_distributor());
    let companies = brand.into_iter().chain(companies).map(|(name, value)| Choice {
        chosen: asked.company == value,
        name,
        value,
    });
    let hire_roles = Role::ALL.into_iter().map(|role| Choice {
        value: role.as_str().to_owned(),
        name: view::role_name(role).to_owned(),
        chosen: match hire.role.as_str() {
            "" => role == Role::Rep,
            asked => asked == role.as_str(),
        },
    });
    let (territories, distributors) = scope_choices(&world, &hire.scope);
    Ok(PeoplePage {
        lede,
        roles: roles.collect(),
        companies: companies.collect(),
        filtered: !query.is_empty(),
        rows: found[rows].iter().map(row).collect(),
        pager,
        admin,
        hire_roles: hire_roles.collect(),
        territories,
        distributors,
        keep,
        error,
        page,
        asked,
        hire,
    })
}

fn lede(members: &[Member], waiting: &HashMap<UserId, i64>, now: i64) -> String {
    let number = |n: usize| n as u64;
    let working: Vec<&Member> = members.iter().filter(|m| m.person.active).collect();
    let phones = || working.iter().flat_map(|m| &m.devices).filter(|d| d.revoked_ms.is_none());
    let quiet = phones().filter(|device| is_quiet(device, now)).count();
    let open = working.iter().filter(|m| waiting.contains_key(&m.person.id)).count();
    let mut out = format!(
        "{}, {}.",
        view::count(number(working.len()), "person", "people"),
        view::count(number(phones().count()), "phone", "phones")
    );
    if quiet > 0 {
        let are = if quiet == 1 { "is" } else { "are" };
        out += &format!(" {} {are} quiet.", view::count(number(quiet), "phone", "phones"));
    }
    if open > 0 {
        let wait = if open == 1 { "waits" } else { "wait" };
        out += &format!(" {} {wait} to be used.", view::count(number(open), "code", "codes"));
    }
    out
}

fn is_quiet(device: &DeviceRow, now: i64) -> bool {
    device.revoked_ms.is_none() && now - device.synced_ms.unwrap_or(device.enrolled_ms) > QUIET_MS
}

fn company(world: &World, brand: &str, scope: Scope) -> String {
    match scope {
        Scope::Territory(_) => brand.to_owned(),
        Scope::Distributor(id) => view::distributor_name(world, id),
    }
}

/// How many outlets each distributor serves.
fn served(world: &World) -> HashMap<DistributorId, u64> {
    let mut served = HashMap::new();
    for outlet in world.outlets.values().filter(|outlet| outlet.active) {
        *served.entry(outlet.distributor).or_default() += 1;
    }
    served
}

fn looks_after(world: &World, served: &HashMap<DistributorId, u64>, scope: Scope) -> String {
    match scope {
        Scope::Territory(id) => view::territory_name(world, id),
        Scope::Distributor(id) => {
            view::count(served.get(&id).copied().unwrap_or_default(), "outlet", "outlets")
        }
    }
}

/// All but what the person works for.
fn person_row(member: &Member, waiting: &HashMap<UserId, i64>, zone: &str, now: i64) -> PersonRow {
    let person = &member.person;
    let trusted: Vec<&DeviceRow> =
        member.devices.iter().filter(|d| d.revoked_ms.is_none()).collect();
    let newest = member.devices.iter().filter_map(|d| d.synced_ms).max();
    let mut badges = Vec::new();
    if !person.active {
        badges.push(view::badge("not-possible", "closed", "Left"));
    }
    if trusted.iter().any(|device| device.forked > 0) {
        badges.push(view::badge("conflict", "conflict", "Copied store"));
    }
    if trusted.is_empty() && !member.devices.is_empty() {
        badges.push(view::badge("bad", "cross", "Phone withdrawn"));
    } else if trusted.iter().any(|device| is_quiet(device, now)) {
        badges.push(view::badge("short", "clock", "Quiet"));
    }
    if person.active && waiting.contains_key(&person.id) {
        badges.push(view::badge("submitted", "clock", "Code waiting"));
    }
    PersonRow {
        key: person.id.to_string(),
        url: format!("/people/{}", person.id),
        name: person.name.clone(),
        email: member.email.clone().unwrap_or_default(),
        role: view::role_name(person.role),
        company: String::new(),
        looks_after: String::new(),
        devices: match trusted.len() {
            0 => String::new(),
            n => view::count(n as u64, "phone", "phones"),
        },
        last_sync: newest.map(|at| view::ago(at, zone)),
        console_only: signs_in(person.role),
        badges,
    }
}

// ---- scopes in forms: `t.` and a territory, `d.` and a distributor

fn read_scope(text: &str) -> Option<Scope> {
    match text.split_once('.')? {
        ("t", id) => id.parse::<TerritoryId>().ok().map(Scope::Territory),
        ("d", id) => id.parse::<DistributorId>().ok().map(Scope::Distributor),
        _ => None,
    }
}

fn write_scope(scope: Scope) -> String {
    match scope {
        Scope::Territory(id) => format!("t.{id}"),
        Scope::Distributor(id) => format!("d.{id}"),
    }
}

fn scope_choices(world: &World, chosen: &str) -> (Vec<Choice>, Vec<Choice>) {
    let all = world.territories.keys().copied().collect();
    let territories = tree(world, &all).into_iter().map(|(id, depth)| {
        let value = write_scope(Scope::Territory(id));
        let indent = "\u{2003}".repeat(depth - 1);
        let name = format!("{indent}{}", view::territory_name(world, id));
        Choice { chosen: value == chosen, value, name }
    });
    let mut distributors: Vec<Choice> = world
        .distributors
        .values()
        .map(|distributor| {
            let value = write_scope(Scope::Distributor(distributor.id));
            Choice { chosen: value == chosen, value, name: distributor.name.clone() }
        })
        .collect();
    distributors.sort_by_key(|choice| view::by_name(&choice.name));
    (territories.collect(), distributors)
}

// ---- a person

/// A one-time code that can still be used, as this browser has been given it.
struct Waiting {
    code: String,
    /// Where the app finds this server.
    server: String,
    qr: Markup,
    until: Markup,
}

struct DeviceView {
    key: String,
    label: String,
    enrolled: Markup,
    synced: Option<Markup>,
    fingerprint: String,
    badge: Markup,
    forked: Option<String>,
    revoked: Option<Markup>,
    lost: Option<Markup>,
}

struct CallView {
    url: String,
    outlet: String,
    state: Markup,
    when: Option<Markup>,
}

#[derive(Template)]
#[template(path = "person.html")]
struct PersonPage {
    page: Page,
    id: UserId,
    name: String,
    first: String,
    role: &'static str,
    company: String,
    looks_after: String,
    email: String,
    active: bool,
    own: bool,
    admin: bool,
    signs_in: bool,
    search: String,
    password: Option<String>,
    waiting: Option<Waiting>,
    used: Option<String>,
    open_until: Option<Markup>,
    code_hours: i64,
    devices: Vec<DeviceView>,
    /// As a form's field for day and time says it.
    now: String,
    /// Of that field.
    zone: String,
    devices_note: String,
    calls: Vec<CallView>,
    calls_note: String,
    roles: Vec<Choice>,
    territories: Vec<Choice>,
    distributors: Vec<Choice>,
    error: Option<String>,
}

/// `GET /people/{id}`
pub(super) async fn person(
    State(app): State<Arc<App>>,
    client: Client,
    viewer: Viewer,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    html(&one(&app, &client, &viewer, &id, &headers, None).await?)
}

fn user(id: &str) -> Result<UserId, Problem> {
    id.parse().map_err(|_| Problem::not_found())
}

async fn one(
    app: &Arc<App>,
    client: &Client,
    viewer: &Viewer,
    id: &str,
    headers: &HeaderMap,
    error: Option<String>,
) -> Result<PersonPage, Problem> {
    let (id, now) = (user(id)?, now_ms());
    let members = people::list(app, viewer).await?;
    let member = members.into_iter().find(|member| member.person.id == id);
    let Member { person, email, devices } = member.ok_or_else(Problem::not_found)?;
    let tenant = Arc::clone(&viewer.tenant);
    let (zone, calls) = {
        let world = tenant.world();
        let zone = view::zone_of(&world, &viewer.rights);
        let today = Day::at(now, &zone);
        let calls = world.calls.values().filter(|call| {
            let audience = world.outlets.get(&call.outlet).map(|o| o.audience());
            !call.cancelled
                && call.day == today
                && call.people.contains(&id)
                && audience.is_some_and(|audience| viewer.sees(&audience))
        });
        let mut calls: Vec<_> = calls.map(|call| (call.outlet, call.id)).collect();
        calls.sort();
        (zone, calls)
    };
    let visits: Vec<VisitId> =
        calls.iter().map(|(_, call)| VisitId::of_call(tenant.id, *call)).collect();
    let (org, given) = (tenant.org, cookie(headers, CODE_COOKIE));
    let hash = given.as_deref().and_then(code_hash);
    let wanted = visits.clone();
    let (lines, open, enrolment) = app
        .look(&viewer.tenant, move |connection| {
            let lines = figures::lines(connection, org, &wanted)?;
            let open = accounts::open_enrolments(connection, org, now)?;
            let enrolment = match hash {
                Some(hash) => accounts::enrolment(connection, hash, now)?,
                None => None,
            };
            Ok((lines, open, enrolment))
        })
        .await?;
    let enrolment = enrolment.filter(|e| e.org == org && e.user == id);
    let (mut waiting, mut used) = (None, None);
    if let (Some(code), Some(enrolment)) = (given, &enrolment) {
        match enrolment.device {
            None => {
                let qr = Markup(enrol_qr_svg(&client.base_url, &code));
                let until = view::when(enrolment.expires_ms, &zone);
                let server = client.base_url.clone();
                waiting = Some(Waiting { code, server, qr, until });
            }
            Some(device) => {
                used = devices.iter().find(|d| d.device == device).map(|d| d.label.clone());
            }
        }
    }
    let open_until = open.get(&id).map(|until| view::when(*until, &zone));
    let password = cookie(headers, PASSWORD_COOKIE);
    let admin = viewer.rights.role == Role::Admin;
    let mut page = Page::new(app, viewer, Section::People, person.name.clone()).await?;
    page.live = error.is_none();
    let world = tenant.world();
    let calls: Vec<CallView> = calls
        .iter()
        .zip(&visits)
        .map(|((outlet, _), visit)| call_view(&world, *outlet, lines.get(visit), viewer))
        .collect();
    let made = visits.iter().filter(|visit| lines.get(visit).is_some_and(|line| line.counted));
    let calls_note = format!("{} of {} calls made", made.count(), calls.len());
    let trusted = devices.iter().filter(|d| d.revoked_ms.is_none()).count();
    let devices_note = match devices.len() - trusted {
        0 => format!("{trusted} active"),
        revoked => format!("{trusted} active, {revoked} withdrawn"),
    };
    let roles = Role::ALL.into_iter().map(|role| Choice {
        value: role.as_str().to_owned(),
        name: view::role_name(role).to_owned(),
        chosen: role == person.role,
    });
    let (territories, distributors) = scope_choices(&world, &write_scope(person.scope));
    Ok(PersonPage {
        page,
        id,
        first: view::first_name(&person.name).to_owned(),
        role: view::role_name(person.role),
        company: company(&world, &tenant.name, person.scope),
        looks_after: looks_after(&world, &served(&world), person.scope),
        email: email.unwrap_or_default(),
        active: person.active,
        own: id == viewer.rights.user,
        admin,
        signs_in: signs_in(person.role),
        search: view::query(&person.name),
        password,
        waiting,
        used,
        open_until,
        code_hours: people::CODE_MS / 3_600_000,
        devices: devices
            .iter()
            .map(|device| {
                let record = world.devices.get(&device.device);
                device_view(device, record.and_then(|record| record.lost_ms), &zone, now)
            })
            .collect(),
        now: view::zoned(now, &zone).strftime("%Y-%m-%dT%H:%M").to_string(),
        zone,
        devices_note,
        calls,
        calls_note,
        roles: roles.collect(),
        territories,
        distributors,
        name: person.name,
        error,
    })
}

fn call_view(
    world: &World,
    outlet: sync_core::id::OutletId,
    line: Option<&Line>,
    viewer: &Viewer,
) -> CallView {
    let known = world.outlets.get(&outlet);
    let line = line.filter(|line| {
        let (territory, distributor) = line.place;
        viewer.rights.sees(&world.tree, &Audience::Outlet { territory, distributor })
    });
    let zone = known.map_or("UTC", |outlet| outlet.zone.as_str());
    CallView {
        url: match line {
            Some(line) => format!("/visits/{}", line.visit),
            None => format!("/outlets/{outlet}"),
        },
        outlet: known.map_or_else(|| "An outlet no longer listed".to_owned(), |o| o.name.clone()),
        state: match line {
            Some(line) => view::status_badge(line.status),
            None => view::badge("idle", "clock", "Planned"),
        },
        when: line.map(|line| view::clock(line.started_ms, zone)),
    }
}

fn device_view(device: &DeviceRow, lost_ms: Option<i64>, zone: &str, now: i64) -> DeviceView {
    let badge = match (device.revoked_ms, device.synced_ms) {
        (Some(_), _) => view::badge("not-possible", "closed", "Access withdrawn"),
        _ if device.forked > 0 => view::badge("conflict", "conflict", "Copied store"),
        _ if is_quiet(device, now) => view::badge("short", "clock", "Quiet"),
        (None, None) => view::badge("submitted", "clock", "Not synced yet"),
        (None, Some(_)) => view::badge("ok", "check", "In step"),
    };
    let times = |n: u64| match n {
        1 => "once".to_owned(),
        n => format!("{} times", view::number(n)),
    };
    DeviceView {
        key: device.device.to_string(),
        label: device.label.clone(),
        enrolled: view::when(device.enrolled_ms, zone),
        synced: device.synced_ms.map(|at| view::ago(at, zone)),
        fingerprint: fingerprint_text(&device.key),
        badge,
        forked: (device.forked > 0).then(|| times(device.forked)),
        revoked: device.revoked_ms.map(|at| view::when(at, zone)),
        lost: lost_ms.map(|at| view::when(at, zone)),
    }
}

// ---- forms

/// A form that only says that it was sent.
#[derive(Debug, Deserialize)]
pub(super) struct Nothing {}

/// What an admin changes of a person, and what the form showed: what is as it was shown is not changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Edit {
    name: String,
    role: String,
    scope: String,
    was_name: String,
    was_role: String,
    was_scope: String,
}

/// Whether a person works here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Active {
    active: String,
}

/// A new password; an address for who has none yet.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reset {
    email: String,
}

/// `POST /people/{id}`: another name, role or scope.
pub(super) async fn edit(
    State(app): State<Arc<App>>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
    Posted(viewer, form): Posted<Edit>,
) -> Result<Response, Problem> {
    let who = user(&id)?;
    let changed = async {
        let (role, scope) = match (Role::from_name(&form.role), read_scope(&form.scope)) {
            (Some(role), Some(scope)) => (role, scope),
            _ => return Err(Problem::invalid("choose a role, and what the person looks after")),
        };
        let edits = people::Edits {
            name: Some(form.name.clone()).filter(|name| name.trim() != form.was_name),
            role: Some(role).filter(|_| form.role != form.was_role),
            scope: Some(scope).filter(|_| form.scope != form.was_scope),
        };
        people::edit(&app, &viewer, who, edits).await
    };
    back(&app, &client, &viewer, &id, &headers, changed.await, None).await
}

/// `POST /people/{id}/active`: lets a person go, or takes one back.
pub(super) async fn set_active(
    State(app): State<Arc<App>>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
    Posted(viewer, form): Posted<Active>,
) -> Result<Response, Problem> {
    let changed = people::set_active(&app, &viewer, user(&id)?, form.active == "yes").await;
    back(&app, &client, &viewer, &id, &headers, changed, None).await
}

/// `POST /people/{id}/password`: a new password, shown once.
pub(super) async fn reset(
    State(app): State<Arc<App>>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
    Posted(viewer, form): Posted<Reset>,
) -> Result<Response, Problem> {
    let who = user(&id)?;
    match people::reset_password(&app, &viewer, who, Some(&form.email)).await {
        Ok(password) => {
            let cookie = Some(password_cookie(&client, who, &password));
            back(&app, &client, &viewer, &id, &headers, Ok(()), cookie).await
        }
        Err(problem) => back(&app, &client, &viewer, &id, &headers, Err(problem), None).await,
    }
}

/// `POST /people/{id}/codes`: a one-time code, shown on the person's page in this browser alone.
pub(super) async fn issue(
    State(app): State<Arc<App>>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
    Posted(viewer, Nothing {}): Posted<Nothing>,
) -> Result<Response, Problem> {
    let who = user(&id)?;
    match people::issue_code(&app, &viewer, who).await {
        Ok(code) => {
            let left_s = (code.expires_ms - now_ms()).max(0) / 1_000;
            let cookie = set_cookie(&client, who, CODE_COOKIE, &code.code, left_s);
            back(&app, &client, &viewer, &id, &headers, Ok(()), Some(cookie)).await
        }
        Err(problem) => back(&app, &client, &viewer, &id, &headers, Err(problem), None).await,
    }
}

/// How long phones keep visits.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Keep {
    days: String,
}

/// `POST /phones/keep`: how long phones keep visits.
pub(super) async fn keep(
    State(app): State<Arc<App>>,
    Posted(viewer, form): Posted<Keep>,
) -> Result<Response, Problem> {
    let days = match form.days.as_str() {
        "" => None,
        days => {
            Some(days.parse().map_err(|_| Problem::invalid("days: needs a number or nothing"))?)
        }
    };
    people::keep_on_phones(&app, &viewer, days).await?;
    see_other("/people#keep", None)
}

/// Since when a phone was out of its person's hands; empty if it was not.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Loss {
    lost: String,
}

/// `POST /devices/{id}/revoke`: the phone is lost, or is not trusted any more.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Posted(viewer, Loss { lost }): Posted<Loss>,
) -> Result<Response, Problem> {
    let device: DeviceId = id.parse().map_err(|_| Problem::not_found())?;
    let zone = view::zone_of(&viewer.tenant.world(), &viewer.rights);
    let lost_ms = match lost.trim() {
        "" => None,
        lost => Some(view::instant(lost, &zone).ok_or_else(|| {
            Problem::invalid("lost: needs a day and a time such as 2026-11-29T14:30, or nothing")
        })?),
    };
    people::revoke(&app, &viewer, device, lost_ms).await?;
    let owner = app.device(&viewer.tenant, device).ok_or_else(Problem::not_found)?.user;
    see_other(&format!("/people/{owner}"), None)
}

/// Back to the person's page, or the page with what can be put right.
async fn back(
    app: &Arc<App>,
    client: &Client,
    viewer: &Viewer,
    id: &str,
    headers: &HeaderMap,
    done: Result<(), Problem>,
    cookie: Option<Result<HeaderValue, Problem>>,
) -> Result<Response, Problem> {
    match done {
        Ok(()) => see_other(&format!("/people/{id}"), cookie),
        Err(problem) if correctable(&problem) => {
            let error = Some(problem.sentence());
            html_as(problem.status(), &one(app, client, viewer, id, headers, error).await?)
        }
        Err(problem) => Err(problem),
    }
}

fn see_other(url: &str, cookie: Option<Result<HeaderValue, Problem>>) -> Result<Response, Problem> {
    let mut response = Redirect::to(url).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie?);
    }
    Ok(response)
}

// ---- what only the browser that asked for it shows: a cookie of the person's page

fn password_cookie(client: &Client, who: UserId, password: &str) -> Result<HeaderValue, Problem> {
    set_cookie(client, who, PASSWORD_COOKIE, password, PASSWORD_SHOWN_S)
}

fn set_cookie(
    client: &Client,
    who: UserId,
    name: &str,
    value: &str,
    age_s: i64,
) -> Result<HeaderValue, Problem> {
    let secure = if client.secure { "; Secure" } else { "" };
    let cookie = format!(
        "{name}={value}; Path=/people/{who}; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}"
    );
    cookie.parse().map_err(|_| Problem::internal())
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';'));
    let value = pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))?;
    let plain = value.len() <= 40 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    plain.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_survives_its_form() {
        let territory = Scope::Territory(TerritoryId::from_bytes([3; 16]));
        let distributor = Scope::Distributor(DistributorId::from_bytes([4; 16]));
        for scope in [territory, distributor] {
            assert_eq!(read_scope(&write_scope(scope)), Some(scope));
        }
        for bad in ["", "t", "t.", "x.00000000-0000-0000-0000-000000000000", "d.me"] {
            assert_eq!(read_scope(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_plain_cookies_are_read() {
        let headers = |line: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, line.parse().unwrap());
            cookie(&headers, CODE_COOKIE)
        };
        assert_eq!(headers("a=b; endcap_code=01ABC-DEF89").as_deref(), Some("01ABC-DEF89"));
        assert_eq!(headers("endcap_code=<b>"), None);
        assert_eq!(headers("endcap_codes=1"), None);
    }
}
