//! Points in time as text, for people.

use std::time::{SystemTime, UNIX_EPOCH};

/// The date of a day since 1970 in the Gregorian calendar: year, month and day.
///
/// By eras of 400 years, whose days are all alike, with years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, of_month)
}

fn parts(at: SystemTime) -> (u64, u64, u64, u64, u64, u64) {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let second = seconds % 86_400;
    (year, month, day, second / 3600, second / 60 % 60, second % 60)
}

/// As in RFC 3339: `2026-11-29T20:15:00Z`.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let (year, month, day, hour, minute, second) = parts(at);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// As Go writes times: `2026-11-29 20:15:00 +0000 UTC`.
pub(super) fn as_go(at: SystemTime) -> String {
    let (year, month, day, hour, minute, second) = parts(at);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expect) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_796_000_000, "2026-11-30T00:53:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expect);
        }
        assert_eq!(as_go(UNIX_EPOCH), "1970-01-01 00:00:00 +0000 UTC");
        let mut last = date(0);
        for day in 1..200_000 {
            let next = date(day);
            let follows = next == (last.0, last.1, last.2 + 1)
                || next == (last.0, last.1 + 1, 1)
                || next == (last.0 + 1, 1, 1);
            assert!(follows && (1..=31).contains(&next.2) && next > last, "{last:?} {next:?}");
            last = next;
        }
    }
}
