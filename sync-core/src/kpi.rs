//! What facts count for: the KPIs of the Endcap KPI dictionary, version 1.
//!
//! Each is a numerator and a denominator, never a stored quotient, so figures of visits add up to figures
//! of outlets, territories and weeks, and a visit that changes is taken out and put back. Each has an id
//! and a version, so that a drill-down shows the definition that was in force.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{CallId, OutletId};
use crate::model::Day;
use crate::projection::{Facts, Grade, Marks};

/// A figure that Endcap computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kpi {
    /// Outlets visited, of those assigned.
    OutletCoverage,
    /// Planned calls made on their day, of those due.
    JourneyPlanAdherence,
    /// Positions right in everything, of those audited.
    PlanogramCompliance,
    /// Positions with a facing, of those audited.
    PlanogramPresent,
    /// Positions present and on their shelf, of those audited.
    PlanogramShelf,
    /// Positions present and in their place, of those audited.
    PlanogramPlace,
    /// Positions with at least their planned facings, of those audited.
    PlanogramFacings,
    /// Must-stock products on the shelf, of those audited.
    OnShelfAvailability,
    /// Displays as agreed, of those audited.
    DisplayCompliance,
    /// Prices within the tolerance, of those judged.
    PriceCompliance,
}

/// How all definitions of per-visit figures end.
macro_rules! of_visits {
    ($formula:literal) => {
        concat!(
            $formula,
            "; only submitted values that nobody contradicts count, once for each check that they ",
            "answer, by the catalogue versions that their recordings name ",
            "(Endcap KPI dictionary v1)."
        )
    };
}

impl Kpi {
    /// Every KPI, in the order of the scorecard.
    pub const ALL: [Self; 10] = [
        Self::OutletCoverage,
        Self::JourneyPlanAdherence,
        Self::PlanogramCompliance,
        Self::PlanogramPresent,
        Self::PlanogramShelf,
        Self::PlanogramPlace,
        Self::PlanogramFacings,
        Self::OnShelfAvailability,
        Self::DisplayCompliance,
        Self::PriceCompliance,
    ];

    /// The name in stores and in the API.
    pub const fn id(self) -> &'static str {
        match self {
            Self::OutletCoverage => "outlet_coverage",
            Self::JourneyPlanAdherence => "journey_plan_adherence",
            Self::PlanogramCompliance => "planogram_compliance",
            Self::PlanogramPresent => "planogram_compliance.present",
            Self::PlanogramShelf => "planogram_compliance.shelf",
            Self::PlanogramPlace => "planogram_compliance.place",
            Self::PlanogramFacings => "planogram_compliance.facings",
            Self::OnShelfAvailability => "on_shelf_availability",
            Self::DisplayCompliance => "display_compliance",
            Self::PriceCompliance => "price_compliance",
        }
    }

    /// The reverse of [`Kpi::id`].
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kpi| kpi.id() == id)
    }

    /// Rises when the definition changes what is counted.
    pub const fn version(self) -> u32 {
        1
    }

    /// What people call it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::OutletCoverage => "Outlet coverage",
            Self::JourneyPlanAdherence => "Journey plan adherence",
            Self::PlanogramCompliance => "Planogram compliance",
            Self::PlanogramPresent => "Present",
            Self::PlanogramShelf => "Right shelf",
            Self::PlanogramPlace => "Right place",
            Self::PlanogramFacings => "Right facings",
            Self::OnShelfAvailability => "On-shelf availability",
            Self::DisplayCompliance => "Display compliance",
            Self::PriceCompliance => "Price compliance",
        }
    }

    /// One sentence that says exactly what is counted, and by which dictionary.
    pub const fn definition(self) -> &'static str {
        match self {
            Self::OutletCoverage => {
                "Active outlets assigned with at least one visit in the period from which an \
                 observation or photo was submitted / active outlets assigned; a call that was not \
                 possible and a visit that was abandoned or not submitted are no visits \
                 (Endcap KPI dictionary v1)."
            }
            Self::JourneyPlanAdherence => {
                "Planned calls visited on their planned day, the outlet's local one / planned calls \
                 due, which are those not cancelled whose day lies in the period and has begun; a call \
                 that was not possible and a visit that was abandoned or not submitted are no visits \
                 (Endcap KPI dictionary v1)."
            }
            Self::PlanogramCompliance => of_visits!(
                "Planned positions observed with a facing, on the planned shelf, in the planned place \
                 along it and with at least the planned facings / planned positions audited"
            ),
            Self::PlanogramPresent => of_visits!(
                "Planned positions observed with at least one facing, wherever in the planogram / \
                 planned positions audited"
            ),
            Self::PlanogramShelf => of_visits!(
                "Planned positions observed with at least one facing on the planned shelf / planned \
                 positions audited"
            ),
            Self::PlanogramPlace => of_visits!(
                "Planned positions observed with at least one facing on the planned shelf and in the \
                 planned place along it / planned positions audited"
            ),
            Self::PlanogramFacings => of_visits!(
                "Planned positions observed with at least the planned facings, wherever in the \
                 planogram / planned positions audited"
            ),
            Self::OnShelfAvailability => of_visits!(
                "Products of the outlet's must-stock list that a stock check found on the shelf / \
                 products of that list that stock checks audited, out of stock being 1 less that ratio"
            ),
            Self::DisplayCompliance => of_visits!("Display checks met / display checks audited"),
            Self::PriceCompliance => of_visits!(
                "Products whose shelf price differs from the recommended selling price in force on \
                 the day of the visit by no more than the price list's tolerance / products priced \
                 that have such a price in the same currency"
            ),
        }
    }
}

/// A numerator and a denominator, both counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Ratio {
    /// How many are as they should be.
    pub numerator: u64,
    /// Of how many.
    pub denominator: u64,
}

impl Ratio {
    /// Both together; `None` if a count would overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            numerator: self.numerator.checked_add(other.numerator)?,
            denominator: self.denominator.checked_add(other.denominator)?,
        })
    }

    /// What is left without `other`; `None` if it was never added.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self {
            numerator: self.numerator.checked_sub(other.numerator)?,
            denominator: self.denominator.checked_sub(other.denominator)?,
        })
    }

    /// The quotient; `None` where nothing was counted.
    pub fn value(self) -> Option<f64> {
        (self.denominator > 0).then(|| self.numerator as f64 / self.denominator as f64)
    }

    fn count(&mut self, right: bool) {
        self.numerator = self.numerator.saturating_add(right.into());
        self.denominator = self.denominator.saturating_add(1);
    }
}

/// One ratio for each KPI: of a visit, or of many visits added up.
///
/// Those that are not of single visits ([`Kpi::OutletCoverage`], [`Kpi::JourneyPlanAdherence`]) stay 0/0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Counts([Ratio; Kpi::ALL.len()]);

impl Counts {
    /// The ratio of one KPI.
    pub fn get(&self, kpi: Kpi) -> Ratio {
        self.0[kpi as usize]
    }

    /// Each KPI that something was counted for.
    pub fn iter(&self) -> impl Iterator<Item = (Kpi, Ratio)> {
        let all = Kpi::ALL.into_iter().zip(self.0);
        all.filter(|(_, ratio)| ratio.denominator > 0)
    }

    /// Both together; `None` if a count would overflow.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        self.each(other, Ratio::checked_add)
    }

    /// What is left without `other`; `None` if it was never added.
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        self.each(other, Ratio::checked_sub)
    }

    fn each(&self, other: &Self, combine: fn(Ratio, Ratio) -> Option<Ratio>) -> Option<Self> {
        let mut out = *self;
        for (ratio, other) in out.0.iter_mut().zip(other.0) {
            *ratio = combine(*ratio, other)?;
        }
        Some(out)
    }

    fn count(&mut self, kpi: Kpi, right: bool) {
        self.0[kpi as usize].count(right);
    }
}

/// What one visit counts for.
pub fn per_visit(facts: &Facts) -> Counts {
    let mut counts = Counts::default();
    for fact in &facts.positions {
        if let Some(Marks { present, shelf, place, facings }) = fact.marks() {
            counts.count(Kpi::PlanogramCompliance, fact.grade() == Grade::Right);
            counts.count(Kpi::PlanogramPresent, present);
            counts.count(Kpi::PlanogramShelf, shelf);
            counts.count(Kpi::PlanogramPlace, place);
            counts.count(Kpi::PlanogramFacings, facings);
        }
    }
    for fact in facts.stock.iter().filter(|fact| fact.judged && fact.must_stock) {
        counts.count(Kpi::OnShelfAvailability, fact.on_shelf);
    }
    for fact in facts.displays.iter().filter(|fact| fact.judged) {
        counts.count(Kpi::DisplayCompliance, fact.met);
    }
    for recommended in facts.prices.iter().filter_map(|fact| fact.recommended) {
        counts.count(Kpi::PriceCompliance, recommended.within);
    }
    counts
}

/// The median of shelf prices' deviations from what is recommended, in millionths; between two middle ones
/// their mean, rounded towards zero. `None` of none.
pub fn median_deviation(deviations_ppm: &[i64]) -> Option<i64> {
    let mut sorted = deviations_ppm.to_vec();
    sorted.sort_unstable();
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(i64::midpoint(lower, upper))
}

/// [`Kpi::OutletCoverage`] of a period: `active` are the outlets assigned, each counted once, and `visited`
/// those with a visit in the period whose [`Facts::visited`] is true.
pub fn outlet_coverage(
    active: impl Iterator<Item = OutletId>,
    visited: &BTreeSet<OutletId>,
) -> Ratio {
    let mut ratio = Ratio::default();
    for outlet in active.collect::<BTreeSet<_>>() {
        ratio.count(visited.contains(&outlet));
    }
    ratio
}

/// [`Kpi::JourneyPlanAdherence`]: `calls` are the planned calls due with their days, each counted once (on
/// the last day given for it), and `visited_on` is the [`Facts::day`] of a call's visit if its
/// [`Facts::visited`] is true.
pub fn journey_plan_adherence(
    calls: impl Iterator<Item = (CallId, Day)>,
    visited_on: impl Fn(CallId) -> Option<Day>,
) -> Ratio {
    let mut ratio = Ratio::default();
    for (call, day) in calls.collect::<BTreeMap<_, _>>() {
        ratio.count(visited_on(call) == Some(day));
    }
    ratio
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::{ChangeHash, Gtin, UserId};
    use crate::model::Money;
    use crate::model::visit::Place;
    use crate::projection::{
        DisplayFact, Evidence, Planned, PositionFact, PriceFact, Recommended, StockFact,
    };

    const EVIDENCE: Evidence =
        Evidence { recording: ChangeHash([1; 32]), by: UserId::from_bytes([1; 16]) };

    fn gtin() -> Gtin {
        Gtin::from_u64(8_904_000_210_037).unwrap()
    }

    fn ratio(numerator: u64, denominator: u64) -> Ratio {
        Ratio { numerator, denominator }
    }

    fn nothing() -> Facts {
        Facts {
            day: Day(0),
            visited: true,
            positions: Vec::new(),
            prices: Vec::new(),
            stock: Vec::new(),
            displays: Vec::new(),
            answers: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    #[test]
    fn every_kpi_has_an_id_of_its_own_and_a_place() {
        for (place, kpi) in Kpi::ALL.into_iter().enumerate() {
            assert_eq!(kpi as usize, place);
            assert_eq!(Kpi::from_id(kpi.id()), Some(kpi));
            assert_eq!(kpi.version(), 1);
            let definition = kpi.definition();
            assert!(definition.ends_with(" (Endcap KPI dictionary v1)."), "{definition}");
            assert!(definition.contains(" / "), "{definition}");
            assert!(!definition.contains("  ") && !definition.contains('\n'), "{definition}");
        }
        assert_eq!(Kpi::from_id("planogram_compliance.present"), Some(Kpi::PlanogramPresent));
        assert_eq!(Kpi::from_id("strike_rate"), None);
    }

    #[test]
    fn a_ratio_of_nothing_has_no_value() {
        assert_eq!(Ratio::default().value(), None);
        assert_eq!(ratio(0, 4).value(), Some(0.0));
        assert_eq!(ratio(3, 4).value(), Some(0.75));
        assert_eq!(ratio(1, 2).checked_add(ratio(2, 3)), Some(ratio(3, 5)));
        assert_eq!(ratio(3, 5).checked_sub(ratio(2, 3)), Some(ratio(1, 2)));
        assert_eq!(ratio(0, u64::MAX).checked_add(ratio(0, 1)), None);
        assert_eq!(ratio(0, 1).checked_sub(ratio(1, 1)), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median_deviation(&[]), None);
        assert_eq!(median_deviation(&[7]), Some(7));
        assert_eq!(median_deviation(&[50_000, -10_000, 0]), Some(0));
        assert_eq!(median_deviation(&[4, -3, 9, 1]), Some(2));
        assert_eq!(median_deviation(&[-2, -1]), Some(-1));
        assert_eq!(median_deviation(&[i64::MAX, i64::MAX]), Some(i64::MAX));
        assert_eq!(median_deviation(&[i64::MAX, i64::MIN]), Some(0));
    }

    #[test]
    fn coverage_counts_each_assigned_outlet_once() {
        let outlet = |n| OutletId::from_bytes([n; 16]);
        let visited = BTreeSet::from([outlet(1), outlet(9)]);
        let active = [1, 2, 3, 1].map(outlet);
        assert_eq!(outlet_coverage(active.into_iter(), &visited), ratio(1, 3));
        assert_eq!(outlet_coverage([].into_iter(), &visited), ratio(0, 0));
    }

    #[test]
    fn adherence_wants_the_planned_day() {
        let call = |n| CallId::from_bytes([n; 16]);
        let due = [(call(1), Day(10)), (call(2), Day(10)), (call(3), Day(11)), (call(1), Day(10))];
        let visited_on = |c: CallId| match c.as_bytes()[0] {
            1 => Some(Day(10)),
            2 => Some(Day(11)),
            _ => None,
        };
        assert_eq!(journey_plan_adherence(due.into_iter(), visited_on), ratio(1, 3));
    }

    fn position(judged: bool) -> impl Strategy<Value = PositionFact> {
        let place = prop_oneof![
            Just(Place::AsPlanned),
            Just(Place::MovedAlong),
            Just(Place::OtherShelf(2))
        ];
        (0_u32..5, place).prop_map(move |(facings, place)| PositionFact {
            check: 1,
            planogram: 1,
            position: 1,
            facings,
            in_stock: false,
            place,
            version: Some(1),
            planned: judged.then_some(Planned { shelf: 1, gtin: gtin(), facings: 3 }),
            evidence: EVIDENCE,
        })
    }

    fn price(within: Option<bool>) -> PriceFact {
        PriceFact {
            check: 2,
            gtin: gtin(),
            shelf: Money { minor: 199, currency: "EUR".parse().unwrap() },
            list: None,
            recommended: within.map(|within| Recommended { minor: 199, within, deviation_ppm: 0 }),
            evidence: EVIDENCE,
        }
    }

    fn stock((on_shelf, must_stock, judged): (bool, bool, bool)) -> StockFact {
        let (check, gtin, units, evidence) = (3, gtin(), None, EVIDENCE);
        StockFact { check, gtin, on_shelf, units, must_stock, judged, evidence }
    }

    fn display((met, judged): (bool, bool)) -> DisplayFact {
        DisplayFact { check: 4, display: 1, met, judged, evidence: EVIDENCE }
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let few = 0..4_usize;
        (
            prop::collection::vec(any::<bool>().prop_flat_map(position), few.clone()),
            prop::collection::vec(any::<Option<bool>>().prop_map(price), few.clone()),
            prop::collection::vec(any::<(bool, bool, bool)>().prop_map(stock), few.clone()),
            prop::collection::vec(any::<(bool, bool)>().prop_map(display), few),
        )
            .prop_map(|(positions, prices, stock, displays)| Facts {
                positions,
                prices,
                stock,
                displays,
                ..nothing()
            })
    }

    proptest! {
        #[test]
        fn an_aggregate_kept_through_any_updates_equals_a_full_rebuild(
            updates in prop::collection::vec((0..6_usize, prop::option::of(facts())), 0..40),
        ) {
            let mut visits: [Option<Facts>; 6] = Default::default();
            let mut kept = Counts::default();
            for (place, new) in updates {
                if let Some(new) = &new {
                    kept = kept.checked_add(&per_visit(new)).unwrap();
                }
                if let Some(old) = std::mem::replace(&mut visits[place], new) {
                    kept = kept.checked_sub(&per_visit(&old)).unwrap();
                }
            }
            let mut all = nothing();
            for visit in visits.into_iter().flatten() {
                all.positions.extend(visit.positions);
                all.prices.extend(visit.prices);
                all.stock.extend(visit.stock);
                all.displays.extend(visit.displays);
            }
            prop_assert_eq!(kept, per_visit(&all));
            for (kpi, ratio) in kept.iter() {
                prop_assert!(ratio.numerator <= ratio.denominator, "{:?} {:?}", kpi, ratio);
            }
        }
    }
}
