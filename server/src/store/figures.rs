//! What figures are made of: the daily sums, the visits behind them, and what the field reports of outlets.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::{Connection, Row, params};
use sync_core::cbor::from_cbor;
use sync_core::contest::Standing;
use sync_core::id::{DistributorId, OutletId, TerritoryId, UserId, VisitId};
use sync_core::kpi::{Kpi, Ratio};
use sync_core::model::Day;
use sync_core::projection::Facts;
use sync_core::visit::Status;

use super::StoreError;
use super::log::Org;

/// Where something counts: a territory and a distributor.
pub type Place = (TerritoryId, DistributorId);

/// Days on end, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first day.
    pub first: Day,
    /// Its last day.
    pub last: Day,
}

impl Period {
    /// How many days it has.
    pub fn days(self) -> i32 {
        self.last.0.saturating_sub(self.first.0).saturating_add(1)
    }

    /// The equally long period that ends the day before this one begins.
    pub fn before(self) -> Self {
        Self { first: self.first.plus(-self.days()), last: self.first.plus(-1) }
    }

    /// Whether a day lies in it.
    pub fn contains(self, day: Day) -> bool {
        (self.first..=self.last).contains(&day)
    }
}

/// Whether figures count contested visits ([`sync_core::visit::Visit::contested`]), or are as if those had not been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contested {
    /// They do.
    With,
    /// They are as if those had not been made.
    Without,
}

impl Contested {
    /// Of the rows of visits those that count.
    const fn condition(self) -> &'static str {
        match self {
            Self::With => "counted = 1",
            Self::Without => "counted = 1 AND contest IS NULL",
        }
    }

    /// Whether a visit counts.
    pub fn counts(self, line: &Line) -> bool {
        line.counted && (self == Self::With || line.contest.is_none())
    }
}

/// A visit as pages of figures list it.
#[derive(Debug, Clone)]
pub struct Line {
    /// Which.
    pub visit: VisitId,
    /// Where.
    pub outlet: OutletId,
    /// The outlet's territory and distributor when it began.
    pub place: Place,
    /// The outlet's local day.
    pub day: Day,
    /// Where it stands.
    pub status: Status,
    /// Who worked on it.
    pub people: Vec<UserId>,
    /// When it began, by claim.
    pub started_ms: i64,
    /// Something of it is submitted.
    pub counted: bool,
    /// Why it is a contested visit.
    pub contest: Option<Standing>,
    facts: Vec<u8>,
}

impl Line {
    /// What counts of it.
    pub fn facts(&self) -> Result<Facts, StoreError> {
        Ok(from_cbor(&self.facts)?)
    }
}

const LINE: &str = "SELECT visit, outlet, territory, distributor, day, status, people, started_ms,
                           counted, facts, contest
                    FROM visit WHERE org = ?1";

fn line(row: &Row<'_>) -> Result<Line, StoreError> {
    let status: String = row.get(5)?;
    let status = Status::from_name(&status)
        .ok_or_else(|| StoreError::Damaged(format!("a visit's status is `{status}`")))?;
    let people: Vec<u8> = row.get(6)?;
    let people = people.chunks_exact(16).filter_map(|id| id.try_into().ok());
    Ok(Line {
        visit: VisitId::from_bytes(row.get(0)?),
        outlet: OutletId::from_bytes(row.get(1)?),
        place: (TerritoryId::from_bytes(row.get(2)?), DistributorId::from_bytes(row.get(3)?)),
        day: Day(row.get(4)?),
        status,
        people: people.map(UserId::from_bytes).collect(),
        started_ms: row.get(7)?,
        counted: row.get(8)?,
        contest: row.get::<_, Option<String>>(10)?.as_deref().and_then(Standing::from_name),
        facts: row.get(9)?,
    })
}

/// The figures of a period that add up, by place.
pub fn sums(
    connection: &Connection,
    org: Org,
    period: Period,
    contested: Contested,
) -> Result<Vec<(Place, Kpi, Ratio)>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT territory, distributor, kpi, sum(numerator - contested_numerator * ?4),
                sum(denominator - contested_denominator * ?4) AS of FROM kpi_day
         WHERE org = ?1 AND day BETWEEN ?2 AND ?3
         GROUP BY territory, distributor, kpi HAVING of > 0",
    )?;
    let without = contested == Contested::Without;
    let rows = query.query_map(params![org, period.first.0, period.last.0, without], |row| {
        let place = (TerritoryId::from_bytes(row.get(0)?), DistributorId::from_bytes(row.get(1)?));
        let ratio = Ratio { numerator: row.get(3)?, denominator: row.get(4)? };
        Ok((place, row.get::<_, String>(2)?, ratio))
    })?;
    let known = rows.filter_map(|row| match row {
        Ok((place, kpi, ratio)) => Kpi::from_id(&kpi).map(|kpi| Ok((place, kpi, ratio))),
        Err(error) => Some(Err(error.into())),
    });
    known.collect()
}

/// Where there was a visit that counts, and on which day each was.
#[derive(Debug, Default)]
pub struct Visited {
    /// The outlets.
    pub outlets: BTreeSet<OutletId>,
    /// The visits' days.
    pub days: HashMap<VisitId, Day>,
}

/// The visits of a period that count, without what they say.
pub fn visited(
    connection: &Connection,
    org: Org,
    period: Period,
    contested: Contested,
) -> Result<Visited, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT outlet, visit, day FROM visit
         WHERE org = ?1 AND day BETWEEN ?2 AND ?3 AND {}",
        contested.condition()
    ))?;
    let mut rows = query.query(params![org, period.first.0, period.last.0])?;
    let mut visited = Visited::default();
    while let Some(row) = rows.next()? {
        visited.outlets.insert(OutletId::from_bytes(row.get(0)?));
        visited.days.insert(VisitId::from_bytes(row.get(1)?), Day(row.get(2)?));
    }
    Ok(visited)
}

/// Gives each visit of a period that counts and lies where `within` says, the newest first, to `take`;
/// `max` at most. True if there were more.
pub fn each_counted(
    connection: &Connection,
    org: Org,
    (period, contested): (Period, Contested),
    max: usize,
    within: impl Fn(Place) -> bool,
    mut take: impl FnMut(Line) -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "{LINE} AND day BETWEEN ?2 AND ?3 AND {} ORDER BY day DESC",
        contested.condition()
    ))?;
    let mut rows = query.query(params![org, period.first.0, period.last.0])?;
    let mut taken = 0;
    while let Some(row) = rows.next()? {
        let place = (TerritoryId::from_bytes(row.get(2)?), DistributorId::from_bytes(row.get(3)?));
        if !within(place) {
            continue;
        }
        if taken == max {
            return Ok(true);
        }
        take(line(row)?)?;
        taken += 1;
    }
    Ok(false)
}

/// Visits by their ids, those that there are.
pub fn lines(
    connection: &Connection,
    org: Org,
    visits: &[VisitId],
) -> Result<HashMap<VisitId, Line>, StoreError> {
    let mut query = connection.prepare_cached(&format!("{LINE} AND visit = ?2"))?;
    let mut found = HashMap::new();
    for visit in visits {
        let mut rows = query.query(params![org, visit.as_bytes()])?;
        if let Some(row) = rows.next()? {
            found.insert(*visit, line(row)?);
        }
    }
    Ok(found)
}

/// An outlet's visits on or before a day, the newest first, `max` at most.
pub fn of_outlet(
    connection: &Connection,
    org: Org,
    outlet: OutletId,
    until: Day,
    max: u32,
) -> Result<Vec<Line>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "{LINE} AND outlet = ?2 AND day <= ?3 ORDER BY day DESC, started_ms DESC LIMIT ?4"
    ))?;
    let mut rows = query.query(params![org, outlet.as_bytes(), until.0, max])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(line(row)?);
    }
    Ok(lines)
}

/// The outlets that were ever visited.
pub fn ever_visited(connection: &Connection, org: Org) -> Result<HashSet<OutletId>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT DISTINCT outlet FROM visit WHERE org = ?1 AND counted = 1")?;
    let rows = query.query_map([org], |row| Ok(OutletId::from_bytes(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What the field says of an outlet.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which.
    pub outlet: OutletId,
    /// Where it would belong.
    pub place: Place,
    /// By whom.
    pub by: UserId,
    /// The name over the door.
    pub name: String,
    /// Street and town.
    pub address: String,
}

/// Every report, the newest first.
pub fn reports(connection: &Connection, org: Org) -> Result<Vec<Report>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT r.outlet, a.territory, a.distributor, r.by, r.name, r.address
         FROM report r JOIN audience a ON a.org = r.org AND a.audience = r.audience
         WHERE r.org = ?1 ORDER BY r.at_ms DESC, r.outlet",
    )?;
    let rows = query.query_map([org], |row| {
        Ok(Report {
            outlet: OutletId::from_bytes(row.get(0)?),
            place: (TerritoryId::from_bytes(row.get(1)?), DistributorId::from_bytes(row.get(2)?)),
            by: UserId::from_bytes(row.get(3)?),
            name: row.get(4)?,
            address: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
