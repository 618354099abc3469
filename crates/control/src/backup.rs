//! What a copy of a store carries, and what it leaves behind.
//!
//! Left behind is what holds only while it is held: replicas, locks and claims on them, and the delays after a key was locked.
//! Whoever held a lock is told so at the next renewal, and who takes it next has a greater fencing token, since the copy begins a
//! higher epoch. Sessions come along, with the keys that they hold, and get their full time again.

use std::collections::BTreeMap;

use tokio::time::Instant;
use weir_model::Position;
use weir_store::archive::{ArchiveError, Export, Reader};
use weir_store::{Key, KeyRange, KeyValue, Read, Store, Value};

use crate::bounds::RESTORED_WAIT_MAX;
use crate::control::Format;
use crate::replicas::Replica;
use crate::{Control, Error, keys};

/// Whether a copy carries a key. Keys under leases are left behind without being asked about.
pub fn is_carried(key: &Key) -> bool {
    !matches!(key.kind(), Some(keys::LOCK | keys::CLAIM | keys::REPLICA | keys::KV_DELAYED))
}

/// The servers that live on a store, by where the others reach them.
///
/// # Errors
/// What the store answers.
pub async fn servers_on(store: &dyn Store) -> Result<Vec<String>, Error> {
    let page = store.range(Read::range(KeyRange::kind(keys::REPLICA))).await?;
    let servers = page.entries.iter().map(|pair| {
        weir_store::json::from_entry::<Replica>(pair)
            .map_or_else(|_| pair.key.to_string(), |replica| replica.http)
    });
    Ok(servers.collect())
}

impl Control {
    /// A copy of everything as it is now, in the form of [`weir_store::archive`].
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn backup(&self) -> Result<Export<'_>, Error> {
        Ok(Export::begin(self.store(), is_carried).await?)
    }

    /// Puts what [`Control::backup`] has written in place of everything, while the server goes on: all of it in one step, which
    /// is done, and shown here, when this answers. An epoch begins; what one waits for counts as changed, and proxies read
    /// everything anew; whatever lives only as long as it is heard from has its full time. Nothing is touched before the whole
    /// archive was read and found to be good.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the archive is none, cut short, or altered; [`Error::Format`] if a newer version wrote it;
    /// [`Error::Refused`] if the engine cannot do it; [`Error::TooLarge`], [`Error::Unavailable`], [`Error::NotVisible`].
    pub async fn restore(&self, archive: impl std::io::Read + Send + 'static) -> Result<Position, Error> {
        let reading = tokio::task::spawn_blocking(move || read(archive));
        let failed = |error: tokio::task::JoinError| Error::Unavailable { reason: error.to_string() };
        let (values, from) = reading.await.map_err(failed)??;
        let position = self.store().replace(values, from.epoch).await?;
        tracing::warn!(%from, %position, "everything was replaced by a backup");
        self.until_shown(position).await?;
        // The backup may know nothing of this server, or another address. Whoever judges health sees to it as well, so that it
        // is done even where nobody waits any more.
        self.register_own_node().await?;
        Ok(position)
    }

    async fn until_shown(&self, position: Position) -> Result<(), Error> {
        let deadline = Instant::now() + RESTORED_WAIT_MAX;
        loop {
            match self.catalog().visible(position.revision).await {
                Err(Error::NotVisible { .. }) if Instant::now() < deadline => {}
                shown => return shown,
            }
        }
    }
}

/// What an archive carries, and where its store stood.
fn read(archive: impl std::io::Read) -> Result<(BTreeMap<Key, Value>, Position), Error> {
    let unfit = |error: ArchiveError| Error::invalid("archive", error.to_string());
    let mut reader = Reader::open(archive).map_err(unfit)?;
    let from = reader.head().position;
    let format = keys::format()?;
    let (mut values, mut is_ours) = (BTreeMap::new(), false);
    while let Some((key, entry)) = reader.next().transpose().map_err(unfit)? {
        if key == format {
            weir_store::json::from_entry::<Format>(&KeyValue { key: key.clone(), entry: entry.clone() })?
                .check()?;
            is_ours = true;
        }
        if is_carried(&key) {
            values.insert(key, entry.value);
        }
    }
    if !is_ours {
        return Err(Error::invalid("archive", "it is not that of a control plane's store"));
    }
    Ok((values, from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_only_while_it_is_held_is_left_behind() {
        let carried = |key: Result<Key, Error>| is_carried(&key.unwrap());
        for key in [keys::node("a"), keys::kv("n", "k"), keys::kv_locked("n", "k"), keys::session("n", "s")] {
            assert!(carried(key));
        }
        for key in [keys::format(), keys::head(), keys::part(keys::CHANGE_SET, "1-a", 0)] {
            assert!(carried(key));
        }
        for key in
            [keys::lock("n", "l"), keys::claim("n", "l", "c"), keys::replica("r"), keys::kv_delayed("n", "k")]
        {
            assert!(!carried(key));
        }
    }
}
