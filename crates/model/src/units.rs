//! Values with a unit, as people write them: `250ms`, `64KiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A length of time, written as `250ms`, `1.5s`, `1m30s`, `2h`, or `0s`.
///
/// Accepts the Gateway API's durations (GEP-2257) and Go's: numbers, each with one of `ns us ms s m h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct Span(pub Duration);

/// Text that is not a length of time that can be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASpan {
    /// It is none at all.
    #[error("`{0}` is not a duration: expected a number with a unit, such as `250ms`, `1.5s` or `1m30s`")]
    Malformed(String),
    /// It is longer than [`SPAN_MAX`].
    #[error("`{0}` is longer than {max}, which is ten years and the longest duration there is", max = Span(SPAN_MAX))]
    TooLong(String),
}

/// Unit names and their nanoseconds, longest name first so that `ms` is not taken for `m`.
const UNITS: [(&str, u128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The longest span that can be written: 10 years. Longer ones are mistakes, and would overflow deadlines.
pub const SPAN_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Most digits behind the point of a number that count: more are parts of a nanosecond in every unit.
const DIGITS_MAX: usize = 18;

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let shown = || crate::document::node::shortened(text);
        let nanos = if text == "0" { Some(0) } else { nanos(text) };
        let nanos = nanos.ok_or_else(|| NotASpan::Malformed(shown()))?;
        match u64::try_from(nanos) {
            Ok(nanos) if Duration::from_nanos(nanos) <= SPAN_MAX => Ok(Self(Duration::from_nanos(nanos))),
            _ => Err(NotASpan::TooLong(shown())),
        }
    }
}

/// The nanoseconds of numbers with units, exactly but for what is beyond all that can be meant; parts of a nanosecond are
/// dropped.
fn nanos(text: &str) -> Option<u128> {
    let mut rest = text;
    let mut nanos = 0u128;
    while !rest.is_empty() || text.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) {
            return None;
        }
        let (unit, factor) = UNITS.iter().find(|(unit, _)| {
            tail.strip_prefix(unit)
                .is_some_and(|tail| tail.is_empty() || tail.starts_with(|c: char| c.is_ascii_digit()))
        })?;
        rest = &tail[unit.len()..];
        let whole = value(whole.trim_start_matches('0'));
        let part = &part[..part.len().min(DIGITS_MAX)];
        let scale = 10u128.pow(u32::try_from(part.len()).unwrap_or_default());
        let added = whole.saturating_mul(*factor).saturating_add(value(part) * factor / scale);
        nanos = nanos.saturating_add(added);
    }
    Some(nanos)
}

/// The number that digits are; of too many of them the largest there is.
fn value(digits: &str) -> u128 {
    if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u128::MAX) }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match nanos {
            0 => f.write_str("0s"),
            n if n % 3_600_000_000_000 == 0 => write!(f, "{}h", n / 3_600_000_000_000),
            n if n % 60_000_000_000 == 0 => write!(f, "{}m", n / 60_000_000_000),
            n if n % 1_000_000_000 == 0 => write!(f, "{}s", n / 1_000_000_000),
            n if n % 1_000_000 == 0 => write!(f, "{}ms", n / 1_000_000),
            n if n % 1_000 == 0 => write!(f, "{}us", n / 1_000),
            n => write!(f, "{n}ns"),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SpanVisitor)
    }
}

/// By hand, so that a number without a unit is answered with what a duration looks like.
struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `250ms`, `1.5s` or `1m30s`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

/// A measured length of time for people: three digits of it, such as `1.23s` or `45.6ms`; of long ones whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounded(pub Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let mut unit = 1;
        while nanos / unit >= 1000 && unit < 1_000_000_000 {
            unit *= 10;
        }
        let rounded = (nanos + unit / 2) / unit * unit;
        fmt::Debug::fmt(&Duration::from_nanos(u64::try_from(rounded).unwrap_or(u64::MAX)), f)
    }
}

/// A number of bytes, written as `64KiB`, `1MiB`, `2GiB`, `512B`, or a plain number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct Size(pub u64);

/// Text that is not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: expected a number with a unit, such as `64KiB`, `1MiB` or `512B`")]
pub struct NotASize(pub String);

/// Unit names and their bytes, longest name first.
const SIZES: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// The largest size that can be written: larger ones are mistakes.
const SIZE_MAX: u64 = 1 << 50;

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let (number, factor) = SIZES
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .unwrap_or((text, 1));
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let bytes = is_number.then(|| number.parse::<u64>().ok()?.checked_mul(factor)).flatten();
        bytes.filter(|bytes| *bytes <= SIZE_MAX).map(Self).ok_or_else(|| NotASize(text.to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = ["GiB", "MiB", "KiB"].into_iter().find_map(|name| {
            let (_, factor) = SIZES.iter().find(|(unit, _)| *unit == name)?;
            (self.0 > 0 && self.0.is_multiple_of(*factor)).then_some((name, self.0 / factor))
        });
        let (name, count) = unit.unwrap_or(("B", self.0));
        write!(f, "{count}{name}")
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// By hand, so that what is no size is answered with what one looks like.
struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as `64KiB`, `1MiB` or `512B`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
        bytes.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
        bytes.to_string().parse().map_err(E::custom)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_times_have_three_digits() {
        for (nanos, shown) in [
            (0, "0ns"),
            (999, "999ns"),
            (12_345, "12.3µs"),
            (1_999_999, "2ms"),
            (45_678_901, "45.7ms"),
            (1_234_567_891, "1.23s"),
            (999_600_000, "1s"),
            (123_456_789_012, "123s"),
            (86_399_999_999_999, "86400s"),
        ] {
            assert_eq!(Rounded(Duration::from_nanos(nanos)).to_string(), shown);
        }
    }

    #[test]
    fn reads_and_writes_sizes() {
        let check = |text: &str, bytes: u64, shown: &str| {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, &*size.to_string()), (bytes, shown), "{text}");
        };
        check("64KiB", 65_536, "64KiB");
        check("1024KiB", 1 << 20, "1MiB");
        check("1500", 1500, "1500B");
        check("512B", 512, "512B");
        check("0", 0, "0B");
        check("2GiB", 2 << 30, "2GiB");
        for bad in ["", "KiB", "1.5KiB", "-1", "1 KiB", "1KB", "1kib", "99999999999GiB", "+1"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::from_str::<Size>("4096").unwrap(), Size(4096));
        assert!(serde_json::from_str::<Size>("-1").is_err());
        assert!(serde_json::from_str::<Size>("1.5").is_err());
    }

    #[test]
    fn reads_and_writes_spans() {
        let check = |text: &str, ms: u64, shown: &str| {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(ms), "{text}");
            assert_eq!(span.to_string(), shown);
        };
        check("250ms", 250, "250ms");
        check("1.5s", 1500, "1500ms");
        check(".25s", 250, "250ms");
        check("1.s", 1000, "1s");
        check("87600h", 315_360_000_000, "87600h");
        check("1m30s", 90_000, "90s");
        check("2h", 7_200_000, "2h");
        check("0", 0, "0s");
        check("0s", 0, "0s");
    }

    #[test]
    fn refuses_what_is_not_a_span() {
        for text in ["", "5", "ms", "-1s", "1 s", "1x", "1e3s", "1s2", "..s", ".s", "1.5.5s", "1é"] {
            assert_eq!(text.parse::<Span>(), Err(NotASpan::Malformed(text.to_owned())));
        }
    }

    #[test]
    fn says_of_what_is_too_long_that_it_is() {
        let long = format!("{}h", "9".repeat(50));
        for text in ["99999999h", "87600h1ns", "9999999999999999999h", "87600h87600h", &long] {
            assert_eq!(text.parse::<Span>(), Err(NotASpan::TooLong(text.to_owned())));
        }
        let shown = "99999999h".parse::<Span>().unwrap_err().to_string();
        assert!(shown.starts_with("`99999999h` is longer than 87600h"), "{shown}");
        // Zeros at either end make no number long.
        let zeros = "0".repeat(60);
        let padded: Span = format!("{zeros}1.5{zeros}s").parse().unwrap();
        assert_eq!(padded.0, Duration::from_millis(1500));
    }
}
