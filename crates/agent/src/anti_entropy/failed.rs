//! Why the servers were not told something.

use http::StatusCode;
use weir_api::native::Problem;

use crate::servers::Unanswered;

/// Why the servers were not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// They said no.
    #[error("{status}: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why.
        problems: Vec<Problem>,
    },
    /// The answer makes no sense.
    #[error("{0}")]
    BadAnswer(String),
    /// They took everything, and yet it is not there.
    #[error("the servers have taken all changes and still differ")]
    StillDifferent,
}

impl Failed {
    /// Whether the same may be answered otherwise a moment later, or by another server.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unanswered(_) => true,
            Self::Refused { status, .. } => status.is_server_error(),
            Self::BadAnswer(_) | Self::StillDifferent => false,
        }
    }
}
