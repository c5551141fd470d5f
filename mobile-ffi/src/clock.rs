//! The device's clocks.

use sync_core::client::Clocks;

/// Where the library reads the time; tests put their own here.
pub trait Clock: Send + Sync {
    /// All clocks at one instant.
    fn read(&self) -> Clocks;
}

/// The clocks of the operating system.
///
/// The boot is named by the kernel where it says so, else by this process: then a capture is placed by the
/// boot clock only while the same process runs, and by the server's time as it was last heard otherwise.
pub struct SystemClock {
    boot: u32,
}

impl SystemClock {
    /// Finds out which boot this is.
    pub fn new() -> Self {
        let kernel = std::fs::read("/proc/sys/kernel/random/boot_id").ok();
        let named = kernel.filter(|name| !name.is_empty()).unwrap_or_else(|| {
            crate::store::random::<16>().map(|r| r.to_vec()).unwrap_or_default()
        });
        let digest = sync_core::id::BlobHash::of(&named).0;
        Self { boot: u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the shell reads the clock; the core gets it passed"
    )]
    fn read(&self) -> Clocks {
        let wall_ms = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Clocks { wall_ms, boot: self.boot, boot_ms: boot_ms() }
    }
}

/// Milliseconds since boot, counted through suspend.
fn boot_ms() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = rustix::time::ClockId::Boottime;
    // On Apple's systems the monotonic clock goes on while the device sleeps.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    let (s, ns) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    s.unwrap_or(0).saturating_mul(1_000) + ns.unwrap_or(0) / 1_000_000
}
