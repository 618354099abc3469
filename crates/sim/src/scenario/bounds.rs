//! How large a world may be. Each bound is of what takes memory or time; all of them are said in `docs/simulate.md`.

/// Most groups of clients, services, and groups of servers of a service.
pub(crate) const GROUPS_MAX: usize = 1000;
/// Most servers of a world, those that faults add among them.
pub(crate) const SERVERS_MAX: u32 = 1_000_000;
/// Most requests that a server works on at once, and most that wait there.
pub(crate) const AT_ONCE_MAX: u32 = 10_000_000;
/// Most proxies of a world.
pub(crate) const PROXIES_MAX: u32 = 100_000;
/// Most servers that all proxies together know, each counted once for each proxy that knows it, and once more for each
/// breaker of instances there: a few hundred bytes each.
pub(crate) const KNOWN_MAX: u64 = 10_000_000;
/// Most clients in loops.
pub(crate) const CLIENTS_MAX: u32 = 4_000_000;
/// The highest rate of a group, a second.
pub(crate) const RATE_MAX: f64 = 1e9;
/// Most requests of a run: a quarter of an hour's work for a processor, or more.
pub(crate) const REQUESTS_MAX: u64 = 1_000_000_000;
/// Most requests and attempts under way at one moment: two gigabytes.
pub(crate) const UNDER_WAY_MAX: usize = 8_000_000;
/// Most tries of a client after its first.
pub(crate) const RETRIES_MAX: u32 = 1000;
/// Most values of one header field.
pub(crate) const VALUES_MAX: u32 = 10_000_000;
/// Most values of all header fields whose values are not alike.
pub(crate) const ZIPF_VALUES_MAX: u64 = 20_000_000;
/// Most points of a plot.
pub(crate) const POINTS_MAX: u64 = 100_000;
/// Most phases times groups of clients: each has a distribution of latencies of its own, of 40 KB.
pub(crate) const CELLS_MAX: usize = 10_000;
/// Most faults.
pub(crate) const FAULTS_MAX: usize = 10_000;
/// Most servers that all faults together strike.
pub(crate) const STRUCK_MAX: u64 = 10_000_000;
/// Largest factor of a speed, a slowness or a contention.
pub(crate) const FACTOR_MAX: f64 = 1e6;
