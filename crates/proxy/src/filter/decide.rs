//! What filters make of a request before it is sent anywhere: pure, so that the request path and explanations share it.

use std::time::Duration;

use rand::Rng;

use super::{Abort, CorsAnswer, Filters};
use crate::route::{RequestView, preflight_method};

/// What a request comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What its origin is told.
    pub(crate) cors: CorsAnswer,
    /// How long it waits.
    pub(crate) delay: Duration,
    /// The answer, if it goes no further.
    pub(crate) answer: Option<Answer>,
}

/// An answer that a filter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A browser asked whether it may; it may.
    Preflight,
    /// It may not.
    PreflightDenied,
    /// The request is made to fail.
    Abort(Abort),
    /// It is to be made elsewhere.
    Redirect,
}

/// What filters make of a request.
pub(crate) fn decide(filters: &Filters, request: &impl RequestView, rng: &mut impl Rng) -> Verdict {
    let mut verdict = Verdict::default();
    if let Some(cors) = &filters.cors {
        verdict.cors = cors.judge(request.header(b"origin"));
        if preflight_method(request).is_some() {
            let allowed = verdict.cors != CorsAnswer::Silence;
            verdict.answer = Some(if allowed { Answer::Preflight } else { Answer::PreflightDenied });
            return verdict;
        }
    }
    if let Some(fault) = &filters.fault {
        let (delay, abort) = fault.draw(rng);
        verdict.delay = delay;
        verdict.answer = abort.map(Answer::Abort);
    }
    if verdict.answer.is_none() && filters.redirect.is_some() {
        verdict.answer = Some(Answer::Redirect);
    }
    verdict
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::filter::{Cors, CorsSpec, Fault, Redirect, Share};
    use crate::route::tests::TestRequest;

    fn all() -> Filters {
        let origins = ["https://a".to_owned()];
        Filters {
            cors: Some(Cors::new(&CorsSpec { origins: &origins, ..CorsSpec::default() }).unwrap()),
            fault: Some(Fault { delay: Some((Duration::from_secs(1), Share::ALL)), abort: None }),
            redirect: Some(Redirect { scheme: None, host: None, port: None, path: None, status: 301 }),
            ..Filters::default()
        }
    }

    fn verdict(filters: &Filters, line: &str, headers: &[(&str, &str)]) -> Verdict {
        decide(filters, &TestRequest::new(line, headers), &mut SmallRng::seed_from_u64(1))
    }

    #[test]
    fn a_preflight_is_answered_before_anything_else_happens() {
        let asks = |origin| [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
        let told = verdict(&all(), "OPTIONS h/", &asks("https://a"));
        assert_eq!((told.answer, told.delay), (Some(Answer::Preflight), Duration::ZERO));
        assert_eq!(verdict(&all(), "OPTIONS h/", &asks("https://b")).answer, Some(Answer::PreflightDenied));
        // These ask for something else.
        for (line, headers) in [("GET h/", &asks("https://a")[..]), ("OPTIONS h/", &asks("https://a")[..1])] {
            let told = verdict(&all(), line, headers);
            assert_eq!((told.answer, told.cors), (Some(Answer::Redirect), CorsAnswer::Echo));
        }
        let without = Filters { cors: None, ..all() };
        assert_eq!(verdict(&without, "OPTIONS h/", &asks("https://a")).answer, Some(Answer::Redirect));
    }

    #[test]
    fn a_fault_goes_before_a_redirect() {
        let abort = Some((Abort::Http(503), Share::ALL));
        let failing = Filters { fault: Some(Fault { delay: None, abort }), ..all() };
        assert_eq!(verdict(&failing, "GET h/", &[]).answer, Some(Answer::Abort(Abort::Http(503))));
        let told = verdict(&all(), "GET h/", &[]);
        assert_eq!((told.answer, told.delay), (Some(Answer::Redirect), Duration::from_secs(1)));
        assert_eq!(verdict(&Filters::default(), "GET h/", &[]), Verdict::default());
    }
}
