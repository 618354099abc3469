//! What is seen of the world: points of a plot while it runs, the report at its end.

use super::{What, World};
use crate::measure::{Cell, Look, Work};
use crate::proxy::Proxy;
use crate::report::{
    LogLine, PhaseReport, PolicyReport, Report, SERVERS_LISTED_MAX, ServersReport, ServiceReport,
};
use crate::scenario::nanos;

/// Most lines of the log.
const LOG_MAX: usize = 1000;
/// Most policies whose state is reported.
const POLICIES_MAX: usize = 200;

impl World<'_> {
    /// A point of the plot.
    pub(super) fn tick(&mut self) {
        let now = self.moment();
        let open = self.proxies.iter_mut().map(|proxy| proxy.open(now)).sum();
        self.note_events();
        let look = Look {
            in_flight: self.requests.len() as u64,
            waiting: self.waiting,
            limit: self.concurrency(),
            open,
            ejected: self.proxies.iter().map(Proxy::ejected).sum(),
        };
        self.measure.point(self.now, look);
        self.plan(self.measure.interval(), What::Tick);
    }

    /// Writes down what policies did since the last point.
    fn note_events(&mut self) {
        for proxy in &mut self.proxies {
            let of = &self.groups[proxy.group as usize].spec.name;
            for (service, event) in proxy.events() {
                self.measure.tripped(event.trips, event.at.0);
                self.measure.ejected(event.ejections, event.at.0);
                if self.log.len() < LOG_MAX {
                    let of = format!("{of} -> {}", self.scenario.services[service as usize].name);
                    self.log.push(LogLine { at: event.at.0 as f64 / 1e9, of, what: event.what });
                }
            }
        }
        self.log.sort_by(|a, b| a.at.total_cmp(&b.at));
    }

    /// The mean of the limits of concurrency in force, at proxies and servers.
    fn concurrency(&self) -> Option<f64> {
        let now = self.moment();
        let at_proxies = self.proxies.iter().filter_map(|proxy| proxy.concurrency(now));
        let guards = self
            .guarded
            .iter()
            .map(|server| &self.servers[*server as usize])
            .filter(|server| server.up)
            .filter_map(|server| server.guard.as_ref());
        let (count, sum) = at_proxies
            .chain(guards.filter_map(|guard| guard.concurrency(now)))
            .fold((0u32, 0.0), |(count, sum), limit| (count + 1, sum + limit));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// How policies stand, the first ones.
    fn policies(&mut self) -> Vec<PolicyReport> {
        let now = self.moment();
        let names = &self.scenario.services;
        let groups = &self.groups;
        let at_proxies = (0..).zip(&mut self.proxies).flat_map(|(number, proxy): (u32, _)| {
            let group = &groups[proxy.group as usize];
            proxy.states(now).into_iter().map(move |(service, policy, state)| PolicyReport {
                of: group.spec.name.clone(),
                proxy: number - group.proxies.start,
                service: names[service as usize].name.clone(),
                policy,
                state,
            })
        });
        let at_servers = (0..).zip(&self.servers).flat_map(|(number, server): (u32, _)| {
            let group = &self.server_groups[server.group as usize];
            let states = server.guard.as_ref().map(|guard| guard.states(now)).unwrap_or_default();
            states.into_iter().map(move |(policy, state)| PolicyReport {
                of: format!("{} (server {number})", group.name),
                proxy: 0,
                service: names[server.service as usize].name.clone(),
                policy,
                state,
            })
        });
        at_proxies.chain(at_servers).take(POLICIES_MAX).collect()
    }

    /// What came out of it.
    pub(super) fn report(mut self) -> Report {
        self.note_events();
        let policies = self.policies();
        let scenario = self.scenario;
        let end = nanos(scenario.duration);
        let warm_up = self.measure.warm_up();
        let names: Vec<&str> = scenario.clients.iter().map(|clients| clients.name.as_str()).collect();
        let phases = &self.measure.phases;
        let ends = phases.iter().skip(1).map(|phase| phase.from).chain([end]);
        let mut total = (vec![Cell::default(); names.len()], Work::default());
        let mut reports = Vec::new();
        for (phase, until) in phases.iter().zip(ends) {
            for (sum, cell) in total.0.iter_mut().zip(&phase.cells) {
                sum.merge(cell);
            }
            total.1.add(phase.work);
            if until > warm_up {
                let span = (phase.from.max(warm_up), until);
                reports.push(PhaseReport::of(&phase.name, span, &names, &phase.cells, phase.work));
            }
        }
        Report {
            name: scenario.name.clone().unwrap_or_else(|| "scenario".to_owned()),
            seed: self.seed,
            duration: end as f64 / 1e9,
            warm_up: warm_up as f64 / 1e9,
            events: self.events,
            total: PhaseReport::of("all", (warm_up, end), &names, &total.0, total.1),
            phases: reports,
            services: self.services_report(),
            policies,
            log: self.log,
            series: self.measure.points,
            hedging: scenario.hedges(),
            retrying: scenario.clients.iter().any(|clients| clients.retry.is_some()),
        }
    }

    fn services_report(&self) -> Vec<ServiceReport> {
        let groups = |service: u32| {
            let of = (0..).zip(&self.server_groups).filter(move |(_, group)| group.service == service);
            of.map(|(number, _)| self.servers_report(number)).collect()
        };
        let services = (0..).zip(&self.scenario.services);
        services
            .map(|(number, spec)| ServiceReport { name: spec.name.clone(), groups: groups(number) })
            .collect()
    }

    fn servers_report(&self, number: u32) -> ServersReport {
        let group = &self.server_groups[number as usize];
        let servers = || self.servers.iter().filter(|server| server.group == number);
        let count = servers().count();
        let completed = || servers().map(|server| server.tally.completed);
        let worked: f64 = servers().map(|server| server.tally.worked_nanos as f64).sum();
        let whole = count as f64 * f64::from(group.cores) * nanos(self.scenario.duration) as f64;
        ServersReport {
            name: group.name.clone(),
            servers: count,
            reached: servers().map(|server| server.tally.reached).sum(),
            completed: completed().sum(),
            refused: servers().map(|server| server.tally.refused).sum(),
            expired: servers().map(|server| server.tally.expired).sum(),
            utilisation: if whole > 0.0 { worked / whole } else { 0.0 },
            completed_max: completed().max().unwrap_or(0),
            completed_min: completed().min().unwrap_or(0),
            completed_mean: if count > 0 { completed().sum::<u64>() as f64 / count as f64 } else { 0.0 },
            waiting_max: servers().map(|server| server.tally.line_max).max().unwrap_or(0),
            completed_by_server: completed().take(SERVERS_LISTED_MAX).collect(),
        }
    }
}
