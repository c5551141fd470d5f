//! What the log let in, judged again from its lines alone, by somebody who knows nothing of admission: an author's
//! rights somewhere between what they knew and the line must have allowed it, or a supervisor did.

use std::collections::{BTreeMap, BTreeSet};

use server::store::log::Held;
use sync_core::cbor::from_cbor;
use sync_core::document::{Change, Entry};
use sync_core::id::{CallId, ChangeHash, DeviceId, DocId, DocKind, OutletId, TerritoryId, UserId};
use sync_core::model::catalogue::{Call, Device, Outlet, Person, Record, RecordKey};
use sync_core::model::contest::{Step, Word};
use sync_core::model::people::{Audience, Role, Scope};
use sync_core::model::visit::Act;
use sync_core::visit::Start;

use crate::backend::Server;

/// What rights rest on, as it was for whoever knew the log so far.
#[derive(Clone, Default)]
struct Known {
    people: BTreeMap<UserId, Person>,
    parents: BTreeMap<TerritoryId, Option<TerritoryId>>,
    outlets: BTreeMap<OutletId, Outlet>,
    calls: BTreeMap<CallId, Call>,
    devices: BTreeMap<DeviceId, Device>,
}

impl Known {
    /// Whether rights rest on this.
    fn take(&mut self, record: Record) -> bool {
        match record {
            Record::Person(person) => drop(self.people.insert(person.id, person)),
            Record::Territory(at) => drop(self.parents.insert(at.id, at.parent)),
            Record::Outlet(outlet) => drop(self.outlets.insert(outlet.id, outlet)),
            Record::Call(call) => drop(self.calls.insert(call.id, call)),
            Record::Device(device) => drop(self.devices.insert(device.id, device)),
            _ => return false,
        }
        true
    }

    fn sees(&self, scope: Scope, audience: Audience) -> bool {
        let Audience::Outlet { territory, distributor } = audience else { return true };
        match scope {
            Scope::Distributor(own) => own == distributor,
            Scope::Territory(top) => {
                let up = |at: &TerritoryId| self.parents.get(at).copied().flatten();
                std::iter::successors(Some(territory), up).take(16).any(|at| at == top)
            }
        }
    }

    /// Whether this start may be where it says: the first of a visit by the outlet and the call as they are here.
    fn has(&self, start: &Start, first: bool) -> bool {
        let active = |outlet: &&Outlet| outlet.active && outlet.audience() == start.audience();
        let outlet = self.outlets.get(&start.outlet).filter(active).is_some();
        let wanted =
            |id| self.calls.get(&id).is_some_and(|c| !c.cancelled && c.outlet == start.outlet);
        outlet && (!first || start.call.is_none_or(wanted))
    }

    fn allows(&self, held: &Held, begun: &[Start], start: Option<&Start>, entry: &Entry) -> bool {
        let author = self.people.get(&entry.by()).filter(|person| person.active);
        let Some(author) = author else { return false };
        let sees = |audience: Audience| self.sees(author.scope, audience);
        let audience = held.audience.expect("somebody has written to it");
        let in_scope = match (held.document.id().kind, start) {
            (DocKind::Visit, Some(start)) => {
                let said = begun.iter().any(|before| before.audience() == start.audience());
                sees(start.audience()) && (said || self.has(start, begun.is_empty()))
            }
            (DocKind::Visit, None) => {
                let own = begun.iter().filter(|start| start.by == entry.by());
                !begun.is_empty() && (sees(audience) || own.map(Start::audience).any(sees))
            }
            (DocKind::Outlet, _) => {
                let outlet =
                    held.document.volume().and_then(|(outlet, _)| self.outlets.get(&outlet));
                sees(outlet.map_or(audience, Outlet::audience))
            }
        };
        in_scope && writes(author.role, entry)
    }

    /// Whether the device that made a change is of whom it says that it is by, and has its access.
    fn trusts(&self, change: &Change, entry: &Entry) -> bool {
        let device = self.devices.values().find(|device| change.actor.belongs_to(&device.key));
        device.is_some_and(|device| {
            !device.revoked && (device.is_server() || device.user == entry.by())
        })
    }
}

/// The protocol's table of who writes what, but for what needs the document's past.
fn writes(role: Role, entry: &Entry) -> bool {
    use Role::{Admin, DistributorManager, DistributorStaff, Rep, Supervisor};
    let captures = matches!(role, Rep | DistributorStaff);
    let reviews = matches!(role, Admin | Supervisor);
    let of_distributor = matches!(role, DistributorManager | DistributorStaff);
    match entry {
        Entry::Recording(recording) => match &recording.act {
            Act::Start { .. } | Act::NotPossible { .. } => captures,
            Act::Observe(observed) => {
                captures
                    || (reviews && observed.photos.is_empty() && !observed.supersedes.is_empty())
            }
            Act::Withdraw { .. } | Act::Abandon {} => true,
        },
        Entry::Submission(_) => captures,
        Entry::Review(_) => reviews,
        Entry::Post(post) => match &post.word {
            None => true,
            Some(Word::Contest(_)) => of_distributor,
            Some(Word::Step(Step::Say | Step::Close, _)) => of_distributor || reviews,
            Some(Word::Step(..)) => reviews,
        },
        Entry::Report(_) => captures || reviews,
    }
}

/// A line of the log: a change, a record, or neither.
struct Line {
    document: Option<Vec<u8>>,
    hash: Option<[u8; 32]>,
    body: Option<Vec<u8>>,
}

/// Holds everything in the log against the rights of whoever wrote it.
pub fn every_line_was_allowed(server: &Server, helds: &BTreeMap<DocId, Held>) {
    let apart = server.apart().into_iter().filter(|apart| apart.state == "accepted");
    let approved: BTreeSet<(DocId, ChangeHash)> = apart
        .flat_map(|a| a.group.hashes().map(|hash| (a.group.document, hash)).collect::<Vec<_>>())
        .collect();
    let mut query = server
        .db
        .prepare_cached(
            "SELECT l.document, l.hash, r.body FROM log l
             LEFT JOIN record r ON r.org = l.org AND r.sequence = l.sequence ORDER BY l.sequence",
        )
        .expect("a query");
    let line = |row: &rusqlite::Row<'_>| {
        let (document, hash, body) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Line { document, hash, body })
    };
    let lines = query.query_map([], line).expect("the log");
    let lines: Vec<Line> = lines.map(|line| line.expect("a row")).collect();
    let record = |body: &[u8]| from_cbor::<Record>(body).expect("a record reads");
    // What has no record yet is as its first one says.
    let (mut first, mut seen) = (Known::default(), BTreeSet::new());
    for body in lines.iter().filter_map(|line| line.body.as_ref()) {
        if seen.insert(RecordKey::peek(body).expect("a key")) {
            first.take(record(body));
        }
    }
    let one_life = server.lives().len() == 1;
    let mut known = vec![(0, first)];
    // Of what a key has signed nobody can tell that it is from before it was enrolled.
    let mut enrolled: BTreeMap<UserId, usize> = BTreeMap::new();
    let mut starts: BTreeMap<DocId, Vec<Start>> = BTreeMap::new();
    for (line, Line { document, hash, body }) in lines.iter().enumerate() {
        if let Some(body) = body {
            let mut now = known.last().expect("it begins with one").1.clone();
            let record = record(body);
            if let (Record::Device(device), true) = (&record, one_life) {
                enrolled.entry(device.user).or_insert(line + 1);
            }
            if now.take(record) {
                known.push((line + 1, now));
            }
            continue;
        }
        let (Some(document), Some(hash)) = (document, hash) else { continue };
        let id = DocId::from_bytes(document).expect("a document's name");
        let (hash, held) = (ChangeHash(*hash), &helds[&id]);
        let change = held.document.change(hash).expect("it is in the log");
        let entry = change.entry().expect("an entry reads");
        let begun = starts.entry(id).or_default();
        let start = Start::all(&held.document).find(|start| start.hash == hash);
        // Of another life of the log nobody knows which line an anchor meant.
        let anchor =
            if one_life { usize::try_from(entry.when().anchor).unwrap_or(line) } else { 0 };
        let from = anchor.max(enrolled.get(&entry.by()).copied().unwrap_or(0)).min(line);
        let later = known.iter().skip(1).map(|(begins, _)| *begins).chain([usize::MAX]);
        let since = known.iter().zip(later).filter(|(_, ends)| *ends > from);
        let mut since = since.map(|((_, known), _)| known);
        let now = &known.last().expect("it begins with one").1;
        let may = since.any(|known| known.allows(held, begun, start.as_ref(), &entry));
        assert!(
            (may && now.trusts(change, &entry)) || approved.contains(&(id, hash)),
            "{hash} of {id} was let in: {entry:?}"
        );
        begun.extend(start);
    }
}
