//! Endpoints that `Service` documents have, shown like instances: how each is checked, and what the proxies that check it
//! say. Pure.

use weir_api::native::{InstanceView, ResourceView};
use weir_api::report::{EndpointFigures, Figures, Side, StateOf};
use weir_model::registry::{Check, Health, Instance, Weights};
use weir_model::resource::service::{ServiceCheck, ServiceCheckKind, StaticEndpoint};
use weir_model::{ServiceRef, Spec};

/// What stands for the node of an endpoint that is written down: it has none.
pub(super) const NO_NODE: &str = "";

/// The endpoints of these documents, of one service if it is named.
pub(super) fn endpoints(
    documents: &[ResourceView],
    named: Option<&str>,
    seen: &Figures,
) -> Vec<InstanceView> {
    let mut views = Vec::new();
    for document in documents {
        let (metadata, Spec::Service(spec)) = (&document.resource.metadata, &document.resource.spec) else {
            continue;
        };
        if named.is_some_and(|named| named != metadata.name) {
            continue;
        }
        let service = ServiceRef::new(&*metadata.namespace, &*metadata.name);
        let check = |endpoint: &StaticEndpoint| endpoint.check.clone().or_else(|| spec.check.clone());
        views.extend(spec.endpoints.iter().map(|one| view(&service, one, check(one).as_ref(), seen)));
    }
    views
}

fn view(
    service: &ServiceRef,
    one: &StaticEndpoint,
    check: Option<&ServiceCheck>,
    seen: &Figures,
) -> InstanceView {
    let id = format!("{}:{}", one.address, one.port);
    let said: Vec<&StateOf> = of_proxies(service, &id, seen).flat_map(|endpoint| &endpoint.checked).collect();
    // Until a check says otherwise, it is taken to be well.
    let health = said.iter().map(|state| health(&state.state)).max().unwrap_or(Health::Passing);
    let checks = check.map(|check| Check {
        namespace: service.namespace.to_string(),
        id: "document".to_owned(),
        name: check.kind.as_str().to_owned(),
        service: service.name.to_string(),
        instance: Some(id.clone()),
        health,
        output: output(&said, health),
        notes: described(check),
        ..Check::default()
    });
    InstanceView {
        health,
        instance: Instance {
            namespace: service.namespace.to_string(),
            node: NO_NODE.to_owned(),
            service: service.name.to_string(),
            address: one.address.clone(),
            port: one.port,
            weights: Weights { passing: one.weight, warning: one.weight },
            id,
            ..Instance::default()
        },
        checks: checks.into_iter().collect(),
        agent_silent_ms: None,
    }
}

/// An endpoint as those report of it that call it. A host name with several addresses is several.
fn of_proxies<'a>(
    service: &ServiceRef,
    id: &'a str,
    seen: &'a Figures,
) -> impl Iterator<Item = &'a EndpointFigures> {
    let label = service.to_string();
    let services = seen.services.iter().filter(move |one| one.side == Side::Caller && one.service == label);
    let is_it = move |endpoint: &&EndpointFigures| match endpoint.id.strip_prefix(id) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    };
    services.flat_map(|one| &one.endpoints).filter(is_it)
}

/// Their states begin with it.
fn health(state: &str) -> Health {
    let word = state.split(',').next().unwrap_or_default();
    let known = [Health::Passing, Health::Warning, Health::Critical];
    known.into_iter().find(|health| health.as_str() == word).unwrap_or(Health::Passing)
}

/// Who says so, of all who check it.
fn output(said: &[&StateOf], worst: Health) -> String {
    if said.is_empty() {
        return "no proxy has checked it yet".to_owned();
    }
    let of_worst: Vec<&str> =
        said.iter().filter(|one| health(&one.state) == worst).map(|one| &*one.proxy).collect();
    let (count, all) = (of_worst.len(), said.len());
    format!("{} by the checks of {count} of {all}: {}", worst.as_str(), of_worst.join(", "))
}

/// How it is checked.
fn described(check: &ServiceCheck) -> String {
    let what = match check.kind {
        ServiceCheckKind::Http => format!("GET {}", check.path.as_deref().unwrap_or("/")),
        ServiceCheckKind::Tcp => "a connection".to_owned(),
        ServiceCheckKind::Grpc => match &check.service {
            Some(service) => format!("grpc.health.v1 of {service}"),
            None => "grpc.health.v1".to_owned(),
        },
    };
    let every = check.interval.map_or(ServiceCheck::INTERVAL, |interval| interval.0);
    format!("{what} every {}, by each proxy that calls it", weir_model::units::Span(every))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_api::report::ServiceFigures;

    use super::*;

    fn document() -> ResourceView {
        let json = json!({"apiVersion": "weir.dev/v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "check": {"type": "http", "path": "/up", "interval": "2s"},
            "endpoints": [{"address": "10.0.0.1", "port": 80}, {"address": "web.internal", "port": 80, "check": {"type": "tcp"}}]}});
        ResourceView { revision: 1, resource: serde_json::from_value(json).unwrap() }
    }

    fn endpoint(id: &str, checked: &[(&str, &str)]) -> EndpointFigures {
        let checked = checked
            .iter()
            .map(|(proxy, state)| StateOf { proxy: (*proxy).to_owned(), state: (*state).to_owned() });
        EndpointFigures { id: id.to_owned(), checked: checked.collect(), ..EndpointFigures::default() }
    }

    #[test]
    fn what_proxies_found_out_is_the_health_and_says_whose_word_it_is() {
        let endpoints_seen = vec![
            endpoint("10.0.0.1:80", &[("one", "passing, so since 3 s"), ("two", "critical, so since 1 s")]),
            endpoint("10.0.0.1:8080", &[("one", "critical")]),
            endpoint("web.internal:80/10.0.0.7", &[("one", "passing, so since 9 s")]),
        ];
        let service = ServiceFigures {
            service: "web".to_owned(),
            side: Side::Caller,
            endpoints: endpoints_seen,
            ..ServiceFigures::default()
        };
        let seen = Figures { services: vec![service], ..Figures::default() };
        let views = endpoints(&[document()], None, &seen);
        let shown: Vec<_> =
            views.iter().map(|view| (&*view.instance.id, view.health, &*view.checks[0].output)).collect();
        assert_eq!(
            shown,
            [
                ("10.0.0.1:80", Health::Critical, "critical by the checks of 1 of 2: two"),
                ("web.internal:80", Health::Passing, "passing by the checks of 1 of 1: one"),
            ]
        );
        assert_eq!(views[0].checks[0].notes, "GET /up every 2s, by each proxy that calls it");
        assert_eq!(views[1].checks[0].notes, "a connection every 5s, by each proxy that calls it");
    }

    #[test]
    fn what_nobody_has_checked_is_taken_to_be_well() {
        let views = endpoints(&[document()], Some("web"), &Figures::default());
        assert_eq!(
            (views[0].health, &*views[0].checks[0].output),
            (Health::Passing, "no proxy has checked it yet")
        );
        assert!(endpoints(&[document()], Some("cart"), &Figures::default()).is_empty());
    }
}
