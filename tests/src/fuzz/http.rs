//! The server's own routes over a store in a fresh folder, asked for anything.
//!
//! An input is a block with a story (see [`super::admission`]) and then requests: `[what, how, flags, …]`. What
//! is left of the story when the requests are over is pushed as it should be. Nothing may be answered with a
//! status of 500 or more, every refusal is a problem, and what the store holds is what was accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use server::app::App;
use server::config::ServeConfig;
use server::serve::router;
use server::store::uploads;
use server::store::visits::PhotoRow;
use server::store::{StoreError, accounts, log};
use sync_core::cargo::{Cargo, Load, Parcel};
use sync_core::document::Document;
use sync_core::evidence::{Cursor, Keypair};
use sync_core::id::{
    BlobHash, ChangeHash, DeviceId, DocId, DocKind, LogHash, OrgId, UserId, VisitId,
};
use sync_core::model::capture::{CaptureTime, Moment};
use sync_core::model::catalogue::RecordKey;
use sync_core::model::visit::Note;
use sync_core::print::{Content, Item, Part, Print, PrintName};
use sync_core::wire::{
    CargoReply, CargoRequest, Delivery, Filled, GROUPS_MAX, Group, MEDIA_TYPE, Outcome, PROTOCOL,
    ParcelBytes, PullReply, PullRequest, PushReply, PushRequest, RepairReply, RepairRequest,
    from_wire,
};
use tower::ServiceExt;

use super::Script;
use super::admission::{PEOPLE, Proposal, Story, keypair, words};
use crate::backend::{Server, code, encode};
use crate::brand::{BEGIN_MS, ORG, RITA, SVEN};
use crate::chance::Chance;
use crate::device::Device;
use crate::{live, oracle};

/// Most requests that a script asks for: a device's rate is far above.
const REQUESTS_MAX: usize = 24;
/// An enrolment code that is good in every fresh server.
const CODE: &str = "0123456789";
const SUE: usize = 3;
/// Most rebuildings that a script asks for: each is many requests.
const REBUILDINGS_MAX: usize = 3;

/// What a request is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ask {
    /// The story's next proposal, with [`flaw`]s.
    Push,
    /// A block of bytes to path `how`.
    Raw,
    /// A pull by phone `how`.
    Pull,
    /// An enrolment of the key of seed `how`, with a block as label.
    Enrol,
    /// A request by method `how` for the upload of a block of bytes.
    Upload,
    /// A repair by phone `how`, of a block of bytes as parts and wanted things.
    Repair,
    /// The story's next proposal in a parcel with the [`fault`] `how`, and [`flaw`]s; after it a block of bytes
    /// as another parcel, if there are any.
    Cargo,
    /// Another key of seed `how` for the phone that changes its key, with what is wrong in the flags.
    Key,
    /// All that the person of phone `how` sees, asked for part by part as if nothing were held.
    Rebuild,
}

impl Ask {
    const ALL: [Self; 9] = [
        Self::Push,
        Self::Raw,
        Self::Pull,
        Self::Enrol,
        Self::Upload,
        Self::Repair,
        Self::Cargo,
        Self::Key,
        Self::Rebuild,
    ];
}

/// Flags of a push.
#[expect(missing_docs, reason = "each says in its name what it does")]
pub mod flaw {
    pub const COMPRESSED: u8 = 1;
    pub const TWICE: u8 = 2;
    pub const BAD_SEAL: u8 = 4;
    pub const OTHERS_TOKEN: u8 = 8;
    pub const NO_NOTES: u8 = 16;
    pub const NO_CHAIN: u8 = 32;
    pub const TOO_MANY: u8 = 64;
    pub const NO_SEAL: u8 = 128;
}

/// What is wrong with a parcel.
#[expect(missing_docs, reason = "each says in its name what it is")]
pub mod fault {
    pub const NONE: u8 = 0;
    pub const TO_ANOTHER_SERVER: u8 = 1;
    pub const FROM_NOBODY: u8 = 2;
    pub const IN_ANOTHERS_NAME: u8 = 3;
    pub const ANOTHER_PROTOCOL: u8 = 4;
    pub const NO_CHANGE: u8 = 5;
    pub const FLIPPED: u8 = 6;
    pub const CUT: u8 = 7;
    pub const LONGER: u8 = 8;
    pub const OF_ANOTHER_ORGANISATION: u8 = 9;
    pub(super) const COUNT: u8 = 10;
}

/// Where bytes can be sent as they are.
pub const PATHS: [&str; 8] =
    ["push", "pull", "enrol", "photos/missing", "uploads", "repair", "cargo", "key"];

/// An input: a story, and requests.
pub fn input(story: &[u8], asks: &[Vec<u8>]) -> Vec<u8> {
    [block(story), asks.concat()].concat()
}

/// A request with its block; [`Ask::Push`], [`Ask::Pull`], [`Ask::Key`] and [`Ask::Rebuild`] have none.
pub fn ask(ask: Ask, how: u8, flags: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![ask as u8, how, flags], block(bytes)].concat()
}

fn block(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short block");
    [&length.to_le_bytes()[..], bytes].concat()
}

/// A data folder, gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("endcap-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// One that holds the brand, with a phone for each of [`PEOPLE`] and an enrolment code.
    fn founded() -> Self {
        static DATABASE: OnceLock<Vec<u8>> = OnceLock::new();
        let folder = Self::new();
        let database = DATABASE.get_or_init(|| {
            let folder = Self::new();
            runtime().block_on(async {
                let phones: Vec<Device> = phones().into_iter().chain([renewed()]).collect();
                let (app, tenant) =
                    live::found(&folder.0, &phones.iter().collect::<Vec<_>>()).await;
                let (org, now) = (tenant.org, server::now_ms());
                let expires_ms = i64::MAX;
                let code = LogHash::of(CODE.as_bytes()).0;
                let enrolment = accounts::Enrolment { org, user: SVEN, expires_ms, device: None };
                let put = move |tx: &rusqlite::Transaction<'_>| {
                    accounts::put_enrolment(tx, code, &enrolment, now)
                };
                app.store.write(put).await.expect("a code");
                close(app);
            });
            let db = Connection::open(folder.0.join("endcap.db")).expect("a database");
            let copy = folder.0.join("copy.db");
            db.execute("VACUUM INTO ?1", [copy.to_str().expect("UTF-8")]).expect("a copy");
            std::fs::read(copy).expect("a copy reads")
        });
        std::fs::write(folder.0.join("endcap.db"), database).expect("a database is written");
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // the next run has another name
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn phones() -> Vec<Device> {
    let phone = |(who, user): (usize, &UserId)| {
        let mut phone = Device::new(*user, BEGIN_MS, &mut Chance::new(who as u64));
        phone.keypair = keypair(who);
        phone
    };
    PEOPLE.iter().enumerate().map(phone).collect()
}

/// A second phone of Rita's, which writes nothing and changes its key.
fn renewed() -> Device {
    let mut phone = Device::new(RITA, BEGIN_MS, &mut Chance::new(99));
    phone.keypair = next_key(0);
    phone
}

fn next_key(seed: u8) -> Keypair {
    let mut bytes = [0x55; 32];
    bytes[0] = seed;
    Keypair::from_seed(&bytes)
}

/// What the changing phone was, one key after another.
struct Life {
    key: Keypair,
    device: DeviceId,
    token: String,
}

fn close(app: Arc<App>) {
    app.stop();
    app.store.close();
}

/// A server and what was said to it.
struct Served {
    app: Arc<App>,
    router: Router,
    tokens: Vec<String>,
    devices: Vec<DeviceId>,
    lives: Vec<Life>,
    rebuildings: usize,
    previous: [Option<LogHash>; PEOPLE.len()],
    cursor: Option<Cursor>,
    outcomes: Vec<String>,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// Tells the story and asks; panics where the server does wrong. Returns what was answered: statuses of 400
/// and more by their problem's code, outcomes by theirs.
pub fn run(data: &[u8]) -> Vec<String> {
    let folder = Folder::founded();
    let mut script = Script::new(data);
    let mut story = Story::new(Script::new(script.block()));
    let (outcomes, app) = runtime().block_on(async {
        let mut served = Served::open(&folder).await;
        for _ in 0..REQUESTS_MAX {
            if script.is_over() {
                break;
            }
            served.ask(&mut story, &mut script).await;
        }
        while let Some(proposal) = story.proposal().filter(|_| served.outcomes.len() < 50) {
            served.push(&mut story, &proposal, 0).await;
        }
        served.all_is_readable(&story).await;
        close(Arc::clone(&served.app));
        (served.outcomes, Arc::downgrade(&served.app))
    });
    assert!(app.upgrade().is_none(), "something holds on to a server that has stopped");
    let db = Connection::open(folder.0.join("endcap.db")).expect("the database opens");
    // What no entry has named after all; see `name_photo`.
    db.execute("DELETE FROM photo WHERE substr(document, 2) = by", []).expect("they go");
    oracle::is_sound(&Server::over(db));
    outcomes
}

impl Served {
    async fn open(folder: &Folder) -> Self {
        let app = App::open(folder.0.clone()).await.expect("the folder opens");
        let config = ServeConfig::local(folder.0.clone());
        let router = router(Arc::clone(&app), config, Router::new());
        let (phones, renewed) = (phones(), renewed());
        let tokens = phones.iter().map(live::token).collect();
        let devices = phones.iter().map(|phone| phone.id).collect();
        let token = live::token(&renewed);
        let lives = vec![Life { key: renewed.keypair, device: renewed.id, token }];
        let (previous, cursor) = ([None; PEOPLE.len()], None);
        let outcomes = Vec::new();
        Self { app, router, tokens, devices, lives, rebuildings: 0, previous, cursor, outcomes }
    }

    async fn ask(&mut self, story: &mut Story<'_>, script: &mut Script<'_>) {
        let ask = Ask::ALL[usize::from(script.byte()) % Ask::ALL.len()];
        let (how, flags) = (script.byte(), script.byte());
        match ask {
            Ask::Push => {
                if let Some(proposal) = story.proposal() {
                    self.push(story, &proposal, flags).await;
                }
            }
            Ask::Raw => self.raw(how, flags, script.block()).await,
            Ask::Pull => self.pull(how, flags).await,
            Ask::Enrol => self.enrol(how, flags, script.block()).await,
            Ask::Upload => self.upload(how, flags, script.block()).await,
            Ask::Repair => self.repair(story, how, script.block()).await,
            Ask::Cargo => {
                let also = script.block();
                if let Some(proposal) = story.proposal() {
                    self.cargo(story, &proposal, how, flags, also).await;
                }
            }
            Ask::Key => self.key(how, flags).await,
            Ask::Rebuild => self.rebuild(how, flags).await,
        }
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let head = method == Method::HEAD;
        let mut request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_LENGTH, body.len()); // as a connection would
        }
        let peer = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 9)));
        let request = request.extension(peer).body(Body::from(body)).expect("a request");
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        let packed = response.headers().get(header::CONTENT_ENCODING).is_some();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("an answer ends");
        let mut body = body.to_vec();
        if packed {
            body = zstd::stream::decode_all(&body[..]).expect("an answer can be inflated");
        }
        assert!(status < 500, "{path}: {status} {}", String::from_utf8_lossy(&body));
        if status >= 400 && !head {
            assert_eq!(
                kind.as_ref().map(|kind| kind.as_bytes()),
                Some(&b"application/problem+json"[..])
            );
            let problem: Json = serde_json::from_slice(&body).expect("a problem is JSON");
            assert_eq!(problem["status"], status);
            let kind = problem["type"].as_str().expect("a problem has a type");
            let code = kind.strip_prefix("urn:endcap:problem:").expect("a problem has a code");
            self.outcomes.push(code.to_owned());
        }
        Answer { status, body }
    }

    async fn send_sync(
        &mut self,
        who: usize,
        path: &str,
        body: Vec<u8>,
        compressed: bool,
    ) -> Answer {
        let token = format!("Bearer {}", self.tokens[who]);
        let mut headers = vec![("authorization", token.as_str()), ("content-type", MEDIA_TYPE)];
        let mut body = body;
        if compressed {
            body = zstd::bulk::compress(&body, 1).expect("compression");
            headers.extend([("content-encoding", "zstd"), ("accept-encoding", "gzip, zstd")]);
        }
        self.send(Method::POST, path, &headers, body).await
    }

    async fn push(&mut self, story: &mut Story<'_>, proposal: &Proposal, flags: u8) {
        let has = |flaw| flags & flaw != 0;
        let (group, notes) = sealed(proposal, flags);
        let now = Moment {
            wall_ms: i64::MIN,
            boot: 1,
            boot_ms: 9,
            anchor: u64::MAX,
            skew_ms: None,
            life: None,
        };
        let who = match has(flaw::OTHERS_TOKEN) {
            true => (proposal.who + 1) % PEOPLE.len(),
            false => proposal.who,
        };
        let previous = self.previous[who].filter(|_| !has(flaw::NO_CHAIN));
        let copies = if has(flaw::TOO_MANY) { GROUPS_MAX + 1 } else { 1 };
        let groups = vec![group.clone(); copies];
        let bytes = encode(&PushRequest { protocol: PROTOCOL, now, previous, groups, notes });
        let before = self.heads(proposal).await;
        let mut outcomes = Vec::new();
        for _ in 0..=usize::from(has(flaw::TWICE)) {
            let answer = self.send_sync(who, "push", bytes.clone(), has(flaw::COMPRESSED)).await;
            let readable = proposal.has_names() && copies <= GROUPS_MAX;
            assert_eq!(answer.status == 200, readable, "only what cannot be read is not judged");
            if answer.status == 200 {
                let reply: PushReply = from_wire(ORG, &answer.body).expect("a reply reads");
                assert_eq!(reply.outcomes.len(), 1);
                assert_eq!(reply.push, LogHash::of(&bytes));
                self.previous[who] = Some(reply.push);
                outcomes.extend(reply.outcomes);
            }
        }
        assert!(outcomes.windows(2).all(|two| two[0] == two[1]), "again, and judged otherwise");
        let accepted = outcomes.first() == Some(&Outcome::Accepted {});
        self.outcomes.extend(outcomes.first().map(|outcome| code(outcome).to_owned()));
        story.decided(proposal, accepted);
        let after = self.heads(proposal).await;
        assert!(accepted || after == before, "refused, and something of it is in the log");
        let ours = story.documents().iter().find(|document| document.id() == proposal.document);
        assert_eq!(after, ours.expect("the story's document").heads(), "accepted in part");
    }

    async fn heads(&self, proposal: &Proposal) -> Vec<ChangeHash> {
        self.document(proposal).await.heads().to_vec()
    }

    async fn document(&self, proposal: &Proposal) -> Document {
        let tenant = self.app.tenants().remove(0);
        let (org, document) = (tenant.org, proposal.document);
        let read =
            self.app.store.read(move |connection| log::document(connection, org, ORG, document));
        read.await.expect("a document reads").document
    }

    /// The proposal as its author's phone would seal it to the server, brought by another phone.
    async fn cargo(
        &mut self,
        story: &mut Story<'_>,
        proposal: &Proposal,
        how: u8,
        flags: u8,
        also: &[u8],
    ) {
        let has = |flaw| flags & flaw != 0;
        let (mut group, notes) = sealed(proposal, flags);
        let named = proposal.has_names();
        let hashes: Vec<ChangeHash> = group.hashes().collect();
        let (who, wrong) = (proposal.who, how % fault::COUNT);
        let mut origin = self.devices[who];
        let mut server = self.app.tenants()[0].console.keypair.public();
        let (mut org, mut protocol) = (ORG, PROTOCOL);
        match wrong {
            fault::TO_ANOTHER_SERVER => server = keypair(SUE).public(),
            fault::FROM_NOBODY => origin = DeviceId::from_bytes([how; 16]),
            fault::IN_ANOTHERS_NAME => origin = self.devices[(who + 1) % PEOPLE.len()],
            fault::ANOTHER_PROTOCOL => protocol += 1 + u32::from(how),
            fault::NO_CHANGE => (group.changes, group.seals) = (Vec::new(), Vec::new()),
            fault::OF_ANOTHER_ORGANISATION => org = OrgId::from_bytes([how; 16]),
            _ => {}
        }
        let cargo = Cargo { protocol, load: Load::Work(group, notes) };
        let parcel = Parcel::seal(org, origin, &keypair(who), &server, &cargo);
        let Some(parcel) = parcel else { return };
        let mut parcel = parcel.as_bytes().to_vec();
        let at = usize::from(how) * parcel.len() / 256;
        match wrong {
            fault::FLIPPED => parcel[at] ^= 1 << (how % 8),
            fault::CUT => parcel.truncate(at),
            fault::LONGER => parcel.push(how),
            _ => {}
        }
        let expected: &[&str] = match wrong {
            fault::TO_ANOTHER_SERVER => &["not_opened"],
            fault::ANOTHER_PROTOCOL => &["later"],
            fault::NO_CHANGE => &["unreadable"],
            fault::FLIPPED if at < 16 => &["not_opened"],
            fault::CUT if at < 128 => &["malformed"],
            fault::NONE | fault::FROM_NOBODY if !named => &["unreadable"],
            fault::NONE | fault::FROM_NOBODY => &["taken", "later"],
            _ => &["bad_seal"],
        };
        let copies = 1 + usize::from(has(flaw::TWICE));
        let mut parcels = vec![ParcelBytes(parcel); copies];
        if !also.is_empty() {
            parcels.push(ParcelBytes(also.to_vec()));
        }
        let count = parcels.len();
        let bytes = encode(&CargoRequest { protocol: PROTOCOL, parcels });
        let courier = (who + usize::from(has(flaw::OTHERS_TOKEN))) % PEOPLE.len();
        let before = self.heads(proposal).await;
        let answer = self.send_sync(courier, "cargo", bytes, has(flaw::COMPRESSED)).await;
        assert_eq!(answer.status, 200);
        let reply: CargoReply = from_wire(ORG, &answer.body).expect("a reply reads");
        assert_eq!(reply.outcomes.len(), count);
        let codes: Vec<&str> = reply.outcomes.iter().map(delivered).collect();
        assert!(codes[..copies].windows(2).all(|two| two[0] == two[1]), "again, and otherwise");
        assert!(expected.contains(&codes[0]), "{codes:?}, and not {expected:?}");
        assert!(also.is_empty() || !matches!(codes[copies], "taken" | "later"), "{codes:?}");
        self.outcomes.push(codes[0].to_owned());
        let after = self.document(proposal).await;
        assert!(codes[0] == "taken" || after.heads() == before, "not taken, and in the log");
        let accepted = named && hashes.iter().all(|hash| after.contains(*hash));
        story.decided(proposal, accepted);
        let ours = story.documents().iter().find(|document| document.id() == proposal.document);
        let ours = ours.expect("the story's document").heads();
        assert_eq!(after.heads(), ours, "accepted in part");
    }

    /// Both keys must agree, the present one must be in use, and the next one nobody's.
    async fn key(&mut self, how: u8, flags: u8) {
        let last = self.lives.len() - 1;
        let place = match flags & 3 {
            0 | 3 => last,
            1 => 0,
            _ => last.saturating_sub(1),
        };
        let (before, stolen) = (&self.lives[place], flags & 3 == 3);
        let token = if stolen { &self.tokens[SUE] } else { &before.token };
        let token = format!("Bearer {token}");
        let known = self.lives.iter().position(|life| life.key.public() == next_key(how).public());
        let taken = flags & 64 != 0;
        let next = if taken { keypair(usize::from(how) % PEOPLE.len()) } else { next_key(how) };
        let (old, new) = (before.key.public(), next.public());
        let agreed = |signer: &Keypair, how: u8| match how & 3 {
            0 => signer.agree(ORG, &old, &new),
            1 => keypair(SUE).agree(ORG, &old, &new),
            2 => signer.agree(OrgId::from_bytes([1; 16]), &old, &new),
            _ => signer.agree(ORG, &new, &old),
        };
        let (proof, handover) = (agreed(&next, flags >> 2), agreed(&before.key, flags >> 4));
        let right = |how: u8| how & 3 == 0 || (how & 3 == 3 && old == new);
        let thirds = taken && usize::from(how) % PEOPLE.len() == SUE && flags >> 2 & 3 == 1;
        let signed = (right(flags >> 2) || thirds) && right(flags >> 4) && !stolen;
        let length = if flags & 128 != 0 { 31 } else { 32 };
        let question = json!({
            "key": BASE64_URL_SAFE_NO_PAD.encode(&new[..length]),
            "proof": BASE64_URL_SAFE_NO_PAD.encode(proof),
            "handover": BASE64_URL_SAFE_NO_PAD.encode(handover),
            "later": how,
        });
        let expected = match (known.filter(|_| !taken), place == last) {
            _ if !signed || length < 32 => "malformed",
            _ if taken => "key_taken",
            (None, true) | (Some(_), false) if known.is_none_or(|known| known == last) => "renewed",
            (Some(_), true) => "key_taken",
            _ => "revoked",
        };
        let body = serde_json::to_vec(&question).expect("JSON");
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let answer = self.send(Method::POST, "key", &headers, body).await;
        if answer.status != 200 {
            assert_eq!(self.outcomes.last().map(String::as_str), Some(expected));
            return;
        }
        assert_eq!(expected, "renewed");
        self.outcomes.push("renewed".into());
        let reply: Json = serde_json::from_slice(&answer.body).expect("a reply is JSON");
        assert_eq!(reply["user"]["id"], RITA.to_string());
        let device = reply["device"].as_str().expect("a device");
        let device = device.parse().expect("a device's id");
        let token = reply["token"].as_str().expect("a token").to_owned();
        let before = std::mem::replace(&mut self.lives[last].token, token.clone());
        if known.is_some() {
            assert_eq!(device, self.lives[last].device, "the same request makes the same device");
        } else {
            self.lives[last].token = before.clone();
            self.lives.push(Life { key: next, device, token: token.clone() });
        }
        let pull = PullRequest::BEGINNING;
        let (void, good) = (format!("Bearer {before}"), format!("Bearer {token}"));
        for (token, is_good) in [(void, false), (good, true)] {
            let headers = [("authorization", token.as_str()), ("content-type", MEDIA_TYPE)];
            let answer = self.send(Method::POST, "pull", &headers, encode(&pull)).await;
            assert_eq!(answer.status == 200, is_good, "which token is good");
        }
    }

    /// What repair lists and gives is what a pull from the beginning brings.
    async fn rebuild(&mut self, how: u8, flags: u8) {
        if self.rebuildings == REBUILDINGS_MAX {
            return;
        }
        self.rebuildings += 1;
        let who = usize::from(how) % PEOPLE.len();
        let pulled = self.everything(who).await;
        let (mut parts, mut listed) = (vec![Part::WHOLE], BTreeMap::new());
        while !parts.is_empty() {
            let asked = std::mem::take(&mut parts);
            let reply = self.seek(who, asked.clone(), Vec::new(), flags & 1 != 0).await;
            assert_eq!(reply.contents.len(), asked.len());
            for (part, content) in asked.into_iter().zip(reply.contents) {
                match content {
                    Content::Parts(names) => {
                        let nothing = Print::default().name();
                        let differ = part.parts().zip(names).filter(|(_, name)| *name != nothing);
                        parts.extend(differ.map(|(part, _)| part));
                    }
                    Content::Items(items) => listed.extend(items),
                }
            }
        }
        let names = |prints: &BTreeMap<Item, Print>| -> BTreeMap<Item, PrintName> {
            prints.iter().map(|(item, print)| (*item, print.name())).collect()
        };
        assert_eq!(listed, names(&pulled.prints()), "what is seen is what is listed");
        let sum: Print = pulled.prints().into_values().sum();
        assert_eq!(pulled.print, Some(sum.name()));

        let mut wanted: Vec<Item> = listed.keys().copied().collect();
        let length = wanted.len().max(1);
        wanted.rotate_left(usize::from(flags) % length);
        wanted.push(Item::Document(DocId { kind: DocKind::Visit, id: [how; 16] }));
        let mut given = Everything::default();
        while !wanted.is_empty() {
            let reply = self.seek(who, Vec::new(), wanted.clone(), flags & 1 == 0).await;
            let count = usize::try_from(reply.given).expect("a count");
            assert!((1..=wanted.len()).contains(&count), "{count} of {}", wanted.len());
            given.take(&reply.records, &reply.groups);
            wanted.drain(..count);
        }
        assert!(given.records == pulled.records && given.documents == pulled.documents);
        self.outcomes.push("rebuilt".into());
    }

    async fn seek(
        &mut self,
        who: usize,
        parts: Vec<Part>,
        wanted: Vec<Item>,
        compressed: bool,
    ) -> RepairReply {
        let asked = encode(&RepairRequest { protocol: PROTOCOL, parts, wanted });
        let answer = self.send_sync(who, "repair", asked, compressed).await;
        assert_eq!(answer.status, 200);
        from_wire(ORG, &answer.body).expect("a reply reads")
    }

    /// What a person's fresh phone is given.
    async fn everything(&mut self, who: usize) -> Everything {
        let (mut cursor, mut filled) = (None, None);
        let mut all = Everything::default();
        loop {
            let pull = PullRequest {
                protocol: PROTOCOL,
                cursor,
                pushed: None,
                filled,
                known: None,
                waits: None,
            };
            let answer = self.send_sync(who, "pull", encode(&pull), true).await;
            assert_eq!(answer.status, 200);
            let reply: PullReply = from_wire(ORG, &answer.body).expect("a page reads");
            all.take(&reply.records, &reply.groups);
            all.print = reply.print;
            (cursor, filled) = (Some(reply.cursor), reply.filled);
            if !reply.more {
                return all;
            }
        }
    }

    /// Someone who sees everything gets everything that was accepted, and nothing else.
    async fn all_is_readable(&mut self, story: &Story<'_>) {
        let found: BTreeSet<ChangeHash> =
            self.everything(SUE).await.documents.into_values().flatten().collect();
        let changes = story.documents().iter().flat_map(|document| document.changes());
        assert_eq!(found, changes.map(|change| change.hash()).collect());
    }

    async fn raw(&mut self, how: u8, flags: u8, bytes: &[u8]) {
        let path = PATHS[usize::from(how) % PATHS.len()];
        let token = match flags & 3 {
            0 | 1 => format!("Bearer {}", self.tokens[usize::from(flags & 3)]),
            2 => "Bearer \u{ff}".to_owned(),
            _ => String::new(),
        };
        let kind = match path {
            "push" | "pull" | "repair" | "cargo" => MEDIA_TYPE,
            _ => "application/offset+octet-stream",
        };
        let mut headers = vec![
            ("authorization", token.as_str()),
            ("tus-resumable", "1.0.0"),
            ("content-type", kind),
        ];
        let text;
        let mut body = bytes.to_vec();
        match flags >> 2 & 3 {
            0 => {}
            1 => headers.push(("content-encoding", "zstd")),
            2 => {
                headers.push(("content-encoding", "zstd"));
                body = zstd::bulk::compress(bytes, 1).expect("compression");
            }
            // The bytes are a header's value, as far as they can be one.
            _ => {
                let printable = bytes.iter().filter(|b| (0x20..0x7f).contains(*b)).copied();
                text = String::from_utf8(printable.collect()).expect("ASCII");
                let names =
                    ["upload-metadata", "upload-length", "content-encoding", "upload-checksum"];
                headers.push((names[usize::from(flags >> 4) % names.len()], &text));
            }
        }
        self.send(Method::POST, path, &headers, body).await;
    }

    async fn pull(&mut self, how: u8, flags: u8) {
        let who = usize::from(how) % PEOPLE.len();
        let mut cursor = self.cursor.filter(|_| flags & 1 != 0);
        if let Some(cursor) = &mut cursor {
            match flags >> 1 & 3 {
                1 => cursor.sequence = cursor.sequence.wrapping_add_signed((how as i8).into()),
                2 => cursor.root.0[0] ^= how,
                3 => cursor.sequence = u64::MAX << (how % 64),
                _ => {}
            }
        }
        let pushed = self.previous[who].filter(|_| flags & 8 == 0);
        let filled = (flags & 32 != 0)
            .then_some(Filled { next: u64::MAX >> (how % 64), since: u64::MAX >> (flags >> 2) });
        let pull =
            PullRequest { protocol: PROTOCOL, cursor, pushed, filled, known: None, waits: None };
        let answer = self.send_sync(who, "pull", encode(&pull), flags & 16 != 0).await;
        if answer.status == 200 {
            let reply: PullReply = from_wire(ORG, &answer.body).expect("a page reads");
            self.cursor = Some(reply.cursor);
        }
    }

    /// Nine bytes each are a part, whose answer adds up; and the story's documents are wanted.
    async fn repair(&mut self, story: &Story<'_>, how: u8, bytes: &[u8]) {
        let who = usize::from(how) % PEOPLE.len();
        let (chunks, _) = bytes.as_chunks::<9>();
        let numbers = chunks
            .iter()
            .map(|[depth, prefix @ ..]| (*depth, u64::from_be_bytes(*prefix) >> (how % 64)));
        let names: Vec<(u8, u64)> = numbers.collect();
        let fits = |(depth, prefix): &(u8, u64)| {
            *depth <= 16 && prefix.checked_shr(4 * u32::from(*depth)).unwrap_or(0) == 0
        };
        let wanted = story.documents().iter().map(|document| Item::Document(document.id()));
        let mut e = minicbor::Encoder::new(Vec::new());
        let written = e.map(3).and_then(|e| e.u8(0)?.u32(PROTOCOL)?.u8(1)?.encode(&names));
        written.and_then(|e| e.u8(2)?.encode(wanted.collect::<Vec<_>>())).expect("memory");
        let answer = self.send_sync(who, "repair", e.into_writer(), how & 1 == 0).await;
        assert_eq!(answer.status == 200, names.iter().all(fits), "what names no part is no part");
        if answer.status == 200 {
            let reply: RepairReply = from_wire(ORG, &answer.body).expect("a reply reads");
            assert_eq!(reply.contents.len(), names.len());
            self.outcomes.push("repaired".into());
        }
    }

    async fn enrol(&mut self, how: u8, flags: u8, label: &[u8]) {
        let pair = Keypair::from_seed(&[how; 32]);
        let code =
            if flags & 1 == 0 { CODE.to_owned() } else { String::from_utf8_lossy(label).into() };
        let mut proof = pair.prove(&code);
        if flags & 2 != 0 {
            proof[usize::from(how) % 64] ^= 1;
        }
        let question = json!({
            "code": code,
            "key": BASE64_URL_SAFE_NO_PAD.encode(pair.public()),
            "proof": BASE64_URL_SAFE_NO_PAD.encode(proof),
            "label": String::from_utf8_lossy(label),
        });
        let body = serde_json::to_vec(&question).expect("JSON");
        let answer = self.send(Method::POST, "enrol", &[], body).await;
        if answer.status == 200 {
            let reply: Json = serde_json::from_slice(&answer.body).expect("a reply is JSON");
            assert_eq!(reply["protocol"], PROTOCOL);
            assert_eq!(reply["user"]["id"], SVEN.to_string());
            self.outcomes.push("enrolled".into());
        }
    }

    /// As if an entry of this person named a photo.
    async fn name_photo(&self, hash: BlobHash, by: UserId) {
        let named = self.app.store.write(move |tx| -> Result<(), StoreError> {
            let moment =
                Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
            let times = CaptureTime::estimate(&moment, None, None, 0);
            let document = VisitId::from_bytes(*by.as_bytes()).into();
            uploads::refer(tx, 1, &PhotoRow { hash, document, by, times, bytes: 9 }, -1, |_| false)
        });
        named.await.expect("a row");
    }

    async fn upload(&mut self, how: u8, flags: u8, bytes: &[u8]) {
        let hash = BlobHash::of(if flags & 1 == 0 { bytes } else { b"something else" });
        let token = format!("Bearer {}", self.tokens[usize::from(flags >> 1 & 1)]);
        let length = match flags >> 2 & 3 {
            0 => bytes.len() as u64,
            1 => u64::from(how) << (how % 56),
            2 => bytes.len() as u64 + 1,
            _ => bytes.len() as u64 * 2,
        };
        let half = bytes.len() / 2;
        let (offset, part) = match flags >> 4 & 3 {
            0 => (0, bytes),
            1 => (0, &bytes[..half]),
            2 => (half as u64, &bytes[half..]),
            _ => (u64::from(how), bytes),
        };
        let sum = BlobHash::of(if flags & 64 == 0 { part } else { bytes });
        let (length, offset) = (length.to_string(), offset.to_string());
        let metadata = format!("sha256 {}", BASE64_STANDARD.encode(hash.to_string()));
        let checksum = format!("sha256 {}", BASE64_STANDARD.encode(sum.0));
        let mut headers = vec![
            ("authorization", token.as_str()),
            ("tus-resumable", "1.0.0"),
            ("upload-length", length.as_str()),
            ("upload-offset", offset.as_str()),
            ("upload-metadata", metadata.as_str()),
            ("content-type", "application/offset+octet-stream"),
        ];
        if flags & 128 != 0 {
            headers.push(("upload-checksum", checksum.as_str()));
        }
        let (method, path, body) = match how % 5 {
            0 => (Method::POST, "uploads".to_owned(), Vec::new()),
            1 => (Method::POST, "uploads".to_owned(), part.to_vec()),
            2 => (Method::PATCH, format!("uploads/{hash}"), part.to_vec()),
            3 => (Method::HEAD, format!("uploads/{hash}"), Vec::new()),
            _ => (Method::DELETE, format!("uploads/{hash}"), Vec::new()),
        };
        if how < 128 {
            self.name_photo(hash, PEOPLE[usize::from(flags >> 1 & 1)]).await;
        }
        let answer = self.send(method, &path, &headers, body).await;
        if answer.status < 300 {
            self.outcomes.push(answer.status.to_string());
        }
    }
}

/// What a phone holds that has been given everything.
#[derive(Default)]
struct Everything {
    records: BTreeMap<RecordKey, Vec<u8>>,
    documents: BTreeMap<DocId, BTreeSet<ChangeHash>>,
    print: Option<PrintName>,
}

impl Everything {
    fn take(&mut self, records: &[sync_core::wire::RecordBytes], groups: &[Group]) {
        for record in records {
            let key = RecordKey::peek(&record.0).expect("a record has a key");
            self.records.insert(key, record.0.clone());
        }
        for group in groups {
            self.documents.entry(group.document).or_default().extend(group.hashes());
        }
    }

    fn prints(&self) -> BTreeMap<Item, Print> {
        let records = self.records.iter().map(|(key, body)| {
            let print = Print::of_record(*key, body);
            (Item::Record(*key), print)
        });
        let documents = self.documents.iter().map(|(id, hashes)| {
            let print = hashes.iter().map(|hash| Print::of_change(*hash)).sum();
            (Item::Document(*id), print)
        });
        records.chain(documents).collect()
    }
}

/// A proposal's group with its seal and the words that it names, or what the flags leave of them.
fn sealed(proposal: &Proposal, flags: u8) -> (Group, Vec<Note>) {
    let has = |flaw| flags & flaw != 0;
    let mut group = proposal.group();
    if let Some(head) = group.changes.last().filter(|_| !has(flaw::NO_SEAL)) {
        let mut seal = keypair(proposal.who).seal(ORG, group.document, head.hash());
        seal.signature[5] ^= u8::from(has(flaw::BAD_SEAL));
        group.seals.push(seal);
    }
    let entries = group.changes.iter().filter_map(|change| change.entry().ok());
    let named: BTreeSet<BlobHash> = entries.flat_map(|entry| entry.notes()).collect();
    let notes = known_words().iter().filter(|note| named.contains(&note.digest()));
    (group, notes.filter(|_| !has(flaw::NO_NOTES)).cloned().collect())
}

/// What became of a parcel, in a word.
fn delivered(outcome: &Delivery) -> &str {
    match outcome {
        Delivery::Taken {} => "taken",
        Delivery::Refused { code, .. } => code,
        Delivery::Later {} => "later",
    }
}

fn known_words() -> &'static [Note] {
    static WORDS: OnceLock<Vec<Note>> = OnceLock::new();
    WORDS.get_or_init(|| (0..=u8::MAX).map(words).collect())
}
