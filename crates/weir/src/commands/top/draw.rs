//! The picture: what a view looks like on a terminal of some size. Pure.

use weir_api::report::{Figures, ServiceFigures};

use super::cells::{COLUMNS, Cell, Column, Style, cell, clean, per_second};
use super::detail;
use super::view::{Page, View};

/// How many proxies, in words.
pub(super) fn proxies(count: u64) -> String {
    if count == 1 { "1 proxy".to_owned() } else { format!("{count} proxies") }
}

/// Figures that are older are said to be.
const STALE_MS: u64 = 3000;
/// Blanks between two columns.
const GAP: usize = 2;

/// A terminal's size, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// One line of the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) cells: Vec<Cell>,
    /// Whether it is the one that is chosen.
    pub(super) chosen: bool,
}

impl Line {
    pub(super) fn new(style: Style, text: impl Into<String>) -> Self {
        Self { cells: vec![Cell { text: text.into(), style }], chosen: false }
    }

    #[must_use]
    pub(super) fn and(mut self, style: Style, text: impl Into<String>) -> Self {
        self.cells.push(Cell { text: text.into(), style });
        self
    }

    /// The text alone.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.cells.iter().map(|cell| &*cell.text).collect()
    }

    /// The line, no longer than that.
    fn cut(mut self, columns: usize) -> Self {
        let mut left = columns;
        for cell in &mut self.cells {
            cell.text = cell.text.chars().take(left).collect();
            left -= cell.text.chars().count();
        }
        self
    }
}

/// The picture, with no more and no longer lines than the terminal has.
pub(super) fn picture(view: &View, size: Size) -> Vec<Line> {
    let mut lines = vec![title(view)];
    lines.extend(view.problem.as_ref().map(|problem| trouble(view, problem)));
    let below = 1;
    let room = size.rows.saturating_sub(lines.len() + below);
    lines.extend(match view.page {
        Page::List => list(view, size.columns, room),
        Page::Detail(from) => detail_page(view, from, room),
    });
    lines.truncate(size.rows.saturating_sub(below));
    // The keys stay at the bottom.
    lines.resize(size.rows.saturating_sub(below), Line::default());
    lines.push(keys(view));
    lines.truncate(size.rows);
    lines.into_iter().map(|line| line.cut(size.columns)).collect()
}

fn title(view: &View) -> Line {
    let figures = &view.figures;
    let mut rest = format!("  {}", clean(&view.source));
    rest += &format!("  {}", proxies(figures.proxies));
    if figures.reporting < figures.proxies {
        rest += &format!(" ({} have reported)", figures.reporting);
    }
    for replica in &figures.missing {
        rest += &format!("  without {}", clean(replica));
    }
    rest += &format!("  sorted by {}", view.sort.as_str());
    if !view.filter.is_empty() {
        rest += &format!("  filter: {}", clean(&view.filter));
    }
    let age_ms = figures.oldest_ms.unwrap_or(0) + view.age_ms;
    let line = Line::new(Style::Bold, "weir top").and(Style::Plain, rest);
    if age_ms >= STALE_MS { line.and(Style::Warn, format!("  {} s old", age_ms / 1000)) } else { line }
}

fn trouble(view: &View, problem: &str) -> Line {
    let since = view.age_ms / 1000;
    Line::new(Style::Bad, format!("{}; the picture is {since} s old", clean(problem)))
}

fn keys(view: &View) -> Line {
    if view.editing {
        let text = format!("/{}", clean(&view.filter));
        return Line::new(Style::Bold, text).and(Style::Dim, "_   enter: keep, esc: no filter");
    }
    let text = match view.page {
        Page::List => "q quit   j/k up and down   enter detail   s sort   / filter",
        Page::Detail(_) => "q quit   j/k up and down   esc back",
    };
    Line::new(Style::Dim, text)
}

fn list(view: &View, columns: usize, room: usize) -> Vec<Line> {
    let rows = view.rows();
    let mut lines = vec![summary(&view.figures)];
    if rows.is_empty() {
        lines.push(Line::default());
        lines.push(Line::new(Style::Plain, why_empty(view)));
        return lines;
    }
    let shown = fitting(columns);
    let first = first_width(&shown, columns);
    lines.push(heading(&shown, first));
    let chosen = view.chosen_at(&rows);
    let room = room.saturating_sub(lines.len()).max(1);
    // The chosen row is always to be seen.
    let from = (chosen + 1).saturating_sub(room);
    let drawn = rows.iter().enumerate().skip(from).take(room);
    lines.extend(drawn.map(|(index, service)| row(&shown, first, service, &view.figures, index == chosen)));
    // Below the services, as far as there is room.
    let of_gateways = detail::limits_of_gateways(&view.figures);
    if rows.len() + of_gateways.len() <= room {
        lines.extend(of_gateways);
    }
    lines
}

fn why_empty(view: &View) -> String {
    match &view.figures {
        figures if figures.proxies == 0 => "no proxies are connected".to_owned(),
        figures if figures.reporting == 0 => "no proxy has reported yet".to_owned(),
        _ if !view.filter.is_empty() => format!("no service has `{}` in its name", clean(&view.filter)),
        _ => match &view.wanted {
            Some(service) => format!("no proxy reports of a service `{}` yet", clean(service)),
            None => "no services".to_owned(),
        },
    }
}

/// How the policies of all services stand, as far as they are not in shadow.
fn summary(figures: &Figures) -> Line {
    let breakers = || figures.breakers.iter().filter(|breaker| !breaker.shadow);
    let limits = || figures.limits.iter().filter(|limit| !limit.shadow);
    let open = breakers().filter(|breaker| breaker.open > 0).count();
    let in_part = breakers().filter(|breaker| breaker.open == 0 && breaker.refusing > 0).count();
    let part = if in_part > 0 { format!(", {in_part} refusing in part") } else { String::new() };
    let ejected: u64 = figures.services.iter().map(|service| service.ejected).sum();
    let refused = limits().filter_map(|limit| limit.refused_per_s).reduce(|a, b| a + b);
    let limited = refused.is_some_and(|rate| rate > 0.0);
    let style = |bad: bool, style: Style| if bad { style } else { Style::Dim };
    let mut line = Line::new(
        style(open + in_part > 0, Style::Bad),
        format!("breakers: {open} of {} open{part}", breakers().count()),
    )
    .and(Style::Dim, "   ")
    .and(
        style(limited, Style::Warn),
        format!("limits: {}, refusing {}/s", limits().count(), per_second(refused)),
    )
    .and(Style::Dim, "   ")
    .and(style(ejected > 0, Style::Bad), format!("ejected endpoints: {ejected}"));
    if figures.omitted > 0 {
        line = line.and(Style::Dim, format!("   {} rows are left out", figures.omitted));
    }
    line
}

/// The columns that there is room for.
fn fitting(columns: usize) -> Vec<Column> {
    let mut shown = COLUMNS.to_vec();
    let width = |shown: &[Column]| shown.iter().map(|column| column.width + GAP).sum::<usize>() - GAP;
    while width(&shown) > columns {
        let most = shown.iter().enumerate().max_by_key(|(_, column)| column.dispensable);
        match most {
            Some((index, column)) if column.dispensable > 0 => drop(shown.remove(index)),
            _ => break,
        }
    }
    shown
}

/// The first column has the room that the others leave.
fn first_width(shown: &[Column], columns: usize) -> usize {
    let others: usize = shown.iter().skip(1).map(|column| column.width + GAP).sum();
    columns.saturating_sub(others).max(COLUMNS[0].width)
}

fn heading(shown: &[Column], first: usize) -> Line {
    let texts = shown.iter().map(|column| Cell { text: column.heading.to_owned(), style: Style::Bold });
    Line { cells: aligned(shown, first, texts), chosen: false }
}

fn row(shown: &[Column], first: usize, service: &ServiceFigures, all: &Figures, chosen: bool) -> Line {
    let texts = shown.iter().map(|column| cell(column.what, service, all));
    Line { cells: aligned(shown, first, texts), chosen }
}

/// The first column stands on the left, the others end on the right.
fn aligned(shown: &[Column], first: usize, cells: impl Iterator<Item = Cell>) -> Vec<Cell> {
    let fit = |(index, (column, cell)): (usize, (&Column, Cell))| {
        let width = if index == 0 { first } else { column.width };
        let text: String = cell.text.chars().take(width).collect();
        let text = match index {
            0 => format!("{text:<width$}"),
            _ => format!("{:GAP$}{text:>width$}", ""),
        };
        Cell { text, style: cell.style }
    };
    shown.iter().zip(cells).enumerate().map(fit).collect()
}

fn detail_page(view: &View, from: usize, room: usize) -> Vec<Line> {
    let rows = view.figures.services.iter();
    let chosen = view.chosen.as_ref();
    let found = rows
        .into_iter()
        .find(|row| chosen.is_some_and(|(name, side)| row.service == *name && row.side == *side));
    let Some(service) = found else {
        return vec![Line::default(), Line::new(Style::Plain, "no proxy reports of this service any more")];
    };
    let lines = detail::lines(service, &view.figures);
    // The last line stays to be seen.
    let from = from.min(lines.len().saturating_sub(room));
    lines.into_iter().skip(from).collect()
}

/// The picture as a terminal takes it: each line in its place, and nothing left of the one before.
pub(super) fn painted(lines: &[Line], colours: bool) -> String {
    let mut out = String::from("\x1b[H");
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push_str("\r\n");
        }
        for cell in &line.cells {
            let chosen = if line.chosen { ";7" } else { "" };
            out.push_str(&format!("\x1b[0{chosen}{}m{}", code(cell.style, colours), cell.text));
        }
        out.push_str("\x1b[0m\x1b[K");
    }
    out.push_str("\x1b[J");
    out
}

/// How a style is said to a terminal (ECMA-48, SGR), behind a reset.
const fn code(style: Style, colours: bool) -> &'static str {
    match style {
        Style::Bold => ";1",
        Style::Dim if colours => ";90",
        Style::Good if colours => ";32",
        Style::Warn if colours => ";33",
        Style::Bad if colours => ";1;31",
        Style::Plain | Style::Dim | Style::Good | Style::Warn | Style::Bad => "",
    }
}
