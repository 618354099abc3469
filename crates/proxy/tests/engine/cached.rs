//! Answers that are kept for bad times, as a breaker's fallback.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_proxy::explain::{Request, explain};

use crate::http2::{connect, exchange, request, run};
use crate::support::{Proxy, Response, Served, Upstream, documents, eventually};

/// An upstream that answers as it is told to until it is broken: then it answers 500, or not at all.
struct App {
    upstream: Upstream,
    broken: Arc<AtomicBool>,
}

impl App {
    fn new(serve: impl Fn(&str, &mut Served) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::failing(serve, |conn| conn.write("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"))
    }

    fn failing(
        serve: impl Fn(&str, &mut Served) -> io::Result<()> + Send + Sync + 'static,
        fail: impl Fn(&mut Served) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let broken = Arc::new(AtomicBool::new(false));
        let is_broken = broken.clone();
        let upstream = Upstream::start(move |conn| {
            loop {
                let head = conn.head()?;
                if is_broken.load(Ordering::SeqCst) {
                    fail(conn)?;
                } else {
                    serve(&head, conn)?;
                }
            }
        });
        Self { upstream, broken }
    }

    fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// A proxy whose breaker opens with the first failure.
    fn proxy(&self, cached: &str) -> Proxy {
        Proxy::gateway(&self.documents(cached))
    }

    fn documents(&self, cached: &str) -> String {
        let breaker = "strategy: consecutive, failures: 1, open: 1h, openMax: 1h";
        documents(
            &[self.upstream.addr],
            &format!(
                "outlier: {{enabled: false}}\n  breakers: [{{{breaker}, fallback: {{cached: {{{cached}}}}}}}]"
            ),
        )
    }
}

/// Opens the breaker.
fn open(proxy: &Proxy) {
    assert_eq!(proxy.client().get("/none").status, 500);
    eventually("the breaker to be open", || {
        proxy.text().lines().any(|line| line.starts_with("weir_proxy_breaker_state{") && line.ends_with(" 2"))
    });
}

fn is_kept(got: &Response) -> bool {
    match (got.status, got.field("x-weir-reason"), got.field("age")) {
        (200, Some("breaker_open"), Some(_)) => true,
        (503, Some("breaker_open"), None) => false,
        other => panic!("neither an earlier answer nor a refusal: {other:?}, {}", got.head),
    }
}

#[test]
fn an_earlier_answer_is_given_when_the_breaker_is_open() {
    let app = App::new(|_, conn| {
        conn.write("HTTP/1.1 200 OK\r\nContent-Type: image/x\r\nETag: \"1\"\r\nAge: 100\r\nKeep-Alive: timeout=5\r\n")?;
        conn.write("Transfer-Encoding: chunked\r\n\r\n3\r\n\x00\u{e9}\r\n2\r\nab\r\n0\r\n\r\n")
    });
    let documents = app.documents("");
    let mut proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    assert_eq!(client.get("/a?b").body, b"\x00\xc3\xa9ab");
    app.break_down();
    open(&proxy);
    let got = client.get("/a?b");
    assert!(is_kept(&got));
    assert_eq!(got.body, b"\x00\xc3\xa9ab");
    assert_eq!((got.field("content-type"), got.field("etag")), (Some("image/x"), Some("\"1\"")));
    assert_eq!((got.field("keep-alive"), got.field("transfer-encoding")), (None, None), "{}", got.head);
    assert!((100..160).contains(&got.field("age").unwrap().parse::<u32>().unwrap()), "{}", got.head);
    // A HEAD is answered like the GET that it stands for, and nothing else is answered.
    client.send("HEAD /a?b HTTP/1.1\r\nHost: app\r\n\r\n");
    let got = client.response_to_head();
    assert_eq!((got.status, got.field("content-length")), (200, Some("5")));
    client.send("POST /a?b HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 503);
    assert!(!is_kept(&client.get("/a")));
    // To a client of HTTP/2, too.
    run(async {
        let requests = connect(proxy.addr()).await;
        let got = exchange(&requests, request("GET", "/a?b"), &[], None).await.unwrap();
        assert_eq!((got.status(), &*got.body), (200, &b"\x00\xc3\xa9ab"[..]));
    });
    // They outlive a snapshot.
    proxy.publish(&documents.replace("cached: {}", "cached: {ageMax: 2h}"));
    assert!(is_kept(&client.get("/a?b")));
    let asked = Request::parse("GET", "http://app/a", []).unwrap();
    let text = explain(&proxy.shared.snapshot.load(), &asked, &mut SmallRng::seed_from_u64(1)).to_string();
    assert!(text.contains("1 answers kept"), "{text}");
}

#[test]
fn what_is_not_to_be_kept_is_not() {
    let app = App::new(|head, conn| {
        let field = match head.split(' ').nth(1).unwrap() {
            "/set-cookie" => "Set-Cookie: a=b",
            "/private" => "Cache-Control: max-age=5, Private",
            "/no-store" => "Cache-Control: no-store",
            "/vary" => "Vary: Accept, *",
            "/large" => {
                let body = vec![b'x'; (1 << 20) + 1];
                return conn.ok(&body);
            }
            "/201" => return conn.write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
            _ => "X: y",
        };
        conn.write(format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 2\r\n\r\nok"))
    });
    let proxy = app.proxy("");
    let mut client = proxy.client();
    let ask = |client: &mut crate::support::Client, path: &str| {
        let field = match path {
            "/authorization" => "Authorization: Basic x\r\n",
            "/asks-no-store" => "Cache-Control: no-store\r\n",
            _ => "",
        };
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app\r\n{field}\r\n"));
        client.response()
    };
    let paths = [
        "/set-cookie",
        "/private",
        "/no-store",
        "/vary",
        "/large",
        "/201",
        "/authorization",
        "/asks-no-store",
    ];
    for path in paths.into_iter().chain(["/fine"]) {
        assert!(ask(&mut client, path).status < 300, "{path}");
    }
    app.break_down();
    open(&proxy);
    for path in paths {
        assert!(!is_kept(&ask(&mut client, path)), "{path}");
        assert!(!is_kept(&client.get(path)), "{path}");
    }
    assert!(is_kept(&client.get("/fine")));
}

#[test]
fn answers_are_told_apart_by_what_they_depend_on() {
    let app = App::new(|head, conn| {
        let language = head.lines().find_map(|line| line.strip_prefix("Accept-Language: ")).unwrap_or("none");
        let head =
            format!("HTTP/1.1 200 OK\r\nVary: Accept-Language\r\nContent-Length: {}\r\n\r\n", language.len());
        conn.write(format!("{head}{language}"))
    });
    let proxy = app.proxy("");
    let mut client = proxy.client();
    let mut ask = |fields: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n"));
        client.response()
    };
    for language in ["de", "en"] {
        assert_eq!(ask(&format!("Accept-Language: {language}\r\nCookie: a=1\r\n")).text(), language);
    }
    app.break_down();
    open(&proxy);
    for language in ["de", "en"] {
        let got = ask(&format!("Accept-Language: {language}\r\nCookie: a=1\r\n"));
        assert!(is_kept(&got));
        assert_eq!(got.text(), language);
        assert!(
            !is_kept(&ask(&format!("Accept-Language: {language}\r\nCookie: a=2\r\n"))),
            "another's cookie"
        );
    }
    assert!(!is_kept(&ask("Accept-Language: fr\r\nCookie: a=1\r\n")));
}

#[test]
fn a_call_that_comes_to_nothing_gets_an_earlier_answer_too() {
    let calls = Arc::new(AtomicUsize::new(0));
    let called = calls.clone();
    let app = App::failing(
        |_, conn| conn.ok(b"well"),
        move |conn| {
            called.fetch_add(1, Ordering::SeqCst);
            conn.reset();
            Err(io::ErrorKind::BrokenPipe.into())
        },
    );
    let proxy = Proxy::gateway(&documents(
        &[app.upstream.addr],
        "retry: {attempts: 0}\n  outlier: {enabled: false}\n  breakers: [{strategy: consecutive, failures: 2, open: 1h, openMax: 1h, fallback: {cached: {}}}]",
    ));
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "well");
    app.break_down();
    let mut reasons = Vec::new();
    for _ in 0..3 {
        let got = client.get("/");
        assert_eq!((got.status, got.text().as_str()), (200, "well"), "{}", got.head);
        reasons.push(got.field("x-weir-reason").unwrap().to_owned());
    }
    // The breaker has heard of both failures.
    assert_eq!(reasons, ["upstream_reset", "upstream_reset", "breaker_open"]);
    assert!(calls.load(Ordering::SeqCst) >= 2);
    let metric = "weir_proxy_breaker_kept_answers_served_total{breaker=\"TrafficPolicy/app#0\",target=\"Service/app\"} 3";
    assert!(proxy.text().lines().any(|line| line == metric), "{}", proxy.text());
}

#[test]
fn filters_of_the_rule_are_at_work_on_earlier_answers() {
    let app = App::new(|_, conn| {
        conn.write("HTTP/1.1 200 OK\r\nX-Gone: 1\r\nX-Set: theirs\r\nContent-Length: 2\r\n\r\nok")
    });
    let filter = "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Set, value: ours}], remove: [X-Gone]}}], backendRefs";
    let proxy =
        Proxy::gateway(&app.documents("").replace("rules: [{backendRefs", &format!("rules: [{{{filter}")));
    let mut client = proxy.client();
    assert_eq!(client.get("/").field("x-set"), Some("ours"));
    app.break_down();
    open(&proxy);
    let got = client.get("/");
    assert!(is_kept(&got));
    assert_eq!(
        (got.field("x-gone"), got.head.matches("X-Set").count() + got.head.matches("x-set").count()),
        (None, 1),
        "{}",
        got.head
    );
    assert_eq!(got.field("x-set"), Some("ours"));
}
