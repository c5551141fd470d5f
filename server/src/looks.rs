//! What happens after: photos that came are looked at, visits that changed are read for place, way and time, and what is
//! worth a look is written down. What is still to do is marked in the store, so it goes on where it was after a restart,
//! and what came before is looked at too.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sync_core::document::Entry;
use sync_core::id::OutletId;
use sync_core::model::Geo;
use sync_core::model::visit::{Act, Recording};
use tokio::sync::broadcast::error::RecvError;

use crate::app::{App, Tenant};
use crate::signals::field::{Reading, of_visit};
use crate::signals::{PhotoFacts, Signal, of_photo};
use crate::store::log::Held;
use crate::store::signals::{self as rows, Reference, Seen};
use crate::store::{StoreError, field, log};
use crate::{now_ms, photo};

/// What was not to be done is tried again after this long.
const AGAIN: Duration = Duration::from_secs(300);
/// Visits that are read at once.
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
        if let Err(error) = done {
            tracing::error!(%error, "what is worth a look could not be found out");
        }
    }
}

/// Does all that is to be done now. It may be dropped at any time.
pub async fn catch_up(app: &App) -> Result<(), StoreError> {
    while let Some((org, hash)) = app.store.read(rows::unlooked).await? {
        let Some(tenant) = app.tenant(org) else { return Ok(()) };
        let seen = photo::look(app, &tenant, hash).await?;
        let write = app.store.write_for(org, move |tx| {
            rows::looked(tx, org, hash, seen.as_ref().map(|(sketch, screen)| (sketch, *screen)))
        });
        write.await?;
    }
    while let Some(reference) = app.store.read(rows::unjudged).await? {
        let Some(tenant) = app.tenant(reference.org) else { return Ok(()) };
        let id = tenant.id;
        let read = app.store.read(move |connection| {
            let seen = rows::seen_in(connection, &reference)?;
            let held = log::document(connection, reference.org, id, reference.document)?;
            Ok((seen, held))
        });
        let (seen, held) = read.await?;
        let screen = seen.as_ref().map_or(0, |seen| seen.screen);
        let by_itself = by_itself(&tenant, &held, &reference, screen);
        let others = seen.map(|Seen { others, .. }| others).unwrap_or_default();
        let now = now_ms();
        let write = app.store.write_for(reference.org, move |tx| {
            rows::judged(tx, &reference, &by_itself, &others, now)
        });
        write.await?;
    }
    while read_visits(app).await? {}
    Ok(())
}

/// Reads a few visits for what place, way and time give reason to look at; whether there may be more.
async fn read_visits(app: &App) -> Result<bool, StoreError> {
    let waiting = app.store.read(|connection| field::unjudged(connection, VISITS)).await?;
    let Some(org) = waiting.first().map(|first| first.org) else { return Ok(false) };
    let Some(tenant) = app.tenant(org) else { return Ok(false) };
    let reading = Arc::clone(&tenant);
    let read = app.store.read(move |connection| {
        let of_one = waiting.into_iter().filter(|waiting| waiting.org == org);
        let read = of_one.map(|waiting| {
            let place = place_of(&reading, waiting.outlet);
            let held = log::document(connection, org, reading.id, waiting.visit.into());
            let read = match held {
                Ok(held) => of_visit(&held, place.as_ref()),
                // It is named by a check; the others go on.
                Err(StoreError::Damaged(what)) => {
                    tracing::error!(visit = %waiting.visit, what, "a visit cannot be read");
                    Reading::default()
                }
                Err(error) => return Err(error),
            };
            Ok((waiting, place, read))
        });
        read.collect::<Result<Vec<_>, StoreError>>()
    });
    let read = read.await?;
    let now = now_ms();
    let write = app.store.write_for(org, move |tx| -> Result<(), StoreError> {
        for (waiting, place, read) in &read {
            // The outlet may be known to be elsewhere by now; then the visit waits on.
            if place_of(&tenant, waiting.outlet) == *place {
                field::judged(tx, waiting, read, now)?;
            }
        }
        Ok(())
    });
    write.await?;
    Ok(true)
}

fn place_of(tenant: &Tenant, outlet: OutletId) -> Option<Geo> {
    tenant.world().outlets.get(&outlet).and_then(|outlet| outlet.place)
}

/// What a photo of a document by itself gives reason to look at.
fn by_itself(tenant: &Tenant, held: &Held, reference: &Reference, screen: u32) -> Vec<Signal> {
    for change in held.document.changes() {
        let Ok(entry) = change.entry() else { continue };
        let Some(named) = entry.photos().iter().find(|photo| photo.hash == reference.hash) else {
            continue;
        };
        let Some(times) = held.times.get(&change.hash()) else { continue };
        let world = tenant.world();
        let outlet = held.document.changes().iter().find_map(|change| match change.entry() {
            Ok(Entry::Recording(Recording { act: Act::Start { outlet, .. }, .. })) => Some(outlet),
            _ => None,
        });
        let outlet = outlet.and_then(|outlet| world.outlets.get(&outlet));
        let zone = outlet.map_or("UTC", |outlet| outlet.zone.as_str());
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        let at = Timestamp::from_millisecond(times.claimed_ms).unwrap_or_default();
        // Whoever contests shows what was there before.
        let recorded_ms = match entry {
            Entry::Recording(_) => (times.claimed_ms, times.claimed_ms),
            _ => (i64::MIN, times.claimed_ms),
        };
        return of_photo(&PhotoFacts {
            recorded_ms,
            offset_min: i64::from(zone.to_offset(at).seconds()) / 60,
            origin: named.origin.as_ref(),
            screen,
        });
    }
    Vec::new()
}
