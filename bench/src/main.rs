//! Side-by-side measurements: Weir, its peers and a byte-copy floor do the same work in turn, on one core.
//!
//! The figure is CPU time of the subject per request, as a ratio: it holds on a noisy machine, where requests per
//! second do not. See `bench/README.md` for how to read it.

#![allow(clippy::print_stdout, reason = "a command-line tool prints its results")]

mod case;
mod cpu;
mod floor;
mod options;
mod report;
mod subject;
mod upstream;

use anyhow::Result;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().map(String::as_str) == Some("floor") {
        return floor::main(args.skip(1));
    }
    let options = options::Options::parse(args)?;
    let samples = case::run(&options)?;
    report::print(&options, &samples);
    Ok(())
}
