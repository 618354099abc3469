//! What limits and breakers say of a call as they stand, and what it gets where they refuse it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use weir_api::report::{KeptAnswers, Refusing};
use weir_model::resource::Protocol;
use weir_model::units::Rounded;
use weir_model::{Kind, ResourceId};

use super::balance::{Balanced, Hashed};
use super::entrance::to;
use super::settings::{retries_of, settings_elsewhere};
use super::{AnswerView, BreakerView, Forwarded, LimitView, RefusalView, Request, Seen};
use crate::breaker::{Instead, Link, Need};
use crate::limit::{Asker, Limit, Says};
use crate::observe::process_now;
use crate::respond::StaticAnswer;
use crate::route::{RequestView, Rule};
use crate::snapshot::{Endpoint, Snapshot, Upstream};

/// Most endpoints whose breakers are shown.
const BREAKERS_SHOWN_MAX: usize = 100;

/// A call by a rule.
pub(super) struct Call<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) request: &'a Request,
    pub(super) rule: &'a Rule,
    pub(super) seen: Seen<'a>,
}

impl Call<'_> {
    /// Adds the limits that it has to pass, in the order in which they are asked. Calls inside the mesh are limited where
    /// they arrive.
    pub(super) fn limited(
        &self,
        listener: Option<(&ResourceId, Option<&str>)>,
        upstream: &Upstream,
        forwarded: &mut Forwarded,
    ) {
        if listener.is_none() {
            return self.limited_there(upstream, forwarded);
        }
        let chain = self.snapshot.limits.chain(listener, Some(self.rule), &upstream.service);
        self.limited_by(&chain, forwarded);
    }

    /// Adds the limits that hold where it arrives.
    fn limited_there(&self, upstream: &Upstream, forwarded: &mut Forwarded) {
        let arriving = self.snapshot.limits.chain(None, None, &upstream.service);
        forwarded.arriving = arriving.iter().map(|limit| self.limit_view(limit)).collect();
    }

    fn limited_by(&self, chain: &[Arc<Limit>], forwarded: &mut Forwarded) {
        let time = forwarded.request_timeout_ms.filter(|ms| *ms > 0).map(Duration::from_millis);
        for limit in chain {
            let view = self.limit_view(limit);
            let name = format!("{} of {}", view.limit, view.target);
            match self.seen.limit(limit, self.request, self.asker(), time) {
                Says::Refuses(refusing) if !view.shadow => {
                    forwarded.refusals.push(RefusalView::new(name, refusing, view.answer.clone()));
                }
                Says::Refuses(refusing) => forwarded.remarks.push(in_shadow(&name, &refusing)),
                Says::Waits(others) if !view.shadow => {
                    forwarded
                        .remarks
                        .push(format!("{name}: all places are taken, so it waits, as {others} do"));
                }
                Says::Turn(turn) if !view.shadow => {
                    forwarded.remarks.push(format!("{name}: it waits for its turn, {}", Rounded(turn)));
                }
                Says::Unknown(why) => {
                    forwarded
                        .remarks
                        .push(format!("{name}: whether it lets this request through is not known: {why}"));
                }
                Says::Passes | Says::Waits(_) | Says::Turn(_) => {}
            }
            forwarded.limits.push(view);
        }
    }

    /// Adds the breakers that must let it through, and those of the endpoints that it may go to; and where it goes if one of
    /// them sends it to another service. Limits hold here at a gateway only.
    pub(super) fn broken(
        &self,
        upstream: &Upstream,
        at_gateway: bool,
        forwarded: &mut Forwarded,
        rng: &mut impl Rng,
    ) {
        let Self { snapshot, rule, .. } = self;
        let table = &snapshot.breakers;
        if table.is_empty() {
            return;
        }
        let chain = table.chain(rule, &upstream.service, Need::Look);
        self.refused_by(&chain, forwarded);
        let mut links = chain.to_vec();
        if table.has_instances(&upstream.service) || table.has_instances_by(rule) {
            let of = |endpoint: &Endpoint| {
                table.of_instance_by(Some(rule), &upstream.service, &endpoint.id, Need::Look).to_vec()
            };
            links.extend(upstream.endpoints.iter().take(BREAKERS_SHOWN_MAX).flat_map(of));
        }
        forwarded.breakers = links.iter().map(|link| self.breaker_view(link)).collect();
        self.refused_everywhere(Some(rule), upstream, forwarded);
        for link in chain.iter() {
            let Instead::Service(service) = &link.breaker.instead else { continue };
            let other = snapshot.upstream_of(service).filter(|other| other.known);
            let known = |label: &str| forwarded.fallbacks.iter().any(|known| known.service == label);
            if let Some(other) = other.filter(|other| !known(&other.label)) {
                let fallback = match other.protocol() {
                    Protocol::Tcp => self.in_bytes(other, rng),
                    _ => self.at_fallback(other, at_gateway, forwarded, rng),
                };
                forwarded.fallbacks.push(fallback);
            }
        }
    }

    /// A service that a call would be sent to and that takes none: it is refused as by the breaker.
    fn in_bytes(&self, upstream: &Upstream, rng: &mut impl Rng) -> Forwarded {
        let balanced = Balanced::of(upstream, self.seen, Hashed::ByChance, &|_| None, rng);
        let mut forwarded = to(upstream, &self.rule.label, None, balanced);
        let why = "it takes bytes, not requests (protocol: tcp)".to_owned();
        let refusing = Refusing { share: 1.0, why, retry_after_ms: None };
        let answer = self.answer(503, None, "UNAVAILABLE");
        forwarded.refusals.push(RefusalView::new(format!("service {}", upstream.label), refusing, answer));
        forwarded
    }

    /// How the call goes on at a service that it is sent to instead, in the time that it has from the first. From there it goes to
    /// no third one.
    fn at_fallback(
        &self,
        upstream: &Upstream,
        at_gateway: bool,
        first: &Forwarded,
        rng: &mut impl Rng,
    ) -> Forwarded {
        let hashed = Hashed::of_request(&upstream.settings.balance.hash, self.request, self.asker());
        let broken = |endpoint: &Endpoint| self.broken_at(None, upstream, endpoint);
        let balanced = Balanced::of(upstream, self.seen, hashed, &broken, rng);
        let timeout = first.request_timeout_ms.map(Duration::from_millis);
        let mut forwarded = to(upstream, &self.rule.label, timeout, balanced);
        forwarded.retries = retries_of(self.snapshot, upstream, None, &upstream.settings);
        forwarded.settings = settings_elsewhere(self.snapshot, upstream, &first.settings);
        let limits = self.snapshot.limits.chain(None, None, &upstream.service);
        if at_gateway && upstream.selected().candidates.is_empty() {
            // Where nobody is there to answer none of them is asked.
            forwarded.limits = limits.iter().map(|limit| self.limit_view(limit)).collect();
        } else if at_gateway {
            self.limited_by(&limits, &mut forwarded);
        } else {
            self.limited_there(upstream, &mut forwarded);
        }
        let chain = self.snapshot.breakers.chain_of_service(&self.rule.label, &upstream.service, Need::Look);
        let refusal = self.answer(503, None, "UNAVAILABLE");
        let view = |link: &Link| match self.breaker_view(link) {
            further if further.answer.service.is_some() => {
                BreakerView { instead: None, answer: refusal.clone(), ..further }
            }
            view => view,
        };
        forwarded.breakers = chain.iter().map(view).collect();
        self.refused_by(&chain, &mut forwarded);
        let further = forwarded.refusals.iter_mut().filter(|one| one.answer.service.is_some());
        further.for_each(|one| one.answer = refusal.clone());
        self.refused_everywhere(None, upstream, &mut forwarded);
        forwarded
    }

    fn refused_by(&self, chain: &[Link], forwarded: &mut Forwarded) {
        for link in chain {
            if let Some(mut refusing) = self.seen.breaker(link) {
                if let Instead::Answer(answer) = &link.breaker.instead
                    && answer.0.says_when()
                {
                    refusing.retry_after_ms = None;
                }
                let view = self.breaker_view(link);
                let part = if view.part.is_empty() { String::new() } else { format!(" for {}", view.part) };
                let name = format!("{} of {}{part}", view.breaker, view.target);
                if view.shadow {
                    forwarded.remarks.push(in_shadow(&name, &refusing));
                    continue;
                }
                forwarded.refusals.push(RefusalView::new(name, refusing, view.answer));
            }
        }
    }

    /// Why an endpoint's own breakers let no call through, if they do not.
    pub(super) fn broken_at(
        &self,
        rule: Option<&Rule>,
        upstream: &Upstream,
        endpoint: &Endpoint,
    ) -> Option<String> {
        self.refused_at(rule, upstream, endpoint).map(|refusing| refusing.why)
    }

    /// The same, with when they may let one through. `rule` is that of the call, unless it came from another service.
    fn refused_at(&self, rule: Option<&Rule>, upstream: &Upstream, endpoint: &Endpoint) -> Option<Refusing> {
        let table = &self.snapshot.breakers;
        let has_any =
            table.has_instances(&upstream.service) || rule.is_some_and(|rule| table.has_instances_by(rule));
        if !has_any {
            return None;
        }
        let chain = table.of_instance_by(rule, &upstream.service, &endpoint.id, Need::Look);
        let mut refusing = chain.iter().filter(|link| !link.breaker.config.shadow).filter_map(|link| {
            let refusing = self.seen.breaker(link).filter(|refusing| refusing.share >= 1.0)?;
            let why = format!("{} lets no call through: {}", link.breaker.name(), refusing.why);
            Some(Refusing { why, ..refusing })
        });
        refusing.next()
    }

    /// Where every endpoint that may be chosen has a breaker that refuses. It is worth while to come again when the first one opens.
    fn refused_everywhere(&self, rule: Option<&Rule>, upstream: &Upstream, forwarded: &mut Forwarded) {
        let candidates = || forwarded.endpoints.iter().filter(|endpoint| endpoint.candidate);
        if candidates().next().is_none() || candidates().any(|endpoint| endpoint.broken.is_none()) {
            return;
        }
        let why = "none of them lets a call through".to_owned();
        let ids: HashSet<&str> = candidates().map(|endpoint| &*endpoint.id).collect();
        let meant = upstream.endpoints.iter().filter(|endpoint| ids.contains(&*endpoint.id));
        let times = meant.filter_map(|endpoint| self.refused_at(rule, upstream, endpoint)?.retry_after_ms);
        let refusing = Refusing { share: 1.0, why, retry_after_ms: times.min() };
        let answer = self.answer(503, None, "UNAVAILABLE");
        forwarded.refusals.push(RefusalView::new(
            "the breakers of its endpoints".to_owned(),
            refusing,
            answer,
        ));
    }

    /// Nobody sends this request: who the client would be is known only where that was told.
    pub(super) fn asker(&self) -> Asker<'_> {
        Asker { address: self.request.source(), caller: self.request.caller(), rule: &self.rule.label }
    }

    fn limit_view(&self, limit: &Limit) -> LimitView {
        LimitView {
            limit: limit.id.to_string(),
            target: limit.target.to_string(),
            state: limit.described(self.request, self.asker(), process_now()),
            admitted: Some(limit.admitted()),
            refused: Some(limit.refused().map(|(_, refused, shadowed)| refused + shadowed).sum()),
            shadowed: limit.refused().map(|(_, _, shadowed)| shadowed).sum(),
            version: limit.version(),
            answer: self.answer(limit.status(), limit.response.as_deref(), "RESOURCE_EXHAUSTED"),
            shadow: limit.limiter().config().shadow,
        }
    }

    fn breaker_view(&self, link: &Link) -> BreakerView {
        let instead = &link.breaker.instead;
        let refused = self.seen.breaker_refused(link);
        BreakerView {
            breaker: link.breaker.name(),
            target: link.breaker.target.to_string(),
            part: link.brake.part.to_string(),
            state: self.seen.breaker_state(link),
            refused: refused.map(|(all, _)| all),
            shadowed: refused.map_or(0, |(_, shadowed)| shadowed),
            version: link.breaker.version(),
            instead: self.described(link),
            answer: match instead {
                Instead::Refusal => self.answer(503, None, "UNAVAILABLE"),
                Instead::Answer(answer) => self.answer(503, Some(&answer.0), "UNAVAILABLE"),
                Instead::Service(service) => {
                    AnswerView { service: Some(service.to_string()), ..AnswerView::default() }
                }
                Instead::Cached(_) => {
                    let earlier = matches!(&*self.request.method, "GET" | "HEAD");
                    AnswerView { earlier, ..self.answer(503, None, "UNAVAILABLE") }
                }
            },
            shadow: link.breaker.config.shadow,
        }
    }

    /// What a call gets that a breaker refuses, where that is not 503.
    fn described(&self, link: &Link) -> Option<String> {
        match &link.breaker.instead {
            Instead::Refusal => None,
            Instead::Answer(_) => Some("the answer that the document has".to_owned()),
            Instead::Service(service) => Some(format!("sent to service {service}")),
            Instead::Cached(_) => Some(earlier_answers(self.seen.kept(link).unwrap_or_default())),
        }
    }

    /// What a refused call is answered with: a document's answer, else this status, or this one of gRPC.
    fn answer(&self, status: u16, written: Option<&StaticAnswer>, grpc: &str) -> AnswerView {
        let grpc_status = written.and_then(StaticAnswer::grpc_status).unwrap_or(grpc);
        let status = written.map_or(status, StaticAnswer::status);
        let is_grpc = self.rule.route.kind == Kind::GrpcRoute
            || self.request.header(b"content-type").is_some_and(|kind| kind.starts_with(b"application/grpc"));
        AnswerView {
            status: Some(if is_grpc { 200 } else { status }),
            grpc_status: is_grpc.then(|| grpc_status.to_owned()),
            ..AnswerView::default()
        }
    }
}

/// What a limit or a breaker would do that is in shadow.
fn in_shadow(name: &str, Refusing { share, why, .. }: &Refusing) -> String {
    match *share {
        share if share < 1.0 => {
            format!("{name} is in shadow and would refuse {:.0} % of such calls: {why}", share * 100.0)
        }
        _ => format!("{name} is in shadow and would refuse it: {why}"),
    }
}

/// What calls get where earlier answers are kept.
pub fn earlier_answers(kept: KeptAnswers) -> String {
    let KeptAnswers { answers, bytes, given } = kept;
    format!("an earlier answer, {answers} answers kept ({bytes} bytes), {given} given")
}

impl RefusalView {
    fn new(by: String, refusing: Refusing, answer: AnswerView) -> Self {
        // `Retry-After` has whole seconds.
        let retry_after_s = refusing.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1));
        let Refusing { share, why, .. } = refusing;
        Self { by, share, reason: why, retry_after_s, answer }
    }
}
