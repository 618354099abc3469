//! Arguments of `weir simulate`.

use std::path::PathBuf;

use clap::Args;

/// `weir simulate`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Runs a world of clients, proxies and servers on virtual time, with the very policy code that proxies run, \
                  and says what became of the requests. Nothing is sent anywhere, and an hour takes seconds. The same \
                  scenario and seed give the same answer, to the byte.\n\n\
                  A scenario is one YAML file: who calls, who is called, by which policies, and what goes wrong. \
                  docs/simulate.md has the format; examples/simulate/ has scenarios to begin with. With several files \
                  they are run one after the other, and --svg draws them side by side.",
    after_long_help = "Examples:\n  \
                       weir simulate outage.yaml\n  \
                       weir simulate outage.yaml --svg outage.svg         draw it\n  \
                       weir simulate outage.yaml --json                   all numbers, for programs\n  \
                       weir simulate outage.yaml --with breaker.yaml      try a document before it is applied\n  \
                       weir simulate before.yaml after.yaml --svg both.svg    compare"
)]
pub(crate) struct SimulateArgs {
    /// A file with a scenario; several to compare them
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Begin chance here instead of where the scenario says
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Put the TrafficPolicies and RateLimits of this file in force at the services they are for; may be repeated
    #[arg(long = "with", value_name = "FILE")]
    pub with: Vec<PathBuf>,
    /// Answer with all numbers as JSON
    #[arg(long)]
    pub json: bool,
    /// Draw what happened over time into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}
