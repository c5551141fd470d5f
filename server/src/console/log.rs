//! The organisation's log, for people who keep watch over it: its key, copies of it, and whose phones' keys a
//! distributor has confirmed.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sync_core::evidence::{Leaf, LogKey, fingerprint_text};
use sync_core::id::{DeviceId, DistributorId, LogHash, UserId};
use sync_core::model::people::{Role, Scope};
use sync_core::tlog::NoteKey;

use super::page::{Page, Section, html};
use super::people::Nothing;
use super::view::{self, Markup};
use crate::app::App;
use crate::auth::{self, Client, Posted, Viewer, gives_out_copies};
use crate::error::Problem;
use crate::now_ms;
use crate::store::witnesses::{self, Cosignature};
use crate::store::{accounts, tree};
use crate::world::World;

/// Longest name of a copy, in characters.
const LABEL_CHARS_MAX: usize = 80;

struct Key {
    device: String,
    person: String,
    fingerprint: String,
    confirmed: String,
    mine: bool,
}

/// What a witness says.
struct Watcher {
    name: String,
    vkey: String,
    /// Over how many lines, and when.
    signed: Option<(String, Markup)>,
    /// Why it did not sign when it was asked last; empty if it did.
    refused: String,
}

struct Given {
    key: String,
    label: String,
    by: String,
    at: view::Markup,
    used: Option<view::Markup>,
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    page: Page,
    vkey: String,
    lines: String,
    address: String,
    copies: bool,
    token: String,
    given: Vec<Given>,
    keys: Vec<Key>,
    witnesses: Vec<Watcher>,
}

/// `GET /log`
pub(super) async fn log(
    State(app): State<Arc<App>>,
    client: Client,
    viewer: Viewer,
) -> Result<Response, Problem> {
    draw(&app, &client, &viewer, String::new()).await
}

async fn draw(
    app: &Arc<App>,
    client: &Client,
    viewer: &Viewer,
    token: String,
) -> Result<Response, Problem> {
    let page = Page::new(app, viewer, Section::Account, "The log").await?;
    let tenant = &viewer.tenant;
    let at = app.head(tenant).await?;
    let org = tenant.org;
    let (may_withdraw, by) = (gives_out_copies(viewer.rights.role), gave_out(viewer));
    let read = app.look(&viewer.tenant, move |connection| {
        let confirmed = tree::confirmations(connection, org)?;
        let given = match may_withdraw {
            true => accounts::mirrors(connection, org, by)?,
            false => Vec::new(),
        };
        Ok((confirmed, given, witnesses::cosignatures(connection, org)?))
    });
    let (confirmed, given, cosignatures) = read.await?;
    let world = tenant.world();
    let zone = view::zone_of(&world, &viewer.rights);
    let given = given.into_iter().map(|given| Given {
        key: hex(&given.token),
        label: given.label,
        by: world.name(given.by),
        at: view::ago(given.created_ms, &zone),
        used: given.used_ms.map(|at| view::ago(at, &zone)),
    });
    let given = given.collect();
    let mine = distributor(viewer);
    let mut keys: Vec<Key> = world
        .devices
        .values()
        .filter(|device| !device.revoked)
        .filter_map(|device| {
            let person = world.people.get(&device.user)?;
            let Scope::Distributor(of) = person.scope else { return None };
            if mine.is_some_and(|mine| mine != of) {
                return None;
            }
            let by = confirmed.get(&device.id).and_then(|by| world.people.get(by));
            Some(Key {
                device: device.id.to_string(),
                person: person.name.clone(),
                fingerprint: fingerprint_text(&device.key),
                confirmed: by.map(|by| by.name.clone()).unwrap_or_default(),
                mine: mine.is_some(),
            })
        })
        .collect();
    keys.sort_by_cached_key(|key| (view::by_name(&key.person), key.device.clone()));
    let watcher = |said: Cosignature| {
        let signed = said.signed.filter(|_| said.life == at.origin).map(|(_, seconds)| {
            let ms = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
            (view::number(said.size), view::ago(ms, &zone))
        });
        Watcher {
            name: said.witness.name().to_owned(),
            vkey: said.witness.to_string(),
            signed,
            refused: said.refused.unwrap_or_default(),
        }
    };
    let drawn = LogPage {
        page,
        vkey: NoteKey::of_log(tenant.id, at.origin, tenant.log_key.public()).to_string(),
        lines: view::number(at.sequence),
        address: format!("{}/log/{}", client.base_url, tenant.id),
        copies: may_withdraw,
        token,
        given,
        keys,
        witnesses: cosignatures.into_iter().map(watcher).collect(),
    };
    html(&drawn)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The distributor whose people's keys this person confirms.
fn distributor(viewer: &Viewer) -> Option<DistributorId> {
    match (viewer.rights.role, viewer.rights.scope) {
        (Role::DistributorManager, Scope::Distributor(distributor)) => Some(distributor),
        _ => None,
    }
}

/// Whose copies this person sees and withdraws; `None`: everybody's.
fn gave_out(viewer: &Viewer) -> Option<UserId> {
    (viewer.rights.role != Role::Admin).then_some(viewer.rights.user)
}

#[derive(Deserialize)]
pub(super) struct Copy {
    label: String,
}

/// `POST /mirrors`: a token for a copy of the log, shown once.
pub(super) async fn copy(
    State(app): State<Arc<App>>,
    client: Client,
    Posted(viewer, Copy { label }): Posted<Copy>,
) -> Result<Response, Problem> {
    viewer.require(gives_out_copies, "give out copies of the log")?;
    let label = label.trim().to_owned();
    let length = label.chars().count();
    if length == 0 || length > LABEL_CHARS_MAX || label.chars().any(char::is_control) {
        return Err(Problem::invalid("label: needs 1 to 80 printable characters"));
    }
    let token = auth::secret();
    let (org, hash, by) = (viewer.tenant.org, auth::secret_hash(&token), viewer.rights.user);
    let put = viewer
        .write(&app, move |tx, _| Ok(accounts::put_mirror(tx, org, hash, &label, by, now_ms())?));
    if !put.await? {
        let most = accounts::COPIES_OF_PERSON_MAX;
        let most = format!("you have given out {most} tokens: withdraw one first");
        return Err(Problem::invalid(most));
    }
    draw(&app, &client, &viewer, token).await
}

/// `POST /mirrors/{token}/withdraw`: who has the token reads no more entries with it.
pub(super) async fn withdraw(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    Posted(viewer, Nothing {}): Posted<Nothing>,
) -> Result<Response, Problem> {
    viewer.require(gives_out_copies, "withdraw copies of the log")?;
    let LogHash(token) = token.parse().map_err(|_| Problem::not_found())?;
    let (org, by) = (viewer.tenant.org, gave_out(&viewer));
    let withdrawn = viewer.write(&app, move |tx, _| Ok(accounts::drop_mirror(tx, org, token, by)?));
    match withdrawn.await? {
        true => Ok(Redirect::to("/log#given").into_response()),
        false => Err(Problem::not_found()),
    }
}

/// `POST /devices/{id}/confirm`: a manager says that a phone's key is that of one of their people. It is a line of the
/// log.
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Posted(viewer, Nothing {}): Posted<Nothing>,
) -> Result<Response, Problem> {
    let id: DeviceId = id.parse().map_err(|_| Problem::not_found())?;
    let Some(distributor) = distributor(&viewer) else {
        return Err(Problem::forbidden("a distributor's manager confirms their people's keys"));
    };
    let (by, still, at_ms) = (viewer.rights.user, viewer.still(), now_ms());
    let leaf = move |world: &World| {
        still(world)?;
        let device = world.devices.get(&id).filter(|device| !device.revoked);
        let device = device.ok_or_else(Problem::not_found)?;
        let owner = world.people.get(&device.user);
        if owner.is_none_or(|owner| owner.scope != Scope::Distributor(distributor)) {
            return Err(Problem::not_found());
        }
        let key = LogKey(device.key);
        Ok(Leaf::Confirmation { device: id, key, by, distributor, at_ms })
    };
    app.confirm(&viewer.tenant, id, by, leaf).await?;
    Ok(Redirect::to("/log#keys").into_response())
}

#[cfg(test)]
mod tests {
    use sync_core::model::catalogue::{Person, Record};

    use super::*;
    use crate::auth::tests::{end, founded, local, signed_in};

    #[tokio::test]
    async fn who_has_left_while_they_asked_gives_out_no_copy() {
        let (app, tenant, admin) = founded().await;
        let org = tenant.org;
        let asks = async |viewer| {
            let asked = Posted(viewer, Copy { label: "Partner".into() });
            let answer = copy(State(Arc::clone(&app)), local(), asked).await;
            let given = app.store.read(move |c| accounts::mirrors(c, org, None)).await.unwrap();
            (answer.err().map(|problem| problem.code().to_owned()), given.len())
        };
        let [first, second] = [signed_in(&app).await, signed_in(&app).await];
        assert_eq!(asks(first).await, (None, 1));
        let gone = Person { active: false, ..admin };
        app.write_records(&tenant, vec![Record::Person(gone)]).await.unwrap();
        assert_eq!(asks(second).await, (Some("rights_changed".to_owned()), 1));
        end(&app);
    }
}
