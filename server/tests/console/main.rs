//! The console's pages, drawn from a real store through the real routes.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod claims;
mod dispute;
mod erasing;
mod evidence;
mod field;
mod forms;
mod proof;
mod refused;
mod sight;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use rusqlite::params;
use server::app::{App, Tenant};
use server::config::ServeConfig;
use server::ingest::Sender;
use server::store::StoreError;
use server::store::log::{self, Ledger};
use server::{console, now_ms, people, random, scratch, serve};
use sync_core::document::{Change, Document, Entry, VOLUME_CHANGES};
use sync_core::evidence::{Cursor, Keypair};
use sync_core::id::{
    Actor, BlobHash, CallId, ChangeHash, DeviceId, DistributorId, DocId, Gtin, LogHash, OrgId,
    OutletId, TerritoryId, UserId, VisitId,
};
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{
    AnswerKind, Call, Check, CheckKind, Device, Display, Distributor, ListPrice, Outlet, Person,
    Planogram, Position, PriceList, Product, Record, Shelf, Template, Territory,
};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{
    Act, NotPossible, Note, Observation, Observations, Observed, PhotoRef, Place, Post, Recording,
    Subject, Submission, Value, Verdict, Versioned, Volume,
};
use sync_core::model::{Day, Geo, Money};
use sync_core::visit::{Status, Visit};
use sync_core::wire::{
    Group, Outcome, PROTOCOL, PullReply, PullRequest, PushRequest, from_wire, to_wire,
};
use tower::ServiceExt;

const PASSWORD: &str = "a long password";
const SHELF: u32 = 1;
const PRICE: u32 = 2;
const STOCK: u32 = 3;
const TOWER: u32 = 4;
const WORDS: u32 = 5;
const SCRIPT: &str = "<img src=x onerror=alert(1)>";

const NORTH: TerritoryId = TerritoryId::from_bytes([2; 16]);
const SOUTH: TerritoryId = TerritoryId::from_bytes([3; 16]);
const GROSSIST: DistributorId = DistributorId::from_bytes([1; 16]);
const OTHER: DistributorId = DistributorId::from_bytes([2; 16]);
const MARIA: UserId = UserId::from_bytes([1; 16]);
const SARA: UserId = UserId::from_bytes([2; 16]);
const DORA: UserId = UserId::from_bytes([3; 16]);
const ANNA: UserId = UserId::from_bytes([4; 16]);
const JOHAN: UserId = UserId::from_bytes([5; 16]);
const OUTLET: OutletId = OutletId::from_bytes([1; 16]);
const CALL: CallId = CallId::from_bytes([1; 16]);
const CLOSED_CALL: CallId = CallId::from_bytes([2; 16]);

fn gtin(n: u64) -> Gtin {
    let body = 731_086_000_000 + n;
    (0..10).find_map(|check| Gtin::from_u64(body * 10 + check).ok()).unwrap()
}

fn product(n: u64, name: &str, own: bool) -> Record {
    Record::Product(Product {
        gtin: gtin(n),
        name: name.into(),
        brand: "Ängsholm".into(),
        category: "Dairy".into(),
        own,
        width_mm: 70,
        height_mm: 200,
        colour: 0x00c8_202f,
    })
}

fn position(number: u32, shelf: u32, x_mm: u32, facings: u32) -> Position {
    Position { number, shelf, x_mm, width_mm: 300, gtin: gtin(number.into()), facings }
}

fn check(id: u32, title: &str, kind: CheckKind) -> Check {
    Check { id, title: title.into(), help: String::new(), kind }
}

fn person(id: UserId, name: &str, role: Role, scope: Scope) -> Record {
    Record::Person(Person { id, name: name.into(), role, scope, active: true })
}

fn today() -> Day {
    Day::at(now_ms(), "Europe/Stockholm")
}

fn catalogue() -> Vec<Record> {
    let territory =
        |id, parent, name: &str| Record::Territory(Territory { id, parent, name: name.into() });
    let root = TerritoryId::from_bytes([1; 16]);
    let shelf = |number, y_mm| Shelf { number, y_mm, height_mm: 300, name: format!("{number}") };
    let outlet = |id, name: &str, territory, distributor| {
        Record::Outlet(Outlet {
            id,
            name: name.into(),
            code: "M-92".into(),
            territory,
            distributor,
            channel: "supermarket".into(),
            street: "Sveavägen 92".into(),
            town: "113 50 Stockholm".into(),
            place: Some(Geo::from_degrees(18.0565, 59.344, None).unwrap()),
            zone: "Europe/Stockholm".into(),
            planograms: vec![1],
            must_stock: vec![gtin(1), gtin(2)],
            active: true,
            radius_m: None,
        })
    };
    let call = |id| {
        Record::Call(Call {
            id,
            outlet: OUTLET,
            day: today(),
            people: vec![ANNA],
            template: 1,
            cancelled: false,
        })
    };
    let question = CheckKind::Question { answer: AnswerKind::Text, options: Vec::new() };
    vec![
        territory(root, None, "Sverige"),
        territory(NORTH, Some(root), "Stockholm Norr"),
        territory(SOUTH, Some(root), "Stockholm Söder"),
        Record::Distributor(Distributor {
            id: GROSSIST,
            name: "Mälardal Grossist".into(),
            gln: None,
        }),
        Record::Distributor(Distributor { id: OTHER, name: "Kustlinjen".into(), gln: None }),
        person(MARIA, "Maria Ståhl", Role::Supervisor, Scope::Territory(NORTH)),
        person(SARA, "Sara Ekdahl", Role::Supervisor, Scope::Territory(SOUTH)),
        person(DORA, "Dora Lund", Role::DistributorManager, Scope::Distributor(GROSSIST)),
        person(ANNA, "Anna Lindqvist", Role::Rep, Scope::Territory(NORTH)),
        person(JOHAN, "Johan Berg", Role::DistributorStaff, Scope::Distributor(GROSSIST)),
        product(1, "Standard milk 3 % 1 L", true),
        product(2, "Oat drink vanilla 1 L", true),
        product(3, "Natural yoghurt 1 kg", true),
        product(4, "Dalmark milk 1 L", false),
        Record::Planogram(Planogram {
            number: 1,
            version: 1,
            name: "Chilled dairy".into(),
            category: "Dairy".into(),
            width_mm: 1_000,
            height_mm: 1_200,
            shelves: vec![shelf(1, 300), shelf(2, 700)],
            positions: vec![position(1, 1, 0, 4), position(2, 1, 320, 3), position(3, 2, 100, 4)],
        }),
        Record::PriceList(PriceList {
            number: 1,
            version: 1,
            name: "November".into(),
            currency: "SEK".parse().unwrap(),
            tolerance_permille: 30,
            channels: vec!["supermarket".into()],
            prices: vec![
                ListPrice { gtin: gtin(1), minor: 1_490, from: Day(0) },
                ListPrice { gtin: gtin(2), minor: 2_790, from: Day(0) },
            ],
        }),
        Record::Display(Display {
            number: 1,
            name: "Breakfast end cap".into(),
            description: "40 orange juice and 20 yoghurt".into(),
        }),
        Record::Template(Template {
            number: 1,
            version: 1,
            name: "Chilled full audit".into(),
            channels: vec!["supermarket".into()],
            checks: vec![
                check(SHELF, "Shelf", CheckKind::Planogram),
                check(PRICE, "Shelf prices", CheckKind::Price { gtins: Vec::new() }),
                check(STOCK, "Stock", CheckKind::Stock { gtins: Vec::new() }),
                check(TOWER, "End cap", CheckKind::Display { display: 1 }),
                check(WORDS, "What does the store say?", question),
            ],
        }),
        outlet(OUTLET, "Matrummet <b>&</b> Sveavägen", NORTH, GROSSIST),
        outlet(OutletId::from_bytes([2; 16]), "Strandköp", SOUTH, OTHER),
        call(CALL),
        call(CLOSED_CALL),
    ]
}

/// The server with an organisation in it.
struct Bench {
    folder: PathBuf,
    app: Arc<App>,
    tenant: Arc<Tenant>,
    routes: Router,
    cookies: HashMap<UserId, (String, String)>,
}

struct Reply {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Reply {
    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn shows(&self, parts: &[&str]) -> &Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        for part in parts {
            assert!(self.body.contains(part), "{part} is absent from\n{}", self.body);
        }
        self
    }

    #[track_caller]
    fn hides(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(!self.body.contains(part), "{part} is in\n{}", self.body);
        }
        self
    }

    /// The value of the first hidden field of this name.
    fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let from = self.body.find(&start).unwrap_or_else(|| panic!("no field {name}"));
        let rest = &self.body[from + start.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String { text.bytes().map(|b| format!("%{b:02X}")).collect() };
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

impl Bench {
    async fn new() -> Self {
        let folder = scratch("console");
        let app = App::open(folder.clone()).await.unwrap();
        let tenant = app.create(OrgId::from_bytes([9; 16]), "Ängsholm Mejeri").await.unwrap();
        app.write_records(&tenant, catalogue()).await.unwrap();
        for (user, email) in
            [(MARIA, "maria@a.example"), (SARA, "sara@a.example"), (DORA, "dora@g.example")]
        {
            people::open_account(&app, &tenant, user, email, PASSWORD).await.unwrap();
        }
        let config = ServeConfig::local(folder.clone());
        let routes = serve::router(Arc::clone(&app), config, console::router());
        let mut bench = Self { folder, app, tenant, routes, cookies: HashMap::new() };
        for (user, email) in
            [(MARIA, "maria@a.example"), (SARA, "sara@a.example"), (DORA, "dora@g.example")]
        {
            bench.sign_in(user, email).await;
        }
        bench
    }

    async fn sign_in(&mut self, user: UserId, email: &str) {
        let body = form(&[("email", email), ("password", PASSWORD), ("next", "/visits")]);
        let reply = self.send(None, "POST", "/sign-in", &body).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
        assert_eq!(reply.header(header::LOCATION), "/visits");
        let cookie = reply.header(header::SET_COOKIE).split(';').next().unwrap().to_owned();
        self.cookies.insert(user, (cookie, String::new()));
        let csrf = self.get(user, "/").await.field("csrf");
        self.cookies.get_mut(&user).unwrap().1 = csrf;
    }

    /// The same after the server was given another key and started anew.
    async fn with_another_key(self) -> Self {
        let Self { folder, app, tenant, routes, cookies } = self;
        let org = tenant.org;
        app.change_server_key(&tenant).await.unwrap();
        app.store.close();
        drop((app, tenant, routes));
        let app = App::open(folder.clone()).await.unwrap();
        let tenant = app.tenant(org).unwrap();
        let config = ServeConfig::local(folder.clone());
        let routes = serve::router(Arc::clone(&app), config, console::router());
        Self { folder, app, tenant, routes, cookies }
    }

    async fn close(self) {
        self.app.store.close();
        std::fs::remove_dir_all(self.folder).unwrap();
    }

    /// The live line of an open page.
    async fn line(&self, user: UserId) -> Body {
        let request = Request::builder()
            .uri("/live")
            .header("host", "localhost")
            .header("cookie", &self.cookies[&user].0)
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5))))
            .body(Body::empty())
            .unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    }

    /// Puts an outlet that the field has found on the list.
    async fn add_outlet(&self, found: OutletId, name: &str) {
        let outlet = found.to_string();
        let form = [
            ("outlet", outlet.as_str()),
            ("name", name),
            ("channel", "supermarket"),
            ("zone", "Europe/Stockholm"),
        ];
        let added = self.post(MARIA, "/outlets", &form).await;
        assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.body);
    }

    async fn send(&self, user: Option<UserId>, method: &str, path: &str, body: &str) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("accept", "text/html,*/*;q=0.8")
            .header("content-type", "application/x-www-form-urlencoded")
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5))));
        if let Some((cookie, _)) = user.and_then(|user| self.cookies.get(&user)) {
            request = request.header("cookie", cookie);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 16 << 20).await.unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        Reply { status: head.status, headers: head.headers, body }
    }

    async fn get(&self, user: UserId, path: &str) -> Reply {
        self.send(Some(user), "GET", path, "").await
    }

    /// Sends a form with the session's token.
    async fn post(&self, user: UserId, path: &str, pairs: &[(&str, &str)]) -> Reply {
        let csrf = self.cookies[&user].1.clone();
        let pairs: Vec<(&str, &str)> =
            pairs.iter().copied().chain([("csrf", csrf.as_str())]).collect();
        self.send(Some(user), "POST", path, &form(&pairs)).await
    }

    /// Enrols a phone without asking.
    async fn phone(&self, user: UserId, label: &'static str) -> Phone {
        let seed: [u8; 32] = random();
        let phone = Phone::of(user, &seed);
        self.enrol(&phone, label).await;
        phone
    }

    async fn enrol(&self, phone: &Phone, label: &'static str) {
        let Sender { device, key, user } = phone.sender;
        let org = self.tenant.org;
        let insert = self.app.store.write(move |tx| -> Result<(), StoreError> {
            tx.execute(
                "INSERT INTO device (org, device, user, key, fingerprint, token, label, enrolled_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
                params![
                    org,
                    device.as_bytes(),
                    user.as_bytes(),
                    key,
                    Actor::fingerprint(&key),
                    LogHash::of(device.to_string().as_bytes()).0,
                    label
                ],
            )?;
            Ok(())
        });
        insert.await.unwrap();
        let record =
            Record::Device(Device { id: device, user, key, revoked: false, lost_ms: None });
        self.app.write_records(&self.tenant, vec![record]).await.unwrap();
    }

    /// A copy of a visit as the server has it.
    async fn document(&self, visit: VisitId) -> Document {
        let (org, id) = (self.tenant.org, self.tenant.id);
        let read = self.app.store.read(move |connection| {
            server::store::log::document(connection, org, id, visit.into())
        });
        read.await.unwrap().document
    }

    /// What the form goes by in which a contest of a visit is answered now.
    async fn state(&self, visit: VisitId, contest: ChangeHash) -> String {
        let read = Visit::read(&self.document(visit).await);
        let contest = read.contests.iter().find(|found| found.hash == contest).unwrap();
        contest.state(&read).to_string()
    }

    /// Goes on with a contest as its newest form has it.
    async fn answer(
        &self,
        user: UserId,
        (visit, contest): (VisitId, ChangeHash),
        step: &str,
        comment: &str,
    ) -> StatusCode {
        let seen = self.state(visit, contest).await;
        let form = [("step", step), ("comment", comment), ("seen", &seen)];
        self.post(user, &format!("/visits/{visit}/contests/{contest}"), &form).await.status
    }
}

/// A phone that writes in a copy of a document and pushes what it wrote.
struct Phone {
    sender: Sender,
    keypair: Keypair,
    minutes: u64,
    anchor: u64,
}

impl Phone {
    fn of(user: UserId, seed: &[u8; 32]) -> Self {
        let keypair = Keypair::from_seed(seed);
        let key = keypair.public();
        let device = DeviceId::from_bytes(key[..16].try_into().unwrap());
        Self { sender: Sender { device, key, user }, keypair, minutes: 0, anchor: 1 }
    }

    fn moment(&self) -> Moment {
        let wall_ms = now_ms() - 3_600_000 + self.minutes as i64 * 60_000;
        Moment {
            wall_ms,
            boot: 1,
            boot_ms: self.minutes * 60_000,
            anchor: self.anchor,
            skew_ms: None,
            life: None,
        }
    }

    fn write(&mut self, document: &mut Document, entry: Entry) -> ChangeHash {
        self.minutes += 1;
        let actor = Actor::new(&self.sender.key, [7; 8]);
        let change = document.next(actor, &entry).unwrap();
        let hash = change.hash();
        document.insert(change).unwrap();
        hash
    }

    fn record(&mut self, document: &mut Document, act: Act) -> ChangeHash {
        let place = Some(Geo::from_degrees(18.0566, 59.344, Some(6)).unwrap());
        let recording = Recording { by: self.sender.user, when: self.moment(), place, act };
        self.write(document, Entry::Recording(recording))
    }

    fn start(&mut self, document: &mut Document, call: CallId) -> ChangeHash {
        self.record(
            document,
            Act::Start {
                outlet: OUTLET,
                call: Some(call),
                territory: NORTH,
                distributor: GROSSIST,
                template: Versioned { number: 1, version: 1 },
            },
        )
    }

    fn observe(
        &mut self,
        document: &mut Document,
        facts: Vec<Observation>,
        photos: Vec<PhotoRef>,
        supersedes: Vec<ChangeHash>,
    ) -> ChangeHash {
        let first = Versioned { number: 1, version: 1 };
        let observed = Observed {
            template: first,
            planograms: vec![first],
            price_list: Some(first),
            observations: Observations(facts),
            photos,
            supersedes,
        };
        self.record(document, Act::Observe(observed))
    }

    fn submit(&mut self, document: &mut Document) {
        let submission = Submission { by: self.sender.user, when: self.moment(), place: None };
        self.write(document, Entry::Submission(submission));
    }

    /// A page over HTTP.
    async fn pull(&self, bench: &Bench, cursor: Option<Cursor>) -> PullReply {
        let (org, pushed, filled, known) = (bench.tenant.id, None, None, None);
        let asked = PullRequest { protocol: PROTOCOL, cursor, pushed, filled, known, waits: None };
        let request = Request::post("/api/v1/pull")
            .header("host", "localhost")
            .header("content-type", "application/vnd.endcap.sync+cbor")
            .header("authorization", format!("Bearer {}", self.sender.device))
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5))))
            .body(Body::from(to_wire(org, &asked)));
        let response = bench.routes.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        from_wire(org, &to_bytes(response.into_body(), 16 << 20).await.unwrap()).unwrap()
    }

    async fn push(&self, bench: &Bench, document: &Document, notes: Vec<Note>) {
        assert_eq!(self.outcome(bench, document, notes).await, Outcome::Accepted {});
    }

    async fn outcome(&self, bench: &Bench, document: &Document, notes: Vec<Note>) -> Outcome {
        self.bring(bench, self.group(document), notes).await
    }

    fn group(&self, document: &Document) -> Group {
        let own = document.changes().iter().filter(|c| c.actor.belongs_to(&self.sender.key));
        let changes: Vec<Change> = own.cloned().collect();
        let head = changes.last().unwrap().hash();
        let seals = vec![self.keypair.seal(document.org(), document.id(), head)];
        Group { document: document.id(), changes, seals }
    }

    /// Pushes a group, whosever it is.
    async fn bring(&self, bench: &Bench, group: Group, notes: Vec<Note>) -> Outcome {
        let now = Moment { boot_ms: 3_600_000, ..self.moment() };
        let push =
            PushRequest { protocol: PROTOCOL, now, previous: None, groups: vec![group], notes };
        let name: [u8; 32] = random();
        let turn = bench.tenant.turn().await.unwrap();
        let checked =
            bench.app.verify(&bench.tenant, push, turn).await.map_err(|p| p.sentence()).unwrap();
        let sent = bench.app.push(&bench.tenant, self.sender, checked, LogHash(name)).await;
        let reply = sent.map_err(|p| p.sentence()).unwrap();
        let [outcome] = <[Outcome; 1]>::try_from(reply.outcomes).unwrap();
        outcome
    }
}

fn shelf(position: u32, facings: u32, place: Place) -> Observation {
    Observation {
        check: SHELF,
        subject: Subject::Position { planogram: 1, position },
        value: Value::Shelf { facings, in_stock: false, place },
    }
}

fn price(n: u64, minor: i64) -> Observation {
    Observation {
        check: PRICE,
        subject: Subject::Product(gtin(n)),
        value: Value::Price(Money { minor, currency: "SEK".parse().unwrap() }),
    }
}

fn photo(text: &str, check: u32) -> PhotoRef {
    PhotoRef {
        hash: BlobHash::of(text.as_bytes()),
        bytes: 9,
        phash: 0,
        check: Some(check),
        origin: None,
    }
}

/// Anna and Johan audit one outlet apart; they disagree on facings and on a price.
async fn audited(bench: &Bench) -> VisitId {
    let visit = VisitId::of_call(bench.tenant.id, CALL);
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut johan = bench.phone(JOHAN, "Johan's phone").await;
    let mut hers = Document::new(bench.tenant.id, visit.into());
    let mut his = hers.clone();
    anna.start(&mut hers, CALL);
    let facts = vec![
        shelf(1, 4, Place::AsPlanned),
        shelf(2, 0, Place::AsPlanned),
        shelf(3, 4, Place::AsPlanned),
    ];
    anna.observe(&mut hers, facts, vec![photo("shelf", SHELF)], Vec::new());
    let words = Note::new(SCRIPT, [1; 16]).unwrap();
    let facts = vec![
        price(1, 1_490),
        price(2, 3_090),
        price(4, 1_390),
        Observation {
            check: STOCK,
            subject: Subject::Product(gtin(2)),
            value: Value::Stock { on_shelf: false, units: Some(6) },
        },
        Observation { check: TOWER, subject: Subject::Display(1), value: Value::Met(false) },
        Observation { check: WORDS, subject: Subject::Outlet, value: Value::Text(words.digest()) },
    ];
    anna.observe(&mut hers, facts, Vec::new(), Vec::new());
    anna.submit(&mut hers);
    anna.push(bench, &hers, vec![words]).await;
    johan.start(&mut his, CALL);
    let facts = vec![shelf(3, 2, Place::AsPlanned), price(1, 1_590)];
    johan.observe(&mut his, facts, Vec::new(), Vec::new());
    johan.submit(&mut his);
    johan.push(bench, &his, Vec::new()).await;
    visit
}

#[tokio::test]
async fn a_visit_shows_what_was_seen_and_where_people_disagree() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let page = bench.get(MARIA, &format!("/visits/{visit}")).await;
    page.shows(&[
        "Matrummet &#60;b&#62;&#38;&#60;/b&#62; Sveavägen",
        "Anna Lindqvist",
        "Johan Berg",
        "Submitted",
        "2 conflicts",
        // the planogram, both sides
        "Expected shelf",
        "Observed shelf",
        "1 of 2 positions right, 1 in conflict",
        "Standard milk 3 % 1 L: right, 4 of 4 facings",
        "Oat drink vanilla 1 L: missing, 0 of 3 facings",
        "Natural yoghurt 1 kg: conflict, 4 or 2 of 4 facings",
        // both values of both conflicts, and who says so
        "<div class=\"version-value\">4 facings</div>",
        "<div class=\"version-value\">2 facings</div>",
        "<div class=\"version-value\">14.90 SEK</div>",
        "<div class=\"version-value\">15.90 SEK</div>",
        "Johan&#39;s phone",
        "This one holds",
        // prices
        "+3.00",
        "+10.8 %",
        "Above",
        "Without a recommended price",
        // stock, displays, words
        "Out of stock",
        "Not as agreed",
        "What does the store say?",
        "&#60;img src=x onerror=alert(1)&#62;",
        // photos that are not here
        "Photo on its way",
        // times are claims
        "Not before ",
        ", by what its phone knew; proved: not after ",
        "Claimed by the phone: ",
        ", by the clock that counts since its start, also asleep",
        "6 m from the outlet (±6\u{a0}m)",
    ]);
    page.hides(&[SCRIPT, "<b>&</b>"]);
    assert_eq!(page.header(header::CONTENT_TYPE), "text/html; charset=utf-8");
    assert!(page.header(header::CONTENT_SECURITY_POLICY).contains("style-src 'self'"));
    page.hides(&["style=\"", "onclick="]);
    bench.close().await;
}

#[tokio::test]
async fn out_of_scope_is_not_there() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    for path in [
        format!("/visits/{visit}"),
        format!("/photos/{}", BlobHash::of(b"shelf")),
        format!("/visits/{}", VisitId::from_bytes([8; 16])),
        "/visits/nonsense".to_owned(),
        "/nowhere".to_owned(),
    ] {
        let reply = bench.get(SARA, &path).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        assert!(reply.body.contains("There is no such thing here"), "{path}: {}", reply.body);
        assert!(reply.body.starts_with("<!doctype html>"), "{path}");
    }
    let comment = [("comment", "hello")];
    let reply = bench.post(SARA, &format!("/visits/{visit}/comments"), &comment).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    bench.get(SARA, "/visits").await.shows(&["No visit yet"]).hides(&["Matrummet"]);
    bench.get(SARA, "/").await.hides(&["Matrummet", "Anna"]);
    bench.get(DORA, &format!("/visits/{visit}")).await.shows(&["Conversation"]);
    bench.close().await;
}

#[tokio::test]
async fn what_phones_let_go_of_is_here_as_ever() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let org = bench.tenant.org;
    let gone = bench.app.store.write_for(org, move |tx| -> Result<(), StoreError> {
        log::set_keep_days(tx, org, Some(30))?;
        let mut ledger = Ledger::open(tx, org)?;
        ledger.let_go(now_ms() + 31 * 86_400_000)?;
        ledger.close()
    });
    gone.await.unwrap();
    let org_id = bench.tenant.id;
    let held = bench.app.store.read(move |c| log::document(c, org, org_id, visit.into()));
    assert!(held.await.unwrap().let_go);
    let page = bench.get(MARIA, &format!("/visits/{visit}")).await;
    page.shows(&["Anna Lindqvist", "Conversation"]);
    bench.get(SARA, &format!("/visits/{visit}")).await.hides(&["Anna Lindqvist"]);
    let comment = [("comment", "still here")];
    let said = bench.post(MARIA, &format!("/visits/{visit}/comments"), &comment).await;
    assert_eq!(said.status, StatusCode::SEE_OTHER);
    let held = bench.app.store.read(move |c| log::document(c, org, org_id, visit.into()));
    assert!(!held.await.unwrap().let_go, "a word brings it back to the phones");
    bench.close().await;
}

#[tokio::test]
async fn a_review_judges_what_the_page_showed() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    let page = bench.get(MARIA, &path).await;
    let heads = page.field("heads");

    // While Maria reads, Anna corrects a price.
    let mut anna = bench.phone(ANNA, "Anna's other phone").await;
    let mut copy = bench.document(visit).await;
    let older = Visit::read(&copy)
        .recordings
        .iter()
        .rev()
        .find_map(|r| (r.entry.by == ANNA && r.entry.observed().is_some()).then_some(r.hash));
    anna.observe(&mut copy, vec![price(2, 2_790)], Vec::new(), older.into_iter().collect());
    anna.submit(&mut copy);
    anna.push(&bench, &copy, Vec::new()).await;

    let approve = [("decision", "approve"), ("heads", heads.as_str())];
    let reply = bench.post(MARIA, &format!("{path}/review"), &approve).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    assert_eq!(reply.header(header::LOCATION), path);
    let read = Visit::read(&bench.document(visit).await);
    assert_eq!(read.reviews.len(), 1);
    assert_eq!(read.reviews[0].1.verdict, Verdict::Approved);
    assert_eq!(read.status, Status::Submitted, "the correction was not judged");
    let page = bench.get(MARIA, &path).await;
    page.shows(&[
        "1 recording new since review",
        "New since the review",
        "30.90 SEK became 27.90 SEK",
    ]);
    bench.get(MARIA, "/visits?kind=news").await.shows(&["1 new", "Matrummet"]);

    // Sent back with a comment, which keeps its lines and is no HTML.
    let heads = page.field("heads");
    let comment = "Take it again.\r\n<b>Please</b>";
    let back = [("decision", "send_back"), ("heads", heads.as_str()), ("comment", comment)];
    bench.post(MARIA, &format!("{path}/review"), &back).await;
    let read = Visit::read(&bench.document(visit).await);
    assert_eq!(read.status, Status::SentBack);
    let page = bench.get(MARIA, &path).await;
    page.shows(&["Sent back", "Take it again.", "&#60;b&#62;Please", "sent it back"]);
    page.hides(&["<b>Please</b>", "new since review"]);

    let silent = [("decision", "send_back"), ("heads", heads.as_str()), ("comment", " ")];
    let reply = bench.post(MARIA, &format!("{path}/review"), &silent).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);

    let page = bench.get(MARIA, &path).await;
    let heads = page.field("heads");
    let approve = [("decision", "approve"), ("heads", heads.as_str())];
    bench.post(MARIA, &format!("{path}/review"), &approve).await;
    assert_eq!(Visit::read(&bench.document(visit).await).status, Status::Approved);
    bench.get(MARIA, &path).await.shows(&["Approved by Maria Ståhl"]);
    bench.close().await;
}

#[tokio::test]
async fn a_conflict_is_settled_by_choosing() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    let page = bench.get(MARIA, &path).await;
    // the first conflict is about the shelf; Johan's value
    let (check, subject, over) = (page.field("check"), page.field("subject"), page.field("over"));
    let read = Visit::read(&bench.document(visit).await);
    let conflict = read.conflicts().next().unwrap();
    let his = conflict.1.iter().find(|live| live.by == JOHAN).unwrap().recording.to_string();
    let choice = [
        ("check", check.as_str()),
        ("subject", subject.as_str()),
        ("over", over.as_str()),
        ("recording", his.as_str()),
    ];
    let refused = bench.post(DORA, &format!("{path}/settle"), &choice).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let reply = bench.post(MARIA, &format!("{path}/settle"), &choice).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    let read = Visit::read(&bench.document(visit).await);
    assert_eq!(read.conflicts().count(), 1);
    let page = bench.get(MARIA, &path).await;
    page.shows(&[
        "1 conflict",
        "Natural yoghurt 1 kg: short, 2 of 4 facings",
        "Settled 1 position",
        "Natural yoghurt 1 kg, shelf 2: settled as 2 facings",
    ]);
    let list = bench.get(MARIA, "/visits").await;
    list.shows(&["Johan Berg"]).hides(&["Johan Berg, Maria", "Anna Lindqvist, Maria"]);
    let again = bench.post(MARIA, &format!("{path}/settle"), &choice).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", again.body);
    for broken in ["", "zz", "a0", "ffffffffff"] {
        let choice = [("check", "1"), ("subject", broken), ("over", ""), ("recording", "x")];
        let reply = bench.post(MARIA, &format!("{path}/settle"), &choice).await;
        assert!(reply.status.is_client_error(), "{broken}: {}", reply.status);
    }
    bench.close().await;
}

#[tokio::test]
async fn a_distributor_reads_and_writes_in_the_thread() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let path = format!("/visits/{visit}");
    let page = bench.get(DORA, &path).await;
    page.shows(&["Conversation", "Conflicts"]);
    page.hides(&["This one holds", "Send back", "Approve"]);
    let heads = "00".repeat(32);
    let approve = [("decision", "approve"), ("heads", heads.as_str())];
    let refused = bench.post(DORA, &format!("{path}/review"), &approve).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let comment = [("comment", "We fill it <i>today</i>")];
    let reply = bench.post(DORA, &format!("{path}/comments"), &comment).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    let page = bench.get(MARIA, &path).await;
    page.shows(&["Dora Lund", "We fill it &#60;i&#62;today"]).hides(&["<i>today</i>"]);
    let read = Visit::read(&bench.document(visit).await);
    assert!(matches!(&read.thread[..], [(_, Post { by: DORA, .. })]));
    bench.close().await;
}

#[tokio::test]
async fn a_form_without_its_token_is_refused() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    for csrf in ["", "wrong"] {
        let body = form(&[("comment", "x"), ("csrf", csrf)]);
        let path = format!("/visits/{visit}/comments");
        let reply = bench.send(Some(MARIA), "POST", &path, &body).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert!(reply.body.contains("This page was open for too long"));
    }
    let body = form(&[("comment", "x")]);
    let reply = bench.send(None, "POST", &format!("/visits/{visit}/comments"), &body).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(Visit::read(&bench.document(visit).await).thread.is_empty());
    bench.close().await;
}

#[tokio::test]
async fn a_word_that_very_many_people_are_called_by_is_no_error() {
    let bench = Bench::new().await;
    let visit = audited(&bench).await;
    let north = Scope::Territory(NORTH);
    let people = (0..40_000_u32).map(|n| {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let (id, name) = (UserId::from_bytes(id), format!("Bo {n} Lindqvist"));
        Record::Person(Person { id, name, role: Role::Rep, scope: north, active: false })
    });
    bench.app.write_records(&bench.tenant, people.collect()).await.unwrap();
    let link = format!("href=\"/visits/{visit}\"");
    let more = "Type more of the name";
    bench.get(MARIA, "/visits?q=lindqvist").await.shows(&[more]);
    bench.get(MARIA, "/visits?q=anna").await.shows(&[&link]).hides(&[more]);
    bench.close().await;
}

#[tokio::test]
async fn lists_find_and_count() {
    let bench = Bench::new().await;
    bench.get(MARIA, "/").await.shows(&["The first audit will show up here by itself"]);
    bench.get(MARIA, "/visits").await.shows(&["No visit yet"]);
    let visit = audited(&bench).await;
    let link = format!("href=\"/visits/{visit}\"");
    let today = today();
    for query in [
        "",
        "?q=matrum",
        "?q=JOHAN",
        "?q=m-92",
        "?state=submitted",
        "?kind=conflicts",
        &format!("?territory={NORTH}&distributor={GROSSIST}"),
        &format!("?from={today}&to={today}"),
        "?day=today",
        "?state=nonsense&territory=x&page=y",
    ] {
        bench.get(MARIA, &format!("/visits{query}")).await.shows(&[&link, "50 %", "0/1"]);
    }
    for query in [
        "?q=nobody",
        "?q=sara",
        "?state=approved",
        "?kind=news",
        &format!("?territory={SOUTH}"),
        &format!("?distributor={OTHER}"),
        &format!("?from={}", today.plus(1)),
        "?page=2",
    ] {
        bench
            .get(MARIA, &format!("/visits{query}"))
            .await
            .shows(&["No visit matches"])
            .hides(&[&link]);
    }
    bench.get(MARIA, "/").await.shows(&[
        &link,
        "1 of 2 calls planned today is done. One visit waits for a review.",
        "Johan Berg submitted",
        "of 1 person",
    ]);
    bench.get(DORA, "/").await.shows(&["Waiting for a review", &link]);
    bench.close().await;
}

#[tokio::test]
async fn a_call_that_was_not_possible_says_why() {
    let bench = Bench::new().await;
    let visit = VisitId::of_call(bench.tenant.id, CLOSED_CALL);
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document = Document::new(bench.tenant.id, visit.into());
    anna.start(&mut document, CLOSED_CALL);
    let note = Note::new("Open again on 30 November", [3; 16]).unwrap();
    let act = Act::NotPossible {
        reason: NotPossible::Closed,
        note: Some(note.digest()),
        photos: vec![photo("door", 0)],
    };
    anna.record(&mut document, act);
    anna.push(&bench, &document, vec![note]).await;
    bench
        .get(MARIA, &format!("/visits/{visit}"))
        .await
        .shows(&[
            "Not possible",
            "The outlet was closed",
            "Open again on 30 November",
            "Nothing was audited",
            "5 checks of “Chilled full audit” were due",
            "Photo on its way",
        ])
        .hides(&["ot submitted"]);
    bench.close().await;
}

#[tokio::test]
async fn unsubmitted_work_is_dimmed_and_counts_nothing() {
    let bench = Bench::new().await;
    let visit = VisitId::of_call(bench.tenant.id, CALL);
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut document = Document::new(bench.tenant.id, visit.into());
    anna.start(&mut document, CALL);
    let wrong = anna.observe(&mut document, vec![price(1, 1)], Vec::new(), Vec::new());
    anna.record(&mut document, Act::Withdraw { recordings: vec![wrong] });
    anna.observe(&mut document, vec![shelf(1, 2, Place::MovedAlong)], Vec::new(), Vec::new());
    anna.push(&bench, &document, Vec::new()).await;
    let page = bench.get(MARIA, &format!("/visits/{visit}")).await;
    page.shows(&[
        "In progress",
        "Not submitted yet.",
        "is-moved is-draft",
        "moved, 2 of 4 facings, not submitted yet",
        "Withdrawn",
        "Took back 1 recording",
    ]);
    page.hides(&["id=\"stats\"", "name=\"decision\"", "0.01"]);
    bench.get(MARIA, "/").await.shows(&["Out now", "Anna Lindqvist, since", ", as claimed"]);
    bench.close().await;
}

#[tokio::test]
async fn signing_in_and_out() {
    let bench = Bench::new().await;
    let first = bench.send(None, "GET", "/visits?q=a%20b", "").await;
    assert_eq!(first.status, StatusCode::SEE_OTHER);
    assert_eq!(first.header(header::LOCATION), "/sign-in?next=%2Fvisits%3Fq%3Da%2520b");
    let page = bench.send(None, "GET", first.header(header::LOCATION), "").await;
    page.shows(&["To the console of Ängsholm Mejeri", "value=\"/visits?q=a%20b\""]);
    let evil = bench.send(None, "GET", "/sign-in?next=//evil.example", "").await;
    evil.shows(&["name=\"next\" value=\"/\""]);
    let wrong = form(&[("email", "\"><b>@x.example"), ("password", "not it at all")]);
    let reply = bench.send(None, "POST", "/sign-in", &wrong).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(reply.body.contains("The e-mail address or the password is not right"));
    assert!(!reply.body.contains("\"><b>@x"), "{}", reply.body);

    let short = [("current", PASSWORD), ("new", "short")];
    let reply = bench.post(MARIA, "/password", &short).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    let longer = [("current", PASSWORD), ("new", "another long password")];
    bench.post(MARIA, "/password", &longer).await.shows(&["The password is changed"]);

    let reply = bench.post(MARIA, "/sign-out", &[]).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert_eq!(bench.get(MARIA, "/").await.status, StatusCode::SEE_OTHER);
    let live = bench.send(Some(MARIA), "GET", "/live", "").await;
    assert_eq!(live.status, StatusCode::SEE_OTHER);
    bench.close().await;
}

#[tokio::test]
async fn files_are_named_by_their_content() {
    let bench = Bench::new().await;
    let page = bench.get(MARIA, "/").await;
    for (start, kind) in
        [("/assets/console-", "text/css"), ("src=\"/assets/console-", "text/javascript")]
    {
        let from = page.body.find(start).unwrap() + start.find("/assets").unwrap();
        let url = &page.body[from..from + page.body[from..].find('"').unwrap()];
        let file = bench.send(None, "GET", url, "").await;
        assert_eq!(file.status, StatusCode::OK, "{url}");
        assert_eq!(file.header(header::CONTENT_TYPE), kind);
        assert!(file.header(header::CACHE_CONTROL).contains("immutable"));
    }
    let old = bench.send(None, "GET", "/assets/console-0000000000000000.css", "").await;
    assert_eq!(old.status, StatusCode::NOT_FOUND);
    bench.close().await;
}

#[tokio::test]
async fn an_open_page_hears_of_work_until_the_session_ends() {
    use futures_util::StreamExt;
    let bench = Bench::new().await;
    let mut events = bench.line(MARIA).await.into_data_stream();
    audited(&bench).await;
    let event = events.next().await.unwrap().unwrap();
    assert_eq!(&event[..], b"data: poke\n\n");
    bench.post(MARIA, "/sign-out", &[]).await;
    let visit = VisitId::of_call(bench.tenant.id, CALL);
    let comment = [("comment", "one more")];
    bench.post(DORA, &format!("/visits/{visit}/comments"), &comment).await;
    while let Some(event) = events.next().await {
        assert_eq!(&event.unwrap()[..], b"data: poke\n\n");
    }
    bench.close().await;
}

#[tokio::test]
async fn pages_have_room_and_turns_of_their_organisation() {
    use futures_util::FutureExt;
    let bench = Bench::new().await;
    let mut room: Vec<_> = std::iter::from_fn(|| bench.tenant.room().ok()).collect();
    let refused = bench.get(MARIA, "/").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    room.pop();
    bench.get(MARIA, "/").await.shows(&["Maria"]);
    // A line that is open is no request any more.
    let line = bench.line(MARIA).await;
    bench.get(MARIA, "/").await.shows(&["Maria"]);

    // One of its people leaves room for the others.
    drop(room);
    let asked = || bench.app.limits.pages.begin((bench.tenant.org, MARIA));
    let mut held: Vec<_> = std::iter::from_fn(asked).collect();
    let refused = bench.get(MARIA, "/").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    bench.get(DORA, "/").await.shows(&["Dora"]);
    held.pop();
    bench.get(MARIA, "/").await.shows(&["Maria"]);

    // Its pages wait for each other, and not for its phones.
    let mut phones = Vec::new();
    while let Some(turn) = bench.tenant.turn().now_or_never() {
        phones.push(turn.unwrap());
    }
    assert_eq!(bench.app.look(&bench.tenant, |_| Ok(7)).await.unwrap(), 7);
    {
        let all = u32::try_from(bench.tenant.pages.available_permits()).unwrap();
        let pages = bench.tenant.pages.acquire_many(all).await.unwrap();
        let mut look = std::pin::pin!(bench.app.look(&bench.tenant, |_| Ok(7)));
        assert!(look.as_mut().now_or_never().is_none());
        drop(pages);
        assert_eq!(look.await.unwrap(), 7);
    }
    drop((held, phones, line));
    bench.close().await;
}

#[tokio::test]
async fn an_outlet_shows_the_newest_of_what_was_said_of_it_in_all_volumes() {
    let bench = Bench::new().await;
    let url = format!("/outlets/{OUTLET}");
    bench.get(MARIA, &url).await.hides(&["What was said"]);
    let mut anna = bench.phone(ANNA, "Anna's phone").await;
    let mut notes = Vec::new();
    let mut say = |phone: &mut Phone, document: &mut Document, text: &str, volume| {
        let note = Note::new(text, [notes.len() as u8; 16]).unwrap();
        let (by, when, text) = (ANNA, phone.moment(), note.digest());
        phone.write(document, Entry::Post(Post { volume, ..Post::new(by, when, text) }));
        notes.push(note);
    };
    let mut first = Document::new(bench.tenant.id, OUTLET.into());
    for _ in 1..VOLUME_CHANGES {
        anna.minutes = 0;
        say(&mut anna, &mut first, "long ago", None);
    }
    say(&mut anna, &mut first, "the last of <b>volume 0</b>", None);
    let mut second = Document::new(bench.tenant.id, DocId::volume(OUTLET, 1));
    let before = first.heads().to_vec();
    anna.minutes = 2;
    let volume = Some(Volume { outlet: OUTLET, number: 1, before });
    say(&mut anna, &mut second, "the first of volume 1", volume);
    anna.push(&bench, &first, notes.clone()).await;
    anna.push(&bench, &second, notes).await;
    let page = bench.get(MARIA, &url).await;
    page.shows(&[
        "What was said",
        "The newest 100",
        "Anna Lindqvist",
        "the last of &#60;b&#62;volume 0&#60;/b&#62;",
    ]);
    let at = |text: &str| page.body.find(text).unwrap();
    assert!(at("the first of volume 1") < at("the last of &#60;b&#62;volume 0"));
    assert_eq!(page.body.matches("<blockquote>").count(), 100);
}
