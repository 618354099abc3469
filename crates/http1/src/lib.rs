//! Weir http1.
