//! Holds a lock of `weir lock` and writes to a guarded resource: `test-holder PORT WRITES`.
//!
//! Sends lines `TOKEN PID PARENT` and is answered `ok` or `stale`. Ends with 3 when its token is stale.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

/// The pause between two writes: what the work takes that the lock is for.
const WORK: Duration = Duration::from_millis(10);
/// The exit status when the token is stale.
const STALE: u8 = 3;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u16>().expect("a number"));
    let (port, writes) = (args.next().expect("a port"), args.next().expect("a number of writes"));
    let token = std::env::var("WEIR_LOCK_TOKEN").expect("a token in the environment");
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the resource is there");
    let mut answers = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    let line = format!("{token} {} {}\n", std::process::id(), std::os::unix::process::parent_id());
    for _ in 0..writes {
        let mut answer = String::new();
        let sent = stream.write_all(line.as_bytes()).and_then(|()| answers.read_line(&mut answer));
        match answer.trim() {
            "ok" if sent.is_ok() => std::thread::sleep(WORK),
            "stale" => return ExitCode::from(STALE),
            // The resource is gone: the test is over.
            _ => return ExitCode::FAILURE,
        }
    }
    ExitCode::SUCCESS
}
