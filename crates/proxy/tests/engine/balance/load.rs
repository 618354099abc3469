//! Balancers that go by how busy or how quick endpoints are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{answering, asked, explained, shares};
use crate::sidecar::behind_sidecars;
use crate::support::{Client, Gate, Proxy, Upstream, documents, eventually};

/// What the slow ones take: longer than the quick ones do even where the machine keeps them waiting.
const SLOW: Duration = Duration::from_millis(100);

/// Waits until so many requests are shared out as they should be: a moment in which the machine keeps a quick one waiting
/// is remembered for a while.
fn until_shared(what: &str, client: &mut Client, is_right: impl Fn(&BTreeMap<SocketAddr, usize>) -> bool) {
    eventually(what, || is_right(&shares(client, 200)));
}

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
    let (slow, quick) = (answering(SLOW, 200), answering(Duration::ZERO, 200));
    let policy = "balance: {policy: peak_ewma, decay: 10s}";
    let proxy = Proxy::gateway(&documents(&[slow.addr, quick.addr], policy));
    let mut client = proxy.client();
    let text = explained(&proxy, &[]).1;
    assert!(text.contains("(nothing heard of it yet) with endpoint "), "{text}");
    // Until both are known.
    eventually("both to be known", || {
        asked(&mut client, "/", "");
        explained(&proxy, &[]).0.endpoints.iter().all(|endpoint| endpoint.latency_us.is_some())
    });
    until_shared("nearly all to go to the quick one", &mut client, |shares| {
        shares.get(&quick.addr).is_some_and(|of_quick| *of_quick >= 180)
    });
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
    until_shared("most to go to the one that is well", &mut client, |shares| {
        shares.get(&well.addr).is_some_and(|of_well| *of_well >= 160)
    });
}

#[test]
fn prequal_goes_by_what_this_proxy_sees_where_nobody_answers_probes() {
    let (slow, quick) = (answering(SLOW, 200), answering(Duration::ZERO, 200));
    let also_quick = answering(Duration::ZERO, 200);
    let addrs = [slow.addr, quick.addr, also_quick.addr];
    let proxy = Proxy::gateway(&documents(&addrs, "balance: {policy: prequal}"));
    let mut client = proxy.client();
    // Until each is known; what is not known is tried first.
    shares(&mut client, 60);
    until_shared("few to go to the slow one", &mut client, |shares| {
        shares.get(&slow.addr).copied().unwrap_or(0) <= 40
    });
}

/// A sidecar that says how busy its application is, and that application.
fn saying(load: &'static str) -> Upstream {
    Upstream::start(move |conn| {
        loop {
            let request = conn.request()?;
            if request.head.starts_with("OPTIONS * ") {
                assert!(request.head.contains("x-weir-load: ?"), "{}", request.head);
                conn.write(format!("HTTP/1.1 204 No Content\r\nx-weir-load: {load}\r\n\r\n"))?;
            } else {
                let addr = conn.stream.local_addr()?.to_string();
                conn.ok(addr.as_bytes())?;
            }
        }
    })
}

#[test]
fn prequal_believes_sidecars() {
    // The first says that it is slow; no request shows that.
    let sidecars = ["1 900000", "1 500", "1 500"].map(saying);
    let addrs = sidecars.each_ref().map(|sidecar| sidecar.addr);
    let text = super::around::declared("policy: prequal");
    let mut proxy = Proxy::gateway(&text);
    proxy.publish_with(&text, behind_sidecars(&addrs));
    let mut client = proxy.client();
    eventually("the first to be let be", || {
        let shares = shares(&mut client, 50);
        shares.get(&addrs[0]).copied().unwrap_or(0) <= 5
    });
    let asked = || -> usize {
        let received = sidecars.iter().map(Upstream::received);
        received.map(|bytes| String::from_utf8_lossy(&bytes).matches("OPTIONS * ").count()).sum()
    };
    assert!(asked() >= 3, "{}", asked());
    // Not for each request: what is five milliseconds old is as good as new.
    let (before, begun) = (asked(), Instant::now());
    shares(&mut client, 300);
    // One of each may have been under way before.
    let most = 3 * (begun.elapsed().as_millis() as usize / 5 + 2);
    assert!(asked() - before <= most, "{} of {most}", asked() - before);
}

#[test]
fn prequal_does_not_go_on_asking_who_does_not_answer() {
    // They are like sidecars, and pass everything on.
    let applications: Vec<Upstream> = (0..3).map(|_| answering(Duration::ZERO, 200)).collect();
    let addrs: Vec<_> = applications.iter().map(|upstream| upstream.addr).collect();
    let text = super::around::declared("policy: prequal");
    let mut proxy = Proxy::gateway(&text);
    proxy.publish_with(&text, behind_sidecars(&addrs));
    let mut client = proxy.client();
    assert!(shares(&mut client, 200).len() > 1);
    let asked = || -> usize {
        let received = applications.iter().map(Upstream::received);
        received.map(|bytes| String::from_utf8_lossy(&bytes).matches("OPTIONS * ").count()).sum()
    };
    eventually("all to be known as silent", || {
        let before = asked();
        shares(&mut client, 100);
        before > 0 && asked() == before
    });
    assert!(asked() < 30, "{}", asked());
}

#[test]
fn a_sidecar_says_how_busy_its_application_is() {
    let gate = Gate::new();
    let opened = gate.clone();
    let app = Upstream::start(move |conn| {
        loop {
            let request = conn.request()?;
            assert!(!request.head.starts_with("OPTIONS"), "the application is not asked");
            if request.head.starts_with("GET /held") {
                gate.wait();
            }
            conn.ok(b"")?;
        }
    });
    let proxy = crate::sidecar::sidecar(app.addr, app.addr);
    let mut caller = Client::connect(proxy.fixed(weir_proxy::listen::Role::Inbound));
    let mut load = || {
        caller.send("OPTIONS * HTTP/1.1\r\nHost: weir\r\nx-weir-load: ?\r\n\r\n");
        let answer = caller.response();
        assert_eq!(answer.status, 204);
        let said = answer.field("x-weir-load").unwrap().to_owned();
        let (in_flight, us) = said.split_once(' ').unwrap();
        (in_flight.parse::<u32>().unwrap(), us.parse::<u32>().unwrap())
    };
    assert_eq!(load(), (0, 0), "nothing is known yet");
    let mut other = Client::connect(proxy.fixed(weir_proxy::listen::Role::Inbound));
    other.send("GET /held HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("it to be in flight", || load().0 == 1);
    opened.open();
    assert_eq!(other.response().status, 200);
    eventually("it to be learnt of", || matches!(load(), (0, us) if us > 0));
    // Anything else that is like it goes to the application, or is refused: it is no question of a proxy.
    assert_eq!(other.get("/").status, 200);
}

#[test]
fn prequal_and_real_sidecars() {
    let (slow, quick) = (answering(SLOW, 200), answering(Duration::ZERO, 200));
    let also_quick = answering(Duration::ZERO, 200);
    let apps = [&slow, &quick, &also_quick].map(|app| app.addr);
    let sidecars = apps.map(|app| crate::sidecar::sidecar(app, app));
    let addrs = sidecars.each_ref().map(|sidecar| sidecar.fixed(weir_proxy::listen::Role::Inbound));
    let text = super::around::declared("policy: prequal");
    let mut proxy = Proxy::gateway(&text);
    proxy.publish_with(&text, behind_sidecars(&addrs));
    let mut client = proxy.client();
    shares(&mut client, 100);
    until_shared("few to go to the slow one", &mut client, |shares| {
        shares.get(&slow.addr).copied().unwrap_or(0) <= 40
    });
}
