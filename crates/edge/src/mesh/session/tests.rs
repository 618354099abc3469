//! What a session tells leads from what was sent to what is.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_model::registry::{Address, Health};

use super::*;

fn endpoint(id: u8, weight: u32) -> Endpoint {
    Endpoint {
        id: format!("n/{id}"),
        address: Address { host: "10.0.0.1".into(), port: 80 },
        inbound: false,
        fixed: false,
        weight,
        health: Health::Passing,
        metadata: BTreeMap::new(),
        grpc_check: false,
        active_checks: None,
    }
}

fn list(endpoints: &BTreeMap<u8, u32>) -> Vec<Endpoint> {
    let mut list: Vec<Endpoint> = endpoints.iter().map(|(id, weight)| endpoint(*id, *weight)).collect();
    list.sort_by(|a, b| a.id.cmp(&b.id));
    list
}

proptest! {
    /// Whoever applies a difference to the old list has the new one, and is told nothing that stayed the same.
    #[test]
    fn a_difference_leads_from_old_to_new(
        before in proptest::collection::btree_map(0u8..12, 0u32..3, 0..8),
        now in proptest::collection::btree_map(0u8..12, 0u32..3, 0..8),
    ) {
        let (before, now) = (list(&before), list(&now));
        let (upserts, removals) = difference(&before, &now);
        let mut has: BTreeMap<String, Endpoint> = before.iter().map(|e| (e.id.clone(), e.clone())).collect();
        for id in &removals {
            prop_assert!(has.remove(id).is_some(), "removed what was not there");
        }
        for endpoint in upserts {
            let same = has.get(&endpoint.id) == Some(&endpoint);
            prop_assert!(!same, "told what stayed the same");
            has.insert(endpoint.id.clone(), endpoint);
        }
        prop_assert_eq!(has.into_values().collect::<Vec<_>>(), now);
    }
}
