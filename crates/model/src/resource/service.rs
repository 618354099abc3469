//! `Service`: a service's protocol, and endpoints for what does not register itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod check;

pub use check::{ServiceCheck, ServiceCheckKind};

/// The spec of a `Service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// What its instances speak, if that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Free data about the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How the endpoints written down here are checked, each by whoever calls it; not at all when absent. Those that
    /// register bring their own checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<ServiceCheck>,
    /// Endpoints besides those that register; taken as passing until a check says otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<StaticEndpoint>,
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 without TLS negotiation.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes.
    Tcp,
}

impl Protocol {
    /// What a service's instances say that they speak, where no document does: what the first of them names in its
    /// metadata as `protocol`; else gRPC, if one of them has a gRPC check of its own port. Takes for each instance its
    /// metadata and whether there is such a check.
    pub fn of_instances<'a>(
        instances: impl Iterator<Item = (&'a BTreeMap<String, String>, bool)>,
    ) -> Option<Self> {
        let mut checked = None;
        for (metadata, has_grpc_check) in instances {
            match metadata.get("protocol").map(String::as_str) {
                Some("http") => return Some(Self::Http),
                Some("http2") => return Some(Self::Http2),
                Some("grpc") => return Some(Self::Grpc),
                Some("tcp") => return Some(Self::Tcp),
                _ if has_grpc_check => checked = Some(Self::Grpc),
                _ => {}
            }
        }
        checked
    }
}

/// An endpoint written down instead of registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticEndpoint {
    /// IPv4 or IPv6 address, or a host name to resolve.
    pub address: String,
    /// TCP port, 1 to 65535.
    pub port: u16,
    /// Share of the requests relative to its siblings; 0 drains it.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// How this one is checked, instead of as the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<ServiceCheck>,
    /// The region that it is in, if that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The zone of the region that it is in, if that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

const fn default_weight() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_say_what_they_speak() {
        let check = |instances: &[(&str, bool)], expected: Option<Protocol>| {
            let instances: Vec<_> = instances
                .iter()
                .map(|&(protocol, checked)| {
                    let stated = (!protocol.is_empty()).then(|| ("protocol".to_owned(), protocol.to_owned()));
                    (stated.into_iter().collect::<BTreeMap<_, _>>(), checked)
                })
                .collect();
            let found =
                Protocol::of_instances(instances.iter().map(|(metadata, checked)| (metadata, *checked)));
            assert_eq!(found, expected, "{instances:?}");
        };
        check(&[], None);
        check(&[("", false), ("", false)], None);
        check(&[("", false), ("tcp", false)], Some(Protocol::Tcp));
        check(&[("http2", false), ("tcp", false)], Some(Protocol::Http2));
        check(&[("http", true)], Some(Protocol::Http));
        // A check says less than words do, wherever they stand.
        check(&[("", true), ("http2", false)], Some(Protocol::Http2));
        check(&[("", false), ("", true)], Some(Protocol::Grpc));
        check(&[("grpc", false)], Some(Protocol::Grpc));
        // Not a protocol that is known here.
        check(&[("mysql", false), ("TCP", false)], None);
        check(&[("mysql", true)], Some(Protocol::Grpc));
    }
}
