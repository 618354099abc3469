//! Why a stream ended, as the engine is told it: by the kind of an [`io::Error`].

use std::io;

use weir_http2::StreamFault;

/// The kind for a request that the peer says it has not looked at: it may go out again, whatever it asks for.
pub(crate) const UNSENT: io::ErrorKind = io::ErrorKind::ConnectionRefused;
/// The kind for what HTTP/2 has no form for: whoever has written it is at fault, not the peer.
pub(crate) const UNFIT: io::ErrorKind = io::ErrorKind::InvalidInput;
/// The kind for a peer that breaks HTTP/2's rules.
pub(crate) const MALFORMED: io::ErrorKind = io::ErrorKind::InvalidData;

/// The error that says what happened.
#[cold]
pub(super) fn of(fault: StreamFault) -> io::Error {
    let kind = match fault {
        StreamFault::Unprocessed => UNSENT,
        StreamFault::Broken(_) => MALFORMED,
        // Whatever happened to the connection, for its streams it was broken off.
        StreamFault::Reset(_) | StreamFault::Gone => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, fault)
}

/// What was written has no form in HTTP/2.
#[cold]
pub(super) fn unfit(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(UNFIT, why)
}
