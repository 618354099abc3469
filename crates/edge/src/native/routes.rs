//! Routes as lines of a table: one for each rule, of documents and of config entries, as they are in force.

use std::sync::Arc;

use weir_api::native::{List, RouteView};
use weir_model::resource::grpc_route::{GrpcMethodMatchKind, GrpcRouteMatch};
use weir_model::resource::http_route::{HttpRouteMatch, PathMatchKind};
use weir_model::resource::route::{BackendRef, ValueMatch, ValueMatchKind};
use weir_model::resource::stream_route::StreamRouteRule;
use weir_model::{Kind, Resource, ResourceId, Spec};

use super::refusal::Refusal;
use super::{NativeApi, known_parameters, ok};
use crate::consul::chain::Effective;
use crate::http::{Request, Response};

impl NativeApi {
    pub(super) async fn routes(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "name"])?;
        let position = self.control.position();
        let (namespace, name) = (request.query.get_filled("namespace"), request.query.get_filled("name"));
        let items = self.control.catalog().read(|moment| {
            let effective = self.mesh.effective(moment);
            let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_route());
            let routes = kinds.flat_map(|kind| effective.resources().list(kind, namespace));
            let wanted = routes.map(|entry| &entry.resource).filter(|route| {
                name.is_none_or(|name| name == route.metadata.name) && effective.route_counts(moment, route)
            });
            wanted.flat_map(|route| rule_views(&effective, route)).collect::<Vec<_>>()
        });
        Ok(ok(&List { position, items }))
    }
}

fn rule_views(effective: &Effective, route: &Resource) -> Vec<RouteView> {
    let id = route.id();
    let (made, ways) = (effective.made_of(&id).is_some(), effective.ways(&id));
    let parents: Vec<String> = route
        .spec
        .parent_refs()
        .iter()
        .map(|parent| {
            let kind = parent.kind.as_deref().unwrap_or("Gateway");
            match &parent.namespace {
                Some(namespace) if *namespace != id.namespace => {
                    format!("{kind}/{namespace}/{}", parent.name)
                }
                _ => format!("{kind}/{}", parent.name),
            }
        })
        .collect();
    let conditions = conditions(&route.spec);
    let rules = route.spec.rules().into_iter().zip(conditions).enumerate();
    rules
        .map(|(index, ((backends, _), (name, matches)))| RouteView {
            route: id.clone(),
            parents: parents.clone(),
            hostnames: route.spec.hostnames().to_vec(),
            rule: name.unwrap_or_else(|| index.to_string()),
            matches,
            backends: backends.iter().map(|backend| (service(&id, backend), backend.weight)).collect(),
            made,
            config_entries: ways.get(index).cloned().unwrap_or_default(),
        })
        .collect()
}

fn service(route: &ResourceId, backend: &BackendRef) -> String {
    match &backend.namespace {
        Some(namespace) if *namespace != route.namespace => format!("{namespace}/{}", backend.name),
        _ => backend.name.clone(),
    }
}

/// The name and the conditions of each rule.
fn conditions(spec: &Spec) -> Vec<(Option<String>, Vec<String>)> {
    let stream =
        |rules: &[StreamRouteRule]| rules.iter().map(|rule| (rule.name.clone(), Vec::new())).collect();
    match spec {
        Spec::HttpRoute(route) => {
            let rules = route.rules.iter();
            rules.map(|rule| (rule.name.clone(), rule.matches.iter().map(describe).collect())).collect()
        }
        Spec::GrpcRoute(route) => {
            let rules = route.rules.iter();
            rules.map(|rule| (rule.name.clone(), rule.matches.iter().map(describe_call).collect())).collect()
        }
        Spec::TlsRoute(route) => stream(&route.rules),
        Spec::TcpRoute(route) => stream(&route.rules),
        _ => Vec::new(),
    }
}

/// A condition as people say it: `GET /cart* x-canary=yes ?debug=1`. Regular expressions stand behind a `~`.
fn describe(condition: &HttpRouteMatch) -> String {
    let mut parts: Vec<String> = condition.method.iter().cloned().collect();
    if let Some(path) = &condition.path {
        parts.push(match path.kind {
            PathMatchKind::Exact => path.value.clone(),
            PathMatchKind::PathPrefix => format!("{}*", path.value),
            PathMatchKind::RegularExpression => format!("~{}", path.value),
        });
    }
    parts.extend(condition.headers.iter().map(value));
    parts.extend(condition.query_params.iter().map(|query| format!("?{}", value(query))));
    if parts.is_empty() { "any".to_owned() } else { parts.join(" ") }
}

/// A condition on gRPC calls as people say it: `shop.v1.Cart/AddItem x-canary=yes`.
fn describe_call(condition: &GrpcRouteMatch) -> String {
    let mut parts = Vec::new();
    if let Some(wanted) = &condition.method {
        let part =
            |name: &Option<String>| name.as_deref().filter(|name| !name.is_empty()).unwrap_or("*").to_owned();
        let sign = if wanted.kind == GrpcMethodMatchKind::RegularExpression { "~" } else { "" };
        parts.push(format!("{sign}{}/{}", part(&wanted.service), part(&wanted.method)));
    }
    parts.extend(condition.headers.iter().map(value));
    if parts.is_empty() { "any".to_owned() } else { parts.join(" ") }
}

fn value(condition: &ValueMatch) -> String {
    let sign = match condition.kind {
        ValueMatchKind::Exact => "=",
        ValueMatchKind::RegularExpression => "~",
    };
    format!("{}{sign}{}", condition.name, condition.value)
}
