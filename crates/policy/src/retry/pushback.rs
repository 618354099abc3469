//! What a server says about trying again.

use std::time::Duration;

/// The longest that a request is kept waiting because a server says so. A longer wait is the client's own affair.
pub const PUSHBACK_MAX: Duration = Duration::from_secs(30);

/// A server's word on when to try again. It counts instead of the policy's delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// After this time.
    After(Duration),
    /// Not at all.
    Never,
}

impl Pushback {
    /// The value of a `Retry-After` field that is a number of seconds (RFC 9110, section 10.2.3). A date tells nothing
    /// here: it needs the wall clocks of two machines.
    pub fn from_retry_after(value: &[u8]) -> Option<Self> {
        digits(value).map(|seconds| Self::After(Duration::from_secs(seconds)))
    }

    /// The value of `grpc-retry-pushback-ms` (gRPC proposal A6, "Pushback"): milliseconds; anything that is not a number
    /// from 0 up means not at all.
    pub fn from_grpc(value: &[u8]) -> Self {
        digits(value).map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis)))
    }
}

/// A number of digits and nothing else; one that is too large is as large as can be.
fn digits(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(value.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_fields() {
        let http = |text: &str| Pushback::from_retry_after(text.as_bytes());
        assert_eq!(http("120"), Some(Pushback::After(Duration::from_secs(120))));
        assert_eq!(http(" 0 "), Some(Pushback::After(Duration::ZERO)));
        for no in ["", "-1", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT", "+1"] {
            assert_eq!(http(no), None, "{no}");
        }
        let long = http("99999999999999999999999999");
        assert_eq!(long, Some(Pushback::After(Duration::from_secs(u64::MAX))));
        let grpc = |text: &str| Pushback::from_grpc(text.as_bytes());
        assert_eq!(grpc("250"), Pushback::After(Duration::from_millis(250)));
        for never in ["-1", "", "soon", "1.5"] {
            assert_eq!(grpc(never), Pushback::Never, "{never}");
        }
    }
}
