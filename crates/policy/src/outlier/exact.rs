//! Fisher's exact test: how likely it is that an endpoint has so many failures if it is no worse than the others.
//!
//! Given how many calls failed in all, the failures of one endpoint are distributed hypergeometrically, whatever the true
//! share is: nothing has to be estimated, so that the test holds for few calls too. (R. A. Fisher, "The Design of
//! Experiments", 1935.) Point probabilities by C. Loader, "Fast and Accurate Computation of Binomial Probabilities"
//! (2000), which cancels nothing; tails by the ratio of neighbouring terms.

/// ln(n!) less Stirling's formula, for 0 to 15.
const STIRLING_ERROR: [f64; 16] = [
    0.0,
    0.08106146679532726,
    0.0413406959554093,
    0.02767792568499834,
    0.020790672103765093,
    0.016644691189821193,
    0.013876128823070748,
    0.01189670994589177,
    0.010411265261972096,
    0.009255462182712733,
    0.00833056343336287,
    0.007573675487951841,
    0.00694284010720953,
    0.006408994188004207,
    0.0059513701127588475,
    0.005554733551962801,
];

/// Terms below this part of a sum do not change it.
const NEGLIGIBLE: f64 = 1e-17;

/// The natural logarithm of the probability that of `calls` at least `failures` failed, if of all calls, which are
/// these and `others_calls`, the failed ones are spread by chance. Neither count of failures is above that of its calls.
///
/// It is exact to some 1e-12 of the probability for counts up to 10^10, and takes about six standard deviations' worth
/// of steps at most.
pub fn ln_tail(failures: u64, calls: u64, others_failures: u64, others_calls: u64) -> f64 {
    let table = Table {
        drawn: calls as f64,
        marked: (failures + others_failures) as f64,
        all: (calls + others_calls) as f64,
    };
    if failures == 0 {
        return 0.0;
    }
    let failures = failures as f64;
    if failures * table.all > table.drawn * table.marked {
        return (table.ln_point(failures) + table.upward(failures).ln()).min(0.0);
    }
    // Below the mean the other tail is the smaller one.
    let below = failures - 1.0;
    if below < table.least() {
        return 0.0;
    }
    (-(table.ln_point(below) + table.downward(below).ln()).exp()).ln_1p().min(0.0)
}

/// A hypergeometric distribution: how many of the drawn are marked.
struct Table {
    drawn: f64,
    marked: f64,
    all: f64,
}

impl Table {
    const fn least(&self) -> f64 {
        (self.drawn + self.marked - self.all).max(0.0)
    }

    fn ln_point(&self, hits: f64) -> f64 {
        let (share, rest) = (self.drawn / self.all, (self.all - self.drawn) / self.all);
        ln_binomial(hits, self.marked, share, rest)
            + ln_binomial(self.drawn - hits, self.all - self.marked, share, rest)
            - ln_binomial(self.drawn, self.all, share, rest)
    }

    /// The probability of so many or more, as a multiple of that of so many.
    fn upward(&self, from: f64) -> f64 {
        let most = self.drawn.min(self.marked);
        let rest = self.all - self.marked - self.drawn;
        let (mut hits, mut term, mut sum) = (from, 1.0, 1.0);
        while hits < most && term > sum * NEGLIGIBLE {
            term *= (self.drawn - hits) * (self.marked - hits) / ((hits + 1.0) * (rest + hits + 1.0));
            sum += term;
            hits += 1.0;
        }
        sum
    }

    /// The probability of so many or fewer, as a multiple of that of so many.
    fn downward(&self, from: f64) -> f64 {
        let least = self.least();
        let rest = self.all - self.marked - self.drawn;
        let (mut hits, mut term, mut sum) = (from, 1.0, 1.0);
        while hits > least && term > sum * NEGLIGIBLE {
            term *= hits * (rest + hits) / ((self.drawn - hits + 1.0) * (self.marked - hits + 1.0));
            sum += term;
            hits -= 1.0;
        }
        sum
    }
}

/// The logarithm of the probability of `hits` in `n` draws with probability `p`, and `q` = 1 - `p`.
fn ln_binomial(hits: f64, n: f64, p: f64, q: f64) -> f64 {
    if n == 0.0 || (p == 0.0 && hits == 0.0) || (q == 0.0 && hits == n) {
        return 0.0;
    }
    if hits == 0.0 {
        return if p < 0.1 { n * (-p).ln_1p() } else { n * q.ln() };
    }
    if hits == n {
        return if q < 0.1 { n * (-q).ln_1p() } else { n * p.ln() };
    }
    let misses = n - hits;
    stirling_error(n)
        - stirling_error(hits)
        - stirling_error(misses)
        - deviance(hits, n * p)
        - deviance(misses, n * q)
        - 0.5 * (std::f64::consts::TAU * hits * (misses / n)).ln()
}

/// ln(n!) - ((n + 1/2) ln n - n + ln sqrt(2 pi)).
fn stirling_error(n: f64) -> f64 {
    if n < STIRLING_ERROR.len() as f64 {
        // A whole number that is small enough.
        return STIRLING_ERROR[n as usize];
    }
    let square = n * n;
    let terms = [1.0 / 1188.0, 1.0 / 1680.0, 1.0 / 1260.0, 1.0 / 360.0, 1.0 / 12.0];
    terms.into_iter().reduce(|series, term| term - series / square).unwrap_or_default() / n
}

/// x ln(x / mean) + mean - x, without loss where the two are close.
fn deviance(x: f64, mean: f64) -> f64 {
    let difference = x - mean;
    if difference.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() - difference;
    }
    let ratio = difference / (x + mean);
    let mut sum = difference * ratio;
    let mut term = 2.0 * x * ratio;
    let mut odd = 1.0;
    loop {
        term *= ratio * ratio;
        odd += 2.0;
        let next = sum + term / odd;
        // The ratio is below a tenth: each term is less than a hundredth of the last.
        if next == sum {
            return sum;
        }
        sum = next;
    }
}
