//! What proxies have reported, put into an explanation that was made without them: what limits and breakers have counted and
//! how they stand, and which endpoints are ejected.

use weir_api::report::{
    BreakerFigures, EndpointFigures, Figures, LimitFigures, ProxyReport, Seen, Side, StateOf, Wanted, figures,
};
use weir_model::{DEFAULT_NAMESPACE, ServiceRef};
use weir_proxy::explain::{Choice, EndpointView, Explanation, Forwarded, LimitView, Outcome, Reported};
use weir_proxy::snapshot::Role;

use super::service_ref;

/// Adds what those proxies report that play the role; of a call inside the mesh also what limits it where it arrives.
pub(super) fn add(explanation: &mut Explanation, role: &Role, reports: &[ProxyReport]) {
    let own: Vec<&ProxyReport> = reports.iter().filter(|report| plays(report, role)).collect();
    let mut oldest_ms = own.iter().map(|report| report.age_ms).max();
    let seen = together(&own);
    for entrance in &mut explanation.entrances {
        let Outcome::Forward(forwarded) = &mut entrance.outcome else { continue };
        from_callers(forwarded, &seen);
        if let Role::Sidecar { .. } = role {
            let service = service_ref(&forwarded.service, DEFAULT_NAMESPACE);
            let callees: Vec<&ProxyReport> = reports
                .iter()
                .filter(|report| plays(report, &Role::Sidecar { service: service.clone() }))
                .collect();
            if where_it_arrives(forwarded, &together(&callees)) {
                oldest_ms = oldest_ms.max(callees.iter().map(|report| report.age_ms).max());
            }
        }
    }
    explanation.reported = Some(Reported { proxies: own.len(), oldest_ms });
}

fn together(reports: &[&ProxyReport]) -> Figures {
    let seen = reports.iter().map(|report| Seen {
        proxy: &report.proxy,
        age_ms: report.age_ms,
        latest: &report.report,
        base: None,
    });
    figures(seen, &Wanted::default())
}

fn plays(report: &ProxyReport, role: &Role) -> bool {
    let within = |name: &str| service_ref(name, &report.namespace);
    match role {
        Role::Gateway { gateways } => gateways.iter().any(|wanted| {
            let wanted = service_ref(wanted, DEFAULT_NAMESPACE);
            report.gateways.iter().any(|served| within(served) == wanted)
        }),
        Role::Sidecar { service } => {
            report.role == "sidecar" && ServiceRef::new(&*report.namespace, &*report.service) == *service
        }
    }
}

fn from_callers(forwarded: &mut Forwarded, seen: &Figures) {
    for view in &mut forwarded.limits {
        let is_it = |limit: &&LimitFigures| limit.limit == view.limit && limit.target == view.target;
        if let Some(limit) = seen.limits.iter().find(is_it) {
            (view.admitted, view.refused) = (limit.admitted, limit.refused);
            say(&mut view.state, &limit.states, limit.proxies);
        }
    }
    for view in &mut forwarded.breakers {
        let is_it = |breaker: &&BreakerFigures| {
            breaker.breaker == view.breaker && breaker.target == view.target && breaker.part == view.part
        };
        if let Some(breaker) = seen.breakers.iter().find(is_it) {
            view.refused = breaker.refused;
            say(&mut view.state, &breaker.states, breaker.proxies);
        }
    }
    let is_it = |service: &&weir_api::report::ServiceFigures| {
        service.service == forwarded.service && service.side == Side::Caller
    };
    let Some(service) = seen.services.iter().find(is_it) else { return };
    for view in &mut forwarded.endpoints {
        if let Some(endpoint) = service.endpoints.iter().find(|endpoint| endpoint.id == view.id) {
            (view.in_flight, view.avoided) =
                (u32::try_from(endpoint.in_flight).unwrap_or(u32::MAX), endpoint.avoided_by > 0);
            ejected(view, endpoint);
        }
    }
    choose_anew(forwarded, &service.endpoints);
}

/// What the proxies say, one line each; a single one need not be named.
fn say(state: &mut String, states: &[StateOf], proxies: u64) {
    match states {
        [] => {}
        [only] if proxies == 1 => state.clone_from(&only.state),
        several => {
            let lines = several.iter().map(|StateOf { proxy, state }| format!("{proxy}: {state}"));
            *state = lines.collect::<Vec<_>>().join("\n");
            let unsaid = proxies.saturating_sub(several.len() as u64);
            if unsaid > 0 {
                *state += &format!("\nand {unsaid} more");
            }
        }
    }
}

fn ejected(view: &mut EndpointView, endpoint: &EndpointFigures) {
    let Some(first) = endpoint.ejected.first() else { return };
    let EndpointFigures { ejected_by, proxies, .. } = endpoint;
    let text = match proxies {
        1 => first.state.clone(),
        _ => format!("at {ejected_by} of {proxies} proxies {}", first.state),
    };
    if ejected_by == proxies {
        view.candidate = false;
        view.excluded.get_or_insert_with(|| text.clone());
    }
    view.ejected = Some(text);
}

/// The choice was made as if nobody were ejected. Who is ejected everywhere is not chosen but as the proxies do: the least busy
/// of the others is.
fn choose_anew(forwarded: &mut Forwarded, endpoints: &[EndpointFigures]) {
    let Some(choice) = &mut forwarded.choice else { return };
    let Some(chosen) = endpoints.iter().find(|endpoint| endpoint.id == choice.endpoint) else { return };
    if chosen.ejected_by == 0 {
        return;
    }
    let others = forwarded.endpoints.iter().filter(|endpoint| endpoint.candidate);
    match others.min_by_key(|endpoint| endpoint.in_flight) {
        Some(other) if chosen.ejected_by == chosen.proxies => {
            *choice = Choice {
                endpoint: other.id.clone(),
                address: other.address.clone(),
                reason: "the least busy of those that are not ejected".to_owned(),
            };
        }
        _ => choice.reason += &format!("; ejected at {} of {} proxies", chosen.ejected_by, chosen.proxies),
    }
}

/// The limits that hold where a call arrives: at the sidecars of its service. Says whether there are any.
fn where_it_arrives(forwarded: &mut Forwarded, seen: &Figures) -> bool {
    let target = format!("Service/{}", forwarded.service);
    let views = seen.limits.iter().filter(|limit| limit.target == target).map(|limit| {
        let mut view = LimitView {
            limit: limit.limit.clone(),
            target: limit.target.clone(),
            state: String::new(),
            admitted: limit.admitted,
            refused: limit.refused,
            shadow: limit.shadow,
        };
        say(&mut view.state, &limit.states, limit.proxies);
        view
    });
    let before = forwarded.limits.len();
    forwarded.limits.extend(views);
    forwarded.limits.len() > before
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use weir_api::report::{BreakerReport, EndpointReport, LimitReport, Report, ServiceReport};
    use weir_model::Position;
    use weir_model::document;
    use weir_proxy::explain::{Request, explain};
    use weir_proxy::snapshot::{Compiler, Inputs};

    use super::*;

    const DOCUMENTS: &str = "
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: web, port: 8080, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: cart}]}]}
---
kind: Service
metadata: {name: cart}
spec: {endpoints: [{address: 127.0.0.1, port: 9001}, {address: 127.0.0.1, port: 9002}]}
---
kind: RateLimit
metadata: {name: cart}
spec: {targetRefs: [{name: cart}], rates: [{requests: 10, per: 1s}]}
---
kind: TrafficPolicy
metadata: {name: cart}
spec: {targetRefs: [{name: cart}], breakers: [{level: service}]}
";

    fn gateway() -> Role {
        Role::Gateway { gateways: vec!["default/edge".to_owned()] }
    }

    fn explained(role: &Role, url: &str) -> Explanation {
        let documents = document::parse("-", DOCUMENTS).unwrap().documents;
        let resources = documents.into_iter().map(|document| document.resource);
        let inputs = Inputs::of_resources(Position::default(), resources);
        let snapshot = Compiler::new(role.clone()).compile(&inputs, None).unwrap();
        let request = Request::parse("GET", url, std::iter::empty()).unwrap();
        explain(&snapshot, &request, &mut SmallRng::seed_from_u64(3))
    }

    /// A report by a proxy that has ejected some endpoints.
    fn report(proxy: &str, admitted: u64, ejected: &[&str], ids: &[String]) -> ProxyReport {
        let endpoints = ids.iter().map(|id| EndpointReport {
            id: id.clone(),
            in_flight: 2,
            is_ejected: ejected.contains(&&**id),
            ejected: ejected.contains(&&**id).then(|| "ejected for 3 s".to_owned()),
            ..EndpointReport::default()
        });
        let cart = ServiceReport {
            service: "cart".into(),
            endpoints: endpoints.collect(),
            ..ServiceReport::default()
        };
        let limit = LimitReport {
            limit: "RateLimit/cart".into(),
            target: "Service/cart".into(),
            admitted,
            refused: 1,
            state: format!("{admitted} left"),
            ..LimitReport::default()
        };
        let breaker = BreakerReport {
            breaker: "TrafficPolicy/cart#0".into(),
            target: "Service/cart".into(),
            phase: "open".into(),
            refused: 5,
            state: "Open".into(),
            ..BreakerReport::default()
        };
        let report = Report {
            services: vec![cart],
            limits: vec![limit],
            breakers: vec![breaker],
            ..Report::default()
        };
        ProxyReport {
            proxy: proxy.into(),
            role: "gateway".into(),
            namespace: "default".into(),
            gateways: vec!["edge".into()],
            age_ms: admitted,
            report,
            ..ProxyReport::default()
        }
    }

    fn ids(explanation: &Explanation) -> Vec<String> {
        explanation.forwarded().unwrap().endpoints.iter().map(|endpoint| endpoint.id.clone()).collect()
    }

    #[test]
    fn counts_of_the_gateways_proxies_are_shown_with_their_age() {
        let mut explanation = explained(&gateway(), "http://h/");
        let ids = ids(&explanation);
        let other = ProxyReport { gateways: vec!["inner".into()], ..report("other", 1000, &[], &ids) };
        add(&mut explanation, &gateway(), &[report("a", 100, &[], &ids), report("b", 20, &[], &ids), other]);
        let text = explanation.to_string();
        for part in [
            "as 2 proxies have reported, at most 0.1 s ago",
            "RateLimit/cart of Service/cart: 120 let through, 2 refused",
            "a: 100 left",
            "b: 20 left",
            "TrafficPolicy/cart#0 of Service/cart: 10 refused",
            "a: Open",
            "4 in flight",
        ] {
            assert!(text.contains(part), "`{part}` is missing in:\n{text}");
        }
    }

    #[test]
    fn who_is_ejected_everywhere_is_not_chosen() {
        let explanation = explained(&gateway(), "http://h/");
        let (ids, chosen) =
            (ids(&explanation), explanation.forwarded().unwrap().choice.clone().unwrap().endpoint);
        let other = ids.iter().find(|id| **id != chosen).unwrap();
        let choice = |ejected: [&[&str]; 2]| {
            let mut explanation = explanation.clone();
            let reports = [report("a", 1, ejected[0], &ids), report("b", 1, ejected[1], &ids)];
            add(&mut explanation, &gateway(), &reports);
            let forwarded = explanation.forwarded().unwrap();
            let candidates = forwarded.endpoints.iter().filter(|endpoint| endpoint.candidate).count();
            let choice = forwarded.choice.clone().unwrap();
            (choice.endpoint, choice.reason, candidates)
        };
        let (endpoint, reason, candidates) = choice([&[&chosen], &[&chosen]]);
        assert_eq!((&endpoint, candidates), (other, 1));
        assert_eq!(reason, "the least busy of those that are not ejected");
        let (endpoint, reason, candidates) = choice([&[&chosen], &[]]);
        assert_eq!((&endpoint, candidates), (&chosen, 2));
        assert!(reason.ends_with("; ejected at 1 of 2 proxies"), "{reason}");
    }

    #[test]
    fn a_call_inside_the_mesh_is_limited_where_it_arrives() {
        let front = Role::Sidecar { service: ServiceRef::new("default", "front") };
        let mut explanation = explained(&front, "http://cart/");
        let ids = ids(&explanation);
        let sidecar = |service: &str, admitted| ProxyReport {
            role: "sidecar".into(),
            service: service.into(),
            gateways: Vec::new(),
            ..report(service, admitted, &[], &ids)
        };
        add(&mut explanation, &front, &[sidecar("cart", 40), sidecar("front", 7)]);
        let forwarded = explanation.forwarded().unwrap();
        let limits: Vec<_> = forwarded.limits.iter().map(|limit| (limit.admitted, &*limit.state)).collect();
        assert_eq!(limits, [(40, "40 left")]);
        assert_eq!(explanation.reported, Some(Reported { proxies: 1, oldest_ms: Some(40) }));
    }

    #[test]
    fn where_nobody_has_reported_that_is_said() {
        let mut explanation = explained(&gateway(), "http://h/");
        add(&mut explanation, &gateway(), &[]);
        let text = explanation.to_string();
        assert!(
            text.contains("no proxy has reported: counts are those of one that has just begun"),
            "{text}"
        );
    }
}
