//! Sets of response statuses, as a policy lists them: what is a failure, what is tried again.

use std::fmt;

use weir_model::names::GRPC_STATUSES;

/// The lowest status of HTTP (RFC 9110, section 15).
const HTTP_MIN: u16 = 100;
/// One more than the highest.
const HTTP_END: u16 = 600;
/// Bits of a word.
const WORD: u16 = 64;
/// Words that hold a bit for each status.
const WORDS: usize = (HTTP_END - HTTP_MIN).div_ceil(WORD) as usize;

/// HTTP statuses from 100 to 599. Others are in no set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatusSet([u64; WORDS]);

impl StatusSet {
    /// No status.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// These; what is no status is left out.
    pub fn of(statuses: &[u16]) -> Self {
        let mut set = Self::EMPTY;
        for (word, bit) in statuses.iter().filter_map(|status| place(*status)) {
            set.0[word] |= bit;
        }
        set
    }

    /// Whether a status is among them.
    pub fn contains(&self, status: u16) -> bool {
        place(status).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (HTTP_MIN..HTTP_END).filter(|status| self.contains(*status))
    }
}

fn place(status: u16) -> Option<(usize, u64)> {
    let bit = status.checked_sub(HTTP_MIN).filter(|_| status < HTTP_END)?;
    Some((usize::from(bit / WORD), 1 << (bit % WORD)))
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, status) in self.iter().enumerate() {
            write!(f, "{}{status}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The code of a gRPC status by its name, whatever its case.
pub fn grpc_code(name: &str) -> Option<u32> {
    (0u32..).zip(GRPC_STATUSES).find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(code, _)| code)
}

/// The name of a gRPC status by its code.
pub fn grpc_name(code: u32) -> Option<&'static str> {
    usize::try_from(code).ok().and_then(|code| GRPC_STATUSES.get(code).copied())
}

/// Statuses of gRPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GrpcStatusSet(u32);

impl GrpcStatusSet {
    /// No status.
    pub const EMPTY: Self = Self(0);

    /// Those with these names; what is no name is left out, and so is `OK`, which is no failure.
    pub fn of(names: &[String]) -> Self {
        let codes = names.iter().filter_map(|name| grpc_code(name)).filter(|code| *code != 0);
        Self(codes.fold(0, |bits, code| bits | 1 << code))
    }

    /// Whether a status is among them.
    pub const fn contains(self, code: u32) -> bool {
        code < u32::BITS && self.0 & (1 << code) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_http() {
        let set = StatusSet::of(&[503, 100, 599, 502, 99, 600, 0, u16::MAX]);
        assert_eq!(set.to_string(), "100, 502, 503, 599");
        for status in 0..=u16::MAX {
            assert_eq!(set.contains(status), [100, 502, 503, 599].contains(&status), "{status}");
        }
        assert!(StatusSet::of(&[600]).is_empty());
    }

    #[test]
    fn statuses_of_grpc() {
        let set = GrpcStatusSet::of(&["unavailable".to_owned(), "OK".to_owned(), "NONSENSE".to_owned()]);
        for code in 0..100 {
            assert_eq!(set.contains(code), code == 14, "{code}");
        }
        assert_eq!(grpc_name(14), Some("UNAVAILABLE"));
        assert_eq!(grpc_name(17), None);
        assert_eq!(grpc_code("DATA_LOSS"), Some(15));
    }
}
