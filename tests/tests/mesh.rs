//! Control plane, gateway and sidecars together, from the outside.

use std::process::Output;

use weir_tests::cluster::START_LIMIT;
use weir_tests::documents::gateway;
use weir_tests::{App, Cluster, Process, eventually, free_port, free_ports, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

fn start_gateway(cluster: &Cluster, extra: &[&str]) -> Process {
    let server = format!("127.0.0.1:{}", cluster.grpc);
    let mut args = vec!["proxy", "--gateway", "edge", "--id", "gateway-1", "--server", &server];
    args.extend(extra);
    Process::weir("gateway", args)
}

/// Registers an application, behind a sidecar if a port is given, and waits until it is to be found.
fn register(cluster: &Cluster, service: &str, app: &App, inbound: Option<u16>) {
    let mut registration = serde_json::json!({
        "ID": app.name, "Name": service, "Address": "127.0.0.1", "Port": app.port,
        "Check": {"TTL": "10m", "Status": "passing"},
    });
    if let Some(port) = inbound {
        registration["TaggedAddresses"] =
            serde_json::json!({"weir-inbound": {"Address": "127.0.0.1", "Port": port}});
    }
    let answer = http::put(cluster.http, "/v1/agent/service/register", &registration.to_string()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Applies as a user does, until the command ends so: it waits for proxies, but not as long as they take on a busy machine.
fn apply_until(cluster: &Cluster, dir: &std::path::Path, documents: &str, code: i32) -> String {
    eventually(&format!("`weir apply` to end with {code}"), START_LIMIT, || {
        let output = apply(cluster, dir, documents);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code() == Some(code)).then_some(said)
    })
}

fn apply(cluster: &Cluster, dir: &std::path::Path, documents: &str) -> Output {
    let file = dir.join("documents.yaml");
    std::fs::write(&file, documents).unwrap();
    std::process::Command::new(weir_tests::binary::weir())
        .args(["apply", "-f", file.to_str().unwrap()])
        .env("WEIR_SERVER", format!("127.0.0.1:{}", cluster.http))
        .output()
        .unwrap()
}

fn answers(port: u16, name: &str) -> Option<()> {
    http::get(port, "/").ok().filter(|answer| answer.status == 200 && answer.text() == name).map(|_| ())
}

#[test]
fn one_position_runs_from_the_store_to_the_access_log() {
    let cluster = Cluster::start();
    let app = App::start(TEST_APP, "web-1");
    register(&cluster, "web", &app, None);
    let port = free_port();
    cluster.apply(&gateway(port, "web"));
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let mut gateway = start_gateway(&cluster, &["--access-log", log.to_str().unwrap()]);
    eventually("the gateway to answer", START_LIMIT, || answers(port, "web-1"));
    gateway.signal(libc::SIGHUP);
    gateway.wait_for_line("opened the access log anew", START_LIMIT);
    assert!(answers(port, "web-1").is_some() && gateway.is_running());

    let proxies: serde_json::Value =
        serde_json::from_str(&cluster.weir(&["get", "proxies", "-o", "json"])).unwrap();
    let text = proxies.to_string();
    assert!(text.contains("gateway-1"), "{text}");
    let explained =
        cluster.weir(&["explain", "GET", &format!("http://127.0.0.1:{port}/"), "--gateway", "edge"]);
    let position = explained.split("revision ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    assert!(explained.contains("HTTPRoute/web#0"), "{explained}");
    assert!(explained.contains(&format!("127.0.0.1:{}", app.port)), "{explained}");
    let line = eventually("a line in the access log", START_LIMIT, || {
        std::fs::read_to_string(&log).ok()?.lines().next().map(str::to_owned)
    });
    assert!(line.contains(position), "{position} is missing in: {line}");
}

#[test]
fn a_data_directory_that_cannot_be_written_to_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let args =
        ["proxy", "--gateway", "edge", "--server", "127.0.0.1:1", "--data-dir", file.to_str().unwrap()];
    let mut proxy = Process::weir("proxy", args);
    assert_eq!(proxy.wait(START_LIMIT).code(), Some(6), "{}", proxy.output());
    for part in [file.to_str().unwrap(), "cannot keep the last state", "may write to"] {
        assert!(proxy.output().contains(part), "`{part}` is missing in:\n{}", proxy.output());
    }
}

#[test]
fn what_a_proxy_cannot_serve_is_rejected_and_the_old_stays() {
    let cluster = Cluster::start();
    let app = App::start(TEST_APP, "web-1");
    register(&cluster, "web", &app, None);
    let port = free_port();
    cluster.apply(&gateway(port, "web"));
    let _gateway = start_gateway(&cluster, &[]);
    eventually("the gateway to answer", START_LIMIT, || answers(port, "web-1"));

    // The port of another process cannot be bound.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let said = apply_until(&cluster, dir.path(), &gateway(taken_port, "web"), 7);
    assert!(said.contains("spec.listeners[0].port"), "{said}");
    assert!(
        cluster.weir(&["get", "proxies"]).contains("refused Gateway/edge"),
        "{}",
        cluster.weir(&["get", "proxies"])
    );
    assert!(answers(port, "web-1").is_some(), "the old listener is gone");

    apply_until(&cluster, dir.path(), &gateway(port, "web"), 0);
    eventually("nothing to be refused any more", START_LIMIT, || {
        (!cluster.weir(&["get", "proxies"]).contains("refused")).then_some(())
    });
    assert!(answers(port, "web-1").is_some());
}

#[test]
fn a_registered_instance_is_reached_and_a_deregistered_one_is_not() {
    let cluster = Cluster::start();
    let apps: Vec<App> = ["one", "two"].iter().map(|name| App::start(TEST_APP, name)).collect();
    register(&cluster, "web", &apps[0], None);
    let port = free_port();
    cluster.apply(&gateway(port, "web"));
    let _gateway = start_gateway(&cluster, &[]);
    eventually("the first instance to answer", START_LIMIT, || answers(port, "one"));
    register(&cluster, "web", &apps[1], None);
    eventually("the second instance to answer", START_LIMIT, || answers(port, "two"));
    http::put(cluster.http, "/v1/agent/service/deregister/one", "").unwrap();
    eventually("only the second to answer", START_LIMIT, || {
        (0..20).all(|_| answers(port, "two").is_some()).then_some(())
    });
    http::put(cluster.http, "/v1/agent/service/maintenance/two?enable=true", "").unwrap();
    http::put(cluster.http, "/v1/agent/service/deregister/two", "").unwrap();
    eventually("nobody to answer", START_LIMIT, || {
        http::get(port, "/").ok().filter(|answer| answer.status == 503 || answer.status == 500)
    });
}

#[test]
fn sidecars_meet_and_subscribe_on_demand() {
    let cluster = Cluster::start();
    let server = format!("127.0.0.1:{}", cluster.grpc);
    let (v1, v2) = (App::start(TEST_APP, "v1"), App::start(TEST_APP, "v2"));
    let front = App::start(TEST_APP, "front");
    let mut sidecars = Vec::new();
    let mut outbound = 0;
    for (service, app) in [("catalog-v1", &v1), ("catalog-v2", &v2), ("front", &front)] {
        let [inbound, out] = free_ports();
        let (app_address, inbound_address, out_address) =
            (format!("127.0.0.1:{}", app.port), format!("127.0.0.1:{inbound}"), format!("127.0.0.1:{out}"));
        sidecars.push(Process::weir(
            service,
            [
                "proxy",
                "--service",
                service,
                "--app",
                &app_address,
                "--inbound",
                &inbound_address,
                "--outbound",
                &out_address,
                "--server",
                &server,
                "--workers",
                "1",
            ],
        ));
        register(&cluster, service, app, Some(inbound));
        outbound = out;
    }
    cluster.apply(
        "kind: HTTPRoute
metadata: {name: catalog}
spec:
  parentRefs: [{kind: Service, name: catalog}]
  rules:
  - matches: [{headers: [{name: x-canary, value: 'yes'}]}]
    backendRefs: [{name: catalog-v2}]
  - backendRefs: [{name: catalog-v1}]
---
kind: Service
metadata: {name: catalog}
spec: {}
",
    );
    let call = |target: &str, headers: &[(&str, &str)]| http::request(outbound, "GET", target, headers, b"");
    // By Host, as a client that is pointed at the sidecar does.
    eventually("front to reach catalog by Host", START_LIMIT, || {
        call("/", &[("host", "catalog")]).ok().filter(|answer| answer.text() == "v1")
    });
    // In absolute form, as a client with HTTP_PROXY does.
    assert_eq!(call("http://catalog/", &[("host", "catalog")]).unwrap().text(), "v1");
    let canary = [("host", "catalog"), ("x-canary", "yes")];
    eventually("the canary to be reached", START_LIMIT, || {
        call("/", &canary).ok().filter(|answer| answer.text() == "v2")
    });
    // The call went through the callee's sidecar: it shows who forwarded it.
    let seen = eventually("catalog-v1 to be reached", START_LIMIT, || {
        call("/echo", &[("host", "catalog-v1.default")]).ok().filter(|answer| answer.status == 200)
    });
    assert!(seen.text().to_lowercase().contains("x-forwarded-for"), "{}", seen.text());
    // Names that other registries allow, and in any case once it is known.
    let odd = App::start(TEST_APP, "odd");
    register(&cluster, "My_Cart", &odd, None);
    for name in ["My_Cart", "My_Cart.default", "my_cart"] {
        eventually(&format!("front to reach {name}"), START_LIMIT, || {
            call("/", &[("host", name)]).ok().filter(|answer| answer.text() == "odd")
        });
        assert_eq!(call(&format!("http://{name}/"), &[("host", name)]).unwrap().text(), "odd");
    }
    let explained = cluster.weir(&["explain", "--from", "front", "GET", "http://My_Cart/"]);
    assert!(explained.contains(&format!("127.0.0.1:{}", odd.port)), "{explained}");
    // What is not in the mesh is reached all the same through HTTP_PROXY, and refused by Host.
    let outside = App::start(TEST_APP, "outside");
    let target = format!("http://127.0.0.1:{}/", outside.port);
    assert_eq!(call(&target, &[]).unwrap().text(), "outside");
    assert!(call("/", &[("host", "nobody")]).unwrap().status >= 400);
}

/// Names as DNS has them, in the server's own domain and datacenter.
#[test]
fn a_sidecar_takes_the_names_of_dns() {
    let domain = ["--dns-domain", "weir.example", "--dns-alt-domain", "old", "--datacenter", "east"];
    let cluster = Cluster::start_with(&domain);
    let server = format!("127.0.0.1:{}", cluster.grpc);
    let app = App::start(TEST_APP, "cart");
    register(&cluster, "cart", &app, None);
    let [inbound, outbound] = free_ports();
    let own = format!("127.0.0.1:{}", app.port);
    let (into, out) = (format!("127.0.0.1:{inbound}"), format!("127.0.0.1:{outbound}"));
    let front = ["proxy", "--service", "front", "--app", &own, "--inbound", &into, "--outbound", &out];
    let _sidecar = Process::weir("front", front.into_iter().chain(["--server", &*server]));
    let call = |host: &str| http::request(outbound, "GET", "/", &[("host", host)], b"");
    for host in [
        "cart.service.weir.example",
        "cart.service.east.weir.example",
        "cart.service.default.ns.east.dc.old",
        "_cart._tcp.service.old",
        "Cart.Service.OLD.",
    ] {
        eventually(&format!("front to reach {host}"), START_LIMIT, || {
            call(host).ok().filter(|answer| answer.status == 200 && answer.text() == "cart")
        });
    }
    for (host, says) in [
        ("v1.cart.service.old", "names instances by a tag"),
        ("v1.cart.service.old", "call cart.service.weir.example"),
        ("cart.service.west.old", "another datacenter than this"),
        ("n1.node.old", "no service's name"),
        ("cart.service.consul", "no service of the mesh"),
    ] {
        let answer = call(host).unwrap();
        assert!(answer.status == 404 && answer.text().contains(says), "{host}: {}", answer.text());
    }
    for url in ["http://cart.service.weir.example/", "http://cart.service.east.old/"] {
        let explained = cluster.weir(&["explain", "--from", "cart", "GET", url]);
        assert!(explained.contains(&own), "{url}: {explained}");
    }
}

#[test]
fn a_server_outlives_sighup() {
    let mut cluster = Cluster::start();
    cluster.server.signal(libc::SIGHUP);
    cluster.server.wait_for_line("SIGHUP", START_LIMIT);
    assert_eq!(http::get(cluster.http, "/readyz").unwrap().status, 200);
}

#[test]
fn the_demo_runs_and_leaves_nothing_behind() {
    let [http_port, grpc, gateway] = free_ports();
    let addresses = [http_port, grpc, gateway].map(|port| format!("127.0.0.1:{port}"));
    let mut demo = Process::weir(
        "demo",
        [
            "demo",
            "--http",
            &addresses[0],
            "--grpc",
            &addresses[1],
            "--gateway",
            &addresses[2],
            "--dns",
            "off",
        ],
    );
    demo.wait_for_line("Ctrl-C stops everything", START_LIMIT * 2);
    let answer = http::get(gateway, "/cart").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let children = children_of(demo.pid());
    assert!(children.len() >= 13, "gateway, 6 applications and 6 sidecars, not {}", children.len());
    assert!(demo.terminate().success());
    eventually("its children to be gone", START_LIMIT, || {
        children.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
    });

    // A demo that is killed leaves nothing either.
    let mut demo = Process::weir(
        "demo",
        [
            "demo",
            "--http",
            &addresses[0],
            "--grpc",
            &addresses[1],
            "--gateway",
            &addresses[2],
            "--dns",
            "off",
        ],
    );
    demo.wait_for_line("Ctrl-C stops everything", START_LIMIT * 2);
    let children = children_of(demo.pid());
    demo.kill_9();
    eventually("the children to follow", START_LIMIT, || {
        children.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
}

fn children_of(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(list.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    all
}

/// Whether a process runs; one that has ended and not been waited for does not.
fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

#[test]
fn documents_of_every_kind_reach_the_gateway() {
    let cluster = Cluster::start();
    let app = App::start(TEST_APP, "web-1");
    register(&cluster, "web", &app, None);
    let [port, stream] = free_ports();
    let listeners = format!(
        "listeners: [{{name: web, port: {port}, protocol: HTTP}}, {{name: bytes, port: {stream}, protocol: TCP}}]"
    );
    let documents = format!(
        "kind: Gateway\nmetadata: {{name: edge}}\nspec: {{{listeners}}}\n---\n\
         kind: HTTPRoute\nmetadata: {{name: web}}\nspec:\n  parentRefs: [{{name: edge}}]\n  rules:\n  \
         - matches: [{{path: {{type: RegularExpression, value: \"/v[0-9]+\"}}}}]\n    \
           filters: [{{type: RequestRedirect, requestRedirect: {{path: {{type: ReplaceFullPath, replaceFullPath: /}}}}}}]\n  \
         - backendRefs: [{{name: web}}]\n---\n\
         kind: TCPRoute\nmetadata: {{name: bytes}}\nspec:\n  parentRefs: [{{name: edge}}]\n  \
         rules: [{{backendRefs: [{{name: web}}]}}]\n---\n\
         kind: TrafficPolicy\nmetadata: {{name: web}}\nspec: {{targetRefs: [{{name: web}}], connection: {{streamsMax: 10}}}}\n---\n\
         kind: ListenerPolicy\nmetadata: {{name: edge}}\nspec: {{targetRefs: [{{name: edge}}], limits: {{headBytes: 1KiB}}}}\n"
    );
    cluster.apply(&documents);
    let _gateway = start_gateway(&cluster, &[]);
    eventually("the gateway to answer", START_LIMIT, || answers(port, "web-1"));
    // The application speaks HTTP, whoever carries its bytes.
    eventually("the gateway to pass bytes on", START_LIMIT, || answers(stream, "web-1"));
    let redirected = http::get(port, "/v1").unwrap();
    assert_eq!(
        (redirected.status, redirected.header("location")),
        (302, Some(&*format!("http://localhost:{port}/")))
    );
    let long = format!("/{}", "a".repeat(1024));
    assert_eq!(http::get(port, &long).unwrap().status, 431);
    assert_eq!(http::get(stream, &long).unwrap().status, 200, "bytes are not looked at");

    let routes = cluster.weir(&["get", "routes"]);
    assert!(routes.contains("TCPRoute    bytes") && routes.contains("~/v[0-9]+"), "{routes}");
    assert!(cluster.weir(&["get", "ListenerPolicies"]).contains("edge"));
    let explained = cluster.weir(&["explain", &format!("tcp://127.0.0.1:{stream}"), "--gateway", "edge"]);
    assert!(explained.contains("TCPRoute/bytes"), "{explained}");
    cluster.weir(&["delete", "TCPRoute", "bytes"]);
    eventually("connections to be closed", START_LIMIT, || http::get(stream, "/").is_err().then_some(()));
    assert!(answers(port, "web-1").is_some());
    cluster.weir(&["delete", "ListenerPolicy", "edge"]);
    eventually("the policy to hold no more", START_LIMIT, || {
        http::get(port, &long).ok().filter(|answer| answer.status == 200)
    });
}
