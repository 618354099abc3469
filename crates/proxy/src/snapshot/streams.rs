//! From the rule of a `TLSRoute` or `TCPRoute` to what a stream table is built from.

use weir_model::resource::stream_route::StreamRouteRule;
use weir_model::{ResourceId, ServiceRef};

use super::Rejection;
use super::compile::Interner;
use super::rules::not_a_service;
use crate::route::{Backends, StreamRule};

/// The rule of a route of connections. It has one: nothing could tell several apart.
pub(super) fn compile(
    id: &ResourceId,
    rules: &[StreamRouteRule],
    names: &mut Interner,
    rejections: &mut Vec<Rejection>,
) -> Option<StreamRule> {
    let mut reject =
        |path: String, reason: String| rejections.push(Rejection { resource: id.clone(), path, reason });
    if rules.len() > 1 {
        reject("spec.rules[1]".to_owned(), "nothing tells a second rule from the first".to_owned());
    }
    let rule = rules.first()?;
    let mut weighted = Vec::new();
    for (at, backend) in rule.backend_refs.iter().enumerate() {
        let path = format!("spec.rules[0].backendRefs[{at}]");
        match not_a_service(backend) {
            Some((field, reason)) => reject(format!("{path}.{field}"), reason),
            None => {
                let namespace = backend.namespace.as_deref().unwrap_or(&id.namespace);
                weighted.push((backend.weight, names.index(&ServiceRef::new(namespace, &*backend.name))));
            }
        }
        if !backend.filters.is_empty() {
            reject(format!("{path}.filters"), "bytes are passed on as they are".to_owned());
        }
    }
    Some(StreamRule {
        route: id.clone(),
        name: rule.name.as_deref().map(Into::into),
        label: id.to_string().into(),
        backends: Backends::new(weighted),
    })
}
