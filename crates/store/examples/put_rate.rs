//! Durable puts per second of the embedded engine, with many clients that each wait for their answer.
//!
//! `cargo run --release -p weir-store --example put_rate [SECONDS] [FOLDER] [KEYS] [LOG_KEYS]`
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_store::{Embedded, Key, Options, Store, Txn};

const CLIENTS: [usize; 3] = [1, 64, 256];
/// As many keys as a busy registry has, so that writes meet a tree of a realistic height.
const KEYS: &str = "100000";
const VALUE_BYTES: usize = 256;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(5, |seconds| seconds.parse().expect("SECONDS is a number"));
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let keys: usize = arguments.next().as_deref().unwrap_or(KEYS).parse().expect("KEYS is a number");
    let mut options = Options::default();
    if let Some(keys) = arguments.next() {
        options.limits.log_keys_max = keys.parse().expect("LOG_KEYS is a number");
    }
    let folder = tempfile::tempdir_in(folder).expect("a temporary folder");
    println!(
        "{:>8} {:>10} {:>12} {:>10} {:>10} {:>10} {:>12} {:>15}",
        "clients", "puts/s", "puts/flush", "p50 us", "p99 us", "max us", "CPU us/put", "disk bytes/put"
    );
    for clients in CLIENTS {
        let path = folder.path().join(format!("store-{clients}"));
        let store = Arc::new(Embedded::open(&path, options.clone()).expect("a new store"));
        let empty = resident_bytes();
        fill(&store, keys).await;
        let filled = resident_bytes();
        measure(&store, clients, keys, Duration::from_secs(seconds)).await;
        drop(store);
        let store = Embedded::open(&path, options.clone()).expect("the store again");
        let stats = store.stats();
        println!(
            "{:>8} reopened {} keys in {:?}; filling took {} bytes of memory per key of {} bytes",
            "",
            stats.keys,
            stats.open_duration,
            filled.saturating_sub(empty) / stats.keys,
            stats.bytes / stats.keys,
        );
    }
}

fn key(number: usize) -> Key {
    Key::new("instance", "default", &format!("node-{:04}/service-{number:06}", number % 1000))
        .expect("a valid key")
}

async fn fill(store: &Embedded, keys: usize) {
    // Each with its own memory, as values that come from clients have.
    let value = || vec![b'x'; VALUE_BYTES];
    for start in (0..keys).step_by(1000) {
        let txn = (start..start + 1000).fold(Txn::new(), |txn, i| txn.put(key(i), value()));
        store.commit(txn).await.expect("accepted");
    }
}

async fn measure(store: &Arc<Embedded>, clients: usize, keys: usize, time: Duration) {
    let before = store.stats();
    let (cpu, disk) = (cpu_time(), disk_bytes());
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let value = vec![b'y'; VALUE_BYTES];
                let mut waits = Vec::new();
                let mut number = client * 7919;
                while start.elapsed() < time {
                    number = (number + 104_729) % keys;
                    let asked = Instant::now();
                    store.commit(Txn::new().put(key(number), value.as_slice())).await.expect("accepted");
                    waits.push(asked.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.append(&mut task.await.expect("the client is well"));
    }
    let (elapsed, cpu, disk) = (start.elapsed(), cpu_time() - cpu, disk_bytes() - disk);
    waits.sort_unstable();
    let after = store.stats();
    let puts = waits.len() as f64;
    println!(
        "{clients:>8} {:>10.0} {:>12.1} {:>10} {:>10} {:>10} {:>12.1} {:>15.0}",
        puts / elapsed.as_secs_f64(),
        puts / (after.batches - before.batches) as f64,
        waits[waits.len() / 2].as_micros(),
        waits[waits.len() * 99 / 100].as_micros(),
        waits[waits.len() - 1].as_micros(),
        cpu.as_micros() as f64 / puts,
        disk as f64 / puts,
    );
}

/// Bytes that this process had written to disks so far; zero where the system does not tell.
fn disk_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    written.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// Processor time of this process so far; zero where the system does not tell.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Memory of this process; zero where the system does not tell.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}
