//! Errors of the native API: one status and one form for each.

use http::StatusCode;
use weir_api::native::{ErrorAnswer, Problem};
use weir_control::Error;
use weir_model::document::DocumentError;

use crate::http::Response;

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    problems: Vec<Problem>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, problem: Problem) -> Self {
        Self { status, problems: vec![problem] }
    }

    /// A request that says something wrong at one place.
    pub(super) fn bad(path: &str, message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Problem::new(message).at(path).expected(expected))
    }

    pub(super) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, Problem::new(format!("{what} does not exist")))
    }

    /// Documents with something wrong in them.
    pub(super) fn documents(problems: Vec<Problem>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, problems }
    }

    /// What is wrong.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn into_response(self) -> Response {
        Response::json(self.status, &ErrorAnswer { errors: self.problems })
    }
}

/// The form of refusals by the router: unknown path, wrong method, body too large.
pub(super) fn by_router(status: StatusCode, message: &str) -> Response {
    Refusal::new(status, Problem::new(message)).into_response()
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid { path, reason } => {
                Self::new(StatusCode::BAD_REQUEST, Problem::new(reason).at(path))
            }
            Error::Rejected { problems } => Self::documents(
                problems
                    .into_iter()
                    .map(|problem| {
                        Problem::new(problem.reason).at(format!("{} {}", problem.resource, problem.path))
                    })
                    .collect(),
            ),
            Error::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, Problem::new(message)),
            Error::Conflict { .. } | Error::Refused { .. } => {
                Self::new(StatusCode::CONFLICT, Problem::new(message))
            }
            Error::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, Problem::new(message)),
            Error::Overloaded { .. } | Error::Unavailable { .. } | Error::NotVisible { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, Problem::new(message))
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, Problem::new(message)),
        }
    }
}

/// An error of a document in the form of the API.
pub(super) fn problem(error: DocumentError) -> Problem {
    let path = match error.resource {
        Some(resource) if error.path.is_empty() => resource,
        Some(resource) => format!("{resource} {}", error.path),
        None => error.path,
    };
    Problem {
        source: (!error.source.is_empty()).then_some(error.source),
        line: (error.line > 0).then_some(error.line),
        path: (!path.is_empty()).then_some(path),
        message: error.message,
        expected: error.expected,
        suggestion: error.suggestion,
    }
}
