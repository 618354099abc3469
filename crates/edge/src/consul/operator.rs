//! `/v1/operator`: what tools ask about the servers among each other. There is no consensus among Weir's servers: each
//! answers for itself, as in `/v1/status`, so the one that answers is the leader, and all that share its store are
//! voters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use weir_model::DEFAULT_NAMESPACE;

use super::answer::{Answer, json as answer_json, stamp};
use super::duration::to_go;
use super::options::check_place;
use super::refusal::Refusal;
use super::{CONSUL_VERSION, ConsulApi, own_service, status};
use crate::http::Request;

/// The version of the protocol that Consul's servers speak among each other; only shown.
const PROTOCOL_VERSION: &str = "3";

/// A server as tools see it.
struct Server {
    id: String,
    name: String,
    address: String,
    answers: bool,
}

/// The servers that share the store; this one alone if it shares it with nobody.
fn servers(api: &ConsulApi) -> Vec<Server> {
    let here = api.here();
    let own = api.control.settings().replica.as_ref();
    let Some(own) = own else {
        let id = api.catalog().node(here.node).map_or_else(String::new, |entry| entry.node.value.id.clone());
        let id = if id.is_empty() { here.node.to_owned() } else { id };
        return vec![Server { id, name: here.node.to_owned(), address: status::address(api), answers: true }];
    };
    let others = api.control.replicas().into_iter();
    let servers = others.map(|replica| Server {
        answers: replica.id == own.id,
        name: replica.id.clone(),
        address: replica.http,
        id: replica.id,
    });
    servers.collect()
}

/// `operator/raft/configuration`.
pub(super) async fn raft(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let revision = api.catalog().position().revision;
    let server = |server: Server| {
        json!({
            "ID": server.id, "Node": server.name, "Address": server.address, "Leader": server.answers,
            "ProtocolVersion": PROTOCOL_VERSION, "Voter": true, "LastIndex": revision,
        })
    };
    let servers: Vec<Value> = servers(&api).into_iter().map(server).collect();
    // Consul gives the index of its Raft configuration here, which its servers leave at 0.
    stamped(&api, &request, &json!({"Servers": servers, "Index": 0}))
}

fn stamped(api: &ConsulApi, request: &Request, answer: &Value) -> Answer {
    let mut response = answer_json(request.query.has("pretty"), answer)?;
    stamp(&mut response.headers, api.catalog().position().revision);
    Ok(response)
}

/// `DELETE operator/raft/peer`, `POST operator/raft/transfer-leader`: nobody is voted for here.
pub(super) async fn no_votes(_: Arc<ConsulApi>, request: Request) -> Answer {
    Err(Refusal::bad(format!(
        "{}: servers come and go by themselves, and none leads the others; stop the server instead",
        request.path
    )))
}

/// `operator/autopilot/configuration`: what Consul's defaults say.
pub(super) async fn autopilot(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let answer = json!({
        "CleanupDeadServers": true, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250, "MinQuorum": 0,
        "ServerStabilizationTime": "10s", "RedundancyZoneTag": "", "DisableUpgradeMigration": false,
        "UpgradeVersionTag": "", "CreateIndex": 1, "ModifyIndex": 1,
    });
    stamped(&api, &request, &answer)
}

/// `PUT operator/autopilot/configuration`.
pub(super) async fn no_autopilot(_: Arc<ConsulApi>, _: Request) -> Answer {
    Err(Refusal::bad(
        "the autopilot's configuration is fixed: servers that are gone are forgotten by themselves",
    ))
}

/// Whether the store answers, which is all that a server needs to be healthy.
pub(super) async fn is_healthy(api: &ConsulApi) -> bool {
    api.control.consistent().await.is_ok()
}

/// How the servers are, as this one knows it.
struct Known {
    healthy: bool,
    revision: u64,
    since: String,
    /// When it last heard of the store, by which it knows of the others.
    last_contact: Duration,
}

impl Known {
    async fn of(api: &ConsulApi) -> Self {
        let healthy = is_healthy(api).await;
        let heard = if healthy { Duration::ZERO } else { api.control.made_sure_before() };
        let last_contact = Duration::from_millis(u64::try_from(heard.as_millis()).unwrap_or(u64::MAX));
        Self { healthy, revision: api.catalog().position().revision, since: since(api), last_contact }
    }

    /// Of the others nobody knows while the store does not answer.
    fn knows(&self, server: &Server) -> bool {
        self.healthy || server.answers
    }

    fn shown(&self, server: &Server) -> Value {
        json!({
            "ID": server.id, "Name": server.name, "Address": server.address,
            "SerfStatus": if self.knows(server) { "alive" } else { "none" },
            "Version": CONSUL_VERSION, "Leader": server.answers, "LastContact": to_go(self.last_contact), "LastTerm": 1,
            "LastIndex": self.revision, "Healthy": self.healthy, "Voter": true, "StableSince": self.since,
        })
    }
}

/// When the process started, by the wall clock: for people only.
fn since(api: &ConsulApi) -> String {
    let ago: Duration = api.started.elapsed();
    let at = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
    super::time::rfc3339(at)
}

/// `operator/autopilot/health`: 429 if this server is not healthy, as Consul does.
pub(super) async fn health(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let (known, servers) = (Known::of(&api).await, servers(&api));
    let tolerance = servers.len().saturating_sub(1);
    let shown: Vec<Value> = servers.iter().map(|server| known.shown(server)).collect();
    let answer = json!({"Healthy": known.healthy, "FailureTolerance": tolerance, "Servers": shown});
    let mut response = stamped(&api, &request, &answer)?;
    if !known.healthy {
        response.status = http::StatusCode::TOO_MANY_REQUESTS;
    }
    Ok(response)
}

/// `operator/autopilot/state`.
pub(super) async fn state(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let (known, servers) = (Known::of(&api).await, servers(&api));
    let tolerance = servers.len().saturating_sub(1);
    let leader = servers.iter().find(|server| server.answers).map(|server| server.id.clone());
    let voters: Vec<&str> = servers.iter().map(|server| &*server.id).collect();
    let shown: BTreeMap<&str, Value> = servers
        .iter()
        .map(|server| {
            let mut shown = known.shown(server);
            shown["Status"] = if server.answers { "leader" } else { "voter" }.into();
            shown["NodeStatus"] = if known.knows(server) { "alive" } else { "unknown" }.into();
            shown["NodeType"] = "voter".into();
            shown["Meta"] = json!({});
            (&*server.id, shown)
        })
        .collect();
    let answer = json!({
        "Healthy": known.healthy, "FailureTolerance": tolerance, "OptimisticFailureTolerance": tolerance,
        "Servers": shown, "Leader": leader, "Voters": voters,
    });
    stamped(&api, &request, &answer)
}

/// `operator/usage`: how much is registered, in all namespaces.
pub(super) async fn usage(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let (services, instances) = registered(&api);
    let answer = json!({"Usage": {api.here().datacenter: {
        "Nodes": api.catalog().nodes_view().entries.len(),
        "Services": services,
        "ServiceInstances": instances,
        "ConnectServiceInstances": {},
        "BillableServiceInstances": instances,
    }}, "Index": api.catalog().position().revision, "KnownLeader": api.control.stale_for().is_none(), "LastContact": 0,
        "ConsistencyLevel": "leader", "NotModified": false, "Backend": 0, "ResultsFilteredByACLs": false});
    stamped(&api, &request, &answer)
}

/// How many services and instances there are, the servers' own among them as in Consul.
pub(super) fn registered(api: &ConsulApi) -> (usize, usize) {
    let (mut services, mut instances) = (0, 0);
    for namespace in api.catalog().namespaces() {
        for service in api.catalog().services_view(&namespace).entries {
            services += 1;
            instances += service.instances;
        }
    }
    let own = own_service::members(api.catalog(), api.here().node, DEFAULT_NAMESPACE).len();
    let named = api.catalog().service_view(DEFAULT_NAMESPACE, own_service::NAME).entries;
    if named.is_empty() { (services + own, instances + own) } else { (services, instances) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_store_is_away_it_says_how_old_what_it_knows_is_and_of_whom() {
        let server = |answers| Server { id: "a".into(), name: "a".into(), address: "b".into(), answers };
        let known = |healthy, ms| Known {
            healthy,
            revision: 7,
            since: String::new(),
            last_contact: Duration::from_millis(ms),
        };
        let shown = |known: &Known, answers| {
            let shown = known.shown(&server(answers));
            (shown["LastContact"].clone(), shown["SerfStatus"].clone(), shown["Healthy"].clone())
        };
        let well = known(true, 0);
        assert_eq!(shown(&well, false), (json!("0s"), json!("alive"), json!(true)));
        let away = known(false, 4250);
        assert_eq!(shown(&away, true), (json!("4.25s"), json!("alive"), json!(false)));
        assert_eq!(shown(&away, false), (json!("4.25s"), json!("none"), json!(false)));
    }
}
