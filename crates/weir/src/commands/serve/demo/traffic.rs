//! A little traffic through the gateway, checked: the demo says what it has seen, not what it hopes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode, header};
use serde_json::Value;
use tokio::time::timeout;

/// The pages that are asked for, and how often.
const PAGES: [&str; 4] = ["/", "/cart", "/catalog", "/pay"];
const ROUNDS: usize = 10;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    sent: usize,
    answered: usize,
    /// Which version of the catalog answered, without and with the canary's header.
    versions: BTreeMap<(bool, String), usize>,
    failures: Vec<String>,
}

/// Sends requests for every page, with and without the canary's header.
pub(super) async fn send(gateway: SocketAddr) -> Report {
    let mut report = Report::default();
    for round in 0..ROUNDS {
        for page in PAGES {
            let canary = round % 2 == 1;
            report.sent += 1;
            match timeout(REQUEST_TIMEOUT, get(gateway, page, canary)).await {
                Ok(Ok((StatusCode::OK, body))) => report.take(page, canary, &body),
                Ok(Ok((status, body))) => report.failures.push(format!("{page}: {status}: {body}")),
                Ok(Err(reason)) => report.failures.push(format!("{page}: {reason}")),
                Err(_) => report.failures.push(format!("{page}: no answer in time")),
            }
        }
    }
    report
}

impl Report {
    fn take(&mut self, page: &str, canary: bool, body: &Value) {
        self.answered += 1;
        if page == "/catalog" {
            let version = body["catalog"]["version"].as_str().unwrap_or("?").to_owned();
            *self.versions.entry((canary, version)).or_default() += 1;
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text =
            format!("traffic         {} requests sent, {} answered with 200\n", self.sent, self.answered);
        for ((canary, version), count) in &self.versions {
            let header = if *canary { "with x-canary: yes" } else { "without x-canary  " };
            text.push_str(&format!("                {header}   catalog {version} answered {count}\n"));
        }
        for failure in self.failures.iter().take(3) {
            text.push_str(&format!("                failed: {failure}\n"));
        }
        text
    }
}

async fn get(gateway: SocketAddr, page: &str, canary: bool) -> Result<(StatusCode, Value), String> {
    let mut request = Request::builder().uri(page).header(header::HOST, gateway.to_string());
    if canary {
        request = request.header("x-canary", "yes");
    }
    crate::shop::send(gateway, request).await
}
