//! Probes: what a balancer asks servers about their load, beside the requests.

use weir_policy::balance::prequal::ProbeAnswer;

use super::state::Probe;
use super::{What, World};

impl World<'_> {
    /// Sends the probes that are due with a request.
    pub(super) fn send_probes(&mut self, proxy: u32, service: u32) {
        let now = self.moment();
        let due = self.proxies[proxy as usize].probes_due(service, now);
        if due.is_empty() {
            return;
        }
        for endpoint in due.indices() {
            let server = self.services[service as usize][endpoint];
            let probe = Probe { proxy, service, endpoint: endpoint as u32, server, answer: None };
            let number = self.probes.insert(probe);
            match self.delay(proxy, server) {
                Some(delay) => self.plan(delay, What::ProbeReach(number)),
                // Nobody waits long for a probe.
                None => self.plan(PROBE_TIMEOUT, What::ProbeBack(number)),
            }
        }
    }

    /// A probe reaches its server.
    pub(super) fn probe_reach(&mut self, number: u32) {
        let Probe { proxy, server, .. } = self.probes[number];
        let now = self.moment();
        let state = &self.servers[server as usize];
        // The sidecar of a frozen machine is frozen as well.
        if !state.up || self.now < state.paused_until {
            return self.plan(PROBE_TIMEOUT, What::ProbeBack(number));
        }
        let in_flight = state.busy + state.line.len;
        let latency =
            state.estimator.as_ref().map(|estimator| estimator.latency(in_flight, now)).unwrap_or_default();
        self.probes[number].answer = Some(ProbeAnswer { in_flight, latency });
        let delay = self.delay(proxy, server).unwrap_or(PROBE_TIMEOUT);
        self.plan(delay, What::ProbeBack(number));
    }

    /// A probe's answer reaches its proxy, or it was waited for long enough.
    pub(super) fn probe_back(&mut self, number: u32) {
        let probe = self.probes[number];
        self.probes.remove(number);
        let now = self.moment();
        self.proxies[probe.proxy as usize].probed(probe.service, probe.endpoint, probe.answer, now);
    }
}

/// How long a probe is waited for.
const PROBE_TIMEOUT: u64 = 100_000_000;
