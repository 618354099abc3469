//! Whether the cluster answers, asked all the time: so that whoever calls need not find out by waiting.
//!
//! ```text
//! the member that is asked answers ----no----> all are asked at once ----none----> calls are refused at once
//!        ^     (each second)                     |        ^                            |
//!        +---------------------------------------+ one    +----------------------------+ again and again
//! ```

use std::sync::Weak;
use std::time::Duration;

use super::Shared;

/// How often the member that is asked must answer.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long it may take before the others are asked as well.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How long it may take until any of them does. More than a cluster takes to elect a leader.
const ANY_ANSWER_MAX: Duration = Duration::from_secs(3);
/// How long each question to all takes, while none answers.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Between two of those.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs until the store is closed.
pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let key = shared.layout.epoch();
        let was_lost = shared.client.lost().borrow().is_some();
        if !shared.client.asks_well(&key, ANSWER_MAX).await {
            shared.client.find(&key, if was_lost { ASK_AGAIN } else { ANY_ANSWER_MAX }).await;
        }
        let lost = shared.client.lost().borrow().clone();
        match (was_lost, &lost) {
            (false, Some(why)) => tracing::warn!(why, "the store is lost: writes are refused, reads go on"),
            (true, None) => tracing::info!("the store is there again"),
            _ => {}
        }
        let mut closed = shared.closed.subscribe();
        drop(shared);
        let pause = if lost.is_some() { PAUSE } else { ASK_EVERY };
        if tokio::time::timeout(pause, closed.wait_for(|closed| *closed)).await.is_ok() {
            return;
        }
    }
}
