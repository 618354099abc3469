//! Applications to put behind Weir.

use std::process::Command;

use crate::cluster::START_LIMIT;
use crate::process::Process;
use crate::wait::{eventually, free_port};

/// A running `test-app`.
pub struct App {
    /// Its process.
    pub process: Process,
    /// What it answers.
    pub name: String,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl App {
    /// Starts one; `binary` is `env!("CARGO_BIN_EXE_test-app")`, which only a test knows.
    pub fn start(binary: &str, name: &str) -> Self {
        let port = free_port();
        let mut command = Command::new(binary);
        command.args([name, &port.to_string()]);
        let process = Process::start(name, command);
        eventually("the application to listen", START_LIMIT, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { process, name: name.to_owned(), port }
    }
}
