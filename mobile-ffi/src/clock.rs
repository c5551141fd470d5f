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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// What the kernel says: since boot, through suspend, in whole hundredths of a second.
    fn uptime_ms() -> u64 {
        let text = std::fs::read_to_string("/proc/uptime").expect("the kernel says it");
        let digits: String = text.chars().take_while(|c| *c != ' ').filter(|c| *c != '.').collect();
        digits.parse::<u64>().expect("a number") * 10
    }

    /// The machine of a test has never slept: the two clocks differ only where the kernel is told that it did.
    #[test]
    fn the_clock_since_boot_goes_on_while_the_device_sleeps() {
        let (before, read, after) = (uptime_ms(), SystemClock::new().read(), uptime_ms());
        assert!((before..after + 10).contains(&read.boot_ms), "{before} {read:?} {after}");
        assert_eq!(SystemClock::new().read().boot, read.boot, "one boot has one name");

        const ASLEEP: &str = "ENDCAP_TEST_ASLEEP";
        if std::env::var_os(ASLEEP).is_some() {
            assert!(before > 86_400_000, "a day of sleep counts");
            return;
        }
        let in_a_day = |program: &std::ffi::OsStr| {
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--map-root-user", "--time", "--boottime", "86400", "--fork"]);
            unshare.arg(program).env(ASLEEP, "1").stdout(Stdio::null());
            unshare
        };
        let possible = in_a_day("true".as_ref()).status().is_ok_and(|status| status.success());
        if !possible {
            eprintln!("SKIPPED: no namespace of time can be made here");
            return;
        }
        let own = std::env::current_exe().expect("its path");
        let name = "clock::tests::the_clock_since_boot_goes_on_while_the_device_sleeps";
        let slept = in_a_day(own.as_os_str()).args(["--exact", name]).status().expect("it runs");
        assert!(slept.success());
    }
}
