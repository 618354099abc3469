//! Faults made on purpose: requests that wait, and requests that fail.

use std::time::Duration;

use rand::Rng;

use super::Share;

/// What is made to fail, and how often. Both are drawn one by one: a request may wait and then fail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    /// How long how many wait.
    pub delay: Option<(Duration, Share)>,
    /// How how many are answered.
    pub abort: Option<(Abort, Share)>,
}

/// The answer to a request that is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// A status of HTTP.
    Http(u16),
    /// A status of gRPC.
    Grpc(u32),
}

impl Fault {
    /// What happens to one request: how long it waits, and how it is answered, if it is.
    pub fn draw(&self, rng: &mut impl Rng) -> (Duration, Option<Abort>) {
        let delay =
            self.delay.filter(|(_, share)| share.draw(rng)).map_or(Duration::ZERO, |(delay, _)| delay);
        let abort = self.abort.filter(|(_, share)| share.draw(rng)).map(|(abort, _)| abort);
        (delay, abort)
    }
}

impl std::fmt::Display for Abort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(status) => write!(f, "{status}"),
            Self::Grpc(status) => write!(f, "gRPC status {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn delay_and_abort_are_drawn_one_by_one() {
        let delay = Duration::from_secs(1);
        let half = Share::new(1.0, 2.0);
        let fault = Fault { delay: Some((delay, half)), abort: Some((Abort::Http(503), half)) };
        let mut rng = SmallRng::seed_from_u64(3);
        let mut seen = [0u32; 4];
        for _ in 0..10_000 {
            let (waits, fails) = fault.draw(&mut rng);
            seen[usize::from(waits == delay) * 2 + usize::from(fails.is_some())] += 1;
        }
        assert!(seen.iter().all(|&count| count.abs_diff(2500) < 200), "{seen:?}");
        assert_eq!(Fault::default().draw(&mut rng), (Duration::ZERO, None));
    }
}
