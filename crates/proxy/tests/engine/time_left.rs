//! What proxies tell each other of a request's time and attempts, and what they do for those who have given up.

use std::time::{Duration, Instant};

use weir_proxy::listen::Role as ListenRole;

use crate::http2::upstream::{H2Upstream, h2_documents};
use crate::sidecar::sidecar;
use crate::support::{Client, Proxy, Upstream, documents};

/// What a request said, as its service saw it: the time, and which attempt.
fn told(head: &str) -> (Option<u64>, Option<u64>) {
    let head = head.to_ascii_lowercase();
    let field = |name: &str| {
        let mut values = head.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        let value = values.next();
        assert_eq!(values.next(), None, "{head}");
        value
    };
    (field("x-weir-timeout:"), field("x-weir-attempt:"))
}

fn ask(client: &mut Client, fields: &str) -> (Option<u64>, Option<u64>) {
    let response = client.send(format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n")).response();
    assert_eq!(response.status, 200, "{}", response.text());
    told(&response.text())
}

#[test]
fn a_gateway_says_how_long_it_waits_and_waits_no_longer_than_its_client() {
    let app = Upstream::echo();
    let proxy = Proxy::gateway(&documents(&[app.addr], ""));
    let mut client = proxy.client();
    let (time, attempt) = ask(&mut client, "");
    assert!((5_000..=15_000).contains(&time.unwrap()) && attempt == Some(1), "{time:?} {attempt:?}");
    assert_eq!(ask(&mut client, ""), (Some(15_000), Some(1)));
    assert_eq!(ask(&mut client, "X-Weir-Timeout: 2500\r\nX-Weir-Attempt: 7\r\n"), (Some(2500), Some(1)));
    assert_eq!(ask(&mut client, "X-Weir-Timeout: 9000\r\nx-weir-timeout: 2000\r\n"), (Some(2000), Some(1)));
    assert_eq!(ask(&mut client, "X-Weir-Timeout: 99999\r\n"), (Some(15_000), Some(1)), "no longer than that");
    for senseless in ["", "-1", "1.5", "soon", "99999999999", "+1"] {
        assert_eq!(
            ask(&mut client, &format!("X-Weir-Timeout: {senseless}\r\n")).0,
            Some(15_000),
            "{senseless}"
        );
    }
    let perpetual = Proxy::gateway(&documents(&[app.addr], "timeouts: {request: 0s}"));
    assert_eq!(ask(&mut perpetual.client(), ""), (None, Some(1)));
    let by_try = Proxy::gateway(&documents(&[app.addr], "timeouts: {request: 9s, perTry: 3s}"));
    let mut client = by_try.client();
    ask(&mut client, "");
    assert_eq!(ask(&mut client, ""), (Some(3000), Some(1)));
}

fn asked(upstream: &Upstream) -> usize {
    String::from_utf8_lossy(&upstream.received()).matches("GET / ").count()
}

#[test]
fn nobody_works_for_who_has_given_up() {
    let silent = Upstream::start(|conn| {
        conn.head()?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::gateway(&documents(&[silent.addr], ""));
    let began = Instant::now();
    let response =
        proxy.client().send("GET / HTTP/1.1\r\nHost: app\r\nX-Weir-Timeout: 1000\r\n\r\n").response();
    assert_eq!((response.status, response.field("x-weir-reason")), (504, Some("timeout")));
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(asked(&silent), 1);
    // What comes too late goes no further.
    let response = proxy.client().send("GET / HTTP/1.1\r\nHost: app\r\nX-Weir-Timeout: 0\r\n\r\n").response();
    assert_eq!((response.status, response.field("x-weir-reason")), (504, Some("timeout")));
    assert_eq!(asked(&silent), 1);
}

#[test]
fn a_client_without_patience_costs_nobody_his_good_name() {
    let silent = Upstream::start(|conn| {
        conn.head()?;
        conn.until_closed();
        Ok(())
    });
    let policy =
        "breakers: [{strategy: consecutive, failures: 2}]\n  outlier: {consecutive: 2, interval: 100ms}";
    let proxy = Proxy::gateway(&documents(&[silent.addr], policy));
    for _ in 0..5 {
        let request = "GET / HTTP/1.1\r\nHost: app\r\nX-Weir-Timeout: 500\r\n\r\n";
        let response = proxy.client().send(request).response();
        assert_eq!((response.status, response.field("x-weir-reason")), (504, Some("timeout")));
    }
    assert_eq!(asked(&silent), 5, "no breaker has opened");
    let text = proxy.text();
    assert!(!text.contains("weir_proxy_breaker_transitions_total{"), "{text}");
    let well = "weir_proxy_endpoints{service=\"app\",state=\"available\"} 1";
    assert!(text.lines().any(|line| line == well), "{text}");
}

/// Calls of gRPC that have so much time, one after another, and the `grpc-status` of each.
fn calls(proxy: &Proxy, timeout: &str, count: usize) -> Vec<String> {
    let call = format!(
        "POST /a.B/C HTTP/1.1\r\nHost: app\r\nContent-Type: application/grpc\r\ngrpc-timeout: {timeout}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let status = |_| {
        let response = proxy.client().send(&*call).response();
        response.field("grpc-status").unwrap_or("none").to_owned()
    };
    (0..count).map(status).collect()
}

/// A server of gRPC that says after some time that the call's is over, as such servers do that are told of it.
fn too_slow(after: Duration) -> Upstream {
    Upstream::start(move |conn| {
        loop {
            conn.request()?;
            std::thread::sleep(after);
            conn.write(
                "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 4\r\nContent-Length: 0\r\n\r\n",
            )?;
        }
    })
}

fn called(upstream: &Upstream) -> usize {
    String::from_utf8_lossy(&upstream.received()).matches("POST /a.B/C ").count()
}

const TWO: &str = "outlier: {enabled: false}\n  breakers: [{strategy: consecutive, failures: 2}]";

#[test]
fn a_call_without_patience_costs_nobody_his_good_name() {
    let silent = Upstream::start(|conn| {
        conn.head()?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::gateway(&documents(&[silent.addr], TWO));
    assert_eq!(calls(&proxy, "20m", 5), ["4"; 5]);
    assert_eq!(called(&silent), 5, "no breaker has opened");
    // Nor does it where the server is the first to say so. What it says before the time is over is another matter.
    let slow = too_slow(Duration::from_millis(60));
    let proxy = Proxy::gateway(&documents(&[slow.addr], TWO));
    assert_eq!(calls(&proxy, "65m", 4), ["4"; 4]);
    assert_eq!(calls(&proxy, "6S", 3), ["4", "4", "14"]);
}

#[test]
fn who_is_given_all_the_time_there_is_is_judged_by_his_clients() {
    let slow = too_slow(Duration::from_millis(60));
    let proxy = Proxy::gateway(&documents(&[slow.addr], &format!("{TWO}\n  timeouts: {{request: 0s}}")));
    assert_eq!(calls(&proxy, "65m", 3), ["4", "4", "14"]);
}

#[test]
fn a_call_that_is_never_sent_whole_costs_nobody_his_good_name() {
    let silent = Upstream::start(|conn| {
        conn.head()?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::gateway(&documents(&[silent.addr], &format!("{TWO}\n  timeouts: {{request: 150ms}}")));
    let call = "POST /a.B/C HTTP/1.1\r\nHost: app\r\nContent-Type: application/grpc\r\ngrpc-timeout: 100m\r\n\
                Content-Length: 5\r\n\r\n";
    for _ in 0..4 {
        let response = proxy.client().send(call).response();
        assert_eq!(response.field("grpc-status"), Some("4"));
    }
    assert_eq!(called(&silent), 4, "no breaker has opened");
}

#[test]
fn a_call_whose_response_had_begun_ends_without_a_fault() {
    let streaming = Upstream::start(|conn| {
        conn.request()?;
        conn.write(
            "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        conn.until_closed();
        Ok(())
    });
    let documents = documents(&[streaming.addr], &format!("{TWO}\n  timeouts: {{request: 100ms}}"));
    let proxy = Proxy::gateway(&documents);
    // Longer than the service is given to begin, which it has done at once.
    assert_eq!(calls(&proxy, "120m", 4), ["none"; 4], "the status is behind the messages");
    assert_eq!(called(&streaming), 4, "no breaker has opened");
}

#[test]
fn a_call_with_almost_all_patience_hides_nobody() {
    let slow = too_slow(Duration::from_millis(95));
    let proxy = Proxy::gateway(&documents(&[slow.addr], &format!("{TWO}\n  timeouts: {{request: 120ms}}")));
    assert_eq!(calls(&proxy, "100m", 3), ["4", "4", "14"]);
}

#[test]
fn a_client_with_almost_all_patience_hides_nobody() {
    let silent = Upstream::start(|conn| {
        conn.head()?;
        conn.until_closed();
        Ok(())
    });
    let policy = "timeouts: {request: 2s}\n  breakers: [{strategy: consecutive, failures: 2}]";
    let proxy = Proxy::gateway(&documents(&[silent.addr], policy));
    for reason in ["timeout", "timeout", "breaker_open"] {
        let request = "GET / HTTP/1.1\r\nHost: app\r\nX-Weir-Timeout: 1800\r\n\r\n";
        let response = proxy.client().send(request).response();
        assert_eq!(response.field("x-weir-reason"), Some(reason), "{}", response.text());
    }
}

#[test]
fn who_waited_here_for_long_costs_nobody_his_good_name() {
    let silent = Upstream::start(|conn| {
        conn.head()?;
        conn.until_closed();
        Ok(())
    });
    let policy = "timeouts: {request: 300ms}\n  breakers: [{strategy: consecutive, failures: 2}]";
    let limit = "---\nkind: RateLimit\nmetadata: {name: pace}\nspec: {targetRefs: [{name: app}], \
                 algorithm: leaky_bucket, rates: [{requests: 5}]}\n";
    let proxy = Proxy::gateway(&(documents(&[silent.addr], policy) + limit));
    // Those after the first are let through after 200 ms each.
    let mut clients = [(); 2].map(|()| proxy.client());
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    }
    for client in &mut clients {
        let response = client.response();
        assert_eq!(response.field("x-weir-reason"), Some("timeout"), "{}", response.text());
    }
    let text = proxy.text();
    assert!(!text.contains("weir_proxy_breaker_transitions_total{"), "{text}");
}

#[test]
fn a_delay_is_taken_from_what_the_sender_waits() {
    let app = Upstream::echo();
    let fault = "rules: [{filters: [{type: Fault, fault: {delay: {duration: 200ms}}}], backendRefs";
    let proxy = Proxy::gateway(&documents(&[app.addr], "").replace("rules: [{backendRefs", fault));
    let mut client = proxy.client();
    ask(&mut client, "");
    assert_eq!(ask(&mut client, "").0, Some(15_000), "it is waited for after the delay");
    let (time, _) = ask(&mut client, "X-Weir-Timeout: 9000\r\n");
    assert!((1000..=8800).contains(&time.unwrap()), "{time:?}");
}

#[test]
fn another_attempt_has_the_next_number_and_what_is_left() {
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let app = Upstream::start(move |conn| {
        loop {
            let head = conn.head()?;
            match told(&head).1 {
                Some(3) => conn.ok(head.as_bytes())?,
                _ => {
                    std::thread::sleep(Duration::from_millis(50));
                    conn.write(busy)?;
                }
            }
        }
    });
    let policy = "timeouts: {request: 30s}\n  retry: {attempts: 2, statuses: [503]}";
    let proxy = Proxy::gateway(&documents(&[app.addr], policy));
    let response = proxy.client().get("/");
    assert_eq!(response.status, 200, "{}", response.text());
    let (time, attempt) = told(&response.text());
    assert_eq!(attempt, Some(3));
    assert!((1000..=29_950).contains(&time.unwrap()), "{time:?}");
}

#[test]
fn who_waits_for_his_turn_has_less_time_left() {
    let app = Upstream::echo();
    let limit = "---\nkind: RateLimit\nmetadata: {name: pace}\nspec: {targetRefs: [{name: app}], \
                 algorithm: leaky_bucket, rates: [{requests: 1, per: 3s}], queue: {max: 1, timeout: 10s}}\n";
    let proxy = Proxy::gateway(&(documents(&[app.addr], "") + limit));
    let mut client = proxy.client();
    ask(&mut client, "");
    // It waits for what is left of three seconds.
    let (time, _) = ask(&mut client, "");
    assert!((5_000..14_990).contains(&time.unwrap()), "{time:?}");
}

#[test]
fn a_sidecar_passes_on_what_it_was_told_and_tells_what_its_application_asks_for() {
    let (app, callee) = (Upstream::echo(), Upstream::echo());
    let proxy = sidecar(app.addr, callee.addr);
    let mut inbound = Client::connect(proxy.fixed(ListenRole::Inbound));
    assert_eq!(ask(&mut inbound, ""), (None, None), "nobody has said anything");
    assert_eq!(ask(&mut inbound, "X-Weir-Timeout: 800\r\nX-Weir-Attempt: 2\r\n"), (Some(800), Some(2)));
    let mut outbound = Client::connect(proxy.fixed(ListenRole::Outbound));
    let mut call = |fields: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: cart\r\n{fields}\r\n");
        told(&outbound.send(request).response().text())
    };
    call("");
    assert_eq!(call(""), (Some(15_000), Some(1)));
    // Of an application that copies the fields of the request that it serves.
    assert_eq!(call("X-Weir-Timeout: 800\r\nX-Weir-Attempt: 2\r\n"), (Some(800), Some(1)));
    assert_eq!(asked(&callee), 3);
}

/// Timeouts of gRPC that are written anew with another length, at the beginning of a head that has all else after them.
/// And how many milliseconds a response is waited for at most.
fn timeouts() -> [(String, u64); 4] {
    [
        ("9S".into(), 9000),
        (" 99999999m".into(), 15_000),
        (format!("{:40}9S", ""), 9000),
        (format!("{:52}9S  ", ""), 9000),
    ]
}

#[test]
fn a_call_whose_timeout_is_written_anew_keeps_the_rest_of_its_head() {
    let app = Upstream::echo();
    let proxy = Proxy::gateway(&documents(&[app.addr], ""));
    for (timeout, most) in timeouts() {
        // On a connection that is opened, and on one that is there.
        for path in ["/first", "/second"] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: app\r\nContent-Type: application/grpc\r\ngrpc-timeout:{timeout}\r\n\
                 x-one: 11111111111111111111\r\nContent-Length: 3\r\n\r\nabc"
            );
            let response = proxy.client().send(request).response();
            let text = response.text();
            let (before, rest) = text.split_once("grpc-timeout: ").unwrap();
            assert_eq!(
                before,
                format!("POST {path} HTTP/1.1\r\nHost: app\r\nContent-Type: application/grpc\r\n"),
                "{timeout}"
            );
            let (left, rest) = rest.split_once("\r\n").unwrap();
            assert!(left.len() == 9 && left[..8].bytes().all(|byte| byte.is_ascii_digit()), "{text}");
            let (before, rest) = rest.split_once("x-weir-timeout: ").unwrap();
            let forwarded =
                "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: app\r\n";
            let expected = format!("x-one: 11111111111111111111\r\n{forwarded}x-weir-hops: 01\r\n");
            assert_eq!(before, expected, "{timeout}");
            let (time, rest) = rest.split_once("\r\n").unwrap();
            assert!((most / 2..=most).contains(&time.parse().unwrap()), "{text}");
            let (attempt, rest) = rest.split_once("\r\n").unwrap();
            assert_eq!(attempt, "x-weir-attempt: 01");
            let (id, rest) = rest.split_once("\r\n").unwrap();
            assert!(id.starts_with("x-request-id: "), "{text}");
            assert_eq!(rest, "Content-Length: 3\r\n\r\nabc");
        }
    }
}

#[test]
fn so_does_one_that_goes_on_in_http2() {
    let app = H2Upstream::echo();
    let proxy = Proxy::gateway(&h2_documents(&[app.addr], ""));
    for (timeout, most) in timeouts() {
        for path in ["/first", "/second"] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: app\r\nContent-Type: application/grpc\r\ngrpc-timeout:{timeout}\r\n\
                 x-one: 11111111111111111111\r\nContent-Length: 3\r\n\r\nabc"
            );
            let text = proxy.client().send(request).response().text();
            for line in [
                "content-type: application/grpc",
                "x-one: 11111111111111111111",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-proto: http",
                "x-forwarded-host: app",
                "x-weir-hops: 01",
                "x-weir-attempt: 01",
                "content-length: 3",
            ] {
                assert!(text.lines().any(|other| other == line), "{timeout}: {line} is not in {text}");
            }
            let time = told(&text).0.unwrap();
            assert!((most / 2..=most).contains(&time), "{text}");
            assert!(text.ends_with("\n\nabc"), "{text}");
        }
    }
}
