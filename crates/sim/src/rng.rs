//! Chance that is the same on every machine and with every version of every library: xoshiro256++ (Blackman and Vigna,
//! "Scrambled Linear Pseudorandom Number Generators", 2021), seeded by splitmix64 (Steele, Lea and Flood, 2014).
//!
//! Each actor of a world has a stream of its own, so that what one of them draws does not change what the others see:
//! with the same seed the same clients send at the same moments, whatever the policy under test.

use std::convert::Infallible;

use rand::rand_core::TryRng;

/// One stream of chance.
#[derive(Clone, Debug)]
pub struct Stream {
    state: [u64; 4],
}

/// Who draws from a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// When the clients of a group send.
    Arrivals,
    /// What the clients of a group do: thinking, backing off, what they ask for.
    Clients,
    /// The policies of a proxy.
    Proxy,
    /// The network between a proxy and the servers.
    Network,
    /// The work of a server.
    Server,
}

impl Stream {
    /// The stream of the actor with a number, in the world with a seed.
    pub fn new(seed: u64, actor: Actor, number: u64) -> Self {
        let mut state = splitmix(&mut (seed ^ splitmix(&mut ((actor as u64 + 1) << 56 | number))));
        Self::from_state(std::array::from_fn(|_| splitmix(&mut state)))
    }

    /// The stream in a given state; not all of it may be zero.
    pub const fn from_state(state: [u64; 4]) -> Self {
        Self { state }
    }

    /// The next 64 bits.
    #[inline]
    pub const fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Evenly from (0, 1]: never zero, so that its logarithm is finite.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Whether something of this probability happens.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() <= probability
    }

    /// Evenly from 0 to below `end`, which is not 0 (Lemire's multiplication; its bias is below 2^-32 for ends of 32 bits).
    #[inline]
    pub fn below(&mut self, end: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u32
    }
}

/// The next number of splitmix64.
const fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl TryRng for Stream {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the authors' own C code from the state 1, 2, 3, 4.
    #[test]
    fn draws_what_the_reference_draws() {
        let mut stream = Stream::from_state([1, 2, 3, 4]);
        let drawn: Vec<u64> = (0..4).map(|_| stream.next()).collect();
        assert_eq!(drawn, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
        let mut state = 1_234_567;
        let mixed: Vec<u64> = (0..3).map(|_| splitmix(&mut state)).collect();
        assert_eq!(mixed, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn streams_differ_by_actor_number_and_seed() {
        let first = |seed, actor, number| Stream::new(seed, actor, number).next();
        let mut drawn = vec![
            first(1, Actor::Arrivals, 0),
            first(2, Actor::Arrivals, 0),
            first(1, Actor::Arrivals, 1),
            first(1, Actor::Server, 0),
        ];
        assert_eq!(first(1, Actor::Arrivals, 0), drawn[0]);
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 4);
    }

    #[test]
    fn numbers_stay_in_their_ranges() {
        let mut stream = Stream::new(3, Actor::Network, 0);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            let unit = stream.unit();
            assert!(unit > 0.0 && unit <= 1.0);
            seen[stream.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert!(!stream.chance(0.0) && stream.chance(1.0));
    }
}
