//! From a push to the log: verify, admit, append, project. Knows neither HTTP nor SQL.
//!
//! [`verify`] needs no store and runs beside other requests; [`Ingest::push`] runs inside one transaction.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sync_core::admit::{Admitted, Author, Refusal, admit};
use sync_core::document::{Change, Entry, Misfit};
use sync_core::evidence::{Keypair, Leaf, Seal};
use sync_core::id::{
    Actor, BlobHash, ChangeHash, DeviceId, DocId, DocKind, OrgId, OutletId, UserId, VisitId,
};
use sync_core::model::Day;
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::people::Audience;
use sync_core::model::visit::Note;
use sync_core::projection::project;
use sync_core::visit::Visit;
use sync_core::wire::{Group, Outcome, PushRequest};

use crate::store::StoreError;
use crate::store::log::{Held, Ledger, Line};
use crate::store::visits::{PhotoRow, ReportRow, VisitRow};
use crate::world::World;

/// An enrolled device, as its token shows.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// Which device.
    pub device: DeviceId,
    /// Its public key.
    pub key: [u8; 32],
    /// Whose.
    pub user: UserId,
}

/// Checks each group's signatures: every change is the sender's own and reached by one of its seals.
/// `None` where all is well.
pub fn verify(org: OrgId, sender: &Sender, push: &PushRequest) -> Vec<Option<Outcome>> {
    push.groups.iter().map(|group| verify_group(org, sender, group)).collect()
}

fn verify_group(org: OrgId, sender: &Sender, group: &Group) -> Option<Outcome> {
    if !group.changes.iter().all(|c| c.actor.belongs_to(&sender.key)) {
        return Some(quarantined(&Refusal::ForeignActor));
    }
    let bad =
        |detail: &str| Outcome::Quarantined { code: "bad_seal".into(), detail: detail.into() };
    if !group.seals.iter().all(|seal| seal.verify(&sender.key, org, group.document)) {
        return Some(bad("a signature does not verify"));
    }
    let changes: BTreeMap<ChangeHash, &Change> =
        group.changes.iter().map(|c| (c.hash(), c)).collect();
    let mut reached = HashSet::new();
    let mut open: Vec<ChangeHash> = group.seals.iter().map(|s| s.head).collect();
    while let Some(hash) = open.pop() {
        if let Some(change) = changes.get(&hash).filter(|_| reached.insert(hash)) {
            open.extend(&change.deps);
        }
    }
    (reached.len() < changes.len()).then(|| bad("no signature reaches every change"))
}

fn quarantined(refusal: &Refusal) -> Outcome {
    Outcome::Quarantined { code: refusal.code().into(), detail: refusal.to_string() }
}

/// The server as an author: it signs what people do in the console.
pub struct Console {
    /// Its signing key.
    pub keypair: Keypair,
    /// The actor that it writes as.
    pub actor: Actor,
    /// The device that stands for it in the log.
    pub device: DeviceId,
}

/// The name of the server's own device in an organisation.
pub fn server_device(org: OrgId) -> DeviceId {
    DeviceId::derived(org.as_bytes(), b"server")
}

/// Why a person's act in the console was not written.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One write to one organisation: the ledger and what admission must know.
pub struct Ingest<'a, 'tx> {
    /// Where it is written.
    pub ledger: &'a mut Ledger<'tx>,
    /// The organisation's name.
    pub org: OrgId,
    /// The catalogue and the people.
    pub world: &'a World,
    /// The server's clock, in milliseconds since 1970 UTC.
    pub now_ms: i64,
}

impl Ingest<'_, '_> {
    /// Decides on every group of a push and writes what is accepted, and apart from it what is not.
    pub fn push(
        &mut self,
        sender: &Sender,
        push: &PushRequest,
        verified: Vec<Option<Outcome>>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let notes: BTreeMap<BlobHash, &Note> = push.notes.iter().map(|n| (n.digest(), n)).collect();
        let mut outcomes = Vec::with_capacity(push.groups.len());
        for (group, bad) in push.groups.iter().zip(verified) {
            let outcome = match bad {
                Some(outcome) => outcome,
                None => match self.ledger.refused(sender.device, group)? {
                    Some(outcome) => outcome,
                    None => self.group(sender, &push.now, group, &notes)?,
                },
            };
            if let Outcome::Quarantined { code, detail } = &outcome {
                self.ledger.quarantine(
                    self.org,
                    sender.device,
                    group,
                    code,
                    detail,
                    self.now_ms,
                )?;
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn group(
        &mut self,
        sender: &Sender,
        pushed: &Moment,
        group: &Group,
        notes: &BTreeMap<BlobHash, &Note>,
    ) -> Result<Outcome, StoreError> {
        let Some(rights) = self.world.rights(sender.user) else {
            return Ok(quarantined(&Refusal::NoRight("the person no longer works here")));
        };
        let author = Author { rights, key: sender.key };
        let mut held = self.ledger.document(self.org, group.document)?;
        let mut fresh = Vec::new();
        for change in &group.changes {
            if held.document.contains(change.hash()) {
                continue;
            }
            let admitted = match admit(&author, self.world, &held.document, change) {
                Ok(admitted) => admitted,
                Err(refusal) => return Ok(quarantined(&refusal)),
            };
            for digest in admitted.entry.notes() {
                if !notes.contains_key(&digest) && self.ledger.note(digest)?.is_none() {
                    let detail = format!("the note {digest} did not come along");
                    return Ok(Outcome::Quarantined { code: "missing_note".into(), detail });
                }
            }
            held.document.insert(change.clone()).map_err(damaged)?;
            fresh.push((change, admitted));
        }
        let times: Vec<CaptureTime> = fresh
            .iter()
            .map(|(_, admitted)| self.time(admitted.entry.when(), pushed))
            .collect::<Result<_, _>>()?;
        let named: BTreeSet<BlobHash> = fresh.iter().flat_map(|(_, a)| a.entry.notes()).collect();
        self.ledger.put_notes(named.iter().filter_map(|digest| notes.get(digest).copied()))?;
        self.append(sender.device, held, &fresh, &times, &group.seals)?;
        self.ledger.release(sender.device, group.document)?;
        Ok(Outcome::Accepted)
    }

    fn time(&self, captured: &Moment, pushed: &Moment) -> Result<CaptureTime, StoreError> {
        let anchor_ms = match captured.anchor {
            0 => None,
            anchor => self.ledger.time_of(anchor - 1)?,
        };
        Ok(CaptureTime::estimate(captured, pushed, anchor_ms, self.now_ms))
    }

    /// Writes an entry that a person made in the console, signed by the server.
    pub fn act(
        &mut self,
        console: &Console,
        document: DocId,
        entry: &Entry,
        note: Option<&Note>,
    ) -> Result<ChangeHash, ActError> {
        let rights = self.world.rights(entry.by()).ok_or(Refusal::NoRight("no such person"))?;
        let author = Author { rights, key: console.keypair.public() };
        let mut held = self.ledger.document(self.org, document)?;
        let change = held.document.next(console.actor, entry).map_err(Refusal::from)?;
        let admitted = admit(&author, self.world, &held.document, &change)?;
        held.document.insert(change.clone()).map_err(Refusal::from)?;
        self.ledger.put_notes(note)?;
        let seal = console.keypair.seal(self.org, document, change.hash());
        let times = [self.time(entry.when(), entry.when())?];
        self.append(console.device, held, &[(&change, admitted)], &times, &[seal])?;
        Ok(change.hash())
    }

    /// The server's clocks as a moment of an entry that is written now.
    pub fn moment(&self) -> Moment {
        let (wall_ms, anchor) = (self.now_ms, self.ledger.size());
        Moment { wall_ms, boot: 0, boot_ms: 0, anchor, skew_ms: Some(0) }
    }

    fn append(
        &mut self,
        device: DeviceId,
        mut held: Held,
        fresh: &[(&Change, Admitted)],
        times: &[CaptureTime],
        seals: &[Seal],
    ) -> Result<(), StoreError> {
        let Some((_, first)) = fresh.first() else { return Ok(()) };
        let (document, audience) = (held.document.id(), first.audience);
        let audience_id = self.ledger.audience(&audience)?;
        for ((change, admitted), times) in fresh.iter().zip(times) {
            let hash = change.hash();
            let leaf = Leaf::Change { document, change: hash, device, received_ms: self.now_ms };
            let seal = seals.iter().find(|s| s.head == hash);
            let line = Line::Change { document, change, device, seal, times };
            self.ledger.append(&leaf, self.now_ms, audience_id, line)?;
            held.times.insert(hash, *times);
            held.devices.insert(hash, device);
            for photo in admitted.entry.photos() {
                self.ledger.put_photo(&PhotoRow {
                    hash: photo.hash,
                    document,
                    by: admitted.entry.by(),
                    referenced_ms: times.claimed_ms,
                    bytes: photo.bytes,
                })?;
            }
        }
        match document.kind {
            DocKind::Visit => self.project_visit(&held, audience),
            DocKind::Outlet => self.project_report(&held, audience),
        }
    }

    /// Brings what is derived from a visit's document up to date.
    pub fn project_visit(&mut self, held: &Held, audience: Audience) -> Result<(), StoreError> {
        let visit = Visit::read(&held.document);
        let (Some(start), Audience::Outlet { territory, distributor }) = (&visit.start, audience)
        else {
            return Ok(());
        };
        let outlet = self.world.outlets.get(&start.outlet);
        let zone = outlet.map_or("UTC", |o| o.zone.as_str());
        let claimed = |hash: &ChangeHash| held.times.get(hash).map(|t| t.claimed_ms);
        let started_ms = claimed(&start.hash).unwrap_or(self.now_ms);
        let day = Day::at(started_ms, zone);
        let must_stock = outlet.map_or(&[][..], |o| &o.must_stock);
        let facts = project(&visit, must_stock, day, &self.world.catalogue);
        let submitted = visit.submissions.iter().filter_map(|(hash, _)| claimed(hash)).max();
        let photos: BTreeSet<BlobHash> = visit
            .recordings
            .iter()
            .filter(|r| !r.withdrawn)
            .flat_map(|r| r.entry.photos())
            .map(|p| p.hash)
            .collect();
        let row = VisitRow {
            visit: VisitId::from_bytes(held.document.id().id),
            outlet: start.outlet,
            audience: self.ledger.audience(&audience)?,
            territory,
            distributor,
            call: start.call,
            day,
            status: visit.status,
            people: visit.people(),
            conflicts: visit.conflicts().count() as u64,
            news: visit.recordings.iter().filter(|r| r.new && !r.withdrawn).count() as u64,
            photos: photos.len() as u64,
            started_ms,
            submitted_ms: submitted,
            changed_ms: self.now_ms,
            changed: self.ledger.size().saturating_sub(1),
            counted: facts.visited,
        };
        self.ledger.put_visit(&row, &facts)
    }

    fn project_report(&mut self, held: &Held, audience: Audience) -> Result<(), StoreError> {
        let reports = held.document.changes().iter().filter_map(|change| match change.entry() {
            Ok(Entry::Report(report)) => Some((change.hash(), report)),
            _ => None,
        });
        let Some((hash, report)) = reports.collect::<Vec<_>>().pop() else { return Ok(()) };
        let row = ReportRow {
            outlet: OutletId::from_bytes(held.document.id().id),
            audience: self.ledger.audience(&audience)?,
            by: report.by,
            at_ms: held.times.get(&hash).map_or(self.now_ms, |t| t.claimed_ms),
            name: report.name,
            address: report.address,
            changed: self.ledger.size().saturating_sub(1),
        };
        self.ledger.put_report(&row)
    }
}

fn damaged(misfit: Misfit) -> StoreError {
    StoreError::Damaged(misfit.to_string())
}
