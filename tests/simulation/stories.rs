//! Stories that chance tells too seldom.

use server::store::log;
use server::store::reader::{Range, Reader};
use sync_core::cargo::pack;
use sync_core::client::{Kept, Replica, Write, inventory};
use sync_core::command::{Command, CommandError};
use sync_core::document::{CHANGES_MAX, Change, Entry, Parts};
use sync_core::id::{ChangeHash, DeviceId, DocId, Gtin, OutletId, VisitId};
use sync_core::model::capture::ClaimBasis;
use sync_core::model::catalogue::{self, Product, Record, RecordKey, RecordKind};
use sync_core::model::people::Scope;
use sync_core::model::visit::{Note, Observation, Place, Subject, Value};
use sync_core::repair::COUNT_MS;
use sync_core::session::{Step, Stop};
use sync_core::visit::Visit;
use sync_core::wire::Group;
use tests::backend::{self, encode};
use tests::brand::{self, ORG, checks};
use tests::chance::Chance;
use tests::device::{Crash, Device, Question, Turn};
use tests::oracle;
use tests::world::World;

pub(crate) const RITA: usize = 0;
pub(crate) const SAM: usize = 1;
pub(crate) const SVEN: usize = 2;
/// A call at outlet 1, which Rita and Sam share.
pub(crate) const SHARED: u8 = 0;
pub(crate) const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

pub(crate) fn visit_of(call: u8) -> VisitId {
    VisitId::of_call(ORG, brand::call(call))
}

pub(crate) fn met(met: bool) -> Vec<Observation> {
    let (check, subject) = (checks::DISPLAY, Subject::Display(1));
    vec![Observation { check, subject, value: Value::Met(met) }]
}

pub(crate) fn facings(position: u32, facings: u32) -> Observation {
    let subject = Subject::Position { planogram: 1, position };
    let value = Value::Shelf { facings, in_stock: true, place: Place::AsPlanned };
    Observation { check: checks::PLANOGRAM, subject, value }
}

/// A world of one story: a perfect line, nothing by chance.
pub(crate) struct Story(pub(crate) World);

impl std::ops::Deref for Story {
    type Target = World;
    fn deref(&self) -> &World {
        &self.0
    }
}

impl std::ops::DerefMut for Story {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.0
    }
}

impl Story {
    pub(crate) fn new() -> Self {
        Self(World::new(1))
    }

    pub(crate) fn does(&mut self, device: usize, command: Command) -> ChangeHash {
        self.now_ms += 1_000;
        self.act(device, Crash::Never, command).expect("it is done")
    }

    pub(crate) fn records(
        &mut self,
        device: usize,
        call: u8,
        observations: Vec<Observation>,
    ) -> ChangeHash {
        let (photos, notes) = (Vec::new(), Vec::new());
        self.does(device, Command::Record { visit: visit_of(call), observations, photos, notes })
    }

    /// The phone tells the server that it knows all, although it does not.
    pub(crate) fn says_it_knows(&mut self, device: usize) {
        let (id, known) = (self.devices[device].id, self.server.head().sequence);
        let changed = self
            .server
            .db
            .execute("UPDATE device SET acked = ?2 WHERE device = ?1", (id.as_bytes(), known));
        assert_eq!(changed, Ok(1));
    }

    pub(crate) fn syncs(&mut self, device: usize) {
        assert_eq!(self.sync_now(device), Step::Done, "{:?}", self.devices[device].complaint);
    }

    pub(crate) fn view(&self, device: usize, call: u8) -> Visit {
        let kept = self.devices[device].document(visit_of(call).into()).expect("the visit is here");
        Visit::read(&kept.document)
    }
}

#[test]
fn two_people_who_start_one_call_apart_make_one_visit() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.server.write(vec![brand::planogram(2)], brand::BEGIN_MS + HOUR_MS);
    story.now_ms += 2 * HOUR_MS;
    story.syncs(SAM); // has the new planogram, and not yet Rita's work
    story.does(SAM, Command::StartCall(brand::call(SHARED)));
    story.records(RITA, SHARED, vec![facings(1, 2), facings(2, 3)]);
    story.records(SAM, SHARED, vec![facings(1, 1), facings(3, 1)]);
    story.does(RITA, Command::Submit(visit_of(SHARED)));
    story.does(SAM, Command::Submit(visit_of(SHARED)));
    story.come_to_rest();
    story.check();
    let visit = story.view(RITA, SHARED);
    assert_eq!(visit, story.view(SAM, SHARED));
    assert_eq!((visit.people().len(), visit.values.len()), (2, 3));
    let conflicts: Vec<_> = visit.conflicts().map(|(_, live)| live.len()).collect();
    assert_eq!(conflicts, [2], "both values of the one disagreement are there");
    // Sven does not see it; Sam settles it.
    assert!(story.devices[SVEN].document(visit_of(SHARED).into()).is_none());
    let Observation { check, subject, value } = facings(1, 2);
    story.does(SAM, Command::Resolve { visit: visit_of(SHARED), check, subject, value });
    story.come_to_rest();
    story.check();
    assert_eq!(story.view(RITA, SHARED).conflicts().count(), 0);
}

#[test]
fn a_clock_at_1970_or_a_year_ahead_is_put_right() {
    for off_ms in [-brand::BEGIN_MS, YEAR_MS, -YEAR_MS] {
        let mut story = Story::new();
        story.devices[RITA].clock.off_ms = off_ms;
        story.now_ms += HOUR_MS;
        story.does(RITA, Command::StartCall(brand::call(SHARED)));
        let first = story.records(RITA, SHARED, met(true));
        let truly_ms = story.now_ms;
        story.now_ms += HOUR_MS;
        story.syncs(RITA);
        let held = story.server.held(visit_of(SHARED).into());
        let time = held.times[&first];
        assert_eq!((time.basis, time.clamped), (ClaimBasis::BootClock, false));
        assert!((0..1_000).contains(&(time.claimed_ms - truly_ms)));
        // Recorded in one boot and sent in the next: the server's time, as it was heard, is carried on.
        let second = story.records(RITA, SHARED, met(false));
        let truly_ms = story.now_ms;
        (story.devices[RITA].clock.boot, story.devices[RITA].clock.booted_ms) = (7, truly_ms);
        story.now_ms += HOUR_MS;
        // Recorded in a boot that has not heard of the server: only the bounds are left.
        let third = story.records(RITA, SHARED, met(true));
        (story.devices[RITA].clock.boot, story.devices[RITA].clock.booted_ms) =
            (8, truly_ms + 2 * HOUR_MS);
        story.now_ms += HOUR_MS;
        story.come_to_rest();
        story.check();
        let held = story.server.held(visit_of(SHARED).into());
        let (second, third) = (held.times[&second], held.times[&third]);
        assert_eq!((second.basis, second.clamped), (ClaimBasis::ServerSkew, false));
        assert!((0..1_000).contains(&(truly_ms - second.claimed_ms)));
        assert_eq!((third.basis, third.clamped), (ClaimBasis::WallClock, true));
    }
}

#[test]
fn a_revoked_phone_is_told_so_and_keeps_its_work() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    let hash = story.records(RITA, SHARED, met(true));
    let (id, now_ms) = (story.devices[RITA].id, story.now_ms);
    story.server.revoke(id, now_ms);
    assert_eq!(story.sync_now(RITA), Step::Stop(Stop::Revoked));
    let kept = story.devices[RITA].document(visit_of(SHARED).into()).expect("it is kept");
    assert!(kept.pending.contains(&hash) && kept.to_push());
    assert_eq!(story.server.times_logged(visit_of(SHARED).into(), hash), 0);
    story.records(RITA, SHARED, met(false));
}

#[test]
fn a_withdrawn_phone_drops_what_others_wrote_and_has_all_of_it_again_under_a_new_code() {
    const RITAS: u8 = 1;
    let mut story = Story::new();
    for (who, call) in [(RITA, RITAS), (SAM, SHARED)] {
        story.does(who, Command::StartCall(brand::call(call)));
        story.records(who, call, met(true));
    }
    story.come_to_rest();
    let holds = |story: &Story, call| story.devices[RITA].document(visit_of(call).into()).is_some();
    let outlets = |story: &Story| {
        let Ok(outlets) = story.devices[RITA].disk.records(RecordKind::Outlet);
        outlets.len()
    };
    let before = outlets(&story);
    assert!(holds(&story, RITAS) && holds(&story, SHARED) && before > 1);
    let (id, now_ms) = (story.devices[RITA].id, story.now_ms);
    story.server.withdraw(id, now_ms);
    for _ in 0..2 {
        assert_eq!(story.sync_now(RITA), Step::Stop(Stop::Revoked));
        assert!(holds(&story, RITAS) && !holds(&story, SHARED));
        assert_eq!(outlets(&story), 1, "where her own visit was");
        story.records(RITA, RITAS, met(false));
    }
    let (id, now_ms) = (DeviceId::from_bytes([0x77; 16]), story.now_ms);
    story.devices[RITA].renew(id);
    let (user, key) = (story.devices[RITA].user, story.devices[RITA].keypair.public());
    story.server.enrol(id, user, key, now_ms);
    story.syncs(RITA);
    let now_ms = story.now_ms;
    story.server.decide(true, now_ms).expect("what she wrote since is taken");
    story.come_to_rest();
    assert!(holds(&story, RITAS) && holds(&story, SHARED));
    assert_eq!(outlets(&story), before);
    story.check();
}

#[test]
fn what_a_withdrawn_phone_held_is_decided_on_when_it_is_enrolled_again() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    let before = story.records(RITA, SHARED, met(true));
    let (id, now_ms) = (story.devices[RITA].id, story.now_ms);
    story.server.withdraw(id, now_ms);
    assert_eq!(story.sync_now(RITA), Step::Stop(Stop::Revoked));
    // She gets another code; her phone goes on with another key.
    let (id, now_ms) = (DeviceId::from_bytes([0x77; 16]), story.now_ms);
    story.devices[RITA].renew(id);
    let (user, key) = (story.devices[RITA].user, story.devices[RITA].keypair.public());
    story.server.enrol(id, user, key, now_ms);
    let after = story.records(RITA, SHARED, met(false));
    let own = story.devices[RITA].disk.profile().clone();
    let kept = story.devices[RITA].document(visit_of(SHARED).into()).expect("it is kept");
    for change in kept.document.changes() {
        assert!(own.owns(change.actor));
        assert_eq!(change.actor == own.actor, change.hash() == after);
    }
    // What she wrote with the lost key is nobody's word, and she has built on it.
    story.syncs(RITA);
    let kept = story.devices[RITA].document(visit_of(SHARED).into()).expect("it is kept");
    let refused = kept.refused.expect("it is refused");
    assert_eq!((refused.code.as_str(), kept.pending.len()), ("revoked_device", 3));
    let now_ms = story.now_ms;
    story.server.decide(true, now_ms).expect("a supervisor answers for it");
    story.come_to_rest();
    for hash in [before, after] {
        assert_eq!(story.server.times_logged(visit_of(SHARED).into(), hash), 1);
    }
    story.check();
    let kept = story.devices[RITA].document(visit_of(SHARED).into()).expect("it is kept");
    assert!(kept.pending.is_empty() && kept.refused.is_none());
}

#[test]
fn what_a_withdrawn_phone_held_is_said_again_with_the_next_key() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.records(RITA, SHARED, met(true));
    let (old, now_ms) = (story.devices[RITA].id, story.now_ms);
    story.server.withdraw(old, now_ms);
    let id = DeviceId::from_bytes([0x77; 16]);
    story.devices[RITA].renew(id);
    let (user, key) = (story.devices[RITA].user, story.devices[RITA].keypair.public());
    story.server.enrol(id, user, key, now_ms);
    story.syncs(RITA);
    let again = Command::ProposeAgain { document: visit_of(SHARED).into(), instance: [9; 8] };
    story.does(RITA, again);
    story.does(RITA, Command::Submit(visit_of(SHARED)));
    story.come_to_rest();
    assert_eq!(story.view(RITA, SHARED).values.len(), 1);
    assert_eq!(story.view(SAM, SHARED), story.view(RITA, SHARED));
}

pub(crate) fn product_of(n: u64) -> Record {
    let gtin = (10 * n..10 * n + 10).find_map(|n| Gtin::from_u64(n).ok()).expect("a digit fits");
    let (name, brand, category) = (format!("Oats {n}"), String::new(), String::new());
    let (own, width_mm, height_mm, colour) = (true, 90, 200, 0);
    Record::Product(Product { gtin, name, brand, category, own, width_mm, height_mm, colour })
}

#[test]
fn a_first_sync_in_many_pages_may_break_off_at_any_of_them() {
    let mut story = Story::new();
    // Commits of 700: pages aim at 4,000 rows and end where a commit ended.
    for commit in 0..13 {
        let (products, now_ms) =
            ((0..700).map(|n| product_of(1_000 + 700 * commit + n)), story.now_ms);
        story.server.write(products.collect(), now_ms);
    }
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    for crash in [Crash::BeforeCommit, Crash::AfterCommit, Crash::Never, Crash::AfterCommit] {
        story.begin_sync(RITA);
        story.faults = tests::network::Faults { loss: 0, repeat: 0, cut: 0 };
        while story.devices[RITA].syncing() && !story.network.is_empty() {
            story.deliver_with(crash);
        }
        story.devices[RITA].give_up();
    }
    story.come_to_rest();
    story.check();
    let Ok(records) =
        story.devices[SVEN].disk.records(sync_core::model::catalogue::RecordKind::Product);
    assert_eq!(records.len(), 9_100 + brand::PRODUCTS.len());
}

/// What somebody on the line, or the server, makes of an answer; the phone hears it and must take nothing of it.
fn hears_forged(story: &mut Story, id: DocId, forge: fn(&mut Group)) {
    let now_ms = story.now_ms;
    let phone = story.devices[SAM].id;
    let (mut number, mut question) = story.devices[SAM].sync(now_ms).expect("it asks");
    let (mut pages, mut repairs) = (0, 0);
    // Both the page and, as the phone thinks that it may have lost something, the repair are forged.
    for _ in 0..20 {
        let reply = match &question {
            Question::Push(bytes) => {
                let reply = story.server.push(phone, bytes, now_ms, backend::Crash::Never);
                encode(&reply.expect("a reply"))
            }
            Question::Pull(bytes) => {
                let mut reply = story.server.pull(phone, bytes, now_ms).expect("a page");
                let groups = reply.groups.iter_mut().filter(|group| group.document == id);
                pages += groups.map(forge).count();
                encode(&reply)
            }
            Question::Repair(bytes) => {
                let mut reply = story.server.repair(phone, bytes, now_ms).expect("a reply");
                let groups = reply.groups.iter_mut().filter(|group| group.document == id);
                repairs += groups.map(forge).count();
                encode(&reply)
            }
            Question::Cargo(_) => panic!("it carries nothing"),
        };
        let answer = question.answered(reply);
        let heard = story.devices[SAM].hear(number, &answer, now_ms, Crash::Never);
        let kept = story.devices[SAM].document(id);
        assert!(kept.is_none_or(|kept| kept.document.changes().is_empty()), "it took the forgery");
        match heard.expect("it waits for it") {
            (Turn::Over(step), _) => {
                assert_ne!(step, Step::Done, "it thinks that all is well");
                break;
            }
            (Turn::Asks, next) => (number, question) = next.expect("it asks something"),
        }
    }
    assert!(pages > 0 && repairs > 0, "{pages} pages and {repairs} repairs were forged");
    story.devices[SAM].give_up();
}

#[test]
fn what_comes_without_its_authors_seal_is_taken_from_nobody() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.syncs(RITA);
    let id = visit_of(SHARED).into();
    hears_forged(&mut story, id, |group| group.seals.clear());
    hears_forged(&mut story, id, |group| group.seals[0].signature[7] ^= 1);
    hears_forged(&mut story, id, |group| {
        // Words put into Rita's mouth, under her seal for others.
        let mut parts = Parts::clone(&group.changes[0]);
        let Ok(Entry::Recording(mut start)) = Entry::decode(parts.section, &parts.value) else {
            panic!("it is a start")
        };
        start.when.wall_ms += 1;
        parts.value = Entry::Recording(start).encode();
        group.changes[0] = Change::new(group.document.kind, parts).expect("it has a name");
        group.seals[0].head = group.changes[0].hash();
    });
    // As it was signed it is taken.
    story.syncs(SAM);
    assert_eq!(story.devices[SAM].document(id).expect("it is here").document.changes().len(), 1);
}

/// Rita has begun a visit, and there are two phones with her store; the second one's number.
fn with_copied_phone() -> (Story, usize) {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.syncs(RITA);
    let copy = story.devices[RITA].copy();
    story.devices.push(copy);
    let copy = story.devices.len() - 1;
    (story, copy)
}

#[test]
fn a_copied_phone_is_noticed_and_stops_nobody() {
    let (mut story, copy) = with_copied_phone();
    // Both write as one actor: into one document, and into one each.
    story.records(RITA, SHARED, met(true));
    let lost = story.records(copy, SHARED, met(false));
    story.does(RITA, Command::StartCall(brand::call(1)));
    story.does(copy, Command::StartCall(brand::call(5)));
    story.syncs(RITA);
    story.oracle.copied.insert(brand::RITA);
    story.sync_now(copy);
    let kept = story.devices[copy].document(visit_of(SHARED).into()).expect("it is kept");
    assert_eq!(kept.refused.as_ref().map(|r| r.code.as_str()), Some("forked"));
    assert!(kept.document.contains(lost), "what is only here stays here");
    // Others build on what the server has, and all of it arrives everywhere but in the forked document.
    story.syncs(SAM);
    story.records(SAM, SHARED, met(false));
    story.syncs(SAM);
    for device in [RITA, copy, SAM, RITA, copy] {
        story.now_ms += 1_000;
        let step = story.sync_now(device);
        assert_eq!(step, Step::Done, "phone {device}: {:?}", story.devices[device].complaint);
    }
    for device in [RITA, copy] {
        for call in [1, 5] {
            let kept = story.devices[device].document(visit_of(call).into());
            assert!(
                kept.is_some_and(|kept| kept.pending.is_empty()),
                "phone {device}, call {call}"
            );
        }
    }
    assert_eq!(story.view(RITA, SHARED), story.view(SAM, SHARED));
    // The first push of a copy looks like a retry. Once both have sent more, what either sends next does not follow, and
    // counts when it goes on from there.
    for _ in 0..3 {
        story.records(RITA, 1, met(true));
        story.syncs(RITA);
        story.records(copy, 5, met(true));
        story.sync_now(copy);
    }
    let forked: u64 = story
        .server
        .db
        .query_row("SELECT sum(forked) FROM device", [], |row| row.get(0))
        .expect("a count");
    assert!(forked > 0, "the server has noticed");
}

/// What looks like a retry whose reply was lost may come from a copy, which never had what the first has pushed.
#[test]
fn what_one_of_two_copies_has_pushed_the_other_is_given_without_a_repair() {
    let (mut story, copy) = with_copied_phone();
    story.oracle.copied.insert(brand::RITA);
    story.does(RITA, Command::StartCall(brand::call(1)));
    story.syncs(RITA);
    story.does(copy, Command::StartCall(brand::call(5)));
    story.sync_now(copy);
    let kept = story.devices[copy].document(visit_of(1).into()).expect("it was given");
    assert!(kept.pending.is_empty() && kept.document.changes().len() == 1);
    assert_eq!(story.oracle.repairs, 0, "a pull should have brought it");
}

#[test]
fn what_is_in_the_log_is_final_whatever_a_copy_was_refused_with() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    // Nothing was sent when the store was copied, twice.
    for _ in 0..2 {
        let copy = story.devices[RITA].copy();
        story.devices.push(copy);
    }
    story.oracle.copied.insert(brand::RITA);
    story.records(RITA, SHARED, met(true));
    story.records(3, SHARED, met(false));
    story.syncs(RITA);
    let refused = |story: &Story, device: usize| {
        let kept = story.devices[device].document(visit_of(SHARED).into()).expect("it is kept");
        kept.refused.map(|refused| refused.code)
    };
    story.sync_now(3);
    assert_eq!(refused(&story, 3).as_deref(), Some("forked"));
    // The other copy sends what all three have: it was in what was refused, and it is in the log.
    story.sync_now(4);
    assert_eq!(refused(&story, 4), None);
    let kept = story.devices[4].document(visit_of(SHARED).into()).expect("it is kept");
    assert!(kept.pending.is_empty());
}

#[test]
fn a_server_that_is_restored_from_a_backup_gets_back_what_it_lost() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.records(RITA, SHARED, met(true));
    story.come_to_rest();
    let backup = story.server.backup();
    story.records(RITA, SHARED, met(false));
    story.does(SAM, Command::StartCall(brand::call(SHARED)));
    story.syncs(RITA);
    story.syncs(SAM);
    story.does(RITA, Command::StartCall(brand::call(1)));
    story.records(RITA, 1, met(true));
    story.does(RITA, Command::Submit(visit_of(1)));
    story.syncs(RITA);
    story.syncs(SAM);
    let before = story.server.documents().into_iter().map(|id| story.server.held(id).document);
    let before: Vec<_> = before.map(|document| Visit::read(&document)).collect();
    story.server = backup;
    story.new_versions(); // numbers that the old log had given out are given out again
    story.oracle.lost_log = true;
    story.come_to_rest();
    story.check();
    let after = story.server.documents().into_iter().map(|id| story.server.held(id).document);
    assert_eq!(after.map(|document| Visit::read(&document)).collect::<Vec<_>>(), before);
}

#[test]
fn what_two_people_built_on_one_another_comes_back_after_a_restore() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.come_to_rest();
    let backup = story.server.backup();
    for device in [RITA, SAM, RITA] {
        story.syncs(device);
        story.records(device, SHARED, met(device == RITA));
        story.syncs(device);
    }
    story.syncs(SAM);
    let document = visit_of(SHARED).into();
    let before = Visit::read(&story.server.held(document).document);
    // Rita's phone is never heard of again; Sam's has all of hers, and brings it with her seals.
    let lost = story.devices.remove(RITA);
    story.server = backup;
    story.new_versions();
    story.oracle.lost_log = true;
    for device in 0..story.devices.len() {
        story.now_ms += 1_000;
        story.syncs(device);
    }
    let after = story.server.held(document);
    assert_eq!(Visit::read(&after.document).values, before.values);
    let of_rita = after.devices.values().filter(|device| **device == lost.id).count();
    assert!(of_rita >= 2, "it is hers, whoever brought it");
    story.devices.insert(RITA, lost);
    story.come_to_rest();
    story.check();
    assert_eq!(Visit::read(&story.server.held(document).document), before);
}

/// Sam works in Rita's visit, and she after him; the server loses both, and his phone is never heard of again. What she
/// wrote then looks as if she had held it back. Returns his lost phone.
fn with_late_work_on_a_lost_colleagues() -> (Story, Device) {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.come_to_rest();
    let backup = story.server.backup();
    story.does(SAM, Command::StartCall(brand::call(SHARED)));
    story.records(SAM, SHARED, met(true));
    story.syncs(SAM);
    story.syncs(RITA);
    story.records(RITA, SHARED, vec![facings(1, 2)]);
    story.syncs(RITA);
    let lost = story.devices.remove(SAM);
    let World { server, oracle, devices, .. } = &mut story.0;
    let before = std::mem::replace(server, backup);
    oracle.restored(&before, server, devices);
    story.new_versions();
    let now_ms = story.now_ms;
    let elsewhere = Scope::Territory(brand::territory(2));
    story.server.write(vec![brand::person_record(brand::RITA, elsewhere, true)], now_ms);
    story.says_it_knows(RITA);
    story.oracle.late.insert(visit_of(SHARED));
    (story, lost)
}

#[test]
fn what_a_colleague_wrote_is_not_refused_with_what_is_built_on_it() {
    let (mut story, lost) = with_late_work_on_a_lost_colleagues();
    story.syncs(RITA);
    let document = visit_of(SHARED).into();
    let held = story.server.held(document);
    let of_sam = held.devices.values().filter(|device| **device == lost.id).count();
    assert_eq!((of_sam, held.document.changes().len()), (2, 3), "his is in, hers waits");
    let kept = story.devices[RITA].document(document).expect("it is kept");
    assert_eq!(kept.refused.map(|refused| refused.code).as_deref(), Some("late"));
    assert_eq!(kept.pending.len(), 1);
}

#[test]
fn who_hears_of_a_change_before_their_work_can_be_taken_is_not_late() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    // More than there is room for in pages that are not full.
    for _ in 0..4 {
        let text = Note::new(&"long ".repeat(700), story.chance.bytes()).expect("a note");
        story.does(RITA, Command::Comment { visit: visit_of(1), text, answers: None });
    }
    story.records(RITA, 1, met(true));
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, true)], now_ms);
    story.server.room(Some(0));
    // She hears that the call is off, and says so, twice, while nothing of hers can be taken.
    for _ in 0..3 {
        story.syncs(RITA);
        let known = story.devices[RITA].disk.profile().cursor.map(|cursor| cursor.sequence);
        assert_eq!(known, Some(story.server.head().sequence));
        assert!(story.server.documents().is_empty(), "nothing of hers was taken");
    }
    story.server.room(None);
    story.syncs(RITA);
    assert_eq!(refusal(&story), None);
    assert_eq!(story.server.held(visit_of(1).into()).document.changes().len(), 6);
    story.come_to_rest();
    story.check();
    // What she writes from then on is judged by what she knows.
    let document = visit_of(1).into();
    story.does(RITA, Command::Submit(visit_of(1)));
    story.syncs(RITA);
    let (id, head) = (story.devices[RITA].id, story.server.head().sequence);
    story.syncs(RITA);
    let acked = "SELECT acked FROM device WHERE device = ?1";
    let acked = story.server.db.query_row(acked, [id.as_bytes()], |row| row.get::<_, u64>(0));
    assert_eq!(acked, Ok(head));
    assert_eq!(story.server.held(document).document.changes().len(), 7);
}

#[test]
fn what_was_refused_stays_refused_however_often_it_arrives() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, true)], now_ms);
    story.says_it_knows(RITA);
    let (number, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    story.oracle.late.insert(visit_of(1));
    story.answer_to(RITA, number, &question);
    let refused = |story: &Story| {
        let kept = story.devices[RITA].document(visit_of(1).into()).expect("it is kept");
        (kept.refused.map(|refused| refused.code), kept.pending.len())
    };
    assert_eq!(refused(&story), (Some("late".to_owned()), 1));
    // The call is planned again, and the same push arrives once more.
    story.server.write(vec![brand::call_record(1, false)], now_ms);
    story.answer_to(RITA, number, &question);
    story.devices[RITA].give_up();
    story.come_to_rest();
    assert_eq!(refused(&story), (Some("late".to_owned()), 1));
    assert!(story.server.documents().is_empty());
}

/// Work of Rita's that looks as if she had held it back, refused by the server.
pub(crate) fn with_late_work() -> Story {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    story.records(RITA, 1, vec![facings(1, 2)]);
    story.does(RITA, Command::Submit(visit_of(1)));
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, true)], now_ms);
    story.says_it_knows(RITA);
    story.oracle.late.insert(visit_of(1));
    story.syncs(RITA);
    assert_eq!(refusal(&story).as_deref(), Some("late"));
    story
}

pub(crate) fn refusal(story: &Story) -> Option<String> {
    let kept = story.devices[RITA].document(visit_of(1).into())?;
    kept.refused.map(|refused| refused.code)
}

#[test]
fn a_supervisor_lets_refused_work_in() {
    let mut story = with_late_work();
    let now_ms = story.now_ms;
    story.server.decide(true, now_ms).expect("it can be approved");
    story.come_to_rest();
    story.check();
    assert_eq!(refusal(&story), None);
    assert_eq!(story.view(RITA, 1).values.len(), 1);
    assert_eq!(story.server.held(visit_of(1).into()).document.changes().len(), 3);
    // It is decided, and stays so.
    story.server.decide(false, now_ms).expect("nothing waits");
    story.come_to_rest();
    assert_eq!(refusal(&story), None);
}

#[test]
fn discarded_work_stays_with_its_author_who_may_give_it_up() {
    let mut story = with_late_work();
    let now_ms = story.now_ms;
    story.server.decide(false, now_ms).expect("it can be discarded");
    story.come_to_rest();
    assert_eq!(refusal(&story).as_deref(), Some("discarded"));
    assert_eq!(story.view(RITA, 1).values.len(), 1, "she still sees it");
    assert!(story.server.documents().is_empty());
    assert!(
        story
            .act(
                RITA,
                Crash::Never,
                Command::GiveUp { document: visit_of(1).into(), instance: [7; 8] }
            )
            .is_none()
    );
    assert!(story.devices[RITA].document(visit_of(1).into()).is_none());
}

#[test]
fn refused_work_is_proposed_again_as_far_as_it_may_be() {
    let mut story = with_late_work();
    // The call is on again, so all of it may be.
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, false)], now_ms);
    story.syncs(RITA);
    let instance = [7; 8];
    let again = |document| Command::ProposeAgain { document, instance };
    story.does(RITA, again(visit_of(1).into()));
    story.come_to_rest();
    assert_eq!(refusal(&story), None);
    let held = story.server.held(visit_of(1).into());
    let kept = story.devices[RITA].document(visit_of(1).into()).expect("it is here");
    assert_eq!(kept.document.heads(), held.document.heads());
    assert!(held.times.values().all(|time| time.claimed_ms < now_ms), "captured when it was");
    let visit = story.view(RITA, 1);
    assert_eq!((visit.values.len(), visit.submissions.len()), (1, 1));
    // What was proposed first can no longer be let in.
    let size = story.server.head().sequence;
    story.server.decide(true, now_ms).expect("nothing waits");
    assert_eq!(story.server.head().sequence, size);
}

#[test]
fn what_is_approved_and_proposed_again_counts_once() {
    let mut story = with_late_work();
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, false)], now_ms);
    story.syncs(RITA);
    story.server.decide(true, now_ms).expect("it can be approved");
    story.oracle.saved.clear();
    let (document, instance) = (visit_of(1).into(), [7; 8]);
    story.does(RITA, Command::ProposeAgain { document, instance });
    story.oracle.saved.clear();
    story.oracle.lost_log = true; // the second proposal is refused, and she drops it
    for _ in 0..2 {
        story.syncs(RITA);
    }
    let kept = story.devices[RITA].document(document).expect("it is here");
    assert_eq!((kept.pending.len(), kept.refused), (0, None));
    assert_eq!(story.server.held(document).document.changes().len(), 3);
    assert_eq!(kept.document.heads(), story.server.held(document).document.heads());
}

#[test]
fn a_page_brings_the_keys_of_its_authors_though_they_are_revoked_later() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.records(RITA, SHARED, met(true));
    story.syncs(RITA);
    let backup = story.server.backup();
    for server in [None, Some(backup)] {
        if let Some(server) = server {
            story.server = server;
            story.oracle.lost_log = true;
        }
        // More than one page later Rita's phone is lost.
        for commit in 0..8 {
            let (products, now_ms) =
                ((0..700).map(|n| product_of(1_000 + 700 * commit + n)), story.now_ms);
            story.server.write(products.collect(), now_ms);
        }
        let (id, user, now_ms) = (story.devices[RITA].id, story.devices[RITA].user, story.now_ms);
        let key = story.devices[RITA].keypair.public();
        let revoked = catalogue::Device { id, user, key, revoked: true, lost_ms: None };
        story.server.write(vec![Record::Device(revoked)], now_ms);
        // Sam's phone goes on, or begins anew; a new one of his begins.
        let mut fresh =
            tests::device::Device::new(brand::SAM, now_ms, &mut Chance::new(now_ms as u64));
        std::mem::swap(&mut fresh, &mut story.devices[SVEN]);
        let (id, key) = (story.devices[SVEN].id, story.devices[SVEN].keypair.public());
        story.server.enrol(id, brand::SAM, key, now_ms);
        for device in [SAM, SVEN] {
            story.syncs(device);
            assert_eq!(story.view(device, SHARED).values.len(), 1);
        }
    }
}

#[test]
fn a_discard_and_others_work_come_in_one_page() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.come_to_rest();
    story.records(RITA, SHARED, met(true));
    let now_ms = story.now_ms;
    let elsewhere = Scope::Territory(brand::territory(2));
    story.server.write(vec![brand::person_record(brand::RITA, elsewhere, true)], now_ms);
    story.says_it_knows(RITA);
    story.oracle.late.insert(visit_of(SHARED));
    let (number, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    story.answer_to(RITA, number, &question);
    story.devices[RITA].give_up();
    // She is back, Sam goes on, and a supervisor discards what she held back.
    let back = Scope::Territory(brand::territory(1));
    story.server.write(vec![brand::person_record(brand::RITA, back, true)], now_ms);
    story.records(SAM, SHARED, vec![facings(2, 2)]);
    story.syncs(SAM);
    story.server.decide(false, now_ms).expect("it can be discarded");
    story.syncs(RITA);
    let document = visit_of(SHARED).into();
    let kept = story.devices[RITA].document(document).expect("it is here");
    assert_eq!(kept.refused.map(|r| r.code).as_deref(), Some("discarded"));
    story.act(RITA, Crash::Never, Command::GiveUp { document, instance: [8; 8] });
    story.records(RITA, SHARED, vec![facings(3, 1)]);
    story.records(SAM, SHARED, vec![facings(4, 1)]);
    for device in [RITA, SAM, RITA] {
        story.syncs(device);
    }
    assert_eq!(story.view(RITA, SHARED), story.view(SAM, SHARED));
    assert_eq!(story.view(RITA, SHARED).values.len(), 3);
}

#[test]
fn a_forked_phone_that_gives_up_goes_on_with_the_record() {
    let (mut story, copy) = with_copied_phone();
    story.records(RITA, SHARED, met(true));
    story.records(copy, SHARED, met(false));
    story.syncs(RITA);
    story.oracle.copied.insert(brand::RITA);
    story.sync_now(copy);
    let document = visit_of(SHARED).into();
    for again in [false, true] {
        story.records(RITA, SHARED, vec![facings(1, u32::from(again))]);
        story.syncs(RITA);
        story.sync_now(copy);
        let instance = [9 + u8::from(again); 8];
        let command = match again {
            false => Command::ProposeAgain { document, instance },
            true => Command::GiveUp { document, instance },
        };
        let refused = story.devices[copy].document(document).expect("it is here").refused;
        if refused.is_some() {
            story.act(copy, Crash::Never, command);
        }
        story.syncs(copy);
        story.records(RITA, SHARED, vec![facings(2, u32::from(again))]);
        story.syncs(RITA);
        story.syncs(copy);
        let kept = story.devices[copy].document(document).expect("it is here");
        assert_eq!(kept.document.heads(), story.server.held(document).document.heads());
        assert!(kept.pending.is_empty() && kept.refused.is_none());
    }
}

#[test]
fn a_forked_phone_brings_back_what_a_lost_colleague_wrote() {
    let (mut story, copy) = with_copied_phone();
    story.come_to_rest();
    let backup = story.server.backup();
    story.does(SAM, Command::StartCall(brand::call(SHARED)));
    let his = story.records(SAM, SHARED, met(true));
    story.syncs(SAM);
    story.sync_now(copy);
    story.records(RITA, SHARED, vec![facings(1, 1)]);
    let hers = story.records(copy, SHARED, vec![facings(1, 2)]);
    story.syncs(RITA);
    story.oracle.copied.insert(brand::RITA);
    story.sync_now(copy);
    let document = visit_of(SHARED).into();
    let of = |story: &Story| story.devices[copy].document(document).expect("it is here");
    assert_eq!(of(&story).refused.map(|r| r.code).as_deref(), Some("forked"));
    // The server loses his work, and neither his phone nor her other one is heard of again.
    let World { server, oracle, devices, .. } = &mut story.0;
    let before = std::mem::replace(server, backup);
    for device in [RITA, SAM] {
        devices[device].lost = true;
    }
    oracle.restored(&before, server, devices);
    story.new_versions();
    story.sync_now(copy);
    assert_eq!(story.server.times_logged(document, his), 1);
    assert_eq!(story.server.times_logged(document, hers), 1, "nothing is there that it forks from");
    assert!(of(&story).pending.is_empty() && of(&story).refused.is_none());
}

#[test]
fn who_has_dropped_a_visit_and_begins_it_again_is_not_forked() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.syncs(RITA);
    // The outlet moves, and she follows it: the visit that she began stays with those whom she leaves.
    let now_ms = story.now_ms;
    let south = Scope::Territory(brand::territory(2));
    let moves = vec![brand::outlet_record(1, 2, 1), brand::person_record(brand::RITA, south, true)];
    story.server.write(moves, now_ms);
    story.syncs(RITA);
    let document = visit_of(SHARED).into();
    assert!(story.devices[RITA].document(document).is_none(), "it is out of her sight");
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.records(RITA, SHARED, met(true));
    story.syncs(RITA);
    let kept = story.devices[RITA].document(document).expect("she sees what she began");
    assert_eq!((kept.pending.len(), kept.refused), (0, None));
    assert_eq!(story.server.held(document).document.changes().len(), 3);
}

#[test]
fn what_others_bring_back_reaches_its_author_too() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.come_to_rest();
    let (backup, old) = (story.server.backup(), story.devices[RITA].copy());
    story.records(RITA, SHARED, met(true));
    story.syncs(RITA);
    story.syncs(SAM);
    // Server and phone come back from backups; only Sam's phone has what she wrote since.
    story.server = backup;
    story.oracle.lost_log = true;
    story.devices[RITA] = old;
    for device in [RITA, SAM, RITA] {
        story.syncs(device);
    }
    assert_eq!(story.view(RITA, SHARED).values.len(), 1);
    assert_eq!(story.view(RITA, SHARED), story.view(SAM, SHARED));
    // And she goes on where she was.
    story.records(RITA, SHARED, met(false));
    story.syncs(RITA);
    let kept = story.devices[RITA].document(visit_of(SHARED).into()).expect("it is here");
    assert_eq!((kept.pending.len(), kept.refused), (0, None));
}

#[test]
fn work_reaches_the_server_through_a_colleague_who_may_not_see_it() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    let told = story.records(RITA, SHARED, vec![facings(1, 2)]);
    story.does(RITA, Command::Submit(visit_of(SHARED)));
    let document = visit_of(SHARED).into();
    let packed = pack(&story.devices[RITA].disk, &story.devices[RITA].keypair, document);
    let Ok(Some((parcel, changes))) = packed else { panic!("nothing to carry") };
    assert_eq!(changes.len(), 3);
    let carry = vec![Write::Carry(parcel, 0)];
    story.devices[SVEN].disk.commit(carry);
    story.syncs(SVEN);
    assert_eq!(story.devices[SVEN].disk.cargo(), Ok(Vec::new()));
    assert!(story.devices[SVEN].document(document).is_none(), "Sven does not see it");
    let held = story.server.held(document);
    assert_eq!(held.devices[&told], story.devices[RITA].id);
    assert_eq!(held.times[&told].basis, ClaimBasis::ServerSkew, "Sven's clocks say nothing of it");
    // Rita comes back: it is confirmed, once, and her phone is not taken for a copy.
    story.syncs(RITA);
    story.come_to_rest();
    story.check();
    let forked = "SELECT sum(forked) FROM device";
    assert_eq!(story.server.db.query_row(forked, [], |row| row.get(0)), Ok(0));
}

const KIOSK: u8 = 1; // Rita's and Sam's
const FULL: usize = sync_core::document::VOLUME_CHANGES;

impl Story {
    fn comments(&mut self, device: usize, text: &str) -> ChangeHash {
        self.comments_on(device, brand::outlet(KIOSK), text)
    }

    pub(crate) fn comments_on(
        &mut self,
        device: usize,
        outlet: OutletId,
        text: &str,
    ) -> ChangeHash {
        let text = Note::new(text, self.chance.bytes()).expect("a note");
        self.does(device, Command::CommentOutlet { outlet, text })
    }

    fn volume(&self, device: usize, number: u32) -> Option<Kept> {
        self.devices[device].document(DocId::volume(brand::outlet(KIOSK), number))
    }
}

/// From the newest volume to the first, with what the server has alone: every volume's changes are reached by seals
/// of their authors' keys, and each author's first entry names heads of the volume before. How many changes each has.
fn proven(story: &Story) -> Vec<usize> {
    let server = &story.server;
    let volumes = log::volumes(&server.db, server.org, brand::outlet(KIOSK)).expect("volumes");
    let (everyone, everything) = (|_: &_| true, u64::MAX);
    let reader = Reader::open(&server.db, server.org).expect("the log opens");
    let audiences = reader.audiences(everyone).expect("audiences");
    let range = Range {
        since: 0,
        until: None,
        audiences: &audiences,
        device: story.devices[0].id,
        own: None,
    };
    let mut groups = Vec::new();
    let mut since = 0;
    while since < everything {
        let page = reader.page(&Range { since, ..range }).expect("a page");
        groups.extend(page.groups);
        since = if page.more { page.cursor.sequence } else { everything };
    }
    let mut lengths = Vec::new();
    let mut named: Option<Vec<ChangeHash>> = None;
    for id in volumes.iter().rev() {
        let held = server.held(*id);
        let of_volume = groups.iter().filter(|group| group.document == *id);
        let seals: Vec<_> = of_volume.flat_map(|group| group.seals.clone()).collect();
        let whole = Group { document: *id, changes: held.document.changes().to_vec(), seals };
        let keys = server.world.keys_of([&whole]);
        assert_eq!(whole.check_seals(ORG, &keys), Ok(()), "{id}");
        if let Some(named) = named {
            assert!(!named.is_empty());
            assert!(held.document.past(&named).len() >= FULL, "what was seen is a whole volume");
        }
        let entries = held.document.changes().iter().filter_map(|c| c.entry().ok());
        named = Some(
            entries.flat_map(|e| e.volume().map_or(Vec::new(), |v| v.before.clone())).collect(),
        );
        lengths.push(held.document.changes().len());
    }
    assert_eq!(named, Some(Vec::new()), "the first volume follows none");
    lengths.reverse();
    lengths
}

#[test]
fn a_history_goes_on_in_volumes_and_is_proven_back_to_its_beginning() {
    let mut story = Story::new();
    story.remembers(brand::SUE, brand::outlet(KIOSK).into(), FULL - 1);
    [RITA, SAM].into_iter().for_each(|device| story.syncs(device));
    let backup = story.server.backup();
    // One change short: both write on in the first volume. Sam goes on there, without a network.
    story.comments(RITA, "the last of volume 0");
    let late = story.comments(SAM, "late, in volume 0");
    story.syncs(RITA);
    let first = story.comments(RITA, "the first of volume 1");
    let later = story.comments(SAM, "later still, in volume 0");
    assert!(story.volume(RITA, 1).is_some_and(|kept| kept.document.contains(first)));
    assert!(story.volume(SAM, 1).is_none());
    [SAM, RITA].into_iter().for_each(|device| story.syncs(device));
    let sams = story.comments(SAM, "Sam begins the same one apart");
    story.come_to_rest();
    story.check();
    for device in [RITA, SAM] {
        let volume = |n| story.volume(device, n).expect("it is here").document;
        assert!([late, later].iter().all(|change| volume(0).contains(*change)));
        assert!([first, sams].iter().all(|change| volume(1).contains(*change)));
        assert_eq!(volume(1).past(&[sams]).len(), 1, "neither had seen the other's");
        assert!(story.volume(device, 2).is_none());
    }
    assert_eq!(proven(&story), [FULL + 2, 2]);

    // And another volume, begun apart too.
    for n in 2..FULL {
        story.comments(if n % 2 == 0 { RITA } else { SAM }, "day by day");
        if n % 100 == 0 {
            [RITA, SAM, RITA].into_iter().for_each(|device| story.syncs(device));
        }
    }
    [RITA, SAM, RITA].into_iter().for_each(|device| story.syncs(device));
    for device in [RITA, SAM] {
        story.comments(device, "the first of volume 2");
    }
    story.come_to_rest();
    story.check();
    assert_eq!(proven(&story), [FULL + 2, FULL, 2]);

    // The outlet goes south: all of it is Sven's then, and nobody's in the north.
    let now_ms = story.now_ms;
    story.server.write(vec![brand::outlet_record(KIOSK, 2, 2)], now_ms);
    story.come_to_rest();
    story.check();
    assert!((0..3).all(|n| story.volume(RITA, n).is_none() && story.volume(SVEN, n).is_some()));
    // And comes back, where Rita is somebody new in its history.
    story.server.write(vec![brand::outlet_record(KIOSK, 1, 1)], now_ms);
    story.come_to_rest();
    story.comments(RITA, "back in the north");
    story.come_to_rest();
    story.check();
    assert_eq!(proven(&story), [FULL + 2, FULL, 3]);
    assert!((0..3).all(|n| story.volume(SVEN, n).is_none() && story.volume(RITA, n).is_some()));

    // A fresh phone of Sam's gets all of it, and goes on.
    let fresh = Device::new(brand::SAM, story.now_ms, &mut Chance::new(5));
    let (id, key) = (fresh.id, fresh.keypair.public());
    let now_ms = story.now_ms;
    story.server.enrol(id, brand::SAM, key, now_ms);
    story.devices.push(fresh);
    story.syncs(3);
    story.comments(3, "from a fresh phone");
    story.come_to_rest();
    story.check();
    assert_eq!(proven(&story), [FULL + 2, FULL, 4]);

    // A server that has lost the later volumes gets them back, each after the one that it follows, although the
    // phones held the last of them ready to be sent already.
    story.comments(SAM, "not sent before the loss");
    let before = std::mem::replace(&mut story.server, backup);
    story.server.enrol(id, brand::SAM, key, now_ms);
    let world = &mut story.0;
    world.oracle.restored(&before, &world.server, &world.devices);
    assert_eq!(proven(&story), [FULL - 1]);
    story.come_to_rest();
    story.check();
    assert_eq!(proven(&story), [FULL + 2, FULL, 5]);
}

/// Rita has begun volume 1 without knowing that the outlet has gone south, and looks as if she had known.
fn with_late_volume() -> Story {
    let mut story = Story::new();
    story.remembers(brand::SUE, brand::outlet(KIOSK).into(), FULL);
    story.syncs(RITA);
    story.comments(RITA, "the first of volume 1");
    story.comments(RITA, "the second");
    let now_ms = story.now_ms;
    story.server.write(vec![brand::outlet_record(KIOSK, 2, 2)], now_ms);
    story.says_it_knows(RITA);
    story.oracle.lost_rights = true; // else nothing may look late
    story.syncs(RITA);
    let refused = story.volume(RITA, 1).and_then(|kept| kept.refused);
    assert_eq!(refused.map(|refused| refused.code).as_deref(), Some("late"));
    assert!(story.volume(RITA, 0).is_some(), "what a later volume follows stays with it");
    story
}

#[test]
fn a_supervisor_lets_a_late_volume_in() {
    let mut story = with_late_volume();
    let now_ms = story.now_ms;
    story.server.decide(true, now_ms).expect("it can be approved");
    story.come_to_rest();
    story.check();
    assert_eq!(proven(&story), [FULL, 2]);
    assert!(story.volume(SVEN, 1).is_some());
}

#[test]
fn a_late_volume_is_proposed_again_with_a_new_link() {
    let mut story = with_late_volume();
    let now_ms = story.now_ms;
    story.server.write(vec![brand::outlet_record(KIOSK, 1, 1)], now_ms);
    story.syncs(RITA);
    let document = DocId::volume(brand::outlet(KIOSK), 1);
    story.does(RITA, Command::ProposeAgain { document, instance: [7; 8] });
    story.come_to_rest();
    oracle::is_sound(&story.server);
    assert_eq!(proven(&story), [FULL, 2]);
    let actor = story.devices[RITA].disk.profile().actor;
    let held = story.server.held(document).document;
    assert!(held.changes().iter().all(|change| change.actor == actor));
}

#[test]
fn the_history_of_an_outlet_that_nobody_lists_goes_on_too_and_moves_once_it_is_listed() {
    let mut story = Story::new();
    let outlet = brand::outlet(9);
    let (territory, distributor) = (brand::territory(1), brand::distributor(1));
    let (name, address) = ("Kiosk".to_owned(), "Harbour 1".to_owned());
    let (note, photos) = (None, Vec::new());
    story.does(
        RITA,
        Command::Report { outlet, name, address, territory, distributor, note, photos },
    );
    story.syncs(RITA);
    story.remembers(brand::SUE, outlet.into(), FULL);
    for device in [RITA, SAM] {
        story.syncs(device);
        story.comments_on(device, outlet, "the first of volume 1");
    }
    story.come_to_rest();
    story.check();
    let volumes = [0, 1].map(|number| DocId::volume(outlet, number));
    let here = |story: &Story, device: usize| {
        volumes.map(|id| story.devices[device].document(id).is_some())
    };
    assert_eq!([RITA, SAM, SVEN].map(|d| here(&story, d)), [[true; 2], [true; 2], [false; 2]]);
    for at in [1, 2] {
        let now_ms = story.now_ms;
        story.server.write(vec![brand::outlet_record(9, at, at)], now_ms);
        story.come_to_rest();
        story.check();
    }
    assert_eq!([RITA, SAM, SVEN].map(|d| here(&story, d)), [[false; 2], [false; 2], [true; 2]]);
}

#[test]
fn a_full_visit_is_refused_on_the_phone_and_can_still_be_submitted() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.syncs(RITA);
    let id: DocId = visit_of(SHARED).into();
    story.remembers(brand::SUE, id, 3_000);
    story.remembers(brand::SAM, id, CHANGES_MAX - 3_066);
    story.syncs(RITA);
    story.records(RITA, SHARED, met(true));
    let before = story.devices[RITA].disk.clone();
    let (observations, photos, notes) = (met(false), Vec::new(), Vec::new());
    let record = Command::Record { visit: visit_of(SHARED), observations, photos, notes };
    let now_ms = story.now_ms;
    let refused = story.devices[RITA].act(now_ms, Crash::Never, record);
    let refused = refused.map_err(|error| match error {
        CommandError::Refused(refusal) => refusal.code(),
        other => panic!("{other}"),
    });
    assert_eq!(refused, Err("full"));
    assert!(before.holds_the_same(&story.devices[RITA].disk), "nothing was written");
    story.does(RITA, Command::Submit(visit_of(SHARED)));
    story.come_to_rest();
    story.check();
    let held = story.server.held(id).document;
    assert_eq!(held.changes().len(), CHANGES_MAX - 63);
    assert_eq!(Visit::read(&held).status, sync_core::visit::Status::Submitted);
}

/// Rita has a visit with two recordings, and everybody has it who may.
fn with_a_visit() -> Story {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.records(RITA, SHARED, met(true));
    story.records(RITA, SHARED, vec![facings(1, 2)]);
    story.come_to_rest();
    story
}

/// A day goes by, and a disk is known to have lost something.
fn a_day_later(story: &mut Story, device: usize) {
    let user = story.devices[device].user;
    story.oracle.rotten.insert(device, user);
    story.now_ms += COUNT_MS;
}

#[test]
fn what_a_disk_has_lost_comes_back_in_one_sync() {
    let mut story = with_a_visit();
    let id = visit_of(SHARED).into();
    let product = RecordKey::product(brand::product(0));
    let nobody = product_of(77);
    let rita = RecordKey::device(story.devices[RITA].id);
    let disk = &mut story.devices[SAM].disk;
    disk.lose(id);
    disk.lose_record(product);
    disk.lose_record(rita);
    disk.put_record(&nobody);
    disk.put_record(&brand::planogram(0));
    story.syncs(SAM);
    assert!(story.devices[SAM].document(id).is_none(), "what is held is not counted every time");
    a_day_later(&mut story, SAM);
    story.syncs(SAM);
    let Ok(came) = story.devices[SAM].disk.record(product);
    assert!(came.is_some() && story.devices[SAM].document(id).is_some());
    let Ok(gone) = story.devices[SAM].disk.record(nobody.key());
    assert_eq!(gone, None);
    assert_eq!(story.devices[SAM].disk.profile().mended, Some(5), "all of it, and nothing else");
    assert_eq!(story.oracle.repairs, 3, "what all falls into, what is in the parts, the things");
    story.check();
}

#[test]
fn a_page_that_does_not_fit_is_no_dead_end() {
    let mut story = with_a_visit();
    let id = visit_of(SHARED).into();
    let rita = RecordKey::device(story.devices[RITA].id);
    story.devices[SAM].disk.lose_newest(id);
    story.devices[SAM].disk.lose_record(rita);
    story.oracle.rotten.insert(SAM, brand::SAM);
    // What comes builds on what is lost, and is signed with a key that is lost.
    story.records(RITA, SHARED, met(false));
    story.syncs(RITA);
    story.syncs(SAM);
    assert_eq!(story.devices[SAM].disk.profile().mended, Some(2));
    assert_eq!(story.view(SAM, SHARED), story.view(RITA, SHARED));
    story.come_to_rest();
    story.check();
}

#[test]
fn work_that_was_forgotten_to_be_unsent_is_sent() {
    let mut story = with_a_visit();
    let id = visit_of(SHARED).into();
    let hash = story.records(RITA, SHARED, met(false));
    let other = story.does(RITA, Command::StartCall(brand::call(1)));
    story.devices[RITA].disk.forget_unsent(id);
    story.devices[RITA].disk.forget_unsent(visit_of(1).into());
    story.oracle.forgotten = true;
    // A phone that goes on with one of them is refused, for what it builds on is not there.
    story.records(RITA, SHARED, met(true));
    a_day_later(&mut story, RITA);
    story.syncs(RITA);
    assert_eq!(story.server.times_logged(id, hash), 1);
    assert_eq!(story.server.times_logged(visit_of(1).into(), other), 1);
    story.syncs(RITA);
    story.syncs(RITA);
    let kept = story.devices[RITA].document(id).expect("it is here");
    assert!(kept.pending.is_empty() && kept.refused.is_none());
}

#[test]
fn a_wrong_print_is_counted_anew_without_a_question() {
    let mut story = with_a_visit();
    let Ok(before) = inventory(&story.devices[SAM].disk);
    story.devices[SAM].disk.lose_newest(visit_of(SHARED).into());
    let Ok(lost) = inventory(&story.devices[SAM].disk);
    assert_ne!(before.print(), lost.print());
    story.come_to_rest();
    let held = story.devices[SAM].disk.profile().held.expect("it was counted").print;
    assert_eq!((held, story.oracle.repairs), (before.print(), 0), "nobody has looked");
}

#[test]
fn what_the_server_does_not_show_is_set_aside_once() {
    let mut story = Story::new();
    // The outlet moves while Rita begins a visit there; Sam has begun it at the new place.
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    let now_ms = story.now_ms;
    story.server.write(vec![brand::outlet_record(1, 2, 1)], now_ms);
    story.syncs(SAM);
    story.does(SAM, Command::StartCall(brand::call(SHARED)));
    story.syncs(SAM);
    story.come_to_rest();
    story.check();
    let kept = story.devices[RITA].document(visit_of(SHARED).into()).expect("it is kept");
    assert!(kept.aside && kept.pending.is_empty() && kept.refused.is_none());
    let asked = story.oracle.repairs;
    assert!(asked > 0);
    story.come_to_rest();
    assert_eq!(story.oracle.repairs, asked, "once is enough");
    // It moves back, and counts again.
    let now_ms = story.now_ms;
    let scope = Scope::Territory(brand::territory(0));
    story.server.write(vec![brand::person_record(brand::RITA, scope, true)], now_ms);
    story.come_to_rest();
    story.check();
    let kept = story.devices[RITA].document(visit_of(SHARED).into()).expect("it is kept");
    assert!(!kept.aside);
}

#[test]
fn phones_let_go_of_what_has_not_changed_for_long_and_get_it_back_when_it_does() {
    let mut story = Story::new();
    story.server.keep(30);
    let id = visit_of(SHARED).into();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.records(RITA, SHARED, met(true));
    story.does(RITA, Command::Submit(visit_of(SHARED)));
    // This one waits for Rita, however long.
    story.does(RITA, Command::StartCall(brand::call(1)));
    story.come_to_rest();
    let here = |story: &Story, device: usize| story.devices[device].document(id).is_some();
    story.now_ms += 31 * 24 * HOUR_MS;
    // Sam is on holiday with something to say; nothing is let go of before somebody writes.
    let text = Note::new("left on the phone", [7; 16]).expect("a note");
    story.come_to_rest();
    assert!(here(&story, RITA) && here(&story, SAM));
    story.does(SAM, Command::Comment { visit: visit_of(SHARED), text, answers: None });
    story.does(SVEN, Command::StartCall(brand::call(3)));
    story.syncs(SVEN);
    story.syncs(RITA);
    assert!(!here(&story, RITA) && here(&story, SAM));
    assert!(story.devices[RITA].document(visit_of(1).into()).is_some());
    // A fresh phone does not get it, and the server has lost nothing.
    let fresh = Device::new(brand::RITA, story.now_ms, &mut Chance::new(9));
    let (fresh_id, key, now_ms) = (fresh.id, fresh.keypair.public(), story.now_ms);
    story.server.enrol(fresh_id, brand::RITA, key, now_ms);
    story.devices.push(fresh);
    story.syncs(3);
    assert!(!here(&story, 3) && story.server.held(id).let_go);
    // Sam's word brings all of it back to everybody.
    story.come_to_rest();
    story.check();
    assert!([RITA, SAM, 3].into_iter().all(|device| here(&story, device)));
    assert_eq!(story.view(RITA, SHARED), story.view(SAM, SHARED));
    assert_eq!(story.view(RITA, SHARED).thread.len(), 1);
}
