//! `weir consul ...`: Consul's command line, so that whoever starts `consul` can start weir by a script of two lines.
//!
//! ```text
//! agent:  flags, files -> keys (what each means here) -> settings -> a server, or a host's agent
//! others: flags -> a request or two to the HTTP API -> the output that scripts know
//! ```
//!
//! What Consul knows and has no meaning here is taken with a warning; what neither knows is refused by name. Only this
//! module knows Consul's flags and keys: behind it are the configurations that `weir server` and `weir agent` have.

mod agent;
mod blocks;
mod entries;
mod flags;
mod help;
mod keys;
mod kv;
mod members;
mod queries;
mod remote;
mod secure;
mod services;
mod settings;
mod snapshot;
mod variables;
mod words;

use weir_edge::consul::CONSUL_VERSION;

use crate::exit::{Exit, Failure};
use crate::output;

use flags::{Takes, Words};

const HELP: &str = "\
Usage: weir consul COMMAND [FLAGS] [ARGS]

Understands the command line of Consul. A file named `consul` in the PATH with these two lines makes it `consul`:
  #!/bin/sh
  exec weir consul \"$@\"

Commands:
  agent                 a server (-dev, -server) or a host's agent; with -config-file, -config-dir and Consul's flags
  members               who is in the cluster
  kv get|put|delete|export|import
                        keys and values
  catalog services|nodes|datacenters
  config write|read|list|delete
                        config entries
  services register|deregister
  snapshot save|restore everything that the servers keep
  info                  what the agent says of itself
  reload                have the agent read the services and checks of its files anew
  leave                 end the agent; a host's agent deregisters its node
  force-leave           deregister a node whose agent is gone
  validate              judge files of configuration and definitions
  version               the version

`weir consul COMMAND -help` and `weir consul help COMMAND` say what one takes. All but `agent` ask the agent at -http-addr, else $CONSUL_HTTP_ADDR, else 127.0.0.1:8500.
";

/// Does what Consul's command line says.
///
/// # Errors
/// With the exit status and what to try.
pub(crate) fn run(args: &[String]) -> Result<Exit, Failure> {
    let Some((command, rest)) = args.split_first() else { return Ok(help()) };
    if let Some(text) = help::of(command).filter(|_| help::is_asked_for(rest)) {
        output::print(&text);
        return Ok(Exit::Done);
    }
    match command.trim_start_matches('-') {
        "agent" => agent::run(rest),
        "members" => members::run(rest),
        "info" => queries::info(rest),
        "leave" => queries::leave(rest),
        "reload" => queries::reload(rest),
        "force-leave" => queries::force_leave(rest),
        "validate" => agent::validate(rest),
        "catalog" => queries::catalog(rest),
        "config" => entries::run(rest),
        "kv" => kv::run(rest),
        "services" => services::run(rest),
        "snapshot" => snapshot::run(rest),
        "version" | "v" => version(rest),
        "help" | "h" => match rest.first() {
            None => Ok(help()),
            // The words below a command are in its own help.
            Some(of) => match help::of(of) {
                Some(text) => {
                    output::print(&text);
                    Ok(Exit::Done)
                }
                None => Err(not_there(of)),
            },
        },
        _ => Err(not_there(command)),
    }
}

/// `version`, for people or as JSON.
fn version(args: &[String]) -> Result<Exit, Failure> {
    let said = flags::read(args, &[&[("format", Takes::Value)]], Words::UpTo(0))?;
    match said.get("format").unwrap_or("pretty") {
        "pretty" => {
            let version = env!("CARGO_PKG_VERSION");
            output::print(&format!("Consul v{CONSUL_VERSION}\nspoken by weir {version}\n"));
        }
        "json" => {
            let version = serde_json::json!({"Version": CONSUL_VERSION, "Revision": "", "Prerelease": ""});
            output::print(&format!("{version:#}\n"));
        }
        other => {
            let message = format!("flag -format: `{other}` is neither pretty nor json");
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    Ok(Exit::Done)
}

/// What to say of a command that is not there, or not here.
fn not_there(command: &str) -> Failure {
    match help::instead_of(command.trim_start_matches('-')) {
        Some(instead) => {
            let message = format!("`{command}` is a command of Consul's that weir has not");
            Failure::new(Exit::Usage, message).hint(instead)
        }
        None => unknown(command, &help::commands().collect::<Vec<_>>()),
    }
}

fn help() -> Exit {
    output::print(HELP);
    Exit::Done
}

/// A command that is not there.
fn unknown(command: &str, known: &[&str]) -> Failure {
    let message = format!("`{command}` is not a command of Consul's that weir understands");
    let nearest = weir_model::document::nearest(command, known.iter().copied());
    let hint = nearest
        .map_or_else(|| format!("one of {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
    Failure::new(Exit::Usage, message).hint(hint)
}

/// The first word of what is left, which names a command below a command.
fn below<'a>(of: &str, args: &'a [String], known: &[&str]) -> Result<(&'a str, &'a [String]), Failure> {
    match args.split_first() {
        Some((command, rest)) if known.contains(&&**command) => Ok((command, rest)),
        Some((command, _)) => Err(unknown(&format!("{of} {command}"), known)),
        None => Err(Failure::new(Exit::Usage, format!("`{of}` alone says nothing"))
            .hint(format!("one of {}", known.join(", ")))),
    }
}
