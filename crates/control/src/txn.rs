//! Transactions: operations on keys, on the registry and on sessions, all or none.

use std::collections::BTreeMap;

use weir_store::LeaseId;

use crate::bounds::TXN_OPS_MAX;
use crate::catalog::State;
use crate::commit::Plan;
use crate::kv::{self, KvFault, KvOp, KvResult, KvVerb, NotEnded};
use crate::registry::{self, Gone, RegistryFault, RegistryOp, RegistryResult, check_namespace};
use crate::session::SessionRef;
use crate::{Control, Error};

/// One operation.
#[derive(Clone, Debug)]
pub enum TxnOp {
    /// On a key.
    Kv(KvOp),
    /// On a node, an instance or a check.
    Registry(Box<RegistryOp>),
    /// Ends the session of this id, if there is one; it is of the keys' namespace.
    EndSession(String),
}

/// What an operation read or wrote.
#[derive(Clone, Debug, PartialEq)]
pub enum TxnResult {
    /// A key.
    Kv(KvResult),
    /// A node, an instance or a check.
    Registry(RegistryResult),
}

/// Why an operation cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnFault {
    /// One on a key, or a session's end that is about too many of them.
    Kv(KvFault),
    /// One on the registry.
    Registry(RegistryFault),
}

/// What came of a transaction.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was done; what its operations read and wrote, in order.
    Done(Vec<TxnResult>),
    /// Nothing was done; which operations cannot be done, by number from 0, and why.
    Failed(Vec<(usize, TxnFault)>),
}

/// A result whose revisions may be those of the transaction itself.
enum Pending {
    Kv(kv::Pending),
    Registry(registry::Pending),
}

/// All operations as they would be done.
struct Drafted {
    plan: Plan,
    results: Vec<Pending>,
    gone: Gone,
}

type Faults = Vec<(usize, TxnFault)>;

/// Why nothing is done.
enum No {
    Faults(Faults),
    /// A session ends whose keys cannot be locked for a while, and there is no lease for that.
    NoLease,
}

/// For how long the keys of sessions that end cannot be locked, by session.
type Delays = BTreeMap<String, LeaseId>;

impl Control {
    /// Does all operations, in order, or none, in one transaction of the store. Keys are those of this namespace.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for too many operations, a value that is too long, or more than one transaction of the store
    /// can do; [`Error::Invalid`] for a key that is too long.
    pub async fn txn(&self, namespace: &str, ops: &[TxnOp]) -> Result<Outcome, Error> {
        check_namespace(namespace)?;
        if ops.len() > TXN_OPS_MAX {
            let what = "operations of a transaction".to_owned();
            return Err(Error::TooLarge { what, max: TXN_OPS_MAX as u64, actual: ops.len() as u64 });
        }
        for op in ops {
            if let TxnOp::Kv(op) = op {
                kv::check_op(namespace, op)?;
            }
        }
        let own_node = self.settings().node_name.clone();
        let (mut results, mut gone) = (Vec::new(), Gone::default());
        let what = || "what the transaction is about".to_owned();
        let mut delays = Delays::new();
        let done = loop {
            self.grant_delays(namespace, ops, &mut delays).await?;
            let done = self
                .execute_if(what, |state| {
                    Ok(draft(state, namespace, &own_node, ops, &delays)?.map(|drafted| {
                        (results, gone) = (drafted.results, drafted.gone);
                        drafted.plan
                    }))
                })
                .await?;
            match done {
                // A session has got keys since the leases were granted: each time one more of them has its own.
                Err(No::NoLease) => {}
                Err(No::Faults(faults)) => return Ok(Outcome::Failed(faults)),
                Ok(done) => break done,
            }
        };
        self.sweep(&gone).await?;
        let revision = done.position.revision;
        Ok(Outcome::Done(results.into_iter().map(|pending| pending.at(revision)).collect()))
    }

    /// Grants leases for the delays of keys whose sessions end, where there is none yet. One that is not used ends by itself.
    async fn grant_delays(&self, namespace: &str, ops: &[TxnOp], delays: &mut Delays) -> Result<(), Error> {
        for id in ops.iter().filter_map(ends) {
            let name = SessionRef::new(namespace, id);
            let Some(entry) = self.catalog().session(&name).entries else { continue };
            let delay = entry.value.lock_delay.0;
            let locks =
                |op: &TxnOp| matches!(op, TxnOp::Kv(op) if op.verb == KvVerb::Lock && op.session == id);
            let gets_keys = self.holds_keys(&name) || ops.iter().any(locks);
            if !delay.is_zero() && gets_keys && !delays.contains_key(id) {
                delays.insert(id.to_owned(), self.store().grant(delay).await?.id);
            }
        }
        Ok(())
    }
}

impl Pending {
    fn at(self, revision: weir_model::Revision) -> TxnResult {
        match self {
            Self::Kv(pending) => TxnResult::Kv(pending.at(revision)),
            Self::Registry(pending) => TxnResult::Registry(pending.at(revision)),
        }
    }
}

/// Which session an operation ends.
fn ends(op: &TxnOp) -> Option<&str> {
    match op {
        TxnOp::EndSession(id) => Some(id),
        _ => None,
    }
}

fn draft(
    state: &State,
    namespace: &str,
    own_node: &str,
    ops: &[TxnOp],
    delays: &Delays,
) -> Result<Result<Drafted, No>, Error> {
    let mut keys = kv::Draft::new(state, namespace);
    let mut registry = registry::Draft::new(state, own_node);
    let (mut results, mut faults) = (Vec::new(), Vec::new());
    for (number, op) in ops.iter().enumerate() {
        let done = match op {
            TxnOp::Kv(op) => kv::step(&mut keys, op)
                .map(|done| results.extend(done.into_iter().map(Pending::Kv)))
                .map_err(TxnFault::Kv),
            TxnOp::Registry(op) => registry
                .step(op)
                .map(|done| results.extend(done.map(Pending::Registry)))
                .map_err(TxnFault::Registry),
            TxnOp::EndSession(id) => match keys.end_session(id, delays.get(id).copied()) {
                Err(NotEnded::NoLease) => return Ok(Err(No::NoLease)),
                Err(NotEnded::TooManyKeys) => Err(TxnFault::Kv(KvFault::TooManyKeys)),
                Ok(()) => Ok(()),
            },
        };
        if let Err(fault) = done {
            faults.push((number, fault));
        }
    }
    if !faults.is_empty() {
        return Ok(Err(No::Faults(faults)));
    }
    let mut plan = keys.into_plan()?;
    let gone = registry.into_plan(&mut plan);
    Ok(Ok(Drafted { plan, results, gone }))
}
