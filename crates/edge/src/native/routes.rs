//! Routes as lines of a table: one for each rule.

use std::sync::Arc;

use weir_api::native::{List, RouteView};
use weir_model::resource::HttpRouteSpec;
use weir_model::resource::http_route::{HttpRouteMatch, PathMatchKind};
use weir_model::{Kind, ResourceId, Spec};

use super::refusal::Refusal;
use super::{NativeApi, known_parameters, ok};
use crate::http::{Request, Response};

impl NativeApi {
    pub(super) async fn routes(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "name"])?;
        let position = self.control.position();
        let set = self.control.catalog().resources().entries;
        let name = request.query.get_filled("name");
        let mut items = Vec::new();
        for entry in set.list(Kind::HttpRoute, request.query.get_filled("namespace")) {
            if let Spec::HttpRoute(route) = &entry.resource.spec
                && name.is_none_or(|name| name == entry.resource.metadata.name)
            {
                items.extend(rule_views(&entry.resource.id(), route));
            }
        }
        Ok(ok(&List { position, items }))
    }
}

fn rule_views(id: &ResourceId, route: &HttpRouteSpec) -> Vec<RouteView> {
    let parents: Vec<String> = route
        .parent_refs
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
    route
        .rules
        .iter()
        .enumerate()
        .map(|(index, rule)| RouteView {
            route: id.clone(),
            parents: parents.clone(),
            hostnames: route.hostnames.clone(),
            rule: rule.name.clone().unwrap_or_else(|| index.to_string()),
            matches: rule.matches.iter().map(describe).collect(),
            backends: rule
                .backend_refs
                .iter()
                .map(|backend| {
                    let name = match &backend.namespace {
                        Some(namespace) if *namespace != id.namespace => {
                            format!("{namespace}/{}", backend.name)
                        }
                        _ => backend.name.clone(),
                    };
                    (name, backend.weight)
                })
                .collect(),
        })
        .collect()
}

/// A condition as people say it: `GET /cart* x-canary=yes ?debug=1`.
fn describe(condition: &HttpRouteMatch) -> String {
    let mut parts: Vec<String> = condition.method.iter().cloned().collect();
    if let Some(path) = &condition.path {
        parts.push(match path.kind {
            PathMatchKind::Exact => path.value.clone(),
            PathMatchKind::PathPrefix => format!("{}*", path.value),
        });
    }
    parts.extend(condition.headers.iter().map(|header| format!("{}={}", header.name, header.value)));
    parts.extend(condition.query_params.iter().map(|query| format!("?{}={}", query.name, query.value)));
    if parts.is_empty() { "any".to_owned() } else { parts.join(" ") }
}
