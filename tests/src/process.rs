//! A child process whose output is kept, and that ends with the test.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::binary;
use crate::wait::eventually;

/// How many lines of output are shown when a test fails.
const SHOWN_LINES: usize = 60;

/// How long a process may take to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(45);

/// A running child process.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `weir` with these arguments.
    pub fn weir<I, S>(name: &str, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = Command::new(binary::weir());
        command.args(args);
        Self::start(name, command)
    }

    /// Starts any command; standard output and error go to a file that `output` reads.
    pub fn start(name: &str, mut command: Command) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("weir-test-{}-{number}-{name}.log", std::process::id()));
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it has printed a line that holds `text`, and returns that line.
    pub fn wait_for_line(&mut self, text: &str, limit: Duration) -> String {
        let name = self.name.clone();
        eventually(&format!("{name} to print `{text}`"), limit, || {
            if let Some(line) = self.output().lines().find(|line| line.contains(text)) {
                return Some(line.to_owned());
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{name} ended with {status} before it printed `{text}`:\n{}", self.output());
            }
            None
        })
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: i32) {
        // The process has not been waited for, so the id is still its own.
        #[allow(unsafe_code)]
        // SAFETY: kill has no memory effects; the id is that of our own child.
        unsafe {
            libc::kill(self.child.id() as i32, signal);
        }
    }

    /// Ends it at once, as a crash would, and waits for it.
    pub fn kill_9(&mut self) {
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait(END_LIMIT)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("{name} to end"), limit, || self.child.try_wait().unwrap())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // A supervisor is asked first, so that it can end its own children.
            self.signal(libc::SIGTERM);
            for _ in 0..200 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let from = lines.len().saturating_sub(SHOWN_LINES);
            eprintln_lines(&self.name, &lines[from..]);
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

#[allow(clippy::print_stderr)]
fn eprintln_lines(name: &str, lines: &[&str]) {
    eprintln!("---- the last output of {name}:");
    for line in lines {
        eprintln!("{line}");
    }
}
