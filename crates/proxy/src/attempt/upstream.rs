//! What one worker keeps for one upstream: balancer, retry budget, pools.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use weir_policy::Nanos;
use weir_policy::balance::{Balancer, Policy, Query, Standing, Tried};
use weir_policy::hedge::{HedgeConfig, Hedger};
use weir_policy::outlier::Verdict;
use weir_policy::retry::{Budget, BudgetConfig};

use super::pool::{Pool, PoolTime};
use crate::breaker::Chain;
use crate::eject::Probing;
use crate::observe::ServiceCounters;
use crate::snapshot::{Endpoint, EndpointState, Selected, Upstream, UpstreamState};

/// An upstream of one snapshot, with what this worker keeps for it.
pub(crate) struct LocalUpstream {
    pub(crate) upstream: Arc<Upstream>,
    /// By the endpoint's index.
    pools: Vec<Rc<Pool>>,
    balanced: Rc<Balanced>,
    /// By the endpoint's index; empty where no endpoint has any.
    breakers: Box<[Chain]>,
    pub(crate) carried: Rc<Carried>,
    /// What makes second copies of requests, where the service's policy asks for it.
    pub(super) hedger: Option<Rc<RefCell<Hedger>>>,
    pub(crate) counters: Arc<ServiceCounters>,
}

/// What outlives a snapshot.
pub(crate) struct Carried {
    /// The latest balancer, to be kept while the endpoints stay the same.
    balanced: RefCell<Option<Rc<Balanced>>>,
    pub(crate) budget: RefCell<Budget>,
    /// What the budget was made from.
    budget_of: Cell<BudgetConfig>,
    hedger: RefCell<Option<Rc<RefCell<Hedger>>>>,
    workers: usize,
    touched_s: Cell<u32>,
}

/// A balancer, and which selection of endpoints it follows.
struct Balanced {
    balancer: RefCell<Balancer>,
    version: Cell<u64>,
}

impl Balanced {
    /// One that knows what another one knew, if there was one.
    fn new(upstream: &Upstream, known: Option<&Self>, rng: &mut impl Rng) -> Self {
        let version = Cell::new(upstream.selected_version());
        let Selected { shares, table, floors, .. } = &*upstream.selected();
        let (config, keys) = (upstream.settings.balance.config, upstream.keys());
        let mut balancer = match known {
            Some(known) => known.balancer.borrow().carry_over(config, shares, keys, table.as_ref(), rng),
            None => Balancer::with_table(config, shares, keys, table.as_ref(), rng),
        };
        floors.iter().for_each(|floors| balancer.share(floors));
        Self { balancer: RefCell::new(balancer), version }
    }

    fn is_for(&self, upstream: &Upstream) -> bool {
        self.balancer.borrow().is_for(&upstream.settings.balance.config, upstream.keys())
    }

    /// Follows what is selected now.
    #[cold]
    fn follow(&self, upstream: &Upstream, rng: &mut impl Rng) {
        self.version.set(upstream.selected_version());
        let Selected { shares, table, floors, .. } = &*upstream.selected();
        let config = &upstream.settings.balance.config;
        let mut balancer = self.balancer.borrow_mut();
        balancer.update(config, shares, upstream.keys(), table.as_ref(), rng);
        floors.iter().for_each(|floors| balancer.share(floors));
    }
}

impl Carried {
    /// For one of so many workers.
    pub(crate) fn new(workers: usize) -> Rc<Self> {
        Rc::new(Self {
            balanced: RefCell::default(),
            budget: RefCell::new(Budget::new(BudgetConfig::default().divided_by(workers))),
            budget_of: Cell::new(BudgetConfig::default()),
            hedger: RefCell::default(),
            workers,
            touched_s: Cell::new(0),
        })
    }

    /// Keeps to another budget, which goes on with what was counted.
    fn keep_to(&self, budget: BudgetConfig) {
        if self.budget_of.replace(budget) != budget {
            self.budget.borrow_mut().reconfigure(budget.divided_by(self.workers));
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
    fn balanced(&self, upstream: &Upstream, rng: &mut impl Rng) -> Rc<Balanced> {
        let mut latest = self.balanced.borrow_mut();
        if let Some(balanced) = &*latest
            && balanced.is_for(upstream)
            // What it goes by are floors that all workers share, and that are of one snapshot's endpoints. There is nothing else that
            // it would remember.
            && upstream.settings.balance.config.policy != Policy::LeastConnections
        {
            return balanced.clone();
        }
        let balanced = Rc::new(Balanced::new(upstream, latest.as_deref(), rng));
        *latest = Some(balanced.clone());
        balanced
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
        let balanced = carried.balanced(&upstream, rng);
        carried.keep_to(upstream.settings.budget);
        let hedger = carried.hedger(upstream.settings.hedge);
        Rc::new(Self { upstream, pools, balanced, breakers, carried, hedger, counters })
    }

    /// The endpoint for the next attempt; none when there is none that may be chosen. `hash` is the request's, where it has
    /// one.
    #[inline]
    pub(crate) fn pick(
        &self,
        now: Nanos,
        hash: Option<u64>,
        tried: &Tried,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        let Balanced { balancer, version } = &*self.balanced;
        // Of two snapshots that share it, the later one counts.
        if version.get() < self.upstream.selected_version() {
            self.balanced.follow(&self.upstream, rng);
        }
        let query = Query { now, hash };
        let pick = balancer.borrow_mut().pick(query, &*self.upstream, tried, rng, &mut ())?;
        let index = match pick.standing {
            Standing::Fresh => pick.index,
            _ => self.upstream.or_standby(pick, tried, rng).index,
        };
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

    /// Takes note of what became of an attempt at an endpoint, which may have been a probe, and of what it took.
    #[inline]
    pub(crate) fn heard(
        &self,
        index: usize,
        verdict: Verdict,
        took: Took,
        probing: &mut Option<Probing<'_>>,
        now: Nanos,
    ) {
        if self.upstream.settings.balance.config.policy == Policy::PeakEwma {
            self.learn(index, took.time, verdict == Verdict::Success, now);
        }
        if let Some(load) = self.endpoint(index).state.known_load()
            && verdict == Verdict::Success
        {
            load.completed(took.others, took.time, now);
        }
        self.upstream.state.ejection().record(&self.upstream, index, verdict, now);
        if let Some(probing) = probing.take() {
            probing.settle(verdict, now);
        }
    }

    /// Lends the balancer.
    pub(super) fn with_balancer<R>(&self, with: impl FnOnce(&mut Balancer) -> R) -> R {
        with(&mut self.balanced.balancer.borrow_mut())
    }

    /// Learns how long an attempt took, and whether it went well.
    #[inline(never)]
    fn learn(&self, index: usize, took: Duration, well: bool, now: Nanos) {
        let mut balancer = self.balanced.balancer.borrow_mut();
        balancer.done(index, took, well, now);
        if let Some(latency) = balancer.latency(index) {
            self.endpoint(index).state.say_latency(latency);
        }
    }

    /// Whether an endpoint is left that was not tried, and is not ejected.
    pub(crate) fn has_untried(&self, tried: &Tried) -> bool {
        let selected = self.upstream.selected();
        let mut indices = selected.candidates.iter().map(|&index| index as usize);
        indices.any(|index| !tried.has(index) && !self.upstream.is_ejected(index))
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

/// What an attempt took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Until the response's head was there, or until it failed.
    pub(crate) time: Duration,
    /// Other requests in flight at the endpoint when it began.
    pub(crate) others: u32,
}

/// Counts a request in flight at an endpoint for as long as it lives.
pub(crate) struct InFlight<'a> {
    endpoint: &'a Endpoint,
    /// How many others there were when it began.
    pub(crate) others: u32,
    /// Where those to all endpoints are counted, for balancers that ask for it.
    all: Option<&'a Arc<UpstreamState>>,
}

/// The same for a tunnel, which may outlive the snapshot.
#[derive(Debug)]
pub(crate) struct Held {
    endpoint: Arc<EndpointState>,
    all: Option<Arc<UpstreamState>>,
}

impl<'a> InFlight<'a> {
    #[inline]
    pub(crate) fn begin(local: &'a LocalUpstream, index: usize) -> Self {
        let LocalUpstream { upstream, .. } = local;
        let endpoint = &upstream.endpoints[index];
        let others = endpoint.state.begin();
        // Not for everybody: a number that all workers write to is dear.
        let all = upstream.settings.balance.config.policy.is_hashing().then_some(&upstream.state);
        if let Some(all) = all {
            all.begin();
        }
        Self { endpoint, others, all }
    }

    /// Goes on counting without the endpoint at hand.
    pub(crate) fn hold(self) -> Held {
        let held = Held { endpoint: self.endpoint.state.clone(), all: self.all.cloned() };
        // It is counted out by the other one.
        std::mem::forget(self);
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.endpoint.end();
        if let Some(all) = &self.all {
            all.end();
        }
    }
}

impl Drop for InFlight<'_> {
    #[inline]
    fn drop(&mut self) {
        self.endpoint.state.end();
        if let Some(all) = &self.all {
            all.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use weir_model::ServiceRef;
    use weir_model::registry::Health;
    use weir_policy::balance::Config;

    use super::*;
    use crate::snapshot::{Checked, Declared, Seen, Settings, UpstreamTls};

    fn endpoint(index: usize, weight: u32, state: &Arc<EndpointState>) -> Endpoint {
        Endpoint {
            id: format!("{index:02}").into(),
            host: None,
            addr: SocketAddr::from(([127, 0, 0, 1], 9000)),
            weight,
            health: Health::Passing,
            draining: false,
            inbound: false,
            is_static: false,
            checked: Checked::default(),
            region: None,
            zone: None,
            joined: None,
            state: state.clone(),
        }
    }

    fn upstream(policy: Policy, endpoints: Vec<Endpoint>, state: &Arc<UpstreamState>) -> Arc<Upstream> {
        let mut settings = Settings::default();
        settings.balance.config = Config { policy, ..settings.balance.config };
        let seen = Seen { origin: Arc::default(), now: Nanos(0), table: None };
        let declared = Declared { known: true, protocol: None };
        let service = ServiceRef::new("default", "cart");
        Arc::new(Upstream::new(service, declared, settings, endpoints, vec![], state.clone(), seen))
    }

    fn local(upstream: &Arc<Upstream>, carried: &Rc<Carried>, rng: &mut SmallRng) -> Rc<LocalUpstream> {
        let pool = || Rc::new(Pool::new(0, Arc::default(), UpstreamTls::Plain));
        let pools = upstream.endpoints.iter().map(|_| pool()).collect();
        LocalUpstream::new(upstream.clone(), pools, Box::default(), carried.clone(), Arc::default(), rng)
    }

    fn pick(local: &LocalUpstream, rng: &mut SmallRng) -> usize {
        local.pick(Nanos(0), None, &Tried::default(), rng).unwrap()
    }

    #[test]
    fn who_picks_by_an_earlier_snapshot_says_nothing_of_the_later_ones_endpoints() {
        let mut rng = SmallRng::seed_from_u64(1);
        let (state, carried) = (Arc::default(), Carried::new(1));
        let states: Vec<Arc<EndpointState>> = (0..16).map(|_| Arc::default()).collect();
        let of = |states: &[Arc<EndpointState>]| -> Vec<Endpoint> {
            states.iter().enumerate().map(|(index, state)| endpoint(index, 1, state)).collect()
        };
        let before = upstream(Policy::LeastConnections, of(&states), &state);
        // Those of the first group are the same by name, but elsewhere.
        let moved: Vec<_> = (0..8).map(|_| Arc::default()).chain(states[8..].iter().cloned()).collect();
        let now = upstream(Policy::LeastConnections, of(&moved), &state);
        states[..8].iter().for_each(|state| state.mark_failed());
        for state in &states[8..] {
            state.begin();
        }
        let old = local(&before, &carried, &mut rng);
        now.seat();
        let new = local(&now, &carried, &mut rng);
        assert!(pick(&new, &mut rng) < 8);
        for _ in 0..10 {
            assert!(pick(&old, &mut rng) >= 8);
        }
        assert!(pick(&new, &mut rng) < 8, "nobody there is busy");
    }

    #[test]
    fn what_an_earlier_snapshot_selects_anew_does_not_count_in_the_later_one() {
        let mut rng = SmallRng::seed_from_u64(1);
        let (state, carried) = (Arc::default(), Carried::new(1));
        let states: [Arc<EndpointState>; 2] = Default::default();
        let of = |weights: [u32; 2]| {
            let endpoint = |index: usize| endpoint(index, weights[index], &states[index]);
            vec![endpoint(0), endpoint(1)]
        };
        let before = upstream(Policy::RoundRobin, of([1, 1]), &state);
        let now = upstream(Policy::RoundRobin, of([1, 0]), &state);
        let old = local(&before, &carried, &mut rng);
        before.reselect(Nanos(1));
        pick(&old, &mut rng);
        let new = local(&now, &carried, &mut rng);
        before.reselect(Nanos(2));
        pick(&old, &mut rng);
        for _ in 0..10 {
            assert_eq!(pick(&new, &mut rng), 0);
        }
    }
}
