//! Resolves the host names that endpoints have instead of addresses.
//!
//! Names are resolved when they first appear and again every [`REFRESH_EVERY`]; when that fails, what was known stays.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::snapshot::{Addresses, Inputs, host_names};

/// How often names are resolved again.
pub(super) const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// The most names that are resolved; endpoints with further names stay unresolved.
const NAMES_MAX: usize = 1024;
/// The most addresses that are kept of one name.
const ADDRESSES_PER_NAME_MAX: usize = 64;
/// The most names that are resolved at once: each takes a thread while it waits.
const PARALLEL_MAX: usize = 16;
/// How long one round of resolving may take.
const ROUND_MAX: Duration = Duration::from_secs(2);

/// What names stand for.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Arc<Addresses>,
    /// Names that were looked up, with whatever result: a name that cannot be resolved must not hold up every update.
    tried: BTreeSet<String>,
}

impl Names {
    pub(super) fn addresses(&self) -> Arc<Addresses> {
        Arc::clone(&self.known)
    }

    /// Resolves names that are not known yet, and forgets those that are not used any more.
    pub(super) async fn learn(&mut self, inputs: &Inputs) {
        let used = used(inputs);
        if used.is_empty() && self.known.is_empty() {
            return;
        }
        let new = used.difference(&self.tried).cloned().collect();
        let found = resolve(new).await;
        self.update(&used, found);
    }

    /// Resolves every name again. Says whether an address changed.
    pub(super) async fn refresh(&mut self, inputs: &Inputs) -> bool {
        let used = used(inputs);
        if used.is_empty() {
            return false;
        }
        let before = Arc::clone(&self.known);
        let found = resolve(used.iter().cloned().collect()).await;
        self.update(&used, found);
        before != self.known
    }

    fn update(&mut self, used: &BTreeSet<String>, found: Addresses) {
        self.tried.clone_from(used);
        let mut known = Addresses::clone(&self.known);
        known.retain(|name, _| used.contains(name));
        known.extend(found);
        if known != *self.known {
            self.known = Arc::new(known);
        }
    }
}

fn used(inputs: &Inputs) -> BTreeSet<String> {
    host_names(inputs).map(str::to_owned).collect::<BTreeSet<_>>().into_iter().take(NAMES_MAX).collect()
}

/// The addresses of those names that could be resolved in time.
async fn resolve(names: Vec<String>) -> Addresses {
    let mut found = Addresses::new();
    if names.is_empty() {
        return found;
    }
    let mut waiting = names.into_iter();
    let mut running = JoinSet::new();
    for name in waiting.by_ref().take(PARALLEL_MAX) {
        running.spawn(lookup(name));
    }
    let round = async {
        while let Some(done) = running.join_next().await {
            if let Ok((name, Some(addresses))) = done {
                found.insert(name, addresses);
            }
            if let Some(name) = waiting.next() {
                running.spawn(lookup(name));
            }
        }
    };
    if tokio::time::timeout(ROUND_MAX, round).await.is_err() {
        tracing::warn!("some host names of endpoints could not be resolved in time");
    }
    found
}

async fn lookup(name: String) -> (String, Option<Vec<IpAddr>>) {
    match addresses_of(&name).await {
        Ok(addresses) => (name, Some(addresses).filter(|addresses| !addresses.is_empty())),
        Err(error) => {
            tracing::warn!(%name, %error, "cannot resolve the host name of an endpoint");
            (name, None)
        }
    }
}

/// In a fixed order, so that a resolver that rotates its answers does not look like a change.
async fn addresses_of(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let answer = tokio::net::lookup_host((name, 0)).await?;
    let mut addresses: Vec<_> = answer.map(|addr| addr.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_PER_NAME_MAX);
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::tests::{inputs, resource};

    fn shop(address: &str) -> Inputs {
        inputs([resource("Service", "cart", json!({"endpoints": [{"address": address, "port": 80}]}))])
    }

    #[tokio::test]
    async fn learns_and_forgets() {
        let mut names = Names::default();
        names.learn(&shop("localhost")).await;
        let addresses = names.addresses();
        assert!(addresses["localhost"].iter().all(IpAddr::is_loopback), "{addresses:?}");
        assert!(!names.refresh(&shop("localhost")).await, "the same answer is no change");
        names.learn(&shop("127.0.0.1")).await;
        assert!(names.addresses().is_empty());
    }
}
