//! `weir apply`: puts documents in force and says what became of them.

use std::time::{Duration, Instant};

use http::Method;
use weir_api::client::{Client, ClientError};
use weir_api::native::{Applied, Change, List, PREFIX, ProxyView, RejectionView, SOURCES_TYPE, Sources};
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
    // Without this look, what a proxy refuses since long would be laid at this change's door.
    let before = if args.dry_run { Vec::new() } else { proxies(&client).await? };
    let path = format!("{PREFIX}/apply{}", if args.dry_run { "?dry_run=true" } else { "" });
    let applied: Applied = client
        .send_json(Method::POST, &path, SOURCES_TYPE, &sources)
        .await
        .map_err(|error| nothing_changed(&error))?;
    output::print(&output::render(args.output, &applied, || describe(&applied))?);
    if applied.change_set.is_none() {
        return Ok(Exit::Done);
    }
    let after = wait_for_proxies(&client, applied.position).await?;
    let report = Report::of(&before, &after, &applied);
    if args.output == Format::Table {
        output::print(&report.text());
    } else {
        // Standard output holds the answer alone, so that a program can read it.
        output::remark(report.text().trim_end());
    }
    Ok(if report.refused.is_empty() { Exit::Done } else { Exit::Rejected })
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

async fn proxies(client: &Client) -> Result<Vec<ProxyView>, Failure> {
    let list: Result<List<ProxyView>, ClientError> = client.get(&format!("{PREFIX}/proxies")).await;
    list.map(|list| list.items).map_err(|error| server_client::failure(&error))
}

/// Asks for the proxies until each of them has judged the position, or the time is up.
async fn wait_for_proxies(client: &Client, position: Position) -> Result<Vec<ProxyView>, Failure> {
    let began = Instant::now();
    loop {
        let proxies = proxies(client).await?;
        if proxies.iter().all(|proxy| has_applied(proxy, position)) || began.elapsed() >= PROXIES_WAIT {
            return Ok(proxies);
        }
        tokio::time::sleep(PROXIES_POLL).await;
    }
}

/// Whether a proxy has acknowledged everything up to a position that concerns it.
fn has_applied(proxy: &ProxyView, position: Position) -> bool {
    proxy.applied >= position || (proxy.in_sync && proxy.current >= position)
}

/// What became of a change at the proxies.
struct Report {
    total: usize,
    waiting: Vec<String>,
    /// What was refused because of this change.
    refused: Vec<String>,
    /// What was refused before, and still is.
    still_refused: Vec<String>,
}

impl Report {
    fn of(before: &[ProxyView], after: &[ProxyView], applied: &Applied) -> Self {
        let waiting: Vec<String> = after
            .iter()
            .filter(|proxy| !has_applied(proxy, applied.position))
            .map(|proxy| proxy.id.clone())
            .collect();
        let (mut refused, mut still_refused) = (Vec::new(), Vec::new());
        for proxy in after {
            let known = before.iter().find(|known| known.id == proxy.id);
            for rejection in &proxy.rejections {
                let is_known = known.is_some_and(|known| known.rejections.contains(rejection));
                let is_changed = applied
                    .changes
                    .iter()
                    .any(|(id, change)| *change != Change::Unchanged && id.to_string() == rejection.resource);
                let RejectionView { resource, path, reason } = rejection;
                let text = format!("{} refused {resource}: {path}: {reason}", proxy.id);
                if is_known && !is_changed { still_refused.push(text) } else { refused.push(text) }
            }
        }
        Self { total: after.len(), waiting, refused, still_refused }
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
        for refused in &self.refused {
            text.push_str(&format!("{refused}; the old version stays in force there\n"));
        }
        for refused in &self.still_refused {
            text.push_str(&format!("{refused}; since before this change\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_model::{Kind, ResourceId};

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

    fn applied(changed: &[&str]) -> Applied {
        let id = |name: &&str| (ResourceId::new(Kind::Gateway, "default", *name), Change::Updated);
        Applied {
            position: Position::new(1, 9),
            change_set: Some(1),
            dry_run: false,
            changes: changed.iter().map(id).collect(),
            ignored: Vec::new(),
        }
    }

    fn refusing(resource: &str) -> ProxyView {
        let rejection = RejectionView {
            resource: resource.into(),
            path: "spec.listeners[0].port".into(),
            reason: "address in use".into(),
        };
        ProxyView { rejections: vec![rejection], ..proxy("a", 9, true) }
    }

    #[test]
    fn the_report_says_who_has_it() {
        assert!(Report::of(&[], &[], &applied(&[])).text().starts_with("no proxy"));
        // One has the change, one is not concerned by it, one is behind.
        let proxies = [proxy("a", 9, true), proxy("b", 4, true), proxy("c", 4, false)];
        let text = Report::of(&[], &proxies, &applied(&[])).text();
        assert!(text.starts_with("applied by 2/3 proxies\nnot yet after 2 s: c;"), "{text}");
    }

    #[test]
    fn what_was_refused_before_is_told_from_what_this_change_brought() {
        let check = |before: &[ProxyView], changed: &[&str], refused: usize, still: usize| {
            let report = Report::of(before, &[refusing("Gateway/edge")], &applied(changed));
            assert_eq!((report.refused.len(), report.still_refused.len()), (refused, still), "{changed:?}");
            assert!(
                report.text().contains("a refused Gateway/edge: spec.listeners[0].port: address in use;")
            );
        };
        check(&[proxy("a", 4, true)], &["other"], 1, 0);
        check(&[refusing("Gateway/edge")], &["other"], 0, 1);
        check(&[refusing("Gateway/edge")], &["edge"], 1, 0);
    }
}
