//! The small parts that every page is made of: icons, badges, times, shares, amounts.
//!
//! Each gives [`Markup`], which templates write as it is; all text that goes into one is escaped here.

use std::fmt::{self, Write};

use askama::filters::{Escaper, Html, HtmlSafe};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use sync_core::contest::Standing;
use sync_core::id::{DistributorId, TerritoryId, UserId};
use sync_core::kpi::Ratio;
use sync_core::model::capture::{CaptureTime, ClaimBasis};
use sync_core::model::people::{Rights, Role, Scope};
use sync_core::model::{Currency, Day, Geo};
use sync_core::projection::Grade;
use sync_core::visit::Status;

use crate::store::uploads::Stayed;
use crate::world::World;

/// HTML that is written as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Markup(pub(super) String);

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Markup {}

impl Markup {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Text with HTML's own characters escaped, for text nodes and quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let _ = Html.write_escaped_str(&mut out, text); // writing to a string does not fail
    out
}

/// A value as a part of an address's query.
pub fn query(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}"); // writing to a string does not fail
            }
        }
    }
    out
}

/// One of the layout's icons.
pub fn icon(name: &str) -> Markup {
    Markup(format!(
        "<svg class=\"icon\" aria-hidden=\"true\"><use href=\"#i-{}\"/></svg>",
        escape(name)
    ))
}

/// A coloured word with its symbol: `kind` is the style sheet's, such as `conflict`.
pub fn badge(kind: &str, symbol: &str, text: &str) -> Markup {
    Markup(format!(
        "<span class=\"badge is-{}\">{}{}</span>",
        escape(kind),
        icon(symbol),
        escape(text)
    ))
}

/// A visit's state in words.
pub const fn status_name(status: Status) -> &'static str {
    match status {
        Status::InProgress => "In progress",
        Status::Submitted => "Submitted",
        Status::Approved => "Approved",
        Status::SentBack => "Sent back",
        Status::Disputed => "Disputed",
        Status::NotPossible => "Not possible",
        Status::Abandoned => "Abandoned",
    }
}

/// A visit's state.
pub fn status_badge(status: Status) -> Markup {
    let (kind, symbol) = match status {
        Status::InProgress => ("in-progress", "progress"),
        Status::Submitted => ("submitted", "submitted"),
        Status::Approved => ("approved", "check"),
        Status::SentBack => ("sent-back", "back"),
        Status::Disputed => ("conflict", "conflict"),
        Status::NotPossible => ("not-possible", "closed"),
        Status::Abandoned => ("not-possible", "cross"),
    };
    badge(kind, symbol, status_name(status))
}

/// How many values are in conflict; nothing for none.
pub fn conflict_badge(conflicts: u64) -> Markup {
    if conflicts == 0 {
        return Markup::default();
    }
    badge("conflict", "conflict", &count(conflicts, "conflict", "conflicts"))
}

/// Why a visit is a contested one; nothing if it is none.
pub fn contest_badge(contest: Option<Standing>) -> Markup {
    match contest {
        Some(Standing::Open) => badge("conflict", "comment", "Contested"),
        Some(Standing::Asked) => badge("sent-back", "comment", "Contested, asked back"),
        Some(_) => badge("conflict", "comment", "To be put right"),
        None => Markup::default(),
    }
}

/// That a visit counts nowhere, of one whose work is done.
pub fn uncounted_badge(status: Status, counted: bool) -> Markup {
    match status {
        Status::Submitted | Status::Approved | Status::SentBack | Status::Disputed if !counted => {
            badge("not-possible", "cross", "Counts in no figure")
        }
        _ => Markup::default(),
    }
}

/// How much is new since the review; nothing for none.
pub fn news_badge(news: u64) -> Markup {
    if news == 0 { Markup::default() } else { badge("new", "new", &format!("{news} new")) }
}

/// What stands at a position, in a word.
pub const fn grade_name(grade: Grade) -> &'static str {
    match grade {
        Grade::Right => "Right",
        Grade::Moved => "Moved",
        Grade::Short => "Short",
        Grade::Missing => "Missing",
        Grade::Unjudged => "Not judged",
    }
}

/// `n` things, the noun in its number.
pub fn count(n: impl Into<u64>, one: &str, many: &str) -> String {
    let n = n.into();
    format!("{} {}", number(n), if n == 1 { one } else { many })
}

/// Words that begin with a capital.
pub fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A whole number with its thousands apart.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + 4);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A share in whole percent; `none` where nothing was counted.
pub fn percent(ratio: Ratio) -> String {
    ratio.value().map_or_else(|| "none".to_owned(), |value| format!("{:.0} %", 100.0 * value))
}

/// A share as a thin bar; nothing where nothing was counted.
pub fn bar(ratio: Ratio) -> Markup {
    let Some(value) = ratio.value() else { return Markup::default() };
    Markup(format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 5\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"bar-track\" width=\"100\" height=\"5\"/>\
         <rect class=\"bar-fill\" width=\"{:.1}\" height=\"5\"/></svg>",
        (100.0 * value).clamp(0.0, 100.0)
    ))
}

/// A ratio of two counts that fit.
pub fn ratio(numerator: usize, denominator: usize) -> Ratio {
    Ratio { numerator: numerator as u64, denominator: denominator as u64 }
}

/// An amount without its currency's code; a table says that once.
pub fn amount(minor: i64, currency: Currency) -> String {
    let digits = currency.exponent() as usize;
    let (sign, minor) = (if minor < 0 { "\u{2212}" } else { "" }, minor.unsigned_abs());
    let unit = 10_u64.pow(currency.exponent());
    match digits {
        0 => format!("{sign}{minor}"),
        _ => format!("{sign}{}.{:0digits$}", minor / unit, minor % unit),
    }
}

/// A difference of amounts, its sign always written.
pub fn difference(minor: i64, currency: Currency) -> String {
    let plus = if minor > 0 { "+" } else { "" };
    format!("{plus}{}", amount(minor, currency))
}

/// Millionths as percent with one digit and a sign.
pub fn deviation(ppm: i64) -> String {
    let tenths = (ppm.unsigned_abs() + 500) / 1_000;
    let sign = match ppm {
        _ if tenths == 0 => "",
        ..0 => "\u{2212}",
        _ => "+",
    };
    format!("{sign}{}.{} %", tenths / 10, tenths % 10)
}

/// By what names are sorted: without case and accents, as people look them up.
pub fn by_name(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for letter in name.chars().flat_map(char::to_lowercase) {
        match letter {
            'à'..='å' | 'ā' | 'ă' | 'ą' => key.push('a'),
            'æ' => key.push_str("ae"),
            'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => key.push('c'),
            'ď' | 'đ' | 'ð' => key.push('d'),
            'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => key.push('e'),
            'ĝ' | 'ğ' | 'ġ' | 'ģ' => key.push('g'),
            'ĥ' | 'ħ' => key.push('h'),
            'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => key.push('i'),
            'ĵ' => key.push('j'),
            'ķ' => key.push('k'),
            'ĺ' | 'ļ' | 'ľ' | 'ł' => key.push('l'),
            'ñ' | 'ń' | 'ņ' | 'ň' => key.push('n'),
            'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => key.push('o'),
            'œ' => key.push_str("oe"),
            'ŕ' | 'ŗ' | 'ř' => key.push('r'),
            'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => key.push('s'),
            'ß' => key.push_str("ss"),
            'ţ' | 'ť' | 'ŧ' | 'ț' => key.push('t'),
            'þ' => key.push_str("th"),
            'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => key.push('u'),
            'ŵ' => key.push('w'),
            'ý' | 'ÿ' | 'ŷ' => key.push('y'),
            'ź' | 'ż' | 'ž' => key.push('z'),
            // Accents that stand for themselves.
            '\u{300}'..='\u{36f}' => {}
            other => key.push(other),
        }
    }
    key
}

// ---- times ----------------------------------------------------------------------------------------

/// An instant in a zone; UTC for a zone that is not known.
pub fn zoned(at_ms: i64, zone: &str) -> ZonedDateTime {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    Timestamp::from_millisecond(at_ms).unwrap_or_default().to_zoned_datetime(zone)
}

/// What a camera's clock showed, and how far ahead of UTC it said to be.
pub fn camera_clock(shown_ms: i64, offset_min: Option<i16>) -> String {
    let zone = offset_min.map(i64::from).map(|ahead| {
        let (sign, ahead) = (if ahead < 0 { '\u{2212}' } else { '+' }, ahead.abs());
        format!(", UTC{sign}{}:{:02}", ahead / 60, ahead % 60)
    });
    let zone = zone.unwrap_or_else(|| ", in no zone that it names".to_owned());
    format!("{}{zone}", shown(shown_ms, "UTC", "%-d %b %Y %H:%M"))
}

/// What a clock showed, which may be a time that no calendar has.
pub fn shown(ms: i64, zone: &str, form: &str) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(_) => zoned(ms, zone).strftime(form).to_string(),
        Err(_) => "what is no date".to_owned(),
    }
}

/// The instant that a form's field for day and time says, read in a zone.
pub fn instant(text: &str, zone: &str) -> Option<i64> {
    let at: DateTime = text.parse().ok()?;
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    Some(at.to_zoned_datetime(zone).ok()?.timestamp().as_millisecond())
}

fn time(at_ms: i64, zone: &str, form: &str, more: &str) -> Markup {
    let at = zoned(at_ms, zone);
    Markup(format!(
        "<time datetime=\"{}\"{more}>{}</time>",
        at.strftime("%Y-%m-%dT%H:%M:%S%:z"),
        at.strftime(form)
    ))
}

/// An instant as day and time of day: `23 Nov 14:05`.
pub fn when(at_ms: i64, zone: &str) -> Markup {
    time(at_ms, zone, "%-d %b %H:%M", "")
}

/// An instant as time of day.
pub fn clock(at_ms: i64, zone: &str) -> Markup {
    time(at_ms, zone, "%H:%M", "")
}

/// The bounds of a capture's time, each with what it rests on, told from what its device claims.
pub fn bounds(times: &CaptureTime, zone: &str) -> String {
    let at = |ms: i64| zoned(ms, zone).strftime("%-d %b %H:%M:%S").to_string();
    let from = match times.not_before_ms() {
        Some(from) => format!("Not before {}, by what its phone knew", at(from)),
        None => "Nothing says how early it was".to_owned(),
    };
    let basis = match times.basis {
        ClaimBasis::BootClock => "by the clock that counts since its start, also asleep",
        ClaimBasis::ServerSkew => "by its clock, set right by an earlier sync",
        ClaimBasis::WallClock => "by its own clock alone",
    };
    let moved = match times.clamped {
        true => "; what it said lay outside these bounds and was moved to the nearer one",
        false => "",
    };
    let day = match times.bounds_day(zone) {
        true => String::new(),
        false => format!(" {}", day_claimed(times, zone)),
    };
    format!(
        "{from}; proved: not after {}, when this server had it. Claimed by the phone: {}, {basis}{moved}.{day}",
        at(times.latest_ms),
        at(times.claimed_ms),
    )
}

/// That a capture's day is a claim, and which days are not ruled out.
pub fn day_claimed(times: &CaptureTime, zone: &str) -> String {
    let day = |day: Day| day_short(day, day);
    let claimed = day(Day::at(times.claimed_ms, zone));
    match times.days(zone) {
        (Some(first), last) => {
            format!("It counts on {claimed}; these bounds allow {} to {}.", day(first), day(last))
        }
        (None, last) => {
            format!("It counts on {claimed}; these bounds allow {} or before.", day(last))
        }
    }
}

/// An instant that an open page keeps counting from: `3 min ago`.
pub fn ago(at_ms: i64, zone: &str) -> Markup {
    time(at_ms, zone, "%-d %b %H:%M", " data-relative")
}

/// A time that a device claims, with what is known for certain in its tooltip.
pub fn claimed(times: &CaptureTime, zone: &str) -> Markup {
    claim(times, zone, "%-d %b %H:%M", "")
}

/// The same as time of day.
pub fn claimed_clock(times: &CaptureTime, zone: &str) -> Markup {
    claim(times, zone, "%H:%M", "")
}

/// The same as an instant that an open page keeps counting from.
pub fn claimed_ago(times: &CaptureTime, zone: &str) -> Markup {
    claim(times, zone, "%-d %b %H:%M", " data-relative")
}

fn claim(times: &CaptureTime, zone: &str, form: &str, more: &str) -> Markup {
    let more = format!("{more} title=\"Claimed. {}\"", escape(&bounds(times, zone)));
    time(times.claimed_ms, zone, form, &more)
}

/// What somebody wrote, as a conversation shows it.
pub struct Said {
    /// Its place on the page.
    pub key: String,
    /// Who.
    pub name: String,
    /// For whom they work.
    pub company: String,
    /// What they did with it.
    pub verb: &'static str,
    /// When.
    pub at: Markup,
    /// What is certain of that; empty where this server's clock says it.
    pub bounds: String,
    /// The words.
    pub text: String,
    /// Small pictures of what shows it.
    pub photos: Vec<Markup>,
    /// Where an admin erases them; empty for anybody else, or if they are erased.
    pub erase: String,
    /// Of the brand's people.
    pub brand: bool,
}

/// Stands for words that are not kept any more.
pub fn erased(erased_ms: Option<i64>, zone: &str) -> String {
    match erased_ms {
        Some(at_ms) => format!("(erased on {})", zoned(at_ms, zone).strftime("%-d %B %Y")),
        None => "(this text was erased)".to_owned(),
    }
}

/// For whom a person works: a distributor, or the brand of this name.
pub fn company(world: &World, brand: &str, user: UserId) -> String {
    match world.people.get(&user).map(|person| person.scope) {
        Some(Scope::Distributor(id)) => distributor_name(world, id),
        _ => brand.to_owned(),
    }
}

/// Whether a person works for the brand.
pub fn of_brand(world: &World, user: UserId) -> bool {
    !world.people.get(&user).is_some_and(|person| person.role.of_distributor())
}

/// A day: `Monday 23 November`, with the year if it is not this one.
pub fn day(day: Day, today: Day) -> String {
    date(day, today, "%A %-d %B")
}

/// A day: `23 Nov`, with the year if it is not this one.
pub fn day_short(day: Day, today: Day) -> String {
    date(day, today, "%-d %b")
}

fn date(day: Day, today: Day, form: &str) -> String {
    let civil = |day: Day| day.to_string().parse::<jiff::civil::Date>().unwrap_or_default();
    let (date, this) = (civil(day), civil(today));
    let year = if date.year() == this.year() { "" } else { " %Y" };
    date.strftime(&format!("{form}{year}")).to_string()
}

/// A span of time in the largest unit that says enough.
pub fn span(ms: i64) -> String {
    match ms.max(0) / 60_000 {
        0 => "under a minute".to_owned(),
        minutes @ 1..120 => format!("{minutes} min"),
        minutes @ 120..2_880 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / 1_440),
    }
}

/// That a photo's time here is over, as part of a sentence.
pub fn retired(stayed: &Stayed, zone: &str) -> String {
    let since = zoned(stayed.until_ms, zone).strftime("%-d %B %Y");
    format!("kept for {}, over since {since}", count(stayed.days(), "day", "days"))
}

// ---- places and people ----------------------------------------------------------------------------

/// Where something was recorded, seen from its outlet.
pub fn whereabouts(place: Option<&Geo>, outlet: Option<&Geo>) -> String {
    let Some(place) = place else { return "no position".to_owned() };
    let accuracy = place.accuracy_m.map(|m| format!(" (±{m}\u{a0}m)")).unwrap_or_default();
    match outlet.map(|outlet| place.distance_m(outlet)) {
        Some(metres) if metres < 1_000.0 => format!("{metres:.0} m from the outlet{accuracy}"),
        Some(metres) => format!("{:.1} km from the outlet{accuracy}", metres / 1_000.0),
        None => {
            let (lon, lat) = place.degrees();
            format!("{lat:.5}, {lon:.5}{accuracy}")
        }
    }
}

/// A role in words.
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "Admin",
        Role::Supervisor => "Supervisor",
        Role::Rep => "Field rep",
        Role::DistributorManager => "Distributor manager",
        Role::DistributorStaff => "Distributor staff",
    }
}

/// A territory's name.
pub fn territory_name(world: &World, id: TerritoryId) -> String {
    world.territories.get(&id).map_or_else(|| "no territory".to_owned(), |t| t.name.clone())
}

/// A distributor's name.
pub fn distributor_name(world: &World, id: DistributorId) -> String {
    world.distributors.get(&id).map_or_else(|| "no distributor".to_owned(), |d| d.name.clone())
}

/// The name of what a person looks after.
pub fn scope_name(world: &World, scope: Scope) -> String {
    match scope {
        Scope::Territory(id) => territory_name(world, id),
        Scope::Distributor(id) => distributor_name(world, id),
    }
}

/// The zone of most of the outlets that a person sees: whose day is today.
pub fn zone_of(world: &World, rights: &Rights) -> String {
    let mut zones: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for outlet in world.outlets.values().filter(|o| rights.sees(&world.tree, &o.audience())) {
        *zones.entry(&outlet.zone).or_default() += 1;
    }
    let most = zones.into_iter().max_by_key(|(zone, outlets)| (*outlets, std::cmp::Reverse(*zone)));
    most.map_or_else(|| "UTC".to_owned(), |(zone, _)| zone.to_owned())
}

/// What those are called who worked on a visit; who only settled what others said did not.
pub fn worker_names(world: &World, people: &[UserId]) -> Vec<String> {
    let works = |id: &&UserId| world.people.get(id).is_none_or(|person| person.role.captures());
    people.iter().filter(works).map(|id| world.name(*id)).collect()
}

/// Names in a row: `Anna, Johan and Elin`.
pub fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => {
            let mut out = most.join(", ");
            let _ = write!(out, " and {last}");
            out
        }
    }
}

/// The first word of a name.
pub fn first_name(name: &str) -> &str {
    name.split_whitespace().next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let shown = badge("new", "new", "<b onclick=\"x\">'&").to_string();
        assert!(!shown.contains("<b ") && !shown.contains("\"x\""), "{shown}");
    }

    #[test]
    fn figures_read_well() {
        let sek = "SEK".parse().unwrap();
        assert_eq!(amount(1_490, sek), "14.90");
        assert_eq!(difference(-40, sek), "\u{2212}0.40");
        assert_eq!(difference(300, sek), "+3.00");
        assert_eq!(difference(0, sek), "0.00");
        assert_eq!(amount(500, "JPY".parse().unwrap()), "500");
        assert_eq!(deviation(107_527), "+10.8 %");
        assert_eq!(deviation(-20_100), "\u{2212}2.0 %");
        assert_eq!(deviation(499), "0.0 %");
        assert_eq!(percent(ratio(2, 3)), "67 %");
        assert_eq!(percent(ratio(0, 0)), "none");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(1_u64, "photo", "photos"), "1 photo");
        let mut names = ["Priya", "Zoe", "Pádraic", "padma", "Søren"];
        names.sort_by_key(|name| by_name(name));
        assert_eq!(names, ["padma", "Pádraic", "Priya", "Søren", "Zoe"]);
        assert_eq!(and(&["A".into(), "B".into(), "C".into()]), "A, B and C");
    }

    #[test]
    fn times_are_the_outlets() {
        let at = "2026-11-23T13:05:00Z".parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(
            when(at, "Europe/Stockholm").to_string(),
            "<time datetime=\"2026-11-23T14:05:00+01:00\">23 Nov 14:05</time>"
        );
        assert!(clock(at, "nowhere").to_string().contains(">13:05<"));
        let (monday, later) = ("2026-11-23".parse().unwrap(), "2027-01-02".parse().unwrap());
        assert_eq!(day(monday, monday), "Monday 23 November");
        assert_eq!(day_short(monday, later), "23 Nov 2026");
        assert_eq!(span(75 * 60_000), "75 min");
        assert_eq!(span(-5), "under a minute");
    }

    #[test]
    fn a_distance_is_on_the_ground() {
        let at = |lon, lat| Geo::from_degrees(lon, lat, Some(8)).unwrap();
        let metres = at(18.0, 59.0).distance_m(&at(18.0, 59.001));
        assert!((metres - 111.2).abs() < 0.5, "{metres}");
        let text = whereabouts(Some(&at(18.0, 59.001)), Some(&at(18.0, 59.0)));
        assert_eq!(text, "111 m from the outlet (±8\u{a0}m)");
        assert_eq!(whereabouts(None, None), "no position");
    }
}
