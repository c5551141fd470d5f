//! What gives reason to look at captures without looking at a photo: place, way, time. Like all signals these accuse
//! nobody; each says what was seen and what plain reason it may have. Nothing is read here and nothing is written.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use minicbor::{Decode, Encode};
use sync_core::document::Document;
use sync_core::id::{ChangeHash, DeviceId, UserId, VisitId};
use sync_core::model::Geo;
use sync_core::model::capture::{CaptureTime, ClaimBasis, Moment};
use sync_core::model::visit::{Act, PhotoRef};
use sync_core::visit::{Recorded, Visit};

use super::{Kind, Signal};
use crate::store::log::Held;
use crate::world::World;

/// A fix is this much farther off than its accuracy, the radius of 68 %, in one case of fifty: two and a half deviations.
const ACCURACIES: f64 = 1.7;
/// What does not say how accurate it is may be so far off: a camera writes where the phone was when that last asked, and an app
/// may leave it out.
const UNSAID_ACCURACY_M: u32 = 100;
/// Whoever writes an outlet's place into the catalogue without that means the place itself.
const OUTLET_ACCURACY_M: u32 = 0;
/// Of fewer photos it may have been a while ago.
const CAMERA_PLACES_MIN: usize = 2;
/// A fix that is less accurate says nothing of where the phone was.
const ACCURACY_M_MAX: u32 = 2_000;
/// Faster than people travel between outlets, in km/h.
const SPEED_MAX: f64 = 250.0;
/// What is nearer is no travel: fixes jump.
const TRAVEL_M_MIN: f64 = 2_000.0;
/// Looking at one thing and writing it down may be said to take so long at least, in milliseconds.
pub const OBSERVATION_MS: RangeInclusive<u32> = 100..=60_000;
/// Fewer observations than these are made in passing.
const OBSERVATIONS_MIN: usize = 3;
/// So many visits in a row are a habit; fewer say nothing of one.
pub const VISITS: usize = 6;
/// Of the visits that somebody began before one so many are looked at, whether their lengths are known or not.
pub const BEFORE_MAX: usize = 7;
/// Visits whose lengths vary less than this are regular, in thousandths of their mean.
const VARIATION_MAX: i64 = 30;
/// Clocks may be so far apart, in milliseconds.
const CLOCK_MS_MAX: i64 = 15 * 60_000;
/// What is known to lie within so much is as good as known.
const WIDE_MS_MIN: i64 = 24 * 3_600_000;

/// What an organisation says of its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// An outlet reaches so far around its position, in metres, if its record says nothing else.
    pub radius_m: u32,
    /// An observation takes so long at least, in milliseconds.
    pub observation_ms: u32,
}

/// Where an outlet is known to be, and how far it reaches around that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ground {
    /// Its middle.
    pub place: Geo,
    /// In metres, as its record says, or else the organisation.
    pub radius_m: u32,
}

/// What is known besides a visit, and may be known otherwise later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Where its outlet's record has had it, the oldest first, each with when that was written, in milliseconds since 1970
    /// UTC; empty if the newest says nothing.
    pub grounds: Vec<(i64, Ground)>,
    /// Since when phones were out of their people's hands, in milliseconds since 1970 UTC.
    pub lost: BTreeMap<DeviceId, i64>,
    /// An observation takes so long at least, in milliseconds, as the organisation says.
    pub observation_ms: u32,
}

impl Known {
    /// What the world and the organisation say now of phones, and of an outlet that is or was there.
    pub fn of(world: &World, grounds: Vec<(i64, Ground)>, settings: Settings) -> Self {
        Self { grounds, lost: world.lost_phones(), observation_ms: settings.observation_ms }
    }
}

/// Where an outlet may be for who was there at a time: where its record had it then, or had it put since. An outlet that
/// moves accuses nobody of before, and one that is put right clears who was there.
fn since(grounds: &[(i64, Ground)], at_ms: i64) -> &[(i64, Ground)] {
    let then = grounds.iter().rposition(|(from_ms, _)| *from_ms < at_ms);
    &grounds[then.unwrap_or(0)..]
}

/// How far a capture was outside wherever the outlet may be; 0 if it may have been within.
fn away(place: &Geo, grounds: &[(i64, Ground)]) -> i64 {
    let figures = grounds.iter().map(|(_, ground)| outside(place, ground).map_or(0, |s| s.figure));
    figures.min().unwrap_or(0)
}

/// A capture's place as evidence.
fn shown(place: Geo, grounds: &[(i64, Ground)]) -> Evidence {
    let metres = grounds.iter().map(|(_, ground)| whole(place.distance_m(&ground.place))).min();
    let (then, later) = (grounds.first(), grounds.get(1..).unwrap_or_default());
    let elsewhere =
        later.iter().find(|(_, ground)| then.is_none_or(|(_, t)| t.place != ground.place));
    Evidence::Place { place, metres, moved_ms: elsewhere.map(|(at_ms, _)| *at_ms) }
}

/// Where and when something was captured.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Fix {
    /// The entry that says so.
    #[n(0)]
    pub entry: ChangeHash,
    /// By which phone.
    #[n(1)]
    pub device: DeviceId,
    /// Where, as the phone says.
    #[n(2)]
    pub place: Geo,
    /// By its clocks.
    #[n(3)]
    pub when: Moment,
    /// What is known of that.
    #[n(4)]
    pub times: CaptureTime,
}

/// What one person's part in a visit says for what is seen over several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// Whose.
    pub person: UserId,
    /// The first recording.
    pub entry: ChangeHash,
    /// When that was made, by claim.
    pub began_ms: i64,
    /// From there to the submission with which half of what was submitted is, where one clock has counted all of it.
    pub length_ms: Option<i64>,
    /// The first and the last capture that say where, if any do.
    pub fixes: Vec<Fix>,
}

/// What shows a signal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Evidence {
    /// A capture's place.
    #[n(0)]
    Place {
        /// As the phone said.
        #[n(0)]
        place: Geo,
        /// Metres from the outlet, if it is known where that is: from the nearest place that its record had then or since.
        #[n(1)]
        metres: Option<i64>,
        /// When its record was first given another place since, if it was.
        #[n(2)]
        moved_ms: Option<i64>,
    },
    /// Two places, and at most so much time between.
    #[n(1)]
    Way {
        /// The earlier.
        #[n(0)]
        from: Geo,
        /// The later.
        #[n(1)]
        to: Geo,
        /// Metres between them.
        #[n(2)]
        metres: i64,
        /// Milliseconds.
        #[n(3)]
        ms: i64,
    },
    /// So many observations and photos.
    #[n(2)]
    Observations(#[n(0)] u64),
    /// The visits, the one with the signal last.
    #[n(3)]
    Lengths(#[n(0)] Vec<Length>),
    /// Nothing settles which of two photos was recorded first.
    #[n(4)]
    Unproved {
        /// By claim the one with the signal was.
        #[n(0)]
        claims_first: bool,
    },
    /// A phone's wall clock, and what is known of the time.
    #[n(5)]
    Clock {
        /// What it showed, in milliseconds since 1970 UTC.
        #[n(0)]
        wall_ms: i64,
        /// How far the server's time was ahead of it, if the phone had heard that.
        #[n(1)]
        skew_ms: Option<i64>,
        /// The bounds, and the claim.
        #[n(2)]
        times: CaptureTime,
    },
    /// A phone that was out of its person's hands, and what is known of the time.
    #[n(6)]
    Lost {
        /// Since then, in milliseconds since 1970 UTC.
        #[n(0)]
        since_ms: i64,
        /// The bounds, and the claim.
        #[n(1)]
        times: CaptureTime,
    },
    /// What a camera wrote in the file that a photo was made from.
    #[n(7)]
    File {
        /// What its clock showed when it was taken, in milliseconds since 1970 on that clock.
        #[n(0)]
        shown_ms: Option<i64>,
        /// How far that clock was ahead of UTC, in minutes, if it said so.
        #[n(1)]
        offset_min: Option<i16>,
        /// What its clock showed when it was written, if that was later.
        #[n(2)]
        written_ms: Option<i64>,
        /// The program that changes pictures whose name it has.
        #[n(3)]
        editor: Option<String>,
    },
}

/// How long a visit took somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Length {
    /// Which.
    #[n(0)]
    pub visit: VisitId,
    /// When it began, by claim.
    #[n(1)]
    pub began_ms: i64,
    /// How long, in milliseconds.
    #[n(2)]
    pub ms: i64,
}

/// A signal of a visit with what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose captures.
    pub by: UserId,
    /// The capture.
    pub entry: ChangeHash,
    /// What, and how much.
    pub signal: Signal,
    /// What shows it.
    pub evidence: Evidence,
    /// The other capture and its visit, if it is another one.
    pub other: Option<(VisitId, ChangeHash)>,
}

/// What a visit says of place, way and time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// What is seen in it alone: of each person and kind the strongest.
    pub found: Vec<Found>,
    /// One for each of its people.
    pub stays: Vec<Stay>,
}

/// Metres within which a fix may be wrong; `None` if it says nothing.
fn slack_m(place: &Geo, unsaid_m: u32) -> Option<f64> {
    let accuracy = place.accuracy_m.unwrap_or(unsaid_m);
    (accuracy <= ACCURACY_M_MAX).then(|| f64::from(accuracy) * ACCURACIES)
}

/// Whether a capture lies outside the outlet, however wrong both positions are.
pub fn outside(place: &Geo, outlet: &Ground) -> Option<Signal> {
    let slack = slack_m(place, UNSAID_ACCURACY_M)? + slack_m(&outlet.place, OUTLET_ACCURACY_M)?;
    let away = place.distance_m(&outlet.place) - slack;
    (away > f64::from(outlet.radius_m)).then(|| Signal { kind: Kind::Outside, figure: whole(away) })
}

/// Whether the phone said that its position is made up.
pub fn mocked(place: &Geo) -> Option<Signal> {
    place.mock.filter(|mock| *mock).map(|_| Signal { kind: Kind::Mocked, figure: 0 })
}

/// At most so many milliseconds lie between two captures of one person: by the clock that counts since a phone's start
/// where both are of one boot, then the earlier comes first; otherwise by the bounds, whichever comes first.
fn between_ms(earlier: &Fix, later: &Fix) -> Option<i64> {
    if same_boot(earlier, later) {
        let between = later.when.boot_ms.checked_sub(earlier.when.boot_ms)?;
        return i64::try_from(between).ok();
    }
    let forth = later.times.latest_ms.saturating_sub(earlier.times.not_before_ms()?);
    let back = earlier.times.latest_ms.saturating_sub(later.times.not_before_ms()?);
    Some(forth.max(back).max(0))
}

fn same_boot(one: &Fix, other: &Fix) -> bool {
    one.device == other.device && one.when.boot == other.when.boot
}

/// Whether somebody was in two places sooner than anybody travels, the earlier capture first.
pub fn travel(earlier: &Fix, later: &Fix) -> Option<(Signal, Evidence)> {
    let (from, to) = (earlier.place, later.place);
    let slack = slack_m(&from, UNSAID_ACCURACY_M)? + slack_m(&to, UNSAID_ACCURACY_M)?;
    let (away, ms) = (from.distance_m(&to), between_ms(earlier, later)?);
    let metres = away - slack;
    let hours = ms.max(1_000) as f64 / 3_600_000.0;
    let speed = metres / 1_000.0 / hours;
    (metres > TRAVEL_M_MIN && speed > SPEED_MAX).then(|| {
        let signal = Signal { kind: Kind::Travel, figure: whole(speed) };
        (signal, Evidence::Way { from, to, metres: whole(away), ms })
    })
}

/// Whether so many observations were made after the `first` recording, up to the `last`, in less time than looking takes.
pub fn short(
    observations: usize,
    (first, last): (&Moment, &Moment),
    observation_ms: u32,
) -> Option<Signal> {
    if observations < OBSERVATIONS_MIN || first.boot != last.boot {
        return None;
    }
    let took = i64::try_from(last.boot_ms.checked_sub(first.boot_ms)?).ok()?;
    let least = i64::from(observation_ms).saturating_mul(i64::try_from(observations).ok()?);
    (took < least).then_some(Signal { kind: Kind::Short, figure: took / 1_000 })
}

/// Whether the lengths of somebody's visits, in milliseconds, hardly differ.
pub fn regular(lengths_ms: &[i64]) -> Option<Signal> {
    let count = lengths_ms.len();
    if count < VISITS || lengths_ms.iter().any(|length| *length <= 0) {
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

/// Whether a phone's wall clock was set between two captures, as the clock has it that counts since its start.
pub fn set(earlier: &Moment, later: &Moment) -> Option<Signal> {
    let ahead = |when: &Moment| i128::from(when.wall_ms) - i128::from(when.boot_ms);
    let by = i64::try_from((ahead(later) - ahead(earlier)).unsigned_abs()).unwrap_or(i64::MAX);
    (earlier.boot == later.boot && by > CLOCK_MS_MAX)
        .then_some(Signal { kind: Kind::Clock, figure: by / 60_000 })
}

/// Whether the wall clock alone says when something was captured, and the bounds leave more than a day for it.
pub fn wide(times: &CaptureTime) -> Option<Signal> {
    if times.basis == ClaimBasis::BootClock || times.clamped {
        return None;
    }
    let within = times.not_before_ms().map(|from| times.latest_ms.saturating_sub(from));
    let figure = within.map_or(0, |ms| ms / 60_000);
    within.is_none_or(|ms| ms > WIDE_MS_MIN).then_some(Signal { kind: Kind::Wide, figure })
}

fn whole(figure: f64) -> i64 {
    // A float that is none or too large saturates.
    figure.round() as i64
}

/// Whether the server had something when its phone was out of its person's hands.
pub fn lost(since_ms: i64, times: &CaptureTime) -> Option<Signal> {
    let after = times.not_before_ms().map_or(0, |from| from.saturating_sub(since_ms).max(0));
    (times.latest_ms >= since_ms).then_some(Signal { kind: Kind::Lost, figure: after / 60_000 })
}

/// What a visit gives reason to look at by itself, and what it says for what is seen over several. What was written in the
/// console has neither place nor way.
pub fn of_visit(held: &Held, known: &Known) -> Reading {
    let visit = Visit::read(&held.document);
    let consoles: Vec<DeviceId> = DeviceId::of_servers(held.document.org()).collect();
    let mut reading = Reading::default();
    for person in visit.people() {
        let own = visit.recordings.iter().filter(|r| r.entry.by == person && !r.withdrawn);
        let captures = own.filter_map(|recorded| {
            let device =
                held.devices.get(&recorded.hash).filter(|device| !consoles.contains(device))?;
            Some((recorded, *device, held.times.get(&recorded.hash)?))
        });
        let captures: Vec<Capture<'_>> = captures.collect();
        let Some((first, device, times)) = captures.first().copied() else { continue };
        let (entry, began_ms) = (first.hash, times.claimed_ms);
        let mut strongest: Vec<Found> = Vec::new();
        let mut add = |entry, signal: Signal, evidence| {
            let found = Found { by: person, entry, signal, evidence, other: None };
            match strongest.iter_mut().find(|other| other.signal.kind == signal.kind) {
                Some(other) if other.signal.figure < signal.figure => *other = found,
                Some(_) => {}
                None => strongest.push(found),
            }
        };
        let (mut fixes, mut apart, mut cameras) = (Vec::new(), Vec::new(), Vec::new());
        let mut before: Option<(DeviceId, Moment)> = None;
        for (recorded, device, times) in captures.iter().copied() {
            let (entry, when) = (recorded.hash, recorded.entry.when);
            let grounds = since(&known.grounds, times.claimed_ms);
            let set = before.filter(|(same, _)| *same == device).and_then(|(_, b)| set(&b, &when));
            before = Some((device, when));
            for signal in [clock(&when, times), set, wide(times)].into_iter().flatten() {
                add(entry, signal, shown_by_clock(&when, times));
            }
            if let Some(since_ms) = known.lost.get(&device).copied()
                && let Some(signal) = lost(since_ms, times)
            {
                add(entry, signal, Evidence::Lost { since_ms, times: *times });
            }
            for place in recorded.entry.photos().iter().filter_map(camera) {
                if !grounds.is_empty() && slack_m(&place, UNSAID_ACCURACY_M).is_some() {
                    cameras.push((away(&place, grounds), (entry, shown(place, grounds))));
                }
            }
            let Some(place) = recorded.entry.place else { continue };
            if let Some(signal) = mocked(&place) {
                add(entry, signal, shown(place, grounds));
            }
            if slack_m(&place, UNSAID_ACCURACY_M).is_none() {
                continue;
            }
            let fix = Fix { entry, device, place, when, times: *times };
            if let Some((signal, evidence)) = fixes.last().and_then(|before| travel(before, &fix)) {
                add(entry, signal, evidence);
            }
            if !grounds.is_empty() {
                apart.push((away(&place, grounds), (entry, shown(place, grounds))));
            }
            fixes.push(fix);
        }
        if cameras.len() < CAMERA_PLACES_MIN {
            cameras.clear();
        }
        // More than half of the fixes, and of the cameras, which are further off, more than two of three: with fewer one honest
        // visit in seventy is told of.
        let within = [few(apart.len(), 2), few(cameras.len(), 3)];
        let all = [(Kind::Outside, apart), (Kind::Camera, cameras)];
        for ((kind, apart), within) in all.into_iter().zip(within) {
            if let Some((figure, (entry, shown))) = away_of(apart, within) {
                add(entry, Signal { kind, figure }, shown);
            }
        }
        let parts = submitted(&visit, &held.document, person, &captures);
        if let Some((last, signal, observations)) = hasty(captures[0], &parts, known.observation_ms)
        {
            add(last, signal, Evidence::Observations(observations as u64));
        }
        reading.found.append(&mut strongest);
        let length_ms = length_ms(&visit, held, (first, device), &parts);
        if fixes.len() > 2 {
            fixes.drain(1..fixes.len() - 1);
        }
        if length_ms.is_some() || !fixes.is_empty() {
            reading.stays.push(Stay { person, entry, began_ms, length_ms, fixes });
        }
    }
    reading
}

fn shown_by_clock(when: &Moment, times: &CaptureTime) -> Evidence {
    Evidence::Clock { wall_ms: when.wall_ms, skew_ms: when.skew_ms, times: *times }
}

/// Where a photo's camera says that it was, as inaccurate as cameras are if it does not say.
fn camera(photo: &PhotoRef) -> Option<Geo> {
    let place = photo.origin.as_ref()?.place?;
    Some(Geo { accuracy_m: place.accuracy_m.or(Some(UNSAID_ACCURACY_M)), ..place })
}

/// How many of so many are fewer than one `part`.
fn few(all: usize, part: usize) -> usize {
    all.saturating_sub(1) / part
}

/// How far captures were away, if no more than `within` of them were not: the nearest of the others. A fix that jumped
/// makes nobody leave, and one at the door does not bring the rest there.
fn away_of<T>(mut apart: Vec<(i64, T)>, within: usize) -> Option<(i64, T)> {
    apart.sort_by_key(|(away, _)| *away);
    apart.into_iter().nth(within).filter(|(away, _)| *away > 0)
}

/// A recording, its phone, and what is known of its time.
type Capture<'a> = (&'a Recorded, DeviceId, &'a CaptureTime);

/// A submission, and what it is the first of its person's to cover.
struct Part<'a> {
    hash: ChangeHash,
    when: Moment,
    captures: Vec<Capture<'a>>,
    /// How many observations and photos these are, but for those of the person's first capture: nobody knows how long they
    /// took.
    observations: usize,
}

/// Somebody's submissions with what of these captures each covers.
fn submitted<'a>(
    visit: &Visit,
    document: &Document,
    person: UserId,
    captures: &[Capture<'a>],
) -> Vec<Part<'a>> {
    let (mut past, mut left) = (document.past(&[]), captures.to_vec());
    let own = visit.submissions.iter().filter(|(_, submission)| submission.by == person);
    let parts = own.map(|(hash, submission)| {
        past.add(*hash);
        let (done, rest) = left.drain(..).partition(|(recorded, ..)| past.contains(recorded.hash));
        left = rest;
        let done: Vec<Capture<'a>> = done;
        let after = done.iter().filter(|(recorded, ..)| recorded.hash != captures[0].0.hash);
        // A photo is one more thing that was looked at.
        let observed = after.filter_map(|(recorded, ..)| recorded.entry.observed());
        let observations = observed.map(|o| o.observations.0.len() + o.photos.len()).sum();
        Part { hash: *hash, when: submission.when, captures: done, observations }
    });
    parts.collect()
}

/// Where looking took least for what was recorded, if it did anywhere: up to which capture, and how many observations. Each
/// submission begins anew, so that an early one hides nothing of what follows; but not one of a few in passing, so that
/// neither do many.
fn hasty(
    first: Capture<'_>,
    parts: &[Part<'_>],
    observation_ms: u32,
) -> Option<(ChangeHash, Signal, usize)> {
    let (mut from, mut observations) = (first, 0);
    let mut found = Vec::new();
    for part in parts {
        let Some(last) = part.captures.last().copied() else { continue };
        observations += part.observations;
        if observations < OBSERVATIONS_MIN {
            continue;
        }
        let between = (&from.0.entry.when, &last.0.entry.when);
        if from.1 == last.1
            && let Some(signal) = short(observations, between, observation_ms)
        {
            found.push((last.0.hash, signal, observations));
        }
        (from, observations) = (last, 0);
    }
    let lacks_ms = |(_, signal, observations): &(ChangeHash, Signal, usize)| {
        let least = u64::from(observation_ms).saturating_mul(*observations as u64);
        least.saturating_sub(signal.figure.unsigned_abs() * 1_000)
    };
    found.into_iter().max_by_key(lacks_ms)
}

/// From somebody's first capture to the submission with which half of what they submitted is: an early one ends no visit,
/// and neither does a late word. A call that was not possible takes no time of its own.
fn length_ms(
    visit: &Visit,
    held: &Held,
    (first, device): (&Recorded, DeviceId),
    parts: &[Part<'_>],
) -> Option<i64> {
    let gone = |r: &Recorded| matches!(r.entry.act, Act::NotPossible { .. });
    if visit.recordings.iter().any(|r| r.entry.by == first.entry.by && gone(r)) {
        return None;
    }
    let all: usize = parts.iter().map(|part| part.observations).sum();
    let mut done = 0;
    let part = parts.iter().find(|part| {
        done += part.observations;
        done * 2 >= all
    })?;
    let (from, to) = (first.entry.when, part.when);
    let one = held.devices.get(&part.hash) == Some(&device) && from.boot == to.boot;
    let between = to.boot_ms.checked_sub(from.boot_ms).filter(|_| one)?;
    i64::try_from(between).ok().filter(|ms| *ms > 0)
}

/// What somebody's part in a visit gives reason to look at after those that the same person began `before` it, newest
/// first; [`BEFORE_MAX`] of them are looked at.
pub fn after(before: &[(VisitId, Stay)], (visit, stay): (VisitId, &Stay)) -> Vec<Found> {
    let (by, mut found) = (stay.person, Vec::new());
    let before = &before[..before.len().min(BEFORE_MAX)];
    if let Some((other, last)) = before.iter().find(|(_, stay)| !stay.fixes.is_empty()) {
        let pairs = last.fixes.iter().flat_map(|a| stay.fixes.iter().map(move |b| (a, b)));
        let seen = pairs.filter_map(|(a, b)| {
            // Who goes to and fro between two outlets has made the earlier capture in either.
            let late = same_boot(a, b) && a.when.boot_ms > b.when.boot_ms;
            let seen = if late { travel(b, a) } else { travel(a, b) };
            seen.map(|(signal, evidence)| (signal, evidence, a.entry, b.entry))
        });
        if let Some((signal, evidence, from, entry)) = seen.max_by_key(|(s, ..)| s.figure) {
            let other = Some((*other, from));
            found.push(Found { by, entry, signal, evidence, other });
        }
        let pairs = last.fixes.iter().flat_map(|a| stay.fixes.iter().map(move |b| (a, b)));
        let set = pairs
            .filter(|(a, b)| same_boot(a, b))
            .filter_map(|(a, b)| set(&a.when, &b.when).map(|signal| (signal, a.entry, b)));
        if let Some((signal, from, fix)) = set.max_by_key(|(signal, ..)| signal.figure) {
            let (entry, other) = (fix.entry, Some((*other, from)));
            let evidence = shown_by_clock(&fix.when, &fix.times);
            found.push(Found { by, entry, signal, evidence, other });
        }
    }
    let known = |(visit, stay): (VisitId, &Stay)| {
        stay.length_ms.map(|ms| Length { visit, began_ms: stay.began_ms, ms })
    };
    let Some(own) = known((visit, stay)) else { return found };
    let earlier = before.iter().filter_map(|(visit, stay)| known((*visit, stay)));
    let mut lengths: Vec<Length> = std::iter::once(own).chain(earlier).take(VISITS).collect();
    lengths.reverse();
    let each: Vec<i64> = lengths.iter().map(|length| length.ms).collect();
    if let Some(signal) = regular(&each) {
        let (entry, evidence) = (stay.entry, Evidence::Lengths(lengths));
        found.push(Found { by, entry, signal, evidence, other: None });
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
    fn what_came_from_a_lost_phone_says_whether_it_can_be_from_before() {
        let figure = |times: CaptureTime| lost(NOON, &times).map(|signal| signal.figure);
        assert_eq!(figure(times(NOON - 9_000, NOON - 1)), None);
        assert_eq!(figure(times(NOON - 9_000, NOON)), Some(0), "it may be from before");
        assert_eq!(figure(times(NOON + 120_000, NOON + 180_000)), Some(2));
        assert_eq!(figure(times(i64::MIN, NOON)), Some(0));
    }

    #[test]
    fn a_capture_is_outside_only_where_no_error_of_the_fix_explains_it() {
        let ground = |radius_m| Ground { place: geo(18.0565, 59.344, None), radius_m };
        // A thousandth of a degree of latitude is 111 m.
        let figure = |lat, accuracy| {
            outside(&geo(18.0565, lat, accuracy), &ground(150)).map(|signal| signal.figure)
        };
        assert_eq!(figure(59.344, Some(5)), None);
        assert_eq!(figure(59.3453, Some(5)), None, "145 m: at the door of a large store");
        assert_eq!(figure(59.346, Some(0)), Some(222));
        assert_eq!(figure(59.346, None), None, "an app that does not say how accurate it is");
        assert_eq!(figure(59.444, None), Some(10_950));
        assert_eq!(figure(59.346, Some(30)), Some(171));
        assert_eq!(figure(59.346, Some(50)), None, "it may have been within");
        assert_eq!(figure(59.444, Some(2_000)), Some(7_720));
        assert_eq!(figure(59.444, Some(2_001)), None, "it says nothing");
        let vague = Ground { place: geo(18.0565, 59.344, Some(60)), radius_m: 150 };
        let away = geo(18.0565, 59.346, Some(0));
        assert_eq!(outside(&away, &vague), None);
        assert!(outside(&away, &ground(222)).is_some() && outside(&away, &ground(223)).is_none());
    }

    #[test]
    fn an_outlet_that_moves_accuses_nobody_of_before() {
        let at = |lat| Ground { place: geo(18.0565, lat, None), radius_m: 150 };
        let wide = Ground { radius_m: 300, ..at(59.344) };
        let grounds = [(0, at(59.344)), (10, wide), (20, at(60.344))];
        let (old, new, nowhere) =
            (geo(18.0565, 59.344, None), geo(18.0565, 60.344, None), geo(18.0565, 61.344, None));
        let away = |place, at_ms| away(place, since(&grounds, at_ms)) > 0;
        assert_eq!([5, 15, 19].map(|at_ms| away(&old, at_ms)), [false; 3], "where it was then");
        assert_eq!([5, 15, 19].map(|at_ms| away(&new, at_ms)), [false; 3], "put right since");
        assert_eq!([21, 25].map(|at_ms| away(&old, at_ms)), [true; 2]);
        assert!(!away(&old, 20), "in that very millisecond it may have been before");
        assert_eq!([-5, 5, 25].map(|at_ms| away(&nowhere, at_ms)), [true; 3]);
        let moved = |at_ms| match shown(nowhere, since(&grounds, at_ms)) {
            Evidence::Place { metres, moved_ms, .. } => (metres, moved_ms),
            evidence => panic!("{evidence:?}"),
        };
        assert_eq!([5, 15].map(|at_ms| moved(at_ms).1), [Some(20); 2], "a radius is no place");
        assert_eq!(moved(25), (Some(whole(nowhere.distance_m(&new))), None));
        assert!(since(&[], 5).is_empty() && super::away(&old, &[]) == 0);
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
        let bounded = times(NOON - 3_600_000, NOON);
        let fix = |(place, when): (&Geo, Moment), known: &CaptureTime| {
            let (entry, device) = (ChangeHash([1; 32]), DeviceId::from_bytes([1; 16]));
            Fix { entry, device, place: *place, when, times: *known }
        };
        let speed = |a: (&Geo, Moment), b: (&Geo, Moment), known: &CaptureTime| {
            travel(&fix(a, known), &fix(b, known)).map(|(signal, _)| signal.figure)
        };
        let minutes = |n: u64| n * 60_000;
        let by_boot =
            |n| speed((&north, moment(1, 5)), (&south, moment(1, 5 + minutes(n))), &bounded);
        assert_eq!(by_boot(10), Some(667));
        assert_eq!(by_boot(27), None, "at 247 km/h: there are such trains");
        assert_eq!(by_boot(0), Some(400_057), "in no time at all");
        // Rebooted between: only the bounds count, here that it was within the hour.
        let rebooted =
            |known: &CaptureTime| speed((&north, moment(1, 5)), (&south, moment(2, 1)), known);
        assert_eq!(rebooted(&bounded), None);
        assert_eq!(rebooted(&times(NOON - 1_200_000, NOON)), Some(333));
        assert_eq!(rebooted(&times(i64::MIN, NOON)), None, "nothing bounds it");
        // A clock that runs back says nothing, and a jump of a fix is no travel.
        assert_eq!(speed((&north, moment(1, 9)), (&south, moment(1, 5)), &bounded), None);
        let near = geo(18.0, 59.01, Some(20));
        assert_eq!(speed((&north, moment(1, 5)), (&near, moment(1, 6)), &bounded), None);
        // Another phone's boot of the same number is another one.
        let mut other = fix((&south, moment(1, 6)), &bounded);
        other.device = DeviceId::from_bytes([2; 16]);
        assert_eq!(travel(&fix((&north, moment(1, 5)), &bounded), &other), None);
        let vague = Geo { accuracy_m: Some(5_000), ..south };
        assert_eq!(speed((&north, moment(1, 5)), (&vague, moment(1, 6)), &bounded), None);
    }

    #[test]
    fn hundred_values_are_not_seen_in_a_minute() {
        let within = |n, took_ms: u64, least_ms| {
            short(n, (&moment(1, 7), &moment(1, 7 + took_ms)), least_ms).map(|s| s.figure)
        };
        assert_eq!(within(100, 60_000, 1_000), Some(60));
        assert_eq!(within(100, 100_000, 1_000), None);
        assert_eq!(within(9, 2_000, 1_000), Some(2));
        assert_eq!(within(2, 1, 1_000), None, "a price in passing");
        assert_eq!(within(9, 2_000, 200), None, "where the organisation says so");
        assert_eq!(within(9, 2_000, 300), Some(2));
        let short = |first: Moment, last: Moment| short(100, (&first, &last), 1_000);
        assert_eq!(short(moment(1, 7), moment(2, 8)), None, "rebooted: nobody knows");
        assert_eq!(short(moment(1, 8), moment(1, 7)), None);
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
            let times =
                CaptureTime::estimate(&when, when.age_ms(&pushed), Some(NOON - 3_600_000), NOON);
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
    fn a_wall_clock_that_is_set_in_one_boot_is_noticed() {
        let at = |wall_ms, boot, boot_ms| Moment { wall_ms, ..moment(boot, boot_ms) };
        let set = |earlier, later| set(&earlier, &later).map(|signal| signal.figure);
        let (noon, day) = (at(NOON, 1, 5), 24 * 3_600_000);
        assert_eq!(set(noon, at(NOON + 60_000, 1, 60_005)), None);
        assert_eq!(set(noon, at(NOON + 60_000 + 15 * 60_000, 1, 60_005)), None, "set right");
        assert_eq!(set(noon, at(NOON - day, 1, 60_005)), Some(24 * 60 + 1));
        assert_eq!(set(at(NOON + day, 1, 5), noon), Some(24 * 60), "in whatever order");
        assert_eq!(set(noon, at(NOON - day, 2, 60_005)), None, "started again: nobody knows");
        assert_eq!(set(at(i64::MAX, 1, 0), at(i64::MIN, 1, u64::MAX)), Some(i64::MAX / 60_000));
        // So it is between the captures of two visits.
        let stay = |wall_ms, boot_ms| {
            let (entry, device) = (ChangeHash([boot_ms as u8; 32]), DeviceId::from_bytes([1; 16]));
            let (place, when) = (geo(18.0, 59.0, Some(20)), at(wall_ms, 1, boot_ms));
            let fix = Fix { entry, device, place, when, times: times(NOON, NOON) };
            let person = UserId::from_bytes([1; 16]);
            Stay { person, entry, began_ms: wall_ms, length_ms: None, fixes: vec![fix] }
        };
        let visit = |n| VisitId::from_bytes([n; 16]);
        let found = |now: &Stay| after(&[(visit(1), stay(NOON, 5))], (visit(2), now));
        assert_eq!(found(&stay(NOON + 60_000, 60_005)), []);
        let [found] = &found(&stay(NOON - day, 60_006))[..] else { panic!("one signal") };
        assert_eq!((found.signal.kind, found.signal.figure), (Kind::Clock, 24 * 60 + 1));
        assert_eq!(found.other, Some((visit(1), ChangeHash([5; 32]))));
    }

    #[test]
    fn what_the_wall_clock_alone_says_is_noticed_where_a_day_is_not_ruled_out() {
        let day = 24 * 3_600_000;
        let wide = |anchor_ms, skew_ms, wall_ms, boot| {
            let when = Moment { wall_ms, skew_ms, ..moment(1, 1_000) };
            let age = when.age_ms(&Moment { boot, ..moment(1, 61_000) });
            let times = CaptureTime::estimate(&when, age, anchor_ms, NOON);
            wide(&times).map(|signal| signal.figure)
        };
        // Last heard on Monday; on Wednesday the clock says Tuesday, and the phone is started again before it sends.
        let monday = Some(NOON - 2 * day);
        assert_eq!(wide(monday, None, NOON - day, 2), Some(2 * 24 * 60));
        assert_eq!(wide(monday, Some(0), NOON - day, 2), Some(2 * 24 * 60), "nor does it help");
        assert_eq!(wide(None, None, NOON - day, 2), Some(0), "nothing bounds it");
        assert_eq!(wide(monday, None, NOON - day, 1), None, "a clock has counted it");
        assert_eq!(wide(Some(NOON - day), None, NOON - 9, 2), None, "a day, and no more");
        assert_eq!(wide(monday, None, 0, 2), None, "what is ruled out has another signal");
    }

    #[test]
    fn a_few_within_do_not_bring_the_rest_there() {
        let away = |metres: &[i64], part| {
            let all = metres.iter().map(|metres| (*metres, ())).collect();
            away_of(all, few(metres.len(), part)).map(|(m, ())| m)
        };
        let cameras = |metres: &[i64]| away(metres, 3);
        assert_eq!(cameras(&[900, 950]), Some(900));
        assert_eq!(cameras(&[0, 950, 900]), None, "two of three are not more than that");
        assert_eq!(cameras(&[800, 950, 900]), Some(800));
        assert_eq!(cameras(&[0, 900, 950, 970]), Some(900));
        assert_eq!(cameras(&[0, 0, 900, 950, 960, 970]), None);
        assert_eq!(cameras(&[0, 890, 900, 950, 960, 970]), Some(890));
        let fixes = |metres: &[i64]| away(metres, 2);
        assert_eq!(fixes(&[]), None);
        assert_eq!(fixes(&[700]), Some(700));
        assert_eq!(fixes(&[0, 700]), None, "half is not more than half");
        assert_eq!(fixes(&[0, 700, 800]), Some(700));
        assert_eq!(fixes(&[0, 0, 800]), None);
    }
}
