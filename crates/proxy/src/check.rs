//! Health checks that this proxy carries out by itself: of endpoints that are written down with a check, always; of those
//! that have registered, while the control plane is gone.
//!
//! ```text
//! snapshot in force, how long the stream has been gone -> plan (pure) -> looks, bounded and spread
//!     -> table (pure): thresholds -> verdicts -> compiled into the next snapshot
//! ```
//!
//! One task does it for the whole process, off the request path. A verdict takes the place of the health that the registry
//! has told, and so of all that follows from it: who is a candidate, and when there is panic. When the control plane is
//! back, its first word is put in force together with the end of all verdicts on what is its own.

mod plan;
mod run;
mod shared;
mod table;

pub(crate) use run::run;
pub(crate) use shared::Checks;
use table::Event;

use std::sync::Arc;
use std::time::Duration;

use weir_model::ServiceRef;

/// How long the control plane may be gone before this proxy checks what has registered by itself.
pub(crate) const AWAY_MAX: Duration = Duration::from_secs(10);
/// How long ago a service may have been used for its registered endpoints to be checked, in seconds.
const USED_WITHIN_S: u32 = 600;
/// Endpoints that are checked at most: those written down first, then those of the services used last.
const ENDPOINTS_MAX: usize = 4096;
/// Looks under way at one time.
const LOOKS_MAX: usize = 128;
/// The least time between the beginnings of two looks: at most 200 in a second.
const LOOK_GAP: Duration = Duration::from_millis(5);
/// The first looks are spread over so much time, or over an interval if that is less.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(2);

/// An endpoint of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EndpointKey {
    pub(crate) service: ServiceRef,
    pub(crate) endpoint: Arc<str>,
}

/// One of its checks, by its place among them.
pub(crate) type CheckKey = (EndpointKey, usize);
