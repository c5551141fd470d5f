//! Photos that are here, photos that are on their way, and the documents that refer to them.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sync_core::id::{BlobHash, DeviceId, DocId};

use super::StoreError;
use super::log::Org;

/// Most uploads that one device can have open.
pub const OPEN_MAX: u64 = 64;
/// Most bytes that one device's open uploads can announce.
pub const OPEN_BYTES_MAX: u64 = 256 << 20;
/// How long an upload can go on after it was last announced.
pub const LIFETIME_MS: i64 = 7 * 24 * 3_600_000;

/// An upload: one device sends one photo, however often it has to begin.
///
/// Its text, `<organisation>.<device>.<hash>`, names its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UploadId {
    /// In which organisation.
    pub org: Org,
    /// From which device.
    pub device: DeviceId,
    /// What its content is going to be.
    pub hash: BlobHash,
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.org, self.device, self.hash)
    }
}

impl FromStr for UploadId {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let mut parts = name.split('.');
        let (Some(org), Some(device), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        Ok(Self {
            org: org.parse().map_err(drop)?,
            device: device.parse().map_err(drop)?,
            hash: hash.parse().map_err(drop)?,
        })
    }
}

/// An upload that is not whole yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    /// How many bytes it is going to have.
    pub length: u64,
    /// When it ends unfinished.
    pub expires_ms: i64,
}

/// A photo that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Photo {
    /// The size of its file.
    pub bytes: u64,
    /// Pixels from left to right, upright.
    pub width: u32,
    /// Pixels from top to bottom, upright.
    pub height: u32,
    /// When it was whole.
    pub arrived_ms: i64,
}

/// What became of an announced upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It is new, or begins anew because it was announced with another length before.
    Afresh(Upload),
    /// It goes on.
    Again(Upload),
    /// The device has too many others open.
    TooMany,
}

/// Opens an upload of this length, or prolongs it.
pub fn open(
    tx: &Transaction<'_>,
    id: UploadId,
    length: u64,
    now_ms: i64,
) -> Result<Opened, StoreError> {
    let known: Option<u64> = tx
        .prepare_cached("SELECT length FROM upload WHERE org = ?1 AND device = ?2 AND hash = ?3")?
        .query_row(params![id.org, id.device.as_bytes(), id.hash.0], |row| row.get(0))
        .optional()?;
    let (count, bytes): (u64, u64) = tx
        .prepare_cached(
            "SELECT count(*), coalesce(sum(length), 0) FROM upload
             WHERE org = ?1 AND device = ?2 AND hash <> ?3 AND expires_ms > ?4",
        )?
        .query_row(params![id.org, id.device.as_bytes(), id.hash.0, now_ms], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if count >= OPEN_MAX || bytes.saturating_add(length) > OPEN_BYTES_MAX {
        return Ok(Opened::TooMany);
    }
    let upload = Upload { length, expires_ms: now_ms.saturating_add(LIFETIME_MS) };
    tx.prepare_cached(
        "INSERT OR REPLACE INTO upload (org, device, hash, length, expires_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![id.org, id.device.as_bytes(), id.hash.0, length, upload.expires_ms])?;
    Ok(if known == Some(length) { Opened::Again(upload) } else { Opened::Afresh(upload) })
}

/// An open upload, if there is one and its time is not over.
pub fn upload(
    connection: &Connection,
    id: UploadId,
    now_ms: i64,
) -> Result<Option<Upload>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT length, expires_ms FROM upload
         WHERE org = ?1 AND device = ?2 AND hash = ?3 AND expires_ms > ?4",
    )?;
    let found = query.query_row(params![id.org, id.device.as_bytes(), id.hash.0, now_ms], |row| {
        Ok(Upload { length: row.get(0)?, expires_ms: row.get(1)? })
    });
    Ok(found.optional()?)
}

/// Ends an upload; whether it was open.
pub fn close(tx: &Transaction<'_>, id: UploadId) -> Result<bool, StoreError> {
    let closed = tx
        .prepare_cached("DELETE FROM upload WHERE org = ?1 AND device = ?2 AND hash = ?3")?
        .execute(params![id.org, id.device.as_bytes(), id.hash.0])?;
    Ok(closed > 0)
}

/// Notes that a photo is here, which ends its upload.
pub fn arrived(tx: &Transaction<'_>, id: UploadId, photo: &Photo) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO blob (org, hash, bytes, width, height, arrived_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        id.org,
        id.hash.0,
        photo.bytes,
        photo.width,
        photo.height,
        photo.arrived_ms,
    ])?;
    tx.prepare_cached("UPDATE photo SET here = 1 WHERE org = ?1 AND hash = ?2")?
        .execute(params![id.org, id.hash.0])?;
    close(tx, id)?;
    Ok(())
}

/// Uploads that nobody will finish: their time is over, or the photo came another way.
pub fn stale(connection: &Connection, now_ms: i64) -> Result<Vec<UploadId>, StoreError> {
    let mut query = connection.prepare(
        "SELECT org, device, hash FROM upload u
         WHERE expires_ms <= ?1
            OR EXISTS (SELECT 1 FROM blob b WHERE b.org = u.org AND b.hash = u.hash)",
    )?;
    let found = query.query_map([now_ms], |row| {
        let device = DeviceId::from_bytes(row.get(1)?);
        Ok(UploadId { org: row.get(0)?, device, hash: BlobHash(row.get(2)?) })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The photos of these that are here. One that is absent is awaited: something refers to it, and its bytes
/// have not come yet.
pub fn photo_state(
    connection: &Connection,
    org: Org,
    hashes: &[BlobHash],
) -> Result<HashMap<BlobHash, Photo>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT bytes, width, height, arrived_ms FROM blob WHERE org = ?1 AND hash = ?2",
    )?;
    let mut here = HashMap::new();
    for hash in hashes {
        let found = query.query_row(params![org, hash.0], |row| {
            Ok(Photo {
                bytes: row.get(0)?,
                width: row.get(1)?,
                height: row.get(2)?,
                arrived_ms: row.get(3)?,
            })
        });
        here.extend(found.optional()?.map(|photo| (*hash, photo)));
    }
    Ok(here)
}

/// The documents that refer to a photo: who sees one of them may see it.
pub fn photo_documents(
    connection: &Connection,
    org: Org,
    hash: BlobHash,
) -> Result<Vec<DocId>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT document FROM photo WHERE org = ?1 AND hash = ?2")?;
    let mut rows = query.query(params![org, hash.0])?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        let document = DocId::from_bytes(name)
            .ok_or_else(|| StoreError::Damaged("a document's name".into()))?;
        documents.push(document);
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_reads_back_and_nothing_else_reads() {
        let (device, hash) = (DeviceId::from_bytes([7; 16]), BlobHash::of(b"x"));
        let id = UploadId { org: 3, device, hash };
        assert_eq!(id.to_string().parse(), Ok(id));
        for name in ["", "lost+found", ".", "..", "1..", &format!("{id}.part"), &format!("../{id}")]
        {
            assert_eq!(name.parse::<UploadId>(), Err(()), "{name}");
        }
    }
}
