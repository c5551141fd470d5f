//! What an app is shown of what a folder holds: the core's values with names and words in them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use sync_core::client::{Kept, Replica};
use sync_core::contest::Contest as CoreContest;
use sync_core::document::Entry;
use sync_core::id::{BlobHash, ChangeHash, DeviceId, DocId, Gtin, OutletId, UserId, VisitId};
use sync_core::model::Day;
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{self, Record, RecordKey};
use sync_core::model::contest::Word;
use sync_core::model::visit::{self as core_visit, Act, PhotoRef, Verdict};
use sync_core::visit::{Visit as VisitView, in_conflict};

use crate::replica::View;
use crate::store::StoreError;
use crate::types::*;

pub(crate) fn visit_of(document: DocId) -> String {
    VisitId::from_bytes(document.id).to_string()
}

pub(crate) fn outlet(
    view: &View<'_>,
    id: OutletId,
) -> Result<Option<catalogue::Outlet>, StoreError> {
    match view.record(RecordKey::outlet(id))? {
        Some(Record::Outlet(outlet)) => Ok(Some(outlet)),
        _ => Ok(None),
    }
}

pub(crate) fn name(view: &View<'_>, user: UserId) -> Result<String, StoreError> {
    match view.record(RecordKey::person(user))? {
        Some(Record::Person(person)) => Ok(person.name),
        _ => Ok(String::new()),
    }
}

/// What the person of a device is called; empty for one who is not known here.
pub(crate) fn name_of(view: &View<'_>, device: DeviceId) -> Result<String, StoreError> {
    match view.record(RecordKey::device(device))? {
        Some(Record::Device(device)) => name(view, device.user),
        _ => Ok(String::new()),
    }
}

/// What could not be read, by document.
pub(crate) fn unreadable(view: &View<'_>) -> Result<Vec<Unreadable>, StoreError> {
    let mut pieces: BTreeMap<Option<DocId>, u32> = BTreeMap::new();
    for remains in view.remains()? {
        *pieces.entry(remains.document()).or_default() += 1;
    }
    let named = pieces.into_iter();
    let named =
        named.map(|(id, pieces)| Unreadable { document: id.map(|id| id.to_string()), pieces });
    Ok(named.collect())
}

/// A note's words; of one that was erased, when.
pub(crate) fn words(view: &View<'_>, digest: BlobHash) -> String {
    if let Ok(Some(Record::Erased(erased))) = view.record(RecordKey::erased(digest)) {
        return format!("(erased on {})", Day::at(erased.at_ms, "UTC"));
    }
    view.note(digest).ok().flatten().map(|note| note.text).unwrap_or_default()
}

pub(crate) fn shown_outlet(
    view: &View<'_>,
    outlet: &catalogue::Outlet,
) -> Result<Outlet, StoreError> {
    let distributor = match view.record(RecordKey::distributor(outlet.distributor))? {
        Some(Record::Distributor(distributor)) => distributor.name,
        _ => String::new(),
    };
    Ok(Outlet {
        id: outlet.id.to_string(),
        name: outlet.name.clone(),
        code: outlet.code.clone(),
        street: outlet.street.clone(),
        town: outlet.town.clone(),
        channel: outlet.channel.clone(),
        position: outlet.place.as_ref().map(Position::of),
        planograms: outlet.planograms.clone(),
        must_stock: outlet.must_stock.iter().map(Gtin::to_string).collect(),
        distributor,
    })
}

/// When a device says that something was written, in milliseconds since 1970 UTC.
pub(crate) fn claimed_ms(when: Moment) -> i64 {
    when.wall_ms.saturating_add(when.skew_ms.unwrap_or(0))
}

/// What was said in a volume, newest first.
pub(crate) fn said(view: &View<'_>, kept: &Kept) -> Result<Vec<OutletPost>, StoreError> {
    let mut changes: Vec<_> = kept.document.changes().iter().collect();
    changes.sort_unstable_by_key(|change| Reverse((change.start_op, change.hash())));
    let pending: HashSet<ChangeHash> = kept.pending.iter().copied().collect();
    let (mut posts, mut names) = (Vec::new(), HashMap::new());
    for change in changes {
        let Ok(Entry::Post(post)) = change.entry() else { continue };
        let by = match names.get(&post.by) {
            Some(by) => String::clone(by),
            None => names.entry(post.by).or_insert(name(view, post.by)?).clone(),
        };
        posts.push(OutletPost {
            id: change.hash().to_string(),
            by,
            own: post.by == view.profile.user,
            at_ms: claimed_ms(post.when),
            text: words(view, post.text),
            confirmed: !pending.contains(&change.hash()),
        });
    }
    Ok(posts)
}

pub(crate) fn product(view: &View<'_>, gtin: Gtin) -> Result<Product, StoreError> {
    Ok(match view.record(RecordKey::product(gtin))? {
        Some(Record::Product(product)) => shown_product(product),
        _ => Product {
            gtin: gtin.to_string(),
            name: gtin.to_string(),
            brand: String::new(),
            category: String::new(),
            own: false,
        },
    })
}

pub(crate) fn shown_product(product: catalogue::Product) -> Product {
    Product {
        gtin: product.gtin.to_string(),
        name: product.name,
        brand: product.brand,
        category: product.category,
        own: product.own,
    }
}

pub(crate) fn each_visit(
    view: &View<'_>,
    mut each: impl FnMut(VisitId, Visit) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    for id in view.documents()? {
        if let (Some(visit), Some(kept)) = (id.visit(), view.document(id)?) {
            each(visit, shown_visit(view, visit, &kept)?)?;
        }
    }
    Ok(())
}

pub(crate) fn shown_visit(view: &View<'_>, id: VisitId, kept: &Kept) -> Result<Visit, StoreError> {
    let me = view.profile.user;
    let read = VisitView::read(&kept.document);
    let outlet = match &read.start {
        Some(start) => outlet(view, start.outlet)?,
        None => None,
    };
    let mut recordings = Vec::with_capacity(read.recordings.len());
    for recorded in &read.recordings {
        let observed = recorded.entry.observed().map_or(0, |o| o.observations.0.len());
        recordings.push(Recording {
            id: recorded.hash.to_string(),
            by: name(view, recorded.entry.by)?,
            own: recorded.entry.by == me,
            act: match recorded.entry.act {
                Act::Start { .. } => "start",
                Act::Observe(_) => "observe",
                Act::NotPossible { .. } => "not_possible",
                Act::Withdraw { .. } => "withdraw",
                Act::Abandon {} => "abandon",
            }
            .into(),
            observations: u32::try_from(observed).unwrap_or(u32::MAX),
            photos: recorded.entry.photos().iter().map(|p| p.hash.to_string()).collect(),
            withdrawn: recorded.withdrawn,
            submitted: recorded.submitted,
            confirmed: !kept.pending.contains(&recorded.hash),
        });
    }
    let mut values = Vec::with_capacity(read.values.len());
    for ((check, subject), live) in &read.values {
        let mut said = Vec::with_capacity(live.len());
        for one in live {
            said.push(Said {
                by: name(view, one.by)?,
                own: one.by == me,
                value: Value::of(&one.value, |digest| words(view, digest)),
                recording: one.recording.to_string(),
            });
        }
        values.push(Held {
            check: *check,
            subject: Subject::of(subject, |digest| words(view, digest)),
            said,
            conflict: in_conflict(live),
        });
    }
    let mut reviews = Vec::with_capacity(read.reviews.len());
    for (hash, review) in &read.reviews {
        reviews.push(Review {
            id: hash.to_string(),
            by: name(view, review.by)?,
            approved: review.verdict == Verdict::Approved,
            comment: review.comment.map(|digest| words(view, digest)).unwrap_or_default(),
            standing: read.standing.contains(hash),
        });
    }
    let mut thread = Vec::with_capacity(read.thread.len());
    for (hash, post) in read.thread.iter().filter(|(_, post)| post.word.is_none()) {
        thread.push(Post {
            id: hash.to_string(),
            by: name(view, post.by)?,
            text: words(view, post.text),
            answers: post.answers.map(|a| a.to_string()),
        });
    }
    let mut contests = Vec::with_capacity(read.contests.len());
    for contest in &read.contests {
        contests.push(shown_contest(view, kept, &read, contest)?);
    }
    let begun = read.begun(|recorded| claimed_ms(recorded.entry.when));
    let people = read.people().into_iter().map(|p| name(view, p)).collect::<Result<_, _>>()?;
    Ok(Visit {
        id: id.to_string(),
        outlet: read.start.as_ref().map(|s| s.outlet.to_string()).unwrap_or_default(),
        outlet_name: outlet.map(|o| o.name).unwrap_or_default(),
        begun_ms: begun.map(|begun| claimed_ms(begun.entry.when)),
        status: read.status.as_str().into(),
        people,
        recordings,
        values,
        reviews,
        thread,
        contests,
        unsubmitted: read.unsubmitted_by(me),
    })
}

pub(crate) fn shown_contest(
    view: &View<'_>,
    kept: &Kept,
    read: &VisitView,
    contest: &CoreContest,
) -> Result<Contest, StoreError> {
    let (objection, me) = (&contest.objection, view.profile.user);
    let text = |digest| words(view, digest);
    let hashes = |photos: &[PhotoRef]| photos.iter().map(|photo| photo.hash.to_string()).collect();
    let mut against = Vec::new();
    for recording in objection.about.iter().flat_map(|_| &objection.seen) {
        let Some(recorded) = read.recording(*recording) else { continue };
        let facts = recorded.entry.observed().map_or(&[][..], |o| &o.observations.0);
        let about = |fact: &&core_visit::Observation| {
            objection
                .about
                .as_ref()
                .is_some_and(|about| (fact.check, &fact.subject) == (about.check, &about.subject))
        };
        for fact in facts.iter().filter(about) {
            let by = recorded.entry.by;
            against.push(Said {
                by: name(view, by)?,
                own: by == me,
                value: Value::of(&fact.value, text),
                recording: recording.to_string(),
            });
        }
    }
    let mut said = Vec::with_capacity(contest.story.len());
    for (hash, post, step) in &contest.story {
        said.push(ContestWord {
            id: hash.to_string(),
            by: name(view, post.by)?,
            at_ms: claimed_ms(post.when),
            step: ContestStep::of(*step),
            text: text(post.text),
            photos: hashes(post.word.as_ref().map_or(&[], Word::photos)),
            confirmed: !kept.pending.contains(hash),
        });
    }
    Ok(Contest {
        id: contest.hash.to_string(),
        state: contest.state(read).to_string(),
        by: name(view, contest.by)?,
        own: contest.by == me,
        at_ms: claimed_ms(contest.when),
        check: objection.about.as_ref().map(|about| about.check),
        subject: objection.about.as_ref().map(|about| Subject::of(&about.subject, text)),
        against,
        claim: objection.claim.as_ref().map(|claim| Value::of(claim, text)),
        text: text(contest.text),
        photos: hashes(&objection.photos),
        standing: contest.standing.as_str().into(),
        holds: contest.holds,
        words: said,
        confirmed: !kept.pending.contains(&contest.hash),
    })
}
