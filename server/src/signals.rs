//! What is worth a look: facts become signals. A signal accuses nobody; each says what was seen and why that may have
//! a plain reason. Here nothing is read and nothing is written.

pub mod field;

use sync_core::model::visit::PhotoOrigin;

use self::field::Evidence;

/// What a signal is about. The number is stored: a new kind goes at the end, and none is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The very file is in another document, which is not known to be later.
    SameFile = 0,
    /// A picture that is nearly the same is in another document, or in the same visit for another check, and is not known
    /// to be later.
    SamePicture = 1,
    /// It may be a photo of a screen.
    Screen = 2,
    /// The file did not say when it was taken, or the device said nothing of the file.
    NoTime = 3,
    /// A program had changed the file, or written it later than it was taken.
    Edited = 4,
    /// By the camera's clock it was taken at another time than it was recorded.
    OtherTime = 5,
    /// Captured farther from the outlet than the fix's accuracy explains.
    Outside = 6,
    /// The phone said itself that a program made its position up.
    Mocked = 7,
    /// Two captures of one person lie farther apart than anybody travels in the time between.
    Travel = 8,
    /// More was recorded than can be looked at in the time.
    Short = 9,
    /// Visits of one person take the same time, again and again.
    Regular = 10,
    /// The phone's clocks and the bounds of the time do not go together.
    Clock = 11,
    /// By what their camera wrote the photos were taken farther from the outlet than that may be wrong.
    Camera = 12,
    /// The server had it when its phone was out of its person's hands, as whoever withdrew that says.
    Lost = 13,
    /// Its phone's wall clock alone says when it was, and more than a day is not ruled out.
    Wide = 14,
}

/// A camera's clock and the phone's may be so far apart, and a photo may wait so long before it is attached.
const APART_MS_MAX: i64 = 30 * 60_000;
/// The figure of [`Kind::NoTime`] where not even the file was named.
const UNSAID: i64 = 1;
/// Greatest weight.
pub const WEIGHT_MAX: u32 = 100;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::SameFile,
        Self::SamePicture,
        Self::Screen,
        Self::NoTime,
        Self::Edited,
        Self::OtherTime,
        Self::Outside,
        Self::Mocked,
        Self::Travel,
        Self::Short,
        Self::Regular,
        Self::Clock,
        Self::Camera,
        Self::Lost,
        Self::Wide,
    ];

    /// The kind of a number.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Whether it is of captures, not of a photo.
    pub fn of_field(self) -> bool {
        self >= Self::Outside
    }

    /// What it weighs until the organisation says something else; 0 to [`WEIGHT_MAX`].
    pub const fn usual_weight(self) -> u32 {
        match self {
            Self::SameFile => 60,
            Self::Mocked | Self::Lost => 50,
            Self::SamePicture | Self::Travel => 40,
            Self::Screen | Self::Outside => 30,
            Self::Short => 25,
            Self::OtherTime | Self::Camera => 20,
            Self::Edited | Self::Regular => 15,
            Self::Clock => 10,
            Self::NoTime | Self::Wide => 5,
        }
    }

    /// Its name, as people read it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::SameFile => "The same photo is in another visit",
            Self::SamePicture => "Looks nearly the same as another photo",
            Self::Screen => "May show a screen",
            Self::NoTime => "Nothing says when the photo was taken",
            Self::Edited => "The file was changed, or written again, after it was taken",
            Self::OtherTime => "The camera’s time is another one",
            Self::Outside => "Captured away from the outlet",
            Self::Mocked => "The phone’s position was made up",
            Self::Travel => "Too far away too soon",
            Self::Short => "Recorded faster than one can look",
            Self::Regular => "Visits take the same time again and again",
            Self::Clock => "The phone’s clock is in doubt",
            Self::Camera => "Photos taken away from the outlet",
            Self::Lost => "From a phone that was out of its person’s hands",
            Self::Wide => "The wall clock alone says which day it was",
        }
    }

    /// What was seen, what can be said against it.
    pub fn explanation(self, figure: i64) -> String {
        match self {
            Self::SameFile => {
                "Byte for byte the same file. A photo can be attached twice by mistake, and come in a message.".into()
            }
            Self::SamePicture => format!(
                "{figure} of 64 bits of its outline differ; a photo that is cropped, turned or saved again keeps most of them. \
                 Two photos that somebody takes from one spot, or a camera that stands fixed, can be as near."
            ),
            Self::Screen => format!(
                "Fine waves in two directions stand out {figure} dB, as between the dots of a screen and those of a camera. \
                 Fine grids and fabrics can do that too."
            ),
            Self::NoTime if figure == UNSAID => {
                "Nothing was said of the file from which it was made, which Endcap’s own library says of every photo. Another \
                 program may not know how."
                    .into()
            }
            Self::NoTime => {
                "The file from which it was made says nothing of when it was taken. Screenshots and pictures from messages \
                 do not; some camera apps do not either."
                    .into()
            }
            Self::Edited if figure > 0 => format!(
                "The file says that it was written again {} after it was taken. Cropping a photo does that too.",
                minutes(figure)
            ),
            Self::Edited => {
                "The file names a program that changes pictures. Cropping a photo with it does that too.".into()
            }
            Self::OtherTime => format!(
                "By the camera’s clock it was taken {} {} it was recorded, as the phone has that. The camera’s clock is set by its owner, and is only a claim.",
                minutes(figure.abs()),
                if figure < 0 { "before" } else { "after" },
            ),
            Self::Outside => format!(
                "More than half of the captures are {figure} m from the outlet at least, the accuracy of the fixes taken off. The \
                 outlet’s own position may be wrong, and fixes between high walls are."
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
            Self::Clock if figure == 0 => {
                "Its clock says a time that is ruled out: before what the phone had heard, or after this server had it. \
                 A phone without a battery for weeks does that too."
                    .into()
            }
            Self::Clock => format!(
                "Its wall clock is {} away from its other clocks. Owners set clocks, by mistake too.",
                minutes(figure)
            ),
            Self::Lost if figure == 0 => {
                "It came when the phone was out of its person’s hands, as whoever withdrew it says. It may have been made \
                 before, and have waited on the phone."
                    .into()
            }
            Self::Lost => format!(
                "It was made {} at least after the phone was out of its person’s hands, as whoever withdrew it says, who may be \
                 wrong about when that was.",
                minutes(figure)
            ),
            Self::Wide if figure == 0 => {
                "Nothing says how long before this server had it, and no clock has counted that. Owners set the wall clock, \
                 by mistake too."
                    .into()
            }
            Self::Wide => format!(
                "It may have been made at any time within {}, and no clock has counted that: the phone was started again \
                 before it sent this, or somebody else brought it. Owners set the wall clock, by mistake too; whoever is \
                 offline for days and lets the battery run out has this.",
                minutes(figure)
            ),
            Self::Camera => format!(
                "By what the camera wrote most of the photos are from {figure} m from the outlet at least, its accuracy \
                 taken off. It is only a claim; cameras also write where the phone was a while ago, and the outlet’s own position may \
                 be wrong."
            ),
        }
    }
}

fn minutes(minutes: i64) -> String {
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2_880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1_440),
    }
}

/// Something that was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// What.
    pub kind: Kind,
    /// How much of it, by kind: bits that differ, decibels, minutes, metres, km/h, seconds, thousandths; 0 where there
    /// is no more or less.
    pub figure: i64,
}

/// What is known of one photo of a visit.
#[derive(Debug)]
pub struct PhotoFacts<'a> {
    /// When it was recorded, as its phone claims, in milliseconds since 1970 UTC: the first and the last moment. Whoever
    /// shows a photo in a contest may have taken it at any time before.
    pub recorded_ms: (i64, i64),
    /// How far the outlet's clocks are ahead of UTC then, in minutes.
    pub offset_min: i64,
    /// What the device says of the file; `None` from a device that says nothing of it.
    pub origin: Option<&'a PhotoOrigin>,
    /// What [`picture::screen`] says.
    pub screen: u32,
}

/// What one photo by itself gives reason to look at, and what shows it.
pub fn of_photo(facts: &PhotoFacts<'_>) -> Vec<(Signal, Option<Evidence>)> {
    let mut signals = Vec::new();
    if facts.screen >= picture::SCREEN_MIN {
        signals.push((Signal { kind: Kind::Screen, figure: facts.screen.into() }, None));
    }
    let Some(origin) = facts.origin else {
        signals.push((Signal { kind: Kind::NoTime, figure: UNSAID }, None));
        return signals;
    };
    let file = || {
        let PhotoOrigin { shown_ms, offset_min, written_ms, .. } = *origin;
        Some(Evidence::File { shown_ms, offset_min, written_ms, editor: origin.editor.clone() })
    };
    let later_ms = origin
        .shown_ms
        .zip(origin.written_ms)
        .map(|(taken, written)| written.saturating_sub(taken));
    let figure = later_ms.map_or(0, |ms| ms / 60_000).max(0);
    if origin.editor.is_some() || figure > 0 {
        signals.push((Signal { kind: Kind::Edited, figure }, file()));
    }
    match origin.shown_ms {
        None => signals.push((Signal { kind: Kind::NoTime, figure: 0 }, None)),
        Some(shown_ms) => {
            let offset_min = origin.offset_min.map_or(facts.offset_min, i64::from);
            let taken_ms = shown_ms.saturating_sub(offset_min * 60_000);
            let (first, last) = facts.recorded_ms;
            let apart = match taken_ms {
                early if early < first => early.saturating_sub(first),
                late if late > last => late.saturating_sub(last),
                _ => 0,
            };
            if apart.saturating_abs() > APART_MS_MAX {
                let figure = apart / 60_000;
                signals.push((Signal { kind: Kind::OtherTime, figure }, file()));
            }
        }
    }
    signals
}

#[cfg(test)]
mod tests {
    use sync_core::id::BlobHash;

    use super::*;

    #[test]
    fn what_a_photo_gives_reason_to_look_at() {
        let hour = 3_600_000;
        let noon = 12 * hour;
        let origin = |shown_ms, offset_min, written_ms| PhotoOrigin {
            file: BlobHash([1; 32]),
            shown_ms,
            offset_min,
            place: None,
            editor: None,
            written_ms,
        };
        let seen = |origin: Option<PhotoOrigin>, screen| {
            let recorded_ms = (noon, noon + hour);
            let facts =
                PhotoFacts { recorded_ms, offset_min: 120, origin: origin.as_ref(), screen };
            of_photo(&facts).iter().map(|(s, _)| (s.kind, s.figure)).collect::<Vec<_>>()
        };
        assert_eq!(seen(None, 0), [(Kind::NoTime, UNSAID)]);
        assert_eq!(seen(None, 99), [(Kind::Screen, 99), (Kind::NoTime, UNSAID)]);
        assert_eq!(seen(Some(origin(None, None, None)), 0), [(Kind::NoTime, 0)]);
        let editor = Some("GIMP".to_owned());
        let edited = PhotoOrigin { editor, ..origin(None, None, None) };
        assert_eq!(seen(Some(edited), 0), [(Kind::Edited, 0), (Kind::NoTime, 0)]);
        let again = origin(Some(noon), Some(0), Some(noon + 3 * hour));
        assert_eq!(seen(Some(again), 0), [(Kind::Edited, 180)]);
        // Another library may say what says nothing.
        for (taken, written) in [(Some(noon), noon - hour), (Some(noon), noon + 1), (None, noon)] {
            let said = seen(Some(origin(taken, Some(0), Some(written))), 0);
            assert!(said.iter().all(|(kind, _)| *kind != Kind::Edited), "{said:?}");
        }
        // The outlet's clocks are two hours ahead; the camera's say so, or say nothing.
        for offset_min in [Some(120), None] {
            assert_eq!(seen(Some(origin(Some(noon + 2 * hour), offset_min, None)), 0), []);
        }
        assert_eq!(seen(Some(origin(Some(noon), Some(0), None)), 0), []);
        assert_eq!(
            seen(Some(origin(Some(noon - 25 * hour), Some(0), None)), 0),
            [(Kind::OtherTime, -1_500)]
        );
        assert_eq!(
            seen(Some(origin(Some(noon + 3 * hour), Some(0), None)), 0),
            [(Kind::OtherTime, 120)]
        );
        let ends =
            [i64::MIN, i64::MAX].map(|ms| seen(Some(origin(Some(ms), Some(i16::MIN), None)), 0));
        assert!(ends.iter().all(|seen| seen[0].0 == Kind::OtherTime));
    }

    #[test]
    fn kinds_have_numbers_words_and_weights() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind as u8), Some(kind));
            assert!(!kind.title().is_empty() && kind.usual_weight() <= WEIGHT_MAX);
            for figure in [-90, 0, 7, i64::MAX] {
                let text = kind.explanation(figure);
                assert!(text.ends_with('.') && !text.contains("  "), "{text}");
            }
            assert!(!kind.title().ends_with('.'));
            let said = format!("{} {}", kind.title(), kind.explanation(-90)).to_lowercase();
            for word in ["fraud", "fake", "cheat", "suspicious", "forged", "lie"] {
                assert!(!said.split(|c: char| !c.is_alphabetic()).any(|w| w == word), "{said}");
            }
        }
        assert_eq!(Kind::of(200), None);
    }
}
