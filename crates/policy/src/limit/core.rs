//! What a limiter's clones share: one word, the words of one or of many keys, or gates.

use std::sync::Weak;
use std::time::Duration;

use super::carry::Carry;
use super::cell::Cell;
use super::config::{Algorithm, LimitConfig, RATES_MAX, RateConfig};
use super::few::{
    Few, TakenFew, of_pace, of_two_paces, of_two_windows, of_warmth, of_window, take_pace, take_two_paces,
    take_two_windows, take_warmth, take_window,
};
use super::forms::Forms;
use super::gate::{Gate, GateVerdict};
use super::gates::Gates;
use super::hash::Hasher;
use super::hold::Moment;
use super::latch::Latch;
use super::pace::{Bucket, Pace};
use super::scheme::{Denied, Scheme, Taken, WORDS_MAX};
use super::table::Table;
use super::verdict::{Grant, Held, Outcome, Quota, Refusal, Request, Ticket, Verdict, Wake, Why};
use crate::time::Nanos;

/// A configuration, ready to be decided by.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) config: LimitConfig,
    pub(super) scheme: Option<Scheme>,
    /// Whether requests wait for their turn.
    paced: bool,
    pub(super) hasher: Hasher,
    pub(super) seed: u64,
    /// Which of the limit's forms it is: what was taken from another cannot be given back.
    pub(super) version: u32,
    /// Who knows the newest form.
    forms: Weak<Forms>,
}

/// The state of a limit.
#[derive(Debug)]
pub(super) enum Core {
    /// One rate for everybody, of slots.
    Bucket(Bucket),
    /// Rates for everybody.
    One(Cell),
    /// Rates for each key.
    Keyed(Table),
    /// So many at once.
    Gate(Latch<Gate>),
    /// So many at once of each key.
    Gates(Gates),
}

impl Rules {
    pub(super) fn new(config: LimitConfig, seed: u64, version: u32, forms: Weak<Forms>) -> Self {
        let scheme = Scheme::new(&config.algorithm);
        let paced = matches!(config.algorithm, Algorithm::LeakyBucket { .. });
        Self { config, scheme, paced, hasher: Hasher::new(seed), seed, version, forms }
    }

    /// The one pace, if a bucket is all that is needed.
    fn single(&self) -> Option<&Pace> {
        match &self.scheme {
            Some(Scheme::Slots { paces, .. }) if self.config.is_of_one() && paces.len() == 1 => paces.first(),
            _ => None,
        }
    }

    /// The rates that count.
    pub(super) fn rates(&self) -> &[RateConfig] {
        let rates = self.config.algorithm.rates();
        &rates[..rates.len().min(RATES_MAX)]
    }

    /// The paces of slots.
    pub(super) fn paces(&self) -> &[Pace] {
        self.scheme.as_ref().map(Scheme::paces).unwrap_or_default()
    }

    pub(super) fn keys_max(&self) -> usize {
        usize::try_from(self.config.keys_max).unwrap_or(usize::MAX)
    }

    fn admitted(&self, key: u64, taken: Taken) -> Verdict {
        let grant = Grant { held: Held::Marks { key, marks: taken.marks, version: self.version } };
        if self.paced {
            Verdict::Turn(grant, taken.turn, taken.quota)
        } else {
            Verdict::Admit(grant, Some(taken.quota))
        }
    }

    /// What few rates have decided.
    #[inline(always)]
    fn decided(
        &self,
        decided: Option<Result<TakenFew, Denied>>,
        request: &Request<'_>,
        now: Nanos,
    ) -> Verdict {
        match decided {
            Some(Ok(TakenFew { mark, quota })) => {
                let held = Held::Slot { slot: mark, version: self.version };
                Verdict::Admit(Grant { held }, Some(quota))
            }
            Some(Err(denied)) => self.denied(&denied),
            None => self.decide_elsewhere(request, now),
        }
    }

    /// What the form decides that the state has gone over to.
    #[cold]
    #[inline(never)]
    pub(super) fn decide_elsewhere(&self, request: &Request<'_>, now: Nanos) -> Verdict {
        match self.forms.upgrade() {
            // Rates wake nobody.
            Some(forms) => forms.form_of(self.hash(request)).admit(request, now, &mut Vec::new()),
            // Nobody has the limit any more.
            None => self.denied(&Denied { retry_after: Duration::ZERO, quota: Quota::MOST }),
        }
    }

    fn hash(&self, request: &Request<'_>) -> u64 {
        if self.config.is_keyed() { self.hasher.hash(request.key) } else { 0 }
    }

    /// What a bucket says that has refused, or is over.
    #[cold]
    fn denied_by(
        &self,
        bucket: &Bucket,
        pace: &Pace,
        retry_after: Duration,
        request: &Request<'_>,
        now: Nanos,
    ) -> Verdict {
        if bucket.is_over() {
            return self.decide_elsewhere(request, now);
        }
        self.denied(&Denied { retry_after, quota: pace.quota(bucket.tat(), now) })
    }

    /// What the few rates of a key decide.
    #[inline]
    fn decide_few(
        &self,
        table: &Table,
        scheme: &Scheme,
        few: Few<'_>,
        key: (u64, &[u8]),
        now: Nanos,
    ) -> Verdict {
        let asked = Asked { rules: self, table, scheme, key, now };
        let admit = |taken| self.admitted_few(key.0, taken);
        match few {
            Few::Pace(pace) => {
                asked.decide(|words| take_pace(pace, words, now), |slot| admit(of_pace(pace, slot, now)))
            }
            Few::Turn(pace) => asked.decide(
                |words| take_pace(pace, words, now),
                |slot| self.turn_few(key.0, of_pace(pace, slot, now)),
            ),
            Few::Paces(paces) => asked.decide(
                |words| take_two_paces(paces, words, now),
                |ends| admit(of_two_paces(paces, ends, now)),
            ),
            Few::Window(window) => asked
                .decide(|words| take_window(window, words, now), |counted| admit(of_window(window, counted))),
            Few::Windows(windows) => asked.decide(
                |words| take_two_windows(windows, words, now),
                |counted| admit(of_two_windows(windows, counted)),
            ),
            Few::Warm(pace, climb) => asked.decide(
                |words| take_warmth(pace, climb, words, now),
                |warmed| admit(of_warmth(pace, climb, warmed, now)),
            ),
        }
    }

    #[inline]
    fn admitted_few(&self, key: u64, TakenFew { mark, quota }: TakenFew) -> Verdict {
        let held = Held::KeySlot { key, slot: mark, version: self.version };
        Verdict::Admit(Grant { held }, Some(quota))
    }

    #[inline]
    fn turn_few(&self, key: u64, TakenFew { mark, quota }: TakenFew) -> Verdict {
        let held = Held::KeySlot { key, slot: mark, version: self.version };
        Verdict::Turn(Grant { held }, Nanos(mark.start), quota)
    }

    /// What any rates of a key decide.
    #[inline(never)]
    fn decide_any(
        &self,
        table: &Table,
        scheme: &Scheme,
        key: (u64, &[u8]),
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Verdict {
        match table.take(scheme, key, shared, now) {
            Some(Ok(taken)) => self.admitted(key.0, taken),
            Some(Err(denied)) => self.denied(&denied),
            None => self.decide_elsewhere(&Request { key: key.1, level: 0 }, now),
        }
    }

    #[cold]
    fn denied(&self, denied: &Denied) -> Verdict {
        let why = if self.paced { Why::Turn } else { Why::Rate };
        Verdict::Refuse(Refusal { why, retry_after: denied.retry_after, quota: Some(denied.quota) })
    }
}

/// One request with a key.
struct Asked<'a> {
    rules: &'a Rules,
    table: &'a Table,
    scheme: &'a Scheme,
    key: (u64, &'a [u8]),
    now: Nanos,
}

impl Asked<'_> {
    /// Decides by few rates: takes what it needs while it has the words, and makes a verdict of that when others may have
    /// them.
    #[inline(always)]
    fn decide<const WIDTH: usize, T>(
        self,
        take: impl FnOnce(&mut [u64; WIDTH]) -> Result<T, Denied>,
        admit: impl FnOnce(T) -> Verdict,
    ) -> Verdict {
        let Self { rules, table, scheme, key, now } = self;
        match table.decide(key.0, take) {
            Some(Ok(taken)) => admit(taken),
            Some(Err(denied)) => rules.denied(&denied),
            None => rules.decide_any(table, scheme, key, None, now),
        }
    }
}

impl Core {
    pub(super) fn new(rules: &Rules) -> Self {
        match &rules.scheme {
            Some(_) if rules.single().is_some() => Self::Bucket(Bucket::default()),
            Some(scheme) if rules.config.is_keyed() => Self::Keyed(Table::new(scheme, rules.keys_max())),
            Some(_) => Self::One(Cell::default()),
            None if rules.config.is_keyed() => Self::Gates(Gates::new(&rules.config)),
            None => Self::Gate(Latch::new(Gate::new(&rules.config.algorithm))),
        }
    }

    #[inline]
    pub(super) fn admit(
        &self,
        rules: &Rules,
        request: &Request<'_>,
        shared: Option<&Moment>,
        now: Nanos,
        wakes: &mut Vec<Wake>,
    ) -> Verdict {
        match (self, &rules.scheme) {
            (Self::Bucket(bucket), Some(Scheme::Slots { paces, .. })) => {
                admit_one(bucket, &paces[0], rules, request, now)
            }
            (Self::One(cell), Some(scheme)) => match scheme.few() {
                Some(Few::Window(window)) => {
                    let decided = cell.decide(|words| {
                        take_window(window, words, now).map(|counted| of_window(window, counted))
                    });
                    rules.decided(decided, request, now)
                }
                Some(Few::Windows(windows)) => {
                    let decided = cell.decide(|words| {
                        take_two_windows(windows, words, now).map(|counted| of_two_windows(windows, counted))
                    });
                    rules.decided(decided, request, now)
                }
                Some(Few::Warm(pace, climb)) => {
                    let decided = cell.decide(|words| {
                        take_warmth(pace, climb, words, now).map(|warmed| of_warmth(pace, climb, warmed, now))
                    });
                    rules.decided(decided, request, now)
                }
                Some(Few::Paces(paces)) if shared.is_none() && cell.keeps_none() => {
                    let decided = cell.decide(|words| {
                        take_two_paces(paces, words, now).map(|ends| of_two_paces(paces, ends, now))
                    });
                    rules.decided(decided, request, now)
                }
                _ => match cell.take(scheme, shared, now) {
                    Some(Ok(taken)) => rules.admitted(0, taken),
                    Some(Err(denied)) => rules.denied(&denied),
                    None => rules.decide_elsewhere(request, now),
                },
            },
            (Self::Keyed(table), Some(scheme)) => {
                let key = (rules.hasher.hash(request.key), request.key);
                match scheme.few() {
                    Some(few) if shared.is_none() => rules.decide_few(table, scheme, few, key, now),
                    _ => rules.decide_any(table, scheme, key, shared, now),
                }
            }
            (Self::Gate(gate), _) => {
                let may_wait = !rules.config.shadow;
                gate_verdict(gate.lock().admit(0, request.level, may_wait, now, wakes), 0)
            }
            (Self::Gates(gates), _) => {
                let hash = rules.hasher.hash(request.key);
                gate_verdict(gates.admit(hash, request, !rules.config.shadow, now, wakes), hash)
            }
            // Cores are made of rules, and carried on only to rules of their kind.
            (Self::Bucket(_) | Self::One(_) | Self::Keyed(_), _) => unreachable!("rates need a scheme"),
        }
    }

    /// What was in flight is not any more. Without an outcome it did not go on.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "whoever gives it back has it no more")]
    pub(super) fn release(&self, grant: Grant, outcome: Option<Outcome>, now: Nanos, wakes: &mut Vec<Wake>) {
        let Held::Place { key, place } = grant.held else { return };
        match self {
            Self::Gate(gate) => gate.lock().release(key, place, outcome, now, wakes),
            Self::Gates(gates) => gates.release(key, place, outcome, now, wakes),
            Self::Bucket(_) | Self::One(_) | Self::Keyed(_) => {}
        }
    }

    pub(super) fn refund(&self, rules: &Rules, grant: Grant, now: Nanos, wakes: &mut Vec<Wake>) {
        match (self, &rules.scheme, grant.held) {
            (Self::Bucket(bucket), _, Held::Slot { slot, version }) if version == rules.version => {
                bucket.give_back(slot, now);
            }
            (Self::One(cell), Some(scheme), Held::Marks { marks, version, .. })
                if version == rules.version =>
            {
                cell.give_back(scheme, &marks, now);
            }
            (Self::One(cell), Some(scheme), Held::Slot { slot, version }) if version == rules.version => {
                cell.give_back(scheme, &scheme.marks(slot), now);
            }
            (Self::Keyed(table), Some(scheme), Held::Marks { key, marks, version })
                if version == rules.version =>
            {
                table.give_back(scheme, key, &marks, now);
            }
            (Self::Keyed(table), Some(scheme), Held::KeySlot { key, slot, version })
                if version == rules.version =>
            {
                table.give_back(scheme, key, &scheme.marks(slot), now);
            }
            (_, _, held) => self.release(Grant { held }, None, now, wakes),
        }
    }

    pub(super) fn cancel(&self, ticket: Ticket, now: Nanos) -> bool {
        match self {
            Self::Gate(gate) => gate.lock().cancel(ticket, now),
            Self::Gates(gates) => gates.cancel(ticket, now),
            Self::Bucket(_) | Self::One(_) | Self::Keyed(_) => false,
        }
    }

    /// Goes on by rules that differ in nothing that matters to the state of rates; false if gates cannot.
    pub(super) fn keep_on(&self, new: &Rules, now: Nanos, wakes: &mut Vec<Wake>) -> bool {
        match (self, &new.scheme) {
            (Self::Gate(gate), _) => return gate.lock().carry(0, &new.config.algorithm, now, wakes),
            (Self::Gates(gates), _) => return gates.carry(&new.config, now, wakes),
            (Self::Keyed(table), Some(scheme)) => table.resize(scheme, new.keys_max(), now),
            (Self::Bucket(_) | Self::One(_) | Self::Keyed(_), _) => {}
        }
        true
    }

    /// A core by other rules, to which the state of one can go over.
    pub(super) fn after(old: &Self, rules: &Rules) -> Self {
        match (old, &rules.scheme) {
            (Self::Keyed(table), Some(scheme)) => Self::Keyed(Table::after(table, scheme, rules.keys_max())),
            _ => Self::new(rules),
        }
    }

    /// The state of rates goes over to a core that was made for it.
    pub(super) fn hand_over(&self, to: &Self, carry: &Carry<'_>, keys_max: usize) {
        let words = match (self, to) {
            (Self::Keyed(table), Self::Keyed(to)) => return table.hand_over(to, carry, keys_max),
            (Self::Bucket(bucket), _) => carry.all_words(&[bucket.end()]),
            (Self::One(cell), _) => carry.all_words(&cell.end()),
            (Self::Keyed(_) | Self::Gate(_) | Self::Gates(_), _) => [0; WORDS_MAX],
        };
        match to {
            Self::Bucket(bucket) => bucket.begin(words[0]),
            Self::One(cell) => cell.begin(&words),
            Self::Keyed(_) | Self::Gate(_) | Self::Gates(_) => {}
        }
    }

    /// Whether the state of rates has gone over to another core.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.is_over(),
            Self::One(cell) => cell.is_over(),
            Self::Keyed(table) => table.is_over(),
            Self::Gate(_) | Self::Gates(_) => false,
        }
    }

    /// Whether that of a key has, by its hash.
    pub(super) fn is_over_for(&self, key: u64) -> bool {
        match self {
            Self::Keyed(table) => table.is_over_for(key),
            other => other.is_over(),
        }
    }
}

#[inline]
fn admit_one(bucket: &Bucket, pace: &Pace, rules: &Rules, request: &Request<'_>, now: Nanos) -> Verdict {
    match bucket.take(pace, now) {
        Ok(slot) => {
            let grant = Grant { held: Held::Slot { slot, version: rules.version } };
            let quota = pace.quota(slot.end, now);
            if rules.paced {
                Verdict::Turn(grant, Nanos(slot.start), quota)
            } else {
                Verdict::Admit(grant, Some(quota))
            }
        }
        Err(retry_after) => rules.denied_by(bucket, pace, retry_after, request, now),
    }
}

fn gate_verdict(verdict: GateVerdict, key: u64) -> Verdict {
    match verdict {
        GateVerdict::Admit(place) => Verdict::Admit(Grant { held: Held::Place { key, place } }, None),
        GateVerdict::Wait(ticket, deadline) => Verdict::Wait(ticket, deadline),
        GateVerdict::Refuse(refusal) => Verdict::Refuse(refusal),
    }
}
