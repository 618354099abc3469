//! How endpoints that are written down are checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::registry::{CheckDefinition, CheckKind};
use crate::units::Span;

/// A check of written endpoints. What is absent keeps its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCheck {
    /// What is done.
    #[serde(rename = "type")]
    pub kind: ServiceCheckKind,
    /// `http`: the path to ask for, with a query if need be; `/` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `http`: what the `Host` field says; the endpoint as it is written when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `grpc`: the service that is asked about; the server as a whole when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The port that is checked; the endpoint's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Time between two looks; 5 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// How long one look may take; 1 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Successes in a row before an endpoint that was left out gets requests again; 2 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_threshold: Option<u32>,
    /// Failures in a row before an endpoint is left out; 3 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_threshold: Option<u32>,
}

/// What a check of written endpoints does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceCheckKind {
    /// Sends a GET; 2xx passes, 429 warns, everything else fails.
    Http,
    /// Opens a connection.
    Tcp,
    /// Calls `grpc.health.v1.Health/Check`; SERVING passes, everything else fails.
    Grpc,
}

impl ServiceCheckKind {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Grpc => "grpc",
        }
    }
}

impl ServiceCheck {
    /// Time between two looks where nothing is said.
    pub const INTERVAL: Duration = Duration::from_secs(5);
    /// How long a look may take where nothing is said.
    pub const TIMEOUT: Duration = Duration::from_secs(1);
    /// Successes in a row where nothing is said.
    pub const HEALTHY_THRESHOLD: u32 = 2;
    /// Failures in a row where nothing is said.
    pub const UNHEALTHY_THRESHOLD: u32 = 3;

    /// How one address of an endpoint is checked; `written` is the endpoint's host as the document has it.
    pub fn definition(&self, written: &str, address: SocketAddr) -> CheckDefinition {
        let at = SocketAddr::new(address.ip(), self.port.unwrap_or(address.port())).to_string();
        self.carried_out(at, written, address.port())
    }

    /// The same by the endpoint's host as the document has it, for whoever finds its address when looking.
    pub fn definition_as_written(&self, written: &str, port: u16) -> CheckDefinition {
        self.carried_out(self.authority(written, port), written, port)
    }

    fn carried_out(&self, at: String, written: &str, port: u16) -> CheckDefinition {
        let kind = match self.kind {
            ServiceCheckKind::Tcp => CheckKind::Tcp { address: at },
            ServiceCheckKind::Grpc => {
                CheckKind::Grpc { address: at, service: self.service.clone().unwrap_or_default() }
            }
            ServiceCheckKind::Http => {
                let host = self.host.clone().unwrap_or_else(|| self.authority(written, port));
                CheckKind::Http {
                    url: format!("http://{at}{}", self.path.as_deref().unwrap_or("/")),
                    method: "GET".to_owned(),
                    headers: BTreeMap::from([("Host".to_owned(), vec![host])]),
                    body: String::new(),
                }
            }
        };
        CheckDefinition {
            kind,
            interval: self.interval.unwrap_or(Span(Self::INTERVAL)),
            timeout: self.timeout.unwrap_or(Span(Self::TIMEOUT)),
            successes_before_passing: self.healthy_threshold.unwrap_or(Self::HEALTHY_THRESHOLD),
            failures_before_critical: self.unhealthy_threshold.unwrap_or(Self::UNHEALTHY_THRESHOLD),
            failures_before_warning: 0,
            deregister_after: None,
        }
    }

    /// An IPv6 address stands in brackets.
    fn authority(&self, written: &str, port: u16) -> String {
        let port = self.port.unwrap_or(port);
        match written.trim_start_matches('[').trim_end_matches(']') {
            v6 if v6.contains(':') => format!("[{v6}]:{port}"),
            host => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: serde_json::Value) -> ServiceCheck {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_check_goes_to_the_address_and_names_the_host_as_it_is_written() {
        let address: SocketAddr = "10.0.0.7:8080".parse().unwrap();
        let http = |definition: CheckDefinition| match definition.kind {
            CheckKind::Http { url, headers, .. } => (url, headers["Host"][0].clone()),
            other => panic!("{other:?}"),
        };
        let plain = check(serde_json::json!({"type": "http"}));
        assert_eq!(
            http(plain.definition("shop.example", address)),
            ("http://10.0.0.7:8080/".to_owned(), "shop.example:8080".to_owned())
        );
        let other = check(
            serde_json::json!({"type": "http", "path": "/up?deep=1", "port": 9000, "host": "x.example"}),
        );
        assert_eq!(
            http(other.definition("shop.example", address)),
            ("http://10.0.0.7:9000/up?deep=1".to_owned(), "x.example".to_owned())
        );
        let v6: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(http(plain.definition("::1", v6)), ("http://[::1]:80/".to_owned(), "[::1]:80".to_owned()));
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let address: SocketAddr = "10.0.0.7:8080".parse().unwrap();
        let definition = check(serde_json::json!({"type": "tcp"})).definition("10.0.0.7", address);
        assert_eq!(definition.kind, CheckKind::Tcp { address: "10.0.0.7:8080".to_owned() });
        assert_eq!(
            (definition.interval.0, definition.timeout.0),
            (ServiceCheck::INTERVAL, ServiceCheck::TIMEOUT)
        );
        assert_eq!((definition.successes_before_passing, definition.failures_before_critical), (2, 3));
        let asked = check(serde_json::json!({"type": "grpc", "service": "shop.Cart", "interval": "2s",
            "timeout": "500ms", "healthyThreshold": 1, "unhealthyThreshold": 4}));
        let definition = asked.definition("10.0.0.7", address);
        let expected =
            CheckKind::Grpc { address: "10.0.0.7:8080".to_owned(), service: "shop.Cart".to_owned() };
        assert_eq!((definition.kind, definition.failures_before_critical), (expected, 4));
    }
}
