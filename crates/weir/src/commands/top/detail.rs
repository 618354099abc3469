//! One service: its rules, endpoints, limits and breakers.

use weir_api::report::{EndpointFigures, Figures, ServiceFigures, StateOf};

use super::cells::{self, Cell, LIMIT_HEADINGS, Style, clean, limit_cells, per_second, share, time, worst};
use super::draw::{self, Line};

/// All there is to say; longer than a terminal, perhaps.
pub(super) fn lines(service: &ServiceFigures, all: &Figures) -> Vec<Line> {
    let mut lines = head(service);
    section(&mut lines, "rules", routes(service));
    section(&mut lines, "endpoints", endpoints(service));
    section(&mut lines, "limits", limits(service, all));
    section(&mut lines, "breakers", breakers(service, all));
    lines
}

fn head(service: &ServiceFigures) -> Vec<Line> {
    let ServiceFigures { totals, retries, retries_denied, proxies, .. } = service;
    let plain = |text: String| Line::new(Style::Plain, text);
    let [informed, ok, moved, client, server] = totals.classes;
    vec![
        Line::new(Style::Bold, clean(&service.service))
            .and(Style::Dim, format!("   seen by {} ({})", service.side.as_str(), draw::proxies(*proxies))),
        plain(format!(
            "  {} requests/s, {} failed, {} answered by the proxy; p50 {}, p99 {}; {} in flight",
            per_second(service.requests_per_s),
            share(service.error_ratio),
            share(service.own_ratio),
            time(service.p50_ms),
            time(service.p99_ms),
            service.in_flight,
        )),
        plain(format!(
            "  {} so far: {informed} 1xx, {ok} 2xx, {moved} 3xx, {client} 4xx, {server} 5xx; {retries} retries, \
             {retries_denied} more forbidden by the budget",
            service.requests,
        )),
    ]
}

fn section(lines: &mut Vec<Line>, name: &str, of: Vec<Line>) {
    if !of.is_empty() {
        lines.push(Line::default());
        lines.push(Line::new(Style::Bold, name));
        lines.extend(of);
    }
}

/// The limits that stand under no service.
pub(super) fn limits_of_gateways(all: &Figures) -> Vec<Line> {
    let rows: Vec<Vec<Cell>> =
        cells::limits_of_gateways(all).map(|limit| limit_cells(limit).into()).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    section(&mut lines, "limits of gateways", table(&LIMIT_HEADINGS, rows));
    lines
}

/// Cells under each other; the first column on the left, the others on the right.
fn table(headings: &[&str], rows: Vec<Vec<Cell>>) -> Vec<Line> {
    let width = |column: usize| {
        let of_rows = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
        of_rows.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let fit = |cells: Vec<Cell>| Line {
        cells: cells
            .into_iter()
            .zip(&widths)
            .enumerate()
            .map(|(index, (cell, &width))| Cell {
                text: match index {
                    0 => format!("  {:<width$}", cell.text),
                    _ => format!("  {:>width$}", cell.text),
                },
                style: cell.style,
            })
            .collect(),
        chosen: false,
    };
    let headings = headings.iter().map(|heading| Cell { text: (*heading).to_owned(), style: Style::Dim });
    std::iter::once(headings.collect()).chain(rows).map(fit).collect()
}

fn cell(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), style: Style::Plain }
}

fn routes(service: &ServiceFigures) -> Vec<Line> {
    if service.routes.is_empty() {
        return Vec::new();
    }
    let row = |route: &weir_api::report::RouteFigures| {
        let failed = route.totals.failed();
        let style = if failed > 0 { Style::Warn } else { Style::Plain };
        // What came to it by the fallback of another service's breaker, or before the rule was changed.
        let elsewhere = if route.elsewhere { " (leads elsewhere)" } else { "" };
        vec![
            cell(clean(&route.route) + elsewhere),
            cell(per_second(route.requests_per_s)),
            cell(route.totals.requests().to_string()),
            Cell { text: failed.to_string(), style },
            cell(route.totals.own.to_string()),
        ]
    };
    table(&["RULE", "REQ/S", "REQUESTS", "5XX", "BY PROXY"], service.routes.iter().map(row).collect())
}

fn endpoints(service: &ServiceFigures) -> Vec<Line> {
    if service.endpoints.is_empty() {
        return Vec::new();
    }
    let row = |endpoint: &EndpointFigures| {
        let (state, style) = standing(endpoint);
        vec![
            cell(clean(&endpoint.id)),
            cell(clean(&endpoint.address)),
            cell(per_second(endpoint.requests_per_s)),
            cell(endpoint.in_flight.to_string()),
            cell(endpoint.failures.to_string()),
            Cell { text: state, style },
        ]
    };
    let headings = ["ENDPOINT", "ADDRESS", "REQ/S", "IN FLIGHT", "FAILURES", "STATE"];
    let mut lines = table(&headings, service.endpoints.iter().map(row).collect());
    let unlisted = service.endpoints_known.saturating_sub(service.endpoints.len() as u64);
    if unlisted > 0 {
        lines.push(Line::new(Style::Dim, format!("  and {unlisted} more")));
    }
    for endpoint in &service.endpoints {
        for StateOf { proxy, state } in &endpoint.ejected {
            let text = format!("  {}{}: {}", clean(&endpoint.id), at(proxy), clean(state));
            lines.push(Line::new(Style::Bad, text));
        }
        for StateOf { proxy, state } in &endpoint.checked {
            let text = format!("  {}{}: {}", clean(&endpoint.id), at(proxy), clean(state));
            lines.push(Line::new(Style::Dim, text));
        }
    }
    lines
}

fn at(proxy: &str) -> String {
    if proxy.is_empty() { String::new() } else { format!(" at {}", clean(proxy)) }
}

fn standing(endpoint: &EndpointFigures) -> (String, Style) {
    let of = |word: &str, count: u64| match endpoint.proxies {
        1 => word.to_owned(),
        proxies => format!("{word} {count}/{proxies}"),
    };
    if endpoint.ejected_by > 0 {
        return (of("ejected", endpoint.ejected_by), Style::Bad);
    }
    if endpoint.avoided_by > 0 {
        return (of("avoided", endpoint.avoided_by), Style::Warn);
    }
    let style = match &*endpoint.health {
        "passing" | "static" => Style::Good,
        _ => Style::Warn,
    };
    (clean(&endpoint.health), style)
}

fn limits(service: &ServiceFigures, all: &Figures) -> Vec<Line> {
    let mut lines = Vec::new();
    for limit in all.limits.iter().filter(|limit| service.is_concerned_by(&limit.target, &limit.rule)) {
        let shadow = if limit.shadow { ", in shadow" } else { "" };
        let refusing = limit.refused_per_s.unwrap_or(0.0) > 0.0;
        lines.push(
            Line::new(
                Style::Plain,
                format!("  {} of {}{shadow}: ", clean(&limit.limit), clean(&limit.target)),
            )
            .and(
                if refusing { Style::Warn } else { Style::Plain },
                format!("refusing {}/s", per_second(limit.refused_per_s)),
            )
            .and(
                Style::Plain,
                format!(
                    "; {} let through, {} waited, {} refused",
                    limit.admitted, limit.waited, limit.refused
                ),
            ),
        );
        lines.extend(states(&limit.states, limit.proxies));
    }
    lines
}

fn breakers(service: &ServiceFigures, all: &Figures) -> Vec<Line> {
    let mut lines = Vec::new();
    for breaker in all.breakers.iter().filter(|breaker| service.meets(breaker)) {
        let shadow = if breaker.shadow { ", in shadow" } else { "" };
        let part =
            if breaker.part.is_empty() { String::new() } else { format!(" for {}", clean(&breaker.part)) };
        let of = match service.is_target(&breaker.target) {
            true => String::new(),
            false => format!(" of {}", clean(&breaker.target)),
        };
        let (word, _, style) = worst(breaker);
        lines.push(
            Line::new(Style::Plain, format!("  {}{of}{part}{shadow}: ", clean(&breaker.breaker)))
                .and(style, word)
                .and(
                    Style::Plain,
                    format!(
                        "; refusing {}/s, {} refused",
                        per_second(breaker.refused_per_s),
                        breaker.refused
                    ),
                ),
        );
        lines.extend(states(&breaker.states, breaker.proxies));
    }
    lines
}

/// What proxies say, one line each.
fn states(states: &[StateOf], proxies: u64) -> Vec<Line> {
    let say = |StateOf { proxy, state }: &StateOf| {
        let by = if proxy.is_empty() { String::new() } else { format!("{}: ", clean(proxy)) };
        Line::new(Style::Dim, format!("    {by}{}", clean(state)))
    };
    let mut lines: Vec<Line> = states.iter().map(say).collect();
    let unsaid = proxies.saturating_sub(states.len() as u64);
    if unsaid > 0 && !states.is_empty() {
        lines.push(Line::new(Style::Dim, format!("    and {unsaid} more")));
    }
    lines
}
