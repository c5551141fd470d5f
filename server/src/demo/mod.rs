//! `endcap demo`: a brand in a folder, and people who really work in it.
//!
//! This is the only place of the server that knows the mobile library: the people here go through it as
//! an app would, with phones of their own, and lose their network for a while.

mod brand;
mod camera;
mod crew;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sync_core::model::Day;
use sync_core::model::catalogue::Record;
use sync_core::model::people::Role;
use tokio::net::TcpListener;

pub use brand::{BadFixture, Brand};

use crate::app::{App, Tenant};
use crate::config::ServeConfig;
use crate::error::Problem;
use crate::people;
use crate::signals::Kind;
use crate::store::{StoreError, signals};
use crate::{now_ms, serve};

/// Everyone in the demo signs in with this.
pub const PASSWORD: &str = "endcap-demo-2026";

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The fixtures.
    #[error(transparent)]
    Fixture(#[from] BadFixture),
    /// The folder is not to be used, or cannot be.
    #[error("cannot use the data folder {}: {}", .0.display(), .1)]
    Folder(PathBuf, StoreError),
    /// What is in it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Everybody knows its password.
    #[error("the demo is for this machine alone, and {0} is not: listen on 127.0.0.1:{port}", port = .0.port())]
    Exposed(SocketAddr),
    /// The network.
    #[error("cannot listen on {0}: {1}; choose another address with --listen, such as 127.0.0.1:0")]
    Listen(SocketAddr, std::io::Error),
    /// The folder holds something else.
    #[error("the folder holds another organisation: choose an empty one with --data")]
    Foreign,
    /// What a person was to get was refused.
    #[error("{0}")]
    Refused(String),
}

impl From<Problem> for DemoError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem.sentence())
    }
}

/// Loads the demo brand, or brings the one that is there up to `today`: whatever is missing is added.
pub async fn load(app: &Arc<App>, today: Day) -> Result<Arc<Tenant>, DemoError> {
    let brand = Brand::read(today)?;
    let tenant = match app.tenants().into_iter().next() {
        Some(tenant) if tenant.id == brand.id => tenant,
        Some(_) => return Err(DemoError::Foreign),
        None => app.create(brand.id, &brand.name).await?,
    };
    let (fresh, last_day) = {
        let world = tenant.world();
        (world.outlets.is_empty(), world.calls.values().map(|c| c.day).max())
    };
    if fresh {
        app.write_records(&tenant, brand.records.clone()).await?;
        for (person, email) in brand.people.iter().filter(|(p, _)| crate::auth::signs_in(p.role)) {
            people::open_account(app, &tenant, person.id, email, PASSWORD).await?;
        }
        // A day of theirs takes two minutes.
        let hurry = [Kind::Travel, Kind::Short, Kind::Regular].map(|kind| (kind, 0)).into();
        let org = tenant.org;
        app.store
            .write_for(org, move |tx| -> Result<_, StoreError> {
                signals::set_weights(tx, org, &hurry)
            })
            .await?;
    }
    let calls = brand.calls(today, last_day)?;
    if !calls.is_empty() {
        app.write_records(&tenant, calls).await?;
    }
    Ok(tenant)
}

/// Publishes the seasonal change of two planograms: from now on phones differ until they sync.
pub async fn publish_reset(app: &Arc<App>, tenant: &Arc<Tenant>) -> Result<(), DemoError> {
    let reset = Brand::read(today())?.reset;
    let news: Vec<Record> = {
        let world = tenant.world();
        let older = |record: &Record| match record {
            Record::Planogram(p) => world.catalogue.planogram(p.number, p.version).is_none(),
            _ => false,
        };
        reset.into_iter().filter(older).collect()
    };
    if !news.is_empty() {
        app.write_records(tenant, news).await?;
    }
    Ok(())
}

/// Listens, loads, serves and lets people work until `shutdown`; prints where and how to sign in.
pub async fn run(
    data: PathBuf,
    listen: SocketAddr,
    shutdown: impl Future<Output = ()>,
) -> Result<(), DemoError> {
    let failed = |error| DemoError::Listen(listen, error);
    if !listen.ip().to_canonical().is_loopback() {
        return Err(DemoError::Exposed(listen));
    }
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let brand = Brand::read(today())?;
    open(&data, listener, shutdown, || greet(&brand, address, &data)).await
}

/// Like [`run`], on a listener of the caller's and without a word; `opened` is called once it serves.
pub async fn open(
    data: &Path,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    opened: impl FnOnce(),
) -> Result<(), DemoError> {
    let address = listener.local_addr().map_err(StoreError::from)?;
    let config = ServeConfig { listen: address, ..ServeConfig::local(data.to_owned()) };
    let app = App::open(data.to_owned()).await;
    let app = app.map_err(|error| DemoError::Folder(data.to_owned(), error))?;
    let tenant = load(&app, today()).await?;
    let (server, phones) = (format!("http://{address}"), data.join("phones"));
    let brand = Brand::read(today())?;
    let crew = tokio::spawn(crew::work(Arc::clone(&app), tenant, brand, server, phones));
    opened();
    let served = serve::serve(app, config, listener, shutdown).await;
    crew.abort();
    let _ = crew.await;
    served.map_err(|error| DemoError::Store(error.into()))
}

fn today() -> Day {
    Day::at(now_ms(), "Europe/Dublin")
}

fn greet(brand: &Brand, address: SocketAddr, data: &Path) {
    println!("\n{} is open at  http://{address}\n", brand.name);
    println!("Sign in with the password  {PASSWORD}  as");
    let shown = [Role::Admin, Role::Supervisor, Role::DistributorManager];
    for role in shown {
        let first = brand.people.iter().filter(|(p, _)| p.role == role).take(3);
        for (person, email) in first {
            let role = person.role.as_str().replace('_', " ");
            println!("  {email:<42} {}, {role}", person.name);
        }
    }
    println!(
        "\nEight people are out with their phones; their work arrives in the console while you watch."
    );
    println!("Data is in {}. Stop with Ctrl-C; the same command continues.\n", data.display());
}
