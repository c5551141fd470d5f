//! The brand on a real server, and a gate before it that changes what passes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use endcap_mobile::{Client, ClientError, SyncReport};
use image::{DynamicImage, ImageFormat};
use rusqlite::params;
use server::app::{App, Tenant};
use server::config::ServeConfig;
use server::people::code_for;
use server::serve::serve;
use server::store::log;
use sync_core::document::Document;
use sync_core::id::{UserId, VisitId};
use sync_core::wire::REPLY_BYTES_MAX;
use tests::device::Device;
use tests::live;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// One for all: the library's connections outlive a test.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Gone when the test is over.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The brand on a real server.
pub(crate) struct Office {
    pub(crate) app: Arc<App>,
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) url: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Office {
    /// In a fresh folder, with these phones enrolled.
    pub(crate) fn found(data: &Path, devices: &[&Device]) -> Self {
        RUNTIME.block_on(async { Self::serve(live::found(data, devices).await.0, data).await })
    }

    /// In a folder that it has worked in before.
    pub(crate) fn open(data: &Path) -> Self {
        RUNTIME
            .block_on(async { Self::serve(App::open(data.to_owned()).await.unwrap(), data).await })
    }

    async fn serve(app: Arc<App>, data: &Path) -> Self {
        let tenant = app.tenants().remove(0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let config = ServeConfig::local(data.to_owned());
        let serving = tokio::spawn(serve(Arc::clone(&app), config, listener, stopped));
        Self { app, tenant, url, stop, serving }
    }

    pub(crate) fn code(&self, person: UserId) -> String {
        RUNTIME.block_on(code_for(&self.app, &self.tenant, person)).unwrap().code
    }

    pub(crate) fn document(&self, visit: VisitId) -> Document {
        let (org, id) = (self.tenant.org, self.tenant.id);
        let read = self.app.store.read(move |db| log::document(db, org, id, visit.into()));
        RUNTIME.block_on(read).unwrap().document
    }

    /// Leaves of the log.
    pub(crate) fn logged(&self) -> u64 {
        let org = self.tenant.org;
        let read = self.app.store.read(move |db| log::head(db, org));
        RUNTIME.block_on(read).unwrap().sequence
    }

    pub(crate) fn count(&self, sql: &'static str) -> u64 {
        let org = self.tenant.org;
        let read =
            self.app.store.read(move |db| Ok(db.query_row(sql, params![org], |row| row.get(0))?));
        RUNTIME.block_on(read).unwrap()
    }

    pub(crate) fn close(self) {
        let _ = self.stop.send(());
        RUNTIME.block_on(self.serving).unwrap().unwrap();
    }
}

/// A phone with the real library, its folder as yet without an enrolment.
pub(crate) fn phone(folder: &Path) -> Arc<Client> {
    Client::open(folder.to_str().unwrap().to_owned(), vec![7; 32]).unwrap()
}

pub(crate) fn enrol(client: &Arc<Client>, url: &str, code: &str) -> Result<(), ClientError> {
    let enrolled = Arc::clone(client).enrol(url.to_owned(), code.to_owned(), "phone".into());
    RUNTIME.block_on(enrolled).map(drop)
}

pub(crate) fn sync(client: &Arc<Client>) -> Result<SyncReport, ClientError> {
    RUNTIME.block_on(Arc::clone(client).sync(None, None))
}

/// A folder, an office in it with these phones enrolled, and a gate before the office.
pub(crate) fn found(name: &str, devices: &[&Device]) -> (Folder, Office, Gate) {
    let folder = Folder::new(name);
    let office = Office::found(&folder.0.join("server"), devices);
    let gate = Gate::before(&office);
    (folder, office, gate)
}

/// These people's phones with the real library, enrolled through the gate and synced.
pub(crate) fn enrolled<const N: usize>(
    folder: &Folder,
    office: &Office,
    gate: &Gate,
    people: [UserId; N],
) -> [Arc<Client>; N] {
    let phones = people.map(|person| {
        let phone = phone(&folder.0.join(person.to_string()));
        enrol(&phone, &gate.url, &office.code(person)).unwrap();
        phone
    });
    for phone in &phones {
        sync(phone).unwrap();
    }
    phones
}

/// Both.
pub(crate) fn begin<const N: usize>(
    name: &str,
    people: [UserId; N],
) -> (Folder, Office, Gate, [Arc<Client>; N]) {
    let (folder, office, gate) = found(name, &[]);
    let phones = enrolled(&folder, &office, &gate, people);
    (folder, office, gate, phones)
}

/// What a camera gives.
pub(crate) fn picture() -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    DynamicImage::new_rgb8(64, 48).write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// What passes the gate: its path, whether it is a request, the status and headers of a reply, and its bytes.
pub(crate) struct Passing<'a> {
    pub(crate) path: &'a str,
    pub(crate) request: bool,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

type Edit = Box<dyn Fn(&mut Passing<'_>) + Send>;

struct Doors {
    server: String,
    edit: Option<Edit>,
    http: reqwest::Client,
}

/// Between phones and a server. It lets everything pass as it is until it is told otherwise.
pub(crate) struct Gate {
    pub(crate) url: String,
    doors: Arc<Mutex<Doors>>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Gate {
    pub(crate) fn before(office: &Office) -> Self {
        let (server, http) = (office.url.clone(), live::http());
        let doors = Arc::new(Mutex::new(Doors { server, edit: None, http }));
        let router = Router::new().fallback(pass).with_state(Arc::clone(&doors));
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = RUNTIME.spawn(async move { axum::serve(listener, router).await });
        Self { url, doors, serving }
    }

    /// From now on it leads there.
    pub(crate) fn lead_to(&self, office: &Office) {
        self.doors.lock().unwrap().server = office.url.clone();
    }

    /// From now on everything that passes is changed like this.
    pub(crate) fn edit(&self, edit: impl Fn(&mut Passing<'_>) + Send + 'static) {
        self.doors.lock().unwrap().edit = Some(Box::new(edit));
    }

    /// From now on everything passes as it is.
    pub(crate) fn leave(&self) {
        self.doors.lock().unwrap().edit = None;
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Carries a request on, inflated: what passes can be read, and the answer comes as it is.
async fn pass(State(doors): State<Arc<Mutex<Doors>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, REPLY_BYTES_MAX).await.unwrap();
    let body = match head.headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding == "zstd" => {
            zstd::bulk::decompress(&body, REPLY_BYTES_MAX).unwrap()
        }
        _ => body.to_vec(),
    };
    let path = head.uri.path();
    let edited = |passing: &mut Passing<'_>| {
        if let Some(edit) = &doors.lock().unwrap().edit {
            edit(passing);
        }
    };
    let mut asked = Passing { path, request: true, status: 0, headers: HeaderMap::new(), body };
    edited(&mut asked);
    let onward = {
        let doors = doors.lock().unwrap();
        doors.http.request(head.method.clone(), format!("{}{path}", doors.server))
    };
    let own =
        [header::HOST, header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::ACCEPT_ENCODING];
    let mut headers = head.headers.clone();
    own.iter().for_each(|name| drop(headers.remove(name)));
    let answer = onward.headers(headers).body(asked.body).send().await.unwrap();
    let mut headers = answer.headers().clone();
    headers.remove(header::CONTENT_LENGTH);
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap().to_vec();
    let mut answered = Passing { path, request: false, status, headers, body };
    edited(&mut answered);
    let mut response = Response::new(Body::from(answered.body));
    *response.status_mut() = StatusCode::from_u16(answered.status).unwrap();
    *response.headers_mut() = answered.headers;
    response
}
