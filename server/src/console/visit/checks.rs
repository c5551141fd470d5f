//! What was found: planograms, prices, stock, displays, answers, and where people disagree.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::cbor::to_cbor;
use sync_core::id::{ChangeHash, Gtin, UserId};
use sync_core::kpi::median_deviation;
use sync_core::model::catalogue::{CheckKind, Planogram, Position};
use sync_core::model::visit::{CheckId, Place, Subject, Value};
use sync_core::projection::{Conflict, Evidence, Grade, PositionFact, PriceFact, Recommended};

use super::super::planogram::{self, Drawing, Mark, Seen};
use super::super::view::{self, Markup};
use super::context::{Marks, Reader};
use super::hex_list;

/// Rows of stock that are shown although nothing is wrong with them.
const STOCK_ROWS: usize = 8;

/// A planogram, drawn, and what was recorded of its positions in words.
pub(super) struct PlanogramPanel {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) sub: String,
    pub(super) legend: Vec<(Mark, usize)>,
    pub(super) expected: Drawing,
    pub(super) observed: Drawing,
    pub(super) expected_said: String,
    pub(super) observed_said: String,
    pub(super) rows: Vec<PositionRow>,
    /// Those that are right, folded away: their values can be looked at and contested too.
    pub(super) right: Vec<PositionRow>,
}

pub(super) struct PositionRow {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) place: String,
    pub(super) finding: Markup,
    pub(super) expected: String,
    pub(super) seen: String,
    pub(super) note: String,
    pub(super) thumb: Markup,
    pub(super) by: String,
    pub(super) at: Markup,
    pub(super) marks: Marks,
}

/// What is known of one position.
enum Finding<'a> {
    Fact(&'a PositionFact),
    Conflict(&'a Conflict),
}

pub(super) struct PriceTable {
    pub(super) sub: String,
    pub(super) rows: Vec<PriceRow>,
    /// Those that nothing is recommended for.
    pub(super) others: Vec<PriceRow>,
}

pub(super) struct PriceRow {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) gtin: String,
    pub(super) recommended: String,
    pub(super) shelf: String,
    pub(super) difference: String,
    pub(super) deviation: String,
    pub(super) drawn: Markup,
    pub(super) finding: Markup,
    pub(super) off: bool,
    pub(super) thumb: Markup,
    pub(super) by: String,
    pub(super) at: Markup,
    pub(super) marks: Marks,
}

pub(super) struct StockTable {
    pub(super) sub: String,
    /// What asks to be looked at, and as much of the rest as fills a short table.
    pub(super) rows: Vec<StockRow>,
    /// The rest, folded away.
    pub(super) more: Vec<StockRow>,
}

pub(super) struct StockRow {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) must: bool,
    pub(super) finding: Markup,
    pub(super) units: String,
    pub(super) by: String,
    pub(super) at: Markup,
    pub(super) marks: Marks,
}

pub(super) struct DisplayItem {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) finding: Markup,
    pub(super) description: String,
    pub(super) by: String,
    pub(super) at: Markup,
    pub(super) thumb: Markup,
    pub(super) marks: Marks,
}

pub(super) struct AnswerItem {
    pub(super) key: String,
    pub(super) question: String,
    pub(super) subject: String,
    pub(super) answer: String,
    /// Where the answer is erased, and the name of what it is about.
    pub(super) erase: String,
    pub(super) erase_subject: String,
    pub(super) by: String,
    pub(super) at: Markup,
    pub(super) marks: Marks,
}

/// Values of one check and subject that differ.
pub(super) struct ConflictBox {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) erase: String,
    pub(super) sub: String,
    pub(super) sides: Vec<Side>,
    /// That it is contested, or how it can be: not every conflict has a row of its own elsewhere.
    pub(super) beside: Markup,
    pub(super) check: CheckId,
    /// The subject's CBOR in hexadecimal.
    pub(super) subject: String,
    /// The recordings whose values are shown: settling replaces these and no others.
    pub(super) over: String,
}

/// One of the values and everyone who says it.
pub(super) struct Side {
    pub(super) value: String,
    pub(super) erase: String,
    pub(super) recording: ChangeHash,
    pub(super) said: Vec<SaidBy>,
    pub(super) thumb: Markup,
    pub(super) draft: bool,
}

pub(super) struct SaidBy {
    pub(super) name: String,
    pub(super) company: String,
    pub(super) at: Markup,
    pub(super) place: String,
    pub(super) device: String,
}

impl Reader<'_> {
    // ---- planograms ----

    pub(super) fn planograms(&self) -> Vec<PlanogramPanel> {
        let of = |subject: &Subject| match subject {
            Subject::Position { planogram, position } => Some((*planogram, *position)),
            _ => None,
        };
        let mut found: BTreeMap<u32, BTreeMap<u32, Finding<'_>>> = BTreeMap::new();
        for fact in &self.facts.positions {
            let of = found.entry(fact.planogram).or_default();
            of.entry(fact.position).or_insert(Finding::Fact(fact));
        }
        for conflict in &self.facts.conflicts {
            if let Some((planogram, position)) = of(&conflict.subject) {
                let of = found.entry(planogram).or_default();
                of.insert(position, Finding::Conflict(conflict));
            }
        }
        found.iter().filter_map(|(number, found)| self.planogram_panel(*number, found)).collect()
    }

    fn planogram_panel(
        &self,
        number: u32,
        found: &BTreeMap<u32, Finding<'_>>,
    ) -> Option<PlanogramPanel> {
        let planogram = self.words.planogram(number)?;
        let catalogue = &self.world.catalogue;
        let mut seen = BTreeMap::new();
        for position in &planogram.positions {
            seen.insert(position.number, self.seen(position, found.get(&position.number)));
        }
        let counted = |mark: Mark| seen.values().filter(|s| s.mark == mark).count();
        let legend: Vec<(Mark, usize)> = Mark::ALL.map(|mark| (mark, counted(mark))).to_vec();
        let facings: u64 = planogram.positions.iter().map(|p| u64::from(p.facings)).sum();
        let unjudged = [Mark::Unaudited, Mark::Conflict, Mark::Found(Grade::Unjudged)];
        let judged = planogram.positions.len() - unjudged.map(counted).iter().sum::<usize>();
        let (mut rows, mut right) = (Vec::new(), Vec::new());
        for position in &planogram.positions {
            let Some(finding) = found.get(&position.number) else { continue };
            let Some(Seen { mark, .. }) = seen.get(&position.number) else { continue };
            let row = self.position_row(planogram, position, finding, *mark);
            if mark.differs() { rows.push(row) } else { right.push(row) }
        }
        let unplanned = found.iter().filter(|(number, _)| planogram.position(**number).is_none());
        rows.extend(
            unplanned.map(|(number, finding)| self.unplanned_row(planogram, *number, finding)),
        );
        let mut people: Vec<UserId> = Vec::new();
        for finding in found.values() {
            for by in finding.said_by() {
                if !people.contains(&by) {
                    people.push(by);
                }
            }
        }
        let people: Vec<String> = people.into_iter().map(|by| self.name(by)).collect();
        Some(PlanogramPanel {
            key: format!("planogram-{number}"),
            title: planogram.name.clone(),
            sub: format!("Version {} · recorded by {}", planogram.version, view::and(&people)),
            legend,
            expected: planogram::expected(planogram, catalogue),
            observed: planogram::observed(planogram, catalogue, &seen),
            expected_said: format!(
                "{}, {}",
                view::count(planogram.positions.len() as u64, "position", "positions"),
                view::count(facings, "facing", "facings")
            ),
            observed_said: match counted(Mark::Conflict) {
                0 => format!("{} of {judged} positions right", counted(Mark::Found(Grade::Right))),
                conflicts => format!(
                    "{} of {judged} positions right, {conflicts} in conflict",
                    counted(Mark::Found(Grade::Right))
                ),
            },
            rows,
            right,
        })
    }

    fn seen(&self, position: &Position, finding: Option<&Finding<'_>>) -> Seen {
        let name = self.words.product(position.gtin);
        let planned = position.facings;
        let (mark, solid, label, said, draft) = match finding {
            None => (Mark::Unaudited, 0, "not audited".to_owned(), "not audited".to_owned(), false),
            Some(Finding::Conflict(conflict)) => {
                let counts = shelf_counts(conflict);
                let lowest = counts.iter().copied().min().unwrap_or(0);
                let either = either(&counts);
                let said = format!("conflict, {either} of {planned} facings");
                (Mark::Conflict, lowest, either, said, self.marks_of(conflict).draft)
            }
            Some(Finding::Fact(fact)) => {
                // Judged by the planogram that is drawn, so that both sides speak of the same plan.
                let grade = match fact.planned {
                    Some(_) => fact.grade(),
                    None => Grade::Unjudged,
                };
                let label = match (grade, fact.place) {
                    (Grade::Missing, _) => "missing".to_owned(),
                    (Grade::Moved, Place::OtherShelf(shelf)) => format!("shelf {shelf}"),
                    (Grade::Moved, _) => "moved".to_owned(),
                    _ => format!("{} of {planned}", fact.facings),
                };
                let solid = match grade {
                    Grade::Right | Grade::Short => fact.facings,
                    Grade::Moved | Grade::Missing | Grade::Unjudged => 0,
                };
                let word = view::grade_name(grade).to_lowercase();
                let said = format!("{word}, {} of {planned} facings", fact.facings);
                let subject =
                    Subject::Position { planogram: fact.planogram, position: fact.position };
                let draft = self.marks(fact.check, &subject).draft;
                (Mark::Found(grade), solid, label, said, draft)
            }
        };
        let draft_said = if draft { ", not submitted yet" } else { "" };
        Seen { mark, solid, label, title: format!("{name}: {said}{draft_said}"), draft }
    }

    fn position_row(
        &self,
        planogram: &Planogram,
        position: &Position,
        finding: &Finding<'_>,
        mark: Mark,
    ) -> PositionRow {
        let row = PositionRow {
            key: format!("pos-{}-{}", planogram.number, position.number),
            name: self.words.product(position.gtin),
            place: format!("Shelf {}, position {}", position.shelf, position.number),
            finding: badge_of(mark),
            expected: position.facings.to_string(),
            seen: String::new(),
            note: String::new(),
            thumb: Markup::default(),
            by: String::new(),
            at: Markup::default(),
            marks: Marks::default(),
        };
        self.found_row(row, finding)
    }

    /// Something was said of a position that the planogram does not have.
    fn unplanned_row(
        &self,
        planogram: &Planogram,
        number: u32,
        finding: &Finding<'_>,
    ) -> PositionRow {
        let row = PositionRow {
            key: format!("pos-{}-{number}", planogram.number),
            name: format!("Position {number}"),
            place: format!("not in version {}", planogram.version),
            finding: badge_of(Mark::Found(Grade::Unjudged)),
            expected: String::new(),
            seen: String::new(),
            note: String::new(),
            thumb: Markup::default(),
            by: String::new(),
            at: Markup::default(),
            marks: Marks::default(),
        };
        self.found_row(row, finding)
    }

    fn found_row(&self, row: PositionRow, finding: &Finding<'_>) -> PositionRow {
        match finding {
            Finding::Conflict(conflict) => {
                let said = conflict.said.iter().map(|said| {
                    let who = self.first_name(said.evidence.by);
                    format!("{who}: {}", self.words.value(conflict.check, &said.value))
                });
                let (by, at) = self.said_by(conflict.said.iter().map(|said| said.evidence));
                PositionRow {
                    seen: either(&shelf_counts(conflict)),
                    note: said.collect::<Vec<_>>().join("; "),
                    by,
                    at,
                    marks: self.marks_of(conflict),
                    ..row
                }
            }
            Finding::Fact(fact) => {
                let mut notes = Vec::new();
                match fact.place {
                    Place::OtherShelf(shelf) => notes.push(format!("Found on shelf {shelf}")),
                    Place::MovedAlong => notes.push("Elsewhere on its shelf".to_owned()),
                    Place::AsPlanned => {}
                }
                if fact.in_stock {
                    notes.push("More in the back room".to_owned());
                }
                let (by, at) = self.said_by([fact.evidence]);
                let subject =
                    Subject::Position { planogram: fact.planogram, position: fact.position };
                PositionRow {
                    seen: fact.facings.to_string(),
                    note: notes.join(". "),
                    thumb: self.evidence_thumb(fact.evidence.recording, fact.check),
                    by,
                    at,
                    marks: self.marks(fact.check, &subject),
                    ..row
                }
            }
        }
    }

    /// Who says it and when the last of them did.
    fn said_by(&self, evidence: impl IntoIterator<Item = Evidence>) -> (String, Markup) {
        let mut names: Vec<String> = Vec::new();
        let mut last = None;
        for Evidence { recording, by } in evidence {
            let name = self.first_name(by);
            if !names.contains(&name) {
                names.push(name);
            }
            last = Some(recording);
        }
        (names.join(", "), last.map_or_else(Markup::default, |recording| self.at(recording)))
    }

    fn marks_of(&self, conflict: &Conflict) -> Marks {
        self.marks(conflict.check, &conflict.subject)
    }

    // ---- conflicts ----

    pub(super) fn conflicts(&self) -> Vec<ConflictBox> {
        let boxes = self.facts.conflicts.iter().enumerate().map(|(place, conflict)| {
            let mut sides: Vec<(Value, Vec<Evidence>)> = Vec::new();
            for said in &conflict.said {
                match sides.iter_mut().find(|(value, _)| *value == said.value) {
                    Some((_, by)) => by.push(said.evidence),
                    None => sides.push((said.value.clone(), vec![said.evidence])),
                }
            }
            let over: BTreeSet<ChangeHash> =
                conflict.said.iter().map(|said| said.evidence.recording).collect();
            let side = |(value, by): (Value, Vec<Evidence>)| self.side(conflict, &value, &by);
            ConflictBox {
                key: format!("conflict-{}", place + 1),
                title: self.words.subject(&conflict.subject),
                erase: self.erase_name(&conflict.subject),
                sub: self.conflict_sub(conflict),
                sides: sides.into_iter().map(side).collect(),
                beside: self.beside(conflict.check, &conflict.subject),
                check: conflict.check,
                subject: hex(&to_cbor(&conflict.subject)),
                over: hex_list(&over.into_iter().collect::<Vec<_>>()),
            }
        });
        boxes.collect()
    }

    fn conflict_sub(&self, conflict: &Conflict) -> String {
        let title = self.words.check_title(conflict.check);
        let Subject::Position { planogram, position } = conflict.subject else { return title };
        let planned = self.words.planogram(planogram).and_then(|p| p.position(position));
        let expected =
            planned.map(|p| format!(" · {} expected", view::count(p.facings, "facing", "facings")));
        format!("{title}{}", expected.unwrap_or_default())
    }

    fn side(&self, conflict: &Conflict, value: &Value, evidence: &[Evidence]) -> Side {
        let said = evidence.iter().map(|Evidence { recording, by }| {
            let place = self.recorded(*recording).and_then(|r| r.entry.place);
            SaidBy {
                name: self.name(*by),
                company: self.company(*by),
                at: self.at(*recording),
                place: view::whereabouts(
                    place.as_ref(),
                    self.outlet.and_then(|outlet| outlet.place.as_ref()),
                ),
                device: self.device(*recording),
            }
        });
        let recording = evidence.first().map_or(ChangeHash([0; 32]), |e| e.recording);
        let submitted = |e: &Evidence| self.recorded(e.recording).is_some_and(|r| r.submitted);
        Side {
            value: self.words.value(conflict.check, value),
            erase: self.erase_value(value),
            recording,
            said: said.collect(),
            thumb: self.evidence_thumb(recording, conflict.check),
            draft: !evidence.iter().any(submitted),
        }
    }

    /// The conflict badge of a product's price or stock, with a link to where it is settled.
    fn product_conflicts(
        &self,
        which: fn(&Value) -> bool,
    ) -> impl Iterator<Item = (&Conflict, Gtin, Markup)> {
        self.facts.conflicts.iter().enumerate().filter_map(move |(place, conflict)| {
            let Subject::Product(gtin) = conflict.subject else { return None };
            if !conflict.said.iter().any(|said| which(&said.value)) {
                return None;
            }
            let mut values: Vec<String> = conflict
                .said
                .iter()
                .map(|said| self.words.value(conflict.check, &said.value))
                .collect();
            values.dedup();
            let badge = view::badge("conflict", "conflict", &values.join(" or "));
            let link = Markup(format!("<a href=\"#conflict-{}\">{badge}</a>", place + 1));
            Some((conflict, gtin, link))
        })
    }

    // ---- prices ----

    pub(super) fn prices(&self) -> Option<PriceTable> {
        let judged = self.facts.prices.iter().filter(|fact| fact.recommended.is_some());
        let mut rows: Vec<PriceRow> = judged.map(|fact| self.price_row(fact)).collect();
        let others = self.facts.prices.iter().filter(|fact| fact.recommended.is_none());
        let others: Vec<PriceRow> = others.map(|fact| self.price_row(fact)).collect();
        let is_price = |value: &Value| matches!(value, Value::Price(_));
        rows.extend(self.product_conflicts(is_price).map(|(conflict, gtin, finding)| {
            let (by, at) = self.said_by(conflict.said.iter().map(|said| said.evidence));
            PriceRow {
                key: format!("price-{}-{gtin}", conflict.check),
                name: self.words.product(gtin),
                gtin: gtin.to_string(),
                recommended: String::new(),
                shelf: String::new(),
                difference: String::new(),
                deviation: String::new(),
                drawn: Markup::default(),
                finding,
                off: false,
                thumb: Markup::default(),
                by,
                at,
                marks: self.marks_of(conflict),
            }
        }));
        if rows.is_empty() && others.is_empty() {
            return None;
        }
        Some(PriceTable { sub: self.prices_sub(), rows, others })
    }

    fn prices_sub(&self) -> String {
        let mut said = Vec::new();
        if let Some(fact) = self.facts.prices.first() {
            said.push(fact.shelf.currency.as_str().to_owned());
        }
        let judged = self.facts.prices.iter().filter(|f| f.recommended.is_some());
        let lists: BTreeSet<_> = judged.filter_map(|fact| fact.list).collect();
        let catalogue = &self.world.catalogue;
        for list in lists.iter().filter_map(|l| catalogue.price_list(l.number, l.version)) {
            let permille = list.tolerance_permille;
            let tolerance = format!("{}.{}", permille / 10, permille % 10);
            let tolerance = tolerance.trim_end_matches(".0").to_owned();
            said.push(format!(
                "against {}, version {}, tolerance ±{tolerance} %",
                list.name, list.version
            ));
        }
        let deviations: Vec<i64> = self
            .facts
            .prices
            .iter()
            .filter_map(|f| f.recommended)
            .map(|r| r.deviation_ppm)
            .collect();
        said.extend(
            median_deviation(&deviations)
                .map(|ppm| format!("median deviation {}", view::deviation(ppm))),
        );
        said.join(" · ")
    }

    fn price_row(&self, fact: &PriceFact) -> PriceRow {
        let currency = fact.shelf.currency;
        let (by, at) = self.said_by([fact.evidence]);
        let tolerance = fact
            .list
            .and_then(|list| self.world.catalogue.price_list(list.number, list.version))
            .map_or(0, |list| list.tolerance_permille);
        let row = PriceRow {
            key: format!("price-{}-{}", fact.check, fact.gtin),
            name: self.words.product(fact.gtin),
            gtin: fact.gtin.to_string(),
            recommended: "none".to_owned(),
            shelf: view::amount(fact.shelf.minor, currency),
            difference: String::new(),
            deviation: String::new(),
            drawn: Markup::default(),
            finding: Markup::default(),
            off: false,
            thumb: self.evidence_thumb(fact.evidence.recording, fact.check),
            by,
            at,
            marks: self.marks(fact.check, &Subject::Product(fact.gtin)),
        };
        let Some(Recommended { minor, within, deviation_ppm }) = fact.recommended else {
            return row;
        };
        PriceRow {
            recommended: view::amount(minor, currency),
            difference: view::difference(fact.shelf.minor.saturating_sub(minor), currency),
            deviation: view::deviation(deviation_ppm),
            drawn: deviation_bar(deviation_ppm, tolerance, within),
            finding: match (within, deviation_ppm > 0) {
                (true, _) => view::badge("ok", "check", "Within"),
                (false, true) => view::badge("bad", "cross", "Above"),
                (false, false) => view::badge("bad", "cross", "Below"),
            },
            off: !within,
            ..row
        }
    }

    // ---- stock, displays, answers ----

    pub(super) fn stock(&self) -> Option<StockTable> {
        let must = |gtin: Gtin| self.outlet.is_some_and(|o| o.must_stock.contains(&gtin));
        let mut rows: Vec<(u8, StockRow)> = Vec::new();
        for fact in &self.facts.stock {
            let (by, at) = self.said_by([fact.evidence]);
            let finding = match fact.on_shelf {
                true => view::badge("ok", "check", "On shelf"),
                false => view::badge("missing", "cross", "Out of stock"),
            };
            let order = u8::from(!fact.must_stock) * 2 + u8::from(fact.on_shelf);
            let row = StockRow {
                key: format!("stock-{}-{}", fact.check, fact.gtin),
                name: self.words.product(fact.gtin),
                must: fact.must_stock,
                finding,
                units: fact.units.map(|units| units.to_string()).unwrap_or_default(),
                by,
                at,
                marks: self.marks(fact.check, &Subject::Product(fact.gtin)),
            };
            rows.push((order, row));
        }
        let is_stock = |value: &Value| matches!(value, Value::Stock { .. });
        for (conflict, gtin, finding) in self.product_conflicts(is_stock) {
            let (by, at) = self.said_by(conflict.said.iter().map(|said| said.evidence));
            let row = StockRow {
                key: format!("stock-{}-{gtin}", conflict.check),
                name: self.words.product(gtin),
                must: must(gtin),
                finding,
                units: String::new(),
                by,
                at,
                marks: self.marks_of(conflict),
            };
            rows.push((u8::from(!must(gtin)) * 2, row));
        }
        if rows.is_empty() {
            return None;
        }
        rows.sort_by(|(a, row_a), (b, row_b)| a.cmp(b).then_with(|| row_a.name.cmp(&row_b.name)));
        let facts = self.facts.stock.iter().filter(|fact| fact.must_stock);
        let (on_shelf, all) = facts.fold((0_u32, 0_u32), |(on_shelf, all), fact| {
            (on_shelf + u32::from(fact.on_shelf), all + 1)
        });
        let sub = match all {
            0 => String::new(),
            _ => format!("{on_shelf} of {all} must-stock products on shelf"),
        };
        let asks = |order: u8, row: &StockRow| order.is_multiple_of(2) || row.marks.new;
        let (first, more): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .enumerate()
            .partition(|(place, (order, row))| *place < STOCK_ROWS || asks(*order, row));
        let rows = |rows: Vec<(usize, (u8, StockRow))>| {
            rows.into_iter().map(|(_, (_, row))| row).collect::<Vec<_>>()
        };
        Some(StockTable { sub, rows: rows(first), more: rows(more) })
    }

    pub(super) fn displays(&self) -> Vec<DisplayItem> {
        let items = self.facts.displays.iter().map(|fact| {
            let (by, at) = self.said_by([fact.evidence]);
            let display = self.world.displays.get(&fact.display);
            DisplayItem {
                key: format!("display-{}-{}", fact.check, fact.display),
                name: self.words.display(fact.display),
                finding: match fact.met {
                    true => view::badge("ok", "check", "As agreed"),
                    false => view::badge("bad", "cross", "Not as agreed"),
                },
                description: display.map(|d| d.description.clone()).unwrap_or_default(),
                by,
                at,
                thumb: self.evidence_thumb(fact.evidence.recording, fact.check),
                marks: self.marks(fact.check, &Subject::Display(fact.display)),
            }
        });
        let conflicts = self.facts.conflicts.iter().enumerate();
        let conflicts = conflicts.filter_map(|(place, conflict)| {
            let Subject::Display(number) = conflict.subject else { return None };
            let (by, at) = self.said_by(conflict.said.iter().map(|said| said.evidence));
            let badge = view::badge("conflict", "conflict", "Conflict");
            Some(DisplayItem {
                key: format!("display-{}-{number}", conflict.check),
                name: self.words.display(number),
                finding: Markup(format!("<a href=\"#conflict-{}\">{badge}</a>", place + 1)),
                description: String::new(),
                by,
                at,
                thumb: Markup::default(),
                marks: self.marks_of(conflict),
            })
        });
        items.chain(conflicts).collect()
    }

    pub(super) fn answers(&self) -> Vec<AnswerItem> {
        let items = self.facts.answers.iter().enumerate().map(|(place, answer)| {
            let (by, at) = self.said_by([answer.evidence]);
            let about = match answer.subject {
                Subject::Outlet => String::new(),
                _ => self.words.subject(&answer.subject),
            };
            AnswerItem {
                key: format!("answer-{}", place + 1),
                question: self.words.check_title(answer.check),
                subject: about,
                answer: self.words.value(answer.check, &answer.value),
                erase: self.erase_value(&answer.value),
                erase_subject: self.erase_name(&answer.subject),
                by,
                at,
                marks: self.marks(answer.check, &answer.subject),
            }
        });
        items.collect()
    }

    /// How many checks the visit's template has.
    pub(super) fn checks_due(&self) -> Option<(usize, &str)> {
        let named = self.visit.start.as_ref()?.template;
        let template = self.world.catalogue.template(named.number, named.version)?;
        Some((template.checks.len(), template.name.as_str()))
    }

    /// Whether a check asks about every position of a shelf.
    pub(super) fn is_planogram(&self, check: CheckId) -> bool {
        self.words.check(check).is_some_and(|check| check.kind == CheckKind::Planogram)
    }
}

impl Finding<'_> {
    fn said_by(&self) -> Vec<UserId> {
        match self {
            Self::Fact(fact) => vec![fact.evidence.by],
            Self::Conflict(conflict) => conflict.said.iter().map(|said| said.evidence.by).collect(),
        }
    }
}

fn badge_of(mark: Mark) -> Markup {
    let kind = if mark.class() == "right" { "ok" } else { mark.class() };
    view::badge(kind, mark.symbol(), mark.name())
}

/// The facings that the sides of a conflict have counted, the most first.
fn shelf_counts(conflict: &Conflict) -> Vec<u32> {
    let mut counts: Vec<u32> = Vec::new();
    for said in &conflict.said {
        if let Value::Shelf { facings, .. } = said.value
            && !counts.contains(&facings)
        {
            counts.push(facings);
        }
    }
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

fn either(counts: &[u32]) -> String {
    counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// A deviation drawn on an axis that ends at 12 %, with the band of what is tolerated.
fn deviation_bar(ppm: i64, tolerance_permille: u32, within: bool) -> Markup {
    let at = |percent: f64| 56.0 + (percent * 4.0).clamp(-50.0, 50.0);
    let dot = at(ppm as f64 / 10_000.0);
    let band = (f64::from(tolerance_permille) / 10.0 * 4.0).min(50.0);
    let off = if within { "" } else { " is-off" };
    Markup(format!(
        "<svg class=\"dev{off}\" viewBox=\"0 0 112 16\" aria-hidden=\"true\"><rect class=\"dev-band\" \
         x=\"{:.1}\" y=\"1\" width=\"{:.1}\" height=\"14\" rx=\"2\"/><path class=\"dev-axis\" \
         d=\"M56 0V16\"/><path class=\"dev-stem\" d=\"M56 8H{dot:.1}\"/><circle class=\"dev-dot\" \
         cx=\"{dot:.1}\" cy=\"8\" r=\"4\"/></svg>",
        56.0 - band,
        2.0 * band
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
