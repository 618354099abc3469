//! Clients that speak HTTP/2 to upstreams that speak HTTP/1.1.

use std::time::Duration;

use http::HeaderMap;

use super::{connect, exchange, request, run, whole};
use crate::support::{Client, PATIENCE, Proxy, Upstream};

fn proxy(upstream: &Upstream) -> Proxy {
    Proxy::to(&[upstream.addr])
}

#[test]
fn a_request_is_served() {
    let upstream = Upstream::echo();
    let proxy = proxy(&upstream);
    let got = run(async {
        let requests = connect(proxy.addr()).await;
        exchange(&requests, request("GET", "/a/../b?c=d"), &[], None).await.unwrap()
    });
    assert_eq!(got.status(), 200);
    let text = got.text();
    assert!(text.starts_with("GET /b?c=d HTTP/1.1\r\nHost: app\r\n"), "{text}");
    assert!(
        text.contains(
            "\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: app\r\n"
        ),
        "{text}"
    );
    assert!(!text.to_ascii_lowercase().contains("transfer-encoding"), "{text}");
    assert_eq!(got.field("content-length"), Some(&*text.len().to_string()));
}

#[test]
fn the_preface_is_recognised_in_any_pieces() {
    let upstream = Upstream::echo();
    let proxy = proxy(&upstream);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for cut in 1..preface.len() {
        let mut client = proxy.client();
        client.send(&preface[..cut]);
        // The first piece must not arrive together with the second.
        std::thread::sleep(Duration::from_millis(5));
        client.send(&preface[cut..]);
        let settings = client.exactly(9).unwrap();
        assert_eq!(settings[3], 4, "cut at {cut}: SETTINGS come first, not {settings:?}");
    }
    let mut client = Client::connect(proxy.addr());
    client.send("PRI * HTTP/2.0\r\n\r\nSX");
    assert_eq!(client.response().status, 505, "what only begins like it is no HTTP/2");
    let mut client = Client::connect(proxy.addr());
    assert_eq!(client.get("/").status, 200);
    client.send(preface);
    assert_eq!(client.response().status, 505, "a connection does not change what it speaks");
}

#[test]
fn many_streams_at_once_share_a_connection() {
    let upstream = Upstream::start(|conn| {
        loop {
            let request = conn.request()?;
            std::thread::sleep(Duration::from_millis(20));
            conn.ok(&request.body)?;
        }
    });
    let proxy = proxy(&upstream);
    run(async {
        let requests = connect(proxy.addr()).await;
        let mut tasks = Vec::new();
        for i in 0..100 {
            let requests = requests.clone();
            tasks.push(tokio::task::spawn_local(async move {
                let body = format!("number {i}").repeat(i + 1);
                let got = exchange(&requests, request("POST", "/"), &[body.as_bytes()], None).await.unwrap();
                assert_eq!(got.text(), body);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(proxy.metrics().requests(), 100);
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    let upstream = Upstream::start(|conn| {
        loop {
            let request = conn.request()?;
            let mark = String::from_utf8_lossy(&request.raw_body).contains("x-sum: 7");
            let body = format!("{}|{mark}", request.body.len());
            conn.write(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-late\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-late: yes\r\n\r\n",
                body.len()
            ))?;
        }
    });
    let proxy = proxy(&upstream);
    let got = run(async {
        let requests = connect(proxy.addr()).await;
        let piece = vec![b'x'; 30_000];
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        exchange(&requests, request("POST", "/"), &[&piece, &piece], Some(trailers)).await.unwrap()
    });
    assert_eq!(got.text(), "60000|true");
    assert_eq!(got.trailers.unwrap()["x-late"], "yes");
}

#[test]
fn large_bodies_flow_both_ways() {
    let upstream = Upstream::start(|conn| {
        loop {
            let request = conn.request()?;
            conn.ok(&request.body)?;
        }
    });
    let proxy = proxy(&upstream);
    let body: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let got = run(async {
        let requests = connect(proxy.addr()).await;
        exchange(&requests, request("POST", "/"), &[&body], None).await.unwrap()
    });
    assert!(got.body == body, "{} bytes of {}", got.body.len(), body.len());
}

#[test]
fn responses_without_content_end_with_their_head() {
    let upstream = Upstream::start(|conn| {
        loop {
            let request = conn.request()?;
            let answer = match request.head.split(' ').nth(1) {
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"x\"\r\n\r\n",
                Some("/0") => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n",
            };
            conn.write(answer)?;
        }
    });
    let proxy = proxy(&upstream);
    run(async {
        let requests = connect(proxy.addr()).await;
        for (method, path, status, length) in [
            ("GET", "/204", 204, None),
            ("GET", "/304", 304, Some("9")),
            ("GET", "/0", 200, Some("0")),
            ("HEAD", "/", 200, Some("12")),
        ] {
            let got = exchange(&requests, request(method, path), &[], None).await.unwrap();
            assert_eq!((got.status(), got.field("content-length")), (status, length), "{method} {path}");
            assert!(got.body.is_empty());
        }
    });
}

#[test]
fn interim_responses_come_first() {
    let upstream = Upstream::start(|conn| {
        conn.request()?;
        conn.write(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let proxy = proxy(&upstream);
    run(async {
        let mut requests = connect(proxy.addr()).await;
        let (mut response, _) = requests.send_request(request("GET", "/"), true).unwrap();
        let hints = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!((hints.status().as_u16(), &hints.headers()["link"]), (103, &"</a>".parse().unwrap()));
        assert_eq!(whole(response.await.unwrap()).await.unwrap().text(), "ok");
    });
}

#[test]
fn a_body_is_asked_for_with_100() {
    let upstream = Upstream::start(|conn| {
        let head = conn.head()?;
        assert!(head.to_ascii_lowercase().contains("expect: 100-continue"), "{head}");
        conn.write("HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = conn.exactly(5)?;
        conn.ok(&body)
    });
    let proxy = proxy(&upstream);
    run(async {
        let mut requests = connect(proxy.addr()).await;
        let mut asks = request("POST", "/");
        asks.headers_mut().insert("expect", "100-continue".parse().unwrap());
        asks.headers_mut().insert("content-length", "5".parse().unwrap());
        let (mut response, mut stream) = requests.send_request(asks, false).unwrap();
        let go_on = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(go_on.status().as_u16(), 100);
        stream.send_data("hello".into(), true).unwrap();
        assert_eq!(whole(response.await.unwrap()).await.unwrap().text(), "hello");
    });
}

#[test]
fn cookies_are_joined_and_te_is_kept() {
    let upstream = Upstream::echo();
    let proxy = proxy(&upstream);
    let got = run(async {
        let requests = connect(proxy.addr()).await;
        let mut asks = request("GET", "/");
        for crumb in ["a=1", "b=2", "c=3"] {
            asks.headers_mut().append("cookie", crumb.parse().unwrap());
        }
        asks.headers_mut().insert("te", "trailers".parse().unwrap());
        exchange(&requests, asks, &[], None).await.unwrap()
    });
    let text = got.text();
    assert!(text.contains("\r\ncookie: a=1; b=2; c=3\r\n"), "{text}");
    assert!(text.contains("\r\nte: trailers\r\nconnection: te\r\n"), "{text}");
}

#[test]
fn a_response_cut_short_is_reset() {
    let upstream = Upstream::start(|conn| {
        conn.request()?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    });
    let proxy = proxy(&upstream);
    let fault = run(async {
        let requests = connect(proxy.addr()).await;
        exchange(&requests, request("GET", "/"), &[], None).await.unwrap_err()
    });
    assert_eq!(fault.reason(), Some(h2::Reason::INTERNAL_ERROR), "{fault}");
}

#[test]
fn an_early_answer_ends_the_upload_without_an_error() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")?;
        conn.until_closed();
        Ok(())
    });
    let proxy = proxy(&upstream);
    run(async {
        let mut requests = connect(proxy.addr()).await;
        let (response, mut stream) = requests.send_request(request("POST", "/"), false).unwrap();
        stream.send_data("some".into(), false).unwrap();
        let got = whole(response.await.unwrap()).await.unwrap();
        assert_eq!((got.status(), &*got.text()), (413, "big"));
        let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, h2::Reason::NO_ERROR);
        // The connection is as good as before.
        let requests = requests.ready().await.unwrap();
        assert_eq!(exchange(&requests, request("GET", "/"), &[], None).await.unwrap().status(), 413);
    });
}

#[test]
fn a_client_that_loses_interest_cancels_the_upstreams_work() {
    let (told, closed) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::start(move |conn| {
        conn.request()?;
        conn.until_closed();
        let _ = told.lock().unwrap().send(());
        Ok(())
    });
    let proxy = proxy(&upstream);
    run(async {
        let mut requests = connect(proxy.addr()).await;
        let (response, mut stream) = requests.send_request(request("GET", "/"), true).unwrap();
        while upstream.received().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        tokio::task::spawn_blocking(move || closed.recv_timeout(PATIENCE / 2).unwrap()).await.unwrap();
    });
}

#[test]
fn refusals_are_answered_on_the_stream_and_the_connection_goes_on() {
    let upstream = Upstream::echo();
    let proxy = proxy(&upstream);
    run(async {
        let requests = connect(proxy.addr()).await;
        let mut differs = request("GET", "/");
        differs.headers_mut().insert("host", "other".parse().unwrap());
        let mut wide = request("GET", "/");
        for i in 0..100 {
            wide.headers_mut().insert(
                http::HeaderName::from_bytes(format!("x-{i}").as_bytes()).unwrap(),
                "v".parse().unwrap(),
            );
        }
        for (asks, status) in [
            (differs, 400),
            (request("TRACE", "/"), 405),
            (wide, 431),
            (request("GET", "/%00"), 400),
            (request("GET", &format!("/{}", "x".repeat(9000))), 414),
        ] {
            let got = exchange(&requests, asks, &[], None).await.unwrap();
            assert_eq!(got.status(), status, "{}", got.text());
            assert_eq!(got.field("x-weir-reason"), Some("bad_request"));
        }
        let mut same = request("GET", "/");
        same.headers_mut().insert("host", "APP".parse().unwrap());
        assert_eq!(exchange(&requests, same, &[], None).await.unwrap().status(), 200);
    });
    let received = String::from_utf8(upstream.received()).unwrap();
    assert_eq!(received.matches("HTTP/1.1").count(), 1, "{received}");
    assert_eq!(received.to_ascii_lowercase().matches("\r\nhost:").count(), 1, "{received}");
}

#[test]
fn draining_lets_streams_finish_and_takes_no_more() {
    let (answer, may_answer) = std::sync::mpsc::channel::<()>();
    let may_answer = std::sync::Mutex::new(may_answer);
    let upstream = Upstream::start(move |conn| {
        conn.request()?;
        may_answer.lock().unwrap().recv().unwrap();
        conn.ok(b"late")
    });
    let proxy = proxy(&upstream);
    run(async {
        let mut requests = connect(proxy.addr()).await;
        let (response, _) = requests.send_request(request("GET", "/"), true).unwrap();
        while upstream.received().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let drained = tokio::task::spawn_blocking(move || proxy.drain());
        // GOAWAY makes the client's side refuse new requests.
        loop {
            match requests.clone().ready().await {
                Ok(ready) => requests = ready,
                Err(fault) => break assert!(fault.is_go_away(), "{fault}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        answer.send(()).unwrap();
        assert_eq!(whole(response.await.unwrap()).await.unwrap().text(), "late");
        drop(requests);
        assert!(drained.await.unwrap(), "everything had finished in time");
    });
}

#[test]
fn a_tunnel_is_refused_and_counted() {
    let upstream = Upstream::echo();
    let proxy = proxy(&upstream);
    run(async {
        let requests = connect(proxy.addr()).await;
        for ended in [true, false] {
            let connect = http::Request::builder().method("CONNECT").uri("app:443").body(()).unwrap();
            let (response, _stream) =
                requests.clone().ready().await.unwrap().send_request(connect, ended).unwrap();
            let got = whole(response.await.unwrap()).await.unwrap();
            assert_eq!((got.status(), got.field("x-weir-reason")), (501, Some("bad_request")));
            assert!(got.field("x-request-id").is_some());
        }
        assert_eq!(exchange(&requests, request("GET", "/"), &[], None).await.unwrap().status(), 200);
    });
    assert_eq!(proxy.metrics().refusals(weir_proxy::Reason::BadRequest), 2);
}
