//! What observations and entries are called: the field's words for them, on every page that shows some.

use std::collections::BTreeSet;

use sync_core::document::Entry;
use sync_core::id::{BlobHash, CallId, Gtin, UserId};
use sync_core::model::Day;
use sync_core::model::catalogue::{Check, CheckKind, Planogram};
use sync_core::model::contest::{About, Step, Word};
use sync_core::model::visit::{
    Act, CheckId, NotPossible, PhotoRef, Place, Recording, Subject, Value, Verdict, Versioned,
};

use super::overview::recorded;
use super::planogram::product_name;
use super::view::{self, Markup};
use crate::store::pages::Attached;
use crate::world::World;

/// Where what entries name comes from, and what stands for it while it is not here.
pub(super) struct Source {
    /// The address of photos, but for their names.
    pub(super) photos: String,
    /// Instead of a note that nobody erased.
    pub(super) no_note: String,
    /// Instead of a photo.
    pub(super) no_photo: &'static str,
}

/// What entries say, in the words of the catalogue as they used it.
pub(super) struct Words<'a> {
    world: &'a World,
    zone: &'a str,
    attached: &'a Attached,
    source: Source,
    /// Those that were used, the newest use first.
    templates: Vec<Versioned>,
    planograms: BTreeSet<Versioned>,
}

impl<'a> Words<'a> {
    /// Of entries among which these `recordings` are, oldest first.
    pub(super) fn new<'r>(
        world: &'a World,
        zone: &'a str,
        attached: &'a Attached,
        source: Source,
        recordings: impl IntoIterator<Item = &'r Recording>,
    ) -> Self {
        let (mut templates, mut planograms, mut began) = (Vec::new(), BTreeSet::new(), None);
        for recording in recordings {
            match &recording.act {
                Act::Start { template, .. } => drop(began.get_or_insert(*template)),
                Act::Observe(observed) => {
                    templates.push(observed.template);
                    planograms.extend(&observed.planograms);
                }
                _ => {}
            }
        }
        templates.reverse();
        templates.extend(began);
        let mut seen = BTreeSet::new();
        templates.retain(|template| seen.insert(*template));
        Self { world, zone, attached, source, templates, planograms }
    }

    // ---- what travels beside ----

    pub(super) fn note(&self, digest: BlobHash) -> String {
        if let Some(words) = self.attached.notes.get(&digest) {
            return words.clone();
        }
        match self.attached.erased.get(&digest) {
            Some(at_ms) => view::erased(Some(*at_ms), self.zone),
            None => self.source.no_note.clone(),
        }
    }

    /// What became of a photo that was here and is not any more.
    pub(super) fn gone(&self, photo: BlobHash) -> Option<String> {
        let retired = self.attached.retired.get(&photo);
        let retired = retired.map(|stayed| view::retired(stayed, self.zone));
        retired.or_else(|| {
            let day = view::zoned(*self.attached.erased.get(&photo)?, self.zone);
            Some(format!("erased on {}", day.strftime("%-d %B %Y")))
        })
    }

    /// Whether a photo was erased on request.
    pub(super) fn is_erased(&self, photo: BlobHash) -> bool {
        self.attached.erased.contains_key(&photo)
    }

    /// A small picture of a photo that was taken when its device claims, or what stands for it.
    pub(super) fn thumb(&self, photo: &PhotoRef, by: UserId, taken_ms: Option<i64>) -> Markup {
        let (name, hash) = (self.world.name(by), photo.hash);
        if self.attached.photos.contains_key(&hash) {
            let about = photo.check.map_or_else(|| "The outlet".into(), |id| self.check_title(id));
            let (text, photos) =
                (view::escape(&format!("{about}, by {name}")), &self.source.photos);
            return Markup(format!(
                "<a class=\"thumb\" data-photo=\"{text}\" href=\"{photos}/{hash}\"><img \
                 src=\"{photos}/{hash}?size=thumb\" alt=\"{text}\" width=\"40\" height=\"40\" \
                 loading=\"lazy\"></a>"
            ));
        }
        let (symbol, text) = match self.gone(hash) {
            Some(gone) => ("cross", format!("Photo {gone}")),
            None => {
                let taken = taken_ms.map_or_else(String::new, |at_ms| {
                    view::zoned(at_ms, self.zone).strftime("%-d %b %H:%M").to_string()
                });
                let no_photo = self.source.no_photo;
                ("camera", format!("{no_photo}, taken {taken} by {name}, as the device claims"))
            }
        };
        let (icon, text) = (view::icon(symbol), view::escape(&text));
        Markup(format!(
            "<span class=\"thumb thumb-wait\" title=\"{text}\">{icon}<span class=\"vh\">{text}</span></span>"
        ))
    }

    // ---- the catalogue ----

    pub(super) fn product(&self, gtin: Gtin) -> String {
        product_name(&self.world.catalogue, gtin)
    }

    /// A check as the template asks it that the recordings used.
    pub(super) fn check(&self, id: CheckId) -> Option<&'a Check> {
        let catalogue = &self.world.catalogue;
        let named = self.templates.iter();
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
        let catalogue = &self.world.catalogue;
        let named = self.planograms.iter().rev().filter(|p| p.number == number);
        named
            .filter_map(|p| catalogue.planogram(number, p.version))
            .next()
            .or_else(|| catalogue.newest_planogram(number))
    }

    pub(super) fn template(&self, named: Versioned) -> String {
        let template = self.world.catalogue.template(named.number, named.version);
        let name = template
            .map_or_else(|| format!("Template {}", named.number), |template| template.name.clone());
        format!("{name}, version {}", named.version)
    }

    pub(super) fn call(&self, call: Option<CallId>, today: Day) -> String {
        match (call, call.and_then(|call| self.world.calls.get(&call))) {
            (None, _) => "not planned".to_owned(),
            (Some(_), None) => "planned".to_owned(),
            (Some(_), Some(call)) => {
                let people: Vec<String> = call.people.iter().map(|p| self.world.name(*p)).collect();
                format!("{}, {}", view::day(call.day, today), view::and(&people))
            }
        }
    }

    // ---- what is said ----

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

    /// What is contested, as a heading.
    pub(super) fn about(&self, about: Option<&About>) -> String {
        let Some(About { check, subject }) = about else { return "The whole visit".to_owned() };
        match subject {
            Subject::Outlet => self.check_title(*check),
            subject => format!("{}: {}", self.check_title(*check), self.subject(subject)),
        }
    }

    /// What is contested, as the end of a sentence.
    pub(super) fn contested(&self, about: Option<&About>) -> String {
        match about {
            None => "the whole visit".to_owned(),
            about => format!("“{}”", self.about(about)),
        }
    }

    /// What an objection puts in a value's place.
    pub(super) fn claim(&self, check: CheckId, claim: &Value) -> String {
        match claim {
            Value::Withdrawn => "nothing that counts".to_owned(),
            claim => self.value(check, claim),
        }
    }

    /// What an entry did: a symbol and a heading.
    pub(super) fn title(&self, entry: &Entry) -> (&'static str, String) {
        let (symbol, title) = match entry {
            Entry::Recording(recording) => {
                let symbol = match &recording.act {
                    Act::Start { .. } => "pin",
                    Act::NotPossible { .. } => "closed",
                    Act::Withdraw { .. } | Act::Abandon {} => "cross",
                    Act::Observe(observed) if observed.supersedes.is_empty() => "plus",
                    Act::Observe(_) => "edit",
                };
                return (symbol, view::capitalised(&recorded(recording)));
            }
            Entry::Report(report) => return ("pin", format!("Reported “{}”", report.name)),
            Entry::Submission(_) => ("submitted", "Submitted"),
            Entry::Review(review) => match review.verdict {
                Verdict::Approved => ("check", "Approved"),
                Verdict::SentBack => ("back", "Sent back"),
            },
            Entry::Post(post) => match &post.word {
                None => ("comment", "Wrote"),
                Some(Word::Contest(objection)) => {
                    let about = self.contested(objection.about.as_ref());
                    return ("comment", format!("Contested {about}"));
                }
                Some(Word::Step(Step::Say, _)) => ("comment", "Wrote in a contest"),
                Some(Word::Step(Step::Ask, _)) => ("comment", "Asked back in a contest"),
                Some(Word::Step(Step::Uphold, _)) => {
                    ("comment", "Turned an objection down: the record stands")
                }
                Some(Word::Step(Step::Accept, _)) => ("comment", "Accepted an objection"),
                Some(Word::Step(Step::Close, _)) => ("comment", "Closed a contest"),
            },
        };
        (symbol, title.to_owned())
    }
}

/// Why a call could not be made.
pub(super) const fn why_not_possible(reason: NotPossible) -> &'static str {
    match reason {
        NotPossible::Closed => "The outlet was closed",
        NotPossible::Refused => "The outlet refused",
        NotPossible::NoAccess => "The shelf could not be reached",
        NotPossible::Moved => "The outlet is no longer there",
        NotPossible::Other => "Another reason",
    }
}
