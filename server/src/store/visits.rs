//! What is derived from documents for pages and figures, written in the same transaction as the log.

use rusqlite::{Connection, OptionalExtension, ToSql, named_params, params};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::contest::Standing;
use sync_core::id::{
    BlobHash, CallId, DistributorId, DocId, OrgId, OutletId, TerritoryId, UserId, VisitId,
};
use sync_core::kpi::{Counts, Kpi, Ratio, per_visit};
use sync_core::model::Day;
use sync_core::model::capture::CaptureTime;
use sync_core::model::people::Audience;
use sync_core::model::visit::Note;
use sync_core::print::Print;
use sync_core::projection::Facts;
use sync_core::visit::Status;

use super::log::{self, AudienceId, Held, Ledger, Org};
use super::{StoreError, erasure, field, signals, uploads};

/// A visit as lists and figures need it.
#[derive(Debug, Clone)]
pub struct VisitRow {
    /// Which.
    pub visit: VisitId,
    /// Where.
    pub outlet: OutletId,
    /// Who sees it.
    pub audience: AudienceId,
    /// The outlet's territory when it began.
    pub territory: TerritoryId,
    /// The outlet's distributor when it began.
    pub distributor: DistributorId,
    /// The planned call that it answers.
    pub call: Option<CallId>,
    /// The outlet's local day of its claimed start.
    pub day: Day,
    /// Where it stands.
    pub status: Status,
    /// Why it is a contested visit: [`sync_core::visit::Visit::contested`].
    pub contest: Option<Standing>,
    /// Who worked on it.
    pub people: Vec<UserId>,
    /// How many (check, subject) pairs have values that differ.
    pub conflicts: u64,
    /// How many recordings no review covers although there is one.
    pub news: u64,
    /// How many photos it refers to.
    pub photos: u64,
    /// When it began, by claim.
    pub started_ms: i64,
    /// When it was last submitted, by claim.
    pub submitted_ms: Option<i64>,
    /// When the server last heard of it.
    pub changed_ms: i64,
    /// The newest sequence of it.
    pub changed: u64,
    /// Something of it is submitted and it was possible.
    pub counted: bool,
}

/// A photo that a recording refers to.
#[derive(Debug, Clone)]
pub struct PhotoRow {
    /// Which.
    pub hash: BlobHash,
    /// From which document.
    pub document: DocId,
    /// By whom.
    pub by: UserId,
    /// When, as well as that is known.
    pub times: CaptureTime,
    /// Its size.
    pub bytes: u32,
}

/// What is kept of who names a photo in a document, however often they do.
pub struct Named {
    document: DocId,
    hash: [u8; 32],
    by: [u8; 16],
    /// First, by claim.
    referenced_ms: i64,
    bytes: u32,
    earliest_ms: Option<i64>,
    received_ms: Option<i64>,
}

impl Named {
    /// The first time.
    pub fn first(photo: &PhotoRow) -> Self {
        let PhotoRow { hash, document, by, times, bytes } = *photo;
        let (earliest_ms, received_ms) = (times.not_before_ms(), Some(times.latest_ms));
        let (hash, by, referenced_ms) = (hash.0, *by.as_bytes(), times.claimed_ms);
        Self { document, hash, by, referenced_ms, bytes, earliest_ms, received_ms }
    }

    /// Once more.
    pub fn again(&mut self, photo: &PhotoRow) {
        let more = Self::first(photo);
        self.referenced_ms = self.referenced_ms.min(more.referenced_ms);
        self.earliest_ms = self.earliest_ms.min(more.earliest_ms);
        self.received_ms = self.received_ms.min(more.received_ms);
    }

    /// For one sum over all of them.
    pub fn print(&self) -> Print {
        let mut all = [&self.document.to_bytes()[..], &self.hash, &self.by].concat();
        let numbers = [Some(self.referenced_ms), Some(i64::from(self.bytes))];
        for number in numbers.into_iter().chain([self.earliest_ms, self.received_ms]) {
            all.push(number.is_some().into());
            all.extend(number.unwrap_or_default().to_be_bytes());
        }
        Print::of_digest(&BlobHash::of(&all).0)
    }
}

/// The sum of the prints of all rows of photos.
pub fn photo_prints(connection: &Connection, org: Org) -> Result<Print, StoreError> {
    let mut query = connection.prepare(
        "SELECT document, hash, by, referenced_ms, bytes, earliest_ms, received_ms FROM photo
         WHERE org = ?1",
    )?;
    let mut rows = query.query([org])?;
    let mut sum = Print::default();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        // A row of no document is none that a document names.
        let Some(document) = DocId::from_bytes(name) else { continue };
        let named = Named {
            document,
            hash: row.get(1)?,
            by: row.get(2)?,
            referenced_ms: row.get(3)?,
            bytes: row.get(4)?,
            earliest_ms: row.get(5)?,
            received_ms: row.get(6)?,
        };
        sum += named.print();
    }
    Ok(sum)
}

/// An outlet that the field reports.
#[derive(Debug, Clone)]
pub struct ReportRow {
    /// Which.
    pub outlet: OutletId,
    /// Who sees it.
    pub audience: AudienceId,
    /// By whom.
    pub by: UserId,
    /// When, by claim.
    pub at_ms: i64,
    /// The name over the door.
    pub name: String,
    /// Street and town.
    pub address: String,
    /// The newest sequence of it.
    pub changed: u64,
}

/// Hands on the columns of a visit's row, by name.
fn columns<T>(
    org: Org,
    row: &VisitRow,
    facts: &Facts,
    to: impl FnOnce(&[(&str, &dyn ToSql)]) -> T,
) -> T {
    let people: Vec<u8> = row.people.iter().flat_map(|p| *p.as_bytes()).collect();
    to(named_params! {
        ":org": org, ":visit": row.visit.as_bytes(), ":outlet": row.outlet.as_bytes(),
        ":audience": row.audience, ":territory": row.territory.as_bytes(),
        ":distributor": row.distributor.as_bytes(),
        ":call": row.call.map(|c| *c.as_bytes()), ":day": row.day.0,
        ":status": row.status.as_str(), ":people": people, ":conflicts": row.conflicts,
        ":news": row.news, ":photos": row.photos, ":started_ms": row.started_ms,
        ":submitted_ms": row.submitted_ms, ":changed_ms": row.changed_ms,
        ":changed": row.changed, ":counted": row.counted,
        ":facts": to_cbor(facts), ":contest": row.contest.map(Standing::as_str),
    })
}

/// Whether a visit's row is this one, and whether it says that phones keep it no more; `None` if it has none.
pub fn is_as_derived(
    connection: &Connection,
    org: Org,
    row: &VisitRow,
    facts: &Facts,
) -> Result<Option<(bool, bool)>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT outlet IS :outlet AND audience IS :audience AND territory IS :territory
             AND distributor IS :distributor AND call IS :call AND day IS :day
             AND status IS :status AND people IS :people AND conflicts IS :conflicts
             AND news IS :news AND photos IS :photos AND started_ms IS :started_ms
             AND submitted_ms IS :submitted_ms AND changed_ms IS :changed_ms
             AND changed IS :changed AND counted IS :counted AND facts IS :facts
             AND contest IS :contest, let_go
         FROM visit WHERE org = :org AND visit = :visit",
    )?;
    let found = columns(org, row, facts, |columns| {
        query.query_row(columns, |row| Ok((row.get(0)?, row.get(1)?)))
    });
    Ok(found.optional()?)
}

impl Ledger<'_> {
    /// A document as it is in the log.
    pub fn document(&self, id: OrgId, document: DocId) -> Result<Held, StoreError> {
        log::document(self.tx, self.org, id, document)
    }

    /// A note's words.
    pub fn note(&self, digest: BlobHash) -> Result<Option<Note>, StoreError> {
        log::note(self.tx, self.org, digest)
    }

    /// Whether a note was erased: its words need not come.
    pub fn note_erased(&self, digest: BlobHash) -> Result<bool, StoreError> {
        Ok(erasure::note_erased(self.tx, self.org, digest)?.is_some())
    }

    /// Notes that a document of this audience refers to a photo, by somebody who `sees` so much.
    pub fn put_photo(
        &self,
        photo: &PhotoRow,
        audience: AudienceId,
        sees: impl Fn(&Audience) -> bool,
    ) -> Result<(), StoreError> {
        uploads::refer(self.tx, self.org, photo, audience, sees)
    }

    /// What somebody's references in a document give reason to look at is to be found out again: they have taken something
    /// back.
    pub fn reconsider_photo(
        &self,
        document: DocId,
        hash: BlobHash,
        by: UserId,
    ) -> Result<(), StoreError> {
        signals::reconsider(self.tx, self.org, document, hash, by)
    }

    /// The visits of an outlet are to be looked at again: it is known to be elsewhere.
    pub fn reconsider(&self, outlet: OutletId) -> Result<(), StoreError> {
        field::reconsider(self.tx, self.org, outlet)
    }

    /// Replaces a visit's row, so that it is to be looked at again, and moves the daily figures by the difference.
    pub fn put_visit(&self, row: &VisitRow, facts: &Facts) -> Result<(), StoreError> {
        let older = self
            .tx
            .prepare_cached(
                "SELECT day, territory, distributor, counted, facts, contest IS NOT NULL FROM visit
                 WHERE org = ?1 AND visit = ?2",
            )?
            .query_row(params![self.org, row.visit.as_bytes()], |r| {
                let place = (r.get(0)?, r.get(1)?, r.get(2)?);
                Ok((place, r.get::<_, bool>(3)?, r.get::<_, Vec<u8>>(4)?, r.get(5)?))
            })
            .optional()?;
        if let Some((place, true, facts, contested)) = &older {
            self.shift(*place, &per_visit(&from_cbor(facts)?), *contested, -1)?;
        }
        if row.counted {
            let place = (row.day.0, *row.territory.as_bytes(), *row.distributor.as_bytes());
            self.shift(place, &per_visit(facts), row.contest.is_some(), 1)?;
        }
        let mut insert = self.tx.prepare_cached(
            "INSERT OR REPLACE INTO visit (org, visit, outlet, audience, territory, distributor,
                 call, day, status, people, conflicts, news, photos, started_ms, submitted_ms,
                 changed_ms, changed, counted, facts, contest)
             VALUES (:org, :visit, :outlet, :audience, :territory, :distributor, :call, :day,
                 :status, :people, :conflicts, :news, :photos, :started_ms, :submitted_ms,
                 :changed_ms, :changed, :counted, :facts, :contest)",
        )?;
        columns(self.org, row, facts, |columns| insert.execute(columns))?;
        Ok(())
    }

    fn shift(
        &self,
        (day, territory, distributor): (i32, [u8; 16], [u8; 16]),
        counts: &Counts,
        contested: bool,
        sign: i64,
    ) -> Result<(), StoreError> {
        let mut upsert = self.tx.prepare_cached(
            "INSERT INTO kpi_day (org, day, territory, distributor, kpi, numerator, denominator,
                 contested_numerator, contested_denominator)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6 * ?8, ?7 * ?8)
             ON CONFLICT DO UPDATE SET
                 numerator = numerator + excluded.numerator,
                 denominator = denominator + excluded.denominator,
                 contested_numerator = contested_numerator + excluded.contested_numerator,
                 contested_denominator = contested_denominator + excluded.contested_denominator",
        )?;
        for kpi in Kpi::ALL {
            let Ratio { numerator, denominator } = counts.get(kpi);
            if denominator > 0 {
                let signed = |n: u64| sign * i64::try_from(n).unwrap_or(i64::MAX);
                upsert.execute(params![
                    self.org,
                    day,
                    territory,
                    distributor,
                    kpi.id(),
                    signed(numerator),
                    signed(denominator),
                    contested,
                ])?;
            }
        }
        Ok(())
    }

    /// Replaces an outlet report's row.
    pub fn put_report(&self, row: &ReportRow) -> Result<(), StoreError> {
        self.tx
            .prepare_cached(
                "INSERT OR REPLACE INTO report (org, outlet, audience, by, at_ms, name, address, changed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                self.org,
                row.outlet.as_bytes(),
                row.audience,
                row.by.as_bytes(),
                row.at_ms,
                row.name,
                row.address,
                row.changed,
            ])?;
        Ok(())
    }
}
