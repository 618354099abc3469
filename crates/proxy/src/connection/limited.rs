//! Phase `limit` at work on a request: it is asked about once its rule and service are known, and waits, if it has to, before
//! its first attempt.

use std::pin::Pin;
use std::rc::Rc;

use weir_model::ServiceRef;
use weir_policy::Nanos;
use weir_policy::limit::{Outcome, Quota, Refusal as Refused};

use super::Connection;
use super::notes::End;
use super::way::HeadView;
use crate::attempt::{Exchange, client_gone};
use crate::limit::{Asker, Limit, Step};
use crate::listen::Role;
use crate::observe::process_now;
use crate::respond::{Lines, Reason, Refusal};
use crate::route::Rule;
use crate::runtime::View;
use crate::snapshot::ListenerConfig;

/// Where a request is, as limits see it.
pub(super) struct Limited<'a> {
    /// The gateway's listener that it came to.
    pub(super) listener: Option<&'a ListenerConfig>,
    pub(super) rule: Option<&'a Rule>,
    pub(super) service: &'a ServiceRef,
    /// The key of the service's state.
    pub(super) key: u64,
}

impl Connection {
    /// Asks the limits that hold for a request. Gives the answer, if it is refused.
    #[inline]
    pub(super) fn limit(
        &self,
        view: &Rc<View>,
        at: &Limited<'_>,
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) -> Option<Refusal> {
        if view.snapshot.limits.is_empty() || self.listener.role == Role::Outbound {
            return None;
        }
        self.limit_by(view, at, seen, exchange)
    }

    #[inline(never)]
    fn limit_by(
        &self,
        view: &Rc<View>,
        at: &Limited<'_>,
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) -> Option<Refusal> {
        let section = at.listener.and_then(|config| config.routes.section_of(seen.host));
        let chain = view.chain(at.listener, section, at.rule, at.service, at.key);
        if chain.is_empty() {
            return None;
        }
        let rule = at.rule.map_or("", |rule| &*rule.label);
        exchange.pass.begin(chain, seen, Asker { address: self.peer.text(), rule });
        match exchange.pass.ask(Nanos(self.worker.clock.recent())) {
            Step::GoOn | Step::Waits => None,
            Step::Refused(limit, refused) => Some(refusal(&limit, &refused)),
        }
    }

    /// Waits until a request may go on. Rare, so that its size is kept out of the connection's own.
    pub(super) fn await_turn<'a>(
        &'a self,
        exchange: &'a mut Exchange,
    ) -> Pin<Box<dyn Future<Output = Turn> + 'a>> {
        Box::pin(async move {
            let pass = &mut exchange.pass;
            let waiting = async {
                while pass.waits() {
                    if let Step::Refused(limit, refused) = pass.wait().await {
                        return Turn::Refused(refusal(&limit, &refused));
                    }
                }
                if let Some(turn) = pass.take_turn() {
                    tokio::time::sleep(turn.since(process_now())).await;
                }
                Turn::Come
            };
            tokio::select! {
                biased;
                turn = waiting => turn,
                () = client_gone(self) => Turn::ClientGone,
            }
        })
    }
}

/// How waiting ended.
pub(super) enum Turn {
    Come,
    Refused(Refusal),
    ClientGone,
}

/// What a request's end says to its limits.
pub(super) fn outcome(exchange: &Exchange, end: End) -> Outcome {
    match end {
        End::Own(own) => match own.reason {
            Reason::Timeout => Outcome::TimedOut,
            Reason::Overloaded => Outcome::Overloaded,
            _ => Outcome::Failed,
        },
        End::Forwarded if exchange.status == 503 => Outcome::Overloaded,
        End::Forwarded => Outcome::Done,
        End::Cut | End::ClientGone => Outcome::Failed,
    }
}

/// The answer to a request that is refused.
fn refusal(limit: &Limit, refused: &Refused) -> Refusal {
    let reason = if refused.why.is_shed() { Reason::Shed } else { Reason::Limited };
    let message = format!("{}, by {}", refused.why, limit.id);
    let mut lines = Lines::default();
    if let Some(quota) = refused.quota {
        quota_lines(&limit.id.name, &quota, &mut lines.0);
    }
    let mut refusal = Refusal::new(reason, message);
    refusal.lines = Some(Box::new(lines));
    refusal.retry_after_s = Some(u32::try_from(refused.retry_after_secs()).unwrap_or(u32::MAX));
    refusal.written_as(limit.response.as_ref())
}

/// What is left (draft-ietf-httpapi-ratelimit-headers, sections 3 and 4).
fn quota_lines(name: &str, quota: &Quota, out: &mut Vec<u8>) {
    use std::io::Write;
    let window = quota.window.as_secs() + u64::from(quota.window.subsec_nanos() > 0);
    // Writing into memory cannot fail. A resource's name has no quotes.
    let _ = write!(
        out,
        "ratelimit-policy: \"{name}\";q={};w={window}\r\nratelimit: \"{name}\";r={};t={}\r\n",
        quota.limit,
        quota.remaining,
        quota.reset_secs(),
    );
}
