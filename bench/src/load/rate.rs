//! So many requests a second, evenly spaced, whatever the answers do: what most proxies see most of the day.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::case::Case;
use crate::{client, upstream};

/// Answers that come later than their connection's next turn, as a share: more means that this was no light load.
const LATE_MAX: f64 = 0.2;

/// Gives how many requests were answered.
pub(crate) fn run(case: &Case, port: u16, seconds: u32, per_second: u32) -> Result<u64> {
    let request = client::request(case.path, false);
    let body = upstream::body(case.upstream);
    let mut streams = Vec::new();
    for _ in 0..case.connections {
        streams.push((client::connect(port)?, false));
    }
    let gap = Duration::from_secs(1) / per_second;
    let begin = Instant::now();
    let mut late = 0;
    let total = per_second * seconds;
    for number in 0..total {
        // The answer to the request before the last 63 lies in the socket by now, so that reading it wakes nobody.
        let index = number as usize % streams.len();
        let (stream, asked) = &mut streams[index];
        if *asked {
            late += u32::from(!is_readable(stream)?);
            read_answer(stream, body.as_bytes())?;
        }
        let due = begin + gap * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(&request)?;
        *asked = true;
    }
    for (stream, _) in streams.iter_mut().filter(|(_, asked)| *asked) {
        read_answer(stream, body.as_bytes())?;
    }
    let share = f64::from(late) / f64::from(total);
    ensure!(share <= LATE_MAX, "{:.1} % of the answers took longer than {:?}", share * 100.0, gap * 64);
    Ok(u64::from(total))
}

fn is_readable(stream: &std::net::TcpStream) -> Result<bool> {
    stream.set_nonblocking(true)?;
    let readable = stream.peek(&mut [0]).is_ok();
    stream.set_nonblocking(false)?;
    Ok(readable)
}

fn read_answer(stream: &mut std::net::TcpStream, body: &[u8]) -> Result<()> {
    let mut seen = [0; 4096];
    let mut length = 0;
    while !seen[..length].ends_with(body) {
        let read = stream.read(&mut seen[length..]).context("an answer that did not come")?;
        ensure!(read > 0, "the connection ended");
        length += read;
    }
    ensure!(seen.starts_with(b"HTTP/1.1 200"), "an answer other than 200");
    Ok(())
}
