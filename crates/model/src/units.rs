//! Values with a unit, as people write them: `250ms`, `64KiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time, written as `250ms`, `1.5s`, `1m30s`, `2h`, or `0s`.
///
/// Accepts the Gateway API's durations (GEP-2257) and Go's: numbers, each with one of `ns us ms s m h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

/// Text that is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: expected a number with a unit, such as `250ms`, `1.5s` or `1m30s`")]
pub struct NotASpan(pub String);

/// Unit names and their nanoseconds, longest name first so that `ms` is not taken for `m`.
const UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];

/// The longest span that can be written: 10 years. Longer ones are mistakes, and would overflow deadlines.
const SPAN_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let bad = || NotASpan(text.to_owned());
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut nanos = 0f64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
            let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let (name, factor) = UNITS
                .iter()
                .find(|(name, _)| {
                    rest.strip_prefix(name)
                        .is_some_and(|tail| tail.is_empty() || tail.starts_with(|c: char| c.is_ascii_digit()))
                })
                .ok_or_else(bad)?;
            rest = &rest[name.len()..];
            nanos += number * factor;
        }
        if text.is_empty() || nanos > SPAN_MAX.as_nanos() as f64 {
            return Err(bad());
        }
        Ok(Self(Duration::from_nanos(nanos.round() as u64)))
    }
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

impl TryFrom<String> for Span {
    type Error = NotASpan;

    fn try_from(text: String) -> Result<Self, NotASpan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_spans() {
        let check = |text: &str, ms: u64, shown: &str| {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(ms), "{text}");
            assert_eq!(span.to_string(), shown);
        };
        check("250ms", 250, "250ms");
        check("1.5s", 1500, "1500ms");
        check("1m30s", 90_000, "90s");
        check("2h", 7_200_000, "2h");
        check("0", 0, "0s");
        check("0s", 0, "0s");
    }

    #[test]
    fn refuses_what_is_not_a_span() {
        for text in ["", "5", "ms", "-1s", "1 s", "1x", "1e3s", "1s2", "..s", "99999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
