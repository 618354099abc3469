//! Weir control.
