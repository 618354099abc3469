//! Weir proxy.
