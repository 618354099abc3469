//! The columns of the table of services, and what stands in them.

use weir_api::report::{BreakerFigures, Figures, LimitFigures, ServiceFigures};

/// How something is to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    Bold,
    Dim,
    Good,
    Warn,
    Bad,
}

/// A text with its style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Service,
    SeenBy,
    Rate,
    Errors,
    P50,
    P99,
    InFlight,
    Retries,
    Breaker,
    Broken,
    Limit,
    Ejected,
    Proxies,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) what: What,
    pub(super) heading: &'static str,
    /// Characters that it needs; the first column takes what is left.
    pub(super) width: usize,
    /// Those with the highest number go first where there is no room.
    pub(super) dispensable: u8,
}

const fn column(what: What, heading: &'static str, width: usize, dispensable: u8) -> Column {
    Column { what, heading, width, dispensable }
}

/// All of them, from left to right.
pub(super) const COLUMNS: [Column; 13] = [
    column(What::Service, "SERVICE", 16, 0),
    column(What::SeenBy, "SEEN BY", 7, 6),
    column(What::Rate, "REQ/S", 7, 0),
    column(What::Errors, "ERRORS", 6, 1),
    column(What::P50, "P50", 7, 5),
    column(What::P99, "P99", 7, 2),
    column(What::InFlight, "IN FLIGHT", 9, 4),
    column(What::Retries, "RETRY/S", 7, 7),
    column(What::Breaker, "BREAKER", 12, 3),
    column(What::Broken, "BROKEN/S", 8, 4),
    column(What::Limit, "LIMITED/S", 9, 3),
    column(What::Ejected, "EJECTED", 8, 4),
    column(What::Proxies, "PROXIES", 7, 8),
];

/// The share of failures from which it is worth a colour.
const ERRORS_WARN: f64 = 0.001;
const ERRORS_BAD: f64 = 0.05;

/// What stands in a column of a service's row.
pub(super) fn cell(what: What, service: &ServiceFigures, all: &Figures) -> Cell {
    match what {
        What::Service => plain(clean(&service.service)),
        What::SeenBy => Cell { text: service.side.as_str().to_owned(), style: Style::Dim },
        What::Rate => plain(per_second(service.requests_per_s)),
        What::Errors => Cell { text: share(service.error_ratio), style: error_style(service.error_ratio) },
        What::P50 => plain(time(service.p50_ms)),
        What::P99 => plain(time(service.p99_ms)),
        What::InFlight => plain(service.in_flight.to_string()),
        What::Retries => {
            let style = if service.retries_per_s.unwrap_or(0.0) > 0.0 { Style::Warn } else { Style::Plain };
            Cell { text: per_second(service.retries_per_s), style }
        }
        What::Breaker => breaker(service, all),
        What::Broken => broken(service, all),
        What::Limit => limit(service, all),
        What::Ejected => Cell {
            text: format!("{}/{}", service.ejected, service.endpoints_known),
            style: if service.ejected > 0 { Style::Bad } else { Style::Plain },
        },
        What::Proxies => plain(service.proxies.to_string()),
    }
}

fn plain(text: String) -> Cell {
    Cell { text, style: Style::Plain }
}

fn error_style(ratio: Option<f64>) -> Style {
    match ratio {
        Some(ratio) if ratio >= ERRORS_BAD => Style::Bad,
        Some(ratio) if ratio >= ERRORS_WARN => Style::Warn,
        Some(_) => Style::Good,
        None => Style::Dim,
    }
}

/// How a breaker stands at worst, in its own terms; at how many proxies, where that is not all that is to be said; and how
/// it is to be shown.
pub(super) fn worst(breaker: &BreakerFigures) -> (String, u64, Style) {
    let (word, at, style) = standing(breaker);
    // In shadow it refuses nothing, however it stands.
    (word, at, if breaker.shadow && style == Style::Bad { Style::Warn } else { style })
}

fn standing(breaker: &BreakerFigures) -> (String, u64, Style) {
    match breaker {
        BreakerFigures { open, .. } if *open > 0 => ("open".to_owned(), *open, Style::Bad),
        BreakerFigures { half_open, .. } if *half_open > 0 => {
            ("half_open".to_owned(), *half_open, Style::Warn)
        }
        BreakerFigures { refusing, refusing_share, strategy, .. } if *refusing > 0 => {
            let is_throttle = strategy == "throttle";
            let (word, style) = if is_throttle { ("throttle", Style::Bad) } else { ("ramp", Style::Warn) };
            (format!("{word} {}", whole_percent(*refusing_share)), 0, style)
        }
        _ => ("closed".to_owned(), 0, Style::Good),
    }
}

/// A share of calls that is more than nothing, in whole percent: neither `0%`, nor `100%` unless it is all of them.
fn whole_percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent < 1.0 => "<1%".to_owned(),
        percent if percent < 100.0 => format!("{:.0}%", percent.min(99.0)),
        _ => "100%".to_owned(),
    }
}

/// The worst of its breakers that are not in shadow, and at how many of the proxies that have it.
fn breaker(service: &ServiceFigures, all: &Figures) -> Cell {
    let is_own = |breaker: &&BreakerFigures| !breaker.shadow && service.meets(breaker);
    let own: Vec<&BreakerFigures> = all.breakers.iter().filter(is_own).collect();
    // Shares are never below zero, so that their bits are in the same order.
    let order = |one: &&&BreakerFigures| (one.open, one.half_open, one.refusing_share.to_bits());
    let Some(found) = own.iter().max_by_key(order) else {
        return Cell { text: "-".to_owned(), style: Style::Dim };
    };
    let (word, at, style) = worst(found);
    let text = if at == 0 || found.proxies == 1 { word } else { format!("{word} {at}/{}", found.proxies) };
    Cell { text, style }
}

/// Calls that breakers of the service, and of its routes, refuse each second.
fn broken(service: &ServiceFigures, all: &Figures) -> Cell {
    let own = all.breakers.iter().filter(|breaker| !breaker.shadow && service.meets(breaker));
    refusing(own.map(|breaker| breaker.refused_per_s))
}

/// What limits of the service, and of its routes, refuse each second.
fn limit(service: &ServiceFigures, all: &Figures) -> Cell {
    let is_own = |limit: &&LimitFigures| !limit.shadow && service.is_concerned_by(&limit.target, &limit.rule);
    refusing(all.limits.iter().filter(is_own).map(|limit| limit.refused_per_s))
}

/// What several policies refuse each second, all together.
fn refusing(rates: impl Iterator<Item = Option<f64>>) -> Cell {
    let rates: Vec<Option<f64>> = rates.collect();
    if rates.is_empty() {
        return Cell { text: "-".to_owned(), style: Style::Dim };
    }
    let refused = rates.into_iter().flatten().reduce(|a, b| a + b);
    let style = if refused.unwrap_or(0.0) > 0.0 { Style::Warn } else { Style::Good };
    Cell { text: per_second(refused), style }
}

/// The headings of the table of limits that are no service's.
pub(super) const LIMIT_HEADINGS: [&str; 6] =
    ["LIMIT", "OF", "LIMITED/S", "REFUSED", "LET THROUGH", "PROXIES"];

/// Limits that stand in no service's row: those of gateways, which a request meets whatever service it is for.
pub(super) fn limits_of_gateways(all: &Figures) -> impl Iterator<Item = &LimitFigures> {
    all.limits.iter().filter(|limit| limit.target.starts_with("Gateway/"))
}

/// What stands under [`LIMIT_HEADINGS`].
pub(super) fn limit_cells(limit: &LimitFigures) -> [Cell; 6] {
    let is_refusing = limit.refused_per_s.unwrap_or(0.0) > 0.0 && !limit.shadow;
    let style = if is_refusing { Style::Warn } else { Style::Plain };
    let shadow = if limit.shadow { " (shadow)" } else { "" };
    [
        plain(format!("{}{shadow}", clean(&limit.limit))),
        plain(clean(&limit.target)),
        Cell { text: per_second(limit.refused_per_s), style },
        plain(limit.refused.to_string()),
        plain(limit.admitted.to_string()),
        plain(limit.proxies.to_string()),
    ]
}

/// A text that may come from anybody, without what a terminal would take for an order.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A rate in three digits: `0`, `0.25`, `12.5`, `950`, `12.3k`.
pub(super) fn per_second(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate <= 0.0 => "0".to_owned(),
        Some(rate) if rate < 9.995 => format!("{rate:.2}"),
        Some(rate) if rate < 99.95 => format!("{rate:.1}"),
        Some(rate) if rate < 9_999.5 => format!("{rate:.0}"),
        Some(rate) if rate < 999_950.0 => format!("{:.1}k", rate / 1e3),
        Some(rate) => format!("{:.1}M", rate / 1e6),
    }
}

/// A share in percent.
pub(super) fn share(ratio: Option<f64>) -> String {
    match ratio.map(|ratio| ratio * 100.0) {
        None => "-".to_owned(),
        Some(percent) if percent <= 0.0 => "0%".to_owned(),
        Some(percent) if percent < 0.1 => "<0.1%".to_owned(),
        Some(percent) if percent < 10.0 => format!("{percent:.1}%"),
        Some(percent) => format!("{percent:.0}%"),
    }
}

/// A time.
pub(super) fn time(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 9.995 => format!("{ms:.2}ms"),
        Some(ms) if ms < 99.95 => format!("{ms:.1}ms"),
        Some(ms) if ms < 999.5 => format!("{ms:.0}ms"),
        Some(ms) if ms < 99_950.0 => format!("{:.1}s", ms / 1e3),
        Some(ms) => format!("{:.0}s", ms / 1e3),
    }
}
