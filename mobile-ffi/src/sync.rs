//! Sync and photo uploads over HTTP. docs/protocol.md is the norm.

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::io;
use std::iter::successors;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER,
};
use reqwest::{IntoUrl, Method, Response, StatusCode, Url};
use serde::Deserialize;
use sync_core::cargo::{NOT_REFERENCED, apply_cargo, next_cargo};
use sync_core::cbor::to_cbor;
use sync_core::client::{
    BadAnswer, Batch, Fault, Replica, Write, apply_pull, apply_push, next_pull, next_push,
};
use sync_core::id::{BlobHash, ChangeHash, DocId, OrgId, ParcelHash};
use sync_core::model::catalogue::Record;
use sync_core::print::PrintName;
use sync_core::repair::{Repair, begin, compare};
use sync_core::session::{Heard, Session, Step, Stop};
use sync_core::upkeep::{rewind, sweep, withdraw};
use sync_core::wire::{
    CargoReply, Delivery, MEDIA_TYPE, Outcome, PullReply, PushReply, REPLY_BYTES_MAX, RepairReply,
    from_wire, to_wire,
};

use crate::client::{Client, Server, read_cbor};
use crate::enrol::{hand_over, keypair};
use crate::photo::BYTES_MAX;
use crate::replica::{OWN, PHOTOS, PhotoState, View, apply, own, set_photo_aside};
use crate::shown::unreadable;
use crate::store::{StoreError, random};
use crate::types::{ClientError, LeftOutlet, Phase, PhotoSize, RefusedPhoto, SyncReport, WhyLeft};

/// A cut connection loses at most this much of a photo.
const CHUNK_BYTES: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Without a byte for this long, the network counts as gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
const COMPRESS_LEVEL: i32 = 9;
/// A server that fails at so many documents of one sync fails at more than them.
const FAILED_MAX: usize = 8;
/// Longest pause that a server is believed to need: whoever asks for years must not silence a phone.
const RETRY_AFTER_S_MAX: u64 = 3_600;

/// Hears how a sync goes on. Called from the library's threads.
#[uniffi::export(with_foreign)]
pub trait Progress: Send + Sync {
    /// `left` documents or photos are still to be sent; when pulling, zero.
    fn at(&self, phase: Phase, left: u32);
}

/// Asks a sync to end.
#[derive(Debug, Default, uniffi::Object)]
pub struct Cancel(AtomicBool);

#[uniffi::export]
impl Cancel {
    /// For one sync.
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Ends it at the next message or piece of a photo.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether a sync is running.
#[derive(Debug, Default)]
pub(crate) struct Syncing(AtomicBool);

pub(crate) struct Running<'a>(&'a Syncing);

impl Syncing {
    pub(crate) fn begin(&self) -> Result<Running<'_>, ClientError> {
        match self.0.swap(true, Ordering::AcqRel) {
            false => Ok(Running(self)),
            true => Err(ClientError::Syncing),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

pub(crate) fn http() -> Result<&'static reqwest::Client, ClientError> {
    static HTTP: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(http) = HTTP.get() {
        return Ok(http);
    }
    // Fails only if the host has installed another provider, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("endcap-mobile/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(unreachable)?;
    Ok(HTTP.get_or_init(|| http))
}

pub(crate) fn unreachable(error: reqwest::Error) -> ClientError {
    // Not the address: what goes into an app's log should not name customers' servers. Words on a certificate may.
    let error = error.without_url();
    let chain = || successors(Some(&error as &dyn Error), |error| within(*error));
    let detail = match chain().find_map(<dyn Error>::downcast_ref) {
        Some(rustls::Error::InvalidMessage(_)) => "what answers does not speak TLS".to_owned(),
        Some(rustls::Error::InvalidCertificate(_)) => "the certificate is not accepted".to_owned(),
        Some(_) => "TLS failed".to_owned(),
        None => chain().last().map(ToString::to_string).unwrap_or_default(),
    };
    ClientError::Unreachable { detail }
}

/// What an error came of. One of input or output hides what it holds from [`Error::source`].
fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}

#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

/// What a refused request means for the app.
pub(crate) async fn problem(response: Response) -> (StatusCode, String, ClientError) {
    let status = response.status();
    let retry_after_s = retry_after_s(response.headers());
    let body = limited(response, 64 * 1024).await.unwrap_or_default();
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
        kind: String::new(),
        title: status.to_string(),
        detail: String::new(),
    });
    let code = problem.kind.rsplit(':').next().unwrap_or_default().to_owned();
    let detail = match problem.detail.as_str() {
        "" => problem.title,
        detail => format!("{}: {detail}", problem.title),
    };
    let error = match (code.as_str(), status) {
        ("revoked", _) => ClientError::Revoked,
        ("unauthorized", _) => ClientError::Forgotten,
        ("inactive", _) => ClientError::Inactive,
        ("code_invalid", _) => ClientError::CodeInvalid,
        ("protocol_unsupported", _) => ClientError::Incompatible { detail },
        (
            _,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::INSUFFICIENT_STORAGE,
        ) => ClientError::Busy { code: code.clone(), detail, retry_after_s },
        (INTERNAL, _) => ClientError::Busy { code: code.clone(), detail, retry_after_s },
        (_, StatusCode::REQUEST_TIMEOUT) => ClientError::Unreachable { detail },
        (_, s) if s.is_server_error() => ClientError::Unreachable { detail },
        _ => ClientError::BadAnswer { detail },
    };
    (status, code, error)
}

/// What `Retry-After` says in seconds. A date, which it may be too, is for clocks that are right.
fn retry_after_s(headers: &HeaderMap) -> Option<u32> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    u32::try_from(seconds.min(RETRY_AFTER_S_MAX)).ok()
}

/// Whether a server that takes no work now tells all the same what it has: its disk is full, too much waits to be written,
/// it has had from this phone as much as it takes in this time, or something that it cannot read is in the way of this
/// work.
fn takes_none(error: &ClientError) -> bool {
    [DISK_FULL, BUSY, RATE_LIMITED, INTERNAL].into_iter().any(|code| is(error, code))
}

/// Whether a message may be refused for one part of it: the server failed at it, or it is too long.
fn is_of_one(error: &ClientError) -> bool {
    let too_long = matches!(error, ClientError::BadAnswer { detail } if detail == TOO_LARGE);
    too_long || is(error, INTERNAL)
}

fn is(error: &ClientError, problem: &str) -> bool {
    matches!(error, ClientError::Busy { code, .. } if code == problem)
}

pub(crate) async fn limited(mut response: Response, max: usize) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > max {
            return Err(ClientError::BadAnswer { detail: "the answer is too long".into() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// So long a photo that the server has refused is not sent again. A newer server may take it.
const REFUSED_MS: i64 = 7 * DAY_MS;

/// So long one that nothing names there is not offered again. What names it may come from a colleague.
const UNWANTED_MS: i64 = DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// Whether something was said less than `ms` ago. What a clock has said that was ahead was not.
fn lately(said_ms: i64, now_ms: i64, ms: i64) -> bool {
    (0..ms).contains(&now_ms.saturating_sub(said_ms))
}

/// Photos that are fetched at the same time: half of what the server works on for one phone, the rest of which is for
/// syncing.
pub(crate) const FETCHED_AT_ONCE_MAX: usize = 4;

/// Photos that are asked for at once, of which the server may have lost the files.
const MISSING_ASKED_MAX: usize = 1_000;
/// What the longest answer to that takes, and half as much again.
const MISSING_BYTES_MAX: usize = 100 * MISSING_ASKED_MAX;

/// What one sync carries from step to step.
struct Run {
    client: Arc<Client>,
    server: Server,
    org: OrgId,
    progress: Option<Arc<dyn Progress>>,
    cancel: Option<Arc<Cancel>>,
    report: SyncReport,
    /// What the last page said that this device holds.
    said: Option<PrintName>,
    repair: Option<Repair>,
    /// One a sync.
    repaired: bool,
    /// What went wrong with comparing or repairing: no reason not to send work and photos.
    unrepaired: Option<ClientError>,
    /// How much a push takes along in this sync.
    batch: Batch,
    /// What went wrong with a push: no reason not to fetch what others have written.
    unpushed: Option<ClientError>,
    /// The cargo that was handed over in this sync.
    brought: BTreeSet<ParcelHash>,
    /// The server has failed at several parcels: they are brought one by one until it is known at which.
    alone: bool,
    /// At how many by themselves it has failed.
    undelivered: usize,
}

/// A request of what is below `/api/v1`, as this device.
fn ask(client: &Client, path: &str) -> Result<reqwest::RequestBuilder, ClientError> {
    let server = client.store.read(|reader| -> Result<_, ClientError> {
        let bytes = reader.get(OWN, own::SERVER)?.ok_or(ClientError::NotEnrolled)?;
        Ok(read_cbor::<Server>(&bytes)?)
    })?;
    let request = http()?.get(format!("{}/api/v1/{path}", server.url));
    Ok(request.header(AUTHORIZATION, format!("Bearer {}", server.token)))
}

/// A photo from the server, in this size.
pub(crate) async fn fetch_photo(
    client: &Client,
    hash: BlobHash,
    size: PhotoSize,
) -> Result<Vec<u8>, ClientError> {
    let asked = match size {
        PhotoSize::Whole => "",
        PhotoSize::Screen => "?size=preview",
        PhotoSize::Small => "?size=thumb",
    };
    let _turn = client.fetching.acquire().await;
    let request = ask(client, &format!("photos/{hash}{asked}"))?;
    let response = request.send().await.map_err(unreachable)?;
    if !response.status().is_success() {
        let (status, code, error) = problem(response).await;
        return Err(match (status, error) {
            (StatusCode::NOT_FOUND, _) => ClientError::NotHere { what: "photo".into() },
            (StatusCode::GONE, ClientError::BadAnswer { detail }) => {
                ClientError::Refused { code, detail }
            }
            (_, error) => error,
        });
    }
    let bytes = limited(response, BYTES_MAX).await?;
    if size == PhotoSize::Whole && BlobHash::of(&bytes) != hash {
        return Err(ClientError::BadAnswer { detail: "it sent another file".into() });
    }
    Ok(bytes)
}

pub(crate) async fn wait_for_news(client: &Client) -> Result<(), ClientError> {
    let mut response = ask(client, "poke")?.send().await.map_err(unreachable)?;
    if !response.status().is_success() {
        return Err(problem(response).await.2);
    }
    // Lines that begin with a colon only keep the connection alive; `event:` is the news.
    let mut tail = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        tail.extend_from_slice(&chunk);
        if tail.windows(6).any(|w| w == b"event:") {
            return Ok(());
        }
        tail.drain(..tail.len().saturating_sub(5));
    }
    Err(ClientError::Unreachable { detail: "the server ended the connection".into() })
}

pub(crate) async fn sync(
    client: Arc<Client>,
    progress: Option<Arc<dyn Progress>>,
    cancel: Option<Arc<Cancel>>,
) -> Result<SyncReport, ClientError> {
    let held = Arc::clone(&client);
    let _running = held.syncing.begin()?;
    exchange(client, progress, cancel).await
}

/// A sync of whoever holds the right to.
pub(crate) async fn exchange(
    client: Arc<Client>,
    progress: Option<Arc<dyn Progress>>,
    cancel: Option<Arc<Cancel>>,
) -> Result<SyncReport, ClientError> {
    let done = attempt(Arc::clone(&client), progress, cancel).await;
    if let Err(ClientError::Revoked | ClientError::Inactive) = done {
        blocking(client, |client| client.drop_by(|view| Ok((withdraw(view)?, ())))).await?;
    }
    done
}

async fn attempt(
    client: Arc<Client>,
    progress: Option<Arc<dyn Progress>>,
    cancel: Option<Arc<Cancel>>,
) -> Result<SyncReport, ClientError> {
    hand_over(&client).await?;
    let (server, org) = client.store.read(|reader| -> Result<_, ClientError> {
        let view = View::open(reader, &client.vault)?.ok_or(ClientError::NotEnrolled)?;
        let server = reader.get(OWN, own::SERVER)?.ok_or(ClientError::NotEnrolled)?;
        Ok((read_cbor::<Server>(&server)?, view.profile.org))
    })?;
    let mut run = Run {
        client,
        server,
        org,
        progress,
        cancel,
        report: SyncReport::default(),
        said: None,
        repair: None,
        repaired: false,
        unrepaired: None,
        batch: Batch::default(),
        unpushed: None,
        brought: BTreeSet::new(),
        alone: false,
        undelivered: 0,
    };
    run.documents().await?;
    if !run.cancelled() {
        run.photos().await?;
    }
    run.report.log_alarm = run.client.log_status()?.alarm.is_some();
    if let Some(error) = run.unpushed.take().or(run.unrepaired.take()) {
        return Err(error);
    }
    let unreadable = run.blocking(|client| client.view(|view| Ok(unreadable(view)?.len())));
    run.report.unreadable = u32::try_from(unreadable.await?).unwrap_or(u32::MAX);
    run.tell(Phase::Done, 0);
    Ok(run.report)
}

/// Runs on a thread that may block: a store waits for the disk.
async fn blocking<T: Send + 'static>(
    client: Arc<Client>,
    work: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    let run = tokio::task::spawn_blocking(move || work(&client));
    run.await.unwrap_or_else(|error| {
        Err(ClientError::Unusable { detail: format!("the library failed: {error}") })
    })
}

impl Client {
    /// Drops documents, and then the photos that nothing else names.
    fn drop_by<T>(
        &self,
        writes: impl Fn(&View<'_>) -> Result<(Vec<Write>, T), StoreError>,
    ) -> Result<T, ClientError> {
        let told = self.change(|view, writer| {
            let (writes, told) = writes(view)?;
            apply(writer, writes)?;
            Ok(told)
        })?;
        self.forget_unnamed()?;
        Ok(told)
    }
}

impl Run {
    fn tell(&self, phase: Phase, left: u32) {
        if let Some(progress) = &self.progress {
            progress.at(phase, left);
        }
    }

    fn cancelled(&mut self) -> bool {
        self.report.cancelled |= self.cancel.as_ref().is_some_and(|c| c.0.load(Ordering::Relaxed));
        self.report.cancelled
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        blocking(Arc::clone(&self.client), work).await
    }

    async fn documents(&mut self) -> Result<(), ClientError> {
        let mut session = Session::default();
        while !self.cancelled() {
            let heard = match session.step() {
                Step::Push => self.push().await,
                Step::Cargo => self.cargo().await,
                Step::Pull => self.pull().await,
                Step::Rewind => self.rewind().await,
                Step::Sweep => self.sweep().await,
                Step::Compare => self.compare().await,
                Step::Repair => self.repair().await,
                Step::Done => return Ok(()),
                Step::Stop(Stop::Revoked) => return Err(ClientError::Revoked),
                Step::Stop(_) => {
                    let detail = "the server keeps forgetting where this device stands".into();
                    return Err(ClientError::BadAnswer { detail });
                }
            };
            session.handle(heard?);
        }
        Ok(())
    }

    async fn push(&mut self) -> Result<Heard, ClientError> {
        let (push, left, bytes) = loop {
            let batch = self.batch.clone();
            let next = self.blocking(move |client| {
                let clocks = client.clock.read();
                client.view(|view| {
                    let left = view.outbox()?.len();
                    let push = next_push(view, &keypair(view.reader)?, &clocks, &batch)?;
                    Ok(push.map(|push| (push, left)))
                })
            });
            let Some((push, left)) = next.await? else { return Ok(Heard::Empty) };
            self.tell(Phase::Push, u32::try_from(left).unwrap_or(u32::MAX));
            match self.post("push", to_wire(self.org, &push)).await {
                Ok(bytes) => break (push, left, bytes),
                Err(ClientError::BadAnswer { detail }) if detail == TOO_LARGE => {
                    self.batch.failed(&push);
                    if !self.batch.without.is_empty() {
                        let detail = "the server takes no message as long as one visit's work";
                        self.unpushed = Some(ClientError::BadAnswer { detail: detail.into() });
                    }
                }
                // It cannot read what one document needs: the others go without that.
                Err(error @ ClientError::Busy { .. })
                    if is(&error, INTERNAL) && self.batch.without.len() < FAILED_MAX =>
                {
                    self.batch.failed(&push);
                    if push.documents().count() == 1 {
                        self.batch.bytes_aim = Batch::default().bytes_aim;
                        self.unpushed = Some(error);
                    }
                }
                // It is kept here; what others have written is fetched all the same.
                Err(error)
                    if matches!(error, ClientError::BadAnswer { .. }) || takes_none(&error) =>
                {
                    self.unpushed = Some(error);
                    return Ok(Heard::Empty);
                }
                Err(error) => return Err(error),
            }
        };
        let more = left > push.documents().count();
        let reply: PushReply = from_wire(self.org, &bytes).map_err(bad_answer)?;
        self.report.copied |= reply.copied == Some(true);
        for (group, outcome) in push.groups.iter().zip(&reply.outcomes) {
            let entries = u32::try_from(group.changes.len()).unwrap_or(u32::MAX);
            match outcome {
                Outcome::Accepted {} | Outcome::LetGo {} => self.report.pushed += entries,
                Outcome::Quarantined { .. } => self.report.refused += entries,
            }
        }
        let applied = self.blocking(move |client| {
            let clocks = client.clock.read();
            client.change(|view, writer| {
                let writes = apply_push(view, &push, &reply, &clocks).map_err(fault)?;
                Ok(apply(writer, writes)?)
            })
        });
        applied.await.map(|()| Heard::Pushed(more))
    }

    /// Hands over what is carried for others.
    async fn cargo(&mut self) -> Result<Heard, ClientError> {
        let (brought, alone) = (self.brought.clone(), self.alone);
        let next =
            self.blocking(move |client| client.view(|view| Ok(next_cargo(view, &brought, alone)?)));
        let Some(request) = next.await? else { return Ok(Heard::Empty) };
        self.tell(Phase::Cargo, u32::try_from(request.parcels.len()).unwrap_or(u32::MAX));
        let names = request.parcels.iter().map(|parcel| ParcelHash::of(&parcel.0));
        let names: Vec<ParcelHash> = names.collect();
        let bytes = match self.post("cargo", to_wire(self.org, &request)).await {
            // At one of them it fails, or together they are too long: each by itself, and what fails so comes last.
            Err(error) if is_of_one(&error) && self.undelivered < FAILED_MAX => {
                self.alone = names.len() > 1;
                if let [name] = names[..] {
                    self.undelivered += 1;
                    self.unpushed.get_or_insert(error);
                    self.brought.insert(name);
                    let applied = self.blocking(move |client| {
                        client.change(|_, writer| {
                            let put_off = Write::PutOff { name, unnamed: false };
                            Ok(apply(writer, vec![put_off])?)
                        })
                    });
                    applied.await?;
                }
                return Ok(Heard::Delivered);
            }
            // It is kept here; what others have written is fetched all the same.
            Err(error) if matches!(error, ClientError::BadAnswer { .. }) || takes_none(&error) => {
                self.unpushed.get_or_insert(error);
                return Ok(Heard::Empty);
            }
            answer => answer?,
        };
        self.brought.extend(names);
        let reply: CargoReply = from_wire(self.org, &bytes).map_err(bad_answer)?;
        let taken = reply.outcomes.iter().filter(|outcome| **outcome == Delivery::Taken {}).count();
        let applied = self.blocking(move |client| {
            client.change(|view, writer| {
                let writes = apply_cargo(view, &request, &reply).map_err(fault)?;
                let gone = writes.iter().filter(|w| matches!(w, Write::Unload(_))).count();
                apply(writer, writes)?;
                Ok(gone)
            })
        });
        // What is refused may stay, for it may be taken yet.
        let refused = applied.await?.saturating_sub(taken);
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        self.report.delivered += count(taken);
        self.report.undeliverable += count(refused);
        Ok(Heard::Delivered)
    }

    async fn pull(&mut self) -> Result<Heard, ClientError> {
        self.tell(Phase::Pull, 0);
        let org = self.org;
        let next =
            self.blocking(move |client| client.view(|view| Ok(to_wire(org, &next_pull(view)?))));
        let bytes = match self.post("pull", next.await?).await {
            Err(ClientError::BadAnswer { detail }) if detail == CURSOR_UNKNOWN => {
                return Ok(Heard::CursorUnknown);
            }
            answer => answer?,
        };
        let reply: PullReply = from_wire(org, &bytes).map_err(bad_answer)?;
        let (more, said) = (reply.more, reply.print);
        let entries = reply.groups.iter().map(|g| g.changes.len()).sum::<usize>();
        self.report.pulled += u32::try_from(entries + reply.records.len()).unwrap_or(u32::MAX);
        let repaired = self.repaired;
        let applied = self.blocking(move |client| {
            let clocks = client.clock.read();
            client.change(|view, writer| match apply_pull(view, &reply, &clocks) {
                Ok(writes) => {
                    let left = out_of_sight(view, &writes, WhyLeft::Moved)?;
                    let restored = writes.iter().any(|write| matches!(write, Write::ResendPhotos));
                    // Before it is written that they are gone: a crash between leaves no file that nobody names.
                    for write in &writes {
                        if let Write::Erase(digest) = write {
                            client.vault.remove(&digest.0)?;
                        }
                    }
                    Ok(apply(writer, writes).map(|()| (None, left, restored))?)
                }
                Err(Fault::Answer(BadAnswer::Unfit(_) | BadAnswer::Forged(_))) if !repaired => {
                    let (repair, writes) = begin(view, &clocks)?;
                    apply(writer, writes)?;
                    Ok((Some(repair), Vec::new(), false))
                }
                Err(error) => Err(fault(error)),
            })
        });
        let (repair, left, restored) = applied.await?;
        self.report.left.extend(left);
        if let Some(repair) = repair {
            (self.repair, self.repaired) = (Some(repair), true);
            return Ok(Heard::Misfit);
        }
        self.said = said;
        Ok(if restored { Heard::Restored(more) } else { Heard::Pulled(more) })
    }

    async fn rewind(&mut self) -> Result<Heard, ClientError> {
        let done = self.blocking(|client| {
            client.change(|view, writer| {
                apply(writer, rewind(view)?)?;
                Ok(())
            })
        });
        done.await.map(|()| Heard::Rewound)
    }

    async fn sweep(&mut self) -> Result<Heard, ClientError> {
        let done = self.blocking(|client| {
            let instance = random()?;
            client.drop_by(|view| {
                let writes = sweep(view, instance)?;
                let left = out_of_sight(view, &writes, WhyLeft::Scope)?;
                Ok((writes, left))
            })
        });
        self.report.left.extend(done.await?);
        Ok(Heard::Swept)
    }

    async fn compare(&mut self) -> Result<Heard, ClientError> {
        let Some(said) = self.said else { return Ok(Heard::Compared(true)) };
        let compared = self.blocking(move |client| {
            let clocks = client.clock.read();
            client.change(|view, writer| {
                let (repair, writes) = compare(view, said, &clocks)?;
                apply(writer, writes)?;
                Ok(repair)
            })
        });
        match compared.await {
            Ok(repair) => {
                (self.repaired, self.repair) = (repair.is_some() || self.repaired, repair)
            }
            // What cannot be read is said at the end.
            Err(error) => self.unrepaired = Some(error),
        }
        Ok(Heard::Compared(self.repair.is_none()))
    }

    /// One question of a repair. One that fails is left to the next sync.
    async fn repair(&mut self) -> Result<Heard, ClientError> {
        self.tell(Phase::Pull, 0);
        match self.ask_to_repair().await {
            Ok(more) => Ok(Heard::Repaired(more)),
            Err(
                error @ (ClientError::Revoked | ClientError::Inactive | ClientError::Forgotten),
            ) => Err(error),
            Err(ClientError::Unreachable { .. } | ClientError::Busy { .. }) => {
                self.report.incomplete = true;
                Ok(Heard::Repaired(false))
            }
            Err(error) => {
                self.unrepaired = Some(error);
                Ok(Heard::Repaired(false))
            }
        }
    }

    async fn ask_to_repair(&mut self) -> Result<bool, ClientError> {
        let Some(repair) = self.repair.take() else { return Ok(false) };
        let Some(asked) = repair.ask() else { return Ok(false) };
        let bytes = self.post("repair", to_wire(self.org, &asked)).await?;
        let reply: RepairReply = from_wire(self.org, &bytes).map_err(bad_answer)?;
        let applied = self.blocking(move |client| {
            client.change(|view, writer| {
                let mut repair = repair.clone();
                let (writes, mended) = repair.apply(view, &reply).map_err(fault)?;
                for write in &writes {
                    if let Write::Erase(digest) = write {
                        client.vault.remove(&digest.0)?;
                    }
                }
                apply(writer, writes)?;
                Ok((repair, mended))
            })
        });
        let (repair, mended) = applied.await?;
        self.report.mended += u32::try_from(mended).unwrap_or(u32::MAX);
        let more = repair.ask().is_some();
        self.repair = Some(repair);
        Ok(more)
    }

    async fn post(&self, what: &str, body: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let mut request = http()?
            .post(format!("{}/api/v1/{what}", self.server.url))
            .header(AUTHORIZATION, format!("Bearer {}", self.server.token))
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(ACCEPT_ENCODING, "zstd");
        let packed = zstd::bulk::compress(&body, COMPRESS_LEVEL).ok();
        let body = match packed.filter(|packed| packed.len() < body.len()) {
            Some(packed) => {
                request = request.header(CONTENT_ENCODING, "zstd");
                packed
            }
            None => body,
        };
        let response = request.body(body).send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(match problem(response).await {
                (_, code, _) if code == CURSOR_UNKNOWN => ClientError::BadAnswer { detail: code },
                // A proxy before the server may say so too, in its own words.
                (StatusCode::PAYLOAD_TOO_LARGE, ..) => {
                    ClientError::BadAnswer { detail: TOO_LARGE.into() }
                }
                (_, _, error) => error,
            });
        }
        let packed = response.headers().get(CONTENT_ENCODING).is_some_and(|e| e == "zstd");
        let bytes = limited(response, REPLY_BYTES_MAX).await?;
        if !packed {
            return Ok(bytes);
        }
        zstd::bulk::decompress(&bytes, REPLY_BYTES_MAX)
            .map_err(|error| ClientError::BadAnswer { detail: format!("zstd: {error}") })
    }

    async fn photos(&mut self) -> Result<(), ClientError> {
        self.blocking(|client| client.forget_unnamed()).await?;
        self.without_files().await?;
        let (mut waiting, mut known) = self.waiting().await?;
        let (mut tried, mut refused) = (BTreeSet::new(), Ok(()));
        // The smallest that found no room: a smaller one may.
        let mut too_large_bytes = u32::MAX;
        while let Some((hash, state, named)) = waiting.pop_front() {
            if !tried.insert(hash) {
                continue;
            }
            if self.cancelled() {
                return Ok(());
            }
            let bytes = state.bytes;
            if state.upload.is_none() && bytes >= too_large_bytes {
                self.report.photos_without_room += 1;
                continue;
            }
            self.tell(Phase::Photos, u32::try_from(waiting.len() + 1).unwrap_or(u32::MAX));
            match self.photo(hash, state, named).await {
                Ok(true) => self.report.photos += 1,
                Ok(false) => {}
                Err(ClientError::Busy { code, .. }) if code == QUOTA_FULL => {
                    self.report.photos_without_room += 1;
                    too_large_bytes = too_large_bytes.min(bytes);
                }
                // One that is not taken must not stand in the way of the others, of which some may have begun.
                Err(error)
                    if matches!(error, ClientError::BadAnswer { .. })
                        || [INTERNAL, UPLOADS_OPEN].into_iter().any(|code| is(&error, code)) =>
                {
                    refused = Err(error);
                }
                Err(error) => return Err(error),
            }
            // What was captured meanwhile does not wait for the other photos.
            let now = self.blocking(|client| client.view(unsent)).await?;
            if !now.is_empty() && now != known {
                self.documents().await?;
                (waiting, known) = self.waiting().await?;
            }
        }
        refused
    }

    /// The photos that wait, whether something here names each, and the work that waits.
    async fn waiting(&self) -> Result<(VecDeque<Waiting>, Vec<Unsent>), ClientError> {
        let read = |view: &View<'_>| Ok((view.waiting_photos()?.into(), unsent(view)?));
        self.blocking(move |client| client.view(read)).await
    }

    /// What a photo that is not taken means to this phone: whether it is an error.
    async fn not_taken(
        &mut self,
        (hash, state, named): Waiting,
        now_ms: i64,
        response: Response,
    ) -> Result<bool, ClientError> {
        let (_, code, error) = problem(response).await;
        match code.as_str() {
            ERASED => self.blocking(move |client| client.erase_photo(hash)).await?,
            // The entry that names it waits for a decision elsewhere, or here.
            NOT_REFERENCED if named => {}
            NOT_REFERENCED => {
                self.blocking(move |client| client.is_not_wanted(hash, now_ms)).await?;
            }
            NOT_AN_IMAGE | TOO_LARGE => {
                let why = error.to_string();
                let refused = RefusedPhoto { hash: hash.to_string(), why: why.clone() };
                self.report.refused_photos.push(refused);
                let state = if named { state } else { state.unwanted(now_ms) };
                let refused = Some((now_ms, why));
                self.remember(hash, PhotoState { refused, ..state }).await?;
            }
            _ => return Err(error),
        }
        Ok(false)
    }

    /// Sends a photo from where the server has it (tus 1.0); whether all of it is there now.
    async fn photo(
        &mut self,
        hash: BlobHash,
        mut state: PhotoState,
        named: bool,
    ) -> Result<bool, ClientError> {
        let now = self.blocking(|client| {
            let clocks = client.clock.read();
            client.view(|view| Ok(view.profile.server_ms(&clocks)))
        });
        let now_ms = now.await?;
        if let Some((at_ms, why)) = state.refused.take()
            && lately(at_ms, now_ms, REFUSED_MS)
        {
            self.report.refused_photos.push(RefusedPhoto { hash: hash.to_string(), why });
            return Ok(false);
        }
        if state.unwanted.is_some_and(|(_, said_ms)| lately(said_ms, now_ms, UNWANTED_MS)) {
            return Ok(false);
        }
        let file = self.blocking(move |client| client.photo_to_send(hash)).await?;
        // It does not read, and was set aside; or its file went just now.
        let Some(file) = file else { return Ok(false) };
        let mut offset = match &state.upload {
            Some(upload) => self.offset(&self.resolve(upload)?).await?,
            None => None,
        };
        if offset.is_none() {
            let digest = STANDARD.encode(hash.to_string());
            let request = self
                .tus(Method::POST, format!("{}/api/v1/uploads", self.server.url))?
                .header("Upload-Length", file.len())
                .header("Upload-Metadata", format!("sha256 {digest}"));
            let response = request.send().await.map_err(unreachable)?;
            if !response.status().is_success() {
                return self.not_taken((hash, state, named), now_ms, response).await;
            }
            let header = |name: &str| {
                let value = response.headers().get(name)?.to_str().ok()?;
                Some(value.to_owned())
            };
            offset = Some(header("Upload-Offset").and_then(|o| o.parse().ok()).unwrap_or(0));
            let location = header("Location").ok_or_else(|| ClientError::BadAnswer {
                detail: "an upload was made without a location".into(),
            })?;
            // Without the server's address, which may be another one when the rest is sent.
            state.upload = Some(self.resolve(&location)?.path().to_owned());
            state.unwanted = None;
            self.remember(hash, state.clone()).await?;
        }
        let mut offset = offset.unwrap_or(0);
        let upload = self.resolve(state.upload.as_deref().unwrap_or_default())?;
        while offset < file.len() {
            if self.cancelled() {
                return Ok(false);
            }
            let piece = file[offset..file.len().min(offset + CHUNK_BYTES)].to_vec();
            let sum = STANDARD.encode(BlobHash::of(&piece).0);
            let length = piece.len();
            let request = self
                .tus(Method::PATCH, upload.clone())?
                .header(CONTENT_TYPE, "application/offset+octet-stream")
                .header("Upload-Offset", offset)
                .header("Upload-Checksum", format!("sha256 {sum}"))
                .body(piece);
            let response = request.send().await.map_err(unreachable)?;
            if response.status() == StatusCode::CONFLICT {
                // It has more than this phone knew of: another one sent the same picture, or an answer was
                // lost on its way.
                if let Some(further) = self.offset(&upload).await?.filter(|o| *o > offset) {
                    offset = further;
                    continue;
                }
            }
            if !response.status().is_success() {
                // What the server fails at is begun there, and counts among what is.
                if response.status() != StatusCode::INTERNAL_SERVER_ERROR {
                    state.upload = None;
                    self.remember(hash, state.clone()).await?;
                }
                return self.not_taken((hash, state, named), now_ms, response).await;
            }
            offset += length;
        }
        (state.sent, state.upload) = (true, None);
        self.remember(hash, state).await?;
        Ok(true)
    }

    /// What becomes of photos that are to be sent and have no file here: space was freed before the server was restored, or
    /// the folder lost them. Does the server have one, that is well; if not, it counts among what does not read.
    async fn without_files(&mut self) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Reply {
            missing: Vec<String>,
        }
        let gone = self.blocking(|client| {
            client.view(|view| {
                let mut gone = Vec::new();
                view.reader.scan(PHOTOS, |name, bytes| {
                    let state: PhotoState = read_cbor(bytes)?;
                    if let (true, Ok(hash)) = (state.attached && !state.sent, name.try_into())
                        && !client.vault.holds(&hash)?
                    {
                        gone.push(BlobHash(hash));
                    }
                    Ok(())
                })?;
                Ok(gone)
            })
        });
        for asked in gone.await?.chunks(MISSING_ASKED_MAX) {
            let hashes: Vec<String> = asked.iter().map(BlobHash::to_string).collect();
            let response = http()?
                .post(format!("{}/api/v1/photos/missing", self.server.url))
                .header(AUTHORIZATION, format!("Bearer {}", self.server.token))
                .header(CONTENT_TYPE, "application/json")
                .body(serde_json::json!({ "hashes": hashes }).to_string());
            let response = response.send().await.map_err(unreachable)?;
            if !response.status().is_success() {
                return Err(problem(response).await.2);
            }
            let body = limited(response, MISSING_BYTES_MAX).await?;
            let Reply { missing } = serde_json::from_slice(&body)
                .map_err(|error| ClientError::BadAnswer { detail: error.to_string() })?;
            let (missing, here): (Vec<BlobHash>, Vec<BlobHash>) =
                asked.iter().partition(|hash| missing.contains(&hash.to_string()));
            self.report.photos += u32::try_from(here.len()).unwrap_or(u32::MAX);
            let settled = self.blocking(move |client| {
                client.store.write(|writer| -> Result<(), ClientError> {
                    for hash in &here {
                        let Some(bytes) = writer.get(PHOTOS, &hash.0)? else { continue };
                        let state: PhotoState = read_cbor(&bytes)?;
                        let state = PhotoState { sent: true, upload: None, ..state };
                        writer.put(PHOTOS, &hash.0, &to_cbor(&state))?;
                    }
                    for hash in &missing {
                        set_photo_aside(writer, *hash, Vec::new())?;
                    }
                    Ok(())
                })
            });
            settled.await?;
        }
        Ok(())
    }

    /// How much of an upload the server has; `None` if it knows it no longer.
    async fn offset(&self, upload: &Url) -> Result<Option<usize>, ClientError> {
        let response = self.tus(Method::HEAD, upload.clone())?.send().await.map_err(unreachable)?;
        let offset = response.headers().get("Upload-Offset");
        let offset = offset.and_then(|o| o.to_str().ok()?.parse().ok());
        match response.status() {
            status if status.is_success() => Ok(offset),
            // An answer to HEAD has no words: why it is refused, or that the server fails at it, is told when it is begun anew.
            StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::INTERNAL_SERVER_ERROR => Ok(None),
            _ => Err(problem(response).await.2),
        }
    }

    /// Keeps how far a photo has got. What else its row says may have changed meanwhile.
    async fn remember(&self, hash: BlobHash, state: PhotoState) -> Result<(), ClientError> {
        let PhotoState { upload, sent, refused, unwanted, .. } = state;
        self.blocking(move |client| {
            client.store.write(|writer| {
                let Some(bytes) = writer.get(PHOTOS, &hash.0)? else { return Ok(()) };
                let (upload, refused) = (upload.clone(), refused.clone());
                let state = PhotoState { upload, sent, refused, unwanted, ..read_cbor(&bytes)? };
                Ok(writer.put(PHOTOS, &hash.0, &to_cbor(&state))?)
            })
        })
        .await
    }

    fn tus(
        &self,
        method: Method,
        url: impl IntoUrl,
    ) -> Result<reqwest::RequestBuilder, ClientError> {
        Ok(http()?
            .request(method, url)
            .header(AUTHORIZATION, format!("Bearer {}", self.server.token))
            .header("Tus-Resumable", "1.0.0"))
    }

    /// A location of this server; one that leads elsewhere would hand the token to a stranger.
    fn resolve(&self, location: &str) -> Result<Url, ClientError> {
        let strange = || ClientError::BadAnswer { detail: "an upload is at another server".into() };
        let base = Url::parse(&self.server.url).map_err(|_| strange())?;
        let url = base.join(location).map_err(|_| strange())?;
        if url.origin() != base.origin() {
            return Err(strange());
        }
        Ok(url)
    }
}

/// The outlets that are about to be forgotten.
fn out_of_sight(
    view: &View<'_>,
    writes: &[Write],
    why: WhyLeft,
) -> Result<Vec<LeftOutlet>, StoreError> {
    let mut left = Vec::new();
    for write in writes {
        if let Write::Forget(key) = write
            && let Some(Record::Outlet(outlet)) = view.record(*key)?
        {
            left.push(LeftOutlet { id: outlet.id.to_string(), name: outlet.name, why });
        }
    }
    Ok(left)
}

/// A photo that is to be sent, and whether something here names it.
type Waiting = (BlobHash, PhotoState, bool);

/// The work of a document that the server has not confirmed.
type Unsent = (DocId, Vec<ChangeHash>);

fn unsent(view: &View<'_>) -> Result<Vec<Unsent>, ClientError> {
    let mut all = Vec::new();
    for id in view.outbox()? {
        // What cannot be read is told elsewhere.
        if let Ok(Some(kept)) = view.document(id) {
            all.push((id, kept.pending));
        }
    }
    Ok(all)
}

const ERASED: &str = "erased";
const NOT_AN_IMAGE: &str = "not_an_image";
const QUOTA_FULL: &str = "quota_full";
const UPLOADS_OPEN: &str = "uploads_open";
const DISK_FULL: &str = "disk_full";
const BUSY: &str = "busy";
const RATE_LIMITED: &str = "rate_limited";
const INTERNAL: &str = "internal";
const CURSOR_UNKNOWN: &str = "cursor_unknown";
const TOO_LARGE: &str = "too_large";

fn bad_answer(error: minicbor::decode::Error) -> ClientError {
    ClientError::BadAnswer { detail: error.to_string() }
}

fn fault(fault: Fault<StoreError>) -> ClientError {
    match fault {
        Fault::Store(error) => error.into(),
        Fault::Answer(BadAnswer::Protocol(version)) => {
            ClientError::Incompatible { detail: format!("the server speaks protocol {version}") }
        }
        Fault::Answer(error) => ClientError::BadAnswer { detail: error.to_string() },
    }
}
