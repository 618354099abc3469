//! The byte-copy floor, which this program holds itself.

use std::process::Command;

use anyhow::Result;

use super::Place;

pub(crate) fn command(place: &Place<'_>) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("floor").arg(place.port.to_string()).args(place.upstreams.map(|port| port.to_string()));
    Ok(command)
}
