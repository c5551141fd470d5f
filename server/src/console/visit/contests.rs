//! What is held against a visit, with the story of it beside the value, and what the viewer can say to it.

use std::collections::BTreeSet;

use sync_core::cbor::to_cbor;
use sync_core::contest::{Contest, Standing};
use sync_core::id::{BlobHash, ChangeHash, UserId};
use sync_core::model::catalogue::CheckKind;
use sync_core::model::contest::{About, Step, Word};
use sync_core::model::visit::{CheckId, Post, Subject, Value};

use super::super::view::{self, Markup, Said};
use super::ClaimField;
use super::context::Reader;

/// A contest and everything said in it.
pub(super) struct ContestBox {
    pub(super) key: String,
    pub(super) hash: ChangeHash,
    pub(super) title: String,
    pub(super) badge: Markup,
    /// What was recorded, and what stands now; empty if the whole visit is contested.
    pub(super) value: String,
    /// What the objection puts in its place; empty if it only says so in words.
    pub(super) claim: String,
    pub(super) story: Vec<Said>,
    /// What the form goes by.
    pub(super) state: BlobHash,
    /// What becomes of what is contested when the objection is accepted.
    pub(super) accepting: String,
    pub(super) waits: bool,
    /// It can be taken back, or closed without a finding.
    pub(super) closes: bool,
    /// A supervisor has something to do: it waits, or what was found wrong counts.
    pub(super) live: bool,
}

/// A step of a contest as others read it, by the brand's people or by those who contest.
const fn step_verb(step: Step, brand: bool) -> &'static str {
    match step {
        Step::Say => "wrote",
        Step::Ask => "asked",
        Step::Uphold => "turned it down: the record stands",
        Step::Accept => "accepted the objection",
        Step::Close if brand => "closed it without a finding",
        Step::Close => "took it back",
    }
}

/// A value contest's place on the page.
pub(super) fn key_of(contest: ChangeHash) -> String {
    format!("contest-{}", &contest.to_string()[..16])
}

/// The address where a value, or the whole visit, can be contested.
pub(super) fn contest_url(visit: &str, about: Option<(CheckId, &Subject)>) -> String {
    let base = format!("/visits/{visit}/contest");
    match about {
        None => base,
        Some((check, subject)) => format!("{base}?check={check}&subject={}", hex(subject)),
    }
}

/// A subject as forms carry it.
pub(super) fn hex(subject: &Subject) -> String {
    to_cbor(subject).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Reader<'_> {
    /// What stands beside a value: that it is contested or was, and for the distributor's people the way to contest what
    /// stands now.
    pub(super) fn beside(&self, check: CheckId, subject: &Subject) -> Markup {
        let newest = self.contest_of(check, subject);
        let badge = newest.map(|contest| {
            let (badge, key) = (standing_badge(contest.standing), key_of(contest.hash));
            format!(" <a class=\"beside\" href=\"#{key}\">{badge}</a>")
        });
        let badge = badge.unwrap_or_default();
        // What stands now may be something else than what was contested before.
        let is_new = newest.is_none_or(|contest| !contest.standing.waits() && !contest.holds);
        if !self.contests || !is_new || self.live(check, subject).is_empty() {
            return Markup(badge);
        }
        let url = contest_url(&self.read.line.visit.to_string(), Some((check, subject)));
        let what = view::escape(&self.words.subject(subject));
        Markup(format!(
            "{badge} <a class=\"beside small no-print\" href=\"{}\">Contest<span class=\"vh\">: {what}</span></a>",
            view::escape(&url)
        ))
    }

    pub(super) fn contest_boxes(&self) -> Vec<ContestBox> {
        self.visit.contests.iter().map(|contest| self.contest_box(contest)).collect()
    }

    fn contest_box(&self, contest: &Contest) -> ContestBox {
        let objection = &contest.objection;
        let photos = objection.photos.iter();
        let photos = photos.map(|photo| self.thumb(photo, contest.by, contest.hash)).collect();
        let said = self.said(contest.hash, contest.by, "contested it", contest.text);
        let mut story = vec![Said { photos, ..said }];
        let words = contest.story.iter();
        story.extend(words.map(|(hash, post, step)| self.word(*hash, post, *step)));
        let value = match &objection.about {
            None => String::new(),
            Some(about) => self.contested_value(contest, about),
        };
        let claim = match (&objection.about, &objection.claim) {
            (Some(about), Some(claim)) => self.words.claim(about.check, claim),
            _ => String::new(),
        };
        let accepting = match (&objection.about, &objection.claim) {
            (None, _) => "Accepting takes the visit out of all figures.".to_owned(),
            (Some(about), _) if !contest.holds => {
                let now = self.now(about).join(" / ");
                format!(
                    "What was contested is replaced. What counts now: {now}. Accepting changes no value."
                )
            }
            (Some(_), Some(Value::Withdrawn) | None) => {
                "Accepting puts the value right. No value stands in its place then.".to_owned()
            }
            (Some(about), Some(_)) => match self.visit.live(about).iter().any(|l| l.submitted) {
                true => format!("Accepting puts the value right. What counts then: {claim}."),
                false => format!(
                    "Accepting puts the value right. What counts once it is submitted: {claim}."
                ),
            },
        };
        ContestBox {
            key: key_of(contest.hash),
            hash: contest.hash,
            title: self.words.about(objection.about.as_ref()),
            badge: standing_badge(contest.standing),
            value,
            claim,
            story,
            state: contest.state(&self.visit),
            accepting,
            waits: contest.standing.waits(),
            closes: contest.takes(Step::Close).is_ok(),
            live: contest.is_live(),
        }
    }

    /// How a claim against a value is put into a form.
    pub(super) fn claim_field(&self, check: CheckId, value: &Value) -> ClaimField {
        let label = |what: &str| format!("What was there instead: {what}");
        let pair = |value: &str, name: &str| (value.to_owned(), name.to_owned());
        let yes = |yes: &str, no: &str| {
            ClaimField::Choice(label("choose"), vec![pair("yes", yes), pair("no", no)])
        };
        match value {
            Value::Shelf { .. } => ClaimField::Number(label("facings, 0 for missing"), false),
            Value::Price(money) => {
                let text = label(&format!("price in {}", money.currency.as_str()));
                ClaimField::Number(text, true)
            }
            Value::Number(_) => ClaimField::Number(label("a number"), false),
            Value::Stock { .. } => yes("on shelf", "out of stock"),
            Value::Met(_) => yes("as agreed", "not as agreed"),
            Value::YesNo(_) => yes("yes", "no"),
            Value::Choice(_) => match self.words.check(check).map(|check| &check.kind) {
                Some(CheckKind::Question { options, .. }) => {
                    let options = options.iter().enumerate();
                    let options = options.map(|(n, name)| (n.to_string(), name.clone()));
                    ClaimField::Choice(label("choose"), options.collect())
                }
                _ => ClaimField::Nothing,
            },
            Value::Text(_) | Value::Withdrawn | Value::Unknown(_) => ClaimField::Nothing,
        }
    }

    /// What the recordings said that the objection names, and what stands now if that is something else.
    fn contested_value(&self, contest: &Contest, about: &About) -> String {
        let About { check, subject } = about;
        let mut said: Vec<String> = Vec::new();
        let seen = contest.objection.seen.iter().copied().collect();
        for value in self.said_of(*check, subject, &seen) {
            let value = self.words.value(*check, value);
            if !said.contains(&value) {
                said.push(value);
            }
        }
        let now = self.now(about);
        match now.iter().collect::<BTreeSet<_>>() == said.iter().collect() {
            true => said.join(" / "),
            false => format!("{}; now {}", said.join(" / "), now.join(" / ")),
        }
    }

    /// What stands now: each value once, or that there is none.
    fn now(&self, About { check, subject }: &About) -> Vec<String> {
        let mut now: Vec<String> = Vec::new();
        for live in self.live(*check, subject) {
            let value = self.words.value(*check, &live.value);
            if !now.contains(&value) {
                now.push(value);
            }
        }
        if now.is_empty() {
            now.push("nothing".to_owned());
        }
        now
    }

    fn word(&self, hash: ChangeHash, post: &Post, step: Step) -> Said {
        let photos = post.word.as_ref().map_or(&[][..], Word::photos).iter();
        let photos = photos.map(|photo| self.thumb(photo, post.by, hash)).collect();
        let verb = step_verb(step, self.of_brand(post.by));
        Said { photos, ..self.said(hash, post.by, verb, post.text) }
    }

    /// What somebody wrote, in a contest or the conversation.
    pub(super) fn said(
        &self,
        hash: ChangeHash,
        by: UserId,
        verb: &'static str,
        text: BlobHash,
    ) -> Said {
        let claim = self.times(hash).filter(|_| self.is_claim(hash));
        Said {
            key: format!("w-{}", &hash.to_string()[..16]),
            name: self.name(by),
            company: self.company(by),
            verb,
            at: self.at(hash),
            bounds: claim.map(|times| self.bounds(times)).unwrap_or_default(),
            text: self.words.note(text),
            photos: Vec::new(),
            erase: self.erase_url("note", text),
            brand: self.of_brand(by),
        }
    }
}

fn standing_badge(standing: Standing) -> Markup {
    let (kind, symbol, text) = match standing {
        Standing::Open => ("conflict", "comment", "Contested"),
        Standing::Asked => ("sent-back", "comment", "Contested, asked back"),
        Standing::Accepted => ("approved", "check", "Objection accepted"),
        Standing::Upheld => ("not-possible", "check", "Turned down: the record stands"),
        Standing::Closed => ("not-possible", "cross", "Contest closed"),
    };
    view::badge(kind, symbol, text)
}
