//! The keys of Consul's configuration, and what each means here. Flags are keys by another name.
//!
//! A key is used, taken with a remark, or unknown and refused. Keys of an object are looked up with its name before them:
//! `ports.http`.

use super::flags::{Flag, Takes};

/// What a key means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is used.
    Used,
    /// It is an object whose keys have meanings of their own.
    Section,
    /// It has no meaning here, and nobody misses anything: there is no gossip, no consensus of its own.
    Meaningless,
    /// What it asks for is not done here, and somebody may rely on it.
    NotInForce,
}

use Meaning::{Meaningless, NotInForce, Section, Used};

/// The keys.
const KEYS: &[(&str, Meaning)] = &[
    ("addresses", Section),
    ("addresses.dns", Used),
    ("addresses.http", Used),
    ("addresses.https", Used),
    ("advertise_addr", Used),
    ("alt_domain", Used),
    ("bind_addr", Used),
    ("ca_file", Used),
    ("cert_file", Used),
    ("check", Used),
    ("checks", Used),
    ("client_addr", Used),
    ("data_dir", Used),
    ("datacenter", Used),
    ("dns_config", Section),
    ("dns_config.node_ttl", Used),
    ("dns_config.only_passing", Used),
    ("dns_config.service_ttl", Used),
    ("domain", Used),
    ("enable_local_script_checks", Used),
    ("enable_script_checks", Used),
    ("key_file", Used),
    ("leave_on_terminate", Used),
    ("log_json", Used),
    ("log_level", Used),
    ("node_meta", Used),
    ("node_name", Used),
    ("pid_file", Used),
    ("ports", Section),
    ("ports.dns", Used),
    ("ports.grpc", Used),
    ("ports.http", Used),
    ("ports.https", Used),
    ("recursors", Used),
    ("retry_join", Used),
    ("server", Used),
    ("service", Used),
    ("services", Used),
    ("start_join", Used),
    ("tls", Section),
    ("tls.defaults", Section),
    ("tls.defaults.ca_file", Used),
    ("tls.defaults.cert_file", Used),
    ("tls.defaults.key_file", Used),
    ("tls.defaults.verify_incoming", Used),
    ("tls.https", Section),
    ("tls.https.ca_file", Used),
    ("tls.https.cert_file", Used),
    ("tls.https.key_file", Used),
    ("tls.https.verify_incoming", Used),
    ("verify_incoming", Used),
    ("verify_incoming_https", Used),
    // Who may do what, and who may listen in.
    ("acl", NotInForce),
    ("acl_agent_master_token", NotInForce),
    ("acl_agent_token", NotInForce),
    ("acl_datacenter", NotInForce),
    ("acl_default_policy", NotInForce),
    ("acl_down_policy", NotInForce),
    ("acl_enable_key_list_policy", NotInForce),
    ("acl_enforce_version_8", NotInForce),
    ("acl_master_token", NotInForce),
    ("acl_replication_token", NotInForce),
    ("acl_token", NotInForce),
    ("acl_ttl", NotInForce),
    ("audit", NotInForce),
    ("auto_encrypt", NotInForce),
    ("ca_path", NotInForce),
    ("encrypt", NotInForce),
    ("encrypt_verify_incoming", NotInForce),
    ("encrypt_verify_outgoing", NotInForce),
    ("http_config", NotInForce),
    ("ports.grpc_tls", NotInForce),
    ("tls.defaults.ca_path", NotInForce),
    ("tls.defaults.tls_cipher_suites", NotInForce),
    ("tls.defaults.tls_min_version", NotInForce),
    ("tls.defaults.verify_outgoing", NotInForce),
    ("tls.defaults.verify_server_hostname", NotInForce),
    ("tls.https.ca_path", NotInForce),
    ("tls.https.tls_cipher_suites", NotInForce),
    ("tls.https.tls_min_version", NotInForce),
    ("tls.https.verify_outgoing", NotInForce),
    ("tls.https.verify_server_hostname", NotInForce),
    ("tls.grpc", NotInForce),
    ("tls.internal_rpc", NotInForce),
    ("tls_cipher_suites", NotInForce),
    ("tls_min_version", NotInForce),
    ("tls_prefer_server_cipher_suites", NotInForce),
    ("verify_incoming_rpc", NotInForce),
    ("verify_outgoing", NotInForce),
    ("verify_server_hostname", NotInForce),
    // What is not there, or not so.
    ("auto_config", NotInForce),
    ("config_entries", NotInForce),
    ("connect", NotInForce),
    ("default_intention_policy", NotInForce),
    ("default_query_time", NotInForce),
    ("limits", NotInForce),
    ("log_file", NotInForce),
    ("max_query_time", NotInForce),
    ("tagged_addresses", NotInForce),
    ("telemetry", NotInForce),
    ("ui", NotInForce),
    ("ui_config", NotInForce),
    ("ui_content_path", NotInForce),
    ("ui_dir", NotInForce),
    ("unix_sockets", NotInForce),
    ("watches", NotInForce),
    // How Consul's agents and servers find and trust each other.
    ("addresses.grpc", Meaningless),
    ("addresses.grpc_tls", Meaningless),
    ("advertise_addr_ipv4", Meaningless),
    ("advertise_addr_ipv6", Meaningless),
    ("advertise_addr_wan", Meaningless),
    ("advertise_addr_wan_ipv4", Meaningless),
    ("advertise_addr_wan_ipv6", Meaningless),
    ("advertise_reconnect_timeout", Meaningless),
    ("allow_write_http_from", Meaningless),
    ("auto_reload_config", Meaningless),
    ("autopilot", Meaningless),
    ("bootstrap", Meaningless),
    ("bootstrap_expect", Meaningless),
    ("cache", Meaningless),
    ("cloud", Meaningless),
    ("check_output_max_size", Meaningless),
    ("check_update_interval", Meaningless),
    ("disable_anonymous_signature", Meaningless),
    ("disable_coordinates", Meaningless),
    ("disable_host_node_id", Meaningless),
    ("disable_http_unprintable_char_filter", Meaningless),
    ("disable_keyring_file", Meaningless),
    ("disable_remote_exec", Meaningless),
    ("disable_update_check", Meaningless),
    ("discard_check_output", Meaningless),
    ("discovery_max_stale", Meaningless),
    ("dns_config.a_record_limit", Meaningless),
    ("dns_config.allow_stale", Meaningless),
    ("dns_config.cache_max_age", Meaningless),
    ("dns_config.disable_compression", Meaningless),
    ("dns_config.enable_additional_node_meta_txt", Meaningless),
    ("dns_config.enable_truncate", Meaningless),
    ("dns_config.max_stale", Meaningless),
    ("dns_config.prefer_namespace", Meaningless),
    ("dns_config.recursor_strategy", Meaningless),
    ("dns_config.recursor_timeout", Meaningless),
    ("dns_config.soa", Meaningless),
    ("dns_config.udp_answer_limit", Meaningless),
    ("dns_config.use_cache", Meaningless),
    ("enable_acl_replication", Meaningless),
    ("enable_agent_tls_for_checks", Meaningless),
    ("enable_central_service_config", Meaningless),
    ("enable_debug", Meaningless),
    ("enable_syslog", Meaningless),
    ("experiments", Meaningless),
    ("gossip_lan", Meaningless),
    ("gossip_wan", Meaningless),
    ("license_path", Meaningless),
    ("locality", Meaningless),
    ("log_rotate_bytes", Meaningless),
    ("log_rotate_duration", Meaningless),
    ("log_rotate_max_files", Meaningless),
    ("node_id", Meaningless),
    ("non_voting_server", Meaningless),
    ("partition", Meaningless),
    ("peering", Meaningless),
    ("performance", Meaningless),
    ("ports.expose_max_port", Meaningless),
    ("ports.expose_min_port", Meaningless),
    ("ports.proxy_max_port", Meaningless),
    ("ports.proxy_min_port", Meaningless),
    ("ports.rpc", Meaningless),
    ("ports.serf_lan", Meaningless),
    ("ports.serf_wan", Meaningless),
    ("ports.server", Meaningless),
    ("ports.sidecar_max_port", Meaningless),
    ("ports.sidecar_min_port", Meaningless),
    ("primary_datacenter", Meaningless),
    ("primary_gateways", Meaningless),
    ("primary_gateways_interval", Meaningless),
    ("protocol", Meaningless),
    ("raft_boltdb", Meaningless),
    ("raft_logstore", Meaningless),
    ("raft_protocol", Meaningless),
    ("raft_snapshot_interval", Meaningless),
    ("raft_snapshot_threshold", Meaningless),
    ("raft_trailing_logs", Meaningless),
    ("read_replica", Meaningless),
    ("reconnect_timeout", Meaningless),
    ("reconnect_timeout_wan", Meaningless),
    ("rejoin_after_leave", Meaningless),
    ("reporting", Meaningless),
    ("retry_interval", Meaningless),
    ("retry_interval_wan", Meaningless),
    ("retry_join_wan", Meaningless),
    ("retry_max", Meaningless),
    ("retry_max_wan", Meaningless),
    ("rpc", Meaningless),
    ("segment", Meaningless),
    ("segments", Meaningless),
    ("serf_lan", Meaningless),
    ("serf_lan_allowed_cidrs", Meaningless),
    ("serf_wan", Meaningless),
    ("serf_wan_allowed_cidrs", Meaningless),
    ("server_name", Meaningless),
    ("session_ttl_min", Meaningless),
    ("skip_leave_on_interrupt", Meaningless),
    ("snapshot_agent", Meaningless),
    ("start_join_wan", Meaningless),
    ("syslog_facility", Meaningless),
    ("translate_wan_addrs", Meaningless),
    ("use_streaming_backend", Meaningless),
    ("xds", Meaningless),
];

/// What a key means; none if Consul does not know it either.
pub(super) fn meaning(key: &str) -> Option<Meaning> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, meaning)| *meaning)
}

/// The key that was probably meant, of those on the same level.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let level = key.rsplit_once('.').map(|(section, _)| section);
    let same =
        KEYS.iter().map(|(known, _)| *known).filter(|known| known.rsplit_once('.').map(|(s, _)| s) == level);
    weir_model::document::nearest(key, same)
}

/// The flags that are keys, with these keys. What a key that is no text takes is read from the flag's text.
const BY_FLAG: &[(&str, Takes, &str)] = &[
    ("advertise", Takes::Value, "advertise_addr"),
    ("advertise-wan", Takes::Value, "advertise_addr_wan"),
    ("allow-write-http-from", Takes::Value, "allow_write_http_from"),
    ("alt-domain", Takes::Value, "alt_domain"),
    ("auto-reload-config", Takes::Switch, "auto_reload_config"),
    ("bind", Takes::Value, "bind_addr"),
    ("bootstrap", Takes::Switch, "bootstrap"),
    ("bootstrap-expect", Takes::Value, "bootstrap_expect"),
    ("check_output_max_size", Takes::Value, "check_output_max_size"),
    ("client", Takes::Value, "client_addr"),
    ("data-dir", Takes::Value, "data_dir"),
    ("datacenter", Takes::Value, "datacenter"),
    ("default-query-time", Takes::Value, "default_query_time"),
    ("disable-host-node-id", Takes::Switch, "disable_host_node_id"),
    ("disable-keyring-file", Takes::Switch, "disable_keyring_file"),
    ("dns-port", Takes::Value, "ports.dns"),
    ("domain", Takes::Value, "domain"),
    ("enable-local-script-checks", Takes::Switch, "enable_local_script_checks"),
    ("enable-script-checks", Takes::Switch, "enable_script_checks"),
    ("encrypt", Takes::Value, "encrypt"),
    ("grpc-port", Takes::Value, "ports.grpc"),
    ("grpc-tls-port", Takes::Value, "ports.grpc_tls"),
    ("http-port", Takes::Value, "ports.http"),
    ("https-port", Takes::Value, "ports.https"),
    ("join", Takes::Value, "start_join"),
    ("log-file", Takes::Value, "log_file"),
    ("log-json", Takes::Switch, "log_json"),
    ("log-level", Takes::Value, "log_level"),
    ("log-rotate-bytes", Takes::Value, "log_rotate_bytes"),
    ("log-rotate-duration", Takes::Value, "log_rotate_duration"),
    ("log-rotate-max-files", Takes::Value, "log_rotate_max_files"),
    ("max-query-time", Takes::Value, "max_query_time"),
    ("node", Takes::Value, "node_name"),
    ("node-id", Takes::Value, "node_id"),
    ("node-meta", Takes::Value, "node_meta"),
    ("non-voting-server", Takes::Switch, "non_voting_server"),
    ("pid-file", Takes::Value, "pid_file"),
    ("primary-gateway", Takes::Value, "primary_gateways"),
    ("protocol", Takes::Value, "protocol"),
    ("raft-protocol", Takes::Value, "raft_protocol"),
    ("read-replica", Takes::Switch, "read_replica"),
    ("recursor", Takes::Value, "recursors"),
    ("rejoin", Takes::Switch, "rejoin_after_leave"),
    ("retry-interval", Takes::Value, "retry_interval"),
    ("retry-interval-wan", Takes::Value, "retry_interval_wan"),
    ("retry-join", Takes::Value, "retry_join"),
    ("retry-join-wan", Takes::Value, "retry_join_wan"),
    ("retry-max", Takes::Value, "retry_max"),
    ("retry-max-wan", Takes::Value, "retry_max_wan"),
    ("segment", Takes::Value, "segment"),
    ("serf-lan-allowed-cidrs", Takes::Value, "serf_lan_allowed_cidrs"),
    ("serf-lan-bind", Takes::Value, "serf_lan"),
    ("serf-lan-port", Takes::Value, "ports.serf_lan"),
    ("serf-wan-allowed-cidrs", Takes::Value, "serf_wan_allowed_cidrs"),
    ("serf-wan-bind", Takes::Value, "serf_wan"),
    ("serf-wan-port", Takes::Value, "ports.serf_wan"),
    ("server", Takes::Switch, "server"),
    ("server-port", Takes::Value, "ports.server"),
    ("syslog", Takes::Switch, "enable_syslog"),
    ("syslog-facility", Takes::Value, "syslog_facility"),
    ("ui", Takes::Switch, "ui"),
    ("ui-content-path", Takes::Value, "ui_content_path"),
    ("ui-dir", Takes::Value, "ui_dir"),
];

/// The flags that only the command line has.
pub(super) const OF_THE_COMMAND_LINE: &[Flag] = &[
    ("config-dir", Takes::Value),
    ("config-file", Takes::Value),
    ("config-format", Takes::Value),
    ("dev", Takes::Switch),
    ("hcl", Takes::Value),
];

/// The flags that are keys.
pub(super) fn flags() -> Vec<Flag> {
    BY_FLAG.iter().map(|(flag, takes, _)| (*flag, *takes)).collect()
}

/// The key that a flag stands for.
pub(super) fn of_flag(flag: &str) -> Option<&'static str> {
    BY_FLAG.iter().find(|(known, ..)| *known == flag).map(|(.., key)| *key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_there_once_and_every_flag_has_a_key() {
        let mut names: Vec<_> = KEYS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
        for (flag, _, key) in BY_FLAG {
            assert!(meaning(key).is_some(), "-{flag}: {key}");
        }
        for (name, _) in KEYS {
            let Some((section, _)) = name.rsplit_once('.') else { continue };
            assert_eq!(meaning(section), Some(Section), "{name}");
        }
    }

    #[test]
    fn what_was_meant_is_looked_for_on_the_same_level() {
        assert_eq!(nearest("ports.htp"), Some("ports.http"));
        assert_eq!(nearest("datacentre"), Some("datacenter"));
        assert_eq!(nearest("qqqqqqqqqqqq"), None);
    }
}
