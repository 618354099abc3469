//! Reads what a process has used, from `/proc`.

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

/// Resident memory of a process and its children, in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let mut total = 0;
    for pid in family(pid)? {
        let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
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
