//! The cases of `rights.rs`: each rule of section 8 kept and broken, in its order.

use serde_json::Value as Json;
use sync_core::document::{Change, Entry};
use sync_core::id::{ChangeHash, DocId, DocKind, OutletId, TerritoryId, VisitId};
use sync_core::model::catalogue::{Outlet, Record, Territory};
use sync_core::model::contest::Step::{Accept, Ask, Close, Say, Uphold};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{Value, Verdict, Volume};
use tests::brand::{
    ORG, RITA, SAM, SVEN, call, call_record, distributor, outlet, outlet_record, person_record,
    territory, territory_record,
};

use crate::rights::*;
use crate::story::{By, fact, photo};

/// An unplanned visit.
fn visit() -> DocId {
    VisitId::from_bytes([0x71; 16]).into()
}

/// The visit of a planned call.
fn planned(number: u8) -> DocId {
    VisitId::of_call(ORG, call(number)).into()
}

/// An outlet's history.
fn history(number: u8) -> DocId {
    outlet(number).into()
}

/// An outlet that is on no list.
fn kiosk() -> DocId {
    OutletId::from_bytes([0x99; 16]).into()
}

fn starts(by: By) -> Entry {
    by.starts(1, None)
}

fn counts(by: By) -> Entry {
    by.counts(1, 3, &[])
}

fn says(by: By) -> Entry {
    by.says(None, None)
}

/// A visit that Rita has begun.
fn begun(what: &'static str) -> (Case, ChangeHash) {
    let mut case = Case::new(what);
    let start = case.writes(RITAS, visit(), starts);
    (case, start)
}

/// One in which she has counted three.
fn counted(what: &'static str) -> (Case, ChangeHash) {
    let (mut case, _) = begun(what);
    let three = case.writes(RITAS, visit(), counts);
    (case, three)
}

/// One that she has then submitted.
fn submitted(what: &'static str) -> (Case, ChangeHash, ChangeHash) {
    let (mut case, three) = counted(what);
    let done = case.writes(RITAS, visit(), By::submits);
    (case, three, done)
}

/// One whose count Mia contests.
fn contested(what: &'static str) -> (Case, ChangeHash, ChangeHash) {
    let (mut case, three, _) = submitted(what);
    let contest = case.writes(MIAS, visit(), |by| by.contests(Some(1), &[three]));
    (case, three, contest)
}

pub(crate) fn cases() -> Vec<Json> {
    let parts = [
        fits(),
        full(),
        reads(),
        visits_begin(),
        volumes(),
        authors(),
        starts_and_calls(),
        outlets(),
        scopes(),
        work(),
        settlements(),
        taken_back(),
        reviews_and_posts(),
        contests(),
        order(),
        when(),
        clocks(),
    ];
    parts.into_iter().flatten().collect()
}

/// Rule 1.
fn fits() -> Vec<Json> {
    let change = |case: &mut Case, wrong_parts: fn(&mut sync_core::document::Parts)| {
        let change = case.change(RITAS, visit(), counts);
        wrong(DocKind::Visit, &change, wrong_parts)
    };
    let (mut parent, _) = begun("a parent that is not here");
    let no_parent = change(&mut parent, |parts| parts.deps = vec![ChangeHash([0x99; 32])]);
    let (mut gap, _) = begun("an actor's change is left out");
    let gapped = change(&mut gap, |parts| parts.seq += 1);
    let (mut number, _) = begun("a wrong number of its operation");
    let numbered = change(&mut number, |parts| parts.start_op += 1);
    let (mut own, start) = begun("an actor that does not build on its own newest change");
    let three = own.writes(RITAS, visit(), counts);
    let mut beside = own.change_on(RITAS, visit(), &[start], counts);
    beside = wrong(DocKind::Visit, &beside, |parts| parts.seq += 1);
    let (mut fork, start) = begun("another change of the same number");
    fork.writes(RITAS, visit(), counts);
    let forked = fork.change_on(RITAS, visit(), &[start], |by| by.counts(1, 4, &[]));
    assert_ne!(three, forked.hash());
    vec![
        parent.ends_with("missing_parent", RITAS, visit(), no_parent),
        fork.ends_with("forked", RITAS, visit(), forked),
        gap.ends_with("malformed", RITAS, visit(), gapped),
        number.ends_with("malformed", RITAS, visit(), numbered),
        own.ends_with("malformed", RITAS, visit(), beside),
    ]
}

/// The room that devices have is full of observations, and so is what one person may fill of it.
fn full() -> Vec<Json> {
    let many = |checks: u32| {
        let facts: Vec<_> = (1..=checks).map(|check| fact(check, Value::YesNo(true))).collect();
        move |by: By| by.observes(facts, Vec::new(), &[])
    };
    // One person, then another with what is left.
    let share = |what| {
        let (mut case, _) = begun(what);
        case.repeats(RITAS, visit(), 37, many(1_000));
        case
    };
    let filled = |what| {
        let mut case = share(what);
        case.repeats(SAMS, visit(), 12, many(1_000));
        case
    };
    let full = |what| {
        let mut case = filled(what);
        let last = case.writes(SAMS, visit(), many(500));
        (case, last)
    };
    let own = share("the last of one person for which there is room");
    let mut alone = share("no room for more of one person");
    alone.writes(RITAS, visit(), many(500));
    let mut other = share("nor from another phone of theirs");
    other.writes(RITAS_OTHER, visit(), many(500));
    let mut others = share("there is room for another person");
    others.writes(RITAS, visit(), many(500));
    let room = filled("the last for which there is room");
    let (phone, _) = full("no room for what a phone says");
    let (console, last) = full("room is left for the server's own device");
    let (unread, _) = full("room is asked of what reads");
    vec![
        own.ends("accepted", RITAS, visit(), many(500)),
        alone.ends("full", RITAS, visit(), counts),
        other.ends("full", RITAS, visit(), counts),
        others.ends("accepted", SAMS, visit(), counts),
        room.ends("accepted", SAMS, visit(), many(500)),
        phone.ends("full", SAMS, visit(), counts),
        console.ends("accepted", SUE_THERE, visit(), |by| {
            by.observes(vec![fact(1, Value::YesNo(false))], Vec::new(), &[last])
        }),
        unread.ends("invalid", SAMS, visit(), |by| by.observes(Vec::new(), Vec::new(), &[])),
    ]
}

/// Rule 2: what needs no document.
fn reads() -> Vec<Json> {
    let (mut case, _) = begun("an act of a later version");
    let later = case.change(RITAS, visit(), By::abandons);
    let later = wrong(DocKind::Visit, &later, |parts| {
        let at = parts.value.windows(2).rposition(|two| two == [0x81, 0x04]).unwrap();
        parts.value[at + 1] = 0x09;
    });
    let (nothing, _) = begun("nothing is observed");
    vec![
        case.ends_with("unreadable", RITAS, visit(), later),
        nothing.ends("invalid", RITAS, visit(), |by| by.observes(Vec::new(), Vec::new(), &[])),
    ]
}

/// Rule 2: how a visit begins.
fn visits_begin() -> Vec<Json> {
    let planned_twice = |what| {
        let mut case = Case::new(what);
        case.writes(RITAS, planned(0), |by| by.starts(1, Some(0)));
        case
    };
    let first = Case::new("a visit that does not begin with a start");
    let elsewhere = Case::new("a planned call in another visit than its own");
    let taken = Case::new("the visit of a planned call, without the call");
    let (moved, _) = begun("a later start at another outlet");
    let (called, _) = begun("a later start for a call, where there was none");
    vec![
        Case::new("a visit without a call begins").ends("accepted", RITAS, visit(), starts),
        Case::new("the visit of a planned call begins")
            .ends("accepted", RITAS, planned(0), |by| by.starts(1, Some(0))),
        planned_twice("another person begins the same")
            .ends("accepted", SAMS, planned(0), |by| by.starts(1, Some(0))),
        planned_twice("another person begins it without the call").ends(
            "invalid",
            SAMS,
            planned(0),
            |by| by.starts(1, None),
        ),
        first.ends("invalid", RITAS, visit(), counts),
        elsewhere.ends("invalid", RITAS, visit(), |by| by.starts(1, Some(0))),
        taken.ends("invalid", RITAS, planned(0), starts),
        moved.ends("invalid", RITAS, visit(), |by| by.starts(2, None)),
        called.ends("invalid", RITAS, visit(), |by| by.starts(1, Some(0))),
    ]
}

fn second(before: &[ChangeHash]) -> Volume {
    Volume { outlet: outlet(1), number: 1, before: before.to_vec() }
}

fn says_in(volume: Volume) -> impl Fn(By) -> Entry {
    move |by| says(by).in_volume(Some(volume.clone()))
}

/// Rule 2: what volumes are begun with.
fn volumes() -> Vec<Json> {
    let long = |what| {
        let mut case = Case::new(what);
        let posts = case.repeats(RITAS, history(1), 500, says);
        (case, posts)
    };
    let id = second(&[]).document();
    let (follows, posts) = long("a volume that follows a long one");
    let last = &posts[499..];
    let (silent, _) = long("a volume of which its author does not say what it is");
    let (other, _) = long("a volume that is called another");
    let (early, _) = long("its author has not seen enough of the volume before");
    let (unknown, _) = long("heads of the volume before that are not here");
    let (mut again, _) = long("a volume is begun a second time");
    again.writes(RITAS, id, says_in(second(last)));
    let (mut next, _) = long("an author's second entry in a volume");
    next.writes(RITAS, id, says_in(second(last)));
    let (mut others, _) = long("another author's first entry in a volume says nothing of it");
    others.writes(RITAS, id, says_in(second(last)));
    let (outside, _) = long("who does not see the outlet begins a volume");
    let mut short = Case::new("a volume that follows a short one");
    let one = short.writes(RITAS, history(1), says);
    let unlisted = |what| {
        let mut case = Case::new(what);
        case.writes(RITAS, kiosk(), |by| by.reports(1, 2));
        let posts = case.repeats(RITAS, kiosk(), 499, says);
        let before = posts[498..].to_vec();
        (case, Volume { outlet: OutletId::from_bytes([0x99; 16]), number: 1, before })
    };
    let (seen, kiosks) = unlisted("a later volume is seen by whom the first report was for");
    let (unseen, _) = unlisted("and by nobody else");
    let first = Case::new("the first volume is said to be a later one");
    vec![
        follows.ends("accepted", RITAS, id, says_in(second(last))),
        next.ends("accepted", RITAS, id, says),
        again.ends("invalid", RITAS, id, says_in(second(last))),
        others.ends("invalid", SAMS, id, says),
        silent.ends("invalid", RITAS, id, says),
        other.ends("invalid", RITAS, id, says_in(Volume { number: 2, ..second(last) })),
        first.ends("invalid", RITAS, history(1), says_in(second(last))),
        short.ends("invalid", RITAS, id, says_in(second(&[one]))),
        early.ends("invalid", RITAS, id, says_in(second(&posts[498..499]))),
        unknown.ends("missing_parent", RITAS, id, says_in(second(&[ChangeHash([0x99; 32])]))),
        outside.ends("out_of_scope", SVENS, id, says_in(second(last))),
        seen.ends("accepted", RITAS, kiosks.document(), says_in(kiosks.clone())),
        unseen.ends("out_of_scope", SVENS, kiosks.document(), says_in(kiosks.clone())),
    ]
}

/// Rules 3 and 4.
fn authors() -> Vec<Json> {
    let (stranger, _) = begun("a phone that nobody has enrolled");
    let (mut revoked, _) = begun("a phone whose access was withdrawn");
    let before = revoked.size();
    revoked.revokes(RITAS);
    revoked.anchor = Some(before);
    let (mut other, _) = begun("another phone of the same person is not withdrawn");
    other.revokes(RITAS);
    let (foreign, _) = begun("a phone writes for somebody else");

    let (mut hers, _) = counted("what it names came apart");
    let start = hers.change_on(SAMS, visit(), &[], starts);
    let start = hers.adds(SAMS, visit(), start);
    let (seen, three) = counted("what it names is in its past");
    let three_there = hers.document(visit()).changes()[1].hash();
    let supersedes = hers.change_on(SAMS, visit(), &[start], |by| by.counts(1, 4, &[three_there]));
    let apart = |what| {
        let (mut case, start) = begun(what);
        let three = case.writes(RITAS, visit(), counts);
        (case, start, three)
    };
    let (mut withdraws, start, _) = apart("withdraws what came apart");
    let four = withdraws.change_on(RITAS_OTHER, visit(), &[start], |by| by.counts(1, 4, &[]));
    let four = withdraws.adds(RITAS_OTHER, visit(), four);
    let three_of = |case: &Case| case.document(visit()).changes()[1].hash();
    let heads = [three_of(&withdraws)];
    let withdraw = withdraws.change_on(RITAS, visit(), &heads, |by| by.withdraws(&[four]));
    let (mut review, start, three_apart) = apart("a review of what its author has not seen");
    let judged = review
        .change_on(SUE_THERE, visit(), &[start], |by| by.judges(Verdict::Approved, &[three_apart]));
    let (mut answer, start, three_apart) = apart("an answer to what its author has not seen");
    let answered = answer.change_on(SAMS, visit(), &[start], |by| by.says(Some(three_apart), None));
    let (mut contest, start, three_apart) = apart("contests what its author has not seen");
    let contests =
        contest.change_on(MIAS, visit(), &[start], |by| by.contests(Some(1), &[three_apart]));
    vec![
        stranger.ends("foreign_actor", STRANGER, visit(), counts),
        revoked.ends("revoked_device", RITAS, visit(), counts),
        other.ends("accepted", RITAS_OTHER, visit(), counts),
        foreign.ends("foreign_person", Who { user: SAM, ..RITAS }, visit(), counts),
        seen.ends("accepted", RITAS, visit(), |by| by.counts(1, 4, &[three])),
        hers.ends_with("not_in_past", SAMS, visit(), supersedes),
        withdraws.ends_with("not_in_past", RITAS, visit(), withdraw),
        review.ends_with("not_in_past", SUE_THERE, visit(), judged),
        answer.ends_with("not_in_past", SAMS, visit(), answered),
        contest.ends_with("not_in_past", MIAS, visit(), contests),
    ]
}

/// Rule 5.
fn starts_and_calls() -> Vec<Json> {
    let mut shut = Case::new("an outlet that is closed");
    shut.records(vec![closed(1)]);
    let mut cancelled = Case::new("a call that is cancelled");
    cancelled.records(vec![call_record(0, true)]);
    let elsewhere = Case::new("a call for another outlet");
    let no_call = Case::new("a call that nobody has planned");
    let mut moved = Case::new("where the outlet was");
    moved.records(vec![outlet_record(1, 2, 1)]);
    let moves = |what| {
        let (mut case, _) = begun(what);
        case.records(vec![outlet_record(1, 2, 1)]);
        case
    };
    let mut both = moves("a later start where nobody's start and no outlet was");
    let more = vec![person_record(SVEN, Scope::Territory(territory(0)), true)];
    both.records(more);
    let shut_later = |what| {
        let (mut case, _) = begun(what);
        case.records(vec![closed(1)]);
        case
    };
    vec![
        shut.ends("unknown", RITAS, visit(), starts),
        Case::new("an outlet that is on no list")
            .ends("unknown", RITAS, visit(), |by| by.starts_at(9, None, 1, 1)),
        Case::new("another territory than the outlet's").ends(
            "wrong_start",
            SVENS,
            visit(),
            |by| by.starts_at(1, None, 2, 1),
        ),
        Case::new("another distributor than the outlet's").ends(
            "wrong_start",
            RITAS,
            visit(),
            |by| by.starts_at(1, None, 1, 2),
        ),
        moved.ends("wrong_start", RITAS, visit(), starts),
        cancelled.ends("unknown", RITAS, planned(0), |by| by.starts(1, Some(0))),
        no_call.ends("unknown", RITAS, planned(30), |by| by.starts(1, Some(30))),
        elsewhere.ends("wrong_start", RITAS, planned(1), |by| by.starts(1, Some(1))),
        moves("a later start where the outlet is now")
            .ends("accepted", SVENS, visit(), |by| by.starts_at(1, None, 2, 1)),
        moves("a later start where the first one is").ends("accepted", SAMS, visit(), starts),
        both.ends("wrong_start", SVENS, visit(), |by| by.starts_at(1, None, 2, 2)),
        shut_later("a later start at an outlet that was closed since").ends(
            "accepted",
            SAMS,
            visit(),
            starts,
        ),
        shut_later("a later start that says otherwise, of an outlet that was closed since").ends(
            "unknown",
            SAMS,
            visit(),
            |by| by.starts_at(1, None, 2, 1),
        ),
    ]
}

/// Rule 6.
fn outlets() -> Vec<Json> {
    let reported = |what| {
        let mut case = Case::new(what);
        case.writes(RITAS, kiosk(), |by| by.reports(1, 2));
        case
    };
    let mut listed = Case::new("the history of an outlet that has moved");
    listed.writes(RITAS, history(1), says);
    listed.records(vec![outlet_record(1, 2, 1)]);
    let mut left = Case::new("the history of an outlet that has moved away");
    left.writes(RITAS, history(1), says);
    left.records(vec![outlet_record(1, 2, 1)]);
    let mut shut = Case::new("the history of an outlet that is closed");
    shut.writes(RITAS, history(1), says);
    shut.records(vec![closed(1)]);
    let unsaid = |what| {
        let mut case = Case::new(what);
        case.records(vec![closed(1)]);
        case
    };
    vec![
        Case::new("the history of an outlet").ends("accepted", RITAS, history(1), says),
        Case::new("the history of another's outlet").ends("out_of_scope", SVENS, history(1), says),
        listed.ends("accepted", SVENS, history(1), says),
        left.ends("out_of_scope", RITAS, history(1), says),
        shut.ends("accepted", RITAS, history(1), says),
        unsaid("a closed outlet of which nothing was said yet").ends(
            "accepted",
            RITAS,
            history(1),
            says,
        ),
        unsaid("a closed outlet is not whose a report says").ends(
            "out_of_scope",
            SVENS,
            history(1),
            |by| by.reports(2, 1),
        ),
        Case::new("an outlet that is on no list is reported").ends(
            "accepted",
            RITAS,
            kiosk(),
            |by| by.reports(1, 2),
        ),
        Case::new("a report of a territory that there is not").ends(
            "unknown",
            SAMS,
            kiosk(),
            |by| by.reports(9, 1),
        ),
        Case::new("a report of a distributor that there is not").ends(
            "unknown",
            RITAS,
            kiosk(),
            |by| by.reports(1, 9),
        ),
        Case::new("a report from outside")
            .ends("out_of_scope", SVENS, kiosk(), |by| by.reports(1, 2)),
        Case::new("a post where nothing was reported").ends("unknown", RITAS, kiosk(), says),
        reported("a post to what was reported").ends("accepted", RITAS, kiosk(), says),
        reported("a second report is not what says who sees it").ends(
            "out_of_scope",
            SVENS,
            kiosk(),
            |by| by.reports(2, 2),
        ),
        reported("and may say otherwise").ends("accepted", RITAS, kiosk(), |by| by.reports(2, 9)),
    ]
}

/// Rule 7.
fn scopes() -> Vec<Json> {
    let (other, _) = begun("a visit in another's territory");
    let (partner, _) = begun("a visit at an outlet of one's distributor");
    let moved = |what| {
        let (mut case, first) = begun(what);
        case.records(vec![outlet_record(1, 2, 1)]);
        let start = case.writes(SVENS, visit(), |by| by.starts_at(1, None, 2, 1));
        (case, first, start)
    };
    let (own, ..) = moved("who has begun where the outlet is now goes on");
    let (stays, ..) = moved("who sees where it was first goes on too");
    let (mut unseen, first, start) = moved("a start of theirs that is not in its past");
    let beside = unseen.change_on(SVENS_OTHER, visit(), &[first], counts);
    let (mut seen, _, _) = moved("a start of theirs by another phone");
    let after = seen.change_on(SVENS_OTHER, visit(), &[start], counts);
    let (theirs, ..) = moved("a start itself is for whom it says, whoever sees the visit");
    // Sixteen territories are looked at, the outlet's own among them.
    let deep = |what, steps: u8| {
        let mut case = Case::new(what);
        let id = |number| TerritoryId::from_bytes([0xa0 + number; 16]);
        let below = |number: u8| {
            let parent = number.checked_sub(1).map(id);
            Record::Territory(Territory { id: id(number), parent, name: "Deep".into() })
        };
        case.records((0..=steps).map(below).collect());
        let Record::Outlet(outlet) = outlet_record(4, 2, 2) else { unreachable!() };
        case.records(vec![
            Record::Outlet(Outlet { territory: id(steps), ..outlet }),
            person_record(SVEN, Scope::Territory(id(0)), true),
        ]);
        case
    };
    vec![
        Case::new("a start outside one's scope").ends("out_of_scope", SVENS, visit(), starts),
        other.ends("out_of_scope", SVENS, visit(), says),
        partner.ends("accepted", SAMS, visit(), says),
        own.ends("accepted", SVENS, visit(), counts),
        stays.ends("accepted", RITAS, visit(), counts),
        unseen.ends_with("out_of_scope", SVENS_OTHER, visit(), beside),
        seen.ends_with("accepted", SVENS_OTHER, visit(), after),
        theirs.ends("out_of_scope", RITAS, visit(), |by| by.starts_at(1, None, 2, 1)),
        deep("fifteen steps up the tree", 15).ends("accepted", SVENS, history(4), says),
        deep("sixteen steps up the tree", 16).ends("out_of_scope", SVENS, history(4), says),
    ]
}

/// Rule 8: who makes visits.
fn work() -> Vec<Json> {
    let (cannot, _) = begun("a rep says that it was not possible");
    let (cannot_manager, _) = begun("a manager says that it was not possible");
    let (observes, _) = begun("a distributor's staff observe");
    let (submits, _) = counted("a rep submits");
    let (submits_manager, _) = counted("a manager submits");
    vec![
        Case::new("a supervisor begins a visit").ends("no_right", NOAS, visit(), starts),
        Case::new("a manager begins a visit").ends("no_right", MIAS, visit(), starts),
        Case::new("a distributor's staff begin a visit").ends("accepted", SAMS, visit(), starts),
        cannot.ends("accepted", RITAS, visit(), By::cannot),
        cannot_manager.ends("no_right", MIAS, visit(), By::cannot),
        observes.ends("accepted", SAMS, visit(), counts),
        submits.ends("accepted", RITAS, visit(), By::submits),
        submits_manager.ends("no_right", MIAS, visit(), By::submits),
        Case::new("a supervisor reports an outlet")
            .ends("accepted", NOAS, kiosk(), |by| by.reports(1, 2)),
        Case::new("a manager reports an outlet")
            .ends("no_right", MIAS, kiosk(), |by| by.reports(1, 1)),
    ]
}

/// Rule 8: who settles.
fn settlements() -> Vec<Json> {
    let two = |by: By, names: &[ChangeHash]| {
        let facts = vec![fact(1, Value::Number(4)), fact(2, Value::Number(4))];
        by.observes(facts, Vec::new(), names)
    };
    let (phone, three) = counted("a supervisor settles by phone");
    let (console, _) = counted("a supervisor settles in the console");
    let (observes, _) = counted("a supervisor observes");
    let (shown, _) = counted("a supervisor settles with a photo");
    let (empty, _) = counted("a supervisor's photo alone");
    let (more, _) = counted("a supervisor settles more than there was");
    let (manager, _) = counted("a manager settles");
    let (mut both, _) = counted("what is settled is in one or the other");
    let four = both.writes(RITAS, visit(), |by| by.counts(2, 4, &[]));
    vec![
        phone.ends("accepted", NOAS, visit(), |by| by.counts(1, 4, &[three])),
        console.ends("accepted", SUE_THERE, visit(), |by| by.counts(1, 4, &[three])),
        observes.ends("no_right", NOAS, visit(), counts),
        shown.ends("no_right", NOAS, visit(), |by| {
            by.observes(vec![fact(1, Value::Number(4))], vec![photo()], &[three])
        }),
        empty
            .ends("no_right", NOAS, visit(), |by| by.observes(Vec::new(), vec![photo()], &[three])),
        more.ends("no_right", NOAS, visit(), |by| two(by, &[three])),
        both.ends("accepted", NOAS, visit(), |by| two(by, &[three, four])),
        manager.ends("no_right", MIAS, visit(), |by| by.counts(1, 4, &[three])),
    ]
}

/// Rule 8: what is taken back.
fn taken_back() -> Vec<Json> {
    let (own, three) = counted("withdraws what is not submitted");
    let (other, _) = counted("withdraws another's");
    let (done, ..) = submitted("withdraws what is submitted");
    let (no_recording, _, submission) = submitted("withdraws what is no recording");
    let (mut apart, _) = counted("withdraws what was submitted apart");
    let submits = apart.change_on(RITAS_OTHER, visit(), &[three], By::submits);
    apart.adds(RITAS_OTHER, visit(), submits);
    let withdraws = apart.change_on(RITAS, visit(), &[three], |by| by.withdraws(&[three]));
    let (abandons, _) = counted("abandons what is not submitted");
    let (abandons_done, ..) = submitted("abandons what is submitted");
    let (mut cannot, _) = begun("abandons what was not possible");
    cannot.writes(RITAS, visit(), By::cannot);
    let (mut others, ..) = submitted("abandons what another has submitted");
    others.writes(SAMS, visit(), starts);
    let (mut role, _) = counted("who captures no more takes back");
    role.records(vec![person(RITA, Role::Supervisor, Scope::Territory(territory(1)), true)]);
    vec![
        own.ends("accepted", RITAS, visit(), |by| by.withdraws(&[three])),
        other.ends("no_right", SAMS, visit(), |by| by.withdraws(&[three])),
        done.ends("no_right", RITAS, visit(), |by| by.withdraws(&[three])),
        no_recording.ends("no_right", RITAS, visit(), |by| by.withdraws(&[submission])),
        apart.ends_with("accepted", RITAS, visit(), withdraws),
        abandons.ends("accepted", RITAS, visit(), By::abandons),
        abandons_done.ends("no_right", RITAS, visit(), By::abandons),
        cannot.ends("accepted", RITAS, visit(), By::abandons),
        others.ends("accepted", SAMS, visit(), By::abandons),
        role.ends("accepted", RITAS, visit(), |by| by.withdraws(&[three])),
    ]
}

/// Rule 8: who judges, and who says something.
fn reviews_and_posts() -> Vec<Json> {
    let judges = |done: ChangeHash| move |by: By| by.judges(Verdict::SentBack, &[done]);
    let (supervisor, _, done) = submitted("a supervisor reviews in the console");
    let (admin, ..) = submitted("an administrator reviews");
    let (phone, ..) = submitted("a supervisor reviews by phone");
    let (rep, ..) = submitted("a rep reviews");
    let (post, ..) = submitted("a manager says something");
    let (answer, ..) = submitted("a rep answers");
    vec![
        supervisor.ends("accepted", SUE_THERE, visit(), judges(done)),
        admin.ends("accepted", ADA_THERE, visit(), judges(done)),
        phone.ends("accepted", NOAS, visit(), judges(done)),
        rep.ends("no_right", RITAS, visit(), judges(done)),
        post.ends("accepted", MIAS, visit(), says),
        answer.ends("accepted", RITAS, visit(), |by| by.says(Some(done), None)),
    ]
}

/// Rule 8: who contests, and who answers that.
fn contests() -> Vec<Json> {
    let (manager, three, _) = submitted("a manager contests a value");
    let (staff, _, done) = submitted("a distributor's staff contest the whole");
    let (rep, ..) = submitted("a rep contests");
    let (supervisor, ..) = submitted("a supervisor contests");
    let (unsaid, ..) = submitted("contests what the recordings do not say");
    let (mut partly, ..) = submitted("contests what one of the recordings does not say");
    let other = partly.writes(SAMS, visit(), |by| by.counts(2, 4, &[]));
    let start = manager.document(visit()).changes()[0].hash();
    let (begins, ..) = submitted("contests a start");
    let step = |expected: &str, what, who: Who, step| {
        let (case, _, contest) = contested(what);
        case.ends(expected, who, visit(), |by| by.steps(contest, step))
    };
    let (no_contest, _, done_here) = submitted("a step that answers no contest");
    let mut remark = submitted("a step that answers a remark").0;
    let said = remark.writes(MIAS, visit(), says);
    let mut outside = Case::new("contests outside a visit");
    let remark_there = outside.writes(SAMS, history(1), says);
    let mut outlet_step = Case::new("a step outside a visit");
    let post = outlet_step.writes(SAMS, history(1), says);
    vec![
        manager.ends("accepted", MIAS, visit(), |by| by.contests(Some(1), &[three])),
        staff.ends("accepted", SAMS, visit(), |by| by.contests(None, &[done])),
        rep.ends("no_right", RITAS, visit(), |by| by.contests(Some(1), &[three])),
        supervisor.ends("no_right", NOAS, visit(), |by| by.contests(Some(1), &[three])),
        unsaid.ends("invalid", MIAS, visit(), |by| by.contests(Some(2), &[three])),
        partly.ends("invalid", MIAS, visit(), |by| by.contests(Some(1), &[three, other])),
        begins.ends("invalid", MIAS, visit(), |by| by.contests(Some(1), &[start])),
        outside.ends("invalid", MIAS, history(1), |by| by.contests(None, &[remark_there])),
        step("accepted", "a supervisor asks", SUE_THERE, Ask),
        step("accepted", "a supervisor upholds", NOAS, Uphold),
        step("accepted", "a supervisor accepts", SUE_THERE, Accept),
        step("accepted", "a supervisor closes", SUE_THERE, Close),
        step("accepted", "a supervisor says more", NOAS, Say),
        step("accepted", "a manager says more", MIAS, Say),
        step("accepted", "a distributor's staff close", SAMS, Close),
        step("no_right", "a manager asks", MIAS, Ask),
        step("no_right", "a manager accepts", MIAS, Accept),
        step("no_right", "a rep says more", RITAS, Say),
        no_contest.ends("invalid", SUE_THERE, visit(), |by| by.steps(done_here, Ask)),
        remark.ends("invalid", SUE_THERE, visit(), |by| by.steps(said, Ask)),
        outlet_step.ends("invalid", SUE_THERE, history(1), |by| by.steps(post, Ask)),
    ]
}

/// What breaks two rules is refused by the first.
fn order() -> Vec<Json> {
    let (mut fork, start) = begun("forked before it reads");
    fork.writes(RITAS, visit(), counts);
    let forked: Change =
        fork.change_on(RITAS, visit(), &[start], |by| by.observes(Vec::new(), Vec::new(), &[]));
    let (invalid, _) = begun("invalid before whose it is");
    let (mut revoked, _) = begun("withdrawn before whose it is");
    revoked.revokes(RITAS);
    let (person, _) = begun("whose it is before what it names");
    let nowhere = [ChangeHash([0x99; 32])];
    let (names, _) = begun("what it names before the scope");
    let (contest, three) = counted("what is contested before the scope, and before the role");
    let mut shut = Case::new("the outlet before the scope");
    shut.records(vec![closed(1)]);
    let mut cancelled = Case::new("the call before the outlet");
    cancelled.records(vec![call_record(0, true), outlet_record(1, 2, 1)]);
    let (scope, three_there) = counted("the scope before the role");
    let wrong_start = Case::new("the start before the scope");
    let mut gone = Case::new("whether somebody works here before the outlet");
    gone.records(vec![closed(1), let_go(RITA)]);
    let (mut gone_names, _) = begun("what it names before whether somebody works here");
    gone_names.records(vec![let_go(RITA)]);
    vec![
        fork.ends_with("forked", RITAS, visit(), forked),
        invalid.ends("invalid", Who { user: SAM, ..RITAS }, visit(), |by| {
            by.observes(Vec::new(), Vec::new(), &[])
        }),
        revoked.ends("revoked_device", Who { user: SAM, ..RITAS }, visit(), counts),
        person.ends("foreign_person", Who { user: SAM, ..RITAS }, visit(), |by| {
            by.counts(1, 4, &nowhere)
        }),
        names.ends("not_in_past", SVENS, visit(), |by| by.counts(1, 4, &nowhere)),
        contest.ends("invalid", SVENS, visit(), |by| by.contests(Some(2), &[three])),
        shut.ends("unknown", SVENS, visit(), starts),
        cancelled.ends("unknown", RITAS, planned(0), |by| by.starts(1, Some(0))),
        wrong_start.ends("wrong_start", SVENS, visit(), |by| by.starts_at(1, None, 1, 2)),
        scope.ends("out_of_scope", SVENS, visit(), |by| {
            by.judges(Verdict::Approved, &[three_there])
        }),
        gone.ends("no_right", RITAS, visit(), starts),
        gone_names.ends("not_in_past", RITAS, visit(), |by| by.counts(1, 4, &nowhere)),
    ]
}

/// What was right when its author last knew.
fn when() -> Vec<Json> {
    // What ends rights, and what its author does.
    let news = |what, records: Vec<Record>| {
        let (mut case, _) = begun(what);
        case.anchor = Some(case.size());
        case.records(records);
        case
    };
    let south = || person_record(RITA, Scope::Territory(territory(2)), true);
    let manages =
        || person(SAM, Role::DistributorManager, Scope::Distributor(distributor(1)), true);
    let mut shut = Case::new("the outlet was closed, and its author had not heard");
    shut.anchor = Some(shut.size());
    shut.records(vec![closed(1)]);
    let told = |what, waits: bool| {
        let mut case = Case::new(what);
        let before = case.size();
        case.records(vec![closed(1)]);
        case.hears(RITAS, waits.then_some(before));
        case.anchor = Some(before);
        case
    };
    let mut heard = Case::new("the outlet was closed, and its author had heard of all before");
    heard.hears(RITAS, None);
    heard.anchor = Some(1);
    heard.records(vec![closed(1)]);
    let mut cancelled = Case::new("the call was cancelled, and its author had not heard");
    cancelled.anchor = Some(cancelled.size());
    cancelled.records(vec![call_record(0, true)]);
    let mut other = Case::new("another phone of theirs had heard");
    other.anchor = Some(other.size());
    other.records(vec![closed(1)]);
    other.hears(RITAS_OTHER, None);

    let mut told_gone = news("their person was let go, and the phone was told", vec![let_go(RITA)]);
    told_gone.hears(RITAS, None);
    let mut knows_gone = news("their person was let go, and the phone knew", vec![let_go(RITA)]);
    knows_gone.anchor = None;
    let mut knows_south = news("their scope moved, and the phone knew", vec![south()]);
    knows_south.anchor = None;
    let mut knows_role = news("their role changed, and the phone knew", vec![manages()]);
    knows_role.anchor = None;

    let mut never = Case::new("what was never right");
    never.anchor = Some(1);
    let mut since = Case::new("what has become right");
    since.records(vec![south()]);
    let before = since.size();
    since.records(vec![person_record(RITA, Scope::Territory(territory(1)), true)]);
    since.anchor = Some(before);
    // Each of the two worlds would refuse it, for another reason.
    let mut neither = Case::new("what was right of the outlet then, and of the scope now");
    neither.records(vec![south()]);
    neither.anchor = Some(neither.size());
    neither.records(vec![person_record(RITA, Scope::Territory(territory(1)), true), closed(1)]);
    let mut tree = Case::new("the tree was another");
    tree.records(vec![person_record(RITA, Scope::Territory(territory(0)), true)]);
    tree.writes(RITAS, visit(), starts);
    tree.anchor = Some(tree.size());
    tree.records(vec![territory_record(1, None)]);
    // What came after all that its author knew counts as it was first.
    let mut first = Case::new("who came later is what they were first");
    first.anchor = Some(1);
    first.records(vec![south()]);
    let mut revoked =
        news("news that had not come, and a phone that is withdrawn", vec![closed(1)]);
    revoked.revokes(RITAS);
    vec![
        shut.ends("accepted", RITAS, visit(), starts),
        heard.ends("accepted", RITAS, visit(), starts),
        told("the outlet was closed, and its author had heard", false).ends(
            "late",
            RITAS,
            visit(),
            starts,
        ),
        told("the outlet was closed, and this waited since before", true).ends(
            "accepted",
            RITAS,
            visit(),
            starts,
        ),
        other.ends("accepted", RITAS, visit(), starts),
        cancelled.ends("accepted", RITAS, planned(0), |by| by.starts(1, Some(0))),
        news("their scope moved, and they had not heard", vec![south()]).ends(
            "accepted",
            RITAS,
            visit(),
            counts,
        ),
        knows_south.ends("out_of_scope", RITAS, visit(), says),
        news("their role changed, and they had not heard", vec![manages()]).ends(
            "accepted",
            SAMS,
            visit(),
            counts,
        ),
        knows_role.ends("no_right", SAMS, visit(), counts),
        news("their person was let go, and they had not heard", vec![let_go(RITA)]).ends(
            "accepted",
            RITAS,
            visit(),
            counts,
        ),
        told_gone.ends("late", RITAS, visit(), counts),
        knows_gone.ends("no_right", RITAS, visit(), counts),
        tree.ends("accepted", RITAS, visit(), counts),
        never.ends("out_of_scope", SVENS, visit(), starts),
        since.ends("accepted", RITAS, visit(), starts),
        neither.ends("unknown", RITAS, visit(), starts),
        first.ends("accepted", RITAS, visit(), starts),
        revoked.ends("revoked_device", RITAS, visit(), counts),
    ]
}

/// What an anchor stands for.
fn clocks() -> Vec<Json> {
    let mut beyond = Case::new("an anchor that the log has not reached is its end");
    beyond.records(vec![closed(1)]);
    beyond.anchor = Some(999);
    let mut stranger = Case::new("an anchor in a life that the log never had is none");
    stranger.records(vec![closed(1)]);
    stranger.anchor = Some(stranger.size());
    stranger.life = Some(stranger.life_now() ^ 1);
    // The lines that it counts were lost, and others have their numbers.
    let mut lost = Case::new("an anchor in what was lost is the end of what was not");
    let life = lost.life_now();
    lost.restores();
    lost.records(vec![closed(1), closed(2)]);
    (lost.anchor, lost.life) = (Some(lost.size()), Some(life));
    let mut new = Case::new("an anchor in the life after a restore");
    new.restores();
    new.records(vec![closed(1), closed(2)]);
    new.anchor = Some(new.size());
    vec![
        beyond.ends("unknown", RITAS, visit(), starts),
        stranger.ends("accepted", RITAS, visit(), starts),
        lost.ends("accepted", RITAS, visit(), starts),
        new.ends("unknown", RITAS, visit(), starts),
    ]
}
