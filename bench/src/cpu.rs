//! Reads what a process has used, and how busy the cores are, from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// CPU time of a process and its children so far, user and system, in nanoseconds, exact to the scheduler's own count.
pub(crate) fn nanos(pid: u32) -> Result<u64> {
    let mut total = 0;
    for pid in family(pid)? {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let first = text.split(' ').next().context("schedstat is empty")?;
            total += first.parse::<u64>().context("schedstat is not a number")?;
        }
    }
    Ok(total)
}

/// Resident memory of a process and its children, in bytes; what they share is counted once.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let mut total = 0;
    for pid in family(pid)? {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find(|line| line.starts_with("Pss:")).context("no Pss")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        total += kib * 1024;
    }
    Ok(total)
}

/// A process and its direct children (nginx works in a child).
fn family(pid: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .with_context(|| format!("process {pid} is gone"))?;
    Ok(std::iter::once(pid).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect())
}

/// The time that a core has been busy and idle, in the kernel's ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreTime {
    busy: u64,
    idle: u64,
}

/// Of one core, so far.
pub(crate) fn core(index: usize) -> Result<CoreTime> {
    parse_core(&fs::read_to_string("/proc/stat")?, index)
}

fn parse_core(text: &str, index: usize) -> Result<CoreTime> {
    let name = format!("cpu{index}");
    let line = text.lines().find(|line| line.split(' ').next() == Some(&name)).context("no such core")?;
    // user nice system idle iowait irq softirq steal; what follows is part of these.
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|v| v.parse().ok()).collect();
    let idle = ticks.get(3).context("no idle time")? + ticks.get(4).context("no waiting time")?;
    Ok(CoreTime { busy: ticks.iter().sum::<u64>() - idle, idle })
}

impl CoreTime {
    /// The busy share since an earlier look, from 0 to 1.
    pub(crate) fn busy_since(self, before: Self) -> f64 {
        let (busy, idle) = (self.busy - before.busy, self.idle - before.idle);
        busy as f64 / (busy + idle).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_share_of_a_core() {
        let before = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 0 10 80 0 0 0 0 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n";
        let after = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 30 0 40 110 10 5 5 0 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n";
        let share = parse_core(after, 0).unwrap().busy_since(parse_core(before, 0).unwrap());
        assert!((share - 0.6).abs() < 1e-9, "{share}");
        assert!(parse_core(after, 2).is_err());
    }
}
