//! Real third-party Consul clients against a real server process: python-consul, py-consul and npm's `consul`.
//!
//! The flows are scripts in `clients/`, which count what passed. They talk only over the network, so they can be run
//! against a real Consul too: set `CONSUL_CONFORMANCE_ADDR` to its `HOST:PORT`. The clients are installed at their
//! pinned versions below `clients/` when they are not there yet; `python3` and `npm` must be.

use std::path::{Path, PathBuf};
use std::process::Command;

use weir_tests::Cluster;

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// The server to test: one of our own for this test, or the one that the environment names.
struct Target {
    address: (String, String),
    _cluster: Option<Cluster>,
}

impl Target {
    fn new() -> Self {
        if let Ok(address) = std::env::var("CONSUL_CONFORMANCE_ADDR") {
            let (host, port) = address.rsplit_once(':').expect("CONSUL_CONFORMANCE_ADDR is HOST:PORT");
            return Self { address: (host.to_owned(), port.to_owned()), _cluster: None };
        }
        let cluster = Cluster::start();
        Self { address: ("127.0.0.1".to_owned(), cluster.http.to_string()), _cluster: Some(cluster) }
    }
}

/// Runs a command and returns its standard output; what went wrong is shown in full.
fn run(what: &str, command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{what}: cannot start {:?}: {error}; is it installed?", command.get_program())
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{text}{errors}", output.status);
    text
}

/// Installs below `folder` unless what is installed there has this content as its list.
fn install_once(folder: &Path, list: &Path, install: impl FnOnce()) {
    let wanted =
        std::fs::read_to_string(list).unwrap_or_else(|error| panic!("cannot read {list:?}: {error}"));
    let mark = folder.join(".installed");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return;
    }
    let _ = std::fs::remove_dir_all(folder);
    install();
    std::fs::write(&mark, wanted).unwrap_or_else(|error| panic!("cannot write {mark:?}: {error}"));
}

/// Runs a flow script, shows its counts, and fails if they show a failure or nothing at all.
fn flows(client: &str, command: &mut Command) {
    let target = Target::new();
    let (host, port) = &target.address;
    let output = run(client, command.current_dir(clients()).args([host, port]));
    let counts = output.lines().last().unwrap_or_default().to_owned();
    let passed = counts.split(": ").nth(1).and_then(|text| text.split(' ').next()?.parse::<u32>().ok());
    assert!(counts.ends_with(", 0 failed") && passed > Some(0), "{client}: {output}");
    show(&counts);
}

#[allow(clippy::print_stdout)]
fn show(line: &str) {
    println!("{line}");
}

fn python_flows(client: &str) {
    let venv = clients().join(".venv").join(client);
    let list = clients().join(format!("requirements-{client}.txt"));
    install_once(&venv, &list, || {
        run("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&venv));
        let mut pip = Command::new(venv.join("bin/pip"));
        run("pip install", pip.args(["install", "--quiet", "--requirement"]).arg(&list));
    });
    flows(client, Command::new(venv.join("bin/python")).arg("python_flows.py"));
}

#[test]
fn python_consul() {
    python_flows("python-consul");
}

#[test]
fn py_consul() {
    python_flows("py-consul");
}

#[test]
fn npm_consul() {
    let folder = clients().join("node_modules");
    install_once(&folder, &clients().join("package-lock.json"), || {
        run("npm ci", Command::new("npm").current_dir(clients()).args(["ci", "--no-audit", "--no-fund"]));
    });
    flows("npm consul", Command::new("node").arg("npm_flows.mjs"));
}
