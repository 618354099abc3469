//! What the proxy reports of its work: the counters that metrics show as well, and how policies stand, by service.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use weir_api::report::{
    BreakerReport, ENDPOINTS_MAX, EndpointReport, Figures, Histogram, LimitReport, POLICIES_MAX,
    REPORT_FORMAT, ROUTES_MAX, Refusing, Report, RouteReport, SERVICES_MAX, Seen, ServiceReport, Side,
    TEXT_BYTES_MAX, Totals, Wanted, figures,
};
use weir_model::validate::cut;
use weir_policy::Nanos;
use weir_policy::breaker::Phase;

use super::counters::CLASSES;
use super::grpc;
use super::metrics::{Metrics, ServiceRow};
use super::process_now;
use crate::breaker::{Brake, Breaker, BreakerTable, UNMET};
use crate::explain::checked;
use crate::limit::LimitTable;
use crate::snapshot::{Endpoint, Origin, Snapshot, Upstream, label};
use crate::source::Shared;

/// Endpoints of one service that are reported at most; those that are ejected come first.
const ENDPOINTS_PER_SERVICE_MAX: usize = 128;

/// Statuses of gRPC that say that the server failed.
const GRPC_FAILURES: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

impl Metrics {
    /// What there is to report now. Kept for a while, to compare later ones with.
    pub(crate) fn report(&self, shared: &Shared) -> Arc<Report> {
        let snapshot = shared.snapshot.load();
        let now = process_now();
        let Origin { region, zone, .. } = &*snapshot.origin;
        let mut report = Report {
            format: REPORT_FORMAT,
            at_ms: now.0 / 1_000_000,
            region: region.clone(),
            zone: zone.clone(),
            ..Report::default()
        };
        self.report_services(snapshot.upstreams(), now, &mut report);
        mark_elsewhere(&snapshot, &mut report.services);
        let rules = named_rules(&snapshot);
        limits(&snapshot.limits, &rules, now, &mut report);
        breakers(&snapshot.breakers, &rules, now, &mut report);
        let report = Arc::new(report);
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).add(Arc::clone(&report));
        report
    }

    /// What this proxy alone has counted, with rates since it was last asked, or reported.
    pub(crate) fn figures(&self, shared: &Shared, wanted: &Wanted) -> Figures {
        let latest = self.report(shared);
        let base = self.samples.lock().unwrap_or_else(PoisonError::into_inner).base().cloned();
        figures([Seen { proxy: "", age_ms: 0, latest: &latest, base: base.as_deref() }], wanted)
    }

    fn report_services(&self, upstreams: &[Arc<Upstream>], now: Nanos, report: &mut Report) {
        let app = self.app.get();
        let mut known: HashMap<&str, &Upstream> =
            upstreams.iter().map(|upstream| (&*upstream.label, &**upstream)).collect();
        if let Some(app) = app {
            known.insert(&app.label, app);
        }
        let rows = self.services();
        let mut routes = self.routes_by_service();
        let idle = known.keys().filter(|label| !rows.contains_key(**label)).copied();
        let mut labels: Vec<&str> = rows.keys().map(|label| &**label).chain(idle).collect();
        labels.sort_unstable();
        let none = ServiceRow::default();
        for label in labels {
            let row = rows.get(label).unwrap_or(&none);
            let of_routes = routes.remove(label).unwrap_or_default();
            let mut service = service(label, row, of_routes);
            if app.is_some_and(|app| *app.label == *label) {
                service.side = Side::Callee;
            }
            if let Some(upstream) = known.get(label) {
                add_endpoints(&mut service, upstream, now);
            }
            report.services.push(service);
        }
        bound(report);
    }

    fn routes_by_service(&self) -> BTreeMap<Arc<str>, BTreeMap<Arc<str>, Totals>> {
        let mut all: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Totals>> = BTreeMap::new();
        for worker in &self.workers {
            worker.routes.each(|key, counters| {
                let of_service = all.entry(key.service.clone()).or_default();
                let totals = of_service.entry(key.route.clone()).or_default();
                counters.each(|decision, class, count| {
                    let mut classes = [0; CLASSES];
                    classes[class] = count;
                    let is_own = !matches!(decision, "forwarded" | "client_gone");
                    totals.add(&Totals { classes, own: if is_own { count } else { 0 } });
                });
            });
        }
        all
    }
}

fn service(label: &str, row: &ServiceRow, routes: BTreeMap<Arc<str>, Totals>) -> ServiceReport {
    let mut totals = Totals::default();
    routes.values().for_each(|of_route| totals.add(of_route));
    let failed = grpc::NAMES.iter().zip(row.grpc).filter(|(name, _)| GRPC_FAILURES.contains(name));
    let routes = routes.into_iter().map(|(route, totals)| RouteReport {
        route: route.to_string(),
        totals,
        ..RouteReport::default()
    });
    ServiceReport {
        service: label.to_owned(),
        totals,
        retries: row.retries,
        retries_denied: row.retries_denied,
        grpc_failed: failed.map(|(_, count)| count).sum(),
        duration: Histogram::of(&row.duration.counts),
        routes: routes.collect(),
        ..ServiceReport::default()
    }
}

/// Marks the rules that do not lead to the service by which their requests were counted: those came by a fallback, or
/// before the rule was changed.
fn mark_elsewhere(snapshot: &Snapshot, services: &mut [ServiceReport]) {
    let mut led: HashSet<(&str, &str)> = HashSet::new();
    for rule in snapshot.rules() {
        let to = rule.backends.weights().map(|(_, upstream)| &*snapshot.upstream(upstream).label);
        led.extend(to.map(|service| (service, &*rule.label)));
    }
    // What was counted for no service belongs to its rule, which may lead nowhere.
    for service in services.iter_mut().filter(|service| !service.service.starts_with('_')) {
        for route in &mut service.routes {
            route.elsewhere = !led.contains(&(&*service.service, &*route.route));
        }
    }
}

fn add_endpoints(service: &mut ServiceReport, upstream: &Upstream, now: Nanos) {
    let all = &upstream.endpoints;
    let is_ejected = |endpoint: &&Endpoint| endpoint.state.tally().is_ejected();
    service.in_flight = all.iter().map(|endpoint| u64::from(endpoint.state.in_flight())).sum();
    service.endpoints_known = all.len() as u64;
    service.ejected = all.iter().filter(is_ejected).count() as u64;
    let mut shown: Vec<&Endpoint> = all.iter().filter(is_ejected).collect();
    shown.extend(all.iter().filter(|endpoint| !is_ejected(endpoint)));
    shown.truncate(ENDPOINTS_PER_SERVICE_MAX);
    shown.sort_by(|a, b| a.id.cmp(&b.id));
    service.endpoints = shown.into_iter().map(|endpoint| described(upstream, endpoint, now)).collect();
}

fn described(upstream: &Upstream, endpoint: &Endpoint, now: Nanos) -> EndpointReport {
    let state = &endpoint.state;
    EndpointReport {
        id: short(endpoint.id.to_string()),
        address: endpoint.addr.to_string(),
        health: match endpoint {
            Endpoint { draining: true, .. } => "draining",
            Endpoint { is_static: true, checked, .. } if checked.verdict.is_none() => "static",
            Endpoint { health, .. } => health.as_str(),
        }
        .to_owned(),
        in_flight: state.in_flight().into(),
        requests: state.requests(),
        failures: state.failures(),
        avoided: state.is_avoided(),
        is_ejected: state.tally().is_ejected(),
        ejected: upstream.state.ejection().described(state.key(), now).map(short),
        latency_us: state.latency().map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        checked: checked(endpoint).map(short),
    }
}

/// Leaves out what is too much: the services with fewest requests, then endpoints and rules of the last ones by name.
fn bound(report: &mut Report) {
    let services = &mut report.services;
    if services.len() > SERVICES_MAX {
        report.omitted += (services.len() - SERVICES_MAX) as u64;
        services.sort_by_key(|service| std::cmp::Reverse(service.totals.requests()));
        services.truncate(SERVICES_MAX);
        services.sort_by(|a, b| a.service.cmp(&b.service));
    }
    let (mut endpoints_left, mut routes_left) = (ENDPOINTS_MAX, ROUTES_MAX);
    for service in services {
        let routes = service.routes.len();
        service.endpoints.truncate(endpoints_left);
        service.routes.truncate(routes_left);
        endpoints_left -= service.endpoints.len();
        routes_left -= service.routes.len();
        let unlisted = service.endpoints_known.saturating_sub(service.endpoints.len() as u64);
        report.omitted += unlisted + (routes - service.routes.len()) as u64;
    }
}

/// The labels of rules that requests are counted by, by what policies for them are for, as targets are written:
/// `HTTPRoute/shop#buy`.
type Rules<'a> = HashMap<String, &'a str>;

fn named_rules(snapshot: &Snapshot) -> Rules<'_> {
    let for_rules = snapshot.limits.all().iter().map(|limit| &limit.target);
    let mut targets = for_rules.chain(snapshot.breakers.all().iter().map(|breaker| &breaker.target));
    if !targets.any(|target| target.contains('#')) {
        return Rules::default();
    }
    let named = snapshot.rules().filter_map(|rule| Some((rule, rule.name.as_deref()?)));
    named.map(|(rule, name)| (label(&rule.route, Some(name)).to_string(), &*rule.label)).collect()
}

fn rule(target: &str, rules: &Rules<'_>) -> String {
    rules.get(target).map(|rule| (*rule).to_owned()).unwrap_or_default()
}

fn limits(table: &LimitTable, rules: &Rules<'_>, now: Nanos, report: &mut Report) {
    let all = table.all();
    report.omitted += all.len().saturating_sub(POLICIES_MAX) as u64;
    let described = all.iter().take(POLICIES_MAX).map(|limit| LimitReport {
        limit: limit.id.to_string(),
        target: limit.target.to_string(),
        rule: rule(&limit.target, rules),
        shadow: limit.limiter().config().shadow,
        admitted: limit.admitted(),
        waited: limit.waited(),
        refused: limit.refused().map(|(_, refused, shadowed)| refused + shadowed).sum(),
        shadowed: limit.refused().map(|(_, _, shadowed)| shadowed).sum(),
        // Not its keys, which may be nobody's business: they stand in the lines that follow.
        state: short(limit.limiter().state(now).to_string().lines().next().unwrap_or_default().to_owned()),
        status: limit.status(),
        version: limit.version(),
        refusing: limit.refusing(now).map(cut_short),
    });
    report.limits = described.collect();
}

fn breakers(table: &BreakerTable, rules: &Rules<'_>, now: Nanos, report: &mut Report) {
    let mut unmet = Vec::new();
    for breaker in table.all() {
        let brakes = breaker.all();
        let room = POLICIES_MAX - report.breakers.len();
        report.omitted += brakes.len().saturating_sub(room) as u64;
        if room > 0 && !brakes.is_empty() {
            let common = in_force(breaker, rules);
            report.breakers.extend(brakes.iter().take(room).map(|brake| met(brake, &common, now)));
        }
        if brakes.is_empty() {
            unmet.push(breaker);
        }
    }
    // Those that have decided something go first.
    let room = POLICIES_MAX - report.breakers.len();
    report.omitted += unmet.len().saturating_sub(room) as u64;
    report.breakers.extend(unmet.into_iter().take(room).map(|breaker| BreakerReport {
        phase: phase(Phase::Closed),
        unmet: true,
        state: UNMET.to_owned(),
        ..in_force(breaker, rules)
    }));
}

/// What is to be said of a breaker whatever calls have met it.
fn in_force(breaker: &Breaker, rules: &Rules<'_>) -> BreakerReport {
    BreakerReport {
        breaker: breaker.name(),
        target: breaker.target.to_string(),
        rule: rule(&breaker.target, rules),
        shadow: breaker.config.shadow,
        strategy: breaker.config.strategy.name().to_owned(),
        version: breaker.version(),
        kept: breaker.instead.kept(),
        ..BreakerReport::default()
    }
}

/// One of the machines of a breaker.
fn met(brake: &Brake, common: &BreakerReport, now: Nanos) -> BreakerReport {
    let (refused, shadowed) = brake.refused();
    BreakerReport {
        part: short(brake.part.to_string()),
        phase: phase(brake.state(now).phase),
        refused: refused + shadowed,
        shadowed,
        state: short(brake.described(now)),
        refusing: brake.refusing(now).map(cut_short),
        ..common.clone()
    }
}

fn phase(phase: Phase) -> String {
    let word = match phase {
        Phase::Closed => "closed",
        Phase::HalfOpen => "half_open",
        Phase::Open => "open",
    };
    word.to_owned()
}

fn cut_short(refusing: Refusing) -> Refusing {
    Refusing { why: short(refusing.why), ..refusing }
}

fn short(mut text: String) -> String {
    cut(&mut text, TEXT_BYTES_MAX);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::respond::Reason;
    use crate::snapshot::tests::{endpoint, gateway, inputs, route, with_registered};
    use crate::snapshot::{Compiler, Inputs, Role};

    fn shared() -> Arc<Shared> {
        let inputs = inputs([gateway("edge"), route("r", serde_json::json!([{"name": "edge"}]), "cart")]);
        let inputs = with_registered(inputs, "cart", true, &[endpoint("a/1", 9001), endpoint("a/2", 9002)]);
        let shared = Shared::new();
        let compiler = Compiler::new(Role::Gateway { gateways: vec![] });
        shared.install(compiler.compile(&inputs, None).unwrap());
        shared
    }

    #[test]
    fn what_workers_count_is_reported_by_service_and_route() {
        let (metrics, shared) = (Metrics::new(2), shared());
        for worker in (0..2).map(|index| metrics.worker(index)) {
            let row = worker.route(&"cart".into(), &"HTTPRoute/r#0".into());
            row.forwarded(200);
            row.own(Reason::Timeout, 504);
            row.client_gone();
            let service = worker.service(&"cart".into());
            service.retries.add(3);
            service.duration.observe(1_500_000);
            service.grpc(grpc::GrpcStatus::parse(b"14"));
            service.grpc(grpc::GrpcStatus::parse(b"5"));
        }
        let snapshot = shared.snapshot.load();
        snapshot.upstreams()[0].endpoints[0].state.begin();
        let report = metrics.report(&shared);
        let [cart] = &*report.services else { panic!("{report:?}") };
        assert_eq!((&*cart.service, cart.side), ("cart", Side::Caller));
        assert_eq!(cart.totals, Totals { classes: [0, 2, 0, 2, 2], own: 2 });
        assert_eq!((cart.retries, cart.grpc_failed, cart.duration.count(), cart.in_flight), (6, 2, 2, 1));
        let by = RouteReport { route: "HTTPRoute/r#0".into(), totals: cart.totals, elsewhere: false };
        assert_eq!(cart.routes, [by]);
        let ids: Vec<_> = cart.endpoints.iter().map(|endpoint| (&*endpoint.id, endpoint.in_flight)).collect();
        assert_eq!((ids, cart.endpoints_known), (vec![("a/1", 1), ("a/2", 0)], 2));
        assert_eq!(report.omitted, 0);
    }

    #[test]
    fn of_policies_for_rules_it_is_told_which_rule_that_is() {
        let documents = "
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: web, port: 8080, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: cart}]}, {name: buy, backendRefs: [{name: cart}]}]}
---
kind: Service
metadata: {name: cart}
spec: {endpoints: [{address: 127.0.0.1, port: 9001}]}
---
kind: RateLimit
metadata: {name: all}
spec:
  targetRefs: [{name: cart}, {kind: HTTPRoute, name: shop}, {kind: HTTPRoute, name: shop, sectionName: buy}]
  rates: [{requests: 10}]
---
kind: TrafficPolicy
metadata: {name: buy}
spec: {targetRefs: [{kind: HTTPRoute, name: shop, sectionName: buy}], breakers: [{}]}
";
        let parsed = weir_model::document::parse("-", documents).unwrap().documents;
        let resources = parsed.into_iter().map(|document| document.resource);
        let inputs = Inputs::of_resources(weir_model::Position::default(), resources);
        let shared = Shared::new();
        let compiler = Compiler::new(Role::Gateway { gateways: vec![] });
        shared.install(compiler.compile(&inputs, None).unwrap());
        let report = Metrics::new(1).report(&shared);
        let of_limits: Vec<_> = report.limits.iter().map(|row| (&*row.target, &*row.rule)).collect();
        let expected =
            [("Service/cart", ""), ("HTTPRoute/shop", ""), ("HTTPRoute/shop#buy", "HTTPRoute/shop#buy")];
        assert_eq!(of_limits, expected);
        assert_eq!(report.breakers[0].rule, "HTTPRoute/shop#buy");
    }

    #[test]
    fn rules_that_lead_elsewhere_are_marked() {
        let (metrics, shared) = (Metrics::new(1), shared());
        let worker = metrics.worker(0);
        for (service, route) in
            [("cart", "HTTPRoute/r#0"), ("cart", "HTTPRoute/r#1"), ("_none", "HTTPRoute/r#0")]
        {
            worker.route(&service.into(), &route.into()).forwarded(200);
            worker.service(&service.into());
        }
        worker.route(&"tea".into(), &"HTTPRoute/r#0".into()).forwarded(200);
        worker.service(&"tea".into());
        let report = metrics.report(&shared);
        let rows = report.services.iter().flat_map(|service| {
            service.routes.iter().map(|route| (&*service.service, &*route.route, route.elsewhere))
        });
        let expected = [
            ("_none", "HTTPRoute/r#0", false),
            ("cart", "HTTPRoute/r#0", false),
            ("cart", "HTTPRoute/r#1", true),
            ("tea", "HTTPRoute/r#0", true),
        ];
        assert_eq!(rows.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_service_without_requests_is_reported_too() {
        let report = Metrics::new(1).report(&shared());
        assert_eq!((&*report.services[0].service, report.services[0].totals.requests()), ("cart", 0));
    }

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let metrics = Metrics::new(1);
        let worker = metrics.worker(0);
        for number in 0..SERVICES_MAX + 10 {
            let row = worker.route(&format!("s{number:04}").into(), &"r".into());
            worker.service(&format!("s{number:04}").into());
            (0..number).for_each(|_| row.forwarded(200));
        }
        let report = metrics.report(&Shared::new());
        assert_eq!((report.services.len(), report.omitted), (SERVICES_MAX, 10));
        assert_eq!(report.services[0].service, "s0010", "those with fewest requests are left out");
    }
}
