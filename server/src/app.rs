//! What every request shares: the store, the organisations, the pokes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use axum::http::StatusCode;
use sync_core::document::Entry;
use sync_core::evidence::{Cursor, Keypair, Leaf};
use sync_core::id::{
    Actor, ChangeHash, DeviceId, DocId, LogHash, LogOrigin, OrgId, UserId, VisitId,
};
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{Device, Record};
use sync_core::model::people::Audience;
use sync_core::model::visit::Note;
use sync_core::print::{Inventory, Part};
use sync_core::wire::{
    CargoReply, CargoRequest, Outcome, PROTOCOL, PullReply, PullRequest, PushReply, PushRequest,
    RepairReply, RepairRequest,
};
use tokio::sync::{Semaphore, SemaphorePermit, broadcast, watch};

use crate::blobs::{Arrivals, Blobs, Rendition};
use crate::error::Problem;
use crate::feed;
use crate::ingest::{ActError, Console, Ingest, Sender, open, verify, write_records};
use crate::limits::{Limits, REPAIRS_OF_ONE_MAX, REQUESTS_OF_ONE_MAX};
use crate::logkey::LogKeys;
use crate::metrics::Metrics;
use crate::prove::pack;
use crate::store::log::{AudienceId, Ledger, Org, Organisation, Reader};
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
    /// What happened, in numbers.
    pub metrics: Metrics,
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
    if lives.last().is_none_or(|(.., named)| named.is_none_or(|named| named == key)) {
        return Ok(());
    }
    tracing::warn!(organisation = %made.id, "the log's key is another: the log goes on as a new life");
    let (mut origin, mut instance) = ([0; 16], [0; 8]);
    random(&mut origin);
    random(&mut instance);
    let (origin, now) = (LogOrigin::from_bytes(origin), now_ms());
    let begin = move |tx: &rusqlite::Transaction<'_>| {
        log::go_on_after_restore(tx, org, origin, instance, key, now)
    };
    store.write_for(org, begin).await
}

fn inactive() -> Problem {
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
    world: RwLock<World>,
    room: Semaphore,
    turns: Semaphore,
    repairs: Semaphore,
}

/// "Something was written": sent after each commit.
#[derive(Debug, Clone, Copy)]
pub struct Poke {
    /// In which organisation.
    pub org: OrgId,
}

impl Tenant {
    /// The catalogue and the people, as they are now. Not to be held across an await.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more request of its devices, held while it is worked on: what one organisation asks leaves
    /// room for the others.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when so many are worked on.
    pub fn room(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.room.try_acquire().map_err(|_| StoreError::Busy)
    }

    /// A turn at what takes a core for a while, such as reading a page or checking signatures. Requests of one
    /// organisation wait for each other, so that the others find a reader and a core.
    pub async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.turns.acquire().await.map_err(|_| StoreError::Closed)
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
        Ok(Self {
            org: made.org,
            id: made.id,
            name: made.name.clone(),
            console: Console { keypair, actor, device: DeviceId::of_server(made.id) },
            log_key,
            world: RwLock::new(world),
            room: Semaphore::new(REQUESTS_OF_ONE_MAX),
            turns: Semaphore::new(READERS_OF_ONE),
            repairs: Semaphore::new(REPAIRS_OF_ONE_MAX),
        })
    }
}

impl App {
    /// Opens a data folder, made if it is absent.
    pub async fn open(folder: PathBuf) -> Result<Arc<Self>, StoreError> {
        let store = Store::open(&folder)?;
        let blobs = Blobs::open(folder.join("blobs"))?;
        let arrivals = Arrivals::open(folder.join("uploads"))?;
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
        let (pokes, _) = broadcast::channel(256);
        let (limits, metrics) = (Limits::default(), Metrics::new(store.write_seconds()));
        let (tenants, stopping) = (RwLock::new(tenants), watch::Sender::new(false));
        Ok(Arc::new(Self {
            store,
            folder,
            blobs,
            arrivals,
            limits,
            metrics,
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

    pub(crate) fn poke(&self, org: OrgId) {
        let _ = self.pokes.send(Poke { org }); // nobody listens: nobody is poked
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
        let (mut seed, mut instance, mut origin, mut salt) = ([0; 32], [0; 8], [0; 16], [0; 16]);
        random(&mut seed);
        random(&mut instance);
        random(&mut origin);
        random(&mut salt);
        let name = name.to_owned();
        let now = now_ms();
        let key = Keypair::from_seed(&seed).public();
        let log_key = LogKeys::at(&self.folder).of(id)?;
        let signs = log_key.public();
        let user = UserId::from_bytes([0; 16]);
        let device =
            Record::Device(Device { id: DeviceId::of_server(id), user, key, revoked: false });
        let made = self
            .store
            .write(move |tx| -> Result<_, StoreError> {
                let org = log::next_org(tx)?;
                let made = Organisation { org, id, name, seed, instance };
                log::create(tx, &made, LogOrigin::from_bytes(origin), signs, now)?;
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

    /// Writes catalogue records, all or none. They must have been validated.
    pub async fn write_records(
        &self,
        tenant: &Arc<Tenant>,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        self.write_records_with(tenant, records, |_| Ok(())).await
    }

    /// Writes catalogue records together with something else in the same transaction.
    pub async fn write_records_with<T, E, F>(
        &self,
        tenant: &Arc<Tenant>,
        records: Vec<Record>,
        also: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Ledger<'_>) -> Result<T, E> + Send + 'static,
    {
        let now = now_ms();
        let writing = Arc::clone(tenant);
        let written = self
            .store
            .write_for(tenant.org, move |tx| -> Result<T, E> {
                let mut ledger = Ledger::open(tx, writing.org)?;
                let mut world = writing.world.write().unwrap_or_else(PoisonError::into_inner);
                write_records(&mut ledger, &mut world, records, now, || {
                    let mut salt = [0; 16];
                    random(&mut salt);
                    salt
                })?;
                drop(world);
                let result = also(&ledger)?;
                ledger.close()?;
                Ok(result)
            })
            .await;
        match written {
            Ok(result) => {
                self.poke(tenant.id);
                Ok(result)
            }
            Err(error) => {
                self.reload(tenant).await?;
                Err(error)
            }
        }
    }

    /// Reads an organisation's world anew: what was taken in did not reach the disk.
    async fn reload(&self, tenant: &Arc<Tenant>) -> Result<(), StoreError> {
        let org = tenant.org;
        let world = self.store.read(move |connection| {
            let mut world = World::default();
            log::records(connection, org, |record, sequence| world.insert(record, sequence))?;
            Ok(world)
        });
        let world = world.await?;
        *tenant.world.write().unwrap_or_else(PoisonError::into_inner) = world;
        Ok(())
    }

    /// Takes a device's push in. When this returns, what was accepted is on the disk; when the device was
    /// revoked in the meantime, nothing is.
    pub async fn push(
        &self,
        tenant: &Arc<Tenant>,
        sender: Sender,
        push: PushRequest,
        verified: Vec<Option<Outcome>>,
        name: LogHash,
    ) -> Result<PushReply, Problem> {
        let now = now_ms();
        let writing = Arc::clone(tenant);
        let sizes: Vec<usize> = push.groups.iter().map(|group| group.changes.len()).collect();
        let outcomes = self
            .store
            .write_for(tenant.org, move |tx| -> Result<_, Problem> {
                if !accounts::pushed(tx, writing.org, sender.device, push.previous, name, now)? {
                    return Err(Problem::revoked());
                }
                let mut ledger = Ledger::open(tx, writing.org)?;
                let world = writing.world();
                let mut ingest =
                    Ingest { ledger: &mut ledger, org: writing.id, world: &world, now_ms: now };
                let outcomes = ingest.push(&sender, &push, verified)?;
                ledger.close()?;
                Ok(outcomes)
            })
            .await?;
        self.metrics.push(sizes.into_iter().zip(&outcomes));
        self.poke(tenant.id);
        Ok(PushReply { protocol: PROTOCOL, server_ms: now, push: name, outcomes })
    }

    /// Checks a push's signatures on a thread that may be busy for a while.
    pub async fn verify(
        &self,
        tenant: &Arc<Tenant>,
        push: PushRequest,
    ) -> Result<(PushRequest, Vec<Option<Outcome>>), Problem> {
        let (org, keys) = (tenant.id, tenant.world().keys_of(&push.groups));
        let run = tokio::task::spawn_blocking(move || {
            let verified = verify(org, &keys, &push);
            (push, verified)
        });
        run.await.map_err(|_| StoreError::Failed("verification panicked".into()).into())
    }

    /// Takes in what a device brings for others. When this returns, what was taken is on the disk; when the device
    /// was revoked in the meantime, nothing is.
    pub async fn cargo(
        &self,
        tenant: &Arc<Tenant>,
        courier: Sender,
        request: CargoRequest,
    ) -> Result<CargoReply, Problem> {
        let (opening, now) = (Arc::clone(tenant), now_ms());
        // Opening and checking signatures takes a while: not on a thread that others wait for.
        let turn = tenant.turn().await?;
        let opened = tokio::task::spawn_blocking(move || {
            let (server, parcels) = (&opening.console.keypair, request.parcels.iter());
            // The world is held for one at a time: who wants to change it must not wait for all.
            let open = |parcel| open(opening.id, server, &opening.world(), parcel);
            parcels.map(open).collect::<Vec<_>>()
        });
        let opened = opened.await.map_err(|_| Problem::internal())?;
        drop(turn);
        let writing = Arc::clone(tenant);
        let outcomes = self
            .store
            .write_for(tenant.org, move |tx| -> Result<_, Problem> {
                let row = accounts::device(tx, writing.org, courier.device)?;
                if row.is_none_or(|row| row.revoked_ms.is_some()) {
                    return Err(Problem::revoked());
                }
                accounts::synced(tx, writing.org, courier.device, 0, now)?;
                let mut ledger = Ledger::open(tx, writing.org)?;
                let world = writing.world();
                let mut ingest =
                    Ingest { ledger: &mut ledger, org: writing.id, world: &world, now_ms: now };
                let outcomes = opened.iter().map(|opened| ingest.cargo(courier.device, opened));
                let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
                ledger.close()?;
                Ok(outcomes)
            })
            .await?;
        self.metrics.cargo(&outcomes);
        self.poke(tenant.id);
        Ok(CargoReply { protocol: PROTOCOL, server_ms: now, outcomes })
    }

    /// A page of what is new for a device.
    pub async fn pull(
        &self,
        tenant: &Arc<Tenant>,
        sender: Sender,
        pull: PullRequest,
    ) -> Result<PullReply, Problem> {
        let (tenant, org) = (Arc::clone(tenant), tenant.org);
        let now = now_ms();
        if tenant.world().rights(sender.user).is_none() {
            // Told so now: what it makes from here on is judged by that. What it had, it has pushed before it pulled.
            let told = self.head(&tenant).await?.sequence;
            let noted: Result<(), StoreError> = self
                .store
                .write_for(org, move |tx| accounts::synced(tx, org, sender.device, told, now))
                .await;
            noted?;
            return Err(inactive());
        }
        let page = self.store.read(move |connection| {
            let log = Reader::open(connection, org)?;
            let world = tenant.world();
            let newest = log.newest_push(sender.device)?;
            let signed = (tenant.id, &tenant.log_key);
            let Some(reply) = feed::pull(&log, &world, &sender, &newest, &pull, signed, now)?
            else {
                return Ok(None);
            };
            let known = pull.cursor.map_or(0, |cursor| cursor.sequence);
            let long_ago = newest.synced_ms.is_none_or(|synced| now - synced >= SYNCED_STEP_MS);
            // All that is ever asked is on which side of a change of rights a device stood.
            let news = world.rights_changed_in(newest.acked..known);
            Ok(Some((reply, (long_ago || news).then_some(known))))
        });
        let Some((reply, note)) = page.await? else {
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
        Ok(reply)
    }

    /// Where a device differs from what its person sees, and what it wants of it.
    pub async fn repair(
        &self,
        tenant: &Arc<Tenant>,
        sender: Sender,
        asked: RepairRequest,
    ) -> Result<RepairReply, Problem> {
        if tenant.world().rights(sender.user).is_none() {
            return Err(inactive());
        }
        let room = (tenant.repairs.try_acquire(), self.limits.repairs.try_acquire());
        let (Ok(_), Ok(_)) = &room else {
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
            let log = Reader::open(connection, tenant.org)?;
            let audiences = feed::sight(&log, &tenant.world(), &sender)?;
            let inventory = match asked.parts.is_empty() {
                true => Arc::new(Inventory::new(Vec::new())),
                false => inventories.get(&log, tenant.org, &audiences)?,
            };
            feed::repair(&log, &audiences, &inventory, &asked, now_ms())
        });
        Ok(reply.await?)
    }

    /// Writes that somebody confirmed a device's key.
    pub async fn confirm(
        &self,
        tenant: &Tenant,
        leaf: Leaf,
        device: DeviceId,
        by: UserId,
    ) -> Result<(), StoreError> {
        let org = tenant.org;
        let write = move |tx: &rusqlite::Transaction<'_>| {
            let mut ledger = Ledger::open(tx, org)?;
            let sequence = ledger.append_act(&leaf)?;
            tree::put_confirmation(tx, org, device, by, sequence)?;
            ledger.close()
        };
        self.store.write_for(org, write).await?;
        self.poke(tenant.id);
        Ok(())
    }

    /// The proof bundle of a visit, which there is.
    pub async fn prove(
        &self,
        tenant: &Arc<Tenant>,
        visit: VisitId,
        with_photos: bool,
    ) -> Result<Vec<u8>, Problem> {
        let of = Arc::clone(tenant);
        let collected = self.store.read(move |connection| {
            let _state = Reader::open(connection, of.org)?;
            bundle::collect(connection, of.org, of.id, visit, &of.log_key)
        });
        let collected = collected.await?.ok_or_else(Problem::not_found)?;
        let mut photos = BTreeMap::new();
        for hash in collected.photos.iter().filter(|_| with_photos) {
            let bytes = self.blobs.get(tenant.id, *hash, Rendition::Original).await?;
            photos.extend(bytes.map(|bytes| (*hash, bytes)));
        }
        let packed = tokio::task::spawn_blocking(move || pack(&collected, &photos));
        packed.await.map_err(|_| Problem::internal())?.map_err(|error| {
            tracing::error!(%visit, %error, "a visit cannot be proved");
            Problem::internal()
        })
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
        self.act_with(tenant, document, note, entry, |_| Ok(())).await
    }

    /// Writes what a person does in the console together with something else in the same transaction.
    pub async fn act_with<E: From<ActError> + From<StoreError> + Send + 'static>(
        &self,
        tenant: &Arc<Tenant>,
        document: DocId,
        note: Option<Note>,
        entry: impl FnOnce(Moment) -> Entry + Send + 'static,
        also: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<(), E> + Send + 'static,
    ) -> Result<ChangeHash, E> {
        let now = now_ms();
        let writing = Arc::clone(tenant);
        let written = self
            .store
            .write_for(tenant.org, move |tx| -> Result<_, E> {
                let mut ledger = Ledger::open(tx, writing.org)?;
                let world = writing.world();
                let mut ingest =
                    Ingest { ledger: &mut ledger, org: writing.id, world: &world, now_ms: now };
                let entry = entry(ingest.moment());
                let hash = ingest.act(&writing.console, document, &entry, note.as_ref())?;
                ledger.close()?;
                also(tx)?;
                Ok(hash)
            })
            .await?;
        self.poke(tenant.id);
        Ok(written)
    }

    /// Decides what becomes of refused work that waits.
    pub async fn decide(
        &self,
        tenant: &Arc<Tenant>,
        item: u64,
        approved: bool,
        by: UserId,
    ) -> Result<(), Problem> {
        let now = now_ms();
        let writing = Arc::clone(tenant);
        let written: Result<(), Problem> = self
            .store
            .write_for(tenant.org, move |tx| {
                let mut ledger = Ledger::open(tx, writing.org)?;
                let found = ledger.quarantined(writing.id, item)?.ok_or_else(Problem::not_found)?;
                if found.state != "waiting" {
                    let status = StatusCode::CONFLICT;
                    return Err(Problem::new(status, "decided", "This has been decided meanwhile"));
                }
                let world = writing.world();
                let mut ingest =
                    Ingest { ledger: &mut ledger, org: writing.id, world: &world, now_ms: now };
                ingest.decide(&found, approved, by)?;
                Ok(ledger.close()?)
            })
            .await;
        written?;
        self.poke(tenant.id);
        Ok(())
    }

    /// The device whose key this is, if it is enrolled.
    pub fn device(&self, tenant: &Tenant, id: DeviceId) -> Option<Device> {
        tenant.world().devices.get(&id).cloned()
    }
}
