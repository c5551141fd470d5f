//! What the console does with people and their phones: lists them, takes people in and lets them go, gives
//! out enrolment codes, withdraws phones.
//!
//! Admins may do everything. Supervisors and distributor managers give out codes and withdraw phones, for
//! themselves and for those who record in the field within their own scope.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::http::StatusCode;
use sync_core::id::{DeviceId, DistributorId, OrgId, TerritoryId, UserId};
use sync_core::model::catalogue::{Device, Person, Record, Territory};
use sync_core::model::people::{Rights, Role, Scope};

use crate::app::{App, Tenant};
use crate::auth::{
    Viewer, check_password, gives_out_copies, hash_password, normal_email, secret_hash, signs_in,
};
use crate::console::view::by_name;
use crate::error::Problem;
use crate::store::accounts::{self, DeviceRow, Enrolment};
use crate::store::field::{self, Written};
use crate::store::log;
use crate::world::World;
use crate::{now_ms, random};

/// How long an enrolment code can be used.
pub const CODE_MS: i64 = 24 * 3_600_000;

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A person as the people page shows one.
#[derive(Debug, Clone)]
pub struct Member {
    /// The catalogue's record.
    pub person: Person,
    /// The address to sign in with, if the person has one.
    pub email: Option<String>,
    /// All phones ever enrolled, the newest first.
    pub devices: Vec<DeviceRow>,
}

/// What a new person is.
#[derive(Debug, Clone)]
pub struct NewPerson {
    /// What colleagues call them.
    pub name: String,
    /// As what they work.
    pub role: Role,
    /// Where they work.
    pub scope: Scope,
    /// To sign in with; needed for those who work in the console, and only for them.
    pub email: Option<String>,
}

/// A person who was taken in.
#[derive(Debug, Clone)]
pub struct Created {
    /// Who.
    pub user: UserId,
    /// The first password, to be shown once.
    pub password: Option<String>,
}

/// An enrolment code, to be shown once.
#[derive(Debug, Clone)]
pub struct Code {
    /// Ten characters as `XXXXX-XXXXX`.
    pub code: String,
    /// Until when it can be used.
    pub expires_ms: i64,
}

/// Whom this viewer gives codes to, and whose phones they withdraw.
pub fn managed_by<'w>(world: &'w World, viewer: &Rights) -> impl Fn(&Person) -> bool + 'w {
    let Rights { user, role, scope } = *viewer;
    // A distributor lies within a territory that has all its outlets.
    let mut within: HashMap<DistributorId, bool> = HashMap::new();
    if let (Role::Supervisor, Scope::Territory(root)) = (role, scope) {
        for outlet in world.outlets.values().filter(|outlet| outlet.active) {
            let all = within.entry(outlet.distributor).or_insert(true);
            *all = *all && world.tree.within(outlet.territory, root);
        }
    }
    let holds = move |inner: Scope| match (scope, inner) {
        (Scope::Territory(outer), Scope::Territory(inner)) => world.tree.within(inner, outer),
        (Scope::Distributor(_), _) => scope == inner,
        (Scope::Territory(_), Scope::Distributor(id)) => within.get(&id) == Some(&true),
    };
    move |person| match role {
        Role::Admin => true,
        _ if user == person.id => true,
        Role::Supervisor | Role::DistributorManager => {
            person.role.captures() && holds(person.scope)
        }
        Role::Rep | Role::DistributorStaff => false,
    }
}

/// Everyone whom the viewer manages, by name.
pub async fn list(app: &App, viewer: &Viewer) -> Result<Vec<Member>, Problem> {
    let org = viewer.tenant.org;
    let read = app.look(&viewer.tenant, move |connection| {
        Ok((accounts::emails(connection, org)?, accounts::devices(connection, org)?))
    });
    let (mut emails, rows) = read.await?;
    let mut devices: HashMap<UserId, Vec<DeviceRow>> = HashMap::new();
    for row in rows {
        devices.entry(row.user).or_default().push(row);
    }
    let world = viewer.tenant.world();
    let manages = managed_by(&world, &viewer.rights);
    let people = world.people.values().filter(|person| manages(person));
    let mut members: Vec<Member> = people
        .map(|person| Member {
            email: emails.remove(&person.id),
            devices: devices.remove(&person.id).unwrap_or_default(),
            person: person.clone(),
        })
        .collect();
    members.sort_by_cached_key(|m| (!m.person.active, by_name(&m.person.name), m.person.id));
    Ok(members)
}

/// Takes a person in. Admins only. Refuses with `invalid` (422) and `email_taken` (409).
pub async fn create(app: &App, viewer: &Viewer, new: NewPerson) -> Result<Created, Problem> {
    require_admin(viewer)?;
    let NewPerson { name, role, scope, email } = new;
    let user = fresh_user();
    let person = Person { id: user, name: name.trim().to_owned(), role, scope, active: true };
    check_person(&viewer.tenant.world(), &person)?;
    let still = viewer.still();
    if !signs_in(role) {
        let records = move |now: &World| {
            still(now)?;
            Ok(vec![Record::Person(person)])
        };
        app.change_records(&viewer.tenant, records, |_, _| Ok::<_, Problem>(())).await?;
        return Ok(Created { user, password: None });
    }
    let email = email.as_deref().filter(|email| !email.trim().is_empty());
    let email = email.ok_or_else(|| Problem::invalid("this role needs an e-mail address"))?;
    let password = generated_password();
    let records = move |now: &World| {
        still(now)?;
        Ok(vec![Record::Person(person)])
    };
    write_with_account(app, &viewer.tenant, records, user, email, &password).await?;
    Ok(Created { user, password: Some(password) })
}

/// Gives a person of the console an address and a password to sign in with.
pub async fn open_account(
    app: &App,
    tenant: &Arc<Tenant>,
    user: UserId,
    email: &str,
    password: &str,
) -> Result<(), Problem> {
    write_with_account(app, tenant, |_| Ok(Vec::new()), user, email, password).await
}

async fn write_with_account(
    app: &App,
    tenant: &Arc<Tenant>,
    records: impl FnOnce(&World) -> Result<Vec<Record>, Problem> + Send + 'static,
    user: UserId,
    email: &str,
    password: &str,
) -> Result<(), Problem> {
    let email = checked_email(email)?;
    check_password(password)?;
    let hash = hash_password(app, password).await?;
    let org = tenant.org;
    app.change_records(tenant, records, move |ledger, then| {
        works_here(then, user)?;
        if accounts::create_account(ledger.tx, org, user, &email, &hash)? {
            return Ok(());
        }
        Err(email_taken())
    })
    .await
}

/// What is kept of somebody for their work here is kept of nobody who has left.
fn works_here(world: &World, user: UserId) -> Result<(), Problem> {
    match member(world, user)?.active {
        true => Ok(()),
        false => Err(Problem::invalid("this person no longer works here")),
    }
}

fn checked_email(email: &str) -> Result<String, Problem> {
    normal_email(email)
        .ok_or_else(|| Problem::invalid(format!("`{email}` is not an e-mail address")))
}

fn email_taken() -> Problem {
    let title = "Somebody signs in with this e-mail address already";
    Problem::new(StatusCode::CONFLICT, "email_taken", title)
}

/// Makes an organisation with the whole of its territory and its first admin. Refuses with
/// `organisation_exists` and `email_taken` (409) and `invalid` (422), and then makes nothing.
pub async fn found(
    app: &App,
    organisation: &str,
    admin_name: &str,
    email: &str,
    password: &str,
) -> Result<Arc<Tenant>, Problem> {
    let (organisation, email) = (organisation.trim(), checked_email(email)?);
    check_password(password)?;
    let root = TerritoryId::fresh(unix_ms(), random());
    let territory = Territory { id: root, parent: None, name: organisation.to_owned() };
    let (id, scope) = (fresh_user(), Scope::Territory(root));
    let name = admin_name.trim().to_owned();
    let admin = Person { id, name, role: Role::Admin, scope, active: true };
    let records = vec![Record::Territory(territory), Record::Person(admin)];
    for record in &records {
        record.validate().map_err(|invalid| Problem::invalid(invalid.to_string()))?;
    }
    let known = app.tenants().into_iter().find(|tenant| tenant.name == organisation);
    // One without people was left by a try that was cut short.
    if known.as_ref().is_some_and(|tenant| !tenant.world().people.is_empty()) {
        let title = "There is an organisation of this name already";
        return Err(Problem::new(StatusCode::CONFLICT, "organisation_exists", title));
    }
    let wanted = email.clone();
    let taken = app.store.read(move |connection| accounts::account(connection, &wanted));
    if taken.await?.is_some() {
        return Err(email_taken());
    }
    let tenant = match known {
        Some(tenant) => tenant,
        None => app.create(OrgId::fresh(unix_ms(), random()), organisation).await?,
    };
    write_with_account(app, &tenant, |_| Ok(records), id, &email, password).await?;
    Ok(tenant)
}

/// Lets a person go or takes one back. Admins only. Who is let go is signed out at once, codes are void, copies of
/// the log that the person gave out are withdrawn, and phones pull nothing more; what they still push is kept apart.
pub async fn set_active(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    active: bool,
) -> Result<(), Problem> {
    change(app, viewer, user, move |person| person.active = active).await
}

/// Shortest and longest time that phones may be told to keep visits for, in days.
pub const KEEP_DAYS: std::ops::RangeInclusive<u32> = 7..=3_650;

/// Says how many days phones keep a visit after its newest change; `None`: for ever. Admins only. Nothing is
/// lost here by it.
pub async fn keep_on_phones(app: &App, viewer: &Viewer, days: Option<u32>) -> Result<(), Problem> {
    require_admin(viewer)?;
    if days.is_some_and(|days| !KEEP_DAYS.contains(&days)) {
        return Err(Problem::invalid("phones keep visits for 7 to 3,650 days, or for ever"));
    }
    let org = viewer.tenant.org;
    viewer.write(app, move |tx, _| Ok(log::set_keep_days(tx, org, days)?)).await
}

/// What is changed of a person; the rest stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    /// What colleagues call them.
    pub name: Option<String>,
    /// As what they work.
    pub role: Option<Role>,
    /// Where they work.
    pub scope: Option<Scope>,
}

/// Gives a person another name, role or scope. Admins only.
pub async fn edit(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    Edits { name, role, scope }: Edits,
) -> Result<(), Problem> {
    change(app, viewer, user, move |person| {
        person.name = name.map_or_else(|| person.name.clone(), |name| name.trim().to_owned());
        person.role = role.unwrap_or(person.role);
        person.scope = scope.unwrap_or(person.scope);
    })
    .await
}

/// Changes what is known of a person when it is written: nobody's change undoes another's.
async fn change(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    edit: impl FnOnce(&mut Person) + Send + 'static,
) -> Result<(), Problem> {
    require_admin(viewer)?;
    let (org, still) = (viewer.tenant.org, viewer.still());
    let changed = move |now: &World| {
        still(now)?;
        let mut person = member(now, user)?;
        edit(&mut person);
        check_person(now, &person)?;
        Ok(vec![Record::Person(person)])
    };
    app.change_records(&viewer.tenant, changed, move |ledger, then| {
        let is_admin = |p: &Person| p.active && p.role == Role::Admin;
        if !then.people.values().any(is_admin) {
            return Err(Problem::invalid("the organisation needs an active admin"));
        }
        let Person { active, role, .. } = member(then, user)?;
        if !(active && signs_in(role)) {
            accounts::close_sessions(ledger.tx, org, user, None)?;
        }
        if !active {
            accounts::drop_enrolments(ledger.tx, org, user)?;
        }
        if !(active && gives_out_copies(role)) {
            accounts::drop_mirrors(ledger.tx, org, user)?;
        }
        Ok(())
    })
    .await
}

/// Gives somebody else a new password, shown once, and ends the person's sessions. A person of the console who
/// has no account yet gets one with `email`. Admins only.
pub async fn reset_password(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    email: Option<&str>,
) -> Result<String, Problem> {
    require_admin(viewer)?;
    if user == viewer.rights.user {
        // Nobody could be shown it: their own session would end first.
        return Err(Problem::invalid("change your own password under \"Change the password\""));
    }
    let (tenant, password) = (&viewer.tenant, generated_password());
    has_password(&tenant.world(), user)?;
    let (hash, org) = (hash_password(app, &password).await?, tenant.org);
    let changed = viewer.write(app, move |tx, world| {
        has_password(world, user)?;
        works_here(world, user)?;
        accounts::close_sessions(tx, org, user, None)?;
        Ok(accounts::set_password(tx, org, user, &hash)?)
    });
    if !changed.await? {
        let email = email.filter(|email| !email.trim().is_empty());
        let email = email.ok_or_else(|| Problem::invalid("this person needs an e-mail address"))?;
        let still = viewer.still();
        let unchanged = move |now: &World| still(now).map(|()| Vec::new());
        write_with_account(app, tenant, unchanged, user, email, &password).await?;
    }
    Ok(password)
}

fn has_password(world: &World, user: UserId) -> Result<(), Problem> {
    match signs_in(member(world, user)?.role) {
        true => Ok(()),
        false => {
            Err(Problem::invalid("people of this role work on the phone and have no password"))
        }
    }
}

/// Gives out a code with which the person enrols one phone. The person's older codes are void.
pub async fn issue_code(app: &App, viewer: &Viewer, user: UserId) -> Result<Code, Problem> {
    managed(viewer, user)?;
    let (rights, still) = (viewer.rights, viewer.still());
    let may = move |world: &World| {
        still(world)?;
        managed_of(world, &rights, user).map(drop)
    };
    code_if(app, &viewer.tenant, user, may).await
}

/// A code for a person, whoever asks: for the demo, tests and benchmarks.
pub async fn code_for(app: &App, tenant: &Arc<Tenant>, user: UserId) -> Result<Code, Problem> {
    code_if(app, tenant, user, |_| Ok(())).await
}

async fn code_if(
    app: &App,
    tenant: &Arc<Tenant>,
    user: UserId,
    may: impl FnOnce(&World) -> Result<(), Problem> + Send + 'static,
) -> Result<Code, Problem> {
    let (code, now) = (format!("{}-{}", letters::<5>(), letters::<5>()), now_ms());
    let hash = code_hash(&code).ok_or_else(Problem::internal)?;
    let expires_ms = now + CODE_MS;
    let enrolment = Enrolment { org: tenant.org, user, expires_ms, device: None };
    let of = Arc::clone(tenant);
    let write = move |tx: &rusqlite::Transaction<'_>| -> Result<(), Problem> {
        let world = of.world_in_writing();
        may(&world)?;
        works_here(&world, user)?;
        Ok(accounts::put_enrolment(tx, hash, &enrolment, now)?)
    };
    app.store.write_for(tenant.org, write).await?;
    Ok(Code { code, expires_ms })
}

/// What is kept of a code, however it was typed; `None` when it cannot be one.
pub(crate) fn code_hash(code: &str) -> Option<accounts::SecretHash> {
    let typed = code.chars().filter(|c| !matches!(c, '-' | ' '));
    let digits: Option<String> = typed
        .map(|c| match c.to_ascii_uppercase() {
            'O' => Some('0'),
            'I' | 'L' => Some('1'),
            c => u8::try_from(c).is_ok_and(|b| CROCKFORD.contains(&b)).then_some(c),
        })
        .collect();
    digits.filter(|digits| digits.len() == 10).map(|digits| secret_hash(&digits))
}

/// Withdraws a phone, also one that goes on under another key since: it pushes and pulls nothing more, from this moment on. What its person wrote stays on it. `lost_ms` is
/// since when it was out of their hands, if it was: what came from it then is marked.
pub async fn revoke(
    app: &App,
    viewer: &Viewer,
    device: DeviceId,
    lost_ms: Option<i64>,
) -> Result<(), Problem> {
    let (tenant, now) = (&viewer.tenant, now_ms());
    let org = tenant.org;
    let keys = app.store.read(move |connection| accounts::keys_of(connection, org, device));
    let keys = keys.await?;
    let (Some(first), Some(newest)) = (keys.first(), keys.last()) else {
        return Err(Problem::not_found());
    };
    let owner = newest.user;
    managed(viewer, owner)?;
    if lost_ms.is_some_and(|lost| lost > now) {
        return Err(Problem::invalid("lost: that is still to come"));
    }
    // Nothing came from it before it was enrolled: a year that was mistyped looks for no more.
    let lost_ms = lost_ms.map(|lost| lost.max(first.enrolled_ms));
    let (newest, stands) = (newest.device, newest.revoked_ms.is_none());
    // What it sent under an earlier key since it was lost is as doubtful. Nobody makes the time since when later.
    let of: BTreeSet<DeviceId> = keys.iter().map(|row| row.device).collect();
    let ended = keys.into_iter().map(|row| (row.device, row.revoked_ms.unwrap_or(i64::MAX)));
    // Looked for while others write; what comes until it is written is little.
    let written = match lost_ms {
        None => Written::default(),
        Some(since) => {
            let of = of.clone();
            app.look(tenant, move |c| field::written_by(c, org, &of, since)).await?
        }
    };
    let (rights, still) = (viewer.rights, viewer.still());
    let withdrawn = move |now: &World| -> Result<Vec<Record>, Problem> {
        still(now)?;
        managed_of(now, &rights, owner)?;
        let changed = ended.filter_map(|(id, ended)| {
            let device = now.devices.get(&id)?.clone();
            let since = lost_ms.filter(|lost| ended >= *lost);
            let lost_ms = [device.lost_ms, since].into_iter().flatten().min();
            let revoked = device.revoked || id == newest || ended < i64::MAX;
            (revoked != device.revoked || lost_ms != device.lost_ms)
                .then_some(Record::Device(Device { revoked, lost_ms, ..device }))
        });
        Ok(changed.collect())
    };
    let done = app.change_records(tenant, withdrawn, move |ledger, _| {
        if lost_ms.is_some() {
            field::reconsider_of(ledger.tx, org, &of, written)?;
        }
        if !stands || accounts::revoke(ledger.tx, org, newest, now)? {
            return Ok(());
        }
        let title = "This phone has just changed its key: withdraw it again";
        Err(Problem::new(StatusCode::CONFLICT, "key_changed", title))
    });
    done.await
}

fn require_admin(viewer: &Viewer) -> Result<(), Problem> {
    viewer.require(|role| role == Role::Admin, "change people")
}

fn member(world: &World, user: UserId) -> Result<Person, Problem> {
    world.people.get(&user).cloned().ok_or_else(Problem::not_found)
}

fn managed(viewer: &Viewer, user: UserId) -> Result<Person, Problem> {
    managed_of(&viewer.tenant.world(), &viewer.rights, user)
}

fn managed_of(world: &World, viewer: &Rights, user: UserId) -> Result<Person, Problem> {
    let person = member(world, user)?;
    if managed_by(world, viewer)(&person) {
        return Ok(person);
    }
    Err(Problem::forbidden("this person works outside your territory or distributor"))
}

fn check_person(world: &World, person: &Person) -> Result<(), Problem> {
    Record::Person(person.clone())
        .validate()
        .map_err(|invalid| Problem::invalid(invalid.to_string()))?;
    let known = match person.scope {
        Scope::Territory(id) => world.territories.contains_key(&id),
        Scope::Distributor(id) => world.distributors.contains_key(&id),
    };
    if known { Ok(()) } else { Err(Problem::invalid("there is no such territory or distributor")) }
}

fn unix_ms() -> u64 {
    u64::try_from(now_ms()).unwrap_or(0)
}

fn fresh_user() -> UserId {
    UserId::fresh(unix_ms(), random())
}

/// So many random characters of Crockford's base 32, five bits each.
fn letters<const N: usize>() -> String {
    let bytes: [u8; N] = random();
    bytes.iter().map(|b| char::from(CROCKFORD[usize::from(b % 32)])).collect()
}

/// A password of 80 bits that can be read out.
pub fn generated_password() -> String {
    (0..4).map(|_| letters::<4>().to_lowercase()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let kept = code_hash("01ABC-DEF89").unwrap();
        for typed in ["01abc-def89", "oiabcdef89", "OLABC DEF89", " 0-1-A-B-C-D-E-F-8-9 "] {
            assert_eq!(code_hash(typed), Some(kept), "{typed}");
        }
        for bad in ["", "01ABC-DEF8", "01ABC-DEF899", "U1ABC-DEF89", "01ABC-DEF8\u{661}"] {
            assert_eq!(code_hash(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_generated_has_its_form() {
        assert_eq!(generated_password().len(), 19);
        assert_ne!(generated_password(), generated_password());
        assert!(letters::<50>().bytes().all(|b| CROCKFORD.contains(&b)));
    }
}
