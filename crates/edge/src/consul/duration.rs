//! Go's way of writing and reading durations, which Consul's clients use.

use std::fmt::Write as _;
use std::time::Duration;

/// Writes a duration as Go does: `0s`, `250ms`, `1.5s`, `1m30s`, `2h0m0s`.
pub(super) fn to_go(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let mut out = String::new();
    match nanos {
        0 => out.push_str("0s"),
        1..1_000 => write_unit(&mut out, nanos, 1, "ns"),
        1_000..1_000_000 => write_unit(&mut out, nanos, 1_000, "µs"),
        1_000_000..1_000_000_000 => write_unit(&mut out, nanos, 1_000_000, "ms"),
        _ => {
            let minutes = nanos / 60_000_000_000;
            if minutes >= 60 {
                let _ = write!(out, "{}h", minutes / 60);
            }
            if minutes > 0 {
                let _ = write!(out, "{}m", minutes % 60);
            }
            write_unit(&mut out, nanos % 60_000_000_000, 1_000_000_000, "s");
        }
    }
    out
}

fn write_unit(out: &mut String, nanos: u128, unit: u128, name: &str) {
    let _ = write!(out, "{}", nanos / unit);
    let rest = nanos % unit;
    if rest > 0 {
        let width = unit.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        let _ = write!(out, ".{}", fraction.trim_end_matches('0'));
    }
    out.push_str(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_as_go_does() {
        let check = |nanos: u64, expect: &str| assert_eq!(to_go(Duration::from_nanos(nanos)), expect);
        check(0, "0s");
        check(15, "15ns");
        check(1_500, "1.5µs");
        check(250_000_000, "250ms");
        check(1_500_000_000, "1.5s");
        check(10_000_000_000, "10s");
        check(60_000_000_000, "1m0s");
        check(90_050_000_000, "1m30.05s");
        check(7_200_000_000_000, "2h0m0s");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(nanos in 0u64..300_000_000_000_000_000) {
            // The model reads durations as floating point; nanoseconds survive up to 2^53.
            let nanos = if nanos > 1 << 52 { nanos / 1_000_000_000 * 1_000_000_000 } else { nanos };
            let read: weir_model::units::Span = to_go(Duration::from_nanos(nanos)).parse().unwrap();
            proptest::prop_assert!(read.0.as_nanos().abs_diff(nanos.into()) <= 100);
        }
    }
}
