//! Puts a record of routing into words.

use std::collections::HashSet;

use super::record::Record;
use super::{ConsideredRule, OTHER_RULES_MAX, Request, Verdict};
use crate::route::{HostBuffer, Match, PathPattern, RequestView, RouteTable, Unmet};

/// The rules of a table with what became of them, those looked at first, and how many are left out.
pub(super) fn rules(table: &RouteTable, request: &Request, record: &Record) -> (Vec<ConsideredRule>, usize) {
    let matches = table.matches();
    let winner = record.winner().map(|id| &*table.rule(&matches[id as usize]).label);
    let mut rules: Vec<_> = record
        .looked_at
        .iter()
        .map(|&(id, unmet)| {
            let matched = &matches[id as usize];
            match unmet {
                Some(unmet) => {
                    considered(table, matched, Verdict::NoMatch, unmet_reason(matched, unmet, request))
                }
                None => considered(table, matched, Verdict::Won, won_reason(matched)),
            }
        })
        .collect();
    let seen: HashSet<u32> = record.looked_at.iter().map(|(id, _)| *id).collect();
    let others =
        (0..).zip(matches).filter(|(id, matched)| !seen.contains(id) && !is_for_the_server(&matched.path));
    let mut omitted = 0;
    for (_, matched) in others {
        if rules.len() >= seen.len() + OTHER_RULES_MAX {
            omitted += 1;
            continue;
        }
        let (verdict, reason) = not_reached(table, matched, request, record, winner);
        rules.push(considered(table, matched, verdict, reason));
    }
    (rules, omitted)
}

/// Whether a match is there for `OPTIONS *` alone: nobody has written it, so it is shown only where it counts.
fn is_for_the_server(path: &PathPattern) -> bool {
    matches!(path, PathPattern::Exact(path) if &**path == "*")
}

fn considered(table: &RouteTable, matched: &Match, verdict: Verdict, reason: String) -> ConsideredRule {
    let rule = table.rule(matched);
    let conditions = &matched.conditions;
    let method = conditions.method.iter().map(|method| format!("method {method}"));
    let headers = conditions.headers.iter().map(|(name, value)| format!("header {name}: {value}"));
    let params = conditions.params.iter().map(|(name, value)| format!("query {name}={value}"));
    ConsideredRule {
        rule: rule.label.to_string(),
        name: rule.name.as_deref().map(str::to_owned),
        host: matched.host.to_string(),
        path: match &matched.path {
            path if is_for_the_server(path) => "none: the server as a whole".to_owned(),
            PathPattern::Exact(path) => format!("exactly {path}"),
            PathPattern::Prefix(path) => format!("under {path}"),
        },
        conditions: method.chain(headers).chain(params).collect(),
        verdict,
        reason,
    }
}

fn won_reason(matched: &Match) -> String {
    let path = match matched.path {
        PathPattern::Exact(_) => "the exact path",
        PathPattern::Prefix(_) => "the longest prefix that matches",
    };
    format!("host `{}`, {path}, and all conditions hold", matched.host)
}

fn unmet_reason(matched: &Match, unmet: Unmet, request: &Request) -> String {
    let conditions = &matched.conditions;
    match unmet {
        Unmet::Method => {
            let wanted = conditions.method.as_deref().unwrap_or_default();
            format!("the method is {}, not {wanted}", request.method)
        }
        Unmet::Header(index) => {
            let (name, value) = &conditions.headers[index];
            match request.header(name.as_bytes()) {
                Some(sent) => {
                    format!("header {name} is `{}`, not `{value}`", String::from_utf8_lossy(sent))
                }
                None => format!("there is no header {name}"),
            }
        }
        Unmet::Param(index) => {
            let (name, value) = &conditions.params[index];
            format!("query parameter {name} is not `{value}`")
        }
    }
}

/// Why the index never led to a match, in the order in which it narrows down.
fn not_reached(
    table: &RouteTable,
    matched: &Match,
    request: &Request,
    record: &Record,
    winner: Option<&str>,
) -> (Verdict, String) {
    if record.section != Some(matched.section) {
        let section = &table.sections()[matched.section].label;
        return (Verdict::NoMatch, format!("it belongs to {section}, which does not serve this host"));
    }
    if !matched.host.matches(HostBuffer::default().fold(request.host())) {
        return (Verdict::NoMatch, format!("the host is `{}`, not `{}`", request.host, matched.host));
    }
    if !matched.path.matches(request.path()) {
        let how = match &matched.path {
            PathPattern::Exact(path) => format!("not `{path}`"),
            PathPattern::Prefix(path) => format!("not under `{path}`"),
        };
        return (Verdict::NoMatch, format!("the path is `{}`, {how}", request.path));
    }
    match (matched.conditions.check(request), winner) {
        (Err(unmet), _) => (Verdict::NoMatch, unmet_reason(matched, unmet, request)),
        (Ok(()), Some(winner)) => (Verdict::Outranked, format!("{winner} is more specific, or comes first")),
        // Routing looks at everything that matches until something wins.
        (Ok(()), None) => (Verdict::Outranked, "it was not looked at".to_owned()),
    }
}
