//! The scorecard, what is behind it, outlets and people: real pages over real pushes.
//!
//! All visits lie in fixed past days, so that no figure depends on when the tests run.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rusqlite::params;
use server::app::{App, Tenant};
use server::config::ServeConfig;
use server::ingest::Sender;
use server::store::StoreError;
use server::store::figures::{self, Contested, Period, Place};
use server::store::log;
use server::{console, people, scratch, serve};
use sync_core::document::{Document, Entry};
use sync_core::evidence::Keypair;
use sync_core::id::{
    Actor, CallId, DeviceId, DistributorId, DocId, Gtin, LogHash, OutletId, TerritoryId, UserId,
    VisitId,
};
use sync_core::kpi::{Counts, Kpi, Ratio, per_visit};
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{
    Call, Check, CheckKind, Device, Display, Distributor, ListPrice, Outlet, Person, Planogram,
    Position, PriceList, Product, Record, Shelf, Template, Territory,
};
use sync_core::model::contest::{Objection, Step, Word};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{
    Act, Note, Observation, Observations, Observed, OutletReport, Place as Found, Post, Recording,
    Subject, Submission, Value, Versioned,
};
use sync_core::model::{Day, Geo, Money};
use sync_core::visit::Visit;
use sync_core::wire::{Group, MEDIA_TYPE, Outcome, PROTOCOL, PullRequest, PushRequest, to_wire};
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery";
const ZONE: &str = "Europe/Helsinki";
/// 10 March 2025, a Monday, and its week.
const MONDAY: Day = Day(20_157);
const WEEK: &str = "period=custom&from=2025-03-10&to=2025-03-16";

const NORTH: TerritoryId = TerritoryId::from_bytes([1; 16]);
const NORTH_EAST: TerritoryId = TerritoryId::from_bytes([2; 16]);
const SOUTH: TerritoryId = TerritoryId::from_bytes([3; 16]);
const FROST: DistributorId = DistributorId::from_bytes([1; 16]);
const COASTS: DistributorId = DistributorId::from_bytes([2; 16]);
const SAM: UserId = UserId::from_bytes([1; 16]);
const MIA: UserId = UserId::from_bytes([2; 16]);
const ROB: UserId = UserId::from_bytes([3; 16]);
const NEA: UserId = UserId::from_bytes([4; 16]);
const DAN: UserId = UserId::from_bytes([5; 16]);
const EVE: UserId = UserId::from_bytes([6; 16]);

const SHELF: u32 = 1;
const PRICE: u32 = 2;
const STOCK: u32 = 3;
const TOWER: u32 = 4;
const FIRST: Versioned = Versioned { number: 1, version: 1 };

fn cola() -> Gtin {
    Gtin::from_u64(8_904_000_210_037).unwrap()
}

fn lemon() -> Gtin {
    Gtin::from_u64(4_006_381_333_931).unwrap()
}

fn outlet_id(n: u8) -> OutletId {
    OutletId::from_bytes([n; 16])
}

fn call_id(n: u8) -> CallId {
    CallId::from_bytes([n; 16])
}

fn place(n: u8) -> Place {
    match n {
        1 => (NORTH_EAST, FROST),
        2 => (NORTH, COASTS),
        4 => (SOUTH, FROST),
        _ => (SOUTH, COASTS),
    }
}

fn outlet(n: u8, name: &str) -> Outlet {
    let (territory, distributor) = place(n);
    Outlet {
        id: outlet_id(n),
        name: name.into(),
        code: format!("K-{n}"),
        territory,
        distributor,
        channel: if n == 2 { "super_market" } else { "kiosk" }.into(),
        street: format!("{n} Harbour Street"),
        town: "Kotka".into(),
        place: None,
        zone: ZONE.into(),
        planograms: vec![1],
        must_stock: vec![cola(), lemon()],
        active: true,
        radius_m: None,
    }
}

fn catalogue(root: TerritoryId) -> Vec<Record> {
    let territory = |id, parent, name: &str| {
        Record::Territory(Territory { id, parent: Some(parent), name: name.into() })
    };
    let distributor =
        |id, name: &str| Record::Distributor(Distributor { id, name: name.into(), gln: None });
    let person = |id, name: &str, role, scope| {
        Record::Person(Person { id, name: name.into(), role, scope, active: true })
    };
    let product = |gtin, name: &str| {
        let (brand, category) = ("Oats".into(), "Drinks".into());
        let (width_mm, height_mm, colour) = (70, 200, 0);
        let name = name.into();
        Record::Product(Product {
            gtin,
            name,
            brand,
            category,
            own: true,
            width_mm,
            height_mm,
            colour,
        })
    };
    let check = |id, kind| Check { id, title: "Check".into(), help: String::new(), kind };
    let position = |number, gtin, facings| {
        let (shelf, x_mm, width_mm) = (1, 300 * (number - 1), 300);
        Position { number, shelf, x_mm, width_mm, gtin, facings }
    };
    let price = |gtin, minor| ListPrice { gtin, minor, from: Day(0) };
    let call = |n: u8, outlet: u8, day: Day, cancelled| {
        let (id, outlet, people) = (call_id(n), outlet_id(outlet), vec![ROB]);
        Record::Call(Call { id, outlet, day, people, template: 1, cancelled })
    };
    vec![
        territory(NORTH, root, "North"),
        territory(NORTH_EAST, NORTH, "North-east"),
        territory(SOUTH, root, "South"),
        distributor(FROST, "Frost & Sons"),
        distributor(COASTS, "Both Coasts"),
        person(SAM, "Sam", Role::Supervisor, Scope::Territory(NORTH)),
        person(MIA, "Mia", Role::DistributorManager, Scope::Distributor(FROST)),
        person(ROB, "Rob", Role::Rep, Scope::Territory(root)),
        person(NEA, "Nea", Role::Rep, Scope::Territory(NORTH_EAST)),
        person(DAN, "Dan", Role::DistributorStaff, Scope::Distributor(FROST)),
        person(EVE, "Eve", Role::DistributorStaff, Scope::Distributor(COASTS)),
        product(cola(), "Cola 1 l"),
        product(lemon(), "Lemon 1 l"),
        Record::Planogram(Planogram {
            number: 1,
            version: 1,
            name: "Drinks wall".into(),
            category: "Drinks".into(),
            width_mm: 1_000,
            height_mm: 2_000,
            shelves: vec![Shelf { number: 1, y_mm: 0, height_mm: 300, name: "1".into() }],
            positions: vec![
                position(1, cola(), 3),
                position(2, lemon(), 2),
                position(3, cola(), 1),
            ],
        }),
        Record::PriceList(PriceList {
            number: 1,
            version: 1,
            name: "Spring".into(),
            currency: "EUR".parse().unwrap(),
            tolerance_permille: 50,
            channels: vec!["kiosk".into(), "super_market".into()],
            prices: vec![price(cola(), 200), price(lemon(), 100)],
        }),
        Record::Display(Display { number: 1, name: "Tower".into(), description: String::new() }),
        Record::Template(Template {
            number: 1,
            version: 1,
            name: "Audit".into(),
            channels: vec!["kiosk".into(), "super_market".into()],
            checks: vec![
                check(SHELF, CheckKind::Planogram),
                check(PRICE, CheckKind::Price { gtins: Vec::new() }),
                check(STOCK, CheckKind::Stock { gtins: Vec::new() }),
                check(TOWER, CheckKind::Display { display: 1 }),
            ],
        }),
        Record::Outlet(outlet(1, "Café <b>Ankkuri</b>")),
        Record::Outlet(outlet(2, "Broadway")),
        Record::Outlet(outlet(3, "Corner")),
        Record::Outlet(outlet(4, "Dockside")),
        Record::Outlet(Outlet { active: false, ..outlet(5, "Emptied") }),
        call(1, 1, MONDAY, false),
        call(2, 2, MONDAY, false),
        call(3, 3, MONDAY.plus(2), false),
        call(4, 4, MONDAY.plus(1), false),
        call(5, 4, MONDAY.plus(3), true),
        call(6, 1, MONDAY.plus(7), false),
    ]
}

fn shelf(position: u32, facings: u32) -> Observation {
    let (subject, place) = (Subject::Position { planogram: 1, position }, Found::AsPlanned);
    let value = Value::Shelf { facings, in_stock: false, place };
    Observation { check: SHELF, subject, value }
}

fn price(gtin: Gtin, minor: i64) -> Observation {
    let value = Value::Price(Money { minor, currency: "EUR".parse().unwrap() });
    Observation { check: PRICE, subject: Subject::Product(gtin), value }
}

fn stock(gtin: Gtin, on_shelf: bool) -> Observation {
    let value = Value::Stock { on_shelf, units: None };
    Observation { check: STOCK, subject: Subject::Product(gtin), value }
}

fn tower(met: bool) -> Observation {
    Observation { check: TOWER, subject: Subject::Display(1), value: Value::Met(met) }
}

struct Served {
    folder: PathBuf,
    app: Arc<App>,
    tenant: Arc<Tenant>,
    routes: Router,
    rob: (Sender, Keypair),
    pushed: Option<LogHash>,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
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

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Somebody's browser, with all its cookies.
struct Browser {
    cookies: BTreeMap<String, String>,
    csrf: String,
}

impl Served {
    async fn new() -> Self {
        let folder = scratch("figures");
        let app = App::open(folder.clone()).await.unwrap();
        let tenant = people::found(&app, "Nordic Oats", "Ada", "ada@oats.example", PASSWORD).await;
        let tenant = tenant.unwrap();
        let root = *tenant.world().territories.keys().next().unwrap();
        app.write_records(&tenant, catalogue(root)).await.unwrap();
        for (user, email) in [(SAM, "sam@oats.example"), (MIA, "mia@frost.example")] {
            people::open_account(&app, &tenant, user, email, PASSWORD).await.unwrap();
        }
        let config = ServeConfig::local(folder.clone());
        let routes = serve::router(Arc::clone(&app), config, console::router());
        let rob = phone(&app, &tenant, ROB).await;
        let mut served = Self { folder, app, tenant, routes, rob, pushed: None };
        served.seed().await;
        served
    }

    async fn close(self) {
        self.app.store.close();
        std::fs::remove_dir_all(self.folder).unwrap();
    }

    /// The week's visits, one of the week before, and one that nobody submitted.
    async fn seed(&mut self) {
        let all_right = || vec![shelf(1, 3), shelf(2, 2), shelf(3, 1)];
        self.visit(1, None, MONDAY.plus(-3), all_right(), true).await;
        let some =
            [shelf(1, 4), shelf(2, 1), shelf(3, 0), stock(cola(), true), stock(lemon(), false)];
        let more = [price(cola(), 200), price(lemon(), 150), tower(true)];
        self.visit(1, Some(1), MONDAY, some.into_iter().chain(more).collect(), true).await;
        let mut all = all_right();
        all.extend([stock(cola(), true), stock(lemon(), true), tower(false)]);
        all.extend([price(cola(), 205), price(lemon(), 98)]);
        self.visit(2, Some(2), MONDAY.plus(1), all, true).await;
        let none = vec![stock(cola(), false), stock(lemon(), false)];
        self.visit(3, Some(3), MONDAY.plus(2), none, true).await;
        self.visit(4, Some(4), MONDAY.plus(1), all_right(), false).await;
    }

    async fn visit(
        &mut self,
        outlet: u8,
        call: Option<u8>,
        day: Day,
        facts: Vec<Observation>,
        submitted: bool,
    ) -> VisitId {
        let call = call.map(call_id);
        let visit = match call {
            Some(call) => VisitId::of_call(self.tenant.id, call),
            None => VisitId::fresh(day.0.unsigned_abs().into(), [outlet; 10]),
        };
        let (territory, distributor) = place(outlet);
        let outlet = outlet_id(outlet);
        let when = noon(day);
        let record = |act| Entry::Recording(Recording { by: ROB, when, place: None, act });
        let observed = Observed {
            template: FIRST,
            planograms: vec![FIRST],
            price_list: Some(FIRST),
            observations: Observations(facts),
            photos: Vec::new(),
            supersedes: Vec::new(),
        };
        let mut entries = vec![
            record(Act::Start { outlet, call, territory, distributor, template: FIRST }),
            record(Act::Observe(observed)),
        ];
        if submitted {
            entries.push(Entry::Submission(Submission { by: ROB, when, place: None }));
        }
        self.push(visit.into(), entries).await;
        visit
    }

    async fn report(&mut self, n: u8, name: &str, address: &str) {
        let (territory, distributor) = place(n);
        let report = OutletReport {
            by: ROB,
            when: noon(MONDAY),
            place: Some(Geo::from_degrees(26.9458, 60.4664, Some(9)).unwrap()),
            name: name.into(),
            address: address.into(),
            territory,
            distributor,
            note: None,
            photos: Vec::new(),
            volume: None,
        };
        self.push(outlet_id(n).into(), vec![Entry::Report(report)]).await;
    }

    /// Says otherwise what was submitted at a visit.
    async fn correct(&mut self, visit: VisitId, day: Day, facts: Vec<Observation>) {
        let document = self.document(visit.into()).await;
        let observed = document.changes().iter().filter(|change| {
            let act = match change.entry() {
                Ok(Entry::Recording(recording)) => recording.act,
                _ => return false,
            };
            matches!(act, Act::Observe(_))
        });
        let (when, supersedes) = (noon(day), observed.map(|change| change.hash()).collect());
        let observations = Observations(facts);
        let (planograms, price_list, photos) = (vec![FIRST], Some(FIRST), Vec::new());
        let template = FIRST;
        let act = Act::Observe(Observed {
            template,
            planograms,
            price_list,
            observations,
            photos,
            supersedes,
        });
        let recording = Recording { by: ROB, when, place: None, act };
        let submission = Submission { by: ROB, when, place: None };
        let entries = vec![Entry::Recording(recording), Entry::Submission(submission)];
        self.push(visit.into(), entries).await;
    }

    async fn document(&self, id: DocId) -> Document {
        let (org, name) = (self.tenant.org, self.tenant.id);
        let read = self.app.store.read(move |connection| log::document(connection, org, name, id));
        read.await.unwrap().document
    }

    async fn push(&mut self, id: DocId, entries: Vec<Entry>) {
        let (sender, keypair) = (self.rob.0, &self.rob.1);
        let mut document = self.document(id).await;
        let known = document.changes().len();
        for entry in &entries {
            let change = document.next(Actor::new(&sender.key, [7; 8]), entry).unwrap();
            document.insert(change).unwrap();
        }
        let changes = document.changes()[known..].to_vec();
        let seals = vec![keypair.seal(self.tenant.id, id, changes.last().unwrap().hash())];
        let group = Group { document: id, changes, seals };
        // Another boot than the captures': then the wall clock is what counts.
        let now = Moment { wall_ms: 0, boot: 2, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
        let (previous, notes) = (self.pushed, Vec::new());
        let push = PushRequest { protocol: PROTOCOL, now, previous, groups: vec![group], notes };
        let name = LogHash::of(&to_wire(self.tenant.id, &push));
        let turn = self.tenant.turn().await.unwrap();
        let checked = self.app.verify(&self.tenant, push, turn).await.unwrap();
        let reply = self.app.push(&self.tenant, sender, checked, name).await.unwrap();
        assert_eq!(reply.outcomes, [Outcome::Accepted {}]);
        self.pushed = Some(name);
    }

    async fn send(&self, request: axum::http::request::Builder, body: Vec<u8>) -> Reply {
        let peer = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5)));
        let request = request.header("host", "endcap.example").extension(peer);
        let request = request.body(Body::from(body)).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 16 << 20).await.unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        Reply { status: head.status, headers: head.headers, body }
    }

    async fn browser(&self, email: &str) -> Browser {
        let mut browser = Browser { cookies: BTreeMap::new(), csrf: String::new() };
        let reply = self
            .submit(&mut browser, "/sign-in", &[("email", email), ("password", PASSWORD)])
            .await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
        let page = self.page(&browser, "/scorecard").await;
        let from = page.body.find("name=\"csrf\" value=\"").unwrap() + 19;
        browser.csrf = page.body[from..].split('"').next().unwrap().to_owned();
        browser
    }

    async fn page(&self, browser: &Browser, path: &str) -> Reply {
        let request = Request::builder().uri(path).header("accept", "text/html");
        self.send(request.header("cookie", browser.line()), Vec::new()).await
    }

    async fn submit(&self, browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Reply {
        let csrf = browser.csrf.clone();
        let encode = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let fields = fields.iter().copied().chain([("csrf", csrf.as_str())]);
        let fields = fields.map(|(name, value)| format!("{name}={}", encode(value)));
        let body = fields.collect::<Vec<_>>().join("&");
        let request = Request::builder().method("POST").uri(path).header("accept", "text/html");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let reply = self.send(request.header("cookie", browser.line()), body.into_bytes()).await;
        for line in reply.headers.get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            browser.cookies.insert(name.to_owned(), value.to_owned());
        }
        reply
    }

    async fn pull(&self, token: &str) -> Reply {
        let pull = PullRequest::BEGINNING;
        let request = Request::builder().method("POST").uri("/api/v1/pull");
        let request = request.header("content-type", MEDIA_TYPE);
        let request = request.header("authorization", format!("Bearer {token}"));
        self.send(request, to_wire(self.tenant.id, &pull)).await
    }
}

impl Browser {
    fn line(&self) -> String {
        let pairs = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }
}

fn noon(day: Day) -> Moment {
    let wall_ms = i64::from(day.0) * 86_400_000 + 10 * 3_600_000;
    Moment { wall_ms, boot: 1, boot_ms: 0, anchor: 0, skew_ms: None, life: None }
}

async fn phone(app: &App, tenant: &Arc<Tenant>, user: UserId) -> (Sender, Keypair) {
    let keypair = Keypair::from_seed(&[9; 32]);
    let key = keypair.public();
    let device = DeviceId::from_bytes([9; 16]);
    let org = tenant.org;
    let insert = app.store.write(move |tx| -> Result<(), StoreError> {
        let fingerprint = Actor::fingerprint(&key);
        tx.execute(
            "INSERT INTO device (org, device, user, key, fingerprint, token, label, enrolled_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'Rob''s <b>phone</b>', 0)",
            params![
                org,
                device.as_bytes(),
                user.as_bytes(),
                key,
                fingerprint,
                LogHash::of(b"rob").0
            ],
        )?;
        Ok(())
    });
    insert.await.unwrap();
    let record = Record::Device(Device { id: device, user, key, revoked: false, lost_ms: None });
    app.write_records(tenant, vec![record]).await.unwrap();
    (Sender { device, key, user }, keypair)
}

/// The figures that a scorecard links to: the address and `n / d`.
fn links(page: &Reply) -> Vec<(String, Ratio)> {
    let cells = page.body.split("<a href=\"/scorecard/").skip(1);
    let cells = cells.map(|cell| {
        let (url, rest) = cell.split_once('"').unwrap();
        let url = format!("/scorecard/{}", url.replace("&#38;", "&").replace("&amp;", "&"));
        let frac = rest.split("<span class=\"frac\">").nth(1).unwrap();
        let frac = frac.split('<').next().unwrap();
        let (numerator, denominator) = frac.split_once(" / ").unwrap();
        let (numerator, denominator) = (numerator.parse().unwrap(), denominator.parse().unwrap());
        (url, Ratio { numerator, denominator })
    });
    cells.collect()
}

/// The figures of a row: by the end of the address.
fn row(page: &Reply, end: &str) -> HashMap<String, (u64, u64)> {
    let of_row = links(page).into_iter().filter(|(url, _)| url.ends_with(end));
    let kpi = |url: &str| url["/scorecard/".len()..].split('?').next().unwrap().to_owned();
    of_row.map(|(url, ratio)| (kpi(&url), (ratio.numerator, ratio.denominator))).collect()
}

fn figures_of(all: &[(Kpi, (u64, u64))]) -> HashMap<String, (u64, u64)> {
    all.iter().map(|(kpi, ratio)| (kpi.id().to_owned(), *ratio)).collect()
}

/// What the rows behind a figure add up to.
fn behind(kpi: Kpi, page: &Reply) -> Ratio {
    let table = page.body.split("id=\"drill-table\"").nth(1).unwrap_or_default();
    let rows = table.split("<tbody>").nth(1).unwrap_or_default();
    let rows = rows.split("</tbody>").next().unwrap();
    let badge = match kpi {
        Kpi::OutletCoverage => Some("Visited</span>"),
        Kpi::JourneyPlanAdherence => Some("On its day</span>"),
        _ => None,
    };
    if let Some(badge) = badge {
        let numerator = rows.matches(badge).count() as u64;
        return Ratio { numerator, denominator: rows.matches("<tr>").count() as u64 };
    }
    let mut sum = Ratio::default();
    for row in rows.split("<tr>").skip(1) {
        let number = |cell: &&str| {
            cell.split_once('>').and_then(|(_, n)| n.split('<').next()?.parse::<u64>().ok())
        };
        let cells: Vec<&str> = row.split("<td class=\"num\"").skip(1).collect();
        sum.numerator += cells.first().and_then(number).unwrap();
        sum.denominator += cells.get(1).and_then(number).unwrap();
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scorecard_says_what_was_seen() {
    let served = Served::new().await;
    let ada = served.browser("ada@oats.example").await;
    let page = served.page(&ada, &format!("/scorecard?{WEEK}")).await;
    page.shows(&["10 Mar 2025 to 16 Mar 2025", "North-east", "the 7 days before"]);
    let all = [
        (Kpi::OutletCoverage, (3, 4)),
        (Kpi::JourneyPlanAdherence, (2, 4)),
        (Kpi::PlanogramCompliance, (4, 6)),
        (Kpi::PlanogramPresent, (5, 6)),
        (Kpi::PlanogramShelf, (5, 6)),
        (Kpi::PlanogramPlace, (5, 6)),
        (Kpi::PlanogramFacings, (4, 6)),
        (Kpi::OnShelfAvailability, (3, 6)),
        (Kpi::DisplayCompliance, (1, 2)),
        (Kpi::PriceCompliance, (3, 4)),
    ];
    assert_eq!(row(&page, "by=territory"), figures_of(&all));
    let root = served.tenant.world().territories.values().find(|t| t.parent.is_none()).unwrap().id;
    assert_eq!(row(&page, &format!("territory={root}")), figures_of(&all));
    let north_east = [
        (Kpi::OutletCoverage, (1, 1)),
        (Kpi::JourneyPlanAdherence, (1, 1)),
        (Kpi::PlanogramCompliance, (1, 3)),
        (Kpi::PlanogramPresent, (2, 3)),
        (Kpi::PlanogramShelf, (2, 3)),
        (Kpi::PlanogramPlace, (2, 3)),
        (Kpi::PlanogramFacings, (1, 3)),
        (Kpi::OnShelfAvailability, (1, 2)),
        (Kpi::DisplayCompliance, (1, 1)),
        (Kpi::PriceCompliance, (1, 2)),
    ];
    assert_eq!(row(&page, &format!("&territory={NORTH_EAST}")), figures_of(&north_east));
    let south = [
        (Kpi::OutletCoverage, (1, 2)),
        (Kpi::JourneyPlanAdherence, (1, 2)),
        (Kpi::OnShelfAvailability, (0, 2)),
    ];
    assert_eq!(row(&page, &format!("&territory={SOUTH}")), figures_of(&south));
    let north = row(&page, &format!("&territory={NORTH}"));
    assert_eq!(north["planogram_compliance"], (4, 6));
    assert_eq!(north["journey_plan_adherence"], (1, 2));
    // Everything was right the week before, and nothing else was audited then.
    page.shows(&["down</span> 33.3", "median +1.3 %", "Planned positions observed with a facing"]);

    let page = served.page(&ada, &format!("/scorecard?{WEEK}&by=distributor")).await;
    let frost = row(&page, &format!("&distributor={FROST}"));
    assert_eq!(frost["outlet_coverage"], (1, 2));
    assert_eq!(frost["journey_plan_adherence"], (1, 2));
    assert_eq!(frost["planogram_compliance"], (1, 3));
    let coasts = row(&page, &format!("&distributor={COASTS}"));
    assert_eq!(coasts["outlet_coverage"], (2, 2));
    assert_eq!(coasts["journey_plan_adherence"], (1, 2));
    assert_eq!(coasts["on_shelf_availability"], (2, 4));
    assert_eq!(row(&page, "by=distributor"), figures_of(&all));
    served.close().await;
}

async fn sums(served: &Served, period: Period, contested: Contested) -> Vec<(Place, Kpi, Ratio)> {
    let org = served.tenant.org;
    let read =
        served.app.store.read(move |connection| figures::sums(connection, org, period, contested));
    read.await.unwrap()
}

fn of(sums: &[(Place, Kpi, Ratio)], kpi: Kpi) -> (u64, u64) {
    let of_kpi = sums.iter().filter(|(_, of, _)| *of == kpi).map(|(.., ratio)| *ratio);
    let sum = of_kpi.fold(Ratio::default(), |sum, ratio| sum.checked_add(ratio).unwrap());
    (sum.numerator, sum.denominator)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sums_equal_a_rebuild_from_facts() {
    let mut served = Served::new().await;
    let week = Period { first: MONDAY, last: MONDAY.plus(6) };
    served.visit(4, None, MONDAY.plus(4), vec![stock(cola(), true), tower(true)], true).await;
    assert_eq!(of(&sums(&served, week, Contested::With).await, Kpi::PlanogramCompliance), (4, 6));
    let first = VisitId::of_call(served.tenant.id, call_id(1));
    served.correct(first, MONDAY, vec![shelf(2, 2), stock(lemon(), true)]).await;
    assert_eq!(of(&sums(&served, week, Contested::With).await, Kpi::PlanogramCompliance), (5, 6));
    assert_eq!(of(&sums(&served, week, Contested::With).await, Kpi::OnShelfAvailability), (5, 7));
    // The first visit is contested, and what it counts for is told apart. So it is once it is corrected again.
    let by = MIA;
    let heads = served.document(first.into()).await.heads().to_vec();
    let note = Note::new("Nobody was there", [1; 16]).unwrap();
    let text = note.digest();
    let entry = move |when| {
        let (about, claim, photos) = (None, None, Vec::new());
        let word = Some(Word::Contest(Objection { about, seen: heads, claim, photos }));
        Entry::Post(Post { word, ..Post::new(by, when, text) })
    };
    served.app.act(&served.tenant, first.into(), Some(note), entry).await.unwrap();
    equal_a_rebuild(&served).await;
    assert_eq!(of(&sums(&served, week, Contested::With).await, Kpi::PlanogramCompliance), (5, 6));
    assert_eq!(
        of(&sums(&served, week, Contested::Without).await, Kpi::PlanogramCompliance),
        (3, 3)
    );
    served.correct(first, MONDAY, vec![shelf(2, 1)]).await;
    equal_a_rebuild(&served).await;
    assert_eq!(
        of(&sums(&served, week, Contested::Without).await, Kpi::PlanogramCompliance),
        (3, 3)
    );
    // Found wrong as a whole it counts in neither, until somebody says more.
    let contest = Visit::read(&served.document(first.into()).await).contests[0].hash;
    for (by, step, sum) in [(SAM, Step::Accept, (3, 3)), (MIA, Step::Say, (4, 6))] {
        let note = Note::new("So it is", [2; 16]).unwrap();
        let (text, answers) = (note.digest(), Some(contest));
        let entry = move |when| {
            let word = Some(Word::Step(step, Vec::new()));
            Entry::Post(Post { answers, word, ..Post::new(by, when, text) })
        };
        served.app.act(&served.tenant, first.into(), Some(note), entry).await.unwrap();
        for (contested, sum) in [(Contested::With, sum), (Contested::Without, (3, 3))] {
            let sums = sums(&served, week, contested).await;
            assert_eq!(of(&sums, Kpi::PlanogramCompliance), sum, "{step:?} {contested:?}");
        }
        let left = equals_a_rebuild(&served, Contested::With).await;
        assert_eq!(left == 8 + 8 + 1 + 2, step == Step::Say);
    }
    served.close().await;
}

async fn equal_a_rebuild(served: &Served) {
    for contested in [Contested::With, Contested::Without] {
        let places = equals_a_rebuild(served, contested).await;
        let fewer = if contested == Contested::With { 0 } else { 3 };
        assert_eq!(places, 8 + 8 + 1 + 2 - fewer, "{contested:?}");
    }
}

/// How many places and KPIs there are figures of.
async fn equals_a_rebuild(served: &Served, contested: Contested) -> usize {
    let org = served.tenant.org;
    let period = Period { first: MONDAY.plus(-30), last: MONDAY.plus(30) };
    let read = served.app.store.read(move |connection| {
        let mut rebuilt: BTreeMap<Place, Counts> = BTreeMap::new();
        let more = figures::each_counted(
            connection,
            org,
            (period, contested),
            1_000,
            |_| true,
            |line| {
                let sum = rebuilt.entry(line.place).or_default();
                *sum = sum.checked_add(&per_visit(&line.facts()?)).unwrap();
                Ok(())
            },
        )?;
        assert!(!more);
        Ok(rebuilt)
    });
    let rebuilt = read.await.unwrap();
    let kept = sums(served, period, contested).await;
    let kept: BTreeMap<(Place, &str), Ratio> =
        kept.into_iter().map(|(place, kpi, ratio)| ((place, kpi.id()), ratio)).collect();
    let rebuilt: BTreeMap<(Place, &str), Ratio> = rebuilt
        .iter()
        .flat_map(|(place, counts)| counts.iter().map(|(kpi, ratio)| ((*place, kpi.id()), ratio)))
        .collect();
    assert_eq!(kept, rebuilt);
    rebuilt.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_is_the_sum_of_what_is_behind_it() {
    let served = Served::new().await;
    let mut opened = 0;
    for email in ["ada@oats.example", "sam@oats.example", "mia@frost.example"] {
        let browser = served.browser(email).await;
        for by in ["territory", "distributor"] {
            let page = served.page(&browser, &format!("/scorecard?{WEEK}&by={by}")).await;
            for (url, ratio) in links(&page) {
                let kpi = url["/scorecard/".len()..].split('?').next().unwrap();
                let kpi = Kpi::from_id(kpi).unwrap();
                let drill = served.page(&browser, &url).await;
                drill.shows(&[kpi.id(), " v1</span>"]);
                assert_eq!(behind(kpi, &drill), ratio, "{email} {url}\n{}", drill.body);
                opened += 1;
            }
        }
    }
    assert!(opened > 100, "{opened}");
    served.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_figure_is_named() {
    let served = Served::new().await;
    let ada = served.browser("ada@oats.example").await;
    let visit = VisitId::of_call(served.tenant.id, call_id(1));
    let get = |kpi: &str| format!("/scorecard/{kpi}?{WEEK}");
    let page = served.page(&ada, &get("planogram_compliance")).await;
    let link = format!("href=\"/visits/{visit}\"");
    page.shows(&["66.7 %", "in 2 visits to 2 outlets", &link]);
    page.shows(&["Caf\u{e9} &#60;b&#62;Ankkuri", "Drinks wall, position 2: 1 short"]);
    page.shows(&["Drinks wall, position 3: 1 missing", "Where it is lost", "83.3 %"]);
    page.hides(&["<b>Ankkuri", "position 1:"]);
    let page = served.page(&ada, &get("on_shelf_availability")).await;
    page.shows(&["Most often missing", "Lemon 1 l", "1 / 3", "Cola 1 l", "2 / 3"]);
    let page = served.page(&ada, &get("price_compliance")).await;
    page.shows(&["Largest deviations", "+50.0 %", "1.50 EUR", "1.00 EUR", "Outside"]);
    let page = served.page(&ada, &get("display_compliance")).await;
    page.shows(&["Most often not met", "Tower", "1 / 2"]);
    let page = served.page(&ada, &get("outlet_coverage")).await;
    page.shows(&["Dockside", "Not visited", "By territory", "Never"]).hides(&["Emptied"]);
    let page = served.page(&ada, &get("journey_plan_adherence")).await;
    page.shows(&["By person", "On 11 Mar 2025", "Not submitted", "On its day", "2 / 4"]);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_stay_within_their_viewers_scope() {
    let served = Served::new().await;
    let mia = served.browser("mia@frost.example").await;
    let page = served.page(&mia, &format!("/scorecard?{WEEK}&by=distributor")).await;
    page.shows(&["You see the 2 outlets of Frost &#38; Sons", "Nordic Oats sees the same"]);
    page.hides(&["Both Coasts"]);
    let own = row(&page, &format!("&distributor={FROST}"));
    let ada = served.browser("ada@oats.example").await;
    let brand = served.page(&ada, &format!("/scorecard?{WEEK}&by=distributor")).await;
    assert_eq!(own, row(&brand, &format!("&distributor={FROST}")), "both companies see the same");

    let sam = served.browser("sam@oats.example").await;
    let page = served.page(&sam, &format!("/scorecard?{WEEK}")).await;
    page.shows(&["North-east"]).hides(&["South", "Dockside"]);
    assert_eq!(row(&page, "by=territory")["outlet_coverage"], (2, 2));

    let found = |browser, url: String| {
        let served = &served;
        async move { served.page(browser, &url).await.status }
    };
    let osa = |more: String| format!("/scorecard/on_shelf_availability?{WEEK}{more}");
    let none = StatusCode::NOT_FOUND;
    assert_eq!(found(&mia, osa(format!("&distributor={FROST}"))).await, StatusCode::OK);
    assert_eq!(found(&mia, osa(format!("&distributor={COASTS}"))).await, none);
    assert_eq!(found(&sam, osa(format!("&territory={NORTH_EAST}"))).await, StatusCode::OK);
    assert_eq!(found(&sam, osa(format!("&territory={SOUTH}"))).await, none);
    assert_eq!(found(&ada, osa(format!("&territory={SOUTH}"))).await, StatusCode::OK);
    assert_eq!(found(&ada, osa("&territory=everywhere".into())).await, none);
    let unknown = TerritoryId::from_bytes([99; 16]);
    assert_eq!(found(&ada, osa(format!("&territory={unknown}"))).await, none);
    assert_eq!(found(&ada, format!("/scorecard/strike_rate?{WEEK}")).await, none);
    let wrong = "/scorecard?period=custom&from=soon".to_owned();
    assert_eq!(found(&ada, wrong).await, StatusCode::UNPROCESSABLE_ENTITY);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outlets_are_found_and_shown_to_those_who_look_after_them() {
    let served = Served::new().await;
    let ada = served.browser("ada@oats.example").await;
    let page = served.page(&ada, "/outlets").await;
    page.shows(&["4 active outlets", "Broadway", "Dockside", "Super market", "K-1"]);
    page.shows(&["<b>33 %</b> <span class=\"muted\">1/3", "Submitted", "In progress"]);
    page.hides(&["Emptied", "<b>Ankkuri", "Reported new</h2>"]);
    let page = served.page(&ada, "/outlets?show=closed").await;
    page.shows(&["Emptied", "No longer served"]).hides(&["Broadway"]);
    served.page(&ada, "/outlets?show=never").await.shows(&["Dockside"]).hides(&["Broadway"]);
    served.page(&ada, "/outlets?q=k-3").await.shows(&["Corner"]).hides(&["Broadway"]);
    served
        .page(&ada, "/outlets?channel=super_market")
        .await
        .shows(&["Broadway"])
        .hides(&["Corner"]);
    let page = served.page(&ada, &format!("/outlets?territory={SOUTH}&distributor={FROST}")).await;
    page.shows(&["Dockside"]).hides(&["Corner", "Broadway"]);
    let page = served.page(&ada, "/outlets?q=%3Cscript%3E").await;
    page.shows(&["No outlet found", "value=\"&#60;script&#62;\""]);

    let page = served.page(&ada, &format!("/outlets/{}", outlet_id(1))).await;
    page.shows(&["Nordic Oats / North / North-east", "Drinks wall", "1 of 2 missing", "Lemon 1 l"]);
    page.shows(&["10 Mar 2025", "7 Mar 2025", "1 of 3 positions right", "2 visits"]);
    let mia = served.browser("mia@frost.example").await;
    served.page(&mia, "/outlets").await.shows(&["Dockside"]).hides(&["Broadway", "Both Coasts"]);
    let others = served.page(&mia, &format!("/outlets/{}", outlet_id(2))).await;
    assert_eq!(others.status, StatusCode::NOT_FOUND);
    let others = served.page(&mia, &format!("/outlets?distributor={COASTS}")).await;
    assert_eq!(others.status, StatusCode::NOT_FOUND);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reported_outlet_is_put_on_the_list() {
    let mut served = Served::new().await;
    served.report(6, "Kiosk <i>Six</i>", "6 Quay, Hamina").await;
    served.report(1, "Café Ankkuri", "1 Harbour Street, Kotka").await;
    let mut sam = served.browser("sam@oats.example").await;
    served.page(&sam, "/outlets?show=reported").await.shows(&["Nothing waits"]);
    let mut ada = served.browser("ada@oats.example").await;
    let page = served.page(&ada, "/outlets").await;
    page.shows(&[
        "Kiosk &#60;i&#62;Six",
        "Add to the list",
        "value=\"6 Quay\"",
        "value=\"Hamina\"",
    ]);
    let id = outlet_id(6).to_string();
    let fields = [
        ("outlet", id.as_str()),
        ("name", "Kiosk Six"),
        ("street", "6 Quay"),
        ("town", "Hamina"),
        ("channel", "kiosk"),
        ("zone", ZONE),
    ];
    let outside = served.submit(&mut sam, "/outlets", &fields).await;
    assert_eq!(outside.status, StatusCode::NOT_FOUND);
    let mut mia = served.browser("mia@frost.example").await;
    let no_right = served.submit(&mut mia, "/outlets", &fields).await;
    assert_eq!(no_right.status, StatusCode::FORBIDDEN);
    let mut wrong = fields;
    wrong[5] = ("zone", "Mars/Base");
    let refused = served.submit(&mut ada, "/outlets", &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let csrf = std::mem::replace(&mut ada.csrf, "stolen".to_owned());
    let forged = served.submit(&mut ada, "/outlets", &fields).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    ada.csrf = csrf;
    assert!(!served.tenant.world().outlets.contains_key(&outlet_id(6)));
    let added = served.submit(&mut ada, "/outlets", &fields).await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.body);
    assert_eq!(added.header(header::LOCATION), format!("/outlets/{id}"));
    {
        let world = served.tenant.world();
        let outlet = &world.outlets[&outlet_id(6)];
        assert_eq!((outlet.territory, outlet.distributor), place(6));
        assert_eq!((&outlet.planograms, &outlet.must_stock), (&vec![1], &vec![cola(), lemon()]));
        assert!(outlet.place.is_some() && outlet.active);
    }
    served.page(&ada, &format!("/outlets/{id}")).await.shows(&["Kiosk Six", "by Rob", "60.46640"]);
    served.page(&ada, "/outlets").await.shows(&["Kiosk Six"]).hides(&["Add to the list"]);
    let again = served.submit(&mut ada, "/outlets", &fields).await;
    assert_eq!(again.status, StatusCode::SEE_OTHER);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_enrols_a_phone_and_a_lost_phone_is_out() {
    let served = Served::new().await;
    let mut sam = served.browser("sam@oats.example").await;
    let url = format!("/people/{NEA}");
    served.page(&sam, &url).await.shows(&["Make a code", "No phone has been enrolled"]);
    let made = served.submit(&mut sam, &format!("{url}/codes"), &[]).await;
    assert_eq!((made.status, made.header(header::LOCATION)), (StatusCode::SEE_OTHER, &*url));
    let cookie = made.header(header::SET_COOKIE);
    assert!(cookie.contains(&format!("Path={url}; HttpOnly; SameSite=Strict")), "{cookie}");
    let page = served.page(&sam, &url).await;
    page.shows(&["Code waiting", "<svg xmlns=", "role=\"img\"", "Scan the picture"]);
    let code = page.body.split("id=\"code\">").nth(1).unwrap().split('<').next().unwrap();
    assert_eq!(code.len(), 11);
    served.page(&sam, "/people").await.shows(&["Code waiting", "1 code waits to be used"]);
    // Whoever has not been given the code sees that there is one, and not which.
    let ada = served.browser("ada@oats.example").await;
    served.page(&ada, &url).await.shows(&["cannot be shown again"]).hides(&[code]);

    let keypair = Keypair::from_seed(&[5; 32]);
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let body = serde_json::json!({
        "code": code,
        "key": encode(&keypair.public()),
        "proof": encode(&keypair.prove(code)),
        "label": "Nea's <b>phone</b>",
    });
    let request = Request::builder().method("POST").uri("/api/v1/enrol");
    let request = request.header("content-type", "application/json");
    let enrolled = served.send(request, body.to_string().into_bytes()).await;
    assert_eq!(enrolled.status, StatusCode::OK, "{}", enrolled.body);
    let reply: serde_json::Value = serde_json::from_str(&enrolled.body).unwrap();
    let (device, token) = (reply["device"].as_str().unwrap(), reply["token"].as_str().unwrap());
    let page = served.page(&sam, &url).await;
    page.shows(&["Nea&#39;s &#60;b&#62;phone", "is enrolled.", "Not synced yet", "1 active"]);
    page.hides(&[code, "<svg xmlns=", "<b>phone"]);
    assert_eq!(served.pull(token).await.status, StatusCode::OK);
    let page = served.page(&sam, &url).await;
    page.shows(&["In step", "Phone lost: withdraw its access", "Yes, withdraw its access"]);

    let revoke = format!("/devices/{device}/revoke");
    let mut mia = served.browser("mia@frost.example").await;
    assert_eq!(served.submit(&mut mia, &revoke, &[]).await.status, StatusCode::FORBIDDEN);
    let mut forger = Browser { cookies: sam.cookies.clone(), csrf: "stolen".to_owned() };
    assert_eq!(served.submit(&mut forger, &revoke, &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(served.pull(token).await.status, StatusCode::OK);
    let revoked = served.submit(&mut sam, &revoke, &[]).await;
    assert_eq!((revoked.status, revoked.header(header::LOCATION)), (StatusCode::SEE_OTHER, &*url));
    let refused = served.pull(token).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.body.contains("urn:endcap:problem:revoked"), "{}", refused.body);
    let page = served.page(&sam, &url).await;
    page.shows(&["0 active, 1 withdrawn", "Access withdrawn"]).hides(&["Phone lost:"]);
    served.page(&sam, "/people").await.shows(&["Phone withdrawn"]);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_says_how_long_phones_keep_visits() {
    let served = Served::new().await;
    let mut ada = served.browser("ada@oats.example").await;
    let chosen = |value: &str| format!("<option value=\"{value}\" selected>");
    let page = served.page(&ada, "/people").await;
    page.shows(&["What phones keep", &chosen("")]).hides(&[&chosen("90")]);
    for days in ["90", "400"] {
        let saved = served.submit(&mut ada, "/phones/keep", &[("days", days)]).await;
        assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
        served.page(&ada, "/people").await.shows(&[&chosen(days)]);
    }
    for (days, status) in [
        ("6", StatusCode::UNPROCESSABLE_ENTITY),
        ("3651", StatusCode::UNPROCESSABLE_ENTITY),
        ("-1", StatusCode::UNPROCESSABLE_ENTITY),
        ("soon", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let refused = served.submit(&mut ada, "/phones/keep", &[("days", days)]).await;
        assert_eq!(refused.status, status, "{days}");
    }
    let mut sam = served.browser("sam@oats.example").await;
    served.page(&sam, "/people").await.hides(&["What phones keep"]);
    let refused = served.submit(&mut sam, "/phones/keep", &[("days", "30")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    served.page(&ada, "/people").await.shows(&[&chosen("400")]);
    let saved = served.submit(&mut ada, "/phones/keep", &[("days", "")]).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER);
    served.page(&ada, "/people").await.shows(&[&chosen("")]);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_store_is_told() {
    let served = Served::new().await;
    let forge = served.app.store.write(|tx| -> Result<(), StoreError> {
        tx.execute("UPDATE device SET forked = 2", [])?;
        Ok(())
    });
    forge.await.unwrap();
    let ada = served.browser("ada@oats.example").await;
    let page = served.page(&ada, &format!("/people/{ROB}")).await;
    page.shows(&["Another copy of this phone’s store has pushed, 2 times.", "Copied store"]);
    served.page(&ada, "/people").await.shows(&["Copied store"]);
    served.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_kept_by_admins_and_seen_by_who_looks_after_them() {
    let served = Served::new().await;
    let mut ada = served.browser("ada@oats.example").await;
    served.page(&ada, "/people").await.shows(&[
        "Add a person",
        "Eve",
        "Frost &#38; Sons",
        "Console",
    ]);
    served.page(&ada, "/people?role=supervisor").await.shows(&["Sam"]).hides(&["Eve", ">Rob<"]);
    served.page(&ada, "/people?company=brand&q=r").await.shows(&[">Rob<"]).hides(&[">Dan<"]);
    let mut mia = served.browser("mia@frost.example").await;
    let page = served.page(&mia, "/people").await;
    page.shows(&[">Dan<", ">Mia<"]).hides(&[">Eve<", ">Rob<", ">Nea<", "Add a person"]);
    for outside in [EVE, ROB, SAM] {
        let page = served.page(&mia, &format!("/people/{outside}")).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{outside}");
    }
    served.page(&mia, &format!("/people/{DAN}")).await.shows(&["Make a"]).hides(&["h-edit"]);
    let sam = served.browser("sam@oats.example").await;
    served.page(&sam, "/people").await.shows(&[">Nea<"]).hides(&[">Rob<", ">Eve<", ">Mia<"]);

    let scope = format!("t.{NORTH}");
    let new =
        [("name", "Kim"), ("role", "supervisor"), ("scope", &scope), ("email", "Kim@oats.example")];
    let refused = served.submit(&mut mia, "/people", &new).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let mut unfit = new;
    unfit[1] = ("role", "distributor_staff");
    let refused = served.submit(&mut ada, "/people", &unfit).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.body.contains("role=\"alert\"") && refused.body.contains("value=\"Kim\""));
    let made = served.submit(&mut ada, "/people", &new).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.body);
    let url = made.header(header::LOCATION).to_owned();
    let page = served.page(&ada, &url).await;
    page.shows(&["The password is", "kim@oats.example", "Supervisor, Nordic Oats"]);
    let password = page.body.split("The password is <span class=\"mono\">").nth(1).unwrap();
    let password = password.split('<').next().unwrap().to_owned();
    let mut kim = Browser { cookies: BTreeMap::new(), csrf: String::new() };
    let sign_in = [("email", "kim@oats.example"), ("password", &*password)];
    let entered = served.submit(&mut kim, "/sign-in", &sign_in).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER);
    assert_eq!(served.page(&kim, "/people").await.status, StatusCode::OK);
    let taken = served.submit(&mut ada, "/people", &new).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);

    let south = format!("t.{SOUTH}");
    let edit = [("name", "Kim North"), ("role", "supervisor"), ("scope", &*south)];
    assert_eq!(served.submit(&mut ada, &url, &edit).await.status, StatusCode::SEE_OTHER);
    served.page(&ada, &url).await.shows(&["Kim North", "Nordic Oats · South"]);
    assert_eq!(served.submit(&mut kim, &url, &edit).await.status, StatusCode::FORBIDDEN);
    let left = served.submit(&mut ada, &format!("{url}/active"), &[("active", "no")]).await;
    assert_eq!(left.status, StatusCode::SEE_OTHER);
    served.page(&ada, &url).await.shows(&["Open the access again", "Left"]).hides(&["Make a code"]);
    assert_eq!(served.page(&kim, "/people").await.status, StatusCode::SEE_OTHER, "signed out");
    let me = ada_of(&served);
    let last = served.submit(&mut ada, &format!("/people/{me}/active"), &[("active", "no")]).await;
    assert_eq!(last.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(last.body.contains("needs an active admin"), "{}", last.body);
    served.close().await;
}

fn ada_of(served: &Served) -> UserId {
    let world = served.tenant.world();
    world.people.values().find(|person| person.role == Role::Admin).unwrap().id
}
