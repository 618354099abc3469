//! Signs of life that one replica could not tell the one that judges the check: the store tells it.
//!
//! ```text
//! heartbeat -> the judge does not answer -> /weir/v1/told/cluster/<own id>: the checks -> watch -> the judge hears them
//! ```
//!
//! Each replica has one key for that, under its own lease, and every write takes the place of the one before. So the checks
//! themselves are not written, nobody who reads them is woken, and nothing stays. Who did not see each write (its watch lost
//! its place) finds a gap in the key's versions, and gives all checks their full time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_model::Revision;
use weir_store::{Entry, Key, Txn};

use crate::bounds::TOLD_TOGETHER_MAX;
use crate::catalog::{CheckRef, State};
use crate::commit::Plan;
use crate::{Control, Error, keys};

/// A check that was heard from.
#[derive(Debug, Serialize, Deserialize)]
struct Sign {
    namespace: String,
    node: String,
    check: String,
}

/// What was told last by each replica, by its name.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<String, Last>);

#[derive(Clone, Copy, Debug)]
struct Last {
    revision: Revision,
    version: u64,
}

/// What one write tells.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// The checks that were heard from.
    pub checks: Vec<CheckRef>,
    /// Others may have been, in writes that were not seen.
    pub has_gap: bool,
}

impl Told {
    /// Takes a write in.
    pub(crate) fn put(&mut self, replica: &str, key: &Key, entry: &Entry) -> News {
        let last = Last { revision: entry.mod_revision, version: entry.version };
        let before = self.0.insert(replica.to_owned(), last);
        let has_gap = entry.version != before.map_or(0, |before| before.version) + 1;
        match weir_store::json::from_bytes::<Vec<Sign>>(&entry.value.bytes()) {
            Ok(signs) => {
                let checks = signs.into_iter().map(|sign| CheckRef::new(sign.namespace, sign.node, sign.check));
                News { checks: checks.collect(), has_gap }
            }
            Err(error) => {
                tracing::error!(%key, %error, "what a replica tells cannot be read: all checks get their full time");
                News { checks: Vec::new(), has_gap: true }
            }
        }
    }

    pub(crate) fn delete(&mut self, replica: &str) {
        self.0.remove(replica);
    }

    /// Whether anything was told after this revision.
    pub(crate) fn is_newer_than(&self, revision: Revision) -> bool {
        self.0.values().any(|last| last.revision > revision)
    }

    /// What each has told last, with its revision.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, Revision)> {
        self.0.iter().map(|(replica, last)| (&**replica, last.revision))
    }
}

/// Has a plan hold only if no replica tells anything meanwhile.
pub(crate) fn expect_silence(state: &State, plan: &mut Plan) -> Result<(), Error> {
    for (replica, revision) in state.told.all() {
        plan.expect(keys::told(replica)?, revision);
    }
    // A second condition on a key counts for nothing: these are those that have told nothing yet.
    for replica in state.replicas.keys() {
        plan.expect(keys::told(replica)?, 0);
    }
    Ok(())
}

impl Control {
    /// Tells the replicas that judge these checks, by way of the store, that they were heard from. Nothing else is written.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store cannot be written, or this server is none of several.
    pub async fn tell(&self, checks: &[CheckRef]) -> Result<(), Error> {
        let (Some(own), Some(lease)) = (&self.settings().replica, self.membership.lease()) else {
            return Err(Error::Unavailable { reason: "there are no other replicas".to_owned() });
        };
        let key = keys::told(&own.id)?;
        for some in checks.chunks(TOLD_TOGETHER_MAX) {
            let sign = |check: &CheckRef| Sign {
                namespace: check.namespace.clone(),
                node: check.node.clone(),
                check: check.id.clone(),
            };
            let signs: Vec<Sign> = some.iter().map(sign).collect();
            let value = weir_store::json::to_value(&key, &signs)?;
            self.store().commit(Txn::new().put_leased(key.clone(), value, lease)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u64) -> Entry {
        let value = r#"[{"namespace":"default","node":"n","check":"c"}]"#;
        Entry {
            value: value.as_bytes().to_vec().into(),
            create_revision: 1,
            mod_revision: version + 10,
            version,
            lease: None,
        }
    }

    #[test]
    fn a_write_that_was_not_seen_is_a_gap() {
        let key = keys::told("a").expect("a key");
        let mut told = Told::default();
        let mut put = |version| told.put("a", &key, &entry(version));
        let first = put(1);
        assert_eq!((first.has_gap, first.checks), (false, vec![CheckRef::new("default", "n", "c")]));
        assert!(!put(2).has_gap);
        assert!(put(4).has_gap);
        assert!(told.is_newer_than(13) && !told.is_newer_than(14));
        told.delete("a");
        assert!(told.put("a", &key, &entry(2)).has_gap, "the first was not seen");
        told.delete("a");
        let unreadable = Entry { value: b"?".to_vec().into(), ..entry(1) };
        assert!(told.put("a", &key, &unreadable).has_gap);
    }
}
