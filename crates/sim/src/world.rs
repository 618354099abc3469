//! The world: clients, proxies and servers on virtual time.
//!
//! ```text
//! arrive -> proxy: limit, break, balance -> network -> server: wait, work -> network -> proxy: account, retry -> client
//! ```
//!
//! One thread, one queue of events, no clock: what happens depends on the scenario and its seed alone. Requests and
//! attempts live in slabs, waiting lines are lists through them, and deadlines that are equally far away share a lane, so
//! that in steady state an event allocates nothing. Policies decide in `proxy`; nothing here knows what they are.

mod arrivals;
mod attempts;
mod build;
mod clients;
mod faults;
mod lanes;
mod probes;
mod servers;
mod shares;
mod state;
mod stop;
mod view;

use weir_policy::Nanos;

use crate::measure::Measure;
use crate::proxy::{Holding, Passes, Proxy};
use crate::queue::Queue;
use crate::report::LogLine;
use crate::scenario::Sampler;
use crate::slab::Slab;
use crate::{Report, Scenario};
use arrivals::Pace;
use faults::{Change, Struck};
pub(crate) use lanes::{Due, Lanes};
use shares::Shares;
use state::{Attempt, Client, Group, Probe, Request, Server, ServerGroup};
pub(crate) use state::{FIELDS_MAX, Outcome};
pub use stop::{Progress, Stopped};

/// No number of anything.
pub(crate) const NONE: u32 = u32::MAX;

/// What happens at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// The next request of a group that comes of itself.
    Arrive(u32),
    /// A client of a closed loop has thought.
    Thought(u32),
    /// A client tries again.
    Again(u32),
    /// A request that waited at a limit has its turn.
    Turn(u32),
    /// A proxy tries again.
    Retry(u32),
    /// A proxy has waited long enough for the first answer.
    Hedge(u32),
    /// An attempt reaches its server.
    Reach(u32),
    /// A server is done with an attempt.
    Done(u32),
    /// An answer reaches its proxy.
    Back(u32),
    /// The first deadline of a lane.
    Lane(u32),
    /// Something happens to servers.
    Change(u32),
    /// A point of the plot.
    Tick,
    /// A request has waited at a limit as long as it may.
    Patience(u32),
    /// An attempt has its turn at a server's sidecar.
    Admitted(u32),
    /// An attempt has waited at a server's sidecar as long as it may.
    Tired(u32),
    /// A probe reaches its server.
    ProbeReach(u32),
    /// A probe's answer reaches its proxy.
    ProbeBack(u32),
    /// A process asks for its shares of limits that it keeps with others.
    Ask(u32),
}

/// A world in the making of its history.
pub(crate) struct World<'s> {
    pub(crate) scenario: &'s Scenario,
    pub(crate) now: u64,
    end: u64,
    queue: Queue<What>,
    lanes: Lanes,
    requests: Slab<Request>,
    attempts: Slab<Attempt>,
    probes: Slab<Probe>,
    /// What requests that are over held; empty, and used again.
    spare: Vec<(Holding, [Passes; 2])>,
    groups: Vec<Group>,
    paces: Vec<Pace>,
    clients: Vec<Client>,
    proxies: Vec<Proxy>,
    server_groups: Vec<ServerGroup>,
    servers: Vec<Server>,
    /// Numbers of servers by service, in the order in which proxies know them.
    services: Vec<Vec<u32>>,
    zones: Vec<String>,
    /// By number of a fault: the servers that it adds.
    added: Vec<Vec<u32>>,
    struck: Vec<Struck>,
    changes: Vec<Change>,
    /// One way, between a proxy and a server; and more than that between zones.
    network: Sampler,
    cross_zone: Sampler,
    /// Faults of the network that are in force.
    network_faults: Vec<u32>,
    /// Faults by which the control plane is gone.
    gone: Vec<u32>,
    measure: Measure,
    /// Requests in the lines of all servers.
    waiting: u64,
    /// Proxies, and services at whose limits there somebody may go on, while that is being looked into.
    to_wake: Vec<(u32, u32)>,
    /// Numbers of servers whose sidecar has limits.
    guarded: Vec<u32>,
    /// Who shares limits, and the books of these.
    shares: Shares,
    /// What policies did.
    log: Vec<LogLine>,
    stamps: u32,
    seed: u64,
    events: u64,
    /// Requests so far.
    begun: u64,
    stopped: Option<Stopped>,
    /// Most requests and attempts at one moment.
    under_way_max: usize,
}

/// Runs a scenario to its end.
///
/// # Errors
/// When it grows beyond what memory or patience is meant for.
pub fn run(scenario: &Scenario) -> Result<Report, Stopped> {
    run_watched(scenario, &mut |_| {})
}

/// The same, telling now and then how far it has come: at each point of the plot.
///
/// # Errors
/// As [`run`].
pub fn run_watched(scenario: &Scenario, watch: &mut dyn FnMut(Progress)) -> Result<Report, Stopped> {
    World::build(scenario).live(watch)
}

impl World<'_> {
    fn live(mut self, watch: &mut dyn FnMut(Progress)) -> Result<Report, Stopped> {
        self.start();
        while let Some((at, what)) = self.queue.pop() {
            if at > self.end {
                break;
            }
            self.now = at;
            self.events += 1;
            self.happen(what);
            if let Some(stopped) = self.stopped {
                return Err(stopped);
            }
            if matches!(what, What::Tick) {
                watch(self.progress());
            }
        }
        self.now = self.end;
        Ok(self.report())
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive(group) => self.arrive(group),
            What::Thought(client) => self.thought(client),
            What::Again(request) => self.again(request),
            What::Turn(request) => self.turn(request),
            What::Retry(request) => self.retry(request),
            What::Hedge(request) => self.hedge(request),
            What::Reach(attempt) => self.reach(attempt),
            What::Done(attempt) => self.done(attempt),
            What::Back(attempt) => self.back(attempt),
            What::Lane(lane) => self.expire(lane),
            What::Change(change) => self.change(change),
            What::Tick => self.tick(),
            What::Patience(request) => self.patience(request),
            What::Admitted(attempt) => self.admitted(attempt),
            What::Tired(attempt) => self.tired(attempt),
            What::ProbeReach(probe) => self.probe_reach(probe),
            What::ProbeBack(probe) => self.probe_back(probe),
            What::Ask(sharer) => self.ask(sharer),
        }
    }

    const fn moment(&self) -> Nanos {
        Nanos(self.now)
    }

    fn plan(&mut self, after: u64, what: What) {
        self.queue.push(self.now.saturating_add(after), what);
    }
}
