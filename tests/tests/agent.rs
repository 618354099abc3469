//! Agents on their hosts, and a server: registrations that are the agent's, checks that it carries out, what everybody
//! else sees of it, and what goes on while one of them is gone. And Consul's command line, by a shim named `consul`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::cluster::START_LIMIT;
use weir_tests::dns::short;
use weir_tests::{App, Cluster, Process, binary, eventually, free_port, free_ports, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

/// Longest a test waits for what takes an agent or a server a moment.
const SOON: Duration = Duration::from_secs(60);
/// By when a node is critical whose agent is gone: the 7 s for which it is believed in, and what a busy machine may add.
const CRITICAL_WITHIN: Duration = Duration::from_secs(30);

/// An agent with its data in a directory of its own.
struct Agent {
    process: Process,
    http: u16,
    dns: u16,
    args: Vec<String>,
    data: tempfile::TempDir,
}

impl Agent {
    fn start(name: &str, servers: &[u16], extra: &[&str]) -> Self {
        let [http, dns] = free_ports();
        let data = tempfile::tempdir().unwrap();
        let servers: Vec<_> = servers.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut args: Vec<String> = [
            "agent",
            "--server",
            &servers.join(","),
            "--node-name",
            name,
            "--address",
            "127.0.0.1",
            "--http",
            &format!("127.0.0.1:{http}"),
            "--dns",
            &format!("127.0.0.1:{dns}"),
            "--data-dir",
            data.path().to_str().unwrap(),
        ]
        .map(str::to_owned)
        .into();
        args.extend(extra.iter().map(|&arg| arg.to_owned()));
        let agent = Self { process: Process::weir(name, &args), http, dns, args, data };
        agent.wait_answers();
        agent
    }

    fn of(cluster: &Cluster, name: &str, extra: &[&str]) -> Self {
        let dns = format!("127.0.0.1:{}", cluster.dns);
        Self::start(name, &[cluster.http], &[&["--server-dns", &dns], extra].concat())
    }

    fn restart(&mut self) {
        self.process = Process::weir("agent", &self.args);
        self.wait_answers();
    }

    fn wait_answers(&self) {
        eventually("the agent to answer", START_LIMIT, || {
            http::get(self.http, "/healthz").ok().filter(|answer| answer.status == 200)
        });
    }

    fn wait_in_sync(&self) {
        eventually("the servers to have what is registered here", SOON, || {
            http::get(self.http, "/readyz").ok().filter(|answer| answer.status == 200)
        });
    }

    fn put(&self, path: &str, body: &Value) -> http::Response {
        http::put(self.http, path, &body.to_string()).unwrap()
    }

    fn register(&self, definition: &Value) {
        let answer = self.put("/v1/agent/service/register", definition);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// The instances that a service has at a port, by node and id.
fn instances(port: u16, query: &str) -> Vec<String> {
    let Ok(answer) = http::get(port, &format!("/v1/health/service/{query}")) else { return Vec::new() };
    if answer.status != 200 {
        return Vec::new();
    }
    let found = answer.json();
    let mut names: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!("{}/{}", one["Node"]["Node"].as_str().unwrap(), one["Service"]["ID"].as_str().unwrap())
        })
        .collect();
    names.sort();
    names
}

fn wait_for_instances(port: u16, query: &str, expected: &[&str]) {
    let mut last = Vec::new();
    let start = Instant::now();
    while start.elapsed() < SOON {
        last = instances(port, query);
        if last == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{query} at {port}: {last:?}, expected {expected:?}");
}

/// What the checks of a node say at a server, by id.
fn status(port: u16, node: &str, check: &str) -> Option<(String, String)> {
    let answer = http::get(port, &format!("/v1/health/node/{node}")).ok()?;
    let checks = answer.json();
    let found = checks.as_array()?.iter().find(|one| one["CheckID"] == check)?.clone();
    Some((found["Status"].as_str()?.to_owned(), found["Output"].as_str()?.to_owned()))
}

fn wait_for_status(port: u16, node: &str, check: &str, expected: &str, limit: Duration) -> String {
    eventually(&format!("{check} of {node} to be {expected}"), limit, || {
        status(port, node, check).filter(|(status, _)| status == expected).map(|(_, output)| output)
    })
}

#[test]
fn what_is_registered_with_an_agent_is_everybodys_and_comes_and_goes_with_it() {
    let data = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_with(&["--data-dir", data.path().to_str().unwrap()]);
    let mut one = Agent::of(&cluster, "host-1", &["--node-meta", "rack=7"]);
    let two = Agent::of(&cluster, "host-2", &[]);
    let app = App::start(TEST_APP, "a");
    one.register(&json!({
        "Name": "web", "ID": "a", "Port": app.port, "Tags": ["blue"], "Meta": {"v": "1"},
        "Check": {"TCP": format!("127.0.0.1:{}", app.port), "Interval": "200ms"},
    }));
    two.register(&json!({"Name": "web", "ID": "a", "Port": 9, "Check": {"TTL": "1h", "Status": "passing"}}));
    // Everybody sees both, whoever is asked.
    for port in [cluster.http, one.http, two.http] {
        wait_for_instances(port, "web?passing", &["host-1/a", "host-2/a"]);
    }
    // An agent's own services are its own.
    let own = http::get(one.http, "/v1/agent/services").unwrap().json();
    assert_eq!(own.as_object().unwrap().len(), 1, "{own}");
    assert_eq!(short(one.dns, &["web.service.consul"]), ["127.0.0.1"]);
    assert_eq!(short(one.dns, &["+tcp", "+norecurse", "host-2.node.consul"]), ["127.0.0.1"]);
    let nodes = http::get(two.http, "/v1/catalog/nodes?node-meta=rack:7").unwrap().json();
    assert_eq!((nodes.as_array().unwrap().len(), &nodes[0]["Node"]), (1, &json!("host-1")));
    let members = http::get(one.http, "/v1/agent/members").unwrap().json();
    assert_eq!(members.as_array().unwrap().len(), 3, "{members}");

    // A change of health is there at once, also for one who waits for it through an agent.
    let index = http::get(two.http, "/v1/health/service/web").unwrap();
    let mut index = index.header("x-consul-index").unwrap().to_owned();
    let waiting = std::thread::spawn({
        let port = two.http;
        // Something else may change before, as the outcome of a check does on a machine that is too busy for it. Who is
        // not woken at all waits for longer than a read may take.
        move || {
            eventually("the change to wake who waits for it", SOON, || {
                let path = format!("/v1/health/service/web?index={index}&wait=300s");
                let woken = http::get(port, &path).unwrap();
                woken.header("x-consul-index")?.clone_into(&mut index);
                woken.text().contains("repairs").then_some(())
            });
        }
    });
    let answer = one.put("/v1/agent/service/maintenance/a?enable=true&reason=repairs", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    waiting.join().unwrap();
    wait_for_instances(cluster.http, "web?passing", &["host-2/a"]);
    one.put("/v1/agent/service/maintenance/a?enable=false", &Value::Null);
    wait_for_instances(cluster.http, "web?passing", &["host-1/a", "host-2/a"]);

    // The agent dies: its node is critical, and so is what runs on it.
    one.process.kill_9();
    wait_for_status(cluster.http, "host-1", "serfHealth", "critical", CRITICAL_WITHIN);
    wait_for_instances(two.http, "web?passing", &["host-2/a"]);
    wait_for_instances(two.http, "web", &["host-1/a", "host-2/a"]);

    // It comes back with what it knew.
    one.restart();
    wait_for_status(cluster.http, "host-1", "serfHealth", "passing", SOON);
    wait_for_instances(two.http, "web?passing", &["host-1/a", "host-2/a"]);

    // The server dies: what is the agent's own goes on, and the rest says that nobody answers.
    one.wait_in_sync();
    cluster.server.kill_9();
    one.register(&json!({"Name": "late", "Port": 8}));
    assert_eq!(one.put("/v1/agent/service/deregister/a", &Value::Null).status, 200);
    let answer = http::get(one.http, "/v1/agent/service/late").unwrap();
    assert_eq!(answer.json()["Port"], 8);
    let answer = http::get(one.http, "/v1/health/service/web").unwrap();
    assert!(answer.status == 500 && answer.text().contains("No cluster leader"), "{}", answer.text());
    assert_eq!(http::get(one.http, "/readyz").unwrap().status, 503);
    // Commands end as they do where no server answers: it is no server that says no. They are held for some seconds, all at once.
    let agent = format!("127.0.0.1:{}", one.http);
    let commands = [
        (&["get", "nodes", "--server", &agent][..], "asked by the agent at"),
        (&["lock", "--server", &agent, "a", "--", "true"], "asked by the agent at"),
        (&["consul", "catalog", "nodes", "-http-addr", &agent], "No cluster leader"),
        (&["consul", "kv", "put", "-http-addr", &agent, "a", "b"], "No cluster leader"),
    ];
    let run = |args: &[&str]| {
        Command::new(binary::weir()).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<_> = commands.iter().map(|(args, says)| (args, says, run(args))).collect();
    for (args, says, child) in running {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(5) && text.contains(*says), "{args:?}: {text}");
        assert!(!text.contains("released"), "nothing is claimed: {text}");
    }
    let members = http::get(one.http, "/v1/agent/members").unwrap().json();
    assert_eq!(members.as_array().unwrap().len(), 1, "{members}");

    // It comes back and is told.
    cluster.restart();
    wait_for_instances(cluster.http, "late?passing", &["host-1/late"]);
    wait_for_instances(cluster.http, "web?passing", &["host-2/a"]);

    // What others do to the agent's node at the server does not last.
    let gone = json!({"Node": "host-1", "ServiceID": "late"}).to_string();
    assert_eq!(http::put(cluster.http, "/v1/catalog/deregister", &gone).unwrap().status, 200);
    wait_for_instances(cluster.http, "late", &["host-1/late"]);
    let alien =
        json!({"Node": "host-1", "Address": "127.0.0.1", "Service": {"Service": "alien"}}).to_string();
    assert_eq!(http::put(cluster.http, "/v1/catalog/register", &alien).unwrap().status, 200);
    wait_for_instances(cluster.http, "alien", &[]);

    // Who leaves is gone.
    assert_eq!(two.put("/v1/agent/leave", &Value::Null).status, 200);
    wait_for_instances(cluster.http, "web", &[]);
    let nodes = http::get(cluster.http, "/v1/catalog/nodes").unwrap().text();
    assert!(nodes.contains("host-1") && !nodes.contains("host-2"), "{nodes}");
}

#[test]
fn everything_is_told_to_a_server_that_knows_nothing_any_more() {
    let mut cluster = Cluster::start();
    let agent = Agent::of(&cluster, "host-1", &[]);
    agent.register(&json!({"Name": "web", "Checks": [{"TTL": "1h", "Status": "passing"}, {"TTL": "1h"}]}));
    wait_for_instances(cluster.http, "web", &["host-1/web"]);
    // It keeps nothing.
    cluster.server.kill_9();
    cluster.restart();
    wait_for_instances(cluster.http, "web", &["host-1/web"]);
    wait_for_status(cluster.http, "host-1", "service:web:1", "passing", SOON);
    wait_for_status(cluster.http, "host-1", "service:web:2", "critical", SOON);
}

#[test]
fn reads_and_changes_go_to_a_server_that_answers() {
    let cluster = Cluster::start();
    // One where nobody listens, and one that answers.
    let agent = Agent::start("host-1", &[free_port(), cluster.http], &[]);
    for number in 0..4 {
        let answer = http::put(agent.http, &format!("/v1/kv/a%2Fb%20c?flags={number}"), "x").unwrap();
        assert_eq!((answer.status, answer.text().trim()), (200, "true"));
    }
    let answer = http::get(agent.http, "/v1/kv/a/b%20c").unwrap();
    assert_eq!((&answer.json()[0]["Key"], &answer.json()[0]["Flags"]), (&json!("a/b c"), &json!(3)));
    for header in ["x-consul-index", "x-consul-knownleader", "x-consul-lastcontact"] {
        assert!(answer.header(header).is_some(), "{header}");
    }
    assert_eq!(http::get(agent.http, "/v1/kv/none").unwrap().status, 404);
    assert_eq!(http::get(agent.http, "/v1/no/such").unwrap().status, 404);
    // A session without a node is one of the agent's.
    agent.wait_in_sync();
    let session = agent.put("/v1/session/create", &json!({"TTL": "600s"}));
    assert_eq!(session.status, 200, "{}", session.text());
    let path = format!("/v1/session/info/{}", session.json()["ID"].as_str().unwrap());
    assert_eq!(http::get(cluster.http, &path).unwrap().json()[0]["Node"], "host-1");
    // Events are those for the agent's node.
    assert_eq!(http::put(agent.http, "/v1/event/fire/deploy?node=host-1", "x").unwrap().status, 200);
    let events = |port: u16| http::get(port, "/v1/event/list?name=deploy").unwrap().json();
    assert_eq!(events(agent.http)[0]["Name"], "deploy");
    assert_eq!(events(cluster.http), json!([]));
}

#[test]
fn a_name_belongs_to_one_agent() {
    let cluster = Cluster::start_with(&["--node-name", "the-server"]);
    let first = Agent::of(&cluster, "host-1", &[]);
    first.register(&json!({"Name": "web"}));
    wait_for_instances(cluster.http, "web", &["host-1/web"]);
    let mut second = Agent::of(&cluster, "host-1", &[]);
    second.process.wait_for_line("is reserved by node", SOON);
    assert_eq!(instances(cluster.http, "web"), ["host-1/web"]);
    let mut third = Agent::of(&cluster, "the-server", &[]);
    third.process.wait_for_line("is the node of a server", SOON);
    // Once the first is gone for long enough, its name is free.
    drop(first);
    second.wait_in_sync();
    wait_for_instances(cluster.http, "web", &[]);
}

#[test]
fn a_data_directory_is_one_nodes_and_follows_its_name() {
    let mut cluster = Cluster::start_with(&["--node-name", "the-server"]);
    let mut first = Agent::of(&cluster, "host-1", &[]);
    first.register(&json!({"Name": "web", "Check": {"TTL": "3600s", "Status": "passing"}}));
    wait_for_instances(cluster.http, "web?passing", &["host-1/web"]);
    // Another host, of which this one's disk is a copy.
    let mut copy = Agent::of(&cluster, "host-2", &[]);
    copy.process.terminate();
    std::fs::copy(first.data.path().join("node-id"), copy.data.path().join("node-id")).unwrap();
    copy.restart();
    copy.process.wait_for_line("Member 'host-2' has conflicting node ID", SOON);
    cluster.server.wait_for_line("an agent is refused", SOON);
    let ready = http::get(copy.http, "/readyz").unwrap();
    assert!(ready.status == 503 && ready.text().contains("conflicting node ID"), "{}", ready.text());
    assert_eq!(instances(cluster.http, "web?passing"), ["host-1/web"]);
    copy.process.terminate();
    // The host has another name.
    first.process.terminate();
    let name = first.args.iter().position(|arg| arg == "host-1").unwrap();
    first.args[name] = "host-3".to_owned();
    first.restart();
    assert!(http::get(first.http, "/v1/agent/services").unwrap().json()["web"].is_object());
    first.wait_in_sync();
    wait_for_instances(cluster.http, "web?passing", &["host-3/web"]);
    let nodes = http::get(cluster.http, "/v1/catalog/nodes").unwrap().json();
    let names: Vec<_> = nodes.as_array().unwrap().iter().map(|node| node["Node"].as_str().unwrap()).collect();
    assert!(names.contains(&"host-3") && !names.contains(&"host-1"), "{names:?}");
}

/// A program that ends with what a file says, and says that.
fn check_program(dir: &Path) -> (String, impl Fn(u8)) {
    let (program, says) = (dir.join("check.sh"), dir.join("status"));
    std::fs::write(&program, format!("#!/bin/sh\necho \"as told\"; exit $(cat {})\n", says.display()))
        .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let tell = move |status: u8| std::fs::write(&says, status.to_string()).unwrap();
    tell(0);
    (program.to_str().unwrap().to_owned(), tell)
}

#[test]
fn checks_may_be_programs_where_that_is_allowed() {
    let cluster = Cluster::start();
    let dir = tempfile::tempdir().unwrap();
    let (program, tell) = check_program(dir.path());
    let definition = json!({"Name": "script", "Args": [program], "Interval": "200ms"});
    let off = Agent::of(&cluster, "off", &[]);
    let answer = off.put("/v1/agent/check/register", &definition);
    assert!(
        answer.status == 400 && answer.text().contains("script checks are not enabled"),
        "{}",
        answer.text()
    );
    assert_eq!(cluster_refuses_scripts(&cluster, &definition), 400);

    let on = Agent::of(&cluster, "on", &["--enable-script-checks"]);
    assert_eq!(on.put("/v1/agent/check/register", &definition).status, 200);
    assert_eq!(wait_for_status(cluster.http, "on", "script", "passing", SOON), "as told\n");
    tell(1);
    wait_for_status(cluster.http, "on", "script", "warning", SOON);
    tell(2);
    wait_for_status(cluster.http, "on", "script", "critical", SOON);

    // Local: what files define runs, what requests want does not. What files define no more is gone.
    let file = dir.path().join("web.json");
    let service =
        json!({"service": {"name": "web", "port": 1, "check": {"args": [program], "interval": "200ms"}}});
    std::fs::write(&file, service.to_string()).unwrap();
    tell(0);
    let flags = ["--enable-local-script-checks", "-f", dir.path().to_str().unwrap()];
    let mut local = Agent::of(&cluster, "local", &flags);
    wait_for_status(cluster.http, "local", "service:web", "passing", SOON);
    assert_eq!(local.put("/v1/agent/check/register", &definition).status, 400);
    local.register(&json!({"Name": "by-request"}));
    std::fs::write(&file, json!({"services": [{"name": "web", "port": 2}, {"name": "more"}]}).to_string())
        .unwrap();
    local.process.signal(1);
    wait_for_instances(cluster.http, "more", &["local/more"]);
    std::fs::write(&file, "{").unwrap();
    let answer = local.put("/v1/agent/reload", &Value::Null);
    assert!(answer.status == 500 && answer.text().contains("web.json"), "{}", answer.text());
    wait_for_instances(cluster.http, "web", &["local/web"]);
    local.process.terminate();
    std::fs::write(&file, json!({"service": {"name": "other"}}).to_string()).unwrap();
    local.restart();
    wait_for_instances(cluster.http, "other", &["local/other"]);
    wait_for_instances(cluster.http, "web", &[]);
    wait_for_instances(cluster.http, "more", &[]);
    wait_for_instances(cluster.http, "by-request", &["local/by-request"]);
    assert!(local.data.path().join("node-id").exists());
}

fn cluster_refuses_scripts(cluster: &Cluster, definition: &Value) -> u16 {
    http::put(cluster.http, "/v1/agent/check/register", &definition.to_string()).unwrap().status
}

#[test]
fn an_alias_follows_another_and_a_ping_needs_http_2() {
    let cluster = Cluster::start();
    let (one, two) = (Agent::of(&cluster, "host-1", &[]), Agent::of(&cluster, "host-2", &[]));
    one.register(&json!({"Name": "db", "Check": {"CheckID": "db-ttl", "TTL": "1h", "Status": "passing"}}));
    one.register(&json!({"Name": "near", "Check": {"AliasService": "db"}}));
    two.register(&json!({"Name": "far", "Check": {"AliasNode": "host-1", "AliasService": "db"}}));
    for (node, id) in [("host-1", "service:near"), ("host-2", "service:far")] {
        wait_for_status(cluster.http, node, id, "passing", SOON);
    }
    assert_eq!(one.put("/v1/agent/check/fail/db-ttl", &Value::Null).status, 200);
    for (node, id) in [("host-1", "service:near"), ("host-2", "service:far")] {
        wait_for_status(cluster.http, node, id, "critical", SOON);
    }
    assert_eq!(one.put("/v1/agent/check/pass/db-ttl", &Value::Null).status, 200);
    wait_for_status(cluster.http, "host-1", "service:near", "passing", SOON);

    // A port that nobody has refuses datagrams; one that says nothing may understand none.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (id, address, expected) in
        [("udp", silent.local_addr().unwrap(), "passing"), ("none", free, "critical")]
    {
        let check = json!({"Name": id, "UDP": address.to_string(), "Interval": "200ms", "Timeout": "200ms"});
        let answer = one.put("/v1/agent/check/register", &check);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let output = wait_for_status(cluster.http, "host-1", id, expected, SOON);
        assert!(output.starts_with("UDP 127.0.0.1:") || output.is_empty(), "{output}");
    }

    // The port for proxies speaks HTTP/2, that of HTTP does not.
    let ping = |id: &str, port: u16| json!({"Name": id, "H2PING": format!("127.0.0.1:{port}"), "H2PingUseTLS": false, "Interval": "200ms"});
    for (id, port) in [("h2", cluster.grpc), ("h1", cluster.http)] {
        let answer =
            http::put(cluster.http, "/v1/agent/check/register", &ping(id, port).to_string()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let own = http::get(cluster.http, "/v1/agent/self").unwrap().json()["Config"]["NodeName"].clone();
    wait_for_status(cluster.http, own.as_str().unwrap(), "h2", "passing", SOON);
    wait_for_status(cluster.http, own.as_str().unwrap(), "h1", "critical", SOON);
}

#[test]
fn an_instance_holds_a_lock_through_the_agent_of_its_host() {
    let cluster = Cluster::start();
    let agent = Agent::of(&cluster, "host-1", &[]);
    agent.register(&json!({"Name": "web"}));
    wait_for_instances(cluster.http, "web", &["host-1/web"]);
    let lock = |port: u16, extra: &[&str]| {
        let server = format!("127.0.0.1:{port}");
        let args =
            [&["lock", "--instance", "web", "--server", &server], extra, &["leader", "--", "true"]].concat();
        let output = Command::new(binary::weir()).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(lock(agent.http, &[]), (Some(0), String::new()));
    let (status, text) = lock(cluster.http, &[]);
    assert!(
        status == Some(4) && text.contains("\"web\" on node \"") && text.contains("--node NODE"),
        "{text}"
    );
    assert_eq!(lock(cluster.http, &["--node", "host-1"]), (Some(0), String::new()));
}

/// A directory with a `consul` that is the shim of two lines.
fn shim() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("consul");
    let text = format!("#!/bin/sh\nexec {} consul \"$@\"\n", binary::weir().display());
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn consul(dir: &Path, http: u16, args: &[&str]) -> Output {
    Command::new(dir.join("consul"))
        .args(args)
        .env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{http}"))
        .output()
        .unwrap()
}

#[test]
fn who_starts_consul_gets_weir() {
    let dir = shim();
    let [http, dns, other] = free_ports();
    let config = dir.path().join("config.json");
    let text = json!({
        "ports": {"dns": dns, "https": -1, "serf_lan": 1, "server": 2}, "performance": {"raft_multiplier": 1},
        "enable_script_checks": true, "acl": {"enabled": true}, "node_name": "from-file",
        "services": [{"name": "defined", "port": 7, "check": {"args": ["/bin/true"], "interval": "1s"}}],
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let mut command = Command::new(dir.path().join("consul"));
    command.args(["agent", "-dev", &format!("-http-port={http}"), "-bind", "127.0.0.1", "-node=n1"]);
    command.args(["-config-file", config.to_str().unwrap(), "-log-level", "trace", "-ui"]);
    let mut server = Process::start("consul", command);
    server.wait_for_line("acl: weir does not do this, NOT IN FORCE", START_LIMIT);
    eventually("it to answer", START_LIMIT, || {
        http::get(http, "/v1/status/leader").ok().filter(|answer| answer.status == 200)
    });
    wait_for_instances(http, "defined?passing", &["n1/defined"]);
    assert_eq!(short(dns, &["defined.service.consul"]), ["127.0.0.1"]);

    let run = |args: &[&str]| {
        let output = consul(dir.path(), http, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["version"]).starts_with("Consul v1.21.0\n"));
    assert!(run(&["version", "-format=json"]).contains("\"Version\": \"1.21.0\""));
    for (args, says) in [
        (&["--help"][..], "kv get|put|delete|export|import"),
        (&["help", "kv"], "weir consul kv put "),
        (&["kv", "get", "--help"], "Usage: weir consul kv get "),
    ] {
        assert!(run(args).contains(says), "{args:?}");
    }
    assert!(run(&["members"]).lines().nth(1).unwrap().starts_with("n1 "));
    let detailed = run(&["members", "-detailed", "-status", "^al"]);
    assert!(
        detailed.contains("Tags") && detailed.contains("dc=dc1") && detailed.contains("role=consul"),
        "{detailed}"
    );
    assert!(run(&["members", "-filter", "Name == n1"]).contains("n1 "));
    for (args, says) in [
        (&["kv", "put", "a", "b", "c"][..], "Too many arguments (expected 1 or 2, got 3): `c`"),
        (&["kv", "get", "a", "-recurse"], "`-recurse`\ntry: flags stand before the arguments"),
        (&["members", "x"], "Too many arguments (expected 0, got 1): `x`"),
        (&["members", "-status", "failed"], "no member is like that"),
        (&["members", "-filter", "Nam == n1"], "Nam"),
        (&["kv", "put"], "Missing KEY argument"),
        (&["agent", "-node", "a b"], "try: -node NAME"),
        (
            &["agent", "-dev", &format!("-http-port={http}"), "-dns-port=-1"],
            "another address with -http-port;",
        ),
    ] {
        let output = consul(dir.path(), http, args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(says), "{args:?}: {text}");
    }
    assert_eq!(run(&["kv", "put", "-flags=7", "a/b", "value"]), "Success! Data written to: a/b\n");
    assert_eq!(run(&["kv", "get", "a/b"]), "value\n");
    assert_eq!(run(&["kv", "get", "-recurse"]), "a/b:value\n");
    assert_eq!(run(&["kv", "get", "-keys", "-separator=", "a"]), "a/b\n");
    let exported = run(&["kv", "export"]);
    assert_eq!(run(&["kv", "import", "-prefix=copy/", &exported]), "Imported: copy/a/b\n");
    assert_eq!(run(&["kv", "export", "copy"]), exported.replace("a/b", "copy/a/b"));
    assert_eq!(run(&["kv", "delete", "-recurse", "copy"]), "Success! Deleted keys with prefix: copy\n");
    assert_eq!(run(&["kv", "delete", "a/b"]), "Success! Deleted key: a/b\n");
    assert!(!consul(dir.path(), http, &["kv", "get", "a/b"]).status.success());
    assert_eq!(run(&["services", "register", "-name=web", "-port=80"]), "Registered service: web\n");
    assert_eq!(run(&["catalog", "services"]), "consul\ndefined\nweb\n");
    assert_eq!(run(&["services", "deregister", "-id=web"]), "Deregistered service: web\n");
    assert!(run(&["catalog", "nodes"]).contains("n1"));
    let none = consul(dir.path(), http, &["catalog", "nodes", "-service=nope"]);
    assert!(none.status.success() && none.stdout.is_empty(), "{none:?}");
    let said = String::from_utf8_lossy(&none.stderr);
    assert_eq!(said, "No nodes match the given query - try expanding your search.\n");
    for args in [&["config", "write", "/nowhere"][..], &["services", "register", "/nowhere"]] {
        let output = consul(dir.path(), http, args);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {output:?}");
    }
    assert!(run(&["info"]).contains("server = true"));

    let text = text.to_string().replace("defined", "redefined");
    std::fs::write(&config, text).unwrap();
    assert_eq!(run(&["reload"]), "Configuration reload triggered\n");
    assert_eq!(run(&["catalog", "services"]), "consul\nredefined\n");

    // Without -dev and -server it is an agent of those it joins.
    let mut command = Command::new(dir.path().join("consul"));
    let data = dir.path().join("data");
    command.args(["agent", &format!("-http-port={other}"), "-node", "n2", "-dns-port=-1", "-data-dir"]);
    command.arg(&data).args(["-retry-join", &format!("127.0.0.1:{http}")]);
    let mut agent = Process::start("consul-agent", command);
    eventually("both to be members", START_LIMIT, || {
        let output = consul(dir.path(), http, &["members"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().any(|line| line.starts_with("n2 ") && line.contains("alive")).then_some(())
    });
    assert!(consul(dir.path(), other, &["leave"]).status.success());
    assert!(agent.wait(SOON).success());
    assert!(!run(&["members"]).contains("n2"));
    assert_eq!(run(&["leave"]), "Graceful leave complete\n");
    assert!(server.wait(SOON).success());

    let wrong = consul(dir.path(), http, &["agent", "-http-prt=1"]);
    let text = String::from_utf8(wrong.stderr).unwrap();
    assert!(wrong.status.code() == Some(2) && text.contains("did you mean -http-port?"), "{text}");
}

#[test]
fn dns_is_asked_where_the_server_says_that_it_is() {
    let cluster = Cluster::start();
    // Nobody has told it a port, and this server's is not the usual one.
    let agent = Agent::start("host-1", &[cluster.http], &[]);
    agent.register(&json!({"Name": "web", "Port": 7}));
    agent.wait_in_sync();
    eventually("the agent to have learned where DNS is", SOON, || {
        (short(agent.dns, &["web.service.consul"]) == ["127.0.0.1"]).then_some(())
    });
}

#[test]
fn a_node_whose_agent_is_silent_can_be_forced_to_leave() {
    let cluster = Cluster::start();
    let mut agent = Agent::of(&cluster, "host-1", &[]);
    agent.register(&json!({"Name": "web", "Port": 7}));
    agent.wait_in_sync();
    let at = format!("-http-addr=127.0.0.1:{}", cluster.http);
    let forced = || {
        let command = ["consul", "force-leave", &at, "host-1"];
        std::process::Command::new(weir_tests::binary::weir()).args(command).output().unwrap()
    };
    assert!(forced().status.success());
    assert_eq!(instances(cluster.http, "web"), ["host-1/web"], "it is there");
    agent.process.kill_9();
    wait_for_status(cluster.http, "host-1", "serfHealth", "critical", CRITICAL_WITHIN);
    let output = forced();
    assert!(output.status.success(), "{output:?}");
    wait_for_instances(cluster.http, "web", &[]);
    assert!(!http::get(cluster.http, "/v1/catalog/nodes").unwrap().text().contains("host-1"));
    let unknown = String::from_utf8_lossy(&forced().stderr).into_owned();
    assert!(unknown.contains("No node found with name 'host-1'"), "{unknown}");
}
