//! Benchmarks. Each prints what it does to stderr and one JSON object as the last line of stdout.
//! docs/benchmarks.md says what each figure includes.

mod audit;
mod fairness;
mod formats;
mod history;
mod log;
mod photo;
mod proxy;
mod repair;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use endcap_mobile::{Client, Found, Observation, Subject, Value};
use serde_json::json;
use server::app::App;
use sync_core::document::{Document, Entry};
use sync_core::evidence::Keypair;
use sync_core::id::{Actor, DocId, LogHash, OrgId, UserId, VisitId};
use sync_core::model::capture::Moment;
use sync_core::model::visit::{Act, Observations, Observed, Recording, Submission, Versioned};
use sync_core::wire::{Group, Outcome, PROTOCOL, PushReply, PushRequest, from_wire, to_wire};

use crate::audit::Dice;
use crate::target::{Folder, Target, own_cpu_s};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Standard audits over HTTP from many devices, durable before they count
    Ingest {
        #[arg(long, default_value_t = 20_000)]
        audits: u32,
        #[arg(long, default_value_t = 40)]
        devices: u32,
        /// Audits of one push: what a device brings home from a day
        #[arg(long, default_value_t = 8)]
        batch: usize,
    },
    /// Writing one screen down on a device, alone and while it syncs
    Capture {
        #[arg(long, default_value_t = 1_000)]
        screens: u32,
    },
    /// Bytes and time of a device's sync, through a counting proxy
    Sync {
        #[arg(long, default_value_t = 300)]
        audits: u32,
    },
    /// A fresh device and many outlets
    FirstSync {
        #[arg(long, default_value_t = 100_000)]
        outlets: u32,
    },
    /// What one organisation feels while another floods the server
    Fairness {
        /// How long each half lasts
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        #[command(flatten)]
        flood: fairness::Flood,
    },
    /// A year of daily posts by two people about one outlet, and a visit of many screens
    History {
        #[arg(long, default_value_t = 365)]
        days: u32,
        /// Posts of each person on each day, of 200 characters
        #[arg(long, default_value_t = 3)]
        posts: u32,
    },
    /// A device that holds many documents: nothing new, a thousand changes, and a repair of what its disk has lost
    Repair {
        #[arg(long, default_value_t = 100_000)]
        documents: u32,
        #[arg(long, default_value_t = 10)]
        differences: u32,
    },
    /// A photo made ready to be sent, beside libvips
    Photo {
        /// A picture, or a folder of them for how many there are in a second
        #[arg(long)]
        file: std::path::PathBuf,
    },
    /// A photo looked for among many
    Likeness {
        #[arg(long, default_value_t = 1_000_000)]
        photos: u64,
    },
    /// What the tree over the log costs, and a visit's proof bundle
    Log {
        #[arg(long, default_value_t = 100_000)]
        lines: u32,
    },
    /// The shapes of a recording that were weighed (docs/adr/0003)
    Formats {
        #[arg(long, default_value_t = 300)]
        audits: u32,
    },
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // reqwest wants a provider even for plain HTTP on loopback.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let figures = match Cli::parse().command {
        Command::Ingest { audits, devices, batch } => ingest(audits, devices, batch).await?,
        Command::Capture { screens } => capture(screens).await?,
        Command::Sync { audits } => sync(audits).await?,
        Command::FirstSync { outlets } => first_sync(outlets).await?,
        Command::Fairness { seconds, flood } => fairness::measure(seconds, flood).await?,
        Command::History { days, posts } => history::measure(days, posts).await?,
        Command::Repair { documents, differences } => {
            repair::repair(documents, differences).await?
        }
        Command::Photo { file } if file.is_dir() => photo::prepare_all(&file)?,
        Command::Photo { file } => photo::prepare(&file)?,
        Command::Likeness { photos } => photo::look_up(photos).await?,
        Command::Log { lines } => log::measure(lines).await?,
        Command::Formats { audits } => formats::measure(audits),
    };
    println!("{figures}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

/// As long as the server asks for, a second if it does not say.
#[expect(clippy::disallowed_methods, reason = "the server asks for time, and a phone gives it")]
async fn pause(retry_after_s: Option<u32>) {
    tokio::time::sleep(Duration::from_secs(retry_after_s.unwrap_or(1).into())).await;
}

/// Prepares a data folder and starts the server on it.
async fn serve(outlets: u32, reps: u32) -> Result<(Folder, Target, Vec<String>), Failure> {
    eprintln!("preparing {outlets} outlets and {reps} devices ...");
    let folder = Folder::new()?;
    let data = folder.0.join("server");
    let app = App::open(data.clone()).await?;
    let (_, codes) = audit::brand(&app, audit::org(), outlets, reps).await?;
    app.store.close();
    drop(app);
    let target = Target::start(&data)?;
    Ok((folder, target, codes))
}

/// A device that only makes messages, as fast as it can.
struct Sender {
    org: OrgId,
    keypair: Keypair,
    actor: Actor,
    token: String,
    user: UserId,
}

impl Sender {
    /// Enrolment is limited to a few a minute from one address, as it should be; these come from as many
    /// addresses as there are devices, through what the server takes for its proxy.
    async fn enrol(
        org: OrgId,
        server: &str,
        code: &str,
        user: UserId,
        seed: u64,
    ) -> Result<Self, Failure> {
        use base64::Engine;
        let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let keypair = Keypair::from_seed(&Dice::new(seed).bytes());
        let body = json!({
            "code": code,
            "key": base64.encode(keypair.public()),
            "proof": base64.encode(keypair.prove(code)),
            "label": "bench",
        });
        let reply = reqwest::Client::new()
            .post(format!("{server}/api/v1/enrol"))
            .header("content-type", "application/json")
            .header("x-forwarded-for", format!("10.0.{}.{}", seed / 250, seed % 250))
            .header("x-forwarded-proto", "https")
            .body(body.to_string())
            .send()
            .await?
            .error_for_status()?;
        let reply: serde_json::Value = serde_json::from_slice(&reply.bytes().await?)?;
        let token = reply["token"].as_str().ok_or("no token")?.to_owned();
        let actor = Actor::new(&keypair.public(), [1; 8]);
        Ok(Self { org, keypair, actor, token, user })
    }

    /// One standard audit as a group to push.
    fn audit(&self, visit: u32, dice: &mut Dice) -> Result<Group, Failure> {
        let mut entropy = [0; 10];
        entropy[..6].copy_from_slice(&self.actor.as_bytes()[..6]);
        entropy[6..].copy_from_slice(&visit.to_be_bytes());
        let id: DocId = VisitId::fresh(u64::from(visit), entropy).into();
        let mut document = Document::new(self.org, id);
        let by = self.user;
        let mut minute = u64::from(visit) * 600_000;
        let mut when = |dice: &mut Dice| {
            minute += 30_000 + dice.below(60_000);
            let wall_ms = 1_790_000_000_000 + minute as i64;
            Moment { wall_ms, boot: 7, boot_ms: minute, anchor: 1, skew_ms: Some(20), life: None }
        };
        let one = Versioned { number: 1, version: 1 };
        let mut acts = vec![Act::Start {
            outlet: audit::outlet(visit % 1_000),
            call: None,
            territory: audit::territory(),
            distributor: audit::distributor(),
            template: one,
        }];
        for (observations, photos) in audit::screens(dice) {
            acts.push(Act::Observe(Observed {
                template: one,
                planograms: vec![one],
                price_list: Some(one),
                observations: Observations(observations),
                photos,
                supersedes: Vec::new(),
            }));
        }
        let mut entries: Vec<Entry> = Vec::new();
        for act in acts {
            let (when, place) = (when(dice), Some(audit::place(dice)));
            entries.push(Entry::Recording(Recording { by, when, place, act }));
        }
        let (when, place) = (when(dice), Some(audit::place(dice)));
        entries.push(Entry::Submission(Submission { by, when, place }));
        for entry in &entries {
            let change = document.next(self.actor, entry)?;
            document.insert(change)?;
        }
        let head = document.heads()[0];
        let seals = vec![self.keypair.seal(self.org, id, head)];
        Ok(Group { document: id, changes: document.changes().to_vec(), seals })
    }
}

/// A push of a phone that has been on for a while.
fn push_of(groups: Vec<Group>, previous: Option<LogHash>) -> PushRequest {
    let now = moment(1 << 40);
    PushRequest { protocol: PROTOCOL, now, previous, groups, notes: Vec::new() }
}

fn moment(boot_ms: u64) -> Moment {
    Moment { wall_ms: 0, boot: 7, boot_ms, anchor: 1, skew_ms: Some(20), life: None }
}

async fn ingest(audits: u32, devices: u32, batch: usize) -> Result<serde_json::Value, Failure> {
    let (folder, target, codes) = serve(1_000, devices).await?;
    let server = format!("http://{}", target.address);
    let mut senders = Vec::new();
    for (n, code) in (0..devices).zip(&codes) {
        senders.push(
            Sender::enrol(audit::org(), &server, code, audit::rep(n), u64::from(n) + 1).await?,
        );
    }
    eprintln!("making {audits} audits ...");
    let mut messages: Vec<Vec<(Vec<DocId>, Vec<u8>)>> = Vec::new();
    let (mut raw, mut packed) = (0, 0);
    for (n, sender) in (0..devices).zip(&senders) {
        let own: Vec<u32> = (0..audits).filter(|visit| visit % devices == n).collect();
        let mut dice = Dice::new(1_000 + u64::from(n));
        let mut previous: Option<LogHash> = None;
        let mut pushes = Vec::new();
        for visits in own.chunks(batch) {
            let groups = visits.iter().map(|v| sender.audit(*v, &mut dice));
            let groups: Vec<Group> = groups.collect::<Result<_, _>>()?;
            let documents = groups.iter().map(|g| g.document).collect();
            let bytes = to_wire(audit::org(), &push_of(groups, previous));
            previous = Some(LogHash::of(&bytes));
            raw += bytes.len();
            let bytes = zstd::bulk::compress(&bytes, 3)?;
            packed += bytes.len();
            pushes.push((documents, bytes));
        }
        messages.push(pushes);
    }
    eprintln!("pushing from {devices} devices ...");
    let cpu = target.cpu_s();
    let began = now();
    let mut tasks = tokio::task::JoinSet::new();
    for (sender, pushes) in senders.iter().zip(messages) {
        let (server, token) = (server.clone(), sender.token.clone());
        tasks.spawn(async move {
            let http = reqwest::Client::new();
            let mut acknowledged = Vec::new();
            for (documents, bytes) in pushes {
                let reply = http
                    .post(format!("{server}/api/v1/push"))
                    .bearer_auth(&token)
                    .header("content-type", sync_core::wire::MEDIA_TYPE)
                    .header("content-encoding", "zstd")
                    .body(bytes)
                    .send()
                    .await?
                    .error_for_status()?;
                let reply: PushReply = from_wire(audit::org(), &reply.bytes().await?)?;
                if !reply.outcomes.iter().all(|o| *o == Outcome::Accepted {}) {
                    return Err(format!("not accepted: {:?}", reply.outcomes).into());
                }
                acknowledged.extend(documents);
            }
            Ok::<_, Failure>(acknowledged)
        });
    }
    let mut acknowledged = Vec::new();
    while let Some(done) = tasks.join_next().await {
        acknowledged.extend(done??);
    }
    let wall_s = began.elapsed().as_secs_f64();
    let cpu_s = target.cpu_s() - cpu;
    target.stop()?;
    eprintln!("looking for what was acknowledged ...");
    let data = folder.0.join("server");
    let disk: u64 = std::fs::read_dir(&data)?
        .flatten()
        .filter_map(|f| f.metadata().ok())
        .map(|m| m.len())
        .sum();
    let app = App::open(data).await?;
    let tenant = app.tenants().into_iter().next().ok_or("no organisation")?;
    let mut lost = 0;
    for id in &acknowledged {
        let (org, tenant_id, id) = (tenant.org, tenant.id, *id);
        let held = app
            .store
            .read(move |connection| server::store::log::document(connection, org, tenant_id, id))
            .await?;
        lost += u32::from(held.document.changes().len() != 6);
    }
    app.store.close();
    let audits = acknowledged.len() as f64;
    Ok(json!({
        "audits": acknowledged.len(),
        "devices": devices,
        "audits_a_push": batch,
        "audits_per_s": (audits / wall_s).round(),
        "server_cpu_us_per_audit": (cpu_s * 1e6 / audits).round(),
        "lost": lost,
        "wall_s": wall_s,
        "sent_bytes_per_audit": (packed as f64 / audits).round(),
        "message_bytes_per_audit": (raw as f64 / audits).round(),
        "disk_bytes_per_audit": (disk as f64 / audits).round(),
    }))
}

/// A phone on the mobile library.
async fn phone(
    folder: &Folder,
    name: &str,
    server: &str,
    code: &str,
) -> Result<Arc<Client>, Failure> {
    let path = folder.0.join(name).display().to_string();
    let client = Client::open(path, vec![7; 32])?;
    Arc::clone(&client).enrol(server.into(), code.into(), name.into()).await?;
    Ok(client)
}

fn crossing(facts: &[sync_core::model::visit::Observation]) -> Vec<Observation> {
    use sync_core::model::visit as core;
    let each = facts.iter().map(|fact| Observation {
        check: fact.check,
        subject: match &fact.subject {
            core::Subject::Position { planogram, position } => {
                Subject::Position { planogram: *planogram, position: *position }
            }
            core::Subject::Product(gtin) => Subject::Product { gtin: gtin.to_string() },
            _ => Subject::Outlet,
        },
        value: match &fact.value {
            core::Value::Shelf { facings, in_stock, .. } => {
                Value::Shelf { facings: *facings, in_stock: *in_stock, found: Found::AsPlanned }
            }
            core::Value::Price(money) => {
                Value::Price { minor: money.minor, currency: money.currency.as_str().into() }
            }
            core::Value::Choice(option) => Value::Choice { option: *option },
            _ => Value::Withdrawn,
        },
    });
    each.collect()
}

/// One standard audit on a phone; returns the visit's id. Photos are added as references by small pictures.
fn audit_on(client: &Client, call: u32, dice: &mut Dice) -> Result<String, Failure> {
    let visit = client.start_call(audit::call(call).to_string())?;
    for (facts, photos) in audit::screens(dice) {
        let (lon, lat) = audit::place(dice).degrees();
        client.locate(Some(endcap_mobile::Position {
            lon,
            lat,
            accuracy_m: Some(9),
            mock: None,
        }))?;
        let photos: Vec<endcap_mobile::Photo> = photos
            .iter()
            .map(|_| client.add_photo(picture(dice), Some(1)))
            .collect::<Result<_, _>>()?;
        client.record(visit.clone(), crossing(&facts), photos)?;
    }
    client.submit(visit.clone())?;
    Ok(visit)
}

/// A picture that no other is equal to, and that takes no time to make.
fn picture(dice: &mut Dice) -> Vec<u8> {
    let pixels = (0..16 * 16 * 3).map(|_| dice.bytes::<1>()[0]).collect();
    let image = image::RgbImage::from_raw(16, 16, pixels).expect("the right length");
    let mut out = std::io::Cursor::new(Vec::new());
    image.write_to(&mut out, image::ImageFormat::Png).expect("writing to memory");
    out.into_inner()
}

fn percentile(sorted: &[f64], per_cent: usize) -> f64 {
    let place = (sorted.len() * per_cent / 100).min(sorted.len().saturating_sub(1));
    (sorted.get(place).copied().unwrap_or(0.0) * 1_000.0).round() / 1_000.0
}

/// Milliseconds of `count` screens of 40 facts, each saved when it returns.
fn capture_times(client: &Client, first: u32, count: u32) -> Result<Vec<f64>, Failure> {
    let mut dice = Dice::new(u64::from(first) + 5);
    let mut times = Vec::new();
    let mut call = first;
    while times.len() < count as usize {
        let visit = client.start_call(audit::call(call).to_string())?;
        call += 1;
        for (facts, _) in audit::screens(&mut dice).into_iter().take(3) {
            let facts = crossing(&facts);
            let began = now();
            client.record(visit.clone(), facts, Vec::new())?;
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        client.submit(visit)?;
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

async fn capture(screens: u32) -> Result<serde_json::Value, Failure> {
    let (folder, target, codes) = serve(1_000, 1).await?;
    let server = format!("http://{}", target.address);
    let client = phone(&folder, "a", &server, &codes[0]).await?;
    Arc::clone(&client).sync(None, None).await?;
    eprintln!("capturing alone ...");
    let alone = {
        let client = Arc::clone(&client);
        tokio::task::spawn_blocking(move || capture_times(&client, 0, screens)).await??
    };
    eprintln!("capturing while it syncs ...");
    let over = Arc::new(AtomicBool::new(false));
    let syncing = {
        let (client, over) = (Arc::clone(&client), Arc::clone(&over));
        tokio::spawn(async move {
            let mut syncs = 0_u32;
            while !over.load(Ordering::Relaxed) {
                match Arc::clone(&client).sync(None, None).await {
                    Ok(_) => syncs += 1,
                    // The server asks a device that syncs without a pause to wait.
                    Err(endcap_mobile::ClientError::Busy { retry_after_s, .. }) => {
                        pause(retry_after_s).await;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok::<_, Failure>(syncs)
        })
    };
    let first = screens / 3 + 1;
    let during = {
        let client = Arc::clone(&client);
        tokio::task::spawn_blocking(move || capture_times(&client, first, screens)).await??
    };
    over.store(true, Ordering::Relaxed);
    let syncs = syncing.await??;
    let out = client.outstanding()?;
    drop(client);
    target.stop()?;
    Ok(json!({
        "screens": screens,
        "p50_ms": percentile(&alone, 50),
        "p99_ms": percentile(&alone, 99),
        "p50_ms_during_sync": percentile(&during, 50),
        "p99_ms_during_sync": percentile(&during, 99),
        "max_ms_during_sync": percentile(&during, 100),
        "syncs_meanwhile": syncs,
        "left_to_push": out.documents.len(),
    }))
}

async fn sync(audits: u32) -> Result<serde_json::Value, Failure> {
    let (folder, target, codes) = serve(1_000, 2).await?;
    let (proxy, count) = proxy::start(target.address)?;
    let server = format!("http://{proxy}");
    let a = phone(&folder, "a", &server, &codes[0]).await?;
    let b = phone(&folder, "b", &server, &codes[1]).await?;
    Arc::clone(&a).sync(None, None).await?;
    Arc::clone(&b).sync(None, None).await?;
    eprintln!("capturing {audits} audits offline ...");
    let captured = Arc::clone(&a);
    let visits = tokio::task::spawn_blocking(move || {
        let mut dice = Dice::new(11);
        (0..audits).map(|n| audit_on(&captured, n, &mut dice)).collect::<Result<Vec<_>, _>>()
    });
    let visits = visits.await??;
    // Photos travel after the documents and are no part of the figures: stop when they begin.
    struct Stop(Arc<endcap_mobile::Cancel>);
    impl endcap_mobile::Progress for Stop {
        fn at(&self, phase: endcap_mobile::Phase, _: u32) {
            if phase == endcap_mobile::Phase::Photos {
                self.0.cancel();
            }
        }
    }
    let documents = |client: &Arc<Client>| {
        let cancel = endcap_mobile::Cancel::new();
        let stop: Arc<dyn endcap_mobile::Progress> = Arc::new(Stop(Arc::clone(&cancel)));
        Arc::clone(client).sync(Some(stop), Some(cancel))
    };
    count.take();
    let began = now();
    let pushed = documents(&a).await?;
    let push_s = began.elapsed().as_secs_f64();
    let push = count.take();
    let began = now();
    let pulled = documents(&b).await?;
    let pull_s = began.elapsed().as_secs_f64();
    let pull = count.take();
    documents(&b).await?;
    let noop = count.take();
    let fact = Observation {
        check: 1,
        subject: Subject::Position { planogram: 1, position: 1 },
        value: Value::Shelf { facings: 3, in_stock: true, found: Found::AsPlanned },
    };
    b.start_call(audit::call(999).to_string())?;
    documents(&b).await?;
    count.take();
    let visit = VisitId::of_call(audit::org(), audit::call(999)).to_string();
    b.record(visit, vec![fact], Vec::new())?;
    documents(&b).await?;
    let one = count.take();
    // Nothing counts before every audit is there whole.
    for visit in &visits {
        let (mine, theirs) = (a.visit(visit.clone())?, b.visit(visit.clone())?);
        let values = |v: &endcap_mobile::Visit| -> Vec<_> {
            v.values.iter().map(|h| (h.check, h.subject.clone(), h.said[0].value.clone())).collect()
        };
        if values(&mine) != values(&theirs) || mine.values.len() != 100 {
            return Err("the two phones differ".into());
        }
    }
    drop((a, b));
    target.stop()?;
    Ok(json!({
        "audits": audits,
        "entries_pushed": pushed.pushed,
        "entries_pulled": pulled.pulled,
        "push_bytes": push.body,
        "push_header_bytes": push.header,
        "push_requests": push.requests,
        "pull_bytes": pull.body,
        "pull_header_bytes": pull.header,
        "pull_requests": pull.requests,
        "noop_bytes": noop.body,
        "noop_header_bytes": noop.header,
        "noop_requests": noop.requests,
        "one_change_bytes": one.body,
        "one_change_requests": one.requests,
        "push_s": push_s,
        "pull_s": pull_s,
    }))
}

async fn first_sync(outlets: u32) -> Result<serde_json::Value, Failure> {
    let (folder, target, codes) = serve(outlets, 1).await?;
    let (proxy, count) = proxy::start(target.address)?;
    let client = phone(&folder, "a", &format!("http://{proxy}"), &codes[0]).await?;
    count.take();
    let (cpu, server_cpu, began) = (own_cpu_s(), target.cpu_s(), now());
    let report = Arc::clone(&client).sync(None, None).await?;
    let wall_s = began.elapsed().as_secs_f64();
    let (cpu_s, server_cpu_s) = (own_cpu_s() - cpu, target.cpu_s() - server_cpu);
    let bytes = count.take();
    let began = now();
    let found = client.find_outlets("market howth".into(), 20)?.len();
    let search_ms = began.elapsed().as_secs_f64() * 1_000.0;
    drop(client);
    target.stop()?;
    Ok(json!({
        "outlets": outlets,
        "records": report.pulled,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "server_cpu_s": server_cpu_s,
        "bytes": bytes.body,
        "header_bytes": bytes.header,
        "requests": bytes.requests,
        "search_ms": search_ms,
        "search_found": found,
    }))
}
