//! Erasing on legal request: a photo, a note, or a person's name and contact data.
//!
//! What goes are bytes and words; what names them stays: digests, changes, signatures, the log. A record of the log
//! says what was erased, so phones forget it too, and it is not taken again from anybody.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sync_core::id::{BlobHash, DocId, UserId};
use sync_core::model::catalogue::{Erased, ErasedKind, Person, Record};
use sync_core::model::people::{Audience, Role};

use crate::app::{App, Tenant};
use crate::error::Problem;
use crate::jobs;
use crate::now_ms;
use crate::store::erasure::{self, Erasure, kind_of, name_of, nameless};
use crate::world::World;

/// Longest reason, in characters.
pub const WHY_MAX: usize = 500;

/// What is to be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A photo.
    Photo(BlobHash),
    /// What somebody wrote: a comment, an answer, a reason, a word of a contest, a product's name, the note of a report.
    Note(BlobHash),
    /// A person's name and contact data.
    Person(UserId),
}

impl Target {
    /// From the name of its kind and its own: 64 hexadecimal digits, or the id of a person.
    pub fn read(what: &str, name: &str) -> Option<Self> {
        match kind_of(what)? {
            ErasedKind::Photo => name.parse().ok().map(Self::Photo),
            ErasedKind::Note => name.parse().ok().map(Self::Note),
            ErasedKind::Person => name.parse().ok().map(Self::Person),
        }
    }

    /// What it is.
    pub fn kind(&self) -> ErasedKind {
        match self {
            Self::Photo(_) => ErasedKind::Photo,
            Self::Note(_) => ErasedKind::Note,
            Self::Person(_) => ErasedKind::Person,
        }
    }

    /// Its digest; a person has none.
    pub fn digest(&self) -> Option<BlobHash> {
        match self {
            Self::Photo(digest) | Self::Note(digest) => Some(*digest),
            Self::Person(_) => None,
        }
    }

    /// Who it is, if it is a person.
    fn user(&self) -> Option<UserId> {
        match self {
            Self::Person(user) => Some(*user),
            Self::Photo(_) | Self::Note(_) => None,
        }
    }

    /// The id of the record that says that it was erased.
    pub fn id(&self) -> [u8; 16] {
        match self {
            Self::Photo(digest) | Self::Note(digest) => Erased::id_of(*digest),
            Self::Person(user) => *user.as_bytes(),
        }
    }
}

/// An erasure in words, to be kept by who had to have it done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of which organisation.
    pub organisation: String,
    /// `photo`, `note` or `person`.
    pub what: String,
    /// The digest in hexadecimal, or the person's id.
    pub name: String,
    /// When, RFC 3339.
    pub erased_at: String,
    /// The person who did it in the console; none: it was done on the command line.
    pub by: Option<String>,
    /// Why.
    pub why: String,
    /// The line of the log that says so.
    pub line: u64,
    /// What was removed here.
    pub removed: Vec<String>,
    /// The documents that name it, 100 at most.
    pub named_in: Vec<String>,
    /// What stays.
    pub stays: Vec<String>,
    /// What this does not reach.
    pub not_covered: Vec<String>,
}

/// Erases, and says what was erased. The same again is the same erasure. With `unknown` also what nothing here names:
/// it is not taken if it comes. Refuses with `not_found` (404), and `invalid` (422) for a person who works here or a
/// reason that is missing.
pub async fn erase(
    app: &App,
    tenant: &Arc<Tenant>,
    target: Target,
    by: Option<UserId>,
    why: &str,
    unknown: bool,
) -> Result<Erasure, Problem> {
    let (org, id, why) = (tenant.org, target.id(), why.trim().to_owned());
    if why.is_empty() || why.chars().count() > WHY_MAX || why.chars().any(char::is_control) {
        return Err(Problem::invalid("say why, in one line of 500 characters at most"));
    }
    let known = app.store.read(move |c| {
        let known = target.digest().map(|digest| erasure::is_known(c, org, target.kind(), digest));
        Ok((erasure::find(c, org, &id)?, known.transpose()?))
    });
    let (before, known) = known.await?;
    if let (Some(before), None) = (before, target.user()) {
        finish(app, tenant, target).await?;
        return Ok(before);
    }
    if known == Some(false) && !unknown {
        return Err(Problem::not_found());
    }
    // A person may come back under another name, and ask again.
    let (now, what, digest) = (now_ms(), target.kind(), target.digest());
    let records = move |world: &World| {
        // A folder from before an erasure may not know who asked for it.
        let admin = |by| world.rights(by).is_some_and(|rights| rights.role == Role::Admin);
        if !unknown && by.is_some_and(|by| !admin(by)) {
            return Err(Problem::forbidden("only admins erase"));
        }
        let left = target.user().map(|user| who_left(world, user, unknown)).transpose()?;
        let erased = Record::Erased(Erased { id, what, digest, at_ms: now });
        Ok(left.flatten().map(Record::Person).into_iter().chain([erased]).collect())
    };
    let store = app.store.clone();
    let written = app.change_records(tenant, records, move |ledger, _| -> Result<_, Problem> {
        store.erases();
        let (tx, sequence) = (ledger.tx, ledger.size().saturating_sub(1));
        let mut removed = match target {
            Target::Photo(hash) => erasure::photo(tx, org, hash, now)?,
            Target::Note(digest) => erasure::note(tx, org, digest)?,
            // The record just before this one has no name in it.
            Target::Person(user) => erasure::person(tx, org, user, sequence.saturating_sub(1))?,
        };
        if let Some(before) = erasure::find(tx, org, &id)? {
            removed.splice(0..0, before.removed);
            erasure::forget(tx, org, &id)?;
        }
        let erasure = Erasure { id, what, digest, at_ms: now, by, why, sequence, removed };
        erasure::put(tx, org, &erasure)?;
        Ok(erasure)
    });
    let erasure = written.await?;
    tracing::info!(organisation = %tenant.id, what = name_of(what), line = erasure.sequence, "erased");
    finish(app, tenant, target).await?;
    Ok(erasure)
}

/// A person who has left, without their name. In a folder from before they left (`unknown`), they leave again; there
/// nobody may know them.
fn who_left(world: &World, user: UserId, unknown: bool) -> Result<Option<Person>, Problem> {
    match world.people.get(&user) {
        Some(person) if person.active && !unknown => {
            Err(Problem::invalid("this person works here: end the access first"))
        }
        Some(person) => {
            let left = Person { active: false, ..nameless(person) };
            let is_admin = |p: &Person| p.active && p.role == Role::Admin;
            let others = world.people.values().any(|p| p.id != user && is_admin(p));
            match is_admin(person) && !others {
                true => Err(Problem::invalid(
                    "this person is the only admin here: make another one first, in the console",
                )),
                false => Ok(Some(left)),
            }
        }
        None if unknown => Ok(None),
        None => Err(Problem::not_found()),
    }
}

/// Removes files, and what the write-ahead log still has. What does not work now is tried again by each run of
/// [`jobs`], and the log is folded in by each start too.
async fn finish(app: &App, tenant: &Arc<Tenant>, target: Target) -> Result<(), Problem> {
    if let Target::Photo(hash) = target {
        for id in app.arrivals.list().await? {
            if id.org == tenant.org && id.hash == hash {
                app.arrivals.claim(id).await.remove().await?;
            }
        }
        jobs::unlink(app, tenant).await?;
    }
    jobs::fold(app).await;
    Ok(())
}

/// The documents that name what is to be erased, and whether somebody sees one.
pub async fn named_in(
    app: &App,
    tenant: &Tenant,
    target: Target,
    sees: impl Fn(&Audience) -> bool + Send + 'static,
) -> Result<(Vec<DocId>, bool), Problem> {
    let (org, kind) = (tenant.org, target.kind());
    let Some(digest) = target.digest() else { return Ok((Vec::new(), true)) };
    Ok(app.look(tenant, move |c| erasure::named_in(c, org, kind, digest, sees)).await?)
}

/// An erasure as a report.
pub async fn report(app: &App, tenant: &Tenant, erasure: &Erasure) -> Result<Report, Problem> {
    let name = match erasure.digest {
        Some(digest) => digest.to_string(),
        None => UserId::from_bytes(erasure.id).to_string(),
    };
    let target = Target::read(name_of(erasure.what), &name).ok_or_else(Problem::internal)?;
    let (documents, _) = named_in(app, tenant, target, |_| true).await?;
    let stays = match target {
        Target::Photo(_) => {
            "its digest, its length, the 64 bits of its outline, what the camera had written into it of its place \
             and its times, the program that it named and the digest of its original, in the changes that name it, \
             with their signatures and their lines of the log; the picture cannot be computed back from them"
        }
        Target::Note(_) => {
            "its digest in the changes that name it, with their signatures and their lines of the log; nothing \
             can be computed back from it"
        }
        Target::Person(_) => {
            "the person's id in changes, role and territory over time, the keys of the phones, and digests of \
             the erased versions of the record in the log"
        }
    };
    let mut not_covered = vec![
        "backups that were made before: remove them, or keep them no longer than the law allows; a backup into \
         the same folder drops erased photos, an erased text goes with the older database",
        "phones that do not sync any more, or whose library is older than this version: they keep what they have",
        "unused parts of the pages of a database of more than 256 MiB, which are overwritten as they are needed; a \
         backup that is made now, and a folder restored from it, have none",
        "what people have exported, printed, photographed or remember",
        "text in a document itself: the name and address of a reported outlet",
    ];
    if app.store.is_unfolded() {
        not_covered.push(
            "the database's log of writes (endcap.db-wal), which may still have it: something, as a backup or a \
             check, was reading the database when that log was to be cut. It is tried again every hour and at \
             every start; this report no longer says so once it has worked",
        );
    }
    Ok(Report {
        organisation: tenant.name.clone(),
        what: name_of(erasure.what).to_owned(),
        name,
        erased_at: jiff::Timestamp::from_millisecond(erasure.at_ms).unwrap_or_default().to_string(),
        by: erasure.by.map(|by| by.to_string()),
        why: erasure.why.clone(),
        line: erasure.sequence,
        removed: erasure.removed.clone(),
        named_in: documents.iter().map(ToString::to_string).collect(),
        stays: vec![stays.to_owned()],
        not_covered: not_covered.into_iter().map(str::to_owned).collect(),
    })
}

/// Does the erasures of earlier reports again, in a folder that was restored from a backup made before them: all
/// that can be, whatever becomes of the others. How many are of this organisation.
pub async fn again(app: &App, tenant: &Arc<Tenant>, reports: &[Report]) -> Result<usize, Problem> {
    let (mut done, mut failed) = (0, Vec::new());
    for report in reports.iter().filter(|report| report.organisation == tenant.name) {
        let by = report.by.as_deref().and_then(|by| by.parse().ok());
        let erased = match Target::read(&report.what, &report.name) {
            Some(target) => erase(app, tenant, target, by, &report.why, true).await,
            None => Err(Problem::malformed("this names nothing that can be erased")),
        };
        match erased {
            Ok(_) => done += 1,
            Err(problem) => {
                failed.push(format!("{} {}: {}", report.what, report.name, problem.sentence()));
            }
        }
    }
    match failed.is_empty() {
        true => Ok(done),
        false => {
            Err(Problem::invalid(format!("{done} were erased, and not: {}", failed.join("; "))))
        }
    }
}

/// A reader of reports: one, or a list of them.
pub fn read_reports(text: &str) -> Result<Vec<Report>, Problem> {
    serde_json::from_str::<Vec<Report>>(text)
        .or_else(|_| serde_json::from_str::<Report>(text).map(|report| vec![report]))
        .map_err(|error| Problem::malformed(format!("this is no report of an erasure: {error}")))
}
