//! The `weir` binary: command line and composition. What the parts do is in their own crates; this one reads what the
//! user wants, puts the parts together, and says clearly what went wrong.

// The data plane's allocations are small and short-lived and come from several threads at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cli;
mod commands;
mod config;
mod control_plane;
mod exit;
mod log;
mod loopback;
mod open_files;
mod output;
mod processes;
mod server_client;
mod shop;
mod sources;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use exit::{Exit, Failure};

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" to the parser, but were asked for.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit.into();
        }
    };
    match commands::run(cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let _ = write!(std::io::stderr(), "{failure}");
    failure.exit.into()
}

/// The host's name; `localhost` where the system does not tell.
fn host_name() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}
