//! What the console's pages ask for. Every query is held to what its viewer sees.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sync_core::cbor::from_cbor;
use sync_core::contest::Standing;
use sync_core::document::{Entry, Parts};
use sync_core::id::{
    BlobHash, CallId, ChangeHash, DeviceId, DistributorId, DocId, OrgId, OutletId, TerritoryId,
    UserId, VisitId,
};
use sync_core::model::Day;
use sync_core::model::capture::CaptureTime;
use sync_core::model::people::Audience;
use sync_core::model::visit::OutletReport;
use sync_core::projection::Facts;
use sync_core::visit::Status;

use super::erasure;
use super::log::{self, AudienceId, Held, Org};
use super::uploads::{self, Kept, Photo, Stayed};
use super::{StoreError, accounts};

/// Counts go this far and say "more" after it.
pub const COUNT_MAX: u64 = 10_000;
/// Rows of one page of a list.
pub const PAGE_ROWS: u64 = 50;

/// Whose eyes a query has: an organisation, and which audiences' rows are seen.
#[derive(Clone)]
pub struct Sight {
    /// In which organisation.
    pub org: Org,
    sees: Arc<dyn Fn(&Audience) -> bool + Send + Sync>,
}

impl Sight {
    /// Sees what `sees` says.
    pub fn new(org: Org, sees: impl Fn(&Audience) -> bool + Send + Sync + 'static) -> Self {
        Self { org, sees: Arc::new(sees) }
    }

    /// Sees of this only what `also` says.
    pub fn narrowed(&self, also: impl Fn(&Audience) -> bool + Send + Sync + 'static) -> Self {
        let sees = Arc::clone(&self.sees);
        Self::new(self.org, move |audience| sees(audience) && also(audience))
    }

    /// Whether rows of this audience are seen.
    pub fn sees(&self, audience: &Audience) -> bool {
        (self.sees)(audience)
    }

    /// The local numbers of what is seen, for an `IN (…)`.
    pub(super) fn list(&self, connection: &Connection) -> Result<String, StoreError> {
        // Never empty: everyone's audience has no rows of documents.
        let sees = |audience: &Audience| *audience == Audience::Everyone || self.sees(audience);
        let seen: Vec<AudienceId> = log::audiences(connection, self.org, sees)?;
        Ok(seen.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

/// A visit in a list.
#[derive(Debug, Clone)]
pub struct VisitLine {
    /// Which.
    pub visit: VisitId,
    /// Where.
    pub outlet: OutletId,
    /// The outlet's territory when it began.
    pub territory: TerritoryId,
    /// The outlet's distributor when it began.
    pub distributor: DistributorId,
    /// The planned call that it answers.
    pub call: Option<CallId>,
    /// The outlet's local day of its start.
    pub day: Day,
    /// Where it stands.
    pub status: Status,
    /// Who worked on it.
    pub people: Vec<UserId>,
    /// Why it is a contested visit.
    pub contest: Option<Standing>,
    /// Values in conflict.
    pub conflicts: u64,
    /// Recordings that no review covers although there is one.
    pub news: u64,
    /// Photos that were recorded in it.
    pub photos: u64,
    /// Of them those whose bytes are not here.
    pub awaited: u64,
    /// When it began, by claim.
    pub started_ms: i64,
    /// When the server last heard of it.
    pub changed_ms: i64,
    /// Something of it counts.
    pub counted: bool,
    /// What counts; `None` if a newer program packed it.
    pub facts: Option<Facts>,
}

const COLUMNS: &str = "v.visit, v.outlet, v.territory, v.distributor, v.call, v.day, v.status, \
    v.people, v.conflicts, v.news, v.photos, v.started_ms, v.changed_ms, v.counted, \
    v.facts, v.contest";

fn line(row: &Row<'_>) -> Result<VisitLine, StoreError> {
    let status: String = row.get(6)?;
    let people: Vec<u8> = row.get(7)?;
    let facts: Vec<u8> = row.get(14)?;
    let contest: Option<String> = row.get(15)?;
    Ok(VisitLine {
        visit: VisitId::from_bytes(row.get(0)?),
        outlet: OutletId::from_bytes(row.get(1)?),
        territory: TerritoryId::from_bytes(row.get(2)?),
        distributor: DistributorId::from_bytes(row.get(3)?),
        call: row.get::<_, Option<[u8; 16]>>(4)?.map(CallId::from_bytes),
        day: Day(row.get(5)?),
        status: Status::from_name(&status).unwrap_or(Status::InProgress),
        people: people.as_chunks().0.iter().map(|id| UserId::from_bytes(*id)).collect(),
        contest: contest.as_deref().and_then(Standing::from_name),
        conflicts: row.get(8)?,
        news: row.get(9)?,
        photos: row.get(10)?,
        awaited: 0,
        started_ms: row.get(11)?,
        changed_ms: row.get(12)?,
        counted: row.get(13)?,
        facts: from_cbor(&facts).ok(),
    })
}

/// The visits that `picked`, a query for their ids alone, names: newest change first, or oldest.
fn lines(
    connection: &Connection,
    org: Org,
    picked: &str,
    parameters: &[&dyn ToSql],
    order: &str,
) -> Result<Vec<VisitLine>, StoreError> {
    let mut query = connection.prepare(&format!(
        "SELECT {COLUMNS} FROM ({picked}) p CROSS JOIN visit v
         WHERE v.org = ?1 AND v.visit = p.visit ORDER BY v.changed {order}"
    ))?;
    let mut rows = query.query(parameters)?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let mut line = line(row)?;
        if line.photos > 0 {
            line.awaited = awaited(connection, org, &line)?.min(line.photos);
        }
        lines.push(line);
    }
    Ok(lines)
}

/// How many photos of those who worked on a visit are not here.
fn awaited(connection: &Connection, org: Org, line: &VisitLine) -> Result<u64, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT count(DISTINCT hash) FROM photo
         WHERE org = ?1 AND document = ?2 AND here = 0 AND instr(?3, by) > 0",
    )?;
    let document = DocId::from(line.visit).to_bytes();
    let people: Vec<u8> = line.people.iter().flat_map(|person| *person.as_bytes()).collect();
    Ok(query.query_row(params![org, document, people], |row| row.get(0))?)
}

fn count(
    connection: &Connection,
    org: Org,
    from: &str,
    condition: &str,
) -> Result<u64, StoreError> {
    let limit = COUNT_MAX + 1;
    let query = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {from} WHERE org = ?1 AND {condition} LIMIT {limit})"
    );
    Ok(connection.query_row(&query, [org], |row| row.get(0))?)
}

/// How many visits stand like this; one more than [`COUNT_MAX`] at most.
pub fn count_status(
    connection: &Connection,
    see: &Sight,
    status: Status,
) -> Result<u64, StoreError> {
    let seen = see.list(connection)?;
    count_of(connection, see.org, &seen, Kind::Status(status))
}

/// What kind of visits a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every one.
    All,
    /// Those that stand like this.
    Status(Status),
    /// Those with values in conflict.
    Conflicts,
    /// Those with recordings that no review covers although there is one.
    News,
    /// Those that are contested.
    Contested,
}

impl Kind {
    fn condition(self) -> String {
        match self {
            Self::All => "1".to_owned(),
            Self::Status(status) => format!("status = '{}'", status.as_str()),
            Self::Conflicts => "conflicts > 0".to_owned(),
            Self::News => "news > 0".to_owned(),
            Self::Contested => "contest IS NOT NULL".to_owned(),
        }
    }

    fn from(self) -> &'static str {
        match self {
            Self::All => "visit INDEXED BY visit_changed",
            Self::Status(_) => "visit INDEXED BY visit_status",
            Self::Conflicts => "visit INDEXED BY visit_conflicts",
            Self::News => "visit INDEXED BY visit_news",
            Self::Contested => "visit INDEXED BY visit_contest",
        }
    }
}

fn count_of(connection: &Connection, org: Org, seen: &str, kind: Kind) -> Result<u64, StoreError> {
    let condition = format!("{} AND audience IN ({seen})", kind.condition());
    count(connection, org, kind.from(), &condition)
}

/// Which visits a list shows. Territory and distributor narrow the [`Sight`].
#[derive(Debug, Clone)]
pub struct Search {
    /// Of which kind.
    pub kind: Kind,
    /// Only those whose outlet or people a search for words has found.
    pub found: Option<Found>,
    /// From this day on.
    pub from: Option<Day>,
    /// Up to this day.
    pub to: Option<Day>,
    /// How many pages of the list come before.
    pub page: u64,
}

/// What a search for words has found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Outlets by name, code or street.
    pub outlets: Vec<OutletId>,
    /// People by name.
    pub people: Vec<UserId>,
}

/// A page of a list.
#[derive(Debug)]
pub struct Listed {
    /// Its rows.
    pub rows: Vec<VisitLine>,
    /// How many there are on all pages; one more than [`COUNT_MAX`] at most.
    pub total: u64,
    /// How many there are of each kind, without the search.
    pub kinds: Vec<(Kind, u64)>,
}

/// A page of the visits that a search finds, newest change first, and how many of each of `kinds` there are.
pub fn visits(
    connection: &Connection,
    see: &Sight,
    search: &Search,
    kinds: &[Kind],
) -> Result<Listed, StoreError> {
    let tx = connection.unchecked_transaction()?; // one snapshot for all queries
    let seen = see.list(&tx)?;
    let mut condition = format!("{} AND audience IN ({seen})", search.kind.condition());
    if let Some(from) = search.from {
        condition.push_str(&format!(" AND day >= {}", from.0));
    }
    if let Some(to) = search.to {
        condition.push_str(&format!(" AND day <= {}", to.0));
    }
    if let Some(found) = &search.found {
        let outlets: Vec<String> = found.outlets.iter().map(|o| blob(o.as_bytes())).collect();
        condition.push_str(&format!(" AND (outlet IN ({})", outlets.join(",")));
        for person in &found.people {
            condition.push_str(&format!(" OR instr(people, {}) > 0", blob(person.as_bytes())));
        }
        condition.push(')');
    }
    let offset = search.page.saturating_mul(PAGE_ROWS);
    let picked = format!(
        "SELECT visit FROM visit INDEXED BY visit_changed WHERE org = ?1 AND {condition}
         ORDER BY changed DESC LIMIT {PAGE_ROWS} OFFSET {offset}"
    );
    let each = kinds.iter().map(|kind| Ok((*kind, count_of(&tx, see.org, &seen, *kind)?)));
    Ok(Listed {
        kinds: each.collect::<Result<_, StoreError>>()?,
        rows: lines(&tx, see.org, &picked, &[&see.org], "DESC")?,
        total: count(&tx, see.org, "visit INDEXED BY visit_changed", &condition)?,
    })
}

/// Bytes as SQL writes them.
fn blob(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("x'{hex}'")
}

/// What happens in the field.
#[derive(Debug)]
pub struct Overview {
    /// Today's visits by state.
    pub today: BTreeMap<Status, u64>,
    /// The planned calls that were visited today.
    pub calls: Vec<CallId>,
    /// Visits of today that nobody planned and from which something counts.
    pub unplanned: u64,
    /// Visits that wait for a review, of any day.
    pub to_review: u64,
    /// Visits with values in conflict.
    pub conflicts: u64,
    /// Visits with something new since their review.
    pub news: u64,
    /// Visits that were sent back.
    pub sent_back: u64,
    /// Those that wait longest for a review.
    pub queue: Vec<VisitLine>,
    /// Those with something new since their review, the newest.
    pub new_since: Vec<VisitLine>,
    /// How many are contested.
    pub contests: u64,
    /// Those that are contested, the newest.
    pub contested: Vec<VisitLine>,
    /// Those that are being worked on, the newest.
    pub out: Vec<VisitLine>,
    /// The newest changes of visits and what they say.
    pub feed: Vec<Happening>,
    /// Photos that are referred to and not here.
    pub awaited: u64,
    /// People whose photos they are.
    pub awaited_people: u64,
    /// The newest outlets that the field reports.
    pub reports: Vec<Report>,
}

/// The newest change of a visit.
#[derive(Debug)]
pub struct Happening {
    /// Of which.
    pub visit: VisitLine,
    /// What it says, if that can be read.
    pub entry: Option<Entry>,
}

/// An outlet that the field reports.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which.
    pub outlet: OutletId,
    /// By whom.
    pub by: UserId,
    /// When the server heard of it.
    pub at_ms: i64,
    /// The name over the door.
    pub name: String,
    /// Street and town.
    pub address: String,
}

/// Rows of each list of the overview.
const OVERVIEW_ROWS: u64 = 8;
/// Awaited photos that the overview counts.
const AWAITED_MAX: u64 = 100_000;

/// What the overview shows, `today` being the viewer's.
pub fn overview(connection: &Connection, see: &Sight, today: Day) -> Result<Overview, StoreError> {
    let tx = connection.unchecked_transaction()?;
    let (org, seen) = (see.org, see.list(&tx)?);
    let newest = |kind: Kind, order: &str| {
        let picked = format!(
            "SELECT visit FROM {} WHERE org = ?1 AND {} AND audience IN ({seen})
             ORDER BY changed {order} LIMIT {OVERVIEW_ROWS}",
            kind.from(),
            kind.condition()
        );
        lines(&tx, org, &picked, &[&org], order)
    };
    let total = |kind| count_of(&tx, org, &seen, kind);
    let mut states = BTreeMap::new();
    let mut query = tx.prepare(&format!(
        "SELECT status, count(*) FROM visit INDEXED BY visit_day
         WHERE org = ?1 AND day = ?2 AND audience IN ({seen}) GROUP BY status"
    ))?;
    let mut rows = query.query(params![org, today.0])?;
    while let Some(row) = rows.next()? {
        let status: String = row.get(0)?;
        states.extend(Status::from_name(&status).zip(row.get(1).ok()));
    }
    let (mut calls, mut unplanned) = (Vec::new(), 0);
    let mut query = tx.prepare(&format!(
        "SELECT call FROM visit INDEXED BY visit_day
         WHERE org = ?1 AND day = ?2 AND audience IN ({seen}) AND counted = 1"
    ))?;
    let mut rows = query.query(params![org, today.0])?;
    while let Some(row) = rows.next()? {
        match row.get::<_, Option<[u8; 16]>>(0)? {
            Some(call) => calls.push(CallId::from_bytes(call)),
            None => unplanned += 1,
        }
    }
    let feed = newest(Kind::All, "DESC")?.into_iter().map(|visit| {
        let entry = newest_entry(&tx, org, visit.visit.into())?;
        Ok(Happening { visit, entry })
    });
    let (awaited, awaited_people) = awaited_by(&tx, org, &seen)?;
    Ok(Overview {
        today: states,
        calls,
        unplanned,
        to_review: total(Kind::Status(Status::Submitted))?,
        conflicts: total(Kind::Conflicts)?,
        news: total(Kind::News)?,
        sent_back: total(Kind::Status(Status::SentBack))?,
        queue: newest(Kind::Status(Status::Submitted), "ASC")?,
        new_since: newest(Kind::News, "DESC")?,
        contests: total(Kind::Contested)?,
        contested: newest(Kind::Contested, "DESC")?,
        out: newest(Kind::Status(Status::InProgress), "DESC")?,
        feed: feed.collect::<Result<_, StoreError>>()?,
        awaited,
        awaited_people,
        reports: reports(&tx, org, &seen)?,
    })
}

fn newest_entry(
    connection: &Connection,
    org: Org,
    document: DocId,
) -> Result<Option<Entry>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT body FROM log INDEXED BY log_document WHERE org = ?1 AND document = ?2 ORDER BY sequence DESC LIMIT 1",
    )?;
    let body: Option<Vec<u8>> =
        query.query_row(params![org, document.to_bytes()], |row| row.get(0)).optional()?;
    let Some(body) = body else { return Ok(None) };
    let parts: Parts = from_cbor(&body)?;
    Ok(Entry::decode(parts.section, &parts.value).ok())
}

/// How many photos of visits that are seen are not here, and of how many people; of visits too that phones have let go of,
/// whose audience is the negative one.
fn awaited_by(connection: &Connection, org: Org, seen: &str) -> Result<(u64, u64), StoreError> {
    let mut query = connection.prepare(&format!(
        "SELECT count(*), count(DISTINCT by) FROM
             (SELECT by FROM photo INDEXED BY photo_awaited WHERE org = ?1 AND here = 0
              AND CASE WHEN audience < -1 THEN -1 - audience ELSE audience END IN ({seen}) LIMIT ?2)"
    ))?;
    Ok(query.query_row(params![org, AWAITED_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn reports(connection: &Connection, org: Org, seen: &str) -> Result<Vec<Report>, StoreError> {
    let mut query = connection.prepare(&format!(
        "SELECT outlet, by,
             (SELECT l.at_ms FROM log l WHERE l.org = r.org AND l.sequence = r.changed), name, address
         FROM report r INDEXED BY report_changed
         WHERE org = ?1 AND audience IN ({seen}) ORDER BY changed DESC LIMIT {OVERVIEW_ROWS}"
    ))?;
    let rows = query.query_map([org], |row| {
        Ok(Report {
            outlet: OutletId::from_bytes(row.get(0)?),
            by: UserId::from_bytes(row.get(1)?),
            at_ms: row.get(2)?,
            name: row.get(3)?,
            address: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A line of an outlet's thread.
#[derive(Debug)]
pub struct Said {
    /// The change that says it.
    pub hash: ChangeHash,
    /// Who.
    pub by: UserId,
    /// It is the note of a report.
    pub reports: bool,
    /// What is known of when.
    pub times: Option<CaptureTime>,
    /// Who pushed it.
    pub device: Option<DeviceId>,
    /// What.
    pub words: Words,
}

/// What a note says.
#[derive(Debug)]
pub struct Words {
    /// Its digest.
    pub digest: BlobHash,
    /// The words, unless they were erased.
    pub text: Option<String>,
    /// When they were erased.
    pub erased_ms: Option<i64>,
}

impl Words {
    fn read(connection: &Connection, org: Org, digest: BlobHash) -> Result<Self, StoreError> {
        let text = log::note(connection, org, digest)?.map(|note| note.text);
        let erased_ms = erasure::note_erased(connection, org, digest)?;
        Ok(Self { digest, text, erased_ms })
    }
}

/// The newest report of an outlet: what is known of when it was made, and its note.
pub fn reported(
    connection: &Connection,
    (org, name): (Org, OrgId),
    outlet: OutletId,
) -> Result<(Option<CaptureTime>, Option<Words>), StoreError> {
    for volume in log::volumes(connection, org, outlet)?.into_iter().rev() {
        let held = log::document(connection, org, name, volume)?;
        for change in held.document.changes().iter().rev() {
            let Ok(Entry::Report(report)) = change.entry() else { continue };
            let words = report.note.map(|note| Words::read(connection, org, note)).transpose()?;
            return Ok((held.times.get(&change.hash()).copied(), words));
        }
    }
    Ok((None, None))
}

/// What was said of an outlet, notes of reports among it, newest first, `limit` lines at most. Older volumes of its
/// history are read as far as that takes.
pub fn said(
    connection: &Connection,
    (org, name): (Org, OrgId),
    outlet: OutletId,
    limit: usize,
) -> Result<Vec<Said>, StoreError> {
    let mut said = Vec::new();
    for volume in log::volumes(connection, org, outlet)?.into_iter().rev() {
        let held = log::document(connection, org, name, volume)?;
        for change in held.document.changes().iter().rev() {
            let (by, reports, digest) = match change.entry() {
                Ok(Entry::Post(post)) => (post.by, false, post.text),
                Ok(Entry::Report(OutletReport { by, note: Some(note), .. })) => (by, true, note),
                _ => continue,
            };
            let hash = change.hash();
            let (times, device) = (held.times.get(&hash), held.devices.get(&hash));
            said.push((hash, by, reports, times.copied(), device.copied(), digest));
        }
        if said.len() >= limit {
            break;
        }
    }
    said.sort_by_key(|(_, _, _, times, ..)| {
        std::cmp::Reverse(times.map_or(0, |times: CaptureTime| times.claimed_ms))
    });
    said.truncate(limit);
    let said = said.into_iter().map(|(hash, by, reports, times, device, digest)| {
        let words = Words::read(connection, org, digest)?;
        Ok(Said { hash, by, reports, times, device, words })
    });
    said.collect()
}

/// Who sees a document; `None` if it is not here.
pub fn audience_of(
    connection: &Connection,
    org: Org,
    document: DocId,
) -> Result<Option<Audience>, StoreError> {
    log::audience_of(connection, org, log::document_audience(connection, org, document)?)
}

/// Whether a document that is seen gives sight of a photo.
pub fn sees_photo(
    connection: &Connection,
    see: &Sight,
    hash: BlobHash,
) -> Result<bool, StoreError> {
    uploads::is_in_sight(connection, see.org, hash, |audience| see.sees(audience))
}

/// The notes and photos that entries name, as far as they are here and in sight, and what became of the others.
#[derive(Debug, Default)]
pub struct Attached {
    /// The words of the notes that are here.
    pub notes: HashMap<BlobHash, String>,
    /// The photos that are here.
    pub photos: HashMap<BlobHash, Photo>,
    /// The notes and photos that were erased on request, and when.
    pub erased: HashMap<BlobHash, i64>,
    /// The photos whose time here is over.
    pub retired: HashMap<BlobHash, Stayed>,
}

impl Attached {
    pub(super) fn of<'e>(
        connection: &Connection,
        org: Org,
        entries: impl IntoIterator<Item = &'e Entry>,
        in_sight: impl Fn(BlobHash) -> Result<bool, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut attached = Self::default();
        let Self { notes, photos, erased, retired } = &mut attached;
        for entry in entries {
            for digest in entry.notes() {
                match log::note(connection, org, digest)? {
                    Some(note) => drop(notes.insert(digest, note.text)),
                    None => {
                        let erased_ms = erasure::note_erased(connection, org, digest)?;
                        erased.extend(erased_ms.map(|at_ms| (digest, at_ms)));
                    }
                }
            }
            for photo in entry.photos() {
                if !in_sight(photo.hash)? {
                    continue;
                }
                match uploads::kept(connection, org, photo.hash)? {
                    Some(Kept::Here(here)) => drop(photos.insert(photo.hash, here)),
                    Some(Kept::Erased(at_ms)) => drop(erased.insert(photo.hash, at_ms)),
                    Some(Kept::Retired(stayed)) => drop(retired.insert(photo.hash, stayed)),
                    None => {}
                }
            }
        }
        Ok(attached)
    }
}

/// All that a visit's page shows.
#[derive(Debug)]
pub struct VisitRead {
    /// The visit as lists have it.
    pub line: VisitLine,
    /// The document.
    pub held: Held,
    /// The notes and photos that its entries name.
    pub attached: Attached,
    /// What the devices are called that wrote in it.
    pub devices: HashMap<DeviceId, String>,
    /// Another visit that waits for a review, the one that waits longest.
    pub next: Option<VisitId>,
}

/// A visit, if it is here and seen.
pub fn visit(
    connection: &Connection,
    see: &Sight,
    id: OrgId,
    visit: VisitId,
) -> Result<Option<VisitRead>, StoreError> {
    let tx = connection.unchecked_transaction()?;
    let org = see.org;
    if !audience_of(&tx, org, visit.into())?.is_some_and(|audience| see.sees(&audience)) {
        return Ok(None);
    }
    let picked = "SELECT ?2 AS visit";
    let found = lines(&tx, org, picked, &[&org, visit.as_bytes()], "DESC")?;
    let Some(line) = found.into_iter().next() else { return Ok(None) };
    let held = log::document(&tx, org, id, visit.into())?;
    let entries: Vec<Entry> =
        held.document.changes().iter().filter_map(|change| change.entry().ok()).collect();
    let in_sight = |hash| uploads::gives_sight(&tx, org, hash, visit.into());
    let attached = Attached::of(&tx, org, &entries, in_sight)?;
    let mut devices = HashMap::new();
    for device in held.devices.values() {
        if !devices.contains_key(device) {
            let row = accounts::device(&tx, org, *device)?;
            devices.extend(row.map(|row| (*device, row.label)));
        }
    }
    let seen = see.list(&tx)?;
    let next: Option<[u8; 16]> = tx
        .query_row(
            &format!(
                "SELECT visit FROM visit INDEXED BY visit_status
                 WHERE org = ?1 AND status = 'submitted' AND audience IN ({seen}) AND visit <> ?2
                 ORDER BY changed LIMIT 1"
            ),
            params![org, visit.as_bytes()],
            |row| row.get(0),
        )
        .optional()?;
    let next = next.map(VisitId::from_bytes);
    Ok(Some(VisitRead { line, held, attached, devices, next }))
}
