//! Error codes, and how far a fault reaches (RFC 9113 sections 5.4 and 7).

use std::fmt;

/// An error code of RST_STREAM or GOAWAY. Unknown ones are kept as they came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// It ends in good order.
    pub const NO_ERROR: Self = Self(0);
    /// The peer breaks a rule that no other code names.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// This side has failed.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// A window was overrun or has overflowed.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// SETTINGS were not acknowledged, or never came.
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    /// A frame came on a stream that had ended.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame has a size that its type or the settings do not allow.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Nothing of the request was processed: it may be sent again.
    pub const REFUSED_STREAM: Self = Self(7);
    /// Nobody waits for the stream any more.
    pub const CANCEL: Self = Self(8);
    /// A header block cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The peer makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);

    const NAMES: [&'static str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a stream is over before its messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// The peer has reset it.
    #[error("the peer has reset the stream: {0}")]
    Reset(Code),
    /// The peer says that nothing of the request was processed: RST_STREAM with REFUSED_STREAM, or a GOAWAY that leaves
    /// the stream out (RFC 9113 section 8.7).
    #[error("the peer has not processed the request")]
    Unprocessed,
    /// The peer has broken a rule, and was told so.
    #[error("the peer breaks the rules of HTTP/2: {0}")]
    Broken(Code),
    /// The connection is over.
    #[error("the connection is over")]
    Gone,
}

/// How far a fault of the peer's reaches, and what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The whole connection.
    Connection(Code),
    /// One stream.
    Stream(u32, Code),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_rfc() {
        for (code, name) in [
            (Code::NO_ERROR, "NO_ERROR"),
            (Code::STREAM_CLOSED, "STREAM_CLOSED"),
            (Code::COMPRESSION_ERROR, "COMPRESSION_ERROR"),
            (Code::ENHANCE_YOUR_CALM, "ENHANCE_YOUR_CALM"),
            (Code(0xd), "HTTP_1_1_REQUIRED"),
            (Code(77), "error code 77"),
        ] {
            assert_eq!(code.to_string(), name);
        }
    }
}
