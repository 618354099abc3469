//! `weir apply`: puts documents in force and says what became of them.

use std::time::{Duration, Instant};

use http::Method;
use weir_api::client::{Client, ClientError};
use weir_api::native::{Applied, Change, List, PREFIX, ProxyView, SOURCES_TYPE, Sources};
use weir_model::Position;

use crate::cli::operator::{ApplyArgs, Format};
use crate::exit::{Exit, Failure};
use crate::{output, server_client, sources};

/// How long the proxies are waited for.
const PROXIES_WAIT: Duration = Duration::from_secs(2);
/// Time between two looks at the proxies.
const PROXIES_POLL: Duration = Duration::from_millis(25);

pub(super) async fn run(args: &ApplyArgs) -> Result<Exit, Failure> {
    let sources = Sources { sources: sources::read(&args.files)? };
    let client = server_client::client(&args.server)?;
    let path = format!("{PREFIX}/apply{}", if args.dry_run { "?dry_run=true" } else { "" });
    let applied: Applied = client
        .send_json(Method::POST, &path, SOURCES_TYPE, &sources)
        .await
        .map_err(|error| nothing_changed(&error))?;
    output::print(&output::render(args.output, &applied, || describe(&applied))?);
    if applied.change_set.is_none() {
        return Ok(Exit::Done);
    }
    let proxies =
        wait_for_proxies(&client, applied.position).await.map_err(|e| server_client::failure(&e))?;
    let report = Report::of(&proxies, applied.position);
    if args.output == Format::Table {
        output::print(&report.text());
    } else {
        // Standard output holds the answer alone, so that a program can read it.
        output::remark(report.text().trim_end());
    }
    Ok(if report.rejections.is_empty() { Exit::Done } else { Exit::Rejected })
}

fn nothing_changed(error: &ClientError) -> Failure {
    let failure = server_client::failure(error);
    if failure.exit == Exit::Invalid {
        failure.hint("nothing was changed; mend the documents and apply again")
    } else {
        failure
    }
}

fn describe(applied: &Applied) -> String {
    let mut text = String::new();
    for (id, change) in &applied.changes {
        text.push_str(&format!(
            "{id} {}{}\n",
            change.as_str(),
            if applied.dry_run { " (dry run)" } else { "" }
        ));
    }
    for ignored in &applied.ignored {
        let place = match (&ignored.source, ignored.line) {
            (Some(source), Some(line)) => format!("{source}:{line}: "),
            (Some(source), None) => format!("{source}: "),
            _ => String::new(),
        };
        text.push_str(&format!("ignored: {place}{} has no meaning here\n", ignored.path));
    }
    let changed = applied.changes.iter().filter(|(_, change)| *change != Change::Unchanged).count();
    if applied.dry_run {
        text.push_str("dry run: nothing was changed\n");
    } else if changed == 0 {
        text.push_str("nothing to change\n");
    }
    text
}

/// Asks for the proxies until each of them has judged the position, or the time is up.
async fn wait_for_proxies(client: &Client, position: Position) -> Result<Vec<ProxyView>, ClientError> {
    let began = Instant::now();
    loop {
        let proxies: List<ProxyView> = client.get(&format!("{PREFIX}/proxies")).await?;
        if proxies.items.iter().all(|proxy| has_applied(proxy, position)) || began.elapsed() >= PROXIES_WAIT {
            return Ok(proxies.items);
        }
        tokio::time::sleep(PROXIES_POLL).await;
    }
}

/// Whether a proxy has acknowledged everything up to a position that concerns it.
fn has_applied(proxy: &ProxyView, position: Position) -> bool {
    proxy.applied >= position || (proxy.in_sync && proxy.current >= position)
}

/// What became of a position at the proxies.
struct Report {
    total: usize,
    waiting: Vec<String>,
    rejections: Vec<String>,
}

impl Report {
    fn of(proxies: &[ProxyView], position: Position) -> Self {
        let waiting = proxies
            .iter()
            .filter(|proxy| !has_applied(proxy, position))
            .map(|proxy| proxy.id.clone())
            .collect();
        let rejections = proxies
            .iter()
            .flat_map(|proxy| {
                proxy.rejections.iter().map(move |rejection| {
                    format!(
                        "{} refused {}: {}: {}",
                        proxy.id, rejection.resource, rejection.path, rejection.reason
                    )
                })
            })
            .collect();
        Self { total: proxies.len(), waiting, rejections }
    }

    fn text(&self) -> String {
        if self.total == 0 {
            return "no proxy is connected; it takes effect when one connects\n".to_owned();
        }
        let word = if self.total == 1 { "proxy" } else { "proxies" };
        let mut text = format!("applied by {}/{} {word}\n", self.total - self.waiting.len(), self.total);
        if !self.waiting.is_empty() {
            text.push_str(&format!(
                "not yet after {} s: {}; look again with `weir get proxies`\n",
                PROXIES_WAIT.as_secs(),
                self.waiting.join(", ")
            ));
        }
        for rejection in &self.rejections {
            text.push_str(&format!("{rejection}; the old version stays in force there\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_api::native::RejectionView;

    fn proxy(id: &str, applied: u64, in_sync: bool) -> ProxyView {
        ProxyView {
            id: id.into(),
            role: "gateway".into(),
            namespace: "default".into(),
            service: String::new(),
            gateways: Vec::new(),
            node: String::new(),
            version: String::new(),
            admin: String::new(),
            connected_ms: 0,
            sent: Position::new(1, applied),
            applied: Position::new(1, applied),
            in_sync,
            current: Position::new(1, 9),
            subscriptions: 0,
            rejections: Vec::new(),
        }
    }

    #[test]
    fn the_report_says_who_and_why() {
        let position = Position::new(1, 9);
        assert!(Report::of(&[], position).text().starts_with("no proxy"));
        // One has the change, one is not concerned by it, one is behind.
        let proxies = [proxy("a", 9, true), proxy("b", 4, true), proxy("c", 4, false)];
        let report = Report::of(&proxies, position);
        assert!(
            report.text().starts_with("applied by 2/3 proxies\nnot yet after 2 s: c;"),
            "{}",
            report.text()
        );

        let mut refusing = proxy("a", 9, true);
        refusing.rejections.push(RejectionView {
            resource: "Gateway/default".into(),
            path: "spec.listeners[0].port".into(),
            reason: "address in use".into(),
        });
        let text = Report::of(&[refusing], position).text();
        assert!(
            text.contains("a refused Gateway/default: spec.listeners[0].port: address in use;"),
            "{text}"
        );
    }
}
