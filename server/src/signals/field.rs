//! What gives reason to look at captures without looking at a photo: place, way, time. Like all signals these accuse
//! nobody; each says what was seen and what plain reason it may have. Nothing is read here and nothing is written.

use sync_core::id::ChangeHash;
use sync_core::model::Geo;
use sync_core::model::capture::{CaptureTime, ClaimBasis, Moment};
use sync_core::visit::Visit;

use crate::store::log::Held;

/// What a signal of the field is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Captured farther from the outlet than the fix's accuracy explains.
    Outside,
    /// The phone said itself that a program made its position up.
    Mocked,
    /// Two captures of one person lie farther apart than anybody travels in the time between.
    Travel,
    /// More was recorded than can be looked at in the time.
    Short,
    /// Visits of one person take the same time, again and again.
    Regular,
    /// The phone's clocks and what the log proves do not go together.
    Clock,
}

/// Something that was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// What.
    pub kind: Kind,
    /// How much of it: metres, km/h, seconds, thousandths or minutes, by kind; 0 where there is no more or less.
    pub figure: i64,
}

/// An outlet reaches so far around the position that is known of it.
pub const RADIUS_M: f64 = 150.0;
/// A fix is this much farther off than its accuracy, the radius of 68 %, in one case of fifty: two and a half deviations.
const ACCURACIES: f64 = 1.7;
/// A fix that is less accurate says nothing of where the phone was.
const ACCURACY_M_MAX: u32 = 2_000;
/// Faster than people travel between outlets, in km/h.
const SPEED_MAX: f64 = 250.0;
/// What is nearer is no travel: fixes jump.
const TRAVEL_M_MIN: f64 = 2_000.0;
/// An observation takes at least so long to make, in milliseconds.
const OBSERVATION_MS_MIN: i64 = 1_000;
/// Fewer observations than these are soon made.
const OBSERVATIONS_MIN: usize = 10;
/// Fewer visits than these say nothing of a habit.
pub const VISITS_MIN: usize = 6;
/// Visits whose lengths vary less than this are regular, in thousandths of their mean.
const VARIATION_MAX: i64 = 30;
/// Clocks may be so far apart, in milliseconds.
const CLOCK_MS_MAX: i64 = 15 * 60_000;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Outside, Self::Mocked, Self::Travel, Self::Short, Self::Regular, Self::Clock];

    /// What it weighs until the organisation says something else; of 100.
    pub const fn usual_weight(self) -> u32 {
        match self {
            Self::Mocked => 50,
            Self::Travel => 40,
            Self::Outside => 30,
            Self::Short => 25,
            Self::Regular => 15,
            Self::Clock => 10,
        }
    }

    /// Its name, as people read it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Outside => "Captured away from the outlet",
            Self::Mocked => "The phone’s position was made up",
            Self::Travel => "Too far away too soon",
            Self::Short => "Recorded faster than one can look",
            Self::Regular => "Visits take the same time again and again",
            Self::Clock => "The phone’s clock is in doubt",
        }
    }

    /// What was seen, what can be said against it.
    pub fn explanation(self, figure: i64) -> String {
        match self {
            Self::Outside => format!(
                "{figure} m from the outlet at least, the accuracy of the fix taken off. The outlet’s own position may be wrong, \
                 and fixes between high walls are."
            ),
            Self::Mocked => "The phone said that a program, not its receiver, gave the position. Some phones say so of \
                             external receivers too."
                .into(),
            Self::Travel => format!(
                "At least {figure} km/h between this capture and the one before by the same person. One of the two fixes may be \
                 wrong, or two people used one phone."
            ),
            Self::Short => format!(
                "All of it within {figure} seconds. Who looks first and types later does that too."
            ),
            Self::Regular => format!(
                "The lengths of the last visits differ by {}.{} % of their mean. Short visits with few checks do that too.",
                figure / 10,
                figure % 10
            ),
            Self::Clock => match figure {
                0 => "Its clock says a time that is ruled out: before what the phone had heard, or after this server had it. \
                      A phone without a battery for weeks does that too."
                    .into(),
                minutes => format!(
                    "Its wall clock is {minutes} minutes away from its other clocks. Owners set clocks, by mistake too."
                ),
            },
        }
    }
}

/// A place and time of a capture.
#[derive(Debug, Clone, Copy)]
pub struct Capture<'a> {
    /// Where, as the phone says.
    pub place: &'a Geo,
    /// By its clocks.
    pub when: &'a Moment,
    /// What is known of that.
    pub times: &'a CaptureTime,
}

/// Metres within which a fix may be wrong; `None` if it says nothing.
fn slack_m(place: &Geo) -> Option<f64> {
    match place.accuracy_m {
        None => Some(0.0),
        Some(accuracy) if accuracy <= ACCURACY_M_MAX => Some(f64::from(accuracy) * ACCURACIES),
        Some(_) => None,
    }
}

/// Whether a capture lies outside the outlet, however wrong both positions are.
pub fn outside(place: &Geo, outlet: &Geo, radius_m: f64) -> Option<Signal> {
    let slack = slack_m(place)? + slack_m(outlet)?;
    let away = place.distance_m(outlet) - slack;
    (away > radius_m).then(|| Signal { kind: Kind::Outside, figure: whole(away) })
}

/// Whether the phone said that its position is made up.
pub fn mocked(place: &Geo) -> Option<Signal> {
    place.mock.filter(|mock| *mock).map(|_| Signal { kind: Kind::Mocked, figure: 0 })
}

/// At most so many milliseconds lie between two captures of one device, the earlier first: by the clock that counts since
/// its start where both are of one boot, otherwise by what is proved.
fn between_ms(earlier: Capture<'_>, later: Capture<'_>) -> Option<i64> {
    if earlier.when.boot == later.when.boot {
        let between = later.when.boot_ms.checked_sub(earlier.when.boot_ms)?;
        return i64::try_from(between).ok();
    }
    let from = earlier.times.proved_from_ms()?;
    Some(later.times.latest_ms.saturating_sub(from).max(0))
}

/// Whether somebody was in two places sooner than anybody travels, the earlier capture first, both of one device.
pub fn travel(earlier: Capture<'_>, later: Capture<'_>) -> Option<Signal> {
    let slack = slack_m(earlier.place)? + slack_m(later.place)?;
    let metres = earlier.place.distance_m(later.place) - slack;
    let hours = between_ms(earlier, later)?.max(1_000) as f64 / 3_600_000.0;
    let speed = metres / 1_000.0 / hours;
    (metres > TRAVEL_M_MIN && speed > SPEED_MAX)
        .then(|| Signal { kind: Kind::Travel, figure: whole(speed) })
}

/// Whether so many observations were made in less time than looking takes: `first` and `last` are of one boot.
pub fn short(observations: usize, first: &Moment, last: &Moment) -> Option<Signal> {
    if observations < OBSERVATIONS_MIN || first.boot != last.boot {
        return None;
    }
    let took = i64::try_from(last.boot_ms.checked_sub(first.boot_ms)?).ok()?;
    let least = OBSERVATION_MS_MIN.saturating_mul(i64::try_from(observations).ok()?);
    (took < least).then_some(Signal { kind: Kind::Short, figure: took / 1_000 })
}

/// Whether the lengths of somebody's visits, in milliseconds, hardly differ.
pub fn regular(lengths_ms: &[i64]) -> Option<Signal> {
    let count = lengths_ms.len();
    if count < VISITS_MIN || lengths_ms.iter().any(|length| *length <= 0) {
        return None;
    }
    let count = count as f64;
    let mean = lengths_ms.iter().map(|length| *length as f64).sum::<f64>() / count;
    let squares = lengths_ms.iter().map(|length| (*length as f64 - mean).powi(2)).sum::<f64>();
    let thousandths = whole((squares / count).sqrt() / mean * 1_000.0);
    (thousandths < VARIATION_MAX).then_some(Signal { kind: Kind::Regular, figure: thousandths })
}

/// Whether what the clocks say goes together. `received_ms` is when the server had it.
pub fn clock(when: &Moment, times: &CaptureTime) -> Option<Signal> {
    // The wall clock itself, as far as its phone had been told how wrong it is.
    let wall_ms = when.wall_ms.saturating_add(when.skew_ms.unwrap_or(0));
    let apart = wall_ms.saturating_sub(times.claimed_ms).saturating_abs();
    match times.basis {
        _ if times.clamped => Some(Signal { kind: Kind::Clock, figure: 0 }),
        ClaimBasis::BootClock if apart > CLOCK_MS_MAX => {
            Some(Signal { kind: Kind::Clock, figure: apart / 60_000 })
        }
        _ => None,
    }
}

fn whole(figure: f64) -> i64 {
    // A float that is none or too large saturates.
    figure.round() as i64
}

/// What a visit gives reason to look at by itself, each with the entry that does. `outlet` is where the outlet is known
/// to be.
pub fn of_visit(held: &Held, visit: &Visit, outlet: Option<&Geo>) -> Vec<(ChangeHash, Signal)> {
    let mut found = Vec::new();
    for user in visit.people() {
        let own: Vec<_> =
            visit.recordings.iter().filter(|r| r.entry.by == user && !r.withdrawn).collect();
        let observations = own.iter().filter_map(|r| r.entry.observed());
        let observations = observations.map(|o| o.observations.0.len()).sum();
        if let (Some(first), Some(last)) = (own.first(), own.last()) {
            let hasty = short(observations, &first.entry.when, &last.entry.when);
            found.extend(hasty.map(|signal| (last.hash, signal)));
        }
        let mut before = None;
        for recorded in own {
            let Some(times) = held.times.get(&recorded.hash) else { continue };
            let when = &recorded.entry.when;
            let mut add = |signal: Option<Signal>| {
                found.extend(signal.map(|signal| (recorded.hash, signal)));
            };
            add(clock(when, times));
            let Some(place) = &recorded.entry.place else { continue };
            add(mocked(place));
            add(outlet.and_then(|outlet| outside(place, outlet, RADIUS_M)));
            let here = Capture { place, when, times };
            add(before.and_then(|before| travel(before, here)));
            before = Some(here);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_435_200_000;

    fn geo(lon: f64, lat: f64, accuracy_m: Option<u32>) -> Geo {
        Geo::from_degrees(lon, lat, accuracy_m).unwrap()
    }

    fn moment(boot: u32, boot_ms: u64) -> Moment {
        Moment { wall_ms: NOON, boot, boot_ms, anchor: 5, skew_ms: None, life: None }
    }

    fn times(earliest_ms: i64, latest_ms: i64) -> CaptureTime {
        let (claimed_ms, basis) = (latest_ms, ClaimBasis::WallClock);
        CaptureTime { earliest_ms, latest_ms, claimed_ms, basis, clamped: false }
    }

    #[test]
    fn a_capture_is_outside_only_where_no_error_of_the_fix_explains_it() {
        let outlet = geo(18.0565, 59.344, None);
        // A thousandth of a degree of latitude is 111 m.
        let figure = |lat, accuracy| {
            outside(&geo(18.0565, lat, accuracy), &outlet, RADIUS_M).map(|signal| signal.figure)
        };
        assert_eq!(figure(59.344, Some(5)), None);
        assert_eq!(figure(59.3453, Some(5)), None, "145 m: at the door of a large store");
        assert_eq!(figure(59.346, None), Some(222));
        assert_eq!(figure(59.346, Some(30)), Some(171));
        assert_eq!(figure(59.346, Some(50)), None, "it may have been within");
        assert_eq!(figure(59.444, Some(2_000)), Some(7_720));
        assert_eq!(figure(59.444, Some(2_001)), None, "it says nothing");
        let vague = geo(18.0565, 59.344, Some(60));
        assert_eq!(outside(&geo(18.0565, 59.346, None), &vague, RADIUS_M), None);
    }

    #[test]
    fn a_position_that_is_made_up_is_one_only_if_the_phone_says_so() {
        let place = |mock| Geo { mock, ..geo(1.0, 1.0, None) };
        assert!(mocked(&place(Some(true))).is_some());
        assert_eq!((mocked(&place(Some(false))), mocked(&place(None))), (None, None));
    }

    #[test]
    fn nobody_is_in_two_towns_within_minutes() {
        let (north, south) = (geo(18.0, 59.0, Some(20)), geo(18.0, 58.0, Some(20))); // 111 km
        let proved = times(NOON - 3_600_000, NOON);
        let speed = |a: (&Geo, Moment), b: (&Geo, Moment), known: &CaptureTime| {
            let earlier = Capture { place: a.0, when: &a.1, times: known };
            let later = Capture { place: b.0, when: &b.1, times: known };
            travel(earlier, later).map(|signal| signal.figure)
        };
        let minutes = |n: u64| n * 60_000;
        let by_boot =
            |n| speed((&north, moment(1, 5)), (&south, moment(1, 5 + minutes(n))), &proved);
        assert_eq!(by_boot(10), Some(667));
        assert_eq!(by_boot(27), None, "at 247 km/h: there are such trains");
        assert_eq!(by_boot(0), Some(400_057), "in no time at all");
        // Rebooted between: only what is proved counts, here that it was within the hour.
        let rebooted =
            |known: &CaptureTime| speed((&north, moment(1, 5)), (&south, moment(2, 1)), known);
        assert_eq!(rebooted(&proved), None);
        assert_eq!(rebooted(&times(NOON - 1_200_000, NOON)), Some(333));
        assert_eq!(rebooted(&times(i64::MIN, NOON)), None, "nothing is proved");
        // A clock that runs back proves nothing, and a jump of a fix is no travel.
        assert_eq!(speed((&north, moment(1, 9)), (&south, moment(1, 5)), &proved), None);
        let near = geo(18.0, 59.01, Some(20));
        assert_eq!(speed((&north, moment(1, 5)), (&near, moment(1, 6)), &proved), None);
        let vague = Geo { accuracy_m: Some(5_000), ..south };
        assert_eq!(speed((&north, moment(1, 5)), (&vague, moment(1, 6)), &proved), None);
    }

    #[test]
    fn hundred_values_are_not_seen_in_a_minute() {
        let seconds =
            |n, took_ms: u64| short(n, &moment(1, 7), &moment(1, 7 + took_ms)).map(|s| s.figure);
        assert_eq!(seconds(100, 60_000), Some(60));
        assert_eq!(seconds(100, 100_000), None);
        assert_eq!(seconds(9, 1), None, "a price in passing");
        assert_eq!(short(100, &moment(1, 7), &moment(2, 8)), None, "rebooted: nobody knows");
        assert_eq!(short(100, &moment(1, 8), &moment(1, 7)), None);
    }

    #[test]
    fn visits_of_one_length_are_noticed_from_the_sixth_on() {
        let minutes = |minutes: &[i64]| {
            let lengths: Vec<i64> = minutes.iter().map(|m| m * 60_000).collect();
            regular(&lengths).map(|signal| signal.figure)
        };
        assert_eq!(minutes(&[20; 5]), None);
        assert_eq!(minutes(&[20; 6]), Some(0));
        assert_eq!(minutes(&[100, 101, 99, 100, 102, 98]), Some(13));
        assert_eq!(minutes(&[20, 22, 18, 20, 25, 19]), None, "as people are");
        assert_eq!(minutes(&[20, 20, 20, 20, 20, 0]), None, "one length is not known");
        assert_eq!(regular(&[i64::MAX; 8]).map(|signal| signal.figure), Some(0));
    }

    #[test]
    fn a_clock_is_in_doubt_when_it_says_what_cannot_be() {
        let estimate = |wall_ms, skew_ms, boot| {
            let when = Moment { wall_ms, skew_ms, ..moment(1, 1_000) };
            let pushed = Moment { boot, ..moment(1, 61_000) };
            let times = CaptureTime::estimate(&when, Some(&pushed), Some(NOON - 3_600_000), NOON);
            clock(&when, &times).map(|signal| signal.figure)
        };
        assert_eq!(estimate(NOON - 60_000, None, 1), None);
        assert_eq!(estimate(NOON + 13 * 60_000, None, 1), None, "an owner's few minutes");
        assert_eq!(estimate(NOON + 59 * 60_000, None, 1), Some(60));
        assert_eq!(estimate(0, Some(NOON - 60_000), 1), None, "it knew how wrong it was");
        assert_eq!(estimate(0, None, 2), Some(0), "1970, which is ruled out");
        assert_eq!(estimate(i64::MAX, None, 2), Some(0));
        assert_eq!(estimate(i64::MIN, None, 1), Some((i64::MAX) / 60_000));
    }

    #[test]
    fn every_kind_says_what_it_is_and_weighs_something() {
        for kind in Kind::ALL {
            assert!((1..=100).contains(&kind.usual_weight()));
            for figure in [0, 7, i64::MAX] {
                let text = kind.explanation(figure);
                assert!(text.ends_with('.') && !text.contains("  "), "{text}");
            }
            assert!(!kind.title().ends_with('.'));
        }
    }
}
