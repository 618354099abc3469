//! Rules of clients: who they are, when they come, what they ask for.

use super::Faults;
use crate::scenario::bounds::{
    CLIENTS_MAX, PROXIES_MAX, RATE_MAX, REQUESTS_MAX, RETRIES_MAX, VALUES_MAX, ZIPF_VALUES_MAX,
};
use crate::scenario::{Arrivals, ClientRetry, Clients, Scenario, Values, nanos};

pub(super) fn check(scenario: &Scenario, faults: &mut Faults) {
    for (index, clients) in scenario.clients.iter().enumerate() {
        group(&format!("clients[{index}]"), clients, scenario, faults);
    }
    let proxies = scenario.clients.iter().map(|clients| u64::from(clients.proxies.unwrap_or(1)));
    faults.in_all("clients", proxies.sum(), PROXIES_MAX.into(), "proxies in all");
    let closed = scenario.clients.iter().filter_map(|clients| clients.closed.as_ref());
    let clients = closed.map(|closed| u64::from(closed.clients)).sum();
    faults.in_all("clients", clients, CLIENTS_MAX.into(), "clients in loops");
    let fields = scenario.clients.iter().flat_map(|clients| &clients.request.headers);
    let values = fields.map(|field| match &field.values {
        Some(Values::Zipf(zipf)) => u64::from(zipf.count),
        _ => 0,
    });
    faults.in_all("clients", values.sum(), ZIPF_VALUES_MAX, "values of `zipf` in all");
    requests(scenario, faults);
}

/// How many come of themselves.
fn requests(scenario: &Scenario, faults: &mut Faults) {
    let arrivals = scenario.clients.iter().filter_map(|clients| clients.arrivals.as_ref());
    let requests: f64 = arrivals.map(|arrivals| arrivals.expected(scenario.duration)).sum();
    if requests > REQUESTS_MAX as f64 {
        let message =
            format!("some {} million requests would come in all", super::shown((requests / 1e6).round()));
        let most = REQUESTS_MAX / 1_000_000;
        faults.add(
            "clients",
            message,
            format!("at most {most} million: lower rates, or a shorter `duration`"),
        );
    }
}

fn group(path: &str, clients: &Clients, scenario: &Scenario, faults: &mut Faults) {
    match (&clients.arrivals, &clients.closed) {
        (None, None) => faults.add(path, "they never send anything", "`arrivals` or `loop`"),
        (Some(_), Some(_)) => {
            faults.add(path, "both an open and a closed loop", "either `arrivals` or `loop`");
        }
        (Some(open), None) => arrivals(&format!("{path}.arrivals"), open, scenario, faults),
        (None, Some(closed)) => {
            faults.within(&format!("{path}.loop.clients"), closed.clients, (1, CLIENTS_MAX));
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
        faults.within(&format!("{path}.proxies"), proxies, (1, PROXIES_MAX));
    }
    if clients.timeout.is_some_and(|timeout| nanos(timeout) == 0) {
        let expected = "a duration above zero; leave it out for none";
        faults.add(format!("{path}.timeout"), "they give up at once", expected);
    }
    if let Some(found) = &clients.retry {
        retry(&format!("{path}.retry"), found, faults);
    }
    fields(path, clients, faults);
}

fn arrivals(path: &str, arrivals: &Arrivals, scenario: &Scenario, faults: &mut Faults) {
    faults.number(&format!("{path}.rate"), arrivals.rate, (0.0, RATE_MAX));
    for (index, step) in arrivals.steps.iter().enumerate() {
        let path = format!("{path}.steps[{index}]");
        faults.number(&format!("{path}.rate"), step.rate, (0.0, RATE_MAX));
        if step.at >= scenario.duration {
            faults.add(format!("{path}.at"), "it comes when all is over", "less than `duration`");
        }
        if index > 0 && step.at < arrivals.steps[index - 1].at {
            faults.add(format!("{path}.at"), "it comes before the one before it", "steps in order");
        }
        if let (Some(over), Some(next)) = (step.over, arrivals.steps.get(index + 1))
            && step.at <= next.at
            && step.at.0 + over.0 > next.at.0
        {
            let message = format!("the next step begins at {}, before this one has got there", next.at);
            let most = weir_model::units::Span(next.at.0 - step.at.0);
            faults.add(format!("{path}.over"), message, format!("at most {most}"));
        }
    }
}

fn retry(path: &str, retry: &ClientRetry, faults: &mut Faults) {
    faults.within(&format!("{path}.attempts"), retry.attempts, (0, RETRIES_MAX));
    match (retry.base, retry.max) {
        (Some(base), Some(max)) if max < base => {
            let message = format!("the longest delay ({max}) is less than the first ({base})");
            faults.add(format!("{path}.max"), message, format!("at least {base}"));
        }
        (None, Some(_)) => {
            faults.add(format!("{path}.max"), "without `base` there is no delay", "`base` too");
        }
        _ => {}
    }
}

fn fields(path: &str, clients: &Clients, faults: &mut Faults) {
    let headers = &clients.request.headers;
    let path = format!("{path}.request.headers");
    let differing = headers.iter().filter(|field| field.values.is_some()).count();
    if differing > crate::world::FIELDS_MAX {
        let expected = format!("at most {}", crate::world::FIELDS_MAX);
        faults.add(&path, format!("{differing} with `values`"), expected);
    }
    faults.unique(&path, headers.iter().map(|field| field.name.as_str()));
    for (index, field) in headers.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if field.value.is_some() == field.values.is_some() {
            faults.add(&path, "one value or several?", "either `value` or `values`");
        }
        match &field.values {
            Some(Values::Uniform(count)) => {
                faults.within(&format!("{path}.values.uniform"), *count, (1, VALUES_MAX));
            }
            Some(Values::Zipf(zipf)) => {
                faults.within(&format!("{path}.values.zipf.count"), zipf.count, (1, VALUES_MAX));
                let exponent = zipf.exponent.unwrap_or(1.0);
                faults.number(&format!("{path}.values.zipf.exponent"), exponent, (0.0, 10.0));
            }
            Some(Values::OneOf(list)) if list.is_empty() => {
                faults.add(format!("{path}.values.oneOf"), "it is empty", "at least one value");
            }
            _ => {}
        }
    }
}
