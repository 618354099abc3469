//! The native HTTP API's messages, under [`PREFIX`]: what operators, programs and the command line exchange with a
//! server.
//!
//! JSON with `snake_case` names; declared resources keep their own document form. Fields are only ever added, and a
//! reader ignores what it does not know, so that a command line one version older or newer still works. This module
//! holds shapes only: no transport, and no judgement of what the values mean.

pub mod answer;
pub mod lock;
pub mod node;
pub mod request;
pub mod view;

pub use answer::{
    Applied, Change, Deleted, ErrorAnswer, Gathered, HeardAnswer, IgnoredField, LeaseAnswer, LeasesAnswer,
    List, PositionAnswer, Problem, ReportsAnswer, Warning,
};
pub use lock::{AcquireLock, ClaimAnswer, ClaimView, LockView, ReleaseLock, Released, RenewLock};
pub use node::{
    AGENT_DATACENTER, AgentAlive, AgentHeard, DNS_OFF, NodeChanged, NodeChanges, NodeState, OnNode,
};
pub use request::{CheckInput, HeartbeatInput, LeaseInput, RegisterInstance, SourceText, Sources};
pub use view::{
    ChangeSetView, HealthCounts, Heartbeats, InstanceView, NodeView, ProxyView, RejectionView, ReplicaView,
    ResourceView, RouteView, ServiceView, SessionView,
};

/// What every path of the native API starts with.
pub const PREFIX: &str = "/weir/v1";

/// The field of an agent's answer that is no server's: none has answered it. It says [`NOBODY`] or [`LOST`].
pub const NO_SERVER: &str = "x-weir-no-server";
/// No server answers, and nothing was changed.
pub const NOBODY: &str = "nobody";
/// A change was sent, and nobody knows whether it was made.
pub const LOST: &str = "lost";

/// The content type of a body that carries several named texts, as [`Sources`]. Any other body of `apply` is one text.
pub const SOURCES_TYPE: &str = "application/vnd.weir.sources+json";

/// The content type of `backup`'s answer: an archive of the store, which is not JSON.
pub const BACKUP_TYPE: &str = "application/vnd.weir.store";

/// The largest body that `apply` accepts, in bytes.
pub const APPLY_BYTES_MAX: usize = 16 << 20;
