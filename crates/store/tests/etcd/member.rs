//! A real etcd, for as long as a test needs it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often another port is tried because somebody has taken the first meanwhile.
const TRIES_MAX: usize = 5;
/// Where ports for members are looked for: below those that the system gives to outgoing connections, of which one could
/// take the port of a member that is down.
const PORTS: Range<u16> = 4_000..8_000;

/// A member of a cluster; its data is in memory if the machine has a place for that. Ended when dropped.
pub(crate) struct Member {
    process: Option<Child>,
    client: u16,
    arguments: Vec<String>,
    folder: TempDir,
    secured: Option<Secured>,
}

/// The files of a member that speaks TLS with its clients, and wants to know who they are.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "not in every test program")]
pub(crate) struct Secured {
    /// Its certificate, for 127.0.0.1, and its key.
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Whom it believes.
    pub(crate) ca: PathBuf,
}

impl Member {
    /// A cluster of one.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn start() -> Self {
        Self::cluster(1).pop().expect("one")
    }

    /// A cluster of one that speaks TLS.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn secured(secured: &Secured) -> Self {
        Self::cluster_of(1, Some(secured)).pop().expect("one")
    }

    /// A cluster of so many, which has a leader.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn cluster(size: usize) -> Vec<Self> {
        Self::cluster_of(size, None)
    }

    fn cluster_of(size: usize, secured: Option<&Secured>) -> Vec<Self> {
        for _ in 0..TRIES_MAX {
            let ports: Vec<(u16, u16)> = (0..size).map(|_| (free_port(), free_port())).collect();
            let peers: Vec<String> = ports
                .iter()
                .enumerate()
                .map(|(i, (_, peer))| format!("m{i}=http://127.0.0.1:{peer}"))
                .collect();
            let peers = peers.join(",");
            let start =
                |(i, (client, peer)): (usize, (u16, u16))| Self::new(i, client, peer, &peers, secured);
            let mut members: Vec<Self> = ports.into_iter().enumerate().map(start).collect();
            if members.iter_mut().all(Self::answers) {
                members.iter().for_each(Self::wait_until_it_takes_part);
                return members;
            }
        }
        panic!("etcd does not start; is it installed (Debian: etcd-server)?");
    }

    fn new(number: usize, client: u16, peer: u16, peers: &str, secured: Option<&Secured>) -> Self {
        let shm = PathBuf::from("/dev/shm");
        let place = if shm.is_dir() { shm } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(place).expect("a temporary folder");
        let scheme = if secured.is_some() { "https" } else { "http" };
        let (client_url, peer_url) =
            (format!("{scheme}://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let data = folder.path().join("data").display().to_string();
        let name = format!("m{number}");
        let arguments = [
            ["--name", &name],
            ["--data-dir", &data],
            ["--listen-client-urls", &client_url],
            ["--advertise-client-urls", &client_url],
            ["--listen-peer-urls", &peer_url],
            ["--initial-advertise-peer-urls", &peer_url],
            ["--initial-cluster", peers],
            ["--logger", "zap"],
            ["--log-level", "error"],
        ];
        let mut arguments: Vec<String> = arguments.iter().flatten().map(ToString::to_string).collect();
        if let Some(Secured { cert, key, ca }) = secured {
            let files = [("--cert-file", cert), ("--key-file", key), ("--trusted-ca-file", ca)];
            arguments.extend(
                files.iter().flat_map(|(flag, file)| [(*flag).to_owned(), file.display().to_string()]),
            );
            arguments.push("--client-cert-auth".to_owned());
        }
        Self { process: Some(run(&arguments)), client, arguments, folder, secured: secured.cloned() }
    }

    /// Runs `etcdctl` against it; `user` is `NAME:PASSWORD` where etcd asks for one.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn ctl(&self, user: Option<&str>, arguments: &[&str]) {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        let scheme = if self.secured.is_some() { "https" } else { "http" };
        command.arg(format!("--endpoints={scheme}://{}", self.host()));
        if let Some(Secured { cert, key, ca }) = &self.secured {
            let files = [("--cert", cert), ("--key", key), ("--cacert", ca)];
            command.args(files.iter().map(|(flag, file)| format!("{flag}={}", file.display())));
        }
        command.args(user.map(|user| format!("--user={user}"))).args(arguments);
        let output = command.output().expect("etcdctl is not installed (Debian: etcd-client)");
        assert!(
            output.status.success(),
            "etcdctl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// How to reach it alone, as `--store` has it.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn address(&self) -> String {
        format!("etcd://{}", self.host())
    }

    /// Host and port for clients.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }

    /// Ends it as a power failure does.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn kill(&mut self) {
        self.end();
    }

    /// Starts it again with what it has stored, at the same address.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn start_again(&mut self) {
        self.process = Some(run(&self.arguments));
        assert!(self.answers(), "etcd does not start again");
        self.wait_until_it_takes_part();
    }

    /// One that speaks TLS is not asked: whoever opens it may have to try for a while.
    fn wait_until_it_takes_part(&self) {
        let since = Instant::now();
        while self.secured.is_none() && !self.takes_part() {
            assert!(since.elapsed() < PATIENCE, "etcd does not take part in its cluster");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it knows a leader and reads what is newest, by its own word.
    fn takes_part(&self) -> bool {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.client))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET /health HTTP/1.0\r\nHost: {}\r\n\r\n", self.host())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        asked().is_ok_and(|text| text.contains(r#""health":"true""#))
    }

    /// Sends it a signal, by name.
    #[allow(dead_code, reason = "not in every test program")]
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits until it takes connections; false if it ends instead.
    fn answers(&mut self) -> bool {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if TcpStream::connect(("127.0.0.1", self.client)).is_ok() {
                return true;
            }
            let process = self.process.as_mut().expect("it was started");
            if process.try_wait().expect("a process").is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("etcd does not answer; its data is in {}", self.folder.path().display());
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(arguments: &[String]) -> Child {
    Command::new("etcd")
        .args(arguments)
        .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is not installed (Debian: etcd-server)")
}

/// A port that nobody listens on, and that is given out once in this process.
fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Test programs that run side by side begin at different places.
    let first = (std::process::id().wrapping_mul(211) % u32::from(count)) as u16;
    loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        assert!(tried < count, "no port is free");
        let port = PORTS.start + (first + tried) % count;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
