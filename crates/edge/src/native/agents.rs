//! Nodes that have an agent: what the agent registers, and its signs of life.
//!
//! ```text
//! agent: is anything different?   GET  /nodes/NAME
//!        make it so               PUT  /nodes/NAME        one transaction for each instance with its checks
//!        I am here                POST /nodes/NAME/alive
//!        I leave                  DELETE /nodes/NAME
//! ```
//!
//! What an agent registers is carried out by it and nobody else. That the agent is there is a check of the node, which
//! turns critical when nothing was heard for [`AGENT_TTL`]; self-preservation holds for it as for every heartbeat.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use serde::de::DeserializeOwned;
use weir_api::client::encode_segment;
use weir_api::native::{
    AGENT_DATACENTER, AgentAlive, AgentHeard, DNS_OFF, Deleted, Heartbeats, List, NodeChanged, NodeChanges,
    NodeState, NodeView, OnNode as Named, PREFIX, Problem,
};
use weir_control::bounds::REGISTRATION_CHECKS_MAX;
use weir_control::catalog::{CheckRef, InstanceRef, Topic};
use weir_control::registry::{KnownHealth, OnNode, Registration, id_conflict};
use weir_control::{Control, Error};
use weir_model::DEFAULT_NAMESPACE;
use weir_model::registry::{Check, CheckDefinition, CheckKind, Health, Instance, Node, Runner};
use weir_model::units::Span;

use super::refusal::Refusal;
use super::{NativeApi, OWN, known_parameters, ok};
use crate::consul::views::{NODE_ALIVE, NODE_ALIVE_NAME, NODE_ALIVE_OUTPUT};
use crate::http::{Request, Response};

/// How long an agent may be silent before its node is critical.
const AGENT_TTL: Span = Span(Duration::from_secs(7));
/// How long it may be silent before its node is deregistered: as long as Consul's servers wait.
const AGENT_GONE_AFTER: Span = Span(Duration::from_secs(72 * 3600));
/// Commits of one agent's changes that are under way at one time.
const COMMITS_MAX: usize = 16;
/// What comes behind the node's name in the path of a sign of life.
const ALIVE: &str = "/alive";

impl NativeApi {
    /// `GET /nodes/NAME`: all that is registered on it.
    pub(super) async fn node(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &[])?;
        let position = self.control.position();
        let view = self.control.catalog().node_view(request.rest());
        let Some(node) = view.entries else {
            return Err(Refusal::not_found(format!("node {:?}", request.rest())));
        };
        Ok(ok(&NodeState {
            position,
            revision: view.index,
            instances: node.instances.iter().map(|instance| instance.value().clone()).collect(),
            checks: node.checks().map(|check| check.value.clone()).collect(),
            node: node.node.node.value.clone(),
        }))
    }

    /// `PUT /nodes/NAME`: changes what differs. What is refused is answered by name and holds nothing else up.
    pub(super) async fn change_node(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &[])?;
        let changes: NodeChanges = read(&request)?;
        let node = Node { name: request.rest().to_owned(), is_server: false, ..changes.node };
        self.is_of_here(&node.name, &changes.datacenter)?;
        self.may_be_the_agent(&node.name, &node.id).await?;
        register_node(&self.control, &node).await?;
        let NodeChanges { instances, checks, gone_instances, gone_checks, .. } = changes;
        let gone = forget(&self.control, &node.name, gone_instances, gone_checks).await?;
        let put = register(&self.control, &node.name, instances, checks).await?;
        Ok(ok(&NodeChanged { refused: [gone, put].concat() }))
    }

    /// `POST /nodes/NAME/alive`.
    pub(super) async fn alive(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &[])?;
        let Some(name) = request.rest().strip_suffix(ALIVE) else {
            return Err(Refusal::not_found(&request.path));
        };
        let AgentAlive { id, datacenter } = read(&request)?;
        self.is_of_here(name, &datacenter)?;
        self.may_be_the_agent(name, &id).await?;
        let node = self.control.catalog().node(name);
        // A new agent of a node registers first.
        let is_its = node.is_some_and(|node| node.node.value.id.eq_ignore_ascii_case(&id));
        let known = match presence(&self.control, name).filter(|_| is_its) {
            Some(check) => match self.control.set_check(&check, Health::Passing, NODE_ALIVE_OUTPUT).await {
                Ok(_) => true,
                Err(Error::NotFound { .. }) => false,
                Err(error) => return Err(error.into()),
            },
            None => false,
        };
        let revision = self.control.catalog().index(&Topic::node(name));
        Ok(ok(&AgentHeard { known, revision, dns: Some(self.dns_place()) }))
    }

    /// `DELETE /nodes/NAME?id=`: deregisters it with all that is on it. An agent names its id, so that one whose name is
    /// another's does not deregister what is not its own.
    pub(super) async fn delete_node(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["id"])?;
        let name = request.rest();
        if let Some(id) = request.query.get_filled("id") {
            self.may_be_the_agent(name, id).await?;
            let known = self.control.catalog().node(name).map(|node| node.node.value.id.clone());
            if known.is_some_and(|known| !known.is_empty() && !known.eq_ignore_ascii_case(id)) {
                return Err(Refusal::not_found(format!("node {name:?} with the id {id}")));
            }
        }
        let done = self.control.deregister_node(name).await?;
        Ok(ok(&Deleted { position: done.position, change_set: None, deleted: vec![format!("Node/{name}")] }))
    }

    /// Where this server serves DNS, as agents are told. An address that is no other host's, or is that of this server's node,
    /// goes without saying.
    fn dns_place(&self) -> String {
        let Some(address) = self.dns.as_ref().map(|dns| dns.address) else { return DNS_OFF.to_owned() };
        let ip = address.ip().to_canonical();
        let is_plain = ip.is_unspecified() || ip.is_loopback();
        if is_plain || ip.to_string() == self.control.settings().node_address {
            address.port().to_string()
        } else {
            address.to_string()
        }
    }

    /// Refuses an agent of another datacenter: its services would be found where they are not.
    fn is_of_here(&self, name: &str, datacenter: &str) -> Result<(), Refusal> {
        let own = &self.control.settings().datacenter;
        if datacenter.is_empty() || datacenter.eq_ignore_ascii_case(own) {
            return Ok(());
        }
        let message = format!(
            "the agent of {name:?} is part of the wrong datacenter {datacenter:?}: this server is of {own:?}"
        );
        let problem = Problem::new(message).at(AGENT_DATACENTER).expected(format!("{own:?}"));
        Err(Refusal::new(StatusCode::CONFLICT, problem))
    }

    /// Refuses an agent that uses this server's own name, or the name or the id of an agent which is there. One whose silence is
    /// only not believed (self-preservation) keeps neither: whoever speaks under it is more likely to be the same host.
    async fn may_be_the_agent(&self, name: &str, id: &str) -> Result<(), Refusal> {
        let may_be = self.is_no_second(name, id).await;
        if let Err(refusal) = &may_be {
            self.turned_away.say(name, refusal);
        }
        may_be
    }

    async fn is_no_second(&self, name: &str, id: &str) -> Result<(), Refusal> {
        let refuse = |message: String| {
            let problem = Problem::new(message).at("node.name").expected("a name that no other node has");
            Err(Refusal::new(StatusCode::CONFLICT, problem))
        };
        if name.eq_ignore_ascii_case(&self.control.settings().node_name) {
            return refuse(format!(
                "{name:?} is the node of a server, to which its own registrations belong"
            ));
        }
        self.is_no_copy(name, id).await?;
        let Some(node) = self.control.catalog().node(name) else { return Ok(()) };
        let known = &node.node.value.id;
        if known.is_empty() || known.eq_ignore_ascii_case(id) {
            return Ok(());
        }
        let address = &node.node.value.address;
        if self.is_heard(&node.node.value.name).await {
            refuse(format!(
                "node name {name:?} is reserved by node {known} ({address}), whose agent is there"
            ))
        } else {
            Ok(())
        }
    }
}

impl NativeApi {
    /// Refuses an agent whose id is that of another node which is there: its data directory is a copy.
    async fn is_no_copy(&self, name: &str, id: &str) -> Result<(), Refusal> {
        for other in self.control.catalog().nodes_with_id(id) {
            let other = &other.node.value;
            if other.name.eq_ignore_ascii_case(name) || !(other.is_server || self.is_heard(&other.name).await)
            {
                continue;
            }
            let given = Node { name: name.to_owned(), id: id.to_owned(), ..Node::default() };
            let message = format!("{}, which is there", id_conflict(&given, &other.name));
            let expected = "a data directory that is no copy of another host's: without the file node-id it gets an id of its own";
            let problem = Problem::new(message).at("node.id").expected(expected);
            return Err(Refusal::new(StatusCode::CONFLICT, problem));
        }
        Ok(())
    }

    /// Whether the agent of a node is there, as far as is known. Where replicas share checks out, one of them knows whether it
    /// is silent while that is not believed; one that does not answer is taken to hear it.
    async fn is_heard(&self, name: &str) -> bool {
        let Some(check) = presence(&self.control, name) else { return false };
        let health = self.control.catalog().check(&check).map(|check| check.value.health);
        if health.is_none_or(|health| health == Health::Critical) {
            return false;
        }
        let Some(judge) = self.control.owned_by_other(&check) else {
            return !self.control.silent_nodes().contains_key(name);
        };
        let path = format!("{PREFIX}/nodes?{OWN}&name={}", encode_segment(name));
        let said = self.peers.ask_one::<List<NodeView>>(&judge.http, &path).await;
        let is_silent = |node: &NodeView| matches!(node.heartbeats, Heartbeats::Silent | Heartbeats::Doubted);
        !said.is_some_and(|nodes| nodes.items.iter().any(is_silent))
    }
}

/// Reads what an agent says. Fields that only a later version knows are ignored.
fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    serde_json::from_slice(&request.body).map_err(|error| {
        Refusal::bad(
            "body",
            format!("it cannot be read: {error}"),
            "JSON, as an agent of this version sends it",
        )
    })
}

/// The check that stands for a node's agent, if the node has one.
fn presence(control: &Control, node: &str) -> Option<CheckRef> {
    let node = control.catalog().node(node)?;
    let check = node.checks.iter().find(|check| check.value.runner == Runner::Presence)?;
    Some(CheckRef::of(&check.value))
}

/// The node itself, and that its agent is there.
async fn register_node(control: &Control, node: &Node) -> Result<(), Error> {
    let presence = Check {
        namespace: DEFAULT_NAMESPACE.to_owned(),
        id: NODE_ALIVE.to_owned(),
        name: NODE_ALIVE_NAME.to_owned(),
        health: Health::Passing,
        output: NODE_ALIVE_OUTPUT.to_owned(),
        definition: Some(CheckDefinition {
            kind: CheckKind::Ttl,
            interval: AGENT_TTL,
            timeout: AGENT_TTL,
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: Some(AGENT_GONE_AFTER),
        }),
        runner: Runner::Presence,
        ..Check::default()
    };
    let name = CheckRef::new(DEFAULT_NAMESPACE, &*node.name, NODE_ALIVE);
    control.register(&overwriting(OnNode::LetIn(node.clone()), None, vec![presence])).await?;
    // That it passes is no news where it passed before. Where this is not heard, the next sign of life is.
    let _ = control.set_check(&name, Health::Passing, NODE_ALIVE_OUTPUT).await;
    control.maintain_node(&node.name, node.maintenance.as_deref()).await?;
    Ok(())
}

fn overwriting(node: OnNode, instance: Option<Instance>, checks: Vec<Check>) -> Registration {
    Registration { node, instance, checks, known_health: KnownHealth::Overwrite, replace_checks: false }
}

/// Deregisters; what is not there is fine.
async fn forget(
    control: &Control,
    node: &str,
    instances: Vec<Named>,
    checks: Vec<Named>,
) -> Result<Vec<Problem>, Error> {
    let instances =
        futures_util::stream::iter(instances.into_iter().map(|Named { namespace, id }| async move {
            let name = InstanceRef::new(namespace, node, id);
            (format!("instance {}", name.id), control.deregister_instance(&name).await.map(drop))
        }));
    let checks = futures_util::stream::iter(checks.into_iter().map(|Named { namespace, id }| async move {
        let name = CheckRef::new(namespace, node, id);
        (format!("check {}", name.id), control.deregister_check(&name).await.map(drop))
    }));
    let mut outcomes = instances.buffer_unordered(COMMITS_MAX).collect::<Vec<_>>().await;
    outcomes.extend(checks.buffer_unordered(COMMITS_MAX).collect::<Vec<_>>().await);
    outcomes.retain(|(_, outcome)| !matches!(outcome, Err(Error::NotFound { .. })));
    refused(outcomes)
}

/// Registers instances with their checks, then the checks of what is there already.
async fn register(
    control: &Control,
    node: &str,
    instances: Vec<Instance>,
    mut checks: Vec<Check>,
) -> Result<Vec<Problem>, Error> {
    let reserved: Vec<_> = checks.extract_if(.., |check| stands_for_an_agent(check)).collect();
    for check in &mut checks {
        check.runner = Runner::Agent;
    }
    let mut with_checks = Vec::with_capacity(instances.len());
    for instance in instances {
        let is_its = |check: &mut Check| {
            check.namespace == instance.namespace && check.instance.as_ref() == Some(&instance.id)
        };
        let mut own: Vec<_> = checks.extract_if(.., is_its).collect();
        // The instance is registered with as many as one transaction takes; the others follow it.
        checks.extend(own.split_off(own.len().min(REGISTRATION_CHECKS_MAX)));
        with_checks.push((instance, own));
    }
    let known = || OnNode::Known(node.to_owned());
    let instances =
        futures_util::stream::iter(with_checks.into_iter().map(|(instance, checks)| async move {
            let name = InstanceRef::new(&*instance.namespace, node, &*instance.id);
            let maintenance = instance.maintenance.clone();
            let mut outcome = control.register(&overwriting(known(), Some(instance), checks)).await.map(drop);
            if outcome.is_ok() {
                outcome = control.maintain_instance(&name, maintenance.as_deref()).await.map(drop);
            }
            (format!("instance {}", name.id), outcome)
        }));
    let mut outcomes = instances.buffer_unordered(COMMITS_MAX).collect::<Vec<_>>().await;
    let checks = futures_util::stream::iter(checks.into_iter().map(|check| async move {
        let id = check.id.clone();
        (format!("check {id}"), control.register(&overwriting(known(), None, vec![check])).await.map(drop))
    }));
    outcomes.extend(checks.buffer_unordered(COMMITS_MAX).collect::<Vec<_>>().await);
    let mut problems = refused(outcomes)?;
    problems.extend(
        reserved.iter().map(|check| {
            Problem::new("this id stands for the agent itself").at(format!("check {}", check.id))
        }),
    );
    Ok(problems)
}

/// Whether a check has the name of the one by which an agent's signs of life are judged.
fn stands_for_an_agent(check: &Check) -> bool {
    check.id == NODE_ALIVE && (check.namespace.is_empty() || check.namespace == DEFAULT_NAMESPACE)
}

/// What was refused for what it is. A store that cannot be written is an error of all.
fn refused(outcomes: Vec<(String, Result<(), Error>)>) -> Result<Vec<Problem>, Error> {
    let mut problems = Vec::new();
    for (path, outcome) in outcomes {
        match outcome {
            Ok(()) => {}
            Err(error @ (Error::Invalid { .. } | Error::TooLarge { .. } | Error::NotFound { .. })) => {
                problems.push(Problem::new(error.to_string()).at(path));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(problems)
}
