//! Explanations as text for people.

use std::fmt;

use super::{
    AnswerView, BreakerView, ConsideredRule, EndpointView, Entrance, Explanation, Forwarded, LimitView,
    NOT_REPORTED, Outcome, RefusalView, Reported, SettingView, Verdict,
};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, method, host, path, position, .. } = self;
        let by = self.caller.as_ref().map_or_else(String::new, |caller| format!(" by {caller}"));
        match &**scheme {
            "tcp" | "tls" => writeln!(f, "{scheme}://{host}{by}   (revision {position})")?,
            _ => writeln!(f, "{method} {scheme}://{host}{path}{by}   (revision {position})")?,
        }
        match &self.reported {
            Some(Reported { proxies, oldest_ms: Some(oldest_ms), view }) => {
                let ago = *oldest_ms as f64 / 1000.0;
                let who =
                    if *proxies == 1 { "1 proxy has".to_owned() } else { format!("{proxies} proxies have") };
                writeln!(f, "counts: as {who} reported, at most {ago:.1} s ago")?;
                if let Some(view) = view {
                    let others = if *proxies > 1 { "; another one's: --as PROXY" } else { "" };
                    writeln!(f, "endpoints, refusals and the choice: as proxy {view} sees them{others}")?;
                }
            }
            Some(Reported { oldest_ms: None, .. }) => {
                writeln!(f, "counts: no proxy has reported yet: how limits and breakers stand is not known")?;
            }
            None => {}
        }
        for remark in &self.remarks {
            writeln!(f, "note: {remark}")?;
        }
        for entrance in &self.entrances {
            write!(f, "\n{entrance}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}", self.name)?;
        if let Some(section) = &self.section {
            write!(f, ", by {section}")?;
        }
        writeln!(f)?;
        if !self.rules.is_empty() {
            writeln!(f, "\n  rules")?;
        }
        let width = self.rules.iter().map(|rule| rule.rule.chars().count()).max().unwrap_or(0);
        for rule in &self.rules {
            show_rule(f, rule, width)?;
        }
        if self.rules_omitted > 0 {
            writeln!(f, "    and {} more that were not looked at", self.rules_omitted)?;
        }
        if !self.filters.is_empty() {
            writeln!(f, "\n  filters")?;
        }
        for filter in &self.filters {
            writeln!(f, "     {filter}")?;
        }
        match &self.outcome {
            Outcome::Answered { status, location, reason } => {
                let to = location.as_ref().map_or_else(String::new, |location| format!(" to {location}"));
                writeln!(f, "\n  answered with {status}{to}: {reason}")
            }
            Outcome::Forward(forwarded) => write!(f, "\n{forwarded}"),
            Outcome::Refused { status, reason } => writeln!(f, "\n  answered with {status}: {reason}"),
            Outcome::Closed { reason } => writeln!(f, "\n  closed: {reason}"),
            Outcome::PassThrough { reason } => writeln!(f, "\n  passed on as it is: {reason}"),
        }
    }
}

fn show_rule(f: &mut fmt::Formatter<'_>, rule: &ConsideredRule, width: usize) -> fmt::Result {
    let mark = match rule.verdict {
        Verdict::Won => "=>",
        Verdict::NoMatch => " -",
        Verdict::Outranked => " <",
    };
    write!(f, "  {mark} {:width$}  host {}, path {}", rule.rule, rule.host, rule.path)?;
    for condition in &rule.conditions {
        write!(f, ", {condition}")?;
    }
    writeln!(f, "\n     {:width$}  {}", "", rule.reason)?;
    if rule.config_entries.is_empty() {
        return Ok(());
    }
    writeln!(f, "     {:width$}  by config entry {}", "", rule.config_entries.join(", "))
}

impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  service {}", self.service)?;
        if self.backends.len() > 1 {
            let total: u64 = self.backends.iter().map(|backend| backend.weight).sum();
            let share = |weight: u64| 100.0 * weight as f64 / total as f64;
            write!(f, ", drawn from")?;
            for (at, backend) in self.backends.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                write!(f, "{comma} {} ({:.1} %)", backend.service, share(backend.weight))?;
            }
        }
        writeln!(f, "\n  protocol {}", self.protocol)?;
        match self.request_timeout_ms {
            Some(ms) => write!(f, "  {} within {ms} ms", self.balance)?,
            None => write!(f, "  {} without a time limit", self.balance)?,
        }
        writeln!(f, ", retries: at most {}", self.retries)?;
        if !self.settings.is_empty() {
            writeln!(f, "\n  settings")?;
        }
        for SettingView { name, value, from } in &self.settings {
            writeln!(f, "     {name} {value}: {from}")?;
        }
        if !self.limits.is_empty() {
            writeln!(f, "\n  limits")?;
        }
        for limit in &self.limits {
            let LimitView { limit, target, state, admitted, refused, shadowed, shadow, .. } = limit;
            let counted = refused.map(|all| refused_or_not(all, *shadowed, *shadow));
            let shadow = if *shadow { ", in shadow" } else { "" };
            write!(f, "     {limit} of {target}{shadow}: ")?;
            match (admitted, counted) {
                (Some(admitted), Some(counted)) => writeln!(f, "{admitted} let through, {counted}")?,
                _ => writeln!(f, "{NOT_REPORTED}")?,
            }
            state.lines().try_for_each(|line| writeln!(f, "       {line}"))?;
        }
        if !self.breakers.is_empty() {
            writeln!(f, "\n  breakers")?;
        }
        for one in &self.breakers {
            let BreakerView { breaker, target, part, state, refused, shadowed, instead, shadow, .. } = one;
            let counted = refused.map(|all| refused_or_not(all, *shadowed, *shadow));
            let shadow = if *shadow { ", in shadow" } else { "" };
            let part = if part.is_empty() { String::new() } else { format!(" for {part}") };
            match counted {
                Some(counted) => writeln!(f, "     {breaker} of {target}{part}{shadow}: {counted}")?,
                None => writeln!(f, "     {breaker} of {target}{part}{shadow}: {NOT_REPORTED}")?,
            }
            state.lines().try_for_each(|line| writeln!(f, "       {line}"))?;
            if let Some(instead) = instead {
                writeln!(f, "       refused calls get: {instead}")?;
            }
        }
        if self.panicking {
            writeln!(f, "  too few endpoints are healthy, so all that are not draining are tried")?;
        }
        if let Some(panic) = &self.panic {
            writeln!(f, "    {panic}")?;
        }
        if let Some(hash) = &self.hash {
            writeln!(f, "  {hash}")?;
        }
        writeln!(f, "\n  endpoints")?;
        let width = self.endpoints.iter().map(|endpoint| endpoint.id.chars().count()).max().unwrap_or(0);
        // Said only where it does not follow from the weights.
        let taking_part = || self.endpoints.iter().filter(|endpoint| endpoint.candidate);
        let weights: u64 = taking_part().map(|endpoint| u64::from(endpoint.weight)).sum();
        let by_weight = |endpoint: &EndpointView| f64::from(endpoint.weight) / weights.max(1) as f64;
        let shares = taking_part().any(|endpoint| (endpoint.share - by_weight(endpoint)).abs() > 0.001);
        for endpoint in &self.endpoints {
            let chosen = self.choice.as_ref().filter(|_| self.decided().is_none());
            let chosen = chosen.is_some_and(|choice| choice.endpoint == endpoint.id);
            show_endpoint(f, endpoint, (chosen, shares), width)?;
        }
        for name in &self.unresolved {
            writeln!(f, "   - {name}: the host name cannot be resolved")?;
        }
        if self.endpoints.is_empty() && self.unresolved.is_empty() {
            writeln!(f, "   - none")?;
        }
        for note in &self.considered {
            writeln!(f, "     {note}")?;
        }
        for remark in &self.remarks {
            writeln!(f, "\n  note: {remark}")?;
        }
        self.show_end(f)
    }
}

impl Forwarded {
    /// What refuses every such call, if anything does.
    fn decided(&self) -> Option<&RefusalView> {
        self.refusals.iter().find(|refusal| refusal.share >= 1.0)
    }

    /// What becomes of the call.
    fn show_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for refusal in self.refusals.iter().take_while(|refusal| refusal.share < 1.0) {
            let share = refusal.share * 100.0;
            writeln!(f, "\n  {share:.0} % of such calls are {refusal}")?;
            self.show_fallback(f, refusal)?;
        }
        if let Some(refusal) = self.decided() {
            writeln!(f, "\n  {refusal}")?;
            return self.show_fallback(f, refusal);
        }
        match &self.choice {
            Some(choice) => {
                let panic = if self.panicking { "; health does not count now" } else { "" };
                writeln!(f, "\n  sent to {} at {}: {}{panic}", choice.endpoint, choice.address, choice.reason)
            }
            None => writeln!(f, "\n  refused (503): no endpoint may be chosen"),
        }
    }

    fn show_fallback(&self, f: &mut fmt::Formatter<'_>, refusal: &RefusalView) -> fmt::Result {
        let Some(service) = &refusal.answer.service else { return Ok(()) };
        match self.fallbacks.iter().find(|other| other.service == *service) {
            Some(other) => write!(f, "\n{other}"),
            None => writeln!(f, "  answered with 503: there is no such service"),
        }
    }
}

/// What was refused of all that is counted, and what only shadow let through; in shadow, and before it or after it.
fn refused_or_not(all: u64, shadowed: u64, is_shadow: bool) -> String {
    let refused = all.saturating_sub(shadowed);
    match (refused, shadowed, is_shadow) {
        (0, _, true) => format!("{shadowed} would have been refused"),
        (_, 0, false) => format!("{refused} refused"),
        _ => format!("{refused} refused, {shadowed} would have been in shadow"),
    }
}

impl fmt::Display for RefusalView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, reason, answer, retry_after_s, .. } = self;
        match answer {
            AnswerView { service: Some(service), .. } => {
                return write!(f, "sent to service {service} instead, by {by}: {reason}");
            }
            AnswerView { earlier: true, .. } => {
                write!(f, "answered with an earlier answer to the same request, else ")?;
            }
            _ => write!(f, "refused ")?,
        }
        match (&answer.grpc_status, answer.status) {
            (Some(grpc), _) => write!(f, "(gRPC status {grpc})")?,
            (None, Some(status)) => write!(f, "({status})")?,
            (None, None) => {}
        }
        write!(f, ", by {by}: {reason}")?;
        retry_after_s.map_or(Ok(()), |seconds| write!(f, "; Retry-After: {seconds}"))
    }
}

fn show_endpoint(
    f: &mut fmt::Formatter<'_>,
    endpoint: &EndpointView,
    (chosen, shares): (bool, bool),
    width: usize,
) -> fmt::Result {
    let mark = match (chosen, endpoint.candidate) {
        (true, _) => "=>",
        (false, true) => "  ",
        (false, false) => " -",
    };
    let EndpointView { id, address, health, weight, in_flight, .. } = endpoint;
    write!(f, "  {mark} {id:width$}  {address}  {health}, weight {weight}, {in_flight} in flight")?;
    if let Some(checked) = &endpoint.checked {
        write!(f, ", {checked}")?;
    }
    if let Some(us) = endpoint.latency_us {
        write!(f, ", {:.1} ms", us as f64 / 1e3)?;
    }
    match (&endpoint.region, &endpoint.zone) {
        (Some(region), Some(zone)) => write!(f, ", in {region}/{zone}")?,
        (Some(place), None) | (None, Some(place)) => write!(f, ", in {place}")?,
        (None, None) => {}
    }
    if let Some(part) = endpoint.growing {
        write!(f, ", new: {:.0} % of its share", part * 100.0)?;
    }
    if shares && endpoint.candidate {
        write!(f, ", gets {:.1} %", endpoint.share * 100.0)?;
    }
    if endpoint.avoided {
        write!(f, ", failed lately")?;
    }
    if let Some(broken) = &endpoint.broken {
        write!(f, "; passed over: {broken}")?;
    }
    match (&endpoint.excluded, &endpoint.ejected) {
        (Some(excluded), _) => writeln!(f, "; left out: {excluded}"),
        (None, Some(ejected)) => writeln!(f, "; in shadow {ejected}"),
        (None, None) => writeln!(f),
    }
}
