//! Subsetting by rendezvous (gRPC proposal A68): a caller keeps to the k endpoints whose hash with its own id is highest.
//!
//! Every endpoint has about the same number of callers, and one that comes or goes changes the subsets only of those that
//! take it or had it.

use super::{Facts, Role};
use crate::balance::hash;

/// Takes all but `size` out of those that take part.
pub(super) fn keep(roles: &mut [Role], endpoints: &[Facts<'_>], size: usize, caller: u64) {
    let mut scores: Vec<(u64, u64, usize)> = roles
        .iter()
        .zip(endpoints)
        .enumerate()
        .filter(|(_, (role, _))| **role == Role::Full)
        .map(|(index, (_, facts))| (hash::number(facts.key, caller), facts.key, index))
        .collect();
    if scores.len() <= size {
        return;
    }
    // Descending, so that the highest come first.
    scores.select_nth_unstable_by(size, |a, b| b.cmp(a));
    for (_, _, index) in &scores[size..] {
        roles[*index] = Role::OutsideSubset;
    }
}
