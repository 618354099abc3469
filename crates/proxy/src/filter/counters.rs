//! What filters count.

use crate::observe::Counter;

/// What one worker counts of filters.
#[derive(Debug, Default)]
pub(crate) struct FilterCounters {
    /// Requests that were made to wait.
    pub(crate) delayed: Counter,
    /// Copies of requests that were sent.
    pub(crate) mirrored: Counter,
    /// Copies that were not made: the request was too large, or arrived in pieces that were not kept.
    pub(crate) mirrors_too_large: Counter,
    /// Copies that were not made: too many were under way.
    pub(crate) mirrors_overloaded: Counter,
    /// Copies that did not arrive, or were not answered.
    pub(crate) mirrors_failed: Counter,
}
