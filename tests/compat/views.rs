//! What visits say, in small: each case is a few changes and the view that every implementation finds in them.

use serde_json::{Value as Json, json};
use sync_core::cbor::to_cbor;
use sync_core::document::{Change, Document, Entry};
use sync_core::evidence::Keypair;
use sync_core::id::{Actor, ChangeHash, DocId, DocKind, UserId, VisitId};
use sync_core::model::contest::Step::{Accept, Ask, Close, Say, Uphold};
use sync_core::model::visit::{Subject, Value, Verdict};
use sync_core::visit::Visit;
use tests::brand::{ORG, RITA, SAM, SUE};

use crate::story::{By, Story, change_of, fact, moment, on, otherwise};
use crate::{array, golden, hex, read};

/// Of distributor 1, whose people contest.
const MIA: UserId = UserId::from_bytes([5; 16]);
/// Reviews like Sue.
const ADA: UserId = UserId::from_bytes([6; 16]);

/// A visit that is written change by change. Everybody writes on top of all that is there, but for what `on` says.
struct Case {
    name: &'static str,
    story: Story,
}

impl Case {
    /// Rita's and whoever's visit, as yet without a change.
    fn new(name: &'static str) -> Self {
        let id = DocId::from(VisitId::from_bytes([0x71; 16]));
        Self { name, story: Story::new(id) }
    }

    /// One that Rita has begun.
    fn begun(name: &'static str) -> (Self, ChangeHash) {
        let mut case = Self::new(name);
        let start = case.add("start", RITA, |by| by.starts(1, None));
        (case, start)
    }

    /// One in which she has counted three.
    fn counted(name: &'static str) -> (Self, ChangeHash) {
        let (mut case, _) = Self::begun(name);
        let three = case.add("observe", RITA, |by| by.counts(1, 3, &[]));
        (case, three)
    }

    /// One that she has then submitted.
    fn submitted(name: &'static str) -> (Self, ChangeHash, ChangeHash) {
        let (mut case, three) = Self::counted(name);
        let done = case.add("submission", RITA, By::submits);
        (case, three, done)
    }

    /// One that two have begun apart and in which each has counted something.
    fn apart(name: &'static str, hers: i64, his: i64) -> (Self, [ChangeHash; 2]) {
        let mut case = Self::new(name);
        let counted = [(RITA, hers), (SAM, his)].map(|(who, number)| {
            let start = case.on("start", who, &[], |by| by.starts(1, None));
            case.on("observe", who, &[start], |by| by.counts(1, number, &[]))
        });
        (case, counted)
    }

    /// One whose count Mia contests.
    fn contested(name: &'static str) -> (Self, ChangeHash, ChangeHash) {
        let (mut case, three, _) = Self::submitted(name);
        let contest = case.add("contest", MIA, |by| by.contests(Some(1), &[three]));
        (case, three, contest)
    }

    fn heads(&self) -> Vec<ChangeHash> {
        self.story.document.heads().to_vec()
    }

    fn add(
        &mut self,
        what: &'static str,
        who: UserId,
        entry: impl FnOnce(By) -> Entry,
    ) -> ChangeHash {
        let heads = self.heads();
        self.on(what, who, &heads, entry)
    }

    fn on(
        &mut self,
        what: &'static str,
        who: UserId,
        heads: &[ChangeHash],
        entry: impl FnOnce(By) -> Entry,
    ) -> ChangeHash {
        let change = self.change(who, heads, entry);
        self.story.add(what, change)
    }

    fn change(&self, who: UserId, heads: &[ChangeHash], entry: impl FnOnce(By) -> Entry) -> Change {
        let entry = entry(By(who, moment(self.story.document.changes().len(), 0, None)));
        entry.validate().unwrap();
        let number = who.as_bytes()[0];
        // Who reviews does so through the server.
        let seed = if who == SUE || who == ADA { 0x33 } else { number };
        let key = Keypair::from_seed(&[seed; 32]).public();
        on(&self.story.document, heads, Actor::new(&key, [number; 8]), &entry)
    }

    /// A change whose entry is written otherwise than this version would.
    fn rewritten(
        &mut self,
        what: &'static str,
        who: UserId,
        entry: impl FnOnce(By) -> Entry,
        from: &[u8],
        to: &[u8],
    ) -> ChangeHash {
        let change = self.change(who, &self.heads(), entry);
        let places: Vec<usize> =
            (0..change.value.len()).filter(|at| change.value[*at..].starts_with(from)).collect();
        let [at] = places[..] else { panic!("{what}: {places:?}") };
        let change = otherwise(DocKind::Visit, &change, |parts| {
            parts.value.splice(at..at + from.len(), to.iter().copied());
        });
        self.story.add(what, change)
    }

    fn reviews(&mut self, who: UserId, verdict: Verdict) -> ChangeHash {
        let heads = self.heads();
        self.add("review", who, |by| by.judges(verdict, &heads))
    }

    fn json(&self) -> Json {
        json!({
            "name": self.name,
            "document": hex(&self.story.document.id().id),
            "changes": self.story.changes(),
            "view": said(&self.story.document),
        })
    }
}

/// All that a visit says, each list in the order of its bytes.
fn said(document: &Document) -> Json {
    let visit = Visit::read(document);
    let sorted = |hashes: &mut dyn Iterator<Item = ChangeHash>| {
        let mut names: Vec<String> = hashes.map(|hash| hex(&hash.0)).collect();
        names.sort();
        names
    };
    let recordings = |which: fn(&sync_core::visit::Recorded) -> bool| {
        sorted(&mut visit.recordings.iter().filter(|r| which(r)).map(|r| r.hash))
    };
    let mut values: Vec<_> = visit
        .values
        .iter()
        .flat_map(|((check, subject), live)| live.iter().map(move |live| (check, subject, live)))
        .map(|(check, subject, live)| {
            (*check, hex(&to_cbor(subject)), hex(&live.recording.0), live)
        })
        .collect();
    values.sort_by(|a, b| (a.0, &a.1, &a.2).cmp(&(b.0, &b.1, &b.2)));
    let values = values.iter().map(|(check, subject, recording, live)| {
        let (value, by) = (hex(&to_cbor(&live.value)), hex(live.by.as_bytes()));
        json!({ "check": check, "subject": subject, "value": value, "recording": recording, "by": by })
    });
    let mut conflicts: Vec<_> =
        visit.conflicts().map(|((check, subject), _)| (*check, hex(&to_cbor(subject)))).collect();
    conflicts.sort();
    let conflicts =
        conflicts.iter().map(|(check, subject)| json!({ "check": check, "subject": subject }));
    // What no standing review has seen, as the console counts it.
    let reviews = visit.reviews.iter().filter(|(hash, _)| visit.standing.contains(hash));
    let heads: Vec<ChangeHash> = reviews.flat_map(|(_, review)| review.heads.clone()).collect();
    let seen = document.past(&heads);
    let unreviewed = visit.submissions.iter().map(|(hash, _)| *hash);
    let mut contests: Vec<_> =
        visit.contests.iter().map(|c| (hex(&c.hash.0), c.standing.as_str(), c.holds)).collect();
    contests.sort();
    let contests = contests.iter().map(
        |(contest, stands, holds)| json!({ "contest": contest, "stands": stands, "holds": holds }),
    );
    json!({
        "start": visit.start.as_ref().map(|start| json!({
            "outlet": hex(start.outlet.as_bytes()),
            "call": start.call.map(|call| hex(call.as_bytes())),
            "by": hex(start.by.as_bytes()),
        })),
        "status": visit.status.as_str(),
        "values": values.collect::<Vec<_>>(),
        "conflicts": conflicts.collect::<Vec<_>>(),
        "withdrawn": recordings(|r| r.withdrawn),
        "submitted": recordings(|r| r.submitted),
        "standing_reviews": sorted(&mut visit.standing.iter().copied()),
        "new": recordings(|r| r.new),
        "unreviewed": sorted(&mut unreviewed.filter(|hash| !seen.contains(*hash))),
        "contests": contests.collect::<Vec<_>>(),
        "contested": visit.contested().is_some(),
        "found_wrong": visit.found_wrong(),
    })
}

pub(crate) fn views_now() -> Json {
    let cases = work().into_iter().chain(people()).chain(reviews()).chain(contests());
    json!({
        "organisation": hex(ORG.as_bytes()),
        "visits": cases.chain(later()).map(|case| case.json()).collect::<Vec<_>>(),
    })
}

/// What one person does.
fn work() -> Vec<Case> {
    let mut call = Case::new("a planned call that is only begun");
    call.story = Story::new(VisitId::of_call(ORG, tests::brand::call(0)).into());
    call.add("start", RITA, |by| by.starts(1, Some(0)));

    let (mut corrected, three) = Case::counted("corrected before it is submitted");
    corrected.add("the other check", RITA, |by| by.counts(2, 7, &[three]));
    corrected.add("the same check", RITA, |by| by.counts(1, 4, &[three]));

    let (mut after, three, _) = Case::submitted("submitted work that is corrected counts at once");
    let four = after.add("a correction", RITA, |by| by.counts(1, 4, &[three]));
    after.add("a correction of that", RITA, |by| by.counts(1, 5, &[four]));
    after.add("another value, not submitted", RITA, |by| by.counts(2, 7, &[]));

    let (mut withdrawn, three) = Case::counted("what is withdrawn has replaced nothing");
    let four = withdrawn.add("a correction", RITA, |by| by.counts(1, 4, &[three]));
    withdrawn.add("withdraw", RITA, |by| by.withdraws(&[four]));

    let (mut all, three) = Case::counted("begun again after all of it was withdrawn");
    let start = all.story.document.changes()[0].hash();
    all.add("withdraw", RITA, |by| by.withdraws(&[start, three]));
    all.add("start", RITA, |by| by.starts(1, None));

    let (mut gone, three) = Case::counted("each recording is withdrawn or withdraws");
    let start = gone.story.document.changes()[0].hash();
    gone.add("withdraw", RITA, |by| by.withdraws(&[start, three]));

    let (mut abandoned, _) = Case::counted("abandoned");
    abandoned.add("abandon", RITA, By::abandons);

    let (mut again, _) = Case::counted("abandoned and begun again");
    again.add("abandon", RITA, By::abandons);
    again.add("start", RITA, |by| by.starts(1, None));
    again.add("observe", RITA, |by| by.counts(1, 8, &[]));

    let (mut cannot, _) = Case::begun("not possible, which needs no submission");
    cannot.add("not possible", RITA, By::cannot);

    let (mut could, _) = Case::begun("not possible at first, then observed");
    could.add("not possible", RITA, By::cannot);
    could.add("observe", RITA, |by| by.counts(1, 3, &[]));

    let (mut taken_back, _) = Case::begun("not possible, which was taken back");
    let cannot_yet = taken_back.add("not possible", RITA, By::cannot);
    taken_back.add("withdraw", RITA, |by| by.withdraws(&[cannot_yet]));

    let (mut waits, _) = Case::begun("not possible and submitted");
    waits.add("not possible", RITA, By::cannot);
    waits.add("submission", RITA, By::submits);
    let mut cases = vec![call, corrected, after, withdrawn, all, gone, abandoned, again, cannot];
    cases.extend([could, taken_back, waits, Case::submitted("submitted").0]);
    cases
}

/// What two do apart.
fn people() -> Vec<Case> {
    let (equal, _) = Case::apart("two who say the same agree", 3, 3);
    let (mut differ, [_, his]) = Case::apart("two who say different things are in conflict", 3, 4);
    // Another's recording is not theirs to take back, and no server would take this.
    differ.add("withdraw of another's", RITA, |by| by.withdraws(&[his]));

    let (mut settled, both) = Case::apart("a supervisor settles", 3, 4);
    settled.add("a settlement", SUE, |by| by.counts(1, 4, &both));
    let (mut counts, both) = Case::apart("a settlement counts with what it settles", 3, 4);
    counts.add("a settlement", SUE, |by| by.counts(1, 4, &both));
    counts.on("submission", RITA, &[both[0]], By::submits);

    let (mut gone, both) =
        Case::apart("a settlement of what was taken back first counts not", 3, 4);
    gone.add("a settlement", SUE, |by| by.counts(1, 4, &both));
    gone.add("withdraw", RITA, |by| by.withdraws(&[both[0]]));
    gone.add("withdraw", SAM, |by| by.withdraws(&[both[1]]));
    gone.add("submission", RITA, By::submits);

    let (mut half, [hers, _]) = Case::apart("a settlement of what was seen", 3, 4);
    half.on("a settlement", SUE, &[hers], |by| by.counts(1, 5, &[hers]));

    let mut none = Case::new("the withdrawn value is in conflict with none");
    let start = none.on("start", RITA, &[], |by| by.starts(1, None));
    let hers = none.on("observe", RITA, &[start], |by| by.counts(1, 3, &[]));
    let theirs = none.on("start", SAM, &[], |by| by.starts(1, None));
    none.on("observe", SAM, &[theirs], |by| by.counts(1, 4, &[]));
    none.on("puts no value in its place", RITA, &[hers], |by| {
        by.observes(vec![fact(1, Value::Withdrawn)], Vec::new(), &[hers])
    });

    let (mut one, [_, his]) = Case::apart("one of two has abandoned", 3, 4);
    one.on("abandon", SAM, &[his], By::abandons);

    let (mut only_his, [hers, his]) = Case::apart("a submission is of one's own work", 3, 4);
    let done = only_his.on("submission", RITA, &[hers, his], By::submits);
    only_his.on("review", SUE, &[done], |by| by.judges(Verdict::Approved, &[done]));
    vec![equal, differ, settled, counts, gone, half, none, one, only_his]
}

/// What was judged.
fn reviews() -> Vec<Case> {
    let (mut approved, ..) = Case::submitted("approved");
    approved.reviews(SUE, Verdict::Approved);
    approved.add("what is new", RITA, |by| by.counts(2, 7, &[]));

    let (mut back, three, _) = Case::submitted("sent back, put right, and not yet submitted again");
    back.reviews(SUE, Verdict::SentBack);
    back.add("a correction", RITA, |by| by.counts(1, 4, &[three]));

    let (mut newer, three, _) = Case::submitted("submitted again after the review");
    newer.reviews(SUE, Verdict::SentBack);
    newer.add("a correction", RITA, |by| by.counts(1, 4, &[three]));
    newer.add("submission", RITA, By::submits);

    let (mut part, hers) = Case::counted("a review of work that was not submitted");
    part.reviews(SUE, Verdict::Approved);
    part.add("submission", RITA, By::submits);
    part.on("what it has not seen", SAM, &[hers], |by| by.starts(1, None));

    let apart = |name| {
        let (case, _, done) = Case::submitted(name);
        (case, done)
    };
    let (mut disputed, done) = apart("two who judged apart, and differ");
    disputed.on("review", SUE, &[done], |by| by.judges(Verdict::Approved, &[done]));
    disputed.on("review", ADA, &[done], |by| by.judges(Verdict::SentBack, &[done]));
    disputed.add("submission", RITA, By::submits);

    let (mut over, done) = apart("a review that knew of both");
    over.on("review", SUE, &[done], |by| by.judges(Verdict::Approved, &[done]));
    over.on("review", ADA, &[done], |by| by.judges(Verdict::SentBack, &[done]));
    over.add("review", SUE, |by| by.judges(Verdict::Approved, &[done]));

    // Each has seen one of two submissions.
    let (mut both, [hers, his]) = Case::apart("two who judged apart, and agree", 3, 3);
    let hers = both.on("submission", RITA, &[hers], By::submits);
    let his = both.on("submission", SAM, &[his], By::submits);
    both.on("review", SUE, &[hers], |by| by.judges(Verdict::Approved, &[hers]));
    both.on("review", ADA, &[his], |by| by.judges(Verdict::Approved, &[his]));

    let (mut gone, _) = Case::counted("approved, and then abandoned");
    gone.reviews(SUE, Verdict::Approved);
    gone.add("abandon", RITA, By::abandons);

    let (mut cannot, _) = Case::begun("approved that it was not possible");
    cannot.add("not possible", RITA, By::cannot);
    cannot.reviews(SUE, Verdict::Approved);
    vec![approved, back, newer, part, disputed, over, both, gone, cannot]
}

/// What is held against a visit, and what became of that.
fn contests() -> Vec<Case> {
    let (open, ..) = Case::contested("contested");
    let (mut asked, _, contest) = Case::contested("a question waits");
    asked.add("step", SUE, |by| by.steps(contest, Ask));
    let (mut more, _, contest) = Case::contested("a question was answered");
    more.add("step", SUE, |by| by.steps(contest, Ask));
    more.add("step", MIA, |by| by.steps(contest, Say));
    let (mut upheld, _, contest) = Case::contested("upheld");
    upheld.add("step", SUE, |by| by.steps(contest, Uphold));
    let (mut again, _, contest) = Case::contested("upheld, and not accepted by its author");
    again.add("step", SUE, |by| by.steps(contest, Uphold));
    again.add("step", MIA, |by| by.steps(contest, Say));
    let (mut closed, _, contest) = Case::contested("taken back");
    closed.add("step", MIA, |by| by.steps(contest, Close));
    let (mut holds, _, contest) = Case::contested("accepted, and nothing put right");
    holds.add("step", SUE, |by| by.steps(contest, Accept));

    let (mut right, three, contest) = Case::contested("accepted and put right");
    right.add("the claim", SUE, |by| by.counts(1, 4, &[three]));
    right.add("step", SUE, |by| by.steps(contest, Accept));

    let (mut gone, three, contest) = Case::contested("accepted, and no value put in its place");
    gone.add("no value", SUE, |by| {
        by.observes(vec![fact(1, Value::Withdrawn)], Vec::new(), &[three])
    });
    gone.add("step", SUE, |by| by.steps(contest, Accept));

    // The same number: what was contested holds on.
    let (mut other, [hers, his]) = Case::apart("another recording says the same", 3, 3);
    let contest = other.add("contest", MIA, |by| by.contests(Some(1), &[hers]));
    other.add("the claim, over hers alone", SUE, |by| by.counts(1, 4, &[hers]));
    other.add("contest", MIA, |by| by.contests(Some(1), &[hers, his]));
    other.add("step", SUE, |by| by.steps(contest, Accept));

    // Whoever is contested says the same again, before the finding or after.
    let claimed = |name, number| {
        let (mut case, three, _) = Case::submitted(name);
        let contest = case.add("contest", MIA, |by| by.claims(1, number, &[three]));
        (case, three, contest)
    };
    let (mut before, three, contest) = claimed("said again before it is accepted", 4);
    before.add("the same number", RITA, |by| by.counts(1, 3, &[three]));
    before.add("step", SUE, |by| by.steps(contest, Accept));
    let (mut after, three, contest) = claimed("said again after it was put right", 4);
    let four = after.add("the claim", SUE, |by| by.counts(1, 4, &[three]));
    after.add("step", SUE, |by| by.steps(contest, Accept));
    after.add("the old number", RITA, |by| by.counts(1, 3, &[four]));
    let (mut same, three, contest) = claimed("what is claimed is right, whoever says it", 3);
    same.add("the claim", SUE, |by| by.counts(1, 3, &[three]));
    same.add("step", SUE, |by| by.steps(contest, Accept));
    let (mut none, three, _) = Case::submitted("no value is right where none is claimed");
    let none_of = |seen: &[ChangeHash], by: By| {
        by.observes(vec![fact(1, Value::Withdrawn)], Vec::new(), seen)
    };
    let gone_before = none.add("no value", RITA, |by| none_of(&[three], by));
    let contest = none.add("contest", MIA, |by| by.contests(Some(1), &[gone_before]));
    none.add("no value", SUE, |by| none_of(&[gone_before], by));
    none.add("step", SUE, |by| by.steps(contest, Accept));

    let two = |name, steps: [_; 2]| {
        let (mut case, _, contest) = Case::contested(name);
        for (who, step) in [SUE, ADA].into_iter().zip(steps) {
            case.on("step", who, &[contest], |by| by.steps(contest, step));
        }
        case
    };
    let differ = two("two findings that differ are none", [Uphold, Accept]);
    let agree = two("two findings that agree", [Accept, Accept]);
    let asks = two("a finding, and a question from who did not know of it", [Uphold, Ask]);

    let whole = |name| {
        let (mut case, _, done) = Case::submitted(name);
        let contest = case.add("contest of all", MIA, |by| by.contests(None, &[done]));
        (case, contest)
    };
    let (open_whole, _) = whole("the whole visit is contested");
    let (mut wrong, contest) = whole("the whole visit is found wrong");
    wrong.add("step", SUE, |by| by.steps(contest, Accept));
    let (mut doubt, contest) = whole("found wrong by one, and closed by who did not know of it");
    doubt.on("step", SUE, &[contest], |by| by.steps(contest, Accept));
    doubt.on("step", MIA, &[contest], |by| by.steps(contest, Close));

    // A close is for what waits.
    let (mut stays, contest) = whole("found wrong, and closed by who knew of it");
    stays.add("step", SUE, |by| by.steps(contest, Accept));
    stays.add("step", SAM, |by| by.steps(contest, Close));
    let (mut stands, _, contest) = Case::contested("upheld, and closed by who knew of it");
    stands.add("step", SUE, |by| by.steps(contest, Uphold));
    stands.add("step", MIA, |by| by.steps(contest, Close));
    let (mut anew, contest) = whole("found wrong, opened again, and closed");
    anew.add("step", SUE, |by| by.steps(contest, Accept));
    anew.add("a close that says nothing", MIA, |by| by.steps(contest, Close));
    anew.add("step", MIA, |by| by.steps(contest, Say));
    anew.add("step", MIA, |by| by.steps(contest, Close));
    let (mut half, contest) = whole("found wrong by two, and closed by who knew of one");
    let accept = half.on("step", SUE, &[contest], |by| by.steps(contest, Accept));
    half.on("step", ADA, &[contest], |by| by.steps(contest, Uphold));
    half.on("step", MIA, &[accept], |by| by.steps(contest, Close));
    let (mut settled, _, contest) = Case::contested("findings that differ, and a close of both");
    settled.on("step", SUE, &[contest], |by| by.steps(contest, Uphold));
    settled.on("step", ADA, &[contest], |by| by.steps(contest, Accept));
    settled.add("step", MIA, |by| by.steps(contest, Close));
    vec![
        open, asked, more, upheld, again, closed, holds, right, gone, other, differ, agree, asks,
        open_whole, wrong, doubt, stays, stands, anew, half, settled, before, after, same, none,
    ]
}

/// What this version does not know, or would write otherwise.
fn later() -> Vec<Case> {
    let (mut act, three) = Case::counted("an act of a later version is passed over");
    act.rewritten("an act of kind 9", RITA, By::abandons, &[0x81, 0x04], &[0x81, 0x09]);
    // What comes after it has what came before it in its past.
    act.add("submission", RITA, By::submits);
    let heads = act.heads();
    let verdict = |by: By| by.judges(Verdict::SentBack, &heads);
    act.rewritten("a verdict of a later version", SUE, verdict, &[0x02, 0x01, 0x03], &[2, 7, 3]);
    act.add("a correction", RITA, |by| by.counts(1, 4, &[three]));

    let number = |text: &str| Value::Unknown(to_cbor(&(77_u32, text)));
    let apart = |name, values: [Value; 2]| {
        let mut case = Case::new(name);
        for (who, value) in [RITA, SAM].into_iter().zip(values) {
            let start = case.on("start", who, &[], |by| by.starts(1, None));
            case.on("observe", who, &[start], |by| {
                by.observes(vec![fact(1, value)], Vec::new(), &[])
            });
        }
        case
    };
    let same = apart("values of a later kind that are the same bytes", [number("x"), number("x")]);
    let differ = apart("values of a later kind that differ", [number("x"), number("y")]);
    let longer = Value::Unknown(to_cbor(&(5_u32, true, None::<u32>)));
    let length = apart("a null more makes another kind", [Value::YesNo(true), longer]);

    // 18 05 is five too, and 18 04 four.
    let (mut written, _) = Case::begun("known ones are compared by what they say");
    let says = |by: By| by.observes(vec![fact(1, Value::YesNo(true))], Vec::new(), &[]);
    let yes = to_cbor(&Value::YesNo(true));
    written.rewritten("a value in more bytes", RITA, says, &yes, &[0x82, 0x18, 0x05, 0xf5]);
    written.add("start", SAM, |by| by.starts(1, None));
    let outlet = [&[0x81][..], &to_cbor(&Subject::Outlet)].concat();
    written.rewritten("a subject in more bytes", SAM, says, &outlet, &[0x81, 0x81, 0x18, 0x04]);
    vec![act, same, differ, length, written]
}

#[test]
fn what_visits_say() {
    golden("wire/views.json", &views_now());
}

/// A view is a function of the set of changes: in whatever order they came.
#[test]
fn shipped_visits_say_the_same_in_another_order() {
    let then = read("wire/views.json");
    assert_eq!(then["organisation"], hex(ORG.as_bytes()));
    for case in then["visits"].as_array().unwrap() {
        let id = VisitId::from_bytes(array(&case["document"]));
        let mut document = Document::new(ORG, id.into());
        let changes = case["changes"].as_array().unwrap().iter();
        let mut left: Vec<Change> =
            changes.map(|one| change_of(DocKind::Visit, &one["parts"])).collect();
        while !left.is_empty() {
            let ready = left.iter().rposition(|change| document.insert(change.clone()).is_ok());
            left.remove(ready.unwrap());
        }
        assert_eq!(said(&document), case["view"], "{}", case["name"]);
    }
}
