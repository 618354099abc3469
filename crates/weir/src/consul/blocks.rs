//! What stands within those objects of Consul's configuration that nothing is done with here. A key that Consul would
//! refuse is refused here too: whoever mistypes `acl.enabled` is told so, and not that it has no meaning.

use serde_json::Value;

/// What TLS takes, for each listener.
const TLS: &[&str] = &[
    "ca_file",
    "ca_path",
    "cert_file",
    "key_file",
    "tls_cipher_suites",
    "tls_min_version",
    "use_auto_cert",
    "verify_incoming",
    "verify_outgoing",
    "verify_server_hostname",
];
/// What gossip takes, near and far.
const GOSSIP: &[&str] = &[
    "gossip_interval",
    "gossip_nodes",
    "probe_interval",
    "probe_timeout",
    "retransmit_mult",
    "suspicion_mult",
];

/// The objects, or lists of such, by their paths, with their keys. An object that is not here is free: Consul does not look
/// into it either, or hands it on.
const BLOCKS: &[(&str, &[&str])] = &[
    (
        "acl",
        &[
            "default_policy",
            "disabled_ttl",
            "down_policy",
            "enable_key_list_policy",
            "enable_token_persistence",
            "enable_token_replication",
            "enabled",
            "msp_disable_bootstrap",
            "policy_ttl",
            "role_ttl",
            "token_ttl",
            "tokens",
        ],
    ),
    (
        "acl.tokens",
        &[
            "agent",
            "agent_master",
            "agent_recovery",
            "config_file_service_registration",
            "default",
            "dns",
            "initial_management",
            "managed_service_provider",
            "master",
            "replication",
        ],
    ),
    ("acl.tokens.managed_service_provider", &["accessor_id", "secret_id"]),
    ("audit", &["enabled", "rpc_enabled", "sink"]),
    (
        "auto_config",
        &[
            "authorization",
            "dns_sans",
            "enabled",
            "intro_token",
            "intro_token_file",
            "ip_sans",
            "server_addresses",
        ],
    ),
    ("auto_config.authorization", &["enabled", "static"]),
    (
        "auto_config.authorization.static",
        &[
            "allow_reuse",
            "bound_audiences",
            "bound_issuer",
            "claim_assertions",
            "claim_mappings",
            "clock_skew_leeway",
            "expiration_leeway",
            "jwks_ca_cert",
            "jwks_url",
            "jwt_supported_algs",
            "jwt_validation_pub_keys",
            "list_claim_mappings",
            "not_before_leeway",
            "oidc_discovery_ca_cert",
            "oidc_discovery_url",
        ],
    ),
    ("auto_encrypt", &["allow_tls", "dns_san", "ip_san", "tls"]),
    (
        "autopilot",
        &[
            "cleanup_dead_servers",
            "disable_upgrade_migration",
            "last_contact_threshold",
            "max_trailing_logs",
            "min_quorum",
            "redundancy_zone_tag",
            "server_stabilization_time",
            "upgrade_version_tag",
        ],
    ),
    ("cache", &["entry_fetch_max_burst", "entry_fetch_rate", "entry_fetch_rate_limit"]),
    (
        "cloud",
        &["auth_url", "client_id", "client_secret", "hostname", "node_id", "resource_id", "scada_address"],
    ),
    ("config_entries", &["bootstrap"]),
    ("connect", &["ca_config", "ca_provider", "enable_mesh_gateway_wan_federation", "enabled"]),
    ("dns_config.soa", &["expire", "min_ttl", "refresh", "retry"]),
    ("gossip_lan", GOSSIP),
    ("gossip_wan", GOSSIP),
    (
        "http_config",
        &["allow_write_http_from", "block_endpoints", "max_header_bytes", "response_headers", "use_cache"],
    ),
    (
        "limits",
        &[
            "http_max_conns_per_client",
            "https_handshake_timeout",
            "kv_max_value_size",
            "request_limits",
            "rpc_client_timeout",
            "rpc_handshake_timeout",
            "rpc_max_burst",
            "rpc_max_conns_per_client",
            "rpc_rate",
            "txn_max_req_len",
        ],
    ),
    ("limits.request_limits", &["mode", "read_rate", "write_rate"]),
    ("locality", &["region", "zone"]),
    ("peering", &["enabled"]),
    (
        "performance",
        &[
            "grpc_keepalive_interval",
            "grpc_keepalive_timeout",
            "leave_drain_time",
            "raft_multiplier",
            "rpc_hold_timeout",
        ],
    ),
    ("raft_boltdb", &["NoFreelistSync", "no_freelist_sync"]),
    ("raft_logstore", &["backend", "boltdb", "disable_log_cache", "verification", "wal"]),
    ("raft_logstore.boltdb", &["no_freelist_sync"]),
    ("raft_logstore.verification", &["enabled", "interval"]),
    ("raft_logstore.wal", &["segment_size_mb"]),
    ("reporting", &["license"]),
    ("reporting.license", &["enabled"]),
    ("rpc", &["enable_streaming"]),
    ("segments", &["advertise", "bind", "name", "port", "rpc_listener"]),
    (
        "telemetry",
        &[
            "circonus_api_app",
            "circonus_api_token",
            "circonus_api_url",
            "circonus_broker_id",
            "circonus_broker_select_tag",
            "circonus_check_display_name",
            "circonus_check_force_metric_activation",
            "circonus_check_id",
            "circonus_check_instance_id",
            "circonus_check_search_tag",
            "circonus_check_tags",
            "circonus_submission_interval",
            "circonus_submission_url",
            "disable_compat_1.9",
            "disable_hostname",
            "disable_per_tenancy_usage_metrics",
            "dogstatsd_addr",
            "dogstatsd_tags",
            "enable_host_metrics",
            "filter_default",
            "metrics_prefix",
            "prefix_filter",
            "prometheus_retention_time",
            "retry_failed_connection",
            "statsd_address",
            "statsite_address",
        ],
    ),
    ("tls.grpc", TLS),
    ("tls.internal_rpc", TLS),
    (
        "ui_config",
        &[
            "content_path",
            "dashboard_url_templates",
            "dir",
            "enabled",
            "metrics_provider",
            "metrics_provider_files",
            "metrics_provider_options_json",
            "metrics_proxy",
        ],
    ),
    ("ui_config.metrics_proxy", &["add_headers", "base_url", "path_allowlist"]),
    ("ui_config.metrics_proxy.add_headers", &["name", "value"]),
    ("unix_sockets", &["group", "mode", "user"]),
    ("xds", &["update_max_per_second"]),
];

/// Why an object is not one of Consul's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Something else stands there.
    NoObject(String),
    /// There is no such key; this one was probably meant.
    Unknown(String, Option<String>),
}

/// Looks into the value of a key. What is no object of Consul's is not looked into.
///
/// # Errors
/// For the first key that Consul does not know, by its path.
pub(super) fn check(path: &str, value: &Value) -> Result<(), Wrong> {
    let Some((_, keys)) = BLOCKS.iter().find(|(known, _)| *known == path) else { return Ok(()) };
    match value {
        Value::Null => Ok(()),
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|(name, _)| !name.starts_with('_')) {
                let below = format!("{path}.{name}");
                if !keys.contains(&&**name) {
                    let near = weir_model::document::nearest(name, keys.iter().copied());
                    return Err(Wrong::Unknown(below, near.map(|near| format!("{path}.{near}"))));
                }
                check(&below, value)?;
            }
            Ok(())
        }
        // As files that were HCL once have it.
        Value::Array(items) => items.iter().try_for_each(|item| check(path, item)),
        _ => Err(Wrong::NoObject(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::consul::keys;

    #[test]
    fn every_object_is_one_that_nothing_is_done_with() {
        for (path, names) in BLOCKS {
            let within = BLOCKS
                .iter()
                .find(|(outer, _)| path.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.')));
            let is_key = keys::meaning(path).is_some_and(|meaning| {
                matches!(meaning, keys::Meaning::Meaningless | keys::Meaning::NotInForce)
            });
            assert!(is_key || within.is_some(), "{path}");
            let mut sorted = names.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted, *names, "{path}");
        }
    }

    #[test]
    fn what_consul_does_not_know_is_found_wherever_it_stands() {
        let wrong = |path: &str, value: Value| check(path, &value).unwrap_err();
        let unknown = |path: &str, near: &str| Wrong::Unknown(path.to_owned(), Some(near.to_owned()));
        assert_eq!(wrong("acl", json!({"enabledd": true})), unknown("acl.enabledd", "acl.enabled"));
        let value = json!({"enabled": false, "tokens": {"agnt": "x"}});
        assert_eq!(wrong("acl", value), unknown("acl.tokens.agnt", "acl.tokens.agent"));
        let value = json!([{"name": "a"}, {"prt": 1}]);
        assert_eq!(wrong("segments", value), unknown("segments.prt", "segments.port"));
        let value = json!({"metrics_proxy": {"add_headers": [{"nam": "x"}]}});
        let path = "ui_config.metrics_proxy.add_headers";
        assert_eq!(wrong("ui_config", value), unknown(&format!("{path}.nam"), &format!("{path}.name")));
        assert_eq!(wrong("tls.grpc", json!(true)), Wrong::NoObject("tls.grpc".to_owned()));
    }

    #[test]
    fn what_consul_takes_is_taken() {
        for (path, value) in [
            ("acl", json!({"enabled": true, "_why": 1, "tokens": {"agent": "x"}})),
            ("acl", json!([{"enabled": true}])),
            ("connect", json!({"enabled": true, "ca_config": {"anything": {"goes": 1}}})),
            ("watches", json!([{"type": "key", "anything": 1}])),
            ("tls.grpc", Value::Null),
            ("encrypt", json!("x")),
        ] {
            assert_eq!(check(path, &value), Ok(()), "{path}");
        }
    }
}
