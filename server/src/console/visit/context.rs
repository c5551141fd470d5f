//! What every part of the visit's page reads from: the visit, the catalogue, names and times.

use sync_core::document::Entry;
use sync_core::id::{BlobHash, ChangeHash, DeviceId, Gtin, UserId};
use sync_core::model::Day;
use sync_core::model::capture::CaptureTime;
use sync_core::model::catalogue::{Check, CheckKind, Outlet, Planogram};
use sync_core::model::visit::{CheckId, PhotoRef, Place, Subject, Value};
use sync_core::projection::{Facts, project};
use sync_core::visit::{Live, Recorded, Status, Visit};

use super::super::planogram::product_name;
use super::super::view::{self, Markup};
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
    server: DeviceId,
    brand: &'a str,
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
            server: tenant.console.device,
            brand: &tenant.name,
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
        self.visit.recording(hash)
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

    pub(super) fn note(&self, digest: BlobHash) -> String {
        if let Some(words) = self.read.notes.get(&digest) {
            return words.clone();
        }
        view::erased(self.read.erased.get(&digest).copied(), self.zone)
    }

    /// The day on which a note or photo was erased on request.
    pub(super) fn erased_on(&self, digest: BlobHash) -> Option<String> {
        let at_ms = self.read.erased.get(&digest)?;
        Some(view::zoned(*at_ms, self.zone).strftime("%-d %B %Y").to_string())
    }

    /// What became of a photo that was here and is not any more.
    pub(super) fn gone(&self, photo: BlobHash) -> Option<String> {
        let retired = self.read.retired.get(&photo).map(|stayed| view::retired(stayed, self.zone));
        retired.or_else(|| self.erased_on(photo).map(|day| format!("erased on {day}")))
    }

    /// Where an admin erases a note or photo, while there is something to erase; empty for anybody else.
    pub(super) fn erase_url(&self, what: &str, digest: BlobHash) -> String {
        match self.erases && !self.read.erased.contains_key(&digest) {
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
        self.read.held.devices.get(&hash).is_none_or(|device| *device != self.server)
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

    /// What is proved of a claimed time, and what the claim rests on.
    pub(super) fn bounds(&self, times: &CaptureTime) -> String {
        view::bounds(times, self.zone)
    }

    /// Where an entry was pushed from.
    pub(super) fn device(&self, hash: ChangeHash) -> String {
        match self.read.held.devices.get(&hash) {
            Some(device) if *device == self.server => "console".to_owned(),
            Some(device) => self.read.devices.get(device).cloned().unwrap_or_default(),
            None => String::new(),
        }
    }

    // ---- photos ----

    /// A small picture of a photo, or that it is on its way.
    pub(super) fn thumb(&self, photo: &PhotoRef, by: UserId, recording: ChangeHash) -> Markup {
        let about = photo.check.map_or_else(|| "The outlet".to_owned(), |id| self.check_title(id));
        let text = view::escape(&format!("{about}, by {}", self.name(by)));
        if self.read.photos.contains_key(&photo.hash) {
            return Markup(format!(
                "<a class=\"thumb\" data-photo=\"{text}\" href=\"/photos/{hash}\"><img \
                 src=\"/photos/{hash}?size=thumb\" alt=\"{text}\" width=\"40\" height=\"40\" \
                 loading=\"lazy\"></a>",
                hash = photo.hash
            ));
        }
        if let Some(gone) = self.gone(photo.hash) {
            let text = view::escape(&format!("Photo {gone}"));
            return Markup(format!(
                "<span class=\"thumb thumb-wait\" title=\"{text}\">{}<span class=\"vh\">{text}</span></span>",
                view::icon("cross")
            ));
        }
        let since = self.times(recording).map_or_else(String::new, |times| {
            view::zoned(times.claimed_ms, self.zone).strftime("%-d %b %H:%M").to_string()
        });
        let name = self.name(by);
        let text = format!("Photo on its way, taken {since} by {name}, as the device claims");
        let text = view::escape(&text);
        Markup(format!(
            "<span class=\"thumb thumb-wait\" title=\"{text}\">{}<span class=\"vh\">{text}</span></span>",
            view::icon("camera")
        ))
    }

    /// The photo that a recording has as evidence for a check.
    pub(super) fn evidence_thumb(&self, recording: ChangeHash, check: CheckId) -> Markup {
        let Some(recorded) = self.recorded(recording) else { return Markup::default() };
        let photos = recorded.entry.photos();
        let photo = photos.iter().find(|photo| photo.check == Some(check));
        photo.map_or_else(Markup::default, |p| self.thumb(p, recorded.entry.by, recording))
    }

    // ---- words ----

    pub(super) fn product(&self, gtin: Gtin) -> String {
        product_name(&self.world.catalogue, gtin)
    }

    /// A check as the template asks it that the recordings used.
    pub(super) fn check(&self, id: CheckId) -> Option<&Check> {
        let observed = self.visit.recordings.iter().rev().filter_map(|r| r.entry.observed());
        let named = observed
            .map(|o| o.template)
            .chain(self.visit.start.as_ref().map(|start| start.template));
        let catalogue = &self.world.catalogue;
        let mut templates = named.filter_map(|t| catalogue.template(t.number, t.version));
        templates
            .find_map(|template| template.check(id))
            .or_else(|| catalogue.newest_templates().find_map(|template| template.check(id)))
    }

    pub(super) fn check_title(&self, id: CheckId) -> String {
        self.check(id).map_or_else(|| format!("Check {id}"), |check| check.title.clone())
    }

    pub(super) fn display(&self, number: u32) -> String {
        let display = self.world.displays.get(&number);
        display.map_or_else(|| format!("Display {number}"), |display| display.name.clone())
    }

    /// The newest version of a planogram that the recordings used; without one the catalogue's.
    pub(super) fn planogram(&self, number: u32) -> Option<&'a Planogram> {
        let observed = self.visit.recordings.iter().filter_map(|r| r.entry.observed());
        let named = observed.flat_map(|o| &o.planograms).filter(|p| p.number == number);
        let catalogue = &self.world.catalogue;
        named
            .filter_map(|p| catalogue.planogram(number, p.version))
            .max_by_key(|planogram| planogram.version)
            .or_else(|| catalogue.newest_planogram(number))
    }

    pub(super) fn subject(&self, subject: &Subject) -> String {
        match subject {
            Subject::Position { planogram, position } => {
                let planned = self.planogram(*planogram).and_then(|p| p.position(*position));
                planned.map_or_else(
                    || format!("Planogram {planogram}, position {position}"),
                    |planned| format!("{}, shelf {}", self.product(planned.gtin), planned.shelf),
                )
            }
            Subject::Product(gtin) => self.product(*gtin),
            Subject::Unlisted(note) => self.note(*note),
            Subject::Display(number) => self.display(*number),
            Subject::Outlet => "The outlet".to_owned(),
            Subject::Unknown(_) => "Something that this version does not know".to_owned(),
        }
    }

    pub(super) fn value(&self, check: CheckId, value: &Value) -> String {
        match value {
            Value::Shelf { facings: 0, in_stock, .. } => match in_stock {
                true => "missing, but in the back room".to_owned(),
                false => "missing".to_owned(),
            },
            Value::Shelf { facings, place, .. } => {
                let facings = view::count(*facings, "facing", "facings");
                match place {
                    Place::AsPlanned => facings,
                    Place::MovedAlong => format!("{facings}, elsewhere on its shelf"),
                    Place::OtherShelf(shelf) => format!("{facings}, on shelf {shelf}"),
                }
            }
            Value::Price(money) => money.to_string(),
            Value::Stock { on_shelf: true, units } => match units {
                Some(units) => format!("on shelf, {}", view::count(*units, "unit", "units")),
                None => "on shelf".to_owned(),
            },
            Value::Stock { on_shelf: false, units } => match units {
                Some(units @ 1..) => {
                    format!(
                        "out of stock, {} in the back room",
                        view::count(*units, "unit", "units")
                    )
                }
                _ => "out of stock".to_owned(),
            },
            Value::Met(true) => "as agreed".to_owned(),
            Value::Met(false) => "not as agreed".to_owned(),
            Value::Choice(option) => {
                let options = match self.check(check).map(|check| &check.kind) {
                    Some(CheckKind::Question { options, .. }) => options.as_slice(),
                    _ => &[],
                };
                let chosen = usize::try_from(*option).ok().and_then(|option| options.get(option));
                chosen.cloned().unwrap_or_else(|| format!("option {}", u64::from(*option) + 1))
            }
            Value::YesNo(true) => "yes".to_owned(),
            Value::YesNo(false) => "no".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Text(note) => self.note(*note),
            Value::Withdrawn => "taken back".to_owned(),
            Value::Unknown(_) => "something that this version does not know".to_owned(),
        }
    }
}
