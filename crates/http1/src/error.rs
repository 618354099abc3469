//! What can be wrong with a message, in words that fit an error body and a log line.

use std::fmt;

use thiserror::Error;

/// A field name as an error shows it: printable, and cut to a bounded length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownName(Box<str>);

impl ShownName {
    const BYTES_MAX: usize = 64;

    pub(crate) fn new(name: &[u8]) -> Self {
        let shown = &name[..name.len().min(Self::BYTES_MAX)];
        Self(shown.escape_ascii().to_string().into())
    }
}

impl fmt::Display for ShownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A fault in the field section of a head or in a trailer section.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FieldError {
    /// RFC 9112 section 2.2.
    #[error("a line ends with a bare LF: every line must end with CR LF")]
    BareLf,
    /// RFC 9112 section 2.2.
    #[error("a CR is not followed by LF")]
    BareCr,
    /// RFC 9112 section 5.2.
    #[error("a field line begins with white space: folded lines are not accepted")]
    Fold,
    /// RFC 9112 section 5.1.
    #[error("field \"{0}\": there must be no white space between the name and the colon")]
    SpaceBeforeColon(ShownName),
    /// RFC 9112 section 5.
    #[error("a field line begins with a colon: the field name is missing")]
    EmptyName,
    /// RFC 9112 section 5.
    #[error("field line \"{0}\" has no colon")]
    NoColon(ShownName),
    /// RFC 9110 section 5.1.
    #[error("field name \"{name}\" is followed by the byte 0x{byte:02x}, which no field name may hold")]
    NameByte {
        /// The name up to the byte.
        name: ShownName,
        /// The byte that may not stand there.
        byte: u8,
    },
    /// RFC 9110 section 5.5.
    #[error("field \"{name}\": the value holds the control byte 0x{byte:02x}")]
    ValueByte {
        /// The field's name.
        name: ShownName,
        /// The byte that may not stand there.
        byte: u8,
    },
    /// More field lines than [`crate::Limits::fields_max`].
    #[error("too many fields: at most {0} are accepted")]
    TooMany(usize),
    /// The `Connection` field is not a list of tokens.
    #[error("field \"connection\": expected a list of names such as \"close\" or \"keep-alive\"")]
    BadConnection,
    /// More options than [`crate::Limits::connection_options_max`].
    #[error("field \"connection\": too many options, at most {0} are accepted")]
    TooManyOptions(usize),
    /// RFC 9112 section 6.3.
    #[error("field \"content-length\": expected one decimal number")]
    BadContentLength,
    /// RFC 9112 section 6.3.
    #[error("field \"content-length\" stands more than once")]
    RepeatedContentLength,
    /// RFC 9112 section 6.1: a way to smuggle requests.
    #[error("fields \"content-length\" and \"transfer-encoding\" must not stand together")]
    LengthAndEncoding,
    /// RFC 9112 section 6.1.
    #[error("field \"transfer-encoding\": expected \"chunked\"")]
    BadTransferEncoding,
    /// RFC 9112 section 6.1.
    #[error("field \"transfer-encoding\" stands more than once")]
    RepeatedTransferEncoding,
    /// RFC 9112 section 6.1.
    #[error("field \"transfer-encoding\": only \"chunked\" is supported")]
    UnsupportedTransferEncoding,
    /// RFC 9112 section 6.1.
    #[error("field \"transfer-encoding\" is not allowed in an HTTP/1.0 message")]
    EncodingInHttp10,
}

impl FieldError {
    /// The status that answers a request with this fault.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooMany(_) => 431,
            Self::UnsupportedTransferEncoding => 501,
            _ => 400,
        }
    }

    /// A short constant word for metrics labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BareLf | Self::BareCr => "line_end",
            Self::Fold => "fold",
            Self::SpaceBeforeColon(_) | Self::EmptyName | Self::NoColon(_) | Self::NameByte { .. } => {
                "field_name"
            }
            Self::ValueByte { .. } => "field_value",
            Self::TooMany(_) => "too_many_fields",
            Self::BadConnection | Self::TooManyOptions(_) => "connection",
            Self::BadContentLength | Self::RepeatedContentLength => "content_length",
            Self::LengthAndEncoding => "length_and_encoding",
            _ => "transfer_encoding",
        }
    }
}

/// Why a request is refused. Nothing of it may be forwarded, and the connection must be closed after the answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A fault in the fields.
    #[error("{0}")]
    Field(#[from] FieldError),
    /// RFC 9112 section 3.1.
    #[error("the request line must begin with a method, such as GET, followed by one space")]
    BadMethod,
    /// RFC 9112 section 3.2.
    #[error("the request target holds the byte 0x{0:02x}, which must be percent-encoded")]
    TargetByte(u8),
    /// RFC 9112 section 3.
    #[error("expected one space and a target such as /path after the method")]
    MissingTarget,
    /// RFC 9112 section 3.2: a fragment is never sent.
    #[error("the request target holds a fragment (#)")]
    Fragment,
    /// RFC 9112 section 3.2.
    #[error("the request target must be a path that begins with /, an http or https URL, or * for OPTIONS")]
    BadTarget,
    /// RFC 9112 section 3.2.3.
    #[error("the target of CONNECT must be host:port")]
    BadConnectTarget,
    /// Longer than [`crate::Limits::target_bytes_max`].
    #[error("the request target is too long: at most {0} bytes are accepted")]
    TargetTooLong(usize),
    /// The path cannot be normalised.
    #[error("{0}")]
    Path(#[from] PathError),
    /// RFC 9112 section 2.3.
    #[error("the request line must end with one space and HTTP/1.1 or HTTP/1.0")]
    BadVersion,
    /// Well-formed, but not spoken here.
    #[error("this HTTP version is not supported: expected HTTP/1.1 or HTTP/1.0")]
    UnsupportedVersion,
    /// RFC 9112 section 3.2.
    #[error("field \"host\" is missing")]
    MissingHost,
    /// RFC 9112 section 3.2.
    #[error("field \"host\" stands more than once")]
    RepeatedHost,
    /// RFC 9112 section 3.2.
    #[error("field \"host\": expected a name or an address, and optionally a port")]
    BadHost,
    /// RFC 9110 section 10.1.1.
    #[error("field \"expect\": only \"100-continue\" is supported")]
    UnknownExpectation,
    /// Longer than [`crate::Limits::head_bytes_max`].
    #[error("the request's head is too large: at most {0} bytes are accepted")]
    HeadTooLarge(usize),
    /// The method is not served on this listener.
    #[error("method {0} is not allowed here")]
    MethodNotAllowed(&'static str),
}

impl RequestError {
    /// The status that answers the request: 400, 405, 414, 417, 431, 501 or 505.
    pub fn status(&self) -> u16 {
        match self {
            Self::Field(fault) => fault.status(),
            Self::TargetTooLong(_) => 414,
            Self::UnsupportedVersion => 505,
            Self::UnknownExpectation => 417,
            Self::HeadTooLarge(_) => 431,
            Self::MethodNotAllowed(_) => 405,
            _ => 400,
        }
    }

    /// The fault in words, naming the field or the part; fit for the error body and the log.
    pub fn reason(&self) -> String {
        self.to_string()
    }

    /// A short constant word for metrics labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Field(fault) => fault.code(),
            Self::BadMethod => "method",
            Self::TargetByte(_)
            | Self::MissingTarget
            | Self::Fragment
            | Self::BadTarget
            | Self::BadConnectTarget => "target",
            Self::TargetTooLong(_) => "target_too_long",
            Self::Path(_) => "path",
            Self::BadVersion | Self::UnsupportedVersion => "version",
            Self::MissingHost | Self::RepeatedHost | Self::BadHost => "host",
            Self::UnknownExpectation => "expect",
            Self::HeadTooLarge(_) => "head_too_large",
            Self::MethodNotAllowed(_) => "method_not_allowed",
        }
    }
}

/// Why a response of an upstream is refused: the client gets 502, the connection is not used again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// A fault in the fields.
    #[error("{0}")]
    Field(#[from] FieldError),
    /// RFC 9112 section 4.
    #[error("the status line must begin with HTTP/1.1 or HTTP/1.0 and one space")]
    BadVersion,
    /// RFC 9112 section 4.
    #[error("the status line must hold a status of three digits from 100 on")]
    BadStatus,
    /// RFC 9112 section 4.
    #[error("the reason phrase holds the control byte 0x{0:02x}")]
    ReasonByte(u8),
    /// Longer than [`crate::Limits::head_bytes_max`].
    #[error("the response's head is too large: at most {0} bytes are accepted")]
    HeadTooLarge(usize),
    /// More than [`crate::Limits::interim_responses_max`].
    #[error("too many interim (1xx) responses: at most {0} are accepted")]
    TooManyInterim(u16),
    /// 101 without a request for it, or with another protocol, or without the fields that belong to it.
    #[error("status 101 without a matching \"upgrade\" in the request")]
    UnexpectedUpgrade,
    /// RFC 9110 section 15: 1xx and 204 have no content; RFC 9112 section 6.1.
    #[error("status {0} announces a body, which it must not have")]
    BodyNotAllowed(u16),
    /// Bytes after the end of the message.
    #[error("the upstream sent bytes after the end of the response")]
    BytesAfterMessage,
}

impl ResponseError {
    /// The status for the client: always 502.
    pub fn status(&self) -> u16 {
        502
    }

    /// The fault in words, naming the field or the part.
    pub fn reason(&self) -> String {
        self.to_string()
    }

    /// A short constant word for metrics labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Field(fault) => fault.code(),
            Self::BadVersion | Self::BadStatus | Self::ReasonByte(_) => "status_line",
            Self::HeadTooLarge(_) => "head_too_large",
            Self::TooManyInterim(_) => "too_many_interim",
            Self::UnexpectedUpgrade => "unexpected_upgrade",
            Self::BodyNotAllowed(_) => "body_not_allowed",
            Self::BytesAfterMessage => "bytes_after_message",
        }
    }
}

/// Why a body cannot be read on. Close both sides without a final chunk: the message must never look complete.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// RFC 9112 section 7.1.
    #[error("a chunk must begin with its size in hexadecimal digits, found the byte 0x{0:02x}")]
    ChunkSize(u8),
    /// RFC 9112 section 7.1.
    #[error("a chunk's size has too many digits: at most 16 are accepted")]
    ChunkSizeTooLong,
    /// RFC 9112 section 7.1.1.
    #[error("a chunk's extension holds the byte 0x{0:02x}: expected CR LF at the end of the line")]
    ChunkExtension(u8),
    /// More than [`crate::Limits::chunk_extension_bytes_max`].
    #[error("the body's chunk extensions are too long: at most {0} bytes are accepted")]
    ChunkExtensionsTooLong(usize),
    /// RFC 9112 section 7.1.
    #[error("a chunk's data must be followed by CR LF, found the byte 0x{0:02x}")]
    ChunkEnd(u8),
    /// RFC 9112 section 7.1.2.
    #[error("trailers: {0}")]
    Trailer(#[from] FieldError),
    /// More than [`crate::Limits::trailer_bytes_max`].
    #[error("the trailers are too large: at most {0} bytes are accepted")]
    TrailersTooLarge(usize),
    /// More content than the head announced.
    #[error("the body is longer than announced")]
    Excess,
    /// RFC 9112 section 8.
    #[error("the connection was closed before the body was complete")]
    Incomplete,
}

impl BodyError {
    /// The status, as long as no response has begun. 413 and 408 are the caller's to decide.
    pub fn status(&self) -> u16 {
        match self {
            Self::Trailer(fault) => fault.status(),
            Self::TrailersTooLarge(_) => 431,
            _ => 400,
        }
    }

    /// The fault in words.
    pub fn reason(&self) -> String {
        self.to_string()
    }

    /// A short constant word for metrics labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trailer(_) | Self::TrailersTooLarge(_) => "trailers",
            Self::Incomplete => "incomplete",
            Self::Excess => "excess",
            _ => "chunk",
        }
    }
}

/// Why a path cannot be normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathError {
    /// A path begins with a slash.
    #[error("the path must begin with /")]
    NotAbsolute,
    /// RFC 3986 section 2.1.
    #[error("the path holds a % that is not followed by two hexadecimal digits")]
    BadEscape,
    /// An encoded NUL ends strings early in many servers.
    #[error("the path holds %00")]
    Nul,
    /// Some servers take it for a slash.
    #[error("the path holds a raw backslash: it must be percent-encoded")]
    Backslash,
    /// A byte that no target may hold.
    #[error("the path holds the byte 0x{0:02x}, which must be percent-encoded")]
    Byte(u8),
}

/// Why something cannot be written into a head. What was begun is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The method is not a token.
    #[error("the method is not a valid token")]
    Method,
    /// The target holds a space, a control or a non-ASCII byte, or does not begin as a target.
    #[error("the request target holds a byte that may not stand there")]
    Target,
    /// The status is not three digits.
    #[error("the status must lie between 100 and 999")]
    Status,
    /// The reason phrase holds a control byte.
    #[error("the reason phrase holds a control byte")]
    Reason,
    /// The name is not a token.
    #[error("the field name is not a valid token")]
    Name,
    /// The value holds a control byte.
    #[error("the field value holds a control byte")]
    Value,
}
