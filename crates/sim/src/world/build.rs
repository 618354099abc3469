//! Makes a world of a scenario.

use weir_model::resource::traffic_policy::BalancePolicy;

use super::arrivals::Pace;
use super::lanes::{Due, Lanes};
use super::shares::Shares;
use super::state::{Client, Group, Line, Server, ServerGroup, Tally, ValueSampler};
use super::{NONE, What, World};
use crate::measure::Measure;
use crate::proxy::{Endpoint, Guard, News, Proxy};
use crate::queue::Queue;
use crate::rng::{Actor, Stream};
use crate::scenario::bounds::UNDER_WAY_MAX;
use crate::scenario::{Action, Clients, Random, Sampler, Scenario, Servers, Values, nanos};
use crate::slab::Slab;

/// How long a message travels when nothing is said.
const DELAY: u64 = 250_000;
/// How many requests wait at a server when nothing is said.
const LINE_MAX: u32 = 10_000;
/// The address under which nobody can be found.
const NOWHERE: u32 = u32::MAX;

impl<'s> World<'s> {
    pub(super) fn build(scenario: &'s Scenario) -> Self {
        let network = &scenario.network;
        let mut world = Self {
            scenario,
            seed: scenario.seed.unwrap_or(1),
            now: 0,
            end: nanos(scenario.duration),
            queue: Queue::new(),
            lanes: Lanes::default(),
            requests: Slab::new(),
            attempts: Slab::new(),
            probes: Slab::new(),
            spare: Vec::new(),
            groups: Vec::new(),
            paces: Vec::new(),
            clients: Vec::new(),
            proxies: Vec::new(),
            server_groups: Vec::new(),
            servers: Vec::new(),
            services: Vec::new(),
            zones: Vec::new(),
            added: Vec::new(),
            struck: Vec::new(),
            changes: Vec::new(),
            network: network.delay.as_ref().map_or(Sampler::Constant(DELAY), Random::sampler),
            cross_zone: network.cross_zone.as_ref().map_or(Sampler::Constant(0), Random::sampler),
            network_faults: Vec::new(),
            gone: Vec::new(),
            to_wake: Vec::new(),
            measure: Measure::new(scenario),
            waiting: 0,
            guarded: Vec::new(),
            shares: Shares::default(),
            log: Vec::new(),
            stamps: 0,
            events: 0,
            begun: 0,
            stopped: None,
            under_way_max: UNDER_WAY_MAX,
        };
        world.add_services();
        for clients in &scenario.clients {
            world.add_clients(clients);
        }
        world.add_proxies();
        world
    }

    fn zone(&mut self, name: Option<&str>) -> u32 {
        let Some(name) = name else { return NOWHERE };
        let found = self.zones.iter().position(|zone| zone == name).unwrap_or_else(|| {
            self.zones.push(name.to_owned());
            self.zones.len() - 1
        });
        found as u32
    }

    fn add_services(&mut self) {
        let scenario = self.scenario;
        for (service, spec) in (0..).zip(&scenario.services) {
            self.services.push(Vec::new());
            for servers in &spec.servers {
                let group = self.server_groups.len() as u32;
                self.server_groups.push(server_group(service, servers));
                self.add_servers(service, group, servers.count, None);
            }
        }
        let mut added = Vec::new();
        for fault in &scenario.faults {
            let first = self.servers.len() as u32;
            if let Action::Add(add) = &fault.action {
                let group = self.server_groups.iter().position(|group| {
                    let service = &scenario.services[group.service as usize];
                    fault.servers.means(&service.name, &group.name)
                });
                if let Some(group) = group {
                    let service = self.server_groups[group].service;
                    self.add_servers(service, group as u32, add.count, Some(nanos(fault.at)));
                }
            }
            added.push((first..self.servers.len() as u32).collect::<Vec<u32>>());
        }
        self.added = added;
    }

    fn add_servers(&mut self, service: u32, group: u32, count: u32, starts: Option<u64>) {
        for index in 0..count {
            let number = self.servers.len() as u32;
            let zones = self.server_groups[group as usize].zones.clone();
            let zone = (!zones.is_empty()).then(|| zones[index as usize % zones.len()].clone());
            let zone = self.zone(zone.as_deref());
            let endpoints = &mut self.services[service as usize];
            endpoints.push(number);
            if !self.server_groups[group as usize].limits.is_empty() {
                self.guarded.push(number);
            }
            self.servers.push(Server {
                group,
                service,
                zone,
                up: starts.is_none(),
                announced: starts.is_none(),
                life: 0,
                started: starts,
                busy: 0,
                line: Line::EMPTY,
                paused_until: 0,
                paused: 0,
                slow: 1.0,
                failing: NONE,
                drained: 0,
                guard: Guard::new(&self.server_groups[group as usize].limits, number, self.seed),
                estimator: self.probed(service).then(Box::default),
                rng: Stream::new(self.seed, Actor::Server, u64::from(number)),
                tally: Tally::default(),
            });
        }
    }

    /// Whether somebody probes the servers of a service.
    fn probed(&self, service: u32) -> bool {
        let policy = self.scenario.services[service as usize].traffic_policy.as_ref();
        let balance = policy.and_then(|policy| policy.balance.as_ref());
        balance.is_some_and(|balance| balance.policy == BalancePolicy::Prequal)
    }

    fn add_clients(&mut self, spec: &Clients) {
        let number = self.groups.len() as u32;
        let scenario = self.scenario;
        let service = match &spec.service {
            Some(name) => scenario.services.iter().position(|service| service.name == *name).unwrap_or(0),
            None => 0,
        };
        let first = self.proxies.len() as u32;
        let proxies = first..first + spec.proxies.unwrap_or(1);
        let zone = self.zone(spec.zone.as_deref());
        for proxy in proxies.clone() {
            self.proxies.push(Proxy::new(self.seed, proxy, number, zone));
        }
        let arrivals = spec
            .arrivals
            .as_ref()
            .map(|arrivals| Pace::new(arrivals, Stream::new(self.seed, Actor::Arrivals, u64::from(number))));
        self.paces.push(arrivals.unwrap_or_else(Pace::never));
        let think = spec.closed.as_ref().and_then(|closed| closed.think.as_ref());
        if let Some(closed) = &spec.closed {
            for client in 0..closed.clients {
                let proxy = first + client % (proxies.end - first);
                self.clients.push(Client { group: number, proxy });
            }
        }
        let method = spec.request.method.as_deref().unwrap_or("GET");
        self.groups.push(Group {
            spec: spec.clone(),
            service: service as u32,
            proxies,
            rng: Stream::new(self.seed, Actor::Clients, u64::from(number)),
            timeout_lane: spec.timeout.map(|timeout| self.lanes.lane(Due::Client, nanos(timeout))),
            think: think.map_or(Sampler::Constant(0), Random::sampler),
            idempotent: weir_policy::retry::is_idempotent(method.as_bytes()),
            values: spec
                .request
                .headers
                .iter()
                .filter_map(|field| field.values.as_ref())
                .map(values)
                .collect(),
        });
    }

    /// Each proxy learns of the services it may call.
    fn add_proxies(&mut self) {
        let scenario = self.scenario;
        let endpoints: Vec<Vec<Endpoint>> =
            (0..self.services.len() as u32).map(|service| self.endpoints(service)).collect();
        for proxy in &mut self.proxies {
            for service in scenario.called_by(&self.groups[proxy.group as usize].spec) {
                let news = News { endpoints: &endpoints[service], zones: &self.zones };
                proxy.learn(scenario, service as u32, &news, &mut self.lanes);
            }
        }
        let added = std::mem::take(&mut self.added);
        for (index, (fault, added)) in scenario.faults.iter().zip(added).enumerate() {
            self.plan_fault(index, fault, added);
        }
    }

    /// Plans what happens of itself.
    pub(super) fn start(&mut self) {
        for group in 0..self.groups.len() as u32 {
            if let Some(first) = self.paces[group as usize].next() {
                self.queue.push(first, What::Arrive(group));
            }
        }
        for client in 0..self.clients.len() as u32 {
            let group = &mut self.groups[self.clients[client as usize].group as usize];
            let part = group.rng.unit();
            let first = (group.think.draw(&mut group.rng) as f64 * part) as u64;
            self.queue.push(first, What::Thought(client));
        }
        for (number, change) in (0..).zip(&self.changes) {
            if change.at <= self.end {
                self.queue.push(change.at, What::Change(number));
            }
        }
        self.queue.push(self.measure.interval(), What::Tick);
        self.begin_to_share();
    }
}

fn server_group(service: u32, spec: &Servers) -> ServerGroup {
    ServerGroup {
        name: spec.name().to_owned(),
        service,
        time: spec.time.sampler(),
        cores: spec.cores.unwrap_or(1),
        speed: spec.speed.unwrap_or(1.0),
        contention: spec.contention.unwrap_or(0.0),
        queue_max: spec.queue.max.unwrap_or(LINE_MAX),
        order: spec.queue.order,
        drop_expired: spec.queue.drop_expired,
        weight: spec.weight.unwrap_or(1),
        cold: spec.cold.as_ref().map(|cold| (cold.factor, nanos(cold.over))),
        zones: spec.zones.clone(),
        limits: spec.rate_limits.clone(),
    }
}

fn values(values: &Values) -> ValueSampler {
    match values {
        Values::Uniform(count) => ValueSampler::Uniform(*count),
        Values::OneOf(list) => ValueSampler::Uniform(list.len() as u32),
        Values::Zipf(zipf) => ValueSampler::zipf(zipf.count, zipf.exponent.unwrap_or(1.0)),
    }
}
