//! Which row of a report is about a limit or a breaker: of the same document, target and part, and of the same version, so
//! that what was true of an earlier one is not taken for this one's.

use weir_api::report::{BreakerReport, LimitReport, Report};

/// What is said of a limit or breaker that no proxy has told of yet.
pub const NOT_REPORTED: &str = "not reported yet";

/// What a report says of a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OfBreaker<'a> {
    /// Nothing, or only of another version of it.
    Nothing,
    /// It is in force, and no call has met this part of it.
    Unmet,
    /// This.
    Met(&'a BreakerReport),
}

/// What a report says of a version of a limit at a target.
pub fn of_limit<'a>(report: &'a Report, limit: &str, target: &str, version: u32) -> Option<&'a LimitReport> {
    let mut rows = report.limits.iter();
    rows.find(|row| row.limit == limit && row.target == target && is_of(row.version, version))
}

/// What a report says of a version of a breaker at a target, and of one of its parts.
pub fn of_breaker<'a>(
    report: &'a Report,
    (breaker, target, part): (&str, &str, &str),
    version: u32,
) -> OfBreaker<'a> {
    let all = report.breakers.iter();
    let mut of_breaker = all
        .filter(|row| row.breaker == breaker && row.target == target && is_of(row.version, version))
        .peekable();
    if of_breaker.peek().is_none() {
        return OfBreaker::Nothing;
    }
    match of_breaker.find(|row| row.part == part && !row.unmet) {
        Some(row) => OfBreaker::Met(row),
        None => OfBreaker::Unmet,
    }
}

/// Proxies of earlier versions do not say which version of a document they report of.
const fn is_of(reported: u32, version: u32) -> bool {
    reported == 0 || reported == version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_another_version_is_none_of_this_one() {
        let limit = |version| LimitReport {
            limit: "RateLimit/a".to_owned(),
            target: "Service/a".to_owned(),
            version,
            ..LimitReport::default()
        };
        let check = |reported, asked, expected: bool| {
            let report = Report { limits: vec![limit(reported)], ..Report::default() };
            let found = of_limit(&report, "RateLimit/a", "Service/a", asked).is_some();
            assert_eq!(found, expected, "{reported} {asked}");
        };
        check(7, 7, true);
        check(7, 8, false);
        check(0, 8, true);
        let report = Report { limits: vec![limit(7)], ..Report::default() };
        assert_eq!(of_limit(&report, "RateLimit/a", "Service/b", 7), None);
    }

    #[test]
    fn a_breaker_in_force_that_no_call_has_met_is_known() {
        let row = |part: &str, unmet| BreakerReport {
            breaker: "TrafficPolicy/a#0".to_owned(),
            target: "Service/a".to_owned(),
            part: part.to_owned(),
            version: 7,
            unmet,
            ..BreakerReport::default()
        };
        let of = |rows: Vec<BreakerReport>, part: &str, version| {
            let report = Report { breakers: rows, ..Report::default() };
            match of_breaker(&report, ("TrafficPolicy/a#0", "Service/a", part), version) {
                OfBreaker::Nothing => "nothing",
                OfBreaker::Unmet => "unmet",
                OfBreaker::Met(_) => "met",
            }
        };
        assert_eq!(of(vec![], "", 7), "nothing");
        assert_eq!(of(vec![row("", true)], "", 7), "unmet");
        assert_eq!(of(vec![row("", true)], "", 8), "nothing");
        assert_eq!(of(vec![row("", false)], "", 7), "met");
        assert_eq!(of(vec![row("n/1", false)], "n/2", 7), "unmet");
        assert_eq!(of(vec![row("n/1", false)], "n/1", 7), "met");
    }
}
