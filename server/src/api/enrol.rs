//! A phone enrols with a one-time code, and goes on with another key. docs/protocol.md is the norm.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sync_core::evidence::{Keypair, agrees, proves};
use sync_core::id::{Actor, DeviceId, UserId};
use sync_core::model::catalogue::{Device, Person, Record};
use sync_core::wire::PROTOCOL;

use crate::app::{App, Tenant};
use crate::auth::{self, Bearer, Stranger};
use crate::error::Problem;
use crate::limits::address_key;
use crate::people::code_hash;
use crate::store::accounts::{self, DeviceRow, Enrolled, SecretHash};
use crate::store::uploads;
use crate::{now_ms, random};

/// Longest label of a device, in characters.
const LABEL_CHARS_MAX: usize = 80;

#[derive(Deserialize)]
struct Request {
    /// The code, as it was typed or scanned.
    code: String,
    /// The device's Ed25519 public key: 32 bytes in base64url.
    key: String,
    /// The key's signature over exactly the `code` of this request: 64 bytes in base64url.
    proof: String,
    /// What the owner calls the device.
    label: String,
}

/// What an enrolled device knows of itself and of the server.
#[derive(Debug, Serialize)]
pub struct Reply {
    organisation: Organisation,
    user: User,
    device: String,
    token: String,
    server_key: String,
    /// What signs the log's checkpoints.
    log_key: String,
    protocol: u32,
}

#[derive(Debug, Serialize)]
struct Organisation {
    id: String,
    name: String,
}

#[derive(Debug, Serialize)]
struct User {
    id: String,
    name: String,
    role: &'static str,
}

/// `POST /api/v1/enrol`
///
/// The same key again for the same person, with the code that it has used or with another one, gives the
/// same device with a new token, and the token before is void: the first reply was lost.
pub async fn enrol(
    State(app): State<Arc<App>>,
    Stranger(client, _room): Stranger,
    body: Bytes,
) -> Result<Json<Reply>, Problem> {
    let now = now_ms();
    app.limits.enrol.check(address_key(client.ip), now)?;
    let request: Request =
        serde_json::from_slice(&body).map_err(|error| Problem::malformed(error.to_string()))?;
    let key: [u8; 32] = bytes(&request.key)
        .ok_or_else(|| Problem::malformed("key: needs 32 bytes in base64url"))?;
    let proof: [u8; 64] = bytes(&request.proof)
        .ok_or_else(|| Problem::malformed("proof: needs 64 bytes in base64url"))?;
    let label = request.label.trim().to_owned();
    let length = label.chars().count();
    if length == 0 || length > LABEL_CHARS_MAX || label.chars().any(char::is_control) {
        return Err(Problem::malformed("label: needs 1 to 80 printable characters"));
    }
    if !proves(&key, &request.code, &proof) {
        return Err(Problem::malformed("proof: is not the key's signature over the code"));
    }
    let code = code_hash(&request.code).ok_or_else(code_invalid)?;
    let attempt = Attempt { app: &app, code, key, label, now_ms: now };
    let reply = match attempt.run().await? {
        Some(reply) => reply,
        // The same request twice at once: the other one has won, and this one finds its device.
        None => attempt.run().await?.ok_or_else(code_invalid)?,
    };
    Ok(Json(reply))
}

struct Attempt<'a> {
    app: &'a App,
    code: SecretHash,
    key: [u8; 32],
    label: String,
    now_ms: i64,
}

impl Attempt<'_> {
    /// `None` when the code was used while this ran.
    async fn run(&self) -> Result<Option<Reply>, Problem> {
        let (code, key, now) = (self.code, self.key, self.now_ms);
        let found = self.app.store.read(move |connection| {
            let Some(enrolment) = accounts::enrolment(connection, code, now)? else {
                return Ok(None);
            };
            let device = accounts::device_by_key(connection, enrolment.org, &key)?;
            Ok(Some((enrolment, device)))
        });
        let (enrolment, known) = found.await?.ok_or_else(code_invalid)?;
        let tenant = self.app.tenant(enrolment.org).ok_or_else(code_invalid)?;
        let person = tenant.world().people.get(&enrolment.user).filter(|p| p.active).cloned();
        let person = person.ok_or_else(code_invalid)?;
        let token = auth::secret();
        let known = known.filter(|device| device.user == person.id);
        let device = match (enrolment.device, known) {
            (None, None) => self.first(&tenant, &person, &token).await?,
            (used, Some(device)) if used.is_none_or(|used| used == device.device) => {
                self.again(&tenant, device.device, used.is_none(), &token).await?
            }
            _ => return Err(code_invalid()),
        };
        Ok(device.map(|device| reply(&tenant, &person, device, token)))
    }

    async fn first(
        &self,
        tenant: &Arc<Tenant>,
        person: &Person,
        token: &str,
    ) -> Result<Option<DeviceId>, Problem> {
        let row = new_device(tenant, person.id, self.key, self.label.clone(), self.now_ms)?;
        let (device, record) = (row.device, record_of(&row, false));
        let (org, code, token) = (tenant.org, self.code, auth::secret_hash(token));
        let written = self.app.write_records_with(tenant, vec![record], move |ledger, _| {
            match accounts::enrol(ledger.tx, org, code, &row, token)? {
                Enrolled::Yes => Ok(()),
                Enrolled::CodeGone => Err(Failure::CodeGone),
                Enrolled::FingerprintTaken => Err(Failure::Problem(key_taken())),
            }
        });
        match written.await {
            Ok(()) => Ok(Some(device)),
            Err(Failure::CodeGone) => Ok(None),
            Err(Failure::Problem(problem)) => Err(problem),
        }
    }

    async fn again(
        &self,
        tenant: &Tenant,
        device: DeviceId,
        fresh: bool,
        token: &str,
    ) -> Result<Option<DeviceId>, Problem> {
        let (org, code, token) = (tenant.org, self.code, auth::secret_hash(token));
        let written = self.app.store.write(move |tx| {
            if fresh && !accounts::use_code(tx, code, device)? {
                return Err(Failure::CodeGone);
            }
            match accounts::set_token(tx, org, device, token)? {
                true => Ok(()),
                false if fresh => Err(Failure::Problem(key_taken())),
                false => Err(Failure::Problem(code_invalid())),
            }
        });
        match written.await {
            Ok(()) => Ok(Some(device)),
            Err(Failure::CodeGone) => Ok(None),
            Err(Failure::Problem(problem)) => Err(problem),
        }
    }
}

fn new_device(
    tenant: &Tenant,
    user: UserId,
    key: [u8; 32],
    label: String,
    now_ms: i64,
) -> Result<DeviceRow, Problem> {
    let own = Actor::fingerprint(&key);
    let is_own = |server: &Keypair| Actor::fingerprint(&server.public()) == own;
    if is_own(&tenant.console.keypair) || tenant.console.former.iter().any(is_own) {
        return Err(key_taken());
    }
    Ok(DeviceRow {
        device: DeviceId::fresh(u64::try_from(now_ms).unwrap_or(0), random()),
        user,
        key,
        label,
        enrolled_ms: now_ms,
        synced_ms: None,
        revoked_ms: None,
        forked: 0,
    })
}

fn record_of(row: &DeviceRow, revoked: bool) -> Record {
    Record::Device(Device { id: row.device, user: row.user, key: row.key, revoked, lost_ms: None })
}

#[derive(Deserialize)]
struct KeyRequest {
    /// The next Ed25519 public key: 32 bytes in base64url.
    key: String,
    /// The next key's agreement: 64 bytes in base64url.
    proof: String,
    /// The present key's agreement.
    handover: String,
}

/// `POST /api/v1/key`
///
/// The phone goes on as another device of the same person, and the key before is worth nothing from now on. The
/// same request again gives the same device with a new token: the first reply was lost.
pub async fn key(
    State(app): State<Arc<App>>,
    Bearer { tenant, sender, revoked, room: _room }: Bearer,
    body: Bytes,
) -> Result<Json<Reply>, Problem> {
    let now = now_ms();
    let request: KeyRequest =
        serde_json::from_slice(&body).map_err(|error| Problem::malformed(error.to_string()))?;
    let key: [u8; 32] = bytes(&request.key)
        .ok_or_else(|| Problem::malformed("key: needs 32 bytes in base64url"))?;
    for (name, signer, proof) in
        [("proof", key, &request.proof), ("handover", sender.key, &request.handover)]
    {
        let proof = bytes(proof)
            .ok_or_else(|| Problem::malformed(format!("{name}: needs 64 bytes in base64url")))?;
        if !agrees(&signer, tenant.id, &sender.key, &key, &proof) {
            return Err(Problem::malformed(format!("{name}: is not this key's agreement")));
        }
    }
    let person = tenant.world().people.get(&sender.user).cloned().ok_or_else(Problem::revoked)?;
    let (org, token) = (tenant.org, auth::secret());
    let found = app.store.read(move |connection| {
        let before = accounts::device(connection, org, sender.device)?;
        Ok((before, accounts::device_by_key(connection, org, &key)?))
    });
    let (before, next) = found.await?;
    let before = before.ok_or_else(Problem::unauthorized)?;
    let hash = auth::secret_hash(&token);
    let device = match next {
        Some(next) if revoked && next.user == sender.user => {
            let set = app.store.write(move |tx| accounts::set_token(tx, org, next.device, hash));
            match set.await? {
                true => next.device,
                false => return Err(Problem::revoked()),
            }
        }
        Some(_) => return Err(key_taken()),
        None if revoked => return Err(Problem::revoked()),
        None => {
            app.limits.keys.check(person.id, now)?;
            let next = new_device(&tenant, person.id, key, before.label.clone(), now)?;
            let device = next.device;
            let records = vec![record_of(&next, false), record_of(&before, true)];
            let written = app.write_records_with(&tenant, records, move |ledger, _| {
                if !accounts::revoke(ledger.tx, org, before.device, now)? {
                    return Err(Problem::revoked());
                }
                // It begins them anew; their files go with the next sweep.
                uploads::end_all(ledger.tx, org, before.device)?;
                // As it is called now: its person may have been erased.
                let label = accounts::device(ledger.tx, org, before.device)?.map(|row| row.label);
                let next = DeviceRow { label: label.unwrap_or_default(), ..next };
                match accounts::put_device(ledger.tx, org, &next, hash)? {
                    // What it wrote while it could not reach the server, it wrote knowing no more than before.
                    true => Ok(accounts::knows_like(ledger.tx, org, next.device, before.device)?),
                    false => Err(key_taken()),
                }
            });
            written.await?;
            app.limits.goes_on(sender.device, device);
            device
        }
    };
    Ok(Json(reply(&tenant, &person, device, token)))
}

enum Failure {
    CodeGone,
    Problem(Problem),
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Problem(error.into())
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn reply(tenant: &Tenant, person: &Person, device: DeviceId, token: String) -> Reply {
    Reply {
        organisation: Organisation { id: tenant.id.to_string(), name: tenant.name.clone() },
        user: User {
            id: person.id.to_string(),
            name: person.name.clone(),
            role: person.role.as_str(),
        },
        device: device.to_string(),
        token,
        server_key: BASE64_URL_SAFE_NO_PAD.encode(tenant.console.keypair.public()),
        log_key: BASE64_URL_SAFE_NO_PAD.encode(tenant.log_key.public()),
        protocol: PROTOCOL,
    }
}

/// Says as little about a wrong code as about one that ran out or was used.
fn code_invalid() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "code_invalid", "This code cannot be used")
        .detail("ask for a new one")
}

fn key_taken() -> Problem {
    Problem::new(StatusCode::CONFLICT, "key_taken", "This key is enrolled already")
        .detail("make a new one")
}
