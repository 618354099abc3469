//! What happens to servers, in steps: each fault becomes changes at moments, worked out before the world begins.

use super::shares::Process;
use super::state::Outcome;
use super::{NONE, What, World};
use crate::proxy::{Endpoint, News};
use crate::scenario::{Action, Fault, Sampler, Selector, nanos};

/// A change at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) at: u64,
    pub(super) deed: Deed,
    /// The fault it belongs to.
    pub(super) of: u32,
    /// The server it is about; [`NONE`]: all that the fault strikes.
    pub(super) server: u32,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Deed {
    Pause {
        until: u64,
    },
    GoOn,
    Slow(f64),
    Quicken(f64),
    Fail,
    FailNoMore,
    Kill,
    Start,
    Drain,
    Undrain,
    Cut,
    Mend,
    /// The control plane is gone.
    Leave,
    /// It is there again.
    Return,
    /// Proxies hear that servers are there.
    Announce,
    /// Proxies hear that servers are to be left alone.
    Withdraw,
    /// It is noticed that servers are dead, if they still are.
    Notice,
}

/// What a fault strikes, and with what numbers.
#[derive(Debug)]
pub(super) struct Struck {
    /// In order.
    pub(super) servers: Vec<u32>,
    /// By number of a group of clients; all when empty.
    groups: Vec<bool>,
    pub(super) failing: Failing,
    /// More delay; none cuts the connection.
    pub(super) delay: Option<Sampler>,
}

#[derive(Debug, Default)]
pub(super) struct Failing {
    pub(super) ratio: f64,
    pub(super) status: u16,
    pub(super) time: Option<Sampler>,
}

impl Struck {
    pub(super) fn strikes(&self, server: u32, group: u32) -> bool {
        self.servers.binary_search(&server).is_ok()
            && self.groups.get(group as usize).copied().unwrap_or(true)
    }
}

impl World<'_> {
    /// Works out the changes that a fault means.
    pub(super) fn plan_fault(&mut self, index: usize, fault: &Fault, added: Vec<u32>) {
        let of = u32::try_from(index).unwrap_or(NONE);
        let adds = matches!(fault.action, Action::Add(_));
        let servers = match &fault.action {
            Action::ControlPlaneGone => Vec::new(),
            _ if adds => added,
            _ => self.select(&fault.servers),
        };
        let at = nanos(fault.at);
        let until = fault.lasts.map_or(u64::MAX, |length| at.saturating_add(nanos(length)));
        let mut deeds = vec![];
        match &fault.action {
            Action::Pause => deeds.extend([(at, Deed::Pause { until }), (until, Deed::GoOn)]),
            Action::Slow(factor) => {
                deeds.extend([(at, Deed::Slow(*factor)), (until, Deed::Quicken(*factor))]);
            }
            Action::Fail(_) => deeds.extend([(at, Deed::Fail), (until, Deed::FailNoMore)]),
            Action::Kill => deeds.extend([(at, Deed::Kill), (until, Deed::Start)]),
            Action::Drain => deeds.extend([(at, Deed::Drain), (until, Deed::Undrain)]),
            Action::Partition | Action::Delay(_) => deeds.extend([(at, Deed::Cut), (until, Deed::Mend)]),
            Action::ControlPlaneGone => deeds.extend([(at, Deed::Leave), (until, Deed::Return)]),
            Action::Add(_) => deeds.extend([(at, Deed::Start), (until, Deed::Kill)]),
            Action::Restart(restart) => {
                let mut turn = at;
                for server in &servers {
                    let drain = restart.drain.map_or(0, nanos);
                    let stop = turn.saturating_add(drain);
                    let start = stop.saturating_add(nanos(restart.down));
                    let drained = (drain > 0).then_some([(turn, Deed::Drain), (start, Deed::Undrain)]);
                    let own = [(stop, Deed::Kill), (start, Deed::Start)];
                    for (at, deed) in drained.into_iter().flatten().chain(own) {
                        self.changes.push(Change { at, deed, of, server: *server });
                    }
                    turn = turn.saturating_add(nanos(restart.every));
                }
            }
        }
        self.changes.extend(deeds.into_iter().map(|(at, deed)| Change { at, deed, of, server: NONE }));
        let groups = self.groups.iter().map(|group| fault.clients.contains(&group.spec.name)).collect();
        self.struck.push(Struck {
            servers,
            groups: if fault.clients.is_empty() { vec![] } else { groups },
            failing: failing(&fault.action),
            delay: match &fault.action {
                Action::Delay(delay) => Some(delay.sampler()),
                _ => None,
            },
        });
    }

    /// The servers that a selector means.
    fn select(&self, selector: &Selector) -> Vec<u32> {
        let zone = selector.zone.as_deref();
        let fit = (0..).zip(&self.servers).filter(|(_, server)| {
            let group = &self.server_groups[server.group as usize];
            let own = self.zones.get(server.zone as usize).map(String::as_str);
            let service = &self.scenario.services[server.service as usize].name;
            selector.means(service, &group.name)
                && (zone.is_none() || zone == own)
                && server.started.is_none()
        });
        let fit: Vec<u32> = fit.map(|(number, _)| number).collect();
        let (skipped, taken) = selector.taken_of(fit.len() as u64);
        fit.into_iter().skip(skipped as usize).take(taken as usize).collect()
    }

    /// A change comes about.
    pub(super) fn change(&mut self, number: u32) {
        let Change { deed, of, server, .. } = self.changes[number as usize];
        match deed {
            Deed::Cut => return self.network_faults.push(of),
            Deed::Mend => return self.network_faults.retain(|fault| *fault != of),
            Deed::Leave => return self.gone.push(of),
            Deed::Return => return self.control_plane_is_back(of),
            _ => {}
        }
        let servers = match server {
            NONE => self.struck[of as usize].servers.clone(),
            one => vec![one],
        };
        for server in &servers {
            self.do_to(*server, deed, of);
        }
        match deed {
            Deed::Kill => self.tell(of, server, Deed::Notice),
            Deed::Start => {
                self.tell(of, server, Deed::Announce);
                for server in servers {
                    self.share_anew(Process::Sidecar(server));
                }
            }
            Deed::Undrain => self.tell(of, server, Deed::Announce),
            Deed::Drain => self.tell(of, server, Deed::Withdraw),
            Deed::Announce | Deed::Withdraw | Deed::Notice => {
                let mut services: Vec<u32> =
                    servers.iter().map(|server| self.servers[*server as usize].service).collect();
                services.sort_unstable();
                services.dedup();
                self.tell_proxies(&services, |_| true);
            }
            _ => {}
        }
    }

    fn do_to(&mut self, number: u32, deed: Deed, of: u32) {
        let now = self.now;
        let server = &mut self.servers[number as usize];
        match deed {
            Deed::Pause { until } => {
                let from = server.paused_until.max(now);
                server.paused = server.paused.saturating_add(until.saturating_sub(from));
                server.paused_until = server.paused_until.max(until);
            }
            Deed::GoOn => self.work_on(number),
            Deed::Slow(factor) => server.slow *= factor,
            Deed::Quicken(factor) => server.slow /= factor,
            Deed::Fail => server.failing = of,
            Deed::FailNoMore => server.failing = NONE,
            Deed::Kill => {
                server.up = false;
                self.lose_all(number);
            }
            Deed::Start => {
                server.up = true;
                server.started = Some(now);
            }
            Deed::Drain => server.drained += 1,
            Deed::Undrain => server.drained = server.drained.saturating_sub(1),
            Deed::Announce => server.announced = server.drained == 0,
            Deed::Withdraw => server.announced &= server.drained == 0,
            Deed::Notice => server.announced &= server.up,
            Deed::Cut | Deed::Mend | Deed::Leave | Deed::Return => {}
        }
    }

    /// Plans that proxies hear of something.
    fn tell(&mut self, of: u32, server: u32, deed: Deed) {
        let after = match deed {
            Deed::Notice => self.scenario.discovery.evict.map(nanos),
            _ => Some(self.scenario.discovery.delay.map_or(100_000_000, nanos)),
        };
        if let Some(after) = after {
            let number = u32::try_from(self.changes.len()).unwrap_or(NONE);
            self.changes.push(Change { at: self.now.saturating_add(after), deed, of, server });
            self.plan(after, What::Change(number));
        }
    }

    /// Proxies of the groups that are meant hear how endpoints stand, those that hear from the control plane.
    fn tell_proxies(&mut self, services: &[u32], meant: impl Fn(u32) -> bool) {
        let groups = 0..self.groups.len() as u32;
        let hears: Vec<bool> = groups.map(|group| meant(group) && !self.is_alone(Some(group))).collect();
        for service in services {
            let endpoints = self.endpoints(*service);
            let now = self.moment();
            let news = News { endpoints: &endpoints, zones: &self.zones };
            for proxy in self.proxies.iter_mut().filter(|proxy| hears[proxy.group as usize]) {
                proxy.endpoints_changed(*service, &news, now);
            }
        }
    }

    /// Whether the control plane is gone for the proxies of a group of clients; for the sidecars of servers where none is named.
    pub(super) fn is_alone(&self, group: Option<u32>) -> bool {
        self.gone.iter().any(|fault| {
            let groups = &self.struck[*fault as usize].groups;
            groups.is_empty() || group.is_some_and(|group| groups[group as usize])
        })
    }

    /// The control plane is there again. What it knew of leases is gone if it was gone for all; proxies hear what they have missed.
    fn control_plane_is_back(&mut self, of: u32) {
        self.gone.retain(|fault| *fault != of);
        let groups = self.struck[of as usize].groups.clone();
        if groups.is_empty() {
            let now = self.moment();
            self.shares.forget(now);
        }
        let services: Vec<u32> = (0..self.services.len() as u32).collect();
        self.tell_proxies(&services, |group| groups.is_empty() || groups[group as usize]);
    }

    /// A service's endpoints, as the registry has them.
    pub(super) fn endpoints(&self, service: u32) -> Vec<Endpoint> {
        let endpoint = |server: &u32| {
            let server = &self.servers[*server as usize];
            let weight = if server.announced { self.server_groups[server.group as usize].weight } else { 0 };
            Endpoint { weight, zone: server.zone }
        };
        self.services[service as usize].iter().map(endpoint).collect()
    }
}

fn failing(action: &Action) -> Failing {
    match action {
        Action::Fail(of) => Failing {
            ratio: of.ratio,
            status: of.status.and_then(|status| u16::try_from(status).ok()).unwrap_or(500),
            time: of.time.as_ref().map(crate::scenario::Random::sampler),
        },
        _ => Failing::default(),
    }
}

impl Outcome {
    /// Whether the client got what it wanted.
    pub(crate) const fn is_good(self) -> bool {
        matches!(self, Self::Ok | Self::Fallback)
    }

    /// The status of the response that says it, where there is one.
    pub(crate) const fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status),
            Self::Limited => Some(429),
            Self::Shed => Some(503),
            Self::Expired => Some(504),
            _ => None,
        }
    }
}
