//! What a call has got instead of what it was for: the access log tells of it, and whose word counts afterwards depends on it.

use std::rc::Rc;
use std::sync::Arc;

use crate::attempt::{LocalUpstream, Manner};
use crate::breaker::{Breaker, Instead};
use crate::observe::FellBack;
use crate::snapshot::Settings;

/// Why an earlier response is given where no breaker refused the call: it came to nothing.
const FAILED: &str = "failed";

/// What a breaker has given a call: an answer, or another service.
pub(crate) struct Fallback {
    breaker: Arc<Breaker>,
    why: &'static str,
    /// Where it was to go, if it was sent to another service.
    first: Option<First>,
}

/// The service that a call was for, and how it was to be made.
struct First {
    local: Rc<LocalUpstream>,
    manner: Option<Rc<Manner>>,
}

impl Fallback {
    /// The call is sent to the service that its breaker names.
    pub(super) const fn elsewhere(
        breaker: Arc<Breaker>,
        why: &'static str,
        local: Rc<LocalUpstream>,
        manner: Option<Rc<Manner>>,
    ) -> Self {
        Self { breaker, why, first: Some(First { local, manner }) }
    }

    /// The call has an answer of its breaker's, perhaps of the service that it was sent to `before`. Why the breaker refused it; none
    /// where it did not, and the call came to nothing.
    pub(crate) fn answered(breaker: Arc<Breaker>, why: Option<&'static str>, before: Option<Self>) -> Self {
        Self { breaker, why: why.unwrap_or(FAILED), first: before.and_then(|before| before.first) }
    }

    /// The settings that have set its time: those of the service that it was for, where it was sent to another one.
    pub(crate) fn settings(&self) -> Option<&Settings> {
        let First { local, manner } = self.first.as_ref()?;
        Some(manner.as_ref().map_or(&local.upstream.settings, |manner| &manner.settings))
    }

    /// What is said to whom the other service did not answer, either.
    pub(super) fn also_said(&self) -> Option<String> {
        let first = &self.first.as_ref()?.local.upstream.label;
        let (name, target) = (self.breaker.name(), &self.breaker.target);
        // A second breaker, that of the other service, answers for itself.
        let is_by_first = matches!(self.breaker.instead, Instead::Service(_));
        Some(if is_by_first {
            format!("; it was for service {first}, and sent on by {name} of {target}")
        } else {
            format!("; it was for service {first}")
        })
    }

    /// As the access log has it, with the breaker's name.
    pub(super) fn logged<'a>(&'a self, name: &'a mut String) -> FellBack<'a> {
        *name = self.breaker.name();
        FellBack {
            to: match self.breaker.instead {
                Instead::Service(_) => "service",
                Instead::Answer(_) => "response",
                Instead::Cached(_) => "cached",
                Instead::Refusal => "",
            },
            from: self.first.as_ref().map_or("", |first| &first.local.upstream.label),
            by: name,
            why: self.why,
        }
    }
}
