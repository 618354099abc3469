//! What an entry that was written does not achieve as things stand. It never refuses: what is missing may come later.

use weir_control::Settings;
use weir_control::catalog::{Moment, ServiceMember};
use weir_model::ServiceRef;

use super::entries::Resolver;
use crate::consul::filter::Filter;
use crate::consul::views::{HealthJson, Here};

/// Instances that are judged for hints on one entry, each once for every filter; beyond that there are none.
const JUDGED_MAX: usize = 100_000;

/// Names the filters of a resolver's subsets that take none of the instances that there are.
pub(in crate::consul) fn of_resolver(
    moment: &Moment<'_>,
    settings: &Settings,
    service: &ServiceRef,
    content: &serde_json::Value,
) -> Vec<String> {
    let Ok(resolver) = <Resolver as serde::Deserialize>::deserialize(content) else { return Vec::new() };
    let members = moment.members(service);
    if members.is_empty() || members.len().saturating_mul(resolver.subsets.len()) > JUDGED_MAX {
        return Vec::new();
    }
    let here = Here { datacenter: &settings.datacenter, node: &settings.node_name };
    let is_taken =
        |filter: &Filter, one: &ServiceMember| filter.takes(&HealthJson::of(one, here)).unwrap_or(false);
    let mut hints = Vec::new();
    for (name, subset) in resolver.subsets.iter().filter(|(_, subset)| !subset.filter.is_empty()) {
        let Ok(filter) = Filter::read(&subset.filter) else { continue };
        if !members.iter().any(|one| is_taken(&filter, one)) {
            let count = members.len();
            hints.push(format!("Subsets.{name}.Filter takes none of the instances there are now ({count})"));
        }
    }
    hints
}
