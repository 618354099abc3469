//! Arguments of `weir lock` and `weir unlock`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use weir_control::bounds::{CLAIM_TTL_MAX, CLAIM_TTL_MIN, LOCK_COUNT_MAX};
use weir_model::units::{NotASpan, Span};

use super::operator::ServerArg;

/// `weir lock`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "weir lock [OPTIONS] <NAME> -- <COMMAND>...",
    long_about = "Runs a command while it holds a lock, and releases the lock when the command ends. Who waits gets the \
                  lock in the order in which they came. With --count N up to N commands hold it at a time.\n\n\
                  The lock is renewed while the command runs. If it is lost all the same (no server could be reached in \
                  time, or somebody took it away) the command and the processes that it has started get SIGTERM, and \
                  SIGKILL after --kill-after, at the latest when the lock may be another's. A machine that stands still \
                  cannot keep to that: what the command changes is safe only if it refuses stale tokens. The token is in \
                  WEIR_LOCK_TOKEN; docs/locks.md says how to use it. WEIR_LOCK_NAME and WEIR_SERVER are set as well.\n\n\
                  Signals are passed on to the command. Started from a terminal, the command shares it, and only the \
                  command itself is ended, not what it has started.",
    after_long_help = "Examples:\n  \
                       weir lock nightly-report -- ./report.sh\n  \
                       weir lock --try nightly-report -- ./report.sh      not at all if it runs elsewhere\n  \
                       weir lock --wait 5m deploy -- ./deploy.sh\n  \
                       weir lock --count 3 backup -- ./backup.sh          three at a time\n  \
                       weir lock --instance web-1 leader -- ./lead.sh     lost at once when web-1 is critical or gone\n\n\
                       The command finds in its environment:\n  \
                       WEIR_LOCK_TOKEN  the fencing token, for resources that refuse stale holders (docs/locks.md)\n  \
                       WEIR_LOCK_NAME   the lock's name\n  \
                       WEIR_SERVER      the servers' addresses\n\n\
                       Exit status: that of the command (128 + N if signal N ended it), or\n  \
                       122  the lock was lost, and the command was ended\n  \
                       123  others hold the lock (--try, --wait)\n  \
                       126  the command cannot be started\n  \
                       127  there is no such command"
)]
pub(crate) struct LockArgs {
    /// The lock's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The command to run, and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<OsString>,
    /// How many may hold the lock at a time, 1 to 1000; all must say the same
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(LOCK_COUNT_MAX)))]
    pub count: u32,
    /// Wait so long at most [default: without end]
    #[arg(long, value_name = "TIME", conflicts_with = "try")]
    pub wait: Option<Span>,
    /// Do not wait
    #[arg(long)]
    pub r#try: bool,
    /// How long the lock lives when it cannot be renewed: 1s to 24h
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = claim_ttl)]
    pub ttl: Span,
    /// How long the command may take to end when the lock is lost: less than half of the TTL [default: a third of it, at
    /// most 5s]
    #[arg(long, value_name = "TIME")]
    pub kill_after: Option<Span>,
    /// Who holds it, for people [default: host, process and command]
    #[arg(long, value_name = "TEXT")]
    pub holder: Option<String>,
    /// Lose the lock at once when this instance is critical or deregistered
    #[arg(long, value_name = "ID")]
    pub instance: Option<String>,
    /// The instance's node [default: that of the agent, or the server's own where a server is asked]
    #[arg(long, value_name = "NODE", requires = "instance")]
    pub node: Option<String>,
    /// The lock's namespace
    #[arg(short = 'n', long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Which server
    #[command(flatten)]
    pub server: ServerArg,
}

/// How long a claim may live.
fn claim_ttl(text: &str) -> Result<Span, String> {
    let ttl: Span = text.parse().map_err(|bad: NotASpan| bad.to_string())?;
    if (CLAIM_TTL_MIN..=CLAIM_TTL_MAX).contains(&ttl.0) {
        return Ok(ttl);
    }
    Err(format!("expected a time from {} to {}", Span(CLAIM_TTL_MIN), Span(CLAIM_TTL_MAX)))
}

impl LockArgs {
    /// How long the command may take to end when the lock is lost.
    pub(crate) fn kill_after(&self) -> Duration {
        let longest = self.ttl.0 / 3;
        self.kill_after.map_or(longest.min(Duration::from_secs(5)), |after| after.0)
    }
}

/// `weir unlock`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Takes a lock away from those who hold it, whoever they are. Whoever is next in the line holds it at once; \
                  a `weir lock` that held it ends its command when it next renews.",
    after_long_help = "Examples:\n  \
                       weir unlock nightly-report\n  \
                       weir unlock backup --token 019acb123456-000000000000004d     only from this holder\n  \
                       weir get locks                                              who holds what, and who waits"
)]
pub(crate) struct UnlockArgs {
    /// The lock's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Only from the holder with this fencing token
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The lock's namespace
    #[arg(short = 'n', long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Which server
    #[command(flatten)]
    pub server: ServerArg,
}
