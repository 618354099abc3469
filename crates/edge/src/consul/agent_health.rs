//! `/v1/agent/health/service`: the health of this server's own instances as a status code, for load balancers.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use weir_control::catalog::{InstanceEntry, NodeEntry, ServiceMember};
use weir_model::registry::Health;

use super::ConsulApi;
use super::answer::{Answer, json};
use super::health::{named, own_instance};
use super::options::{check_place, namespace};
use super::views::{AgentServiceJson, CheckJson, instance_checks, node_maintenance};
use crate::http::{Request, Response};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthInfo<'a> {
    aggregated_status: &'static str,
    service: Option<AgentServiceJson<'a>>,
    checks: Option<Vec<CheckJson<'a>>>,
}

/// How well an instance is, its node's checks included, in Consul's words.
#[derive(Clone, Copy)]
struct Aggregate {
    health: Health,
    maintenance: bool,
}

impl Aggregate {
    fn of(node: &NodeEntry, instance: &InstanceEntry) -> Self {
        let maintenance = node.node.value.maintenance.is_some() || instance.value().maintenance.is_some();
        Self { health: node.health().max(instance.health()), maintenance }
    }

    fn word(self) -> &'static str {
        if self.maintenance { "maintenance" } else { self.health.as_str() }
    }

    /// Worst last: maintenance, critical, warning, passing.
    fn rank(self) -> (bool, Health) {
        (self.maintenance, self.health)
    }

    fn status(self) -> StatusCode {
        match self.health {
            Health::Passing => StatusCode::OK,
            Health::Warning => StatusCode::TOO_MANY_REQUESTS,
            Health::Critical => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// `agent/health/service/id/:id`.
pub(super) async fn by_id(api: Arc<ConsulApi>, request: Request) -> Answer {
    let id = named(&request, "Missing serviceID")?;
    check_place(&request.query, api.here().datacenter)?;
    let namespace = namespace(&request.query, None)?;
    let found = own_instance(&api, &namespace, &id);
    let text = wants_text(&request);
    let Some(ServiceMember { node, instance }) = found else {
        if text {
            return Ok(Response::text(StatusCode::NOT_FOUND, format!("ServiceId {id} not found")));
        }
        let nothing =
            HealthInfo { aggregated_status: Health::Critical.as_str(), service: None, checks: None };
        return with_status(StatusCode::NOT_FOUND, &request, &nothing);
    };
    let aggregate = Aggregate::of(&node, &instance);
    if text {
        return Ok(Response::text(aggregate.status(), aggregate.word()));
    }
    with_status(aggregate.status(), &request, &info(&api, &node, &instance))
}

/// `agent/health/service/name/:name`: the worst of its instances decides.
pub(super) async fn by_name(api: Arc<ConsulApi>, request: Request) -> Answer {
    let name = named(&request, "Missing service Name")?;
    check_place(&request.query, api.here().datacenter)?;
    let namespace = namespace(&request.query, None)?;
    let mut infos = Vec::new();
    let mut worst: Option<Aggregate> = None;
    let members = api.catalog().view_in_any_case(&namespace, &name).entries;
    for member in members.iter().filter(|member| is_own(&api, member)) {
        let aggregate = Aggregate::of(&member.node, &member.instance);
        worst = Some(worst.filter(|worst| worst.rank() >= aggregate.rank()).unwrap_or(aggregate));
        infos.push(info(&api, &member.node, &member.instance));
    }
    match (worst, wants_text(&request)) {
        (None, true) => Ok(Response::text(StatusCode::NOT_FOUND, format!("ServiceName {name} Not Found"))),
        (None, false) => with_status(StatusCode::NOT_FOUND, &request, &infos),
        (Some(worst), true) => Ok(Response::text(worst.status(), worst.word())),
        (Some(worst), false) => with_status(worst.status(), &request, &infos),
    }
}

/// Whether an instance is on this server's own node.
fn is_own(api: &ConsulApi, member: &ServiceMember) -> bool {
    member.node.node.value.name.eq_ignore_ascii_case(api.here().node)
}

fn info<'a>(api: &'a ConsulApi, node: &'a NodeEntry, entry: &'a InstanceEntry) -> HealthInfo<'a> {
    let of_node = node_maintenance(node, node.node.modify_revision)
        .into_iter()
        .chain(node.checks.iter().map(|check| CheckJson::of(check, None)));
    HealthInfo {
        aggregated_status: Aggregate::of(node, entry).word(),
        service: Some(AgentServiceJson::of(entry.value(), api.here())),
        checks: Some(of_node.chain(instance_checks(entry)).collect()),
    }
}

fn wants_text(request: &Request) -> bool {
    request.query.get("format") == Some("text")
        || (!request.query.has("format") && request.header("accept") == Some("text/plain"))
}

fn with_status<T: Serialize>(status: StatusCode, request: &Request, value: &T) -> Answer {
    let response = json(request.query.has("pretty"), value)?;
    Ok(Response { status, ..response })
}
