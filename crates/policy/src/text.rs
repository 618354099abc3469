//! Numbers in sentences.

use std::fmt;

/// A number of things, whose word gets an `s` unless it is one of them.
pub(crate) struct Counted<N>(pub(crate) N, pub(crate) &'static str);

impl<N: fmt::Display + PartialEq + From<u8>> fmt::Display for Counted<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, word) = self;
        let ending = if *number == N::from(1) { "" } else { "s" };
        write!(f, "{number} {word}{ending}")
    }
}
