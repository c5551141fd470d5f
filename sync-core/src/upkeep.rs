//! What a device does to all that it keeps when something has happened: the server was restored, rows do not read, its
//! key changes, or something went out of its person's sight.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::client::{FormerKey, Kept, Profile, Replica, Write, add_seals, count, territories};
use crate::document::Change;
use crate::evidence::{Keypair, Seal};
use crate::id::{Actor, BlobHash, ChangeHash, OutletId};
use crate::model::catalogue::{Record, RecordKey, RecordKind};

/// Begins anew after the server forgot where the device stands: it was restored from a backup. Everything here
/// counts as unconfirmed, others' work with its seals too, until a pull from the beginning has shown what the
/// server still has; the rest is then pushed back.
pub fn rewind<R: Replica>(replica: &R) -> Result<Vec<Write>, R::Error> {
    let mut profile = replica.profile().clone();
    (profile.cursor, profile.pushed, profile.filled, profile.held) = (None, None, None, None);
    let mut writes = vec![Write::Profile(Box::new(profile)), Write::ResendPhotos];
    for id in replica.documents()? {
        let Some(mut kept) = replica.document(id)? else { continue };
        kept.unconfirm();
        writes.push(Write::Document(Box::new(kept)));
    }
    Ok(writes)
}

/// Goes on without rows that do not read: each document with what is left of it ([`Kept::salvaged`]). The next sync
/// counts what is here, and repairs it. The device no longer knows the numbers that it gave to what is lost, so it
/// writes as a new actor from then on, whose second half is `instance`, drawn by chance.
pub fn salvage(profile: &Profile, left: Vec<Kept>, instance: [u8; 8]) -> Vec<Write> {
    let actor = Actor::new(&profile.key, instance);
    let profile = Profile { actor, held: None, ..profile.clone() };
    let salvage = left.into_iter().map(|kept| Write::Salvage(Box::new(kept)));
    salvage.chain([Write::Profile(Box::new(profile))]).collect()
}

/// Goes on with another key and as a new actor, whose second half is `instance`, drawn by chance. What waits to be
/// sent is sealed with the key that it was written under, and so is what no seal reaches: each change by itself, for who
/// drops those that follow can seal it no more.
pub fn renew<R: Replica>(
    replica: &R,
    before: &Keypair,
    next: &Keypair,
    instance: [u8; 8],
) -> Result<Vec<Write>, R::Error> {
    let mut profile = replica.profile().clone();
    let mut writes = Vec::new();
    for id in replica.documents()? {
        let Some(mut kept) = replica.document(id)? else { continue };
        let pending: HashSet<ChangeHash> = kept.pending.iter().copied().collect();
        let own = kept.document.changes().iter().filter(|c| c.actor.belongs_to(&profile.key));
        let own: Vec<ChangeHash> = own.map(Change::hash).collect();
        let sealed = kept.seals.iter().map(|seal| seal.head).filter(|head| own.contains(head));
        let sealed = kept.document.past(&sealed.collect::<Vec<_>>());
        let bare = own.into_iter().filter(|h| pending.contains(h) || !sealed.contains(*h));
        let seals: Vec<Seal> = bare.map(|head| before.seal(profile.org, id, head)).collect();
        if !seals.is_empty() {
            add_seals(&mut kept, &seals);
            writes.push(Write::Document(Box::new(kept)));
        }
    }
    profile.former.get_or_insert_default().push(FormerKey(profile.key));
    profile.key = next.public();
    profile.actor = Actor::new(&profile.key, instance);
    profile.pushed = None;
    writes.push(Write::Profile(Box::new(profile)));
    Ok(writes)
}

/// Drops what others have written and this device needs for nothing that it has written itself: its access was withdrawn,
/// or its person was let go. What it has written stays, confirmed or not: the server might lose it yet. What the documents
/// that stay are about stays too, so that work can go on under a code to come; all else then comes from the beginning.
pub fn withdraw<R: Replica>(replica: &R) -> Result<Vec<Write>, R::Error> {
    let mut profile = replica.profile().clone();
    (profile.cursor, profile.filled, profile.held) = (None, None, None);
    // Who is taken back is given anew what it has pushed, for it may have let go of that.
    profile.pushed = None;
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for id in replica.documents()? {
        let Some(kept) = replica.document(id)? else { continue };
        let written = kept.document.changes().iter().any(|change| profile.owns(change.actor));
        match written || !kept.pending.is_empty() {
            true => own.push(kept),
            false => others.push(kept),
        }
    }
    let outlets: HashSet<OutletId> = own.iter().filter_map(Kept::outlet).collect();
    // Of an outlet's volumes all stay, or none.
    let is_needed =
        |kept: &Kept| kept.volume().is_some_and(|(outlet, _)| outlets.contains(&outlet));
    let (needed, others): (Vec<Kept>, Vec<Kept>) = others.into_iter().partition(is_needed);
    let mut writes: Vec<Write> = Vec::new();
    for kind in [RecordKind::Outlet, RecordKind::Call] {
        for record in replica.records(kind)? {
            let outlet = match &record {
                Record::Outlet(outlet) => outlet.id,
                Record::Call(call) => call.outlet,
                _ => continue,
            };
            if !outlets.contains(&outlet) {
                writes.push(Write::Forget(record.key()));
            }
        }
    }
    let named: HashSet<BlobHash> = own.iter().chain(&needed).flat_map(Kept::names).collect();
    writes.extend(others.into_iter().flat_map(|kept| purge(kept, &named)));
    writes.push(Write::Profile(Box::new(profile)));
    Ok(writes)
}

/// A document goes, and what it has named alone goes with it.
fn purge(kept: Kept, named: &HashSet<BlobHash>) -> Vec<Write> {
    let gone = |hash: &BlobHash| !named.contains(hash);
    let notes = kept.notes().into_iter().filter(gone).map(Write::ForgetNote);
    let photos = kept.photos().into_iter().filter(gone).map(Write::ForgetPhoto);
    let mut writes: Vec<Write> = notes.chain(photos).collect();
    writes.push(Write::Purge(Box::new(kept)));
    writes
}

/// Drops what has gone out of the person's sight, once all of it is confirmed. To be asked after the last page of
/// a pull. Should some of it ever come back, its place in the author's numbering is forgotten: so the device
/// writes as a new actor from then on, whose second half is `instance`, drawn by chance.
pub fn sweep<R: Replica>(replica: &R, instance: [u8; 8]) -> Result<Vec<Write>, R::Error> {
    let mut profile = replica.profile().clone();
    if profile.narrowed.is_none() {
        return Ok(Vec::new());
    }
    let rights = match replica.record(RecordKey::person(profile.user))? {
        Some(Record::Person(person)) => person.rights(),
        _ => None,
    };
    // Somebody who was let go is told so by the next pull.
    let Some(rights) = rights else { return Ok(Vec::new()) };
    let tree = territories(replica)?;
    let mut writes = Vec::new();
    let (mut outlets, mut hidden) = (HashMap::new(), HashSet::new());
    for record in replica.records(RecordKind::Outlet)? {
        if let Record::Outlet(outlet) = &record {
            match rights.sees(&tree, &outlet.audience()) {
                true => drop(outlets.insert(outlet.id, outlet.audience())),
                false => {
                    hidden.insert(outlet.id);
                    writes.push(Write::Forget(record.key()));
                }
            }
        }
    }
    for record in replica.records(RecordKind::Call)? {
        if matches!(&record, Record::Call(call) if !outlets.contains_key(&call.outlet)) {
            writes.push(Write::Forget(record.key()));
        }
    }
    let mut waiting = false;
    // The newest volume first: one stays while a later one does.
    let (mut newest_first, mut staying) = (Vec::new(), HashSet::new());
    // What others have named too stays with what they have named it in.
    let (mut named, mut purged) = (HashSet::new(), Vec::new());
    let mut stays = |kept: &Kept| named.extend(kept.names());
    for id in replica.documents()? {
        let volume = match id.is_later_volume() {
            true => replica.document(id)?.and_then(|kept| kept.volume()),
            false => None,
        };
        newest_first.push((Reverse(volume.map_or(0, |(_, number)| number)), id));
    }
    newest_first.sort_unstable();
    for (_, id) in newest_first {
        let Some(mut kept) = replica.document(id)? else { continue };
        let volume = kept.volume();
        let outlet = volume.map(|(outlet, _)| outlet);
        let listed = outlet.and_then(|outlet| outlets.get(&outlet)).copied();
        let audiences = match (listed, volume) {
            (Some(audience), _) => vec![audience],
            (None, Some((outlet, 1..))) => {
                let first = replica.document(outlet.into())?;
                first.map_or_else(Vec::new, |first| first.audiences())
            }
            _ => kept.audiences(),
        };
        let seen = audiences.iter().any(|audience| rights.sees(&tree, audience));
        let seen = seen && !kept.gone && outlet.is_none_or(|outlet| !hidden.contains(&outlet));
        if seen && !kept.astray {
            stays(&kept);
            if std::mem::take(&mut kept.aside) {
                writes.push(Write::Document(Box::new(kept))); // it has come back before it was confirmed
            }
            continue;
        }
        if !kept.pending.is_empty() || outlet.is_some_and(|outlet| staying.contains(&outlet)) {
            stays(&kept);
            staying.extend(outlet);
            waiting |= kept.to_push();
            if !kept.aside {
                kept.aside = true;
                writes.push(Write::Document(Box::new(kept)));
            }
            continue;
        }
        if seen && kept.begun_here(&profile) {
            stays(&kept);
            continue;
        }
        if kept.document.newest_of(profile.actor).is_some() {
            profile.actor = Actor::new(&profile.key, instance);
        }
        purged.push(kept);
    }
    writes.extend(purged.into_iter().flat_map(|kept| purge(kept, &named)));
    count(replica, &mut profile, &writes)?;
    profile.narrowed = waiting.then_some(true);
    writes.push(Write::Profile(Box::new(profile)));
    Ok(writes)
}
