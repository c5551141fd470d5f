//! What a person may do on a device. A command is checked as the server will check it, becomes one change
//! or a few, and is done once its writes are stored.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::admit::{Author, Field, Refusal, admit, read};
use crate::client::{Clocks, Kept, Profile, Replica, Write, count, territories, volumes};
use crate::document::{Entry, Room};
use crate::id::{
    Actor, BlobHash, CallId, ChangeHash, DistributorId, DocId, OutletId, TerritoryId, VisitId,
};
use crate::model::catalogue::{Call, Outlet, Record, RecordKey, RecordKind};
use crate::model::contest::{About, Objection, Step, Word};
use crate::model::people::{Audience, Territories};
use crate::model::visit::{
    Act, CheckId, NotPossible, Note, Observation, Observations, Observed, OutletReport, PhotoRef,
    Post, Recording, Subject, Submission, VOLUMES_MAX, Value, Versioned, Volume,
};
use crate::model::{Geo, Invalid};
use crate::visit::{Start, Status, Visit};

/// What a person does.
#[derive(Debug, Clone)]
pub enum Command {
    /// Begins a planned call.
    StartCall(CallId),
    /// Begins a visit that nobody planned.
    StartUnplanned {
        /// The visit's fresh id.
        visit: VisitId,
        /// Where.
        outlet: OutletId,
        /// With which template.
        template: u32,
    },
    /// Says why a planned call could not be made.
    NotPossible {
        /// Which call.
        call: CallId,
        /// Why.
        reason: NotPossible,
        /// Why, in words.
        note: Option<Note>,
        /// What it looked like.
        photos: Vec<PhotoRef>,
    },
    /// Writes down one screen.
    Record {
        /// In which visit.
        visit: VisitId,
        /// What was seen.
        observations: Vec<Observation>,
        /// The evidence.
        photos: Vec<PhotoRef>,
        /// The notes that the observations name.
        notes: Vec<Note>,
    },
    /// Settles what people disagree on: the value replaces every value that this device knows of.
    Resolve {
        /// In which visit.
        visit: VisitId,
        /// Of which check.
        check: CheckId,
        /// For which subject.
        subject: Subject,
        /// What holds.
        value: Value,
    },
    /// Takes back a recording that is not submitted.
    Undo {
        /// In which visit.
        visit: VisitId,
        /// Which.
        recording: ChangeHash,
    },
    /// Takes back everything of a visit that is not submitted: it was the wrong outlet.
    Abandon(VisitId),
    /// "My part is done."
    Submit(VisitId),
    /// Says something in a visit's thread.
    Comment {
        /// In which visit.
        visit: VisitId,
        /// What.
        text: Note,
        /// To which entry.
        answers: Option<ChangeHash>,
    },
    /// Contests a value of a visit, or the whole of it.
    Contest {
        /// Which visit.
        visit: VisitId,
        /// Which value; `None` for the whole visit.
        about: Option<About>,
        /// Why.
        text: Note,
        /// What was there instead.
        claim: Option<Value>,
        /// What shows that.
        photos: Vec<PhotoRef>,
    },
    /// Goes on with a contest.
    Answer {
        /// In which visit.
        visit: VisitId,
        /// The contest's first post.
        contest: ChangeHash,
        /// The state of it that its author has seen ([`Contest::state`](crate::contest::Contest::state)).
        seen: BlobHash,
        /// How.
        step: Step,
        /// In words.
        text: Note,
        /// What shows it.
        photos: Vec<PhotoRef>,
    },
    /// Says something in an outlet's thread.
    CommentOutlet {
        /// At which outlet.
        outlet: OutletId,
        /// What.
        text: Note,
    },
    /// Proposes again what the server has refused, as far as it may be written now: as new changes on top of what
    /// the server has confirmed, by a new actor whose second half is `instance`.
    ProposeAgain {
        /// In which document.
        document: DocId,
        /// Drawn by chance.
        instance: [u8; 8],
    },
    /// Drops what the server has refused. The device writes as a new actor from then on, for what it drops has
    /// numbers of the old one.
    GiveUp {
        /// In which document.
        document: DocId,
        /// The new actor's second half, drawn by chance.
        instance: [u8; 8],
    },
    /// Reports an outlet that the catalogue lacks, or better knowledge of one that it has.
    Report {
        /// The outlet's id, fresh for a new one.
        outlet: OutletId,
        /// The name over the door.
        name: String,
        /// Street and town.
        address: String,
        /// In which territory; the person's own where that is a territory.
        territory: TerritoryId,
        /// Which distributor would serve it.
        distributor: DistributorId,
        /// Anything else.
        note: Option<Note>,
        /// What it looks like.
        photos: Vec<PhotoRef>,
    },
}

/// A command's effect, to be stored.
#[derive(Debug)]
pub struct Done {
    /// In which document.
    pub document: DocId,
    /// The newest change that was made; `None` where nothing was left to do.
    pub change: Option<ChangeHash>,
    /// What to store.
    pub writes: Vec<Write>,
    /// Of refused work that was to be proposed again, what cannot be, and why.
    pub left_out: Vec<Refusal>,
}

/// Why a command was not done. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<E> {
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What it is about is not on this device.
    #[error("this device has no such {0}; sync first if it is new")]
    NotHere(&'static str),
    /// The document holds work that the server has refused.
    #[error("the server has refused this document's work ({code}): {detail}")]
    Stuck {
        /// The refusal's stable name.
        code: String,
        /// In words.
        detail: String,
    },
    /// There is nothing of this person to submit.
    #[error("there is nothing to submit")]
    Nothing,
    /// What is contested or what was said of it has changed since its author saw it.
    #[error("something was said or recorded meanwhile: look again")]
    Answered,
    /// The store failed.
    #[error("the store failed")]
    Store(E),
}

impl<E> From<Invalid> for CommandError<E> {
    fn from(invalid: Invalid) -> Self {
        Self::Refused(invalid.into())
    }
}

/// Does a command against what the device has, at a time and place.
pub fn execute<R: Replica>(
    replica: &R,
    clocks: &Clocks,
    place: Option<Geo>,
    command: Command,
) -> Result<Done, CommandError<R::Error>> {
    let profile = replica.profile();
    let rights = match replica.record(RecordKey::person(profile.user)).map_err(store)? {
        Some(Record::Person(person)) => {
            person.rights().ok_or(Refusal::NoRight("you are no longer active here"))?
        }
        _ => return Err(CommandError::NotHere("person: this device has not synced yet")),
    };
    let author = Author { rights, key: profile.key };
    let (by, when) = (profile.user, profile.moment(clocks));
    let desk = Desk { replica, author };
    let recording = |act| Entry::Recording(Recording { by, when, place, act });
    match command {
        Command::StartCall(id) => {
            let (call, outlet) = desk.call(id)?;
            let visit = VisitId::of_call(profile.org, id);
            let mut page = desk.open(visit.into(), &[&outlet], &[&call])?;
            page.start(recording, &outlet, Some(call.id), desk.template(call.template)?)?;
            Ok(page.done(Vec::new()))
        }
        Command::StartUnplanned { visit, outlet, template } => {
            let outlet = desk.outlet(outlet)?;
            let mut page = desk.open(visit.into(), &[&outlet], &[])?;
            page.start(recording, &outlet, None, desk.template(template)?)?;
            Ok(page.done(Vec::new()))
        }
        Command::NotPossible { call, reason, note, photos } => {
            let (call, outlet) = desk.call(call)?;
            let visit = VisitId::of_call(profile.org, call.id);
            let mut page = desk.open(visit.into(), &[&outlet], &[&call])?;
            page.start(recording, &outlet, Some(call.id), desk.template(call.template)?)?;
            let digest = note.as_ref().map(Note::digest);
            page.write(recording(Act::NotPossible { reason, note: digest, photos }))?;
            Ok(page.done(note.into_iter().collect()))
        }
        Command::Record { visit, observations, photos, notes } => {
            let mut page = desk.begun(visit)?;
            let read = Visit::read(&page.kept.document);
            desk.asks(&read, &observations)?;
            let supersedes = superseded(&read, &observations, |live| live.by == by);
            let act = desk.observe(&read, observations, photos, supersedes)?;
            page.write(recording(act))?;
            Ok(page.done(notes))
        }
        Command::Resolve { visit, check, subject, value } => {
            let mut page = desk.begun(visit)?;
            let read = Visit::read(&page.kept.document);
            let fact = vec![Observation { check, subject, value }];
            let supersedes = superseded(&read, &fact, |_| true);
            if supersedes.is_empty() {
                return Err(CommandError::NotHere("value to settle"));
            }
            let act = desk.observe(&read, fact, Vec::new(), supersedes)?;
            page.write(recording(act))?;
            Ok(page.done(Vec::new()))
        }
        Command::Undo { visit, recording: undone } => {
            let mut page = desk.begun(visit)?;
            if page.kept.document.change(undone).is_none() {
                return Err(CommandError::NotHere("recording"));
            }
            page.write(recording(Act::Withdraw { recordings: vec![undone] }))?;
            Ok(page.done(Vec::new()))
        }
        Command::Abandon(visit) => {
            let mut page = desk.begun(visit)?;
            page.write(recording(Act::Abandon {}))?;
            Ok(page.done(Vec::new()))
        }
        Command::Submit(visit) => {
            let mut page = desk.begun(visit)?;
            let read = Visit::read(&page.kept.document);
            // Corrections of submitted work count at once, and it may be right as it is: still somebody
            // must say that what was sent back is done.
            let sent_back = read.status == Status::SentBack && read.people().contains(&by);
            if !read.unsubmitted_by(by) && !sent_back {
                return Err(CommandError::Nothing);
            }
            page.write(Entry::Submission(Submission { by, when, place }))?;
            Ok(page.done(Vec::new()))
        }
        Command::Comment { visit, text, answers } => {
            let mut page = desk.begun(visit)?;
            page.write(Entry::Post(Post { answers, ..Post::new(by, when, text.digest()) }))?;
            Ok(page.done(vec![text]))
        }
        Command::Contest { visit, about, text, claim, photos } => {
            let mut page = desk.begun(visit)?;
            let objection = objection(&page.kept, about, claim, photos)?;
            page.write(Entry::Post(Post {
                word: Some(Word::Contest(objection)),
                ..Post::new(by, when, text.digest())
            }))?;
            Ok(page.done(vec![text]))
        }
        Command::Answer { visit, contest, seen, step, text, photos } => {
            let mut page = desk.begun(visit)?;
            let read = Visit::read(&page.kept.document);
            let found = read.contests.iter().find(|found| found.hash == contest);
            let found = found.ok_or(CommandError::NotHere("contest"))?;
            if found.state(&read) != seen {
                return Err(CommandError::Answered);
            }
            found.takes(step)?;
            if step == Step::Accept
                && let Some(observed) = found.put_right(&read)
            {
                page.write(recording(Act::Observe(observed)))?;
            }
            page.write(Entry::Post(Post {
                answers: Some(contest),
                word: Some(Word::Step(step, photos)),
                ..Post::new(by, when, text.digest())
            }))?;
            Ok(page.done(vec![text]))
        }
        Command::CommentOutlet { outlet, text } => {
            let mut page = desk.history(outlet)?;
            page.write(Entry::Post(Post::new(by, when, text.digest())))?;
            Ok(page.done(vec![text]))
        }
        Command::ProposeAgain { document, instance } => {
            let kept = desk.refused(document)?;
            desk.propose_again(&kept, instance)
        }
        Command::GiveUp { document, instance } => {
            let kept = desk.refused(document)?;
            let profile = desk.profile_after(&kept, instance);
            let mut left = kept.confirmed();
            left.forget_passed();
            left.keep_theirs(kept.theirs(&profile));
            let mut writes = desk.photos_gone(&kept, &left)?;
            if left.document.changes().is_empty() {
                writes.extend(kept.notes().into_iter().map(Write::ForgetNote));
                writes.push(Write::Purge(Box::new(kept)));
            } else {
                writes.push(Write::Document(Box::new(left)));
            }
            let writes = desk.written(writes, profile)?;
            Ok(Done { document, change: None, writes, left_out: Vec::new() })
        }
        Command::Report { outlet, name, address, territory, distributor, note, photos } => {
            let mut page = desk.history(outlet)?;
            let note_digest = note.as_ref().map(Note::digest);
            page.write(Entry::Report(OutletReport {
                by,
                when,
                place,
                name,
                address,
                territory,
                distributor,
                note: note_digest,
                photos,
                volume: None,
            }))?;
            Ok(page.done(note.into_iter().collect()))
        }
    }
}

/// An objection to what is here: to the recordings that say the value, or to the heads.
fn objection<E>(
    kept: &Kept,
    about: Option<About>,
    claim: Option<Value>,
    photos: Vec<PhotoRef>,
) -> Result<Objection, CommandError<E>> {
    let Some(about) = about else {
        let seen = kept.document.heads().to_vec();
        return Ok(Objection { about: None, seen, claim, photos });
    };
    let visit = Visit::read(&kept.document);
    let seen: Vec<ChangeHash> = visit.live(&about).iter().map(|live| live.recording).collect();
    if seen.is_empty() {
        return Err(CommandError::NotHere("value to contest"));
    }
    if claim.as_ref().is_some_and(|claim| visit.says(&about, claim)) {
        let rule = "is what was recorded; say what was there instead, or nothing";
        return Err(Invalid::new("claim", rule).into());
    }
    Ok(Objection { about: Some(about), seen, claim, photos })
}

/// What is here, if it is.
fn here<T, E>(found: Result<T, CommandError<E>>) -> Result<Option<T>, CommandError<E>> {
    match found {
        Err(CommandError::NotHere(_)) => Ok(None),
        found => found.map(Some),
    }
}

fn store<E>(error: E) -> CommandError<E> {
    CommandError::Store(error)
}

/// The recordings whose live values for the same checks and subjects `which` picks.
fn superseded(
    visit: &Visit,
    facts: &[Observation],
    which: impl Fn(&crate::visit::Live) -> bool,
) -> Vec<ChangeHash> {
    let pairs = facts.iter().filter_map(|f| visit.values.get(&(f.check, f.subject.clone())));
    let mut older: Vec<ChangeHash> =
        pairs.flatten().filter(|live| which(live)).map(|live| live.recording).collect();
    older.sort_unstable();
    older.dedup();
    older
}

/// Whom and what a command works with.
struct Desk<'a, R> {
    replica: &'a R,
    author: Author,
}

impl<R: Replica> Desk<'_, R> {
    fn outlet(&self, id: OutletId) -> Result<Outlet, CommandError<R::Error>> {
        match self.replica.record(RecordKey::outlet(id)).map_err(store)? {
            Some(Record::Outlet(outlet)) => Ok(outlet),
            _ => Err(CommandError::NotHere("outlet")),
        }
    }

    fn call(&self, id: CallId) -> Result<(Call, Outlet), CommandError<R::Error>> {
        match self.replica.record(RecordKey::call(id)).map_err(store)? {
            Some(Record::Call(call)) => {
                let outlet = self.outlet(call.outlet)?;
                Ok((call, outlet))
            }
            _ => Err(CommandError::NotHere("planned call")),
        }
    }

    fn template(&self, number: u32) -> Result<Versioned, CommandError<R::Error>> {
        match self.replica.record(RecordKey::template(number)).map_err(store)? {
            Some(Record::Template(t)) => Ok(Versioned { number, version: t.version }),
            _ => Err(CommandError::NotHere("visit template")),
        }
    }

    /// Opens a document together with what admission must know of these outlets and calls.
    fn open(
        &self,
        id: DocId,
        outlets: &[&Outlet],
        calls: &[&Call],
    ) -> Result<Page, CommandError<R::Error>> {
        let kept = self.replica.document(id).map_err(store)?;
        let kept = kept.unwrap_or_else(|| Kept::new(self.replica.profile().org, id));
        self.open_kept(kept, outlets, calls)
    }

    fn open_kept(
        &self,
        kept: Kept,
        outlets: &[&Outlet],
        calls: &[&Call],
    ) -> Result<Page, CommandError<R::Error>> {
        if let Some(refused) = kept.refused {
            return Err(CommandError::Stuck { code: refused.code, detail: refused.detail });
        }
        let mut page = self.page(kept)?;
        let active = outlets.iter().filter(|o| o.active);
        page.known.outlets.extend(active.map(|o| (o.id, o.audience())));
        let wanted = calls.iter().filter(|c| !c.cancelled);
        page.known.calls.extend(wanted.map(|c| (c.id, c.outlet)));
        Ok(page)
    }

    fn page(&self, kept: Kept) -> Result<Page, CommandError<R::Error>> {
        let mut known =
            Known { territories: territories(self.replica).map_err(store)?, ..Known::default() };
        for record in self.replica.records(RecordKind::Distributor).map_err(store)? {
            if let Record::Distributor(distributor) = record {
                known.distributors.insert(distributor.id);
            }
        }
        let actor = self.replica.profile().actor;
        let (author, standing, volume) = (self.author, None, None);
        Ok(Page { author, actor, known, standing, volume, kept, newest: None })
    }

    /// Opens the newest volume of an outlet's history, or the next one once enough of the newest is confirmed: so the
    /// link between them rests on nothing that may be refused.
    fn history(&self, id: OutletId) -> Result<Page, CommandError<R::Error>> {
        let known = here(self.outlet(id))?;
        let here = volumes(self.replica, id).map_err(store)?;
        let mut number = u32::try_from(here.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let mut newest = match here.last() {
            Some(newest) => self.replica.document(*newest).map_err(store)?,
            None => None,
        };
        let ends = |kept: &Kept| kept.refused.is_none() && kept.confirmed_size().fills_a_volume();
        if number < VOLUMES_MAX && newest.as_ref().is_some_and(ends) {
            (number, newest) = (number + 1, None);
        }
        // What was written before the outlet went out of sight waits to be sent, and nothing follows it.
        if known.is_none() && newest.as_ref().is_some_and(|newest| newest.aside) {
            return Err(CommandError::NotHere("outlet"));
        }
        let fresh = || Kept::new(self.replica.profile().org, DocId::volume(id, number));
        let known: Vec<&Outlet> = known.iter().collect();
        let mut page = self.open_kept(newest.unwrap_or_else(fresh), &known, &[])?;
        self.link(&mut page, id, number)?;
        Ok(page)
    }

    /// Takes what a later volume needs from those before it: what the actor's first entry says of the one before,
    /// and, where nobody's list has the outlet, by whom the first is seen. A closed outlet is seen by whom it was.
    fn link(
        &self,
        page: &mut Page,
        outlet: OutletId,
        number: u32,
    ) -> Result<(), CommandError<R::Error>> {
        if page.known.outlet(outlet).is_none() {
            page.standing = here(self.outlet(outlet))?.map(|outlet| outlet.audience());
        }
        if number > 0 && page.known.outlet(outlet).or(page.standing).is_none() {
            let first = self.replica.document(outlet.into()).map_err(store)?;
            page.standing = first.and_then(|first| first.audiences().first().copied());
        }
        if number == 0 || page.kept.document.newest_of(page.actor).is_some() {
            return Ok(());
        }
        let before = self.replica.document(DocId::volume(outlet, number - 1)).map_err(store)?;
        let before = before.ok_or(CommandError::NotHere("earlier volume of this outlet"))?;
        let confirmed = before.confirmed().document;
        // After a rewind nothing is confirmed yet; what is here then is pushed before this.
        let seen = match confirmed.size().fills_a_volume() {
            true => confirmed,
            false => before.document,
        };
        let volume = Volume { outlet, number, before: seen.heads().to_vec() };
        // A disk has lost part of it: what counts anew once a day finds that.
        volume
            .follows(&seen)
            .map_err(|_| CommandError::NotHere("earlier volume of this outlet"))?;
        page.volume = Some(volume);
        Ok(())
    }

    fn refused(&self, document: DocId) -> Result<Kept, CommandError<R::Error>> {
        let kept = self.replica.document(document).map_err(store)?;
        let kept = kept.filter(|kept| kept.refused.is_some() && !kept.pending.is_empty());
        kept.ok_or(CommandError::NotHere("refused work"))
    }

    /// Who the device is once it has dropped what is pending here: a new actor, and from the beginning of the log if
    /// the server has something of this document that had no place here.
    fn profile_after(&self, kept: &Kept, instance: [u8; 8]) -> Profile {
        let mut profile = self.replica.profile().clone();
        profile.actor = Actor::new(&profile.key, instance);
        if kept.behind {
            (profile.cursor, profile.filled, profile.held) = (None, None, None);
        }
        if kept.aside {
            profile.narrowed = Some(true); // what stayed for its refused work may go now
        }
        profile
    }

    /// Each entry keeps the moment at which it was captured. A start says where the outlet is now.
    fn propose_again(
        &self,
        kept: &Kept,
        instance: [u8; 8],
    ) -> Result<Done, CommandError<R::Error>> {
        let profile = self.profile_after(kept, instance);
        let mut page = self.page(kept.confirmed())?;
        page.kept.forget_passed();
        page.actor = profile.actor;
        let mut outlets: Vec<OutletId> =
            Start::all(&kept.document).map(|start| start.outlet).collect();
        outlets.extend(kept.volume().map(|(outlet, _)| outlet));
        for outlet in outlets {
            if let Some(outlet) = here(self.outlet(outlet))?.filter(|outlet| outlet.active) {
                page.known.outlets.insert(outlet.id, outlet.audience());
            }
        }
        for call in Start::all(&kept.document).filter_map(|start| start.call) {
            if let Some((call, _)) = here(self.call(call))?.filter(|(call, _)| !call.cancelled) {
                page.known.calls.insert(call.id, call.outlet);
            }
        }
        if let Some((outlet, number)) = kept.volume() {
            self.link(&mut page, outlet, number)?;
        }
        let own = kept.document.changes().iter();
        let own = own.filter(|c| profile.owns(c.actor));
        let mut names: HashMap<ChangeHash, ChangeHash> = HashMap::new();
        let mut left_out = Vec::new();
        for change in own.filter(|c| kept.pending.contains(&c.hash())) {
            if let Some(same) = kept.said_before(change) {
                names.insert(change.hash(), same); // approved as it was proposed first
                continue;
            }
            let Ok(mut entry) = change.entry() else { continue };
            if let Entry::Recording(Recording {
                act: Act::Start { outlet, territory, distributor, .. },
                ..
            }) = &mut entry
                && let Some(Audience::Outlet { territory: at, distributor: by }) =
                    page.known.outlet(*outlet)
                && page.kept.document.changes().is_empty()
            {
                (*territory, *distributor) = (at, by);
            }
            let lost = self.lost_words(&entry)?;
            if !lost.is_empty() {
                left_out.push(Refusal::WordsLost);
            }
            let Some(entry) = entry.without_words(|digest| lost.contains(digest)) else { continue };
            let confirmed = |name| page.kept.document.contains(name).then_some(name);
            let entry = entry.renamed(|name| names.get(&name).copied().or_else(|| confirmed(name)));
            let written = match entry {
                Some(entry) => page.write(entry),
                None => Err(Refusal::NotInPast(change.hash())),
            };
            match (written, page.newest) {
                (Ok(()), Some(new)) => drop(names.insert(change.hash(), new)),
                (Err(refusal), _) => left_out.push(refusal),
                _ => {}
            }
        }
        if names.is_empty() {
            return Err(left_out
                .into_iter()
                .next()
                .map_or(CommandError::Nothing, CommandError::from));
        }
        let (document, change) = (page.kept.document.id(), page.newest);
        page.kept.keep_theirs(kept.theirs(&profile)); // after what is proposed, which must not build on it
        let mut writes = self.photos_gone(kept, &page.kept)?;
        writes.push(Write::Document(Box::new(page.kept)));
        let writes = self.written(writes, profile)?;
        Ok(Done { document, change, writes, left_out })
    }

    /// The words that an entry names and nobody has for it: they are not here, and were not erased.
    fn lost_words(&self, entry: &Entry) -> Result<Vec<BlobHash>, CommandError<R::Error>> {
        let mut lost = Vec::new();
        for digest in entry.notes() {
            let here = self.replica.note(digest).map_err(store)?.is_some();
            if !here && self.replica.record(RecordKey::erased(digest)).map_err(store)?.is_none() {
                lost.push(digest);
            }
        }
        Ok(lost)
    }

    /// Forgets the photos that a document has named, and that neither what is left of it names nor another one here.
    fn photos_gone(
        &self,
        before: &Kept,
        left: &Kept,
    ) -> Result<Vec<Write>, CommandError<R::Error>> {
        let mut gone: BTreeSet<BlobHash> = before.photos().into_iter().collect();
        let mut stay = |kept: &Kept| {
            let named = kept.photos();
            gone.retain(|hash| !named.contains(hash));
            gone.is_empty()
        };
        let mut none = stay(left);
        for id in self.replica.documents().map_err(store)? {
            if none {
                break;
            }
            if id != before.document.id()
                && let Some(other) = self.replica.document(id).map_err(store)?
            {
                none = stay(&other);
            }
        }
        Ok(gone.into_iter().map(Write::ForgetPhoto).collect())
    }

    fn written(
        &self,
        mut writes: Vec<Write>,
        mut profile: Profile,
    ) -> Result<Vec<Write>, CommandError<R::Error>> {
        count(self.replica, &mut profile, &writes).map_err(store)?;
        writes.push(Write::Profile(Box::new(profile)));
        Ok(writes)
    }

    fn begun(&self, visit: VisitId) -> Result<Page, CommandError<R::Error>> {
        let page = self.open(visit.into(), &[], &[])?;
        if page.kept.document.changes().is_empty() {
            return Err(CommandError::NotHere("visit"));
        }
        Ok(page)
    }

    /// Whether each of these answers a check that the template here has, or corrects what an older one asked for. That is
    /// for the app's author to hear: admission does not ask, for it may not know the template that a device had.
    fn asks(&self, visit: &Visit, facts: &[Observation]) -> Result<(), CommandError<R::Error>> {
        let number = visit.start.as_ref().map_or(0, |start| start.template.number);
        let found = self.replica.record(RecordKey::template(number)).map_err(store)?;
        let Some(Record::Template(template)) = found else { return Ok(()) };
        let known = |fact: &Observation| {
            template.check(fact.check).is_some()
                || visit.values.contains_key(&(fact.check, fact.subject.clone()))
        };
        let all = facts.iter().all(known);
        Ok(Invalid::unless(all, "check", "is none of the visit's template on this device")?)
    }

    /// An observation against the versions of the catalogue that are on this device now.
    fn observe(
        &self,
        visit: &Visit,
        observations: Vec<Observation>,
        photos: Vec<PhotoRef>,
        supersedes: Vec<ChangeHash>,
    ) -> Result<Act, CommandError<R::Error>> {
        let start = visit.start.as_ref().ok_or(CommandError::NotHere("visit"))?;
        let newest = self.template(start.template.number).unwrap_or(start.template);
        let outlet = self.outlet(start.outlet).ok();
        let mut planograms = Vec::new();
        for number in outlet.iter().flat_map(|o| &o.planograms) {
            let record = self.replica.record(RecordKey::planogram(*number)).map_err(store)?;
            if let Some(Record::Planogram(p)) = record {
                planograms.push(Versioned { number: p.number, version: p.version });
            }
        }
        let mut price_list = None;
        for record in self.replica.records(RecordKind::PriceList).map_err(store)? {
            if let (Record::PriceList(list), Some(outlet)) = (record, &outlet)
                && list.channels.contains(&outlet.channel)
            {
                price_list = Some(Versioned { number: list.number, version: list.version });
            }
        }
        Ok(Act::Observe(Observed {
            template: newest,
            planograms,
            price_list,
            observations: Observations(observations),
            photos,
            supersedes,
        }))
    }
}

/// What a command knows of the world, for admission.
#[derive(Default)]
struct Known {
    territories: Territories,
    outlets: HashMap<OutletId, Audience>,
    calls: HashMap<CallId, OutletId>,
    distributors: HashSet<DistributorId>,
}

impl Field for Known {
    fn territories(&self) -> &Territories {
        &self.territories
    }
    fn outlet(&self, id: OutletId) -> Option<Audience> {
        self.outlets.get(&id).copied()
    }
    fn call(&self, id: CallId) -> Option<OutletId> {
        self.calls.get(&id).copied()
    }
    fn has_distributor(&self, id: DistributorId) -> bool {
        self.distributors.contains(&id)
    }
}

/// A document that a command writes to.
struct Page {
    author: Author,
    actor: Actor,
    known: Known,
    /// Who sees the document, where neither it nor the catalogue says so.
    standing: Option<Audience>,
    /// What the actor's first entry in it says.
    volume: Option<Volume>,
    kept: Kept,
    newest: Option<ChangeHash>,
}

impl Page {
    fn write(&mut self, entry: Entry) -> Result<(), Refusal> {
        let ends = matches!(entry, Entry::Submission(_));
        let room = if ends { Room::Device } else { Room::Work };
        let begins = self.kept.document.newest_of(self.actor).is_none();
        let entry = entry.in_volume(self.volume.clone().filter(|_| begins));
        let change = self.kept.document.next(self.actor, &entry)?;
        let entry = read(&self.kept.document, &change, room)?;
        let Self { author, known, standing, .. } = &self;
        admit(author, known, &self.kept.document, *standing, &change, &entry)?;
        let hash = change.hash();
        self.kept.document.insert(change)?;
        self.kept.pending.push(hash);
        self.newest = Some(hash);
        Ok(())
    }

    /// Begins the visit for this person, unless that is done. A visit that somebody else has begun keeps
    /// the audience that it has.
    fn start(
        &mut self,
        recording: impl Fn(Act) -> Entry,
        outlet: &Outlet,
        call: Option<CallId>,
        template: Versioned,
    ) -> Result<(), Refusal> {
        let by = self.author.rights.user;
        let visit = Visit::read(&self.kept.document);
        let working = visit
            .recordings
            .iter()
            .any(|r| r.entry.by == by && !r.withdrawn && matches!(r.entry.act, Act::Start { .. }));
        if working && visit.status != Status::Abandoned {
            return Ok(());
        }
        let (territory, distributor) = match Start::of(&self.kept.document) {
            Some(begun) => (begun.territory, begun.distributor),
            None => (outlet.territory, outlet.distributor),
        };
        let outlet = outlet.id;
        self.write(recording(Act::Start { outlet, call, territory, distributor, template }))
    }

    fn done(self, notes: Vec<Note>) -> Done {
        let mut writes: Vec<Write> = notes.into_iter().map(Write::Note).collect();
        let document = self.kept.document.id();
        if self.newest.is_some() {
            writes.push(Write::Document(Box::new(self.kept)));
        }
        Done { document, change: self.newest, writes, left_out: Vec::new() }
    }
}
