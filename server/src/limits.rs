//! How often, how many at once, how long and how much.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use sync_core::id::{DeviceId, UserId};
use tokio::sync::Semaphore;

use crate::error::Problem;
use crate::store::accounts::SecretHash;
use crate::store::log::Org;

/// Longest JSON body.
pub const JSON_BYTES_MAX: usize = 64 * 1024;
/// Longest form.
pub const FORM_BYTES_MAX: usize = 64 * 1024;
/// Files that come with one form of the console, and their bytes together.
pub const FORM_FILES_MAX: usize = 8;
/// See [`FORM_FILES_MAX`].
pub const FORM_FILES_BYTES_MAX: usize = 32 << 20;
/// Forms with files that are taken in at the same time: they are in memory; one more waits.
pub const FORMS_WITH_FILES_MAX: usize = 4;
/// Those of one organisation.
pub const FORMS_WITH_FILES_OF_ONE_MAX: usize = FORMS_WITH_FILES_MAX / 2;
/// Millions of pixels that are decoded at the same time: memory, because a progressive JPEG takes 9 bytes for each, and one
/// of four colours counts for more.
pub const DECODING_MEGAPIXELS_MAX: u32 = 64;
/// What a small picture takes of [`DECODING_MEGAPIXELS_MAX`]: time, because two busy cores are enough.
pub const DECODING_MEGAPIXELS_MIN: u32 = DECODING_MEGAPIXELS_MAX / 2;
/// Pictures of one organisation that are decoded, or are the next to be: those of the others come between.
pub const DECODING_OF_ONE_MAX: usize = 2;
/// Proof bundles that are made at the same time: they are in memory, with their photos twice; one more waits.
pub const PROOFS_MAX: usize = 2;
/// Those of one organisation.
pub const PROOFS_OF_ONE_MAX: usize = PROOFS_MAX / 2;
/// Bytes of the photos in a proof bundle that the server makes; `endcap prove` makes larger ones.
pub const PROOF_PHOTO_BYTES_MAX: u64 = 128 << 20;
/// Proof bundles that are on their way to one person: all but their photos is in memory until it is taken.
pub const PROOFS_OF_PERSON_MAX: usize = 2;
/// Requests that are worked on at the same time; one more is told to come back.
pub const REQUESTS_MAX: usize = 1_024;
/// Those of one organisation's phones and pages among them.
pub const REQUESTS_OF_ONE_MAX: usize = REQUESTS_MAX / 2;
/// Those of one person's pages: over HTTP/2 a browser asks for the hundred pictures of a page at once.
pub const REQUESTS_OF_PERSON_MAX: usize = REQUESTS_OF_ONE_MAX / 4;
/// Those of one phone: an honest one has one, and some whose line has broken and of which the server has not heard yet.
pub const REQUESTS_OF_DEVICE_MAX: usize = 8;
/// Reads of one organisation's pages at the same time, of the store's four: they wait for each other, and not for its
/// phones, of which a morning brings hundreds.
pub const PAGES_OF_ONE_MAX: usize = 2;
/// Requests of people and phones that are not known yet, such as sign-ins, from one address: each holds a place among
/// [`REQUESTS_MAX`] while its body comes.
pub const STRANGERS_OF_ADDRESS_MAX: usize = 32;
/// Uploads that are taken in at the same time. They may be slow for an hour, so syncs have room of their own.
pub const UPLOADS_MAX: usize = 512;
/// Those of one organisation.
pub const UPLOADS_OF_ONE_MAX: usize = UPLOADS_MAX / 2;
/// Those of one phone, which sends one after the other; another client may send all that it may have open at once.
pub const UPLOADS_OF_DEVICE_MAX: usize = UPLOADS_OF_ONE_MAX / 4;
/// Open connections, idle ones and live pokes among them; one more waits.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Live lines of phones and pages among them: the other half is for requests.
pub const LINES_MAX: usize = CONNECTIONS_MAX / 2;
/// Those of one organisation. Whoever has none syncs without.
pub const LINES_OF_ONE_MAX: usize = LINES_MAX / 2;
/// Those of one phone; one more ends the oldest.
pub const LINES_OF_DEVICE_MAX: usize = 2;
/// Those of one session's pages; the same. A browser opens six connections to one host over HTTP/1.1: some are left for
/// requests.
pub const LINES_OF_SESSION_MAX: usize = 4;
/// Passwords that are hashed at the same time: each takes 19 MiB and a core.
pub const HASHING_MAX: usize = 2;
/// Repairs that are worked on at the same time: each may read all that a person sees.
pub const REPAIRS_MAX: usize = 2;
/// Those of one organisation: the other place is for its neighbours.
pub const REPAIRS_OF_ONE_MAX: usize = 1;
/// A connection that shows no complete request header for this long is closed. Longer than the 60 s for
/// which common proxies keep an idle connection, so that they are not cut off in the middle of reusing it.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// A request body of which nothing arrives for this long is given up.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an upload's body is waited for until it is looked at how much of it came.
pub const UPLOAD_WAIT: Duration = Duration::from_secs(60);
/// The body of an upload of which less came in [`UPLOAD_WAIT`] is given up. A village's line of 64 kbit/s brings ten
/// times as much.
pub const UPLOAD_WAIT_BYTES_MIN: u64 = 48 << 10;
/// A download of which no piece of 64 KiB is taken for this long is given up.
pub const DOWNLOAD_WAIT: Duration = Duration::from_secs(60);
/// A request that takes longer is given up. Streams are answered once they begin.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// What shutting down leaves to requests that are being worked on.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Every limit that counts.
pub struct Limits {
    /// Sign-ins by address.
    pub sign_in_ip: Rate<IpAddr>,
    /// Sign-ins by SHA-256 of the account's address, whether it exists or not.
    pub sign_in_account: Rate<SecretHash>,
    /// Enrolments by address.
    pub enrol: Rate<IpAddr>,
    /// Changes of a phone's key by person: everybody's phones hear of each.
    pub keys: Rate<UserId>,
    /// Pushes, pulls, repairs and pokes by device.
    pub sync: Rate<DeviceId>,
    /// What devices push or hand over as cargo, by device, in KiB once inflated.
    pub work: Rate<DeviceId>,
    /// Upload requests by device.
    pub upload: Rate<DeviceId>,
    /// Questions of repairs by device: each may read all that its person sees.
    pub repaired: Rate<DeviceId>,
    /// Forms of the console by person: what they write stays in the log.
    pub forms: Rate<UserId>,
    /// Photos that come with them, by person.
    pub shown: Rate<UserId>,
    /// Reads of the log by address.
    pub log: Rate<IpAddr>,
    /// Room for requests other than uploads.
    pub requests: Arc<Semaphore>,
    /// Room for uploads.
    pub uploads: Arc<Semaphore>,
    /// Room for hashing passwords.
    pub hashing: Arc<Semaphore>,
    /// Room for repairs.
    pub repairs: Arc<Semaphore>,
    /// Room for forms with files.
    pub forms_with_files: Arc<Semaphore>,
    /// Room for decoding pictures, in millions of pixels.
    pub decoding: Arc<Semaphore>,
    /// Room for making proof bundles.
    pub proofs: Arc<Semaphore>,
    /// Proof bundles that are on their way to a person.
    pub downloads: AtOnce<UserId>,
    /// What a phone asks that is neither an upload nor a live line.
    pub asked: AtOnce<(Org, DeviceId)>,
    /// Uploads that come from a phone.
    pub sending: AtOnce<(Org, DeviceId)>,
    /// What is asked from an address by nobody who is known yet.
    pub strangers: AtOnce<IpAddr>,
    /// What a person's pages ask that is no live line.
    pub pages: AtOnce<(Org, UserId)>,
}

/// How many of something each has open at once.
pub struct AtOnce<K: Copy + Eq + Hash> {
    most: usize,
    open: Arc<Mutex<HashMap<K, usize>>>,
}

/// One of them. Dropped, it is not open any more.
pub struct Open<K: Copy + Eq + Hash>(Arc<Mutex<HashMap<K, usize>>>, K);

impl<K: Copy + Eq + Hash> AtOnce<K> {
    fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// One more of theirs; `None` when they have the most already.
    pub fn begin(&self, who: K) -> Option<Open<K>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(who).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Open(Arc::clone(&self.open), who))
    }
}

impl<K: Copy + Eq + Hash> Drop for Open<K> {
    fn drop(&mut self) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.1);
            }
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sign_in_ip: Rate::new(6_000_000, 10),
            sign_in_account: Rate::new(6_000_000, 10),
            enrol: Rate::new(6_000_000, 10),
            keys: Rate::new(3_600_000_000, 10),
            sync: Rate::new(50_000, 60),
            // 128 MiB at once, a year of audits, and 4 KiB a second: a third of a gigabyte a day.
            work: Rate::new(250_000, 128 << 10),
            upload: Rate::new(20_000, 200),
            repaired: Rate::new(2_000_000, 120),
            // A supervisor's quickest hour, and then one every two seconds.
            forms: Rate::new(2_000_000, 600),
            // What a long day of objections takes, and then one every ten seconds.
            shown: Rate::new(10_000_000, 128),
            log: Rate::new(5_000, 2_000),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            hashing: Arc::new(Semaphore::new(HASHING_MAX)),
            repairs: Arc::new(Semaphore::new(REPAIRS_MAX)),
            forms_with_files: Arc::new(Semaphore::new(FORMS_WITH_FILES_MAX)),
            decoding: Arc::new(Semaphore::new(DECODING_MEGAPIXELS_MAX as usize)),
            proofs: Arc::new(Semaphore::new(PROOFS_MAX)),
            downloads: AtOnce::new(PROOFS_OF_PERSON_MAX),
            asked: AtOnce::new(REQUESTS_OF_DEVICE_MAX),
            sending: AtOnce::new(UPLOADS_OF_DEVICE_MAX),
            strangers: AtOnce::new(STRANGERS_OF_ADDRESS_MAX),
            pages: AtOnce::new(REQUESTS_OF_PERSON_MAX),
        }
    }
}

impl Limits {
    /// A device goes on as another one, which has no more than this one has left.
    pub fn goes_on(&self, before: DeviceId, next: DeviceId) {
        for rate in [&self.sync, &self.work, &self.upload, &self.repaired] {
            rate.goes_on(before, next);
        }
    }
}

/// The key under which an address is counted: one household's or attacker's IPv6 network is one.
pub fn address_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        ip => ip,
    }
}

/// How often, or of how much, each key may do something: `burst` at once, and one more each interval (GCRA).
pub struct Rate<K> {
    interval_us: i64,
    burst: i64,
    /// For each key the time at which its whole burst is free again.
    free_us: Mutex<HashMap<K, i64>>,
}

/// Keys that are remembered. Past this those that have nothing to wait for are forgotten, and if that is
/// not enough, those that have least to wait for.
const KEYS_MAX: usize = 100_000;

impl<K: Eq + Hash> Rate<K> {
    /// Once an interval, and `burst` times at once.
    pub fn new(interval_us: i64, burst: i64) -> Self {
        Self { interval_us, burst, free_us: Mutex::default() }
    }

    /// Counts one try, or refuses it and says after how long the next makes sense.
    pub fn check(&self, key: K, now_ms: i64) -> Result<(), Problem> {
        self.check_of(key, 1, now_ms)
    }

    /// The same of as many at once.
    pub fn check_of(&self, key: K, units: usize, now_ms: i64) -> Result<(), Problem> {
        let units = i64::try_from(units).unwrap_or(i64::MAX).min(self.burst);
        let now = now_ms.saturating_mul(1_000);
        let full = now + self.interval_us * self.burst;
        let mut free_us = self.free_us.lock().unwrap_or_else(PoisonError::into_inner);
        if free_us.len() >= KEYS_MAX && !free_us.contains_key(&key) {
            shrink(&mut free_us, now);
        }
        let free = free_us.entry(key).or_insert(now);
        *free = (*free).clamp(now, full); // above `full` only when the clock was set back
        let next = *free + self.interval_us * units;
        if next > full {
            let wait_s = (next - full + 999_999) / 1_000_000;
            return Err(rate_limited(u64::try_from(wait_s).unwrap_or(1)));
        }
        *free = next;
        Ok(())
    }

    /// What one key has used another one has used too.
    fn goes_on(&self, before: K, next: K) {
        let mut free_us = self.free_us.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = free_us.remove(&before) {
            free_us.insert(next, free);
        }
    }

    /// Begins anew for every key.
    pub fn forget(&self) {
        self.free_us.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn shrink<K: Eq + Hash>(free_us: &mut HashMap<K, i64>, now: i64) {
    free_us.retain(|_, free| *free > now);
    if free_us.len() >= KEYS_MAX {
        let mut times: Vec<i64> = free_us.values().copied().collect();
        let (_, median, _) = times.select_nth_unstable(KEYS_MAX / 2);
        let median = *median;
        free_us.retain(|_, free| *free > median);
    }
}

fn rate_limited(seconds: u64) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests")
        .detail(format!("try again in {seconds} s"))
        .retry_after(seconds)
}

/// As many live lines are open as there may be: whoever has none syncs now and then.
pub fn too_many_lines() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy: try again")
        .detail("as many live lines are open as there may be: sync without one")
        .retry_after(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_open_at_once_and_others_have_their_own() {
        let (downloads, one, other) = (AtOnce::new(2), "one", "other");
        let [first, _second] = [(); 2].map(|()| downloads.begin(one).unwrap());
        assert!(downloads.begin(one).is_none());
        let _others = downloads.begin(other).unwrap();
        drop(first);
        assert!(downloads.begin(one).is_some(), "one has ended");
    }

    #[test]
    fn a_burst_then_one_each_interval() {
        let rate = Rate::new(6_000_000, 10);
        let start = 1_700_000_000_000;
        for _ in 0..10 {
            assert!(rate.check("a", start).is_ok());
        }
        let refused = rate.check("a", start).unwrap_err();
        assert_eq!((refused.code(), refused.status().as_u16()), ("rate_limited", 429));
        assert!(rate.check("b", start).is_ok());
        assert!(rate.check("a", start + 5_999).is_err());
        assert!(rate.check("a", start + 6_000).is_ok());
        assert!(rate.check("a", start + 6_000).is_err());
        assert!((0..10).all(|_| rate.check("a", start + 120_000).is_ok()));
    }

    #[test]
    fn who_takes_much_waits_for_as_much() {
        let rate = Rate::new(250_000, 1_000);
        assert!(rate.check_of("a", 900, 0).is_ok());
        assert!(rate.check_of("a", 200, 0).is_err());
        assert!(rate.check_of("a", 100, 0).is_ok(), "what is refused takes nothing");
        assert!(rate.check_of("a", 200, 49_999).is_err());
        assert!(rate.check_of("a", 200, 50_000).is_ok());
        assert!(rate.check_of("b", usize::MAX, 0).is_ok(), "no message is too long for ever");
    }

    #[test]
    fn who_goes_on_under_another_name_has_what_is_left() {
        let rate = Rate::new(6_000_000, 2);
        assert!(rate.check("a", 0).is_ok());
        rate.goes_on("a", "b");
        assert!(rate.check("b", 0).is_ok());
        assert!(rate.check("b", 0).is_err());
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let rate = Rate::new(6_000_000, 10);
        assert!(rate.check("a", 1_700_000_000_000).is_ok());
        assert!(rate.check("a", 1_600_000_000_000).is_err(), "as if the burst were used up");
        assert!(rate.check("a", 1_600_000_006_000).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let rate = Rate::new(6_000_000, 10);
        for key in 0..2 * KEYS_MAX {
            let _ = rate.check(key, i64::try_from(key).unwrap() / 100);
        }
        assert!(rate.free_us.lock().unwrap().len() <= KEYS_MAX);
        let one_moment = Rate::new(6_000_000, 10);
        for key in 0..2 * KEYS_MAX {
            assert!(one_moment.check(key, 0).is_ok());
        }
        assert!(one_moment.free_us.lock().unwrap().len() <= KEYS_MAX);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let key = |ip: &str| address_key(ip.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }
}
