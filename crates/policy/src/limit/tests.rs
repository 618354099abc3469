//! Invariants of limits: rates, tables of keys, gates, and the limit that is found.

mod adaptive;
mod changes;
mod gates;
mod rates;
mod shared;
mod tables;

use std::time::Duration;

use super::*;

fn rate(requests: u32, per_ms: u64, burst: u32) -> RateConfig {
    RateConfig { requests, per: Duration::from_millis(per_ms), burst }
}

fn limiter(algorithm: Algorithm) -> Limiter {
    Limiter::new(LimitConfig { algorithm, ..LimitConfig::default() }, 7)
}

fn keyed(algorithm: Algorithm, keys_max: u32) -> Limiter {
    let key = vec![weir_model::resource::key::KeyPart {
        kind: weir_model::resource::key::KeyKind::SourceAddress,
        name: None,
    }];
    Limiter::new(LimitConfig { algorithm, key, keys_max, ..LimitConfig::default() }, 7)
}

/// The grant and the moment of an admission by a rate.
fn admitted(limiter: &Limiter, key: &[u8], now: Nanos) -> Option<(Grant, Nanos)> {
    match limiter.admit(&Request { key, level: 0 }, now, &mut Vec::new()) {
        Verdict::Admit(grant, _) => Some((grant, now)),
        Verdict::Turn(grant, turn, _) => Some((grant, turn)),
        Verdict::Refuse(_) => None,
        Verdict::Wait(..) => panic!("a rate has no queue"),
    }
}

fn passes(limiter: &Limiter, key: &[u8], now: Nanos) -> bool {
    admitted(limiter, key, now).is_some()
}
