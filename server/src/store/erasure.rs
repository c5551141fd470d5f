//! What was erased on request: the rows that say so, and the erasing of words and names.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::id::{BlobHash, DocId, LogHash, UserId};
use sync_core::model::catalogue::{ErasedKind, Person, Record, RecordKey};
use sync_core::model::people::Audience;

use super::StoreError;
use super::log::{Org, audiences};
use super::{accounts, uploads};

/// What stands where a person's name was.
pub const NAMELESS: &str = "Erased person";
/// Most documents that a report names.
pub const NAMED_MAX: usize = 100;

/// Something that was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The first 16 bytes of the digest, or the person.
    pub id: [u8; 16],
    /// What it was.
    pub what: ErasedKind,
    /// Of a photo or a note.
    pub digest: Option<BlobHash>,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Who asked for it in the console; `None`: it was done on the command line.
    pub by: Option<UserId>,
    /// Why, in words.
    pub why: String,
    /// The line of the log that says so.
    pub sequence: u64,
    /// What was removed.
    pub removed: Vec<String>,
}

/// What a kind is called in a row and a report.
pub fn name_of(what: ErasedKind) -> &'static str {
    match what {
        ErasedKind::Photo => "photo",
        ErasedKind::Note => "note",
        ErasedKind::Person => "person",
    }
}

/// The kind of a name.
pub fn kind_of(name: &str) -> Option<ErasedKind> {
    [ErasedKind::Photo, ErasedKind::Note, ErasedKind::Person]
        .into_iter()
        .find(|kind| name_of(*kind) == name)
}

const COLUMNS: &str = "id, what, digest, at_ms, by, why, sequence, removed";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Erasure, StoreError>> {
    let (what, removed): (String, String) = (row.get(1)?, row.get(7)?);
    let damaged = || StoreError::Damaged("the row of an erasure".into());
    let (Some(what), Ok(removed)) = (kind_of(&what), serde_json::from_str(&removed)) else {
        return Ok(Err(damaged()));
    };
    Ok(Ok(Erasure {
        id: row.get(0)?,
        what,
        digest: row.get::<_, Option<[u8; 32]>>(2)?.map(BlobHash),
        at_ms: row.get(3)?,
        by: row.get::<_, Option<[u8; 16]>>(4)?.map(UserId::from_bytes),
        why: row.get(5)?,
        sequence: row.get(6)?,
        removed,
    }))
}

/// All erasures, the newest first.
pub fn list(connection: &Connection, org: Org) -> Result<Vec<Erasure>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM erasure WHERE org = ?1 ORDER BY sequence DESC"
    ))?;
    let rows = query.query_map([org], read)?;
    rows.map(|row| row?).collect()
}

/// One, by the id of its record.
pub fn find(
    connection: &Connection,
    org: Org,
    id: &[u8; 16],
) -> Result<Option<Erasure>, StoreError> {
    let mut query = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM erasure WHERE org = ?1 AND id = ?2"))?;
    query.query_row(params![org, id], read).optional()?.transpose()
}

/// When a note was erased, if it was.
pub fn note_erased(
    connection: &Connection,
    org: Org,
    digest: BlobHash,
) -> Result<Option<i64>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT at_ms FROM erasure WHERE org = ?1 AND id = ?2 AND digest = ?3 AND what = 'note'",
    )?;
    let id = &digest.0[..16];
    Ok(query.query_row(params![org, id, digest.0], |row| row.get(0)).optional()?)
}

/// Keeps the row of an erasure, or of the same again.
pub fn put(tx: &Transaction<'_>, org: Org, erasure: &Erasure) -> Result<(), StoreError> {
    let removed = serde_json::to_string(&erasure.removed)
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    tx.execute(
        &format!(
            "INSERT INTO erasure (org, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        ),
        params![
            org,
            erasure.id,
            name_of(erasure.what),
            erasure.digest.map(|digest| digest.0),
            erasure.at_ms,
            erasure.by.map(|by| *by.as_bytes()),
            erasure.why,
            erasure.sequence,
            removed,
        ],
    )?;
    Ok(())
}

/// The erasures of which the database's files may still have something: organisation, id of the record and its line.
pub fn unsettled(connection: &Connection) -> Result<Vec<(Org, [u8; 16], u64)>, StoreError> {
    let mut query =
        connection.prepare("SELECT org, id, sequence FROM erasure WHERE settled = 0")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Nothing is left of these in the database's files.
pub fn settle(
    connection: &Connection,
    erasures: &[(Org, [u8; 16], u64)],
) -> Result<(), StoreError> {
    let settled = "UPDATE erasure SET settled = 1 WHERE org = ?1 AND id = ?2 AND sequence = ?3";
    let mut query = connection.prepare(settled)?;
    for (org, id, sequence) in erasures {
        query.execute(params![org, id, sequence])?;
    }
    Ok(())
}

/// Forgets the row of an erasure that another one takes the place of.
pub fn forget(tx: &Transaction<'_>, org: Org, id: &[u8; 16]) -> Result<(), StoreError> {
    tx.execute("DELETE FROM erasure WHERE org = ?1 AND id = ?2", params![org, id])?;
    Ok(())
}

/// Removes a photo's row and uploads; its files follow. What was removed.
pub fn photo(
    tx: &Transaction<'_>,
    org: Org,
    hash: BlobHash,
    now_ms: i64,
) -> Result<Vec<String>, StoreError> {
    let mut removed = Vec::new();
    let open = uploads::of_photo(tx, org, hash)?;
    for upload in &open {
        uploads::close(tx, *upload)?;
    }
    match uploads::let_go(tx, org, hash, true, now_ms)? {
        0 => {}
        bytes => removed.push(format!("the photo ({bytes} bytes), its preview and thumbnail")),
    }
    if !open.is_empty() {
        removed.push(format!("what had come of it in {} unfinished uploads", open.len()));
    }
    Ok(removed)
}

/// Removes a note's words and salt. What was removed.
pub fn note(tx: &Transaction<'_>, org: Org, digest: BlobHash) -> Result<Vec<String>, StoreError> {
    let gone =
        tx.execute("DELETE FROM note WHERE org = ?1 AND digest = ?2", params![org, digest.0])?;
    Ok(if gone > 0 { vec!["the words and their salt".to_owned()] } else { Vec::new() })
}

/// A version of a person's record as it is kept once the name is erased.
pub fn nameless(person: &Person) -> Person {
    Person { name: NAMELESS.to_owned(), ..person.clone() }
}

/// Removes a person's account, sessions, codes and the names of the phones, and the name from every version of the
/// record before `sequence`; what the log committed to is kept as a digest. What was removed.
pub fn person(
    tx: &Transaction<'_>,
    org: Org,
    user: UserId,
    sequence: u64,
) -> Result<Vec<String>, StoreError> {
    let key = RecordKey::person(user).to_bytes();
    let mut query = tx.prepare_cached(
        "SELECT sequence, salt, body FROM record
         WHERE org = ?1 AND key = ?2 AND sequence < ?3 AND digest IS NULL",
    )?;
    let rows = query.query_map(params![org, key, sequence], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let versions: Vec<(u64, [u8; 16], Vec<u8>)> = rows.collect::<Result<_, _>>()?;
    let mut named = 0;
    for (at, salt, body) in versions {
        let Record::Person(person) = from_cbor::<Record>(&body)? else {
            return Err(StoreError::Damaged("the record of a person".into()));
        };
        let digest = LogHash::of(&[&salt[..], &body].concat());
        let blank = to_cbor(&Record::Person(nameless(&person)));
        tx.prepare_cached(
            "UPDATE record SET body = ?4, salt = zeroblob(16), digest = ?5
             WHERE org = ?1 AND key = ?2 AND sequence = ?3",
        )?
        .execute(params![org, key, at, blank, digest.0])?;
        named += 1;
    }
    let mut removed = Vec::new();
    if named > 0 {
        removed.push(format!("the name, in {named} versions of the record"));
    }
    accounts::close_sessions(tx, org, user, None)?;
    accounts::drop_enrolments(tx, org, user)?;
    accounts::drop_mirrors(tx, org, user)?;
    let user = user.as_bytes();
    if tx.execute("DELETE FROM account WHERE org = ?1 AND user = ?2", params![org, user])? > 0 {
        removed.push("the e-mail address and the password".to_owned());
    }
    let phones = tx.execute(
        "UPDATE device SET label = 'Erased' WHERE org = ?1 AND user = ?2 AND label <> 'Erased'",
        params![org, user],
    )?;
    if phones > 0 {
        removed.push(format!("what {phones} phones were called"));
    }
    Ok(removed)
}

/// Whether there is still a name or a sign-in of a person who was erased. Who has come back since has new ones.
pub fn is_named(connection: &Connection, org: Org, erased: &Erasure) -> Result<bool, StoreError> {
    let key = RecordKey::person(UserId::from_bytes(erased.id)).to_bytes();
    let mut query = connection
        .prepare("SELECT body FROM record WHERE org = ?1 AND key = ?2 AND sequence < ?3")?;
    let bodies = query.query_map(params![org, key, erased.sequence], |row| row.get(0))?;
    for body in bodies.collect::<Result<Vec<Vec<u8>>, _>>()? {
        if !matches!(from_cbor(&body), Ok(Record::Person(person)) if person.name == NAMELESS) {
            return Ok(true);
        }
    }
    let mut since =
        connection.prepare("SELECT 1 FROM record WHERE org = ?1 AND key = ?2 AND sequence > ?3")?;
    let query = match since.exists(params![org, key, erased.sequence])? {
        true => {
            "SELECT 1 FROM device WHERE org = ?1 AND user = ?2 AND label <> 'Erased' AND enrolled_ms <= ?3
             UNION ALL SELECT 1 FROM session WHERE org = ?1 AND user = ?2 AND created_ms <= ?3"
        }
        false => {
            "SELECT 1 FROM device WHERE org = ?1 AND user = ?2 AND label <> 'Erased' AND ?3 IS NOT NULL
             UNION ALL SELECT 1 FROM account WHERE org = ?1 AND user = ?2
             UNION ALL SELECT 1 FROM session WHERE org = ?1 AND user = ?2
             UNION ALL SELECT 1 FROM enrolment WHERE org = ?1 AND user = ?2"
        }
    };
    Ok(connection.prepare(query)?.exists(params![org, erased.id, erased.at_ms])?)
}

/// Whether anything here is or was this.
pub fn is_known(
    connection: &Connection,
    org: Org,
    what: ErasedKind,
    digest: BlobHash,
) -> Result<bool, StoreError> {
    let query = match what {
        ErasedKind::Photo => {
            "SELECT 1 FROM photo WHERE org = ?1 AND hash = ?2
             UNION SELECT 1 FROM blob WHERE org = ?1 AND hash = ?2
             UNION SELECT 1 FROM upload WHERE org = ?1 AND hash = ?2"
        }
        _ => "SELECT 1 FROM note WHERE org = ?1 AND digest = ?2",
    };
    Ok(connection.prepare(query)?.exists(params![org, digest.0])?)
}

/// The documents that name a photo or a note, as many as a report names, and whether one of them is in sight. Notes
/// have no index: it is looked for in every change.
pub fn named_in(
    connection: &Connection,
    org: Org,
    what: ErasedKind,
    digest: BlobHash,
    sees: impl Fn(&Audience) -> bool,
) -> Result<(Vec<DocId>, bool), StoreError> {
    let query = match what {
        ErasedKind::Photo => format!(
            "SELECT document, audience FROM log INDEXED BY log_document
             WHERE org = ?1 AND document IN (SELECT document FROM photo WHERE org = ?1 AND hash = ?2)
             GROUP BY document ORDER BY min(sequence) LIMIT {NAMED_MAX}"
        ),
        _ => format!(
            "SELECT document, audience FROM log
             WHERE org = ?1 AND document IS NOT NULL AND instr(body, ?2) > 0
             GROUP BY document ORDER BY min(sequence) LIMIT {NAMED_MAX}"
        ),
    };
    let seen = audiences(connection, org, sees)?;
    let mut query = connection.prepare(&query)?;
    let mut rows = query.query(params![org, digest.0])?;
    let (mut documents, mut visible) = (Vec::new(), false);
    while let Some(row) = rows.next()? {
        let document = DocId::from_bytes(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)
            .ok_or_else(|| StoreError::Damaged("a document's name".into()))?;
        let audience: i64 = row.get(1)?;
        documents.push(document);
        visible |= seen.contains(&if audience < -1 { -1 - audience } else { audience });
    }
    Ok((documents, visible))
}
