//! Asking for shares of the limits that proxies keep together, and taking the answers.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use weir_api::mesh;
use weir_model::{Kind, ResourceId};
use weir_policy::Nanos;
use weir_policy::quota::{ASK_AGAIN, Lease, Wish};

use crate::limit::{Limit, LimitTable};

/// Questions whose answers are waited for; of an older one an answer would be worth nothing.
const ASKED_MAX: usize = 8;
/// The longest that a lease is taken to last, whatever its server says.
const TTL_MAX: Duration = Duration::from_secs(60);

/// The demands of one stream.
#[derive(Debug)]
pub(super) struct Demands {
    /// Nothing is asked of a server that leases nothing.
    every: Option<Duration>,
    due: Instant,
    /// When it was last asked.
    last: Option<Instant>,
    number: u64,
    /// How many limits were too many when that was last said.
    too_many: usize,
    /// Numbers of questions, and when they were asked.
    asked: VecDeque<(u64, Nanos)>,
}

impl Demands {
    /// As a welcome has it.
    pub(super) fn new(every_ms: u32, now: Instant) -> Self {
        let every = (every_ms > 0).then(|| Duration::from_millis(every_ms.into()).max(ASK_AGAIN));
        Self { every, due: now, last: None, number: 0, too_many: 0, asked: VecDeque::new() }
    }

    /// When it is time to ask again; never for a server that leases nothing.
    pub(super) fn due(&self) -> Option<Instant> {
        self.every.map(|_| self.due)
    }

    /// Limits may have changed: for one that nothing was ever asked for, that is done now rather than when it is time.
    pub(super) fn look(&mut self, limits: &LimitTable, at: Instant) {
        if limits.shared().any(|limit| !limit.was_asked_for()) {
            self.due = self.due.min(self.last.map_or(at, |last| at.max(last + ASK_AGAIN)));
        }
        let too_many = limits.not_shared();
        if too_many > self.too_many {
            tracing::warn!(
                too_many,
                "more limits with scope global than a proxy can share: the last of them are not shared"
            );
        }
        self.too_many = too_many;
    }

    /// What to ask for; nothing where no limit is shared.
    pub(super) fn ask(&mut self, limits: &LimitTable, at: Instant, now: Nanos) -> Option<mesh::Demand> {
        self.due = at + self.every.unwrap_or(ASK_AGAIN);
        let wishes: Vec<mesh::Wish> = limits.shared().map(|limit| wish(limit, now)).collect();
        if wishes.is_empty() {
            return None;
        }
        self.last = Some(at);
        self.number += 1;
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back((self.number, now));
        Some(mesh::Demand { number: self.number, wishes })
    }

    /// Hands the leases of an answer to their limits. Where there is less than before, it is asked again soon: until
    /// then what is given up is of no use to others.
    pub(super) fn take(&mut self, leases: mesh::Leases, limits: &LimitTable, at: Instant, now: Nanos) {
        let Some(place) = self.asked.iter().position(|(number, _)| *number == leases.demand) else { return };
        let Some((_, asked)) = self.asked.drain(..=place).next_back() else { return };
        let mut gives_up = false;
        for lease in leases.leases {
            let Some(limit) = limit_of(limits, &lease) else { continue };
            let ttl = Duration::from_millis(lease.ttl_ms.into()).min(TTL_MAX);
            let granted = Lease { number: lease.number, parts: lease.parts, ttl };
            gives_up |= limit.take_lease((lease.number > 0).then_some(granted), lease.holders, asked, now);
        }
        if gives_up {
            self.due = self.due.min(at + ASK_AGAIN);
        }
    }
}

fn wish(limit: &Limit, now: Nanos) -> mesh::Wish {
    let Wish { wanted, lease } = limit.wish(now);
    let resource = mesh::ResourceRef {
        kind: limit.id.kind.to_string(),
        namespace: limit.id.namespace.clone(),
        name: limit.id.name.clone(),
    };
    mesh::Wish { limit: Some(resource), target: limit.target.to_string(), wanted, lease }
}

fn limit_of<'a>(limits: &'a LimitTable, lease: &mesh::Lease) -> Option<&'a Limit> {
    let named = lease.limit.as_ref()?;
    let id = ResourceId::new(Kind::RateLimit, &*named.namespace, &*named.name);
    let is_meant = |limit: &&std::sync::Arc<Limit>| limit.id == id && *limit.target == *lease.target;
    limits.shared().find(is_meant).map(|limit| &**limit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_model::{Resource, ServiceRef};

    use super::*;
    use crate::limit::{Asker, Pass, Step};
    use crate::snapshot::Role;
    use crate::snapshot::tests::{inputs, resource};

    /// The limits of documents, where requests for `cart` arrive.
    fn compile(resources: impl IntoIterator<Item = Resource>) -> LimitTable {
        LimitTable::compile(
            &inputs(resources),
            &Role::Sidecar { service: ServiceRef::new("default", "cart") },
        )
    }

    /// Two limits of a service, of which one is shared.
    fn limits() -> LimitTable {
        let limit = |name: &str, scope: &str| {
            let rates = json!([{"requests": 10}]);
            resource(
                "RateLimit",
                name,
                json!({"targetRefs": [{"name": "cart"}], "scope": scope, "rates": rates}),
            )
        };
        compile([limit("all", "global"), limit("each", "process")])
    }

    #[test]
    fn it_asks_at_the_servers_pace_for_what_is_shared() {
        let (start, now) = (Instant::now(), Nanos::from_secs(9));
        assert_eq!(Demands::new(0, start).due(), None, "that server leases nothing");
        let mut demands = Demands::new(1000, start);
        assert_eq!(demands.due(), Some(start));
        assert_eq!(demands.ask(&LimitTable::default(), start, now), None);
        let second = start + Duration::from_secs(1);
        assert_eq!(demands.due(), Some(second));

        let limits = limits();
        demands.look(&limits, start);
        assert_eq!(demands.due(), Some(start), "a limit that is new is asked for at once");
        let demand = demands.ask(&limits, start, now).unwrap();
        demands.look(&limits, start);
        assert_eq!(demands.due(), Some(second), "and then it is not new any more");
        let [wish] = &*demand.wishes else { panic!("not one: {demand:?}") };
        assert_eq!((wish.limit.as_ref().unwrap().name.as_str(), &*wish.target), ("all", "Service/cart"));
        assert_eq!(Demands::new(1, start).every, Some(ASK_AGAIN), "a server cannot press");
    }

    #[test]
    fn one_that_comes_later_waits_no_longer_than_questions_are_apart() {
        let (start, ms) = (Instant::now(), Duration::from_millis(1));
        let mut demands = Demands::new(1000, start);
        demands.ask(&limits(), start, Nanos::from_secs(9)).unwrap();
        // The same documents anew, which nobody has put in force in the place of the first ones.
        let more = limits();
        demands.look(&more, start + ms);
        assert_eq!(demands.due(), Some(start + ASK_AGAIN));
        demands.look(&more, start + ms * 900);
        assert_eq!(demands.due(), Some(start + ASK_AGAIN), "never later");
    }

    #[test]
    fn what_is_too_many_is_kept_alone() {
        let limit = |number: usize| {
            let rates = json!([{"requests": 10}]);
            let spec = json!({"targetRefs": [{"name": "cart"}], "scope": "global", "rates": rates});
            resource("RateLimit", &format!("l{number:04}"), spec)
        };
        let limits = compile((0..1030).map(limit));
        assert_eq!((limits.shared().count(), limits.not_shared()), (1024, 6));
        let demand = Demands::new(1000, Instant::now()).ask(&limits, Instant::now(), Nanos::from_secs(9));
        let asked_for = demand.unwrap().wishes;
        assert_eq!(asked_for.len(), 1024);
        assert_eq!(asked_for.last().unwrap().limit.as_ref().unwrap().name, "l1023");
    }

    #[test]
    fn only_who_limits_has_a_share() {
        let targets = json!([{"name": "cart"}, {"kind": "Gateway", "name": "edge"}, {"kind": "HTTPRoute", "name": "r"}]);
        let spec =
            json!({"targetRefs": targets, "scope": "global", "alone": "closed", "rates": [{"requests": 10}]});
        let route = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "cart"}]}]});
        let resources = || {
            inputs([resource("RateLimit", "all", spec.clone()), resource("HTTPRoute", "r", route.clone())])
        };
        let asked_for = |role: Role| {
            let limits = LimitTable::compile(&resources(), &role);
            let demand = Demands::new(1000, Instant::now()).ask(&limits, Instant::now(), Nanos::from_secs(9));
            for limit in limits.all() {
                let is_kept = limit.limiter().holds(Nanos::from_secs(9)).is_some();
                assert_eq!(is_kept, limit.is_shared(), "{}", limit.target);
            }
            let wishes = demand.map(|demand| demand.wishes).unwrap_or_default();
            wishes.into_iter().map(|wish| wish.target).collect::<Vec<_>>().join(" ")
        };
        let sidecar = |name: &str| Role::Sidecar { service: ServiceRef::new("default", name) };
        let gateway =
            |names: &[&str]| Role::Gateway { gateways: names.iter().map(ToString::to_string).collect() };
        assert_eq!(asked_for(sidecar("cart")), "Service/cart");
        assert_eq!(asked_for(sidecar("front")), "", "it calls cart at most");
        assert_eq!(asked_for(gateway(&[])), "Service/cart Gateway/edge HTTPRoute/r");
        assert_eq!(asked_for(gateway(&["edge"])), "Service/cart Gateway/edge HTTPRoute/r");
        assert_eq!(asked_for(gateway(&["other"])), "", "no route of it leads there");
    }

    #[test]
    fn what_is_refused_in_shadow_is_asked_for_once() {
        let spec = json!({"targetRefs": [{"name": "cart"}], "scope": "global", "shadow": true,
            "rates": [{"requests": 10}]});
        let limits = compile([resource("RateLimit", "all", spec)]);
        let limit = limits.shared().next().unwrap().clone();
        let request = crate::explain::Request::parse("GET", "http://cart/", []).unwrap();
        let service = ServiceRef::new("default", "cart");
        let at = |ms: u64| Nanos::from_millis(100_000 + ms);
        limit.wish(at(0));
        // Who leaves before the end gives back what he took.
        let mut passes = Vec::new();
        for _ in 0..30 {
            let mut pass = Pass::default();
            let asker = Asker { address: b"", caller: b"", rule: "" };
            pass.begin(limits.chain(None, None, &service), &request, asker);
            assert!(matches!(pass.ask(at(0)), Step::GoOn));
            passes.push(pass);
        }
        let shadowed: u64 = limit.refused().map(|(_, _, shadowed)| shadowed).sum();
        assert!(limit.admitted() == 30 && shadowed >= 20, "{shadowed}");
        assert_eq!(limit.wish(at(1000)).wanted, 3 * weir_policy::quota::PARTS, "30 a second of 10");
    }

    #[test]
    fn an_answer_counts_from_the_question_and_only_once() {
        let (start, limits) = (Instant::now(), limits());
        let shared = limits.all().iter().find(|limit| limit.is_shared()).unwrap();
        let left = |now| shared.limiter().holds(now).unwrap().left;
        let mut demands = Demands::new(1000, start);
        let answer = |demand: &mesh::Demand, number, parts| {
            let mesh::Wish { limit, target, .. } = demand.wishes[0].clone();
            let lease = mesh::Lease { limit, target, number, parts, ttl_ms: 3000, holders: 2 };
            mesh::Leases { demand: demand.number, leases: vec![lease] }
        };
        let at = |ms: u64| Nanos::from_millis(100_000 + ms);
        let demand = demands.ask(&limits, start, at(0)).unwrap();
        demands.take(mesh::Leases { demand: 99, ..answer(&demand, 1, 500_000) }, &limits, start, at(400));
        assert_eq!(left(at(400)), None, "nobody asked that");
        demands.take(answer(&demand, 1, 500_000), &limits, start, at(400));
        assert_eq!(left(at(400)), Some(Duration::from_millis(2600)));
        demands.take(answer(&demand, 2, 900_000), &limits, start, at(500));
        assert_eq!(shared.wish(at(500)).lease, 1, "it was answered already");

        // What is given up is told soon.
        let demand = demands.ask(&limits, start, at(1000)).unwrap();
        assert_eq!(demand.wishes[0].lease, 1);
        demands.take(answer(&demand, 2, 100_000), &limits, start, at(1000));
        assert_eq!(demands.due(), Some(start + ASK_AGAIN));
    }
}
