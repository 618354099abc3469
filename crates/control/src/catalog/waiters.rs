//! Who waits for which answer. A waiter costs one small entry; a change wakes only the waiters of what it touched.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::topic::{Topic, Topics};
use crate::Error;
use crate::bounds::WAITERS_MAX;

#[derive(Default)]
struct Table {
    topics: HashMap<Topic, (Arc<Notify>, usize)>,
    /// How many prefix topics there are of each length, in bytes.
    prefix_lengths: BTreeMap<usize, usize>,
    waiters: usize,
}

/// The table of waiters.
#[derive(Default)]
pub(crate) struct Waiters {
    table: Mutex<Table>,
}

/// A place in the table, given back when dropped.
pub(crate) struct Waiter<'a> {
    waiters: &'a Waiters,
    topic: Topic,
    notify: Arc<Notify>,
}

impl Waiters {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place.
    pub(crate) fn join(&self, topic: &Topic) -> Result<Waiter<'_>, Error> {
        let mut table = self.table();
        if table.waiters >= WAITERS_MAX {
            return Err(Error::Overloaded { what: "blocking queries", max: WAITERS_MAX as u64 });
        }
        table.waiters += 1;
        let notify = if let Some((notify, count)) = table.topics.get_mut(topic) {
            *count += 1;
            Arc::clone(notify)
        } else {
            let notify = Arc::new(Notify::new());
            table.topics.insert(topic.clone(), (Arc::clone(&notify), 1));
            if let Topic::KvPrefix { prefix, .. } = topic {
                *table.prefix_lengths.entry(prefix.len()).or_default() += 1;
            }
            notify
        };
        Ok(Waiter { waiters: self, topic: topic.clone(), notify })
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.table().waiters
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.table().topics.values().for_each(|(notify, _)| notify.notify_waiters());
    }

    /// Wakes the waiters of these topics, and those of the prefixes of the KV keys among them.
    pub(crate) fn wake(&self, touched: &Topics) {
        let table = self.table();
        if table.waiters == 0 {
            return;
        }
        let wake = |topic: &Topic| {
            if let Some((notify, _)) = table.topics.get(topic) {
                notify.notify_waiters();
            }
        };
        for topic in touched.iter() {
            wake(topic);
            if let Topic::Service(service) = topic
                && service.name.bytes().any(|byte| byte.is_ascii_uppercase())
            {
                wake(&Topic::service(&*service.namespace, &service.name));
            }
            let Topic::KvKey { namespace, key } = topic else { continue };
            for length in table.prefix_lengths.keys() {
                if let Some(prefix) = key.get(..*length) {
                    wake(&Topic::KvPrefix { namespace: namespace.clone(), prefix: prefix.to_owned() });
                }
            }
        }
    }
}

impl Waiter<'_> {
    /// What is notified when the topic may have changed. Enable the future before looking at the index.
    pub(crate) fn notify(&self) -> &Notify {
        &self.notify
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut table = self.waiters.table();
        table.waiters -= 1;
        let Some((_, count)) = table.topics.get_mut(&self.topic) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        table.topics.remove(&self.topic);
        if let Topic::KvPrefix { prefix, .. } = &self.topic
            && let Some(count) = table.prefix_lengths.get_mut(&prefix.len())
        {
            *count -= 1;
            if *count == 0 {
                table.prefix_lengths.remove(&prefix.len());
            }
        }
    }
}
