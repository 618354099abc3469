//! What to measure.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Said to whoever asks, or gets it wrong.
const USAGE: &str = "\
usage: cargo run --release -p weir-bench -- [CASE] [OPTIONS]

cases
  http1            small responses over HTTP/1.1 keep-alive (the default)
  http1-64k        the same with 64 KiB responses
  idle             memory per idle connection

options
  --subjects A,B   weir, haproxy, nginx, floor (default: all)
  --rounds N       times each subject is measured, in turn (default 5)
  --seconds N      length of one measurement (default 4)
  --connections N  concurrent connections (default 64; idle: 6000)
  --weir PATH      the binary to measure (default target/release/weir)

Needs nginx (also as the upstream), haproxy and wrk on the PATH, and two cores.";

/// The cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Small responses, keep-alive.
    Http1,
    /// 64 KiB responses, keep-alive.
    Http1Large,
    /// Idle connections.
    Idle,
}

/// What to measure, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) case: Case,
    pub(crate) subjects: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    pub(crate) connections: usize,
    pub(crate) weir: PathBuf,
}

impl Options {
    /// Reads the command line.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            case: Case::Http1,
            subjects: ["weir", "haproxy", "nginx", "floor"].map(str::to_owned).to_vec(),
            rounds: 5,
            seconds: 4,
            connections: 0,
            weir: PathBuf::from("target/release/weir"),
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value\n\n{USAGE}"));
            match arg.as_str() {
                "http1" => options.case = Case::Http1,
                "http1-64k" => options.case = Case::Http1Large,
                "idle" => options.case = Case::Idle,
                "--subjects" => options.subjects = value()?.split(',').map(str::to_owned).collect(),
                "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
                "--seconds" => options.seconds = value()?.parse().context("--seconds takes a number")?,
                "--connections" => {
                    options.connections = value()?.parse().context("--connections takes a number")?;
                }
                "--weir" => options.weir = value()?.into(),
                "--help" | "-h" => bail!("{USAGE}"),
                other => bail!("unknown argument `{other}`\n\n{USAGE}"),
            }
        }
        if options.connections == 0 {
            options.connections = if options.case == Case::Idle { 6000 } else { 64 };
        }
        Ok(options)
    }
}
