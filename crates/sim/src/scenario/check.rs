//! Judges a scenario that is well formed: values in range, names that exist.

use weir_model::document::nearest;
use weir_model::resource::rate_limit::RateLimitSpec;
use weir_model::resource::traffic_policy::PolicyTarget;
use weir_model::resource::{Metadata, Resource, Spec};
use weir_model::validate::{self, FieldError};

use super::{Action, Clients, Random, Scenario, Servers, Service, Values, nanos};

/// Most groups of clients, services, and groups of servers of a service.
pub(super) const GROUPS_MAX: usize = 1000;
/// Most servers, and most clients of a closed loop.
pub(super) const COUNT_MAX: u32 = 10_000_000;
/// Most proxies of a group of clients.
pub(super) const PROXIES_MAX: u32 = 100_000;
/// The highest rate of a group, a second.
pub(super) const RATE_MAX: f64 = 1e9;
/// Most points of a plot.
pub(super) const POINTS_MAX: u64 = 100_000;
/// Most faults.
pub(super) const FAULTS_MAX: usize = 10_000;

/// Collects what is wrong.
struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>, expected: impl Into<String>) {
        self.0.push(FieldError::new(path, message).expected(expected));
    }

    fn within(&mut self, path: &str, value: f64, (least, most): (f64, f64)) {
        if !(least..=most).contains(&value) {
            self.add(path, format!("{value} is out of range"), format!("{least} to {most}"));
        }
    }

    fn above_zero(&mut self, path: &str, value: f64, most: f64) {
        if !(value > 0.0 && value <= most) {
            self.add(path, format!("{value} is out of range"), format!("above 0 and at most {most}"));
        }
    }

    fn count(&mut self, path: &str, value: u32, (least, most): (u32, u32)) {
        self.within(path, f64::from(value), (f64::from(least), f64::from(most)));
    }

    fn unique<'a>(&mut self, path: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = std::collections::BTreeSet::new();
        for (index, name) in names.enumerate() {
            if name.is_empty() {
                self.add(format!("{path}[{index}].name"), "it is empty", "a name");
            } else if !seen.insert(name) {
                self.add(
                    format!("{path}[{index}].name"),
                    format!("`{name}` is there twice"),
                    "names that differ",
                );
            }
        }
    }

    /// A name that must be one of those there are.
    fn known<'a>(&mut self, path: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) {
        if known.clone().any(|other| other == name) {
            return;
        }
        let hint =
            nearest(name, known.clone()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let list: Vec<String> = known.take(20).map(|name| format!("`{name}`")).collect();
        let expected = if list.is_empty() {
            "none is declared".to_owned()
        } else {
            format!("one of {}", list.join(", "))
        };
        self.add(path, format!("there is no `{name}`{hint}"), expected);
    }

    fn random(&mut self, path: &str, random: &Random) {
        match random {
            Random::Constant(_) | Random::Exponential(_) | Random::Normal(_) => {}
            Random::Lognormal(of) => self.within(&format!("{path}.lognormal.sigma"), of.sigma, (0.0, 10.0)),
            Random::Bimodal(of) => {
                self.within(&format!("{path}.bimodal.slowRatio"), of.slow_ratio, (0.0, 1.0));
            }
            Random::Pareto(of) => self.above_zero(&format!("{path}.pareto.shape"), of.shape, 100.0),
            Random::Uniform(of) if of.to < of.from => {
                self.add(format!("{path}.uniform.to"), "it is before `from`", "not less than `from`");
            }
            Random::Uniform(_) => {}
        }
    }
}

/// All that is wrong.
pub(super) fn check(scenario: &Scenario) -> Vec<FieldError> {
    let mut faults = Faults(Vec::new());
    times(scenario, &mut faults);
    for (path, count) in [("clients", scenario.clients.len()), ("services", scenario.services.len())] {
        if count == 0 || count > GROUPS_MAX {
            faults.add(path, format!("{count} of them"), format!("1 to {GROUPS_MAX}"));
        }
    }
    faults.unique("clients", scenario.clients.iter().map(|clients| clients.name.as_str()));
    faults.unique("services", scenario.services.iter().map(|service| service.name.as_str()));
    for (index, service) in scenario.services.iter().enumerate() {
        check_service(&format!("services[{index}]"), service, &mut faults);
    }
    for (index, clients) in scenario.clients.iter().enumerate() {
        check_clients(&format!("clients[{index}]"), clients, scenario, &mut faults);
    }
    if scenario.faults.len() > FAULTS_MAX {
        faults.add("faults", format!("{} of them", scenario.faults.len()), format!("at most {FAULTS_MAX}"));
    }
    for index in 0..scenario.faults.len() {
        check_fault(index, scenario, &mut faults);
    }
    faults.0
}

fn times(scenario: &Scenario, faults: &mut Faults) {
    let duration = nanos(scenario.duration);
    if duration == 0 {
        faults.add("duration", "the world would end at once", "a duration above zero");
    }
    if scenario.warm_up.is_some_and(|warm_up| nanos(warm_up) >= duration) {
        faults.add("warmUp", "nothing would be left to count", "less than `duration`");
    }
    if scenario
        .interval
        .is_some_and(|interval| nanos(interval) == 0 || duration / nanos(interval) > POINTS_MAX)
    {
        faults.add("interval", "too many points", format!("at most {POINTS_MAX} of them in `duration`"));
    }
    let mut last = None;
    for (index, phase) in scenario.phases.iter().enumerate() {
        let path = format!("phases[{index}]");
        if phase.at >= scenario.duration {
            faults.add(format!("{path}.at"), "it begins when all is over", "less than `duration`");
        }
        if last.is_some_and(|last| phase.at <= last) {
            faults.add(format!("{path}.at"), "it begins no later than the one before", "phases in order");
        }
        last = Some(phase.at);
    }
    faults.unique("phases", scenario.phases.iter().map(|phase| phase.name.as_str()));
    for (path, random) in
        [("network.delay", &scenario.network.delay), ("network.crossZone", &scenario.network.cross_zone)]
    {
        if let Some(random) = random {
            faults.random(path, random);
        }
    }
}

fn check_service(path: &str, service: &Service, faults: &mut Faults) {
    if let Some(policy) = &service.traffic_policy {
        let mut policy = policy.clone();
        policy.target_refs = vec![PolicyTarget { name: "service".to_owned(), ..PolicyTarget::default() }];
        spec(&format!("{path}.trafficPolicy"), Spec::TrafficPolicy(Box::new(policy)), faults);
    }
    limits(&format!("{path}.rateLimits"), &service.rate_limits, faults);
    if service.servers.is_empty() || service.servers.len() > GROUPS_MAX {
        faults.add(
            format!("{path}.servers"),
            format!("{} groups", service.servers.len()),
            format!("1 to {GROUPS_MAX}"),
        );
    }
    let name = |servers: &Servers| servers.name.clone().unwrap_or_else(|| "servers".to_owned());
    let names: Vec<String> = service.servers.iter().map(name).collect();
    faults.unique(&format!("{path}.servers"), names.iter().map(String::as_str));
    for (index, servers) in service.servers.iter().enumerate() {
        check_servers(&format!("{path}.servers[{index}]"), servers, faults);
    }
}

fn check_servers(path: &str, servers: &Servers, faults: &mut Faults) {
    faults.count(&format!("{path}.count"), servers.count, (0, COUNT_MAX));
    faults.random(&format!("{path}.time"), &servers.time);
    if let Some(cores) = servers.cores {
        faults.count(&format!("{path}.cores"), cores, (1, COUNT_MAX));
    }
    if let Some(speed) = servers.speed {
        faults.above_zero(&format!("{path}.speed"), speed, 1e6);
    }
    if let Some(contention) = servers.contention {
        faults.within(&format!("{path}.contention"), contention, (0.0, 1e6));
    }
    if let Some(weight) = servers.weight {
        faults.count(&format!("{path}.weight"), weight, (0, validate::WEIGHT_MAX));
    }
    if let Some(cold) = &servers.cold {
        faults.within(&format!("{path}.cold.factor"), cold.factor, (1.0, 1e6));
        if nanos(cold.over) == 0 {
            faults.add(format!("{path}.cold.over"), "no time at all", "a duration above zero");
        }
    }
    limits(&format!("{path}.rateLimits"), &servers.rate_limits, faults);
}

fn limits(path: &str, limits: &[RateLimitSpec], faults: &mut Faults) {
    for (index, limit) in limits.iter().enumerate() {
        let mut limit = limit.clone();
        limit.target_refs = vec![PolicyTarget { name: "service".to_owned(), ..PolicyTarget::default() }];
        spec(&format!("{path}[{index}]"), Spec::RateLimit(limit), faults);
    }
}

/// What the model itself says about a spec, under the path that it has here.
fn spec(path: &str, spec: Spec, faults: &mut Faults) {
    let named = |name: &str| name.to_owned();
    let metadata = Metadata { name: named("scenario"), namespace: named("default"), ..Metadata::default() };
    for fault in validate::validate(&Resource { metadata, spec }) {
        let field = fault.path.strip_prefix("spec").unwrap_or_default().to_owned();
        faults.0.push(FieldError { path: format!("{path}{field}"), ..fault });
    }
}

fn check_clients(path: &str, clients: &Clients, scenario: &Scenario, faults: &mut Faults) {
    match (&clients.arrivals, &clients.closed) {
        (None, None) => faults.add(path, "they never send anything", "`arrivals` or `loop`"),
        (Some(_), Some(_)) => {
            faults.add(path, "both an open and a closed loop", "either `arrivals` or `loop`");
        }
        (Some(arrivals), None) => {
            faults.within(&format!("{path}.arrivals.rate"), arrivals.rate, (0.0, RATE_MAX));
            for (index, step) in arrivals.steps.iter().enumerate() {
                faults.within(&format!("{path}.arrivals.steps[{index}].rate"), step.rate, (0.0, RATE_MAX));
                if index > 0 && step.at < arrivals.steps[index - 1].at {
                    let path = format!("{path}.arrivals.steps[{index}].at");
                    faults.add(path, "it comes before the one before it", "steps in order");
                }
            }
        }
        (None, Some(closed)) => {
            faults.count(&format!("{path}.loop.clients"), closed.clients, (1, COUNT_MAX));
            if let Some(think) = &closed.think {
                faults.random(&format!("{path}.loop.think"), think);
            }
        }
    }
    match &clients.service {
        Some(name) => {
            let known = scenario.services.iter().map(|service| service.name.as_str());
            faults.known(&format!("{path}.service"), name, known);
        }
        None if scenario.services.len() > 1 => {
            faults.add(path, "`service` is missing, and there are several services", "`service`");
        }
        None => {}
    }
    if let Some(proxies) = clients.proxies {
        faults.count(&format!("{path}.proxies"), proxies, (1, PROXIES_MAX));
    }
    if clients.timeout.is_some_and(|timeout| nanos(timeout) == 0) {
        faults.add(
            format!("{path}.timeout"),
            "they give up at once",
            "a duration above zero; leave it out for none",
        );
    }
    if let Some(retry) = &clients.retry {
        faults.count(&format!("{path}.retry.attempts"), retry.attempts, (0, 1000));
    }
    check_fields(path, clients, faults);
}

fn check_fields(path: &str, clients: &Clients, faults: &mut Faults) {
    let headers = &clients.request.headers;
    let path = format!("{path}.request.headers");
    let differing = headers.iter().filter(|field| field.values.is_some()).count();
    if differing > crate::world::FIELDS_MAX {
        faults.add(
            &path,
            format!("{differing} with `values`"),
            format!("at most {}", crate::world::FIELDS_MAX),
        );
    }
    for (index, field) in headers.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if field.value.is_some() == field.values.is_some() {
            faults.add(&path, "one value or several?", "either `value` or `values`");
        }
        match &field.values {
            Some(Values::Uniform(count)) => {
                faults.count(&format!("{path}.values.uniform"), *count, (1, u32::MAX));
            }
            Some(Values::Zipf(zipf)) => {
                faults.count(&format!("{path}.values.zipf.count"), zipf.count, (1, COUNT_MAX));
                faults.within(
                    &format!("{path}.values.zipf.exponent"),
                    zipf.exponent.unwrap_or(1.0),
                    (0.0, 10.0),
                );
            }
            Some(Values::OneOf(list)) if list.is_empty() => {
                faults.add(format!("{path}.values.oneOf"), "it is empty", "at least one value");
            }
            _ => {}
        }
    }
}

fn check_fault(index: usize, scenario: &Scenario, faults: &mut Faults) {
    let fault = &scenario.faults[index];
    let path = format!("faults[{index}]");
    if fault.at >= scenario.duration {
        faults.add(format!("{path}.at"), "it happens when all is over", "less than `duration`");
    }
    check_selector(&format!("{path}.servers"), fault, scenario, faults);
    for (at, name) in fault.clients.iter().enumerate() {
        let known = scenario.clients.iter().map(|clients| clients.name.as_str());
        faults.known(&format!("{path}.clients[{at}]"), name, known);
    }
    if !fault.clients.is_empty() && !matches!(fault.action, Action::Partition | Action::Delay(_)) {
        faults.add(
            format!("{path}.clients"),
            "it has no meaning here",
            "`clients` only with `partition` and `delay`",
        );
    }
    let path = format!("{path}.do");
    match &fault.action {
        Action::Slow(factor) => faults.above_zero(&format!("{path}.slow"), *factor, 1e6),
        Action::Fail(of) => {
            faults.within(&format!("{path}.fail.ratio"), of.ratio, (0.0, 1.0));
            if let Some(status) = of.status {
                faults.count(&format!("{path}.fail.status"), u32::from(status), (400, 599));
            }
            if let Some(time) = &of.time {
                faults.random(&format!("{path}.fail.time"), time);
            }
        }
        Action::Delay(delay) => faults.random(&format!("{path}.delay"), delay),
        Action::Add(add) => faults.count(&format!("{path}.add.count"), add.count, (1, COUNT_MAX)),
        Action::Restart(_) if fault.lasts.is_some() => {
            faults.add(format!("faults[{index}].for"), "it has no meaning here", "no `for` with `restart`");
        }
        Action::Pause | Action::Kill | Action::Drain | Action::Partition | Action::Restart(_) => {}
    }
}

fn check_selector(path: &str, fault: &super::Fault, scenario: &Scenario, faults: &mut Faults) {
    let selector = &fault.servers;
    if let Some(name) = &selector.service {
        let known = scenario.services.iter().map(|service| service.name.as_str());
        faults.known(&format!("{path}.service"), name, known);
    }
    let groups = || scenario.services.iter().flat_map(|service| &service.servers);
    if let Some(name) = &selector.group {
        let known = groups().map(|servers| servers.name.as_deref().unwrap_or("servers"));
        faults.known(&format!("{path}.group"), name, known);
    }
    if let Some(zone) = &selector.zone {
        let known = groups().flat_map(|servers| servers.zones.iter().map(String::as_str));
        faults.known(&format!("{path}.zone"), zone, known);
    }
    if let Some(share) = selector.share {
        faults.within(&format!("{path}.share"), share, (0.0, 1.0));
    }
}
