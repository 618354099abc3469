//! Calls that a breaker sends to another service meet the limits of that one, as calls that were routed there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_proxy::explain::{Explanation, Request, explain};

use crate::http2;
use crate::support::{Client, Gate, Proxy, Response, Upstream, documents, eventually};

/// The breaker of `app` is open once this many calls have failed, and does not close.
const FAILURES: usize = 3;

/// A service `app` that fails, whose calls then go to `spare`; and a limit for `spare`.
fn falling_back(spare: SocketAddr, limit: &str, more: &str) -> (Upstream, Proxy) {
    let app = Upstream::start(|conn| {
        loop {
            conn.request()?;
            conn.write("HTTP/1.1 500 Told\r\nContent-Length: 0\r\n\r\n")?;
        }
    });
    let breaker =
        "{strategy: consecutive, failures: 3, open: 1h, openMax: 1h, fallback: {service: {name: spare}}}";
    let policy = format!("outlier: {{enabled: false}}\n  breakers: [{breaker}]");
    let port = spare.port();
    let proxy = Proxy::gateway(&format!(
        "{}\n---\nkind: Service\nmetadata: {{name: spare}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {port}}}]}}\n\
         ---\nkind: RateLimit\nmetadata: {{name: spare}}\nspec: {{targetRefs: [{{name: spare}}], {limit}}}\n{more}",
        documents(&[app.addr], &policy),
    ));
    let mut client = proxy.client();
    for _ in 0..FAILURES {
        assert_eq!(client.get("/").status, 500);
    }
    (app, proxy)
}

fn get(client: &mut Client, fields: &str) -> Response {
    client.send(format!("GET /a HTTP/1.1\r\nHost: app\r\n{fields}\r\n"));
    client.response()
}

/// How far one of the limit's metrics has come.
fn counted(proxy: &Proxy, metric: &str, more: &str, count: u64) -> bool {
    let line = format!(
        "weir_proxy_limit_{metric}{{limit=\"RateLimit/spare\",target=\"Service/spare\"{more}}} {count}"
    );
    proxy.text().lines().any(|one| one == line)
}

fn explained(proxy: &Proxy) -> Explanation {
    let request = Request::parse("GET", "http://app/a", []).unwrap();
    explain(&proxy.shared.snapshot.load(), &request, &mut SmallRng::seed_from_u64(1))
}

#[test]
fn they_count_there_by_what_their_head_has() {
    let spare = Upstream::echo();
    let limit = "key: [{type: header, name: X-User}, {type: route}], rates: [{requests: 2, per: 1h}]";
    let (app, proxy) = falling_back(spare.addr, limit, "");
    let mut client = proxy.client();
    let ada = "x-user: ada\r\n";
    assert_eq!([get(&mut client, ada).status, get(&mut client, ada).status], [200, 200]);
    let refused = get(&mut client, ada);
    assert_eq!((refused.status, refused.field("x-weir-reason")), (429, Some("limited")));
    assert_eq!(refused.field("ratelimit-policy"), Some("\"spare\";q=2;w=3600"));
    let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1700..=1800).contains(&after), "{after}");
    assert!(refused.text().contains("RateLimit/spare"), "{}", refused.text());
    assert_eq!(get(&mut client, "x-user: bob\r\n").status, 200);
    // In gRPC's own way, on the same connection.
    let call = "x-user: ada\r\ncontent-type: application/grpc\r\nte: trailers\r\n";
    let refused = get(&mut client, call);
    assert_eq!((refused.status, refused.field("grpc-status")), (200, Some("8")));
    assert_eq!((app.requests(), spare.requests()), (FAILURES, 3));
    assert!(counted(&proxy, "admitted_total", "", 3), "{}", proxy.text());
    assert!(counted(&proxy, "refused_total", ",reason=\"rate\"", 2), "{}", proxy.text());
    let text = explained(&proxy).to_string();
    let there = text.split("sent to service spare instead").nth(1).unwrap();
    assert!(there.contains("RateLimit/spare of Service/spare: 3 let through, 2 refused"), "{text}");
}

#[test]
fn they_count_there_over_http2_too() {
    let spare = Upstream::echo();
    let limit = "key: [{type: header, name: x-user}], rates: [{requests: 1, per: 1h}]";
    let (_app, proxy) = falling_back(spare.addr, limit, "");
    let statuses = http2::run(async {
        let requests = http2::connect(proxy.addr()).await;
        let mut statuses = Vec::new();
        for user in ["ada", "ada", "bob"] {
            let mut request = http2::request("GET", "/");
            request.headers_mut().insert("x-user", user.parse().unwrap());
            statuses.push(http2::exchange(&requests, request, &[], None).await.unwrap().status());
        }
        statuses
    });
    assert_eq!(statuses, [200, 429, 200]);
}

#[test]
fn that_they_are_refused_there_is_explained() {
    let spare = Upstream::echo();
    let policy = "---\nkind: TrafficPolicy\nmetadata: {name: spare}\nspec: {targetRefs: [{name: spare}], \
                  timeouts: {request: 7s, connect: 300ms}, retry: {attempts: 4}, balance: {policy: random}}\n";
    let (_app, proxy) = falling_back(spare.addr, "rates: [{requests: 1, per: 1h}]", policy);
    let mut client = proxy.client();
    assert_eq!(get(&mut client, "").status, 200);
    let explanation = explained(&proxy);
    let [there] = &*explanation.forwarded().unwrap().fallbacks else { panic!("{explanation}") };
    let [refusal] = &*there.refusals else { panic!("{explanation}") };
    assert_eq!((&*refusal.by, refusal.answer.status), ("RateLimit/spare of Service/spare", Some(429)));
    // How it goes on is the second service's, but for the time, which is the call's.
    let first = explanation.forwarded().unwrap();
    assert_eq!((there.request_timeout_ms, there.retries), (first.request_timeout_ms, 4));
    let settings: Vec<(&str, &str)> = there.settings.iter().map(|row| (&*row.name, &*row.value)).collect();
    let expected = [("retries", "at most 4"), ("timeouts.connect", "300ms"), ("balance.policy", "random")];
    assert_eq!(settings, expected);
    assert_eq!(there.settings[0].from, "TrafficPolicy/spare of Service/spare");
}

#[test]
fn a_service_that_takes_bytes_takes_no_calls() {
    let spare = Upstream::echo();
    let bytes = "---\nkind: Service\nmetadata: {name: spare}\nspec: {protocol: tcp, endpoints: [{address: 127.0.0.1, port: 9}]}\n";
    let (_app, proxy) = falling_back(spare.addr, "rates: [{requests: 1, per: 1h}]", bytes);
    let refused = get(&mut proxy.client(), "");
    assert_eq!((refused.status, refused.field("x-weir-reason")), (503, Some("breaker_open")));
    let text = explained(&proxy).to_string();
    let end = "\n  refused (503), by service spare: it takes bytes, not requests (protocol: tcp)\n";
    assert!(text.ends_with(end), "{text}");
}

const ASK: &str = "GET /a HTTP/1.1\r\nHost: app\r\n\r\n";

#[test]
fn they_wait_for_a_place_there_and_hold_none_where_they_came_from() {
    let gate = Gate::new();
    let opened = gate.clone();
    let spare = Upstream::gated(gate);
    let limit = "algorithm: concurrency, concurrencyMax: 1, queue: {max: 1, timeout: 1m}";
    let own = "---\nkind: RateLimit\nmetadata: {name: app}\n\
               spec: {targetRefs: [{name: app}], algorithm: concurrency, concurrencyMax: 1}\n";
    let (_app, proxy) = falling_back(spare.addr, limit, own);
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.send(ASK);
    eventually("the first to be under way", || spare.requests() == 1);
    second.send(ASK);
    eventually("the second to wait", || counted(&proxy, "waited_total", "", 1));
    let refused = get(&mut proxy.client(), "");
    assert_eq!((refused.status, refused.field("x-weir-reason")), (503, Some("shed")));
    assert!(refused.text().contains("RateLimit/spare"), "{}", refused.text());
    // One that leaves gives its place in the queue back.
    drop(second);
    eventually("it to be gone", || proxy.metrics().active_connections() == 1);
    let mut third = proxy.client();
    third.send(ASK);
    eventually("the third to wait", || counted(&proxy, "waited_total", "", 2));
    opened.open();
    assert_eq!(first.response().status, 200);
    eventually("the third to be under way", || spare.requests() == 2);
    opened.open();
    assert_eq!(third.response().status, 200);
    eventually("nothing to be in flight", || counted(&proxy, "in_flight", "", 0));
}

#[test]
fn one_that_leaves_while_it_waits_goes_nowhere() {
    let gate = Gate::new();
    let opened = gate.clone();
    let spare = Upstream::gated(gate);
    let one_at_a_time = "---\nkind: RateLimit\nmetadata: {name: all}\nspec: {targetRefs: [{kind: HTTPRoute, name: all}], \
                         algorithm: concurrency, concurrencyMax: 1, queue: {max: 1, timeout: 1m}}\n";
    let (_app, proxy) = falling_back(spare.addr, "rates: [{requests: 100}]", one_at_a_time);
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.send(ASK);
    eventually("the first to be under way", || spare.requests() == 1);
    second.send(ASK);
    let waits = "weir_proxy_limit_waited_total{limit=\"RateLimit/all\",target=\"HTTPRoute/all\"} 1";
    eventually("the second to wait", || proxy.text().lines().any(|line| line == waits));
    drop(second);
    eventually("it to be gone", || proxy.metrics().active_connections() == 1);
    opened.open();
    assert_eq!(first.response().status, 200);
    assert!(counted(&proxy, "admitted_total", "", 1), "{}", proxy.text());
    assert_eq!((spare.requests(), spare.connections()), (1, 1));
}

#[test]
fn they_have_their_turn_there() {
    let spare = Upstream::echo();
    let limit = "algorithm: leaky_bucket, rates: [{requests: 20}], queue: {max: 5, timeout: 1m}";
    let (_app, proxy) = falling_back(spare.addr, limit, "");
    let mut client = proxy.client();
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(get(&mut client, "").status, 200);
    }
    // One at once, then one each 50 ms.
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
    assert!(counted(&proxy, "waited_total", "", 3), "{}", proxy.text());
}

#[test]
fn the_important_ones_go_first_there_too() {
    let gate = Gate::new();
    let opened = gate.clone();
    let spare = Upstream::gated(gate);
    let limit = "algorithm: concurrency, concurrencyMax: 1, queue: {max: 1, timeout: 1m}, \
                 priority: {header: x-class, levels: [gold, basic]}";
    let (_app, proxy) = falling_back(spare.addr, limit, "");
    let ask = |class: &str| {
        let mut client = proxy.client();
        client.send(format!("GET /a HTTP/1.1\r\nHost: app\r\nx-class: {class}\r\n\r\n"));
        client
    };
    let mut first = ask("basic");
    eventually("the first to be under way", || spare.requests() == 1);
    let mut basic = ask("basic");
    eventually("the second to wait", || counted(&proxy, "waited_total", "", 1));
    let mut gold = ask("gold");
    let refused = basic.response();
    assert_eq!((refused.status, refused.field("x-weir-reason")), (503, Some("shed")));
    assert!(counted(&proxy, "refused_total", ",reason=\"displaced\"", 1), "{}", proxy.text());
    // Nobody waits for less than what is waiting.
    assert_eq!(ask("basic").response().status, 503);
    opened.open();
    assert_eq!(first.response().status, 200);
    eventually("the important one to be under way", || spare.requests() == 2);
    opened.open();
    assert_eq!(gold.response().status, 200);
}

#[test]
fn where_nobody_is_there_to_answer_nothing_is_taken_of_its_rate() {
    let spare = Upstream::echo();
    let empty = "---\nkind: Service\nmetadata: {name: spare}\nspec: {endpoints: []}\n";
    let (_app, proxy) = falling_back(spare.addr, "rates: [{requests: 1, per: 1h}]", empty);
    let mut client = proxy.client();
    for _ in 0..3 {
        let refused = get(&mut client, "");
        let reason = refused.field("x-weir-reason").map(str::to_owned);
        assert_eq!((refused.status, reason.as_deref()), (503, Some("no_endpoint")), "{}", refused.text());
    }
    assert!(counted(&proxy, "admitted_total", "", 0), "{}", proxy.text());
    let text = explained(&proxy).to_string();
    assert!(text.contains("RateLimit/spare of Service/spare: 0 let through, 0 refused"), "{text}");
}

#[test]
fn the_breakers_there_are_asked_after_the_limits() {
    let spare = Upstream::start(|conn| {
        loop {
            conn.request()?;
            conn.write("HTTP/1.1 500 Told\r\nContent-Length: 0\r\n\r\n")?;
        }
    });
    let policy = "---\nkind: TrafficPolicy\nmetadata: {name: spare}\nspec: {targetRefs: [{name: spare}], \
                  breakers: [{strategy: consecutive, failures: 1, open: 1h, openMax: 1h}]}\n";
    let (_app, proxy) = falling_back(spare.addr, "rates: [{requests: 2, per: 1h}]", policy);
    let mut client = proxy.client();
    let mut reason = || get(&mut client, "").field("x-weir-reason").map(str::to_owned);
    assert_eq!(reason(), None, "it is answered there");
    assert_eq!(reason().as_deref(), Some("breaker_open"));
    assert_eq!(
        reason().as_deref(),
        Some("limited"),
        "what a breaker refuses has been let through by the limit"
    );
}
