//! What a visit's document says: who did what, which values hold, where people disagree, what was judged.
//!
//! A view is a function of the set of changes alone: two replicas that hold the same changes, in whatever
//! order they came, read the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::contest::Contest;
use crate::document::{Document, Entry, Past, Section};
use crate::id::{CallId, ChangeHash, DistributorId, OutletId, TerritoryId, UserId};
use crate::model::contest::About;
use crate::model::people::Audience;
use crate::model::visit::{
    Act, CheckId, NotPossible, Observed, PhotoRef, Post, Recording, Review, Subject, Submission,
    Value, Verdict, Versioned,
};

/// Where a visit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Nobody has submitted yet.
    InProgress,
    /// Waits for a review: someone has submitted work that no review covers.
    Submitted,
    /// The newest review approves it.
    Approved,
    /// The newest review sends it back.
    SentBack,
    /// Two reviewers judged it differently without knowing of each other.
    Disputed,
    /// The call could not be made.
    NotPossible,
    /// Everyone who began it has abandoned it.
    Abandoned,
}

impl Status {
    /// Every status, in the order of the work.
    pub const ALL: [Self; 7] = [
        Self::InProgress,
        Self::Submitted,
        Self::SentBack,
        Self::Disputed,
        Self::Approved,
        Self::NotPossible,
        Self::Abandoned,
    ];

    /// The name in stores and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Submitted => "submitted",
            Self::Approved => "approved",
            Self::SentBack => "sent_back",
            Self::Disputed => "disputed",
            Self::NotPossible => "not_possible",
            Self::Abandoned => "abandoned",
        }
    }

    /// The reverse of [`Status::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// How and where a visit began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The entry.
    pub hash: ChangeHash,
    /// Who began.
    pub by: UserId,
    /// Where.
    pub outlet: OutletId,
    /// The planned call, if it answers one.
    pub call: Option<CallId>,
    /// The outlet's territory then.
    pub territory: TerritoryId,
    /// The outlet's distributor then.
    pub distributor: DistributorId,
    /// With which template.
    pub template: Versioned,
}

impl Start {
    fn read(hash: ChangeHash, recording: &Recording) -> Option<Self> {
        match recording.act {
            Act::Start { outlet, call, territory, distributor, template } => Some(Self {
                hash,
                by: recording.by,
                outlet,
                call,
                territory,
                distributor,
                template,
            }),
            _ => None,
        }
    }

    /// Who sees the visit, for as long as it exists.
    pub fn audience(&self) -> Audience {
        Audience::Outlet { territory: self.territory, distributor: self.distributor }
    }

    /// How a visit began: the first start of its document, in the order of [`Visit::read`].
    pub fn of(document: &Document) -> Option<Self> {
        let starts = document.entries(Section::Recordings).filter_map(|(change, entry)| {
            Some(((change.start_op, change.hash()), Self::said(change.hash(), entry)?))
        });
        starts.min_by_key(|(order, _)| *order).map(|(_, start)| start)
    }

    /// How each of its people began a visit. They say the same, but where its outlet has moved meanwhile.
    pub fn all(document: &Document) -> impl Iterator<Item = Self> + '_ {
        let entries = document.entries(Section::Recordings);
        entries.filter_map(|(change, entry)| Self::said(change.hash(), entry))
    }

    fn said(hash: ChangeHash, entry: &Entry) -> Option<Self> {
        match entry {
            Entry::Recording(recording) => Self::read(hash, recording),
            _ => None,
        }
    }
}

/// A recording and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its name.
    pub hash: ChangeHash,
    /// What it says.
    pub entry: Recording,
    /// Its author took it back, or abandoned the visit.
    pub withdrawn: bool,
    /// Its author has submitted it.
    pub submitted: bool,
    /// A review exists and does not cover it.
    pub new: bool,
}

/// A value that holds for a (check, subject): nothing has replaced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The recording that says it.
    pub recording: ChangeHash,
    /// Who says it.
    pub by: UserId,
    /// What.
    pub value: Value,
    /// Its author has submitted it.
    pub submitted: bool,
}

/// Everything a visit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// How it began; `None` only for a document that is not here yet.
    pub start: Option<Start>,
    /// Where it stands.
    pub status: Status,
    /// Every recording, each after those it builds on.
    pub recordings: Vec<Recorded>,
    /// The values that hold, by check and subject.
    pub values: BTreeMap<(CheckId, Subject), Vec<Live>>,
    /// Every submission.
    pub submissions: Vec<(ChangeHash, Submission)>,
    /// Every review.
    pub reviews: Vec<(ChangeHash, Review)>,
    /// The reviews that no later one knew of: one, or more if they were written apart.
    pub standing: Vec<ChangeHash>,
    /// What was said.
    pub thread: Vec<(ChangeHash, Post)>,
    /// What is held against it.
    pub contests: Vec<Contest>,
}

/// Two or more values that hold for one (check, subject) and differ.
pub fn in_conflict(values: &[Live]) -> bool {
    distinct(values).nth(1).is_some()
}

/// The one value that everyone who has one agrees on.
pub fn agreed(values: &[Live]) -> Option<&Value> {
    let mut distinct = distinct(values);
    distinct.next().filter(|_| distinct.next().is_none())
}

fn distinct(values: &[Live]) -> impl Iterator<Item = &Value> {
    let said: BTreeSet<&Value> =
        values.iter().map(|l| &l.value).filter(|v| **v != Value::Withdrawn).collect();
    said.into_iter()
}

impl Visit {
    /// Reads a document of kind visit. Entries that this version cannot read are passed over.
    pub fn read(document: &Document) -> Self {
        let mut order: Vec<_> = document.changes().iter().collect();
        order.sort_by_key(|change| (change.start_op, change.hash()));
        let mut visit = Self {
            start: None,
            status: Status::InProgress,
            recordings: Vec::new(),
            values: BTreeMap::new(),
            submissions: Vec::new(),
            reviews: Vec::new(),
            standing: Vec::new(),
            thread: Vec::new(),
            contests: Vec::new(),
        };
        for change in order {
            let hash = change.hash();
            let Some(entry) = document.entry(hash) else { continue };
            match entry.clone() {
                Entry::Recording(entry) => {
                    if visit.start.is_none() {
                        visit.start = Start::read(hash, &entry);
                    }
                    let (withdrawn, submitted, new) = (false, false, false);
                    visit.recordings.push(Recorded { hash, entry, withdrawn, submitted, new });
                }
                Entry::Submission(entry) => visit.submissions.push((hash, entry)),
                Entry::Review(entry) => visit.reviews.push((hash, entry)),
                Entry::Post(entry) => visit.thread.push((hash, entry)),
                Entry::Report(_) => {}
            }
        }
        visit.mark_withdrawn(document);
        visit.mark_submitted(document);
        let unreviewed = visit.mark_reviewed(document);
        visit.collect_values();
        visit.status = visit.status(&unreviewed);
        visit.contests = Contest::all(document, &visit);
        visit
    }

    fn mark_withdrawn(&mut self, document: &Document) {
        let mut gone = BTreeSet::new();
        let mut abandoned: BTreeMap<UserId, Past<'_>> = BTreeMap::new();
        for recorded in &self.recordings {
            let by = recorded.entry.by;
            match &recorded.entry.act {
                Act::Withdraw { recordings } => gone.extend(recordings.iter().map(|r| (by, *r))),
                Act::Abandon {} => {
                    abandoned.entry(by).or_insert_with(|| document.past(&[])).add(recorded.hash);
                }
                _ => {}
            }
        }
        for recorded in &mut self.recordings {
            let (by, hash) = (recorded.entry.by, recorded.hash);
            recorded.withdrawn = gone.contains(&(by, hash))
                || abandoned.get(&by).is_some_and(|past| past.contains(hash));
        }
    }

    fn mark_submitted(&mut self, document: &Document) {
        let mut submitted: BTreeMap<UserId, Past<'_>> = BTreeMap::new();
        for (hash, submission) in &self.submissions {
            submitted.entry(submission.by).or_insert_with(|| document.past(&[])).add(*hash);
        }
        for recorded in &mut self.recordings {
            let past = submitted.get(&recorded.entry.by);
            recorded.submitted = past.is_some_and(|past| past.contains(recorded.hash));
        }
        // Saying that a call was not possible needs no submission. Nor does putting something else in the place of what is
        // submitted, whoever does: else the figures would lose a value until the next submission.
        let mut submitted: BTreeSet<ChangeHash> = BTreeSet::new();
        for recorded in &mut self.recordings {
            recorded.submitted |= match &recorded.entry.act {
                Act::NotPossible { .. } => true,
                Act::Observe(observed) => {
                    observed.supersedes.iter().any(|older| submitted.contains(older))
                }
                _ => false,
            };
            // What was taken back before it was submitted is what nobody has submitted.
            if recorded.submitted && !recorded.withdrawn {
                submitted.insert(recorded.hash);
            }
        }
    }

    /// Finds the standing reviews and what none of them covers; returns the submissions among that.
    fn mark_reviewed(&mut self, document: &Document) -> Vec<ChangeHash> {
        let mut known = document.past(&[]);
        // A review comes after those that it knew of, so the newest first.
        for (hash, _) in self.reviews.iter().rev() {
            if !known.contains(*hash) {
                self.standing.push(*hash);
                known.add(*hash);
            }
        }
        self.standing.reverse();
        let judged: Vec<ChangeHash> = self
            .reviews
            .iter()
            .filter(|(hash, _)| self.standing.contains(hash))
            .flat_map(|(_, review)| review.heads.iter().copied())
            .collect();
        let seen = document.past(&judged);
        if !judged.is_empty() {
            self.recordings.iter_mut().for_each(|r| r.new = !seen.contains(r.hash));
        }
        let submissions = self.submissions.iter().map(|(hash, _)| *hash);
        submissions.filter(|hash| !seen.contains(*hash)).collect()
    }

    fn collect_values(&mut self) {
        let live = self.recordings.iter().filter(|r| !r.withdrawn);
        let said: Vec<_> = live.filter_map(|r| Some((r, r.entry.observed()?))).collect();
        // The pairs by number, and those of each recording ascending: a hostile document names each of its recordings so
        // often that comparing the pairs themselves would take minutes.
        let mut numbers = BTreeMap::new();
        let mut number = |check, subject| {
            let next = numbers.len();
            *numbers.entry((check, subject)).or_insert(next)
        };
        let mut pairs: Vec<Vec<(usize, bool)>> = Vec::with_capacity(said.len());
        for (_, observed) in &said {
            let facts = observed.observations.0.iter();
            let mut numbered: Vec<_> =
                facts.map(|fact| (number(fact.check, &fact.subject), false)).collect();
            numbered.sort_unstable();
            pairs.push(numbered);
        }
        let places: HashMap<ChangeHash, usize> =
            said.iter().enumerate().map(|(place, (recorded, _))| (recorded.hash, place)).collect();
        for (newer, (_, observed)) in said.iter().enumerate() {
            let older = observed.supersedes.iter().filter_map(|hash| places.get(hash));
            for older in older.filter(|older| **older != newer) {
                let [newer, older] = pairs.get_disjoint_mut([newer, *older]).expect("two places");
                replace(newer, older);
            }
        }
        let mut values: BTreeMap<_, Vec<Live>> = BTreeMap::new();
        for ((recorded, observed), pairs) in said.iter().zip(&pairs) {
            for fact in &observed.observations.0 {
                let number = numbers[&(fact.check, &fact.subject)];
                let place = pairs.binary_search_by_key(&number, |(number, _)| *number);
                if place.is_ok_and(|place| !pairs[place].1) {
                    values.entry((fact.check, fact.subject.clone())).or_default().push(Live {
                        recording: recorded.hash,
                        by: recorded.entry.by,
                        value: fact.value.clone(),
                        submitted: recorded.submitted,
                    });
                }
            }
        }
        self.values = values;
    }

    fn status(&self, unreviewed: &[ChangeHash]) -> Status {
        if !self.recordings.is_empty() && self.recordings.iter().all(|r| r.withdrawn || r.ends()) {
            return Status::Abandoned;
        }
        let standing = self.reviews.iter().filter(|(hash, _)| self.standing.contains(hash));
        let verdicts: BTreeSet<bool> =
            standing.map(|(_, review)| review.verdict == Verdict::Approved).collect();
        let observed = self.recordings.iter().any(|r| !r.withdrawn && r.entry.observed().is_some());
        match (verdicts.len(), unreviewed.is_empty()) {
            (2, _) => Status::Disputed,
            (1, true) if verdicts.contains(&true) => Status::Approved,
            (1, true) => Status::SentBack,
            (_, false) => Status::Submitted,
            _ if !observed && self.not_possible().is_some() => Status::NotPossible,
            _ => Status::InProgress,
        }
    }

    /// Why the call could not be made, if someone says so and has not taken it back.
    pub fn not_possible(&self) -> Option<(NotPossible, &Recorded)> {
        self.recordings.iter().find_map(|r| match r.entry.act {
            Act::NotPossible { reason, .. } if !r.withdrawn => Some((reason, r)),
            _ => None,
        })
    }

    /// The (check, subject) pairs whose values differ.
    pub fn conflicts(&self) -> impl Iterator<Item = (&(CheckId, Subject), &[Live])> {
        let values = self.values.iter().map(|(pair, values)| (pair, values.as_slice()));
        values.filter(|(_, values)| in_conflict(values))
    }

    /// Everyone who has recorded something that counts, in the order of their first recording.
    pub fn people(&self) -> Vec<UserId> {
        let mut people = Vec::new();
        for recorded in self.recordings.iter().filter(|r| !r.withdrawn && !r.ends()) {
            if !people.contains(&recorded.entry.by) {
                people.push(recorded.entry.by);
            }
        }
        people
    }

    /// The start that says when the visit was made: of those that were not taken back the submitted ones first, and of these
    /// the earliest by `claimed_ms`, the time that a recording claims. If all were taken back, the same among them.
    pub fn begun(&self, claimed_ms: impl Fn(&Recorded) -> i64) -> Option<&Recorded> {
        let starts = self.recordings.iter().filter(|r| Start::read(r.hash, &r.entry).is_some());
        starts.min_by_key(|r| (r.withdrawn, !r.submitted, claimed_ms(r), r.hash))
    }

    /// Whether this person has recorded something that is not yet submitted.
    pub fn unsubmitted_by(&self, user: UserId) -> bool {
        let own = self.recordings.iter().filter(|r| r.entry.by == user);
        own.into_iter().any(|r| !r.submitted && !r.withdrawn && !r.ends())
    }

    /// The photos that were recorded and not taken back, each with the entry that refers to it and its author.
    pub fn photos(&self) -> impl Iterator<Item = (ChangeHash, UserId, &PhotoRef)> {
        let recorded = self.recordings.iter().filter(|r| !r.withdrawn);
        recorded.flat_map(|r| r.entry.photos().iter().map(move |photo| (r.hash, r.entry.by, photo)))
    }

    /// The photos that are shown in contests of it, each with the word that refers to it and its author.
    pub fn contest_photos(&self) -> impl Iterator<Item = (ChangeHash, UserId, &PhotoRef)> {
        let words = self.contests.iter().flat_map(|contest| {
            let steps = contest.story.iter().filter_map(|(hash, post, _)| {
                post.word.as_ref().map(|word| (*hash, post.by, word.photos()))
            });
            let objection = (contest.hash, contest.by, contest.objection.photos.as_slice());
            std::iter::once(objection).chain(steps)
        });
        words.flat_map(|(hash, by, photos)| photos.iter().map(move |photo| (hash, by, photo)))
    }

    /// What holds of a check and subject: each value with its recording.
    pub fn live(&self, about: &About) -> &[Live] {
        self.values.get(&(about.check, about.subject.clone())).map_or(&[], Vec::as_slice)
    }

    /// Whether all that holds of a check and subject is what a claim says: nobody objects to it with that. A claim of what is
    /// in stock need not say how much.
    pub fn says(&self, about: &About, claim: &Value) -> bool {
        let same = |value: &Value| match (value, claim) {
            (Value::Stock { on_shelf, .. }, Value::Stock { on_shelf: claimed, units: None }) => {
                on_shelf == claimed
            }
            (value, claim) => value == claim,
        };
        let live = self.live(about);
        !live.is_empty() && live.iter().all(|live| same(&live.value))
    }

    /// A recording by its name.
    pub fn recording(&self, hash: ChangeHash) -> Option<&Recorded> {
        self.recordings.iter().find(|r| r.hash == hash)
    }
}

/// Marks what of an older recording's numbered pairs is among a newer one's.
fn replace(newer: &[(usize, bool)], older: &mut [(usize, bool)]) {
    #[cfg(test)]
    tests::LOOKED.fetch_add(newer.len().min(older.len()), std::sync::atomic::Ordering::Relaxed);
    let find = |pairs: &[(usize, bool)], number| pairs.binary_search_by_key(&number, |(n, _)| *n);
    if newer.len() < older.len() {
        for (number, _) in newer {
            if let Ok(place) = find(older, *number) {
                older[place].1 = true;
            }
        }
    } else {
        older.iter_mut().for_each(|(number, gone)| *gone |= find(newer, *number).is_ok());
    }
}

impl Recorded {
    /// It only takes other recordings back.
    fn ends(&self) -> bool {
        matches!(self.entry.act, Act::Withdraw { .. } | Act::Abandon {})
    }
}

impl Recording {
    /// What was observed, if that is what it is.
    pub fn observed(&self) -> Option<&Observed> {
        match &self.act {
            Act::Observe(observed) => Some(observed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::document::{DOCUMENT_VALUES_MAX, Room};
    use crate::id::{Actor, DocId, DocKind, OrgId};
    use crate::model::capture::Moment;
    use crate::model::visit::{Observation, Observations};

    /// How many pairs were looked for among others, by all tests.
    pub(super) static LOOKED: AtomicUsize = AtomicUsize::new(0);

    /// A planned call's visit is one document, whoever begins it and however often.
    #[test]
    fn a_visit_was_made_when_what_counts_of_it_was_begun() {
        let id = DocId { kind: DocKind::Visit, id: [2; 16] };
        let (outlet, territory) = (OutletId::from_bytes([5; 16]), TerritoryId::from_bytes([6; 16]));
        let distributor = DistributorId::from_bytes([7; 16]);
        let template = Versioned { number: 1, version: 1 };
        let mut document = Document::new(OrgId::from_bytes([1; 16]), id);
        let when =
            |wall_ms| Moment { wall_ms, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
        let mut writes = |who: u8, at: i64, act: Option<Act>| {
            let (by, when) = (UserId::from_bytes([who; 16]), when(at));
            let entry = match act {
                Some(act) => Entry::Recording(Recording { by, when, place: None, act }),
                None => Entry::Submission(Submission { by, when, place: None }),
            };
            let change = document.next(Actor::from_bytes([who; 16]), &entry).unwrap();
            document.insert(change).unwrap();
            let claimed = |recorded: &Recorded| recorded.entry.when.wall_ms;
            Visit::read(&document).begun(claimed).map(claimed)
        };
        let start = || Some(Act::Start { outlet, call: None, territory, distributor, template });
        assert_eq!(writes(1, 10, start()), Some(10));
        assert_eq!(writes(1, 20, Some(Act::Abandon {})), Some(10), "there is no other");
        assert_eq!(writes(2, 40, start()), Some(40), "what was taken back says nothing");
        assert_eq!(writes(3, 30, start()), Some(30));
        assert_eq!(writes(2, 50, None), Some(40), "somebody has submitted, and began then");
        assert_eq!(writes(3, 60, None), Some(30));
    }

    /// About as much as there is room for: long recordings, and short ones of two others that name all of them. Looking for each pair of the
    /// long ones in each of the short ones would be a hundred million looks.
    #[test]
    fn what_replaces_what_is_found_with_few_looks() {
        let (id, actor) = (DocId { kind: DocKind::Visit, id: [2; 16] }, Actor::from_bytes([3; 16]));
        let mut document = Document::new(OrgId::from_bytes([1; 16]), id);
        let says = |by: u8, checks: std::ops::Range<u32>, supersedes: &[ChangeHash]| {
            let fact = |check| {
                let (subject, value) = (Subject::Outlet, Value::YesNo(true));
                Observation { check, subject, value }
            };
            let act = Act::Observe(Observed {
                template: Versioned { number: 1, version: 1 },
                planograms: Vec::new(),
                price_list: None,
                observations: Observations(checks.map(fact).collect()),
                photos: Vec::new(),
                supersedes: supersedes.to_vec(),
            });
            let by = UserId::from_bytes([by; 16]);
            let when =
                Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
            Entry::Recording(Recording { by, when, place: None, act })
        };
        let mut write = |entry: &Entry| {
            let change = document.next(actor, entry).unwrap();
            let hash = change.hash();
            document.holds(&change, entry, Room::Device)?;
            document.insert(change).map(|()| hash)
        };
        let long: Vec<_> =
            (0..25).map(|n| write(&says(4, 1_000 * n..1_000 * (n + 1), &[]))).collect();
        let long: Vec<ChangeHash> = long.into_iter().collect::<Result<_, _>>().unwrap();
        let short = (0..).take_while(|n| {
            write(&says(5 + (n % 2) as u8, 25_000 + 7 * n..25_007 + 7 * n, &long)).is_ok()
        });
        let short = short.count();
        assert!(short > 3_000, "{short}");
        let visit = Visit::read(&document);
        assert_eq!(visit.values.len(), 25_000 + 7 * short);
        assert!(visit.values.len() < DOCUMENT_VALUES_MAX);
        let looked = LOOKED.load(Ordering::Relaxed);
        assert!(looked < 2_000_000, "{looked} looks");
    }
}
