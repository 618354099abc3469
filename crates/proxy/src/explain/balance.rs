//! Asks the balancer which endpoint it would choose, and tells how each stands.

use rand::Rng;
use weir_model::resource::key::KeyPart;
use weir_policy::balance::select::Role;
use weir_policy::balance::{Balancer, Note, Pick, Query, Tried, Why};

use super::{Choice, EndpointView};
use crate::observe::process_now;
use crate::snapshot::{Endpoint, Selected, Upstream, described};

/// What a hash is taken of, and the hash; none where the request has none.
pub(super) type Hashed<'a> = Option<(&'a KeyPart, u64)>;

/// What the balancer says.
pub(super) struct Balanced {
    pub(super) hash: Option<String>,
    pub(super) endpoints: Vec<EndpointView>,
    pub(super) considered: Vec<String>,
    pub(super) choice: Option<Choice>,
}

/// Asks the balancer of an upstream about one request.
pub(super) fn balanced(upstream: &Upstream, hashed: Hashed<'_>, rng: &mut impl Rng) -> Balanced {
    let mut notes: Vec<Note> = Vec::new();
    let now = process_now();
    let query = Query { now, hash: hashed.map(|(_, hash)| hash) };
    let mut balancer = informed(upstream, rng);
    let pick = balancer.pick(query, upstream, &Tried::default(), rng, &mut notes);
    let selected = upstream.selected();
    let endpoints = upstream.endpoints.iter().enumerate();
    Balanced {
        hash: hash(upstream, hashed),
        endpoints: endpoints.map(|(index, endpoint)| view(upstream, &selected, index, endpoint)).collect(),
        // Endpoints without a share are listed with the reason already, and the choice stands by itself.
        considered: notes
            .iter()
            .filter(|note| !matches!(note, Note::Drained { .. } | Note::Picked(_)))
            // Those that are ejected are listed with the reason, too.
            .filter(|note| {
                matches!(note, Note::Compared { .. })
                    || !note.index().is_some_and(|index| upstream.is_ejected(index))
            })
            .map(|note| named(&note.to_string(), upstream))
            .collect(),
        choice: pick.map(|pick| choice(upstream, &selected, pick)),
    }
}

/// A balancer that knows of latencies what the workers' have said last.
fn informed(upstream: &Upstream, rng: &mut impl Rng) -> Balancer {
    let mut balancer = upstream.balancer(rng);
    let now = process_now();
    for (index, endpoint) in upstream.endpoints.iter().enumerate() {
        if let Some(latency) = endpoint.state.latency() {
            balancer.done(index, latency, true, now);
        }
    }
    balancer
}

fn choice(upstream: &Upstream, selected: &Selected, pick: Pick) -> Choice {
    let index = match pick.index {
        ejected if upstream.is_ejected(ejected) => upstream.instead_of_ejected(ejected, &Tried::default()),
        index => index,
    };
    let endpoint = &upstream.endpoints[index];
    let reason = match pick.why {
        _ if index != pick.index => "the least busy of those that are not ejected".to_owned(),
        Why::Only if upstream.endpoints.len() == 1 => "the only endpoint".to_owned(),
        Why::Only if selected.candidates.len() == 1 => "the only candidate".to_owned(),
        why => named(&why.to_string(), upstream),
    };
    Choice { endpoint: endpoint.id.to_string(), address: endpoint.addr.to_string(), reason }
}

/// What the endpoint is chosen by, where that is a hash.
fn hash(upstream: &Upstream, hashed: Hashed<'_>) -> Option<String> {
    let key = &upstream.settings.balance.hash;
    if key.is_empty() {
        return None;
    }
    Some(match hashed {
        Some((part, hash)) => format!("hash {hash:016x} of {}", described(part)),
        None => format!("no hash: the request has none of {}, so one is taken by chance", key.described()),
    })
}

/// The balancer knows endpoints by number; people know them by id.
fn named(text: &str, upstream: &Upstream) -> String {
    let mut words = text.split(' ').peekable();
    let mut named = Vec::new();
    while let Some(word) = words.next() {
        named.push(word.to_owned());
        if word == "endpoint"
            && let Some(endpoint) =
                words.peek().and_then(|n| n.parse().ok()).and_then(|n: usize| upstream.endpoints.get(n))
        {
            named.push(endpoint.id.to_string());
            words.next();
        }
    }
    named.join(" ")
}

fn view(upstream: &Upstream, selected: &Selected, index: usize, endpoint: &Endpoint) -> EndpointView {
    let state = &endpoint.state;
    let role = selected.roles[index];
    let is_ejected = upstream.is_ejected(index);
    let ejected = upstream.state.ejection().described(state.key(), process_now());
    let excluded = match role {
        _ if endpoint.addr.port() == 0 => Some("registered without a port".to_owned()),
        Role::Draining => Some("draining".to_owned()),
        Role::NoWeight => Some("weight 0".to_owned()),
        Role::Critical => Some("critical".to_owned()),
        Role::OutsideSubset => Some("not of this proxy's subset".to_owned()),
        Role::Far => Some("farther away than those that have room".to_owned()),
        _ if is_ejected => ejected.clone().or_else(|| Some("ejected".to_owned())),
        Role::Full | Role::Growing(_) | Role::Ejected => None,
    };
    let all: u64 = selected.shares.iter().map(|share| u64::from(*share)).sum();
    EndpointView {
        id: endpoint.id.to_string(),
        address: endpoint.addr.to_string(),
        health: health(endpoint).to_owned(),
        checked: checked(endpoint),
        weight: endpoint.weight,
        share: f64::from(selected.shares[index]) / all.max(1) as f64,
        growing: match role {
            Role::Growing(fraction) => Some(fraction),
            _ => None,
        },
        region: endpoint.region.as_deref().map(str::to_owned),
        zone: endpoint.zone.as_deref().map(str::to_owned),
        latency_us: state.latency().map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        in_flight: state.in_flight(),
        avoided: state.is_avoided(),
        candidate: excluded.is_none(),
        excluded,
        ejected,
    }
}

fn health(endpoint: &Endpoint) -> &'static str {
    match endpoint.checked.how {
        None if endpoint.is_static => "not checked",
        Some(_) if endpoint.is_static && endpoint.checked.verdict.is_none() => "not judged here",
        _ => endpoint.health.as_str(),
    }
}

/// What this proxy's own checks say of an endpoint, if they do.
fn checked(endpoint: &Endpoint) -> Option<String> {
    let verdict = endpoint.checked.verdict?;
    let since_s = process_now().since(verdict.since).as_secs();
    let told = match endpoint.checked.told {
        Some(told) => format!("; the control plane's last word is {}", told.as_str()),
        None => String::new(),
    };
    Some(format!("checked by this proxy, so since {since_s} s{told}"))
}
