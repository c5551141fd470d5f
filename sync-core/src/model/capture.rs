//! When a thing was recorded, as well as that can be known.
//!
//! A phone's wall clock may say 1970 or next year. So a recording carries, beside it, a clock that counts
//! through suspend since the last boot, and the newest position of the server's log that the device had
//! seen. The true time lies between that position's time and the server's receipt; within it the best
//! reading is the device's claim and is always shown as one.

use minicbor::{Decode, Encode};

use super::Day;

/// A device's clocks at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Moment {
    /// The wall clock, in milliseconds since 1970 UTC, however wrong.
    #[n(0)]
    pub wall_ms: i64,
    /// Names the boot; another value means that `boot_ms` started anew.
    #[n(1)]
    pub boot: u32,
    /// Milliseconds since that boot, counted through suspend.
    #[n(2)]
    pub boot_ms: u64,
    /// The newest log sequence that the device had applied: it cannot have been earlier than that. Zero
    /// before the first sync.
    #[n(3)]
    pub anchor: u64,
    /// Server time minus wall clock when the device last heard from the server, if that was in this boot.
    #[n(4)]
    pub skew_ms: Option<i64>,
    /// In which life of the log `anchor` counts: [`crate::id::LogOrigin::life`]. `None` before the first sync.
    #[n(5)]
    pub life: Option<u32>,
}

impl Moment {
    /// How long it was ago at `later`, by the clock that counts since the boot of both, in milliseconds; `None` if no
    /// clock has counted it.
    pub fn age_ms(&self, later: &Self) -> Option<i64> {
        let age = later.boot_ms.checked_sub(self.boot_ms).filter(|_| self.boot == later.boot)?;
        Some(i64::try_from(age).unwrap_or(i64::MAX))
    }
}

/// Which clock a claimed time rests on, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ClaimBasis {
    /// Captured and pushed in one boot: receipt minus the boot clock's difference.
    #[n(0)]
    BootClock,
    /// The server's time seen earlier in the same boot, carried on.
    #[n(1)]
    ServerSkew,
    /// The wall clock alone.
    #[n(2)]
    WallClock,
}

/// What the server knows of a capture's time, in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct CaptureTime {
    /// Not before: when the anchor was written to the log. It is the device that names the anchor.
    #[n(0)]
    pub earliest_ms: i64,
    /// Not after: the server's receipt.
    #[n(1)]
    pub latest_ms: i64,
    /// The device's claim, brought within the bounds.
    #[n(2)]
    pub claimed_ms: i64,
    /// What the claim rests on.
    #[n(3)]
    pub basis: ClaimBasis,
    /// The claim fell outside the bounds and was moved to the nearer one.
    #[n(4)]
    pub clamped: bool,
}

impl CaptureTime {
    /// Places a capture between its anchor's time and its receipt. `age_ms` is its [age](Moment::age_ms) as its device
    /// sent the change that was received at `receipt_ms`; `None` also if another brought it.
    pub fn estimate(
        captured: &Moment,
        age_ms: Option<i64>,
        anchor_ms: Option<i64>,
        receipt_ms: i64,
    ) -> Self {
        let earliest_ms = anchor_ms.unwrap_or(i64::MIN).min(receipt_ms);
        let (claim, basis) = if let Some(age) = age_ms {
            (receipt_ms.saturating_sub(age), ClaimBasis::BootClock)
        } else if let Some(skew) = captured.skew_ms {
            (captured.wall_ms.saturating_add(skew), ClaimBasis::ServerSkew)
        } else {
            (captured.wall_ms, ClaimBasis::WallClock)
        };
        let claimed_ms = claim.clamp(earliest_ms, receipt_ms);
        Self { earliest_ms, latest_ms: receipt_ms, claimed_ms, basis, clamped: claimed_ms != claim }
    }

    /// Not before this, if the device says what it knew: when the newest line was written that it names. When that was, the
    /// log proves; that the device knew no later one is how unaltered software behaves, and altered software can only name a
    /// later one than it knew. `None` if it names none.
    pub fn not_before_ms(&self) -> Option<i64> {
        Some(self.earliest_ms).filter(|earliest| *earliest > i64::MIN)
    }

    /// The first and the last day in a zone that are not ruled out; the first is `None` where nothing rules out any.
    pub fn days(&self, zone: &str) -> (Option<Day>, Day) {
        let first = self.not_before_ms().map(|earliest| Day::at(earliest, zone));
        (first, Day::at(self.latest_ms, zone))
    }

    /// Whether the bounds leave one day alone for it to count on. Otherwise the day is the claim's.
    pub fn bounds_day(&self, zone: &str) -> bool {
        let (first, last) = self.days(zone);
        first == Some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIPT: i64 = 1_800_000_000_000;
    const ANCHOR: i64 = RECEIPT - 86_400_000;

    fn moment(wall_ms: i64, boot: u32, boot_ms: u64) -> Moment {
        Moment { wall_ms, boot, boot_ms, anchor: 7, skew_ms: None, life: None }
    }

    #[test]
    fn a_clock_at_1970_or_a_year_ahead_changes_nothing_within_one_boot() {
        for wall in [0, RECEIPT, RECEIPT + 31_536_000_000, i64::MAX, i64::MIN] {
            let captured = moment(wall, 1, 1_000);
            let age = captured.age_ms(&moment(wall, 1, 3_601_000));
            let time = CaptureTime::estimate(&captured, age, Some(ANCHOR), RECEIPT);
            assert_eq!(time.claimed_ms, RECEIPT - 3_600_000);
            assert_eq!((time.basis, time.clamped), (ClaimBasis::BootClock, false));
        }
    }

    #[test]
    fn after_a_reboot_the_claim_stays_within_the_bounds() {
        let estimate = |captured: Moment| {
            let age = captured.age_ms(&moment(0, 2, 5));
            CaptureTime::estimate(&captured, age, Some(ANCHOR), RECEIPT)
        };
        let early = estimate(moment(0, 1, 9));
        assert_eq!((early.claimed_ms, early.clamped), (ANCHOR, true));
        let late = estimate(moment(RECEIPT + 31_536_000_000, 1, 9));
        assert_eq!((late.claimed_ms, late.clamped), (RECEIPT, true));
        let skewed = estimate(Moment { skew_ms: Some(RECEIPT - 60_000), ..moment(30_000, 1, 9) });
        assert_eq!((skewed.claimed_ms, skewed.basis), (RECEIPT - 30_000, ClaimBasis::ServerSkew));
    }

    /// 2026-11-23T22:50:00Z: ten minutes before midnight in Stockholm.
    const EVENING: i64 = 1_795_474_200_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_capture_across_midnight_counts_on_its_claimed_day_and_says_so() {
        let zone = "Europe/Stockholm";
        let day: Day = "2026-11-23".parse().unwrap();
        let receipt = EVENING + HOUR;
        let pushed = moment(0, 1, 3_600_000);
        let estimate = |boot_ms, anchor| {
            let captured = moment(0, 1, boot_ms);
            CaptureTime::estimate(&captured, captured.age_ms(&pushed), anchor, receipt)
        };
        // Captured five minutes before midnight, sent fifty after it.
        let before = estimate(300_000, Some(EVENING - HOUR));
        assert_eq!(Day::at(before.claimed_ms, zone), day);
        assert_eq!(before.days(zone), (Some(day), day.plus(1)));
        assert!(!before.bounds_day(zone));
        // Captured after midnight; what the phone had heard is from before.
        let after = estimate(900_000, Some(EVENING));
        assert_eq!(Day::at(after.claimed_ms, zone), day.plus(1));
        assert!(!after.bounds_day(zone));
        // What the phone had heard is from after midnight too: that leaves one day, whatever it claims.
        let late = estimate(0, Some(EVENING + HOUR / 2));
        assert_eq!((late.claimed_ms, late.clamped), (EVENING + HOUR / 2, true));
        assert_eq!(late.days(zone), (Some(day.plus(1)), day.plus(1)));
        assert!(late.bounds_day(zone));
        // In another zone nothing of it is across midnight.
        assert!(before.bounds_day("UTC") && Day::at(before.claimed_ms, "UTC") == day);
        // Before its first sync a phone has heard of nothing.
        let unheard = estimate(300_000, None);
        assert_eq!((unheard.not_before_ms(), unheard.days(zone)), (None, (None, day.plus(1))));
        assert!(!unheard.bounds_day(zone));
    }

    #[test]
    fn a_phone_that_slept_is_right_and_one_that_was_turned_off_says_less() {
        // Eight hours in a drawer, of which the clock since the boot has counted every one.
        let receipt = EVENING + 8 * HOUR;
        let captured = Moment { skew_ms: Some(0), ..moment(EVENING - HOUR, 1, 60_000) };
        let slept = moment(0, 1, 60_000 + 8 * 3_600_000);
        let time = CaptureTime::estimate(
            &captured,
            captured.age_ms(&slept),
            Some(EVENING - HOUR),
            receipt,
        );
        assert_eq!((time.claimed_ms, time.basis), (EVENING, ClaimBasis::BootClock));
        // Turned off in between: what the server had told it before is all that is left, an hour wrong or not.
        for boot_ms in [0, 59_999, 60_000, u64::MAX] {
            let rebooted = moment(0, 2, boot_ms);
            let age = captured.age_ms(&rebooted);
            let time = CaptureTime::estimate(&captured, age, Some(EVENING - HOUR), receipt);
            assert_eq!(time.claimed_ms, EVENING - HOUR);
            assert_eq!((time.basis, time.clamped), (ClaimBasis::ServerSkew, false));
        }
        // Nor had the server told it anything: its wall clock, kept within the bounds.
        let alone = Moment { skew_ms: None, ..captured };
        for (wall_ms, claimed_ms) in [
            (0, EVENING - HOUR),
            (EVENING, EVENING),
            (i64::MAX, receipt),
            (i64::MIN, EVENING - HOUR),
        ] {
            let captured = Moment { wall_ms, ..alone };
            let anchor = Some(EVENING - HOUR);
            let time = CaptureTime::estimate(
                &captured,
                captured.age_ms(&moment(0, 2, 5)),
                anchor,
                receipt,
            );
            assert_eq!((time.claimed_ms, time.basis), (claimed_ms, ClaimBasis::WallClock));
        }
        // A skew from an age beyond numbers does not wrap around.
        let captured = Moment { skew_ms: Some(i64::MAX), ..moment(EVENING, 1, 0) };
        let time = CaptureTime::estimate(&captured, None, None, receipt);
        assert_eq!((time.claimed_ms, time.clamped), (receipt, true));
    }

    #[test]
    fn a_boot_clock_that_runs_back_is_not_believed() {
        let captured = moment(5, 1, 100);
        let age = captured.age_ms(&moment(5, 1, 50));
        let time = CaptureTime::estimate(&captured, age, Some(ANCHOR), RECEIPT);
        assert_eq!(time.basis, ClaimBasis::WallClock);
        assert!(time.claimed_ms >= time.earliest_ms && time.claimed_ms <= time.latest_ms);
    }
}
