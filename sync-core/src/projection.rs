//! What of a visit counts, judged against the catalogue that the people in the outlet went by.
//!
//! Facts are what pages draw and what figures count, one packed row for each visit: whoever decides reads
//! them and never a document. They are a function of the visit's view, the day and the catalogue, so they
//! can be thrown away and made again at any time.
//!
//! - Only what is submitted is a fact. A person who takes a value back says nothing.
//! - Where submitted values of one (check, subject) differ, none is a fact: the pair is a [`Conflict`].
//! - Each value is judged against the template, planogram and price list that its recording names. If one
//!   of those versions is not in the catalogue, or does not ask for or plan the subject, the fact is kept
//!   and stays unjudged: it is drawn and not counted.
//! - People who agree make one fact. The evidence is a recording by which it is judged, of these one with
//!   the newest version of the planogram or price list, of equal ones the first.
//! - A subject under two checks makes two facts, and each is counted.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::id::{ChangeHash, Gtin, UserId};
use crate::model::catalogue::{Catalogue, CheckKind, Position, PriceList};
use crate::model::visit::{CheckId, Observed, Place, Subject, Value, Versioned};
use crate::model::{Day, Money};
use crate::visit::{Live, Visit, agreed, in_conflict};

/// Version of the packed form of [`Facts`], written first. Facts of another version are made anew.
pub const FACTS_VERSION: u32 = 1;

/// Everything of one visit that pages draw and figures count.
///
/// Packed as `[version, day, visited, positions, prices, stock, displays, answers, conflicts]`. Each list
/// ascends by check, then subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The outlet's local day of the visit; prices are judged by what was recommended on it.
    pub day: Day,
    /// An observation or photo was submitted, so the outlet was visited. A call that was not possible, or
    /// work that was abandoned or never submitted, is no visit; nor is one that a supervisor found wrong as a whole.
    pub visited: bool,
    /// What stood at planogram positions.
    pub positions: Vec<PositionFact>,
    /// Shelf prices.
    pub prices: Vec<PriceFact>,
    /// Which products could be bought.
    pub stock: Vec<StockFact>,
    /// Which displays were as agreed.
    pub displays: Vec<DisplayFact>,
    /// Everything else that was said: answers to questions, goods without a code, promotions.
    pub answers: Vec<Answer>,
    /// Where people disagree.
    pub conflicts: Vec<Conflict>,
}

/// Which recording says a fact, and whose it is.
///
/// Within packed facts a recording is written in full where it is first named, `[recording, person]`, and
/// after that as its place among those named: hundreds of facts come from a few recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Evidence {
    /// Its name in the visit's document.
    pub recording: ChangeHash,
    /// Who wrote it.
    pub by: UserId,
}

/// What stood at a planogram position.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array, context_bound = "AsMut<Named>")]
pub struct PositionFact {
    /// The check that it answers.
    #[n(0)]
    pub check: CheckId,
    /// The planogram's number.
    #[n(1)]
    pub planogram: u32,
    /// The position's number in it.
    #[n(2)]
    pub position: u32,
    /// Visible fronts; zero when it is missing.
    #[n(3)]
    pub facings: u32,
    /// More of it was in the back room.
    #[n(4)]
    pub in_stock: bool,
    /// Where it was found.
    #[n(5)]
    #[cbor(with = "place")]
    pub place: Place,
    /// The planogram's version that the recording names, if it names one.
    #[n(6)]
    pub version: Option<u32>,
    /// The plan for the position in that version; `None` leaves the fact unjudged.
    #[n(7)]
    pub planned: Option<Planned>,
    /// Who says so.
    #[n(8)]
    pub evidence: Evidence,
}

/// What a planogram wants at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Planned {
    /// The shelf's number.
    #[n(0)]
    pub shelf: u32,
    /// What.
    #[n(1)]
    pub gtin: Gtin,
    /// How many fronts.
    #[n(2)]
    pub facings: u32,
}

/// The four things that can be right about a position. What is not present is right in nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Marks {
    /// At least one facing.
    pub present: bool,
    /// Present, and not on another shelf.
    pub shelf: bool,
    /// Present, on the planned shelf and in its planned place along it.
    pub place: bool,
    /// Present with at least the planned facings, wherever it stands. More than planned is right too.
    pub facings: bool,
}

/// A position in one word. Who is both moved and short is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// Present, in its planned place, with at least the planned facings: all four marks.
    Right,
    /// Present, but on another shelf or elsewhere along its own.
    Moved,
    /// In its planned place with fewer facings than planned.
    Short,
    /// No facing.
    Missing,
    /// No plan to judge it by: it does not count.
    Unjudged,
}

impl Grade {
    /// Every grade, best first.
    pub const ALL: [Self; 5] =
        [Self::Right, Self::Moved, Self::Short, Self::Missing, Self::Unjudged];

    /// The name in stores and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Moved => "moved",
            Self::Short => "short",
            Self::Missing => "missing",
            Self::Unjudged => "unjudged",
        }
    }
}

impl PositionFact {
    /// What is right about it; `None` without a plan to judge it by.
    pub fn marks(&self) -> Option<Marks> {
        let planned = self.planned?;
        let present = self.facings > 0;
        Some(Marks {
            present,
            shelf: present && !matches!(self.place, Place::OtherShelf(_)),
            place: present && self.place == Place::AsPlanned,
            facings: present && self.facings >= planned.facings,
        })
    }

    /// The same in one word.
    pub fn grade(&self) -> Grade {
        match self.marks() {
            None => Grade::Unjudged,
            Some(Marks { present: false, .. }) => Grade::Missing,
            Some(Marks { place: false, .. }) => Grade::Moved,
            Some(Marks { facings: false, .. }) => Grade::Short,
            Some(_) => Grade::Right,
        }
    }
}

/// A price on the shelf.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array, context_bound = "AsMut<Named>")]
pub struct PriceFact {
    /// The check that it answers.
    #[n(0)]
    pub check: CheckId,
    /// Of what.
    #[n(1)]
    pub gtin: Gtin,
    /// What a shopper is asked for.
    #[n(2)]
    pub shelf: Money,
    /// The price list that the recording names, if it names one.
    #[n(3)]
    pub list: Option<Versioned>,
    /// The recommended price in that list; `None` leaves the fact unjudged. So does another currency.
    #[n(4)]
    pub recommended: Option<Recommended>,
    /// Who says so.
    #[n(5)]
    pub evidence: Evidence,
}

/// A recommended selling price in force, and how the shelf compares with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Recommended {
    /// The price in minor units of the shelf price's currency; above zero.
    #[n(0)]
    pub minor: i64,
    /// The shelf price differs by no more than the list's tolerance.
    #[n(1)]
    pub within: bool,
    /// (shelf - recommended) / recommended in millionths, to the nearest, halves away from zero.
    #[n(2)]
    pub deviation_ppm: i64,
}

impl Recommended {
    fn compare(list: &PriceList, gtin: Gtin, day: Day, shelf: Money) -> Option<Self> {
        let minor = list.in_force(gtin, day).filter(|minor| *minor > 0)?;
        if list.currency != shelf.currency {
            return None;
        }
        let recommended = i128::from(minor);
        let over = i128::from(shelf.minor) - recommended;
        let within = over.abs() * 1_000 <= i128::from(list.tolerance_permille) * recommended;
        let ppm = (over.abs() * 1_000_000 + recommended / 2) / recommended * over.signum();
        let deviation_ppm = i64::try_from(ppm).unwrap_or(if ppm < 0 { i64::MIN } else { i64::MAX });
        Some(Self { minor, within, deviation_ppm })
    }
}

/// Whether a product could be bought.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array, context_bound = "AsMut<Named>")]
pub struct StockFact {
    /// The check that it answers.
    #[n(0)]
    pub check: CheckId,
    /// What.
    #[n(1)]
    pub gtin: Gtin,
    /// A shopper could take one.
    #[n(2)]
    pub on_shelf: bool,
    /// Units counted, shelf and back room.
    #[n(3)]
    pub units: Option<u32>,
    /// The outlet must always have it.
    #[n(4)]
    pub must_stock: bool,
    /// The recording's template asks for stock under this check; otherwise it does not count.
    #[n(5)]
    pub judged: bool,
    /// Who says so.
    #[n(6)]
    pub evidence: Evidence,
}

/// Whether a display was as agreed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array, context_bound = "AsMut<Named>")]
pub struct DisplayFact {
    /// The check that it answers.
    #[n(0)]
    pub check: CheckId,
    /// The display's number.
    #[n(1)]
    pub display: u32,
    /// It was.
    #[n(2)]
    pub met: bool,
    /// The recording's template asks for this display under this check; otherwise it does not count.
    #[n(3)]
    pub judged: bool,
    /// Who says so.
    #[n(4)]
    pub evidence: Evidence,
}

/// Something said that no catalogue judges.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array, context_bound = "AsMut<Named>")]
pub struct Answer {
    /// The check that it answers.
    #[n(0)]
    pub check: CheckId,
    /// What it is about.
    #[n(1)]
    pub subject: Subject,
    /// What was said.
    #[n(2)]
    pub value: Value,
    /// Who says so.
    #[n(3)]
    pub evidence: Evidence,
}

/// Submitted values of one check and subject that differ, so that none of them counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array, context_bound = "AsMut<Named>")]
pub struct Conflict {
    /// The check that they answer.
    #[n(0)]
    pub check: CheckId,
    /// What they are about.
    #[n(1)]
    pub subject: Subject,
    /// Everything said of it; two or more, in the order of the recordings.
    #[n(2)]
    pub said: Vec<Said>,
}

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array, context_bound = "AsMut<Named>")]
pub struct Said {
    /// What was said; of a kind that this version does not know, perhaps.
    #[n(0)]
    pub value: Value,
    /// Who says so.
    #[n(1)]
    pub evidence: Evidence,
}

/// The facts of a visit, as the module says. `day` is the outlet's local day of the visit.
pub fn project(
    visit: &Visit,
    outlet_must_stock: &[Gtin],
    day: Day,
    catalogue: &Catalogue,
) -> Facts {
    let counted = visit.recordings.iter().filter(|r| r.submitted && !r.withdrawn);
    let observed: BTreeMap<ChangeHash, &Observed> =
        counted.filter_map(|r| Some((r.hash, r.entry.observed()?))).collect();
    let must_stock: BTreeSet<Gtin> = outlet_must_stock.iter().copied().collect();
    let judge = Judge { observed, must_stock, day, catalogue };
    let mut facts = Facts {
        day,
        visited: !judge.observed.is_empty() && !visit.found_wrong(),
        positions: Vec::new(),
        prices: Vec::new(),
        stock: Vec::new(),
        displays: Vec::new(),
        answers: Vec::new(),
        conflicts: Vec::new(),
    };
    for ((check, subject), values) in &visit.values {
        let submitted = values.iter().filter(|l| l.submitted && l.value != Value::Withdrawn);
        let said: Vec<Live> = submitted.cloned().collect();
        if in_conflict(&said) {
            let side = |live: &Live| Said { value: live.value.clone(), evidence: evidence(live) };
            let said = said.iter().map(side).collect();
            facts.conflicts.push(Conflict { check: *check, subject: subject.clone(), said });
        } else {
            judge.judge(*check, subject, &said, &mut facts);
        }
    }
    facts
}

fn evidence(live: &Live) -> Evidence {
    Evidence { recording: live.recording, by: live.by }
}

struct Judge<'a> {
    observed: BTreeMap<ChangeHash, &'a Observed>,
    must_stock: BTreeSet<Gtin>,
    day: Day,
    catalogue: &'a Catalogue,
}

impl Judge<'_> {
    /// Adds the one fact that all of `said` state, if it is of a known kind.
    fn judge(&self, check: CheckId, subject: &Subject, said: &[Live], facts: &mut Facts) {
        let Some(value) = agreed(said) else { return };
        let each = said.iter();
        match (subject, value) {
            (Subject::Unknown(_), _) | (_, Value::Unknown(_)) => {}
            (
                &Subject::Position { planogram, position },
                &Value::Shelf { facings, in_stock, place },
            ) => {
                let each = each.map(|live| PositionFact {
                    check,
                    planogram,
                    position,
                    facings,
                    in_stock,
                    place,
                    version: self.version(planogram, live),
                    planned: self.planned(check, planogram, position, live),
                    evidence: evidence(live),
                });
                facts.positions.extend(best(each, |fact| fact.planned.and(fact.version)));
            }
            (&Subject::Product(gtin), &Value::Price(shelf)) => {
                let each = each.map(|live| PriceFact {
                    check,
                    gtin,
                    shelf,
                    list: self.list(live),
                    recommended: self.recommended(check, gtin, shelf, live),
                    evidence: evidence(live),
                });
                let newest = |fact: &PriceFact| fact.recommended.and(fact.list).map(|l| l.version);
                facts.prices.extend(best(each, newest));
            }
            (&Subject::Product(gtin), &Value::Stock { on_shelf, units }) => {
                let asks = |kind: &CheckKind| matches!(kind, CheckKind::Stock { .. });
                let each = each.map(|live| StockFact {
                    check,
                    gtin,
                    on_shelf,
                    units,
                    must_stock: self.must_stock.contains(&gtin),
                    judged: self.asked(check, live, asks),
                    evidence: evidence(live),
                });
                facts.stock.extend(best(each, |fact| fact.judged));
            }
            (&Subject::Display(display), &Value::Met(met)) => {
                let asks = |kind: &CheckKind| *kind == CheckKind::Display { display };
                let each = each.map(|live| DisplayFact {
                    check,
                    display,
                    met,
                    judged: self.asked(check, live, asks),
                    evidence: evidence(live),
                });
                facts.displays.extend(best(each, |fact| fact.judged));
            }
            _ => facts.answers.extend(said.first().map(|live| Answer {
                check,
                subject: subject.clone(),
                value: value.clone(),
                evidence: evidence(live),
            })),
        }
    }

    fn observed(&self, live: &Live) -> Option<&Observed> {
        self.observed.get(&live.recording).copied()
    }

    /// Whether the recording's template has this check and of this kind.
    fn asked(&self, check: CheckId, live: &Live, kind: impl Fn(&CheckKind) -> bool) -> bool {
        let template = self.observed(live).map(|observed| observed.template);
        let template = template.and_then(|t| self.catalogue.template(t.number, t.version));
        template.and_then(|t| t.check(check)).is_some_and(|check| kind(&check.kind))
    }

    /// The version of the planogram that the recording names.
    fn version(&self, planogram: u32, live: &Live) -> Option<u32> {
        let mut named = self.observed(live)?.planograms.iter();
        named.find(|p| p.number == planogram).map(|p| p.version)
    }

    fn planned(&self, check: CheckId, number: u32, position: u32, live: &Live) -> Option<Planned> {
        let planogram = self.catalogue.planogram(number, self.version(number, live)?)?;
        let Position { shelf, gtin, facings, .. } = *planogram.position(position)?;
        let asked = self.asked(check, live, |kind| *kind == CheckKind::Planogram);
        asked.then_some(Planned { shelf, gtin, facings })
    }

    /// The price list that the recording names.
    fn list(&self, live: &Live) -> Option<Versioned> {
        self.observed(live)?.price_list
    }

    fn recommended(
        &self,
        check: CheckId,
        gtin: Gtin,
        shelf: Money,
        live: &Live,
    ) -> Option<Recommended> {
        let Versioned { number, version } = self.list(live)?;
        let list = self.catalogue.price_list(number, version)?;
        let asked = self.asked(check, live, |kind| matches!(kind, CheckKind::Price { .. }));
        Recommended::compare(list, gtin, self.day, shelf).filter(|_| asked)
    }
}

/// The fact of the greatest worth; of equal ones the first.
fn best<F, K: Ord>(
    facts: impl DoubleEndedIterator<Item = F>,
    worth: impl Fn(&F) -> K,
) -> Option<F> {
    facts.rev().max_by_key(worth)
}

// ---- the packed form ------------------------------------------------------------------------------

/// The recordings that the facts written or read so far have named.
#[derive(Default)]
struct Named {
    all: Vec<Evidence>,
    places: BTreeMap<Evidence, u32>,
}

impl AsMut<Self> for Named {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl<C: AsMut<Named>> Encode<C> for Evidence {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let places = &mut ctx.as_mut().places;
        if let Some(place) = places.get(self) {
            return e.u32(*place)?.ok();
        }
        let next = u32::try_from(places.len()).map_err(|_| encode::Error::message("too many"))?;
        places.insert(*self, next);
        e.array(2)?;
        self.recording.encode(e, ctx)?;
        self.by.encode(e, ctx)
    }
}

impl<'b, C: AsMut<Named>> Decode<'b, C> for Evidence {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        if d.datatype()? != Type::Array {
            let place = usize::try_from(d.u32()?).ok();
            let named = place.and_then(|place| ctx.as_mut().all.get(place).copied());
            return named.ok_or_else(|| decode::Error::message("not a recording named before"));
        }
        if d.array()? != Some(2) {
            return Err(decode::Error::message("evidence is a recording and a person"));
        }
        let evidence = Self { recording: Decode::decode(d, ctx)?, by: Decode::decode(d, ctx)? };
        ctx.as_mut().all.push(evidence);
        Ok(evidence)
    }
}

impl<C> Encode<C> for Facts {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let named = &mut Named::default();
        e.array(9)?.u32(FACTS_VERSION)?;
        self.day.encode(e, ctx)?;
        e.bool(self.visited)?;
        self.positions.encode(e, named)?;
        self.prices.encode(e, named)?;
        self.stock.encode(e, named)?;
        self.displays.encode(e, named)?;
        self.answers.encode(e, named)?;
        self.conflicts.encode(e, named)
    }
}

impl<'b, C> Decode<'b, C> for Facts {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let length = d.array()?;
        if d.u32()? != FACTS_VERSION {
            return Err(decode::Error::message("facts of another version"));
        }
        if length != Some(9) {
            return Err(decode::Error::message("facts are nine values"));
        }
        let named = &mut Named::default();
        Ok(Self {
            day: Decode::decode(d, ctx)?,
            visited: d.bool()?,
            positions: Decode::decode(d, named)?,
            prices: Decode::decode(d, named)?,
            stock: Decode::decode(d, named)?,
            displays: Decode::decode(d, named)?,
            answers: Decode::decode(d, named)?,
            conflicts: Decode::decode(d, named)?,
        })
    }
}

/// 0 as planned, 1 moved along, 2 + n on shelf n.
mod place {
    use super::*;
    pub(super) fn encode<C, W: encode::Write>(
        place: &Place,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let code = match place {
            Place::AsPlanned => 0,
            Place::MovedAlong => 1,
            Place::OtherShelf(shelf) => 2 + u64::from(*shelf),
        };
        e.u64(code)?.ok()
    }
    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Place, decode::Error> {
        Ok(match d.u64()? {
            0 => Place::AsPlanned,
            1 => Place::MovedAlong,
            code => Place::OtherShelf(
                u32::try_from(code - 2).map_err(|_| decode::Error::message("not a place"))?,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::{from_cbor, to_cbor};
    use crate::document::{Document, Entry};
    use crate::id::{Actor, BlobHash, DistributorId, OrgId, OutletId, TerritoryId, VisitId};
    use crate::kpi::{Kpi, Ratio, per_visit};
    use crate::model::capture::Moment;
    use crate::model::catalogue::{
        AnswerKind, Check, Display, ListPrice, Planogram, Record, Shelf, Template,
    };
    use crate::model::visit::{Act, NotPossible, Observation, Observations, Submission};

    const WHEN: Moment =
        Moment { wall_ms: 0, boot: 1, boot_ms: 0, anchor: 1, skew_ms: None, life: None };
    const DAY: Day = Day(20_000);

    const SHELF: CheckId = 10;
    const PRICES: CheckId = 11;
    const STOCK: CheckId = 12;
    const TOWER: CheckId = 13;
    const QUESTION: CheckId = 14;
    const SECOND_SHELF: CheckId = 15;
    const NOT_ASKED: CheckId = 99;

    fn cola() -> Gtin {
        Gtin::from_u64(8_904_000_210_037).unwrap()
    }

    fn lemon() -> Gtin {
        Gtin::from_u64(4_006_381_333_931).unwrap()
    }

    fn money(minor: i64, currency: &str) -> Money {
        Money { minor, currency: currency.parse().unwrap() }
    }

    fn at(position: u32) -> Subject {
        Subject::Position { planogram: 1, position }
    }

    fn shelf(facings: u32, place: Place) -> Value {
        Value::Shelf { facings, in_stock: false, place }
    }

    fn planned(facings: u32) -> Value {
        shelf(facings, Place::AsPlanned)
    }

    fn stock(on_shelf: bool) -> Value {
        Value::Stock { on_shelf, units: None }
    }

    fn unknown() -> Value {
        Value::Unknown(to_cbor(&(77_u32, 1_u32)))
    }

    /// Planogram 1: version 1 wants 3 colas on shelf 1, version 2 wants 4; lemon is in version 2 alone.
    /// Price list 1: the cola costs 1.99 EUR and 2.09 from the day after, 50 ‰ either way.
    fn catalogue() -> Catalogue {
        let shelf = |number| Shelf { number, y_mm: 0, height_mm: 300, name: "S".into() };
        let position = |number, gtin, facings| Position {
            number,
            shelf: 1,
            x_mm: 0,
            width_mm: 100,
            gtin,
            facings,
        };
        let planogram = |version, positions| Planogram {
            number: 1,
            version,
            name: "Drinks".into(),
            category: "Drinks".into(),
            width_mm: 1_000,
            height_mm: 2_000,
            shelves: vec![shelf(1), shelf(2)],
            positions,
        };
        let check = |id, kind| Check { id, title: "C".into(), help: String::new(), kind };
        let template = Template {
            number: 1,
            version: 1,
            name: "Audit".into(),
            channels: vec!["kiosk".into()],
            checks: vec![
                check(SHELF, CheckKind::Planogram),
                check(SECOND_SHELF, CheckKind::Planogram),
                check(PRICES, CheckKind::Price { gtins: vec![] }),
                check(STOCK, CheckKind::Stock { gtins: vec![] }),
                check(TOWER, CheckKind::Display { display: 4 }),
                check(QUESTION, CheckKind::Question { answer: AnswerKind::YesNo, options: vec![] }),
            ],
        };
        let price = |minor, from| ListPrice { gtin: cola(), minor, from };
        let list = PriceList {
            number: 1,
            version: 1,
            name: "Kiosks".into(),
            currency: "EUR".parse().unwrap(),
            tolerance_permille: 50,
            channels: vec!["kiosk".into()],
            prices: vec![price(199, Day(0)), price(209, DAY.plus(1))],
        };
        let display = Display { number: 4, name: "Tower".into(), description: "Tall".into() };
        let mut catalogue = Catalogue::default();
        catalogue.insert(Record::Planogram(planogram(1, vec![position(1, cola(), 3)])));
        let second = vec![position(1, cola(), 4), position(2, lemon(), 2)];
        catalogue.insert(Record::Planogram(planogram(2, second)));
        catalogue.insert(Record::PriceList(list));
        catalogue.insert(Record::Template(template));
        catalogue.insert(Record::Display(display));
        catalogue
    }

    fn observed(facts: Vec<(CheckId, Subject, Value)>) -> Observed {
        let each = facts.into_iter();
        let facts = each.map(|(check, subject, value)| Observation { check, subject, value });
        Observed {
            template: Versioned { number: 1, version: 1 },
            planograms: vec![Versioned { number: 1, version: 1 }],
            price_list: Some(Versioned { number: 1, version: 1 }),
            observations: Observations(facts.collect()),
            photos: Vec::new(),
            supersedes: Vec::new(),
        }
    }

    fn with_planogram(version: u32, observed: Observed) -> Observed {
        Observed { planograms: vec![Versioned { number: 1, version }], ..observed }
    }

    /// One person's phone with its own copy of the visit.
    #[derive(Clone)]
    struct Phone {
        user: UserId,
        actor: Actor,
        document: Document,
    }

    impl Phone {
        fn of(person: u8) -> Self {
            let visit = VisitId::from_bytes([2; 16]);
            Self {
                user: UserId::from_bytes([person; 16]),
                actor: Actor::from_bytes([person; 16]),
                document: Document::new(OrgId::from_bytes([1; 16]), visit.into()),
            }
        }

        fn started(person: u8) -> Self {
            let mut phone = Self::of(person);
            phone.act(Act::Start {
                outlet: OutletId::from_bytes([3; 16]),
                call: None,
                territory: TerritoryId::from_bytes([4; 16]),
                distributor: DistributorId::from_bytes([5; 16]),
                template: Versioned { number: 1, version: 1 },
            });
            phone
        }

        fn write(&mut self, entry: Entry) -> ChangeHash {
            entry.validate().unwrap();
            let change = self.document.next(self.actor, &entry).unwrap();
            let hash = change.hash();
            self.document.insert(change).unwrap();
            hash
        }

        fn act(&mut self, act: Act) -> ChangeHash {
            self.write(Entry::Recording(crate::model::visit::Recording {
                by: self.user,
                when: WHEN,
                place: None,
                act,
            }))
        }

        fn observe(&mut self, facts: Vec<(CheckId, Subject, Value)>) -> Evidence {
            self.record(observed(facts))
        }

        fn record(&mut self, observed: Observed) -> Evidence {
            Evidence { recording: self.act(Act::Observe(observed)), by: self.user }
        }

        fn submit(&mut self) {
            self.write(Entry::Submission(Submission { by: self.user, when: WHEN, place: None }));
        }

        fn pull(&mut self, other: &Self) {
            for change in other.document.changes() {
                self.document.insert(change.clone()).unwrap();
            }
        }

        fn facts(&self) -> Facts {
            project(&Visit::read(&self.document), &[cola(), lemon()], DAY, &catalogue())
        }

        fn ratio(&self, kpi: Kpi) -> (u64, u64) {
            let Ratio { numerator, denominator } = per_visit(&self.facts()).get(kpi);
            (numerator, denominator)
        }
    }

    /// A visit where one person has submitted this.
    fn submitted(observed: Observed) -> (Phone, Evidence) {
        let mut phone = Phone::started(1);
        let evidence = phone.record(observed);
        phone.submit();
        (phone, evidence)
    }

    #[test]
    fn a_position_is_graded_by_its_plan() {
        use Grade::*;
        let cases = [
            (planned(0), Missing, [false, false, false, false]),
            (planned(2), Short, [true, true, true, false]),
            (planned(3), Right, [true, true, true, true]),
            (planned(9), Right, [true, true, true, true]),
            (shelf(3, Place::MovedAlong), Moved, [true, true, false, true]),
            (shelf(1, Place::MovedAlong), Moved, [true, true, false, false]),
            (shelf(3, Place::OtherShelf(2)), Moved, [true, false, false, true]),
            (shelf(1, Place::OtherShelf(2)), Moved, [true, false, false, false]),
        ];
        for (value, grade, [present, shelf, place, facings]) in cases {
            let (phone, _) = submitted(observed(vec![(SHELF, at(1), value.clone())]));
            let fact = &phone.facts().positions[0];
            assert_eq!(fact.grade(), grade, "{value:?}");
            assert_eq!(fact.marks(), Some(Marks { present, shelf, place, facings }), "{value:?}");
            let counted = |right: bool| (u64::from(right), 1);
            assert_eq!(phone.ratio(Kpi::PlanogramCompliance), counted(grade == Right));
            assert_eq!(phone.ratio(Kpi::PlanogramPresent), counted(present));
            assert_eq!(phone.ratio(Kpi::PlanogramShelf), counted(shelf));
            assert_eq!(phone.ratio(Kpi::PlanogramPlace), counted(place));
            assert_eq!(phone.ratio(Kpi::PlanogramFacings), counted(facings));
        }
    }

    #[test]
    fn a_whole_visit_as_values() {
        let (phone, evidence) = submitted(observed(vec![
            (SHELF, at(1), Value::Shelf { facings: 2, in_stock: true, place: Place::AsPlanned }),
            (PRICES, Subject::Product(cola()), Value::Price(money(208, "EUR"))),
            (STOCK, Subject::Product(cola()), Value::Stock { on_shelf: true, units: Some(7) }),
            (TOWER, Subject::Display(4), Value::Met(true)),
            (QUESTION, Subject::Outlet, Value::YesNo(false)),
        ]));
        assert_eq!(
            phone.facts(),
            Facts {
                day: DAY,
                visited: true,
                positions: vec![PositionFact {
                    check: SHELF,
                    planogram: 1,
                    position: 1,
                    facings: 2,
                    in_stock: true,
                    place: Place::AsPlanned,
                    version: Some(1),
                    planned: Some(Planned { shelf: 1, gtin: cola(), facings: 3 }),
                    evidence,
                }],
                prices: vec![PriceFact {
                    check: PRICES,
                    gtin: cola(),
                    shelf: money(208, "EUR"),
                    list: Some(Versioned { number: 1, version: 1 }),
                    recommended: Some(Recommended {
                        minor: 199,
                        within: true,
                        deviation_ppm: 45_226,
                    }),
                    evidence,
                }],
                stock: vec![StockFact {
                    check: STOCK,
                    gtin: cola(),
                    on_shelf: true,
                    units: Some(7),
                    must_stock: true,
                    judged: true,
                    evidence,
                }],
                displays: vec![DisplayFact {
                    check: TOWER,
                    display: 4,
                    met: true,
                    judged: true,
                    evidence,
                }],
                answers: vec![Answer {
                    check: QUESTION,
                    subject: Subject::Outlet,
                    value: Value::YesNo(false),
                    evidence,
                }],
                conflicts: vec![],
            }
        );
    }

    #[test]
    fn two_people_who_disagree_are_shown_and_not_counted_until_one_settles_it() {
        let (mut anna, mut ben) = (Phone::started(1), Phone::of(2));
        ben.pull(&anna);
        let hers = anna.observe(vec![
            (SHELF, at(1), planned(3)),
            (STOCK, Subject::Product(cola()), stock(true)),
        ]);
        anna.submit();
        let his = ben.observe(vec![
            (SHELF, at(1), planned(1)),
            (STOCK, Subject::Product(cola()), stock(true)),
        ]);
        anna.pull(&ben);
        assert_eq!(anna.ratio(Kpi::PlanogramCompliance), (1, 1), "his is not submitted yet");

        ben.submit();
        anna.pull(&ben);
        ben.pull(&anna);
        assert_eq!(anna.facts(), ben.facts());
        let facts = anna.facts();
        let mut sides = [(planned(3), hers), (planned(1), his)];
        sides.sort_by_key(|(_, evidence)| evidence.recording);
        let said = sides.map(|(value, evidence)| Said { value, evidence });
        let conflict = Conflict { check: SHELF, subject: at(1), said: said.to_vec() };
        assert_eq!(
            (&facts.conflicts[..], &facts.positions[..]),
            (&[conflict.clone()][..], &[][..])
        );
        assert_eq!(anna.ratio(Kpi::PlanogramCompliance), (0, 0));
        assert_eq!(anna.ratio(Kpi::OnShelfAvailability), (1, 1), "they agree on the cola");
        assert_eq!(facts.stock[0].evidence, conflict.said[0].evidence, "the first who says so");

        let settled = Observed {
            supersedes: vec![hers.recording, his.recording],
            ..observed(vec![(SHELF, at(1), planned(1))])
        };
        let settled = ben.record(settled);
        let facts = ben.facts();
        assert_eq!((facts.conflicts, facts.positions[0].evidence), (vec![], settled));
        assert_eq!(ben.ratio(Kpi::PlanogramCompliance), (0, 1));
        assert_eq!(ben.ratio(Kpi::OnShelfAvailability), (1, 1));
    }

    #[test]
    fn a_superseded_value_counts_no_more_and_its_neighbours_do() {
        let (mut phone, first) = submitted(observed(vec![
            (STOCK, Subject::Product(cola()), stock(false)),
            (STOCK, Subject::Product(lemon()), stock(false)),
        ]));
        assert_eq!(phone.ratio(Kpi::OnShelfAvailability), (0, 2));
        let second = phone.record(Observed {
            supersedes: vec![first.recording],
            ..observed(vec![(STOCK, Subject::Product(cola()), stock(true))])
        });
        assert_eq!(phone.ratio(Kpi::OnShelfAvailability), (1, 2));
        let evidence = |gtin| {
            let facts = phone.facts();
            facts.stock.iter().find(|s| s.gtin == gtin).unwrap().evidence
        };
        assert_eq!((evidence(cola()), evidence(lemon())), (second, first));
    }

    #[test]
    fn what_is_taken_back_says_nothing() {
        let (mut phone, first) =
            submitted(observed(vec![(STOCK, Subject::Product(cola()), stock(false))]));
        phone.record(Observed {
            supersedes: vec![first.recording],
            ..observed(vec![(STOCK, Subject::Product(cola()), Value::Withdrawn)])
        });
        assert_eq!(phone.facts().stock, []);
        assert_eq!(phone.facts().conflicts, []);
        assert_eq!(phone.ratio(Kpi::OnShelfAvailability), (0, 0));

        let mut other = Phone::of(2);
        other.pull(&phone);
        let said = other.observe(vec![(STOCK, Subject::Product(cola()), stock(true))]);
        other.submit();
        assert_eq!(other.facts().stock[0].evidence, said, "a withdrawal contradicts nobody");
        assert_eq!(other.facts().conflicts, []);
    }

    #[test]
    fn a_withdrawn_recording_is_as_if_it_had_not_been() {
        let mut phone = Phone::started(1);
        let mistake = phone.observe(vec![(SHELF, at(1), planned(0))]);
        phone.act(Act::Withdraw { recordings: vec![mistake.recording] });
        phone.submit();
        let facts = phone.facts();
        assert_eq!((facts.visited, facts.positions), (false, vec![]));
        phone.observe(vec![(SHELF, at(1), planned(3))]);
        phone.submit();
        assert_eq!(phone.ratio(Kpi::PlanogramCompliance), (1, 1));
        assert!(phone.facts().visited);
    }

    #[test]
    fn what_is_not_submitted_does_not_count() {
        let mut phone = Phone::started(1);
        phone.observe(vec![
            (SHELF, at(1), planned(3)),
            (PRICES, Subject::Product(cola()), Value::Price(money(199, "EUR"))),
        ]);
        let before = phone.facts();
        assert!(!before.visited && before.positions.is_empty() && before.prices.is_empty());
        phone.submit();
        phone.observe(vec![(STOCK, Subject::Product(cola()), stock(true))]);
        let after = phone.facts();
        assert!(after.visited && after.positions.len() == 1 && after.stock.is_empty());
    }

    #[test]
    fn a_call_that_was_not_possible_is_no_visit() {
        let mut phone = Phone::started(1);
        let reason = NotPossible::Closed;
        phone.act(Act::NotPossible { reason, note: None, photos: Vec::new() });
        assert!(!phone.facts().visited);
        phone.submit();
        assert!(!phone.facts().visited);

        let mut other = Phone::of(2);
        other.pull(&phone);
        other.observe(vec![(QUESTION, Subject::Outlet, Value::YesNo(true))]);
        other.submit();
        assert!(other.facts().visited, "someone else got in");
        other.act(Act::Abandon {});
        assert!(!other.facts().visited);
    }

    #[test]
    fn each_value_is_judged_by_the_version_its_recording_names() {
        let mut phone = Phone::started(1);
        phone.record(with_planogram(1, observed(vec![(SHELF, at(1), planned(3))])));
        phone.record(with_planogram(2, observed(vec![(SECOND_SHELF, at(1), planned(3))])));
        phone.submit();
        let facts = phone.facts();
        let grades: Vec<_> = facts.positions.iter().map(|p| (p.version, p.grade())).collect();
        assert_eq!(grades, [(Some(1), Grade::Right), (Some(2), Grade::Short)]);
        assert_eq!(phone.ratio(Kpi::PlanogramCompliance), (1, 2), "once for each check");
        assert_eq!(phone.ratio(Kpi::PlanogramPresent), (2, 2));
    }

    #[test]
    fn those_who_agree_make_one_fact_judged_by_the_newest_version_that_is_here() {
        for versions in [[1, 2, 9], [2, 9, 1], [9, 1, 2], [9, 2, 1]] {
            let mut phones = [Phone::started(1), Phone::of(2), Phone::of(3)];
            let first = phones[0].clone();
            phones[1..].iter_mut().for_each(|phone| phone.pull(&first));
            for (phone, version) in phones.iter_mut().zip(versions) {
                phone.record(with_planogram(version, observed(vec![(SHELF, at(1), planned(3))])));
                phone.submit();
            }
            let [mut all, second, third] = phones;
            all.pull(&second);
            all.pull(&third);
            let facts = all.facts();
            let judged: Vec<_> = facts.positions.iter().map(|p| (p.version, p.grade())).collect();
            assert_eq!(judged, [(Some(2), Grade::Short)], "{versions:?}");
            let by = versions.iter().position(|v| *v == 2).unwrap() as u8 + 1;
            assert_eq!(facts.positions[0].evidence.by, UserId::from_bytes([by; 16]));
        }
    }

    #[test]
    fn without_the_version_that_is_named_a_fact_is_kept_and_not_counted() {
        let facts = || {
            observed(vec![
                (SHELF, at(1), planned(3)),
                (PRICES, Subject::Product(cola()), Value::Price(money(199, "EUR"))),
                (STOCK, Subject::Product(cola()), stock(true)),
                (TOWER, Subject::Display(4), Value::Met(true)),
            ])
        };
        let lacking = |edit: &dyn Fn(&mut Observed)| {
            let mut observed = facts();
            edit(&mut observed);
            let (phone, _) = submitted(observed);
            let kept = phone.facts();
            let lists = (&kept.positions, &kept.prices, &kept.stock, &kept.displays);
            assert_eq!((lists.0.len(), lists.1.len(), lists.2.len(), lists.3.len()), (1, 1, 1, 1));
            let kpis = [
                Kpi::PlanogramCompliance,
                Kpi::PriceCompliance,
                Kpi::OnShelfAvailability,
                Kpi::DisplayCompliance,
            ];
            kpis.map(|kpi| phone.ratio(kpi).1)
        };
        let absent = Versioned { number: 1, version: 7 };
        assert_eq!(lacking(&|_| ()), [1, 1, 1, 1]);
        assert_eq!(lacking(&|o| o.template = absent), [0, 0, 0, 0]);
        assert_eq!(lacking(&|o| o.planograms = vec![absent]), [0, 1, 1, 1]);
        assert_eq!(lacking(&|o| o.planograms.clear()), [0, 1, 1, 1]);
        assert_eq!(lacking(&|o| o.price_list = Some(absent)), [1, 0, 1, 1]);
        assert_eq!(lacking(&|o| o.price_list = None), [1, 0, 1, 1]);

        let (phone, _) = submitted(with_planogram(7, facts()));
        let fact = &phone.facts().positions[0];
        assert_eq!((fact.version, fact.grade(), fact.marks()), (Some(7), Grade::Unjudged, None));
    }

    #[test]
    fn a_subject_that_nobody_asked_about_is_not_counted() {
        let met = Value::Met(true);
        let (phone, _) = submitted(observed(vec![
            (NOT_ASKED, at(1), planned(3)),
            (STOCK, at(1), planned(3)),
            (SHELF, at(2), planned(2)),
            (SHELF, Subject::Position { planogram: 8, position: 1 }, planned(2)),
            (NOT_ASKED, Subject::Product(cola()), Value::Price(money(199, "EUR"))),
            (PRICES, Subject::Product(lemon()), Value::Price(money(199, "EUR"))),
            (NOT_ASKED, Subject::Product(lemon()), stock(true)),
            (PRICES, Subject::Product(cola()), stock(true)),
            (TOWER, Subject::Display(5), met.clone()),
            (NOT_ASKED, Subject::Display(4), met.clone()),
            (TOWER, Subject::Outlet, met),
        ]));
        let facts = phone.facts();
        let lengths =
            [facts.positions.len(), facts.prices.len(), facts.stock.len(), facts.displays.len()];
        assert_eq!((lengths, facts.answers.len()), ([4, 2, 2, 2], 1));
        assert!(facts.positions.iter().all(|p| p.grade() == Grade::Unjudged));
        assert_eq!(per_visit(&facts).iter().collect::<Vec<_>>(), []);
    }

    #[test]
    fn prices_are_compared_exactly_with_what_is_in_force_that_day() {
        let price = |minor, currency: &str, day| {
            let value = Value::Price(money(minor, currency));
            let (phone, _) = submitted(observed(vec![(PRICES, Subject::Product(cola()), value)]));
            let visit = Visit::read(&phone.document);
            let facts = project(&visit, &[], day, &catalogue());
            facts.prices[0].recommended.map(|r| (r.minor, r.within, r.deviation_ppm))
        };
        assert_eq!(price(199, "EUR", DAY), Some((199, true, 0)));
        assert_eq!(price(190, "EUR", DAY), Some((199, true, -45_226)));
        assert_eq!(price(189, "EUR", DAY), Some((199, false, -50_251)));
        assert_eq!(price(209, "EUR", DAY), Some((199, false, 50_251)));
        assert_eq!(price(209, "EUR", DAY.plus(1)), Some((209, true, 0)));
        assert_eq!(price(199, "USD", DAY), None);
        assert_eq!(price(199, "EUR", Day(-1)), None);
        assert_eq!(price(100_000_000_000, "EUR", DAY), Some((199, false, 502_512_561_814_070)));
    }

    #[test]
    fn no_price_overflows() {
        let list = |minor| PriceList {
            prices: vec![ListPrice { gtin: cola(), minor, from: Day(0) }],
            tolerance_permille: u32::MAX,
            ..catalogue().price_list(1, 1).unwrap().clone()
        };
        let compare = |minor, shelf| {
            let compared = Recommended::compare(&list(minor), cola(), DAY, money(shelf, "EUR"));
            compared.map(|r| r.deviation_ppm)
        };
        assert_eq!(compare(1, i64::MAX), Some(i64::MAX));
        assert_eq!(compare(1, i64::MIN), Some(i64::MIN));
        assert_eq!(compare(i64::MAX, i64::MIN), Some(-2_000_000));
        assert_eq!(compare(2_000_000, 2_000_001), Some(1));
        assert_eq!(compare(2_000_000, 1_999_999), Some(-1));
        assert_eq!([compare(0, 5), compare(-3, 5)], [None, None]);
    }

    #[test]
    fn only_must_stock_products_make_availability() {
        let (phone, _) = submitted(observed(vec![
            (STOCK, Subject::Product(cola()), stock(true)),
            (STOCK, Subject::Product(lemon()), stock(false)),
        ]));
        let visit = Visit::read(&phone.document);
        let counted = |must: &[Gtin]| {
            let facts = project(&visit, must, DAY, &catalogue());
            let ratio = per_visit(&facts).get(Kpi::OnShelfAvailability);
            (facts.stock.len(), ratio.numerator, ratio.denominator)
        };
        assert_eq!(counted(&[]), (2, 0, 0));
        assert_eq!(counted(&[cola()]), (2, 1, 1));
        assert_eq!(counted(&[cola(), lemon(), cola()]), (2, 1, 2));
    }

    #[test]
    fn a_kind_that_is_not_known_is_no_fact_but_can_contradict() {
        let (mut anna, _) = submitted(observed(vec![
            (STOCK, Subject::Product(cola()), unknown()),
            (STOCK, Subject::Unknown(to_cbor(&(99_u32, 1_u32))), stock(true)),
        ]));
        let facts = anna.facts();
        assert!(facts.visited && facts.stock.is_empty() && facts.answers.is_empty());
        let mut ben = Phone::of(2);
        ben.pull(&anna);
        ben.observe(vec![(STOCK, Subject::Product(cola()), stock(true))]);
        ben.submit();
        anna.pull(&ben);
        assert_eq!((anna.facts().stock.len(), anna.facts().conflicts.len()), (0, 1));
    }

    /// Facts with every kind of thing in them, from two people.
    fn everything() -> Facts {
        let (mut anna, mut ben) = (Phone::started(1), Phone::of(2));
        ben.pull(&anna);
        anna.record(with_planogram(
            2,
            observed(vec![
                (SHELF, at(1), shelf(3, Place::MovedAlong)),
                (SHELF, at(2), shelf(1, Place::OtherShelf(u32::MAX))),
                (SHELF, at(3), planned(0)),
                (PRICES, Subject::Product(cola()), Value::Price(money(150, "EUR"))),
                (PRICES, Subject::Product(lemon()), Value::Price(money(150, "JPY"))),
                (TOWER, Subject::Display(4), Value::Met(true)),
            ]),
        ));
        ben.observe(vec![
            (STOCK, Subject::Product(cola()), Value::Stock { on_shelf: true, units: Some(4) }),
            (STOCK, Subject::Product(lemon()), stock(false)),
            (PRICES, Subject::Unlisted(BlobHash::of(b"n")), Value::Price(money(99, "EUR"))),
            (QUESTION, Subject::Outlet, Value::Text(BlobHash::of(b"t"))),
            (TOWER, Subject::Display(4), unknown()),
        ]);
        anna.submit();
        ben.submit();
        anna.pull(&ben);
        anna.facts()
    }

    #[test]
    fn packed_facts_read_back_the_same() {
        let facts = everything();
        assert_eq!((facts.positions.len(), facts.prices.len(), facts.stock.len()), (3, 2, 2));
        assert_eq!((facts.answers.len(), facts.conflicts.len()), (2, 1));
        assert_eq!(from_cbor::<Facts>(&to_cbor(&facts)).unwrap(), facts);
        let (nothing, facts) = (Phone::started(1).facts(), everything());
        let two = to_cbor(&(&nothing, &facts));
        assert_eq!(from_cbor::<(Facts, Facts)>(&two).unwrap(), (nothing, facts));
    }

    #[test]
    fn a_recording_is_packed_once() {
        let facts = |n| (0..n).map(|position| (SHELF, at(position), planned(3))).collect();
        let bytes = |n| to_cbor(&submitted(observed(facts(n))).0.facts()).len();
        assert!(bytes(120) - bytes(20) <= 100 * 14, "{} and {}", bytes(120), bytes(20));
    }

    #[test]
    fn facts_of_another_version_or_cut_short_are_an_error() {
        let bytes = to_cbor(&everything());
        assert_eq!(bytes[..2], [0x89, 0x01]);
        for version in [0, 2, 23] {
            let mut other = bytes.clone();
            other[1] = version;
            let error = from_cbor::<Facts>(&other).unwrap_err();
            assert!(error.to_string().contains("another version"), "{error}");
        }
        for length in 0..bytes.len() {
            assert!(from_cbor::<Facts>(&bytes[..length]).is_err());
        }
        // A display whose evidence names a recording that nothing before it has.
        let none = [0_u8; 0];
        let display = [(TOWER, 4_u32, true, true, 0_u32)];
        let rows = (FACTS_VERSION, DAY, true, none, none, none, display, none, none);
        assert!(from_cbor::<Facts>(&to_cbor(&rows)).is_err());
    }
}
