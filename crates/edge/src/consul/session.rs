//! `/v1/session`: sessions, which keys are locked for.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use weir_control::catalog::{CheckRef, Topic};
use weir_control::session::{Behavior, ServiceCheck, Session, SessionEntry, SessionRef};
use weir_model::registry::Health;
use weir_model::units::Span;
use weir_model::{DEFAULT_NAMESPACE, Revision};

use super::ConsulApi;
use super::agent_write::body_namespace;
use super::answer::{Answer, json, read_list};
use super::decode::{self, DecodeError, Fields};
use super::duration::to_go;
use super::health::named;
use super::options::{check_datacenter, check_place, namespace};
use super::refusal::Refusal;
use super::views::NODE_ALIVE;
use crate::http::Request;

/// The lock delay of a session that names none, in nanoseconds.
const LOCK_DELAY: u64 = 15_000_000_000;
/// Numbers below this are meant as seconds, larger ones as nanoseconds.
const SECONDS_BELOW: u64 = 1000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SessionJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    node: &'a str,
    lock_delay: u64,
    behavior: &'static str,
    #[serde(rename = "TTL")]
    ttl: String,
    node_checks: Option<Vec<&'a str>>,
    service_checks: Option<Vec<ServiceCheckJson<'a>>>,
    create_index: Revision,
    modify_index: Revision,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceCheckJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
}

impl<'a> SessionJson<'a> {
    fn of(entry: &'a SessionEntry) -> Self {
        let session = &entry.value;
        let alive = session.node_alive.then_some(NODE_ALIVE);
        let node_checks: Vec<_> =
            alive.into_iter().chain(session.node_checks.iter().map(|id| &**id)).collect();
        let services = session.service_checks.iter().map(|check| ServiceCheckJson {
            id: &check.id,
            namespace: if check.namespace == DEFAULT_NAMESPACE { "" } else { &check.namespace },
        });
        let services: Vec<_> = services.collect();
        Self {
            id: &session.id,
            name: &session.name,
            node: &session.node,
            lock_delay: u64::try_from(session.lock_delay.0.as_nanos()).unwrap_or(u64::MAX),
            behavior: match session.behavior {
                Behavior::Release => "release",
                Behavior::Delete => "delete",
            },
            ttl: session.ttl.map_or_else(String::new, |ttl| to_go(ttl.0)),
            node_checks: Some(node_checks).filter(|checks| !checks.is_empty()),
            service_checks: Some(services).filter(|checks| !checks.is_empty()),
            // Locking a key is no change of its session.
            create_index: entry.create_revision,
            modify_index: entry.create_revision,
        }
    }
}

/// `session/create`.
pub(super) async fn create(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let map = if request.body.is_empty() { serde_json::Map::new() } else { decode::object(&request.body)? };
    let fields = Fields::root(&map);
    check_datacenter(&fields.text("Datacenter")?, api.here().datacenter)?;
    let session = definition(&api, &request, fields)?;
    check_reliance(&api, &session)?;
    let (name, _) = api.control.create_session(session).await?;
    json(false, &Created { id: &name.id })
}

#[derive(Serialize)]
struct Created<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
}

fn definition(api: &ConsulApi, request: &Request, fields: Fields<'_>) -> Result<Session, Refusal> {
    let namespace = body_namespace(request, fields)?;
    let node = Some(fields.text("Node")?).filter(|node| !node.is_empty());
    let node = node.unwrap_or_else(|| api.here().node.to_owned());
    let behavior = match &*fields.text("Behavior")? {
        "" | "release" => Behavior::Release,
        "delete" => Behavior::Delete,
        other => return Err(Refusal::bad(format!("Invalid Behavior setting '{other}'"))),
    };
    let mut session = Session {
        name: fields.text("Name")?,
        lock_delay: lock_delay(fields)?,
        ttl: ttl(fields)?,
        behavior,
        service_checks: service_checks(fields, &namespace)?,
        namespace,
        node,
        ..Session::default()
    };
    take_node_checks(api, fields, &mut session)?;
    Ok(session)
}

/// The checks of its node; the agent's liveness if none are named. `Checks` is the older name.
fn take_node_checks(api: &ConsulApi, fields: Fields<'_>, session: &mut Session) -> Result<(), Refusal> {
    let given = fields.has("Checks") || fields.has("NodeChecks");
    let mut checks = fields.texts("NodeChecks")?;
    for check in fields.texts("Checks")? {
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    if !given {
        checks.push(NODE_ALIVE.to_owned());
    }
    // Of its own node a server knows without a check that it is alive.
    let stands_for_liveness = |id: &String| {
        *id == NODE_ALIVE
            && api.here().is(&session.node)
            && api.catalog().check(&CheckRef::new(DEFAULT_NAMESPACE, &*session.node, &**id)).is_none()
    };
    session.node_alive = checks.iter().any(stands_for_liveness);
    checks.retain(|id| !stands_for_liveness(id));
    session.node_checks = checks;
    Ok(())
}

fn service_checks(fields: Fields<'_>, namespace: &str) -> Result<Vec<ServiceCheck>, DecodeError> {
    let mut checks = Vec::new();
    for (at, map) in fields.maps("ServiceChecks")? {
        let path = format!("ServiceChecks[{at}]");
        let check = Fields::at(map, &path);
        let own = Some(check.text("Namespace")?).filter(|own| !own.is_empty());
        let id = check.text("ID")?;
        if id.is_empty() {
            return check.wrong("ID", "expected the id of a check");
        }
        checks.push(ServiceCheck { namespace: own.unwrap_or_else(|| namespace.to_owned()), id });
    }
    Ok(checks)
}

/// A duration as text, or a number: of seconds if it is small, else of nanoseconds.
fn lock_delay(fields: Fields<'_>) -> Result<Span, DecodeError> {
    let nanos = match fields.get("LockDelay") {
        None => LOCK_DELAY,
        Some(serde_json::Value::Number(_)) => {
            let number = fields.whole("LockDelay", u64::MAX)?.unwrap_or_default();
            if number < SECONDS_BELOW { number * 1_000_000_000 } else { number }
        }
        Some(_) => return Ok(fields.span(&["LockDelay"])?.unwrap_or_default()),
    };
    Ok(Span(std::time::Duration::from_nanos(nanos)))
}

fn ttl(fields: Fields<'_>) -> Result<Option<Span>, Refusal> {
    use weir_control::bounds::{SESSION_TTL_MAX, SESSION_TTL_MIN};
    let text = fields.text("TTL")?;
    if text.is_empty() {
        return Ok(None);
    }
    let ttl: Span =
        text.parse().map_err(|error| Refusal::bad(format!("Session TTL '{text}' invalid: {error}")))?;
    if ttl.0.is_zero() {
        return Ok(None);
    }
    if !(SESSION_TTL_MIN..=SESSION_TTL_MAX).contains(&ttl.0) {
        return Err(Refusal::bad(format!(
            "Invalid Session TTL '{}', must be between [{}={}]",
            ttl.0.as_nanos(),
            to_go(SESSION_TTL_MIN),
            to_go(SESSION_TTL_MAX)
        )));
    }
    Ok(Some(ttl))
}

/// What Consul says when a session relies on what is not there, or not well.
fn check_reliance(api: &ConsulApi, session: &Session) -> Result<(), Refusal> {
    let failed = |message: String| Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message });
    if api.catalog().node(&session.node).is_none() {
        return failed("Missing node registration".to_owned());
    }
    for name in session.checks() {
        match api.catalog().check(&name) {
            None => return failed(format!("Missing check '{}' registration", name.id)),
            Some(check) if check.value.health == Health::Critical => {
                return failed(format!("Check '{}' is in critical state", name.id));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// `session/destroy/:id`: true, also if there is no such session.
pub(super) async fn destroy(api: Arc<ConsulApi>, request: Request) -> Answer {
    let name = target(&api, &request)?;
    api.control.destroy_session(&name).await?;
    json(false, &true)
}

/// `session/renew/:id`.
pub(super) async fn renew(api: Arc<ConsulApi>, request: Request) -> Answer {
    let name = target(&api, &request)?;
    match api.control.renew_session(&name).await {
        Ok(entry) => json(request.query.has("pretty"), &[SessionJson::of(&entry)]),
        Err(weir_control::Error::NotFound { .. }) => {
            Err(Refusal::not_found(format!("Session id '{}' not found", name.id)))
        }
        Err(error) => Err(error.into()),
    }
}

/// `session/info/:id`: the session, if there is one.
pub(super) async fn info(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let name = SessionRef::new(&*options.namespace, named(&request, "Missing session")?);
    api.wait(&mut request, &options, &Topic::Session(name.clone())).await?;
    let view = api.catalog().session(&name);
    let sessions: Vec<_> = view.entries.iter().map(|entry| SessionJson::of(entry)).collect();
    read_list(&options, view.index, sessions)
}

/// `session/node/:node`.
pub(super) async fn node(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let node = named(&request, "Missing node name")?;
    api.wait(&mut request, &options, &Topic::node_sessions(&*options.namespace, &node)).await?;
    let view = api.catalog().node_sessions_view(&options.namespace, &node);
    let sessions: Vec<_> = view.entries.iter().map(|entry| SessionJson::of(entry)).collect();
    read_list(&options, view.index, sessions)
}

/// `session/list`.
pub(super) async fn list(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let namespace = options.namespace.clone();
    api.wait(&mut request, &options, &Topic::Sessions { namespace }).await?;
    let view = api.catalog().sessions_view(&options.namespace);
    let sessions: Vec<_> = view.entries.iter().map(|entry| SessionJson::of(entry)).collect();
    read_list(&options, view.index, sessions)
}

fn target(api: &ConsulApi, request: &Request) -> Result<SessionRef, Refusal> {
    check_place(&request.query, api.here().datacenter)?;
    let id = named(request, "Missing session")?;
    Ok(SessionRef::new(namespace(&request.query, None)?, id))
}
