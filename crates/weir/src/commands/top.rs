//! `weir top`: what services do right now, as their proxies report.
//!
//! ```text
//! server or proxy -> fetch -> Figures -> view (what is chosen) -> draw -> lines -> terminal
//!                                keys -----^                      once -> table -> standard output
//! ```
//!
//! What is drawn is a pure function of the view and the terminal's size; only `live` and `terminal` know that there is one.

mod cells;
mod detail;
mod draw;
mod keys;
mod live;
mod once;
mod terminal;
mod view;

#[cfg(test)]
mod tests;

use weir_api::client::{Client, ClientError, encode_segment};
use weir_api::native::PREFIX;
use weir_api::report::Figures;

use crate::cli::operator::Format;
use crate::cli::top::TopArgs;
use crate::exit::{Exit, Failure};
use crate::server_client;

pub(super) async fn run(args: &TopArgs) -> Result<Exit, Failure> {
    let source = Source::of(args)?;
    if args.once || args.format() == Format::Json || !terminal::is_there() {
        once::run(args, &source).await
    } else {
        live::run(args, source).await
    }
}

/// Who is asked.
#[derive(Clone, Debug)]
struct Source {
    client: Client,
    path: String,
    is_proxy: bool,
}

impl Source {
    fn of(args: &TopArgs) -> Result<Self, Failure> {
        let client = match &args.proxy {
            Some(proxy) => Client::new(proxy.clone()),
            None => server_client::client(&args.server)?,
        };
        let parameters = [("namespace", &args.namespace), ("service", &args.service)];
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let query: Vec<String> =
            given.map(|(name, value)| format!("{name}={}", encode_segment(value))).collect();
        let path = if args.proxy.is_some() { "/figures".to_owned() } else { format!("{PREFIX}/figures") };
        Ok(Self { client, path: format!("{path}?{}", query.join("&")), is_proxy: args.proxy.is_some() })
    }

    /// The name under which people know it.
    fn name(&self) -> String {
        let what = if self.is_proxy { "proxy" } else { "server" };
        format!("{what} {}", self.client.server())
    }

    async fn fetch(&self) -> Result<Figures, ClientError> {
        self.client.get(&self.path).await
    }

    fn failure(&self, error: &ClientError) -> Failure {
        match error {
            ClientError::Unreachable { .. } | ClientError::Lost { .. } | ClientError::Timeout { .. }
                if self.is_proxy =>
            {
                let message = error.to_string().replace("a weir server", "a weir proxy");
                Failure::new(Exit::Unreachable, message)
                    .hint("--proxy wants the address that the proxy was given as --admin")
            }
            ClientError::BadAnswer { .. } if self.is_proxy => Failure::new(Exit::Failed, error.to_string())
                .hint("--proxy wants the address that the proxy was given as --admin"),
            _ => server_client::failure(error),
        }
    }
}
