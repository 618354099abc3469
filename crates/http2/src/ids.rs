//! Which slot a stream's number has: a small table with open addressing, as a connection's streams come and go in order.

/// Stream numbers and their slots.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// A power of two, or none at all. A number of 0 is a free place: that is the connection's.
    places: Vec<(u32, u32)>,
    len: usize,
}

impl Ids {
    /// The slot of a stream.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<u32> {
        self.find(id).map(|at| self.places[at].1)
    }

    #[inline]
    fn find(&self, id: u32) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let mut at = self.home(id);
        // It is never more than half full, so there is a free place to stop at.
        loop {
            match self.places[at].0 {
                0 => return None,
                found if found == id => return Some(at),
                _ => at = (at + 1) & (self.places.len() - 1),
            }
        }
    }

    /// A side's numbers are every second one.
    #[inline]
    fn home(&self, id: u32) -> usize {
        (id >> 1) as usize & (self.places.len() - 1)
    }

    /// Notes a stream that is not noted. `id` is not 0.
    pub(crate) fn insert(&mut self, id: u32, slot: u32) {
        debug_assert!(id != 0 && self.find(id).is_none());
        if 2 * (self.len + 1) > self.places.len() {
            self.grow();
        }
        self.put(id, slot);
        self.len += 1;
    }

    fn put(&mut self, id: u32, slot: u32) {
        let mut at = self.home(id);
        while self.places[at].0 != 0 {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = (id, slot);
    }

    fn grow(&mut self) {
        let size = (2 * self.places.len()).max(8);
        let before = std::mem::replace(&mut self.places, vec![(0, 0); size]);
        before.into_iter().filter(|place| place.0 != 0).for_each(|(id, slot)| self.put(id, slot));
    }

    /// Forgets a stream.
    pub(crate) fn remove(&mut self, id: u32) {
        let Some(mut hole) = self.find(id) else { return };
        self.len -= 1;
        let mask = self.places.len() - 1;
        let mut at = hole;
        loop {
            self.places[hole].0 = 0;
            // What stands behind moves up, unless it would come before its home.
            loop {
                at = (at + 1) & mask;
                let (found, slot) = self.places[at];
                if found == 0 {
                    return;
                }
                let from_home = at.wrapping_sub(self.home(found)) & mask;
                if from_home >= at.wrapping_sub(hole) & mask {
                    self.places[hole] = (found, slot);
                    hole = at;
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 1u32..60), 0..300)) {
            let (mut ids, mut model) = (Ids::default(), HashMap::new());
            for (number, (insert, id)) in steps.into_iter().enumerate() {
                if insert && !model.contains_key(&id) {
                    ids.insert(id, number as u32);
                    model.insert(id, number as u32);
                } else if !insert {
                    ids.remove(id);
                    model.remove(&id);
                }
                for id in 1..60 {
                    prop_assert_eq!(ids.get(id), model.get(&id).copied());
                }
                prop_assert!(ids.places.len() <= 256);
            }
        }
    }
}
