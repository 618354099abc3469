//! Side-by-side measurements: Weir, its peers and a byte-copy floor do the same work in turn, on one core.
//!
//! The figure is CPU time of the subject per unit of work, as a ratio: it holds on a noisy machine, where requests per
//! second do not. `docs/benchmarks.md` says how it is measured and how to read it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints its results")]

mod case;
mod check;
mod choice;
mod client;
mod control;
mod cpu;
mod floor;
mod instructions;
mod load;
mod options;
mod peers;
mod report;
mod results;
mod run;
mod setup;
mod stage;
mod subject;
mod upstream;

use std::process::ExitCode;

use anyhow::Result;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    match args.peek().map(String::as_str) {
        Some("control") => return control::main(args.skip(1)),
        Some("floor") => return floor::main(args.skip(1)),
        Some("upstream") => return upstream::main(args.skip(1)),
        Some("load") => return load::main(args.skip(1)),
        Some("instructions") => return instructions::main(args.skip(1)),
        Some("render") => return report::render(args.skip(1)),
        _ => {}
    }
    let options = options::Options::parse(args)?;
    report::check(&options)?;
    if options.install {
        peers::install(&options.target)?;
    }
    let results = run::run(&options)?;
    report::keep(&options, &results)
}
