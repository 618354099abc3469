//! The endpoints of services, built once for all streams that tell them.
//!
//! A thousand sidecars that call one service share one view of it: what each of them was sent is a reference. Views
//! that nobody has been sent any more are forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use weir_control::catalog::EndpointsView;
use weir_model::{Revision, ServiceRef};

/// Entries beyond which those that nobody uses are swept out; doubles when most are in use.
const SWEEP_AT: usize = 1024;

/// The views in use.
#[derive(Debug)]
pub(super) struct Views {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: HashMap<ServiceRef, Weak<EndpointsView>>,
    sweep_at: usize,
}

impl Default for Views {
    fn default() -> Self {
        Self { state: Mutex::new(State { entries: HashMap::new(), sweep_at: SWEEP_AT }) }
    }
}

impl Views {
    /// The view of a service at an index, built if nobody has it.
    pub(super) fn get(
        &self,
        service: &ServiceRef,
        index: Revision,
        build: impl FnOnce() -> EndpointsView,
    ) -> Arc<EndpointsView> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.entries.get(service).and_then(Weak::upgrade).filter(|view| view.index == index);
        if let Some(view) = known {
            return view;
        }
        let view = Arc::new(build());
        state.entries.insert(service.clone(), Arc::downgrade(&view));
        if state.entries.len() > state.sweep_at {
            state.entries.retain(|_, view| view.strong_count() > 0);
            state.sweep_at = SWEEP_AT.max(state.entries.len() * 2);
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_model::Position;

    fn view(index: Revision) -> EndpointsView {
        EndpointsView {
            known: true,
            index,
            position: Position::new(1, index),
            protocol: None,
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn a_view_is_shared_until_it_changes_and_forgotten_when_unused() {
        let views = Views::default();
        let cart = ServiceRef::new("default", "cart");
        let first = views.get(&cart, 3, || view(3));
        let second = views.get(&cart, 3, || panic!("it is there"));
        assert!(Arc::ptr_eq(&first, &second));
        let newer = views.get(&cart, 4, || view(4));
        assert_eq!(newer.index, 4);
        drop((first, second, newer));
        for number in 0..2 * SWEEP_AT {
            views.get(&ServiceRef::new("default", number.to_string()), 1, || view(1));
        }
        assert!(views.state.lock().unwrap().entries.len() <= SWEEP_AT + 1);
    }
}
