//! Plain values of the field and their validation.
//!
//! The CBOR shapes here are formats: recordings live in documents and catalogue records in the log for
//! years. Keys are small integers that are never reused; readers skip keys that they do not know.

pub mod capture;
pub mod catalogue;
pub mod contest;
pub mod people;
pub mod visit;

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::id::InvalidId;

/// A value that breaks a rule of the model: which one, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Invalid {
    /// The field, in the words of the API.
    pub field: &'static str,
    /// What is asked of it.
    pub rule: String,
}

impl Invalid {
    pub(crate) fn new(field: &'static str, rule: impl Into<String>) -> Self {
        Self { field, rule: rule.into() }
    }

    pub(crate) fn unless(ok: bool, field: &'static str, rule: &str) -> Result<(), Self> {
        if ok { Ok(()) } else { Err(Self::new(field, rule)) }
    }

    /// `text` has 1 to `max` characters, none of them a control character.
    pub(crate) fn unless_text(text: &str, max: usize, field: &'static str) -> Result<(), Self> {
        let ok = !text.trim().is_empty()
            && text.chars().count() <= max
            && !text.chars().any(char::is_control);
        Self::unless(ok, field, &format!("needs 1 to {max} printable characters"))
    }
}

/// What a character of people's text is shown as, where others' words stand beside it: what would begin a line as a
/// space, and a mark that turns the text around it, as U+202E does, as U+FFFD. All others are themselves.
pub const fn shown(c: char) -> char {
    match c {
        '\u{2028}' | '\u{2029}' => ' ',
        '\u{61c}' | '\u{200e}' | '\u{200f}' => char::REPLACEMENT_CHARACTER,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

/// An amount in integer minor units with its ISO 4217 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Money {
    /// Minor units: cents where the exponent is 2.
    #[n(0)]
    pub minor: i64,
    /// Which money.
    #[n(1)]
    pub currency: Currency,
}

/// An ISO 4217 code of three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// Digits after the decimal point, 0, 2 or 3 (ISO 4217).
    pub fn exponent(&self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG"
            | b"RWF" | b"UGX" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }
}

impl FromStr for Currency {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        match <[u8; 3]>::try_from(s.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(InvalidId(s.to_owned(), "an ISO 4217 code of three capital letters")),
        }
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<C> Encode<C> for Currency {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Currency {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.str()?.parse().map_err(|_| minicbor::decode::Error::message("not an ISO 4217 code"))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u64.pow(self.currency.exponent());
        let (sign, minor) = (if self.minor < 0 { "-" } else { "" }, self.minor.unsigned_abs());
        let code = self.currency.as_str();
        match self.currency.exponent() as usize {
            0 => write!(f, "{sign}{minor} {code}"),
            digits => write!(f, "{sign}{}.{:0digits$} {code}", minor / unit, minor % unit),
        }
    }
}

/// A WGS84 position in millionths of a degree, longitude first as in GeoJSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Geo {
    /// Longitude, -180 000 000 to 180 000 000.
    #[n(0)]
    pub lon_e6: i32,
    /// Latitude, -90 000 000 to 90 000 000.
    #[n(1)]
    pub lat_e6: i32,
    /// Radius of 68 % confidence in metres, as the device claims it; `None` for a surveyed position.
    #[n(2)]
    pub accuracy_m: Option<u32>,
    /// The phone says that a program made it up, or that none did; `None` where it does not say.
    #[n(3)]
    pub mock: Option<bool>,
}

impl Geo {
    /// From degrees, rounded to a millionth.
    pub fn from_degrees(lon: f64, lat: f64, accuracy_m: Option<u32>) -> Result<Self, Invalid> {
        let ok = (-180.0..=180.0).contains(&lon) && (-90.0..=90.0).contains(&lat);
        Invalid::unless(
            ok,
            "position",
            "needs a longitude of -180..180 and a latitude of -90..90",
        )?;
        let e6 = |degrees: f64| (degrees * 1e6).round() as i32;
        Ok(Self { lon_e6: e6(lon), lat_e6: e6(lat), accuracy_m, mock: None })
    }

    /// `(longitude, latitude)` in degrees.
    pub fn degrees(&self) -> (f64, f64) {
        (f64::from(self.lon_e6) / 1e6, f64::from(self.lat_e6) / 1e6)
    }

    /// Metres over a round earth.
    pub fn distance_m(&self, other: &Self) -> f64 {
        let ((lon_a, lat_a), (lon_b, lat_b)) = (self.degrees(), other.degrees());
        let (phi_a, phi_b) = (lat_a.to_radians(), lat_b.to_radians());
        let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let h = half(lat_b - lat_a) + phi_a.cos() * phi_b.cos() * half(lon_b - lon_a);
        2.0 * 6_371_008.8 * h.sqrt().min(1.0).asin()
    }

    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let (lon, lat) = self.degrees();
        Self::from_degrees(lon, lat, None).map(|_| ())
    }
}

/// A calendar day, as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Day(#[n(0)] pub i32);

impl Day {
    /// The day `days` later.
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    fn date(self) -> jiff::civil::Date {
        let epoch = jiff::civil::date(1970, 1, 1);
        epoch.saturating_add(jiff::Span::new().days(i64::from(self.0).clamp(-700_000, 2_900_000)))
    }

    /// The outlet's local day at an instant (milliseconds since 1970 UTC); UTC for an unknown zone.
    pub fn at(unix_ms: i64, zone: &str) -> Self {
        let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
        let instant = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default();
        Self::from(zone.to_datetime(instant).date())
    }
}

impl From<jiff::civil::Date> for Day {
    fn from(date: jiff::civil::Date) -> Self {
        let epoch = jiff::civil::date(1970, 1, 1);
        Self((date - epoch).get_days())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

impl FromStr for Day {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        s.parse::<jiff::civil::Date>()
            .map(Self::from)
            .map_err(|_| InvalidId(s.to_owned(), "a day such as 2026-03-31"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_by_its_exponent() {
        let money =
            |minor, code: &str| Money { minor, currency: code.parse().unwrap() }.to_string();
        assert_eq!(money(1999, "EUR"), "19.99 EUR");
        assert_eq!(money(-5, "EUR"), "-0.05 EUR");
        assert_eq!(money(500, "JPY"), "500 JPY");
        assert_eq!(money(1234, "KWD"), "1.234 KWD");
    }

    #[test]
    fn a_day_is_local() {
        // 23:30 UTC on 30 March 2026 is already the 31st in Helsinki (UTC+3, summer time).
        let ms = "2026-03-30T23:30:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert_eq!(Day::at(ms, "Europe/Helsinki").to_string(), "2026-03-31");
        assert_eq!(Day::at(ms, "UTC").to_string(), "2026-03-30");
        assert_eq!("2026-03-31".parse::<Day>().unwrap(), Day::at(ms, "Europe/Helsinki"));
        assert_eq!(Day::at(i64::MAX, "UTC"), Day(0));
        assert_eq!(Day(i32::MAX).to_string().len(), 10);
    }
}
