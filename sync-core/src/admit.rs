//! May this author make this change? One function, for the device (early, with what it knows) and for the
//! server (the authority).

use crate::document::{Change, Document, Entry, Misfit, Past, Section, VOLUME_CHANGES};
use crate::id::{CallId, ChangeHash, DocKind, OutletId, UserId};
use crate::model::Invalid;
use crate::model::contest::{About, Word};
use crate::model::people::{Audience, Rights, Role, Territories};
use crate::model::visit::{Act, Observed, Post, Recording, Volume};
use crate::visit::Start;

/// What admission must know of the world.
pub trait Field {
    /// The territory tree.
    fn territories(&self) -> &Territories;
    /// The audience of an active outlet, as it is now.
    fn outlet(&self, id: OutletId) -> Option<Audience>;
    /// The outlet of a planned call that is not cancelled.
    fn call(&self, id: CallId) -> Option<OutletId>;
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
}

impl Refusal {
    /// See [`about_rights`].
    pub fn is_about_rights(&self) -> bool {
        about_rights(self.code())
    }

    /// A stable name, for messages and for devices to act on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Misfit(Misfit::MissingParent(_)) => "missing_parent",
            Self::Misfit(Misfit::Forked(_)) => "forked",
            Self::Misfit(Misfit::Full) => "full",
            Self::Misfit(Misfit::Malformed(_)) => "malformed",
            Self::Unreadable(_) => "unreadable",
            Self::Invalid(_) => "invalid",
            Self::ForeignActor => "foreign_actor",
            Self::RevokedDevice => "revoked_device",
            Self::Late => "late",
            Self::ForeignPerson => "foreign_person",
            Self::NoRight(_) => "no_right",
            Self::OutOfScope => "out_of_scope",
            Self::Unknown(_) => "unknown",
            Self::WrongStart(_) => "wrong_start",
            Self::NotInPast(_) => "not_in_past",
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

/// What a change says, if it continues the document, reads and keeps its rules. Where it begins a volume, that must
/// still be asked whether it [`Volume::follows`].
pub fn read(document: &Document, change: &Change) -> Result<Entry, Refusal> {
    document.check(change)?;
    let entry = change.entry().map_err(|error| Refusal::Unreadable(error.to_string()))?;
    entry.validate()?;
    let begins = document.id().is_later_volume() && change.seq == 1;
    let fits = match entry.volume() {
        Some(volume) => begins && volume.document() == document.id(),
        None => !begins,
    };
    Invalid::unless(fits, "volume", "is said by an author's first entry in a later volume, alone")?;
    Ok(entry)
}

impl Volume {
    /// Whether there was reason to begin it: what its author has seen of `before`, its predecessor, is long enough.
    /// That does not depend on what else is there, so it stays true wherever the author's work comes to.
    pub fn follows(&self, before: &Document) -> Result<(), Refusal> {
        if let Some(missing) = self.before.iter().find(|head| before.change(**head).is_none()) {
            return Err(Misfit::MissingParent(*missing).into());
        }
        let enough = before.past(&self.before).len() >= VOLUME_CHANGES;
        Ok(Invalid::unless(enough, "volume", "follows one that has 500 changes or more")?)
    }
}

/// The outlet whose history a change that says `entry` continues.
pub fn outlet_of(document: &Document, entry: &Entry) -> Option<OutletId> {
    let known = document.volume().map(|(outlet, _)| outlet);
    known.or_else(|| entry.volume().map(|volume| volume.outlet))
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
    if !change.actor.belongs_to(&author.key) {
        return Err(Refusal::ForeignActor);
    }
    if entry.by() != author.rights.user {
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
        Entry::Post(Post { word: Some(word), answers, .. }) => {
            contests(document, role, word, *answers)?;
        }
        Entry::Report(_) => {
            let may = role.captures() || role.reviews();
            require(may, "only people of the field report outlets")?;
        }
    }
    Ok(audience)
}

/// Whether somebody with this role may say a word of a contest, and what it names is there.
fn contests(
    document: &Document,
    role: Role,
    word: &Word,
    answers: Option<ChangeHash>,
) -> Result<(), Refusal> {
    let is_visit = document.id().kind == DocKind::Visit;
    Invalid::unless(is_visit, "word", "contests visits and nothing else")?;
    match word {
        Word::Contest(objection) => {
            if let Some(About { check, subject }) = &objection.about {
                let says = |hash: &ChangeHash| {
                    let recording = recording(document, *hash);
                    let observed = recording.as_ref().and_then(Recording::observed);
                    let facts = observed.map_or(&[][..], |observed| &observed.observations.0);
                    facts.iter().any(|fact| fact.check == *check && fact.subject == *subject)
                };
                let said = objection.seen.iter().all(says);
                Invalid::unless(said, "seen", "needs recordings that say the contested value")?;
            }
            require(role.of_distributor(), "only a distributor's people contest a visit")
        }
        Word::Step(step) => {
            let opens = |hash| match document.change(hash)?.entry() {
                Ok(Entry::Post(Post { word: Some(Word::Contest(_)), .. })) => Some(()),
                _ => None,
            };
            let opened = answers.and_then(opens).is_some();
            Invalid::unless(opened, "answers", "needs the post that began the contest")?;
            match step.finds() {
                true => require(role.reviews(), "only supervisors answer what is contested"),
                false => require(
                    role.reviews() || role.of_distributor(),
                    "only the distributor's people and supervisors go on with a contest",
                ),
            }
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
    if let Some(begun) = begun {
        if begun.outlet != *outlet || begun.call != *call {
            return Err(Refusal::WrongStart("the visit was begun at another outlet or call"));
        }
    } else if let Some(call) = call {
        let planned = field.call(*call).ok_or(Refusal::Unknown("planned call"))?;
        let visit = crate::id::VisitId::of_call(document.org(), *call);
        if planned != *outlet || document.id().visit() != Some(visit) {
            return Err(Refusal::WrongStart("the planned call is for another outlet or visit"));
        }
    } else if document.id().visit().is_some_and(|visit| visit.is_derived()) {
        // Else anybody could take the place of a planned call's visit before it is made.
        return Err(Refusal::WrongStart("an unplanned visit needs an id of its own, of version 7"));
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
    let first = || document.changes().iter().find_map(|change| reported(&change.entry().ok()?));
    let audience = standing.or_else(first).or_else(|| reported(entry));
    audience.ok_or(Refusal::Unknown("outlet"))
}

/// Every observation replaces at least one earlier value for the same check and subject.
fn settles(document: &Document, observed: &Observed) -> bool {
    let older: Vec<Recording> =
        observed.supersedes.iter().filter_map(|h| recording(document, *h)).collect();
    !observed.observations.0.is_empty()
        && observed.photos.is_empty()
        && observed.observations.0.iter().all(|fact| {
            older.iter().filter_map(Recording::observed).any(|o| {
                o.observations.0.iter().any(|f| f.check == fact.check && f.subject == fact.subject)
            })
        })
}

fn recording(document: &Document, hash: ChangeHash) -> Option<Recording> {
    match document.change(hash)?.entry() {
        Ok(Entry::Recording(recording)) => Some(recording),
        _ => None,
    }
}

fn recording_of(document: &Document, hash: ChangeHash, by: UserId) -> bool {
    recording(document, hash).is_some_and(|r| r.by == by)
}

/// All that the person's submissions within `past` cover.
fn submitted_by<'a>(document: &'a Document, past: &Past<'_>, by: UserId) -> Past<'a> {
    let submissions = document.changes().iter().filter(|change| {
        change.section == Section::Submissions
            && past.contains(change.hash())
            && matches!(change.entry(), Ok(Entry::Submission(s)) if s.by == by)
    });
    let heads: Vec<ChangeHash> = submissions.map(Change::hash).collect();
    document.past(&heads)
}
