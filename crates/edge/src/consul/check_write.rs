//! `/v1/agent/check`: checks registered with this server, and what clients report on them.

use std::sync::Arc;

use serde_json::{Map, Value};
use weir_control::Error;
use weir_control::catalog::CheckRef;
use weir_model::registry::{Check, CheckKind, Health};

use super::agent_write::{body_namespace, defined_namespace};
use super::answer::{Answer, done};
use super::decode::{self, Fields};
use super::definition::{self, Place};
use super::health::named;
use super::options::{check_place, namespace};
use super::refusal::Refusal;
use super::{ConsulApi, validate};
use crate::http::Request;

/// `agent/check/register`.
pub(super) async fn register(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let map = decode::object(&request.body)?;
    let namespace = body_namespace(&request, Fields::root(&map))?;
    let place = Place { namespace: &namespace, node: api.here().node, scripts: api.scripts };
    register_check(&api, &map, place).await?;
    done()
}

/// Registers a check as it is defined; answers with its name.
async fn register_check(
    api: &ConsulApi,
    map: &Map<String, Value>,
    place: Place<'_>,
) -> Result<CheckRef, Refusal> {
    let check = defined(map, place)?;
    let (name, instance) = (CheckRef::of(&check), check.instance.clone().unwrap_or_default());
    match api.control.register_check(check).await {
        Ok(_) => Ok(name),
        Err(Error::NotFound { .. }) => {
            Err(Refusal::not_found(format!("ServiceID {instance:?} does not exist")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The check that a definition stands for.
pub(super) fn defined(map: &Map<String, Value>, place: Place<'_>) -> Result<Check, Refusal> {
    let fields = Fields::root(map);
    if fields.text("Name")?.is_empty() {
        return Err(Refusal::bad("Missing check name"));
    }
    let mut check = definition::check(fields, place)?;
    if check.id.is_empty() {
        check.id.clone_from(&check.name);
    }
    check.instance = Some(fields.text("ServiceID")?).filter(|id| !id.is_empty());
    validate::own_check(&check)?;
    Ok(check)
}

impl ConsulApi {
    /// Registers a check of this node, or of a service on it, that a configuration file defines. `scripts` says whether it
    /// may be a program. Answers with its name.
    ///
    /// # Errors
    /// What is wrong with the definition, or that it could not be written.
    pub async fn define_check(&self, map: &Map<String, Value>, scripts: bool) -> Result<CheckRef, String> {
        let define = async {
            let namespace = defined_namespace(map)?;
            let place = Place { namespace: &namespace, node: self.here().node, scripts };
            register_check(self, map, place).await
        };
        define.await.map_err(|refusal| refusal.message)
    }
}

/// `agent/check/deregister/:id`.
pub(super) async fn deregister(api: Arc<ConsulApi>, request: Request) -> Answer {
    let check = target(&api, &request)?;
    match api.control.deregister_check(&check).await {
        Ok(_) => done(),
        Err(Error::NotFound { .. }) => Err(Refusal::unknown_check_id(&check.id)),
        Err(error) => Err(error.into()),
    }
}

/// `agent/check/pass/:id?note=`.
pub(super) async fn pass(api: Arc<ConsulApi>, request: Request) -> Answer {
    report_noted(&api, &request, Health::Passing).await
}

/// `agent/check/warn/:id?note=`.
pub(super) async fn warn(api: Arc<ConsulApi>, request: Request) -> Answer {
    report_noted(&api, &request, Health::Warning).await
}

/// `agent/check/fail/:id?note=`.
pub(super) async fn fail(api: Arc<ConsulApi>, request: Request) -> Answer {
    report_noted(&api, &request, Health::Critical).await
}

async fn report_noted(api: &ConsulApi, request: &Request, health: Health) -> Answer {
    let check = target(api, request)?;
    report(api, &check, health, request.query.get("note").unwrap_or("")).await
}

/// `agent/check/update/:id`, with status and output in the body.
pub(super) async fn update(api: Arc<ConsulApi>, request: Request) -> Answer {
    let check = target(&api, &request)?;
    let map = decode::object(&request.body)?;
    let fields = Fields::root(&map);
    let status = fields.text("Status")?;
    let health = definition::health(&status).ok_or_else(|| {
        Refusal::bad(format!("Invalid check status: '{status}': expected passing, warning or critical"))
    })?;
    report(&api, &check, health, &fields.text("Output")?).await
}

/// Only what waits to be told can be told: other checks are looked at.
async fn report(api: &ConsulApi, check: &CheckRef, health: Health, output: &str) -> Answer {
    let Some(entry) = api.catalog().check(check) else { return Err(Refusal::unknown_check_id(&check.id)) };
    if !entry.value.definition.as_ref().is_some_and(|definition| matches!(definition.kind, CheckKind::Ttl)) {
        return Err(Refusal::not_found(format!("CheckID {:?} does not have associated TTL", check.id)));
    }
    match api.control.set_check(check, health, output).await {
        Ok(_) => done(),
        Err(Error::NotFound { .. }) => Err(Refusal::unknown_check_id(&check.id)),
        Err(error) => Err(error.into()),
    }
}

/// On this server's own node, or on another one that the request names.
fn target(api: &ConsulApi, request: &Request) -> Result<CheckRef, Refusal> {
    check_place(&request.query, api.here().datacenter)?;
    let id = named(request, "Missing check ID")?;
    let node = request.query.get_filled("node").unwrap_or(api.here().node);
    Ok(CheckRef::new(namespace(&request.query, None)?, node, id))
}
