//! What the Consul API answers when it cannot do as asked: status and plain text, in the words Consul's clients know.

use http::StatusCode;

use super::decode::DecodeError;
use crate::http::Response;

/// A refusal: a status and a sentence.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into() }
    }

    /// Whoever names an instance that is not there often gave the service's name.
    pub(super) fn unknown_service_id(id: &str) -> Self {
        Self::not_found(format!(
            "Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."
        ))
    }

    pub(super) fn unknown_check_id(id: &str) -> Self {
        Self::not_found(format!(
            "Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name."
        ))
    }

    pub(super) fn into_response(self) -> Response {
        Response::text(self.status, self.message)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::bad(format!("Request decode failed: {error}"))
    }
}

impl From<weir_control::Error> for Refusal {
    fn from(error: weir_control::Error) -> Self {
        use weir_control::Error;
        let status = match &error {
            Error::Invalid { .. } | Error::Rejected { .. } | Error::TooLarge { .. } => {
                StatusCode::BAD_REQUEST
            }
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::Conflict { .. } | Error::Refused { .. } => StatusCode::CONFLICT,
            Error::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Unavailable { .. } | Error::NotVisible { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message: error.to_string() }
    }
}
