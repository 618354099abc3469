//! DNS as others ask it: `dig` for every form of name, and HAProxy, which finds its servers by SRV records.
//!
//! `dig` (bind9-dnsutils) and `haproxy` must be installed.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use weir_tests::dns::{dig, short};
use weir_tests::{App, Cluster, Process, eventually, free_port, free_ports, http};

/// Longest a test waits for what takes a moment.
const SOON: Duration = Duration::from_secs(60);

fn register(cluster: &Cluster, definition: &serde_json::Value) {
    let response = http::put(cluster.http, "/v1/agent/service/register", &definition.to_string()).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
}

fn deregister(cluster: &Cluster, id: &str) {
    let response = http::put(cluster.http, &format!("/v1/agent/service/deregister/{id}"), "").unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
}

fn instance(name: &str, id: &str, address: &str, port: u16) -> serde_json::Value {
    serde_json::json!({"Name": name, "ID": id, "Address": address, "Port": port})
}

/// A server with a bit of everything registered.
fn sample(extra: &[&str]) -> Cluster {
    let cluster = Cluster::start_with(&[&["--node-name", "host1"], extra].concat());
    let ttl =
        |status: &str| serde_json::json!([{"CheckID": format!("c-{status}"), "TTL": "1h", "Status": status}]);
    let mut v1 = instance("web", "web-1", "10.0.0.1", 8001);
    v1["Tags"] = ["v1", "blue.green"].into();
    v1["Weights"] = serde_json::json!({"Passing": 7, "Warning": 3});
    let mut v2 = instance("web", "web-2", "2001:db8::2", 8002);
    v2["Tags"] = ["v2"].into();
    v2["Checks"] = ttl("warning");
    v2["Weights"] = serde_json::json!({"Passing": 7, "Warning": 3});
    let mut ill = instance("web", "web-3", "10.0.0.3", 8003);
    ill["Tags"] = ["v3"].into();
    ill["Checks"] = ttl("critical");
    for definition in
        [v1, v2, ill, instance("Bare", "bare-1", "", 5432), instance("alias", "alias-1", "ext.other", 1)]
    {
        register(&cluster, &definition);
    }
    let node = serde_json::json!({
        "Node": "db.example", "Address": "10.0.0.9", "NodeMeta": {"zone": "z1"},
        "Service": {"Service": "db", "ID": "db-1", "Port": 3306},
    });
    assert_eq!(http::put(cluster.http, "/v1/catalog/register", &node.to_string()).unwrap().status, 200);
    let team = serde_json::json!({"Name": "inner", "ID": "inner-1", "Address": "10.0.0.4", "Port": 1});
    let response = http::put(cluster.http, "/v1/agent/service/register?ns=team", &team.to_string()).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    let query = serde_json::json!({
        "Name": "Best", "Service": {"Service": "web", "OnlyPassing": true, "Tags": ["!v2"]}, "DNS": {"TTL": "12s"},
    });
    let response =
        http::request(cluster.http, "POST", "/v1/query", &[], query.to_string().as_bytes()).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    cluster
}

#[test]
fn every_form_of_name() {
    let cluster = sample(&[]);
    let check = |args: &[&str], expected: &[&str]| {
        for transport in ["+notcp", "+tcp"] {
            assert_eq!(short(cluster.dns, &[args, &[transport]].concat()), expected, "{args:?} {transport}");
        }
    };
    check(&["web.service.consul"], &["10.0.0.1"]);
    check(&["web.service.consul", "AAAA"], &["2001:db8::2"]);
    check(&["web.service.consul", "ANY"], &["10.0.0.1", "2001:db8::2"]);
    check(&["WEB.Service.dc1.CONSUL"], &["10.0.0.1"]);
    check(&["web.service.default.ns.default.ap.dc1.dc.consul"], &["10.0.0.1"]);
    check(&["v1.web.service.consul"], &["10.0.0.1"]);
    check(&["blue.green.web.service.consul"], &["10.0.0.1"]);
    check(&["bare.service.consul"], &["127.0.0.1"]);
    check(&["inner.service.team.ns.consul"], &["10.0.0.4"]);
    check(&["inner.service.team.dc1.consul"], &["10.0.0.4"]);
    check(&["consul.service.consul"], &["127.0.0.1"]);
    let srv =
        ["1 3 8002 20010db8000000000000000000000002.addr.dc1.consul.", "1 7 8001 0a000001.addr.dc1.consul."];
    check(&["best.query.consul"], &["10.0.0.1"]);
    check(&["best.query.dc1.consul", "SRV"], &srv[1..]);
    check(&["web.service.consul", "SRV"], &srv);
    check(&["_web._tcp.service.consul", "SRV"], &srv);
    check(&["_web._tcp.consul", "SRV"], &srv);
    check(&["_web._v2.service.consul", "SRV"], &srv[..1]);
    check(&["bare.service.consul", "SRV"], &["1 1 5432 host1.node.dc1.consul."]);
    check(&["db.service.consul", "SRV"], &["1 1 3306 db.example.node.dc1.consul."]);
    check(&["alias.service.consul"], &["ext.other."]);
    check(&["host1.node.consul"], &["127.0.0.1"]);
    check(&["db.example.node.dc1.consul"], &["10.0.0.9"]);
    check(&["db.example.node.consul", "TXT"], &["\"zone=z1\""]);
    check(&["0a000001.addr.consul"], &["10.0.0.1"]);
    check(&["-x", "10.0.0.9"], &["db.example.node.dc1.consul."]);
    check(&["-x", "10.0.0.1"], &["web.service.consul."]);
    check(&["-x", "2001:db8::2"], &["web.service.consul."]);
    check(&["consul", "NS"], &["ns.consul."]);
    check(&["ns.consul"], &["127.0.0.1"]);
    let soa = short(cluster.dns, &["consul", "SOA"]);
    assert!(soa[0].starts_with("ns.consul. hostmaster.consul. "), "{soa:?}");
}

#[test]
fn what_there_is_not_and_what_is_refused() {
    let cluster =
        sample(&["--dns-negative-ttl", "5s", "--dns-service-ttl", "7s", "--dns-service-ttl", "we*=9s"]);
    let check = |args: &[&str], parts: &[&str]| {
        let text = dig(cluster.dns, args);
        for part in parts {
            assert!(text.contains(part), "{args:?}: `{part}` is missing in\n{text}");
        }
    };
    let soa = "consul.\t\t\t5\tIN\tSOA\tns.consul.";
    check(&["nope.service.consul"], &["NXDOMAIN", "flags: qr aa rd;", soa, "there is no service nope"]);
    check(&["v3.web.service.consul"], &["NXDOMAIN", "none of the 1 instances is healthy"]);
    check(&["web.service.dc2.consul"], &["NXDOMAIN", soa]);
    check(&["worst.query.consul"], &["NXDOMAIN", soa, "there is no prepared query worst"]);
    check(&["best.query.consul"], &["best.query.consul.\t12\tIN\tA"]);
    check(&["bare.service.consul", "AAAA"], &["NOERROR", "ANSWER: 0, AUTHORITY: 1", soa]);
    check(&["service.consul"], &["NOERROR", "ANSWER: 0, AUTHORITY: 1", soa]);
    check(&["example.com"], &["REFUSED", "ANSWER: 0, AUTHORITY: 0"]);
    check(&["version.bind", "TXT", "CH"], &["REFUSED"]);
    check(&["consul", "MAILB"], &["NOTIMP"]);
    check(&["web.service.consul", "+opcode=NOTIFY"], &["NOTIMP"]);
    check(&["web.service.consul", "+edns=5", "+noednsneg"], &["BADVERS", "EDNS: version: 0"]);
    check(&["web.service.consul", "+dnssec", "+cookie"], &["NOERROR", "EDNS: version: 0, flags: do;"]);
    // `dig` gives up on a refused transfer.
    let transfer =
        Command::new("dig").args(["@127.0.0.1", "-p", &cluster.dns.to_string(), "consul", "AXFR"]).output();
    assert!(String::from_utf8_lossy(&transfer.unwrap().stdout).contains("Transfer failed"));
    // What may be kept, and for how long.
    check(&["web.service.consul"], &["web.service.consul.\t9\tIN\tA"]);
    check(&["bare.service.consul"], &["bare.service.consul.\t7\tIN\tA"]);
    check(&["host1.node.consul"], &["host1.node.consul.\t0\tIN\tA"]);
    let metrics = http::get(cluster.http, "/metrics").unwrap().text();
    for line in [
        "weir_dns_queries_total{type=\"A\",rcode=\"NXDOMAIN\"} 4",
        "weir_dns_queries_total{type=\"A\",rcode=\"BADVERS\"} 1",
        "weir_dns_queries_total{type=\"other\",rcode=\"NOTIMP\"} 3",
        "weir_dns_query_seconds_count{source=\"recursor\"} 0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is missing in\n{metrics}");
    }
}

/// A hundred instances: what does not fit in a packet is had over TCP, whole.
#[test]
fn large_answers() {
    let cluster = Cluster::start();
    for n in 0..100 {
        register(&cluster, &instance("many", &format!("many-{n}"), &format!("10.2.0.{n}"), 80));
    }
    let all: Vec<String> = {
        let mut all: Vec<String> = (0..100).map(|n| format!("10.2.0.{n}")).collect();
        all.sort();
        all
    };
    let count = |args: &[&str]| {
        let text = dig(cluster.dns, args);
        let field = |name: &str| {
            let (_, rest) = text.split_once(name).unwrap_or_else(|| panic!("no {name} in\n{text}"));
            rest.trim_start_matches(": ").split([',', ' ', '\n']).next().unwrap().parse::<usize>().unwrap()
        };
        (field("ANSWER"), text.contains(" tc "), field("MSG SIZE  rcvd"))
    };
    for (args, bytes_max) in [(&["+noedns"][..], 512), (&["+bufsize=700"], 700), (&["+bufsize=1232"], 1232)] {
        let (answers, tc, bytes) = count(&[&["many.service.consul", "+ignore"], args].concat());
        assert!(
            tc && answers > 20 && bytes <= bytes_max && bytes + 40 > bytes_max,
            "{args:?}: {answers} in {bytes}"
        );
    }
    let (answers, tc, _) = count(&["many.service.consul", "+ignore", "+bufsize=4096"]);
    assert_eq!((answers, tc), (100, false));
    // `dig` follows TC to TCP.
    assert_eq!(short(cluster.dns, &["many.service.consul", "+noedns"]), all);
    let (answers, tc, _) = count(&["many.service.consul", "SRV", "+noedns"]);
    assert_eq!((answers, tc), (100, false));
    // Everybody comes first at some time.
    let mut first = std::collections::BTreeSet::new();
    eventually("half of the instances to have been first", SOON, || {
        let text = dig(cluster.dns, &["many.service.consul", "+short", "+bufsize=4096"]);
        first.insert(text.lines().next().unwrap().to_owned());
        (first.len() > 50).then_some(())
    });
}

#[test]
fn names_elsewhere_are_asked_of_recursors() {
    let elsewhere = Cluster::start_with(&["--dns-domain", "other", "--node-name", "ext"]);
    let node = serde_json::json!({"Node": "ext", "Address": "10.9.0.1"});
    assert_eq!(http::put(elsewhere.http, "/v1/catalog/register", &node.to_string()).unwrap().status, 200);
    for n in 0..100 {
        register(&elsewhere, &instance("many", &format!("many-{n}"), &format!("10.3.0.{n}"), 80));
    }
    // The first one refuses connections.
    let dead = format!("127.0.0.1:{}", free_port());
    let recursor = format!("127.0.0.1:{}", elsewhere.dns);
    let cluster = sample(&["--dns-recursor", &dead, "--dns-recursor", &recursor]);
    register(&cluster, &instance("led", "led-1", "ext.node.other", 80));
    let text = dig(cluster.dns, &["Ext.Node.Other"]);
    assert!(
        text.contains("flags: qr rd ra") && text.contains("\nExt.Node.Other.\t\t0\tIN\tA\t10.9.0.1"),
        "{text}"
    );
    assert_eq!(short(cluster.dns, &["led.service.consul"]), ["10.9.0.1", "ext.node.other."]);
    assert_eq!(short(cluster.dns, &["led.service.consul", "CNAME"]), ["ext.node.other."]);
    // Our own names are never asked elsewhere; reverse names only if nobody here has the address.
    assert!(dig(cluster.dns, &["nope.service.consul"]).contains("NXDOMAIN"));
    assert_eq!(short(cluster.dns, &["-x", "10.0.0.1"]), ["web.service.consul."]);
    assert_eq!(short(cluster.dns, &["-x", "10.3.0.1"]), ["many.service.other."]);
    // What is too long for UDP there is too long here, and whole over TCP.
    assert_eq!(short(cluster.dns, &["many.service.other", "+noedns"]).len(), 100);
    assert!(dig(cluster.dns, &["many.service.other", "+noedns", "+ignore"]).contains(" tc "));
    // Nobody knows.
    assert!(dig(cluster.dns, &["example.com"]).contains("SERVFAIL"));
    assert!(dig(cluster.dns, &["example.com", "+norecurse"]).contains("REFUSED"));
    let metrics = http::get(cluster.http, "/metrics").unwrap().text();
    assert!(
        metrics.contains(&format!("weir_dns_recursor_failures_total{{recursor=\"{dead}\"}}")),
        "{metrics}"
    );
    eventually("nothing to be under way", SOON, || {
        let metrics = http::get(cluster.http, "/metrics").unwrap().text();
        metrics.contains("\nweir_dns_recursions 0\n").then_some(())
    });
}

#[test]
fn a_server_that_would_ask_itself_does_not_start() {
    let [dns] = free_ports();
    let address = format!("127.0.0.1:{dns}");
    let mut server = Process::weir(
        "server",
        [
            "server",
            "--http",
            "127.0.0.1:0",
            "--grpc",
            "127.0.0.1:0",
            "--dns",
            &address,
            "--dns-recursor",
            &address,
        ],
    );
    assert_eq!(server.wait(SOON).code(), Some(2), "{}", server.output());
    assert!(server.output().contains("is this server itself"), "{}", server.output());
}

/// Garbage of all kinds, and the server answers on.
#[test]
fn strangers_do_no_harm() {
    let cluster = sample(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.connect(("127.0.0.1", cluster.dns)).unwrap();
    let question = b"\x07\x07\x01\0\0\x01\0\0\0\0\0\0\x03web\x07service\x06consul\0\0\x01\0\x01";
    for len in 0..12 {
        socket.send(&question[..len]).unwrap();
    }
    let mut response = question.to_vec();
    response[2] |= 0x80;
    socket.send(&response).unwrap();
    let looped = b"\x08\x08\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01";
    socket.send(looped).unwrap();
    let mut buffer = [0; 512];
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(
        buffer[..len],
        *b"\x08\x08\x81\x01\0\0\0\0\0\0\0\0",
        "only the last one gets an answer: FORMERR"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", cluster.dns)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&[0, 0]).unwrap();
    assert_eq!(stream.read(&mut buffer).unwrap(), 0, "a message of no bytes ends the connection");
    assert_eq!(short(cluster.dns, &["web.service.consul"]), ["10.0.0.1"]);
}

fn haproxy_config(dns: u16, port: u16) -> String {
    format!(
        "global
    maxconn 200
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
resolvers weir
    nameserver weir 127.0.0.1:{dns}
    accepted_payload_size 8192
    resolve_retries 2
    timeout resolve 500ms
    timeout retry 500ms
    hold valid 500ms
    hold obsolete 0s
frontend web
    bind 127.0.0.1:{port}
    default_backend web
backend web
    balance roundrobin
    option redispatch
    server-template web 20 _web._tcp.service.consul resolvers weir resolve-prefer ipv4 init-addr none
"
    )
}

/// Who answers through HAProxy, which takes those that it knows in turn.
fn answering(port: u16) -> Vec<String> {
    let names = (0..40).filter_map(|_| http::get(port, "/").ok().filter(|response| response.status == 200));
    let mut names: Vec<String> = names.map(|response| response.text()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn haproxy_follows_registrations() {
    let cluster = Cluster::start();
    let apps = ["a", "b", "c"].map(|name| App::start(env!("CARGO_BIN_EXE_test-app"), name));
    let [port] = free_ports();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("haproxy.cfg");
    std::fs::write(&config, haproxy_config(cluster.dns, port)).unwrap();
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&config);
    let _haproxy = Process::start("haproxy", command);
    let wait = |expected: &[&str]| {
        eventually(&format!("HAProxy to use {expected:?}"), SOON, || {
            (answering(port) == expected).then_some(())
        });
    };
    let add = |app: &App| register(&cluster, &instance("web", &app.name, "127.0.0.1", app.port));
    eventually("HAProxy to listen", SOON, || TcpStream::connect(("127.0.0.1", port)).ok());
    wait(&[]);
    add(&apps[0]);
    wait(&["a"]);
    add(&apps[1]);
    add(&apps[2]);
    wait(&["a", "b", "c"]);
    deregister(&cluster, "b");
    wait(&["a", "c"]);
    // In maintenance it is not answered with either.
    let maintained = http::put(cluster.http, "/v1/agent/service/maintenance/a?enable=true", "").unwrap();
    assert_eq!(maintained.status, 200);
    wait(&["c"]);
    let well = http::put(cluster.http, "/v1/agent/service/maintenance/a?enable=false", "").unwrap();
    assert_eq!(well.status, 200);
    wait(&["a", "c"]);
}
