//! Limits at work: who is refused, who waits, and what they are told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_model::ServiceRef;
use weir_proxy::explain::{Request, explain};
use weir_proxy::listen::Role as ListenRole;
use weir_proxy::snapshot::Role;
use weir_proxy::{AccessLogConfig, Mode};

use crate::filters::documents;
use crate::support::{Client, Gate, Proxy, Response, Upstream, eventually};

/// The rules that these limits are for: one called `buy`, and the rest.
const RULES: &str = "[{name: buy, matches: [{path: {value: /buy}}], backendRefs: [{name: app}]}, \
                      {backendRefs: [{name: app}]}]";

fn limit(name: &str, spec: &str) -> String {
    format!("---\nkind: RateLimit\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn proxy(app: SocketAddr, limits: &[(&str, &str)]) -> Proxy {
    let limits: String = limits.iter().map(|(name, spec)| limit(name, spec)).collect();
    Proxy::gateway(&(documents(app, RULES) + &limits))
}

fn get(client: &mut Client, path: &str, fields: &str) -> Response {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n"));
    client.response()
}

fn metric(proxy: &Proxy, line: &str) -> bool {
    proxy.text().lines().any(|one| one == line)
}

#[test]
fn a_burst_passes_and_the_rest_is_told_when_to_come_again() {
    let app = Upstream::echo();
    let spec = "{targetRefs: [{name: app}], rates: [{requests: 3, per: 1h, burst: 3}]}";
    let proxy = proxy(app.addr, &[("slow", spec)]);
    let mut client = Client::connect(proxy.addr());
    for _ in 0..3 {
        assert_eq!(get(&mut client, "/", "").status, 200);
    }
    let refused = get(&mut client, "/", "");
    assert_eq!(refused.status, 429);
    let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1100..=1200).contains(&after), "{after}");
    assert_eq!(refused.field("ratelimit-policy"), Some("\"slow\";q=3;w=3600"));
    let left = refused.field("ratelimit").unwrap();
    assert!(left.starts_with("\"slow\";r=0;t="), "{left}");
    assert_eq!(refused.field("x-weir-reason"), Some("limited"));
    assert!(refused.text().contains("RateLimit/slow"), "{}", refused.text());
    // The connection goes on, and nothing of what was refused reached the application.
    assert_eq!(get(&mut client, "/", "").status, 429);
    assert_eq!(app.requests(), 3);
    assert!(metric(
        &proxy,
        "weir_proxy_limit_admitted_total{limit=\"RateLimit/slow\",target=\"Service/app\"} 3"
    ));
    let line =
        "weir_proxy_limit_refused_total{limit=\"RateLimit/slow\",target=\"Service/app\",reason=\"rate\"} 2";
    assert!(metric(&proxy, line), "{}", proxy.text());
}

#[test]
fn rules_listeners_and_keys_have_limits_of_their_own() {
    let app = Upstream::echo();
    let by_rule =
        "{targetRefs: [{kind: HTTPRoute, name: all, sectionName: buy}], rates: [{requests: 1, per: 1h}]}";
    let by_user = "{targetRefs: [{kind: Gateway, name: edge, sectionName: web}], key: [{type: header, name: X-User}], \
                    rates: [{requests: 2, per: 1h}]}";
    let elsewhere =
        "{targetRefs: [{kind: Gateway, name: edge, sectionName: admin}], rates: [{requests: 1, per: 1h}]}";
    let proxy = proxy(app.addr, &[("a", by_rule), ("b", by_user), ("c", elsewhere)]);
    let mut client = Client::connect(proxy.addr());
    let mut status = |path: &str, user: &str| get(&mut client, path, &format!("x-user: {user}\r\n")).status;
    assert_eq!(status("/buy", "ada"), 200);
    assert_eq!(status("/buy", "bob"), 429, "one for the rule");
    assert_eq!(status("/", "ada"), 200, "her second");
    assert_eq!(status("/", "ada"), 429, "her third");
    assert_eq!(status("/", "bob"), 200, "what was refused by the rule was given back to him");
    assert_eq!(status("/", "bob"), 200);
    assert_eq!(status("/", "bob"), 429);
}

#[test]
fn shadow_refuses_nothing_and_counts() {
    let app = Upstream::echo();
    let spec = "{targetRefs: [{name: app}], rates: [{requests: 1, per: 1h}], shadow: true}";
    let proxy = proxy(app.addr, &[("s", spec)]);
    let mut client = Client::connect(proxy.addr());
    for _ in 0..4 {
        assert_eq!(get(&mut client, "/", "").status, 200);
    }
    let labels = "limit=\"RateLimit/s\",target=\"Service/app\",reason=\"rate\"";
    assert!(metric(&proxy, &format!("weir_proxy_limit_shadow_refused_total{{{labels}}} 3")));
}

#[test]
fn counters_outlive_a_change_of_the_rate() {
    let app = Upstream::echo();
    let documents = documents(app.addr, RULES);
    let with = |requests: u32| {
        let spec = format!("{{targetRefs: [{{name: app}}], rates: [{{requests: {requests}, per: 1h}}]}}");
        documents.clone() + &limit("l", &spec)
    };
    let mut proxy = Proxy::gateway(&with(2));
    let mut client = Client::connect(proxy.addr());
    assert_eq!(get(&mut client, "/", "").status, 200);
    assert_eq!(get(&mut client, "/", "").status, 200);
    assert_eq!(get(&mut client, "/", "").status, 429);
    // What was spent stays spent.
    proxy.publish(&with(3));
    assert_eq!(get(&mut client, "/", "").status, 200);
    assert_eq!(get(&mut client, "/", "").status, 429);
    proxy.publish(&documents);
    assert_eq!(get(&mut client, "/", "").status, 200);
}

/// Whatever rates come beside it, stand before it, or go: one that is used up stays so.
#[test]
fn rates_that_come_and_go_leave_the_others_as_they_are() {
    let app = Upstream::echo();
    let documents = documents(app.addr, RULES);
    let (tight, wide) = ("{requests: 1, per: 10m, burst: 3}", "{requests: 1000}");
    for key in ["", ", key: [{type: header, name: x-user}]"] {
        let with = |rates: &[&str]| {
            let rates = rates.join(", ");
            documents.clone()
                + &limit("l", &format!("{{targetRefs: [{{name: app}}], rates: [{rates}]{key}}}"))
        };
        let mut proxy = Proxy::gateway(&with(&[tight]));
        let mut client = Client::connect(proxy.addr());
        let mut ask = || get(&mut client, "/", "x-user: ada\r\n").status;
        assert_eq!([ask(), ask(), ask(), ask()], [200, 200, 200, 429]);
        for rates in [vec![tight, wide], vec![wide, tight], vec![tight]] {
            proxy.publish(&with(&rates));
            assert_eq!(ask(), 429, "{rates:?}{key}");
        }
        proxy.publish(&with(&[wide]));
        assert_eq!(ask(), 200);
    }
}

#[test]
fn one_at_a_time_and_the_next_in_turn() {
    let gate = Gate::new();
    let opened = gate.clone();
    let app = Upstream::gated(gate);
    let spec = "{targetRefs: [{name: app}], algorithm: concurrency, concurrencyMax: 1, queue: {max: 1, timeout: 1m}}";
    let proxy = proxy(app.addr, &[("one", spec)]);
    let mut first = Client::connect(proxy.addr());
    first.send("GET /first HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    eventually("the first to be under way", || app.requests() == 1);
    let mut second = Client::connect(proxy.addr());
    second.send("GET /second HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let waited = "weir_proxy_limit_waited_total{limit=\"RateLimit/one\",target=\"Service/app\"} 1";
    eventually("the second to wait", || metric(&proxy, waited));
    let mut third = Client::connect(proxy.addr());
    let refused = get(&mut third, "/third", "");
    assert_eq!((refused.status, refused.field("x-weir-reason")), (503, Some("shed")));
    assert_eq!(app.requests(), 1, "the second waits");
    opened.open();
    assert_eq!(first.response().status, 200);
    eventually("the second to be under way", || app.requests() == 2);
    opened.open();
    assert_eq!(second.response().status, 200);
    let idle = "weir_proxy_limit_in_flight{limit=\"RateLimit/one\",target=\"Service/app\"} 0";
    eventually("nothing to be in flight", || metric(&proxy, idle));
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let gate = Gate::new();
    let opened = gate.clone();
    let app = Upstream::gated(gate);
    let spec = "{targetRefs: [{name: app}], algorithm: concurrency, concurrencyMax: 1, queue: {max: 5, timeout: 1m}}";
    let proxy = proxy(app.addr, &[("one", spec)]);
    let mut first = Client::connect(proxy.addr());
    first.send("GET /first HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    eventually("the first to be under way", || app.requests() == 1);
    let mut second = Client::connect(proxy.addr());
    second.send("GET /second HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let waited = "weir_proxy_limit_waited_total{limit=\"RateLimit/one\",target=\"Service/app\"} 1";
    eventually("the second to wait", || metric(&proxy, waited));
    drop(second);
    eventually("the second to be gone", || proxy.metrics().active_connections() == 1);
    opened.open();
    assert_eq!(first.response().status, 200);
    opened.open();
    assert_eq!(get(&mut first, "/again", "").status, 200);
    assert_eq!(app.requests(), 2, "who left was not served");
}

#[test]
fn a_leaky_bucket_spaces_requests() {
    let app = Upstream::echo();
    let spec = "{targetRefs: [{name: app}], algorithm: leaky_bucket, rates: [{requests: 20}], queue: {max: 2, timeout: 1m}}";
    let proxy = proxy(app.addr, &[("even", spec)]);
    let mut client = Client::connect(proxy.addr());
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(get(&mut client, "/", "").status, 200);
    }
    // One at once, then one each 50 ms.
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[test]
fn a_document_may_have_the_answer() {
    let app = Upstream::echo();
    let spec = "{targetRefs: [{name: app}], rates: [{requests: 1, per: 1h}], response: {status: 403, \
                 headers: [{name: X-Plan, value: free}], body: \"no more today\"}}";
    let proxy = proxy(app.addr, &[("daily", spec)]);
    let mut client = Client::connect(proxy.addr());
    assert_eq!(get(&mut client, "/", "").status, 200);
    let refused = get(&mut client, "/", "");
    assert_eq!((refused.status, refused.field("x-plan")), (403, Some("free")));
    assert_eq!(refused.text(), "no more today");
    assert_eq!(refused.field("content-type"), Some("text/plain; charset=utf-8"));
}

#[test]
fn calls_of_grpc_are_told_by_status() {
    let app = Upstream::echo();
    let spec = "{targetRefs: [{name: app}], rates: [{requests: 1, per: 1h}]}";
    let proxy = proxy(app.addr, &[("calls", spec)]);
    let mut client = Client::connect(proxy.addr());
    assert_eq!(get(&mut client, "/", "").status, 200);
    let refused = get(&mut client, "/shop.Cart/Add", "content-type: application/grpc\r\nte: trailers\r\n");
    assert_eq!((refused.status, refused.field("grpc-status")), (200, Some("8")));
}

#[test]
fn tunnels_count_as_long_as_they_live_and_are_not_given_back() {
    let app = Upstream::start(|conn| {
        conn.request()?;
        conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")?;
        conn.until_closed();
        Ok(())
    });
    let upgrade = |client: &mut Client| get(client, "/", "connection: upgrade\r\nupgrade: echo\r\n").status;
    let rate = "{targetRefs: [{name: app}], rates: [{requests: 1, per: 1h}]}";
    let proxy_of_rate = proxy(app.addr, &[("rate", rate)]);
    let mut first = Client::connect(proxy_of_rate.addr());
    assert_eq!(upgrade(&mut first), 101);
    drop(first);
    eventually("the tunnel to be over", || proxy_of_rate.metrics().active_connections() == 0);
    assert_eq!(upgrade(&mut Client::connect(proxy_of_rate.addr())), 429, "it was used");

    let places = "{targetRefs: [{name: app}], algorithm: concurrency, concurrencyMax: 1}";
    let proxy_of_places = proxy(app.addr, &[("one", places)]);
    let mut first = Client::connect(proxy_of_places.addr());
    assert_eq!(upgrade(&mut first), 101);
    assert_eq!(upgrade(&mut Client::connect(proxy_of_places.addr())), 503, "it is in flight");
    drop(first);
    let idle = "weir_proxy_limit_in_flight{limit=\"RateLimit/one\",target=\"Service/app\"} 0";
    eventually("its place to be free", || metric(&proxy_of_places, idle));
}

#[test]
fn nobody_holds_a_place_while_he_waits_for_his_turn() {
    let app = Upstream::echo();
    let even = "{targetRefs: [{name: app}], algorithm: leaky_bucket, rates: [{requests: 1}], queue: {max: 20, timeout: 60s}}";
    let one = "{targetRefs: [{name: app}], algorithm: concurrency, concurrencyMax: 1}";
    let proxy = proxy(app.addr, &[("even", even), ("one", one)]);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(proxy.addr())).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    }
    // One each second is never two at once.
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn who_leaves_before_his_turn_gives_it_back() {
    let app = Upstream::echo();
    let even = "{targetRefs: [{name: app}], algorithm: leaky_bucket, rates: [{requests: 1, per: 30s}], queue: {max: 1, timeout: 1m}}";
    let proxy = proxy(app.addr, &[("even", even)]);
    let mut client = Client::connect(proxy.addr());
    assert_eq!(get(&mut client, "/", "").status, 200);
    for _ in 0..3 {
        let mut waits = Client::connect(proxy.addr());
        waits.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        let refused = || get(&mut Client::connect(proxy.addr()), "/", "").status == 429;
        eventually("one to wait, and no more may", refused);
        socket2::SockRef::from(&waits.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(waits);
        eventually("it to be gone", || proxy.metrics().active_connections() == 1);
    }
    assert_eq!(app.requests(), 1);
}

#[test]
fn who_cannot_wait_for_his_turn_is_refused_at_once() {
    let app = Upstream::echo();
    let rules = "[{timeouts: {request: 700ms}, backendRefs: [{name: app}]}]";
    let even = "{targetRefs: [{name: app}], algorithm: leaky_bucket, rates: [{requests: 1, per: 30s}], queue: {max: 5, timeout: 5m}}";
    let proxy = Proxy::gateway(&(documents(app.addr, rules) + &limit("even", even)));
    let mut client = Client::connect(proxy.addr());
    assert_eq!(get(&mut client, "/", "").status, 200);
    for _ in 0..3 {
        let refused = get(&mut client, "/", "");
        assert_eq!(
            (refused.status, refused.field("x-weir-reason")),
            (429, Some("limited")),
            "{}",
            refused.text()
        );
        assert!(
            refused.text().contains("its turn would be too late, by RateLimit/even"),
            "{}",
            refused.text()
        );
        // Its place is free again, so that the next one would have the same turn.
        let seconds: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!(seconds <= 30, "{seconds}");
    }
    let turn =
        "weir_proxy_limit_refused_total{limit=\"RateLimit/even\",target=\"Service/app\",reason=\"turn\"} 3";
    assert!(metric(&proxy, turn), "{}", proxy.text());
    // None of them has waited.
    let waited = "weir_proxy_limit_waited_total{limit=\"RateLimit/even\",target=\"Service/app\"} 0";
    assert!(metric(&proxy, waited), "{}", proxy.text());
    assert_eq!(app.requests(), 1);
}

#[test]
fn who_waits_in_vain_is_told_for_what_and_how_long() {
    let gate = Gate::new();
    let app = Upstream::gated(gate.clone());
    let rules = "[{matches: [{path: {value: /buy}}], backendRefs: [{name: app}]}, \
                 {timeouts: {request: 300ms}, backendRefs: [{name: app}]}]";
    let one = "{targetRefs: [{name: app}], algorithm: concurrency, concurrencyMax: 1, queue: {max: 5, timeout: 1m}}";
    let proxy = Proxy::gateway(&(documents(app.addr, rules) + &limit("one", one)));
    let mut first = Client::connect(proxy.addr());
    first.send("GET /buy HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    eventually("the first to be under way", || app.requests() == 1);
    let late = get(&mut Client::connect(proxy.addr()), "/", "");
    assert_eq!((late.status, late.field("x-weir-reason")), (504, Some("timeout")), "{}", late.text());
    let told = "its turn at RateLimit/one did not come within 300 ms (timeouts.request of HTTPRoute/all#1)";
    assert!(late.text().contains(told), "{}", late.text());
    let counted = "weir_proxy_limit_refused_total{limit=\"RateLimit/one\",target=\"Service/app\",reason=\"request_timeout\"} 1";
    assert!(metric(&proxy, counted), "{}", proxy.text());
    gate.open();
    assert_eq!(first.response().status, 200);
}

#[test]
fn each_one_in_a_queue_has_the_whole_time() {
    let gate = Gate::new();
    let opened = gate.clone();
    let app = Upstream::gated(gate);
    let spec = "{targetRefs: [{name: app}], algorithm: concurrency, concurrencyMax: 1, queue: {max: 5, timeout: 600ms}}";
    let proxy = proxy(app.addr, &[("one", spec)]);
    let mut first = Client::connect(proxy.addr());
    first.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    eventually("the first to be under way", || app.requests() == 1);
    let waits = || {
        std::thread::spawn({
            let addr = proxy.addr();
            move || {
                let begun = Instant::now();
                (get(&mut Client::connect(addr), "/", "").status, begun.elapsed())
            }
        })
    };
    let waited = |count: u32| {
        format!("weir_proxy_limit_waited_total{{limit=\"RateLimit/one\",target=\"Service/app\"}} {count}")
    };
    let early = waits();
    eventually("one to wait", || metric(&proxy, &waited(1)));
    // Well after the first: what ends its wait must not end that of others.
    std::thread::sleep(Duration::from_millis(300));
    let late = waits();
    for who in [early, late] {
        let (status, took) = who.join().unwrap();
        assert_eq!(status, 503);
        assert!(took >= Duration::from_millis(600), "{took:?}");
    }
    opened.open();
    assert_eq!(first.response().status, 200);
}

/// A sidecar of a service, with documents of its own.
pub(crate) fn sidecar(
    service: &str,
    app: SocketAddr,
    documents: &str,
    log: Option<&std::path::Path>,
) -> Proxy {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let service = ServiceRef::new("default", service);
    let mode = Mode::Sidecar { service: service.clone(), inbound: any, app, outbound: any };
    Proxy::start(mode, Role::Sidecar { service }, documents, |config| {
        let to = |path: &std::path::Path| AccessLogConfig { path: Some(path.into()), ..Default::default() };
        config.access_log = log.map(to);
    })
}

#[test]
fn callers_have_limits_of_their_own_and_cannot_take_anothers() {
    let app = Upstream::echo();
    let cart = "kind: Service\nmetadata: {name: cart}\nspec: {}\n";
    let spec =
        "{targetRefs: [{name: cart}], rates: [{requests: 2, per: 1h, burst: 2}], key: [{type: caller}]}";
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let callee = sidecar("cart", app.addr, &(cart.to_owned() + &limit("each", spec)), Some(&log));
    let inbound = callee.fixed(ListenRole::Inbound);
    let towards = format!(
        "kind: Service\nmetadata: {{name: cart}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}\n",
        inbound.port()
    );
    let callers = ["front", "back"].map(|name| sidecar(name, app.addr, &towards, None));
    let call = |caller: usize, fields: &str| {
        let mut client = Client::connect(callers[caller].fixed(ListenRole::Outbound));
        client.send(format!("GET / HTTP/1.1\r\nHost: cart\r\n{fields}\r\n"));
        client.response()
    };
    let seen = call(0, "").text().to_lowercase();
    assert!(seen.contains("\r\nx-weir-caller: front\r\n"), "{seen}");
    assert_eq!(call(0, "").status, 200);
    assert_eq!(call(0, "").status, 429, "it has had its two");
    // An application cannot call itself otherwise, however it is spelt.
    assert_eq!(call(0, "X-Weir-Caller: back\r\n").status, 429);
    assert_eq!(call(0, "X_Weir_Caller: back\r\n").status, 429);
    assert_eq!((call(1, "").status, call(1, "").status, call(1, "").status), (200, 200, 429));
    // Who says nothing, or says it twice, is nobody.
    let mut direct = Client::connect(inbound);
    for fields in ["", "X-Weir-Caller: x\r\nX-Weir-Caller: y\r\n"] {
        direct.send(format!("GET / HTTP/1.1\r\nHost: cart\r\n{fields}\r\n"));
        assert_eq!(direct.response().status, 200);
    }
    assert_eq!(direct.get("/").status, 429);
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("all are logged", || lines().lines().count() == 11);
    let by = |caller: &str| lines().matches(&format!("\"caller\":\"{caller}\"")).count();
    assert_eq!((by("front"), by("back"), by("x")), (5, 3, 0), "{}", lines());
}

#[test]
fn a_gateway_believes_nobody_who_names_a_caller() {
    let app = Upstream::echo();
    let spec =
        "{targetRefs: [{name: app}], rates: [{requests: 1, per: 1h, burst: 1}], key: [{type: caller}]}";
    let proxy = proxy(app.addr, &[("each", spec)]);
    let mut client = Client::connect(proxy.addr());
    let first = get(&mut client, "/", "X-Weir-Caller: a\r\n");
    assert!(
        first.status == 200 && !first.text().to_lowercase().contains("x-weir-caller"),
        "{}",
        first.text()
    );
    assert_eq!(get(&mut client, "/", "X-Weir-Caller: b\r\n").status, 429);
}

#[test]
fn who_calls_is_nobodys_business_outside_the_mesh() {
    let (app, world) = (Upstream::echo(), Upstream::echo());
    let front = sidecar("front", app.addr, "", None);
    let mut client = Client::connect(front.fixed(ListenRole::Outbound));
    client.send(format!("GET http://{}/ HTTP/1.1\r\nHost: x\r\nX-Weir-Caller: a\r\n\r\n", world.addr));
    let seen = client.response().text().to_lowercase();
    assert!(seen.starts_with("get /") && !seen.contains("x-weir-caller"), "{seen}");
}

#[test]
fn each_of_several_rates_is_explained() {
    let app = Upstream::echo();
    let spec = "{targetRefs: [{name: app}], rates: [{requests: 3, per: 1h}, {requests: 100, per: 24h}]}";
    let proxy = proxy(app.addr, &[("slow", spec)]);
    let mut client = Client::connect(proxy.addr());
    assert_eq!(get(&mut client, "/", "").status, 200);
    let request = Request::parse("GET", "http://shop.example/", []).unwrap();
    let text = explain(&proxy.shared.snapshot.load(), &request, &mut SmallRng::seed_from_u64(1)).to_string();
    assert!(text.contains("token_bucket: 2 left of 3 in 3600s"), "{text}");
    assert!(text.contains("; 99 left of 100 in 86400s"), "{text}");
}

#[test]
fn each_of_several_rates_is_told() {
    let app = Upstream::echo();
    let rates = "{targetRefs: [{name: app}], rates: [{requests: 3, per: 1h}, {requests: 100, per: 24h}]";
    for key in ["}", ", key: [{type: header, name: x-user}]}", ", algorithm: sliding_window}"] {
        let proxy = proxy(app.addr, &[("slow", &format!("{rates}{key}"))]);
        let mut client = Client::connect(proxy.addr());
        for _ in 0..3 {
            assert_eq!(get(&mut client, "/", "x-user: ada\r\n").status, 200);
        }
        let refused = get(&mut client, "/", "x-user: ada\r\n");
        assert_eq!(refused.status, 429);
        let policies = "\"slow:1h\";q=3;w=3600, \"slow:24h\";q=100;w=86400";
        assert_eq!(refused.field("ratelimit-policy"), Some(policies), "{key}");
        let left = refused.field("ratelimit").unwrap();
        assert!(left.starts_with("\"slow:1h\";r=0;t="), "{left}");
        assert!(left.contains(", \"slow:24h\";r=97;t="), "{left}");
    }
}

#[test]
fn what_is_closed_for_want_of_a_lease_says_so() {
    let app = Upstream::echo();
    let spec = |alone: &str| {
        format!(
            "{{targetRefs: [{{name: app}}], scope: global, alone: {alone}, rates: [{{requests: 1, per: 1h}}]}}"
        )
    };
    let closed = proxy(app.addr, &[("all", &spec("closed"))]);
    let refused = get(&mut Client::connect(closed.addr()), "/", "");
    assert_eq!((refused.status, refused.field("x-weir-reason")), (429, Some("limited")));
    assert!(
        refused.text().contains("without a lease all is refused, by RateLimit/all"),
        "{}",
        refused.text()
    );
    let counted = "weir_proxy_limit_refused_total{limit=\"RateLimit/all\",target=\"Service/app\",reason=\"no_lease\"} 1";
    assert!(metric(&closed, counted), "{}", closed.text());
    let explained = ends(&closed, &[]);
    assert!(explained.contains("without a lease all is refused: no lease: 0.0 % of it"), "{explained}");
    let open = proxy(app.addr, &[("all", &spec("open"))]);
    let mut client = Client::connect(open.addr());
    assert_eq!([(); 3].map(|()| get(&mut client, "/", "").status), [200; 3]);
}

/// What is explained of a request, the lines behind the endpoints.
fn ends(proxy: &Proxy, headers: &[&str]) -> String {
    let request = Request::parse("GET", "http://shop.example/", headers.iter().copied()).unwrap();
    let text = explain(&proxy.shared.snapshot.load(), &request, &mut SmallRng::seed_from_u64(1)).to_string();
    text.split("\n  endpoints\n").nth(1).unwrap().to_owned()
}

#[test]
fn that_a_rate_is_used_up_is_explained() {
    let app = Upstream::echo();
    let spec =
        "{targetRefs: [{name: app}], rates: [{requests: 1, per: 1h}], key: [{type: header, name: x-user}]}";
    let shadow = "{targetRefs: [{name: app}], rates: [{requests: 1, per: 1h}], shadow: true}";
    let address =
        "{targetRefs: [{name: app}], rates: [{requests: 9, per: 1h}], key: [{type: sourceAddress}]}";
    let proxy = proxy(app.addr, &[("slow", spec), ("shadow", shadow), ("address", address)]);
    let ada = ["x-user: ada"];
    assert!(ends(&proxy, &ada).contains("\n  sent to "), "{}", ends(&proxy, &ada));
    let mut client = Client::connect(proxy.addr());
    assert_eq!(get(&mut client, "/", "x-user: ada\r\n").status, 200);
    assert_eq!(get(&mut client, "/", "x-user: ada\r\n").status, 429);
    let end = ends(&proxy, &ada);
    let expected =
        "\n  refused (429), by RateLimit/slow of Service/app: the rate is used up: 0 left of 1 in 3600s";
    assert!(end.contains(expected) && !end.contains("sent to"), "{end}");
    assert!(
        end.contains("RateLimit/address of Service/app: whether it lets this request through is not known"),
        "{end}"
    );
    assert!(ends(&proxy, &["x-user: bob"]).contains("\n  sent to "), "a key of its own");
}

#[test]
fn that_all_places_are_taken_is_explained() {
    let gate = Gate::new();
    let app = Upstream::gated(gate.clone());
    let spec = "{targetRefs: [{name: app}], algorithm: concurrency, concurrencyMax: 1, queue: {max: 1, timeout: 1m}}";
    let proxy = proxy(app.addr, &[("one", spec)]);
    let (mut first, mut second) = (Client::connect(proxy.addr()), Client::connect(proxy.addr()));
    let call = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    first.send(call);
    let waits = "note: RateLimit/one of Service/app: all places are taken, so it waits, as 0 do";
    eventually("the place to be taken", || ends(&proxy, &[]).contains(waits));
    second.send(call);
    let full = "\n  refused (503), by RateLimit/one of Service/app: as many requests are in flight as may be: \
                1 in flight of 1, 1 waiting of 1";
    eventually("the queue to be full", || ends(&proxy, &[]).contains(full));
    assert_eq!(get(&mut Client::connect(proxy.addr()), "/", "").status, 503);
    gate.open();
    gate.open();
    assert_eq!((first.response().status, second.response().status), (200, 200));
}
