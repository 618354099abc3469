//! Every bound of the DNS server, by name.

use std::time::Duration;

/// Tasks that read the UDP socket at most; there are as many as processors up to here.
pub const UDP_WORKERS_MAX: usize = 8;
/// Longest query that is read, in bytes. Queries hold one question and a few options.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Longest answer over UDP to a client without EDNS (RFC 1035 section 4.2.1).
pub const PLAIN_UDP_BYTES_MAX: usize = 512;
/// Longest answer over UDP, however much a client says it can take: what HAProxy asks for at most.
pub const UDP_ANSWER_BYTES_MAX: usize = 8192;
/// Longest answer over TCP: its length is written in 16 bits.
pub const TCP_ANSWER_BYTES_MAX: usize = 65_535;

/// TCP connections at one time; further ones are closed at once.
pub const TCP_CONNECTIONS_MAX: usize = 1024;
/// Queries of one TCP connection under way at one time; more are read when one is answered (RFC 7766 section 6.2.1.1).
pub const TCP_PIPELINE_MAX: usize = 32;
/// How long a TCP connection may be without a whole query or an answer.
pub const TCP_IDLE_MAX: Duration = Duration::from_secs(15);
/// How long a TCP client may take to take an answer.
pub const TCP_WRITE_MAX: Duration = Duration::from_secs(5);

/// Queries passed on to recursors at one time; beyond, clients get SERVFAIL.
pub const RECURSIONS_MAX: usize = 512;
/// How long one recursor may take.
pub const RECURSION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long all recursors together may take. Clients ask again after 5 s.
pub const RECURSION_TIME_MAX: Duration = Duration::from_secs(4);
/// For how long a recursor that failed is asked last.
pub const RECURSOR_REST: Duration = Duration::from_secs(10);
/// For how long a query that is relayed is held while none of the servers is heard: a server that is restarted is not missed. Clients
/// ask again after 5 s.
pub const RELAY_HOLD_MAX: Duration = Duration::from_secs(3);
/// Queries that are held at a time; more are answered at once. Half of those that are under way, so that others get through.
pub const RELAYS_HELD_MAX: usize = RECURSIONS_MAX / 2;
/// How often servers are asked again for a query that is held, at least; more often by chance, up to twice as often.
pub const RELAY_LOOK_EVERY_MAX: Duration = Duration::from_millis(250);
/// How long a query waits for a lookup where an address is known from before.
pub const LOOKUP_WAIT_MAX: Duration = Duration::from_millis(500);
/// Between two lookups of a recursor that is named by its host.
pub const NAME_REST: Duration = Duration::from_secs(1);
/// Addresses of one name that are used.
pub const NAME_ADDRESSES_MAX: usize = 16;
/// Recursors at most.
pub const RECURSORS_MAX: usize = 8;

/// Aliases that are followed for one answer.
pub const ALIASES_MAX: usize = 8;
/// Rules on the time to live of services at most.
pub const SERVICE_TTLS_MAX: usize = 256;
