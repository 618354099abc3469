//! What a port accepts, and how much of it: its listener policy, resolved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_model::resource::{Listener, ListenerPolicySpec};
use weir_model::{ResourceId, Spec};

use super::{Inputs, Rejection};
use crate::listen::ProxySources;

/// Bounds of one port, as its policy states them. What is `None` is as the proxy's own settings have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Most connections at once, over all workers.
    pub connections_max: Option<u32>,
    /// Most requests at once on one HTTP/2 connection.
    pub streams_max: Option<u32>,
    /// Largest head of a request.
    pub head_bytes_max: Option<u32>,
    /// Most header fields of a request.
    pub head_fields_max: Option<u32>,
    /// For a request's head to arrive.
    pub head_timeout: Option<Duration>,
    /// How long a connection may idle between requests.
    pub idle_timeout: Option<Duration>,
    /// How long a body may stand still.
    pub body_timeout: Option<Duration>,
    /// For a PROXY header and the TLS handshake to be over.
    pub handshake_timeout: Option<Duration>,
}

impl ListenerSettings {
    fn of(spec: &ListenerPolicySpec) -> Self {
        let limits = spec.limits.clone().unwrap_or_default();
        let timeouts = spec.timeouts.clone().unwrap_or_default();
        Self {
            connections_max: limits.connections,
            streams_max: limits.streams,
            head_bytes_max: limits.head_bytes.map(|size| u32::try_from(size.0).unwrap_or(u32::MAX)),
            head_fields_max: limits.head_fields,
            head_timeout: timeouts.head.map(|span| span.0),
            idle_timeout: timeouts.idle.map(|span| span.0),
            body_timeout: timeouts.body.map(|span| span.0),
            handshake_timeout: timeouts.handshake.map(|span| span.0),
        }
    }
}

/// What a policy comes to.
pub(super) struct Policy {
    pub(super) settings: Arc<ListenerSettings>,
    pub(super) proxy_protocol: Option<ProxySources>,
}

/// The policies of gateways and single listeners.
pub(super) struct Policies<'a>(BTreeMap<Target<'a>, (&'a ResourceId, &'a ListenerPolicySpec)>);

/// Namespace and name of a gateway, and perhaps one of its listeners.
type Target<'a> = (&'a str, &'a str, Option<&'a str>);

impl<'a> Policies<'a> {
    /// Those of the inputs. Of several for the same target, the first by name counts.
    pub(super) fn of(inputs: &'a Inputs) -> Self {
        let mut found = BTreeMap::new();
        for (id, resource) in inputs.resources.iter() {
            if let Spec::ListenerPolicy(spec) = &resource.spec {
                for target in &spec.target_refs {
                    let target = (&*id.namespace, &*target.name, target.section_name.as_deref());
                    found.entry(target).or_insert((id, spec));
                }
            }
        }
        Self(found)
    }

    /// The policy of a port: that of one of its listeners, else that of the gateway.
    pub(super) fn of_port<'l>(
        &self,
        gateway: &ResourceId,
        listeners: impl IntoIterator<Item = &'l Listener>,
    ) -> Option<(&'a ResourceId, &'a ListenerPolicySpec)> {
        let of = |section| self.0.get(&(&*gateway.namespace, &*gateway.name, section)).copied();
        listeners.into_iter().find_map(|listener| of(Some(&*listener.name))).or_else(|| of(None))
    }
}

/// What a policy, if there is one, comes to.
pub(super) fn resolve(
    policy: Option<(&ResourceId, &ListenerPolicySpec)>,
    rejections: &mut Vec<Rejection>,
) -> Policy {
    let Some((id, spec)) = policy else {
        return Policy { settings: Arc::default(), proxy_protocol: None };
    };
    let sources = spec.proxy_protocol.as_ref().map(|accept| {
        if accept.from.is_empty() {
            return ProxySources::All;
        }
        let mut networks = Vec::new();
        for (index, text) in accept.from.iter().enumerate() {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(error) => rejections.push(Rejection {
                    resource: id.clone(),
                    path: format!("spec.proxyProtocol.from[{index}]"),
                    reason: format!("{error}"),
                }),
            }
        }
        ProxySources::From(networks.into())
    });
    Policy { settings: Arc::new(ListenerSettings::of(spec)), proxy_protocol: sources }
}
