//! The `weir` binary: command line and composition. What the parts do is in their own crates; this one reads what the
//! user wants, puts the parts together, and says clearly what went wrong.

// The data plane's allocations are small and short-lived and come from several threads at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod agent_config;
mod cli;
mod commands;
mod config;
mod consul;
mod control_plane;
mod definitions;
mod exit;
mod host_agent;
mod leave;
mod listener;
mod log;
mod loopback;
mod notify;
mod open_files;
mod output;
mod processes;
mod server_client;
mod shop;
mod sources;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::operator::Format;
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
    let format = cli.command.format();
    match commands::run(cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure, format),
    }
}

/// Says on standard error what went wrong, as JSON where the answer was to be JSON.
fn fail(failure: &Failure, format: Format) -> ExitCode {
    let text = if format == Format::Json { format!("{}\n", failure.to_json()) } else { failure.to_string() };
    let _ = std::io::stderr().write_all(text.as_bytes());
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
