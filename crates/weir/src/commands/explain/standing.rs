//! How limits and breakers stand at the proxies that have reported of the same version of them.

use weir_api::report::{BreakerReport, LimitReport, ProxyReport, STATES_SHOWN_MAX, StateOf};
use weir_proxy::explain::{
    BreakerView, Forwarded, LimitView, NOT_REPORTED, OfBreaker, RefusalView, UNMET, earlier_answers,
    of_breaker, of_limit,
};

/// Puts the counts of all proxies where a call begins in the place of the one's, and how limits and breakers stand at each.
pub(super) fn at_callers(forwarded: &mut Forwarded, own: &[&ProxyReport]) {
    forwarded.limits.iter_mut().for_each(|view| limit(view, &of_limits(view, own)));
    forwarded.breakers.iter_mut().for_each(|view| breaker(view, own));
}

/// What one proxy reports of a limit, if it does.
type OfLimit<'a> = (&'a str, Option<&'a LimitReport>);

fn of_limits<'a>(view: &LimitView, own: &[&'a ProxyReport]) -> Vec<OfLimit<'a>> {
    let found =
        |one: &&'a ProxyReport| (&*one.proxy, of_limit(&one.report, &view.limit, &view.target, view.version));
    own.iter().map(found).collect()
}

fn limit(view: &mut LimitView, all: &[OfLimit<'_>]) {
    let rows: Vec<&LimitReport> = all.iter().filter_map(|(_, row)| *row).collect();
    let sum = |of: fn(&LimitReport) -> u64| {
        (!rows.is_empty()).then(|| rows.iter().fold(0, |sum: u64, row| sum.saturating_add(of(row))))
    };
    (view.admitted, view.refused) = (sum(|row| row.admitted), sum(|row| row.refused));
    view.shadowed = sum(|row| row.shadowed).unwrap_or(0);
    view.state = said(all.iter().map(|(proxy, row)| (*proxy, row.map(|row| &*row.state))), !rows.is_empty());
}

fn breaker<'a>(view: &mut BreakerView, own: &[&'a ProxyReport]) {
    let machine = (&*view.breaker, &*view.target, &*view.part);
    let told = |one: &&'a ProxyReport| (&*one.proxy, of_breaker(&one.report, machine, view.version));
    let mut all: Vec<(&str, OfBreaker<'a>)> = own.iter().map(told).collect();
    // Those that refuse calls first.
    let is_closed = |told: &OfBreaker<'_>| match told {
        OfBreaker::Met(row) => row.phase == "closed" && row.refusing.is_none(),
        OfBreaker::Unmet | OfBreaker::Nothing => true,
    };
    all.sort_by_key(|(_, told)| is_closed(told));
    let rows: Vec<&BreakerReport> = all.iter().filter_map(|(_, told)| met(told)).collect();
    let is_known = all.iter().any(|(_, told)| *told != OfBreaker::Nothing);
    let refused = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.refused));
    let kept = rows.iter().filter_map(|row| row.kept).reduce(|mut sum, kept| {
        sum.add(kept);
        sum
    });
    let state = said(
        all.iter().map(|(proxy, told)| {
            let state = match told {
                OfBreaker::Met(row) => Some(&*row.state),
                OfBreaker::Unmet => Some(UNMET),
                OfBreaker::Nothing => None,
            };
            (*proxy, state)
        }),
        is_known,
    );
    view.refused = is_known.then_some(refused);
    view.shadowed = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.shadowed));
    view.state = state;
    if let Some(kept) = kept.filter(|_| view.instead.is_some()) {
        view.instead = Some(earlier_answers(kept));
    }
}

const fn met<'a>(told: &OfBreaker<'a>) -> Option<&'a BreakerReport> {
    match told {
        OfBreaker::Met(row) => Some(row),
        OfBreaker::Unmet | OfBreaker::Nothing => None,
    }
}

/// What the proxies say, one line each; a single one need not be named, and where none has reported the heading says so.
fn said<'a>(all: impl Iterator<Item = (&'a str, Option<&'a str>)>, is_known: bool) -> String {
    let all: Vec<StateOf> = all
        .map(|(proxy, state)| StateOf {
            proxy: proxy.to_owned(),
            state: state.unwrap_or(NOT_REPORTED).to_owned(),
        })
        .collect();
    match &*all {
        _ if !is_known => String::new(),
        [only] => only.state.clone(),
        several => {
            let shown = several.iter().take(STATES_SHOWN_MAX);
            let mut lines: Vec<String> = shown.map(|one| format!("{}: {}", one.proxy, one.state)).collect();
            if several.len() > STATES_SHOWN_MAX {
                lines.push(format!("and {} more", several.len() - STATES_SHOWN_MAX));
            }
            lines.join("\n")
        }
    }
}

/// The limits that hold where a call arrives: at the sidecars of its service. Says whether there are any.
pub(super) fn where_it_arrives(forwarded: &mut Forwarded, callees: &[&ProxyReport]) -> bool {
    let arriving = std::mem::take(&mut forwarded.arriving);
    let are_any = !arriving.is_empty();
    for mut view in arriving {
        let all = of_limits(&view, callees);
        limit(&mut view, &all);
        let refusing = || all.iter().filter_map(|(_, row)| row.as_ref()?.refusing.as_ref());
        if let Some(first) = refusing().next().filter(|_| !view.shadow) {
            let share: f64 = refusing().map(|refusing| refusing.share).sum();
            let (at, of) = (refusing().count(), all.len());
            forwarded.refusals.push(RefusalView {
                by: format!(
                    "{} of {}, at {at} of {of} sidecars where it may arrive",
                    view.limit, view.target
                ),
                share: share / of.max(1) as f64,
                reason: first.why.clone(),
                retry_after_s: None,
                answer: view.answer.clone(),
            });
        }
        forwarded.limits.push(view);
    }
    are_any
}
