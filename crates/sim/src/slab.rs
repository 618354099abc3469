//! Things by number, in one piece of memory that is used again: what a world creates a million times a second.

/// Things by number.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// Takes a thing in and tells its number, which is one that was given back where there is one.
    #[inline]
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.entries[number as usize] = entry;
            return number;
        }
        let number = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        assert!(number != u32::MAX, "more than four billion things at once");
        self.entries.push(entry);
        number
    }

    /// Gives a number back. What stood there stays readable until the number is used again.
    #[inline]
    pub(crate) fn remove(&mut self, number: u32) {
        debug_assert!((number as usize) < self.entries.len());
        self.free.push(number);
    }

    /// The numbers that may be in use, those that were given back among them.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        &self.entries[number as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.entries[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again() {
        let mut slab = Slab::new();
        assert_eq!([slab.insert('a'), slab.insert('b'), slab.insert('c')], [0, 1, 2]);
        slab.remove(1);
        assert_eq!(slab.len(), 2);
        assert_eq!(slab.insert('d'), 1);
        assert_eq!((slab[0], slab[1], slab[2], slab.len()), ('a', 'd', 'c', 3));
    }
}
