//! A plain list of what was said, and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{Automerge, ReadDoc};
use rusqlite::params;
use server::blobs::Album;
use server::check::check;
use server::store::archive::Archive;
use server::store::log::{Held, counted_prints, kept_prints};
use sync_core::admit::Field;
use sync_core::cargo::{Carried, Load, Parcel};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::{Kept, Replica, inventory, territories};
use sync_core::document::{Change, Document, Entry, Section};
use sync_core::evidence::Leaf;
use sync_core::id::{BlobHash, ChangeHash, DeviceId, DocId, DocKind, LogHash, UserId, VisitId};
use sync_core::kpi::{Counts, Kpi, per_visit};
use sync_core::model::Day;
use sync_core::model::capture::{CaptureTime, ClaimBasis, Moment};
use sync_core::model::catalogue::{Record, RecordKey, RecordKind};
use sync_core::model::contest::{About, Step, Word};
use sync_core::model::people::{Audience, Rights, Role, Territories};
use sync_core::model::visit::{Act, Note, Post, Value};
use sync_core::projection::{Facts, project};
use sync_core::visit::{Recorded, Start, Visit};
use sync_core::wire::{
    CargoReply, CargoRequest, Delivery, Group, Outcome, PullReply, PushReply, PushRequest,
    RecordBytes, from_wire,
};

use crate::backend::{Apart, Server};
use crate::brand::{ORG, SAM};
use crate::device::{Device, Disk};
use crate::rights::every_line_was_allowed;

/// An entry that a phone said was saved.
#[derive(Debug, Clone)]
pub struct Saved {
    /// On which phone.
    pub device: usize,
    /// When, in true time.
    pub at_ms: i64,
    /// When, as it says itself.
    pub when: Moment,
}

/// What was said so far.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Everything that a phone said was saved.
    pub saved: BTreeMap<(DocId, ChangeHash), Saved>,
    /// Everything that the server acknowledged.
    pub acknowledged: BTreeSet<(DocId, ChangeHash)>,
    /// When what was captured at each moment was saved first.
    first_ms: BTreeMap<(DocId, Vec<u8>), i64>,
    /// What phones have sent that the server has taken in, be it that nobody heard so.
    sent: BTreeSet<(DocId, ChangeHash)>,
    /// Every push that the server has taken in, from whom.
    pub pushes: Vec<(DeviceId, Vec<u8>)>,
    /// All cargo that the server has taken in, from whom.
    pub deliveries: Vec<(DeviceId, Vec<u8>)>,
    /// The visits of cancelled calls: work on them is taken if its author did not know.
    pub cancelled: BTreeSet<VisitId>,
    /// Visits whose work somebody has made look late.
    pub late: BTreeSet<VisitId>,
    /// Who was let go: what they made before they were taken on again may be refused as late.
    pub dismissed: BTreeSet<UserId>,
    /// The phones whose access was withdrawn before a restore.
    withdrawn: BTreeSet<DeviceId>,
    /// What was written by who knew otherwise than they say: it may be refused as from before they knew.
    ahead: BTreeSet<(DocId, ChangeHash)>,
    /// Whose work in which documents was refused before: while that waits for somebody, its phone goes on to hear what is
    /// new, and when it is offered anew it may look late.
    refused: BTreeSet<(DocId, UserId)>,
    /// The server's clock has jumped: what times say is worth less.
    pub clock_jumped: bool,
    /// Whose phone's store was copied: their work may be refused as forked.
    pub copied: BTreeSet<UserId>,
    /// The server lost part of its log: what builds on it may be refused.
    pub lost_log: bool,
    /// With it went what somebody knew of people, outlets or territories: what rests on that may be refused.
    pub lost_rights: bool,
    /// Words that were erased.
    pub erased: BTreeSet<BlobHash>,
    /// What the server had taken in and lost again, with its log or what it keeps apart.
    unlogged: BTreeSet<(DocId, ChangeHash)>,
    /// The documents of which the server has lost something.
    torn: BTreeSet<DocId>,
    /// What somebody has given up or said again after it was refused; it may still be decided on.
    pub dropped: BTreeSet<(DocId, ChangeHash)>,
    /// The words of that: they may stay on its phone.
    dropped_words: BTreeSet<BlobHash>,
    /// What went with a lost phone after the server had lost it: nobody can bring it back.
    gone: BTreeSet<(DocId, ChangeHash)>,
    /// The phones whose disks lost something behind the library's back, and whose they are.
    pub rotten: BTreeMap<usize, UserId>,
    /// What a disk has lost; it may still be on its way.
    maybe_gone: BTreeSet<(DocId, ChangeHash)>,
    /// A phone forgot that something was not sent: what builds on it may be refused.
    pub forgotten: bool,
    /// How many questions of repairs there were.
    pub repairs: u64,
    /// How many pages were not the last.
    pub pages: u64,
    /// How often a phone crashed between two pages.
    pub stumbled: u64,
    /// The phones that were put back to an earlier copy of themselves.
    pub put_back: BTreeSet<usize>,
    /// For the pulls of a phone, by number: whether a visit that began elsewhere, or that it did not hear of, or what came
    /// into sight and had no room in a page, lets it hold something else than the server says.
    may_repair: BTreeMap<(usize, u64), bool>,
    /// The longest that a phone has waited for an answer that it heard.
    pub slowest_ms: i64,
}

impl Disk {
    /// Whether the same documents, records and notes lie here, byte for byte.
    pub fn holds_the_same(&self, other: &Self) -> bool {
        self.content() == other.content()
    }
}

impl Oracle {
    /// Whether a phone has said that a change is saved.
    pub fn knows(&self, document: DocId, change: ChangeHash) -> bool {
        let name = (document, change);
        self.saved.contains_key(&name)
            || self.maybe_gone.contains(&name)
            || self.dropped.contains(&name)
    }

    /// A phone says that something is saved.
    pub fn saved(
        &mut self,
        server: &Server,
        device: usize,
        phone: &Device,
        kept: &Kept,
        at_ms: i64,
    ) {
        let key = phone.keypair.public();
        for change in kept.document.changes().iter().filter(|c| c.actor.belongs_to(&key)) {
            let (document, when) = (kept.document.id(), *change.entry().expect("it reads").when());
            // What is proposed again says when it was captured first; and what was lost with a log may come back with a
            // copy of its phone.
            let at_ms = *self.first_ms.entry((document, to_cbor(&when))).or_insert(at_ms);
            let saved = Saved { device, at_ms, when };
            let name = (document, change.hash());
            if !self.saved.contains_key(&name) && knows_otherwise(server, phone, kept, &when) {
                self.ahead.insert(name);
            }
            if self.maybe_gone.contains(&name) || self.dropped.contains(&name) {
                continue; // it was saved long ago, and is back
            }
            self.saved.entry((document, change.hash())).or_insert(saved);
        }
    }

    /// A person has given refused work up, or proposed it again: then each entry is said again, or its person is told
    /// that it is not.
    pub fn dropped(&mut self, number: usize, phone: &Device, before: &Kept, again: bool) {
        let id = before.document.id();
        let now = phone.document(id);
        let here = |hash| now.as_ref().is_some_and(|kept| kept.document.contains(hash));
        let gone: Vec<&ChangeHash> = before.pending.iter().filter(|hash| !here(**hash)).collect();
        let own = |hash: &&&ChangeHash| {
            let change = before.document.change(***hash).expect("it waits here");
            phone.disk.profile().owns(change.actor)
        };
        let silent = gone.iter().filter(own).filter(|hash| {
            let entry = before.document.change(***hash).expect("it waits here").entry();
            let entry = entry.expect("it reads");
            now.as_ref().is_none_or(|kept| kept.document.said_at(&entry, |_| true).next().is_none())
        });
        assert!(!again || silent.count() <= phone.left_out, "{id}: it was dropped in silence");
        for hash in gone {
            let entry = before.document.change(*hash).expect("it waits here").entry();
            self.dropped_words.extend(entry.expect("it reads").notes());
            let name = (id, *hash);
            if self.saved.get(&name).is_some_and(|saved| saved.device == number) {
                self.saved.remove(&name);
            }
            self.dropped.insert(name);
        }
    }

    /// The server has taken a push in, and maybe says so.
    pub fn pushed(
        &mut self,
        server: &Server,
        from: DeviceId,
        push: &PushRequest,
        bytes: &[u8],
        reply: Option<&PushReply>,
    ) {
        self.pushes.push((from, bytes.to_vec()));
        let names = |group: &Group| group.hashes().map(|h| (group.document, h)).collect::<Vec<_>>();
        self.sent.extend(push.groups.iter().flat_map(names));
        let Some(reply) = reply else { return };
        assert_eq!(reply.outcomes.len(), push.groups.len());
        for (group, outcome) in push.groups.iter().zip(&reply.outcomes) {
            for hash in group.hashes() {
                let (name, logged) =
                    ((group.document, hash), server.times_logged(group.document, hash));
                match outcome {
                    Outcome::Accepted {} | Outcome::LetGo {} => {
                        assert_eq!(logged, 1, "{name:?} was acknowledged");
                        self.acknowledged.insert(name);
                    }
                    Outcome::Quarantined { code, .. } => {
                        self.may_be_refused(
                            server,
                            Some(from),
                            group.document,
                            &group.changes,
                            code,
                        );
                        assert!(logged == 1 || !self.acknowledged.contains(&name));
                        let by = server.world.devices.get(&from).map(|device| device.user);
                        self.refused.extend(by.map(|by| (group.document, by)));
                    }
                }
            }
        }
    }

    /// A phone hears the answer to a push: no phone is a copy whose store was never copied, whatever the network has lost
    /// or brought late.
    pub fn told(&self, phone: &Device, reply: &[u8]) {
        let Ok(reply) = from_wire::<PushReply>(ORG, reply) else { return };
        let copied = reply.copied.is_none() || self.copied.contains(&phone.user);
        assert!(copied, "{} is no copy, and is told so", phone.id);
    }

    /// The server has taken cargo in, and maybe says so: what was in it is there now, once.
    pub fn delivered(
        &mut self,
        server: &Server,
        from: DeviceId,
        cargo: &CargoRequest,
        bytes: &[u8],
        reply: Option<&CargoReply>,
    ) {
        self.deliveries.push((from, bytes.to_vec()));
        let Some(reply) = reply else { return };
        assert_eq!(reply.outcomes.len(), cargo.parcels.len());
        let quarantined = server.quarantined();
        for (parcel, outcome) in cargo.parcels.iter().zip(&reply.outcomes) {
            let parcel = Parcel::from_bytes(parcel.0.clone()).expect("a parcel");
            let opened = parcel.open(ORG, &server.console.keypair).expect("it opens");
            // What a server has forgotten with a lost log counts as its courier's.
            let known = server.world.devices.contains_key(&parcel.origin());
            assert!(known || self.lost_log, "it is carried for a stranger");
            let by = if known { parcel.origin() } else { from };
            let Load::Work(group, _) = opened.load else { continue };
            for hash in group.hashes() {
                let name = (group.document, hash);
                self.sent.insert(name);
                match outcome {
                    Delivery::Taken {} if server.times_logged(name.0, hash) == 1 => {
                        self.acknowledged.insert(name);
                    }
                    Delivery::Taken {} => {
                        let codes = quarantined.get(&name);
                        let codes = codes.and_then(|codes| codes.get(&by));
                        let codes = codes.expect("it is kept apart").iter();
                        for code in codes.filter(|code| *code != Outcome::DISCARDED) {
                            self.may_be_refused(server, Some(by), name.0, &group.changes, code);
                        }
                    }
                    Delivery::Later {} => assert!(self.lost_log, "{name:?} came too early"),
                    Delivery::Refused { code, .. } => {
                        panic!("{name:?} was not taken from a courier: {code}");
                    }
                }
            }
        }
    }

    /// Whether a phone's access was ever withdrawn, be it that the server has forgotten that again.
    pub fn withdrew(&self, server: &Server, phone: DeviceId) -> bool {
        self.withdrawn.contains(&phone) || server.withdrawn().any(|withdrawn| withdrawn == phone)
    }

    /// The server has lost part of its log: what no phone holds any more is gone for good.
    pub fn restored(&mut self, before: &Server, server: &Server, devices: &[Device]) {
        self.lost_log = true;
        self.withdrawn.extend(before.withdrawn());
        for id in before.documents() {
            let changes = before.held(id).document;
            let lost = |change: &Change| server.times_logged(id, change.hash()) == 0;
            if changes.changes().iter().any(lost) {
                self.torn.insert(id);
            }
        }
        let (quarantined, kept) = (before.quarantined(), server.quarantined());
        let lost = self.saved.keys().filter(|name| {
            let was = before.times_logged(name.0, name.1) > 0 || quarantined.contains_key(name);
            was && server.times_logged(name.0, name.1) == 0 && !kept.contains_key(name)
        });
        self.unlogged.extend(lost);
        self.lost_rights |= says_of_rights(before) > says_of_rights(server);
        // What the backup has the server still answers for.
        let has = |(document, hash): &(DocId, ChangeHash)| {
            server.times_logged(*document, *hash) == 1 || kept.contains_key(&(*document, *hash))
        };
        self.sent.retain(has);
        self.acknowledged.retain(|(document, hash)| server.times_logged(*document, *hash) == 1);
        self.pushes.retain(|(_, bytes)| {
            let push: PushRequest = from_wire(ORG, bytes).expect("it was read before");
            push.groups.iter().all(|group| group.hashes().all(|h| has(&(group.document, h))))
        });
        self.deliveries.clear();
        let before = self.saved.clone();
        self.lost(server, devices);
        // What it keeps apart of a phone that is gone a supervisor may let in yet.
        let apart = before.into_keys().filter(|name| kept.contains_key(name));
        self.maybe_gone.extend(apart.filter(|name| !self.saved.contains_key(name)));
    }

    /// A phone is lost. Its colleague has what waited; but what the server has confirmed, to the phone or to a courier,
    /// waits no more, and until the phone hears that the server has lost it again it gives that to nobody.
    pub fn went(&mut self, server: &Server, devices: &[Device], number: usize) {
        let cargo = carried(server, devices);
        let forgotten =
            |device: &usize| self.rotten.contains_key(device) || self.put_back.contains(device);
        // It knows what it gave to whom, and not that the other has lost it again.
        let forgot = |(document, change): &(DocId, ChangeHash)| {
            let given = devices[number].document(*document).map_or(Vec::new(), |kept| kept.given);
            let given = given.iter().filter(|given| given.changes.contains(change));
            let mut to =
                given.filter_map(|given| devices.iter().position(|d| d.id == given.device));
            to.any(|to| forgotten(&to))
        };
        let saved = self.saved.iter().filter(|(_, saved)| saved.device == number);
        let names = saved.map(|(name, _)| *name);
        let given_up = names.filter(|name| self.unlogged.contains(name) || forgot(name));
        let gone: Vec<_> =
            given_up.filter(|name| !survives(server, devices, &cargo, name)).collect();
        // What its author's disk has lost, or has not had yet again, it may have carried last.
        let saved = self.saved.iter().filter(|(_, saved)| forgotten(&saved.device));
        let names = saved.map(|(name, _)| *name);
        let gone_with_it: BTreeSet<_> =
            names.filter(|name| !survives(server, devices, &cargo, name)).collect();
        self.gone.extend(gone);
        self.saved.retain(|name, _| !gone_with_it.contains(name));
        self.maybe_gone.extend(gone_with_it);
    }

    /// A phone's disk has lost something: what neither the server nor another phone holds is gone for good. What does
    /// not read is told, and a head that does not read costs nothing.
    pub fn rotted(
        &mut self,
        server: &Server,
        devices: &[Device],
        number: usize,
        head: Option<DocId>,
    ) {
        self.rotten.insert(number, devices[number].user);
        let before = self.saved.clone();
        self.lost(server, devices);
        for (name, saved) in before.iter().filter(|(name, _)| !self.saved.contains_key(name)) {
            // What is kept apart at the server, brought by a colleague, counts as lost here too.
            let elsewhere = saved.device != number || server.quarantined().contains_key(name);
            let fine = elsewhere || head != Some(name.0);
            assert!(fine, "{name:?} was lost with the head of its document");
            let told = devices[number].disk.tells_of(name.0);
            assert!(told || elsewhere || self.lost_log, "{name:?} was lost, and nobody was told");
            self.maybe_gone.insert(*name);
        }
    }

    /// A phone is again what it was when its backup was made: what it alone had since then is gone, or on its way.
    pub fn put_back(&mut self, server: &Server, devices: &[Device], number: usize) {
        self.copied.insert(devices[number].user);
        self.put_back.insert(number);
        let before = self.saved.clone();
        self.lost(server, devices);
        for (name, saved) in before.iter().filter(|(name, _)| !self.saved.contains_key(name)) {
            // What its author's disk has lost this phone may have carried last.
            let its = saved.device == number
                || devices[saved.device].lost
                || self.rotten.contains_key(&saved.device);
            assert!(its, "{name:?} was on another phone");
            self.maybe_gone.insert(*name);
        }
    }

    fn lost(&mut self, server: &Server, devices: &[Device]) {
        let cargo = carried(server, devices);
        self.saved.retain(|name, saved| {
            // What was approved as it was proposed first is said already, and went from its phone.
            let said = |document| said_in(document, devices[saved.device].user, &saved.when);
            survives(server, devices, &cargo, name) || said(&server.held(name.0).document)
        });
    }

    /// Whether the work of these changes, from this device, may be refused for this: somebody's whom it is of, or of
    /// what was refused with it, or who brought it, must have given cause.
    fn may_be_refused(
        &self,
        server: &Server,
        from: Option<DeviceId>,
        document: DocId,
        changes: &[Change],
        code: &str,
    ) {
        let together = server.refused_with(from, document, changes, code);
        let changes = || changes.iter().chain(&together);
        let authors = changes().filter_map(|change| server.world.device_of(change.actor));
        let authors: Vec<_> =
            authors.chain(from.and_then(|id| server.world.devices.get(&id))).collect();
        let any = |of: &dyn Fn(&UserId) -> bool| authors.iter().any(|device| of(&device.user));
        let late = document.visit().is_some_and(|visit| self.late.contains(&visit));
        let copied = any(&|user| self.copied.contains(user));
        let rotten = any(&|user| self.rotten.values().any(|of| of == user));
        let dismissed = any(&|user| self.dismissed.contains(user));
        let ahead = changes().any(|change| self.ahead.contains(&(document, change.hash())));
        // What a person has written on with another key follows the fate of what was refused of the first.
        let quarantined = server.quarantined();
        let builds_on_refused = || {
            let parents = changes().flat_map(|change| &change.deps);
            let mut by = parents.filter_map(|parent| quarantined.get(&(document, *parent)));
            by.any(|by| by.keys().any(|device| Some(*device) == from))
        };
        let may = match code {
            // A phone that has not heard of the loss yet pushes what builds on lost work; a later volume builds on the
            // one before. And a phone may forget that something was not sent.
            "missing_parent" | "missing_note" => {
                self.is_torn(document)
                    || (code == "missing_parent" && (self.forgotten || builds_on_refused()))
            }
            // One of two copies has heard of what the other has not. Work may rest on rights that were lost with a log.
            // A repair of a page that did not fit brings records that are newer than the cursor. Who was let go has
            // been told so by the server, and has gone on.
            "late" => {
                let anew = any(&|user| self.refused.contains(&(document, *user)));
                late || copied || self.lost_rights || rotten || dismissed || ahead || anew
            }
            "out_of_scope" | "wrong_start" => self.lost_rights || rotten || ahead,
            "no_right" => self.lost_rights || dismissed || ahead,
            "unknown" => ahead,
            // Numbers of changes that a disk has lost are given again, and what was signed through them is bare.
            "forked" => copied || rotten,
            "bad_seal" => rotten,
            // Nobody here has the key, which was lost with the log.
            "foreign_actor" => {
                self.lost_log && changes().any(|c| server.world.device_of(c.actor).is_none())
            }
            "revoked_device" => authors.iter().any(|device| self.withdrew(server, device.id)),
            "said_already" => !self.dropped.is_empty(),
            Outcome::DISCARDED => {
                let apart = server.apart();
                apart.iter().any(|a| a.state == code && a.group.document == document)
            }
            _ => false,
        };
        assert!(may, "{document} was refused: {code}");
    }

    /// Whether the server has lost something of a document, or of what it may follow.
    fn is_torn(&self, document: DocId) -> bool {
        self.torn.iter().any(|torn| {
            let volumes = [torn, &document].map(|id| id.kind == DocKind::Outlet);
            *torn == document || volumes == [true; 2]
        })
    }

    /// A phone is about to hear what it should hold: is there a reason why it may hold something else?
    pub fn compared(
        &mut self,
        server: &Server,
        asked: (usize, u64),
        device: &Device,
        reply: &PullReply,
    ) {
        let Ok(documents) = device.disk.documents();
        let told: BTreeSet<&DocId> = reply.let_go.iter().flatten().collect();
        // What came into sight and had no room in a page is missed by what goes on from it in a later one, and at the
        // latest when the phone compares, after the last.
        let left_out = server.moved().into_iter().any(|id| {
            let (held, kept) = (server.held(id), device.document(id));
            let given = || reply.groups.iter().filter(|group| group.document == id);
            let come: BTreeSet<ChangeHash> = given().flat_map(Group::hashes).collect();
            let here = |hash| kept.as_ref().is_some_and(|kept| kept.document.contains(hash));
            let lacks = |hash: ChangeHash| !here(hash) && !come.contains(&hash);
            let lacking = match reply.more {
                true => {
                    let mut before = given().flat_map(|g| &g.changes).flat_map(|c| &c.deps);
                    before.any(|hash| held.document.contains(*hash) && lacks(*hash))
                }
                false => held.document.changes().iter().map(Change::hash).any(lacks),
            };
            lacking && !held.let_go && server.sees(device.user, &audience(&held))
        });
        let why = documents.into_iter().any(|id| {
            let kept = device.document(id).expect("it is listed");
            let held = server.held(id);
            // It was let go of while it was out of sight here, where it stayed for what was refused.
            let untold = held.let_go && !kept.gone && !told.contains(&id);
            untold || (held.audience.is_some() && began_elsewhere(server, device, &kept, &held))
        });
        self.may_repair.insert(asked, why || left_out);
    }

    /// A phone repairs what it holds: never without a reason, for sync alone keeps both sides the same.
    pub fn repaired(&mut self, phone: &Device, device: usize, number: u64) {
        let mut pulls = self.may_repair.range((device, 0)..(device, number));
        let elsewhere = pulls.next_back().is_some_and(|(_, why)| *why);
        // A disk may also lose something while the last page is on its way, before the phone compares.
        let rotten = self.rotten.contains_key(&device);
        let why = elsewhere || rotten || self.lost_log || self.copied.contains(&phone.user);
        assert!(why, "phone {device} repairs what should be whole: {:?}", phone.complaint);
        self.repairs += 1;
    }

    /// A page or a repair has nothing that its person does not see, and no words but those that it names.
    pub fn shown(
        &self,
        server: &Server,
        user: UserId,
        (records, groups, notes): (&[RecordBytes], &[Group], &[Note]),
    ) {
        let mut named = BTreeSet::new();
        for group in groups {
            let audience = audience(&server.held(group.document));
            assert!(server.sees(user, &audience), "{user}: {} is out of scope", group.document);
            let entries = group.changes.iter().filter_map(|change| change.entry().ok());
            named.extend(entries.flat_map(|entry| entry.notes()));
        }
        for note in notes {
            assert!(named.contains(&note.digest()), "{user}: words that nothing here names");
        }
        for bytes in records {
            let record: Record = from_cbor(&bytes.0).expect("a record of a known kind");
            let audience = server.world.audience(&record);
            assert!(server.sees(user, &audience), "{user}: {:?} is out of scope", record.key());
        }
    }

    /// All that must hold at rest.
    pub fn check(&self, server: &Server, devices: &[Device]) {
        for device in devices {
            let watch = device.disk.profile().watch.as_ref();
            let alarm = watch.and_then(|watch| watch.alarm.as_ref());
            assert_eq!(alarm, None, "an honest log is taken for a rewritten one");
        }
        let documents = server.documents();
        let helds: BTreeMap<DocId, Held> =
            documents.iter().map(|id| (*id, server.held(*id))).collect();
        self.nothing_is_lost(server, devices);
        // A copy of a phone may go on as another actor, and submit what its person wrote on the first.
        let one_by_one = devices.iter().filter(|device| !self.copied.contains(&device.user));
        for (held, device) in helds.values().flat_map(|h| one_by_one.clone().map(move |d| (h, d))) {
            a_submission_covers_what_came_before_it(held, device);
        }
        for (number, device) in devices.iter().enumerate().filter(|(_, device)| !device.lost) {
            everyone_holds_the_same(server, &helds, number, device, &self.erased);
            self.no_words_are_left_behind(server, number, device);
        }
        self.times_are_true(server, &helds);
        the_server_is_sound(server, &helds);
    }

    fn nothing_is_lost(&self, server: &Server, devices: &[Device]) {
        let (quarantined, cargo) = (server.quarantined(), carried(server, devices));
        let lacks = |(document, _): &(DocId, ChangeHash)| self.is_torn(*document);
        assert!(cargo.iter().all(lacks), "something is still carried that lacks nothing");
        for ((document, change), saved) in &self.saved {
            let logged = server.times_logged(*document, *change);
            let device = &devices[saved.device];
            if device.lost {
                // A colleague had taken it along.
                let kept = || quarantined.contains_key(&(*document, *change));
                let early = || self.lost_log && cargo.contains(&(*document, *change));
                assert!(
                    logged == 1 || kept() || early() || self.gone.contains(&(*document, *change)),
                    "{change} of {document} went with its phone"
                );
                continue;
            }
            // What was approved as it was proposed first is said already.
            if logged == 0 && said_in(&server.held(*document).document, device.user, &saved.when) {
                continue;
            }
            let kept = device.document(*document).filter(|k| k.document.contains(*change));
            let Some(kept) = kept else {
                // Lost with the log or with its phone's storage, brought back by somebody else, and now a supervisor's to
                // decide on.
                let put_back = self.put_back.contains(&saved.device);
                let back = self.lost_log || put_back;
                if back && quarantined.contains_key(&(*document, *change)) {
                    continue;
                }
                // What a phone that was put back has written again under the same number came first after a restore; a
                // colleague has what was first, marked, until they give it up to the server.
                let forked = |kept: Kept| {
                    let code = kept.refused.as_ref().map(|refused| &*refused.code);
                    code == Some(Outcome::FORKED) && kept.document.contains(*change)
                };
                let mut colleagues = devices.iter().filter_map(|device| device.document(*document));
                if self.lost_log && put_back && colleagues.any(forked) {
                    continue;
                }
                // Its number was given again; what a restored server lacks may be apart on another phone.
                if self.rotten.contains_key(&saved.device) {
                    let kept = |device: &Device| device.document(*document);
                    let here = |kept: Kept| kept.document.contains(*change);
                    let apart = devices.iter().filter_map(kept).any(here);
                    // Its page did not read, which is told; a colleague or a copy had brought it to be refused.
                    let refused = quarantined.contains_key(&(*document, *change)) || apart;
                    let told = device.disk.tells_of(*document);
                    let may = (self.lost_log && apart) || (told && refused);
                    assert!(logged == 1 || may, "{change} is gone for good");
                    continue;
                }
                assert_eq!(logged, 1, "{change} of {document} is gone from its own phone");
                let held = server.held(*document);
                let seen = server.sees(device.user, &audience(&held)) && !held.let_go;
                // A phone that was put back has gone its own way there, where what it had written since has no place.
                let apart = |kept: Kept| kept.refused.is_some() && kept.passed.contains(change);
                let apart = device.document(*document).is_some_and(apart);
                assert!(
                    !seen || (apart && self.put_back.contains(&saved.device)),
                    "{change} of {document} is gone from a phone that may see it"
                );
                continue;
            };
            if logged == 0 {
                // Refused with what it builds on; if it came along, the server keeps it apart.
                let refused = kept.refused.as_ref().expect("it is neither accepted nor refused");
                // What was refused with this may have been let in since by another way: it waits for a decision of its own.
                let own = kept.document.changes().iter();
                // Of what waits here others may have written what the rest builds on.
                let own = own.filter(|change| {
                    device.disk.profile().owns(change.actor)
                        || kept.pending.contains(&change.hash())
                });
                let own: Vec<Change> = own.cloned().collect();
                let of_person = |hash: &ChangeHash| {
                    let codes = quarantined.get(&(*document, *hash)).into_iter().flatten();
                    let its = |id: &DeviceId| {
                        let by = server.world.devices.get(id);
                        by.is_some_and(|by| by.user == device.user)
                    };
                    let codes = codes.filter(|(id, _)| its(id));
                    codes.flat_map(|(_, codes)| codes.clone()).collect::<Vec<_>>()
                };
                // What is decided on for one device of its person all of them hear.
                let decided = refused.code == Outcome::DISCARDED;
                let discarded = |codes: &BTreeMap<DeviceId, Vec<String>>| {
                    codes.values().flatten().any(|code| code == Outcome::DISCARDED)
                };
                match decided {
                    true => {
                        let of = |change: &Change| quarantined.get(&(*document, change.hash()));
                        let any = own.iter().filter_map(of).any(discarded);
                        assert!(any, "nobody has discarded {change}, or what it builds on");
                    }
                    false => {
                        let by = Some(device.id);
                        self.may_be_refused(server, by, *document, &own, &refused.code);
                    }
                }
                assert!(
                    kept.pending.contains(change),
                    "{change} of {document} on phone {}: {:?}, pending {:?}",
                    saved.device,
                    kept.refused,
                    kept.pending
                );
                // Somebody else may have sent it too, with less right; and with what was written after a push it may
                // have come another way, to be refused for something else.
                let codes = of_person(change);
                let heard = |hash: &ChangeHash| of_person(hash).contains(&refused.code);
                // What was never sent waits behind what was.
                let sent = self.sent.contains(&(*document, *change));
                let unsent = codes.is_empty() && !sent;
                let same = unsent || kept.pending.iter().any(heard);
                // What a pull brings of the other copy shows the fork, whatever this one was refused for before.
                let forked = refused.code == "forked" && self.copied.contains(&device.user);
                let same = same || decided || forked;
                let rotten = self.rotten.contains_key(&saved.device);
                assert!(
                    self.is_torn(*document) || rotten || same,
                    "{change} of {document}: refused as {codes:?}, but phone {} heard {}",
                    saved.device,
                    refused.code
                );
            } else {
                assert_eq!(logged, 1, "{document}: {change} of phone {}", saved.device);
                // Its page did not read: what waits again may be in the log, and be refused with the rest.
                let may = self.lost_log || self.rotten.contains_key(&saved.device);
                let elsewhere = may && kept.refused.is_some();
                assert!(
                    elsewhere || !kept.pending.contains(change),
                    "{change} of {document} still waits on phone {}, refused: {:?}",
                    saved.device,
                    kept.refused
                );
            }
        }
        self.everything_has_one_fate(server);
        for (document, change) in &self.acknowledged {
            assert_eq!(server.times_logged(*document, *change), 1, "{change} was acknowledged");
        }
        let of_phones: BTreeSet<DeviceId> = devices.iter().map(|d| d.id).collect();
        for document in server.documents() {
            let held = server.held(document);
            // However often refused work was proposed, approved and brought: nobody's word counts twice.
            let mut names = held.document.changes().iter().map(Change::hash);
            let twice = names.find(|name| {
                let entry = held.document.change(*name).expect("it is here").entry();
                let entry = entry.expect("an entry reads");
                let mut said = held.document.said_at(&entry, |_| true);
                said.any(|other| {
                    other != *name && [other, *name].iter().all(|n| self.knows(document, *n))
                })
            });
            assert_eq!(twice, None, "{document} says something twice");
            for (change, device) in &held.devices {
                let known = self.knows(document, *change);
                assert!(known || !of_phones.contains(device), "nobody has saved {change}");
            }
        }
        for device in devices.iter().filter(|device| !device.lost) {
            let Ok(outbox) = device.disk.outbox();
            assert!(outbox.is_empty(), "something still waits to be sent");
        }
    }

    /// Words are on a phone only with a document that names them: what left its person's sight took its words along. Of
    /// what went its own way on a copy, or on a disk that loses things, more may be left.
    fn no_words_are_left_behind(&self, server: &Server, number: usize, device: &Device) {
        if self.copied.contains(&device.user) || self.rotten.contains_key(&number) {
            return;
        }
        let Ok(documents) = device.disk.documents();
        let kept = documents.into_iter().map(|id| device.document(id).expect("it is listed"));
        let kept: Vec<Kept> = kept.collect();
        let mut named = self.dropped_words.clone();
        named.extend(kept.iter().flat_map(Kept::notes));
        // The words of what had no place here came with it.
        for kept in kept.iter().filter(|kept| !kept.passed.is_empty()) {
            let held = server.held(kept.document.id()).document;
            let passed = kept.passed.iter().filter_map(|hash| held.change(*hash)?.entry().ok());
            named.extend(passed.flat_map(|entry| entry.notes()));
        }
        let left: Vec<_> = device.disk.words().filter(|digest| !named.contains(digest)).collect();
        assert!(left.is_empty(), "phone {number} has words that nothing names: {left:?}");
    }

    /// What phones sent and the server took in is in the log or apart; what was approved is in the log, and what waits is
    /// not.
    fn everything_has_one_fate(&self, server: &Server) {
        let apart = server.apart();
        let names = |group: &Group| group.hashes().map(|h| (group.document, h)).collect::<Vec<_>>();
        let kept: BTreeSet<_> = apart.iter().flat_map(|apart| names(&apart.group)).collect();
        for name in &self.sent {
            let logged = server.times_logged(name.0, name.1);
            assert!(logged <= 1, "{name:?} is in the log {logged} times");
            assert!(logged == 1 || kept.contains(name), "{name:?} was taken in, and is nowhere");
        }
        for Apart { state, code, group, .. } in &apart {
            let mut logged = group.hashes().map(|h| server.times_logged(group.document, h) == 1);
            match &state[..] {
                "accepted" => assert!(logged.all(|here| here), "what was approved is not here"),
                "waiting" => assert!(!logged.all(|here| here), "what is here waits"),
                "discarded" => assert!(
                    !logged.all(|here| here),
                    "it was discarded: {:?}, {code}",
                    names(group)
                ),
                _ => {}
            }
        }
    }

    fn times_are_true(&self, server: &Server, helds: &BTreeMap<DocId, Held>) {
        for ((document, change), saved) in &self.saved {
            let Some(time) = helds.get(document).and_then(|held| held.times.get(change)) else {
                continue;
            };
            let CaptureTime { earliest_ms, latest_ms, claimed_ms, basis, clamped } = *time;
            let received_ms: i64 = server
                .db
                .prepare_cached("SELECT at_ms FROM log WHERE document = ?1 AND hash = ?2")
                .expect("a query")
                .query_row(params![document.to_bytes(), change.0], |row| row.get(0))
                .expect("it is in the log");
            assert_eq!(latest_ms, received_ms, "not after its receipt");
            assert!(
                (earliest_ms..=latest_ms).contains(&claimed_ms),
                "{change}: the claim is within"
            );
            assert!(!clamped || claimed_ms == earliest_ms || claimed_ms == latest_ms);
            if self.clock_jumped {
                continue; // by a clock that was wrong all of it is wrong, and still in order
            }
            assert!(
                earliest_ms <= saved.at_ms && saved.at_ms <= latest_ms,
                "{change}: the bounds hold"
            );
            match basis {
                // Late by as long as the message was under way.
                ClaimBasis::BootClock => {
                    assert!(claimed_ms >= saved.at_ms, "{change}: {time:?}, truly {saved:?}");
                }
                // Early by as long as the server's time was under way.
                ClaimBasis::ServerSkew => {
                    let off = saved.at_ms - claimed_ms;
                    assert!((0..=self.slowest_ms).contains(&off), "{change}: {time:?}, {saved:?}");
                }
                ClaimBasis::WallClock => {}
            }
        }
    }
}

/// Whether somebody has said something in a document that was captured at this moment.
fn said_in(document: &Document, by: UserId, when: &Moment) -> bool {
    let mut entries = document.changes().iter().filter_map(|change| change.entry().ok());
    entries.any(|entry| entry.by() == by && entry.when() == when)
}

/// Whether the log, a phone that is left or the cargo on one has it.
fn survives(
    server: &Server,
    devices: &[Device],
    cargo: &BTreeSet<(DocId, ChangeHash)>,
    (document, change): &(DocId, ChangeHash),
) -> bool {
    let here = |device: &Device| {
        device.document(*document).is_some_and(|kept| kept.document.contains(*change))
    };
    server.times_logged(*document, *change) > 0
        || devices.iter().filter(|device| !device.lost).any(here)
        || cargo.contains(&(*document, *change))
}

/// What is in the cargo of the phones that are left.
fn carried(server: &Server, devices: &[Device]) -> BTreeSet<(DocId, ChangeHash)> {
    let mut carried = BTreeSet::new();
    for device in devices.iter().filter(|device| !device.lost) {
        let Ok(cargo) = device.disk.cargo();
        for Carried { name, .. } in cargo {
            let Ok(parcel) = device.disk.parcel(name);
            let cargo = parcel.expect("it is listed").open(ORG, &server.console.keypair);
            if let Load::Work(group, _) = cargo.expect("it opens").load {
                carried.extend(group.hashes().map(|hash| (group.document, hash)));
            }
        }
    }
    carried
}

/// Whether a phone has heard something else of its person, of the territories, of the call, or of where the outlet is,
/// than the log said at the line that an entry names. Between two pages it lacks what a later one says anew. Of what came
/// into sight it has the newest records while its cursor stands still; a repair brings newer ones too; and what is
/// proposed again keeps the moment of its capture.
fn knows_otherwise(server: &Server, phone: &Device, kept: &Kept, when: &Moment) -> bool {
    let then = server.world.at(when.anchor);
    let record = |key| {
        let Ok(record) = phone.disk.record(key);
        record
    };
    let rights = match record(RecordKey::person(phone.user)) {
        Some(Record::Person(person)) => person.rights(),
        _ => None,
    };
    let outlets = Start::all(&kept.document).map(|start| start.outlet);
    let mut outlets = outlets.chain(kept.volume().map(|(outlet, _)| outlet));
    let moved = |outlet| match record(RecordKey::outlet(outlet)) {
        Some(Record::Outlet(here)) => then.outlet(outlet) != Some(here.audience()),
        _ => then.outlet(outlet).is_some(),
    };
    let Ok(tree) = territories(&phone.disk);
    let before = then.rights(phone.user);
    let sees = |rights: Option<Rights>, tree: &Territories, audience: &Audience| {
        rights.is_some_and(|rights| rights.sees(tree, audience))
    };
    let begun = Start::all(&kept.document).map(|start| start.audience());
    let mut begun = begun.chain(kept.volume().and_then(|(outlet, _)| then.outlet(outlet)));
    let mut calls = Start::all(&kept.document).filter_map(|start| start.call);
    let told = |call| match record(RecordKey::call(call)) {
        Some(Record::Call(here)) => then.call(call) != (!here.cancelled).then_some(here.outlet),
        _ => then.call(call).is_some(),
    };
    before != rights
        || outlets.any(moved)
        || calls.any(told)
        || begun.any(|at| sees(rights, &tree, &at) != sees(before, then.territories(), &at))
}

fn audience(held: &Held) -> Audience {
    held.audience.expect("somebody has written to it")
}

/// A volume stays on a phone while a later one does, of which something was refused.
fn a_later_volume_stays(device: &Device, kept: &Kept) -> bool {
    let Some((outlet, number)) = kept.volume() else { return false };
    let later = (number + 1..).map_while(|n| device.document(DocId::volume(outlet, n)));
    later.into_iter().any(|kept| kept.refused.is_some())
}

/// The outlet had moved when its person began the visit without knowing: what others see there, that person does
/// not, but for what was written there in good faith.
fn began_elsewhere(server: &Server, device: &Device, kept: &Kept, held: &Held) -> bool {
    let begun = kept.audiences();
    begun.iter().any(|begun| *begun != audience(held) && server.sees(device.user, begun))
}

/// Whatever was accepted, from whomever: documents load, figures equal a rebuild, the log adds up.
pub fn is_sound(server: &Server) {
    let documents = server.documents();
    the_server_is_sound(server, &documents.iter().map(|id| (*id, server.held(*id))).collect());
}

fn the_server_is_sound(server: &Server, helds: &BTreeMap<DocId, Held>) {
    let kept = kept_prints(&server.db, server.org).expect("prints");
    let counted = counted_prints(&server.db, server.org).expect("a log");
    assert_eq!(kept, counted, "the server has lost count");
    for held in helds.values() {
        automerge_reads_it(held);
    }
    histories_hold_together(helds);
    every_line_was_allowed(server, helds);
    figures_equal_a_rebuild(server, helds);
    the_log_adds_up(server);
    what_is_worth_a_look_equals_a_rebuild(server);
    endcap_check_agrees(server);
}

/// Whatever came when, and however often it was read: the rows are what one reading of everything makes.
fn what_is_worth_a_look_equals_a_rebuild(server: &Server) {
    while server.look(8, 1).expect("visits are read") {}
    let rows = || {
        let rows = |query: &str| -> Vec<Vec<rusqlite::types::Value>> {
            let mut query = server.db.prepare(query).expect("a query");
            let width = query.column_count();
            let read = |row: &rusqlite::Row<'_>| (0..width).map(|at| row.get(at)).collect();
            let rows = query.query_map([], read).expect("rows");
            rows.map(|row| row.expect("a row")).collect()
        };
        let signals =
            "SELECT visit, kind, other, other_document, by, entry, figure, evidence FROM signal";
        (rows("SELECT * FROM stay"), rows(signals))
    };
    let kept = rows();
    server
        .db
        .execute_batch("DELETE FROM stay; DELETE FROM signal; UPDATE visit SET judged = 0")
        .expect("the rows go");
    while server.look(3, 1).expect("visits are read") {}
    assert!(rows() == kept, "the rows of place, way and time are not what the visits say");
}

/// From every volume of an outlet's history each of its authors leads back to what they had seen of the one before.
fn histories_hold_together(helds: &BTreeMap<DocId, Held>) {
    for (id, held) in helds.iter().filter(|(id, _)| id.is_later_volume()) {
        let (outlet, number) = held.document.volume().expect("a later volume says which it is");
        assert_eq!(*id, DocId::volume(outlet, number));
        let before = &helds[&DocId::volume(outlet, number - 1)];
        assert_eq!(audience(held), audience(before), "{id} is seen by others than what it follows");
        for change in held.document.changes() {
            let entry = change.entry().expect("an entry reads");
            assert_eq!(entry.volume().is_some(), change.seq == 1, "{id}: {}", change.hash());
            if let Some(volume) = entry.volume() {
                assert_eq!(volume.follows(&before.document), Ok(()), "{id}: {}", change.hash());
            }
        }
    }
}

/// What an operator runs finds nothing wrong either.
fn endcap_check_agrees(server: &Server) {
    let file = server::scratch("check");
    server.db.execute("VACUUM INTO ?1", [file.to_str()]).expect("a copy is written");
    let archive = Archive::open(&file).expect("the copy opens");
    let album = Album::at(file.with_extension("blobs"));
    let report = check(&archive, &album, &mut |_, _, _| {}).expect("it can be read");
    std::fs::remove_file(&file).expect("the copy goes");
    // The copy is of the database alone.
    assert!(!report.torn(), "{:?}", report.damage);
}

fn everyone_holds_the_same(
    server: &Server,
    helds: &BTreeMap<DocId, Held>,
    number: usize,
    device: &Device,
    erased: &BTreeSet<BlobHash>,
) {
    for (id, held) in helds {
        if held.let_go || !server.sees(device.user, &audience(held)) {
            let kept = device.document(*id);
            let may = |kept: &Kept| {
                kept.refused.is_some()
                    || began_elsewhere(server, device, kept, held)
                    || a_later_volume_stays(device, kept)
            };
            assert!(kept.is_none_or(|kept| may(&kept)), "phone {number} holds {id}, out of scope");
            continue;
        }
        let kept = device.document(*id).unwrap_or_else(|| panic!("phone {number} lacks {id}"));
        let ours: BTreeSet<ChangeHash> =
            held.document.changes().iter().map(|change| change.hash()).collect();
        let theirs = kept.document.changes().iter().map(|change| change.hash());
        let theirs = theirs.filter(|h| !kept.pending.contains(h));
        let theirs: BTreeSet<ChangeHash> = theirs.chain(kept.passed.iter().copied()).collect();
        assert_eq!(ours, theirs, "phone {number} and the server differ on {id}");
        if kept.pending.is_empty() {
            assert_eq!(kept.document.heads(), held.document.heads());
            assert!(Visit::read(&kept.document) == Visit::read(&held.document), "views of {id}");
        }
        for digest in notes_of(&held.document) {
            let Ok(note) = device.disk.note(digest);
            match server.has_words(digest) {
                Some(true) => {
                    // A server from before an erasure has words that are nowhere else any more.
                    let known = note.map_or(erased.contains(&digest), |n| n.digest() == digest);
                    assert!(known, "phone {number} lacks the words {digest} of {id}");
                }
                Some(false) => panic!("the server lacks the words {digest} of {id}"),
                None => assert_eq!(note, None, "phone {number} has words that were erased"),
            }
        }
    }
    let held = device.disk.profile().held.expect("it was counted").print;
    let Ok(counted) = inventory(&device.disk);
    assert_eq!(held, counted.print(), "phone {number} has lost count");
    assert_eq!(held, server.print(device.user), "phone {number} and the server differ");
    let Ok(mine) = device.disk.documents();
    for id in mine.into_iter().filter(|id| !helds.contains_key(id)) {
        let kept = device.document(id).expect("it is listed");
        assert!(kept.refused.is_some(), "phone {number} has {id}, and the server has not");
    }
    for (key, body) in newest_records(server) {
        let record: Record = from_cbor(&body).expect("a record reads");
        let sees = server.sees(device.user, &server.world.audience(&record));
        let Ok(here) = device.disk.record(key);
        assert_eq!(here, sees.then_some(record), "phone {number}: {key:?}");
    }
}

fn notes_of(document: &Document) -> impl Iterator<Item = BlobHash> {
    let entries = document.changes().iter().map(|change| change.entry().expect("an entry reads"));
    entries.flat_map(|entry| entry.notes())
}

/// How many records of people, territories, outlets and their calls there ever were.
fn says_of_rights(server: &Server) -> usize {
    let kinds = [RecordKind::Person, RecordKind::Territory, RecordKind::Outlet, RecordKind::Call];
    let mut query = server.db.prepare_cached("SELECT key FROM record").expect("a query");
    let keys = query.query_map([], |row| row.get(0)).expect("records");
    let keys = keys.map(|key| RecordKey::from_bytes(&key.expect("a row")));
    keys.filter(|key| kinds.iter().any(|kind| *kind as u8 == key.kind)).count()
}

fn newest_records(server: &Server) -> Vec<(RecordKey, Vec<u8>)> {
    let mut query = server
        .db
        .prepare_cached("SELECT body, max(sequence) FROM record GROUP BY key")
        .expect("a query");
    let rows = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("records");
    rows.map(|body| {
        let body = body.expect("a row");
        (RecordKey::peek(&body).expect("a key"), body)
    })
    .collect()
}

/// A phone writes one entry after another, so for its own work "in the past" is simply "before".
fn a_submission_covers_what_came_before_it(held: &Held, device: &Device) {
    let actor = device.disk.profile().actor;
    let own = || held.document.changes().iter().filter(|change| change.actor == actor);
    let submissions = own().filter(|change| change.section == Section::Submissions);
    let newest = submissions.map(|change| change.seq).max().unwrap_or(0);
    let visit = Visit::read(&held.document);
    for change in own() {
        let Some(recorded) = visit.recording(change.hash()) else { continue };
        // What corrects or settles counts by itself.
        let first = match &recorded.entry.act {
            Act::Start { .. } => true,
            Act::Observe(observed) => observed.supersedes.is_empty(),
            _ => continue,
        };
        if change.seq < newest || first {
            assert_eq!(recorded.submitted, change.seq < newest, "{}", change.hash());
        }
    }
}

fn automerge_reads_it(held: &Held) {
    let document = &held.document;
    let file = document.to_automerge().expect("a document is saved");
    let loaded = Automerge::load(&file).expect("what is saved can be loaded");
    let heads: Vec<ChangeHash> = loaded.get_heads().iter().map(|h| ChangeHash(h.0)).collect();
    assert_eq!(heads, document.heads(), "{}", document.id());
    for section in Section::of(document.id().kind) {
        let list = loaded.get(automerge::ROOT, section.as_str()).expect("a section reads");
        let (_, list) = list.expect("a section is there");
        let ours = document.changes().iter().filter(|c| c.section == *section).count();
        assert_eq!(loaded.length(&list), ours);
    }
}

/// How a visit is contested, and whether all of it was found wrong, from its entries alone: who said what, and what the
/// last who said something knew.
fn contested(
    document: &Document,
    visit: &Visit,
    reviewers: &BTreeSet<UserId>,
) -> (Option<&'static str>, bool) {
    let posts: Vec<(ChangeHash, Post)> = document
        .changes()
        .iter()
        .filter_map(|change| match change.entry() {
            Ok(Entry::Post(post)) => Some((change.hash(), post)),
            _ => None,
        })
        .collect();
    let (mut urgent, mut wrong): (Option<(u8, &str)>, bool) = (None, false);
    for (contest, post) in &posts {
        match (&post.word, post.by) {
            (Some(Word::Contest(_)), by) => assert_eq!(by, SAM, "only he is of a distributor"),
            (Some(Word::Step(step, _)), by) => {
                let may = reviewers.contains(&by) || (by == SAM && !step.finds());
                assert!(may, "{step:?}");
            }
            (None, _) => {}
        }
        let Some(Word::Contest(objection)) = &post.word else { continue };
        let knew = |by: ChangeHash, of: ChangeHash| by != of && document.past(&[by]).contains(of);
        let last = |steps: &[(ChangeHash, Step)]| -> BTreeSet<Step> {
            let known = |hash| steps.iter().any(|(by, _)| knew(*by, hash));
            steps.iter().filter(|(hash, _)| !known(*hash)).map(|(_, step)| *step).collect()
        };
        let step = |(hash, post): &(ChangeHash, Post)| match post.word {
            Some(Word::Step(step, _)) if post.answers == Some(*contest) => Some((*hash, step)),
            _ => None,
        };
        let mut steps: Vec<(ChangeHash, Step)> = posts.iter().filter_map(step).collect();
        let finds = |step| matches!(step, Step::Accept | Step::Uphold);
        let found: Vec<_> = steps.iter().filter(|(_, step)| finds(*step)).copied().collect();
        steps.retain(|(hash, step)| {
            *step != Step::Close || !found.iter().any(|(finding, _)| knew(*hash, *finding))
        });
        let last = last(&steps);
        // Nothing of a whole visit holds once it is found wrong.
        let holds = objection.about.as_ref().is_some_and(|About { check, subject }| {
            // What was contested may be said again, but what the objection claims is right.
            let right = objection.claim.clone().unwrap_or(Value::Withdrawn);
            let said = |value: &Value| {
                let seen = objection.seen.iter().filter_map(|hash| visit.recording(*hash));
                let observed = seen.filter_map(|recorded| recorded.entry.observed());
                let mut facts = observed.flat_map(|observed| &observed.observations.0);
                facts.any(|f| (f.check, &f.subject, &f.value) == (*check, subject, value))
            };
            let live = visit.values.get(&(*check, subject.clone()));
            live.into_iter().flatten().any(|live| {
                let again = live.value != right && said(&live.value);
                again || objection.seen.contains(&live.recording)
            })
        });
        let stands = if last.is_empty() || last.contains(&Step::Say) {
            Some((0, "open"))
        } else if last.contains(&Step::Ask) {
            Some((1, "asked"))
        } else if last.len() > 1 {
            Some((0, "open"))
        } else {
            wrong |= objection.about.is_none() && last.contains(&Step::Accept);
            (last.contains(&Step::Accept) && holds).then_some((2, "accepted"))
        };
        urgent = [urgent, stands].into_iter().flatten().min();
    }
    (urgent.map(|(_, name)| name), wrong)
}

fn figures_equal_a_rebuild(server: &Server, helds: &BTreeMap<DocId, Held>) {
    let mut query = server
        .db
        .prepare_cached("SELECT visit, counted, facts, day, status, contest FROM visit")
        .expect("a query");
    let rows = query.query_map([], |row| {
        let visit = DocId::from(VisitId::from_bytes(row.get(0)?));
        let (counted, facts): (bool, Vec<u8>) = (row.get(1)?, row.get(2)?);
        let contest = row.get::<_, Option<String>>(5)?;
        Ok((visit, counted, facts, Day(row.get(3)?), (row.get::<_, String>(4)?, contest)))
    });
    let reviewers = server.ever(Role::reviews);
    let mut figures: BTreeMap<(Day, Audience), [Counts; 2]> = BTreeMap::new();
    let mut rows_left: BTreeSet<DocId> =
        helds.keys().copied().filter(|id| id.visit().is_some()).collect();
    for row in rows.expect("visits") {
        let (id, counted, facts, day, (status, contest)) = row.expect("a row");
        assert!(rows_left.remove(&id));
        let held = &helds[&id];
        let visit = Visit::read(&held.document);
        let start = visit.start.as_ref().expect("a visit has begun");
        let outlet = &server.world.outlets[&start.outlet];
        let starts = visit.recordings.iter().filter(|r| matches!(r.entry.act, Act::Start { .. }));
        let claimed = |which: &dyn Fn(&Recorded) -> bool| {
            starts.clone().filter(|r| which(r)).map(|r| held.times[&r.hash].claimed_ms).min()
        };
        let begun = claimed(&|r| r.submitted && !r.withdrawn)
            .or_else(|| claimed(&|r| !r.withdrawn))
            .or_else(|| claimed(&|r| r.submitted)) // on another phone of the one who took all back
            .or_else(|| claimed(&|_| true));
        let begun = Day::at(begun.expect("a visit has begun"), &outlet.zone);
        let again = project(&visit, &outlet.must_stock, begun, &server.world.catalogue);
        let facts: Facts = from_cbor(&facts).expect("facts read");
        assert_eq!((day, status.as_str()), (begun, visit.status.as_str()));
        assert_eq!((&facts, counted), (&again, again.visited), "the facts of {id}");
        let (contested, wrong) = contested(&held.document, &visit, &reviewers);
        assert!(!(wrong && counted), "{id} was found wrong and counts");
        assert_eq!(contest.as_deref(), contested, "how {id} is contested");
        if counted {
            let sums = figures.entry((day, audience(&helds[&id]))).or_default();
            for sum in &mut sums[..1 + usize::from(contest.is_some())] {
                *sum = sum.checked_add(&per_visit(&again)).expect("no figure is that large");
            }
        }
    }
    assert!(rows_left.is_empty(), "every visit has a row");
    let mut expected = BTreeMap::new();
    for ((day, audience), [all, contested]) in figures {
        let Audience::Outlet { territory, distributor } = audience else { continue };
        for (kpi, ratio) in all.iter() {
            let place = (day.0, *territory.as_bytes(), *distributor.as_bytes(), kpi.id());
            let signed = [ratio, contested.get(kpi)].map(|r| [r.numerator, r.denominator]);
            expected.insert(place, signed.map(|ratio| ratio.map(|n| n as i64)));
        }
    }
    let mut query = server
        .db
        .prepare_cached(
            "SELECT day, territory, distributor, kpi, numerator, denominator, contested_numerator,
                 contested_denominator FROM kpi_day
             WHERE numerator <> 0 OR denominator <> 0
                 OR contested_numerator <> 0 OR contested_denominator <> 0",
        )
        .expect("a query");
    let rows = query.query_map([], |row| {
        let kpi = Kpi::from_id(&row.get::<_, String>(3)?).expect("a known figure");
        let ratios = [[row.get(4)?, row.get(5)?], [row.get(6)?, row.get(7)?]];
        Ok(((row.get(0)?, row.get(1)?, row.get(2)?, kpi.id()), ratios))
    });
    let stored: BTreeMap<_, _> = rows.expect("figures").map(|row| row.expect("a row")).collect();
    assert_eq!(stored, expected, "the figures differ from a rebuild");
}

/// RFC 9162 section 2.1.1, word for word.
fn tree_head(leaves: &[LogHash]) -> LogHash {
    match leaves {
        [] => LogHash::of(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            LogHash::of(&[&[1][..], &tree_head(left).0, &tree_head(right).0].concat())
        }
    }
}

fn the_log_adds_up(server: &Server) {
    let mut query = server
        .db
        .prepare_cached(
            "SELECT l.leaf, l.root, l.at_ms, l.document, l.hash, l.device, r.salt, r.body, l.body
             FROM log l LEFT JOIN record r ON r.org = l.org AND r.sequence = l.sequence
             ORDER BY l.sequence",
        )
        .expect("a query");
    let mut rows = query.query([]).expect("the log");
    let (mut leaves, mut roots) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next().expect("a row") {
        let get = "a column";
        let leaf = LogHash(row.get(0).expect(get));
        let at_ms = row.get(2).expect(get);
        let again = if let Some(document) = row.get::<_, Option<Vec<u8>>>(3).expect(get) {
            let document = DocId::from_bytes(&document).expect("a document's name");
            let change = ChangeHash(row.get(4).expect(get));
            let device = DeviceId::from_bytes(row.get(5).expect(get));
            Some(Leaf::Change { document, change, device, received_ms: at_ms })
        } else if let Some(body) = row.get::<_, Option<Vec<u8>>>(7).expect(get) {
            let key = RecordKey::peek(&body).expect("a key");
            Some(Leaf::record(key, &row.get(6).expect(get), &body, at_ms))
        } else if let act = row.get::<_, Vec<u8>>(8).expect(get)
            && !act.is_empty()
        {
            let act: Leaf = from_cbor(&act).expect("an act is its leaf");
            assert!(matches!(act, Leaf::Decision { .. }) && act.at_ms() == at_ms);
            Some(act)
        } else {
            let begins = server.lives().contains(&(leaves.len() as u64));
            assert!(begins, "only where a life begins a line is neither change nor record");
            None
        };
        assert!(again.is_none_or(|again| again.hash() == leaf), "a leaf is not what it commits to");
        leaves.push(leaf);
        if let Some(root) = row.get::<_, Option<[u8; 32]>>(1).expect(get) {
            roots.push((leaves.len(), LogHash(root)));
        }
    }
    let head = server.head();
    assert_eq!((head.sequence as usize, head.root), (leaves.len(), tree_head(&leaves)));
    // All roots would be quadratic; a few from everywhere will do.
    for (size, root) in roots.iter().step_by(1 + roots.len() / 7) {
        assert_eq!(tree_head(&leaves[..*size]), *root, "the root after {size} leaves");
    }
}
