//! Which endpoints a request has tried.

/// Most endpoints that are remembered. Above the most attempts a policy can ask for, so that none is forgotten.
pub const TRIED_MAX: usize = 16;

/// The endpoints that a request has tried, by index. Lives on the stack, never allocates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    indices: [u32; TRIED_MAX],
    count: u8,
}

impl Tried {
    /// Nothing tried.
    pub const fn none() -> Self {
        Self { indices: [0; TRIED_MAX], count: 0 }
    }

    /// Remembers an endpoint. Beyond [`TRIED_MAX`] it forgets nothing and remembers no more.
    pub fn add(&mut self, index: usize) {
        if usize::from(self.count) < TRIED_MAX
            && !self.has(index)
            && let Ok(index) = u32::try_from(index)
        {
            self.indices[usize::from(self.count)] = index;
            self.count += 1;
        }
    }

    /// Whether an endpoint was tried.
    pub fn has(&self, index: usize) -> bool {
        self.indices[..usize::from(self.count)].iter().any(|tried| *tried as usize == index)
    }

    /// How many were tried.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether none was tried.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_each_once_and_is_bounded() {
        let mut tried = Tried::none();
        assert!(tried.is_empty() && !tried.has(0));
        for index in [7, 7, 0, 7] {
            tried.add(index);
        }
        assert_eq!((tried.len(), tried.has(7), tried.has(0), tried.has(1)), (2, true, true, false));
        for index in 100..200 {
            tried.add(index);
        }
        assert_eq!((tried.len(), tried.has(113), tried.has(114)), (TRIED_MAX, true, false));
    }
}
