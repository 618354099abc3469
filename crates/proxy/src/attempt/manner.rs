//! How calls by a rule are made, where a policy for the rule or its route says so; else the service's settings count alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use weir_model::Kind;
use weir_policy::hedge::{HedgeConfig, Hedger};
use weir_policy::retry::{Budget, BudgetConfig};

use crate::breaker::Chain;
use crate::route::Rule;
use crate::snapshot::{RoutePolicies, RoutePolicy, Settings, Upstream};

/// How calls by one rule to one service are made.
pub(crate) struct Manner {
    /// The service's settings with what the policies for the rule say instead.
    pub(crate) settings: Settings,
    /// What bounds retries of these calls, besides what bounds those of the service.
    pub(crate) budget: Option<Rc<RefCell<Budget>>>,
    /// What makes second copies of them, where a policy for the rule or its route has something to say of it: it may be
    /// nothing.
    pub(crate) hedger: Option<Option<Rc<RefCell<Hedger>>>>,
    /// Calls of gRPC may be made twice: who asks for second copies for a route of gRPC says so.
    pub(crate) repeats_calls: bool,
    /// The breakers of each endpoint for these calls, the service's own included; empty where no rule's policy has any.
    breakers: Box<[Chain]>,
}

impl Manner {
    /// As the policies have it. None where there is none for the rule.
    pub(crate) fn of(
        policies: &RoutePolicies,
        rule: &Rule,
        upstream: &Upstream,
        breakers: Box<[Chain]>,
        states: &RouteStates,
    ) -> Option<Rc<Self>> {
        policies.of(rule).next()?;
        let settings = policies.settings(rule, &upstream.settings);
        // The last one is the nearest to the call.
        let nearest = policies.of(rule).filter_map(|policy| Some((policy, budget(policy)?))).last();
        let budget = nearest.map(|(policy, config)| states.budget(&policy.target, config));
        let hedges =
            policies.of(rule).filter_map(|policy| Some((policy, policy.spec()?.hedge.as_ref()?))).last();
        let hedger = hedges.map(|(policy, spec)| {
            spec.is_on().then(|| states.hedger(&policy.target, HedgeConfig::from_spec(spec)))
        });
        let repeats_calls = matches!(hedger, Some(Some(_))) && rule.route.kind == Kind::GrpcRoute;
        Some(Rc::new(Self { settings, budget, hedger, repeats_calls, breakers }))
    }

    /// The breakers of an endpoint, where those of a rule are among them.
    #[inline]
    pub(crate) fn breakers(&self, index: usize) -> Option<&Chain> {
        self.breakers.get(index)
    }
}

fn budget(policy: &RoutePolicy) -> Option<BudgetConfig> {
    policy.spec()?.retry.as_ref()?.budget.as_ref().map(BudgetConfig::from_spec)
}

/// What one worker keeps for policies of routes. It outlives snapshots.
pub(crate) struct RouteStates {
    workers: usize,
    budgets: States<BudgetConfig, Budget>,
    hedgers: States<HedgeConfig, Hedger>,
}

impl RouteStates {
    /// For one of so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, budgets: States::default(), hedgers: States::default() }
    }

    fn budget(&self, target: &Arc<str>, config: BudgetConfig) -> Rc<RefCell<Budget>> {
        let own = config.divided_by(self.workers);
        self.budgets.get(target, config, || Budget::new(own), |budget| budget.reconfigure(own))
    }

    fn hedger(&self, target: &Arc<str>, config: HedgeConfig) -> Rc<RefCell<Hedger>> {
        self.hedgers.get(target, config, || Hedger::new(config), |hedger| hedger.reconfigure(config))
    }
}

/// States by what their policy is for, with the configuration that each was made from.
struct States<C, T>(RefCell<HashMap<Arc<str>, State<C, T>>>);

type State<C, T> = (C, Rc<RefCell<T>>);

/// States that nobody uses any more are let go of when there are so many.
const STATES_MAX: usize = 1024;

impl<C, T> Default for States<C, T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<C: PartialEq, T> States<C, T> {
    /// The state of a target, changed in place for another configuration.
    fn get(
        &self,
        target: &Arc<str>,
        config: C,
        make: impl FnOnce() -> T,
        change: impl FnOnce(&mut T),
    ) -> Rc<RefCell<T>> {
        let mut states = self.0.borrow_mut();
        if let Some((known, state)) = states.get_mut(target) {
            if *known != config {
                change(&mut state.borrow_mut());
                *known = config;
            }
            return state.clone();
        }
        if states.len() >= STATES_MAX {
            states.retain(|_, (_, state)| Rc::strong_count(state) > 1);
        }
        let made = Rc::new(RefCell::new(make()));
        states.insert(target.clone(), (config, made.clone()));
        made
    }
}

#[cfg(test)]
mod tests {
    use weir_policy::Nanos;

    use super::*;

    #[test]
    fn budgets_outlive_views_and_changes() {
        let states = RouteStates::new(2);
        let config = |reserve: u32| BudgetConfig { reserve, per_mille: 0, ..BudgetConfig::default() };
        let target: Arc<str> = "HTTPRoute/shop#buy".into();
        let first = states.budget(&target, config(2));
        assert!(first.borrow_mut().try_retry(Nanos::from_secs(1)), "one of two workers has one of two");
        assert!(!states.budget(&target, config(2)).borrow_mut().try_retry(Nanos::from_secs(1)));
        let larger = states.budget(&target, config(4));
        assert!(larger.borrow_mut().try_retry(Nanos::from_secs(1)), "the worker has one more now");
        assert!(!larger.borrow_mut().try_retry(Nanos::from_secs(1)), "what was used stays used");
        assert!(
            states.budget(&"HTTPRoute/shop".into(), config(2)).borrow_mut().try_retry(Nanos::from_secs(1))
        );
        drop(first);
        for i in 0..2 * STATES_MAX {
            states.budget(&i.to_string().into(), config(1));
        }
        assert!(states.budgets.0.borrow().len() <= STATES_MAX);
    }
}
