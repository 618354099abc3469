//! That a breaker gave a call something else than it asked for is told afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::observe::logging;
use crate::support::{Client, Proxy, Response, Upstream, documents, eventually};

const BREAKER: &str = "strategy: consecutive, failures: 1, open: 1h, openMax: 1h";

fn failing() -> Upstream {
    Upstream::start(|conn| {
        loop {
            conn.request()?;
            conn.write("HTTP/1.1 500 Told\r\nContent-Length: 0\r\n\r\n")?;
        }
    })
}

/// A policy for `app` with one breaker.
fn policy(fallback: &str, more: &str) -> String {
    format!("outlier: {{enabled: false}}\n  {more}breakers: [{{{BREAKER}, fallback: {{{fallback}}}}}]")
}

/// The documents of a service `spare`.
fn spare(upstream: &Upstream, policy: &str) -> String {
    let port = upstream.addr.port();
    format!(
        "---\nkind: Service\nmetadata: {{name: spare}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {port}}}]}}\n\
         ---\nkind: TrafficPolicy\nmetadata: {{name: second}}\nspec:\n  targetRefs: [{{name: spare}}]\n  {policy}\n"
    )
}

fn get(client: &mut Client) -> Response {
    client.send("GET /a HTTP/1.1\r\nHost: app\r\n\r\n").response()
}

/// Sends some requests, and gives the last answer and the lines of all.
fn logged(proxy: &Proxy, lines: &impl Fn() -> Vec<Value>, count: usize) -> (Response, Vec<Value>) {
    let mut client = proxy.client();
    for _ in 1..count {
        get(&mut client);
    }
    let last = get(&mut client);
    eventually("all are logged", || lines().len() == count);
    (last, lines())
}

/// What a line says of how the call fell back: to what, from where, by whom and why.
fn fell_back(line: &Value) -> [&str; 4] {
    ["fallback", "fallback_from", "fallback_by", "fallback_why"]
        .map(|field| line.get(field).map_or("", |value| value.as_str().unwrap()))
}

#[test]
fn the_log_says_where_a_call_went_instead() {
    let (dir, app, other) = (tempfile::tempdir().unwrap(), failing(), Upstream::echo());
    let of_app = policy("service: {name: spare}", "");
    let limit = "---\nkind: RateLimit\nmetadata: {name: spare}\n\
                 spec: {targetRefs: [{name: spare}], rates: [{requests: 1, per: 1h}]}\n";
    let documents = documents(&[app.addr], &of_app) + &spare(&other, "timeouts: {connect: 1s}") + limit;
    let (proxy, lines) = logging(&dir, &documents);
    let (refused, lines) = logged(&proxy, &lines, 3);
    assert_eq!(fell_back(&lines[0]), [""; 4], "{}", lines[0]);
    let by_spare = ["service", "app", "TrafficPolicy/app#0", "open"];
    assert_eq!(fell_back(&lines[1]), by_spare, "{}", lines[1]);
    assert_eq!((&lines[1]["upstream"], &lines[1]["status"]), (&"spare".into(), &200.into()));
    assert_eq!(lines[1].get("reason"), None, "{}", lines[1]);
    // The answer of another service is passed on as it is; one of the proxy's own says how it came about.
    assert_eq!((refused.status, refused.field("x-weir-reason")), (429, Some("limited")));
    let sent_on =
        "RateLimit/spare; it was for service app, and sent on by TrafficPolicy/app#0 of Service/app";
    assert!(refused.text().contains(sent_on), "{}", refused.text());
    assert_eq!(fell_back(&lines[2]), by_spare, "{}", lines[2]);
    assert_eq!(lines[2]["reason"], "limited");
}

#[test]
fn the_log_says_what_a_call_was_answered_instead() {
    let (dir, app) = (tempfile::tempdir().unwrap(), failing());
    let (proxy, lines) =
        logging(&dir, &documents(&[app.addr], &policy("response: {status: 203, body: later}", "")));
    let (answer, lines) = logged(&proxy, &lines, 2);
    assert_eq!((answer.status, answer.field("x-weir-reason")), (203, Some("breaker_open")));
    assert_eq!(fell_back(&lines[1]), ["response", "", "TrafficPolicy/app#0", "open"], "{}", lines[1]);
    assert_eq!((&lines[1]["upstream"], &lines[1]["reason"]), (&"app".into(), &"breaker_open".into()));
}

#[test]
fn of_two_breakers_the_log_names_the_one_that_answered() {
    let (dir, app, other) = (tempfile::tempdir().unwrap(), failing(), failing());
    let of_spare = policy("response: {status: 203}", "");
    let documents = documents(&[app.addr], &policy("service: {name: spare}", "")) + &spare(&other, &of_spare);
    let (proxy, lines) = logging(&dir, &documents);
    let (answer, lines) = logged(&proxy, &lines, 3);
    assert_eq!(answer.status, 203);
    assert_eq!(fell_back(&lines[1])[..2], ["service", "app"], "{}", lines[1]);
    assert_eq!(fell_back(&lines[2]), ["response", "app", "TrafficPolicy/second#0", "open"], "{}", lines[2]);
}

#[test]
fn the_log_says_that_an_answer_is_an_earlier_one_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = is_broken.clone();
    let app = Upstream::start(move |conn| {
        loop {
            conn.head()?;
            if broken.load(Ordering::SeqCst) {
                return Ok(());
            }
            conn.ok(b"kept")?;
        }
    });
    let (proxy, lines) =
        logging(&dir, &documents(&[app.addr], &policy("cached: {}", "retry: {attempts: 0}\n  ")));
    assert_eq!(get(&mut proxy.client()).text(), "kept");
    eventually("it is logged", || lines().len() == 1);
    is_broken.store(true, Ordering::SeqCst);
    // The first one finds that its connection is closed, or that a new one is.
    let (answer, lines) = {
        let mut client = proxy.client();
        let first = get(&mut client);
        assert_eq!(first.text(), "kept");
        let second = get(&mut client);
        eventually("all are logged", || lines().len() == 3);
        (second, lines())
    };
    assert_eq!((answer.text().as_str(), answer.field("x-weir-reason")), ("kept", Some("breaker_open")));
    assert_eq!(fell_back(&lines[1]), ["cached", "", "TrafficPolicy/app#0", "failed"], "{}", lines[1]);
    assert_eq!(lines[1]["reason"], "upstream_reset", "{}", lines[1]);
    assert_eq!(fell_back(&lines[2]), ["cached", "", "TrafficPolicy/app#0", "open"], "{}", lines[2]);
}

/// The time is the first service's still, and so is the policy that has set it.
#[test]
fn who_has_set_the_time_is_the_first_services_policy() {
    let (app, silent) = (
        failing(),
        Upstream::start(|conn| {
            conn.head()?;
            conn.until_closed();
            Ok(())
        }),
    );
    let check = |of_app: &str, of_spare: &str, expected: &str| {
        let documents =
            documents(&[app.addr], &policy("service: {name: spare}", of_app)) + &spare(&silent, of_spare);
        let proxy = Proxy::gateway(&documents);
        let mut client = proxy.client();
        get(&mut client);
        let late = get(&mut client);
        assert_eq!((late.status, late.field("x-weir-reason")), (504, Some("timeout")));
        assert!(late.text().contains(expected), "{}", late.text());
    };
    let short = "timeouts: {request: 300ms}\n  ";
    check(short, "timeouts: {request: 7s}", "within 300 ms (timeouts.request of TrafficPolicy/app)");
    let of_attempt = "timeouts: {perTry: 300ms}\n  retry: {attempts: 0}\n  ";
    let of_spare = "timeouts: {perTry: 7s}\n  retry: {attempts: 0}";
    check(of_attempt, of_spare, "within 300 ms (timeouts.perTry of TrafficPolicy/app)");
}
