//! New connections, each with a full handshake and one request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::case::Case;
use crate::client;

/// Gives how many were made.
pub(crate) fn run(case: &Case, port: u16, seconds: u32) -> Result<u64> {
    let config = client::tls_config()?;
    let end = Instant::now() + Duration::from_secs(seconds.into());
    let path = case.path;
    let threads: Vec<_> = (0..case.connections)
        .map(|_| {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let mut made = 0;
                while Instant::now() < end {
                    one(port, &config, path)?;
                    made += 1;
                }
                anyhow::Ok(made)
            })
        })
        .collect();
    let mut total = 0;
    for thread in threads {
        total += thread.join().expect("a thread of the load panicked")?;
    }
    Ok(total)
}

fn one(port: u16, config: &Arc<rustls::ClientConfig>, path: &str) -> Result<()> {
    let mut stream = client::connect_tls(port, config)?;
    let answer = client::ask(&mut stream, &client::request(path, true))?;
    ensure!(answer.status == 200, "answered with {}", answer.status);
    Ok(())
}
