//! What a limit refuses as it stands: for explanations and reports.

use std::time::Duration;

use weir_api::report::Refusing;
use weir_model::resource::key::KeyKind;
use weir_model::units::Rounded;
use weir_policy::Nanos;
use weir_policy::limit::{Algorithm, GateConfig, KeyState, QueueConfig, Why};

use super::key::{self, Asker};
use super::rule::Limit;
use crate::route::RequestView;

/// What of a limit can be said of one request beforehand.
#[derive(Debug)]
pub(crate) enum Says {
    /// It would go on.
    Passes,
    /// It would wait for its place, among so many.
    Waits(usize),
    /// It would wait for its turn, for so long.
    Turn(Duration),
    /// It is refused, or a share of such requests is.
    Refuses(Refusing),
    /// Nobody knows, for this reason.
    Unknown(&'static str),
}

impl Limit {
    /// The status that refused requests are answered with.
    pub(crate) fn status(&self) -> u16 {
        let own = if self.is_of_places() { 503 } else { 429 };
        self.response.as_ref().map_or(own, |response| response.status())
    }

    /// What it refuses, whatever the request; none of one with keys or levels, where that depends on the request.
    pub(crate) fn refusing(&self, now: Nanos) -> Option<Refusing> {
        match self.by_hold(now) {
            Some(Says::Refuses(refusing)) => return Some(refusing),
            Some(_) => return None,
            None => {}
        }
        let state = self.limiter().state(now).all?;
        match self.says(&state, 0, None) {
            Says::Refuses(refusing) => Some(refusing),
            Says::Passes | Says::Waits(_) | Says::Turn(_) | Says::Unknown(_) => None,
        }
    }

    /// What it says of a request that may take so long, if that is bounded.
    pub(crate) fn of_request(
        &self,
        request: &impl RequestView,
        asker: Asker<'_>,
        time: Option<Duration>,
        now: Nanos,
    ) -> Says {
        if let Some(said) = self.by_hold(now) {
            return said;
        }
        let Some(name) = self.key_of(request, asker) else {
            return Says::Unknown(
                "that depends on the client's address (--source-ip; at the admin port, source)",
            );
        };
        let level = self.levels.as_ref().map_or(0, |levels| levels.of(request));
        match self.limiter().state_of(&name, now) {
            Some(state) => self.says(&state, level, time),
            None if self.limiter().has_no_place_for(&name) => refuses(1.0, Why::Keys.to_string()),
            None => Says::Passes,
        }
    }

    /// Whether it may have a request wait for its turn for longer than it may take.
    pub(crate) fn may_outlast(&self, time: Option<Duration>) -> bool {
        match &self.config.algorithm {
            Algorithm::LeakyBucket { queue, .. } => time.is_some_and(|time| queue.timeout >= time),
            _ => false,
        }
    }

    /// How it stands, and how for the key of a request. Other requests' keys are counted and not named: one may be a secret,
    /// and this is told to whoever asks.
    pub(crate) fn described(&self, request: &impl RequestView, asker: Asker<'_>, now: Nanos) -> String {
        let limiter = self.limiter();
        let all = limiter.state(now);
        match self.key_of(request, asker).filter(|_| self.config.is_keyed()) {
            None => all.to_string(),
            Some(name) => match limiter.state_of(&name, now) {
                Some(own) => format!("{all}\nfor this request's key: {own}"),
                None if limiter.has_no_place_for(&name) => {
                    format!("{all}\nfor this request's key: no place, as {}", Why::Keys)
                }
                None => format!("{all}\nfor this request's key: nothing is used"),
            },
        }
    }

    /// The key of a request; none where that depends on the client's address, which nobody has told.
    fn key_of(&self, request: &impl RequestView, asker: Asker<'_>) -> Option<Vec<u8>> {
        let is_of_address = self.key.iter().any(|part| part.kind == KeyKind::SourceAddress);
        if is_of_address && asker.address.is_empty() {
            return None;
        }
        let mut name = Vec::new();
        key::write(&self.key, request, asker, &mut name);
        Some(name)
    }

    /// What follows from what this proxy has of a limit that is shared, whatever the request.
    fn by_hold(&self, now: Nanos) -> Option<Says> {
        let held = self.limiter().holds(now)?;
        if held.open {
            return Some(Says::Passes);
        }
        let why = if held.left.is_some() { Why::Rate } else { Why::NoLease };
        (held.share <= 0.0).then(|| refuses(1.0, format!("{why}: {held}")))
    }

    fn says(&self, state: &KeyState, level: u8, time: Option<Duration>) -> Says {
        if let Some(used_up) = state.quotas.iter().find(|quota| quota.remaining == 0) {
            let why = if self.is_of_turns() { Why::Turn } else { Why::Rate };
            return refuses(1.0, format!("{why}: {used_up}"));
        }
        if let Some(turn) = state.turn.filter(|turn| !turn.is_zero()) {
            return match time.filter(|time| turn >= *time) {
                Some(time) => refuses(
                    1.0,
                    format!("{}: in {}, and it may take {}", Why::Turn, Rounded(turn), Rounded(time)),
                ),
                None => Says::Turn(turn),
            };
        }
        let Some((in_flight, limit)) = state.in_flight else { return Says::Passes };
        let gate = match &self.config.algorithm {
            Algorithm::Concurrency { gate, .. } | Algorithm::Adaptive { gate, .. } => *gate,
            _ => GateConfig::default(),
        };
        let shut = 1.0 - state.open.map_or(1.0, |open| let_in(open, level, gate.levels));
        let QueueConfig { max, .. } = gate.queue;
        let (places, waiting) =
            (format!("{in_flight} in flight of {limit}, {} waiting of {max}", state.waiting), state.waiting);
        if shut >= 1.0 {
            return refuses(1.0, format!("{}: {places}", Why::Level));
        }
        match in_flight >= limit {
            true if waiting >= max as usize => refuses(1.0, format!("{}: {places}", Why::Full)),
            _ if shut > 0.0 => refuses(shut, format!("{}: {places}", Why::Level)),
            true => Says::Waits(waiting),
            false => Says::Passes,
        }
    }
}

fn refuses(share: f64, why: String) -> Says {
    Says::Refuses(Refusing { share, why, retry_after_ms: None })
}

/// The share of a level's requests that gets in where this share of all importance does.
fn let_in(open: f64, level: u8, levels: u8) -> f64 {
    (open * f64::from(levels.max(1)) - f64::from(level)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_model::resource::Metadata;
    use weir_model::resource::rate_limit::RateLimitSpec;
    use weir_model::{Kind, Resource, ResourceId, Spec};
    use weir_policy::limit::{LimitConfig, Request, Verdict};

    use super::*;
    use crate::route::tests::TestRequest;

    fn limit(spec: &str) -> Limit {
        let spec: RateLimitSpec = serde_json::from_str(spec).unwrap();
        let id = ResourceId::new(Kind::RateLimit, "default", "a");
        let resource = Resource { metadata: Metadata::default(), spec: Spec::RateLimit(spec.clone()) };
        Limit::new(&id, "Service/a".into(), LimitConfig::from_spec(&spec), (&spec, &Arc::new(resource)))
    }

    fn admit(limit: &Limit, key: &[u8]) -> Verdict {
        limit.limiter().admit(&Request { key, level: 0 }, Nanos::from_secs(1), &mut Vec::new())
    }

    fn said(limit: &Limit, user: &str, address: &[u8]) -> String {
        let request = TestRequest::new("GET h/", &[("x-user", user)]);
        let asker = Asker { address, caller: b"", rule: "" };
        match limit.of_request(&request, asker, Some(Duration::from_millis(800)), Nanos::from_secs(1)) {
            Says::Passes => "passes".to_owned(),
            Says::Turn(turn) => format!("waits for {turn:?}"),
            Says::Waits(others) => format!("waits after {others}"),
            Says::Refuses(Refusing { share, why, .. }) => format!("{share} refused: {why}"),
            Says::Unknown(_) => "unknown".to_owned(),
        }
    }

    #[test]
    fn a_rate_that_is_used_up_refuses() {
        let limit = limit(r#"{"targetRefs": [{"name": "a"}], "rates": [{"requests": 2, "per": "1m"}]}"#);
        let _first = admit(&limit, b"");
        assert_eq!(said(&limit, "", b""), "passes");
        assert_eq!(limit.refusing(Nanos::from_secs(1)), None);
        let _second = admit(&limit, b"");
        assert_eq!(said(&limit, "", b""), "1 refused: the rate is used up: 0 left of 2 in 60s, all in 60s");
        assert_eq!(limit.refusing(Nanos::from_secs(1)).unwrap().share, 1.0);
        assert_eq!(limit.refusing(Nanos::from_secs(100)), None, "it is there again");
    }

    #[test]
    fn each_key_stands_by_itself() {
        let limit = limit(
            r#"{"targetRefs": [{"name": "a"}], "rates": [{"requests": 1, "per": "1m"}], "key": [{"type": "header", "name": "x-user"}]}"#,
        );
        let _one = admit(&limit, b"ada\0");
        assert!(said(&limit, "ada", b"").starts_with("1 refused"), "{}", said(&limit, "ada", b""));
        assert_eq!(said(&limit, "bob", b""), "passes");
        assert_eq!(limit.refusing(Nanos::from_secs(1)), None);
        let by_address = self::limit(
            r#"{"targetRefs": [{"name": "a"}], "rates": [{"requests": 1}], "key": [{"type": "sourceAddress"}]}"#,
        );
        assert_eq!(said(&by_address, "", b""), "unknown");
        assert_eq!(said(&by_address, "", b"192.0.2.7"), "passes");
    }

    #[test]
    fn a_turn_that_the_request_cannot_wait_for_refuses() {
        let limit = |rate: &str| {
            limit(&format!(
                r#"{{"targetRefs": [{{"name": "a"}}], "algorithm": "leaky_bucket", "rates": [{rate}], "queue": {{"timeout": "1m"}}}}"#
            ))
        };
        let slow = limit(r#"{"requests": 1}"#);
        assert_eq!(said(&slow, "", b""), "passes");
        let _first = admit(&slow, b"");
        assert_eq!(
            said(&slow, "", b""),
            "1 refused: its turn would be too late: in 1s, and it may take 800ms"
        );
        assert_eq!(slow.refusing(Nanos::from_secs(1)), None, "others may have the time");
        assert!(slow.may_outlast(Some(Duration::from_millis(800))) && !slow.may_outlast(None));
        let state = slow.limiter().state(Nanos::from_secs(1)).to_string();
        assert_eq!(state, "leaky_bucket: 1 in 1s, room for 60 more, the next one's turn in 1s");
        let fast = limit(r#"{"requests": 2}"#);
        let _first = admit(&fast, b"");
        assert_eq!(said(&fast, "", b""), "waits for 500ms");
    }

    #[test]
    fn a_key_that_finds_no_place_is_refused() {
        let limit = limit(
            r#"{"targetRefs": [{"name": "a"}], "algorithm": "concurrency", "concurrencyMax": 1, "keysMax": 2, "key": [{"type": "header", "name": "x-user"}]}"#,
        );
        let Verdict::Admit(ada, _) = admit(&limit, b"ada\0") else { panic!() };
        assert_eq!(said(&limit, "cy", b""), "passes");
        let _bob = admit(&limit, b"bob\0");
        let why = "every key that is remembered has requests in flight";
        assert_eq!(said(&limit, "cy", b""), format!("1 refused: {why}"));
        let request = TestRequest::new("GET h/", &[("x-user", "cy")]);
        let asker = Asker { address: b"", caller: b"", rule: "" };
        let described = limit.described(&request, asker, Nanos::from_secs(1));
        assert!(described.ends_with(&format!("for this request's key: no place, as {why}")), "{described}");
        limit.limiter().refund(ada, Nanos::from_secs(1), &mut Vec::new());
        assert_eq!(said(&limit, "cy", b""), "passes", "one may make room");
    }

    #[test]
    fn keys_of_others_are_not_named() {
        let limit = limit(
            r#"{"targetRefs": [{"name": "a"}], "rates": [{"requests": 2, "per": "1m"}], "key": [{"type": "header", "name": "x-user"}]}"#,
        );
        let _one = admit(&limit, b"s3cr3t\0");
        let described = |user: &str| {
            let request = TestRequest::new("GET h/", &[("x-user", user)]);
            let asker = Asker { address: b"", caller: b"", rule: "" };
            limit.described(&request, asker, Nanos::from_secs(1))
        };
        let counts = "token_bucket: 1 key, 0 forgotten\nfor this request's key: ";
        assert_eq!(described(""), format!("{counts}nothing is used"));
        assert_eq!(described("s3cr3t"), format!("{counts}1 left of 2 in 60s, all in 30s"));
    }

    #[test]
    fn places_are_waited_for_while_there_is_room() {
        let spec = |more: &str| {
            limit(&format!(
                r#"{{"targetRefs": [{{"name": "a"}}], "algorithm": "concurrency", "concurrencyMax": 1{more}}}"#
            ))
        };
        let full = spec("");
        assert_eq!(said(&full, "", b""), "passes");
        let _held = admit(&full, b"");
        assert_eq!(
            said(&full, "", b""),
            "1 refused: as many requests are in flight as may be: 1 in flight of 1, 0 waiting of 0"
        );
        let queued = spec(r#", "queue": {"max": 1}"#);
        let _held = admit(&queued, b"");
        assert_eq!(said(&queued, "", b""), "waits after 0");
        let _waits = admit(&queued, b"");
        assert!(said(&queued, "", b"").ends_with("1 waiting of 1"), "{}", said(&queued, "", b""));
    }

    #[test]
    fn the_less_important_is_let_in_last() {
        assert_eq!([let_in(1.0, 0, 2), let_in(1.0, 1, 2)], [1.0, 1.0]);
        assert_eq!([let_in(0.75, 0, 2), let_in(0.75, 1, 2)], [1.0, 0.5]);
        assert_eq!([let_in(0.25, 0, 2), let_in(0.25, 1, 2)], [0.5, 0.0]);
    }
}
