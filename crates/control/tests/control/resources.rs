//! Declared resources: change sets, their atomicity, history, rollback.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_control::resources::{ChangeKind, ChangeRequest, Subscription, closure};
use weir_control::{ChangeEvent, Control, Error};
use weir_model::resource::{ServiceSpec, service::StaticEndpoint};
use weir_model::{Kind, Resource, ResourceId, ServiceRef, Spec};
use weir_store::clock::TokioClock;
use weir_store::{KeyRange, Limits, Memory, Store, list};

use crate::support::*;

pub(crate) fn service(name: &str, version: u64) -> Resource {
    let endpoint = StaticEndpoint {
        address: "127.0.0.1".to_owned(),
        port: 9000,
        weight: 1,
        check: None,
        region: None,
        zone: None,
    };
    Resource {
        metadata: weir_model::resource::Metadata {
            name: name.to_owned(),
            namespace: NS.to_owned(),
            ..Default::default()
        },
        spec: Spec::Service(ServiceSpec {
            metadata: [("version".to_owned(), version.to_string())].into(),
            endpoints: vec![endpoint],
            ..ServiceSpec::default()
        }),
    }
}

pub(crate) fn request(puts: &[Resource]) -> ChangeRequest {
    ChangeRequest { puts: puts.to_vec(), author: "test".to_owned(), ..ChangeRequest::default() }
}

fn id(name: &str) -> ResourceId {
    ResourceId::new(Kind::Service, NS, name)
}

/// The stored pieces of change sets and checkpoints.
pub(crate) async fn pieces(store: &dyn Store) -> usize {
    let (sets, _) = list(store, &KeyRange::kind("changeset")).await.unwrap();
    let (checkpoints, _) = list(store, &KeyRange::kind("checkpoint")).await.unwrap();
    sets.len() + checkpoints.len()
}

fn state(control: &Control) -> Vec<(Resource, u64, u64)> {
    let set = control.catalog().resources().entries;
    set.iter().map(|(_, entry)| (entry.resource.clone(), entry.created_in, entry.changed_in)).collect()
}

#[tokio::test]
async fn a_change_set_says_what_it_did() {
    let control = start().await;
    let report = control.apply(&request(&[service("a", 1), service("b", 1)])).await.unwrap();
    assert_eq!(report.changes, [(id("a"), ChangeKind::Created), (id("b"), ChangeKind::Created)]);
    let change_set = report.change_set.unwrap();
    assert_eq!((change_set.number, change_set.created, change_set.parent), (1, 2, None));
    assert_eq!(control.catalog().resources().index, report.position.revision);

    let position = control.position();
    let report = control.apply(&request(&[service("a", 1), service("b", 1)])).await.unwrap();
    assert!(report.change_set.is_none());
    assert_eq!(report.changes, [(id("a"), ChangeKind::Unchanged), (id("b"), ChangeKind::Unchanged)]);
    assert_eq!(control.position(), position, "nothing changed, so nothing was written");

    let mut mixed = request(&[service("a", 2), service("c", 1)]);
    mixed.deletes = vec![id("b")];
    mixed.dry_run = true;
    let expected =
        [(id("a"), ChangeKind::Updated), (id("c"), ChangeKind::Created), (id("b"), ChangeKind::Deleted)];
    assert_eq!(control.apply(&mixed).await.unwrap().changes, expected);
    assert_eq!(control.position(), position, "a dry run writes nothing");
    mixed.dry_run = false;
    let report = control.apply(&mixed).await.unwrap();
    assert_eq!(report.changes, expected);
    let set = control.catalog().resources().entries;
    assert!(set.get(&id("b")).is_none());
    assert_eq!((set.get(&id("a")).unwrap().created_in, set.get(&id("a")).unwrap().changed_in), (1, 2));
}

#[tokio::test]
async fn a_faulty_change_set_is_refused_whole_with_all_its_faults() {
    let control = start().await;
    let mut zero = service("zero", 1);
    if let Spec::Service(spec) = &mut zero.spec {
        spec.endpoints[0].port = 0;
    }
    let refused = control.apply(&request(&[service("good", 1), service("Bad_Name", 1), zero])).await;
    let Err(Error::Rejected { problems }) = refused else { panic!("{refused:?}") };
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    assert!(paths.contains(&"metadata.name") && paths.contains(&"spec.endpoints[0].port"), "{problems:?}");
    assert!(control.catalog().resources().entries.is_empty());
    let unknown = ChangeRequest { deletes: vec![id("nobody")], ..request(&[]) };
    assert!(matches!(control.apply(&unknown).await, Err(Error::NotFound { .. })));
    let twice = request(&[service("a", 1), service("a", 2)]);
    assert!(matches!(control.apply(&twice).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn a_crash_before_the_head_moves_leaves_the_old_state_and_the_orphans_go() {
    let memory = Arc::new(Memory::new());
    let store = Faulty::over(memory.clone());
    let control = start_on(store.clone()).await;
    control.apply(&request(&[service("a", 1)])).await.unwrap();
    let before = state(&control);
    let kept = pieces(&*memory).await;

    // As after a crash: the objects are there, the head is not, and nobody takes them away.
    store.refuse_kind(Some("head"));
    let refused = control.apply(&request(&[service("a", 2), service("b", 1)])).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert!(pieces(&*memory).await > kept);
    assert_eq!(state(&control), before);
    drop(control);
    let control = start_on(memory.clone()).await;
    assert_eq!(state(&control), before);

    // The next change set has the orphan's number, and takes effect undisturbed; with it the orphan goes.
    control.apply(&request(&[service("c", 1)])).await.unwrap();
    assert_eq!(control.catalog().resources().entries.len(), 2);
    assert_eq!(pieces(&*memory).await, 2 * kept);
    drop(control);
    let control = start_on(memory.clone()).await;
    assert_eq!(control.catalog().resources().entries.len(), 2);
}

#[tokio::test]
async fn callers_who_go_away_half_way_leave_nothing_behind() {
    use std::future::Future as _;

    let memory = Arc::new(Memory::new());
    let control = start_on(memory.clone()).await;
    control.apply(&request(&[service("a", 1)])).await.unwrap();
    let kept = pieces(&*memory).await;
    // Each is given up as soon as its objects are there, as when a client disconnects.
    for number in 0..5 {
        let change = request(&[service("b", number)]);
        let mut apply = std::pin::pin!(control.apply(&change));
        let before = pieces(&*memory).await;
        let written = std::future::poll_fn(|cx| {
            let _ = apply.as_mut().poll(cx);
            let looked = std::pin::pin!(pieces(&*memory)).poll(cx);
            match looked {
                std::task::Poll::Ready(now) if now > before => std::task::Poll::Ready(()),
                _ => {
                    cx.waker().wake_by_ref();
                    std::task::Poll::Pending
                }
            }
        });
        written.await;
    }
    assert!(pieces(&*memory).await > kept);
    control.apply(&request(&[service("c", 1)])).await.unwrap();
    assert_eq!(control.catalog().resources().entries.len(), 2);
    assert_eq!(pieces(&*memory).await, 2 * kept);
}

#[tokio::test]
async fn a_set_larger_than_a_transaction_is_still_atomic() {
    let mut limits = Limits::default();
    limits.txn_ops_max = 3;
    limits.txn_bytes_max = 600 * 1024;
    let store = Arc::new(Memory::with(limits, Arc::new(TokioClock::new())));
    let control = start_on(store.clone()).await;
    let mut changes = control.changes();
    let many: Vec<_> = (0..10_000).map(|number| service(&format!("s{number}"), 1)).collect();
    control.apply(&request(&many)).await.unwrap();
    assert!(pieces(&*store).await > 6);
    let mut seen = Vec::new();
    while seen.is_empty() {
        let ChangeEvent::Change(change) = changes.next().await else { panic!("no resync is due") };
        seen.clone_from(&change.resources);
    }
    assert_eq!(seen.len(), many.len(), "all at once");
    drop(control);
    assert_eq!(start_on(store).await.catalog().resources().entries.len(), many.len());
}

#[tokio::test]
async fn racing_writers_all_get_through_and_nothing_is_lost() {
    let store = Arc::new(Memory::new());
    let controls = [start_on(store.clone()).await, start_on(store.clone()).await];
    let racers: Vec<_> = (0..12)
        .map(|number| {
            let control = Arc::clone(&controls[number % 2]);
            let request = request(&[service(&format!("s{number}"), 1)]);
            tokio::spawn(async move { control.apply(&request).await })
        })
        .collect();
    for racer in racers {
        racer.await.unwrap().unwrap();
    }
    for control in &controls {
        control.consistent().await.unwrap();
        assert_eq!(control.catalog().resources().entries.len(), 12);
        assert_eq!(control.catalog().head().unwrap().number, 12);
    }
    assert_eq!(state(&controls[0]), state(&controls[1]));
    let stale = ChangeRequest { expect_head: Some(11), ..request(&[service("x", 1)]) };
    assert!(matches!(controls[0].apply(&stale).await, Err(Error::Conflict { .. })));
}

#[tokio::test]
async fn replay_through_checkpoints_gives_the_same_state() {
    let store = Arc::new(Memory::new());
    let control = start_on(store.clone()).await;
    // A checkpoint is due at every fourth: end on one, just before and just after.
    for number in 1..=13u64 {
        let mut step = request(&[service(&format!("s{}", number % 5), number)]);
        if number % 3 == 0 {
            step.deletes = vec![id(&format!("s{}", (number + 4) % 5))];
        }
        control.apply(&step).await.unwrap();
        let restarted = start_on(store.clone()).await;
        assert_eq!(state(&restarted), state(&control), "after change set {number}");
        assert_eq!(restarted.catalog().change_sets().entries.len(), number as usize);
    }
}

#[tokio::test]
async fn history_can_be_read_and_returned_to() {
    let control = start().await;
    control.apply(&request(&[service("a", 1), service("b", 1)])).await.unwrap();
    control.apply(&request(&[service("a", 2)])).await.unwrap();
    control.apply(&ChangeRequest { deletes: vec![id("b")], ..request(&[service("c", 1)]) }).await.unwrap();
    for number in 4..8 {
        control.apply(&request(&[service("a", number)])).await.unwrap();
    }
    let content = control.change_set(3).await.unwrap();
    assert_eq!((content.puts, content.deletes), (vec![service("c", 1)], vec![id("b")]));
    assert!(matches!(control.change_set(99).await, Err(Error::NotFound { .. })));
    let resources = |control: &Control| -> Vec<Resource> {
        state(control).into_iter().map(|(resource, _, _)| resource).collect()
    };

    let report = control.rollback(2, "me", "bad release", false).await.unwrap();
    assert_eq!(resources(&control), [service("a", 2), service("b", 1)]);
    let change_set = report.change_set.unwrap();
    assert_eq!((change_set.number, change_set.rollback_to), (8, Some(2)));
    // From beyond a checkpoint, and to the very beginning.
    control.rollback(7, "me", "", false).await.unwrap();
    assert_eq!(resources(&control), [service("a", 7), service("c", 1)]);
    control.rollback(0, "me", "", false).await.unwrap();
    assert!(resources(&control).is_empty());
    assert!(control.rollback(0, "me", "", false).await.unwrap().change_set.is_none());
    let numbers: Vec<_> = control.catalog().change_sets().entries.iter().map(|set| set.number).collect();
    assert_eq!(numbers, (1..=10).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn history_is_cut_but_never_what_it_takes_to_restore_the_rest() {
    use weir_control::bounds::HISTORY_MAX;
    let store = Arc::new(Memory::new());
    let control = start_on(store.clone()).await;
    let last = HISTORY_MAX + 30;
    for number in 1..=last {
        let touched = if number == 5 { "early" } else { "s" };
        control.apply(&request(&[service(touched, number)])).await.unwrap();
    }
    let kept = control.catalog().change_sets().entries;
    let oldest = kept.last().unwrap().number;
    assert!((HISTORY_MAX..HISTORY_MAX + 10).contains(&(kept.len() as u64)), "{} are kept", kept.len());
    assert!(matches!(control.change_set(oldest - 1).await, Err(Error::NotFound { .. })));
    assert!(matches!(control.rollback(oldest - 1, "", "", true).await, Err(Error::NotFound { .. })));
    let restarted = start_on(store.clone()).await;
    assert_eq!(state(&restarted), state(&control));
    assert_eq!(restarted.catalog().change_sets().entries.len(), kept.len());
    restarted.rollback(oldest, "me", "", false).await.unwrap();
    let set = restarted.catalog().resources().entries;
    assert_eq!(set.get(&id("s")).unwrap().resource, service("s", oldest));
    assert_eq!(set.get(&id("early")).unwrap().resource, service("early", 5));
}

#[tokio::test]
async fn a_refused_store_leaves_the_resources_as_they_are() {
    let store = Faulty::over(Arc::new(Memory::new()));
    let control = start_on(store.clone()).await;
    control.apply(&request(&[service("a", 1)])).await.unwrap();
    store.refuse_all.store(true, Ordering::SeqCst);
    let refused = control.apply(&request(&[service("a", 2)])).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })));
    store.refuse_all.store(false, Ordering::SeqCst);
    control.apply(&request(&[service("a", 3)])).await.unwrap();
    assert_eq!(control.catalog().head().unwrap().number, 2);
}

#[tokio::test]
async fn static_endpoints_are_endpoints_and_their_change_is_told() {
    let control = start().await;
    let mut changes = control.changes();
    control.apply(&request(&[service("ext", 1)])).await.unwrap();
    let view = control.catalog().endpoints(&ServiceRef::new(NS, "ext"));
    assert!(view.known);
    assert_eq!(view.endpoints.len(), 1);
    assert_eq!(view.endpoints[0].id, "static/127.0.0.1:9000");
    loop {
        let ChangeEvent::Change(change) = changes.next().await else { panic!("no resync is due") };
        if !change.resources.is_empty() {
            assert_eq!(change.services, [ServiceRef::new(NS, "ext")]);
            break;
        }
    }
}

const SHOP: &str = r#"
kind: Gateway
metadata: {name: edge}
spec:
  listeners:
  - {name: web, port: 8080, protocol: HTTP}
  - {name: tls, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: shop}, {name: missing}]}}
---
kind: Certificate
metadata: {name: shop}
spec: {certFile: /tmp/c.pem, keyFile: /tmp/k.pem}
---
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs: [{name: cart}, {name: catalog, weight: 0}]
---
kind: HTTPRoute
metadata: {name: cart-canary}
spec:
  parentRefs: [{kind: Service, name: cart}]
  rules:
  - backendRefs: [{name: cart-v1}, {name: cart-v2}]
---
kind: Service
metadata: {name: cart}
spec: {protocol: http}
---
kind: TrafficPolicy
metadata: {name: patient}
spec:
  targetRefs: [{name: cart}, {name: cart-v2}]
  timeouts: {request: 30s}
---
kind: Service
metadata: {name: unrelated}
spec: {}
"#;

#[tokio::test]
async fn a_subscription_leads_to_all_it_needs_and_nothing_else() {
    let control = start().await;
    let parsed = weir_model::document::parse("shop.yaml", SHOP).expect("well formed");
    let resources: Vec<_> = parsed.documents.into_iter().map(|document| document.resource).collect();
    // A certificate that does not exist is a fault of the set, if the model says so; the closure is pure either way.
    let entries = resources.into_iter().map(|resource| {
        Arc::new(weir_control::resources::ResourceEntry { resource, created_in: 1, changed_in: 1 })
    });
    let set = weir_control::resources::ResourceSet::new(entries);
    let shown = |subscription: &Subscription| {
        let closure = closure(&set, subscription);
        let resources: Vec<_> = closure.resources.iter().map(ToString::to_string).collect();
        let services: Vec<_> = closure.services.iter().map(ToString::to_string).collect();
        (resources.join(" "), services.join(" "))
    };
    let (resources, services) =
        shown(&Subscription::Gateway { namespace: NS.to_owned(), name: "edge".to_owned() });
    assert_eq!(resources, "Gateway/edge HTTPRoute/shop Service/cart Certificate/shop TrafficPolicy/patient");
    assert_eq!(services, "cart catalog");
    let (resources, services) = shown(&Subscription::Upstream(ServiceRef::new(NS, "cart")));
    assert_eq!(resources, "HTTPRoute/cart-canary Service/cart TrafficPolicy/patient");
    assert_eq!(services, "cart cart-v1 cart-v2");
    let nobody = Subscription::Upstream(ServiceRef::new(NS, "nobody"));
    assert_eq!(shown(&nobody), (String::new(), "nobody".to_owned()));
    let gone = Subscription::Gateway { namespace: NS.to_owned(), name: "gone".to_owned() };
    assert_eq!(shown(&gone), (String::new(), String::new()));
    drop(control);
}

/// Routes of every kind, copies, policies, certificates of listeners, clients and upstreams.
const EVERYTHING: &str = r#"
kind: Gateway
metadata: {name: edge}
spec:
  listeners:
  - name: web
    port: 443
    protocol: HTTPS
    tls: {certificateRefs: [{name: own}], frontendValidation: {caCertificateRefs: [{name: old-staff}]}}
  - {name: db, port: 5432, protocol: TCP}
  tls: {frontend: {default: {validation: {caCertificateRefs: [{name: staff}]}}}}
---
kind: ListenerPolicy
metadata: {name: limits}
spec: {targetRefs: [{name: edge, sectionName: web}, {name: edge}]}
---
kind: ListenerPolicy
metadata: {name: elsewhere}
spec: {targetRefs: [{name: inner}]}
---
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow}}}]
    backendRefs:
    - name: cart
      filters: [{type: RequestMirror, requestMirror: {backendRef: {name: audit, namespace: logs}}}]
---
kind: GRPCRoute
metadata: {name: calls}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: cart}]}]}
---
kind: TLSRoute
metadata: {name: names}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: vault}]}]}
---
kind: TCPRoute
metadata: {name: bytes}
spec: {parentRefs: [{name: edge}, {kind: Service, name: db}], rules: [{backendRefs: [{name: postgres}]}]}
---
kind: TrafficPolicy
metadata: {name: secret}
spec:
  targetRefs: [{name: postgres}]
  tls: {caRefs: [{name: internal}], certificateRef: {name: client}}
---
kind: Certificate
metadata: {name: own}
spec: {certFile: a, keyFile: b}
---
kind: Certificate
metadata: {name: client}
spec: {certFile: a, keyFile: b}
---
kind: Certificate
metadata: {name: staff}
spec: {caFile: a}
---
kind: Certificate
metadata: {name: old-staff}
spec: {caFile: a}
---
kind: Certificate
metadata: {name: internal}
spec: {caFile: a}
---
kind: Certificate
metadata: {name: unrelated}
spec: {caFile: a}
"#;

#[test]
fn a_subscription_leads_to_documents_of_every_kind() {
    let parsed = weir_model::document::parse("shop.yaml", EVERYTHING).expect("well formed");
    let entries = parsed.documents.into_iter().map(|document| {
        let resource = document.resource;
        Arc::new(weir_control::resources::ResourceEntry { resource, created_in: 1, changed_in: 1 })
    });
    let set = weir_control::resources::ResourceSet::new(entries);
    let shown = |subscription: &Subscription| {
        let closure = closure(&set, subscription);
        let resources: Vec<_> = closure.resources.iter().map(ToString::to_string).collect();
        let services: Vec<_> = closure.services.iter().map(ToString::to_string).collect();
        (resources.join(" "), services.join(" "))
    };
    let (resources, services) =
        shown(&Subscription::Gateway { namespace: NS.to_owned(), name: "edge".to_owned() });
    assert_eq!(
        resources,
        "Gateway/edge HTTPRoute/web Certificate/client Certificate/internal Certificate/old-staff Certificate/own \
         Certificate/staff TrafficPolicy/secret GRPCRoute/calls TLSRoute/names TCPRoute/bytes ListenerPolicy/limits"
    );
    assert_eq!(services, "cart postgres shadow vault logs/audit");
    let (resources, services) = shown(&Subscription::Upstream(ServiceRef::new(NS, "db")));
    assert_eq!(resources, "Certificate/client Certificate/internal TrafficPolicy/secret TCPRoute/bytes");
    assert_eq!(services, "db postgres");
}

/// Policies and limits for services, gateways, routes and their rules, with fallbacks that have fallbacks.
const POLICIES: &str = r#"
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: web, port: 80, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: web}
spec: {parentRefs: [{name: edge}], rules: [{name: buy, backendRefs: [{name: cart}]}]}
---
kind: RateLimit
metadata: {name: of-gateway}
spec: {targetRefs: [{kind: Gateway, name: edge, sectionName: web}], rates: [{requests: 1}]}
---
kind: RateLimit
metadata: {name: of-rule}
spec: {targetRefs: [{kind: HTTPRoute, name: web, sectionName: buy}], rates: [{requests: 1}]}
---
kind: RateLimit
metadata: {name: of-cart}
spec: {targetRefs: [{name: cart}, {name: other}], rates: [{requests: 1}]}
---
kind: RateLimit
metadata: {name: of-spare}
spec: {targetRefs: [{name: spare}], rates: [{requests: 1}]}
---
kind: RateLimit
metadata: {name: of-a-grpc-route}
spec: {targetRefs: [{kind: GRPCRoute, name: web}], rates: [{requests: 1}]}
---
kind: RateLimit
metadata: {name: of-another-gateway}
spec: {targetRefs: [{kind: Gateway, name: inner}], rates: [{requests: 1}]}
"#;

#[test]
fn a_subscription_leads_to_policies_limits_and_fallbacks() {
    let policy = |name: &str, target: &str, fallback: serde_json::Value| {
        let (kind, target) = target.split_once('/').expect("kind/name");
        serde_json::json!({
            "apiVersion": "weir.dev/v1", "kind": "TrafficPolicy", "metadata": {"name": name},
            "spec": {"targetRefs": [{"kind": kind, "name": target}],
                     "breakers": [{}, {"fallback": {"service": fallback}}]}
        })
    };
    let far = serde_json::json!({"name": "last", "namespace": "far"});
    let policies = [
        policy("of-cart", "Service/cart", serde_json::json!({"name": "spare"})),
        policy("of-route", "HTTPRoute/web", serde_json::json!({"name": "static-page"})),
        policy("of-spare", "Service/spare", far),
        policy("unrelated", "Service/web", serde_json::json!({"name": "nothing"})),
    ];
    let parsed = weir_model::document::parse("shop.yaml", POLICIES).expect("well formed");
    let resources = parsed.documents.into_iter().map(|document| document.resource);
    // Not all of these can be written in documents yet.
    let policies = policies.into_iter().map(|policy| serde_json::from_value(policy).expect("a policy"));
    let entries = resources.chain(policies).map(|resource| {
        Arc::new(weir_control::resources::ResourceEntry { resource, created_in: 1, changed_in: 1 })
    });
    let set = weir_control::resources::ResourceSet::new(entries);
    let shown = |subscription: &Subscription| {
        let closure = closure(&set, subscription);
        let resources: Vec<_> = closure.resources.iter().map(ToString::to_string).collect();
        let services: Vec<_> = closure.services.iter().map(ToString::to_string).collect();
        (resources.join(" "), services.join(" "))
    };
    let (resources, services) =
        shown(&Subscription::Gateway { namespace: NS.to_owned(), name: "edge".to_owned() });
    assert_eq!(
        resources,
        "Gateway/edge HTTPRoute/web TrafficPolicy/of-cart TrafficPolicy/of-route TrafficPolicy/of-spare \
         RateLimit/of-cart RateLimit/of-gateway RateLimit/of-rule RateLimit/of-spare"
    );
    assert_eq!(services, "cart spare static-page far/last");
    let (resources, services) = shown(&Subscription::Upstream(ServiceRef::new(NS, "spare")));
    assert_eq!(resources, "TrafficPolicy/of-spare RateLimit/of-spare");
    assert_eq!(services, "spare far/last");
    let own = shown(&Subscription::Own(ServiceRef::new(NS, "cart")));
    assert_eq!(own, ("RateLimit/of-cart".to_owned(), String::new()));
}
