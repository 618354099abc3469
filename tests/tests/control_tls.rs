//! A control plane that speaks TLS and lets in only whom it knows: operators, proxies, other tools, and its own replicas.

#[path = "../../crates/store/tests/etcd/member.rs"]
mod member;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use member::Member;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::Value;
use weir_tests::{Process, eventually, free_ports, http};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority, with certificates for servers and clients.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("test authority {}", rand_name()));
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let authority = Self { issuer: Issuer::new(params, key), folder };
        authority.issue("server");
        authority.issue("client");
        authority
    }

    fn issue(&self, name: &str) {
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

fn rand_name() -> String {
    format!("{:?}", std::time::SystemTime::now())
}

struct Server {
    http: u16,
    grpc: u16,
    process: Process,
}

impl Server {
    /// One that lets in clients with a certificate of this authority.
    fn start(ours: &Authority, more: &[&str]) -> Self {
        let [http, grpc] = free_ports();
        let (at_http, at_grpc) = (format!("127.0.0.1:{http}"), format!("127.0.0.1:{grpc}"));
        let (cert, key, ca) = (ours.text("server.pem"), ours.text("server.key"), ours.text("ca.pem"));
        let mut args = vec!["server", "--http", &at_http, "--grpc", &at_grpc, "--dns", "off"];
        args.extend(["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca]);
        args.extend(more);
        let mut process = Process::weir("server", &args);
        process.wait_for_line("serving", PATIENCE);
        Self { http, grpc, process }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.http)
    }

    /// Asks it with curl, which is what scripts do.
    fn curl(&self, ours: &Authority, path: &str) -> Value {
        let output = Command::new("curl")
            .args(["-sS", "--fail", "--max-time", "60"])
            .args(["--cacert", &ours.text("ca.pem"), "--cert", &ours.text("client.pem")])
            .args(["--key", &ours.text("client.key"), &format!("{}{path}", self.url())])
            .output()
            .expect("curl is installed");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }
}

/// An operator's command; `client` names the certificate that it shows, if any.
fn weir(server: &str, ca: &Path, client: Option<&Authority>, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(weir_tests::binary::weir());
    command.args(args).env("WEIR_SERVER", server).env("WEIR_SERVER_CA", ca);
    if let Some(client) = client {
        command
            .env("WEIR_SERVER_CERT", client.path("client.pem"))
            .env("WEIR_SERVER_KEY", client.path("client.key"));
    }
    let output = command.output().expect("weir starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

const DOCUMENTS: &str = "\
kind: Service
metadata: {name: web}
spec: {endpoints: [{address: 127.0.0.1, port: 9}]}
---
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: all, port: GATEWAY_PORT, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: web}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]}
";

#[test]
fn operators_proxies_and_curl_get_in_with_a_certificate_and_nobody_without() {
    let (ours, others) = (Authority::new(), Authority::new());
    let server = Server::start(&ours, &[]);
    let ca = ours.path("ca.pem");
    let [gateway] = free_ports();
    let documents = ours.path("edge.yaml");
    std::fs::write(&documents, DOCUMENTS.replace("GATEWAY_PORT", &gateway.to_string())).unwrap();

    let file = documents.display().to_string();
    let (status, text) = weir(&server.url(), &ca, Some(&ours), &["apply", "-f", &file]);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(server.curl(&ours, "/weir/v1/resources/Gateway/edge")["resource"]["metadata"]["name"], "edge");
    let failing: [(&Path, Option<&Authority>, &str); 3] = [
        (&ca, None, "wants a certificate of its clients, and none is shown: --server-cert and --server-key"),
        (&ca, Some(&others), "does not accept the certificate that --server-cert names"),
        (
            &others.path("ca.pem"),
            Some(&ours),
            "the server's certificate is not accepted: none of the authorities",
        ),
    ];
    for (ca, client, said) in failing {
        let (status, text) = weir(&server.url(), ca, client, &["get", "services"]);
        assert_eq!(status, Some(5), "{text}");
        assert!(text.contains(said), "{text}");
    }
    // Who forgets the s is told so.
    let plain = http::get(server.http, "/readyz").unwrap();
    assert!(plain.status == 400 && plain.text().contains("https://"), "{} {}", plain.status, plain.text());
    let (status, text) = weir(&format!("127.0.0.1:{}", server.http), &ca, None, &["get", "services"]);
    assert!(status == Some(1) && text.contains("try: name it as --server https://"), "{text}");
    let (status, text) = weir(&server.url(), &ca, Some(&ours), &["health", "--ready"]);
    assert_eq!(status, Some(0), "{text}");

    // So is who takes one port for the other, with TLS and without.
    let mesh = format!("https://127.0.0.1:{}", server.grpc);
    let (status, text) = weir(&mesh, &ca, Some(&ours), &["get", "services"]);
    assert!(status == Some(5) && text.contains("speaks another protocol on this port"), "{status:?} {text}");
    let plain =
        Process::weir("server", ["server", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--dns", "off"]);
    let port = eventually("it to serve", PATIENCE, || {
        let output = plain.output();
        let at = output.split("grpc=127.0.0.1:").nth(1)?;
        at.split(' ').next()?.trim().parse::<u16>().ok()
    });
    let (status, text) = weir(&format!("127.0.0.1:{port}"), &ca, None, &["get", "services"]);
    assert!(status == Some(1) && text.contains("not the one for proxies"), "{status:?} {text}");
    let (authority, cert, key) = (ours.text("ca.pem"), ours.text("client.pem"), ours.text("client.key"));
    let proxy = |more: &[&str]| {
        let args = ["proxy", "--gateway", "edge", "--server", &mesh, "--id", "p1", "--server-ca", &authority];
        Process::weir("proxy", args.iter().chain(more))
    };
    let mut nameless = proxy(&[]);
    // What it is told may at first be lost with the connection; it asks again.
    nameless.wait_for_line(
        "wants a certificate of its clients, and none is shown: --server-cert and --server-key",
        PATIENCE,
    );
    assert!(server.curl(&ours, "/weir/v1/proxies")["items"].as_array().unwrap().is_empty());
    drop(nameless);
    let _known = proxy(&["--server-cert", &cert, "--server-key", &key]);
    eventually("the proxy has joined and serves", PATIENCE, || {
        let proxies = server.curl(&ours, "/weir/v1/proxies");
        (proxies["items"][0]["in_sync"] == true && http::get(gateway, "/").is_ok()).then_some(())
    });
}

#[test]
fn a_certificate_is_replaced_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = Server::start(&old, &[]);
    server.curl(&old, "/weir/v1/services");
    for name in ["server.pem", "server.key", "ca.pem"] {
        std::fs::copy(new.path(name), old.path(name)).unwrap();
    }
    server.process.signal(libc::SIGHUP);
    eventually("the new certificate", PATIENCE, || {
        let (status, _) = weir(&server.url(), &new.path("ca.pem"), Some(&new), &["get", "services"]);
        (status == Some(0)).then_some(())
    });
    let (status, _) = weir(&server.url(), &new.path("ca.pem"), Some(&old), &["get", "services"]);
    assert_eq!(status, Some(5), "who was known by the old authority is a stranger now");
}

#[test]
fn beyond_loopback_a_server_wants_to_know_its_clients() {
    let ours = Authority::new();
    let (cert, key, ca) = (ours.text("server.pem"), ours.text("server.key"), ours.text("ca.pem"));
    let start = |more: &[&str]| {
        let args = ["server", "--http", "0.0.0.0:0", "--grpc", "0.0.0.0:0", "--dns", "off"];
        Process::weir("server", args.iter().chain(more))
    };
    let ends = |more: &[&str], code: i32, said: &str| {
        let mut process = start(more);
        assert_eq!(process.wait(PATIENCE).code(), Some(code), "{}", process.output());
        assert!(process.output().contains(said), "{}", process.output());
    };
    ends(&[], 6, "--tls-client-ca");
    ends(&["--tls-cert", &cert, "--tls-key", &key], 6, "TLS alone does not keep them");
    ends(&["--tls-cert", &cert], 2, "tls-key is missing");
    ends(&["--tls-client-ca", &ca], 2, "expected tls-cert and tls-key");
    ends(&["--tls-cert", &cert, "--tls-key", &cert, "--tls-client-ca", &ca], 6, "no private key in it");
    let mut process = start(&["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca]);
    process.wait_for_line("serving", PATIENCE);
}

/// A TTL that is renewed at the replica that does not judge it stays alive: the one passes it on to the other, over TLS.
#[test]
fn replicas_know_each_other_by_their_certificates() {
    let ours = Authority::new();
    let member = Member::start();
    let store = member.address();
    let servers: Vec<Server> = (0..2).map(|_| Server::start(&ours, &["--store", &store])).collect();
    eventually("both see both", PATIENCE, || {
        let sees =
            |server: &Server| server.curl(&ours, "/weir/v1/replicas")["items"].as_array().map(Vec::len);
        servers.iter().all(|server| sees(server) == Some(2)).then_some(())
    });
    let replicas = servers[0].curl(&ours, "/weir/v1/replicas");
    let address = replicas["items"][0]["http"].as_str().expect("an address").to_owned();
    assert!(address.starts_with("https://127.0.0.1:"), "{address}");
    let curl = |server: &Server, method: &str, path: &str, body: &str| {
        let output = Command::new("curl")
            .args(["-sS", "--fail", "--max-time", "60", "-X", method, "-d", body])
            .args(["--cacert", &ours.text("ca.pem"), "--cert", &ours.text("client.pem")])
            .args(["--key", &ours.text("client.key"), &format!("{}{path}", server.url())])
            .output()
            .expect("curl is installed");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // Of so many, each replica judges some.
    for i in 0..16 {
        let body = format!("{{\"Name\": \"web\", \"ID\": \"web-{i}\", \"Check\": {{\"TTL\": \"600s\"}}}}");
        curl(&servers[0], "PUT", "/v1/agent/service/register", &body);
        eventually("the other replica knows it", PATIENCE, || {
            let known = servers[1].curl(&ours, "/v1/agent/services");
            known.get(format!("web-{i}")).map(drop)
        });
        curl(&servers[0], "PUT", &format!("/v1/agent/check/pass/service:web-{i}"), "");
        curl(&servers[1], "PUT", &format!("/v1/agent/check/pass/service:web-{i}?note=passed+on"), "");
    }
    // What a heartbeat says is shown by who heard it and by who judges, and not written.
    eventually("a heartbeat was passed on", PATIENCE, || {
        let checks = servers[0].curl(&ours, "/v1/agent/checks");
        let mut outputs = checks.as_object()?.values().map(|check| check["Output"].clone());
        outputs.any(|output| output == "passed on").then_some(())
    });
    for server in &servers {
        let said = server.process.output();
        assert!(!said.contains("does not take heartbeats"), "{said}");
    }
}

#[test]
fn a_hosts_agent_speaks_tls_with_its_servers() {
    let ours = Authority::new();
    let server = Server::start(&ours, &[]);
    let [port] = free_ports();
    let at = format!("127.0.0.1:{port}");
    let (ca, cert, key) = (ours.text("ca.pem"), ours.text("client.pem"), ours.text("client.key"));
    let url = server.url();
    let mut args = vec!["agent", "--server", &url, "--http", &at, "--dns", "off"];
    args.extend(["--node-name", "host", "--server-ca", &ca, "--server-cert", &cert, "--server-key", &key]);
    let _agent = Process::weir("agent", &args);
    eventually("the servers to have what is registered at the agent", PATIENCE, || {
        http::get(port, "/readyz").ok().filter(|answer| answer.status == 200)
    });
    assert_eq!(server.curl(&ours, "/v1/catalog/node/host")["Node"]["Node"], "host");
    let answer = http::put(port, "/v1/kv/a", "x").unwrap();
    assert_eq!((answer.status, answer.text().trim()), (200, "true"));
    assert_eq!(server.curl(&ours, "/v1/kv/a")[0]["Key"], "a");

    // Consul's commands speak it too.
    let output = Command::new(weir_tests::binary::weir())
        .args(["consul", "kv", "get", "-http-addr", &url, "-ca-file", &ca])
        .args(["-client-cert", &cert, "-client-key", &key, "a"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "x", "{output:?}");
    let (status, text) = weir(&url, Path::new("/nowhere.pem"), None, &["agent", "--server", &url]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("TLS: ") && text.contains("/nowhere.pem"), "{text}");
}

/// An agent of this server that is asked in the clear at one port, and with TLS by whom it knows at another.
struct Agent {
    http: u16,
    https: u16,
    process: Process,
}

impl Agent {
    fn start(ours: &Authority, server: &Server) -> Self {
        let [http, https] = free_ports();
        let (at_http, at_https) = (format!("127.0.0.1:{http}"), format!("127.0.0.1:{https}"));
        ours.issue("agent");
        let (cert, key, ca) = (ours.text("agent.pem"), ours.text("agent.key"), ours.text("ca.pem"));
        let (own_cert, own_key) = (ours.text("client.pem"), ours.text("client.key"));
        let mut args = vec!["agent", "--http", &at_http, "--https", &at_https, "--dns", "off"];
        args.extend(["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca]);
        let url = server.url();
        args.extend(["--server", &url, "--server-ca", &ca, "--server-cert", &own_cert]);
        args.extend(["--server-key", &own_key, "--node-name", "host-1"]);
        let mut process = Process::weir("agent", &args);
        process.wait_for_line("the agent is serving", PATIENCE);
        Self { http, https, process }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.https)
    }
}

#[test]
fn an_agent_speaks_tls_as_a_server_does() {
    let (ours, others) = (Authority::new(), Authority::new());
    let server = Server::start(&ours, &[]);
    let agent = Agent::start(&ours, &server);
    let ca = ours.path("ca.pem");
    eventually("the servers have its node", PATIENCE, || {
        let (status, text) = weir(&agent.url(), &ca, Some(&ours), &["get", "nodes"]);
        (status == Some(0) && text.contains("host-1")).then_some(())
    });
    let (status, text) = weir(&agent.url(), &ca, Some(&ours), &["lock", "backup", "--", "true"]);
    assert_eq!(status, Some(0), "{text}");
    let (url, authority) = (agent.url(), ours.text("ca.pem"));
    let (cert, key) = (ours.text("client.pem"), ours.text("client.key"));
    let flags = ["-http-addr", &url, "-ca-file", &authority, "-client-cert", &cert, "-client-key", &key];
    let (status, text) = weir(&url, &ca, None, &[&["consul", "members"], &flags[..]].concat());
    assert!(status == Some(0) && text.contains("host-1"), "{text}");
    // Nobody else is let in, and nobody who forgets the s; programs on this host need neither.
    for client in [None, Some(&others)] {
        let (status, text) = weir(&agent.url(), &ca, client, &["get", "services"]);
        assert!(status == Some(5) && text.contains("certificate"), "{status:?} {text}");
    }
    let plain = http::get(agent.https, "/v1/agent/self").unwrap();
    assert!(plain.status == 400 && plain.text().contains("https://"), "{} {}", plain.status, plain.text());
    assert_eq!(http::get(agent.http, "/v1/agent/self").unwrap().status, 200);
    // Its certificate is replaced as a server's is. What it shows the server has not changed.
    for (new, old) in [("server.pem", "agent.pem"), ("server.key", "agent.key")] {
        std::fs::copy(others.path(new), ours.path(old)).unwrap();
    }
    agent.process.signal(libc::SIGHUP);
    eventually("the new certificate", PATIENCE, || {
        let (status, _) = weir(&agent.url(), &others.path("ca.pem"), Some(&ours), &["get", "nodes"]);
        (status == Some(0)).then_some(())
    });
}

#[test]
fn beyond_loopback_an_agent_wants_to_know_its_clients_and_dns_is_opened_by_itself() {
    let ours = Authority::new();
    let (cert, key, ca) = (ours.text("server.pem"), ours.text("server.key"), ours.text("ca.pem"));
    let start =
        |more: &[&str]| Process::weir("agent", ["agent", "--server", "127.0.0.1:1"].iter().chain(more));
    let ends = |more: &[&str], said: &str| {
        let mut process = start(more);
        let status = process.wait(PATIENCE);
        let output = process.output();
        assert!(status.code() == Some(6) && output.contains(said), "{status} {output}");
    };
    let open = ["--http", "0.0.0.0:0", "--dns", "off"];
    let tls = ["--tls-cert", &*cert, "--tls-key", &*key];
    let known = [&tls[..], &["--tls-client-ca", &*ca]].concat();
    ends(&open, "--tls-client-ca");
    ends(&[&open[..], &tls].concat(), "TLS alone does not keep them");
    ends(&["--http", "127.0.0.1:0", "--dns", "0.0.0.0:0"], "--dns-insecure");
    for (more, url) in [
        ([&open[..], &known[..]].concat(), "http=https://0.0.0.0:"),
        (vec!["--http", "127.0.0.1:0", "--dns", "0.0.0.0:0", "--dns-insecure"], "dns=\"0.0.0.0:"),
    ] {
        let mut process = start(&more);
        process.wait_for_line("the agent is serving", PATIENCE);
        assert!(process.output().contains(url), "{}", process.output());
    }
    // That DNS may be reached does not open anything else.
    ends(&[&open[..], &["--dns-insecure"]].concat(), "--http 0.0.0.0:0 can be reached");
}

#[test]
fn consuls_configuration_of_https_is_that_of_the_listener() {
    let ours = Authority::new();
    let [http, https] = free_ports();
    let config = ours.path("consul.json");
    let said = serde_json::json!({
        "ports": {"http": http, "https": https, "dns": -1, "grpc": -1},
        "tls": {
            "defaults": {"cert_file": ours.text("server.pem"), "key_file": ours.text("server.key"), "ca_file": ours.text("ca.pem")},
            "https": {"verify_incoming": true},
        },
    });
    std::fs::write(&config, said.to_string()).unwrap();
    let file = config.display().to_string();
    for server in ["-server", "-node=a"] {
        let mut process = Process::weir("consul", ["consul", "agent", server, "-config-file", &file]);
        process.wait_for_line("serving", PATIENCE);
        assert!(!process.output().contains("NOT IN FORCE"), "{}", process.output());
        assert_eq!(http::get(http, "/v1/agent/self").unwrap().status, 200);
        let curl = |client: &[&str]| {
            let url = format!("https://127.0.0.1:{https}/v1/agent/self");
            let mut command = Command::new("curl");
            command.args(["-sS", "--fail", "--max-time", "60", "--cacert", &ours.text("ca.pem"), &url]);
            command.args(client).output().expect("curl is installed").status.success()
        };
        assert!(curl(&["--cert", &ours.text("client.pem"), "--key", &ours.text("client.key")]));
        assert!(!curl(&[]), "who shows no certificate is not let in");
    }
}
