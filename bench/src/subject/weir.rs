//! Weir: a gateway from files, least fuss.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;

use super::Place;
use crate::setup::{
    Back, FAILURES, Front, OTHER_PREFIXES, POLICIES_PREFIX, RATE, REQUEST_FIELD, RESPONSE_FIELD,
};

pub(crate) fn command(place: &Place<'_>) -> Result<Command> {
    let file = place.file("weir.yaml", &documents(place))?;
    let mut command = Command::new(place.weir);
    command.args(["proxy", "--workers", &place.setup.workers.to_string(), "-f"]).arg(file);
    Ok(command)
}

/// The same without request ids, as none of the others makes them unless told to.
pub(crate) fn alike(place: &Place<'_>) -> Result<Command> {
    let mut command = command(place)?;
    command.args(["--request-id", "off"]);
    Ok(command)
}

fn documents(place: &Place<'_>) -> String {
    let setup = place.setup;
    let (port, [a, b]) = (place.port, place.upstreams);
    let listener = match setup.front {
        Front::Http1 | Front::Http2 => format!("{{name: bench, port: {port}, protocol: HTTP}}"),
        Front::Tcp => format!("{{name: bench, port: {port}, protocol: TCP}}"),
        Front::Tls => format!(
            "{{name: bench, port: {port}, protocol: HTTPS, tls: {{mode: Terminate, certificateRefs: [{{name: bench, \
             group: weir.dev, kind: Certificate}}], options: {{weir.dev/min-version: \"1.3\"}}}}}}"
        ),
    };
    let (route, protocol) = match setup.back {
        Back::Http1 => ("HTTPRoute", "http"),
        Back::Grpc => ("GRPCRoute", "grpc"),
        Back::Tcp => ("TCPRoute", "tcp"),
    };
    let mut text = format!(
        "kind: Gateway
metadata: {{name: bench}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners: [{listener}]
---
kind: {route}
metadata: {{name: bench}}
spec:
  parentRefs: [{{name: bench}}]
  rules:
{rules}
---
kind: Service
metadata: {{name: bench}}
spec:
  protocol: {protocol}
  endpoints: [{{address: 127.0.0.1, port: {a}}}, {{address: 127.0.0.1, port: {b}}}]
---
kind: TrafficPolicy
metadata: {{name: bench}}
spec:
  targetRefs: [{{name: bench}}]
  balance: {{policy: round_robin}}
{retry}",
        rules = if setup.policies { rules() } else { "  - backendRefs: [{name: bench}]".to_owned() },
        retry = if setup.policies { policy() } else { String::new() },
    );
    if setup.front == Front::Tls {
        let dir = place.stage.display();
        let _ = write!(
            text,
            "---
kind: Certificate
metadata: {{name: bench}}
spec: {{certFile: {dir}/cert.pem, keyFile: {dir}/key.pem}}
"
        );
    }
    text
}

/// The rest of the service's policy, and its limit.
fn policy() -> String {
    format!(
        "  retry: {{attempts: 2}}
  breakers: [{{strategy: consecutive, failures: {FAILURES}}}]
---
kind: RateLimit
metadata: {{name: bench}}
spec: {{targetRefs: [{{name: bench}}], rates: [{{requests: {RATE}}}]}}
"
    )
}

fn rules() -> String {
    let mut text = String::new();
    for prefix in OTHER_PREFIXES {
        let _ = writeln!(
            text,
            "  - matches: [{{path: {{value: {prefix}}}}}]\n    backendRefs: [{{name: bench}}]\n    timeouts: {{request: 5s}}"
        );
    }
    let ((name, value), (shown, by)) = (REQUEST_FIELD, RESPONSE_FIELD);
    let _ = write!(
        text,
        "  - matches: [{{path: {{value: {POLICIES_PREFIX}}}}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {{set: [{{name: {name}, value: {value}}}], remove: [x-debug]}}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{set: [{{name: {shown}, value: {by}}}], remove: [server]}}
    timeouts: {{request: 2s, backendRequest: 1s}}
    backendRefs: [{{name: bench}}]
  - backendRefs: [{{name: bench}}]"
    );
    text
}
