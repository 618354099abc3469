//! The command that runs while the lock is held.

use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::hold::{Holding, Lock};
use crate::cli::lock::LockArgs;
use crate::exit::{Exit, Failure};

/// A signal that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caught(Signal);

impl Caught {
    /// Its number.
    pub(super) fn number(self) -> u8 {
        u8::try_from(self.0.as_raw()).unwrap_or(0)
    }
}

/// The signals that a command may be sent through its `weir lock`.
const PASSED_ON: [Signal; 6] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Catches signals from its making on.
pub(super) struct Signals([(Signal, Stream); 6]);

impl Signals {
    /// # Errors
    /// When the system refuses handlers.
    pub(super) fn new() -> std::io::Result<Self> {
        let catch = |signal_: Signal| {
            Ok::<_, std::io::Error>((signal_, signal(SignalKind::from_raw(signal_.as_raw()))?))
        };
        let [a, b, c, d, e, f] = PASSED_ON.map(catch);
        Ok(Self([a?, b?, c?, d?, e?, f?]))
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Caught {
        let [a, b, c, d, e, f] = &mut self.0;
        let number = tokio::select! {
            _ = a.1.recv() => a.0,
            _ = b.1.recv() => b.0,
            _ = c.1.recv() => c.0,
            _ = d.1.recv() => d.0,
            _ = e.1.recv() => e.0,
            _ = f.1.recv() => f.0,
        };
        Caught(number)
    }
}

/// A command that runs.
pub(super) struct Child {
    child: tokio::process::Child,
    pid: Option<Pid>,
    /// Whether it leads a process group of its own.
    is_group: bool,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts the command, with the lock's token in its environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(args: &LockArgs, lock: &Lock, holding: &Holding) -> Result<Self, Failure> {
        let (program, arguments) = args.command.split_first().expect("a command line has a command");
        // In a group of its own all of it can be ended; but then it could not read from the terminal.
        let is_group = !std::io::stdin().is_terminal();
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .env("WEIR_LOCK_NAME", &args.name)
            .env("WEIR_LOCK_TOKEN", &holding.token)
            .env(crate::server_client::SERVER_VARIABLE, lock.servers());
        if is_group {
            command.process_group(0);
        }
        let child = command.spawn().map_err(|error| {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NoSuchCommand,
                _ => Exit::CannotRun,
            };
            Failure::new(exit, format!("cannot start {}: {error}", program.to_string_lossy()))
        })?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, pid, is_group, status: None })
    }

    /// Waits for the command to end: its own exit status, or that of the signal which ended it.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(super) async fn ended(&mut self) -> Result<Exit, Failure> {
        let status = match self.status {
            Some(status) => status,
            None => self.child.wait().await.map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot wait for the command: {error}"))
            })?,
        };
        self.status = Some(status);
        let of_signal = |signal: i32| 128 + u8::try_from(signal).unwrap_or(0);
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(Exit::Command(code.or_else(|| status.signal().map(of_signal)).unwrap_or(1)))
    }

    /// Gives the command a signal. What the terminal sends, it has sent to the command already.
    pub(super) fn pass_on(&self, caught: Caught) {
        let from_terminal = matches!(caught.0, Signal::INT | Signal::QUIT);
        if self.is_group || !from_terminal {
            self.send(caught.0);
        }
    }

    /// Asks the command to end.
    pub(super) fn terminate(&self) {
        self.send(Signal::TERM);
        // One that is stopped hears it only when it goes on.
        self.send(Signal::CONT);
    }

    /// Ends the command and, if it has a group of its own, what is left of that.
    pub(super) fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        // An error means that nobody is left. The number of a group is not given away while the group has members; that
        // of a command alone is its own until it was waited for.
        if self.is_group {
            let _ = kill_process_group(pid, signal);
        } else if self.status.is_none() {
            let _ = kill_process(pid, signal);
        }
    }
}
