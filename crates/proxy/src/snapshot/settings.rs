//! How calls to a service are made, resolved: what the service's traffic policy says, and the defaults for the rest.

use std::sync::Arc;
use std::time::Duration;

use weir_model::ResourceId;
use weir_model::resource::TrafficPolicySpec;
use weir_model::resource::traffic_policy::ProxyProtocolVersion;
use weir_policy::hedge::HedgeConfig;
use weir_policy::outlier::OutlierConfig;
use weir_policy::retry::{BudgetConfig, RetryPolicy};
use weir_policy::status::{GrpcStatusSet, StatusSet};

use super::Balancing;
use crate::http2::Room;
use crate::listen::ProxyVersion;
use crate::listen::proxy_protocol::{self, Addresses};

/// How calls to one service are balanced, timed and retried.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How an endpoint is chosen.
    pub balance: Balancing,
    /// Limit for establishing a connection.
    pub connect_timeout: Duration,
    /// Limit from the request's arrival to the response head; `None` means no limit.
    pub request_timeout: Option<Duration>,
    /// How long a pooled connection may idle.
    pub idle_max: Duration,
    /// Limit for one attempt, within that of the request; `None` means no limit.
    pub attempt_timeout: Option<Duration>,
    /// How often a request may be tried again after its first attempt.
    pub retries: u32,
    /// The first and the last end of the delays before retries.
    pub backoff: (Duration, Duration),
    /// Response statuses upon which a request is tried again, of HTTP and of gRPC.
    pub retry_on: (StatusSet, GrpcStatusSet),
    /// How much load retries may add, over all workers.
    pub budget: BudgetConfig,
    /// Second copies of requests that take long; none are made when absent.
    pub hedge: Option<HedgeConfig>,
    /// The PROXY header that each connection begins with.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Most requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// Most HTTP/2 connections of one worker to one endpoint.
    pub connections_max: u32,
    /// When endpoints are ejected, and for how long.
    pub outlier: OutlierConfig,
    /// The policies that say how long requests may take.
    pub times_by: TimesBy,
}

/// The policies that say how long requests may take; none where the defaults do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimesBy {
    /// Of [`Settings::request_timeout`].
    pub request: Option<Arc<ResourceId>>,
    /// Of [`Settings::attempt_timeout`].
    pub attempt: Option<Arc<ResourceId>>,
}

impl Default for Settings {
    /// The defaults of the product; a proxy's own configuration may change them.
    fn default() -> Self {
        Self {
            balance: Balancing::default(),
            connect_timeout: Duration::from_secs(1),
            request_timeout: Some(Duration::from_secs(15)),
            idle_max: Duration::from_secs(60),
            attempt_timeout: None,
            retries: RetryPolicy::default().retries,
            backoff: (RetryPolicy::default().backoff_base, RetryPolicy::default().backoff_max),
            retry_on: (StatusSet::EMPTY, GrpcStatusSet::EMPTY),
            budget: BudgetConfig::default(),
            hedge: None,
            proxy_protocol: None,
            streams_max: 128,
            connections_max: 16,
            outlier: OutlierConfig::default(),
            times_by: TimesBy::default(),
        }
    }
}

impl Settings {
    /// How much of HTTP/2 connections there may be.
    pub(crate) const fn room(&self) -> Room {
        Room {
            streams_max: self.streams_max,
            connections_max: self.connections_max,
            connect_max: self.connect_timeout,
        }
    }

    /// What a new connection for these addresses must begin with.
    pub(crate) fn proxy_header_for(&self, addresses: impl FnOnce() -> Addresses) -> Option<Vec<u8>> {
        self.proxy_protocol.map(|version| {
            let mut header = Vec::with_capacity(128);
            proxy_protocol::write(version, addresses(), &mut header);
            header
        })
    }

    /// These settings with everything that the policy of this name says instead.
    #[must_use]
    pub fn overridden_by(mut self, id: &ResourceId, policy: &TrafficPolicySpec) -> Self {
        if let Some(balance) = &policy.balance {
            self.balance = Balancing::from(balance);
        }
        if let Some(timeouts) = &policy.timeouts {
            if let Some(connect) = timeouts.connect {
                self.connect_timeout = connect.0;
            }
            if let Some(request) = timeouts.request {
                self.request_timeout = limit(request.0);
                self.times_by.request = Some(Arc::new(id.clone()));
            }
            if let Some(attempt) = timeouts.per_try {
                self.attempt_timeout = limit(attempt.0);
                self.times_by.attempt = Some(Arc::new(id.clone()));
            }
            if let Some(idle) = timeouts.idle {
                self.idle_max = idle.0;
            }
        }
        if let Some(retry) = &policy.retry {
            let RetryPolicy { retries, backoff_base, backoff_max, statuses, grpc_statuses } =
                RetryPolicy::from_spec(retry);
            self.retry_on = (statuses, grpc_statuses);
            (self.retries, self.backoff) = (retries, (backoff_base, backoff_max));
            self.budget = retry.budget.as_ref().map_or(self.budget, BudgetConfig::from_spec);
        }
        if let Some(hedge) = &policy.hedge {
            self.hedge = hedge.is_on().then(|| HedgeConfig::from_spec(hedge));
        }
        if let Some(connection) = &policy.connection {
            self.streams_max = connection.streams_max.unwrap_or(self.streams_max);
            self.connections_max = connection.connections_max.unwrap_or(self.connections_max);
        }
        if let Some(outlier) = &policy.outlier {
            self.outlier = OutlierConfig::from_spec(outlier);
        }
        if let Some(version) = policy.proxy_protocol {
            self.proxy_protocol = Some(match version {
                ProxyProtocolVersion::V1 => ProxyVersion::V1,
                ProxyProtocolVersion::V2 => ProxyVersion::V2,
            });
        }
        self
    }
}

/// `0s` means no limit, as in the Gateway API.
pub(crate) fn limit(span: Duration) -> Option<Duration> {
    (!span.is_zero()).then_some(span)
}

#[cfg(test)]
mod tests {
    use weir_model::Kind;
    use weir_model::resource::traffic_policy::{Balance, BalancePolicy};
    use weir_model::validate::{rate_limit, traffic_policy};
    use weir_policy::breaker::{BreakerConfig, CusumConfig};
    use weir_policy::hedge::HedgeAfter;
    use weir_policy::limit::AdaptiveConfig;

    use super::*;

    #[test]
    fn documents_are_judged_by_the_defaults_that_are_in_force() {
        let (breaker, outlier) = (BreakerConfig::default(), OutlierConfig::default());
        assert_eq!((breaker.open, breaker.open_max), traffic_policy::OPEN_DEFAULT);
        assert_eq!((outlier.ejection, outlier.ejection_max), traffic_policy::EJECTION_DEFAULT);
        let CusumConfig { normal_ratio, failing_ratio, .. } = CusumConfig::default();
        assert_eq!((normal_ratio, failing_ratio), traffic_policy::RATIOS_DEFAULT);
        assert_eq!(Settings::default().backoff, traffic_policy::BACKOFF_DEFAULT);
        assert_eq!(Settings::default().request_timeout, Some(traffic_policy::REQUEST_DEFAULT));
        let adaptive = AdaptiveConfig::default();
        assert_eq!(u64::from(adaptive.max), rate_limit::CONCURRENCY_MAX_DEFAULT);
    }

    #[test]
    fn a_policy_overrides_only_what_it_says() {
        let policy: TrafficPolicySpec = serde_json::from_str(
            r#"{"targetRefs": [{"name": "cart"}], "balance": {"policy": "random"},
                "timeouts": {"request": "0s", "idle": "5s", "perTry": "2s"},
                "retry": {"attempts": 0, "statuses": [503], "backoff": {"base": "5ms"}, "budget": {"ratio": 0.5}},
                "hedge": {"percentile": 0.9}, "connection": {"streamsMax": 50}, "outlier": {"consecutive": 3}}"#,
        )
        .unwrap();
        let id = ResourceId::new(Kind::TrafficPolicy, "default", "cart");
        let settings = Settings::default().overridden_by(&id, &policy);
        let by = Some(Arc::new(id));
        assert_eq!(
            settings,
            Settings {
                balance: Balancing::from(&Balance { policy: BalancePolicy::Random, ..Balance::default() }),
                connect_timeout: Settings::default().connect_timeout,
                request_timeout: None,
                idle_max: Duration::from_secs(5),
                attempt_timeout: Some(Duration::from_secs(2)),
                retries: 0,
                backoff: (Duration::from_millis(5), Duration::from_millis(250)),
                retry_on: (StatusSet::of(&[503]), GrpcStatusSet::EMPTY),
                budget: BudgetConfig { per_mille: 500, ..BudgetConfig::default() },
                hedge: Some(HedgeConfig { after: HedgeAfter::Percentile(0.9), ..HedgeConfig::default() }),
                proxy_protocol: None,
                streams_max: 50,
                connections_max: 16,
                outlier: OutlierConfig { consecutive: 3, ..OutlierConfig::default() },
                times_by: TimesBy { request: by.clone(), attempt: by },
            }
        );
    }
}
