//! What documents can say and the request path cannot do yet: refused with the field's path, so that nothing that
//! people write is silently without effect.

use weir_model::{Resource, Spec};

use super::{Inputs, Rejection};

/// Refuses what cannot be done yet.
pub(super) fn refuse(inputs: &Inputs, rejections: &mut Vec<Rejection>) {
    for (id, resource) in inputs.resources.iter() {
        for path in paths(resource) {
            let reason = "not served yet".to_owned();
            rejections.push(Rejection { resource: id.clone(), path, reason });
        }
    }
}

fn paths(resource: &Resource) -> Vec<String> {
    match &resource.spec {
        Spec::TrafficPolicy(spec) if spec.connection.is_some() => vec!["spec.connection".to_owned()],
        _ => Vec::new(),
    }
}
