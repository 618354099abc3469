//! Two replicas over one store, on the runtime's virtual clock: what one watches over lives by what the other hears.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_control::catalog::Topic;
use weir_control::lock::{Acquired, ClaimRef, LockRef, NewClaim};
use weir_control::session::{Session, SessionRef};
use weir_control::{Control, Error, Replica, Settings};
use weir_model::registry::{Health, Instance};
use weir_model::units::Span;
use weir_store::Memory;

use crate::support::*;

const TTL: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_secs(4);
/// So many subjects that each replica watches over some.
const MANY: usize = 12;

struct Two {
    store: Arc<Faulty>,
    a: Arc<Control>,
    b: Arc<Control>,
}

async fn replica(store: &Arc<Faulty>, id: &str) -> Arc<Control> {
    let own = Replica {
        id: id.to_owned(),
        http: format!("{id}:8500"),
        grpc: format!("{id}:8502"),
        version: "1".to_owned(),
        datacenter: settings().datacenter,
        node: settings().node_name,
    };
    let settings = Settings { replica: Some(own), ..settings() };
    Control::start(store.clone(), settings).await.expect("starts")
}

impl Two {
    /// What one passes on the other hears.
    async fn start() -> Self {
        Self::told(false).await
    }

    /// The same, or what one passes on goes by way of the store.
    async fn told(by_store: bool) -> Self {
        let store = Faulty::over(Arc::new(Memory::new()));
        let (a, b) = (replica(&store, "a").await, replica(&store, "b").await);
        for (from, to) in [(&a, &b), (&b, &a)] {
            let mut heartbeats = from.heartbeats_for_others().expect("the first");
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            tokio::spawn(async move {
                while let Some(heartbeat) = heartbeats.recv().await {
                    if by_store {
                        from.tell(&[heartbeat.check]).await.expect("the store is there");
                    } else {
                        let _ = to.hear(&heartbeat).await;
                    }
                }
            });
        }
        settle().await;
        assert_eq!((a.replicas().len(), b.replicas().len()), (2, 2));
        Self { store, a, b }
    }

    fn both(&self) -> [&Arc<Control>; 2] {
        [&self.a, &self.b]
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn id(number: usize) -> String {
    format!("c{number}")
}

async fn register(control: &Control, number: usize, node: &str) {
    let instance = Instance { node: node.to_owned(), ..instance("web", &id(number)) };
    let mut check = ttl(&id(number), Some(&id(number)), TTL, None);
    check.node = node.to_owned();
    control.register_node(crate::support::node(node)).await.expect("a node");
    control.register_instance(instance, vec![check], false).await.expect("registered");
}

fn healths(control: &Control, node: impl Fn(usize) -> String) -> Vec<Health> {
    let of = |number| weir_control::catalog::CheckRef::new(NS, node(number), id(number));
    (0..MANY).map(|number| control.catalog().check(&of(number)).expect("registered").value.health).collect()
}

#[tokio::test(start_paused = true)]
async fn heartbeats_count_whichever_replica_hears_them() {
    let two = Two::start().await;
    for number in 0..MANY {
        register(&two.a, number, NODE).await;
    }
    let shares = |control: &Control| {
        (0..MANY).filter(|number| control.owned_by_other(&check_ref(&id(*number))).is_some()).count()
    };
    assert_eq!(shares(&two.a) + shares(&two.b), MANY);
    assert!(shares(&two.a) > 0 && shares(&two.b) > 0, "each watches over some");
    for beat in 0..20 {
        // Those that change the health, and those that do not.
        let health = if beat % 3 == 0 { Health::Warning } else { Health::Passing };
        for number in 0..MANY {
            two.b.set_check(&check_ref(&id(number)), health, "").await.expect("known");
        }
        tokio::time::sleep(BEAT).await;
        for control in two.both() {
            assert_eq!(healths(control, |_| NODE.to_owned()), vec![health; MANY], "beat {beat}");
        }
    }
    tokio::time::sleep(TTL * 2).await;
    for control in two.both() {
        assert_eq!(healths(control, |_| NODE.to_owned()), vec![Health::Critical; MANY]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_tells_writes_no_check_and_wakes_nobody() {
    let two = Two::told(true).await;
    for number in 0..MANY {
        register(&two.a, number, NODE).await;
    }
    settle().await;
    let service = Topic::service(NS, "web");
    let modified = |control: &Control| -> Vec<_> {
        (0..MANY)
            .map(|number| control.catalog().check(&check_ref(&id(number))).expect("known").modify_revision)
            .collect()
    };
    let before = (modified(&two.a), two.a.catalog().index(&service));
    let index = before.1;
    let (waiter, topic) = (Arc::clone(&two.a), service.clone());
    let waiting =
        tokio::spawn(async move { waiter.catalog().wait(&topic, index, Duration::from_secs(300)).await });
    for _ in 0..8 {
        for number in 0..MANY {
            two.b.set_check(&check_ref(&id(number)), Health::Passing, "").await.expect("known");
        }
        tokio::time::sleep(BEAT).await;
        assert!(!waiting.is_finished(), "nothing has changed");
    }
    assert_eq!((modified(&two.a), two.a.catalog().index(&service)), before);
    assert_eq!(healths(&two.a, |_| NODE.to_owned()), vec![Health::Passing; MANY]);
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(healths(&two.a, |_| NODE.to_owned()), vec![Health::Critical; MANY]);
    assert!(waiting.is_finished(), "now something has");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_followed_by_the_other_who_grants_full_time() {
    let two = Two::start().await;
    for number in 0..MANY {
        register(&two.a, number, NODE).await;
    }
    tokio::time::sleep(TTL - Duration::from_secs(1)).await;
    two.b.leave().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Those of the other one had a second left; those of this one had no heartbeat either.
    let passing =
        healths(&two.a, |_| NODE.to_owned()).iter().filter(|health| **health == Health::Passing).count();
    assert!(passing > 0 && passing < MANY, "{passing}");
    tokio::time::sleep(TTL).await;
    assert_eq!(healths(&two.a, |_| NODE.to_owned()), vec![Health::Critical; MANY]);
}

#[tokio::test(start_paused = true)]
async fn when_all_nodes_fall_silent_each_replica_doubts_its_part() {
    let two = Two::start().await;
    let node = |number| format!("node-{number}");
    for number in 0..MANY {
        register(&two.a, number, &node(number)).await;
    }
    tokio::time::sleep(TTL * 3).await;
    for control in two.both() {
        assert_eq!(healths(control, node), vec![Health::Passing; MANY]);
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_live_by_renewals_at_any_replica() {
    let two = Two::start().await;
    let mut sessions: Vec<SessionRef> = Vec::new();
    for _ in 0..MANY {
        let session = Session {
            namespace: NS.to_owned(),
            node: NODE.to_owned(),
            ttl: Some(Span(TTL)),
            ..Session::default()
        };
        sessions.push(two.a.create_session(session).await.expect("created").0);
    }
    for _ in 0..20 {
        for session in &sessions {
            two.b.renew_session(session).await.expect("it lives");
        }
        tokio::time::sleep(BEAT).await;
    }
    tokio::time::sleep(TTL * 2).await;
    for session in &sessions {
        assert!(two.a.catalog().session(session).entries.is_none(), "it ends all the same");
        assert!(matches!(two.b.renew_session(session).await, Err(Error::NotFound { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn claims_live_by_renewals_at_any_replica_and_waiting_costs_little() {
    let two = Two::start().await;
    let named = |number: usize, id: &str| ClaimRef::new(LockRef::new(NS, format!("lock-{number}")), id);
    let new = |number, id: &str| NewClaim {
        name: named(number, id),
        count: 1,
        ttl: TTL,
        holder: id.to_owned(),
        instance: None,
        session: None,
    };
    for number in 0..MANY {
        let claim = two.a.claim_lock(new(number, "holder"), Duration::ZERO).await.expect("claimed");
        assert!(matches!(claim, Acquired::Held(_)));
    }
    let before = two.store.commits.load(Ordering::SeqCst);
    let waiting: Vec<_> = (0..MANY)
        .map(|number| {
            let (b, new) = (Arc::clone(&two.b), new(number, "waiter"));
            tokio::spawn(async move { b.claim_lock(new, TTL * 4).await })
        })
        .collect();
    for _ in 0..10 {
        for number in 0..MANY {
            two.b.renew_claim(&named(number, "holder")).await.expect("held");
        }
        tokio::time::sleep(BEAT).await;
    }
    for claim in waiting {
        let claim = claim.await.expect("it goes on").expect("it keeps its place");
        assert!(matches!(claim, Acquired::Waiting(_)), "the holder has renewed");
    }
    let writes = two.store.commits.load(Ordering::SeqCst) - before;
    // A renewal may be one, in 40 s; and a waiter's own a third of its time.
    assert!(writes < MANY * (10 + 14 + 6), "{writes} writes");
    tokio::time::sleep(TTL * 2).await;
    for number in 0..MANY {
        assert!(matches!(two.a.renew_claim(&named(number, "holder")).await, Err(Error::NotFound { .. })));
    }
}
