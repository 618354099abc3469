use super::*;

fn service(name: &str, ok: u64, failed: u64) -> ServiceReport {
    ServiceReport {
        service: name.to_owned(),
        totals: Totals { classes: [0, ok, 0, 0, failed], own: 0 },
        ..ServiceReport::default()
    }
}

fn report(at_ms: u64, services: Vec<ServiceReport>) -> Report {
    Report { format: REPORT_FORMAT, at_ms, services, ..Report::default() }
}

fn seen<'a>(proxy: &'a str, age_ms: u64, latest: &'a Report, base: Option<&'a Report>) -> Seen<'a> {
    Seen { proxy, age_ms, latest, base }
}

#[test]
fn several_proxies_add_up() {
    let (old, new) =
        (report(1000, vec![service("cart", 100, 0)]), report(3000, vec![service("cart", 180, 20)]));
    let other = report(70_000, vec![service("cart", 7, 0), service("shop/cart", 1, 0)]);
    let all = figures([seen("a", 10, &new, Some(&old)), seen("b", 400, &other, None)], &Wanted::default());
    assert_eq!((all.reporting, all.oldest_ms), (2, Some(400)));
    let [cart, shop] = &*all.services else { panic!("{all:?}") };
    assert_eq!((&*cart.service, cart.proxies, cart.requests), ("cart", 2, 207));
    // 100 in 2 s at one proxy; the other one has no rate yet.
    assert_eq!((cart.requests_per_s, cart.error_ratio), (Some(50.0), Some(0.2)));
    assert_eq!((&*shop.service, shop.requests, shop.requests_per_s), ("shop/cart", 1, None));
    assert_eq!((shop.error_ratio, shop.p99_ms), (None, None));
}

#[test]
fn both_sides_of_a_call_are_kept_apart() {
    let callee = ServiceReport { side: Side::Callee, ..service("cart", 3, 0) };
    let report = report(1, vec![service("cart", 5, 0), callee]);
    let all = figures([seen("a", 0, &report, None)], &Wanted::default());
    let sides: Vec<_> = all.services.iter().map(|service| (service.side, service.requests)).collect();
    assert_eq!(sides, [(Side::Caller, 5), (Side::Callee, 3)]);
}

#[test]
fn only_what_is_wanted_is_shown() {
    let limit = |target: &str| LimitReport { target: target.to_owned(), ..LimitReport::default() };
    let routed = ServiceReport {
        routes: vec![RouteReport { route: "HTTPRoute/shop#0".to_owned(), ..RouteReport::default() }],
        ..service("cart", 1, 0)
    };
    let services = vec![routed, service("blue/cart", 2, 0), service("_none", 4, 0)];
    let limits = ["Service/cart", "Service/blue/cart", "HTTPRoute/shop#buy", "Gateway/edge"].map(limit);
    let report = Report { limits: limits.to_vec(), ..report(1, services) };
    let ask = |namespace: Option<&str>, service: Option<&str>| {
        let wanted = Wanted { namespace: namespace.map(str::to_owned), service: service.map(str::to_owned) };
        let all = figures([seen("a", 0, &report, None)], &wanted);
        let services: Vec<String> = all.services.into_iter().map(|service| service.service).collect();
        let limits: Vec<String> = all.limits.into_iter().map(|limit| limit.target).collect();
        (services.join(" "), limits.join(" "))
    };
    let of = |services: &str, limits: &str| (services.to_owned(), limits.to_owned());
    assert_eq!(ask(None, None).0, "_none blue/cart cart");
    assert_eq!(ask(None, Some("cart")), of("cart", "HTTPRoute/shop#buy Service/cart"));
    assert_eq!(ask(None, Some("blue/cart")), of("blue/cart", "Service/blue/cart"));
    assert_eq!(ask(Some("blue"), None), of("blue/cart", "Service/blue/cart"));
    assert_eq!(ask(Some("blue"), Some("cart")), of("blue/cart", "Service/blue/cart"));
    assert_eq!(ask(Some("default"), None).0, "cart");
    assert_eq!(ask(None, Some("none")), of("", ""));
}

#[test]
fn what_is_for_another_rule_concerns_nobody_that_it_does_not_lead_to() {
    let by = |service_name: &str, rule: &str| ServiceReport {
        routes: vec![RouteReport { route: rule.to_owned(), ..RouteReport::default() }],
        ..service(service_name, 1, 0)
    };
    let services = vec![by("cart", "HTTPRoute/shop#0"), by("tea", "HTTPRoute/shop#1")];
    let (target, rule) = ("HTTPRoute/shop#buy".to_owned(), "HTTPRoute/shop#1".to_owned());
    let limit = LimitReport { target: target.clone(), rule: rule.clone(), ..LimitReport::default() };
    let breaker = BreakerReport { target, rule, ..BreakerReport::default() };
    let report = Report { limits: vec![limit], breakers: vec![breaker], ..report(1, services) };
    let met = |name: &str| {
        let wanted = Wanted { namespace: None, service: Some(name.to_owned()) };
        let all = figures([seen("a", 0, &report, None)], &wanted);
        (all.limits.len(), all.breakers.len())
    };
    assert_eq!([met("cart"), met("tea")], [(0, 0), (1, 1)]);
    let all = figures([seen("a", 0, &report, None)], &Wanted::default());
    let meets: Vec<bool> = all.services.iter().map(|service| service.meets(&all.breakers[0])).collect();
    assert_eq!(meets, [false, true]);
}

#[test]
fn breakers_of_calls_that_fall_back_are_none_of_the_service_that_they_fall_back_to() {
    let by =
        |rule: &str, elsewhere| RouteReport { route: rule.to_owned(), elsewhere, ..RouteReport::default() };
    let a = ServiceReport {
        routes: vec![by("Service/a", false), by("HTTPRoute/r#0", false)],
        ..service("a", 1, 1)
    };
    let b = ServiceReport {
        routes: vec![by("Service/a", true), by("HTTPRoute/r#0", true)],
        ..service("b", 1, 0)
    };
    let breaker = |target: &str, rule: &str, part: &str| BreakerReport {
        target: target.to_owned(),
        rule: rule.to_owned(),
        part: part.to_owned(),
        ..BreakerReport::default()
    };
    let breakers = vec![
        breaker("Service/a", "", ""),
        breaker("HTTPRoute/r#a", "HTTPRoute/r#0", ""),
        breaker("HTTPRoute/r", "", "HTTPRoute/r#0"),
    ];
    let limit = LimitReport { target: "HTTPRoute/r".to_owned(), ..LimitReport::default() };
    let first = Report { limits: vec![limit], breakers, ..report(1, vec![a, b]) };
    let of = |name: &str, all: &[&Report]| {
        let wanted = Wanted { namespace: None, service: Some(name.to_owned()) };
        let all = figures(all.iter().map(|report| seen("p", 0, report, None)), &wanted);
        (all.breakers.len(), all.limits.len())
    };
    assert_eq!([of("a", &[&first]), of("b", &[&first])], [(3, 1), (0, 0)]);
    // What a proxy says that does not know of such rules: the route's, never the other service's own.
    let leads = ServiceReport {
        routes: vec![by("Service/a", false), by("HTTPRoute/r#0", false)],
        ..service("b", 1, 0)
    };
    assert_eq!(of("b", &[&first, &report(1, vec![leads])]), (2, 1));
}

#[test]
fn parts_of_rules_that_do_not_lead_to_a_service_are_none_of_its_figures() {
    let by = |rule: &str| RouteReport { route: rule.to_owned(), ..RouteReport::default() };
    let cart = ServiceReport { routes: vec![by("HTTPRoute/r#0")], ..service("cart", 1, 0) };
    let part = |part: &str| BreakerReport {
        target: "HTTPRoute/r".to_owned(),
        part: part.to_owned(),
        ..BreakerReport::default()
    };
    let breakers = ["HTTPRoute/r#0", "HTTPRoute/r#1", "cart/n/1", "tea/n/1"].map(part).to_vec();
    let report = Report { breakers, ..report(1, vec![cart]) };
    let wanted = Wanted { namespace: None, service: Some("cart".to_owned()) };
    let all = figures([seen("p", 0, &report, None)], &wanted);
    let parts: Vec<&str> = all.breakers.iter().map(|breaker| &*breaker.part).collect();
    assert_eq!(parts, ["HTTPRoute/r#0", "cart/n/1"]);
}

#[test]
fn policies_and_endpoints_of_several_proxies() {
    let at = |phase: &str, refused| {
        let breaker = BreakerReport {
            breaker: "TrafficPolicy/cart#0".to_owned(),
            target: "Service/cart".to_owned(),
            phase: phase.to_owned(),
            refused,
            state: format!("is {phase}"),
            ..BreakerReport::default()
        };
        let endpoint = EndpointReport {
            id: "n/1".to_owned(),
            in_flight: refused,
            is_ejected: phase == "open",
            ejected: (phase == "open").then(|| "ejected for 3 s".to_owned()),
            ..EndpointReport::default()
        };
        let cart = ServiceReport { endpoints: vec![endpoint], ejected: 1, ..service("cart", 1, 0) };
        Report { breakers: vec![breaker], ..report(1, vec![cart]) }
    };
    let (closed, open) = (at("closed", 1), at("open", 4));
    let all = figures([seen("a", 0, &closed, None), seen("b", 0, &open, None)], &Wanted::default());
    let breaker = &all.breakers[0];
    assert_eq!((breaker.proxies, breaker.open, breaker.refused), (2, 1, 5));
    let states: Vec<&str> = breaker.states.iter().map(|state| &*state.proxy).collect();
    assert_eq!(states, ["b", "a"], "open ones first");
    let endpoint = &all.services[0].endpoints[0];
    assert_eq!((endpoint.proxies, endpoint.in_flight, endpoint.ejected_by), (2, 5, 1));
    assert_eq!(endpoint.ejected[0], StateOf { proxy: "b".into(), state: "ejected for 3 s".into() });
    assert_eq!(all.services[0].ejected, 1);
}

#[test]
fn what_a_closed_breaker_refuses_is_told() {
    let throttle = |share: f64| BreakerReport {
        breaker: "TrafficPolicy/cart#0".to_owned(),
        target: "Service/cart".to_owned(),
        phase: "closed".to_owned(),
        strategy: "throttle".to_owned(),
        state: format!("refuses {share}"),
        refusing: (share > 0.0).then(|| Refusing { share, ..Refusing::default() }),
        ..BreakerReport::default()
    };
    let of = |share| Report { breakers: vec![throttle(share)], ..report(1, Vec::new()) };
    let all = [of(0.0), of(0.5), of(0.98)];
    let seen = all.iter().enumerate().map(|(index, report)| seen(["a", "b", "c"][index], 0, report, None));
    let figures = figures(seen, &Wanted::default());
    let [breaker] = &*figures.breakers else { panic!("{figures:?}") };
    assert_eq!((breaker.proxies, breaker.open, breaker.refusing), (3, 0, 2));
    assert_eq!((breaker.refusing_share, &*breaker.strategy), (0.98, "throttle"));
    let first: Vec<&str> = breaker.states.iter().map(|state| &*state.state).collect();
    assert_eq!(first, ["refuses 0.98", "refuses 0.5", "refuses 0"]);
}

#[test]
fn a_breaker_that_no_call_has_met_is_there_once() {
    let row = |part: &str, unmet| BreakerReport {
        breaker: "TrafficPolicy/cart#0".to_owned(),
        target: "Service/cart".to_owned(),
        part: part.to_owned(),
        unmet,
        phase: "closed".to_owned(),
        ..BreakerReport::default()
    };
    let parts = |rows: [Vec<BreakerReport>; 2]| -> Vec<(String, u64, u64)> {
        let [a, b] = rows.map(|breakers| Report { breakers, ..report(1, Vec::new()) });
        let all = figures([seen("a", 0, &a, None), seen("b", 0, &b, None)], &Wanted::default());
        all.breakers.into_iter().map(|row| (row.part, row.proxies, row.unmet)).collect()
    };
    assert_eq!(parts([vec![row("", true)], vec![row("", true)]]), [("".to_owned(), 2, 2)]);
    assert_eq!(parts([vec![row("", true)], vec![row("", false)]]), [("".to_owned(), 2, 1)]);
    assert_eq!(parts([vec![row("", true)], vec![row("n/1", false)]]), [("n/1".to_owned(), 1, 0)]);
}

#[test]
fn quantiles_lie_within_their_buckets() {
    assert_eq!(Histogram::default().quantile_ms(0.5), None);
    // 100 between 1 and 2 ms, one above 50 s.
    let mut counts = [0; BUCKETS];
    counts[4] = 100;
    counts[BUCKETS - 1] = 1;
    let times = Histogram::of(&counts);
    assert_eq!(times.count(), 101);
    let median = times.quantile_ms(0.5).unwrap();
    assert!((1.5..1.51).contains(&median), "{median}");
    assert_eq!(times.quantile_ms(1.0), Some(50_000.0));
    assert_eq!(times.quantile_ms(0.0), Some(1.0));
    let mut sum = times.clone();
    sum.add(&times);
    assert_eq!(sum.since(&times), times);
}

#[test]
fn rates_are_over_a_window() {
    let mut samples = Samples::default();
    let mut base_of = |at_ms: u64| {
        samples.add(std::sync::Arc::new(report(at_ms, Vec::new())));
        samples.base().map(|base| at_ms - base.at_ms)
    };
    assert_eq!(base_of(10_000), None);
    assert_eq!(base_of(11_000), Some(1000));
    assert_eq!(base_of(13_000), Some(3000));
    assert_eq!(base_of(15_000), Some(5000));
    assert_eq!(base_of(16_000), Some(3000));
    // Nobody has looked for long: what came meanwhile is no rate of today.
    assert_eq!(base_of(200_000), None);
    assert_eq!(base_of(201_000), Some(1000));
    assert_eq!(base_of(50), None, "another process");
}

#[test]
fn a_report_survives_the_way_and_other_versions() {
    let report = Report { omitted: 3, ..report(5, vec![service("cart", 1, 2)]) };
    assert_eq!(Report::from_json(&report.to_json()).unwrap(), report);
    let newer = br#"{"format":9,"at_ms":1,"services":[{"service":"a","mood":"good"}],"weather":[]}"#;
    let read = Report::from_json(newer).unwrap();
    assert_eq!((read.format, &*read.services[0].service), (9, "a"));
    assert!(Report::from_json(b"[").is_err());
    let error = Report::from_json(&vec![b' '; REPORT_BYTES_MAX + 1]).unwrap_err();
    assert!(error.to_string().contains("expected at most 1048576"), "{error}");
}

#[test]
fn a_report_that_is_too_large_goes_without_details() {
    let endpoint = EndpointReport { id: "x".repeat(2000), ..EndpointReport::default() };
    let cart = ServiceReport { endpoints: vec![endpoint; 1000], ..service("cart", 1, 2) };
    let json = report(5, vec![cart]).to_json();
    assert!(json.len() < REPORT_BYTES_MAX);
    let read = Report::from_json(&json).unwrap();
    assert_eq!((read.omitted, read.services[0].totals.classes), (1000, [0, 1, 0, 0, 2]));
}

#[test]
fn what_a_report_holds_beyond_its_bounds_is_cut_off() {
    let many = |what: &str, count: usize| format!("\"{what}\":[{}]", vec!["{}"; count].join(","));
    let (endpoints, routes) = (many("endpoints", ENDPOINTS_MAX + 9), many("routes", ROUTES_MAX + 9));
    let json = format!("{{\"services\":[{{{endpoints},{routes}}},{{{endpoints}}}]}}");
    let read = Report::from_json(json.as_bytes()).unwrap();
    let held = |of: fn(&ServiceReport) -> usize| read.services.iter().map(of).collect::<Vec<_>>();
    assert_eq!(held(|service| service.endpoints.len()), [ENDPOINTS_MAX, 0]);
    assert_eq!(held(|service| service.routes.len()), [ROUTES_MAX, 0]);
    assert!(read.services[0].endpoints.capacity() <= ENDPOINTS_MAX, "nor does it stay allocated");
}
