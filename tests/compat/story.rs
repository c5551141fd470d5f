//! Small documents, written change by change, for what is decided and what is shown.

use serde_json::{Value as Json, json};
use sync_core::document::{Change, Document, Entry, Parts, Section};
use sync_core::id::{Actor, BlobHash, ChangeHash, DocId, DocKind, UserId};
use sync_core::model::capture::Moment;
use sync_core::model::contest::{About, Objection, Step, Word};
use sync_core::model::visit::{
    Act, NotPossible, Note, Observation, Observations, Observed, OutletReport, PhotoRef, Post,
    Recording, Review, Subject, Submission, Value, Verdict, Versioned,
};
use tests::brand::{self, BEGIN_MS, ORG};

use crate::{hex, parts_json};

pub(crate) const ONE: Versioned = Versioned { number: 1, version: 1 };

/// The words of every note.
pub(crate) fn words() -> Note {
    Note::new("Words", [9; 16]).unwrap()
}

/// No two entries are of one moment: they would say the same.
pub(crate) fn moment(step: usize, anchor: u64, life: Option<u32>) -> Moment {
    let at = 1_000 * step as u64;
    let life = life.filter(|_| anchor > 0);
    Moment { wall_ms: BEGIN_MS + at as i64, boot: 1, boot_ms: at, anchor, skew_ms: None, life }
}

pub(crate) fn fact(check: u32, value: Value) -> Observation {
    Observation { check, subject: Subject::Outlet, value }
}

pub(crate) fn photo() -> PhotoRef {
    let hash = BlobHash::of(b"photo");
    PhotoRef { hash, bytes: 9_000, phash: 0, check: None, origin: None }
}

/// Of whichever entry, who writes it and when.
#[derive(Clone, Copy)]
pub(crate) struct By(pub(crate) UserId, pub(crate) Moment);

impl By {
    pub(crate) fn does(self, act: Act) -> Entry {
        let Self(by, when) = self;
        Entry::Recording(Recording { by, when, place: None, act })
    }

    /// Begins at an outlet of the brand.
    pub(crate) fn starts(self, outlet: u8, call: Option<u8>) -> Entry {
        self.starts_at(outlet, call, 1 + (outlet - 1) / 2, 1 + (outlet - 1) % 2)
    }

    pub(crate) fn starts_at(self, outlet: u8, call: Option<u8>, place: u8, partner: u8) -> Entry {
        self.does(Act::Start {
            outlet: brand::outlet(outlet),
            call: call.map(brand::call),
            territory: brand::territory(place),
            distributor: brand::distributor(partner),
            template: ONE,
        })
    }

    pub(crate) fn observes(
        self,
        facts: Vec<Observation>,
        photos: Vec<PhotoRef>,
        supersedes: &[ChangeHash],
    ) -> Entry {
        self.does(Act::Observe(Observed {
            template: ONE,
            planograms: vec![ONE],
            price_list: None,
            observations: Observations(facts),
            photos,
            supersedes: supersedes.to_vec(),
        }))
    }

    pub(crate) fn counts(self, check: u32, number: i64, supersedes: &[ChangeHash]) -> Entry {
        self.observes(vec![fact(check, Value::Number(number))], Vec::new(), supersedes)
    }

    pub(crate) fn withdraws(self, recordings: &[ChangeHash]) -> Entry {
        self.does(Act::Withdraw { recordings: recordings.to_vec() })
    }

    pub(crate) fn abandons(self) -> Entry {
        self.does(Act::Abandon {})
    }

    pub(crate) fn cannot(self) -> Entry {
        let (reason, note, photos) = (NotPossible::Closed, None, Vec::new());
        self.does(Act::NotPossible { reason, note, photos })
    }

    pub(crate) fn submits(self) -> Entry {
        let Self(by, when) = self;
        Entry::Submission(Submission { by, when, place: None })
    }

    pub(crate) fn judges(self, verdict: Verdict, heads: &[ChangeHash]) -> Entry {
        let Self(by, when) = self;
        let heads = heads.to_vec();
        Entry::Review(Review { by, when, verdict, heads, comment: None })
    }

    pub(crate) fn says(self, answers: Option<ChangeHash>, word: Option<Word>) -> Entry {
        let Self(by, when) = self;
        let text = words().digest();
        Entry::Post(Post { answers, word, ..Post::new(by, when, text) })
    }

    /// Contests the answer to a check, or the whole visit.
    pub(crate) fn contests(self, check: Option<u32>, seen: &[ChangeHash]) -> Entry {
        let about = check.map(|check| About { check, subject: Subject::Outlet });
        let (seen, claim) = (seen.to_vec(), None);
        let objection = Objection { about, seen, claim, photos: Vec::new() };
        self.says(None, Some(Word::Contest(objection)))
    }

    /// Contests the answer to a check and says what it was.
    pub(crate) fn claims(self, check: u32, number: i64, seen: &[ChangeHash]) -> Entry {
        let about = Some(About { check, subject: Subject::Outlet });
        let (seen, claim) = (seen.to_vec(), Some(Value::Number(number)));
        let objection = Objection { about, seen, claim, photos: Vec::new() };
        self.says(None, Some(Word::Contest(objection)))
    }

    /// Reports an outlet that is on no list.
    pub(crate) fn reports(self, place: u8, partner: u8) -> Entry {
        let Self(by, when) = self;
        Entry::Report(OutletReport {
            by,
            when,
            place: None,
            name: "Kiosk".into(),
            address: "Harbour 1".into(),
            territory: brand::territory(place),
            distributor: brand::distributor(partner),
            note: None,
            photos: Vec::new(),
            volume: None,
        })
    }

    pub(crate) fn steps(self, contest: ChangeHash, step: Step) -> Entry {
        self.says(Some(contest), Some(Word::Step(step, Vec::new())))
    }
}

/// The change that an actor makes on top of these alone. Does not insert it.
pub(crate) fn on(document: &Document, heads: &[ChangeHash], actor: Actor, entry: &Entry) -> Change {
    let past = document.past(heads);
    let mut seen = Document::new(document.org(), document.id());
    for change in document.changes().iter().filter(|change| past.contains(change.hash())) {
        seen.insert(change.clone()).unwrap();
    }
    seen.next(actor, entry).unwrap()
}

/// The same change, but for some of its parts.
pub(crate) fn otherwise(kind: DocKind, change: &Change, wrong: impl FnOnce(&mut Parts)) -> Change {
    let mut parts = Parts::clone(change);
    wrong(&mut parts);
    Change::new(kind, parts).unwrap()
}

/// A document of the brand, and what each of its changes is.
pub(crate) struct Story {
    pub(crate) document: Document,
    whats: Vec<&'static str>,
}

impl Story {
    pub(crate) fn new(id: DocId) -> Self {
        Self { document: Document::new(ORG, id), whats: Vec::new() }
    }

    pub(crate) fn add(&mut self, what: &'static str, change: Change) -> ChangeHash {
        let hash = change.hash();
        self.document.insert(change).unwrap();
        self.whats.push(what);
        hash
    }

    pub(crate) fn changes(&self) -> Json {
        let changes = self.document.changes().iter().zip(&self.whats).map(|(change, what)| {
            json!({ "what": what, "parts": parts_json(change), "hash": hex(&change.hash().0) })
        });
        changes.collect()
    }
}

pub(crate) fn section(name: &Json) -> Section {
    let sections = [
        Section::Recordings,
        Section::Submissions,
        Section::Reviews,
        Section::Thread,
        Section::Reports,
    ];
    sections.into_iter().find(|section| name == section.as_str()).expect("a section")
}

/// A change as fixtures have it.
pub(crate) fn change_of(kind: DocKind, parts: &Json) -> Change {
    let deps = parts["deps"].as_array().unwrap().iter();
    let parts = Parts {
        actor: Actor::from_bytes(crate::array(&parts["actor"])),
        seq: parts["seq"].as_u64().unwrap(),
        start_op: parts["start_op"].as_u64().unwrap(),
        deps: deps.map(|dep| ChangeHash(crate::array(dep))).collect(),
        section: section(&parts["section"]),
        value: crate::unhex(&parts["value"]),
    };
    Change::new(kind, parts).unwrap()
}
