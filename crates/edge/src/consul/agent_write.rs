//! `/v1/agent`, writing: services registered with this server, and maintenance.

use std::sync::Arc;

use serde_json::{Map, Value};
use weir_control::Error;
use weir_control::catalog::{CheckRef, InstanceRef};

use super::answer::{Answer, done};
use super::decode::{self, Fields, Object};
use super::definition::{self, Place};
use super::health::named;
use super::options::{check_body_partition, check_place, go_bool, namespace, switch};
use super::refusal::Refusal;
use super::{ConsulApi, validate};
use crate::http::{Query, Request};

/// What a maintenance says when nobody gave a reason, in Consul's words.
const NO_REASON_SERVICE: &str =
    "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.";
const NO_REASON_NODE: &str =
    "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.";

/// The namespace that a body or query names; another partition than the only one is refused.
pub(super) fn body_namespace<O: Object>(request: &Request, fields: Fields<'_, O>) -> Result<String, Refusal> {
    check_body_partition(fields)?;
    namespace(&request.query, Some(&fields.text("Namespace")?))
}

/// `agent/service/register`.
pub(super) async fn register(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let map = decode::object(&request.body)?;
    let namespace = body_namespace(&request, Fields::root(&map))?;
    let replace = switch(&request.query, "replace-existing-checks")?;
    let place = Place { namespace: &namespace, node: api.here().node, scripts: api.scripts };
    register_service(&api, &map, place, replace).await?;
    done()
}

/// Registers a service as it is defined; answers with its name and those of its checks.
async fn register_service(
    api: &ConsulApi,
    map: &Map<String, Value>,
    place: Place<'_>,
    replace: bool,
) -> Result<(InstanceRef, Vec<CheckRef>), Refusal> {
    let (instance, checks) = definition::service(map, place)?;
    validate::instance(&instance)?;
    checks.iter().try_for_each(validate::own_check)?;
    let names = (InstanceRef::of(&instance), checks.iter().map(CheckRef::of).collect());
    api.control.register_instance(instance, checks, replace).await?;
    Ok(names)
}

impl ConsulApi {
    /// Registers a service of this node that a configuration file defines, with the checks in its definition; others that it
    /// has stay. `scripts` says whether they may be programs. Answers with its name and those of these checks.
    ///
    /// # Errors
    /// What is wrong with the definition, or that it could not be written.
    pub async fn define_service(
        &self,
        map: &Map<String, Value>,
        scripts: bool,
    ) -> Result<(InstanceRef, Vec<CheckRef>), String> {
        let define = async {
            let namespace = defined_namespace(map)?;
            let place = Place { namespace: &namespace, node: self.here().node, scripts };
            register_service(self, map, place, false).await
        };
        define.await.map_err(|refusal| refusal.message)
    }
}

/// The same of a definition.
pub(super) fn defined_namespace(map: &Map<String, Value>) -> Result<String, Refusal> {
    let (none, fields) = (Query::default(), Fields::root(map));
    check_body_partition(fields)?;
    namespace(&none, Some(&fields.text("Namespace")?))
}

/// `agent/service/deregister/:id`.
pub(super) async fn deregister(api: Arc<ConsulApi>, request: Request) -> Answer {
    let instance = target(&api, &request)?;
    match api.control.deregister_instance(&instance).await {
        Ok(_) => done(),
        Err(Error::NotFound { .. }) => Err(Refusal::unknown_service_id(&instance.id)),
        Err(error) => Err(error.into()),
    }
}

/// `agent/service/maintenance/:id?enable=&reason=`.
pub(super) async fn service_maintenance(api: Arc<ConsulApi>, request: Request) -> Answer {
    let instance = target(&api, &request)?;
    let reason = maintenance(&request.query, NO_REASON_SERVICE)?;
    match api.control.maintain_instance(&instance, reason.as_deref()).await {
        Ok(_) => done(),
        Err(Error::NotFound { .. }) => Err(Refusal::unknown_service_id(&instance.id)),
        Err(error) => Err(error.into()),
    }
}

/// `agent/maintenance?enable=&reason=`: of this server's own node.
pub(super) async fn node_maintenance(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let reason = maintenance(&request.query, NO_REASON_NODE)?;
    api.control.maintain_node(api.here().node, reason.as_deref()).await?;
    done()
}

fn target(api: &ConsulApi, request: &Request) -> Result<InstanceRef, Refusal> {
    check_place(&request.query, api.here().datacenter)?;
    let id = named(request, "Missing service ID")?;
    Ok(InstanceRef::new(namespace(&request.query, None)?, api.here().node, id))
}

/// The reason to go into maintenance with, or `None` to end it.
fn maintenance(query: &Query, no_reason: &str) -> Result<Option<String>, Refusal> {
    let Some(enable) = query.get("enable") else {
        return Err(Refusal::bad("Missing value for enable"));
    };
    let Some(enable) = go_bool(enable) else {
        return Err(Refusal::bad(format!("Invalid value for enable: {enable:?}")));
    };
    let mut reason = query.get_filled("reason").unwrap_or(no_reason).to_owned();
    weir_model::validate::cut(&mut reason, weir_model::validate::REASON_BYTES_MAX);
    Ok(enable.then_some(reason))
}
