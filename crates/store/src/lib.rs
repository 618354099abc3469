//! Weir store.
