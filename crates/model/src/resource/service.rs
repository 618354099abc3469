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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Http, Self::Http2, Self::Grpc, Self::Tcp];

    /// The word for it, in documents and elsewhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }

    /// The one that a word stands for; none where it stands for none that is known here.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == word)
    }

    /// What a service's instances say that they speak, where nothing else does: what the first of them names in its
    /// metadata as `protocol`; else gRPC, if one of them has a gRPC check of its own port. Takes for each instance its
    /// metadata and whether there is such a check.
    pub fn of_instances<'a>(
        instances: impl Iterator<Item = (&'a BTreeMap<String, String>, bool)>,
    ) -> Option<Told> {
        let mut checked = None;
        for (instance, (metadata, has_grpc_check)) in instances.enumerate() {
            if let Some(protocol) = metadata.get("protocol").and_then(|word| Self::of_word(word)) {
                return Some(Told { protocol, instance, by_check: false });
            }
            if has_grpc_check {
                checked.get_or_insert(Told { protocol: Self::Grpc, instance, by_check: true });
            }
        }
        checked
    }
}

/// What instances say that they speak, and which of them says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What they speak.
    pub protocol: Protocol,
    /// The place of the one that says it, from 0.
    pub instance: usize,
    /// Whether it says so by its gRPC check, not in its metadata.
    pub by_check: bool,
}

impl Told {
    /// Who says it, for people. Takes the id of the instance.
    pub fn by(self, id: &str) -> String {
        let how = if self.by_check { "its gRPC check" } else { "`protocol` in its metadata" };
        format!("instance {id} ({how})")
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
            assert_eq!(found.map(|told| told.protocol), expected, "{instances:?}");
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

    #[test]
    fn who_says_it_is_named() {
        let said = BTreeMap::from([("protocol".to_owned(), "tcp".to_owned())]);
        let nothing = BTreeMap::new();
        let told = |instances: &[(&BTreeMap<_, _>, bool)]| {
            let told = Protocol::of_instances(instances.iter().copied()).unwrap();
            (told.instance, told.by("n/web"))
        };
        let by_word = "instance n/web (`protocol` in its metadata)".to_owned();
        assert_eq!(told(&[(&nothing, false), (&said, true)]), (1, by_word));
        let by_check = "instance n/web (its gRPC check)".to_owned();
        assert_eq!(told(&[(&nothing, true), (&nothing, true)]), (0, by_check));
    }
}
