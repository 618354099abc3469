//! Lengths of time that differ by chance.

use serde::{Deserialize, Serialize};
use weir_model::document::DocumentError;
use weir_model::units::Span;

use crate::rng::Stream;

/// A length of time that differs by chance, never negative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Random {
    /// Always the same.
    Constant(Span),
    /// Exponential, with this mean.
    Exponential(Span),
    /// Normal, drawn again while it is negative: its mean is above the one that is written.
    Normal(Normal),
    /// The logarithm is normal.
    Lognormal(Lognormal),
    /// One of two.
    Bimodal(Bimodal),
    /// Heavy-tailed.
    Pareto(Pareto),
    /// Evenly between two.
    Uniform(Uniform),
}

/// A normal distribution, truncated at zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Normal {
    /// The mean before truncation.
    pub mean: Span,
    /// The standard deviation before truncation.
    pub deviation: Span,
}

/// A lognormal distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lognormal {
    /// The median.
    pub median: Span,
    /// The standard deviation of the logarithm.
    pub sigma: f64,
}

/// One of two lengths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bimodal {
    /// The usual one.
    pub fast: Span,
    /// The other one.
    pub slow: Span,
    /// The share of the other one.
    pub slow_ratio: f64,
}

/// A Pareto distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pareto {
    /// The least.
    pub least: Span,
    /// The shape; the mean is finite above 1.
    pub shape: f64,
}

/// Evenly between two lengths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uniform {
    /// The least.
    pub from: Span,
    /// The most.
    pub to: Span,
}

/// An error of something else where a distribution was wanted, with what is to be written instead; any other as it is.
pub(super) fn hinted(error: DocumentError) -> DocumentError {
    let wants_one = error.expected.as_deref().is_some_and(|expected| expected.starts_with(DISTRIBUTIONS));
    let written = error.message.strip_prefix("unknown value `").and_then(|rest| rest.strip_suffix('`'));
    if let Some(length) = written.filter(|text| wants_one && text.parse::<Span>().is_ok()) {
        let message = format!("`{length}` does not say how it is distributed");
        let expected =
            format!("`{{constant: {length}}}` where it is always the same; else {DISTRIBUTIONS}...");
        return DocumentError { message, expected: Some(expected), suggestion: None, ..error };
    }
    if error.expected.is_none() && error.message.contains(DISTRIBUTIONS) {
        return DocumentError {
            expected: Some("exactly one, such as `{constant: 10ms}`".to_owned()),
            ..error
        };
    }
    error
}

/// How the list of distributions begins where one of them was expected.
const DISTRIBUTIONS: &str = "one of `constant`, `exponential`, ";

/// The longest that is drawn, ten years: heavy tails must not overflow sums.
const NANOS_MAX: f64 = 3.2e17;

/// A distribution with its numbers worked out, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sampler {
    Constant(u64),
    Exponential(f64),
    Normal { mean: f64, deviation: f64 },
    Lognormal { median: f64, sigma: f64 },
    Bimodal { fast: u64, slow: u64, slow_ratio: f64 },
    Pareto { least: f64, exponent: f64 },
    Uniform { from: u64, width: u64 },
}

pub(crate) fn nanos(span: Span) -> u64 {
    u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX)
}

impl Random {
    pub(crate) fn sampler(&self) -> Sampler {
        let float = |span: Span| nanos(span) as f64;
        match self {
            Self::Constant(length) => Sampler::Constant(nanos(*length)),
            Self::Exponential(mean) => Sampler::Exponential(float(*mean)),
            Self::Normal(of) => Sampler::Normal { mean: float(of.mean), deviation: float(of.deviation) },
            Self::Lognormal(of) => Sampler::Lognormal { median: float(of.median), sigma: of.sigma },
            Self::Bimodal(of) => {
                Sampler::Bimodal { fast: nanos(of.fast), slow: nanos(of.slow), slow_ratio: of.slow_ratio }
            }
            Self::Pareto(of) => Sampler::Pareto { least: float(of.least), exponent: -1.0 / of.shape },
            Self::Uniform(of) => {
                Sampler::Uniform { from: nanos(of.from), width: nanos(of.to).saturating_sub(nanos(of.from)) }
            }
        }
    }
}

impl Sampler {
    #[inline]
    pub(crate) fn draw(&self, rng: &mut Stream) -> u64 {
        let nanos = match *self {
            Self::Constant(length) => return length,
            Self::Bimodal { fast, slow, slow_ratio } => {
                return if rng.chance(slow_ratio) { slow } else { fast };
            }
            Self::Exponential(mean) => -rng.unit().ln() * mean,
            Self::Normal { mean, deviation } => positive_normal(mean, deviation, rng),
            Self::Lognormal { median, sigma } => median * (sigma * normal(rng)).exp(),
            Self::Pareto { least, exponent } => least * rng.unit().powf(exponent),
            Self::Uniform { from, width } => from as f64 + rng.unit() * width as f64,
        };
        nanos.min(NANOS_MAX) as u64
    }
}

/// Drawn again while it is negative. A mean far below zero would never end: the tenth draw counts as zero.
fn positive_normal(mean: f64, deviation: f64, rng: &mut Stream) -> f64 {
    (0..10).map(|_| mean + deviation * normal(rng)).find(|drawn| *drawn >= 0.0).unwrap_or(0.0)
}

/// Standard normal, by Marsaglia's polar method ("A Convenient Method for Generating Normal Variables", 1964).
fn normal(rng: &mut Stream) -> f64 {
    loop {
        let (x, y) = (2.0 * rng.unit() - 1.0, 2.0 * rng.unit() - 1.0);
        let square = x * x + y * y;
        if square < 1.0 && square > 0.0 {
            return x * (-2.0 * square.ln() / square).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Actor;

    #[test]
    fn distributions_have_their_means_and_deviations() {
        let ms = |ms: u64| Span(std::time::Duration::from_millis(ms));
        // The mean of a normal distribution truncated at zero: m + s * phi(-m/s) / (1 - Phi(-m/s)).
        let check = |random: Random, mean_ms: f64, deviation_ms: f64| {
            let sampler = random.sampler();
            let mut rng = Stream::new(11, Actor::Server, 0);
            let n = 200_000;
            let drawn: Vec<f64> = (0..n).map(|_| sampler.draw(&mut rng) as f64 / 1e6).collect();
            let mean = drawn.iter().sum::<f64>() / f64::from(n);
            let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
            assert!((mean / mean_ms - 1.0).abs() < 0.01, "{random:?}: mean {mean}");
            assert!(
                (variance.sqrt() - deviation_ms).abs() < 0.02 * mean_ms,
                "{random:?}: {}",
                variance.sqrt()
            );
        };
        check(Random::Constant(ms(3)), 3.0, 0.0);
        check(Random::Exponential(ms(10)), 10.0, 10.0);
        check(Random::Normal(Normal { mean: ms(75), deviation: ms(75) }), 96.57, 59.53);
        check(Random::Normal(Normal { mean: ms(10), deviation: ms(2) }), 10.0, 2.0);
        check(Random::Uniform(Uniform { from: ms(2), to: ms(8) }), 5.0, 1.732);
        check(Random::Bimodal(Bimodal { fast: ms(1), slow: ms(11), slow_ratio: 0.1 }), 2.0, 3.0);
        let sigma = 0.5f64;
        let mean = 10.0 * (sigma * sigma / 2.0).exp();
        let deviation = mean * ((sigma * sigma).exp() - 1.0).sqrt();
        check(Random::Lognormal(Lognormal { median: ms(10), sigma }), mean, deviation);
        // shape a: mean a/(a-1), variance a/((a-1)^2 (a-2))
        check(
            Random::Pareto(Pareto { least: ms(10), shape: 6.0 }),
            12.0,
            10.0 * (6.0f64 / (25.0 * 4.0)).sqrt(),
        );
    }
}
