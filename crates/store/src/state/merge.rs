//! Ordered entries seen through an overlay of changes.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{btree_map, btree_set};
use std::iter::Peekable;

use super::{Entries, Overlay};
use crate::{Key, KeyRange, Record};

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
    base: Option<Peekable<btree_set::Range<'a, Record>>>,
    over: Option<Peekable<btree_map::Range<'a, Key, Option<Record>>>>,
}

impl<'a> Iterator for Merged<'a> {
    type Item = &'a Record;

    fn next(&mut self) -> Option<Self::Item> {
        let (base, over) = (self.base.as_mut()?, self.over.as_mut()?);
        loop {
            let order = match (base.peek(), over.peek()) {
                (_, None) => return base.next(),
                (None, Some(_)) => Ordering::Greater,
                (Some(record), Some((changed, _))) => Borrow::<[u8]>::borrow(*record).cmp(changed.as_bytes()),
            };
            if order == Ordering::Less {
                return base.next();
            }
            if order == Ordering::Equal {
                base.next();
            }
            if let Some((_, Some(record))) = over.next() {
                return Some(record);
            }
        }
    }
}
