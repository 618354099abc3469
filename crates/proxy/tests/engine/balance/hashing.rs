//! Consistent hashing: what is the same goes to the same endpoint, as long as that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_proxy::explain::{Request, explain};

use super::{Fleet, asked, explained};
use crate::support::{Client, Gate, Proxy, Upstream, documents, eventually, free_port};

const POLICIES: [&str; 2] = ["ring_hash", "maglev"];

/// Where each of 60 users is served.
fn homes(proxy: &Proxy) -> BTreeMap<usize, SocketAddr> {
    let mut client = proxy.client();
    (0..60).map(|user| (user, asked(&mut client, "/", &format!("X-User: u{user}\r\n")))).collect()
}

fn by_user(policy: &str) -> String {
    format!("policy: {policy}, hash: [{{type: header, name: X-User}}]")
}

#[test]
fn a_session_stays_where_it_is_when_others_come_and_go() {
    for policy in POLICIES {
        let fleet = Fleet::of(9);
        let all = fleet.under(&by_user(policy));
        let mut proxy = Proxy::gateway_with(&all, |config| config.workers = 2);
        let before = homes(&proxy);
        assert!(before.values().collect::<BTreeSet<_>>().len() > 5, "{policy}: {before:?}");
        // Whichever worker has the connection.
        (0..4).for_each(|_| assert_eq!(homes(&proxy), before, "{policy}"));

        let gone = before[&0];
        let line = format!("\n  - address: \"127.0.0.1\"\n    port: {}", gone.port());
        let fewer = all.replace(&line, "");
        assert_ne!(fewer, all);
        proxy.publish(&fewer);
        let after = homes(&proxy);
        assert!(after.values().all(|home| *home != gone), "{policy}");
        let moved = before.iter().filter(|(user, home)| after[user] != **home && **home != gone).count();
        // A table is filled anew, and a few entries of others change hands; a ring's points stay. Most would move without
        // consistent hashing.
        assert!(moved <= if policy == "maglev" { 20 } else { 0 }, "{policy}: {moved} moved");
        proxy.publish(&all);
        assert_eq!(homes(&proxy), before, "{policy}: back where they were");
    }
}

#[test]
fn every_part_of_a_request_can_be_hashed() {
    let fleet = Fleet::of(4);
    let check = |part: &str, request: &dyn Fn(usize) -> (String, String)| {
        let balance = format!("policy: maglev, hash: [{part}]");
        let proxy = Proxy::gateway(&fleet.under(&balance));
        let mut client = proxy.client();
        let mut served = BTreeSet::new();
        for value in 0..20 {
            let (target, fields) = request(value);
            let home = asked(&mut client, &target, &fields);
            assert_eq!(asked(&mut client, &target, &fields), home, "{part}: {value}");
            served.insert(home);
        }
        served.len()
    };
    let field = |name: &'static str| move |value: usize| ("/".to_owned(), format!("{name}{value}\r\n"));
    assert!(check("{type: header, name: x-user}", &field("X-User: ")) > 1);
    assert!(check("{type: cookie, name: sid}", &field("Cookie: a=b; sid=")) > 1);
    let target = |before: &'static str| move |value: usize| (format!("{before}{value}"), String::new());
    assert!(check("{type: query, name: id}", &target("/?x=1&id=")) > 1);
    assert!(check("{type: path}", &target("/path/")) > 1);
    // One and the same for all of these, and so is their endpoint.
    for part in ["host", "method", "sourceAddress", "route"] {
        assert_eq!(check(&format!("{{type: {part}}}"), &field("X-User: ")), 1, "{part}");
    }
    // The first that the request has counts.
    let two = "{type: header, name: x-user}, {type: sourceAddress}";
    assert!(check(two, &field("X-User: ")) > 1);
    assert_eq!(check(two, &field("X-Other: ")), 1);
}

#[test]
fn without_what_is_hashed_chance_decides() {
    let fleet = Fleet::of(3);
    let proxy = Proxy::gateway(&fleet.under(&by_user("ring_hash")));
    let mut client = proxy.client();
    let served: BTreeSet<_> = (0..60).map(|_| asked(&mut client, "/", "")).collect();
    assert_eq!(served.len(), 3);
    // An empty value is nobody's.
    let served: BTreeSet<_> = (0..60).map(|_| asked(&mut client, "/", "X-User:\r\n")).collect();
    assert_eq!(served.len(), 3);
}

#[test]
fn a_retry_goes_to_the_next_and_always_to_the_same_one() {
    for policy in POLICIES {
        let fleet = Fleet::of(3);
        // Nobody listens there.
        let gone = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let addrs = [&fleet.addrs()[..], &[gone]].concat();
        let policy_text = format!(
            "balance: {{{}}}\n  outlier: {{enabled: false}}\n  retry: {{budget: {{ratio: 1}}}}",
            by_user(policy)
        );
        let proxy = Proxy::gateway(&documents(&addrs, &policy_text));
        let first = homes(&proxy);
        assert!(first.values().all(|home| *home != gone), "{policy}");
        assert!(first.values().collect::<BTreeSet<_>>().len() == 3, "{policy}");
        for _ in 0..3 {
            assert_eq!(homes(&proxy), first, "{policy}");
        }
    }
}

#[test]
fn an_ejected_endpoint_gives_its_sessions_away_and_gets_them_back() {
    let fleet = Fleet::of(4);
    let ill = crate::outliers::Patient::ill_with(crate::outliers::BUSY);
    let addrs = [&fleet.addrs()[..], &[ill.upstream.addr]].concat();
    let balance = by_user("ring_hash");
    let policy =
        format!("balance: {{{balance}}}\n  outlier: {{consecutive: 1, ejection: 2s, ejectionMax: 2s}}");
    let proxy = Proxy::gateway(&documents(&addrs, &policy));
    let mut client = proxy.client();
    let mut home = |user: usize| {
        client.send(format!("GET / HTTP/1.1\r\nHost: app\r\nX-User: u{user}\r\n\r\n"));
        client.response().text()
    };
    // Those of the ill one get its answer until it is ejected, and are served by others from then on.
    let mut moved = BTreeSet::new();
    eventually("all to be served by those that are well", || {
        let answers: Vec<_> = (0..40).map(&mut home).collect();
        moved
            .extend(answers.iter().enumerate().filter(|(_, answer)| answer.is_empty()).map(|(user, _)| user));
        !moved.is_empty() && answers.iter().all(|answer| !answer.is_empty())
    });
    ill.heal();
    eventually("those that were its own to be its own again", || {
        moved.iter().all(|user| home(*user) == "well")
    });
}

#[test]
fn one_that_has_its_share_in_flight_is_passed_over() {
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let upstreams: Vec<Upstream> = gates
        .iter()
        .map(|gate| {
            let gate = gate.clone();
            Upstream::start(move |conn| {
                loop {
                    conn.request()?;
                    gate.wait();
                    conn.ok(b"")?;
                }
            })
        })
        .collect();
    let addrs: Vec<_> = upstreams.iter().map(|upstream| upstream.addr).collect();
    let balance = format!("balance: {{{}, loadFactor: 1.0}}", by_user("maglev"));
    let proxy = Proxy::gateway(&documents(&addrs, &balance));
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
    for (sent, client) in clients.iter_mut().enumerate() {
        client.send("GET / HTTP/1.1\r\nHost: app\r\nX-User: one\r\n\r\n");
        eventually("it to be there", || {
            upstreams.iter().map(Upstream::connections).sum::<usize>() == sent + 1
        });
    }
    // A bound of once its share: two each, although all have one hash.
    let each: Vec<usize> = upstreams.iter().map(Upstream::connections).collect();
    assert_eq!(each, [2, 2, 2]);
    for gate in gates.iter().flat_map(|gate| [gate, gate]) {
        gate.open();
    }
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
}

#[test]
fn explained_with_what_is_hashed() {
    let fleet = Fleet::of(3);
    let proxy = Proxy::gateway(&fleet.under(&by_user("maglev")));
    let (forwarded, text) = explained(&proxy, &["X-User: u1"]);
    let mut client = proxy.client();
    let home = asked(&mut client, "/", "X-User: u1\r\n").to_string();
    assert_eq!(forwarded.choice.as_ref().unwrap().address, home, "{text}");
    assert_eq!(forwarded.choice.unwrap().reason, "where the hash leads");
    assert!(text.contains(" of header x-user"), "{text}");
    let (_, text) = explained(&proxy, &[]);
    assert!(
        text.contains("no hash: there is none of header x-user, so an endpoint is taken by chance"),
        "{text}"
    );
    assert!(
        text.contains(": taken by chance, as there is no hash") && !text.contains("where the hash leads"),
        "{text}"
    );
}

#[test]
fn connections_are_balanced_by_where_they_come_from() {
    let upstreams: Vec<Upstream> = (0..5)
        .map(|_| {
            Upstream::start(|conn| {
                let addr = conn.stream.local_addr()?.to_string();
                conn.write(addr)?;
                conn.until_closed();
                Ok(())
            })
        })
        .collect();
    let addrs: Vec<_> = upstreams.iter().map(|upstream| upstream.addr).collect();
    let text =
        documents(&addrs, "balance: {policy: ring_hash, hash: [{type: sourceAddress}], loadFactor: 100}")
            .replace("protocol: HTTP}", "protocol: TCP}")
            .replace("kind: HTTPRoute", "kind: TCPRoute\napiVersion: gateway.networking.k8s.io/v1alpha2");
    let proxy = Proxy::gateway(&text);
    let from = |last: u8| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        socket.connect(&proxy.addr().into()).unwrap();
        let mut client = Client::from_stream(socket.into());
        String::from_utf8(client.exactly(addrs[0].to_string().len()).unwrap()).unwrap()
    };
    let homes: Vec<String> = (1..30).map(from).collect();
    assert_eq!((1..30).map(from).collect::<Vec<_>>(), homes);
    assert!(homes.iter().collect::<BTreeSet<_>>().len() > 1, "{homes:?}");
}

#[test]
fn calls_of_one_service_go_to_one_endpoint() {
    let fleet = Fleet::of(6);
    let documents = fleet.under("policy: maglev, hash: [{type: caller}], loadFactor: 100");
    // That all of so many go to one by chance is as good as impossible: 6^-15.
    let homes: BTreeSet<SocketAddr> = (0..16)
        .map(|number| {
            let name = format!("front-{number}");
            let proxy = crate::limits::sidecar(&name, fleet.addrs()[0], &documents, None);
            let mut client = Client::connect(proxy.fixed(weir_proxy::listen::Role::Outbound));
            let home = asked(&mut client, "/", "");
            for _ in 0..5 {
                // An application cannot call itself otherwise.
                assert_eq!(asked(&mut client, "/", "X-Weir-Caller: other\r\n"), home);
            }
            let caller = weir_model::ServiceRef::new("default", &*name);
            let request = Request::parse("GET", "http://app/", []).unwrap().made_by(Some(&caller));
            let explanation =
                explain(&proxy.shared.snapshot.load(), &request, &mut SmallRng::seed_from_u64(1));
            let chosen = explanation.forwarded().unwrap().choice.as_ref().unwrap().address.clone();
            assert_eq!(chosen, home.to_string(), "{explanation}");
            assert!(explanation.to_string().contains(" of caller"), "{explanation}");
            home
        })
        .collect();
    assert!(homes.len() > 1, "{homes:?}");
}
