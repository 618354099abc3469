//! Policies for routes and their rules: what they say counts before what the service's says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_proxy::explain::{Request, explain};

use crate::support::{Proxy, Upstream, documents, documents_on, eventually, free_port};

/// A route with a rule `buy` for `/buy` and one without a name for the rest.
fn shop(port: u16, upstreams: &[SocketAddr], policies: &[(&str, &str, &str)]) -> String {
    let rules = "rules: [{name: buy, matches: [{path: {value: /buy}}], backendRefs: [{name: app}]}, {backendRefs: [{name: app}]}]";
    let documents = documents_on(port, upstreams, "").replace("rules: [{backendRefs: [{name: app}]}]", rules);
    policies.iter().fold(documents, |documents, (name, target, spec)| documents + &policy(name, target, spec))
}

fn policy(name: &str, target: &str, spec: &str) -> String {
    format!(
        "\n---\nkind: TrafficPolicy\nmetadata: {{name: {name}}}\nspec:\n  targetRefs: [{{{target}}}]\n  {spec}\n"
    )
}

const SERVICE: &str = "name: app";
const ROUTE: &str = "kind: HTTPRoute, name: all";
const RULE: &str = "kind: HTTPRoute, name: all, sectionName: buy";

/// An upstream that never answers.
fn silent() -> Upstream {
    Upstream::start(|conn| {
        conn.request()?;
        conn.until_closed();
        Ok(())
    })
}

/// An upstream that counts its requests and answers all of them with a status.
fn counting(status: u16) -> (Upstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let upstream = Upstream::start(move |conn| {
        loop {
            conn.request()?;
            counted.fetch_add(1, Ordering::SeqCst);
            conn.write(format!("HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n"))?;
        }
    });
    (upstream, count)
}

fn metric(proxy: &Proxy, line: &str) -> bool {
    proxy.text().lines().any(|one| one == line)
}

fn explained(proxy: &Proxy, url: &str) -> String {
    let request = Request::parse("GET", url, []).unwrap();
    explain(&proxy.shared.snapshot.load(), &request, &mut SmallRng::seed_from_u64(1)).to_string()
}

/// Asks for what is never answered, and who says how long that may take.
fn late(proxy: &Proxy, by: &str) {
    let answer = proxy.client().get("/buy");
    let said = format!("service app did not answer within 50 ms ({by})");
    assert_eq!(answer.status, 504);
    assert!(answer.text().contains(&said), "{said} is not in {}", answer.text());
}

#[test]
fn the_nearest_time_limit_counts() {
    let port = free_port();
    let app = silent();
    let policies = [
        ("of-service", SERVICE, "timeouts: {request: 1h}"),
        ("of-route", ROUTE, "timeouts: {request: 1h, perTry: 1h}"),
        ("of-rule", RULE, "timeouts: {request: 50ms}"),
    ];
    let mut proxy = Proxy::gateway(&shop(port, &[app.addr], &policies));
    late(&proxy, "timeouts.request of TrafficPolicy/of-rule");
    let text = explained(&proxy, "http://app/buy");
    assert!(text.contains("request within 50 ms: TrafficPolicy/of-rule of HTTPRoute/all#buy"), "{text}");
    assert!(text.contains("attempt within 3600000 ms: TrafficPolicy/of-route of HTTPRoute/all"), "{text}");
    assert!(text.contains("least_request within 50 ms"), "{text}");
    let text = explained(&proxy, "http://app/");
    assert!(text.contains("request within 3600000 ms: TrafficPolicy/of-route of HTTPRoute/all\n"), "{text}");
    // A field by itself: the time of an attempt is the route's, and that of the request is not.
    let policies = [
        ("of-service", SERVICE, "timeouts: {request: 1h, perTry: 1h}"),
        ("of-route", ROUTE, "timeouts: {perTry: 50ms}"),
        ("of-rule", RULE, "timeouts: {request: 1h}"),
    ];
    proxy.publish(&shop(port, &[app.addr], &policies));
    eventually("the new policies", || explained(&proxy, "http://app/buy").contains("attempt within 50 ms"));
    late(&proxy, "timeouts.perTry of TrafficPolicy/of-route");
    // What the rule itself says counts before all of them.
    let own = shop(port, &[app.addr], &[("of-rule", RULE, "timeouts: {request: 1h}")]);
    proxy.publish(&own.replace("[{name: buy,", "[{name: buy, timeouts: {request: 50ms},"));
    late(&proxy, "timeouts.request of HTTPRoute/all#buy");
    let text = explained(&proxy, "http://app/buy");
    assert!(text.contains("request within 50 ms: HTTPRoute/all#buy"), "{text}");
}

#[test]
fn retries_are_as_the_nearest_policy_has_them() {
    let port = free_port();
    let (app, count) = counting(503);
    let policies = [
        (
            "of-service",
            SERVICE,
            "outlier: {enabled: false}\n  retry: {attempts: 1, statuses: [503], backoff: {base: 1ms}}",
        ),
        ("of-rule", RULE, "retry: {attempts: 3, statuses: [503], backoff: {base: 1ms}}"),
    ];
    let mut proxy = Proxy::gateway(&shop(port, &[app.addr], &policies));
    let mut client = proxy.client();
    let mut attempts = |path: &str| {
        let before = count.load(Ordering::SeqCst);
        assert_eq!(client.get(path).status, 503);
        count.load(Ordering::SeqCst) - before
    };
    assert_eq!((attempts("/buy"), attempts("/")), (4, 2));
    let text = explained(&proxy, "http://app/buy");
    assert!(
        text.contains(
            "retries at most 3, upon some statuses too: TrafficPolicy/of-rule of HTTPRoute/all#buy"
        ),
        "{text}"
    );
    // All of `retry` counts, not some of it from here and some from there.
    let policies = [policies[0], ("of-rule", RULE, "retry: {attempts: 3}")];
    proxy.publish(&shop(port, &[app.addr], &policies));
    eventually("the new policies", || explained(&proxy, "http://app/buy").contains("retries at most 3: "));
    assert_eq!((attempts("/buy"), attempts("/")), (1, 2));
}

#[test]
fn explain_shows_every_field_that_is_set_and_whose_it_is() {
    let port = free_port();
    let (app, _) = counting(200);
    let of_service = "timeouts: {connect: 500ms, idle: 30s, request: 3s}\n  \
        balance: {subset: 5, panicThreshold: 0.3, locality: {prefer: zone}}\n  \
        outlier: {consecutive: 3}\n  connection: {streamsMax: 50}\n  \
        hedge: {delay: 100ms}\n  retry: {attempts: 1, budget: {ratio: 0.1}}";
    let of_rule = "retry: {attempts: 2, statuses: [502, 503], backoff: {base: 5ms}}";
    let policies = [("of-service", SERVICE, of_service), ("of-rule", RULE, of_rule)];
    let mut proxy = Proxy::gateway(&shop(port, &[app.addr], &policies));
    let text = explained(&proxy, "http://app/buy");
    let by = |policy: &str, rows: &[&str]| {
        for row in rows {
            assert!(text.contains(&format!("     {row}: TrafficPolicy/{policy}")), "{row}: {text}");
        }
    };
    by(
        "of-service of Service/",
        &[
            "request within 3000 ms",
            "hedge after 100 ms",
            "timeouts.connect 500ms",
            "timeouts.idle 30s",
            "balance.subset 5",
            "balance.panicThreshold 0.3",
            "balance.locality.prefer zone",
            "outlier.consecutive 3",
            "connection.streamsMax 50",
            "retry.budget.ratio 0.1",
        ],
    );
    by("of-rule of HTTPRoute/all#buy", &["retry.statuses 502, 503", "retry.backoff.base 5ms"]);
    // What is not written has its default, and is not shown.
    assert!(!text.contains("balance.policy") && !text.contains("retry.attempts"), "{text}");

    // Nothing is tried again where a budget allows nothing, whoever asks for it.
    let none = of_service.replace("{ratio: 0.1}", "{ratio: 0, reserve: 0}");
    proxy.publish(&shop(port, &[app.addr], &[("of-service", SERVICE, &none), policies[1]]));
    eventually("the new policies", || {
        let text = explained(&proxy, "http://app/buy");
        text.contains("retries none: `retry.budget` allows none: TrafficPolicy/of-service of Service/")
            && text.contains("hedge never: `retry.budget` allows none: TrafficPolicy/of-service of Service/")
            && text.contains("retries: at most 0")
    });
}

#[test]
fn a_routes_budget_bounds_its_own_retries() {
    let port = free_port();
    let (app, count) = counting(503);
    let retry = "attempts: 1, statuses: [503], backoff: {base: 1ms}";
    let policies = [
        (
            "of-service",
            SERVICE,
            &*format!(
                "outlier: {{enabled: false}}\n  retry: {{{retry}, budget: {{ratio: 1, reserve: 1000}}}}"
            ),
        ),
        ("of-rule", RULE, &*format!("retry: {{{retry}, budget: {{ratio: 0, reserve: 1, window: 1s}}}}")),
    ];
    let proxy = Proxy::gateway(&shop(port, &[app.addr], &policies));
    let mut client = proxy.client();
    let mut attempts = |path: &str| {
        let before = count.load(Ordering::SeqCst);
        (0..10).for_each(|_| assert_eq!(client.get(path).status, 503));
        count.load(Ordering::SeqCst) - before
    };
    let by_rule = attempts("/buy");
    assert!((11..=13).contains(&by_rule), "{by_rule}");
    assert_eq!(attempts("/"), 20);
}

const ONE: &str = "strategy: consecutive, failures: 1, open: 1h, openMax: 1h";

#[test]
fn breakers_of_a_rule_are_asked_before_the_services() {
    let port = free_port();
    let (app, count) = counting(500);
    let instead = |status: u16| format!("fallback: {{response: {{status: {status}}}}}");
    let of_service = format!(
        "outlier: {{enabled: false}}\n  breakers: [{{strategy: consecutive, failures: 3, {}}}]",
        instead(211)
    );
    let of_rule = format!("breakers: [{{{ONE}, {}}}]", instead(212));
    let policies = [("of-service", SERVICE, &*of_service), ("of-rule", RULE, &*of_rule)];
    let mut proxy = Proxy::gateway(&shop(port, &[app.addr], &policies));
    let mut client = proxy.client();
    assert_eq!(client.get("/buy").status, 500);
    assert_eq!(client.get("/buy").status, 212, "the rule's own is open");
    assert_eq!(client.get("/").status, 500, "that is nothing to others");
    assert_eq!(client.get("/").status, 500);
    assert_eq!(client.get("/").status, 211, "the service's own has counted all of them");
    assert_eq!(client.get("/buy").status, 212, "of two the rule's is first");
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let of = "breaker=\"TrafficPolicy/of-rule#0\",target=\"HTTPRoute/all#buy\",part=\"\"";
    assert!(metric(&proxy, &format!("weir_proxy_breaker_refused_total{{{of}}} 2")), "{}", proxy.text());
    let text = explained(&proxy, "http://app/buy");
    assert!(text.contains("TrafficPolicy/of-rule#0 of HTTPRoute/all#buy: 2 refused"), "{text}");
    assert!(text.find("of-rule#0") < text.find("of-service#0"), "{text}");
    assert!(!explained(&proxy, "http://app/").contains("of-rule"));
    // It outlives a snapshot.
    proxy.publish(&shop(port, &[app.addr], &[policies[1]]));
    assert_eq!(client.get("/buy").status, 212);
    assert_eq!(client.get("/").status, 500);
}

#[test]
fn a_routes_breakers_may_be_of_each_rule_or_instance() {
    let port = free_port();
    let ((ill, ill_count), well) = (counting(500), Upstream::echo());
    let no_outlier = ("of-service", SERVICE, "outlier: {enabled: false}");
    let by_instance = format!("breakers: [{{level: instance, {ONE}}}]");
    let documents = shop(port, &[ill.addr, well.addr], &[no_outlier, ("of-route", ROUTE, &by_instance)]);
    let mut proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    eventually("the ill one to be broken off", || client.get("/").status == 500);
    for path in ["/", "/buy"].repeat(10) {
        assert_eq!(client.get(path).status, 200, "all of the route is one");
    }
    assert_eq!(ill_count.load(Ordering::SeqCst), 1);
    let part =
        format!("breaker=\"TrafficPolicy/of-route#0\",target=\"HTTPRoute/all\",part=\"app/{}\"", ill.addr);
    assert!(metric(&proxy, &format!("weir_proxy_breaker_state{{{part}}} 2")), "{}", proxy.text());
    let text = explained(&proxy, "http://app/");
    assert!(
        text.contains(&format!("TrafficPolicy/of-route#0 of HTTPRoute/all for app/{}", ill.addr)),
        "{text}"
    );
    let by_rule = format!("breakers: [{{level: route, {ONE}}}]");
    proxy.publish(&shop(port, &[ill.addr], &[no_outlier, ("of-route", ROUTE, &by_rule)]));
    let mut client = proxy.client();
    for path in ["/", "/buy"] {
        assert_eq!(client.get(path).status, 500, "{path}");
        assert_eq!(client.get(path).status, 503, "{path}");
    }
}

#[test]
fn a_method_of_grpc_has_a_policy_of_its_own() {
    let app = silent();
    let rules = "rules: [{name: get, matches: [{method: {service: shop.Cart, method: Get}}], backendRefs: [{name: app}]}, {backendRefs: [{name: app}]}]";
    let documents = documents(&[app.addr], "timeouts: {request: 1h}")
        .replace("kind: HTTPRoute", "kind: GRPCRoute")
        .replace("rules: [{backendRefs: [{name: app}]}]", rules)
        + &policy("get", "kind: GRPCRoute, name: all, sectionName: get", "timeouts: {request: 50ms}");
    let proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    client.send("POST /shop.Cart/Get HTTP/1.1\r\nHost: app\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.response().field("grpc-status"), Some("4"));
}
