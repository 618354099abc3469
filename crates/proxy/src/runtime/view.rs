//! A worker's view of one snapshot: the snapshot itself and what this worker keeps for each of its upstreams.
//!
//! A request holds on to the view it began with, so a swap in the middle of it changes nothing for it; the next request
//! sees the new one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use weir_model::ServiceRef;

use crate::attempt::{LocalUpstream, Manner, RouteStates};
use crate::breaker::{self, Instead, Need};
use crate::limit::{Chain, There};
use crate::observe::RequestRow;
use crate::route::Rule;
use crate::snapshot::{ListenerConfig, Snapshot, Upstream};

/// The view.
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Rises with every new view of a worker, from 1.
    pub(crate) number: u64,
    /// By the key of the upstream's state; filled as they are used.
    pub(crate) upstreams: RefCell<KeyMap<Rc<LocalUpstream>>>,
    /// Where requests are counted, by where the rule is and the key of the upstream's state; filled as they come.
    pub(crate) rows: RefCell<KeyMap<Rc<RequestRow>, (u64, u64)>>,
    /// The limits of requests, by where listener and rule are, the listener's section, and the key of the upstream's state;
    /// filled as they come.
    chains: RefCell<KeyMap<Chain, (u64, u64, u64, u64)>>,
    /// The breakers of calls, by where the rule is and the key of the upstream's state; filled as they come.
    breakers: RefCell<KeyMap<Broken, (u64, u64)>>,
    /// How calls are made that a policy for their route has something to say about, by the same; filled as they come.
    manners: RefCell<Manners>,
}

/// The breakers of calls.
#[derive(Clone)]
pub(crate) struct Broken {
    pub(crate) chain: breaker::Chain,
    /// The services that they may send calls to, where any of these has limits.
    pub(crate) elsewhere: Option<Rc<[There]>>,
}

type Manners = KeyMap<Option<Rc<Manner>>, (u64, u64)>;

impl View {
    pub(crate) fn new(snapshot: Arc<Snapshot>, number: u64) -> Rc<Self> {
        let (upstreams, rows, chains, breakers, manners) = Default::default();
        Rc::new(Self { snapshot, number, upstreams, rows, chains, breakers, manners })
    }

    /// The breakers of a call.
    pub(crate) fn breakers(&self, rule: &Rule, upstream: &Upstream, workers: usize) -> Broken {
        // The view keeps the snapshot, and the snapshot its rules, where they are.
        let place = (rule.label.as_ptr() as u64, upstream.state.key());
        if let Some(found) = self.breakers.borrow().get(&place) {
            return found.clone();
        }
        let chain = self.snapshot.breakers.chain(rule, &upstream.service, Need::Call { workers });
        let made = Broken { elsewhere: self.elsewhere(&chain), chain };
        self.breakers.borrow_mut().insert(place, made.clone());
        made
    }

    /// The limits of the services that some breakers may send calls to.
    fn elsewhere(&self, chain: &breaker::Chain) -> Option<Rc<[There]>> {
        let mut all: Vec<There> = Vec::new();
        for link in chain.iter().filter(|link| !link.breaker.config.shadow) {
            let Instead::Service(service) = &link.breaker.instead else { continue };
            if all.iter().all(|there| there.service != *service) {
                let limits = self.snapshot.limits.chain(None, None, service);
                all.push(There { service: service.clone(), limits });
            }
        }
        all.retain(|there| !there.limits.is_empty());
        (!all.is_empty()).then(|| all.into())
    }

    /// How calls by a rule to an upstream are made, where a policy for the rule or its route says so.
    pub(crate) fn manner(
        &self,
        rule: &Rule,
        upstream: &Upstream,
        workers: usize,
        states: &RouteStates,
    ) -> Option<Rc<Manner>> {
        let place = (rule.label.as_ptr() as u64, upstream.state.key());
        if let Some(found) = self.manners.borrow().get(&place) {
            return found.clone();
        }
        let (breakers, service) = (&self.snapshot.breakers, &upstream.service);
        let of_instances = if breakers.has_instances_by(rule) {
            let ids = upstream.endpoints.iter().map(|endpoint| &endpoint.id);
            let need = Need::Call { workers };
            ids.map(|id| breakers.of_instance_by(Some(rule), service, id, need)).collect()
        } else {
            Box::default()
        };
        let made = Manner::of(&self.snapshot.policies, rule, upstream, of_instances, states);
        self.manners.borrow_mut().insert(place, made.clone());
        made
    }

    /// The limits of a request.
    pub(crate) fn chain(
        &self,
        listener: Option<&ListenerConfig>,
        section: Option<usize>,
        rule: Option<&Rule>,
        service: &ServiceRef,
        key: u64,
    ) -> Chain {
        // The view keeps the snapshot, and the snapshot its listeners and rules, where they are. A listener that is gone from
        // it is kept by nobody, and asked for rarely.
        let listener_at = listener.map_or(0, |config| std::ptr::from_ref(config) as u64);
        let rule_at = rule.map_or(0, |rule| rule.label.as_ptr() as u64);
        let place = (listener_at, section.map_or(0, |section| section as u64 + 1), rule_at, key);
        if let Some(found) = self.chains.borrow().get(&place) {
            return found.clone();
        }
        let sections = listener.map(|config| config.routes.sections());
        let name = sections.zip(section).and_then(|(sections, at)| sections.get(at)?.name());
        let at = listener.map(|config| (&config.gateway, name));
        let made = self.snapshot.limits.chain(at, rule, service);
        self.chains.borrow_mut().insert(place, made.clone());
        made
    }
}

/// A map by the small, dense keys that states are numbered with.
pub(crate) type KeyMap<T, K = u64> = HashMap<K, T, BuildHasherDefault<KeyHasher>>;

/// Spreads a small number over the whole word (Fibonacci hashing). No stranger chooses the keys.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, key: u64) {
        self.0 = (self.0 ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}
