//! Routing allocates nothing, however many routes there are: counted by the allocator itself.
#![allow(
    unsafe_code,
    reason = "an allocator can only be wrapped with unsafe; it forwards to the system's and counts"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;
use weir_model::{Position, Resource, ServiceRef};
use weir_proxy::route::{Decision, RequestView};
use weir_proxy::snapshot::{Compiler, Inputs, MeshLookup, Role, Snapshot};

struct Counting;

thread_local! {
    /// Per thread, so that the test harness's own threads do not count.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Request<'a> {
    host: &'a str,
    path: &'a str,
}

impl RequestView for Request<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn query(&self) -> Option<&[u8]> {
        Some(b"version=2&x=1")
    }

    fn values<'a>(&'a self, lower_name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        (lower_name == b"x-version").then_some(&b"2"[..]).into_iter()
    }
}

fn resource(kind: &str, name: &str, spec: &serde_json::Value) -> Resource {
    let metadata = json!({"namespace": "default", "name": name});
    serde_json::from_value(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}))
        .unwrap()
}

/// 100 hosts with 20 rules each.
fn resources() -> Vec<Resource> {
    let listeners = json!([{"name": "web", "port": 8080, "protocol": "HTTP"}]);
    let mut resources = vec![resource("Gateway", "edge", &json!({"listeners": listeners}))];
    for service in ["one", "two"] {
        let endpoints = json!([{"address": "127.0.0.1", "port": 9000}]);
        resources.push(resource("Service", service, &json!({"endpoints": endpoints})));
    }
    for host in 0..100 {
        let rule = |rule: u32| {
            let versions = json!([{"name": "X-Version", "value": "2"}]);
            let params = json!([{"name": "version", "value": "2"}]);
            let matches = json!([{"path": {"value": format!("/a/{rule}")}, "headers": versions, "queryParams": params}]);
            let backends = json!([{"name": "one", "weight": 9}, {"name": "two", "weight": 1}]);
            json!({"matches": matches, "backendRefs": backends})
        };
        let rules: Vec<_> = (0..20).map(rule).collect();
        let hostnames = [format!("h{host}.example"), format!("*.h{host}.example")];
        let spec = json!({"parentRefs": [{"name": "edge"}], "hostnames": hostnames, "rules": rules});
        resources.push(resource("HTTPRoute", &format!("r{host}"), &spec));
    }
    resources
}

fn count(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn is_forwarded(snapshot: &Snapshot, request: &Request<'_>, rng: &mut SmallRng) -> bool {
    let table = &snapshot.listeners[0].routes;
    matches!(snapshot.route(table, request, rng), Decision::Forward { .. })
}

#[test]
fn routing_allocates_nothing() {
    let inputs = Inputs::of_resources(Position::new(0, 1), resources());
    let gateway = Compiler::new(Role::Gateway { gateways: vec![] }).compile(&inputs, None).unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    let requests = [
        (Request { host: "h7.example", path: "/a/13/x" }, true),
        (Request { host: "x.y.H99.example", path: "/a/0" }, true),
        (Request { host: "h7.example", path: "/b/13" }, false),
        (Request { host: "unknown", path: "/" }, false),
    ];
    assert_eq!(count(|| drop(Box::new(1))), 1, "the counter counts");
    for (request, forwarded) in &requests {
        let allocations = count(|| {
            for _ in 0..1000 {
                assert_eq!(is_forwarded(&gateway, request, &mut rng), *forwarded);
            }
        });
        assert_eq!(allocations, 0, "{} {}", request.host, request.path);
    }
}

#[test]
fn looking_up_a_service_of_the_mesh_allocates_nothing() {
    let inputs = Inputs::of_resources(Position::new(0, 1), resources());
    let front = Role::Sidecar { service: ServiceRef::new("default", "front") };
    let sidecar = Compiler::new(front).compile(&inputs, None).unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    let request = Request { host: "one", path: "/a" };
    let allocations = count(|| {
        for host in ["one", "two.default", "a.b.c.example"].repeat(100) {
            match sidecar.mesh.lookup(host.as_bytes()) {
                MeshLookup::Known(service) => {
                    let decision = sidecar.route(&service.routes, &request, &mut rng);
                    assert!(matches!(decision, Decision::Forward { .. }));
                }
                MeshLookup::Unknown => assert_eq!(host, "a.b.c.example"),
                MeshLookup::NotSubscribed(service) => panic!("{service}"),
            }
        }
    });
    assert_eq!(allocations, 1, "only the list of hosts");
    // Another spelling might be another service, so that it is asked for first.
    assert!(matches!(sidecar.mesh.lookup(b"TWO.default"), MeshLookup::NotSubscribed(_)));
    assert!(sidecar.mesh.known(b"TWO.default").is_some());
}
