//! Whose word counts for what only running proxies know: this process's own, or what a proxy has reported.

use std::sync::Arc;
use std::time::Duration;

use weir_api::report::{EndpointReport, KeptAnswers, Refusing, Report, ServiceReport, Side};
use weir_model::ServiceRef;
use weir_model::registry::Health;

use super::{NOT_REPORTED, OfBreaker, Request, of_breaker, of_limit};
use crate::breaker::{Link, UNMET};
use crate::limit::{Asker, Limit, Says};
use crate::observe::process_now;
use crate::snapshot::{Snapshot, Upstream, Verdict, Verdicts};

/// Whose word counts.
#[derive(Clone, Copy, Debug, Default)]
pub enum Seen<'a> {
    /// What is in this process.
    #[default]
    Here,
    /// What a proxy has reported. The snapshot must be one of its own, which nobody else uses: see [`Seen::take_over`].
    Reported(&'a Report),
}

impl<'a> Seen<'a> {
    /// What a breaker refuses; none where it refuses nothing, or nothing is known of it.
    pub(super) fn breaker(self, link: &Link) -> Option<Refusing> {
        match self {
            Self::Here => link.brake.refusing(process_now()),
            Self::Reported(report) => match told(report, link) {
                OfBreaker::Met(row) => row.refusing.clone(),
                OfBreaker::Nothing | OfBreaker::Unmet => None,
            },
        }
    }

    /// How a breaker stands.
    pub(super) fn breaker_state(self, link: &Link) -> String {
        match self {
            Self::Here => link.brake.described(process_now()),
            Self::Reported(report) => match told(report, link) {
                OfBreaker::Met(row) => row.state.clone(),
                OfBreaker::Unmet => UNMET.to_owned(),
                OfBreaker::Nothing => NOT_REPORTED.to_owned(),
            },
        }
    }

    /// Calls that a breaker refused, or would have refused in shadow, and how many of these only shadow let through; none where
    /// nothing is known of it.
    pub(super) fn breaker_refused(self, link: &Link) -> Option<(u64, u64)> {
        match self {
            Self::Here => {
                let (refused, shadowed) = link.brake.refused();
                Some((refused + shadowed, shadowed))
            }
            Self::Reported(report) => match told(report, link) {
                OfBreaker::Met(row) => Some((row.refused, row.shadowed)),
                OfBreaker::Unmet => Some((0, 0)),
                OfBreaker::Nothing => None,
            },
        }
    }

    /// The earlier answers that a breaker's fallback keeps, where that is what calls get.
    pub(super) fn kept(self, link: &Link) -> Option<KeptAnswers> {
        let own = link.breaker.instead.kept()?;
        match self {
            Self::Here => Some(own),
            Self::Reported(report) => match told(report, link) {
                OfBreaker::Met(row) => Some(row.kept.unwrap_or_default()),
                OfBreaker::Nothing | OfBreaker::Unmet => Some(KeptAnswers::default()),
            },
        }
    }

    /// What a limit says of a request that may take so long, if that is bounded.
    pub(super) fn limit(
        self,
        limit: &Limit,
        request: &Request,
        asker: Asker<'_>,
        time: Option<Duration>,
    ) -> Says {
        let report = match self {
            Self::Here => return limit.of_request(request, asker, time, process_now()),
            Self::Reported(report) => report,
        };
        if limit.config.is_keyed() {
            return Says::Unknown("a proxy reports nothing of single keys");
        }
        match of_limit(report, &limit.id.to_string(), &limit.target, limit.version()) {
            Some(row) => match &row.refusing {
                Some(refusing) => Says::Refuses(refusing.clone()),
                None if limit.may_outlast(time) => Says::Unknown(
                    "a proxy does not report whose turn is when, and the request's time may be over before its own",
                ),
                None => Says::Passes,
            },
            None => Says::Unknown("the proxy has not reported of it yet"),
        }
    }

    /// Gives the endpoints of a snapshot the state that a proxy has reported of them, so that its balancers choose as the
    /// proxy's do.
    pub fn take_over(self, snapshot: &Snapshot) {
        let Self::Reported(report) = self else { return };
        for upstream in snapshot.upstreams() {
            if let Some(service) = of_service(report, upstream) {
                take_over(upstream, service);
            }
        }
    }

    /// What the proxy's own checks came to, by its report.
    pub fn verdicts(self) -> Arc<Verdicts> {
        let mut verdicts = Verdicts::default();
        let Self::Reported(report) = self else { return Arc::default() };
        for service in report.services.iter().filter(|service| service.side == Side::Caller) {
            let name = match service.service.split_once('/') {
                Some((namespace, name)) => ServiceRef::new(namespace, name),
                None => ServiceRef::new(weir_model::DEFAULT_NAMESPACE, &*service.service),
            };
            for endpoint in service.endpoints.iter().filter(|endpoint| endpoint.checked.is_some()) {
                let health = [Health::Passing, Health::Warning, Health::Critical];
                let health = health.into_iter().find(|health| health.as_str() == endpoint.health);
                let verdict = health.map(|health| Verdict { health, since: process_now() });
                verdicts.set(&name, &endpoint.id.as_str().into(), verdict);
            }
        }
        Arc::new(verdicts)
    }

    /// What a proxy reports of an endpoint.
    pub(super) fn endpoint(self, upstream: &Upstream, id: &str) -> Option<&'a EndpointReport> {
        let Self::Reported(report) = self else { return None };
        of_service(report, upstream)?.endpoints.iter().find(|endpoint| endpoint.id == id)
    }
}

fn take_over(upstream: &Upstream, service: &ServiceReport) {
    for reported in &service.endpoints {
        let found = upstream.endpoints.iter().find(|endpoint| *endpoint.id == *reported.id);
        if let Some(endpoint) = found {
            endpoint.state.take_over(reported);
        }
    }
    upstream.reselect(process_now());
}

fn of_service<'a>(report: &'a Report, upstream: &Upstream) -> Option<&'a ServiceReport> {
    let mut services = report.services.iter();
    services.find(|service| service.side == Side::Caller && *service.service == *upstream.label)
}

fn told<'a>(report: &'a Report, link: &Link) -> OfBreaker<'a> {
    let Link { breaker, brake } = link;
    of_breaker(report, (&breaker.name(), &breaker.target, &brake.part), breaker.version())
}
