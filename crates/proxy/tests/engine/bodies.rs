//! Bodies that are large, early, cut short or given up.

use std::io::Write;
use std::time::Duration;

use crate::support::{Gate, Proxy, Upstream, documents, eventually};

const MIB: usize = 1024 * 1024;

#[test]
fn a_large_upload_of_either_framing_arrives_whole() {
    const SIZE: usize = 16 * MIB;
    let upstream = Upstream::start(|conn| {
        loop {
            let request = conn.request()?;
            let sum: u64 = request.body.iter().map(|&b| u64::from(b)).sum();
            conn.ok(format!("{} {sum}", request.body.len()).as_bytes())?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let body: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    let sum: u64 = body.iter().map(|&b| u64::from(b)).sum();
    let mut client = proxy.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: {SIZE}\r\n\r\n"));
    client.send(&body);
    assert_eq!(client.response().text(), format!("{SIZE} {sum}"));
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(300_001) {
        client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().text(), format!("{SIZE} {sum}"));
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn both_directions_flow_at_once() {
    // The upstream answers with what it reads as it reads it: neither side may wait for the other to end.
    const SIZE: usize = 8 * MIB;
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))?;
        let mut left = SIZE;
        while left > 0 {
            let part = conn.exactly(left.min(64 * 1024))?;
            conn.write(&part)?;
            left -= part.len();
        }
        conn.head()?;
        conn.ok(b"next")
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    let mut writing = client.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        writing
            .write_all(format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
            .unwrap();
        let block = vec![b'y'; 64 * 1024];
        for _ in 0..SIZE / block.len() {
            writing.write_all(&block).unwrap();
        }
    });
    client.head().unwrap();
    assert!(client.exactly(SIZE).unwrap().iter().all(|&b| b == b'y'));
    writer.join().unwrap();
    assert_eq!(client.get("/").text(), "next");
}

#[test]
fn an_early_response_is_relayed_and_a_short_rest_is_drained() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000\r\n\r\nbegin");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    client.send(vec![b'x'; 995]);
    assert_eq!(client.get("/again").status, 403, "the rest was drained and the connection lives on");
    assert_eq!(upstream.connections(), 2, "the upstream's does not: it never got the whole request");
}

#[test]
fn after_an_early_response_an_endless_upload_is_cut_off() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {}\r\n\r\nbegin", 1u64 << 40));
    assert_eq!(client.response().status, 413);
    let block = vec![b'x'; 64 * 1024];
    let mut sent = 0usize;
    while client.try_send(&block).is_ok() {
        sent += block.len();
        assert!(sent < 64 * MIB, "nobody ends this");
    }
}

/// Waits until the proxy has seen what a client did before: its one worker sees what happens in order.
fn until_noticed(proxy: &Proxy) {
    assert_eq!(proxy.client().get("/another").status, 200);
}

#[test]
fn a_client_that_has_said_all_it_will_is_still_answered() {
    let gate = Gate::new();
    let half_closed = gate.clone();
    let upstream = Upstream::start(move |conn| {
        loop {
            let request = conn.request()?;
            if request.head.starts_with("POST") {
                half_closed.wait();
            }
            conn.ok(&request.body)?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
    client.half_close();
    until_noticed(&proxy);
    gate.open();
    let response = client.response();
    assert_eq!((response.text().as_str(), response.field("connection")), ("hi", Some("close")));
    assert!(client.is_closed());
}

#[test]
fn what_was_sent_ahead_of_the_last_word_is_answered_too() {
    let gate = Gate::new();
    let half_closed = gate.clone();
    let upstream = Upstream::start(move |conn| {
        loop {
            let head = conn.head()?;
            let path = head.split(' ').nth(1).unwrap();
            if path == "/1" {
                half_closed.wait();
            }
            conn.ok(path.as_bytes())?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for path in ["/1", "/2", "/3"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n"));
    }
    client.half_close();
    until_noticed(&proxy);
    gate.open();
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.response().text(), path);
    }
    assert!(client.is_closed());
}

#[test]
fn when_the_client_is_gone_the_upstream_is_told() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        // Never answers: it ends when the proxy gives up.
        conn.until_closed();
        conn.record("gone;");
        Ok(())
    });
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.half_close_grace = Duration::from_millis(100);
    });
    let gone = || String::from_utf8_lossy(&upstream.received()).matches("gone;").count();
    let mut closes = proxy.client();
    closes.send("GET /a HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("it has arrived", || upstream.connections() == 1);
    drop(closes);
    eventually("an end is passed on after the grace", || gone() == 1);

    let mut resets = proxy.client();
    resets.send("GET /b HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("it has arrived", || upstream.connections() == 2);
    socket2::SockRef::from(&resets.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(resets);
    eventually("a reset is passed on", || gone() == 2);
    eventually("nothing is left", || proxy.metrics().active_connections() == 0);
}

#[test]
fn an_upload_that_breaks_off_never_looks_complete() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: app\r\n{head}\r\n\r\n4\r\nabcd\r\n"));
        eventually("it has arrived", || crate::support::find(&upstream.received(), b"abcd").is_some());
        client.half_close();
        assert_eq!(client.until_end().unwrap_or_default(), b"", "there is nothing to answer");
    }
    assert!(crate::support::find(&upstream.received(), b"\r\n0\r\n").is_none());
    assert_eq!(proxy.metrics().pooled_connections(), 0);
}

#[test]
fn a_response_that_breaks_off_never_looks_complete() {
    let gate = Gate::new();
    let begun = gate.clone();
    let upstream = Upstream::start(move |conn| {
        let head = conn.head()?;
        match head.split(' ').nth(1) {
            Some("/length") => conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
            Some("/chunked") => {
                conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            }
            _ => {
                conn.write("HTTP/1.1 200 OK\r\n\r\nabc")?;
                // What has not been read when a reset comes is lost.
                begun.wait();
                conn.reset();
                Ok(())
            }
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    for path in ["/length", "/chunked", "/reset"] {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n"));
        if path == "/reset" {
            client.stream.peek(&mut [0]).unwrap();
            gate.open();
        }
        assert!(client.try_response(false).is_err(), "{path}");
    }
    let mut old = proxy.client();
    old.send("GET /reset HTTP/1.0\r\nHost: app\r\n\r\n");
    old.stream.peek(&mut [0]).unwrap();
    gate.open();
    assert!(old.try_response(false).is_err(), "only a reset tells an old client that something is missing");
}

#[test]
fn a_fault_in_a_chunked_response_cuts_it_off() {
    let gate = Gate::new();
    let begun = gate.clone();
    let upstream = Upstream::start(move |conn| {
        conn.head()?;
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")?;
        begun.wait();
        conn.write("zz\r\nabc\r\n0\r\n\r\n")?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert!(client.head().unwrap().starts_with("HTTP/1.1 200 "));
    assert_eq!(client.exactly(8).unwrap(), b"3\r\nabc\r\n");
    gate.open();
    assert!(client.is_closed(), "without a last chunk");
}
