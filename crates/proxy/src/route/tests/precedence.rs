use super::*;

/// One match: `[METHOD] =/exact`, `[METHOD] ~expression`, `[METHOD] rpc.method` or `[METHOD] /prefix`, with headers
/// `name:value` and parameters `name=value` after it; values that begin with `~` are expressions.
fn spec(text: &str) -> MatchSpec {
    let mut conditions = Conditions::default();
    let mut path = PathPattern::Prefix("/".into());
    let (mut headers, mut params) = (vec![], vec![]);
    for word in text.split_whitespace() {
        if let Some(pattern) = word.strip_prefix('~') {
            path = PathPattern::Regex(Arc::new(Pattern::new(pattern).unwrap()));
        } else if let Some(method) = word.strip_prefix("rpc.") {
            path = PathPattern::AnyService(method.into());
        } else if let Some(exact) = word.strip_prefix('=') {
            path = PathPattern::Exact(exact.into());
        } else if word.starts_with('/') {
            path = PathPattern::Prefix(word.into());
        } else if let Some((name, value)) = word.split_once(':') {
            headers.push((name.into(), value_test(value)));
        } else if let Some((name, value)) = word.split_once('=') {
            params.push((name.into(), value_test(value)));
        } else {
            conditions.method = Some(word.into());
        }
    }
    conditions.headers = headers.into();
    conditions.params = params.into();
    MatchSpec::new(path, conditions)
}

fn value_test(text: &str) -> ValueTest {
    match text.strip_prefix('~') {
        Some(pattern) => ValueTest::Regex(Arc::new(Pattern::new(pattern).unwrap())),
        None => ValueTest::Exact(text.into()),
    }
}

/// A table of one section with one rule per line, each labelled by its line: `host | match`.
fn table(lines: &[&str]) -> RouteTable {
    let mut builder = RouteTableBuilder::new();
    let section = builder.section("all", HostPattern::Any);
    for line in lines {
        let (host, text) = line.split_once('|').unwrap();
        builder.rule(section, &[HostPattern::parse(Some(host.trim()))], rule(line), &[spec(text)]);
    }
    builder.build()
}

/// Checks that whichever way round the rules are declared, the first of them wins.
fn check(request: &str, headers: &[(&str, &str)], winner: &str, loser: &str) {
    let request = TestRequest::new(request, headers);
    for lines in [[winner, loser], [loser, winner]] {
        assert_eq!(found(&table(&lines), &request), Some(winner), "{lines:?}");
    }
    // The loser must be one that would have matched, or the case says nothing.
    assert_eq!(found(&table(&[loser]), &request), Some(loser));
}

#[test]
fn rules_in_order_are_tried_as_they_are_written() {
    let lines = ["/a", "GET =/a/b x:1", "~/a/c.*", "/"];
    let mut builder = RouteTableBuilder::new();
    let section = builder.section("all", HostPattern::Any);
    let in_order = |text| MatchSpec { in_order: true, ..spec(text) };
    let asterisk =
        MatchSpec { in_order: true, ..MatchSpec::new(PathPattern::Exact("*".into()), Conditions::default()) };
    for line in lines {
        builder.rule(section, &[HostPattern::Any], rule(line), &[in_order(line)]);
    }
    builder.rule(section, &[HostPattern::Any], rule("*"), &[asterisk]);
    let table = builder.build();
    let check = |target: &str, headers: &[(&str, &str)], expect: &str| {
        assert_eq!(found(&table, &TestRequest::new(target, headers)), Some(expect), "{target}");
    };
    check("GET h/a/b", &[("x", "1")], "/a");
    check("GET h/a/cc", &[], "/a");
    check("GET h/other", &[], "/");
    check("GET h/", &[], "/");
    let matches = table.matches();
    for pair in matches[..4].windows(2) {
        assert_eq!(compare(&pair[0], &pair[1]).0, std::cmp::Ordering::Less);
    }
}

#[test]
fn a_more_specific_host_beats_everything_else() {
    check("GET shop.example/a", &[], "shop.example | /", "* | =/a");
    check("GET shop.example/a", &[], "shop.example | /", "*.example | =/a");
    check("GET a.shop.example/a", &[], "*.shop.example | /", "*.example | =/a");
    check("GET a.shop.example/a", &[("x", "1")], "*.example | /", "* | GET =/a x:1");
}

#[test]
fn an_exact_path_beats_any_prefix() {
    check("GET h/a/b", &[], "* | =/a/b", "* | /a/b");
    check("GET h/a/b?q=1", &[("x", "1")], "* | =/a/b", "* | GET /a/b x:1 q=1");
}

#[test]
fn a_longer_prefix_beats_a_shorter_one() {
    check("GET h/a/b/c", &[], "* | /a/b", "* | /a");
    check("GET h/a/b/c", &[("x", "1")], "* | /a/b", "* | GET /a x:1");
    check("GET h/a", &[], "* | /a", "* | /");
}

#[test]
fn expressions_come_after_exact_paths_and_before_prefixes() {
    check("GET h/a/b", &[], "* | =/a/b", "* | ~/a/b");
    check("GET h/a/b", &[("x", "1")], "* | =/a/b", "* | GET ~/a/.* x:1");
    check("GET h/a/b/c", &[("x", "1")], "* | ~/.*", "* | GET /a/b/c x:1");
    check("GET h.example/a", &[], "h.example | /", "*.example | ~/a");
}

#[test]
fn among_expressions_literal_segments_count_then_length_then_conditions() {
    check("GET h/a/b/c", &[], "* | ~/a/b/.*", "* | ~/a/[a-z]+/[a-z]+");
    check("GET h/a/b", &[], "* | ~/a/[a-z]+", "* | ~/a/.*");
    check("GET h/a/b", &[], "* | GET ~/a/[a-z]", "* | ~/a/[a-c]");
    check("GET h/a/b", &[("x", "1")], "* | ~/a/.+ x:1", "* | ~/a/.+");
}

#[test]
fn a_method_of_any_service_comes_after_services_and_before_everything() {
    check("POST h/s/Get", &[], "* | =/s/Get", "* | rpc.Get");
    check("POST h/s/Get", &[], "* | /s", "* | rpc.Get x:1".trim_end_matches(" x:1"));
    check("POST h/s/Get", &[("x", "1")], "* | rpc.Get", "* | POST / x:1");
}

#[test]
fn conditions_by_expression_count_as_others_do() {
    check("GET h/a", &[("x", "12")], "* | /a x:~[0-9]+", "* | /a");
    check("GET h/a?p=12", &[("x", "12")], "* | /a x:~[0-9]+ p=~1.", "* | /a x:12");
    let table = table(&["* | /a x:~[0-9]+"]);
    assert_eq!(found(&table, &TestRequest::new("GET h/a", &[("x", "12a")])), None);
}

#[test]
fn what_an_expression_does_not_match_goes_on() {
    let lines = ["* | ~/a/[0-9]+", "* | ~/a/[a-f]+ x:1", "* | /a"];
    let table = table(&lines);
    let check = |line: &str, headers: &[(&str, &str)], expected: usize| {
        assert_eq!(found(&table, &TestRequest::new(line, headers)), Some(lines[expected]), "{line}");
    };
    check("GET h/a/1", &[], 0);
    check("GET h/a/b", &[("x", "1")], 1);
    check("GET h/a/b", &[], 2);
    check("GET h/a/1/2", &[], 2);
    check("GET h/a", &[], 2);
}

#[test]
fn a_method_beats_headers() {
    check("GET h/a", &[("x", "1"), ("y", "2")], "* | GET /a", "* | /a x:1 y:2");
}

#[test]
fn more_headers_beat_fewer_and_any_parameters() {
    check("GET h/a", &[("x", "1"), ("y", "2")], "* | /a x:1 y:2", "* | /a x:1");
    check("GET h/a?p=1&q=2", &[("x", "1")], "* | /a x:1", "* | /a p=1 q=2");
    check("GET h/a?p=1", &[("x", "1"), ("y", "2")], "* | /a x:1 y:2", "* | /a x:1 p=1");
}

#[test]
fn more_parameters_beat_fewer() {
    check("GET h/a?p=1&q=2", &[], "* | /a p=1 q=2", "* | /a p=1");
    check("GET h/a?p=1", &[], "* | /a p=1", "* | /a");
}

#[test]
fn what_was_declared_first_wins_a_tie() {
    let lines = ["* | /a x:1", "* | /a y:1"];
    let request = TestRequest::new("GET h/a", &[("x", "1"), ("y", "1")]);
    assert_eq!(found(&table(&lines), &request), Some(lines[0]));
}

#[test]
fn a_rule_that_does_not_match_gives_way_to_less_specific_ones() {
    let lines = ["shop.example | /a x:1", "*.example | =/a", "* | /"];
    let table = table(&lines);
    let check = |line: &str, headers: &[(&str, &str)], expected: usize| {
        assert_eq!(found(&table, &TestRequest::new(line, headers)), Some(lines[expected]), "{line}");
    };
    check("GET shop.example/a", &[("X", "1")], 0);
    check("GET shop.example/a", &[("x", "2")], 1);
    check("GET shop.example/b", &[], 2);
    check("GET other/a", &[], 2);
}

#[test]
fn any_match_of_a_rule_suffices() {
    let mut builder = RouteTableBuilder::new();
    let section = builder.section("all", HostPattern::Any);
    builder.rule(section, &[HostPattern::Any], rule("both"), &[spec("/a"), spec("=/b POST")]);
    let table = builder.build();
    assert_eq!(found(&table, &TestRequest::new("GET h/a", &[])), Some("both"));
    assert_eq!(found(&table, &TestRequest::new("POST h/b", &[])), Some("both"));
    assert_eq!(found(&table, &TestRequest::new("GET h/b", &[])), None);
}

#[test]
fn a_host_is_served_by_its_most_specific_section_only() {
    let mut builder = RouteTableBuilder::new();
    let any = builder.section("any", HostPattern::Any);
    let wild = builder.section("wild", HostPattern::parse(Some("*.example")));
    let exact = builder.section("exact", HostPattern::parse(Some("shop.example")));
    for (section, label) in [(any, "any"), (wild, "wild"), (exact, "exact")] {
        let path = if section == exact { "/only" } else { "/" };
        builder.rule(section, &[HostPattern::Any], rule(label), &[spec(path)]);
    }
    let table = builder.build();
    let check = |line: &str, expected: Option<&str>| {
        assert_eq!(found(&table, &TestRequest::new(line, &[])), expected, "{line}");
    };
    check("GET shop.example/only", Some("exact"));
    check("GET shop.example/other", None);
    check("GET cart.example/other", Some("wild"));
    check("GET example/other", Some("any"));
}

#[test]
fn an_empty_table_has_no_route() {
    assert_eq!(found(&RouteTable::default(), &TestRequest::new("GET h/", &[])), None);
}

#[test]
fn prefixes_under_one_parent_are_found_among_thousands() {
    let lines: Vec<String> = (0..2000).map(|i| format!("h{} | /a/{i}", i % 50)).collect();
    let table = table(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    for (i, line) in lines.iter().enumerate() {
        let request = TestRequest::new(&format!("GET h{}/a/{i}/x", i % 50), &[]);
        assert_eq!(found(&table, &request), Some(line.as_str()));
    }
}
