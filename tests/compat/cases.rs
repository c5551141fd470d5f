//! What the fixtures hold, as values.

use sync_core::cbor::to_cbor;
use sync_core::document::{Change, Document, Entry};
use sync_core::evidence::{Cursor, Keypair, Leaf, LogKey};
use sync_core::id::{
    Actor, BlobHash, CallId, ChangeHash, DeviceId, DistributorId, DocId, DocKind, Gtin, LogHash,
    LogOrigin, OrgId, OutletId, TerritoryId, UserId, VisitId,
};
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{
    AnswerKind, Call, Check, CheckKind, Device, Display, Distributor, Erased, ErasedKind,
    ListPrice, Outlet, Person, Planogram, Position, PriceList, Product, Promotion, Record,
    RecordKey, Shelf, Template, Territory,
};
use sync_core::model::contest::{About, Objection, Step, Word};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{
    Act, NotPossible, Note, Observation, Observations, Observed, OutletReport, PhotoOrigin,
    PhotoRef, Place, Post, Recording, Review, Subject, Submission, Value, Verdict, Versioned,
    Volume,
};
use sync_core::model::{Currency, Day, Geo, Money};
use sync_core::print::{Inventory, Item, Part, Print};
use sync_core::receipt::{Known, Life, Receipt};
use sync_core::tlog::Checkpoint;
use sync_core::wire::{
    Decided, Filled, Group, Outcome, PROTOCOL, PullReply, PullRequest, PushReply, PushRequest,
    RecordBytes, RepairReply, RepairRequest, to_wire,
};

use crate::next::{self, grown};

pub(crate) const ORG: OrgId = OrgId::from_bytes([0x0e; 16]);
const CALL: CallId = CallId::from_bytes([0xc1; 16]);
const OUTLET: OutletId = OutletId::from_bytes([0x51; 16]);
const NORTH: TerritoryId = TerritoryId::from_bytes([0x71; 16]);
const PARTNER: DistributorId = DistributorId::from_bytes([0xd1; 16]);
const RITA: UserId = UserId::from_bytes([0x01; 16]);
const SAM: UserId = UserId::from_bytes([0x02; 16]);
const SUE: UserId = UserId::from_bytes([0x04; 16]);
/// Seeds of the keys of Rita's phone, Sam's phone and the server.
pub(crate) const SEEDS: [[u8; 32]; 3] = [[0x11; 32], [0x22; 32], [0x33; 32]];
const NOON_MS: i64 = 1_774_958_400_000;

fn eur() -> Currency {
    "EUR".parse().unwrap()
}

fn gtin(place: u64) -> Gtin {
    [8_904_000_210_037, 96_385_074, 10_614_141_000_415].map(|n| Gtin::from_u64(n).unwrap())
        [place as usize]
}

fn note(text: &str, salt: u8) -> Note {
    Note::new(text, [salt; 16]).unwrap()
}

fn photo(n: u8, check: Option<u32>) -> PhotoRef {
    PhotoRef {
        hash: BlobHash::of(&[n]),
        bytes: 180_000 + u32::from(n),
        phash: 0x0123_4567_89ab_cdef,
        check,
        origin: None,
    }
}

/// All that a camera and a program may have left in a file.
fn from_a_camera() -> PhotoOrigin {
    PhotoOrigin {
        file: BlobHash::of(b"file"),
        shown_ms: Some(NOON_MS - 1),
        offset_min: Some(-90),
        place: place(),
        editor: Some("Snapseed".into()),
        written_ms: Some(NOON_MS + 3_600_000),
    }
}

fn moment(step: i64, anchor: u64, skew_ms: Option<i64>) -> Moment {
    Moment {
        wall_ms: NOON_MS + 1_000 * step,
        boot: 7,
        boot_ms: 60_000 + 1_000 * step as u64,
        anchor,
        skew_ms,
        life: (anchor > 0).then(|| cursor().origin.life()),
    }
}

fn place() -> Option<Geo> {
    Some(Geo { lon_e6: 24_940_000, lat_e6: 60_170_000, accuracy_m: Some(12), mock: None })
}

pub(crate) fn volumes() -> Vec<(OutletId, u32)> {
    [(0x00, 0), (0x00, 1), (0x99, 1), (0x99, 2), (0xff, 256), (0xff, 1_000)]
        .map(|(n, number)| (OutletId::from_bytes([n; 16]), number))
        .into()
}

pub(crate) fn geneses() -> Vec<(OrgId, DocId)> {
    let org = |n| OrgId::from_bytes([n; 16]);
    let doc = |kind, n| DocId { kind, id: [n; 16] };
    vec![
        (org(0x00), doc(DocKind::Visit, 0x00)),
        (org(0x0e), doc(DocKind::Visit, 0x02)),
        (org(0x0e), doc(DocKind::Visit, 0xff)),
        (org(0x0e), doc(DocKind::Outlet, 0x02)),
        (org(0xff), doc(DocKind::Outlet, 0x51)),
        (ORG, VisitId::of_call(ORG, CALL).into()),
    ]
}

/// A document and what each of its changes is.
pub(crate) struct Written {
    pub(crate) name: &'static str,
    pub(crate) document: Document,
    pub(crate) entries: Vec<&'static str>,
}

impl Written {
    fn new(name: &'static str, id: DocId) -> Self {
        Self { name, document: Document::new(ORG, id), entries: Vec::new() }
    }

    fn add(&mut self, who: usize, what: &'static str, entry: &Entry) -> ChangeHash {
        entry.validate().unwrap();
        let change = self.document.next(actor(who), entry).unwrap();
        let hash = change.hash();
        self.document.insert(change).unwrap();
        self.entries.push(what);
        hash
    }

    pub(crate) fn group(&self, which: impl Fn(&Change) -> bool) -> Group {
        let id = self.document.id();
        let changes: Vec<_> =
            self.document.changes().iter().filter(|c| which(c)).cloned().collect();
        let newest = |pair: &Keypair| {
            changes.iter().rev().find(|c| c.actor.belongs_to(&pair.public())).map(|c| c.hash())
        };
        let pairs = SEEDS.iter().map(Keypair::from_seed);
        let seals = pairs.filter_map(|pair| newest(&pair).map(|head| pair.seal(ORG, id, head)));
        let mut seals: Vec<_> = seals.collect();
        let place = |head| changes.iter().position(|c| c.hash() == head);
        seals.sort_by_key(|seal| place(seal.head));
        Group { document: id, changes, seals }
    }
}

fn actor(who: usize) -> Actor {
    Actor::new(&Keypair::from_seed(&SEEDS[who]).public(), [who as u8 + 1; 8])
}

fn recording(by: UserId, when: Moment, place: Option<Geo>, act: Act) -> Entry {
    Entry::Recording(Recording { by, when, place, act })
}

fn start(by: UserId, when: Moment, call: Option<CallId>) -> Entry {
    let template = Versioned { number: 1, version: 3 };
    let act = Act::Start { outlet: OUTLET, call, territory: NORTH, distributor: PARTNER, template };
    recording(by, when, place(), act)
}

fn observed(
    facts: Vec<Observation>,
    photos: Vec<PhotoRef>,
    supersedes: Vec<ChangeHash>,
) -> Observed {
    Observed {
        template: Versioned { number: 1, version: 3 },
        planograms: vec![Versioned { number: 1, version: 2 }, Versioned { number: 4, version: 1 }],
        price_list: Some(Versioned { number: 2, version: 5 }),
        observations: Observations(facts),
        photos,
        supersedes,
    }
}

fn fact(check: u32, subject: Subject, value: Value) -> Observation {
    Observation { check, subject, value }
}

/// Every subject and every value, with one of each that this version does not know.
fn every_fact() -> Vec<Observation> {
    let position = |position| Subject::Position { planogram: 1, position };
    let shelf = |facings, in_stock, place| Value::Shelf { facings, in_stock, place };
    let price = |minor| Value::Price(Money { minor, currency: eur() });
    vec![
        fact(1, position(1), shelf(3, true, Place::AsPlanned)),
        fact(1, position(2), shelf(1, false, Place::MovedAlong)),
        fact(1, position(3), shelf(300, false, Place::OtherShelf(2))),
        fact(1, position(300), shelf(0, true, Place::AsPlanned)),
        fact(2, Subject::Product(gtin(0)), price(199)),
        fact(2, Subject::Product(gtin(1)), price(100_000)),
        fact(2, Subject::Unlisted(note("Store brand, blue carton", 9).digest()), price(99)),
        fact(3, Subject::Product(gtin(0)), Value::Stock { on_shelf: true, units: None }),
        fact(3, Subject::Product(gtin(2)), Value::Stock { on_shelf: false, units: Some(0) }),
        fact(4, Subject::Display(4), Value::Met(true)),
        fact(5, Subject::Outlet, Value::Choice(2)),
        fact(6, Subject::Outlet, Value::YesNo(false)),
        fact(7, Subject::Outlet, Value::Number(-40)),
        fact(8, Subject::Outlet, Value::Text(note("Freezer hums", 8).digest())),
        fact(9, Subject::Outlet, Value::Withdrawn),
        fact(10, Subject::Unknown(to_cbor(&(99_u32, "later", 1_u8))), Value::YesNo(true)),
        fact(11, Subject::Outlet, Value::Unknown(to_cbor(&(77_u32, (1_u8, "x"))))),
    ]
}

fn notes() -> Vec<Note> {
    vec![
        note("Store brand, blue carton", 9),
        note("Freezer hums", 8),
        note("Please count the second shelf again.\nThank you!", 7),
        note("Done, it was 2", 6),
    ]
}

/// Five documents in which every kind of entry occurs.
pub(crate) fn documents() -> Vec<Written> {
    let id: DocId = VisitId::of_call(ORG, CALL).into();
    // Rita and Sam begin the same call apart.
    let mut visit = Written::new("visit", id);
    visit.add(0, "start", &start(RITA, moment(0, 41, Some(-250)), Some(CALL)));
    let first = recording(
        RITA,
        moment(1, 41, Some(-250)),
        place(),
        Act::Observe(observed(every_fact(), vec![photo(1, Some(1)), photo(2, None)], Vec::new())),
    );
    let first = visit.add(0, "observe", &first);
    let mut apart = Written::new("apart", id);
    apart.add(1, "start", &start(SAM, moment(2, 0, None), Some(CALL)));
    let position = Subject::Position { planogram: 1, position: 1 };
    let two = Value::Shelf { facings: 2, in_stock: true, place: Place::AsPlanned };
    let count = vec![fact(1, position.clone(), two.clone())];
    let act = Act::Observe(observed(count, Vec::new(), Vec::new()));
    let second = apart.add(1, "observe", &recording(SAM, moment(3, 0, None), None, act));
    for change in apart.document.changes() {
        visit.document.insert(change.clone()).unwrap();
    }
    visit.entries.extend(&apart.entries);
    let mistake = vec![fact(5, Subject::Outlet, Value::Choice(0))];
    let act = Act::Observe(observed(mistake, Vec::new(), Vec::new()));
    let mistake = visit.add(0, "observe", &recording(RITA, moment(4, 44, Some(-250)), None, act));
    let act = Act::Withdraw { recordings: vec![mistake] };
    visit.add(0, "withdraw", &recording(RITA, moment(5, 44, Some(-250)), None, act));
    let done = Submission { by: RITA, when: moment(6, 44, Some(-250)), place: place() };
    visit.add(0, "submission", &Entry::Submission(done));
    let review = visit.add(
        2,
        "review",
        &Entry::Review(Review {
            by: SUE,
            when: Moment {
                wall_ms: NOON_MS + 90_000,
                boot: 0,
                boot_ms: 0,
                anchor: 50,
                skew_ms: Some(0),
                life: None,
            },
            verdict: Verdict::SentBack,
            heads: visit.document.heads().to_vec(),
            comment: Some(notes()[2].digest()),
        }),
    );
    let act = Act::Observe(observed(vec![fact(1, position, two)], Vec::new(), vec![first, second]));
    visit.add(0, "observe", &recording(RITA, moment(100, 51, Some(-250)), place(), act));
    let answer = Post::new(RITA, moment(101, 51, None), notes()[3].digest());
    let answer = Post { answers: Some(review), ..answer };
    visit.add(0, "post", &Entry::Post(answer));
    visit.add(1, "abandon", &recording(SAM, moment(102, 51, None), None, Act::Abandon {}));

    let mut shut = Written::new("not_possible", VisitId::from_bytes([0x33; 16]).into());
    shut.add(1, "start", &start(SAM, moment(200, 60, None), None));
    let (reason, note) = (NotPossible::Closed, None);
    let act = Act::NotPossible { reason, note, photos: vec![photo(3, None)] };
    shut.add(1, "not_possible", &recording(SAM, moment(201, 60, None), place(), act));
    let (reason, note) = (NotPossible::Other, Some(notes()[3].digest()));
    let act = Act::NotPossible { reason, note, photos: Vec::new() };
    shut.add(1, "not_possible", &recording(SAM, moment(202, 60, None), None, act));

    let mut outlet = Written::new("outlet", OutletId::from_bytes([0x99; 16]).into());
    let report = OutletReport {
        by: SAM,
        when: moment(300, 61, None),
        place: place(),
        name: "Kiosk am Hafen".into(),
        address: "Kaivokatu 1, Helsinki".into(),
        territory: NORTH,
        distributor: PARTNER,
        note: Some(notes()[1].digest()),
        photos: vec![PhotoRef { origin: Some(from_a_camera()), ..photo(4, None) }],
        volume: None,
    };
    outlet.add(1, "report", &Entry::Report(report.clone()));
    let post = Post::new(SUE, moment(301, 62, None), notes()[3].digest());
    outlet.add(2, "post", &Entry::Post(post));
    // Its history goes on: each author says first what they have seen of the volume before.
    let id = outlet.document.id();
    let before = outlet.document.heads().to_vec();
    let begins = Volume { outlet: OutletId::from_bytes(id.id), number: 1, before };
    let mut volume = Written::new("volume", begins.document());
    let text = notes()[3].digest();
    let post =
        |step, volume| Entry::Post(Post { volume, ..Post::new(SUE, moment(step, 62, None), text) });
    volume.add(2, "post", &post(400, Some(begins.clone())));
    volume.add(2, "post", &post(401, None));
    let (when, photos) = (moment(402, 62, None), Vec::new());
    let report = OutletReport { when, note: None, photos, volume: Some(begins), ..report };
    volume.add(1, "report", &Entry::Report(report));
    vec![visit, shut, outlet, volume, contested()]
}

/// Sam contests a value of Rita's and the whole visit, and Sue answers.
fn contested() -> Written {
    let mut visit = Written::new("contested", VisitId::from_bytes([0x44; 16]).into());
    visit.add(0, "start", &start(RITA, moment(500, 70, None), None));
    let (check, subject) = (1, Subject::Position { planogram: 1, position: 1 });
    let shelf = |facings| Value::Shelf { facings, in_stock: false, place: Place::AsPlanned };
    let missing = fact(check, subject.clone(), shelf(0));
    let place = place().map(|place| Geo { mock: Some(false), ..place });
    let act = Act::Observe(observed(vec![missing], Vec::new(), Vec::new()));
    let seen = visit.add(0, "observe", &recording(RITA, moment(501, 70, None), place, act));
    let done = Submission { by: RITA, when: moment(502, 70, None), place: None };
    visit.add(0, "submission", &Entry::Submission(done));
    let text = notes()[3].digest();
    let post = |by, step, answers, word| {
        let when = moment(step, 71, None);
        Entry::Post(Post { answers, word: Some(word), ..Post::new(by, when, text) })
    };
    let objection = Objection {
        about: Some(About { check, subject: subject.clone() }),
        seen: vec![seen],
        claim: Some(shelf(2)),
        photos: vec![photo(5, Some(check))],
    };
    let contest = visit.add(1, "contest", &post(SAM, 503, None, Word::Contest(objection)));
    let seen_all = visit.document.heads().to_vec();
    let whole = Objection { about: None, seen: seen_all, claim: None, photos: Vec::new() };
    let all = visit.add(1, "contest", &post(SAM, 504, None, Word::Contest(whole)));
    let mut step = |place, by, at, contest, step| {
        let shown = if step == Step::Close { Vec::new() } else { vec![photo(6, Some(check))] };
        visit.add(place, "step", &post(by, at, Some(contest), Word::Step(step, shown)));
    };
    step(2, SUE, 505, contest, Step::Ask);
    step(1, SAM, 506, contest, Step::Say);
    step(2, SUE, 507, all, Step::Uphold);
    step(1, SAM, 508, all, Step::Close);
    let right = fact(check, subject, shelf(2));
    let act = Act::Observe(observed(vec![right], Vec::new(), vec![seen]));
    visit.add(2, "observe", &recording(SUE, moment(509, 71, None), None, act));
    let text = notes()[2].digest();
    let (when, word) = (moment(510, 71, None), Some(Word::Step(Step::Accept, Vec::new())));
    let accepts = Post { answers: Some(contest), word, ..Post::new(SUE, when, text) };
    visit.add(2, "step", &Entry::Post(accepts));
    visit
}

pub(crate) fn seals() -> Vec<([u8; 32], OrgId, DocId, ChangeHash)> {
    let documents = documents();
    let head = |n: usize| documents[n].document.heads()[0];
    let id = |n: usize| documents[n].document.id();
    vec![
        (SEEDS[0], ORG, id(0), head(0)),
        (SEEDS[1], ORG, id(0), head(0)),
        (SEEDS[2], OrgId::from_bytes([0xff; 16]), id(2), head(2)),
        (
            [0; 32],
            OrgId::from_bytes([0; 16]),
            DocId { kind: DocKind::Visit, id: [0; 16] },
            ChangeHash([0; 32]),
        ),
    ]
}

pub(crate) fn proofs() -> Vec<([u8; 32], &'static str)> {
    vec![(SEEDS[0], "01ABC-DEF89"), (SEEDS[1], "01abcdef89")]
}

pub(crate) fn leaves() -> Vec<(&'static str, Leaf)> {
    let origin = LogOrigin::from_bytes([0x61; 16]);
    let written = documents().swap_remove(0).document;
    let mut leaves = vec![
        ("origin", Leaf::Origin { origin, at_ms: NOON_MS, after: None, key: LogKey([0x69; 32]) }),
        (
            "origin after a restore",
            Leaf::Origin {
                origin,
                at_ms: NOON_MS,
                after: Some((9, LogHash([0x62; 32]))),
                key: LogKey([0x6a; 32]),
            },
        ),
    ];
    for record in records() {
        let leaf = Leaf::record(record.key(), &[0x63; 16], &to_cbor(&record), NOON_MS + 1);
        leaves.push(("record", leaf));
    }
    let unknown = RecordKey { kind: 99, id: [0x64; 16] };
    leaves.push((
        "record of a later kind",
        Leaf::record(unknown, &[0; 16], b"\x82\x18\x63\xa0", NOON_MS + 2),
    ));
    for change in written.changes() {
        let (document, change) = (written.id(), change.hash());
        let device = DeviceId::from_bytes([0x65; 16]);
        leaves
            .push(("change", Leaf::Change { document, change, device, received_ms: NOON_MS + 3 }));
    }
    let (device, by, at_ms) = (DeviceId::from_bytes([0x65; 16]), SUE, NOON_MS + 4);
    let (document, head) = (written.id(), written.changes()[0].hash());
    leaves.push(("decision", Leaf::Decision { document, head, device, by, approved: true, at_ms }));
    let (key, distributor) = (LogKey([0x6a; 32]), PARTNER);
    leaves.push(("confirmation", Leaf::Confirmation { device, key, by, distributor, at_ms }));
    leaves
}

pub(crate) fn records() -> Vec<Record> {
    let (name, day) = ("Name".to_owned(), Day(20_543));
    let question = |answer, options: &[&str]| CheckKind::Question {
        answer,
        options: options.iter().map(|o| (*o).to_owned()).collect(),
    };
    let kinds = [
        CheckKind::Planogram,
        CheckKind::Display { display: 4 },
        CheckKind::Price { gtins: vec![gtin(0)] },
        CheckKind::Stock { gtins: Vec::new() },
        question(AnswerKind::Choice, &["dry", "wet"]),
        question(AnswerKind::YesNo, &[]),
        question(AnswerKind::Number, &[]),
        question(AnswerKind::Text, &[]),
    ];
    let check = |(id, kind)| Check { id, title: "Title".into(), help: "Help".into(), kind };
    let person = |id, role, scope| {
        Record::Person(Person { id, name: "Rita".into(), role, scope, active: true })
    };
    vec![
        Record::Territory(Territory { id: NORTH, parent: None, name: name.clone() }),
        Record::Territory(Territory {
            id: TerritoryId::from_bytes([0x72; 16]),
            parent: Some(NORTH),
            name: name.clone(),
        }),
        Record::Distributor(Distributor {
            id: PARTNER,
            name: name.clone(),
            gln: Some("6430000000008".into()),
        }),
        person(RITA, Role::Rep, Scope::Territory(NORTH)),
        person(SAM, Role::DistributorStaff, Scope::Distributor(PARTNER)),
        Record::Device(Device {
            id: DeviceId::from_bytes([0x65; 16]),
            user: RITA,
            key: Keypair::from_seed(&SEEDS[0]).public(),
            revoked: false,
            lost_ms: None,
        }),
        Record::Product(Product {
            gtin: gtin(0),
            name: name.clone(),
            brand: "Brand".into(),
            category: "milk".into(),
            own: true,
            width_mm: 70,
            height_mm: 200,
            colour: 0x00_33_66,
        }),
        Record::Planogram(Planogram {
            number: 1,
            version: 2,
            name: name.clone(),
            category: "milk".into(),
            width_mm: 1_000,
            height_mm: 1_800,
            shelves: vec![Shelf { number: 1, y_mm: 100, height_mm: 350, name: "Low".into() }],
            positions: vec![Position {
                number: 1,
                shelf: 1,
                x_mm: 0,
                width_mm: 140,
                gtin: gtin(0),
                facings: 2,
            }],
        }),
        Record::PriceList(PriceList {
            number: 2,
            version: 5,
            name: name.clone(),
            currency: eur(),
            tolerance_permille: 50,
            channels: vec!["supermarket".into()],
            prices: vec![ListPrice { gtin: gtin(0), minor: 199, from: day }],
        }),
        Record::Display(Display { number: 4, name: name.clone(), description: "Full".into() }),
        Record::Promotion(Promotion {
            number: 6,
            name: name.clone(),
            starts: day,
            ends: day.plus(13),
            gtins: vec![gtin(0)],
            mechanic: "price_off".into(),
            price_minor: Some(149),
            channels: vec!["supermarket".into()],
        }),
        Record::Template(Template {
            number: 1,
            version: 3,
            name: name.clone(),
            channels: vec!["supermarket".into()],
            checks: (1..).zip(kinds).map(check).collect(),
        }),
        Record::Outlet(Outlet {
            id: OUTLET,
            name,
            code: "0051".into(),
            territory: NORTH,
            distributor: PARTNER,
            channel: "supermarket".into(),
            street: "Street 1".into(),
            town: "00100 Helsinki".into(),
            place: Some(Geo {
                lon_e6: 24_940_000,
                lat_e6: 60_170_000,
                accuracy_m: None,
                mock: None,
            }),
            zone: "Europe/Helsinki".into(),
            planograms: vec![1, 4],
            must_stock: vec![gtin(0)],
            active: true,
            radius_m: Some(400),
        }),
        Record::Call(Call {
            id: CALL,
            outlet: OUTLET,
            day,
            people: vec![RITA, SAM],
            template: 1,
            cancelled: false,
        }),
        erased(ErasedKind::Photo, Some(BlobHash([0x6d; 32]))),
        erased(ErasedKind::Note, Some(notes()[0].digest())),
        Record::Erased(Erased {
            id: *RITA.as_bytes(),
            what: ErasedKind::Person,
            digest: None,
            at_ms: NOON_MS,
        }),
    ]
}

fn erased(what: ErasedKind, digest: Option<BlobHash>) -> Record {
    let id = digest.map(Erased::id_of).unwrap_or_default();
    Record::Erased(Erased { id, what, digest, at_ms: NOON_MS })
}

fn cursor() -> Cursor {
    Cursor { origin: LogOrigin::from_bytes([0x61; 16]), sequence: 300, root: LogHash([0x66; 32]) }
}

fn push() -> PushRequest {
    let documents = documents();
    // Hers up to her submission: a seal reaches others through the group's own changes alone.
    let ritas = |c: &Change| c.actor == actor(0) && c.seq <= 5;
    let sams = |c: &Change| c.actor == actor(1);
    let groups = vec![documents[0].group(ritas), documents[1].group(sams)];
    let previous = Some(LogHash([0x67; 32]));
    PushRequest {
        protocol: PROTOCOL,
        now: moment(400, 70, Some(5)),
        previous,
        groups,
        notes: notes(),
    }
}

/// What somebody holds, each with the hashes of its changes, or a record's bytes.
pub(crate) fn items() -> Vec<(Item, Vec<Vec<u8>>)> {
    let displays = (100..140_u32).map(|number| {
        let (name, description) = (format!("Display {number}"), String::new());
        Record::Display(Display { number, name, description })
    });
    let records = records().into_iter().chain(displays);
    let mut items: Vec<_> =
        records.map(|record| (Item::Record(record.key()), vec![to_cbor(&record)])).collect();
    items.extend(documents().iter().map(|written| {
        let changes = written.document.changes();
        let id = Item::Document(written.document.id());
        (id, changes.iter().map(|change| change.hash().0.to_vec()).collect())
    }));
    items
}

pub(crate) fn inventory() -> Inventory {
    let print = |item, part: &Vec<u8>| match item {
        Item::Record(key) => Print::of_record(key, part),
        Item::Document(_) => Print::of_change(ChangeHash(part[..].try_into().unwrap())),
    };
    let items = items().into_iter();
    Inventory::new(items.map(|(item, parts)| (item, parts.iter().map(|p| print(item, p)).sum())))
}

fn pull_reply() -> PullReply {
    let groups = documents().iter().map(|written| written.group(|_| true)).collect();
    PullReply {
        protocol: PROTOCOL,
        server_ms: NOON_MS + 500_000,
        cursor: cursor(),
        more: true,
        records: records().iter().map(|r| RecordBytes(to_cbor(r))).collect(),
        groups,
        notes: notes(),
        filled: None,
        gone: None,
        decided: None,
        print: None,
        let_go: None,
        receipt: None,
    }
}

/// A receipt in which everything is said.
pub(crate) fn receipt() -> Receipt {
    let Cursor { origin, sequence, root } = cursor();
    let (pair, leaf) = (Keypair::from_seed(&SEEDS[1]), to_cbor(&leaves()[1].1));
    let checkpoint = Checkpoint { org: ORG, life: origin, size: sequence, root };
    let proof = vec![LogHash([0x6d; 32]), LogHash([0x6e; 32])];
    let lives = Some(vec![Life { sequence: 9, leaf, proof: proof.clone() }]);
    let key = Some(LogKey(pair.public()));
    Receipt { signature: checkpoint.signature(&pair), proof, lives, key }
}

/// A checkpoint that a device has kept.
pub(crate) fn checkpoint() -> String {
    let Cursor { origin, sequence, root } = cursor();
    let checkpoint = Checkpoint { org: ORG, life: origin, size: sequence, root };
    checkpoint.sign(&Keypair::from_seed(&SEEDS[1])).to_string()
}

fn push_reply() -> PushReply {
    let refused = Outcome::quarantined("out_of_scope", "in words".into());
    let (code, detail) = ("late".into(), "in words".into());
    let here = Some(vec![ChangeHash([0x66; 32])]);
    let in_part = Outcome::Quarantined { code, detail, here };
    let outcomes = vec![Outcome::Accepted {}, refused, in_part, Outcome::LetGo {}];
    let (server_ms, push) = (NOON_MS, LogHash([0x68; 32]));
    PushReply { protocol: PROTOCOL, server_ms, push, outcomes, copied: Some(true) }
}

/// Name, path, whether it is a request, bytes.
pub(crate) type Message = (&'static str, &'static str, bool, Vec<u8>);

pub(crate) fn messages() -> Vec<Message> {
    const PUSH: &str = "/api/v1/push";
    const PULL: &str = "/api/v1/pull";
    const REPAIR: &str = "/api/v1/repair";
    let first = PushRequest {
        protocol: PROTOCOL,
        now: moment(0, 0, None),
        previous: None,
        groups: vec![documents()[2].group(|c| c.actor == actor(1))],
        notes: Vec::new(),
    };
    let fresh = PullRequest::BEGINNING;
    let later =
        PullRequest { cursor: Some(cursor()), pushed: Some(LogHash([0x68; 32])), ..fresh.clone() };
    let watching =
        PullRequest { known: Some(Known { life: cursor().origin, size: 9 }), ..later.clone() };
    let never_pushed = PullRequest { pushed: None, ..later.clone() };
    let nothing = PullReply {
        more: false,
        records: Vec::new(),
        groups: Vec::new(),
        notes: Vec::new(),
        print: Some(Print::of_change(ChangeHash([0x6c; 32])).name()),
        ..pull_reply()
    };
    let moving = PullRequest { filled: Some(Filled { next: 40, since: 45 }), ..later.clone() };
    let behind = PullRequest { waits: Some(250), ..later.clone() };
    let visit = &documents()[0];
    let by_author = PushRequest {
        groups: [0, 1].map(|n| visit.group(|c| c.actor == actor(n) && c.seq <= 2)).to_vec(),
        ..first.clone()
    };
    let discarded = Outcome::quarantined(Outcome::DISCARDED, "in words".into());
    let moved = PullReply {
        filled: Some(Filled { next: 60, since: 45 }),
        gone: Some(vec![RecordKey::outlet(OUTLET)]),
        decided: Some(
            [(0x64, Outcome::Accepted {}), (0x65, discarded)]
                .map(|(head, outcome)| Decided {
                    document: VisitId::of_call(ORG, CALL).into(),
                    head: ChangeHash([head; 32]),
                    outcome,
                })
                .to_vec(),
        ),
        print: None,
        let_go: Some(vec![VisitId::of_call(ORG, CALL).into()]),
        ..nothing.clone()
    };
    let certified = PullReply { receipt: Some(receipt()), ..nothing.clone() };
    let (whole, inventory) = (Part::WHOLE, inventory());
    let parts: Vec<Part> = whole.parts().take(2).collect();
    let contents = |parts: &[Part]| parts.iter().map(|part| inventory.content(*part)).collect();
    let wanted = vec![
        Item::Record(RecordKey::outlet(OUTLET)),
        Item::Document(VisitId::of_call(ORG, CALL).into()),
    ];
    let where_from = RepairRequest { protocol: PROTOCOL, parts: vec![whole], wanted: Vec::new() };
    let deeper = RepairRequest { parts: parts.clone(), ..where_from.clone() };
    let want = RepairRequest { parts: Vec::new(), wanted, ..where_from.clone() };
    let said = RepairReply {
        protocol: PROTOCOL,
        server_ms: NOON_MS,
        contents: contents(&[whole]),
        given: 0,
        records: Vec::new(),
        groups: Vec::new(),
        notes: Vec::new(),
    };
    let said_deeper = RepairReply { contents: contents(&parts), ..said.clone() };
    let PullReply { records, groups, notes, .. } = pull_reply();
    let given =
        RepairReply { contents: Vec::new(), given: 2, records, groups, notes, ..said.clone() };
    vec![
        ("a first push", PUSH, true, to_wire(ORG, &first)),
        ("a push of one document by author", PUSH, true, to_wire(ORG, &by_author)),
        ("a push of two documents", PUSH, true, to_wire(ORG, &push())),
        ("its reply", PUSH, false, to_wire(ORG, &push_reply())),
        ("a fresh pull", PULL, true, to_wire(ORG, &fresh)),
        ("a later pull", PULL, true, to_wire(ORG, &later)),
        ("a pull of one who has never pushed", PULL, true, to_wire(ORG, &never_pushed)),
        ("a pull of one whose scope has moved", PULL, true, to_wire(ORG, &moving)),
        ("a pull of one who has still to push what is older", PULL, true, to_wire(ORG, &behind)),
        ("its page", PULL, false, to_wire(ORG, &moved)),
        ("a page", PULL, false, to_wire(ORG, &pull_reply())),
        ("nothing new", PULL, false, to_wire(ORG, &nothing)),
        ("a pull of one who has a receipt", PULL, true, to_wire(ORG, &watching)),
        ("a page with a receipt", PULL, false, to_wire(ORG, &certified)),
        ("where a repair begins", REPAIR, true, to_wire(ORG, &where_from)),
        ("what all falls into", REPAIR, false, to_wire(ORG, &said)),
        ("a repair that goes on", REPAIR, true, to_wire(ORG, &deeper)),
        ("what is in two parts", REPAIR, false, to_wire(ORG, &said_deeper)),
        ("what a repair wants whole", REPAIR, true, to_wire(ORG, &want)),
        ("what it is given", REPAIR, false, to_wire(ORG, &given)),
    ]
}

/// Messages as the next version would write them, and what they read as.
pub(crate) fn later() -> Vec<(Message, Vec<u8>)> {
    let longer = |(what, path, request, plain): Message| {
        ((what, path, request, grown(&next::message(path, request), &plain)), plain)
    };
    messages().into_iter().map(longer).collect()
}
