//! gRPC: statuses, deadlines, and gRPC-Web.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use super::upstream::{Call, H2Upstream};
use super::{connect, exchange, request, run, whole};
use crate::support::{Proxy, documents, eventually};

fn call(path: &str) -> Request<()> {
    let mut call = request("POST", path);
    call.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    call.headers_mut().insert("te", "trailers".parse().unwrap());
    call
}

fn with_timeout(path: &str, timeout: &str) -> Request<()> {
    let mut call = call(path);
    call.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    call
}

fn grpc_response() -> Response<()> {
    Response::builder().header("content-type", "application/grpc+proto").body(()).unwrap()
}

/// A message of gRPC's.
fn message(content: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

fn trailers(status: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers
}

fn grpc_documents(upstream: &H2Upstream) -> String {
    documents(&[upstream.addr], "").replace("spec:\n  endpoints:", "spec:\n  protocol: grpc\n  endpoints:")
}

fn proxy(upstream: &H2Upstream) -> Proxy {
    Proxy::gateway(&grpc_documents(upstream))
}

/// Echoes each message as it comes, and the timeout and content type that it saw in the trailers.
async fn echo(mut call: Call) {
    let mut stream = call.respond.send_response(grpc_response(), false).unwrap();
    let body = call.request.body_mut();
    while let Some(Ok(piece)) = body.data().await {
        let _ = body.flow_control().release_capacity(piece.len());
        stream.send_data(piece, false).unwrap();
    }
    let mut last = trailers("0");
    for name in ["grpc-timeout", "content-type", "te"] {
        if let Some(value) = call.request.headers().get(name) {
            last.insert(
                http::HeaderName::from_bytes(format!("saw-{name}").as_bytes()).unwrap(),
                value.clone(),
            );
        }
    }
    stream.send_trailers(last).unwrap();
}

#[test]
fn messages_stream_both_ways_as_they_come() {
    let upstream = H2Upstream::start(echo);
    let proxy = proxy(&upstream);
    run(async {
        let mut requests = connect(proxy.addr()).await;
        let (response, mut stream) = requests.send_request(call("/a.B/C"), false).unwrap();
        // The head comes before anything was sent.
        let mut response = response.await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/grpc+proto");
        for i in 0..20u8 {
            let sent = message(&[i; 100]);
            stream.send_data(Bytes::from(sent.clone()), false).unwrap();
            let mut got = Vec::new();
            while got.len() < sent.len() {
                let piece = response.body_mut().data().await.unwrap().unwrap();
                let _ = response.body_mut().flow_control().release_capacity(piece.len());
                got.extend_from_slice(&piece);
            }
            assert_eq!(got, sent);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(response.body_mut().data().await.is_none());
        let trailers = response.body_mut().trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
    });
}

#[test]
fn a_call_that_ends_with_its_head_stays_as_it_is() {
    let upstream = H2Upstream::start(|mut call| async move {
        let mut response = grpc_response();
        response.headers_mut().insert("grpc-status", "5".parse().unwrap());
        response.headers_mut().insert("grpc-message", "none".parse().unwrap());
        call.respond.send_response(response, true).unwrap();
    });
    let proxy = proxy(&upstream);
    run(async {
        let mut requests = connect(proxy.addr()).await;
        let (response, mut stream) = requests.send_request(call("/a.B/C"), false).unwrap();
        stream.send_data(message(b"x").into(), true).unwrap();
        let response = response.await.unwrap();
        assert!(response.body().is_end_stream(), "nothing follows");
        assert_eq!(response.headers()["grpc-status"], "5");
        assert!(!response.headers().contains_key("content-length"), "{:?}", response.headers());
    });
}

#[test]
fn refusals_are_statuses_of_the_call() {
    let upstream = H2Upstream::start(echo);
    let proxy = proxy(&upstream);
    let nobody = Proxy::gateway(&grpc_documents(&H2Upstream::nowhere()));
    let unrouted = Proxy::gateway(
        &grpc_documents(&upstream)
            .replace("rules: [{backendRefs", "rules: [{matches: [{path: {value: /only}}], backendRefs"),
    );
    run(async {
        for (proxy, status, reason) in [(&nobody, "14", "connect_failed"), (&unrouted, "12", "no_route")] {
            let mut requests = connect(proxy.addr()).await;
            let (response, mut stream) = requests.send_request(call("/a.B/C"), false).unwrap();
            stream.send_data(message(b"x").into(), true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(response.body().is_end_stream());
            let field = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            assert_eq!((&*field("grpc-status"), &*field("x-weir-reason")), (status, reason));
            assert_eq!(field("content-type"), "application/grpc+proto");
            assert!(!field("grpc-message").is_empty());
            // Others are answered as ever.
            let got = exchange(&requests, request("GET", "/a.B/C"), &[], None).await.unwrap();
            assert!(got.status() >= 400 && got.field("grpc-status").is_none());
        }
    });
    drop(proxy);
}

#[test]
fn the_deadline_goes_along_and_what_is_left_of_it_shrinks() {
    let upstream = H2Upstream::start(echo);
    let proxy = proxy(&upstream);
    run(async {
        let requests = connect(proxy.addr()).await;
        for (timeout, most) in [("5S", 5_000_000), ("300m", 300_000), ("2M", 120_000_000)] {
            let got =
                exchange(&requests, with_timeout("/a.B/C", timeout), &[&message(b"x")], None).await.unwrap();
            let saw = got.trailers.unwrap()["saw-grpc-timeout"].to_str().unwrap().to_owned();
            let (number, unit) = saw.split_at(saw.len() - 1);
            let micros = number.parse::<u64>().unwrap() * if unit == "m" { 1000 } else { 1 };
            assert!(micros <= most && micros > most - 200_000, "{timeout} became {saw}");
        }
        let got = exchange(&requests, call("/a.B/C"), &[&message(b"x")], None).await.unwrap();
        assert!(!got.trailers.unwrap().contains_key("saw-grpc-timeout"));
    });
}

#[test]
fn a_call_ends_at_its_deadline_before_and_after_its_head() {
    let (told, cancelled) = std::sync::mpsc::channel();
    let upstream = H2Upstream::start(move |mut call| {
        let told = told.clone();
        async move {
            if call.request.uri().path() == "/late.Head/Call" {
                let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
                let _ = told.send(reason.unwrap());
                return;
            }
            let mut stream = call.respond.send_response(grpc_response(), false).unwrap();
            stream.send_data(message(b"one").into(), false).unwrap();
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            let _ = told.send(reason.unwrap());
        }
    });
    let proxy = proxy(&upstream);
    run(async {
        let requests = connect(proxy.addr()).await;
        let began = std::time::Instant::now();
        let got = exchange(&requests, with_timeout("/late.Head/Call", "1500m"), &[&message(b"x")], None)
            .await
            .unwrap();
        assert_eq!((got.field("grpc-status"), got.field("x-weir-reason")), (Some("4"), Some("timeout")));
        assert!(began.elapsed() >= Duration::from_millis(1500));
        let got = exchange(&requests, with_timeout("/late.End/Call", "3000m"), &[&message(b"x")], None)
            .await
            .unwrap();
        assert_eq!(got.body, message(b"one"));
        assert_eq!(got.trailers.unwrap()["grpc-status"], "4");
    });
    for _ in 0..2 {
        assert_eq!(cancelled.recv_timeout(Duration::from_secs(10)).unwrap(), h2::Reason::CANCEL);
    }
}

#[test]
fn a_call_that_waits_for_news_is_not_cut_off() {
    let upstream = H2Upstream::start(|mut call| async move {
        let mut stream = call.respond.send_response(grpc_response(), false).unwrap();
        tokio::time::sleep(Duration::from_millis(800)).await;
        stream.send_data(message(b"news").into(), false).unwrap();
        stream.send_trailers(trailers("0")).unwrap();
    });
    let proxy = Proxy::gateway_with(&grpc_documents(&upstream), |config| {
        config.timeouts.stream_idle = Duration::from_millis(200);
    });
    run(async {
        let mut requests = connect(proxy.addr()).await;
        let (response, _stream) = requests.send_request(call("/a.B/Watch"), false).unwrap();
        let got = whole(response.await.unwrap()).await.unwrap();
        assert_eq!(got.body, message(b"news"));
    });
}

/// What base64 stands for, of which each four characters are read by themselves: pieces may end with padding.
fn decoded(text: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let of = |quantum: &[u8]| {
        let digits: Vec<u32> = quantum
            .iter()
            .filter(|digit| **digit != b'=')
            .map(|digit| ALPHABET.iter().position(|one| one == digit).unwrap() as u32)
            .collect();
        let bits = digits.iter().chain([&0; 4]).take(4).fold(0, |bits, digit| bits << 6 | digit);
        bits.to_be_bytes()[1..digits.len()].to_vec()
    };
    text.chunks_exact(4).flat_map(of).collect()
}

#[test]
fn grpc_web_streams_over_http2_too() {
    let upstream = H2Upstream::start(echo);
    let proxy = proxy(&upstream);
    run(async {
        let mut client = connect(proxy.addr()).await;
        let mut call = request("POST", "/a.B/C");
        call.headers_mut().insert("content-type", "application/grpc-web-text".parse().unwrap());
        let (response, mut body) = client.send_request(call, false).unwrap();
        let mut seen = Vec::new();
        let mut response = response.await.unwrap().into_body();
        // Each message in pieces that end wherever they like, also in the middle of four characters. The next is sent
        // once the one before has come back.
        for pieces in [["AAA", "AAAVoZWxs", "bw=="], ["AAAAAAVoZ", "Wxs", "bw=="]] {
            let before = decoded(&seen).len();
            for piece in pieces {
                body.send_data(Bytes::from(piece), false).unwrap();
            }
            while decoded(&seen).len() < before + 10 {
                seen.extend_from_slice(&response.data().await.unwrap().unwrap());
            }
            assert_eq!(decoded(&seen)[before..], message(b"hello"));
        }
        body.send_data(Bytes::new(), true).unwrap();
        while let Some(piece) = response.data().await {
            seen.extend_from_slice(&piece.unwrap());
        }
        let all = decoded(&seen);
        assert_eq!(all[20], 0x80, "the trailers are a message of their own");
        assert!(String::from_utf8_lossy(&all[25..]).contains("grpc-status:0\r\n"));
        assert!(response.trailers().await.unwrap().is_none());
    });
}

#[test]
fn grpc_web_is_translated() {
    let upstream = H2Upstream::start(echo);
    let proxy = proxy(&upstream);
    let mut client = proxy.client();
    let sent = message(b"hello");
    let head = |content_type: &str, len: usize| {
        format!(
            "POST /a.B/C HTTP/1.1\r\nHost: app\r\nContent-Type: {content_type}\r\nX-Grpc-Web: 1\r\nContent-Length: {len}\r\n\r\n"
        )
    };
    let got = client.send(head("application/grpc-web+proto", sent.len())).send(&sent).response();
    assert_eq!((got.status, got.field("content-type")), (200, Some("application/grpc-web+proto")));
    let (content, last) = got.body.split_at(sent.len());
    assert_eq!(content, sent);
    assert_eq!(last[0], 0x80);
    let last = String::from_utf8_lossy(&last[5..]).into_owned();
    assert!(
        last.contains("grpc-status:0\r\n") && last.contains("saw-content-type:application/grpc+proto\r\n"),
        "{last}"
    );
    assert!(last.contains("saw-te:trailers\r\n"), "{last}");
    assert!(got.trailers.is_empty());

    // The same as text: "AAAAAAVoZWxsbw==" is the message above.
    let text = "AAAAAAVoZWxsbw==";
    let got = client.send(head("application/grpc-web-text", text.len())).send(text).response();
    assert_eq!(got.field("content-type"), Some("application/grpc-web-text+proto"));
    assert!(got.text().starts_with(text), "{}", got.text());
    assert!(got.text().len() > text.len() + 8, "the trailers follow");

    // An answer of the proxy's own.
    let nobody = Proxy::gateway(&grpc_documents(&H2Upstream::nowhere()));
    let got = nobody.client().send(head("application/grpc-web+proto", 0)).response();
    assert_eq!((got.status, got.field("grpc-status")), (200, Some("14")));
    assert_eq!(got.field("content-type"), Some("application/grpc-web+proto"));
    eventually("nothing is left open", || proxy.metrics().active_connections() <= 1);
}

#[test]
fn text_that_is_none_is_the_clients_fault() {
    let upstream = H2Upstream::start(|mut call| async move {
        // One that answers first may have begun with its response.
        if call.request.uri().path() == "/a.B/First" {
            let mut first = call.respond.send_response(grpc_response(), false).unwrap();
            let _ = std::future::poll_fn(|cx| first.poll_reset(cx)).await;
        } else {
            call.body().await;
            let _ = call.respond.send_response(grpc_response(), true);
        }
    });
    let proxy = proxy(&upstream);
    let head = |path: &str, text: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: app\r\nContent-Type: application/grpc-web-text\r\nContent-Length: {}\r\n\r\n",
            text.len()
        )
    };
    for text in ["AAAA*AV", "AAAAAAV", "AAAA*AAA"] {
        // With its head and after it.
        for together in [true, false] {
            let mut client = proxy.client();
            if together {
                client.send(head("/a.B/C", text) + text);
            } else {
                let before = upstream.calls();
                client.send(head("/a.B/C", text));
                eventually("the head has arrived", || upstream.calls() > before);
                client.send(text);
            }
            let got = client.response();
            assert_eq!(
                (got.field("grpc-status"), got.field("x-weir-reason")),
                (Some("13"), Some("bad_request"))
            );
        }
        let mut client = proxy.client();
        client.send(head("/a.B/First", text)).head().unwrap();
        client.send(text);
        assert!(!String::from_utf8_lossy(&client.until_any_end()).contains("grpc-status:0"));
    }
    let metrics = proxy.text();
    let count = |name: &str| metrics.lines().find(|line| line.starts_with(name)).unwrap();
    for name in ["weir_proxy_upstream_resets_total", "weir_proxy_retries_total"] {
        assert!(count(name).ends_with(" 0"), "{}", count(name));
    }
}
