//! A data folder with the brand, the real server on it, and phones.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use endcap_mobile::{Client, Observation, Photo, Subject, Value};
use rusqlite::{Connection, OpenFlags};
use server::people::code_for;
use sync_core::id::UserId;
use tests::brand::{self, checks};
use tests::live;
use tokio::runtime::Runtime;

const KEY: [u8; 32] = [7; 32];
/// The call at outlet 1, which Rita and Sam share.
pub(crate) const SHARED: u8 = 0;

/// A child that is being started has the open files of its parent for an instant, locks among them: no
/// start while a folder is open.
static STARTS: Mutex<()> = Mutex::new(());

fn starts() -> MutexGuard<'static, ()> {
    STARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A free port below those that the system hands out, so that nobody takes it while its server is down.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let of_process = 10_000 + (std::process::id() % 600) as u16 * 16;
    let mut ports = std::iter::repeat_with(|| of_process + NEXT.fetch_add(1, Ordering::Relaxed));
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("ports do not end")
}

/// A folder of its own that goes when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let mut name = [0; 8];
        server::random(&mut name);
        let name = format!("endcap-restore-{:016x}", u64::from_be_bytes(name));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder is made");
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // a leftover in the temporary folder does no harm
    }
}

/// Runs `endcap` to its end.
pub(crate) fn endcap<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_endcap")).args(args))
}

pub(crate) fn run(command: &mut Command) -> Output {
    let starts = starts();
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    drop(starts);
    child.wait_with_output().expect("it ends")
}

/// What it said, if it went well.
#[track_caller]
pub(crate) fn well(output: Output) -> String {
    let (out, err) = said(&output);
    assert!(output.status.success(), "{out}{err}");
    out
}

/// What it complained about, if it did not.
#[track_caller]
pub(crate) fn badly(output: Output) -> String {
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    err
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

pub(crate) struct Host {
    pub(crate) folder: Folder,
    pub(crate) runtime: Runtime,
    port: u16,
    codes: BTreeMap<UserId, String>,
    server: Option<Child>,
}

impl Host {
    /// The brand, with a code for each person, served.
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let runtime = Runtime::new().expect("a runtime");
        let starts = starts();
        let codes = runtime.block_on(async {
            let (app, tenant) = live::found(&folder.join("data"), &[]).await;
            let mut codes = BTreeMap::new();
            for person in [brand::RITA, brand::SAM, brand::SVEN] {
                let code = code_for(&app, &tenant, person).await.expect("a code");
                codes.insert(person, code.code);
            }
            app.store.close();
            codes
        });
        drop(starts);
        let mut host = Self { folder, runtime, port: free_port(), codes, server: None };
        host.start();
        host
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts the server where it was before.
    pub(crate) fn start(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let mut command = Command::new(env!("CARGO_BIN_EXE_endcap"));
        command.arg("serve").arg("--data").arg(self.data());
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]).env("RUST_LOG", "off");
        let starts = starts();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = child.spawn().expect("it starts");
        drop(starts);
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let listens = lines.any(|line| line.is_ok_and(|line| line.contains("listens on ")));
        self.server = Some(child);
        assert!(listens, "the server does not start");
    }

    /// Ends the server: `-TERM` or `-KILL`.
    pub(crate) fn end(&mut self, signal: &str) {
        let mut child = self.server.take().expect("it runs");
        let sent = run(Command::new("kill").args([signal, &child.id().to_string()]));
        assert!(sent.status.success());
        let status = child.wait().expect("it ends");
        assert!(signal == "-KILL" || status.success(), "the server failed: {status}");
    }

    /// A new phone that has synced once.
    pub(crate) fn phone(&self, person: UserId) -> Arc<Client> {
        let folder = self.folder.join(&format!("phone-{person}"));
        let folder = folder.to_str().expect("UTF-8").to_owned();
        let client = Client::open(folder, KEY.to_vec()).expect("the folder opens");
        let server = format!("http://127.0.0.1:{}", self.port);
        let (code, phone) = (self.codes[&person].clone(), Arc::clone(&client));
        let enrolled = self.runtime.block_on(phone.enrol(server, code, "phone".into()));
        enrolled.expect("the phone is enrolled");
        self.sync(&client);
        client
    }

    pub(crate) fn sync(&self, client: &Arc<Client>) -> endcap_mobile::SyncReport {
        self.runtime.block_on(Arc::clone(client).sync(None, None)).expect("it syncs")
    }

    pub(crate) fn backup(&self, to: &str) -> Output {
        self.endcap("backup", &[("--data", &self.data()), ("--to", &self.folder.join(to))])
    }

    pub(crate) fn check(&self, folder: &str) -> Output {
        self.endcap("check", &[("--data", &self.folder.join(folder))])
    }

    pub(crate) fn restore(&self, from: &str, data: &str) -> Output {
        let (from, data) = (self.folder.join(from), self.folder.join(data));
        self.endcap("restore", &[("--from", &from), ("--data", &data)])
    }

    fn endcap(&self, command: &str, flags: &[(&str, &PathBuf)]) -> Output {
        let flags = flags.iter().flat_map(|(name, path)| [OsStr::new(name), path.as_os_str()]);
        endcap([OsStr::new(command)].into_iter().chain(flags))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill(); // it may have ended
            let _ = server.wait();
        }
    }
}

/// Begins a planned call; the visit.
pub(crate) fn begin(client: &Client, call: u8) -> String {
    client.start_call(brand::call(call).to_string()).expect("it begins")
}

/// Records one screen.
pub(crate) fn record(client: &Client, visit: &str, met: bool, photos: Vec<Photo>) -> String {
    let (subject, value) = (Subject::Display { display: 1 }, Value::Met { met });
    let met = Observation { check: checks::DISPLAY, subject, value };
    client.record(visit.to_owned(), vec![met], photos).expect("it is saved")
}

/// A photo that differs from others by its number.
pub(crate) fn photo(client: &Client, number: u8) -> Photo {
    let image =
        image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([number * 20, x as u8, y as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("a picture");
    client.add_photo(bytes.into_inner(), None).expect("a photo is saved")
}

/// What people see of what was done, without where in the log it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Each change with its document and whose phone it is from.
    pub(crate) changes: Vec<String>,
    /// Each visit with status, people, conflicts and photos.
    visits: Vec<String>,
    /// Each photo that is here.
    pub(crate) photos: Vec<String>,
    figures: Vec<String>,
    notes: Vec<String>,
}

/// Reads a folder's database while nobody else does.
pub(crate) fn work(data: &Path) -> Work {
    let db = data.join("endcap.db");
    let db = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("it opens");
    let column = |sql: &str| {
        let mut query = db.prepare(sql).expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<Vec<String>, _>>().expect("text")
    };
    Work {
        changes: column(
            "SELECT hex(document) || ' ' || hex(hash) || ' ' || hex(user)
             FROM log JOIN device USING (org, device) ORDER BY 1",
        ),
        visits: column(
            "SELECT hex(visit) || status || ' ' || length(people) || ' ' || conflicts || ' ' || photos
             FROM visit ORDER BY 1",
        ),
        photos: column("SELECT hex(hash) FROM blob ORDER BY 1"),
        figures: column(
            "SELECT day || hex(territory) || kpi || numerator || '/' || denominator FROM kpi_day
             WHERE denominator <> 0 ORDER BY 1",
        ),
        notes: column("SELECT text FROM note ORDER BY 1"),
    }
}
