//! Traefik, from PyPI.

use std::fmt::Write;
use std::process::Command;

use anyhow::{Result, ensure};

use super::Place;
use crate::setup::{Back, Front, OTHER_PREFIXES, POLICIES_PREFIX, RATE, REQUEST_FIELD, RESPONSE_FIELD};

pub(crate) fn command(place: &Place<'_>) -> Result<Command> {
    let program = place.peers.join("bin/traefik");
    ensure!(program.exists(), "not installed: run with --install");
    let dynamic = place.file("traefik-dynamic.yaml", &dynamic(place))?;
    let fixed = format!(
        "global: {{checkNewVersion: false, sendAnonymousUsage: false}}
log: {{level: ERROR}}
entryPoints:
  bench:
    address: 127.0.0.1:{}
    http2: {{maxConcurrentStreams: 256}}
    transport: {{respondingTimeouts: {{readTimeout: 0s, idleTimeout: 600s}}}}
providers: {{file: {{filename: {}, watch: false}}}}
",
        place.port,
        dynamic.display()
    );
    let fixed = place.file("traefik.yaml", &fixed)?;
    let mut command = Command::new(program);
    command.arg(format!("--configFile={}", fixed.display()));
    command.env("GOMAXPROCS", place.setup.workers.to_string());
    Ok(command)
}

fn dynamic(place: &Place<'_>) -> String {
    let [a, b] = place.upstreams;
    if place.setup.front == Front::Tcp {
        return format!(
            "tcp:
  routers: {{bench: {{rule: 'HostSNI(`*`)', service: bench, entryPoints: [bench]}}}}
  services: {{bench: {{loadBalancer: {{servers: [{{address: '127.0.0.1:{a}'}}, {{address: '127.0.0.1:{b}'}}]}}}}}}
"
        );
    }
    let scheme = if place.setup.back == Back::Grpc { "h2c" } else { "http" };
    let tls = if place.setup.front == Front::Tls { "\n      tls: {}" } else { "" };
    let mut text = format!(
        "http:
  serversTransports: {{bench: {{maxIdleConnsPerHost: 512}}}}
  services:
    bench:
      loadBalancer:
        serversTransport: bench
        servers: [{{url: '{scheme}://127.0.0.1:{a}'}}, {{url: '{scheme}://127.0.0.1:{b}'}}]
  routers:
    bench:
      rule: 'PathPrefix(`/`)'
      service: bench
      entryPoints: [bench]{tls}
"
    );
    if place.setup.policies {
        for (index, prefix) in OTHER_PREFIXES.iter().enumerate() {
            let _ = writeln!(
                text,
                "    r{index}: {{rule: 'PathPrefix(`{prefix}`)', service: bench, entryPoints: [bench]}}"
            );
        }
        let ((name, value), (shown, by)) = (REQUEST_FIELD, RESPONSE_FIELD);
        let _ = write!(
            text,
            "    cart: {{rule: 'PathPrefix(`{POLICIES_PREFIX}`)', service: bench, entryPoints: [bench], middlewares: [limit, breaker, fields, again]}}
  middlewares:
    fields:
      headers:
        customRequestHeaders: {{{name}: {value}, x-debug: ''}}
        customResponseHeaders: {{{shown}: {by}, server: ''}}
    again: {{retry: {{attempts: 3}}}}
    limit: {{rateLimit: {{average: {RATE}, burst: {RATE}}}}}
    breaker: {{circuitBreaker: {{expression: 'NetworkErrorRatio() > 0.5'}}}}
"
        );
    }
    if place.setup.front == Front::Tls {
        let dir = place.stage.display();
        let _ = write!(
            text,
            "tls:
  certificates: [{{certFile: {dir}/cert.pem, keyFile: {dir}/key.pem}}]
  options: {{default: {{minVersion: VersionTLS13, alpnProtocols: [http/1.1]}}}}
"
        );
    }
    text
}
