//! The server as its clients meet it: over real connections, with everything that surrounds a request.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use server::app::{App, Tenant};
use server::auth::{self, Client, Posted, Viewer};
use server::config::ServeConfig;
use server::error::Problem;
use server::init::{Init, InitError, init};
use server::limits::{LINES_OF_DEVICE_MAX, REPAIRS_MAX};
use server::people::{self, NewPerson};
use server::store::StoreError;
use server::{now_ms, scratch, serve};
use sync_core::cargo::{Cargo, Load, PARCELS_MAX, Parcel};
use sync_core::document::{Document, Entry};
use sync_core::evidence::Keypair;
use sync_core::id::{
    Actor, DeviceId, DistributorId, DocId, DocKind, LogHash, OutletId, TerritoryId, UserId,
};
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{Distributor, Outlet, Person, Record, RecordKey, Territory};
use sync_core::model::people::{Audience, Role, Scope};
use sync_core::model::visit::Submission;
use sync_core::print::{Content, Inventory, Item, Part, Print};
use sync_core::wire::{
    CargoReply, CargoRequest, Delivery, Group, MEDIA_TYPE, PARTS_MAX, PROTOCOL, ParcelBytes,
    PullReply, PullRequest, PushReply, PushRequest, RepairReply, RepairRequest, WANTED_MAX,
    from_wire, to_wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PASSWORD: &str = "correct horse battery";
const NORTH: TerritoryId = TerritoryId::from_bytes([1; 16]);
const SOUTH: TerritoryId = TerritoryId::from_bytes([2; 16]);
const DISTRIBUTOR: DistributorId = DistributorId::from_bytes([3; 16]);
const OTHER_DISTRIBUTOR: DistributorId = DistributorId::from_bytes([4; 16]);
const SUPERVISOR: UserId = UserId::from_bytes([5; 16]);
const MANAGER: UserId = UserId::from_bytes([6; 16]);
const REP: UserId = UserId::from_bytes([7; 16]);
const SOUTH_REP: UserId = UserId::from_bytes([8; 16]);
const STAFF: UserId = UserId::from_bytes([9; 16]);
const OTHER_STAFF: UserId = UserId::from_bytes([10; 16]);

/// A server in a folder of its own, with a brand, two territories, two distributors and their people.
struct Served {
    folder: PathBuf,
    app: Arc<App>,
    tenant: Arc<Tenant>,
    url: String,
    address: SocketAddr,
    http: reqwest::Client,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Served {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(configure: impl FnOnce(&mut ServeConfig)) -> Self {
        let folder = scratch("http");
        let app = App::open(folder.clone()).await.unwrap();
        let tenant = people::found(&app, "Nordic Oats", "Ada", "ada@oats.example", PASSWORD).await;
        let tenant = tenant.unwrap();
        app.write_records(&tenant, brand(&tenant)).await.unwrap();
        for (user, email) in [(SUPERVISOR, "sam"), (MANAGER, "mia"), (REP, "rob")] {
            let email = format!("{email}@oats.example");
            people::open_account(&app, &tenant, user, &email, PASSWORD).await.unwrap();
        }
        let mut config = ServeConfig::local(folder.clone());
        configure(&mut config);
        let routes = serve::router(Arc::clone(&app), config, pages());
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async move { drop(stopped.await) };
            axum::serve(listener, routes).with_graceful_shutdown(stopped).await.unwrap();
        });
        let url = format!("http://{address}");
        Self { folder, app, tenant, url, address, http: http(), stop, serving }
    }

    async fn close(self) {
        drop(self.http);
        self.app.stop();
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
        self.app.store.close();
        std::fs::remove_dir_all(self.folder).unwrap();
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn sign_in(&self, email: &str, password: &str) -> Response {
        self.post_form("/sign-in", "", &[("email", email), ("password", password)]).await
    }

    async fn post_form(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Response {
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.header("cookie", cookie).body(form(fields)).send().await.unwrap()
    }

    /// A signed-in browser: its cookie and its CSRF token.
    async fn browser(&self, email: &str) -> Browser<'_> {
        let answer = self.sign_in(email, PASSWORD).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let cookie = cookie_of(&answer);
        let me = self.page("/me", &cookie).await.text().await.unwrap();
        let csrf = me.split_once('|').unwrap().1.to_owned();
        Browser { served: self, cookie, csrf }
    }

    async fn page(&self, path: &str, cookie: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.url));
        request.header("cookie", cookie).header("accept", "text/html").send().await.unwrap()
    }

    async fn enrol(&self, code: &str, seed: u8) -> Response {
        self.post_json("/api/v1/enrol", enrolment(code, &Keypair::from_seed(&[seed; 32]))).await
    }

    async fn post_json(&self, path: &str, body: Value) -> Response {
        let request = self.http.post(format!("{}{path}", self.url));
        request
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap()
    }

    /// Enrols a phone; returns its device and token.
    async fn phone(&self, user: UserId, seed: u8) -> (DeviceId, String) {
        let code = people::code_for(&self.app, &self.tenant, user).await.unwrap().code;
        let reply = json_of(self.enrol(&code, seed).await).await;
        (text(&reply, "device").parse().unwrap(), text(&reply, "token"))
    }

    async fn sync(&self, path: &str, token: &str, body: impl Into<reqwest::Body>) -> Response {
        self.sync_encoded(path, token, body, None).await
    }

    async fn sync_encoded(
        &self,
        path: &str,
        token: &str,
        body: impl Into<reqwest::Body>,
        encoding: Option<&str>,
    ) -> Response {
        let mut request = self.http.post(format!("{}/api/v1/{path}", self.url));
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        request
            .bearer_auth(token)
            .header("content-type", MEDIA_TYPE)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    fn push(&self) -> Vec<u8> {
        let now = Moment { wall_ms: 0, boot: 1, boot_ms: 2, anchor: 0, skew_ms: None, life: None };
        let (groups, notes) = (Vec::new(), Vec::new());
        to_wire(
            self.tenant.id,
            &PushRequest { protocol: PROTOCOL, now, previous: None, groups, notes },
        )
    }

    fn pull(&self) -> Vec<u8> {
        to_wire(self.tenant.id, &PullRequest::BEGINNING)
    }

    async fn sql(&self, statement: &'static str) {
        let run = self
            .app
            .store
            .write(move |tx| -> Result<(), StoreError> { Ok(tx.execute_batch(statement)?) });
        run.await.unwrap();
    }
}

struct Browser<'a> {
    served: &'a Served,
    cookie: String,
    csrf: String,
}

impl Browser<'_> {
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let mut fields = fields.to_vec();
        fields.push(("csrf", &self.csrf));
        self.served.post_form(path, &self.cookie, &fields).await
    }

    async fn get(&self, path: &str) -> Response {
        self.served.page(path, &self.cookie).await
    }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default(); // the second test finds it there
    let builder = reqwest::Client::builder().no_proxy();
    builder.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn brand(tenant: &Tenant) -> Vec<Record> {
    let root = *tenant.world().territories.keys().next().unwrap();
    let territory =
        |id, name: &str| Record::Territory(Territory { id, parent: Some(root), name: name.into() });
    let distributor =
        |id, name: &str| Record::Distributor(Distributor { id, name: name.into(), gln: None });
    let person = |id, name: &str, role, scope| {
        Record::Person(Person { id, name: name.into(), role, scope, active: true })
    };
    let outlet = |n, territory, distributor| {
        Record::Outlet(Outlet {
            id: OutletId::from_bytes([n; 16]),
            name: format!("Outlet {n}"),
            code: n.to_string(),
            territory,
            distributor,
            channel: "kiosk".into(),
            street: String::new(),
            town: String::new(),
            place: None,
            zone: "Europe/Helsinki".into(),
            planograms: Vec::new(),
            must_stock: Vec::new(),
            active: true,
            radius_m: None,
        })
    };
    vec![
        territory(NORTH, "North"),
        territory(SOUTH, "South"),
        distributor(DISTRIBUTOR, "Frost & Sons"),
        distributor(OTHER_DISTRIBUTOR, "Both Coasts"),
        person(SUPERVISOR, "Sam", Role::Supervisor, Scope::Territory(NORTH)),
        person(MANAGER, "Mia", Role::DistributorManager, Scope::Distributor(DISTRIBUTOR)),
        person(REP, "Rob", Role::Rep, Scope::Territory(NORTH)),
        person(SOUTH_REP, "Sue", Role::Rep, Scope::Territory(SOUTH)),
        person(STAFF, "Dan", Role::DistributorStaff, Scope::Distributor(DISTRIBUTOR)),
        person(OTHER_STAFF, "Eve", Role::DistributorStaff, Scope::Distributor(OTHER_DISTRIBUTOR)),
        outlet(1, NORTH, DISTRIBUTOR),
        outlet(2, NORTH, OTHER_DISTRIBUTOR),
        outlet(3, SOUTH, OTHER_DISTRIBUTOR),
    ]
}

/// Pages that do no more than call what the console's pages call.
fn pages() -> Router<Arc<App>> {
    #[derive(Deserialize)]
    struct SignIn {
        email: String,
        password: String,
    }
    #[derive(Deserialize)]
    struct Words {
        current: String,
        new: String,
    }
    #[derive(Deserialize)]
    struct Nothing {}
    #[derive(Deserialize)]
    struct Whom {
        id: String,
    }
    #[derive(Deserialize)]
    struct Reset {
        id: String,
        email: Option<String>,
    }

    async fn sign_in(
        State(app): State<Arc<App>>,
        client: Client,
        axum::Form(form): axum::Form<SignIn>,
    ) -> Result<impl IntoResponse, Problem> {
        let cookie = auth::sign_in(&app, &client, &form.email, &form.password).await?;
        Ok([(header::SET_COOKIE, cookie)])
    }
    async fn sign_out(
        State(app): State<Arc<App>>,
        client: Client,
        Posted(viewer, Nothing {}): Posted<Nothing>,
    ) -> Result<impl IntoResponse, Problem> {
        Ok([(header::SET_COOKIE, auth::sign_out(&app, &client, &viewer).await?)])
    }
    async fn password(
        State(app): State<Arc<App>>,
        Posted(viewer, words): Posted<Words>,
    ) -> Result<(), Problem> {
        auth::change_password(&app, &viewer, &words.current, &words.new).await
    }
    async fn me(viewer: Viewer) -> String {
        let outlets = [(NORTH, DISTRIBUTOR), (SOUTH, OTHER_DISTRIBUTOR)];
        let seen = outlets.map(|(territory, distributor)| {
            viewer.sees(&Audience::Outlet { territory, distributor })
        });
        format!("{} {seen:?}|{}", viewer.name, viewer.csrf)
    }
    async fn review(Posted(viewer, Nothing {}): Posted<Nothing>) -> Result<(), Problem> {
        viewer.require(Role::reviews, "review visits")
    }
    async fn people_page(
        State(app): State<Arc<App>>,
        viewer: Viewer,
    ) -> Result<axum::Json<Value>, Problem> {
        let members = people::list(&app, &viewer).await?;
        let rows = members.iter().map(|m| {
            let devices = m.devices.iter().map(|d| (d.label.as_str(), d.revoked_ms.is_some()));
            json!([m.person.name, m.email, devices.collect::<Vec<_>>(), m.person.active])
        });
        Ok(axum::Json(rows.collect()))
    }
    async fn code(
        State(app): State<Arc<App>>,
        Posted(viewer, Whom { id }): Posted<Whom>,
    ) -> Result<String, Problem> {
        let user = id.parse().map_err(|_| Problem::not_found())?;
        Ok(people::issue_code(&app, &viewer, user).await?.code)
    }
    async fn revoke(
        State(app): State<Arc<App>>,
        Posted(viewer, Whom { id }): Posted<Whom>,
    ) -> Result<(), Problem> {
        let device = id.parse().map_err(|_| Problem::not_found())?;
        people::revoke(&app, &viewer, device, None).await
    }
    async fn disable(
        State(app): State<Arc<App>>,
        Posted(viewer, Whom { id }): Posted<Whom>,
    ) -> Result<(), Problem> {
        let user = id.parse().map_err(|_| Problem::not_found())?;
        people::set_active(&app, &viewer, user, false).await
    }
    async fn hire(
        State(app): State<Arc<App>>,
        Posted(viewer, Whom { id }): Posted<Whom>,
    ) -> Result<axum::Json<Value>, Problem> {
        let name = id.clone();
        let (role, scope) = (Role::Supervisor, Scope::Territory(SOUTH));
        let new = NewPerson { name, role, scope, email: Some(id) };
        let created = people::create(&app, &viewer, new).await?;
        Ok(axum::Json(json!([created.user.to_string(), created.password])))
    }
    async fn reset(
        State(app): State<Arc<App>>,
        Posted(viewer, Reset { id, email }): Posted<Reset>,
    ) -> Result<String, Problem> {
        let user = id.parse().map_err(|_| Problem::not_found())?;
        people::reset_password(&app, &viewer, user, email.as_deref()).await
    }
    async fn promote(
        State(app): State<Arc<App>>,
        Posted(viewer, Whom { id }): Posted<Whom>,
    ) -> Result<(), Problem> {
        let user = id.parse().map_err(|_| Problem::not_found())?;
        let (role, scope) = (Some(Role::Supervisor), Some(Scope::Territory(SOUTH)));
        people::edit(&app, &viewer, user, people::Edits { name: None, role, scope }).await
    }
    async fn panic() -> String {
        panic!("asked to")
    }

    Router::new()
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/password", post(password))
        .route("/me", get(me).post(me))
        .route("/review", post(review))
        .route("/people", get(people_page))
        .route("/code", post(code))
        .route("/revoke", post(revoke))
        .route("/disable", post(disable))
        .route("/hire", post(hire))
        .route("/reset", post(reset))
        .route("/promote", post(promote))
        .route("/panic", get(panic))
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://form").unwrap();
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

fn cookie_of(answer: &Response) -> String {
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

fn enrolment(code: &str, pair: &Keypair) -> Value {
    json!({
        "code": code,
        "key": BASE64_URL_SAFE_NO_PAD.encode(pair.public()),
        "proof": BASE64_URL_SAFE_NO_PAD.encode(pair.prove(code)),
        "label": "Rob's phone",
    })
}

async fn json_of(answer: Response) -> Value {
    assert_eq!(answer.status(), StatusCode::OK);
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}

/// The status and code of a refused request, which must be a problem in full.
async fn problem(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json", "{status}");
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["status"], status);
    assert!(!text(&body, "title").is_empty());
    let code = text(&body, "type").strip_prefix("urn:endcap:problem:").unwrap().to_owned();
    (status, code)
}

macro_rules! assert_problem {
    ($answer:expr, $status:literal, $code:literal) => {
        assert_eq!(problem($answer).await, ($status, $code.to_owned()))
    };
}

#[tokio::test]
async fn a_person_signs_in_and_out() {
    let served = Served::new().await;
    let answer = served.sign_in(" Ada@oats.EXAMPLE ", PASSWORD).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let line = answer.headers()[header::SET_COOKIE].to_str().unwrap();
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=604800"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("Secure"));
    let ada = served.browser("ada@oats.example").await;
    assert!(ada.get("/me").await.text().await.unwrap().starts_with("Ada [true, true]|"));
    let answer = ada.post("/sign-out", &[]).await;
    assert!(answer.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    let gone = ada.get("/me").await;
    assert_eq!(gone.status(), StatusCode::SEE_OTHER);
    assert_eq!(gone.headers()["location"], "/sign-in?next=%2Fme");
    let no_page = served.get("/me").await;
    assert_problem!(no_page, 401, "unauthorized");
    served.close().await;
}

#[tokio::test]
async fn a_wrong_sign_in_says_nothing_about_the_account() {
    let served = Served::new().await;
    let mut bodies = HashSet::new();
    for (email, password) in [
        ("ada@oats.example", "wrong horse battery"),
        ("nobody@oats.example", PASSWORD),
        ("ada@oats.example", ""),
        ("no address", PASSWORD),
    ] {
        let answer = served.sign_in(email, password).await;
        assert!(!answer.headers().contains_key(header::SET_COOKIE));
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        bodies.insert(answer.text().await.unwrap());
    }
    assert_eq!(bodies.len(), 1);
    assert_problem!(served.sign_in("rob@oats.example", PASSWORD).await, 403, "phone_only");
    assert_problem!(served.sign_in("rob@oats.example", "wrong").await, 401, "sign_in_failed");
    served.close().await;
}

#[tokio::test]
async fn forms_need_the_sessions_token_and_this_site() {
    let served = Served::new().await;
    let ada = served.browser("ada@oats.example").await;
    let sam = served.browser("sam@oats.example").await;
    assert_eq!(ada.post("/review", &[]).await.status(), StatusCode::OK);
    let without = served.post_form("/review", &ada.cookie, &[]).await;
    assert_problem!(without, 403, "csrf");
    let others = served.post_form("/review", &ada.cookie, &[("csrf", &sam.csrf)]).await;
    assert_problem!(others, 403, "csrf");
    let signed_out = served.post_form("/review", "", &[("csrf", &ada.csrf)]).await;
    assert_problem!(signed_out, 401, "unauthorized");
    let send = |site: &'static str, token: Option<String>, path: &str| {
        let request = served.http.post(format!("{}{path}", served.url));
        let request = request.header("cookie", &ada.cookie).header("sec-fetch-site", site);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(form(&[("csrf", &ada.csrf)]));
        match token {
            Some(token) => request.header("x-csrf-token", token).send(),
            None => request.send(),
        }
    };
    assert_problem!(send("cross-site", None, "/review").await.unwrap(), 403, "forbidden");
    assert_eq!(send("same-origin", None, "/review").await.unwrap().status(), StatusCode::OK);
    assert_problem!(send("same-origin", None, "/me").await.unwrap(), 403, "csrf");
    let by_header = send("same-origin", Some(ada.csrf.clone()), "/me").await.unwrap();
    assert_eq!(by_header.status(), StatusCode::OK);
    served.close().await;
}

#[tokio::test]
async fn a_session_ends_twelve_hours_after_its_last_use_and_after_seven_days() {
    let served = Served::new().await;
    let ada = served.browser("ada@oats.example").await;
    let end = || async {
        let read = served.app.store.read(|c| {
            Ok(c.query_row("SELECT expires_ms FROM session", [], |row| row.get::<_, i64>(0))?)
        });
        read.await.unwrap() - now_ms()
    };
    let hours = |n: i64| n * 3_600_000;
    assert!((hours(12) - 60_000..=hours(12)).contains(&end().await));
    served.sql("UPDATE session SET expires_ms = expires_ms - 3600000 * 11").await;
    assert_eq!(ada.get("/me").await.status(), StatusCode::OK);
    assert!((hours(12) - 60_000..=hours(12)).contains(&end().await), "use moves the end");
    served.sql("UPDATE session SET created_ms = created_ms - 3600000 * (7 * 24 - 2)").await;
    served.sql("UPDATE session SET expires_ms = expires_ms - 3600000 * 11").await;
    assert_eq!(ada.get("/me").await.status(), StatusCode::OK);
    assert!((hours(2) - 60_000..=hours(2)).contains(&end().await), "but not past seven days");
    served.sql("UPDATE session SET expires_ms = expires_ms - 3600000 * 2").await;
    assert_eq!(ada.get("/me").await.status(), StatusCode::SEE_OTHER);
    served.browser("ada@oats.example").await;
    let sessions = served
        .app
        .store
        .read(|c| Ok(c.query_row("SELECT count(*) FROM session", [], |row| row.get::<_, i64>(0))?));
    assert_eq!(sessions.await.unwrap(), 1, "what ended is forgotten");
    served.close().await;
}

#[tokio::test]
async fn roles_and_scopes_hold() {
    let served = Served::new().await;
    let ada = served.browser("ada@oats.example").await;
    let sam = served.browser("sam@oats.example").await;
    let mia = served.browser("mia@oats.example").await;
    assert!(sam.get("/me").await.text().await.unwrap().starts_with("Sam [true, false]|"));
    assert!(mia.get("/me").await.text().await.unwrap().starts_with("Mia [true, false]|"));
    assert_eq!(sam.post("/review", &[]).await.status(), StatusCode::OK);
    assert_problem!(mia.post("/review", &[]).await, 403, "forbidden");

    let names = |page: Response| async {
        let rows = json_of(page).await;
        let names: Vec<String> =
            rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().into()).collect();
        names.join(" ")
    };
    assert_eq!(names(ada.get("/people").await).await, "Ada Dan Eve Mia Rob Sam Sue");
    // Dan's distributor serves the north alone; Eve's serves the south too.
    assert_eq!(names(sam.get("/people").await).await, "Dan Rob Sam");
    assert_eq!(names(mia.get("/people").await).await, "Dan Mia");

    for (browser, user, fine) in [
        (&ada, SOUTH_REP, true),
        (&sam, REP, true),
        (&sam, STAFF, true),
        (&sam, SUPERVISOR, true),
        (&sam, SOUTH_REP, false),
        (&sam, OTHER_STAFF, false),
        (&sam, MANAGER, false),
        (&mia, STAFF, true),
        (&mia, OTHER_STAFF, false),
        (&mia, REP, false),
    ] {
        let answer = browser.post("/code", &[("id", &user.to_string())]).await;
        if fine {
            assert_eq!(answer.status(), StatusCode::OK, "{user}");
        } else {
            assert_problem!(answer, 403, "forbidden");
        }
    }
    let (device, _) = served.phone(SOUTH_REP, 1).await;
    assert_problem!(sam.post("/revoke", &[("id", &device.to_string())]).await, 403, "forbidden");
    let nobody = UserId::from_bytes([99; 16]).to_string();
    assert_problem!(sam.post("/code", &[("id", &nobody)]).await, 404, "not_found");
    assert_problem!(sam.post("/revoke", &[("id", &nobody)]).await, 404, "not_found");
    for path in ["/disable", "/reset"] {
        let answer = sam.post(path, &[("id", &REP.to_string())]).await;
        assert_problem!(answer, 403, "forbidden");
    }
    assert_problem!(mia.post("/hire", &[("id", "x@y.example")]).await, 403, "forbidden");
    served.close().await;
}

#[tokio::test]
async fn people_come_and_go() {
    let served = Served::new().await;
    let ada = served.browser("ada@oats.example").await;
    let hired = json_of(ada.post("/hire", &[("id", "new@oats.example")]).await).await;
    let (new, password) = (hired[0].as_str().unwrap(), hired[1].as_str().unwrap());
    assert_eq!(served.sign_in("new@oats.example", password).await.status(), StatusCode::OK);
    let again = ada.post("/hire", &[("id", "NEW@oats.example")]).await;
    assert_problem!(again, 409, "email_taken");
    assert_eq!(served.tenant.world().people.len(), 8, "and nobody was made by the second try");
    assert_problem!(ada.post("/hire", &[("id", "no address")]).await, 422, "invalid");

    let reset = ada.post("/reset", &[("id", new)]).await.text().await.unwrap();
    assert_problem!(served.sign_in("new@oats.example", password).await, 401, "sign_in_failed");
    let answer = served.sign_in("new@oats.example", &reset).await;
    let cookie = cookie_of(&answer);
    assert_eq!(served.page("/me", &cookie).await.status(), StatusCode::OK);

    let sue = SOUTH_REP.to_string();
    let reset_sue = |email: &'static str| {
        let (ada, sue) = (&ada, &sue);
        async move { ada.post("/reset", &[("id", sue), ("email", email)]).await }
    };
    assert_problem!(reset_sue("sue@oats.example").await, 422, "invalid");
    assert_eq!(ada.post("/promote", &[("id", &sue)]).await.status(), StatusCode::OK);
    assert_problem!(reset_sue("").await, 422, "invalid");
    assert_problem!(reset_sue("sam@oats.example").await, 409, "email_taken");
    let first = reset_sue("sue@oats.example").await.text().await.unwrap();
    let second = reset_sue("sue@oats.example").await.text().await.unwrap();
    assert_problem!(served.sign_in("sue@oats.example", &first).await, 401, "sign_in_failed");
    assert_eq!(served.sign_in("sue@oats.example", &second).await.status(), StatusCode::OK);

    let (_, token) = served.phone(new.parse().unwrap(), 2).await;
    let code = ada.post("/code", &[("id", new)]).await.text().await.unwrap();
    assert_eq!(ada.post("/disable", &[("id", new)]).await.status(), StatusCode::OK);
    assert_eq!(served.page("/me", &cookie).await.status(), StatusCode::SEE_OTHER);
    assert_problem!(served.sign_in("new@oats.example", &reset).await, 403, "forbidden");
    assert_problem!(served.enrol(&code, 3).await, 403, "code_invalid");
    assert_problem!(ada.post("/code", &[("id", new)]).await, 422, "invalid");
    assert_problem!(served.sync("pull", &token, served.pull()).await, 403, "inactive");
    let pushed = served.sync("push", &token, served.push()).await;
    assert_eq!(pushed.status(), StatusCode::OK, "what is still unsent is taken and kept apart");

    let own = served.tenant.world().people.values().find(|p| p.name == "Ada").unwrap().id;
    assert_problem!(ada.post("/disable", &[("id", &own.to_string())]).await, 422, "invalid");
    assert_eq!(ada.get("/me").await.status(), StatusCode::OK, "the last admin stays");
    served.close().await;
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let served = Served::new().await;
    let (here, there) =
        (served.browser("ada@oats.example").await, served.browser("ada@oats.example").await);
    let change = |current: &'static str, new: &'static str| {
        let here = &here;
        async move { here.post("/password", &[("current", current), ("new", new)]).await }
    };
    assert_problem!(change("wrong", "a new password").await, 422, "wrong_password");
    assert_problem!(change(PASSWORD, "short").await, 422, "invalid");
    assert_eq!(change(PASSWORD, "a new password").await.status(), StatusCode::OK);
    assert_eq!(here.get("/me").await.status(), StatusCode::OK);
    assert_eq!(there.get("/me").await.status(), StatusCode::SEE_OTHER);
    assert_problem!(served.sign_in("ada@oats.example", PASSWORD).await, 401, "sign_in_failed");
    let answer = served.sign_in("ada@oats.example", "a new password").await;
    assert_eq!(answer.status(), StatusCode::OK);
    served.close().await;
}

#[tokio::test]
async fn a_phone_enrols_once_however_often_it_asks() {
    let served = Served::new().await;
    let sam = served.browser("sam@oats.example").await;
    let code = sam.post("/code", &[("id", &REP.to_string())]).await.text().await.unwrap();
    assert_eq!((code.len(), code.as_bytes()[5]), (11, b'-'));
    let reply = json_of(served.enrol(&code.to_lowercase().replace('-', " "), 1).await).await;
    assert_eq!(
        reply["organisation"],
        json!({
            "id": served.tenant.id.to_string(), "name": "Nordic Oats",
        })
    );
    assert_eq!(reply["user"], json!({ "id": REP.to_string(), "name": "Rob", "role": "rep" }));
    assert_eq!(reply["protocol"], PROTOCOL);
    let server_key = served.tenant.console.keypair.public();
    assert_eq!(text(&reply, "server_key"), BASE64_URL_SAFE_NO_PAD.encode(server_key));
    let (device, token): (DeviceId, _) =
        (text(&reply, "device").parse().unwrap(), text(&reply, "token"));
    let record = served.app.device(&served.tenant, device).unwrap();
    assert_eq!(record.key, Keypair::from_seed(&[1; 32]).public());
    assert_eq!((record.user, record.revoked), (REP, false));
    assert_eq!(served.sync("pull", &token, served.pull()).await.status(), StatusCode::OK);

    let head = served.app.head(&served.tenant).await.unwrap();
    let again = json_of(served.enrol(&code, 1).await).await;
    assert_eq!(text(&again, "device"), device.to_string());
    let token_again = text(&again, "token");
    assert_problem!(served.sync("pull", &token, served.pull()).await, 401, "unauthorized");
    assert_eq!(served.sync("pull", &token_again, served.pull()).await.status(), StatusCode::OK);
    let newer = people::code_for(&served.app, &served.tenant, REP).await.unwrap().code;
    let again = json_of(served.enrol(&newer, 1).await).await;
    assert_eq!(text(&again, "device"), device.to_string(), "a newer code, the reply still lost");
    assert_eq!(served.app.head(&served.tenant).await.unwrap(), head, "the log has it once");

    let page = json_of(sam.get("/people").await).await;
    let rob = page.as_array().unwrap().iter().find(|row| row[0] == "Rob").unwrap();
    assert_eq!(rob[2], json!([["Rob's phone", false]]));
    served.close().await;
}

#[tokio::test]
async fn a_code_that_cannot_be_used_is_like_any_other() {
    let served = Served::new().await;
    let code = |user| {
        let served = &served;
        async move { people::code_for(&served.app, &served.tenant, user).await.unwrap().code }
    };
    let used = code(REP).await;
    assert_eq!(served.enrol(&used, 1).await.status(), StatusCode::OK);
    let replaced = code(STAFF).await;
    let expired = code(OTHER_STAFF).await;
    code(STAFF).await;
    let end = served.app.store.write(|tx| -> Result<_, StoreError> {
        let user = OTHER_STAFF.as_bytes();
        Ok(tx.execute("UPDATE enrolment SET expires_ms = 1 WHERE user = ?1", [user])?)
    });
    assert_eq!(end.await.unwrap(), 1);
    let mut bodies = HashSet::new();
    for code in [&used, &replaced, &expired, "AAAAA-AAAAA", "not a code", ""] {
        let answer = served.enrol(code, 2).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        bodies.insert(answer.text().await.unwrap());
    }
    assert_eq!(bodies.len(), 1);
    assert!(bodies.iter().next().unwrap().contains("urn:endcap:problem:code_invalid"));
    served.close().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_device_of_one_person() {
    let served = Served::new().await;
    let (device, _) = served.phone(REP, 1).await;
    let code = people::code_for(&served.app, &served.tenant, STAFF).await.unwrap().code;
    assert_problem!(served.enrol(&code, 1).await, 409, "key_taken");
    let ada = served.browser("ada@oats.example").await;
    ada.post("/revoke", &[("id", &device.to_string())]).await;
    let mine = people::code_for(&served.app, &served.tenant, REP).await.unwrap().code;
    assert_problem!(served.enrol(&mine, 1).await, 409, "key_taken");
    assert_eq!(served.enrol(&mine, 2).await.status(), StatusCode::OK, "the code was not used up");

    let pair = Keypair::from_seed(&[5; 32]);
    let fine = enrolment(&code, &pair);
    for (key, value) in [
        ("key", json!("AAAA")),
        ("key", json!(BASE64_URL_SAFE_NO_PAD.encode([0; 32]))),
        ("proof", json!("!")),
        ("proof", json!(BASE64_URL_SAFE_NO_PAD.encode(pair.prove("another")))),
        ("label", json!("")),
        ("label", json!("x".repeat(81))),
        ("label", json!("a\u{7}b")),
        ("code", json!(5)),
    ] {
        let mut bad = fine.clone();
        bad[key] = value;
        assert_problem!(served.post_json("/api/v1/enrol", bad).await, 400, "malformed");
        served.app.limits.enrol.forget();
    }
    assert_eq!(served.post_json("/api/v1/enrol", fine).await.status(), StatusCode::OK);
    served.close().await;
}

#[tokio::test]
async fn a_phone_goes_on_with_another_key() {
    let served = Served::new().await;
    let (device, token) = served.phone(REP, 1).await;
    let (_, others) = served.phone(STAFF, 2).await;
    let (org, before) = (served.tenant.id, Keypair::from_seed(&[1; 32]));
    let asks = |before: &Keypair, next: &Keypair| {
        let (old, new) = (before.public(), next.public());
        json!({
            "key": BASE64_URL_SAFE_NO_PAD.encode(new),
            "proof": BASE64_URL_SAFE_NO_PAD.encode(next.agree(org, &old, &new)),
            "handover": BASE64_URL_SAFE_NO_PAD.encode(before.agree(org, &old, &new)),
        })
    };
    let asked = |next: &Keypair| asks(&before, next);
    let ask = |token: &str, body: &Value| {
        let request = served.http.post(format!("{}/api/v1/key", served.url));
        request.bearer_auth(token).body(body.to_string()).send()
    };
    let next = Keypair::from_seed(&[3; 32]);
    let fine = asked(&next);
    for (key, value) in [
        ("key", json!("AAAA")),
        ("key", asked(&Keypair::from_seed(&[4; 32]))["key"].clone()),
        ("proof", fine["handover"].clone()),
        ("handover", fine["proof"].clone()),
    ] {
        let mut bad = fine.clone();
        bad[key] = value;
        assert_problem!(ask(&token, &bad).await.unwrap(), 400, "malformed");
    }
    // Somebody else has not agreed; one's own key and one that is somebody's are no next ones.
    assert_problem!(ask(&others, &fine).await.unwrap(), 400, "malformed");
    assert_problem!(ask("nobody", &fine).await.unwrap(), 401, "unauthorized");
    assert_problem!(ask(&token, &asked(&before)).await.unwrap(), 409, "key_taken");
    let taken = asked(&Keypair::from_seed(&[2; 32]));
    assert_problem!(ask(&token, &taken).await.unwrap(), 409, "key_taken");

    let reply = json_of(ask(&token, &fine).await.unwrap()).await;
    assert_eq!(reply["user"]["id"], REP.to_string());
    let next_device: DeviceId = text(&reply, "device").parse().unwrap();
    let record = |id| served.app.device(&served.tenant, id).unwrap();
    assert!(record(device).revoked && !record(next_device).revoked);
    assert_eq!(record(next_device).key, next.public());
    assert_problem!(served.sync("pull", &token, served.pull()).await, 403, "revoked");
    let lost = text(&reply, "token");
    assert_eq!(served.sync("pull", &lost, served.pull()).await.status(), StatusCode::OK);
    // The reply was lost: the same again, with the token before.
    let head = served.app.head(&served.tenant).await.unwrap();
    let again = json_of(ask(&token, &fine).await.unwrap()).await;
    assert_eq!(text(&again, "device"), next_device.to_string());
    assert_problem!(served.sync("pull", &lost, served.pull()).await, 401, "unauthorized");
    let token_again = text(&again, "token");
    assert_eq!(served.sync("pull", &token_again, served.pull()).await.status(), StatusCode::OK);
    assert_eq!(served.app.head(&served.tenant).await.unwrap(), head, "the log has it once");
    // The key before gives nobody else a way in, nor after the next one is withdrawn.
    let other = asked(&Keypair::from_seed(&[5; 32]));
    assert_problem!(ask(&token, &other).await.unwrap(), 403, "revoked");
    let ada = served.browser("ada@oats.example").await;
    ada.post("/revoke", &[("id", &next_device.to_string())]).await;
    assert_problem!(ask(&token, &fine).await.unwrap(), 403, "revoked");
    // Changing keys is no way round the limits: those of the key before go on, and one changes so often.
    let (mut token, mut key) = (others, Keypair::from_seed(&[2; 32]));
    for seed in 10..20 {
        let next = Keypair::from_seed(&[seed; 32]);
        token = text(&json_of(ask(&token, &asks(&key, &next)).await.unwrap()).await, "token");
        key = next;
    }
    let eleventh = ask(&token, &asks(&key, &Keypair::from_seed(&[20; 32]))).await.unwrap();
    assert!(eleventh.headers().contains_key("retry-after"));
    assert_problem!(eleventh, 429, "rate_limited");
    served.close().await;
}

#[tokio::test]
async fn a_withdrawn_phone_is_out_at_once() {
    let served = Served::new().await;
    let (device, token) = served.phone(REP, 1).await;
    let (_, other) = served.phone(STAFF, 2).await;
    let poke = |token: String| {
        let request = served.http.get(format!("{}/api/v1/poke", served.url));
        request.bearer_auth(token).send()
    };
    let mut live = poke(token.clone()).await.unwrap();
    let mut other_live = poke(other).await.unwrap();
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    let name = from_wire::<PushReply>(
        served.tenant.id,
        &served.sync("push", &token, served.push()).await.bytes().await.unwrap(),
    );
    assert!(name.unwrap().outcomes.is_empty());
    assert_eq!(live.chunk().await.unwrap().unwrap(), "event: poke\ndata: new\n\n");

    let sam = served.browser("sam@oats.example").await;
    for _ in 0..2 {
        let answer = sam.post("/revoke", &[("id", &device.to_string())]).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(live.chunk().await.unwrap(), None, "its stream ends");
    assert_eq!(other_live.chunk().await.unwrap().unwrap(), "event: poke\ndata: new\n\n");
    assert!(served.app.device(&served.tenant, device).unwrap().revoked, "the log says so");
    for path in ["push", "pull"] {
        assert_problem!(served.sync(path, &token, served.push()).await, 403, "revoked");
    }
    assert_problem!(poke(token.clone()).await.unwrap(), 403, "revoked");
    let sender = server::ingest::Sender { device, key: [0; 32], user: REP };
    let push = from_wire::<PushRequest>(served.tenant.id, &served.push()).unwrap();
    let name = LogHash([0; 32]);
    let turn = served.tenant.turn().await.unwrap();
    let push = served.app.verify(&served.tenant, push, turn).await.unwrap();
    let late = served.app.push(&served.tenant, sender, push, name).await;
    assert_eq!(late.unwrap_err().code(), "revoked", "also when it was let in just before");
    drop(other_live);
    served.close().await;
}

#[tokio::test]
async fn tries_are_counted() {
    let served =
        Served::with(|config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]).await;
    let sign_in = |ip: &'static str, email: &'static str| {
        let request = served.http.post(format!("{}/sign-in", served.url));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("x-forwarded-for", ip).header("x-forwarded-proto", "https");
        request.body(form(&[("email", email), ("password", "wrong")])).send()
    };
    // A try an hour ahead leaves nothing for now: the clock was set back.
    let ahead = now_ms() + 3_600_000;
    let limits = &served.app.limits;
    assert_problem!(sign_in("8.8.8.8", "x@x.example").await.unwrap(), 401, "sign_in_failed");
    limits.sign_in_ip.check("8.8.8.8".parse().unwrap(), ahead).unwrap();
    let refused = sign_in("8.8.8.8", "x@x.example").await.unwrap();
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=6).contains(&wait));
    assert_problem!(refused, 429, "rate_limited");
    assert_problem!(sign_in("9.9.9.9", "x@x.example").await.unwrap(), 401, "sign_in_failed");
    limits.sign_in_account.check(LogHash::of(b"ada@oats.example").0, ahead).unwrap();
    assert_problem!(sign_in("9.9.9.9", "Ada@oats.example").await.unwrap(), 429, "rate_limited");

    let (device, token) = served.phone(REP, 1).await;
    assert_eq!(served.sync("pull", &token, served.pull()).await.status(), StatusCode::OK);
    limits.work.check_of(device, usize::MAX, ahead).unwrap();
    assert_problem!(served.sync("push", &token, served.push()).await, 429, "rate_limited");
    assert_eq!(served.sync("pull", &token, served.pull()).await.status(), StatusCode::OK);
    limits.sync.check(device, ahead).unwrap();
    assert_problem!(served.sync("pull", &token, served.pull()).await, 429, "rate_limited");
    limits.upload.check(device, ahead).unwrap();
    let question = served.http.post(format!("{}/api/v1/photos/missing", served.url));
    let question = question.bearer_auth(&token).body(r#"{"hashes":[]}"#).send().await.unwrap();
    assert_problem!(question, 429, "rate_limited");
    limits.enrol.check("127.0.0.1".parse().unwrap(), ahead).unwrap();
    assert_problem!(served.enrol("AAAAA-AAAAA", 3).await, 429, "rate_limited");
    served.close().await;
}

#[tokio::test]
async fn bad_messages_are_refused_by_name() {
    let served = Served::new().await;
    let (_, token) = served.phone(REP, 1).await;
    let push = served.push();
    let too_long = vec![0; 8 * 1024 * 1024 + 1];
    assert_problem!(served.sync("push", &token, too_long).await, 413, "too_large");
    let bomb = zstd::bulk::compress(&vec![0; 9 * 1024 * 1024], 3).unwrap();
    assert!(bomb.len() < 10_000);
    let sent = |body: Vec<u8>, encoding: &'static str| {
        let (served, token) = (&served, &token);
        async move { served.sync_encoded("push", token, body, Some(encoding)).await }
    };
    assert_problem!(sent(bomb, "zstd").await, 413, "too_large");
    assert_problem!(sent(push.clone(), "zstd").await, 400, "malformed");
    assert_problem!(sent(push.clone(), "gzip").await, 415, "encoding_unsupported");
    assert_problem!(served.sync("push", &token, "").await, 400, "malformed");
    assert_problem!(served.sync("push", &token, "\u{1}\u{2}").await, 400, "malformed");
    assert_problem!(
        served.sync("push", &token, push[..push.len() - 1].to_vec()).await,
        400,
        "malformed"
    );
    let mut other = push.clone();
    let version = other.iter().position(|b| u32::from(*b) == PROTOCOL).unwrap();
    other[version] = 9;
    assert_problem!(served.sync("push", &token, other).await, 400, "protocol_unsupported");
    let packed = zstd::bulk::compress(&push, 3).unwrap();
    assert_eq!(sent(packed, "zstd").await.status(), StatusCode::OK);
    assert_problem!(served.sync("push", "no token", push.clone()).await, 401, "unauthorized");
    let pull = served.http.post(format!("{}/api/v1/pull", served.url)).bearer_auth(&token);
    let untyped = pull.try_clone().unwrap().body(served.pull()).send().await.unwrap();
    assert_problem!(untyped, 415, "media_type_unsupported");
    let pull = pull.header("content-type", MEDIA_TYPE).body(served.pull());
    for (accepted, packed) in [("gzip, zstd", true), ("zstd;q=0.5", true), ("zstd;q=0", false)] {
        let pull = pull.try_clone().unwrap().header("accept-encoding", accepted);
        let answer = pull.send().await.unwrap();
        assert_eq!(answer.headers().contains_key("content-encoding"), packed, "{accepted}");
    }

    let long = "x".repeat(64 * 1024);
    let answer = served.post_json("/api/v1/enrol", json!({ "code": long })).await;
    assert_problem!(answer, 413, "too_large");
    let ada = served.browser("ada@oats.example").await;
    assert_problem!(ada.post("/review", &[("note", &long)]).await, 413, "too_large");
    let request = served.http.post(format!("{}/review", served.url)).header("cookie", &ada.cookie);
    let no_form = request.header("content-type", "text/plain").body("x").send().await.unwrap();
    assert_problem!(no_form, 400, "malformed");
    assert_problem!(served.get("/nowhere").await, 404, "not_found");
    assert_problem!(served.get("/api/v1/nowhere").await, 404, "not_found");
    let wrong_method = served.get("/api/v1/push").await;
    assert_eq!(wrong_method.headers()["allow"], "POST");
    assert_problem!(wrong_method, 405, "method_not_allowed");
    served.close().await;
}

#[tokio::test]
async fn what_is_brought_for_others_is_judged_parcel_by_parcel() {
    let served = Served::new().await;
    let (_, token) = served.phone(REP, 1).await;
    let (author, _) = served.phone(SOUTH_REP, 2).await;
    let org = served.tenant.id;
    let cargo = |parcels: Vec<Vec<u8>>| {
        let parcels = parcels.into_iter().map(ParcelBytes).collect();
        to_wire(org, &CargoRequest { protocol: PROTOCOL, parcels })
    };
    let pair = Keypair::from_seed(&[2; 32]);
    let document = DocId { kind: DocKind::Visit, id: [1; 16] };
    let mut written = Document::new(org, document);
    let when = Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
    let entry = Entry::Submission(Submission { by: SOUTH_REP, when, place: None });
    let change = written.next(Actor::new(&pair.public(), [1; 8]), &entry).unwrap();
    written.insert(change.clone()).unwrap();
    let seals = vec![pair.seal(org, document, change.hash())];
    let group = Group { document, changes: vec![change], seals };
    let inside = Cargo { protocol: PROTOCOL, load: Load::Work(group, Vec::new()) };
    let sealed = |to: &Keypair, inside: &Cargo| {
        let parcel = Parcel::seal(org, author, &pair, &to.public(), inside).unwrap();
        parcel.as_bytes().to_vec()
    };
    let server = &served.tenant.console.keypair;
    let good = sealed(server, &inside);
    let elsewhere = sealed(&Keypair::from_seed(&[9; 32]), &inside);
    let mut bad = good.clone();
    bad[200] ^= 1;
    let answer = served.sync("cargo", &token, cargo(vec![good, elsewhere, bad, Vec::new()])).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let reply: CargoReply = from_wire(org, &answer.bytes().await.unwrap()).unwrap();
    let said = reply.outcomes.iter().map(|outcome| match outcome {
        Delivery::Refused { code, .. } => code,
        Delivery::Taken {} => "taken",
        Delivery::Later {} => "later",
    });
    assert_eq!(said.collect::<Vec<_>>(), ["taken", "not_opened", "bad_seal", "malformed"]);

    // It was refused for what it is, under its author's name, and who carried it is known.
    let device = served.app.device(&served.tenant, author).unwrap();
    let kept = served.app.store.read(move |db| {
        let sql = "SELECT count(*) FROM quarantine WHERE device = ?1 AND courier <> device";
        Ok(db.query_row(sql, [device.id.as_bytes()], |row| row.get::<_, u64>(0))?)
    });
    assert_eq!(kept.await.unwrap(), 1);

    let many = cargo(vec![Vec::new(); PARCELS_MAX + 1]);
    assert_problem!(served.sync("cargo", &token, many).await, 413, "too_large");
    let whole = cargo(vec![vec![0; 8 * 1024 * 1024]]);
    assert_problem!(served.sync("cargo", &token, whole).await, 413, "too_large");
    assert_problem!(served.sync("cargo", &token, "").await, 400, "malformed");
    assert_problem!(served.sync("cargo", "no token", cargo(Vec::new())).await, 401, "unauthorized");
    let other = to_wire(org, &CargoRequest { protocol: 9, parcels: Vec::new() });
    assert_problem!(served.sync("cargo", &token, other).await, 400, "protocol_unsupported");
    assert_eq!(served.sync("cargo", &token, cargo(Vec::new())).await.status(), StatusCode::OK);
    served.close().await;
}

#[tokio::test]
async fn who_has_no_token_is_refused_before_the_body_is_read() {
    let served = Served::new().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = "POST /api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    drop(stream);
    served.close().await;
}

#[tokio::test]
async fn operators_see_how_it_is() {
    let served = Served::new().await;
    let (_, token) = served.phone(REP, 1).await;
    assert_eq!(served.get("/healthz").await.text().await.unwrap(), "ok\n");
    assert_eq!(served.get("/readyz").await.text().await.unwrap(), "ready\n");
    served.sync("push", &token, served.push()).await;
    served.get("/visits/secret-name?token=secret").await;
    let text = served.get("/metrics").await.text().await.unwrap();
    let entries = served.app.head(&served.tenant).await.unwrap().sequence;
    for line in [
        "endcap_pushes_total 1".to_owned(),
        r#"route="/api/v1/push",status="200"} 1"#.to_owned(),
        format!(r#"endcap_log_entries{{organisation="{}"}} {entries}"#, served.tenant.id),
        "endcap_disk_free_bytes ".to_owned(),
        "endcap_store_write_seconds_count ".to_owned(),
        "# EOF".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(!text.contains("secret"));
    let passed_on = served.http.get(format!("{}/metrics", served.url));
    let passed_on = passed_on.header("x-forwarded-for", "127.0.0.1").send().await.unwrap();
    assert_problem!(passed_on, 404, "not_found");
    served.close().await;
    let open = Served::with(|config| config.metrics_open = true).await;
    let passed_on = open.http.get(format!("{}/metrics", open.url));
    let passed_on = passed_on.header("x-forwarded-for", "8.8.8.8").send().await.unwrap();
    assert_eq!(passed_on.status(), StatusCode::OK);
    open.close().await;
}

#[tokio::test]
async fn a_full_disk_is_said_and_breaks_nothing() {
    let served = Served::new().await;
    let (_, token) = served.phone(REP, 1).await;
    let code = people::code_for(&served.app, &served.tenant, STAFF).await.unwrap().code;
    let people = served.tenant.world().devices.len();
    let head = served.app.head(&served.tenant).await.unwrap();
    served.sql("PRAGMA max_page_count = 1").await; // SQLite takes the size that it has
    assert_problem!(served.get("/readyz").await, 503, "not_ready");
    assert_eq!(served.get("/healthz").await.status(), StatusCode::OK);
    // One of these needs a new page.
    let mut full = 0;
    for seed in 10..40 {
        let answer = served.enrol(&code, seed).await;
        served.app.limits.enrol.forget();
        if answer.status() == StatusCode::OK {
            served.sql("UPDATE enrolment SET device = NULL").await;
            continue;
        }
        assert_eq!(answer.headers()["retry-after"], "60");
        assert_problem!(answer, 507, "disk_full");
        full += 1;
    }
    assert!(full > 0);
    let devices = served.tenant.world().devices.len();
    assert_eq!(devices - people, 30 - full, "what was not written is not believed");
    let now = served.app.head(&served.tenant).await.unwrap();
    assert_eq!(now.sequence - head.sequence, 30 - full as u64);
    served.sql("PRAGMA max_page_count = 100000").await;
    assert_eq!(served.get("/readyz").await.status(), StatusCode::OK);
    assert_eq!(served.sync("push", &token, served.push()).await.status(), StatusCode::OK);
    served.close().await;
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let served = Served::new().await;
    let ada = served.browser("ada@oats.example").await;
    for answer in [
        ada.get("/me").await,
        served.get("/nowhere").await,
        served.get("/healthz").await,
        served.get("/api/v1/push").await,
        served.get("/panic").await,
    ] {
        let headers = answer.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'; img-src 'self' data: blob:; style-src"));
        assert!(policy.ends_with("base-uri 'none'; form-action 'self'"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "same-origin");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-request-id"].len(), 16);
    }
    assert_problem!(served.get("/panic").await, 500, "internal");
    served.close().await;
}

#[tokio::test]
async fn live_lines_leave_room_for_others_and_for_requests() {
    let served = Served::new().await;
    let (_, token) = served.phone(SOUTH_REP, 1).await;
    let poke = async || {
        let request = served.http.get(format!("{}/api/v1/poke", served.url));
        request.bearer_auth(&token).send().await.unwrap()
    };
    // A phone that has lost its network comes back: its oldest line ends, the others go on.
    let mut oldest = poke().await;
    let mut lines = Vec::new();
    for _ in 0..LINES_OF_DEVICE_MAX {
        lines.push(poke().await);
    }
    assert_eq!(oldest.chunk().await.unwrap(), None);
    served.sync("push", &token, served.push()).await;
    for line in &mut lines {
        assert_eq!(line.chunk().await.unwrap().unwrap(), "event: poke\ndata: new\n\n");
    }
    // When its organisation has no more, it hears so, and everything else is answered.
    let left = u32::try_from(served.tenant.lines.available_permits()).unwrap();
    let others = served.tenant.lines.acquire_many(left).await.unwrap();
    let refused = poke().await;
    assert_eq!(refused.headers()["retry-after"], "60");
    assert_problem!(refused, 503, "busy");
    assert_eq!(served.sync("pull", &token, served.pull()).await.status(), StatusCode::OK);
    drop(others);
    assert_eq!(poke().await.status(), StatusCode::OK);
    served.close().await;
}

#[tokio::test]
async fn too_many_at_once_are_told_to_come_back() {
    let served = Served::new().await;
    let all = u32::try_from(served.app.limits.requests.available_permits()).unwrap();
    let busy = served.app.limits.requests.acquire_many(all).await.unwrap();
    let refused = served.get("/me").await;
    assert_eq!(refused.headers()["retry-after"], "2");
    assert_problem!(refused, 503, "busy");
    assert_eq!(served.get("/healthz").await.status(), StatusCode::OK);
    drop(busy);
    assert_problem!(served.get("/me").await, 401, "unauthorized");
    served.close().await;
}

/// A message in which one thing is repeated.
fn array_of(head: &[u8], count: u32, each: &[u8], tail: &[u8]) -> Vec<u8> {
    [head, &[0x9a], &count.to_be_bytes(), &each.repeat(count as usize), tail].concat()
}

#[tokio::test]
async fn a_repair_is_told_what_its_person_sees_and_what_is_wrong_with_it() {
    let served = Served::new().await;
    let (_, token) = served.phone(SOUTH_REP, 1).await;
    let ask = async |parts: Vec<Part>, wanted: Vec<Item>| {
        let asked = RepairRequest { protocol: PROTOCOL, parts, wanted };
        served.sync("repair", &token, to_wire(served.tenant.id, &asked)).await
    };
    let org = served.tenant.id;
    let answer = async |response: Response| {
        assert_eq!(response.status(), StatusCode::OK);
        let bytes = response.bytes().await.unwrap();
        from_wire::<RepairReply>(org, &bytes).unwrap()
    };
    let page = served.sync("pull", &token, served.pull()).await.bytes().await.unwrap();
    let page: PullReply = from_wire(served.tenant.id, &page).unwrap();
    let items = page.records.iter().map(|record| {
        let key = RecordKey::peek(&record.0).unwrap();
        (Item::Record(key), Print::of_record(key, &record.0))
    });
    let held = Inventory::new(items);
    assert_eq!((page.more, page.print), (false, Some(held.print().name())));
    let parts: Vec<Part> = [Part::WHOLE].into_iter().chain(Part::WHOLE.parts()).collect();
    let reply = answer(ask(parts.clone(), Vec::new()).await).await;
    let ours: Vec<Content> = parts.iter().map(|part| held.content(*part)).collect();
    assert_eq!((reply.contents, reply.given), (ours, 0));

    let north = served.tenant.world().outlets.values().find(|o| o.territory == NORTH).unwrap().id;
    let known = RecordKey::peek(&page.records[0].0).unwrap();
    let wanted = [RecordKey::outlet(north), known].map(Item::Record);
    let reply = answer(ask(Vec::new(), wanted.to_vec()).await).await;
    assert_eq!((reply.given, reply.records), (2, page.records[..1].to_vec()), "only what is seen");

    let wanted = vec![Item::Record(known); WANTED_MAX + 1];
    assert_problem!(ask(Vec::new(), wanted).await, 413, "too_large");
    assert_problem!(ask(vec![Part::WHOLE; PARTS_MAX + 1], Vec::new()).await, 413, "too_large");
    let most = answer(ask(vec![Part::WHOLE; PARTS_MAX], Vec::new()).await).await;
    assert_eq!(most.contents.len(), PARTS_MAX);
    for bytes in [
        &b"\xa3\x00\x01\x01\x81\x82\x11\x00\x02\x80"[..], // a depth of 17
        b"\xa3\x00\x01\x01\x81\x82\x01\x10\x02\x80",      // five bits where there are four
        b"\xa3\x00\x01\x01\x80\x02\x81\x40",              // a thing without a name
        b"\xa3\x00\x01\x01\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x00\x01",
    ] {
        let sent = served.sync("repair", &token, bytes.to_vec()).await;
        assert_problem!(sent, 400, "malformed");
    }
    // A list as long as a message can be costs no more than reading it.
    let long = array_of(b"\xa3\x00\x01\x01", 2_700_000, b"\x82\x00\x00", b"\x02\x80");
    assert_problem!(served.sync("repair", &token, long).await, 413, "too_large");
    assert_problem!(served.sync("repair", "no token", served.pull()).await, 401, "unauthorized");
    let busy = served.app.limits.repairs.acquire_many(REPAIRS_MAX as u32).await.unwrap();
    let refused = ask(vec![Part::WHOLE], Vec::new()).await;
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_problem!(refused, 503, "busy");
    drop(busy);
    served.close().await;
}

#[tokio::test]
async fn the_demo_stays_on_its_machine() {
    let everywhere = "0.0.0.0:8081".parse().unwrap();
    let refused = server::demo::run("absent".into(), everywhere, async {}).await.unwrap_err();
    assert!(refused.to_string().ends_with("listen on 127.0.0.1:8081"), "{refused}");
}

#[tokio::test]
async fn plain_http_from_elsewhere_is_refused() {
    let trust =
        |config: &mut ServeConfig| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let served = Served::with(trust).await;
    let ask = |proto: Option<&'static str>| {
        let request = served.http.post(format!("{}/sign-in", served.url));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("x-forwarded-for", "8.8.8.8");
        let fields = [("email", "ada@oats.example"), ("password", PASSWORD)];
        let request = request.body(form(&fields));
        match proto {
            Some(proto) => request.header("x-forwarded-proto", proto).send(),
            None => request.send(),
        }
    };
    assert_problem!(ask(None).await.unwrap(), 403, "tls_required");
    assert_problem!(ask(Some("http")).await.unwrap(), 403, "tls_required");
    let page = served.http.get(&served.url).header("x-forwarded-for", "8.8.8.8");
    let page = page.header("accept", "text/html").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("The request came over plain HTTP"), "{page}");
    assert!(!page.contains("class=\"btn"), "every other page says the same: {page}");
    let signed_in = ask(Some("https")).await.unwrap();
    assert!(signed_in.headers()[header::SET_COOKIE].to_str().unwrap().ends_with("; Secure"));
    let health = served.http.get(format!("{}/healthz", served.url));
    let health = health.header("x-forwarded-for", "8.8.8.8").send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    served.close().await;
    let insecure = Served::with(|config| {
        trust(config);
        config.insecure_lan = true;
    });
    let served = insecure.await;
    let request =
        served.http.get(format!("{}/me", served.url)).header("x-forwarded-for", "8.8.8.8");
    assert_problem!(request.send().await.unwrap(), 401, "unauthorized");
    served.close().await;
}

/// Runs what the binary runs, until the returned sender says stop.
async fn run(folder: &Path) -> (Arc<App>, SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let app = App::open(folder.to_owned()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = serve::serve(
        Arc::clone(&app),
        ServeConfig::local(folder.to_owned()),
        listener,
        async move { drop(stopped.await) },
    );
    let running = tokio::spawn(async move { running.await.unwrap() });
    (app, address, stop, running)
}

#[tokio::test]
async fn stopping_ends_streams_and_frees_the_folder() {
    let folder = scratch("http");
    let (app, address, stop, running) = run(&folder).await;
    let tenant =
        people::found(&app, "Nordic Oats", "Ada", "ada@oats.example", PASSWORD).await.unwrap();
    let ada = *tenant.world().people.keys().next().unwrap();
    let code = people::code_for(&app, &tenant, ada).await.unwrap().code;
    let http = http();
    let enrolment = enrolment(&code, &Keypair::from_seed(&[1; 32])).to_string();
    let reply = http.post(format!("http://{address}/api/v1/enrol")).body(enrolment).send().await;
    let token = text(&json_of(reply.unwrap()).await, "token");
    let live = http.get(format!("http://{address}/api/v1/poke")).bearer_auth(token).send().await;
    let mut live = live.unwrap();
    stop.send(()).unwrap();
    assert_eq!(live.chunk().await.unwrap(), None);
    running.await.unwrap();
    assert!(http.get(format!("http://{address}/healthz")).send().await.is_err());
    assert!(matches!(app.store.probe().await, Err(StoreError::Closed)));
    drop((app, tenant));
    let reopened = App::open(folder.clone()).await.unwrap();
    assert_eq!(reopened.tenants().len(), 1);
    reopened.store.close();
    std::fs::remove_dir_all(folder).unwrap();
}

// Time stands still here and jumps to the next timer when nothing else can happen.
#[tokio::test(start_paused = true)]
async fn slow_senders_are_cut_off() {
    let folder = scratch("http");
    let (_, address, stop, running) = run(&folder).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await; // an end or a reset
    assert!(!rest.starts_with(b"HTTP/1.1 200"));

    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /api/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    drop(stream);
    stop.send(()).unwrap();
    running.await.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn an_organisation_is_founded_once() {
    let folder = scratch("http");
    let wanted = Init {
        data: folder.clone(),
        organisation: "Nordic Oats".into(),
        admin_email: "ada@oats.example".into(),
        admin_name: "Ada".into(),
        password: None,
    };
    let refused = async |wanted: Init| match init(&wanted).await {
        Err(InitError::Refused(problem)) => problem.code().to_owned(),
        other => panic!("{other:?}"),
    };
    for (bad, code) in [
        (Init { password: Some("short".into()), ..wanted.clone() }, "invalid"),
        (Init { admin_email: "ada".into(), ..wanted.clone() }, "invalid"),
        (Init { admin_name: " ".into(), ..wanted.clone() }, "invalid"),
        (Init { organisation: String::new(), ..wanted.clone() }, "invalid"),
    ] {
        assert_eq!(refused(bad).await, code);
    }
    let app = App::open(folder.clone()).await.unwrap();
    assert!(app.tenants().is_empty(), "what was refused made nothing");
    let cut_short = sync_core::id::OrgId::from_bytes([1; 16]);
    app.create(cut_short, "Nordic Oats").await.unwrap();
    app.store.close();
    drop(app);
    let password = init(&wanted).await.unwrap().unwrap();
    let again = Init { admin_email: "other@oats.example".into(), ..wanted.clone() };
    assert_eq!(refused(again).await, "organisation_exists");
    let taken = Init { organisation: "Other".into(), ..wanted };
    assert_eq!(refused(taken).await, "email_taken");
    let app = App::open(folder.clone()).await.unwrap();
    assert_eq!(app.tenants().len(), 1);
    assert_eq!(app.tenants()[0].id, cut_short);
    let own = ingest_device(&app.tenants()[0]);
    assert!(app.device(&app.tenants()[0], own).is_some(), "the server's own device is in the log");
    let hash = app.store.read(|c| server::store::accounts::account(c, "ada@oats.example")).await;
    assert!(hash.unwrap().unwrap().password.unwrap().starts_with("$argon2id$"));
    assert_eq!(password.len(), 19);
    app.store.close();
    std::fs::remove_dir_all(folder).unwrap();
}

fn ingest_device(tenant: &Tenant) -> DeviceId {
    DeviceId::of_server(tenant.id)
}

#[test]
fn the_binary_says_what_is_wrong_and_stops_when_asked() {
    let folder = scratch("http");
    let data = folder.to_str().unwrap();
    let endcap = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_endcap"));
        command.args(arguments).env_clear().stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let ended = |arguments: &[&str]| {
        let output = endcap(arguments).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = ended(&["--version"]);
    assert_eq!((code, said.trim()), (0, concat!("endcap ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(ended(&["serve"]).0, 2);
    let (code, said) = ended(&["demo", "--listen", "localhost:8085"]);
    assert!(code == 2 && said.contains("such as 127.0.0.1:8085"), "{said}");
    let (code, said) = ended(&["serve", "--data", data, "--listen", "0.0.0.0:0"]);
    assert!(code == 2 && said.contains("--trust-proxy"), "{said}");
    let (code, said) = ended(&["serve", "--data", "/dev/null/x"]);
    assert!(code == 1 && said.contains("/dev/null/x"), "{said}");

    let admin = ["--organisation", "Nordic Oats", "--admin-email", "ada@oats.example"];
    let arguments = [&["init", "--data", data, "--password-stdin"], &admin[..]].concat();
    let mut child = endcap(&arguments).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse battery\n").unwrap();
    let made = child.wait_with_output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(!String::from_utf8_lossy(&made.stdout).contains("correct horse"));
    let (code, said) = ended(&[&["init", "--data", data], &admin[..]].concat());
    assert!(code == 1 && said.contains("organisation of this name"), "{said}");

    let mut server = endcap(&["serve", "--data", data, "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit_once("http://").unwrap().1.to_owned();
    let (code, said) = ended(&["serve", "--data", data, "--listen", "127.0.0.1:0"]);
    assert!(code == 1 && said.contains("another endcap process"), "{said}");
    let elsewhere = scratch("http");
    let other = elsewhere.to_str().unwrap();
    let (code, said) = ended(&["serve", "--data", other, "--listen", &address]);
    assert!(code == 1 && said.contains("--listen"), "{said}");

    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let request = "GET /visits?secret=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let stopped = Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    let output = server.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let log = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked = lines.iter().find(|line| line.get("method").is_some()).unwrap();
    assert_eq!((&asked["method"], asked["status"].is_u64()), (&json!("GET"), true));
    assert!(!log.contains("secret") && !log.contains("127.0.0.1"), "{log}");
    for folder in [folder, elsewhere] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}
