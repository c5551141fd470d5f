//! The database as a file: copied while a server works on it, read through line by line, brought back.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use sync_core::evidence::Keypair;
use sync_core::id::{BlobHash, DocId, LogOrigin, OrgId, OutletId, VisitId};
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::catalogue::{ErasedKind, Record};
use sync_core::model::people::Audience;
use sync_core::model::visit::Note;
use sync_core::print::Print;
use sync_core::projection::Facts;

use super::bundle::{self, Collected};
use super::erasure::{self, Erasure};
use super::log::{self, AudienceId, Org, Organisation, Prints};
use super::quarantine::{self, Kept};
use super::tree::{self, Line};
use super::uploads::{self, HERE};
use super::visits::{self, VisitRow};
use super::witnesses::Counting;
use super::{FIRST_SCHEMA, SCHEMA, StoreError, accounts, configure, field, signals, witnesses};
use crate::blobs::Shelved;
use crate::files;
use crate::signals::field::{Ground, Reading, Settings};

/// A decision or a confirmed key: at which line, on which document or device, and by whom.
pub type Act = (u64, Vec<u8>, Vec<u8>);

/// A database in one state, its newest when it was opened. Nobody is kept from writing to it.
pub struct Archive {
    connection: Connection,
}

/// A change of a document, as its row has it.
#[derive(Debug)]
pub struct ChangeRow {
    /// The line that it is in.
    pub sequence: u64,
    /// Its stored name.
    pub hash: Vec<u8>,
    /// Its parts.
    pub body: Vec<u8>,
    /// The signature that names it as head.
    pub seal: Option<Vec<u8>>,
    /// Bounds and claim of its time.
    pub times: Vec<u8>,
    /// The device that brought it.
    pub device: Vec<u8>,
    /// When it came.
    pub at_ms: i64,
    /// How old it was when its device sent it, if a clock has counted that.
    pub age_ms: Option<i64>,
    /// Who sees it, and whether phones do not keep it any more.
    pub seen_by: (AudienceId, bool),
}

/// Day, territory and distributor.
pub type FigurePlace = (i32, [u8; 16], [u8; 16]);

/// One of the daily figures.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Figure {
    /// Where.
    pub place: FigurePlace,
    /// Which.
    pub kpi: String,
    /// Numerator and denominator.
    pub ratio: (i64, i64),
    /// Of these what comes from contested visits.
    pub contested: (i64, i64),
}

/// What an organisation's row says of its log.
#[derive(Debug)]
pub struct Standing {
    /// The newest life.
    pub origin: Vec<u8>,
    /// The right edge of the tree.
    pub frontier: Vec<u8>,
    /// How many versions of records are kept.
    pub records: u64,
    /// How many visits have a row.
    pub visits: u64,
    /// How many references say something else of their photo than that and who has borne it out do.
    pub photos_astray: u64,
    /// The bytes of its photos are counted right.
    pub bytes_right: bool,
    /// How many photos are gone because their time was over.
    pub retired: u64,
    /// How many photos are gone and may still have files.
    pub unlinked: u64,
    /// How many uploads are not whole.
    pub uploads: u64,
}

/// Writes a compact copy of a database, as it is now, into a new file, and brings that to the disk.
pub fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let connection = read_only(from)?;
    files::make_private(to)?;
    let name = to.to_str().ok_or_else(|| StoreError::Failed("its name is not UTF-8".into()))?;
    connection.execute("VACUUM INTO ?1", [name])?;
    Ok(File::open(to)?.sync_all()?)
}

/// Begins a new life of every log in a restored database: phones that knew more of the old one notice. Sessions
/// and enrolment codes end: some were ended, or used, after the backup. The photos in `lost` are awaited again. `key` gives
/// the public key that signs an organisation's checkpoints from now on.
pub fn bring_back(
    file: &Path,
    at_ms: i64,
    lost: &[(Org, BlobHash)],
    mut random: impl FnMut() -> [u8; 24],
    mut key: impl FnMut(OrgId) -> Result<[u8; 32], StoreError>,
) -> Result<(), StoreError> {
    let mut connection = Connection::open(file)?;
    configure(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    for organisation in log::organisations(&tx)? {
        let drawn = random();
        let (mut origin, mut instance) = ([0; 16], [0; 8]);
        origin.copy_from_slice(&drawn[..16]);
        instance.copy_from_slice(&drawn[16..]);
        let origin = LogOrigin::from_bytes(origin);
        let key = key(organisation.id)?;
        log::go_on_after_restore(&tx, organisation.org, origin, instance, key, at_ms)?;
    }
    accounts::close_everything(&tx)?;
    for (org, hash) in lost {
        tx.execute("DELETE FROM blob WHERE org = ?1 AND hash = ?2", params![org, hash.0])?;
        uploads::refresh(&tx, *org, *hash)?;
    }
    tx.execute_batch(
        "UPDATE organisation SET photo_bytes = (SELECT coalesce(sum(bytes), 0) FROM blob b
             WHERE b.org = organisation.org AND gone_ms IS NULL)",
    )?;
    tx.commit()?;
    connection.close().map_err(|(_, error)| error.into())
}

/// Which organisations a database has, whatever its schema.
pub fn names(file: &Path) -> Result<Vec<(OrgId, String)>, StoreError> {
    let connection = open(file)?;
    let mut query = connection.prepare("SELECT id, name FROM organisation ORDER BY org")?;
    let names = query.query_map([], |row| Ok((OrgId::from_bytes(row.get(0)?), row.get(1)?)))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn open(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    configure(&connection)?;
    Ok(connection)
}

/// Opens what this program knows the schema of.
fn read_only(file: &Path) -> Result<Connection, StoreError> {
    let connection = open(file)?;
    let known = SCHEMA;
    match connection.pragma_query_value(None, "user_version", |row| row.get(0))? {
        found if found > known => Err(StoreError::TooNew { found, known }),
        found @ 1..FIRST_SCHEMA => Err(StoreError::Unreleased { found }),
        found if found < known => Err(StoreError::TooOld { found, known }),
        _ => Ok(connection),
    }
}

impl Archive {
    /// Opens a database that this program knows the schema of.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let connection = read_only(file)?;
        connection.execute_batch("BEGIN")?; // what is read first fixes what is read later
        Ok(Self { connection })
    }

    /// What SQLite finds wrong.
    pub fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let mut query = self.connection.prepare("PRAGMA integrity_check")?;
        let found = query.query_map([], |row| row.get::<_, String>(0))?;
        let found: Vec<String> = found.collect::<Result<_, _>>()?;
        Ok(if found == ["ok"] { Vec::new() } else { found })
    }

    /// All organisations.
    pub fn organisations(&self) -> Result<Vec<Organisation>, StoreError> {
        log::organisations(&self.connection)
    }

    /// What an organisation's row says of its log.
    pub fn standing(&self, org: Org) -> Result<Standing, StoreError> {
        let standing = self.connection.query_row(
            &format!(
                "SELECT origin, frontier, (SELECT count(*) FROM record r WHERE r.org = o.org),
                 (SELECT count(*) FROM visit v WHERE v.org = o.org),
                 (SELECT count(*) FROM photo p WHERE p.org = o.org AND
                      (p.here <> {HERE} OR p.audience <> {})),
                 photo_bytes = (SELECT coalesce(sum(bytes), 0) FROM blob b
                                WHERE b.org = o.org AND gone_ms IS NULL),
                 (SELECT count(*) FROM blob b
                  WHERE b.org = o.org AND gone_ms IS NOT NULL AND erased = 0),
                 (SELECT count(*) FROM unlink u WHERE u.org = o.org),
                 (SELECT count(*) FROM upload u WHERE u.org = o.org)
             FROM organisation o WHERE org = ?1",
                log::audience_in("p.org", "p.document")
            ),
            [org],
            |row| {
                Ok(Standing {
                    origin: row.get(0)?,
                    frontier: row.get(1)?,
                    records: row.get(2)?,
                    visits: row.get(3)?,
                    photos_astray: row.get(4)?,
                    bytes_right: row.get(5)?,
                    retired: row.get(6)?,
                    unlinked: row.get(7)?,
                    uploads: row.get(8)?,
                })
            },
        );
        Ok(standing?)
    }

    /// How many lines all logs have, changes twice: as a line, and in their document.
    pub fn steps(&self) -> Result<u64, StoreError> {
        let count = "SELECT count(*) + count(document) FROM log";
        Ok(self.connection.query_row(count, [], |row| row.get(0))?)
    }

    /// Every line of a log in its order.
    pub fn lines(&self, org: Org, each: impl FnMut(Line)) -> Result<(), StoreError> {
        tree::lines(&self.connection, org, (0, i64::MAX as u64), each)
    }

    /// The nodes that are kept of the tree over a log: level, place and hash.
    pub fn nodes(&self, org: Org) -> Result<Vec<(u8, u64, Vec<u8>)>, StoreError> {
        tree::kept(&self.connection, org)
    }

    /// The newest life of a log, and the key that it names.
    pub fn life(&self, org: Org) -> Result<(LogOrigin, [u8; 32]), StoreError> {
        let newest = tree::lives(&self.connection, org)?.pop();
        let newest = newest.ok_or_else(|| StoreError::Damaged("the log has no life".into()))?;
        Ok((newest.1, newest.2))
    }

    /// What proves a visit, if it is here.
    pub fn bundle(
        &self,
        of: &Organisation,
        visit: VisitId,
        pair: &Keypair,
        counting: &Counting,
    ) -> Result<Option<Collected>, StoreError> {
        bundle::collect(&self.connection, of.org, of.id, visit, pair, counting)
    }

    /// Every version of every record with its sequence, oldest first.
    pub fn records(&self, org: Org, each: impl FnMut(Record, u64)) -> Result<(), StoreError> {
        log::records(&self.connection, org, each)
    }

    /// The prints of an organisation's audiences: as they are kept, and as they are counted from the log.
    pub fn prints(&self, org: Org) -> Result<(Prints, Prints), StoreError> {
        Ok((log::kept_prints(&self.connection, org)?, log::counted_prints(&self.connection, org)?))
    }

    /// The versions of records that are lines from `first` to before `end`, oldest first.
    pub fn records_between(
        &self,
        org: Org,
        (first, end): (u64, u64),
        each: impl FnMut(Record, u64),
    ) -> Result<(), StoreError> {
        log::records_between(&self.connection, org, (first, end), each)
    }

    /// The lives of a log and where each begins.
    pub fn lives(&self, org: Org) -> Result<Vec<(u32, u64)>, StoreError> {
        log::lives(&self.connection, org)
    }

    /// The names of all documents, each with its newest line, in the order of those.
    pub fn documents(&self, org: Org) -> Result<Vec<(Vec<u8>, u64)>, StoreError> {
        let mut query = self.connection.prepare(
            "SELECT document, max(sequence) FROM log INDEXED BY log_document
             WHERE org = ?1 AND document IS NOT NULL GROUP BY document ORDER BY 2",
        )?;
        let names = query.query_map([org], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Whether an organisation has anything of a document.
    pub fn has(&self, org: Org, document: DocId) -> Result<bool, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT 1 FROM log INDEXED BY log_document WHERE org = ?1 AND document = ?2",
        )?;
        Ok(query.exists(params![org, document.to_bytes()])?)
    }

    /// A document's changes in the order of the log.
    pub fn changes(&self, org: Org, document: &[u8]) -> Result<Vec<ChangeRow>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT sequence, coalesce(hash, x''), body, seal, coalesce(times, x''),
                 coalesce(device, x''), at_ms, age_ms, audience
             FROM log INDEXED BY log_document
             WHERE org = ?1 AND document = ?2 ORDER BY sequence",
        )?;
        let rows = query.query_map(params![org, document], |row| {
            Ok(ChangeRow {
                sequence: row.get(0)?,
                hash: row.get(1)?,
                body: row.get(2)?,
                seal: row.get(3)?,
                times: row.get(4)?,
                device: row.get(5)?,
                at_ms: row.get(6)?,
                age_ms: row.get(7)?,
                seen_by: log::seen_by(row.get(8)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether a visit's row is this one, and whether it says that phones keep it no more; `None` if it has none.
    pub fn is_as_derived(
        &self,
        org: Org,
        row: &VisitRow,
        facts: &Facts,
    ) -> Result<Option<(bool, bool)>, StoreError> {
        visits::is_as_derived(&self.connection, org, row, facts)
    }

    /// Who is behind an audience's number, if it is one.
    pub fn audience(&self, org: Org, audience: AudienceId) -> Result<Option<Audience>, StoreError> {
        log::audience_of(&self.connection, org, audience)
    }

    /// When a change was captured, as well as its line and those before it show.
    pub fn captured(
        &self,
        org: Org,
        lives: &[(u32, u64)],
        row: &ChangeRow,
        when: &Moment,
    ) -> Result<CaptureTime, StoreError> {
        let (received, told) = ((row.sequence, row.at_ms), (when, row.age_ms));
        log::captured(&self.connection, org, lives, received, told)
    }

    /// Passes all refused work to `each`.
    pub fn refused(&self, org: Org, each: impl FnMut(Kept)) -> Result<(), StoreError> {
        quarantine::kept(&self.connection, org, each)
    }

    /// Where an outlet's record has had it, the oldest first.
    pub fn grounds(
        &self,
        org: Org,
        outlet: OutletId,
        settings: Settings,
    ) -> Result<Vec<(i64, Ground)>, StoreError> {
        field::grounds(&self.connection, org, outlet, settings)
    }

    /// What an organisation says of its field.
    pub fn settings(&self, org: Org) -> Result<Settings, StoreError> {
        field::settings(&self.connection, org)
    }

    /// Whether what is kept of a visit's place, way and time is what it says.
    pub fn field(&self, org: Org, visit: VisitId, reading: &Reading) -> Result<bool, StoreError> {
        field::is_as_read(&self.connection, org, visit, reading)
    }

    /// The daily figures in which something is counted, in order.
    pub fn figures(&self, org: Org) -> Result<Vec<Figure>, StoreError> {
        let mut query = self.connection.prepare(
            "SELECT day, territory, distributor, kpi, numerator, denominator, contested_numerator,
                 contested_denominator
             FROM kpi_day WHERE org = ?1 AND (numerator <> 0 OR denominator <> 0
                 OR contested_numerator <> 0 OR contested_denominator <> 0)",
        )?;
        let rows = query.query_map([org], |row| {
            let (place, ratio) =
                ((row.get(0)?, row.get(1)?, row.get(2)?), (row.get(4)?, row.get(5)?));
            let contested = (row.get(6)?, row.get(7)?);
            Ok(Figure { place, kpi: row.get(3)?, ratio, contested })
        })?;
        let mut figures: Vec<Figure> = rows.collect::<Result<_, _>>()?;
        figures.sort();
        Ok(figures)
    }

    /// Every note with the digest that it is kept under.
    pub fn notes(&self, org: Org, mut each: impl FnMut(BlobHash, Note)) -> Result<(), StoreError> {
        let mut query =
            self.connection.prepare("SELECT digest, salt, text FROM note WHERE org = ?1")?;
        let mut rows = query.query([org])?;
        while let Some(row) = rows.next()? {
            each(BlobHash(row.get(0)?), Note { salt: row.get(1)?, text: row.get(2)? });
        }
        Ok(())
    }

    /// The photos that are here.
    pub fn photos(&self, org: Org) -> Result<Vec<Shelved>, StoreError> {
        let mut query = self.connection.prepare(
            "SELECT hash, bytes, thumbnail, preview FROM blob
             WHERE org = ?1 AND gone_ms IS NULL ORDER BY hash",
        )?;
        let rows = query.query_map([org], |row| {
            let drawn = |digest: Option<[u8; 32]>| digest.map(BlobHash);
            let drawn = [drawn(row.get(2)?), drawn(row.get(3)?)];
            Ok(Shelved { hash: BlobHash(row.get(0)?), bytes: row.get(1)?, drawn })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The photos whose bytes are gone, and whether that was on request.
    pub fn gone(&self, org: Org) -> Result<Vec<(BlobHash, bool)>, StoreError> {
        let mut query = self
            .connection
            .prepare("SELECT hash, erased FROM blob WHERE org = ?1 AND gone_ms IS NOT NULL")?;
        let rows = query.query_map([org], |row| Ok((BlobHash(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The photos that were erased on request, but for those whose files are noted as still to be removed.
    pub fn erased(&self, org: Org) -> Result<Vec<BlobHash>, StoreError> {
        let mut query = self.connection.prepare(
            "SELECT hash FROM blob b WHERE org = ?1 AND erased = 1 AND NOT EXISTS
                 (SELECT 1 FROM unlink u WHERE u.org = b.org AND u.hash = b.hash)",
        )?;
        let rows = query.query_map([org], |row| Ok(BlobHash(row.get(0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The sum of the prints of the rows that say which document names which photo.
    pub fn photo_prints(&self, org: Org) -> Result<Print, StoreError> {
        visits::photo_prints(&self.connection, org)
    }

    /// Whether photos that are like another are found by what was seen in them.
    pub fn is_index_right(&self, org: Org) -> Result<bool, StoreError> {
        signals::is_index_right(&self.connection, org)
    }

    /// What was erased on request, the newest first.
    pub fn erasures(&self, org: Org) -> Result<Vec<Erasure>, StoreError> {
        erasure::list(&self.connection, org)
    }

    /// What is listed of decisions on refused work and of confirmed keys.
    pub fn acts(&self, org: Org) -> Result<BTreeSet<Act>, StoreError> {
        let mut query = self.connection.prepare(
            "SELECT sequence, document, by FROM decision WHERE org = ?1
             UNION ALL SELECT sequence, device, by FROM confirmation WHERE org = ?1",
        )?;
        let acts = query.query_map([org], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(acts.collect::<Result<_, _>>()?)
    }

    /// What is wrong with the signatures of witnesses, if something is.
    pub fn witness_flaw(&self, of: &Organisation) -> Result<Option<String>, StoreError> {
        witnesses::flaw(&self.connection, of.org, of.id)
    }

    /// Whether there is still something of what was erased.
    pub fn remains(&self, org: Org, erasure: &Erasure) -> Result<bool, StoreError> {
        let query = match erasure.what {
            ErasedKind::Photo => {
                "SELECT NOT EXISTS (SELECT 1 FROM blob
                     WHERE org = ?1 AND hash = ?2 AND gone_ms IS NOT NULL AND erased = 1)
                 OR EXISTS (SELECT 1 FROM look WHERE org = ?1 AND hash = ?2)
                 OR EXISTS (SELECT 1 FROM signal WHERE org = ?1 AND ?2 IN (photo, other))"
            }
            ErasedKind::Note => "SELECT EXISTS (SELECT 1 FROM note WHERE org = ?1 AND digest = ?2)",
            ErasedKind::Person => return erasure::is_named(&self.connection, org, erasure),
        };
        let name = erasure.digest.map_or(erasure.id.to_vec(), |digest| digest.0.to_vec());
        Ok(self.connection.query_row(query, params![org, name], |row| row.get(0))?)
    }
}
