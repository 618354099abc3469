//! A second router that looks at every match of a table, written straight from the Gateway API's text, and the claim
//! that the indexed one always agrees with it.

use std::cmp::Reverse;
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// An expression, compiled once for all cases: that is slow without optimisation.
fn pattern(text: &'static str) -> Arc<Pattern> {
    static KNOWN: Mutex<Option<Patterns>> = Mutex::new(None);
    KNOWN.lock().unwrap().get_or_insert_default().get(text).unwrap()
}

/// Larger is more specific: a name over a wildcard over any host; among wildcards the longer one.
fn host_rank(pattern: &HostPattern) -> (u8, usize) {
    match pattern {
        HostPattern::Any => (0, 0),
        HostPattern::Suffix(suffix) => (1, suffix.len()),
        HostPattern::Exact(name) => (2, name.len()),
    }
}

/// Exact paths, expressions, prefixes but `/`, gRPC methods, `/`; within each what is longer.
fn path_rank(pattern: &PathPattern) -> (u8, usize, usize) {
    match pattern {
        PathPattern::Prefix(prefix) => match prefix.trim_end_matches('/') {
            "" => (0, 0, 0),
            prefix => (2, prefix.len(), 0),
        },
        PathPattern::AnyService(_) => (1, 0, 0),
        PathPattern::Regex(pattern) => (3, pattern.under().matches('/').count(), pattern.text().len()),
        PathPattern::Exact(path) => (4, path.len(), 0),
    }
}

fn reference<'a>(table: &'a RouteTable, request: &TestRequest) -> Option<&'a str> {
    let host = request.host.to_ascii_lowercase();
    let (section, _) = table
        .sections()
        .iter()
        .enumerate()
        .filter(|(_, section)| section.host.matches(host.as_bytes()))
        // The first of equals, as `max_by_key` would give the last.
        .min_by_key(|(_, section)| Reverse(host_rank(&section.host)))?;
    table
        .matches()
        .iter()
        .enumerate()
        .filter(|(_, m)| m.section == section && m.host.matches(host.as_bytes()))
        .filter(|(_, m)| m.path.matches(request.path.as_bytes()) && m.conditions.check(request).is_ok())
        .min_by_key(|(declared, m)| {
            (
                Reverse(host_rank(&m.host)),
                Reverse(path_rank(&m.path)),
                m.conditions.method.is_none(),
                Reverse(m.conditions.headers.len()),
                Reverse(m.conditions.params.len()),
                *declared,
            )
        })
        .map(|(_, m)| &*table.rule(m).label)
}

fn host() -> impl Strategy<Value = HostPattern> {
    select(vec!["*", "a", "a.b", "*.b", "*.a.b", "x.a.b", "*.c"])
        .prop_map(|text| HostPattern::parse(Some(text)))
}

fn path() -> impl Strategy<Value = PathPattern> {
    let text = select(vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/a//b"]);
    let regex = select(vec![
        "/a",
        "/a/[a-z]",
        "/a/.*",
        "^/a/b/.+$",
        "(/a)?/b.*",
        "/x|/a/b",
        "/a/b/?",
        ".*",
        "/a//b/?c?",
    ]);
    let method = select(vec!["b", "c", "d"]);
    prop_oneof![
        text.clone().prop_map(|text| PathPattern::Exact(text.into())),
        text.prop_map(|text| PathPattern::Prefix(text.into())),
        regex.prop_map(|text| PathPattern::Regex(pattern(text))),
        method.prop_map(|text| PathPattern::AnyService(text.into())),
    ]
}

fn value_test() -> impl Strategy<Value = ValueTest> {
    prop_oneof![
        3 => select(vec!["1", "2", "1, 2"]).prop_map(|text| ValueTest::Exact(text.into())),
        1 => select(vec!["[12]", "1.*"]).prop_map(|text| ValueTest::Regex(pattern(text))),
    ]
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let pairs = || {
        proptest::collection::btree_map(select(vec!["x", "y"]), value_test(), 0..3)
            .prop_map(|map| map.into_iter().map(|(name, test)| (name.into(), test)).collect())
    };
    let grpc = proptest::bool::weighted(0.2);
    let method = proptest::option::of(select(vec!["GET", "POST"]).prop_map(Into::into));
    (grpc, method, pairs(), pairs()).prop_map(|(grpc, method, headers, params)| Conditions {
        grpc,
        preflights: false,
        method,
        headers,
        params,
    })
}

fn any_table() -> impl Strategy<Value = RouteTable> {
    let matches = proptest::collection::vec(
        (path(), conditions()).prop_map(|(path, conditions)| MatchSpec::new(path, conditions)),
        1..4,
    );
    let hosts = proptest::collection::hash_set(host(), 1..3);
    let rules = proptest::collection::vec((any::<prop::sample::Index>(), hosts, matches), 0..24);
    let sections = proptest::collection::hash_set(host(), 1..4);
    (sections, rules).prop_map(|(sections, rules)| {
        let mut builder = RouteTableBuilder::new();
        let sections: Vec<_> =
            sections.into_iter().map(|host| builder.section(host.to_string(), host)).collect();
        for (i, (section, hosts, matches)) in rules.into_iter().enumerate() {
            let hosts: Vec<_> = hosts.into_iter().collect();
            builder.rule(*section.get(&sections), &hosts, rule(&format!("rule {i}")), &matches);
        }
        builder.build()
    })
}

fn any_request() -> impl Strategy<Value = TestRequest> {
    let method = select(vec!["GET", "POST", "PUT"]);
    let host = select(vec!["a", "A.b", "a.b", "b", "x.a.b", "y.x.a.b", "a.c", "", "z"]);
    let path = select(vec![
        "/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "/ab", "/b/c", "/a//b/c", "/a//b", "/x", "*",
    ]);
    let query = proptest::option::of(select(vec!["x=1", "x=1&y=2", "y=1", "x=2&x=1", ""]));
    let header = (select(vec!["x", "y"]), select(vec!["1", "2"]));
    let grpc = ("content-type", "application/grpc");
    let headers = proptest::collection::vec(prop_oneof![3 => header, 1 => Just(grpc)], 0..4);
    (method, host, path, query, headers).prop_map(|(method, host, path, query, headers)| TestRequest {
        method: method.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        headers: headers.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
    })
}

/// Every match that holds, but the one that is found, is one that the winner goes before.
fn winner_goes_first(table: &RouteTable, request: &TestRequest) -> bool {
    let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(1);
    let Some(found) = table.find(request, &mut rng, &mut NoReasons) else { return true };
    let host = request.host.to_ascii_lowercase();
    let holds = |m: &Match| {
        m.section == found.matched.section
            && m.host.matches(host.as_bytes())
            && m.path.matches(request.path.as_bytes())
            && m.conditions.check(request).is_ok()
    };
    let others = table.matches().iter().filter(|m| !std::ptr::eq(*m, found.matched) && holds(m));
    others.into_iter().all(|other| compare(found.matched, other).0.is_lt())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_index_agrees_with_the_reference(
        table in any_table(),
        requests in proptest::collection::vec(any_request(), 1..32),
    ) {
        for request in &requests {
            prop_assert_eq!(found(&table, request), reference(&table, request), "{:?}", request);
            prop_assert!(winner_goes_first(&table, request), "{:?}", request);
        }
    }
}
