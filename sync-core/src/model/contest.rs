//! What a distributor's people hold against a visit, and what the brand's supervisors answer.
//!
//! Each word is a [`Post`](super::visit::Post) of the visit's thread: what is said is its text, and a reader that does
//! not know contests shows it as any remark.

use minicbor::{Decode, Decoder, Encode, decode};

use super::Invalid;
use super::visit::{
    CheckId, Observation, PhotoRef, Subject, Value, validate_names, validate_photos,
};
use crate::id::ChangeHash;

/// What a post does in a contest.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
#[cbor(flat)]
pub enum Word {
    /// Contests a value or the whole visit.
    #[n(0)]
    Contest(#[n(0)] Objection),
    /// Goes on in the contest whose first post this one answers, with what is to show it.
    #[n(1)]
    Step(#[n(0)] Step, #[n(1)] Vec<PhotoRef>),
}

/// What is contested, and what speaks against it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Objection {
    /// The value; `None` for the whole visit.
    #[n(0)]
    pub about: Option<About>,
    /// The recordings that say the value, or the heads of the visit as its author saw it.
    #[n(1)]
    pub seen: Vec<ChangeHash>,
    /// What was there instead, as its author saw it. Never words: those are the post's text.
    #[n(2)]
    pub claim: Option<Value>,
    /// What shows that.
    #[n(3)]
    pub photos: Vec<PhotoRef>,
}

/// Which value of a visit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct About {
    /// The check that it answers.
    #[n(0)]
    pub check: CheckId,
    /// What it is about.
    #[n(1)]
    pub subject: Subject,
}

/// A further word of a contest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Step {
    /// Says more, or answers a question. Opens again what was over.
    #[n(0)]
    Say,
    /// A supervisor asks.
    #[n(1)]
    Ask,
    /// A supervisor finds that what was recorded stands.
    #[n(2)]
    Uphold,
    /// A supervisor finds that the objection is right.
    #[n(3)]
    Accept,
    /// It is over without a finding: taken back, or overtaken. Says nothing of one whose finding its author knew.
    #[n(4)]
    Close,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 5] = [Self::Say, Self::Ask, Self::Uphold, Self::Accept, Self::Close];

    /// The name in the API and in forms.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Say => "say",
            Self::Ask => "ask",
            Self::Uphold => "uphold",
            Self::Accept => "accept",
            Self::Close => "close",
        }
    }

    /// The reverse of [`Step::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == name)
    }

    /// Only a supervisor takes it.
    pub const fn finds(self) -> bool {
        matches!(self, Self::Ask | Self::Uphold | Self::Accept)
    }
}

impl Word {
    /// The photos that it refers to.
    pub fn photos(&self) -> &[PhotoRef] {
        match self {
            Self::Contest(objection) => &objection.photos,
            Self::Step(_, photos) => photos,
        }
    }

    /// Checks everything that can be checked without a document; `answers` says whether its post answers one.
    pub fn validate(&self, answers: bool) -> Result<(), Invalid> {
        match self {
            Self::Contest(objection) => objection.validate(),
            Self::Step(_, photos) => {
                Invalid::unless(answers, "answers", "needs the contest")?;
                validate_photos(photos)
            }
        }
    }
}

impl Objection {
    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(!self.seen.is_empty(), "seen", "needs 1 to 256 entries")?;
        validate_names(&self.seen, "seen")?;
        validate_photos(&self.photos)?;
        match (&self.about, &self.claim) {
            (_, None) => Ok(()),
            (None, Some(_)) => Err(Invalid::new("claim", "needs a value that is contested")),
            (Some(_), Some(Value::Text(_))) => Err(Invalid::new("claim", "cannot be words")),
            (Some(about), Some(value)) => {
                let (check, subject) = (about.check, about.subject.clone());
                Observation { check, subject, value: value.clone() }.validate()
            }
        }
    }
}

impl<'b, C> Decode<'b, C> for Word {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        // The derived one would make a word that is not known an absent one, and so a remark, which anybody may make.
        let unknown = || decode::Error::message("not a word that is known");
        let length = d.array()?.ok_or_else(unknown)?;
        let (word, known) = match (d.u32()?, length) {
            (0, 2..) => (Self::Contest(Objection::decode(d, ctx)?), 2),
            (1, 3..) => {
                let step = Step::decode(d, ctx).map_err(|_| unknown())?;
                (Self::Step(step, Vec::decode(d, ctx)?), 3)
            }
            _ => return Err(unknown()),
        };
        (known..length).try_for_each(|_| d.skip())?;
        Ok(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::{from_cbor, to_cbor};
    use crate::id::{BlobHash, UserId};
    use crate::model::capture::Moment;
    use crate::model::visit::Post;

    #[test]
    fn a_word_that_is_not_known_is_no_remark() {
        let when = Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
        let (by, text) = (UserId::from_bytes([1; 16]), BlobHash([2; 32]));
        let answers = Some(ChangeHash([3; 32]));
        for step in Step::ALL {
            let word = Some(Word::Step(step, Vec::new()));
            let post = Post { answers, word, ..Post::new(by, when, text) };
            let bytes = to_cbor(&post);
            assert_eq!(from_cbor::<Post>(&bytes).unwrap(), post);
            // What a later version adds at the end is skipped; another kind or step is not read at all.
            let (known, tail) = bytes.split_at(bytes.len() - 4);
            assert_eq!(tail, [0x83, 1, step as u8, 0x80]);
            let longer = [known, &[0x84, 1, step as u8, 0x80, 0xf6]].concat();
            assert_eq!(from_cbor::<Post>(&longer).unwrap(), post);
            for unknown in [
                [0x83, 1, 5, 0x80],
                [0x83, 2, 0, 0x80],
                [0x83, 0, 0, 0x80],
                [0x83, 1, 0xf6, 0x80],
                [0x83, 1, 0, 0xf6],
                [0x80, 1, 0, 0x80],
            ] {
                assert!(from_cbor::<Post>(&[known, &unknown].concat()).is_err(), "{unknown:?}");
            }
        }
    }
}
