//! Puts a record of routing into words.

use std::collections::HashSet;

use super::record::Record;
use super::{ConsideredRule, OTHER_RULES_MAX, Request, Verdict};
use crate::route::{
    Ahead, HostBuffer, Match, PathPattern, RequestView, RouteTable, Unmet, ValueTest, compare,
};

/// The rules of a table with what became of them, those looked at first, and how many are left out.
pub(super) fn rules(table: &RouteTable, request: &Request, record: &Record) -> (Vec<ConsideredRule>, usize) {
    let matches = table.matches();
    let winner = record.winner().map(|id| &matches[id as usize]);
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
        (0..).zip(matches).filter(|(id, matched)| !seen.contains(id) && !matched.path.is_for_the_server());
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

fn considered(table: &RouteTable, matched: &Match, verdict: Verdict, reason: String) -> ConsideredRule {
    let rule = table.rule(matched);
    let conditions = &matched.conditions;
    let method = conditions.method.iter().map(|method| format!("method {method}"));
    let grpc = conditions.grpc.then(|| "gRPC".to_owned()).into_iter();
    let headers = conditions.headers.iter().map(|(name, test)| match test {
        ValueTest::Exact(value) => format!("header {name}: {value}"),
        ValueTest::Regex(_) => format!("header {name} {test}"),
    });
    let params = conditions.params.iter().map(|(name, test)| match test {
        ValueTest::Exact(value) => format!("query {name}={value}"),
        ValueTest::Regex(_) => format!("query {name} {test}"),
    });
    ConsideredRule {
        rule: rule.label.to_string(),
        name: rule.name.as_deref().map(str::to_owned),
        host: matched.host.to_string(),
        path: match &matched.path {
            path if path.is_for_the_server() => "none: the server as a whole".to_owned(),
            PathPattern::Exact(path) => format!("exactly {path}"),
            PathPattern::Prefix(path) => format!("under {path}"),
            PathPattern::Regex(pattern) => format!("matching {}", pattern.text()),
            PathPattern::AnyService(method) => format!("method {method} of any service"),
        },
        conditions: grpc.chain(method).chain(headers).chain(params).collect(),
        verdict,
        reason,
        config_entries: Vec::new(),
    }
}

fn won_reason(matched: &Match) -> String {
    let path = match matched.path {
        _ if matched.is_in_order() => "the first rule that matches, as they are written",
        PathPattern::Exact(_) => "the exact path",
        PathPattern::Prefix(_) => "the longest prefix that matches",
        PathPattern::Regex(_) => "the first expression that matches, by literal segments and length",
        PathPattern::AnyService(_) => "the gRPC method, whatever the service",
    };
    format!("host `{}`, {path}, and all conditions hold", matched.host)
}

fn unmet_reason(matched: &Match, unmet: Unmet, request: &Request) -> String {
    let conditions = &matched.conditions;
    match unmet {
        Unmet::Path => path_reason(matched, request),
        Unmet::Grpc => "it is no gRPC request: its content type is not application/grpc".to_owned(),
        Unmet::Method => {
            let wanted = conditions.method.as_deref().unwrap_or_default();
            format!("the method is {}, not {wanted}", request.method)
        }
        Unmet::Header(index) => {
            let (name, test) = &conditions.headers[index];
            let sent: Vec<_> = request.values(name.as_bytes()).map(String::from_utf8_lossy).collect();
            match &sent[..] {
                [] => format!("there is no header {name}"),
                sent => format!("header {name} is `{}`, not {test}", sent.join(", ")),
            }
        }
        Unmet::Param(index) => {
            let (name, test) = &conditions.params[index];
            format!("query parameter {name} is not {test}")
        }
    }
}

/// Why another match goes first.
fn outranked(table: &RouteTable, winner: &Match, matched: &Match) -> String {
    let (label, own) = (&table.rule(winner).label, &table.rule(matched).label);
    match compare(winner, matched).1 {
        Ahead::Host => format!("{label} goes first: its host `{}` is more specific", winner.host),
        Ahead::Path => match &winner.path {
            _ if winner.is_in_order() => {
                format!("{label} goes first: its rules are tried as they are written")
            }
            PathPattern::Exact(_) => format!("{label} goes first: its path is exact"),
            PathPattern::Prefix(_) => format!("{label} goes first: its prefix is longer"),
            PathPattern::Regex(_) => format!(
                "{label} goes first: expressions go before prefixes, the longer by literal segments and length first"
            ),
            PathPattern::AnyService(_) => format!("{label} goes first: it names a gRPC method"),
        },
        Ahead::Method => format!("{label} goes first: it names the method"),
        Ahead::Headers => format!("{label} goes first: it has more conditions on header fields"),
        Ahead::Params => format!("{label} goes first: it has more conditions on query parameters"),
        Ahead::Order if winner.is_in_order() && label != own => {
            format!("{label} goes first: rules are tried as they are written")
        }
        Ahead::Order if label == own => format!("another match of {label} goes first: it is written first"),
        Ahead::Order => {
            format!("{label} goes first: of equals, the first by name of the route, then as written")
        }
    }
}

fn path_reason(matched: &Match, request: &Request) -> String {
    let how = match &matched.path {
        PathPattern::Exact(path) => format!("not `{path}`"),
        PathPattern::Prefix(path) => format!("not under `{path}`"),
        PathPattern::Regex(pattern) => format!("which does not match `{}` as a whole", pattern.text()),
        PathPattern::AnyService(method) => format!("not the method `{method}` of a service"),
    };
    format!("the path is `{}`, {how}", request.path)
}

/// Why the index never led to a match, in the order in which it narrows down.
fn not_reached(
    table: &RouteTable,
    matched: &Match,
    request: &Request,
    record: &Record,
    winner: Option<&Match>,
) -> (Verdict, String) {
    if record.section != Some(matched.section) {
        let section = &table.sections()[matched.section].label;
        return (Verdict::NoMatch, format!("it belongs to {section}, which does not serve this host"));
    }
    if !matched.host.matches(HostBuffer::default().fold(request.host())) {
        return (Verdict::NoMatch, format!("the host is `{}`, not `{}`", request.host, matched.host));
    }
    if !matched.path.matches(request.path()) {
        return (Verdict::NoMatch, path_reason(matched, request));
    }
    match (matched.conditions.check(request), winner) {
        (Err(unmet), _) => (Verdict::NoMatch, unmet_reason(matched, unmet, request)),
        (Ok(()), Some(winner)) => (Verdict::Outranked, outranked(table, winner, matched)),
        // Routing looks at everything that matches until something wins.
        (Ok(()), None) => (Verdict::Outranked, "it was not looked at".to_owned()),
    }
}
