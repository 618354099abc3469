//! What commands say when they are asked for help, and what to use instead of those that are not there.

/// The commands with what follows them.
const USAGES: [(&str, &str); 13] = [
    (
        "agent",
        "agent (-dev | -server | -retry-join ADDRESS) [-config-file FILE.json] [-config-dir DIR] [FLAGS]\n\n\
         Flags are Consul's: -bind, -client, -advertise, -data-dir, -datacenter, -domain, -node, -node-meta, -http-port, \
         -dns-port, -grpc-port, -recursor, -log-level, -log-json, -pid-file and others. What has no meaning gets a warning.",
    ),
    ("members", "members [-detailed] [-status REGEX] [-filter EXPRESSION] [-wan]"),
    ("info", "info"),
    ("leave", "leave"),
    ("reload", "reload"),
    ("force-leave", "force-leave [-prune] NODE"),
    ("validate", "validate [-quiet] FILE.json|DIR ..."),
    ("version", "version [-format pretty|json]"),
    (
        "catalog",
        "catalog datacenters\n  catalog nodes [-service NAME] [-node-meta KEY=VALUE] [-detailed]\n  \
        catalog services [-node NAME] [-node-meta KEY=VALUE] [-tags]",
    ),
    (
        "config",
        "config write [-cas -modify-index N] FILE|-\n  config read -kind KIND -name NAME\n  \
         config list -kind KIND [-filter EXPRESSION]\n  config delete (-kind KIND -name NAME | -filename FILE|-) [-cas -modify-index N]\n\n\
         Entries are JSON.",
    ),
    (
        "kv",
        "kv get [-recurse] [-keys [-separator S]] [-base64] [-detailed] KEY\n  \
         kv put [-cas -modify-index N] [-flags N] [-acquire | -release] [-session ID] [-base64] KEY [VALUE|@FILE|-]\n  \
         kv delete [-recurse] [-cas -modify-index N] KEY\n  kv export [PREFIX]\n  kv import [-prefix PREFIX] DATA|@FILE|-",
    ),
    (
        "services",
        "services register [-name NAME] [-id ID] [-address A] [-port N] [-tag T] [-meta K=V] [FILE.json ...]\n  \
         services deregister (-id ID | FILE.json ...)",
    ),
    ("snapshot", "snapshot save [-stale] FILE\n  snapshot restore FILE"),
];

/// What those that ask an agent have in common.
const COMMON: &str = "-http-addr HOST:PORT|URL, -ca-file FILE, -client-cert FILE, -client-key FILE, -datacenter NAME, \
    -namespace NAME, -partition NAME, -stale; $CONSUL_HTTP_ADDR, $CONSUL_HTTP_SSL, $CONSUL_HTTP_AUTH, $CONSUL_CACERT, \
    $CONSUL_CLIENT_CERT, $CONSUL_CLIENT_KEY, $CONSUL_NAMESPACE, $CONSUL_PARTITION";

/// Consul's commands that are not there, with what does the same here.
const ELSEWHERE: [(&str, &str); 22] = [
    (
        "acl",
        "there are no tokens; who may ask is said by certificates: see --tls-client-ca in `weir server --help`",
    ),
    (
        "connect",
        "a sidecar is started with `weir proxy --service NAME --app HOST:PORT --inbound HOST:PORT --outbound HOST:PORT`",
    ),
    ("debug", "`weir top` shows what happens, and /metrics has the figures"),
    ("event", "PUT /v1/event/fire/NAME fires one, GET /v1/event/list lists them"),
    ("exec", "nothing is executed on other hosts"),
    ("intention", "PUT /v1/config with Kind service-intentions keeps them; nobody is kept out by them"),
    ("join", "nothing gossips: an agent is told its servers with -retry-join, servers share a store"),
    ("keygen", "nothing gossips, so there is no key of gossip"),
    ("keyring", "nothing gossips, so there is no key of gossip"),
    ("lock", "`weir lock NAME -- COMMAND` runs a command while it holds a lock, with a fencing token"),
    ("login", "there are no tokens to get"),
    ("logout", "there are no tokens to give back"),
    ("maint", "PUT /v1/agent/maintenance?enable=true, or /v1/agent/service/maintenance/ID?enable=true"),
    (
        "monitor",
        "the log is on the agent's standard error: `journalctl -u weir-agent -f` where systemd runs it",
    ),
    (
        "operator",
        "GET /v1/operator/raft/configuration and /v1/operator/autopilot/health answer; `weir get replicas` shows servers",
    ),
    ("peering", "there are no peers"),
    ("resource", "documents are shown by `weir get KIND` and put in force by `weir apply -f FILE`"),
    ("rtt", "GET /v1/coordinate/nodes has the coordinates that somebody told"),
    ("session", "PUT /v1/session/create, GET /v1/session/list"),
    ("tls", "certificates are made with the tools you have; `weir server --help` says where they are named"),
    ("troubleshoot", "`weir explain METHOD URL --from SERVICE` shows where a call goes, and why"),
    ("watch", "a read with ?index=N waits for a change: curl 'http://127.0.0.1:8500/v1/kv/KEY?index=N'"),
];

/// Whether somebody asks what a command takes.
pub(super) fn is_asked_for(args: &[String]) -> bool {
    let mut flags = args.iter().take_while(|arg| *arg != "--");
    flags.any(|arg| matches!(&**arg, "-h" | "-help" | "--help"))
}

/// What a command takes.
pub(super) fn of(command: &str) -> Option<String> {
    let (_, usage) = USAGES.iter().find(|(name, _)| *name == command)?;
    let usage = usage.split("\n\n").collect::<Vec<_>>();
    let forms = usage[0].replace("\n  ", "\n       weir consul ");
    let more = usage[1..].iter().map(|text| format!("\n{text}\n")).collect::<String>();
    let common = if ["agent", "validate"].contains(&command) {
        String::new()
    } else {
        format!("\nWith each: {COMMON}\n")
    };
    Some(format!("Usage: weir consul {forms}\n{more}{common}"))
}

/// What to use instead of a command of Consul's.
pub(super) fn instead_of(command: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(name, _)| *name == command).map(|(_, instead)| *instead)
}

/// The commands that are there.
pub(super) fn commands() -> impl Iterator<Item = &'static str> {
    USAGES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_says_what_it_takes() {
        for command in commands() {
            let text = of(command).expect("a text");
            assert!(text.starts_with(&format!("Usage: weir consul {command}")), "{text}");
            assert_eq!(instead_of(command), None);
        }
        let text = of("kv").expect("a text");
        assert!(
            text.contains("\n       weir consul kv put ") && text.contains("With each: -http-addr"),
            "{text}"
        );
        let asked =
            |args: &[&str]| is_asked_for(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert!(asked(&["get", "--help"]) && asked(&["-h"]));
        assert!(!asked(&["put", "key", "--", "-h"]) && !asked(&[]));
    }
}
