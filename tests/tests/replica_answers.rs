//! What operators ask one of several servers is answered for all of them, and a server that is gone is gone around.

#[path = "../../crates/store/tests/etcd/member.rs"]
mod member;

use std::process::Command;
use std::time::Duration;

use member::Member;
use weir_tests::{Process, eventually, free_ports, http};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

struct Replica {
    http: u16,
    grpc: u16,
    process: Process,
}

impl Replica {
    fn start(store: &str) -> Self {
        let [http, grpc] = free_ports();
        let (at_http, at_grpc) = (format!("127.0.0.1:{http}"), format!("127.0.0.1:{grpc}"));
        let args = ["server", "--store", store, "--http", &at_http, "--grpc", &at_grpc, "--dns", "off"];
        let process = Process::weir("server", args);
        Self { http, grpc, process }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }
}

/// Two replicas that know each other.
fn two(member: &Member) -> [Replica; 2] {
    let both = [Replica::start(&member.address()), Replica::start(&member.address())];
    for replica in &both {
        eventually("both see both", PATIENCE, || {
            let answer =
                http::get(replica.http, "/weir/v1/replicas").ok().filter(|answer| answer.status == 200)?;
            (answer.json()["items"].as_array()?.len() == 2).then_some(())
        });
    }
    both
}

fn weir(servers: &str, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(weir_tests::binary::weir())
        .args(args)
        .env("WEIR_SERVER", servers)
        .output()
        .expect("weir starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Each replica waits for the heartbeats of some nodes only.
#[test]
fn who_is_heard_from_is_known_wherever_one_asks() {
    const NODES: usize = 6;
    let member = Member::start();
    let both = two(&member);
    for number in 0..NODES {
        let node = serde_json::json!({"Node": format!("n{number}"), "Address": "10.0.0.1"});
        let answer = http::put(both[0].http, "/v1/catalog/register", &node.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let instance = r#"{"service": "web", "port": 80, "checks": [{"ttl": "10m"}]}"#;
        let path = format!("/weir/v1/instances/i{number}?node=n{number}");
        let answer = http::put(both[number % 2].http, &path, instance).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let heard = |replica: &Replica, query: &str| {
        let nodes = http::get(replica.http, &format!("/weir/v1/nodes{query}")).ok()?.json();
        let nodes = nodes["items"].as_array()?.iter().filter(|node| node["heartbeats"] == "heard");
        Some(nodes.count())
    };
    let [first, second] = &both;
    eventually("each knows of its own", PATIENCE, || {
        let of_both = heard(first, "?own")? + heard(second, "?own")?;
        (of_both == NODES).then_some(())
    });
    for replica in &both {
        assert_eq!(heard(replica, ""), Some(NODES));
        let (status, text) = weir(&replica.address(), &["get", "nodes"]);
        assert!(status == Some(0) && text.matches("heard").count() == NODES, "{text}");
    }
    // One that stands still is named.
    first.process.signal(libc::SIGSTOP);
    let (status, text) = weir(&second.address(), &["get", "nodes"]);
    first.process.signal(libc::SIGCONT);
    assert!(
        status == Some(0) && text.contains(&first.address()) && text.contains("does not answer"),
        "{text}"
    );
}

#[test]
fn proxies_are_known_wherever_one_asks() {
    let member = Member::start();
    let [first, second] = two(&member);
    let [gateway] = free_ports();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.yaml");
    let documents = |host: &str| {
        format!(
            "kind: Gateway\nmetadata: {{name: edge}}\nspec: {{listeners: [{{name: a, port: {gateway}, protocol: HTTP}}]}}\n\
             ---\nkind: Service\nmetadata: {{name: web}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: 9}}]}}\n---\n\
             kind: HTTPRoute\nmetadata: {{name: web}}\nspec: {{parentRefs: [{{name: edge}}], hostnames: [{host}], \
             rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}\n"
        )
    };
    let apply = |servers: &str, host: &str| {
        std::fs::write(&file, documents(host)).unwrap();
        weir(servers, &["apply", "-f", file.to_str().unwrap()])
    };
    assert_eq!(apply(&first.address(), "one.example").0, Some(0));
    // Each proxy knows one replica.
    let proxy = |id: &str, replica: &Replica| {
        let mesh = format!("127.0.0.1:{}", replica.grpc);
        Process::weir(id, ["proxy", "--gateway", "edge", "--server", &mesh, "--id", id])
    };
    let _first_proxy = proxy("p1", &first);
    eventually("p1 has joined", PATIENCE, || {
        weir(&first.address(), &["get", "proxies"]).1.contains("p1").then_some(())
    });
    let (status, text) = weir(&second.address(), &["get", "proxies"]);
    assert!(status == Some(0) && text.contains("p1"), "{text}");
    let own = http::get(second.http, "/weir/v1/proxies?own").unwrap().json();
    assert_eq!(own["items"].as_array().map(Vec::len), Some(0), "{own}");
    // The command waits for proxies, but not as long as they take on a busy machine.
    eventually("p1 to have applied it", PATIENCE, || {
        let (status, text) = apply(&second.address(), "two.example");
        (status == Some(0) && text.contains("1/1")).then_some(())
    });

    // What it counts is known at both as well.
    eventually("p1 serves", PATIENCE, || http::get(gateway, "/").ok());
    eventually("its figures at the other replica", PATIENCE, || {
        let figures = http::get(second.http, "/weir/v1/figures").ok()?.json();
        let services = figures["services"].as_array()?.len();
        (figures["proxies"] == 1 && figures["reporting"] == 1 && services > 0).then_some(())
    });
    let reports = http::get(second.http, "/weir/v1/reports").unwrap().json();
    assert_eq!(reports["items"][0]["proxy"], "p1", "{reports}");

    // A replica that stands still is named.
    first.process.signal(libc::SIGSTOP);
    let (status, text) = weir(&second.address(), &["get", "proxies"]);
    first.process.signal(libc::SIGCONT);
    assert!(status == Some(0) && text.contains(&format!("{} does not answer", first.address())), "{text}");
}

#[test]
fn commands_go_on_at_the_next_server_and_so_does_a_lock() {
    let member = Member::start();
    let [mut first, second] = two(&member);
    let both = format!("{},{}", first.address(), second.address());
    let folder = tempfile::tempdir().unwrap();
    let (begun, end) = (folder.path().join("begun"), folder.path().join("end"));
    // Ends by itself when it is told to, long after a lock of 5 s that nobody renews is lost.
    let script = format!("touch {}; while ! test -e {}; do sleep 0.05; done", begun.display(), end.display());
    let mut command = Command::new(weir_tests::binary::weir());
    command.args(["lock", "--server", &both, "--ttl", "5s", "job", "--", "sh", "-c", &script]);
    let mut lock = Process::start("lock", command);
    eventually("the command to run", PATIENCE, || begun.exists().then_some(()));
    let token = || {
        http::get(second.http, "/weir/v1/locks/job").ok()?.json()["holders"][0]["token"]
            .as_str()
            .map(str::to_owned)
    };
    let held = eventually("the lock at the second", PATIENCE, token);
    first.process.kill_9();
    let (status, text) = weir(&both, &["get", "locks"]);
    assert!(status == Some(0) && text.contains("job"), "{text}");
    let began = std::time::Instant::now();
    eventually("three times to live of the lock", PATIENCE, || {
        (began.elapsed().as_secs() > 15).then_some(())
    });
    assert!(lock.is_running(), "{}", lock.output());
    assert_eq!(token(), Some(held), "it is the same claim");
    std::fs::write(&end, "").unwrap();
    assert_eq!(lock.wait(PATIENCE).code(), Some(0), "{}", lock.output());
    eventually("the lock is free", PATIENCE, || {
        (http::get(second.http, "/weir/v1/locks/job").ok()?.status == 404).then_some(())
    });
    let (status, text) = weir("127.0.0.1:1,127.0.0.1:2", &["get", "locks"]);
    assert_eq!(status, Some(5), "{text}");
}
