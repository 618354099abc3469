//! A share of requests, drawn by chance.

use rand::Rng;

/// How many of the requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(f64);

impl Share {
    /// All of them.
    pub const ALL: Self = Self(1.0);

    /// `part` of `whole`; all when it is not less, none when there is no whole.
    pub fn new(part: f64, whole: f64) -> Self {
        let share = part / whole;
        Self(if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 })
    }

    /// Whether it is this one's turn. Draws no number when there is no choice.
    pub fn draw(self, rng: &mut impl Rng) -> bool {
        // A double holds 53 random bits, evenly spread over [0, 1).
        self.0 >= 1.0 || (self.0 > 0.0 && ((rng.next_u64() >> 11) as f64) < self.0 * (1u64 << 53) as f64)
    }

    /// Of a hundred.
    pub fn percent(self) -> f64 {
        self.0 * 100.0
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Enough for what people write, without the noise of binary fractions.
        write!(f, "{} %", (self.percent() * 1e6).round() / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn draws_converge_to_the_share() {
        let mut rng = SmallRng::seed_from_u64(7);
        for (part, whole) in
            [(0.0, 100.0), (1.0, 1000.0), (20.0, 100.0), (50.0, 100.0), (100.0, 100.0), (3.0, 2.0)]
        {
            let share = Share::new(part, whole);
            let hits = (0..100_000).filter(|_| share.draw(&mut rng)).count();
            assert!((hits as f64 / 1000.0 - share.percent()).abs() < 0.5, "{part} of {whole}: {hits}");
        }
        assert!((0..1000).all(|_| Share::ALL.draw(&mut rng)));
        assert!(!(0..1000).any(|_| Share::new(0.0, 1.0).draw(&mut rng)));
        assert_eq!(Share::new(1.0, 0.0), Share::new(0.0, 1.0));
        assert_eq!(Share::new(1.0, 3.0).to_string(), "33.333333 %");
        assert_eq!(Share::new(20.0, 100.0).to_string(), "20 %");
    }
}
