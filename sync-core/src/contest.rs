//! How a contest of a visit stands: what a distributor's people hold against it, and what became of that.
//!
//! Like everything of a visit's view, a function of the set of changes alone.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::document::Document;
use crate::id::{BlobHash, ChangeHash, UserId};
use crate::model::Invalid;
use crate::model::capture::Moment;
use crate::model::contest::{About, Objection, Step, Word};
use crate::model::visit::{CheckId, Observation, Observations, Observed, Post, Subject, Value};
use crate::visit::Visit;

/// An objection and what was said after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contest {
    /// Its first post.
    pub hash: ChangeHash,
    /// Who contests.
    pub by: UserId,
    /// When.
    pub when: Moment,
    /// The words.
    pub text: BlobHash,
    /// What is contested.
    pub objection: Objection,
    /// Everything said after it, in the order of the visit.
    pub story: Vec<(ChangeHash, Post, Step)>,
    /// Where it stands.
    pub standing: Standing,
    /// What is contested still holds: a value as long as it is in force, in a recording that the objection names or in
    /// another that says the same again, and a whole visit until the objection to it is accepted.
    pub holds: bool,
}

/// Where a contest stands, what waits for somebody first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// A supervisor should answer.
    Open,
    /// A supervisor has asked something.
    Asked,
    /// A supervisor found that the objection is right.
    Accepted,
    /// A supervisor found that what was recorded stands.
    Upheld,
    /// It is over without a finding.
    Closed,
}

impl Standing {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Asked, Self::Accepted, Self::Upheld, Self::Closed];

    /// The name in stores and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Asked => "asked",
            Self::Accepted => "accepted",
            Self::Upheld => "upheld",
            Self::Closed => "closed",
        }
    }

    /// The reverse of [`Standing::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == name)
    }

    /// Somebody should say something.
    pub const fn waits(self) -> bool {
        matches!(self, Self::Open | Self::Asked)
    }

    /// What the steps that no later one knew of come to. Whoever says more wants an answer; then comes a question; and
    /// findings that differ are none.
    fn of(newest: &[Step]) -> Self {
        let Some(first) = newest.first() else { return Self::Open };
        if newest.contains(&Step::Say) {
            return Self::Open;
        }
        if newest.contains(&Step::Ask) {
            return Self::Asked;
        }
        match first {
            _ if newest.iter().any(|step| step != first) => Self::Open,
            Step::Uphold => Self::Upheld,
            Step::Accept => Self::Accepted,
            Step::Close => Self::Closed,
            Step::Say | Step::Ask => Self::Open,
        }
    }
}

impl Contest {
    /// Every contest of a visit, each in the order of the visit.
    pub(crate) fn all(document: &Document, visit: &Visit) -> Vec<Self> {
        let mut contests = Vec::new();
        let said = Said::of(visit);
        for (hash, post) in &visit.thread {
            if let Some(Word::Contest(objection)) = &post.word {
                contests.push(Self {
                    hash: *hash,
                    by: post.by,
                    when: post.when,
                    text: post.text,
                    holds: said.holds(visit, objection),
                    objection: objection.clone(),
                    story: Vec::new(),
                    standing: Standing::Open,
                });
            }
        }
        for (hash, post) in &visit.thread {
            if let (Some(Word::Step(step, _)), Some(answers)) = (&post.word, post.answers)
                && let Some(contest) = contests.iter_mut().find(|contest| contest.hash == answers)
            {
                contest.story.push((*hash, post.clone(), *step));
            }
        }
        for contest in &mut contests {
            let found = contest.story.iter().filter(|(_, _, step)| is_finding(*step));
            let found: Vec<ChangeHash> = found.map(|(hash, ..)| *hash).collect();
            let mut newest = Vec::new();
            let mut known = document.past(&[]);
            // A step comes after those that it knew of, so the newest first.
            for (hash, _, step) in contest.story.iter().rev() {
                // A finding that its author knew of would be undone by a close, and nobody told.
                if *step == Step::Close && !found.is_empty() {
                    let knew = document.past(&[*hash]);
                    if found.iter().any(|finding| knew.contains(*finding)) {
                        continue;
                    }
                }
                if !known.contains(*hash) {
                    newest.push(*step);
                    known.add(*hash);
                }
            }
            contest.standing = Standing::of(&newest);
            contest.holds &= !contest.takes_out();
        }
        contests
    }

    /// Whether somebody who sees it as it stands can go on with it so: what waits for its first finding can be closed, and
    /// nothing else.
    ///
    /// # Errors
    /// The rule that the step breaks.
    pub fn takes(&self, step: Step) -> Result<(), Invalid> {
        let found = self.story.iter().any(|(_, _, step)| is_finding(*step));
        let fits = step != Step::Close || (self.standing.waits() && !found);
        let rule = "closes what waits and was not found on; saying more opens again what is over";
        Invalid::unless(fits, "step", rule)
    }

    /// What makes the claim count once the objection is accepted, or nothing where there is none: an observation over
    /// all that holds now. `None` where nothing is to be put right: for a whole visit, or because it was already.
    pub fn put_right(&self, visit: &Visit) -> Option<Observed> {
        let About { check, subject } = self.objection.about.clone().filter(|_| self.holds)?;
        let live = visit.values.get(&(check, subject.clone()))?;
        let source = visit.recording(live.first()?.recording)?.entry.observed()?;
        let value = self.objection.claim.clone().unwrap_or(Value::Withdrawn);
        let supersedes: BTreeSet<ChangeHash> = live.iter().map(|live| live.recording).collect();
        Some(Observed {
            template: source.template,
            planograms: source.planograms.clone(),
            price_list: source.price_list,
            observations: Observations(vec![Observation { check, subject, value }]),
            photos: Vec::new(),
            supersedes: supersedes.into_iter().collect(),
        })
    }

    /// Names what whoever goes on with it goes by: what was said, and the recordings that hold now where it is about a
    /// value, or all that was recorded and submitted where it is about the visit. Another name is another state of it.
    pub fn state(&self, visit: &Visit) -> BlobHash {
        let by: Vec<ChangeHash> = match &self.objection.about {
            Some(about) => visit.live(about).iter().map(|live| live.recording).collect(),
            None => {
                let submissions = visit.submissions.iter().map(|(hash, _)| *hash);
                visit.recordings.iter().map(|recorded| recorded.hash).chain(submissions).collect()
            }
        };
        let hashes = self.story.iter().map(|(hash, ..)| *hash).chain(by);
        BlobHash::of(&hashes.flat_map(|hash| hash.0).collect::<Vec<u8>>())
    }

    /// Whether a supervisor found the whole visit wrong.
    fn takes_out(&self) -> bool {
        self.objection.about.is_none() && self.standing == Standing::Accepted
    }

    /// Whether the visit is in dispute for it: it waits, or the objection is right and nothing has put right what it is
    /// about.
    pub fn is_live(&self) -> bool {
        self.standing.waits() || (self.standing == Standing::Accepted && self.holds)
    }
}

/// Whether a step says who is right.
const fn is_finding(step: Step) -> bool {
    matches!(step, Step::Uphold | Step::Accept)
}

/// What recordings have said of what is contested.
struct Said<'a>(HashMap<(CheckId, &'a Subject), Vec<(ChangeHash, &'a Value)>>);

impl<'a> Said<'a> {
    /// Each recording is read once for all contests: there may be thousands of both.
    fn of(visit: &'a Visit) -> Self {
        let objections = visit.thread.iter().filter_map(|(_, post)| match &post.word {
            Some(Word::Contest(objection)) => objection.about.as_ref(),
            _ => None,
        });
        let mut said: HashMap<_, Vec<_>> =
            objections.map(|about| ((about.check, &about.subject), Vec::new())).collect();
        let recordings = if said.is_empty() { &[][..] } else { &visit.recordings };
        for recorded in recordings {
            let facts = recorded.entry.observed().map_or(&[][..], |o| &o.observations.0);
            for Observation { check, subject, value } in facts {
                if let Some(said) = said.get_mut(&(*check, subject)) {
                    said.push((recorded.hash, value));
                }
            }
        }
        Self(said)
    }

    fn holds(&self, visit: &Visit, objection: &Objection) -> bool {
        let Some(About { check, subject }) = &objection.about else { return true };
        let seen: HashSet<&ChangeHash> = objection.seen.iter().collect();
        // Whoever says again what was contested must not make a finding do nothing. What the objection itself claims is
        // right whoever says it.
        let right = objection.claim.as_ref().unwrap_or(&Value::Withdrawn);
        let said = self.0.get(&(*check, subject)).into_iter().flatten();
        let said = said.filter(|(hash, value)| seen.contains(hash) && *value != right);
        let said: BTreeSet<&Value> = said.map(|(_, value)| *value).collect();
        let live = visit.values.get(&(*check, subject.clone())).into_iter().flatten();
        live.into_iter().any(|live| seen.contains(&live.recording) || said.contains(&live.value))
    }
}

impl Visit {
    /// What makes it a contested visit, which figures can leave out: the most urgent of its live contests.
    pub fn contested(&self) -> Option<Standing> {
        self.contests.iter().filter(|c| c.is_live()).map(|contest| contest.standing).min()
    }

    /// Whether a supervisor found that the objection to all of it is right: then it counts in no figure.
    pub fn found_wrong(&self) -> bool {
        self.contests.iter().any(Contest::takes_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_decides_and_findings_that_differ_are_none() {
        use Step::*;
        for (newest, standing) in [
            (&[][..], Standing::Open),
            (&[Say], Standing::Open),
            (&[Ask], Standing::Asked),
            (&[Uphold], Standing::Upheld),
            (&[Accept, Accept], Standing::Accepted),
            (&[Close], Standing::Closed),
            (&[Uphold, Accept], Standing::Open),
            (&[Close, Uphold], Standing::Open),
            (&[Uphold, Ask], Standing::Asked),
            (&[Ask, Say, Accept], Standing::Open),
        ] {
            assert_eq!(Standing::of(newest), standing, "{newest:?}");
        }
        for standing in Standing::ALL {
            assert_eq!(Standing::from_name(standing.as_str()), Some(standing));
        }
        for step in Step::ALL {
            assert_eq!(Step::from_name(step.as_str()), Some(step));
        }
    }
}
