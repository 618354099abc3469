//! Breakers at work: who is refused, what he gets instead, and how it goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_proxy::explain::{Explanation, Request, explain};

use crate::support::{Gate, Proxy, Upstream, documents, eventually};

/// An upstream that answers with the status that it is told to.
struct Told {
    upstream: Upstream,
    status: Arc<AtomicU16>,
}

impl Told {
    fn to(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let told = status.clone();
        let upstream = Upstream::start(move |conn| {
            loop {
                conn.request()?;
                let status = told.load(Ordering::SeqCst);
                conn.write(format!("HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n"))?;
            }
        });
        Self { upstream, status }
    }

    fn tell(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.upstream.requests()
    }
}

fn broken(upstreams: &[SocketAddr], breaker: &str) -> String {
    documents(upstreams, &format!("outlier: {{enabled: false}}\n  breakers: [{{{breaker}}}]"))
}

fn metric(proxy: &Proxy, line: &str) -> bool {
    proxy.text().lines().any(|one| one == line)
}

/// The labels of the breaker that there is, for a part of its target.
fn labels(part: &str) -> String {
    format!("breaker=\"TrafficPolicy/app#0\",target=\"Service/app\",part=\"{part}\"")
}

const THREE: &str = "strategy: consecutive, failures: 3, open: 1h, openMax: 1h";

#[test]
fn an_open_breaker_refuses_and_outlives_a_snapshot() {
    let app = Told::to(500);
    let documents = broken(&[app.upstream.addr], THREE);
    let mut proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    for _ in 0..2 {
        let refused = client.get("/");
        assert_eq!((refused.status, refused.field("x-weir-reason")), (503, Some("breaker_open")));
        let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&after), "{after}");
        assert!(refused.text().contains("TrafficPolicy/app#0 of Service/app"), "{}", refused.text());
        proxy.publish(&documents.replace("failures: 3", "failures: 4"));
    }
    assert_eq!(app.requests(), 3);
    let of = labels("");
    assert!(metric(&proxy, &format!("weir_proxy_breaker_state{{{of}}} 2")), "{}", proxy.text());
    assert!(metric(&proxy, &format!("weir_proxy_breaker_transitions_total{{{of},to=\"open\"}} 1")));
    assert!(metric(&proxy, &format!("weir_proxy_breaker_refused_total{{{of}}} 2")));
    let text = explained(&proxy, &[]).to_string();
    assert!(text.contains("TrafficPolicy/app#0 of Service/app: 2 refused"), "{text}");
    assert!(text.contains("open (consecutive)"), "{text}");
    assert!(text.contains(" s ago: closed -> open: 3 calls in a row failed; open for 3600s"), "{text}");
    // A call of gRPC is told in its own way.
    client.send(
        "POST /a.B/C HTTP/1.1\r\nHost: app\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
    );
    let refused = client.response();
    assert_eq!((refused.status, refused.field("grpc-status")), (200, Some("14")));
}

fn explained(proxy: &Proxy, headers: &[&str]) -> Explanation {
    let request = Request::parse("GET", "http://app/", headers.iter().copied()).unwrap();
    explain(&proxy.shared.snapshot.load(), &request, &mut SmallRng::seed_from_u64(1))
}

/// What is explained of a call that nobody lets through, the lines behind the endpoints.
#[track_caller]
fn ends(proxy: &Proxy, headers: &[&str]) -> String {
    let text = explained(proxy, headers).to_string();
    let end = text.split("\n  endpoints\n").nth(1).unwrap();
    assert!(!end.lines().any(|line| line.starts_with("  =>")), "an endpoint is marked as chosen:\n{text}");
    end.to_owned()
}

#[test]
fn that_a_call_is_refused_is_explained() {
    let app = Told::to(500);
    let proxy = Proxy::gateway(&broken(&[app.upstream.addr], THREE));
    let mut client = proxy.client();
    client.get("/");
    assert!(explained(&proxy, &[]).forwarded().unwrap().refusals.is_empty());
    client.get("/");
    client.get("/");
    assert_eq!(client.get("/").status, 503);
    let explanation = explained(&proxy, &[]);
    let [refusal] = &*explanation.forwarded().unwrap().refusals else { panic!("{explanation}") };
    assert_eq!((&*refusal.by, refusal.share), ("TrafficPolicy/app#0 of Service/app", 1.0));
    assert_eq!((refusal.answer.status, &refusal.answer.grpc_status), (Some(503), &None));
    assert!(refusal.reason.ends_with(": 3 calls in a row failed"), "{explanation}");
    assert!((3500..=3600).contains(&refusal.retry_after_s.unwrap()), "{explanation}");
    let end = ends(&proxy, &[]);
    assert!(
        end.contains("\n  refused (503), by TrafficPolicy/app#0 of Service/app: it is open for another 3"),
        "{end}"
    );
    assert!(end.contains(": 3 calls in a row failed; Retry-After: 3"), "{end}");
    assert!(!end.contains("sent to"), "{end}");
    let end = ends(&proxy, &["content-type: application/grpc"]);
    assert!(end.contains("\n  refused (gRPC status UNAVAILABLE), by "), "{end}");
}

#[test]
fn what_refused_calls_get_is_explained() {
    let (app, spare) = (Told::to(500), Told::to(200));
    let opened = |fallback: &str| {
        let documents = broken(&[app.upstream.addr], &format!("{THREE}, fallback: {{{fallback}}}"));
        let spare = format!(
            "\n---\nkind: Service\nmetadata: {{name: spare}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}\n",
            spare.upstream.addr.port()
        );
        let proxy = Proxy::gateway(&(documents + &spare));
        let mut client = proxy.client();
        (0..3).for_each(|_| drop(client.get("/")));
        (client.get("/").status, proxy)
    };
    let (status, proxy) = opened("response: {status: 404}");
    assert_eq!(status, 404);
    assert!(ends(&proxy, &[]).contains("\n  refused (404), by "), "{}", explained(&proxy, &[]));
    let (status, proxy) = opened("cached: {}");
    assert_eq!(status, 503);
    let end = ends(&proxy, &[]);
    assert!(
        end.contains("\n  answered with an earlier answer to the same request, else (503), by "),
        "{end}"
    );
    let (status, proxy) = opened("service: {name: spare}");
    assert_eq!(status, 200);
    let explanation = explained(&proxy, &[]);
    let text = explanation.to_string();
    assert!(
        text.contains("\n  sent to service spare instead, by TrafficPolicy/app#0 of Service/app: "),
        "{text}"
    );
    let [spare_view] = &*explanation.forwarded().unwrap().fallbacks else { panic!("{text}") };
    assert_eq!(spare_view.choice.as_ref().unwrap().address, spare.upstream.addr.to_string());
    assert!(text.trim_end().ends_with(": the only endpoint"), "{text}");
    // Nobody is there.
    let (status, proxy) = opened("service: {name: nobody}");
    assert_eq!(status, 503);
    let text = explained(&proxy, &[]).to_string();
    assert!(text.trim_end().ends_with("answered with 503: there is no such service"), "{text}");
}

#[test]
fn an_instance_that_is_broken_off_is_explained() {
    let (ill, well) = (Told::to(500), Told::to(200));
    let breaker = format!("level: instance, {THREE}");
    let documents = broken(&[ill.upstream.addr, well.upstream.addr], &breaker);
    let proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    eventually("its breaker to open", || {
        client.get("/");
        metric(
            &proxy,
            &format!(
                "weir_proxy_breaker_transitions_total{{{},to=\"open\"}} 1",
                labels(&ill.upstream.addr.to_string())
            ),
        ) || proxy
            .text()
            .lines()
            .any(|line| line.starts_with("weir_proxy_breaker_state") && line.ends_with(" 2"))
    });
    for _ in 0..20 {
        let explanation = explained(&proxy, &[]);
        let forwarded = explanation.forwarded().unwrap();
        assert_eq!(
            forwarded.choice.as_ref().unwrap().address,
            well.upstream.addr.to_string(),
            "{explanation}"
        );
        let reason = &forwarded.choice.as_ref().unwrap().reason;
        assert!(!reason.contains("than") && forwarded.considered.is_empty(), "{explanation}");
        let broken = forwarded.endpoints.iter().filter(|endpoint| endpoint.broken.is_some()).count();
        assert_eq!((broken, forwarded.refusals.len()), (1, 0), "{explanation}");
    }
    assert!(
        explained(&proxy, &[])
            .to_string()
            .contains("; passed over: TrafficPolicy/app#0 lets no call through: ")
    );
    well.tell(500);
    eventually("the other's to open", || client.get("/").field("x-weir-reason") == Some("breaker_open"));
    let end = ends(&proxy, &[]);
    assert!(
        end.contains(
            "\n  refused (503), by the breakers of its endpoints: none of them lets a call through; Retry-After: 3"
        ),
        "{end}"
    );
    assert!(!end.contains("already") && !end.contains("compared"), "{end}");
}

#[test]
fn probes_close_it_again() {
    let app = Told::to(503);
    let breaker = "strategy: consecutive, failures: 2, open: 20ms, openMax: 40ms, probes: 2, ramp: 0s";
    let proxy = Proxy::gateway(&broken(&[app.upstream.addr], breaker));
    let mut client = proxy.client();
    let of = labels("");
    eventually("it to open for good a few times", || {
        client.get("/");
        metric(&proxy, &format!("weir_proxy_breaker_transitions_total{{{of},to=\"open\"}} 3"))
    });
    app.tell(200);
    eventually("it to close", || {
        client.get("/");
        metric(&proxy, &format!("weir_proxy_breaker_transitions_total{{{of},to=\"closed\"}} 1"))
    });
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn shadow_lets_all_through() {
    let app = Told::to(500);
    let documents = broken(&[app.upstream.addr], &format!("{THREE}, shadow: true"));
    let mut proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").status, 500);
    }
    let of = labels("");
    assert!(
        metric(&proxy, &format!("weir_proxy_breaker_shadow_refused_total{{{of}}} 3")),
        "{}",
        proxy.text()
    );
    assert!(metric(&proxy, &format!("weir_proxy_breaker_refused_total{{{of}}} 0")));
    let text = explained(&proxy, &[]).to_string();
    assert!(text.contains("Service/app, in shadow: 3 would have been refused\n"), "{text}");
    assert!(
        text.contains("\n  note: TrafficPolicy/app#0 of Service/app is in shadow and would refuse it: "),
        "{text}"
    );
    assert!(text.contains("\n  sent to "), "{text}");
    // It is open still, and now in earnest; what it has refused is counted apart.
    proxy.publish(&documents.replace(", shadow: true", ""));
    eventually("it to refuse", || client.get("/").status == 503);
    let text = explained(&proxy, &[]).to_string();
    // The worker may have gone by the document before for a call or two.
    assert!(
        text.contains("Service/app: 1 refused, ") && text.contains(" would have been in shadow\n"),
        "{text}"
    );
}

#[test]
fn another_strategy_begins_anew_and_another_time_does_not() {
    let app = Told::to(500);
    let documents = broken(&[app.upstream.addr], THREE);
    let mut proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    assert_eq!(client.get("/").status, 503);
    proxy.publish(&documents.replace(THREE, "strategy: throttle"));
    eventually("the throttle to let calls through", || client.get("/").status == 500);
    let text = explained(&proxy, &[]).to_string();
    assert!(text.contains(": 0 refused") && text.contains("closed (throttle)"), "{text}");
    assert!(text.contains("opened 0 times") && !text.contains("last changed"), "{text}");
    proxy.publish(&documents);
    eventually("it to open again", || client.get("/").status == 503);
    proxy.publish(&documents.replace("open: 1h", "open: 1ms"));
    eventually("its time to be over", || client.get("/").status == 500);
}

#[test]
fn a_document_may_have_the_answer() {
    let app = Told::to(500);
    let fallback = "fallback: {response: {status: 200, headers: [{name: content-type, value: application/json}], body: \"[]\"}}";
    let proxy = Proxy::gateway(&broken(&[app.upstream.addr], &format!("{THREE}, {fallback}")));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    let instead = client.get("/");
    assert_eq!((instead.status, instead.text().as_str()), (200, "[]"));
    assert_eq!(instead.field("content-type"), Some("application/json"));
    assert_eq!(instead.field("retry-after"), None, "it is no error");
    let ends = ends(&proxy, &[]);
    assert!(ends.contains("refused (200)") && !ends.contains("Retry-After"), "{ends}");
}

#[test]
fn an_error_of_a_document_says_when_to_come_again() {
    let app = Told::to(500);
    for (headers, after) in [("", None), ("headers: [{name: Retry-After, value: \"7\"}], ", Some("7"))] {
        let fallback = format!("fallback: {{response: {{{headers}status: 503}}}}");
        let proxy = Proxy::gateway(&broken(&[app.upstream.addr], &format!("{THREE}, {fallback}")));
        let mut client = proxy.client();
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 500);
        }
        let instead = client.get("/");
        let said = instead.field("retry-after").unwrap();
        assert!(after.map_or(said.len() == 4, |after| said == after), "{said}");
    }
}

#[test]
fn another_service_may_answer() {
    let (app, spare) = (Told::to(500), Upstream::echo());
    let documents = broken(&[app.upstream.addr], &format!("{THREE}, fallback: {{service: {{name: spare}}}}"));
    let spare_service = format!(
        "---\nkind: Service\napiVersion: weir.dev/v1\nmetadata: {{name: spare}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}\n",
        spare.addr.port()
    );
    let proxy = Proxy::gateway(&(documents + &spare_service));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    let instead = client.get("/x");
    assert_eq!(instead.status, 200);
    assert!(instead.text().starts_with("GET /x HTTP/1.1\r\n"), "{}", instead.text());
    assert_eq!((app.requests(), spare.requests()), (3, 1));
    let counted = "weir_proxy_requests_total{service=\"spare\",route=\"HTTPRoute/all#0\",class=\"2xx\",decision=\"forwarded\"} 1";
    // It is counted once the client has all of it.
    eventually("the call to be counted", || metric(&proxy, counted));
}

#[test]
fn another_service_may_refuse_as_well() {
    let (app, spare) = (Told::to(500), Told::to(500));
    let spare_documents = format!(
        "\n---\nkind: Service\nmetadata: {{name: spare}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}\n\
         ---\nkind: Service\nmetadata: {{name: third}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}\n",
        spare.upstream.addr.port(),
        spare.upstream.addr.port()
    );
    let first = broken(&[app.upstream.addr], &format!("{THREE}, fallback: {{service: {{name: spare}}}}"));
    let fallbacks = [
        ("", 503, true),
        (", fallback: {response: {status: 200}}", 200, false),
        (", fallback: {service: {name: third}}", 503, true),
    ];
    for (fallback, status, says_when) in fallbacks {
        let second = format!(
            "---\nkind: TrafficPolicy\nmetadata: {{name: spare}}\nspec: {{targetRefs: [{{name: spare}}], breakers: [{{{THREE}{fallback}}}]}}\n"
        );
        let proxy = Proxy::gateway(&format!("{first}{spare_documents}{second}"));
        let mut client = proxy.client();
        let before = (app.requests(), spare.requests());
        for _ in 0..6 {
            assert_eq!(client.get("/").status, 500);
        }
        let refused = client.get("/");
        assert_eq!((refused.status, refused.field("retry-after").is_some()), (status, says_when));
        assert_eq!(refused.field("x-weir-reason"), Some("breaker_open"));
        assert_eq!((app.requests(), spare.requests()), (before.0 + 3, before.1 + 3));
        let text = explained(&proxy, &[]).to_string();
        let end = text.lines().last().unwrap();
        assert!(end.starts_with(&format!("  refused ({status}), by TrafficPolicy/spare#0")), "{text}");
        assert_eq!(end.contains("; Retry-After: 3"), says_when, "{text}");
    }
}

#[test]
fn another_service_may_have_earlier_answers() {
    let app = Told::to(500);
    let spare = Told::to(200);
    let documents = broken(&[app.upstream.addr], &format!("{THREE}, fallback: {{service: {{name: spare}}}}"));
    let spare_documents = format!(
        "\n---\nkind: Service\nmetadata: {{name: spare}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}\n\
         ---\nkind: TrafficPolicy\nmetadata: {{name: spare}}\nspec: {{targetRefs: [{{name: spare}}], breakers: [{{{THREE}, fallback: {{cached: {{}}}}}}]}}\n",
        spare.upstream.addr.port()
    );
    let proxy = Proxy::gateway(&(documents + &spare_documents));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    assert_eq!(client.get("/").status, 200);
    spare.tell(500);
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    let earlier = client.get("/");
    assert_eq!((earlier.status, earlier.field("x-weir-reason")), (200, Some("breaker_open")));
    assert!(earlier.field("age").is_some());
    assert_eq!(spare.requests(), 4);
}

#[test]
fn each_rule_has_its_own() {
    let app = Told::to(500);
    let rules =
        "rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: app}]}, {backendRefs: [{name: app}]}]";
    let documents = broken(&[app.upstream.addr], &format!("level: route, {THREE}"))
        .replace("rules: [{backendRefs: [{name: app}]}]", rules);
    let proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/a").status, 500);
    }
    assert_eq!(client.get("/a").status, 503);
    app.tell(200);
    assert_eq!(client.get("/b").status, 200, "another rule");
    assert!(metric(&proxy, &format!("weir_proxy_breaker_state{{{}}} 2", labels("HTTPRoute/all#0"))));
    assert!(metric(&proxy, &format!("weir_proxy_breaker_state{{{}}} 0", labels("HTTPRoute/all#1"))));
}

#[test]
fn a_named_rule_keeps_its_own_when_rules_come_before_it() {
    let app = Told::to(500);
    let rule = |name: &str| {
        format!("{{name: {name}, matches: [{{path: {{value: /{name}}}}}], backendRefs: [{{name: app}}]}}")
    };
    let broken = broken(&[app.upstream.addr], &format!("level: route, {THREE}"));
    let with = |rules: &[&str]| {
        let rules: Vec<String> = rules.iter().map(|name| rule(name)).collect();
        broken.replace("rules: [{backendRefs: [{name: app}]}]", &format!("rules: [{}]", rules.join(", ")))
    };
    let mut proxy = Proxy::gateway(&with(&["a", "b"]));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/b").status, 500);
    }
    app.tell(200);
    assert_eq!((client.get("/a").status, client.get("/b").status), (200, 503));
    proxy.publish(&with(&["new", "a", "b"]));
    assert_eq!(
        (client.get("/new").status, client.get("/a").status, client.get("/b").status),
        (200, 200, 503)
    );
    assert!(metric(&proxy, &format!("weir_proxy_breaker_state{{{}}} 2", labels("HTTPRoute/all#b"))));
}

#[test]
fn a_breaker_goes_on_wherever_it_stands_in_its_document() {
    let app = Told::to(500);
    let alone = broken(&[app.upstream.addr], THREE);
    let other = "strategy: window, open: 1h, openMax: 1h";
    let with = |breakers: &str| alone.replace(&format!("{{{THREE}}}"), breakers);
    let mut proxy = Proxy::gateway(&alone);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    let first = format!("{{{other}}}, {{{THREE}}}");
    let same_first = format!("{{{}}}, {{{THREE}}}", THREE.replace('3', "7"));
    for breakers in [&first, &same_first, &format!("{{{THREE}}}")] {
        proxy.publish(&with(breakers));
        assert_eq!(client.get("/").status, 503, "{breakers}");
    }
    assert_eq!(app.requests(), 3);
}

#[test]
fn an_instance_that_is_broken_off_is_no_candidate() {
    let (ill, well) = (Told::to(500), Upstream::echo());
    let proxy =
        Proxy::gateway(&broken(&[ill.upstream.addr, well.addr], &format!("level: instance, {THREE}")));
    let mut client = proxy.client();
    eventually("the ill one to be broken off", || {
        client.get("/");
        ill.requests() == 3
    });
    for _ in 0..30 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(ill.requests(), 3);
    assert!(metric(
        &proxy,
        &format!("weir_proxy_breaker_state{{{}}} 2", labels(&ill.upstream.addr.to_string()))
    ));
}

#[test]
fn when_all_instances_are_broken_off_the_call_is_refused() {
    let app = Told::to(500);
    let proxy = Proxy::gateway(&broken(&[app.upstream.addr], &format!("level: instance, {THREE}")));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    let refused = client.get("/");
    assert_eq!((refused.status, refused.field("x-weir-reason")), (503, Some("breaker_open")));
    assert_eq!(app.requests(), 3);
}

#[test]
fn a_probe_whose_client_leaves_gives_its_place_back() {
    let gate = Gate::new();
    let opened = gate.clone();
    let first = Arc::new(AtomicU16::new(0));
    let counted = first.clone();
    let app = Upstream::start(move |conn| {
        loop {
            conn.request()?;
            match counted.fetch_add(1, Ordering::SeqCst) {
                0 => conn.write("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")?,
                1 => {
                    // The probe: it is given up before it is answered.
                    gate.wait();
                    return Ok(());
                }
                _ => conn.ok(b"well")?,
            }
        }
    });
    let breaker = "strategy: consecutive, failures: 1, open: 20ms, openMax: 20ms, probes: 1, ramp: 0s";
    let proxy = Proxy::gateway(&broken(&[app.addr], breaker));
    assert_eq!(proxy.client().get("/").status, 500);
    eventually("a probe to be under way", || {
        let mut probe = proxy.client();
        probe.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        // Either it is refused at once, or it waits until it leaves.
        let until = std::time::Instant::now() + std::time::Duration::from_millis(100);
        while std::time::Instant::now() < until && first.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
        first.load(Ordering::SeqCst) == 2
    });
    // Its lease would last for 30 s, longer than any test waits.
    let mut client = proxy.client();
    eventually("the next one to be the probe", || client.get("/").status == 200);
    opened.open();
}

#[test]
fn responses_that_break_off_in_the_middle_are_failures() {
    let app = Upstream::start(|conn| {
        conn.request()?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
        conn.reset();
        Ok(())
    });
    let well = Upstream::echo();
    let proxy = Proxy::gateway(&broken(&[app.addr], THREE));
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        assert!(client.try_response(false).is_err(), "half a response looks whole");
    }
    // The client may see the end a moment before the breaker hears of it.
    eventually("the breaker to be open", || {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        client.try_response(false).is_ok_and(|response| response.status == 503)
    });
    // The instance is ejected for it, too.
    let policy = "balance: {policy: round_robin}\n  outlier: {consecutive: 2, ejection: 1h, ejectionMax: 1h}";
    let proxy = Proxy::gateway(&documents(&[app.addr, well.addr], policy));
    let mut cut = 0;
    for _ in 0..20 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        cut += usize::from(client.try_response(false).is_err());
    }
    assert!((1..=2).contains(&cut), "{cut}");
}

#[test]
fn a_document_may_have_an_answer_for_calls_of_grpc() {
    let app = Told::to(500);
    let fallback =
        "fallback: {response: {status: 200, grpcStatus: NOT_FOUND, grpcMessage: \"no cart, 100% sure\"}}";
    let proxy = Proxy::gateway(&broken(&[app.upstream.addr], &format!("{THREE}, {fallback}")));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    let call =
        "POST /a.B/C HTTP/1.1\r\nHost: app\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let refused = client.send(call).response();
    assert_eq!(
        (refused.field("grpc-status"), refused.field("grpc-message")),
        (Some("5"), Some("no cart, 100%25 sure"))
    );
}
