//! What every request shares: the store, the organisations, the pokes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use axum::http::StatusCode;
use sync_core::cargo::Load;
use sync_core::document::{Document, Entry};
use sync_core::evidence::{Cursor, Keypair, Leaf};
use sync_core::id::{
    Actor, BlobHash, ChangeHash, DeviceId, DocId, LogHash, LogOrigin, OrgId, UserId, VisitId,
};
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{Device, Record};
use sync_core::model::people::Audience;
use sync_core::model::visit::Note;
use sync_core::print::{Inventory, Part};
use sync_core::proof::photos_in;
use sync_core::tlog::NoteKey;
use sync_core::wire::{
    CargoReply, CargoRequest, Delivery, PROTOCOL, PullReply, PullRequest, PushReply, PushRequest,
    RepairReply, RepairRequest,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use crate::blobs::{Arrivals, Blobs, Rendition};
use crate::error::Problem;
use crate::feed;
use crate::ingest::{
    ActError, CHANGES_AT_ONCE, Checked, Console, Ingest, Opened, Sender, open, verify,
    write_records,
};
use crate::limits::{
    DECODING_OF_ONE_MAX, FORMS_WITH_FILES_OF_ONE_MAX, LINES_OF_ONE_MAX, Limits, PAGES_OF_ONE_MAX,
    PROOF_PHOTO_BYTES_MAX, PROOFS_OF_ONE_MAX, REPAIRS_OF_ONE_MAX, REQUESTS_OF_ONE_MAX,
    UPLOADS_OF_ONE_MAX,
};
use crate::lines::Lines;
use crate::logkey::LogKeys;
use crate::metrics::Metrics;
use crate::prove::pack;
use crate::sending::Chunk;
use crate::store::log::{AudienceId, Ledger, Org, Organisation};
use crate::store::quarantine::Fate;
use crate::store::reader::Reader;
use crate::store::uploads::{self, UploadId};
use crate::store::witnesses::Counting;
use crate::store::{READERS_OF_ONE, Store, StoreError, accounts, bundle, log, tree};
use crate::world::World;
use crate::{now_ms, random};

/// Everything that requests share.
pub struct App {
    /// The store.
    pub store: Store,
    /// The data folder.
    pub folder: PathBuf,
    /// The photos that are here.
    pub blobs: Blobs,
    /// The photos that are on their way.
    pub arrivals: Arrivals,
    /// How often and how many.
    pub limits: Limits,
    /// The live lines that are open.
    pub lines: Lines,
    /// What happened, in numbers.
    pub metrics: Metrics,
    /// The witnesses that are asked, once it is known who is.
    pub asked: OnceLock<Vec<NoteKey>>,
    tenants: RwLock<HashMap<OrgId, Arc<Tenant>>>,
    pokes: broadcast::Sender<Poke>,
    stopping: watch::Sender<bool>,
    inventories: Arc<Inventories>,
}

/// Inventories that are kept, so that the questions of one repair do not each read the log.
const INVENTORIES_MAX: usize = 4;

/// Whose inventory, and where the log stood.
type Seen = (Org, Cursor, Vec<AudienceId>);

/// The inventories that were made last.
#[derive(Default)]
struct Inventories(Mutex<VecDeque<(Seen, Arc<Inventory>)>>);

impl Inventories {
    fn get(
        &self,
        log: &Reader<'_>,
        org: Org,
        audiences: &[AudienceId],
    ) -> Result<Arc<Inventory>, StoreError> {
        let key = (org, log.head()?, audiences.to_vec());
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, inventory)) = kept().iter().find(|(other, _)| *other == key) {
            return Ok(Arc::clone(inventory));
        }
        let inventory = Arc::new(log.inventory(audiences)?);
        let mut kept = kept();
        kept.truncate(INVENTORIES_MAX - 1);
        kept.push_front((key, Arc::clone(&inventory)));
        Ok(inventory)
    }
}

/// A log whose newest life names another key goes on as another life: the file with the key is gone.
async fn go_on_under(store: &Store, made: &Organisation, key: [u8; 32]) -> Result<(), StoreError> {
    let org = made.org;
    let lives = store.read(move |connection| tree::lives(connection, org)).await?;
    if lives.last().is_none_or(|(.., named)| *named == key) {
        return Ok(());
    }
    tracing::warn!(organisation = %made.id, "the log's key is another: the log goes on as a new life");
    let (origin, instance, now) = (LogOrigin::from_bytes(random()), random(), now_ms());
    let begin = move |tx: &rusqlite::Transaction<'_>| {
        log::go_on_after_restore(tx, org, origin, instance, key, now)
    };
    store.write_for(org, begin).await
}

pub(crate) fn inactive() -> Problem {
    let title = "This person no longer works with the organisation";
    Problem::new(StatusCode::FORBIDDEN, "inactive", title).detail("unsent work stays on the device")
}

/// A device that has asked less than this ago need not be noted as heard of again.
const SYNCED_STEP_MS: i64 = 5 * 60_000;

/// One organisation, in memory.
pub struct Tenant {
    /// Its local number in the store.
    pub org: Org,
    /// Its name in documents and messages.
    pub id: OrgId,
    /// What people call it.
    pub name: String,
    /// The server as an author in it.
    pub console: Console,
    /// What signs the checkpoints of its log.
    pub log_key: Keypair,
    worlds: RwLock<Worlds>,
    room: Arc<Semaphore>,
    /// Room for its live lines.
    pub lines: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// Turns of its pages at reading.
    pub pages: Arc<Semaphore>,
    repairs: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    proofs: Arc<Semaphore>,
    /// Turns at decoding pictures, each to be had before one among those of all organisations.
    pub decoding: Arc<Semaphore>,
    /// Room for its people's forms with files, to be had before that among all.
    pub forms_with_files: Arc<Semaphore>,
}

/// The worlds of an organisation.
struct Worlds {
    /// As the newest commit left it.
    now: Arc<World>,
    /// As the transaction under way will, if it has written records.
    next: Option<Arc<World>>,
}

/// A world that waits for its commit. Dropped, it is forgotten.
struct Next {
    tenant: Arc<Tenant>,
    world: Arc<World>,
}

impl Next {
    fn new(tenant: Arc<Tenant>, world: World) -> Self {
        let world = Arc::new(world);
        tenant.worlds_mut().next = Some(Arc::clone(&world));
        Self { tenant, world }
    }

    fn committed(self) {
        let before = std::mem::replace(&mut self.tenant.worlds_mut().now, Arc::clone(&self.world));
        drop(before); // that takes a while, and nobody needs to wait for it
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        let mut worlds = self.tenant.worlds_mut();
        // There is a newer one when the transaction wrote more records after these.
        if worlds.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, &self.world)) {
            worlds.next = None;
        }
    }
}

/// A turn at what takes a core for a while. It goes to where that is done, and ends with it, whether or not somebody
/// still waits for the answer.
pub type Turn = OwnedSemaphorePermit;

/// A photo that a courier has brought.
pub struct Brought {
    /// The upload that it is, of its origin's.
    pub id: UploadId,
    /// Whose origin that is.
    pub user: UserId,
    /// Its origin is not known here any more: the courier stands for it, and need not see what its entries name.
    pub forgotten: bool,
    /// The photo.
    pub file: Vec<u8>,
}

/// "Something was written": sent after each commit.
#[derive(Debug, Clone, Copy)]
pub struct Poke {
    /// In which organisation.
    pub org: OrgId,
}

impl Tenant {
    /// The catalogue and the people, as the newest commit left them. It does not change any more.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.worlds().now)
    }

    /// The world of a state of the log, or a newer one: what a device is told of its scope must not be older than
    /// the lines that it is given.
    pub fn world_of(&self, log: &Reader<'_>) -> Result<Arc<World>, StoreError> {
        let size = log.head()?.sequence;
        let worlds = self.worlds();
        // Who reads may see a commit before the writer's thread has gone on from it.
        let next = worlds.next.as_ref().filter(|next| next.size() <= size);
        Ok(Arc::clone(next.unwrap_or(&worlds.now)))
    }

    /// The world as the transaction under way has made it so far. For what is part of that.
    pub(crate) fn world_in_writing(&self) -> Arc<World> {
        let worlds = self.worlds();
        Arc::clone(worlds.next.as_ref().unwrap_or(&worlds.now))
    }

    /// What takes entries in as part of a transaction, and what is written with them when it has done.
    fn ingest<T, E: From<StoreError>>(
        &self,
        tx: &rusqlite::Transaction<'_>,
        now_ms: i64,
        work: impl FnOnce(&mut Ingest<'_, '_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (mut ledger, world) = (Ledger::open(tx, self.org)?, self.world_in_writing());
        let mut ingest = Ingest { ledger: &mut ledger, org: self.id, world: &world, now_ms };
        let done = work(&mut ingest)?;
        ledger.close()?;
        Ok(done)
    }

    fn worlds(&self) -> RwLockReadGuard<'_, Worlds> {
        self.worlds.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn worlds_mut(&self) -> RwLockWriteGuard<'_, Worlds> {
        self.worlds.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more request of its phones or pages, held while it is worked on: what one organisation asks leaves
    /// room for the others.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when so many are worked on.
    pub fn room(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| StoreError::Busy)
    }

    /// Room for one more of its uploads; see [`Tenant::room`].
    pub fn room_for_upload(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.uploads).try_acquire_owned().map_err(|_| StoreError::Busy)
    }

    /// A turn at what takes a core for a while, such as reading a page or checking signatures. Requests of one
    /// organisation wait for each other, so that the others find a reader and a core.
    pub async fn turn(&self) -> Result<Turn, StoreError> {
        Arc::clone(&self.turns).acquire_owned().await.map_err(|_| StoreError::Closed)
    }

    /// A turn at reading or drawing one of its pages.
    async fn page(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.pages).acquire_owned().await.map_err(|_| StoreError::Closed)
    }

    fn open(
        made: &Organisation,
        log_key: Keypair,
        connection: &rusqlite::Connection,
    ) -> Result<Self, StoreError> {
        let mut world = World::default();
        log::records(connection, made.org, |record, sequence| world.insert(record, sequence))?;
        let keypair = Keypair::from_seed(&made.seed);
        let actor = Actor::new(&keypair.public(), made.instance);
        let device = world.server(made.id).map_or(DeviceId::of_server(made.id), |device| device.id);
        let former = log::former_keys(connection, made.org)?;
        let former = former.iter().map(Keypair::from_seed).collect();
        Ok(Self {
            org: made.org,
            id: made.id,
            name: made.name.clone(),
            console: Console { keypair, former, actor, device },
            log_key,
            worlds: RwLock::new(Worlds { now: Arc::new(world), next: None }),
            room: Arc::new(Semaphore::new(REQUESTS_OF_ONE_MAX)),
            lines: Arc::new(Semaphore::new(LINES_OF_ONE_MAX)),
            turns: Arc::new(Semaphore::new(READERS_OF_ONE)),
            pages: Arc::new(Semaphore::new(PAGES_OF_ONE_MAX)),
            repairs: Arc::new(Semaphore::new(REPAIRS_OF_ONE_MAX)),
            uploads: Arc::new(Semaphore::new(UPLOADS_OF_ONE_MAX)),
            proofs: Arc::new(Semaphore::new(PROOFS_OF_ONE_MAX)),
            decoding: Arc::new(Semaphore::new(DECODING_OF_ONE_MAX)),
            forms_with_files: Arc::new(Semaphore::new(FORMS_WITH_FILES_OF_ONE_MAX)),
        })
    }
}

impl App {
    /// Opens a data folder, made if it is absent.
    pub async fn open(folder: PathBuf) -> Result<Arc<Self>, StoreError> {
        let store = Store::open(&folder)?;
        let blobs = Blobs::open(folder.join("blobs"))?;
        let arrivals = Arrivals::open(folder.join("uploads"))?;
        store.write(uploads::died).await?;
        let keys = LogKeys::at(&folder);
        for made in store.read(log::organisations).await? {
            go_on_under(&store, &made, keys.of(made.id)?.public()).await?;
        }
        let tenants = store
            .read(move |connection| {
                log::organisations(connection)?
                    .iter()
                    .map(|made| {
                        let tenant = Tenant::open(made, keys.of(made.id)?, connection)?;
                        Ok((made.id, Arc::new(tenant)))
                    })
                    .collect::<Result<HashMap<_, _>, StoreError>>()
            })
            .await?;
        // A form's photos are uploads of the console for as long as the form is worked on.
        let consoles: Vec<_> =
            tenants.values().map(|tenant| (tenant.org, tenant.console.device)).collect();
        let end = move |tx: &rusqlite::Transaction<'_>| {
            consoles.iter().try_for_each(|(org, device)| uploads::end_all(tx, *org, *device))
        };
        store.write(end).await?;
        let (pokes, _) = broadcast::channel(256);
        let (limits, metrics) = (Limits::default(), Metrics::new(store.write_seconds()));
        let (tenants, stopping) = (RwLock::new(tenants), watch::Sender::new(false));
        Ok(Arc::new(Self {
            store,
            folder,
            blobs,
            arrivals,
            limits,
            lines: Lines::new(metrics.pokes.clone()),
            metrics,
            asked: OnceLock::new(),
            tenants,
            pokes,
            stopping,
            inventories: Arc::default(),
        }))
    }

    /// Every organisation.
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.values().cloned().collect()
    }

    /// An organisation by its local number.
    pub fn tenant(&self, org: Org) -> Option<Arc<Tenant>> {
        self.tenants().into_iter().find(|t| t.org == org)
    }

    /// Hears of every commit from now on.
    pub fn pokes(&self) -> broadcast::Receiver<Poke> {
        self.pokes.subscribe()
    }

    pub(crate) fn poke(&self, tenant: &Tenant) {
        self.poke_of(tenant)();
    }

    /// Ends all that goes on by itself, such as live pokes.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Returns once the server is about to stop.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        let _ = stopping.wait_for(|stopping| *stopping).await; // an error: the app itself is gone
    }

    /// Makes an organisation with its log and the server's own device in it.
    pub async fn create(&self, id: OrgId, name: &str) -> Result<Arc<Tenant>, StoreError> {
        let (seed, instance, salt) = (random(), random(), random());
        let origin = LogOrigin::from_bytes(random());
        let name = name.to_owned();
        let now = now_ms();
        let key = Keypair::from_seed(&seed).public();
        let log_key = LogKeys::at(&self.folder).of(id)?;
        let signs = log_key.public();
        let (device, user) = (DeviceId::of_server(id), UserId::NOBODY);
        let device =
            Record::Device(Device { id: device, user, key, revoked: false, lost_ms: None });
        let made = self
            .store
            .write(move |tx| -> Result<_, StoreError> {
                let org = log::next_org(tx)?;
                let made = Organisation { org, id, name, seed, instance };
                log::create(tx, &made, origin, signs, now)?;
                let mut ledger = Ledger::open(tx, org)?;
                ledger.append_record(&device, &Audience::Everyone, salt, now)?;
                ledger.close()?;
                Ok(made)
            })
            .await?;
        let opened = self.store.read(move |connection| Tenant::open(&made, log_key, connection));
        let tenant = Arc::new(opened.await?);
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.insert(id, Arc::clone(&tenant));
        Ok(tenant)
    }

    /// Gives the server another key in an organisation. What the one before signs is refused from then on; what was
    /// sealed to it is opened still. The app goes on with the one before until it is opened anew.
    ///
    /// # Errors
    /// When it has had as many keys as there may be, and as for any write.
    pub async fn change_server_key(&self, tenant: &Arc<Tenant>) -> Result<(), Problem> {
        let (seed, instance) = (random(), random());
        let before = tenant.world().server(tenant.id).ok_or_else(Problem::internal)?;
        let mut ids = DeviceId::of_servers(tenant.id).skip_while(|id| *id != before.id);
        let (Some(_), Some(id)) = (ids.next(), ids.next()) else {
            return Err(Problem::invalid(
                "the server has had 16 keys, which is all that there may be",
            ));
        };
        let key = Keypair::from_seed(&seed).public();
        let records = vec![
            Record::Device(Device { revoked: true, ..before }),
            Record::Device(Device { id, user: UserId::NOBODY, key, revoked: false, lost_ms: None }),
        ];
        let org = tenant.org;
        let written = self.write_records_with(tenant, records, move |ledger, _| {
            log::change_server_key(ledger.tx, org, seed, instance)
        });
        Ok(written.await?)
    }

    /// Writes catalogue records, all or none. They must have been validated.
    pub async fn write_records(
        &self,
        tenant: &Arc<Tenant>,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        self.write_records_with(tenant, records, |_, _| Ok(())).await
    }

    /// Writes catalogue records together with something else in the same transaction, which is given the world as the
    /// records leave it. Nobody else sees that before it is on the disk.
    pub async fn write_records_with<T, E, F>(
        &self,
        tenant: &Arc<Tenant>,
        records: Vec<Record>,
        also: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Ledger<'_>, &World) -> Result<T, E> + Send + 'static,
    {
        self.change_records(tenant, |_| Ok(records), also).await
    }

    /// The same of records that are made of the world as it is then: what somebody else has changed in them meanwhile
    /// stays changed.
    pub async fn change_records<T, E, R, F>(
        &self,
        tenant: &Arc<Tenant>,
        records: R,
        also: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        R: FnOnce(&World) -> Result<Vec<Record>, E> + Send + 'static,
        F: FnOnce(&Ledger<'_>, &World) -> Result<T, E> + Send + 'static,
    {
        let (now, writing, poke) = (now_ms(), Arc::clone(tenant), self.poke_of(tenant));
        let written = self.store.write_then(tenant.org, move |tx| -> Result<_, E> {
            let mut ledger = Ledger::open(tx, writing.org)?;
            let mut world = World::clone(&writing.world_in_writing());
            let records = records(&world)?;
            write_records(&mut ledger, &mut world, records, now, random)?;
            let result = also(&ledger, &world)?;
            ledger.close()?;
            let next = Next::new(writing, world);
            let afterwards = move || {
                next.committed();
                poke();
            };
            Ok((result, afterwards))
        });
        written.await
    }

    /// Writes to an organisation's log. Whoever listens hears of it once it is on the disk, also when the one who
    /// asked for it is gone.
    async fn write<T, E, F>(&self, tenant: &Tenant, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&rusqlite::Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let poke = self.poke_of(tenant);
        self.store.write_then(tenant.org, move |tx| Ok((job(tx)?, poke))).await
    }

    fn poke_of(&self, tenant: &Tenant) -> impl FnOnce() + Send + 'static {
        let (pokes, org) = (self.pokes.clone(), tenant.id);
        move || drop(pokes.send(Poke { org })) // nobody listens: nobody is poked
    }

    /// Takes a device's push in. When this returns, what was accepted is on the disk. A long push is written in parts, so
    /// that others' writes come between; the first makes its name known, so that one which ends early, as when the device is
    /// revoked meanwhile, is like one whose answer was lost.
    pub async fn push(
        &self,
        tenant: &Arc<Tenant>,
        sender: Sender,
        checked: Checked,
        name: LogHash,
    ) -> Result<PushReply, Problem> {
        let (now, checked) = (now_ms(), Arc::new(checked));
        let groups = checked.push.groups.len();
        let (mut outcomes, mut copied) = (Vec::with_capacity(groups), None);
        loop {
            let (writing, checked) = (Arc::clone(tenant), Arc::clone(&checked));
            let first = outcomes.len();
            let write = move |tx: &rusqlite::Transaction<'_>| -> Result<_, Problem> {
                let follows = match first {
                    0 => {
                        let push = &checked.push;
                        accounts::pushed(tx, writing.org, sender.device, push, name, now)?
                    }
                    _ => accounts::trusts(tx, writing.org, sender.device)?.then_some(true),
                };
                let Some(follows) = follows else { return Err(Problem::revoked()) };
                writing.ingest(tx, now, |ingest| {
                    let outcomes = ingest.push(&sender, &checked, first, CHANGES_AT_ONCE)?;
                    Ok((outcomes, follows))
                })
            };
            let (decided, follows) = self.write(tenant, write).await?;
            outcomes.extend(decided);
            copied = copied.or((!follows).then_some(true));
            if outcomes.len() == groups {
                break;
            }
        }
        let sizes = checked.push.groups.iter().map(|group| group.changes.len());
        self.metrics.push(sizes.zip(&outcomes));
        Ok(PushReply { protocol: PROTOCOL, server_ms: now, push: name, outcomes, copied })
    }

    /// Checks a push's signatures on a thread that may be busy for a while.
    pub async fn verify(
        &self,
        tenant: &Arc<Tenant>,
        push: PushRequest,
        turn: Turn,
    ) -> Result<Checked, Problem> {
        let (org, world) = (tenant.id, tenant.world());
        let run = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let keys = world.keys_of(&push.groups);
            verify(org, &keys, push)
        });
        run.await.map_err(|_| StoreError::Failed("verification panicked".into()).into())
    }

    /// Takes in what a device brings for others. When this returns, what was taken is on the disk. It is written in parts
    /// like a long push. The photos among it, each with its place, are still to be taken in.
    pub async fn cargo(
        &self,
        tenant: &Arc<Tenant>,
        courier: Sender,
        request: CargoRequest,
        turn: Turn,
    ) -> Result<(CargoReply, Vec<(usize, Brought)>), Problem> {
        let (opening, now) = (Arc::clone(tenant), now_ms());
        // Opening and checking signatures takes a while: not on a thread that others wait for.
        let opened = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let (console, world) = (&opening.console, opening.world());
            let open = |parcel| open(opening.id, console, &world, parcel);
            request.parcels.iter().map(open).collect::<Vec<_>>()
        });
        let opened = Arc::new(opened.await.map_err(|_| Problem::internal())?);
        let mut outcomes = Vec::with_capacity(opened.len());
        while outcomes.len() < opened.len() {
            let (writing, opened) = (Arc::clone(tenant), Arc::clone(&opened));
            let first = outcomes.len();
            let write = move |tx: &rusqlite::Transaction<'_>| -> Result<_, Problem> {
                if !accounts::trusts(tx, writing.org, courier.device)? {
                    return Err(Problem::revoked());
                }
                accounts::synced(tx, writing.org, courier.device, 0, now)?;
                writing.ingest(tx, now, |ingest| {
                    Ok(ingest.cargo(courier.device, &opened[first..], CHANGES_AT_ONCE)?)
                })
            };
            outcomes.extend(self.write(tenant, write).await?);
        }
        let world = tenant.world();
        let photo = |opened: &Result<Opened, Delivery>| {
            let Ok(Opened { origin, load: Load::Photo(file), .. }) = opened else { return None };
            let origin = origin.and_then(|origin| world.devices.get(&origin));
            let (device, user) = origin.map_or((courier.device, courier.user), |o| (o.id, o.user));
            let id = UploadId { org: tenant.org, device, hash: BlobHash::of(file) };
            Some(Brought { id, user, forgotten: origin.is_none(), file: file.clone() })
        };
        let photos = opened.iter().enumerate();
        let photos = photos.filter_map(|(place, opened)| Some((place, photo(opened)?)));
        Ok((CargoReply { protocol: PROTOCOL, server_ms: now, outcomes }, photos.collect()))
    }

    /// A page of what is new for a device.
    pub async fn pull(
        &self,
        tenant: &Arc<Tenant>,
        sender: Sender,
        pull: PullRequest,
        turn: Turn,
    ) -> Result<(PullReply, Turn), Problem> {
        let (tenant, org) = (Arc::clone(tenant), tenant.org);
        let now = now_ms();
        if tenant.world().rights(sender.user).is_none() {
            // Told so now: what it makes from here on is judged by that.
            let told = self.head(&tenant).await?.sequence;
            let told = pull.waits.map_or(told, |waits| waits.min(told));
            let noted: Result<(), StoreError> = self
                .store
                .write_for(org, move |tx| accounts::synced(tx, org, sender.device, told, now))
                .await;
            noted?;
            return Err(inactive());
        }
        let page = self.store.read(move |connection| {
            let log = Reader::open(connection, org)?;
            let world = tenant.world_of(&log)?;
            let newest = log.newest_push(sender.device)?;
            let signed = (tenant.id, &tenant.log_key);
            let Some(reply) = feed::pull(&log, &world, &sender, &newest, &pull, signed, now)?
            else {
                return Ok(None);
            };
            let known = pull.acknowledged();
            let long_ago = newest.synced_ms.is_none_or(|synced| now - synced >= SYNCED_STEP_MS);
            // All that is ever asked is on which side of a change of rights a device stood.
            let news = world.rights_changed_in(newest.acked..known);
            Ok(Some((reply, (long_ago || news).then_some(known), turn)))
        });
        let Some((reply, note, turn)) = page.await? else {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "cursor_unknown",
                "The log does not know this cursor",
            )
            .detail("the server was restored; pull again without a cursor, keeping unsent work"));
        };
        if let Some(known) = note {
            let noted: Result<(), StoreError> = self
                .store
                .write_for(org, move |tx| accounts::synced(tx, org, sender.device, known, now))
                .await;
            if let Err(error) = noted {
                tracing::warn!(%error, "a pull could not be noted");
            }
        }
        self.metrics.pull();
        Ok((reply, turn))
    }

    /// Where a device differs from what its person sees, and what it wants of it.
    pub async fn repair(
        &self,
        tenant: &Arc<Tenant>,
        sender: Sender,
        asked: RepairRequest,
        turn: Turn,
    ) -> Result<(RepairReply, Turn), Problem> {
        if tenant.world().rights(sender.user).is_none() {
            return Err(inactive());
        }
        self.limits.repaired.check(sender.device, now_ms())?;
        let (own, all) = (Arc::clone(&tenant.repairs), Arc::clone(&self.limits.repairs));
        let (Ok(own), Ok(all)) = (own.try_acquire_owned(), all.try_acquire_owned()) else {
            let title = "The server is busy: try again";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", title)
                .detail("other devices are being repaired")
                .retry_after(5));
        };
        let (organisation, device) = (tenant.id, sender.device);
        if asked.parts.contains(&Part::WHOLE) {
            tracing::warn!(%organisation, %device, "a device does not hold what it should: a repair begins");
            self.metrics.repair();
        }
        if !asked.wanted.is_empty() {
            let wanted = asked.wanted.len();
            tracing::warn!(%organisation, %device, wanted, "a repair gives what a device lacked");
        }
        let (tenant, inventories) = (Arc::clone(tenant), Arc::clone(&self.inventories));
        let reply = self.store.read(move |connection| {
            let _room = (own, all);
            let log = Reader::open(connection, tenant.org)?;
            let audiences = feed::sight(&log, &*tenant.world_of(&log)?, &sender)?;
            let inventory = match asked.parts.is_empty() {
                true => Arc::new(Inventory::new(Vec::new())),
                false => inventories.get(&log, tenant.org, &audiences)?,
            };
            Ok((feed::repair(&log, &audiences, &inventory, &asked, now_ms())?, turn))
        });
        Ok(reply.await?)
    }

    /// Writes that somebody confirmed a device's key, in the leaf that is made of the world as it is then. Nobody confirms
    /// one twice.
    pub(crate) async fn confirm(
        &self,
        tenant: &Arc<Tenant>,
        device: DeviceId,
        by: UserId,
        leaf: impl FnOnce(&World) -> Result<Leaf, Problem> + Send + 'static,
    ) -> Result<(), Problem> {
        let of = Arc::clone(tenant);
        let write = move |tx: &rusqlite::Transaction<'_>| {
            let leaf = leaf(&of.world_in_writing())?;
            if tree::is_confirmed(tx, of.org, device)? {
                return Ok(());
            }
            let mut ledger = Ledger::open(tx, of.org)?;
            let sequence = ledger.append_act(&leaf)?;
            tree::put_confirmation(tx, of.org, device, by, sequence)?;
            Ok(ledger.close()?)
        };
        self.write(tenant, write).await
    }

    /// What a page of the console shows. Pages of one organisation wait for each other, so that the others find a reader.
    pub async fn look<T, F>(&self, tenant: &Tenant, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let turn = tenant.page().await?;
        let read = move |connection: &rusqlite::Connection| {
            let _turn = turn; // also when nobody waits any more
            read(connection)
        };
        self.store.read(read).await
    }

    /// Draws a page of what was read, where that may take a core for a while; see [`App::look`].
    pub async fn draw<T, F>(&self, tenant: &Tenant, draw: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let turn = tenant.page().await?;
        let drawn = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            draw()
        });
        drawn.await.map_err(|_| StoreError::Failed("a page could not be drawn".into()))
    }

    /// The proof bundle of a visit, which there is: its photos are read again as they are sent. Once begun it is made to its
    /// end, whether anybody waits for it or not: so as many as there is room for are in memory.
    ///
    /// # Errors
    /// `too_large` (413) when its photos are more than the server packs.
    pub async fn prove(
        &self,
        tenant: &Arc<Tenant>,
        visit: VisitId,
        with_photos: bool,
    ) -> Result<Vec<Chunk>, Problem> {
        let closed = |_| StoreError::Closed;
        let of_one = Arc::clone(&tenant.proofs).acquire_owned().await.map_err(closed)?;
        let all = Arc::clone(&self.limits.proofs).acquire_owned().await.map_err(closed)?;
        let (store, blobs, of) = (self.store.clone(), self.blobs.clone(), Arc::clone(tenant));
        let counting = self.counting();
        let made = tokio::spawn(async move {
            let _room = (of_one, all);
            bundle_of(&store, &blobs, of, visit, with_photos, counting).await
        });
        made.await.map_err(|_| Problem::internal())?
    }

    /// Whose signatures under the log count now.
    pub fn counting(&self) -> Counting {
        let asked = self.asked.get().cloned().unwrap_or_default();
        Counting { asked, ..Counting::everybody(now_ms()) }
    }

    /// Keeps what is missing of the tree over an organisation's log.
    pub async fn grow(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let org = tenant.org;
        loop {
            let nodes = self.store.read(move |connection| tree::missing(connection, org)).await?;
            if nodes.is_empty() {
                return Ok(());
            }
            let put = move |tx: &rusqlite::Transaction<'_>| tree::put(tx, org, &nodes);
            self.store.write_for(org, put).await?;
        }
    }

    /// Where an organisation's log stands.
    pub async fn head(&self, tenant: &Tenant) -> Result<Cursor, StoreError> {
        let org = tenant.org;
        self.store.read(move |connection| log::head(connection, org)).await
    }

    /// Writes what a person does in the console, signed by the server.
    pub async fn act(
        &self,
        tenant: &Arc<Tenant>,
        document: DocId,
        note: Option<Note>,
        entry: impl FnOnce(Moment) -> Entry + Send + 'static,
    ) -> Result<ChangeHash, ActError> {
        let alone = move |_: &Document, when| Ok::<_, ActError>((None, entry(when)));
        self.act_with(tenant, document, note, alone, |_| Ok(())).await
    }

    /// Writes what a person does in the console ([`Ingest::act`]), and together with it something else: all in one transaction.
    pub async fn act_with<E: From<ActError> + From<StoreError> + Send + 'static>(
        &self,
        tenant: &Arc<Tenant>,
        document: DocId,
        note: Option<Note>,
        entries: impl FnOnce(&Document, Moment) -> Result<(Option<Entry>, Entry), E> + Send + 'static,
        also: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<(), E> + Send + 'static,
    ) -> Result<ChangeHash, E> {
        let now = now_ms();
        let writing = Arc::clone(tenant);
        let written = self
            .write(tenant, move |tx| -> Result<_, E> {
                let hash = writing.ingest(tx, now, |ingest| {
                    ingest.act(&writing.console, document, note.as_ref(), entries)
                })?;
                also(tx)?;
                Ok(hash)
            })
            .await?;
        Ok(written)
    }

    /// Decides what becomes of refused work that waits, if `may` says so of the world as it is then. Refuses with `decided`
    /// (409) what has been decided meanwhile.
    pub async fn decide(
        &self,
        tenant: &Arc<Tenant>,
        item: u64,
        approved: bool,
        by: UserId,
        may: impl FnOnce(&World) -> Result<(), Problem> + Send + 'static,
    ) -> Result<(), Problem> {
        let now = now_ms();
        let writing = Arc::clone(tenant);
        let written: Result<(), Problem> = self
            .write(tenant, move |tx| {
                writing.ingest(tx, now, |ingest| {
                    let found = ingest.ledger.quarantined(writing.id, item)?;
                    let found = found.ok_or_else(Problem::not_found)?;
                    if found.state != Fate::Waiting {
                        let (status, title) =
                            (StatusCode::CONFLICT, "This has been decided meanwhile");
                        return Err(Problem::new(status, "decided", title));
                    }
                    may(ingest.world)?;
                    Ok(ingest.decide(&found, approved, by)?)
                })
            })
            .await;
        written?;
        Ok(())
    }

    /// A device by its id, revoked or not.
    pub fn device(&self, tenant: &Tenant, id: DeviceId) -> Option<Device> {
        tenant.world().devices.get(&id).cloned()
    }
}

async fn bundle_of(
    store: &Store,
    blobs: &Blobs,
    tenant: Arc<Tenant>,
    visit: VisitId,
    with_photos: bool,
    counting: Counting,
) -> Result<Vec<Chunk>, Problem> {
    let of = Arc::clone(&tenant);
    let collected = store.read(move |connection| {
        let _state = Reader::open(connection, of.org)?;
        let (org, id, key) = (of.org, of.id, &of.log_key);
        let collected = bundle::collect(connection, org, id, visit, key, &counting)?;
        let Some(collected) = collected else { return Ok(None) };
        let hashes: Vec<_> = collected.photos.iter().copied().collect();
        let here = uploads::photo_state(connection, of.org, &hashes)?;
        Ok(Some((collected, here.values().map(|photo| photo.bytes).sum::<u64>())))
    });
    let (collected, bytes) = collected.await?.ok_or_else(Problem::not_found)?;
    if with_photos && bytes > PROOF_PHOTO_BYTES_MAX {
        let (have, most) = (bytes >> 20, PROOF_PHOTO_BYTES_MAX >> 20);
        return Err(Problem::too_large(format!(
            "the photos have {have} MiB, and {most} are packed here: take the proof without \
             photos, or ask the operator for `endcap prove`"
        )));
    }
    let mut photos = BTreeMap::new();
    for hash in collected.photos.iter().filter(|_| with_photos) {
        let bytes = blobs.get(tenant.id, *hash, Rendition::Original).await?;
        photos.extend(bytes.map(|bytes| (*hash, bytes)));
    }
    let packed = tokio::task::spawn_blocking(move || {
        // One that has rotted is told of by its digest alone, and keeps nobody from the proof of the rest.
        photos.retain(|hash, bytes| {
            let whole = BlobHash::of(bytes) == *hash;
            if !whole {
                tracing::error!(%visit, photo = %hash, "a photo's file has other content");
            }
            whole
        });
        pack(&collected, &photos, &tenant.log_key).map(|bundle| chunks(&bundle))
    });
    packed.await.map_err(|_| Problem::internal())?.map_err(|error| {
        tracing::error!(%visit, %error, "a visit cannot be proved");
        Problem::internal()
    })
}

/// A bundle in the pieces between its photos.
fn chunks(bundle: &[u8]) -> Vec<Chunk> {
    let (mut chunks, mut at) = (Vec::new(), 0);
    for (hash, range) in photos_in(bundle) {
        chunks.push(Chunk::Bytes(bundle[at..range.start].to_vec()));
        chunks.push(Chunk::Photo(hash, range.len() as u64));
        at = range.end;
    }
    chunks.push(Chunk::Bytes(bundle[at..].to_vec()));
    chunks
}

#[cfg(test)]
mod tests {
    use sync_core::id::TerritoryId;
    use sync_core::model::catalogue::{Display, Person};
    use sync_core::model::people::{Role, Scope};
    use tokio::sync::oneshot;

    use super::*;
    use crate::limits::REPAIRS_MAX;

    const ORG: OrgId = OrgId::from_bytes([7; 16]);

    async fn open() -> (Arc<App>, Arc<Tenant>) {
        let app = App::open(crate::scratch("app")).await.unwrap();
        let tenant = app.create(ORG, "Nordic Oats").await.unwrap();
        (app, tenant)
    }

    fn close(app: &App) {
        app.store.close();
        std::fs::remove_dir_all(&app.folder).unwrap();
    }

    fn display(number: u32) -> Vec<Record> {
        let (name, description) = ("End cap".into(), String::new());
        vec![Record::Display(Display { number, name, description })]
    }

    /// What makes the commit fail, and nothing before it.
    fn spoil(tx: &rusqlite::Transaction<'_>) -> Result<(), StoreError> {
        Ok(tx.execute_batch(
            "CREATE TABLE parent (a INTEGER PRIMARY KEY);
             CREATE TABLE child (a REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
             INSERT INTO child VALUES (7)",
        )?)
    }

    #[tokio::test]
    async fn a_write_that_fails_at_its_commit_leaves_the_world_as_it_was() {
        let (app, tenant) = open().await;
        let failed = app.write_records_with(&tenant, display(1), |ledger, world| {
            assert!(world.displays.contains_key(&1));
            spoil(ledger.tx)
        });
        assert!(matches!(failed.await, Err(StoreError::Failed(_))));
        assert!(tenant.world().displays.is_empty());
        app.write_records(&tenant, display(2)).await.unwrap();

        // And so when nobody waits for it any more.
        let (started, has_started) = oneshot::channel();
        let (go_on, waits) = std::sync::mpsc::channel();
        let failing = app.write_records_with(&tenant, display(3), move |ledger, _| {
            let _ = started.send(());
            waits.recv().map_err(|_| StoreError::Closed)?;
            spoil(ledger.tx)
        });
        tokio::select! {
            done = failing => panic!("{done:?}"),
            started = has_started => started.unwrap(),
        }
        go_on.send(()).unwrap();
        // What shares its commit fails with it.
        let _: Result<(), StoreError> = app.store.write(|_| Ok(())).await;
        app.write_records_with(&tenant, display(4), |_, world| -> Result<(), StoreError> {
            assert!(!world.displays.contains_key(&3), "what is written next does not build on it");
            Ok(())
        })
        .await
        .unwrap();
        let mut displays: Vec<u32> = tenant.world().displays.keys().copied().collect();
        displays.sort_unstable();
        assert_eq!(displays, [2, 4]);
        close(&app);
    }

    #[tokio::test]
    async fn what_is_changed_is_what_was_written_before() {
        let (app, tenant) = open().await;
        app.write_records(&tenant, display(1)).await.unwrap();
        // Both are asked for while the other is not written.
        let say = |what: &'static str| {
            let changed = move |now: &World| {
                let mut display = now.displays[&1].clone();
                display.description += what;
                Ok::<_, StoreError>(vec![Record::Display(display)])
            };
            app.change_records(&tenant, changed, |_, _| Ok(()))
        };
        let (one, other) = tokio::join!(say("by the door "), say("lit"));
        one.and(other).unwrap();
        assert_eq!(tenant.world().displays[&1].description, "by the door lit");
        close(&app);
    }

    #[tokio::test]
    async fn the_world_changes_with_the_commit_and_whoever_listens_hears_of_it() {
        let (app, tenant) = open().await;
        let mut pokes = app.pokes();
        let (started, has_started) = oneshot::channel();
        let (go_on, waits) = std::sync::mpsc::channel();
        let writing = app.write_records_with(&tenant, display(1), move |_, _| {
            let _ = started.send(());
            waits.recv().map_err(|_| StoreError::Closed)
        });
        tokio::select! {
            done = writing => panic!("{done:?}"),
            started = has_started => started.unwrap(),
        }
        let before = tenant.world();
        assert!(before.displays.is_empty(), "it is not on the disk");
        go_on.send(()).unwrap(); // nobody waits for it any more
        assert_eq!(pokes.recv().await.unwrap().org, ORG);
        assert!(tenant.world().displays.contains_key(&1));
        assert!(before.displays.is_empty(), "who reads it reads one world to the end");
        close(&app);
    }

    #[tokio::test]
    async fn who_reads_lines_has_the_world_that_goes_with_them() {
        let (app, tenant) = open().await;
        let (writing, reads) = (Arc::clone(&tenant), Arc::clone(&app));
        let runtime = tokio::runtime::Handle::current();
        let (seen, was_seen) = oneshot::channel();
        let written: Result<(), StoreError> = app
            .store
            .write_then(tenant.org, move |tx| {
                let mut ledger = Ledger::open(tx, writing.org)?;
                let mut world = World::clone(&writing.world_in_writing());
                write_records(&mut ledger, &mut world, display(1), 0, || [0; 16])?;
                ledger.close()?;
                let next = Next::new(Arc::clone(&writing), world);
                let afterwards = move || {
                    let of = Arc::clone(&writing);
                    let read = reads.store.read(move |connection| {
                        let world = of.world_of(&Reader::open(connection, of.org)?)?;
                        Ok((world.displays.len(), of.world().displays.len()))
                    });
                    let _ = seen.send(runtime.block_on(read).unwrap());
                    next.committed();
                };
                Ok(((), afterwards))
            })
            .await;
        written.unwrap();
        assert_eq!(was_seen.await.unwrap(), (1, 0), "the commit is seen a moment earlier");
        assert_eq!(tenant.world().displays.len(), 1);
        close(&app);
    }

    /// Begins something that takes a while, and waits no longer.
    async fn hangs_up<T>(begun: impl Future<Output = T>) {
        tokio::select! {
            biased;
            _ = begun => panic!("it is done at once"),
            () = std::future::ready(()) => {}
        }
    }

    #[test]
    fn what_has_begun_keeps_its_turn_when_who_asked_hangs_up() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().max_blocking_threads(1).build().unwrap().block_on(async {
            let (app, tenant) = open().await;
            let sender = Sender {
                device: DeviceId::of_server(ORG),
                key: [0; 32],
                user: UserId::from_bytes([1; 16]),
            };
            let (id, name, role) = (sender.user, "Ada".to_owned(), Role::Admin);
            let scope = Scope::Territory(TerritoryId::from_bytes([2; 16]));
            let person = Person { id, name, role, scope, active: true };
            app.write_records(&tenant, vec![Record::Person(person)]).await.unwrap();
            tenant.turns.add_permits(1); // one for each of the four

            // The only thread for what takes long is taken: what is begun now waits for it.
            let (go_on, waits) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || waits.recv());
            let now =
                Moment { wall_ms: 0, boot: 1, boot_ms: 2, anchor: 0, skew_ms: None, life: None };
            let (groups, notes) = (Vec::new(), Vec::new());
            let push = PushRequest { protocol: PROTOCOL, now, previous: None, groups, notes };
            let cargo = CargoRequest { protocol: PROTOCOL, parcels: Vec::new() };
            let pull = PullRequest::BEGINNING;
            let (parts, wanted) = (vec![Part::WHOLE], Vec::new());
            let repair = RepairRequest { protocol: PROTOCOL, parts, wanted };
            let turn = async || tenant.turn().await.unwrap();
            hangs_up(app.verify(&tenant, push, turn().await)).await;
            hangs_up(app.cargo(&tenant, sender, cargo, turn().await)).await;
            hangs_up(app.pull(&tenant, sender, pull, turn().await)).await;
            hangs_up(app.repair(&tenant, sender, repair, turn().await)).await;
            hangs_up(app.look(&tenant, |_| Ok(()))).await;
            assert_eq!(tenant.pages.available_permits(), PAGES_OF_ONE_MAX - 1);
            assert_eq!(tenant.turns.available_permits(), 0);
            assert_eq!(tenant.repairs.available_permits(), REPAIRS_OF_ONE_MAX - 1);
            assert_eq!(app.limits.repairs.available_permits(), REPAIRS_MAX - 1);
            drop(go_on);
            let _ = busy.await.unwrap();
            let all = u32::try_from(READERS_OF_ONE + 1).unwrap();
            drop(tenant.turns.acquire_many(all).await.unwrap());
            drop(tenant.repairs.acquire().await.unwrap());
            drop(
                tenant.pages.acquire_many(u32::try_from(PAGES_OF_ONE_MAX).unwrap()).await.unwrap(),
            );
            close(&app);
        });
    }
}
