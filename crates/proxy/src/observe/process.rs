//! What the system says of this process, under the names that Prometheus' own clients use.

use super::exposition::{Exposition, Kind};

/// Writes what can be found out. Where there is no `/proc` that is nothing.
pub(super) fn render(out: &mut Exposition) {
    if let Some(stat) = stat() {
        out.family("process_cpu_seconds_total", Kind::Counter, "CPU time, user and system.")
            .value(stat.cpu_s);
        out.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory.")
            .value(stat.resident_bytes);
        if let Some(started) = stat.started_s {
            out.family("process_start_time_seconds", Kind::Gauge, "When the process began, in Unix time.")
                .value(started);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        out.family("process_open_fds", Kind::Gauge, "Open file descriptors.").value(open.count());
    }
    if let Some(max) = fds_max() {
        out.family("process_max_fds", Kind::Gauge, "File descriptors that may be open.").value(max);
    }
}

struct Stat {
    cpu_s: f64,
    resident_bytes: u64,
    started_s: Option<f64>,
}

/// Clock ticks a second: a constant of the kernel's interface (`USER_HZ`).
const TICKS: f64 = 100.0;

fn stat() -> Option<Stat> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name, may hold anything; behind its closing bracket there are numbers only.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident_kib: u64 = resident.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Stat {
        cpu_s: (number(14)? + number(15)?) as f64 / TICKS,
        resident_bytes: resident_kib * 1024,
        started_s: booted_s().zip(number(22)).map(|(booted, ticks)| booted as f64 + ticks as f64 / TICKS),
    })
}

fn booted_s() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn fds_max() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let stat = stat().unwrap();
        assert!(stat.resident_bytes > 100_000, "{}", stat.resident_bytes);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - stat.started_s.unwrap();
        assert!((-5.0..3600.0).contains(&age), "{age}");
        assert!(fds_max().unwrap() > 10);
    }
}
