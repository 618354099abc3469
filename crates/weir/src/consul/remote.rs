//! One agent, asked over HTTP by Consul's commands.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use serde::de::DeserializeOwned;
use weir_agent::{Answered, Ask, Servers};
use weir_api::client::{ANSWER_TIMEOUT, ServerUrl, encode_segment};
use weir_api::native::NO_SERVER;
use weir_tls::Names;

use super::flags::{self, Flag, Said, Takes, Words};
use super::variables::{self, HTTP_ADDR};
use crate::agent_config::connectors;
use crate::cli::operator::ServerTlsArgs;
use crate::exit::{Exit, Failure};

/// The flags that TLS has.
const NAMES: Names = Names { ca: "-ca-file", cert: "-client-cert", key: "-client-key" };
/// The flags that all commands have.
const COMMON: &[Flag] = &[
    ("ca-file", Takes::Value),
    ("client-cert", Takes::Value),
    ("client-key", Takes::Value),
    ("datacenter", Takes::Value),
    ("http-addr", Takes::Value),
    ("namespace", Takes::Value),
    ("partition", Takes::Value),
    ("stale", Takes::Switch),
    ("token", Takes::Value),
    ("token-file", Takes::Value),
];
/// Those of them that become parameters, with these names.
const PARAMETERS: [(&str, &str); 3] = [("datacenter", "dc"), ("namespace", "ns"), ("partition", "partition")];

/// An agent, and what is said of every request to it.
pub(super) struct Remote {
    servers: Servers,
    parameters: Vec<(String, String)>,
    authorization: Option<HeaderValue>,
    patience: Duration,
}

impl Remote {
    /// Reads a command's flags, of which its own are `own`, and the words behind them.
    ///
    /// # Errors
    /// When a flag is wrong, or the address of the agent, or there are too many words.
    pub(super) fn read(args: &[String], own: &[Flag], words: Words) -> Result<(Self, Said), Failure> {
        let (said, variables) = (flags::read(args, &[COMMON, own], words)?, variables::here());
        let of = |flag: &str| said.get(flag).map(str::to_owned).or_else(|| variables.for_flag(flag));
        let address = variables.address(of("http-addr").unwrap_or_else(|| "127.0.0.1:8500".to_owned()))?;
        let url: ServerUrl = address
            .parse()
            .map_err(|error| Failure::new(Exit::Usage, format!("-http-addr, {HTTP_ADDR}: {error}")))?;
        let authorization = variables.authorization()?;
        let mut servers = Servers::new(vec![url.clone()], 0);
        if let Some(connectors) = connectors(&[url], &tls(of), NAMES)? {
            servers = servers.tls(&connectors);
        }
        let parameters = PARAMETERS
            .iter()
            .filter_map(|(flag, name)| Some(((*name).to_owned(), of(flag)?)))
            .chain(said.is_on("stale").then(|| ("stale".to_owned(), String::new())))
            .collect();
        Ok((Self { servers, parameters, authorization, patience: ANSWER_TIMEOUT }, said))
    }

    /// The value of a parameter that every request carries, if it does.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }

    /// The same, for answers that may take longer.
    pub(super) fn waiting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks; the answer may say anything.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answered, Failure> {
        let own = self.parameters.iter().map(|(name, value)| (&**name, &**value));
        let mut target = path.to_owned();
        for (number, (name, value)) in own.chain(parameters.iter().copied()).enumerate() {
            target.push(if number == 0 { '?' } else { '&' });
            target.push_str(name);
            if !value.is_empty() {
                target.push('=');
                target.push_str(&encode_segment(value));
            }
        }
        let headers = self.authorization.iter().map(|value| (AUTHORIZATION, value.clone())).collect();
        let (body, patience) = (body.into(), self.patience);
        self.servers.ask(&Ask { method, target, headers, body, patience }).await.map_err(|error| {
            Failure::new(Exit::Unreachable, format!("cannot ask the agent: {error}"))
                .hint(format!("is one running? -http-addr HOST:PORT or {HTTP_ADDR} name another"))
        })
    }

    /// Gets a path and reads its JSON.
    ///
    /// # Errors
    /// When the agent does not answer, says no, or answers something else.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let answered = good(self.ask(Method::GET, path, parameters, Bytes::new()).await?)?;
        serde_json::from_slice(&answered.body).map_err(|error| {
            Failure::new(Exit::Failed, format!("the answer is not Consul's: {path}: {error}"))
        })
    }
}

/// The files that flags, or Consul's variables, name.
fn tls(of: impl Fn(&str) -> Option<String>) -> ServerTlsArgs {
    let file = |flag: &str| of(flag).map(PathBuf::from);
    ServerTlsArgs {
        server_ca: file("ca-file"),
        server_cert: file("client-cert"),
        server_key: file("client-key"),
    }
}

/// An answer that is no refusal.
///
/// # Errors
/// With the refusal, in the words of Consul's commands.
pub(super) fn good(answered: Answered) -> Result<Answered, Failure> {
    if answered.status.is_success() {
        return Ok(answered);
    }
    let text = String::from_utf8_lossy(&answered.body);
    // An agent whose servers do not answer says so.
    let exit = if answered.headers.contains_key(NO_SERVER) { Exit::Unreachable } else { Exit::Failed };
    let status = answered.status.as_u16();
    Err(Failure::new(exit, format!("Unexpected response code: {status} ({})", text.trim())))
}

/// The path of something whose name may hold slashes.
pub(super) fn path(prefix: &str, name: &str) -> String {
    let segments: Vec<_> = name.split('/').map(encode_segment).collect();
    format!("{prefix}{}", segments.join("/"))
}
