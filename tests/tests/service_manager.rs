//! What a service manager is told, and that it can start what the examples say.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use weir_tests::{Process, free_ports, http};

const PATIENCE: Duration = Duration::from_secs(60);

/// Where a process says how it stands.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn start(&self, args: &[&str]) -> Process {
        let mut command = Command::new(weir_tests::binary::weir());
        command.args(args).env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        Process::start("told", command)
    }

    /// Waits until it says this, and gives all that it said with it.
    fn hears(&self, state: &str) -> String {
        let mut bytes = [0; 1024];
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let length =
                self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{state} was not said: {error}"));
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if said.lines().any(|line| line == state) {
                return said;
            }
        }
        panic!("{state} was not said");
    }
}

#[test]
fn a_server_says_when_it_serves_reloads_and_ends() {
    let manager = Manager::new();
    let [port] = free_ports();
    let at = format!("127.0.0.1:{port}");
    let mut server = manager.start(&["server", "--http", &at, "--grpc", "127.0.0.1:0", "--dns", "off"]);
    manager.hears("STATUS=starting");
    manager.hears("READY=1");
    assert_eq!(http::get(port, "/readyz").unwrap().status, 200, "it serves when it says so");
    server.signal(libc::SIGHUP);
    let said = manager.hears("RELOADING=1");
    let clock = said.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(clock.is_some_and(|clock| clock.parse::<u64>().is_ok()), "{said}");
    manager.hears("READY=1");
    server.signal(libc::SIGTERM);
    manager.hears("STOPPING=1");
    assert!(server.wait(PATIENCE).success());
}

#[test]
fn an_agent_is_ready_when_it_answers_with_or_without_servers() {
    let manager = Manager::new();
    let [port] = free_ports();
    let at = format!("127.0.0.1:{port}");
    let mut agent = manager.start(&["agent", "--server", "127.0.0.1:1", "--http", &at, "--dns", "off"]);
    manager.hears("READY=1");
    assert_eq!(http::get(port, "/healthz").unwrap().status, 200, "it serves when it says so");
    assert!(agent.terminate().success());
    manager.hears("STOPPING=1");
}

#[test]
fn a_proxy_is_ready_when_something_is_in_force() {
    let manager = Manager::new();
    let [port, mesh] = free_ports();
    let file = manager.folder.path().join("edge.yaml");
    let document = format!(
        "kind: Gateway\nmetadata: {{name: edge}}\nspec: {{listeners: [{{name: a, port: {port}, protocol: HTTP}}]}}\n"
    );
    std::fs::write(&file, document).unwrap();
    let mut proxy = manager.start(&["proxy", "-f", file.to_str().unwrap()]);
    manager.hears("READY=1");
    assert!(http::get(port, "/").is_ok(), "it serves when it says so");
    assert!(proxy.terminate().success());
    manager.hears("STOPPING=1");
    // Without a control plane there is nothing to serve.
    let server = format!("127.0.0.1:{mesh}");
    let mut waiting = manager.start(&["proxy", "--gateway", "edge", "--server", &server]);
    manager.hears("STATUS=waiting for something to serve");
    waiting.wait_for_line("control plane", PATIENCE);
    assert!(waiting.terminate().success());
    assert!(!manager.hears("STOPPING=1").contains("READY"));
}

/// Every flag of the examples is one that the binary knows, and systemd finds nothing to complain about.
#[test]
fn the_units_of_the_examples_are_sound() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/systemd");
    let folder = tempfile::tempdir().unwrap();
    let weir = weir_tests::binary::weir().to_str().unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(units).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "service") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let start =
            text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/weir ")).expect("a command");
        let role = start.split(' ').next().expect("a role");
        let help = Command::new(weir).args([role, "--help"]).output().unwrap();
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        for flag in start.split(' ').filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "{}: {flag}", path.display());
        }
        seen += 1;
        // Not installed here: the binary stands elsewhere, and an instance needs a name.
        let name = path.file_name().unwrap().to_str().unwrap().replace('@', "@a");
        let unit = folder.path().join(&name);
        std::fs::write(&unit, text.replace("/usr/bin/weir", weir)).unwrap();
        let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output();
        if let Ok(verified) = verified {
            let said = String::from_utf8_lossy(&verified.stderr).into_owned();
            let about: Vec<&str> = said.lines().filter(|line| line.contains("weir")).collect();
            assert!(about.is_empty(), "{name}: {about:?}");
        }
    }
    assert_eq!(seen, 4);
}

/// What the drop-in relaxes, the agent's unit says.
#[test]
fn the_drop_in_for_checks_is_about_what_the_unit_says() {
    let read = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/systemd");
        std::fs::read_to_string(folder.join(name)).unwrap()
    };
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
    };
    let (unit, relaxed) = (settings(&read("weir-agent.service")), settings(&read("weir-agent-checks.conf")));
    assert!(relaxed.len() > 4);
    for setting in relaxed {
        assert!(unit.contains(&setting), "{setting}");
    }
}
