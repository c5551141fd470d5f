//! What was refused, or let go of, before a server came back from a backup.

use sync_core::cargo::pack;
use sync_core::client::Replica;
use sync_core::command::Command;
use sync_core::id::{DocId, OutletId};
use sync_core::model::people::Scope;
use sync_core::session::Step;
use sync_core::wire::{PushRequest, from_wire};
use tests::backend::{Server, encode};
use tests::brand::{self, ORG};
use tests::chance::Chance;
use tests::device::{Answer, Crash, Device, Question};
use tests::world::World;

use crate::stories::{RITA, SAM, SHARED, Story, facings, met, product_of, visit_of};

const KIOSK: u8 = 1;
const FULL: usize = sync_core::document::VOLUME_CHANGES;

fn visit() -> DocId {
    visit_of(SHARED).into()
}

fn restore(story: &mut Story, backup: Server) {
    let World { server, oracle, devices, .. } = &mut story.0;
    let before = std::mem::replace(server, backup);
    oracle.restored(&before, server, devices);
    story.new_versions();
}

fn refusal(story: &Story, device: usize, id: DocId) -> Option<String> {
    story.devices[device].document(id)?.refused.map(|refused| refused.code)
}

fn pending(story: &Story, device: usize, id: DocId) -> usize {
    story.devices[device].document(id).map_or(0, |kept| kept.pending.len())
}

fn on_the_record(story: &Story, id: DocId) -> usize {
    story.server.held(id).document.changes().len()
}

/// Rita works elsewhere, and then here again.
fn works(story: &mut Story, territory: u8, active: bool) {
    let (scope, now_ms) = (Scope::Territory(brand::territory(territory)), story.now_ms);
    story.server.write(vec![brand::person_record(brand::RITA, scope, active)], now_ms);
}

/// What Rita has written since she synced comes when she may not any more, which she is said to have known; then she may
/// again.
fn is_late(story: &mut Story) {
    works(story, 2, true);
    story.says_it_knows(RITA);
    story.oracle.late.insert(visit_of(SHARED));
    story.syncs(RITA);
    works(story, 1, true);
    story.syncs(RITA);
    assert_eq!(refusal(story, RITA, visit()).as_deref(), Some("late"));
}

/// Rita has begun a visit, and corrects it when she may not any more, which she does not know; then she may again.
fn with_refused_correction() -> Story {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.records(RITA, SHARED, met(true));
    story.come_to_rest();
    story.records(RITA, SHARED, met(false));
    is_late(&mut story);
    story
}

#[test]
fn a_discard_of_before_the_backup_keeps_nobodys_work_from_coming_back() {
    let mut story = with_refused_correction();
    let now_ms = story.now_ms;
    story.server.decide(false, now_ms).expect("it can be discarded");
    story.syncs(RITA);
    assert_eq!(refusal(&story, RITA, visit()).as_deref(), Some("discarded"));
    let backup = story.server.backup();
    story.does(SAM, Command::StartCall(brand::call(SHARED)));
    story.records(SAM, SHARED, vec![facings(1, 2)]);
    story.syncs(SAM);
    story.syncs(RITA);
    let all = on_the_record(&story, visit());
    // Sam's phone is never heard of again: hers is the only one that has his.
    story.devices.remove(SAM);
    restore(&mut story, backup);
    assert!(on_the_record(&story, visit()) < all);
    for _ in 0..2 {
        story.syncs(RITA);
        assert_eq!(on_the_record(&story, visit()), all);
        assert_eq!(refusal(&story, RITA, visit()).as_deref(), Some("discarded"));
        assert_eq!(pending(&story, RITA, visit()), 1);
    }
    story.act(RITA, Crash::Never, Command::GiveUp { document: visit(), instance: [7; 8] });
    story.syncs(RITA);
    assert_eq!((pending(&story, RITA, visit()), refusal(&story, RITA, visit())), (0, None));
    assert_eq!(story.devices[RITA].document(visit()).unwrap().document.changes().len(), all);
}

#[test]
fn what_was_accepted_does_not_wait_for_what_was_refused() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.syncs(RITA);
    let backup = story.server.backup();
    story.records(RITA, SHARED, met(true));
    story.syncs(RITA);
    story.records(RITA, SHARED, met(false));
    is_late(&mut story);
    restore(&mut story, backup);
    let (id, now_ms) = (story.devices[RITA].id, story.now_ms);
    let (mut number, mut question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    loop {
        let answer = match &question {
            Question::Push(bytes) => {
                let push: PushRequest = from_wire(ORG, bytes).expect("a push");
                let changes: Vec<usize> = push.groups.iter().map(|g| g.changes.len()).collect();
                assert_eq!(changes, [1, 1], "what was in the record, and what was not");
                let phone = &story.devices[RITA];
                let Ok(parcel) = pack(&phone.disk, &phone.keypair, visit());
                let carried = parcel.map(|(_, changes)| changes.len());
                assert_eq!(carried, Some(1), "nor does a colleague's phone bring it in one group");
                break;
            }
            Question::Pull(bytes) => match story.server.pull(id, bytes, now_ms) {
                Ok(page) => question.answered(encode(&page)),
                Err(refused) => Answer::Refused(refused),
            },
            Question::Cargo(_) | Question::Repair(_) => panic!("it carries and lacks nothing"),
        };
        let heard = story.devices[RITA].hear(number, &answer, now_ms, Crash::Never);
        (number, question) = heard.and_then(|(_, next)| next).expect("she goes on");
    }
}

#[test]
fn who_holds_what_a_copy_has_displaced_brings_it_and_goes_on() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.come_to_rest();
    let copy = story.devices[RITA].copy();
    story.devices.push(copy);
    story.oracle.copied.insert(brand::RITA);
    let backup = story.server.backup();
    let displaced = story.records(RITA, SHARED, met(true));
    let came = story.records(3, SHARED, met(false));
    story.syncs(RITA);
    story.sync_now(3);
    story.syncs(SAM);
    // The first of the two is lost; after the restore the other comes first.
    restore(&mut story, backup);
    story.oracle.lost_log = true;
    story.devices.swap(RITA, 3);
    story.devices.pop();
    story.sync_now(RITA);
    story.sync_now(SAM);
    assert_eq!(refusal(&story, SAM, visit()).as_deref(), Some("forked"));
    let gives_up = Command::GiveUp { document: visit(), instance: [7; 8] };
    // Once, and what he holds of hers is brought to who may still say what it was; once more, and he has what holds.
    for _ in 0..2 {
        story.act(SAM, Crash::Never, gives_up.clone());
        story.sync_now(SAM);
    }
    let apart = story.server.quarantined();
    assert!(apart.contains_key(&(visit(), displaced)), "nobody keeps it any more");
    let kept = story.devices[SAM].document(visit()).expect("it is here");
    assert_eq!((kept.pending.len(), kept.refused), (0, None));
    assert!(kept.document.contains(came) && !kept.document.contains(displaced));
    story.does(SAM, Command::StartCall(brand::call(SHARED)));
    story.sync_now(SAM);
    assert_eq!(pending(&story, SAM, visit()), 0);
}

#[test]
fn a_later_volume_is_offered_again_once_the_one_before_is_whole() {
    let mut story = Story::new();
    let outlet: OutletId = brand::outlet(KIOSK);
    let volumes = [0, 1].map(|number| DocId::volume(outlet, number));
    story.remembers(brand::SUE, outlet.into(), FULL - 2);
    story.come_to_rest();
    let backup = story.server.backup();
    // A new phone of Sam's, of which the backup knows nothing.
    let now_ms = story.now_ms;
    let fresh = Device::new(brand::SAM, now_ms, &mut Chance::new(5));
    let (id, key) = (fresh.id, fresh.keypair.public());
    story.server.enrol(id, brand::SAM, key, now_ms);
    story.devices.push(fresh);
    story.syncs(3);
    story.comments_on(3, outlet, "the last but one of volume 0");
    story.syncs(3);
    story.syncs(RITA);
    story.comments_on(RITA, outlet, "the last of volume 0");
    story.syncs(RITA);
    story.comments_on(RITA, outlet, "the first of volume 1");
    assert!(story.devices[RITA].document(volumes[1]).is_some());
    restore(&mut story, backup);
    story.syncs(RITA);
    for volume in volumes {
        assert!(refusal(&story, RITA, volume).is_some(), "his part is of nobody who is known");
    }
    let now_ms = story.now_ms;
    story.server.enrol(id, brand::SAM, key, now_ms);
    story.syncs(3);
    for _ in 0..2 {
        story.syncs(RITA);
    }
    for volume in volumes {
        assert_eq!((refusal(&story, RITA, volume), pending(&story, RITA, volume)), (None, 0));
    }
    assert_eq!(volumes.map(|volume| on_the_record(&story, volume)), [FULL, 1]);
}

#[test]
fn who_was_let_go_and_taken_back_is_given_their_own_without_a_repair() {
    let mut story = Story::new();
    for commit in 0..8 {
        let now_ms = story.now_ms;
        story
            .server
            .write((0..700).map(|n| product_of(1_000 + 700 * commit + n)).collect(), now_ms);
    }
    story.syncs(RITA);
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.syncs(RITA);
    story.does(SAM, Command::StartCall(brand::call(SHARED)));
    story.syncs(SAM);
    works(&mut story, 2, true);
    story.syncs(RITA);
    story.syncs(RITA);
    works(&mut story, 1, false);
    assert!(matches!(story.sync_now(RITA), Step::Stop(_)), "she works nowhere");
    works(&mut story, 1, true);
    story.syncs(RITA);
    let kept = story.devices[RITA].document(visit()).expect("it is here");
    assert_eq!((kept.document.changes().len(), kept.pending.len()), (2, 0));
    assert_eq!(story.oracle.repairs, 0, "pulls should have brought it");
}

#[test]
fn what_is_captured_between_two_pages_is_judged_by_what_was_known_before_them() {
    let mut story = Story::new();
    let outlet = brand::outlet(3);
    let lies_in = |story: &mut Story, territory| {
        let now_ms = story.now_ms;
        story.server.write(vec![brand::territory_record(2, Some(territory))], now_ms);
    };
    lies_in(&mut story, 1);
    story.syncs(RITA);
    lies_in(&mut story, 0);
    // More than a page, at whose end the territory is written once more: the first page leaves it out.
    for commit in 0..8 {
        let now_ms = story.now_ms;
        story
            .server
            .write((0..700).map(|n| product_of(1_000 + 700 * commit + n)).collect(), now_ms);
    }
    lies_in(&mut story, 0);
    let now_ms = story.now_ms;
    let is_between = |story: &Story| story.devices[RITA].disk.profile().whole.is_some();
    let known = |story: &Story| {
        story.devices[RITA].disk.profile().cursor.map_or(0, |cursor| cursor.sequence)
    };
    let moved = known(&story);
    for _ in 0..6 {
        let (number, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
        story.answer_to(RITA, number, &question);
        story.devices[RITA].give_up();
        if known(&story) > moved {
            break;
        }
    }
    assert!(is_between(&story) && known(&story) > moved, "a page has come, and there is more");
    // She asks for the next one, and its answer is lost.
    let (_, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    let Question::Pull(bytes) = &question else { panic!("she has nothing to push") };
    let id = story.devices[RITA].id;
    story.server.pull(id, bytes, now_ms).expect("a page");
    story.devices[RITA].give_up();
    let said = story.comments_on(RITA, outlet, "she does not know that it is not hers");
    story.syncs(RITA);
    assert_eq!(story.server.times_logged(outlet.into(), said), 1);
    assert!(!is_between(&story));
    story.come_to_rest();
    story.check();
}
