//! Where a hash leads, as far as what it is of is known; and what requests to a service of bytes come to.

use std::net::IpAddr;
use std::sync::Arc;

use super::*;

fn with(resource: Resource) -> Inputs {
    let mut inputs = shop();
    Arc::make_mut(&mut inputs.resources).insert(resource.id(), Arc::new(resource));
    inputs
}

/// Explains a request to `cart` under a balancer that hashes: what the hash is of, and why the endpoint was chosen.
fn hashed(hash: &serde_json::Value, headers: &[&str], source: Option<&str>) -> (String, Choice) {
    let spec = json!({"targetRefs": [{"name": "cart"}], "balance": {"policy": "maglev", "hash": hash}});
    let snapshot =
        Compiler::new(edge()).compile(&with(resource("TrafficPolicy", "cart", spec)), None).unwrap();
    let request = Request::parse("GET", "http://shop.example/cart", headers.iter().copied()).unwrap();
    let source = source.map(|source| source.parse::<IpAddr>().unwrap());
    let request = request.from_address(source);
    let explanation = explain(&snapshot, &request, &mut SmallRng::seed_from_u64(3));
    let forwarded = explanation.forwarded().unwrap();
    (forwarded.hash.clone().unwrap(), forwarded.choice.clone().unwrap())
}

#[test]
fn a_hash_leads_where_what_it_is_of_is_known() {
    let by_user = json!([{"type": "header", "name": "x-user"}]);
    let (hash, choice) = hashed(&by_user, &["X-User: ada"], None);
    assert!(hash.starts_with("hash ") && hash.ends_with(" of header x-user"), "{hash}");
    assert_eq!(choice.reason, "where the hash leads");
    assert_eq!(choice, hashed(&by_user, &["X-User: ada"], Some("192.0.2.7")).1);
    let (hash, choice) = hashed(&by_user, &[], None);
    assert_eq!(hash, "no hash: there is none of header x-user, so an endpoint is taken by chance");
    assert_eq!(choice.reason, "taken by chance, as there is no hash");
}

#[test]
fn a_hash_of_the_clients_address_needs_it() {
    let by_address = json!([{"type": "sourceAddress"}]);
    let (hash, choice) = hashed(&by_address, &[], None);
    assert_eq!(
        hash,
        "the hash is of sourceAddress, and the client's address is not known here (--source-ip; at the admin port, source)"
    );
    assert_eq!(choice.reason, "taken by chance: where the hash leads follows from the client's address");
    let (hash, choice) = hashed(&by_address, &[], Some("192.0.2.7"));
    assert!(hash.ends_with(" of sourceAddress"), "{hash}");
    assert_eq!(choice.reason, "where the hash leads");
    assert_eq!(choice, hashed(&by_address, &[], Some("::ffff:192.0.2.7")).1, "as the proxy sees it");
    // What goes before it counts before it.
    let either = json!([{"type": "header", "name": "x-user"}, {"type": "sourceAddress"}]);
    assert!(hashed(&either, &["X-User: ada"], None).0.ends_with(" of header x-user"));
    assert!(hashed(&either, &[], None).0.contains("is not known here"));
    let either = json!([{"type": "sourceAddress"}, {"type": "header", "name": "x-user"}]);
    assert!(hashed(&either, &["X-User: ada"], None).0.contains("is not known here"));
}

#[test]
fn a_limit_by_the_clients_address_needs_it() {
    let spec = json!({"targetRefs": [{"name": "cart"}], "rates": [{"requests": 1}], "key": [{"type": "sourceAddress"}]});
    let snapshot = Compiler::new(edge()).compile(&with(resource("RateLimit", "cart", spec)), None).unwrap();
    let asked = |source: Option<IpAddr>| {
        let request = Request::parse("GET", "http://shop.example/cart", []).unwrap().from_address(source);
        explain(&snapshot, &request, &mut SmallRng::seed_from_u64(3)).to_string()
    };
    assert!(
        asked(None).contains("that depends on the client's address (--source-ip; at the admin port, source)"),
        "{}",
        asked(None)
    );
    let known = asked(Some([192, 0, 2, 7].into()));
    assert!(!known.contains("is not known"), "{known}");
}

#[test]
fn requests_to_a_service_of_bytes_are_refused() {
    let spec = json!({"protocol": "tcp", "endpoints": [{"address": "127.0.0.1", "port": 9000}]});
    let inputs = with(resource("Service", "front", spec));
    let explanation = ask(&inputs, edge(), "GET", "http://shop.example/", &[]);
    let reason =
        "HTTPRoute/shop#rest sends it to front, which takes bytes, not requests (protocol tcp: Service/front)"
            .to_owned();
    assert_eq!(explanation.entrances[0].outcome, Outcome::Refused { status: 502, reason });
}
