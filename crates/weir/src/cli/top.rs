//! Arguments of `weir top`.

use clap::{Args, ValueEnum};
use weir_api::client::ServerUrl;

use super::operator::{Format, ServerArg};

/// `weir top`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Shows what services do right now, as their proxies have counted: requests and retries each second, errors, \
                  latencies, what is in flight, and how breakers, limits and ejections stand. On a terminal the picture is \
                  live; elsewhere one table is printed.\n\n\
                  Keys: up and down or j and k choose a service, enter shows its endpoints, rules, limits and breakers, esc \
                  goes back, s sorts by the next column, / filters by name, q ends.\n\n\
                  A call between two sidecars is counted twice: by the caller's (seen by `caller`, as gateways count), and by \
                  the one of the service (`callee`).",
    after_long_help = "Examples:\n  \
                       weir top\n  \
                       weir top --service cart --sort p99\n  \
                       weir top --once --json                 for programs\n  \
                       weir top --proxy 127.0.0.1:9901        one proxy alone, at its --admin address\n\n\
                       Colours are left out where the variable NO_COLOR is set."
)]
pub(crate) struct TopArgs {
    /// Only this service, as NAME or NAMESPACE/NAME
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Only services of this namespace
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// What comes first: rate, errors, p50, p99, in-flight, retries or name
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "COLUMN")]
    pub sort: Sort,
    /// Print one table and end; so it is where standard output is no terminal
    #[arg(long)]
    pub once: bool,
    /// Print everything as JSON and end; the same as -o json
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
    /// How to answer; json ends after one look
    #[arg(short = 'o', long = "output", value_enum, value_name = "table|json", hide_possible_values = true)]
    pub output: Option<TopFormat>,
    /// Ask one proxy, at its admin address, instead of a server
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "server")]
    pub proxy: Option<ServerUrl>,
    /// Which server
    #[command(flatten)]
    pub server: ServerArg,
}

impl TopArgs {
    /// In which form it answers.
    pub(crate) const fn format(&self) -> Format {
        match (self.json, self.output) {
            (true, _) | (_, Some(TopFormat::Json)) => Format::Json,
            (false, None | Some(TopFormat::Table)) => Format::Table,
        }
    }
}

/// In which form it can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What services are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Requests each second, the most first.
    #[default]
    Rate,
    /// The share of failures, the largest first.
    Errors,
    /// The median, the slowest first.
    P50,
    /// The time that 99 of 100 do not exceed, the slowest first.
    P99,
    /// Requests under way, the most first.
    InFlight,
    /// Retries each second, the most first.
    Retries,
    /// The name.
    Name,
}

impl Sort {
    const ALL: [Self; 7] =
        [Self::Rate, Self::Errors, Self::P50, Self::P99, Self::InFlight, Self::Retries, Self::Name];

    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Errors => "errors",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::InFlight => "in flight",
            Self::Retries => "retries",
            Self::Name => "name",
        }
    }

    /// The next one.
    pub(crate) fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}
