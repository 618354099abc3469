//! What makes a transaction one that an engine takes, whatever is stored.

use std::collections::BTreeSet;

use crate::{Compare, Error, Limits, Op, Txn};

/// Refuses what breaks a limit, writes a key twice, or reads the past within a transaction.
pub(crate) fn validate(txn: &Txn, limits: &Limits) -> Result<(), Error> {
    let ops = txn.compares.len() + txn.writes.len() + txn.otherwise.len();
    validate_with(txn, limits, ops)
}

/// The same where conditions, writes and reads are bounded each for itself, as etcd does it.
pub(crate) fn validate_each(txn: &Txn, limits: &Limits) -> Result<(), Error> {
    let ops = txn.compares.len().max(txn.writes.len()).max(txn.otherwise.len());
    validate_with(txn, limits, ops)
}

fn validate_with(txn: &Txn, limits: &Limits, ops: usize) -> Result<(), Error> {
    within(|| "the number of operations".into(), "txn_ops_max", limits.txn_ops_max, ops)?;
    within(|| "the size of the transaction".into(), "txn_bytes_max", limits.txn_bytes_max, txn_bytes(txn))?;
    if txn.otherwise.iter().any(|read| read.at.is_some()) {
        let reason = "a read inside a transaction is always of its own revision".to_owned();
        return Err(Error::InvalidArgument { field: "otherwise.at", reason });
    }
    validate_distinct(&txn.writes)?;
    for op in &txn.writes {
        if let Op::Put { key, value, .. } = op {
            within(|| format!("the value of {key}"), "value_bytes_max", limits.value_bytes_max, value.len())?;
            let length = key.as_bytes().len();
            within(|| format!("the length of {key}"), "key_bytes_max", limits.key_bytes_max, length)?;
        }
    }
    Ok(())
}

/// Refuses a transaction that writes a key twice, be it by name or by a range: what would win?
fn validate_distinct(writes: &[Op]) -> Result<(), Error> {
    let mut named = BTreeSet::new();
    for op in writes {
        if let Op::Put { key, .. } | Op::Delete(key) = op
            && !named.insert(key)
        {
            return Err(Error::DuplicateKey { key: key.to_string() });
        }
    }
    for op in writes {
        if let Op::DeleteRange(range) = op
            && let Some(key) = named.iter().find(|key| range.contains(key))
        {
            return Err(Error::DuplicateKey { key: key.to_string() });
        }
    }
    Ok(())
}

/// Refuses more than a limit.
pub(crate) fn within(
    what: impl FnOnce() -> String,
    limit: &'static str,
    max: usize,
    actual: usize,
) -> Result<(), Error> {
    if actual > max {
        return Err(Error::LimitExceeded { what: what(), limit, max: max as u64, actual: actual as u64 });
    }
    Ok(())
}

/// Keys and values of a transaction, in bytes.
pub(crate) fn txn_bytes(txn: &Txn) -> usize {
    let compare = |compare: &Compare| {
        let value = if let Compare::Value(_, _, value) = compare { value.len() } else { 0 };
        compare.key().as_bytes().len() + value
    };
    let op = |op: &Op| match op {
        Op::Put { key, value, .. } => key.as_bytes().len() + value.len(),
        Op::Delete(key) => key.as_bytes().len(),
        Op::DeleteRange(_) => 0,
    };
    txn.compares.iter().map(compare).sum::<usize>() + txn.writes.iter().map(op).sum::<usize>()
}
