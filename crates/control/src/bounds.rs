//! Every bound of the control plane, by name, in one place.

use std::time::Duration;

/// How often a write is decided anew because something it was based on changed meanwhile.
pub const COMMIT_RETRIES_MAX: usize = 16;
/// How long a write waits until its own catalog shows it.
pub const VISIBLE_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a restore waits until its own catalog shows it.
pub const RESTORED_WAIT_MAX: Duration = Duration::from_secs(600);
/// Blocking queries that wait at one time.
pub const WAITERS_MAX: usize = 65_536;
/// The longest a blocking query may wait.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// How long a query waits for a catalog that is behind the index it was given.
pub const AHEAD_WAIT_MAX: Duration = Duration::from_secs(3);
/// Instances that the catalog keeps read, beside what the store holds of them; those that were asked for last.
pub const OPEN_INSTANCES_MAX: usize = 16_384;
/// Vanished services whose last index is remembered.
pub const SERVICE_TOMBSTONES_MAX: usize = 16_384;
/// Vanished nodes whose last index is remembered.
pub const NODE_TOMBSTONES_MAX: usize = 16_384;
/// Deleted KV keys whose last index is remembered.
pub const KV_TOMBSTONES_MAX: usize = 65_536;
/// Sessions that are gone whose last index is remembered.
pub const SESSION_TOMBSTONES_MAX: usize = 16_384;
/// Locks that are gone whose last index is remembered.
pub const LOCK_TOMBSTONES_MAX: usize = 16_384;
/// Changes that a subscriber may lag behind before it must look at everything anew.
pub const CHANGES_MAX: usize = 4096;
/// Pause before a broken store watch is opened again, at first.
pub const RESYNC_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Pause before a broken store watch is opened again, at most.
pub const RESYNC_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Checks in one registration.
pub const REGISTRATION_CHECKS_MAX: usize = 64;
/// Bytes of a check's output that are kept.
pub const CHECK_OUTPUT_BYTES_MAX: usize = weir_model::validate::CHECK_TEXT_BYTES_MAX;

/// Bytes of one KV value.
pub const KV_VALUE_BYTES_MAX: usize = 512 * 1024;
/// Keys that a recursive KV delete removes in one transaction; more are removed in several.
pub const KV_DELETE_KEYS_MAX: usize = 4096;

/// Operations in one transaction.
pub const TXN_OPS_MAX: usize = 128;

/// Keys of one prefix that an operation of a transaction reads or deletes.
pub const KV_TXN_KEYS_MAX: usize = 256;

/// Sessions at one time.
pub const SESSIONS_MAX: usize = 131_072;
/// The shortest TTL of a session.
pub const SESSION_TTL_MIN: Duration = Duration::from_secs(10);
/// The longest TTL of a session.
pub const SESSION_TTL_MAX: Duration = Duration::from_secs(86_400);
/// The longest time for which keys cannot be locked after their session's end.
pub const LOCK_DELAY_MAX: Duration = Duration::from_secs(60);
/// Checks that one session relies on.
pub const SESSION_CHECKS_MAX: usize = 64;
/// Keys that a session's end releases in one transaction; more are released in several.
pub const SESSION_END_KEYS_MAX: usize = 128;

/// Claims on all locks together.
pub const CLAIMS_MAX: usize = 131_072;
/// Claims on one lock, those that hold it included.
pub const LOCK_CLAIMS_MAX: usize = 1024;
/// Claims that may hold one lock at a time.
pub const LOCK_COUNT_MAX: u32 = 1000;
/// The shortest life of a claim that is not renewed.
pub const CLAIM_TTL_MIN: Duration = Duration::from_secs(1);
/// The longest life of a claim that is not renewed.
pub const CLAIM_TTL_MAX: Duration = Duration::from_secs(86_400);
/// Bytes of a claim's id.
pub const CLAIM_ID_BYTES_MAX: usize = 64;
/// Bytes of what a claim says about its holder.
pub const HOLDER_BYTES_MAX: usize = 256;
/// How long one call may wait for a lock; whoever wants to wait longer calls again.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(600);
/// Pause before the end of a session or claim is tried again.
pub const LEASE_RETRY: Duration = Duration::from_secs(1);
/// Ends of sessions and claims under way at one time.
pub const LEASE_ENDS_MAX: usize = 64;
/// How often the time of sessions and claims is looked at.
pub const LEASE_TICK: Duration = Duration::from_millis(500);
/// When it was not looked at for so long, this process stood still, and everything has its full time again.
pub const LEASE_STANDSTILL: Duration = Duration::from_secs(3);

/// Records in one table.
pub const RECORDS_MAX: usize = 4096;
/// Bytes of one record, as JSON.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a record's name, and of its other name.
pub const RECORD_NAME_BYTES_MAX: usize = 512;
/// Records that end with one session.
pub const SESSION_RECORDS_MAX: usize = 16;
/// Records that are gone whose last index is remembered.
pub const RECORD_TOMBSTONES_MAX: usize = 4096;

/// Bytes of one stored piece of a change set.
pub const CHANGE_SET_PART_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one change set, all pieces together.
pub const CHANGE_SET_BYTES_MAX: usize = 64 << 20;
/// Declared resources at one time.
pub const RESOURCES_MAX: usize = 100_000;
/// Change sets between two checkpoints: what a start replays at most.
pub const CHECKPOINT_EVERY: u64 = 64;
/// Change sets whose content is kept for history and rollback.
pub const HISTORY_MAX: u64 = 1024;
/// Bytes of a change set's message or author.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// How long a replica is believed to live after it was last heard of.
pub const REPLICA_TTL: Duration = Duration::from_secs(6);
/// How often it makes itself heard.
pub const REPLICA_RENEW_EVERY: Duration = Duration::from_millis(1500);
/// When a replica could not make sure for so long that it is as new as the store, it says how old it may be: twice the time
/// between two looks.
pub const STALE_AFTER: Duration = Duration::from_secs(3);
/// Heartbeats that wait to be told to the replicas that they concern.
pub const HEARTBEATS_WAITING_MAX: usize = 65_536;
/// Signs of life that are told in one write, where the store tells them.
pub const TOLD_TOGETHER_MAX: usize = 256;

/// Proxies in the table of connected proxies.
pub const PROXIES_MAX: usize = 16_384;
/// Rejections remembered per proxy.
pub const PROXY_REJECTIONS_MAX: usize = 32;

/// The shortest time a check may be critical before its instance is deregistered.
pub const DEREGISTER_AFTER_MIN: Duration = Duration::from_secs(60);
/// Below this many nodes, silence of most of them is believed.
pub const MASS_EXPIRY_NODES_MIN: usize = 10;
/// Below this many nodes of its own, a replica among several believes silence.
pub const MASS_EXPIRY_SHARE_MIN: usize = 3;
/// How far back nodes count as having fallen silent at once.
pub const MASS_EXPIRY_WINDOW: Duration = Duration::from_secs(60);
/// How often withheld expiries are looked at again.
pub const MASS_EXPIRY_RECHECK: Duration = Duration::from_secs(1);
/// Self-preservation ends when at most one node in so many is still silent: most of them being back is not enough, since
/// they come back one by one.
pub const PRESERVATION_LEAVE_PARTS: usize = 4;
/// The longest that self-preservation lasts: after that, whoever is silent is believed to be gone.
pub const PRESERVATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often it is said again that self-preservation lasts.
pub const PRESERVATION_REMIND: Duration = Duration::from_secs(60);
/// Pause before a failed commit of a health transition or an eviction is tried again.
pub const HEALTH_RETRY: Duration = Duration::from_secs(1);
/// Health commits under way at one time.
pub const HEALTH_COMMITS_MAX: usize = 64;
/// Checks that are read at one time when this replica takes over what it watches; heartbeats wait for no more than these.
pub const TAKE_OVER_BATCH: usize = 1024;
/// How often a probe's output is committed while its health stays the same.
pub const CHECK_OUTPUT_INTERVAL: Duration = Duration::from_secs(300);
/// Limits of which shares are leased to proxies at one time, each target of a document counted.
pub const SHARED_LIMITS_MAX: usize = weir_model::validate::SHARED_LIMITS_MAX;
