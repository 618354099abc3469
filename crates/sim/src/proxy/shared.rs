//! What one process has of the limits that it shares with others (`scope: global`): what came, what it asks for, and the
//! leases that it goes by.

use weir_policy::Nanos;
use weir_policy::limit::{Limiter, Tenure};
use weir_policy::quota::{Lease, Wish};

/// The shared ones among some limits.
#[derive(Debug, Default)]
pub(super) struct Shared(Vec<One>);

#[derive(Debug)]
struct One {
    /// Which of the limits it is.
    rule: usize,
    /// Requests that came to it.
    came: u64,
    tenure: Tenure,
}

impl Shared {
    pub(super) fn new(limiters: &[Limiter], now: Nanos) -> Self {
        let is_shared = |(_, limiter): &(usize, &Limiter)| limiter.config().global.is_some();
        let one = |(rule, limiter): (usize, &Limiter)| {
            let mut tenure = Tenure::default();
            tenure.begin(limiter, now);
            One { rule, came: 0, tenure }
        };
        Self(limiters.iter().enumerate().filter(is_shared).map(one).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A request was let through by all limits, or refused by one.
    pub(super) fn came(&mut self, refused_by: Option<usize>) {
        for one in self.0.iter_mut().filter(|one| refused_by.is_none_or(|rule| rule == one.rule)) {
            one.came += 1;
        }
    }

    /// Asks for a share of each. `book` gives a lease, and says how many share the limit. Tells whether something was given
    /// up that others may have.
    pub(super) fn ask(
        &mut self,
        limiters: &[Limiter],
        book: &mut impl FnMut(usize, Wish) -> (Option<Lease>, u32),
        now: Nanos,
    ) -> bool {
        let mut gives_up = false;
        for One { rule, came, tenure } in &mut self.0 {
            let limiter = &limiters[*rule];
            let wish = tenure.wish(*came, limiter.config(), now);
            let (lease, holders) = book(*rule, wish);
            gives_up |= tenure.take(lease, holders, now, limiter, now);
        }
        gives_up
    }
}
