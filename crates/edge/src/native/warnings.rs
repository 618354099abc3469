//! What a change will not achieve as things stand. It never refuses: what is missing may come later.

use weir_api::native::Warning;
use weir_control::Control;
use weir_model::validate::{FieldError, hints};
use weir_model::{Kind, Resource, ResourceId, ServiceRef};

use crate::mesh::{Mesh, ProxyStatus};

/// The gateway that is served where nobody named one, as by `weir dev`.
const DEFAULT_GATEWAY: &str = "default";
/// Most warnings in one answer: more do not help anybody.
const WARNINGS_MAX: usize = 100;

/// Warnings about resources that are put, or would be, beside those in force.
pub(super) fn about(control: &Control, mesh: &Mesh, puts: &[Resource]) -> Vec<Warning> {
    let set = control.catalog().resources().entries;
    // A rehearsed change is not in force: what it would put stands beside what is, and hides its older version.
    let all = set.iter().map(|(_, entry)| &entry.resource).chain(puts);
    let effective = control.catalog().read(|moment| mesh.effective(moment));
    let registered = |service: &ServiceRef| {
        effective.knows(service)
            || !control.catalog().service_view(&service.namespace, &service.name).entries.is_empty()
    };
    let found =
        hints(puts, all, registered).into_iter().map(|(id, FieldError { path, message, expected })| {
            let message = match expected {
                Some(expected) => format!("{message}; expected {expected}"),
                None => message,
            };
            Warning { resource: id.to_string(), path, message }
        });
    let proxies = mesh.proxies();
    let unserved = puts.iter().map(Resource::id).filter(|id| id.kind == Kind::Gateway);
    let unserved = unserved.filter(|id| !is_served(&proxies, &id.namespace, &id.name));
    let unserved = unserved.map(|id| Warning {
        resource: id.to_string(),
        path: String::new(),
        message: no_proxy(&id, is_served(&proxies, &id.namespace, DEFAULT_GATEWAY)),
    });
    unserved.chain(found).take(WARNINGS_MAX).collect()
}

fn no_proxy(id: &ResourceId, is_default_served: bool) -> String {
    let mut flags = format!("--gateway {}", id.name);
    if id.namespace != weir_model::DEFAULT_NAMESPACE {
        flags.push_str(&format!(" --namespace {}", id.namespace));
    }
    let mut text = format!("no connected proxy serves {id}: start one with `weir proxy {flags}`");
    if is_default_served {
        text.push_str(&format!(", or name it `{DEFAULT_GATEWAY}`, the gateway that is served here"));
    } else if id.name != DEFAULT_GATEWAY {
        text.push_str(&format!(" (`weir dev` and `weir demo` serve `{DEFAULT_GATEWAY}`)"));
    }
    text
}

fn is_served(proxies: &[ProxyStatus], namespace: &str, name: &str) -> bool {
    proxies.iter().any(|proxy| {
        proxy.gateways.iter().any(|served| match served.split_once('/') {
            Some((of, served)) => of == namespace && served == name,
            None => proxy.namespace == namespace && served == name,
        })
    })
}
