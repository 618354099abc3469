//! Making batches durable: in the log mostly, in the file now and then, and going on after either failed.
//!
//! ```text
//! batch ──> is a log open, with room? ── yes ──> append, flush
//!                │ no                            └─> many keys touched: the file takes them over, the log begins again
//!                └──> one transaction of the file: what is in the log, and which log counts next; then the batch is
//!                     appended there, or is in one more transaction if it fits in no log
//! ```
//!
//! After a failure of the log nothing is appended any more until the file has exactly what was acknowledged and says that no
//! log counts: then nothing that was refused can come back. The next batch begins a new log. After a failure of the file it
//! is the same, unless the file still names the log as it is: then the transaction that failed has not happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::Database;

use super::file::{File, refused};
use super::layout::{Delta, Touched};
use super::log::Log;
use crate::shared::Shared;
use crate::state::Changes;
use crate::{Error, Limits};

/// A file that could not take over what the log has is asked to again after so many times the pause after a failure: each
/// attempt reopens it, and batches wait meanwhile.
const SETTLE_AGAIN: u32 = 100;

pub(super) struct Durable {
    shared: Arc<Shared>,
    limits: Limits,
    file: File,
    /// `None` after a failure, until the file could be reopened.
    database: Option<Database>,
    /// `None`: the file has everything, and says so.
    log: Option<Log>,
    /// What the file does not have yet.
    touched: Touched,
    failure: Option<Failure>,
    /// A flush of the file failed: what it seems to hold may not be there.
    suspect: bool,
    /// Storage is tried again so long after it failed.
    again_after: Duration,
    /// When no log could be begun: batches go to the file meanwhile.
    no_log_since: Option<Instant>,
    /// When the file could not take over what the log has: not before this it is asked to again, while the log has room.
    settle_after: Option<Instant>,
}

/// What is left of failed batches: they may or may not have reached the disk.
struct Failure {
    at: Instant,
    error: Error,
    touched: Touched,
    where_: Place,
}

/// What failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Log,
    File,
}

impl Durable {
    /// Begins with a file that was just opened. What its log had is written to the file; if that fails, it is as after any
    /// failure: reads go on, and writes when it could be done.
    pub(super) fn new(
        shared: Arc<Shared>,
        file: File,
        database: Database,
        replayed: Option<Touched>,
        again_after: Duration,
    ) -> Self {
        let limits = shared.state().limits.clone();
        let mut durable = Self {
            shared,
            limits,
            file,
            database: Some(database),
            log: None,
            touched: Touched::default(),
            failure: None,
            suspect: false,
            again_after,
            no_log_since: None,
            settle_after: None,
        };
        if let Some(replayed) = replayed {
            durable.touched = replayed;
            // It is remembered.
            let _failed = durable.commit(None);
        }
        durable
    }

    /// Makes changes durable: all of them, or an error.
    pub(super) fn write(&mut self, changes: &Changes) -> Result<(), Error> {
        self.recover(self.again_after)?;
        let delta = Delta::of(changes);
        if self.append(&delta)? {
            return Ok(());
        }
        if self.log.is_none() {
            self.begin_log();
            if self.log.is_some() {
                self.commit(None)?;
            }
        }
        // The file keeps the state before its present one too, and damage may bring that one back. So both are to name the log,
        // and a batch is in the file alone only if no log can hold it.
        if self.log.as_ref().is_some_and(|log| log.may_hold(&delta)) {
            self.commit(None)?;
            if self.append(&delta)? {
                return Ok(());
            }
        }
        self.commit(Some(delta))
    }

    /// Appends a batch to the log, if one is open and has room.
    fn append(&mut self, delta: &Delta) -> Result<bool, Error> {
        let Some(log) = &mut self.log else { return Ok(false) };
        let appended = log.append(delta).map_err(|error| refused(&error));
        match &appended {
            Ok(true) => self.touched.add(delta),
            Ok(false) => {}
            Err(error) => self.fail(error, Some(delta), Place::Log),
        }
        appended
    }

    /// Lets the file take over what the log has, if that is much by now. Called when nobody waits for an answer.
    ///
    /// The file may have no room for it while the log has some: then writes go on into the log until that is full, and this is
    /// tried again only now and then.
    pub(super) fn settle(&mut self) {
        let is_much = self.touched.len() >= self.limits.log_keys_max;
        if self.failure.is_some() || !is_much || self.settle_after.is_some_and(|after| Instant::now() < after)
        {
            return;
        }
        if self.commit(None).is_err() {
            self.settle_after = Some(Instant::now() + self.again_after * SETTLE_AGAIN);
            // At once, for nothing was refused yet. If it fails, it is remembered, and tried again with the next batch.
            let _failed = self.recover(Duration::ZERO);
        }
    }

    /// Lets the file take over everything, so that it is whole without a log, and of a format that older versions know.
    pub(super) fn close(mut self) {
        if self.recover(Duration::ZERO).is_err() {
            return;
        }
        if self.log.take().is_some() && self.commit(None).is_err() {
            return;
        }
        self.file.remove_log();
    }

    /// Begins a log, which counts with the next transaction of the file.
    fn begin_log(&mut self) {
        if self.no_log_since.is_some_and(|since| since.elapsed() < self.again_after) {
            return;
        }
        self.no_log_since = None;
        match self.file.create_log(self.limits.log_bytes_max) {
            Ok(log) => self.log = Some(log),
            Err(error) => {
                tracing::warn!(path = %self.file.path(), %error, "no log can be begun, every batch goes to the file");
                self.no_log_since = Some(Instant::now());
            }
        }
    }

    /// One transaction of the file: what was touched, and a batch. The log begins again with it.
    fn commit(&mut self, delta: Option<Delta>) -> Result<(), Error> {
        let Some(database) = &self.database else { return Err(Error::Closed) };
        let mut deltas = Vec::with_capacity(2);
        if !self.touched.is_empty() || delta.is_none() {
            deltas.push(Delta::present(&self.shared.state(), &self.touched));
        }
        deltas.extend(delta);
        let id = self.log.as_ref().map(|log| log.id().next());
        let written = self.file.commit(database, &deltas, id, false);
        written.inspect_err(|error| self.fail(error, deltas.last(), Place::File))?;
        (self.touched, self.settle_after) = (Touched::default(), None);
        if let (Some(log), Some(id)) = (&mut self.log, id) {
            log.restart(id);
        }
        Ok(())
    }

    /// After a failure: gets the file to hold exactly the acknowledged state, and no log to count.
    fn recover(&mut self, wait: Duration) -> Result<(), Error> {
        let Some(failure) = &self.failure else { return Ok(()) };
        if failure.at.elapsed() < wait {
            return Err(failure.error.clone());
        }
        match self.try_to_recover() {
            Ok(()) => {
                tracing::info!(path = %self.file.path(), "storage works again, writes are accepted");
                (self.failure, self.suspect) = (None, false);
                Ok(())
            }
            Err(error) => {
                self.fail(&error, None, Place::File);
                Err(error)
            }
        }
    }

    fn try_to_recover(&mut self) -> Result<(), Error> {
        let Some(failure) = &self.failure else { return Ok(()) };
        if failure.where_ == Place::File && !self.suspect {
            // Closed before it is opened again: the file is locked.
            self.database = None;
            self.suspect |= self.file.take_flush_failed();
            let database = self.database.insert(self.file.reopen()?);
            // What failed has not happened then, and the log counts as before: its room may be all that is left.
            if !self.suspect
                && let Some(log) = &self.log
                && self.file.log_of(database)? == Some(log.id())
            {
                return Ok(());
            }
        }
        if self.suspect {
            self.database = Some(self.file.rebuild(&self.shared)?);
        } else {
            let Some(database) = &self.database else { return Err(Error::Closed) };
            let state = self.shared.state();
            let deltas = [&self.touched, &failure.touched].map(|touched| Delta::present(&state, touched));
            drop(state);
            self.file.commit(database, &deltas, None, true)?;
        }
        (self.log, self.touched, self.settle_after) = (None, Touched::default(), None);
        Ok(())
    }

    fn fail(&mut self, error: &Error, delta: Option<&Delta>, place: Place) {
        tracing::error!(path = %self.file.path(), %error, "storage failed, writes are refused");
        self.suspect |= self.file.take_flush_failed();
        let failure = self.failure.get_or_insert_with(|| Failure {
            at: Instant::now(),
            error: error.clone(),
            touched: Touched::default(),
            where_: place,
        });
        failure.at = Instant::now();
        failure.error = error.clone();
        match place {
            Place::File => failure.where_ = place,
            // What it ends with is not known.
            Place::Log => self.log = None,
        }
        if let Some(delta) = delta {
            failure.touched.add(delta);
        }
    }
}
