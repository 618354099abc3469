//! What is done from time to time: keys are counted, for figures; and history is compacted, which etcd does not do by itself.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::generated::RangeRequest;
use super::{Shared, convert};
use crate::{KeyRange, Revision};

/// How often keys are counted.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// History is kept for so many counts (five minutes) at least, and for twice as many at most: whoever was away for less
/// need not read everything again.
const HISTORY_COUNTS: u32 = 30;

/// Runs until the store is closed.
pub(super) async fn run(shared: Weak<Shared>, compacts: bool) {
    let (mut count, mut old): (u32, Option<Revision>) = (0, None);
    loop {
        let Some(shared) = shared.upgrade() else { return };
        count_keys(&shared).await;
        if compacts && count.is_multiple_of(HISTORY_COUNTS) {
            old = compact(&shared, old).await.or(old);
        }
        count = count.wrapping_add(1);
        let mut closed = shared.closed.subscribe();
        drop(shared);
        if tokio::time::timeout(COUNT_EVERY, closed.wait_for(|closed| *closed)).await.is_ok() {
            return;
        }
    }
}

async fn count_keys(shared: &Shared) {
    let Some((key, range_end)) = shared.layout.readable(&KeyRange::all()) else { return };
    let request =
        RangeRequest { key, range_end, count_only: true, serializable: true, ..RangeRequest::default() };
    if let Ok(answer) = shared.get(request).await {
        shared.keys.store(convert::unsigned(answer.count), Ordering::Relaxed);
    }
}

/// Compacts what was old the last time, and gives what will be the next time.
async fn compact(shared: &Shared, old: Option<Revision>) -> Option<Revision> {
    if let Some(old) = old
        && let Err(error) = shared.compact(old).await
    {
        tracing::warn!(%error, "etcd's history cannot be compacted");
    }
    shared.now().await.ok().map(|position| position.revision)
}
