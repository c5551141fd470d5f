//! What happens after: photos that came are looked at, visits that changed are read for place, way and time, and what is
//! worth a look is written down. What is still to do is marked in the store, so it goes on where it was after a restart,
//! and what came before is looked at too.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sync_core::document::Entry;
use sync_core::id::{BlobHash, ChangeHash, DocId, UserId};
use sync_core::model::visit::{CheckId, PhotoRef};
use sync_core::visit::{Start, Visit};
use tokio::sync::broadcast::error::RecvError;

use crate::app::{App, Tenant};
use crate::photo::Unfit;
use crate::signals::field::{Evidence, Known, Reading, of_visit};
use crate::signals::{Kind, PhotoFacts, Signal, of_photo};
use crate::store::log::{Held, Org};
use crate::store::signals::{self as rows, Found, Reference, Seen};
use crate::store::{StoreError, field, log};
use crate::{now_ms, photo};

/// What was not to be done is tried again after this long.
const AGAIN: Duration = Duration::from_secs(300);
/// Photos of an organisation that are looked at before it is the others' turn, references that are judged, and visits
/// that are read, at once.
const PHOTOS: usize = 4;
const REFERENCES: usize = 16;
const VISITS: u32 = 16;

/// Works until the server stops.
pub async fn run(app: Arc<App>) {
    let mut pokes = app.pokes();
    let mut again = tokio::time::interval(AGAIN);
    loop {
        tokio::select! {
            biased;
            () = app.stopped() => break,
            poke = pokes.recv() => if let Err(RecvError::Closed) = poke { break },
            _ = again.tick() => {}
        }
        let done = tokio::select! {
            biased;
            () = app.stopped() => break,
            done = catch_up(&app) => done,
        };
        drop(done); // each failure was told
    }
}

/// Does all that is to be done now, a little of each organisation's by turns. It may be dropped at any time. What fails for
/// one organisation is told, and keeps neither the rest of its work nor another one's from being done.
///
/// # Errors
/// The first failure.
pub async fn catch_up(app: &App) -> Result<(), StoreError> {
    let (mut work, mut all): (HashMap<Org, Work>, _) = (HashMap::new(), Ok(()));
    loop {
        let mut more = false;
        for tenant in app.tenants() {
            let turn = turn(app, &tenant, work.entry(tenant.org).or_default()).await;
            for done in turn {
                more |= done.unwrap_or_else(|error| {
                    let organisation = tenant.id;
                    tracing::error!(%organisation, %error, "what is worth a look could not be found out");
                    if all.is_ok() {
                        all = Err(error);
                    }
                    false
                });
            }
        }
        if !more {
            return all;
        }
    }
}

/// How far an organisation's work is.
struct Work {
    /// Photos up to this one were looked at, or could not be.
    after: BlobHash,
    /// Some could not be: they wait for the next time.
    passed_over: bool,
    /// Judging, and reading visits, has failed, and waits for the next time.
    judging_failed: bool,
    reading_failed: bool,
}

impl Default for Work {
    fn default() -> Self {
        let after = BlobHash([0; 32]);
        Self { after, passed_over: false, judging_failed: false, reading_failed: false }
    }
}

/// Does a little of an organisation's work: whether there may be more of each kind, or why it failed.
async fn turn(app: &App, tenant: &Arc<Tenant>, work: &mut Work) -> Vec<Result<bool, StoreError>> {
    let before = work.after;
    let looked = look(app, tenant, work).await;
    // One that could not be looked at keeps no other from being.
    let more = work.after != before;
    work.passed_over |= looked.is_err();
    if !more && !work.passed_over {
        // What comes meanwhile may be before the last one.
        work.after = BlobHash([0; 32]);
    }
    let mut done = vec![looked, Ok(work.after != before)];
    // What a photo is like is known when all are looked at.
    if !more && !work.judging_failed {
        let judged = judge(app, tenant).await;
        work.judging_failed = judged.is_err();
        done.push(judged);
    }
    if !work.reading_failed {
        let read = read_visits(app, tenant).await;
        work.reading_failed = read.is_err();
        done.push(read);
    }
    done
}

/// Looks at a few of the photos that nobody has looked at, after this one; whether there may be more. One whose file cannot
/// be read now or is not there waits for the next time, and so does one of which the process has died.
async fn look(app: &App, tenant: &Tenant, work: &mut Work) -> Result<bool, StoreError> {
    let org = tenant.org;
    for _ in 0..PHOTOS {
        let last = work.after;
        let next = app.store.read(move |c| rows::unlooked(c, org, last, now_ms())).await?;
        let Some(hash) = next else { return Ok(false) };
        work.after = hash;
        let seen = match photo::look(app, tenant, hash).await? {
            Err(Unfit::Deadly) => continue,
            Err(Unfit::Missing) => {
                work.passed_over = true;
                continue;
            }
            seen => seen.ok(),
        };
        let write = app.store.write_for(org, move |tx| {
            rows::looked(tx, org, hash, seen.as_ref().map(|(sketch, screen)| (sketch, *screen)))
        });
        write.await?;
    }
    Ok(true)
}

/// Judges a few of the references to photos that are looked at; whether there may be more.
async fn judge(app: &App, tenant: &Tenant) -> Result<bool, StoreError> {
    let (org, id) = (tenant.org, tenant.id);
    for _ in 0..REFERENCES {
        let next = app.store.read(move |c| rows::unjudged(c, org, now_ms())).await?;
        let Some(reference) = next else { return Ok(false) };
        let read = app.store.read(move |connection| {
            let tx = connection.unchecked_transaction()?;
            let as_of = rows::newest(&tx, &reference)?;
            let seen = rows::seen_in(&tx, &reference);
            let held = log::document(&tx, org, id, reference.document);
            Ok((as_of, readable(reference.document, seen)?, readable(reference.document, held)?))
        });
        let (as_of, seen, held) = read.await?;
        let found = found_of(tenant, held.as_ref(), &reference, seen.unwrap_or_default());
        let now = now_ms();
        let write = app
            .store
            .write_for(org, move |tx| rows::judged(tx, &reference, as_of, found.as_ref(), now));
        write.await?;
    }
    Ok(true)
}

/// What a reference gives reason to look at; nothing that stands may name its photo any more. Of a document that cannot be
/// read nothing is known besides what is like the photo elsewhere.
fn found_of(
    tenant: &Tenant,
    held: Option<&Held>,
    reference: &Reference,
    seen: Seen,
) -> Option<Found> {
    let inside = |other: &Reference| other.document == reference.document;
    let (same, mut others): (Vec<_>, Vec<_>) =
        seen.others.into_iter().partition(|(other, _)| inside(other));
    let Some(held) = held else { return Some(Found { others, ..Found::default() }) };
    let visit = Visit::read(&held.document);
    let by_itself = by_itself(tenant, held, &visit, reference, seen.screen)?;
    let (two, apart): (Vec<_>, Vec<_>) =
        same.into_iter().partition(|(other, _)| are_of_two_checks(&visit, reference, other));
    others.extend(two);
    Some(Found { by_itself: Some(by_itself), others, none_with: apart })
}

/// Whether two photos that were recorded in a visit are evidence for different checks. One that was taken again for the
/// same check is none, nor is what a contest shows of what was recorded; and one photo that is named for two checks
/// passes for no other.
fn are_of_two_checks(visit: &Visit, one: &Reference, other: &Reference) -> bool {
    let recorded: Vec<(UserId, &PhotoRef)> =
        visit.photos().map(|(_, by, photo)| (by, photo)).collect();
    let are_recorded = [one, other]
        .iter()
        .all(|of| recorded.iter().any(|(by, photo)| (*by, photo.hash) == (of.by, of.hash)));
    let checks = |hash| {
        let named = recorded.iter().filter(move |(_, photo)| photo.hash == hash);
        named.map(|(_, photo)| photo.check).collect::<BTreeSet<Option<CheckId>>>()
    };
    are_recorded && checks(one.hash).is_disjoint(&checks(other.hash))
}

/// What was read, or `None` of what is damaged: that is named by a check, and the others go on.
fn readable<T>(document: DocId, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(StoreError::Damaged(what)) => {
            tracing::error!(%document, what, "what is worth a look of it cannot be read");
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// Reads a few visits for what place, way and time give reason to look at; whether there may be more.
async fn read_visits(app: &App, tenant: &Arc<Tenant>) -> Result<bool, StoreError> {
    let (org, reading) = (tenant.org, Arc::clone(tenant));
    let read = app.store.read(move |connection| {
        let (waiting, settings) =
            (field::unjudged(connection, org, VISITS)?, field::settings(connection, org)?);
        let read = waiting.into_iter().map(|waiting| {
            let document = waiting.visit.into();
            let grounds = field::grounds(connection, org, waiting.outlet, settings);
            let Some(grounds) = readable(document, grounds)? else {
                return Ok((waiting, None, Reading::default()));
            };
            let known = Known::of(&reading.world(), grounds, settings);
            let held = log::document(connection, org, reading.id, document);
            let held = readable(document, held)?;
            let read = held.map(|held| of_visit(&held, &known)).unwrap_or_default();
            Ok((waiting, Some(known), read))
        });
        read.collect::<Result<Vec<_>, StoreError>>()
    });
    let read = read.await?;
    if read.is_empty() {
        return Ok(false);
    }
    let (tenant, now) = (Arc::clone(tenant), now_ms());
    let write = app.store.write_for(org, move |tx| -> Result<(), StoreError> {
        let (world, settings) = (tenant.world_in_writing(), field::settings(tx, org)?);
        for (waiting, known, read) in &read {
            // The outlet may be known to be elsewhere by now, or its phone to be lost; then the visit waits on.
            let grounds = field::grounds(tx, org, waiting.outlet, settings);
            let grounds = readable(waiting.visit.into(), grounds)?;
            if grounds.map(|grounds| Known::of(&world, grounds, settings)) == *known {
                field::judged(tx, waiting, read, now)?;
            }
        }
        Ok(())
    });
    write.await?;
    Ok(true)
}

/// What a photo of a document by itself gives reason to look at: of each kind the most that an entry of the reference's
/// person gives, however often they name it. `None` where none does that stands: they took it back, as from a visit that
/// they began at the wrong outlet.
fn by_itself(
    tenant: &Tenant,
    held: &Held,
    visit: &Visit,
    reference: &Reference,
    screen: u32,
) -> Option<Vec<(Signal, Option<Evidence>)>> {
    let world = tenant.world();
    let outlet = Start::of(&held.document).and_then(|start| world.outlets.get(&start.outlet));
    let zone = outlet.map_or("UTC", |outlet| outlet.zone.as_str());
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let withdrawn = visit.recordings.iter().filter(|recorded| recorded.withdrawn);
    let withdrawn: HashSet<ChangeHash> = withdrawn.map(|recorded| recorded.hash).collect();
    let mut most: BTreeMap<Kind, (i64, Option<Evidence>)> = BTreeMap::new();
    let mut stands = false;
    for change in held.document.changes() {
        let Ok(entry) = change.entry() else { continue };
        if withdrawn.contains(&change.hash()) {
            continue;
        }
        let Some(times) = held.times.get(&change.hash()) else { continue };
        let at = Timestamp::from_millisecond(times.claimed_ms).unwrap_or_default();
        // Whoever contests shows what was there before.
        let recorded_ms = match entry {
            Entry::Recording(_) => (times.claimed_ms, times.claimed_ms),
            _ => (i64::MIN, times.claimed_ms),
        };
        let named = entry.photos().iter().filter(|photo| photo.hash == reference.hash);
        for named in named.filter(|_| entry.by() == reference.by) {
            stands = true;
            let signals = of_photo(&PhotoFacts {
                recorded_ms,
                offset_min: i64::from(zone.to_offset(at).seconds()) / 60,
                origin: named.origin.as_ref(),
                screen,
            });
            // That a program is named says more than by how much.
            let rank = |figure: i64, evidence: &Option<Evidence>| {
                let named = matches!(evidence, Some(Evidence::File { editor: Some(_), .. }));
                (named, figure.unsigned_abs(), figure)
            };
            for (Signal { kind, figure }, evidence) in signals {
                let before = most.get(&kind).map(|(figure, evidence)| rank(*figure, evidence));
                if before.is_none_or(|before| rank(figure, &evidence) > before) {
                    most.insert(kind, (figure, evidence));
                }
            }
        }
    }
    let signals = most.into_iter();
    let signals = signals.map(|(kind, (figure, evidence))| (Signal { kind, figure }, evidence));
    stands.then(|| signals.collect())
}
