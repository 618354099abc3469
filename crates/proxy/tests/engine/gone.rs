//! Clients that close within a response whose upstream is silent, and some that only look like it.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::*;

const EVENT: &str = "5\r\nevent\r\n";

/// An upstream that sends one event, and tells of the end of its connection.
fn events() -> (Upstream, Receiver<()>) {
    let (told, closed) = channel();
    let told = Mutex::new(told);
    let upstream = Upstream::start(move |conn| {
        conn.request()?;
        conn.write(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{EVENT}"
        ))?;
        conn.until_closed();
        let _ = told.lock().unwrap().send(());
        Ok(())
    });
    (upstream, closed)
}

fn proxy(upstream: &Upstream, grace: Duration) -> Proxy {
    Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.half_close_grace = grace;
    })
}

fn first_event(client: &mut Client) {
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").head().unwrap();
    assert_eq!(client.exactly(EVENT.len()).unwrap(), EVENT.as_bytes());
}

#[test]
fn a_client_that_closes_is_noticed_between_two_events() {
    let (upstream, closed) = events();
    let proxy = proxy(&upstream, Duration::from_millis(100));
    let mut client = proxy.client();
    first_event(&mut client);
    drop(client);
    closed.recv_timeout(PATIENCE / 2).unwrap();
    eventually("it is gone", || proxy.metrics().active_connections() == 0);
    assert!(proxy.text().contains("weir_proxy_client_gone_total 1\n"));
    assert!(proxy.text().contains("weir_proxy_truncated_total 0\n"));
}

#[test]
fn a_client_that_resets_is_noticed_at_once() {
    let (upstream, closed) = events();
    let proxy = proxy(&upstream, Duration::from_secs(3600));
    let mut client = proxy.client();
    first_event(&mut client);
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    closed.recv_timeout(PATIENCE / 2).unwrap();
}

#[test]
fn a_client_that_only_sends_no_more_gets_all_of_a_response_that_goes_on() {
    const EVENTS: usize = 40;
    const GRACE: Duration = Duration::from_millis(2500);
    let upstream = Upstream::start(|conn| {
        conn.request()?;
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..EVENTS {
            // Slow, but never as slow as the grace; all of it takes longer.
            std::thread::sleep(Duration::from_millis(100));
            conn.write(EVENT)?;
        }
        conn.write("0\r\n\r\n")
    });
    let proxy = proxy(&upstream, GRACE);
    let mut client = proxy.client();
    first_event(&mut client);
    client.half_close();
    let rest = client.until_end().unwrap();
    assert_eq!(String::from_utf8(rest).unwrap(), EVENT.repeat(EVENTS - 1) + "0\r\n\r\n");
}

#[test]
fn a_response_that_ends_with_its_connection_is_not_ended_by_the_grace() {
    let upstream = Upstream::start(|conn| {
        conn.request()?;
        conn.write("HTTP/1.1 200 OK\r\n\r\nhalf")?;
        conn.until_closed();
        Ok(())
    });
    let proxy = proxy(&upstream, Duration::from_millis(100));
    let mut client = proxy.client();
    // To an old client it can only be passed on as it is.
    client.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n").head().unwrap();
    assert_eq!(client.exactly(4).unwrap(), b"half");
    client.half_close();
    assert!(client.until_end().is_err(), "it must not look complete");
}

#[test]
fn what_is_sent_ahead_within_a_response_is_served_after_it() {
    // More than is read ahead.
    const AHEAD: usize = 3000;
    let gate = Gate::new();
    let opened = gate.clone();
    let upstream = Upstream::start(move |conn| {
        conn.request()?;
        conn.write(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{EVENT}"))?;
        opened.wait();
        conn.write("0\r\n\r\n")?;
        loop {
            let request = conn.request()?;
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            conn.ok(path.as_bytes())?;
        }
    });
    let proxy = proxy(&upstream, Duration::from_millis(100));
    let mut client = proxy.client();
    first_event(&mut client);
    let ahead: String = (0..AHEAD).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: app\r\n\r\n")).collect();
    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, ahead.as_bytes()));
    gate.open();
    assert_eq!(client.exactly(5).unwrap(), b"0\r\n\r\n");
    for i in 0..AHEAD {
        assert_eq!(client.response().text(), format!("/{i}"));
    }
    writing.join().unwrap().unwrap();
}
