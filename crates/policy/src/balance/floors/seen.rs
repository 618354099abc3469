//! What a look at the endpoints or groups of one group finds.

use std::sync::atomic::Ordering;

use rand::{Rng, RngExt};

use super::Group;

/// The least of several loads or floors.
#[derive(Clone, Copy)]
pub(super) struct Seen<const N: usize> {
    pub(super) least: u64,
    /// The weights of those that have it, added up.
    pub(super) equals: u64,
    /// The same of those up to each.
    ends: [u64; N],
}

impl<const N: usize> Seen<N> {
    /// Without a branch: which ones are the least is hard to foresee, and a wrong guess costs more than all of this.
    #[inline]
    pub(super) fn of(loads: &[u64; N], weights: &[u64; N]) -> Self {
        let least = least(loads);
        let (mut equals, mut ends) = (0, [0; N]);
        for at in 0..N {
            equals += weights[at] & u64::from(loads[at] == least).wrapping_neg();
            ends[at] = equals;
        }
        Self { least, equals, ends }
    }

    /// One of those that have it, by weight. 64 random bits are as even as they can be: none is off by more than one part in
    /// 2^64 of all.
    #[inline]
    pub(super) fn draw(&self, loads: &[u64; N], rng: &mut impl Rng) -> usize {
        let drawn = ((u128::from(rng.random::<u64>()) * u128::from(self.equals)) >> 64) as u64;
        // As many end before it. (The difference is below 0 then, which is its highest bit: there are not 2^63 shares.)
        let at = self.ends.iter().fold(0, |at, end| at + (end.wrapping_sub(drawn + 1) >> 63)) as usize;
        if at < N { at } else { self.first(loads) }
    }

    /// The first of them: where a weight is still to be written by who has written the floor.
    #[cold]
    fn first(&self, loads: &[u64; N]) -> usize {
        loads.iter().position(|load| *load == self.least).unwrap_or_default()
    }
}

/// By halves: of several pairs at once, where one after the other would wait for the one before.
#[inline]
pub(super) fn least<const N: usize>(loads: &[u64; N]) -> u64 {
    const { assert!(N.is_power_of_two()) };
    let (mut leasts, mut len) = (*loads, N);
    while len > 1 {
        len /= 2;
        for at in 0..len {
            leasts[at] = leasts[at].min(leasts[at + len]);
        }
    }
    leasts[0]
}

#[inline]
pub(super) fn floors<const N: usize>(groups: &[Group; N]) -> [u64; N] {
    groups.each_ref().map(|group| group.floor.load(Ordering::SeqCst))
}

#[inline]
pub(super) fn equals<const N: usize>(groups: &[Group; N]) -> [u64; N] {
    groups.each_ref().map(Group::equals)
}
