//! The bounds of an engine, by name.

use crate::key::KEY_BYTES_MAX;

/// What an engine accepts. Callers that must work on every engine ask here instead of assuming.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Compares, writes and reads in one transaction, each counted for itself.
    pub txn_ops_max: usize,
    /// Keys and values written or compared by one transaction, in bytes.
    pub txn_bytes_max: usize,
    /// Keys that one transaction changes, the keys of deleted ranges included.
    pub txn_events_max: usize,
    /// A key, in bytes.
    pub key_bytes_max: usize,
    /// A value, in bytes.
    pub value_bytes_max: usize,
    /// Live keys. Local engines keep them all in memory.
    pub state_keys_max: usize,
    /// Bytes of all live keys and values; beyond it, keys that are there may still grow by a sixteenth of it. What takes the
    /// place of everything may have as much.
    pub state_bytes_max: u64,
    /// Entries in one page of a range read.
    pub range_entries_max: usize,
    /// Leases at one time.
    pub leases_max: usize,
    /// Keys attached to one lease.
    pub lease_keys_max: usize,
    /// Watches at one time.
    pub watches_max: usize,
    /// Key changes kept for watches and for reads of the past.
    pub history_events_max: usize,
    /// Bytes of key changes kept for watches and for reads of the past.
    pub history_bytes_max: usize,
    /// Transactions that wait for the writer.
    pub queue_max: usize,
    /// Transactions made durable together.
    pub batch_txns_max: usize,
    /// Bytes of transactions made durable together; a batch ends with the transaction that reaches it.
    pub batch_bytes_max: usize,
    /// Keys and leases that the log of the embedded engine has and its file has not, but for those of one batch: the file takes
    /// them over at once, and writers wait meanwhile. While the file cannot grow they may be more, as many as the log has room for.
    pub log_keys_max: usize,
    /// Bytes of that log; a batch that does not fit goes to the file, with all that the log has.
    pub log_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            txn_ops_max: 1024,
            txn_bytes_max: 8 << 20,
            txn_events_max: 32_768,
            key_bytes_max: KEY_BYTES_MAX,
            value_bytes_max: 1 << 20,
            state_keys_max: 8 << 20,
            state_bytes_max: 4 << 30,
            range_entries_max: 10_000,
            leases_max: 262_144,
            lease_keys_max: 16_384,
            watches_max: 16_384,
            history_events_max: 65_536,
            history_bytes_max: 64 << 20,
            queue_max: 4096,
            batch_txns_max: 1024,
            batch_bytes_max: 8 << 20,
            log_keys_max: 1024,
            log_bytes_max: 16 << 20,
        }
    }
}
