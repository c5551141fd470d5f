//! What crosses the border to Kotlin, Swift and Python: plain records and one error.

use sync_core::admit::Refusal;
use sync_core::command::{CommandError, Done};
use sync_core::evidence::LogKey;
use sync_core::id::{BlobHash, Gtin};
use sync_core::model::contest::Step;
use sync_core::model::visit::{self, Note, Place as ShelfPlace};
use sync_core::model::{Geo, Invalid, Money};
use sync_core::receipt::{Alarm, Restored, Watch, Wrong};
use sync_core::tlog::{Checkpoint, NoteKey, SignedNote};

use picture::{Camera, Doubt};

use crate::photo::{PhotoError, Prepared};
use crate::store::StoreError;

/// Why something was not done. Nothing of it was.
#[derive(Debug, thiserror::Error, uniffi::Error)]
pub enum ClientError {
    /// The key does not open this folder.
    #[error("the key does not open this folder")]
    WrongKey,
    /// The folder is open already, here or in another process.
    #[error("the folder is already open")]
    InUse,
    /// A newer library wrote the folder.
    #[error("a newer version of the app has written this folder: update")]
    TooNew,
    /// The device's storage is full; nothing was saved.
    #[error("the device's storage is full: nothing was saved")]
    Full,
    /// What is stored cannot be read as what was written.
    #[error("the stored data is damaged: {detail}")]
    Damaged {
        /// Where.
        detail: String,
    },
    /// The system refuses to read or write the folder, or the library failed at it. Nothing is known to be damaged.
    #[error("the folder cannot be used now: {detail}")]
    Unusable {
        /// What the system says.
        detail: String,
    },
    /// Enrol first.
    #[error("this folder is not enrolled yet")]
    NotEnrolled,
    /// One folder is for one person at one organisation.
    #[error("this folder is enrolled already: open another folder for another person")]
    AlreadyEnrolled,
    /// The device does not have it.
    #[error("this device has no such {what}")]
    NotHere {
        /// What was asked for.
        what: String,
    },
    /// The rules do not allow it.
    #[error("{detail}")]
    Refused {
        /// A stable name, as in docs/protocol.md.
        code: String,
        /// In words.
        detail: String,
    },
    /// The server has refused what was written in this document before. Nothing more can be until that is proposed again,
    /// given up or let in: [`crate::Client::outstanding`] has it, with what helps.
    #[error(
        "what was written here before was refused ({code}), and waits to be decided on: {detail}"
    )]
    Stuck {
        /// Why it was refused: a stable name, as in docs/protocol.md.
        code: String,
        /// In words.
        detail: String,
    },
    /// A value breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is asked of it.
        rule: String,
    },
    /// There is nothing to submit.
    #[error("there is nothing to submit")]
    Nothing,
    /// What is contested, or what was said of it, has changed since it was shown: show it anew.
    #[error("something was said or recorded meanwhile: look again")]
    Answered,
    /// The server cannot be reached now. Work is safe here; sync again later.
    #[error("the server cannot be reached: {detail}")]
    Unreachable {
        /// What the network said.
        detail: String,
    },
    /// The server was reached and asks for time: it is busy, stops, or has no room on its disk. Work is safe here; sync
    /// again once that time is over.
    #[error("the server asks for time: {detail}")]
    Busy {
        /// A stable name, as in docs/protocol.md; empty from a proxy before the server.
        code: String,
        /// In words.
        detail: String,
        /// After how many seconds another try makes sense, an hour at most; `None` where that was not said: with growing
        /// pauses.
        retry_after_s: Option<u32>,
    },
    /// The server has withdrawn this device's access. What was written here is kept, sent or not, and goes on under a new
    /// code; a sync that hears this drops what others have written.
    #[error("this device's access was withdrawn; your own work is kept here: ask for a new code")]
    Revoked,
    /// This person no longer works with the organisation. As [`ClientError::Revoked`], but there is no new code.
    #[error("you no longer work with this organisation; your own work is kept here")]
    Inactive,
    /// The server does not know this device: it came back from a backup that is older, or is another one. Everything is
    /// kept, and goes on under a new code.
    #[error("the server does not know this device; everything is kept here: ask for a new code")]
    Forgotten,
    /// The enrolment code is unknown, used or too old.
    #[error("the enrolment code is not valid: ask for a new one")]
    CodeInvalid,
    /// Server and library do not speak the same protocol version.
    #[error("the server and this app do not fit: {detail}")]
    Incompatible {
        /// Which versions.
        detail: String,
    },
    /// The server's answer was wrong, or forged on its way; nothing of it was applied.
    #[error("the server's answer was not accepted: {detail}")]
    BadAnswer {
        /// What was wrong.
        detail: String,
    },
    /// Something was captured that the server does not have yet.
    #[error("something waits to be sent: try again")]
    Unsent,
    /// A sync is running already, or enrolling is.
    #[error("a sync is running already")]
    Syncing,
}

#[uniffi::export]
impl ClientError {
    /// What happened, as an English sentence for a log or a screen that has no words of its own.
    pub fn sentence(&self) -> String {
        self.to_string()
    }
}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::WrongKey => Self::WrongKey,
            StoreError::InUse => Self::InUse,
            StoreError::TooNew { .. } => Self::TooNew,
            StoreError::Full => Self::Full,
            StoreError::Damaged(detail) => Self::Damaged { detail },
            StoreError::Io(error) => Self::Unusable { detail: error.to_string() },
        }
    }
}

impl From<Invalid> for ClientError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid { field: invalid.field.into(), rule: invalid.rule }
    }
}

impl From<PhotoError> for ClientError {
    fn from(error: PhotoError) -> Self {
        Self::Invalid { field: "photo".into(), rule: error.to_string() }
    }
}

impl From<sync_core::id::InvalidId> for ClientError {
    fn from(error: sync_core::id::InvalidId) -> Self {
        Self::Invalid { field: "id".into(), rule: error.to_string() }
    }
}

impl From<CommandError<StoreError>> for ClientError {
    fn from(error: CommandError<StoreError>) -> Self {
        match error {
            CommandError::Refused(Refusal::Invalid(invalid)) => invalid.into(),
            CommandError::Refused(refusal) => {
                Self::Refused { code: refusal.code().into(), detail: refusal.to_string() }
            }
            CommandError::NotHere(what) => Self::NotHere { what: what.into() },
            CommandError::Stuck { code, detail } => Self::Stuck { code, detail },
            CommandError::Nothing => Self::Nothing,
            CommandError::Answered => Self::Answered,
            CommandError::Store(error) => error.into(),
        }
    }
}

/// A position on the map, WGS84.
#[derive(Debug, Clone, Copy, PartialEq, uniffi::Record)]
pub struct Position {
    /// Degrees east.
    pub lon: f64,
    /// Degrees north.
    pub lat: f64,
    /// Radius of 68 % confidence in metres.
    #[uniffi(default = None)]
    pub accuracy_m: Option<u32>,
    /// Whether the platform says that a program made it up; none where it does not say.
    #[uniffi(default = None)]
    pub mock: Option<bool>,
}

impl Position {
    pub(crate) fn of(geo: &Geo) -> Self {
        let (lon, lat) = geo.degrees();
        Self { lon, lat, accuracy_m: geo.accuracy_m, mock: geo.mock }
    }

    pub(crate) fn geo(&self) -> Result<Geo, Invalid> {
        let geo = Geo::from_degrees(self.lon, self.lat, self.accuracy_m)?;
        Ok(Geo { mock: self.mock, ..geo })
    }
}

/// Who this device is enrolled for.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Enrolment {
    /// The organisation's id.
    pub organisation: String,
    /// What people call it.
    pub organisation_name: String,
    /// The person's id.
    pub user: String,
    /// What people call them.
    pub user_name: String,
    /// The server's address.
    pub server: String,
    /// The key that signs here, such as `7599 776c 3085 e3f9 da0d`, for a person to compare with the console.
    pub fingerprint: String,
}

/// A planned call.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The outlet.
    pub outlet: Outlet,
    /// The day, such as `2026-03-31`.
    pub day: String,
    /// The number of the visit template.
    pub template: u32,
    /// Names of the colleagues who share it.
    pub colleagues: Vec<String>,
    /// The visit's id, begun or not.
    pub visit: String,
    /// Where the visit stands, if anybody has begun it (see [`Visit::status`]).
    pub status: Option<String>,
}

/// A store.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Outlet {
    /// Its id.
    pub id: String,
    /// The name over the door.
    pub name: String,
    /// The short customer number.
    pub code: String,
    /// Street and number.
    pub street: String,
    /// Postal code and town.
    pub town: String,
    /// Such as `supermarket`.
    pub channel: String,
    /// Where it is.
    pub position: Option<Position>,
    /// The planograms of its shelves, by number.
    pub planograms: Vec<u32>,
    /// The GTINs that it must always have.
    pub must_stock: Vec<String>,
    /// The distributor that serves it.
    pub distributor: String,
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Product {
    /// Its GTIN, 14 digits.
    pub gtin: String,
    /// What the label says.
    pub name: String,
    /// Under which brand.
    pub brand: String,
    /// In which category.
    pub category: String,
    /// The organisation's own.
    pub own: bool,
}

/// The drawing of a shelf.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Planogram {
    /// Its number.
    pub number: u32,
    /// Its version on this device.
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// Width of the whole.
    pub width_mm: u32,
    /// Height of the whole.
    pub height_mm: u32,
    /// Its shelves.
    pub shelves: Vec<Shelf>,
    /// What stands on them.
    pub positions: Vec<PlannedPosition>,
}

/// A shelf of a planogram.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Shelf {
    /// Its number.
    pub number: u32,
    /// What people call it.
    pub name: String,
    /// Its board's height over the floor.
    pub y_mm: u32,
    /// Room above the board.
    pub height_mm: u32,
}

/// A product's planned place.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PlannedPosition {
    /// Its number.
    pub number: u32,
    /// On which shelf.
    pub shelf: u32,
    /// Left edge.
    pub x_mm: u32,
    /// Width of all facings.
    pub width_mm: u32,
    /// What.
    pub product: Product,
    /// How many fronts.
    pub facings: u32,
}

/// A list of checks.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Template {
    /// Its number.
    pub number: u32,
    /// Its version on this device.
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// What to look at.
    pub checks: Vec<Check>,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Check {
    /// Its id.
    pub id: u32,
    /// A few words.
    pub title: String,
    /// A sentence or two.
    pub help: String,
    /// Of which kind.
    pub kind: CheckKind,
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum CheckKind {
    /// Each position of the outlet's planograms.
    Planogram,
    /// A secondary display.
    Display {
        /// Its number.
        display: u32,
        /// What people call it.
        name: String,
    },
    /// The shelf prices of these products; of the must-stock list if there are none.
    Price {
        /// Their GTINs.
        gtins: Vec<String>,
    },
    /// The presence of these products; of the must-stock list if there are none.
    Stock {
        /// Their GTINs.
        gtins: Vec<String>,
    },
    /// A question with options to choose from.
    Choice {
        /// The options.
        options: Vec<String>,
    },
    /// A yes or no question.
    YesNo,
    /// A question for a whole number.
    Number,
    /// A question for words.
    Text,
    /// Something that this version of the library does not know.
    Other,
}

/// What an observation is about.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Subject {
    /// A position of a planogram.
    Position {
        /// The planogram's number.
        planogram: u32,
        /// The position's number.
        position: u32,
    },
    /// A product with a GTIN: own, a competitor's or one that no catalogue has.
    Product {
        /// 8, 12, 13 or 14 digits.
        gtin: String,
    },
    /// A product without a readable code.
    Unlisted {
        /// What it looks like, in words; empty where the words are not on this device.
        label: String,
        /// How the library names it; leave it out when recording.
        #[uniffi(default = None)]
        note: Option<String>,
    },
    /// A secondary display.
    Display {
        /// Its number.
        display: u32,
    },
    /// The outlet as a whole: the subject of questions.
    Outlet,
    /// Something that this version of the library does not know.
    Other,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Value {
    /// At a planogram position.
    Shelf {
        /// Visible fronts; zero when it is missing.
        facings: u32,
        /// More of it is in the back room.
        in_stock: bool,
        /// Where it was found.
        found: Found,
    },
    /// The price on the shelf.
    Price {
        /// Integer minor units, such as cents.
        minor: i64,
        /// ISO 4217 code.
        currency: String,
    },
    /// Whether it can be bought right now.
    Stock {
        /// A shopper can take one.
        on_shelf: bool,
        /// Units counted, if they were.
        #[uniffi(default = None)]
        units: Option<u32>,
    },
    /// A display or promotion is as agreed, or not.
    Met {
        /// It is.
        met: bool,
    },
    /// The chosen option, from 0.
    Choice {
        /// Which.
        option: u32,
    },
    /// Yes or no.
    YesNo {
        /// Yes.
        yes: bool,
    },
    /// A number.
    Number {
        /// Which.
        number: i64,
    },
    /// Words.
    Text {
        /// They; empty where they are not on this device.
        text: String,
    },
    /// Taken back, with nothing in its place.
    Withdrawn,
    /// Something that this version of the library does not know.
    Other,
}

/// Where a planned product was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Found {
    /// In its planned place, or nowhere.
    AsPlanned,
    /// On its shelf, but elsewhere along it.
    MovedAlong,
    /// On another shelf.
    OtherShelf {
        /// Which.
        shelf: u32,
    },
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Observation {
    /// Which check it answers.
    pub check: u32,
    /// About what.
    pub subject: Subject,
    /// What was seen.
    pub value: Value,
}

/// A photo to attach; made by `Client.add_photo`.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Photo {
    /// Its SHA-256, in hexadecimal.
    pub hash: String,
    /// The check that it is evidence for; `None` for the outlet as a whole.
    #[uniffi(default = None)]
    pub check: Option<u32>,
    /// How it looks and what its camera wrote; said by `Client.add_photo`, and of no account when it is attached.
    #[uniffi(default = None)]
    pub look: Option<PhotoLook>,
}

/// What may be wrong with a photo: a reason to take it again while one is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum PhotoDoubt {
    /// Nothing in it is sharp.
    Blurred,
    /// There is too little light.
    TooDark,
    /// There is too much light.
    TooBright,
}

impl PhotoDoubt {
    fn of(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Blurred => Self::Blurred,
            Doubt::TooDark => Self::TooDark,
            Doubt::TooBright => Self::TooBright,
        }
    }
}

/// How a photo looks, and what the camera wrote in the file that it was made from.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PhotoLook {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// The size of the file that is sent.
    pub bytes: u32,
    /// What may be wrong with it; empty if nothing is.
    pub doubts: Vec<PhotoDoubt>,
    /// How sharp the sharpest parts are: below 60 it is blurred.
    pub sharpness: u32,
    /// Mean brightness, of 255.
    pub brightness: u8,
    /// Pixels that are nearly black, in percent.
    pub dark_percent: u8,
    /// Pixels that are nearly white, in percent.
    pub bright_percent: u8,
    /// What the camera's clock showed, in milliseconds since 1970 on that clock.
    pub shown_ms: Option<i64>,
    /// How far that clock was ahead of UTC, in minutes, if it said so.
    pub offset_min: Option<i16>,
    /// Longitude that the camera wrote, in millionths of a degree.
    pub lon_e6: Option<i32>,
    /// Latitude that the camera wrote, in millionths of a degree.
    pub lat_e6: Option<i32>,
}

impl PhotoLook {
    pub(crate) fn of(prepared: &Prepared) -> Self {
        let Camera { taken, place, .. } = prepared.camera;
        Self {
            width: prepared.width,
            height: prepared.height,
            bytes: u32::try_from(prepared.jpeg.len()).unwrap_or(u32::MAX),
            doubts: prepared.doubts.iter().copied().map(PhotoDoubt::of).collect(),
            sharpness: prepared.look.sharpness,
            brightness: prepared.look.brightness,
            dark_percent: prepared.look.dark_percent,
            bright_percent: prepared.look.bright_percent,
            shown_ms: taken.map(|taken| taken.shown_ms),
            offset_min: taken.and_then(|taken| taken.offset_min),
            lon_e6: place.map(|place| place.lon_e6),
            lat_e6: place.map(|place| place.lat_e6),
        }
    }
}

/// A visit as this device knows it.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Visit {
    /// Its id.
    pub id: String,
    /// The outlet's id.
    pub outlet: String,
    /// The outlet's name.
    pub outlet_name: String,
    /// When what counts of it was begun, as that device claims, in milliseconds since 1970 UTC; none before its beginning is here.
    pub begun_ms: Option<i64>,
    /// `in_progress`, `submitted`, `approved`, `sent_back`, `disputed`, `not_possible` or `abandoned`.
    pub status: String,
    /// Names of the people who worked on it.
    pub people: Vec<String>,
    /// What was recorded, oldest first.
    pub recordings: Vec<Recording>,
    /// The values that hold.
    pub values: Vec<Held>,
    /// What reviewers decided, oldest first.
    pub reviews: Vec<Review>,
    /// What was said, oldest first, outside of contests.
    pub thread: Vec<Post>,
    /// What is held against it, oldest first.
    pub contests: Vec<Contest>,
    /// Some of this person's work in it is not submitted.
    pub unsubmitted: bool,
}

/// One screen that was written down.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Recording {
    /// Its id.
    pub id: String,
    /// Who wrote it.
    pub by: String,
    /// It is this person's own.
    pub own: bool,
    /// `start`, `observe`, `not_possible`, `withdraw` or `abandon`.
    pub act: String,
    /// How many facts it has.
    pub observations: u32,
    /// The hashes of its photos.
    pub photos: Vec<String>,
    /// Taken back.
    pub withdrawn: bool,
    /// Submitted by its author.
    pub submitted: bool,
    /// The server has it on its disk.
    pub confirmed: bool,
}

/// A value that holds for a check and subject; several that differ are a conflict.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Held {
    /// Of which check.
    pub check: u32,
    /// About what.
    pub subject: Subject,
    /// What people say.
    pub said: Vec<Said>,
    /// They differ.
    pub conflict: bool,
}

/// What one person says.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Said {
    /// Who.
    pub by: String,
    /// It is this person's own.
    pub own: bool,
    /// What.
    pub value: Value,
    /// In which recording.
    pub recording: String,
}

/// A disagreement that somebody should settle.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Conflict {
    /// In which visit.
    pub visit: String,
    /// At which outlet.
    pub outlet_name: String,
    /// What is said.
    pub held: Held,
}

/// A reviewer's decision.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Review {
    /// Its id, for an answer.
    pub id: String,
    /// Who decided.
    pub by: String,
    /// Approved, or sent back.
    pub approved: bool,
    /// Why; empty if nothing was said or the words are not here.
    pub comment: String,
    /// No later review knew of it.
    pub standing: bool,
}

/// Work that came back.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct SendBack {
    /// Which visit.
    pub visit: String,
    /// At which outlet.
    pub outlet_name: String,
    /// Why.
    pub review: Review,
}

/// Something said in a visit's thread.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Post {
    /// Its id.
    pub id: String,
    /// Who.
    pub by: String,
    /// What; empty where the words are not here.
    pub text: String,
    /// The entry that it answers.
    pub answers: Option<String>,
}

/// What a distributor's person holds against a visit, and what became of that.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Contest {
    /// Its id, for an answer.
    pub id: String,
    /// Names all of it that an answer goes by: what was said, and what holds now of what is contested.
    pub state: String,
    /// Who contests.
    pub by: String,
    /// It is this person.
    pub own: bool,
    /// When, as that device claims, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The check of the contested value; none for the whole visit.
    pub check: Option<u32>,
    /// What the contested value is about; none for the whole visit.
    pub subject: Option<Subject>,
    /// What it is against, as it was recorded; empty for the whole visit.
    pub against: Vec<Said>,
    /// What was there instead, if that is said.
    pub claim: Option<Value>,
    /// Why; empty where the words are not here.
    pub text: String,
    /// The hashes of the photos that speak for it.
    pub photos: Vec<String>,
    /// `open` (a supervisor should answer), `asked` (a supervisor has asked something, the distributor's people should
    /// answer), `accepted`, `upheld` or `closed`.
    pub standing: String,
    /// What is contested still holds, or was said again; a whole visit does until the objection is accepted.
    pub holds: bool,
    /// What was said after it, oldest first.
    pub words: Vec<ContestWord>,
    /// Whether the server has it.
    pub confirmed: bool,
}

/// A further word of a contest.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ContestWord {
    /// Its id.
    pub id: String,
    /// Who.
    pub by: String,
    /// When, as that device claims, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// How the contest goes on.
    pub step: ContestStep,
    /// What; empty where the words are not here.
    pub text: String,
    /// The hashes of the photos that show it.
    pub photos: Vec<String>,
    /// Whether the server has it.
    pub confirmed: bool,
}

/// A contest of a visit on this device, and what its person may do about it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Contested {
    /// Of which visit.
    pub visit: String,
    /// At which outlet: its id.
    pub outlet: String,
    /// The outlet's name.
    pub outlet_name: String,
    /// What is held against it.
    pub contest: Contest,
    /// How this person may go on with it, by `Client.answer_contest`; empty for whoever may only read it.
    pub may: Vec<ContestStep>,
    /// It waits for this person's side: a supervisor's finding, or the distributor's answer to a question.
    pub waits_for_own: bool,
}

/// How a contest goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum ContestStep {
    /// Somebody says more, or answers a question; what was over is open again. For the distributor's people and
    /// supervisors.
    Say,
    /// A supervisor asks.
    Ask,
    /// A supervisor finds that what was recorded stands.
    Uphold,
    /// A supervisor finds that the objection is right; a value is put right with it, and a whole visit counts no more.
    Accept,
    /// It is over without a finding. For the distributor's people and supervisors.
    Close,
}

impl ContestStep {
    pub(crate) const fn to_core(self) -> Step {
        match self {
            Self::Say => Step::Say,
            Self::Ask => Step::Ask,
            Self::Uphold => Step::Uphold,
            Self::Accept => Step::Accept,
            Self::Close => Step::Close,
        }
    }

    pub(crate) const fn of(step: Step) -> Self {
        match step {
            Step::Say => Self::Say,
            Step::Ask => Self::Ask,
            Step::Uphold => Self::Uphold,
            Step::Accept => Self::Accept,
            Step::Close => Self::Close,
        }
    }
}

/// Something said of an outlet.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct OutletPost {
    /// Its id.
    pub id: String,
    /// Who.
    pub by: String,
    /// Whether it is this person.
    pub own: bool,
    /// When, as well as the device of its author knew it, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What; empty where the words are not here.
    pub text: String,
    /// Whether the server has it.
    pub confirmed: bool,
}

/// A piece of an outlet's thread.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct OutletThread {
    /// What was said, newest first.
    pub posts: Vec<OutletPost>,
    /// Where it goes on with what is older; `None` if this is all.
    pub older: Option<u32>,
}

/// Work that the server has not confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Unconfirmed {
    /// The visit or outlet: `visit/<id>` or `outlet/<id>`.
    pub document: String,
    /// How many recordings and other entries wait.
    pub entries: u32,
    /// Why the server refused them, as a stable name; `None` while they only wait.
    pub refused: Option<String>,
    /// The refusal in words, for whoever looks for its cause; empty while they only wait.
    pub detail: String,
    /// The same for its person: what happened and what helps. Empty while they only wait.
    pub advice: String,
    /// How many of the entries colleagues carry to the server.
    pub carried: u32,
    /// Which colleagues.
    pub colleagues: Vec<String>,
}

/// What came of proposing refused work again.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Proposal {
    /// For each entry that cannot be proposed again, or not with all its words, why. It goes from this device: what was refused the server keeps, but
    /// for work refused as `quarantine_full`, and what was written after that nobody has.
    pub left_out: Vec<String>,
}

impl Proposal {
    pub(crate) fn of(done: &Done) -> Self {
        Self { left_out: done.left_out.iter().map(ToString::to_string).collect() }
    }
}

/// What the device has not handed over yet.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Outstanding {
    /// By document.
    pub documents: Vec<Unconfirmed>,
    /// Photos that wait.
    pub photos: u32,
    /// Their size.
    pub photo_bytes: u64,
    /// How many of them colleagues carry to the server.
    pub photos_carried: u32,
    /// Parcels that are carried for colleagues: this device cannot read them.
    pub cargo: u32,
    /// Their size.
    pub cargo_bytes: u64,
    /// Since when the oldest of them is carried, in milliseconds since 1970 UTC.
    pub cargo_since_ms: Option<i64>,
    /// What this device could not read in its own storage; see `Client.forget_unreadable`.
    pub unreadable: Vec<Unreadable>,
}

/// Something that a device has written and cannot read any more: its storage was damaged. What the server has of it
/// comes back by itself. What was not sent yet may be among it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Unreadable {
    /// The visit or outlet: `visit/<id>` or `outlet/<id>`; `None` when nobody can tell, and for words, photos that
    /// were still to be sent and what was carried for colleagues.
    pub document: Option<String>,
    /// How many pieces of it were kept as they were found.
    pub pieces: u32,
}

/// How a meeting of two devices went.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct MeetingReport {
    /// Whose the other device is, once it has proved to be it.
    pub colleague: Option<String>,
    /// Parcels that the other device carries now: of this person's work, each a document's or a photo, and of what was
    /// carried already.
    pub given: u32,
    /// Parcels that the other device has not answered for.
    pub to_give: u32,
    /// Parcels that this device has taken along.
    pub taken: u32,
    /// Parcels that are still to come.
    pub to_take: u32,
    /// What the other device would not take.
    pub declined: Vec<Declined>,
    /// What this device would not take.
    pub refused: Vec<Declined>,
    /// Both devices have all that they wanted.
    pub complete: bool,
    /// Why it broke off, as a stable name of docs/protocol.md, or `failed` for this device's own store.
    pub broken: Option<String>,
    /// The same in words.
    pub detail: String,
}

/// Parcels that a device would not take.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Declined {
    /// Why, as a stable name: `full`, `stranger`, `too_large`, `bad_seal` or `own`.
    pub code: String,
    /// How many.
    pub parcels: u32,
}

/// A photo that the server does not take.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RefusedPhoto {
    /// SHA-256 of its file, as the recording names it.
    pub hash: String,
    /// Why, in words.
    pub why: String,
}

/// How a sync went.
#[derive(Debug, Clone, PartialEq, Eq, Default, uniffi::Record)]
pub struct SyncReport {
    /// Entries that the server confirmed.
    pub pushed: u32,
    /// Entries that the server refused; see `Client.outstanding`.
    pub refused: u32,
    /// Records and entries that came.
    pub pulled: u32,
    /// Photos that the server confirmed.
    pub photos: u32,
    /// Photos that wait here because the organisation's room for them on the server is used up, for a person to be told:
    /// an admin can make room. Everything else goes on.
    pub photos_without_room: u32,
    /// Photos that the server does not take, each with its reason, for a person to be told. They are tried again a week
    /// after that.
    pub refused_photos: Vec<RefusedPhoto>,
    /// Records and documents that this device had lost or had otherwise than the server, and that were mended.
    /// Zero unless its storage was damaged or a program has a bug.
    pub mended: u32,
    /// Something that this person may see is not here yet: the server had no time for it. The next sync asks again.
    pub incomplete: bool,
    /// Documents and other things that this device has written and cannot read, and that nobody has dismissed yet; see
    /// `Client.outstanding`. Zero unless its storage was damaged, or the server was restored and lacks a photo whose file
    /// `Client.free_space` has removed here.
    pub unreadable: u32,
    /// Parcels of colleagues that the server has taken.
    pub delivered: u32,
    /// Parcels of colleagues that the server can never take: their authors still have the work.
    pub undeliverable: u32,
    /// Outlets that went out of this person's sight, with their planned calls, for a person to be told. What was written
    /// there here is pushed first.
    pub left: Vec<LeftOutlet>,
    /// The server has had work in this device's name that this folder does not know of: another phone goes on with a copy
    /// of it, or the folder was put back from a backup. Nothing is lost; if there are two, one is to be enrolled anew.
    pub copied: bool,
    /// It ended early because it was asked to.
    pub cancelled: bool,
    /// The server's log is not what it was: `Client.log_status` has the evidence, and a person must see it.
    pub log_alarm: bool,
}

/// An outlet that went out of sight.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct LeftOutlet {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Why.
    pub why: WhyLeft,
}

/// Why an outlet went out of sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum WhyLeft {
    /// It went to another territory or distributor.
    Moved,
    /// The person's part of the field changed, or their territory was drawn anew.
    Scope,
}

/// What this device knows of the server's log, from checkpoints that the log's key has signed.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct LogStatus {
    /// Lines of the log that the newest checkpoint here covers; zero before the first.
    pub lines: u64,
    /// When it came, by the server's clock, in milliseconds since 1970 UTC.
    pub heard_ms: i64,
    /// The log's public key ("vkey"), for people to compare; empty before the first checkpoint.
    pub key: String,
    /// The server was restored from a backup and said so: to be shown once, and no alarm.
    pub restored: Option<LogRestored>,
    /// The log was rewritten or rolled back without saying so: to be shown until somebody has looked into it, and
    /// `Client.alarm_seen` says so. Until then nothing newer is watched.
    pub alarm: Option<LogAlarm>,
    /// The alarms that somebody has looked into, the oldest first: the evidence stays.
    pub seen: Vec<LogAlarm>,
}

/// A log that went on after a restore.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct LogRestored {
    /// When this device heard of it, by the server's clock.
    pub at_ms: i64,
    /// Lines that the server had lost; what this device has of them is pushed back. `None` if that is not known.
    pub lost: Option<u64>,
    /// Another key signs the log since.
    pub another_key: bool,
}

/// What is wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum LogWrong {
    /// It does not continue what this device has a receipt for.
    Rewritten,
    /// Its checkpoint is not signed by its key, or is of another log.
    Forged,
    /// The log has gone on, and the server shows no checkpoint of it.
    Withheld,
}

/// The evidence that a log was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct LogAlarm {
    /// What is wrong.
    pub wrong: LogWrong,
    /// The checkpoint that this device had: a signed note.
    pub kept: Option<String>,
    /// The one that it was told instead: a signed note.
    pub told: Option<String>,
    /// The log's public key ("vkey") as this device knew it, which has signed `kept`; empty if it knew none.
    pub key: String,
    /// When, by the server's clock.
    pub at_ms: i64,
}

/// The key of the log that a note is of.
fn vkey(note: Option<&str>, key: Option<LogKey>) -> String {
    let note: Option<SignedNote> = note.and_then(|note| note.parse().ok());
    let of = note.and_then(|note| note.text().parse::<Checkpoint>().ok()).zip(key);
    let vkey = of.map(|(of, key)| NoteKey::of_log(of.org, of.life, key.0).to_string());
    vkey.unwrap_or_default()
}

impl LogAlarm {
    fn of(alarm: Alarm) -> Self {
        let Alarm { what, kept, told, at_ms, key } = alarm;
        let wrong = match what {
            Wrong::Rewritten => LogWrong::Rewritten,
            Wrong::Forged => LogWrong::Forged,
            Wrong::Withheld => LogWrong::Withheld,
        };
        let key = vkey(kept.as_deref().or(told.as_deref()), key);
        Self { wrong, kept, told, key, at_ms }
    }
}

impl LogStatus {
    pub(crate) fn of(watch: Option<&Watch>) -> Self {
        let watch = watch.cloned().unwrap_or_default();
        Self {
            lines: watch.kept().map_or(0, |kept| kept.size),
            heard_ms: watch.heard_ms,
            key: vkey(watch.note.as_deref(), watch.key),
            restored: watch.restored.map(|Restored { at_ms, lost, another_key }| LogRestored {
                at_ms,
                lost,
                another_key,
            }),
            alarm: watch.alarm.map(LogAlarm::of),
            seen: watch.seen.into_iter().flatten().map(LogAlarm::of).collect(),
        }
    }
}

/// In which size a photo is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum PhotoSize {
    /// As it was sent.
    Whole,
    /// For a screen: a JPEG of 1,024 pixels at most.
    Screen,
    /// For a list: a JPEG of 480 pixels at most.
    Small,
}

/// What a sync is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Phase {
    /// Sending work.
    Push,
    /// Handing over what is carried for colleagues.
    Cargo,
    /// Fetching what is new.
    Pull,
    /// Sending photos.
    Photos,
    /// Done.
    Done,
}

impl Value {
    /// For a document; words become a note with this salt.
    pub(crate) fn to_core(&self, salt: [u8; 16]) -> Result<(visit::Value, Option<Note>), Invalid> {
        let value = match self {
            Self::Shelf { facings, in_stock, found } => visit::Value::Shelf {
                facings: *facings,
                in_stock: *in_stock,
                place: match found {
                    Found::AsPlanned => ShelfPlace::AsPlanned,
                    Found::MovedAlong => ShelfPlace::MovedAlong,
                    Found::OtherShelf { shelf } => ShelfPlace::OtherShelf(*shelf),
                },
            },
            Self::Price { minor, currency } => {
                let currency = currency.parse().map_err(|e| invalid("currency", format!("{e}")))?;
                visit::Value::Price(Money { minor: *minor, currency })
            }
            Self::Stock { on_shelf, units } => {
                visit::Value::Stock { on_shelf: *on_shelf, units: *units }
            }
            Self::Met { met } => visit::Value::Met(*met),
            Self::Choice { option } => visit::Value::Choice(*option),
            Self::YesNo { yes } => visit::Value::YesNo(*yes),
            Self::Number { number } => visit::Value::Number(*number),
            Self::Withdrawn => visit::Value::Withdrawn,
            Self::Text { text } => {
                let note = Note::new(text, salt)?;
                return Ok((visit::Value::Text(note.digest()), Some(note)));
            }
            Self::Other => {
                return Err(invalid("value", "cannot be one that the library does not know"));
            }
        };
        Ok((value, None))
    }

    pub(crate) fn of(value: &visit::Value, text: impl Fn(BlobHash) -> String) -> Self {
        match value {
            visit::Value::Shelf { facings, in_stock, place } => Self::Shelf {
                facings: *facings,
                in_stock: *in_stock,
                found: match place {
                    ShelfPlace::AsPlanned => Found::AsPlanned,
                    ShelfPlace::MovedAlong => Found::MovedAlong,
                    ShelfPlace::OtherShelf(shelf) => Found::OtherShelf { shelf: *shelf },
                },
            },
            visit::Value::Price(money) => {
                Self::Price { minor: money.minor, currency: money.currency.as_str().into() }
            }
            visit::Value::Stock { on_shelf, units } => {
                Self::Stock { on_shelf: *on_shelf, units: *units }
            }
            visit::Value::Met(met) => Self::Met { met: *met },
            visit::Value::Choice(option) => Self::Choice { option: *option },
            visit::Value::YesNo(yes) => Self::YesNo { yes: *yes },
            visit::Value::Number(number) => Self::Number { number: *number },
            visit::Value::Text(note) => Self::Text { text: text(*note) },
            visit::Value::Withdrawn => Self::Withdrawn,
            visit::Value::Unknown(_) => Self::Other,
        }
    }
}

impl Subject {
    /// For a document; a label becomes a note with this salt.
    pub(crate) fn to_core(
        &self,
        salt: [u8; 16],
    ) -> Result<(visit::Subject, Option<Note>), Invalid> {
        let subject = match self {
            Self::Position { planogram, position } => {
                visit::Subject::Position { planogram: *planogram, position: *position }
            }
            Self::Product { gtin } => {
                let gtin: Gtin = gtin.parse().map_err(|e| invalid("gtin", format!("{e}")))?;
                visit::Subject::Product(gtin)
            }
            Self::Unlisted { note: Some(note), .. } => {
                visit::Subject::Unlisted(note.parse().map_err(|e| invalid("note", format!("{e}")))?)
            }
            Self::Unlisted { label, note: None } => {
                let note = Note::new(label, salt)?;
                return Ok((visit::Subject::Unlisted(note.digest()), Some(note)));
            }
            Self::Display { display } => visit::Subject::Display(*display),
            Self::Outlet => visit::Subject::Outlet,
            Self::Other => {
                return Err(invalid("subject", "cannot be one that the library does not know"));
            }
        };
        Ok((subject, None))
    }

    pub(crate) fn of(subject: &visit::Subject, text: impl Fn(BlobHash) -> String) -> Self {
        match subject {
            visit::Subject::Position { planogram, position } => {
                Self::Position { planogram: *planogram, position: *position }
            }
            visit::Subject::Product(gtin) => Self::Product { gtin: gtin.to_string() },
            visit::Subject::Unlisted(note) => {
                Self::Unlisted { label: text(*note), note: Some(note.to_string()) }
            }
            visit::Subject::Display(display) => Self::Display { display: *display },
            visit::Subject::Outlet => Self::Outlet,
            visit::Subject::Unknown(_) => Self::Other,
        }
    }
}

pub(crate) fn invalid(field: &'static str, rule: impl Into<String>) -> Invalid {
    Invalid { field, rule: rule.into() }
}
