//! Which endpoints of an upstream take part in balancing now, and with what share: `weir_policy::balance::select` at work.
//!
//! ```text
//! compiled with the snapshot --+
//!                              +--> Selected { shares, roles, table } --> each worker's balancer, at its next pick
//! worker 0, when it is due ----+
//! ```
//!
//! It is due when slow start has come a step further, and when an endpoint was ejected or came back. What was selected is
//! replaced as a whole, so it is the same for all workers, and so is the table of a balancer that hashes: it is made here
//! and never on the way of a request. So are the floors by which `least_connections` finds the least busy; the endpoints
//! tell them of requests that end from [`super::Upstream::seat`] on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use weir_policy::Nanos;
use weir_policy::balance::select::{Caller, Facts, Place, Role, select};
use weir_policy::balance::{Floors, Policy, Table, hash, select as selecting};

use super::{Balancing, Endpoint};

/// Who calls: this proxy, as far as the choice of endpoints goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Tells proxies apart; the same for as long as a proxy is there, its next process included. It decides which
    /// endpoints a subset has.
    pub id: u64,
    /// The region that it is in, if it was told.
    pub region: Option<String>,
    /// The zone that it is in, if it was told.
    pub zone: Option<String>,
}

impl Origin {
    /// A proxy that gets its configuration from a control plane, by its id.
    pub fn of_proxy(id: &str, region: Option<String>, zone: Option<String>) -> Self {
        Self { id: hash::bytes(id.as_bytes()), region, zone }
    }

    /// Where it is.
    pub fn place(&self) -> Place<'_> {
        Place { region: self.region.as_deref(), zone: self.zone.as_deref() }
    }
}

/// The endpoints that take part. Immutable.
#[derive(Debug)]
pub struct Selected {
    /// By the endpoint's index; 0 for those that take no part.
    pub shares: Box<[u32]>,
    /// What became of each endpoint.
    pub roles: Box<[Role]>,
    /// Indices of those that may be chosen, and of those that could be were they not ejected.
    pub candidates: Box<[u32]>,
    /// Whether health is ignored, because too few endpoints are well.
    pub panicking: bool,
    /// Endpoints that are well, of those that are possible.
    pub healthy: usize,
    /// Endpoints that have a weight, a port, and are not on their way out.
    pub possible: usize,
    /// Where hashes lead, for balancers that hash.
    pub table: Option<Table>,
    /// What all workers go by to find the least busy, for `least_connections`.
    pub floors: Option<Arc<Floors>>,
    /// When shares change by themselves.
    next_change: Option<Nanos>,
}

/// Numbers upstreams in the order in which they are made.
static NEXT_UPSTREAM: AtomicU64 = AtomicU64::new(1);
/// Bits of a version that number what one upstream has selected; those above are the upstream's own number. So whatever an upstream
/// selects anew, one of a later snapshot is later.
const SELECTION_BITS: u32 = 32;

/// Never.
const NEVER: u64 = u64::MAX;

/// What is selected now.
#[derive(Debug)]
pub(super) struct Selection {
    now: ArcSwap<Selected>,
    version: AtomicU64,
    panicking: AtomicBool,
    /// When it is to be looked at again, in nanoseconds of the process' clock.
    due_at: AtomicU64,
    /// The ejections that it knows of, by [`crate::eject::Ejection::version`].
    ejections: AtomicU64,
    under_way: AtomicBool,
}

impl Selection {
    pub(super) fn new(selected: Selected, ejections: u64) -> Self {
        Self {
            version: AtomicU64::new(first_version()),
            panicking: AtomicBool::new(selected.panicking),
            due_at: AtomicU64::new(due_at(&selected)),
            ejections: AtomicU64::new(ejections),
            under_way: AtomicBool::new(false),
            now: ArcSwap::from_pointee(selected),
        }
    }

    pub(super) fn now(&self) -> Arc<Selected> {
        self.now.load_full()
    }

    /// Which one it is. Read before [`Selection::now`], that is at least as late.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn is_panicking(&self) -> bool {
        self.panicking.load(Ordering::Relaxed)
    }

    /// Whether it is time to select anew. The first to ask is to do it, and says so with [`Selection::replace`].
    pub(super) fn begin_if_due(&self, ejections: u64, now: Nanos) -> bool {
        let due = now.0 >= self.due_at.load(Ordering::Relaxed)
            || ejections != self.ejections.load(Ordering::Relaxed);
        due && !self.under_way.swap(true, Ordering::AcqRel)
    }

    pub(super) fn replace(&self, selected: Selected, ejections: u64) {
        self.panicking.store(selected.panicking, Ordering::Relaxed);
        self.due_at.store(due_at(&selected), Ordering::Relaxed);
        self.ejections.store(ejections, Ordering::Relaxed);
        self.now.store(Arc::new(selected));
        self.version.fetch_add(1, Ordering::Release);
        self.under_way.store(false, Ordering::Release);
    }
}

fn first_version() -> u64 {
    NEXT_UPSTREAM.fetch_add(1, Ordering::Relaxed) << SELECTION_BITS
}

fn due_at(selected: &Selected) -> u64 {
    selected.next_change.map_or(NEVER, |at| at.0)
}

/// Works out who takes part. The table there was is kept if it fits.
pub(super) fn selected(
    endpoints: &[Endpoint],
    keys: &[u64],
    balancing: &Balancing,
    origin: &Origin,
    table: Option<&Table>,
    now: Nanos,
) -> Selected {
    let caller = Caller { id: origin.id, place: origin.place(), callers: &[] };
    let settings = &balancing.select;
    let mut facts: Vec<Facts<'_>> =
        endpoints.iter().zip(keys).map(|(endpoint, key)| endpoint.facts(*key)).collect();
    let mut selection = select(&facts, settings, &caller, now);
    let policy = balancing.config.policy;
    // Ejection is this proxy's own guess: better to send there than to refuse for certain. And who hashes passes ejected
    // endpoints over: their keys move as they would, and no table is made anew for a while.
    let nobody = selection.shares.iter().all(|share| *share == 0);
    if (nobody || policy.is_hashing()) && !selection.panicking && facts.iter().any(|facts| facts.ejected) {
        let ejected = facts.clone();
        facts.iter_mut().for_each(|facts| facts.ejected = false);
        let with_all = select(&facts, settings, &caller, now);
        let (healthy, possible) = (selection.healthy, selection.possible);
        selection = selecting::Selection { healthy, possible, panicking: false, ..with_all };
        if !nobody {
            mark_ejected(&mut selection.roles, &ejected);
        }
    }
    let candidates = (0u32..).zip(&selection.roles).filter(|(_, role)| is_candidate(**role));
    Selected {
        candidates: candidates.map(|(index, _)| index).collect(),
        table: Table::again(table, policy, &selection.shares, keys),
        floors: (policy == Policy::LeastConnections).then(|| Arc::new(Floors::new(&selection.shares))),
        shares: selection.shares.into(),
        roles: selection.roles.into(),
        panicking: selection.panicking,
        healthy: selection.healthy,
        possible: selection.possible,
        next_change: selection.next_change,
    }
}

fn mark_ejected(roles: &mut [Role], facts: &[Facts<'_>]) {
    for (role, facts) in roles.iter_mut().zip(facts) {
        if facts.ejected && is_candidate(*role) {
            *role = Role::Ejected;
        }
    }
}

const fn is_candidate(role: Role) -> bool {
    matches!(role, Role::Full | Role::Growing(_) | Role::Ejected)
}
