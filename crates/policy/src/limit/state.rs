//! A limit as it stands, for `weir explain`.

use std::fmt;
use std::time::Duration;

use weir_model::units::Rounded;

use super::core::{Core, Rules};
use super::gate::GateView;
use super::hold::{HoldState, Moment};
use super::scheme::Scheme;
use super::verdict::Quota;
use crate::text::Counted;
use crate::time::Nanos;

/// Most keys that are listed.
const KEYS_SHOWN_MAX: usize = 10;

/// A limit as it stands. As text it says how many keys there are and names none: a key may be a secret.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitState {
    /// The algorithm's name.
    pub algorithm: &'static str,
    /// What holds for all; none of a limit with keys.
    pub all: Option<KeyState>,
    /// Keys that are remembered.
    pub keys: usize,
    /// Keys that made room for others since the beginning.
    pub keys_forgotten: u64,
    /// The keys with the least left, or the most in flight, with those first.
    pub top: Vec<(Box<[u8]>, KeyState)>,
    /// What this process has of it, if it shares it with others.
    pub hold: Option<HoldState>,
}

/// The same with the keys that have least left, by their names: for whoever has made them up himself.
#[derive(Clone, Copy, Debug)]
pub struct WithKeys<'a>(pub &'a LimitState);

/// The state of one limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyState {
    /// What is left of each rate, in the order of the document; of rates only.
    pub quotas: Vec<Quota>,
    /// How long the next request waits for its turn; of what gives turns only.
    pub turn: Option<Duration>,
    /// The share of the full rate that is given now; of one that warms up only.
    pub speed: Option<f64>,
    /// How many are in flight, of how many that may be; of what bounds those only.
    pub in_flight: Option<(u32, u32)>,
    /// How many wait for a place.
    pub waiting: usize,
    /// The limit that was found; the one that is in force swings around it.
    pub found: Option<f64>,
    /// How much of all importance gets in, from 0 to 1; where there are levels.
    pub open: Option<f64>,
}

impl KeyState {
    /// How much is used, to compare keys by.
    fn used(&self) -> f64 {
        let of_rates = self.quotas.iter().map(|quota| {
            1.0 - f64::from(quota.remaining) / f64::from(quota.burst.unwrap_or(quota.limit).max(1))
        });
        let of_places =
            self.in_flight.map(|(in_flight, limit)| f64::from(in_flight) / f64::from(limit.max(1)));
        of_rates.chain(of_places).fold(0.0, f64::max)
    }
}

impl From<GateView> for KeyState {
    fn from(view: GateView) -> Self {
        Self {
            in_flight: Some((view.in_flight, view.limit)),
            waiting: view.waiting,
            found: view.found,
            open: view.open,
            ..Self::default()
        }
    }
}

impl Core {
    pub(super) fn state(&self, rules: &Rules, shared: Option<&Moment>, now: Nanos) -> LimitState {
        let mut state = LimitState {
            algorithm: rules.config.algorithm.name(),
            all: None,
            keys: 0,
            keys_forgotten: 0,
            top: Vec::new(),
            hold: None,
        };
        let of_words = |words: &[u64]| KeyState::of_rates(rules, words, shared, now);
        match self {
            Self::Bucket(bucket) => state.all = Some(of_words(&[bucket.tat()])),
            Self::One(cell) => state.all = Some(of_words(&cell.words())),
            Self::Gate(gate) => state.all = Some(gate.lock().view().into()),
            Self::Keyed(table) => {
                (state.keys, state.keys_forgotten) = table.counts();
                table.visit(|name, words| show(&mut state.top, name, of_words(words)));
            }
            Self::Gates(gates) => gates.visit(|name, view| {
                state.keys += 1;
                show(&mut state.top, name, view.into());
            }),
        }
        state
    }
}

impl Core {
    /// How it stands for one key, if it is remembered; for all, where there are no keys.
    pub(super) fn state_of(
        &self,
        rules: &Rules,
        key: &[u8],
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Option<KeyState> {
        let mut found = None;
        match self {
            Self::Bucket(_) | Self::One(_) | Self::Gate(_) => return self.state(rules, shared, now).all,
            Self::Keyed(table) => table.visit(|name, words| {
                if name == key {
                    found = Some(KeyState::of_rates(rules, words, shared, now));
                }
            }),
            Self::Gates(gates) => gates.visit(|name, view| {
                if name == key {
                    found = Some(view.into());
                }
            }),
        }
        found
    }

    pub(super) fn has_no_place_for(&self, rules: &Rules, key: &[u8]) -> bool {
        matches!(self, Self::Gates(gates) if gates.has_no_place_for(rules.hasher.hash(key)))
    }

    /// What is left of each rate for a key, which is looked for by its hash.
    pub(super) fn quotas(
        &self,
        rules: &Rules,
        key: &[u8],
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Vec<Quota> {
        let Some(scheme) = &rules.scheme else { return Vec::new() };
        let of_words = |words: &[u64]| scheme.quotas(words, shared, now);
        match self {
            Self::Bucket(bucket) => of_words(&[bucket.tat()]),
            Self::One(cell) => of_words(&cell.words()),
            Self::Keyed(table) => of_words(&table.words(rules.hasher.hash(key))),
            Self::Gate(_) | Self::Gates(_) => Vec::new(),
        }
    }
}

impl KeyState {
    fn of_rates(rules: &Rules, words: &[u64], shared: Option<&Moment>, now: Nanos) -> Self {
        let quotas =
            rules.scheme.as_ref().map(|scheme| scheme.quotas(words, shared, now)).unwrap_or_default();
        let is_paced = matches!(rules.scheme, Some(Scheme::Slots { paced: true, .. }));
        // The turn comes where the last slot of all rates has ended.
        let turn = is_paced.then(|| quotas.iter().map(|quota| quota.reset).max().unwrap_or_default());
        Self {
            quotas,
            turn,
            speed: rules.scheme.as_ref().and_then(|scheme| scheme.speed(words, now)),
            ..Self::default()
        }
    }
}

/// A key as people read it. Each of its parts ends with a byte 0.
fn parts(key: &[u8]) -> String {
    let key = key.strip_suffix(b"\0").unwrap_or(key);
    let shown = key.split(|byte| *byte == 0).map(|part| match part {
        [] => "\"\"".to_owned(),
        part => part.escape_ascii().to_string(),
    });
    shown.collect::<Vec<String>>().join(", ")
}

/// Puts a key among those shown if it belongs there.
fn show(top: &mut Vec<(Box<[u8]>, KeyState)>, name: &[u8], state: KeyState) {
    let at = top.partition_point(|(_, other)| other.used() >= state.used());
    if at < KEYS_SHOWN_MAX {
        top.truncate(KEYS_SHOWN_MAX - 1);
        top.insert(at.min(top.len()), (name.into(), state));
    }
}

impl fmt::Display for LimitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm)?;
        if let Some(hold) = &self.hold {
            write!(f, ", {hold}")?;
        }
        if let Some(all) = &self.all {
            return write!(f, ": {all}");
        }
        write!(f, ": {}, {} forgotten", Counted(self.keys, "key"), self.keys_forgotten)
    }
}

impl fmt::Display for WithKeys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        for (name, state) in &self.0.top {
            write!(f, "\n  {}: {state}", parts(name))?;
        }
        Ok(())
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, quota) in self.quotas.iter().enumerate() {
            let also = if at == 0 { "" } else { "; " };
            match self.turn {
                // What is left of these are places to wait in.
                Some(_) => {
                    let Quota { limit, window, remaining, .. } = quota;
                    write!(f, "{also}{limit} in {window:?}, room for {remaining} more")?;
                }
                None => write!(f, "{also}{quota}")?,
            }
        }
        if let Some(turn) = self.turn.filter(|turn| !turn.is_zero()) {
            write!(f, ", the next one's turn in {}", Rounded(turn))?;
        }
        if let Some(speed) = self.speed {
            write!(f, ", at {:.0} % of the full rate", speed * 100.0)?;
        }
        if let Some((in_flight, limit)) = self.in_flight {
            write!(f, "{in_flight} in flight of {limit}, {} waiting", self.waiting)?;
        }
        if let Some(found) = self.found {
            write!(f, ", found {found:.1}")?;
        }
        if let Some(open) = self.open {
            write!(f, ", open to {:.0} % of importance", open * 100.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_by_their_parts() {
        let check = |key: &[u8], expected: &str| assert_eq!(parts(key), expected);
        check(b"z1\0", "z1");
        check(b"z1\0GET\0", "z1, GET");
        check(b"\0GET\0", "\"\", GET");
        check(b"z1\0\0", "z1, \"\"");
        check(b"\0", "\"\"");
        check(b"z\xff", "z\\xff");
    }

    #[test]
    fn a_single_key_is_no_keys() {
        let state = |keys| LimitState {
            algorithm: "token_bucket",
            all: None,
            keys,
            keys_forgotten: 0,
            top: Vec::new(),
            hold: None,
        };
        assert_eq!(state(1).to_string(), "token_bucket: 1 key, 0 forgotten");
        assert_eq!(state(2).to_string(), "token_bucket: 2 keys, 0 forgotten");
    }
}
