//! Why a stream ended, as the engine is told it: by the kind of an [`io::Error`].

use std::io;

use h2::Reason;

/// The kind for a request that the peer says it has not looked at: it may go out again, whatever it asks for.
pub(crate) const UNSENT: io::ErrorKind = io::ErrorKind::ConnectionRefused;
/// The kind for what HTTP/2 has no form for: whoever has written it is at fault, not the peer.
pub(crate) const UNFIT: io::ErrorKind = io::ErrorKind::InvalidInput;
/// The kind for a peer that breaks HTTP/2's rules.
pub(crate) const MALFORMED: io::ErrorKind = io::ErrorKind::InvalidData;

/// The error that says what happened.
pub(super) fn of(why: h2::Error) -> io::Error {
    if why.is_io() {
        // Whatever happened to the connection, for its streams it was broken off.
        return io::Error::new(io::ErrorKind::ConnectionReset, why);
    }
    // GOAWAY fails only those streams that the peer says it has not processed (RFC 9113 section 6.8).
    let refused = why.is_remote() && (why.is_go_away() || why.reason() == Some(Reason::REFUSED_STREAM));
    let kind = if refused {
        UNSENT
    } else if why.is_library() {
        MALFORMED
    } else {
        io::ErrorKind::ConnectionReset
    };
    io::Error::new(kind, why)
}
