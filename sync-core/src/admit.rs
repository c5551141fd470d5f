//! May this author make this change? One function, for the device (early, with what it knows) and for the
//! server (the authority).

use std::collections::BTreeSet;

use crate::document::{Change, Document, Entry, Misfit, Past, Room, Section};
use crate::id::{CallId, ChangeHash, DistributorId, DocId, DocKind, OutletId, UserId};
use crate::model::Invalid;
use crate::model::contest::{About, Word};
use crate::model::people::{Audience, Rights, Territories};
use crate::model::visit::{Act, Observed, Post, Recording, Volume};
use crate::visit::Start;
use crate::wire::Outcome;

/// What admission must know of the world.
pub trait Field {
    /// The territory tree.
    fn territories(&self) -> &Territories;
    /// The audience of an active outlet, as it is now.
    fn outlet(&self, id: OutletId) -> Option<Audience>;
    /// The outlet of a planned call that is not cancelled.
    fn call(&self, id: CallId) -> Option<OutletId>;
    /// Whether there is such a distributor.
    fn has_distributor(&self, id: DistributorId) -> bool;
}

/// Who asks: a person, through a device's key.
#[derive(Debug, Clone, Copy)]
pub struct Author {
    /// What the person may do.
    pub rights: Rights,
    /// The device's public key, which owns the actors it writes as.
    pub key: [u8; 32],
}

/// Why a change may not be written. [`Refusal::code`] is its name in the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not continue the document.
    #[error("{0}")]
    Misfit(#[from] Misfit),
    /// The entry cannot be read.
    #[error("the entry cannot be read: {0}")]
    Unreadable(String),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The actor is another device's.
    #[error("the actor does not belong to this device's key")]
    ForeignActor,
    /// The device's access has been withdrawn: nobody can know whether it wrote this before that.
    #[error("the device's access has been withdrawn")]
    RevokedDevice,
    /// The right to it was lost, and the device knew when it sent this: nobody can know whether it was made
    /// before that.
    #[error(
        "it claims to be from before the rights changed, and came after the device had heard of it"
    )]
    Late,
    /// The entry names somebody else as its author.
    #[error("the entry is not by the person whom this device is enrolled for")]
    ForeignPerson,
    /// The person's role does not allow this.
    #[error("{0}")]
    NoRight(&'static str),
    /// The outlet or visit is outside the person's scope.
    #[error("the outlet is outside this person's territory or distributor")]
    OutOfScope,
    /// The outlet or planned call is not in the catalogue, or no longer.
    #[error("the catalogue has no such active {0}")]
    Unknown(&'static str),
    /// The visit's start differs from what is known of its outlet or call.
    #[error("{0}")]
    WrongStart(&'static str),
    /// The entry names a recording that its author cannot have seen.
    #[error("{0} is not in this change's past")]
    NotInPast(ChangeHash),
    /// The device that proposes it again has not the words any more.
    #[error("its words are not on this phone any more")]
    WordsLost,
}

impl Refusal {
    /// See [`about_rights`].
    pub fn is_about_rights(&self) -> bool {
        about_rights(self.code())
    }

    /// A stable name, for messages and for devices to act on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Misfit(Misfit::MissingParent(_)) => Outcome::MISSING_PARENT,
            Self::Misfit(Misfit::Forked(_)) => Outcome::FORKED,
            Self::Misfit(Misfit::Full) => "full",
            Self::Misfit(Misfit::Malformed(_)) => "malformed",
            Self::Unreadable(_) => "unreadable",
            Self::Invalid(_) => "invalid",
            Self::ForeignActor => Outcome::FOREIGN_ACTOR,
            Self::RevokedDevice => "revoked_device",
            Self::Late => "late",
            Self::ForeignPerson => "foreign_person",
            Self::NoRight(_) => "no_right",
            Self::OutOfScope => "out_of_scope",
            Self::Unknown(_) => "unknown",
            Self::WrongStart(_) => "wrong_start",
            Self::NotInPast(_) => "not_in_past",
            Self::WordsLost => Outcome::MISSING_NOTE,
        }
    }
}

/// Whether a refusal of this name is about what the author may do, which changes with time and which a supervisor
/// may overrule, rather than about the change itself.
pub fn about_rights(code: &str) -> bool {
    const RIGHTS: [&str; 6] =
        ["late", "no_right", "out_of_scope", "revoked_device", "unknown", "wrong_start"];
    RIGHTS.contains(&code)
}

/// What a change says, if it continues the document, finds room in it, reads and keeps its rules. Where it begins a
/// volume, that must still be asked whether it [`Volume::follows`].
pub fn read(document: &Document, change: &Change, room: Room) -> Result<Entry, Refusal> {
    document.check(change)?;
    let entry = change.entry().map_err(|error| Refusal::Unreadable(error.to_string()))?;
    entry.validate()?;
    document.holds(change, &entry, room)?;
    begun(document.id(), change, &entry)?;
    begins_well(document, &entry)?;
    Ok(entry)
}

/// The volume that an author begins with a change, if it is one where that is said.
pub fn begun<'e>(
    document: DocId,
    change: &Change,
    entry: &'e Entry,
) -> Result<Option<&'e Volume>, Invalid> {
    let (begins, volume) = (document.is_later_volume() && change.seq == 1, entry.volume());
    let fits = match volume {
        Some(volume) => begins && volume.document() == document,
        None => !begins,
    };
    Invalid::unless(fits, "volume", "is said by an author's first entry in a later volume, alone")?;
    Ok(volume)
}

/// A visit begins with a start, and all its starts are at one outlet for one call, whoever writes them and whatever they
/// may: this nobody can overrule.
fn begins_well(document: &Document, entry: &Entry) -> Result<(), Invalid> {
    let Some(visit) = document.id().visit() else { return Ok(()) };
    let Entry::Recording(Recording { act: Act::Start { outlet, call, .. }, .. }) = entry else {
        let begun = !document.changes().is_empty();
        return Invalid::unless(begun, "visit", "begins with its start");
    };
    match (Start::of(document), call) {
        (Some(begun), _) => {
            let same = (begun.outlet, begun.call) == (*outlet, *call);
            Invalid::unless(
                same,
                "start",
                "needs the outlet and the call with which the visit began",
            )
        }
        (None, Some(call)) => {
            let own = visit == crate::id::VisitId::of_call(document.org(), *call);
            Invalid::unless(own, "start", "needs the visit of its call")
        }
        // Else anybody could take the place of a planned call's visit before it is made.
        (None, None) => Invalid::unless(
            !visit.is_derived(),
            "start",
            "of an unplanned visit needs an id of its own, of version 7",
        ),
    }
}

impl Volume {
    /// Whether there was reason to begin it: what its author has seen of `before`, its predecessor, is long enough.
    /// That does not depend on what else is there, so it stays true wherever the author's work comes to.
    pub fn follows(&self, before: &Document) -> Result<(), Refusal> {
        if let Some(missing) = self.before.iter().find(|head| before.change(**head).is_none()) {
            return Err(Misfit::MissingParent(*missing).into());
        }
        let enough = before.past(&self.before).fills_a_volume();
        let why = "follows one that has 500 changes or 2.5 MiB, or more";
        Ok(Invalid::unless(enough, "volume", why)?)
    }
}

/// The outlet whose history a change that says `entry` continues.
pub fn outlet_of(document: &Document, entry: &Entry) -> Option<OutletId> {
    let known = document.volume().map(|(outlet, _)| outlet);
    known.or_else(|| entry.volume().map(|volume| volume.outlet))
}

/// What holds of a change whatever its author may do: it is by the person whose device this is, and what it names is
/// there.
pub fn holds(
    user: UserId,
    key: &[u8; 32],
    document: &Document,
    change: &Change,
    entry: &Entry,
) -> Result<(), Refusal> {
    if !change.actor.belongs_to(key) {
        return Err(Refusal::ForeignActor);
    }
    if entry.by() != user {
        return Err(Refusal::ForeignPerson);
    }
    let past = document.past(&change.deps);
    let named = match entry {
        Entry::Recording(Recording { act: Act::Observe(observed), .. }) => &observed.supersedes,
        Entry::Recording(Recording { act: Act::Withdraw { recordings }, .. }) => recordings,
        Entry::Review(review) => &review.heads,
        Entry::Post(post) => &post.names(),
        _ => &Vec::new(),
    };
    if let Some(missing) = named.iter().find(|hash| !past.contains(**hash)) {
        return Err(Refusal::NotInPast(*missing));
    }
    if let Entry::Post(Post { word: Some(word), answers, .. }) = entry {
        contests(document, word, *answers)?;
    }
    Ok(())
}

/// Decides whether the author may make a change that says `entry`, as [`read`] found it. `standing` is who sees
/// the document so far, if that is settled. Changes nothing; returns who may see the document.
pub fn admit(
    author: &Author,
    field: &dyn Field,
    document: &Document,
    standing: Option<Audience>,
    change: &Change,
    entry: &Entry,
) -> Result<Audience, Refusal> {
    holds(author.rights.user, &author.key, document, change, entry)?;
    let past = document.past(&change.deps);
    let sees = |audience: &Audience| author.rights.sees(field.territories(), audience);
    let (audience, in_scope) = match document.id().kind {
        DocKind::Visit => {
            let (audience, own) = visit_audience(field, document, standing, entry)?;
            let begun = || {
                let own = |s: &Start| s.by == entry.by() && past.contains(s.hash);
                Start::all(document).filter(own).any(|start| sees(&start.audience()))
            };
            (audience, own.map_or_else(|| sees(&audience) || begun(), |own| sees(&own)))
        }
        DocKind::Outlet => {
            let audience = outlet_audience(field, document, standing, entry)?;
            (audience, sees(&audience))
        }
    };
    if !in_scope {
        return Err(Refusal::OutOfScope);
    }
    let role = author.rights.role;
    match entry {
        Entry::Recording(recording) => match &recording.act {
            Act::Observe(observed) => {
                require(
                    role.captures() || (role.reviews() && settles(document, observed)),
                    "only reps and distributor staff record; supervisors may settle conflicts",
                )?;
            }
            Act::Withdraw { recordings } => {
                let by = recording.by;
                let own = recordings.iter().all(|h| recording_of(document, *h, by));
                require(own, "only one's own recordings can be withdrawn")?;
                let submitted = submitted_by(document, &past, by);
                require(
                    !recordings.iter().any(|h| submitted.contains(*h)),
                    "submitted recordings can be corrected, not withdrawn",
                )?;
            }
            Act::Abandon {} => {
                let submitted = submitted_by(document, &past, recording.by);
                require(submitted.is_empty(), "a submitted visit cannot be abandoned")?;
            }
            Act::Start { .. } | Act::NotPossible { .. } => {
                require(role.captures(), "only reps and distributor staff make visits")?;
            }
        },
        Entry::Submission(_) => {
            require(role.captures(), "only reps and distributor staff submit visits")?;
        }
        Entry::Review(_) => {
            require(role.reviews(), "only supervisors review visits")?;
        }
        Entry::Post(Post { word: None, .. }) => {}
        Entry::Post(Post { word: Some(word), .. }) => {
            let (right, rule) = match word {
                Word::Contest(_) => {
                    (role.of_distributor(), "only a distributor's people contest a visit")
                }
                Word::Step(step, _) if step.finds() => {
                    (role.reviews(), "only supervisors answer what is contested")
                }
                Word::Step(..) => (
                    role.reviews() || role.of_distributor(),
                    "only the distributor's people and supervisors go on with a contest",
                ),
            };
            require(right, rule)?;
        }
        Entry::Report(_) => {
            let may = role.captures() || role.reviews();
            require(may, "only people of the field report outlets")?;
        }
    }
    Ok(audience)
}

/// Whether what a word of a contest names is there.
fn contests(document: &Document, word: &Word, answers: Option<ChangeHash>) -> Result<(), Invalid> {
    let is_visit = document.id().kind == DocKind::Visit;
    Invalid::unless(is_visit, "word", "contests visits and nothing else")?;
    match word {
        Word::Contest(objection) => {
            let Some(About { check, subject }) = &objection.about else { return Ok(()) };
            let says = |hash: &ChangeHash| {
                let observed = recording(document, *hash).and_then(Recording::observed);
                let facts = observed.map_or(&[][..], |observed| &observed.observations.0);
                facts.iter().any(|fact| fact.check == *check && fact.subject == *subject)
            };
            let said = objection.seen.iter().all(says);
            Invalid::unless(said, "seen", "needs recordings that say the contested value")
        }
        Word::Step(..) => {
            let opens = |hash| {
                let post = document.entry(hash);
                matches!(post, Some(Entry::Post(Post { word: Some(Word::Contest(_)), .. })))
            };
            let opened = answers.is_some_and(opens);
            Invalid::unless(opened, "answers", "needs the post that began the contest")
        }
    }
}

fn require(right: bool, rule: &'static str) -> Result<(), Refusal> {
    if right { Ok(()) } else { Err(Refusal::NoRight(rule)) }
}

/// Who sees a visit, and where a start says that it begins.
///
/// A visit keeps the audience of the start that came first. Another person's may name another one where the outlet
/// has moved and that person did not know: it must have been right then.
fn visit_audience(
    field: &dyn Field,
    document: &Document,
    standing: Option<Audience>,
    entry: &Entry,
) -> Result<(Audience, Option<Audience>), Refusal> {
    let begun = Start::of(document);
    let standing = standing.or(begun.as_ref().map(Start::audience));
    let Entry::Recording(Recording {
        act: Act::Start { outlet, call, territory, distributor, .. },
        ..
    }) = entry
    else {
        let standing = standing.ok_or(Refusal::WrongStart("a visit begins with its start"))?;
        return Ok((standing, None));
    };
    let claimed = Audience::Outlet { territory: *territory, distributor: *distributor };
    if let (None, Some(call)) = (begun, call)
        && field.call(*call).ok_or(Refusal::Unknown("planned call"))? != *outlet
    {
        return Err(Refusal::WrongStart("the planned call is for another outlet"));
    }
    let known = || Start::all(document).any(|start| start.audience() == claimed);
    if standing != Some(claimed)
        && !known()
        && field.outlet(*outlet).ok_or(Refusal::Unknown("outlet"))? != claimed
    {
        return Err(Refusal::WrongStart(
            "the outlet has moved to another territory or distributor",
        ));
    }
    Ok((standing.unwrap_or(claimed), Some(claimed)))
}

fn outlet_audience(
    field: &dyn Field,
    document: &Document,
    standing: Option<Audience>,
    entry: &Entry,
) -> Result<Audience, Refusal> {
    if let Some(audience) = outlet_of(document, entry).and_then(|outlet| field.outlet(outlet)) {
        return Ok(audience);
    }
    let reported = |entry: &Entry| match entry {
        Entry::Report(report) => Some(report.audience()),
        _ => None,
    };
    let mut reports = document.entries(Section::Reports);
    let first = || reports.find_map(|(_, entry)| reported(entry));
    if let Some(audience) = standing.or_else(first) {
        return Ok(audience);
    }
    let audience = reported(entry).ok_or(Refusal::Unknown("outlet"))?;
    match audience {
        Audience::Outlet { territory, .. } if !field.territories().contains(territory) => {
            Err(Refusal::Unknown("territory"))
        }
        Audience::Outlet { distributor, .. } if !field.has_distributor(distributor) => {
            Err(Refusal::Unknown("distributor"))
        }
        audience => Ok(audience),
    }
}

/// Every observation replaces at least one earlier value for the same check and subject.
fn settles(document: &Document, observed: &Observed) -> bool {
    let facts = &observed.observations.0;
    let mut left: BTreeSet<_> = facts.iter().map(|fact| (fact.check, &fact.subject)).collect();
    let older = observed.supersedes.iter().filter_map(|hash| recording(document, *hash));
    let older = older.filter_map(Recording::observed).flat_map(|older| &older.observations.0);
    for fact in older {
        left.remove(&(fact.check, &fact.subject));
    }
    !facts.is_empty() && observed.photos.is_empty() && left.is_empty()
}

fn recording(document: &Document, hash: ChangeHash) -> Option<&Recording> {
    match document.entry(hash)? {
        Entry::Recording(recording) => Some(recording),
        _ => None,
    }
}

fn recording_of(document: &Document, hash: ChangeHash, by: UserId) -> bool {
    recording(document, hash).is_some_and(|r| r.by == by)
}

/// All that the person's submissions within `past` cover.
fn submitted_by<'a>(document: &'a Document, past: &Past<'_>, by: UserId) -> Past<'a> {
    let mut submitted = document.past(&[]);
    for (change, entry) in document.entries(Section::Submissions) {
        if entry.by() == by && past.contains(change.hash()) {
            submitted.add(change.hash());
        }
    }
    submitted
}
