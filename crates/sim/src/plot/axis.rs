//! Axes: where the ticks are, and where values lie between them.

/// A scale from values to a share of the axis' length.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    least: f64,
    most: f64,
    log: bool,
    pub(super) ticks: Vec<f64>,
}

/// Most ticks of a straight axis.
const TICKS_MAX: f64 = 5.0;

impl Axis {
    /// From zero to a round number not below the largest value.
    pub(super) fn straight(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_step(most / TICKS_MAX);
        let count = (most / step - 1e-9).ceil().max(1.0);
        Self {
            least: 0.0,
            most: step * count,
            log: false,
            ticks: (0..=count as u32).map(|n| f64::from(n) * step).collect(),
        }
    }

    /// As [`Axis::straight`], but it ends where the values do.
    pub(super) fn exact(most: f64, ticks: f64) -> Self {
        let step = round_step(most / ticks);
        let count = (most / step + 1e-9).floor() as u32;
        Self { least: 0.0, most, log: false, ticks: (0..=count).map(|n| f64::from(n) * step).collect() }
    }

    /// Powers of ten around the values. Straight where they are too near to each other for that.
    pub(super) fn log(least: f64, most: f64) -> Self {
        if !(least > 0.0 && most / least > 20.0) {
            return Self::straight(most);
        }
        let (from, to) = ((least.log10() + 1e-9).floor() as i32, (most.log10() - 1e-9).ceil() as i32);
        let ticks = (from..=to).map(|power| 10f64.powi(power)).collect();
        Self { least: 10f64.powi(from), most: 10f64.powi(to), log: true, ticks }
    }

    /// Where a value lies, from 0 to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.least) / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        share.clamp(0.0, 1.0)
    }
}

/// The least of 1, 2, 5, 10, ... that is not below a step.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powi(step.log10().floor() as i32);
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|round| *round >= step * 0.999_999)
        .unwrap_or(10.0 * power)
}

/// A tick's label: `1.5k`, `250`, `0.01`.
pub(super) fn label(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let text = format!("{scaled:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_that_hold_all_values() {
        let check = |axis: Axis, ticks: &[f64]| {
            assert_eq!(axis.ticks.len(), ticks.len(), "{axis:?}");
            assert!(axis.ticks.iter().zip(ticks).all(|(a, b)| (a - b).abs() < 1e-9 * b.max(1.0)), "{axis:?}");
        };
        check(Axis::straight(10.0), &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        check(Axis::straight(1234.0), &[0.0, 500.0, 1000.0, 1500.0]);
        check(Axis::straight(0.0), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        check(Axis::exact(45.0, 8.0), &[0.0, 10.0, 20.0, 30.0, 40.0]);
        check(Axis::log(0.5, 800.0), &[0.1, 1.0, 10.0, 100.0, 1000.0]);
        check(Axis::log(5.0, 8.0), &[0.0, 2.0, 4.0, 6.0, 8.0]);
    }

    #[test]
    fn values_lie_between_the_ends() {
        let log = Axis::log(1.0, 1000.0);
        for (value, share) in [(1.0, 0.0), (10.0, 1.0 / 3.0), (1000.0, 1.0), (0.0, 0.0), (1e9, 1.0)] {
            assert!((log.share(value) - share).abs() < 1e-9, "{value}");
        }
        assert!((Axis::straight(100.0).share(25.0) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn labels_are_short() {
        let check = |value: f64, text: &str| assert_eq!(label(value), text);
        check(0.0, "0");
        check(0.2, "0.2");
        check(1500.0, "1500");
        check(12_500.0, "12.5k");
        check(2e6, "2M");
    }
}
