//! Phones whose clock says 1970, or next year: they audit and sync, and the server knows within which bounds
//! each capture lies.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use endcap_mobile::{Client, Clock, Found, Observation, Subject, Value};
use server::app::{App, Tenant};
use server::config::ServeConfig;
use server::store::log;
use server::{clock, now_ms, people, serve};
use sync_core::client::Clocks;
use sync_core::id::{ChangeHash, VisitId};
use sync_core::model::capture::{CaptureTime, ClaimBasis};
use tests::brand;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const YEAR_MS: i64 = 31_536_000_000;
/// Two clocks are read one after the other, in whole milliseconds.
const ROUNDING_MS: i64 = 2;

/// A phone's clocks: the wall clock is wrong by a constant, each boot counts from anew.
struct Wrong {
    begun: std::time::Instant,
    begun_ms: i64,
    ahead_ms: i64,
    boot: Mutex<(u32, u64)>,
}

impl Wrong {
    fn new(ahead_ms: i64) -> Arc<Self> {
        let boot = Mutex::new((1, 0));
        Arc::new(Self { begun: clock(), begun_ms: now_ms(), ahead_ms, boot })
    }

    fn ran_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }

    fn reboot(&self) {
        let mut boot = self.boot.lock().unwrap();
        *boot = (boot.0 + 1, self.ran_ms());
    }
}

struct Hands(Arc<Wrong>);

impl Clock for Hands {
    fn read(&self) -> Clocks {
        let ran_ms = self.0.ran_ms();
        let (boot, since_ms) = *self.0.boot.lock().unwrap();
        let wall_ms = self.0.begun_ms + self.0.ahead_ms + ran_ms as i64;
        Clocks { wall_ms, boot, boot_ms: ran_ms - since_ms }
    }
}

struct World {
    folder: PathBuf,
    app: Arc<App>,
    tenant: Arc<Tenant>,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("clock-{}-{number}", std::process::id()));
        let app = App::open(folder.join("server")).await.unwrap();
        let tenant = app.create(brand::ORG, "Nordic Oats").await.unwrap();
        app.write_records(&tenant, brand::records()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let config = ServeConfig::local(folder.join("server"));
        let served = serve::serve(Arc::clone(&app), config, listener, async {
            let _ = stopped.await;
        });
        let serving = tokio::spawn(async { served.await.unwrap() });
        Self { folder, app, tenant, url, stop: Some(stop), serving: Some(serving) }
    }

    async fn rita(&self, clock: &Arc<Wrong>) -> Arc<Client> {
        let folder = self.folder.join("phone");
        let hands = Box::new(Hands(Arc::clone(clock)));
        let client = Client::with_clock(folder.to_str().unwrap(), &[7; 32], hands).unwrap();
        let client = Arc::new(client);
        let code = people::code_for(&self.app, &self.tenant, brand::RITA).await;
        let code = code.unwrap_or_else(|problem| panic!("{}", problem.sentence())).code;
        Arc::clone(&client).enrol(self.url.clone(), code, "phone".into()).await.unwrap();
        client
    }

    /// What the server knows of when this was recorded.
    async fn time(&self, visit: &str, recording: &str) -> CaptureTime {
        let (org, id) = (self.tenant.org, self.tenant.id);
        let visit: VisitId = visit.parse().unwrap();
        let recording: ChangeHash = recording.parse().unwrap();
        let read = self.app.store.read(move |db| log::document(db, org, id, visit.into()));
        read.await.unwrap().times[&recording]
    }

    async fn close(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.serving.take().unwrap().await.unwrap();
        drop(self.app);
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// Records something; returns the recording and the instants between which that was.
fn record(client: &Client, visit: &str, position: u32) -> (String, i64, i64) {
    let subject = Subject::Position { planogram: 1, position };
    let value = Value::Shelf { facings: 1, in_stock: false, found: Found::AsPlanned };
    let before = now_ms();
    let seen = vec![Observation { check: brand::checks::PLANOGRAM, subject, value }];
    let recording = client.record(visit.to_owned(), seen, Vec::new()).unwrap();
    (recording, before, now_ms())
}

async fn audits_and_syncs(ahead_ms: i64) {
    let world = World::new().await;
    let clock = Wrong::new(ahead_ms);
    let rita = world.rita(&clock).await;
    let before_sync = now_ms();
    Arc::clone(&rita).sync(None, None).await.unwrap();
    let synced = now_ms();
    let sync = async || {
        let before = now_ms();
        let report = Arc::clone(&rita).sync(None, None).await.unwrap();
        assert_eq!(report.refused, 0);
        before
    };
    let visit = rita.start_call(brand::call(0).to_string()).unwrap();

    // Captured and pushed in one boot: the boot clock says when, whatever the wall clock says.
    let (recording, from, to) = record(&rita, &visit, 1);
    let pushed = sync().await;
    let time = world.time(&visit, &recording).await;
    assert_eq!((time.basis, time.clamped), (ClaimBasis::BootClock, false));
    assert!(time.earliest_ms <= synced && time.earliest_ms <= from, "{time:?}");
    assert!(time.latest_ms >= pushed && time.latest_ms <= now_ms(), "{time:?}");
    assert!(time.claimed_ms >= from - ROUNDING_MS, "{time:?} {from}");
    // What the push took on its way is all that it can be late by.
    assert!(time.claimed_ms <= to + (time.latest_ms - pushed) + ROUNDING_MS, "{time:?} {to}");

    // Rebooted in between: the server's time, heard in the boot of the capture, is carried on.
    let (recording, from, to) = record(&rita, &visit, 2);
    clock.reboot();
    sync().await;
    let time = world.time(&visit, &recording).await;
    assert_eq!((time.basis, time.clamped), (ClaimBasis::ServerSkew, false));
    let way_ms = synced.max(from) - before_sync;
    assert!(
        (from - way_ms - ROUNDING_MS..=to + ROUNDING_MS).contains(&time.claimed_ms),
        "{time:?}"
    );

    // Captured in a boot in which the phone never heard from the server: the wall clock is all that there
    // is, and its claim is brought within what is certain.
    clock.reboot();
    let (recording, from, to) = record(&rita, &visit, 3);
    clock.reboot();
    sync().await;
    let time = world.time(&visit, &recording).await;
    assert_eq!((time.basis, time.clamped), (ClaimBasis::WallClock, true));
    assert!(time.earliest_ms <= from && to <= time.latest_ms, "{time:?}");
    let nearest = if ahead_ms < 0 { time.earliest_ms } else { time.latest_ms };
    assert_eq!(time.claimed_ms, nearest, "{time:?}");
    assert!(time.earliest_ms >= before_sync, "{time:?}");

    rita.submit(visit.clone()).unwrap();
    sync().await;
    assert_eq!(rita.visit(visit).unwrap().status, "submitted");
    assert!(rita.outstanding().unwrap().documents.is_empty());
    drop(rita);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_in_1970() {
    audits_and_syncs(-now_ms()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_is_a_year_ahead() {
    audits_and_syncs(YEAR_MS).await;
}
