//! `weir apply`: puts documents in force and says what became of them.

use std::time::{Duration, Instant};

use http::Method;
use weir_api::client::{Client, ClientError};
use weir_api::native::{Applied, Change, Gathered, PREFIX, ProxyView, RejectionView, SOURCES_TYPE, Sources};
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
    let before = if args.dry_run { Vec::new() } else { proxies(&client).await?.items };
    let path = format!("{PREFIX}/apply{}", if args.dry_run { "?dry_run=true" } else { "" });
    let applied: Applied = client
        .send_json(Method::POST, &path, SOURCES_TYPE, &sources)
        .await
        .map_err(|error| nothing_changed(&error))?;
    output::print(&output::render(args.output.format, &applied, || describe(&applied))?);
    for warning in &applied.warnings {
        output::remark(&format!("warning: {warning}"));
    }
    if applied.dry_run {
        return Ok(Exit::Done);
    }
    // Even if nothing changed: what a proxy refused when it was new may be refused still.
    let after = wait_for_proxies(&client, applied.position).await?;
    for replica in &after.missing {
        output::remark(&format!("the replica at {replica} does not answer: its proxies are not counted"));
    }
    let report = Report::of(&before, &after.items, &applied);
    if applied.change_set.is_none() && report.refused.is_empty() && report.waiting.is_empty() {
        return Ok(Exit::Done);
    }
    if args.output.format == Format::Table {
        output::print(&report.text());
    } else {
        // Standard output holds the answer alone, so that a program can read it.
        output::remark(report.text().trim_end());
    }
    Ok(report.exit())
}

fn nothing_changed(error: &ClientError) -> Failure {
    let failure = server_client::failure(error);
    if failure.exit == Exit::Usage {
        Failure { exit: Exit::Invalid, ..failure }
            .hint("nothing was changed; mend the documents and apply again")
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

/// The proxies of all replicas that answer.
async fn proxies(client: &Client) -> Result<Gathered<ProxyView>, Failure> {
    client.get(&format!("{PREFIX}/proxies")).await.map_err(|error| server_client::failure(&error))
}

/// Asks for the proxies until each of them has judged the position, or the time is up.
async fn wait_for_proxies(client: &Client, position: Position) -> Result<Gathered<ProxyView>, Failure> {
    let began = Instant::now();
    loop {
        let proxies = proxies(client).await?;
        let is_done = proxies.items.iter().all(|proxy| has_applied(proxy, position));
        if is_done || began.elapsed() >= PROXIES_WAIT {
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
    /// How many proxies refuse something that was applied, whether it is new or not.
    refusing: usize,
    /// What is refused of what was applied, or because of it.
    refused: Vec<String>,
    /// What else is refused, since before.
    still_refused: Vec<String>,
}

impl Report {
    fn of(before: &[ProxyView], after: &[ProxyView], applied: &Applied) -> Self {
        let mut report = Self {
            total: after.len(),
            waiting: Vec::new(),
            refusing: 0,
            refused: Vec::new(),
            still_refused: Vec::new(),
        };
        for proxy in after {
            let known = before.iter().find(|known| known.id == proxy.id);
            let refused = report.refused.len();
            for rejection in &proxy.rejections {
                let is_known = known.is_some_and(|known| known.rejections.contains(rejection));
                let change = applied.changes.iter().find(|(id, _)| id.to_string() == rejection.resource);
                let RejectionView { resource, path, reason } = rejection;
                let text = |word: &str| format!("{} {word} {resource}: {path}: {reason}", proxy.id);
                match change {
                    Some((_, Change::Unchanged)) if is_known => report.refused.push(text("still refuses")),
                    None if is_known => report.still_refused.push(text("refused")),
                    _ => report.refused.push(text("refused")),
                }
            }
            if report.refused.len() > refused {
                report.refusing += 1;
            } else if !has_applied(proxy, applied.position) {
                report.waiting.push(proxy.id.clone());
            }
        }
        report
    }

    fn exit(&self) -> Exit {
        if self.refused.is_empty() { Exit::Done } else { Exit::Rejected }
    }

    fn text(&self) -> String {
        if self.total == 0 {
            return "no proxy is connected; it takes effect when one connects\n".to_owned();
        }
        let word = if self.total == 1 { "proxy" } else { "proxies" };
        let applied = self.total - self.waiting.len() - self.refusing;
        let mut text = format!("applied by {applied}/{} {word}", self.total);
        if self.refusing > 0 {
            text.push_str(&format!(", refused by {}", self.refusing));
        }
        text.push('\n');
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
            warnings: Vec::new(),
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

    #[test]
    fn a_standing_refusal_of_what_is_applied_again_is_told() {
        let before = [refusing("Gateway/edge"), proxy("b", 9, true)];
        let mut again = applied(&["edge"]);
        again.changes[0].1 = Change::Unchanged;
        let report = Report::of(&before, &before, &again);
        assert_eq!(report.exit(), Exit::Rejected);
        let text = report.text();
        assert!(
            text.starts_with("applied by 1/2 proxies, refused by 1\na still refuses Gateway/edge: "),
            "{text}"
        );
        let other = Report::of(&before, &before, &applied(&["other"]));
        assert_eq!(other.exit(), Exit::Done);
        assert!(other.text().starts_with("applied by 2/2 proxies\n"), "{}", other.text());
    }
}
