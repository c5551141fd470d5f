//! Two phones and a server, recorded: what was sent and what came back, in the order it happened.

use serde_json::{Value as Json, json};
use sync_core::command::Command;
use sync_core::document::Entry;
use sync_core::id::VisitId;
use sync_core::model::Money;
use sync_core::model::visit::{
    Note, Observation, PhotoRef, Place, Review, Subject, Value, Verdict,
};
use sync_core::wire::{PullReply, PushRequest, RepairReply, from_wire};
use tests::backend::{Crash, Server, encode};
use tests::brand::{BEGIN_MS, ORG, RITA, SAM, SUE, call, checks, product};
use tests::chance::Chance;
use tests::device::{self, Device, Question};

use crate::hex;

struct Recorder {
    server: Server,
    phones: Vec<(&'static str, Device)>,
    now_ms: i64,
    steps: Vec<Json>,
}

impl Recorder {
    fn act(&mut self, phone: usize, command: Command) {
        self.now_ms += 30_000;
        self.phones[phone].1.act(self.now_ms, device::Crash::Never, command).unwrap();
    }

    /// A whole sync, every message of it written down.
    fn sync(&mut self, phone: usize) {
        let mut asked = self.phones[phone].1.sync(self.now_ms);
        while let Some((number, question)) = asked {
            self.now_ms += 700;
            let (name, device) = (self.phones[phone].0, self.phones[phone].1.id);
            let request = question.bytes();
            let response = match &question {
                Question::Push(_) => {
                    encode(&self.server.push(device, request, self.now_ms, Crash::Never).unwrap())
                }
                Question::Cargo(_) => unreachable!("nobody has met anybody"),
                Question::Pull(_) => {
                    encode(&self.server.pull(device, request, self.now_ms).unwrap())
                }
                Question::Repair(_) => {
                    encode(&self.server.repair(device, request, self.now_ms).unwrap())
                }
            };
            let hashes = |groups: &[sync_core::wire::Group]| -> Vec<Vec<String>> {
                groups.iter().map(|g| g.hashes().map(|h| hex(&h.0)).collect()).collect()
            };
            let (pushed, pulled) = match &question {
                Question::Push(bytes) => {
                    (hashes(&from_wire::<PushRequest>(ORG, bytes).unwrap().groups), Vec::new())
                }
                Question::Cargo(_) => unreachable!(),
                Question::Pull(_) => {
                    (Vec::new(), hashes(&from_wire::<PullReply>(ORG, &response).unwrap().groups))
                }
                Question::Repair(_) => {
                    (Vec::new(), hashes(&from_wire::<RepairReply>(ORG, &response).unwrap().groups))
                }
            };
            self.steps.push(json!({
                "who": name, "path": format!("/api/v1/{}", question.path()), "at_ms": self.now_ms,
                "request": hex(request), "response": hex(&response),
                "pushed": pushed, "pulled": pulled,
            }));
            let answer = question.answered(response);
            let turn =
                self.phones[phone].1.hear(number, &answer, self.now_ms, device::Crash::Never);
            asked = turn.and_then(|(_, question)| question);
        }
    }
}

fn shelf(position: u32, facings: u32) -> Observation {
    let value = Value::Shelf { facings, in_stock: false, place: Place::AsPlanned };
    Observation {
        check: checks::PLANOGRAM,
        subject: Subject::Position { planogram: 1, position },
        value,
    }
}

fn price(place: usize, minor: i64) -> Observation {
    let value = Value::Price(Money { minor, currency: "EUR".parse().unwrap() });
    Observation { check: checks::PRICE, subject: Subject::Product(product(place)), value }
}

/// Rita and Sam begin one call apart, disagree on a count and a price, are sent back and answer.
pub(crate) fn record() -> Json {
    let mut chance = Chance::new(1);
    let mut server = Server::new(&mut chance);
    let mut phones = Vec::new();
    for (name, user) in [("rita", RITA), ("sam", SAM)] {
        let phone = Device::new(user, BEGIN_MS, &mut chance);
        server.enrol(phone.id, user, phone.keypair.public(), BEGIN_MS);
        phones.push((name, phone));
    }
    let mut story = Recorder { server, phones, now_ms: BEGIN_MS + 60_000, steps: Vec::new() };
    let visit = VisitId::of_call(ORG, call(0));
    let record =
        |observations, photos, notes| Command::Record { visit, observations, photos, notes };
    story.sync(0);
    story.sync(1);
    for phone in [0, 1] {
        story.act(phone, Command::StartCall(call(0)));
    }
    let photo = PhotoRef {
        hash: sync_core::id::BlobHash::of(b"a photo"),
        bytes: 200_000,
        phash: 0x00ff_00ff_00ff_00ff,
        check: Some(checks::PLANOGRAM),
        origin: None,
    };
    story.act(0, record(vec![shelf(1, 3), shelf(2, 0), shelf(3, 2)], vec![photo], Vec::new()));
    story.act(0, record(vec![price(0, 199), price(1, 249)], Vec::new(), Vec::new()));
    let words = Note::new("The freezer hums", chance.bytes()).unwrap();
    let text = Observation {
        check: checks::WORDS,
        subject: Subject::Outlet,
        value: Value::Text(words.digest()),
    };
    story.act(1, record(vec![shelf(1, 2), shelf(4, 1)], Vec::new(), Vec::new()));
    story.act(1, record(vec![price(0, 189), text], Vec::new(), vec![words]));
    story.act(0, Command::Submit(visit));
    story.sync(0);
    story.act(1, Command::Submit(visit));
    story.sync(1);
    story.sync(0);
    let (comment, now_ms) =
        (Note::new("Which of you is right?", chance.bytes()).unwrap(), story.now_ms);
    let heads = story.server.held(visit.into()).document.heads().to_vec();
    let digest = Some(comment.digest());
    let entry = |when| {
        let verdict = Verdict::SentBack;
        Entry::Review(Review { by: SUE, when, verdict, heads, comment: digest })
    };
    let review = story.server.act(visit.into(), Some(&comment), now_ms, entry).unwrap();
    story.sync(0);
    let (check, subject) = (checks::PLANOGRAM, shelf(1, 0).subject);
    story.act(0, Command::Resolve { visit, check, subject, value: shelf(1, 2).value });
    let text = Note::new("Sam is, I counted again", chance.bytes()).unwrap();
    story.act(0, Command::Comment { visit, text, answers: Some(review) });
    story.sync(0);
    story.sync(1);
    story.sync(1);
    json!({ "organisation": hex(ORG.as_bytes()), "steps": story.steps })
}
