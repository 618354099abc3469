//! The client of operator commands: which server, and how its errors end the process.

use http::StatusCode;
use weir_api::client::{Client, ClientError, ServerUrl};

use crate::cli::operator::ServerArg;
use crate::exit::{Exit, Failure};

/// The variable that names the server where `--server` does not.
pub(crate) const SERVER_VARIABLE: &str = "WEIR_SERVER";
/// The server where nothing names one.
const DEFAULT_SERVER: &str = "127.0.0.1:8500";

/// A client of the server that is meant.
///
/// # Errors
/// When the variable holds no address.
pub(crate) fn client(arg: &ServerArg) -> Result<Client, Failure> {
    let variable = std::env::var(SERVER_VARIABLE).ok().filter(|value| !value.is_empty());
    server(arg.server.clone(), variable.as_deref()).map(Client::new)
}

fn server(arg: Option<ServerUrl>, variable: Option<&str>) -> Result<ServerUrl, Failure> {
    if let Some(server) = arg {
        return Ok(server);
    }
    let text = variable.unwrap_or(DEFAULT_SERVER);
    text.parse().map_err(|error| {
        Failure::new(Exit::Usage, format!("environment variable {SERVER_VARIABLE}: {error}"))
    })
}

/// How a failed request ends the process. What the server does not take of it stood on the command line; commands that send
/// documents say otherwise.
pub(crate) fn failure(error: &ClientError) -> Failure {
    match error {
        ClientError::Unreachable { .. } | ClientError::Timeout { .. } => {
            Failure::new(Exit::Unreachable, error.to_string()).hint(
                "start one with `weir dev`, or name another one with --server HOST:PORT or the variable WEIR_SERVER",
            )
        }
        ClientError::BadAnswer { .. } => Failure::new(Exit::Failed, error.to_string())
            .hint("--server wants the server's HTTP address (8500 by default), not the one for proxies"),
        ClientError::Refused { status, .. } => {
            let exit = match *status {
                StatusCode::NOT_FOUND => Exit::NotFound,
                StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => {
                    Exit::Usage
                }
                _ => Exit::Failed,
            };
            Failure::new(exit, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_variable_over_the_default() {
        let flag = || Some("10.0.0.1:1".parse().unwrap());
        let check =
            |arg, variable, shown: &str| assert_eq!(server(arg, variable).unwrap().to_string(), shown);
        check(flag(), Some("10.0.0.2:2"), "http://10.0.0.1:1");
        check(None, Some("10.0.0.2:2"), "http://10.0.0.2:2");
        check(None, None, "http://127.0.0.1:8500");
        let failure = server(None, Some("x:y")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("WEIR_SERVER"), "{}", failure.message);
    }
}
