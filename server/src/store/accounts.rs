//! Sign-ins, sessions, enrolment codes and devices.

use std::collections::{HashMap, VecDeque};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sync_core::id::{Actor, DeviceId, LogHash, UserId};
use sync_core::wire::PushRequest;

use super::StoreError;
use super::log::{self, Org};
use crate::ingest::Sender;

/// Sessions of one person; one more ends the oldest.
pub const SESSIONS_OF_PERSON_MAX: usize = 16;
/// Tokens for copies of the log that one person has given out.
pub const COPIES_OF_PERSON_MAX: usize = 32;

/// SHA-256 of a secret that only its holder has: a cookie, a bearer token, a one-time code.
pub type SecretHash = [u8; 32];

/// What a person signs in to.
#[derive(Debug, Clone)]
pub struct Account {
    /// In which organisation.
    pub org: Org,
    /// Who.
    pub user: UserId,
    /// The password's argon2id hash, if one was set.
    pub password: Option<String>,
}

/// The account of a lower-case address.
pub fn account(connection: &Connection, email: &str) -> Result<Option<Account>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT org, user, password FROM account WHERE email = ?1")?;
    let found = query.query_row([email], |row| {
        let user = UserId::from_bytes(row.get(1)?);
        Ok(Account { org: row.get(0)?, user, password: row.get(2)? })
    });
    Ok(found.optional()?)
}

/// The hash of a person's password, if the person has one.
pub fn password(
    connection: &Connection,
    org: Org,
    user: UserId,
) -> Result<Option<String>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT password FROM account WHERE org = ?1 AND user = ?2")?;
    let found = query.query_row(params![org, user.as_bytes()], |row| row.get(0));
    Ok(found.optional()?.flatten())
}

/// Everyone's address.
pub fn emails(connection: &Connection, org: Org) -> Result<HashMap<UserId, String>, StoreError> {
    let mut query = connection.prepare_cached("SELECT user, email FROM account WHERE org = ?1")?;
    let rows = query.query_map([org], |row| Ok((UserId::from_bytes(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes an account. False when the address or the person has one already.
pub fn create_account(
    tx: &Transaction<'_>,
    org: Org,
    user: UserId,
    email: &str,
    password: &str,
) -> Result<bool, StoreError> {
    let made = tx.execute(
        "INSERT INTO account (org, user, email, password) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
        params![org, user.as_bytes(), email, password],
    )?;
    Ok(made == 1)
}

/// Replaces a password. False when the person has no account.
pub fn set_password(
    tx: &Transaction<'_>,
    org: Org,
    user: UserId,
    password: &str,
) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "UPDATE account SET password = ?3 WHERE org = ?1 AND user = ?2",
        params![org, user.as_bytes(), password],
    )?;
    Ok(changed == 1)
}

/// A signed-in browser.
#[derive(Debug, Clone)]
pub struct Session {
    /// In which organisation.
    pub org: Org,
    /// Who.
    pub user: UserId,
    /// What its forms carry.
    pub csrf: String,
    /// When it began.
    pub created_ms: i64,
    /// When it ends unless it is used before.
    pub expires_ms: i64,
}

/// Begins a session, and forgets those that ended and the oldest of a person who has [`SESSIONS_OF_PERSON_MAX`].
pub fn open_session(
    tx: &Transaction<'_>,
    token: SecretHash,
    session: &Session,
) -> Result<(), StoreError> {
    tx.execute("DELETE FROM session WHERE expires_ms <= ?1", [session.created_ms])?;
    tx.execute(
        "DELETE FROM session WHERE token IN (SELECT token FROM session WHERE org = ?1 AND user = ?2
             ORDER BY created_ms DESC LIMIT -1 OFFSET ?3)",
        params![session.org, session.user.as_bytes(), SESSIONS_OF_PERSON_MAX - 1],
    )?;
    tx.execute(
        "INSERT INTO session (token, org, user, csrf, created_ms, expires_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            token,
            session.org,
            session.user.as_bytes(),
            session.csrf,
            session.created_ms,
            session.expires_ms,
        ],
    )?;
    Ok(())
}

/// A session that has not ended.
pub fn session(
    connection: &Connection,
    token: SecretHash,
    now_ms: i64,
) -> Result<Option<Session>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT org, user, csrf, created_ms, expires_ms FROM session
         WHERE token = ?1 AND expires_ms > ?2",
    )?;
    let found = query.query_row(params![token, now_ms], |row| {
        Ok(Session {
            org: row.get(0)?,
            user: UserId::from_bytes(row.get(1)?),
            csrf: row.get(2)?,
            created_ms: row.get(3)?,
            expires_ms: row.get(4)?,
        })
    });
    Ok(found.optional()?)
}

/// Moves a session's end.
pub fn extend_session(
    tx: &Transaction<'_>,
    token: SecretHash,
    expires_ms: i64,
) -> Result<(), StoreError> {
    tx.execute("UPDATE session SET expires_ms = ?2 WHERE token = ?1", params![token, expires_ms])?;
    Ok(())
}

/// Ends a session.
pub fn close_session(tx: &Transaction<'_>, token: SecretHash) -> Result<(), StoreError> {
    tx.execute("DELETE FROM session WHERE token = ?1", [token])?;
    Ok(())
}

/// Ends a person's sessions but for one.
pub fn close_sessions(
    tx: &Transaction<'_>,
    org: Org,
    user: UserId,
    but: Option<SecretHash>,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM session WHERE org = ?1 AND user = ?2 AND token IS NOT ?3",
        params![org, user.as_bytes(), but],
    )?;
    Ok(())
}

/// Ends every session, and voids every enrolment code and every token for a copy of a log.
pub fn close_everything(tx: &Transaction<'_>) -> Result<(), StoreError> {
    Ok(tx.execute_batch("DELETE FROM session; DELETE FROM enrolment; DELETE FROM mirror")?)
}

/// A one-time code that enrols a device.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// In which organisation.
    pub org: Org,
    /// For whom.
    pub user: UserId,
    /// Until when.
    pub expires_ms: i64,
    /// Who has used it.
    pub device: Option<DeviceId>,
}

/// Keeps a new code; the person's older ones and all that ran out are gone.
pub fn put_enrolment(
    tx: &Transaction<'_>,
    code: SecretHash,
    enrolment: &Enrolment,
    now_ms: i64,
) -> Result<(), StoreError> {
    drop_enrolments(tx, enrolment.org, enrolment.user)?;
    tx.execute("DELETE FROM enrolment WHERE expires_ms <= ?1", [now_ms])?;
    tx.execute(
        "INSERT INTO enrolment (code, org, user, expires_ms) VALUES (?1, ?2, ?3, ?4)",
        params![code, enrolment.org, enrolment.user.as_bytes(), enrolment.expires_ms],
    )?;
    Ok(())
}

/// Forgets a person's codes.
pub fn drop_enrolments(tx: &Transaction<'_>, org: Org, user: UserId) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM enrolment WHERE org = ?1 AND user = ?2",
        params![org, user.as_bytes()],
    )?;
    Ok(())
}

/// A code that has not run out, used or not.
pub fn enrolment(
    connection: &Connection,
    code: SecretHash,
    now_ms: i64,
) -> Result<Option<Enrolment>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT org, user, expires_ms, device FROM enrolment WHERE code = ?1 AND expires_ms > ?2",
    )?;
    let found = query.query_row(params![code, now_ms], |row| {
        Ok(Enrolment {
            org: row.get(0)?,
            user: UserId::from_bytes(row.get(1)?),
            expires_ms: row.get(2)?,
            device: row.get::<_, Option<_>>(3)?.map(DeviceId::from_bytes),
        })
    });
    Ok(found.optional()?)
}

/// Until when each person has a code that nobody has used.
pub fn open_enrolments(
    connection: &Connection,
    org: Org,
    now_ms: i64,
) -> Result<HashMap<UserId, i64>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT user, expires_ms FROM enrolment
         WHERE org = ?1 AND device IS NULL AND expires_ms > ?2",
    )?;
    let rows = query.query_map(params![org, now_ms], |row| {
        Ok((UserId::from_bytes(row.get(0)?), row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A phone as its enrolment and its last sync left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Which.
    pub device: DeviceId,
    /// Whose.
    pub user: UserId,
    /// Its public key.
    pub key: [u8; 32],
    /// What its owner calls it.
    pub label: String,
    /// Since when.
    pub enrolled_ms: i64,
    /// When it was last heard of.
    pub synced_ms: Option<i64>,
    /// Since when it is not trusted any more.
    pub revoked_ms: Option<i64>,
    /// Pushes of a copied store.
    pub forked: u64,
}

const DEVICE: &str = "SELECT device, user, key, label, enrolled_ms, synced_ms, revoked_ms, forked
                      FROM device WHERE org = ?1";

fn device_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<DeviceRow> {
    Ok(DeviceRow {
        device: DeviceId::from_bytes(row.get(0)?),
        user: UserId::from_bytes(row.get(1)?),
        key: row.get(2)?,
        label: row.get(3)?,
        enrolled_ms: row.get(4)?,
        synced_ms: row.get(5)?,
        revoked_ms: row.get(6)?,
        forked: row.get(7)?,
    })
}

/// All devices, the newest first.
pub fn devices(connection: &Connection, org: Org) -> Result<Vec<DeviceRow>, StoreError> {
    let mut query =
        connection.prepare_cached(&format!("{DEVICE} ORDER BY enrolled_ms DESC, device"))?;
    let rows = query.query_map([org], device_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Changes of a key that are followed each way.
const KEYS_FOLLOWED_MAX: usize = 1_000;

/// A phone under each of its keys, the newest last; nothing if there is no such device.
pub fn keys_of(
    connection: &Connection,
    org: Org,
    named: DeviceId,
) -> Result<Vec<DeviceRow>, StoreError> {
    let Some(row) = device(connection, org, named)? else { return Ok(Vec::new()) };
    let mut keys = VecDeque::from([row]);
    // One ends at the very moment at which the next begins.
    let beside = |column: &str| {
        connection.prepare_cached(&format!(
            "{DEVICE} AND user = ?2 AND {column} = ?3 AND label = ?4 AND device <> ?5"
        ))
    };
    let (mut before, mut next) = (beside("revoked_ms")?, beside("enrolled_ms")?);
    let of = |row: &DeviceRow, at_ms: i64| {
        (*row.user.as_bytes(), at_ms, row.label.clone(), *row.device.as_bytes())
    };
    for _ in 0..KEYS_FOLLOWED_MAX {
        let Some(first) = keys.front() else { break };
        let (user, at_ms, label, device) = of(first, first.enrolled_ms);
        match before.query_row(params![org, user, at_ms, label, device], device_row).optional()? {
            Some(earlier) if keys.iter().all(|row| row.device != earlier.device) => {
                keys.push_front(earlier);
            }
            _ => break,
        }
    }
    for _ in 0..KEYS_FOLLOWED_MAX {
        let Some((last, ended)) = keys.back().and_then(|row| Some((row, row.revoked_ms?))) else {
            break;
        };
        let (user, at_ms, label, device) = of(last, ended);
        match next.query_row(params![org, user, at_ms, label, device], device_row).optional()? {
            Some(later) if keys.iter().all(|row| row.device != later.device) => {
                keys.push_back(later);
            }
            _ => break,
        }
    }
    Ok(keys.into())
}

/// One device.
pub fn device(
    connection: &Connection,
    org: Org,
    device: DeviceId,
) -> Result<Option<DeviceRow>, StoreError> {
    let mut query = connection.prepare_cached(&format!("{DEVICE} AND device = ?2"))?;
    Ok(query.query_row(params![org, device.as_bytes()], device_row).optional()?)
}

/// Whether a device is enrolled and its access stands.
pub fn trusts(connection: &Connection, org: Org, device: DeviceId) -> Result<bool, StoreError> {
    Ok(self::device(connection, org, device)?.is_some_and(|row| row.revoked_ms.is_none()))
}

/// The device with this public key.
pub fn device_by_key(
    connection: &Connection,
    org: Org,
    key: &[u8; 32],
) -> Result<Option<DeviceRow>, StoreError> {
    let mut query =
        connection.prepare_cached(&format!("{DEVICE} AND fingerprint = ?2 AND key = ?3"))?;
    let found = query.query_row(params![org, Actor::fingerprint(key), key], device_row);
    Ok(found.optional()?)
}

/// What became of a try to enrol a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolled {
    /// It is enrolled.
    Yes,
    /// The code was used or replaced in the meantime.
    CodeGone,
    /// Another device has a key with this fingerprint.
    FingerprintTaken,
}

/// Enrols a device with a code.
pub fn enrol(
    tx: &Transaction<'_>,
    org: Org,
    code: SecretHash,
    row: &DeviceRow,
    token: SecretHash,
) -> Result<Enrolled, StoreError> {
    if !use_code(tx, code, row.device)? {
        return Ok(Enrolled::CodeGone);
    }
    Ok(match put_device(tx, org, row, token)? {
        true => Enrolled::Yes,
        false => Enrolled::FingerprintTaken,
    })
}

/// Writes down a new device. False when another one has a key with this fingerprint.
pub fn put_device(
    tx: &Transaction<'_>,
    org: Org,
    row: &DeviceRow,
    token: SecretHash,
) -> Result<bool, StoreError> {
    let made = tx.execute(
        // It can have written nothing before now, whatever it will say.
        "INSERT INTO device (org, device, user, key, fingerprint, token, label, enrolled_ms, acked)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, coalesce(max(sequence) + 1, 0) FROM log WHERE org = ?1
         ON CONFLICT (org, fingerprint) DO NOTHING",
        params![
            org,
            row.device.as_bytes(),
            row.user.as_bytes(),
            row.key,
            Actor::fingerprint(&row.key),
            token,
            row.label,
            row.enrolled_ms,
        ],
    )?;
    Ok(made == 1)
}

/// A device is known to know as much of the log as another one is.
pub fn knows_like(
    tx: &Transaction<'_>,
    org: Org,
    device: DeviceId,
    other: DeviceId,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE device SET acked = (SELECT acked FROM device WHERE org = ?1 AND device = ?3)
         WHERE org = ?1 AND device = ?2",
        params![org, device.as_bytes(), other.as_bytes()],
    )?;
    Ok(())
}

/// Uses a code. False when it was used or replaced in the meantime.
pub fn use_code(
    tx: &Transaction<'_>,
    code: SecretHash,
    device: DeviceId,
) -> Result<bool, StoreError> {
    let used = tx.execute(
        "UPDATE enrolment SET device = ?2 WHERE code = ?1 AND device IS NULL",
        params![code, device.as_bytes()],
    )?;
    Ok(used == 1)
}

/// Gives a device another token; the one before is worth nothing from now on. False when it is revoked.
pub fn set_token(
    tx: &Transaction<'_>,
    org: Org,
    device: DeviceId,
    token: SecretHash,
) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "UPDATE device SET token = ?3 WHERE org = ?1 AND device = ?2 AND revoked_ms IS NULL",
        params![org, device.as_bytes(), token],
    )?;
    Ok(changed == 1)
}

/// Takes a device's access. False when it had none any more.
pub fn revoke(
    tx: &Transaction<'_>,
    org: Org,
    device: DeviceId,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "UPDATE device SET revoked_ms = ?3 WHERE org = ?1 AND device = ?2 AND revoked_ms IS NULL",
        params![org, device.as_bytes(), now_ms],
    )?;
    Ok(changed == 1)
}

/// A token that was given out for a copy of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// What is kept of it.
    pub token: SecretHash,
    /// Who keeps the copy.
    pub label: String,
    /// Who gave it out.
    pub by: UserId,
    /// When.
    pub created_ms: i64,
    /// When it was last used, to within [`USED_STEP_MS`].
    pub used_ms: Option<i64>,
}

/// The use of a token is noted when the one before was this long ago, so that not every read is a write.
pub const USED_STEP_MS: i64 = 3_600_000;

const MIRROR: &str = "SELECT token, label, by, created_ms, used_ms FROM mirror WHERE org = ?1";

fn mirror_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Mirror> {
    Ok(Mirror {
        token: row.get(0)?,
        label: row.get(1)?,
        by: UserId::from_bytes(row.get(2)?),
        created_ms: row.get(3)?,
        used_ms: row.get(4)?,
    })
}

/// The tokens for copies of an organisation's log that are good, or those of them that this person gave out; the
/// newest first.
pub fn mirrors(
    connection: &Connection,
    org: Org,
    by: Option<UserId>,
) -> Result<Vec<Mirror>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "{MIRROR} AND (?2 IS NULL OR by = ?2) ORDER BY created_ms DESC, token"
    ))?;
    let rows = query.query_map(params![org, by.as_ref().map(UserId::as_bytes)], mirror_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A token for reading the entries of this organisation's log, if it is one.
pub fn mirror(
    connection: &Connection,
    org: Org,
    token: SecretHash,
) -> Result<Option<Mirror>, StoreError> {
    let mut query = connection.prepare_cached(&format!("{MIRROR} AND token = ?2"))?;
    Ok(query.query_row(params![org, token], mirror_row).optional()?)
}

/// Notes that a token was used.
pub fn mirrored(tx: &Transaction<'_>, token: SecretHash, now_ms: i64) -> Result<(), StoreError> {
    tx.execute("UPDATE mirror SET used_ms = ?2 WHERE token = ?1", params![token, now_ms])?;
    Ok(())
}

/// Withdraws a token, if it is one of those that this person gave out. False when it is none.
pub fn drop_mirror(
    tx: &Transaction<'_>,
    org: Org,
    token: SecretHash,
    by: Option<UserId>,
) -> Result<bool, StoreError> {
    let gone = tx.execute(
        "DELETE FROM mirror WHERE org = ?1 AND token = ?2 AND (?3 IS NULL OR by = ?3)",
        params![org, token, by.as_ref().map(UserId::as_bytes)],
    )?;
    Ok(gone == 1)
}

/// Withdraws all tokens that a person gave out.
pub fn drop_mirrors(tx: &Transaction<'_>, org: Org, by: UserId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM mirror WHERE org = ?1 AND by = ?2", params![org, by.as_bytes()])?;
    Ok(())
}

/// Gives out a token for reading the entries of the log; whether its giver may have one more.
pub fn put_mirror(
    tx: &Transaction<'_>,
    org: Org,
    token: SecretHash,
    label: &str,
    by: UserId,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let given = tx.execute(
        "INSERT INTO mirror (token, org, label, by, created_ms) SELECT ?1, ?2, ?3, ?4, ?5
         WHERE (SELECT count(*) FROM mirror WHERE org = ?2 AND by = ?4) < ?6",
        params![token, org, label, by.as_bytes(), now_ms, COPIES_OF_PERSON_MAX],
    )?;
    Ok(given > 0)
}

/// A device by the SHA-256 of its token; the flag says that it is revoked.
pub fn device_by_token(
    connection: &Connection,
    token: SecretHash,
) -> Result<Option<(Org, Sender, bool)>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT org, device, key, user, revoked_ms IS NOT NULL FROM device WHERE token = ?1",
    )?;
    let found = query.query_row([token], |row| {
        let sender = Sender {
            device: DeviceId::from_bytes(row.get(1)?),
            key: row.get(2)?,
            user: UserId::from_bytes(row.get(3)?),
        };
        Ok((row.get(0)?, sender, row.get(4)?))
    });
    Ok(found.optional()?)
}

/// Pushes of a device that are remembered: as long as the network brings an older one late.
const PUSHES_KEPT: usize = 16;
/// All that a device's name is on comes along, whatever it says that it has.
const ALL: u64 = i64::MAX as u64;

/// A push that is remembered.
struct Push {
    name: LogHash,
    /// The one that it names before it.
    previous: Option<LogHash>,
}

/// In the place of a push's name where there is none.
const NO_PUSH: [u8; 32] = [0; 32];

impl Push {
    /// Those that are stored, the newest first.
    fn kept(bytes: &[u8]) -> Vec<Self> {
        let names: Vec<[u8; 32]> = bytes.as_chunks().0.to_vec();
        let push = |[name, previous]: &[[u8; 32]; 2]| {
            let previous = Some(*previous).filter(|previous| *previous != NO_PUSH);
            Self { name: LogHash(*name), previous: previous.map(LogHash) }
        };
        names.as_chunks().0.iter().map(push).collect()
    }

    fn to_bytes(&self) -> [[u8; 32]; 2] {
        [self.name.0, self.previous.map_or(NO_PUSH, |previous| previous.0)]
    }
}

/// A device's newest push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewestPush {
    /// Its name.
    pub name: Option<LogHash>,
    /// Of what was written from this sequence on, whoever sent it has all that the device's name is on.
    pub since: u64,
    /// When the device was last heard of.
    pub synced_ms: Option<i64>,
    /// How many lines of the log it is known to know.
    pub acked: u64,
}

/// The device's newest push.
pub fn newest_push(
    connection: &Connection,
    org: Org,
    device: DeviceId,
) -> Result<NewestPush, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT pushes, own_since, synced_ms, acked FROM device WHERE org = ?1 AND device = ?2",
    )?;
    let found = query.query_row(params![org, device.as_bytes()], |row| {
        let pushes: Option<Vec<u8>> = row.get(0)?;
        let newest = pushes.and_then(|pushes| Push::kept(&pushes).into_iter().next());
        let name = newest.map(|push| push.name);
        Ok(NewestPush { name, since: row.get(1)?, synced_ms: row.get(2)?, acked: row.get(3)? })
    });
    Ok(found.optional()?.unwrap_or_default())
}

/// Notes that a device was heard of, and that it knows so many lines of the log.
pub fn synced(
    tx: &Transaction<'_>,
    org: Org,
    device: DeviceId,
    known: u64,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE device SET acked = max(acked, ?3), synced_ms = ?4 WHERE org = ?1 AND device = ?2",
    )?
    .execute(params![org, device.as_bytes(), known, now_ms])?;
    Ok(())
}

/// What another device has brought is this one's: of what was written up to here it may not have all that its name is on.
pub fn brought(
    tx: &Transaction<'_>,
    org: Org,
    device: DeviceId,
    size: u64,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE device SET own_since = max(own_since, ?3) WHERE org = ?1 AND device = ?2",
    )?
    .execute(params![org, device.as_bytes(), size])?;
    Ok(())
}

/// Notes a push; whether it follows, or, as the protocol has it, whether `copied` is not to be told (section 12, The
/// chain, whose five cases these are, in its order):
///
/// 1. one that is remembered already has been brought twice, and is not noted;
/// 2. nor is one that names what was forgotten with all else, or whose `now` is of another life of the log: after a
///    restore none is remembered until one begins anew, and none ever whose device had not heard of the restore;
/// 3. one follows that names none, the newest or a try of it, or what those name, as a retry whose reply was lost does. What
///    names none may be an old beginning: the tries of the push before it count too. It becomes the newest;
/// 4. one that names another, which none names so far, is of a copy: only a copy heard the reply to that. It becomes the
///    newest too, and is counted;
/// 5. any other is of a copy, or late over the network: it is noted behind the tries.
///
/// `None`, and nothing is noted, when the device is revoked.
pub fn pushed(
    tx: &Transaction<'_>,
    org: Org,
    device: DeviceId,
    push: &PushRequest,
    name: LogHash,
    now_ms: i64,
) -> Result<Option<bool>, StoreError> {
    let PushRequest { previous, now, .. } = push;
    let previous = *previous;
    let found = tx
        .prepare_cached(
            "SELECT pushes, own_since FROM device WHERE org = ?1 AND device = ?2 AND revoked_ms IS NULL",
        )?
        .query_row(params![org, device.as_bytes()], |row| {
            Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get(1)?))
        });
    let Some((pushes, own_since)) = found.optional()? else { return Ok(None) };
    let mut pushes = Push::kept(&pushes.unwrap_or_default());
    let again = pushes.iter().any(|push| push.name == name);
    let lives = log::lives(tx, org)?;
    let is_before = |life| lives.last().is_some_and(|(newest, _)| *newest != life);
    let is_before = now.life.is_some_and(is_before);
    // The network has brought it twice, or what it names was forgotten.
    if again || (pushes.is_empty() && previous.is_some()) || is_before {
        if is_before && !again {
            brought(tx, org, device, ALL)?; // it may be a copy's
        }
        synced(tx, org, device, 0, now_ms)?;
        return Ok(Some(true));
    }
    let newest = pushes.first().map(|newest| newest.name);
    // The newest, and the tries of the same push that came right before it. What names none may be an old beginning: those
    // before it then too.
    let mut tries = pushes.chunk_by(|push, older| push.previous == older.previous);
    let first = tries.next().unwrap_or_default();
    let begins = first.iter().all(|newest| newest.previous.is_none());
    let second = tries.next().filter(|_| begins).unwrap_or_default();
    let tips = first.len() + second.len();
    let is = |push: &Push| Some(push.name) == previous;
    let follows_try = |push: &Push| is(push) || push.previous == previous;
    let follows = previous.is_none() || pushes[..tips].iter().any(follows_try);
    let named = pushes.iter().any(|push| push.previous == previous);
    let copy = !follows && !named && pushes.iter().any(is);
    // A retry whose reply was lost and a copy of the store look alike. Whoever it is may not have what was
    // written under this device's name before.
    let expected = newest.is_none_or(|newest| Some(newest) == previous) && own_since != ALL;
    let since = match (follows || copy, expected) {
        (false, _) => ALL,
        (true, true) => own_since,
        (true, false) => tx
            .prepare_cached("SELECT coalesce(max(sequence) + 1, 0) FROM log WHERE org = ?1")?
            .query_row([org], |row| row.get(0))?,
    };
    pushes.insert(if follows || copy { 0 } else { tips }, Push { name, previous });
    pushes.truncate(PUSHES_KEPT);
    tx.prepare_cached(
        "UPDATE device SET pushes = ?3, own_since = ?4, synced_ms = ?5, forked = forked + ?6
         WHERE org = ?1 AND device = ?2",
    )?
    .execute(params![
        org,
        device.as_bytes(),
        pushes.iter().flat_map(Push::to_bytes).collect::<Vec<_>>().as_flattened(),
        since,
        now_ms,
        i64::from(copy),
    ])?;
    Ok(Some(follows))
}

#[cfg(test)]
mod tests {
    use sync_core::id::LogOrigin;
    use sync_core::model::capture::Moment;
    use sync_core::wire::PROTOCOL;

    use super::*;

    const DEVICE: DeviceId = DeviceId::from_bytes([5; 16]);

    fn name(n: u8) -> LogHash {
        LogHash([n; 32])
    }

    fn database() -> Connection {
        let mut db = Connection::open_in_memory().unwrap();
        super::super::migrate(&mut db).unwrap();
        db
    }

    /// A phone of one person, enrolled then.
    fn phone(device: DeviceId, enrolled_ms: i64) -> DeviceRow {
        let key = [device.as_bytes()[0]; 32];
        let (user, label) = (UserId::from_bytes([6; 16]), "phone".into());
        let (synced_ms, revoked_ms, forked) = (None, None, 0);
        DeviceRow { device, user, key, label, enrolled_ms, synced_ms, revoked_ms, forked }
    }

    #[test]
    fn a_phone_is_followed_through_its_changes_of_key() {
        let mut db = database();
        let tx = db.transaction().unwrap();
        let id = |n: u8| DeviceId::from_bytes([n; 16]);
        for (n, enrolled_ms, revoked_ms) in
            [(1, 10, Some(20)), (2, 20, Some(30)), (3, 30, None), (4, 5, Some(25)), (5, 40, None)]
        {
            assert!(put_device(&tx, 1, &phone(id(n), enrolled_ms), [n; 32]).unwrap());
            revoked_ms.map(|at_ms| revoke(&tx, 1, id(n), at_ms).unwrap());
        }
        let keys = |n| keys_of(&tx, 1, id(n)).unwrap().into_iter().map(|row| row.device);
        for n in [1, 2, 3] {
            assert!(keys(n).eq([1, 2, 3].map(id)));
        }
        assert!(keys(4).eq([id(4)]), "it was withdrawn, and no other began then");
        assert!(keys(5).eq([id(5)]) && keys(6).next().is_none());
    }

    /// Pushes in the order in which they come, each with the one that it names before it; which of them follow, and how
    /// often the phone is counted as copied.
    fn come(pushes: &[(u8, u8)]) -> (Vec<bool>, u64) {
        let in_one_life: Vec<_> = pushes.iter().map(|(this, before)| (*this, *before, 2)).collect();
        come_in(&in_one_life)
    }

    /// The same of a log that has had two lives; in which each push was made.
    fn come_in(pushes: &[(u8, u8, u8)]) -> (Vec<bool>, u64) {
        let mut db = database();
        let tx = in_its_second_life(&mut db);
        let follows = pushes.iter().map(|made| comes(&tx, *made)).collect();
        (follows, device(&tx, 1, DEVICE).unwrap().unwrap().forked)
    }

    fn origin(life: u8) -> LogOrigin {
        LogOrigin::from_bytes([life; 16])
    }

    fn in_its_second_life(db: &mut Connection) -> Transaction<'_> {
        let tx = db.transaction().unwrap();
        for life in [1, 2] {
            let origin = origin(life);
            let row = params![1, life, origin.as_bytes(), [0u8; 32]];
            tx.execute("INSERT INTO origin VALUES (?1, ?2, ?3, ?4)", row).unwrap();
        }
        assert!(put_device(&tx, 1, &phone(DEVICE, 0), [8; 32]).unwrap());
        tx
    }

    fn comes(tx: &Transaction<'_>, (this, before, life): (u8, u8, u8)) -> bool {
        let life = Some(origin(life).life());
        let (wall_ms, boot, boot_ms, anchor, skew_ms) = (0, 0, 0, 0, None);
        let now = Moment { wall_ms, boot, boot_ms, anchor, skew_ms, life };
        let previous = Some(before).filter(|before| *before > 0).map(name);
        let (protocol, groups, notes) = (PROTOCOL, Vec::new(), Vec::new());
        let push = PushRequest { protocol, now, previous, groups, notes };
        pushed(tx, 1, DEVICE, &push, name(this), 0).unwrap().unwrap()
    }

    #[test]
    fn what_comes_from_before_a_restore_may_be_a_copys_and_is_given_to_the_phone() {
        let mut db = database();
        let tx = in_its_second_life(&mut db);
        assert!(comes(&tx, (1, 0, 2)) && comes(&tx, (2, 1, 2)));
        let since = || newest_push(&tx, 1, DEVICE).unwrap().since;
        assert_ne!(since(), ALL);
        assert!(comes(&tx, (9, 8, 1)));
        assert_eq!(since(), ALL, "the phone has none of it");
    }

    #[test]
    fn what_the_network_brings_late_makes_no_phone_a_copy() {
        // 3 is a retry of 2, which comes late: beside it, after the next, and after many.
        assert_eq!(come(&[(1, 0), (3, 1), (2, 1), (4, 3), (5, 4)]), (vec![true; 5], 0));
        let late = vec![true, true, true, false, true, true];
        assert_eq!(come(&[(1, 0), (3, 1), (4, 3), (2, 1), (5, 4), (6, 5)]), (late, 0));
        let mut many = vec![(1, 0), (3, 1), (4, 3)];
        many.extend((5..16).map(|n| (n, n - 1)));
        many.extend([(2, 1), (16, 15), (17, 16)]);
        let (follows, forked) = come(&many);
        assert_eq!(follows.iter().filter(|follows| !**follows).count(), 1);
        assert!(!follows[many.len() - 3] && forked == 0);
        // The same once more, however old; and a beginning.
        assert_eq!(come(&[(1, 0), (2, 1), (3, 2), (4, 3), (1, 0), (5, 4)]), (vec![true; 6], 0));
        assert_eq!(come(&[(2, 0), (3, 2), (1, 0), (4, 3)]), (vec![true; 4], 0));
        // After a restore none is known: a phone names one until it hears of that, and then what is older comes.
        let restored = [(2, 1), (9, 8), (3, 0), (7, 6), (4, 3)];
        assert_eq!(come(&restored), (vec![true, true, true, false, true], 0));
        // And a phone that begins anew, and again, is none.
        let anew = [(1, 0), (2, 1), (3, 0), (4, 3), (5, 0), (6, 5)];
        assert_eq!(come(&anew), (vec![true; 6], 0));
        // All that was made before a restore comes once more, its beginning first.
        let old = [(5, 0, 2), (6, 5, 2), (1, 0, 1), (2, 1, 1), (3, 2, 1), (7, 6, 2)];
        assert_eq!(come_in(&old), (vec![true; 6], 0));
    }

    #[test]
    fn a_copy_is_told_so() {
        // Its first push looks like a retry; whichever of both comes second after that is told.
        let both = vec![true, true, true, true, false, false, false];
        let turns = [(1, 0), (2, 1), (12, 1), (3, 2), (13, 12), (4, 3), (14, 13)];
        assert_eq!(come(&turns), (both, 3));
        // One that goes on from what was long ago.
        let old = vec![true, true, true, true, false, false, false];
        let copy = [(1, 0), (2, 1), (3, 2), (4, 3), (12, 1), (13, 12), (5, 4)];
        assert_eq!(come(&copy), (old, 2));
        // One from before the first.
        let begins = [(1, 0), (2, 1), (11, 0), (3, 2), (12, 11), (4, 3)];
        assert_eq!(come(&begins), (vec![true, true, true, true, false, false], 2));
        let unknown = vec![true, true, false, true, false, false];
        let copy = [(1, 0), (2, 1), (12, 99), (3, 2), (13, 12), (4, 3)];
        assert_eq!(come(&copy), (unknown, 2));
    }
}
