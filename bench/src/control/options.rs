//! What to measure.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::cases::{ALL, CASES, Case};
use crate::choice::{Choice, Offer, count};

const USAGE: &str = "\
usage: cargo run --release -p weir-bench -- control [CASE..] [OPTIONS]

Without a CASE: all of them.

options
  --subjects A,B   only these of weir, etcd, consul, rnacos
  --seconds N      length of one measurement (default 2)
  --instances N    instances of the catalog cases (default 100000; catalog-million has its own number)
  --weir PATH      the binary to measure (default: beside this one)
  --rnacos PATH    the binary of r-nacos (default: the one on the PATH)
  --data DIR       where the stores lie, on the disk that is to be measured (default: the temporary folder)
  --markdown PAGE  writes the tables into a page, between its two marks

Needs etcd, consul and rnacos on the PATH (Debian: etcd-server; `cargo install rnacos`), and two cores. Who is
missing is left out, and said to be.";

/// Where the binaries are that are asked for by name or path; the others are on the PATH.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) weir: PathBuf,
    pub(crate) rnacos: PathBuf,
}

/// What to measure, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) choice: Choice<Case>,
    pub(crate) seconds: u32,
    pub(crate) instances: usize,
    pub(crate) programs: Programs,
    pub(crate) data: PathBuf,
    pub(crate) markdown: Option<PathBuf>,
}

impl Options {
    /// Reads the command line after `control`.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        let here = std::env::current_exe()?;
        let (mut seconds, mut instances, mut markdown) = (2, 100_000, None);
        let mut weir = here.parent().context("this program is in no folder")?.join("weir");
        let mut rnacos = PathBuf::from("rnacos");
        let mut data = std::env::temp_dir();
        let offer = Offer { usage: USAGE, cases: &CASES, subjects: ALL };
        let choice = Choice::read(args, &offer, |option, value| {
            match option {
                "--seconds" => seconds = count(option, &value()?)?,
                "--instances" => instances = count(option, &value()?)?,
                "--weir" => weir = value()?.into(),
                "--rnacos" => rnacos = value()?.into(),
                "--data" => data = value()?.into(),
                "--markdown" => markdown = Some(value()?.into()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { choice, seconds, instances, programs: Programs { weir, rnacos }, data, markdown })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        let options = parse("register --subjects rnacos --rnacos a/rnacos").unwrap();
        assert_eq!(options.programs.rnacos, Path::new("a/rnacos"));
        assert_eq!(options.choice.subjects_of(&options.choice.cases[0]), ["rnacos"]);
        let options = parse("kv-get --subjects etcd --seconds 5").unwrap();
        assert_eq!(options.choice.subjects_of(&options.choice.cases[0]), ["etcd"]);
        assert_eq!((options.choice.cases.len(), options.seconds), (1, 5));
        for (line, said) in [
            ("kv", "kv-get"),
            ("--subjects nacos", "expected weir"),
            ("--seconds x", "takes a number"),
            ("--seconds 0", "at least 1"),
            ("--weir", "needs a value"),
            ("--rnacos", "needs a value"),
            ("--help", "register-ephemeral"),
        ] {
            let error = format!("{:#}", parse(line).unwrap_err());
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
