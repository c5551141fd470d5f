//! Bad bodies over real connections to the real routes: each a problem (RFC 9457), nothing written.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use server::app::{App, Tenant};
use server::config::ServeConfig;
use server::looks;
use server::serve::serve;
use sync_core::client::{Batch, Replica, next_push};
use sync_core::command::Command;
use sync_core::document::{Change, Document, Parts, VALUE_BYTES_MAX};
use sync_core::evidence::Cursor;
use sync_core::id::{DocId, LogHash, LogOrigin, VisitId};
use sync_core::model::visit::Note;
use sync_core::session::Step;
use sync_core::wire::{
    GROUPS_MAX, Group, MEDIA_TYPE, MESSAGE_BYTES_MAX, Outcome, PROTOCOL, PullRequest, PushReply,
    PushRequest, from_wire,
};
use tests::backend::{code, dump, encode};
use tests::brand::{self, ORG};
use tests::chance::Chance;
use tests::device::{Crash, Device};
use tests::live;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A real server with Rita's phone.
struct World {
    folder: PathBuf,
    app: Arc<App>,
    tenant: Arc<Tenant>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    http: reqwest::Client,
    rita: Device,
}

struct Reply {
    status: u16,
    kind: String,
    body: Vec<u8>,
}

impl World {
    async fn new() -> Self {
        let folder = server::scratch("hostile");
        let rita = Device::new(brand::RITA, server::now_ms(), &mut Chance::new(1));
        let (app, tenant) = live::found(&folder, &[&rita]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let config = ServeConfig::local(folder.clone());
        let stopped = async move { drop(stopped.await) };
        let serving = tokio::spawn(serve(Arc::clone(&app), config, listener, stopped));
        let http = live::http();
        let mut world = Self { folder, app, tenant, address, stop, serving, http, rita };
        world.sync().await;
        world
            .rita
            .act(server::now_ms(), Crash::Never, Command::StartCall(brand::call(0)))
            .expect("a visit");
        world.sync().await;
        let comment = |n: u8| Command::Comment {
            visit: VisitId::of_call(ORG, brand::call(0)),
            text: Note::new("hello", [n; 16]).expect("a note"),
            answers: None,
        };
        world.rita.act(server::now_ms(), Crash::Never, comment(1)).expect("a comment");
        world
    }

    async fn close(self) {
        let _ = self.stop.send(());
        self.serving.await.expect("the server ends").expect("and ends well");
        drop((self.app, self.tenant));
        std::fs::remove_dir_all(self.folder).expect("the folder goes");
    }

    async fn send(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let mut request = self.http.post(format!("http://{}/api/v1/{path}", self.address));
        if !headers.iter().any(|(name, _)| *name == "Authorization") {
            request =
                request.header("Authorization", format!("Bearer {}", live::token(&self.rita)));
        }
        request = request.header("Content-Type", MEDIA_TYPE);
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let response = request.body(body).send().await.expect("an answer");
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type");
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let body = response.bytes().await.expect("a body").to_vec();
        Reply { status, kind, body }
    }

    async fn sync(&mut self) {
        let step = live::sync(&self.http, self.address, &mut self.rita, |_, _| ()).await;
        assert_eq!(step, Step::Done, "{:?}", self.rita.complaint);
    }

    /// What Rita has to push.
    fn push(&self) -> PushRequest {
        let clocks = self.rita.clock.read(server::now_ms());
        let batch = Batch::default();
        let Ok(push) = next_push(&self.rita.disk, &self.rita.keypair, &clocks, &batch);
        push.expect("there is something to push")
    }

    fn dump(&self, but: &[&str]) -> String {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = Connection::open_with_flags(self.folder.join("endcap.db"), flags);
        dump(&db.expect("the database opens"), but)
    }

    /// The message is a problem with this status and code, and nothing at all was written.
    async fn expect(
        &self,
        status: u16,
        code: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) {
        // What the server does by itself after a push is done before.
        looks::catch_up(&self.app).await.expect("it is looked at");
        let before = self.dump(&["device"]);
        let reply = self.send(path, headers, body).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(
            (reply.status, reply.kind.as_str()),
            (status, "application/problem+json"),
            "{text}"
        );
        let problem: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!(problem["type"], format!("urn:endcap:problem:{code}"), "{text}");
        assert_eq!(problem["status"], status, "{text}");
        assert!(problem["title"].is_string(), "{text}");
        assert!(self.dump(&["device"]) == before, "{text}: and something was written");
    }

    async fn expect_push(&self, status: u16, code: &str, push: &PushRequest) {
        self.expect(status, code, "push", &[], encode(push)).await;
    }
}

fn edited(push: &PushRequest, edit: impl FnOnce(&mut Parts)) -> PushRequest {
    let mut push = push.clone();
    let group = &mut push.groups[0];
    let mut parts = Parts::clone(&group.changes[0]);
    edit(&mut parts);
    group.changes[0] = Change::kept(group.changes[0].hash(), parts);
    push
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_do_not_read() {
    let world = World::new().await;
    let push = world.push();
    let bytes = encode(&push);
    for body in [
        Vec::new(),
        b"{}".to_vec(),
        b"\xff".to_vec(),
        vec![0x9f; 100_000],
        vec![0xbf; 100_000],
        bytes[..bytes.len() - 1].to_vec(),
        [&bytes[..], b"\0"].concat(),
    ] {
        world.expect(400, "malformed", "push", &[], body.clone()).await;
        world.expect(400, "malformed", "pull", &[], body).await;
    }
    // A million arrays in one another under a key that nobody knows.
    let deep = [&[0xa2, 0x00, 0x01, 0x18, 0x63][..], &vec![0x81; 1_000_000]].concat();
    world.expect(400, "malformed", "push", &[], deep.clone()).await;
    world.expect(400, "malformed", "pull", &[], deep).await;
    for edit in [
        (|p| p.deps.clear()) as fn(&mut Parts),
        |p| p.seq = u64::MAX,
        |p| p.start_op = u64::from(u32::MAX),
        |p| p.value = vec![0; VALUE_BYTES_MAX + 1],
    ] {
        world.expect_push(400, "malformed", &edited(&push, edit)).await;
    }
    let long = Note { salt: [1; 16], text: "x".repeat(4_001) };
    let control = Note { salt: [1; 16], text: "a\0b".into() };
    let empty = Note { salt: [1; 16], text: String::new() };
    for note in [long, control, empty] {
        world
            .expect_push(400, "malformed", &PushRequest { notes: vec![note], ..push.clone() })
            .await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_another_version_or_from_nobody() {
    let world = World::new().await;
    let push = world.push();
    let bytes = encode(&push);
    for protocol in [0, PROTOCOL + 1, u32::MAX] {
        let code = "protocol_unsupported";
        world.expect_push(400, code, &PushRequest { protocol, ..push.clone() }).await;
        let pull = PullRequest { protocol, ..PullRequest::BEGINNING };
        world.expect(400, code, "pull", &[], encode(&pull)).await;
    }
    for token in ["", "Bearer", "Bearer wrong", "Basic cml0YTpyaXRh"] {
        let token = [("Authorization", token)];
        world.expect(401, "unauthorized", "push", &token, bytes.clone()).await;
    }
    let (id, org) = (world.rita.id, world.tenant.org);
    let revoke = world
        .app
        .store
        .write(move |tx| server::store::accounts::revoke(tx, org, id, server::now_ms()));
    assert!(revoke.await.expect("it is revoked"));
    world.expect_push(403, "revoked", &push).await;
    let pull = PullRequest::BEGINNING;
    world.expect(403, "revoked", "pull", &[], encode(&pull)).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_too_large_or_blow_up() {
    let world = World::new().await;
    let bytes = encode(&world.push());
    let compress = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).expect("it compresses");
    let zstd = [("Content-Encoding", "zstd")];
    world.expect(413, "too_large", "push", &[], vec![0; MESSAGE_BYTES_MAX + 1]).await;
    let bomb = compress(&vec![0; 256 << 20]);
    assert!(bomb.len() < 32_000);
    world.expect(413, "too_large", "push", &zstd, bomb.clone()).await;
    world.expect(413, "too_large", "pull", &zstd, bomb.clone()).await;
    world.expect(413, "too_large", "push", &zstd, bomb.repeat(20)).await;
    world.expect(400, "malformed", "push", &zstd, bytes.clone()).await;
    let packed = compress(&bytes);
    world.expect(400, "malformed", "push", &zstd, packed[..packed.len() / 2].to_vec()).await;
    let gzip = [("Content-Encoding", "gzip")];
    world.expect(415, "encoding_unsupported", "push", &gzip, packed.clone()).await;
    let twice = compress(&packed);
    world.expect(400, "malformed", "push", &zstd, twice).await;
    // More documents than a message may have, and far more: the limit holds before work is done for them.
    let push = world.push();
    let empty = |n: usize| Group {
        document: DocId::from(VisitId::from_bytes((n as u128).to_be_bytes())),
        changes: Vec::new(),
        seals: Vec::new(),
    };
    for count in [GROUPS_MAX + 1, 300_000] {
        // The bytes of one empty group, over and over, under an array's head.
        let head = PushRequest { groups: Vec::new(), notes: Vec::new(), ..push.clone() };
        let group = encode(&empty(7));
        let mut bytes = encode(&head);
        let groups = bytes.len() - 3; // `80 04 80`: no groups; notes; none
        assert_eq!(bytes[groups..], [0x80, 0x04, 0x80]);
        let mut array = vec![0x9a];
        array.extend_from_slice(&(count as u32).to_be_bytes());
        array.extend_from_slice(&group.repeat(count));
        bytes.splice(groups..=groups, array);
        let reply = world.send("push", &[], bytes).await;
        assert!(matches!(reply.status, 400 | 413), "{}", reply.status);
        assert_eq!(reply.kind, "application/problem+json");
    }
    // And compressed as it should be, it is taken.
    let reply = world.send("push", &zstd, packed).await;
    assert_eq!(reply.status, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_that_never_were() {
    let world = World::new().await;
    let real = world.rita.disk.profile().cursor.expect("she has synced");
    let origin = LogOrigin::from_bytes([9; 16]);
    for cursor in [
        Cursor { origin, ..real },
        Cursor { root: LogHash([1; 32]), ..real },
        Cursor { sequence: 0, ..real },
        Cursor { sequence: real.sequence - 1, ..real },
        Cursor { sequence: real.sequence + 1, ..real },
        Cursor { sequence: i64::MAX as u64, ..real },
        Cursor { sequence: i64::MAX as u64 + 1, ..real },
        Cursor { sequence: u64::MAX, ..real },
    ] {
        let pull = PullRequest {
            protocol: PROTOCOL,
            cursor: Some(cursor),
            pushed: None,
            filled: None,
            known: None,
            waits: None,
        };
        world.expect(409, "cursor_unknown", "pull", &[], encode(&pull)).await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_change_is_an_outcome_and_kept_apart() {
    let mut world = World::new().await;
    let push = world.push();
    let mut forged = push.clone();
    forged.groups[0].seals.iter_mut().for_each(|seal| seal.signature[5] ^= 1);
    let outcome = |reply: &Reply| {
        let reply: PushReply = from_wire(ORG, &reply.body).expect("a reply");
        reply.outcomes.iter().map(|o| code(o).to_owned()).collect::<Vec<_>>()
    };
    looks::catch_up(&world.app).await.expect("it is looked at");
    let before = world.dump(&[
        "device",
        "quarantine",
        "quarantine_change",
        "quarantine_photo",
        "quarantine_left",
    ]);
    let reply = world.send("push", &[], encode(&forged)).await;
    assert_eq!((reply.status, outcome(&reply)), (200, vec!["bad_seal".to_owned()]));
    let without = PushRequest { notes: Vec::new(), ..push.clone() };
    let reply = world.send("push", &[], encode(&without)).await;
    assert_eq!((reply.status, outcome(&reply)), (200, vec!["missing_note".to_owned()]));
    assert!(
        world.dump(&[
            "device",
            "quarantine",
            "quarantine_change",
            "quarantine_photo",
            "quarantine_left"
        ]) == before
    );
    // The anchor of another world, and of the end of time.
    let mut far = push.clone();
    far.now.anchor = u64::MAX;
    far.now.boot_ms = u64::MAX;
    let reply = world.send("push", &[], encode(&far)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(outcome(&reply), vec![code(&Outcome::Accepted {}).to_owned()]);
    world.sync().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_work_does_not_fill_the_disk() {
    let world = World::new().await;
    let push = world.push();
    // One unsigned change each, of documents that nobody knows.
    let flood = |from: u32| {
        let group = |n: u32| {
            let id = DocId::from(VisitId::from_bytes((u128::from(n) << 64).to_be_bytes()));
            let mut parts = Parts::clone(&push.groups[0].changes[0]);
            parts.deps = vec![Document::new(ORG, id).genesis()];
            let change = Change::new(id.kind, parts).expect("a change");
            Group { document: id, changes: vec![change], seals: Vec::new() }
        };
        let groups = (from..from + 1_500).map(group).collect();
        PushRequest { groups, notes: Vec::new(), ..push.clone() }
    };
    let reply = world.send("push", &[], encode(&flood(1))).await;
    assert_eq!(reply.status, 200);
    // Of what there is no room for nothing is kept, and good work beside it is taken.
    let mut more = flood(2_000);
    more.groups.insert(0, push.groups[0].clone());
    more.notes.clone_from(&push.notes);
    let reply = world.send("push", &[], encode(&more)).await;
    let reply: PushReply = from_wire(ORG, &reply.body).expect("a reply");
    let codes: Vec<&str> = reply.outcomes.iter().map(code).collect();
    assert_eq!(codes[0], "accepted");
    assert_eq!(codes[1..501], ["bad_seal"; 500]);
    assert_eq!(codes[501..], ["quarantine_full"; 1_000]);
    // A document is named once: each group of it would be looked up among all that was refused of it.
    let mut twice = flood(5_000);
    twice.groups.push(twice.groups[0].clone());
    world.expect_push(400, "malformed", &twice).await;
    // What waits already may come again.
    let reply = world.send("push", &[], encode(&flood(1))).await;
    let reply: PushReply = from_wire(ORG, &reply.body).expect("a reply");
    assert!(reply.outcomes.iter().all(|outcome| code(outcome) == "bad_seal"));
    world.close().await;
}

#[tokio::test]
async fn refused_work_that_is_long_does_not_fill_the_disk_either() {
    let world = World::new().await;
    let push = world.push();
    // A hundred unsigned changes of 60 kB in each push: six megabytes.
    let flood = |from: u32| {
        let group = |n: u32| {
            let id = DocId::from(VisitId::from_bytes((u128::from(n) << 64).to_be_bytes()));
            let mut parts = Parts::clone(&push.groups[0].changes[0]);
            (parts.deps, parts.value) = (vec![Document::new(ORG, id).genesis()], vec![0; 60_000]);
            let change = Change::new(id.kind, parts).expect("a change");
            Group { document: id, changes: vec![change], seals: Vec::new() }
        };
        let groups = (from..from + 100).map(group).collect();
        PushRequest { groups, notes: Vec::new(), ..push.clone() }
    };
    for round in 1..12 {
        let reply = world.send("push", &[], encode(&flood(1_000 * round))).await;
        assert_eq!(reply.status, 200, "{round}");
    }
    let reply = world.send("push", &[], encode(&flood(100_000))).await;
    let reply: PushReply = from_wire(ORG, &reply.body).expect("a reply");
    assert_eq!(reply.outcomes.last().map(code), Some("quarantine_full"));
    world.close().await;
}
