//! Keeps the catalog equal to the store: load, follow the watch, and start over where the watch lost its place.

use std::sync::{Arc, Weak};

use weir_store::{KeyRange, Store, Watch, list_and_watch};

use crate::bounds::{RESYNC_PAUSE_MAX, RESYNC_PAUSE_MIN};
use crate::catalog::Catalog;

/// Everything Weir has in the store. All of it, so that the catalog reaches every revision.
pub(crate) fn everything() -> KeyRange {
    KeyRange::all()
}

/// Follows a watch until the catalog is gone or the store is closed.
pub(crate) async fn follow(store: Arc<dyn Store>, catalog: Weak<Catalog>, mut watch: Watch) {
    loop {
        match watch.next().await {
            Ok(batch) => {
                let Some(catalog) = catalog.upgrade() else { return };
                catalog.apply(batch.position, &batch.events);
            }
            Err(weir_store::Error::Closed) => return,
            Err(error) => {
                say_why(&*store, &catalog, &error).await;
                match resync(&*store, &catalog).await {
                    Some(fresh) => watch = fresh,
                    None => return,
                }
            }
        }
    }
}

/// Says why everything is read again. A store that was replaced ends its watches: then nothing is wrong.
async fn say_why(store: &dyn Store, catalog: &Weak<Catalog>, error: &weir_store::Error) {
    let known = catalog.upgrade().map(|catalog| catalog.position().epoch);
    match store.position().await {
        Ok(now) if known.is_some_and(|epoch| epoch != now.epoch) => {
            tracing::info!(position = %now, "the store was replaced; reading everything anew");
        }
        _ => tracing::warn!(%error, "the store watch broke; reading everything again"),
    }
}

/// Reads the store until that succeeds; `None` when there is nobody to do it for.
async fn resync(store: &dyn Store, catalog: &Weak<Catalog>) -> Option<Watch> {
    let mut pause = RESYNC_PAUSE_MIN;
    loop {
        match list_and_watch(store, &everything()).await {
            Ok((entries, position, watch)) => {
                let catalog = catalog.upgrade()?;
                // Others wait for this thread, and a large store keeps it busy for seconds.
                let taking_over = tokio::task::spawn_blocking(move || catalog.resync(position, entries));
                // It fails only by a panic, which was reported, or with the whole runtime.
                taking_over.await.ok()?;
                return Some(watch);
            }
            Err(weir_store::Error::Closed) => return None,
            Err(error) => {
                tracing::warn!(%error, "the store cannot be read; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RESYNC_PAUSE_MAX);
                catalog.upgrade()?;
            }
        }
    }
}
