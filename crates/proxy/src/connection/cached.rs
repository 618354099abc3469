//! Earlier answers at work: taken down as they pass, and given again when a call is refused or comes to nothing.

use std::time::Duration;

use weir_http1::Method;

use super::Connection;
use super::broken::is_failure;
use crate::attempt::{Exchange, Keeping};
use crate::breaker::{Cached, Key};
use crate::observe::process_now;
use crate::respond::{Lines, Reason, Refusal};

impl Connection {
    /// Has the answer to a call taken down, if one of its breakers keeps such answers and has none of late.
    pub(super) fn take_keeping(&self, exchange: &mut Exchange) {
        if exchange.asked.method != Method::Get || exchange.permits.keepers().next().is_none() {
            return;
        }
        let now = process_now();
        let wanted = key(exchange)
            .is_some_and(|key| exchange.permits.keepers().any(|(_, cached)| !cached.is_recent(&key, now)));
        if wanted {
            exchange.keeping = Some(Box::new(Keeping::default()));
        }
    }

    /// Keeps an answer that has passed.
    #[cold]
    pub(super) fn keep_answer(&self, exchange: &mut Exchange) {
        let Some(kept) = exchange.keeping.take().and_then(|keeping| keeping.finish()) else { return };
        let Some(key) = key(exchange) else { return };
        let now = process_now();
        exchange.permits.keepers().for_each(|(_, cached)| cached.keep(&key, &kept, now));
    }

    /// The answer to a call that came to nothing: an earlier one, if there is any.
    #[cold]
    pub(super) fn instead_of_failure(&self, exchange: &mut Exchange, refusal: Refusal) -> Refusal {
        let is_theirs =
            is_failure(refusal.reason) || matches!(refusal.reason, Reason::NoEndpoint | Reason::BreakerOpen);
        let keeper = exchange.permits.keepers().next().filter(|_| is_theirs);
        let Some((breaker, cached)) = keeper else { return refusal };
        let (breaker, answer) = (breaker.clone(), self.kept_by(cached, exchange, refusal));
        if answer.written.is_some() {
            exchange.answer_instead(breaker, None);
        }
        answer
    }

    /// The same for a call that is refused by a breaker which keeps answers.
    pub(super) fn kept_by(&self, cached: &Cached, exchange: &Exchange, refusal: Refusal) -> Refusal {
        if !matches!(exchange.asked.method, Method::Get | Method::Head) {
            return refusal;
        }
        let found = key(exchange).and_then(|key| cached.find(&key, process_now()));
        let Some((answer, age)) = found else { return refusal };
        let lines = Some(Box::new(age_line(age)));
        Refusal { retry_after_s: None, lines, ..refusal.written_as(Some(&answer)) }
    }
}

/// What answers to a call are found by. Its head is as it goes to the service.
fn key(exchange: &Exchange) -> Option<Key<'_>> {
    Key::of(exchange.row.as_ref().map_or("", |row| &row.route), &exchange.request)
}

/// How old an answer is (RFC 9111, section 5.1).
fn age_line(age: Duration) -> Lines {
    Lines(format!("age: {}\r\n", age.as_secs()).into_bytes())
}
