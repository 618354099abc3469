//! Ordered entries seen through an overlay of changes.

use std::cmp::Ordering;
use std::collections::btree_map;
use std::iter::Peekable;

use super::{Entries, Overlay};
use crate::{Entry, Key, KeyRange};

/// The live entries of `range`, in order, with the overlay's changes applied.
pub(super) fn merged<'a>(entries: &'a Entries, overlay: &'a Overlay, range: &KeyRange) -> Merged<'a> {
    if range.is_empty() {
        return Merged { base: None, over: None };
    }
    let base = entries.range::<[u8], _>(range.bounds()).peekable();
    let over = overlay.range::<[u8], _>(range.bounds()).peekable();
    Merged { base: Some(base), over: Some(over) }
}

pub(super) struct Merged<'a> {
    base: Option<Peekable<btree_map::Range<'a, Key, Entry>>>,
    over: Option<Peekable<btree_map::Range<'a, Key, Option<Entry>>>>,
}

impl<'a> Iterator for Merged<'a> {
    type Item = (&'a Key, &'a Entry);

    fn next(&mut self) -> Option<Self::Item> {
        let (base, over) = (self.base.as_mut()?, self.over.as_mut()?);
        loop {
            let order = match (base.peek(), over.peek()) {
                (_, None) => return base.next(),
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some((changed, _))) => key.cmp(changed),
            };
            if order == Ordering::Less {
                return base.next();
            }
            if order == Ordering::Equal {
                base.next();
            }
            if let Some((key, Some(entry))) = over.next() {
                return Some((key, entry));
            }
        }
    }
}
