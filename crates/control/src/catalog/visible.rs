//! Who waits for a revision to become visible. Each is woken once, by the revision it waits for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use weir_model::Revision;

struct Table {
    reached: Revision,
    waiting: BTreeMap<(Revision, u64), oneshot::Sender<()>>,
    next: u64,
}

pub(crate) struct Visible {
    table: Mutex<Table>,
}

/// Takes an abandoned place out of the table.
struct Place<'a> {
    visible: &'a Visible,
    key: (Revision, u64),
}

impl Visible {
    pub(crate) fn new(reached: Revision) -> Self {
        Self { table: Mutex::new(Table { reached, waiting: BTreeMap::new(), next: 0 }) }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A revision is visible, and all before it. A lower one than before means that the store was replaced.
    pub(crate) fn reached(&self, revision: Revision) {
        let mut table = self.table();
        table.reached = revision;
        while let Some(first) = table.waiting.first_entry()
            && first.key().0 <= revision
        {
            // An error means that the waiter has gone.
            let _ = first.remove().send(());
        }
    }

    /// Waits for a revision. The bound in number is that of the requests under way.
    pub(crate) async fn wait(&self, revision: Revision) {
        let (receiver, key) = {
            let mut table = self.table();
            if table.reached >= revision {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            let key = (revision, table.next);
            table.next += 1;
            table.waiting.insert(key, sender);
            (receiver, key)
        };
        let _place = Place { visible: self, key };
        // The sender is dropped only after sending.
        let _ = receiver.await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.visible.table().waiting.remove(&self.key);
    }
}
