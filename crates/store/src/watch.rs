//! A watch: the transactions that changed a range of keys, one batch each, in order, without a gap.

use futures_util::future::BoxFuture;

use crate::{Batch, Error};

/// Where an engine's watches get their batches from.
pub(crate) trait WatchSource: Send {
    /// The next batch. Must lose nothing when the future is dropped.
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, Error>>;
}

/// An open watch; dropping it ends it.
pub struct Watch {
    source: Box<dyn WatchSource>,
}

impl Watch {
    pub(crate) fn new(source: impl WatchSource + 'static) -> Self {
        Self { source: Box::new(source) }
    }

    /// Waits for the next transaction that changed a watched key. All of its changes come in one batch. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Lagged`] if the history was cut before this watcher had read it: read the state again and open a new
    /// watch. [`Error::Closed`] if the store was closed. After an error every further call fails the same way.
    pub async fn next(&mut self) -> Result<Batch, Error> {
        self.source.next().await
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
