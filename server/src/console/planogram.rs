//! Drawings of shelves: what the planogram wants beside what was seen.
//!
//! Places along a shelf are to scale. Heights are not: each shelf gets the same, so that names can be read.

use std::collections::BTreeMap;
use std::fmt::Write;

use sync_core::id::Gtin;
use sync_core::model::catalogue::{Catalogue, Planogram, Position, Product};
use sync_core::projection::Grade;

use super::view::{Markup, escape};

/// Left of the shelf, for its number.
const GUTTER: f64 = 24.0;
/// Width of the shelf where nothing asks for more.
const WIDTH_MIN: f64 = 552.0;
/// A drawing that is wider is not shown beside the other but below it.
pub(super) const WIDTH_BESIDE_MAX: f64 = 760.0;
const WIDTH_MAX: f64 = 2_400.0;
/// Height of a shelf, and of the rail below it with its labels.
const ZONE: f64 = 104.0;
const RAIL: f64 = 23.0;
/// Width of a letter of a name, about, and of one that is set small.
const LETTER: f64 = 6.4;
const LETTER_SMALL: f64 = 5.5;
/// Most packs drawn for one position.
const PACKS_MAX: u32 = 40;

/// How a position is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// As the planogram wants it.
    Planned,
    /// As it was found.
    Found(Grade),
    /// Found differently by different people.
    Conflict,
    /// Nobody has looked.
    Unaudited,
}

impl Mark {
    /// What a legend explains, in its order.
    pub(super) const ALL: [Self; 6] = [
        Self::Found(Grade::Right),
        Self::Found(Grade::Moved),
        Self::Found(Grade::Short),
        Self::Found(Grade::Missing),
        Self::Conflict,
        Self::Unaudited,
    ];

    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Found(Grade::Right) => "right",
            Self::Found(Grade::Moved) => "moved",
            Self::Found(Grade::Short) => "short",
            Self::Found(Grade::Missing) => "missing",
            Self::Conflict => "conflict",
            Self::Unaudited | Self::Found(Grade::Unjudged) => "unaudited",
        }
    }

    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Planned | Self::Found(Grade::Right) => "check",
            Self::Found(Grade::Moved) => "moved",
            Self::Found(Grade::Short) => "short",
            Self::Found(Grade::Missing) => "cross",
            Self::Conflict => "conflict",
            Self::Unaudited | Self::Found(Grade::Unjudged) => "unaudited",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Planned => "Planned",
            Self::Found(grade) => super::view::grade_name(grade),
            Self::Conflict => "Conflict",
            Self::Unaudited => "Not audited",
        }
    }

    /// It asks to be looked at.
    pub(super) const fn differs(self) -> bool {
        !matches!(self, Self::Planned | Self::Unaudited | Self::Found(Grade::Right))
    }

    fn hatched(self) -> bool {
        !matches!(self, Self::Planned | Self::Found(Grade::Right))
    }
}

/// What is drawn at a position.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// How it was found.
    pub(super) mark: Mark,
    /// Fronts that are drawn solid.
    pub(super) solid: u32,
    /// On the shelf's edge.
    pub(super) label: String,
    /// In the tooltip and for screen readers.
    pub(super) title: String,
    /// Not submitted yet.
    pub(super) draft: bool,
}

/// A drawing and how wide it is.
pub(super) struct Drawing {
    pub(super) svg: Markup,
    pub(super) wide: bool,
}

/// Draws what the planogram wants.
pub(super) fn expected(planogram: &Planogram, catalogue: &Catalogue) -> Drawing {
    let planned = |position: &Position| {
        let name = product_name(catalogue, position.gtin);
        let plural = if position.facings == 1 { "" } else { "s" };
        Seen {
            mark: Mark::Planned,
            solid: position.facings,
            label: format!("{} facing{plural}", position.facings),
            title: format!("{name}: {} facing{plural} expected", position.facings),
            draft: false,
        }
    };
    let seen = planogram.positions.iter().map(|p| (p.number, planned(p))).collect();
    draw(planogram, catalogue, &seen, "Expected shelf")
}

/// Draws what was seen.
pub(super) fn observed(
    planogram: &Planogram,
    catalogue: &Catalogue,
    seen: &BTreeMap<u32, Seen>,
) -> Drawing {
    draw(planogram, catalogue, seen, "Observed shelf")
}

/// What a product is called; its number if the catalogue lacks it.
pub(super) fn product_name(catalogue: &Catalogue, gtin: Gtin) -> String {
    catalogue.product(gtin).map_or_else(|| gtin.to_string(), |product| product.name.clone())
}

fn width(planogram: &Planogram) -> f64 {
    // So wide that the names of most positions fit.
    let mut widths: Vec<u32> = planogram.positions.iter().map(|p| p.width_mm).collect();
    widths.sort_unstable();
    let Some(narrow) = widths.get(widths.len() / 4).filter(|w| **w > 0) else { return WIDTH_MIN };
    let wanted = f64::from(planogram.width_mm) * 62.0 / f64::from(*narrow);
    if wanted <= WIDTH_BESIDE_MAX { WIDTH_MIN } else { wanted.min(WIDTH_MAX) }
}

fn draw(
    planogram: &Planogram,
    catalogue: &Catalogue,
    seen: &BTreeMap<u32, Seen>,
    label: &str,
) -> Drawing {
    let inner = width(planogram);
    let scale = inner / f64::from(planogram.width_mm.max(1));
    let tallest = planogram
        .positions
        .iter()
        .filter_map(|p| catalogue.product(p.gtin))
        .map(|product| product.height_mm)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut shelves: Vec<_> = planogram.shelves.iter().collect();
    shelves.sort_by_key(|shelf| std::cmp::Reverse((shelf.y_mm, shelf.number)));
    let mut out = String::new();
    let mut y = 8.0;
    for shelf in shelves {
        let base = y + ZONE;
        let _ = write!(
            out,
            "<text class=\"pg-shelf-no\" x=\"10\" y=\"{}\">{}</text>\
             <rect class=\"pg-rail\" x=\"{GUTTER}\" y=\"{base}\" width=\"{}\" height=\"{RAIL}\"/>\
             <path class=\"pg-rail-line\" d=\"M{GUTTER} {base}h{}\"/>",
            y + ZONE / 2.0 + 12.0,
            shelf.number,
            tenth(inner),
            tenth(inner)
        );
        for position in planogram.positions.iter().filter(|p| p.shelf == shelf.number) {
            let place = Place {
                x: GUTTER + f64::from(position.x_mm) * scale,
                y,
                width: f64::from(position.width_mm) * scale,
                tallest,
            };
            if let Some(seen) = seen.get(&position.number) {
                place.draw(&mut out, planogram.number, position, catalogue, seen);
            }
        }
        y += ZONE + RAIL;
    }
    let right = GUTTER + inner;
    let svg = format!(
        "<svg class=\"pg\" viewBox=\"0 0 {} {}\" width=\"{}\" role=\"group\" aria-label=\"{}\">\
         <rect class=\"pg-back\" x=\"{GUTTER}\" y=\"8\" width=\"{}\" height=\"{}\"/>{out}\
         <path class=\"pg-frame\" d=\"M{GUTTER} 4v{}M{} 4v{}M{} {}h{}\"/>\
         <text class=\"pg-shelf-no\" x=\"{}\" y=\"{}\">Floor</text></svg>",
        tenth(right + 2.0),
        y + 26.0,
        tenth(right + 2.0),
        escape(label),
        tenth(inner),
        y - 8.0,
        y + 2.0,
        tenth(right),
        y + 2.0,
        GUTTER - 6.0,
        y + 6.0,
        tenth(inner + 12.0),
        tenth(GUTTER + inner / 2.0),
        y + 21.0,
    );
    Drawing { svg: Markup(svg), wide: inner > WIDTH_BESIDE_MAX }
}

/// Where a position is drawn.
struct Place {
    x: f64,
    y: f64,
    width: f64,
    tallest: u32,
}

/// The outline of a pack, by how tall it is for its width.
#[derive(Clone, Copy)]
enum Pack {
    Tub,
    Carton,
    Bottle,
}

impl Place {
    fn draw(
        &self,
        out: &mut String,
        planogram: u32,
        position: &Position,
        catalogue: &Catalogue,
        seen: &Seen,
    ) {
        let Self { x, y, width, .. } = *self;
        let base = y + ZONE;
        let product = catalogue.product(position.gtin);
        let mut g = format!("<title>{}</title>", escape(&seen.title));
        let cell = format!(
            "x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"",
            tenth(x + 1.5),
            y + 2.0,
            tenth((width - 3.0).max(1.0)),
            ZONE - 2.0
        );
        let _ = write!(g, "<rect class=\"pg-cell\" {cell}/>");
        if seen.mark.hatched() {
            let _ = write!(g, "<rect {cell} fill=\"url(#pat-{})\"/>", seen.mark.class());
        }
        let (mm_wide, mm_high) = product.map_or((70, 200), |p| (p.width_mm, p.height_mm));
        let kind = match f64::from(mm_high) / f64::from(mm_wide.max(1)) {
            ..1.3 => Pack::Tub,
            1.3..3.4 => Pack::Carton,
            _ => Pack::Bottle,
        };
        let packs = position.facings.min(PACKS_MAX);
        let column = width / f64::from(packs.max(1));
        let wide = (column - 4.0).clamp(2.0, 34.0);
        let high = (f64::from(mm_high) / f64::from(self.tallest) * 64.0).clamp(26.0, 64.0);
        let left = |n: u32| x + column * f64::from(n) + (column - wide) / 2.0;
        let solid = seen.solid.min(packs);
        if solid > 0 {
            let colour = product.map_or(0x008a_9bb0, |p| p.colour & 0x00ff_ffff);
            let (mut outlines, mut stripes) = (String::new(), String::new());
            for n in 0..solid {
                outlines.push_str(&outline(kind, left(n), wide, base, high));
                stripes.push_str(&stripe(kind, left(n), wide, base, high));
            }
            let _ = write!(
                g,
                "<path class=\"pg-pack\" d=\"{outlines}\"/><path fill=\"#{colour:06x}\" d=\"{stripes}\"/>"
            );
        }
        if solid < packs {
            let ghosts: String =
                (solid..packs).map(|n| outline(kind, left(n), wide, base - 1.0, high)).collect();
            let _ = write!(g, "<path class=\"pg-ghost\" d=\"{ghosts}\"/>");
        }
        let middle = tenth(x + width / 2.0);
        let (lines, small) = name_lines(product, position, width);
        let (class, first, step) = match small {
            true => ("pg-name pg-small", 13.0, 11.5),
            false => ("pg-name", 16.0, 13.0),
        };
        for (line, text) in lines.into_iter().enumerate() {
            let below = tenth(y + first + step * line as f64);
            let _ = write!(
                g,
                "<text class=\"{class}\" x=\"{middle}\" y=\"{below}\">{}</text>",
                escape(&text)
            );
        }
        self.label(&mut g, position, seen);
        let draft = if seen.draft { " is-draft" } else { "" };
        let class = format!("class=\"pg-pos is-{}{draft}\"", seen.mark.class());
        if seen.mark.differs() {
            let _ = write!(
                out,
                "<a href=\"#pos-{planogram}-{}\" {class}>{g}<rect class=\"pg-hit\" x=\"{}\" y=\"{}\" \
                 width=\"{}\" height=\"{}\" rx=\"3\"/></a>",
                position.number,
                tenth(x + 1.5),
                y + 2.0,
                tenth((width - 3.0).max(1.0)),
                ZONE + RAIL - 3.0
            );
        } else {
            let _ = write!(out, "<g {class}>{g}</g>");
        }
    }

    /// The label on the shelf's edge: what the plan asks for, or what was found.
    fn label(&self, g: &mut String, position: &Position, seen: &Seen) {
        let base = self.y + ZONE;
        let middle = self.x + self.width / 2.0;
        let planned = seen.mark == Mark::Planned;
        let room = self.width - 20.0 - if planned { 0.0 } else { 15.0 };
        let fits = letters(&seen.label) <= room;
        let text = match (fits, planned) {
            (true, _) => seen.label.clone(),
            (false, true) => position.facings.to_string(),
            (false, false) => String::new(),
        };
        let symbol = if planned { 0.0 } else { 15.0 };
        let length = letters(&text) + symbol;
        let wide = (self.width - 6.0).min(length + 12.0).max(2.0);
        let _ = write!(
            g,
            "<rect class=\"pg-tag\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"/>",
            tenth(middle - wide / 2.0),
            base + 3.0,
            tenth(wide),
            RAIL - 6.0
        );
        if !planned {
            let _ = write!(
                g,
                "<use class=\"icon\" href=\"#i-{}\" x=\"{}\" y=\"{}\" width=\"12\" height=\"12\"/>",
                seen.mark.symbol(),
                tenth(middle - length / 2.0 + 0.5),
                base + 5.5
            );
        }
        if !text.is_empty() {
            let _ = write!(
                g,
                "<text class=\"pg-mark\" x=\"{}\" y=\"{}\">{}</text>",
                tenth(middle + symbol / 2.0),
                base + 15.5,
                escape(&text)
            );
        }
    }
}

/// Width of a label's text, which is bold, about.
fn letters(text: &str) -> f64 {
    let width = |letter| match letter {
        'm' | 'w' | 'M' | 'W' => 10.4,
        'i' | 'l' | 'j' | 't' | 'f' | 'r' | ' ' => 4.4,
        _ => 7.2,
    };
    text.chars().map(width).sum()
}

fn tenth(n: f64) -> f64 {
    (n * 10.0).round() / 10.0
}

fn outline(kind: Pack, x: f64, w: f64, base: f64, h: f64) -> String {
    let t = tenth;
    match kind {
        Pack::Tub => {
            format!("M{} {}h{}l{} {}h{}z", t(x), t(base - h), t(w), t(-w * 0.1), t(h), t(-w * 0.8))
        }
        Pack::Bottle => shoulders(x, w, base, h, [0.62, 0.3, 0.2, 0.18]),
        Pack::Carton => shoulders(x, w, base, h, [0.78, 0.22, 0.16, 0.06]),
    }
}

/// A pack that narrows to its neck: its body, how far the shoulder goes in and up, the neck.
fn shoulders(x: f64, w: f64, base: f64, h: f64, [body, inwards, up, neck]: [f64; 4]) -> String {
    let t = tenth;
    format!(
        "M{} {}v{}l{} {}v{}h{}v{}l{} {}v{}z",
        t(x),
        t(base),
        t(-h * body),
        t(w * inwards),
        t(-h * up),
        t(-h * neck),
        t(w * (1.0 - 2.0 * inwards)),
        t(h * neck),
        t(w * inwards),
        t(h * up),
        t(h * body)
    )
}

fn stripe(kind: Pack, x: f64, w: f64, base: f64, h: f64) -> String {
    let t = tenth;
    match kind {
        Pack::Tub => format!(
            "M{} {}h{}l{} {}h{}z",
            t(x + w * 0.03),
            t(base - h * 0.7),
            t(w * 0.94),
            t(-w * 0.045),
            t(h * 0.4),
            t(-w * 0.85)
        ),
        Pack::Carton | Pack::Bottle => {
            format!("M{} {}h{}v{}h{}z", t(x), t(base - h * 0.6), t(w), t(h * 0.36), t(-w))
        }
    }
}

/// A product's name as it fits, and whether it is set small: on two lines, or on three small ones; each first with its
/// brand, then without.
fn name_lines(product: Option<&Product>, position: &Position, width: f64) -> (Vec<String>, bool) {
    let gtin = position.gtin.to_string();
    let whole = product.map_or(gtin.as_str(), |product| product.name.as_str());
    let rest = product.and_then(|product| whole.strip_prefix(product.brand.as_str()));
    let rest = rest.map(str::trim_start).filter(|rest| !rest.is_empty());
    for (small, lines) in [(false, 2), (true, 3)] {
        for name in [Some(whole), rest].into_iter().flatten() {
            if let Some(lines) = wrap(name, room(width, small), lines) {
                return (lines, small);
            }
        }
    }
    (cut(rest.unwrap_or(whole), room(width, true), 3), true)
}

/// How many letters of a name a place has room for.
fn room(width: f64, small: bool) -> usize {
    let letter = if small { LETTER_SMALL } else { LETTER };
    ((width - 6.0) / letter).max(3.0) as usize
}

/// A name on so many lines at most, the longest of them as short as can be; `None` if one is too long even then.
fn wrap(text: &str, room: usize, most: usize) -> Option<Vec<String>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let found = (1..=most).map(|lines| balanced(&words, lines));
    found.into_iter().find(|lines| lines.iter().all(|line| length(line) <= room))
}

/// The same with each line cut that is too long.
fn cut(text: &str, room: usize, most: usize) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let cut = |line: String| match length(&line) > room {
        true => {
            let kept: String = line.chars().take(room - 1).collect();
            format!("{}…", kept.trim_end())
        }
        false => line,
    };
    balanced(&words, most).into_iter().map(cut).collect()
}

fn balanced(words: &[&str], lines: usize) -> Vec<String> {
    let longest = |lines: &Vec<String>| lines.iter().map(|line| length(line)).max();
    let splits = (1..words.len()).filter(|_| lines > 1).map(|at| {
        let mut split = vec![words[..at].join(" ")];
        split.extend(balanced(&words[at..], lines - 1));
        split
    });
    splits.chain([vec![words.join(" ")]]).min_by_key(longest).unwrap_or_default()
}

fn length(line: &str) -> usize {
    line.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_wrap_and_are_cut() {
        let wrapped = |text, room, most| wrap(text, room, most).unwrap();
        assert_eq!(wrapped("Milk", 16, 2), ["Milk"]);
        assert_eq!(wrapped("Standard milk 3 % 1 L", 16, 2), ["Standard", "milk 3 % 1 L"]);
        assert_eq!(wrapped("Iced Latte 330 ml", 8, 3), ["Iced", "Latte", "330 ml"]);
        assert_eq!(wrap("Iced Latte 330 ml", 8, 2), None);
        assert_eq!(wrap("Strawberry", 4, 3), None);
        assert_eq!(cut("Strawberry", 4, 3), ["Str…"]);
        assert_eq!(cut("Strawberry milk", 5, 2), ["Stra…", "milk"]);
        assert_eq!(wrapped("", 10, 2), [""]);
    }
}
