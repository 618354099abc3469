//! `weir intercept`: redirects an application's connections to its sidecar.

mod ruleset;

use std::io::Write;
use std::process::{Command, Stdio};

use crate::cli::intercept::{InterceptAction, InterceptArgs};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(args: &InterceptArgs) -> Result<Exit, Failure> {
    match &args.action {
        InterceptAction::Print(rules) => output::print(&ruleset::render(rules)),
        InterceptAction::Apply(rules) => {
            nft(&ruleset::render(rules))?;
            output::print(&format!(
                "applied: table inet {} (see it with `nft list table inet {0}`)\n",
                rules.table.table
            ));
        }
        InterceptAction::Remove(table) => {
            nft(&ruleset::removal(&table.table))?;
            output::print(&format!("removed: table inet {}\n", table.table));
        }
    }
    Ok(Exit::Done)
}

/// Has nft read a script, which takes effect whole or not at all.
fn nft(script: &str) -> Result<(), Failure> {
    let spawned = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| {
        let failure = Failure::new(Exit::CannotStart, format!("cannot run nft: {error}"));
        failure.hint("install nftables (Debian, Ubuntu: apt install nftables), or use `weir intercept print`")
    })?;
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("nft broke off: {error}; nothing was changed"))
    };
    if let Some(mut stdin) = child.stdin.take() {
        // If it ends early it says why.
        let _ = stdin.write_all(script.as_bytes());
    }
    let done = child.wait_with_output().map_err(failed)?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let failure =
        Failure::new(Exit::Failed, format!("nft refused the rules, nothing was changed: {}", said.trim()));
    Err(if said.contains("not permitted") {
        failure.hint("this needs root, or the capability CAP_NET_ADMIN in the network namespace")
    } else {
        failure
    })
}
