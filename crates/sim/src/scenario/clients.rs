//! Who calls, when, with what, and what they do when it fails.

use serde::{Deserialize, Serialize};
use weir_model::units::Span;

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    Uniform(u32),
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
    pub count: u32,
    /// How uneven they are; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exponent: Option<f64>,
}
