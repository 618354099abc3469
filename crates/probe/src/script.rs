//! A check that is a program: its exit status is the health, what it prints the output.
//!
//! It runs in a process group of its own, which is killed as a whole when its time is over or nobody waits any more.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use weir_model::registry::Health;

use super::look::{OUTPUT_BYTES_MAX, Outcome};

/// How long a program that was killed may take to be gone. What is not gone by then is collected later.
const KILLED_MAX: Duration = Duration::from_secs(1);

/// Runs a program to its end, within `timeout`. Exit status 0 passes, 1 warns, everything else is critical, as is a program
/// that cannot be started. Of what it prints, the first [`OUTPUT_BYTES_MAX`] bytes are kept and the rest is read and
/// dropped, so that it never waits for a reader.
pub async fn script(args: &[String], timeout: Duration) -> Outcome {
    run(args, timeout).await.unwrap_or_else(|error| {
        let program = args.first().map_or("", String::as_str);
        Outcome { health: Health::Critical, output: format!("{program}: {error}") }
    })
}

async fn run(args: &[String], timeout: Duration) -> io::Result<Outcome> {
    let Some((program, args)) = args.split_first() else {
        return Err(io::Error::other("no program is named"));
    };
    let (reader, writer) = io::pipe()?;
    let mut reader = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    // It holds our ends of the pipe.
    drop(command);
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let mut output = Vec::new();
    let ended = tokio::time::timeout(timeout, async {
        let mut is_open = true;
        loop {
            tokio::select! {
                ended = child.wait() => return ended,
                read = read_some(&mut reader, &mut output), if is_open => is_open = read,
            }
        }
    })
    .await;
    let Ok(status) = ended else {
        drop(group);
        // One that hangs in the kernel ends when it likes; nobody waits for it.
        let _ = tokio::time::timeout(KILLED_MAX, child.wait()).await;
        let output = format!("{program}: not done within {timeout:?}, killed. {}", text(&output));
        return Ok(Outcome { health: Health::Critical, output });
    };
    // Its id may be somebody else's from here on.
    std::mem::forget(group);
    let status = status?;
    let mut buffer = [0; OUTPUT_BYTES_MAX];
    while let Ok(count) = reader.try_read(&mut buffer)
        && count > 0
        && output.len() < OUTPUT_BYTES_MAX
    {
        keep(&mut output, &buffer[..count]);
    }
    Ok(Outcome { health: health(status), output: said(status, &output) })
}

/// Reads what there is; whether there may be more.
async fn read_some(reader: &mut Receiver, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0; OUTPUT_BYTES_MAX];
    match reader.read(&mut buffer).await {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            keep(output, &buffer[..count]);
            true
        }
    }
}

fn keep(output: &mut Vec<u8>, piece: &[u8]) {
    let room = OUTPUT_BYTES_MAX - output.len();
    output.extend_from_slice(&piece[..piece.len().min(room)]);
}

fn health(status: ExitStatus) -> Health {
    match status.code() {
        Some(0) => Health::Passing,
        Some(1) => Health::Warning,
        _ => Health::Critical,
    }
}

fn said(status: ExitStatus, output: &[u8]) -> String {
    match status.signal() {
        Some(signal) => format!("ended by signal {signal}. {}", text(output)),
        None => text(output),
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// A process group that ends with its owner. Its leader must not have been waited for.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // One that has ended by itself needs no killing.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(text: &str, timeout: Duration) -> Outcome {
        script(&["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()], timeout).await
    }

    #[tokio::test]
    async fn the_exit_status_decides() {
        let check = async |text: &str, health: Health, output: &str| {
            let outcome = sh(text, Duration::from_secs(30)).await;
            assert_eq!((outcome.health, &*outcome.output), (health, output), "{text}");
        };
        check("echo fine; echo really >&2", Health::Passing, "fine\nreally\n").await;
        check("echo so so; exit 1", Health::Warning, "so so\n").await;
        check("exit 2", Health::Critical, "").await;
        check("kill -9 $$", Health::Critical, "ended by signal 9. ").await;
    }

    #[tokio::test]
    async fn output_is_bounded_and_never_holds_the_program_up() {
        let outcome = sh("head -c 1000000 /dev/zero | tr '\\0' x", Duration::from_secs(30)).await;
        assert_eq!((outcome.health, outcome.output.len()), (Health::Passing, OUTPUT_BYTES_MAX));
    }

    #[tokio::test]
    async fn who_takes_too_long_is_killed_with_all_that_it_started() {
        let dir = std::env::temp_dir().join(format!("weir-script-{}", std::process::id()));
        let text = format!("sleep 600 & echo $! > {0}; wait", dir.display());
        // Time enough to begin, on a busy machine too.
        let outcome = sh(&text, Duration::from_secs(4)).await;
        assert_eq!(outcome.health, Health::Critical);
        assert!(outcome.output.contains("not done within 4s"), "{outcome:?}");
        let pid = std::fs::read_to_string(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        // Its parent is gone, so somebody else collects it, and that may take a moment.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        for _ in 0..6000 {
            if state().split(' ').nth(2).is_none_or(|state| state == "Z") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it lives: {}", state());
    }

    #[tokio::test]
    async fn what_cannot_be_started_says_why() {
        let outcome = script(&["/nowhere/check".to_owned()], Duration::from_secs(1)).await;
        assert_eq!(outcome.health, Health::Critical);
        assert!(outcome.output.starts_with("/nowhere/check: No such file"), "{outcome:?}");
    }
}
