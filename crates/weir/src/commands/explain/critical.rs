//! Why endpoints are critical. Proxies know only that they are; the server knows which check says so.

use weir_api::client::{Client, encode_segment};
use weir_api::native::{InstanceView, List, PREFIX};
use weir_model::DEFAULT_NAMESPACE;
use weir_proxy::explain::{EndpointView, Explanation, Forwarded, Outcome};

use super::service_ref;
use crate::commands::get::why;

/// What an endpoint is left out for.
const CRITICAL: &str = "critical";

/// Adds to endpoints that are left out because they are critical what makes them so. An explanation is worth having without
/// that, so a server that does not answer now is no error.
pub(super) async fn say_why(client: &Client, explanation: &mut Explanation) {
    for entrance in &mut explanation.entrances {
        let Outcome::Forward(forwarded) = &mut entrance.outcome else { continue };
        of_service(client, forwarded).await;
        for fallback in &mut forwarded.fallbacks {
            of_service(client, fallback).await;
        }
    }
}

async fn of_service(client: &Client, forwarded: &mut Forwarded) {
    let is_critical = |endpoint: &EndpointView| endpoint.excluded.as_deref() == Some(CRITICAL);
    if !forwarded.endpoints.iter().any(is_critical) {
        return;
    }
    let service = service_ref(&forwarded.service, DEFAULT_NAMESPACE);
    let (namespace, name) = (encode_segment(&service.namespace), encode_segment(&service.name));
    let path = format!("{PREFIX}/instances?service={name}&namespace={namespace}");
    let Ok(instances) = client.get::<List<InstanceView>>(&path).await else { return };
    for endpoint in forwarded.endpoints.iter_mut().filter(|endpoint| is_critical(endpoint)) {
        endpoint.excluded = Some(described(&endpoint.id, &instances.items));
    }
}

/// Why the instance of this id, `NODE/ID`, is critical, as far as is known.
fn described(id: &str, instances: &[InstanceView]) -> String {
    let it = instances.iter().find(|view| {
        let (node, rest) = (&view.instance.node, id.strip_prefix(&*view.instance.node));
        !node.is_empty() && rest.and_then(|rest| rest.strip_prefix('/')) == Some(&*view.instance.id)
    });
    match it.map(why).filter(|why| !why.is_empty()) {
        Some(why) => format!("{CRITICAL}: {why}"),
        None => CRITICAL.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use weir_model::registry::{Check, Health, Instance};

    use super::*;

    #[test]
    fn the_check_that_fails_is_named() {
        let check = Check {
            node: "host-1".to_owned(),
            name: "disk".to_owned(),
            output: "full".to_owned(),
            health: Health::Critical,
            ..Check::default()
        };
        let instance = Instance { node: "host-1".to_owned(), id: "web/1".to_owned(), ..Instance::default() };
        let (health, checks) = (Health::Critical, vec![check]);
        let view = InstanceView { health, instance, checks, agent_silent_ms: None };
        let instances = [view];
        assert_eq!(described("host-1/web/1", &instances), "critical: node host-1: disk: full");
        assert_eq!(described("host-1/web", &instances), "critical");
        assert_eq!(described("host-1/web/1", &[]), "critical");
    }
}
