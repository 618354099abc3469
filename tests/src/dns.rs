//! Asks DNS servers with `dig` (Debian: bind9-dnsutils).

use std::process::Command;

/// Asks the server at this port, with further arguments of `dig`; returns all that it prints.
///
/// # Panics
/// When `dig` is not there, or gets no answer.
pub fn dig(port: u16, args: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.args(["-r", "@127.0.0.1", "-p", &port.to_string(), "+time=10", "+tries=1"]).args(args);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start dig: {error}; is bind9-dnsutils installed?"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "dig {args:?}: {}\n{text}", output.status);
    text
}

/// The answers alone, one a line, in order of their text.
pub fn short(port: u16, args: &[&str]) -> Vec<String> {
    let text = dig(port, &[args, &["+short"]].concat());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
