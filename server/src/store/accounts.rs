//! Sign-ins, sessions, enrolment codes and devices.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sync_core::id::{DeviceId, LogHash, UserId};

use super::StoreError;
use super::log::Org;
use crate::ingest::Sender;

/// A device by the SHA-256 of its token; the flag says that it is revoked.
pub fn device_by_token(
    connection: &Connection,
    token: [u8; 32],
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

/// The name of the device's newest push.
pub fn newest_push(
    connection: &Connection,
    org: Org,
    device: DeviceId,
) -> Result<Option<LogHash>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT last_push FROM device WHERE org = ?1 AND device = ?2")?;
    let pushes: Option<Vec<u8>> =
        query.query_row(params![org, device.as_bytes()], |row| row.get(0)).optional()?.flatten();
    Ok(pushes.and_then(|p| p.get(32..64)?.try_into().ok()).map(LogHash))
}

/// Notes a push. Each names the one before it; one that follows neither the newest nor, as a retry whose
/// reply was lost does, the one before that, comes from a copied store.
pub fn pushed(
    tx: &Transaction<'_>,
    org: Org,
    device: DeviceId,
    previous: Option<LogHash>,
    name: LogHash,
    now_ms: i64,
) -> Result<(), StoreError> {
    let previous = previous.map_or([0; 32], |p| p.0);
    let pushes: Option<Vec<u8>> = tx
        .prepare_cached("SELECT last_push FROM device WHERE org = ?1 AND device = ?2")?
        .query_row(params![org, device.as_bytes()], |row| row.get(0))?;
    let follows = match &pushes {
        None => true,
        Some(pushes) => pushes.chunks(32).any(|known| known == previous),
    };
    tx.prepare_cached(
        "UPDATE device SET last_push = ?3, synced_ms = ?4, forked = forked + ?5
         WHERE org = ?1 AND device = ?2",
    )?
    .execute(params![
        org,
        device.as_bytes(),
        [previous, name.0].concat(),
        now_ms,
        i64::from(!follows),
    ])?;
    Ok(())
}
