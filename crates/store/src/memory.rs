//! The memory engine: for tests and for `dev`. Holds everything in memory and forgets it when dropped.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::clock::{Clock, TokioClock};
use crate::local::LocalEngine;
use crate::shared::{Shared, expire_leases};
use crate::state::{Answer, Command, Staging, State, Stored};
use crate::{Error, Limits, Stats};

/// A store in memory.
pub struct Memory {
    shared: Arc<Shared>,
    timer: JoinHandle<()>,
}

impl Memory {
    /// An empty store with default limits and the runtime's clock. Must be called within a tokio runtime.
    pub fn new() -> Self {
        Self::with(Limits::default(), Arc::new(TokioClock::new()))
    }

    /// An empty store. Must be called within a tokio runtime, which runs the lease timer.
    pub fn with(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self::of(limits, Stored { epoch: crate::epoch::next(0), ..Stored::default() }, clock)
    }

    /// A store that begins with what was stored elsewhere.
    pub(crate) fn of(limits: Limits, stored: Stored, clock: Arc<dyn Clock>) -> Self {
        let state = State::new(limits, stored, clock.now());
        let shared = Arc::new(Shared::new(state, Arc::clone(&clock)));
        let weak = Arc::downgrade(&shared);
        let for_timer = weak.clone();
        let expire = move || {
            let weak = weak.clone();
            async move { weak.upgrade().map_or(Ok(()), |shared| execute(&shared, Command::Expire).map(drop)) }
                .boxed()
        };
        let timer = tokio::spawn(expire_leases(for_timer, clock, expire));
        Self { shared, timer }
    }
}

fn execute(shared: &Shared, command: Command) -> Result<Answer, Error> {
    let now = shared.now();
    let (answer, revision, leases) = shared.with_state(|state| {
        let mut staging = Staging::new(state);
        let answer = staging.execute(command, now)?;
        let changes = staging.finish();
        let (revision, leases) = (changes.revision, !changes.leases.is_empty());
        state.apply(changes);
        Ok::<_, Error>((answer, revision, leases))
    })?;
    shared.announce(revision, leases);
    Ok(answer)
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.timer.abort();
        self.shared.close();
    }
}

impl LocalEngine for Memory {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn submit(&self, command: Command) -> BoxFuture<'_, Result<Answer, Error>> {
        async move { execute(&self.shared, command) }.boxed()
    }

    fn stats(&self) -> Stats {
        self.shared.stats()
    }
}
