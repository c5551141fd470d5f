//! The server: the real store under the real ingest.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OpenFlags};
use server::app::App;
use server::config::ServeConfig;
use server::ingest::Sender;
use server::serve::serve;
use sync_core::command::Command;
use sync_core::id::{ChangeHash, DocId, LogHash, UserId, VisitId};
use sync_core::model::visit::{Observation, Subject, Value};
use sync_core::session::Step;
use sync_core::wire::{Outcome, PullRequest, PushReply, PushRequest, from_wire};
use tests::backend::{Server, encode};
use tests::brand::{self, ORG, RITA, SAM, SVEN, checks};
use tests::chance::Chance;
use tests::device::{Answer, Crash, Device, Question, Turn};
use tests::live;
use tests::oracle::is_sound;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::disk::{Disk, Folder};
use crate::{Running, child, child_folder, fail_everywhere, recorded, say};

const KILLS: usize = 30;
/// Rounds of work of each of three phones under the shim.
const ROUNDS: usize = 25;

/// The same phones in every process: they come from a seed.
fn devices() -> Vec<Device> {
    let mut chance = Chance::new(99);
    [RITA, SAM, SVEN].map(|user| Device::new(user, brand::BEGIN_MS, &mut chance)).into()
}

/// Makes the server's folder, closed and safe.
fn founded(runtime: &Runtime) -> Folder {
    let folder = Folder::new("data");
    runtime.block_on(async {
        let devices = devices();
        let devices: Vec<&Device> = devices.iter().collect();
        let (app, _) = live::found(&folder.0, &devices).await;
        app.store.close();
    });
    folder
}

fn call_of(user: UserId) -> u8 {
    if user == SVEN { 3 } else { 0 }
}

/// A person records one screen; the visit begins with the first.
fn act(device: &mut Device, round: usize) {
    let now_ms = server::now_ms();
    let call = call_of(device.user);
    let visit = VisitId::of_call(ORG, brand::call(call));
    if device.document(visit.into()).is_none() {
        device.act(now_ms, Crash::Never, Command::StartCall(brand::call(call))).expect("it begins");
    }
    let (check, subject) = (checks::DISPLAY, Subject::Display(1));
    let met = Observation { check, subject, value: Value::Met(round.is_multiple_of(2)) };
    let (photos, notes) = (Vec::new(), Vec::new());
    let record = Command::Record { visit, observations: vec![met], photos, notes };
    device.act(now_ms, Crash::Never, record).expect("it is recorded");
}

fn acknowledged(push: &[u8], reply: &[u8]) -> Vec<(DocId, ChangeHash)> {
    let push: PushRequest = from_wire(ORG, push).expect("a push");
    let reply: PushReply = from_wire(ORG, reply).expect("a reply");
    let accepted =
        push.groups.iter().zip(&reply.outcomes).filter(|(_, o)| **o == Outcome::Accepted {});
    accepted.flat_map(|(group, _)| group.hashes().map(|hash| (group.document, hash))).collect()
}

/// What the routes do with a message, without HTTP.
async fn answer(app: &App, sender: Sender, question: &Question) -> Answer {
    let tenant = app.tenants().remove(0);
    let turn = tenant.turn().await.expect("a turn");
    match question {
        Question::Push(bytes) => {
            let push: PushRequest = from_wire(ORG, bytes).expect("a push");
            let name = LogHash::of(bytes);
            let checked = app.verify(&tenant, push, turn).await.expect("verified");
            let reply = app.push(&tenant, sender, checked, name).await.expect("pushed");
            let reply = encode(&reply);
            // One write for all of it: another phone's mark must not come between.
            let said: Vec<String> = acknowledged(bytes, &reply)
                .iter()
                .map(|(document, hash)| format!("{} {hash}", document.visit().expect("a visit")))
                .collect();
            say(&said.join(","));
            Answer::Pushed(reply)
        }
        Question::Cargo(_) => unreachable!("these phones meet nobody"),
        Question::Pull(bytes) => {
            let pull: PullRequest = from_wire(ORG, bytes).expect("a pull");
            let (page, _) = app.pull(&tenant, sender, pull, turn).await.expect("pulled");
            Answer::Pulled(encode(&page))
        }
        Question::Repair(_) => panic!("nothing is damaged"),
    }
}

async fn sync(app: &App, device: &mut Device) {
    let sender = Sender { device: device.id, key: device.keypair.public(), user: device.user };
    let (mut number, mut question) = device.sync(server::now_ms()).expect("no sync is under way");
    loop {
        let answer = answer(app, sender, &question).await;
        match device.hear(number, &answer, server::now_ms(), Crash::Never) {
            Some((Turn::Asks, next)) => (number, question) = next.expect("a question"),
            over => return assert_eq!(over.map(|(turn, _)| turn), Some(Turn::Over(Step::Done))),
        }
    }
}

#[test]
#[ignore = "the others run it as a process of its own"]
fn a_server_that_works_for_a_while() {
    let Some(folder) = child_folder() else { return };
    Runtime::new().expect("a runtime").block_on(async {
        let app = App::open(folder).await.expect("the folder opens");
        let mut working = Vec::new();
        for mut device in devices() {
            let app = Arc::clone(&app);
            working.push(tokio::spawn(async move {
                sync(&app, &mut device).await;
                for round in 0..ROUNDS {
                    act(&mut device, round);
                    sync(&app, &mut device).await;
                }
            }));
        }
        for working in working {
            working.await.expect("it works");
        }
    });
    // The process ends without closing anything.
}

#[test]
#[ignore = "the others run it as a process of its own"]
fn a_server_that_serves_until_it_is_killed() {
    let Some(folder) = child_folder() else { return };
    Runtime::new().expect("a runtime").block_on(async {
        let app = App::open(folder.clone()).await.expect("the folder opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        say(&listener.local_addr().expect("an address").to_string());
        let config = ServeConfig::local(folder);
        serve(app, config, listener, std::future::pending()).await.expect("it serves");
    });
}

/// The store opens, its log adds up, and all that was acknowledged is in it once.
fn check(folder: &Folder, said: &[(DocId, ChangeHash)]) {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let app = App::open(folder.0.clone()).await.expect("the folder opens");
        assert_eq!(app.tenants().len(), 1);
        app.store.close();
    });
    let path = folder.0.join("endcap.db");
    let db =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("it opens");
    let whole: String =
        db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(whole, "ok");
    let server = Server::over(db);
    is_sound(&server);
    for (document, hash) in said {
        assert_eq!(server.times_logged(*document, *hash), 1, "{hash} was acknowledged");
    }
}

#[test]
fn what_a_server_acknowledged_survives_the_loss_of_power() {
    let runtime = Runtime::new().expect("a runtime");
    let folder = founded(&runtime);
    let before = Disk::of(&folder.0);
    let journal = recorded("service::a_server_that_works_for_a_while", &folder);
    fail_everywhere(before, &journal, 3, |folder, said| {
        let said: Vec<(DocId, ChangeHash)> = said
            .iter()
            .flat_map(|line| line.split(','))
            .filter_map(|line| line.split_once(' '))
            .map(|(visit, hash)| {
                let visit: VisitId = visit.parse().expect("a visit");
                (visit.into(), hash.parse().expect("a hash"))
            })
            .collect();
        check(folder, &said);
    });
}

#[test]
fn what_a_server_acknowledged_survives_being_killed() {
    let runtime = Runtime::new().expect("a runtime");
    let folder = founded(&runtime);
    let (mut devices, mut chance) = (devices(), Chance::new(4));
    let said = Arc::new(Mutex::new(Vec::new()));
    let http = live::http();
    for kill in 0..=KILLS {
        let test = "service::a_server_that_serves_until_it_is_killed";
        let mut child = child(test, &folder).spawn().expect("the child runs");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let address = lines.find_map(|line| line.ok()?.strip_prefix('@')?.parse().ok());
        let address: SocketAddr = address.expect("the server says where it listens");
        let running = Arc::new(Mutex::new(Running(child)));
        // It dies when so many pushes were answered: others are under way then.
        let enough = if kill == KILLS { usize::MAX } else { 1 + chance.index(8) };
        let answered = Arc::new(AtomicUsize::new(0));
        let mut working = Vec::new();
        for mut device in devices {
            let (said, running, answered) =
                (Arc::clone(&said), Arc::clone(&running), Arc::clone(&answered));
            let http = http.clone();
            working.push(runtime.spawn(async move {
                let ended = kill == KILLS;
                loop {
                    let heard = |push: &[u8], reply: &[u8]| {
                        said.lock().expect("no panic").extend(acknowledged(push, reply));
                        if answered.fetch_add(1, Ordering::Relaxed) + 1 == enough {
                            running.lock().expect("no panic").0.kill().expect("it is killed");
                        }
                    };
                    let step = live::sync(&http, address, &mut device, heard).await;
                    if ended || step != Step::Done {
                        assert!(!ended || step == Step::Done, "{step:?} {:?}", device.complaint);
                        return device;
                    }
                    act(&mut device, kill);
                }
            }));
        }
        devices = Vec::new();
        for working in working {
            devices.push(runtime.block_on(working).expect("a phone works"));
        }
    }
    let said = said.lock().expect("no panic");
    assert!(said.len() > KILLS);
    check(&folder, &said);
    let db = Connection::open(folder.0.join("endcap.db")).expect("it opens");
    let server = Server::over(db);
    for device in &devices {
        let visit = VisitId::of_call(ORG, brand::call(call_of(device.user)));
        let kept = device.document(visit.into()).expect("the visit is there");
        assert!(kept.pending.is_empty() && kept.refused.is_none());
        for change in kept.document.changes() {
            assert_eq!(server.times_logged(visit.into(), change.hash()), 1);
        }
    }
}
