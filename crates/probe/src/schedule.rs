//! When to look at what: pure, driven by the caller's clock.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;
use weir_model::registry::CheckDefinition;

/// The shortest time between two looks at one check: a shorter interval would keep a core busy.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A check under schedule. The generation tells a look that began under an old definition from a new one.
#[derive(Debug)]
struct Slot {
    definition: CheckDefinition,
    generation: u64,
    /// When it is due; `None` while it is being looked at.
    due: Option<Instant>,
}

/// A look to take now.
#[derive(Debug)]
pub struct Look<K> {
    /// The check.
    pub check: K,
    /// How to look.
    pub definition: CheckDefinition,
    /// To be given back to [`Schedule::looked`].
    pub generation: u64,
}

/// The checks to look at, each with its time.
#[derive(Debug)]
pub struct Schedule<K> {
    slots: HashMap<K, Slot>,
    queue: BTreeSet<(Instant, K)>,
    generations: u64,
}

impl<K> Default for Schedule<K> {
    fn default() -> Self {
        Self { slots: HashMap::new(), queue: BTreeSet::new(), generations: 0 }
    }
}

impl<K: Clone + Ord + Hash> Schedule<K> {
    /// Adds a check, or gives it a new definition; first due at `due`.
    pub fn put(&mut self, check: K, definition: &CheckDefinition, due: Instant) {
        self.remove(&check);
        self.generations += 1;
        self.queue.insert((due, check.clone()));
        let slot = Slot { definition: definition.clone(), generation: self.generations, due: Some(due) };
        self.slots.insert(check, slot);
    }

    /// Forgets a check. A look under way is not scheduled again.
    pub fn remove(&mut self, check: &K) {
        if let Some(slot) = self.slots.remove(check)
            && let Some(due) = slot.due
        {
            self.queue.remove(&(due, check.clone()));
        }
    }

    /// When the next look is due.
    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The next look that is due. It is out of the queue until [`Schedule::looked`].
    pub fn take(&mut self, now: Instant) -> Option<Look<K>> {
        let (due, _) = self.queue.first()?;
        if *due > now {
            return None;
        }
        let (_, check) = self.queue.pop_first()?;
        let slot = self.slots.get_mut(&check)?;
        slot.due = None;
        Some(Look { check, definition: slot.definition.clone(), generation: slot.generation })
    }

    /// A look that began at `began` is over: the next one is due an interval after that, or now if that is past.
    pub fn looked(&mut self, check: &K, generation: u64, began: Instant, now: Instant) {
        let Some(slot) = self.slots.get_mut(check).filter(|slot| slot.generation == generation) else {
            return;
        };
        let due = (began + slot.definition.interval.0.max(INTERVAL_MIN)).max(now);
        slot.due = Some(due);
        self.queue.insert((due, check.clone()));
    }

    /// How many checks there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no check.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use weir_model::registry::CheckKind;
    use weir_model::units::Span;

    use super::*;

    fn definition(interval_ms: u64) -> CheckDefinition {
        CheckDefinition {
            kind: CheckKind::Tcp { address: "127.0.0.1:1".to_owned() },
            interval: Span(Duration::from_millis(interval_ms)),
            timeout: Span(Duration::from_secs(1)),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: None,
        }
    }

    fn check(id: &str) -> String {
        id.to_owned()
    }

    #[test]
    fn looks_come_due_by_interval() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut schedule = Schedule::default();
        schedule.put(check("a"), &definition(100), at(10));
        schedule.put(check("b"), &definition(100), at(5));
        assert_eq!(schedule.next(), Some(at(5)));
        assert!(schedule.take(at(4)).is_none());
        let b = schedule.take(at(10)).unwrap();
        let a = schedule.take(at(10)).unwrap();
        assert_eq!((&*b.check, &*a.check), ("b", "a"));
        assert!(schedule.take(at(1000)).is_none(), "both are being looked at");
        schedule.looked(&a.check, a.generation, at(10), at(20));
        // A look that took longer than the interval is followed by the next at once, not by several.
        schedule.looked(&b.check, b.generation, at(10), at(500));
        assert_eq!(schedule.next(), Some(at(110)));
        assert_eq!(&*schedule.take(at(500)).unwrap().check, "a");
        assert_eq!(&*schedule.take(at(500)).unwrap().check, "b");
    }

    #[test]
    fn a_tiny_interval_is_stretched() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.put(check("a"), &definition(0), start);
        let look = schedule.take(start).unwrap();
        schedule.looked(&look.check, look.generation, start, start);
        assert_eq!(schedule.next(), Some(start + INTERVAL_MIN));
    }

    #[test]
    fn a_new_definition_replaces_the_old_ones_time() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut schedule = Schedule::default();
        schedule.put(check("a"), &definition(100), start);
        let old = schedule.take(start).unwrap();
        schedule.put(check("a"), &definition(200), later);
        // The look under the old definition ends: nothing of it may stay.
        schedule.looked(&old.check, old.generation, start, start);
        assert_eq!((schedule.next(), schedule.queue.len(), schedule.len()), (Some(later), 1, 1));
    }

    #[test]
    fn what_is_gone_is_not_looked_at_again() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.put(check("a"), &definition(100), start);
        schedule.put(check("b"), &definition(100), start);
        let a = schedule.take(start).unwrap();
        schedule.remove(&a.check);
        schedule.looked(&a.check, a.generation, start, start);
        assert_eq!(schedule.len(), 1);
        assert_eq!(&*schedule.take(start).unwrap().check, "b");
        assert!(schedule.take(start).is_none());
    }
}
