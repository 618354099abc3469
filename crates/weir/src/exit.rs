//! What the process ends with, in one place. The help shows [`TABLE`].

use std::process::ExitCode;

/// Why a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done,
    /// Something failed that has no number of its own.
    Failed,
    /// The command line or the configuration file is wrong.
    Usage,
    /// The documents are wrong or cannot be read, and nothing was changed.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// No server answers.
    Unreachable,
    /// It could not start: an address or a data directory is in use, or may not be used.
    CannotStart,
    /// It was applied, and a proxy refused it.
    Rejected,
    /// What is whole was exported, and what is damaged was left out.
    InPart,
    /// A lock was lost, and the command that ran under it was ended.
    LockLost,
    /// Others hold the lock.
    LockHeld,
    /// The command cannot be run under a lock.
    CannotRun,
    /// There is no such command to run under a lock.
    NoSuchCommand,
    /// What the command that ran under a lock ended with.
    Command(u8),
}

impl Exit {
    /// The number that the process ends with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::NotFound => 4,
            Self::Unreachable => 5,
            Self::CannotStart => 6,
            Self::Rejected => 7,
            Self::InPart => 8,
            Self::LockLost => 122,
            Self::LockHeld => 123,
            Self::CannotRun => 126,
            Self::NoSuchCommand => 127,
            Self::Command(code) => code,
        }
    }
}

/// The exit statuses as the help shows them.
pub(crate) const TABLE: &str = "\
Exit status:
  0  done
  1  failed
  2  the command line or the configuration file is wrong
  3  documents, or what `weir store` reads, are wrong or cannot be read; nothing was changed
  4  there is no such thing
  5  no server answers
  6  cannot start: an address or the data directory is in use, or may not be used
  7  applied, but a proxy refused it
  8  exported, but what is damaged was left out (`weir store export --intact`)
`weir lock` ends with the status of its command, or:
  122  the lock was lost, and the command was ended
  123  others hold the lock
  126  the command cannot be started
  127  there is no such command";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that ends the process, with the status it ends with and what to try.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub exit: Exit,
    /// What went wrong; several lines when several things did.
    pub message: String,
    /// What to try, if there is something.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// The same failure, with what to try.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Failure {
    /// The failure for programs: `{"errors": [...], "try": "...", "exit": 4}`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let errors: Vec<&str> = self.message.lines().collect();
        let mut value = serde_json::json!({ "errors": errors, "exit": self.exit.code() });
        if let Some(hint) = &self.hint {
            value["try"] = hint.as_str().into();
        }
        value
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

impl std::fmt::Display for Failure {
    /// `error: ...` for each line of the message, then `try: ...`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in self.message.lines() {
            writeln!(f, "error: {line}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "try: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_status() {
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Invalid,
            Exit::NotFound,
            Exit::Unreachable,
            Exit::CannotStart,
            Exit::Rejected,
            Exit::InPart,
            Exit::LockLost,
            Exit::LockHeld,
            Exit::CannotRun,
            Exit::NoSuchCommand,
        ] {
            assert!(TABLE.contains(&format!("\n  {}  ", exit.code())), "{exit:?}");
        }
    }

    #[test]
    fn failures_say_what_to_try() {
        let failure = Failure::new(Exit::Failed, "one\ntwo").hint("three");
        assert_eq!(failure.to_string(), "error: one\nerror: two\ntry: three\n");
        let json = serde_json::json!({ "errors": ["one", "two"], "try": "three", "exit": 1 });
        assert_eq!(failure.to_json(), json);
    }
}
