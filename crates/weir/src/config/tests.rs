//! The configuration file: its keys, its defaults, and what is said about mistakes.

use super::*;
use crate::cli::Cli;
use crate::cli::roles::LogFormat;
use clap::CommandFactory;

#[test]
fn every_flag_has_a_key_and_every_key_a_flag() {
    let command = Cli::command();
    let server = command.find_subcommand("server").unwrap();
    let mut flags: Vec<&str> = server
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .filter(|flag| !["config", "print-config", "help"].contains(flag))
        .collect();
    let mut keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    flags.sort_unstable();
    keys.sort_unstable();
    assert_eq!(keys, flags);
}

#[test]
fn the_printed_file_reads_back_as_the_defaults() {
    let printed = ServerConfig::merge(ServerArgs::default(), parse("-", &print_default()).unwrap()).unwrap();
    let defaults = ServerConfig::merge(ServerArgs::default(), ServerFile::default()).unwrap();
    // The log's defaults are filled in where logging starts; everything else must be the same already.
    assert_eq!(printed.log.log_level.as_deref(), Some(crate::log::DEFAULT_LEVEL));
    let without_log = |mut config: ServerConfig| {
        config.log = LogArgs::default();
        format!("{config:?}")
    };
    assert_eq!(without_log(printed), without_log(defaults));
}

#[test]
fn the_example_is_the_printed_file() {
    let example = include_str!("../../../../examples/server/weir.yaml");
    assert_eq!(
        example,
        print_default(),
        "write it anew: weir server --print-config > examples/server/weir.yaml"
    );
}

#[test]
fn flags_win_over_the_file() {
    let file =
        parse("-", "http: 127.0.0.1:1\ngrpc: '[::1]:2'\nfile: [a.yaml, b.yaml]\nlog-format: json\n").unwrap();
    let flags = ServerArgs { http: Some("127.0.0.1:9".parse().unwrap()), ..ServerArgs::default() };
    let config = ServerConfig::merge(flags, file).unwrap();
    assert_eq!(config.http.to_string(), "127.0.0.1:9");
    assert_eq!(config.grpc.to_string(), "[::1]:2");
    assert_eq!(config.files.len(), 2);
    assert_eq!(config.log.log_format, Some(LogFormat::Json));
}

#[test]
fn what_is_wrong_is_said_with_line_and_suggestion() {
    let check = |text: &str, parts: &[&str]| {
        let error = parse("weir.yaml", text).unwrap_err()[0].to_string();
        for part in parts {
            assert!(error.contains(part), "{text}: `{part}` is missing in `{error}`");
        }
    };
    check(
        "http: 127.0.0.1:1\ndatadir: /x\n",
        &["weir.yaml:2: datadir", "unknown", "did you mean `data-dir`?"],
    );
    check("insecure: maybe\n", &["weir.yaml:1: insecure", "boolean", "`maybe`"]);
    check("open-files: -1\n", &["weir.yaml:1: open-files", "`-1`"]);
    check("http: 8500\n", &["weir.yaml:1: http", "`8500`"]);
    check("http: ':8500'\n", &["weir.yaml:1: http", "expected IP:PORT", "127.0.0.1:8500"]);
    check("dns: 8600\n", &["weir.yaml:1: dns", "`8600`"]);
    check("dns-domain: a..b\n", &["weir.yaml:1: dns-domain", "`a..b` is no domain", "expected a DNS name"]);
    check("dns-recursor: [dns.example]\n", &["weir.yaml:1: dns-recursor[0]", "expected IP or IP:PORT"]);
    check("dns-service-ttl: [web=x]\n", &["weir.yaml:1: dns-service-ttl[0]", "is not a duration"]);
    check("dns-node-ttl: 1500ms\n", &["weir.yaml:1: dns-node-ttl", "whole seconds"]);
    check("log-format: xml\n", &["weir.yaml:1: log-format", "xml", "json"]);
    check("a: 1\n---\nb: 2\n", &["weir.yaml:"]);
    check("- http\n", &["weir.yaml:1:", "list"]);
    // All that is wrong is said at once.
    assert_eq!(parse("-", "htp: 1\ngprc: 2\n").unwrap_err().len(), 2);
}

#[test]
fn the_merged_configuration_is_printed_and_reads_back() {
    let file = "http: '[::1]:1'\ndata-dir: /x y\nfile: [a.yaml]\ndatacenter: blue\nlog-format: json\n\
                dns: off\ndns-alt-domain: Svc.example.\ndns-recursor: [10.0.0.2]\ndns-service-ttl: [5s, 'web*=30s']\n\
                tls-cert: a.pem\ntls-key: a.key\ntls-client-ca: ca.pem\ntls-ca: all.pem\n";
    let flags = || ServerArgs { grpc: Some("127.0.0.1:9".parse().unwrap()), ..ServerArgs::default() };
    let merged = ServerConfig::merge(flags(), parse("-", file).unwrap()).unwrap();
    let printed = merged.print();
    assert!(
        printed.contains("\ngrpc: \"127.0.0.1:9\"\n") && printed.contains("\ndatacenter: blue\n"),
        "{printed}"
    );
    let mut again = ServerConfig::merge(ServerArgs::default(), parse("-", &printed).unwrap()).unwrap();
    assert_eq!(again.log.log_level.take().as_deref(), Some(crate::log::DEFAULT_LEVEL));
    assert_eq!(format!("{again:?}"), format!("{merged:?}"));
    // A key without a value of its own here would silently print its default.
    for key in KEYS.iter().filter(|key| !["log-level", "store", "advertise"].contains(&key.name)) {
        assert!(!merged.value(key.name).is_null(), "{}", key.name);
    }
    let shared =
        ServerConfig::merge(flags(), parse("-", "store: 'etcd://a:1,b:2'\nadvertise: 10.0.0.9").unwrap())
            .unwrap();
    assert_eq!(shared.value("store"), "etcd://a:1,b:2");
    assert_eq!(shared.value("advertise"), "10.0.0.9");
    assert_eq!(shared.node_name, SHARED_NODE);
    let alone = ServerConfig::merge(flags(), parse("-", "advertise: 10.0.0.9").unwrap());
    assert_eq!(alone.unwrap_err().exit, Exit::Usage);
    // Two places are one too many, but a flag wins over the file.
    let both = ServerConfig::merge(flags(), parse("-", "store: 'etcd://a:1'\ndata-dir: /x").unwrap());
    assert_eq!(both.unwrap_err().exit, Exit::Usage);
    let flag = ServerArgs { data_dir: Some("/x".into()), ..flags() };
    let flag = ServerConfig::merge(flag, parse("-", "store: 'etcd://a:1'").unwrap()).unwrap();
    assert!(flag.store.is_none() && flag.data_dir.is_some());
}

#[test]
fn names_that_no_client_could_use_are_refused() {
    let check = |text: &str, part: &str| {
        let failure = ServerConfig::merge(ServerArgs::default(), parse("-", text).unwrap()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains(part), "{text}: {failure}");
    };
    check("datacenter: DC_1!", "datacenter: `DC_1!` is not the name of a datacenter");
    check("datacenter: ''", "datacenter");
    check("tls-cert: a.pem", "tls-cert: tls-key is missing");
    check("tls-ca: a.pem", "tls-ca: there is no TLS");
    check("allowed-hosts: ['weir.example:8500']", "allowed-hosts: `weir.example:8500` is not an address");
    check("node-name: a b", "node-name: `a b` is not a name that can be registered");
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let failure = read_file(folder.path()).unwrap_err();
    assert_eq!((failure.exit, failure.hint.as_deref()), (Exit::Usage, None));
    assert!(failure.message.ends_with("is a directory, expected a file"), "{failure}");
}
