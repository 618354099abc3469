//! Balancers that go by how busy or how quick endpoints are.

use std::time::Duration;

use super::{answering, asked, explained, shares};
use crate::support::{Client, Gate, Proxy, Upstream, documents, eventually};

#[test]
fn least_connections_takes_the_least_busy_of_all() {
    let gate = Gate::new();
    let upstreams: Vec<Upstream> = (0..5)
        .map(|_| {
            let gate = gate.clone();
            Upstream::start(move |conn| {
                conn.request()?;
                gate.wait();
                conn.ok(b"")
            })
        })
        .collect();
    let addrs: Vec<_> = upstreams.iter().map(|upstream| upstream.addr).collect();
    let proxy = Proxy::gateway(&documents(&addrs, "balance: {policy: least_connections}"));
    for round in 1..=3 {
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..5 {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
            clients.push(client);
            let sent = 5 * (round - 1) + clients.len();
            eventually("it to be there", || {
                upstreams.iter().map(Upstream::connections).sum::<usize>() == sent
            });
        }
        // Each of five at once to another one.
        let each: Vec<usize> = upstreams.iter().map(Upstream::connections).collect();
        assert_eq!(each, [round; 5]);
        clients.iter().for_each(|_| gate.open());
        assert!(clients.iter_mut().all(|client| client.response().status == 200));
    }
}

#[test]
fn peak_ewma_prefers_the_quick() {
    let (slow, quick) = (answering(Duration::from_millis(30), 200), answering(Duration::ZERO, 200));
    let policy = "balance: {policy: peak_ewma, decay: 10s}";
    let proxy = Proxy::gateway(&documents(&[slow.addr, quick.addr], policy));
    let mut client = proxy.client();
    // Until both are known.
    eventually("both to be known", || {
        asked(&mut client, "/", "");
        explained(&proxy, &[]).0.endpoints.iter().all(|endpoint| endpoint.latency_us.is_some())
    });
    let shares = shares(&mut client, 200);
    assert!(shares[&quick.addr] >= 180, "{shares:?}");
    let (forwarded, text) = explained(&proxy, &[]);
    assert_eq!(forwarded.choice.unwrap().address, quick.addr.to_string(), "{text}");
    assert!(text.contains("expected to cost"), "{text}");
}

#[test]
fn peak_ewma_does_not_take_quick_failures_for_quickness() {
    let (broken, well) = (answering(Duration::ZERO, 500), answering(Duration::from_millis(2), 200));
    let policy = "balance: {policy: peak_ewma}\n  outlier: {enabled: false}";
    let proxy = Proxy::gateway(&documents(&[broken.addr, well.addr], policy));
    let mut client = proxy.client();
    shares(&mut client, 20);
    let shares = shares(&mut client, 200);
    assert!(shares[&well.addr] >= 160, "{shares:?}");
}
