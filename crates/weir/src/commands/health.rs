//! `weir health`: whether a server, an agent or a proxy answers. It costs whoever is asked next to nothing.

use bytes::Bytes;
use http::Method;

use crate::cli::operator::HealthArgs;
use crate::exit::{Exit, Failure};
use crate::{output, server_client};

pub(super) async fn run(args: &HealthArgs) -> Result<Exit, Failure> {
    let client = server_client::client(&args.server)?;
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let answer = client.send(Method::GET, path, None, Bytes::new()).await;
    let answer = answer.map_err(|error| server_client::failure(&error))?;
    output::print(&String::from_utf8_lossy(&answer));
    Ok(Exit::Done)
}
