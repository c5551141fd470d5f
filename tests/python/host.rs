//! What a script of the suite commands: a data folder, the real server on it, and what the office does.
//!
//! The office works on the folder itself, which only one process may hold. So a script stops the server,
//! lets the office do something, and starts the server again at the same address.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use server::app::{App, Tenant};
use server::store::{StoreError, accounts, log};
use server::{demo, now_ms, people, random};
use sync_core::document::Entry;
use sync_core::evidence::fingerprint_text;
use sync_core::id::{DeviceId, VisitId};
use sync_core::model::Day;
use sync_core::model::catalogue::{Call, Device, Record};
use sync_core::model::visit::{Note, Review, Verdict};

use crate::brand;

const DAY_MS: i64 = 86_400_000;

/// A child that is being started has the open files of its parent for an instant, locks among them: no
/// start while a folder is open.
static STARTS: Mutex<()> = Mutex::new(());

pub(crate) fn starts() -> MutexGuard<'static, ()> {
    STARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ports below those that the system hands out, so that nobody takes one while its server is down.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let of_process = (std::process::id() % 1_100) as u16 * 10;
    20_000 + of_process + NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) struct Host {
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
    port: Option<u16>,
    server: Option<Child>,
    today: Day,
}

impl Host {
    /// With `brands` organisations that know nothing of each other.
    pub(crate) fn new(folder: &Path, brands: u8) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let now = now_ms();
        let (today, tomorrow) = (Day::at(now, "UTC"), Day::at(now + DAY_MS, "UTC"));
        let host = Self { folder: folder.to_owned(), runtime, port: None, server: None, today };
        host.office(async |app| {
            for number in 0..brands {
                let tenant = app.create(brand::org(number), &format!("Nordgard {number}")).await;
                let records = brand::records(&[today, tomorrow]);
                app.write_records(&tenant.unwrap(), records).await.unwrap();
            }
            Value::Null
        });
        host
    }

    /// Does what a script says; the answer is JSON too.
    pub(crate) fn command(&mut self, said: &Value) -> Value {
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let org = u8::try_from(said["org"].as_u64().unwrap_or(0)).unwrap();
        match text("do").as_str() {
            "today" => json!(self.today.to_string()),
            "start" => self.start(),
            "stop" => self.end("-TERM"),
            "kill" => self.end("-KILL"),
            "code" => {
                let person = brand::person(&text("person"));
                self.office(async |app| {
                    let code = people::code_for(app, &tenant(app, org), person).await;
                    json!(code.unwrap_or_else(|problem| panic!("{}", problem.sentence())).code)
                })
            }
            // The brand of `endcap demo`; answers with a code for somebody who has calls.
            "demo" => {
                let today = self.today;
                self.office(async |app| {
                    let tenant = demo::load(app, today).await.unwrap();
                    let busy = {
                        let world = tenant.world();
                        let busy = world.people.values().find(|person| {
                            let calls = |day| {
                                let mut calls = world.calls.values();
                                calls.any(|c| c.day == day && c.people.contains(&person.id))
                            };
                            calls(today) && calls(Day(today.0 + 1))
                        });
                        busy.unwrap().id
                    };
                    let code = people::code_for(app, &tenant, busy).await;
                    json!(code.unwrap_or_else(|problem| panic!("{}", problem.sentence())).code)
                })
            }
            "season" => self.office(async |app| {
                let version = u32::try_from(said["version"].as_u64().unwrap()).unwrap();
                app.write_records(&tenant(app, org), brand::season(version)).await.unwrap();
                Value::Null
            }),
            "revoke" => self.office(async |app| revoke(app, org, &text("person")).await),
            "calls" => {
                let cancelled = said["cancelled"].as_bool().unwrap();
                self.office(async |app| plan(app, cancelled).await)
            }
            "knows" => self.office(async |app| knows(app, &text("person")).await),
            "fingerprints" => self.office(async |app| {
                let (tenant, person) = (tenant(app, org), brand::person(&text("person")));
                let world = tenant.world();
                let own = world.devices.values().filter(|d| d.user == person && !d.revoked);
                own.map(|device| fingerprint_text(&device.key)).collect()
            }),
            "decide" => {
                let approve = said["approve"].as_bool().unwrap();
                self.office(async |app| decide(app, approve).await)
            }
            "review" => {
                let (visit, comment) = (text("visit").parse().unwrap(), text("comment"));
                let approve = said["approve"].as_bool().unwrap_or(false);
                self.office(async |app| review(app, visit, &comment, approve).await)
            }
            "visit" => {
                let visit = text("visit").parse().unwrap();
                self.office(async |app| visit_row(app, visit).await)
            }
            "refused" => self.office(async |app| refused(app).await),
            "report" => self.office(async |app| {
                let sql = "SELECT name, address FROM report";
                let row = app.store.read(move |db| {
                    let read = |row: &rusqlite::Row<'_>| {
                        Ok(json!({ "name": row.get::<_, String>(0)?,
                                   "address": row.get::<_, String>(1)? }))
                    };
                    Ok(db.query_row(sql, [], read)?)
                });
                row.await.unwrap()
            }),
            unknown => panic!("a script says `{unknown}`"),
        }
    }

    fn start(&mut self) -> Value {
        assert!(self.server.is_none(), "the server runs already");
        loop {
            let port = self.port.unwrap_or_else(next_port);
            let stderr = std::fs::File::options()
                .create(true)
                .append(true)
                .open(self.folder.with_extension("log"))
                .unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_endcap"));
            command
                .arg("serve")
                .arg("--data")
                .arg(&self.folder)
                .args(["--listen", &format!("127.0.0.1:{port}")])
                .env("RUST_LOG", "info")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(stderr);
            let starts = starts();
            let mut child = command.spawn().unwrap();
            drop(starts);
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let said = lines.find_map(|line| {
                line.ok()?.split_once("listens on ").map(|(_, url)| url.trim().to_owned())
            });
            if let Some(url) = said {
                (self.port, self.server) = (Some(port), Some(child));
                return json!(url);
            }
            // Somebody else listens there. A server that comes back must find its port again.
            let status = child.wait().unwrap();
            assert!(self.port.is_none(), "the server does not start: {status}{}", self.log());
            let taken = self.log().contains("Address already in use");
            assert!(taken, "the server does not start: {status}{}", self.log());
        }
    }

    fn end(&mut self, signal: &str) -> Value {
        let mut child = self.server.take().expect("a server that runs");
        let starts = starts();
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        drop(starts);
        assert!(sent.success());
        let status = child.wait().unwrap();
        assert!(signal == "-KILL" || status.success(), "the server failed: {status}{}", self.log());
        Value::Null
    }

    /// What the server has logged, for a failure.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.with_extension("log")).unwrap_or_default();
        format!("\n-- the server's log --\n{log}")
    }

    fn office(&self, work: impl AsyncFnOnce(&Arc<App>) -> Value) -> Value {
        assert!(self.server.is_none(), "stop the server first");
        let _starts = starts();
        self.runtime.block_on(async {
            let app = App::open(self.folder.clone()).await.unwrap();
            let answer = work(&app).await;
            app.store.close();
            answer
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn tenant(app: &App, number: u8) -> Arc<Tenant> {
    let id = brand::org(number);
    app.tenants().into_iter().find(|t| t.id == id).unwrap()
}

/// All planned calls are cancelled, or on again.
async fn plan(app: &Arc<App>, cancelled: bool) -> Value {
    let tenant = tenant(app, 0);
    let calls: Vec<_> = tenant.world().calls.values().cloned().collect();
    let calls = calls.into_iter().map(|call| Record::Call(Call { cancelled, ..call }));
    app.write_records(&tenant, calls.collect()).await.unwrap();
    Value::Null
}

/// As if this person's phones had said that they know all that there is.
async fn knows(app: &Arc<App>, name: &str) -> Value {
    let tenant = tenant(app, 0);
    let person = brand::person(name);
    let head = app.head(&tenant).await.unwrap().sequence;
    let held: Vec<_> = {
        let world = tenant.world();
        world.devices.values().filter(|d| d.user == person).map(|d| d.id).collect()
    };
    let (org, now) = (tenant.org, now_ms());
    let noted: Result<(), StoreError> = app
        .store
        .write(move |tx| held.iter().try_for_each(|d| accounts::synced(tx, org, *d, head, now)))
        .await;
    noted.unwrap();
    Value::Null
}

/// Decides on the one piece of refused work that waits.
async fn decide(app: &Arc<App>, approve: bool) -> Value {
    let tenant = tenant(app, 0);
    let sql = "SELECT item FROM quarantine WHERE state = 'waiting'";
    let item = app.store.read(move |db| Ok(db.query_row(sql, [], |row| row.get(0))?)).await;
    let decided =
        app.decide(&tenant, item.unwrap(), approve, brand::person("Sue"), |_| Ok(())).await;
    decided.unwrap_or_else(|problem| panic!("{}", problem.sentence()));
    Value::Null
}

/// What was refused: why, whose work it is, and who brought it.
async fn refused(app: &Arc<App>) -> Value {
    let tenant = tenant(app, 0);
    let sql = "SELECT code, device, courier FROM quarantine WHERE state = 'waiting'";
    let rows = app.store.read(move |db| {
        let mut query = db.prepare(sql)?;
        let rows = query.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, Option<[u8; 16]>>(2)?))
        })?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?)
    });
    let rows = rows.await.unwrap();
    let world = tenant.world();
    let name = |device| world.name(world.devices[&DeviceId::from_bytes(device)].user);
    let told = rows.into_iter().map(|(code, device, courier)| {
        json!({ "code": code, "of": name(device), "by": courier.map(name) })
    });
    told.collect()
}

async fn revoke(app: &Arc<App>, org: u8, name: &str) -> Value {
    let tenant = tenant(app, org);
    let person = brand::person(name);
    let held: Vec<Device> = {
        let world = tenant.world();
        world.devices.values().filter(|d| d.user == person).cloned().collect()
    };
    assert!(!held.is_empty());
    for device in held {
        let (org, id, now) = (tenant.org, device.id, now_ms());
        let record = Record::Device(Device { revoked: true, ..device });
        let done: Result<(), StoreError> = app
            .write_records_with(&tenant, vec![record], move |ledger, _| {
                accounts::revoke(ledger.tx, org, id, now).map(|_| ())
            })
            .await;
        done.unwrap();
    }
    Value::Null
}

async fn review(app: &Arc<App>, visit: VisitId, comment: &str, approve: bool) -> Value {
    let tenant = tenant(app, 0);
    let (org, id) = (tenant.org, tenant.id);
    let held = app.store.read(move |db| log::document(db, org, id, visit.into()));
    let heads = held.await.unwrap().document.heads().to_vec();
    let salt: [u8; 16] = random();
    let note = Note::new(comment, salt).unwrap();
    let digest = note.digest();
    let verdict = if approve { Verdict::Approved } else { Verdict::SentBack };
    let by = brand::person("Sue");
    let entry =
        move |when| Entry::Review(Review { by, when, verdict, heads, comment: Some(digest) });
    app.act(&tenant, visit.into(), Some(note), entry).await.unwrap();
    Value::Null
}

/// What the console's pages read.
async fn visit_row(app: &Arc<App>, visit: VisitId) -> Value {
    let tenant = tenant(app, 0);
    let (org, id) = (tenant.org, tenant.id);
    let read = app.store.read(move |db| {
        let sql = "SELECT status, conflicts, photos, news, length(people) / 16, contest FROM visit
                   WHERE org = ?1 AND visit = ?2";
        let row = db.query_row(sql, rusqlite::params![org, visit.as_bytes()], |row| {
            Ok(json!({
                "status": row.get::<_, String>(0)?,
                "conflicts": row.get::<_, u64>(1)?,
                "photos": row.get::<_, u64>(2)?,
                "news": row.get::<_, u64>(3)?,
                "people": row.get::<_, u64>(4)?,
                "contest": row.get::<_, Option<String>>(5)?,
            }))
        });
        let mut row = match row {
            Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(Value::Null),
            row => row?,
        };
        let held = log::document(db, org, id, visit.into())?;
        let world = tenant.world();
        let authors = held.devices.values().map(|device| world.name(world.devices[device].user));
        let authors: BTreeSet<String> = authors.collect();
        row["authors"] = json!(authors);
        let recordings: Vec<String> =
            held.document.changes().iter().map(|c| c.hash().to_string()).collect();
        row["changes"] = json!(recordings);
        row["blobs"] = db
            .query_row(
                "SELECT count(*) FROM blob JOIN photo USING (org, hash) WHERE document = ?1",
                [sync_core::id::DocId::from(visit).to_bytes()],
                |row| row.get::<_, u64>(0),
            )?
            .into();
        Ok(row)
    });
    read.await.unwrap()
}
