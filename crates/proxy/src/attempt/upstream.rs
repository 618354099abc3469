//! What one worker keeps for one upstream: balancer, retry budget, pools.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rand::Rng;
use weir_model::resource::traffic_policy::BalancePolicy;
use weir_policy::Nanos;
use weir_policy::balance::{Balancer, Query, Tried};
use weir_policy::hedge::{HedgeConfig, Hedger};
use weir_policy::outlier::Verdict;
use weir_policy::retry::{Budget, BudgetConfig};

use super::pool::{Pool, PoolTime};
use crate::breaker::Chain;
use crate::eject::Probing;
use crate::observe::ServiceCounters;
use crate::snapshot::{Endpoint, EndpointState, Upstream};

/// An upstream of one snapshot, with what this worker keeps for it.
pub(crate) struct LocalUpstream {
    pub(crate) upstream: Arc<Upstream>,
    /// By the endpoint's index.
    pools: Vec<Rc<Pool>>,
    balancer: Rc<RefCell<Balancer>>,
    /// By the endpoint's index; empty where no endpoint has any.
    breakers: Box<[Chain]>,
    pub(crate) carried: Rc<Carried>,
    /// What makes second copies of requests, where the service's policy asks for it.
    pub(super) hedger: Option<Rc<RefCell<Hedger>>>,
    pub(crate) counters: Arc<ServiceCounters>,
}

/// What outlives a snapshot.
pub(crate) struct Carried {
    /// The latest balancer and what it was made from, to be kept while that stays the same.
    balancer: RefCell<Option<(Shape, Rc<RefCell<Balancer>>)>>,
    pub(crate) budget: RefCell<Budget>,
    /// What the budget was made from.
    budget_of: Cell<BudgetConfig>,
    hedger: RefCell<Option<Rc<RefCell<Hedger>>>>,
    workers: usize,
    touched_s: Cell<u32>,
}

/// What a balancer was made from: the policy, and each endpoint's key and share.
type Shape = (BalancePolicy, Vec<(u64, u32)>);

impl Carried {
    /// For one of so many workers.
    pub(crate) fn new(workers: usize) -> Rc<Self> {
        Rc::new(Self {
            balancer: RefCell::default(),
            budget: RefCell::new(Budget::new(BudgetConfig::default().divided_by(workers))),
            budget_of: Cell::new(BudgetConfig::default()),
            hedger: RefCell::default(),
            workers,
            touched_s: Cell::new(0),
        })
    }

    /// Keeps to another budget, which begins anew.
    fn keep_to(&self, budget: BudgetConfig) {
        if self.budget_of.replace(budget) != budget {
            *self.budget.borrow_mut() = Budget::new(budget.divided_by(self.workers));
        }
    }

    /// What makes second copies; what it knows of latencies stays while there is one.
    fn hedger(&self, config: Option<HedgeConfig>) -> Option<Rc<RefCell<Hedger>>> {
        let mut latest = self.hedger.borrow_mut();
        match (config, &*latest) {
            (None, _) => *latest = None,
            (Some(config), Some(hedger)) => hedger.borrow_mut().reconfigure(config),
            (Some(config), None) => *latest = Some(Rc::new(RefCell::new(Hedger::new(config)))),
        }
        latest.clone()
    }

    /// The balancer for an upstream: the one there is if it fits, else a new one that knows what it knew.
    fn balancer(&self, upstream: &Upstream, rng: &mut impl Rng) -> Rc<RefCell<Balancer>> {
        let keys = upstream.endpoints.iter().map(|endpoint| endpoint.state.key());
        let shape = (upstream.settings.balance, keys.zip(upstream.shares()).collect());
        let mut latest = self.balancer.borrow_mut();
        if let Some((made_from, balancer)) = &*latest
            && *made_from == shape
        {
            return balancer.clone();
        }
        let balancer = match &*latest {
            Some((_, known)) => {
                known.borrow().carry_over(upstream.balance(), &upstream.shares(), &upstream.keys(), rng)
            }
            None => upstream.balancer(rng),
        };
        let balancer = Rc::new(RefCell::new(balancer));
        *latest = Some((shape, balancer.clone()));
        balancer
    }
}

impl LocalUpstream {
    /// `pools` has one for each of the upstream's endpoints.
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        pools: Vec<Rc<Pool>>,
        breakers: Box<[Chain]>,
        carried: Rc<Carried>,
        counters: Arc<ServiceCounters>,
        rng: &mut impl Rng,
    ) -> Rc<Self> {
        debug_assert_eq!(pools.len(), upstream.endpoints.len());
        let balancer = carried.balancer(&upstream, rng);
        carried.keep_to(upstream.settings.budget);
        let hedger = carried.hedger(upstream.settings.hedge);
        Rc::new(Self { upstream, pools, balancer, breakers, carried, hedger, counters })
    }

    /// The endpoint for the next attempt; none when there is none that may be chosen.
    #[inline]
    pub(crate) fn pick(&self, now: Nanos, tried: &Tried, rng: &mut impl Rng) -> Option<usize> {
        let mut balancer = self.balancer.borrow_mut();
        let index = balancer.pick(Query::at(now), &*self.upstream, tried, rng, &mut ())?.index;
        if self.upstream.is_ejected(index) {
            return Some(self.upstream.instead_of_ejected(index, tried));
        }
        Some(index)
    }

    /// The breakers of an endpoint, if any endpoint has some.
    #[inline]
    pub(crate) fn breakers(&self, index: usize) -> Option<&Chain> {
        self.breakers.get(index)
    }

    /// An ejected endpoint whose time is over, to be shown well or not by this request; none mostly, and none for a request
    /// that has tried another one already.
    #[inline]
    pub(crate) fn probe(&self, tried: &Tried, now: Nanos) -> Option<Probing<'_>> {
        if !tried.is_empty() {
            return None;
        }
        self.upstream.state.ejection().probe(&self.upstream, now)
    }

    /// Takes note of what became of an attempt at an endpoint, which may have been a probe.
    #[inline]
    pub(crate) fn heard(
        &self,
        index: usize,
        verdict: Verdict,
        probing: &mut Option<Probing<'_>>,
        now: Nanos,
    ) {
        self.upstream.state.ejection().record(&self.upstream, index, verdict, now);
        if let Some(probing) = probing.take() {
            probing.settle(verdict, now);
        }
    }

    /// Whether an endpoint is left that was not tried, and is not ejected.
    pub(crate) fn has_untried(&self, tried: &Tried) -> bool {
        self.upstream
            .candidates()
            .iter()
            .map(|&index| index as usize)
            .any(|index| !tried.has(index) && !self.upstream.is_ejected(index))
    }

    #[inline]
    pub(crate) fn endpoint(&self, index: usize) -> &Endpoint {
        &self.upstream.endpoints[index]
    }

    #[inline]
    pub(crate) fn pool(&self, index: usize) -> &Pool {
        &self.pools[index]
    }

    /// Says that the upstream is in use, at most once a second.
    #[inline]
    pub(crate) fn touch(&self, now_s: u32) {
        if self.carried.touched_s.replace(now_s) != now_s {
            self.upstream.state.touch(now_s);
        }
    }

    /// Closes idle connections that are old or dead.
    pub(crate) fn sweep(&self, now: PoolTime) {
        for (pool, endpoint) in self.pools.iter().zip(&self.upstream.endpoints) {
            pool.sweep(now, self.upstream.settings.idle_max, &endpoint.state);
        }
    }

    /// Lets go of what was learnt of endpoints too long ago.
    pub(crate) fn tend(&self, now_s: u32) {
        self.upstream.endpoints.iter().for_each(|endpoint| endpoint.state.idle_tend(now_s));
    }
}

/// Counts a request in flight at an endpoint for as long as it lives.
pub(crate) struct InFlight<'a>(&'a Endpoint);

/// The same for a tunnel, which may outlive the snapshot.
#[derive(Debug)]
pub(crate) struct Held(Arc<EndpointState>);

impl<'a> InFlight<'a> {
    #[inline]
    pub(crate) fn begin(endpoint: &'a Endpoint) -> Self {
        endpoint.state.begin();
        Self(endpoint)
    }

    /// Goes on counting without the endpoint at hand.
    pub(crate) fn hold(self) -> Held {
        let held = Held(self.0.state.clone());
        // It is counted out by the other one.
        std::mem::forget(self);
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for InFlight<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.state.end();
    }
}
