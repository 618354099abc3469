//! What a world is made of, as people write it: one YAML document.
//!
//! The format is explained in `docs/simulate.md`. Services take the very specs that documents have (`TrafficPolicy`,
//! `RateLimit`), so that what was tried can be applied as it stands. This module reads and judges; it runs nothing.

pub(crate) mod bounds;
mod check;
mod clients;
mod effect;
mod faults;
mod number;
mod random;
mod servers;
mod whom;

use serde::{Deserialize, Serialize};
use weir_model::document::{self, DocumentError};
use weir_model::resource::{RateLimitSpec, Resource, Spec, TrafficPolicySpec};
use weir_model::units::Span;
use weir_model::validate::FieldError;

pub use clients::{
    Arrivals, ClientRetry, Clients, Field, Jitter, Loop, Process, Request, Step, Values, Zipf,
};
pub use faults::{Action, Added, Failing, Fault, Restart, Selector};
pub use random::{Bimodal, Lognormal, Normal, Pareto, Random, Uniform};
pub(crate) use random::{Sampler, nanos};
pub use servers::{Cold, Order, Servers, Service, WaitingRoom};

/// A world and what happens in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// What it is called; the file's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it shows, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Where chance begins; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How long it lasts, in virtual time.
    pub duration: Span,
    /// How long the beginning is that counts for nothing; 0 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Span>,
    /// How far apart the points of a plot are; a 240th of the duration when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Parts of the run that are reported one by one; one, `all`, when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// How long messages travel.
    #[serde(default)]
    pub network: Network,
    /// How proxies hear of servers that come and go.
    #[serde(default)]
    pub discovery: Discovery,
    /// Who calls.
    pub clients: Vec<Clients>,
    /// Who is called.
    pub services: Vec<Service>,
    /// What goes wrong, and what people do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// A part of the run; it ends where the next begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// What it is called.
    pub name: String,
    /// When it begins.
    pub at: Span,
}

/// How long messages travel, one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Between proxy and server; 250 us when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Random>,
    /// More than that between zones; nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_zone: Option<Random>,
}

/// How proxies hear of servers that come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// From a change to the proxies' knowing; 100 ms when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// From a death that nobody announced to its being noticed; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evict: Option<Span>,
}

impl Scenario {
    /// Reads and judges a scenario. `source` is the file's name.
    ///
    /// # Errors
    /// All faults found, with line, field path and what was expected.
    pub fn parse(source: &str, text: &str) -> Result<Self, Vec<DocumentError>> {
        let read = document::decode_located::<Self>(source, text);
        let (scenario, origin) =
            read.map_err(|errors| errors.into_iter().map(random::hinted).collect::<Vec<_>>())?;
        let faults = check::check(&scenario);
        if faults.is_empty() {
            return Ok(scenario);
        }
        Err(faults.iter().take(document::ERRORS_MAX).map(|fault| origin.error(fault)).collect())
    }

    /// What is wrong with its policies, which may be others than were read with it.
    pub fn check_policies(&self) -> Vec<FieldError> {
        check::check_policies(self)
    }

    /// Puts a document in force at the services it is for: a `TrafficPolicy` takes the place of what the scenario has, a
    /// `RateLimit` is one more. Tells how many services that were; none if it is not for any service here.
    pub fn put_in_force(&mut self, resource: &Resource) -> Option<usize> {
        let targets = match &resource.spec {
            Spec::TrafficPolicy(spec) => &spec.target_refs,
            Spec::RateLimit(spec) => &spec.target_refs,
            _ => return None,
        };
        let mut count = 0;
        for service in &mut self.services {
            if !targets.iter().any(|target| service.is_target(target)) {
                continue;
            }
            count += 1;
            // From here on it is for the service under which it stands.
            match &resource.spec {
                Spec::TrafficPolicy(spec) => {
                    service.traffic_policy =
                        Some(TrafficPolicySpec { target_refs: Vec::new(), ..(**spec).clone() });
                }
                Spec::RateLimit(spec) => {
                    service.rate_limits.push(RateLimitSpec { target_refs: Vec::new(), ..spec.clone() });
                }
                _ => {}
            }
        }
        (count > 0).then_some(count)
    }
}
