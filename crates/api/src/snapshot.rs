//! What a proxy works from, in one serialisable form: the declared resources that concern it and the endpoints of the
//! services it calls, at one position.
//!
//! The same JSON is the answer of `GET /weir/v1/snapshot`, a proxy's last good state on disk, and what `weir explain`
//! reads. It is data only: what it means for a request is decided where it is compiled, in the proxy.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_model::dns_names::DnsNames;
use weir_model::registry::{ActiveChecks, Health, Weights};
use weir_model::resource::Protocol;
use weir_model::{Kind, Position, Resource, ServiceRef};

use crate::mesh;

/// The version of the form that this binary writes. A reader accepts this one and those below.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// The annotation of a document that nobody declared: the config entry that it was made of, as `service-router/web`.
pub const MADE_OF: &str = "weir.dev/config-entry";

/// Whether a route that was made of a service's config entries counts where the service speaks this, if anybody says what it
/// speaks: one of requests does not where it takes bytes, and one of connections only there.
pub fn made_route_counts(kind: Kind, speaks: Option<Protocol>) -> bool {
    speaks.is_none_or(|protocol| (kind == Kind::TcpRoute) == (protocol == Protocol::Tcp))
}

/// The annotation of a document that stands for another one, and says the same: which.
pub const COPY_OF: &str = "weir.dev/copy-of";

/// Everything a snapshot is compiled from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotInputs {
    /// The version of this form, [`SNAPSHOT_FORMAT`] when written by this binary.
    pub format: u32,
    /// The position these inputs stand at.
    pub position: Position,
    /// The declared resources, in no particular order.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// The services that are subscribed to, with what is registered for each.
    #[serde(default)]
    pub services: Vec<ServiceInputs>,
    /// By which names in DNS services are called, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<DnsNames>,
    /// What was to be said of how they came about, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// The config entries by which a rule leads where it does, by the rule: `HTTPRoute/service-router.web#0`. For people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decided_by: BTreeMap<String, Vec<String>>,
}

impl SnapshotInputs {
    /// Nothing, at a position.
    pub const fn empty(position: Position) -> Self {
        Self {
            format: SNAPSHOT_FORMAT,
            position,
            resources: Vec::new(),
            services: Vec::new(),
            names: None,
            remarks: Vec::new(),
            decided_by: BTreeMap::new(),
        }
    }
}

/// What is registered for one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceInputs {
    /// The service.
    pub service: ServiceRef,
    /// Whether the control plane knows it, as a declared resource or by a registered instance.
    pub known: bool,
    /// What it speaks, where anything says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<StatedProtocol>,
    /// Its registered endpoints; those of a `Service` document are not among them.
    #[serde(default)]
    pub endpoints: Vec<EndpointInputs>,
}

/// What a service speaks, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedProtocol {
    /// What it speaks.
    pub protocol: Protocol,
    /// Who says so, for people: `Service/web`, `config entry service-defaults/web`, an instance.
    pub from: String,
}

/// One registered endpoint: an instance as callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointInputs {
    /// Unique within the service.
    pub id: String,
    /// IPv4 or IPv6 address, or a host name: the sidecar's inbound if there is one, else the application.
    pub address: String,
    /// TCP port; 0 for an instance that was registered without one, which cannot be called.
    pub port: u16,
    /// Share of the requests; 0 means none.
    pub weight: u32,
    /// The registry's judgement.
    pub health: Health,
    /// Whether it is on its way out and gets no new requests.
    #[serde(default)]
    pub draining: bool,
    /// Whether the address is a sidecar's.
    #[serde(default)]
    pub inbound: bool,
    /// Free data of the instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Whether the instance has a gRPC check of its own port.
    #[serde(default, skip_serializing_if = "is_false")]
    pub grpc_check: bool,
    /// How a caller can check it by itself, if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_checks: Option<Arc<ActiveChecks>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// A message of the mesh protocol that says something impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The id is empty.
    #[error("endpoint without an id")]
    NoId,
    /// The address is empty.
    #[error("endpoint `{0}` has no address")]
    NoAddress(String),
    /// The port is not one.
    #[error("endpoint `{id}` has port {port}: expected 0 to 65535")]
    Port {
        /// Which endpoint.
        id: String,
        /// The port as sent.
        port: u32,
    },
}

impl TryFrom<mesh::Endpoint> for EndpointInputs {
    type Error = EndpointError;

    /// A health that this binary does not know counts as critical: it is safer to leave an endpoint out.
    fn try_from(sent: mesh::Endpoint) -> Result<Self, EndpointError> {
        let health = health_from(sent.health());
        if sent.id.is_empty() {
            return Err(EndpointError::NoId);
        }
        if sent.address.is_empty() {
            return Err(EndpointError::NoAddress(sent.id));
        }
        let Ok(port) = u16::try_from(sent.port) else {
            return Err(EndpointError::Port { id: sent.id, port: sent.port });
        };
        Ok(Self {
            id: sent.id,
            address: sent.address,
            port,
            weight: sent.weight,
            health,
            draining: sent.draining,
            inbound: sent.inbound,
            metadata: sent.metadata.into_iter().collect(),
            grpc_check: sent.grpc_check,
            active_checks: sent.active_checks.and_then(|checks| active_checks_from(&checks)).map(Arc::new),
        })
    }
}

const fn health_from(health: mesh::Health) -> Health {
    match health {
        mesh::Health::Passing => Health::Passing,
        mesh::Health::Warning => Health::Warning,
        mesh::Health::Critical | mesh::Health::Unspecified => Health::Critical,
    }
}

const fn health_to(health: Health) -> mesh::Health {
    match health {
        Health::Passing => mesh::Health::Passing,
        Health::Warning => mesh::Health::Warning,
        Health::Critical => mesh::Health::Critical,
    }
}

/// None where one of them is not known here: what the others say would not be the whole truth.
fn active_checks_from(sent: &mesh::ActiveChecks) -> Option<ActiveChecks> {
    let definitions = sent.definitions.iter().take(ActiveChecks::DEFINITIONS_MAX + 1);
    let definitions: Vec<_> =
        definitions.map(|json| serde_json::from_slice(json).ok()).collect::<Option<_>>()?;
    let bounded = (1..=ActiveChecks::DEFINITIONS_MAX).contains(&definitions.len());
    bounded.then(|| ActiveChecks {
        others: health_from(sent.others()),
        weights: Weights { passing: sent.weight_passing, warning: sent.weight_warning },
        definitions,
    })
}

/// None where they are too large to travel.
fn active_checks_to(checks: &ActiveChecks) -> Option<mesh::ActiveChecks> {
    // Definitions are plain structs with string keys: writing them cannot fail.
    let json = |definition| serde_json::to_vec(definition).unwrap_or_default();
    let definitions: Vec<Vec<u8>> = checks.definitions.iter().map(json).collect();
    let small = definitions.iter().map(Vec::len).sum::<usize>() <= ActiveChecks::BYTES_MAX;
    small.then(|| mesh::ActiveChecks {
        others: health_to(checks.others).into(),
        weight_passing: checks.weights.passing,
        weight_warning: checks.weights.warning,
        definitions,
    })
}

impl From<EndpointInputs> for mesh::Endpoint {
    fn from(endpoint: EndpointInputs) -> Self {
        Self {
            id: endpoint.id,
            address: endpoint.address,
            port: u32::from(endpoint.port),
            weight: endpoint.weight,
            health: health_to(endpoint.health).into(),
            draining: endpoint.draining,
            inbound: endpoint.inbound,
            metadata: endpoint.metadata.into_iter().collect(),
            grpc_check: endpoint.grpc_check,
            active_checks: endpoint.active_checks.as_deref().and_then(active_checks_to),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_model::registry::{CheckDefinition, CheckKind};
    use weir_model::units::Span;

    use super::*;

    fn endpoint() -> EndpointInputs {
        EndpointInputs {
            id: "host-a/cart-1".into(),
            address: "10.0.0.7".into(),
            port: 8080,
            weight: 3,
            health: Health::Warning,
            draining: true,
            inbound: true,
            metadata: BTreeMap::from([("version".to_owned(), "2".to_owned())]),
            grpc_check: false,
            active_checks: None,
        }
    }

    fn tcp_check(address: &str) -> CheckDefinition {
        CheckDefinition {
            kind: CheckKind::Tcp { address: address.to_owned() },
            interval: Span(Duration::from_secs(5)),
            timeout: Span(Duration::from_secs(1)),
            successes_before_passing: 2,
            failures_before_critical: 3,
            failures_before_warning: 0,
            deregister_after: None,
        }
    }

    fn checked(definitions: Vec<CheckDefinition>) -> EndpointInputs {
        let weights = Weights { passing: 3, warning: 1 };
        let checks = ActiveChecks { others: Health::Warning, weights, definitions };
        EndpointInputs { active_checks: Some(Arc::new(checks)), ..endpoint() }
    }

    #[test]
    fn endpoints_cross_the_wire_unchanged() {
        let grpc = EndpointInputs { grpc_check: true, ..endpoint() };
        for endpoint in [endpoint(), grpc, checked(vec![tcp_check("10.0.0.7:8080"), tcp_check("10.0.0.7:9")])]
        {
            let sent = mesh::Endpoint::from(endpoint.clone());
            assert_eq!(EndpointInputs::try_from(sent), Ok(endpoint));
        }
    }

    #[test]
    fn checks_that_are_not_known_or_too_many_are_none() {
        let received = |change: &dyn Fn(&mut mesh::ActiveChecks)| {
            let mut sent = mesh::Endpoint::from(checked(vec![tcp_check("10.0.0.7:8080")]));
            change(sent.active_checks.as_mut().unwrap());
            EndpointInputs::try_from(sent).unwrap().active_checks
        };
        assert!(received(&|_| {}).is_some());
        let of_the_future = br#"{"kind":{"smoke_signals":{}},"interval":"1s","timeout":"1s"}"#;
        assert_eq!(received(&|sent| sent.definitions.push(of_the_future.to_vec())), None);
        assert_eq!(received(&|sent| sent.definitions.clear()), None);
        assert_eq!(received(&|sent| sent.definitions = vec![sent.definitions[0].clone(); 9]), None);
        assert_eq!(received(&|sent| sent.others = 99).unwrap().others, Health::Critical);
        let long = tcp_check(&"x".repeat(ActiveChecks::BYTES_MAX));
        assert_eq!(mesh::Endpoint::from(checked(vec![long])).active_checks, None);
    }

    #[test]
    fn impossible_endpoints_are_refused() {
        let check = |change: fn(&mut mesh::Endpoint), message: &str| {
            let mut sent = mesh::Endpoint::from(endpoint());
            change(&mut sent);
            assert_eq!(EndpointInputs::try_from(sent).unwrap_err().to_string(), message);
        };
        check(|e| e.id.clear(), "endpoint without an id");
        check(|e| e.address.clear(), "endpoint `host-a/cart-1` has no address");
        check(|e| e.port = 65536, "endpoint `host-a/cart-1` has port 65536: expected 0 to 65535");
    }

    #[test]
    fn unknown_health_counts_as_critical() {
        let mut sent = mesh::Endpoint::from(endpoint());
        sent.health = 99;
        assert_eq!(EndpointInputs::try_from(sent).unwrap().health, Health::Critical);
    }

    #[test]
    fn json_form_is_stable() {
        let inputs = SnapshotInputs {
            services: vec![ServiceInputs {
                service: ServiceRef::new("default", "cart"),
                known: true,
                protocol: None,
                endpoints: vec![endpoint()],
            }],
            ..SnapshotInputs::empty(Position::new(1, 42))
        };
        let text = serde_json::to_string(&inputs).unwrap();
        assert_eq!(
            text,
            r#"{"format":1,"position":{"epoch":1,"revision":42},"resources":[],"services":[{"service":{"namespace":"default","name":"cart"},"known":true,"endpoints":[{"id":"host-a/cart-1","address":"10.0.0.7","port":8080,"weight":3,"health":"warning","draining":true,"inbound":true,"metadata":{"version":"2"}}]}]}"#
        );
        assert_eq!(serde_json::from_str::<SnapshotInputs>(&text).unwrap(), inputs);
    }
}
