//! What a proxy knows of a service's endpoints, and the shares that follow from it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_model::registry::Health;
use weir_policy::Nanos;
use weir_policy::balance::select::{Caller, Facts, Place, Role, Selection, Settings, select};
use weir_policy::balance::{Candidates, Pick, Tried, hash, standby};

use super::News;
use crate::rng::Stream;

/// An endpoint, as the registry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// 0 for one that is not offered.
    pub(crate) weight: u32,
    /// The number of its zone.
    pub(crate) zone: u32,
}

/// How endpoints stand, by index.
#[derive(Debug)]
pub(super) struct Endpoints {
    settings: Settings,
    known: Vec<Endpoint>,
    zones: Vec<String>,
    /// Names that are the same for all proxies.
    pub(super) keys: Vec<u64>,
    joined: Vec<Option<Nanos>>,
    pub(super) in_flight: Vec<u32>,
    in_flight_total: u64,
    avoided_until: Vec<u64>,
    /// Those that are avoided, each once, the one for which that may end first on top.
    avoided: BinaryHeap<Reverse<(u64, u32)>>,
    is_listed: Vec<bool>,
    now: u64,
    /// What became of each at the last look.
    roles: Vec<Role>,
    /// When shares change by themselves.
    pub(super) next_change: Option<Nanos>,
    caller: (u64, u32),
}

impl Candidates for Endpoints {
    fn in_flight(&self, index: usize) -> u32 {
        self.in_flight[index]
    }

    fn in_flight_total(&self) -> u64 {
        self.in_flight_total
    }

    fn avoided(&self, index: usize) -> bool {
        self.avoided_until[index] > self.now
    }
}

impl Endpoints {
    pub(super) fn new(settings: Settings, news: &News<'_>, caller: (u64, u32)) -> Self {
        let count = news.endpoints.len();
        Self {
            settings,
            known: news.endpoints.to_vec(),
            zones: news.zones.to_vec(),
            keys: (0..count as u64).map(|index| hash::number(index, 0x5e1e_c7ed)).collect(),
            joined: vec![None; count],
            in_flight: vec![0; count],
            in_flight_total: 0,
            avoided_until: vec![0; count],
            avoided: BinaryHeap::new(),
            is_listed: vec![false; count],
            now: 0,
            roles: Vec::new(),
            next_change: None,
            caller,
        }
    }

    /// What was picked, or one that stands by where nobody that takes part is of use.
    pub(super) fn or_standby(&self, pick: Pick, tried: &Tried, rng: &mut Stream) -> Pick {
        standby(pick, &self.roles, self, tried, rng).unwrap_or(pick)
    }

    /// Takes note of the moment of a pick.
    pub(super) fn at(&mut self, now: Nanos) {
        self.now = now.0;
    }

    /// An endpoint is the last choice until a moment.
    pub(super) fn avoid(&mut self, index: usize, until: u64) {
        self.avoided_until[index] = until;
        if !std::mem::replace(&mut self.is_listed[index], true) {
            self.avoided.push(Reverse((until, index as u32)));
        }
    }

    /// An endpoint is not avoided any more.
    pub(super) fn forgive(&mut self, index: usize) {
        self.avoided_until[index] = 0;
    }

    /// One that was avoided until now, each once.
    pub(super) fn next_forgiven(&mut self) -> Option<usize> {
        while let Some(Reverse((until, index))) = self.avoided.peek().copied()
            && until <= self.now
        {
            self.avoided.pop();
            let until = self.avoided_until[index as usize];
            if until <= self.now {
                self.is_listed[index as usize] = false;
                return Some(index as usize);
            }
            // It failed again in the meantime.
            self.avoided.push(Reverse((until, index)));
        }
        None
    }

    /// The registry has something new. What was not offered before is new, and what failed before is given a chance.
    pub(super) fn learn(&mut self, news: &News<'_>, now: Nanos) {
        for (index, (new, old)) in news.endpoints.iter().zip(&self.known).enumerate() {
            if old.weight == 0 && new.weight > 0 {
                self.joined[index] = Some(now);
                self.avoided_until[index] = 0;
            }
        }
        self.known.clear();
        self.known.extend(news.endpoints);
    }

    /// Works out the shares.
    pub(super) fn select(
        &mut self,
        ejected: impl Fn(usize) -> (bool, Option<Nanos>),
        now: Nanos,
    ) -> Selection {
        let place =
            |zone: u32| Place { region: None, zone: self.zones.get(zone as usize).map(String::as_str) };
        let facts: Vec<Facts<'_>> = (0..self.known.len())
            .map(|index| {
                let (ejected, returned) = ejected(index);
                Facts {
                    key: self.keys[index],
                    weight: self.known[index].weight,
                    health: Health::Passing,
                    ejected,
                    returned,
                    place: place(self.known[index].zone),
                    joined: self.joined[index],
                    ..Facts::default()
                }
            })
            .collect();
        let caller = Caller { id: self.caller.0, place: place(self.caller.1), callers: &[] };
        let selection = select(&facts, &self.settings, &caller, now);
        self.next_change = selection.next_change;
        self.roles.clone_from(&selection.roles);
        selection
    }

    /// Whether the registry offers it.
    pub(super) fn is_offered(&self, index: usize) -> bool {
        self.known[index].weight > 0
    }

    /// Whether it offers any.
    pub(super) fn are_offered(&self) -> bool {
        self.known.iter().any(|endpoint| endpoint.weight > 0)
    }

    /// A request goes to an endpoint.
    pub(super) fn sent(&mut self, index: usize) {
        self.in_flight[index] += 1;
        self.in_flight_total += 1;
    }

    /// It is over.
    pub(super) fn over(&mut self, index: usize) {
        self.in_flight[index] -= 1;
        self.in_flight_total -= 1;
    }
}
