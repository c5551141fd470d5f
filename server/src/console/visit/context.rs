//! What every part of the visit's page reads from: the visit, the catalogue, names and times.

use std::collections::{HashMap, HashSet};

use sync_core::contest::Contest;
use sync_core::document::Entry;
use sync_core::id::{BlobHash, ChangeHash, UserId};
use sync_core::model::Day;
use sync_core::model::capture::CaptureTime;
use sync_core::model::catalogue::Outlet;
use sync_core::model::visit::{CheckId, PhotoRef, Subject, Value};
use sync_core::projection::{Facts, project};
use sync_core::visit::{Live, Recorded, Status, Visit};

use super::super::view::{self, Markup};
use super::super::words::{Source, Words};
use super::day_of;
use crate::app::Tenant;
use crate::store::pages::VisitRead;
use crate::world::World;

/// A visit as its page reads it.
pub(super) struct Reader<'a> {
    pub(super) read: &'a VisitRead,
    pub(super) world: &'a World,
    pub(super) outlet: Option<&'a Outlet>,
    pub(super) zone: &'a str,
    pub(super) today: Day,
    pub(super) visit: Visit,
    /// Everything that anyone says, submitted or not: what is drawn, while [`VisitRead::line`] has what counts.
    pub(super) facts: Facts,
    /// Whoever reads it may contest what it says.
    pub(super) contests: bool,
    /// Whoever reads it is shown where words and photos are erased.
    pub(super) erases: bool,
    pub(super) words: Words<'a>,
    brand: &'a str,
    /// Where a recording is among those of the visit.
    places: HashMap<ChangeHash, usize>,
    /// Who has spoken of something: which recording, and which of its facts, in the visit's order.
    said: HashMap<(CheckId, Subject), Vec<(usize, usize)>>,
    /// Where its newest contest is among those of the visit.
    contested: HashMap<(CheckId, Subject), usize>,
}

/// Whether what is said is new since the review, or not submitted.
#[derive(Clone, Default)]
pub(super) struct Marks {
    pub(super) new: bool,
    pub(super) draft: bool,
    /// That it is contested, or how it can be.
    pub(super) beside: Markup,
}

impl Marks {
    /// Of a table's row.
    pub(super) fn class(&self) -> &'static str {
        match (self.draft, self.new) {
            (true, true) => "is-draft is-unseen",
            (true, false) => "is-draft",
            (false, true) => "is-unseen",
            (false, false) => "",
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        read: &'a VisitRead,
        world: &'a World,
        tenant: &'a Tenant,
        now_ms: i64,
    ) -> Self {
        let outlet = world.outlets.get(&read.line.outlet);
        let zone = outlet.map_or("UTC", |o| o.zone.as_str());
        let visit = Visit::read(&read.held.document);
        let mut all = visit.clone();
        all.recordings.iter_mut().for_each(|recorded| recorded.submitted = true);
        all.values.values_mut().flatten().for_each(|live| live.submitted = true);
        let must_stock = outlet.map_or(&[][..], |o| &o.must_stock);
        let facts = project(&all, must_stock, read.line.day, &world.catalogue);
        let source = Source {
            photos: "/photos".to_owned(),
            no_note: view::erased(None, zone),
            no_photo: "Photo on its way",
        };
        let recordings = visit.recordings.iter().map(|recorded| &recorded.entry);
        let words = Words::new(world, zone, &read.attached, source, recordings);
        let places = visit.recordings.iter().enumerate().map(|(place, r)| (r.hash, place));
        let places = places.collect();
        let mut said: HashMap<_, Vec<_>> = HashMap::new();
        for (place, recorded) in visit.recordings.iter().enumerate() {
            let facts = recorded.entry.observed().map_or(&[][..], |o| &o.observations.0);
            for (number, fact) in facts.iter().enumerate() {
                let of = said.entry((fact.check, fact.subject.clone())).or_default();
                of.push((place, number));
            }
        }
        let contests = visit.contests.iter().enumerate();
        let contested = contests.filter_map(|(place, contest)| {
            let about = contest.objection.about.as_ref()?;
            Some(((about.check, about.subject.clone()), place))
        });
        let contested = contested.collect();
        Self {
            read,
            world,
            outlet,
            zone,
            today: day_of(now_ms, zone),
            visit,
            facts,
            contests: false,
            erases: false,
            words,
            brand: &tenant.name,
            places,
            said,
            contested,
        }
    }

    pub(super) fn outlet_name(&self) -> String {
        self.outlet.map_or_else(|| "Unknown outlet".to_owned(), |outlet| outlet.name.clone())
    }

    // ---- people ----

    pub(super) fn name(&self, user: UserId) -> String {
        self.world.name(user)
    }

    pub(super) fn first_name(&self, user: UserId) -> String {
        view::first_name(&self.name(user)).to_owned()
    }

    /// The company that a person works for.
    pub(super) fn company(&self, user: UserId) -> String {
        view::company(self.world, self.brand, user)
    }

    /// Whether a person works for the brand.
    pub(super) fn of_brand(&self, user: UserId) -> bool {
        view::of_brand(self.world, user)
    }

    /// Those who worked on the visit in the outlet, and not only here.
    pub(super) fn workers(&self) -> Vec<UserId> {
        let mut people = self.visit.people();
        people.retain(|user| {
            let mut own = self.visit.recordings.iter().filter(|r| r.entry.by == *user);
            own.any(|r| self.is_claim(r.hash))
        });
        people
    }

    /// Their first names.
    pub(super) fn first_names(&self) -> Vec<String> {
        self.workers().into_iter().map(|user| self.first_name(user)).collect()
    }

    // ---- entries ----

    pub(super) fn entry(&self, hash: ChangeHash) -> Option<Entry> {
        self.read.held.document.change(hash)?.entry().ok()
    }

    pub(super) fn recorded(&self, hash: ChangeHash) -> Option<&Recorded> {
        self.places.get(&hash).map(|place| &self.visit.recordings[*place])
    }

    /// What these recordings say of something, in the visit's order.
    pub(super) fn said_of(
        &self,
        check: CheckId,
        subject: &Subject,
        those: &HashSet<ChangeHash>,
    ) -> impl DoubleEndedIterator<Item = &Value> {
        let said = self.said.get(&(check, subject.clone())).map_or(&[][..], Vec::as_slice);
        let said = said.iter().map(|(place, number)| (&self.visit.recordings[*place], *number));
        let said = said.filter(|(recorded, _)| those.contains(&recorded.hash));
        said.filter_map(|(recorded, number)| {
            Some(&recorded.entry.observed()?.observations.0.get(number)?.value)
        })
    }

    /// The newest contest of a value.
    pub(super) fn contest_of(&self, check: CheckId, subject: &Subject) -> Option<&Contest> {
        let place = self.contested.get(&(check, subject.clone()))?;
        self.visit.contests.get(*place)
    }

    pub(super) fn live(&self, check: CheckId, subject: &Subject) -> &[Live] {
        self.visit.values.get(&(check, subject.clone())).map_or(&[], Vec::as_slice)
    }

    pub(super) fn marks(&self, check: CheckId, subject: &Subject) -> Marks {
        let live = self.live(check, subject);
        Marks {
            new: live.iter().any(|l| self.recorded(l.recording).is_some_and(|r| r.new)),
            draft: !live.is_empty() && live.iter().all(|l| !l.submitted),
            beside: self.beside(check, subject),
        }
    }

    /// There is nothing submitted to tell it from: then no part needs to say so of itself.
    pub(super) fn all_draft(&self) -> bool {
        matches!(self.read.line.status, Status::InProgress | Status::NotPossible)
    }

    /// Where an admin erases a note or photo, while there is something to erase; empty for anybody else.
    pub(super) fn erase_url(&self, what: &str, digest: BlobHash) -> String {
        match self.erases && !self.read.attached.erased.contains_key(&digest) {
            true => format!("/erase?what={what}&name={digest}"),
            false => String::new(),
        }
    }

    /// The same of a subject's name, if somebody has written that.
    pub(super) fn erase_name(&self, subject: &Subject) -> String {
        match subject {
            Subject::Unlisted(note) => self.erase_url("note", *note),
            _ => String::new(),
        }
    }

    /// The same of a value, if it is text.
    pub(super) fn erase_value(&self, value: &Value) -> String {
        match value {
            Value::Text(note) => self.erase_url("note", *note),
            _ => String::new(),
        }
    }

    // ---- times ----

    pub(super) fn times(&self, hash: ChangeHash) -> Option<&CaptureTime> {
        self.read.held.times.get(&hash)
    }

    /// Whether a device says when an entry was written; otherwise the server knows.
    pub(super) fn is_claim(&self, hash: ChangeHash) -> bool {
        self.read.held.devices.get(&hash).is_none_or(|device| !self.world.is_server(*device))
    }

    /// When an entry was written, as well as that is known.
    pub(super) fn at(&self, hash: ChangeHash) -> Markup {
        let Some(times) = self.times(hash) else { return Markup::default() };
        match self.is_claim(hash) {
            true => view::claimed(times, self.zone),
            false => view::when(times.claimed_ms, self.zone),
        }
    }

    /// The same, counted from by an open page.
    pub(super) fn ago(&self, hash: ChangeHash) -> Markup {
        let Some(times) = self.times(hash) else { return Markup::default() };
        match self.is_claim(hash) {
            true => view::claimed_ago(times, self.zone),
            false => view::ago(times.claimed_ms, self.zone),
        }
    }

    /// The same as time of day, where the day is the visit's.
    pub(super) fn at_clock(&self, hash: ChangeHash) -> Markup {
        let Some(times) = self.times(hash) else { return Markup::default() };
        match (day_of(times.claimed_ms, self.zone) == self.read.line.day, self.is_claim(hash)) {
            (true, true) => view::claimed_clock(times, self.zone),
            (true, false) => view::clock(times.claimed_ms, self.zone),
            (false, _) => self.at(hash),
        }
    }

    /// The bounds of a claimed time, and what the claim rests on.
    pub(super) fn bounds(&self, times: &CaptureTime) -> String {
        view::bounds(times, self.zone)
    }

    /// Where an entry was pushed from.
    pub(super) fn device(&self, hash: ChangeHash) -> String {
        match self.read.held.devices.get(&hash) {
            Some(device) if self.world.is_server(*device) => "console".to_owned(),
            Some(device) => self.read.devices.get(device).cloned().unwrap_or_default(),
            None => String::new(),
        }
    }

    // ---- photos ----

    /// A small picture of a photo, or that it is on its way.
    pub(super) fn thumb(&self, photo: &PhotoRef, by: UserId, recording: ChangeHash) -> Markup {
        let taken_ms = self.times(recording).map(|times| times.claimed_ms);
        self.words.thumb(photo, by, taken_ms)
    }

    /// The photo that a recording has as evidence for a check.
    pub(super) fn evidence_thumb(&self, recording: ChangeHash, check: CheckId) -> Markup {
        let Some(recorded) = self.recorded(recording) else { return Markup::default() };
        let photos = recorded.entry.photos();
        let photo = photos.iter().find(|photo| photo.check == Some(check));
        photo.map_or_else(Markup::default, |p| self.thumb(p, recorded.entry.by, recording))
    }
}
