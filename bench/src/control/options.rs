//! What to measure.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::cases::{self, ALL, CASES, Case};

const USAGE: &str = "\
usage: cargo run --release -p weir-bench -- control [CASE..] [OPTIONS]

Without a CASE: all of them.

options
  --subjects A,B   only these of weir, etcd, consul
  --seconds N      length of one measurement (default 2)
  --instances N    instances of the catalog cases (default 100000; catalog-million has its own number)
  --weir PATH      the binary to measure (default: beside this one)
  --data DIR       where the stores lie, on the disk that is to be measured (default: the temporary folder)
  --markdown PAGE  writes the tables into a page, between its two marks

Needs etcd and consul on the PATH (Debian: etcd-server), and two cores. Who is missing is left out, and said to be.";

/// What to measure, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) cases: Vec<Case>,
    /// Empty: all.
    subjects: Vec<String>,
    pub(crate) seconds: u32,
    pub(crate) instances: usize,
    pub(crate) weir: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) markdown: Option<PathBuf>,
}

impl Options {
    /// Reads the command line after `control`.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let here = std::env::current_exe()?;
        let mut options = Self {
            cases: Vec::new(),
            subjects: Vec::new(),
            seconds: 2,
            instances: 100_000,
            weir: here.parent().context("this program is in no folder")?.join("weir"),
            data: std::env::temp_dir(),
            markdown: None,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value\n\n{USAGE}"));
            match arg.as_str() {
                "--subjects" => options.subjects = value()?.split(',').map(str::to_owned).collect(),
                "--seconds" => options.seconds = value()?.parse().context("--seconds takes a number")?,
                "--instances" => {
                    options.instances = value()?.parse().context("--instances takes a number")?;
                }
                "--weir" => options.weir = value()?.into(),
                "--data" => options.data = value()?.into(),
                "--markdown" => options.markdown = Some(value()?.into()),
                "--help" | "-h" => bail!("{USAGE}\n\ncases\n{}", describe_cases()),
                name => match cases::find(name) {
                    Some(case) => options.cases.push(case),
                    None => bail!("unknown argument `{name}`\n\n{USAGE}\n\ncases\n{}", describe_cases()),
                },
            }
        }
        ensure!(options.seconds > 0 && options.instances > 0, "--seconds and --instances are at least 1");
        for name in &options.subjects {
            ensure!(ALL.contains(&name.as_str()), "unknown subject `{name}`: expected {}", ALL.join(", "));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        let options = parse("kv-get --subjects etcd --seconds 5").unwrap();
        assert_eq!(options.subjects_of(&options.cases[0]), ["etcd"]);
        assert_eq!((options.cases.len(), options.seconds), (1, 5));
        for (line, said) in [
            ("kv", "kv-get"),
            ("--subjects nacos", "expected weir"),
            ("--seconds x", "takes a number"),
            ("--seconds 0", "at least 1"),
            ("--weir", "needs a value"),
        ] {
            let error = format!("{:#}", parse(line).unwrap_err());
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
