//! A real etcd, for as long as a test needs it.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_store::EtcdAddress;

/// Nothing takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often another port is tried because somebody has taken the first meanwhile.
const TRIES_MAX: usize = 5;

/// A cluster of one, in memory if the machine has a place for that. Ended when dropped.
pub(crate) struct Member {
    process: Child,
    client: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Member {
    /// A new one.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments for `etcd`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        for _ in 0..TRIES_MAX {
            let shm = PathBuf::from("/dev/shm");
            let place = if shm.is_dir() { shm } else { std::env::temp_dir() };
            let folder = tempfile::tempdir_in(place).expect("a temporary folder");
            let (client, peer) = (free_port(), free_port());
            let process = run(&folder, client, peer, &arguments);
            let mut member = Self { process, client, folder, arguments: arguments.clone() };
            if member.answers() {
                return member;
            }
        }
        panic!("etcd does not start; is it installed (Debian: etcd-server)?");
    }

    /// How to reach it.
    pub(crate) fn address(&self) -> EtcdAddress {
        format!("etcd://127.0.0.1:{}", self.client).parse().expect("an address")
    }

    /// Ends it as a power failure does.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    /// Starts it again with what it has stored, at the same address.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn start_again(&mut self) {
        self.process = run(&self.folder, self.client, free_port(), &self.arguments);
        assert!(self.answers(), "etcd does not start again");
    }

    /// Waits until it takes connections; false if it ends instead.
    fn answers(&mut self) -> bool {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if TcpStream::connect(("127.0.0.1", self.client)).is_ok() {
                return true;
            }
            if self.process.try_wait().expect("a process").is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(folder: &TempDir, client: u16, peer: u16, arguments: &[String]) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    Command::new("etcd")
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--logger", "zap", "--log-level", "error"])
        .args(arguments)
        .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is not installed (Debian: etcd-server)")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}
