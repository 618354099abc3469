//! Every bound of the agent, by name, in one place.

use std::time::Duration;

/// How long a connection to a server may take to be established.
pub const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a server may take for an answer that waits for nothing.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long a server may take for an answer that may wait: the longest wait, its lengthening by chance, and some time.
pub const WAITING_ANSWER_MAX: Duration = Duration::from_secs(700);
/// How long an answer may take before it is waited for without buffers.
pub const AT_ONCE_MAX: Duration = Duration::from_millis(20);
/// Requests to one server that get that moment at once; further ones are waited for without buffers as soon as they are sent.
pub const LINGERING_MAX: usize = 64;
/// The largest answer that is passed on, in bytes.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How often a read goes along from one server to the next because others found that it does not answer.
pub const TURNS_MAX: usize = 16;
/// For how long a request that no server has taken is held, while servers are looked for. Consul's agents hold for as long what a
/// server breaks off, or what finds no leader (`rpc_hold_timeout`).
pub const HOLD_MAX: Duration = Duration::from_secs(7);
/// Requests that are held at a time; more are answered at once.
pub const HELD_MAX: usize = 4096;
/// How often servers are looked for while requests are held, at least; more often by chance, up to twice as often.
pub const LOOK_EVERY_MAX: Duration = Duration::from_millis(250);
/// Connections to one server that are kept though nothing is under way on them.
pub const IDLE_MAX: usize = 64;
/// How long they are kept. Servers keep them for longer, so that none is used in the moment in which it is closed.
pub const IDLE_AGE_MAX: Duration = Duration::from_secs(60);

/// How often the agent says that it is there. The servers believe in it for 7 s, so that one may be lost.
pub const ALIVE_EVERY: Duration = Duration::from_secs(2);
/// How long no server may have heard the agent before it is not ready: as long as they believe in it.
pub const UNHEARD_MAX: Duration = Duration::from_secs(7);
/// How long a server may take to hear it, before another one is asked.
pub const ALIVE_ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long an agent that leaves tries to have its node deregistered. Below what whoever asks it to leave waits (30 s).
pub const LEAVE_MAX: Duration = Duration::from_secs(10);
/// How long a server may take for that, before another one is asked.
pub const LEAVE_ANSWER_MAX: Duration = Duration::from_secs(4);
/// How long it waits, within [`LEAVE_MAX`], for a change that is under way: one that arrives later would register the node anew.
pub const LEAVE_CHANGE_MAX: Duration = Duration::from_secs(1);
/// How often everything is compared although nothing seems to have changed; lengthened by chance, by up to a half.
pub const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// How long changes are collected before they are sent.
pub const COLLECT: Duration = Duration::from_millis(20);
/// How often one comparison reads and changes, before it counts as failed.
pub const ROUNDS_MAX: usize = 8;
/// Pause before a failed comparison is tried again, at first.
pub const RETRY_MIN: Duration = Duration::from_millis(500);
/// Pause before a failed comparison is tried again, at most.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// Instances, or checks, in one request to change the servers' registry.
pub const BATCH_MAX: usize = 256;
/// Refusals of one comparison that are logged one by one.
pub const REFUSALS_LOGGED_MAX: usize = 8;
/// How often it is said again that something does not work.
pub const REMIND: Duration = Duration::from_secs(60);
