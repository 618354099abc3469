//! What a copy of a store carries, and what it leaves behind.
//!
//! Left behind is what holds only while it is held: replicas, locks and claims on them, and the delays after a key was locked.
//! Whoever held a lock is told so at the next renewal, and who takes it next has a greater fencing token, since the copy begins a
//! higher epoch. Sessions come along, with the keys that they hold, and get their full time again.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;
use weir_model::Position;
use weir_model::registry::{Check, CheckDefinition, CheckKind, Health};
use weir_store::archive::{ArchiveError, Export, Reader};
use weir_store::{Key, KeyRange, KeyValue, Limits, Read, Store, Value};

use crate::bounds::RESTORED_WAIT_MAX;
use crate::control::Format;
use crate::replicas::Replica;
use crate::{Control, Error, keys};

/// A copy of everything, in the form of [`weir_store::archive`], piece by piece.
pub type Backup<'a> = Export<'a>;

/// Epochs end before this. They are times in milliseconds: this one comes thousands of years from now, and leaves room to rise.
const EPOCH_END: u64 = 1 << 48;

/// What a check says whose program is not run any more.
const NOT_LOOKED_AT: &str =
    "restored without its program, which may not be run here: not looked at; register it anew";

/// Whether a copy carries a key. Keys under leases are left behind without being asked about.
pub fn is_carried(key: &Key) -> bool {
    !matches!(key.kind(), Some(keys::LOCK | keys::CLAIM | keys::REPLICA | keys::TOLD | keys::KV_DELAYED))
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
    /// A copy of everything as it is now.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn backup(&self) -> Result<Backup<'_>, Error> {
        Ok(Export::begin(self.store(), is_carried).await?)
    }

    /// Whether [`Control::restore`] can be done on this engine.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn can_restore(&self) -> Result<(), Error> {
        Ok(self.store().can_replace()?)
    }

    /// Puts what [`Control::backup`] has written in place of everything, while the server goes on: all of it in one step, which
    /// is done, and shown here, when this answers. An epoch begins; what one waits for counts as changed, and proxies read
    /// everything anew; whatever lives only as long as it is heard from has its full time. Nothing is touched before the whole
    /// archive was read and found to be good.
    ///
    /// Checks that are programs run by the servers are kept, but for the program, unless `programs` says that whoever asks may
    /// have them run: they warn then that nobody looks. Without them an instance would pass that nobody has looked at.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the archive is none, cut short, or altered; [`Error::Format`] if a newer version wrote it;
    /// [`Error::Refused`] if the engine cannot do it; [`Error::TooLarge`], [`Error::Unavailable`]; [`Error::NotVisible`] when
    /// all was done but is not shown here yet.
    pub async fn restore(
        &self,
        archive: impl std::io::Read + Send + 'static,
        programs: bool,
    ) -> Result<Position, Error> {
        self.can_restore()?;
        let limits = self.store().limits();
        let reading = tokio::task::spawn_blocking(move || read(archive, &limits, programs));
        let failed = |error: tokio::task::JoinError| Error::Unavailable { reason: error.to_string() };
        let (values, from) = reading.await.map_err(failed)??;
        let position = self.store().replace(values, from.epoch).await?;
        tracing::warn!(%from, %position, "everything was replaced by a backup");
        let shown = self.until_shown(position).await;
        // The backup may know nothing of this server, or another address; also where it takes long until it is shown.
        // Whoever judges health sees to it as well, so that it is done even where nobody waits any more.
        let registered = self.register_own_node().await;
        self.warn_of_former_nodes();
        self.restored.send_modify(|count| *count += 1);
        shown.and(registered).map(|()| position)
    }

    /// Counts restores. After each, what this server itself defines has to be defined anew.
    pub fn restores(&self) -> watch::Receiver<u64> {
        self.restored.subscribe()
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

/// What an archive carries, and where its store stood. The bounds of the store that it is for are judged while it is read, so
/// that an archive of whatever size takes no more memory than such a store.
fn read(
    archive: impl std::io::Read,
    limits: &Limits,
    programs: bool,
) -> Result<(BTreeMap<Key, Value>, Position), Error> {
    let unfit = |error: ArchiveError| Error::invalid("archive", error.to_string());
    let mut reader = Reader::open(archive).map_err(unfit)?;
    let from = reader.head().position;
    if from.epoch >= EPOCH_END {
        return Err(Error::invalid("archive", format!("no store has the epoch {}", from.epoch)));
    }
    let format = keys::format()?;
    let (mut values, mut bytes, mut is_ours) = (BTreeMap::new(), 0, false);
    while let Some((key, entry)) = reader.next().transpose().map_err(unfit)? {
        let pair = KeyValue { key, entry };
        if pair.key == format {
            weir_store::json::from_entry::<Format>(&pair)?.check()?;
            is_ours = true;
        }
        if !is_carried(&pair.key) {
            continue;
        }
        let unlooked = if programs { None } else { without_program(&pair)? };
        let value = unlooked.unwrap_or(pair.entry.value);
        let size = value.len();
        within(|| format!("the value of {}", pair.key), limits.value_bytes_max as u64, size as u64)?;
        bytes += (pair.key.as_str().len() + size) as u64;
        within(|| "the size of keys and values".to_owned(), limits.state_bytes_max, bytes)?;
        within(|| "the number of keys".to_owned(), limits.state_keys_max as u64, values.len() as u64 + 1)?;
        values.insert(pair.key, value);
    }
    if !is_ours {
        return Err(Error::invalid("archive", "it is not that of a control plane's store"));
    }
    Ok((values, from))
}

fn within(what: impl FnOnce() -> String, max: u64, actual: u64) -> Result<(), Error> {
    if actual > max { Err(Error::TooLarge { what: what(), max, actual }) } else { Ok(()) }
}

/// What becomes of an entry that is a check which has this server run a program, and would be refused for that when it is
/// registered: one that nobody carries out, and which warns. Critical would take away instances of which nothing bad is known.
fn without_program(pair: &KeyValue) -> Result<Option<Value>, Error> {
    if pair.key.kind() != Some(keys::CHECK) {
        return Ok(None);
    }
    let Ok(check) = weir_store::json::from_entry::<Check>(pair) else { return Ok(None) };
    let is_script = |definition: &CheckDefinition| matches!(definition.kind, CheckKind::Script { .. });
    if !check.runner.is_server() || !check.definition.as_ref().is_some_and(is_script) {
        return Ok(None);
    }
    let key = pair.key.as_str();
    tracing::warn!(
        key,
        "a check of the backup is a program, which may not be run here: nobody looks any more"
    );
    let health = check.health.max(Health::Warning);
    let check = Check { health, output: NOT_LOOKED_AT.to_owned(), definition: None, ..check };
    Ok(Some(weir_store::json::to_value(&pair.key, &check)?))
}

#[cfg(test)]
mod tests {
    use weir_store::{Memory, Txn};

    use super::*;

    /// The archive of a store that holds some values, and which a control plane has.
    async fn archive(values: &[&[u8]]) -> Vec<u8> {
        let store = Memory::new();
        let format = *br#"{"minimum_reader":1,"minimum_writer":1}"#;
        let mut txn = Txn::new().put(keys::format().unwrap(), format);
        for (at, value) in values.iter().enumerate() {
            txn = txn.put(keys::kv("n", &at.to_string()).unwrap(), *value);
        }
        store.commit(txn).await.unwrap();
        let (mut export, mut bytes) = (Export::begin(&store, is_carried).await.unwrap(), Vec::new());
        while let Some(piece) = export.next().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    #[tokio::test]
    async fn the_bounds_of_the_store_are_judged_while_it_is_read() {
        let whole = archive(&[&[0; 100], &[0; 200], &[0; 300]]).await;
        // The end is missing: a bound that is judged first is the one that is said.
        let cut = &whole[..whole.len() - 60];
        let fault = |bytes: &[u8], change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            read(bytes, &limits, false).map(|(values, _)| values.len()).map_err(|error| error.to_string())
        };
        assert_eq!(fault(&whole, |_| {}), Ok(4));
        assert!(fault(cut, |_| {}).unwrap_err().contains("cut short"));
        for (change, expect) in [
            ((|limits| limits.value_bytes_max = 199) as fn(&mut Limits), "is 200, more than the 199 allowed"),
            (|limits| limits.state_bytes_max = 350, "more than the 350 allowed"),
            (|limits| limits.state_keys_max = 2, "the number of keys is 3, more than the 2 allowed"),
        ] {
            let said = fault(cut, change).unwrap_err();
            assert!(said.contains(expect), "{said}");
        }
    }

    #[tokio::test]
    async fn an_epoch_that_could_not_rise_is_refused() {
        let whole = archive(&[]).await;
        let grown = with_epoch(&whole, u64::MAX);
        let said = read(&*grown, &Limits::default(), false).unwrap_err().to_string();
        assert!(said.contains("no store has the epoch 18446744073709551615"), "{said}");
    }

    /// An archive whose head has another epoch. It is read before anything is summed.
    fn with_epoch(archive: &[u8], epoch: u64) -> Vec<u8> {
        let head = archive.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let (length, json) = (head + 1, head + 5);
        let size = u32::from_le_bytes(archive[length..json].try_into().unwrap()) as usize;
        let mut said: serde_json::Value = serde_json::from_slice(&archive[json..json + size]).unwrap();
        said["position"]["epoch"] = epoch.into();
        let said = said.to_string();
        let mut changed = archive[..length].to_vec();
        changed.extend((said.len() as u32).to_le_bytes());
        changed.extend(said.bytes());
        changed.extend(&archive[json + size..]);
        changed
    }

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
