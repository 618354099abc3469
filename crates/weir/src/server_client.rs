//! The client of operator commands: which server, and how its errors end the process.

use std::path::PathBuf;

use http::StatusCode;
use weir_api::client::{Client, ClientError, HTTP_PROTOCOL, Scheme, Servers};
use weir_tls::{ClientFiles, Connector, Names};

use crate::cli::operator::{ServerArg, ServerTlsArgs};
use crate::exit::{Exit, Failure};

/// The variable that names the server where `--server` does not.
pub(crate) const SERVER_VARIABLE: &str = "WEIR_SERVER";
/// The variables that name files where the flags of [`ServerTlsArgs`] do not.
pub(crate) const CA_VARIABLE: &str = "WEIR_SERVER_CA";
pub(crate) const CERT_VARIABLE: &str = "WEIR_SERVER_CERT";
pub(crate) const KEY_VARIABLE: &str = "WEIR_SERVER_KEY";
/// What they are called where only the variables name them.
pub(crate) const OF_VARIABLES: Names = Names { ca: CA_VARIABLE, cert: CERT_VARIABLE, key: KEY_VARIABLE };
/// The server where nothing names one.
const DEFAULT_SERVER: &str = "127.0.0.1:8500";

/// A client of the server that is meant.
///
/// # Errors
/// When the variable holds no address.
pub(crate) fn client(arg: &ServerArg) -> Result<Client, Failure> {
    let variable = std::env::var(SERVER_VARIABLE).ok().filter(|value| !value.is_empty());
    let client = Client::of(servers(arg.server.clone(), variable.as_deref())?);
    if client.servers().all(|server| server.scheme == Scheme::Http) {
        return Ok(client);
    }
    let connector = Connector::load(&tls_files(&arg.tls, Names::default())?, HTTP_PROTOCOL);
    let connector = connector.map_err(|reason| Failure::new(Exit::Usage, format!("TLS: {reason}")))?;
    Ok(client.tls(&connector))
}

/// The files that flags and variables name, and what the flags are called.
///
/// # Errors
/// When there is a certificate without a key, or the other way round.
pub(crate) fn tls_files(args: &ServerTlsArgs, names: Names) -> Result<ClientFiles, Failure> {
    let or = |flag: &Option<PathBuf>, variable: &str| {
        let said = || std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        flag.clone().or_else(said)
    };
    let [cert, key] = [or(&args.server_cert, CERT_VARIABLE), or(&args.server_key, KEY_VARIABLE)];
    let identity = match (cert, key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert, key)),
        _ => {
            let message = format!("{} and {} belong together: both or neither", names.cert, names.key);
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    Ok(ClientFiles { ca: or(&args.server_ca, CA_VARIABLE), identity, names })
}

fn servers(arg: Option<Servers>, variable: Option<&str>) -> Result<Servers, Failure> {
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
        ClientError::NoServer { .. } => Failure::new(Exit::Unreachable, error.to_string())
            .hint("are the servers there, and are they those that the agent was started with (--server)?"),
        // It says what to name.
        ClientError::Tls { .. } => Failure::new(Exit::Unreachable, error.to_string()),
        ClientError::Lost { .. } => Failure::new(Exit::Unreachable, error.to_string())
            .hint("a change that was sent may be made or not: look before you try again"),
        ClientError::Broken { .. } => Failure::new(Exit::Failed, error.to_string()),
        // It speaks TLS, and says so.
        ClientError::BadAnswer { reason, .. } if reason.contains("https://") => {
            Failure::new(Exit::Failed, error.to_string()).hint(format!(
                "name it as --server https://HOST:PORT or in WEIR_SERVER, and its authority with --server-ca or {CA_VARIABLE}"
            ))
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
            |arg, variable, shown: &str| assert_eq!(servers(arg, variable).unwrap().to_string(), shown);
        check(flag(), Some("10.0.0.2:2"), "http://10.0.0.1:1");
        check(None, Some("10.0.0.2:2"), "http://10.0.0.2:2");
        check(None, None, "http://127.0.0.1:8500");
        let failure = servers(None, Some("x:y")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("WEIR_SERVER"), "{}", failure.message);
    }
}
