//! `weir explain`: where a request would go, and why, from the proxy's own routing code.

use crate::cli::operator::ExplainArgs;
use crate::exit::{Exit, Failure};

pub(super) async fn run(_args: &ExplainArgs) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Failed, "not here yet"))
}
