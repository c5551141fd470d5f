//! A data folder with the brand, the real `endcap` on it as a process of its own, and phones.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use endcap_mobile::{Client, MeetingReport, Observation, Photo, Subject, Value};
use reqwest::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use rusqlite::{Connection, OpenFlags};
use server::app::{App, Tenant};
use server::people::{code_for, open_account};
use sync_core::id::UserId;
use sync_core::model::catalogue::Record;
use tokio::runtime::Runtime;

use crate::brand::{self, checks};
use crate::live;

/// What every phone's folder is sealed with.
pub const KEY: [u8; 32] = [7; 32];
/// Sue's in the console.
const PASSWORD: &str = "a-long-password";
/// The call at outlet 1, which Rita and Sam share.
pub const SHARED: u8 = 0;

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
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one in the folder for temporary files.
    #[expect(clippy::new_without_default, reason = "it makes something on the disk")]
    pub fn new() -> Self {
        let path = server::scratch("host");
        std::fs::create_dir_all(&path).expect("a folder is made");
        Self(path)
    }

    /// A place in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // a leftover in the temporary folder does no harm
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Output {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    start(command).wait_with_output().expect("it ends")
}

/// Starts a program.
pub fn start(command: &mut Command) -> Child {
    let _starts = starts();
    command.stdin(Stdio::null()).spawn().expect("it starts")
}

/// Starts a program that says when it listens, and all that it says up to there; `None` if it ends before.
pub fn listening(command: &mut Command) -> (Child, Option<String>) {
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::inherit()));
    let mut said = String::new();
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    for line in lines.map_while(Result::ok) {
        said.push_str(&line);
        said.push('\n');
        if line.contains("listens on ") {
            return (child, Some(said));
        }
    }
    (child, None)
}

/// SIGKILL; nothing of it goes on when this returns.
pub fn kill(process: &Process) {
    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = process.kill(); // it may have ended
    let _ = process.wait();
}

/// Opens a phone's folder.
pub fn open(folder: &Path) -> Arc<Client> {
    let folder = folder.to_str().expect("UTF-8").to_owned();
    Client::open(folder, KEY.to_vec()).expect("the folder opens")
}

/// What it said, if it went well.
#[track_caller]
pub fn well(output: Output) -> String {
    let (out, err) = said(&output);
    assert!(output.status.success(), "{out}{err}");
    out
}

/// What it complained about, if it did not.
#[track_caller]
pub fn badly(output: Output) -> String {
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    err
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A process that somebody else may kill meanwhile.
pub type Process = Arc<Mutex<Child>>;

/// A server and where its data and its phones' folders are.
pub struct Host {
    /// Everything of it.
    pub folder: Folder,
    /// What its phones run on.
    pub runtime: Runtime,
    program: &'static str,
    port: u16,
    /// The enrolment code of each person.
    pub codes: BTreeMap<UserId, String>,
    /// What `endcap serve` is told besides.
    pub serve: Vec<String>,
    server: Option<Process>,
}

impl Host {
    /// The brand, with a code for each person, served by the program `endcap` at this path.
    pub fn new(program: &'static str) -> Self {
        let folder = Folder::new();
        let runtime = Runtime::new().expect("a runtime");
        let starts = starts();
        let codes = runtime.block_on(async {
            let (app, tenant) = live::found(&folder.join("data"), &[]).await;
            let mut codes = BTreeMap::new();
            for person in [brand::RITA, brand::SAM, brand::SVEN, brand::SUE] {
                let code = code_for(&app, &tenant, person).await.expect("a code");
                codes.insert(person, code.code);
            }
            app.store.close();
            codes
        });
        drop(starts);
        let serve = Vec::new();
        let mut host =
            Self { folder, runtime, program, port: free_port(), codes, serve, server: None };
        host.start();
        host
    }

    /// The server's folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts the server where it was before.
    pub fn start(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let mut command = Command::new(self.program);
        command.arg("serve").arg("--data").arg(self.data());
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]).env("RUST_LOG", "off");
        let (child, said) = listening(command.args(&self.serve));
        self.server = Some(Arc::new(Mutex::new(child)));
        assert!(said.is_some(), "the server does not start");
    }

    /// A fresh code for a person. The server must be down.
    pub fn renew_code(&mut self, person: UserId) {
        assert!(self.server.is_none(), "it runs");
        let _starts = starts();
        let code = self.runtime.block_on(async {
            let app = App::open(self.data()).await.expect("the folder opens");
            let tenant = app.tenants().remove(0);
            let code = code_for(&app, &tenant, person).await.expect("a code").code;
            app.store.close();
            code
        });
        self.codes.insert(person, code);
    }

    /// The newest code of a person.
    pub fn code(&self, person: UserId) -> &str {
        &self.codes[&person]
    }

    /// The brand writes something. The server must be down.
    pub fn write(&self, records: Vec<Record>) {
        self.office(async |app, tenant| {
            app.write_records(tenant, records).await.expect("it is written");
        });
    }

    /// Sue decides on refused work. The server must be down.
    pub fn decide(&self, item: u64, approved: bool) {
        self.office(async |app, tenant| {
            let decided = app.decide(tenant, item, approved, brand::SUE, |_| Ok(())).await;
            decided.unwrap_or_else(|problem| panic!("{}", problem.sentence()));
        });
    }

    /// Signs Sue in to the console, which starts the server anew: her cookie.
    pub fn sign_in(&mut self) -> String {
        self.end("-TERM");
        self.office(async |app, tenant| {
            let opened = open_account(app, tenant, brand::SUE, "sue@nordgard", PASSWORD).await;
            opened.unwrap_or_else(|problem| panic!("{}", problem.sentence()));
        });
        self.start();
        let form = format!("email=sue%40nordgard&password={PASSWORD}&next=/");
        let at = format!("http://{}/sign-in", self.address());
        let form_type = "application/x-www-form-urlencoded";
        let post = live::http().post(at).header(CONTENT_TYPE, form_type).body(form);
        let signed = self.runtime.block_on(post.send()).expect("it answers");
        let cookie = signed.headers().get(SET_COOKIE).expect("she is signed in");
        cookie.to_str().expect("text").split(';').next().unwrap_or_default().to_owned()
    }

    /// A page of the console as whoever has this cookie sees it.
    pub fn page(&self, cookie: &str, path: &str) -> String {
        let get = live::http().get(format!("http://{}{path}", self.address()));
        self.runtime.block_on(async {
            let page = get.header(COOKIE, cookie).send().await.expect("it answers");
            page.text().await.expect("a page")
        })
    }

    /// A person's phones are withdrawn. The server must be down.
    pub fn withdraw(&self, person: UserId) {
        self.office(async |app, tenant| {
            live::withdraw(app, tenant, person).await;
        });
    }

    /// The server does what it does by itself, as if so many days had passed. It must be down.
    pub fn sweep(&self, days: i64) {
        self.office(async |app, _| {
            let later = server::now_ms() + days * 86_400_000;
            server::jobs::run(app, later).await.expect("it is swept");
        });
    }

    fn office(&self, work: impl AsyncFnOnce(&App, &Arc<Tenant>)) {
        assert!(self.server.is_none(), "it runs");
        let _starts = starts();
        self.runtime.block_on(async {
            let app = App::open(self.data()).await.expect("the folder opens");
            work(&app, &app.tenants().remove(0)).await;
            app.store.close();
        });
    }

    /// The server's process while it runs.
    pub fn process(&self) -> Option<Process> {
        self.server.clone()
    }

    /// Waits for the end of a server that somebody has killed.
    pub fn bury(&mut self) {
        let server = self.server.take().expect("it ran");
        kill(&server);
    }

    /// Ends the server: `-TERM` or `-KILL`.
    pub fn end(&mut self, signal: &str) {
        let child = self.server.take().expect("it runs");
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = run(Command::new("kill").args([signal, &child.id().to_string()]));
        assert!(sent.status.success());
        let status = child.wait().expect("it ends");
        assert!(signal == "-KILL" || status.success(), "the server failed: {status}");
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// A new phone that has synced once.
    pub fn phone(&self, person: UserId) -> Arc<Client> {
        self.phone_by(&format!("phone-{person}"), person, self.address())
    }

    /// A new phone in a folder of this name that reaches the server at `address`, and has synced once.
    pub fn phone_by(&self, name: &str, person: UserId, address: SocketAddr) -> Arc<Client> {
        let client = open(&self.folder.join(name));
        let server = format!("http://{address}");
        let (code, phone) = (self.codes[&person].clone(), Arc::clone(&client));
        let enrolled = self.runtime.block_on(phone.enrol(server, code, "phone".into()));
        enrolled.expect("the phone is enrolled");
        self.sync(&client);
        client
    }

    /// A sync that goes well.
    pub fn sync(&self, client: &Arc<Client>) -> endcap_mobile::SyncReport {
        self.runtime.block_on(Arc::clone(client).sync(None, None)).expect("it syncs")
    }

    /// `endcap backup` to a folder of this name.
    pub fn backup(&self, to: &str) -> Output {
        self.endcap("backup", &[("--data", &self.data()), ("--to", &self.folder.join(to))])
    }

    /// `endcap check` of a folder of this name.
    pub fn check(&self, folder: &str) -> Output {
        self.endcap("check", &[("--data", &self.folder.join(folder))])
    }

    /// `endcap restore` from and into folders of these names.
    pub fn restore(&self, from: &str, data: &str) -> Output {
        let (from, data) = (self.folder.join(from), self.folder.join(data));
        self.endcap("restore", &[("--from", &from), ("--data", &data)])
    }

    fn endcap(&self, command: &str, flags: &[(&str, &PathBuf)]) -> Output {
        let flags = flags.iter().flat_map(|(name, path)| [OsStr::new(name), path.as_os_str()]);
        run(Command::new(self.program).arg(command).args(flags))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            kill(&server);
        }
    }
}

/// Two phones meet, and each hears what the other says.
pub fn meet(phones: [&Arc<Client>; 2]) -> [MeetingReport; 2] {
    let sides = phones.map(|phone| Arc::clone(phone).meet().expect("it meets"));
    let mut said = [sides[0].begin(), sides[1].begin()];
    while said.iter().any(|said| !said.is_empty()) {
        let [one, other] = said;
        said = [sides[0].hear(other), sides[1].hear(one)].map(|said| said.expect("it is kept"));
    }
    sides.map(|side| side.report().expect("it reads"))
}

/// Begins a planned call; the visit.
pub fn begin(client: &Client, call: u8) -> String {
    client.start_call(brand::call(call).to_string()).expect("it begins")
}

/// Records one screen.
pub fn record(client: &Client, visit: &str, met: bool, photos: Vec<Photo>) -> String {
    let (subject, value) = (Subject::Display { display: 1 }, Value::Met { met });
    let met = Observation { check: checks::DISPLAY, subject, value };
    client.record(visit.to_owned(), vec![met], photos).expect("it is saved")
}

/// A photo that differs from others by its number.
pub fn photo(client: &Client, number: u8) -> Photo {
    let image =
        image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([number * 20, x as u8, y as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("a picture");
    client.add_photo(bytes.into_inner(), None).expect("a photo is saved")
}

/// What people see of what was done, without where in the log it stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Work {
    /// Each change with its document and whose phone it is from.
    pub changes: Vec<String>,
    /// Each visit with status, people, conflicts and photos.
    pub visits: Vec<String>,
    /// Each photo that is here.
    pub photos: Vec<String>,
    /// Each figure of a day.
    pub figures: Vec<String>,
    /// The words of each note.
    pub notes: Vec<String>,
}

/// Reads a folder's database while nobody else does.
pub fn work(data: &Path) -> Work {
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
