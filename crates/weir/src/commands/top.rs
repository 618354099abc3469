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

use std::time::Duration;

use weir_api::client::{Client, ClientError, encode_segment};
use weir_api::native::PREFIX;
use weir_api::report::Figures;

use crate::cli::operator::Format;
use crate::cli::top::TopArgs;
use crate::exit::{Exit, Failure};
use crate::server_client;

/// How long to wait for proxies to report anew.
const LOOK_MAX: Duration = Duration::from_millis(3500);
/// How many names an error tells.
const NAMES_SHOWN_MAX: usize = 20;

/// Whether every proxy has reported since somebody began to look, that long before the figures were asked for.
fn is_since(figures: &Figures, asked: Duration) -> bool {
    let asked_ms = u64::try_from(asked.as_millis()).unwrap_or(u64::MAX);
    figures.reporting == figures.proxies && figures.oldest_ms.is_some_and(|oldest| oldest <= asked_ms)
}

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
    /// The same without the restrictions that were asked for.
    all: String,
    is_proxy: bool,
}

impl Source {
    fn of(args: &TopArgs) -> Result<Self, Failure> {
        let client = match &args.proxy {
            Some(proxy) => Client::new(proxy.clone()),
            None => server_client::client(&args.server)?,
        };
        let all = if args.proxy.is_some() { "/figures".to_owned() } else { format!("{PREFIX}/figures") };
        let parameters = [("namespace", &args.namespace), ("service", &args.service)];
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let query: Vec<String> =
            given.map(|(name, value)| format!("{name}={}", encode_segment(value))).collect();
        let path = format!("{all}?{}", query.join("&"));
        Ok(Self { client, path, all, is_proxy: args.proxy.is_some() })
    }

    /// The name under which people know it.
    fn name(&self) -> String {
        let what = if self.is_proxy { "proxy" } else { "server" };
        format!("{what} {}", self.client.server())
    }

    async fn fetch(&self) -> Result<Figures, ClientError> {
        self.client.get(&self.path).await
    }

    /// Says that no proxy knows the service that was asked for, and which ones there are.
    async fn no_such_service(&self, service: &str) -> Failure {
        let all = match self.client.get::<Figures>(&self.all).await {
            Ok(all) => all,
            Err(error) => return self.failure(&error),
        };
        // Not those that are no services, such as `_none`.
        let mut known: Vec<&str> = all.services.iter().map(|row| &*row.service).collect();
        known.retain(|name| !name.starts_with('_'));
        known.dedup();
        let message = format!("no proxy reports of a service `{service}`");
        if known.is_empty() {
            return Failure::new(Exit::NotFound, message);
        }
        let shown = known.iter().take(NAMES_SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = if known.len() > NAMES_SHOWN_MAX { ", ..." } else { "" };
        let failure = Failure::new(Exit::NotFound, format!("{message}; there is {shown}{more}"));
        match weir_model::document::nearest(service, known.iter().copied()) {
            Some(nearest) => failure.hint(format!("--service {nearest}")),
            None => failure,
        }
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
