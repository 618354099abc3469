//! What is disturbed: three members of etcd and three servers, a gateway and applications, each on a host of its own.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::lan::{Cut, Host, Lan};
use weir_tests::{Process, binary, eventually};

use crate::client::{ask, ask_patiently};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");
/// Nothing here takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const REPLICAS: usize = 3;
/// Ports of the applications.
pub(crate) const APPS: [u16; 2] = [9001, 9002];
/// Where the gateway listens.
const GATEWAY: u16 = 8080;

/// What is done to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed,
    Paused,
    Cut(Cut),
}

pub(crate) struct Machine {
    pub(crate) host: Host,
    process: Process,
    start: Box<dyn Fn(&Host) -> Process>,
}

impl Machine {
    fn new(host: Host, start: impl Fn(&Host) -> Process + 'static) -> Self {
        Self { process: start(&host), host, start: Box::new(start) }
    }

    pub(crate) fn disturb(&mut self, lan: &Lan, fault: Fault) {
        match fault {
            Fault::Killed => self.process.kill_9(),
            Fault::Paused => self.process.signal(libc::SIGSTOP),
            Fault::Cut(cut) => lan.cut(&self.host, cut),
        }
    }

    pub(crate) fn mend(&mut self, lan: &Lan, fault: Fault) {
        match fault {
            Fault::Killed => self.process = (self.start)(&self.host),
            Fault::Paused => self.process.signal(libc::SIGCONT),
            Fault::Cut(cut) => lan.mend(&self.host, cut),
        }
    }

    /// Ends it as its supervisor does, and starts it again.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.terminate().success());
        self.process = (self.start)(&self.host);
    }
}

pub(crate) struct Stage {
    pub(crate) lan: Lan,
    pub(crate) members: Vec<Machine>,
    pub(crate) replicas: Vec<Machine>,
    /// Where clients are.
    pub(crate) clients: Host,
    pub(crate) apps: Host,
    gateway: Host,
    _running: Vec<Process>,
    _folder: TempDir,
}

impl Stage {
    /// None where network namespaces cannot be made.
    pub(crate) fn set() -> Option<Self> {
        let lan = match Lan::new() {
            Ok(lan) => lan,
            Err(why) => {
                skipped(&why);
                return None;
            }
        };
        let host = |number| lan.host(number).expect("a namespace, as the first one was");
        let folder = tempfile::tempdir().unwrap();
        let members = (0..3).map(|number| member(host(11 + number), number, &folder)).collect();
        let replicas: Vec<_> = (0..REPLICAS as u8).map(|number| replica(host(21 + number))).collect();
        let (gateway, apps, clients) = (host(31), host(32), host(41));
        let mut running = Vec::new();
        for port in APPS {
            let mut app = apps.command(TEST_APP);
            app.args([format!("app-{port}"), port.to_string(), apps.ip().to_string()]);
            running.push(Process::start("app", app));
        }
        let mut stage =
            Self { lan, members, replicas, clients, apps, gateway, _running: Vec::new(), _folder: folder };
        stage.wait_for(REPLICAS, &[0, 1, 2]);
        running.push(stage.start_gateway());
        stage._running = running;
        stage.clients.here({
            let servers = stage.servers();
            move || {
                let applied = ask_patiently(servers[0], "POST", "/weir/v1/apply", DOCUMENTS).unwrap();
                assert_eq!(applied.status, 200, "{}", applied.text());
            }
        });
        Some(stage)
    }

    fn start_gateway(&self) -> Process {
        let servers: Vec<String> = self.replicas.iter().map(|one| one.host.at(8502).to_string()).collect();
        let mut gateway = self.gateway.command(binary::weir());
        gateway.args(["proxy", "--gateway", "edge", "--server", &servers.join(","), "--insecure"]);
        Process::start("gateway", gateway)
    }

    /// The servers' HTTP addresses.
    pub(crate) fn servers(&self) -> [SocketAddr; REPLICAS] {
        std::array::from_fn(|replica| self.replicas[replica].host.at(8500))
    }

    pub(crate) fn gateway(&self) -> SocketAddr {
        self.gateway.at(GATEWAY)
    }

    /// Waits until each of these sees so many replicas.
    pub(crate) fn wait_for(&self, count: usize, seen_by: &[usize]) {
        for &replica in seen_by {
            let what = format!("replica {replica} sees {count} replicas");
            self.until(&what, PATIENCE, move |servers| {
                let found = get(servers[replica], "/weir/v1/replicas")?;
                (found["items"].as_array()?.len() == count).then_some(())
            });
        }
    }

    /// Waits, where clients are, until something can be seen.
    pub(crate) fn until<T: Send + 'static>(
        &self,
        what: &str,
        limit: Duration,
        look: impl Fn([SocketAddr; REPLICAS]) -> Option<T> + Send + 'static,
    ) -> T {
        let (servers, what) = (self.servers(), what.to_owned());
        self.clients.here(move || eventually(&what, limit, || look(servers)))
    }
}

const DOCUMENTS: &str = "\
kind: Gateway
metadata: {name: edge}
spec: {addresses: [{value: 0.0.0.0}], listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /moving}}]
    backendRefs: [{name: moving}]
  - backendRefs: [{name: web}]
";

/// A JSON answer with 200.
pub(crate) fn get(server: SocketAddr, path: &str) -> Option<Value> {
    ask(server, "GET", path, "").ok().filter(|answer| answer.status == 200).map(|answer| answer.json())
}

fn member(host: Host, number: u8, folder: &TempDir) -> Machine {
    let data = folder.path().join(format!("etcd-{number}")).display().to_string();
    Machine::new(host, move |host| {
        let (client, peer) = (format!("http://{}", host.at(2379)), format!("http://{}", host.at(2380)));
        let peers: Vec<String> =
            (0..3).map(|number| format!("m{number}=http://10.98.0.{}:2380", 11 + number)).collect();
        let mut etcd = host.command("etcd");
        etcd.args(["--name", &format!("m{number}"), "--data-dir", &data]);
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        etcd.args(["--initial-cluster", &peers.join(","), "--logger", "zap", "--log-level", "error"]);
        etcd.env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH);
        Process::start(&format!("etcd-{number}"), etcd)
    })
}

fn replica(host: Host) -> Machine {
    Machine::new(host, |host| {
        let store = "etcd://10.98.0.11:2379,10.98.0.12:2379,10.98.0.13:2379";
        let (http, grpc) = (host.at(8500).to_string(), host.at(8502).to_string());
        let mut server: Command = host.command(binary::weir());
        server.args([
            "server",
            "--store",
            store,
            "--http",
            &http,
            "--grpc",
            &grpc,
            "--dns",
            "off",
            "--insecure",
        ]);
        Process::start(&format!("server-{}", host.ip()), server)
    })
}

/// Says loudly that something was not tested. Where changes are checked that is a failure: nobody would see it.
#[allow(clippy::print_stderr)]
fn skipped(why: &str) {
    let is_checked = std::env::var_os("CI").is_some_and(|set| !set.is_empty());
    assert!(!is_checked, "partitions need network namespaces, which are forbidden here: {why}");
    eprintln!(
        "\n**** NOT TESTED: partitions need network namespaces, which are forbidden here: {why} ****\n"
    );
}
