//! What is looked at: the figures, which of them, and in which order. Keys change it; nothing here draws or waits.

use std::cmp::Ordering;

use weir_api::report::{Figures, ServiceFigures, Side};

use super::keys::Key;
use crate::cli::top::Sort;

/// The longest filter, in characters.
const FILTER_MAX: usize = 64;
/// Lines of a page, for the keys that turn pages.
const PAGE_LINES: usize = 10;

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Who was asked.
    pub(super) source: String,
    /// The newest figures.
    pub(super) figures: Figures,
    /// Why there are no newer ones.
    pub(super) problem: Option<String>,
    /// How long ago the figures were got, in milliseconds.
    pub(super) age_ms: u64,
    pub(super) sort: Sort,
    /// The one service that was asked for, if one was.
    pub(super) wanted: Option<String>,
    /// Only services with this in their name.
    pub(super) filter: String,
    /// Whether the filter is being written.
    pub(super) editing: bool,
    pub(super) page: Page,
    /// Whether every proxy has reported since the look began, or has had the time to: before that rates are not known.
    pub(super) settled: bool,
    /// The row that is chosen; it stays with its service when others overtake it.
    pub(super) chosen: Option<(String, Side)>,
}

/// Which page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    /// All services.
    #[default]
    List,
    /// The service that is chosen, from that line on.
    Detail(usize),
}

impl View {
    pub(super) fn new(source: String, sort: Sort) -> Self {
        Self { source, sort, ..Self::default() }
    }

    /// The services that are shown, in order.
    pub(super) fn rows(&self) -> Vec<&ServiceFigures> {
        sorted(&self.figures, self.sort, &self.filter)
    }

    /// The row that is chosen: the one that was, or else the first.
    pub(super) fn chosen_at(&self, rows: &[&ServiceFigures]) -> usize {
        let is_it = |row: &&ServiceFigures| {
            self.chosen.as_ref().is_some_and(|(name, side)| row.service == *name && row.side == *side)
        };
        rows.iter().position(is_it).unwrap_or(0)
    }

    /// There are newer figures. `is_fresh` is whether their rates are of now.
    pub(super) fn took(&mut self, figures: Figures, is_fresh: bool) {
        (self.figures, self.problem, self.age_ms) = (figures, None, 0);
        self.settled |= is_fresh;
        if !self.settled {
            without_rates(&mut self.figures);
        }
    }

    /// A key was pressed. Says whether to go on.
    pub(super) fn press(&mut self, key: Key) -> bool {
        if key == Key::Interrupt {
            return false;
        }
        if self.editing {
            self.edit(key);
            return true;
        }
        match (self.page, key) {
            (_, Key::Char('q')) => return false,
            (Page::List, Key::Esc) => self.filter.clear(),
            (Page::List, Key::Char('/')) => self.editing = true,
            (Page::List, Key::Char('s')) => self.sort = self.sort.next(),
            (Page::List, Key::Enter) => self.open(),
            (Page::List, key) => self.step(key),
            (Page::Detail(_), Key::Esc | Key::Enter | Key::Backspace) => self.page = Page::List,
            (Page::Detail(from), key) => self.page = Page::Detail(moved(from, usize::MAX, key)),
        }
        true
    }

    fn edit(&mut self, key: Key) {
        match key {
            Key::Enter => self.editing = false,
            Key::Esc => (self.editing, self.filter) = (false, String::new()),
            Key::Backspace => drop(self.filter.pop()),
            Key::Char(c) if self.filter.chars().count() < FILTER_MAX => self.filter.push(c),
            _ => {}
        }
    }

    fn open(&mut self) {
        let rows = self.rows();
        if let Some(row) = rows.get(self.chosen_at(&rows)) {
            self.chosen = Some((row.service.clone(), row.side));
            self.page = Page::Detail(0);
        }
    }

    fn step(&mut self, key: Key) {
        let rows = self.rows();
        let to = moved(self.chosen_at(&rows), rows.len().saturating_sub(1), key);
        self.chosen = rows.get(to).map(|row| (row.service.clone(), row.side));
    }
}

/// Takes away what is true only of a time that is over.
fn without_rates(figures: &mut Figures) {
    for service in &mut figures.services {
        let ServiceFigures { requests_per_s, retries_per_s, error_ratio, own_ratio, p50_ms, p99_ms, .. } =
            service;
        for rate in [requests_per_s, retries_per_s, error_ratio, own_ratio, p50_ms, p99_ms] {
            *rate = None;
        }
        service.endpoints.iter_mut().for_each(|endpoint| endpoint.requests_per_s = None);
        service.routes.iter_mut().for_each(|route| route.requests_per_s = None);
    }
    figures.limits.iter_mut().for_each(|limit| limit.refused_per_s = None);
    figures.breakers.iter_mut().for_each(|breaker| breaker.refused_per_s = None);
}

/// Where a key leads from a line, of lines up to `last`.
fn moved(from: usize, last: usize, key: Key) -> usize {
    let to = match key {
        Key::Up | Key::Char('k') => from.saturating_sub(1),
        Key::Down | Key::Char('j') => from.saturating_add(1),
        Key::PageUp => from.saturating_sub(PAGE_LINES),
        Key::PageDown | Key::Char(' ') => from.saturating_add(PAGE_LINES),
        Key::Home | Key::Char('g') => 0,
        Key::End | Key::Char('G') => last,
        _ => from,
    };
    to.min(last)
}

/// The services with `filter` in their name, in an order that does not jump: equals stand by name.
pub(super) fn sorted<'a>(figures: &'a Figures, sort: Sort, filter: &str) -> Vec<&'a ServiceFigures> {
    let mut rows: Vec<&ServiceFigures> =
        figures.services.iter().filter(|service| service.service.contains(filter)).collect();
    rows.sort_by(|a, b| {
        let most = |of: fn(&ServiceFigures) -> Option<f64>| {
            of(b).unwrap_or(-1.0).partial_cmp(&of(a).unwrap_or(-1.0)).unwrap_or(Ordering::Equal)
        };
        let by = match sort {
            Sort::Rate => most(|row| row.requests_per_s),
            Sort::Errors => most(|row| row.error_ratio),
            Sort::P50 => most(|row| row.p50_ms),
            Sort::P99 => most(|row| row.p99_ms),
            Sort::InFlight => b.in_flight.cmp(&a.in_flight),
            Sort::Retries => most(|row| row.retries_per_s),
            Sort::Name => Ordering::Equal,
        };
        by.then_with(|| (&a.service, a.side).cmp(&(&b.service, b.side)))
    });
    rows
}
