//! Interception of an application that knows nothing of it, in network namespaces of its own: one host with the
//! application and its sidecar, another one with everything that it calls.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use weir_tests::cluster::START_LIMIT;
use weir_tests::databases::output;
use weir_tests::namespaces::Namespace;
use weir_tests::{Process, binary, eventually};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");
const TEST_STREAM: &str = env!("CARGO_BIN_EXE_test-stream");
/// The application's user. The proxy runs as root, which is not redirected.
const APPLICATION: u32 = 65_534;

/// Where every user may run it, unlike one in somebody's home.
const PYTHON: &str = "/usr/bin/python3";

/// Connects, sends what there is to be sent (escapes and all), and prints what comes until the other side ends, or for
/// as many bytes as are wanted.
const CLIENT: &str = "
import socket, sys
host, port, text, wanted = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
s = socket.create_connection((host, port), 60)
s.settimeout(60)
if text: s.sendall(text.encode().decode('unicode_escape').encode('latin-1'))
got = b''
while len(got) < wanted:
    more = s.recv(65536)
    if not more: break
    got += more
sys.stdout.buffer.write(got)
";

struct Hosts {
    here: Namespace,
    far: Namespace,
    running: Vec<Process>,
}

impl Hosts {
    fn set() -> Option<Self> {
        match (Namespace::new(), Namespace::new()) {
            (Ok(here), Ok(far)) => {
                here.join(&far, "cable", "10.99.0.", "fd99::");
                Some(Self { here, far, running: Vec::new() })
            }
            (Err(why), _) | (_, Err(why)) => {
                skipped(&why);
                None
            }
        }
    }

    fn start(&mut self, name: &str, command: Command) -> &mut Process {
        self.running.push(Process::start(name, command));
        self.running.last_mut().unwrap()
    }

    /// Something that answers requests.
    fn app(&mut self, far: bool, name: &str, port: u16, address: &str) {
        let namespace = if far { &self.far } else { &self.here };
        let mut command = namespace.command(TEST_APP);
        command.args([name, &port.to_string(), address]);
        self.start(name, command);
    }

    /// Something that speaks first.
    fn stream(&mut self, name: &str, address: &str) {
        self.running.push(stream(&self.far, name, address));
    }

    fn intercept(&self, args: &str) -> String {
        output(self.here.command(binary::weir()).arg("intercept").args(args.split_whitespace()))
    }

    /// What the application gets that connects to an address; none when it is refused or reset.
    fn call(&self, host: &str, port: u16, text: &str, wanted: usize) -> Option<String> {
        called(self.here.command_as(APPLICATION, PYTHON), host, port, text, wanted)
    }

    /// The same from the other host.
    fn call_from_afar(&self, host: &str, port: u16, wanted: usize) -> Option<String> {
        called(self.far.command(PYTHON), host, port, "", wanted)
    }

    /// Who answers a request.
    fn ask(&self, host: &str, port: u16, name: &str) -> Option<String> {
        let request = format!("GET / HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n");
        let answer = self.call(host, port, &request, usize::MAX >> 2)?;
        Some(answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
    }

    /// Waits until everybody of these has answered, each connection anew, and nobody else.
    fn everybody(&self, expected: &[&str], mut ask: impl FnMut(&Self) -> Option<String>) {
        let mut seen = BTreeSet::new();
        eventually(&format!("{expected:?} to answer"), START_LIMIT, || {
            seen.extend(ask(self));
            assert!(seen.iter().all(|one| expected.contains(&one.as_str())), "{seen:?}, not {expected:?}");
            (seen.len() == expected.len()).then_some(())
        });
    }

    /// Over some connections, one alone answers, and always.
    fn alone(&self, expected: &str, mut ask: impl FnMut(&Self) -> Option<String>) {
        for _ in 0..10 {
            assert_eq!(ask(self).as_deref(), Some(expected));
        }
    }

    /// Waits until somebody on the other host listens, seen from there.
    fn until_listening(&self, host: &str, port: u16) {
        eventually(&format!("{host}:{port} to listen"), START_LIMIT, || {
            called(self.far.command(PYTHON), host, port, "", 0)
        });
    }
}

fn stream(namespace: &Namespace, name: &str, address: &str) -> Process {
    let mut command = namespace.command(TEST_STREAM);
    command.args([name, address]);
    Process::start(name, command)
}

fn called(mut client: Command, host: &str, port: u16, text: &str, wanted: usize) -> Option<String> {
    client.args(["-c", CLIENT, host, &port.to_string(), text, &wanted.to_string()]);
    let done = client.output().unwrap();
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Says loudly that something was not tested. Where changes are checked that is a failure: nobody would see it.
#[allow(clippy::print_stderr)]
fn skipped(why: &str) {
    let is_checked = std::env::var_os("CI").is_some_and(|set| !set.is_empty());
    assert!(!is_checked, "interception needs network namespaces, which are forbidden here: {why}");
    eprintln!(
        "\n**** NOT TESTED: interception needs network namespaces, which are forbidden here: {why} ****\n"
    );
}

fn documents(dir: &Path) -> String {
    let file = dir.join("services.yaml");
    let text = "\
kind: Service
metadata: {name: cart}
spec: {endpoints: [{address: 10.99.0.2, port: 9001}, {address: 10.99.0.2, port: 9002}]}
---
kind: Service
metadata: {name: greeter}
spec: {protocol: tcp, endpoints: [{address: 10.99.0.2, port: 9005}, {address: 10.99.0.2, port: 9006}]}
";
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn an_applications_connections_are_governed_without_its_knowledge() {
    let Some(mut hosts) = Hosts::set() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, port) in [("cart-a", 9001), ("cart-b", 9002), ("stranger", 9003)] {
        hosts.app(true, name, port, "10.99.0.2");
    }
    hosts.app(true, "stranger-v6", 9003, "fd99::2");
    hosts.app(false, "app", 9000, "127.0.0.1");
    for (name, port) in [
        ("unknown", 9004),
        ("greeter-a", 9005),
        ("greeter-b", 9006),
        ("left-alone", 9007),
        ("database", 9008),
    ] {
        hosts.stream(name, &format!("10.99.0.2:{port}"));
    }
    for port in 9001..=9008 {
        hosts.until_listening("10.99.0.2", port);
    }
    hosts.until_listening("fd99::2", 9003);
    let mut server = hosts.here.command(binary::weir());
    server.args(["server", "-f", &documents(dir.path())]);
    hosts.start("server", server);
    let log = dir.path().join("access.log");
    let mut sidecar = hosts.here.command(binary::weir());
    sidecar.args(["proxy", "--insecure", "--service", "front", "--app", "127.0.0.1:9000"]);
    sidecar.args(["--inbound", "0.0.0.0:19000", "--outbound", "127.0.0.1:15000", "--access-log"]).arg(&log);
    sidecar.args([
        "--upstream",
        "cart",
        "--upstream",
        "greeter",
        "--upstream",
        "database",
        "--upstream",
        "cart=127.0.0.1:9191",
    ]);
    sidecar.args(["--transparent", "127.0.0.1:15001", "--transparent", "[::1]:15001"]);
    hosts.start("sidecar", sidecar).wait_for_line("transparent", START_LIMIT);
    let register = r#"{"service": "database", "address": "10.99.0.2", "port": 9008}"#;
    let request = format!(
        "PUT /weir/v1/instances/database HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\nContent-Length: \
         {}\\r\\n\\r\\n{register}",
        register.len()
    );
    eventually("the database to be registered", START_LIMIT, || {
        let answer = hosts.call("127.0.0.1", 8500, &request, usize::MAX >> 2)?;
        answer.starts_with("HTTP/1.1 20").then_some(())
    });
    let by_port = |hosts: &Hosts| hosts.ask("127.0.0.1", 9191, "whatever");
    eventually("the sidecar knows the service", START_LIMIT, || {
        by_port(&hosts).filter(|answer| answer.starts_with("cart-"))
    });

    // Nothing is intercepted yet.
    let at_cart = |hosts: &Hosts| hosts.ask("10.99.0.2", 9001, "10.99.0.2");
    let at_greeter = |hosts: &Hosts| hosts.call("10.99.0.2", 9005, "", 10);
    hosts.alone("cart-a", at_cart);
    let rules = "--outbound 15001 --proxy-uid 0 --inbound 9000=19000 --exclude-port 9007";
    let printed = hosts.intercept(&format!("print {rules}"));
    assert!(printed.contains("redirect to :15001") && printed.contains("dport 9000 redirect to :19000"));
    assert_eq!(output(hosts.here.command("nft").args(["list", "ruleset"])), "", "printing changes nothing");
    for _ in 0..2 {
        // The second time in place of the first.
        assert!(hosts.intercept(&format!("apply {rules}")).starts_with("applied"));
    }
    let in_force = output(hosts.here.command("nft").args(["list", "ruleset"]));
    assert_eq!(in_force.matches("redirect to :15001").count(), 1, "{in_force}");

    // An address of a service stands for the service.
    hosts.everybody(&["cart-a", "cart-b"], at_cart);
    hosts.everybody(&["greeter-a\n", "greeter-b\n"], at_greeter);
    // Its local port as before.
    hosts.everybody(&["cart-a", "cart-b"], by_port);
    // Nobody has declared what it speaks, and it speaks first. Before the sidecar knows of it, it is somebody unknown.
    let logged = |what: &str| std::fs::read_to_string(&log).ok().filter(|log| log.contains(what));
    eventually("the database to be logged as a service", START_LIMIT, || {
        assert_eq!(hosts.call("10.99.0.2", 9008, "", 9).as_deref(), Some("database\n"));
        logged("\"database\"")
    });
    // What is nobody's goes where it was going, unless it asks for a service by name.
    assert_eq!(hosts.ask("10.99.0.2", 9003, "elsewhere.example").as_deref(), Some("stranger"));
    assert_eq!(hosts.ask("fd99::2", 9003, "elsewhere.example").as_deref(), Some("stranger-v6"));
    hosts.everybody(&["cart-a", "cart-b"], |hosts| hosts.ask("10.99.0.2", 9003, "cart"));
    // Bytes, of those who speak first and of those who wait.
    assert_eq!(hosts.call("10.99.0.2", 9004, "", 8).as_deref(), Some("unknown\n"));
    let spoken = hosts.call("10.99.0.2", 9004, "\\x00\\x01not http\\r\\n", 20);
    assert_eq!(spoken.as_deref(), Some("unknown\n\0\u{1}not http\r\n"));
    assert_eq!(hosts.call("10.99.0.2", 9007, "", 11).as_deref(), Some("left-alone\n"));
    assert_eq!(
        hosts.call("10.99.0.2", 9999, "", 1),
        Some(String::new()).filter(|_| false),
        "nobody listens there"
    );
    // The port for redirected connections is for nothing else.
    assert_eq!(hosts.call("127.0.0.1", 15001, "GET / HTTP/1.1\\r\\n\\r\\n", 1), None);

    // From elsewhere, the application is reached through its sidecar.
    let mut caller = hosts.far.command(PYTHON);
    let request = "GET /echo HTTP/1.1\\r\\nHost: app\\r\\nConnection: close\\r\\n\\r\\n";
    caller.args(["-c", CLIENT, "10.99.0.1", "9000", request, "1000000"]);
    let seen = output(&mut caller).to_lowercase();
    assert!(seen.contains("x-forwarded-for: 10.99.0.2"), "{seen}");

    hosts.intercept("remove");
    hosts.intercept("remove");
    assert_eq!(output(hosts.here.command("nft").args(["list", "ruleset"])), "");
    hosts.alone("cart-a", at_cart);

    for what in ["10.99.0.2:9004", "10.99.0.2:9003", "\"greeter\""] {
        eventually(&format!("{what} in the log"), START_LIMIT, || logged(what));
    }
    assert!(logged(":9007").is_none(), "left alone");
}

/// Where the rules name another user than the proxy's, what it passes on comes back to it.
#[test]
fn a_proxy_that_is_not_left_alone_does_not_run_in_circles() {
    let Some(mut hosts) = Hosts::set() else { return };
    hosts.stream("direct", "10.99.0.2:9004");
    eventually("the server listens", START_LIMIT, || hosts.call("10.99.0.2", 9004, "", 7));
    let mut server = hosts.here.command(binary::weir());
    server.arg("server");
    hosts.start("server", server);
    let mut sidecar = hosts.here.command(binary::weir());
    sidecar.args(["proxy", "--service", "front", "--app", "127.0.0.1:9000", "--inbound", "127.0.0.1:19000"]);
    sidecar.args(["--outbound", "127.0.0.1:15000", "--transparent", "127.0.0.1:15001"]);
    hosts.start("sidecar", sidecar).wait_for_line("transparent", START_LIMIT);
    hosts.intercept("apply --outbound 15001 --proxy-uid 4242");
    for text in ["", "\\x00\\x01 bytes"] {
        assert_eq!(hosts.call("10.99.0.2", 9004, text, 7), None, "reset, and soon");
    }
    let warnings = eventually("a warning for each", START_LIMIT, || {
        let said = hosts.running.last().unwrap().output();
        Some(said.matches("own connections are redirected").count()).filter(|warnings| *warnings >= 2)
    });
    assert!(warnings < 200, "{warnings}");
    hosts.intercept("remove");
}

#[test]
fn only_the_connections_of_certain_users_are_redirected_where_that_is_asked_for() {
    let Some(mut hosts) = Hosts::set() else { return };
    hosts.stream("direct", "10.99.0.2:9004");
    eventually("the server listens", START_LIMIT, || hosts.call("10.99.0.2", 9004, "", 7));
    // Nobody listens at the port that is redirected to: what is redirected fails.
    hosts.intercept("apply --outbound 15001 --proxy-uid 0 --only-uid 1234 --table other");
    assert_eq!(hosts.call("10.99.0.2", 9004, "", 7).as_deref(), Some("direct\n"));
    hosts.intercept("apply --outbound 15001 --proxy-uid 0 --only-uid 65534 --table other");
    assert_eq!(hosts.call("10.99.0.2", 9004, "", 7), None);
    hosts.intercept(
        "apply --outbound 15001 --proxy-uid 0 --only-uid 65534 --exclude-net 10.99.0.0/16 --table other",
    );
    assert_eq!(hosts.call("10.99.0.2", 9004, "", 7).as_deref(), Some("direct\n"));
    hosts.intercept("remove --table other");
}

#[test]
fn what_is_routed_through_the_host_is_left_alone() {
    let Some(mut hosts) = Hosts::set() else { return };
    // far --- here --- beyond
    let beyond = Namespace::new().unwrap();
    hosts.here.join(&beyond, "further", "10.98.0.", "fd98::");
    hosts.here.forward();
    hosts.far.route("10.98.0.0/24", "10.99.0.1");
    hosts.far.route("fd98::/64", "fd99::1");
    beyond.route("10.99.0.0/24", "10.98.0.1");
    beyond.route("fd99::/64", "fd98::1");
    for (namespace, name, address) in [
        (&beyond, "beyond", "10.98.0.2:9000"),
        (&beyond, "beyond", "[fd98::2]:9000"),
        (&hosts.here, "sidecar", "[::]:19000"),
    ] {
        hosts.running.push(stream(namespace, name, address));
    }
    let through = |hosts: &Hosts, host| hosts.call_from_afar(host, 9000, 7);
    for host in ["10.98.0.2", "fd98::2"] {
        eventually("the server beyond listens", START_LIMIT, || through(&hosts, host));
    }
    eventually("what stands for the sidecar listens", START_LIMIT, || {
        hosts.call_from_afar("10.99.0.1", 19000, 8)
    });
    hosts.intercept("apply --inbound 9000=19000");
    for (here, beyond) in [("10.99.0.1", "10.98.0.2"), ("fd99::1", "fd98::2")] {
        assert_eq!(hosts.call_from_afar(here, 9000, 8).as_deref(), Some("sidecar\n"));
        assert_eq!(through(&hosts, beyond).as_deref(), Some("beyond\n"));
    }
}

#[test]
fn ipv6_is_left_alone_where_that_is_asked_for() {
    let Some(mut hosts) = Hosts::set() else { return };
    hosts.stream("four", "10.99.0.2:9004");
    hosts.stream("six", "[fd99::2]:9004");
    let both = |hosts: &Hosts| [hosts.call("10.99.0.2", 9004, "", 5), hosts.call("fd99::2", 9004, "", 4)];
    let direct = ["four\n", "six\n"].map(|text| Some(text.to_owned()));
    eventually("the servers listen", START_LIMIT, || (both(&hosts) == direct).then_some(()));
    // Nobody listens at the port that is redirected to: what is redirected fails.
    hosts.intercept("apply --outbound 15001 --proxy-uid 0");
    assert_eq!(both(&hosts), [None, None]);
    hosts.intercept("apply --outbound 15001 --proxy-uid 0 --ipv4-only");
    assert_eq!(both(&hosts), [None, Some("six\n".to_owned())]);
    hosts.intercept("remove");
}
