//! Weir policy.
