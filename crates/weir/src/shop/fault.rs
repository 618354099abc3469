//! Telling an application to be slow or to fail: for good with `PUT /fault`, or for one request with its query.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::units::Span;

/// The longest that an application can be told to wait.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// What is wrong with an application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// How long it waits before it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delay: Option<Span>,
    /// The status it answers with, instead of 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// The share of the requests that are hit, 0 to 1.
    #[serde(default = "all")]
    pub(super) ratio: f64,
}

const fn all() -> f64 {
    1.0
}

impl Default for Fault {
    fn default() -> Self {
        Self { delay: None, status: None, ratio: 1.0 }
    }
}

impl Fault {
    /// Reads the body of `PUT /fault`.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, String> {
        let fault: Self = serde_json::from_slice(body).map_err(|error| {
            format!(r#"{error}; expected {{"delay": "200ms", "status": 503, "ratio": 0.5}}"#)
        })?;
        fault.checked()
    }

    /// Reads `delay` and `status` of a query; none if it has neither.
    pub(super) fn from_query(query: &str) -> Result<Option<Self>, String> {
        let mut fault = Self::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("delay", value)) => {
                    fault.delay = Some(value.parse().map_err(|e| format!("delay: {e}"))?);
                }
                Some(("status", value)) => {
                    fault.status =
                        Some(value.parse().map_err(|_| format!("status: `{value}` is not a status"))?);
                }
                _ => {}
            }
        }
        if fault == Self::default() { Ok(None) } else { fault.checked().map(Some) }
    }

    fn checked(self) -> Result<Self, String> {
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Err("status: expected 200 to 599".to_owned());
        }
        if self.delay.is_some_and(|delay| delay.0 > DELAY_MAX) {
            return Err("delay: expected at most 60s".to_owned());
        }
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err("ratio: expected a number from 0 to 1".to_owned());
        }
        Ok(self)
    }

    /// Whether the `count`th request (from 0) is hit: evenly spread, so that a ratio of 0.25 is every fourth.
    pub(super) fn hits(&self, count: u64) -> bool {
        let upto = |n: u64| (n as f64 * self.ratio).floor();
        upto(count + 1) > upto(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_kept_exactly() {
        let hits = |ratio: f64| (0..100).filter(|n| Fault { ratio, ..Fault::default() }.hits(*n)).count();
        assert_eq!([hits(0.0), hits(0.25), hits(0.5), hits(1.0)], [0, 25, 50, 100]);
    }

    #[test]
    fn bad_faults_are_refused_with_what_was_expected() {
        let bad = |body: &str, part: &str| {
            let error = Fault::from_json(body.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        };
        bad(r#"{"delay": "5"}"#, "is not a duration");
        bad(r#"{"status": 99}"#, "200 to 599");
        bad(r#"{"ratio": 2}"#, "from 0 to 1");
        bad(r#"{"dealy": "1s"}"#, "unknown field");
        bad("", "expected {");
        assert!(Fault::from_query("status=x").is_err());
        assert_eq!(Fault::from_query("a=b&c").unwrap(), None);
        let slow = Fault::from_query("delay=20ms").unwrap().unwrap();
        assert_eq!(slow.delay.unwrap().0, Duration::from_millis(20));
    }
}
