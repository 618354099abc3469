//! Envoy, from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Place;
use crate::setup::{
    Back, FAILURES, Front, OTHER_PREFIXES, POLICIES_PREFIX, RATE, REQUEST_FIELD, RESPONSE_FIELD, Setup,
};

const TYPE: &str = "type.googleapis.com/envoy.extensions";

pub(crate) fn command(place: &Place<'_>) -> Result<Command> {
    let program = binary(place.peers).context("not installed: run with --install")?;
    let file = place.file("envoy.json", &configuration(place).to_string())?;
    let mut command = Command::new(program);
    command.args([
        "--concurrency",
        &place.setup.workers.to_string(),
        "-l",
        "error",
        "--disable-hot-restart",
        "-c",
    ]);
    command.arg(file);
    Ok(command)
}

/// The program itself: what the package puts into `bin/` is Python and stays in memory as the parent.
pub(crate) fn binary(peers: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(peers.join("lib")).ok()?;
    versions.flatten().map(|dir| dir.path().join("site-packages/envoy/_bin/envoy")).find(|path| path.exists())
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn configuration(place: &Place<'_>) -> Value {
    let endpoints: Vec<Value> =
        place.upstreams.iter().map(|port| json!({"endpoint": {"address": address(*port)}})).collect();
    let many = 100_000;
    let mut cluster = json!({
        "name": "up",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{
            "max_connections": many, "max_pending_requests": many, "max_requests": many, "max_retries": many,
        }]},
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": endpoints}]},
    });
    if place.setup.back == Back::Grpc {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{TYPE}.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        });
    }
    if place.setup.policies {
        cluster["outlier_detection"] = json!({"consecutive_5xx": FAILURES, "max_ejection_percent": 50});
    }
    let mut chain = json!({"filters": [filter(place.setup)]});
    if place.setup.front == Front::Tls {
        chain["transport_socket"] = tls(place.stage);
    }
    json!({"static_resources": {
        "listeners": [{"name": "bench", "address": address(place.port), "filter_chains": [chain]}],
        "clusters": [cluster],
    }})
}

fn filter(setup: &Setup) -> Value {
    if setup.front == Front::Tcp {
        let config = json!({
            "@type": format!("{TYPE}.filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "bench", "cluster": "up",
        });
        return json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": config});
    }
    let upgrades = if setup.websocket { json!([{"upgrade_type": "websocket"}]) } else { json!([]) };
    let config = json!({
        "@type": format!("{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "generate_request_id": false,
        "codec_type": if setup.front == Front::Http2 { "HTTP2" } else { "HTTP1" },
        "upgrade_configs": upgrades,
        "route_config": {"name": "bench", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes(setup)}]},
        "http_filters": filters(setup),
    });
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": config})
}

fn filters(setup: &Setup) -> Vec<Value> {
    let mut filters = Vec::new();
    if setup.policies {
        let all = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
        filters.push(json!({
            "name": "envoy.filters.http.local_ratelimit",
            "typed_config": {
                "@type": format!("{TYPE}.filters.http.local_ratelimit.v3.LocalRateLimit"),
                "stat_prefix": "limits",
                "token_bucket": {"max_tokens": RATE, "tokens_per_fill": RATE, "fill_interval": "1s"},
                "filter_enabled": all, "filter_enforced": all,
            },
        }));
    }
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": format!("{TYPE}.filters.http.router.v3.Router"), "dynamic_stats": false},
    }));
    filters
}

fn routes(setup: &Setup) -> Vec<Value> {
    let mut routes = Vec::new();
    if setup.policies {
        for prefix in OTHER_PREFIXES {
            routes.push(json!({
                "match": {"path_separated_prefix": prefix}, "route": {"cluster": "up", "timeout": "5s"},
            }));
        }
        let set = |(name, value): (&str, &str)| json!([{"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]);
        routes.push(json!({
            "match": {"path_separated_prefix": POLICIES_PREFIX},
            "request_headers_to_add": set(REQUEST_FIELD),
            "request_headers_to_remove": ["x-debug"],
            "response_headers_to_add": set(RESPONSE_FIELD),
            "response_headers_to_remove": ["server"],
            "route": {"cluster": "up", "timeout": "2s", "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset", "num_retries": 2, "per_try_timeout": "1s",
            }},
        }));
    }
    routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": "up"}}));
    routes
}

fn tls(dir: &Path) -> Value {
    let file = |name: &str| json!({"filename": dir.join(name)});
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": format!("{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext"),
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": file("cert.pem"), "private_key": file("key.pem")}],
            "alpn_protocols": ["http/1.1"],
        },
    }})
}
