//! What takes more operations than one transaction of etcd's may have, against a real one.

#[path = "../../store/tests/etcd/member.rs"]
mod member;

use std::sync::Arc;
use std::time::Duration;

use member::Member;
use weir_control::bounds::REGISTRATION_CHECKS_MAX;
use weir_control::catalog::InstanceRef;
use weir_control::kv::{KvLock, KvPut};
use weir_control::lock::{ClaimRef, LockRef, NewClaim};
use weir_control::session::Session;
use weir_control::{Control, Settings};
use weir_model::registry::{Check, Instance};
use weir_model::units::Span;
use weir_store::{Etcd, EtcdOptions, Store};

const NS: &str = "default";
/// More than any transaction of etcd's has operations.
const MANY: usize = 300;

async fn start(member: &Member) -> Arc<Control> {
    let address = member.address().parse().expect("an address");
    let store = Etcd::open(&address, EtcdOptions::default()).await.expect("etcd answers");
    let limits = store.limits();
    assert!(limits.txn_ops_max < MANY, "{}", limits.txn_ops_max);
    Control::start(Arc::new(store), Settings::default()).await.expect("starts")
}

fn instance() -> Instance {
    Instance {
        namespace: NS.to_owned(),
        node: "weir".to_owned(),
        id: "web-1".to_owned(),
        service: "web".to_owned(),
        port: 80,
        ..Instance::default()
    }
}

fn checks(prefix: &str, count: usize) -> Vec<Check> {
    let check = |number| Check {
        namespace: NS.to_owned(),
        node: "weir".to_owned(),
        id: format!("{prefix}{number}"),
        name: format!("{prefix}{number}"),
        instance: Some("web-1".to_owned()),
        ..Check::default()
    };
    (0..count).map(check).collect()
}

fn known(control: &Control) -> usize {
    control.catalog().service_view(NS, "web").entries.iter().map(|member| member.instance.checks.len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_may_have_as_many_checks_as_they_like() {
    let member = Member::start();
    let control = start(&member).await;
    let most = |prefix| checks(prefix, REGISTRATION_CHECKS_MAX);
    control.register_instance(instance(), most("a"), true).await.expect("as many as there may be");
    assert_eq!(known(&control), REGISTRATION_CHECKS_MAX);
    control.register_instance(instance(), most("b"), true).await.expect("all others in their place");
    assert_eq!(known(&control), REGISTRATION_CHECKS_MAX);
    for check in checks("c", MANY) {
        control.register_check(check).await.expect("one by one");
    }
    assert_eq!(known(&control), REGISTRATION_CHECKS_MAX + MANY);
    let moved = Instance { service: "shop".to_owned(), ..instance() };
    control.register_instance(moved, most("b"), false).await.expect("with all that follow it");
    let shop = control.catalog().service_view(NS, "shop").entries;
    assert!(shop[0].instance.checks.iter().all(|check| check.value.service == "shop"));
    control.deregister_instance(&InstanceRef::new(NS, "weir", "web-1")).await.expect("with all of them");
    assert!(control.catalog().node("weir").is_some_and(|node| node.checks.is_empty()), "none is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_may_hold_and_locks_may_have_as_many() {
    let member = Member::start();
    let control = start(&member).await;
    let session = Session {
        namespace: NS.to_owned(),
        node: "weir".to_owned(),
        lock_delay: Span(Duration::from_secs(5)),
        ..Session::default()
    };
    let (name, _) = control.create_session(session).await.expect("created");
    let lock = LockRef::new(NS, "many");
    for number in 0..MANY {
        let (key, acquire) = (format!("k/{number}"), Some(KvLock::Acquire(&name.id)));
        let put = KvPut { namespace: NS, key: &key, value: b"v", lock: acquire, ..KvPut::default() };
        assert!(control.kv_put(put).await.expect("answered").is_some());
        let claim = NewClaim {
            name: ClaimRef::new(lock.clone(), format!("c{number}")),
            count: MANY as u32,
            ttl: Duration::from_secs(600),
            holder: String::new(),
            instance: None,
            session: None,
        };
        control.claim_lock(claim, Duration::ZERO).await.expect("there is room");
    }
    control.destroy_session(&name).await.expect("it ends");
    let keys = control.catalog().kv_list(NS, "k/").entries;
    assert!(keys.len() == MANY && keys.iter().all(|key| key.session.is_none()), "all are let go");
    assert_eq!(control.force_lock(&lock, None).await.expect("taken away").1, MANY);
    assert!(control.lock(&lock).entries.is_none(), "nobody holds it");
}
