//! What a visit says, read from section 9 of docs/protocol.md word for word, however slowly.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::document::{Document, Entry};
use sync_core::id::{ChangeHash, UserId};
use sync_core::model::visit::{
    Act, CheckId, Recording, Review, Subject, Submission, Value, Verdict,
};
use sync_core::visit::{Status, Visit, in_conflict};

/// Panics where a view is not what the protocol says.
pub(super) fn agrees(document: &Document, visit: &Visit) {
    let reading = Reading::of(document);
    let start = reading.recordings.iter().find(|(_, r)| matches!(r.act, Act::Start { .. }));
    assert_eq!(visit.start.as_ref().map(|start| start.hash), start.map(|(hash, _)| *hash));
    let submitted = reading.submitted();
    let judged = reading.judged();
    assert_eq!(visit.recordings.len(), reading.recordings.len());
    for (recorded, (hash, recording)) in visit.recordings.iter().zip(&reading.recordings) {
        assert_eq!((recorded.hash, &recorded.entry), (*hash, recording));
        assert_eq!(recorded.withdrawn, reading.withdrawn(*hash, recording.by), "{hash}");
        assert_eq!(recorded.submitted, submitted.contains(hash), "{hash}");
        let new = !reading.reviews.is_empty() && !judged.contains(hash);
        assert_eq!(recorded.new, new, "{hash}");
    }
    let mut values: BTreeMap<(CheckId, Subject), Vec<(ChangeHash, Value)>> = BTreeMap::new();
    for (pair, value) in reading.values() {
        values.entry(pair).or_default().push(value);
    }
    let said = visit.values.iter().map(|(pair, live)| {
        let each = live.iter().map(|live| (live.recording, live.value.clone()));
        (pair.clone(), each.collect::<Vec<_>>())
    });
    assert_eq!(said.collect::<BTreeMap<_, _>>(), values);
    for (pair, live) in &visit.values {
        let mut differ: Vec<&Value> = values[pair].iter().map(|(_, value)| value).collect();
        differ.retain(|value| **value != Value::Withdrawn);
        differ.sort();
        differ.dedup();
        assert_eq!(in_conflict(live), differ.len() > 1);
    }
    assert_eq!(visit.status, reading.status(&judged));
}

struct Reading<'a> {
    document: &'a Document,
    recordings: Vec<(ChangeHash, Recording)>,
    submissions: Vec<(ChangeHash, Submission)>,
    reviews: Vec<(ChangeHash, Review)>,
}

impl<'a> Reading<'a> {
    fn of(document: &'a Document) -> Self {
        let mut changes: Vec<_> = document.changes().iter().collect();
        changes.sort_by_key(|change| (change.start_op, change.hash()));
        let (mut recordings, mut submissions, mut reviews) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            match change.entry() {
                Ok(Entry::Recording(entry)) => recordings.push((change.hash(), entry)),
                Ok(Entry::Submission(entry)) => submissions.push((change.hash(), entry)),
                Ok(Entry::Review(entry)) => reviews.push((change.hash(), entry)),
                _ => {}
            }
        }
        Self { document, recordings, submissions, reviews }
    }

    /// A change and all its ancestors.
    fn past(&self, of: ChangeHash) -> BTreeSet<ChangeHash> {
        let (mut past, mut open) = (BTreeSet::new(), vec![of]);
        while let Some(hash) = open.pop() {
            if let Some(change) = self.document.change(hash)
                && past.insert(hash)
            {
                open.extend(&change.deps);
            }
        }
        past
    }

    fn withdrawn(&self, hash: ChangeHash, by: UserId) -> bool {
        self.recordings.iter().filter(|(_, other)| other.by == by).any(
            |(place, other)| match &other.act {
                Act::Withdraw { recordings } => recordings.contains(&hash),
                Act::Abandon {} => self.past(*place).contains(&hash),
                _ => false,
            },
        )
    }

    fn submitted(&self) -> BTreeSet<ChangeHash> {
        let (mut submitted, mut counted) = (BTreeSet::new(), BTreeSet::new());
        for (hash, recording) in &self.recordings {
            let own = self.submissions.iter().filter(|(_, s)| s.by == recording.by);
            let in_one = own.into_iter().any(|(place, _)| self.past(*place).contains(hash));
            let counts_at_once = match &recording.act {
                Act::NotPossible { .. } => true,
                Act::Observe(observed) => {
                    observed.supersedes.iter().any(|older| counted.contains(older))
                }
                _ => false,
            };
            if in_one || counts_at_once {
                submitted.insert(*hash);
                if !self.withdrawn(*hash, recording.by) {
                    counted.insert(*hash);
                }
            }
        }
        submitted
    }

    fn values(&self) -> Vec<((CheckId, Subject), (ChangeHash, Value))> {
        let live = || self.recordings.iter().filter(|(hash, r)| !self.withdrawn(*hash, r.by));
        let mut values = Vec::new();
        for (hash, recording) in live() {
            let facts = recording.observed().map_or(&[][..], |observed| &observed.observations.0);
            for fact in facts {
                let replaced = live().filter_map(|(_, newer)| newer.observed()).any(|newer| {
                    newer.supersedes.contains(hash)
                        && newer
                            .observations
                            .0
                            .iter()
                            .any(|f| f.check == fact.check && f.subject == fact.subject)
                });
                if !replaced {
                    let pair = (fact.check, fact.subject.clone());
                    values.push((pair, (*hash, fact.value.clone())));
                }
            }
        }
        values
    }

    fn standing(&self) -> Vec<&Review> {
        let known = |hash: &ChangeHash| {
            self.reviews.iter().any(|(by, _)| by != hash && self.past(*by).contains(hash))
        };
        self.reviews.iter().filter(|(hash, _)| !known(hash)).map(|(_, review)| review).collect()
    }

    /// The past of all heads that standing reviews name.
    fn judged(&self) -> BTreeSet<ChangeHash> {
        let heads = self.standing().into_iter().flat_map(|review| review.heads.iter());
        heads.flat_map(|head| self.past(*head)).collect()
    }

    fn status(&self, judged: &BTreeSet<ChangeHash>) -> Status {
        let counts = |act: fn(&Act) -> bool| {
            let mut all = self.recordings.iter();
            all.any(|(hash, r)| act(&r.act) && !self.withdrawn(*hash, r.by))
        };
        let over = |(hash, recording): &(ChangeHash, Recording)| {
            matches!(recording.act, Act::Withdraw { .. } | Act::Abandon {})
                || self.withdrawn(*hash, recording.by)
        };
        let unreviewed = self.submissions.iter().any(|(hash, _)| !judged.contains(hash));
        let verdict = |wanted| self.standing().iter().any(|review| review.verdict == wanted);
        if !self.recordings.is_empty() && self.recordings.iter().all(over) {
            return Status::Abandoned;
        }
        match (verdict(Verdict::Approved), verdict(Verdict::SentBack)) {
            (true, true) => return Status::Disputed,
            (true, false) if !unreviewed => return Status::Approved,
            (false, true) if !unreviewed => return Status::SentBack,
            _ => {}
        }
        if unreviewed {
            return Status::Submitted;
        }
        let observed = counts(|act| matches!(act, Act::Observe(_)));
        match !observed && counts(|act| matches!(act, Act::NotPossible { .. })) {
            true => Status::NotPossible,
            false => Status::InProgress,
        }
    }
}
