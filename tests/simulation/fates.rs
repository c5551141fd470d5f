//! What becomes of work that is refused, decided on, lost on the way or made in ignorance: one fate, which its author
//! hears of.

use sync_core::cargo::pack;
use sync_core::client::{Replica, Write};
use sync_core::command::Command;
use sync_core::document::{Change, Entry};
use sync_core::evidence::Seal;
use sync_core::id::{Actor, DeviceId};
use sync_core::model::people::Scope;
use sync_core::model::visit::{Note, Post};
use sync_core::wire::{Outcome, PushRequest, from_wire};
use tests::backend::{self, encode};
use tests::brand;
use tests::device::{Crash, Question};

use crate::stories::{
    HOUR_MS, RITA, SAM, SHARED, SVEN, Story, facings, met, refusal, visit_of, with_late_work,
};

const DAY_MS: i64 = 24 * HOUR_MS;

impl Story {
    /// A phone's access is withdrawn, and its person enrols it again with another key.
    fn withdrawn_and_enrolled_again(&mut self, device: usize) {
        let (id, now_ms) = (self.devices[device].id, self.now_ms);
        self.server.withdraw(id, now_ms);
        self.goes_on_with_another_key(device);
    }

    fn goes_on_with_another_key(&mut self, device: usize) {
        let (id, now_ms) = (DeviceId::from_bytes([0x77; 16]), self.now_ms);
        self.devices[device].renew(id);
        let (user, key) = (self.devices[device].user, self.devices[device].keypair.public());
        self.server.enrol(id, user, key, now_ms);
    }

    /// Somebody's scope is another one from now on.
    fn moves(&mut self, user: sync_core::id::UserId, scope: Scope) {
        let now_ms = self.now_ms;
        self.server.write(vec![brand::person_record(user, scope, true)], now_ms);
    }
}

fn south() -> Scope {
    Scope::Territory(brand::territory(2))
}

#[test]
fn who_does_not_see_it_any_more_hears_that_refused_work_was_let_in() {
    let mut story = with_late_work();
    // She goes south, and the visit is none of hers any more.
    let now_ms = story.now_ms;
    story.moves(brand::RITA, south());
    story.syncs(RITA);
    assert_eq!(refusal(&story).as_deref(), Some("late"), "what waits for somebody stays");
    story.server.decide(true, now_ms).expect("it can be approved");
    let (number, question) = story.devices[RITA].sync(now_ms).expect("she asks");
    let Question::Pull(bytes) = &question else { panic!("she has nothing to push") };
    let id = story.devices[RITA].id;
    let page = story.server.pull(id, bytes, now_ms).expect("a page");
    assert_eq!(page.decided.map(|decided| decided.len()), Some(1));
    assert!(page.groups.is_empty() && page.notes.is_empty(), "she is told, and shown nothing");
    story.answer_to(RITA, number, &question);
    assert!(story.devices[RITA].document(visit_of(1).into()).is_none(), "it is done, and goes");
    story.come_to_rest();
    story.check();
    assert_eq!(story.server.held(visit_of(1).into()).document.changes().len(), 3);
    assert_eq!(story.oracle.repairs, 0);
}

#[test]
fn what_came_into_the_log_by_another_way_is_told_to_whom_it_was_refused() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    // Two phones with one store, and one push: what the first is refused, the second may do again.
    let copy = story.devices[RITA].copy();
    story.devices.push(copy);
    story.oracle.copied.insert(brand::RITA);
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, true)], now_ms);
    story.says_it_knows(RITA);
    story.oracle.late.insert(visit_of(1));
    story.syncs(RITA);
    assert_eq!(refusal(&story).as_deref(), Some("late"));
    story.server.write(vec![brand::call_record(1, false)], now_ms);
    story.records(3, 1, met(true));
    story.sync_now(3);
    assert_eq!(story.server.held(visit_of(1).into()).document.changes().len(), 2);
    story.moves(brand::RITA, south());
    story.come_to_rest();
    story.check();
    assert!(story.devices[RITA].document(visit_of(1).into()).is_none(), "it is done, and goes");
}

#[test]
fn what_was_refused_under_a_former_key_is_told_of_under_the_next() {
    for approved in [true, false] {
        let mut story = with_late_work();
        let now_ms = story.now_ms;
        story.withdrawn_and_enrolled_again(RITA);
        story.moves(brand::RITA, south());
        story.server.decide(approved, now_ms).expect("it can be decided on");
        story.come_to_rest();
        story.check();
        let said = (!approved).then_some("discarded");
        assert_eq!(refusal(&story).as_deref(), said);
    }
}

#[test]
fn what_was_here_before_is_confirmed_with_the_refusal_of_the_rest() {
    for hidden in [true, false] {
        let mut story = Story::new();
        story.does(RITA, Command::StartCall(brand::call(1)));
        let here = story.records(RITA, 1, vec![facings(1, 2)]);
        // It is taken, and she does not hear so; then her phone is taken from her.
        let now_ms = story.now_ms;
        let (_, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
        let id = story.devices[RITA].id;
        let taken = story.server.push(id, question.bytes(), now_ms, backend::Crash::BeforeReply);
        assert_eq!(taken, Err(backend::Refused::Crashed));
        story.devices[RITA].give_up();
        let rest = story.records(RITA, 1, vec![facings(2, 2)]);
        story.withdrawn_and_enrolled_again(RITA);
        if hidden {
            story.moves(brand::RITA, south());
        }
        story.come_to_rest();
        story.check();
        let kept = story.devices[RITA].document(visit_of(1).into()).expect("some of it waits");
        assert!(kept.document.contains(here) && kept.pending == [rest]);
        assert_eq!(refusal(&story).as_deref(), Some("revoked_device"));
        let now_ms = story.now_ms;
        story.server.decide(true, now_ms).expect("it can be approved");
        story.come_to_rest();
        story.check();
        assert_eq!(story.devices[RITA].document(visit_of(1).into()).is_none(), hidden);
    }
}

#[test]
fn part_of_a_refused_push_is_in_the_log_and_is_not_said_twice() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    let here = story.records(RITA, 1, vec![facings(1, 2)]);
    let now_ms = story.now_ms;
    let (_, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    let id = story.devices[RITA].id;
    let taken = story.server.push(id, question.bytes(), now_ms, backend::Crash::BeforeReply);
    assert_eq!(taken, Err(backend::Refused::Crashed));
    story.devices[RITA].give_up();
    let rest = story.records(RITA, 1, vec![facings(2, 2)]);
    story.withdrawn_and_enrolled_again(RITA);
    // The reply to her push is all that she hears before she proposes it again.
    let (number, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    story.answer_to(RITA, number, &question);
    story.devices[RITA].give_up();
    let kept = story.devices[RITA].document(visit_of(1).into()).expect("it is here");
    assert_eq!((kept.pending, refusal(&story).as_deref()), (vec![rest], Some("revoked_device")));
    story.does(RITA, Command::ProposeAgain { document: visit_of(1).into(), instance: [7; 8] });
    story.come_to_rest();
    story.oracle.saved.retain(|(_, change), _| *change != rest);
    story.check();
    let held = story.server.held(visit_of(1).into()).document;
    assert!(held.contains(here) && !held.contains(rest));
    assert_eq!(held.changes().len(), 3);
}

/// Her call is called off; her work on it comes, is refused as late and discarded, and she does not hear so.
fn is_discarded_unheard(story: &mut Story) {
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, true)], now_ms);
    story.says_it_knows(RITA);
    story.oracle.late.insert(visit_of(1));
    let (_, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    let id = story.devices[RITA].id;
    let taken = story.server.push(id, question.bytes(), now_ms, backend::Crash::BeforeReply);
    assert_eq!(taken, Err(backend::Refused::Crashed));
    story.devices[RITA].give_up();
    story.server.decide(false, now_ms).expect("it can be discarded");
}

#[test]
fn what_was_discarded_is_not_let_in_with_what_came_after() {
    for another_key in [false, true] {
        let mut story = Story::new();
        story.does(RITA, Command::StartCall(brand::call(1)));
        story.records(RITA, 1, vec![facings(1, 2)]);
        // Before she hears that it is not wanted she goes on, and all of it comes.
        is_discarded_unheard(&mut story);
        let now_ms = story.now_ms;
        if another_key {
            story.withdrawn_and_enrolled_again(RITA);
        }
        story.records(RITA, 1, vec![facings(2, 2)]);
        story.syncs(RITA);
        assert_eq!(story.server.waiting().len(), 1);
        assert!(story.server.decide(true, now_ms).is_err(), "some of it was discarded");
        assert_eq!(story.server.held(visit_of(1).into()).document.changes().len(), 0);
        story.server.decide(false, now_ms).expect("it can be discarded");
        story.come_to_rest();
        story.check();
        assert_eq!(refusal(&story).as_deref(), Some("discarded"));
        assert_eq!(story.server.held(visit_of(1).into()).document.changes().len(), 0);
    }
}

#[test]
fn what_was_discarded_comes_in_with_nothing_that_could_be_taken_by_now() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    // Before she hears that it is not wanted the call is on again, and she goes on.
    is_discarded_unheard(&mut story);
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, false)], now_ms);
    story.records(RITA, 1, vec![facings(1, 2)]);
    story.syncs(RITA);
    assert!(story.server.documents().is_empty(), "it was not wanted");
    assert!(refusal(&story).is_some(), "she hears of it");
    story.come_to_rest();
    story.check();
    assert!(story.server.documents().is_empty());
}

#[test]
fn what_came_without_its_words_is_let_in_by_nobody_and_proposed_again_with_them() {
    let mut story = Story::new();
    let id = visit_of(1).into();
    story.does(RITA, Command::StartCall(brand::call(1)));
    let text = Note::new("The door was shut", story.chance.bytes()).expect("a note");
    story.does(RITA, Command::Comment { visit: visit_of(1), text, answers: None });
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, true)], now_ms);
    story.says_it_knows(RITA);
    story.oracle.late.insert(visit_of(1));
    let (_, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    story.devices[RITA].give_up();
    let Question::Push(bytes) = &question else { panic!("she pushes") };
    let mut push: PushRequest = from_wire(brand::ORG, bytes).expect("it reads");
    push.notes.clear();
    let phone = story.devices[RITA].id;
    let refused = story.server.push(phone, &encode(&push), now_ms, backend::Crash::Never);
    let refused = refused.expect("a reply").outcomes;
    assert!(matches!(&refused[..], [Outcome::Quarantined { .. }]), "{refused:?}");
    assert!(story.server.decide(true, now_ms).is_err(), "nobody could read it");
    assert!(story.server.documents().is_empty());
    story.syncs(RITA);
    assert_eq!(refusal(&story).as_deref(), Some("late"));
    story.server.write(vec![brand::call_record(1, false)], now_ms);
    story.syncs(RITA);
    let instance = story.chance.bytes();
    story.does(RITA, Command::ProposeAgain { document: id, instance });
    story.syncs(RITA);
    assert_eq!(story.server.held(id).document.changes().len(), 2);
    story.come_to_rest();
    story.check();
    assert_eq!(refusal(&story), None);
}

#[test]
fn what_somebody_else_has_put_beside_their_own_is_not_discarded_with_it() {
    let mut story = Story::new();
    let id = visit_of(1).into();
    story.does(RITA, Command::StartCall(brand::call(1)));
    let now_ms = story.now_ms;
    let (_, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    story.devices[RITA].give_up();
    // Whoever has her push puts their own beside it, which is refused with hers and discarded.
    let Question::Push(bytes) = &question else { panic!("she pushes") };
    let mut push: PushRequest = from_wire(brand::ORG, bytes).expect("it reads");
    let mut beside = story.devices[RITA].document(id).expect("it is here").document;
    let (sven, keypair) = (story.devices[SVEN].id, &story.devices[SVEN].keypair);
    let actor = Actor::new(&keypair.public(), [5; 8]);
    let change = beside.changes()[0].entry().expect("it reads");
    let change = beside.next(actor, &change).expect("there is room");
    push.groups[0].seals.push(keypair.seal(brand::ORG, id, change.hash()));
    push.groups[0].changes.push(change.clone());
    beside.insert(change).expect("it fits");
    push.previous = story.devices[SVEN].disk.profile().pushed;
    let refused = story.server.push(sven, &encode(&push), now_ms, backend::Crash::Never);
    let refused = refused.expect("a reply").outcomes;
    assert!(matches!(&refused[..], [Outcome::Quarantined { .. }]), "{refused:?}");
    story.server.decide(false, now_ms).expect("it can be discarded");
    story.come_to_rest();
    story.check();
    assert_eq!(refusal(&story), None);
    assert_eq!(story.server.held(id).document.changes().len(), 1);
}

#[test]
fn a_phone_that_was_put_back_hears_of_the_discard_of_what_it_had_written_since() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    let copy = story.devices[RITA].copy();
    story.records(RITA, 1, vec![facings(1, 2)]);
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, true)], now_ms);
    story.says_it_knows(RITA);
    story.oracle.late.insert(visit_of(1));
    story.syncs(RITA);
    assert_eq!(refusal(&story).as_deref(), Some("late"));
    story.devices[RITA].put_back(copy, now_ms);
    story.0.oracle.put_back(&story.0.server, &story.0.devices, RITA);
    story.syncs(RITA);
    assert_eq!(refusal(&story).as_deref(), Some("late"), "it is part of what was refused");
    story.server.decide(false, now_ms).expect("it can be discarded");
    story.come_to_rest();
    story.check();
    assert_eq!(refusal(&story).as_deref(), Some("discarded"));
}

#[test]
fn what_waits_has_arrived_only_when_all_of_it_is_in_the_log() {
    let mut story = Story::new();
    let id = visit_of(1).into();
    story.does(RITA, Command::StartCall(brand::call(1)));
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, true)], now_ms);
    story.says_it_knows(RITA);
    let (_, question) = story.devices[RITA].sync(now_ms).expect("she syncs");
    let Question::Push(bytes) = &question else { panic!("she pushes") };
    let mut push: PushRequest = from_wire(brand::ORG, bytes).expect("it reads");
    // Of two comments, written by two copies of her phone, none knows of the other.
    let begun = story.devices[RITA].document(id).expect("it is here").document;
    let (rita, keypair) = (story.devices[RITA].id, &story.devices[RITA].keypair);
    let comments = [1, 2].map(|n: u8| {
        let mut when = *begun.changes()[0].entry().expect("it reads").when();
        when.wall_ms += i64::from(n);
        let note = Note { salt: [n; 16], text: "door is broken".into() };
        let (by, text) = (brand::RITA, note.digest());
        let entry = Entry::Post(Post::new(by, when, text));
        let change = begun.next(Actor::new(&keypair.public(), [n; 8]), &entry);
        let change = change.expect("there is room");
        (note, keypair.seal(brand::ORG, id, change.hash()), change)
    });
    let begin = push.groups[0].clone();
    let comes = |push: &mut PushRequest, comments: &[(Note, Seal, Change)]| {
        let mut group = begin.clone();
        for (note, seal, change) in comments {
            push.notes.push(note.clone());
            group.seals.push(seal.clone());
            group.changes.push(change.clone());
        }
        push.groups = vec![group];
        encode(push)
    };
    let late = comes(&mut push, &comments);
    let late = story.server.push(rita, &late, now_ms, backend::Crash::Never).expect("a reply");
    assert!(matches!(&late.outcomes[..], [Outcome::Quarantined { .. }]), "{late:?}");
    // The call is planned again, and somebody else brings one of them.
    story.server.write(vec![brand::call_record(1, false)], now_ms);
    push.previous = story.devices[SVEN].disk.profile().pushed;
    let (sven, one) = (story.devices[SVEN].id, comes(&mut push, &comments[1..]));
    let here = story.server.push(sven, &one, now_ms, backend::Crash::Never).expect("a reply");
    assert_eq!(here.outcomes, [Outcome::Accepted {}]);
    assert_eq!(story.server.waiting().len(), 1, "the other comment is nowhere else");
    story.server.decide(true, now_ms).expect("it can be approved");
    assert_eq!(story.server.held(id).document.changes().len(), 3);
}

#[test]
fn what_is_proposed_again_with_another_key_is_not_approved_as_it_was_first() {
    let mut story = with_late_work();
    story.goes_on_with_another_key(RITA);
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, false)], now_ms);
    story.syncs(RITA);
    story.does(RITA, Command::ProposeAgain { document: visit_of(1).into(), instance: [7; 8] });
    story.oracle.saved.clear();
    story.syncs(RITA);
    assert_eq!(story.server.waiting().len(), 1, "nobody knows that it is the same");
    assert!(story.server.decide(true, now_ms).is_err());
    assert_eq!(story.server.held(visit_of(1).into()).document.changes().len(), 3);
    // And the other way about: it is approved, and she has not heard of it.
    let mut story = with_late_work();
    story.goes_on_with_another_key(RITA);
    let now_ms = story.now_ms;
    story.server.write(vec![brand::call_record(1, false)], now_ms);
    story.syncs(RITA);
    story.server.decide(true, now_ms).expect("it can be approved");
    story.does(RITA, Command::ProposeAgain { document: visit_of(1).into(), instance: [7; 8] });
    let saved = std::mem::take(&mut story.oracle.saved);
    story.oracle.dropped.extend(saved.into_keys());
    for _ in 0..2 {
        story.syncs(RITA);
    }
    assert_eq!(refusal(&story), None);
    assert_eq!(story.server.held(visit_of(1).into()).document.changes().len(), 3);
}

#[test]
fn who_is_away_for_a_month_while_their_outlet_moves_twice_loses_nothing() {
    for person in [false, true] {
        let mut story = Story::new();
        let moves = |story: &mut Story, first: bool| {
            let now_ms = story.now_ms;
            match (person, first) {
                (false, true) => story.server.write(vec![brand::outlet_record(1, 2, 1)], now_ms),
                (false, false) => story.server.write(vec![brand::outlet_record(1, 2, 2)], now_ms),
                (true, true) => story.moves(brand::RITA, south()),
                (true, false) => story.server.write(vec![brand::outlet_record(1, 1, 2)], now_ms),
            }
        };
        // Before the first move, between them, and after the second, as far as she knows always the same.
        let mut done = Vec::new();
        for (day, call) in [(1, 0), (10, 4), (25, 8)] {
            story.now_ms = brand::BEGIN_MS + day * DAY_MS;
            if day == 10 {
                moves(&mut story, true);
                // Sven hears of the first move, and goes away too.
                story.syncs(SVEN);
            } else if day == 25 {
                moves(&mut story, false);
            }
            done.push((call, story.does(RITA, Command::StartCall(brand::call(call)))));
            done.push((call, story.records(RITA, call, vec![facings(1, 2)])));
            done.push((call, story.does(RITA, Command::Submit(visit_of(call)))));
            let text = Note::new("seen", [day as u8; 16]).expect("a note");
            story.does(RITA, Command::CommentOutlet { outlet: brand::outlet(1), text });
            if !person && day == 10 {
                let text = Note::new("new here", [9; 16]).expect("a note");
                story.does(SVEN, Command::CommentOutlet { outlet: brand::outlet(1), text });
                let visit = sync_core::id::VisitId::fresh(1, [5; 10]);
                let outlet = brand::outlet(1);
                story.does(SVEN, Command::StartUnplanned { visit, outlet, template: 1 });
            }
        }
        story.now_ms = brand::BEGIN_MS + 31 * DAY_MS;
        story.come_to_rest();
        story.check();
        for (call, change) in done {
            let document = visit_of(call).into();
            assert_eq!(story.server.times_logged(document, change), 1);
            // What she did she sees for as long as she may see the place as it was when she began.
            assert_eq!(story.devices[RITA].document(document).is_some(), !person);
        }
        let quarantined = story.server.quarantined();
        assert!(quarantined.is_empty(), "all of it is judged by what they knew: {quarantined:?}");
        // And from now on she knows.
        let again = story.act(
            RITA,
            Crash::Never,
            Command::CommentOutlet {
                outlet: brand::outlet(1),
                text: Note::new("still there?", [8; 16]).expect("a note"),
            },
        );
        assert_eq!(again, None);
    }
}

#[test]
fn what_phones_had_let_go_of_goes_again_after_a_restore() {
    let mut story = Story::new();
    story.server.keep(30);
    let id = visit_of(SHARED).into();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.records(RITA, SHARED, met(true));
    story.does(RITA, Command::Submit(visit_of(SHARED)));
    story.come_to_rest();
    // While Rita is on holiday, phones let go of it; then the server comes back from a backup of that.
    story.now_ms += 31 * DAY_MS;
    story.does(SVEN, Command::StartCall(brand::call(3)));
    story.syncs(SVEN);
    assert!(story.server.held(id).let_go);
    let backup = story.server.backup();
    let world = &mut story.0;
    let before = std::mem::replace(&mut world.server, backup);
    world.oracle.restored(&before, &world.server, &world.devices);
    story.come_to_rest();
    story.check();
    for device in [RITA, SAM] {
        assert!(story.devices[device].document(id).is_none(), "phone {device} keeps it for ever");
    }
    assert!(story.server.held(id).let_go, "nothing of it is new");
}

#[test]
fn what_a_courier_has_brought_reaches_its_authors_older_store_without_a_repair() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(SHARED)));
    story.syncs(RITA);
    let old = story.devices[RITA].copy();
    let told = story.records(RITA, SHARED, met(true));
    let document = visit_of(SHARED).into();
    let packed = pack(&story.devices[RITA].disk, &story.devices[RITA].keypair, document);
    let Ok(Some((parcel, _))) = packed else { panic!("nothing to carry") };
    story.devices[SVEN].disk.commit(vec![Write::Carry(parcel, 0)]);
    story.syncs(SVEN);
    // Her phone comes back from a copy of before: it does not push again what it does not know.
    story.devices[RITA] = old;
    story.syncs(RITA);
    let kept = story.devices[RITA].document(document).expect("it is here");
    assert!(kept.document.contains(told) && kept.pending.is_empty());
    assert_eq!(story.oracle.repairs, 0, "a pull should have brought it");
}

#[test]
fn work_under_a_former_key_is_still_unsent_when_its_page_is_salvaged() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    story.goes_on_with_another_key(RITA);
    let document = visit_of(1).into();
    let profile = story.devices[RITA].disk.profile().clone();
    let kept = story.devices[RITA].document(document).expect("it is here");
    let pages = kept.rows(None).pages.into_iter().map(|(_, page)| page);
    let left = sync_core::client::Kept::salvaged(&profile, document, pages);
    assert_eq!(left.pending, kept.pending);
}

#[test]
fn what_stayed_for_refused_work_goes_when_that_is_given_up() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    story.syncs(RITA);
    story.records(RITA, 1, met(true));
    story.withdrawn_and_enrolled_again(RITA);
    story.moves(brand::RITA, south());
    story.syncs(RITA);
    assert_eq!(refusal(&story).as_deref(), Some("revoked_device"));
    let (document, instance) = (visit_of(1).into(), [7; 8]);
    story.act(RITA, Crash::Never, Command::GiveUp { document, instance });
    assert!(story.devices[RITA].document(document).is_some(), "the rest is confirmed");
    story.come_to_rest();
    story.check();
    assert!(story.devices[RITA].document(document).is_none(), "and out of her sight");
}

/// What the server has lost with its log, as far as the world has to know.
fn comes_back_from(story: &mut Story, backup: backend::Server) {
    let world = &mut story.0;
    let before = std::mem::replace(&mut world.server, backup);
    world.oracle.restored(&before, &world.server, &world.devices);
}

#[test]
fn who_begins_anew_after_a_restore_notices_it_all_the_same() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    story.syncs(RITA);
    let backup = story.server.backup();
    let copy = story.devices[RITA].copy();
    story.devices.push(copy);
    let copy = story.devices.len() - 1;
    story.oracle.copied.insert(brand::RITA);
    // The copy has gone its own way, and has made a visit that the server has, and nobody else.
    story.records(RITA, 1, met(true));
    story.records(copy, 1, met(false));
    story.syncs(RITA);
    story.does(copy, Command::StartCall(brand::call(5)));
    for _ in 0..2 {
        story.syncs(copy);
    }
    let document = visit_of(1).into();
    assert!(story.devices[copy].document(document).expect("it is here").refused.is_some());
    assert!(story.server.documents().contains(&visit_of(5).into()));
    comes_back_from(&mut story, backup);
    assert!(!story.server.documents().contains(&visit_of(5).into()));
    // It begins anew, so it has no cursor that the server could miss.
    story.act(copy, Crash::Never, Command::GiveUp { document, instance: [7; 8] });
    assert_eq!(story.devices[copy].disk.profile().cursor, None);
    let clocks = story.devices[copy].clock.read(story.now_ms);
    let known = story.devices[copy].disk.profile().moment(&clocks);
    assert!(known.anchor > 0 && known.life.is_some(), "it knows what it has known");
    story.syncs(copy);
    assert!(story.server.documents().contains(&visit_of(5).into()), "it was not brought back");
    assert_eq!(story.oracle.repairs, 0, "without a repair");
    assert_eq!(story.devices[copy].disk.resent, 1, "its photos may be lost too");
    let id = story.devices[copy].id;
    let remembered = "SELECT pushes IS NOT NULL FROM device WHERE device = ?1";
    let remembered = story.server.db.query_row(remembered, [id.as_bytes()], |row| row.get(0));
    assert_eq!(remembered, Ok(true), "and its pushes are remembered again, to tell a copy");
}

#[test]
fn what_was_confirmed_before_a_change_of_keys_is_sealed_whatever_is_given_up_after() {
    let mut story = Story::new();
    let backup = story.server.backup();
    story.does(RITA, Command::StartCall(brand::call(1)));
    let here = story.records(RITA, 1, met(true));
    // The server has both, and she does not hear of it.
    let now_ms = story.now_ms;
    let (_, question) = story.devices[RITA].sync(now_ms).expect("she pushes");
    let Question::Push(bytes) = &question else { panic!("she has something to push") };
    let id = story.devices[RITA].id;
    let lost = story.server.push(id, bytes, now_ms, backend::Crash::BeforeReply);
    assert_eq!(lost, Err(backend::Refused::Crashed));
    story.devices[RITA].give_up();
    story.records(RITA, 1, met(false));
    story.withdrawn_and_enrolled_again(RITA);
    let (number, question) = story.devices[RITA].sync(now_ms).expect("she pushes again");
    story.answer_to(RITA, number, &question);
    story.devices[RITA].give_up(); // before a pull brings her seals back
    assert_eq!(refusal(&story).as_deref(), Some("revoked_device"));
    let document = visit_of(1).into();
    story.act(RITA, Crash::Never, Command::GiveUp { document, instance: [7; 8] });
    comes_back_from(&mut story, backup);
    let (id, user) = (story.devices[RITA].id, brand::RITA);
    let key = story.devices[RITA].keypair.public();
    story.server.enrol(id, user, key, now_ms);
    story.syncs(RITA);
    assert_eq!(refusal(&story), None, "what nobody can seal any more is lost");
    assert!(story.server.held(document).document.contains(here));
}

#[test]
fn words_that_two_documents_name_stay_with_the_one_that_stays() {
    let mut story = Story::new();
    story.does(RITA, Command::StartCall(brand::call(1)));
    let text = Note::new("the door is blocked", [9; 16]).expect("a note");
    let digest = text.digest();
    let (visit, answers) = (visit_of(1), None);
    story.does(RITA, Command::Comment { visit, text: text.clone(), answers });
    // Whoever has read them can name them elsewhere too.
    let outlet = brand::outlet(2);
    story.does(RITA, Command::CommentOutlet { outlet, text });
    story.syncs(RITA);
    // The outlet goes to somebody else; its visits stay with those who saw them.
    let now_ms = story.now_ms;
    story.server.write(vec![brand::outlet_record(2, 2, 2)], now_ms);
    story.syncs(RITA);
    assert!(story.devices[RITA].document(outlet.into()).is_none(), "its history has gone");
    assert!(story.devices[RITA].document(visit.into()).is_some());
    let Ok(note) = story.devices[RITA].disk.note(digest);
    assert!(note.is_some(), "and has taken the words along");
    story.come_to_rest();
    story.check();
}
