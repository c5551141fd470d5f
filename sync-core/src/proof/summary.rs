//! What a bundle says in words, and what of that is proved: the file that people read.

use std::cell::{Cell, RefCell};
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{Lines, Proof, Written};
use crate::contest::Standing;
use crate::document::Entry;
use crate::evidence::Leaf;
use crate::id::{BlobHash, ChangeHash, DeviceId, Gtin, UserId};
use crate::model::catalogue::{CheckKind, Planogram, Position, Record, RecordKey, Template};
use crate::model::contest::{About, Objection, Step, Word};
use crate::model::visit::{
    Act, CheckId, NotPossible, Observation, Observed, PhotoRef, Place, Post, Recording, Subject,
    Value, Verdict, Versioned,
};
use crate::model::{Geo, shown};
use crate::tlog::{Checkpoint, NoteKey};
use crate::visit::{Visit, in_conflict};

/// Most earlier readings that are shown beside the one that replaces them.
const OLDER_SHOWN_MAX: usize = 4;
/// Characters of a line among what is proved and what is not.
const LINE_CHARS_MAX: usize = 96;
/// Characters of words that are told wherever they are named: tens of thousands of facts can name the same.
const WORDS_AGAIN_CHARS_MAX: usize = 40;

/// All that a summary is told from.
pub(super) struct Story<'a> {
    pub(super) proof: &'a Proof,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) witnesses: &'a [(NoteKey, u64)],
    pub(super) lines: &'a Lines,
    pub(super) written: &'a [Written],
    pub(super) visit: &'a Visit,
    pub(super) words: &'a BTreeMap<BlobHash, &'a str>,
    /// The photos in the bundle, and how long each is.
    pub(super) here: &'a BTreeMap<BlobHash, usize>,
    pub(super) index: Index<'a>,
    pub(super) told: Told,
}

/// What has been told so far.
#[derive(Default)]
pub(super) struct Told {
    /// The line that is being told.
    line: Cell<u64>,
    /// The long words, each with the line where it was told.
    words: RefCell<BTreeMap<BlobHash, u64>>,
}

/// Where in the entries things stand. A hostile visit names each of them so often that looking for it would take minutes.
#[derive(Default)]
pub(super) struct Index<'a> {
    lines: BTreeMap<ChangeHash, u64>,
    facts: BTreeMap<ChangeHash, BTreeMap<(CheckId, &'a Subject), &'a Value>>,
    /// The photos, each with how many bytes it is said to have and the entries that name it.
    photos: BTreeMap<BlobHash, (u32, Vec<(u64, UserId)>)>,
    /// What the visit went by asks.
    checks: BTreeMap<CheckId, Asked<'a>>,
    /// The newest planogram that has a position, and that.
    positions: BTreeMap<(u32, u32), (&'a Planogram, &'a Position)>,
}

/// A check, as the templates that a visit went by have it.
struct Asked<'a> {
    title: &'a str,
    /// What each option says, where all that the visit went by says the same.
    options: Vec<Option<&'a str>>,
}

impl<'a> Index<'a> {
    pub(super) fn of(written: &'a [Written], lines: &'a Lines) -> Self {
        let (mut index, mut templates) = (Self::default(), BTreeSet::new());
        for Written { sequence, change, entry, .. } in written {
            index.lines.insert(change.hash(), *sequence);
            let Some(entry) = entry else { continue };
            for photo in entry.photos() {
                let (_, named) = index.photos.entry(photo.hash).or_insert((photo.bytes, vec![]));
                named.push((*sequence, entry.by()));
            }
            let Entry::Recording(recording) = entry else { continue };
            match &recording.act {
                Act::Start { template, .. } => drop(templates.insert(*template)),
                Act::Observe(observed) => {
                    let facts = observed.observations.0.iter();
                    let facts = facts.map(|fact| ((fact.check, &fact.subject), &fact.value));
                    index.facts.insert(change.hash(), facts.collect());
                    templates.insert(observed.template);
                }
                _ => {}
            }
        }
        index.read(&templates, lines);
        index
    }

    /// Reads once what is asked for at every fact.
    fn read(&mut self, named: &BTreeSet<Versioned>, lines: &'a Lines) {
        let mut templates = BTreeMap::new();
        for (key, record) in
            lines.records.iter().flat_map(|(key, all)| all.iter().map(move |(_, r)| (key, r)))
        {
            match record {
                Record::Template(template) if *key == RecordKey::template(template.number) => {
                    let Template { number, version, .. } = *template;
                    templates.insert(Versioned { number, version }, template);
                }
                Record::Planogram(planned) if *key == RecordKey::planogram(planned.number) => {
                    let places = planned.positions.iter().rev();
                    let places = places.map(|at| ((planned.number, at.number), (planned, at)));
                    self.positions.extend(places);
                }
                _ => {}
            }
        }
        let mut agree = BTreeMap::new();
        for template in named.iter().filter_map(|named| templates.get(named)) {
            self.ask(template, &mut agree);
        }
        // What one of them does not say, or is not here to say, not all say.
        for (check, asked) in &mut self.checks {
            if agree.get(check) != Some(&named.len()) {
                asked.options.clear();
            }
        }
    }

    /// Reads a template. `agree` has how many have each check so far.
    fn ask(&mut self, template: &'a Template, agree: &mut BTreeMap<CheckId, usize>) {
        let mut seen = BTreeSet::new();
        for check in template.checks.iter().filter(|check| seen.insert(check.id)) {
            #[cfg(test)]
            super::tests::LOOKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let options = match &check.kind {
                CheckKind::Question { options, .. } => options.as_slice(),
                _ => &[],
            };
            *agree.entry(check.id).or_insert(0) += 1;
            match self.checks.entry(check.id) {
                Vacant(new) => {
                    let options = options.iter().map(|text| Some(text.as_str())).collect();
                    new.insert(Asked { title: &check.title, options });
                }
                Occupied(asked) => {
                    let asked = &mut asked.into_mut().options;
                    asked.truncate(options.len());
                    for (same, text) in asked.iter_mut().zip(options) {
                        *same = same.filter(|same| same == text);
                    }
                }
            }
        }
    }
}

/// Writes a line; writing to memory cannot fail.
macro_rules! say {
    ($out:expr, $($words:tt)*) => {{
        let _ = writeln!($out, $($words)*);
    }};
}

impl<'a> Story<'a> {
    pub(super) fn tell(&self, key: &NoteKey) -> String {
        let (mut out, acts) = (String::new(), self.acts());
        self.about(&mut out);
        self.entries(&mut out);
        if !acts.is_empty() {
            say!(out, "WHAT THE SERVER SAYS, AND NOBODY ELSE HAS SIGNED\n");
            acts.iter().for_each(|act| say!(out, "{act}"));
            out.push('\n');
        }
        self.facts(&mut out);
        self.contests(&mut out);
        self.photos(&mut out);
        self.proved(&mut out);
        self.not_proved(&mut out, key, !acts.is_empty());
        out
    }

    fn about(&self, out: &mut String) {
        let Proof { org, visit, .. } = self.proof;
        say!(out, "PROOF OF A VISIT\n");
        say!(out, "Visit {visit}\nOrganisation {org}");
        if let Some(start) = &self.visit.start {
            let first = self.written.first().map_or(0, |written| written.sequence);
            match self.lines.record(RecordKey::outlet(start.outlet), first) {
                Some(Record::Outlet(outlet)) => {
                    let (name, code) = (plain(&outlet.name), plain(&outlet.code));
                    let (street, town) = (plain(&outlet.street), plain(&outlet.town));
                    say!(out, "Outlet {name} ({code}), {street}, {town}");
                }
                _ => say!(out, "Outlet {}", start.outlet),
            }
            match self.lines.record(RecordKey::distributor(start.distributor), first) {
                Some(Record::Distributor(served)) => {
                    say!(out, "Distributor {}", plain(&served.name));
                }
                _ => say!(out, "Distributor {}", start.distributor),
            }
        }
        say!(out, "Status {}\n", self.visit.status.as_str().replace('_', " "));
    }

    fn entries(&self, out: &mut String) {
        say!(out, "WHAT WAS WRITTEN, IN THE ORDER OF THE LOG\n");
        for written in self.written {
            let Written { sequence, entry, change, .. } = written;
            self.told.line.set(*sequence);
            say!(out, "Line {sequence}: {}", self.act(entry.as_ref()));
            if let Some(entry) = entry {
                self.holds(out, entry);
            }
            let recorded = self.visit.recording(change.hash()).filter(|r| r.withdrawn);
            if recorded.is_some_and(|r| matches!(r.entry.act, Act::Observe(_))) {
                say!(out, "  it counts no more: its author has taken it back since");
            }
            self.signed(out, written);
            out.push('\n');
        }
    }

    fn act(&self, entry: Option<&Entry>) -> String {
        let words = |digest: &Option<BlobHash>| {
            digest.map(|digest| format!(": {}", self.note(digest))).unwrap_or_default()
        };
        match entry {
            None => "an entry of a later version".into(),
            Some(Entry::Recording(recording)) => match &recording.act {
                Act::Start { .. } => "began the visit".into(),
                Act::Observe(observed) => {
                    let counts =
                        [(observed.observations.0.len(), "fact"), (observed.photos.len(), "photo")];
                    let counts = counts.into_iter().filter(|(number, _)| *number > 0);
                    let counts: Vec<_> = counts.map(|(number, what)| count(number, what)).collect();
                    format!("recorded {}", counts.join(" and "))
                }
                Act::NotPossible { reason, note, .. } => {
                    let reason = match reason {
                        NotPossible::Closed => "the outlet was closed",
                        NotPossible::Refused => "the outlet refused",
                        NotPossible::NoAccess => "the shelf could not be reached",
                        NotPossible::Moved => "the outlet is no longer there",
                        NotPossible::Other => "for another reason",
                    };
                    format!("could not make the call, {reason}{}", words(note))
                }
                Act::Withdraw { recordings } => format!("took back {}", self.places(recordings)),
                Act::Abandon {} => "abandoned the visit".into(),
            },
            Some(Entry::Submission(_)) => "submitted the visit".into(),
            Some(Entry::Review(review)) => {
                let verdict = match review.verdict {
                    Verdict::Approved => "approved the visit",
                    Verdict::SentBack => "sent the visit back",
                };
                let seen = self.places(&review.heads);
                format!("{verdict}, seen up to {seen}{}", words(&review.comment))
            }
            Some(Entry::Post(post)) => self.said(post),
            Some(Entry::Report(_)) => "reported the outlet".into(),
        }
    }

    fn said(&self, post: &Post) -> String {
        let words = self.note(post.text);
        let of = post.answers.map(|hash| self.place(hash)).unwrap_or_default();
        match &post.word {
            None if post.answers.is_some() => format!("said to {of}: {words}"),
            None => format!("said {words}"),
            Some(Word::Contest(objection)) => {
                format!("contested {}: {words}", self.contested(objection))
            }
            Some(Word::Step(step, _)) => match step {
                Step::Say => format!("said more on the objection of {of}: {words}"),
                Step::Ask => format!("asked about the objection of {of}: {words}"),
                Step::Uphold => format!(
                    "found that what was recorded stands, against the objection of {of}: {words}"
                ),
                Step::Accept => format!("found that the objection of {of} is right: {words}"),
                Step::Close => {
                    format!("closed the contest of {of} without a finding: {words}")
                }
            },
        }
    }

    /// What an entry holds: each fact with what it takes the place of, what an objection is against, the photos.
    fn holds(&self, out: &mut String, entry: &Entry) {
        match entry {
            Entry::Recording(Recording { act: Act::Observe(observed), .. }) => {
                let mut asked = None;
                for fact in &observed.observations.0 {
                    if asked.replace(fact.check) != Some(fact.check) {
                        say!(out, "  {}", self.check(fact.check));
                    }
                    let subject = self.subject(&fact.subject);
                    let value = self.value(fact.check, &fact.value);
                    say!(out, "    {subject}: {value}{}", self.older(observed, fact));
                }
            }
            Entry::Post(Post { word: Some(Word::Contest(objection)), .. }) => {
                self.objection(out, objection);
            }
            _ => {}
        }
        for photo in entry.photos() {
            self.photo(out, photo);
        }
    }

    /// The earlier readings that a fact takes the place of.
    fn older(&self, observed: &Observed, fact: &Observation) -> String {
        let said = observed.supersedes.iter().filter_map(|hash| {
            Some((hash, self.index.facts.get(hash)?.get(&(fact.check, &fact.subject))?))
        });
        let said: Vec<_> = said.collect();
        let shown = said.iter().take(OLDER_SHOWN_MAX).map(|(hash, value)| {
            format!("{} ({})", self.value(fact.check, value), self.place(**hash))
        });
        let mut shown: Vec<String> = shown.collect();
        if said.len() > shown.len() {
            shown.push(format!("{} more", said.len() - shown.len()));
        }
        match shown.is_empty() {
            true => String::new(),
            false => format!(", in place of {}", shown.join(" and ")),
        }
    }

    /// A photo, what it is to show, and what its device and camera say of it.
    fn photo(&self, out: &mut String, photo: &PhotoRef) {
        let of = photo.check.map(|check| format!(", of {}", self.check(check))).unwrap_or_default();
        say!(out, "  with the photo {}{of}", photo.hash);
        let Some(origin) = &photo.origin else { return };
        // Its entry says still what its camera had written. Who reads this need not be told.
        if self.erased(photo.hash).is_some() {
            return;
        }
        if let Some(shown_ms) = origin.shown_ms {
            let set = origin.offset_min.map(|min| {
                let (sign, min) = (if min < 0 { '-' } else { '+' }, min.unsigned_abs());
                format!(", which was set to UTC{sign}{:02}:{:02}", min / 60, min % 60)
            });
            let set = set.unwrap_or_default();
            say!(out, "    its camera's clock said {}{set} (a claim)", clock(shown_ms));
        }
        if let Some(place) = &origin.place {
            say!(out, "    its camera was at {} (a claim)", geo(place));
        }
        say!(out, "    its device made it from the file {} (a claim)", origin.file);
        if let Some(editor) = &origin.editor {
            say!(
                out,
                "    that file names a program that changes pictures: {} (a claim)",
                plain(editor)
            );
        }
        if let Some(written_ms) = origin.written_ms {
            say!(
                out,
                "    that file was written later, at {} on that clock (a claim)",
                clock(written_ms)
            );
        }
    }

    /// Who has signed an entry, and when and where that was.
    fn signed(&self, out: &mut String, written: &Written) {
        let Written { entry, device, received_ms, earliest_ms, lost, change, .. } = written;
        let by = self.person(entry.as_ref().map_or(device.user, Entry::by));
        match device.is_server() {
            true => say!(
                out,
                "  by {by}, in the console: signed by the server, not by a device of theirs"
            ),
            false => say!(out, "  by {by}, signed by device {}", device.id),
        }
        if device.revoked {
            say!(out, "  the device's access was withdrawn since, or before");
        }
        if let Some(lost_ms) = device.lost_ms {
            let when = if *received_ms < lost_ms { "after this came" } else { "by then" };
            say!(
                out,
                "  it was out of its person's hands {when}, since {}, as whoever withdrew it says",
                utc(lost_ms)
            );
        }
        say!(out, "  entry {}", change.hash());
        say!(out, "  received {} (in the log)", utc(*received_ms));
        if device.is_server() {
            return;
        }
        match earliest_ms {
            Some(ms) => {
                say!(
                    out,
                    "  its device says not before {} (the newest line that it knew)",
                    utc(*ms)
                );
            }
            None if *lost => {
                say!(
                    out,
                    "  its device says that it knew lines that are not in this log, as after a restore"
                );
            }
            None => say!(out, "  its device says that it had not synced before"),
        }
        let Some(entry) = entry else { return };
        let when = entry.when();
        let heard = when.skew_ms.map(|skew| {
            let ms = when.wall_ms.saturating_add(skew);
            format!(", which is {} by the server's as the device had heard it", utc(ms))
        });
        let (wall, heard) = (utc(when.wall_ms), heard.unwrap_or_default());
        say!(out, "  its device's clock said {wall}{heard} (a claim)");
        let place = match entry {
            Entry::Recording(recording) => recording.place.as_ref(),
            Entry::Submission(submission) => submission.place.as_ref(),
            _ => None,
        };
        if let Some(place) = place {
            say!(out, "  its device was at {} (a claim)", geo(place));
        }
    }

    /// What the server has written of acts in its console: each is a line of the log, and nothing of it is signed by who is
    /// said to have acted.
    fn acts(&self) -> Vec<String> {
        let wrote: BTreeSet<DeviceId> = self.written.iter().map(|w| w.device.id).collect();
        let said = self.lines.acts.iter().filter_map(|(line, act)| match act {
            Leaf::Decision { head, device, by, approved, at_ms, .. } => {
                let (by, at, head) = (self.person(*by), utc(*at_ms), self.place(*head));
                let what = if *approved { "approved" } else { "discarded" };
                Some(format!(
                    "Line {line}: the server says that {by} {what} at {at} work of device {device}, up to {head}, that had been refused."
                ))
            }
            Leaf::Confirmation { device, key, by, at_ms, .. } => {
                let same = self.lines.device(*device).is_some_and(|d| d.key == key.0);
                let (by, at) = (self.person(*by), utc(*at_ms));
                (same && wrote.contains(device)).then(|| {
                    format!(
                        "Line {line}: the server says that {by} confirmed at {at} that the key of device {device} is that of one of their people."
                    )
                })
            }
            _ => None,
        });
        said.collect()
    }

    /// Where in the log an entry is.
    fn place(&self, hash: ChangeHash) -> String {
        let line = self.index.lines.get(&hash);
        line.map_or(format!("entry {hash}"), |line| format!("line {line}"))
    }

    fn places(&self, hashes: &[ChangeHash]) -> String {
        hashes.iter().map(|hash| self.place(*hash)).collect::<Vec<_>>().join(", ")
    }

    fn contested(&self, objection: &Objection) -> String {
        match &objection.about {
            None => "the whole visit".into(),
            Some(About { check, subject }) => {
                format!("a value, {}, {}", self.check(*check), self.subject(subject))
            }
        }
    }

    /// What an objection is against, and what it claims.
    fn objection(&self, out: &mut String, objection: &Objection) {
        let lines = self.places(&objection.seen);
        let Some(About { check, subject }) = &objection.about else {
            say!(out, "  its author had seen it up to {lines}");
            return;
        };
        let seen = objection.seen.iter().filter_map(|hash| self.index.facts.get(hash));
        let values = seen.filter_map(|facts| facts.get(&(*check, subject)));
        let values: BTreeSet<String> = values.map(|value| self.value(*check, value)).collect();
        let values = values.into_iter().collect::<Vec<_>>().join(" or ");
        say!(out, "  against {values}, recorded in {lines}");
        match &objection.claim {
            Some(Value::Withdrawn) => say!(out, "  claims that there was nothing instead"),
            Some(claim) => {
                say!(out, "  claims that it was {} instead", self.value(*check, claim));
            }
            None => {}
        }
    }

    /// How each contest stands, by what is in this bundle.
    fn contests(&self, out: &mut String) {
        if self.visit.contests.is_empty() {
            return;
        }
        say!(out, "WHAT IS CONTESTED\n");
        for contest in &self.visit.contests {
            let standing = match contest.standing {
                Standing::Open => "it waits for a finding",
                Standing::Asked => "a question about it waits for an answer",
                Standing::Accepted => "the objection was found right",
                Standing::Upheld => "it was found that what was recorded stands",
                Standing::Closed => "it was closed without a finding",
            };
            let holds = match (contest.objection.about.is_some(), contest.holds) {
                (false, _) => "",
                (true, true) => "; what it is against still holds",
                (true, false) => "; what it is against holds no more",
            };
            let (what, by) = (self.contested(&contest.objection), self.name(contest.by));
            say!(out, "By {by} in {}, {what}: {standing}{holds}.", self.place(contest.hash));
        }
        out.push('\n');
    }

    /// The values that nothing has replaced, each with who says so where.
    fn facts(&self, out: &mut String) {
        say!(out, "WHAT HOLDS\n");
        if self.visit.values.is_empty() {
            say!(out, "No values.");
        }
        let mut asked = None;
        for ((check, subject), live) in &self.visit.values {
            if asked.replace(check) != Some(check) {
                say!(out, "  {}", self.check(*check));
            }
            let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for one in live {
                let open = if one.submitted { "" } else { ", not submitted" };
                let by = format!("{}, {}{open}", self.place(one.recording), self.name(one.by));
                said.entry(self.value(*check, &one.value)).or_default().push(by);
            }
            let said = said.into_iter().map(|(value, by)| format!("{value} ({})", by.join("; ")));
            let said = said.collect::<Vec<_>>().join(" or ");
            let conflict = if in_conflict(live) { ": a conflict" } else { "" };
            say!(out, "    {}: {said}{conflict}", self.subject(subject));
        }
        out.push('\n');
    }

    fn photos(&self, out: &mut String) {
        say!(out, "PHOTOS\n");
        if self.index.photos.is_empty() {
            say!(out, "None.");
        }
        let mut absent = false;
        for (hash, (bytes, named)) in &self.index.photos {
            let named = named.iter().map(|(line, by)| format!("line {line}, {}", self.name(*by)));
            let named = named.collect::<Vec<_>>().join("; ");
            let found = match (self.here.get(hash), self.erased(*hash)) {
                (Some(length), _) => format!("in this bundle, {length} bytes"),
                (None, Some(erased)) => erased,
                (None, None) => {
                    absent = true;
                    format!("by its digest alone, said to have {bytes} bytes")
                }
            };
            say!(out, "{hash} ({named}): {found}");
        }
        if absent {
            say!(
                out,
                "By its digest alone: it was left out, never came, or was not kept any longer. No line in this bundle says that it was erased; whether the log has one, a copy of the log can tell."
            );
        }
        out.push('\n');
    }

    /// That a photo or words were erased, if the log says so.
    fn erased(&self, digest: BlobHash) -> Option<String> {
        let (line, record) = self.lines.records.get(&RecordKey::erased(digest))?.last()?;
        match record {
            Record::Erased(erased) if erased.digest == Some(digest) => {
                Some(format!("erased on request at {}, as line {line} says", utc(erased.at_ms)))
            }
            _ => None,
        }
    }

    fn proved(&self, out: &mut String) {
        let Checkpoint { size, life, .. } = self.checkpoint;
        say!(out, "WHAT IS PROVED\n");
        let console = match self.signed_in_the_console() {
            true => ", or the server for the console,",
            false => "",
        };
        point(
            out,
            &format!(
                "Each entry above is what its device{console} signed, whole and unchanged, and so is all that it builds on."
            ),
        );
        point(
            out,
            &format!(
                "Each is a line of the organisation's log, life {life}, among its first {size} lines: neither it nor its time of receipt can be changed without breaking the log's signed checkpoint."
            ),
        );
        point(
            out,
            "The keys of the devices, and the records that are named, are lines of that log too.",
        );
        if !self.here.is_empty() {
            point(out, "The photos in this bundle are those that the entries name.");
        }
        point(
            out,
            "Nothing was taken out of this bundle, put in or changed since it was made: the log's key has signed its contents.",
        );
        for (witness, seconds) in self.witnesses {
            let ms = i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
            let (name, at) = (plain(witness.name()), utc(ms));
            point(
                out,
                &format!(
                    "{name}, by its key below, saw this checkpoint at {at}: all of it was there by then."
                ),
            );
        }
        out.push('\n');
    }

    fn not_proved(&self, out: &mut String, key: &NoteKey, acts: bool) {
        say!(out, "WHAT IS NOT PROVED\n");
        point(out, "That this is the log's key; compare it with the one that you were given:");
        say!(out, "  {key}");
        for (witness, _) in self.witnesses {
            point(
                out,
                "That this is the key of the witness of this name; compare it with the one that you were given:",
            );
            say!(out, "  {}", plain(&witness.to_string()));
        }
        let unseen = match self.witnesses.is_empty() {
            true => "; no witness has signed the checkpoint",
            false => "",
        };
        point(
            out,
            &format!("That the server had the right time when it received something{unseen}."),
        );
        point(
            out,
            "What a device says of its clocks, of what it knew, and of its place; what a camera says; what a photo shows.",
        );
        point(
            out,
            "That a device's key is that of the person whom it is enrolled for, and who held the device in their hand: the server has enrolled it.",
        );
        if acts || self.signed_in_the_console() {
            point(
                out,
                "That a person did what the server has signed for them, or says of them: it stands there by the server's word alone.",
            );
        }
        if self.lines.records.values().flatten().any(|(_, r)| matches!(r, Record::Erased(_))) {
            point(out, "Who had something erased, and why: the log says that it was, and when.");
        }
        point(
            out,
            "That the server has put in every entry of the visit among these lines, and what came after them: whoever keeps a copy of the log can tell.",
        );
    }

    fn signed_in_the_console(&self) -> bool {
        self.written.iter().any(|written| written.device.is_server())
    }

    fn name(&self, user: UserId) -> String {
        match self.lines.record(RecordKey::person(user), u64::MAX) {
            Some(Record::Person(person)) => plain(&person.name),
            _ => format!("person {user}"),
        }
    }

    fn person(&self, user: UserId) -> String {
        match self.lines.record(RecordKey::person(user), u64::MAX) {
            Some(Record::Person(person)) => format!("{} ({user})", plain(&person.name)),
            _ if self.lines.records.contains_key(&RecordKey::erased_person(user)) => {
                format!("person {user}, whose name was erased")
            }
            _ => format!("person {user}"),
        }
    }

    /// Words: long ones where they are first told, and by that line from then on.
    fn note(&self, digest: BlobHash) -> String {
        let Some(text) = self.words.get(&digest) else {
            let gone = self.erased(digest).unwrap_or("not here".into());
            return format!("words with the digest {digest}, {gone}");
        };
        if text.chars().nth(WORDS_AGAIN_CHARS_MAX).is_some() {
            match self.told.words.borrow_mut().entry(digest) {
                Occupied(line) => return format!("the words told in line {}", line.get()),
                Vacant(new) => drop(new.insert(self.told.line.get())),
            }
        }
        format!("\"{}\"", plain(text))
    }

    fn check(&self, id: CheckId) -> String {
        let asked = self.index.checks.get(&id);
        asked.map_or(format!("check {id}"), |asked| plain(asked.title))
    }

    fn option(&self, check: CheckId, option: u32) -> String {
        let asked = self.index.checks.get(&check);
        match asked.and_then(|asked| *asked.options.get(option as usize)?) {
            Some(text) => format!("\"{}\"", plain(text)),
            None => format!("option {option}"),
        }
    }

    fn subject(&self, subject: &Subject) -> String {
        match subject {
            Subject::Position { planogram, position } => self.position(*planogram, *position),
            Subject::Product(gtin) => self.product(*gtin),
            Subject::Unlisted(digest) => {
                format!("a product without a code, {}", self.note(*digest))
            }
            Subject::Display(number) => {
                match self.lines.record(RecordKey::display(*number), u64::MAX) {
                    Some(Record::Display(display)) => {
                        format!("{} (display {number})", plain(&display.name))
                    }
                    _ => format!("display {number}"),
                }
            }
            Subject::Outlet => "the outlet".into(),
            Subject::Unknown(_) => "something of a later version".into(),
        }
    }

    fn product(&self, gtin: Gtin) -> String {
        match self.lines.record(RecordKey::product(gtin), u64::MAX) {
            Some(Record::Product(product)) => format!("{} ({gtin})", plain(&product.name)),
            _ => format!("product {gtin}"),
        }
    }

    /// A position, which is one product's in all versions of a planogram.
    fn position(&self, planogram: u32, number: u32) -> String {
        match self.index.positions.get(&(planogram, number)) {
            Some((planned, at)) => {
                let (product, name) = (self.product(at.gtin), plain(&planned.name));
                format!("{product}, position {number} of {name}")
            }
            None => format!("position {number} of planogram {planogram}"),
        }
    }

    fn value(&self, check: CheckId, value: &Value) -> String {
        match value {
            Value::Shelf { facings: 0, in_stock, .. } => match in_stock {
                true => "missing, but in the back room".into(),
                false => "missing".into(),
            },
            Value::Shelf { facings, in_stock, place } => {
                let stock = if *in_stock { ", more in the back room" } else { "" };
                let place = match place {
                    Place::AsPlanned => String::new(),
                    Place::MovedAlong => ", elsewhere on its shelf".into(),
                    Place::OtherShelf(shelf) => format!(", on shelf {shelf}"),
                };
                format!("{}{place}{stock}", count(*facings as usize, "facing"))
            }
            Value::Price(money) => money.to_string(),
            Value::Stock { on_shelf, units } => {
                let units = units.map(|units| format!(", {}", count(units as usize, "unit")));
                let units = units.unwrap_or_default();
                format!("{}{units}", if *on_shelf { "on the shelf" } else { "not on the shelf" })
            }
            Value::Met(met) => if *met { "as agreed" } else { "not as agreed" }.into(),
            Value::Choice(option) => self.option(check, *option),
            Value::YesNo(yes) => if *yes { "yes" } else { "no" }.into(),
            Value::Number(number) => number.to_string(),
            Value::Text(digest) => self.note(*digest),
            Value::Withdrawn => "taken back".into(),
            Value::Unknown(_) => "a value of a later version".into(),
        }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A point of a list, broken into lines that a terminal shows whole.
fn point(out: &mut String, text: &str) {
    let mut line = String::from("-");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            say!(out, "{line}");
            line = " ".into();
        }
        line.extend([" ", word]);
    }
    say!(out, "{line}");
}

/// Text of people on one line, which turns nothing around that stands beside it.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { shown(c) }).collect()
}

/// A place as a device or a camera says it.
fn geo(place: &Geo) -> String {
    let (lon, lat) = place.degrees();
    let within = place.accuracy_m.map(|m| format!(", within {m} m")).unwrap_or_default();
    let made_up = if place.mock == Some(true) { ", made up by a program" } else { "" };
    format!("{lat:.6}, {lon:.6}{within}{made_up}")
}

fn utc(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(_) => format!("{} UTC", clock(ms)),
        Err(_) => clock(ms),
    }
}

/// What a clock shows that counts in milliseconds since 1970.
fn clock(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("{ms} ms since 1970"),
    }
}
