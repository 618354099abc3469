//! What stands around every balancer: slow start, nearness, panic, subsets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use weir_api::snapshot::EndpointInputs;
use weir_model::ServiceRef;
use weir_model::registry::Health;
use weir_proxy::snapshot::{Origin, Registered, Services};

use super::{Fleet, explained, shares};
use crate::support::{Proxy, Upstream, documents, eventually};

/// The service `app` with these registered endpoints.
fn registered(endpoints: &[(SocketAddr, Health, &str)]) -> Services {
    let endpoints = endpoints.iter().map(|(addr, health, zone)| EndpointInputs {
        id: addr.to_string(),
        address: addr.ip().to_string(),
        port: addr.port(),
        weight: 1,
        health: *health,
        draining: false,
        inbound: false,
        metadata: BTreeMap::from([("zone".to_owned(), (*zone).to_owned())]),
        grpc_check: false,
        active_checks: None,
    });
    let endpoints = endpoints.map(|endpoint| (endpoint.id.clone(), endpoint)).collect();
    let app = Registered { known: true, endpoints, ..Registered::default() };
    Services::from([(ServiceRef::new("default", "app"), Arc::new(app))])
}

/// Documents without endpoints of their own.
pub(super) fn declared(balance: &str) -> String {
    documents(&[], &format!("balance: {{{balance}}}")).replace("endpoints:", "endpoints: []")
}

#[test]
fn a_new_endpoint_gets_its_share_little_by_little() {
    let fleet = Fleet::of(2);
    let (old, new) = (fleet.addrs()[0], fleet.addrs()[1]);
    let one = documents(&[old], "balance: {policy: random, slowStart: {window: 1h}}");
    let line = |addr: SocketAddr| format!("\n  - address: \"127.0.0.1\"\n    port: {}", addr.port());
    let both = one.replace(&line(old), &(line(old) + &line(new)));
    let mut proxy = Proxy::gateway(&one);
    proxy.publish(&both);
    let mut client = proxy.client();
    // A tenth of its share: 1 of 11.
    let early = shares(&mut client, 330);
    let of_new = early.get(&new).copied().unwrap_or(0);
    // 30 are expected; nobody at all in one run of 10^13, and so many never.
    assert!((1..90).contains(&of_new), "{early:?}");
    let (forwarded, text) = explained(&proxy, &[]);
    assert!(text.contains("new: 10 % of its share, gets 9.1 %"), "{text}");
    assert_eq!(forwarded.endpoints.iter().filter(|endpoint| endpoint.growing.is_some()).count(), 1);
    // Another window, and it has grown up; nothing but time has to pass.
    proxy.publish(&both.replace("window: 1h", "window: 300ms"));
    eventually("it to be grown up", || !explained(&proxy, &[]).1.contains("new:"));
    let late = shares(&mut client, 200);
    // 100 are expected; seven standard deviations are 50.
    assert!(late[&new] > 50, "{late:?}");
}

#[test]
fn nobody_is_new_to_a_proxy_that_is_new_itself() {
    let fleet = Fleet::of(3);
    let proxy = Proxy::gateway(&fleet.under("policy: random, slowStart: {window: 1h}"));
    let (forwarded, text) = explained(&proxy, &[]);
    assert!(forwarded.endpoints.iter().all(|endpoint| endpoint.growing.is_none()), "{text}");
}

#[test]
fn who_is_well_again_is_as_good_as_new() {
    let fleet = Fleet::of(2);
    let text = declared("slowStart: {window: 1h}");
    let with = |health: Health| {
        registered(&[(fleet.addrs()[0], Health::Passing, ""), (fleet.addrs()[1], health, "")])
    };
    let mut proxy = Proxy::gateway(&text);
    let growing = |proxy: &Proxy| {
        let (forwarded, _) = explained(proxy, &[]);
        forwarded.endpoints.iter().filter(|endpoint| endpoint.growing.is_some()).count()
    };
    proxy.publish_with(&text, with(Health::Critical));
    assert_eq!(growing(&proxy), 0, "what the registry says first makes nobody new");
    proxy.publish_with(&text, with(Health::Passing));
    assert_eq!(growing(&proxy), 1);
    proxy.publish_with(&text, with(Health::Warning));
    assert_eq!(growing(&proxy), 1, "it goes on growing");
}

#[test]
fn near_endpoints_go_first_and_the_rest_spills_over() {
    let fleet = Fleet::of(8);
    let addrs = fleet.addrs();
    let placed = |near: usize| {
        let zone = |index: usize| if index < near { "a" } else { "b" };
        let endpoints: Vec<_> =
            addrs.iter().enumerate().map(|(i, addr)| (*addr, Health::Passing, zone(i))).collect();
        registered(&endpoints)
    };
    let text = declared("policy: random, locality: {prefer: zone}");
    let mut proxy = Proxy::gateway(&text);
    proxy.origin = Origin { zone: Some("a".to_owned()), ..Origin::default() };
    proxy.publish_with(&text, placed(4));
    let mut client = proxy.client();
    let near: BTreeSet<_> = addrs[..4].iter().copied().collect();
    let served = |shares: &BTreeMap<SocketAddr, usize>, near: &BTreeSet<SocketAddr>| {
        shares.iter().filter(|(addr, _)| near.contains(addr)).map(|(_, count)| count).sum::<usize>()
    };
    let all_near = shares(&mut client, 200);
    assert_eq!(served(&all_near, &near), 200, "{all_near:?}");
    let (forwarded, text_of) = explained(&proxy, &[]);
    let far = "left out: farther away than those that have room";
    assert_eq!(text_of.matches(far).count(), 4, "{text_of}");
    let zones = forwarded.endpoints.iter().filter(|endpoint| endpoint.zone.as_deref() == Some("a"));
    assert_eq!(zones.count(), 4);
    // A quarter of the endpoints is near, and half of the callers: half of the requests stay.
    proxy.publish_with(&text, placed(2));
    let near = addrs[..2].iter().copied().collect();
    let spilt = shares(&mut client, 400);
    // 200 are expected; seven standard deviations are 70.
    assert!((130..270).contains(&served(&spilt, &near)), "{spilt:?}");
    assert_eq!(spilt.len(), 8, "{spilt:?}");
}

#[test]
fn static_endpoints_have_places_too() {
    let fleet = Fleet::of(6);
    let mut endpoints = String::new();
    for (index, addr) in fleet.addrs().iter().enumerate() {
        let region = if index < 3 { "eu" } else { "us" };
        endpoints += &format!("\n  - {{address: 127.0.0.1, port: {}, region: {region}}}", addr.port());
    }
    let text = documents(&[], "balance: {locality: {prefer: region}}")
        .replace("endpoints:", &format!("endpoints:{endpoints}"));
    let mut proxy = Proxy::gateway(&text);
    proxy.origin = Origin { region: Some("us".to_owned()), zone: Some("us-1".to_owned()), id: 1 };
    proxy.publish(&text.replace("name: web", "name: other"));
    let served = shares(&mut proxy.client(), 60);
    assert!(served.keys().all(|addr| fleet.addrs()[3..].contains(addr)), "{served:?}");
}

#[test]
fn health_is_ignored_when_too_few_are_well() {
    let fleet = Fleet::of(5);
    let addrs = fleet.addrs();
    let well = |count: usize| {
        let health = |index: usize| if index < count { Health::Passing } else { Health::Critical };
        let endpoints: Vec<_> = addrs.iter().enumerate().map(|(i, addr)| (*addr, health(i), "")).collect();
        registered(&endpoints)
    };
    let text = declared("policy: random");
    let mut proxy = Proxy::gateway(&text);
    let mut client = proxy.client();
    proxy.publish_with(&text, well(3));
    assert_eq!(shares(&mut client, 100).len(), 3, "more than half are well");
    proxy.publish_with(&text, well(2));
    assert_eq!(shares(&mut client, 200).len(), 5, "less than half are");
    let text = explained(&proxy, &[]).1;
    for part in [
        "too few endpoints are healthy",
        "only 2 of 5 endpoints are well, less than panicThreshold (0.5) asks for",
        "; health does not count now\n",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let patient = declared("policy: random, panicThreshold: 0.4");
    proxy.publish_with(&patient, well(2));
    assert_eq!(shares(&mut proxy.client(), 100).len(), 2);
    // Never means never.
    let never = declared("policy: random, panicThreshold: 0");
    proxy.publish_with(&never, well(0));
    assert_eq!(proxy.client().get("/").status, 503);
}

#[test]
fn a_subset_is_kept_to() {
    let fleet = Fleet::of(8);
    let text = fleet.under("policy: random, subset: 3");
    let mut proxy = Proxy::gateway(&text);
    let served = |proxy: &Proxy| shares(&mut proxy.client(), 100).into_keys().collect::<BTreeSet<_>>();
    let mine = served(&proxy);
    assert_eq!(mine.len(), 3);
    assert_eq!(explained(&proxy, &[]).1.matches("not of this proxy's subset").count(), 5);
    // One that it does not use leaves: nothing changes. One that it uses: one other comes.
    let without = |text: &str, addr: SocketAddr| {
        text.replace(&format!("\n  - address: \"127.0.0.1\"\n    port: {}", addr.port()), "")
    };
    let other = *fleet.addrs().iter().find(|addr| !mine.contains(addr)).unwrap();
    let fewer = without(&text, other);
    proxy.publish(&fewer);
    assert_eq!(served(&proxy), mine);
    let used = *mine.first().unwrap();
    proxy.publish(&without(&fewer, used));
    let now = served(&proxy);
    assert_eq!((now.len(), now.intersection(&mine).count()), (3, 2));
    // Another proxy has another one: of enough of them, all endpoints are used.
    let mut used = BTreeSet::new();
    for id in 1..100 {
        proxy.origin = Origin { id, ..Origin::default() };
        proxy.publish(&text.replace("subset: 3", &format!("subset: 3, panicThreshold: 0.{id:02}")));
        used.extend(served(&proxy));
        if used.len() == 8 {
            return;
        }
    }
    panic!("a hundred proxies use {used:?} alone");
}

/// An upstream that answers with its own address until it is gone, as far as clients can see.
fn mortal(gone: &Arc<Mutex<Option<SocketAddr>>>) -> Upstream {
    let gone = Arc::clone(gone);
    Upstream::start(move |conn| {
        loop {
            conn.request()?;
            let addr = conn.stream.local_addr()?;
            if *gone.lock().unwrap() == Some(addr) {
                conn.reset();
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            conn.ok(addr.to_string().as_bytes())?;
        }
    })
}

#[test]
fn those_outside_of_a_subset_stand_by_for_when_nobody_in_it_is_of_use() {
    let gone = Arc::new(Mutex::new(None));
    let upstreams = [mortal(&gone), mortal(&gone)];
    let policy = "balance: {subset: 1}\n  outlier: {enabled: false}\n  retry: {attempts: 1}";
    let proxy = Proxy::gateway(&documents(&[upstreams[0].addr, upstreams[1].addr], policy));
    let mut client = proxy.client();
    let first = shares(&mut client, 20);
    assert_eq!(first.len(), 1, "{first:?}");
    let whole = *first.keys().next().unwrap();
    *gone.lock().unwrap() = Some(whole);
    // Not even the one that finds it out fails: its retry goes elsewhere.
    let then = shares(&mut client, 40);
    assert!(then.len() == 1 && !then.contains_key(&whole), "{then:?}");
    let (_, text) = explained(&proxy, &[]);
    assert!(text.contains("stands by"), "{text}");
}
