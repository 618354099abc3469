//! What routing costs with 10, 1,000 and 10,000 routes: nanoseconds per request, on the very table that the proxy uses.
//!
//! ```text
//! cargo run --release -p weir-proxy --example route_cost
//! ```
//!
//! Once for requests that are the same again and again, once for requests spread over all routes, which is the worst for
//! caches. Each figure is the least of several rounds.
#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::hint::black_box;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use weir_model::{Position, Resource};
use weir_proxy::route::{Decision, RequestView};
use weir_proxy::snapshot::{Compiler, Inputs, Role, Snapshot};

const SIZES: [usize; 3] = [10, 1_000, 10_000];
/// A snapshot has at most 4,096 different expressions.
const EXPRESSION_SIZES: [usize; 3] = [10, 1_000, 4_000];
const ROUNDS: usize = 9;
const REQUESTS: usize = 100_000;
/// How many different requests there are when they are the same again and again.
const FEW: usize = 10;

struct Request {
    host: String,
    path: String,
}

impl RequestView for Request {
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
        Some(b"page=3")
    }

    fn values<'a>(&'a self, lower_name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        (lower_name == b"x-version").then_some(&b"2"[..]).into_iter()
    }
}

/// Routes of one shape, and the request that the one of a number serves.
struct Shape {
    name: &'static str,
    sizes: [usize; 3],
    /// The routes, for so many.
    routes: fn(usize) -> Vec<Resource>,
    request: fn(usize) -> Request,
}

fn resource(kind: &str, name: &str, spec: &Value) -> Resource {
    let metadata = json!({"namespace": "default", "name": name});
    serde_json::from_value(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}))
        .expect("a resource")
}

fn route(name: &str, hostnames: &Value, rules: &[Value]) -> Resource {
    let spec = json!({"parentRefs": [{"name": "edge"}], "hostnames": hostnames, "rules": rules});
    resource("HTTPRoute", name, &spec)
}

/// A rule for a path.
fn rule(kind: &str, path: &str) -> Value {
    let headers = json!([{"name": "X-Version", "value": "2"}]);
    let matches = json!([{"path": {"type": kind, "value": path}, "headers": headers}]);
    json!({"matches": matches, "backendRefs": [{"name": "app"}]})
}

/// So many rules of one host, a hundred to a route.
fn rules(count: usize, rule: impl Fn(usize) -> Value) -> Vec<Resource> {
    let all: Vec<_> = (0..count).map(rule).collect();
    let routes = all.chunks(100).enumerate();
    routes.map(|(i, rules)| route(&format!("r{i}"), &json!(["shop.example"]), rules)).collect()
}

fn on_shop(path: String) -> Request {
    Request { host: "shop.example".to_owned(), path }
}

fn shapes() -> Vec<Shape> {
    vec![
        Shape {
            name: "hosts",
            sizes: SIZES,
            routes: |count| {
                let host = |i| json!([format!("h{i}.example")]);
                (0..count).map(|i| route(&format!("r{i}"), &host(i), &[rule("PathPrefix", "/a")])).collect()
            },
            request: |i| Request { host: format!("h{i}.example"), path: "/a/b".to_owned() },
        },
        Shape {
            name: "prefixes of one host",
            sizes: SIZES,
            routes: |count| rules(count, |i| rule("PathPrefix", &format!("/api/v1/s{i}"))),
            request: |i| on_shop(format!("/api/v1/s{i}/items/42")),
        },
        Shape {
            name: "exact paths of one host",
            sizes: SIZES,
            routes: |count| rules(count, |i| rule("Exact", &format!("/api/v1/s{i}/list"))),
            request: |i| on_shop(format!("/api/v1/s{i}/list")),
        },
        Shape {
            name: "expressions of one host",
            sizes: EXPRESSION_SIZES,
            routes: |count| rules(count, |i| rule("RegularExpression", &format!("/api/s{i}/[0-9]+"))),
            request: |i| on_shop(format!("/api/s{i}/42")),
        },
    ]
}

fn snapshot(routes: Vec<Resource>) -> Snapshot {
    let listeners = json!([{"name": "web", "port": 8080, "protocol": "HTTP"}]);
    let gateway = resource("Gateway", "edge", &json!({"listeners": listeners}));
    let app = resource("Service", "app", &json!({"endpoints": [{"address": "127.0.0.1", "port": 9000}]}));
    let inputs = Inputs::of_resources(Position::new(0, 1), [gateway, app].into_iter().chain(routes));
    Compiler::new(Role::Gateway { gateways: vec![] }).compile(&inputs, None).expect("it compiles")
}

/// Nanoseconds per request, when `different` requests are made in turn by chance.
fn measure(snapshot: &Snapshot, shape: &Shape, size: usize, different: usize) -> f64 {
    let table = &snapshot.listeners[0].routes;
    let mut rng = SmallRng::seed_from_u64(1);
    let requests: Vec<_> = (0..different).map(|i| (shape.request)(i * size / different)).collect();
    let turns: Vec<_> = (0..REQUESTS).map(|_| rng.random_range(0..different)).collect();
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for &turn in &turns {
            let decision = snapshot.route(table, black_box(&requests[turn]), &mut rng);
            assert!(matches!(decision, Decision::Forward { .. }));
        }
        least = least.min(began.elapsed().as_nanos() as f64 / turns.len() as f64);
    }
    least
}

fn main() {
    println!("nanoseconds per request: {FEW} different ones / spread over all routes\n");
    for shape in shapes() {
        print!("{:<24}", shape.name);
        for size in shape.sizes {
            let snapshot = snapshot((shape.routes)(size));
            let few = measure(&snapshot, &shape, size, FEW);
            let all = measure(&snapshot, &shape, size, size);
            print!("  {size:>6} routes: {few:>5.0} / {all:>5.0}");
        }
        println!();
    }
}
