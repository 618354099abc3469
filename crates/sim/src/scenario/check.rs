//! Judges a scenario that is well formed: values in range, names that exist, a world that fits into memory.

mod clients;
mod faults;
mod policies;
mod servers;

use weir_model::document::nearest;
use weir_model::validate::FieldError;

use super::bounds::{CELLS_MAX, GROUPS_MAX, POINTS_MAX};
use super::{Random, Scenario, nanos};

/// Most names that are listed where one was expected.
const NAMES_SHOWN_MAX: usize = 20;

/// Collects what is wrong.
struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>, expected: impl Into<String>) {
        self.0.push(FieldError::new(path, message).expected(expected));
    }

    /// A whole number.
    fn within(&mut self, path: &str, value: u32, (least, most): (u32, u32)) {
        if !(least..=most).contains(&value) {
            self.add(path, format!("{value} is out of range"), format!("{least} to {most}"));
        }
    }

    /// A number that may have a fraction.
    fn number(&mut self, path: &str, value: f64, (least, most): (f64, f64)) {
        if !(least..=most).contains(&value) {
            self.add(path, format!("{} is out of range", shown(value)), format!("{least} to {most}"));
        }
    }

    fn above_zero(&mut self, path: &str, value: f64, most: f64) {
        if !(value > 0.0 && value <= most) {
            let message = format!("{} is out of range", shown(value));
            self.add(path, message, format!("above 0 and at most {most}"));
        }
    }

    /// A number of all of something that takes memory.
    fn in_all(&mut self, path: &str, count: u64, most: u64, what: &str) {
        if count > most {
            self.add(path, format!("{count} {what}"), format!("at most {most}"));
        }
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
        let mut names: Vec<&str> = known.take(NAMES_SHOWN_MAX * 10).collect();
        names.sort_unstable();
        names.dedup();
        let list: Vec<String> = names.iter().take(NAMES_SHOWN_MAX).map(|name| format!("`{name}`")).collect();
        let expected = match list.as_slice() {
            [] => {
                return self.add(
                    path,
                    format!("there is no `{name}`, nor any other"),
                    "one that is declared",
                );
            }
            [only] => only.clone(),
            several => format!("one of {}", several.join(", ")),
        };
        self.add(path, format!("there is no `{name}`{hint}"), expected);
    }

    fn random(&mut self, path: &str, random: &Random) {
        match random {
            Random::Constant(_) | Random::Exponential(_) | Random::Normal(_) => {}
            Random::Lognormal(of) => self.number(&format!("{path}.lognormal.sigma"), of.sigma, (0.0, 10.0)),
            Random::Bimodal(of) => {
                self.number(&format!("{path}.bimodal.slowRatio"), of.slow_ratio, (0.0, 1.0));
            }
            Random::Pareto(of) => self.above_zero(&format!("{path}.pareto.shape"), of.shape, 100.0),
            Random::Uniform(of) if of.to < of.from => {
                self.add(format!("{path}.uniform.to"), "it is before `from`", "not less than `from`");
            }
            Random::Uniform(_) => {}
        }
    }
}

/// A number without a hundred zeros.
fn shown(value: f64) -> String {
    if value.abs() < 1e15 { value.to_string() } else { format!("{value:e}") }
}

/// All that is wrong.
pub(super) fn check(scenario: &Scenario) -> Vec<FieldError> {
    let mut faults = Faults(Vec::new());
    times(scenario, &mut faults);
    for (path, count) in [("clients", scenario.clients.len()), ("services", scenario.services.len())] {
        match count {
            0 => faults.add(path, "there are none", format!("at least one, at most {GROUPS_MAX}")),
            1..=GROUPS_MAX => {}
            _ => faults.add(path, format!("{count} of them"), format!("at most {GROUPS_MAX}")),
        }
    }
    faults.unique("clients", scenario.clients.iter().map(|clients| clients.name.as_str()));
    faults.unique("services", scenario.services.iter().map(|service| service.name.as_str()));
    servers::check(scenario, &mut faults);
    policies::check(scenario, &mut faults);
    clients::check(scenario, &mut faults);
    faults::check(scenario, &mut faults);
    faults.0
}

/// What is wrong with its policies alone, which may be others than were read with it.
pub(super) fn check_policies(scenario: &Scenario) -> Vec<FieldError> {
    let mut faults = Faults(Vec::new());
    policies::check(scenario, &mut faults);
    faults.0
}

/// What people are told of its policies when they apply them as documents.
pub(super) fn hints(scenario: &Scenario) -> Vec<FieldError> {
    policies::hints(scenario)
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
    phases(scenario, faults);
    for (path, random) in
        [("network.delay", &scenario.network.delay), ("network.crossZone", &scenario.network.cross_zone)]
    {
        if let Some(random) = random {
            faults.random(path, random);
        }
    }
}

fn phases(scenario: &Scenario, faults: &mut Faults) {
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
    if (scenario.phases.len() + 1).saturating_mul(scenario.clients.len()) > CELLS_MAX {
        let (phases, groups) = (scenario.phases.len(), scenario.clients.len());
        let message = format!("{phases} phases of {groups} groups of clients");
        faults.add("phases", message, format!("at most {CELLS_MAX} of these together"));
    }
}
