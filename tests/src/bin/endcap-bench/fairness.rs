//! Some work as on any day while another organisation on the same server, or some of their colleagues, flood it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use server::app::App;
use sync_core::id::{LogHash, OrgId};
use sync_core::wire::{
    MEDIA_TYPE, Outcome, PullReply, PullRequest, PushReply, REPLY_BYTES_MAX, from_wire, to_wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::audit::{self, Dice};
use crate::target::{Folder, Target};
use crate::{Failure, Sender, now, percentile, push_of};

/// Devices of the organisation that works as on any day.
const WORKING: u32 = 10;
/// Each of them pushes one audit and pulls this often.
const PAUSE: Duration = Duration::from_millis(500);
/// A slow body brings a byte this often.
const TRICKLE: Duration = Duration::from_secs(2);
/// Slow bodies of one device: it may ask 60 times at once.
const SLOW_OF_ONE: u32 = 50;
/// Who hangs up does so after this long.
const PATIENCE: Duration = Duration::from_millis(20);

/// What became of one organisation's requests.
#[derive(Default)]
struct Tally {
    done: AtomicU64,
    /// 429 and 503; each must say when to come back.
    refused: AtomicU64,
    /// Refused without `Retry-After`.
    mute: AtomicU64,
}

struct Device {
    sender: Sender,
    server: String,
    http: reqwest::Client,
    tally: Arc<Tally>,
}

impl Device {
    /// Sends a message; its answer, unless it was told to come back later.
    async fn post(&self, what: &str, body: Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
        let reply = self
            .http
            .post(format!("{}/api/v1/{what}", self.server))
            .bearer_auth(&self.sender.token)
            .header("content-type", MEDIA_TYPE)
            .header("content-encoding", "zstd")
            .header("accept-encoding", "zstd")
            .body(body)
            .send()
            .await?;
        if matches!(reply.status().as_u16(), 429 | 503) {
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
            let says = reply.headers().contains_key("retry-after");
            self.tally.mute.fetch_add(u64::from(!says), Ordering::Relaxed);
            return Ok(None);
        }
        let reply = reply.error_for_status()?;
        let packed = reply.headers().get("content-encoding").is_some_and(|e| e == "zstd");
        let bytes = reply.bytes().await?;
        self.tally.done.fetch_add(1, Ordering::Relaxed);
        Ok(Some(match packed {
            true => zstd::bulk::decompress(&bytes, REPLY_BYTES_MAX)?,
            false => bytes.to_vec(),
        }))
    }

    fn push(
        &self,
        visits: impl Iterator<Item = u32>,
        dice: &mut Dice,
        previous: &mut Option<LogHash>,
    ) -> Result<Vec<u8>, Failure> {
        let groups =
            visits.map(|visit| self.sender.audit(visit, dice)).collect::<Result<_, _>>()?;
        let bytes = to_wire(self.sender.org, &push_of(groups, *previous));
        *previous = Some(LogHash::of(&bytes));
        Ok(zstd::bulk::compress(&bytes, 3)?)
    }

    fn accepted(&self, reply: &[u8]) -> Result<(), Failure> {
        let reply: PushReply = from_wire(self.sender.org, reply)?;
        match reply.outcomes.iter().all(|outcome| *outcome == Outcome::Accepted {}) {
            true => Ok(()),
            false => Err(format!("not accepted: {:?}", reply.outcomes).into()),
        }
    }

    /// The next page; `None` if it was told to come back later.
    async fn pull(&self, at: &PullRequest) -> Result<Option<PullReply>, Failure> {
        let body = zstd::bulk::compress(&to_wire(self.sender.org, at), 3)?;
        let reply = self.post("pull", body).await?;
        Ok(reply.map(|reply| from_wire(self.sender.org, &reply)).transpose()?)
    }
}

/// Pushes what it has, and again, until all is over.
async fn push_hard(
    device: Device,
    pushes: Vec<Vec<u8>>,
    over: Arc<AtomicBool>,
) -> Result<(), Failure> {
    for push in pushes.iter().cycle() {
        while !over.load(Ordering::Relaxed) {
            if let Some(reply) = device.post("push", push.clone()).await? {
                device.accepted(&reply)?;
                break;
            }
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// Syncs for the first time, again and again, until all is over; how many pages it got.
async fn pull_hard(device: Device, over: Arc<AtomicBool>) -> Result<(), Failure> {
    let mut at = PullRequest::BEGINNING;
    while !over.load(Ordering::Relaxed) {
        if let Some(page) = device.pull(&at).await? {
            at.cursor = page.more.then_some(page.cursor);
        }
    }
    Ok(())
}

/// Sends pushes of which a byte comes now and then, until all is over.
async fn trickle(device: Arc<Device>, over: Arc<AtomicBool>) -> Result<(), Failure> {
    let head = format!(
        "POST /api/v1/push HTTP/1.1\r\nHost: endcap\r\nAuthorization: Bearer {}\r\n\
         Content-Type: {MEDIA_TYPE}\r\nContent-Length: 1000000\r\n\r\n",
        device.sender.token
    );
    let address = device.server.trim_start_matches("http://");
    let mut ticks = tokio::time::interval(TRICKLE);
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let mut line = TcpStream::connect(address).await?;
        let (mut answer, mut sent) = (Vec::new(), line.write_all(head.as_bytes()).await);
        while sent.is_ok() && !over.load(Ordering::Relaxed) {
            tokio::select! {
                _ = line.read_buf(&mut answer) => break,
                _ = ticks.tick() => sent = line.write_all(b"x").await,
            }
        }
        let status = answer.get(9..12).unwrap_or_default();
        let refused = matches!(status, b"429" | b"503");
        device.tally.refused.fetch_add(u64::from(refused), Ordering::Relaxed);
    }
    Ok(())
}

/// Asks for a first page and hangs up before it comes, again and again, until all is over.
async fn hang_up(device: Device, over: Arc<AtomicBool>) -> Result<(), Failure> {
    while !over.load(Ordering::Relaxed) {
        if let Ok(page) = tokio::time::timeout(PATIENCE, device.pull(&PullRequest::BEGINNING)).await
        {
            page?;
        }
    }
    Ok(())
}

/// Milliseconds of pushes and of pulls.
type Times = (Vec<f64>, Vec<f64>);

/// A day's work of one device for `rounds` rounds from this visit on.
async fn work(
    device: Arc<Device>,
    at: Arc<tokio::sync::Mutex<(PullRequest, Option<LogHash>, Dice)>>,
    visits: std::ops::Range<u32>,
) -> Result<Times, Failure> {
    let mut pauses = tokio::time::interval(PAUSE);
    let (mut pushes, mut pulls) = (Vec::new(), Vec::new());
    let mut at = at.lock().await;
    let (pull, previous, dice) = &mut *at;
    for visit in visits {
        pauses.tick().await;
        let push = device.push(std::iter::once(visit), dice, previous)?;
        let began = now();
        if let Some(reply) = device.post("push", push).await? {
            pushes.push(began.elapsed().as_secs_f64() * 1_000.0);
            device.accepted(&reply)?;
        }
        let began = now();
        if let Some(page) = device.pull(pull).await? {
            pulls.push(began.elapsed().as_secs_f64() * 1_000.0);
            pull.cursor = Some(page.cursor);
        }
    }
    Ok((pushes, pulls))
}

fn figures((mut pushes, mut pulls): Times) -> serde_json::Value {
    let of = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        json!({
            "count": times.len(),
            "p50_ms": percentile(times, 50),
            "p99_ms": percentile(times, 99),
            "max_ms": percentile(times, 100),
        })
    };
    json!({ "push": of(&mut pushes), "pull": of(&mut pulls) })
}

fn tally(tally: &Tally) -> serde_json::Value {
    json!({
        "done": tally.done.load(Ordering::Relaxed),
        "refused": tally.refused.load(Ordering::Relaxed),
        "refused_without_retry_after": tally.mute.load(Ordering::Relaxed),
    })
}

/// What the organisation that floods does.
#[derive(clap::Args)]
pub(crate) struct Flood {
    /// Devices that push as hard as they can
    #[arg(long, default_value_t = 40)]
    pushing: u32,
    /// Devices that sync for the first time, again and again
    #[arg(long, default_value_t = 4)]
    pulling: u32,
    /// Pushes of which a byte comes now and then
    #[arg(long, default_value_t = 0)]
    slow: u32,
    /// Devices that ask for a first page and hang up
    #[arg(long, default_value_t = 0)]
    leaving: u32,
    /// Outlets that it has
    #[arg(long, default_value_t = 100_000)]
    outlets: u32,
    /// Audits of one push of those that push
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Pushes of each that are made beforehand; then they repeat them, which costs the server less
    #[arg(long, default_value_t = 60)]
    pushes: u32,
    /// Those that flood are colleagues of those that work
    #[arg(long)]
    colleagues: bool,
}

/// Times of one organisation's requests, alone and while the other floods.
pub(crate) async fn measure(
    seconds: u64,
    Flood { pushing, pulling, slow, leaving, outlets, batch, pushes, colleagues }: Flood,
) -> Result<serde_json::Value, Failure> {
    eprintln!("preparing two organisations ...");
    let folder = Folder::new()?;
    let data = folder.0.join("server");
    let app = App::open(data.clone()).await?;
    let devices = pushing + pulling + leaving + slow.div_ceil(SLOW_OF_ONE);
    let (flooded, flooding, working) = match colleagues {
        true => {
            let (_, mut working) =
                audit::brand(&app, audit::neighbour(), outlets, WORKING + devices).await?;
            let flooding = working.split_off(WORKING as usize);
            (audit::neighbour(), flooding, working)
        }
        false => {
            let (_, flooding) = audit::brand(&app, audit::org(), outlets, devices).await?;
            let (_, working) = audit::brand(&app, audit::neighbour(), 1_000, WORKING).await?;
            (audit::org(), flooding, working)
        }
    };
    app.store.close();
    drop(app);
    let target = Target::start(&data)?;
    let server = format!("http://{}", target.address);
    let (flood, day) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
    let enrol = async |org: OrgId, codes: &[String], first: u32, tally: &Arc<Tally>| {
        let mut devices = Vec::new();
        for (n, code) in (first..).zip(codes) {
            let seed = u64::from(n) + if org == audit::org() { 1 } else { 1_001 };
            let sender = Sender::enrol(org, &server, code, audit::rep(n), seed).await?;
            let (server, http) = (server.clone(), reqwest::Client::new());
            devices.push(Device { sender, server, http, tally: Arc::clone(tally) });
        }
        Ok::<_, Failure>(devices)
    };
    let first = if colleagues { WORKING } else { 0 };
    let mut flooding = enrol(flooded, &flooding, first, &flood).await?;
    let working = enrol(audit::neighbour(), &working, 0, &day).await?;

    let mut places = Vec::new();
    for (n, device) in (0_u32..).zip(working) {
        let mut at = PullRequest::BEGINNING;
        while let Some(page) = device.pull(&at).await? {
            at.cursor = Some(page.cursor);
            if !page.more {
                break;
            }
        }
        let dice = Dice::new(5_000 + u64::from(n));
        places.push((Arc::new(device), Arc::new(tokio::sync::Mutex::new((at, None, dice)))));
    }
    let rounds = u32::try_from(seconds * 1_000 / PAUSE.as_millis() as u64)?;
    let half = async |number: u32| {
        let mut tasks = tokio::task::JoinSet::new();
        for (device, at) in &places {
            let visits = number * rounds..(number + 1) * rounds;
            tasks.spawn(work(Arc::clone(device), Arc::clone(at), visits));
        }
        let mut times = Times::default();
        while let Some(done) = tasks.join_next().await {
            let (pushes, pulls) = done??;
            times.0.extend(pushes);
            times.1.extend(pulls);
        }
        Ok::<_, Failure>(times)
    };
    eprintln!("one organisation alone ...");
    let alone = half(0).await?;

    eprintln!("making what floods ...");
    let mut tasks = tokio::task::JoinSet::new();
    let over = Arc::new(AtomicBool::new(false));
    let trickling = flooding.split_off((pushing + pulling + leaving) as usize);
    let leaving = flooding.split_off((pushing + pulling) as usize);
    let pushing = flooding.split_off(pulling as usize);
    let mut floods = Vec::new();
    for (n, device) in (0_u32..).zip(pushing) {
        let mut dice = Dice::new(9_000 + u64::from(n));
        let (mut previous, mut made) = (None, Vec::new());
        for push in 0..pushes {
            let first = push * batch;
            made.push(device.push(first..first + batch, &mut dice, &mut previous)?);
        }
        floods.push((device, made));
    }
    eprintln!("and while the other floods ...");
    let cpu = target.cpu_s();
    for (device, pushes) in floods {
        tasks.spawn(push_hard(device, pushes, Arc::clone(&over)));
    }
    for device in flooding {
        tasks.spawn(pull_hard(device, Arc::clone(&over)));
    }
    for device in leaving {
        tasks.spawn(hang_up(device, Arc::clone(&over)));
    }
    let trickling: Vec<_> = trickling.into_iter().map(Arc::new).collect();
    for device in trickling.iter().cycle().take(slow as usize) {
        tasks.spawn(trickle(Arc::clone(device), Arc::clone(&over)));
    }
    let began = now();
    let flooded = half(1).await?;
    let wall_s = began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let cpu_s = target.cpu_s() - cpu;
    target.stop()?;
    let worse = |of: fn(&Times) -> &Vec<f64>, per_cent| {
        let at = |times: &Times| {
            let mut times = of(times).clone();
            times.sort_by(f64::total_cmp);
            percentile(&times, per_cent)
        };
        (at(&flooded) / at(&alone) * 10.0).round() / 10.0
    };
    let ratio = json!({
        "push_p50": worse(|times| &times.0, 50),
        "push_p99": worse(|times| &times.0, 99),
        "pull_p50": worse(|times| &times.1, 50),
        "pull_p99": worse(|times| &times.1, 99),
    });
    Ok(json!({
        "ratio": ratio,
        "alone": figures(alone),
        "flooded": figures(flooded),
        "working": tally(&day),
        "flooding": tally(&flood),
        "flood_wall_s": wall_s,
        "server_cpu_s": cpu_s,
    }))
}
