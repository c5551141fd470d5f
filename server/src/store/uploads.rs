//! Photos that are here, photos that are on their way, and the documents that refer to them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sync_core::id::{BlobHash, DeviceId, DocId, UserId};
use sync_core::model::people::Audience;

use super::log::{self, AudienceId, Org};
use super::visits::PhotoRow;
use super::{StoreError, signals};

/// Most uploads that one device can have open.
pub const OPEN_MAX: u64 = 64;
/// Most bytes that one device's open uploads can announce.
pub const OPEN_BYTES_MAX: u64 = 256 << 20;
/// How often the process may die while it decodes a photo before nobody begins again.
pub const DEATHS_MAX: u32 = 2;
/// For how long nobody does.
pub const TRIED_MS: i64 = 7 * 24 * 3_600_000;
/// How long an upload can go on after it was last announced.
pub const LIFETIME_MS: i64 = 7 * DAY_MS;
const DAY_MS: i64 = 24 * 3_600_000;

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
    /// The organisation's photos have no room for it.
    NoRoom,
}

/// What is known of a photo's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// They are here.
    Here(Photo),
    /// They were, and their time was over.
    Retired(Stayed),
    /// They were erased on request, at this time, and are not taken again.
    Erased(i64),
}

/// A photo whose time here is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stayed {
    /// What was here.
    pub photo: Photo,
    /// When its file went.
    pub until_ms: i64,
}

impl Stayed {
    /// For how many whole days it was here.
    pub fn days(&self) -> u64 {
        let ms = self.until_ms.saturating_sub(self.photo.arrived_ms);
        u64::try_from(ms / DAY_MS).unwrap_or_default()
    }
}

/// What the small pictures of a photo are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// SHA-256 of the thumbnail's file.
    pub thumbnail: BlobHash,
    /// SHA-256 of the preview's file.
    pub preview: BlobHash,
}

/// What an organisation wants of its photos, and how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// For how many days they stay after they came; `None`: for ever.
    pub days: Option<u32>,
    /// How many bytes they may take; `None`: without limit.
    pub quota: Option<u64>,
    /// How many bytes they take.
    pub bytes: u64,
}

/// What an organisation wants of its photos, and how much there is.
pub fn room(connection: &Connection, org: Org) -> Result<Room, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT photo_days, photo_quota, photo_bytes FROM organisation WHERE org = ?1",
    )?;
    Ok(query.query_row([org], |row| {
        Ok(Room { days: row.get(0)?, quota: row.get(1)?, bytes: row.get(2)? })
    })?)
}

/// Says what an organisation wants of its photos.
pub fn set_room(
    tx: &Transaction<'_>,
    org: Org,
    days: Option<u32>,
    quota: Option<u64>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE organisation SET photo_days = ?2, photo_quota = ?3 WHERE org = ?1",
        params![org, days, quota],
    )?;
    Ok(())
}

/// What names a photo that a device would bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// An entry of its person, or one in a document that the person sees and so may write in.
    Entry,
    /// Only refused work of the person, which waits for a decision.
    Refused,
    /// Nothing that is here.
    Nowhere,
}

/// What names a photo that a device of this person would bring.
pub fn named(
    connection: &Connection,
    org: Org,
    user: UserId,
    hash: BlobHash,
    sees: impl Fn(&Audience) -> bool,
) -> Result<Named, StoreError> {
    if !naming(connection, org, Some(user), hash, sees)?.is_empty() {
        return Ok(Named::Entry);
    }
    let mut waiting = connection.prepare_cached(
        "SELECT 1 FROM quarantine_photo JOIN quarantine USING (org, item)
         WHERE org = ?1 AND hash = ?3 AND state = 'waiting'
           AND device IN (SELECT device FROM device WHERE org = ?1 AND user = ?2) LIMIT 1",
    )?;
    Ok(match waiting.exists(params![org, user.as_bytes(), hash.0])? {
        true => Named::Refused,
        false => Named::Nowhere,
    })
}

/// Who names a photo in what this person wrote, or in a document that is seen.
pub fn naming(
    connection: &Connection,
    org: Org,
    user: Option<UserId>,
    hash: BlobHash,
    sees: impl Fn(&Audience) -> bool,
) -> Result<Vec<UserId>, StoreError> {
    let mut people = BTreeSet::new();
    each_sight(connection, org, hash, sees, |sight| {
        if user == Some(sight.by) || sight.seen {
            people.insert(sight.by);
        }
    })?;
    Ok(people.into_iter().collect())
}

/// Somebody names a photo in documents of one audience.
struct Sight {
    by: UserId,
    /// The photo is here, or gone, for who sees them.
    here: bool,
    /// They are seen.
    seen: bool,
}

/// Reads who names a photo for whom: once for each person and audience, in however many documents they do.
fn each_sight(
    connection: &Connection,
    org: Org,
    hash: BlobHash,
    sees: impl Fn(&Audience) -> bool,
    mut each: impl FnMut(Sight),
) -> Result<(), StoreError> {
    let mut next_audience = connection.prepare_cached(
        "SELECT audience, by, here <> 0 FROM photo WHERE org = ?1 AND hash = ?2 AND audience > ?3
         ORDER BY audience, by LIMIT 1",
    )?;
    let (mut after, mut known) = ((AudienceId::MIN, None), None);
    loop {
        // Two questions: of a pair of columns SQLite would look up the first alone, and read through the rest.
        let (audience, by, here) = match next_person(connection, org, hash, after)? {
            Some((by, here)) => (after.0, by, here),
            None => {
                let read = |row: &Row<'_>| Ok((row.get(0)?, person(row, 1)?, row.get(2)?));
                let next = next_audience.query_row(params![org, hash.0, after.0], read);
                let Some(next) = next.optional()? else { return Ok(()) };
                next
            }
        };
        let seen = match known {
            Some((same, seen)) if same == audience => seen,
            _ => log::audience_of(connection, org, audience)?.is_some_and(|a| sees(&a)),
        };
        known = Some((audience, seen));
        each(Sight { by, here, seen });
        after = (audience, Some(by));
    }
}

/// Who else names a photo in documents of this audience, after this person, and whether it is here for who sees them.
fn next_person(
    connection: &Connection,
    org: Org,
    hash: BlobHash,
    (audience, after): (AudienceId, Option<UserId>),
) -> Result<Option<(UserId, bool)>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT by, here <> 0 FROM photo WHERE org = ?1 AND hash = ?2 AND audience = ?3 AND by > ?4
         ORDER BY by LIMIT 1",
    )?;
    let after = after.as_ref().map_or(&[][..], |after| after.as_bytes());
    let next = query
        .query_row(params![org, hash.0, audience, after], |row| Ok((person(row, 0)?, row.get(1)?)));
    Ok(next.optional()?)
}

/// Who names a photo in one document, of this audience, and whether it is here for who sees that.
fn named_by(
    connection: &Connection,
    org: Org,
    hash: BlobHash,
    document: DocId,
    audience: AudienceId,
) -> Result<Vec<(UserId, bool)>, StoreError> {
    let mut names = connection.prepare_cached(&format!("SELECT 1 FROM photo WHERE {ONE}"))?;
    let (mut after, mut people) = (None, Vec::new());
    while let Some((by, here)) = next_person(connection, org, hash, (audience, after))? {
        if names.exists(params![org, hash.0, audience, by.as_bytes(), document.to_bytes()])? {
            people.push((by, here));
        }
        after = Some(by);
    }
    Ok(people)
}

fn person(row: &Row<'_>, column: usize) -> rusqlite::Result<UserId> {
    row.get(column).map(UserId::from_bytes)
}

/// What a reference `p` says of its photo: it is here, or gone, for whoever sees the document if its person has borne it
/// out. What was erased is gone for all.
pub(super) const HERE: &str = "coalesce(
    (SELECT CASE WHEN b.erased THEN 2
         WHEN NOT EXISTS (SELECT 1 FROM bearer e
                          WHERE e.org = p.org AND e.hash = p.hash AND e.user = p.by) THEN 0
         WHEN b.gone_ms IS NULL THEN 1 ELSE 2 END
     FROM blob b WHERE b.org = p.org AND b.hash = p.hash), 0)";

/// Brings the references to a photo up to date with what became of it.
pub(super) fn refresh(tx: &Transaction<'_>, org: Org, hash: BlobHash) -> Result<(), StoreError> {
    tx.prepare_cached(&format!(
        "UPDATE photo AS p SET here = {HERE} WHERE org = ?1 AND hash = ?2"
    ))?
    .execute(params![org, hash.0])?;
    Ok(())
}

/// Whether the person of a device has borne a photo out.
pub fn bears(connection: &Connection, id: UploadId) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT 1 FROM bearer b JOIN device d ON d.org = b.org AND d.user = b.user
         WHERE b.org = ?1 AND b.hash = ?2 AND d.device = ?3",
    )?;
    Ok(query.exists(params![id.org, id.hash.0, id.device.as_bytes()])?)
}

/// From now on these people's references give sight of a photo.
pub fn bear_out(
    tx: &Transaction<'_>,
    org: Org,
    hash: BlobHash,
    people: &[UserId],
) -> Result<(), StoreError> {
    let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO bearer VALUES (?1, ?2, ?3)")?;
    let mut more = 0;
    for user in people {
        more += insert.execute(params![org, hash.0, user.as_bytes()])?;
    }
    if more > 0 { refresh(tx, org, hash) } else { Ok(()) }
}

/// Takes a reference in, or notes that its person names the photo again: that is to be judged too, and the first time is
/// the one that counts. It is borne out if its person has brought the photo, or sees it in another document; so then is
/// that of whoever else names it in this one.
pub fn refer(
    tx: &Transaction<'_>,
    org: Org,
    photo: &PhotoRow,
    audience: AudienceId,
    sees: impl Fn(&Audience) -> bool,
) -> Result<(), StoreError> {
    let PhotoRow { hash, document, by, times, bytes } = *photo;
    let document = document.to_bytes();
    tx.prepare_cached(
        "INSERT INTO photo
             (org, hash, document, by, referenced_ms, bytes, earliest_ms, received_ms, audience)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO UPDATE SET judged = 0,
             referenced_ms = min(referenced_ms, excluded.referenced_ms),
             earliest_ms = min(earliest_ms, excluded.earliest_ms),
             received_ms = min(received_ms, excluded.received_ms)",
    )?
    .execute(params![
        org,
        hash.0,
        document,
        by.as_bytes(),
        times.claimed_ms,
        bytes,
        times.not_before_ms(),
        times.latest_ms,
        audience,
    ])?;
    // Of most photos nothing has come when they are named.
    if kept(tx, org, hash)?.is_none() {
        return Ok(());
    }
    let mut known =
        tx.prepare_cached("SELECT 1 FROM bearer WHERE org = ?1 AND hash = ?2 AND user = ?3")?;
    if known.exists(params![org, hash.0, by.as_bytes()])? || is_in_sight(tx, org, hash, sees)? {
        let people = named_by(tx, org, hash, photo.document, audience)?;
        bear_out(tx, org, hash, &people.iter().map(|(person, _)| *person).collect::<Vec<_>>())?;
    }
    tx.prepare_cached(&format!("UPDATE photo AS p SET here = {HERE} WHERE {ONE}"))?
        .execute(params![org, hash.0, audience, by.as_bytes(), document])?;
    Ok(())
}

/// The row of one person's reference to a photo.
pub(super) const ONE: &str =
    "org = ?1 AND hash = ?2 AND audience = ?3 AND by = ?4 AND document = ?5";

/// Ends a device's uploads.
pub fn end_all(tx: &Transaction<'_>, org: Org, device: DeviceId) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM upload WHERE org = ?1 AND device = ?2")?
        .execute(params![org, device.as_bytes()])?;
    Ok(())
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
    let Room { quota, bytes, .. } = room(tx, id.org)?;
    if let Some(quota) = quota {
        let coming: u64 = tx
            .prepare_cached(
                "SELECT coalesce(sum(length), 0) FROM upload
                 WHERE org = ?1 AND NOT (device = ?2 AND hash = ?3) AND expires_ms > ?4",
            )?
            .query_row(params![id.org, id.device.as_bytes(), id.hash.0, now_ms], |row| {
                row.get(0)
            })?;
        if bytes.saturating_add(coming).saturating_add(length) > quota {
            return Ok(Opened::NoRoom);
        }
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

/// How often the process has died lately while it decoded a photo.
pub fn deaths(
    connection: &Connection,
    org: Org,
    hash: BlobHash,
    now_ms: i64,
) -> Result<u32, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT deaths FROM decoding WHERE org = ?1 AND hash = ?2 AND tried_ms > ?3",
    )?;
    let since = now_ms.saturating_sub(TRIED_MS);
    let found = query.query_row(params![org, hash.0, since], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0))
}

/// That the process has died of a photo `b` so often, since `?2`, that nobody begins with it.
pub(super) fn deadly() -> String {
    format!(
        "EXISTS (SELECT 1 FROM decoding d WHERE d.org = b.org AND d.hash = b.hash
                 AND d.deaths >= {DEATHS_MAX} AND d.tried_ms > ?2)"
    )
}

/// Notes that decoding a photo begins: before it does, since it may be the last that the process does.
pub fn decoding(
    tx: &Transaction<'_>,
    org: Org,
    hash: BlobHash,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM decoding WHERE tried_ms <= ?1")?
        .execute([now_ms.saturating_sub(TRIED_MS)])?;
    tx.prepare_cached(
        "INSERT INTO decoding (org, hash, deaths, running, tried_ms) VALUES (?1, ?2, 0, 1, ?3)
         ON CONFLICT DO UPDATE SET running = running + 1, tried_ms = excluded.tried_ms",
    )?
    .execute(params![org, hash.0, now_ms])?;
    Ok(())
}

/// Notes that it has ended, however: the process lives.
pub fn decoded(tx: &Transaction<'_>, org: Org, hash: BlobHash) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE decoding SET deaths = 0, running = running - 1 WHERE org = ?1 AND hash = ?2",
    )?
    .execute(params![org, hash.0])?;
    tx.prepare_cached("DELETE FROM decoding WHERE org = ?1 AND hash = ?2 AND running <= 0")?
        .execute(params![org, hash.0])?;
    Ok(())
}

/// Notes that the process before this one died of what it was decoding, or meanwhile.
pub fn died(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("UPDATE decoding SET deaths = deaths + 1, running = 0 WHERE running > 0", [])?;
    Ok(())
}

/// Notes that a photo is here, which ends its upload. This person's device has brought it, `None` if nobody knows whose
/// it was, and so bears out what names it there, or in documents that it `sees`. What was erased or retired meanwhile
/// stays so; then its files are to be removed.
pub fn arrived(
    tx: &Transaction<'_>,
    id: UploadId,
    user: Option<UserId>,
    sees: impl Fn(&Audience) -> bool,
    photo: &Photo,
    small: &Drawn,
) -> Result<Kept, StoreError> {
    close(tx, id)?;
    if let Some(user) = user {
        let mut people = naming(tx, id.org, Some(user), id.hash, sees)?;
        people.push(user);
        bear_out(tx, id.org, id.hash, &people)?;
    }
    if let Some(kept) = kept(tx, id.org, id.hash)? {
        match kept {
            // Its files were written anew: what could not be read before is looked at.
            Kept::Here(_) => {
                drawn(tx, id.org, id.hash, Some(small))?;
                tx.prepare_cached(
                    "UPDATE blob SET looked = 0 WHERE org = ?1 AND hash = ?2 AND looked = 2",
                )?
                .execute(params![id.org, id.hash.0])?;
            }
            Kept::Retired(_) | Kept::Erased(_) => unlink(tx, id.org, id.hash)?,
        }
        return Ok(kept);
    }
    tx.prepare_cached(
        "INSERT INTO blob (org, hash, bytes, width, height, arrived_ms, thumbnail, preview)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        id.org,
        id.hash.0,
        photo.bytes,
        photo.width,
        photo.height,
        photo.arrived_ms,
        small.thumbnail.0,
        small.preview.0,
    ])?;
    count_bytes(tx, id.org, i64::try_from(photo.bytes).unwrap_or(i64::MAX))?;
    refresh(tx, id.org, id.hash)?;
    Ok(Kept::Here(*photo))
}

fn count_bytes(tx: &Transaction<'_>, org: Org, more: i64) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE organisation SET photo_bytes = photo_bytes + ?2 WHERE org = ?1")?
        .execute(params![org, more])?;
    Ok(())
}

fn unlink(tx: &Transaction<'_>, org: Org, hash: BlobHash) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT OR IGNORE INTO unlink (org, hash) VALUES (?1, ?2)")?
        .execute(params![org, hash.0])?;
    Ok(())
}

/// What is known of a photo's bytes; `None`: nothing, they have not come.
pub fn kept(connection: &Connection, org: Org, hash: BlobHash) -> Result<Option<Kept>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT bytes, width, height, arrived_ms, gone_ms, erased FROM blob
         WHERE org = ?1 AND hash = ?2",
    )?;
    let found = query.query_row(params![org, hash.0], |row| {
        let photo = Photo {
            bytes: row.get(0)?,
            width: row.get(1)?,
            height: row.get(2)?,
            arrived_ms: row.get(3)?,
        };
        let (gone_ms, erased): (Option<i64>, bool) = (row.get(4)?, row.get(5)?);
        Ok(match gone_ms {
            None => Kept::Here(photo),
            Some(until_ms) if !erased => Kept::Retired(Stayed { photo, until_ms }),
            Some(at_ms) => Kept::Erased(at_ms),
        })
    });
    Ok(found.optional()?)
}

/// Lets go of a photo's bytes, or says that they are never taken; its digest stays. Its files are to be removed.
/// What was retired can be erased later. What was seen in one whose time is over stays, so that it is known when it is
/// used again; of one that is erased nothing does. How many bytes it had here.
pub fn let_go(
    tx: &Transaction<'_>,
    org: Org,
    hash: BlobHash,
    erased: bool,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let bytes = match kept(tx, org, hash)? {
        Some(Kept::Here(photo)) => photo.bytes,
        _ => 0,
    };
    tx.prepare_cached(
        "INSERT INTO blob (org, hash, bytes, width, height, arrived_ms, gone_ms, erased, looked)
         VALUES (?1, ?2, 0, 0, 0, ?3, ?3, ?4, 2)
         ON CONFLICT DO UPDATE SET gone_ms = ?3, erased = ?4, thumbnail = NULL, preview = NULL,
             looked = iif(looked = 1 AND NOT ?4, 1, 2)
         WHERE gone_ms IS NULL OR erased < ?4",
    )?
    .execute(params![org, hash.0, now_ms, erased])?;
    if erased {
        signals::forget(tx, org, hash)?;
        decoded(tx, org, hash)?;
    }
    count_bytes(tx, org, -i64::try_from(bytes).unwrap_or(i64::MAX))?;
    refresh(tx, org, hash)?;
    unlink(tx, org, hash)?;
    Ok(bytes)
}

/// A photo whose files are where they belong, and whose row is to be written.
pub type Put = (UploadId, Photo, Drawn);

/// Writes the rows of photos that come with what this person names them in, which ends their uploads. If one of them was
/// erased or retired meanwhile, what became of it: then nothing of this is to be written.
pub fn keep(
    tx: &Transaction<'_>,
    by: UserId,
    sees: impl Fn(&Audience) -> bool,
    photos: &[Put],
) -> Result<Option<Kept>, StoreError> {
    for (id, photo, drawn) in photos {
        match arrived(tx, *id, Some(by), &sees, photo, drawn)? {
            Kept::Here(_) => {}
            gone => return Ok(Some(gone)),
        }
    }
    Ok(None)
}

/// Ends an upload whose photo is not taken after all. Whether files of it are nobody's: no row says that it is here, and
/// nobody else sends it.
pub fn give_up(tx: &Transaction<'_>, id: UploadId) -> Result<bool, StoreError> {
    close(tx, id)?;
    let here = matches!(kept(tx, id.org, id.hash)?, Some(Kept::Here(_)));
    Ok(!here && of_photo(tx, id.org, id.hash)?.is_empty())
}

/// Lets go of a few of the photos that came before this time, the oldest first; how many. Those of a visit of which a
/// contest waits stay until that is over: they are what it is about.
pub fn retire(
    tx: &Transaction<'_>,
    org: Org,
    before_ms: i64,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let mut query = tx.prepare_cached(
        "SELECT hash FROM blob b INDEXED BY blob_arrived
         WHERE org = ?1 AND gone_ms IS NULL AND arrived_ms < ?2 AND NOT EXISTS
             (SELECT 1 FROM photo p JOIN visit v ON v.org = p.org AND v.visit = substr(p.document, 2)
              WHERE p.org = b.org AND p.hash = b.hash AND v.contest IN ('open', 'asked'))
         ORDER BY arrived_ms LIMIT 256",
    )?;
    let hashes = query.query_map(params![org, before_ms], |row| Ok(BlobHash(row.get(0)?)))?;
    let hashes: Vec<BlobHash> = hashes.collect::<Result<_, _>>()?;
    for hash in &hashes {
        let_go(tx, org, *hash, false, now_ms)?;
    }
    Ok(hashes.len() as u64)
}

/// That a photo which came before `?2` is here, and that nothing names it: no entry, and no refused work that waits or
/// was decided on since.
const UNNAMED: &str = "b.gone_ms IS NULL AND b.arrived_ms < ?2
     AND NOT EXISTS (SELECT 1 FROM photo p WHERE p.org = b.org AND p.hash = b.hash)
     AND NOT EXISTS (SELECT 1 FROM quarantine_photo n JOIN quarantine q USING (org, item)
                     WHERE n.org = b.org AND n.hash = b.hash
                       AND (q.state = 'waiting' OR q.decided_ms >= ?2))";

/// A few of the photos that came before this time and that nothing names, such as those of work that was discarded.
pub fn unnamed(
    connection: &Connection,
    org: Org,
    before_ms: i64,
) -> Result<Vec<BlobHash>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT hash FROM blob b INDEXED BY blob_arrived WHERE org = ?1 AND {UNNAMED} LIMIT 256"
    ))?;
    let hashes = query.query_map(params![org, before_ms], |row| Ok(BlobHash(row.get(0)?)))?;
    Ok(hashes.collect::<Result<_, _>>()?)
}

/// Forgets those of these photos that nothing names, as if they had never come; how many. Of their files no row speaks then.
pub fn forget_unnamed(
    tx: &Transaction<'_>,
    org: Org,
    hashes: &[BlobHash],
    before_ms: i64,
) -> Result<u64, StoreError> {
    let mut gone = tx.prepare_cached(&format!(
        "DELETE FROM blob AS b WHERE org = ?1 AND hash = ?3 AND {UNNAMED} RETURNING bytes"
    ))?;
    let mut forgotten = 0;
    for hash in hashes {
        let bytes: Option<i64> =
            gone.query_row(params![org, before_ms, hash.0], |row| row.get(0)).optional()?;
        let Some(bytes) = bytes else { continue };
        signals::forget(tx, org, *hash)?;
        tx.prepare_cached("DELETE FROM bearer WHERE org = ?1 AND hash = ?2")?
            .execute(params![org, hash.0])?;
        count_bytes(tx, org, -bytes)?;
        forgotten += 1;
    }
    Ok(forgotten)
}

/// Photos whose files are to be removed.
pub fn to_unlink(connection: &Connection, org: Org) -> Result<Vec<BlobHash>, StoreError> {
    let mut query = connection.prepare_cached("SELECT hash FROM unlink WHERE org = ?1")?;
    let hashes = query.query_map([org], |row| Ok(BlobHash(row.get(0)?)))?;
    Ok(hashes.collect::<Result<_, _>>()?)
}

/// A photo's files are removed.
pub fn unlinked(tx: &Transaction<'_>, org: Org, hash: BlobHash) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM unlink WHERE org = ?1 AND hash = ?2")?
        .execute(params![org, hash.0])?;
    Ok(())
}

/// A few of the photos whose small pictures are to be drawn, after this one.
pub fn undrawn(
    connection: &Connection,
    org: Org,
    after: BlobHash,
) -> Result<Vec<BlobHash>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT hash FROM blob INDEXED BY blob_undrawn
         WHERE org = ?1 AND gone_ms IS NULL AND preview IS NULL AND hash > ?2 ORDER BY hash LIMIT 64",
    )?;
    let hashes = query.query_map(params![org, after.0], |row| Ok(BlobHash(row.get(0)?)))?;
    Ok(hashes.collect::<Result<_, _>>()?)
}

/// Notes what a photo's small pictures are, or with `None` that they are to be drawn; whether the photo is here.
pub fn drawn(
    tx: &Transaction<'_>,
    org: Org,
    hash: BlobHash,
    drawn: Option<&Drawn>,
) -> Result<bool, StoreError> {
    let noted = tx
        .prepare_cached(
            "UPDATE blob SET thumbnail = ?3, preview = ?4
         WHERE org = ?1 AND hash = ?2 AND gone_ms IS NULL",
        )?
        .execute(params![org, hash.0, drawn.map(|d| d.thumbnail.0), drawn.map(|d| d.preview.0)])?;
    Ok(noted > 0)
}

/// Uploads of a photo, whoever sends it.
pub fn of_photo(
    connection: &Connection,
    org: Org,
    hash: BlobHash,
) -> Result<Vec<UploadId>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT device FROM upload WHERE org = ?1 AND hash = ?2")?;
    let devices = query.query_map(params![org, hash.0], |row| {
        Ok(UploadId { org, device: DeviceId::from_bytes(row.get(0)?), hash })
    })?;
    Ok(devices.collect::<Result<_, _>>()?)
}

/// Uploads that nobody will finish: their time is over, or their person has borne out what came another way.
pub fn stale(connection: &Connection, now_ms: i64) -> Result<Vec<UploadId>, StoreError> {
    let mut query = connection.prepare(
        "SELECT org, device, hash FROM upload u
         WHERE expires_ms <= ?1
            OR EXISTS (SELECT 1 FROM blob b WHERE b.org = u.org AND b.hash = u.hash AND
                 (b.erased OR EXISTS (SELECT 1 FROM bearer e JOIN device d USING (org, user)
                  WHERE e.org = u.org AND e.hash = u.hash AND d.device = u.device)))",
    )?;
    let found = query.query_map([now_ms], |row| {
        let device = DeviceId::from_bytes(row.get(1)?);
        Ok(UploadId { org: row.get(0)?, device, hash: BlobHash(row.get(2)?) })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The photos of these that are here. One that is not known at all is awaited: something refers to it, and its bytes
/// have not come yet.
pub fn photo_state(
    connection: &Connection,
    org: Org,
    hashes: &[BlobHash],
) -> Result<HashMap<BlobHash, Photo>, StoreError> {
    let mut here = HashMap::new();
    for hash in hashes {
        if let Some(Kept::Here(photo)) = kept(connection, org, *hash)? {
            here.insert(*hash, photo);
        }
    }
    Ok(here)
}

/// Whether one of the documents that give sight of a photo is seen: who sees one of them may see it.
pub fn is_in_sight(
    connection: &Connection,
    org: Org,
    hash: BlobHash,
    sees: impl Fn(&Audience) -> bool,
) -> Result<bool, StoreError> {
    let mut in_sight = false;
    each_sight(connection, org, hash, sees, |sight| in_sight |= sight.here && sight.seen)?;
    Ok(in_sight)
}

/// Whether a document gives sight of a photo to whoever sees it.
pub fn gives_sight(
    connection: &Connection,
    org: Org,
    hash: BlobHash,
    document: DocId,
) -> Result<bool, StoreError> {
    let audience = log::document_audience(connection, org, document)?;
    Ok(named_by(connection, org, hash, document, audience)?.iter().any(|(_, here)| *here))
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
