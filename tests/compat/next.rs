//! A next version that nobody ships: everything that docs/protocol.md, section 21, lets a later version add, added
//! wherever it may be.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde_json::{Value as Json, json};
use sync_core::document::Section;

/// How a value of today may grow.
pub(crate) enum Shape {
    /// Not at all, and neither does what is in it.
    Fixed,
    /// By keys.
    Map(&'static [(u64, Shape)]),
    /// By elements at the end.
    Struct(&'static [Shape]),
    /// `[kind, ...]`: each kind by elements at the end.
    Kinds(&'static [&'static [Shape]]),
    /// A list does not grow; what is in it does.
    List(&'static Shape),
}

use Shape::{Fixed, Kinds, List, Map, Struct};

const PAIR: Shape = Struct(&[Fixed, Fixed]);
const MOMENT: Shape = Struct(&[Fixed, Fixed, Fixed, Fixed, Fixed, Fixed]);
const ORIGIN: Shape = Struct(&[Fixed, Fixed, Fixed, GEO, Fixed, Fixed]);
const PHOTO: Shape = Struct(&[Fixed, Fixed, Fixed, Fixed, ORIGIN]);
const GEO: Shape = Struct(&[Fixed, Fixed, Fixed, Fixed]);
const WORD: Shape =
    Kinds(&[&[Map(&[(0, PAIR), (1, List(&Fixed)), (3, List(&PHOTO))])], &[Fixed, List(&PHOTO)]]);
const TRIPLE: Shape = Struct(&[Fixed, Fixed, Fixed]);

const OUTCOME: Shape = Kinds(&[&[], &[Fixed, Fixed, List(&Fixed)], &[]]);

const OBSERVED: Shape =
    Map(&[(0, PAIR), (1, List(&PAIR)), (2, PAIR), (4, List(&PHOTO)), (5, List(&Fixed))]);
const ACT: Shape = Kinds(&[
    &[Fixed, Fixed, Fixed, Fixed, PAIR],
    &[OBSERVED],
    &[Fixed, Fixed, List(&PHOTO)],
    &[List(&Fixed)],
    &[],
]);

/// An entry of a section.
pub(crate) const fn entry(section: Section) -> Shape {
    match section {
        Section::Recordings => Map(&[(1, MOMENT), (2, GEO), (3, ACT)]),
        Section::Submissions => Map(&[(1, MOMENT), (2, GEO)]),
        Section::Reviews => Map(&[(1, MOMENT)]),
        Section::Thread => Map(&[(1, MOMENT), (4, TRIPLE), (5, WORD)]),
        Section::Reports => Map(&[(1, MOMENT), (2, GEO), (8, List(&PHOTO)), (9, TRIPLE)]),
    }
}

/// A record of any of today's kinds.
pub(crate) const RECORD: Shape = Kinds(&[
    &[Map(&[])],
    &[Map(&[])],
    &[Map(&[(3, Kinds(&[&[Fixed], &[Fixed]]))])],
    &[Map(&[])],
    &[Map(&[])],
    &[Map(&[
        (6, List(&Struct(&[Fixed, Fixed, Fixed, Fixed]))),
        (7, List(&Struct(&[Fixed, Fixed, Fixed, Fixed, Fixed, Fixed]))),
    ])],
    &[Map(&[(6, List(&TRIPLE))])],
    &[Map(&[])],
    &[Map(&[])],
    &[Map(&[(4, List(&Map(&[])))])],
    &[Map(&[(8, GEO)])],
    &[Map(&[])],
    &[Map(&[])],
]);

/// What is sealed in a parcel.
pub(crate) const CARGO: Shape = Map(&[]);

/// What phones say to each other; a parcel is named by its bytes.
pub(crate) const MEETING: Shape = Kinds(&[
    &[Fixed, Fixed, Fixed, Fixed],
    &[Fixed],
    &[List(&TRIPLE)],
    &[List(&Fixed)],
    &[Fixed],
    &[Fixed],
    &[Fixed, Fixed],
    &[Fixed, Fixed],
    &[],
    &[Fixed],
]);

/// A message; its groups, notes and records are of fixed form or named by their bytes, and so are parcels, parts and
/// what is in parts.
pub(crate) fn message(path: &str, request: bool) -> Shape {
    match (path, request) {
        ("/api/v1/push", true) => Map(&[(1, MOMENT)]),
        ("/api/v1/push", false) => Map(&[(3, List(&OUTCOME))]),
        ("/api/v1/pull", true) => Map(&[(1, TRIPLE), (3, PAIR), (4, PAIR)]),
        ("/api/v1/pull", false) => {
            const DECIDED: Shape = Struct(&[Fixed, Fixed, OUTCOME]);
            const RECEIPT: Shape = Map(&[(2, List(&TRIPLE))]);
            Map(&[(2, TRIPLE), (7, PAIR), (8, List(&PAIR)), (9, List(&DECIDED)), (12, RECEIPT)])
        }
        ("/api/v1/repair", _) | ("/api/v1/cargo", true) => Map(&[]),
        ("/api/v1/cargo", false) => Map(&[(2, List(&Kinds(&[&[], &[Fixed, Fixed], &[]])))]),
        other => panic!("{other:?} is no message"),
    }
}

/// What was written today as the next version would write it.
pub(crate) fn grown(shape: &Shape, bytes: &[u8]) -> Vec<u8> {
    let (mut d, mut out) = (Decoder::new(bytes), Vec::new());
    grow(shape, &mut d, &mut Encoder::new(&mut out));
    assert_eq!(d.position(), bytes.len());
    out
}

/// The messages that a phone has said in a meeting.
pub(crate) fn messages(mut said: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = said.split_first_chunk()?;
        let (message, after) = rest.split_at(u32::from_be_bytes(*length) as usize);
        said = after;
        Some(message)
    })
}

/// What a phone has said in a meeting, as one of the next version would say it.
pub(crate) fn grown_talk(said: &[u8]) -> Vec<u8> {
    let later = messages(said).map(|message| grown(&MEETING, message));
    later.flat_map(|later| [&(later.len() as u32).to_be_bytes()[..], &later].concat()).collect()
}

/// JSON with a member more in every object.
pub(crate) fn grown_json(bytes: &[u8]) -> Vec<u8> {
    fn grow(json: &mut Json) {
        match json {
            Json::Array(elements) => elements.iter_mut().for_each(grow),
            Json::Object(members) => {
                members.values_mut().for_each(grow);
                members.insert("later".into(), json!([{}]));
            }
            _ => {}
        }
    }
    let mut json = serde_json::from_slice(bytes).unwrap();
    grow(&mut json);
    json.to_string().into_bytes()
}

fn grow(shape: &Shape, d: &mut Decoder<'_>, e: &mut Encoder<&mut Vec<u8>>) {
    let absent = d.datatype().unwrap() == Type::Null;
    match shape {
        Map(members) if !absent => {
            let pairs = d.map().unwrap().unwrap();
            e.map(pairs + 2).unwrap();
            for _ in 0..pairs {
                let key = d.u64().unwrap();
                e.u64(key).unwrap();
                let member = members.iter().find(|(number, _)| *number == key);
                grow(member.map_or(&Fixed, |(_, shape)| shape), d, e);
            }
            e.u8(99).unwrap().map(1).unwrap().u8(1).unwrap().str("later").unwrap();
            e.u32(u32::MAX).unwrap().array(2).unwrap().null().unwrap().bytes(&[0; 32]).unwrap();
        }
        Struct(elements) if !absent => {
            let here = d.array().unwrap().unwrap();
            e.array(elements.len() as u64 + 1).unwrap();
            end(elements, here, d, e);
        }
        Kinds(kinds) => {
            let here = d.array().unwrap().unwrap();
            let kind = d.u64().unwrap();
            let elements = kinds[kind as usize];
            e.array(elements.len() as u64 + 2).unwrap().u64(kind).unwrap();
            end(elements, here - 1, d, e);
        }
        List(of) => {
            let here = d.array().unwrap().unwrap();
            e.array(here).unwrap();
            (0..here).for_each(|_| grow(of, d, e));
        }
        Fixed | Map(_) | Struct(_) => {
            let from = d.position();
            d.skip().unwrap();
            e.writer_mut().extend_from_slice(&d.input()[from..d.position()]);
        }
    }
}

/// The elements that are here, those that were left out, and one more.
fn end(elements: &[Shape], here: u64, d: &mut Decoder<'_>, e: &mut Encoder<&mut Vec<u8>>) {
    assert!(here as usize <= elements.len(), "a struct has more elements than next.rs knows");
    for (place, element) in elements.iter().enumerate() {
        match place < here as usize {
            true => grow(element, d, e),
            false => drop(e.null().unwrap()),
        }
    }
    e.map(1).unwrap().u8(1).unwrap().str("later").unwrap();
}
