//! Weir edge.
