//! What became of gRPC calls: their status is not HTTP's, which is 200 for failures, too.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>.

use weir_http1::{KnownField, ResponseHead};

/// A status, as the place of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrpcStatus(u8);

/// Names by number, and one for what has no number or none that is known.
pub(super) const NAMES: [&str; 18] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
    "MISSING",
];

impl GrpcStatus {
    /// It was not over in time.
    pub(crate) const DEADLINE_EXCEEDED: Self = Self(4);
    /// There is none, or not yet: it comes behind the messages.
    pub(crate) const MISSING: Self = Self(17);

    /// Reads the value of `grpc-status`.
    pub(crate) fn parse(value: &[u8]) -> Self {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u8>().ok());
        number.filter(|&number| number < Self::MISSING.0).map_or(Self::MISSING, Self)
    }

    /// What a response's head says: nothing where it is not gRPC's.
    #[inline]
    pub(crate) fn of_head(head: &ResponseHead, buf: &[u8]) -> Option<Self> {
        const TYPE: &[u8] = b"application/grpc";
        let kind = head.fields().value(buf, KnownField::ContentType)?;
        if !kind.get(..TYPE.len())?.eq_ignore_ascii_case(TYPE) {
            return None;
        }
        Some(head.fields().value(buf, KnownField::GrpcStatus).map_or(Self::MISSING, Self::parse))
    }

    pub(crate) fn as_str(self) -> &'static str {
        NAMES[self.place()]
    }

    pub(super) fn place(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_names() {
        for (value, name) in [("0", "OK"), ("14", "UNAVAILABLE"), ("16", "UNAUTHENTICATED")] {
            assert_eq!(GrpcStatus::parse(value.as_bytes()).as_str(), name);
        }
        for value in ["17", "", "x", "-1", "256", "\u{fffd}"] {
            assert_eq!(GrpcStatus::parse(value.as_bytes()), GrpcStatus::MISSING, "{value}");
        }
    }
}
