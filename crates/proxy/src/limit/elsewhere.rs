//! The limits of services that a call may be sent to instead of its own. What they tell it apart by is in the request's head,
//! which is gone when a breaker refuses the call: so they are told of it before, and asked when it goes there.

use std::rc::Rc;

use weir_model::ServiceRef;

use super::key::Asker;
use super::pass::Pass;
use super::table::Chain;
use crate::route::RequestView;

/// A service that a call may be sent to, and its limits.
#[derive(Debug)]
pub(crate) struct There {
    pub(crate) service: ServiceRef,
    pub(crate) limits: Chain,
}

/// What a call would have to pass at each of them. There are no more than the call has breakers.
pub(crate) struct Elsewhere {
    there: Rc<[There]>,
    passes: Vec<Pass>,
}

impl Elsewhere {
    /// Tells their limits of a request. None of them is asked yet.
    pub(crate) fn of(there: Rc<[There]>, request: &impl RequestView, asker: Asker<'_>) -> Self {
        let told = |there: &There| {
            let mut pass = Pass::default();
            pass.begin(there.limits.clone(), request, asker);
            pass
        };
        Self { passes: there.iter().map(told).collect(), there }
    }

    /// What the call has to pass at the service that it is sent to, if that has limits.
    pub(crate) fn take(&mut self, service: &ServiceRef) -> Option<Pass> {
        let at = self.there.iter().position(|there| there.service == *service)?;
        Some(std::mem::take(&mut self.passes[at]))
    }
}
