//! Who calls, when, with what, and what they do when it fails.

use serde::{Deserialize, Serialize};
use weir_model::units::Span;

use super::bounds::{CLIENTS_MAX, PROXIES_MAX, RETRIES_MAX, VALUES_MAX};
use super::number::{whole, whole_if_any};
use super::random::Random;

/// A group of clients that are alike, behind proxies of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clients {
    /// What the group is called; also the name of the calling service.
    pub name: String,
    /// The service they call; the only one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How many proxies they are behind, each a process with a state of its own; 1 when absent. Each client is behind one
    /// of them; those of an arrival process take turns by chance.
    #[serde(
        default,
        deserialize_with = "whole_if_any::<1, PROXIES_MAX, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub proxies: Option<u32>,
    /// Their zone, which is also their proxies'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// An open loop: they come whatever becomes of those before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrivals>,
    /// A closed loop: each sends, waits for the answer, thinks, and sends again.
    #[serde(default, rename = "loop", skip_serializing_if = "Option::is_none")]
    pub closed: Option<Loop>,
    /// When they give up on a try, and the proxy with them; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What they do when a try fails; nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<ClientRetry>,
    /// What they ask for.
    #[serde(default)]
    pub request: Request,
}

/// Requests that come of themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrivals {
    /// How they are spaced.
    #[serde(default)]
    pub process: Process,
    /// How many a second, of the whole group.
    pub rate: f64,
    /// Other rates, from moments on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

impl Arrivals {
    /// How many are to be expected until the end.
    pub(super) fn expected(&self, end: Span) -> f64 {
        let end = end.0.as_secs_f64();
        let (mut at, mut rate, mut sum) = (0.0, self.rate, 0.0);
        for (index, step) in self.steps.iter().enumerate() {
            let next = self.steps.get(index + 1).map_or(end, |next| next.at.0.as_secs_f64().min(end));
            let begins = step.at.0.as_secs_f64().min(end);
            sum += rate * (begins - at).max(0.0);
            let over = step.over.map_or(0.0, |over| over.0.as_secs_f64()).min((next - begins).max(0.0));
            sum += f64::midpoint(rate, step.rate) * over;
            (at, rate) = (begins + over, step.rate);
        }
        sum + rate * (end - at).max(0.0)
    }
}

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Process {
    /// By chance, one independent of the other.
    #[default]
    Poisson,
    /// Evenly.
    Constant,
}

/// Another rate from a moment on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// When it begins to change.
    pub at: Span,
    /// How many a second.
    pub rate: f64,
    /// How long it takes to get there, in a straight line; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Span>,
}

/// Clients that wait for answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loop {
    /// How many.
    #[serde(deserialize_with = "whole::<1, CLIENTS_MAX, _>")]
    pub clients: u32,
    /// From an answer to the next request; not at all when absent. The first ones are sent after a part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<Random>,
}

/// What clients do when a try fails: what applications do by themselves, without Weir.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientRetry {
    /// How often, after the first try.
    #[serde(deserialize_with = "whole::<0, RETRIES_MAX, _>")]
    pub attempts: u32,
    /// The end of the first delay, which doubles with each retry; no delay when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Span>,
    /// The longest delay; no bound when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
    /// What chance does to the delay.
    #[serde(default)]
    pub jitter: Jitter,
}

/// What chance does to a delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    /// Anything from nothing to the whole.
    #[default]
    Full,
    /// Nothing.
    None,
}

/// What clients ask for, as far as policies care.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The method; GET when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path; `/` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Header fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Field>,
}

/// A header field: always the same, or one of several values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value, if it is always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its values, if they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
}

/// Values that differ by request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Values {
    /// As many as this, all alike.
    Uniform(#[serde(deserialize_with = "whole::<1, VALUES_MAX, _>")] u32),
    /// Few of them often, many of them rarely.
    Zipf(Zipf),
    /// These, all alike.
    OneOf(Vec<String>),
}

/// Zipf's distribution: the k-th of `count` values has a share of k^-exponent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Zipf {
    /// How many values.
    #[serde(deserialize_with = "whole::<1, VALUES_MAX, _>")]
    pub count: u32,
    /// How uneven they are; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exponent: Option<f64>,
}
