//! Real databases, from Debian's packages, each in a directory and on a port of its own.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::{Process, eventually, free_port};

/// How long a database may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(60);
/// `nobody`: PostgreSQL refuses to run as root.
const UNPRIVILEGED: u32 = 65_534;
/// Where Debian keeps the programs that are not for everybody.
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";

/// A program, wherever it is installed.
///
/// # Panics
/// With what to install, when it is not.
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin".into(), "/sbin".into()]);
    let mut versions: Vec<PathBuf> = std::fs::read_dir(DEBIAN_POSTGRES)
        .map(|found| found.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    places.extend(versions.into_iter().rev());
    places.into_iter().map(|place| place.join(name)).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "this test needs `{name}`: install the package {package} (Debian, Ubuntu: apt install {package})"
        )
    })
}

/// What a command printed.
///
/// # Panics
/// When it fails, with all that it said.
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{said}\n{}", String::from_utf8_lossy(&stderr));
    said
}

/// A running PostgreSQL whose superuser is `postgres`, without a password.
pub struct Postgres {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    process: Process,
    _dir: tempfile::TempDir,
}

impl Postgres {
    /// A fresh one.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        if is_root() {
            chown(dir.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let mut initdb = Self::command("initdb", dir.path());
        initdb.arg("-D").arg(&data);
        output(initdb.args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]));
        let port = free_port();
        let mut postgres = Self::command("postgres", dir.path());
        postgres.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        for setting in
            ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=120"]
        {
            postgres.args(["-c", setting]);
        }
        let postgres = Self { port, process: Process::start("postgres", postgres), _dir: dir };
        eventually("PostgreSQL to be ready", START_LIMIT, || postgres.sql(port, "select 1").ok());
        postgres
    }

    /// Runs a statement through a port and gives what it returns, or what psql said.
    ///
    /// # Errors
    /// psql failed.
    pub fn sql(&self, port: u16, statement: &str) -> Result<String, String> {
        let done = psql(port).args(["-c", statement]).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if done.status.success() { Ok(said(&done.stdout)) } else { Err(said(&done.stderr)) }
    }

    /// Ends it as a crash would, all of its processes.
    pub fn crash(&mut self) {
        // Its own word for it: every child is told to give up at once.
        self.process.signal(libc::SIGQUIT);
        self.process.wait(START_LIMIT);
    }

    /// A command that this user may not run as root.
    fn command(name: &str, dir: &Path) -> Command {
        let mut command = Command::new(program(name, "postgresql"));
        command.current_dir(dir).env("HOME", dir);
        if is_root() {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.process.is_running() {
            // Without waiting for its clients.
            self.process.signal(libc::SIGINT);
            for _ in 0..500 {
                if !self.process.is_running() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// psql, to a port of 127.0.0.1, printing values alone.
pub fn psql(port: u16) -> Command {
    let mut command = Command::new(program("psql", "postgresql-client"));
    command.args([
        "-X",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-d",
        "postgres",
    ]);
    command.arg("-p").arg(port.to_string()).env("PGCONNECT_TIMEOUT", "20").env("PGSSLMODE", "disable");
    command
}

/// A running Redis.
pub struct Redis {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    process: Process,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// A fresh one, which answers `GET who` with a name.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[], |port| vec!["--port".to_owned(), port.to_string()])
    }

    /// The same, over TLS.
    pub fn start_tls(name: &str, certificate: &Path, key: &Path) -> Self {
        let ca = certificate.to_string_lossy().into_owned();
        Self::start_with(name, &["--tls", "--insecure"], |port| {
            let key = key.to_string_lossy().into_owned();
            [
                "--port",
                "0",
                "--tls-port",
                &port.to_string(),
                "--tls-cert-file",
                &ca,
                "--tls-key-file",
                &key,
                "--tls-ca-cert-file",
                &ca,
                "--tls-auth-clients",
                "no",
            ]
            .map(str::to_owned)
            .into()
        })
    }

    fn start_with(name: &str, client: &[&str], listen: impl FnOnce(u16) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new(program("redis-server", "redis-server"));
        command.args(listen(port)).args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(dir.path());
        let redis = Self { port, process: Process::start("redis", command), _dir: dir };
        eventually("Redis to be ready", START_LIMIT, || {
            let done = redis_cli(port).args(client).args(["set", "who", name]).output().unwrap();
            (done.stdout == b"OK\n").then_some(())
        });
        redis
    }

    /// Ends it as a crash would.
    pub fn crash(&mut self) {
        self.process.kill_9();
    }
}

/// redis-cli, to a port of 127.0.0.1.
pub fn redis_cli(port: u16) -> Command {
    let mut command = Command::new(program("redis-cli", "redis-tools"));
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    command
}

/// Whether this process may do anything.
pub fn is_root() -> bool {
    #[allow(unsafe_code)]
    // SAFETY: it reads a number of this process.
    let uid = unsafe { libc::geteuid() };
    uid == 0
}
