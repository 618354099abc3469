//! `agent/force-leave`: a node whose agent is silent is taken out. Consul marks such a member as left, and its servers then take
//! it out of their catalog.

use std::sync::Arc;

use http::StatusCode;
use weir_control::Error;
use weir_model::registry::{Health, Runner};

use super::ConsulApi;
use super::answer::Answer;
use super::health::named;
use super::options::check_place;
use super::refusal::Refusal;
use crate::http::{Request, Response};

/// One that is heard from stays: in Consul it says at once that it is there.
pub(super) async fn force_leave(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let name = named(&request, "Missing node name")?;
    let node = api.catalog().node(&name);
    let presence =
        node.iter().flat_map(|node| &node.checks).find(|check| check.value.runner == Runner::Presence);
    let is_own = name.eq_ignore_ascii_case(api.here().node);
    match presence.map(|check| check.value.health) {
        None if !is_own => {
            let message = format!("agent: No node found with name '{name}'");
            Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message })
        }
        Some(Health::Critical) => match api.control.deregister_node(&name).await {
            // Somebody else did so meanwhile.
            Ok(_) | Err(Error::NotFound { .. }) => Ok(Response::empty(StatusCode::OK)),
            Err(error) => Err(error.into()),
        },
        _ => Ok(Response::empty(StatusCode::OK)),
    }
}
