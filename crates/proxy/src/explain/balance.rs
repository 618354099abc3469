//! Asks the balancer which endpoint it would choose, and tells how each stands.

use rand::Rng;
use weir_model::resource::key::KeyPart;
use weir_policy::balance::select::Role;
use weir_policy::balance::{Balancer, Note, Pick, Query, TRIED_MAX, Tried, Why};

use super::{Choice, EndpointView, Request, Seen};
use crate::limit::Asker;
use crate::observe::process_now;
use crate::snapshot::{self, Endpoint, HashKey, Selected, Upstream};

/// What is known of the hash that a request goes by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hashed<'a> {
    /// It is of this part of the request.
    Of(&'a KeyPart, u64),
    /// The request has nothing that it could be of, so that one is taken by chance.
    ByChance,
    /// It is of the client's address, which nobody has told.
    OfAddress,
}

impl<'a> Hashed<'a> {
    /// The hash of a request.
    pub(super) fn of_request(key: &'a HashKey, request: &Request, asker: Asker<'_>) -> Self {
        let found = key.of_request(request, asker);
        match found {
            _ if asker.address.is_empty() && key.wants_address_before(found.map(|(part, _)| part)) => {
                Self::OfAddress
            }
            Some((part, hash)) => Self::Of(part, hash),
            None => Self::ByChance,
        }
    }

    /// The hash of a connection, of which only the client's address is known.
    pub(super) fn of_connection(key: &'a HashKey, address: &[u8]) -> Self {
        match (key.address_part(), key.of_connection(address)) {
            (Some(_), _) if address.is_empty() => Self::OfAddress,
            (Some(part), Some(hash)) => Self::Of(part, hash),
            _ => Self::ByChance,
        }
    }

    const fn number(self) -> Option<u64> {
        match self {
            Self::Of(_, hash) => Some(hash),
            Self::ByChance | Self::OfAddress => None,
        }
    }
}

/// What the balancer says.
pub(super) struct Balanced {
    pub(super) hash: Option<String>,
    pub(super) endpoints: Vec<EndpointView>,
    pub(super) considered: Vec<String>,
    pub(super) choice: Option<Choice>,
}

impl Balanced {
    /// Asks the balancer of an upstream about one request. `broken` says why an endpoint's breakers let no call through.
    pub(super) fn of(
        upstream: &Upstream,
        seen: Seen<'_>,
        hashed: Hashed<'_>,
        broken: &dyn Fn(&Endpoint) -> Option<String>,
        rng: &mut impl Rng,
    ) -> Self {
        let mut notes: Vec<Note> = Vec::new();
        let broken: Vec<Option<String>> = upstream.endpoints.iter().map(broken).collect();
        let now = process_now();
        let query = Query { now, hash: hashed.number() };
        let mut balancer = informed(upstream, rng);
        let selected = upstream.selected();
        let pick = unbroken(&broken, |tried| {
            notes.clear();
            let pick = balancer.pick(query, upstream, tried, rng, &mut notes)?;
            Some(upstream.or_standby(pick, tried, rng))
        });
        let choice = pick.map(|pick| choice(upstream, &selected, hashed, pick, &broken));
        let endpoints = upstream.endpoints.iter().zip(&broken).enumerate();
        Self {
            hash: hash(upstream, hashed),
            endpoints: endpoints
                .map(|(index, (endpoint, broken))| EndpointView {
                    broken: broken.clone(),
                    ..view(upstream, seen, &selected, index, endpoint)
                })
                .collect(),
            // Endpoints without a share are listed with the reason already, and the choice stands by itself.
            considered: notes
                .iter()
                .filter(|note| !matches!(note, Note::Drained { .. } | Note::Picked(_)))
                // So are those whose breakers let no call through.
                .filter(|note| !concerns(note, &broken))
                // Those that are ejected are listed with the reason, too.
                .filter(|note| {
                    matches!(note, Note::Compared { .. } | Note::Costs { .. })
                        || !note.index().is_some_and(|index| upstream.is_ejected(index))
                })
                .map(|note| described(note, upstream))
                .collect(),
            choice,
        }
    }
}

/// Picks until an endpoint comes whose breakers let a call through; the first one picked if there is none.
fn unbroken(broken: &[Option<String>], mut pick: impl FnMut(&Tried) -> Option<Pick>) -> Option<Pick> {
    let mut tried = Tried::default();
    let first = pick(&tried)?;
    let mut picked = first;
    while broken[picked.index].is_some() {
        tried.add(picked.index);
        match pick(&tried) {
            // As calls do: not one that is known to be broken off, and no more than can be remembered.
            Some(other) if !tried.has(other.index) && tried.len() < TRIED_MAX => picked = other,
            _ => return Some(first),
        }
    }
    Some(picked)
}

/// Whether a note is about an endpoint whose breakers let no call through.
fn concerns(note: &Note, broken: &[Option<String>]) -> bool {
    let is_broken = |index: usize| broken.get(index).is_some_and(Option::is_some);
    match note {
        Note::Compared { first, second, .. } | Note::Costs { first, second, .. } => {
            is_broken(*first) || is_broken(*second)
        }
        note => note.index().is_some_and(is_broken),
    }
}

/// A note as people read it. What nothing was heard of yet has no cost.
fn described(note: &Note, upstream: &Upstream) -> String {
    let Note::Costs { first, first_us, second, second_us } = *note else {
        return named(&note.to_string(), upstream);
    };
    let cost = |index: usize, us: u64| {
        let Endpoint { id, state, .. } = &upstream.endpoints[index];
        match state.latency() {
            Some(_) => format!("endpoint {id} (expected to cost {:.2} ms)", us as f64 / 1e3),
            None => format!("endpoint {id} (nothing heard of it yet)"),
        }
    };
    format!("compared {} with {}", cost(first, first_us), cost(second, second_us))
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

fn choice(
    upstream: &Upstream,
    selected: &Selected,
    hashed: Hashed<'_>,
    pick: Pick,
    broken: &[Option<String>],
) -> Choice {
    let index = match pick.index {
        ejected if upstream.is_ejected(ejected) => upstream.instead_of_ejected(ejected, &Tried::default()),
        index => index,
    };
    let endpoint = &upstream.endpoints[index];
    let over_broken = match pick.why {
        Why::NotBusier { than }
        | Why::LessBusy { than }
        | Why::NotSlower { than }
        | Why::Quicker { than } => broken[than].is_some(),
        _ => false,
    };
    let left = || selected.candidates.iter().filter(|index| broken[**index as usize].is_none()).count();
    let reason = match pick.why {
        _ if over_broken && broken[index].is_none() => match left() {
            1 => "the only one whose breakers let a call through".to_owned(),
            _ => "taken from those whose breakers let a call through".to_owned(),
        },
        _ if index != pick.index => "the least busy of those that are not ejected".to_owned(),
        Why::Only if upstream.endpoints.len() == 1 => "the only endpoint".to_owned(),
        Why::Only if selected.candidates.len() == 1 => "the only candidate".to_owned(),
        Why::Hash | Why::NextToHash { .. } => match hashed {
            Hashed::Of(..) => named(&pick.why.to_string(), upstream),
            Hashed::ByChance => "taken by chance, as there is no hash".to_owned(),
            Hashed::OfAddress => {
                "taken by chance: where the hash leads follows from the client's address".to_owned()
            }
        },
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
        Hashed::Of(part, hash) => format!("hash {hash:016x} of {}", snapshot::described(part)),
        Hashed::ByChance => {
            format!("no hash: there is none of {}, so an endpoint is taken by chance", key.described())
        }
        Hashed::OfAddress => {
            "the hash is of sourceAddress, and the client's address is not known here (--source-ip; at the admin port, source)"
                .to_owned()
        }
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

fn view(
    upstream: &Upstream,
    seen: Seen<'_>,
    selected: &Selected,
    index: usize,
    endpoint: &Endpoint,
) -> EndpointView {
    let state = &endpoint.state;
    let role = selected.roles[index];
    let is_ejected = upstream.is_ejected(index);
    let reported = seen.endpoint(upstream, &endpoint.id);
    let ejected = match reported {
        Some(reported) => reported.ejected.clone(),
        None => upstream.state.ejection().described(state.key(), process_now()),
    };
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
        checked: match reported {
            Some(reported) => reported.checked.clone(),
            None => checked(endpoint),
        },
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
        broken: None,
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
pub(crate) fn checked(endpoint: &Endpoint) -> Option<String> {
    let verdict = endpoint.checked.verdict?;
    let since_s = process_now().since(verdict.since).as_secs();
    let told = match endpoint.checked.told {
        Some(told) => format!("; the control plane's last word is {}", told.as_str()),
        None => String::new(),
    };
    Some(format!("checked by this proxy, so since {since_s} s{told}"))
}
