//! How the visit went: who came when, the photos, the conversation, and everything in the order it arrived.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sync_core::document::Entry;
use sync_core::id::{BlobHash, ChangeHash, UserId};
use sync_core::model::Geo;
use sync_core::model::visit::{Act, Observed, PhotoRef, Recording, Review, Subject, Verdict};
use sync_core::visit::Recorded;

use super::super::signals::Told;
use super::super::view::{self, Markup, Said, escape};
use super::super::words::why_not_possible;
use super::context::Reader;

/// Most corrections that one line of the history spells out.
const CORRECTIONS_MAX: usize = 4;

/// Why a call could not be made.
pub(super) struct NotPossibleBox {
    pub(super) reason: &'static str,
    pub(super) words: Option<String>,
    pub(super) erase: String,
    pub(super) by: String,
    pub(super) place: String,
    pub(super) at: Markup,
    pub(super) received: Markup,
    pub(super) due: String,
}

pub(super) struct PhotoTile {
    pub(super) hash: BlobHash,
    pub(super) signals: Vec<Told>,
    pub(super) key: String,
    pub(super) url: String,
    pub(super) title: String,
    pub(super) by: String,
    pub(super) first_name: String,
    pub(super) at: Markup,
    pub(super) here: bool,
    /// What became of one that was here.
    pub(super) gone: Option<String>,
    /// What its camera wrote of when and where, as a sentence.
    pub(super) camera: String,
    pub(super) erase: String,
    pub(super) new: bool,
    pub(super) draft: bool,
    /// Shown in a contest, and no part of the work.
    pub(super) contest: bool,
}

pub(super) struct HistoryRow {
    pub(super) key: String,
    pub(super) symbol: &'static str,
    pub(super) title: String,
    pub(super) more: Vec<String>,
    /// Where the words of a recording are erased, which may stand nowhere else by now.
    pub(super) erase: Vec<String>,
    pub(super) badges: Vec<Markup>,
    pub(super) by: String,
    pub(super) company: String,
    pub(super) at: Markup,
    pub(super) claim: String,
    pub(super) place: String,
    pub(super) received: Markup,
    pub(super) device: String,
    pub(super) class: &'static str,
}

impl Reader<'_> {
    // ---- the head of the page ----

    pub(super) fn lede(&self) -> String {
        let line = &self.read.line;
        let address = self.outlet.map(|o| format!("{}, {}", o.street, o.town));
        let parts = [
            address.unwrap_or_default(),
            view::territory_name(self.world, line.territory),
            view::distributor_name(self.world, line.distributor),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(" · ")
    }

    /// How it came to stand where it stands.
    pub(super) fn stand(&self) -> Markup {
        let line = &self.read.line;
        if let Some((review, hash)) = self.standing() {
            let verb = match review.verdict {
                Verdict::Approved => "approved",
                Verdict::SentBack => "sent back",
            };
            let name = escape(&self.name(review.by));
            return Markup(format!("{verb} by {name} {}", self.ago(hash)));
        }
        let submitted = self.visit.submissions.iter().map(|(hash, _)| *hash);
        match submitted.max_by_key(|hash| self.times(*hash).map(|times| times.claimed_ms)) {
            Some(hash) => Markup(format!("submitted {}", self.ago(hash))),
            None => Markup(format!("last heard of {}", view::ago(line.changed_ms, self.zone))),
        }
    }

    /// The newest review that no other knew of.
    fn standing(&self) -> Option<(&Review, ChangeHash)> {
        let standing = self.visit.reviews.iter().filter(|(h, _)| self.visit.standing.contains(h));
        standing.map(|(hash, review)| (review, *hash)).next_back()
    }

    /// Who gave the standing verdict, and when.
    pub(super) fn judged(&self, verb: &str) -> Markup {
        let Some((review, hash)) = self.standing() else { return Markup(escape(verb)) };
        let name = escape(&self.name(review.by));
        Markup(format!("{} by {name} on {}", escape(verb), self.at(hash)))
    }

    /// Who has added something since the review.
    pub(super) fn news(&self) -> Vec<String> {
        let mut names = Vec::new();
        for recorded in self.visit.recordings.iter().filter(|r| r.new && !r.withdrawn) {
            let name = self.name(recorded.entry.by);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    pub(super) fn facts_row(&self) -> Vec<(&'static str, Markup)> {
        let mut facts = vec![("In the outlet", self.presence())];
        let line = &self.read.line;
        facts.push(("Planned call", Markup(escape(&self.words.call(line.call, self.today)))));
        if let Some(start) = &self.visit.start {
            let template = self.words.template(start.template);
            facts.push(("Visit template", Markup(escape(&template))));
        }
        let last = view::when(line.changed_ms, self.zone);
        facts.push(("Last heard of", Markup(format!("{last}, by this server’s clock"))));
        facts
    }

    /// Who came when and submitted when, as their devices claim.
    fn presence(&self) -> Markup {
        let mut lines = Vec::new();
        for user in self.workers() {
            let own = self.visit.recordings.iter().filter(|r| r.entry.by == user && !r.withdrawn);
            let Some(began) = own.map(|r| r.hash).next() else { continue };
            let submitted = self.visit.submissions.iter().filter(|(_, s)| s.by == user);
            let submitted = submitted.map(|(hash, _)| *hash).next_back();
            let times = match submitted {
                Some(submitted) => {
                    format!("{} to {}", self.at_clock(began), self.at_clock(submitted))
                }
                None if self.visit.not_possible().is_some() => self.at_clock(began).to_string(),
                None => format!("from {}, not submitted", self.at_clock(began)),
            };
            lines.push(format!(
                "<a href=\"/people/{user}\">{}</a> <span class=\"org\">{}</span><br>{times}",
                escape(&self.name(user)),
                escape(&self.company(user)),
            ));
        }
        if lines.is_empty() {
            return Markup("nobody any more".to_owned());
        }
        lines.push(self.claim());
        Markup(lines.join("<br>"))
    }

    /// That times are claims, and the bounds of the first.
    fn claim(&self) -> String {
        let claimed = |r: &Recorded| self.times(r.hash).map_or(i64::MAX, |t| t.claimed_ms);
        let begun = self.visit.begun(claimed);
        let Some(times) = begun.and_then(|r| self.times(r.hash)) else { return String::new() };
        format!(
            "<details class=\"claim\" id=\"claim\"><summary>claimed by the device</summary>\
             {}</details>{}",
            escape(&self.bounds(times)),
            match times.bounds_day(self.zone) {
                true => String::new(),
                false => format!(
                    "<span class=\"small muted\">{}</span>",
                    escape(&view::day_claimed(times, self.zone))
                ),
            }
        )
    }

    pub(super) fn not_possible(&self) -> Option<NotPossibleBox> {
        let (reason, recorded) = self.visit.not_possible()?;
        let Act::NotPossible { note, .. } = &recorded.entry.act else { return None };
        Some(NotPossibleBox {
            reason: why_not_possible(reason),
            words: note.map(|note| self.words.note(note)),
            erase: note.map_or_else(String::new, |note| self.erase_url("note", note)),
            by: self.name(recorded.entry.by),
            place: self.place(recorded.entry.place.as_ref()),
            at: self.at(recorded.hash),
            received: self.received(recorded.hash),
            due: match self.checks_due() {
                Some((checks, name)) => {
                    format!("{} of “{name}”", view::count(checks as u64, "check", "checks"))
                }
                None => "The checks of its template".to_owned(),
            },
        })
    }

    fn place(&self, place: Option<&Geo>) -> String {
        view::whereabouts(place, self.outlet.and_then(|outlet| outlet.place.as_ref()))
    }

    /// When an entry reached the server.
    fn received(&self, hash: ChangeHash) -> Markup {
        let times = self.times(hash);
        times.map_or_else(Markup::default, |times| view::when(times.latest_ms, self.zone))
    }

    // ---- photos ----

    pub(super) fn photo_tiles(&self) -> Vec<PhotoTile> {
        let mut seen: HashSet<BlobHash> = HashSet::new();
        let mut tiles = Vec::new();
        let all = self.visit.photos().chain(self.visit.contest_photos());
        for (hash, by, photo) in all.filter(|(.., p)| seen.insert(p.hash)) {
            let about = photo.check.map(|check| self.words.check_title(check));
            let recorded = self.recorded(hash);
            let title = match (recorded, about) {
                (Some(_), about) => about.unwrap_or_else(|| "The outlet".to_owned()),
                (None, Some(about)) => format!("In a contest: {about}"),
                (None, None) => "In a contest".to_owned(),
            };
            tiles.push(PhotoTile {
                hash: photo.hash,
                signals: Vec::new(),
                key: photo_key(photo.hash),
                url: format!("/photos/{}", photo.hash),
                title,
                by: self.name(by),
                first_name: self.first_name(by),
                at: self.at(hash),
                here: self.read.attached.photos.contains_key(&photo.hash),
                gone: self.words.gone(photo.hash),
                camera: self.camera(photo),
                erase: self.erase_url("photo", photo.hash),
                new: recorded.is_some_and(|recorded| recorded.new),
                draft: recorded.is_some_and(|recorded| !recorded.submitted),
                contest: recorded.is_none(),
            });
        }
        tiles
    }

    /// What a photo's camera says of when and where it was taken.
    fn camera(&self, photo: &PhotoRef) -> String {
        // Its entry says still what its camera had written. Who reads this need not be told.
        if self.words.is_erased(photo.hash) {
            return String::new();
        }
        let Some(origin) = &photo.origin else { return "Nothing is said of its file".to_owned() };
        let clock = origin.shown_ms.map(|shown| view::camera_clock(shown, origin.offset_min));
        let place = origin.place.as_ref().map(|place| self.place(Some(place)));
        let clock = clock.unwrap_or_else(|| "no time".to_owned());
        let place = place.unwrap_or_else(|| "no place".to_owned());
        let editor = origin.editor.as_ref().map(|editor| format!("; its file names {editor}"));
        format!("Its camera claims {clock}; {place}{}", editor.unwrap_or_default())
    }

    // ---- the conversation ----

    pub(super) fn thread(&self) -> Vec<Said> {
        let mut items = Vec::new();
        for change in self.read.held.document.changes() {
            let (by, text, verb) = match change.entry() {
                // A contest has its own place on the page.
                Ok(Entry::Post(post)) if post.word.is_none() => (post.by, post.text, "wrote"),
                Ok(Entry::Review(Review { by, verdict, comment: Some(text), .. })) => match verdict
                {
                    Verdict::Approved => (by, text, "approved"),
                    Verdict::SentBack => (by, text, "sent it back"),
                },
                _ => continue,
            };
            items.push(self.said(change.hash(), by, verb, text));
        }
        items
    }

    /// Whom a comment reaches, but for its author.
    pub(super) fn write_to(&self, author: UserId) -> String {
        let people = self.workers().into_iter().filter(|user| *user != author);
        let names: Vec<String> = people.map(|user| self.first_name(user)).collect();
        if names.is_empty() { "this visit".to_owned() } else { view::and(&names) }
    }

    // ---- history ----

    /// Everything that was written, in the order in which it arrived.
    pub(super) fn history(&self) -> Vec<HistoryRow> {
        let changes = self.read.held.document.changes().iter();
        changes.filter_map(|change| self.history_row(change.hash())).collect()
    }

    fn history_row(&self, hash: ChangeHash) -> Option<HistoryRow> {
        let entry = self.entry(hash)?;
        let by = entry.by();
        let claim = self.times(hash).filter(|_| self.is_claim(hash));
        let (symbol, title) = self.words.title(&entry);
        let mut row = HistoryRow {
            key: history_key(hash),
            symbol,
            title,
            more: Vec::new(),
            erase: Vec::new(),
            badges: Vec::new(),
            by: self.name(by),
            company: self.company(by),
            at: self.at(hash),
            claim: claim.map(|times| self.bounds(times)).unwrap_or_default(),
            place: String::new(),
            received: self.received(hash),
            device: self.device(hash),
            class: "",
        };
        match &entry {
            Entry::Recording(recording) => {
                if self.is_claim(hash) {
                    row.place = self.place(recording.place.as_ref());
                }
                let state = self.recorded(hash)?;
                row.badges = self.marks_in_history(state);
                let submitted = state.submitted || self.visit.not_possible().is_some();
                row.class = match (state.withdrawn, submitted, state.new) {
                    (true, ..) => "is-gone",
                    (false, false, _) => "is-draft",
                    (false, true, true) => "is-unseen",
                    (false, true, false) => "",
                };
                self.recording_row(&mut row, recording);
                let notes = recording.notes().into_iter();
                row.erase = notes.map(|note| self.erase_url("note", note)).collect();
            }
            Entry::Submission(submission) => {
                row.place = self.place(submission.place.as_ref());
                let covered = self.read.held.document.past(&[hash]);
                let own = self.visit.recordings.iter().filter(|r| r.entry.by == submission.by);
                let own = own.filter(|r| covered.contains(r.hash)).count() as u64;
                row.more.push(format!("covers {}", view::count(own, "recording", "recordings")));
            }
            Entry::Review(review) => {
                row.more.push(self.covered(review));
                row.more.extend(review.comment.map(|note| format!("“{}”", self.words.note(note))));
                if !self.visit.standing.contains(&hash) {
                    row.badges.push(view::badge("not-possible", "info", "Followed by a later one"));
                }
            }
            Entry::Post(post) => {
                let photos = entry.photos();
                if !photos.is_empty() {
                    row.more.push(view::count(photos.len() as u64, "photo", "photos"));
                }
                row.more.push(format!("“{}”", self.words.note(post.text)));
            }
            Entry::Report(_) => {}
        }
        Some(row)
    }

    /// What a review covers: all that had arrived by the newest of its heads.
    fn covered(&self, review: &Review) -> String {
        let arrived = review.heads.iter().filter_map(|head| self.times(*head));
        match arrived.map(|times| times.latest_ms).max() {
            Some(until) => {
                let until = view::zoned(until, self.zone).strftime("%-d %b %H:%M");
                format!("on what had arrived until {until}")
            }
            None => "before anything had arrived".to_owned(),
        }
    }

    fn marks_in_history(&self, state: &Recorded) -> Vec<Markup> {
        let mut badges = Vec::new();
        if state.withdrawn {
            badges.push(view::badge("not-possible", "cross", "Withdrawn"));
            return badges;
        }
        if let Some(observed) = state.entry.observed() {
            let all = observed.observations.0.len();
            let live = observed.observations.0.iter().filter(|fact| {
                let live = self.live(fact.check, &fact.subject);
                live.iter().any(|l| l.recording == state.hash)
            });
            match all - live.count() {
                0 => {}
                replaced if replaced == all => {
                    badges.push(view::badge("not-possible", "moved", "Replaced"));
                }
                replaced => {
                    let text = format!("{replaced} of {all} replaced");
                    badges.push(view::badge("not-possible", "moved", &text));
                }
            }
        }
        let ends = matches!(state.entry.act, Act::Withdraw { .. } | Act::Abandon {});
        if state.new {
            badges.push(view::badge("new", "new", "New"));
        }
        if !state.submitted && !ends && !self.all_draft() {
            badges.push(view::badge("in-progress", "progress", "Not submitted"));
        }
        badges
    }

    fn recording_row(&self, row: &mut HistoryRow, recording: &Recording) {
        match &recording.act {
            Act::Start { call, .. } => {
                row.more.push(match call {
                    Some(_) => "a planned call".to_owned(),
                    None => "not planned".to_owned(),
                });
            }
            Act::NotPossible { reason, note, .. } => {
                row.more.push(why_not_possible(*reason).to_owned());
                row.more.extend(note.map(|note| format!("“{}”", self.words.note(note))));
            }
            Act::Withdraw { .. } | Act::Abandon {} => {}
            Act::Observe(observed) => {
                let others = observed.supersedes.iter().filter_map(|h| self.recorded(*h));
                let settles = others.into_iter().any(|r| r.entry.by != recording.by);
                if settles {
                    row.symbol = "check";
                    row.title = row.title.replacen("Corrected", "Settled", 1);
                }
                let checks: BTreeSet<_> = observed.observations.0.iter().map(|o| o.check).collect();
                let titles: Vec<String> = checks
                    .into_iter()
                    .map(|check| match self.is_planogram(check) {
                        true => self.planogram_titles(check, observed),
                        false => self.words.check_title(check),
                    })
                    .collect();
                if !titles.is_empty() {
                    row.more.push(titles.join(", "));
                }
                row.more.extend(self.corrections(observed, settles));
            }
        }
    }

    /// A planogram check with the shelves that it is about.
    fn planogram_titles(&self, check: u32, observed: &Observed) -> String {
        let mut shelves: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for fact in observed.observations.0.iter().filter(|fact| fact.check == check) {
            if let Subject::Position { planogram, position } = fact.subject {
                let planned = self.words.planogram(planogram).and_then(|p| p.position(position));
                shelves.entry(planogram).or_default().extend(planned.map(|p| p.shelf));
            }
        }
        let title = self.words.check_title(check);
        let shelves: BTreeSet<u32> = shelves.into_values().flatten().collect();
        if shelves.is_empty() {
            return title;
        }
        let numbers: Vec<String> = shelves.iter().map(ToString::to_string).collect();
        let noun = if numbers.len() == 1 { "shelf" } else { "shelves" };
        format!("{title}, {noun} {}", view::and(&numbers))
    }

    /// Which values a recording replaced by which.
    fn corrections(&self, observed: &Observed, settles: bool) -> Vec<String> {
        let older = observed.supersedes.iter().copied().collect();
        let mut corrections = Vec::new();
        for fact in &observed.observations.0 {
            let before = self.said_of(fact.check, &fact.subject, &older).next_back();
            let Some(before) = before else { continue };
            let (from, to) =
                (self.words.value(fact.check, before), self.words.value(fact.check, &fact.value));
            let subject = self.words.subject(&fact.subject);
            corrections.push(match settles || from == to {
                true => format!("{subject}: settled as {to}"),
                false => format!("{subject}: {from} became {to}"),
            });
        }
        if corrections.len() > CORRECTIONS_MAX {
            let more = corrections.len() - CORRECTIONS_MAX;
            corrections.truncate(CORRECTIONS_MAX);
            corrections.push(format!("and {more} more"));
        }
        corrections
    }
}

/// The place of a photo on the page.
pub(in super::super) fn photo_key(photo: BlobHash) -> String {
    format!("photo-{}", &photo.to_string()[..16])
}

/// The place of an entry in the history.
pub(in super::super) fn history_key(entry: ChangeHash) -> String {
    format!("h-{}", &entry.to_string()[..16])
}
