//! What goes wrong with agents, and what is said then: the wrong servers, a name that is another's, servers that are gone when it
//! leaves, definitions that are not right.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use weir_tests::dns::{dig, short};
use weir_tests::{Cluster, Process, binary, eventually, free_port, http};

/// Longest a test waits for what takes a moment.
const SOON: Duration = Duration::from_secs(60);

/// An agent that keeps nothing, of a server at this port.
fn agent(name: &str, server: u16, extra: &[&str]) -> (Process, u16) {
    let port = free_port();
    let (server, at) = (format!("127.0.0.1:{server}"), format!("127.0.0.1:{port}"));
    let mut args = vec!["agent", "--server", &server, "--http", &at, "--node-name", name];
    args.extend(extra);
    if !extra.contains(&"--dns") {
        args.extend(["--dns", "off"]);
    }
    let process = Process::weir(name, &args);
    eventually("the agent to answer", SOON, || http::get(port, "/healthz").ok());
    (process, port)
}

fn weir(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(binary::weir()).args(args).output().expect("weir starts");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

fn wait_in_sync(port: u16) {
    eventually("the servers to have what is registered here", SOON, || {
        http::get(port, "/readyz").ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn an_agent_of_another_datacenter_is_not_let_in() {
    let cluster = Cluster::start();
    let dns = free_port();
    let (at, servers) = (format!("127.0.0.1:{dns}"), format!("127.0.0.1:{}", cluster.dns));
    let extra = ["--datacenter", "dc7", "--dns", &at, "--server-dns", &servers];
    let (mut stranger, port) = agent("host-1", cluster.http, &extra);
    let line = stranger.wait_for_line("the wrong datacenter", SOON);
    assert!(line.contains("ERROR") && line.contains("dc7") && line.contains("dc1"), "{line}");
    let ready = eventually("it to say why", SOON, || {
        http::get(port, "/readyz").ok().filter(|answer| answer.text().contains("wrong datacenter"))
    });
    assert_eq!(ready.status, 503);
    // What the servers of another datacenter know is not told as if it were its own.
    let answer = http::get(port, "/v1/catalog/nodes").unwrap();
    assert!(answer.status == 500 && answer.text().contains("wrong datacenter"), "{}", answer.text());
    let answer = dig(dns, &["consul.service.consul"]);
    assert!(answer.contains("SERVFAIL") && answer.contains("wrong datacenter"), "{answer}");
    assert_eq!(short(cluster.dns, &["consul.service.consul"]), ["127.0.0.1"]);
    assert!(http::put(port, "/v1/agent/service/register", r#"{"Name": "web"}"#).unwrap().status == 200);
    assert_eq!(http::get(cluster.http, "/v1/health/service/web").unwrap().json(), serde_json::json!([]));
    assert!(!http::get(cluster.http, "/v1/catalog/nodes").unwrap().text().contains("host-1"));
    assert!(stranger.is_running(), "it goes on trying");
}

#[test]
fn a_name_is_one_agents_though_none_keeps_its_id() {
    let cluster = Cluster::start();
    let (first, port) = agent("host-1", cluster.http, &[]);
    wait_in_sync(port);
    let (mut second, other) = agent("host-1", cluster.http, &[]);
    let line = second.wait_for_line("is reserved by node", SOON);
    assert!(line.contains("ERROR") && line.contains("host-1"), "{line}");
    let ready = eventually("it to say why", SOON, || {
        http::get(other, "/readyz").ok().filter(|answer| answer.text().contains("is reserved by node"))
    });
    assert_eq!(ready.status, 503);
    assert_eq!(http::get(port, "/readyz").unwrap().status, 200);
    // Its name is free once it is gone for long enough.
    drop(first);
    wait_in_sync(other);
}

#[test]
fn who_leaves_without_servers_is_told_that_nobody_heard_it() {
    let mut cluster = Cluster::start();
    let (mut heard, port) = agent("host-1", cluster.http, &[]);
    wait_in_sync(port);
    let (status, text) = weir(&["consul", "leave", "-http-addr", &format!("127.0.0.1:{port}")]);
    assert_eq!((status, text.as_str()), (Some(0), "Graceful leave complete\n"));
    assert!(heard.wait(SOON).success());
    assert!(!http::get(cluster.http, "/v1/catalog/nodes").unwrap().text().contains("host-1"));

    let (mut alone, port) = agent("host-2", cluster.http, &[]);
    let (mut told, other) = agent("host-3", cluster.http, &["--leave-on-terminate"]);
    wait_in_sync(port);
    wait_in_sync(other);
    cluster.server.kill_9();
    let began = Instant::now();
    let (status, text) = weir(&["consul", "leave", "-http-addr", &format!("127.0.0.1:{port}")]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("its node is still registered") && !text.contains("complete"), "{text}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(alone.wait(SOON).success(), "it ends all the same, and is not started anew");
    let status = told.terminate();
    assert_eq!(status.code(), Some(5), "{}", told.output());
    assert!(told.output().contains("its node is still registered"), "{}", told.output());
}

/// Stands in for a server that is gone, until it is asked to deregister a node: then it says so here, and is gone as well.
fn deregistration_at(port: u16) -> Receiver<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (announce, begun) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            let read = stream
                .set_read_timeout(Some(SOON))
                .and_then(|()| BufReader::new(&stream).read_line(&mut line));
            if read.is_ok() && line.starts_with("DELETE ") {
                let _ = announce.send(());
                return;
            }
        }
    });
    begun
}

#[test]
fn an_agent_leaves_though_who_asked_hangs_up() {
    let mut cluster = Cluster::start();
    let (mut alone, port) = agent("host-1", cluster.http, &[]);
    wait_in_sync(port);
    cluster.server.kill_9();
    let begun = deregistration_at(cluster.http);
    let mut hasty = http::Connection::open(port).unwrap();
    hasty.send(b"PUT /v1/agent/leave HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").unwrap();
    begun.recv_timeout(SOON).expect("leaving begins");
    drop(hasty);
    assert!(alone.wait(SOON).success());
    assert!(alone.output().contains("its node is still registered"), "{}", alone.output());
}

#[test]
fn a_name_whose_agent_is_silent_is_free_though_that_is_not_believed() {
    const AGENTS: usize = 12;
    let cluster = Cluster::start();
    let id = |number: usize, generation: u32| format!("00000000-0000-4000-800{generation}-{number:012}");
    let put = |number: usize, generation: u32| {
        let (name, id) = (format!("host-{number}"), id(number, generation));
        let changes = serde_json::json!({"node": {"name": name, "id": id, "address": "127.0.0.1"}});
        http::put(cluster.http, &format!("/weir/v1/nodes/{name}"), &changes.to_string()).unwrap()
    };
    for number in 0..AGENTS {
        let answer = put(number, 1);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let refused = put(0, 2);
    assert!(refused.status == 409 && refused.text().contains("is reserved by node"), "{}", refused.text());
    eventually("self-preservation", SOON, || {
        let nodes = cluster.weir(&["get", "nodes"]);
        (nodes.matches("silent, not believed").count() == AGENTS).then_some(())
    });
    // Who comes late does not take away what is another's.
    let delete = |generation: u32| {
        let target = format!("/weir/v1/nodes/host-1?id={}", id(1, generation));
        http::request(cluster.http, "DELETE", &target, &[], b"").unwrap()
    };
    assert_eq!(delete(2).status, 404);
    assert!(http::get(cluster.http, "/v1/catalog/nodes").unwrap().text().contains("host-1\""));
    assert_eq!(put(0, 2).status, 200);
    assert_eq!(put(0, 1).status, 409, "it is the other's now");
    assert_eq!(delete(1).status, 200);
}

#[test]
fn an_outage_of_the_servers_dns_is_answered_with_its_reason_and_logged_once() {
    let mut cluster = Cluster::start();
    let dns = free_port();
    let (at, servers) = (format!("127.0.0.1:{dns}"), format!("127.0.0.1:{}", cluster.dns));
    let (agent, _) = agent("host-1", cluster.http, &["--dns", &at, "--server-dns", &servers]);
    assert_eq!(short(dns, &["consul.service.consul"]), ["127.0.0.1"]);
    cluster.server.kill_9();
    for name in ["a.service.consul", "b.service.consul", "c.service.consul"] {
        let answer = dig(dns, &[name]);
        assert!(answer.contains("SERVFAIL") && answer.contains("No Reachable Authority"), "{answer}");
        assert!(answer.contains(&servers), "{answer}");
    }
    cluster.restart();
    eventually("the servers to be asked again", SOON, || {
        (short(dns, &["consul.service.consul"]) == ["127.0.0.1"]).then_some(())
    });
    let said = |text: &str| agent.output().matches(text).count();
    assert_eq!(said("DNS queries that others are asked about get SERVFAIL"), 1, "{}", agent.output());
    assert_eq!(said("a DNS server that others are asked at answers again"), 1, "{}", agent.output());
}

#[test]
fn definitions_are_judged_before_anything_else_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web.json");
    let file = file.to_str().unwrap();
    // Where it would listen somebody does already: that is not what is said.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let started = || weir(&["agent", "--server", "127.0.0.1:1", "--http", &at, "--dns", "off", "-f", file]);
    let (status, text) = started();
    assert!(status == Some(3) && text.contains("cannot read") && text.contains("try: "), "{status:?} {text}");
    let script = r#"{"check": {"name": "a", "args": ["/bin/true"], "interval": "1s"}}"#;
    for (definition, says) in [
        (r#"{"service": {"name": "web", "prot": 80}}"#, "service: prot: unknown field; did you mean `port`?"),
        (r#"{"servce": {"name": "web"}}"#, "did you mean `service`?"),
        (r#"{"checks": [{"name": "a", "ttl": "1"}]}"#, "checks[0]: "),
        (script, "Args: script checks are not enabled"),
        (script, "--enable-local-script-checks"),
    ] {
        std::fs::write(file, definition).unwrap();
        let (status, text) = started();
        assert_eq!(status, Some(3), "{text}");
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn whose_agent_is_silent_is_said() {
    let cluster = Cluster::start();
    let (mut agent, port) = agent("host-1", cluster.http, &[]);
    let body = r#"{"Name": "web", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}}"#;
    assert_eq!(http::put(port, "/v1/agent/service/register", body).unwrap().status, 200);
    wait_in_sync(port);
    agent.kill_9();
    let table = eventually("its agent to be missed", SOON, || {
        let table = cluster.weir(&["get", "instances"]);
        table.contains("has been silent for ").then_some(table)
    });
    assert!(
        table.contains("critical") && table.contains("the agent of host-1 has been silent for "),
        "{table}"
    );
}

#[test]
fn whose_data_directory_is_in_use_is_said() {
    let cluster = Cluster::start();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let (_agent, port) = agent("host-1", cluster.http, &["--data-dir", data]);
    wait_in_sync(port);
    let (status, text) = weir(&["store", "check", "--data-dir", data]);
    assert!(status == Some(6) && text.contains("a host's agent runs on it"), "{status:?} {text}");
    let (status, text) = weir(&[
        "agent",
        "--server",
        "127.0.0.1:1",
        "--http",
        "127.0.0.1:0",
        "--dns",
        "off",
        "--data-dir",
        data,
    ]);
    assert!(status == Some(6) && text.contains("in use by another weir agent"), "{status:?} {text}");
    let served = tempfile::tempdir().unwrap();
    let served = served.path().to_str().unwrap();
    let _server = Cluster::start_with(&["--data-dir", served]);
    let (status, text) = weir(&["store", "check", "--data-dir", served]);
    assert!(status == Some(6) && text.contains("a server runs on it"), "{status:?} {text}");
}

#[test]
fn what_is_no_weir_server_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|read| read > 0) && !head.ends_with("\r\n\r\n") {}
            // What is not read would end the connection before the answer.
            let head = head.to_ascii_lowercase();
            let length =
                head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            let _ = std::io::copy(&mut reader.by_ref().take(length.unwrap_or(0)), &mut std::io::sink());
            let _ = (&stream)
                .write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnope");
        }
    });
    let (mut process, _) = agent("host-1", port, &[]);
    let line = process.wait_for_line("is not a weir server", SOON);
    let parts = [format!("127.0.0.1:{port}"), "404".to_owned(), "ERROR".to_owned(), "--server".to_owned()];
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    assert!(!process.output().contains("hears the agent"), "{}", process.output());
}
