//! Weir api.
