//! A control plane of its own for each test.

use std::time::Duration;

use crate::http;
use crate::process::Process;
use crate::wait::{eventually, free_ports};

/// How long a process may take until it serves; generous, for debug builds on busy machines.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// A running `weir server`.
pub struct Cluster {
    /// The server's process.
    pub server: Process,
    /// Port of its HTTP API.
    pub http: u16,
    /// Port of its mesh listener.
    pub grpc: u16,
    /// Port of its DNS server, over UDP and TCP.
    pub dns: u16,
    args: Vec<String>,
}

impl Cluster {
    /// A server in memory.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with further arguments.
    pub fn start_with(extra: &[&str]) -> Self {
        let [http, grpc, dns] = free_ports();
        let mut args = vec![
            "server".to_owned(),
            "--http".to_owned(),
            format!("127.0.0.1:{http}"),
            "--grpc".to_owned(),
            format!("127.0.0.1:{grpc}"),
            "--dns".to_owned(),
            format!("127.0.0.1:{dns}"),
        ];
        args.extend(extra.iter().map(|&arg| arg.to_owned()));
        let server = Process::weir("server", &args);
        let cluster = Self { server, http, grpc, dns, args };
        cluster.wait_ready();
        cluster
    }

    /// Starts the server again, on the same ports and with the same arguments, after it has ended.
    pub fn restart(&mut self) {
        self.server = Process::weir("server", &self.args);
        self.wait_ready();
    }

    /// Waits until the HTTP API answers.
    pub fn wait_ready(&self) {
        eventually("the server to be ready", START_LIMIT, || {
            http::get(self.http, "/readyz").ok().filter(|response| response.status == 200)
        });
    }

    /// Applies documents through the native API.
    pub fn apply(&self, documents: &str) {
        let response =
            http::request(self.http, "POST", "/weir/v1/apply", &[], documents.as_bytes()).expect("apply");
        assert_eq!(response.status, 200, "{}", response.text());
    }

    /// Runs an operator command against this server and returns what it printed.
    ///
    /// # Panics
    /// When the command fails.
    pub fn weir(&self, args: &[&str]) -> String {
        let output = std::process::Command::new(crate::binary::weir())
            .args(args)
            .env("WEIR_SERVER", format!("127.0.0.1:{}", self.http))
            .output()
            .expect("weir starts");
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "weir {args:?}: {}\n{text}", output.status);
        text
    }
}
