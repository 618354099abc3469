//! Opening the store that everything is kept in, and what is said when it cannot be used.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_store::{Embedded, Etcd, EtcdAddress, EtcdOptions, Memory, Options, Store};

use super::etcd_hint;
use crate::exit::{Exit, Failure};
use crate::host_agent::NODE_ID_FILE;

/// The store's file in the data directory.
pub(crate) const STORE_FILE: &str = "store.redb";

/// How long a server that starts waits for its etcd, which may be starting as well.
const ETCD_WAIT_MAX: Duration = Duration::from_secs(15);
/// Between two tries.
const ETCD_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn open_etcd(address: &EtcdAddress) -> Result<Arc<dyn Store>, Failure> {
    weir_store::check_address(address)
        .map_err(|error| Failure::new(Exit::CannotStart, format!("cannot use etcd as the store: {error}")))?;
    let began = Instant::now();
    loop {
        let error = match Etcd::open(address, EtcdOptions::default()).await {
            Ok(store) => return Ok(Arc::new(store)),
            Err(error) => error,
        };
        let hint = etcd_hint::hint(address, &error.to_string());
        let may_pass = hint.may_pass && matches!(error, weir_store::Error::Open { .. });
        if may_pass && began.elapsed() < ETCD_WAIT_MAX {
            tracing::warn!(%error, "trying again");
            tokio::time::sleep(ETCD_PAUSE).await;
            continue;
        }
        return Err(
            Failure::new(Exit::CannotStart, format!("cannot use etcd as the store: {error}")).hint(hint.text)
        );
    }
}

pub(crate) async fn open_store(data_dir: Option<&Path>) -> Result<Arc<dyn Store>, Failure> {
    let Some(dir) = data_dir else { return Ok(Arc::new(Memory::new())) };
    create_data_dir(dir)?;
    let shown = dir.display().to_string();
    let file = dir.join(STORE_FILE);
    // Opening recovers what a crash left behind, which may take a moment.
    let opened = tokio::task::spawn_blocking(move || Embedded::open(file, Options::default())).await;
    match opened {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(weir_store::Error::InUse { .. })) => Err(Failure::new(
            Exit::CannotStart,
            format!("the data directory {shown} is in use by another weir {}", role_in(dir)),
        )
        .hint("stop that one first, or give this one its own --data-dir")),
        Ok(Err(error @ weir_store::Error::Corrupt { .. })) => {
            let message = format!("cannot open the data directory {shown}: {error}");
            Err(Failure::new(Exit::CannotStart, message).hint(mend(dir)))
        }
        Ok(Err(error)) => {
            Err(Failure::new(Exit::CannotStart, format!("cannot open the data directory {shown}: {error}")))
        }
        Err(error) => Err(Failure::new(Exit::CannotStart, format!("opening {shown} broke off: {error}"))),
    }
}

/// What helps where a data directory's store is damaged, or not all there. Must be called within a tokio runtime.
pub(crate) fn mend(dir: &Path) -> String {
    let shown = dir.display();
    match role_in(dir) {
        "agent" => format!(
            "an agent's store can be made anew: while it is stopped, remove {STORE_FILE} and {STORE_FILE}.wal in {shown}, and keep \
             {NODE_ID_FILE}; start it, and register again what was registered by requests"
        ),
        _ => {
            let restore = format!(
                "`weir store restore FILE --data-dir {shown} --replace` puts a backup in its place, if what is missing cannot be put back"
            );
            match Embedded::read_intact(dir.join(STORE_FILE)) {
                Ok((_, Some(left_out))) => format!(
                    "{restore}; without a backup, `weir store export FILE --data-dir {shown} --intact` saves what is whole, up to \
                     revision {}",
                    left_out.after
                ),
                _ => restore,
            }
        }
    }
}

/// Whose data directory it is: agents keep their node's id there.
pub(crate) fn role_in(dir: &Path) -> &'static str {
    if dir.join(NODE_ID_FILE).exists() { "agent" } else { "server" }
}

/// Makes sure that there is a data directory. What is kept in it is for this user alone.
///
/// # Errors
/// When there cannot be one.
pub(crate) fn create_data_dir(dir: &Path) -> Result<(), Failure> {
    let shown = dir.display();
    if dir.exists() && !dir.is_dir() {
        let message = format!("cannot use the data directory {shown}: it is a file, expected a directory");
        return Err(Failure::new(Exit::CannotStart, message)
            .hint("name a directory with --data-dir; it is created if it is not there"));
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        Failure::new(Exit::CannotStart, format!("cannot use the data directory {shown}: {error}"))
            .hint("name a directory that this user may create or write to with --data-dir")
    })
}
