//! Limits that proxies share: one replica keeps the book of each, and what it leases is never more than the limit, also while
//! another takes over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_control::quota::{ASK_EVERY, Ask, Granted, SharedLimit, Wish};
use weir_control::{Control, Replica, Settings};
use weir_model::resource::rate_limit::{LimitScope, Rate, RateLimitSpec};
use weir_model::resource::traffic_policy::PolicyTarget;
use weir_model::{Resource, Spec};
use weir_store::{Memory, Store};

use crate::resources::request;
use crate::support::*;

/// The whole of a limit, in parts.
const WHOLE: u64 = 1_000_000;
/// So many targets that each replica keeps the books of some.
const TARGETS: usize = 12;

fn limit(name: &str, scope: LimitScope) -> Resource {
    let metadata = weir_model::resource::Metadata {
        name: name.to_owned(),
        namespace: NS.to_owned(),
        ..Default::default()
    };
    let rates = vec![Rate { requests: 10, per: None, burst: None }];
    let target = PolicyTarget { group: None, kind: None, name: "cart".to_owned(), section_name: None };
    let spec = RateLimitSpec { target_refs: vec![target], rates, scope, ..RateLimitSpec::default() };
    Resource { metadata, spec: Spec::RateLimit(spec) }
}

async fn replica(store: &Arc<dyn Store>, id: &str) -> Arc<Control> {
    let settings = settings();
    let own = Replica {
        id: id.to_owned(),
        http: id.to_owned(),
        grpc: String::new(),
        version: "1".to_owned(),
        datacenter: settings.datacenter.clone(),
        node: settings.node_name.clone(),
    };
    let settings = Settings { replica: Some(own), ..settings };
    Control::start(Arc::clone(store), settings).await.expect("starts")
}

/// A proxy with what it has of each target: the number of its lease, how much, and until when.
struct Proxy {
    name: &'static str,
    leases: Vec<(u64, u64, Option<Instant>)>,
}

impl Proxy {
    fn new(name: &'static str) -> Self {
        Self { name, leases: vec![(0, 0, None); TARGETS] }
    }

    fn ask(&self, target: usize) -> Ask {
        let limit = SharedLimit {
            namespace: NS.to_owned(),
            name: "all".to_owned(),
            target: format!("Service/s{target}"),
        };
        let wish = Wish { wanted: 1_000_000, lease: self.leases[target].0 };
        Ask { limit, holder: self.name.to_owned(), wish }
    }

    fn take(&mut self, target: usize, granted: Granted) {
        if let Some(lease) = granted.lease
            && lease.number > self.leases[target].0
        {
            self.leases[target] = (lease.number, lease.parts.into(), Some(Instant::now() + lease.ttl));
        }
    }

    fn parts(&self, target: usize) -> u64 {
        let (_, parts, until) = self.leases[target];
        if until.is_some_and(|until| Instant::now() < until) { parts } else { 0 }
    }
}

/// Each proxy asks by its own replica for all targets; what another keeps the book of is asked there.
fn round(replicas: &[Arc<Control>], proxies: &mut [Proxy]) {
    for (at, proxy) in proxies.iter_mut().enumerate() {
        let own = &replicas[at % replicas.len()];
        for target in 0..TARGETS {
            let ask = proxy.ask(target);
            let granted = match own.limit_owner(&ask.limit) {
                None => own.lease(&ask),
                Some(owner) => {
                    assert_eq!(own.lease(&ask), Granted::default(), "it is another's");
                    let is_owner = |replica: &&Arc<Control>| {
                        replica.settings().replica.as_ref().is_some_and(|replica| replica.id == owner.id)
                    };
                    replicas.iter().find(is_owner).map(|owner| owner.lease(&ask)).unwrap_or_default()
                }
            };
            proxy.take(target, granted);
        }
    }
    for target in 0..TARGETS {
        let all: u64 = proxies.iter().map(|proxy| proxy.parts(target)).sum();
        assert!(all <= WHOLE, "{all} of target {target}");
    }
}

fn all_have(proxies: &[Proxy]) -> bool {
    proxies.iter().all(|proxy| (0..TARGETS).all(|target| proxy.parts(target) > WHOLE / 5))
}

#[tokio::test(start_paused = true)]
async fn one_replica_keeps_the_book_of_a_limit_and_another_takes_over() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let (a, b) = (replica(&store, "a").await, replica(&store, "b").await);
    a.apply(&request(&[limit("all", LimitScope::Global)])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut proxies = [Proxy::new("one"), Proxy::new("two")];
    let both = [Arc::clone(&a), b];
    for _ in 0..8 {
        tokio::time::sleep(ASK_EVERY).await;
        round(&both, &mut proxies);
    }
    assert!(all_have(&proxies));
    let owned_by_b =
        (0..TARGETS).filter(|target| a.limit_owner(&proxies[0].ask(*target).limit).is_some()).count();
    assert!((1..TARGETS).contains(&owned_by_b), "{owned_by_b}");

    // One goes. Until what it leased must be over, the other leases nothing of it; and then all of it again.
    both[1].leave().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(a.replicas().len(), 1);
    for _ in 0..8 {
        tokio::time::sleep(ASK_EVERY).await;
        round(&both[..1], &mut proxies);
    }
    assert!(all_have(&proxies));
}

#[tokio::test(start_paused = true)]
async fn only_limits_that_are_shared_are_leased() {
    let control = start().await;
    control
        .apply(&request(&[limit("all", LimitScope::Global), limit("each", LimitScope::Process)]))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let ask = Proxy::new("one").ask(0);
    let of = |name: &str| {
        let limit = SharedLimit { name: name.to_owned(), ..ask.limit.clone() };
        control.lease(&Ask { limit, ..ask.clone() })
    };
    assert_eq!((of("each"), of("nobody's")), (Granted::default(), Granted::default()));
    let granted = of("all");
    assert!(granted.lease.is_some_and(|lease| lease.parts > 900_000), "{granted:?}");
    assert_eq!(granted.holders, 1);
}
